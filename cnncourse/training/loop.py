"""The training loop."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from cnncourse.errors import CourseError
from cnncourse.memory import out_of_memory_explained
from cnncourse.training.checkpoint import Checkpoint, describe
from cnncourse.training.checks import check_batch, check_choice, check_count, check_iterable
from cnncourse.training.evaluation import evaluate
from cnncourse.training.history import History, Passes
from cnncourse.training.losses import Loss, get_loss
from cnncourse.training.optimization import make_optimizer, make_schedule
from cnncourse.training.placement import Placement

Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]


def fit(
    model: nn.Module,
    train: Batches,
    validation: Batches | None = None,
    *,
    num_epochs: int,
    optimizer: Optimizer | Callable[[Iterable[nn.Parameter]], Optimizer],
    loss: str | Loss = "cross_entropy",
    schedule: LRScheduler | Callable[[Optimizer], LRScheduler] | None = None,
    schedule_every: Literal["epoch", "step"] = "epoch",
    clip_norm: float | None = None,
    validate_every: int | None = None,
    patience: int | None = None,
    monitor: Literal["loss", "accuracy"] = "loss",
    restore_best: bool | None = None,
    mixed_precision: bool = False,
    channels_last: bool = False,
    compile: bool = False,
    device: str | torch.device | None = None,
    on_divergence: Literal["raise", "stop"] = "raise",
    checkpoint: str | os.PathLike | None = None,
    checkpoint_seconds: float = 30.0,
    progress: bool = False,
) -> History:
    """Train a classifier in place.

    Parameters
    ----------
    model : torch.nn.Module
        Maps X (N, C, H, W) to logits (N, K).
    train : Batches or another collection of (X, y)
        Gone through once per epoch; see :func:`cnncourse.data.batches.loaders`. A DataLoader or a list will do.
    validation : Batches or another collection of (X, y), optional
        Evaluated after each epoch, or every `validate_every` steps. Not shuffled.
    num_epochs : int
        Passes over the training data.
    optimizer : torch.optim.Optimizer, or a function of the parameters that returns one
        For instance ``functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9)``.
    loss : {'cross_entropy', 'mse', 'smooth_l1', 'bce_with_logits'} or callable
        The last three compare with one-hot labels. A callable takes logits and labels (N,), and returns the mean.
    schedule : torch.optim.lr_scheduler.LRScheduler, or a function of the optimizer that returns one, optional
        For instance ``functools.partial(torch.optim.lr_scheduler.StepLR, step_size=10, gamma=0.1)``.
    schedule_every : {'epoch', 'step'}
        When the schedule moves on.
    clip_norm : float, optional
        Gradients whose joint L2 norm is larger are scaled down to it.
    validate_every : int, optional
        Steps between validations, counted over epochs; by default there is one after each epoch.
    patience : int, optional
        Stop after this many validations in a row without a new best one.
    monitor : {'loss', 'accuracy'}
        Which number of the validation has to improve.
    restore_best : bool, optional
        Whether the model ends with the weights of its best validation; by default when `patience` is given.
    mixed_precision : bool
        bfloat16 in the forward pass, on CUDA; elsewhere there is no gain, and float32 is used.
    channels_last : bool
        Memory layout that many convolution kernels prefer.
    compile : bool
        Whether to train with ``torch.compile(model)``. Its first step takes long; drop the last, smaller batch.
    device : str or torch.device, optional
        By default where the model is. The model is moved there, and batches that are elsewhere.
    on_divergence : {'raise', 'stop'}
        What to do when a loss is not finite: raise a CourseError that says where, or stop and say so in the history.
        Looked for once per epoch, since reading the loss in each step would make a GPU wait.
    checkpoint : path, optional
        File from which an interrupted run goes on, with the same results to the last bit on the CPU. To go on, call
        with new objects made in the same way. A finished run is read back and not trained again. Numbers drawn from
        Python's or NumPy's generators are not covered.
    checkpoint_seconds : float
        At the end of an epoch the file is written when the last writing is this long ago; at the end always.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    History

    Raises
    ------
    CourseError
        When an argument makes no sense, data, model and loss do not fit together (the first batch is looked at), the
        training diverges, a checkpoint is damaged or another run's, or memory runs out.
    """
    check_count("num_epochs", num_epochs)
    if validate_every is not None:
        check_count("validate_every", validate_every)
    if patience is not None:
        check_count("patience", patience)
    if clip_norm is not None and not clip_norm > 0:
        raise CourseError(f"clip_norm must be above 0, not {clip_norm!r}.", "Choose for instance clip_norm=1.0.")
    check_choice("schedule_every", schedule_every, ("epoch", "step"))
    check_choice("monitor", monitor, ("loss", "accuracy"))
    check_choice("on_divergence", on_divergence, ("raise", "stop"))
    check_iterable(train)
    if validation is not None:
        check_iterable(validation)
    loss_fn = get_loss(loss)
    place = Placement.of(model, device, mixed_precision=mixed_precision, channels_last=channels_last)
    place.model(model)
    optimizer = make_optimizer(optimizer, model)
    scheduler = make_schedule(schedule, optimizer)
    plateau = isinstance(scheduler, ReduceLROnPlateau)
    if plateau and (schedule_every == "step" or validate_every is not None):
        raise CourseError(
            "ReduceLROnPlateau looks at the validation after each epoch.",
            "Use schedule_every='epoch' without validate_every.",
        )
    restore_best = patience is not None if restore_best is None else restore_best
    if validation is None and (plateau or restore_best or patience is not None or validate_every is not None):
        raise CourseError(
            "Early stopping, best weights, validate_every and ReduceLROnPlateau need validation data.",
            "Pass them as the third argument.",
        )

    history = History(monitor=monitor, device=str(place.device), precision="bfloat16" if place.bfloat16 else "float32")
    best_weights = None
    file = None
    if checkpoint is not None:
        settings = {
            "num_epochs": num_epochs,
            "loss": getattr(loss_fn, "__name__", None) or repr(loss_fn),
            "schedule_every": schedule_every,
            "clip_norm": clip_norm,
            "validate_every": validate_every,
            "patience": patience,
            "monitor": monitor,
            "restore_best": restore_best,
            "precision": history.precision,
            **describe(model, optimizer, scheduler, train=train, validation=validation),
        }
        parts = {"model": model, "optimizer": optimizer, "schedule": scheduler, "batches": train}
        file = Checkpoint(Path(checkpoint), settings, parts, place.device, checkpoint_seconds)
        if state := file.restore():
            history, best_weights = History(**state["history"]), state["best_weights"]
    step = history.num_steps

    def validate() -> None:
        nonlocal best_weights
        result = evaluate(
            model,
            validation,
            loss=loss_fn,
            mixed_precision=mixed_precision,
            channels_last=channels_last,
            device=place.device,
        )
        history.add_validation(step, len(train), result.loss, result.accuracy, optimizer.param_groups[0]["lr"])
        if history.outcome:  # it diverged
            return
        if restore_best and history.validations_since_best == 0:
            best_weights = copy.deepcopy(model.state_dict())
        if patience is not None and history.validations_since_best >= patience:
            history.outcome = "stopped early"

    def after_step() -> bool:
        nonlocal step
        step += 1
        advance()
        if scheduler is not None and schedule_every == "step":
            scheduler.step()
        if validate_every is not None and step % validate_every == 0:
            validate()
        return history.outcome != ""

    def first_batch_checked() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for number, (X, y) in enumerate(train):
            if number == 0:
                check_batch(model, *place(X, y), loss_fn, train, place, train=True)
            yield X, y

    trained = torch.compile(model) if compile else model
    batches = first_batch_checked()
    with (
        out_of_memory_explained("for a training step", "Use a smaller batch size or a narrower model."),
        _progress_bar(progress, num_epochs * len(train), step) as advance,
    ):
        while not history.outcome:
            started = time.perf_counter()
            passes = train_epoch(trained, batches, loss_fn, optimizer, place, clip_norm, after_step)
            history.add_epoch(passes, len(train), time.perf_counter() - started)
            batches = train
            if validation is not None and validate_every is None and not history.outcome:
                validate()
            if history.outcome == "diverged" and on_divergence == "raise":
                raise _diverged(history, num_epochs)
            if scheduler is not None and schedule_every == "epoch" and not history.outcome:
                scheduler.step(*([history.validation["loss"][-1]] if plateau else []))
            if not history.outcome and history.num_epochs == num_epochs:
                history.outcome = "finished"
            if history.outcome and best_weights is not None:
                model.load_state_dict(best_weights)
            if file is not None:
                file.save(now=history.outcome != "", history=history.to_dict(), best_weights=best_weights)
    return history


def train_epoch(
    model: nn.Module,
    batches: Batches,
    loss_fn: Loss,
    optimizer: Optimizer,
    place: Placement,
    clip_norm: float | None = None,
    after_step: Callable[[], bool] = lambda: False,
) -> Passes:
    """Pass over the training data once: the loop that all training comes down to.

    Parameters
    ----------
    model, batches, loss_fn, optimizer, clip_norm
        As in :func:`fit`.
    place : Placement
        Moves each batch, and sets the precision of the forward pass.
    after_step : callable
        Called after each step; when it returns true, the epoch ends there.

    Returns
    -------
    Passes
        Loss, logits, labels and learning rate of each step.
    """
    passes = Passes()
    model.train()
    for X, y in batches:
        X, y = place(X, y)
        with place.precision():
            logits = model(X)
            loss = loss_fn(logits, y)
        optimizer.zero_grad()
        loss.backward()
        if clip_norm is not None:
            clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
        # The loss stays on the device: to read it here (.item()) would make a GPU wait for each step.
        passes.add(loss, logits, y, lr=float(optimizer.param_groups[0]["lr"]))
        if after_step():
            break
    return passes


def _diverged(history: History, num_epochs: int) -> CourseError:
    at = history.divergence
    return CourseError(
        f"The {at['part']} loss became {at['value']} at step {at['step']:,} (epoch {at['epoch']} of {num_epochs}), "
        f"at learning rate {at['lr']:g}.",
        "Lower the learning rate (try a tenth), clip the gradients with clip_norm, or pass on_divergence='stop' to "
        "get the history up to there.",
    )


@contextmanager
def _progress_bar(show: bool, total: int, initial: int) -> Iterator[Callable[[], Any]]:
    """A function to call once per step."""
    if not show:
        yield lambda: None
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, initial=initial, unit="step") as bar:
        yield bar.update
