"""What a training run leaves behind: numbers per step, per epoch and per validation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from math import ceil, isfinite
from typing import Any

import torch


def _columns(*names: str) -> Callable[[], dict[str, list[float]]]:
    return lambda: {name: [] for name in names}


@dataclass
class History:
    """Record of a training run: columns of plain numbers, ready for ``pandas.DataFrame(history.epochs)``.

    Attributes
    ----------
    steps : dict of str to list of float
        One value per optimisation step: `loss` of its batch before the update, `lr` of the first parameter group.
    epochs : dict of str to list of float
        One value per epoch: `step` at its end, mean `loss` and `accuracy` (0 to 1) over its images, each as it was
        when its batch was trained on, and `seconds`, without a validation at its end.
    validation : dict of str to list of float
        One value per validation: `step` and (fractional) `epoch` after which it happened, `loss`, `accuracy` (0 to 1).
    monitor : {'loss', 'accuracy'}
        Which of the two decides what is best.
    outcome : {'', 'finished', 'stopped early', 'diverged'}
        How the run ended; empty before it has.
    divergence : dict or None
        Where the loss was not finite any more: `step` and `epoch` (from 1), `lr`, `part` ('training' or 'validation'),
        `value` ('nan', 'inf' or '-inf').
    device, precision : str
        What it ran on, and the arithmetic of the forward pass ('float32' or 'bfloat16').
    """

    steps: dict[str, list[float]] = field(default_factory=_columns("loss", "lr"))
    epochs: dict[str, list[float]] = field(default_factory=_columns("step", "loss", "accuracy", "seconds"))
    validation: dict[str, list[float]] = field(default_factory=_columns("step", "epoch", "loss", "accuracy"))
    monitor: str = "loss"
    outcome: str = ""
    divergence: dict[str, Any] | None = None
    device: str = "cpu"
    precision: str = "float32"

    @property
    def num_epochs(self) -> int:
        """Epochs that were trained, a last one that was cut short included."""
        return len(self.epochs["step"])

    @property
    def num_steps(self) -> int:
        """Optimisation steps that were made."""
        return len(self.steps["loss"])

    @property
    def best(self) -> dict[str, float] | None:
        """The best validation (the first of equals), or None when there was none."""
        if not self.validation[self.monitor]:
            return None
        return {name: values[self._best_index()] for name, values in self.validation.items()}

    @property
    def validations_since_best(self) -> int:
        """How many validations in a row brought no improvement."""
        values = self.validation[self.monitor]
        return len(values) - 1 - self._best_index() if values else 0

    def add_epoch(self, passes: Passes, num_batches: int, seconds: float) -> None:
        """Add the steps of an epoch, up to the first whose loss is not finite, and their means."""
        losses, mean_loss, accuracy = passes.read()
        finite = next((i for i, loss in enumerate(losses) if not isfinite(loss)), len(losses))
        self.steps["loss"] += losses[:finite]
        self.steps["lr"] += passes.rates[:finite]
        if finite < len(losses):
            self.diverge("training", self.num_steps + 1, num_batches, losses[finite], passes.rates[finite])
            return
        row = {"step": self.num_steps, "loss": mean_loss, "accuracy": accuracy, "seconds": seconds}
        for name, value in row.items():
            self.epochs[name].append(value)

    def add_validation(self, step: int, num_batches: int, loss: float, accuracy: float, lr: float) -> None:
        """Add a validation after `step` steps, unless its loss is not finite."""
        if not isfinite(loss):
            self.diverge("validation", step, num_batches, loss, lr)
            return
        row = {"step": step, "epoch": step / num_batches, "loss": loss, "accuracy": accuracy}
        for name, value in row.items():
            self.validation[name].append(value)

    def diverge(self, part: str, step: int, num_batches: int, value: float, lr: float) -> None:
        """Note that a loss was not finite."""
        self.outcome = "diverged"
        self.divergence = {"part": part, "step": step, "epoch": ceil(step / num_batches), "lr": lr, "value": str(value)}

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python values, fit for JSON; ``History(**d)`` is the way back."""
        return asdict(self)

    def __repr__(self) -> str:
        ended = f", {self.outcome}" if self.outcome else ""
        return (
            f"History({self.num_epochs} epochs, {self.num_steps:,} steps, "
            f"{len(self.validation['loss'])} validations{ended})"
        )

    def _best_index(self) -> int:
        values = self.validation[self.monitor]
        return values.index(min(values) if self.monitor == "loss" else max(values))


class Passes:
    """Collects what passed through a model, on the device. To read it batch by batch would make the device wait."""

    def __init__(self):
        self.losses: list[torch.Tensor] = []
        self.logits: list[torch.Tensor] = []
        self.labels: list[torch.Tensor] = []
        self.rates: list[float] = []

    def add(self, loss: torch.Tensor, logits: torch.Tensor, y: torch.Tensor, lr: float = 0.0) -> None:
        """Note a batch: its mean loss, logits (N, K), labels (N,), and the learning rate when it was trained on."""
        self.losses.append(loss.detach())
        self.logits.append(logits.detach())
        self.labels.append(y)
        self.rates.append(lr)

    def read(self) -> tuple[list[float], float, float]:
        """Loss of each batch, mean loss over the images, and accuracy. Here the device is waited for, once."""
        losses = torch.stack(self.losses).double().cpu()
        sizes = torch.tensor([len(y) for y in self.labels], dtype=torch.float64)
        hits = (torch.cat(self.logits).argmax(1) == torch.cat(self.labels)).sum()
        N = sizes.sum()
        return losses.tolist(), float(losses @ sizes / N), float(hits.cpu() / N)
