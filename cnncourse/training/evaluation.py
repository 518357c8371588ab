"""Loss, accuracy, predictions and confusion matrix of a model on labelled images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from cnncourse.errors import CourseError
from cnncourse.memory import out_of_memory_explained
from cnncourse.training.checks import check_batch, check_iterable
from cnncourse.training.history import Passes
from cnncourse.training.losses import Loss, get_loss
from cnncourse.training.placement import Placement


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model makes of N labelled images, in the order in which they came. Tensors are on the CPU.

    Attributes
    ----------
    loss : float
        Mean over the images.
    accuracy : float
        Share of right predictions, 0 to 1.
    logits : torch.Tensor
        float32, shape (N, K).
    labels : torch.Tensor
        int64, shape (N,).
    """

    loss: float
    accuracy: float
    logits: torch.Tensor
    labels: torch.Tensor

    @property
    def predictions(self) -> torch.Tensor:
        """Class with the largest logit: int64, shape (N,)."""
        return self.logits.argmax(1)

    @property
    def confusion(self) -> torch.Tensor:
        """Number of images of class i that were taken for class j, at row i and column j: int64, shape (K, K)."""
        K = self.logits.shape[1]
        return torch.bincount(self.labels * K + self.predictions, minlength=K * K).view(K, K)

    def __repr__(self) -> str:
        return f"Evaluation({len(self.labels):,} images, {self.logits.shape[1]} classes)"


def evaluate(
    model: nn.Module,
    batches: Iterable[tuple[torch.Tensor, torch.Tensor]],
    *,
    loss: str | Loss = "cross_entropy",
    mixed_precision: bool = False,
    channels_last: bool = False,
    device: str | torch.device | None = None,
) -> Evaluation:
    """Pass every batch through the model in evaluation mode, without gradients.

    Each module gets back the mode that it had.

    Parameters
    ----------
    model : torch.nn.Module
        Maps X (N, ...) to logits (N, K).
    batches : Batches or another iterable of (X, y)
        Not shuffled, when the order of the predictions matters.
    loss, mixed_precision, channels_last, device
        As in :func:`cnncourse.training.fit`.

    Returns
    -------
    Evaluation

    Raises
    ------
    CourseError
        When the model cannot take such images, outputs or labels do not fit, there are no batches, or memory runs out.
    """
    place = Placement.of(model, device, mixed_precision=mixed_precision, channels_last=channels_last)
    loss_fn = get_loss(loss)
    check_iterable(batches)
    place.model(model)
    passes = Passes()
    with (
        out_of_memory_explained("to evaluate the model", "Use a smaller batch size."),
        evaluation_mode(model),
        torch.no_grad(),
    ):
        for X, y in batches:
            X, y = place(X, y)
            if not passes.losses:
                check_batch(model, X, y, loss_fn, batches, place)
            with place.precision():
                logits = model(X)
                passes.add(loss_fn(logits, y), logits, y)
        if not passes.losses:
            raise CourseError("There was no batch to evaluate the model on.", "Pass at least one.")
        _, mean_loss, accuracy = passes.read()
        return Evaluation(mean_loss, accuracy, torch.cat(passes.logits).float().cpu(), torch.cat(passes.labels).cpu())


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """The whole model in evaluation mode; afterwards each module is in the mode it had, frozen ones included."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
