"""How rough the loss is around the weights: bands over learning rates, changes of the gradient, beta-smoothness.

NNDL section 2, after Santurkar et al. (2018), "How does batch normalization help optimization?", section 3.1. There are
two kinds of measurement. A band needs only the step losses of several trainings (:func:`loss_band`). The others probe
one training every few steps (:func:`probe`, :class:`TrainingProbe`): they compute gradients at other weights, of the
batch that is being trained on, and leave no trace in the training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from cnncourse.analysis.features import find_layer
from cnncourse.errors import CourseError
from cnncourse.training.checks import check_count
from cnncourse.training.losses import Loss, get_loss

if TYPE_CHECKING:
    import pandas as pd

Weights = dict[str, Tensor]


class LossBand(NamedTuple):
    """Smallest and largest value over several trainings at each step; arrays of shape (num_steps,).

    The width shows how much depends on what the trainings differ in: with one training for each learning rate it is
    sensitivity to the learning rate, not the variance of the loss along one training.
    """

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray

    def width(self, start: int = 0) -> float:
        """Mean of high - low over the steps from `start` on, in the unit of the values."""
        return self._mean_from(start, self.high - self.low)

    def relative_width(self, start: int = 0) -> float:
        """Mean of (high - low) / mean from `start` on: where all losses are near 0, every band is narrow."""
        return self._mean_from(start, (self.high - self.low) / self.mean)

    def _mean_from(self, start: int, values: np.ndarray) -> float:
        if not 0 <= start < len(values):
            raise CourseError(
                f"There is no step {start} among {len(values)} steps.", f"Start at 0 to {len(values) - 1}."
            )
        return float(values[start:].mean())


def loss_band(runs: Mapping[object, Sequence[float]]) -> LossBand:
    """The band of NNDL 2.2 (and, of gradient changes, 2.3) over trainings with the same data order.

    Parameters
    ----------
    runs : mapping of anything (the learning rate) to one value for each step
        For instance ``{lr: history.steps["loss"] for lr, history in histories.items()}``.

    Returns
    -------
    LossBand

    Raises
    ------
    CourseError
        When there are fewer than two trainings, their lengths differ, or a value is not finite.
    """
    if len(runs) < 2:
        raise CourseError(
            f"A band lies between trainings; there {'is one' if runs else 'are none'}.",
            "Pass at least two, for instance {0.001: losses, 0.002: losses}.",
        )
    lengths = {label: len(values) for label, values in runs.items()}
    if len(set(lengths.values())) > 1 or not all(lengths.values()):
        each = ", ".join(f"{label}: {length}" for label, length in lengths.items())
        raise CourseError(
            f"The trainings must have the same number of steps, at least one; they have {each}.",
            "Cut all to the shortest, or leave out one that diverged (and say so).",
        )
    values = np.array([list(run) for run in runs.values()], dtype=float)
    for label, row in zip(runs, values, strict=True):
        if not np.isfinite(row).all():
            raise CourseError(
                f"Training {label} is not finite from step {int(np.argmin(np.isfinite(row))) + 1} on.",
                "Leave it out (and say so), or cut all trainings before that step.",
            )
    return LossBand(values.min(0), values.max(0), values.mean(0))


def steps_until_below(values: Sequence[float], threshold: float, window: int = 1) -> int | None:
    """Steps until the mean of the latest `window` values is below `threshold`; None when it never is."""
    values = np.asarray(values, dtype=float)
    if window < 1 or window > len(values):
        raise CourseError(
            f"A mean over {window} of {len(values)} steps is not possible.", f"Use a window from 1 to {len(values)}."
        )
    means = np.convolve(values, np.ones(window) / window, mode="valid")
    below = np.flatnonzero(means < threshold)
    return int(below[0]) + window if len(below) else None


class Probe(NamedTuple):
    """The loss of one batch around the weights w, for S step sizes a: at w - a g, with the gradient g at w.

    Attributes
    ----------
    loss, gradient_norm : float
        At w.
    step_sizes, losses, gradient_changes, distances : arrays of shape (S,)
        a; the loss there; the Euclidean norm of the gradient there minus g; a times the norm of g.
    """

    loss: float
    gradient_norm: float
    step_sizes: np.ndarray
    losses: np.ndarray
    gradient_changes: np.ndarray
    distances: np.ndarray

    @property
    def beta(self) -> float:
        """Effective beta-smoothness: the largest of gradient change over distance, over the step sizes.

        Never above the largest curvature on the way (for a quadratic: the largest eigenvalue of its matrix). It is nan
        where the gradient is 0. NNDL 2.4 prints max ||grad f(w_t + 1) - grad f(w_t)|| / ||w_t + 1 - w_t||, which adds
        a one to the weights; meant is the index t + 1. And the maximum is over distances along the gradient at one
        step t, not over the steps: Santurkar et al. (2018), figure 4c.
        """
        return float(np.max(self.gradient_changes / self.distances)) if self.gradient_norm > 0 else float("nan")


class Change(NamedTuple):
    """What one step of the optimizer did to the gradient of its batch.

    Attributes
    ----------
    gradient_norm : float
        Before the step.
    gradient_change : float
        Norm of the gradient of the same batch after the step minus before: NNDL 2.3.
    distance : float
        How far the weights moved.
    """

    gradient_norm: float
    gradient_change: float
    distance: float

    @property
    def ratio(self) -> float:
        """gradient_change / distance: NNDL's formula for beta with the index put right, along the step as it was taken.

        A single distance, in the optimizer's direction: for all weights a lower bound of the curvature there. Of one
        layer it is the part, although all layers moved. nan where nothing moved.
        """
        return self.gradient_change / self.distance if self.distance > 0 else float("nan")


def probe(
    model: nn.Module,
    X: Tensor,
    y: Tensor,
    step_sizes: Sequence[float],
    *,
    loss: str | Loss = "cross_entropy",
    layer: str = "",
) -> Probe:
    """Walk along the negative gradient of one batch and see how loss and gradient change: Santurkar et al. (2018).

    All gradients are those of the same batch, in the mode that each module is in (train mode, to see what a training
    sees: batch statistics; dropout drops the same units every time), in the precision of the weights. Afterwards
    weights, their gradients, running statistics and the state of torch's generators are what they were, to the bit.

    Parameters
    ----------
    model : torch.nn.Module
        Maps X to logits.
    X, y : torch.Tensor
        One batch, on the model's device.
    step_sizes : sequence of float
        a > 0, as multiples of the gradient. Of the order of the learning rate for SGD. Very small ones drown in
        round-off: the gradient is known to about 1e-7 of itself in float32.
    loss : str or callable
        As in :func:`cnncourse.training.fit`.
    layer : str
        Only the weights of this layer move, and only their gradient is looked at: NNDL 2.3 and 2.4 take the last
        linear layer. By default all trainable weights.

    Returns
    -------
    Probe

    Raises
    ------
    CourseError
        For step sizes that are not positive, no images, a batch that does not fit, a layer that does not exist or has
        nothing to train.
    """
    sizes, loss_fn = _checked_sizes(step_sizes), get_loss(loss)
    try:
        return _walk(model, X, y, sizes, loss_fn, layer)[0]
    except (RuntimeError, ValueError, IndexError) as error:
        raise CourseError(
            f"There is no loss of images {tuple(X.shape)} and labels {tuple(y.shape)}: {str(error).splitlines()[0]}",
            "Pass a batch as in training, on the model's device.",
        ) from error


class Reading(NamedTuple):
    """Probe of one step of a training (counted from 0), and what the optimizer's step then did."""

    step: int
    layer: str
    probe: Probe
    change: Change


class TrainingProbe:
    """Probes a training every few steps, with the batch that is being trained on.

    It listens to the model (for the images), to the loss (for the labels) and to the optimizer (for the step), so it
    works with :func:`cnncourse.training.fit` and with any loop of one's own, and the weights come out the same to the
    bit as without it:

    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> with TrainingProbe(model, optimizer, step_sizes=[0.05, 0.1, 0.2, 0.4], every=20) as probed:
    ...     fit(model, train, num_epochs=20, optimizer=optimizer, loss=probed.loss)
    >>> probed.table()

    A probed step costs 2 + S further forward and backward passes for each layer. Readings are not part of a checkpoint.

    Parameters
    ----------
    model : torch.nn.Module
        Not compiled.
    optimizer : torch.optim.Optimizer
        Of that model.
    step_sizes : sequence of float
        See :func:`probe`.
    every : int
        Probe the first step and every `every`-th after it.
    loss : str or callable
        What is trained on; train with the attribute `loss` of this object.
    layers : sequence of str
        Probed one by one; "" stands for all trainable weights, see :func:`probe`.

    Raises
    ------
    CourseError
        As :func:`probe`; and in training, when a step comes whose batch did not pass `loss`.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        step_sizes: Sequence[float],
        *,
        every: int = 20,
        loss: str | Loss = "cross_entropy",
        layers: Sequence[str] = ("",),
    ):
        check_count("every", every)
        for layer in layers:
            _trainable(model, layer)
        self.model = model
        self.step_sizes = _checked_sizes(step_sizes)
        self.every = every
        self.layers = layers
        self.readings: list[Reading] = []
        self._loss_fn = get_loss(loss)
        self._step = 0
        self._X: Tensor | None = None
        self._y: Tensor | None = None
        self._before: list[tuple[str, Probe, Weights, Weights]] = []
        self._hooks = [
            model.register_forward_pre_hook(self._note_images),
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        ]

    def loss(self, logits: Tensor, y: Tensor) -> Tensor:
        """The loss to train with."""
        self._y = y
        return self._loss_fn(logits, y)

    def close(self) -> None:
        """Stop listening; the readings stay."""
        for hook in self._hooks:
            hook.remove()
        self._X = self._y = None

    def __enter__(self) -> TrainingProbe:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def table(self) -> pd.DataFrame:
        """One row for each probed step and layer.

        Columns: `step` (from 0, before the update), `layer`, `loss`, `gradient_norm`, `loss_low`, `loss_high`,
        `gradient_change_low`, `gradient_change_high`, `beta` (over the step sizes, see :class:`Probe`),
        `step_gradient_change`, `step_distance` and `step_ratio` (of the optimizer's own step, see :class:`Change`).
        """
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "step": r.step,
                    "layer": r.layer,
                    "loss": r.probe.loss,
                    "gradient_norm": r.probe.gradient_norm,
                    "loss_low": r.probe.losses.min(),
                    "loss_high": r.probe.losses.max(),
                    "gradient_change_low": r.probe.gradient_changes.min(),
                    "gradient_change_high": r.probe.gradient_changes.max(),
                    "beta": r.probe.beta,
                    "step_gradient_change": r.change.gradient_change,
                    "step_distance": r.change.distance,
                    "step_ratio": r.change.ratio,
                }
                for r in self.readings
            ]
        )

    def _note_images(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if model.training:
            self._X = inputs[0]

    def _before_step(self, *_: object) -> None:
        if self._step % self.every:
            return
        if self._X is None or self._y is None:
            raise CourseError(
                f"Step {self._step} cannot be probed: its batch did not pass the model in train mode and the loss of "
                "this probe.",
                "Train with loss=probed.loss, and call model(X) itself.",
            )
        for layer in self.layers:
            found, gradient = _walk(self.model, self._X, self._y, self.step_sizes, self._loss_fn, layer)
            weights = {name: weight.detach().clone() for name, weight in _trainable(self.model, layer).items()}
            self._before.append((layer, found, weights, gradient))

    def _after_step(self, *_: object) -> None:
        for layer, found, weights, gradient in self._before:
            moved = _trainable(self.model, layer)
            _, gradient_after = _gradient(self.model, self._X, self._y, self._loss_fn, moved)
            numbers = torch.stack([_distance(gradient_after, gradient), _distance(moved, weights)]).tolist()
            self.readings.append(Reading(self._step, layer, found, Change(found.gradient_norm, *numbers)))
        self._before.clear()
        self._X = self._y = None  # a next step without a batch of its own is noticed, and memory is freed
        self._step += 1


def _walk(
    model: nn.Module, X: Tensor, y: Tensor, sizes: Sequence[float], loss_fn: Loss, layer: str
) -> tuple[Probe, Weights]:
    """The probe, and the gradient where it starts."""
    if not len(X):
        raise CourseError("There are no images.", "Pass the batch that the training is at.")
    here = _trainable(model, layer)
    loss, gradient = _gradient(model, X, y, loss_fn, here)
    losses, changes = [], []
    for size in sizes:
        there = {name: weight.detach() - size * gradient[name] for name, weight in here.items()}
        loss_there, gradient_there = _gradient(model, X, y, loss_fn, there)
        losses.append(loss_there)
        changes.append(_distance(gradient_there, gradient))
    # One transfer for all numbers: a GPU is waited for once.
    numbers = torch.stack([loss, _distance(gradient), *losses, *changes]).double().cpu().numpy()
    (loss, norm), (losses, changes) = numbers[:2].tolist(), numbers[2:].reshape(2, -1)
    sizes = np.asarray(sizes)
    return Probe(loss, norm, sizes, losses, changes, sizes * norm), gradient


def _gradient(model: nn.Module, X: Tensor, y: Tensor, loss_fn: Loss, weights: Weights) -> tuple[Tensor, Weights]:
    """Loss of a batch, and its gradient, with these weights in place of the model's own; nothing else changes.

    Running statistics are updated in copies, and every call draws the same random numbers (dropout).
    """
    weights = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.random.fork_rng([X.device] if X.device.type == "cuda" else []), torch.enable_grad():
        loss = loss_fn(functional_call(model, weights | buffers, X), y)
        gradient = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
    return loss.detach(), dict(zip(weights, gradient, strict=True))


def _distance(a: Weights, b: Weights | None = None) -> Tensor:
    """Euclidean norm of a - b (of a) over all tensors together."""
    parts = list(a.values()) if b is None else [a[name].detach() - b[name] for name in a]
    return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(parts)))


def _trainable(model: nn.Module, layer: str) -> Weights:
    """Parameters of a layer ("": of the model) that require gradients, under the names that the model has for them."""
    start = f"{layer}." if layer else ""
    found = {start + name: p for name, p in find_layer(model, layer).named_parameters() if p.requires_grad}
    if not found:
        raise CourseError(
            f"{f'Layer {layer}' if layer else 'The model'} has no weights to train.", "Choose a layer that has."
        )
    return found


def _checked_sizes(step_sizes: Sequence[float]) -> list[float]:
    sizes = np.asarray(step_sizes, dtype=float)
    if sizes.ndim != 1 or not len(sizes) or not (np.isfinite(sizes) & (sizes > 0)).all():
        raise CourseError(
            f"Step sizes must be positive numbers, not {step_sizes!r}.", "Use for instance [0.05, 0.1, 0.2, 0.4]."
        )
    return sizes.tolist()
