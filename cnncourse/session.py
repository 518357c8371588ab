"""One run of one notebook: profile, seeds, device, and what it measured."""

from __future__ import annotations

import math
import os
import platform
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, overload

from cnncourse import provenance, reads
from cnncourse.errors import CourseError
from cnncourse.project import PROFILES, committed
from cnncourse.results import Curve, DataRecord, Metric, Provenance, Results, Series

T = TypeVar("T")
RESULTS_VARIABLE = "CNNCOURSE_RESULTS"  # set by `cnncourse run`: where finish() writes the JSON
_NOT_OPENED = object()
_current: Session | None = None


def current() -> Session | None:
    """The session that this process started last, or None. The pipeline asks for it when a notebook has ended."""
    return _current


def start(profile: str = "smoke", seed: int = 0, device: str = "auto", *, notebook: str) -> Session:
    """Begin a run: check the parameters, fix seeds, threads and determinism.

    Parameters
    ----------
    profile : {'smoke', 'laptop', 'full'}
        How large the experiments are. `smoke` uses embedded data, one thread and deterministic kernels.
    seed : int
        First seed of the run, at least 0.
    device : str
        'auto' takes CUDA, then MPS, then the CPU; or a torch device such as 'cpu' or 'cuda:1'.
    notebook : str
        Stem of the notebook, for instance '02_numpy_mlp': names its results and its claims.

    Returns
    -------
    Session

    Raises
    ------
    CourseError
        For an unknown profile, a negative seed, or a device that this machine does not have.
    """
    global _current
    if profile not in PROFILES:
        raise CourseError(f"Unknown profile {profile!r}.", f"Choose one of {', '.join(PROFILES)}.")
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise CourseError(f"The seed must be an integer of at least 0, not {seed!r}.", "Choose for instance seed = 0.")
    _current = Session(profile=profile, seed=seed, device=resolve_device(device), notebook=notebook)
    return _current


def shows_progress(wanted: bool | None = None) -> bool:
    """Whether long work shows a progress bar: as `wanted`, else where a reader waits for it.

    Not in the smoke profile, which takes seconds, and not in a run of the pipeline, which shows its own and whose
    pages would keep the bar.
    """
    if wanted is not None:
        return wanted
    return _current is not None and _current.profile != "smoke" and RESULTS_VARIABLE not in os.environ


def resolve_device(device: str) -> str:
    """Name of the torch device that `device` stands for on this machine ('cpu', 'cuda', 'mps', ...).

    Raises
    ------
    CourseError
        When torch does not know the name or the machine has no such device.
    """
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        wanted = torch.device(device)
    except RuntimeError:
        raise CourseError(f"Unknown device {device!r}.", "Use 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps'.") from None
    present = {
        "cpu": 1,
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "mps": int(torch.backends.mps.is_available()),
    }.get(wanted.type, 0)
    if (wanted.index or 0) >= present:
        raise CourseError(f"This machine has no device {device!r}.", "Use device='auto' to take the best one there is.")
    return str(wanted)


class Session:
    """What a notebook asks (`pick`, `seeds`) and tells (`record`, `curve`, `finish`). Made by :func:`start`."""

    def __init__(self, profile: str, seed: int, device: str, notebook: str):
        self.profile = profile
        self.seed = seed
        self.device = device
        self.notebook = notebook
        self.reads: dict[str, str] = {}  # committed results and ledger files that shaped the page: file -> sha256
        self.sources: list[Any] = []
        self.finished = False
        self._used_seeds = {seed}
        self._store: Any = _NOT_OPENED
        self._metrics: dict[str, Metric] = {}
        self._curves: dict[str, Curve] = {}
        self._started = time.monotonic()
        # At the start, because a checkout may change while a long run computes.
        self._commit = provenance.git_commit(Path(__file__).parent)
        self.threads = _fix_randomness(seed, deterministic=profile == "smoke")

    def pick(self, *, smoke: T, laptop: T, full: T) -> T:
        """The value for this run's profile: ``epochs = run.pick(smoke=1, laptop=4, full=20)``."""
        return {"smoke": smoke, "laptop": laptop, "full": full}[self.profile]

    def seeds(self, number: int) -> list[int]:
        """`number` consecutive seeds from this run's first one, for means and intervals."""
        if number < 1:
            raise CourseError(f"A run needs at least one seed, not {number}.", "Raise num_seeds.")
        seeds = list(range(self.seed, self.seed + number))
        self._used_seeds.update(seeds)
        return seeds

    @property
    def store(self):
        """Where trainings are kept and found again (:class:`cnncourse.training.Store`); None in the smoke profile.

        The smoke profile checks that the notebooks really train. Pass it on: ``sweep(..., store=run.store)``.
        """
        if self._store is _NOT_OPENED:
            from cnncourse.training.store import default_store

            self._store = None if self.profile == "smoke" else default_store()
        return self._store

    def data(self, dataset):
        """Note in the provenance that this run uses `dataset` (anything with a ``source``), and return it."""
        if dataset.source not in self.sources:
            self.sources.append(dataset.source)
        return dataset

    def record(
        self,
        name: str,
        value: Any,
        *,
        kind: Literal["exact", "trained"] | None = None,
        unit: str = "",
        data: str = "",
    ) -> None:
        """Record a named measurement.

        Parameters
        ----------
        name : str
            Name that the ledger's rules use.
        value : bool, int, float, str, list of these, or dict
            A dict maps seeds to floats (or to equally long lists of floats).
        kind : {'exact', 'trained'}, optional
            By default a dict is `trained` and everything else `exact`. A single float that differs between machines
            (round-off, training) has to be declared `trained`.
        unit : str
            Unit of the value, for instance '%' or 'nats'; empty for counts.
        data : str
            Name of the data set that it was measured on; empty for mathematics and architecture.

        Raises
        ------
        CourseError
            When the value holds NaN or infinity, or (in a run of the pipeline) the name has another value already.
        """
        value = _plain(value)
        _check_finite(name, value)
        if isinstance(value, Mapping):
            per_seed = {int(seed): item for seed, item in value.items()}
            self._used_seeds.update(per_seed)
            metric = Metric(kind=kind or "trained", per_seed=per_seed, unit=unit, data=data)
        else:
            metric = Metric(kind=kind or "exact", value=value, unit=unit, data=data)
        # A reader who runs a cell again replaces its value; in a published run a second value is a name clash.
        if RESULTS_VARIABLE in os.environ and self._metrics.get(name, metric) != metric:
            raise CourseError(
                f"The metric {name!r} is recorded twice, with different values.", "Give each measurement its own name."
            )
        self._metrics[name] = metric

    def curve(
        self,
        name: str,
        x: Sequence[float],
        per_seed: Mapping[int, Sequence[float]],
        *,
        x_label: str,
        y_label: str,
        unit: str = "",
        data: str = "",
    ) -> None:
        """Record a named curve: for each seed one y value per x value. Raises CourseError when lengths differ."""
        curve = {int(seed): _plain(list(values)) for seed, values in per_seed.items()}
        _check_finite(name, curve)
        for seed, values in curve.items():
            if len(values) != len(x):
                raise CourseError(
                    f"Curve {name!r}, seed {seed}: {len(values)} values for {len(x)} points.",
                    "Record one value per point.",
                )
        self._curves[name] = Curve(
            x=_plain(list(x)), per_seed=curve, x_label=x_label, y_label=y_label, unit=unit, data=data
        )

    def results(self) -> Results:
        """Everything recorded so far, with its provenance."""
        return Results(notebook=self.notebook, provenance=self.provenance(), metrics=self._metrics, curves=self._curves)

    def provenance(self) -> Provenance:
        """How this run came about, up to now."""
        return Provenance(
            profile=self.profile,
            seed=self.seed,
            seeds=sorted(self._used_seeds),
            device=self.device,
            device_name=provenance.device_name(self.device),
            threads=self.threads,
            data=[
                DataRecord(name=s.name, kind=s.kind, sha256=s.sha256, sizes=dict(s.sizes), note=s.note)
                for s in self.sources
            ],
            python=platform.python_version(),
            packages=provenance.versions(),
            commit=self._commit,
            finished=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
            wall_time_s=round(time.monotonic() - self._started, 1),
        )

    @overload
    def published(self) -> Results | None: ...

    @overload
    def published(self, name: str) -> Series | None: ...

    def published(self, name=None):
        """What this notebook's best committed run measured (profile full, then laptop, then smoke).

        Parameters
        ----------
        name : str, optional
            A metric or curve; without it, all of the run's results.

        Returns
        -------
        Results, or Series for a `name`, or None
            None where nothing is committed, or nothing of that name.
        """
        for profile in reversed(PROFILES):
            path = committed("results") / profile / f"{self.notebook}.json"
            self.note_read(reads.name(path))
            if path.is_file():
                results = Results.load(path)
                return results if name is None else results.series(name, f"published run ({profile})")
        return None

    def shown(self, name: str) -> Series:
        """Values of a recorded metric or curve for a figure: this run's own, in the smoke profile the published ones.

        The smoke profile trains narrow networks on stand-in data, whose figures would show nothing. Where a larger
        profile is committed, its values take their place, and ``origin`` says so.

        Raises
        ------
        CourseError
            When this run has recorded nothing of that name.
        """
        if name not in self._metrics and name not in self._curves:
            raise CourseError(f"Nothing is recorded under the name {name!r}.", "Call run.record or run.curve before.")
        if self.profile == "smoke":
            series = self.published(name)
            if series is not None and series.provenance.profile != "smoke":
                return series
        return self.results().series(name)

    def claims(self, *ids: str) -> None:
        """Show claims of this notebook (default: all) with the reported value, the measured value and the verdict."""
        from IPython.display import display

        from cnncourse import claims

        for name in claims.inputs(self.notebook, self.profile):
            self.note_read(name)
        display(claims.table(self.results(), ids or None))

    def note_read(self, name: str) -> None:
        """Note that the page depends on a committed file (:func:`cnncourse.reads.name`): a change executes it again."""
        self.reads[name] = reads.content(name)

    def finish(self) -> None:
        """End the run: write the results where the pipeline asked for them, and show the provenance stamp."""
        from IPython.display import display

        results = self.results()
        if target := os.environ.get(RESULTS_VARIABLE):
            results.save(Path(target))
        self.finished = True
        # The text is the same on every machine; `refresh` drops what is named volatile from committed outputs.
        display(
            {
                "text/plain": provenance.stamp_text(results.provenance),
                "text/html": provenance.stamp_html(results.provenance, self._trainings()),
            },
            raw=True,
            metadata={"cnncourse": {"volatile": ["text/html"]}},
        )

    def _trainings(self) -> str:
        """What came from the experiment store, in words; empty when it was not used."""
        store = None if self._store is _NOT_OPENED else self._store
        if store is None or not store.trained + store.reused:
            return ""
        return f"{store.trained} now, {store.reused} from the experiment store"


def _fix_randomness(seed: int, *, deterministic: bool) -> int:
    """Seed every generator; `deterministic`: one thread, deterministic kernels. Returns torch's threads."""
    import numpy as np
    import torch
    from threadpoolctl import threadpool_limits

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    if deterministic:
        torch.set_num_threads(1)
        threadpool_limits(1)
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required by the next line on CUDA
        torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.get_num_threads()


def _plain(value: Any) -> Any:
    """The value with NumPy and torch scalars and arrays turned into Python's own."""
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (list, tuple, range)):
        return [_plain(item) for item in value]
    return value


def _check_finite(name: str, value: Any) -> None:
    for item in _leaves(value):
        if isinstance(item, float) and not math.isfinite(item):
            raise CourseError(
                f"The metric {name!r} holds {item}: results are finite numbers.",
                "Record what happened instead, for instance the number of runs that diverged.",
            )


def _leaves(value: Any) -> Iterable[Any]:
    children: Callable | None = {dict: lambda v: v.values(), list: iter}.get(type(value))
    if children is None:
        yield value
        return
    for child in children(value):
        yield from _leaves(child)
