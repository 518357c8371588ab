"""How a kernel of the pipeline is started, watched and stopped.

Kernels talk over Unix sockets, each with names of its own: over TCP two kernels that start at the same moment can pick
the same port (papermill issue 511). All files of a run lie in one private folder, which goes when the run ends; what a
killed run left behind goes at the next start.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import psutil

from cnncourse.data.root import VARIABLE as DATA_VARIABLE
from cnncourse.data.root import data_root
from cnncourse.errors import CourseError
from cnncourse.session import RESULTS_VARIABLE

try:
    import fcntl
except ImportError:  # Windows: no Unix sockets either
    fcntl = None

_PREFIX = "cnncourse-run-"
_SOCKET_PATH_BYTES = 103  # the shortest limit of a socket's path (macOS), without the closing zero
_THREADS = ("OMP", "MKL", "OPENBLAS", "NUMEXPR")

Reason = Literal["timeout", "memory", "interrupted"]


@contextmanager
def run_folder(run: str) -> Iterator[Path]:
    """The private folder of a run on this machine, shared by its processes, gone after the last of them.

    Raises
    ------
    CourseError
        When the system's temporary folder cannot be written.
    """
    remove_stale_folders()
    folder = _temporary() / f"{_PREFIX}{run}"
    try:
        handle = _hold(folder)
    except OSError as error:
        raise CourseError(
            f"No folder for kernels can be made: {error}", "Free some space there, or set TMPDIR to another folder."
        ) from None
    try:
        yield folder
    finally:
        if handle is not None:
            os.close(handle)
        _remove_unless_held(folder)


def remove_stale_folders() -> None:
    """Remove the folders of runs whose processes are gone."""
    for folder in _temporary().glob(f"{_PREFIX}*"):
        try:
            mine = not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
        except OSError:
            continue
        if mine:
            _remove_unless_held(folder)


def _hold(folder: Path) -> int | None:
    """Make the folder and hold a shared lock on it. The system drops the lock with the process, however that ends."""
    while True:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if fcntl is None:
            return None
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue
        fcntl.flock(handle, fcntl.LOCK_SH)
        with suppress(OSError):
            if os.path.samestat(os.fstat(handle), folder.stat()):
                return handle
        os.close(handle)  # somebody removed it between the two lines above


def _remove_unless_held(folder: Path) -> None:
    """Remove the folder of a run with all that is left of the run, if no process of it is alive."""
    if fcntl is None:
        shutil.rmtree(folder, ignore_errors=True)
        return
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return
    else:
        _kill_orphans(folder)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


def _kill_orphans(folder: Path) -> None:
    """Kill kernels that outlived their worker: one that is busy in C code does not notice."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(part.startswith(f"{folder}{os.sep}") for part in process.cmdline()) and process.pid != os.getpid():
                process.kill()


def _temporary() -> Path:
    """The system's temporary folder, or /tmp where that path is too long for a socket's name."""
    folder = Path(tempfile.gettempdir())
    short = Path("/tmp")
    longest = len(os.fsencode(folder / f"{_PREFIX}12345678" / "12345678" / "k-ipc-5"))
    return short if longest > _SOCKET_PATH_BYTES and os.access(short, os.W_OK) else folder


def transport(folder: Path) -> Literal["ipc", "tcp"]:
    """``ipc`` where a kernel in `folder` can use Unix sockets."""
    possible = hasattr(socket, "AF_UNIX") and os.name == "posix"
    return "ipc" if possible and len(os.fsencode(folder / "k-ipc-5")) <= _SOCKET_PATH_BYTES else "tcp"


def manager(folder: Path):
    """A manager for one new kernel of this very Python, with its files in `folder` (which must be the kernel's own).

    A kernel spec of the user with the same name, for another Python, is not looked at.
    """
    from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from traitlets.config import Config

    config = Config()
    config.KernelManager.transport = transport(folder)
    config.KernelManager.connection_file = str(folder / "k.json")  # sockets are named after it: k-ipc-1 ...
    specs = KernelSpecManager(kernel_dirs=[])
    return AsyncKernelManager(config=config, kernel_name=NATIVE_KERNEL_NAME, kernel_spec_manager=specs)


def environment(folder: Path, threads: int, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Environment variables of a kernel whose files lie in `folder`.

    `threads` is its share of the cores: two kernels with two threads each on two cores take three times as long as
    one after the other.
    """
    environment = dict(os.environ if base is None else base)
    environment |= {f"{library}_NUM_THREADS": str(threads) for library in _THREADS}
    environment |= {
        RESULTS_VARIABLE: str(folder / "results.json"),
        DATA_VARIABLE: str(data_root()),  # a relative path would count from the notebook's folder
        "PYTHONHASHSEED": "0",
        "IPYTHONDIR": str(folder / "ipython"),  # a user's start-up files are not part of the course
    }
    return environment


def make_folder(run: Path) -> Path:
    """A new folder for one kernel; the name is short because socket paths are limited."""
    folder = run / uuid.uuid4().hex[:8]
    folder.mkdir(mode=0o700)
    return folder


class Watch(threading.Thread):
    """Kills a kernel that takes too long or too much memory, or that is no longer wanted, and says why.

    Dask watches its own workers' memory, not that of a kernel, and papermill limits single cells, not the notebook.

    Parameters
    ----------
    process : subprocess.Popen
        The kernel.
    timeout : float
        Seconds from now.
    memory : int
        Bytes that the kernel and its children may hold together (resident set).
    stop : threading.Event
        Set by whoever wants the kernel gone.
    """

    def __init__(
        self, process: subprocess.Popen, timeout: float, memory: int, stop: threading.Event, interval: float = 0.2
    ):
        super().__init__(name=f"watch-{process.pid}", daemon=True)
        self.process = process
        self.timeout = timeout
        self.memory = memory
        self.stop = stop
        self.interval = interval
        self.reason: Reason | None = None
        self.peak = 0  # bytes
        self._family: set[psutil.Process] = set()  # everybody seen, also who has left the kernel's process group
        self._ended = threading.Event()

    def run(self) -> None:
        deadline = time.monotonic() + self.timeout
        while not self._ended.is_set() and self.process.poll() is None:
            self.peak = max(self.peak, sum(map(_memory, self.note_family())))
            if self.stop.is_set():
                self.reason = "interrupted"
            elif self.peak > self.memory:
                self.reason = "memory"
            elif time.monotonic() > deadline:
                self.reason = "timeout"
            if self.reason:
                self._kill()
                return
            self.stop.wait(self.interval)

    def note_family(self) -> list[psutil.Process]:
        """The kernel and its descendants of this moment."""
        try:
            kernel = psutil.Process(self.process.pid)
            family = [kernel, *kernel.children(recursive=True)]
        except psutil.Error:
            return []
        self._family.update(family)
        return family

    def end(self) -> None:
        """Stop watching, and kill what the kernel left running."""
        self._ended.set()
        self._kill()
        self.join()

    def _kill(self) -> None:
        """Kill the kernel and everything it started."""
        self.note_family()  # before: nobody is the parent of orphans
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)  # a kernel leads a process group of its own
        for process in list(self._family):
            with suppress(psutil.Error):  # psutil makes sure that it is still the same process
                process.kill()


def _memory(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def first_to_go(pid: int) -> None:
    """Ask Linux to sacrifice the kernel first where memory runs out, not the worker that reports on it."""
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text("1000")


def cores() -> int:
    """Processors that this process may use, affinity and container limits considered."""
    from dask.system import CPU_COUNT

    return CPU_COUNT


def available_memory() -> int:
    """Bytes of memory that are free now, container limits considered."""
    from distributed.system import MEMORY_LIMIT

    return min(psutil.virtual_memory().available, MEMORY_LIMIT)


def parse_memory(text: str) -> int:
    """Bytes from ``8GB``, ``512 MiB`` or ``50%`` (of what is free now). Raises CourseError for anything else."""
    from dask.utils import parse_bytes

    try:
        if text.strip().endswith("%"):
            number = int(available_memory() * float(text.strip().rstrip("%")) / 100)
        else:
            number = parse_bytes(text) if text.strip()[:1].isdigit() else 0
    except ValueError:
        number = 0
    if number < 1:
        raise CourseError(f"{text!r} is no amount of memory.", "Write for instance --memory 4GB or --memory 50%.")
    return number


def describe_exit(process: subprocess.Popen) -> str:
    """How a dead kernel ended, as far as its exit status tells."""
    code = process.poll()
    if code is None or code >= 0:
        return "" if code is None else f" (exit status {code})"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    hint = ": perhaps the system ran out of memory" if name == "SIGKILL" else ""
    return f" (signal {-code}, {name}){hint}"
