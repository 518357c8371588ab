"""Finite differences: exact where they can be, right order of truncation, and no trace left in the weights."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from torch import nn
from torch.func import functional_call

from cnncourse import models
from cnncourse.analysis import gradient_check
from cnncourse.analysis.gradient_check import central_difference, check_gradients, check_weights
from cnncourse.errors import CourseError
from cnncourse.models.numpy_mlp import NumpyMLP, cross_entropy


def test_central_difference_of_a_cubic_is_off_by_epsilon_squared():
    w = np.array([[2.0, -1.0]])
    numeric = [central_difference(lambda: float(w[0, 0] ** 3), w, (0, 0), epsilon) for epsilon in (1e-1, 1e-2)]
    np.testing.assert_allclose(np.array(numeric) - 12, [1e-2, 1e-4], rtol=1e-6)
    np.testing.assert_array_equal(w, [[2.0, -1.0]])


def test_the_weight_is_put_back_when_the_loss_raises():
    w = np.ones((1, 1))
    with pytest.raises(ZeroDivisionError):
        central_difference(lambda: 1 / 0, w, (0, 0), 0.5)
    assert w[0, 0] == 1


@pytest.mark.parametrize("layer", [1, 2, 3])
def test_backward_passes_the_check_in_every_layer(layer):
    rng = np.random.default_rng(0)
    network = NumpyMLP((12, 20, 15, 10), rng=4)
    before = [W.copy() for W in network.weights]
    check = check_weights(
        network, rng.normal(size=(5, 12)), rng.integers(10, size=5), layer=layer, epsilons=[1e-4, 1e-5], floor=0
    )
    assert check.analytic.shape == (10,)
    assert check.numeric.shape == (2, 10)
    assert np.abs(check.analytic).max() > 1e-3
    assert check.max_difference[1] < 1e-9
    for W, old in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(W, old)


def test_a_changed_gradient_is_caught(monkeypatch):
    rng = np.random.default_rng(0)
    network = NumpyMLP((12, 20, 15, 10), rng=4)
    right = NumpyMLP.backward

    def without_relu_mask(self, y):
        gradients = right(self, y)
        gradients.weights[1] *= 1.01
        return gradients

    monkeypatch.setattr(NumpyMLP, "backward", without_relu_mask)
    check = check_weights(network, rng.normal(size=(5, 12)), rng.integers(10, size=5), layer=2, epsilons=[1e-5])
    assert check.max_difference[0] > 1e-5


def test_the_floor_in_the_loss_shows_in_the_numeric_gradient():
    network = NumpyMLP((12, 20, 15, 10), rng=4)
    X, y = np.random.default_rng(0).normal(size=(1, 12)), np.array([3])
    network.forward(X)
    unit = int(network.activations[2][0].argmax())  # a unit that is on, so that its weights have gradients

    def gap(floor):
        return check_weights(network, X, y, layer=2, unit=unit, epsilons=[1e-5], floor=floor).max_difference[0]

    assert gap(0) < 1e-9
    assert gap(1e-2) > 1e-4
    p = float(network.forward(X)[0, 3])
    analytic = np.abs(check_weights(network, X, y, layer=2, unit=unit, epsilons=[1e-5]).analytic).max()
    assert gap(1e-2) == pytest.approx(analytic * (1 - p / (p + 1e-2)), rel=1e-4)  # d log(p + f) = dp / (p + f)
    assert cross_entropy(network.forward(X), y, 0) > cross_entropy(network.forward(X), y, 1e-2)


# check_gradients

SHAPES = array_shapes(min_dims=0, max_dims=3, max_side=4)
NUMBERS = st.floats(-2, 2, width=32)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_of_a_cubic_the_error_is_epsilon_squared_in_any_shape(data):
    shapes = data.draw(st.lists(SHAPES, min_size=1, max_size=3))
    values = {f"w{k}": data.draw(arrays(np.float64, shape, elements=NUMBERS)) for k, shape in enumerate(shapes)}

    def cubes(weights):
        return sum((w**3 + w).sum() for w in weights.values())

    by_hand = {name: 3 * w**2 + 1 for name, w in values.items()}
    tensors = {name: torch.from_numpy(w.copy()) for name, w in values.items()}
    before = {name: w.copy() for name, w in values.items()}
    for check in (
        check_gradients(cubes, tensors, epsilon=1e-3),
        check_gradients(cubes, tensors, by_hand, epsilon=1e-3),
        check_gradients(cubes, tensors, epsilon=1e-3, vectorize=False),
        check_gradients(cubes, values, by_hand, epsilon=1e-3),
    ):
        for name, w in before.items():
            np.testing.assert_allclose(check.analytic[name], (3 * w**2 + 1).ravel())
            np.testing.assert_allclose(check.numeric[name] - check.analytic[name], 1e-6, rtol=0, atol=1e-9)
            np.testing.assert_array_equal(values[name], w)
            np.testing.assert_array_equal(tensors[name], w)
        assert check.max_difference == pytest.approx(1e-6, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 4)), elements=NUMBERS), st.data())
def test_one_changed_entry_is_found_and_named(W, data):
    def function(weights):
        return (torch.sin(weights["W"]) + 2 * weights["W"]).sum()

    wrong = np.cos(W) + 2
    worst = data.draw(st.integers(0, W.size - 1))
    wrong.flat[worst] *= 1.01
    check = check_gradients(function, {"W": torch.from_numpy(W)}, {"W": wrong})
    assert check.relative_error > 1e-4
    assert check.table()["worst"].to_dict() == {"W": worst}
    assert check_gradients(function, {"W": torch.from_numpy(W)}).relative_error < 1e-8


def loss_of(model, num_images=3):
    generator = torch.Generator().manual_seed(1)
    size = model.image_size or 8
    X = torch.randn(num_images, model.in_channels, size, size, generator=generator, dtype=torch.float64)
    y = torch.arange(num_images)
    return lambda weights: F.cross_entropy(functional_call(model, weights, X), y)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("simple_cnn_bn", {"width": 0.5, "image_size": 16}),
        ("resnet20", {"width": 0.25, "layers": (1, 1, 1)}),
        ("mlp_30", {"image_size": 8}),
    ],
)
def test_autograd_passes_in_networks_without_kinks(name, options, monkeypatch):
    torch.manual_seed(0)
    model = models.create(name, activation="tanh", **options).double().eval()
    for layer in [layer for layer in model.modules() if isinstance(layer, nn.MaxPool2d)]:
        layer.forward = lambda X, layer=layer: F.avg_pool2d(X, layer.kernel_size, layer.stride, layer.padding)
    weights = dict(model.named_parameters())
    check = check_gradients(loss_of(model), weights, max_entries=5)
    assert set(check.analytic) == set(weights)
    assert check.relative_error < 1e-7
    assert all(parameter.grad is None for parameter in weights.values())
    # one after the other, and in chunks of another size, it is the same
    loop = check_gradients(loss_of(model), weights, max_entries=5, vectorize=False)
    monkeypatch.setattr(gradient_check, "CHUNK_NUMBERS", 0)
    monkeypatch.setattr(gradient_check, "FEWEST_PAIRS", 2)
    chunks = check_gradients(loss_of(model), weights, max_entries=5)
    for layer in weights:
        np.testing.assert_allclose(loop.numeric[layer], check.numeric[layer], atol=1e-9)
        np.testing.assert_allclose(chunks.numeric[layer], check.numeric[layer], atol=1e-9)


def test_gradients_written_by_hand_in_numpy_pass_both_ways():
    rng = np.random.default_rng(0)
    network = NumpyMLP((12, 20, 15, 10), rng=4)
    X, y = rng.normal(size=(5, 12)), rng.integers(10, size=5)
    network.forward(X)
    found = network.backward(y)
    names = [f"{kind}{layer}" for kind in "Wb" for layer in (1, 2, 3)]
    values = dict(zip(names, network.weights + network.biases, strict=True))
    gradients = dict(zip(names, found.weights + found.biases, strict=True))

    in_place = check_gradients(lambda _: cross_entropy(network.forward(X), y, floor=0), values, gradients)

    def in_torch(weights):
        h = torch.from_numpy(X)
        for layer in (1, 2, 3):
            h = h @ weights[f"W{layer}"] + weights[f"b{layer}"]
            h = h if layer == 3 else h.relu()
        return F.cross_entropy(h, torch.from_numpy(y))

    tensors = {name: torch.from_numpy(value) for name, value in values.items()}
    for check in (in_place, check_gradients(in_torch, tensors, gradients)):
        assert check.relative_error < 1e-7
        assert check.table()["checked"].to_dict() == {name: value.size for name, value in values.items()}
    assert check_gradients(in_torch, tensors, {"b2": 2 * gradients["b2"]}).relative_error == pytest.approx(0.5)


def test_round_off_is_no_error():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 16, 10)
    ).double()
    model.image_size, model.in_channels = 6, 1
    check = check_gradients(loss_of(model), dict(model.named_parameters()), vectorize=False)  # batch statistics
    assert 0 < np.abs(check.analytic["0.bias"]).max() < 1e-15  # normalisation takes the bias away
    assert np.abs(check.numeric["0.bias"]).max() < check.resolution
    assert check.table()["relative_error"]["0.bias"] == 0
    assert 0 < check.relative_error < 1e-7
    ones = check_gradients(lambda w: w["x"].softmax(0).sum(), {"x": torch.arange(50) / 10})
    assert 0 < ones.max_difference < ones.resolution
    assert ones.relative_error == 0


def test_of_a_large_parameter_entries_all_over_it_can_be_checked():
    check = check_gradients(lambda w: (w["W"] ** 2).sum(), {"W": torch.ones(10, 10), "b": torch.ones(1)}, max_entries=4)
    assert check.entries["W"].tolist() == [0, 33, 66, 99]
    assert check.entries["b"].tolist() == [0]
    assert check.numeric["b"].tolist() == check.analytic["b"].tolist() == [0]  # does not matter to the function


def test_parameters_that_need_no_check_are_left_out():
    layer = nn.Linear(3, 1).double()
    check = check_gradients(
        lambda w: F.linear(torch.ones(1, 3).double(), w["W"], layer.bias).sum(), {"W": layer.weight}
    )
    assert list(check.analytic) == ["W"]
    np.testing.assert_allclose(check.numeric["W"], 1, rtol=1e-9)


W = torch.ones(2, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: check_gradients(lambda w: w["W"].sum(), {"W": W}, epsilon=0), "epsilon must be a positive number"),
        (lambda: check_gradients(lambda w: w["W"].sum(), {"W": W}, epsilon=float("nan")), "epsilon must be"),
        (lambda: check_gradients(lambda w: w["W"].sum(), {"W": W}, max_entries=0), "max_entries must be at least 1"),
        (lambda: check_gradients(lambda w: 0.0, {}), "Parameters come by name, at least one"),
        (lambda: check_gradients(lambda w: 0.0, nn.Linear(2, 2).parameters()), r"dict\(model\.named_parameters\(\)\)"),
        (lambda: check_gradients(lambda w: 0.0, {"W": torch.ones(0, 2)}), r"W has no entries: its shape is \(0, 2\)"),
        (
            lambda: check_gradients(lambda w: 0.0, {"W": W, "b": np.ones(2)}),
            "W is a Tensor; parameters are all tensors, or all arrays",
        ),
        (lambda: check_gradients(lambda w: 0.0, {"W": [1.0]}), "W is a list"),
        (lambda: check_gradients(lambda w: 0.0, {"W": np.ones(2, np.float32)}, {}), "W must be float64, not float32"),
        (lambda: check_gradients(lambda w: w["W"].sum(), {"W": np.ones(2)}), "NumPy has no autograd"),
        (lambda: check_gradients(lambda w: w["W"].sum(), {"W": W}, {}), "no gradient to check"),
        (lambda: check_gradients(lambda w: w["W"].sum(), {"W": W}, {"V": W}), "gradient of 'V', but no such parameter"),
        (
            lambda: check_gradients(lambda w: w["W"].sum(), {"W": W}, {"W": W.T}),
            r"shape \(3, 2\), the parameter \(2, 3\)",
        ),
        (lambda: check_gradients(lambda w: w["W"], {"W": W}), r"one number, not something of shape \(2, 3\)"),
        (lambda: check_gradients(lambda w: w["W"].log().sum(), {"W": 0 * W}), "The function is -inf"),
        (lambda: check_gradients(lambda w: w["W"].log().sum(), {"W": W}, epsilon=2.0), "not finite near"),
        (lambda: check_gradients(lambda w: F.dropout(w["W"]).sum(), {"W": torch.ones(99)}), "evaluation mode"),
        (lambda: check_gradients(lambda w: (w["W"] @ torch.ones(3)).sum(), {"W": W}), "must be float64, too"),
        (lambda: check_gradients(lambda w: torch.ones(1), {"W": W}), "does not depend on its parameters"),
        (lambda: check_gradients(lambda w: w["W"].sum().item(), {"W": W}), "does not depend on its parameters"),
        (lambda: check_gradients(lambda w: float(w["W"].sum()), {"W": W}, {"W": W}), "vectorize=False"),
        (
            lambda: check_gradients(lambda w: w["W"].sum() if w["W"].sum() > 0 else -w["W"].sum(), {"W": W}),
            "vmap cannot take the function",
        ),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(CourseError, match=message):
        call()


def test_a_function_that_vmap_cannot_take_is_checked_one_by_one():
    check = check_gradients(lambda w: w["W"].sum() if w["W"].sum() > 0 else 0, {"W": W}, vectorize=False)
    np.testing.assert_allclose(check.numeric["W"], 1, rtol=1e-9)
