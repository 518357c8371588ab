"""The student edition: no solution anywhere, and a path that goes on whatever is unsolved."""

import hashlib
import re
import subprocess
import tomllib
import types
import zipfile
from pathlib import Path

import nbformat
import pytest
import torch
from IPython.core.inputtransformer2 import TransformerManager
from mutants import NOTEBOOKS as FOLDER
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from packaging.requirements import Requirement
from typer.testing import CliRunner

from cnncourse.cli import app
from cnncourse.errors import CourseError
from cnncourse.pipeline import exercises
from cnncourse.pipeline import student as work
from cnncourse.pipeline.exercises import BEGIN, BEGIN_HIDDEN, END, END_HIDDEN, STUB, is_solution, marks
from cnncourse.pipeline.leaks import find_leaks
from cnncourse.pipeline.notebooks import Notebook, find
from cnncourse.project import Project

PROJECT = Project(FOLDER.parent)
NOTEBOOKS = find(PROJECT)
SPEC = "cnncourse==0.1.0"
REGION = "total = sum(x for x in xs)\nreturn total / max(len(xs), 1)"
CELL = f"def f(xs):\n    {BEGIN}\n    " + REGION.replace("\n", "\n    ") + f"\n    {END}"


def made(notebook):
    return work.student_notebook(notebook, SPEC)


def write_notebook(folder, source, *more, **graded):
    graded = {"grade": False, "grade_id": "f", "locked": False, "solution": False, "task": False} | graded
    cell = new_code_cell(source, id="f", metadata={"nbgrader": graded | {"schema_version": 3}})
    path = folder / "01_secret.ipynb"
    nbformat.write(new_notebook(cells=[cell, *more]), path)
    return path


each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)


# --- one notebook ---------------------------------------------------------------------------------------------------
@each_notebook
def test_solutions_outputs_and_marks_are_gone_and_checks_are_locked(notebook):
    node = made(notebook)
    text = nbformat.writes(node)
    assert "BEGIN SOLUTION" not in text
    assert "HIDDEN TESTS" not in text
    for cell in node.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
        if marks(cell).get("grade"):
            assert (cell.metadata.editable, cell.metadata.deletable) == (False, False)
        if is_solution(cell):
            assert cell.source.count(STUB) == 1
            assert cell.metadata.deletable is False
            assert cell.metadata.get("editable", True)


@each_notebook
def test_the_same_notebook_makes_the_same_bytes(notebook):
    assert nbformat.writes(made(notebook)) == nbformat.writes(made(Notebook(notebook.path)))


@each_notebook
def test_with_all_solutions_put_back_the_code_is_that_of_the_source(notebook):
    node, source = made(notebook), notebook.node
    assert node.cells.pop(next(k for k, cell in enumerate(node.cells) if cell.get("id") == work.SETUP_ID))
    for cell, original in zip(node.cells, source.cells, strict=True):
        code = cell.source
        if is_solution(original):
            assert code != original.source
            before, after = re.fullmatch(rf"(.*?)[ ]*{re.escape(STUB)}(.*)", code, re.DOTALL).groups()
            region = re.search(rf" *{BEGIN}\n.*?{END}", original.source, re.DOTALL)[0]
            code = before + region + after
        assert (cell.cell_type, code, cell.get("id")) == (original.cell_type, original.source, original.get("id"))
        assert cell.get("attachments") == original.get("attachments")


@each_notebook
def test_nbgrader_reads_it(notebook, tmp_path):
    from nbgrader.nbgraderformat import read

    path = tmp_path / "assignment.ipynb"
    path.write_text(nbformat.writes(made(notebook)), encoding="utf-8")
    cells = read(path, as_version=4).cells  # validates nbgrader's metadata
    names = [exercise.name for exercise in exercises.read(notebook)]
    assert [marks(cell)["grade_id"] for cell in cells if is_solution(cell)] == names
    assert [marks(cell)["grade_id"] for cell in cells if marks(cell).get("grade")] == [f"check-{n}" for n in names]


def test_pictures_of_texts_stay(tmp_path):
    picture = {"dot.png": {"image/png": "iVBORw0KGgo="}}
    text = new_markdown_cell("![a dot](attachment:dot.png)", attachments=picture)
    nbformat.write(new_notebook(cells=[text]), tmp_path / "01_dot.ipynb")
    assert made(Notebook(tmp_path / "01_dot.ipynb")).cells[0].attachments == picture


@pytest.mark.parametrize("source", [CELL.replace(END, ""), f"x = 1\n{END}\n{BEGIN}"])
def test_marks_that_do_not_fit_are_named(source, tmp_path):
    path = write_notebook(tmp_path, source, grade=False, solution=True)
    with pytest.raises(CourseError, match="01_secret"):
        made(Notebook(path))


def test_hidden_tests_are_taken_out(tmp_path):
    source = f"check.f(f)\n{BEGIN_HIDDEN}\nassert f([40]) == 'forty'\n{END_HIDDEN}"
    node = made(Notebook(write_notebook(tmp_path, source, grade=True, points=1, locked=True)))
    assert node.cells[-1].source.strip() == "check.f(f)"
    assert "forty" not in nbformat.writes(node)


# --- the path -------------------------------------------------------------------------------------------------------
def walk(cells, space, capsys, **replaced):
    """Run the exercise and check cells; what each check printed, by the exercise's name."""
    space, printed = dict(space), {}
    capsys.readouterr()  # of the set-up
    for cell in cells:
        if is_solution(cell):
            source = replaced.get(marks(cell)["grade_id"], cell.source)
            exec(compile(source, marks(cell)["grade_id"], "exec"), space)
        elif marks(cell).get("grade"):
            exec(compile(cell.source, marks(cell)["grade_id"], "exec"), space)
            printed[marks(cell)["grade_id"].removeprefix("check-")] = capsys.readouterr().out
    assert printed
    return printed


@pytest.fixture(scope="module")
def space_of():
    """The names that a notebook's parameters and set-up cells bind; each notebook is set up once."""
    spaces = {}

    def space_of(notebook):
        if notebook.stem not in spaces:
            space = {"display": lambda *args, **kwargs: None}
            before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
            try:
                for cell in notebook.node.cells:
                    if "parameters" in cell.metadata.get("tags", []) or cell.get("id") == exercises.SETUP_ID:
                        exec(compile(cell.source, cell.id, "exec"), space)
            finally:
                torch.use_deterministic_algorithms(before[0])
                torch.set_num_threads(before[1])
            spaces[notebook.stem] = space
        return spaces[notebook.stem]

    return space_of


@each_notebook
def test_without_solutions_each_check_asks_for_its_exercise(notebook, space_of, capsys, monkeypatch):
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    printed = walk(made(notebook).cells, space_of(notebook), capsys)
    for name, text in printed.items():
        assert re.fullmatch(rf"… {name}: nothing to check yet\..*\n", text)


@each_notebook
def test_each_wrong_exercise_is_named_and_the_others_are_accepted(notebook, space_of, capsys, monkeypatch):
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    for wrong in (exercise.name for exercise in exercises.read(notebook)):
        printed = walk(
            notebook.node.cells,
            space_of(notebook),
            capsys,
            **{wrong: f"def {wrong}(*args, **options):\n    return 'no'"},
        )
        assert printed.pop(wrong).startswith(f"✘ {wrong}: ")
        for name, text in printed.items():
            assert text == f"✔ {name}: accepted.\n"


@each_notebook
def test_one_open_exercise_leaves_the_others_alone(notebook, space_of, capsys, monkeypatch):
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    stubs = {marks(cell)["grade_id"]: cell.source for cell in made(notebook).cells if is_solution(cell)}
    for name, stub in stubs.items():
        printed = walk(notebook.node.cells, space_of(notebook), capsys, **{name: stub})
        assert printed.pop(name).startswith("… ")
        assert {text[0] for text in printed.values()} <= {"✔"}


# --- the set-up cell ------------------------------------------------------------------------------------------------
WHEEL = "cnncourse-0.1.0-py3-none-any.whl"


@pytest.fixture
def run_setup(monkeypatch, tmp_path):
    """Run a set-up cell in an empty folder on a machine with the library, or without; returns what pip was asked."""

    def run_setup(install, installed, pip_works=True):
        monkeypatch.chdir(tmp_path)
        library = [object()] if installed else []
        monkeypatch.setattr("importlib.util.find_spec", lambda name: library[0] if library else None)
        asked = []

        def magic(name, line):
            asked.append((name, line))
            library.extend([object()] * pip_works)

        space = {"get_ipython": lambda: types.SimpleNamespace(run_line_magic=magic)}
        exec(TransformerManager().transform_cell(work.setup_source(install)), space)
        return asked

    return run_setup


@pytest.mark.parametrize("install", [SPEC, WHEEL, "git+https://example.org/a/b@main"])
def test_nothing_is_installed_where_the_library_is(install, run_setup):
    assert run_setup(install, installed=True) == []


@pytest.mark.parametrize("install", [SPEC, "git+https://example.org/a/b@main", f"https://example.org/{WHEEL}"])
def test_what_is_missing_is_installed(install, run_setup):
    assert run_setup(install, installed=False) == [("pip", f'install --quiet "{install}"')]


def test_a_wheel_is_installed_from_beside_the_notebook(run_setup, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"Put {WHEEL} beside this notebook"):
        run_setup(WHEEL, installed=False)
    (tmp_path / WHEEL).touch()
    assert run_setup(WHEEL, installed=False) == [("pip", 'install --quiet "{wheel}"')]  # IPython fills it in


def test_where_pip_does_not_help_the_cell_says_what_would(run_setup, tmp_path):
    (tmp_path / WHEEL).touch()
    for install in (SPEC, WHEEL):
        with pytest.raises(ModuleNotFoundError, match=f'uv pip install "{install}"'):
            run_setup(install, installed=False, pip_works=False)


def test_the_library_accepts_what_colab_has():
    colab = {"torch": "2.11.0", "torchvision": "0.26.0", "numpy": "2.0.2", "ipywidgets": "7.7.1", "pandas": "2.2.2"}
    colab |= {"matplotlib": "3.10.0", "ipython": "7.34.0", "scikit-learn": "1.6.1", "seaborn": "0.13.2"}
    declared = tomllib.loads((PROJECT.root / "pyproject.toml").read_text())["project"]["dependencies"]
    ranges = {(r := Requirement(line)).name: r.specifier for line in declared}
    assert set(colab) <= set(ranges)
    assert [name for name, version in colab.items() if version not in ranges[name]] == []


@pytest.mark.parametrize("install", ['x" --index y', "x\ny", "{x}", "$x", ""])
def test_what_pip_cannot_be_given_is_refused(install):
    with pytest.raises(CourseError, match="cannot be given to pip"):
        work.setup_source(install)


# --- the edition ----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def edition(tmp_path_factory):
    folder = tmp_path_factory.mktemp("student")
    work.student_edition(PROJECT, folder, install=SPEC)
    return folder


def test_the_edition_holds_every_notebook_and_an_archive_of_the_same(edition):
    names = {f"{notebook.stem}.ipynb" for notebook in NOTEBOOKS} | {"README.txt"}
    assert {path.name for path in edition.iterdir()} == names | {work.ARCHIVE}
    with zipfile.ZipFile(edition / work.ARCHIVE) as archive:
        assert set(archive.namelist()) == names
        assert all(archive.read(name) == (edition / name).read_bytes() for name in names)


def test_the_archive_has_stable_bytes(edition, tmp_path):
    work.student_edition(PROJECT, tmp_path, install=SPEC)
    assert (tmp_path / work.ARCHIVE).read_bytes() == (edition / work.ARCHIVE).read_bytes()


def test_nothing_leaks(edition):
    assert find_leaks(edition, NOTEBOOKS) == []


def test_the_first_code_cell_is_the_set_up(edition):
    for notebook in NOTEBOOKS:
        cells = nbformat.read(edition / f"{notebook.stem}.ipynb", as_version=4).cells
        first = next(cell for cell in cells if cell.cell_type == "code")
        assert (first.id, first.source) == (work.SETUP_ID, work.setup_source(SPEC))
        assert (first.metadata.editable, first.metadata.deletable) == (False, False)


@pytest.fixture
def small(tmp_path):
    """A course of one notebook."""
    project = Project(tmp_path / "course")
    project.notebooks.mkdir(parents=True)
    (project.root / "_toc.yml").write_text("format: jb-book\nroot: notebooks/01_secret\n")
    write_notebook(project.notebooks, CELL, solution=True)
    return project


def test_the_address_in_the_configuration_is_what_students_install(small, tmp_path):
    config = small.root / "_config.yml"
    config.write_text('repository:\n  url: ""\n')
    assert work.repository(small) is None
    config.write_text("repository:\n  url: https://example.org/course\n  branch: student\n")
    written = work.student_edition(small, tmp_path / "out")
    node = nbformat.read(tmp_path / "out" / "01_secret.ipynb", as_version=4)
    assert 'install --quiet "git+https://example.org/course@student"' in node.cells[0].source
    assert [path.suffix for path in written] == [".ipynb", ".txt", ".zip"]


def test_a_wheel_of_the_instructors_lies_beside_the_notebooks(small, tmp_path):
    (tmp_path / WHEEL).write_bytes(b"a wheel")
    work.student_edition(small, tmp_path / "out", install=str(tmp_path / WHEEL))
    assert (tmp_path / "out" / WHEEL).read_bytes() == b"a wheel"
    node = nbformat.read(tmp_path / "out" / "01_secret.ipynb", as_version=4)
    assert f'wheel = "{WHEEL}"' in node.cells[0].source
    assert f"The library comes from {WHEEL}." in (tmp_path / "out/README.txt").read_text()
    with zipfile.ZipFile(tmp_path / "out" / work.ARCHIVE) as archive:
        assert WHEEL in archive.namelist()
    with pytest.raises(CourseError, match="no wheel"):
        work.student_edition(small, tmp_path / "out", install="other.whl")


@pytest.mark.parametrize("has_uv", [True, False])
def test_the_wheel_is_built_by_uv_or_else_by_pip(has_uv, small, tmp_path, monkeypatch):
    def run(command, **options):
        assert command[0] == ("/bin/uv" if has_uv else work.sys.executable)
        assert ("build" if has_uv else "pip") in command
        (Path(command[-2]) / WHEEL).write_bytes(b"built")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(work.sys, "executable", str(tmp_path / "python"))  # no uv beside it
    monkeypatch.setattr(work.shutil, "which", lambda name: "/bin/uv" if has_uv else None)
    monkeypatch.setattr(work.subprocess, "run", run)
    work.student_edition(small, tmp_path / "out")
    assert (tmp_path / "out" / WHEEL).read_bytes() == b"built"


def test_a_wheel_that_cannot_be_built_is_named(small, tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "a long story\nno network\n")
    monkeypatch.setattr(work.subprocess, "run", lambda *args, **options: failed)
    with pytest.raises(CourseError, match="cannot be built: no network"):
        work.student_edition(small, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_sources_are_not_overwritten(small):
    before = hashlib.sha256((small.notebooks / "01_secret.ipynb").read_bytes()).digest()
    with pytest.raises(CourseError, match="holds the sources"):
        work.student_edition(small, small.root / "book" / ".." / "notebooks", install=SPEC)
    assert hashlib.sha256((small.notebooks / "01_secret.ipynb").read_bytes()).digest() == before


def test_a_solution_that_another_notebook_tells_stops_the_edition(small, tmp_path):
    text = new_markdown_cell(f"```\n{REGION}\n```")
    nbformat.write(new_notebook(cells=[text]), small.notebooks / "02_tells.ipynb")
    with pytest.raises(CourseError, match=r"would leak:\n  02_tells.ipynb: cell f of 01_secret"):
        work.student_edition(small, tmp_path / "out", ["02"], install=SPEC)
    assert not (tmp_path / "out").exists()


def test_the_output_cannot_be_written(small, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(CourseError, match="cannot be written to"):
        work.student_edition(small, tmp_path / "out", install=SPEC)


def test_the_command(tmp_path):
    options = ["student", "01", "--output", str(tmp_path), "--install", SPEC, "--project", str(PROJECT.root)]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "01_convolution_by_hand.ipynb").exists()


# --- a branch of its own --------------------------------------------------------------------------------------------
@pytest.fixture
def wheel_built(small, monkeypatch):
    (small.root / "pyproject.toml").write_text('[project]\nname = "cnncourse"\ndependencies = ["torch>=2.11"]\n')

    def build_wheel(project, folder):
        (folder / WHEEL).write_bytes(b"built")
        return folder / WHEEL

    monkeypatch.setattr(work, "build_wheel", build_wheel)


def test_a_branch_holds_what_binder_and_a_plain_machine_need(small, wheel_built, tmp_path):
    result = CliRunner().invoke(app, ["student", "--branch", "--project", str(small.root), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0
    names = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert names == {
        *("README.md", "requirements.txt", "runtime.txt"),
        *("notebooks/01_secret.ipynb", f"notebooks/{WHEEL}"),
    }
    assert set(result.stdout.split()) == {str(tmp_path / "out" / name) for name in names}
    requirements = (tmp_path / "out" / "requirements.txt").read_text().split()
    assert requirements[:2] == [f"./notebooks/{WHEEL}", "torch>=2.11"]
    node = nbformat.read(tmp_path / "out" / "notebooks" / "01_secret.ipynb", as_version=4)
    assert f'wheel = "{WHEEL}"' in node.cells[0].source
    assert find_leaks(tmp_path / "out", find(small)) == []


@pytest.mark.parametrize(
    ("url", "raw"),
    [
        ("https://github.com/some/course", "https://github.com/some/course/raw/student"),
        ("https://gitlab.com/some/course", "https://gitlab.com/some/course/-/raw/student"),
    ],
)
def test_notebooks_of_a_published_branch_install_the_wheel_from_there(small, wheel_built, tmp_path, url, raw):
    (small.root / "_config.yml").write_text(f"repository:\n  url: {url}\n")
    work.student_branch(small, tmp_path / "out")
    node = nbformat.read(tmp_path / "out" / "notebooks" / "01_secret.ipynb", as_version=4)
    assert f'%pip install --quiet "{raw}/notebooks/{WHEEL}"' in node.cells[0].source
    assert (tmp_path / "out" / "notebooks" / WHEEL).is_file()


def test_a_branch_of_chosen_notebooks_is_refused(small):
    result = CliRunner().invoke(app, ["student", "01", "--branch", "--project", str(small.root)])
    assert "holds all notebooks" in result.exception.what
