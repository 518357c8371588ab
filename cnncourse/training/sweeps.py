"""Many experiments at once: a grid of settings, several seeds, one table."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import torch
from tqdm.auto import tqdm

from cnncourse.data.source import Dataset
from cnncourse.errors import CourseError
from cnncourse.session import resolve_device
from cnncourse.training.checks import check_choice
from cnncourse.training.experiment import Experiment, Run, outcome, seeded, train

if TYPE_CHECKING:
    import pandas as pd

    from cnncourse.training.store import Store

Grid = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]]


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
        """The runs whose setting holds these values, one per seed."""
        wanted = {**(setting or {}), **more}
        pairs = zip(self.runs, self.settings, strict=True)
        found = [run for run, s in pairs if all(k in s and s[k] == v for k, v in wanted.items())]
        if not found:
            raise CourseError(f"No run of the sweep has {wanted}.", f"It has {self.settings[0]} and others.")
        return found

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
    progress: bool = False,
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
        Runs that differ in numbers only (rates, decays, seeds) can be trained together, with their parameters stacked:
        the same results to rounding error. 'auto' measures which way is faster here.
    progress : bool
        Whether to show a progress bar over the runs.

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
    runs: list[Run | None] = [None] * len(members)
    if store is not None and not force:
        for k, (_, experiment) in enumerate(members):
            runs[k] = store.get(store.key(experiment, data), experiment, weights=keep_weights)
    missing = [k for k, run in enumerate(runs) if run is None]
    methods = []
    done = len(members) - len(missing)
    with tqdm(total=len(members), initial=done, unit="run", disable=not progress) as bar:
        for group in _groups([members[k][1] for k in missing]):
            places = [missing[k] for k in group]
            experiments = [members[k][1] for k in places]
            how, together = _choose(method, experiments, data, device)
            methods.append(f"{how} ({len(places)} run{'s' if len(places) > 1 else ''})")
            if together:
                found = _train_together(experiments, data, device, keep_weights)
                for k, run in zip(places, found, strict=True):
                    runs[k] = run
                    if store is not None:
                        store.put(store.key(run.experiment, data), run)
                bar.update(len(places))
            else:
                for k in places:
                    runs[k] = train(
                        members[k][1], data, device=device, store=store, force=force, keep_weights=keep_weights
                    )
                    bar.update(1)
    said = "; ".join(dict.fromkeys(methods)) or "nothing to train"
    return Sweep([run for run in runs if run is not None], [setting for setting, _ in members], said)


def _settings(grid: Grid) -> Iterator[dict[str, Any]]:
    if isinstance(grid, Mapping):
        for values in product(*grid.values()):
            yield dict(zip(grid, values, strict=True))
    else:
        yield from map(dict, grid)


def _groups(experiments: Sequence[Experiment]) -> list[list[int]]:
    """Indices of experiments that may differ in numbers only, and could be trained together."""
    groups: dict[str, list[int]] = {}
    for k, experiment in enumerate(experiments):
        options = {name: value for name, value in experiment.model_options.items() if name != "init"}
        same = replace(experiment, lr=0.0, weight_decay=0.0, seed=0, model_options=options).to_dict()
        groups.setdefault(repr(sorted(same.items())), []).append(k)
    return list(groups.values())


def _choose(method: str, experiments: Sequence[Experiment], data: Dataset, device: str) -> tuple[str, bool]:
    """How to train a group, in words, and whether together."""
    if method == "one by one" or (method == "auto" and len(experiments) == 1):
        return "one by one", False
    from cnncourse.training import stacked

    first = experiments[0]
    if early := [name for name in ("patience", "validate_every", "restore_best") if getattr(first, name)]:
        obstacle = f"{early[0]} stops or stores members one by one"
    elif first.schedule == "ReduceLROnPlateau":
        obstacle = "ReduceLROnPlateau looks at each member's validation"
    else:
        with seeded(0, device):
            obstacle = stacked.stackable([first.build_model() for _ in range(2)])
    if obstacle:
        if method == "stacked":
            raise CourseError(f"These runs cannot be stacked: {obstacle}.", "Use method='auto'.")
        return f"one by one, because {obstacle}", False
    if method == "stacked":
        return "stacked", True
    gain = stacked.gain(experiments, data, device)
    if gain is None:
        together = torch.device(device).type != "cpu"  # a GPU has room for all of them
        return f"{'stacked' if together else 'one by one'}, too short for a trial", together
    if gain > 1:
        return f"stacked, {gain:.1f} times as fast as one by one in a trial", True
    return f"one by one, {1 / gain:.1f} times as fast as stacked in a trial", False


def _train_together(experiments: Sequence[Experiment], data: Dataset, device: str, keep_weights: bool) -> list[Run]:
    from cnncourse.training import stacked

    started = time.perf_counter()
    with seeded(experiments[0].seed, device):
        members, batches = [], []
        for experiment in experiments:
            torch.manual_seed(experiment.seed)  # each member's weights are those of its own training
            members.append(experiment.build_model())
            batches.append(experiment.build_loaders(data, device))
            if len(batches) > 1:  # one copy of the images on the device serves all
                batches[-1].train.images = batches[0].train.images
        first = experiments[0]
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
            device=device,
        )
        seconds = (time.perf_counter() - started) / len(experiments)
        return [
            outcome(experiment, data, model.to(device), history, batches[0], seconds, keep_weights)
            for experiment, model, history in zip(experiments, members, histories, strict=True)
        ]


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
