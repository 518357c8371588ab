"""`cnncourse run --import FOLDER`: take back what a bundle has computed elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cnncourse.errors import CourseError
from cnncourse.pipeline.bundled import start
from cnncourse.project import PROFILES, Project
from cnncourse.results import Results


@dataclass(frozen=True)
class Imported:
    """What was taken over: results by profile and notebook, executed notebooks, trainings."""

    results: list[str]
    executed: list[str]
    trainings: int
    benchmarks: bool
    machine: str


def take_back(project: Project, folder: Path, say: Callable[[str], None] = print) -> Imported:
    """Copy results and executed notebooks into ``_build``, trainings into the experiment store.

    Nothing is copied before everything is verified. ``cnncourse refresh --profile full`` then commits the results.

    Parameters
    ----------
    project : Project
        A checkout of the course.
    folder : Path
        The output folder of a bundle's ``start.py``.
    say : callable
        Takes a line about what is there.

    Raises
    ------
    CourseError
        When the folder is none of a bundle, a file is missing or damaged, or results do not fit the schema.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        files, machine = manifest["files"], manifest["machine"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CourseError(
            f"{folder} is not what a bundle leaves: its manifest.json cannot be read ({error}).",
            "Pass the folder that start.py names at its end, the whole of it.",
        ) from None
    if manifest.get("format") != start.FORMAT:
        raise CourseError(f"{folder} has format {manifest.get('format')!r}.", "Make and run a new bundle.")
    for name, digest in files.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise CourseError(f"{folder}/manifest.json names a file outside: {name}.", "Do not use this folder.")
        if not path.is_file():
            raise CourseError(f"{path} is missing.", "Copy the whole output folder again.")
        if start.sha256(path) != digest:
            raise CourseError(f"{path} is damaged.", "Copy the output folder again.")
    whole = joined(folder, files)
    results = {name: content for name, content in whole.items() if name.startswith("results/")}
    checked = [_checked(name, content) for name, content in results.items()]
    executed = [name for name in whole if name.startswith("executed/") and name.endswith(".ipynb")]
    for name in [*results, *executed]:
        _write(project.build / name, whole[name])
    trainings = [name for name in whole if name.startswith("store/") and name.endswith(".run")]
    if trainings:
        from cnncourse.training.store import default_store

        store = default_store()
        for name in trainings if store else ():
            _write(store.folder / name.removeprefix("store/"), whole[name])
    if benchmarks := "benchmarks.json" in whole:
        _write(project.build / "benchmarks.json", whole["benchmarks.json"])
    devices = {r.provenance.device_name for r in checked}
    imported = Imported(
        [name.removeprefix("results/").removesuffix(".json") for name in results],
        executed,
        len(trainings),
        benchmarks,
        ", ".join(sorted(devices)) or machine["system"]["platform"],
    )
    for r in checked:
        p = r.provenance
        counts = f"{len(r.metrics)} metrics, {len(r.curves)} curves"
        say(f"{p.profile}/{r.notebook}: {counts}, {p.device_name}, {p.finished}, commit {p.commit or 'not known'}")
    return imported


def joined(folder: Path, files: dict[str, str]) -> dict[str, bytes]:
    """The files by name, those in pieces put together."""
    whole: dict[str, bytes] = {}
    for name in sorted(files):
        stem, _, number = name.rpartition(".")
        if len(number) == 3 and number.isdigit():
            whole[stem] = whole.get(stem, b"") + (folder / name).read_bytes()
        else:
            whole[name] = (folder / name).read_bytes()
    return whole


def _checked(name: str, content: bytes) -> Results:
    parts = name.split("/")
    if len(parts) != 3 or parts[1] not in PROFILES:
        raise CourseError(f"{name} is no place for results.", "Do not use this folder.")
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / parts[2]
        path.write_bytes(content)
        return Results.load(path)


def _write(path: Path, content: bytes) -> None:
    draft = path.with_name(f".{path.name}.draft")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        draft.replace(path)
    except OSError as error:
        raise CourseError(f"{path} cannot be written: {error.strerror or error}.", "Make room on the disk.") from error
    finally:
        draft.unlink(missing_ok=True)
