import base64
import hashlib
import os
import re
import shutil
import tarfile
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from typer.testing import CliRunner

from cnncourse.cli import app
from cnncourse.errors import CourseError
from cnncourse.pipeline import assets, runner, site
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
    """Put an executed copy with its results where a run would leave them."""
    path = project.executed(profile) / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    title = v4.new_markdown_cell(f"# Notebook {name}\n\nThe problem in one paragraph.")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(v4.new_notebook(cells=[title, *cells], metadata={"kernelspec": kernel, **metadata}), path)
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
    project.notebooks.mkdir()
    publish(project, "01_first", executed("print(1 + 1)", outputs=[text("2\n")]))
    return project


def left_behind(project: Project) -> set[str]:
    return {path.name for path in project.build.iterdir() if not path.name.startswith(".lock")}


@pytest.fixture
def no_npm(monkeypatch):
    monkeypatch.setattr(assets, "vendored", lambda cache: (None, "npm was not asked"))


# -- the real table of contents -----------------------------------------------------------------------------------


def test_every_notebook_is_in_the_table_of_contents_and_every_entry_exists():
    pages = site.table_of_contents(CHECKOUT)
    notebooks = {f"notebooks/{path.stem}" for path in CHECKOUT.notebooks.glob("*.ipynb")}
    assert {page for page in pages if page.startswith("notebooks/")} == notebooks
    texts = {f"book/{path.stem}" for path in (CHECKOUT.root / "book").glob("*.md")}
    assert {page for page in pages if page.startswith("book/")} == texts


def test_notebooks_are_in_reading_order():
    notebooks = [page for page in site.table_of_contents(CHECKOUT) if page.startswith("notebooks/")]
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
    notebook = site.publishable(tiny.executed("smoke") / "01_first.ipynb", "smoke")
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
    site.publishable(good, "smoke")


def test_an_empty_code_cell_need_not_be_executed(tiny):
    publish(tiny, "01_first", executed("x = 1"), executed("", count=None))
    site.publishable(tiny.executed("smoke") / "01_first.ipynb", "smoke")


def test_a_run_without_results_stops_the_build(tiny):
    (tiny.fresh_results("smoke") / "01_first.json").unlink()
    with pytest.raises(CourseError, match="No results"):
        site.stage(tiny, "smoke", tiny.root / "stage")


# -- what is staged -----------------------------------------------------------------------------------------------


def staged(project: Project, profile: str = "smoke"):
    site.stage(project, profile, project.root / "stage")
    return nbformat.read(project.root / "stage" / "notebooks" / "01_first.ipynb", as_version=4)


def test_a_page_says_under_its_title_where_its_figures_come_from(tiny):
    title = staged(tiny).cells[0].source
    assert title.startswith("# Notebook 01_first\n")
    note, rest = title.index("```{admonition}"), title.index("The problem in one paragraph.")
    assert note < rest
    facts = title[note:rest]
    for fact in (
        "**smoke**",
        "scikit-learn digits (embedded stand-in)",
        "seeds 0, 1, 2",
        "Some Processor",
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
    assert staged(tiny, "laptop").cells[0].source.count("**laptop**") == 1


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


def test_a_notebook_without_a_title_is_named(tiny):
    path = publish(tiny, "01_first", executed("x = 1"))
    notebook = nbformat.read(path, as_version=4)
    del notebook.cells[0]
    nbformat.write(notebook, path)
    with pytest.raises(CourseError, match="01_first does not begin with a title"):
        staged(tiny)


def test_the_ledger_page_is_filled_from_the_ledger(tiny):
    (tiny.root / "book" / "what_held_up.md").write_text(f"# What held up\n\n{site.LEDGER_MARKER}\n")
    shutil.copytree(CHECKOUT.ledger, tiny.ledger)
    staged(tiny)
    page = (tiny.root / "stage" / "book" / "what_held_up.md").read_text()
    assert site.LEDGER_MARKER not in page
    assert "ai604-p1-lenet-bn-architecture" in page.replace("\\", "")
    assert not (tiny.root / "stage" / "book" / "claims").exists()


def test_a_ledger_page_that_lost_its_marker_is_not_published_empty(tiny):
    (tiny.root / "book" / "what_held_up.md").write_text("# What held up\n")
    with pytest.raises(CourseError, match="marker"):
        staged(tiny)


def test_the_source_of_the_ledger_page_has_the_marker():
    assert site.LEDGER_MARKER in (CHECKOUT.root / "book" / "what_held_up.md").read_text()


# -- real builds --------------------------------------------------------------------------------------------------


def test_jupyter_book_builds_a_site_that_asks_no_other_host_and_once_is_enough(tiny, monkeypatch):
    scripts = tiny.root / "vendor"
    for name in ("mathjax/tex-mml-chtml.js", "widgets/embed.js"):
        (scripts / "vendor" / name).parent.mkdir(parents=True, exist_ok=True)
        (scripts / "vendor" / name).write_text("")
    monkeypatch.setattr(assets, "vendored", lambda cache: (scripts, ""))
    cell = "A word: [epoch](../book/words.md#term-epoch), a paper: [Glorot](../book/words.md#glorot2010), $x^2$."
    publish(tiny, "01_first", v4.new_markdown_cell(cell), executed("print(1 + 1)", outputs=[text("2\n")]))

    index = site.build(tiny)

    assert index == tiny.build / "site" / "index.html"
    assert 'url=book/index.html"' in index.read_text()
    page = (tiny.build / "site" / "notebooks" / "01_first.html").read_text()
    assert "Where the figures come from" in page
    assert 'href="../book/words.html#term-epoch"' in page
    assert 'href="../book/words.html#glorot2010"' in page
    assert "vendor/mathjax/tex-mml-chtml.js" in page
    for path in (tiny.build / "site").rglob("*.html"):
        assert (
            re.findall(r"<(?:script|img|iframe|link)[^>]*\b(?:src|href)=.(?:https?:)?//[^>]*", path.read_text()) == []
        )
        assert "x-thebe-config" not in path.read_text()
        scripts_of_page = re.findall(r"<script[^>]*\bsrc=[^>]*>", path.read_text())
        assert len(scripts_of_page) == len(set(scripts_of_page))
    assert left_behind(tiny) == {"executed", "results", "logs", "site", "stage"}

    def not_again(*arguments):
        raise AssertionError("nothing changed, and it was built again")

    monkeypatch.setattr(site, "_jupyter_book", not_again)
    assert site.build(tiny) == index


def test_a_broken_link_stops_the_build_with_its_page_and_the_old_site_stays(tiny, no_npm):
    old = tiny.build / "site" / "index.html"
    old.parent.mkdir(parents=True)
    old.write_text("the old site")
    (tiny.root / "book" / "index.md").write_text("# Tiny\n\n[nowhere](no_such_page.md)\n")
    with pytest.raises(CourseError) as caught:
        site.build(tiny)
    assert "book/index.md" in caught.value.what
    assert "no_such_page" in caught.value.what
    assert (tiny.build / "logs" / "book.log").is_file()
    assert old.read_text() == "the old site"
    assert left_behind(tiny) == {"executed", "results", "logs", "site"}


def test_what_a_killed_build_left_behind_goes_at_the_next_start(tiny, no_npm, monkeypatch):
    (tiny.build / "site-killed" / "stage").mkdir(parents=True)
    monkeypatch.setattr(site, "_jupyter_book", lambda staged, work, log: shutil.copytree(staged, work / "html"))
    site.build(tiny)
    assert left_behind(tiny) == {"executed", "results", "site", "stage"}


def test_two_builds_do_not_work_in_one_folder(tiny, no_npm):
    with runner.lock(tiny), pytest.raises(CourseError, match="Another run"):
        site.build(tiny)


def test_the_pages_of_the_course_build_without_a_warning(tmp_path, no_npm):
    shutil.copytree(CHECKOUT.root / "book", tmp_path / "book")
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(CHECKOUT.root / name, tmp_path)
    project = Project(tmp_path)
    for page in site.table_of_contents(CHECKOUT):
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
def test_without_network_the_site_is_built_all_the_same_and_says_what_it_loads(tiny, package, monkeypatch, npm):
    monkeypatch.setattr(assets, "_npm", npm)
    said = []
    monkeypatch.setattr(site, "_jupyter_book", lambda staged, work, log: shutil.copytree(staged, work / "html"))
    site.build(tiny, say=said.append)
    assert any("CDN" in line for line in said)
    assert not (tiny.build / "stage" / "_vendor").exists()


# -- the command --------------------------------------------------------------------------------------------------


def book(monkeypatch, project, *outcomes):
    """`cnncourse book` after a run with these outcomes."""
    monkeypatch.setattr(runner, "run", lambda *arguments: runner.Report(list(outcomes)))
    return CliRunner().invoke(app, ["book", "--project", str(project.root)])


def test_the_command_prints_where_the_site_is(tiny, no_npm, monkeypatch):
    monkeypatch.setattr(site, "_jupyter_book", lambda staged, work, log: shutil.copytree(staged, work / "html"))
    result = book(monkeypatch, tiny, runner.Outcome("01_first", "cached"))
    assert result.exit_code == 0
    assert str(tiny.build / "site" / "index.html") in result.stdout


def test_the_command_builds_nothing_when_a_notebook_failed_and_names_it(tiny, monkeypatch):
    failed = runner.Outcome("01_first", "failed", "a cell raised", 3)
    result = book(monkeypatch, tiny, failed, runner.Outcome("02_second", "ran"))
    assert result.exit_code == 1
    assert "The site was not built, because of: 01_first\n" in result.stderr
    assert not (tiny.build / "site").exists()
