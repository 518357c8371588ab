"""Experiments, sweeps, and the store: a training is a value, made once and found again."""

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cnncourse import data as datasets
from cnncourse import models
from cnncourse.cli import app
from cnncourse.data.augment import RandomCrop, RandomHorizontalFlip
from cnncourse.errors import CourseError
from cnncourse.memory import NotEnoughMemory
from cnncourse.project import module_files
from cnncourse.training import Experiment, Store, evaluate, fit, stacked, sweep, train
from cnncourse.training import store as store_module
from cnncourse.training.checkpoint import Checkpoint
from cnncourse.training.experiment import OPTIMIZERS, fingerprint
from cnncourse.training.store import _statements, code, default_store

BASE = Experiment(model="lenet_bn", num_epochs=2, batch_size=32, lr=0.05, num_images=96, model_options={"width": 0.5})


@pytest.fixture(scope="module")
def data():
    return datasets.mnist(profile="smoke")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


# --- the value ------------------------------------------------------------------------------------------------------
def test_a_run_is_what_fit_does_by_hand(data):
    experiment = BASE.changed(
        optimizer="adam", lr=0.01, schedule="StepLR", schedule_options={"step_size": 1}, augment=[RandomCrop(28, 2)]
    )
    run = train(experiment, data, keep_weights=True)

    torch.manual_seed(0)
    model = models.create("lenet_bn", width=0.5)
    batches = experiment.build_loaders(data)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1)
    history = fit(model, batches.train, batches.validation, num_epochs=2, optimizer=optimizer, schedule=schedule)
    assert run.history.steps == history.steps
    assert run.history.validation == history.validation
    assert run.evaluation.loss == evaluate(model, batches.test).loss
    assert all(torch.equal(run.weights[name], value) for name, value in model.state_dict().items())
    again = evaluate(run.model(), batches.test)
    assert torch.equal(again.logits, run.evaluation.logits)


def test_the_callers_random_numbers_are_left_alone(data):
    torch.manual_seed(5)
    before = torch.rand(3)
    torch.manual_seed(5)
    train(BASE.changed(num_epochs=1), data)
    assert torch.equal(torch.rand(3), before)


def test_equal_experiments_have_equal_outcomes_and_other_seeds_do_not(data):
    a, b, c = (train(BASE.changed(seed=seed), data) for seed in (0, 0, 1))
    assert a.history.steps == b.history.steps
    assert a.history.steps != c.history.steps


def test_divergence_is_an_outcome(data):
    run = train(BASE.changed(lr=1e30), data)
    assert run.history.outcome == "diverged"
    assert run.evaluation is None


def test_weights_that_were_not_kept_are_asked_for_kindly(data):
    with pytest.raises(CourseError, match="were not kept") as error:
        train(BASE.changed(num_epochs=1), data).model()
    assert "keep_weights=True" in error.value.remedy


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "lenett"}, "Unknown model"),
        ({"optimizer": "sdg"}, "Unknown optimizer"),
        ({"schedule": "StepLr"}, "Unknown schedule"),
        ({"loss": "hinge"}, "Unknown loss"),
        ({"lr": -0.1}, "lr must be a finite number"),
        ({"lr": float("nan")}, "lr must be a finite number"),
        ({"weight_decay": float("inf")}, "weight_decay must be"),
        ({"num_epochs": 0}, "num_epochs must be"),
        ({"batch_size": 2.5}, "batch_size must be"),
        ({"seed": -1}, "seed must be"),
        ({"model_options": {"init": torch.nn.init.zeros_}}, "plain values"),
        ({"momentum": 0.9}, "Unknown setting of an experiment"),
        ({"lr.x": 0.9}, "has no parts"),
        ({"clip_norm": 0.0}, "clip_norm must be above 0"),
        ({"patience": 0}, "patience must be"),
        ({"schedule_every": "batch"}, "Unknown schedule_every"),
        ({"monitor": "f1"}, "Unknown monitor"),
        ({"model_options": {"widht": 1}}, "Unknown option"),
        ({"model_options.activation": "relux"}, "Unknown activation"),
        ({"optimizer_options": {"momenta": 0.9}}, "optimizer cannot be made"),
        ({"optimizer_options": {"momentum": -1}}, "optimizer cannot be made"),
        ({"optimizer_options": {"weight_decay": 0.1}}, "optimizer cannot be made"),
        ({"optimizer_options": {"momentum": float("nan")}}, "plain values"),
        ({"schedule": "StepLR"}, "schedule cannot be made"),
        ({"augment": [torch.nn.Identity()]}, "no transform of cnncourse.data.augment"),
    ],
)
def test_bad_settings_are_named_at_once(changes, message):
    with pytest.raises(CourseError, match=message):
        BASE.changed(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_images": 10**6}, "1,000,000 training images are asked for"),
        ({"batch_size": 97}, "larger than the data"),
        ({"model_options.num_classes": 7}, "7 outputs"),
    ],
)
def test_what_shows_in_training_only_is_named_then(changes, message, data):
    with pytest.raises(CourseError, match=message):
        train(BASE.changed(**changes), data)


def test_one_option_can_be_changed_and_the_original_stays():
    other = BASE.changed(**{"model_options.batch_norm": False, "seed": 3})
    assert other.model_options == {"width": 0.5, "batch_norm": False}
    assert (BASE.model_options, BASE.seed, other.seed) == ({"width": 0.5}, 0, 3)


def test_every_network_and_every_optimizer_can_be_an_experiment():
    random = torch.get_rng_state()
    for name in models.names():
        BASE.changed(model=name, model_options={"init": "he"})
    for name in OPTIMIZERS:
        assert BASE.changed(optimizer=name, optimizer_options={}).optimizer == name
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("number", [np.float32(0.5), np.float64(0.5), torch.tensor(0.5)])
def test_numbers_of_numpy_and_torch_are_plain_ones(number):
    experiment = BASE.changed(lr=number, seed=np.int64(3))
    assert experiment == BASE.changed(lr=0.5, seed=3)
    assert json.loads(json.dumps(experiment.to_dict()))["seed"] == 3


# --- sweeps ---------------------------------------------------------------------------------------------------------
def test_a_sweep_has_one_row_per_setting_and_seed(data):
    swept = sweep(
        BASE.changed(num_epochs=1), {"lr": [0.01, 0.1], "model_options.batch_norm": [True, False]}, [3, 4], data
    )
    table = swept.table
    assert list(table["seed"]) == [3, 4] * 4
    assert list(table["lr"]) == [0.01] * 4 + [0.1] * 4
    assert table["test_accuracy"].between(0, 1).all()
    assert repr(swept) == "Sweep(4 settings x 2 seeds)"
    runs = swept.of(lr=0.1, **{"model_options.batch_norm": False})
    assert [run.experiment.seed for run in runs] == [3, 4]
    assert [run.evaluation.accuracy for run in runs] == list(table["test_accuracy"][-2:])
    assert set(swept.series({"lr": 0.1, "model_options.batch_norm": True}, "epochs.loss")) == {3, 4}


def test_settings_that_hold_each_other_are_told_apart(data):
    settings = [{"lr": 0.01}, {"lr": 0.01, "momentum": 0.9}, {"lr": 0.1, "momentum": 0.9}, {}]
    settings = [{k.replace("momentum", "optimizer_options.momentum"): v for k, v in s.items()} for s in settings]
    swept = sweep(BASE.changed(num_epochs=1, lr=0.05), settings, [0], data)
    for setting, run in zip(settings, swept.runs, strict=True):
        assert swept.of(setting) == [run]
    assert swept.of(lr=0.1) == [swept.runs[2]]
    with pytest.raises(CourseError, match="Several settings of the sweep have"):
        swept.of({"optimizer_options.momentum": 0.9})
    with pytest.raises(CourseError, match="No run of the sweep has"):
        swept.of(lr=3)


def test_a_diverged_run_is_a_row(data):
    table = sweep(BASE, [{"lr": 0.05}, {"lr": 1e30}], [0], data).table
    assert list(table["outcome"]) == ["finished", "diverged"]
    assert table["test_accuracy"].isna().tolist() == [False, True]


@pytest.mark.parametrize("method", ["stacked", "one by one"])
def test_both_ways_give_the_runs_that_train_gives(method, data):
    swept = sweep(
        BASE, {"lr": [0.01, 0.03], "weight_decay": [0.0, 0.1]}, [0, 1], data, method=method, keep_weights=True
    )
    for run in swept.runs:
        alone = train(run.experiment, data)
        assert run.history.steps["loss"] == pytest.approx(alone.history.steps["loss"], rel=1e-3)
        assert run.history.validation["loss"] == pytest.approx(alone.history.validation["loss"], rel=1e-2)
        assert run.evaluation.loss == pytest.approx(alone.evaluation.loss, rel=1e-2)
        assert run.history.outcome == "finished"
    assert method in swept.method


def test_runs_that_cannot_be_stacked_are_trained_one_by_one_and_the_sweep_says_so(data):
    swept = sweep(BASE.changed(patience=1), {"lr": [0.01, 0.1]}, [0], data)
    assert "one by one, because patience" in swept.method
    with pytest.raises(CourseError, match="cannot be stacked"):
        sweep(BASE.changed(patience=1), {"lr": [0.01, 0.1]}, [0], data, method="stacked")


@pytest.fixture
def stacks(monkeypatch):
    """Sizes of the stacks that are trained."""
    sizes, real = [], stacked.fit_stacked

    def counted(models, *args, **options):
        sizes.append(len(models))
        return real(models, *args, **options)

    monkeypatch.setattr(stacked, "fit_stacked", counted)
    return sizes


def test_what_differs_in_more_than_each_member_has_for_itself_makes_groups(data, stacks):
    swept = sweep(
        BASE.changed(num_epochs=1),
        {"model_options.activation": ["relu", "tanh"], "lr": [0.01, 0.1]},
        [0],
        data,
        method="stacked",
    )
    assert stacks == [2, 2]
    assert swept.method == "stacked (4 runs)"
    assert [run.experiment.model_options["activation"] for run in swept.runs] == ["relu", "relu", "tanh", "tanh"]


def test_optimizers_schedules_and_initial_weights_are_each_members_own(data, stacks):
    settings = [
        {"optimizer": "adam", "lr": 1e-3, "optimizer_options": {"eps": 1e-3}},
        {"optimizer_options": {"momentum": 0.9}, "lr": 0.01},
        {"schedule": "StepLR", "schedule_options": {"step_size": 1}},
        {"model_options.init": "he", "lr": 0.01},
    ]
    swept = sweep(BASE, settings, [0], data, method="stacked")
    assert stacks == [4]
    for run in swept.runs:
        alone = train(run.experiment, data)
        assert run.history.steps["lr"] == alone.history.steps["lr"]
        assert run.history.steps["loss"] == pytest.approx(alone.history.steps["loss"], rel=1e-3)
        assert run.evaluation.loss == pytest.approx(alone.evaluation.loss, rel=1e-2)


def test_a_stack_that_does_not_fit_into_memory_is_halved(data, stacks, monkeypatch):
    fit_stacked = stacked.fit_stacked

    def small_memory(models, *args, **options):
        if len(models) > 2:
            raise NotEnoughMemory("There is not enough memory.")
        return fit_stacked(models, *args, **options)

    monkeypatch.setattr(stacked, "fit_stacked", small_memory)
    swept = sweep(BASE, {"lr": [0.01, 0.02, 0.03, 0.04, 0.05]}, [0], data, method="stacked")
    assert stacks == [2, 1, 2]
    assert swept.method == "stacked (5 runs)"
    assert list(swept.table["lr"]) == [run.experiment.lr for run in swept.runs] == [0.01, 0.02, 0.03, 0.04, 0.05]

    def no_memory(*args, **options):
        raise NotEnoughMemory("There is not enough memory.")

    monkeypatch.setattr(stacked, "fit_stacked", no_memory)
    with pytest.raises(NotEnoughMemory):
        sweep(BASE, {"lr": [0.01, 0.02]}, [0], data, method="stacked")


def test_auto_measures_and_says_what_it_chose(data):
    swept = sweep(BASE.changed(num_epochs=1), {"lr": [0.01, 0.1]}, [0], data)
    assert "too short for a trial" in swept.method
    long = BASE.changed(num_epochs=25, batch_size=24, model="mlp_30", model_options={})
    swept = sweep(long, {"lr": [0.01, 0.1]}, [0], data)
    assert "in a trial" in swept.method
    bundle, metadata = swept._repr_mimebundle_()
    assert swept.method not in bundle["text/plain"]
    assert metadata == {"cnncourse": {"volatile": ["text/html"]}}


@pytest.mark.parametrize(("grid", "seeds"), [({"lr": []}, [0]), ({"lr": [0.1]}, []), ([], [0])])
def test_nothing_to_train_is_an_error(grid, seeds, data):
    with pytest.raises(CourseError, match="nothing to train"):
        sweep(BASE, grid, seeds, data)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"lr": 0.1}, "single value 0.1 for 'lr'"),
        ({"optimizer": "adam"}, "single value 'adam'"),
        ({"seed": [0, 1]}, "seeds of its own"),
        ([{"lr": 0.1}, 0.2], "neither a mapping nor a list of mappings"),
        ({"num_images": [96, 10**6]}, "1,000,000 training images are asked for"),
        ({"lr": [0.1, float("nan")]}, "lr must be a finite number"),
    ],
)
def test_a_bad_grid_is_named_before_anything_is_trained(grid, message, data, store):
    with pytest.raises(CourseError, match=message):
        sweep(BASE, grid, [0], data, store=store)
    assert store.trained == 0


def test_an_unknown_name_in_the_grid_has_a_hint(data):
    with pytest.raises(CourseError) as error:
        sweep(BASE, {"learning_rate": [0.1]}, [0], data)
    assert "'learning_rate'" in error.value.what


# --- the store ------------------------------------------------------------------------------------------------------
def test_the_same_configuration_is_trained_once(store, data):
    first = train(BASE, data, store=store)
    second = train(BASE, data, store=store)
    assert (first.reused, second.reused, store.trained, store.reused) == (False, True, 1, 1)
    assert second.history == first.history
    assert torch.equal(second.evaluation.logits, first.evaluation.logits)
    assert second.about == first.about


def test_force_trains_again(store, data):
    train(BASE, data, store=store)
    assert not train(BASE, data, store=store, force=True).reused
    assert store.trained == 2


def test_a_record_without_weights_is_made_again_when_they_are_wanted(store, data):
    train(BASE, data, store=store)
    with_weights = train(BASE, data, store=store, keep_weights=True)
    assert not with_weights.reused
    assert train(BASE, data, store=store, keep_weights=True).weights.keys() == with_weights.weights.keys()


def test_a_sweep_trains_only_what_is_missing(store, data):
    sweep(BASE, {"lr": [0.01]}, [0, 1], data, store=store)
    swept = sweep(BASE, {"lr": [0.01, 0.1]}, [0, 1], data, store=store)
    assert list(swept.table["reused"]) == [True, True, False, False]
    assert "2 of 4 from the store" in swept._repr_mimebundle_()[0]["text/html"]


def test_stacked_and_single_runs_share_records(store, data):
    sweep(BASE, {"lr": [0.01, 0.1]}, [0], data, store=store, method="stacked")
    assert train(BASE.changed(lr=0.1), data, store=store).reused


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 0.051},
        {"seed": 1},
        {"model_options.width": 0.25},
        {"num_images": 95},
        {"augment": [RandomHorizontalFlip()]},
        {"augment": [RandomHorizontalFlip(0.25)]},
        {"mixed_precision": True},
        {"schedule": "StepLR", "schedule_options": {"step_size": 1}},
    ],
)
def test_every_setting_is_part_of_the_key(change, store, data):
    assert store.key(BASE.changed(**change), data) != store.key(BASE, data)


def test_one_changed_pixel_is_another_data_set(store, data):
    images = data.train.images.clone()
    images[0, 0, 0, 0] += 1
    other = replace(data, train=replace(data.train, images=images))
    assert fingerprint(other) != fingerprint(data)
    assert store.key(BASE, other) != store.key(BASE, data)


def test_changing_pixels_in_place_makes_another_data_set(store, data):
    other = replace(data, train=replace(data.train, images=data.train.images.clone()))
    before = store.key(BASE, other)
    other.train.images[0, 0, 0, 0] += 1
    assert store.key(BASE, other) != before
    other.train.images[0, 0, 0, 0] -= 1
    assert store.key(BASE, other) == before == store.key(BASE, data)


def test_one_and_one_point_zero_are_one_experiment(store, data):
    assert store.key(BASE.changed(lr=1), data) == store.key(BASE.changed(lr=1.0), data)


def test_comments_and_docstrings_are_no_part_of_the_code_but_statements_are():
    before = 'def f(x):\n    """Doc."""\n    return x + 1\n'
    assert _statements(before) == _statements("def f(x):  # a comment\n    return (x + 1)\n")
    assert _statements(before) != _statements("def f(x):\n    return x + 2\n")


def test_the_text_of_an_error_is_no_part_of_the_code_but_where_it_is_raised_is():
    before = 'def f(x):\n    if x < 0:\n        raise ValueError("negative")\n'
    assert _statements(before) == _statements(before.replace("negative", "x is below 0"))
    assert _statements(before) != _statements(before.replace("x < 0", "x < 1"))


@pytest.mark.parametrize(
    ("module", "concerned"),
    [
        ("training.loop", {"resnet20", "mlp_30", "augmented"}),
        ("training.history", {"resnet20", "mlp_30", "augmented"}),
        ("data.batches", {"resnet20", "mlp_30", "augmented"}),
        ("models.classifier", {"resnet20", "mlp_30", "augmented"}),  # the base of all networks
        ("models.initialisation", {"resnet20", "mlp_30", "augmented"}),  # imported by the base
        ("models.resnet", {"resnet20"}),
        ("models.registry", set()),
        ("data.augment", {"augmented"}),
        ("analysis.landscape", set()),
        ("training.sweeps", set()),
        ("training.store", set()),
    ],
)
def test_records_depend_on_the_code_that_trains_them_and_on_no_other(module, concerned, monkeypatch, tmp_path):
    experiments = {
        "resnet20": {"model": "resnet20", "augment": []},
        "mlp_30": {"model": "mlp_30", "augment": []},
        "augmented": {"model": "mlp_30", "augment": ["RandomHorizontalFlip(p=0.5)"]},
    }
    before = {name: code(experiment) for name, experiment in experiments.items()}
    files = module_files()
    edited = tmp_path / "edited.py"
    edited.write_text(files[f"cnncourse.{module}"].read_text() + "\nADDED = 1\n")
    monkeypatch.setattr(store_module, "module_files", lambda: files | {f"cnncourse.{module}": edited})
    store_module._code.cache_clear()
    try:
        assert {name for name, experiment in experiments.items() if code(experiment) != before[name]} == concerned
    finally:
        store_module._code.cache_clear()


def test_other_code_finds_nothing(store, data, monkeypatch):
    train(BASE, data, store=store)
    monkeypatch.setattr(store_module, "code", lambda experiment: "0" * 64)
    assert not train(BASE, data, store=store).reused
    assert [record.current for record in store.records()] == [True, False]


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:100] + b"x" + b[101:], lambda b: b""])
def test_a_damaged_record_is_noticed_and_made_again(damage, store, data):
    train(BASE, data, store=store)
    path = store.records()[0].path
    path.write_bytes(damage(path.read_bytes()))
    assert store.records()[0].outcome == "damaged"
    with pytest.warns(UserWarning, match=path.name):
        assert not train(BASE, data, store=store).reused
    assert train(BASE, data, store=store).reused


def test_a_record_that_cannot_be_read_is_named_and_made_again(store, data):
    train(BASE, data, store=store)
    path = store.records()[0].path
    path.unlink()
    path.mkdir()  # reading it fails, for root, too
    with pytest.warns(UserWarning, match=path.name), pytest.raises(CourseError, match="cannot be written"):
        train(BASE, data, store=store)


def test_a_sweep_without_weights_does_not_take_away_those_that_another_process_kept(store, data):
    key = store.key(BASE, data)
    store.put(key, train(BASE, data, keep_weights=True))
    store.put(key, train(BASE, data))
    assert store.get(key, BASE, weights=True).weights
    store.put(key, train(BASE, data), force=True)
    assert store.get(key, BASE, weights=True) is None


def test_a_store_is_shared_between_users(store, data):
    train(BASE, data, store=store)
    assert stat.S_IMODE(store.records()[0].path.stat().st_mode) == 0o644


def test_what_is_there_is_found_where_nothing_can_be_written(store, data, monkeypatch):
    train(BASE, data, store=store)

    def refuse(*args):
        raise AssertionError("a record was there: no lock is needed")

    monkeypatch.setattr(Store, "reserved", refuse)
    assert train(BASE, data, store=store).reused


def test_an_interrupted_training_goes_on_and_ends_the_same(store, data, monkeypatch):
    experiment = BASE.changed(num_epochs=3)
    whole = train(experiment, data)
    key = store.key(experiment, data)

    class Interrupt(Exception):
        pass

    from cnncourse.training import loop

    add_epoch, epochs = loop.History.add_epoch, []

    def interrupted(self, *args):
        add_epoch(self, *args)
        epochs.append(self.num_epochs)
        if len(epochs) == 2:
            raise Interrupt

    monkeypatch.setattr(loop.History, "add_epoch", interrupted)
    with pytest.raises(Interrupt):
        train_with_checkpoints(experiment, data, store, monkeypatch)
    assert store.unfinished(key)
    resumed = train(experiment, data, store=store)
    assert epochs == [1, 2, 2, 3]
    assert resumed.history.steps == whole.history.steps
    assert not store.unfinished(key)


def train_with_checkpoints(experiment, data, store, monkeypatch):
    """Checkpoints after every epoch, as if an epoch took half a minute."""
    save = Checkpoint.save
    monkeypatch.setattr(Checkpoint, "save", lambda self, *, now, **extra: save(self, now=True, **extra))
    return train(experiment, data, store=store)


@pytest.mark.parametrize("damaged", [False, True])
def test_an_interrupted_stack_goes_on_and_ends_the_same(damaged, store, data, monkeypatch):
    base = BASE.changed(num_epochs=3, **{"model_options.dropout": 0.3})
    grid = {"lr": [0.01, 0.05]}
    whole = sweep(base, grid, [0], data, method="stacked", keep_weights=True)

    class Interrupt(Exception):
        pass

    side_by_side, epochs = stacked.side_by_side, []

    def interrupted(*args):
        epochs.append(len(epochs))
        if len(epochs) == 3:
            raise Interrupt
        return side_by_side(*args)

    monkeypatch.setattr(stacked, "side_by_side", interrupted)
    save = Checkpoint.save
    monkeypatch.setattr(Checkpoint, "save", lambda self, *, now, **extra: save(self, now=True, **extra))
    with pytest.raises(Interrupt):
        sweep(base, grid, [0], data, store=store, method="stacked", keep_weights=True)
    (checkpoint,) = (store.folder / "unfinished").iterdir()
    if damaged:
        checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    resumed = sweep(base, grid, [0], data, store=store, keep_weights=True, method="stacked" if damaged else "auto")
    assert len(epochs) == 3 + (3 if damaged else 1)
    if not damaged:
        assert resumed.method == "stacked, as when it was interrupted (2 runs)"
    for a, b in zip(whole.runs, resumed.runs, strict=True):
        assert a.history.steps == b.history.steps
        assert a.history.validation == b.history.validation
        assert all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights)
    assert not checkpoint.exists()
    assert len(store.records()) == 2


def test_a_sweep_that_waited_for_another_process_takes_its_stack(store, data, stacks, monkeypatch):
    grid = {"lr": [0.01, 0.05]}
    reserved = Store.reserved
    monkeypatch.setattr(Store, "reserved", reserved)

    def late(self, name):
        monkeypatch.setattr(Store, "reserved", reserved)
        sweep(BASE, grid, [0], data, store=Store(self.folder), method="stacked")  # the other one's
        return reserved(self, name)

    monkeypatch.setattr(Store, "reserved", late)
    swept = sweep(BASE, grid, [0], data, store=store, method="stacked")
    assert stacks == [2]
    assert all(run.reused for run in swept.runs)


def test_a_sweep_into_a_folder_that_cannot_be_written_trains_nothing_in_vain(tmp_path, data, stacks):
    (tmp_path / "file").write_text("")
    with pytest.raises(CourseError, match="cannot be written"):
        sweep(BASE, {"lr": [0.01, 0.05]}, [0], data, store=Store(tmp_path / "file"), method="stacked")
    assert stacks == []


def test_a_damaged_checkpoint_is_no_reason_to_stop(store, data):
    key = store.key(BASE, data)
    (store.folder / "unfinished").mkdir(parents=True)
    (store.folder / "unfinished" / f"{key}.pt").write_bytes(b"no checkpoint")
    assert train(BASE, data, store=store).history.outcome == "finished"
    assert not store.unfinished(key)


def test_a_folder_that_cannot_be_written_is_named(tmp_path, data):
    (tmp_path / "file").write_text("")
    with pytest.raises(CourseError, match="cannot be written") as error:
        train(BASE, data, store=Store(tmp_path / "file"))
    assert "CNNCOURSE_STORE" in error.value.remedy


def test_the_environment_chooses_the_store(monkeypatch, tmp_path):
    monkeypatch.setenv("CNNCOURSE_STORE", str(tmp_path))
    assert default_store().folder == tmp_path
    monkeypatch.setenv("CNNCOURSE_STORE", "off")
    assert default_store() is None


WRITER = textwrap.dedent("""
    import sys
    import torch
    from cnncourse import data
    from cnncourse.training import Experiment, Store, train
    torch.set_num_threads(1)
    experiment = Experiment(model="lenet_bn", num_epochs=2, batch_size=32, lr=0.05, num_images=96)
    store = Store(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    runs = [train(experiment.changed(seed=s), data.mnist(profile="smoke"), store=store) for s in range(4)]
    print(sum(run.reused for run in runs), flush=True)
""")


def test_two_processes_share_the_work(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    reused = [int(process.communicate()[0]) for process in processes]
    assert all(process.returncode == 0 for process in processes)
    records = Store(tmp_path).records()
    assert len(records) == 4
    assert all(record.outcome == "finished" for record in records)
    assert sum(reused) == 4  # each run was trained by one of the two


def test_a_killed_process_blocks_nobody_and_breaks_nothing(tmp_path, data):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()
    while not list(tmp_path.glob("locks/*")):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    store = Store(tmp_path)
    assert all(record.outcome != "damaged" for record in store.records())
    experiment = Experiment(model="lenet_bn", num_epochs=2, batch_size=32, lr=0.05, num_images=96)
    for seed in range(4):
        assert train(experiment.changed(seed=seed), data, store=store).history.outcome == "finished"


STUCK_WRITER = WRITER.replace(
    "store = Store",
    "import os\nos.fsync = lambda file: (print('writing', flush=True), sys.stdin.readline())\nstore = Store",
)


def test_a_process_killed_while_it_writes_leaves_no_record_and_no_lock(tmp_path, data):
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK_WRITER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("\n\n")  # begin, and let the checkpoint of the finished training be written
    process.stdin.flush()
    assert [process.stdout.readline() for _ in range(2)] == ["writing\n"] * 2
    drafts = list(tmp_path.glob("??/.*"))
    assert len(drafts) == 1
    assert drafts[0].stat().st_size > 0
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdin.close()
    process.stdout.close()
    store = Store(tmp_path)
    assert store.records() == []
    experiment = Experiment(model="lenet_bn", num_epochs=2, batch_size=32, lr=0.05, num_images=96)
    run = train(experiment, data, store=store)
    assert not run.reused
    assert run.history.steps == train(experiment, data).history.steps
    assert [record.outcome for record in store.records()] == ["finished"]
    os.utime(drafts[0], (0, 0))
    store.prune()
    assert not drafts[0].exists()
    assert len(store.records()) == 1


# --- the command ----------------------------------------------------------------------------------------------------
def call(*options):
    return CliRunner().invoke(app, ["store", *map(str, options)], catch_exceptions=True)


def test_list_inspect_and_prune(store, data, monkeypatch):
    train(BASE, data, store=store)
    train(BASE.changed(lr=0.1), data, store=store, keep_weights=True)
    listed = call("list", "--folder", store.folder).output
    assert "lenet_bn on first 96 of scikit-learn digits (embedded): sgd, lr 0.1" in listed
    assert "2 trainings" in listed
    as_json = json.loads(call("list", "--json", "--folder", store.folder).output)
    assert [entry["weights"] for entry in as_json] == [True, False]
    key = as_json[0]["key"]
    assert json.loads(call("inspect", key[:8], "--folder", store.folder).output)["experiment"]["lr"] == 0.1
    assert call("prune", "--folder", store.folder).output.startswith("Deleted 0 records")
    monkeypatch.setattr(store_module, "code", lambda experiment: "0" * 64)
    assert "by other code" in call("list", "--folder", store.folder).output
    assert call("prune", "--folder", store.folder).output.startswith("Deleted 2 records")
    assert store.records() == []


def test_a_key_that_no_record_has_is_an_error(store):
    result = call("inspect", "abc", "--folder", store.folder)
    assert isinstance(result.exception, CourseError)
    assert "No records of the store begin with 'abc'" in result.exception.what
