"""A run that was interrupted goes on as if nothing had happened; a checkpoint is whole, or refused."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from cnncourse.data import Split
from cnncourse.data.augment import RandomCrop, RandomHorizontalFlip
from cnncourse.data.batches import Batches
from cnncourse.errors import CourseError
from cnncourse.training import fit

SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=1e-3)
AdamW = partial(torch.optim.AdamW, lr=0.01)
STEPS = 4  # of an epoch


def split(N: int, seed: int) -> Split:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (N, 1, 6, 6), dtype=torch.uint8, generator=generator)
    return Split(images, torch.randint(0, 3, (N,), generator=generator))


class Interrupted(nn.Module):
    """Batch norm and dropout; interrupts the training after so many steps."""

    def __init__(self, steps: int):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(64, 3)
        )
        self.steps = steps

    def forward(self, X):
        if self.training:
            self.steps -= 1
            if self.steps < 0:
                raise KeyboardInterrupt
        return self.layers(X)


def run(path=None, *, steps=1000, train="batches", seed=0, num_epochs=5, optimizer=SGD, **options):
    """Train anew, from the same seeds. Returns the history without its times, and the final weights."""
    model = Interrupted(steps)
    part = split(50, 0)
    if train == "batches":
        augment = [RandomCrop(6, padding=1), RandomHorizontalFlip()]
        train = Batches(part, 16, shuffle=True, augment=augment, seed=seed)
    else:
        train = DataLoader(TensorDataset(part.images / 255, part.labels), 16, shuffle=True)
    validation = Batches(split(30, 1), 30)
    torch.manual_seed(5)
    history = fit(
        model,
        train,
        validation,
        num_epochs=num_epochs,
        optimizer=optimizer,
        checkpoint=path,
        checkpoint_seconds=0,
        **options,
    )
    record = history.to_dict()
    del record["epochs"]["seconds"]
    return record, torch.cat([value.flatten().double() for value in model.state_dict().values()])


@pytest.mark.parametrize("interrupted_at", [1, 4, 10, 19])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": AdamW, "train": "loader"},
        {"schedule": partial(lr_scheduler.StepLR, step_size=2), "restore_best": True},
        {"schedule": partial(lr_scheduler.MultiStepLR, milestones=[3, 11]), "schedule_every": "step"},
        {"schedule": partial(lr_scheduler.CosineAnnealingLR, T_max=5), "validate_every": 3},
        {
            "optimizer": AdamW,
            "schedule": partial(lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=20),
            "schedule_every": "step",
        },
        {"schedule": partial(lr_scheduler.ReduceLROnPlateau, patience=0), "clip_norm": 0.5},
    ],
    ids=lambda options: "+".join(options) or "plain",
)
def test_a_resumed_run_equals_an_uninterrupted_one_to_the_last_bit(tmp_path, options, interrupted_at):
    expected, weights = run(**options)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run.pt", steps=interrupted_at, **options)
    assert (tmp_path / "run.pt").exists() == (interrupted_at >= STEPS)  # written after an epoch
    history, resumed = run(tmp_path / "run.pt", **options)
    assert history == expected
    assert torch.equal(resumed, weights)


def test_early_stopping_remembers_how_long_it_has_been_waiting(tmp_path):
    options = {"patience": 3, "num_epochs": 40, "optimizer": partial(torch.optim.SGD, lr=0.5)}
    expected, weights = run(**options)
    stopped = len(expected["epochs"]["step"])
    assert expected["outcome"] == "stopped early"
    assert 3 < stopped < 40
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run.pt", steps=(stopped - 1) * STEPS + 1, **options)
    history, resumed = run(tmp_path / "run.pt", **options)
    assert history == expected
    assert torch.equal(resumed, weights)


def test_many_interruptions_in_a_row(tmp_path):
    expected, weights = run()
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run.pt", steps=STEPS + 2)
    history, resumed = run(tmp_path / "run.pt")
    assert history == expected
    assert torch.equal(resumed, weights)


@pytest.mark.parametrize("options", [{}, {"restore_best": True}, {"patience": 1}])
def test_a_finished_run_is_read_and_not_trained_again(tmp_path, options):
    expected, weights = run(tmp_path / "run.pt", **options)
    history, again = run(tmp_path / "run.pt", steps=0, **options)
    assert history == expected
    assert torch.equal(again, weights)


def test_checkpoints_are_written_seldom_but_always_at_the_end(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr("cnncourse.training.checkpoint._write", lambda path, state: written.append(state))
    batches = Batches(split(50, 0), 16)
    fit(Interrupted(1000), batches, num_epochs=4, optimizer=SGD, checkpoint=tmp_path / "run.pt")
    assert [state["history"]["outcome"] for state in written] == ["finished"]


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        run(path, steps=STEPS + 1)
    before = path.read_bytes()

    def disk_full(state, file):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(CourseError, match=r"run.pt cannot be written: No space left on device"):
        run(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_takes_the_place_of_the_old_one_in_one_step(tmp_path, monkeypatch):
    path = tmp_path / "run.pt"
    with pytest.raises(KeyboardInterrupt):
        run(path, steps=STEPS + 1)
    before = path.read_bytes()

    def interrupted(draft, final):
        assert torch.load(draft, weights_only=True)["history"]["epochs"]["step"] == [STEPS, 2 * STEPS]
        assert final == path
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"", b"no checkpoint", "half"])
def test_a_damaged_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "run.pt"
    run(path)
    path.write_bytes(path.read_bytes()[:2000] if content == "half" else content)
    with pytest.raises(CourseError, match=r"run.pt cannot be read: it is damaged"):
        run(path)


def test_another_file_of_torch_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "run.pt")
    with pytest.raises(CourseError, match="damaged, or something else"):
        run(tmp_path / "run.pt")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_epochs": 6}, "num_epochs was 5, is 6"),
        ({"seed": 1}, "train was Batches.*seed 0.*, is Batches.*seed 1"),
        ({"optimizer": partial(torch.optim.SGD, lr=0.2)}, "optimizer was SGD .*'lr': 0.1.*, is SGD .*'lr': 0.2"),
        ({"optimizer": AdamW}, "optimizer was SGD .*, is AdamW"),
        ({"loss": "mse"}, "loss was cross_entropy, is mse"),
        ({"schedule": partial(lr_scheduler.StepLR, step_size=1)}, "schedule was NoneType .*, is StepLR"),
        ({"patience": 3}, "patience was None, is 3"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(tmp_path, options, message):
    run(tmp_path / "run.pt")
    with pytest.raises(CourseError, match=message):
        run(tmp_path / "run.pt", **options)
