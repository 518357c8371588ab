"""Checks of notebook 17's exercises: mutants that readers really write are rejected with a message that fits,
the notebook's own solutions and differently written right ones are accepted. Its formulas agree with torch."""

import numpy as np
import pytest
import torch
from mutants import exercise_tests
from torch import nn

from cnncourse.models import create
from cnncourse.teaching import vgg_a_batchnorm as checks

AXES = (0, 2, 3)


def up(v):
    return v[:, None, None]


def norm(x, gamma, beta, mean, var, eps):
    return up(gamma) * (x - up(mean)) / np.sqrt(up(var) + eps) + up(beta)


def forward(x, gamma, beta, rm, rv, training, eps, momentum, /, **slip):
    """The right solution, with one slip: other outputs or running statistics in training, or in evaluation."""
    y, new_rm, new_rv = checks.batch_norm(x, gamma, beta, rm, rv, training, eps, momentum)
    mean, var = x.mean(AXES), x.var(AXES)
    space = dict(x=x, gamma=gamma, beta=beta, rm=rm, rv=rv, eps=eps, m=momentum, mean=mean, var=var, n=x[:, 0].size)
    here = {k: f(space) for k, f in slip.items() if k.endswith("_eval") != training}
    name = "" if training else "_eval"
    return here.get("y" + name, y), here.get("rm" + name, new_rm), here.get("rv" + name, new_rv)


def slipped(**slip):
    return lambda *args: forward(*args, **slip)


def in_place(x, gamma, beta, rm, rv, training, eps, momentum):
    if training:
        rm *= 1 - momentum
        rm += momentum * x.mean(AXES)
    return checks.batch_norm(x, gamma, beta, rm, rv, training, eps, momentum)


BN_FORWARD = [
    (slipped(y=lambda s: norm(s["x"], 1 + 0 * s["gamma"], 0 * s["beta"], s["mean"], s["var"], s["eps"])),
     "gamma and beta are missing"),
    (slipped(y=lambda s: norm(s["x"], s["gamma"], 0 * s["beta"], s["mean"], s["var"], s["eps"])), "beta is missing"),
    (slipped(y=lambda s: norm(s["x"], 1 + 0 * s["gamma"], s["beta"], s["mean"], s["var"], s["eps"])), "gamma is"),
    (slipped(y=lambda s: up(s["gamma"]) * (s["x"] - up(s["mean"])) / (up(s["var"]) + s["eps"]) + up(s["beta"])),
     "root of the variance"),
    (slipped(y=lambda s: up(s["gamma"]) * (s["x"] - up(s["mean"])) / (up(s["var"]) ** 0.5 + s["eps"]) + up(s["beta"])),
     "under the root"),
    (slipped(y=lambda s: norm(s["x"], s["gamma"], s["beta"], s["mean"], s["var"], 0)), "eps is missing"),
    (slipped(y=lambda s: norm(s["x"], s["gamma"], s["beta"], s["mean"], s["x"].var(AXES, ddof=1), s["eps"])),
     "this one divides by n"),
    (slipped(y=lambda s: norm(s["x"], s["gamma"], s["beta"], s["rm"], s["rv"], s["eps"])),
     "training: the running statistics normalise"),
    (slipped(y=lambda s: up(s["gamma"]) * (s["x"] - s["x"].mean(0)) / np.sqrt(s["x"].var(0) + s["eps"])
             + up(s["beta"])), "each pixel"),
    (slipped(y=lambda s: norm(s["x"], s["gamma"], s["beta"], 0 * s["mean"] + s["x"].mean(),
                              0 * s["var"] + s["x"].var(), s["eps"])), "all channels"),
    (slipped(rm=lambda s: s["rm"], rv=lambda s: s["rv"]), "running mean has come back"),
    (slipped(rm=lambda s: s["mean"]), "this batch alone"),
    (slipped(rm=lambda s: s["m"] * s["rm"] + (1 - s["m"]) * s["mean"]), "weight of the new value"),
    (slipped(rm=lambda s: s["rm"] + s["m"] * s["mean"]), "shrink"),
    (slipped(rv=lambda s: s["rv"]), "running variance has come back"),
    (slipped(rv=lambda s: (1 - s["m"]) * s["rv"] + s["m"] * s["var"]), "divided by n - 1"),
    (slipped(rv=lambda s: (1 - s["m"]) * s["rv"] + s["m"] * np.sqrt(s["var"])), "standard deviation"),
    (slipped(rv=lambda s: (1 - s["m"]) * s["rv"] + s["m"] * s["var"] * 4 / 3), "not the batch size"),
    (slipped(y_eval=lambda s: norm(s["x"], s["gamma"], s["beta"], s["mean"], s["var"], s["eps"])),
     "evaluation: the batch's own"),
    (slipped(y_eval=lambda s: s["x"]), "as it is"),
    (slipped(rm_eval=lambda s: (1 - s["m"]) * s["rm"] + s["m"] * s["mean"]), "Only training moves"),
    (in_place, "changes an array"),
    (lambda *args: checks.batch_norm(*args)[0], "three arrays"),
    (lambda *args: None, "returns None"),
]  # fmt: skip


def backward(dy, x, gamma, eps, /, **slip):
    dx, dgamma, dbeta = checks.batch_norm_gradients(dy, x, gamma, eps)
    std = np.sqrt(x.var(AXES) + eps)
    x_hat = (x - up(x.mean(AXES))) / up(std)
    space = dict(dy=dy, x=x, gamma=gamma, std=std, x_hat=x_hat, dx=dx, dgamma=dgamma, dbeta=dbeta, n=x[:, 0].size)
    here = {k: f(space) for k, f in slip.items()}
    return here.get("dx", dx), here.get("dgamma", dgamma), here.get("dbeta", dbeta)


def slope(**slip):
    return lambda *args: backward(*args, **slip)


BN_BACKWARD = [
    (slope(dbeta=lambda s: s["dy"].mean(AXES)), "beta is a mean"),
    (slope(dbeta=lambda s: s["dgamma"], dgamma=lambda s: s["dbeta"]), "The order"),
    (slope(dgamma=lambda s: s["dgamma"] / s["n"]), "gamma is a mean"),
    (slope(dgamma=lambda s: (s["dy"] * s["x"]).sum(AXES)), "normalised x, not x"),
    (slope(dgamma=lambda s: s["dgamma"] * s["gamma"]), "factor gamma"),
    (slope(dx=lambda s: up(s["gamma"] / s["std"]) * s["dy"]), "taken for constants"),
    (slope(dx=lambda s: up(s["gamma"] / s["std"]) * (s["dy"] - up(s["dy"].mean(AXES)))), "way through the variance"),
    (slope(dx=lambda s: up(s["gamma"] / s["std"]) * (s["dy"] - s["x_hat"] * up((s["dy"] * s["x_hat"]).mean(AXES)))),
     "way through the mean"),
    (slope(dx=lambda s: up(s["gamma"] / s["std"]) * (s["dy"] - up(s["dbeta"]) - s["x_hat"] * up(s["dgamma"]))),
     "sums are subtracted"),
    (slope(dx=lambda s: s["dx"] / up(s["gamma"])), "gamma is missing"),
    (slope(dx=lambda s: s["dx"] * up(s["std"])), "not divided by the spread"),
    (slope(dx=lambda s: s["dx"] / up(s["std"])), "divided by the variance"),
    (slope(dx=lambda s: -s["dx"]), "turned around"),
    (lambda dy, x, gamma, eps: checks.batch_norm_gradients(dy, x, gamma, eps)[0], "three arrays"),
]  # fmt: skip


def folding(k, change):
    """The right two arrays, one of them changed."""

    def mutant(weight, bias, gamma, beta, mean, var, eps):
        arrays = list(checks.folded(weight, bias, gamma, beta, mean, var, eps))
        scale = gamma / np.sqrt(var + eps)
        arrays[k] = change(weight=weight, bias=bias, gamma=gamma, beta=beta, mean=mean, var=var, eps=eps, scale=scale)
        return tuple(arrays)

    return mutant


FOLD = [
    (folding(0, lambda weight, **_: weight), "weights are as they were"),
    (folding(0, lambda weight, scale, **_: weight * scale[:, None, None]), "not with the input channel"),
    (folding(0, lambda weight, scale, **_: weight * scale), "not with the last"),
    (folding(0, lambda weight, gamma, var, eps, **_: weight * (gamma / (var + eps))[:, None, None, None]), "variance"),
    (folding(0, lambda weight, gamma, **_: weight * gamma[:, None, None, None]), "gamma alone"),
    (folding(0, lambda weight, gamma, var, **_: weight * (gamma / np.sqrt(var))[:, None, None, None]), "eps"),
    (folding(1, lambda bias, **_: bias), "bias is as it was"),
    (folding(1, lambda bias, beta, mean, scale, **_: bias - mean * scale + beta), "normalised, too"),
    (folding(1, lambda beta, mean, scale, **_: beta - mean * scale), "forgotten"),
    (folding(1, lambda bias, beta, scale, **_: bias * scale + beta), "not subtracted"),
    (folding(1, lambda bias, mean, scale, **_: (bias - mean) * scale), "beta is missing"),
    (folding(1, lambda bias, mean, beta, scale, **_: (bias + mean) * scale + beta), "mean is added"),
    (lambda *args: checks.folded(*args)[0], "two arrays"),
]

SIGNAL_AFTER = [
    (lambda L, n, v: (n * v / 2) ** L, "mean square"),
    (lambda L, n, v: np.sqrt(n * v) ** L, "ReLU is missing"),
    (lambda L, n, v: (np.sqrt(n * v) / 2) ** L, "half of its root"),
    (lambda L, n, v: np.sqrt(n * v / 2), "one layer"),
    (lambda L, n, v: L * np.sqrt(n * v / 2), "add up"),
    (lambda L, n, v: np.sqrt(n * v**2 / 2) ** L, "variance already"),
    (lambda L, n, v: np.sqrt(v / 2) ** L, "their number"),
    (lambda L, n, v: np.sqrt(2 * n * v) ** L, "doubles"),
    (lambda L, n, v: None, "returns None"),
]


def length(v):
    return np.linalg.norm(v)


STEP_MEASURES = [
    (lambda b, a, g: (length(a - b), checks.ratio_and_cosine(b, a, g)[1]), "length of the step alone"),
    (lambda b, a, g: (length(b) / length(a - b), checks.ratio_and_cosine(b, a, g)[1]), "wrong way around"),
    (lambda b, a, g: (length(a - b) / length(a), checks.ratio_and_cosine(b, a, g)[1]), "before the step"),
    (lambda b, a, g: (length(a - b) / length(g), checks.ratio_and_cosine(b, a, g)[1]), "with the gradient"),
    (lambda b, a, g: (np.abs((a - b) / b).mean(), checks.ratio_and_cosine(b, a, g)[1]), "mean over the entries"),
    (lambda b, a, g: checks.ratio_and_cosine(b, a, g)[::-1], "ratio comes first"),
    (lambda b, a, g: checks.ratio_and_cosine(b, a, -g), "other sign"),
    (lambda b, a, g: (length(a - b) / length(b), -np.sum((a - b) * g)), "both lengths"),
    (lambda b, a, g: (length(a - b) / length(b), -np.sum(a * g) / length(a) / length(g)), "after the step"),
    (lambda b, a, g: checks.ratio_and_cosine(b, a, g)[0], "two numbers"),
]

MUTANTS = {
    "bn_forward": BN_FORWARD,
    "bn_backward": BN_BACKWARD,
    "fold": FOLD,
    "signal_after": SIGNAL_AFTER,
    "step_measures": STEP_MEASURES,
}


def forward_by_torch(x, gamma, beta, rm, rv, training, eps, momentum):
    layer = nn.BatchNorm2d(len(gamma), eps, momentum, dtype=torch.float64).train(training)
    new = {"weight": gamma, "bias": beta, "running_mean": rm, "running_var": rv}
    layer.load_state_dict({k: torch.tensor(v) for k, v in new.items()}, strict=False)
    y = layer(torch.tensor(x))
    return [t.detach().numpy() for t in (y, layer.running_mean, layer.running_var)]


def backward_by_autograd(dy, x, gamma, eps):
    X, g = torch.tensor(x, requires_grad=True), torch.tensor(gamma, requires_grad=True)
    b = torch.zeros_like(g, requires_grad=True)
    nn.functional.batch_norm(X, None, None, g, b, training=True, eps=eps).backward(torch.tensor(dy))
    return X.grad.numpy(), g.grad.numpy(), b.grad.numpy()


def fold_by_loop(weight, bias, gamma, beta, mean, var, eps):
    new_weight, new_bias = weight.copy(), bias.copy()
    for c in range(len(bias)):
        std = (var[c] + eps) ** 0.5
        new_weight[c] = gamma[c] * weight[c] / std
        new_bias[c] = gamma[c] * (bias[c] - mean[c]) / std + beta[c]
    return [new_weight, new_bias]


def signal_by_loop(L, fan_in, variance):
    square = 1.0
    for _ in range(L):
        square *= fan_in * variance * 0.5
    return square**0.5


def measures_by_torch(before, after, gradient):
    step = torch.tensor(after - before).flatten()
    cosine = nn.functional.cosine_similarity(step, -torch.tensor(gradient).flatten(), dim=0)
    return step.norm() / torch.tensor(before).norm(), cosine


OTHERWISE_WRITTEN = [
    ("bn_forward", forward_by_torch),
    ("bn_backward", backward_by_autograd),
    ("fold", fold_by_loop),
    ("signal_after", signal_by_loop),
    ("step_measures", measures_by_torch),
]

globals().update(exercise_tests("17_vgg_a_batchnorm", checks, MUTANTS, OTHERWISE_WRITTEN, {"np": np, "check": checks}))


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_is_that_of_torch(training):
    rng = np.random.RandomState(1)
    x, gamma, beta, rm = rng.normal(size=(3, 2, 4, 4)), rng.normal(size=2), rng.normal(size=2), rng.normal(size=2)
    args = (x, gamma, beta, rm, np.array([0.5, 2.0]), training, 1e-3, 0.3)
    for ours, torchs in zip(checks.batch_norm(*args), forward_by_torch(*args), strict=True):
        np.testing.assert_allclose(ours, torchs)


def test_gradients_are_those_of_autograd():
    rng = np.random.RandomState(2)
    x, dy, gamma = rng.normal(size=(3, 2, 4, 4)), rng.normal(size=(3, 2, 4, 4)), rng.normal(size=2)
    for ours, torchs in zip(
        checks.batch_norm_gradients(dy, x, gamma, 1e-3), backward_by_autograd(dy, x, gamma, 1e-3), strict=True
    ):
        np.testing.assert_allclose(ours, torchs, atol=1e-12)


def test_folded_convolution_computes_what_both_layers_compute():
    torch.manual_seed(0)
    conv, norm_layer = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3)
    norm_layer.load_state_dict(
        {"weight": torch.randn(3), "bias": torch.randn(3), "running_mean": torch.randn(3)}
        | {"running_var": torch.rand(3) + 0.5, "num_batches_tracked": torch.tensor(1)}
    )
    parts = (conv.weight, conv.bias, *(norm_layer.state_dict()[k] for k in ("weight", "bias")))
    parts += (norm_layer.running_mean, norm_layer.running_var)
    weight, bias = checks.folded(*(t.detach().numpy() for t in parts), norm_layer.eps)
    X = torch.randn(4, 2, 6, 6)
    ours = nn.functional.conv2d(X, torch.tensor(weight), torch.tensor(bias))
    torch.testing.assert_close(ours, norm_layer.eval()(conv(X)), atol=1e-5, rtol=1e-5)


def test_signal_of_a_new_network_shrinks_as_the_formula_says():
    """Linear layers with ReLU and without biases, wide enough that chance hardly matters."""
    torch.manual_seed(0)
    layers = [nn.Linear(1000, 1000, bias=False) for _ in range(6)]  # torch's default: variance 1 / (3 fan_in)
    x = torch.randn(64, 1000)
    with torch.no_grad():
        z = first = layers[0](x)
        for layer in layers[1:]:
            z = layer(torch.relu(z))
    measured = float((z.square().mean() / first.square().mean()).sqrt())
    assert measured == pytest.approx(checks.attenuation(5, 1000, 1 / 3000), rel=0.1)


def test_cosine_is_zero_where_nothing_moves():
    w, g = np.ones(3), np.array([1.0, 0.0, 2.0])
    assert checks.ratio_and_cosine(w, w, g) == (0.0, 0.0)


def test_the_experiments_networks_are_the_reports():
    """Layers as the notebook's exercise on folding needs them: each convolution is followed by its normalisation."""
    kinds = [type(m).__name__ for m in create("vgg_a_bn", width=0.125).features]
    assert kinds.count("Conv2d") == kinds.count("BatchNorm2d") == 8
    assert all(kinds[k + 1] == "BatchNorm2d" for k, kind in enumerate(kinds) if kind == "Conv2d")
