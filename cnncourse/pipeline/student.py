"""`cnncourse student`: the notebooks as students get them, and the search for solutions that have leaked.

nbgrader's own preprocessors take out the solutions and lock the checks, so that nbgrader can read the result; its
database and its course folders are not needed.
"""

from __future__ import annotations

import base64
import binascii
import copy
import html
import io
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from cnncourse.errors import CourseError
from cnncourse.pipeline.notebooks import Notebook, find, select
from cnncourse.project import Project

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
HIDDEN = ("### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS")
SETUP_ID = "student-setup"
ARCHIVE = "notebooks.zip"
README = """The notebooks of the course, without solutions.

Open a notebook in JupyterLab (pip install jupyterlab) or in Colab, and run its first code cell: it installs the library
that the notebooks use, where it is missing{beside}. Exercises say "raise NotImplementedError()": replace
that line by your own, run the cell, then run the check below it. A check that is not content says why; nothing else
stops.
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # in the archive: the same notebooks make the same bytes


@dataclass(frozen=True)
class Leak:
    """A solution, or a hidden test, where students can read it.

    Attributes
    ----------
    file : Path
    notebook, cell : str
        Where it comes from.
    form : str
        How it was found: 'text', 'JSON', 'HTML' or 'base64'.
    """

    file: Path
    notebook: str
    cell: str
    form: str

    def __str__(self) -> str:
        return f"{self.file}: cell {self.cell} of {self.notebook} ({self.form})"


def student_edition(
    project: Project, output: Path, selectors: Sequence[str] = (), install: str | None = None
) -> list[Path]:
    """Write the student edition: one notebook each, the library's wheel, a README, and all of them in one archive.

    Parameters
    ----------
    project : Project
        A checkout of the course.
    output : Path
        Folder; files of the same names are replaced.
    selectors : sequence of str
        Numbers or names of notebooks (default: all).
    install : str, optional
        What ``pip install`` is given where the library is missing, such as ``cnncourse==0.1.0`` or an address. By
        default the library's wheel lies beside the notebooks.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    CourseError
        For an unknown notebook, marks of solutions that do not fit, a solution that would leak, a wheel that cannot be
        built, or a folder that cannot be written.
    """
    notebooks = select(find(project), selectors)
    try:
        output.mkdir(parents=True, exist_ok=True)
        wheel = None if install else build_wheel(project, output)
        files = {"README.txt": README.format(beside=" (from the file beside it)" if wheel else "").encode()}
        for notebook in notebooks:
            made = student_notebook(notebook, install or wheel.name)
            files[f"{notebook.stem}.ipynb"] = (json.dumps(made, indent=1, ensure_ascii=False) + "\n").encode()
        for name, content in files.items():
            (output / name).write_bytes(content)
        if wheel:
            files[wheel.name] = wheel.read_bytes()
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(files):
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), files[name], zipfile.ZIP_DEFLATED)
        (output / ARCHIVE).write_bytes(buffer.getvalue())
    except OSError as error:
        raise CourseError(
            f"The student edition cannot be written to {output}: {error.strerror or error}.", "Choose another folder."
        ) from error
    if leaks := find_leaks(output, notebooks):
        raise CourseError(
            "Solutions would leak:\n" + "\n".join(f"  {leak}" for leak in leaks),
            "A later cell, or a text, repeats lines of the solution: write it otherwise there.",
        )
    return [*(output / name for name in files), output / ARCHIVE]


def student_notebook(notebook: Notebook, install: str) -> NotebookNode:
    """A notebook without solutions, hidden tests and outputs, with one cell that installs the library.

    Parameters
    ----------
    notebook : Notebook
        The source.
    install : str
        What ``pip install`` is given where the library is missing; a name that ends in '.whl' is a file.

    Raises
    ------
    CourseError
        When a mark of a solution region lacks its counterpart or stands outside a solution cell.
    """
    from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions, LockCells

    node = copy.deepcopy(notebook.node)
    for make in (ClearSolutions, ClearHiddenTests, LockCells):
        step = make()
        if make is ClearSolutions:
            step.code_stub = {"python": "raise NotImplementedError()"}
        try:
            node, _ = step.preprocess(node, {})
        except Exception as error:  # nbgrader raises RuntimeError and bare Exceptions
            raise CourseError(
                f"{notebook.stem}: {str(error).splitlines()[0]}",
                f"Every {BEGIN} needs its {END}, in a cell whose nbgrader metadata say that it is a solution.",
            ) from error
    for cell in node.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        cell.pop("attachments", None)
    first = next((i for i, cell in enumerate(node.cells) if cell.cell_type == "code"), len(node.cells))
    setup = new_code_cell(setup_source(install), id=SETUP_ID, metadata={"editable": False, "deletable": False})
    node.cells.insert(first, setup)
    nbformat.validate(node)
    return node


def setup_source(install: str) -> str:
    """The set-up cell: installs what is missing, and nothing else; what the machine has stays as it is."""
    return (
        "# Run this cell first. It installs the library of the course where it is missing, in Colab for instance.\n"
        "try:\n"
        "    import cnncourse\n"
        "except ModuleNotFoundError:\n"
        f'    %pip install --quiet "{install}"'
    )


def build_wheel(project: Project, folder: Path) -> Path:
    """The library's wheel, with the committed results and the ledger in it."""
    uv = Path(sys.executable).with_name("uv")
    with tempfile.TemporaryDirectory() as scratch:
        command = [str(uv) if uv.exists() else "uv", "build", "--wheel", "--quiet", "--out-dir", scratch]
        try:
            done = subprocess.run([*command, str(project.root)], capture_output=True, text=True)
            reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else ""
        except FileNotFoundError:
            done, reason = None, "uv is not installed"
        built = sorted(Path(scratch).glob("*.whl"))
        if done is None or done.returncode or not built:
            raise CourseError(
                f"The library's wheel cannot be built: {reason or 'no reason given'}.",
                "Building fetches hatchling once: try again with network, or say with --install what students install.",
            )
        target = folder / built[0].name
        target.write_bytes(built[0].read_bytes())
    return target


# --- leaks ---------------------------------------------------------------------------------------------------------


def find_leaks(folder: Path, notebooks: Iterable[Notebook]) -> list[Leak]:
    """Every place below a folder where a solution of two lines or more, or a hidden test, can be read.

    Comments, blanks and line ends do not count. Looked through are all files and archives, as they are and as JSON
    (notebooks, search index), as HTML with its tags taken out (pages with highlighted code) and behind base64
    (attachments). The installed library is no leak: wheels are left out, and it says so itself that it holds reference
    implementations.

    Parameters
    ----------
    folder : Path
        A student edition, or a built site.
    notebooks : iterable of Notebook
        The sources.
    """
    secrets = [
        (notebook.stem, cell.get("id", str(number)), secret)
        for notebook in notebooks
        for number, cell in enumerate(notebook.node.cells)
        for secret in _secrets(cell.source)
    ]
    leaks = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".whl"):
        seen = set()
        for form, text in _readings(path.read_bytes(), path.suffix):
            bare = _bare(text)
            for stem, cell, secret in secrets:
                if secret in bare and (stem, cell) not in seen:
                    seen.add((stem, cell))
                    leaks.append(Leak(path, stem, cell, form))
    return leaks


def _secrets(source: str) -> Iterator[str]:
    """Solution regions of two lines or more and hidden tests of a cell, bare."""
    for begin, end, least in ((BEGIN, END, 2), (*HIDDEN, 1)):
        for region in re.findall(f"{re.escape(begin)}\n(.*?){re.escape(end)}", source, re.DOTALL):
            lines = [line for line in region.splitlines() if _bare(line)]
            if len(lines) >= least:
                yield _bare(region)


def _bare(text: str) -> str:
    """Without comments and white space: what is left identifies code however it is laid out."""
    return re.sub(r"\s+", "", re.sub(r"#[^\n]*", "", text))


def _readings(data: bytes, suffix: str) -> Iterator[tuple[str, str]]:
    """The ways in which a file can be read as text: (form, text)."""
    if suffix == ".zip" or data[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                if not name.endswith(".whl"):
                    yield from _readings(archive.read(name), Path(name).suffix)
        return
    text = data.decode("utf-8", errors="ignore")
    yield "text", text
    unescaped = re.sub(r"\\u([0-9a-fA-F]{4})", lambda m: chr(int(m[1], 16)), text)
    unescaped = unescaped.replace("\\n", "\n").replace('\\"', '"').replace("\\t", "\t").replace("\\\\", "\\")
    # Lines of a notebook's source are strings of a list: the quotes and commas between them are layout.
    yield "JSON", re.sub(r'"\s*,\s*"', "", unescaped)
    for form, marked in (("HTML", text), ("HTML", unescaped)):
        yield form, html.unescape(re.sub(r"<[^>]*>", "", marked))
    for chunk in re.findall(r"[A-Za-z0-9+/]{64,}={0,2}", re.sub(r"\\n|\s", "", text) if suffix == ".ipynb" else text):
        try:
            yield "base64", base64.b64decode(chunk + "=" * (-len(chunk) % 4)).decode("utf-8", errors="ignore")
        except (binascii.Error, ValueError):
            continue
