"""Checks for the exercises of notebook 10, and the same computations for its experiments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import inf, nan

import numpy as np

from cnncourse.teaching.checking import CheckError, call, exercise, expect_close, expect_returned

Convs = Sequence[tuple[int, int]]


def misfits(convs: Convs, fc: Sequence[int], side: int, num_pools: int) -> list[tuple[int, int]]:
    """(what arrives, what is expected) for each layer of a table whose input does not fit; ``side`` in pixels."""
    arrives, found = 3, []
    for c_in, c_out in convs:
        if c_in != arrives:
            found.append((arrives, c_in))
        arrives = c_out
    features = arrives * (side // 2**num_pools) ** 2
    return found + [(features, fc[0])] * (features != fc[0])


def parameters(channels: Sequence[int], kernel: int, fc: Sequence[int], *, bias=1, bn=2, fc_bias=1) -> int:
    """Parameters of convolutions from 3 channels on, each with batch normalisation, and of linear layers."""
    convs = sum((kernel**2 * a + bias + bn) * b for a, b in pairwise([3, *channels]))
    return convs + sum((a + fc_bias) * b for a, b in pairwise(fc))


def epoch(step: int, num_images: int, batch_size: int) -> int:
    """Number, from 1, of the epoch in which a step (from 1) falls, when the last, smaller batch is dropped."""
    return (step - 1) // (num_images // batch_size) + 1


def mish_of(x: np.ndarray) -> np.ndarray:
    """Mish: Misra (2020), section 3."""
    return x * np.tanh(np.logaddexp(0, x))


def gap_at(loss: Sequence[float], gap: Sequence[float], level: float) -> float:
    """The gap where the loss first reaches `level` from above, on the straight line between two epochs; else nan."""
    before = (inf, nan)
    for now in zip(loss, gap, strict=True):
        if now[0] <= level:
            if before[0] == inf:
                return float(now[1])
            share = (before[0] - level) / (before[0] - now[0])
            return float(before[1] + share * (now[1] - before[1]))
        before = now
    return nan


@exercise("mismatches")
def mismatches(solution: Callable) -> None:
    """Check ``mismatches(convs, fc, side, num_pools)``."""
    cases = [
        ([(3, 16), (16, 32), (32, 8)], [128, 10], 32, 3),  # all fits
        ([(3, 16), (24, 32), (40, 8)], [128, 10], 32, 3),
        ([(3, 16), (16, 32)], [512, 64, 10], 32, 2),
        ([(3, 8), (8, 16), (16, 16), (12, 16)], [64, 20, 10], 16, 2),
        ([(1, 6)], [864, 10], 24, 1),
    ]
    for convs, fc, side, num_pools in cases:
        got = call(solution, list(convs), list(fc), side, num_pools)
        right = misfits(convs, fc, side, num_pools)
        expect_returned(got)
        try:
            found = [tuple(int(number) for number in pair) for pair in got]
        except TypeError:
            raise CheckError("your function should return a list of pairs of numbers.") from None
        if found == right:
            continue
        swapped = [(b, a) for a, b in right]
        unsquared = [*right[:-1], (convs[-1][1] * (side // 2**num_pools), fc[0])]
        features = convs[-1][1] * (side // 2**num_pools) ** 2
        unpooled = convs[-1][1] * side**2
        said = f"For convolutions {convs}, {fc[0]} inputs of the first linear layer and {num_pools} poolings of {side}"
        said += f"x{side} pixels"
        if not right:
            raise CheckError(f"{said} everything fits, so the list is empty; yours holds {found}.")
        if found == swapped:
            raise CheckError("the pairs are the wrong way round: first what arrives, then what the table expects.")
        if any(arrives == unpooled for arrives, _ in found):
            raise CheckError("the poolings are missing: each of them halves height and width of the maps.")
        if found == unsquared:
            raise CheckError("a map has height times width values: the side counts twice.")
        if found == misfits(convs, [right[-1][0], *fc[1:]], side, num_pools):
            raise CheckError(
                "the step to the first linear layer is missing: it receives every value of every map of the last block."
            )
        if found and convs[0][0] == 3 and not set(found) & set(misfits(convs, [features], side, num_pools)):
            raise CheckError("you look at the linear layer alone. Each convolution has a first number, too.")
        if found == misfits(convs[1:], fc, side, num_pools) or (convs[0][0] != 3 and right[0] not in found):
            raise CheckError("the first convolution counts, too: the images arrive with 3 channels.")
        raise CheckError(f"{said} you find {found}, but {len(right)} place(s) do not fit: {right}.")


@exercise("num_params")
def num_params(solution: Callable) -> None:
    """Check ``num_params(channels, kernel, fc)``."""
    cases = [((4, 6), 3, (24, 5)), ((8, 8, 16), 5, (64, 20, 10))]
    got = [call(solution, list(channels), kernel, list(fc)) for channels, kernel, fc in cases]
    slips: list[tuple[str, Callable]] = [
        ("the two numbers of batch normalisation per channel, gamma and beta, are missing.",
         lambda c, k, f: parameters(c, k, f, bn=0)),
        ("you count four numbers per channel for batch normalisation. Running mean and variance are measured, "
         "not learned: gamma and beta are the parameters.", lambda c, k, f: parameters(c, k, f, bn=4)),
        ("beside its kernel a channel of a convolution has three numbers: its bias, gamma and beta. You count two.",
         lambda c, k, f: parameters(c, k, f, bias=0)),
        ("each unit of a linear layer has a bias.", lambda c, k, f: parameters(c, k, f, fc_bias=0)),
        ("no layer has its bias yet.", lambda c, k, f: parameters(c, k, f, bias=0, fc_bias=0)),
        ("a kernel has height times width weights: the kernel size counts twice.",
         lambda c, k, f: sum((k * a + 3) * b for a, b in pairwise([3, *c])) + parameters([], k, f)),
        ("a kernel of a convolution reaches through all input channels: multiply by their number.",
         lambda c, k, f: sum((k**2 + 3) * b for b in c) + parameters([], k, f)),
        ("the first convolution is missing: its inputs are the 3 channels of the image.",
         lambda c, k, f: parameters(c, k, f) - parameters(c[:1], k, [])),
        ("the linear layers are missing.", lambda c, k, f: parameters(c, k, [])),
        ("the convolutions are missing.", lambda c, k, f: parameters([], k, f)),
    ]  # fmt: skip
    slips_of_all = [(message, [slip(*case) for case in cases]) for message, slip in slips]
    for value in got:
        expect_returned(value)
    expect_close(got, np.array([parameters(*case) for case in cases]), slips_of_all, "the list of your two results")


@exercise("epoch_of")
def epoch_of(solution: Callable) -> None:
    """Check ``epoch_of(step, num_images, batch_size)``."""
    cases = [(1, 1000, 64), (15, 1000, 64), (16, 1000, 64), (30, 1000, 64), (31, 1000, 64), (450, 1000, 64)]
    got = [call(solution, *case) for case in cases]
    for value in got:
        expect_returned(value)
    slips: list[tuple[str, Callable]] = [
        ("you count epochs from 0. The first step belongs to epoch 1: people count from 1.",
         lambda s, n, b: epoch(s, n, b) - 1),
        ("the last step of an epoch still belongs to it: look at step 15 of epochs of 15 steps.",
         lambda s, n, b: s // (n // b) + 1),
        ("you round down: 1 step of 15 is no finished epoch, but it lies in the first.",
         lambda s, n, b: s // (n // b)),
        ("an epoch has whole batches only: 1000 images make 15 batches of 64, the last 40 images are left out.",
         lambda s, n, b: -(-s // -(-n // b))),
        ("an epoch has whole batches only: round the number of its steps down before you divide by it.",
         lambda s, n, b: int(np.ceil(s * b / n))),
        ("this is a share of epochs. Round it up: the number of the epoch is whole.",
         lambda s, n, b: s / (n // b)),
        ("you return the number of steps of an epoch.", lambda s, n, b: n // b),
    ]  # fmt: skip
    slips_of_all = [(message, [slip(*case) for case in cases]) for message, slip in slips]
    expect_close(got, np.array([epoch(*case) for case in cases]), slips_of_all, "the list of your epochs")


@exercise("mish")
def mish(solution: Callable) -> None:
    """Check ``mish(x)``."""
    x = np.array([-30.0, -3.0, -1.1924, -0.5, 0.0, 0.5, 2.0, 30.0])
    with np.errstate(all="ignore"):
        slips = [
            ("this is softplus alone: Mish multiplies x by its tanh.", np.logaddexp(0, x)),
            ("the tanh is missing: x is multiplied by a number below 1.", x * np.logaddexp(0, x)),
            ("the factor x in front is missing.", np.tanh(np.logaddexp(0, x))),
            ("this is Swish, x times the sigmoid. It looks alike, but Mish takes the tanh of softplus.",
             x / (1 + np.exp(-x))),
            ("this is ReLU.", np.maximum(x, 0)),
            ("the 1 inside the logarithm is missing: softplus is ln(1 + e^x).", x * np.tanh(x)),
            ("softplus has e to the power of x, not of -x.", x * np.tanh(np.logaddexp(0, -x))),
            ("softplus takes the natural logarithm.", x * np.tanh(np.log2(1 + np.exp(x)))),
            ("the logarithm is missing: softplus is ln(1 + e^x).", x * np.tanh(1 + np.exp(x))),
        ]  # fmt: skip
    expect_close(call(solution, x), mish_of(x), slips, rtol=1e-5, atol=1e-7)


@exercise("gap_at_loss")
def gap_at_loss(solution: Callable) -> None:
    """Check ``gap_at_loss(loss, gap, level)``."""
    loss, gap = np.array([2.0, 1.6, 1.2, 1.4, 0.8]), np.array([1.0, 2.0, 6.0, 5.0, 16.0])
    levels = [1.6, 1.5, 1.25, 0.9]
    got = [call(solution, loss, gap, level) for level in levels]
    for value in got:
        expect_returned(value)
    rows = np.arange(len(loss))
    first = [int(np.argmax(loss <= level)) for level in levels]
    nearest = [int(np.argmin(np.abs(loss - level))) for level in levels]
    last = [int(rows[loss > level][-1]) + 1 for level in levels]

    def line(ends: list[int]) -> list[float]:
        shares = [(loss[k - 1] - level) / (loss[k - 1] - loss[k]) for k, level in zip(ends, levels, strict=True)]
        return [gap[k - 1] + t * (gap[k] - gap[k - 1]) for k, t in zip(ends, shares, strict=True)]

    right = [gap_at(loss, gap, level) for level in levels]
    slips = [
        ("this is the gap of the first epoch at or below the level. Go back along the line to where it is crossed.",
         gap[first]),
        ("this is the gap of the epoch before the level is reached: it still lies above it.",
         gap[[max(k - 1, 0) for k in first]]),
        ("this is the gap of the epoch whose loss is nearest. Between two epochs, take the straight line.",
         gap[nearest]),
        ("take the first time that the loss gets down to the level, not the last.", line(last)),
        ("you draw the line the wrong way round: right after the epoch before, the gap is still that epoch's.",
         [gap[k] + gap[k - 1] - g for k, g in zip(first, right, strict=True)]),
        ("this is the middle of two epochs. The level need not lie in the middle of their losses.",
         [(gap[k] + gap[k - 1]) / 2 for k in first]),
        ("this is the last gap of all, at equal epochs. (With `np.interp`: it needs losses that rise, and these fall.)",
         [gap[-1]] * len(levels)),
        ("sorting the losses mixes the epochs: a loss that rises again comes in between. Find the first crossing.",
         [np.interp(level, np.sort(loss), gap[np.argsort(loss)]) for level in levels]),
        ("this is the number of an epoch. Return the gap there.", first),
    ]  # fmt: skip
    expect_close(got, np.array(right), slips, "the list of your gaps")
