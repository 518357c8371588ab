"""Checks of notebook 12's exercises: mutants that readers really write are rejected with a message that fits,
the notebook's own solutions and differently written right ones are accepted. Its formulas agree with torch."""

import numpy as np
import pytest
import torch
from mutants import exercise_tests

from cnncourse.teaching import losses_activations_optimizers as checks
from cnncourse.training.losses import LOSSES

NAMES = ("mse", "smooth_l1", "bce_with_logits", "cross_entropy")  # torch's, in the order of checks.LOSSES


def changed(values, **changes):
    """A list with some entries replaced: changed([1, 2], at1=5) is [1, 5]."""
    return [changes.get(f"at{k}", value) for k, value in enumerate(values)]


def constant(K, **changes):
    return changed(checks.chance_losses(K), **changes)


def square(K):
    return (1 - 1 / K) ** 2 + (K - 1) / K**2


CONSTANT_LOSSES = [
    (lambda K: constant(K, at0=square(K)), "MSE: this is the sum"),
    (lambda K: constant(K, at0=(1 - 1 / K) ** 2 / K), "right class alone"),
    (lambda K: constant(K, at0=(1 - 1 / K) ** 2), "one squared difference"),
    (lambda K: constant(K, at0=1 / K), "output of 0"),
    (lambda K: constant(K, at1=square(K) / K), "half is missing"),
    (lambda K: constant(K, at1=2 * (K - 1) / K**2), "absolute differences"),
    (lambda K: constant(K, at2=K * checks.chance_losses(K)[2]), "BCE: this is the sum"),
    (lambda K: constant(K, at2=np.log(K) / K), "right class alone"),
    (lambda K: constant(K, at2=np.log(2)), "coin toss"),
    (lambda K: constant(K, at3=np.log(K) / K), "divided by K"),
    (lambda K: constant(K, at3=np.log2(K)), "another base"),
    (lambda K: constant(K, at3=-np.log(K)), "sign"),
    (lambda K: checks.chance_losses(K)[::-1], "order"),
    (lambda K: checks.chance_losses(10), "K = 4.* is right"),
    (lambda K: np.log(K), "four numbers"),
    (lambda K: None, "returns None"),
]


def gradients(z, Y, **changes):
    return changed(checks.derivatives(z, Y), **changes)


LOSS_GRADIENTS = [
    (lambda z, Y: gradients(z, Y, at0=(z - Y) / z.size), "factor 2"),
    (lambda z, Y: gradients(z, Y, at0=2 * (z - Y) / len(z)), "MSE: this is divided by N alone"),
    (lambda z, Y: gradients(z, Y, at1=(z - Y) / z.size), "not cut off"),
    (lambda z, Y: gradients(z, Y, at1=np.sign(z - Y) / z.size), "sign alone"),
    (lambda z, Y: gradients(z, Y, at2=(z - Y) / z.size), "instead of their sigmoid"),
    (lambda z, Y: gradients(z, Y, at2=(checks.softmax(z) - Y) / z.size), "BCE: this is the softmax"),
    (
        lambda z, Y: gradients(
            z, Y, at2=(checks.sigmoid(z) - Y) * checks.sigmoid(z) * (1 - checks.sigmoid(z)) / z.size
        ),
        "cancels",
    ),
    (lambda z, Y: gradients(z, Y, at3=(checks.softmax(z) - Y) / z.size), "divided by K, too"),
    (lambda z, Y: gradients(z, Y, at3=(z - Y) / len(z)), "instead of their softmax"),
    (lambda z, Y: [-g for g in checks.derivatives(z, Y)], "turned around"),
    (lambda z, Y: [g * z.size for g in checks.derivatives(z, Y)], "not divided"),
    (lambda z, Y: checks.derivatives(z, Y)[:3], "four gradients"),
    (lambda z, Y: gradients(z, Y, at0=np.zeros_like(z)), "MSE is off"),
    (lambda z, Y: None, "returns None"),
]


def slopes(**others):
    return lambda name, x: others.get(name, checks.SLOPES[name])(x)


SLOPE = [
    (slopes(relu=lambda x: np.maximum(x, 0)), "relu: this is the function"),
    (slopes(relu=lambda x: np.ones_like(x)), "1 everywhere"),
    (slopes(leaky_relu=lambda x: (x > 0) * 1.0), "that of relu"),
    (slopes(leaky_relu=lambda x: np.where(x > 0, 1, -0.01)), "rises there, too"),
    (slopes(tanh=lambda x: 1 - np.tanh(x)), "square that is subtracted"),
    (slopes(tanh=lambda x: np.tanh(x) * (1 - np.tanh(x))), "pattern of sigmoid"),
    (slopes(sigmoid=lambda x: 1 - checks.sigmoid(x)), "multiplied by sigmoid"),
    (slopes(sigmoid=lambda x: x * (1 - x)), "sigmoid of x"),
    (slopes(softplus=lambda x: checks.sigmoid(x) * (1 - checks.sigmoid(x))), "Differentiate"),
    (slopes(softplus=lambda x: 1 / (1 + np.exp(x))), "inner derivative"),
    (slopes(softplus=lambda x: np.exp(x) / (1 + np.exp(x))), "inf / inf"),
    (lambda name, x: None, "returns None"),
]


def scaled(norm):
    def clip(gradients, max_norm):
        factor = min(1.0, max_norm / norm(gradients))
        return [g * factor for g in gradients]

    return clip


def in_place(gradients, max_norm):
    factor = min(1.0, max_norm / checks.joint_norm(gradients))
    for g in gradients:
        g *= factor
    return gradients


CLIP = [
    (lambda gs, m: [g * min(1, m / np.linalg.norm(g)) for g in gs], "by itself"),
    (lambda gs, m: [np.clip(g, -m, m) for g in gs], "cut off"),
    (lambda gs, m: list(gs), "nothing has been scaled"),
    (scaled(lambda gs: sum(np.linalg.norm(g) for g in gs)), "norms of the arrays"),
    (scaled(lambda gs: sum((g**2).sum() for g in gs)), "root is missing"),
    (scaled(lambda gs: sum(np.abs(g).sum() for g in gs)), "adds up squares"),
    (scaled(lambda gs: max(np.abs(g).max() for g in gs)), "largest entry"),
    (lambda gs, m: [g / checks.joint_norm(gs) for g in gs], "norm 1"),
    (lambda gs, m: [g * m / checks.joint_norm(gs) for g in gs], "below the limit"),
    (in_place, "changes an array"),
    (lambda gs, m: [g / np.float64(checks.joint_norm(gs)) * min(m, checks.joint_norm(gs)) for g in gs], "zeros"),
    (lambda gs, m: checks.joint_norm(gs), "a list is asked for"),
    (lambda gs, m: None, "returns None"),
]
SWING = [
    (np.std, "standard deviation of the values"),
    (lambda v: np.diff(v).std(ddof=1), "n - 1"),
    (lambda v: np.diff(v).mean(), "how fast"),
    (lambda v: np.abs(np.diff(v)).mean(), "mean size"),
    (lambda v: np.diff(v).var(), "variance"),
    (lambda v: np.sqrt((np.diff(v) ** 2).mean()), "root of the mean square"),
    (lambda v: np.abs(np.diff(v)).std(), "A fall"),
    (np.ptp, "highest"),
    (lambda v: np.diff(v)[1:].std(), "all values but one"),
    (lambda v: np.diff(v, n=2).std(), "off"),
    (lambda v: None, "returns None"),
]


def adagrad(add=lambda s, g: s + g**2, old=False, root=np.sqrt, sign=-1.0):
    def step(w, g, s, lr, eps):
        new = add(s, g)
        return w + sign * lr * g / (root(s if old else new) + eps), new

    return step


ADAGRAD_STEP = [
    (adagrad(add=lambda s, g: s), "as it was"),
    (adagrad(add=lambda s, g: g**2), "forgets nothing"),
    (adagrad(add=lambda s, g: s + g), "without the square"),
    (adagrad(add=lambda s, g: 0.9 * s + 0.1 * g**2), "RMSprop"),
    (adagrad(old=True), "old sum"),
    (adagrad(root=lambda s: s), "root is missing"),
    (lambda w, g, s, lr, eps: (w - lr * g / np.sqrt(s + g**2 + eps), s + g**2), "under the root"),
    (adagrad(root=lambda s: 1), "the weights is off|SGD"),
    (lambda w, g, s, lr, eps: (w - lr * g, s + g**2), "SGD"),
    (adagrad(sign=1.0), "uphill"),
    (lambda w, g, s, lr, eps: checks.adagrad(w, g, s, lr, eps)[::-1], "weights come first"),
    (lambda w, g, s, lr, eps: w - lr * g, "two arrays"),
    (lambda w, g, s, lr, eps: None, "returns None"),
]

MUTANTS = {
    "constant_losses": CONSTANT_LOSSES,
    "loss_gradients": LOSS_GRADIENTS,
    "slope": SLOPE,
    "clip": CLIP,
    "swing": SWING,
    "adagrad_step": ADAGRAD_STEP,
}


def by_torch(z, Y):
    found = []
    for name in NAMES:
        logits = torch.tensor(z, requires_grad=True)
        LOSSES[name](logits, torch.tensor(Y).argmax(1)).backward()
        found.append(logits.grad.numpy())
    return found


def constant_by_arrays(K):
    p, y = np.full(K, 1 / K), np.eye(K)[0]
    d = np.abs(p - y)
    return (
        (d**2).mean(),
        np.where(d < 1, d**2 / 2, d - 0.5).mean(),
        -np.where(y == 1, np.log(p), np.log1p(-p)).mean(),
        -np.log(p[0]),
    )


def clip_by_vector(gradients, max_norm):
    norm = np.linalg.norm(np.concatenate([g.ravel() for g in gradients]))
    return [g / norm * max_norm for g in gradients] if norm > max_norm else gradients


OTHERWISE_WRITTEN = [
    ("constant_losses", constant_by_arrays),
    ("loss_gradients", by_torch),
    ("slope", slopes(relu=lambda x: np.heaviside(x, 0), softplus=lambda x: 1 / (1 + np.exp(-x)))),
    ("slope", slopes(tanh=lambda x: 1 / np.cosh(np.clip(x, -300, 300)) ** 2)),
    ("clip", clip_by_vector),
    ("clip", lambda gs, m: [g * min(1, m / (checks.joint_norm(gs) + 1e-6)) for g in gs]),
    ("swing", lambda v: float(torch.tensor(v).diff().std(correction=0))),
    ("adagrad_step", adagrad()),
]

globals().update(
    exercise_tests("12_losses_activations_optimizers", checks, MUTANTS, OTHERWISE_WRITTEN, {"np": np, "check": checks})
)


def test_the_losses_of_a_constant_predictor_are_those_of_torch():
    K, y = 10, torch.arange(10)
    outputs = {"mse": 0.1, "smooth_l1": 0.1, "bce_with_logits": float(np.log(0.1 / 0.9)), "cross_entropy": 0.1}
    expected = [float(LOSSES[name](torch.full((K, K), outputs[name]), y)) for name in NAMES]
    assert checks.chance_losses(K) == pytest.approx(expected, rel=1e-6)


def test_the_slopes_are_those_of_torch():
    from cnncourse.models.activations import activation

    x = torch.linspace(-5, 5, 40, dtype=torch.float64, requires_grad=True)
    for name, slope in checks.SLOPES.items():
        (expected,) = torch.autograd.grad(activation(name)(x).sum(), x)
        np.testing.assert_allclose(slope(x.detach().numpy()), expected.numpy(), atol=1e-12, err_msg=name)
