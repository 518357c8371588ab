"""What all exercise checks share: they print a verdict, and never stop a notebook."""

import numpy as np
import pytest

from cnncourse.teaching.checking import CheckError, call, exercise, expect_close


@exercise("double")
def double(solution):
    """A check that converts what it gets without care."""
    expect_close([float(x) for x in call(solution, np.arange(3.0))], np.array([0.0, 2.0, 4.0]))


@pytest.fixture(autouse=True)
def outside_nbgrader(monkeypatch):
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)


def test_a_right_solution_is_accepted(capsys):
    double(lambda x: 2 * x)
    assert capsys.readouterr().out == "✔ double: accepted.\n"


@pytest.mark.parametrize("odd", ["text", {"a": 1}, print, [[1, 2], [3]], 1j, float, [None]], ids=repr)
def test_a_result_that_nobody_thought_of_does_not_stop_the_notebook(odd, capsys):
    double(lambda x: odd)
    printed = capsys.readouterr().out
    assert printed.startswith("✘ double: your function returns something that cannot be compared")
    assert printed.count("\n") == 1


def test_nbgrader_sees_an_exception_then_too(monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(CheckError, match="cannot be compared"):
        double(lambda x: "text")


def test_unguarded_shows_an_authors_slip():
    with pytest.raises(ValueError, match="could not convert"):
        double.unguarded(lambda x: "text")


def test_only_the_stubs_exception_means_that_nothing_is_written():
    def stub(x):
        raise NotImplementedError()

    def of_torch(x):
        raise NotImplementedError("mean(): could not infer output dtype.")

    with pytest.raises(CheckError, match="nothing to check yet"):
        call(stub, 1)
    with pytest.raises(CheckError, match="stops with NotImplementedError: mean"):
        call(of_torch, 1)
