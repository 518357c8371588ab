"""Many experiments at once: a grid of settings, several seeds, one table."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from tqdm.auto import tqdm

from cnncourse.data.source import Dataset, Split
from cnncourse.errors import CourseError
from cnncourse.memory import NotEnoughMemory
from cnncourse.session import resolve_device, shows_progress
from cnncourse.training.checks import check_choice
from cnncourse.training.experiment import Experiment, Run, outcome, seeded, train

if TYPE_CHECKING:
    import pandas as pd

    from cnncourse.training.store import Store

Grid = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]]
PLATEAU = "ReduceLROnPlateau"


@dataclass(frozen=True, eq=False)
class Sweep:
    """The runs of a sweep.

    Attributes
    ----------
    runs : list of Run
        For each setting one per seed, in the order of the grid.
    settings : list of dict
        What each run changes in the base experiment, without the seed.
    method : str
        How they were trained, in words.
    """

    runs: list[Run]
    settings: list[dict[str, Any]]
    method: str

    @property
    def table(self) -> pd.DataFrame:
        """One row per run, in tidy form.

        Columns: those of the grid; `seed`; `test_accuracy` and `validation_accuracy` (0 to 1, of the last validation),
        `best_validation_accuracy`, `test_loss`, `validation_loss`, `train_loss` and `train_accuracy` (of the last
        epoch), missing where a run has none; `epochs`; `outcome`; `reused`.
        """
        import pandas as pd

        return pd.DataFrame([_row(run, setting) for run, setting in zip(self.runs, self.settings, strict=True)])

    def series(self, setting: Mapping[str, Any], column: str) -> dict[int, list[float]]:
        """For each seed the values of a history column, such as 'validation.accuracy', of the runs of one setting."""
        part, _, name = column.partition(".")
        return {run.experiment.seed: getattr(run.history, part)[name] for run in self.of(setting)}

    def of(self, setting: Mapping[str, Any] | None = None, **more: Any) -> list[Run]:
        """The runs whose setting is this one, or the only one that holds these values: one per seed.

        Raises
        ------
        CourseError
            When no setting holds the values, or several do.
        """
        wanted = {**(setting or {}), **more}
        pairs = list(zip(self.runs, self.settings, strict=True))
        found = [pair for pair in pairs if pair[1] == wanted]
        found = found or [(run, s) for run, s in pairs if all(k in s and s[k] == v for k, v in wanted.items())]
        if not found:
            raise CourseError(f"No run of the sweep has {wanted}.", f"It has {self.settings[0]} and others.")
        others = [s for _, s in found if s != found[0][1]]
        if others:
            raise CourseError(
                f"Several settings of the sweep have {wanted}: {found[0][1]} and {others[0]}.",
                "Name one whole.",
            )
        return [run for run, _ in found]

    def __repr__(self) -> str:
        seeds = len({run.experiment.seed for run in self.runs})
        return f"Sweep({len(self.runs) // seeds} settings x {seeds} seed{'s' if seeds > 1 else ''})"

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict[str, str], dict[str, Any]]:
        # How it was trained depends on the machine and on the store: no part of what is committed.
        reused = sum(run.reused for run in self.runs)
        text = f"{self!r}: {self.method}" + (f"; {reused} of {len(self.runs)} from the store" if reused else "")
        return {"text/plain": repr(self), "text/html": f"<p>{text}</p>"}, {"cnncourse": {"volatile": ["text/html"]}}


def sweep(
    base: Experiment,
    grid: Grid,
    seeds: Iterable[int],
    data: Dataset,
    *,
    device: str | torch.device = "cpu",
    store: Store | None = None,
    force: bool = False,
    keep_weights: bool = False,
    method: Literal["auto", "stacked", "one by one"] = "auto",
    progress: bool | None = None,
) -> Sweep:
    """Train every setting of a grid with every seed.

    Parameters
    ----------
    base : Experiment
        What all runs have in common.
    grid : mapping of setting to values, or sequence of mappings
        All combinations of the values; or settings one by one, such as ``[{"optimizer": "sgd", "lr": 0.1},
        {"optimizer": "adam", "lr": 1e-3}]``. Names as in :meth:`Experiment.changed`. Empty: the base alone.
    seeds : iterable of int
        ``run.seeds(3)``.
    data, device, store, force, keep_weights
        As in :func:`cnncourse.training.train`.
    method : {'auto', 'stacked', 'one by one'}
        Runs that differ in seed, initial weights, optimizer or schedule only can be trained together, with their
        parameters stacked: the same results to rounding error. 'auto' measures which way is faster here.
    progress : bool, optional
        Whether to show a progress bar over the runs; by default to a reader whose notebook runs a larger profile.

    Returns
    -------
    Sweep

    Raises
    ------
    CourseError
        As in :func:`cnncourse.training.train`; for an empty grid or no seeds; when 'stacked' is asked for and
        impossible.
    """
    check_choice("method", method, ("auto", "stacked", "one by one"))
    device = resolve_device(str(device))
    seeds = list(seeds)
    settings = list(_settings(grid))
    if not seeds or not settings:
        raise CourseError("There is nothing to train: the grid or the seeds are empty.", "Give at least one of each.")
    members = [(setting, base.changed(**setting, seed=seed)) for setting in settings for seed in seeds]
    for _, experiment in members:
        experiment.select(data)  # finds num_images too large now, and not after the first runs
    runs: list[Run | None] = [None] * len(members)
    if store is not None and not force:
        for k, (_, experiment) in enumerate(members):
            runs[k] = store.get(store.key(experiment, data), experiment, weights=keep_weights)
    missing = [k for k, run in enumerate(runs) if run is None]
    with tqdm(
        total=len(members), initial=len(members) - len(missing), unit="run", disable=not shows_progress(progress)
    ) as bar:
        work = _Work(data, device, store, force, keep_weights, method, bar.update)
        for group in _groups([members[k][1] for k in missing]):
            places = [missing[k] for k in group]
            for k, run in zip(places, work.train([members[k][1] for k in places]), strict=True):
                runs[k] = run
    said = "; ".join(f"{how} ({number} run{'s' * (number > 1)})" for how, number in work.said.items())
    return Sweep(
        [run for run in runs if run is not None], [setting for setting, _ in members], said or "nothing to train"
    )


def _settings(grid: Grid) -> Iterator[dict[str, Any]]:
    settings = [grid] if isinstance(grid, Mapping) else list(grid)
    if not all(isinstance(setting, Mapping) for setting in settings):
        raise CourseError(
            f"The grid is {grid!r}, neither a mapping nor a list of mappings.", "Use for instance {'lr': [0.01, 0.1]}."
        )
    if any("seed" in setting for setting in settings):
        raise CourseError("The grid has seeds of its own.", "Pass them as `seeds`: every setting is run with each.")
    if not isinstance(grid, Mapping):
        yield from map(dict, settings)
        return
    for name, values in grid.items():
        if isinstance(values, (str, Mapping)) or not isinstance(values, Iterable):
            raise CourseError(
                f"The grid has the single value {values!r} for {name!r}.", f"Give a list of values: [{values!r}]."
            )
    for values in product(*map(list, grid.values())):
        yield dict(zip(grid, values, strict=True))


def _groups(experiments: Sequence[Experiment]) -> list[list[int]]:
    """Indices of experiments that could be trained together.

    They may differ in what each member has for itself: weights, optimizer, schedule, order of the images.
    """
    groups: dict[str, list[int]] = {}
    for k, experiment in enumerate(experiments):
        own = ("seed", "lr", "weight_decay", "optimizer", "optimizer_options", "schedule", "schedule_options")
        same = {name: value for name, value in experiment.to_dict().items() if name not in own}
        same["model_options"].pop("init", None)
        groups.setdefault(repr((sorted(same.items()), experiment.schedule == PLATEAU)), []).append(k)
    return list(groups.values())


@dataclass
class _Work:
    """Trains groups of experiments; `said` counts the runs by how they were trained."""

    data: Dataset
    device: str
    store: Store | None
    force: bool
    keep_weights: bool
    method: str
    advance: Callable[[int], object]
    said: dict[str, int] = field(default_factory=dict)

    def train(self, experiments: Sequence[Experiment]) -> list[Run]:
        """Train a group as it is best here; a stack that does not fit into memory is halved."""
        try:
            how, together = self._choose(experiments)
            if together:
                runs = self._together(experiments)
                self._say(how, len(experiments))
                return runs
        except NotEnoughMemory:
            if len(experiments) == 1:
                raise
        else:
            self._say(how, len(experiments))
            return [self._alone(experiment) for experiment in experiments]
        gc.collect()  # out here nothing refers to the tensors of the attempt any more
        if torch.device(self.device).type == "cuda":
            torch.cuda.empty_cache()
        half = len(experiments) // 2
        return self.train(experiments[:half]) + self.train(experiments[half:])

    def _say(self, how: str, number: int) -> None:
        self.said[how] = self.said.get(how, 0) + number

    def _choose(self, experiments: Sequence[Experiment]) -> tuple[str, bool]:
        """How to train a group, in words, and whether together."""
        if self.method == "one by one" or (self.method == "auto" and len(experiments) == 1):
            return "one by one", False
        from cnncourse.training import stacked

        first = experiments[0]
        if early := [name for name in ("patience", "validate_every", "restore_best") if getattr(first, name)]:
            obstacle = f"{early[0]} stops or stores members one by one"
        elif first.schedule == PLATEAU:
            obstacle = f"{PLATEAU} looks at each member's validation"
        else:
            with seeded(0, self.device):
                obstacle = stacked.stackable([first.build_model() for _ in range(2)])
        if obstacle:
            if self.method == "stacked":
                raise CourseError(f"These runs cannot be stacked: {obstacle}.", "Use method='auto'.")
            return f"one by one, because {obstacle}", False
        if self.method == "stacked":
            return "stacked", True
        if self.store is not None and not self.force and self.store.unfinished(self._name(experiments)):
            return "stacked, as when it was interrupted", True
        gain = stacked.gain(experiments, self.data, self.device)
        if gain is None:
            together = torch.device(self.device).type != "cpu"  # a GPU has room for all of them
            return f"{'stacked' if together else 'one by one'}, too short for a trial", together
        if gain > 1:
            return f"stacked, {gain:.1f} times as fast as one by one in a trial", True
        return f"one by one, {1 / gain:.1f} times as fast as stacked in a trial", False

    def _alone(self, experiment: Experiment) -> Run:
        run = train(
            experiment,
            self.data,
            device=self.device,
            store=self.store,
            force=self.force,
            keep_weights=self.keep_weights,
        )
        self.advance(1)
        return run

    def _together(self, experiments: Sequence[Experiment]) -> list[Run]:
        if self.store is None:
            runs = self._stack(experiments)
        else:
            with self.store.reserved(self._name(experiments)):
                runs = self._found(experiments)  # another process may have trained them while this one waited
                if runs is None:
                    name = self._name(experiments)
                    runs = self.store.resume(
                        name, lambda checkpoint: self._stack(experiments, checkpoint), fresh=self.force
                    )
                    for run in runs:
                        self.store.put(self.store.key(run.experiment, self.data), run, force=self.force)
                    self.store.forget(name)
        self.advance(len(experiments))
        return runs

    def _name(self, experiments: Sequence[Experiment]) -> str:
        return self.store.stack_name(self.store.key(experiment, self.data) for experiment in experiments)

    def _found(self, experiments: Sequence[Experiment]) -> list[Run] | None:
        """All of the runs, when they are in the store and are not to be trained anew."""
        runs = []
        for experiment in experiments if not self.force else ():
            run = self.store.get(self.store.key(experiment, self.data), experiment, weights=self.keep_weights)
            if run is None:
                return None
            runs.append(run)
        return runs or None

    def _stack(self, experiments: Sequence[Experiment], checkpoint: Path | None = None) -> list[Run]:
        from cnncourse.training import stacked

        started = time.perf_counter()
        first = experiments[0]
        data = _on(self.data, self.device)  # one copy there serves all members
        with seeded(first.seed, self.device):
            members, batches = [], []
            for experiment in experiments:
                torch.manual_seed(experiment.seed)  # each member's weights are those of its own training
                members.append(experiment.build_model())
                batches.append(experiment.build_loaders(data, self.device))
            histories = stacked.fit_stacked(
                members,
                [loaders.train for loaders in batches],
                batches[0].validation,
                num_epochs=first.num_epochs,
                optimizers=[experiment.build_optimizer for experiment in experiments],
                schedules=[experiment.build_schedule if experiment.schedule else None for experiment in experiments],
                schedule_every=first.schedule_every,
                loss=first.loss,
                clip_norm=first.clip_norm,
                mixed_precision=first.mixed_precision,
                channels_last=first.channels_last,
                device=self.device,
                checkpoint=checkpoint,
            )
            seconds = (time.perf_counter() - started) / len(experiments)
            return [
                outcome(experiment, data, model.to(self.device), history, batches[0], seconds, self.keep_weights)
                for experiment, model, history in zip(experiments, members, histories, strict=True)
            ]


def _on(data: Dataset, device: str) -> Dataset:
    def moved(part: Split) -> Split:
        return replace(part, images=part.images.to(device), labels=part.labels.to(device))

    return replace(data, train=moved(data.train), validation=moved(data.validation), test=moved(data.test))


def _row(run: Run, setting: Mapping[str, Any]) -> dict[str, Any]:
    history, result = run.history, run.evaluation

    def last(values: Sequence[float]) -> float:
        return values[-1] if values else float("nan")

    return {
        **setting,
        "seed": run.experiment.seed,
        "test_accuracy": result.accuracy if result else float("nan"),
        "validation_accuracy": last(history.validation["accuracy"]),
        "best_validation_accuracy": max(history.validation["accuracy"], default=float("nan")),
        "test_loss": result.loss if result else float("nan"),
        "validation_loss": last(history.validation["loss"]),
        "train_loss": last(history.epochs["loss"]),
        "train_accuracy": last(history.epochs["accuracy"]),
        "epochs": history.num_epochs,
        "outcome": history.outcome,
        "reused": run.reused,
    }
