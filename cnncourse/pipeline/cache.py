"""Executions that need not be repeated: what a run depended on, and the copies that are kept.

An entry is found by what is known before a kernel starts (code, parameters, Python and packages, device, threads) and
holds only while everything that the kernel turned out to use is unchanged: the `cnncourse` modules that it had loaded
when it ended, the data, and the committed results and ledger files that it read. Text cells are no part of the key:
:func:`merge` puts the current ones around the kept outputs.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import platform
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache as memoize
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from nbformat import NotebookNode
from pydantic import BaseModel, ConfigDict, ValidationError

from cnncourse import reads
from cnncourse.project import committed, module_files

FORMAT = 1
KEPT = 8  # entries per notebook and profile; the oldest go
MISSING = "missing"
INJECTED = "injected-parameters"  # papermill's tag

# Tags that change what a code cell does; other tags (layout, nbval) are the page's business.
_EXECUTION_TAGS = {"parameters", "raises-exception", "skip-execution"}
# Variables that change digits or outputs. Threads are an ingredient of their own.
_NUMERICS = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "MPLBACKEND",
    "NPY_DISABLE_CPU_FEATURES",
    "NPY_ENABLE_CPU_FEATURES",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Key(_Model):
    """What is known before a kernel starts."""

    code: str  # sha256 of the code cells
    parameters: dict[str, Any]
    python: str
    packages: str  # sha256 of the installed names and versions
    device: str
    threads: int
    variables: dict[str, str]

    @property
    def digest(self) -> str:
        return _sha256(self.model_dump_json())[:32]


class Used(_Model):
    """What a kernel turned out to use, as names and sha256 sums."""

    modules: dict[str, str] = {}
    reads: dict[str, str] = {}
    data: dict[str, str] = {}

    @classmethod
    def union(cls, many: Iterable[Used]) -> Used:
        """All names of several executions."""
        parts = [used.model_dump() for used in many]
        return cls(**{field: {k: v for part in parts for k, v in part[field].items()} for field in cls.model_fields})

    def restricted_to(self, other: Used) -> Used:
        """Only the names that `other` has, too."""
        return Used(
            **{
                field: {name: value for name, value in getattr(self, field).items() if name in getattr(other, field)}
                for field in type(self).model_fields
            }
        )


class Entry(_Model):
    """One kept execution."""

    format: Literal[1] = FORMAT
    notebook: str
    key: Key
    used: Used
    executed: dict[str, Any]  # the notebook, as in its file
    results: str | None  # the text of the results file
    seconds: float


@dataclass(frozen=True)
class Surroundings:
    """What a machine that runs kernels contributes to a key."""

    host: str
    python: str
    packages: str
    course: str  # sha256 of the whole cnncourse package with what it has committed
    variables: tuple[tuple[str, str], ...]
    device: str
    cores: int


def surroundings(device: str = "auto") -> Surroundings:
    """This machine and this Python. Raises CourseError when `device` is named and not here."""
    from cnncourse.pipeline import kernel

    return Surroundings(
        host=socket.gethostname(),
        python=f"{platform.python_implementation()} {platform.python_version()} {sys.platform} {platform.machine()}",
        packages=_installed(),
        course=_course(),
        variables=tuple((name, os.environ[name]) for name in _NUMERICS if name in os.environ),
        device=device_class(device),
        cores=kernel.cores(),
    )


def device_class(device: str) -> str:
    """``cpu``, or the kind and the model of the accelerator that `device` stands for here."""
    # torch takes two seconds to import; without a driver there is nothing to ask it.
    nothing = sys.platform == "linux" and not any(Path("/dev").glob("nvidia[0-9]*")) and not Path("/dev/kfd").exists()
    if device == "cpu" or (device == "auto" and nothing and not Path("/dev/dxg").exists()):
        return "cpu"
    from cnncourse.provenance import device_name
    from cnncourse.session import resolve_device

    name = resolve_device(device)
    return name if name == "cpu" else f"{name.split(':')[0]} {device_name(name)}"


@memoize
def _installed() -> str:
    found = (distribution.metadata for distribution in metadata.distributions())
    versions = {f"{about['Name']}=={about['Version']}" for about in found if about["Name"] != "cnncourse"}
    return _sha256("\n".join(sorted(versions)))


def _course() -> str:
    files = [*module_files().values(), *(path for kind in ("results", "claims") for path in _files(committed(kind)))]
    return _sha256("\n".join(hash_file(path) for path in files))


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def module_hashes(names: Iterable[str] | None = None) -> dict[str, str]:
    """sha256 of the source of `cnncourse` modules (default: all), and of the package's other files together."""
    files = module_files()
    package = files["cnncourse"].parent
    hashes = {
        name: hash_file(files[name]) if name in files else MISSING for name in (files if names is None else names)
    }
    extra = [
        path
        for path in _files(package)
        if path.suffix not in (".py", ".pyc") and path.relative_to(package).parts[0] not in ("_committed", "pipeline")
    ]
    return hashes | {"package files": _sha256("\n".join(f"{p.relative_to(package)} {hash_file(p)}" for p in extra))}


def current(used: Used) -> Used:
    """The same modules, files and data as they are now. Call it where the kernels run."""
    modules = module_hashes(name for name in used.modules if name != "package files")
    return Used(modules=modules, reads={name: reads.content(name) for name in used.reads}, data=_data(used.data))


def data_used(sources: Iterable[dict[str, str]], profile: str) -> dict[str, str]:
    """The data ingredient of a run that used `sources` (name, kind, sha256).

    A stand-in outside the smoke profile depends on what it stands in for, whatever that is: on all data sets. Pictures
    that a notebook draws for itself are in no inventory; they follow from modules, which are an ingredient, too.
    """
    sources = list(sources)
    drawn = {source["name"] for source in sources if source["kind"] == "embedded"}
    drawn -= set(_survey(drawn)) if drawn else set()
    sources = [source for source in sources if source["name"] not in drawn]
    used = {source["name"]: source["sha256"] for source in sources}
    stand_in = profile != "smoke" and any(source["kind"] == "embedded" for source in sources)
    return _survey() | used if stand_in else used


def _data(used: dict[str, str]) -> dict[str, str]:
    found = _survey(used) if used else {}
    return {name: found.get(name, MISSING) for name in used}


def _survey(names: Iterable[str] | None = None) -> dict[str, str]:
    """Content of the data sets with these names (of all), by what is always their key and by the name of the source."""
    from cnncourse.data import inventory

    found = {}
    for entry in inventory.survey(names=None if names is None else set(names)):
        found[entry.key] = found[entry.name] = entry.source.sha256 if entry.source else MISSING
    return found


def key(notebook: NotebookNode, parameters: dict[str, Any], where: Surroundings, threads: int) -> Key:
    """The key of one execution."""
    cells = [
        (cell.source, sorted(_EXECUTION_TAGS & set(cell.metadata.get("tags", []))))
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]
    return Key(
        code=_sha256(json.dumps(cells)),
        parameters=json.loads(json.dumps(parameters)),
        python=where.python,
        packages=where.packages,
        device=where.device,
        threads=threads,
        variables=dict(where.variables),
    )


def differences(before: BaseModel, now: BaseModel) -> list[str]:
    """Names of the ingredients that differ, for people."""
    names = []
    for field in type(before).model_fields:
        a, b = getattr(before, field), getattr(now, field)
        if isinstance(a, dict):
            names += [name for name in sorted(a.keys() | b.keys()) if a.get(name) != b.get(name)]
        elif a != b:
            names.append(field)
    return names


class Cache:
    """The kept executions of one profile, in a folder.

    Parameters
    ----------
    folder : Path
    warn : callable
        Takes a sentence about an entry that cannot be used.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None]):
        self.folder = folder
        self.warn = warn

    def find(self, name: str, key: Key) -> Entry | None:
        """The entry for a key, if there is one that can be read. Its `used` is not compared here."""
        path = self._path(name, key)
        return self._read(path) if path.is_file() else None

    def nearest(self, name: str, key: Key) -> Entry | None:
        """The entry of a notebook whose key differs least; the newest of several."""
        entries = [entry for path in self._newest_first(name) if (entry := self._read(path, quiet=True))]
        return min(entries, key=lambda entry: len(differences(entry.key, key)), default=None)

    def keep(self, entry: Entry) -> None:
        """Write an entry, and forget the oldest of its notebook. Raises OSError."""
        body = entry.model_dump_json()
        write(self._path(entry.notebook, entry.key), f"{_sha256(body)}\n{body}\n")
        for path in self._newest_first(entry.notebook)[KEPT:]:
            path.unlink(missing_ok=True)

    def _read(self, path: Path, quiet: bool = False) -> Entry | None:
        try:
            checksum, _, body = path.read_text(encoding="utf-8").partition("\n")
            if _sha256(body.removesuffix("\n")) != checksum:
                raise ValueError("its checksum does not match")
            return Entry.model_validate_json(body)
        except (OSError, ValueError) as error:
            reason = "it has another format" if isinstance(error, ValidationError) else error
            if not quiet:
                self.warn(f"The cache entry {path} is ignored: {reason}.")
            return None

    def _newest_first(self, name: str) -> list[Path]:
        def age(path: Path) -> float:
            try:
                return time.time() - path.stat().st_mtime
            except OSError:
                return float("inf")

        return sorted((self.folder / name).glob("*.json"), key=age)

    def _path(self, name: str, key: Key) -> Path:
        return self.folder / name / f"{key.digest}.json"


def merge(source: NotebookNode, executed: NotebookNode) -> NotebookNode:
    """The current notebook with the outputs of an execution of the same code cells.

    Parameters
    ----------
    source : NotebookNode
        Its text cells, their places, and all tags count.
    executed : NotebookNode
        Its outputs, execution counts, injected parameters and widget states count.
    """
    ran = [cell for cell in executed.cells if cell.cell_type == "code"]
    cells = []

    def take_injected() -> None:
        while ran and INJECTED in ran[0].metadata.get("tags", []):
            cells.append(ran.pop(0))

    take_injected()
    for cell in source.cells:
        merged = copy.deepcopy(cell)
        if cell.cell_type == "code":
            twin = ran.pop(0)
            merged.outputs, merged.execution_count = twin.outputs, twin.execution_count
            timing = {name: twin.metadata[name] for name in ("papermill", "execution") if name in twin.metadata}
            merged.metadata = NotebookNode({**cell.metadata, **timing})
        cells.append(merged)
        if cell.cell_type == "code":
            take_injected()
    result = copy.copy(source)
    result.metadata = NotebookNode({**source.metadata, **executed.metadata})
    result.cells = cells
    return result


def write(path: Path, text: str) -> None:
    """Write a file that appears complete or not at all. Raises OSError that names the file."""
    try:
        _write(path, text)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())  # a full disk shows here at the latest, not after the rename
        os.chmod(temporary, 0o644)  # mkstemp makes it private
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
