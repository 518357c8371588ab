"""What the tests of all exercise checks have in common. Each test module declares

MUTANTS : for each exercise wrong solutions that readers really write, each with a pattern of the message that fits;
OTHERWISE_WRITTEN : right solutions, written otherwise than the notebook's,

and gets its tests from :func:`exercise_tests`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from cnncourse.pipeline import exercises
from cnncourse.pipeline.notebooks import Notebook
from cnncourse.teaching.checking import CheckError

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def solution_cells(notebook: str) -> list[str]:
    """Sources of the notebook's solution cells."""
    cells = Notebook(NOTEBOOKS / f"{notebook}.ipynb").node.cells
    return [cell.source for cell in cells if exercises.is_solution(cell)]


def solutions(notebook: str, space: Mapping[str, Any]) -> dict[str, Any]:
    """What the notebook's solution cells define; `space` holds the names that they use."""
    space = dict(space)
    for source in solution_cells(notebook):
        exec(source, space)
    return space


def solution_lines(notebook: str) -> list[str]:
    """The lines between the solution marks, stripped."""
    found = [region for source in solution_cells(notebook) for region in exercises.regions(source)]
    return [line.strip() for region in found for line in region.splitlines()]


def exercise_tests(
    notebook: str,
    checks: ModuleType,
    mutants: Mapping[str, Sequence[tuple[Callable, str]]],
    otherwise: Sequence[tuple[str, Callable]],
    space: Mapping[str, Any],
) -> dict[str, Callable]:
    """Test functions for the checks of one notebook: ``globals().update(exercise_tests(...))``.

    Parameters
    ----------
    notebook : str
        Stem of the notebook.
    checks : module
        Has a check for each exercise, under the exercise's name.
    mutants, otherwise
        See the module.
    space : mapping
        Names that the notebook's solutions use, such as ``{"np": numpy}``.
    """

    @pytest.mark.parametrize(
        ("name", "mutant", "message"),
        [
            pytest.param(name, mutant, message, id=f"{name}-{k}")
            for name, wrong in mutants.items()
            for k, (mutant, message) in enumerate(wrong)
        ],
    )
    def test_mutant_is_rejected_with_a_message_that_fits(name, mutant, message):
        with pytest.raises(CheckError, match=message), np.errstate(all="ignore"):
            getattr(checks, name).unguarded(mutant)

    @pytest.mark.parametrize("name", mutants)
    def test_at_least_five_mutants(name):
        assert len(mutants[name]) >= 5

    def test_every_exercise_of_the_notebook_has_mutants_and_another_right_solution():
        names = [exercise.name for exercise in exercises.read(Notebook(NOTEBOOKS / f"{notebook}.ipynb"))]
        assert sorted(names) == sorted(mutants)
        assert set(names) == {name for name, _ in otherwise}

    @pytest.mark.parametrize("name", mutants)
    def test_the_notebooks_solution_is_accepted(name, capsys):
        getattr(checks, name)(solutions(notebook, space)[name])
        assert capsys.readouterr().out == f"✔ {name}: accepted.\n"

    @pytest.mark.parametrize(("name", "solution"), otherwise)
    def test_another_right_solution_is_accepted(name, solution):
        with np.errstate(all="ignore"):
            getattr(checks, name).unguarded(solution)

    @pytest.mark.parametrize("name", mutants)
    def test_an_open_exercise_is_asked_for_kindly(name, capsys, monkeypatch):
        def stub(*args):
            raise NotImplementedError

        monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
        getattr(checks, name)(stub)
        assert capsys.readouterr().out.startswith(f"… {name}: nothing to check yet.")

    @pytest.mark.parametrize("name", mutants)
    def test_no_message_holds_a_line_of_the_solution(name, capsys):
        for mutant, _ in mutants[name]:
            getattr(checks, name)(mutant)
        printed = re.sub(r"\s+", " ", capsys.readouterr().out)
        assert solution_lines(notebook)
        assert [line for line in solution_lines(notebook) if len(line) > 10 and line in printed] == []

    return {name: test for name, test in locals().items() if name.startswith("test_")}
