"""What `cnncourse run` takes from the command line and tells on the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from tiny_course import add, make_course
from typer.testing import CliRunner

from cnncourse.cli import app
from cnncourse.errors import CourseError
from cnncourse.pipeline import progress, runner
from cnncourse.pipeline.runner import Outcome, Report

OUTCOMES = [
    Outcome("01_good", "ran", "not in the cache", seconds=12.34),
    Outcome("02_kept", "cached", seconds=245.0),
    Outcome("03_error", "failed", "ZeroDivisionError: division by zero", 7, 1.0, log="/course/03_error.failed.log"),
    Outcome("04_later", "not run", "The run was interrupted before."),
]


@pytest.fixture
def called(tmp_path, monkeypatch):
    """Calls of runner.run; the command line does everything but run."""
    make_course(tmp_path)
    monkeypatch.chdir(tmp_path)
    calls = []

    def run(project, selectors, options, display):
        calls.append((project, tuple(selectors), options))
        return Report(OUTCOMES)

    monkeypatch.setattr(runner, "run", run)
    return calls


def invoke(*arguments):
    return CliRunner().invoke(app, ["run", *arguments])


def test_options_arrive(called, tmp_path):
    invoke(
        "2", "vgg", "--profile", "laptop", "--device", "cpu", "--seed", "3", "--jobs", "2", "--timeout", "60", "--force"
    )
    ((project, selectors, options),) = called
    assert project.root == tmp_path
    assert selectors == ("2", "vgg")
    assert options == runner.Options("laptop", "cpu", 3, {}, 2, 60.0, True, None, None)


def test_parameters_are_pairs_and_can_be_repeated(called):
    invoke("-p", "num_seeds", "5", "2", "-p", "lr=0.1", "--parameter", "shift", "-1", "-p", "formula", "a=b")
    ((_, selectors, options),) = called
    assert options.parameters == {"num_seeds": "5", "lr": "0.1", "shift": "-1", "formula": "a=b"}
    assert selectors == ("2",)


def test_a_parameter_without_value_is_refused(called):
    result = invoke("-p", "num_seeds")
    assert isinstance(result.exception, CourseError)
    assert called == []


def test_the_exit_code_is_that_of_the_report(called):
    assert invoke().exit_code == 1


def test_exit_codes():
    assert Report(OUTCOMES[:2]).exit_code == 0
    assert Report(OUTCOMES).exit_code == 1
    assert Report(OUTCOMES, signal=2).exit_code == 130
    assert Report([]).exit_code == 0


def test_the_summary_tells_status_place_time_and_log(capsys):
    progress.summary(OUTCOMES)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["01_good", "ran", "12.3", "s", "not", "in", "the", "cache"] in lines
    assert ["02_kept", "cached", "4", "min", "05", "s"] in lines
    assert ["03_error", "failed", "7", "1.0", "s", "ZeroDivisionError:", "division", "by", "zero"] in lines
    assert ["See", "/course/03_error.failed.log"] in lines


def tell(display):
    display.begin(2)
    display.say("A warning.")
    display.start("01_good", "changed: code")
    display.cell("01_good", 2, 9)
    display.note("01_good", "waits for the accelerator")
    display.start("03_error", "not in the cache")
    display.finish(OUTCOMES[0])
    display.finish(OUTCOMES[2])
    display.close()


def test_a_log_gets_one_line_per_event(monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0)
    out = io.StringIO()
    tell(progress.Lines(Console(file=out)))
    assert out.getvalue().splitlines() == [
        "A warning.",
        "01_good: started (changed: code)",
        "01_good: cell 2 of 9",
        "01_good: waits for the accelerator",
        "03_error: started (not in the cache)",
        "[1/2] 01_good: ran, 12.3 s",
        "[2/2] 03_error: failed, 1.0 s, in cell 7: ZeroDivisionError: division by zero",
    ]


def test_a_terminal_gets_bars_for_cells_and_lines_for_what_is_done():
    out = io.StringIO()
    display = progress.Bars(Console(file=out, force_terminal=True, width=150))
    display.begin(1)
    display.start("01_good", "changed: code")
    display.cell("01_good", 2, 9)
    display.progress.refresh()
    assert "1/9 cells" in out.getvalue()
    assert "cell 2" in out.getvalue()
    display.finish(OUTCOMES[0])
    display.progress.refresh()
    assert "1/1 done" in out.getvalue()
    display.close()


def test_output_that_is_no_terminal_gets_lines(capsys):
    assert isinstance(progress.for_terminal(), progress.Lines)


def test_every_event_can_be_told_to_nobody():
    tell(progress.Display())


def test_a_run_with_nothing_to_execute_needs_no_cluster(tmp_path, monkeypatch):
    project = make_course(tmp_path)
    add(project, "01_bad", "def f(:")
    monkeypatch.chdir(tmp_path)
    result = invoke()
    assert result.exit_code == 1
    assert "invalid syntax" in result.output
    assert str(project.executed("smoke") / "01_bad.failed.log") in result.output
