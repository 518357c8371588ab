"""Small courses for tests of the pipeline: notebooks that start in a second because they import no torch."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from cnncourse.project import Project

PARAMETERS = 'profile: str = "smoke"\nseed: int = 0\ndevice: str = "cpu"\nnum_seeds: int = 3'
# What `cnncourse.start` leaves behind, without torch: the pipeline asks the session only for these.
SESSION = """\
import cnncourse.session
from types import SimpleNamespace
cnncourse.session._current = SimpleNamespace(
    notebook={stem!r}, profile=profile, finished={finished}, reads={reads},
    sources=[SimpleNamespace(**source) for source in {sources}],
)
import os, pathlib
pathlib.Path(os.environ["CNNCOURSE_RESULTS"]).write_text('{{"n": %d}}' % num_seeds)
"""


def make_course(folder: Path) -> Project:
    """An empty course in a folder."""
    project = Project(folder)
    project.notebooks.mkdir(parents=True)
    (folder / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    return project


def code(source: str, *tags: str) -> nbformat.NotebookNode:
    """A code cell."""
    return new_code_cell(source, metadata={"tags": list(tags)})


def add(project: Project, stem: str, *cells: str | nbformat.NotebookNode, parameters: str = PARAMETERS) -> Path:
    """Write a notebook: a title, the parameters (unless empty), and cells (text is code)."""
    head = [new_markdown_cell(f"# {stem}")]
    if parameters:
        head.append(code(parameters, "parameters"))
    body = [code(cell) if isinstance(cell, str) else cell for cell in cells]
    for number, cell in enumerate([*head, *body]):
        cell.id = f"cell-{number}"
    path = project.notebooks / f"{stem}.ipynb"
    nbformat.write(new_notebook(cells=[*head, *body]), path)
    return path


def session(stem: str, *, finished: bool = True, reads: dict | None = None, sources: list | None = None) -> str:
    """Code that leaves a session behind, and a results file."""
    return SESSION.format(stem=stem, finished=finished, reads=reads or {}, sources=sources or [])


def printed(notebook: str) -> str:
    """Everything that the cells of an executed notebook (JSON) printed to stdout."""
    node = nbformat.reads(notebook, as_version=4)
    outputs = [output for cell in node.cells if cell.cell_type == "code" for output in cell.outputs]
    return "".join(output.text for output in outputs if output.get("name") == "stdout")
