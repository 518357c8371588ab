"""The exercises of a notebook, and the convention that makes them one: what stands in which cell.

An exercise is three cells in a row::

    Markdown    ### Exercise 3: zero padding
                ★☆☆, 5 minutes. Write `pad(image, P)`: ...
                <details><summary>Hint</summary> ... </details>
    solution    nbgrader cell with grade_id "pad"; its region between the marks becomes a stub for students
    check       nbgrader cell with grade_id "check-pad": `check.pad(pad)`

Difficulty, minutes and hint are written once, where the reader sees them, and read from there.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nbformat import NotebookNode

from cnncourse.errors import CourseError
from cnncourse.pipeline.notebooks import Notebook

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
BEGIN_HIDDEN, END_HIDDEN = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"
STUB = "raise NotImplementedError()"
SETUP_ID = "setup"  # the notebook's own set-up cell: all that an exercise and its check need
LONGEST_MINUTES = 45

_TITLE = re.compile(r"^### Exercise (\d+): (\S.*)$", re.MULTILINE)
_EFFORT = re.compile(r"\s*([★☆]{3}), (\d+) minutes?\. \S")
_STARS = {"★☆☆": 1, "★★☆": 2, "★★★": 3}
# JupyterLab and Colab read Markdown inside <details> only between blank lines.
_HINT = re.compile(r"^<details><summary>Hint</summary>\n\n(.+?)\n\n</details>\s*$", re.DOTALL | re.MULTILINE)
_SUMMARY = re.compile(r"\b(\w+) exercises?, about (\d+) minutes", re.IGNORECASE)
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_REGION = re.compile(rf"^([ \t]*){BEGIN}[ \t]*\n(.*?)^[ \t]*{END}[ \t]*$", re.DOTALL | re.MULTILINE)
_HIDDEN_REGION = re.compile(
    rf"^([ \t]*){BEGIN_HIDDEN}[ \t]*\n(.*?)^[ \t]*{END_HIDDEN}[ \t]*$", re.DOTALL | re.MULTILINE
)
# What nbgrader acts on: it would cut a region out whose marks look otherwise, and the search for leaks would miss it.
_MARKS, _HIDDEN_MARKS = ("BEGIN SOLUTION", "END SOLUTION"), ("BEGIN HIDDEN TESTS", "END HIDDEN TESTS")
_SOLUTION = {"grade": False, "locked": False, "schema_version": 3, "solution": True, "task": False}
_CHECK = {"grade": True, "locked": True, "schema_version": 3, "solution": False, "task": False}


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Attributes
    ----------
    name : str
        The function that the reader writes, the solution cell's ``grade_id``, and the check's name.
    number : int
        From 1, in the order of the notebook.
    title : str
    difficulty : int
        Stars, 1 to 3.
    minutes, points : int
    hint : str
        Markdown.
    position : int
        Index of the solution cell; its text stands before it, its check behind it.
    """

    name: str
    number: int
    title: str
    difficulty: int
    minutes: int
    points: int
    hint: str
    position: int


def read(notebook: Notebook) -> list[Exercise]:
    """The exercises of a notebook, in order.

    Raises
    ------
    CourseError
        When a cell departs from the convention; it lists every place.
    """
    reader = _Reader(notebook)
    if reader.faults:
        raise CourseError(
            f"{notebook.stem}: exercises depart from the convention:\n" + "\n".join(f"  {f}" for f in reader.faults),
            "cnncourse/pipeline/exercises.py says what stands in which cell; notebook 02 shows it.",
        )
    return reader.exercises


def marks(cell: Mapping[str, Any]) -> Mapping[str, Any]:
    """nbgrader's metadata of a cell; empty for other cells."""
    return cell.get("metadata", {}).get("nbgrader", {})


def is_solution(cell: Mapping[str, Any]) -> bool:
    return bool(marks(cell).get("solution"))


def is_check(cell: Mapping[str, Any]) -> bool:
    """Whether a cell only runs checks: it may use what readers write, because a check never stops the notebook."""
    if marks(cell).get("grade"):
        return True
    tree = _parsed(cell["source"]) if cell["cell_type"] == "code" else None
    return tree is not None and bool(tree.body) and all(map(_calls_a_check, tree.body))


def regions(source: str) -> list[str]:
    """What stands between the marks of a solution cell, with its indentation."""
    return [region for _, region in _REGION.findall(source)]


def hidden_tests(source: str) -> list[str]:
    """What stands between the marks of hidden tests in a check cell."""
    return [region for _, region in _HIDDEN_REGION.findall(source)]


def stubbed(source: str) -> str:
    """A solution cell with a stub in place of each region, as students get it."""
    return _REGION.sub(lambda region: f"{region[1]}{STUB}", source)


class _Reader:
    def __init__(self, notebook: Notebook):
        self.cells = notebook.node.cells
        self.faults: list[str] = []
        self.exercises: list[Exercise] = []
        for number, position in enumerate((k for k, cell in enumerate(self.cells) if is_solution(cell)), 1):
            self.read(position, number)
        self.expect_unique_names()
        self.expect_marks_in_their_cells()
        self.expect_independence()
        self.expect_summary()

    def fault(self, position: int, text: str) -> None:
        self.faults.append(f"cell {self.cells[position].get('id', position + 1)}: {text}")

    def read(self, position: int, expected: int) -> None:
        before = len(self.faults)
        name = marks(self.cells[position]).get("grade_id", "")
        self.expect_solution(position, name)
        points = self.expect_check(position + 1, name)
        text = self.cells[position - 1] if position else None
        if text is None or text.cell_type != "markdown":
            self.fault(position, "the exercise's text has to stand in the Markdown cell before it.")
            return
        tail, number, title = text.source, 0, ""
        for title_match in _TITLE.finditer(text.source):
            number, title, tail = int(title_match[1]), title_match[2], text.source[title_match.end() :]
        effort, hint = _EFFORT.match(tail), _HINT.search(tail)
        if not title:
            self.fault(position - 1, "a heading '### Exercise N: title' is missing.")
        elif number != expected:
            self.fault(position - 1, f"this is exercise {expected} of the notebook, but the heading says {number}.")
        if not effort or effort[1] not in _STARS or not 0 < int(effort[2]) <= LONGEST_MINUTES:
            self.fault(position - 1, "the line below the heading has to begin like '★★☆, 8 minutes. Write ...'.")
        elif f"`{name}(" not in tail:
            self.fault(position - 1, f"the text should name the function with its arguments: `{name}(...)`.")
        if not hint:
            self.fault(
                position - 1,
                "the cell has to end in a folded hint: '<details><summary>Hint</summary>', a blank line, the hint, "
                "a blank line, '</details>'.",
            )
        if len(self.faults) == before:
            exercise = Exercise(
                name, number, title, _STARS[effort[1]], int(effort[2]), points, hint[1].strip(), position
            )
            self.exercises.append(exercise)

    def expect_solution(self, position: int, name: str) -> None:
        cell = self.cells[position]
        if dict(marks(cell)) != {**_SOLUTION, "grade_id": name} or not name.isidentifier():
            self.fault(position, f"nbgrader metadata of a solution are {_SOLUTION} and a grade_id that is a name.")
        found = regions(cell.source)
        if len(found) != 1 or [cell.source.count(mark) for mark in _MARKS] != [1, 1]:
            self.fault(position, f"it needs one region between {BEGIN} and {END}.")
        tree = _parsed(cell.source)
        if tree is None:
            self.fault(position, "the cell is not Python.")
        elif name not in _bound(tree):
            self.fault(position, f"the cell does not define {name}, which is its grade_id.")
        stub = _parsed(stubbed(cell.source))
        if stub is None or name not in _bound(stub):
            self.fault(position, f"with a stub in place of the region the cell does not define {name} any more.")

    def expect_check(self, position: int, name: str) -> int:
        cell = self.cells[position] if position < len(self.cells) else NotebookNode(cell_type="none", metadata={})
        found = dict(marks(cell))
        points = found.pop("points", 0)
        if found != {**_CHECK, "grade_id": f"check-{name}"} or not isinstance(points, int) or points < 1:
            where = min(position, len(self.cells) - 1)
            self.fault(
                where, f"behind {name} its check is missing: nbgrader metadata {_CHECK}, points, 'check-{name}'."
            )
        elif not re.match(rf"check\.{name}\({name}\b", cell.source):
            self.fault(position, f"the check's first line has to call check.{name}({name}).")
        return points

    def expect_unique_names(self) -> None:
        names = Counter(marks(cell)["grade_id"] for cell in self.cells if "grade_id" in marks(cell))
        self.faults += [f"grade_id {name} is used {n} times." for name, n in names.items() if n > 1]

    def expect_marks_in_their_cells(self) -> None:
        for position, cell in enumerate(self.cells):
            if any(mark in cell.source for mark in _MARKS) and not is_solution(cell):
                self.fault(position, "marks of a solution, but no nbgrader metadata that say so.")
            hidden = [cell.source.count(mark) for mark in _HIDDEN_MARKS]
            if any(hidden) and not marks(cell).get("grade"):
                self.fault(position, "hidden tests, but no nbgrader metadata of a check.")
            if hidden != [len(hidden_tests(cell.source))] * 2:
                self.fault(position, f"hidden tests stand between {BEGIN_HIDDEN} and {END_HIDDEN}.")

    def expect_independence(self) -> None:
        """What readers write is used by checks alone: an open exercise stops nothing else, not even another one."""
        owners: dict[str, int] = {}
        for position, cell in enumerate(self.cells):
            tree = _parsed(cell.source) if cell.cell_type == "code" else None
            if tree is None:
                continue
            if not is_check(cell):
                for name in sorted(_used(tree) & set(owners)):
                    self.fault(position, f"it uses {name}, which readers may not have written: use the library's.")
            bound = _bound(tree)
            if is_solution(cell):
                owners |= dict.fromkeys(bound, position)
            else:
                owners = {name: at for name, at in owners.items() if name not in bound}

    def expect_summary(self) -> None:
        """The notebook's first cell says how many exercises there are and how long they take."""
        if not self.exercises or len(self.exercises) != sum(map(is_solution, self.cells)):
            return
        summary = _SUMMARY.search(self.cells[0].source)
        minutes = sum(exercise.minutes for exercise in self.exercises)
        number = dict(enumerate(_NUMBERS)).get(len(self.exercises), str(len(self.exercises)))
        if not summary or summary[1].lower() != number or abs(int(summary[2]) - minutes) > 5:
            self.fault(0, f"it should say '{number.capitalize()} exercises, about {minutes} minutes'.")


def _parsed(source: str) -> ast.Module | None:
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        return ast.parse(TransformerManager().transform_cell(source))
    except SyntaxError:
        return None


def _bound(tree: ast.Module) -> set[str]:
    """Names that a cell binds for the cells behind it."""
    return set(_bindings(tree.body))


def _bindings(statements: list[ast.stmt]) -> Iterator[str]:
    for statement in statements:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield statement.name  # what is bound inside stays inside
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).split(".")[0] for alias in statement.names)
        else:
            for node in ast.walk(statement):
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    yield node.id


def _used(tree: ast.Module) -> set[str]:
    """Names that a cell reads before it has bound them itself."""
    used: set[str] = set()
    bound: set[str] = set()
    for statement in tree.body:
        nodes = list(ast.walk(statement))
        inner = {node.arg for node in nodes if isinstance(node, ast.arg)}
        inner |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            inner -= set(_bindings([statement]))  # the right side is read before the left is bound: pad = pad(image)
        used |= {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)} - bound - inner
        bound |= set(_bindings([statement]))
    return used


def _calls_a_check(statement: ast.stmt) -> bool:
    call = statement.value if isinstance(statement, ast.Expr) else None
    function = call.func if isinstance(call, ast.Call) else None
    return isinstance(function, ast.Attribute) and getattr(function.value, "id", "") == "check"
