"""Checks of notebook 10's exercises: mutants that readers really write are rejected with a message that fits,
the notebook's own solutions and differently written right ones are accepted."""

from itertools import pairwise
from math import ceil, isnan

import numpy as np
import pytest
from mutants import exercise_tests

from cnncourse import models
from cnncourse.teaching import deeper_cnn as checks


def misfits(convs, fc, side, num_pools, *, start=3, swap=False, power=2, pools=True, convolutions=True, head=True):
    """A right solution, which the options make wrong."""
    found = []
    if convolutions:
        outs = [start] + [c_out for _, c_out in convs]
        found = [(out, c_in) for out, (c_in, _) in zip(outs, convs, strict=False) if out != c_in]
    features = convs[-1][1] * (side // 2**num_pools if pools else side) ** power
    if head and features != fc[0]:
        found.append((features, fc[0]))
    return [(b, a) for a, b in found] if swap else found


def count(channels, kernel, fc, *, bn=2, bias=1, fc_bias=1, power=2, start=3, depth=True):
    sizes = [start, *channels]
    convs = [b * ((a if depth else 1) * kernel**power + bias + bn) for a, b in pairwise(sizes)]
    return sum(convs) + sum(b * (a + fc_bias) for a, b in pairwise(fc))


def crossing(loss, gap, level):
    """By searching with indices instead of walking."""
    below = np.flatnonzero(np.asarray(loss) <= level)
    if not len(below) or below[0] == 0:
        return gap[0] if len(below) else float("nan")
    k = below[0]
    return np.interp(-level, [-loss[k - 1], -loss[k]], [gap[k - 1], gap[k]])


MISMATCHES = [
    (lambda c, f, s, p: misfits(c, f, s, p, swap=True), "wrong way round"),
    (lambda c, f, s, p: misfits(c, f, s, p, power=1), "everything fits|side counts twice"),
    (lambda c, f, s, p: misfits(c, f, s, p, pools=False), "everything fits|poolings"),
    (lambda c, f, s, p: misfits(c, f, s, p, head=False), "first linear layer is missing"),
    (lambda c, f, s, p: misfits(c, f, s, p, convolutions=False), "2 place"),
    (lambda c, f, s, p: misfits(c, f, s, p, start=c[0][0]), "first convolution counts"),
    (lambda c, f, s, p: [], "linear layer is missing|place"),
    (lambda c, f, s, p: len(misfits(c, f, s, p)), "list of pairs"),
    (lambda c, f, s, p: None, "returns None"),
]
NUM_PARAMS = [
    (lambda c, k, f: count(c, k, f, bn=0), "gamma and beta, are missing"),
    (lambda c, k, f: count(c, k, f, bn=1), "You count two"),
    (lambda c, k, f: count(c, k, f, bn=4), "measured, not learned"),
    (lambda c, k, f: count(c, k, f, bias=0), "You count two"),
    (lambda c, k, f: count(c, k, f, fc_bias=0), "unit of a linear layer"),
    (lambda c, k, f: count(c, k, f, bias=0, fc_bias=0), "no layer has its bias"),
    (lambda c, k, f: count(c, k, f, power=1), "counts twice"),
    (lambda c, k, f: count(c, k, f, depth=False), "through all input channels"),
    (lambda c, k, f: count(c, k, []), "linear layers are missing"),
    (lambda c, k, f: count([], k, f), "convolutions are missing"),
    (lambda c, k, f: count(c[1:], k, f, start=c[0]), "first convolution is missing"),
    (lambda c, k, f: None, "returns None"),
]
EPOCH_OF = [
    (lambda s, n, b: (s - 1) // (n // b), "from 0"),
    (lambda s, n, b: s // (n // b) + 1, "last step"),
    (lambda s, n, b: s // (n // b), "round down"),
    (lambda s, n, b: ceil(s / ceil(n / b)), "whole batches"),
    (lambda s, n, b: ceil(s * b / n), "whole batches"),
    (lambda s, n, b: s / (n // b), "share of epochs"),
    (lambda s, n, b: n // b, "steps of an epoch"),
    (lambda s, n, b: None, "returns None"),
]
MISH = [
    (lambda x: np.log1p(np.exp(x)), "softplus alone"),
    (lambda x: x * np.log1p(np.exp(x)), "tanh is missing"),
    (lambda x: np.tanh(np.log1p(np.exp(x))), "factor x"),
    (lambda x: x / (1 + np.exp(-x)), "Swish"),
    (lambda x: np.maximum(x, 0), "ReLU"),
    (lambda x: x * np.tanh(np.log(np.exp(x))), "the 1 inside"),
    (lambda x: x * np.tanh(np.log1p(np.exp(-x))), "not of -x"),
    (lambda x: x * np.tanh(np.log2(1 + np.exp(x))), "natural"),
    (lambda x: x * np.tanh(1 + np.exp(x)), "logarithm is missing"),
    (lambda x: None, "returns None"),
]


def first_below(loss, gap, level):
    return gap[np.argmax(loss <= level)]


def one_before(loss, gap, level):
    return gap[max(np.argmax(loss <= level) - 1, 0)]


def turned(loss, gap, level):
    k = np.argmax(loss <= level)
    return gap[k - 1] + (level - loss[k]) / (loss[k - 1] - loss[k]) * (gap[k] - gap[k - 1])


def last_crossing(loss, gap, level):
    k = np.flatnonzero(loss > level)[-1] + 1
    return gap[k - 1] + (loss[k - 1] - level) / (loss[k - 1] - loss[k]) * (gap[k] - gap[k - 1])


GAP_AT_LOSS = [
    (first_below, "at or below the level"),
    (one_before, "still lies above"),
    (lambda loss, gap, level: gap[np.abs(loss - level).argmin()], "nearest"),
    (last_crossing, "not the last"),
    (turned, "wrong way round"),
    (lambda loss, gap, level: (first_below(loss, gap, level) + one_before(loss, gap, level)) / 2, "middle"),
    (lambda loss, gap, level: gap[-1], "last gap of all"),
    (lambda loss, gap, level: np.interp(level, loss, gap), "np.interp"),
    (lambda loss, gap, level: np.interp(level, np.sort(loss), gap[np.argsort(loss)]), "sorting"),
    (lambda loss, gap, level: np.argmax(loss <= level), "number of an epoch"),
    (lambda loss, gap, level: None, "returns None"),
]

MUTANTS = {
    "mismatches": MISMATCHES,
    "num_params": NUM_PARAMS,
    "epoch_of": EPOCH_OF,
    "mish": MISH,
    "gap_at_loss": GAP_AT_LOSS,
}
OTHERWISE_WRITTEN = [
    ("mismatches", misfits),
    ("mismatches", lambda c, f, s, p: np.array(misfits(c, f, s, p)).tolist()),
    ("num_params", count),
    ("epoch_of", lambda s, n, b: ceil(s / (n // b))),
    ("mish", lambda x: x * np.tanh(np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0))),
    ("gap_at_loss", crossing),
]

globals().update(exercise_tests("10_deeper_cnn", checks, MUTANTS, OTHERWISE_WRITTEN, {"np": np, "pairwise": pairwise}))


@pytest.mark.parametrize(
    ("name", "channels", "kernel", "fc"),
    [
        ("cnn_3x3_bn", (32, 64, 128), 3, (2048, 64, 10)),
        ("cnn_5x5_bn", (32, 64, 128), 5, (2048, 64, 10)),
        ("deep_cnn_mish", (64, 128, 256, 512), 3, (2048, 1024, 512, 10)),
    ],
)
def test_the_count_is_that_of_the_networks(name, channels, kernel, fc):
    assert checks.parameters(channels, kernel, fc) == models.count_parameters(models.create(name))


def test_a_level_that_is_never_reached_has_no_gap():
    assert isnan(checks.gap_at([2.0, 1.0], [0.0, 1.0], 0.5))
