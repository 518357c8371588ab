"""The site: its editions staged, built with Jupyter Book's configuration, and swapped in on success."""

from __future__ import annotations

import hashlib
import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path

from cnncourse.errors import CourseError
from cnncourse.pipeline import assets
from cnncourse.pipeline.stage import EDITIONS, stage, stage_downloads, table_of_contents
from cnncourse.project import Project

INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<meta http-equiv="refresh" content="0; url={page}">
</head>
<body>
<main>
<h1>{title}</h1>
{links}
</main>
</body>
</html>
"""
LINK = '<p><a href="{page}">{text}</a></p>'
_WORK = "site-"  # how the names of a build's own folders begin
STAMP = ".inputs-sha256"  # inside a finished edition: the hash of everything that it was built from
_BUILDERS = ("jupyter-book", "Sphinx", "myst-nb", "myst-parser", "sphinx-book-theme", "sphinxcontrib-bibtex")
_UNUSED = ("_static/locales", "_static/**/*.map", "_static/sphinx-thebe.*")  # half of all bytes; no page asks for them


def build(
    project: Project,
    profile: str = "smoke",
    editions: Sequence[str] = EDITIONS,
    *,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Build editions of the site from the executed notebooks of a profile.

    Parameters
    ----------
    project : Project
        The checkout; ``_build/executed/PROFILE`` and ``_build/results/PROFILE`` have to be filled.
    profile : str
        Which executed copies become pages.
    editions : sequence of {'student', 'instructor'}
        Which editions; another that is there stays.
    say : callable
        Is told in a line of text what goes on.

    Returns
    -------
    Path
        ``_build/site/index.html``, which leads to the student edition, or to the instructor's where it is the only one:
        most readers are students, and an instructor knows to look for the other. The site that was there stays
        untouched until every new edition is complete.

    Raises
    ------
    CourseError
        When a notebook was not executed completely and without errors, when Sphinx finds a fault, when a solution can
        be read in the student edition, or when a run or another build is at work in ``_build``.
    """
    from cnncourse.pipeline.runner import lock

    with lock(project):
        for left in project.build.glob(f"{_WORK}*"):  # of a build that was killed; the lock says that none is running
            shutil.rmtree(left, ignore_errors=True)
        scripts, reason = assets.vendored(project.build / "vendor")
        if not scripts:
            say(
                f"The site will load MathJax and the widget manager from a CDN: {reason}. "
                "Build it once with a network, and the site brings them along."
            )
        identity = _identity(project, profile, scripts)
        site = project.build / "site"
        missing = [edition for edition in editions if _read(site / edition / STAMP) != identity]
        if missing:
            with tempfile.TemporaryDirectory(dir=project.build, prefix=_WORK) as temporary:
                _build(project, profile, missing, Path(temporary), scripts, identity, say)
        return _index(project, site)


def _build(
    project: Project,
    profile: str,
    editions: Sequence[str],
    work: Path,
    scripts: Path | None,
    identity: str,
    say: Callable[[str], None],
) -> None:
    say(f"Building the {' and the '.join(editions)} edition with Jupyter Book")
    jobs = max(1, (os.cpu_count() or 1) // len(editions))
    with ExitStack() as stack:
        builds = []
        for edition in reversed(editions):  # the instructor's first: its downloads are ready at once
            staged = work / edition
            stage(project, profile, edition, staged)
            stage_downloads(project, edition, staged, say)
            if scripts:
                shutil.copytree(scripts, staged / "_vendor")
            log = project.build / "logs" / f"book-{edition}.log"
            process = stack.enter_context(_sphinx(staged, work / f"{edition}-html", log, jobs))
            stack.callback(process.kill)  # when the other edition cannot be staged
            builds.append((edition, log, process))
        for _, _, process in builds:
            process.wait()
    faults = dict.fromkeys(fault for _, log, process in builds if process.returncode for fault in _faults(log, work))
    if any(process.returncode for _, _, process in builds):
        found = "\n".join(list(faults)[:20]) or "(none that it names)"
        logs = ", ".join(str(log) for _, log, process in builds if process.returncode)
        raise CourseError(
            f"Jupyter Book found faults, so the site was not replaced:\n{found}", f"The whole log: {logs}"
        )
    for edition in editions:
        _finish(project, work / edition, work / f"{edition}-html", edition, identity)
    for edition in editions:
        _swap(work / f"{edition}-html", project.build / "site" / edition, work)
        _swap(work / edition, project.build / "stage" / edition, work)  # to look at: what the pages were made from


def _finish(project: Project, staged: Path, pages: Path, edition: str, identity: str) -> None:
    """Make the built pages a site that may be published."""
    for pattern in _UNUSED:
        for path in list(pages.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if (root := table_of_contents(project)[0]) != "index":
        link = LINK.format(page=f"{root}.html", text="Go to the course")
        text = INDEX.format(title=_title(staged), page=f"{root}.html", links=link)
        (pages / "index.html").write_text(text, encoding="utf-8")
    if edition == "student":
        from cnncourse.pipeline.leaks import find_leaks
        from cnncourse.pipeline.notebooks import find

        if leaks := find_leaks(pages, find(project)):
            told = "\n".join(f"  {str(leak).removeprefix(f'{pages}{os.sep}')}" for leak in leaks)
            raise CourseError(
                f"Solutions would leak into the student edition:\n{told}",
                "A text, another cell or an output repeats lines of a solution: write it otherwise there.",
            )
    (pages / STAMP).write_text(identity, encoding="utf-8")


def _index(project: Project, site: Path) -> Path:
    """Write the page that leads to an edition; what else lies there is of an older layout and goes."""
    there = [edition for edition in EDITIONS if (site / edition / "index.html").is_file()]
    for path in site.iterdir():
        if path.name not in EDITIONS:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    pages = {edition: f"{edition}/{table_of_contents(project)[0]}.html" for edition in there}
    links = "\n".join(LINK.format(page=page, text=f"{edition.title()} edition") for edition, page in pages.items())
    index = site / "index.html"
    text = INDEX.format(title=_title(project.root), page=pages[there[0]], links=links)
    index.write_text(text, encoding="utf-8")
    return index


def _sphinx(staged: Path, pages: Path, log: Path, jobs: int) -> subprocess.Popen:
    """Start the build of `staged` in `pages`. Every warning makes it fail, after all were collected."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "sphinx", "build", "-b", "html", "-j", str(jobs), "-W", "--keep-going"]
    command += ["-d", str(staged.with_name(f"{staged.name}-doctrees")), str(staged), str(pages)]
    with log.open("w", encoding="utf-8") as file:
        return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=staged.parent)


def _faults(log: Path, work: Path) -> list[str]:
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in _read(log).splitlines()]
    # A path of one edition; the other has the same fault
    paths = re.compile(rf"{re.escape(f'{work}{os.sep}')}(?:{'|'.join(EDITIONS)}){re.escape(os.sep)}")
    return [
        paths.sub("", line) for line in lines if re.search(r"\b(WARNING|ERROR|CRITICAL)\b|^\w*(Error|Exception)", line)
    ]


def _title(folder: Path) -> str:
    import yaml

    return html.escape(str(yaml.safe_load((folder / "_config.yml").read_text(encoding="utf-8")).get("title", "")))


def _identity(project: Project, profile: str, scripts: Path | None) -> str:
    """Hash of everything that the pages are made from, and of the versions of what makes them."""
    versions = [(name, metadata.version(name)) for name in _BUILDERS]
    digest = hashlib.sha256(repr((profile, scripts and scripts.name, versions)).encode())
    folders = [project.root / name for name in ("book", "notebooks", "results", "cnncourse")]
    folders += [project.executed(profile), project.fresh_results(profile)]
    files = [project.root / name for name in ("_config.yml", "_toc.yml", "pyproject.toml")]
    for folder in folders:
        files += sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        if path.is_file() and not {"__pycache__", ".ipynb_checkpoints"} & set(path.parts):
            content = path.read_bytes()
            digest.update(f"{path.name}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _swap(new: Path, place: Path, work: Path) -> None:
    """Put `new` where `place` is; the old content goes away with the working folder."""
    place.parent.mkdir(parents=True, exist_ok=True)
    old = work / f"old-{place.parent.name}-{place.name}"
    if place.exists():
        os.rename(place, old)
    try:
        os.rename(new, place)
    except BaseException:
        if old.exists() and not place.exists():
            os.rename(old, place)
        raise
