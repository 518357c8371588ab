"""Checks of notebook 06's exercises: mutants that readers really write are rejected with a message that fits,
the notebook's own solutions and differently written right ones are accepted."""

import numpy as np
from mutants import exercise_tests

from cnncourse.teaching import true_or_false as checks


def bn(x, gamma, beta, eps, axes=(0, 2, 3), root=np.sqrt, ddof=0):
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True, ddof=ddof)
    return gamma[:, None, None] * (x - mean) / root(variance + eps) + beta[:, None, None]


def bn_channel_by_channel(x, gamma, beta, eps):
    out = np.empty_like(x)
    for c in range(x.shape[1]):
        channel = x[:, c]
        out[:, c] = gamma[c] * (channel - channel.mean()) / (channel.var() + eps) ** 0.5 + beta[c]
    return out


BATCH_NORM = [
    (lambda x, g, b, e: bn(x, np.ones(3), np.zeros(3), e), "shift and scale are missing"),
    (lambda x, g, b, e: bn(x, g, np.zeros(3), e), "beta is missing"),
    (lambda x, g, b, e: bn(x, np.ones(3), b, e), "gamma is missing"),
    (lambda x, g, b, e: bn(x, g, b, e, root=lambda v: v), "square root is missing"),
    (lambda x, g, b, e: bn(x, g, b, 0), "eps is missing"),
    (lambda x, g, b, e: bn(x, g, b, 0, root=lambda v: np.sqrt(v) + e), "outside the root"),
    (lambda x, g, b, e: bn(x, g, b, e, root=lambda v: 1), "nothing is divided"),
    (lambda x, g, b, e: bn(x, g, b, e, axes=(2, 3)), "each image"),
    (lambda x, g, b, e: bn(x, g, b, e, axes=(0,)), "each pixel"),
    (lambda x, g, b, e: bn(x, g, b, e, axes=(0, 1, 2, 3)), "all channels"),
    (lambda x, g, b, e: bn(x, g, b, e, ddof=1), "n - 1"),
    (lambda x, g, b, e: g * (x - x.mean()) / x.std() + b, "stops with ValueError"),
    (lambda x, g, b, e: None, "returns None"),
]
SOFT_THRESHOLD = [
    (lambda w, lam: w / (1 + 2 * lam), "L2 penalty"),
    (lambda w, lam: np.where(np.abs(w) > lam, w, 0), "move by lam, too"),
    (lambda w, lam: w - lam * np.sign(w), "get past zero"),
    (lambda w, lam: np.maximum(np.abs(w) - lam, 0), "signs are lost"),
    (lambda w, lam: w - lam, "all weights move down"),
    (lambda w, lam: np.maximum(w - lam, 0), "all gone"),
    (lambda w, lam: w + lam * np.sign(w), "away from 0"),
    (lambda w, lam: np.sign(w) * (np.abs(w) > lam), "only the signs"),
    (lambda w, lam: w, "as they were"),
    (lambda w, lam: None, "returns None"),
]
SEPARABLE_RATIO = [
    (lambda M, N, F: (F * F * M + M * N) / (F * F * M * N), "upside down"),
    (lambda M, N, F: F * F * M * N / (F * F * M), "1 x 1 convolution is missing"),
    (lambda M, N, F: F * F * M * N / (M * N), "depthwise step is missing"),
    (lambda M, N, F: F * M * N / (F * M + M * N), "F times F"),
    (lambda M, N, F: F * F * M * N / (F * F * N + M * N), "for each output channel|mixed up"),
    (lambda M, N, F: F * F * M * N / (F * F * M * M * N), "costs add up"),
    (lambda M, N, F: 9, "but it saves"),
    (lambda M, N, F: None, "returns None"),
]

MUTANTS = {"batch_norm": BATCH_NORM, "soft_threshold": SOFT_THRESHOLD, "separable_ratio": SEPARABLE_RATIO}
OTHERWISE_WRITTEN = [
    ("batch_norm", bn),
    ("batch_norm", bn_channel_by_channel),
    ("soft_threshold", lambda w, lam: np.maximum(w - lam, 0) + np.minimum(w + lam, 0)),
    ("soft_threshold", lambda w, lam: w - np.clip(w, -lam, lam)),
    ("separable_ratio", lambda M, N, F: 1 / (1 / N + 1 / F**2)),
]

globals().update(exercise_tests("06_true_or_false", checks, MUTANTS, OTHERWISE_WRITTEN, {"np": np}))
