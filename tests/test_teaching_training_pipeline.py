"""Checks of notebook 08's exercises: mutants that readers really write are rejected with a message that fits,
the notebook's own solutions and differently written right ones are accepted."""

from math import sqrt

import numpy as np
import pytest
import torch
from mutants import exercise_tests

from cnncourse.teaching import training_pipeline as checks


def var(p, n):
    return p * (1 - p) / n


STANDARD_ERRORS = [
    (lambda a, b, n: (a - b) / sqrt(var(a, n) + var(b, n)), "sign is turned"),
    (lambda a, b, n: (b - a) / (var(a, n) + var(b, n)), "root is missing"),
    (lambda a, b, n: (b - a) / sqrt(var(a, n)), "one accuracy alone"),
    (lambda a, b, n: (b - a) / sqrt(var(b, n)), "one accuracy alone"),
    (lambda a, b, n: (b - a) / (sqrt(var(a, n)) + sqrt(var(b, n))), "errors are added up"),
    (lambda a, b, n: (b - a) / (sqrt(abs(var(a, n) - var(b, n))) or 1), "variances are subtracted"),
    (lambda a, b, n: (b - a) / sqrt(var(a, 1) + var(b, 1)), "n is missing"),
    (lambda a, b, n: b - a, "not divided"),
    (lambda a, b, n: sqrt(var(a, n) + var(b, n)), "How many of them"),
    (lambda a, b, n: (b - a) / sqrt(2 * var((a + b) / 2, n)), "pooled"),
    (lambda a, b, n: 100 * (b - a) / sqrt(var(a, n) + var(b, n)), "is off"),
    (lambda a, b, n: None, "returns None"),
]


def pad(image, P, **how):
    return np.pad(image, ((0, 0), (P, P), (P, P)), **how)


def cut(image, top, left, H, W):
    return image[:, top : top + H, left : left + W]


SHIFTED = [
    (lambda x, r, c, P: cut(pad(x, P), c, r, *x.shape[1:]), "swapped"),
    (lambda x, r, c, P: cut(pad(x, P, mode="edge"), r, c, *x.shape[1:]), "repeats"),
    (lambda x, r, c, P: cut(pad(x, P, mode="reflect"), r, c, *x.shape[1:]), "mirrors"),
    (lambda x, r, c, P: np.roll(x, (P - r, P - c), (1, 2)), "comes back on the other"),
    (lambda x, r, c, P: x, "play no part"),
    (lambda x, r, c, P: cut(pad(x, P), r + P, c + P, *x.shape[1:]), "has shape|corner"),
    (lambda x, r, c, P: cut(pad(x, P), 2 * P - r, 2 * P - c, *x.shape[1:]), "wrong side"),
    (lambda x, r, c, P: pad(x, P), "comes back whole"),
    (lambda x, r, c, P: cut(x, r, c, *x.shape[1:]), "nothing is padded"),
    (lambda x, r, c, P: cut(pad(x, P), r, c, x.shape[1] - P, x.shape[2] - P), "lost P"),
    (lambda x, r, c, P: cut(np.pad(x, P), r, c, *x.shape[1:]), "has shape"),
    (lambda x, r, c, P: None, "returns None"),
]


def sigma(x):
    return 1 / (1 + np.exp(-x))


SWISH_DERIVATIVE = [
    (lambda x: x * sigma(x), "Swish itself"),
    (lambda x: sigma(x), "derivative of the sigmoid is missing"),
    (lambda x: x * sigma(x) * (1 - sigma(x)), "derivative of x is missing"),
    (lambda x: sigma(x) * (1 - sigma(x)), "product rule"),
    (lambda x: sigma(x) + sigma(x) * (1 - sigma(x)), "factor x is missing"),
    (lambda x: sigma(x) + x * (1 - sigma(x)), "one factor is missing"),
    (lambda x: sigma(x) - x * sigma(x) * (1 - sigma(x)), "wrong sign"),
    (lambda x: (x > 0) * 1.0, "ReLU"),
    (lambda x: sigma(-x) - x * sigma(-x) * (1 - sigma(-x)), "sigmoid has the wrong sign"),
    (lambda x: None, "returns None"),
]


def probabilities(z):
    e = np.exp(z)
    return e / e.sum(1, keepdims=True)


def onehot(z, y):
    return np.eye(z.shape[1])[y]


def relu(z):
    return np.maximum(z, 0)


def positive_only(z, y):
    e = np.exp(relu(z)) * (z > 0)
    return np.nan_to_num(e / e.sum(1, keepdims=True)) - onehot(z, y) * (z > 0)


LOGIT_GRADIENT = [
    (lambda z, y: probabilities(z) - onehot(z, y), "without the ReLU"),
    (lambda z, y: probabilities(relu(z)) - onehot(z, y), "One step further back"),
    (lambda z, y: (probabilities(z) - onehot(z, y)) * (z > 0), "softmax sees z"),
    (lambda z, y: (onehot(z, y) - probabilities(relu(z))) * (z > 0), "sign is turned"),
    (lambda z, y: probabilities(relu(z)) * (z > 0), "onehot is missing"),
    (lambda z, y: (probabilities(relu(z)) - onehot(z, y)) * (z <= 0), "gate is open"),
    (lambda z, y: (probabilities(relu(z)) - onehot(z, y)) * relu(z), "multiplied by the logits"),
    (lambda z, y: (probabilities(relu(z)) - onehot(z, y)) * (z > 0) / len(z), "mean over the images"),
    (positive_only, "logits of 0 are lost"),
    (lambda z, y: None, "returns None"),
]
SGD_STEP = [
    (lambda w, g, lr, wd: w - lr * g, "decay is missing"),
    (lambda w, g, lr, wd: w - lr * (g - wd * w), "away from 0"),
    (lambda w, g, lr, wd: w - lr * g - wd * w, "not multiplied by the learning rate"),
    (lambda w, g, lr, wd: w + lr * (g + wd * w), "uphill"),
    (lambda w, g, lr, wd: w - lr * (g + wd * np.sign(w)), "in proportion"),
    (lambda w, g, lr, wd: w - lr * (g + 2 * wd * w), "factor 2"),
    (lambda w, g, lr, wd: w - lr * (g + wd * w**2), "penalty itself"),
    (lambda w, g, lr, wd: w - lr * (g + wd), "factor w"),
    (lambda w, g, lr, wd: g + wd * w, "One step"),
    (lambda w, g, lr, wd: w - lr * wd * w, "only the decay"),
    (lambda w, g, lr, wd: None, "returns None"),
]

MUTANTS = {
    "standard_errors": STANDARD_ERRORS,
    "shifted": SHIFTED,
    "swish_derivative": SWISH_DERIVATIVE,
    "logit_gradient": LOGIT_GRADIENT,
    "sgd_step": SGD_STEP,
}


def shifted_by_slices(image, top, left, P):
    H, W = image.shape[1:]
    out = np.zeros_like(image)
    for r in range(H):
        for c in range(W):
            if 0 <= r + top - P < H and 0 <= c + left - P < W:
                out[:, r, c] = image[:, r + top - P, c + left - P]
    return out


def by_rows(z, y):
    rows = []
    for row, k in zip(z, y, strict=True):
        p = probabilities(relu(row[None]))[0]
        p[k] -= 1
        p[row <= 0] = 0
        rows.append(p)
    return rows


OTHERWISE_WRITTEN = [
    ("standard_errors", lambda a, b, n: sqrt(n) * (b - a) / sqrt(a - a**2 + b - b**2)),
    ("shifted", shifted_by_slices),
    ("swish_derivative", lambda x: x * sigma(x) + sigma(x) * (1 - x * sigma(x))),
    ("logit_gradient", by_rows),
    ("sgd_step", lambda w, g, lr, wd: (1 - lr * wd) * w - lr * g),
]

globals().update(exercise_tests("08_training_pipeline", checks, MUTANTS, OTHERWISE_WRITTEN, {"np": np}))


def test_the_references_agree_with_torch():
    x = torch.linspace(-9, 9, 50, dtype=torch.float64, requires_grad=True)
    y = torch.nn.functional.silu(x)
    y.sum().backward()
    assert np.allclose(checks.swish(x.detach().numpy()), y.detach())
    assert np.allclose(checks.swish_slope(x.detach().numpy()), x.grad)
    z = torch.randn(7, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.arange(7)
    torch.nn.functional.cross_entropy(z.relu(), labels, reduction="sum").backward()
    assert np.allclose(checks.push_through_relu(z.detach().numpy(), labels.numpy()), z.grad)
    w = torch.tensor([1.0, -2.0], requires_grad=True)
    w.grad = torch.tensor([0.5, 0.25])
    before = w.detach().numpy().copy()
    torch.optim.SGD([w], lr=0.1, weight_decay=0.3).step()
    assert np.allclose(checks.decay_step(before, np.array([0.5, 0.25]), 0.1, 0.3), w.detach())


def test_swish_does_not_overflow():
    assert checks.swish(np.array([-1000.0, 1000.0])) == pytest.approx([0, 1000])
