"""Networks trained side by side end where each would end alone."""

import copy
from functools import partial

import pytest
import torch

from cnncourse import data as datasets
from cnncourse import models
from cnncourse.data import Batches
from cnncourse.data.source import Split
from cnncourse.errors import CourseError
from cnncourse.training import fit
from cnncourse.training.stacked import fit_stacked, gain, stackable

SGD, ADAM = torch.optim.SGD, torch.optim.Adam  # Adam with a large eps: a small one blows rounding errors up


@pytest.fixture(scope="module")
def split():
    whole = datasets.mnist(profile="smoke").train
    return Split(whole.images[:72], whole.labels[:72])


def members(name, number=3, **options):
    made = []
    for seed in range(number):
        torch.manual_seed(seed)
        made.append(models.create(name, **options))
    return made


def both_ways(name, optimizers, split, num_epochs=2, schedules=None, validation=None, model_options=None, **options):
    """Members and histories, alone and stacked."""
    alone = members(name, len(optimizers), **(model_options or {}))
    stacked = copy.deepcopy(alone)
    trains = [[Batches(split, 24, shuffle=True, seed=k) for k in range(len(alone))] for _ in range(2)]
    schedules = schedules or [None] * len(alone)
    one_by_one = [
        fit(m, b, validation, num_epochs=num_epochs, optimizer=o, schedule=s, on_divergence="stop", **options)
        for m, b, o, s in zip(alone, trains[0], optimizers, schedules, strict=True)
    ]
    together = fit_stacked(
        stacked, trains[1], validation, num_epochs=num_epochs, optimizers=optimizers, schedules=schedules, **options
    )
    return alone, one_by_one, stacked, together


def assert_same(alone, one_by_one, stacked, together, rel=1e-4):
    for a, b in zip(one_by_one, together, strict=True):
        assert b.steps["loss"] == pytest.approx(a.steps["loss"], rel=rel)
        assert b.steps["lr"] == a.steps["lr"]
        assert b.epochs["step"] == a.epochs["step"]
        assert b.epochs["accuracy"] == pytest.approx(a.epochs["accuracy"], abs=1e-6)
        assert b.validation["loss"] == pytest.approx(a.validation["loss"], rel=10 * rel)
        assert (b.outcome, b.device, b.precision) == (a.outcome, a.device, a.precision)
    for a, b in zip(alone, stacked, strict=True):
        for (name, mine), other in zip(a.state_dict().items(), b.state_dict().values(), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-2, atol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("name", ["mlp_30", "mlp_50_30_bn", "lenet_bn"])
@pytest.mark.parametrize(
    "optimizers",
    [
        [partial(SGD, lr=0.01), partial(SGD, lr=0.05), partial(SGD, lr=0.02, momentum=0.5, weight_decay=0.1)],
        [partial(ADAM, lr=1e-3, eps=1e-3), partial(ADAM, lr=3e-4, eps=1e-3), partial(SGD, lr=0.01)],
    ],
    ids=["sgd", "adam and sgd"],
)
def test_histories_weights_and_running_statistics_agree(name, optimizers, split):
    validation = Batches(split, 36)
    assert_same(*both_ways(name, optimizers, split, validation=validation))


@pytest.mark.parametrize("loss", ["mse", "smooth_l1", "bce_with_logits"])
def test_losses_on_one_hot_labels(loss, split):
    assert_same(*both_ways("mlp_30", [partial(SGD, lr=0.1), partial(SGD, lr=0.01)], split, loss=loss))


@pytest.mark.parametrize("every", ["epoch", "step"])
def test_each_member_has_its_own_schedule(every, split):
    schedules = [
        partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5),
        partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.9),
        None,
    ]
    optimizers = [partial(SGD, lr=0.01)] * 3
    result = both_ways("mlp_30", optimizers, split, schedules=schedules, schedule_every=every)
    assert_same(*result)
    assert len({history.steps["lr"][-1] for history in result[-1]}) == 3


def test_each_members_gradient_is_clipped_by_itself(split):
    assert_same(*both_ways("mlp_30", [partial(SGD, lr=0.1), partial(SGD, lr=10.0)], split, clip_norm=0.01))


def test_a_member_that_diverges_leaves_the_others_alone(split):
    optimizers = [partial(SGD, lr=0.01), partial(SGD, lr=1e30), partial(SGD, lr=0.02)]
    _, one_by_one, _, together = both_ways("mlp_50_30", optimizers, split, num_epochs=3)
    assert [history.outcome for history in together] == ["finished", "diverged", "finished"]
    assert together[1].divergence == one_by_one[1].divergence
    for k in (0, 2):
        assert together[k].steps["loss"] == pytest.approx(one_by_one[k].steps["loss"], rel=1e-4)


def test_when_all_have_diverged_the_training_ends(split):
    optimizers = [partial(SGD, lr=1e30)] * 2
    *_, together = both_ways("mlp_50_30", optimizers, split, num_epochs=50)
    assert [history.outcome for history in together] == ["diverged"] * 2


def test_dropout_drops_for_each_member_anew_and_at_the_right_rate():
    # Logits of an untrained network with dropout 0.5 on its input of ones: the mean tells the share that was kept.
    from cnncourse.training.losses import get_loss
    from cnncourse.training.placement import Placement
    from cnncourse.training.stacked import Stack

    def net():
        linear = torch.nn.Linear(1000, 2, bias=False)
        torch.nn.init.constant_(linear.weight, 1e-3)
        return torch.nn.Sequential(torch.nn.Dropout(0.25), linear)

    stack = Stack(
        [net() for _ in range(4)], [partial(SGD, lr=0.0)] * 4, get_loss("mse"), Placement(torch.device("cpu"))
    )
    _, logits = stack.step(torch.ones(4, 50, 1000), torch.zeros(4, 50, dtype=torch.int64))
    assert logits.mean().item() == pytest.approx(1.0, abs=0.02)  # what is kept is divided by 0.75
    assert len({round(value, 6) for value in logits[:, 0, 0].tolist()}) == 4


def test_without_dropout_a_model_with_dropout_zero_agrees_exactly(split):
    optimizers = [partial(SGD, lr=0.05)] * 2
    assert_same(
        *both_ways(
            "cnn_3x3_bn",
            optimizers,
            rgb(split),
            num_epochs=1,
            model_options={"width": 0.25, "dropout": 0.0, "conv_dropout": 0.0},
        )
    )


def rgb(split):
    images = torch.nn.functional.pad(split.images, (2, 2, 2, 2)).expand(-1, 3, -1, -1).contiguous()
    return Split(images, split.labels)


def test_afterwards_the_members_share_nothing(split):
    made = members("mlp_30", 2)
    fit_stacked(
        made, [Batches(split, 24, seed=k) for k in range(2)], num_epochs=1, optimizers=[partial(SGD, lr=0.1)] * 2
    )
    before = copy.deepcopy(made[1].state_dict())
    with torch.no_grad():
        for parameter in made[0].parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in made[1].state_dict().items())
    assert all(parameter.is_leaf and parameter.requires_grad for parameter in made[0].parameters())
    assert next(made[0].parameters()).untyped_storage().nbytes() == next(made[0].parameters()).nbytes


def test_frozen_layers_stay_as_they_are(split):
    made = members("mlp_50_30", 2)
    for model in made:
        next(model.parameters()).requires_grad_(False)
    before = [next(model.parameters()).clone() for model in made]
    fit_stacked(
        made, [Batches(split, 24, seed=k) for k in range(2)], num_epochs=1, optimizers=[partial(SGD, lr=0.1)] * 2
    )
    assert all(torch.equal(next(model.parameters()), old) for model, old in zip(made, before, strict=True))


def test_what_cannot_be_stacked_is_named(split):
    assert stackable(members("lenet_bn", 2)) == ""
    assert "differ in more than numbers" in stackable([*members("mlp_30", 1), *members("mlp_50_30", 1)])
    trains = [Batches(split, 24) for _ in range(2)]
    with pytest.raises(CourseError, match="cannot be stacked"):
        fit_stacked(
            [*members("mlp_30", 1), *members("mlp_50_30", 1)],
            trains,
            num_epochs=1,
            optimizers=[partial(SGD, lr=0.1)] * 2,
        )
    with pytest.raises(CourseError, match="2 networks, 1 training sets"):
        fit_stacked(members("mlp_30", 2), trains[:1], num_epochs=1, optimizers=[partial(SGD, lr=0.1)] * 2)
    with pytest.raises(CourseError, match="differ in number or size"):
        fit_stacked(
            members("mlp_30", 2),
            [trains[0], Batches(split, 12)],
            num_epochs=1,
            optimizers=[partial(SGD, lr=0.1)] * 2,
        )
    with pytest.raises(CourseError, match="channel"):
        fit_stacked(members("simple_cnn", 2), trains, num_epochs=1, optimizers=[partial(SGD, lr=0.1)] * 2)


def test_a_trial_changes_nothing(split):
    from cnncourse.training import Experiment

    data = datasets.mnist(profile="smoke")
    torch.manual_seed(1)
    before = torch.get_rng_state()
    experiments = [Experiment(model="mlp_30", num_epochs=1, batch_size=8, lr=lr) for lr in (0.1, 0.2)]
    assert gain(experiments, data, "cpu") > 0
    assert gain([experiment.changed(num_images=80) for experiment in experiments], data, "cpu") is None
    assert torch.equal(torch.get_rng_state(), before)
