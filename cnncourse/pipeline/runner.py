"""`cnncourse run`: which notebooks have to be executed, on which workers, and what becomes of the outputs.

``dask.distributed`` is the one engine: a local cluster of processes, or any cluster by its scheduler's address. This
process alone reads sources and writes outputs, so that workers need no shared file system.
"""

from __future__ import annotations

import copy
import difflib
import json
import os
import queue
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import nbformat

from cnncourse.errors import CourseError
from cnncourse.pipeline import cache
from cnncourse.pipeline.notebooks import Notebook, bind_all, find, select
from cnncourse.pipeline.progress import Display
from cnncourse.pipeline.workers import Workers, place
from cnncourse.project import PROFILES, Project

if TYPE_CHECKING:
    from cnncourse.pipeline.execute import Execution
    from cnncourse.pipeline.workers import Cluster, Local

TIMEOUTS_S = {"smoke": 600.0, "laptop": 3600.0, "full": 3600.0}  # of one notebook
STOP_TIMEOUT_S = 30  # a kernel that does not go within this time goes with its worker
NOT_RUN = "The run was interrupted before."

Status = Literal["ran", "cached", "failed", "killed", "timeout", "memory", "interrupted", "not run"]


@dataclass(frozen=True)
class Options:
    """How to run. See ``cnncourse run --help``.

    Attributes
    ----------
    profile : {'smoke', 'laptop', 'full'}
    device : str, optional
    seed : int, optional
    parameters : mapping of str to str
        More parameters, as text from the command line.
    jobs : int, optional
        Notebooks at a time. By default one per core in the smoke profile, whose notebooks compute with one thread
        each, and otherwise one with all threads.
    timeout : float, optional
        Seconds for one notebook.
    force : bool
        Whether to execute what is in the cache, too.
    scheduler : str, optional
        Address of a Dask scheduler; by default a local cluster is started.
    memory : str, optional
        What one kernel may take, for instance '4GB' or '50%' of what is free.
    """

    profile: str = "smoke"
    device: str | None = None
    seed: int | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    jobs: int | None = None
    timeout: float | None = None
    force: bool = False
    scheduler: str | None = None
    memory: str | None = None


@dataclass(frozen=True)
class Job:
    """One execution that is wanted: a notebook with all its parameters, under a name of its own within the run."""

    notebook: Notebook
    parameters: dict[str, Any]
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or self.notebook.stem)


@dataclass
class Outcome:
    """What became of a job.

    Attributes
    ----------
    name : str
    status : str
        'ran' and 'cached' are successes.
    reason : str
        Why it failed, or why it had to run.
    cell : int, optional
        The failing cell.
    seconds : float
        Wall time of the execution; of a cached one, of the execution then.
    notebook : str
        The executed notebook (JSON), or the part that was executed.
    results : str, optional
        The text of the results file.
    log : Path or str
        The log's text, and after publishing the path of the file.
    """

    name: str
    status: Status
    reason: str = ""
    cell: int | None = None
    seconds: float = 0.0
    notebook: str = ""
    results: str | None = None
    log: Path | str = ""

    @property
    def ok(self) -> bool:
        return self.status in ("ran", "cached")


@dataclass
class Report:
    """The outcomes of a run in reading order."""

    outcomes: list[Outcome]
    signal: int | None = None  # that ended the run early

    @property
    def exit_code(self) -> int:
        if self.signal:
            return 128 + self.signal
        return 0 if all(outcome.ok for outcome in self.outcomes) else 1


Publish = Callable[[Outcome], None]


def run(
    project: Project,
    selectors: Sequence[str] = (),
    options: Options | None = None,
    display: Display | None = None,
) -> Report:
    """Execute notebooks, as far as they are not in the cache, and write their outputs under ``_build``.

    ``_build/executed/PROFILE/NN_topic.ipynb`` and ``_build/results/PROFILE/NN_topic.json`` change only on success. A
    failed execution leaves ``NN_topic.failed.ipynb`` and ``NN_topic.failed.log`` beside the older good copy, until
    the next success.

    Parameters
    ----------
    project : Project
        The checkout.
    selectors : sequence of str
        Numbers or names of notebooks (default: all).
    options : Options, optional
        How to run; by default the smoke profile on this machine.
    display : Display, optional
        Shows the progress.

    Raises
    ------
    CourseError
        When the run cannot start: a bad selector, parameter or option, a folder that cannot be written, another run
        in the same folder, a scheduler that does not answer. What goes wrong later is part of the report.
    """
    options, display = options or Options(), display or Display()
    options = _normal(options)
    notebooks = select(find(project), selectors)
    given = {"profile": options.profile, "seed": options.seed, "device": options.device}
    given = {name: value for name, value in given.items() if value is not None}
    if options.profile == "smoke" and not any(_declares(notebook, "profile") for notebook in notebooks):
        del given["profile"]  # the default, not a demand
    bound = bind_all(notebooks, given, options.parameters)
    outputs = Outputs(project, options.profile)
    jobs = [Job(n, bound[n.stem]) for n in notebooks if isinstance(bound[n.stem], dict)]
    broken = [
        Outcome(n.stem, "failed", error.what, notebook=_text(n), log=f"{error}\n")
        for n in notebooks
        if isinstance(error := bound[n.stem], CourseError)
    ]
    report = perform(project, jobs, options, display, outputs.publish, broken)
    order = {notebook.stem: i for i, notebook in enumerate(notebooks)}
    report.outcomes.sort(key=lambda outcome: order[outcome.name])
    return report


def perform(
    project: Project,
    jobs: Sequence[Job],
    options: Options,
    display: Display,
    publish: Publish,
    broken: Sequence[Outcome] = (),
) -> Report:
    """Execute jobs, as far as they are not in the cache, and hand every outcome to `publish` as it comes.

    Parameters
    ----------
    project : Project
        The checkout.
    jobs : sequence of Job
        What to execute, under names that differ.
    options : Options
        `profile`, `jobs`, `timeout`, `force`, `scheduler` and `memory` count; the parameters are those of the jobs.
    display : Display
        Shows the progress.
    publish : callable
        An OSError or a CourseError of it turns a success into a failure.
    broken : sequence of Outcome
        Notebooks that failed before they could become jobs.

    Raises
    ------
    CourseError
        When the run cannot start.
    """
    options = _normal(options)
    with ExitStack() as stack:
        stop = stack.enter_context(_signals())
        stack.enter_context(lock(project))
        _check_writable(*(project.build / part / options.profile for part in ("executed", "results", "cache")))
        store = cache.Cache(project.build / "cache" / options.profile, display.say)
        stack.callback(display.close)
        display.begin(len(jobs) + len(broken))
        there = place(options.profile, options.jobs, options.memory, options.scheduler)
        run = _Run(project, options, display, publish, store, stack.enter_context(there), stop)
        for outcome in broken:
            run.finish(outcome)
        run.execute(run.look_up(jobs))
        return Report(run.outcomes, stop.number)


class _Run:
    """The state of one call of :func:`perform`."""

    def __init__(
        self,
        project: Project,
        options: Options,
        display: Display,
        publish: Publish,
        store: cache.Cache,
        place: Local | Cluster,
        stop: Stop,
    ):
        self.project = project
        self.options = options
        self.display = display
        self.publish = publish
        self.store = store
        self.place = place
        self.stop = stop
        self.outcomes: list[Outcome] = []
        self.keys: dict[str, cache.Key] = {}
        self.why: dict[str, str] = {}

    def finish(self, outcome: Outcome) -> None:
        """Publish an outcome and count it."""
        try:
            self.publish(outcome)
        except (OSError, CourseError) as error:
            reason = f"Its outputs cannot be written: {error}"
            if outcome.ok:
                outcome = replace(outcome, status="failed", reason=reason, log="")
            else:
                self.display.say(f"{outcome.name}: {reason}")
                outcome = replace(outcome, log="")
        self.outcomes.append(outcome)
        self.display.finish(outcome)

    def look_up(self, jobs: Sequence[Job]) -> list[Job]:
        """Finish the jobs whose outputs are in the cache; the others, the longest first."""
        found: dict[str, cache.Entry] = {}
        expected: dict[str, float] = {}
        for job in jobs:
            where = self.place.surroundings(job.parameters.get("device", "auto"))
            self.keys[job.name] = key = cache.key(job.notebook.node, job.parameters, where, self.place.threads)
            entry = self.store.find(job.notebook.stem, key)
            nearest = entry or self.store.nearest(job.notebook.stem, key)
            expected[job.name] = nearest.seconds if nearest else float("inf")
            if entry and not self.options.force:
                found[job.name] = entry
            elif self.options.force:
                self.why[job.name] = "forced"
            else:
                self.why[job.name] = _changed(cache.differences(nearest.key, key)) if nearest else "not in the cache"
        now = self.place.current(cache.Used.union(entry.used for entry in found.values()))
        wanted = []
        for job in jobs:
            entry = found.get(job.name)
            differences = cache.differences(entry.used, now.restricted_to(entry.used)) if entry else []
            if entry and not differences:
                executed = cache.merge(job.notebook.node, nbformat.from_dict(entry.executed))
                text = nbformat.writes(executed, version=4)
                self.finish(Outcome(job.name, "cached", "", None, entry.seconds, text, entry.results))
                continue
            if differences:
                self.why[job.name] = _changed(differences)
            wanted.append(job)
        return sorted(wanted, key=lambda job: -expected[job.name])

    def execute(self, jobs: Sequence[Job]) -> None:
        """Execute jobs on the workers, and finish each as it ends."""
        waiting = list(jobs)
        if waiting and not self.stop.number:
            with self.place.workers(len(waiting)) as workers:
                waiting = self._feed(workers, waiting)
        for job in waiting:
            self.finish(Outcome(job.name, "not run", NOT_RUN))

    def _feed(self, workers: Workers, waiting: list[Job]) -> list[Job]:
        """Keep the workers busy until all is done or the run is stopped; returns the jobs that were never begun.

        Jobs are handed out one by one: a worker that holds several would run them in an order of its own.
        """
        running: dict[str, tuple[Job, float]] = {}
        deadline = None
        while running or (waiting and not self.stop.number):
            while waiting and not self.stop.number and len(running) < workers.slots:
                job = waiting.pop(0)
                running[job.name] = job, time.monotonic()
                self.display.start(job.name, self.why.get(job.name, ""))
                workers.submit(self._task(job, workers))
            event = self._next(workers.events, deadline)
            if event is None:  # they had their time to end
                for job, began in running.values():
                    self.finish(
                        Outcome(job.name, "interrupted", "Its worker was stopped.", None, time.monotonic() - began)
                    )
                break
            kind, payload = event
            if kind == "signal":
                if payload == getattr(signal, "SIGHUP", None):
                    self.display = Display()  # the terminal is gone
                self.display.say("Stopping the kernels ...")
                deadline = time.monotonic() + STOP_TIMEOUT_S
                workers.stop()
            elif kind == "progress":
                self._show(payload)
            elif kind == "done":
                name, execution = payload
                job, began = running.pop(name)
                self._done(job, execution, time.monotonic() - began)
        return waiting

    def _next(self, events: queue.SimpleQueue, deadline: float | None) -> tuple[str, Any] | None:
        while True:
            if self.stop.number and deadline is None:
                return "signal", self.stop.number
            left = 0.5 if deadline is None else min(0.5, deadline - time.monotonic())
            if left <= 0:
                return None
            with suppress(queue.Empty):
                return events.get(timeout=left)

    def _show(self, message: dict[str, Any]) -> None:
        if message["event"] == "cell":
            self.display.cell(message["name"], message["cell"], message["of"])
        else:
            text = {"waiting": "waits for the accelerator", "again": "its kernel did not start; again"}
            self.display.note(message["name"], text.get(message["event"], message["event"]))

    def _task(self, job: Job, workers: Workers):
        from cnncourse.pipeline.execute import Task

        key = self.keys[job.name]
        return Task(
            run=workers.run,
            name=job.notebook.stem,
            label=job.name,
            notebook=nbformat.writes(job.notebook.node, version=4),
            parameters=job.notebook.changed(job.parameters),
            profile=self.options.profile,
            folder=str(self.project.notebooks),
            timeout=self.options.timeout or TIMEOUTS_S[self.options.profile],
            threads=key.threads,
            memory=workers.memory,
            lease=key.device != "cpu",
        )

    def _done(self, job: Job, execution: Execution | BaseException, elapsed: float) -> None:
        if isinstance(execution, BaseException):
            status: Status = "interrupted" if self.stop.number else "killed"
            reason = "The run was interrupted." if self.stop.number else "Its worker process died."
            log = f"{job.name}: {status}\n\n{reason}\n\n{type(execution).__name__}: {execution}\n"
            self.finish(Outcome(job.name, status, reason, None, elapsed, log=log))
            return
        if execution.status == "not run":
            self.finish(Outcome(job.name, "not run", NOT_RUN))
            return
        if execution.status != "ok":
            self.finish(
                Outcome(
                    job.name,
                    execution.status,
                    execution.reason,
                    execution.cell,
                    execution.seconds,
                    execution.notebook,
                    log=execution.log,
                )
            )
            return
        executed = cache.merge(job.notebook.node, nbformat.reads(execution.notebook, as_version=4))
        text = nbformat.writes(executed, version=4)
        why = self.why.get(job.name, "")
        entry = cache.Entry(
            notebook=job.notebook.stem,
            key=self.keys[job.name],
            used=execution.used,
            executed=json.loads(text),
            results=execution.results,
            seconds=execution.seconds,
        )
        try:
            self.store.keep(entry)
        except OSError as error:
            self.display.say(f"{job.name} is not kept in the cache: {error}")
        self.finish(Outcome(job.name, "ran", why, None, execution.seconds, text, execution.results))


class Outputs:
    """Where `cnncourse run` writes: the executed copies and results of one profile."""

    def __init__(self, project: Project, profile: str):
        self.executed = project.executed(profile)
        self.results = project.fresh_results(profile)

    def publish(self, outcome: Outcome) -> None:
        """Write the outputs of a success, or the partial notebook and the log of a failure. Raises OSError."""
        failed = self.executed / f"{outcome.name}.failed.ipynb"
        log = self.executed / f"{outcome.name}.failed.log"
        if outcome.status == "not run":
            return
        if outcome.ok:
            results = self.results / f"{outcome.name}.json"
            if outcome.results is None:
                results.unlink(missing_ok=True)
            else:
                _update(results, outcome.results)
            _update(self.executed / f"{outcome.name}.ipynb", outcome.notebook + "\n")
            failed.unlink(missing_ok=True)
            log.unlink(missing_ok=True)
            return
        text, outcome.log = str(outcome.log), ""
        if outcome.notebook:
            cache.write(failed, outcome.notebook + "\n")
        else:
            failed.unlink(missing_ok=True)
        cache.write(log, text)
        outcome.log = log


def _update(path: Path, text: str) -> None:
    """Write a file unless it holds the text already: builders look at its time."""
    with suppress(OSError, ValueError):
        if path.read_text(encoding="utf-8") == text:
            return
    cache.write(path, text)


@contextmanager
def lock(project: Project) -> Iterator[None]:
    """Keep every other run out of this project's ``_build``. Raises CourseError when one is in there."""
    from filelock import FileLock, Timeout

    owner = project.build / ".lock.json"
    try:
        project.build.mkdir(parents=True, exist_ok=True)
        held = FileLock(project.build / ".lock", timeout=0)
        held.acquire()
    except Timeout:
        try:
            other = json.loads(owner.read_text(encoding="utf-8"))
            who = f"process {other['pid']} on {other['host']}, since {other['since']}"
        except (OSError, ValueError, KeyError):
            who = "a process that is just starting"
        raise CourseError(
            f"Another run is working in {project.build}: {who}.", "Wait for its end, or stop it with Ctrl-C there."
        ) from None
    except OSError as error:
        raise _unwritable(project.build, error) from None
    try:
        since = time.strftime("%H:%M:%S")
        with suppress(OSError):
            cache.write(owner, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}))
        yield
    finally:
        owner.unlink(missing_ok=True)
        held.release()


def _check_writable(*folders: Path) -> None:
    """Find out before hours of work whether their outcome can be written."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(100_000))
        except OSError as error:
            raise _unwritable(folder, error) from None


def _unwritable(folder: Path, error: OSError) -> CourseError:
    return CourseError(
        f"{folder} cannot be written: {error.strerror or error}.",
        "Make room or make it writable, or work in another copy of the course.",
    )


@dataclass
class Stop:
    """Which signal asked the run to end, if any."""

    number: int | None = None


@contextmanager
def _signals() -> Iterator[Stop]:
    """Note Ctrl-C and the system's requests to end instead of raising in the middle of something."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, _frame: Any) -> None:
        stop.number = stop.number or number

    wanted = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, note) for number in wanted}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _normal(options: Options) -> Options:
    """The options with the profile in its place, checked."""
    parameters = dict(options.parameters)
    profile = parameters.pop("profile", options.profile)
    if profile not in PROFILES:
        close = difflib.get_close_matches(profile, PROFILES, n=1)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        raise CourseError(f"There is no profile {profile!r}.", f"{hint}Choose one of {', '.join(PROFILES)}.")
    if options.jobs is not None and options.jobs < 1:
        raise CourseError(f"--jobs {options.jobs} leaves nobody to work.", "Use 1 or more.")
    if options.timeout is not None and options.timeout <= 0:
        raise CourseError(
            f"--timeout {options.timeout:g} leaves no time.", "Give the seconds that a notebook may take."
        )
    return replace(options, profile=profile, parameters=parameters)


def _declares(notebook: Notebook, name: str) -> bool:
    with suppress(CourseError):
        return name in notebook.parameters
    return False


def _text(notebook: Notebook) -> str:
    """The notebook without outputs, or nothing when it cannot be read."""
    with suppress(CourseError):
        node = copy.deepcopy(notebook.node)
        for cell in node.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        return nbformat.writes(node, version=4)
    return ""


def _changed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"changed: {shown}"
