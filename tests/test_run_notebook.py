"""One notebook in one kernel: what counts as success, what the kernel gets, and what is left of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import nbformat
import psutil
import pytest
from tiny_course import add, code, make_course, printed, session

from cnncourse.errors import CourseError
from cnncourse.pipeline import execute as execution
from cnncourse.pipeline import kernel
from cnncourse.pipeline.execute import Task


@pytest.fixture
def project(tmp_path):
    return make_course(tmp_path)


def task(project, *cells, **changes) -> Task:
    path = add(project, "01_one", *cells)
    values = {
        "run": f"test{os.getpid()}",
        "name": "01_one",
        "label": "01_one",
        "notebook": path.read_text(),
        "parameters": {},
        "profile": "smoke",
        "folder": str(project.notebooks),
        "timeout": 600.0,
        "threads": 1,
    }
    return Task(**(values | changes))


def execute(project, *cells, events=None, **changes):
    return execution.execute(task(project, *cells, **changes), (events if events is not None else []).append)


def cells(result):
    return nbformat.reads(result.notebook, as_version=4).cells


# --- what a kernel gets, and what comes back


def test_a_success_tells_outputs_results_modules_reads_and_data(project):
    events = []
    sources = [{"name": "digits", "kind": "embedded", "sha256": "d"}]
    result = execute(
        project,
        "print(seed)",
        session("01_one", reads={"claims/a.yml": "r"}, sources=sources),
        parameters={"seed": 5},
        events=events,
    )
    assert (result.status, result.reason, result.cell, result.log) == ("ok", "", None, "")
    assert printed(result.notebook) == "5\n"
    assert json.loads(result.results) == {"n": 3}
    assert {"cnncourse", "cnncourse.session", "cnncourse.errors"} <= set(result.used.modules)
    assert not any(name.startswith(("cnncourse.pipeline", "cnncourse.models")) for name in result.used.modules)
    assert result.used.reads == {"claims/a.yml": "r"}
    assert result.used.data == {"digits": "d"}
    assert [event["cell"] for event in events if event["event"] == "cell"][-1] == 4
    assert {event["of"] for event in events} == {4}
    assert "_cnncourse_answer" not in result.notebook


def test_a_notebook_without_session_and_results_is_a_success(project):
    result = execute(project, "1 + 1")
    assert (result.status, result.results) == ("ok", None)
    assert list(result.used.modules) == ["package files"]


def test_the_kernel_gets_its_folder_its_threads_and_a_fixed_hash_seed(project, monkeypatch):
    monkeypatch.setenv("CNNCOURSE_DATA", "relative/data")
    monkeypatch.delenv("MPLBACKEND", raising=False)
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONHASHSEED", "CNNCOURSE_DATA"]
    source = f"import json, os, sys; print(json.dumps([os.getcwd(), sys.executable, *map(os.environ.get, {names})]))"
    result = execute(project, source, threads=3)
    folder, python, *values = json.loads(printed(result.notebook))
    assert folder == str(project.notebooks)
    assert python == sys.executable
    assert values == ["3", "3", "3", "0", os.path.abspath("relative/data")]


def test_the_working_directory_of_the_worker_stays(project):
    before = os.getcwd()
    execute(project, "1")
    assert os.getcwd() == before


def test_a_kernel_of_the_users_with_the_same_name_is_not_used(project, monkeypatch, tmp_path):
    spec = tmp_path / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text('{"argv": ["false"], "display_name": "x", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert execute(project, "1").status == "ok"


def test_kernels_also_talk_over_tcp(project, monkeypatch):
    monkeypatch.setattr(kernel, "transport", lambda folder: "tcp")
    result = execute(project, "print(6 * 7)")
    assert (result.status, printed(result.notebook)) == ("ok", "42\n")


def test_a_kernel_that_does_not_come_up_is_started_again(project, monkeypatch):
    real, calls, events = kernel.manager, [], []

    def unlucky(folder):
        calls.append(folder)
        manager = real(folder)
        if len(calls) == 1:
            manager.kernel_spec.argv = [sys.executable, "-c", "raise SystemExit('Address already in use')"]
        return manager

    monkeypatch.setattr(kernel, "manager", unlucky)
    result = execute(project, "print(1)", events=events)
    assert (result.status, printed(result.notebook)) == ("ok", "1\n")
    assert events[0]["event"] == "again"
    assert len({*calls}) == 2  # with socket names of its own


def test_a_kernel_that_never_comes_up_is_a_failure_with_its_last_words(project, monkeypatch):
    real = kernel.manager

    def broken(folder):
        manager = real(folder)
        manager.kernel_spec.argv = [sys.executable, "-c", "raise SystemExit('no such luck')"]
        return manager

    monkeypatch.setattr(kernel, "manager", broken)
    result = execute(project, "print(1)")
    assert result.status == "killed"
    assert "no such luck" in result.log


# --- what is no success


def test_an_error_tells_its_cell_and_keeps_what_was_done_before(project):
    result = execute(project, "print('before')", "1 / 0", "print('after')", parameters={"seed": 1})
    assert (result.status, result.cell) == ("failed", 4)  # in the source: the injected cell does not count
    assert result.reason == "ZeroDivisionError: division by zero"
    assert "in cell 4: 1 / 0" in result.log
    assert "\x1b" not in result.log
    assert printed(result.notebook) == "before\n"
    states = [cell.metadata.papermill.status for cell in cells(result) if cell.cell_type == "code"]
    assert states == ["completed", "completed", "completed", "failed", "pending"]


def test_an_error_on_purpose_is_none(project):
    result = execute(project, code("1 / 0", "raises-exception"), "print('after')")
    assert (result.status, printed(result.notebook)) == ("ok", "after\n")
    assert "papermill-error" not in result.notebook


def test_a_kernel_that_is_killed_is_no_complete_notebook(project):
    result = execute(
        project, "print('before', flush=True)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "1"
    )
    assert (result.status, result.cell) == ("killed", 4)
    assert "SIGKILL" in result.reason
    assert printed(result.notebook) == "before\n"
    # papermill says here: exception None, every cell completed
    node = nbformat.reads(result.notebook, as_version=4)
    assert node.metadata.papermill.exception is True
    assert [cell.metadata.papermill.status for cell in node.cells[3:]] == ["failed", "pending"]


def test_a_notebook_that_leaves_early_is_no_success(project):
    result = execute(project, "raise SystemExit", "1")
    assert (result.status, result.cell) == ("failed", 3)


def test_the_time_limit_holds_for_the_whole_notebook(project):
    result = execute(project, *["import time; time.sleep(0.5)"] * 100, timeout=4.0)
    assert result.status == "timeout"
    assert result.reason == "It ran longer than 4 s (--timeout) and was stopped."
    states = [cell.get("metadata", {}).get("papermill", {}).get("status") for cell in cells(result)]
    assert "completed" not in states[-50:]


def test_memory_is_that_of_the_kernel_and_its_children(project):
    fill = "x = bytearray(b'x') * 200_000_000; import time; time.sleep(60)"
    source = f"import subprocess, sys; children = [subprocess.Popen([sys.executable, '-c', {fill!r}]) for _ in 'ab']"
    result = execute(project, source, "for child in children: child.wait()", memory=350_000_000)
    assert result.status == "memory"
    assert "more than the 0.35 GB" in result.reason
    assert result.peak > 350_000_000


def test_a_session_has_to_be_finished(project):
    result = execute(project, session("01_one", finished=False))
    assert (result.status, result.reason) == (
        "failed",
        "It started a session but its last cell does not call run.finish().",
    )


def test_a_session_has_to_go_by_the_notebooks_name_and_profile(project):
    assert "calls itself '02_two'" in execute(project, session("02_two")).reason
    assert "ran profile 'smoke' instead of 'full'" in execute(project, session("01_one"), profile="full").reason


# --- nothing is left


def leftovers(run):
    """Processes and folders of a run."""
    processes = [p for p in psutil.process_iter() if any(f"cnncourse-run-{run}" in part for part in _command(p))]
    return processes + list(kernel._temporary().glob(f"cnncourse-run-{run}"))


def is_alive(pid):
    """Whether a process that was killed runs on; nobody may have collected it yet."""
    try:
        process = psutil.Process(pid)
        process.wait(timeout=60)
    except psutil.NoSuchProcess:
        return False
    except psutil.TimeoutExpired:
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _command(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_stopping_kills_the_kernel_and_all_it_started(project, tmp_path):
    pids = tmp_path / "pids"
    source = f"""
import subprocess, time
children = [subprocess.Popen(["sleep", "600"], start_new_session=new) for new in (False, True)]
open({str(pids)!r} + ".tmp", "w").write(" ".join(str(child.pid) for child in children))
import os; os.rename({str(pids)!r} + ".tmp", {str(pids)!r})
time.sleep(600)
"""
    run = f"stop{os.getpid()}"

    def stop():
        while not pids.exists():
            time.sleep(0.05)
        execution.stop(run)

    threading.Thread(target=stop).start()
    result = execute(project, source, run=run)
    assert (result.status, result.cell) == ("interrupted", 3)
    assert [pid for pid in map(int, pids.read_text().split()) if is_alive(pid)] == []
    assert leftovers(run) == []
    assert execute(project, "1", run=run).status == "not run"


def test_children_that_outlive_a_notebook_are_killed(project):
    source = "import subprocess; print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid)"
    result = execute(project, source)
    assert result.status == "ok"
    assert not is_alive(int(printed(result.notebook)))
    assert leftovers(f"test{os.getpid()}") == []


def test_what_a_killed_run_left_goes_at_the_next_start():
    script = """
import os, signal, sys
from cnncourse.pipeline import kernel
with kernel.run_folder(sys.argv[1]) as folder:
    kernel.make_folder(folder).joinpath("k-ipc-1").touch()
    print(folder, oct(folder.stat().st_mode & 0o777), flush=True)
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""
    dead, alive = f"dead{os.getpid()}", f"live{os.getpid()}"
    command = [sys.executable, "-c", script]
    killed = subprocess.run([*command, dead, "die"], stdout=subprocess.PIPE, text=True)
    folder, mode = killed.stdout.split()
    assert os.path.exists(folder)
    assert mode == "0o700"
    with subprocess.Popen([*command, alive, "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        living = other.stdout.readline().split()[0]
        with kernel.run_folder(f"this{os.getpid()}") as here:
            assert not os.path.exists(folder)
            assert os.path.exists(living)
        assert not here.exists()
        other.stdin.close()
    assert not os.path.exists(living)


# --- small parts


def test_socket_names_stay_below_the_systems_limit(monkeypatch, tmp_path):
    long = tmp_path / ("x" * 80)
    long.mkdir()
    monkeypatch.setattr(kernel.tempfile, "gettempdir", lambda: str(long))
    assert str(kernel._temporary()) == "/tmp"
    assert kernel.transport(long) == "tcp"
    assert kernel.transport(kernel._temporary()) == "ipc"


@pytest.mark.parametrize(("text", "number"), [("4GB", 4_000_000_000), ("512 MiB", 512 * 2**20)])
def test_memory_is_read_in_the_usual_units(text, number):
    assert kernel.parse_memory(text) == number


def test_memory_can_be_a_share_of_what_is_free(monkeypatch):
    monkeypatch.setattr(kernel, "available_memory", lambda: 1000)
    assert kernel.parse_memory("50%") == 500


@pytest.mark.parametrize("text", ["lots", "", "GB", "0", "-1GB", "0%", "x%"])
def test_an_impossible_amount_of_memory_is_refused(text):
    with pytest.raises(CourseError, match="no amount of memory"):
        kernel.parse_memory(text)
