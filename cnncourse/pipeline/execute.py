"""Executing one notebook with papermill, on whatever machine a Dask worker runs.

Nothing here assumes that client and worker share a file system: a :class:`Task` goes in, an :class:`Execution` comes
out. papermill calls a notebook complete whose kernel died or timed out; the verdict here is our own.
"""

from __future__ import annotations

import ast
import json
import logging
import re
import threading
import time
import traceback
from collections import defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import nbformat
from nbclient.exceptions import DeadKernelError
from nbformat import NotebookNode
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.execute import execute_notebook, remove_error_markers

from cnncourse.pipeline import cache, kernel

ENGINE = "cnncourse"
START_TIMEOUT_S = 120
STARTS = 3  # a kernel that does not come up is started again; one that ran a cell is not
IOPUB_TIMEOUT_S = 60  # papermill's 4 s are short for a cell with large outputs on a busy machine
LOG_BYTES = 200_000

Status = Literal["ok", "failed", "killed", "timeout", "memory", "interrupted", "not run"]
Report = Callable[[dict[str, Any]], None]

_stops: dict[str, threading.Event] = defaultdict(threading.Event)  # of this process, by run


@dataclass(frozen=True)
class Task:
    """One notebook to execute.

    Attributes
    ----------
    run : str
        Identifies the run that the task is part of, for :func:`stop`.
    name : str
        Stem of the notebook.
    label : str
        What to call the task in reports: several tasks of a run may execute one notebook.
    notebook : str
        Its content (JSON).
    parameters : dict
        The values that differ from the notebook's defaults.
    profile : str
        What the notebook's session has to say, too.
    folder : str
        Working directory of the kernel, where it exists on the worker.
    timeout : float
        Seconds for the whole notebook.
    threads : int
        Threads of the kernel's libraries.
    memory : int, optional
        Bytes that the kernel may take; by default nine tenths of what is free when it starts.
    lease : bool
        Whether to wait for the machine's accelerator token.
    """

    run: str
    name: str
    label: str
    notebook: str
    parameters: dict[str, Any]
    profile: str
    folder: str
    timeout: float
    threads: int
    memory: int | None = None
    lease: bool = False


@dataclass
class Execution:
    """What came of a task.

    Attributes
    ----------
    status : str
        'ok', or how it failed.
    reason : str
        Why it failed, as a sentence; empty when it did not.
    cell : int, optional
        Number of the failing cell in the source notebook, from 1.
    notebook : str
        The executed notebook (JSON); a part of it when the execution failed.
    results : str, optional
        Text of the results file, when the notebook wrote one.
    log : str
        What went wrong in full, and what the kernel process printed.
    seconds : float
        Wall time, kernel start included.
    used : Used, optional
        What the kernel had loaded and read when it ended.
    peak : int
        Most bytes of memory that the kernel took.
    """

    status: Status
    reason: str = ""
    cell: int | None = None
    notebook: str = ""
    results: str | None = None
    log: str = ""
    seconds: float = 0.0
    used: cache.Used | None = None
    peak: int = 0


def stop(run: str) -> None:
    """Kill the kernels of a run on this worker, and start no more of them."""
    _stops[run].set()


def execute(task: Task, report: Report | None = None) -> Execution:
    """Execute a notebook in a kernel of its own. Never raises for what a notebook does.

    Parameters
    ----------
    task : Task
        The notebook, its parameters and its limits.
    report : callable, optional
        Called with the progress; by default it goes to the client as Dask events on the topic `task.run`.
    """
    report = report or _dask_report(task.run)
    began = time.monotonic()
    attempt = _Attempt(task, report)
    with kernel.run_folder(task.run) as folder:
        try:
            with _lease(task, attempt, report):
                began = time.monotonic()  # waiting for the accelerator is no work
                execution = attempt.run(folder)
        except _Interrupted:
            execution = attempt.outcome("not run", "The run was interrupted before.")
        except Exception as error:
            attempt.detail = traceback.format_exc()
            execution = attempt.outcome("failed", f"{type(error).__name__}: {error}")
    execution.seconds = time.monotonic() - began
    return execution


class _Interrupted(Exception):
    pass


@dataclass
class _Attempt:
    """The state of one execution, shared with the papermill engine."""

    task: Task
    report: Report
    node: NotebookNode | None = None
    watch: kernel.Watch | None = None
    position: int | None = None  # index of the cell that was started last
    answer: dict[str, Any] | None = None  # what the kernel said when all cells had run
    detail: str = ""
    files: Path | None = None
    process_log: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def stopped(self) -> threading.Event:
        return _stops[self.task.run]

    def run(self, folder: Path) -> Execution:
        hashes = cache.module_hashes()  # before the kernel imports anything: a file edited meanwhile counts as changed
        for start in range(1, STARTS + 1):
            if self.stopped.is_set():
                raise _Interrupted
            self.files = kernel.make_folder(folder)
            self.environment = kernel.environment(self.files, self.task.threads)
            error = self._papermill()
            self.process_log = _tail(self.files / "kernel.log")
            started = self.position is not None or (self.watch and self.watch.reason)
            if error is None or started or start == STARTS:
                break
            self.report({"name": self.task.label, "event": "again"})
        return self._judge(error, hashes)

    def _papermill(self) -> Exception | None:
        """Run all cells; the error that papermill raised, if any."""
        notebook = nbformat.reads(self.task.notebook, as_version=4)
        with (self.files / "kernel.log").open("w") as log, _logger(self.files / "kernel.log") as logger:
            try:
                execute_notebook(
                    notebook,
                    None,
                    self.task.parameters,
                    engine_name=ENGINE,
                    kernel_name="python3",
                    language="python",
                    progress_bar=False,
                    start_timeout=START_TIMEOUT_S,
                    attempt=self,
                    output=log,
                    logger=logger,
                )
            except Exception as error:
                self.detail = traceback.format_exc()
                return error
            finally:
                if self.watch:
                    self.watch.end()
        return None

    def _judge(self, error: Exception | None, hashes: dict[str, str]) -> Execution:
        watch, task = self.watch, self.task
        if watch and watch.reason:
            self.detail, limit = "", watch.memory
            why = {
                "timeout": f"It ran longer than {task.timeout:g} s (--timeout) and was stopped.",
                "memory": f"Its kernel took {watch.peak / 1e9:.2f} GB, more than the {limit / 1e9:.2f} GB it may"
                " (--memory), and was killed.",
                "interrupted": "The run was interrupted.",
            }
            return self.outcome(watch.reason, why[watch.reason], self.position)
        failed = self._failed_cell()
        if failed is not None:
            index, output = failed
            name, value = (output.ename, output.evalue) if output else ("Error", "the cell could not be executed")
            self.detail = "\n".join(output.traceback) if output else self.detail
            return self.outcome("failed", f"{name}: {_first_line(value)}".rstrip(": "), index)
        # papermill also objects to errors that a cell tagged raises-exception shows on purpose.
        if error is not None and not isinstance(error, PapermillExecutionError):
            if watch and (isinstance(error, DeadKernelError) or watch.process.poll() is not None):
                self.detail = ""
                return self.outcome("killed", f"Its kernel died{kernel.describe_exit(watch.process)}.", self.position)
            # What is left are the tools' own errors: a kernel that does not come up, a lost connection.
            return self.outcome("failed", f"{type(error).__name__}: {_first_line(error)}", self.position)
        self.node = remove_error_markers(self.node)
        missing = [i for i, cell in enumerate(self.node.cells) if _should_run(cell) and cell.execution_count is None]
        if missing or self.answer is None:
            return self.outcome("failed", "Not all cells were executed.", missing[0] if missing else None)
        if complaint := self._session_complaint():
            return self.outcome("failed", complaint)
        result = self.outcome("ok", "")
        result.used = cache.Used(
            modules={name: hashes.get(name, cache.MISSING) for name in (*self.answer["modules"], "package files")},
            reads=self.answer["reads"],
            data=cache.data_used(self.answer["sources"], task.profile),
        )
        results = self.files / "results.json"
        result.results = results.read_text(encoding="utf-8") if results.is_file() else None
        return result

    def _session_complaint(self) -> str:
        answer, task = self.answer, self.task
        if not answer["started"]:
            return ""
        if not answer["finished"]:
            return "It started a session but its last cell does not call run.finish()."
        if answer["notebook"] != task.name:
            return f"It calls itself {answer['notebook']!r} in cnncourse.start(notebook=...), but is {task.name!r}."
        if answer["profile"] != task.profile:
            wrong = answer["profile"]
            return f"It ran profile {wrong!r} instead of {task.profile!r}: pass `profile` to cnncourse.start."
        return ""

    def _failed_cell(self) -> tuple[int, NotebookNode | None] | None:
        for index, cell in enumerate(self.node.cells if self.node else ()):
            if cell.get("metadata", {}).get("papermill", {}).get("exception") is True:
                errors = [output for output in cell.get("outputs", ()) if output.output_type == "error"]
                return index, errors[-1] if errors else None
        return None

    def outcome(self, status: Status, reason: str, index: int | None = None) -> Execution:
        """The execution so far; `index` is that of the failing cell in the executed notebook."""
        node, number, where = self.node, None, ""
        if node is None:
            node = nbformat.reads(self.task.notebook, as_version=4)
        elif index is not None:
            number = _source_number(node, index)
            where = f"in cell {number}: {_first_line(node.cells[index].source)}"
        if status != "ok" and self.node is not None:
            _mark_failed(node, index)
        log = ""
        if status != "ok":
            parts = [f"{self.task.label}: {status}", reason, where, _plain(self.detail), self.process_log]
            log = "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"
        return Execution(
            status=status,
            reason=reason,
            cell=number,
            notebook=nbformat.writes(node, version=4),
            log=log,
            peak=self.watch.peak if self.watch else 0,
        )


# Runs in the kernel after the last cell, silently; the kernel ends right after.
_QUESTION = """
def _cnncourse_answer():
    import json, sys
    session = getattr(sys.modules.get("cnncourse.session"), "current", lambda: None)()
    answer = {
        "modules": sorted(name for name in sys.modules if name == "cnncourse" or name.startswith("cnncourse.")),
        "started": session is not None, "reads": {}, "sources": [],
    }
    if session is not None:
        answer.update(
            finished=session.finished, notebook=session.notebook, profile=session.profile, reads=session.reads,
            sources=[{"name": s.name, "kind": s.kind, "sha256": s.sha256} for s in session.sources],
        )
    return json.dumps(answer)
"""


class _Client(PapermillNotebookClient):
    """papermill's client with a watched kernel, which is asked in the end what it used."""

    def __init__(self, *args: Any, attempt: _Attempt, **kwargs: Any):
        super().__init__(*args, on_cell_start=self._cell_starts, iopub_timeout=IOPUB_TIMEOUT_S, **kwargs)
        self.attempt = attempt

    def start_new_kernel(self, **kwargs: Any) -> None:
        task = self.attempt.task
        super().start_new_kernel(**kwargs)
        process = self.km.provisioner.process
        kernel.first_to_go(process.pid)
        memory = task.memory or int(0.9 * kernel.available_memory())
        self.attempt.watch = kernel.Watch(process, task.timeout, memory, self.attempt.stopped)
        self.attempt.watch.start()

    def _cell_starts(self, cell: NotebookNode, cell_index: int) -> None:
        self.attempt.position = cell_index
        task = self.attempt.task
        self.attempt.report(
            {"name": task.label, "event": "cell", "cell": _source_number(self.nb, cell_index), "of": _count(self.nb)}
        )

    def papermill_execute_cells(self) -> None:
        super().papermill_execute_cells()
        self.attempt.watch.note_family()
        if self.attempt._failed_cell() is None:
            self.attempt.answer = self._ask()

    def _ask(self) -> dict[str, Any]:
        expressions = {"answer": "_cnncourse_answer()"}
        message = self.kc.execute(_QUESTION, silent=True, store_history=False, user_expressions=expressions)
        reply = self.wait_for_reply(message)["content"]["user_expressions"]["answer"]
        if reply["status"] != "ok":
            raise RuntimeError(f"the session cannot be read: {reply.get('ename')}: {reply.get('evalue')}")
        return json.loads(ast.literal_eval(reply["data"]["text/plain"]))


class CourseEngine(NBClientEngine):
    """papermill engine: the kernel of :mod:`cnncourse.pipeline.kernel` in place of the default one."""

    @classmethod
    def execute_managed_notebook(
        cls, nb_man, kernel_name, *, attempt: _Attempt, output, logger, start_timeout: int, **_: Any
    ) -> None:
        attempt.node = nb_man.nb
        folder = attempt.task.folder if Path(attempt.task.folder).is_dir() else str(attempt.files)
        client = _Client(
            nb_man,
            km=kernel.manager(attempt.files),
            attempt=attempt,
            startup_timeout=start_timeout,
            timeout=None,
            log=logger,
        )
        # The folder goes to the kernel alone: papermill's own `cwd` changes that of the whole process.
        client.execute(cleanup_kc=True, env=attempt.environment, cwd=folder, stdout=output, stderr=output)


papermill_engines.register(ENGINE, CourseEngine)


def _dask_report(run: str) -> Report:
    from distributed import get_worker

    worker = get_worker()
    return lambda message: worker.log_event(run, message)


@contextmanager
def _lease(task: Task, attempt: _Attempt, report: Report):
    """Hold this machine's accelerator token. Worker resources would give one to each worker."""
    if not task.lease:
        yield
        return
    import socket

    from distributed import Semaphore

    token = Semaphore(max_leases=1, name=f"gpu-{socket.gethostname()}")
    waiting = False
    while not token.acquire(timeout=1):
        if attempt.stopped.is_set():
            raise _Interrupted
        if not waiting:
            report({"name": task.label, "event": "waiting"})
            waiting = True
    try:
        yield
    finally:
        token.release()


@contextmanager
def _logger(path: Path):
    """A logger for nbclient that writes into the kernel's log instead of the terminal."""
    logger = logging.getLogger(f"cnncourse.kernel.{path.parent.name}")
    handler = logging.FileHandler(path, mode="a")
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield logger
    finally:
        logger.removeHandler(handler)
        handler.close()


def _mark_failed(node: NotebookNode, index: int | None) -> None:
    """Undo papermill's claim that an execution which ended early was complete."""
    node.metadata.papermill["exception"] = True
    for i, cell in enumerate(node.cells):
        state = cell.metadata.get("papermill")
        if not state:
            continue
        if i == index:
            state.update(status="failed", exception=True)
        elif state.get("start_time") is None:
            state.update(status="pending", exception=None)


def _should_run(cell: NotebookNode) -> bool:
    skipped = "skip-execution" in cell.metadata.get("tags", [])
    return cell.cell_type == "code" and bool(cell.source.strip()) and not skipped


def _is_ours(cell: NotebookNode) -> bool:
    """Whether a cell comes from the source notebook, not from papermill."""
    return not {cache.INJECTED, "papermill-error-cell-tag"} & set(cell.metadata.get("tags", []))


def _source_number(node: NotebookNode, index: int) -> int:
    """Number, from 1, of a cell of the executed notebook in the source notebook."""
    return max(1, sum(_is_ours(cell) for cell in node.cells[: index + 1]))


def _count(node: NotebookNode) -> int:
    return sum(_is_ours(cell) for cell in node.cells)


def _first_line(text: Any) -> str:
    lines = str(text).strip().splitlines() or [""]
    return lines[0][:200]


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _tail(path: Path) -> str:
    try:
        return path.read_bytes()[-LOG_BYTES:].decode(errors="replace")
    except OSError:
        return ""
