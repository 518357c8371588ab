"""Optimizer and learning-rate schedule of a run: torch's own, made here or by the caller, checked either way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import isfinite

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cnncourse.errors import CourseError


def make_optimizer(optimizer: Optimizer | Callable[[Iterable[nn.Parameter]], Optimizer], model: nn.Module) -> Optimizer:
    """The optimizer itself, or what the function makes of the model's parameters.

    Raises
    ------
    CourseError
        When it cannot be made, belongs to another model, or has a learning rate that is negative, NaN or infinite.
    """
    if not isinstance(optimizer, Optimizer):
        if not callable(optimizer):
            raise CourseError(
                f"The optimizer is {optimizer!r}, not a torch optimizer or a function that makes one.",
                "Pass for instance functools.partial(torch.optim.SGD, lr=0.1).",
            )
        try:
            optimizer = optimizer(model.parameters())
        except (ValueError, TypeError) as error:
            raise CourseError(
                f"The optimizer cannot be made: {error}.",
                "Correct its settings; a learning rate is a finite number of at least 0, for instance 0.01.",
            ) from error
    own = set(model.parameters())
    if not any(parameter in own for group in optimizer.param_groups for parameter in group["params"]):
        raise CourseError(
            "The optimizer moves none of the model's parameters: it was made for another model.",
            "Make it after the model, from this model's parameters().",
        )
    for group in optimizer.param_groups:
        if not (isfinite(group["lr"]) and group["lr"] >= 0):
            raise CourseError(
                f"The learning rate is {group['lr']}, which is no finite number of at least 0.",
                "Start for instance with 0.01.",
            )
    return optimizer


def make_schedule(
    schedule: LRScheduler | Callable[[Optimizer], LRScheduler] | None, optimizer: Optimizer
) -> LRScheduler | None:
    """The schedule itself, or what the function makes of the optimizer.

    Raises
    ------
    CourseError
        When it cannot be made, or steers another optimizer.
    """
    if schedule is None:
        return None
    if not isinstance(schedule, LRScheduler):
        try:
            schedule = schedule(optimizer)
        except (ValueError, TypeError) as error:
            raise CourseError(
                f"The schedule cannot be made: {error}.",
                "Pass for instance functools.partial(torch.optim.lr_scheduler.StepLR, step_size=10, gamma=0.1).",
            ) from error
    if schedule.optimizer is not optimizer:
        raise CourseError(
            "The schedule steers another optimizer than the one that trains.", "Make it from this optimizer."
        )
    return schedule
