"""Checks of notebook 16's exercises: mutants that readers really write are rejected with a message that fits,
the notebook's own solutions and differently written right ones are accepted. Its formulas agree with the library."""

import csv
import io
from itertools import pairwise
from math import ceil, floor

import numpy as np
import pytest
import torch
from mutants import exercise_tests

from cnncourse import models
from cnncourse.data import Batches, Split
from cnncourse.data.augment import RandomHorizontalFlip
from cnncourse.teaching import cats_and_dogs as checks


def counted(weights=lambda c_in, c_out: 9 * c_in * c_out, bias=lambda c_in, c_out: c_out, fc_bias=1, skip=0, start=3):
    """A count of parameters with slips: `skip` last dense layers forgotten, `start` channels of the images."""

    def count(blocks, dense):
        total, c_in = 0, start
        for number, c_out in blocks:
            for _ in range(number):
                total += weights(c_in, c_out) + bias(c_in, c_out)
                c_in = c_out
        pairs = list(pairwise(dense))
        return total + sum((n + fc_bias) * m for n, m in pairs[: len(pairs) - skip])

    return count


def none(*sizes):
    return 0


def stuck(blocks, dense):
    total, c_in = 0, 3
    for number, c_out in blocks:
        total += number * (9 * c_in + 1) * c_out
        c_in = c_out
    return total + sum((n + 1) * m for n, m in pairwise(dense))


VGG_PARAMETERS = [
    (counted(weights=lambda a, b: 9 * b, bias=none), "reaches through"),
    (counted(weights=lambda a, b: 9 * b), "and a bias. Its window"),
    (counted(bias=none), "convolutions have no biases"),
    (counted(fc_bias=0), "dense layers have no biases"),
    (counted(bias=none, fc_bias=0), "no layer has a bias"),
    (lambda blocks, dense: counted()(blocks, []), "dense layers are missing"),
    (lambda blocks, dense: counted()([], dense), "convolutions are missing"),
    (counted(weights=lambda a, b: 3 * a * b), "It is 3 x 3"),
    (counted(start=1), "three colours"),
    (stuck, "second one of a block"),
    (lambda blocks, dense: counted()([(1, c) for _, c in blocks], dense), "one convolution"),
    (counted(skip=1), "last dense layer"),
    (counted(bias=lambda a, b: a), "input channels. Each output"),
    (counted(weights=lambda a, b: 25 * a * b), "off"),
    (lambda blocks, dense: None, "returns None"),
]


def sizes(fits, every=all, extra=1):
    def find(accuracies, low, high):
        return [N for N in range(low, high + extra) if every(fits(a, N) for a in accuracies)]

    return find


def rounded(a, N):
    return abs(round(a * N) / N - a) < 0.50001e-4


POSSIBLE_SIZES = [
    (sizes(rounded, every=any), "one accuracy that fits"),
    (lambda a, low, high: sizes(rounded)(a[:1], low, high), "only the first"),
    (lambda a, low, high: sizes(rounded)(a[-1:], low, high), "only the last"),
    (sizes(rounded, extra=0), "itself is a candidate"),
    (sizes(lambda a, N: round(floor(a * N) / N, 4) == a), "cut off"),
    (sizes(lambda a, N: round(a * N) / N == a), "k / N exactly"),
    (sizes(lambda a, N: round(round(a * N) / N, 3) == round(a, 3)), "three digits"),
    (lambda a, low, high: sizes(rounded)(a, low, high)[::-1], "rising order"),
    (lambda a, low, high: sizes(rounded)(a, low, high) * 2, "once"),
    (lambda a, low, high: sizes(rounded)(a, low, high)[:1], "fits all of them and is not"),
    (lambda a, low, high: list(range(low, high + 1)), "is in your list, but no k"),
    (lambda a, low, high: len(sizes(rounded)(a, low, high)), "list of whole numbers"),
    (lambda a, low, high: None, "returns None"),
]


def in_place(images, which):
    images[which] = images[which][..., ::-1]
    return images


FLIP = [
    (lambda x, which: x[..., ::-1], "all images are mirrored"),
    (lambda x, which: x, "nothing is mirrored"),
    (lambda x, which: np.where(which[:, None, None, None], x[:, :, ::-1], x), "upside down"),
    (lambda x, which: np.where(which[:, None, None, None], x[:, ::-1], x), "colours"),
    (lambda x, which: np.where(which[:, None, None, None], x[:, :, ::-1, ::-1], x), "180"),
    (lambda x, which: checks.flipped(x, ~which), "wrong ones"),
    (lambda x, which: x[which][..., ::-1], "only the mirrored"),
    (lambda x, which: np.where(which[:, None, None, None], x[::-1], x), "order of the images"),
    (in_place, "changes an array"),
    (lambda x, which: np.roll(x, 1, axis=3), "off"),
    (lambda x, which: None, "returns None"),
]


def text(rows, header="id,label", end="\n"):
    return "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + end


def pairs(ids, logits, labels=("Cat", "Dog")):
    return sorted((i, labels[k]) for i, k in zip(ids, logits.argmax(1), strict=True))


SUBMISSION = [
    (lambda i, z: text(pairs(i, z)).splitlines(), "join the lines"),
    (lambda i, z: dict(pairs(i, z)), "is a dict"),
    (lambda i, z: text(pairs(i, z)).replace("\n", "\r\n"), "lines end in"),
    (lambda i, z: text(pairs(i, z), end=""), "last line does not end"),
    (lambda i, z: text(pairs(i, z)).replace(",", ", "), "blanks"),
    (lambda i, z: text(pairs(i, z, ("cat", "dog"))), "letters"),
    (lambda i, z: text(pairs(i, z), header="Id,Label"), "letters"),
    (lambda i, z: text(pairs(i, z)).split("\n", 1)[1], "first line"),
    (lambda i, z: text(pairs(i, z, ("Dog", "Cat"))), "exchanged"),
    (lambda i, z: text(pairs(i, -z)), "exchanged"),
    (lambda i, z: text(pairs(i, z)[1:]), "There are 4"),
    (lambda i, z: text(pairs(i, z, (0, 1))), "is no label"),
    (lambda i, z: text([(a, b, "x") for a, b in pairs(i, z)]), "two fields"),
    (lambda i, z: text(sorted((str(a), b) for a, b in pairs(i, z))), "before '2'"),
    (lambda i, z: text([dict(pairs(i, z)) and (a, dict(pairs(i, z))[a]) for a in i]), "order is not"),
    (
        lambda i, z: text(zip(sorted(i), np.array(["Cat", "Dog"])[z.argmax(1)], strict=True)),
        "labels have stayed behind|some labels",
    ),
    (lambda i, z: text(enumerate(np.array(["Cat", "Dog"])[z.argmax(1)])), "no position"),
    (lambda i, z: None, "returns None"),
]


RATE_TIMES_STEPS = [
    (lambda lr, n, b, e: lr * (n // b) * e, "last batch"),
    (lambda lr, n, b, e: lr * n / b * e, "whole number"),
    (lambda lr, n, b, e: lr * ceil(n * e / b), "over all epochs"),
    (lambda lr, n, b, e: lr * ceil(n / b), "epochs are missing"),
    (lambda lr, n, b, e: ceil(n / b) * e, "without the rate"),
    (lambda lr, n, b, e: lr * n * e, "counts images"),
    (lambda lr, n, b, e: lr * e, "counts epochs"),
    (lambda lr, n, b, e: ceil(n / b) * e / lr, "divided by the rate"),
    (lambda lr, n, b, e: lr * b * e, "off"),
    (lambda lr, n, b, e: None, "returns None"),
]

MUTANTS = {
    "vgg_parameters": VGG_PARAMETERS,
    "possible_sizes": POSSIBLE_SIZES,
    "flip": FLIP,
    "submission": SUBMISSION,
    "rate_times_steps": RATE_TIMES_STEPS,
}


def by_layers(blocks, dense):
    channels = [3, *np.repeat([c for _, c in blocks], [n for n, _ in blocks])]
    layers = [torch.nn.Conv2d(int(a), int(b), 3) for a, b in pairwise(channels)]
    layers += [torch.nn.Linear(a, b) for a, b in pairwise(dense)]
    return sum(p.numel() for layer in layers for p in layer.parameters())


def by_arrays(accuracies, low, high):
    N = np.arange(low, high + 1)[:, None]
    a = np.array(accuracies)
    return N[(np.round(np.round(a * N) / N, 4) == a).all(axis=1), 0]


def by_module(ids, logits):
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["id", "label"])
    writer.writerows(pairs(ids, logits))
    return file.getvalue()


OTHERWISE_WRITTEN = [
    ("vgg_parameters", by_layers),
    ("possible_sizes", by_arrays),
    ("flip", lambda x, which: np.stack([image[:, :, ::-1] if w else image for image, w in zip(x, which, strict=True)])),
    ("submission", by_module),
    ("rate_times_steps", lambda lr, n, b, e: sum(lr for _ in range(e) for _ in range(0, n, b))),
]

globals().update(exercise_tests("16_cats_and_dogs", checks, MUTANTS, OTHERWISE_WRITTEN, {"np": np, "check": checks}))


def test_the_count_is_that_of_the_network_and_not_the_printed_sum():
    blocks, dense = [(1, 32), (2, 64), (2, 128), (2, 256)], [4096, 1024, 512, 2]
    with torch.device("meta"):
        network = models.create("catdog_vgg")
    assert checks.parameter_count(blocks, dense) == models.count_parameters(network) == 5_884_162


def test_flipping_is_that_of_the_augmentation():
    images = torch.rand(4, 3, 6, 6)
    which = torch.tensor([True, False, True, False])
    by_library = RandomHorizontalFlip().apply(images, which)
    np.testing.assert_array_equal(by_library, checks.flipped(images.numpy(), which.numpy()))


def test_steps_are_those_of_the_batches():
    split = Split(torch.zeros(50, 3, 8, 8, dtype=torch.uint8), torch.zeros(50, dtype=torch.int64))
    assert checks.rate_and_steps(1.0, 50, 16, 3) == 3 * len(Batches(split, 16))


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda t: t.replace("id,label", "id,Label"), "first line"),
        (lambda t: t[:-1], "no end"),
        (lambda t: t.replace("1,Cat", "1,0"), "labels other than"),
        (lambda t: t.replace("2,", "3,"), "without a line"),
        (lambda t: t.replace("2,", "3,"), "more than once"),
        (lambda t: t.replace("2,", "7,"), "no image of the test set"),
        (lambda t: t.replace("2,Dog", "2;Dog"), "two fields"),
        (lambda t: t.replace("1,Cat\n2,Dog", "2,Dog\n1,Cat"), "not in order"),
    ],
)
def test_what_a_submission_lacks_is_said(spoil, problem):
    ids = [3, 1, 2]
    whole = checks.submission_text(ids, np.array([[0, 1], [1, 0], [0, 1]]))
    assert whole == "id,label\n1,Cat\n2,Dog\n3,Dog\n"
    assert checks.format_problems(whole, ids) == []
    assert any(problem in found for found in checks.format_problems(spoil(whole), ids))
