"""`cnncourse bundle`: everything that a GPU machine without network needs, in parts of a given size.

There, the bundle's ``start.py`` (:mod:`cnncourse.pipeline.bundled.start`, standard library only) puts the parts
together, installs the wheels into a folder, and runs notebooks or benchmarks for a given time. What comes back is taken
over by :mod:`cnncourse.pipeline.bundle_import`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cnncourse.errors import CourseError
from cnncourse.pipeline.bundled import start
from cnncourse.project import Project
from cnncourse.provenance import git_commit

TARGET_PYTHON = "3.12"
PLATFORM = "x86_64-manylinux_2_28"
NEVER = re.compile(r"torch|torchvision|triton|(nvidia|cuda)-.*|scikit-learn|scipy|joblib")
"""Never packed: torch is the target's own; on the `full` path nothing imports scikit-learn or SciPy."""
RUNS = ("dask", "distributed", "filelock", "ipykernel", "nbclient", "nbformat", "papermill", "psutil", "rich", "pip")
"""What executing notebooks needs beyond the library's own dependencies; pip installs the rest."""
ASSUMED = {"torch": "2.11.0", "torchvision": "0.26.0"}
"""The documented target, for a bundle that is made without a report of the machine."""
DATA_FOLDERS = {
    "mnist": ("MNIST/raw",),
    "cifar10": ("cifar-10-batches-py", "CIFAR-10-images"),
    "cats_dogs": ("cats_dogs", "oxford-iiit-pet"),
}
COURSE = ("cnncourse", "notebooks", "results", "benchmarks", "book/claims", "_toc.yml", "_config.yml", "pyproject.toml",
          "README.md", "LICENSE")  # fmt: skip
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMgG]?)[bB]?")


@dataclass(frozen=True)
class Bundle:
    """What was packed.

    Attributes
    ----------
    folder : Path
    parts : list of Path
    wheels : list of str
    size : int
        Bytes of all parts.
    """

    folder: Path
    parts: list[Path]
    wheels: list[str]
    size: int


def bundle(
    project: Project,
    output: Path,
    *,
    data: Sequence[str] = (),
    target: Path | None = None,
    part_size: str = "60M",
    wheels: Path | None = None,
    say: Callable[[str], None] = print,
) -> Bundle:
    """Pack the course for a Linux x86-64 machine with Python 3.12, its own torch, and no network.

    Parameters
    ----------
    project : Project
        A checkout of the course.
    output : Path
        Folder for the parts, ``manifest.json`` and ``start.py``; made new.
    data : sequence of str
        'mnist', 'cifar10', 'cats_dogs': what lies in the data root of this machine.
    target : Path, optional
        Output of ``start.py --report`` (or ``cnncourse doctor --json``) on that machine: what it has is not packed.
    part_size : str
        Largest part, such as '60M'.
    wheels : Path, optional
        Folder of wheels to pack instead of downloading them.
    say : callable
        Takes a line about the progress.

    Raises
    ------
    CourseError
        For an unknown data set or one that is not here, a report or size that makes no sense, an output that is not
        empty, wheels that cannot be had, or a full disk.
    """
    limit = parse_size(part_size)
    if output.exists() and any(output.iterdir()):
        raise CourseError(f"{output} is not empty.", "Choose a new folder.")
    there = distributions_of(target) if target else dict(ASSUMED)
    found = {name: data_folders(name) for name in data}
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output, prefix=".packing-") as scratch:
            stage = Path(scratch) / "bundle"
            stage.mkdir()
            if wheels is None:
                say("resolving and downloading wheels")
                download(requirements(project), there, stage / "wheels")
            else:
                shutil.copytree(wheels, stage / "wheels")
            say("packing the course" + (f" and {', '.join(data)}" if data else ""))
            copy_course(project, stage / "course")
            for folders in found.values():
                for root, folder in folders:
                    shutil.copytree(root / folder, stage / "data" / folder)
            names = sorted(path.name for path in (stage / "wheels").glob("*.whl"))
            archive = Path(scratch) / "bundle.tar"
            with tarfile.open(archive, "w") as tar:
                for path in sorted(stage.iterdir()):
                    tar.add(path, arcname=path.name, filter=_anonymous)
            parts = split(archive, output, limit)
        commit = git_commit(project.root)
        manifest = {
            "format": start.FORMAT,
            "commit": commit,
            "python": TARGET_PYTHON,
            "data": list(data),
            "wheels": names,
            "parts": [{"name": p.name, "bytes": p.stat().st_size, "sha256": start.sha256(p)} for p in parts],
        }
        (output / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
        shutil.copy(Path(start.__file__), output / "start.py")
    except OSError as error:
        raise CourseError(
            f"The bundle cannot be written to {output}: {error.strerror or error}.",
            "Make room on the disk, or choose another folder.",
        ) from error
    return Bundle(output, parts, manifest["wheels"], sum(part["bytes"] for part in manifest["parts"]))


def parse_size(text: str) -> int:
    """'60M' -> 60,000,000. CourseError when it is no size or less than 1 MB."""
    match = _SIZE.fullmatch(text.strip())
    size = int(float(match[1]) * {"": 1, "k": 1e3, "m": 1e6, "g": 1e9}[match[2].lower()]) if match else 0
    if size < 1_000_000:
        raise CourseError(f"{text!r} is no size of at least 1 MB.", "Write for instance --part-size 60M.")
    return size


def distributions_of(report: Path) -> dict[str, str]:
    """Installed distributions of the target, from its report: normalised name -> version.

    Raises
    ------
    CourseError
        When the file is no report, or the machine is not one that a bundle can be made for.
    """
    try:
        content = json.loads(report.read_text(encoding="utf-8"))
        python, installed = content["system"]["python"], content["distributions"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CourseError(
            f"{report} is no report of a machine: {error}.", "Run there: python start.py --report > machine.json"
        ) from None
    if not python.startswith(f"{TARGET_PYTHON}."):
        raise CourseError(
            f"That machine has Python {python}; a bundle is for Python {TARGET_PYTHON}.",
            "Use a Python 3.12 there: its path may come before start.py.",
        )
    if missing := [name for name in ("torch", "torchvision") if name not in installed]:
        raise CourseError(
            f"That machine has no {' and no '.join(missing)}.", "A bundle uses the target's own torch and torchvision."
        )
    return installed


def data_folders(name: str) -> list[tuple[Path, Path]]:
    """(data root, folder in it) of a data set on this machine. CourseError when it is unknown or not there."""
    from cnncourse.data.root import data_root

    if name not in DATA_FOLDERS:
        raise CourseError(f"Unknown data set {name!r}.", f"Choose from {', '.join(DATA_FOLDERS)}.")
    root = data_root(None)
    found = [(root, Path(folder)) for folder in DATA_FOLDERS[name] if (root / folder).is_dir()]
    if not found:
        raise CourseError(f"{name} is not in {root}.", f"Run: cnncourse data --fetch {name}")
    return found


def requirements(project: Project) -> list[str]:
    """What the library and the runner import, as in pyproject.toml, without what is never packed."""
    import tomllib

    content = tomllib.loads((project.root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    book = [line for line in content["optional-dependencies"]["book"] if start.name_of(line) in RUNS]
    return [line for line in [*content["dependencies"], *book, "pip"] if not NEVER.fullmatch(start.name_of(line))]


def download(wanted: Iterable[str], there: dict[str, str], folder: Path) -> Path:
    """Wheels of everything that `wanted` needs and the target lacks.

    What the target has stays as it is: its versions are constraints.
    """
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    folder.mkdir(parents=True)
    names = {start.normalised(name): version for name, version in there.items()}
    with tempfile.TemporaryDirectory() as scratch:
        constraints = Path(scratch) / "constraints.txt"
        # A local version (2.11.0+cu128) is on no index: the public part will do, since the package is not fetched.
        constraints.write_text("".join(f"{name}=={v.split('+')[0]}\n" for name, v in names.items()))
        source = Path(scratch) / "requirements.in"
        source.write_text("\n".join([*wanted, ""]))
        resolved = _call(
            [uv, "pip", "compile", str(source), "--constraint", str(constraints), "--python-version", TARGET_PYTHON,
             "--python-platform", PLATFORM, "--no-header", "--no-annotate", "--quiet", "--only-binary", ":all:"],
            "The wheels cannot be resolved",
        )  # fmt: skip
        pinned = [line for line in resolved.splitlines() if "==" in line]
        needed = [
            line.split(";")[0].strip()
            for line in pinned
            if start.name_of(line) not in names and not NEVER.fullmatch(start.name_of(line))
        ]
        # --target with another platform installs without running anything; pip alone can keep the wheels.
        pip = Path(scratch) / "pip"
        _call([uv, "pip", "install", "--quiet", "--target", str(pip), "pip"], "pip cannot be had")
        numbers = ("_2_28", "_2_27", "_2_17", "2014", "_2_12", "2010", "_2_5", "1")
        platforms = [f"manylinux{number}_x86_64" for number in numbers]
        _call(
            [sys.executable, str(pip / "pip"), "download", "--quiet", "--disable-pip-version-check", "--no-deps",
             "--only-binary", ":all:", "--python-version", TARGET_PYTHON, "--implementation", "cp",
             *(option for name in platforms for option in ("--platform", name)), "--dest", str(folder), *needed],
            "The wheels cannot be downloaded",
        )  # fmt: skip
    return folder


def copy_course(project: Project, folder: Path) -> None:
    """The tracked files that a run needs; in a folder without git, all files."""
    tracked = subprocess.run(
        ["git", "-C", str(project.root), "ls-files", "-z", "--", *COURSE], capture_output=True, text=True
    )
    if tracked.returncode == 0 and tracked.stdout:
        files = [Path(name) for name in tracked.stdout.split("\0") if name]
    else:
        files = [
            path.relative_to(project.root)
            for name in COURSE
            for path in ([project.root / name] if (project.root / name).is_file() else (project.root / name).rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        ]
    for file in files:
        if (project.root / file).is_file():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(project.root / file, folder / file)


def split(archive: Path, folder: Path, limit: int) -> list[Path]:
    """The file in parts of at most `limit` bytes, named part.000, part.001, ..."""
    parts = []
    with archive.open("rb") as file:
        while chunk := file.read(min(limit, 2**24)):
            part = folder / f"part.{len(parts):03d}"
            with part.open("wb") as out:
                written = out.write(chunk)
                while written < limit and (chunk := file.read(min(limit - written, 2**24))):
                    written += out.write(chunk)
            parts.append(part)
    return parts


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def _call(command: Sequence[str], failure: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise CourseError(
            f"{failure}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no reason given'}",
            "A bundle is made on a machine with network; see the whole message by running:\n  " + " ".join(command),
        )
    return done.stdout
