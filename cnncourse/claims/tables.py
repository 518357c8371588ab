"""Claims and verdicts for readers: the table in a notebook, and the ledger's page of the site."""

from __future__ import annotations

import difflib
import hashlib
import html
import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnncourse import reads
from cnncourse.claims import labels
from cnncourse.claims.evidence import Evidence, Missing
from cnncourse.claims.ledger import Claim, Report, files, load
from cnncourse.claims.verdicts import NOT_WRITTEN, VERDICTS, Verdict, best_verdict, published, verdict
from cnncourse.errors import CourseError
from cnncourse.project import PROFILES, Project, committed
from cnncourse.results import Results

if TYPE_CHECKING:
    import pandas as pd

_WIDTH = 100  # columns of the plain text
_OPEN = 5  # a longer table is folded
_LEFT = " style='text-align: left'"  # JupyterLab would align the sentences to the right, as it does numbers


class ClaimTable:
    """Claims with the reported value, the measured value and the verdict; JupyterLab shows it as an HTML table."""

    def __init__(self, verdicts: Sequence[Verdict]):
        self.verdicts = list(verdicts)

    def to_frame(self) -> pd.DataFrame:
        """One row per claim: id, claim, reported, measured, origin, verdict, reason."""
        import pandas as pd

        return pd.DataFrame([row(v) for v in self.verdicts], columns=list(_COLUMNS))

    def __repr__(self) -> str:
        return "\n\n".join(map(_plain, self.verdicts)) or "No claims."

    def _repr_html_(self) -> str:
        head = "".join(f"<th scope='col'{_LEFT}>{name}</th>" for name in ("Claim", "Reported", "Measured", "Verdict"))
        body = "".join(map(_html_row, self.verdicts))
        table = f"<table class='cnncourse-claims'><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        if len(self.verdicts) <= _OPEN:
            return table
        summary = f"{len(self.verdicts)} claims: {counts_text(totals(self.verdicts))}"
        return f"<details class='cnncourse-fold'><summary>{summary}</summary>{table}</details>"


_COLUMNS = ("id", "report", "where", "notebook", "claim", "reported", "measured", "origin", "verdict", "reason")


def row(v: Verdict) -> dict[str, str]:
    """A verdict as plain texts, by column name."""
    return {
        "id": v.claim.id,
        "report": v.claim.id.split("-")[0],
        "where": v.claim.where,
        "notebook": v.claim.notebook,
        "claim": v.claim.claim,
        "reported": v.reported,
        "measured": v.measured,
        "origin": v.origin,
        "verdict": v.verdict,
        "reason": v.reason,
    }


def inputs(notebook: str, profile: str) -> list[str]:
    """What :func:`table` looks for in a run of this profile: the notebook's claims, other profiles' results.

    A page never reads the committed results of its own profile, which are made from the page.
    """
    results = [committed("results") / p / f"{notebook}.json" for p in _others(profile)]
    return [*(reads.name(path, notebook) for path in files()), *map(reads.name, [labels.file(notebook), *results])]


def table(results: Results, ids: Iterable[str] | None = None) -> ClaimTable:
    """The claims of the running notebook, judged by this run where it can judge, else by the best committed one.

    A value that training produced is not portable in its digits. In the smoke profile, whose outputs are committed,
    such values are therefore taken from the committed laptop or full results alone.

    Parameters
    ----------
    results : Results
        What the run has recorded so far.
    ids : iterable of str, optional
        Claims to show, in this order (default: all claims of the notebook, in the ledger's order).

    Returns
    -------
    ClaimTable

    Raises
    ------
    CourseError
        For an id that is not among the notebook's claims.
    """
    claims = {c.id: c for report in load() for c in report.claims if c.notebook == results.notebook}
    for wanted in ids or ():
        if wanted not in claims:
            close = difflib.get_close_matches(wanted, claims, n=3)
            hint = f"Did you mean {' or '.join(close)}?" if close else "cnncourse claims lists the ids."
            raise CourseError(f"{results.notebook} has no claim {wanted!r}.", hint)
    others = [Results.load(p) for p in published(results.notebook, profiles=_others(results.profile))]
    return ClaimTable([_in_notebook(claims[i], results, others) for i in (ids or claims)])


def judge_all(reports: Iterable[Report], project: Project | None = None) -> list[Verdict]:
    """The verdict of every claim by the best committed profile that decides it, in the ledger's order.

    Parameters
    ----------
    reports : iterable of Report
        The ledger.
    project : Project, optional
        Checkout to judge (default: the package's own committed results, which also tell what notebooks there are).
    """
    verdicts, candidates = [], {}
    for claim in (claim for report in reports for claim in report.claims):
        if claim.notebook not in candidates:
            paths = published(claim.notebook, project and project.results)
            candidates[claim.notebook] = [Results.load(path) for path in paths]
        if not candidates[claim.notebook] and not is_written(claim.notebook, project):
            verdicts.append(Verdict(claim, "open", NOT_WRITTEN))
        else:
            verdicts.append(best_verdict(claim, candidates[claim.notebook], project and project.ledger))
    return verdicts


def is_written(notebook: str, project: Project | None = None) -> bool:
    """Whether the checkout has the notebook; an installed package only knows notebooks by their results."""
    folder = project.notebooks if project else Path(__file__).resolve().parents[2] / "notebooks"
    return (folder / f"{notebook}.ipynb").is_file()


def totals(verdicts: Sequence[Verdict]) -> dict[str, int]:
    """Number of claims with each verdict, in the order reproduced, corrected, not reproduced, open."""
    return {word: sum(v.verdict == word for v in verdicts) for word in VERDICTS}


def counts_text(counts: Mapping[str, int]) -> str:
    """``8 reproduced, 2 corrected``: the verdicts that occur, with their numbers."""
    return ", ".join(f"{number} {word}" for word, number in counts.items() if number)


def lines_html(text: str, *, shown: int = 4) -> str:
    """The parts of a text of the ledger (`reported` or `measured`), one a line; those behind `shown` are folded.

    Parameters
    ----------
    text : str
        Parts separated by ``"; "``.
    shown : int
        A list that is longer by more than one is folded.
    """
    parts = filter(None, text.split("; "))
    lines = [f"<span class='line' style='display: block'>{html.escape(part)}</span>" for part in parts]
    if len(lines) <= shown + 1:
        return "".join(lines)
    rest = f"<summary>and {len(lines) - shown} more</summary>{''.join(lines[shown:])}"
    return f"{''.join(lines[:shown])}<details class='cnncourse-fold'>{rest}</details>"


def entry(v: Verdict) -> dict[str, Any]:
    """What the site shows of a verdict: :func:`row`, and the metrics that lead to the section that measures it."""
    return {**row(v), "metrics": v.claim.references}


def page(project: Project | None = None) -> str:
    """Every claim with its verdict, as MyST Markdown for the site: filters, then a table for each report.

    The site's own directives turn the claims, one JSON object a line, into tables with links (``book/_ext``). The
    comment at the end changes with every result, so that figures drawn from them are never stale.

    Parameters
    ----------
    project : Project, optional
        Checkout whose ledger and committed results are shown (default: those of the package).
    """
    reports = load(project and project.ledger)
    verdicts = judge_all(reports, project)
    lines = ["```{claims-filter}", "```"]
    for report in reports:
        rows = [
            json.dumps(entry(v), ensure_ascii=False) for v in verdicts if v.claim.id.startswith(f"{report.report}-")
        ]
        lines += ["", f"### {report.title}", "", f"```{{claims}} {report.title}", *rows, "```"]
    return "\n".join([*lines, "", f"% results: {_fingerprint(project)}"]) + "\n"


def _fingerprint(project: Project | None) -> str:
    folder = project.results if project else committed("results")
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*/*.json")):
        digest.update(f"{path.parent.name}/{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _others(profile: str) -> list[str]:
    return [p for p in reversed(PROFILES) if p not in ("smoke", profile)]


def _in_notebook(claim: Claim, results: Results, others: list[Results]) -> Verdict:
    own = verdict(claim, results)
    fragile = results.profile == "smoke" and _trained(claim, results)
    if own.verdict != "open" and not fragile:
        return own
    best = best_verdict(claim, others) if others else None
    if best and (best.verdict != "open" or best.measured):
        return best
    if not fragile:
        return own
    return Verdict(claim, own.verdict, own.reason, "", own.profile, own.data, own.seeds)


def _trained(claim: Claim, results: Results) -> bool:
    """Whether a value that the claim's rules read differs between machines, or is not there to tell."""
    try:
        return any(reading.kind == "trained" for reading in Evidence(results).whole(claim.references))
    except Missing:
        return True


def _plain(v: Verdict) -> str:
    facts = [
        ("claim", v.claim.claim),
        ("reported", v.reported),
        ("measured", _measured(v)),
        ("verdict", v.verdict + (f" ({v.reason})" if v.reason else "")),
    ]
    lines = [f"{v.claim.id} — {v.claim.where}"]
    for name, text in facts:
        lines += textwrap.wrap(text, _WIDTH, initial_indent=f"  {name:10}", subsequent_indent=" " * 12)
    return "\n".join(lines)


def _measured(v: Verdict) -> str:
    if not v.measured:
        return "nothing yet that decides"
    return f"{v.measured} [{_origin(v)}]"


def _origin(v: Verdict) -> str:
    """The origin without the date, which in a notebook would change with every execution."""
    return v.origin.removesuffix(v.date).removesuffix(", ")


def _html_row(v: Verdict) -> str:
    measured = lines_html(v.measured)
    origin = f"<small>{html.escape(_origin(v))}</small>" if measured else ""
    reason = f"<br><em>{html.escape(v.reason)}</em>" if v.reason else ""
    cells = (
        f"{html.escape(v.claim.claim)}<br><small>{html.escape(v.claim.where)} · {v.claim.id}</small>{reason}",
        lines_html(v.reported),
        f"{measured}{origin}",
        f"<strong>{v.verdict}</strong>",
    )
    return f"<tr>{''.join(f'<td{_LEFT}>{cell}</td>' for cell in cells)}</tr>"
