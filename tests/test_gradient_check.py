"""Finite differences: exact where they can be, right order of truncation, and no trace left in the weights."""

import numpy as np
import pytest

from cnncourse.analysis.gradient_check import central_difference, check_weights
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
