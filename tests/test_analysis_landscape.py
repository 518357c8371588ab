"""Loss bands, gradient changes, beta-smoothness: known on quadratics, and without a trace in the training."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from cnncourse import models
from cnncourse.analysis.landscape import TrainingProbe, loss_band, probe, steps_until_below
from cnncourse.errors import CourseError
from cnncourse.training import fit


class Quadratic(nn.Module):
    """Weights w whose "loss" is w^T A w / 2: the gradient is A w, the curvatures are the eigenvalues of A."""

    def __init__(self, A, w):
        super().__init__()
        self.A = torch.as_tensor(A, dtype=torch.float64)
        self.w = nn.Parameter(torch.as_tensor(w, dtype=torch.float64).clone())

    def forward(self, X):
        return self.w @ self.A @ self.w / 2


def value(output, y):
    return output


NO_DATA = (torch.zeros(1, 1), torch.zeros(1))
SIZES = [0.01, 0.1, 0.5]


@settings(max_examples=50, deadline=None)
@given(arrays(np.float64, (4, 4), elements=st.integers(-3, 3)), arrays(np.float64, 4, elements=st.integers(-3, 3)))
def test_on_a_quadratic_beta_is_at_most_the_largest_eigenvalue_and_the_rest_is_exact(root, w):
    A = root @ root.T + np.eye(4)
    found = probe(Quadratic(A, w), *NO_DATA, SIZES, loss=value)
    g = A @ w
    assert found.loss == pytest.approx(w @ A @ w / 2)
    assert found.gradient_norm == pytest.approx(np.linalg.norm(g))
    for a, loss, change, distance in zip(SIZES, found.losses, found.gradient_changes, found.distances, strict=True):
        there = w - a * g
        assert loss == pytest.approx(there @ A @ there / 2)
        assert change == pytest.approx(np.linalg.norm(A @ there - g), abs=1e-9)
        assert distance == pytest.approx(np.linalg.norm(there - w))
    if w.any():
        curvatures = np.linalg.eigvalsh(A)
        assert curvatures[0] - 1e-9 <= found.beta <= curvatures[-1] + 1e-9
    else:
        assert np.isnan(found.beta)  # the gradient is 0: no way to go


def test_along_an_eigenvector_beta_is_its_eigenvalue():
    vectors = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3))).Q
    for curvature, vector in zip([1.0, 4.0, 9.0], vectors.T, strict=True):
        A = vectors @ np.diag([1.0, 4.0, 9.0]) @ vectors.T
        assert probe(Quadratic(A, 2 * vector), *NO_DATA, SIZES, loss=value).beta == pytest.approx(curvature)


def test_beta_is_the_largest_ratio_over_the_distances():
    class Quartic(Quadratic):
        def forward(self, X):
            return (self.w**4).sum()

    model = Quartic(np.eye(1), [1.0])  # gradient 4 w^3, 4 at w = 1; at 1 - 4a it is 4 (1 - 4a)^3
    found = probe(model, *NO_DATA, [0.1, 0.25, 0.75], loss=value)
    np.testing.assert_allclose(found.gradient_changes, [4 - 4 * 0.6**3, 4, 36])
    assert found.beta == pytest.approx(12)  # 36 over 3: it grows with the distance here


def network(seed=0):
    torch.manual_seed(seed)
    return models.create("simple_cnn_bn", width=0.5, image_size=16, dropout=0.5)


def batches(num=5, size=4):
    generator = torch.Generator().manual_seed(3)
    X = torch.randn(num, size, 3, 16, 16, generator=generator)
    return [(X[i], torch.randint(10, (size,), generator=generator)) for i in range(num)]


HEAD = "classifier.fc3"


def test_of_one_layer_only_its_weights_move():
    model, (X, y) = network().eval().double(), batches(1)[0]
    X = X.double()
    found = probe(model, X, y, [0.3], layer=HEAD)

    def at_head(step):
        loss = nn.functional.cross_entropy(model(X), y)
        head = list(model.get_submodule(HEAD).parameters())
        gradient = torch.autograd.grad(loss, head)
        with torch.no_grad():
            for parameter, g in zip(head, gradient, strict=True):
                parameter -= step * g
        return loss.item(), torch.cat([g.flatten() for g in gradient])

    loss, before = at_head(0.3)
    loss_there, after = at_head(0)
    assert (found.loss, found.losses[0]) == (pytest.approx(loss), pytest.approx(loss_there))
    assert found.gradient_norm == pytest.approx(float(before.norm()))
    assert found.gradient_changes[0] == pytest.approx(float((after - before).norm()))
    assert found.gradient_norm < probe(model, X, y, [0.3]).gradient_norm


def test_a_probe_leaves_no_trace_and_repeats_itself():
    model, (X, y) = network().train(), batches(1)[0]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    first, second = probe(model, X, y, SIZES), probe(model, X, y, SIZES)
    for mine, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(mine, other)  # dropout dropped the same units
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training
    other = probe(network().eval(), X, y, SIZES)
    assert abs(other.loss - first.loss) > 1e-3  # the mode matters, and is the model's own


@pytest.mark.parametrize("optimizer", [partial(torch.optim.SGD, lr=0.1, momentum=0.9), torch.optim.Adam])
def test_a_probed_training_comes_out_the_same_to_the_bit(optimizer):
    plain, watched = network(), network()
    torch.manual_seed(7)
    expected = fit(plain, batches(), num_epochs=2, optimizer=optimizer(plain.parameters()))
    torch.manual_seed(7)
    stepping = optimizer(watched.parameters())
    with TrainingProbe(watched, stepping, SIZES, every=3, layers=("", HEAD)) as probed:
        history = fit(watched, batches(), num_epochs=2, optimizer=stepping, loss=probed.loss)
    assert history.steps["loss"] == expected.steps["loss"]
    for name, tensor in plain.state_dict().items():
        assert torch.equal(watched.state_dict()[name], tensor), name
    assert [(r.step, r.layer) for r in probed.readings] == [(s, layer) for s in (0, 3, 6, 9) for layer in ("", HEAD)]
    assert not watched._forward_pre_hooks
    assert not stepping._optimizer_step_pre_hooks
    assert not stepping._optimizer_step_post_hooks


def test_both_gradients_of_a_reading_are_of_the_batch_that_was_trained_on():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 8), nn.Tanh(), nn.Linear(8, 10)).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    data = [(X.double(), y) for X, y in batches(4)]

    def gradient(X, y, *, of):
        loss = nn.functional.cross_entropy(model(X), y)
        return loss, torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(of.parameters()))])

    by_hand = []
    with TrainingProbe(model, optimizer, [0.05], every=2, layers=("", "3")) as probed:
        for X, y in data:
            loss, whole = gradient(X, y, of=model)
            _, head = gradient(X, y, of=model[3])
            optimizer.zero_grad()
            probed.loss(model(X), y).backward()
            optimizer.step()
            after = [gradient(X, y, of=part)[1] for part in (model, model[3])]
            by_hand.append(
                (
                    loss.item(),
                    float(whole.norm()),
                    *(float((b - a).norm()) for a, b in zip((whole, head), after, strict=True)),
                )
            )
    whole, head = (rows for _, rows in probed.table().groupby("layer"))
    assert whole["step"].tolist() == head["step"].tolist() == [0, 2]
    expected = np.array(by_hand)[[0, 2]]
    np.testing.assert_allclose(whole[["loss", "gradient_norm", "step_gradient_change"]], expected[:, :3])
    np.testing.assert_allclose(head["step_gradient_change"], expected[:, 3])
    # Plain SGD steps along the gradient: a walk of the learning rate is the step itself.
    np.testing.assert_allclose(whole["step_distance"], 0.05 * whole["gradient_norm"])
    np.testing.assert_allclose(whole["step_ratio"], whole["beta"])
    np.testing.assert_allclose(whole["gradient_change_high"], whole["step_gradient_change"])
    assert (head["step_distance"] < whole["step_distance"].to_numpy()).all()


def test_a_step_without_a_batch_is_noticed():
    model, (X, y) = network(), batches(1)[0]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TrainingProbe(model, optimizer, SIZES), pytest.raises(CourseError, match=r"Train with loss=probed\.loss"):
        fit(model, [(X, y)], num_epochs=1, optimizer=optimizer)
    fit(model, [(X, y)], num_epochs=1, optimizer=optimizer)  # closed: it listens no more


LOSSES = arrays(np.float64, (3, 6), elements=st.floats(0.1, 5))


@settings(max_examples=40, deadline=None)
@given(LOSSES, st.integers(0, 5))
def test_a_band_encloses_every_training(values, start):
    band = loss_band(dict(zip([0.1, 0.01, 0.001], values, strict=True)))
    assert ((band.low <= values) & (values <= band.high)).all()
    assert ((band.low == values).any(0) & (band.high == values).any(0)).all()
    assert band.width(start) == pytest.approx(np.ptp(values, axis=0)[start:].mean())
    tenfold = loss_band(dict(enumerate(10 * values)))
    assert tenfold.width(start) == pytest.approx(10 * band.width(start), abs=1e-9)
    assert tenfold.relative_width(start) == pytest.approx(band.relative_width(start))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 3), min_size=1, max_size=12), st.data())
def test_steps_until_below_is_the_first_window_that_is(values, data):
    window = data.draw(st.integers(1, len(values)))
    means = {end: np.mean(values[end - window : end]) for end in range(window, len(values) + 1)}
    below = [end for end, mean in means.items() if mean < 1 - 1e-9]
    if not any(abs(mean - 1) <= 1e-9 for mean in means.values()):
        assert steps_until_below(values, 1, window) == (below[0] if below else None)


def test_a_diverged_training_is_below_nothing():
    assert steps_until_below([3.0, float("nan"), 0.5], 1, window=2) is None
    assert steps_until_below([3.0, 2.0, 0.5], 1) == 3


def frozen():
    model = network()
    model.get_submodule(HEAD).requires_grad_(False)
    return model


def watch(model, **options):
    return TrainingProbe(model, torch.optim.SGD(network().parameters(), lr=0.1), **({"step_sizes": SIZES} | options))


X, y = batches(1)[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: probe(network(), X, y, []), "Step sizes must be positive numbers"),
        (lambda: probe(network(), X, y, [0.1, 0]), "Step sizes must be positive"),
        (lambda: probe(network(), X, y, [float("inf")]), "Step sizes must be positive"),
        (lambda: probe(network(), X, y, 0.1), "Step sizes must be positive numbers, not 0.1"),
        (lambda: probe(network(), X[:0], y[:0], SIZES), "There are no images"),
        (lambda: probe(network(), X, y[:2], SIZES), r"no loss of images \(4, 3, 16, 16\) and labels \(2,\)"),
        (lambda: probe(network(), X, y + 10, SIZES), "There is no loss of images"),
        (lambda: probe(network(), X, y, SIZES, loss="hinge"), "Unknown loss 'hinge'"),
        (lambda: probe(network(), X, y, SIZES, layer="classifier.fc9"), "Unknown layer: 'classifier.fc9'"),
        (lambda: probe(frozen(), X, y, SIZES, layer=HEAD), "Layer classifier.fc3 has no weights to train"),
        (lambda: watch(network(), every=0), "every must be an integer of at least 1"),
        (lambda: watch(network(), layers=["head"]), "Unknown layer: 'head'"),
        (lambda: watch(network(), step_sizes=[-1]), "Step sizes must be positive"),
        (lambda: loss_band({}), "A band lies between trainings; there are none"),
        (lambda: loss_band({0.1: [1.0]}), "there is one"),
        (lambda: loss_band({0.1: [1.0], 0.2: [1.0, 2.0]}), r"same number of steps.*0\.1: 1, 0\.2: 2"),
        (lambda: loss_band({0.1: [], 0.2: []}), "at least one"),
        (lambda: loss_band({0.1: [1.0, 2.0], 0.2: [1.0, float("nan")]}), r"Training 0\.2 is not finite from step 2 on"),
        (lambda: loss_band({0.1: [1.0], 0.2: [2.0]}).width(1), "no step 1 among 1"),
        (lambda: steps_until_below([1.0, 2.0], 1, window=3), "mean over 3 of 2 steps"),
        (lambda: steps_until_below([], 1), "mean over 1 of 0 steps"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(CourseError, match=message):
        call()
