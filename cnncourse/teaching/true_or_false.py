"""Checks for the exercises of notebook 06, and the same computations for its experiments."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cnncourse.teaching.checking import CheckError, call, exercise, expect_close, expect_returned


def normalise(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, eps: float, *, axes=(0, 2, 3), ddof=0) -> np.ndarray:
    """Batch normalisation in train mode of x (N, C, H, W): Ioffe and Szegedy (2015), algorithm 1."""
    mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True, ddof=ddof)
    return gamma[:, None, None] * (x - mean) / np.sqrt(variance + eps) + beta[:, None, None]


def shrink_l1(w: np.ndarray, lam: float) -> np.ndarray:
    """Proximal step of lam |w|: Parikh and Boyd (2014), "Proximal algorithms", section 6.5.2."""
    return np.where(w > lam, w - lam, np.where(w < -lam, w + lam, 0.0))


def cost_ratio(M: int, N: int, F: int) -> float:
    """Multiply-adds of an F x F convolution over those of its separable replacement: Howard et al. (2017), 3.1."""
    return F**2 * N / (F**2 + N)


@exercise("batch_norm")
def batch_norm(solution: Callable) -> None:
    """Check ``batch_norm(x, gamma, beta, eps)``."""
    rng = np.random.RandomState(3)
    x = rng.normal(2, 3, size=(6, 3, 4, 5)) * np.array([1.0, 4.0, 0.2])[:, None, None]
    gamma, beta, eps = np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.0, -1.0]), 1e-3
    ones, zeros = np.ones(3), np.zeros(3)
    mean, variance = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    scale, shift = gamma[:, None, None], beta[:, None, None]
    expect_close(
        call(solution, x, gamma, beta, eps),
        normalise(x, gamma, beta, eps),
        [
            (
                "the learned shift and scale are missing: multiply by gamma and add beta.",
                normalise(x, ones, zeros, eps),
            ),
            ("beta is missing: the learned shift comes last.", normalise(x, gamma, zeros, eps)),
            ("gamma is missing: the normalised values are multiplied by it.", normalise(x, ones, beta, eps)),
            (
                "the square root is missing: divide by the standard deviation, not by the variance.",
                scale * (x - mean) / (variance + eps) + shift,
            ),
            (
                "eps is added outside the root. It belongs to the variance, under the root.",
                scale * (x - mean) / (np.sqrt(variance) + eps) + shift,
            ),
            ("eps is missing under the root.", scale * (x - mean) / np.sqrt(variance) + shift),
            (
                "the mean is subtracted, but nothing is divided by the standard deviation.",
                scale * (x - mean) + shift,
            ),
            (
                "each image is normalised by itself. Batch normalisation takes a channel over all images: axis 0, too.",
                normalise(x, gamma, beta, eps, axes=(2, 3)),
            ),
            (
                "each pixel is normalised by itself, over the images. All pixels of a channel belong together.",
                normalise(x, gamma, beta, eps, axes=(0,)),
            ),
            (
                "all channels are normalised together. Each has a mean and a variance of its own.",
                normalise(x, gamma, beta, eps, axes=(0, 1, 2, 3)),
            ),
            (
                "the variance divides by n - 1. Here it is the mean of the squared deviations, by n.",
                normalise(x, gamma, beta, eps, ddof=1),
            ),
            (
                "beta is added before the scaling, so gamma multiplies it, too.",
                scale * ((x - mean) / np.sqrt(variance + eps) + shift),
            ),
        ],
    )


@exercise("soft_threshold")
def soft_threshold(solution: Callable) -> None:
    """Check ``soft_threshold(w, lam)``."""
    w, lam = np.array([[-2.0, -0.3, -0.1], [0.0, 0.2, 1.5]]), 0.25
    right = shrink_l1(w, lam)
    expect_close(
        call(solution, w, lam),
        right,
        [
            ("this is a fraction of each weight, the step of the L2 penalty.", w / (1 + 2 * lam)),
            ("small weights become 0, but the large ones should move by lam, too.", np.where(np.abs(w) > lam, w, 0)),
            ("small weights get past zero and come out on the other side: stop them at 0.", w - lam * np.sign(w)),
            ("the signs are lost: negative weights stay negative.", np.abs(right)),
            ("all weights move down by lam. They should move towards 0: negative ones up.", w - lam),
            ("negative weights are all gone. They move towards 0 like the positive ones.", np.maximum(w - lam, 0)),
            ("weights move away from 0. The penalty draws them towards it.", w + lam * np.sign(w)),
            ("only the signs are left. They are multiplied by |w| - lam.", np.sign(w) * (np.abs(w) > lam)),
            ("the weights come back as they were.", w),
        ],
    )


@exercise("separable_ratio")
def separable_ratio(solution: Callable) -> None:
    """Check ``separable_ratio(M, N, F)``."""
    cases = [(16, 32, 3), (64, 8, 3), (7, 100, 5)]
    got = [call(solution, *case) for case in cases]
    for value in got:
        expect_returned(value)
    slips: list[tuple[str, Callable[[int, int, int], float]]] = [
        ("the quotient is upside down: the ordinary one stands above.", lambda M, N, F: 1 / cost_ratio(M, N, F)),
        ("the 1 x 1 convolution is missing below.", lambda M, N, F: N),
        ("the depthwise step is missing below.", lambda M, N, F: F**2),
        ("a kernel of height F and width F has F times F weights.", lambda M, N, F: F * N / (F + N)),
        ("M and N are mixed up in the depthwise step: it has one kernel for each input channel.",
         lambda M, N, F: F**2 * M / (F**2 + M)),
        ("the depthwise step is counted for each output channel. It makes one map of each input channel, once.",
         lambda M, N, F: F**2 * M * N / (F**2 * N + M * N)),
        ("the two steps are multiplied. One comes after the other: their costs add up.",
         lambda M, N, F: F**2 * M * N / (F**2 * M * M * N)),
    ]  # fmt: skip
    numbers = [float(value) for value in got]
    if np.allclose(numbers, [cost_ratio(*case) for case in cases]):
        return
    for message, slip in slips:
        if np.allclose(numbers, [slip(*case) for case in cases]):
            raise CheckError(message)
    M, N, F = cases[0]
    raise CheckError(
        f"for M = {M}, N = {N}, F = {F} you return {numbers[0]:.4g}, but it saves {cost_ratio(M, N, F):.4g}."
    )
