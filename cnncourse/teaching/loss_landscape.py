"""Checks for the exercises of notebook 18, and the same computations for its experiments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cnncourse.teaching.checking import CheckError, call, exercise, expect_close, expect_returned

Gradient = Callable[[np.ndarray], np.ndarray]


def smoothness_ratios(grad: Gradient, w: np.ndarray, step_sizes: Sequence[float]) -> np.ndarray:
    """Gradient change over distance at w - a g, for each step size a: Santurkar et al. (2018), figure 4c."""
    g = grad(w)
    return np.array([np.linalg.norm(grad(w - a * g) - g) / (a * np.linalg.norm(g)) for a in step_sizes])


def unitless_ratio(g: np.ndarray, g_new: np.ndarray, w: np.ndarray, w_new: np.ndarray) -> float:
    """Relative change of the gradient over relative change of the weights."""
    norm = np.linalg.norm
    return float(norm(g_new - g) / norm(g) / (norm(w_new - w) / norm(w)))


def above(rates: Sequence[float], scores: Sequence[float], bar: float) -> float:
    """Decades of the rate over which the line through the points (log10 rate, score) is at least `bar`."""
    x, y = np.log10(rates), np.asarray(scores, dtype=float)
    low, high = np.minimum(y[:-1], y[1:]), np.maximum(y[:-1], y[1:])
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = (high - bar) / (high - low)
    share = np.where(low >= bar, 1.0, np.where(high < bar, 0.0, crossing))
    return float((np.diff(x) * share).sum())


def _quartic(w: np.ndarray) -> np.ndarray:
    """Gradient of sum(w^4) / 4 + w0 w1: its curvature changes along the way."""
    w = np.asarray(w, dtype=float)
    return w**3 + np.array([w[1], w[0], 0.0])


@exercise("beta")
def beta(solution: Callable) -> None:
    """Check ``beta(grad, w, step_sizes)``."""
    w, sizes = np.array([1.0, -2.0, 0.5]), [0.05, 0.02, 0.1, 0.08]
    g, norm = _quartic(w), np.linalg.norm
    ratios = smoothness_ratios(_quartic, w, sizes)
    changes = np.array([_quartic(w - a * g) - g for a in sizes])
    uphill = np.array([_quartic(w + a * g) - g for a in sizes])
    a = np.array(sizes)
    ones = np.ones(3)
    literal = norm(_quartic(w + ones) - g) / norm(ones)
    signs = np.array([norm(_quartic(w - a * np.sign(g)) - g) / (a * norm(np.sign(g))) for a in sizes])
    units = np.array([norm(_quartic(w - a * g / norm(g)) - g) / a for a in sizes])
    longer = np.array([norm(_quartic(w - a * g)) - norm(g) for a in sizes])
    expect_close(
        call(solution, _quartic, w, sizes),
        ratios.max(),
        [
            ("this is the formula as printed: a one is added to every weight. The step goes to w - a g.", literal),
            ("these are the ratios of all step sizes. The largest is asked for.", ratios),
            ("this is the smallest ratio. The largest is asked for.", ratios.min()),
            ("this is the mean of the ratios. The largest is asked for.", ratios.mean()),
            ("this is the sum of the ratios. The largest is asked for.", ratios.sum()),
            ("this is the ratio of the last step size alone. Take the largest of all.", ratios[-1]),
            ("this is the ratio of the first step size alone. Take the largest of all.", ratios[0]),
            ("the step goes uphill, to w + a g. The walk is against the gradient.",
             (norm(uphill, axis=1) / (a * norm(g))).max()),
            ("the change of the gradient is not divided by the distance.", norm(changes, axis=1).max()),
            ("it is divided by the norm of g. The distance is that of the step, a times it.",
             (norm(changes, axis=1) / norm(g)).max()),
            ("it is divided by the step size alone. The distance is a times the norm of g.",
             (norm(changes, axis=1) / a).max()),
            ("the squares of the norms are divided. Take the roots.", (ratios**2).max()),
            ("the largest entry is taken for the norm.",
             (np.abs(changes).max(1) / (a * np.abs(g).max())).max()),
            ("the norms are subtracted from each other. Subtract the gradients, then take the norm.",
             (longer / (a * norm(g))).max()),
            ("the norms are subtracted from each other. Subtract the gradients, then take the norm.",
             (np.abs(longer) / (a * norm(g))).max()),
            ("the step goes along the signs of the gradient. It goes along the gradient itself.", signs.max()),
            ("the gradient is brought to length 1 before the step. It goes to w - a g.", units.max()),
        ],
    )  # fmt: skip


@exercise("relative_beta")
def relative_beta(solution: Callable) -> None:
    """Check ``relative_beta(g, g_new, w, w_new)``."""
    g, g_new = np.array([3.0, 4.0, 0.0]), np.array([1.0, 3.5, 2.0])
    w, w_new = np.array([1.0, -2.0, 2.0]), np.array([0.4, -2.8, 2.1])
    norm = np.linalg.norm
    dg, dw, right = norm(g_new - g), norm(w_new - w), unitless_ratio(g, g_new, w, w_new)
    expect_close(
        call(solution, g, g_new, w, w_new),
        right,
        [
            ("this is the ratio with its unit. Divide each change by the length of what changes.", dg / dw),
            ("it is upside down: the gradient stands above, the weights below.", 1 / right),
            ("only the change of the gradient is relative. That of the weights is, too.", dg / norm(g) / dw),
            ("only the change of the weights is relative. That of the gradient is, too.", dg / (dw / norm(w))),
            ("this is the relative change of the gradient alone.", dg / norm(g)),
            ("this is the relative change of the weights alone.", dw / norm(w)),
            ("the changes are divided by the new lengths. Divide by those before the step.",
             dg / norm(g_new) / (dw / norm(w_new))),
            ("the change of the gradient is divided by its new length.", dg / norm(g_new) / (dw / norm(w))),
            ("the lengths are the wrong way around: the gradient's change goes with the gradient.",
             dg / norm(w) / (dw / norm(g))),
            ("norms are subtracted from each other. Subtract the arrays, then take the norm.",
             abs(norm(g_new) - norm(g)) / norm(g) / (abs(norm(w_new) - norm(w)) / norm(w))),
            ("the relative changes are multiplied. One is divided by the other.", dg / norm(g) * dw / norm(w)),
            ("the roots are missing: a norm is the root of the sum of squares.", right**2),
        ],
    )  # fmt: skip


@exercise("band_width")
def band_width(solution: Callable) -> None:
    """Check ``band_width(losses, start)``."""
    losses = np.array(
        [[2.3, 2.0, 1.6, 1.0, 0.8, 0.30], [2.3, 2.1, 1.9, 1.6, 1.4, 1.25], [2.2, 2.3, 1.2, 0.7, 0.1, 0.35]]
    )
    start = 2
    got = call(solution, losses, start)
    expect_returned(got)
    if not isinstance(got, (tuple, list, np.ndarray)) or len(got) != 2:
        raise CheckError("two numbers are asked for: the width, and the relative width.")

    def widths(values: np.ndarray) -> tuple[float, float]:
        width = np.ptp(values, axis=0)
        return float(width.mean()), float((width / values.mean(0)).mean())

    kept = losses[:, start:]
    width, low, high, mean = np.ptp(kept, axis=0), kept.min(0), kept.max(0), kept.mean(0)
    right = widths(kept)
    every, early, late = widths(losses), widths(losses[:, :start]), widths(losses[:, start + 1 :])
    expect_close(
        got[0],
        right[0],
        [
            ("the width over all steps. It is asked for from step `start` on.", every[0]),
            ("the width of the steps before `start`. It is asked for from there on.", early[0]),
            ("the width begins one step late: column `start` is counted from 0, and belongs to it.", late[0]),
            ("this is how far each training falls. The band lies between the trainings, step by step.",
             np.ptp(kept, axis=1).mean()),
            ("the standard deviation between the trainings. The band goes from the lowest to the highest.",
             kept.std(0).mean()),
            ("the standard deviation along the trainings. The band lies between them.", kept.std(1).mean()),
            ("the highest loss of all minus the lowest of all. Take them step by step, then the mean.", np.ptp(kept)),
            ("the widest place of the band. The mean over the steps is asked for.", width.max()),
            ("the sum over the steps. The mean is asked for.", width.sum()),
            ("the sign: the highest minus the lowest.", -right[0]),
            ("the two numbers have changed places: the width comes first.", right[1]),
        ],
        what="the width",
    )  # fmt: skip
    expect_close(
        got[1],
        right[1],
        [
            ("the relative width is divided once, at the end. Divide at each step by the mean loss there.",
             right[0] / kept.mean()),
            ("the relative width is divided by the lowest loss. Divide by the mean of the trainings.",
             (width / low).mean()),
            ("the relative width is divided by the highest loss. Divide by the mean of the trainings.",
             (width / high).mean()),
            ("the relative width is divided by the middle of the band. Divide by the mean of the trainings.",
             (width / ((low + high) / 2)).mean()),
            ("the relative width is divided by the sum of the losses. Divide by their mean.",
             (width / mean / len(kept)).mean()),
            ("the relative width is taken over all steps, not from `start` on.", every[1]),
            ("the relative width is not divided by anything.", right[0]),
        ],
        what="the relative width",
    )  # fmt: skip


@exercise("decades")
def decades(solution: Callable) -> None:
    """Check ``decades(rates, scores, bar)``."""
    rates, scores, bar = [2e-5, 1e-3, 2e-3, 1e-2, 1e-1], [15.0, 50.0, 55.0, 45.0, 20.0], 30.0
    x, y = np.log10(rates), np.array(scores)
    right = above(rates, scores, bar)
    passing = x[y >= bar]
    between = passing[-1] - passing[0]
    r = np.array(rates)
    left, end = np.interp(bar, y[:2], r[:2]), np.interp(-bar, -y[3:], r[3:])
    grid = [
        ("this counts rates of the grid. A finer grid would make the range longer.", float(len(passing))),
        ("the range ends at the last grid points above the bar. The line between two points goes on to the bar.",
         between),
        ("natural logarithms. A decade is a factor of 10: log10.", right * np.log(10)),
        ("this is the factor between the ends. Its log10 is the number of decades.", 10.0**right),
        ("this is the factor between grid points. Its log10 would be decades.", 10.0**between),
        ("the ends are interpolated along the rate. Interpolate along its logarithm, as the figure draws it.",
         np.log10(end / left)),
        ("this is the whole grid.", x[-1] - x[0]),
        ("this is what lies below the bar. At least the bar is asked for.", x[-1] - x[0] - right),
        ("this is the difference of the rates. Take their logarithms first.", r[y >= bar][-1] - r[y >= bar][0]),
    ]  # fmt: skip
    expect_close(call(solution, rates, scores, bar), right, grid, what="the number of decades")
    expect_close(
        call(solution, [0.01, 0.1, 1.0], [10.0, 20.0, 15.0], 30.0), 0.0, what="a curve that never reaches the bar"
    )
    expect_close(
        call(solution, [0.01, 0.1, 1.0], [50.0, 60.0, 40.0], 30.0),
        2.0,
        what="a curve that is above the bar everywhere",
    )
    dip, dipping = [1e-4, 1e-3, 1e-2, 1e-1], [40.0, 20.0, 40.0, 40.0]
    expect_close(
        call(solution, dip, dipping, 30.0),
        above(dip, dipping, 30.0),
        [("a gap in the middle is counted: rates at which the score is below the bar.", 3.0)],
        what="a curve with a gap",
    )
