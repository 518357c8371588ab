"""The student edition: no solution anywhere, and a path that goes on whatever is unsolved."""

import base64
import json
import re
import zipfile

import nbformat
import pytest
import torch
from mutants import NOTEBOOKS as FOLDER
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from typer.testing import CliRunner

from cnncourse.cli import app
from cnncourse.errors import CourseError
from cnncourse.pipeline import student as work
from cnncourse.pipeline.notebooks import Notebook, find
from cnncourse.project import Project

PROJECT = Project(FOLDER.parent)
NOTEBOOKS = find(PROJECT)
SPEC = "cnncourse==0.1.0"


def made(notebook):
    return work.student_notebook(notebook, SPEC)


def marks(cell):
    return cell.metadata.get("nbgrader", {})


each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)


# --- the convention -------------------------------------------------------------------------------------------------
@each_notebook
def test_every_exercise_has_difficulty_minutes_hint_and_check(notebook):
    cells = notebook.node.cells
    exercises = [k for k, cell in enumerate(cells) if marks(cell).get("solution")]
    assert len(exercises) >= 3
    for k in exercises:
        name, text = marks(cells[k])["grade_id"], cells[k - 1].source
        assert work.BEGIN in cells[k].source
        assert work.END in cells[k].source
        assert re.search(r"[★☆]{3}, \d+ minutes", text), f"{name}: difficulty and minutes"
        assert "<details><summary>Hint</summary>" in text, f"{name}: hint"
        check = marks(cells[k + 1])
        assert (check["grade_id"], check["grade"], check["locked"]) == (f"check-{name}", True, True)
    names = [marks(cell)["grade_id"] for cell in cells if marks(cell)]
    assert len(names) == len(set(names))


# --- one notebook ---------------------------------------------------------------------------------------------------
@each_notebook
def test_solutions_outputs_and_marks_are_gone_and_checks_are_locked(notebook):
    node = made(notebook)
    text = nbformat.writes(node)
    assert work.BEGIN not in text
    assert "HIDDEN TESTS" not in text
    for cell in node.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
        if marks(cell).get("grade"):
            assert (cell.metadata.editable, cell.metadata.deletable) == (False, False)
        if marks(cell).get("solution"):
            assert cell.source.count("raise NotImplementedError()") == 1


@each_notebook
def test_the_same_notebook_makes_the_same_bytes(notebook):
    assert nbformat.writes(made(notebook)) == nbformat.writes(made(Notebook(notebook.path)))


@each_notebook
def test_with_all_solutions_put_back_the_code_is_that_of_the_source(notebook):
    node, source = made(notebook), notebook.node
    assert node.cells.pop(next(k for k, cell in enumerate(node.cells) if cell.get("id") == work.SETUP_ID))
    for cell, original in zip(node.cells, source.cells, strict=True):
        if marks(original).get("solution"):
            region = re.search(f" *{work.BEGIN}\n.*?{work.END}", original.source, re.DOTALL)[0]
            cell.source = re.sub(r" *raise NotImplementedError\(\)", lambda m, region=region: region, cell.source)
        assert (cell.cell_type, cell.source, cell.get("id")) == (
            original.cell_type,
            original.source,
            original.get("id"),
        )


# --- the path -------------------------------------------------------------------------------------------------------
def walk(cells, capsys, **replaced):
    """Run the set-up, exercise and check cells; returns what each check printed, by the exercise's name."""
    space, printed = {"display": lambda *args, **kwargs: None}, {}
    tagged = next(cell for cell in cells if "parameters" in cell.metadata.get("tags", []))
    setup = next(cell for cell in cells if cell.get("id") == "setup")
    try:
        for cell in (tagged, setup):
            exec(compile(cell.source, cell.get("id"), "exec"), space)
        capsys.readouterr()
        for cell in cells:
            if marks(cell).get("solution"):
                exec(replaced.get(marks(cell)["grade_id"], cell.source), space)
            elif marks(cell).get("grade"):
                exec(cell.source, space)
                printed[marks(cell)["grade_id"].removeprefix("check-")] = capsys.readouterr().out
    finally:
        torch.use_deterministic_algorithms(False)
    return printed


@each_notebook
def test_without_solutions_each_check_asks_for_its_exercise(notebook, capsys, monkeypatch):
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    printed = walk(made(notebook).cells, capsys)
    assert printed
    for name, text in printed.items():
        assert text.startswith(f"… {name}: nothing to check yet.")


@each_notebook
def test_one_wrong_exercise_is_named_and_the_rest_is_accepted(notebook, capsys, monkeypatch):
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    names = [marks(cell)["grade_id"] for cell in notebook.node.cells if marks(cell).get("solution")]
    wrong = names[0]
    printed = walk(notebook.node.cells, capsys, **{wrong: f"def {wrong}(*args, **options):\n    return None"})
    assert printed.pop(wrong).startswith(f"✘ {wrong}: ")
    for name, text in printed.items():
        assert text == f"✔ {name}: accepted.\n"


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
    assert work.find_leaks(edition, NOTEBOOKS) == []


def test_the_first_code_cell_installs_what_is_missing(edition):
    for notebook in NOTEBOOKS:
        cells = nbformat.read(edition / f"{notebook.stem}.ipynb", as_version=4).cells
        first = next(cell for cell in cells if cell.cell_type == "code")
        assert first.id == work.SETUP_ID
        assert f'%pip install --quiet "{SPEC}"' in first.source
        assert "except ModuleNotFoundError" in first.source


def test_the_command(tmp_path):
    options = ["student", "01", "--output", str(tmp_path), "--install", SPEC, "--project", str(PROJECT.root)]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "01_convolution_by_hand.ipynb").exists()


# --- leaks ----------------------------------------------------------------------------------------------------------
REGION = "total = sum(x for x in xs)\nreturn total / max(len(xs), 1)"
CELL = f"def f(xs):\n    {work.BEGIN}\n    " + REGION.replace("\n", "\n    ") + f"\n    {work.END}"


@pytest.fixture
def secret(tmp_path):
    graded = {"grade": False, "grade_id": "f", "locked": False, "schema_version": 3, "solution": True, "task": False}
    node = new_notebook(cells=[new_code_cell(CELL, id="f", metadata={"nbgrader": graded})])
    path = tmp_path / "01_secret.ipynb"
    nbformat.write(node, path)
    return Notebook(path)


def highlighted(code):
    return "".join(f'<span class="n">{part.replace("<", "&lt;")}</span>' for part in re.split(r"(\W)", code))


PLANTED = {
    "source": ("a.ipynb", lambda: nbformat.writes(new_notebook(cells=[new_code_cell(f"if 1:\n    {REGION}")]))),
    "text cell": ("a.ipynb", lambda: nbformat.writes(new_notebook(cells=[new_markdown_cell(f"Answer: {REGION}")]))),
    "metadata": ("a.ipynb", lambda: nbformat.writes(new_notebook(metadata={"was": REGION}))),
    "output": ("a.ipynb", lambda: json.dumps({"outputs": [{"text": REGION.splitlines(keepends=True)}]}, indent=1)),
    "attachment": (
        "a.ipynb",
        lambda: json.dumps({"a.txt": base64.b64encode(("#" * 60 + "\n" + REGION).encode()).decode()}),
    ),
    "page": ("a.html", lambda: f"<pre>{highlighted(REGION)}</pre>"),
    "_sources": ("_sources/a.ipynb", lambda: json.dumps({"source": REGION})),
    "search index": ("searchindex.js", lambda: f"Search.setIndex({json.dumps({'text': REGION})})"),
    "other layout": ("a.py", lambda: "total=sum( x for x in xs )  # the sum\n\n\treturn total/max(len(xs),1)"),
}


@pytest.mark.parametrize("where", PLANTED)
def test_a_planted_leak_is_found(where, secret, tmp_path):
    name, text = PLANTED[where]
    path = tmp_path / "site" / name
    path.parent.mkdir(parents=True)
    path.write_text(text())
    leaks = work.find_leaks(tmp_path / "site", [secret])
    assert [(leak.file, leak.notebook, leak.cell) for leak in leaks] == [(path, "01_secret", "f")]


def test_a_leak_in_an_archive_is_found(secret, tmp_path):
    (tmp_path / "site").mkdir()
    with zipfile.ZipFile(tmp_path / "site" / "a.zip", "w") as archive:
        archive.writestr("deep/a.py", REGION)
        archive.writestr("library.whl", REGION)
    assert len(work.find_leaks(tmp_path / "site", [secret])) == 1


def test_half_a_solution_and_other_code_are_no_leak(secret, tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.py").write_text(REGION.splitlines()[0] + "\nreturn 0\n")
    assert work.find_leaks(tmp_path / "site", [secret]) == []


def test_hidden_tests_are_taken_out_and_looked_for(tmp_path):
    graded = {
        "grade": True,
        "grade_id": "t",
        "locked": True,
        "points": 1,
        "schema_version": 3,
        "solution": False,
        "task": False,
    }
    source = f"assert 1\n{work.HIDDEN[0]}\nassert secret == 41\n{work.HIDDEN[1]}"
    nbformat.write(new_notebook(cells=[new_code_cell(source, metadata={"nbgrader": graded})]), tmp_path / "01_h.ipynb")
    notebook = Notebook(tmp_path / "01_h.ipynb")
    assert "41" not in nbformat.writes(made(notebook))
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a.txt").write_text("assert secret == 41")
    assert len(work.find_leaks(tmp_path / "site", [notebook])) == 1


def test_a_solution_that_a_text_repeats_stops_the_edition(secret, tmp_path):
    node = secret.node
    node.cells.append(new_markdown_cell(f"```\n{REGION}\n```"))
    root = tmp_path / "course"
    (root / "notebooks").mkdir(parents=True)
    (root / "_toc.yml").write_text("format: jb-book\nroot: notebooks/01_secret\n")
    nbformat.write(node, root / "notebooks" / "01_secret.ipynb")
    with pytest.raises(CourseError, match="Solutions would leak"):
        work.student_edition(Project(root), tmp_path / "out", install=SPEC)


@pytest.mark.parametrize("source", [CELL.replace(work.END, ""), f"x = 1\n{work.END}\n{work.BEGIN}"])
def test_marks_that_do_not_fit_are_named(source, tmp_path):
    graded = {"grade": False, "grade_id": "f", "locked": False, "schema_version": 3, "solution": True, "task": False}
    nbformat.write(new_notebook(cells=[new_code_cell(source, metadata={"nbgrader": graded})]), tmp_path / "01_x.ipynb")
    with pytest.raises(CourseError, match="01_x"):
        made(Notebook(tmp_path / "01_x.ipynb"))
