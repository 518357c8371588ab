"""Fixtures that several files share: small courses in a folder of their own, axes to draw on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from cnncourse.project import Project

PARAMETERS = 'profile: str = "smoke"\nseed: int = 0\ndevice: str = "cpu"'
START = "import cnncourse\nrun = cnncourse.start(profile, seed, device, notebook={stem!r})"
FINISH = "run.finish()"

AddNotebook = Callable[..., Path]


@pytest.fixture(scope="session")
def new_course(tmp_path_factory) -> Callable[[], tuple[Project, AddNotebook]]:
    """Makes an empty course, and a function that writes a notebook with the given code cells into it.

    The cells stand between the usual ones: parameters, start of the session, and its end. Those `before` the start
    run without torch, which takes seconds to import.
    """

    def make() -> tuple[Project, AddNotebook]:
        project = Project(tmp_path_factory.mktemp("course"))
        project.notebooks.mkdir()
        (project.root / "_toc.yml").write_text("format: jb-book\nroot: index\n")

        def add(stem: str, *sources: str, before: tuple[str, ...] = ()) -> Path:
            cells = [new_markdown_cell(f"# {stem}"), new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})]
            cells += [new_code_cell(source) for source in (*before, START.format(stem=stem), *sources, FINISH)]
            for number, cell in enumerate(cells):
                cell.id = f"cell-{number}"
            path = project.notebooks / f"{stem}.ipynb"
            nbformat.write(new_notebook(cells=cells), path)
            return path

        return project, add

    return make


@pytest.fixture
def ax():
    """Axes of a figure that is closed after the test."""
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)
