import base64
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat import v4
from typer.testing import CliRunner

from cnncourse.cli import app
from cnncourse.errors import CourseError
from cnncourse.pipeline import assets, runner, site, student, watch
from cnncourse.pipeline import stage as staging
from cnncourse.pipeline.exercises import BEGIN, END
from cnncourse.project import Project
from cnncourse.results import DataRecord, Provenance, Results

CHECKOUT = Project(Path(__file__).resolve().parents[1])


def executed(source: str, count: int | None = 1, outputs=(), **metadata):
    return v4.new_code_cell(source, execution_count=count, outputs=list(outputs), metadata=metadata)


def text(output: str):
    return v4.new_output("stream", name="stdout", text=output)


def results(name: str, profile: str = "smoke", **changes) -> Results:
    facts = dict(
        profile=profile,
        seed=0,
        seeds=[0, 1, 2],
        device="cpu",
        device_name="Some Processor",
        threads=1,
        data=[DataRecord(name="scikit-learn digits", kind="embedded", sha256="0" * 64, sizes={"train": 10})],
        python="3.11.7",
        packages={},
        finished="2026-11-21 10:00 UTC",
        wall_time_s=1.0,
    )
    return Results(notebook=name, provenance=Provenance(**facts | changes))


def publish(project: Project, name: str, *cells, profile: str = "smoke", **metadata) -> Path:
    """Put an executed copy with its results where a run would leave them, beside its source."""
    path = project.executed(profile) / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    title = v4.new_markdown_cell(f"# Notebook {name}\n\nThe problem in one paragraph.")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = v4.new_notebook(cells=[title, *cells], metadata={"kernelspec": kernel, **metadata})
    nbformat.write(notebook, path)
    project.notebooks.mkdir(exist_ok=True)
    nbformat.write(notebook, project.notebooks / f"{name}.ipynb")
    results(name, profile).save(project.fresh_results(profile) / f"{name}.json")
    return path


@pytest.fixture
def tiny(tmp_path) -> Project:
    """A project of one page and one executed notebook, with the course's own configuration and extensions."""
    shutil.copy(CHECKOUT.root / "_config.yml", tmp_path)
    for folder in ("_ext", "_static"):
        shutil.copytree(CHECKOUT.root / "book" / folder, tmp_path / "book" / folder)
    shutil.copy(CHECKOUT.root / "book" / "references.bib", tmp_path / "book")
    pages = ["notebooks/01_first", "book/words", "book/working"]
    toc = "format: jb-book\nroot: book/index\nchapters:\n" + "".join(f"  - file: {page}\n" for page in pages)
    (tmp_path / "_toc.yml").write_text(toc)
    (tmp_path / "book" / "index.md").write_text("# Tiny\n\nSee [the notebook](../notebooks/01_first.ipynb).\n")
    words = "# Words\n\n```{glossary}\nepoch\n  One pass {cite}`glorot2010`.\n```\n\n```{bibliography}\n```\n"
    (tmp_path / "book" / "words.md").write_text(words)
    (tmp_path / "book" / "working.md").write_text("# Working\n\n## Profiles\n")  # each notebook page links there
    project = Project(tmp_path)
    project.notebooks.mkdir(exist_ok=True)
    publish(project, "01_first", executed("print(1 + 1)", outputs=[text("2\n")]))
    return project


def left_behind(project: Project) -> set[str]:
    return {path.name for path in project.build.iterdir() if not path.name.startswith(".lock")}


@pytest.fixture(autouse=True)
def no_wheel(monkeypatch):
    def build_wheel(project, folder):
        raise student.NoWheel("no network")

    monkeypatch.setattr(student, "build_wheel", build_wheel)


@pytest.fixture
def no_sphinx(monkeypatch):
    """Pages that are copies of their sources, so that a build takes no time; returns the commands."""
    started = []

    def sphinx(staged, pages, log, jobs):
        started.append(pages.name)
        shutil.copytree(staged, pages)
        (pages / "index.html").write_text("a page")
        return subprocess.Popen(["true"])

    monkeypatch.setattr(site, "_sphinx", sphinx)
    return started


@pytest.fixture
def no_npm(monkeypatch):
    monkeypatch.setattr(assets, "vendored", lambda cache: (None, "npm was not asked"))


# -- the real table of contents -----------------------------------------------------------------------------------


def test_every_notebook_is_in_the_table_of_contents_and_every_entry_exists():
    pages = staging.table_of_contents(CHECKOUT)
    notebooks = {f"notebooks/{path.stem}" for path in CHECKOUT.notebooks.glob("*.ipynb")}
    assert {page for page in pages if page.startswith("notebooks/")} == notebooks
    texts = {f"book/{path.stem}" for path in (CHECKOUT.root / "book").glob("*.md")}
    assert {page for page in pages if page.startswith("book/")} == texts


def test_notebooks_are_in_reading_order():
    notebooks = [page for page in staging.table_of_contents(CHECKOUT) if page.startswith("notebooks/")]
    assert notebooks == sorted(notebooks)


def test_every_figure_says_in_words_what_it_shows():
    silent = []
    for path in sorted(CHECKOUT.notebooks.glob("*.ipynb")):
        for number, cell in enumerate(nbformat.read(path, as_version=4).cells, 1):
            if cell.cell_type == "code" and "plt.show()" in cell.source:
                alternative = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
                if len(alternative.split()) < 5:
                    silent.append(f"{path.stem}, cell {number}: set metadata mystnb.image.alt")
    assert silent == []


# -- what may become a page ---------------------------------------------------------------------------------------


def test_a_complete_notebook_is_publishable(tiny):
    notebook = staging.publishable(tiny.executed("smoke") / "01_first.ipynb", "smoke")
    assert notebook.cells[1].source == "print(1 + 1)"


def error_output(project):
    output = v4.new_output("error", ename="ValueError", evalue="no such shape", traceback=[])
    publish(project, "01_first", executed("x = 1"), executed("f(x)", outputs=[output]))


def unexecuted_cell(project):
    publish(project, "01_first", executed("x = 1"), executed("f(x)", count=None))


def marked_by_papermill(project):
    publish(project, "01_first", executed("x = 1"), papermill={"exception": True})


def not_executed(project):
    (project.executed("smoke") / "01_first.ipynb").unlink()


def cut_off(project):
    path = project.executed("smoke") / "01_first.ipynb"
    path.write_text(path.read_text()[:50])


def failed_later(project):
    good = project.executed("smoke") / "01_first.ipynb"
    bad = shutil.copy(good, good.with_name("01_first.failed.ipynb"))
    os.utime(bad, ns=(good.stat().st_mtime_ns + 10**9,) * 2)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (error_output, "error in cell 3: ValueError: no such shape"),
        (unexecuted_cell, "incomplete: cell 3 was not executed"),
        (marked_by_papermill, "ended with an exception"),
        (not_executed, "has not been executed in profile smoke"),
        (cut_off, "is not a readable notebook"),
        (failed_later, "failed (profile smoke)"),
    ],
)
def test_a_failed_or_incomplete_notebook_stops_the_build_with_its_name_and_what_to_do(tiny, no_npm, spoil, says):
    spoil(tiny)
    with pytest.raises(CourseError) as caught:
        site.build(tiny)
    assert "01_first" in caught.value.what
    assert says in caught.value.what
    assert "cnncourse run 01_first --profile smoke" in caught.value.remedy
    assert not (tiny.build / "site").exists()


def test_an_older_failure_does_not_matter(tiny):
    good = tiny.executed("smoke") / "01_first.ipynb"
    bad = shutil.copy(good, good.with_name("01_first.failed.ipynb"))
    os.utime(bad, ns=(good.stat().st_mtime_ns - 10**9,) * 2)
    staging.publishable(good, "smoke")


def test_an_empty_code_cell_need_not_be_executed(tiny):
    publish(tiny, "01_first", executed("x = 1"), executed("", count=None))
    staging.publishable(tiny.executed("smoke") / "01_first.ipynb", "smoke")


def test_a_run_without_results_stops_the_build(tiny):
    (tiny.fresh_results("smoke") / "01_first.json").unlink()
    with pytest.raises(CourseError, match="No results"):
        staging.stage(tiny, "smoke", "student", tiny.root / "stage")


# -- what is staged -----------------------------------------------------------------------------------------------


def staged(project: Project, profile: str = "smoke", edition: str = "student"):
    staging.stage(project, profile, edition, project.root / "stage")
    return nbformat.read(project.root / "stage" / "notebooks" / "01_first.ipynb", as_version=4)


def test_a_page_says_under_its_title_where_its_figures_come_from(tiny):
    title = staged(tiny).cells[0].source
    assert title.startswith("# Notebook 01_first\n")
    note, rest = title.index("```{container} provenance"), title.index("The problem in one paragraph.")
    assert note < rest
    facts = title[note:rest]
    for fact in (
        "`smoke` run",
        "scikit-learn digits (embedded stand-in)",
        "3 seeds",
        "cpu (Some Processor)",
        "2026-11-21",
    ):
        assert fact in facts


def test_a_page_names_the_larger_published_run_that_it_also_draws_from(tiny):
    laptop = results("01_first", "laptop", device_name="Large Machine", data=[])
    laptop.save(tiny.results / "laptop" / "01_first.json")
    assert "Large Machine" in staged(tiny).cells[0].source


def test_a_page_made_of_the_larger_run_does_not_name_it_twice(tiny):
    publish(tiny, "01_first", executed("x = 1"), profile="laptop")
    results("01_first", "laptop").save(tiny.results / "laptop" / "01_first.json")
    assert staged(tiny, "laptop").cells[0].source.count("laptop") == 1


def test_traces_of_the_execution_are_removed_and_the_injected_cell_is_hidden(tiny):
    publish(
        tiny,
        "01_first",
        executed("profile: str = 'smoke'", tags=["parameters"]),
        executed("profile = 'laptop'", tags=["injected-parameters"], papermill={"duration": 1}, execution={"a": "b"}),
        papermill={"exception": None, "output_path": "/somewhere"},
    )
    notebook = staged(tiny)
    assert "papermill" not in notebook.metadata
    injected = notebook.cells[2]
    assert injected.metadata == {"tags": ["injected-parameters", "remove-cell"]}
    assert "/somewhere" not in (tiny.root / "stage" / "notebooks" / "01_first.ipynb").read_text()


def test_a_bibliography_key_becomes_a_citation_and_other_code_stays(tiny):
    publish(tiny, "01_first", v4.new_markdown_cell("Read `glorot2010`; call `relu`.\n\n```\nsay `glorot2010`\n```"))
    assert staged(tiny).cells[1].source == "Read {cite:t}`glorot2010`; call `relu`.\n\n```\nsay `glorot2010`\n```"


def test_the_table_of_contents_numbers_the_notebooks_and_keeps_other_titles(tiny):
    path = tiny.root / "_toc.yml"
    path.write_text(path.read_text().replace("- file: book/words", "- file: book/words\n    title: Some words"))
    staged(tiny)
    chapters = yaml.safe_load((tiny.root / "stage" / "_toc.yml").read_text())["chapters"]
    assert [chapter.get("title") for chapter in chapters] == ["01 Notebook 01_first", "Some words", None]


def test_set_up_and_long_code_are_folded_and_exercises_are_not(tiny):
    long = "\n".join(f"x = {n}" for n in range(staging.LONG_CODE + 1))
    cells = [executed("import torch"), executed(long), executed("x = 1"), *exercise(region=long)]
    cells[0]["id"] = "setup"
    publish(tiny, "01_first", *cells)
    for edition in staging.EDITIONS:
        setup, folded, short, *rest = staged(tiny, edition=edition).cells[1:]
        assert setup.metadata["mystnb"]["code_prompt_show"] == "Set-up: imports, data, settings (1 line)"
        assert folded.metadata["mystnb"]["code_prompt_show"] == "The code of this step (41 lines)"
        assert [cell.metadata.get("tags") for cell in (setup, folded)] == [["hide-input"]] * 2
        assert "tags" not in short.metadata
        assert not any("hide-input" in cell.metadata.get("tags", []) for cell in rest)
        shutil.rmtree(tiny.root / "stage")


def test_a_notebook_without_a_title_is_named(tiny):
    path = publish(tiny, "01_first", executed("x = 1"))
    notebook = nbformat.read(path, as_version=4)
    del notebook.cells[0]
    nbformat.write(notebook, path)
    with pytest.raises(CourseError, match="01_first does not begin with a title"):
        staged(tiny)


def test_the_ledger_page_is_filled_from_the_ledger(tiny):
    (tiny.root / "book" / "what_held_up.md").write_text(f"# What held up\n\n{staging.LEDGER_MARKER}\n")
    shutil.copytree(CHECKOUT.ledger, tiny.ledger)
    staged(tiny)
    page = (tiny.root / "stage" / "book" / "what_held_up.md").read_text()
    assert staging.LEDGER_MARKER not in page
    assert "ai604-p1-lenet-bn-architecture" in page.replace("\\", "")
    assert not (tiny.root / "stage" / "book" / "claims").exists()


def test_a_ledger_page_that_lost_its_marker_is_not_published_empty(tiny):
    (tiny.root / "book" / "what_held_up.md").write_text("# What held up\n")
    with pytest.raises(CourseError, match="marker"):
        staged(tiny)


def test_the_source_of_the_ledger_page_has_the_marker():
    assert staging.LEDGER_MARKER in (CHECKOUT.root / "book" / "what_held_up.md").read_text()


# -- real builds --------------------------------------------------------------------------------------------------


SECRET = "mean = sum(xs) / len(xs)\nspread = max(xs) - min(xs)\nreturn mean / spread"
MARKS = {"grade": False, "grade_id": "f", "locked": False, "schema_version": 3, "solution": True, "task": False}
CHECK = MARKS | {"grade": True, "grade_id": "check-f", "locked": True, "points": 1, "solution": False}


def exercise(*, region: str = SECRET) -> list:
    """A solution cell and its check, executed with outputs."""
    body = "".join(f"    {line}\n" for line in region.splitlines())
    source = f"def f(xs):\n    {BEGIN}\n{body}    {END}\nprint('the solution ran')"
    return [
        executed(source, outputs=[text("the solution ran\n")], nbgrader=MARKS),
        executed("check.f(f)", outputs=[text("f: accepted\n")], nbgrader=CHECK),
    ]


def test_two_editions_are_built_that_ask_no_other_host_and_once_is_enough(tiny, monkeypatch):
    scripts = tiny.root / "vendor"
    for name in ("mathjax/tex-mml-chtml.js", "widgets/embed.js"):
        (scripts / "vendor" / name).parent.mkdir(parents=True, exist_ok=True)
        (scripts / "vendor" / name).write_text("")
    monkeypatch.setattr(assets, "vendored", lambda cache: (scripts, ""))
    cell = "A word: [epoch](../book/words.md#term-epoch), a paper: [Glorot](../book/words.md#glorot2010), $x^2$."
    cells = [executed("print(1 + 1)", outputs=[text("2\n")]), *exercise(), executed("after", outputs=[text("43\n")])]
    publish(tiny, "01_first", v4.new_markdown_cell(cell), *cells)

    index = site.build(tiny)

    assert index == tiny.build / "site" / "index.html"
    assert 'url=student/book/index.html"' in index.read_text()
    assert 'href="instructor/book/index.html"' in index.read_text()
    pages = {}
    for edition in ("student", "instructor"):
        folder = tiny.build / "site" / edition
        assert 'url=book/index.html"' in (folder / "index.html").read_text()
        pages[edition] = page = (folder / "notebooks" / "01_first.html").read_text()
        assert "scikit-learn digits (embedded stand-in), 3 seeds, cpu (Some Processor), 2026-11-21" in page
        assert 'href="../book/words.html#term-epoch"' in page
        assert 'href="../book/words.html#glorot2010"' in page
        assert "vendor/mathjax/tex-mml-chtml.js" in page
        assert 'href="../downloads/01_first.ipynb"' in page
        assert not (folder / "_sources").exists()
        for path in folder.rglob("*.html"):
            html = path.read_text()
            assert re.findall(r"<(?:script|img|iframe|link)[^>]*\b(?:src|href)=.(?:https?:)?//[^>]*", html) == []
            assert "x-thebe-config" not in html
            scripts_of_page = re.findall(r"<script[^>]*\bsrc=[^>]*>", html)
            assert len(scripts_of_page) == len(set(scripts_of_page))
            assert re.findall(r"(?:colab|binder|repository|launch)[\w-]*button", html) == []  # no address, no button
    shown = {edition: re.sub(r"<[^>]*>", "", page) for edition, page in pages.items()}
    for said in ("max(xs) - min(xs)", "the solution ran\n", "f: accepted"):
        assert said in shown["instructor"]
        assert said not in shown["student"]
    assert "raise NotImplementedError()" in shown["student"]
    assert "43" in shown["student"]
    downloads = {
        edition: nbformat.read(tiny.build / "site" / edition / "downloads" / "01_first.ipynb", as_version=4)
        for edition in pages
    }
    assert downloads["instructor"] == nbformat.read(tiny.notebooks / "01_first.ipynb", as_version=4)
    assert downloads["student"].cells[2].id == student.SETUP_ID
    assert BEGIN not in nbformat.writes(downloads["student"])
    assert 'href="../downloads/notebooks.zip"' in pages["student"]
    assert left_behind(tiny) == {"executed", "results", "logs", "site", "stage"}

    def not_again(*arguments):
        raise AssertionError("nothing changed, and it was built again")

    monkeypatch.setattr(site, "_sphinx", not_again)
    assert site.build(tiny) == index


def test_a_broken_link_stops_the_build_with_its_page_and_the_old_site_stays(tiny, no_npm):
    old = tiny.build / "site" / "index.html"
    old.parent.mkdir(parents=True)
    old.write_text("the old site")
    (tiny.root / "book" / "index.md").write_text("# Tiny\n\n[nowhere](no_such_page.md)\n")
    with pytest.raises(CourseError) as caught:
        site.build(tiny)
    assert caught.value.what.count("book/index.md") == 1  # not once for each edition
    assert "no_such_page" in caught.value.what
    assert (tiny.build / "logs" / "book-student.log").is_file()
    assert old.read_text() == "the old site"
    assert left_behind(tiny) == {"executed", "results", "logs", "site"}


def test_one_edition_alone(tiny, no_npm, no_sphinx):
    assert 'url=instructor/book/index.html"' in site.build(tiny, editions=["instructor"]).read_text()
    assert {path.name for path in (tiny.build / "site").iterdir()} == {"instructor", "index.html"}
    assert 'url=student/book/index.html"' in site.build(tiny).read_text()
    assert no_sphinx == ["instructor-html", "student-html"]  # the first was up to date


@pytest.mark.parametrize("change", ["book/words.md", "_config.yml", "results/laptop/01_first.json"])
def test_what_the_pages_are_made_from_makes_them_new(tiny, no_npm, no_sphinx, change):
    site.build(tiny, editions=["student"])
    path = tiny.root / change
    if path.suffix == ".json":
        results("01_first", "laptop").save(path)
    else:
        path.write_text(path.read_text() + "\n# More\n")
    site.build(tiny, editions=["student"])
    assert len(no_sphinx) == 2


def test_a_text_that_tells_a_solution_stops_the_student_edition(tiny, no_npm, no_sphinx):
    publish(tiny, "01_first", *exercise())
    (tiny.root / "book" / "words.md").write_text(f"# Words\n\n```python\n{SECRET}\n```\n")
    with pytest.raises(CourseError, match=r"book/words\.md: cell .* of 01_first") as caught:
        site.build(tiny)
    assert "would leak" in caught.value.what
    assert not (tiny.build / "site").exists()


def test_launch_buttons_appear_with_the_address_of_a_repository(tiny, no_npm):
    config = tiny.root / "_config.yml"
    config.write_text(config.read_text().replace('url: ""', "url: https://github.com/someone/course"))
    site.build(tiny, editions=["student"])
    folder = tiny.build / "site" / "student"
    page = (folder / "notebooks" / "01_first.html").read_text()
    notebook = "notebooks/01_first.ipynb"
    assert f'"https://colab.research.google.com/github/someone/course/blob/student/{notebook}"' in page
    assert f'"https://mybinder.org/v2/gh/someone/course/student?urlpath=lab/tree/{notebook}"' in page
    assert "mybinder" not in (folder / "book" / "words.html").read_text()


def test_what_a_killed_build_left_behind_goes_at_the_next_start(tiny, no_npm, no_sphinx):
    (tiny.build / "site-killed" / "stage").mkdir(parents=True)
    site.build(tiny)
    assert left_behind(tiny) == {"executed", "results", "site", "stage"}


# -- watching -----------------------------------------------------------------------------------------------------


def test_staging_again_touches_only_what_changed(tiny, no_npm):
    folder = tiny.root / "watched"
    watch.restage(tiny, "smoke", "instructor", folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    (tiny.root / "book" / "words.md").write_text("# Other words\n")
    (tiny.root / "book" / "working.md").unlink()
    (tiny.root / "book" / "new.md").write_text("# New\n")
    watch.restage(tiny, "smoke", "instructor", folder)
    after = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    changed = {p.name for p in before.keys() | after.keys() if before.get(p) != after.get(p)}
    assert changed == {"words.md", "working.md", "new.md"}


def test_watching_rebuilds_and_serves_a_page_that_changed(tiny, no_npm):
    code = "import sys; from cnncourse.pipeline.watch import watch; from cnncourse.project import Project\n"
    code += "from pathlib import Path; watch(Project(Path(sys.argv[1])), 'smoke', 'instructor', 0, print)"
    page = tiny.build / "watch" / "instructor" / "html" / "book" / "words.html"
    log = tiny.root / "watch.log"
    with log.open("w") as file:
        group = subprocess.Popen(
            [sys.executable, "-c", code, str(tiny.root)], stdout=file, stderr=file, start_new_session=True
        )
    try:
        wait_for(lambda: page.is_file() and "Serving on http://127.0.0.1" in log.read_text(), log)
        address = re.search(r"Serving on (http://127\.0\.0\.1:\d+)", log.read_text())[1]
        wait_for(lambda: answers(address), log)  # from then on it watches
        words = tiny.root / "book" / "words.md"
        words.write_text(words.read_text() + "\nA sentence that is new.\n")
        wait_for(lambda: "A sentence that is new." in answers(f"{address}/book/words.html"), log)
    finally:
        os.killpg(group.pid, signal.SIGINT)
        group.wait(20)


def answers(address: str) -> str:
    try:
        with urllib.request.urlopen(address) as answer:
            return answer.read().decode()
    except OSError:
        return ""


def wait_for(condition, log, seconds=120):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.2)


def test_two_builds_do_not_work_in_one_folder(tiny, no_npm):
    with runner.lock(tiny), pytest.raises(CourseError, match="Another run"):
        site.build(tiny)


def test_the_pages_of_the_course_build_without_a_warning(tmp_path, no_npm):
    shutil.copytree(CHECKOUT.root / "book", tmp_path / "book")
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(CHECKOUT.root / name, tmp_path)
    project = Project(tmp_path)
    for page in staging.table_of_contents(CHECKOUT):
        if page.startswith("notebooks/"):
            publish(project, Path(page).name, executed("1 + 1"))
    assert site.build(project).is_file()


# -- scripts from npm ---------------------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path, monkeypatch):
    """One small package in place of the real ones, and an npm that delivers it."""
    folder = tmp_path / "package"
    (folder / "dist").mkdir(parents=True)
    (folder / "dist" / "wanted.js").write_text("1")
    (folder / "dist" / "unwanted.js").write_text("2")
    archive = tmp_path / "small-1.0.0.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, "package")
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    small = assets.Package("small@1.0.0", archive.name, digest, "small", ("package/dist/wanted.js",), "package/dist")
    monkeypatch.setattr(assets, "PACKAGES", (small,))

    def npm(arguments, folder):
        shutil.copy(archive, folder)
        return assets.subprocess.CompletedProcess(arguments, 0)

    monkeypatch.setattr(assets, "_npm", npm)
    return archive


def test_only_the_wanted_files_are_kept_and_fetched_once(package, tmp_path, monkeypatch):
    folder, reason = assets.vendored(tmp_path / "cache")
    assert reason == ""
    assert [p.relative_to(folder).as_posix() for p in folder.rglob("*.js")] == ["vendor/small/wanted.js"]
    monkeypatch.setattr(assets, "_npm", None)
    assert assets.vendored(tmp_path / "cache") == (folder, "")


def test_an_archive_with_another_checksum_is_refused(package, tmp_path):
    package.write_bytes(package.read_bytes() + b"\0")
    folder, reason = assets.vendored(tmp_path / "cache")
    assert folder is None
    assert "checksum" in reason
    assert list((tmp_path / "cache").iterdir()) == []


def failing_npm(arguments, folder):
    return assets.subprocess.CompletedProcess(arguments, 1)


def hanging_npm(arguments, folder):
    raise assets.subprocess.TimeoutExpired(arguments, 90)


@pytest.mark.parametrize("npm", [failing_npm, hanging_npm])
def test_without_network_the_site_is_built_all_the_same_and_says_what_it_loads(
    tiny, package, no_sphinx, monkeypatch, npm
):
    monkeypatch.setattr(assets, "_npm", npm)
    said = []
    site.build(tiny, say=said.append)
    assert any("CDN" in line for line in said)
    assert not (tiny.build / "stage" / "student" / "_vendor").exists()


# -- the command --------------------------------------------------------------------------------------------------


def book(monkeypatch, project, *outcomes):
    """`cnncourse book` after a run with these outcomes."""
    monkeypatch.setattr(runner, "run", lambda *arguments: runner.Report(list(outcomes)))
    return CliRunner().invoke(app, ["book", "--project", str(project.root)])


def test_the_command_prints_where_the_site_is(tiny, no_npm, no_sphinx, monkeypatch):
    result = book(monkeypatch, tiny, runner.Outcome("01_first", "cached"))
    assert result.exit_code == 0
    assert str(tiny.build / "site" / "index.html") in result.stdout


def test_the_command_names_the_editions(tiny):
    result = CliRunner().invoke(app, ["book", "--project", str(tiny.root), "--edition", "teacher"])
    assert result.exception.remedy == "Choose student, instructor or both."


def test_the_command_builds_nothing_when_a_notebook_failed_and_names_it(tiny, monkeypatch):
    failed = runner.Outcome("01_first", "failed", "a cell raised", 3)
    result = book(monkeypatch, tiny, failed, runner.Outcome("02_second", "ran"))
    assert result.exit_code == 1
    assert "The site was not built, because of: 01_first\n" in result.stderr
    assert not (tiny.build / "site").exists()
