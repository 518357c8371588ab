"""The checks of notebook 15: each wrong solution gets a message that fits it."""

import numpy as np
import pytest
import torch
from mutants import exercise_tests

from cnncourse.models import count_parameters, create
from cnncourse.teaching import resnet_family as checks


def gradient(branch, shortcut=lambda g: g):
    """A wrong solution: what comes back through the branch is not what it should be."""
    return lambda x, W1, W2, g: shortcut(g) + branch(x, W1, W2, g)


BLOCK_GRADIENT = [
    (gradient(lambda x, A, B, g: A.T @ ((B.T @ g) * (A @ x > 0)), lambda g: 0 * g), "branch alone"),
    (lambda x, A, B, g: g, "shortcut alone"),
    (gradient(lambda x, A, B, g: A.T @ (B.T @ g)), "ReLU is missing"),
    (gradient(lambda x, A, B, g: A @ ((B @ g) * (A @ x > 0))), "go forward"),
    (gradient(lambda x, A, B, g: B @ ((A @ g) * (A @ x > 0))), "go forward"),
    (gradient(lambda x, A, B, g: B.T @ ((A.T @ g) * (A @ x > 0))), "last layer comes first"),
    (gradient(lambda x, A, B, g: A.T @ ((B.T @ g) * (x > 0))), "looks at x"),
    (gradient(lambda x, A, B, g: A.T @ np.maximum(B.T @ g, 0)), "looks at the gradient"),
    (gradient(lambda x, A, B, g: A.T @ ((B.T @ g) * np.maximum(A @ x, 0))), "slope is 1 or 0"),
    (lambda x, A, B, g: x + B @ np.maximum(A @ x, 0), "output of the block"),
    (lambda x, A, B, g: g * (A.T @ ((B.T @ g) * (A @ x > 0))), "The two are added"),
    (lambda x, A, B, g: None, "returns None"),
]


def added(x, A, B, g):
    g += A.T @ ((B.T @ g) * (A @ x > 0))
    return g


BLOCK_GRADIENT.append((added, "changes an array"))

DEPTH = [
    (lambda layers, block: 1 + {"basic": 2, "bottleneck": 3}[block] * sum(layers), "stem is missing"),
    (lambda layers, block: {"basic": 2, "bottleneck": 3}[block] * sum(layers), "only the blocks"),
    (lambda layers, block: sum(layers), "these are the blocks"),
    (lambda layers, block: 2 + sum(layers), "counts once"),
    (lambda layers, block: 2 + 2 * sum(layers), "bottleneck has three"),
    (lambda layers, block: 2 + 3 * sum(layers), "basic block has two"),
    (lambda layers, block: checks.weighted_layers(layers, block) + 3, "projections"),
    (lambda layers, block: checks.weighted_layers(layers, block) + 1, "pooling"),
    (lambda layers, block: None, "returns None"),
]


def counted(norm=2, bias=0, project=True, window=1, project_norm=2, widen=4, needed=None, first=None):
    """A wrong count of a block's parameters."""

    def block_parameters(block, c_in, channels, stride):
        convs = [(3, c_in, channels), (3, first(c_in, channels) if first else channels, channels)]
        if block == "bottleneck":
            convs = [(1, c_in, channels), (3, channels, channels), (1, channels, widen * channels)]
        total = sum(k * k * a * b + (norm + bias) * b for k, a, b in convs)
        c_out = convs[-1][2]
        changed = stride == 2 or c_in != c_out
        if project and (needed(c_in, c_out, stride) if needed else changed):
            total += window**2 * c_in * c_out + (project_norm if norm == 2 else norm) * c_out + bias * c_out
        return total

    return block_parameters


BLOCK_PARAMETERS = [
    (counted(norm=0), "batch normalisation is missing"),
    (counted(norm=1), "a scale and a shift"),
    (counted(norm=4), "kept, not trained"),
    (counted(bias=1), "no biases"),
    (counted(project=False), "without the projection"),
    (counted(needed=lambda a, b, stride: True), "same shape"),
    (counted(needed=lambda a, b, stride: stride == 2), "without the projection"),
    (counted(project_norm=0), "projection is normalised"),
    (counted(window=3), "1x1 convolution"),
    (counted(first=lambda c_in, channels: c_in), "already gets the channels"),
    (counted(widen=1), "widens to four times"),
    (lambda block, c_in, channels, stride: checks.parameters_of_block("basic", c_in, channels, stride), "three"),
    (lambda block, c_in, channels, stride: None, "returns None"),
]

LAYER_GAIN = [
    (lambda v, n: n * v / 2, "root is missing"),
    (lambda v, n: np.sqrt(n * v), "half is missing"),
    (lambda v, n: n * v, "root and half"),
    (lambda v, n: np.sqrt(n * v) / 2, "halved after the root"),
    (lambda v, n: np.sqrt(v / 2), "variances add up"),
    (lambda v, n: np.sqrt(v), "weight alone"),
    (lambda v, n: np.sqrt(v / n / 2), "averaged"),
    (lambda v, n: n * np.sqrt(v / 2), "under the root, like"),
    (lambda v, n: np.sqrt(n * v * v / 2), "squared"),
    (lambda v, n: 1 / np.sqrt(n * v / 2), "upside down"),
    (lambda v, n: np.sqrt(2 * n * v), "doubles nothing"),
    (lambda v, n: None, "returns None"),
]

LEAST_LOSS = [
    (lambda a: (1 - a) * np.log(10), "1/10"),
    (lambda a: a * np.log(2), "share of right images"),
    (lambda a: -np.log(a), "logarithm of the accuracy"),
    (lambda a: -np.log(1 - a), "share of errors"),
    (lambda a: (1 - a) * np.log2(2), "base 2"),
    (lambda a: (1 - a) * np.log10(2), "base 10"),
    (lambda a: (1 - a) * np.log(1 / 2), "sign"),
    (lambda a: np.log(2), "cost of one error"),
    (lambda a: -(a * np.log(a) + (1 - a) * np.log(1 - a)), "entropy"),
    (lambda a: 0.0, "zero"),
    (lambda a: (1 - a) / 2, "minus its logarithm"),
    (lambda a: None, "returns None"),
]

MUTANTS = {
    "block_gradient": BLOCK_GRADIENT,
    "depth": DEPTH,
    "block_parameters": BLOCK_PARAMETERS,
    "layer_gain": LAYER_GAIN,
    "least_loss": LEAST_LOSS,
}


def by_autograd(x, W1, W2, g):
    x = torch.tensor(x, requires_grad=True)
    (x + torch.tensor(W2) @ torch.relu(torch.tensor(W1) @ x)).backward(torch.tensor(g))
    return x.grad


def built(block, c_in, channels, stride):
    """The parameters of the library's own block, counted: it is the first of a stage."""
    with torch.device("meta"):
        expansion = 4 if block == "bottleneck" else 1
        shape = {"block": block, "layers": [1, 1], "channels": [c_in // expansion, channels]}
        if stride == 2:
            return count_parameters(create("resnet18", **shape).features.layer2[0])
        if c_in == expansion * channels:
            return count_parameters(create("resnet18", block=block, layers=[2], channels=[channels]).features.layer1[1])
        return count_parameters(create("resnet18", block=block, layers=[1], channels=[channels]).features.layer1[0])


OTHERWISE_WRITTEN = [
    ("block_gradient", by_autograd),
    ("block_gradient", lambda x, A, B, g: (np.eye(len(x)) + (B * (A @ x > 0)) @ A).T @ g),
    ("depth", lambda layers, block: len(["stem", "fc"]) + sum(n * (2 + (block != "basic")) for n in layers)),
    ("block_parameters", built),
    ("layer_gain", lambda v, n: float(torch.tensor(v * n / 2).sqrt())),
    ("least_loss", lambda accuracy: np.log(2 ** (1 - accuracy))),
]

globals().update(exercise_tests("15_resnet_family", checks, MUTANTS, OTHERWISE_WRITTEN, {"np": np, "check": checks}))


@pytest.mark.parametrize("d", checks.PLANS)
def test_the_plans_are_those_of_the_library(d):
    block, layers = checks.PLANS[d]
    with torch.device("meta"):
        net = create(f"resnet{d}")
    assert [len(getattr(net.features, f"layer{s}")) for s in (1, 2, 3, 4)] == list(layers)
    assert checks.weighted_layers(layers, block) == d


def test_the_gain_is_that_of_a_wide_layer():
    torch.manual_seed(0)
    n = 2000
    x = torch.relu(torch.randn(n))
    y = torch.relu(torch.randn(n, n) * (1 / (3 * n)) ** 0.5 @ x)
    assert float(y.square().mean().sqrt() / x.square().mean().sqrt()) == pytest.approx(
        checks.gain(1 / (3 * n), n), rel=0.1
    )


def test_the_lowest_loss_is_approached_and_not_passed():
    errors, margin = 0.25, 1e-6
    logits = torch.tensor([[60.0, 0.0]] * 3 + [[0.0, margin]], dtype=torch.float64)
    loss = float(torch.nn.functional.cross_entropy(logits, torch.zeros(4, dtype=torch.long)))
    assert (logits.argmax(1) != 0).double().mean() == errors
    assert checks.lowest_loss(1 - errors) < loss < checks.lowest_loss(1 - errors) + 1e-6
