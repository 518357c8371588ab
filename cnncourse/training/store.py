"""The experiment store: trainings on disk, found again by what they were made from.

One file for each run. Its name is the hash of the experiment, of the data (every pixel) and of the code that trains:
comments, docstrings and layout of the code do not count. The device does not count either; it is kept, and shown.
A file is complete or not there, whatever is interrupted, and processes on several machines may share one folder.
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
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from cnncourse.data.source import Dataset
from cnncourse.errors import CourseError
from cnncourse.project import module_files
from cnncourse.training.evaluation import Evaluation
from cnncourse.training.experiment import Experiment, Run, fingerprint
from cnncourse.training.history import History

VARIABLE = "CNNCOURSE_STORE"
FORMAT = 1
_SUFFIX = ".run"
# What decides the numbers of a training; the rest of the package is about files, checks and pages.
_CODE = ("cnncourse.models.", "cnncourse.data.batches", "cnncourse.data.augment", "cnncourse.training.loop",
         "cnncourse.training.losses", "cnncourse.training.placement", "cnncourse.training.evaluation",
         "cnncourse.training.experiment", "cnncourse.training.stacked")  # fmt: skip


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
        content = {"experiment": experiment.to_dict(), "data": fingerprint(data), "code": code(), "format": FORMAT}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:40]

    def get(self, key: str, experiment: Experiment, *, weights: bool = False) -> Run | None:
        """The run under a key; None when there is none, it is damaged, or its `weights` are wanted and not there."""
        path = self._path(key)
        try:
            content = _read(path)
        except FileNotFoundError:
            return None
        except DamagedRecord:
            path.unlink(missing_ok=True)
            return None
        if weights and content["weights"] is None:
            return None
        self.reused += 1
        evaluation = content["evaluation"] and Evaluation(**content["evaluation"])
        history = History(**content["history"])
        return Run(experiment, history, evaluation, content["weights"], content["about"], reused=True)

    def put(self, key: str, run: Run) -> None:
        """Keep a run. A record under the same key is replaced in one step.

        Raises
        ------
        CourseError
            When the folder cannot be written.
        """
        buffer = io.BytesIO()
        result = run.evaluation
        torch.save(
            {
                "experiment": run.experiment.to_dict(),
                "code": code(),
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
                    os.fsync(draft.fileno())
                    os.replace(draft.name, path)
                except BaseException:
                    Path(draft.name).unlink(missing_ok=True)
                    raise
            self.checkpoint(key).unlink(missing_ok=True)
        self.trained += 1

    @contextmanager
    def reserved(self, key: str) -> Iterator[None]:
        """Within, no other process on this machine trains the same run.

        The operating system gives the lock back when its holder ends, however it ends. Where a file system has no
        locks, two processes may train the same run; both write the same record.
        """
        try:
            import fcntl
        except ImportError:  # Windows
            yield
            return
        with self._writing():
            folder = self.folder / "locks"
            folder.mkdir(parents=True, exist_ok=True)
            file = open(folder / key, "w")  # noqa: SIM115, closed below: closing gives the lock back
        try:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            file.close()

    def checkpoint(self, key: str, *, fresh: bool = False) -> Path:
        """File from which an interrupted training of this run goes on; `fresh`: forget what is in it."""
        path = self.folder / "unfinished" / f"{key}.pt"
        if fresh:
            with self._writing():
                path.unlink(missing_ok=True)
        return path

    @staticmethod
    def discard_damaged(checkpoint: Path, error: CourseError) -> bool:
        """Whether `error` is about this checkpoint; then it is deleted, and the training can begin anew."""
        if str(checkpoint) not in error.what or not checkpoint.exists():
            return False
        checkpoint.unlink()
        return True

    def records(self) -> list[Record]:
        """All records, the latest first; damaged ones included."""
        paths = [path for path in self.folder.glob(f"??/*{_SUFFIX}") if not path.name.startswith(".")]
        dated = []
        for path in paths:
            try:
                dated.append((path.stat().st_mtime, path))
            except FileNotFoundError:  # another process has pruned it
                continue
        return [_record(path) for _, path in sorted(dated, reverse=True)]

    def find(self, prefix: str) -> Record:
        """The record whose key begins so. CourseError when there is none, or more than one."""
        found = [record for record in self.records() if record.key.startswith(prefix)]
        if len(found) != 1:
            raise CourseError(
                f"{len(found) or 'No'} records of the store begin with {prefix!r}.", "See: cnncourse store list"
            )
        return found[0]

    def prune(self, *, older_than_days: float | None = None, everything: bool = False) -> list[Record]:
        """Delete records that no notebook can find any more (other code, damaged), and drafts that were left behind.

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
                age = (now - record.path.stat().st_mtime) / 86400
                if everything or not record.current or (older_than_days is not None and age > older_than_days):
                    record.path.unlink(missing_ok=True)
                    gone.append(record)
            for left in [*self.folder.glob("??/.*"), *self.folder.glob("locks/*"), *self.folder.glob("unfinished/*")]:
                if now - left.stat().st_mtime > 86400:
                    left.unlink(missing_ok=True)
        return gone

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r})"

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}{_SUFFIX}"

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


@cache
def code() -> str:
    """sha256 of the modules that decide the numbers of a training, without comments, docstrings and layout."""
    digest = hashlib.sha256()
    for name, path in sorted(module_files().items()):
        if name.startswith(_CODE):
            digest.update(f"{name}\n{_statements(path.read_text(encoding='utf-8'))}\n".encode())
    return digest.hexdigest()


def _statements(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr) and _is_text(body[0].value):
            node.body = body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _read(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    digest, payload = data[:32], data[32:]
    if hashlib.sha256(payload).digest() != digest:
        raise DamagedRecord(f"The record {path} is damaged.", "Delete it: cnncourse store prune.")
    try:
        return torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise DamagedRecord(f"The record {path} cannot be read: {error}.", "Delete it.") from error


def _record(path: Path) -> Record:
    size = path.stat().st_size
    try:
        content = _read(path)
    except DamagedRecord:
        return Record(path, {}, {}, "damaged", None, False, size, False)
    result = content["evaluation"]
    return Record(
        path,
        content["experiment"],
        content["about"],
        content["history"]["outcome"],
        result and result["accuracy"],
        content["weights"] is not None,
        size,
        content["code"] == code(),
    )
