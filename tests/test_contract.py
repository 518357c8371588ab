"""The contract between a fresh run and the committed results: what it accepts, what it reports."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import uuid
from pathlib import Path

import nbformat
import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__ as numpy_features

from cnncourse.errors import CourseError
from cnncourse.pipeline import kernel
from cnncourse.pipeline.contract import compare, limits, report, statistic
from cnncourse.pipeline.execute import Task, execute
from cnncourse.pipeline.notebooks import Notebook, find
from cnncourse.project import Project
from cnncourse.results import Band, Curve, Metric, Provenance, Results

PROJECT = Project(Path(__file__).parents[1])
NOTEBOOKS = find(PROJECT)

# A book that reproduces on its author's processor only does not reproduce. The second environment offers other threads,
# and computes with the instructions that every x86-64 processor of the last fifteen years has, in each library that
# chooses them.
OLD_PROCESSOR = {"ATEN_CPU_CAPABILITY": "default"}
if platform.machine().lower() in {"x86_64", "amd64"}:
    OLD_PROCESSOR |= {
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": " ".join(numpy_features),
    }
ENVIRONMENTS = {"plain": (1, {}), "old processor": (3, OLD_PROCESSOR)}  # threads, variables

BAND = Band(mean=90.0, sd=0.5, seeds=10)


def trained(*values, band=BAND, **options) -> Metric:
    return Metric(kind="trained", per_seed=dict(enumerate(values)), unit="%", band=band, **options)


def results(metrics=(), curves=(), **provenance) -> Results:
    facts = {
        "profile": "smoke", "seed": 0, "seeds": [0, 1], "device": "cpu", "device_name": "", "threads": 1, "data": [],
        "python": "", "packages": {}, "commit": None, "finished": "", "wall_time_s": 0,
    }  # fmt: skip
    return Results(
        notebook="02_numpy_mlp",
        provenance=Provenance(**facts | provenance),
        metrics=dict(metrics),
        curves=dict(curves),
    )


def problems(fresh: Metric | None, committed: Metric | None) -> list[str]:
    """Problems of one metric: fresh against committed."""
    sides = [results({"m": metric} if metric else {}) for metric in (fresh, committed)]
    return [mismatch.problem for mismatch in compare(*sides)]


@pytest.mark.parametrize("value", [973_702, "relu", True, [28, 28, 1], 0.1234567, [1.5, -2.0]])
def test_equal_exact_metrics_agree(value):
    assert problems(Metric(kind="exact", value=value), Metric(kind="exact", value=value)) == []


@pytest.mark.parametrize(
    ("new", "old"),
    [
        (973_701, 973_702),
        ("tanh", "relu"),
        (False, True),
        (1, True),
        (1.0, 1),
        ([28, 28, 3], [28, 28, 1]),
        (0.1235, 0.1234),
    ],
)
def test_a_changed_exact_metric_is_reported(new, old):
    assert problems(Metric(kind="exact", value=new), Metric(kind="exact", value=old)) == ["an exact metric changed"]


def test_exact_floats_agree_to_six_digits_and_not_to_five():
    committed = Metric(kind="exact", value=2.302585)
    assert problems(Metric(kind="exact", value=2.302585 * (1 + 5e-7)), committed) == []
    assert problems(Metric(kind="exact", value=2.302585 * (1 + 5e-6)), committed) == ["an exact metric changed"]


def test_exact_values_per_seed_are_compared_per_seed():
    committed = Metric(kind="exact", per_seed={0: 3.0, 1: 5.0})
    assert problems(Metric(kind="exact", per_seed={0: 3.0, 1: 5.0}), committed) == []
    assert problems(Metric(kind="exact", per_seed={0: 5.0, 1: 3.0}), committed) == ["an exact metric changed"]


@pytest.mark.parametrize(("value", "accepted"), [(91.99, True), (88.01, True), (92.01, False), (87.99, False)])
def test_a_trained_metric_lies_within_four_sd_of_the_mean(value, accepted):
    assert (problems(trained(value - 3, value + 3), trained(89.0, 91.0)) == []) is accepted


def test_the_band_judges_the_mean_over_the_seeds_of_the_run_not_a_single_seed():
    assert statistic(trained(80.0, 100.0)) == 90.0
    assert problems(trained(80.0, 100.0), trained(89.0, 91.0)) == []


def test_list_metrics_are_judged_element_by_element():
    committed = trained([1.0, 2.0], [3.0, 4.0], band=Band(mean=[2.0, 3.0], sd=[0.1, 1.0], seeds=10))
    assert problems(trained([1.2, 5.0], [3.2, 6.0]), committed) == []
    (problem,) = problems(trained([1.5, 2.0], [3.5, 4.0]), committed)
    assert "1 of 2 elements" in problem
    assert "element 0" in problem


def test_a_metric_that_all_seeds_share_may_differ_by_round_off_only():
    committed = trained(2.3025, 2.3025, band=Band(mean=2.3025, sd=0.0, seeds=10))
    assert problems(trained(2.3026, 2.3026), committed) == []
    assert len(problems(trained(2.3028, 2.3028), committed)) == 1
    assert limits(0.0, 0.0) == (-1e-12, 1e-12)


@pytest.mark.parametrize(("unit", "accepted"), [("%", True), ("nats", False)])
def test_one_image_more_or_less_is_accepted_in_percentages(unit, accepted):
    data = [{"name": "digits", "kind": "embedded", "sha256": "a", "sizes": {"train": 1197, "test": 300}}]
    band = Band(mean=90.0, sd=0.0, seeds=10)
    sides = [
        results({"m": Metric(kind="trained", per_seed={0: v}, unit=unit, band=band)}, data=data) for v in (90.3, 90.0)
    ]
    assert (compare(*sides) == []) is accepted


def test_the_floor_does_not_widen_a_band_with_some_spread():
    low, high = limits(90.0, 0.5)
    assert (low, high) == (88.0, 92.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_outside_of_every_band(value):
    assert problems(trained(value, value), trained(90.0, 90.0)) == ["trained values left their band"]


def test_missing_and_new_metrics_are_reported():
    assert problems(None, trained(90.0)) == ["the fresh run lacks this metric"]
    assert problems(trained(90.0), None) == ["this metric is new"]


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (trained(90.0), "seeds 0 instead of one value for each of the seeds 0, 1"),
        (trained([90.0, 90.0], [90.0, 90.0]), "list of 2"),
        (trained([90.0], [90.0, 90.0]), "list of 1 or a list of 2"),
        (Metric(kind="exact", value=90.0, unit="%"), "another kind"),
        (Metric(kind="trained", per_seed={0: 90.0, 1: 90.0}, unit="nats"), "another unit"),
    ],
)
def test_another_shape_kind_or_unit_is_reported(new, words):
    assert words in problems(new, trained(90.0, 90.0))[0]


def test_a_committed_trained_metric_without_a_band_is_reported():
    assert "no band" in problems(trained(90.0, 90.0), trained(90.0, 90.0, band=None))[0]


def test_a_band_of_another_shape_is_reported():
    assert "band has another shape" in problems(trained([90.0], [90.0]), trained([90.0], [90.0]))[0]


def curve(band=Band(mean=[1.0, 0.5], sd=[0.1, 0.1], seeds=10), **changes) -> Results:  # noqa: B008, frozen
    facts = {"x": [1, 2], "per_seed": {0: [1.0, 0.5]}, "x_label": "Epoch", "y_label": "Loss", "band": band}
    return results(curves={"c": Curve(**facts | changes)})


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"x": [1, 3]}, "other x values"),
        ({"x": [1, 2, 3], "per_seed": {0: [1, 2, 3]}}, "other x values"),
        ({"per_seed": {1: [1, 1]}}, "another shape"),
        ({"y_label": "Error"}, "another y_label"),
        ({"per_seed": {0: [1.0, 0.95]}}, "left their band at 1 of 2 elements; the furthest is element 1"),
    ],
)
def test_curves_keep_points_seeds_labels_and_lie_in_their_band(change, problem):
    assert compare(curve(per_seed={0: [1.3, 0.2]}), curve()) == []
    (mismatch,) = compare(curve(**change), curve())
    assert problem in mismatch.problem


def test_a_missing_curve_is_reported():
    assert [mismatch.problem for mismatch in compare(results(), curve())] == ["the fresh run lacks this curve"]


def test_other_data_are_reported():
    data = {"name": "digits", "kind": "embedded", "sha256": "a", "sizes": {"train": 1}}
    (mismatch,) = compare(results(data=[data | {"sha256": "b"}]), results(data=[data]))
    assert mismatch.name == "data"


def test_the_message_shows_notebook_metric_old_new_band_and_how_to_accept():
    text = report(compare(results({"accuracy": trained(95.0, 95.0)}), results({"accuracy": trained(89.0, 91.5)})))
    for part in (
        "02_numpy_mlp",
        "accuracy",
        "90.25",
        "95",
        "88 to 92",
        "mean 90, sd 0.5 over 10 runs",
        "cnncourse refresh 02",
    ):
        assert part in text
    assert report([]) == ""


def test_results_of_another_schema_version_are_a_clear_error(tmp_path):
    path = tmp_path / "02_numpy_mlp.json"
    results().save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))
    with pytest.raises(CourseError, match="schema version 99"):
        Results.load(path)


# --- the contract itself ----------------------------------------------------------------------------------------


@pytest.fixture(params=ENVIRONMENTS)
def threads(request, monkeypatch) -> int:
    """Threads of the kernel; the environment variables are set."""
    number, variables = ENVIRONMENTS[request.param]
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return number


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_a_fresh_smoke_run_keeps_the_contract(notebook: Notebook, threads, tmp_path):
    task = Task(
        run=uuid.uuid4().hex[:8],
        name=notebook.stem,
        label=notebook.stem,
        notebook=nbformat.writes(notebook.node),
        parameters={},
        profile="smoke",
        folder=str(PROJECT.notebooks),
        timeout=1200,
        threads=threads,
    )
    execution = execute(task, report=lambda message: None)  # without the cache
    assert execution.status == "ok", execution.log
    fresh = tmp_path / "fresh.json"
    fresh.write_text(execution.results)
    mismatches = compare(Results.load(fresh), Results.load(PROJECT.results / "smoke" / f"{notebook.stem}.json"))
    assert not mismatches, report(mismatches)


def test_every_committed_result_has_its_notebook():
    stems = {notebook.stem for notebook in NOTEBOOKS}
    assert {path.stem for path in PROJECT.results.rglob("*.json")} <= stems


def test_the_environments_take_effect_in_a_kernel(threads, tmp_path):
    code = """
import json, torch, numpy, threadpoolctl
from numpy._core._multiarray_umath import __cpu_features__, __cpu_dispatch__
torch.nn.functional.conv2d(torch.randn(8, 16, 28, 28), torch.randn(32, 16, 3, 3))
print(json.dumps({
    "torch": torch.backends.cpu.get_cpu_capability(), "threads": torch.get_num_threads(),
    "numpy": [name for name in __cpu_dispatch__ if __cpu_features__[name]],
    "blas": [pool.get("architecture") for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"],
}))"""
    environment = kernel.environment(tmp_path, threads) | {"ONEDNN_VERBOSE": "1"}
    output = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    *log, last = output.stdout.splitlines()
    facts = json.loads(last)
    assert facts["threads"] == threads
    if "ATEN_CPU_CAPABILITY" in os.environ:
        assert facts["torch"] == "DEFAULT"
    if "ONEDNN_MAX_CPU_ISA" in os.environ:
        assert facts["numpy"] == []
        assert set(facts["blas"]) == {"Nehalem"}
        assert any("isa:Intel SSE4.1" in line for line in log)
