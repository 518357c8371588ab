"""The stacked torch twin repeats NumpyMLP: weights, losses, accuracies, member by member."""

import numpy as np
import pytest
import torch

from cnncourse.errors import CourseError
from cnncourse.models.numpy_mlp import NumpyMLP, minibatches
from cnncourse.training.stacked_mlp import StackedMLP

DIMS = (12, 9, 8, 5)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(53, DIMS[0]))  # 53 images: the last batch is short, at another step for each member
    return X, (X[:, :5] + 0.3 * rng.normal(size=(53, 5))).argmax(axis=1)


def test_float64_stack_repeats_the_numpy_class(data):
    X, y = data
    inits, rates, seeds = ("glorot", "normal", "zero", "glorot"), (0.5, 0.05, 0.3, 0.01), (0, 1, 2, 7)
    members = [NumpyMLP(DIMS, init, seed) for init, seed in zip(inits, seeds, strict=True)]
    stack = StackedMLP(members, dtype=torch.float64)
    history = stack.fit(
        X, y, lr=rates, batch_size=10, num_epochs=4, rngs=seeds, evaluate_on={"all": (X, y), "part": (X[:9], y[:9])}
    )
    assert history["all"].loss.shape == history["part"].accuracy.shape == (4, 4)
    for k, (network, lr, seed) in enumerate(zip(members, rates, seeds, strict=True)):
        rng = np.random.RandomState(seed)
        for epoch in range(4):
            network.train_epoch(X, y, lr, minibatches(len(y), 10, rng))
            for name, part in (("all", (X, y)), ("part", (X[:9], y[:9]))):
                loss, accuracy = network.evaluate(*part)
                assert history[name].loss[k, epoch] == pytest.approx(loss, rel=1e-10)
                assert history[name].accuracy[k, epoch] == pytest.approx(accuracy)
        for ours, theirs in zip(stack.member(k).parameters().values(), network.parameters().values(), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-12)


def test_float32_stack_stays_close(data):
    X, y = data
    network = NumpyMLP(DIMS, "glorot", 0)
    stack = StackedMLP([network])
    loss = stack.fit(X, y, lr=0.1, batch_size=10, num_epochs=3, rngs=[5], evaluate_on={"all": (X, y)})["all"].loss
    rng = np.random.RandomState(5)
    for epoch in range(3):
        network.train_epoch(X, y, 0.1, minibatches(len(y), 10, rng))
        assert loss[0, epoch] == pytest.approx(network.evaluate(X, y)[0], abs=1e-5)


def test_members_do_not_see_each_other(data):
    """A member that diverges leaves its neighbours as they are, digit for digit."""
    X, y = data

    def neighbour(rate):
        stack = StackedMLP([NumpyMLP(DIMS, "normal", 1), NumpyMLP(DIMS, "glorot", 0)], dtype=torch.float64)
        history = stack.fit(X, y, lr=(rate, 0.1), batch_size=10, num_epochs=3, rngs=(0, 0), evaluate_on={"a": (X, y)})
        return stack.finite().tolist(), history["a"]

    finite, calm = neighbour(1e-3)
    assert finite == [True, True]
    finite, wild = neighbour(1e200)
    assert finite == [False, True]
    assert wild.loss[0, -1] == 0  # printed as the report prints NaN
    np.testing.assert_array_equal(wild.loss[1], calm.loss[1])


def test_shuffling_of_images_is_passed_on(data):
    X, y = data
    fits = {}
    for shuffle in ("batches", "images"):
        stack = StackedMLP([NumpyMLP(DIMS)], dtype=torch.float64)
        fits[shuffle] = stack.fit(
            X, y, lr=0.1, batch_size=10, num_epochs=1, rngs=[0], evaluate_on={"a": (X, y)}, shuffle=shuffle
        )["a"].loss
    network = NumpyMLP(DIMS)
    network.train_epoch(X, y, 0.1, minibatches(len(y), 10, np.random.RandomState(0), "images"))
    assert fits["images"][0, 0] == pytest.approx(network.evaluate(X, y)[0])
    assert fits["batches"][0, 0] != fits["images"][0, 0]


def test_the_given_networks_stay_as_they_are(data):
    X, y = data
    network = NumpyMLP(DIMS)
    before = [W.copy() for W in network.weights]
    for dtype in (torch.float32, torch.float64):
        StackedMLP([network], dtype=dtype).fit(X, y, lr=0.1, batch_size=10, num_epochs=1, rngs=[0], evaluate_on={})
    for W, old in zip(network.weights, before, strict=True):
        np.testing.assert_array_equal(W, old)


def test_errors():
    with pytest.raises(CourseError, match="one shape"):
        StackedMLP([NumpyMLP((4, 3)), NumpyMLP((5, 3))])
    with pytest.raises(CourseError, match="one shape"):
        StackedMLP([])
    with pytest.raises(CourseError, match="1 members need"):
        StackedMLP([NumpyMLP((4, 3))]).fit(
            np.zeros((2, 4)), np.zeros(2, int), lr=1, batch_size=1, num_epochs=1, rngs=[0, 1], evaluate_on={}
        )
