"""Checks of notebook 11's exercises: mutants that readers really write are rejected with a message that fits,
the notebook's own solutions and differently written right ones are accepted."""

import math
from math import ceil

import numpy as np
import pytest
import torch
from mutants import exercise_tests

from cnncourse.teaching import batch_size_and_dropout as checks


def counted(N, B, num_epochs):
    return num_epochs * len(range(0, N, B))


def costs(N, B1, t1, B2, t2, share=True, take_off=True):
    c = (t1 - t2) / (N / B1 - N / B2)
    images = t1 - c * N / B1 * take_off
    return images / N if share else images, c


def by_equations(N, B1, t1, B2, t2):
    return np.linalg.solve([[N, ceil(N / B1)], [N, ceil(N / B2)]], [t1, t2])


def spread(G, B):
    return G.var(axis=0).sum() / B


def rate(step, lr, B, B_new, warmup):
    return float(np.interp(step, [0, warmup], [lr, lr * B_new / B]))


def by_branches(step, lr, B, B_new, warmup):
    high = lr * B_new / B
    if step >= warmup:
        return high
    return lr + step * (high - lr) / warmup


def drop(x, p, u, training):
    return np.where(u < p, 0, x / (1 - p)) if training else x


def in_place(x, p, u, training):
    if training:
        x[u < p] = 0
        return x / (1 - p)
    return x


MUTANTS = {
    "count_updates": [
        (lambda N, B, e: ceil(N / B), "one epoch"),
        (lambda N, B, e: N // B * e, "last, smaller batch"),
        (lambda N, B, e: N / B * e, "whole thing"),
        (lambda N, B, e: ceil(N * e / B), "round once"),
        (lambda N, B, e: (N // B + 1) * e, "without a rest"),
        (lambda N, B, e: N * e, "images seen"),
        (lambda N, B, e: B / N * e, "other way around"),
        (lambda N, B, e: [ceil(N / B)] * e, "one number"),
        (lambda N, B, e: None, "returns None"),
    ],
    "fit_costs": [
        (lambda *a: costs(*a)[::-1], "wrong order"),
        (lambda *a: costs(*a, share=False), "Divide it by N"),
        (lambda N, B1, t1, B2, t2: ((t1 + (c := costs(N, B1, t1, B2, t2)[1]) * N / B1) / N, -c), "wrong sign"),
        (lambda *a: costs(*a, take_off=False), "still holds the steps"),
        (lambda N, B1, t1, B2, t2: (costs(N, B1, t1, B2, t2)[0], t1 / (N / B1)), "whole epoch is charged"),
        (
            lambda N, B1, t1, B2, t2: ((t1 - N / B1 * (c := (t1 - t2) / (B1 - B2))) / N, c),
            "difference of the batch sizes",
        ),
        (lambda *a: costs(*a)[0], "two numbers"),
        (lambda *a: None, "returns None"),
    ],
    "minibatch_variance": [
        (lambda G, B: spread(G, 1), "plays no part"),
        (lambda G, B: spread(G, B**2), "square of B"),
        (lambda G, B: spread(G, B**0.5), "root of B"),
        (lambda G, B: spread(G, 1 / B), "grows with B"),
        (lambda G, B: (G**2).sum(1).mean() / B, "not subtracted"),
        (lambda G, B: G.var(axis=0).mean() / B, "over the parameters"),
        (lambda G, B: G.var(axis=0) / B, "each parameter"),
        (lambda G, B: ((G - G.mean(0)) ** 2).sum(1) / B, "each image"),
        (lambda G, B: ((G - G.mean(0)) ** 2).sum() / B, "sum over the images"),
        (lambda G, B: spread(G, B) ** 0.5, "standard deviation"),
        (lambda G, B: G.var(axis=0, ddof=1).sum() / B, "N - 1"),
        (lambda G, B: None, "returns None"),
    ],
    "warmup_rate": [
        (lambda s, lr, B, B_new, w: lr * B_new / B, "no warm-up"),
        (lambda s, lr, B, B_new, w: lr, "stays at lr"),
        (lambda s, lr, B, B_new, w: lr * B_new / B * min(1, s / w), "starts at 0"),
        (lambda s, lr, B, B_new, w: lr + (lr * B_new / B - lr) * s / w, "goes on rising"),
        (lambda s, lr, B, B_new, w: lr + lr * B_new / B * min(1, s / w), "too much"),
        (lambda s, lr, B, B_new, w: rate(s, lr, B_new, B, w), "swapped"),
        (lambda s, lr, B, B_new, w: rate(s, lr, B**0.5, B_new**0.5, w), "root of the ratio"),
        (lambda s, lr, B, B_new, w: lr if s < w else lr * B_new / B, "jumps"),
        (lambda s, lr, B, B_new, w: rate(s, 1, B, B_new, w), "multiply it by lr"),
        (lambda s, lr, B, B_new, w: lr * (B_new / B) ** min(1, s / w), "constant factor"),
        (lambda s, lr, B, B_new, w: None, "returns None"),
    ],
    "dropout": [
        (lambda x, p, u, t: x, "nothing is dropped"),
        (lambda x, p, u, t: np.where(u < p, 0, x) if t else x, "not scaled up"),
        (lambda x, p, u, t: np.where(u < p, 0, x) / p if t else x, "divided by p"),
        (lambda x, p, u, t: np.where(u < p, 0, x) * (1 - p) if t else x, "multiplied by 1 - p"),
        (lambda x, p, u, t: np.where(u < p, x, 0) / (1 - p) if t else x, "below p"),
        (lambda x, p, u, t: np.where(u < p, x, 0) / p if t else x, "probability of being dropped"),
        (lambda x, p, u, t: drop(x, p, u, True), "evaluation mode, too"),
        (lambda x, p, u, t: drop(x, p, u, True) if t else x * (1 - p), "scaled in training already"),
        (lambda x, p, u, t: (u >= p) / (1 - p) if t else x, "this is the mask"),
        (lambda x, p, u, t: x / (1 - p) if t else x, "still there"),
        (in_place, "changes an array"),
        (lambda x, p, u, t: drop(x, p, u, t) if t else None, "returns None"),
    ],
}
OTHERWISE_WRITTEN = [
    ("count_updates", counted),
    ("count_updates", lambda N, B, e: -(-N // B) * e),
    ("fit_costs", costs),
    ("fit_costs", by_equations),
    ("minibatch_variance", spread),
    ("minibatch_variance", lambda G, B: np.trace(np.cov(G.T, bias=True)) / B),
    ("warmup_rate", rate),
    ("warmup_rate", by_branches),
    ("dropout", drop),
    ("dropout", lambda x, p, u, t: x - t * (x - x * np.heaviside(u - p, 1) / (1 - p))),
]

SPACE = {"np": np, "math": math}
globals().update(exercise_tests("11_batch_size_and_dropout", checks, MUTANTS, OTHERWISE_WRITTEN, SPACE))


def test_the_reports_two_epoch_times_give_the_third():
    """68.856 s at batch 4 and 32.288 s at batch 128 leave 31.7 s for batch 256, where the report has 30.678 s."""
    per_image, per_step = checks.epoch_costs(50_000, 4, 68.856, 128, 32.288)
    assert 50_000 * per_image + checks.updates(50_000, 256) * per_step == pytest.approx(31.7, abs=0.05)


def test_the_variance_of_drawn_batches_is_the_one_of_the_formula():
    generator = np.random.default_rng(0)
    G = generator.normal(size=(50, 3))
    means = G[generator.integers(50, size=(20_000, 8))].mean(1)
    assert ((means - G.mean(0)) ** 2).sum(1).mean() == pytest.approx(checks.batch_variance(G, 8), rel=0.03)


def test_inverted_dropout_is_the_one_of_torch():
    x = np.ones((100, 100))
    torch.manual_seed(0)
    kept = torch.nn.functional.dropout(torch.tensor(x), 0.3).numpy()
    u = np.where(kept > 0, 0.9, 0.1)
    np.testing.assert_allclose(checks.inverted_dropout(x, 0.3, u, True), kept)
    assert checks.inverted_dropout(x, 0.3, u, True).mean() == pytest.approx(1, abs=0.02)
