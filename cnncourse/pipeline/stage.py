"""What Sphinx reads: the pages of book/ and the executed notebooks, laid out for one edition of the site."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cnncourse.errors import CourseError
from cnncourse.pipeline.exercises import is_solution
from cnncourse.pipeline.figures import lighten
from cnncourse.pipeline.page_assets import share_assets
from cnncourse.pipeline.page_links import with_citations, with_notebook_links
from cnncourse.project import Project
from cnncourse.results import Results

if TYPE_CHECKING:
    from nbformat import NotebookNode

EDITIONS = ("student", "instructor")
LEDGER_MARKER = "<!-- ledger: totals and claims are filled in here when the site is built -->"
LONG_CODE = 40  # lines; a screen of a laptop shows about as many
DOWNLOADS = "_extra/downloads"  # what lies in _extra/ is copied to the root of the site as it is
# Jupyter Book's own translation of _config.yml; Sphinx is started without its command, which cannot build in parallel.
CONF = """\
from pathlib import Path

from jupyter_book.config import get_final_config

_here = Path(__file__).parent
_toc = {{"external_toc_path": "_toc.yml", "latex_individualpages": False}}
globals().update(get_final_config(user_yaml=_here / "_config.yml", sourcedir=_here, cli_config=_toc)[0])
if "{edition}" == "instructor":  # noqa
    html_title += ", instructor edition"
    html_theme_options.get("logo", {{}})["text"] = html_title
"""


def stage(project: Project, profile: str, edition: str, folder: Path) -> None:
    """Lay out in `folder` what Sphinx reads: configuration, pages, publishable notebooks.

    Parameters
    ----------
    project : Project
        The checkout.
    profile : str
        Which executed copies become pages.
    edition : {'student', 'instructor'}
        In the student edition exercises show their stubs, and neither solution nor check cells have outputs.
    folder : Path
        A new folder.

    Raises
    ------
    CourseError
        For the first notebook of the table of contents that cannot be published.
    """
    folder.mkdir(parents=True)
    shutil.copy2(project.root / "_config.yml", folder)
    (folder / "conf.py").write_text(CONF.format(edition=edition), encoding="utf-8")
    # The ledger becomes a page of its own; page.png is the README's picture.
    ignored = shutil.ignore_patterns("claims", "page.png", "__pycache__", ".ipynb_checkpoints")
    shutil.copytree(project.root / "book", folder / "book", ignore=ignored)
    titles = {}
    for name in notebooks(project):
        titles[name] = _stage_notebook(project, profile, edition, name, folder / "notebooks" / f"{name}.ipynb")
    (folder / "_toc.yml").write_text(_numbered(project, titles), encoding="utf-8")
    held_up = folder / "book" / "what_held_up.md"
    if held_up.is_file():
        held_up.write_text(_with_ledger(held_up.read_text(encoding="utf-8"), project), encoding="utf-8")


def stage_downloads(project: Project, edition: str, folder: Path, say: Callable[[str], None]) -> None:
    """Put beside the pages what a reader takes home: notebooks, and for students all of them with the library.

    Parameters
    ----------
    project : Project
        The checkout.
    edition : {'student', 'instructor'}
        Students get their edition of each notebook, instructors the source.
    folder : Path
        Of the staged sources.
    say : callable
        Is told when the library's wheel cannot be built, as it happens without a network.
    """
    from cnncourse.pipeline import student

    target = folder / DOWNLOADS
    target.mkdir(parents=True)
    if edition == "student":
        try:
            student.student_edition(project, target, notebooks(project))
        except student.NoWheel as error:
            say(f"The downloads of the student edition come without the library: {error.what}")
            student.student_edition(project, target, notebooks(project), wheel=False)
        return
    for name in notebooks(project):
        source = project.notebooks / f"{name}.ipynb"
        if not source.is_file():
            raise CourseError(f"_toc.yml names {name}, but there is no {source}.", "Take it out of _toc.yml.")
        shutil.copy2(source, target)


def table_of_contents(project: Project) -> list[str]:
    """Pages in the order of ``_toc.yml``, as paths from the project's root without suffix."""
    from sphinx_external_toc.parsing import MalformedError, parse_toc_yaml

    path = project.root / "_toc.yml"
    try:
        return list(parse_toc_yaml(path))
    except MalformedError as error:
        raise CourseError(f"{path}: {error}", "Mend the table of contents.") from None


def notebooks(project: Project) -> list[str]:
    """Names of the notebooks that are pages, in the order of the table of contents."""
    return [Path(page).name for page in table_of_contents(project) if page.startswith("notebooks/")]


def publishable(path: Path, profile: str) -> NotebookNode:
    """Read an executed notebook and make sure that it may become a page.

    Parameters
    ----------
    path : Path
        ``_build/executed/PROFILE/NN_topic.ipynb``; a newer ``NN_topic.failed.ipynb`` beside it counts as its failure.
    profile : str
        Named in the advice.

    Raises
    ------
    CourseError
        When the notebook is missing, unreadable, failed, stopped early, or holds an error or an unexecuted cell.
    """
    import nbformat

    name = path.stem
    again = f"Run it: cnncourse run {name} --profile {profile}"
    failed = path.with_name(f"{name}.failed.ipynb")
    if failed.is_file() and not (path.is_file() and path.stat().st_mtime >= failed.stat().st_mtime):
        log = failed.with_suffix(".log")
        raise CourseError(
            f"The last run of notebook {name} failed (profile {profile}): see {log if log.is_file() else failed}.",
            again,
        )
    try:
        notebook = nbformat.read(path, as_version=4)
    except FileNotFoundError:
        raise CourseError(f"Notebook {name} has not been executed in profile {profile}.", again) from None
    except Exception as error:  # nbformat raises several kinds for a file that is no notebook
        raise CourseError(f"{path} is not a readable notebook: {error}", f"Delete it. {again}") from None
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        for output in cell.outputs:
            if output.output_type == "error":
                raise CourseError(
                    f"Notebook {name} holds an error in cell {number}: {output.ename}: {output.evalue}",
                    f"Mend the cell. {again}",
                )
        if cell.execution_count is None:
            raise CourseError(f"Notebook {name} is incomplete: cell {number} was not executed.", again)
    # The only trace that papermill leaves when a cell raised in a way that left no output
    if notebook.metadata.get("papermill", {}).get("exception"):
        raise CourseError(f"The last run of notebook {name} ended with an exception.", again)
    return notebook


def provenance_note(results: Results, published: Results | None = None) -> str:
    """The note at the top of a page, in MyST Markdown: where its figures and numbers come from.

    Parameters
    ----------
    results : Results
        Of the run whose outputs the page shows.
    published : Results, optional
        The committed results of a larger profile that the page draws from as well.
    """
    small = ", a small one that shows the mechanism and is no evidence about accuracies" * (results.profile == "smoke")
    lines = [f"**Outputs** come from a `{results.profile}` run{small}: {_described(results)}."]
    if published:
        lines.append(f"**Figures labelled *{published.profile}*:** {_described(published)}.")
    lines.append("[What the profiles are](../book/working.md#profiles)")
    return "```{container} provenance\n" + "\n\n".join(lines) + "\n```"


def _described(results: Results) -> str:
    run = results.provenance
    data = "; ".join(d.described for d in run.data) or "no data set"
    seeds = f"seed {run.seeds[0]}" if len(run.seeds) == 1 else f"{len(run.seeds)} seeds"
    return f"{data}, {seeds}, {run.device} ({run.device_name}), {run.finished.split(' ')[0]}"


def _numbered(project: Project, titles: dict[str, str]) -> str:
    """The table of contents with numbers, by which texts name the notebooks: "02 A multilayer perceptron in NumPy"."""
    import yaml

    contents = yaml.safe_load((project.root / "_toc.yml").read_text(encoding="utf-8"))

    def number(entry) -> None:
        for value in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
            number(value)
        if isinstance(entry, dict) and (name := Path(entry.get("file", "")).name) in titles:
            entry.setdefault("title", f"{name.partition('_')[0]} {titles[name]}")

    number(contents)
    return yaml.safe_dump(contents, sort_keys=False, allow_unicode=True)


def _stage_notebook(project: Project, profile: str, edition: str, name: str, target: Path) -> str:
    """Write a notebook as the edition shows it, and return its title."""
    import nbformat

    notebook = publishable(project.executed(profile) / f"{name}.ipynb", profile)
    results = Results.load(project.fresh_results(profile) / f"{name}.json")
    published = _best_committed(project, name, above=profile)
    if edition == "student":
        from cnncourse.pipeline.student import without_solutions

        notebook = without_solutions(notebook, name)
    references = project.root / "book" / "references.bib"
    text = references.read_text(encoding="utf-8") if references.is_file() else ""
    keys = re.findall(r"^@\w+\{([^,\s]+),", text, re.MULTILINE)
    pages = notebooks(project)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags and "remove-cell" not in tags:
            cell.metadata["tags"] = [*tags, "remove-cell"]
        if cell.cell_type == "markdown":
            cell.source = with_notebook_links(with_citations(cell.source, keys), pages, name)
        else:
            _fold_long_code(cell)
    lighten(notebook, project.build / "figures")
    share_assets(notebook)
    title = _insert_below_title(notebook, provenance_note(results, published), name)
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)
    return title


def _fold_long_code(cell: NotebookNode) -> None:
    """On a page, set-up and long code are a line that unfolds. An exercise is what the reader came for: it stays."""
    lines = cell.source.count("\n") + 1
    setup = cell.get("id") == "setup"
    if is_solution(cell) or not (setup or lines > LONG_CODE):
        return
    what = "Set-up: imports, data, settings" if setup else "The code of this step"
    cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]
    cell.metadata["mystnb"] = cell.metadata.get("mystnb", {}) | {
        "code_prompt_show": f"{what} ({lines} line{'s' if lines > 1 else ''})",
        "code_prompt_hide": what,
    }


def _best_committed(project: Project, name: str, *, above: str) -> Results | None:
    for profile in {"smoke": ("full", "laptop"), "laptop": ("full",)}.get(above, ()):
        path = project.results / profile / f"{name}.json"
        if path.is_file():
            return Results.load(path)
    return None


def _insert_below_title(notebook: NotebookNode, text: str, name: str) -> str:
    title = notebook.cells[0] if notebook.cells else None
    match = re.match(r"\s*# (.+)$", title.source, re.MULTILINE) if title and title.cell_type == "markdown" else None
    if match is None:
        raise CourseError(
            f"Notebook {name} does not begin with a title.", "Its first cell has to be Markdown and start with '# '."
        )
    title.source = f"{title.source[: match.end()]}\n\n{text}\n{title.source[match.end() :]}"
    return match[1].strip()


def _with_ledger(page: str, project: Project) -> str:
    from cnncourse import claims

    if LEDGER_MARKER not in page:
        raise CourseError(
            "book/what_held_up.md has lost the marker for the ledger.", f"Put this line into it: {LEDGER_MARKER}"
        )
    return page.replace(LEDGER_MARKER, claims.page(project))
