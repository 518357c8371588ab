"""`cnncourse book --watch`: one edition of the site, built again page by page while its sources change."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from cnncourse.errors import CourseError
from cnncourse.pipeline import assets
from cnncourse.pipeline.stage import stage, stage_downloads
from cnncourse.project import Project


def watch(project: Project, profile: str, edition: str, port: int, say: Callable[[str], None]) -> int:
    """Serve an edition on this machine and rebuild what changes, until Ctrl-C.

    ``sphinx-autobuild`` watches the pages and the executed copies; before each build they are staged again, and Sphinx
    reads what is new. What it serves is kept apart from the site in ``_build/site``.

    Returns
    -------
    int
        Exit code of sphinx-autobuild.
    """
    folder = project.build / "watch" / edition
    staged = folder / "stage"
    restage(project, profile, edition, staged)
    sources = [project.root / "book", project.root / "_config.yml", project.root / "_toc.yml"]
    again = [sys.executable, "-m", __name__, str(project.root), str(project.build), profile, edition]
    command = [
        sys.executable,
        "-m",
        "sphinx_autobuild",
        "-b",
        "html",
        "-j",
        "auto",
        "-q",
        "-d",
        str(folder / "doctrees"),
    ]
    command += ["--port", str(port), "--pre-build", shlex.join(again), "--ignore", str(staged)]
    for path in [*sources, project.executed(profile)]:
        command += ["--watch", str(path)]
    say(f"Watching {project.root / 'book'} and {project.executed(profile)}; Ctrl-C ends it.")
    try:
        return subprocess.run([*command, str(staged), str(folder / "html")]).returncode
    except KeyboardInterrupt:  # sphinx-autobuild has got it as well
        return 0


def restage(project: Project, profile: str, edition: str, staged: Path) -> None:
    """Stage the sources anew, and touch only files that differ: Sphinx reads what has a new date."""
    staged.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=staged.parent) as scratch:
        fresh = Path(scratch) / "stage"
        stage(project, profile, edition, fresh)
        if edition == "instructor":  # the student's take seconds, and need the wheel
            stage_downloads(project, edition, fresh, say=print)
        scripts, _ = assets.vendored(project.build / "vendor")
        if scripts:
            shutil.copytree(scripts, fresh / "_vendor")
        wanted = {path.relative_to(fresh) for path in fresh.rglob("*") if path.is_file()}
        for path in [path for path in staged.rglob("*") if path.is_file()]:
            if path.relative_to(staged) not in wanted and "__pycache__" not in path.parts:
                path.unlink()
        for name in wanted:
            target = staged / name
            if not target.is_file() or target.read_bytes() != (fresh / name).read_bytes():
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(fresh / name, target)


def main(root: str, build: str, profile: str, edition: str) -> None:
    project = Project(Path(root), Path(build))
    try:
        restage(project, profile, edition, project.build / "watch" / edition / "stage")
    except CourseError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
