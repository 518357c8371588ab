"""The NumPy network: shapes and counts, gradients against torch, the details of the IFT6135 report's code."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from cnncourse.errors import CourseError
from cnncourse.models.numpy_mlp import (
    Gradients,
    NumpyMLP,
    cross_entropy,
    initial_weights,
    minibatches,
    one_hot,
    relu,
    softmax,
)

DIMS = (12, 9, 8, 5)


@pytest.fixture
def batch():
    rng = np.random.default_rng(3)
    return rng.normal(size=(7, DIMS[0])), rng.integers(DIMS[-1], size=7)


def test_report_network_has_the_stated_parameters():
    network = NumpyMLP()
    assert network.layer_params == [522_810, 444_222, 6_670]
    assert network.num_params == 973_702
    assert list(network.parameters()) == ["W1", "b1", "W2", "b2", "W3", "b3"]


@pytest.mark.parametrize("dims", [(4, 3), (4, 6, 3), DIMS])
def test_forward_gives_probabilities_for_any_depth(dims):
    network = NumpyMLP(dims, rng=1)
    probs = network.forward(np.random.default_rng(0).normal(size=(6, dims[0])))
    assert [a.shape for a in network.activations] == [(6, width) for width in dims]
    assert np.all(probs > 0)
    np.testing.assert_allclose(probs.sum(axis=1), 1)


def test_forward_can_start_at_a_layer(batch):
    network = NumpyMLP(DIMS, rng=1)
    probs = network.forward(batch[0])
    hidden = network.activations[1]
    np.testing.assert_array_equal(network.forward(hidden, start=1), probs)
    with pytest.raises(CourseError, match="whole forward pass"):
        network.backward(batch[1])


@pytest.mark.parametrize("init", ["glorot", "normal"])
@pytest.mark.parametrize("dims", [(12, 5), DIMS])
def test_gradients_equal_autograd(batch, dims, init):
    X, y = batch
    network = NumpyMLP(dims, init, rng=2)
    network.forward(X)
    gradients = network.backward(y)

    weights = [torch.tensor(W, requires_grad=True) for W in network.weights]
    biases = [torch.tensor(b, requires_grad=True) for b in network.biases]
    h = torch.tensor(X)
    for k, (W, b) in enumerate(zip(weights, biases, strict=True)):
        h = h @ W + b
        h = torch.relu(h) if k < len(weights) - 1 else h
    torch.nn.functional.cross_entropy(h, torch.tensor(y)).backward()
    for ours, theirs in zip(gradients.weights + gradients.biases, weights + biases, strict=True):
        np.testing.assert_allclose(ours, theirs.grad, rtol=1e-9, atol=1e-13)


def test_update_descends_in_place(batch):
    X, y = batch
    network = NumpyMLP(DIMS, rng=2)
    array = network.weights[0]
    before = array.copy()
    loss = cross_entropy(network.forward(X), y)
    gradients = network.backward(y)
    network.update(gradients, lr=0.1)
    assert network.weights[0] is array
    np.testing.assert_allclose(array, before - 0.1 * gradients.weights[0])
    assert cross_entropy(network.forward(X), y) < loss
    network.update(Gradients([-g for g in gradients.weights], [-g for g in gradients.biases]), lr=0.1)
    np.testing.assert_allclose(array, before)


def test_zero_start_moves_the_output_bias_only(batch):
    X, y = batch
    network = NumpyMLP(DIMS, "zero")
    network.train_epoch(X, y, 0.5, [np.arange(7)] * 4)
    moved = [name for name, array in network.parameters().items() if np.any(array != 0)]
    assert moved == ["b3"]


def test_learns_a_task_it_can_learn():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)  # not linearly separable
    network = NumpyMLP((4, 32, 2), rng=0)
    for _ in range(60):
        network.train_epoch(X, y, 0.5, minibatches(300, 20, rng))
    assert network.evaluate(X, y)[1] > 95


def test_softmax_survives_large_logits_and_leaves_its_input():
    logits = np.array([[1000.0, 1000.0, -1000.0], [0.0, np.log(2.0), -np.inf]])
    before = logits.copy()
    np.testing.assert_allclose(softmax(logits), [[0.5, 0.5, 0], [1 / 3, 2 / 3, 0]])
    np.testing.assert_array_equal(logits, before)
    np.testing.assert_array_equal(relu(logits) is logits, False)


def test_loss_floor_caps_the_loss_and_nan_can_count_as_zero():
    probs = np.array([[0.0, 1.0], [np.nan, np.nan], [1.0, 0.0]])
    first = np.array([0])
    assert cross_entropy(probs[:1], first) == pytest.approx(18.420681)
    assert cross_entropy(probs[:1], first, floor=0) == np.inf
    assert np.isnan(cross_entropy(probs[1:2], first))
    assert cross_entropy(probs[1:2], first, nan_to_zero=True) == 0
    assert cross_entropy(probs, np.zeros(3, int), nan_to_zero=True) == pytest.approx(18.420681 / 3)


def test_draws_follow_the_global_seed_of_numpy():
    """np.random.seed(1), a Normal net, then a Glorot net: the report's cells."""
    np.random.seed(1)
    shapes = list(pairwise(DIMS))
    normal = [np.random.normal(0, 1, shape) for shape in shapes]
    glorot = [np.random.uniform(-np.sqrt(6 / sum(s)), np.sqrt(6 / sum(s)), s) for s in shapes]
    rng = np.random.RandomState(1)
    for init, expected in (("normal", normal), ("glorot", glorot)):
        for ours, theirs in zip(initial_weights(DIMS, init, rng), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(CourseError, match="no initialisation 'he'"):
        initial_weights(DIMS, "he", rng)


def test_minibatches_of_fixed_slices():
    rng = np.random.RandomState(0)
    epochs = [minibatches(103, 10, rng) for _ in range(2)]
    sets = [{tuple(batch) for batch in epoch} for epoch in epochs]
    assert sets[0] == sets[1]  # the same companions in each epoch ...
    assert [batch[0] for batch in epochs[0]] != [batch[0] for batch in epochs[1]]  # ... in another order
    assert sorted(len(batch) for batch in epochs[0]) == [3] + [10] * 10
    assert sorted(np.concatenate(epochs[0])) == list(range(103))


def test_minibatches_of_shuffled_images():
    rng = np.random.RandomState(0)
    epochs = [minibatches(103, 10, rng, shuffle="images") for _ in range(2)]
    assert sorted(np.concatenate(epochs[0])) == list(range(103))
    assert {tuple(sorted(b)) for b in epochs[0]}.isdisjoint({tuple(sorted(b)) for b in epochs[1]})


def test_one_hot():
    np.testing.assert_array_equal(one_hot(np.array([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])


def test_errors_name_the_shape(batch):
    with pytest.raises(CourseError, match=r"\(7, 12\), expected \(m, 784\)"):
        NumpyMLP().forward(batch[0])
    with pytest.raises(CourseError, match="input and an output width"):
        NumpyMLP((784,))
