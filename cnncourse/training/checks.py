"""Bad input to training, found before the first step and said so that a student can mend it."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from cnncourse.errors import CourseError

if TYPE_CHECKING:
    from cnncourse.training.losses import Loss
    from cnncourse.training.placement import Placement

ENOUGH = 2  # images that show whether shapes fit


def check_count(name: str, value: int) -> None:
    """CourseError unless `value` is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise CourseError(f"{name} must be an integer of at least 1, not {value!r}.", f"Choose {name}=1 or more.")


def check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """CourseError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise CourseError(f"Unknown {name} {value!r}.", f"Choose one of {', '.join(map(repr, allowed))}.")


def check_iterable(batches: Iterable) -> None:
    """CourseError unless `batches` is a non-empty collection that can be iterated over once per epoch."""
    if not hasattr(batches, "__iter__"):
        raise CourseError(
            f"Batches of (X, y) are needed, not {type(batches).__name__}.",
            "Make them with cnncourse.data.batches.loaders(data, batch_size).",
        )
    if iter(batches) is batches:
        raise CourseError(
            f"{type(batches).__name__} is an iterator: after the first epoch it is used up.",
            "Pass something that can be iterated over again: Batches, a DataLoader or a list.",
        )
    if not len(batches):
        raise CourseError("There is no batch to work on.", "Use more images, a smaller batch size or drop_last=False.")


def check_batch(
    model: nn.Module,
    X: torch.Tensor,
    y: torch.Tensor,
    loss_fn: Loss,
    batches: Iterable,
    place: Placement,
    *,
    train: bool = False,
) -> None:
    """CourseError unless model, labels and loss fit a batch (and, to `train`, the loss has a gradient).

    Two images pass the model in evaluation mode, which changes nothing in it; random numbers that it draws are given
    back.
    """
    from cnncourse.training.evaluation import evaluation_mode

    if y.dtype != torch.int64 or y.shape != X.shape[:1]:
        raise CourseError(
            f"Labels must be int64 of shape ({len(X)},), one per image, not {_form(y)}.",
            "Use class indices; y.argmax(1) turns one-hot vectors into them.",
        )
    generators = [place.device] if place.device.type == "cuda" else []
    with torch.random.fork_rng(generators), evaluation_mode(model), torch.set_grad_enabled(train), place.precision():
        logits = _outputs(model, X[:ENOUGH])
        _check_classes(logits, y, batches)
        value = _check_loss(logits, y[:ENOUGH], loss_fn)
    if train and not value.requires_grad:
        raise CourseError(
            "The loss has no gradient: nothing can be learned from it.",
            "Compute it from the logits with differentiable operations, and let some parameters require gradients.",
        )


def _outputs(model: nn.Module, X: torch.Tensor) -> torch.Tensor:
    try:
        logits = model(X)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        raise CourseError(
            f"The model cannot take images of shape {tuple(X.shape)} (N, C, H, W): {_first_line(error)}",
            "Make the model for this number of channels and this image size.",
        ) from error
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(X):
        got = f"shape {tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise CourseError(
            f"The model must return logits of shape ({len(X)}, K) for {len(X)} images, but returns {got}.",
            "Flatten before the last linear layer, and return its output.",
        )
    return logits


def _check_classes(logits: torch.Tensor, y: torch.Tensor, batches: Iterable) -> None:
    K = logits.shape[1]
    num_classes = getattr(batches, "num_classes", None)
    if num_classes is not None and num_classes != K:
        raise CourseError(
            f"The model has {K} outputs, but the data have {num_classes} classes.",
            f"Make the model with num_classes={num_classes}.",
        )
    low, high = int(y.min()), max(int(y.max()), getattr(batches, "max_label", 0))
    if low < 0 or high >= K:
        raise CourseError(
            f"Labels out of range: there is a label {low if low < 0 else high}, but the model's {K} outputs stand for "
            f"the classes 0 to {K - 1}.",
            "Number the classes from 0, or give the model one output for each.",
        )


def _check_loss(logits: torch.Tensor, y: torch.Tensor, loss_fn: Loss) -> torch.Tensor:
    name = getattr(loss_fn, "__name__", type(loss_fn).__name__)
    fits = f"for logits {_form(logits)} and labels {_form(y)}"
    remedy = "A loss by name ('cross_entropy', 'mse', 'smooth_l1', 'bce_with_logits') turns labels into what it needs."
    try:
        with warnings.catch_warnings():
            # What nn.MSELoss says when it is about to broadcast: a number comes out, but not the loss.
            warnings.filterwarnings("error", message="Using a target size")
            value = loss_fn(logits, y)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, IndexError, TypeError, UserWarning) as error:
        raise CourseError(f"The loss {name} does not fit, {fits}: {_first_line(error)}", remedy) from error
    if not isinstance(value, torch.Tensor) or value.ndim:
        got = _form(value) if isinstance(value, torch.Tensor) else type(value).__name__
        raise CourseError(f"The loss {name} must return a scalar tensor {fits}, but returns {got}.", remedy)
    return value


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _form(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
