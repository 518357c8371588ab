"""The checks of notebook 18: wrong solutions are told what is off, right ones are accepted however they are written."""

import numpy as np
import pytest
import torch
from mutants import exercise_tests

from cnncourse.analysis import probe
from cnncourse.teaching import loss_landscape as checks

norm = np.linalg.norm


def walk(ratio=lambda change, g, a: norm(change) / (a * norm(g)), step=lambda a, g: -a * g, best=np.max):
    def beta(grad, w, step_sizes):
        g = grad(w)
        return best([ratio(grad(w + step(a, g)) - g, g, a) for a in step_sizes])

    return beta


def literal(grad, w, step_sizes):
    one = np.ones_like(w)
    return norm(grad(w + 1) - grad(w)) / norm(one)


def in_place(grad, w, step_sizes):
    g = grad(w)
    ratios = []
    for a in step_sizes:
        w -= a * g
        ratios.append(norm(grad(w) - g) / (a * norm(g)))
    return max(ratios)


BETA = [
    (literal, "as printed"),
    (walk(best=np.min), "smallest"),
    (walk(best=np.mean), "mean of the ratios"),
    (walk(best=np.sum), "sum of the ratios"),
    (walk(best=lambda r: r[-1]), "last step size"),
    (walk(best=lambda r: r[0]), "first step size"),
    (walk(best=np.array), "ratios of all"),
    (walk(step=lambda a, g: a * g), "uphill"),
    (walk(ratio=lambda d, g, a: norm(d)), "not divided"),
    (walk(ratio=lambda d, g, a: norm(d) / norm(g)), "a times it"),
    (walk(ratio=lambda d, g, a: norm(d) / a), "step size alone"),
    (walk(ratio=lambda d, g, a: (d @ d) / (a * a * (g @ g))), "roots"),
    (walk(ratio=lambda d, g, a: abs(d).max() / (a * abs(g).max())), "largest entry"),
    (walk(ratio=lambda d, g, a: (norm(d + g) - norm(g)) / (a * norm(g))), "norms are subtracted"),
    (walk(ratio=lambda d, g, a: norm(d) / (a * np.sqrt(3)), step=lambda a, g: -a * np.sign(g)), "signs"),
    (walk(ratio=lambda d, g, a: norm(d) / a, step=lambda a, g: -a * g / norm(g)), "length 1"),
    (in_place, "changes an array"),
    (lambda grad, w, step_sizes: None, "returns None"),
]

RELATIVE_BETA = [
    (lambda g, h, w, v: norm(h - g) / norm(v - w), "with its unit"),
    (lambda g, h, w, v: norm(v - w) / norm(w) / (norm(h - g) / norm(g)), "upside down"),
    (lambda g, h, w, v: norm(h - g) / norm(g) / norm(v - w), "weights is, too"),
    (lambda g, h, w, v: norm(h - g) / (norm(v - w) / norm(w)), "gradient is, too"),
    (lambda g, h, w, v: norm(h - g) / norm(g), "gradient alone"),
    (lambda g, h, w, v: norm(v - w) / norm(w), "weights alone"),
    (lambda g, h, w, v: norm(h - g) / norm(h) / (norm(v - w) / norm(v)), "new lengths"),
    (lambda g, h, w, v: norm(h - g) / norm(w) / (norm(v - w) / norm(g)), "wrong way around"),
    (lambda g, h, w, v: abs(norm(h) - norm(g)) / norm(g) / (abs(norm(v) - norm(w)) / norm(w)), "Subtract the arrays"),
    (lambda g, h, w, v: norm(h - g) / norm(g) * norm(v - w) / norm(w), "multiplied"),
    (lambda g, h, w, v: (h - g) @ (h - g) / (g @ g) / ((v - w) @ (v - w) / (w @ w)), "roots are missing"),
    (lambda g, h, w, v: (h - g) / g / ((v - w) / w), "shape|off|inf"),
    (lambda g, h, w, v: None, "returns None"),
]


def widths(cut=lambda L, s: L[:, s:], width=lambda L: L.max(0) - L.min(0), by=lambda L: L.mean(0), mean=np.mean):
    def band_width(losses, start):
        kept = cut(losses, start)
        return mean(width(kept)), mean(width(kept) / by(kept))

    return band_width


def divided_once(losses, start):
    kept = losses[:, start:]
    width = (kept.max(0) - kept.min(0)).mean()
    return width, width / kept.mean()


BAND_WIDTH = [
    (widths(cut=lambda L, s: L), "over all steps"),
    (widths(cut=lambda L, s: L[:, :s]), "before `start`"),
    (widths(cut=lambda L, s: L[:, s + 1 :]), "one step late"),
    (widths(width=lambda L: L.max(1) - L.min(1), by=lambda L: L.mean(1)), "how far each training falls"),
    (widths(width=lambda L: L.std(0)), "between the trainings. The band goes"),
    (widths(width=lambda L: L.std(1), by=lambda L: L.mean(1)), "along the trainings"),
    (widths(width=lambda L: L.max() - L.min()), "of all minus"),
    (widths(mean=np.max), "widest place"),
    (widths(mean=np.sum), "sum over the steps"),
    (widths(width=lambda L: L.min(0) - L.max(0)), "sign"),
    (lambda L, s: widths()(L, s)[::-1], "changed places"),
    (divided_once, "divided once"),
    (widths(by=lambda L: L.min(0)), "lowest loss"),
    (widths(by=lambda L: L.max(0)), "highest loss"),
    (widths(by=lambda L: (L.max(0) + L.min(0)) / 2), "middle of the band"),
    (widths(by=lambda L: L.sum(0)), "sum of the losses"),
    (widths(by=lambda L: 1), "not divided"),
    (lambda L, s: widths()(L, s)[0], "two numbers"),
    (lambda L, s: None, "returns None"),
]


def by_points(rates, scores, bar, log=np.log10):
    x = log([r for r, score in zip(rates, scores, strict=True) if score >= bar])
    return x[-1] - x[0] if len(x) else 0.0


def fine(rates, scores, bar, log=np.log10, points=200_001):
    """Counts the part of a fine grid that is above the bar: right to the grid's width."""
    x = log(rates)
    grid = np.linspace(x[0], x[-1], points)
    return (x[-1] - x[0]) * np.mean(np.interp(grid, x, scores) >= bar)


def segments(rates, scores, bar, measure=np.log10):
    total = 0.0
    for r0, r1, s0, s1 in zip(rates, rates[1:], scores, scores[1:], strict=False):
        length = measure(r1) - measure(r0)
        if min(s0, s1) >= bar:
            total += length
        elif max(s0, s1) >= bar:
            total += length * (max(s0, s1) - bar) / abs(s1 - s0)
    return total


def between_crossings(rates, scores, bar):
    """From the first to the last place at the bar, gaps included."""
    x, y = np.log10(rates), np.asarray(scores)
    inside = np.flatnonzero(y >= bar)
    if not len(inside):
        return 0.0
    first, last = inside[0], inside[-1]
    low = np.interp(bar, y[first - 1 : first + 1], x[first - 1 : first + 1]) if first else x[0]
    high = np.interp(-bar, -y[last : last + 2], x[last : last + 2]) if last < len(x) - 1 else x[-1]
    return high - low


def along_the_rate(rates, scores, bar):
    y = np.asarray(scores)
    left, right = np.interp(bar, y[:2], rates[:2]), np.interp(-bar, -y[-2:], rates[-2:])
    return np.log10(right / left)


DECADES = [
    (lambda rates, scores, bar: sum(s >= bar for s in scores), "counts rates"),
    (by_points, "goes on to the bar"),
    (lambda r, s, b: segments(r, s, b, np.log), "A decade is a factor of 10"),
    (lambda r, s, b: 10 ** segments(r, s, b), "factor between the ends"),
    (lambda r, s, b: 10 ** by_points(r, s, b), "factor between grid points"),
    (along_the_rate, "along the rate"),
    (lambda r, s, b: np.log10(r[-1] / r[0]), "whole grid"),
    (lambda r, s, b: np.log10(r[-1] / r[0]) - segments(r, s, b), "below the bar"),
    (lambda r, s, b: by_points(r, s, b, np.array), "difference of the rates"),
    (between_crossings, "a gap in the middle"),
    (lambda r, s, b: segments(r, s, b) if min(s) < b else 0.0, "above the bar everywhere"),
    (lambda r, s, b: None, "returns None"),
]

MUTANTS = {"beta": BETA, "relative_beta": RELATIVE_BETA, "band_width": BAND_WIDTH, "decades": DECADES}


def beta_by_torch(grad, w, step_sizes):
    w = torch.tensor(w)
    g = torch.tensor(grad(w.numpy()))
    steps = [a * g for a in step_sizes]
    return max(float(torch.dist(torch.tensor(grad((w - s).numpy())), g) / s.norm()) for s in steps)


OTHERWISE_WRITTEN = [
    ("beta", beta_by_torch),
    ("relative_beta", lambda g, h, w, v: norm(h - g) * norm(w) / (norm(g) * norm(v - w))),
    ("band_width", lambda L, s: np.array([np.ptp(L, 0)[s:].mean(), (np.ptp(L, 0) / L.mean(0))[s:].mean()])),
    ("decades", segments),
]

globals().update(exercise_tests("18_loss_landscape", checks, MUTANTS, OTHERWISE_WRITTEN, {"np": np, "check": checks}))


def test_the_ratios_are_those_of_the_probe_of_the_library():
    A = np.array([[2.0, 1.0], [1.0, 5.0]])
    w, sizes = np.array([1.0, -0.5]), [0.05, 0.2]

    class Quadratic(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.tensor(w))

        def forward(self, X):
            return self.w @ torch.tensor(A) @ self.w / 2

    found = probe(Quadratic(), torch.zeros(1, 1), torch.zeros(1), sizes, loss=lambda value, y: value)
    expected = checks.smoothness_ratios(lambda w: A @ w, w, sizes)
    np.testing.assert_allclose(found.gradient_changes / found.distances, expected)
    assert found.beta == pytest.approx(expected.max())


@pytest.mark.parametrize("seed", range(5))
def test_decades_above_a_bar_are_those_of_a_fine_grid(seed):
    rng = np.random.default_rng(seed)
    rates, scores = np.sort(10 ** rng.uniform(-5, 0, 6)), rng.uniform(10, 60, 6)
    assert checks.above(rates, scores, 30.0) == pytest.approx(fine(rates, scores, 30.0), abs=1e-3)


def test_the_relative_ratio_has_no_unit():
    rng = np.random.default_rng(0)
    g, h, w, v = rng.normal(size=(4, 7))
    assert checks.unitless_ratio(g / 3, h / 3, 3 * w, 3 * v) == pytest.approx(checks.unitless_ratio(g, h, w, v))
