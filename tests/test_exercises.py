"""The convention of exercises: every notebook of the course keeps it, and each departure from it is named."""

import re

import nbformat
import pytest
from mutants import NOTEBOOKS as FOLDER
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from cnncourse.errors import CourseError
from cnncourse.pipeline import exercises
from cnncourse.pipeline.notebooks import Notebook, find
from cnncourse.project import Project

NOTEBOOKS = find(Project(FOLDER.parent))
each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)

TITLE = "# Means\n\nDifficulty: ★☆☆. Two exercises, about 10 minutes."
TEXT = """## 1 Means

### Exercise {number}: {title}
★★☆, {minutes} minutes. Write `{name}(xs)`.

<details><summary>Hint</summary>

How many are there?

</details>"""
SOLUTION = (
    "def mean(xs):\n    ### BEGIN SOLUTION\n    total = sum(xs)\n    return total / len(xs)\n    ### END SOLUTION"
)


def solution(source, name, **changes):
    graded = {"grade": False, "grade_id": name, "locked": False, "schema_version": 3, "solution": True, "task": False}
    return new_code_cell(source, id=name, metadata={"nbgrader": graded | changes})


def check(source, name, **changes):
    graded = {"grade": True, "grade_id": f"check-{name}", "locked": True, "points": 1, "schema_version": 3}
    graded |= {"solution": False, "task": False}
    return new_code_cell(source, id=f"check-{name}", metadata={"nbgrader": graded | changes})


def cells():
    texts = [dict(number=1, title="mean", minutes=4, name="mean"), dict(number=2, title="sum", minutes=6, name="total")]
    texts = [new_markdown_cell(TEXT.format(**text), id=f"{text['name']}-exercise") for text in texts]
    return {
        "title": new_markdown_cell(TITLE, id="title"),
        "setup": new_code_cell("from cnncourse.teaching import numpy_mlp as check", id="setup"),
        "text": texts[0],
        "mean": solution(SOLUTION, "mean"),
        "check": check("check.mean(mean)", "mean"),
        "experiment": new_code_cell("average = max(1, 2)", id="experiment"),
        "text 2": texts[1],
        "total": solution(SOLUTION.replace("mean", "total").replace("total =", "t ="), "total"),
        "check 2": check("check.total(total, [1, 2])", "total"),
        "both": new_code_cell("check.both((mean, total))", id="both"),
    }


@pytest.fixture
def read(tmp_path):
    def read(cells):
        path = tmp_path / "01_means.ipynb"
        nbformat.write(new_notebook(cells=list(cells.values())), path)
        return exercises.read(Notebook(path))

    return read


@each_notebook
def test_the_courses_notebooks_keep_the_convention(notebook):
    assert len(exercises.read(notebook)) >= 3


@each_notebook
def test_every_notebook_with_exercises_has_tests_of_its_checks(notebook):
    tests = [path.read_text(encoding="utf-8") for path in FOLDER.parent.glob("tests/test_teaching_*.py")]
    assert sum(f'"{notebook.stem}"' in text and "exercise_tests(" in text for text in tests) == 1


def test_what_is_read(read):
    first, second = read(cells())
    assert (first.name, first.number, first.title, first.hint) == ("mean", 1, "mean", "How many are there?")
    assert (first.difficulty, first.minutes, first.points, first.position) == (2, 4, 1, 3)
    assert (second.name, second.number, second.minutes, second.position) == ("total", 2, 6, 7)


def change(cell, old, new):
    def changed(made):
        assert re.search(old, made[cell].source)
        made[cell].source = re.sub(old, new, made[cell].source)

    return changed


def mark(cell, **changes):
    return lambda made: made[cell].metadata.nbgrader.update(changes)


def drop(cell):
    return lambda made: made.pop(cell)


def add(source, behind="both"):
    def added(made):
        items = list(made.items())
        place = list(made).index(behind) + 1
        made.clear()
        made.update([*items[:place], ("new", new_code_cell(source, id="new")), *items[place:]])

    return added


FAULTS = {
    "no heading": (change("text", "### Exercise 1: mean\n", ""), "cell mean-exercise: a heading"),
    "another number": (change("text 2", "Exercise 2", "Exercise 3"), "is exercise 2 of the notebook, but .* says 3"),
    "no difficulty": (change("text", "★★☆, ", ""), "has to begin like"),
    "stars that mean nothing": (change("text", "★★☆", "☆★☆"), "has to begin like"),
    "no minutes": (change("text", "4 minutes. ", ""), "has to begin like"),
    "hours": (change("text", "4 minutes", "400 minutes"), "has to begin like"),
    "another function": (change("text", r"`mean\(", "`average("), r"name the function .* `mean\(...\)`"),
    "no hint": (change("text", "Hint", "Answer"), "folded hint"),
    "an empty hint": (change("text", "How many are there\\?", ""), "folded hint"),
    "a hint that JupyterLab shows raw": (change("text", "</summary>\n\n", "</summary>\n"), "folded hint"),
    "no text": (drop("text"), "exercise's text"),
    "no check": (drop("check"), "behind mean its check is missing"),
    "an open check": (mark("check", locked=False), "behind mean its check is missing"),
    "a check without points": (mark("check", points=0), "behind mean its check is missing"),
    "the check of another": (change("check", r"check\.mean", "check.median"), r"call check.mean\(mean\)"),
    "the check of another name": (mark("check", grade_id="check-total"), "check-total is used 2 times"),
    "a locked solution": (mark("mean", locked=True), "metadata of a solution"),
    "a grade_id that is no name": (mark("mean", grade_id="the mean"), "metadata of a solution"),
    "a function of another name": (change("mean", "def mean", "def average"), "does not define mean"),
    "the same name twice": (mark("total", grade_id="mean"), "mean is used 2 times"),
    "no region": (change("mean", " *### (BEGIN|END) SOLUTION\n?", ""), "one region between"),
    "an open region": (change("mean", " *### END SOLUTION", ""), "one region between"),
    "marks of another form": (change("mean", "### ", "# "), "one region between"),
    "no Python": (change("mean", "total =", "total = ="), "not Python"),
    "a region too large": (
        change("mean", r"def mean\(xs\):\n(.*BEGIN.*)\n", "\\1\ndef mean(xs):\n"),
        "not define mean any more",
    ),
    "marks elsewhere": (add("### BEGIN SOLUTION\nx = 1\n### END SOLUTION"), "no nbgrader metadata"),
    "hidden tests elsewhere": (add("### BEGIN HIDDEN TESTS\nx = 1\n### END HIDDEN TESTS"), "metadata of a check"),
    "open hidden tests": (change("check", "$", "\n### BEGIN HIDDEN TESTS\nx"), "hidden tests stand between"),
    "an experiment that uses it": (add("print(mean([1]))"), "cell new: it uses mean"),
    "an experiment that replaces it": (add("mean = mean([1])"), "cell new: it uses mean"),
    "a function that uses it": (add("def f(x):\n    return mean(x)"), "cell new: it uses mean"),
    "a check and more": (add("check.mean(mean)\nprint(total)"), "cell new: it uses mean"),
    "an exercise that uses another": (change("total", "len", "mean"), "cell total: it uses mean"),
    "a number of exercises that is off": (change("title", "Two", "Three"), "'Two exercises, about 10 minutes'"),
    "minutes that do not add up": (change("title", "10", "20"), "'Two exercises, about 10 minutes'"),
    "no word on the exercises": (change("title", "Two.*", ""), "'Two exercises, about 10 minutes'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_departure_is_named(fault, read):
    make, message = FAULTS[fault]
    made = cells()
    make(made)
    with pytest.raises(CourseError, match="01_means: exercises depart") as caught:
        read(made)
    assert re.search(message, str(caught.value), re.DOTALL), caught.value


KEEPING = {
    "another thing of the same name": add("mean = 3\nprint(mean)"),
    "an import of the same name": add("from statistics import mean\nprint(mean([1]))"),
    "a local name": add("print([mean for mean in (1, 2)], *map(lambda total: total + 1, [1]))"),
    "a use before the exercise": add("mean = 2\nprint(mean)", behind="setup"),
    "hidden tests in a check": change(
        "check", "$", "\n### BEGIN HIDDEN TESTS\nassert mean([1]) == 1\n### END HIDDEN TESTS"
    ),
    "capitals": change("title", "Two exercises", "It has two exercises"),
}


@pytest.mark.parametrize("variation", KEEPING)
def test_what_the_convention_leaves_open(variation, read):
    made = cells()
    KEEPING[variation](made)
    assert len(read(made)) == 2
