"""The experiment store: trainings on disk, found again by what they were made from.

One file for each run. Its name is the hash of the experiment, of the data (every pixel) and of the code that trains
this network; comments, docstrings, layout and the texts of errors do not count. The device and the version of torch do
not count either, so that what a GPU has trained serves everywhere; they are kept, and shown.

A file is complete or not there, whatever is interrupted, and processes on several machines may share one folder. Locks
only save work: the operating system drops them with the process that holds them, however it ends, and where a file
system has none, two processes that train the same run both write the same record.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import os
import pickle
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar

import torch

from cnncourse.data.source import Dataset
from cnncourse.errors import CourseError
from cnncourse.models.registry import FAMILIES
from cnncourse.project import module_files
from cnncourse.training.evaluation import Evaluation
from cnncourse.training.experiment import Experiment, Run, fingerprint
from cnncourse.training.history import History

VARIABLE = "CNNCOURSE_STORE"
FORMAT = 1
DAY = 86400  # seconds
_SUFFIX = ".run"
# What decides the numbers of every training, besides the network and the augmentation; the rest of the package is about
# files, checks and pages.
_CODE = ("cnncourse.data.batches", *(f"cnncourse.training.{name}" for name in (
    "evaluation", "experiment", "history", "loop", "losses", "optimization", "placement", "stacked")))  # fmt: skip
T = TypeVar("T")


class DamagedRecord(CourseError):
    """A file of the store that is not what was written."""


@dataclass(frozen=True)
class Record:
    """One line of the store's list.

    Attributes
    ----------
    path : Path
    experiment : dict
        The configuration as plain values; empty when the file is damaged.
    about : dict of str to str
    outcome : str
        As in History, or 'damaged'.
    accuracy : float or None
        On the test part, 0 to 1.
    has_weights : bool
    bytes : int
    written : float
        Seconds since the epoch.
    current : bool
        Whether the code that trains is still the same; otherwise no notebook will find the record any more.
    """

    path: Path
    experiment: dict[str, Any]
    about: dict[str, str]
    outcome: str
    accuracy: float | None
    has_weights: bool
    bytes: int
    written: float
    current: bool

    @property
    def key(self) -> str:
        """Name of the record."""
        return self.path.stem


class Store:
    """A folder of finished trainings.

    Parameters
    ----------
    folder : Path
        Made when the first run is put in.

    Attributes
    ----------
    trained, reused : int
        How many runs this object has put in, and how many it has found.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder).expanduser().absolute()
        self.trained = 0
        self.reused = 0

    @staticmethod
    def key(experiment: Experiment, data: Dataset) -> str:
        """Name of the record of an experiment: 40 hexadecimal digits."""
        settings = experiment.to_dict()
        content = {"experiment": settings, "data": fingerprint(data), "code": code(settings), "format": FORMAT}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:40]

    def get(self, key: str, experiment: Experiment, *, weights: bool = False) -> Run | None:
        """The run under a key; None when there is none, or its `weights` are wanted and not there.

        A record that is damaged or cannot be read counts as none: a warning names it, and :meth:`put` replaces it.
        """
        try:
            content = _read(self._path(key))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except DamagedRecord as error:
            warnings.warn(f"{error.what} The run is trained anew.", stacklevel=2)
            return None
        if weights and content["weights"] is None:
            return None
        self.reused += 1
        evaluation = content["evaluation"] and Evaluation(**content["evaluation"])
        history = History(**content["history"])
        return Run(experiment, history, evaluation, content["weights"], content["about"], reused=True)

    def put(self, key: str, run: Run, *, force: bool = False) -> None:
        """Keep a run. A record under the same key is replaced in one step.

        Parameters
        ----------
        key : str
            As :meth:`key` returns it.
        run : Run
            With weights or without.
        force : bool
            Replace also a record that has weights by one that has none.

        Raises
        ------
        CourseError
            When the folder cannot be written.
        """
        self.trained += 1
        if run.weights is None and not force and self._has_weights(key):
            self.forget(key)
            return  # another process was faster, and has kept more
        buffer = io.BytesIO()
        result, settings = run.evaluation, run.experiment.to_dict()
        torch.save(
            {
                "experiment": settings,
                "code": code(settings),
                "history": run.history.to_dict(),
                "evaluation": result and {name: getattr(result, name) for name in Evaluation.__dataclass_fields__},
                "weights": run.weights,
                "about": run.about,
            },
            buffer,
        )
        payload = buffer.getvalue()
        path = self._path(key)
        with self._writing():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{key}.", delete=False) as draft:
                try:
                    draft.write(hashlib.sha256(payload).digest() + payload)
                    draft.flush()
                    os.fsync(draft.fileno())  # a full disk shows here at the latest, not after the rename
                    os.chmod(draft.name, 0o644)  # a temporary file is private; the store may be shared
                    os.replace(draft.name, path)
                except BaseException:
                    Path(draft.name).unlink(missing_ok=True)
                    raise
            self._checkpoint(key).unlink(missing_ok=True)

    @contextmanager
    def reserved(self, name: str) -> Iterator[None]:
        """Within, no other process trains what has this name: a key, or :meth:`stack_name`. Waits for the other.

        Raises
        ------
        CourseError
            When the folder cannot be written: before anything is trained in vain.
        """
        with self._writing():
            folder = self.folder / "locks"
            folder.mkdir(parents=True, exist_ok=True)
            try:
                # Closing the file gives the lock back.
                file = open(folder / name, "a")  # noqa: SIM115
            except PermissionError:
                if not (folder / name).exists():
                    raise
                file = None  # another user's lock: then two may train the same run
        if file is None:
            yield
            return
        with file:
            _lock(file)
            yield

    def resume(self, name: str, training: Callable[[Path], T], *, fresh: bool = False) -> T:
        """Train with a checkpoint, from which an interrupted training of this name goes on.

        Parameters
        ----------
        name : str
            A key, or :meth:`stack_name`.
        training : callable
            Gets the checkpoint's path. Called again without that file when it is damaged or was another training's.
        fresh : bool
            Begin anew in any case.

        Returns
        -------
        object
            What `training` returns.
        """
        path = self._checkpoint(name)
        if fresh:
            self.forget(name)
        try:
            return training(path)
        except CourseError as error:
            if str(path) not in error.what or not path.exists():
                raise
        self.forget(name)
        return training(path)

    def unfinished(self, name: str) -> bool:
        """Whether there is a checkpoint from which a training of this name would go on."""
        return self._checkpoint(name).exists()

    def forget(self, name: str) -> None:
        """Delete the checkpoint of this name, if there is one."""
        with self._writing():
            self._checkpoint(name).unlink(missing_ok=True)

    @staticmethod
    def stack_name(keys: Iterable[str]) -> str:
        """Name for runs that are trained together, from their keys."""
        return f"stack-{hashlib.sha256(' '.join(keys).encode()).hexdigest()[:34]}"

    def records(self) -> list[Record]:
        """All records, the latest first; damaged ones included."""
        found = []
        for path in self.folder.glob(f"??/[!.]*{_SUFFIX}"):
            with suppress(FileNotFoundError):  # another process has pruned it
                found.append(_record(path))
        return sorted(found, key=lambda record: record.written, reverse=True)

    def find(self, prefix: str) -> Record:
        """The record whose key begins so. CourseError when there is none, or more than one."""
        found = [record for record in self.records() if record.key.startswith(prefix)]
        if len(found) != 1:
            raise CourseError(
                f"{len(found) or 'No'} records of the store begin with {prefix!r}.", "See: cnncourse store list"
            )
        return found[0]

    def prune(self, *, older_than_days: float | None = None, everything: bool = False) -> list[Record]:
        """Delete records that no notebook can find any more (other code, damaged), and what was left behind.

        Drafts, locks and checkpoints of interrupted trainings go when they are a day old.

        Parameters
        ----------
        older_than_days : float, optional
            Delete those written longer ago, too.
        everything : bool
            Delete all records.

        Returns
        -------
        list of Record
            What was deleted.
        """
        now, gone = time.time(), []
        with self._writing():
            for record in self.records():
                age = (now - record.written) / DAY
                if everything or not record.current or (older_than_days is not None and age > older_than_days):
                    record.path.unlink(missing_ok=True)
                    gone.append(record)
            for left in [*self.folder.glob("??/.*"), *self.folder.glob("locks/*"), *self.folder.glob("unfinished/*")]:
                with suppress(FileNotFoundError):
                    if now - left.stat().st_mtime > DAY:
                        left.unlink()
        return gone

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r})"

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}{_SUFFIX}"

    def _checkpoint(self, name: str) -> Path:
        return self.folder / "unfinished" / f"{name}.pt"

    def _has_weights(self, key: str) -> bool:
        try:
            return _read(self._path(key))["weights"] is not None
        except (OSError, DamagedRecord):
            return False

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise CourseError(
                f"The experiment store {self.folder} cannot be written: {error.strerror or error}.",
                f"Make room on the disk, set {VARIABLE} to a folder where you may write, or to 'off'.",
            ) from error


def default_store() -> Store | None:
    """The store in the folder that the environment names, else in the user's cache; None when it says 'off'."""
    folder = os.environ.get(VARIABLE)
    if folder == "off":
        return None
    if not folder:
        from platformdirs import user_cache_path

        folder = user_cache_path("cnncourse", appauthor=False) / "store"
    return Store(folder)


def code(experiment: dict[str, Any]) -> str:
    """sha256 of the code that decides the outcome of an experiment (as :meth:`Experiment.to_dict` gives it).

    That is the modules of the training loop, the network's own with those it is built from, and the augmentation when
    there is any: a new network, or another one that is changed, leaves the records of this one valid.
    """
    return _code(experiment["model"], bool(experiment["augment"]))


@cache
def _code(model: str, augmented: bool) -> str:
    files = module_files()
    family = next((family for family, members in FAMILIES.items() if model in members), None)
    modules = {*_CODE, *_with_imports(f"cnncourse.models.{family}", files)}
    if augmented:
        modules.add("cnncourse.data.augment")
    digest = hashlib.sha256()
    for name in sorted(modules):
        digest.update(f"{name}\n{_statements(files[name].read_text(encoding='utf-8'))}\n".encode())
    return digest.hexdigest()


def _with_imports(module: str, files: dict[str, Path]) -> set[str]:
    """A module of cnncourse.models and all that it imports from there, directly or not."""
    found, waiting = set(), {module}
    while waiting:
        name = waiting.pop()
        if name not in files or not name.startswith("cnncourse.models.") or name in found:
            continue
        found.add(name)
        for node in ast.walk(ast.parse(files[name].read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                waiting |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                waiting |= {alias.name for alias in node.names}
    return found


def _statements(source: str) -> str:
    """Python code in a normal form, without comments and docstrings; of a ``raise`` only that there is one."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and _is_text(body[0].value):
            node.body = body[1:] or [ast.Pass()]
        if isinstance(node, ast.Raise):  # it ends the training: what it says is no part of any record
            node.exc = node.cause = None
    return ast.unparse(tree)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _lock(file: IO[str]) -> None:
    """Take the operating system's lock on an open file; say so once when another process has it."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    with suppress(OSError):  # a file system without locks
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            warnings.warn("Another process is training the same run: waiting for its outcome.", stacklevel=5)
            fcntl.flock(file, fcntl.LOCK_EX)


def _read(path: Path) -> dict[str, Any]:
    """What a record holds. Raises DamagedRecord, or FileNotFoundError and NotADirectoryError when there is none."""
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise DamagedRecord(f"The record {path} cannot be read: {error.strerror or error}.") from error
    digest, payload = data[:32], data[32:]
    if hashlib.sha256(payload).digest() != digest:
        raise DamagedRecord(f"The record {path} is damaged.", "Delete it: cnncourse store prune.")
    try:
        return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, KeyError, pickle.UnpicklingError, EOFError) as error:
        raise DamagedRecord(f"The record {path} cannot be read: {error}.", "Delete it.") from error


def _record(path: Path) -> Record:
    about = path.stat()
    try:
        content = _read(path)
    except DamagedRecord:
        return Record(path, {}, {}, "damaged", None, False, about.st_size, about.st_mtime, False)
    result = content["evaluation"]
    return Record(
        path,
        content["experiment"],
        content["about"],
        content["history"]["outcome"],
        result and result["accuracy"],
        content["weights"] is not None,
        about.st_size,
        about.st_mtime,
        content["code"] == code(content["experiment"]),
    )
