"""start() and Session: parameters are checked, randomness is fixed, what is recorded comes back."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

import cnncourse
import cnncourse.data
from cnncourse import reads, session
from cnncourse.errors import CourseError
from cnncourse.results import Results

DIGITS = SimpleNamespace(name="digits", kind="embedded", sha256="ab" * 32, sizes={"train": 3}, note="")


@pytest.fixture(autouse=True)
def torch_as_it_was():
    """start() fixes process-wide settings; give them back."""
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def start(**options):
    return cnncourse.start(**{"profile": "smoke", "seed": 0, "device": "cpu", "notebook": "00_test"} | options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"profile": "smok"}, "Unknown profile 'smok'"),
        ({"seed": -1}, "at least 0, not -1"),
        ({"seed": True}, "not True"),
        ({"seed": "1"}, "not '1'"),
        ({"device": "gpu"}, "Unknown device 'gpu'"),
        ({"device": "cuda:93"}, "no device 'cuda:93'"),
        ({"device": "meta"}, "no device 'meta'"),
    ],
)
def test_bad_parameters_are_named(options, message):
    with pytest.raises(CourseError, match=message):
        start(**options)


def test_pick_takes_the_value_of_the_profile():
    choices = {"smoke": 1, "laptop": 4, "full": 20}
    assert [start(profile=p).pick(**choices) for p in choices] == [1, 4, 20]


def test_auto_prefers_an_accelerator(monkeypatch):
    import torch

    from cnncourse.session import resolve_device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto") == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto") == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto") == "cuda"


def test_the_seed_fixes_every_generator():
    import random

    import numpy as np
    import torch

    def draw(seed):
        start(seed=seed)
        return random.random(), np.random.rand(), torch.rand(1).item()

    assert draw(3) == draw(3)
    assert all(a != b for a, b in zip(draw(3), draw(4), strict=True))


def test_smoke_is_deterministic_on_one_thread():
    import torch

    run = start()
    assert run.threads == torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()


def test_seeds_start_at_the_seed_and_enter_the_provenance():
    run = start(seed=5)
    assert run.seeds(3) == [5, 6, 7]
    assert run.provenance().seeds == [5, 6, 7]
    with pytest.raises(CourseError, match="at least one seed"):
        run.seeds(0)


def test_records_come_back_from_the_file(tmp_path, monkeypatch, capsys):
    import numpy as np
    import torch

    monkeypatch.setenv("CNNCOURSE_RESULTS", str(tmp_path / "deep" / "00_test.json"))
    run = start()
    run.data(SimpleNamespace(source=DIGITS))
    run.record("count", np.int64(41_090))
    run.record("shape", (3, torch.tensor(4)))
    run.record("proved", True)
    run.record("accuracy", {0: np.float32(0.5), 1: 0.75}, unit="%", data="digits")
    run.record("floor", 2.5e-9, kind="trained")
    run.curve("loss", range(1, 3), {0: torch.tensor([1.0, 0.5])}, x_label="Epoch", y_label="Loss", unit="nats")
    run.finish()

    loaded = Results.load(tmp_path / "deep" / "00_test.json")
    assert {name: m.value for name, m in loaded.metrics.items() if m.kind == "exact"} == {
        "count": 41_090,
        "shape": [3, 4],
        "proved": True,
    }
    assert loaded.metrics["accuracy"].per_seed == {0: 0.5, 1: 0.75}
    assert loaded.metrics["floor"].value == 2.5e-9
    assert loaded.curves["loss"].x == [1, 2]
    assert loaded.curves["loss"].per_seed == {0: [1.0, 0.5]}
    assert loaded.provenance.data[0].sha256 == DIGITS.sha256
    assert loaded.notebook == "00_test"
    assert run.finished


@pytest.mark.parametrize("bad", [float("nan"), {0: float("inf")}, {0: [1.0, float("nan")]}])
def test_results_are_finite(bad):
    with pytest.raises(CourseError, match="finite"):
        start().record("loss", bad)


def test_a_name_is_used_once_in_a_published_run(monkeypatch):
    run = start()
    run.record("n", 1)
    run.record("n", 2)  # a reader tries something else
    assert run.results().metrics["n"].value == 2
    monkeypatch.setenv("CNNCOURSE_RESULTS", "somewhere.json")
    run.record("n", 2)
    with pytest.raises(CourseError, match="recorded twice"):
        run.record("n", 3)


def test_a_curve_has_one_value_per_point():
    with pytest.raises(CourseError, match="'loss', seed 1: 1 values for 2 points"):
        start().curve("loss", [1, 2], {1: [0.5]}, x_label="Epoch", y_label="Loss")


@pytest.fixture
def committed(tmp_path, monkeypatch):
    """A folder in the place of the package's committed results and ledger."""
    for module in (session, reads):
        monkeypatch.setattr(module, "committed", lambda what: tmp_path / what)
    return tmp_path


def commit_results(committed, profile):
    """A run of notebook 00_test in `profile`, committed."""
    run = start(profile=profile)
    run.record("accuracy", {0: 98.5, 1: 99.0}, unit="%", data="MNIST")
    run.record("num_params", 7)
    run.curve("loss", [1, 2], {0: [0.5, 0.25]}, x_label="Epoch", y_label="Loss", data="MNIST")
    run.results().save(committed / "results" / profile / "00_test.json")


def test_published_values_come_with_their_provenance(committed):
    assert start().published() is None
    assert start().published("loss") is None
    commit_results(committed, "smoke")
    commit_results(committed, "laptop")
    run = start()
    assert run.published().profile == "laptop"
    loss = run.published("loss")
    assert (loss.x, loss.per_seed) == ([1.0, 2.0], {0: [0.5, 0.25]})
    assert loss.origin == "published run (laptop), MNIST"
    assert loss.provenance.profile == "laptop"
    assert run.published("num_params").per_seed == {0: 7}
    assert run.published("other") is None


def test_a_figure_shows_the_published_values_only_where_the_own_ones_are_of_stand_ins(committed):
    commit_results(committed, "smoke")
    run = start()
    run.record("accuracy", {0: 50.0}, data="digits")
    assert run.shown("accuracy").per_seed == {0: 50.0}, "a committed smoke run is no better than this one"
    assert run.shown("accuracy").origin == "this run, digits"
    commit_results(committed, "laptop")
    run = start()
    run.record("accuracy", {0: 50.0}, data="digits")
    run.record("new", {0: 1.0})
    assert run.shown("accuracy").per_seed == {0: 98.5, 1: 99.0}
    assert run.shown("accuracy").origin == "published run (laptop), MNIST"
    assert run.shown("new").per_seed == {0: 1.0}, "a metric that the published run did not have"
    run = start(profile="laptop")
    run.record("accuracy", {0: 97.0}, data="MNIST")
    assert run.shown("accuracy").per_seed == {0: 97.0}
    with pytest.raises(CourseError, match="Nothing is recorded under the name 'loss'"):
        run.shown("loss")


def test_the_stamp_keeps_volatile_facts_out_of_its_text():
    from cnncourse.provenance import stamp_html, stamp_text

    run = start()
    run.data(SimpleNamespace(source=DIGITS))
    text, page = stamp_text(run.provenance()), stamp_html(run.provenance())
    assert "digits (embedded, train 3, sha256 abababababab)" in text
    assert "torch" in page
    for volatile in ("torch", "commit", "finished", "device"):
        assert volatile not in text


def test_import_stays_light():
    heavy = ["torch", "numpy", "pandas", "matplotlib", "pydantic"]
    code = f"import sys, cnncourse; print([m for m in {heavy} if m in sys.modules])"
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert shown.stdout.strip() == "[]"


def test_the_smoke_profile_has_no_store_and_the_others_say_what_they_took_from_it(tmp_path, monkeypatch):
    from cnncourse.training import Experiment, train

    monkeypatch.setenv("CNNCOURSE_STORE", str(tmp_path))
    assert start().store is None
    assert list(tmp_path.iterdir()) == []
    experiment = Experiment(model="mlp_30", num_epochs=1, batch_size=8, lr=0.1, num_images=32)
    run = start(profile="laptop")
    digits = cnncourse.data.mnist(profile="smoke")
    for seed in (0, 1, 0):
        train(experiment.changed(seed=seed), digits, store=run.store)
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, **options: shown.append((bundle, options)))
    run.finish()
    ((bundle, options),) = shown
    assert "2 now, 1 from the experiment store" in bundle["text/html"]
    assert "store" not in bundle["text/plain"]
    assert options["metadata"]["cnncourse"]["volatile"] == ["text/html"]


@pytest.mark.parametrize(
    ("profile", "pipeline", "shown"), [("laptop", False, True), ("smoke", False, False), ("laptop", True, False)]
)
def test_progress_is_shown_to_a_reader_who_waits(profile, pipeline, shown, monkeypatch):
    monkeypatch.delenv("CNNCOURSE_RESULTS", raising=False)
    if pipeline:
        monkeypatch.setenv("CNNCOURSE_RESULTS", "results.json")
    monkeypatch.setattr(session, "_current", SimpleNamespace(profile=profile))
    assert session.shows_progress() is shown
    assert session.shows_progress(True)
    assert not session.shows_progress(False)
