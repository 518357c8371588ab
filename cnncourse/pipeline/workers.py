"""Where the kernels run: workers of this machine, or those of a Dask cluster that somebody else has started."""

from __future__ import annotations

import logging
import queue
import signal
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from cnncourse.errors import CourseError
from cnncourse.pipeline import cache, kernel

if TYPE_CHECKING:
    from distributed import Client, Future

    from cnncourse.pipeline.execute import Execution, Task

MEMORY_SHARE = 0.9  # of the free memory, for all kernels of this machine together
CONNECT_TIMEOUT_S = 15
FIRST_WORKER_TIMEOUT_S = 600  # a batch system takes its time
# A worker that dies takes its notebook with it: a second try would most likely end the same way. Dask's own worker
# variables (one thread, eager trimming of the heap) are meant for its workers and would reach the kernels.
_CONFIG = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.nanny.pre-spawn-environ": {},
    "distributed.comm.timeouts.connect": "60s",
}


@dataclass
class Workers:
    """Workers that take tasks, seen from the client.

    Attributes
    ----------
    client : Client
    run : str
        Identifies the run.
    slots : int
        Tasks that can run at a time.
    memory : int, optional
        Bytes that one kernel may take; None leaves it to the worker.
    events : queue
        ``("progress", message)`` and ``("done", (label, execution or exception))``.
    """

    client: Client
    run: str
    slots: int
    memory: int | None
    events: queue.SimpleQueue = field(default_factory=queue.SimpleQueue)
    _futures: dict[str, Future] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.client.subscribe_topic(self.run, lambda event: self.events.put(("progress", event[1])))

    def submit(self, task: Task) -> None:
        """Start a task on a worker that is free."""
        from cnncourse.pipeline.execute import execute

        future = self.client.submit(execute, task, key=f"{task.label}-{self.run}", pure=False)
        self._futures[task.label] = future  # Dask drops a task that nobody holds a future of
        future.add_done_callback(lambda done: self.events.put(("done", (task.label, _result(done)))))

    def stop(self) -> None:
        """Ask all workers to kill this run's kernels. Does not wait: a worker may hang."""
        from cnncourse.pipeline.execute import stop

        def ask() -> None:
            with suppress(Exception):
                self.client.run(stop, self.run, on_error="ignore")

        threading.Thread(target=ask, daemon=True).start()


def _result(future: Future) -> Execution | BaseException:
    try:
        return future.result()
    except BaseException as error:  # KilledWorker, CancelledError, a lost connection
        return error


class Local:
    """Worker processes of this machine, started when there is something to execute.

    Parameters
    ----------
    jobs : int
        Notebooks at a time. The threads of a kernel follow from it, not from the number of notebooks that happen to
        be selected: a different number of threads gives different digits.
    memory : int, optional
        Bytes that one kernel may take; by default an equal share of what is free.
    """

    def __init__(self, jobs: int, memory: int | None):
        self.jobs = jobs
        self.memory = memory
        self.threads = max(1, kernel.cores() // jobs)
        self._known: dict[str, cache.Surroundings] = {}

    def surroundings(self, device: str) -> cache.Surroundings:
        if device not in self._known:
            self._known[device] = cache.surroundings(device)
        return self._known[device]

    def current(self, used: cache.Used) -> cache.Used:
        return cache.current(used)

    @contextmanager
    def workers(self, tasks: int) -> Iterator[Workers]:
        import dask
        from distributed import Client, LocalCluster

        run, number = uuid.uuid4().hex[:8], min(self.jobs, tasks)
        memory = self.memory or int(MEMORY_SHARE * kernel.available_memory() / number)
        with kernel.run_folder(run) as folder, dask.config.set(_CONFIG | {"temporary-directory": str(folder)}):
            with _children_without_interrupts():
                cluster = LocalCluster(
                    n_workers=number,
                    threads_per_worker=1,
                    processes=True,
                    scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
                    memory_limit=0,  # Dask sees the worker's memory, not the kernel's
                    silence_logs=logging.CRITICAL,
                )
            with cluster, Client(cluster) as client:
                yield from _closing(Workers(client, run, number, memory))


class Cluster:
    """The workers of a running Dask cluster. They need the same cnncourse, but no common file system.

    Parameters
    ----------
    address : str
        Of the scheduler, for instance ``tcp://10.0.0.5:8786``.
    jobs : int, optional
        Notebooks at a time; by default as many as Dask finds room for.
    memory : int, optional
        Bytes that one kernel may take; by default what is free where it starts.
    """

    def __init__(self, client: Client, jobs: int | None, memory: int | None):
        self.client = client
        self.jobs = jobs
        self.memory = memory
        self._known: dict[str, cache.Surroundings] = {}
        here = cache.surroundings("cpu")
        there = self.surroundings("auto")
        if here.course != there.course:
            raise CourseError(
                f"The workers of {client.scheduler.address} have another cnncourse than this machine.",
                "Install the same version there, with the same results and ledger, and restart the workers.",
            )
        # Notebooks that Dask runs side by side on one host share its cores.
        busy: dict[str, int] = {}
        for worker in client.scheduler_info(n_workers=-1)["workers"].values():
            busy[worker["host"]] = busy.get(worker["host"], 0) + worker["nthreads"]
        self.threads = max(1, there.cores // max(busy.values(), default=1))

    def surroundings(self, device: str) -> cache.Surroundings:
        """What the workers contribute; where they differ, all of it."""
        if device not in self._known:
            # A cluster that grows with its work has no worker yet: give it some work.
            self._ask(cache.surroundings, device)
            answers = list(self.client.run(cache.surroundings, device).values())
            self._known[device] = _joined(answers)
        return self._known[device]

    def current(self, used: cache.Used) -> cache.Used:
        return self._ask(cache.current, used)

    def _ask(self, function, argument):
        from dask.utils import funcname

        future = self.client.submit(function, argument, pure=False, key=f"{funcname(function)}-{uuid.uuid4().hex}")
        try:
            return future.result(timeout=FIRST_WORKER_TIMEOUT_S)
        except TimeoutError:
            raise CourseError(
                f"No worker of {self.client.scheduler.address} answered within {FIRST_WORKER_TIMEOUT_S} s.",
                "Start workers: dask worker ADDRESS --nthreads 1",
            ) from None

    @contextmanager
    def workers(self, tasks: int) -> Iterator[Workers]:
        yield from _closing(Workers(self.client, uuid.uuid4().hex[:8], self.jobs or tasks, self.memory))


def _joined(answers: list[cache.Surroundings]) -> cache.Surroundings:
    def join(name: str) -> Any:
        values = list(dict.fromkeys(getattr(answer, name) for answer in answers))
        if len(values) == 1:
            return values[0]
        return " | ".join(sorted(values)) if isinstance(values[0], str) else min(values)

    return cache.Surroundings(**{item.name: join(item.name) for item in fields(cache.Surroundings)})


def _closing(workers: Workers) -> Iterator[Workers]:
    try:
        yield workers
    except BaseException:
        workers.stop()
        raise


@contextmanager
def place(
    profile: str, jobs: int | None = None, memory: str | None = None, scheduler: str | None = None
) -> Iterator[Local | Cluster]:
    """Where to execute: the cluster at an address, or this machine."""
    limit = kernel.parse_memory(memory) if memory else None
    if not scheduler:
        # Smoke notebooks compute with one thread each; larger ones use all cores, one after the other.
        yield Local(jobs or (kernel.cores() if profile == "smoke" else 1), limit)
        return
    from distributed import Client

    try:
        client = Client(scheduler, timeout=CONNECT_TIMEOUT_S)
    except (OSError, ValueError, TimeoutError) as error:
        raise CourseError(
            f"No Dask scheduler answers at {scheduler!r}: {error}",
            "Check the address that `dask scheduler` printed; it starts with tcp:// or tls://.",
        ) from None
    with client:
        yield Cluster(client, jobs, limit)


@contextmanager
def _children_without_interrupts() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: they have to report how their kernels were stopped.

    A blocked signal stays blocked in threads and processes that are started meanwhile; one that is pressed in here
    arrives at the end.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # whoever starts it later unblocks the signal as a side effect
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
