"""Networks of one architecture trained side by side, as one computation (``torch.func``).

The parameters of all members lie in stacked tensors of shape (members, ...), and each member's own parameters are
views of them. One backward pass over the stack fills everybody's gradients; each member then has its own optimizer,
since torch's optimizers know no learning rate per row. A GPU, which small networks leave idle, does the work of many
in the time of one; a CPU gains for fully connected networks only. :func:`gain` measures.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from cnncourse.data.batches import Batches
from cnncourse.data.source import Dataset
from cnncourse.errors import CourseError
from cnncourse.memory import out_of_memory_explained
from cnncourse.training.checkpoint import Checkpoint, describe
from cnncourse.training.checks import check_batch, check_count
from cnncourse.training.evaluation import evaluate
from cnncourse.training.history import History, Passes
from cnncourse.training.loop import train_epoch
from cnncourse.training.losses import Loss, get_loss
from cnncourse.training.optimization import make_optimizer, make_schedule
from cnncourse.training.placement import Placement

if TYPE_CHECKING:
    from cnncourse.training.experiment import Experiment

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
SHORT = 100  # steps: a training of fewer is over before a trial would have paid
TRIAL_SHARE = 50  # a trial takes one step of so many, of either way


def stackable(models: Sequence[nn.Module]) -> str:
    """Why these networks cannot be stacked, in words; empty when they can."""
    first = models[0]
    if any(type(model) is not type(first) or repr(model) != repr(first) for model in models):
        return "the networks differ in more than numbers"
    shapes = [[(name, value.shape, value.dtype) for name, value in model.state_dict().items()] for model in models]
    if any(each != shapes[0] for each in shapes):
        return "the networks differ in the shapes of their weights"
    if any(
        isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is None for module in first.modules()
    ):
        return "batch normalisation with momentum=None counts its batches one network at a time"
    return ""


class Stack:
    """Members that take their steps together.

    Parameters
    ----------
    models : sequence of torch.nn.Module
        On one device. Their parameters and buffers become views of the stacked ones; :meth:`release` undoes that.
    optimizers : sequence of callables
        One for each member: parameters -> optimizer.
    loss_fn : callable
        Logits (N, K) and labels (N,) -> mean.
    place : Placement
    clip_norm : float, optional
        For each member's gradient.
    """

    def __init__(
        self,
        models: Sequence[nn.Module],
        optimizers: Sequence[MakeOptimizer],
        loss_fn: Loss,
        place: Placement,
        clip_norm: float | None = None,
    ):
        self.models = list(models)
        self.place = place
        self.clip_norm = clip_norm
        self.parameters, self.buffers = stack_module_state(self.models)
        template = copy.deepcopy(self.models[0]).to("meta").train()
        for k, model in enumerate(self.models):
            for name, parameter in model.named_parameters():
                stacked = self.parameters[name]
                parameter.data = stacked.data[k]
                if parameter.requires_grad:
                    if stacked.grad is None:
                        stacked.grad = torch.zeros_like(stacked)
                    parameter.grad = stacked.grad[k]
            for name, buffer in model.named_buffers():
                buffer.data = self.buffers[name][k]
        self.optimizers = [make_optimizer(make, m) for make, m in zip(optimizers, self.models, strict=True)]

        def member(parameters, buffers, X: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            logits = functional_call(template, (parameters, buffers), (X,))
            return loss_fn(logits, y), logits

        self._members = vmap(member, randomness="different")

    def step(self, X: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """One update of every member; returns losses (M,) and logits (M, N, K) from before it.

        Parameters
        ----------
        X : torch.Tensor
            Each member's images, shape (M, N, C, H, W).
        y : torch.Tensor
            Their labels, shape (M, N).
        """
        torch._foreach_zero_([p.grad for p in self.parameters.values() if p.grad is not None])
        with self.place.precision():
            losses, logits = self._members(self.parameters, self.buffers, X, y)
        losses.sum().backward()  # the sum keeps the members apart: each loss depends on its own row alone
        for model, optimizer in zip(self.models, self.optimizers, strict=True):
            if self.clip_norm is not None:
                clip_grad_norm_(model.parameters(), self.clip_norm)
            optimizer.step()
        return losses.detach(), logits.detach()

    def release(self) -> None:
        """Give each member tensors of its own again."""
        for model in self.models:
            for tensor in (*model.parameters(), *model.buffers()):
                tensor.data = tensor.data.clone()
            for parameter in model.parameters():
                parameter.grad = None


def fit_stacked(
    models: Sequence[nn.Module],
    trains: Sequence[Batches],
    validation: Batches | None = None,
    *,
    num_epochs: int,
    optimizers: Sequence[MakeOptimizer],
    loss: str | Loss = "cross_entropy",
    schedules: Sequence[Callable[[Optimizer], LRScheduler] | None] | None = None,
    schedule_every: Literal["epoch", "step"] = "epoch",
    clip_norm: float | None = None,
    mixed_precision: bool = False,
    channels_last: bool = False,
    device: str | torch.device | None = None,
    checkpoint: str | os.PathLike | None = None,
    checkpoint_seconds: float = 30.0,
) -> list[History]:
    """Train all members together, in place: what :func:`cnncourse.training.fit` does one by one, to rounding error.

    Dropout draws other numbers than one by one, of the same distribution. A member that diverges leaves the others
    alone: its history says where, as with ``on_divergence="stop"``.

    Parameters
    ----------
    models : sequence of torch.nn.Module
        :func:`stackable`.
    trains : sequence of Batches
        Each member's own, equally many batches of equal sizes.
    validation : Batches, optional
        The same for all, after each epoch.
    num_epochs, loss, schedule_every, clip_norm, mixed_precision, device, checkpoint, checkpoint_seconds
        As in ``fit``; one checkpoint for all members.
    optimizers, schedules : sequences of callables
        One for each member; a schedule may be None.
    channels_last : bool
        Has no effect on a stack, whose images have one axis more. Nor has it on the numbers.

    Returns
    -------
    list of History
        `seconds` of an epoch is the member's share.

    Raises
    ------
    CourseError
        When the networks cannot be stacked, data, networks and loss do not fit, a checkpoint is damaged or another
        training's, or memory runs out.
    """
    check_count("num_epochs", num_epochs)
    M = len(models)
    if not M or len(trains) != M or len(optimizers) != M:
        raise CourseError(
            f"There are {M} networks, {len(trains)} training sets and {len(optimizers)} optimizers.",
            "Give one of each for every member.",
        )
    if obstacle := stackable(models):
        raise CourseError(f"These networks cannot be stacked: {obstacle}.", "Train them one by one, with fit().")
    if len({(len(batches), batches.batch_size) for batches in trains}) > 1:
        raise CourseError("The members' batches differ in number or size.", "Use the same number of images for all.")
    loss_fn = get_loss(loss)
    place = Placement.of(models[0], device, mixed_precision=mixed_precision)
    for model in models:
        place.model(model)
    X, y = trains[0].images[:2], trains[0].labels[:2]
    check_batch(models[0], *place(trains[0].normalise(X), y), loss_fn, trains[0], place, train=True)
    histories = [
        History(device=str(place.device), precision="bfloat16" if place.bfloat16 else "float32") for _ in models
    ]
    with out_of_memory_explained("to train the networks together", "Stack fewer of them, or use smaller batches."):
        stack = Stack(models, optimizers, loss_fn, place, clip_norm)
        schedulers = [
            make_schedule(schedule, optimizer)
            for schedule, optimizer in zip(schedules or [None] * M, stack.optimizers, strict=True)
        ]
        first_epoch, file = 1, None
        if checkpoint is not None:
            settings = {
                "num_epochs": num_epochs,
                "loss": getattr(loss_fn, "__name__", None) or repr(loss_fn),
                "schedule_every": schedule_every,
                "clip_norm": clip_norm,
                "precision": histories[0].precision,
            }
            parts = {}
            for k, member in enumerate(zip(models, stack.optimizers, schedulers, trains, strict=True)):
                described = describe(*member[:3], train=member[3], validation=validation)
                settings |= {f"{name} {k}": text for name, text in described.items()}
                parts |= {f"{name} {k}": part for name, part in zip(described, member, strict=False)}
            file = Checkpoint(Path(checkpoint), settings, parts, place.device, checkpoint_seconds)
            if state := file.restore():
                histories = [History(**history) for history in state["histories"]]
                first_epoch = state["epoch"] + 1
        for epoch in range(first_epoch, num_epochs + 1):
            if all(history.outcome for history in histories):
                break
            started = time.perf_counter()
            passes = [Passes() for _ in models]
            for X, y in side_by_side(trains, place):
                rates = [float(optimizer.param_groups[0]["lr"]) for optimizer in stack.optimizers]
                losses, logits = stack.step(X, y)
                for k in range(M):
                    passes[k].add(losses[k], logits[k], y[k], rates[k])
                if schedule_every == "step":
                    _advance(schedulers)
            seconds = (time.perf_counter() - started) / M
            for k, (model, history) in enumerate(zip(models, histories, strict=True)):
                if history.outcome:
                    continue
                history.add_epoch(passes[k], len(trains[k]), seconds)
                if validation is not None and not history.outcome:
                    result = evaluate(model, validation, loss=loss_fn, mixed_precision=mixed_precision, device=device)
                    lr = stack.optimizers[k].param_groups[0]["lr"]
                    history.add_validation(history.num_steps, len(trains[k]), result.loss, result.accuracy, lr)
                if not history.outcome and epoch == num_epochs:
                    history.outcome = "finished"
            if schedule_every == "epoch":
                _advance(schedulers)
            if file is not None:
                done = all(history.outcome for history in histories)
                file.save(now=done, epoch=epoch, histories=[history.to_dict() for history in histories])
        stack.release()
    return histories


def side_by_side(trains: Sequence[Batches], place: Placement) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch of all members: X (M, N, C, H, W) and y (M, N)."""
    for batches in zip(*trains, strict=True):
        placed = [place(X, y) for X, y in batches]
        yield torch.stack([X for X, _ in placed]), torch.stack([y for _, y in placed])


def gain(experiments: Sequence[Experiment], data: Dataset, device: str | torch.device) -> float | None:
    """How many times as fast as one by one these experiments would train together here, from a few steps of both.

    None where they are too short for a trial. Nothing that is drawn or trained in the trial lasts.
    """
    from cnncourse.training.experiment import seeded

    with (
        seeded(0, device),
        out_of_memory_explained("to train the networks together", "Stack fewer of them, or use smaller batches."),
    ):
        M, first = len(experiments), experiments[0]
        batches = first.build_loaders(data, device).train
        total = first.num_epochs * len(batches)
        if total < SHORT:
            return None
        models = [experiment.build_model().to(device) for experiment in experiments]
        alone = copy.deepcopy(models[0])
        X, y = next(iter(batches))
        place = Placement.of(alone, device, mixed_precision=first.mixed_precision, channels_last=first.channels_last)
        place.model(alone)
        loss_fn = get_loss(first.loss)
        optimizer = make_optimizer(first.build_optimizer, alone)
        stacked_place = Placement.of(models[0], device, mixed_precision=first.mixed_precision)
        stack = Stack(models, [e.build_optimizer for e in experiments], loss_fn, stacked_place, first.clip_norm)
        Xs, ys = X.expand(M, *X.shape).contiguous(), y.expand(M, *y.shape).contiguous()

        def one_by_one() -> None:
            train_epoch(alone, [(X, y)], loss_fn, optimizer, place, first.clip_norm)

        steps = min(20, total // TRIAL_SHARE)
        one = _seconds_per_step(one_by_one, steps, device)
        together = _seconds_per_step(lambda: stack.step(Xs, ys), steps, device)
    return M * one / together


def _seconds_per_step(step: Callable[[], object], steps: int, device: str | torch.device) -> float:
    def wait() -> None:
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize(device)

    step()  # the first step allocates memory and chooses kernels
    wait()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    wait()
    return (time.perf_counter() - started) / steps


def _advance(schedulers: Iterable[LRScheduler | None]) -> None:
    for scheduler in schedulers:
        if scheduler is not None:
            scheduler.step()
