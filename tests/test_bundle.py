"""The bundle for a machine without network: what goes in comes out, and what comes back is verified."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cnncourse.cli import app
from cnncourse.errors import CourseError
from cnncourse.pipeline import bundle as work
from cnncourse.pipeline.bundle_import import take_back
from cnncourse.pipeline.bundled import start
from cnncourse.project import Project
from cnncourse.results import Metric, Provenance, Results

# Stands in for the course there: `python -m cnncourse run ...` writes a result, or waits for its end.
FAKE_MAIN = """
import os, pathlib, sys, time
import fakewheel
build = pathlib.Path("_build")
profile = sys.argv[sys.argv.index("--profile") + 1]
if "wait" in sys.argv:
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        (build / "cache").mkdir(parents=True)
        (build / "cache" / "half").write_text("half")
        sys.exit(130)
(build / "results" / profile).mkdir(parents=True, exist_ok=True)
(build / "executed" / profile).mkdir(parents=True, exist_ok=True)
(build / "results" / profile / "01_one.json").write_text(pathlib.Path("result.json").read_text())
(build / "executed" / profile / "01_one.ipynb").write_text("{}")
store = pathlib.Path(os.environ["CNNCOURSE_STORE"]) / "ab"
store.mkdir(parents=True, exist_ok=True)
(store / "abc.run").write_bytes(b"x" * int(os.environ.get("RECORD_BYTES", 10)))
print("ran with", fakewheel.VALUE, os.environ["CNNCOURSE_DATA"], os.environ.get("CNNCOURSE_COMMIT"))
"""


def results(profile="full") -> Results:
    provenance = Provenance(
        profile=profile, seed=0, seeds=[0], device="cuda", device_name="Some GPU", threads=1, data=[], python="3.12.1",
        packages={}, commit="abc", finished="2026-01-01 00:00 UTC", wall_time_s=1,
    )  # fmt: skip
    return Results(notebook="01_one", provenance=provenance, metrics={"n": Metric(kind="exact", value=3)}, curves={})


@pytest.fixture
def wheels(tmp_path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    with zipfile.ZipFile(folder / "fakewheel-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("fakewheel.py", "VALUE = 42\n")
        info = "fakewheel-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: fakewheel\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return folder


@pytest.fixture
def course(tmp_path):
    root = tmp_path / "course"
    for folder in ("cnncourse", "notebooks", "book/claims", "results"):
        (root / folder).mkdir(parents=True)
    (root / "_toc.yml").write_text("format: jb-book\n")
    (root / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    (root / "cnncourse" / "__init__.py").write_text("")
    (root / "cnncourse" / "__main__.py").write_text(FAKE_MAIN)
    results().save(root / "result.json")
    return Project(root)


@pytest.fixture
def made(course, wheels, tmp_path, monkeypatch):
    """A bundle of the fake course, for the Python that runs the tests."""
    monkeypatch.setattr(work, "TARGET_PYTHON", "{}.{}".format(*sys.version_info))
    monkeypatch.setattr(work, "COURSE", (*work.COURSE, "result.json"))
    data = tmp_path / "data"
    (data / "MNIST" / "raw").mkdir(parents=True)
    (data / "MNIST" / "raw" / "images").write_bytes(os.urandom(2_500_000))
    monkeypatch.setenv("CNNCOURSE_DATA", str(data))
    return work.bundle(
        course, tmp_path / "bundle", data=["mnist"], part_size="1M", wheels=wheels, say=lambda line: None
    )


def run(made, *options, **environment):
    """Call start.py as on that machine: nothing of this environment's course is on its path."""
    command = [sys.executable, "start.py", *options]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("CNNCOURSE", "PYTHONPATH"))}
    return subprocess.run(command, cwd=made.folder, capture_output=True, text=True, env=env | environment)


@pytest.fixture
def there(made, monkeypatch):
    """pip is needed there; where this environment has none, the wheels are unpacked by hand beforehand."""
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        start_py = made.folder / "start.py"
        text = start_py.read_text()
        by_hand = (
            "    import zipfile\n    for wheel in wheels:\n        zipfile.ZipFile(wheel).extractall(site)\n"
            "    mark.parent.mkdir(parents=True, exist_ok=True)\n    mark.write_text('')\n    if not mark.is_file():\n"
        )
        assert "    if not mark.is_file():\n        shutil.rmtree(site" in text
        start_py.write_text(text.replace("    if not mark.is_file():\n        shutil.rmtree(site",
                                         by_hand + "        shutil.rmtree(site"))  # fmt: skip
    return made


def test_parts_have_the_size_asked_for_and_the_manifest_names_them(made):
    manifest = json.loads((made.folder / "manifest.json").read_text())
    assert len(made.parts) == 3
    assert [part["bytes"] for part in manifest["parts"]][:2] == [1_000_000, 1_000_000]
    assert manifest["wheels"] == ["fakewheel-1.0-py3-none-any.whl"]
    assert manifest["data"] == ["mnist"]
    assert {path.name for path in made.folder.iterdir()} == {
        "manifest.json", "start.py", "part.000", "part.001", "part.002"
    }  # fmt: skip


def test_one_command_unpacks_installs_runs_and_leaves_results_that_are_taken_back(there, course, tmp_path, monkeypatch):
    done = run(there, "--minutes", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ran with 42" in done.stdout
    out = there.folder / "out"
    assert (there.folder / "work" / "data" / "MNIST" / "raw" / "images").stat().st_size == 2_500_000
    monkeypatch.setenv("CNNCOURSE_STORE", str(tmp_path / "store"))
    lines = []
    imported = take_back(course, out, lines.append)
    assert (imported.results, imported.trainings, imported.machine) == (["full/01_one"], 1, "Some GPU")
    assert Results.load(course.fresh_results("full") / "01_one.json") == results()
    assert (course.executed("full") / "01_one.ipynb").read_text() == "{}"
    assert (tmp_path / "store" / "ab" / "abc.run").read_bytes() == b"x" * 10
    assert "Some GPU" in lines[0]


def test_large_files_travel_in_pieces(there, course, tmp_path, monkeypatch):
    done = run(there, "--minutes", "2", RECORD_BYTES="16000000")
    assert done.returncode == 0, done.stderr
    sizes = {path.name: path.stat().st_size for path in (there.folder / "out").rglob("*") if path.is_file()}
    assert max(sizes.values()) < 16_000_000
    assert sizes["abc.run.000"] == start.FILE_LIMIT
    monkeypatch.setenv("CNNCOURSE_STORE", str(tmp_path / "store"))
    take_back(course, there.folder / "out", lambda line: None)
    assert (tmp_path / "store" / "ab" / "abc.run").stat().st_size == 16_000_000
    # and on a new machine they are put together again
    shutil.rmtree(there.folder / "work")
    run(there, "--minutes", "2")
    assert (there.folder / "work" / "store" / "ab" / "abc.run").exists()


def test_it_stops_in_time_and_keeps_what_is_finished(there):
    minutes = (start.RESERVE + 6) / 60  # unpacking and installing take some of it
    done = run(there, "wait", "--minutes", str(minutes))
    assert done.returncode == 3
    assert "stopping. Call again to go on" in done.stdout
    assert (there.folder / "out" / "cache" / "half").read_text() == "half"


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "part.001").unlink(), "part.001 is missing"),
        (lambda folder: (folder / "part.002").write_bytes(b"x"), "part.002 is damaged"),
    ],
)
def test_missing_and_damaged_parts_are_named(harm, message, made):
    harm(made.folder)
    done = run(made)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_another_python_is_refused(made):
    manifest = json.loads((made.folder / "manifest.json").read_text())
    (made.folder / "manifest.json").write_text(json.dumps(manifest | {"python": "3.99"}))
    done = run(made)
    assert done.returncode == 1
    assert "the bundle is for 3.99" in done.stderr


def test_the_report_of_a_machine_is_what_a_bundle_takes(made, tmp_path, monkeypatch):
    report = tmp_path / "machine.json"
    report.write_text(run(made, "--report").stdout)
    monkeypatch.setattr(work, "TARGET_PYTHON", "{}.{}".format(*sys.version_info))
    found = work.distributions_of(report)
    assert "torch" in found
    assert start.normalised("Typing_Extensions") in found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no report"),
        ("{}", "is no report"),
        (json.dumps({"system": {"python": "3.11.2"}, "distributions": {}}), "has Python 3.11.2"),
        (json.dumps({"system": {"python": "3.12.2"}, "distributions": {"torch": "2.11"}}), "has no torchvision"),
    ],
)
def test_a_report_that_does_not_fit_is_refused(content, message, tmp_path):
    (tmp_path / "machine.json").write_text(content)
    with pytest.raises(CourseError, match=message):
        work.distributions_of(tmp_path / "machine.json")


@pytest.mark.parametrize("text", ["60X", "", "-3M", "10k"])
def test_part_sizes_that_make_no_sense_are_refused(text):
    with pytest.raises(CourseError, match="no size of at least 1 MB"):
        work.parse_size(text)


def test_sizes_are_read():
    assert [work.parse_size(text) for text in ("60M", "1.5g", "2000000", "5MB")] == [
        60_000_000,
        1_500_000_000,
        2_000_000,
        5_000_000,
    ]


def test_unknown_and_missing_data_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("CNNCOURSE_DATA", str(tmp_path))
    with pytest.raises(CourseError, match="Unknown data set"):
        work.data_folders("imagenet")
    with pytest.raises(CourseError, match="mnist is not in"):
        work.data_folders("mnist")


def test_a_folder_with_something_in_it_is_not_overwritten(course, wheels, tmp_path):
    with pytest.raises(CourseError, match="is not empty"):
        work.bundle(course, tmp_path, wheels=wheels)


def test_a_full_disk_is_named(course, wheels, tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(work, "split", full)
    with pytest.raises(CourseError, match="No space left"):
        work.bundle(course, tmp_path / "new", wheels=wheels, say=lambda line: None)


def test_torch_scikit_learn_and_scipy_are_never_packed():
    names = [start.name_of(line) for line in work.requirements(Project(Path(__file__).parents[1]))]
    assert not {"torch", "torchvision", "scikit-learn", "scipy"} & set(names)
    assert {"numpy", "papermill", "ipykernel", "dask", "pip"} <= set(names)


# --- taking back ----------------------------------------------------------------------------------------------------
@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    (folder / "results" / "full").mkdir(parents=True)
    results().save(folder / "results" / "full" / "01_one.json")
    return folder


def seal(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    content = {"format": start.FORMAT, "machine": start.report(), "files": {
        path.relative_to(folder).as_posix(): start.sha256(path) for path in files
    }}  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda out: (out / "manifest.json").unlink(), "is not what a bundle leaves"),
        (lambda out: (out / "manifest.json").write_text("[]"), "is not what a bundle leaves"),
        (lambda out: (out / "results" / "full" / "01_one.json").unlink(), "is missing"),
        (lambda out: (out / "results" / "full" / "01_one.json").write_text("{}"), "is damaged"),
    ],
)
def test_foreign_and_damaged_folders_change_nothing(harm, message, out, course):
    seal(out)
    harm(out)
    with pytest.raises(CourseError, match=message):
        take_back(course, out, lambda line: None)
    assert not course.build.exists()


def test_results_that_are_none_are_refused(out, course):
    (out / "results" / "full" / "01_one.json").write_text("{}")
    seal(out)
    with pytest.raises(CourseError):
        take_back(course, out, lambda line: None)


def test_a_file_outside_the_folder_is_refused(out, course):
    seal(out)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["files"]["../evil"] = "0"
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CourseError, match="outside"):
        take_back(course, out, lambda line: None)


def test_the_command_says_what_came(out, course):
    seal(out)
    result = CliRunner().invoke(app, ["run", "--import", str(out), "--project", str(course.root)])
    assert result.exit_code == 0, result.output
    assert "Imported 1 results" in result.output
