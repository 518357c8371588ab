"""`cnncourse student`: the notebooks as students get them.

nbgrader's own preprocessors take out the solutions and lock the checks, so that nbgrader can read the result; its
database and its course folders are not needed.
"""

from __future__ import annotations

import copy
import io
import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from cnncourse.errors import CourseError
from cnncourse.pipeline.exercises import BEGIN, STUB, is_check, is_solution
from cnncourse.pipeline.leaks import find_leaks
from cnncourse.pipeline.notebooks import Notebook, find, select
from cnncourse.project import Project

SETUP_ID = "student-setup"
ARCHIVE = "notebooks.zip"
BRANCH = "student"  # where the launch buttons of the site look for the tree of `student_branch`
README = """The notebooks of the course, without solutions.

On your own machine (Python 3.11 or newer): pip install jupyterlab, then jupyter lab, and open a notebook.
In Colab: File > Upload notebook.

Run the first code cell of a notebook first. It installs the library that the notebooks use, where it is missing; what
the machine has stays as it is.{beside}

An exercise says {stub}: replace that line by your own, run the cell, then run the check
below it. A check that does not accept your solution says why. An exercise that you skip stops its own check only.
"""
BESIDE = """

The library comes from {wheel}. Keep that file in the same folder as the
notebooks; in Colab upload it first (the folder symbol on the left, then the upload symbol)."""
TREE_README = """# {title}: the notebooks

For students: exercises without solutions, with checks that answer. The course itself is at {home}.

In `notebooks/` lie the notebooks and the library that they use. Binder and Colab open them as they are. On your own
machine (Python 3.11 or newer): `pip install -r requirements.txt`, then `jupyter lab notebooks`.
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)  # in the archive: the same notebooks make the same bytes


class NoWheel(CourseError):
    """The library's wheel cannot be built; without a network, for instance."""


def student_edition(
    project: Project,
    output: Path,
    selectors: Sequence[str] = (),
    install: str | None = None,
    *,
    wheel: bool = True,
) -> list[Path]:
    """Write the student edition: one notebook each, a README, the library's wheel, and all of them in one archive.

    Parameters
    ----------
    project : Project
        A checkout of the course.
    output : Path
        Folder; files of the same names are replaced.
    selectors : sequence of str
        Numbers or names of notebooks (default: all).
    install : str, optional
        Where students get the library from: what ``pip install`` is given where it is missing, such as
        ``cnncourse==0.1.0`` or an address; or a wheel on this machine, which is put beside the notebooks. By default
        the repository that ``_config.yml`` names, else a wheel that is built here.
    wheel : bool
        Without, a wheel that would be built is only named, and students have to get it elsewhere.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    CourseError
        For an unknown notebook, marks of solutions that do not fit, a solution that would leak, a wheel that cannot be
        built, or a folder that cannot be written or holds the sources. Nothing is written then.
    """
    every = find(project)
    notebooks = select(every, selectors)
    if output.resolve() == project.notebooks.resolve():
        raise CourseError(f"{output} holds the sources of the notebooks.", "Choose another folder.")
    install = install or repository(project)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            stage = Path(scratch)
            beside = wheel_for(project, stage, install) if wheel or install else Path(wheel_name())
            says = BESIDE.format(wheel=beside.name) if beside else ""
            (stage / "README.txt").write_text(README.format(beside=says, stub=STUB), encoding="utf-8")
            for notebook in notebooks:
                made = student_notebook(notebook, beside.name if beside else install)
                text = json.dumps(made, indent=1, ensure_ascii=False) + "\n"
                (stage / f"{notebook.stem}.ipynb").write_text(text, encoding="utf-8", newline="\n")
            # A text of one notebook may tell the solution of another.
            if leaks := find_leaks(stage, every):
                told = "\n".join(f"  {str(leak).removeprefix(f'{stage}/')}" for leak in leaks)
                raise CourseError(
                    f"Solutions would leak:\n{told}",
                    "Another cell, or a text, repeats lines of the solution: write it otherwise there.",
                )
            files = {path.name: path.read_bytes() for path in sorted(stage.iterdir())}
        files[ARCHIVE] = _archive(files)
        output.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (output / name).write_bytes(content)
    except OSError as error:
        raise CourseError(
            f"The student edition cannot be written to {output}: {error.strerror or error}.", "Choose another folder."
        ) from error
    return [output / name for name in files]


def student_notebook(notebook: Notebook, install: str) -> NotebookNode:
    """A notebook without solutions, hidden tests and outputs, with one cell that installs the library.

    Parameters
    ----------
    notebook : Notebook
        The source.
    install : str
        What ``pip install`` is given where the library is missing; a name that ends in '.whl' and no address is a file
        beside the notebook.

    Raises
    ------
    CourseError
        When a mark of a solution region lacks its counterpart or stands outside a solution cell.
    """
    from nbgrader.preprocessors import LockCells

    node, _ = LockCells().preprocess(without_solutions(notebook.node, notebook.stem), {})
    for cell in node.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    first = next((i for i, cell in enumerate(node.cells) if cell.cell_type == "code"), len(node.cells))
    setup = new_code_cell(setup_source(install), id=SETUP_ID, metadata={"editable": False, "deletable": False})
    node.cells.insert(first, setup)
    nbformat.validate(node)
    return node


def without_solutions(notebook: NotebookNode, name: str) -> NotebookNode:
    """A copy with stubs for solutions, without hidden tests and without the outputs of solution and check cells.

    Raises
    ------
    CourseError
        When a mark of a solution region lacks its counterpart or stands outside a solution cell.
    """
    from nbgrader.preprocessors import ClearHiddenTests, ClearSolutions

    node = copy.deepcopy(notebook)
    for make in (ClearSolutions, ClearHiddenTests):
        step = make()
        if make is ClearSolutions:
            step.code_stub = {"python": STUB}
        try:
            node, _ = step.preprocess(node, {})
        except Exception as error:  # nbgrader raises RuntimeError and bare Exceptions
            raise CourseError(
                f"{name}: {str(error).splitlines()[0]}",
                f"Every {BEGIN} needs its END, in a cell whose nbgrader metadata say that it is a solution.",
            ) from error
    for cell in node.cells:
        if cell.cell_type == "code" and (is_solution(cell) or is_check(cell)):
            cell.outputs, cell.execution_count = [], None
    return node


def student_branch(project: Project, output: Path, install: str | None = None) -> list[Path]:
    """Write a tree that can be published as a branch of its own, for Binder, Colab and a plain machine.

    It holds ``notebooks/`` with the student edition and the library's wheel, ``requirements.txt`` with the ranges that
    the library declares, and a README. The notebooks install the wheel from that branch of the repository that
    ``_config.yml`` names, else from the file beside them.

    Parameters
    ----------
    project : Project
        A checkout of the course.
    output : Path
        Folder; files of the same names are replaced.
    install : str, optional
        As for `student_edition`.

    Raises
    ------
    CourseError
        As `student_edition`.
    """
    folder = output / "notebooks"
    with tempfile.TemporaryDirectory() as scratch:
        wheel = build_wheel(project, Path(scratch))
        address = raw_address(project, f"notebooks/{wheel.name}")
        written = student_edition(project, folder, install=install or address or str(wheel))
        shutil.copy2(wheel, folder)
    for path in (folder / ARCHIVE, folder / "README.txt"):  # who has the tree needs neither
        path.unlink()
        written.remove(path)
    declared = tomllib.loads((project.root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [f"./notebooks/{wheel.name}", *declared["dependencies"], "jupyterlab>=4.2"]
    texts = {
        "requirements.txt": "\n".join(requirements) + "\n",
        "runtime.txt": "python-3.12\n",  # Binder's
        "README.md": TREE_README.format(title=_config(project).get("title", declared["name"]), home=_home(project)),
    }
    for name, text in texts.items():
        (output / name).write_text(text, encoding="utf-8")
    return [*(output / name for name in texts), *dict.fromkeys([*written, folder / wheel.name])]


def setup_source(install: str) -> str:
    """The set-up cell: installs what is missing, and nothing else; what the machine has stays as it is."""
    if not install or set(install) & set("\"'\\\n{}$"):
        raise CourseError(
            f"{install!r} cannot be given to pip in a notebook.", "Give --install a name, an address or a wheel."
        )
    begin = (
        "# Run this cell first. It installs the library of the course where it is missing, in Colab for instance.\n"
        "from importlib import invalidate_caches\n"
        "from importlib.util import find_spec\n"
    )
    beside = (
        "from pathlib import Path\n\n"
        f'wheel = "{install}"\n'
        'if find_spec("cnncourse") is None and not Path(wheel).exists():\n'
        "    raise FileNotFoundError(\n"
        '        f"The library is missing. Put {wheel} beside this notebook (in Colab: the folder on the left, "\n'
        '        "then the upload symbol) and run this cell again."\n'
        "    )\n"
    )
    is_file = _is_file(install)
    # %pip only prints what went wrong; without the second look the reader would meet the next cell's ImportError.
    return (
        f"{begin}{beside if is_file else chr(10)}"
        'if find_spec("cnncourse") is None:\n'
        f'    %pip install --quiet "{"{wheel}" if is_file else install}"\n'
        "    invalidate_caches()\n"
        '    if find_spec("cnncourse") is None:\n'
        "        raise ModuleNotFoundError(\n"
        '            "pip has not installed the library; its message stands above. Where pip itself is missing "\n'
        f"            '(an environment of uv), type in a terminal: uv pip install \"{install}\"'\n"
        "        )"
    )


def repository(project: Project) -> str | None:
    """What pip installs from the repository that ``_config.yml`` names; None as long as it names none."""
    named = _config(project).get("repository") or {}
    if not named.get("url"):
        return None
    branch = f"@{named['branch']}" if named.get("branch") else ""
    return f"git+{named['url']}{branch}"


def raw_address(project: Project, path: str) -> str | None:
    """Address of a file on the branch for students; None without a repository, or one whose addresses are not known."""
    url = ((_config(project).get("repository") or {}).get("url") or "").rstrip("/")
    kinds = {"https://github.com/": "raw", "https://gitlab.com/": "-/raw"}
    raw = next((kind for host, kind in kinds.items() if url.startswith(host)), None)
    return f"{url}/{raw}/{BRANCH}/{path}" if raw else None


def _home(project: Project) -> str:
    return (_config(project).get("repository") or {}).get("url") or "the place where you found this"


def _config(project: Project) -> dict:
    path = project.root / "_config.yml"
    return (yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None) or {}


def wheel_for(project: Project, folder: Path, install: str | None) -> Path | None:
    """The wheel that lies beside the notebooks, in `folder`: a given one, or one that is built; None without."""
    if not install:
        return build_wheel(project, folder)
    if not _is_file(install):
        return None
    given = Path(install).expanduser()
    if not given.is_file():
        raise CourseError(f"There is no wheel {install}.", "Build one (uv build --wheel), or leave --install out.")
    target = folder / given.name
    target.write_bytes(given.read_bytes())
    return target


def _is_file(install: str) -> bool:
    return install.endswith(".whl") and "://" not in install and "@" not in install


def _archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), files[name], zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def wheel_name() -> str:
    """File name of the wheel of the version that is installed."""
    return f"cnncourse-{metadata.version('cnncourse')}-py3-none-any.whl"


def build_wheel(project: Project, folder: Path) -> Path:
    """The library's wheel, with the committed results and the ledger in it; built by uv, or by pip where uv is not."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir"]
    command = [uv, "build", "--wheel", "--quiet", "--out-dir"] if uv else pip
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run([*command, scratch, str(project.root)], capture_output=True, text=True)
        built = sorted(Path(scratch).glob("*.whl"))
        if done.returncode or not built:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise NoWheel(
                f"The library's wheel cannot be built: {reason}",
                "Building fetches hatchling once: try again with network, or say with --install what students install.",
            )
        target = folder / built[0].name
        target.write_bytes(built[0].read_bytes())
    return target
