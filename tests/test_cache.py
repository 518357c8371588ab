"""The cache key is complete: change an ingredient and the notebook runs again, change nothing and nothing runs."""

from __future__ import annotations

import copy
import dataclasses
import errno
import json
import os
import shutil
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from tiny_course import add, code, make_course, printed, session

import cnncourse.reads
from cnncourse.pipeline import cache, kernel, progress, runner, workers
from cnncourse.pipeline.cache import Cache, Entry, Key, Used
from cnncourse.pipeline.execute import execute
from cnncourse.pipeline.runner import Options
from cnncourse.project import module_files

HERE = cache.Surroundings(
    host="here", python="CPython 3.11", packages="p", course="c", variables=(), device="cpu", cores=4
)


# --- the key


def notebook():
    cells = [new_markdown_cell("# Title"), code("seed: int = 0", "parameters"), code("print(seed)", "hide-input")]
    for number, cell in enumerate(cells):
        cell.id = f"cell-{number}"
    return new_notebook(cells=cells)


def key(node=None, parameters=None, where=HERE, threads=1) -> Key:
    return cache.key(node or notebook(), parameters or {"seed": 0}, where, threads)


def edited(change) -> nbformat.NotebookNode:
    node = notebook()
    change(node)
    return node


@pytest.mark.parametrize(
    "other",
    [
        key(edited(lambda node: node.cells[2].update(source="print(seed + 1)"))),
        key(edited(lambda node: node.cells.append(new_code_cell("1")))),
        key(edited(lambda node: node.cells.reverse())),
        key(edited(lambda node: node.cells[2].metadata.update(tags=["raises-exception"]))),
        key(edited(lambda node: node.cells[2].metadata.update(tags=["skip-execution"]))),
        key(parameters={"seed": 1}),
        key(where=dataclasses.replace(HERE, python="CPython 3.12")),
        key(where=dataclasses.replace(HERE, packages="q")),
        key(where=dataclasses.replace(HERE, device="cuda NVIDIA H100")),
        key(where=dataclasses.replace(HERE, variables=(("ATEN_CPU_CAPABILITY", "default"),))),
        key(threads=2),
    ],
    ids=[
        "code",
        "cell",
        "order",
        "raises",
        "skip",
        "parameters",
        "python",
        "packages",
        "device",
        "variables",
        "threads",
    ],
)
def test_what_changes_the_run_changes_the_key(other):
    assert other.digest != key().digest
    assert len(cache.differences(key(), other)) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda node: node.cells[0].update(source="# Another title"),
        lambda node: node.cells.insert(0, new_markdown_cell("More text.")),
        lambda node: node.cells[2].metadata.update(tags=["nbval-ignore-output"]),
        lambda node: node.cells[2].update(execution_count=7),
    ],
    ids=["text", "text cell", "layout tag", "committed output"],
)
def test_what_does_not_change_the_run_does_not_change_the_key(change):
    assert key(edited(change)) == key()


def test_where_it_ran_and_how_many_cores_there_are_is_no_ingredient():
    assert key(where=dataclasses.replace(HERE, host="there", cores=64)) == key()


def test_surroundings_tell_this_python_its_packages_and_what_changes_digits(monkeypatch):
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")  # kernels get their own
    where = cache.surroundings("cpu")
    assert dict(where.variables)["ATEN_CPU_CAPABILITY"] == "default"
    assert "OMP_NUM_THREADS" not in dict(where.variables)
    assert "CPython" in where.python
    assert where.device == "cpu"


def test_installed_packages_count_but_not_the_course_itself(monkeypatch):
    def installed(**versions):
        found = [SimpleNamespace(metadata={"Name": n, "Version": v}) for n, v in versions.items()]
        monkeypatch.setattr(cache.metadata, "distributions", lambda: found)
        cache._installed.cache_clear()
        return cache._installed()

    try:
        before = installed(torch="2.15.0", cnncourse="0.1.0")
        assert installed(torch="2.15.0", cnncourse="0.2.0") == before
        assert installed(torch="2.15.1", cnncourse="0.1.0") != before
        assert installed(torch="2.15.0", cnncourse="0.1.0", numpy="2.0") != before
    finally:
        cache._installed.cache_clear()


# --- what a kernel used


def test_pictures_that_a_notebook_draws_for_itself_follow_from_its_modules(monkeypatch):
    monkeypatch.setattr(cache, "_survey", lambda *names: {"MNIST": "m"})
    sources = [
        {"name": "MNIST", "kind": "original", "sha256": "m"},
        {"name": "drawn here", "kind": "embedded", "sha256": "d"},
    ]
    used = Used(data=cache.data_used(sources, "laptop"))
    assert used.data == {"MNIST": "m"}
    assert cache.current(used).data == used.data


def test_a_stand_in_depends_on_every_data_set_that_may_come(monkeypatch):
    source = {"name": "digits", "kind": "embedded", "sha256": "d"}
    monkeypatch.setattr(cache, "_survey", lambda *names: {"MNIST": cache.MISSING, "digits": "d"})
    assert cache.data_used([source], "smoke") == {"digits": "d"}
    used = Used(data=cache.data_used([source], "laptop"))
    assert cache.current(used).data == used.data
    monkeypatch.setattr(cache, "_survey", lambda *names: {"MNIST": "m", "digits": "d"})
    assert cache.differences(used, cache.current(used).restricted_to(used)) == ["MNIST"]


def test_real_files_are_verified_not_believed(tmp_path, monkeypatch):
    monkeypatch.setenv("CNNCOURSE_DATA", str(tmp_path))
    used = Used(data={"MNIST": "a" * 64})
    assert cache.current(used).data == {"MNIST": cache.MISSING}


def test_names_are_joined_for_one_question_and_taken_apart_again():
    first, second = Used(modules={"a": "1"}, reads={"x": "1"}), Used(modules={"b": "2"}, data={"d": "3"})
    both = Used.union([first, second])
    assert both == Used(modules={"a": "1", "b": "2"}, reads={"x": "1"}, data={"d": "3"})
    assert both.restricted_to(first) == first
    assert both.restricted_to(second) == second


# --- the store


def entry(number=0, name="01_one") -> Entry:
    executed = json.loads(nbformat.writes(notebook()))
    return Entry(
        notebook=name, key=key(threads=number + 1), used=Used(), executed=executed, results='{"n": 1}', seconds=number
    )


@pytest.fixture
def store(tmp_path):
    warnings = []
    store = Cache(tmp_path / "cache", warnings.append)
    store.warnings = warnings
    return store


def test_an_entry_comes_back_as_it_was(store):
    store.keep(entry())
    assert store.find("01_one", entry().key) == entry()
    assert store.find("01_one", entry(1).key) is None
    assert store.find("02_two", entry().key) is None
    assert store.warnings == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("print(seed)", "print(soot)"),
        lambda text: "",
        lambda text: "\x00" * 100,
        lambda text: text.partition("\n")[2],
    ],
    ids=["truncated", "altered", "empty", "zeros", "without checksum"],
)
def test_a_damaged_entry_is_ignored_and_named(store, damage):
    store.keep(entry())
    (path,) = store.folder.rglob("*.json")
    path.write_text(damage(path.read_text()))
    assert store.find("01_one", entry().key) is None
    assert str(path) in store.warnings[0]
    store.keep(entry())
    assert store.find("01_one", entry().key) == entry()


def test_an_entry_of_another_format_is_ignored(store):
    body = entry().model_dump_json().replace('"format":1', '"format":2')
    cache.write(store._path("01_one", entry().key), f"{cache._sha256(body)}\n{body}\n")
    assert store.find("01_one", entry().key) is None
    assert "another format" in store.warnings[0]


def test_the_oldest_entries_of_a_notebook_go(store):
    store.keep(entry(99, "02_two"))
    for number in range(cache.KEPT + 3):
        store.keep(entry(number))
        os.utime(store._path("01_one", entry(number).key), (number, number))
    assert store.find("01_one", entry(0).key) is None
    assert store.nearest("01_one", entry(99).key) == entry(cache.KEPT + 2)
    assert len(list((store.folder / "01_one").iterdir())) == cache.KEPT
    assert store.find("02_two", entry(99).key)


def test_a_full_disk_leaves_the_old_file_and_no_scrap(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    cache.write(path, "old")

    def full(_handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left on device: .*x\.json"):
        cache.write(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    assert path.read_text() == "old"


# --- merging text


def executed_copy() -> nbformat.NotebookNode:
    node = notebook()
    node.metadata["papermill"] = {"duration": 1.0}
    node.cells.insert(2, code("seed = 5", cache.INJECTED))
    for count, cell in enumerate((cell for cell in node.cells if cell.cell_type == "code"), 1):
        cell.execution_count = count
        cell.outputs = [nbformat.v4.new_output("stream", text=f"output {count}\n")]
    return node


def test_text_comes_from_the_source_and_outputs_from_the_execution():
    source = notebook()
    source.cells[0].source = "# New title"
    source.cells.insert(2, new_markdown_cell("New text."))
    source.cells[3].metadata["tags"] = ["remove-input"]
    merged = cache.merge(source, executed_copy())
    assert [cell.source for cell in merged.cells] == [
        "# New title",
        "seed: int = 0",
        "seed = 5",  # stays behind the parameters
        "New text.",
        "print(seed)",
    ]
    assert [cell.execution_count for cell in merged.cells if cell.cell_type == "code"] == [1, 2, 3]
    assert merged.cells[4].outputs[0].text == "output 3\n"
    assert merged.cells[4].metadata["tags"] == ["remove-input"]
    assert merged.metadata["papermill"] == {"duration": 1.0}


def test_merging_changes_neither_of_the_two():
    source, executed = notebook(), executed_copy()
    before = copy.deepcopy((source, executed))
    cache.merge(source, executed)
    assert (source, executed) == before


# --- the whole way, with kernels


LEDGER = "claims: []\n"


class _InThisProcess:
    """Workers without Dask: `submit` executes, so that a test can change what the kernel's machine says."""

    run, slots, memory = "cache000", 1, None

    def __init__(self):
        self.events = workers.queue.SimpleQueue()

    def submit(self, task):
        self.events.put(("done", (task.label, execute(task, lambda message: None))))


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course with one notebook that uses a module, committed files and data; all of them can be changed."""
    package = tmp_path / "package"
    names = {"cnncourse", "cnncourse.errors", "cnncourse.session", "cnncourse.claims"}
    for name, path in module_files().items():
        if name in names:
            (package / f"{name}.py").parent.mkdir(exist_ok=True)
            shutil.copy(path, package / f"{name}.py")
    monkeypatch.setattr(
        cache,
        "module_files",
        lambda: module_files() | {name: package / f"{name}.py" for name in names - {"cnncourse"}},
    )
    committed = tmp_path / "committed"
    for module in (cache, cnncourse.reads):
        monkeypatch.setattr(module, "committed", lambda kind: committed / kind)
    (committed / "claims").mkdir(parents=True)
    (committed / "claims" / "report.yml").write_text(LEDGER)
    (committed / "results" / "full").mkdir(parents=True)
    monkeypatch.setattr(cache, "_survey", lambda *names: {"MNIST": "m"})
    monkeypatch.setattr(workers.Local, "workers", lambda self, tasks: workers.contextmanager(_one_worker)())

    project = make_course(tmp_path / "course")
    reads = {
        "claims/report.yml": cache.hash_file(committed / "claims" / "report.yml"),
        "results/full/01_one.json": cache.MISSING,
    }
    sources = [{"name": "MNIST", "kind": "original", "sha256": "m"}]
    add(project, "01_one", "print(num_seeds)", session("01_one", reads=reads, sources=sources))
    return SimpleNamespace(project=project, package=package, committed=committed)


def _one_worker():
    yield _InThisProcess()


def run(course, **options):
    (outcome,) = runner.run(course.project, (), Options(**options)).outcomes
    assert outcome.ok, outcome
    return outcome


def append(path, text):
    path.write_text(path.read_text() + text)


def edit_source(course, change):
    path = course.project.notebooks / "01_one.ipynb"
    node = nbformat.read(path, as_version=4)
    change(node)
    nbformat.write(node, path)


def test_every_ingredient_runs_the_notebook_again_and_nothing_else_does(course, monkeypatch):
    """One story, because every execution costs a second: each step changes one thing, and the run names it."""
    monkeypatch.setattr(kernel, "cores", lambda: 4)
    assert run(course).status == "ran"
    copy_, results = course.project.executed("smoke") / "01_one.ipynb", course.project.fresh_results("smoke")
    results = results / "01_one.json"
    written = copy_.read_bytes(), results.read_bytes()
    assert run(course).status == "cached"
    assert (copy_.read_bytes(), results.read_bytes()) == written

    def runs_again(why, **options):
        outcome = run(course, **options)
        assert (outcome.status, outcome.reason) == ("ran", f"changed: {why}")

    def runs_again_once(why, **options):
        runs_again(why, **options)
        assert run(course, **options).status == "cached"

    def nothing_runs():
        assert run(course).status == "cached"

    # a module that the kernel had loaded, and one that it had not
    append(course.package / "cnncourse.errors.py", "# changed\n")
    runs_again_once("cnncourse.errors")
    append(course.package / "cnncourse.claims.py", "# changed\n")
    nothing_runs()

    # committed files: one that it read, one that it looked for, one that is not its business
    append(course.committed / "claims" / "report.yml", "# changed\n")
    runs_again("claims/report.yml")
    (course.committed / "claims" / "report.yml").write_text(LEDGER)
    nothing_runs()
    (course.committed / "results" / "full" / "01_one.json").write_text("{}")
    runs_again("results/full/01_one.json")
    (course.committed / "results" / "full" / "01_one.json").unlink()
    (course.committed / "claims" / "other.yml").write_text("claims: [1]\n")
    nothing_runs()

    # data: the set that it used, and another one
    monkeypatch.setattr(cache, "_survey", lambda *names: {"MNIST": "other files"})
    runs_again("MNIST")
    monkeypatch.setattr(cache, "_survey", lambda *names: {"MNIST": "m", "CIFAR-10": "c"})
    nothing_runs()

    # parameters; what was kept for others is still there
    runs_again_once("seed", seed=1)
    runs_again_once("num_seeds", parameters={"num_seeds": "5"})
    assert json.loads(results.read_text()) == {"n": 5}
    nothing_runs()
    assert json.loads(results.read_text()) == {"n": 3}

    # the machine
    runs_again_once("threads", jobs=2)
    nothing_runs()
    where = cache.surroundings("cpu")
    for name in ("python", "packages"):
        with monkeypatch.context() as patch:
            changed = dataclasses.replace(where, **{name: "another"})
            patch.setattr(cache, "surroundings", lambda device, changed=changed: changed)
            runs_again(name)
        nothing_runs()
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    runs_again_once("ATEN_CPU_CAPABILITY")
    monkeypatch.delenv("ATEN_CPU_CAPABILITY")

    # the code; and last, because somebody wants it so
    edit_source(course, lambda node: node.cells[2].update(source="print(num_seeds, 'seeds')"))
    runs_again_once("code")
    assert run(course, force=True).reason == "forced"


def test_changed_text_reaches_the_page_without_execution(course):
    run(course)
    edit_source(course, lambda node: node.cells.insert(1, new_markdown_cell("A new paragraph.")))
    edit_source(course, lambda node: node.cells[0].update(source="# Another title"))
    edit_source(course, lambda node: node.cells[3].metadata.update(tags=["hide-input"]))
    assert run(course).status == "cached"
    page = nbformat.read(course.project.executed("smoke") / "01_one.ipynb", as_version=4)
    assert [cell.source for cell in page.cells[:2]] == ["# Another title", "A new paragraph."]
    assert page.cells[3].metadata["tags"] == ["hide-input"]
    assert printed(nbformat.writes(page)) == "3\n"


def test_lost_outputs_come_back_from_the_cache(course):
    run(course)
    page = course.project.executed("smoke") / "01_one.ipynb"
    text = page.read_text()
    page.write_text("{}")
    (course.project.fresh_results("smoke") / "01_one.json").unlink()
    assert run(course).status == "cached"
    assert page.read_text() == text
    assert json.loads((course.project.fresh_results("smoke") / "01_one.json").read_text()) == {"n": 3}


def test_a_corrupt_entry_is_named_and_the_notebook_runs_again(course):
    run(course)
    (path,) = (course.project.build / "cache").rglob("*.json")
    path.write_bytes(os.urandom(200))
    messages = []
    display = progress.Display()
    display.say = messages.append
    (outcome,) = runner.run(course.project, display=display).outcomes
    assert outcome.status == "ran"
    assert str(path) in messages[0]
    assert run(course).status == "cached"


def test_a_module_that_is_edited_during_the_run_counts_as_changed(course):
    path = course.package / "cnncourse.errors.py"
    edit_source(course, lambda node: node.cells.append(code(f"open({str(path)!r}, 'a').write('# later')")))
    assert run(course).status == "ran"
    assert run(course).reason == "changed: cnncourse.errors"
