"""The site: executed notebooks and the pages of book/ staged, built with Jupyter Book, swapped in on success."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from cnncourse.errors import CourseError
from cnncourse.pipeline import assets
from cnncourse.project import Project
from cnncourse.results import Results

if TYPE_CHECKING:
    from nbformat import NotebookNode

LEDGER_MARKER = "<!-- ledger: totals and claims are filled in here when the site is built -->"
# Jupyter Book writes a redirect without a title, a language or a link to click on
INDEX = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<meta http-equiv="refresh" content="0; url={page}">
</head>
<body><a href="{page}">{title}</a></body>
</html>
"""
_WORK = "site-"  # how the names of a build's own folders begin
STAMP = ".stage-sha256"  # inside a finished site: the hash of the sources that it was built from
_BUILDERS = ("jupyter-book", "Sphinx", "myst-nb", "myst-parser", "sphinx-book-theme", "sphinxcontrib-bibtex")


def build(project: Project, profile: str = "smoke", *, say: Callable[[str], None] = lambda line: None) -> Path:
    """Build the site from the executed notebooks of a profile.

    Parameters
    ----------
    project : Project
        The checkout; ``_build/executed/PROFILE`` and ``_build/results/PROFILE`` have to be filled.
    profile : str
        Which executed copies become pages.
    say : callable
        Is told in a line of text what goes on.

    Returns
    -------
    Path
        ``_build/site/index.html``. The site that was there stays untouched until the new one is complete.

    Raises
    ------
    CourseError
        When a notebook was not executed completely and without errors, when Jupyter Book finds a fault, or when a run
        or another build is at work in ``_build``.
    """
    from cnncourse.pipeline.runner import lock

    with lock(project):
        for left in project.build.glob(f"{_WORK}*"):  # of a build that was killed; the lock says that none is running
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=project.build, prefix=_WORK) as temporary:
            return _build(project, profile, Path(temporary), say)


def _build(project: Project, profile: str, work: Path, say: Callable[[str], None]) -> Path:
    site = project.build / "site"
    staged = work / "stage"
    stage(project, profile, staged)
    scripts, reason = assets.vendored(project.build / "vendor")
    if scripts:
        shutil.copytree(scripts, staged / "_vendor")
    else:
        say(
            f"The site will load MathJax and the widget manager from a CDN: {reason}. "
            "Build it once with a network, and the site brings them along."
        )
    identity = _hash(staged)
    index = site / "index.html"
    if index.is_file() and _read(site / STAMP) == identity:
        return index
    say("Building the pages with Jupyter Book")
    html = _jupyter_book(staged, work, project.build / "logs" / "book.log")
    if (root := table_of_contents(project)[0]) != "index":
        text = INDEX.format(title=_title(staged), page=f"{root}.html")
        (html / "index.html").write_text(text, encoding="utf-8")
    (html / STAMP).write_text(identity, encoding="utf-8")
    _swap(html, site, work)
    _swap(staged, project.build / "stage", work)  # kept to look at: what the pages were made from
    return index


def stage(project: Project, profile: str, folder: Path) -> None:
    """Lay out in `folder` what Jupyter Book reads: configuration, pages, publishable notebooks.

    Raises
    ------
    CourseError
        For the first notebook of the table of contents that cannot be published.
    """
    folder.mkdir(parents=True)
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy2(project.root / name, folder / name)
    # The ledger becomes a page of its own; page.png is the README's picture.
    ignored = shutil.ignore_patterns("claims", "page.png", "__pycache__", ".ipynb_checkpoints")
    shutil.copytree(project.root / "book", folder / "book", ignore=ignored)
    for page in table_of_contents(project):
        if page.startswith("notebooks/"):
            _stage_notebook(project, profile, Path(page).name, folder / f"{page}.ipynb")
    held_up = folder / "book" / "what_held_up.md"
    if held_up.is_file():
        held_up.write_text(_with_ledger(held_up.read_text(encoding="utf-8"), project), encoding="utf-8")


def table_of_contents(project: Project) -> list[str]:
    """Pages in the order of ``_toc.yml``, as paths from the project's root without suffix."""
    from sphinx_external_toc.parsing import MalformedError, parse_toc_yaml

    path = project.root / "_toc.yml"
    try:
        return list(parse_toc_yaml(path))
    except MalformedError as error:
        raise CourseError(f"{path}: {error}", "Mend the table of contents.") from None


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
    lines = [f"The outputs on this page come from a run of the {_described(results)}."]
    if results.profile == "smoke":
        lines.append("It is a small run that shows the mechanism; it is not evidence about accuracies.")
    if published:
        lines.append(f"Figures labelled *{published.profile}* are drawn from the {_described(published)}.")
    lines.append("[What the profiles are](../book/working.md#profiles).")
    return "```{admonition} Where the figures come from\n:class: note provenance\n" + "\n".join(lines) + "\n```"


def with_citations(text: str, keys: Iterable[str]) -> str:
    """The text with each bibliography key in backquotes turned into a citation: `` `glorot2010` `` links to its entry.

    A notebook names its sources by key, because MyST's citations are raw text in JupyterLab and Colab.
    """
    known = set(keys)
    spans = r"```.*?```|`([^`\n]+)`"  # a block of code is one match, so that nothing inside it is another
    return re.sub(spans, lambda m: f"{{cite:t}}{m[0]}" if m[1] in known else m[0], text, flags=re.DOTALL)


def _described(results: Results) -> str:
    run = results.provenance
    data = "; ".join(
        f"{d.name}{ {'original': '', 'copy': ' (a copy)', 'embedded': ' (embedded stand-in)'}[d.kind] }"
        for d in run.data
    )
    seeds = ", ".join(map(str, run.seeds))
    return (
        f"**{run.profile}** profile on {data or 'no data set'}, {'seed' if len(run.seeds) == 1 else 'seeds'} {seeds}, "
        f"device {run.device} ({run.device_name}), finished {run.finished}"
    )


def _stage_notebook(project: Project, profile: str, name: str, target: Path) -> None:
    import nbformat

    notebook = publishable(project.executed(profile) / f"{name}.ipynb", profile)
    results = Results.load(project.fresh_results(profile) / f"{name}.json")
    published = _best_committed(project, name, above=profile)
    keys = re.findall(r"^@\w+\{([^,\s]+),", _read(project.root / "book" / "references.bib"), re.MULTILINE)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags and "remove-cell" not in tags:
            cell.metadata["tags"] = [*tags, "remove-cell"]
        if cell.cell_type == "markdown":
            cell.source = with_citations(cell.source, keys)
    _insert_below_title(notebook, provenance_note(results, published), name)
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)


def _best_committed(project: Project, name: str, *, above: str) -> Results | None:
    for profile in {"smoke": ("full", "laptop"), "laptop": ("full",)}.get(above, ()):
        path = project.results / profile / f"{name}.json"
        if path.is_file():
            return Results.load(path)
    return None


def _insert_below_title(notebook: NotebookNode, text: str, name: str) -> None:
    title = notebook.cells[0] if notebook.cells else None
    match = re.match(r"\s*# .+$", title.source, re.MULTILINE) if title and title.cell_type == "markdown" else None
    if match is None:
        raise CourseError(
            f"Notebook {name} does not begin with a title.", "Its first cell has to be Markdown and start with '# '."
        )
    title.source = f"{title.source[: match.end()]}\n\n{text}\n{title.source[match.end() :]}"


def _with_ledger(page: str, project: Project) -> str:
    from cnncourse import claims

    if LEDGER_MARKER not in page:
        raise CourseError(
            "book/what_held_up.md has lost the marker for the ledger.", f"Put this line into it: {LEDGER_MARKER}"
        )
    return page.replace(LEDGER_MARKER, claims.page(project))


def _jupyter_book(staged: Path, work: Path, log: Path) -> Path:
    """Build `staged`; the folder of the finished pages. Every warning stops the build, after all were collected."""
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(staged)]
    command += ["--path-output", str(work), "-W", "--keep-going"]
    with log.open("w", encoding="utf-8") as file:
        # A fresh environment each time: Sphinx reports the warnings of unchanged pages only once.
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, cwd=work).returncode
    html = work / "_build" / "html"
    if code or not (html / "index.html").is_file():
        faults = [line for line in _read(log).splitlines() if re.search(r"\b(WARNING|ERROR|CRITICAL)\b", line)]
        found = "\n".join(_plain(line).replace(f"{staged}{os.sep}", "") for line in faults[:20])
        raise CourseError(
            f"Jupyter Book found faults, so the site was not replaced:\n{found or '(none that it names)'}",
            f"The whole log: {log}",
        )
    return html


def _title(staged: Path) -> str:
    import html

    import yaml

    return html.escape(str(yaml.safe_load((staged / "_config.yml").read_text(encoding="utf-8")).get("title", "")))


def _plain(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


def _hash(folder: Path) -> str:
    """Hash of every file below `folder` and of the versions of what builds them."""
    digest = hashlib.sha256(repr([(name, metadata.version(name)) for name in _BUILDERS]).encode())
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _swap(new: Path, place: Path, work: Path) -> None:
    """Put `new` where `place` is; the old content goes away with the working folder."""
    old = work / f"old-{place.name}"
    if place.exists():
        os.rename(place, old)
    try:
        os.rename(new, place)
    except BaseException:
        if old.exists() and not place.exists():
            os.rename(old, place)
        raise
