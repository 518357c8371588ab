"""The results file: complete or not there, readable diffs, clear errors."""

import json

import pytest

from cnncourse.errors import CourseError
from cnncourse.results import Curve, Metric, Provenance, Results

PROVENANCE = Provenance(
    profile="smoke", seed=0, seeds=[0, 1], device="cpu", device_name="a processor", threads=1, data=[],
    python="3.11.7", packages={"torch": "2.15.0"}, finished="2026-01-01 00:00 UTC", wall_time_s=1.5,
)  # fmt: skip
RESULTS = Results(
    notebook="00_test",
    provenance=PROVENANCE,
    metrics={
        "count": Metric(kind="exact", value=7),
        "label": Metric(kind="exact", value=["a [ b", "c\n] d"]),
        "accuracy": Metric(kind="trained", per_seed={0: 0.1, 1: 0.2}, unit="%"),
    },
    curves={"loss": Curve(x=[1, 2, 3], per_seed={0: [3.0, 2.0, 1.0]}, x_label="Epoch", y_label="Loss")},
)


def test_what_is_saved_is_loaded(tmp_path):
    RESULTS.save(tmp_path / "r.json")
    assert Results.load(tmp_path / "r.json") == RESULTS
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


def test_a_curve_is_one_line_of_the_diff(tmp_path):
    RESULTS.save(tmp_path / "r.json")
    assert '"0": [3.0, 2.0, 1.0]' in (tmp_path / "r.json").read_text()


def test_floats_keep_seven_digits(tmp_path):
    one = Results(notebook="n", provenance=PROVENANCE, metrics={"pi": Metric(kind="exact", value=3.14159265358979)})
    one.save(tmp_path / "r.json")
    assert Results.load(tmp_path / "r.json").metrics["pi"].value == 3.141593


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    import os

    RESULTS.save(tmp_path / "r.json")
    before = (tmp_path / "r.json").read_text()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        RESULTS.save(tmp_path / "r.json")
    assert (tmp_path / "r.json").read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c | {"schema_version": 2}, "schema version 2"),
        (lambda c: {k: v for k, v in c.items() if k != "schema_version"}, "schema version None"),
        (lambda c: [c], "schema version None"),
        (lambda c: c | {"metrics": {"count": {"kind": "guessed", "value": 7}}}, "metrics.count.kind"),
        (lambda c: c | {"metric": {}}, "Extra inputs"),
    ],
)
def test_files_that_do_not_fit_say_where(tmp_path, change, message):
    path = tmp_path / "r.json"
    RESULTS.save(path)
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(CourseError, match=message):
        Results.load(path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "r.json").write_bytes(content)
    with pytest.raises(CourseError, match=r"r\.json cannot be read as results"):
        Results.load(tmp_path / "r.json")


def test_a_missing_file_says_how_to_get_it(tmp_path):
    with pytest.raises(CourseError, match="cnncourse run"):
        Results.load(tmp_path / "none.json")
