"""`refresh` commits what every run repeats, measures the bands, and leaves alone what fails."""

from __future__ import annotations

import json

import nbformat
import pytest
from typer.testing import CliRunner

from cnncourse.cli import app
from cnncourse.errors import CourseError
from cnncourse.pipeline import contract
from cnncourse.pipeline.notebooks import Notebook
from cnncourse.pipeline.outputs import committed_form
from cnncourse.pipeline.refresh import differences, refresh, take_over, update, with_bands
from cnncourse.pipeline.runner import Options
from cnncourse.results import Band, Curve, Metric, Provenance, Results

SEEDS = 5
MEASURE = """\
import random
values = {s: random.Random(s).gauss(10, 1) for s in run.seeds(2)}
run.record("num_params", 28)
run.record("accuracy", values, unit="%")
run.record("losses", {s: [v, v / 2] for s, v in values.items()}, unit="nats")
run.curve("loss", [1, 2], {s: [v, v / 2] for s, v in values.items()}, x_label="Epoch", y_label="Loss")
print("parameters:", 28)"""
SHOW = """\
import sys, time
import matplotlib.pyplot as plt
from IPython.display import HTML, Javascript, display
display(HTML(f"<div id='{time.time_ns()}' data-shufflequestions='False'></div>"))
display(Javascript(f"var questions{time.time_ns()} = [];"))
print(f"took {time.perf_counter():.2f} s"); print(object()); print(time.time_ns(), file=sys.stderr)
plt.plot([1, 2])
plt.show()"""
WIDGET = "import ipywidgets\nipywidgets.IntSlider(value=3)"


@pytest.fixture(scope="module")
def refreshed(new_course):
    """A course after one refresh: the project, the exit code, what was said, and the failing notebooks as they were."""
    project, add = new_course()
    add("01_good", MEASURE, SHOW, WIDGET)
    add("02_fails", before=("1 / 0",))
    add("03_fails_at_another_seed", before=("assert seed == 0, 'another seed'",))
    add("04_shows_a_path", before=("import os\nprint(os.getcwd())",))
    before = {path.stem: path.read_bytes() for path in project.notebooks.iterdir()}
    said: dict[str, str] = {}
    code = refresh(
        project, seeds=SEEDS, options=Options(jobs=2), done=lambda one: said.update({one.notebook: str(one)})
    )
    return project, code, said, before


@pytest.fixture
def good(refreshed) -> Notebook:
    return Notebook(refreshed[0].notebooks / "01_good.ipynb")


def cell_outputs(notebook: Notebook, source: str) -> list:
    (cell,) = [cell for cell in notebook.node.cells if cell.source == source]
    return cell.outputs


def test_text_stays_and_pictures_widgets_quizzes_and_timings_go(good):
    assert cell_outputs(good, MEASURE)[0].text == "parameters: 28\n"
    shown = cell_outputs(good, SHOW)
    assert [sorted(output.get("data", {"stream": ""})) for output in shown] == [["text/plain"]] * 2 + [
        ["stream"],
        ["text/plain"],
    ]
    assert shown[2].text == "took [time]\n<object object at 0x...>\n"
    assert shown[3].data["text/plain"] == "<Figure size 640x480 with 1 Axes>"
    (slider,) = cell_outputs(good, WIDGET)
    assert slider.data == {"text/plain": "IntSlider(value=3)"}
    (stamp,) = cell_outputs(good, "run.finish()")
    assert list(stamp.data) == ["text/plain"]
    assert "profile: smoke" in stamp.data["text/plain"]


def test_metadata_tell_nothing_about_the_execution(good):
    assert good.node.metadata == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    code = [cell for cell in good.node.cells if cell.cell_type == "code"]
    assert code[0].metadata.tags == ["parameters"]
    assert all(set(cell.metadata) <= {"tags"} for cell in code)
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))


def test_bands_come_from_runs_that_share_no_seed(refreshed):
    import random
    from statistics import fmean, stdev

    results = Results.load(refreshed[0].results / "smoke" / "01_good.json")
    assert results.provenance.seed == 0
    assert results.metrics["num_params"].band is None
    runs = [fmean(random.Random(seed).gauss(10, 1) for seed in (2 * k, 2 * k + 1)) for k in range(SEEDS)]
    band = results.metrics["accuracy"].band
    assert (band.mean, band.sd, band.seeds) == pytest.approx((fmean(runs), stdev(runs), SEEDS), rel=1e-6)
    for listed in (results.metrics["losses"], results.curves["loss"]):
        assert listed.band.mean == pytest.approx([band.mean, band.mean / 2], rel=1e-6)
        assert listed.band.sd == pytest.approx([band.sd, band.sd / 2], rel=1e-6)
    assert contract.compare(results, results) == []


def test_a_second_refresh_changes_no_byte(refreshed):
    project = refreshed[0]
    paths = [project.notebooks / "01_good.ipynb", project.results / "smoke" / "01_good.json"]
    before = [path.read_bytes() for path in paths]
    said = []
    assert refresh(project, ["1"], SEEDS, Options(jobs=2), done=said.append) == 0
    assert [path.read_bytes() for path in paths] == before
    assert [one.changes for one in said] == [[]]


@pytest.mark.parametrize(
    ("stem", "words"),
    [
        ("02_fails", "failed in cell 3: ZeroDivisionError: division by zero"),
        ("03_fails_at_another_seed", "seed1: failed in cell 3: AssertionError: another seed"),
        ("04_shows_a_path", "cell 3 shows a path of this machine"),
    ],
)
def test_a_notebook_that_fails_keeps_its_files_and_says_where(refreshed, stem, words):
    project, code, said, before = refreshed
    assert code == 1
    assert words in said[stem]
    assert (project.notebooks / f"{stem}.ipynb").read_bytes() == before[stem]
    assert not (project.results / "smoke" / f"{stem}.json").exists()


def test_the_others_go_on_and_stderr_is_mentioned(refreshed):
    _, _, said, _ = refreshed
    assert said["01_good"].startswith("01_good: changed")
    assert "note: cell 5 writes to stderr" in said["01_good"]


def test_too_few_seeds_and_an_unknown_profile_are_refused(refreshed):
    with pytest.raises(CourseError, match="at least 5"):
        refresh(refreshed[0], seeds=4)
    with pytest.raises(CourseError, match="Unknown profile"):
        take_over(refreshed[0], [], "tiny")


def test_the_executed_copy_has_to_be_one_of_the_source(good):
    other = nbformat.reads(nbformat.writes(good.node), as_version=4)
    other.cells[3].source += "\n"
    with pytest.raises(ValueError, match="other cells"):
        committed_form(good.node, other)


# --- bands ------------------------------------------------------------------------------------------------------


def results(seed=0, curves=(), profile="smoke", notebook="02_numpy_mlp", commit="0123456789ab", **metrics) -> Results:
    provenance = Provenance(
        profile=profile, seed=seed, seeds=[seed], device="cpu", device_name="", threads=1, data=[], python="",
        packages={}, commit=commit, finished="", wall_time_s=0.0,
    )  # fmt: skip
    return Results(notebook=notebook, provenance=provenance, metrics=metrics, curves=dict(curves))


def runs(*metrics: Metric) -> list[Results]:
    return [results(seed, m=metric) for seed, metric in enumerate(metrics)]


def test_an_exact_metric_must_not_depend_on_the_seed_unless_recorded_per_seed():
    with pytest.raises(CourseError, match="m is exact, but depends on the seed"):
        with_bands(runs(*[Metric(kind="exact", value=value) for value in (1, 1, 1, 1, 2)]))
    per_seed = with_bands(runs(*[Metric(kind="exact", per_seed={seed: float(seed)}) for seed in range(5)]))
    assert per_seed.metrics["m"].band is None


def test_what_is_not_recorded_at_every_seed_is_refused():
    with pytest.raises(CourseError, match="m is not recorded at every seed"):
        with_bands([results(seed, **({} if seed == 3 else {"m": Metric(kind="exact", value=1)})) for seed in range(5)])


def test_lists_have_one_length_at_all_seeds():
    lengths = [Metric(kind="trained", per_seed={seed: [0.0] * (3 - seed // 4)}) for seed in range(5)]
    with pytest.raises(CourseError, match="m has another length at another seed"):
        with_bands(runs(*lengths))


def test_trained_values_are_numbers():
    with pytest.raises(CourseError, match="'relu', which is not a number"):
        with_bands(runs(*[Metric(kind="trained", value="relu")] * 5))


def test_fixed_cases_widen_the_band_by_the_error_of_their_mean():
    cases = Metric(kind="trained", per_seed={0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0})
    band = with_bands(runs(*[cases] * 5)).metrics["m"].band
    assert (band.mean, band.sd) == pytest.approx((2.5, (5 / 3) ** 0.5 / 2))


def test_a_metric_and_a_curve_of_one_name_have_bands_of_their_own():
    def run(seed):
        curve = Curve(x=[1, 2], per_seed={seed: [10.0 * seed, 20.0 * seed]}, x_label="", y_label="")
        return results(seed, {"m": curve}, m=Metric(kind="trained", per_seed={seed: float(seed)}))

    banded = with_bands([run(seed) for seed in range(5)])
    assert banded.metrics["m"].band.mean == 2.0
    assert banded.curves["m"].band.mean == [20.0, 40.0]


def test_a_single_trained_number_is_its_own_statistic():
    numbers = [Metric(kind="trained", value=float(value)) for value in (1, 2, 3, 4, 5)]
    assert with_bands(runs(*numbers)).metrics["m"].band == Band(mean=3.0, sd=2.5**0.5, seeds=5)


# --- results of a run are taken over ----------------------------------------------------------------------------


@pytest.fixture
def course(new_course):
    project, add = new_course()
    add("02_numpy_mlp")
    return project


def fresh(project, profile="laptop", **changes) -> None:
    new = results(profile=profile, accuracy=Metric(kind="trained", per_seed={0: 90.0}, unit="%"))
    new.model_copy(update=changes).save(project.fresh_results(profile) / "02_numpy_mlp.json")


def test_results_of_a_run_are_taken_over_with_a_diff_and_the_source_stays(course):
    source = (course.notebooks / "02_numpy_mlp.ipynb").read_bytes()
    fresh(course)
    (one,) = take_over(course, ["2"], "laptop")
    assert one.changes == ["new results: 1 metrics, 0 curves"]
    committed = course.results / "laptop" / "02_numpy_mlp.json"
    assert Results.load(committed).metrics["accuracy"].per_seed == {0: 90.0}
    fresh(course, metrics={"num_params": Metric(kind="exact", value=28)})
    (one,) = take_over(course, [], "laptop")
    assert one.changes == ["accuracy: removed, was {0: 90.0} %", "num_params: new, 28"]
    assert (course.notebooks / "02_numpy_mlp.ipynb").read_bytes() == source


def test_the_same_results_again_keep_the_file(course):
    fresh(course)
    take_over(course, [], "laptop")
    path = course.results / "laptop" / "02_numpy_mlp.json"
    before = path.read_bytes()
    later = Results.load(path).provenance.model_copy(update={"finished": "later", "wall_time_s": 9.0, "commit": "x"})
    fresh(course, provenance=later)
    assert [one.changes for one in take_over(course, [], "laptop")] == [[]]
    assert path.read_bytes() == before


def test_code_without_a_commit_is_noted(course):
    fresh(course, provenance=results(profile="laptop", commit="0123456789ab+").provenance)
    (one,) = take_over(course, [], "laptop")
    assert "not committed" in one.notes[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"notebook": "03_mnist_classifier"}, "holds the results of 03_mnist_classifier"),
        ({"provenance": results(profile="full").provenance}, "in the full profile"),
    ],
)
def test_results_of_another_notebook_or_profile_are_refused(course, changes, message):
    fresh(course, **changes)
    with pytest.raises(CourseError, match=message):
        take_over(course, [], "laptop")
    assert not course.results.exists()


def test_results_of_another_version_are_refused(course):
    fresh(course)
    path = course.fresh_results("laptop") / "02_numpy_mlp.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 0}))
    with pytest.raises(CourseError, match="schema version 0"):
        take_over(course, [], "laptop")


def test_the_command_says_what_to_run_first(course):
    answer = CliRunner().invoke(app, ["refresh", "2", "--profile", "laptop", "--project", str(course.root)])
    assert isinstance(answer.exception, CourseError)
    assert "cnncourse run --profile laptop 02" in str(answer.exception)


def test_differences_name_what_changed_beside_the_values():
    old = results(m=Metric(kind="trained", per_seed={0: 1.0}, band=Band(mean=1.0, sd=0.1, seeds=5)))
    new = results(m=Metric(kind="trained", per_seed={0: 1.0}, band=Band(mean=1.0, sd=0.2, seeds=5)))
    assert differences(old, new) == ["m: other band"]
    assert differences(old, old) == []
    curve = Curve(x=[1], per_seed={0: [1.0]}, x_label="", y_label="")
    assert differences(old, old.model_copy(update={"curves": {"c": curve}})) == ["c: new, 1 points for 1 seed(s)"]


def test_a_committed_file_that_cannot_be_read_is_replaced(tmp_path):
    path = tmp_path / "02_numpy_mlp.json"
    path.write_text("{")
    assert "cannot be read" in update(path, results())[0]
    assert Results.load(path) == results()
