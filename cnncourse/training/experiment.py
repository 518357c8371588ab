"""One training run as a value: everything that decides its outcome, as plain numbers and names."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import cache
from inspect import signature
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from cnncourse import models, provenance
from cnncourse.data.augment import Augmentation
from cnncourse.data.batches import Loaders, loaders
from cnncourse.data.source import Dataset, Split
from cnncourse.errors import CourseError
from cnncourse.models.choices import unknown
from cnncourse.session import resolve_device
from cnncourse.training.checks import check_choice, check_count
from cnncourse.training.evaluation import Evaluation, evaluate
from cnncourse.training.history import History
from cnncourse.training.loop import fit
from cnncourse.training.losses import LOSSES
from cnncourse.training.optimization import make_optimizer, make_schedule

if TYPE_CHECKING:
    from cnncourse.training.store import Store

# torch's classes whose arguments are plain values. Left out are optimizers that need a closure or sparse gradients or
# have no weight decay, and schedules that need functions or other schedules.
OPTIMIZERS = {
    name.lower(): cls
    for name, cls in vars(torch.optim).items()
    if isinstance(cls, type) and issubclass(cls, Optimizer) and "weight_decay" in signature(cls).parameters
}
SCHEDULES = {
    name: getattr(lr_scheduler, name)
    for name in lr_scheduler.__all__
    if name not in ("LRScheduler", "LambdaLR", "MultiplicativeLR", "SequentialLR", "ChainedScheduler")
}


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Configuration of one training run. Two runs with equal configuration, data and code have the same outcome.

    Attributes
    ----------
    model : str
        Name for :func:`cnncourse.models.create`.
    model_options : mapping
        Its options, ``init`` included.
    num_images : int, optional
        Train on the first so many images of the training part; the course's splits are in an order in which all
        classes turn up evenly. Mean and std stay those of the whole part.
    batch_size, augment, drop_last
        As in :func:`cnncourse.data.loaders`, with the transforms of :mod:`cnncourse.data.augment`.
    optimizer : str
        Lower-case name of a class of ``torch.optim``, such as 'sgd' or 'adam'.
    lr, weight_decay : float
    optimizer_options : mapping
        Further arguments of that class, such as ``{"momentum": 0.9}``.
    schedule : str, optional
        Name of a class of ``torch.optim.lr_scheduler``, such as 'StepLR'.
    schedule_options : mapping
        Its arguments, such as ``{"step_size": 10, "gamma": 0.1}``.
    num_epochs, schedule_every, loss, clip_norm, validate_every, patience, monitor, restore_best, mixed_precision, \
channels_last
        As in :func:`cnncourse.training.fit`; the loss by its name.
    seed : int
        Of weights, order, augmentation and dropout.

    Raises
    ------
    CourseError
        For a value that makes no sense, an unknown name, or an option that network, optimizer or schedule do not take.
    """

    model: str
    num_epochs: int
    batch_size: int
    lr: float
    model_options: Mapping[str, Any] = field(default_factory=dict)
    optimizer: str = "sgd"
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)
    weight_decay: float = 0.0
    schedule: str | None = None
    schedule_options: Mapping[str, Any] = field(default_factory=dict)
    schedule_every: Literal["epoch", "step"] = "epoch"
    loss: str = "cross_entropy"
    augment: Sequence[Any] = ()
    num_images: int | None = None
    drop_last: bool = False
    clip_norm: float | None = None
    validate_every: int | None = None
    patience: int | None = None
    monitor: Literal["loss", "accuracy"] = "loss"
    restore_best: bool | None = None
    mixed_precision: bool = False
    channels_last: bool = False
    seed: int = 0

    def __post_init__(self):
        for name, value in vars(self).items():
            if hasattr(value, "item"):  # a number of NumPy or torch
                object.__setattr__(self, name, value.item())
        for name in ("model_options", "optimizer_options", "schedule_options"):
            object.__setattr__(self, name, dict(getattr(self, name)))  # a copy: the caller may change his own
        object.__setattr__(self, "augment", tuple(self.augment))
        self._check_numbers()
        if self.optimizer not in OPTIMIZERS:
            raise unknown("optimizer", self.optimizer, list(OPTIMIZERS))
        if self.schedule is not None and self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, list(SCHEDULES))
        check_choice("loss", self.loss, list(LOSSES))
        check_choice("schedule_every", self.schedule_every, ("epoch", "step"))
        check_choice("monitor", self.monitor, ("loss", "accuracy"))
        for transform in self.augment:
            if type(transform).__module__ != Augmentation.__module__:
                raise CourseError(
                    f"{transform!r} is no transform of cnncourse.data.augment: two versions of it could not be told "
                    "apart.",
                    "Train with your own transforms through fit().",
                )
        try:
            _check_model(self.model, json.dumps(self.model_options, allow_nan=False))
            json.dumps(self.to_dict(), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise CourseError(
                f"An experiment consists of plain values, but: {error}.", "Use finite numbers, texts, lists and None."
            ) from None
        # torch says what is wrong with their options, now and not after the first hours of a sweep.
        nothing = nn.ParameterList([torch.zeros(1, 1)])
        make_schedule(self.build_schedule if self.schedule else None, make_optimizer(self.build_optimizer, nothing))

    def _check_numbers(self) -> None:
        for name in ("num_epochs", "batch_size", "num_images", "validate_every", "patience"):
            if getattr(self, name) is not None or name in ("num_epochs", "batch_size"):
                check_count(name, getattr(self, name))
        for name in ("lr", "weight_decay"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not (isfinite(value) and value >= 0):
                raise CourseError(f"{name} must be a finite number of at least 0, not {value!r}.", f"Change {name}.")
            object.__setattr__(self, name, float(value))  # 1 and 1.0 are one experiment
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise CourseError(f"clip_norm must be above 0, not {self.clip_norm!r}.", "Choose for instance 1.0.")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise CourseError(f"The seed must be an integer of at least 0, not {self.seed!r}.", "Choose seed=0.")

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, fit for JSON."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain |= {name: dict(value) for name, value in plain.items() if isinstance(value, Mapping)}
        return plain | {"augment": [repr(transform) for transform in self.augment]}

    def changed(self, **changes: Any) -> Experiment:
        """A copy with other values; ``changed(**{"model_options.batch_norm": True})`` changes one option.

        Raises
        ------
        CourseError
            For a name that is none, or a value that makes no sense.
        """
        known = [f.name for f in fields(self)]
        values: dict[str, Any] = {}
        for name, value in changes.items():
            whole, _, part = name.partition(".")
            if whole not in known:
                raise unknown("setting of an experiment", whole, known)
            if part:
                before = values.get(whole, getattr(self, whole))
                if not isinstance(before, Mapping):
                    raise CourseError(f"{whole} has no parts: {name!r} means nothing.", f"Use {whole!r}.")
                value = {**before, part: value}
            values[whole] = value
        return replace(self, **values)

    def build_model(self) -> nn.Module:
        """The untrained network, on the CPU. Draws its weights from torch's global generator."""
        return models.create(self.model, **self.model_options)

    def build_optimizer(self, parameters: Iterable[nn.Parameter]) -> Optimizer:
        """torch's optimizer for these parameters."""
        make = OPTIMIZERS[self.optimizer]
        return make(parameters, lr=self.lr, weight_decay=self.weight_decay, **self.optimizer_options)

    def build_schedule(self, optimizer: Optimizer) -> lr_scheduler.LRScheduler:
        """torch's schedule for this optimizer; only when there is a `schedule`."""
        return SCHEDULES[self.schedule](optimizer, **self.schedule_options)

    def select(self, data: Dataset) -> Dataset:
        """The data with the first `num_images` of the training part. CourseError when there are fewer."""
        if self.num_images is None:
            return data
        if self.num_images > len(data.train):
            raise CourseError(
                f"{self.num_images:,} training images are asked for, but {data.source.name} has {len(data.train):,}.",
                "Lower num_images; None takes all.",
            )
        return replace(data, train=_first(data.train, self.num_images))

    def build_loaders(self, data: Dataset, device: str | torch.device = "cpu") -> Loaders:
        """Batches of the three parts, the first :meth:`select`-ed."""
        return loaders(
            self.select(data),
            self.batch_size,
            augment=self.augment,
            drop_last=self.drop_last,
            seed=self.seed,
            device=device,
        )

    def fit_options(self) -> dict[str, Any]:
        """The arguments of :func:`cnncourse.training.fit` that are neither model nor data nor place."""
        same = ("num_epochs", "loss", "schedule_every", "clip_norm", "validate_every", "patience", "monitor")
        same += ("restore_best", "mixed_precision", "channels_last")
        return {name: getattr(self, name) for name in same} | {
            "optimizer": self.build_optimizer,
            "schedule": self.build_schedule if self.schedule else None,
        }


@dataclass(frozen=True, eq=False)
class Run:
    """What came of an experiment.

    Attributes
    ----------
    experiment : Experiment
    history : History
    evaluation : Evaluation or None
        On the test part, with the weights that the training ended with; None when it diverged or there is no test part.
    weights : dict of str to torch.Tensor, or None
        The network's state, on the CPU, when it was asked for.
    about : dict of str to str
        Data, device, versions and date of the training.
    reused : bool
        Whether it was in the store already.
    """

    experiment: Experiment
    history: History
    evaluation: Evaluation | None
    weights: dict[str, torch.Tensor] | None
    about: dict[str, str]
    reused: bool = False

    def model(self) -> nn.Module:
        """The trained network, on the CPU, in evaluation mode. CourseError when the weights were not kept."""
        if self.weights is None:
            raise CourseError("The weights of this run were not kept.", "Train with keep_weights=True.")
        with torch.random.fork_rng([]):
            model = self.experiment.build_model()
        model.load_state_dict(self.weights)
        return model.eval()

    @property
    def seconds(self) -> float:
        """How long the training took, evaluation included; of a stack of runs, this one's share."""
        return float(self.about["seconds"])

    def __repr__(self) -> str:
        return f"Run({self.experiment.model}, seed {self.experiment.seed}: {self.history!r})"


def train(
    experiment: Experiment,
    data: Dataset,
    *,
    device: str | torch.device = "cpu",
    store: Store | None = None,
    force: bool = False,
    keep_weights: bool = False,
    progress: bool = False,
) -> Run:
    """Train as an experiment says, unless the store has the outcome already.

    A run that diverges is an outcome, too: ``run.history.outcome`` says so. The random numbers of the caller are left
    as they were.

    Parameters
    ----------
    experiment : Experiment
        What to train, on what, and how.
    data : Dataset
        Where the images come from.
    device : str or torch.device
        As in :func:`cnncourse.start`.
    store : Store, optional
        ``run.store`` of a notebook's session. Without one, the training always takes place.
    force : bool
        Train even where the store has the outcome, and replace it.
    keep_weights : bool
        Whether the run should hold the trained weights.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Run

    Raises
    ------
    CourseError
        As in :func:`cnncourse.training.fit`, apart from divergence.
    """
    device = resolve_device(str(device))
    if store is None:
        return _train(experiment, data, device, keep_weights, progress)
    key = store.key(experiment, data)

    def found() -> Run | None:
        return None if force else store.get(key, experiment, weights=keep_weights)

    if run := found():
        return run
    with store.reserved(key):
        if run := found():  # another process has trained it meanwhile
            return run
        run = store.resume(
            key, lambda checkpoint: _train(experiment, data, device, keep_weights, progress, checkpoint), fresh=force
        )
        store.put(key, run, force=force)
        return run


def _train(experiment, data, device, keep_weights, progress, checkpoint=None) -> Run:
    started = time.perf_counter()
    with seeded(experiment.seed, device):
        model = experiment.build_model()
        batches = experiment.build_loaders(data, device)
        history = fit(
            model,
            batches.train,
            batches.validation,
            device=device,
            on_divergence="stop",
            checkpoint=checkpoint,
            progress=progress,
            **experiment.fit_options(),
        )
        return outcome(experiment, data, model, history, batches, time.perf_counter() - started, keep_weights)


def outcome(
    experiment: Experiment,
    data: Dataset,
    model: nn.Module,
    history: History,
    batches: Loaders,
    seconds: float,
    keep_weights: bool,
) -> Run:
    """The run of a model that has been trained: evaluated on the test part, unless it diverged."""
    evaluation = None
    if batches.test is not None and history.outcome != "diverged":
        same = ("loss", "mixed_precision", "channels_last")
        evaluation = evaluate(model, batches.test, **{name: getattr(experiment, name) for name in same})
    weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    device = history.device
    about = {
        "data": f"{data.source.name} ({data.source.kind})",
        "device": device,
        "device_name": provenance.device_name(device),
        "torch": str(torch.__version__),
        "finished": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "seconds": f"{seconds:.1f}",
    }
    return Run(experiment, history, evaluation, weights if keep_weights else None, about)


@contextmanager
def seeded(seed: int, device: str | torch.device) -> Iterator[None]:
    """Within, torch's global generators start from a seed; afterwards they are what they were before."""
    place = torch.device(device)
    with torch.random.fork_rng([place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def fingerprint(data: Dataset) -> str:
    """sha256 of every pixel and label, and of mean and std: what a training sees of a data set."""
    tensors = [tensor for part in (data.train, data.validation, data.test) for tensor in (part.images, part.labels)]
    versions = [0 if tensor.is_inference() else tensor._version for tensor in tensors]  # changes count up
    if _fingerprints.get(data, ("", []))[1] != versions:
        digest = hashlib.sha256(repr((data.mean, data.std, len(data.classes))).encode())
        for tensor in tensors:
            digest.update(repr(tuple(tensor.shape)).encode())
            digest.update(tensor.cpu().contiguous().numpy())
        _fingerprints[data] = digest.hexdigest(), versions
    return _fingerprints[data][0]


# Kept, since 150 MB take a tenth of a second and a sweep asks for every run.
_fingerprints: WeakKeyDictionary[Dataset, tuple[str, list[int]]] = WeakKeyDictionary()


@cache
def _check_model(name: str, options: str) -> None:
    """CourseError when there is no such network. Built without memory for its weights, nor random numbers."""
    with torch.device("meta"):
        models.create(name, **json.loads(options))


def _first(split: Split, number: int) -> Split:
    return Split(split.images[:number], split.labels[:number], split.names[:number])
