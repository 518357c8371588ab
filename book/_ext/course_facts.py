"""What the course says about itself: facts from the notebooks' first cells, and where the ledger and results lie.

Pages show these facts in tables and sentences. Nothing about a notebook is written down a second time.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cnncourse import claims
from cnncourse.project import Project
from cnncourse.results import Results

PROFILES = ("smoke", "laptop", "full")
_ROMAN = re.compile(r"[IVX]+\s")


@dataclass(frozen=True)
class Notebook:
    """What the first cell of a notebook says, and how many exercises follow; None or empty where it is silent."""

    stem: str
    title: str
    objectives: tuple[str, ...] = ()
    times: tuple[tuple[str, str], ...] = ()  # profile, time in words
    difficulty: str = ""  # stars
    exercises: int = 0
    points: int = 0
    writing: int | None = None  # minutes for the exercises
    reading: int | None = None  # minutes for the rest
    needs: str = ""

    @property
    def number(self) -> str:
        return self.stem.partition("_")[0]

    @property
    def minutes(self) -> int:
        return (self.writing or 0) + (self.reading or 0)

    def time(self, profile: str) -> str:
        return "; ".join(text for name, text in self.times if name == profile)


def read_notebook(path: Path) -> Notebook:
    """The facts of one notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    head = _source(cells[0]) if cells and cells[0]["cell_type"] == "markdown" else ""
    head = re.sub(r"\[(\d\d)\]\([^)]*\)", r"\1", head)  # staging makes links of other notebooks' numbers
    line = re.search(r"^Difficulty:.*$", head, re.MULTILINE)
    facts = line[0] if line else ""
    checks = [grade for cell in cells if (grade := cell.get("metadata", {}).get("nbgrader", {})).get("grade")]
    headings = sum(
        len(re.findall(r"^#+ Exercise ", _source(cell), re.MULTILINE))
        for cell in cells
        if cell["cell_type"] == "markdown"
    )
    return Notebook(
        stem=path.stem,
        title=_first(r"^# (.+)$", head) or path.stem,
        objectives=_objectives(head),
        times=_times(head),
        difficulty=_first(r"([★☆]+)", facts),
        exercises=headings or len(checks),
        points=int(sum(check.get("points", 0) for check in checks)),
        writing=_minutes(r"exercises?, about (\d+) minutes", facts),
        reading=_minutes(r"experiments, about (\d+)", facts),
        needs=_first(r"You need (.+?)\.?$", facts),
    )


def _source(cell: dict) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def _first(pattern: str, text: str) -> str:
    match = re.search(pattern, text, re.MULTILINE)
    return match[1].strip() if match else ""


def _minutes(pattern: str, text: str) -> int | None:
    found = _first(pattern, text)
    return int(found) if found else None


def _objectives(head: str) -> tuple[str, ...]:
    _, _, after = head.partition("**You will be able to**")
    block = re.match(r"\s*((?:- .+\n?)+)", after)
    return tuple(line[2:].rstrip(";. ") for line in block[1].splitlines()) if block else ()


def _times(head: str) -> tuple[tuple[str, str], ...]:
    """Rows of the time table: `profile` (and perhaps a setting), what runs, time."""
    rows = []
    for cells in re.findall(r"^\| (`(?:smoke|laptop|full)`[^|]*) \|[^|]*\| ([^|]+) \|$", head, re.MULTILINE):
        profile, setting = re.match(r"`(\w+)`(?:\s*\(default\))?,?\s*(.*)", cells[0]).groups()
        rows.append((profile, f"{cells[1].strip()} with {setting}" if setting else cells[1].strip()))
    return tuple(rows)


# -- the course as its table of contents orders it ------------------------------------------------------------------


def parts(srcdir: Path) -> list[tuple[str, list[str]]]:
    """Caption and notebooks (stems) of each part of the table of contents that is numbered in Roman numerals."""
    import yaml

    contents = yaml.safe_load((srcdir / "_toc.yml").read_text(encoding="utf-8"))
    found = []
    for part in contents.get("parts", []):
        if _ROMAN.match(part.get("caption") or ""):
            files = [chapter.get("file", "") for chapter in part.get("chapters", [])]
            found.append((part["caption"], [Path(f).stem for f in files if f.startswith("notebooks/")]))
    return found


def notebooks(srcdir: Path) -> dict[str, Notebook]:
    """Every notebook that is a page of the site, by stem, in reading order."""
    return {path.stem: read_notebook(path) for path in sorted((srcdir / "notebooks").glob("*.ipynb"))}


# -- the ledger and the committed results ---------------------------------------------------------------------------


def project_of(srcdir: Path) -> Project | None:
    """The checkout that the staged sources lie in; None where they lie elsewhere."""
    return next((Project(folder) for folder in srcdir.resolve().parents if (folder / "book/claims").is_dir()), None)


def verdicts(srcdir: Path) -> list[claims.Verdict]:
    """The verdict of every claim, from the checkout that is being built, else from the package's own copy."""
    project = project_of(srcdir)
    return _judged(project, _state(project))


@lru_cache(maxsize=2)
def _judged(project: Project | None, state: tuple) -> list[claims.Verdict]:
    return claims.judge_all(claims.load(project and project.ledger), project)


def _state(project: Project | None) -> tuple:
    """Changes with any file that a verdict depends on, so that a long-running build sees edits."""
    files = sources(project)
    return tuple((str(f), f.stat().st_mtime_ns) for f in files)


def sources(project: Project | None) -> list[Path]:
    """Files of the ledger and of the committed results."""
    folder = project and project.ledger
    results = sorted(project.results.glob("*/*.json")) if project else []
    return [*claims.files(folder), *results]


def best_results(srcdir: Path, notebook: str) -> Results | None:
    """The committed results of the best profile of a notebook, of the checkout or else of the package."""
    project = project_of(srcdir)
    for folder in (project and project.results, None):
        if paths := claims.published(notebook, folder):
            return Results.load(paths[0])
    return None


# -- which problem of which report ----------------------------------------------------------------------------------

_PLACE = re.compile(r"(Problem|Task|Section|Lab) (\d+)(?:\.(\d+)|([a-z])\b|, (report|visuali[sz]ation))?")
# 'Task 1g, Task 2' and 'Task 3c, 3d', but not 'Problem 1, 1.1'
_SEVERAL = re.compile(r"(?:, | and )(?:(?:Problem|Task|Section|Lab) )?\d+[a-z]?\b(?!\.)")


def covers(verdicts: Iterable[claims.Verdict]) -> dict[str, dict[str, str]]:
    """For each notebook, by report, the problems that its claims come from: ``{'02_...': {'ift6135': 'problem 1'}}``.

    A problem that one notebook covers alone is named as a whole; of a shared one the sub-problems are named. A claim
    from several places says little about where a notebook belongs; such a place is named when there is no other.
    """
    places = defaultdict(Counter)  # (notebook, report) -> Counter of (kind, number, sub)
    spread: dict[tuple[str, str], str] = {}
    for claim in (verdict.claim for verdict in verdicts):
        key = claim.notebook, claim.id.split("-")[0]
        found = _PLACE.search(claim.where)
        if found and not _SEVERAL.search(claim.where):
            places[key][_place(found)] += 1
        else:
            spread.setdefault(key, claim.where.partition(",")[0])
    owners = defaultdict(set)  # (report, kind, number) -> notebooks
    for (notebook, report), counted in places.items():
        for kind, number, _ in counted:
            owners[report, kind, number].add(notebook)
    table: dict[str, dict[str, str]] = defaultdict(dict)
    for key in sorted(places.keys() | spread.keys()):
        notebook, report = key
        named = []
        for kind, number in sorted({(kind, number) for kind, number, _ in places[key]}):
            subs = sorted({sub for k, n, sub in places[key] if (k, n) == (kind, number) and sub}, key=_natural)
            alone = len(owners[report, kind, number]) == 1
            named.append(f"{kind} {number}" if alone or not subs else _with_subs(kind, number, subs))
        table[notebook][report] = ", ".join(named) or _lower(spread[key])
    return dict(table)


def _place(match: re.Match) -> tuple[str, int, str]:
    kind, number, decimal, letter, word = match.groups()
    return kind.lower(), int(number), decimal or letter or (word or "").replace("z", "s")


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _natural(sub: str) -> tuple[int, str]:
    return (int(sub), "") if sub.isdigit() else (0, sub)


def _with_subs(kind: str, number: int, subs: Sequence[str]) -> str:
    if all(sub.isdigit() for sub in subs):
        pieces = [_span(f"{number}.{low}", f"{number}.{high}", high - low) for low, high in _runs(list(map(int, subs)))]
    elif all(len(sub) == 1 for sub in subs):
        pieces = [
            _span(f"{number}{chr(low)}", f"{number}{chr(high)}", high - low)
            for low, high in _runs(list(map(ord, subs)))
        ]
    else:
        return f"{kind} {number}, " + " and ".join(sub for sub in subs if len(sub) > 1)
    several = len(pieces) > 1 or "to" in pieces[0] or "," in pieces[0]
    return f"{kind}{'s' if several else ''} " + ", ".join(pieces)


def _span(low: str, high: str, steps: int) -> str:
    return low if not steps else f"{low}, {high}" if steps == 1 else f"{low} to {high}"


def _runs(values: Sequence[int]) -> list[tuple[int, int]]:
    """Consecutive integers as (first, last)."""
    runs: list[tuple[int, int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], value)
        else:
            runs.append((value, value))
    return runs


def report_name(report: claims.Report) -> str:
    """The short name of a report, as the notebooks use it: 'ECE 661' of 'ECE 661, Homework 2'."""
    head = report.title.partition(",")[0]
    return head if len(head) < 10 else report.report.upper()


def reports(srcdir: Path) -> Sequence[claims.Report]:
    """The ledger of the checkout that is being built, else the package's own copy."""
    project = project_of(srcdir)
    return claims.load(project and project.ledger)


def data_names(srcdir: Path, notebook: str) -> set[str]:
    """Names of the data that a notebook's committed results were measured on, of every profile."""
    project = project_of(srcdir)
    folder = project.results if project and project.results.is_dir() else None
    found = (Results.load(path) for path in claims.published(notebook, folder))
    return {record.name for results in found for record in results.provenance.data}
