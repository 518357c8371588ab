"""nbval over notebooks, wired as `make test` wires it: catches a changed number, ignores what `refresh` drops."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from cnncourse.pipeline.outputs import committed_form, portable, sanitize

ROOT = Path(__file__).parent.parent

FIGURE = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()"
TABLE = "import pandas as pd\npd.DataFrame({'kernel': [3, 5], 'parameters': [28, 76]})"
NOISE = """\
import sys, time
from IPython.display import HTML, Javascript, display
display(HTML(f"<div id='{time.time_ns()}' data-shufflequestions='False'></div>"))
display(Javascript(f"var questions{time.time_ns()} = [];"))
display({"text/plain": "profile: smoke", "text/html": f"finished {time.time_ns()}"}, raw=True,
        metadata={"cnncourse": {"volatile": ["text/html"]}})
print(f"took {time.perf_counter():.2f} s"); print(object())
print(time.time_ns(), file=sys.stderr)"""
TRAINED = "import random\nrandom.SystemRandom().random()"


def notebook(*sources: str, tags: dict[int, list[str]] | None = None):
    """A notebook as its author would commit it, executed and reduced by the same code as `refresh`."""
    from nbclient import NotebookClient

    cells = [new_code_cell(source, metadata={"tags": (tags or {}).get(i, [])}) for i, source in enumerate(sources)]
    source = new_notebook(cells=cells)
    return source, NotebookClient(nbformat.from_dict(source), kernel_name="python3").execute()


def nbval(folder: Path, *options: str) -> subprocess.CompletedProcess:
    shutil.copy(ROOT / "conftest.py", folder)
    command = [sys.executable, "-m", "pytest", "--nbval", "-p", "no:cacheprovider", "--color=no", *options, str(folder)]
    sanitize_with = ["--nbval-sanitize-with", str(ROOT / "cnncourse/pipeline/sanitize.cfg")]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    return subprocess.run(
        [*command, *sanitize_with, f"--rootdir={folder}"], cwd=folder, capture_output=True, text=True, env=environment
    )


@pytest.fixture(scope="module")
def committed() -> nbformat.NotebookNode:
    source, executed = notebook("print(21 * 2)", TABLE, FIGURE, NOISE, TRAINED, tags={4: ["nbval-ignore-output"]})
    assert "image/png" in executed.cells[2].outputs[-1].data
    return committed_form(source, executed)


def test_what_refresh_commits_passes_also_in_parallel_and_leaves_no_socket(committed, tmp_path, monkeypatch):
    for name in ("a", "b", "c"):
        nbformat.write(committed, tmp_path / f"{name}.ipynb")
    transport = (
        "from ipykernel.connect import get_connection_info\nprint(get_connection_info(unpack=True)['transport'])"
    )
    stream = new_output("stream", text="ipc\n")
    cells = [new_code_cell(transport, execution_count=1, outputs=[stream])]
    nbformat.write(new_notebook(cells=cells), tmp_path / "d.ipynb")
    sockets = tmp_path / "s"
    sockets.mkdir()
    monkeypatch.setenv("TMPDIR", str(sockets))
    run = nbval(tmp_path, "-n", "3")
    assert run.returncode == 0, run.stdout
    assert "16 passed" in run.stdout
    assert [path.name for path in sockets.iterdir() if path.name.startswith("nbval-")] == []


@pytest.mark.parametrize(
    ("cell", "old", "new"), [(0, "42", "43"), (1, "76", "75")], ids=["in printed text", "in a table"]
)
def test_a_changed_number_is_caught(committed, tmp_path, cell, old, new):
    path = tmp_path / "edited.ipynb"
    text = nbformat.writes(committed)
    edited = nbformat.reads(text, as_version=4)
    (output,) = edited.cells[cell].outputs
    if "text" in output:
        output.text = output.text.replace(old, new)
    else:
        output.data = {mime: content.replace(old, new) for mime, content in output.data.items()}
    assert nbformat.writes(edited) != text
    nbformat.write(edited, path)
    run = nbval(tmp_path)
    assert run.returncode == 1
    assert f"FAILED edited.ipynb::Cell {cell}" in run.stdout
    assert "1 failed, 4 passed" in run.stdout
    assert old in run.stdout
    assert new in run.stdout


def test_an_output_that_vanished_is_caught(committed, tmp_path):
    shorter = nbformat.from_dict(committed)
    shorter.cells = [nbformat.from_dict(cell) for cell in committed.cells]
    shorter.cells[0].source = "pass"
    nbformat.write(shorter, tmp_path / "shorter.ipynb")
    assert "FAILED shorter.ipynb::Cell 0" in nbval(tmp_path).stdout


def test_the_committed_form_has_text_and_tables_only(committed):
    mimes = {mime for cell in committed.cells for output in cell.outputs for mime in output.get("data", {})}
    assert mimes == {"text/plain", "text/html"}
    text = "\n".join(str(output) for cell in committed.cells for output in cell.outputs)
    for fragment in ("image/png", "javascript", "data-shufflequestions", "stderr", "finished", "took 0", "0x7"):
        assert fragment not in text
    for fragment in ("Figure size", "<td>76</td>", "profile: smoke", "took [time]", "object at 0x..."):
        assert fragment in text


def test_no_output_is_lost_with_its_pictures(committed):
    assert [len(cell.outputs) for cell in committed.cells] == [1, 1, 1, 4, 1]


def test_reducing_twice_changes_nothing(committed):
    for cell in committed.cells:
        assert portable(cell.outputs) == cell.outputs


@pytest.mark.parametrize(
    "text", ["973,702 parameters", "3.2 %", "0.3 nats", "kernel 3 x 3", "2.3025", "32x32", "5 steps"]
)
def test_measured_numbers_are_not_taken_for_durations_or_addresses(text):
    assert sanitize(text) == text


@pytest.mark.parametrize("text", ["12.3 s", "7s", "15 ms", "3 min", "1.5 seconds", "12 µs per step"])
def test_durations_become_a_placeholder(text):
    assert sanitize(f"took {text}, done") == "took [time], done"
