"""What ``cnncourse claims`` prints and checks."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cnncourse.claims import labels
from cnncourse.claims.evidence import Evidence, Missing, Unsuitable, split
from cnncourse.claims.ledger import Claim, Report, load
from cnncourse.claims.tables import counts_text, is_written, judge_all, row, totals
from cnncourse.claims.verdicts import NOT_WRITTEN, VERDICTS, Verdict, published
from cnncourse.errors import CourseError
from cnncourse.project import Project
from cnncourse.results import Results


def select(
    project: Project, report: str | None = None, notebook: str | None = None, verdict: str | None = None
) -> list[Verdict]:
    """The verdicts of a checkout's claims, filtered.

    Parameters
    ----------
    project : Project
        Checkout whose ledger and committed results are read.
    report : str, optional
        Name of a report, for instance 'ift6135'.
    notebook : str, optional
        Stem of a notebook, or how it begins ('02').
    verdict : str, optional
        'reproduced', 'corrected', 'not reproduced' or 'open'.

    Raises
    ------
    CourseError
        When a filter names something that does not occur.
    """
    reports = load(project.ledger)
    verdicts = judge_all(reports, project)
    _known("report", report, [r.report for r in reports])
    _known("verdict", verdict, VERDICTS)
    stems = sorted({v.claim.notebook for v in verdicts})
    if notebook and not any(stem.startswith(notebook) for stem in stems):
        _known("notebook", notebook, stems)
    return [
        v
        for v in verdicts
        if (not report or v.claim.id.split("-")[0] == report)
        and (not notebook or v.claim.notebook.startswith(notebook))
        and (not verdict or v.verdict == verdict)
    ]


def as_json(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as a JSON list of objects, each with the texts that the table shows."""
    return json.dumps([row(v) for v in verdicts], indent=1, ensure_ascii=False)


def show(verdicts: Sequence[Verdict]) -> None:
    """Print the verdicts as a table, and their totals."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # a file or a pipe has no width to fit into
    colours = {"reproduced": "green", "corrected": "cyan", "not reproduced": "magenta", "open": "dim"}
    grid = Table(expand=False, show_lines=False, header_style="bold")
    grid.add_column("claim", no_wrap=True)
    for name in ("reported", "measured", "verdict"):
        grid.add_column(name, overflow="fold", ratio={"reported": 2, "measured": 3, "verdict": 3}[name])
    for v in verdicts:
        measured = Text(f"{v.measured}" + (f" [{v.origin}]" if v.measured else ""))
        outcome = Text(v.verdict, style=colours[v.verdict]).append(f": {v.reason}" if v.reason else "", style="default")
        grid.add_row(v.claim.id, Text(v.reported), measured, outcome)
    console.print(grid)
    console.print(f"{len(verdicts)} claims: {counts_text(totals(verdicts))}", highlight=False)


def problems(project: Project) -> list[str]:
    """Everything that keeps the ledger from being complete and current; empty when nothing does.

    Every claim has a notebook (or it is not written yet), a rule (or a reason why it stays open), and every metric that
    a rule names is in the committed results of that notebook and has words that a reader understands.
    """
    reports = load(project.ledger)
    found = _numbers(reports, project)
    for claim in (claim for report in reports for claim in report.claims):
        if not is_written(claim.notebook, project):
            continue
        if claim.rule is None and not claim.reason:
            found.append(f"{claim.id}: has neither a rule nor a reason why it stays open.")
        if claim.rule:
            found += _metrics(claim, project) or _labels(claim, project)
    return found


def check(project: Project) -> str:
    """One line that says that the ledger is in order.

    Raises
    ------
    CourseError
        With every problem, when it is not.
    """
    if found := problems(project):
        raise CourseError(
            f"The ledger has {len(found)} problem{'s' if len(found) > 1 else ''}:\n"
            + "\n".join(f"  {problem}" for problem in found),
            "Mend book/claims or the metric names in the notebook; after a change of a notebook: cnncourse refresh.",
        )
    verdicts = judge_all(load(project.ledger), project)
    waiting = sum(v.reason == NOT_WRITTEN for v in verdicts)
    return (
        f"{len(verdicts)} claims: {len(verdicts) - waiting} with a verdict or a reason, {waiting} of later notebooks."
    )


def _numbers(reports: Sequence[Report], project: Project) -> list[str]:
    """Stems that differ although their number is the same: one of them is a typo."""
    stems: dict[str, str] = {path.stem[:2]: path.stem for path in sorted(project.notebooks.glob("*.ipynb"))}
    found = []
    for claim in (claim for report in reports for claim in report.claims):
        stem = stems.setdefault(claim.notebook[:2], claim.notebook)
        if claim.notebook != stem:
            found.append(f"{claim.id}: there is no notebook {claim.notebook!r} (did you mean {stem}?).")
    return found


def _metrics(claim: Claim, project: Project) -> list[str]:
    """Metrics of the claim's rules that no committed profile of its notebook has."""
    runs = [Evidence(Results.load(path)) for path in published(claim.notebook, project.results)]
    if not runs:
        return [f"{claim.id}: {claim.notebook} has no committed results."]
    found = []
    for reference in claim.references:
        errors = []
        for run in runs:
            try:
                run.read(reference)
                break
            except (Missing, Unsuitable) as error:
                errors.append(error)
        else:
            first = errors[0]  # that of the best profile
            found.append(f"{claim.id}: metric {reference!r}: {first}{getattr(first, 'hint', '')}")
    return found


def _labels(claim: Claim, project: Project) -> list[str]:
    """Metrics that a reader of the verdict would see by their names in the code."""
    known = labels.load(claim.notebook, project.ledger)
    shown = dict.fromkeys(r for rule in claim.rules for leaf in rule.leaves() for r in leaf.named)
    missing = [r for r in shown if r not in known and split(r)[0] not in known]
    return [f"{claim.id}: {r!r} has no words in book/claims/labels/{claim.notebook}.yml." for r in missing]


def _known(what: str, name: str | None, names: Sequence[str]) -> None:
    if name and name not in names:
        raise CourseError(f"No {what} {name!r} in the ledger.", f"Choose one of {', '.join(names)}.")
