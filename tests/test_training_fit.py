"""fit(): the loop that a student would write, to the last bit, and what it does beyond it."""

import json
import warnings
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from cnncourse.data import Split
from cnncourse.data.augment import RandomHorizontalFlip
from cnncourse.data.batches import Batches
from cnncourse.errors import CourseError
from cnncourse.training import History, evaluate, fit
from cnncourse.training.losses import LOSSES

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
Adam = partial(torch.optim.Adam, lr=0.01)


def images(N: int = 50, seed: int = 0) -> Split:
    """Images of 3 classes that differ in brightness, with noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (N,), generator=generator)
    noise = torch.randint(0, 90, (N, 1, 6, 6), dtype=torch.uint8, generator=generator)
    return Split(noise + 80 * labels[:, None, None, None].to(torch.uint8), labels)


def make_model(seed: int = 0, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(dropout), nn.Flatten(), nn.Linear(64, 3)
    )


def make_train(batch_size: int = 16, seed: int = 0, **options) -> Batches:
    return Batches(images(), batch_size, mean=(0.5,), std=(0.25,), shuffle=True, seed=seed, **options)


def make_validation() -> Batches:
    return Batches(images(30, seed=1), 30, mean=(0.5,), std=(0.25,))


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in model.state_dict().values()])


class Scripted:
    """Stands for evaluate(): returns the losses of a script, one after the other."""

    def __init__(self, *losses: float):
        self.losses = iter(losses)
        self.weights = []

    def __call__(self, model, batches, **options):
        self.weights.append(weights(model))
        loss = next(self.losses)
        return SimpleNamespace(loss=loss, accuracy=1 - loss)


# --- the loop -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [SGD, Adam])
@pytest.mark.parametrize("loss", list(LOSSES))
def test_fit_is_the_plain_loop_to_the_last_bit(optimizer, loss):
    model, batches = make_model(dropout=0.3), make_train(augment=[RandomHorizontalFlip()])
    plain = optimizer(model.parameters())
    losses, epoch_losses, epoch_accuracies = [], [], []
    for _ in range(2):
        total = hits = 0
        for X, y in batches:
            plain.zero_grad()
            logits = model(X)
            value = LOSSES[loss](logits, y)
            value.backward()
            plain.step()
            losses.append(value.item())
            total += value.item() * len(y)
            hits += int((logits.argmax(1) == y).sum())
        epoch_losses.append(total / 50)
        epoch_accuracies.append(hits / 50)

    fitted = make_model(dropout=0.3)
    history = fit(fitted, make_train(augment=[RandomHorizontalFlip()]), num_epochs=2, optimizer=optimizer, loss=loss)
    assert history.steps["loss"] == losses
    assert torch.equal(weights(fitted), weights(model))
    assert history.epochs["loss"] == pytest.approx(epoch_losses, rel=1e-12)
    assert history.epochs["accuracy"] == pytest.approx(epoch_accuracies)
    assert history.epochs["step"] == [4, 8]
    assert (history.num_epochs, history.num_steps, history.outcome) == (2, 8, "finished")


def test_the_look_at_the_first_batch_takes_no_random_numbers():
    class AlwaysDropping(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(36, 3)

        def forward(self, X):
            return self.linear(F.dropout(X.flatten(1), 0.5))  # in evaluation mode, too

    torch.manual_seed(3)
    model = AlwaysDropping()
    state = torch.get_rng_state()
    X, y = next(iter(make_train()))
    expected = F.cross_entropy(model(X), y).item()
    torch.set_rng_state(state)
    history = fit(model, make_train(), num_epochs=1, optimizer=SGD)
    assert history.steps["loss"][0] == expected


def test_fit_learns():
    model = make_model()
    history = fit(model, make_train(), make_validation(), num_epochs=8, optimizer=Adam)
    assert history.validation["accuracy"][-1] > 0.9
    assert history.epochs["loss"][-1] < history.epochs["loss"][0] / 2


@pytest.mark.parametrize("kind", ["loader", "list"])
def test_any_collection_of_batches_will_do(kind):
    part = images()
    X, y = part.images / 255, part.labels
    ordered = Batches(part, 16)
    same = DataLoader(TensorDataset(X, y), 16) if kind == "loader" else list(ordered)
    expected = fit(make_model(), ordered, num_epochs=2, optimizer=SGD)
    assert fit(make_model(), same, num_epochs=2, optimizer=SGD).steps == expected.steps


def test_an_optimizer_and_a_loss_of_ones_own():
    model = make_model()
    optimizer = torch.optim.AdamW(model[-1].parameters(), lr=0.01)  # only the last layer learns
    before = model[0].weight.clone()
    history = fit(model, make_train(), num_epochs=1, optimizer=optimizer, loss=nn.CrossEntropyLoss(label_smoothing=0.1))
    assert torch.equal(model[0].weight, before)
    assert optimizer.state
    smoothed = F.cross_entropy(
        make_model()(next(iter(make_train()))[0]), next(iter(make_train()))[1], label_smoothing=0.1
    )
    assert history.steps["loss"][0] == smoothed.item()


def test_a_model_comes_back_in_training_mode_and_trains_again():
    model = make_model().eval()
    fit(model, make_train(), make_validation(), num_epochs=1, optimizer=SGD)
    assert all(module.training for module in model.modules())
    before = weights(model)
    fit(model, make_train(), num_epochs=1, optimizer=SGD)
    assert not torch.equal(weights(model), before)


def test_gradients_are_clipped_to_the_norm():
    model, clipped = make_model(), make_model()
    X, y = next(iter(make_train()))
    F.cross_entropy(model(X), y).backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
    before = torch.cat([p.detach().flatten() for p in clipped.parameters()])
    fit(clipped, [(X, y)], num_epochs=1, optimizer=partial(torch.optim.SGD, lr=1.0), clip_norm=0.01)
    after = torch.cat([p.detach().flatten() for p in clipped.parameters()])
    torch.testing.assert_close(before - after, 0.01 * gradient / gradient.norm(), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("schedule", "every", "rates"),
    [
        (partial(lr_scheduler.StepLR, step_size=1, gamma=0.1), "epoch", [0.1] * 4 + [0.01] * 4 + [0.001] * 4),
        (partial(lr_scheduler.StepLR, step_size=5, gamma=0.1), "step", [0.1] * 5 + [0.01] * 5 + [0.001] * 2),
        (partial(lr_scheduler.LambdaLR, lr_lambda=lambda n: 0.5**n), "epoch", [0.1] * 4 + [0.05] * 4 + [0.025] * 4),
    ],
)
def test_the_schedule_sets_the_learning_rate(schedule, every, rates):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns when a schedule moves before the optimizer does
        history = fit(make_model(), make_train(), num_epochs=3, optimizer=SGD, schedule=schedule, schedule_every=every)
    assert history.steps["lr"] == pytest.approx(rates)


def test_a_plateau_of_the_validation_loss_lowers_the_rate():
    history = fit(
        make_model(),
        make_train(),
        make_validation(),
        num_epochs=4,
        optimizer=SGD,
        schedule=partial(lr_scheduler.ReduceLROnPlateau, factor=0.5, patience=0, threshold=1e9, threshold_mode="abs"),
    )
    assert history.steps["lr"][::4] == pytest.approx([0.1, 0.1, 0.05, 0.025])


def test_no_number_is_read_from_the_device_within_an_epoch(monkeypatch):
    events = []

    class Probe(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = make_model()

        def forward(self, X):
            events.append("forward")
            return self.model(X)

    for name in ("item", "tolist", "cpu", "numpy", "__float__", "__int__", "__bool__", "__index__"):
        original = getattr(torch.Tensor, name)

        def noted(self, *args, original=original, **options):
            events.append("read")
            return original(self, *args, **options)

        monkeypatch.setattr(torch.Tensor, name, noted)
    optimizer = partial(torch.optim.SGD, lr=0.1)
    fit(Probe(), list(make_train()), num_epochs=1, optimizer=optimizer, clip_norm=1.0)
    monkeypatch.undo()
    steps = [i for i, event in enumerate(events) if event == "forward"][1:]  # the first looks at the first batch
    assert len(steps) == 4
    assert events[steps[0] : steps[-1]] == ["forward"] * 3
    assert "read" in events[steps[-1] :]


# --- validation, early stopping -----------------------------------------------------------------------------------


def test_validation_follows_each_epoch_and_is_what_evaluate_says():
    model = make_model()
    history = fit(model, make_train(), make_validation(), num_epochs=3, optimizer=Adam)
    result = evaluate(model, make_validation())
    assert history.validation["step"] == [4, 8, 12]
    assert history.validation["epoch"] == [1, 2, 3]
    assert history.validation["loss"][-1] == result.loss
    assert history.validation["accuracy"][-1] == result.accuracy


def test_validation_every_few_steps_does_not_change_the_training():
    plain, validated = make_model(dropout=0.3), make_model(dropout=0.3)
    torch.manual_seed(7)
    expected = fit(plain, make_train(), num_epochs=3, optimizer=Adam)
    torch.manual_seed(7)
    history = fit(validated, make_train(), make_validation(), num_epochs=3, optimizer=Adam, validate_every=5)
    assert history.steps == expected.steps
    assert torch.equal(weights(plain), weights(validated))
    assert history.validation["step"] == [5, 10]
    assert history.validation["epoch"] == [1.25, 2.5]


def test_early_stopping_stops_and_restores_the_best_weights(monkeypatch):
    script = Scripted(0.9, 0.5, 0.5, 0.7, 0.6, 0.1)
    monkeypatch.setattr("cnncourse.training.loop.evaluate", script)
    model = make_model()
    history = fit(model, make_train(), make_validation(), num_epochs=9, optimizer=SGD, patience=3)
    assert history.outcome == "stopped early"
    assert history.validation["loss"] == [0.9, 0.5, 0.5, 0.7, 0.6]  # an equal one is no improvement
    assert history.best == {"step": 8, "epoch": 2, "loss": 0.5, "accuracy": 0.5}
    assert torch.equal(weights(model), script.weights[1])
    assert not torch.equal(weights(model), script.weights[-1])


def test_early_stopping_ends_an_epoch_where_it_is(monkeypatch):
    monkeypatch.setattr("cnncourse.training.loop.evaluate", Scripted(0.5, 0.6, 0.7))
    history = fit(
        make_model(), make_train(), make_validation(), num_epochs=9, optimizer=SGD, patience=1, validate_every=3
    )
    assert (history.num_steps, history.epochs["step"], history.outcome) == (6, [4, 6], "stopped early")


def test_the_accuracy_may_decide_what_is_best(monkeypatch):
    results = iter([SimpleNamespace(loss=0.1, accuracy=0.5), SimpleNamespace(loss=0.2, accuracy=0.8)])
    monkeypatch.setattr("cnncourse.training.loop.evaluate", lambda *_, **__: next(results))
    history = fit(make_model(), make_train(), make_validation(), num_epochs=2, optimizer=SGD, monitor="accuracy")
    assert history.best["epoch"] == 2
    assert history.outcome == "finished"


@pytest.mark.parametrize("restore_best", [False, True])
def test_best_weights_are_restored_when_asked_for(monkeypatch, restore_best):
    script = Scripted(0.2, 0.3)
    monkeypatch.setattr("cnncourse.training.loop.evaluate", script)
    model = make_model()
    fit(model, make_train(), make_validation(), num_epochs=2, optimizer=SGD, restore_best=restore_best)
    assert torch.equal(weights(model), script.weights[0 if restore_best else 1])


# --- divergence ---------------------------------------------------------------------------------------------------


def loss_that_breaks_at(step: int, value: float = float("nan")):
    calls = iter(range(-1, 10_000))  # the first call looks at the first batch

    def breaking(logits, y):
        return F.cross_entropy(logits, y) * (value if next(calls) == step - 1 else 1.0)

    return breaking


@pytest.mark.parametrize(("value", "name"), [(float("nan"), "nan"), (float("inf"), "inf")])
def test_divergence_is_reported_with_its_step_and_learning_rate(value, name):
    schedule = partial(lr_scheduler.StepLR, step_size=1, gamma=0.5)
    with pytest.raises(CourseError) as raised:
        fit(
            make_model(),
            make_train(),
            num_epochs=3,
            optimizer=SGD,
            schedule=schedule,
            loss=loss_that_breaks_at(6, value),
        )
    assert f"training loss became {name} at step 6 (epoch 2 of 3), at learning rate 0.05." in raised.value.what
    assert "Lower the learning rate" in raised.value.remedy


def test_a_diverged_run_can_hand_back_what_it_has():
    history = fit(
        make_model(), make_train(), num_epochs=3, optimizer=SGD, loss=loss_that_breaks_at(6), on_divergence="stop"
    )
    assert history.outcome == "diverged"
    assert history.divergence == {"part": "training", "step": 6, "epoch": 2, "lr": 0.1, "value": "nan"}
    assert (history.num_steps, history.num_epochs) == (5, 1)
    json.dumps(history.to_dict(), allow_nan=False)


def test_a_rate_that_is_too_high_diverges():
    with pytest.raises(
        CourseError, match=r"loss became (nan|inf) at step \d+ \(epoch \d+ of 9\), at learning rate 1e\+30"
    ):
        fit(make_model(), make_train(), num_epochs=9, optimizer=partial(torch.optim.SGD, lr=1e30), loss="mse")


def test_a_validation_that_diverges_is_reported_too(monkeypatch):
    monkeypatch.setattr("cnncourse.training.loop.evaluate", Scripted(0.5, float("nan")))
    with pytest.raises(CourseError, match=r"validation loss became nan at step 8 \(epoch 2 of 3\)"):
        fit(make_model(), make_train(), make_validation(), num_epochs=3, optimizer=SGD)


# --- device, layout, precision ------------------------------------------------------------------------------------


def test_channels_last_changes_the_layout_and_not_the_result():
    layouts = []

    class Probe(nn.Sequential):
        def forward(self, X):
            layouts.append(X.is_contiguous(memory_format=torch.channels_last) and not X.is_contiguous())
            return super().forward(X)

    def colour():
        torch.manual_seed(0)
        model = Probe(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
        part = images()
        return model, Batches(Split(part.images.repeat(1, 3, 1, 1), part.labels), 16)

    model, batches = colour()
    expected = fit(model, batches, num_epochs=1, optimizer=SGD)
    assert not any(layouts)
    layouts.clear()
    model, batches = colour()
    history = fit(model, batches, batches, num_epochs=1, optimizer=SGD, channels_last=True)
    assert all(layouts)
    assert history.steps["loss"] == pytest.approx(expected.steps["loss"], rel=1e-5)


def test_mixed_precision_is_for_cuda_only():
    expected = fit(make_model(), make_train(), num_epochs=1, optimizer=SGD)
    history = fit(make_model(), make_train(), num_epochs=1, optimizer=SGD, mixed_precision=True)
    assert (history.precision, history.device) == ("float32", "cpu")
    assert history.steps == expected.steps


def test_a_compiled_model_trains_the_model_itself(monkeypatch):
    compiled, torch_compile = [], torch.compile

    def compile_without_code_generation(model):
        compiled.append(model)
        return torch_compile(model, backend="eager")

    monkeypatch.setattr(torch, "compile", compile_without_code_generation)
    expected, model = make_model(), make_model()
    fit(expected, make_train(drop_last=True), num_epochs=1, optimizer=SGD)
    fit(model, make_train(drop_last=True), make_validation(), num_epochs=1, optimizer=SGD, compile=True)
    assert compiled == [model]
    torch.testing.assert_close(weights(model), weights(expected), rtol=1e-5, atol=1e-6)


def test_progress_is_shown_when_asked_for(capsys):
    fit(make_model(), make_train(), num_epochs=2, optimizer=SGD)
    assert capsys.readouterr().err == ""
    fit(make_model(), make_train(), num_epochs=2, optimizer=SGD, progress=True)
    assert "8/8" in capsys.readouterr().err


# --- history ------------------------------------------------------------------------------------------------------


def test_a_history_survives_json():
    history = fit(make_model(), make_train(), make_validation(), num_epochs=2, optimizer=SGD)
    assert History(**json.loads(json.dumps(history.to_dict()))) == history
    assert repr(history) == "History(2 epochs, 8 steps, 2 validations, finished)"
    assert History().best is None


# --- bad input ----------------------------------------------------------------------------------------------------


def labelled(labels: torch.Tensor) -> Batches:
    return Batches(Split(images().images, labels), 16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_epochs": 0}, "num_epochs must be an integer of at least 1, not 0"),
        ({"validation": make_validation(), "patience": 0}, "patience must be an integer of at least 1"),
        ({"clip_norm": 0.0}, "clip_norm must be above 0"),
        ({"schedule_every": "batch"}, "Unknown schedule_every 'batch'"),
        ({"monitor": "f1"}, "Unknown monitor 'f1'"),
        ({"loss": "hinge"}, "Unknown loss 'hinge'"),
        ({"device": "cuda:77"}, "no device 'cuda:77'"),
        ({"optimizer": partial(torch.optim.SGD, lr=-0.1)}, "learning rate.* -0.1"),
        ({"optimizer": partial(torch.optim.SGD, lr=float("nan"))}, "learning rate.* nan"),
        ({"optimizer": partial(torch.optim.SGD, lr=float("inf"))}, "learning rate is inf"),
        ({"optimizer": "sgd"}, "optimizer is 'sgd', not a torch optimizer"),
        ({"optimizer": SGD(make_model().parameters())}, "made for another model"),
        ({"schedule": partial(lr_scheduler.StepLR, gamma=0.1)}, "schedule cannot be made: .*step_size"),
        ({"schedule": lr_scheduler.StepLR(SGD(make_model().parameters()), 1)}, "steers another optimizer"),
        ({"schedule": lr_scheduler.ReduceLROnPlateau}, "need validation data"),
        ({"patience": 2}, "need validation data"),
        ({"validate_every": 2}, "need validation data"),
        ({"train": iter([])}, "is an iterator: after the first epoch it is used up"),
        ({"train": []}, "no batch to work on"),
        ({"train": 3}, "Batches of .* are needed, not int"),
        ({"train": Batches(images(), 16, num_classes=5)}, "The model has 3 outputs, but the data have 5 classes"),
        ({"train": labelled(torch.arange(50) % 4)}, "label 3, but the model's 3 outputs stand for the classes 0 to 2"),
        ({"train": [(torch.zeros(4, 1, 6, 6), torch.tensor([0, 1, -1, 2]))]}, "label -1"),
        ({"train": [(torch.zeros(4, 1, 6, 6), torch.eye(4))]}, r"int64 of shape \(4,\), one per image, not float32"),
        ({"train": [(torch.zeros(4, 3, 6, 6), torch.arange(4) % 3)]}, r"cannot take images of shape \(2, 3, 6, 6\)"),
        ({"train": [(torch.zeros(4, 1, 9, 9), torch.arange(4) % 3)]}, r"cannot take images of shape \(2, 1, 9, 9\)"),
        ({"model": nn.Conv2d(1, 3, 3)}, r"must return logits of shape \(2, K\) for 2 images, but returns shape"),
        ({"loss": nn.MSELoss()}, r"loss MSELoss does not fit, for logits float32 of shape \(2, 3\) and labels int64"),
        ({"loss": nn.BCEWithLogitsLoss()}, "loss BCEWithLogitsLoss does not fit"),
        ({"loss": nn.CrossEntropyLoss(reduction="none")}, "must return a scalar tensor"),
        ({"loss": lambda logits, y: 0.5}, "must return a scalar tensor .* but returns float"),
        ({"loss": lambda logits, y: (logits.argmax(1) != y).float().mean()}, "loss has no gradient"),
    ],
)  # fmt: skip
def test_bad_input_is_named_before_the_first_step(options, message):
    model = options.get("model") or make_model()
    before = weights(model)
    with pytest.raises(CourseError, match=message):
        fit(**{"model": model, "train": make_train(), "num_epochs": 1, "optimizer": SGD} | options)
    assert torch.equal(weights(model), before)


def test_two_outputs_do_not_hide_a_loss_that_broadcasts():
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    with pytest.raises(CourseError, match="MSELoss does not fit"):
        fit(model, labelled(torch.arange(50) % 2), num_epochs=1, optimizer=SGD, loss=nn.MSELoss())


def test_a_gpu_without_memory_is_explained():
    def out_of_memory(logits, y):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")

    with pytest.raises(CourseError, match=r"not enough memory for a training step: CUDA out of memory.\n") as raised:
        fit(make_model(), make_train(), num_epochs=1, optimizer=SGD, loss=out_of_memory)
    assert "smaller batch size" in raised.value.remedy


def test_a_cpu_without_memory_is_explained():
    class Greedy(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = make_model()

        def forward(self, X):
            if self.training:
                torch.empty(2**55)
            return self.model(X)

    with pytest.raises(CourseError, match="not enough memory for a training step: can't allocate memory"):
        fit(Greedy(), make_train(), num_epochs=1, optimizer=SGD)


def test_other_errors_stay_as_they_are():
    class Faulty(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = make_model()

        def forward(self, X):
            if self.training:
                raise RuntimeError("my own mistake")
            return self.model(X)

    with pytest.raises(RuntimeError, match="my own mistake"):
        fit(Faulty(), make_train(), num_epochs=1, optimizer=SGD)
