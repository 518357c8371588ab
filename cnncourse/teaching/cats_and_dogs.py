"""Checks for the exercises of notebook 16, and the same computations for its experiments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import ceil, floor

import numpy as np

from cnncourse.teaching.checking import CheckError, call, exercise, expect_close, expect_returned

CLASSES = ("Cat", "Dog")


def parameter_count(blocks: Sequence[tuple[int, int]], dense: Sequence[int]) -> int:
    """Parameters of a VGG: blocks of (number, channels) of 3x3 convolutions on colour images, then dense layers."""
    total, channels = 0, 3
    for number, c_out in blocks:
        for _ in range(number):
            total += (9 * channels + 1) * c_out
            channels = c_out
    return total + sum((n_in + 1) * n_out for n_in, n_out in pairwise(dense))


def sizes_behind(accuracies: Sequence[float], low: int, high: int) -> list[int]:
    """All N from `low` to `high` for which every accuracy, given to four digits, is k / N with a whole k."""
    sizes = np.arange(low, high + 1)
    fits = [np.abs(np.round(a * sizes) / sizes - a) <= 0.5e-4 + 1e-12 for a in accuracies]
    return sizes[np.all(fits, axis=0)].tolist()


def flipped(images: np.ndarray, which: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W), mirrored left to right where `which` (N,) is true."""
    return np.where(which[:, None, None, None], images[..., ::-1], images)


def submission_text(ids: Sequence[int], logits: np.ndarray) -> str:
    """A submission: the line "id,label", then a line for each image in the order of the ids, Cat or Dog."""
    rows = sorted((int(number), CLASSES[int(row.argmax())]) for number, row in zip(ids, logits, strict=True))
    return "\n".join(["id,label", *(f"{number},{label}" for number, label in rows)]) + "\n"


def format_problems(text: str, ids: Sequence[int]) -> list[str]:
    """What a submission for these ids lacks, in words; empty when it can be handed in."""
    lines = text.split("\n")
    problems = []
    if lines[0] != "id,label":
        problems.append(f"the first line is {lines[0]!r}, not 'id,label'")
    if lines[-1] != "":
        problems.append("the last line has no end")
    rows = [line.split(",") for line in lines[1:] if line]
    if wide := [row for row in rows if len(row) != 2]:
        problems.append(f"{len(wide)} lines have not two fields")
    pairs = [row for row in rows if len(row) == 2]
    if labels := sorted({label for _, label in pairs} - set(CLASSES)):
        problems.append(f"labels other than {' and '.join(CLASSES)}: {', '.join(labels[:3])}")
    found = [number for number, _ in pairs]
    expected = [str(int(number)) for number in ids]
    if missing := sorted(set(expected) - set(found)):
        problems.append(f"{len(missing)} images without a line")
    if unknown := sorted(set(found) - set(expected)):
        problems.append(f"{len(unknown)} ids that are no image of the test set")
    if len(found) > len(set(found)):
        problems.append(f"{len(found) - len(set(found))} ids more than once")
    if not problems and found != sorted(found, key=int):
        problems.append("the ids are not in order")
    return problems


def rate_and_steps(lr: float, num_images: int, batch_size: int, num_epochs: int) -> float:
    """Learning rate times the number of steps; the last, smaller batch of an epoch is a step, too."""
    return lr * ceil(num_images / batch_size) * num_epochs


@exercise("vgg_parameters")
def vgg_parameters(solution: Callable) -> None:
    """Check ``vgg_parameters(blocks, dense)``."""
    cases = (
        ([(1, 8), (2, 12)], [192, 20, 3]),
        ([(2, 4)], [64, 5]),
        ([(1, 32), (2, 64), (2, 128), (2, 256)], [4096, 1024, 512, 2]),
    )
    for blocks, dense in cases:
        pairs = list(pairwise(dense))
        channels = [c for number, c in blocks for _ in range(number)]
        inputs = [3, *channels[:-1]]
        weights = sum(9 * a * b for a, b in zip(inputs, channels, strict=True))
        convs = weights + sum(channels)
        fc = sum((a + 1) * b for a, b in pairs)
        slips = [
            ("each convolution counts nine weights for an output channel. Its window reaches through all input "
             "channels: nine for each of them.", 9 * sum(channels) + fc),
            ("each convolution counts nine weights for an output channel, and a bias. Its window reaches through all "
             "input channels: nine for each of them.", 10 * sum(channels) + fc),
            ("the convolutions have no biases. There is one for each output channel.", weights + fc),
            ("the dense layers have no biases. There is one for each output.", convs + sum(a * b for a, b in pairs)),
            ("no layer has a bias. There is one for each output channel and for each output.",
             weights + sum(a * b for a, b in pairs)),
            ("the dense layers are missing.", convs),
            ("the convolutions are missing.", fc),
            ("the window has 3 weights for each pair of channels. It is 3 x 3.",
             sum(3 * a * b for a, b in zip(inputs, channels, strict=True)) + sum(channels) + fc),
            ("the first convolution sees one channel. The images have three colours.",
             convs - 9 * 2 * channels[0] + fc),
            ("every convolution of a block starts from the channels of the block before. The second one of a block "
             "gets what the first one puts out.", _repeated(blocks) + fc),
            ("each block counts one convolution, however many it has.",
             parameter_count([(1, c) for _, c in blocks], dense)),
            ("the last dense layer is missing.", parameter_count(blocks, dense[:-1])),
            ("the biases of convolutions are counted for the input channels. Each output channel has one.",
             weights + sum(inputs) + fc),
        ]  # fmt: skip
        what = f"the count for {blocks} and {dense}"
        expect_close(call(solution, blocks, dense), parameter_count(blocks, dense), slips, what=what)


def _repeated(blocks: Sequence[tuple[int, int]]) -> int:
    total, channels = 0, 3
    for number, c_out in blocks:
        total += number * (9 * channels + 1) * c_out
        channels = c_out
    return total


@exercise("possible_sizes")
def possible_sizes(solution: Callable) -> None:
    """Check ``possible_sizes(accuracies, low, high)``."""
    cases = (
        ([0.5, 0.6667], 2, 24),
        ([0.6667, 0.8333, 0.5], 2, 24),
        ([0.4286, 0.2857], 7, 70),
        ([0.8467, 0.6133], 100, 300),
    )
    for accuracies, low, high in cases:
        got = call(solution, accuracies, low, high)
        expect_returned(got)
        try:
            got = [int(size) for size in got]
        except (TypeError, ValueError):
            raise CheckError("a list of whole numbers is asked for.") from None
        right = sizes_behind(accuracies, low, high)
        if got == right:
            continue
        if sorted(set(got)) == right:
            raise CheckError("the sizes are right. Each is wanted once, in rising order.")
        slips = [
            ("one accuracy that fits is not enough: all of them were measured on the same images.",
             sorted(set().union(*(sizes_behind([a], low, high) for a in accuracies)))),
            ("only the first accuracy is looked at.", sizes_behind(accuracies[:1], low, high)),
            ("only the last accuracy is looked at.", sizes_behind(accuracies[-1:], low, high)),
            ("`high` itself is a candidate, too.", [size for size in right if size != high]),
            ("k is cut off instead of rounded: 0.8333 of 6 is 4.9998, and k is 5.", _cut_off(accuracies, low, high)),
            ("an accuracy is compared with k / N exactly. It was rounded to four digits: so must k / N be.",
             [n for n in range(low, high + 1) if all(round(a * n) / n == a for a in accuracies)]),
            ("k / N is compared to three digits. The accuracies have four.",
             [n for n in range(low, high + 1)
              if all(round(round(a * n) / n, 3) == round(a, 3) for a in accuracies)]),
        ]  # fmt: skip
        for message, slip in slips:
            if got == slip:
                raise CheckError(message)
        missing, extra = sorted(set(right) - set(got)), sorted(set(got) - set(right))
        reading = f"accuracies {accuracies}, sizes from {low} to {high}"
        if missing:
            raise CheckError(f"{reading}: {missing[0]} fits all of them and is not in your list.")
        raise CheckError(f"{reading}: {extra[0]} is in your list, but no k / {extra[0]} gives each of them.")


def _cut_off(accuracies: Sequence[float], low: int, high: int) -> list[int]:
    return [
        n for n in range(low, high + 1) if all(round(floor(a * n) / n, 4) == round(a, 4) for a in accuracies)
    ]  # fmt: skip


@exercise("flip")
def flip(solution: Callable) -> None:
    """Check ``flip(images, which)``."""
    images = np.arange(4 * 3 * 2 * 5, dtype=float).reshape(4, 3, 2, 5)
    which = np.array([True, False, False, True])
    slips = [
        ("all images are mirrored. Only those where `which` is true are to be.", images[..., ::-1]),
        ("nothing is mirrored.", images),
        ("the images are upside down. Left and right are to change places: the last axis.",
         np.where(which[:, None, None, None], images[:, :, ::-1], images)),
        ("the colours have changed places. Mirror the last axis.",
         np.where(which[:, None, None, None], images[:, ::-1], images)),
        ("the images are turned by 180 degrees. Mirror the last axis only.",
         np.where(which[:, None, None, None], images[:, :, ::-1, ::-1], images)),
        ("the wrong ones are mirrored: those where `which` is false.", flipped(images, ~which)),
        ("only the mirrored images come back. The others belong to the batch, too.", images[which][..., ::-1]),
        ("the order of the images has changed, not their pixels.",
         np.where(which[:, None, None, None], images[::-1], images)),
    ]  # fmt: skip
    expect_close(call(solution, images, which), flipped(images, which), slips, what="the batch")
    none = np.zeros(4, dtype=bool)
    expect_close(call(solution, images, none), images, what="a batch in which no image is to be mirrored")


@exercise("submission")
def submission(solution: Callable) -> None:
    """Check ``submission(ids, logits)``."""
    ids = [10, 2, 1, 30]
    logits = np.array([[0.5, -1.0], [-2.0, 3.0], [0.1, 0.2], [-0.3, -0.9]])
    got = call(solution, ids, logits)
    expect_returned(got)
    if isinstance(got, list):
        raise CheckError("a list comes back. One text is asked for: join the lines with line ends.")
    if not isinstance(got, str):
        raise CheckError(f"a text is asked for, and yours is a {type(got).__name__}.")
    right = submission_text(ids, logits)
    if got == right:
        return
    if "\r" in got:
        raise CheckError("the lines end in \\r\\n. A plain \\n is asked for.")
    if got + "\n" == right:
        raise CheckError("the last line does not end: a file of lines ends in \\n.")
    if got.replace(" ", "") == right:
        raise CheckError("there are blanks beside the commas: the platform takes them for part of the label.")
    if got.lower() == right.lower():
        raise CheckError("letters: the header is id,label, the labels are Cat and Dog.")
    lines = [line for line in got.split("\n") if line]
    if not lines or lines[0] != "id,label":
        raise CheckError(f"the first line is {lines[0] if lines else ''!r}. It must be id,label.")
    rows = [tuple(line.split(",")) for line in lines[1:]]
    if any(len(row) != 2 for row in rows):
        raise CheckError("each line has two fields, the id and the label, with one comma between them.")
    expected = [tuple(line.split(",")) for line in right.split("\n")[1:] if line]
    swap = {"Cat": "Dog", "Dog": "Cat"}
    if [(number, swap.get(label, label)) for number, label in rows] == expected:
        raise CheckError("cats and dogs are exchanged: the larger logit wins, and class 0 is Cat.")
    if len(rows) != len(expected):
        raise CheckError(f"{len(rows)} lines follow the header. There are {len(expected)} images.")
    if any(label not in CLASSES for _, label in rows):
        bad = next(label for _, label in rows if label not in CLASSES)
        raise CheckError(f"{bad!r} is no label. The labels are Cat for class 0 and Dog for class 1.")
    if sorted(rows) == sorted(expected):
        if rows == sorted(expected):
            raise CheckError("the ids are sorted as texts, and '10' comes before '2'. Sort them as numbers.")
        raise CheckError("the lines are right and their order is not: sort them by id.")
    if [number for number, _ in rows] == [str(number) for number in sorted(ids)]:
        raise CheckError("the ids are sorted and the labels have stayed behind. Sort the pairs.")
    if sorted(number for number, _ in rows) != sorted(number for number, _ in expected):
        raise CheckError("these are not the ids that were given. An id is no position in the list.")
    raise CheckError("some labels do not belong to their ids.")


@exercise("rate_times_steps")
def rate_times_steps(solution: Callable) -> None:
    """Check ``rate_times_steps(lr, num_images, batch_size, num_epochs)``."""
    for lr, num_images, batch_size, num_epochs in ((0.1, 1000, 128, 6), (0.05, 640, 64, 3)):
        steps = num_images / batch_size
        slips = [
            ("the last batch of an epoch is missing: it is smaller, and a step all the same.",
             lr * floor(steps) * num_epochs),
            ("an epoch has a whole number of steps. Round up: the last, smaller batch is a step, too.",
             lr * steps * num_epochs),
            ("rounded up over all epochs together. Each epoch ends with a smaller batch of its own.",
             lr * ceil(steps * num_epochs)),
            ("the epochs are missing.", lr * ceil(steps)),
            ("this is the number of steps, without the rate.", ceil(steps) * num_epochs),
            ("this counts images. A step is made for each batch.", lr * num_images * num_epochs),
            ("this counts epochs. An epoch has many steps.", lr * num_epochs),
            ("divided by the rate. It multiplies the gradient in each step.", ceil(steps) * num_epochs / lr),
        ]  # fmt: skip
        right = rate_and_steps(lr, num_images, batch_size, num_epochs)
        what = f"the value for {num_images} images in batches of {batch_size}"
        expect_close(call(solution, lr, num_images, batch_size, num_epochs), right, slips, what=what)
