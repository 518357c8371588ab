"""A training run on disk: written atomically, taken up again exactly where it was."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cnncourse.data.batches import Batches
from cnncourse.errors import CourseError


class Checkpoint:
    """The file of one training run.

    Parameters
    ----------
    path : Path
    settings : dict
        What identifies the run: plain values. A file with other settings is refused.
    parts : dict
        What has to be saved: objects with ``state_dict`` and ``load_state_dict``. Others are left out.
    device : torch.device
        The one whose random numbers the run draws.
    seconds : float
        Shortest time between two writings.
    """

    def __init__(
        self, path: Path, settings: dict[str, Any], parts: dict[str, Any], device: torch.device, seconds: float
    ):
        self.path = path
        self.settings = settings
        self.parts = {name: part for name, part in parts.items() if hasattr(part, "state_dict")}
        self.device = device
        self.seconds = seconds
        self._written = time.monotonic()

    def save(self, *, now: bool, **extra: Any) -> None:
        """Write the parts, the random state and `extra`: `now`, or when the last writing is long enough ago."""
        if not now and time.monotonic() - self._written < self.seconds:
            return
        states = {name: part.state_dict() for name, part in self.parts.items()}
        _write(self.path, {"settings": self.settings, "random": random_state(self.device), **states, **extra})
        self._written = time.monotonic()

    def restore(self) -> dict[str, Any] | None:
        """Put all parts and random numbers into the saved state, and return what was saved; None without a file.

        Raises
        ------
        CourseError
            When the file is damaged, or belongs to a run with other settings.
        """
        if not self.path.exists():
            return None
        state = _read(self.path)
        theirs = state["settings"]
        if differences := [
            f"{name} was {theirs.get(name)}, is {self.settings.get(name)}"
            for name in {**theirs, **self.settings}
            if theirs.get(name) != self.settings.get(name)
        ]:
            raise CourseError(
                f"The checkpoint {self.path} belongs to another run: {'; '.join(differences)}.",
                "Give each run its own file, or delete this one.",
            )
        for name, part in self.parts.items():
            part.load_state_dict(state[name])
        restore_random_state(state["random"], self.device)
        return state


def describe(
    model: nn.Module, optimizer: Optimizer, schedule: LRScheduler | None, **batches: Iterable | None
) -> dict[str, str]:
    """What tells one run from another, as far as the objects show it: plain text, to be compared."""
    plain = (bool, int, float, str, list, tuple, dict, type(None))
    groups = [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]
    state = {} if schedule is None else schedule.state_dict()
    state = {name: value for name, value in state.items() if isinstance(value, plain)}
    return {
        "model": f"{type(model).__name__} with parameters {[tuple(p.shape) for p in model.parameters()]}",
        "optimizer": f"{type(optimizer).__name__} {groups}",
        "schedule": f"{type(schedule).__name__} {state}",
        **{name: _describe_batches(each) for name, each in batches.items()},
    }


def _describe_batches(batches: Iterable | None) -> str:
    if batches is None or isinstance(batches, Batches):
        return repr(batches)
    return f"{type(batches).__name__} of {len(batches)}"


def _write(path: Path, state: dict[str, Any]) -> None:
    """At any moment `path` holds a complete file, the old one or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(draft, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError as error:
        raise CourseError(
            f"The checkpoint {path} cannot be written: {error.strerror or error}.",
            "Make room on the disk, or choose a folder where you may write.",
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or "settings" not in state:
            raise ValueError("no checkpoint")
    except (RuntimeError, OSError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise CourseError(
            f"The checkpoint {path} cannot be read: it is damaged, or something else.", "Delete it, and train anew."
        ) from error
    return state


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """State of torch's global generators, which dropout draws from."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def restore_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Go back to what `random_state` returned."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
    elif "mps" in state:
        torch.mps.set_rng_state(state["mps"])
