"""`cnncourse run`: what is written, what is told, and what happens when things go wrong."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from tiny_course import add, make_course, printed, session

from cnncourse.errors import CourseError
from cnncourse.pipeline import cache, runner, workers
from cnncourse.pipeline.execute import Task, execute
from cnncourse.pipeline.runner import Options, Outcome, Outputs

BAD = {
    "02_error": ("print('before')", "1 / 0"),
    "03_syntax": ("x = 1", "def f(:"),
    "05_killed": ("import os, signal", "os.kill(os.getpid(), signal.SIGKILL)"),
    "06_hoards": ("hoard = []", "while True: hoard.append(bytearray(b'x' * 10_000_000))"),
    "07_unfinished": (session("07_unfinished", finished=False),),
}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course with good and bad notebooks."""
    project = make_course(tmp_path_factory.mktemp("course"))
    add(project, "01_good", "print(num_seeds)", session("01_good"))
    for stem, cells in BAD.items():
        add(project, stem, *cells)
    (project.notebooks / "08_damaged.ipynb").write_text("<html>")
    add(project, "09_plain", "print('plain')", parameters="")
    return project


@pytest.fixture(scope="module")
def report(course):
    """One run of it on a cluster of this machine; most of this file looks at what it did."""
    options = Options(memory="600MB", jobs=4, parameters={"num_seeds": "5"})
    return runner.run(course, (), options)


@pytest.fixture(scope="module")
def cluster():
    """Two workers that somebody else has started."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
    ) as cluster:
        yield cluster


@pytest.fixture
def own(tmp_path):
    """A course with one good notebook, for tests that change it."""
    project = make_course(tmp_path)
    add(project, "01_one", "print('one')")
    return project


def run(project, cluster, **options):
    return runner.run(project, (), Options(scheduler=cluster.scheduler_address, **options))


def names(project) -> set[str]:
    return {path.name for path in project.executed("smoke").iterdir()}


def outcome(report, stem) -> Outcome:
    return next(outcome for outcome in report.outcomes if outcome.name == stem)


# --- one run, good and bad notebooks together


def test_each_notebook_ends_as_it_must_and_the_others_go_on(report):
    assert {o.name: (o.status, o.cell) for o in report.outcomes} == {
        "01_good": ("ran", None),
        "02_error": ("failed", 4),
        "03_syntax": ("failed", None),
        "05_killed": ("killed", 4),
        "06_hoards": ("memory", 4),
        "07_unfinished": ("failed", None),
        "08_damaged": ("failed", None),
        "09_plain": ("ran", None),
    }
    assert report.exit_code == 1


def test_reasons_name_the_fault(report):
    assert outcome(report, "02_error").reason == "ZeroDivisionError: division by zero"
    assert "cell 4, line 1" in outcome(report, "03_syntax").reason
    assert "SIGKILL" in outcome(report, "05_killed").reason
    assert "0.60 GB" in outcome(report, "06_hoards").reason
    assert "run.finish()" in outcome(report, "07_unfinished").reason
    assert "cannot be read as a notebook" in outcome(report, "08_damaged").reason


def test_only_successes_are_written_under_the_good_name(course, report):
    written = {path.name for path in course.executed("smoke").iterdir()}
    failed = set(BAD) | {"08_damaged"}
    assert {name for name in written if ".failed." not in name} == {"01_good.ipynb", "09_plain.ipynb"}
    assert {name for name in written if name.endswith(".failed.log")} == {f"{stem}.failed.log" for stem in failed}
    assert {name for name in written if name.endswith(".failed.ipynb")} == {
        f"{stem}.failed.ipynb" for stem in failed - {"08_damaged"}
    }
    assert [path.name for path in course.fresh_results("smoke").iterdir()] == ["01_good.json"]


def test_a_success_is_the_executed_notebook_and_its_results(course, report):
    page = (course.executed("smoke") / "01_good.ipynb").read_text()
    assert printed(page) == "5\n"
    assert json.loads((course.fresh_results("smoke") / "01_good.json").read_text()) == {"n": 5}


def test_a_failure_leaves_the_part_that_was_executed_and_a_log(course, report):
    part = course.executed("smoke") / "02_error.failed.ipynb"
    assert printed(part.read_text()) == "before\n"
    log = outcome(report, "02_error").log
    assert log == course.executed("smoke") / "02_error.failed.log"
    assert "ZeroDivisionError" in log.read_text()


def test_failures_are_not_cached_and_successes_are(course, report):
    kept = {path.parent.name for path in (course.build / "cache" / "smoke").rglob("*.json")}
    assert kept == {"01_good", "09_plain"}


def test_nothing_is_left_of_the_run(report):
    mine = psutil.Process().children(recursive=True)
    kernels = [p for p in mine if p.status() != psutil.STATUS_ZOMBIE and "ipykernel_launcher" in " ".join(p.cmdline())]
    assert kernels == []


# --- what stops a run before it starts


@pytest.mark.parametrize(
    ("selectors", "options", "message"),
    [
        (["77"], {}, "No notebook matches '77'"),
        (["0"], {}, "No notebook matches '0'"),
        (["_"], {}, "matches several"),
        (["1"], {"parameters": {"num_seed": "3"}}, "Did you mean 'num_seeds'"),
        (["1"], {"parameters": {"num_seeds": "three"}}, "num_seeds = 'three' is refused"),
        (["1"], {"profile": "labtop"}, "Did you mean 'laptop'"),
        (["1"], {"parameters": {"profile": "labtop"}}, "Did you mean 'laptop'"),
        (["9"], {"profile": "laptop"}, "has no parameter 'profile'"),
        (["1"], {"device": "cdua"}, "device = 'cdua' is refused"),
        (["1"], {"seed": -1}, "seed = -1 is refused"),
        (["1"], {"jobs": 0}, "--jobs 0"),
        (["1"], {"timeout": 0}, "--timeout 0"),
        (["1"], {"memory": "lots"}, "no amount of memory"),
        (["1"], {"scheduler": "nowhere"}, "No Dask scheduler answers at 'nowhere'"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(course, monkeypatch, selectors, options, message):
    monkeypatch.setattr(workers.Local, "workers", lambda self, tasks: pytest.fail("a cluster was started"))
    with pytest.raises(CourseError, match=message):
        runner.run(course, selectors, Options(**options))


def test_a_second_run_in_the_same_folder_is_refused_with_the_first_ones_number(course):
    script = (
        "import sys; from pathlib import Path; from cnncourse.project import Project; from cnncourse.pipeline import "
    )
    script += "runner\nwith runner.lock(Project(Path(sys.argv[1]))): print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(course.root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        with pytest.raises(CourseError, match=f"Another run is working in .*: process {other.pid} on"):
            runner.run(course, ["1"])
        other.kill()
    with runner.lock(course):  # a run that was killed keeps nobody out
        pass


@pytest.mark.parametrize("part", ["", "executed/smoke", "results/smoke", "cache/smoke"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, part):
    project = make_course(tmp_path)
    add(project, "01_good", "1")
    blocked = project.build / part
    blocked.parent.mkdir(parents=True, exist_ok=True)
    blocked.write_text("a file stands in the way, which stops root, too")
    with pytest.raises(CourseError, match=f"{blocked}.* cannot be written"):
        runner.run(project)


# --- what is written, and what stays


def test_mending_a_notebook_removes_the_traces_of_its_failure(own, cluster):
    add(own, "01_one", "1 / 0")
    assert run(own, cluster).exit_code == 1
    assert names(own) == {"01_one.failed.ipynb", "01_one.failed.log"}
    add(own, "01_one", "print('mended')")
    assert run(own, cluster).exit_code == 0
    assert names(own) == {"01_one.ipynb"}


def test_a_failure_keeps_the_older_good_copy_beside_its_own_traces(own, cluster):
    run(own, cluster)
    page = own.executed("smoke") / "01_one.ipynb"
    before, source = page.read_bytes(), (own.notebooks / "01_one.ipynb").read_bytes()
    add(own, "01_one", "1 / 0")
    assert run(own, cluster).exit_code == 1
    assert page.read_bytes() == before
    assert names(own) == {"01_one.ipynb", "01_one.failed.ipynb", "01_one.failed.log"}
    (own.notebooks / "01_one.ipynb").write_bytes(source)
    assert run(own, cluster).outcomes[0].status == "cached"
    assert names(own) == {"01_one.ipynb"}


def test_a_notebook_that_sleeps_for_ever_is_stopped(own, cluster):
    add(own, "01_one", "import time; time.sleep(3600)")
    report = run(own, cluster, timeout=5)
    assert (report.outcomes[0].status, report.exit_code) == ("timeout", 1)
    assert names(own) == {"01_one.failed.ipynb", "01_one.failed.log"}


def test_a_full_disk_is_a_failure_of_the_notebook_and_leaves_no_scrap(own, cluster, monkeypatch):
    run(own, cluster)
    page = own.executed("smoke") / "01_one.ipynb"
    page.write_text("older")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_disk)
        failed = run(own, cluster, force=True)
    assert failed.exit_code == 1
    assert "No space left on device" in failed.outcomes[0].reason
    assert str(page) in failed.outcomes[0].reason
    assert page.read_text() == "older"
    assert names(own) == {"01_one.ipynb"}
    assert run(own, cluster).outcomes[0].status == "cached"
    assert page.read_text() != "older"


def full_disk(_handle):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_results_of_an_earlier_session_do_not_pose_as_new(tmp_path):
    outputs = Outputs(make_course(tmp_path), "smoke")
    outputs.publish(Outcome("01_good", "ran", notebook="{}", results="{}"))
    assert (outputs.results / "01_good.json").exists()
    outputs.publish(Outcome("01_good", "ran", notebook="{}", results=None))
    assert not (outputs.results / "01_good.json").exists()


def test_what_was_not_run_leaves_no_trace(tmp_path):
    outputs = Outputs(make_course(tmp_path), "smoke")
    outputs.publish(Outcome("01_good", "not run"))
    assert not outputs.executed.exists()


# --- another cluster


def test_the_same_run_on_a_cluster_by_its_address(tmp_path, cluster):
    project = make_course(tmp_path)
    add(project, "01_good", "print(num_seeds)", session("01_good"))
    add(project, "02_error", "1 / 0")
    options = Options(scheduler=cluster.scheduler_address)
    first = runner.run(project, (), options)
    assert [o.status for o in first.outcomes] == ["ran", "failed"]
    assert printed((project.executed("smoke") / "01_good.ipynb").read_text()) == "3\n"
    assert [o.status for o in runner.run(project, ["1"], options).outcomes] == ["cached"]


def test_workers_with_another_course_are_refused(course, cluster, monkeypatch):
    monkeypatch.setattr(cache, "_course", lambda: "another")
    with pytest.raises(CourseError, match="another cnncourse"):
        runner.run(course, ["1"], Options(scheduler=cluster.scheduler_address))


def test_notebooks_that_want_the_accelerator_take_turns(tmp_path, cluster):
    from distributed import Client

    project = make_course(tmp_path)
    source = "import time; began = time.monotonic(); time.sleep(0.5); print(began, time.monotonic())"
    text = add(project, "01_turn", source).read_text()
    values = dict(
        name="01_turn", notebook=text, parameters={}, profile="smoke", folder="/not/here", timeout=600.0, threads=1
    )
    with Client(cluster) as client:
        # Both hold a worker each, so they would overlap but for the lease.
        tasks = [Task(run=f"turn{os.getpid()}", label=label, lease=True, **values) for label in "ab"]
        results = client.gather(client.map(execute, tasks, pure=False))
    times = sorted(tuple(map(float, printed(result.notebook).split())) for result in results)
    assert times[0][1] <= times[1][0]


# --- signals


@pytest.mark.parametrize(
    ("number", "to_group", "when"),
    [
        (signal.SIGINT, True, "working"),  # Ctrl-C reaches every process of the terminal
        (signal.SIGINT, True, "starting"),
        (signal.SIGTERM, False, "working"),
    ],
)
def test_an_interrupted_run_stops_everything_and_keeps_what_was_finished(tmp_path, number, to_group, when):
    project = make_course(tmp_path)
    add(project, "01_good", "1")
    marks = tmp_path / "marks"
    marks.mkdir()
    add(project, "02_slow", f"open({str(marks / 'slow')!r}, 'w').close()\nimport time; time.sleep(600)")
    add(project, "03_later", "1")
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="c") as scratch:
        run = subprocess.Popen(
            [sys.executable, "-m", "cnncourse.cli", "run", "--jobs", "1", "--project", str(project.root)],
            env=os.environ | {"TMPDIR": scratch},
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            # The cluster is there or just coming when the run's folder appears.
            wait_for(lambda: (marks / "slow").exists() if when == "working" else any(Path(scratch).iterdir()), run)
            (os.killpg if to_group else os.kill)(run.pid, number)
            output, _ = run.communicate(timeout=300)
        finally:
            run.kill()
        assert run.returncode == 128 + number, output
        assert "Traceback" not in output
        assert [p for p in psutil.process_iter() if scratch in " ".join(command(p))] == []
        assert list(Path(scratch).iterdir()) == []
    assert any(line.split()[:3] == ["03_later", "not", "run"] for line in output.splitlines()), output
    if when == "working":  # with one job and nothing known about times, the order is the reading order
        found = {path.name for path in project.executed("smoke").iterdir()}
        assert found == {"01_good.ipynb", "02_slow.failed.ipynb", "02_slow.failed.log"}


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)


def command(process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []
