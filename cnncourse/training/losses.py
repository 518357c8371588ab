"""Losses by name. Each takes logits (N, K) and class indices (N,), and returns the mean as a scalar tensor."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from cnncourse.errors import CourseError

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def mse(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean over all N K outputs of the squared difference from the one-hot labels."""
    return F.mse_loss(logits, _one_hot(y, logits))


def smooth_l1(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean over all N K outputs of ``d**2 / 2`` where ``d = |logit - one-hot label|`` is below 1, else ``d - 1/2``.

    Girshick 2015, "Fast R-CNN", equation 3.
    """
    return F.smooth_l1_loss(logits, _one_hot(y, logits))


def bce_with_logits(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Mean over all N K outputs of the binary cross-entropy of ``sigmoid(logit)`` against the one-hot labels."""
    return F.binary_cross_entropy_with_logits(logits, _one_hot(y, logits))


LOSSES: dict[str, Loss] = {
    "cross_entropy": F.cross_entropy,
    "mse": mse,
    "smooth_l1": smooth_l1,
    "bce_with_logits": bce_with_logits,
}


def get_loss(loss: str | Loss) -> Loss:
    """The function behind a name; a callable is returned as it is. CourseError for anything else."""
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise CourseError(
            f"Unknown loss {loss!r}.", f"Choose one of {', '.join(LOSSES)}, or pass a function of (logits, y)."
        )
    return LOSSES[loss]


def _one_hot(y: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    # Not F.one_hot: it makes int64 first, and a label without an output would stop a GPU for good.
    return (y[:, None] == torch.arange(logits.shape[1], device=y.device)).to(logits.dtype)
