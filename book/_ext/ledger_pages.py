"""The ledger on the pages: a table of all claims with filters, single claims as cards, totals, numbers in sentences.

Directives: ``{claims}`` (one JSON object per line, written by ``cnncourse.claims.page``), ``{claim}`` ID,
``{ledger-totals}``. Roles: ``{measured}`` (a metric of the committed results) and ``{count}`` (a number of claims).
Each claim links to the section of the notebook that measures it. The tables are plain HTML, readable without a script;
the filters of claims_filter.js only hide rows.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from html import escape
from pathlib import Path

import course_facts
import metric_places
from docutils import nodes
from sphinx.util.docutils import SphinxDirective, SphinxRole

from cnncourse import claims
from cnncourse.claims.text import interval_text, value_text
from cnncourse.claims.verdicts import NOT_WRITTEN
from cnncourse.results import Results
from cnncourse.statistics import mean_interval

_SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")  # as prose writes them
_PAGE = "book/what_held_up"
_FILTER = Path(__file__).with_name("claims_filter.js")
_EXPLAINED = {
    "reproduced": "the measurement agrees",
    "corrected": "a better statement is shown and measured",
    "not reproduced": "the measurement disagrees",
    "open": "not decided, with the reason",
}


class Claims(nodes.General, nodes.Element):
    """Claims (`rows`) whose links are made when every page has been read; as table, or one as card."""


class ClaimsDirective(SphinxDirective):
    """The claims of one report: a table with a group of rows per notebook."""

    has_content = True
    required_arguments = 1  # the report's title
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        return [Claims(form="table", title=self.arguments[0], rows=[json.loads(line) for line in self.content])]


class ClaimsFilter(SphinxDirective):
    """The controls above the tables; without a script they stay hidden."""

    def run(self) -> list[nodes.Node]:
        _depend(self.env)
        judged = course_facts.verdicts(Path(self.env.app.srcdir))
        reports = [(r.report, r.title) for r in course_facts.reports(Path(self.env.app.srcdir))]
        stems = sorted({verdict.claim.notebook for verdict in judged})
        selects = [
            _select("report", "Report", reports),
            _select("verdict", "Verdict", [("decided", "decided (all but open)"), *((w, w) for w in claims.VERDICTS)]),
            _select("notebook", "Notebook", [(stem, _stem_words(stem)) for stem in stems]),
        ]
        text = (
            "<form class='claims-filter' role='search' aria-label='Filter the claims' hidden>"
            f"{''.join(selects)}"
            "<div><label for='claims-words'>Words</label>"
            "<input id='claims-words' name='words' type='search' autocomplete='off'></div>"
            "<button type='reset'>Show all</button><button type='button'>Open all</button>"
            f"<p role='status' data-all='{len(judged)}'>{len(judged)} claims</p></form>"
            f"<script>{_FILTER.read_text(encoding='utf-8')}</script>"
        )
        return [nodes.raw("", text, format="html")]


class ClaimCard(SphinxDirective):
    """One claim with its verdict, reported and measured value, and what holds instead."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        _depend(self.env)
        judged = {v.claim.id: v for v in course_facts.verdicts(Path(self.env.app.srcdir))}
        verdict = judged.get(self.arguments[0])
        if verdict is None:
            raise self.error(f"The ledger has no claim {self.arguments[0]!r}.")
        return [Claims(form="card", title="", rows=[claims.entry(verdict)])]


class LedgerTotals(SphinxDirective):
    """How many claims have which verdict: in four figures (``tiles``), or in a table by report."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        _depend(self.env)
        srcdir = Path(self.env.app.srcdir)
        judged = course_facts.verdicts(srcdir)
        page = self.env.app.builder.get_relative_uri(self.env.docname, _PAGE)
        if self.arguments:
            return [nodes.raw("", _tiles(judged, page), format="html")]
        return [nodes.raw("", _totals(course_facts.reports(srcdir), judged, page), format="html")]


class Measured(SphinxRole):
    """``{measured}`NOTEBOOK METRIC``` or ``{measured}`NOTEBOOK CURVE at X```: mean and interval of the best results."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        notebook, name, *at = self.text.replace(" at ", " ").split()
        results = course_facts.best_results(Path(self.env.app.srcdir), notebook)
        try:
            text = measured(results, name, *map(float, at))
        except (LookupError, ValueError) as error:
            return _problem(self, str(error))
        _depend(self.env)
        return [nodes.inline("", text, classes=["measured"])], []


class Count(SphinxRole):
    """``{count}`open```: number of claims with a verdict; also ``claims``, ``reports`` and ``notebooks``."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        _depend(self.env)
        srcdir = Path(self.env.app.srcdir)
        judged = course_facts.verdicts(srcdir)
        numbers = {
            **claims.totals(judged),
            "claims": len(judged),
            "reports": len(course_facts.reports(srcdir)),
            "notebooks": len(course_facts.notebooks(srcdir)),
        }
        if self.text not in numbers:
            problem = self.inliner.reporter.error(
                f"{self.rawtext}: choose one of {', '.join(numbers)}", line=self.lineno
            )
            return [self.inliner.problematic(self.rawtext, self.rawtext, problem)], [problem]
        number = numbers[self.text]
        small = self.text in ("reports", "notebooks") and number < len(_SMALL)
        return [nodes.Text(_SMALL[number] if small else f"{number:,}")], []


def _problem(role: SphinxRole, text: str) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    message = role.inliner.reporter.error(f"{role.rawtext}: {text}", line=role.lineno)
    return [role.inliner.problematic(role.rawtext, role.rawtext, message)], [message]


def measured(results: Results | None, name: str, at: float | None = None) -> str:
    """A metric, or a curve at one of its points, as a sentence shows it: ``97.76 ± 0.12 %``.

    Raises
    ------
    LookupError
        When there are no results, no such metric or curve, or no such point.
    """
    if results is None:
        raise LookupError("no committed results")
    if at is not None:
        curve = results.curves[name]
        values = [line[curve.x.index(at)] for line in curve.per_seed.values()]
        unit = curve.unit
    else:
        metric = results.metrics[name]
        unit = metric.unit
        if not metric.per_seed:
            return _with_unit(value_text(metric.value), unit)
        values = list(metric.per_seed.values())
    return _with_unit(interval_text(mean_interval(values)), unit)


def _with_unit(text: str, unit: str) -> str:
    return f"{text} {unit}".rstrip() if unit else text


# -- links to the sections that measure -----------------------------------------------------------------------------


def collect_sections(app, doctree) -> None:
    docname = app.env.docname
    if docname.startswith("notebooks/"):
        sections = [(section["ids"][0], section[0].astext()) for section in doctree.findall(nodes.section)]
        _sections(app.env)[docname] = sections


def _sections(env) -> dict[str, list[tuple[str, str]]]:
    if not hasattr(env, "course_sections"):
        env.course_sections = {}
    return env.course_sections


def forget_sections(app, env, docname) -> None:
    _sections(env).pop(docname, None)


def merge_sections(app, env, docnames, other) -> None:
    _sections(env).update({d: s for d, s in _sections(other).items() if d in docnames})


@lru_cache(maxsize=64)
def _cells(path: Path, changed: int) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def link(app, fromdoc: str, notebook: str, references: list[str]) -> tuple[str, str]:
    """Address and name of the section that records the metrics; of the page when none does; empty without a page."""
    docname = f"notebooks/{notebook}"
    if docname not in app.env.all_docs:
        return "", ""
    uri = app.builder.get_relative_uri(fromdoc, docname)
    sections = _sections(app.env).get(docname) or [("", notebook)]
    path = Path(app.srcdir) / f"{docname}.ipynb"
    cells = _cells(path, path.stat().st_mtime_ns)
    number = metric_places.place(cells, references)
    if number:  # 0 is the title: helpers of the whole notebook stand there
        texts = metric_places.headings(cells)
        anchor = _anchor(texts, number, sections)
        if anchor:
            return f"{uri}#{anchor[0]}", anchor[1]
    return uri, sections[0][1]


def _anchor(texts: list[str], number: int, sections: list[tuple[str, str]]) -> tuple[str, str] | None:
    """The section of a heading: the same text, and as often before it (two headings may be equal)."""
    wanted = _letters(texts[number])
    before = sum(_letters(text) == wanted for text in texts[:number])
    equal = [section for section in sections if _letters(section[1]) == wanted]
    return equal[before] if before < len(equal) else None


def _letters(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


# -- HTML -----------------------------------------------------------------------------------------------------------


def resolve(app, doctree, docname) -> None:
    for node in list(doctree.findall(Claims)):
        rows = node["rows"]
        links = {row["id"]: link(app, docname, row["notebook"], row["metrics"]) for row in rows}
        if node["form"] == "card":
            page = app.builder.get_relative_uri(docname, _PAGE)
            html = _card(rows[0], *links[rows[0]["id"]], page)
        else:
            titles = {row["notebook"]: link(app, docname, row["notebook"], []) for row in rows}
            html = _table(node["title"], rows, links, titles)
        node.replace_self(nodes.raw("", html, format="html"))


def _table(title: str, rows: list[dict], links: dict, titles: dict) -> str:
    members: dict[str, list[dict]] = {}
    for row in rows:
        members.setdefault(row["notebook"], []).append(row)
    return "".join(
        _group(title, notebook, group, links, *titles[notebook]) for notebook, group in sorted(members.items())
    )


def _group(title: str, notebook: str, rows: list[dict], links: dict, uri: str, name: str) -> str:
    """The claims that one notebook measures, folded: 322 rows at once are no story."""
    label = f"Notebook {notebook.partition('_')[0]}, {escape(name or _stem_words(notebook)[3:])}"
    counted = {word: sum(row["verdict"] == word for row in rows) for word in claims.VERDICTS}
    number = f"{len(rows)} claim{'s' if len(rows) > 1 else ''}"
    where = f"<a href='{uri}'>To notebook {notebook[:2]}</a>" if uri else "This notebook is not written yet."
    head = "".join(f"<th scope='col'>{name}</th>" for name in ("Claim", "Reported", "Measured", "Verdict"))
    body = "".join(_row(row, *links[row["id"]]) for row in rows)
    return (
        f"<details class='ledger-group'><summary>{label}"
        f"<small>{number}: {claims.counts_text(counted)}</small>{_bar(counted)}</summary>"
        f"<p class='ledger-where'>{where}</p>"
        f"<table class='ledger'><caption class='visually-hidden'>Claims of {escape(title)}, {label}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></details>"
    )


def _row(row: dict, uri: str, section: str) -> str:
    reason = "" if row["reason"] == NOT_WRITTEN else _reason(row)
    where = f"<a href='{uri}'>{escape(section)}</a>" if uri and row["metrics"] else ""
    ident = row["id"]
    data = " ".join(f"data-{name}='{row[name]}'" for name in ("report", "verdict", "notebook"))
    return (
        f"<tr id='{ident}' {data}>"
        f"<th scope='row'>{escape(row['claim'])}"
        f"<small>{escape(row['where'])} · <a href='#{ident}'>{ident}</a></small></th>"
        f"<td>{claims.lines_html(row['reported'])}</td>"
        f"<td>{_measured(row)}</td>"
        f"<td>{_badge(row['verdict'])}{reason}{f'<small>{where}</small>' if where else ''}</td></tr>"
    )


def _card(row: dict, uri: str, section: str, page: str) -> str:
    facts = [("Reported", claims.lines_html(row["reported"]))]
    if row["measured"]:
        facts.append(("Measured", _measured(row)))
    if row["reason"]:
        name = {"corrected": "What holds", "open": "Why open"}.get(row["verdict"], "Reason")
        facts.append((name, escape(_sentence(row["reason"]))))
    if uri:
        facts.append(("Where", f"<a href='{uri}'>{escape(section)}</a>, notebook {row['notebook'][:2]}"))
    listed = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    return (
        f"<div class='claim-card' data-verdict='{row['verdict']}'>"
        f"<p>{_badge(row['verdict'])} {escape(row['claim'])} "
        f"<a class='claim-id' href='{page}#{row['id']}'>{row['id']}</a></p><dl>{listed}</dl></div>"
    )


def _badge(verdict: str) -> str:
    return f"<strong class='verdict' data-verdict='{verdict}'>{verdict}</strong>"


def _reason(row: dict) -> str:
    return f"<em>{escape(_sentence(row['reason']))}</em>" if row["reason"] else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _measured(row: dict) -> str:
    if not row["measured"]:
        return "<span class='nothing'>nothing yet</span>"
    return f"{claims.lines_html(row['measured'])}<small>{escape(row['origin'])}</small>"


def _select(name: str, label: str, options: list[tuple[str, str]]) -> str:
    listed = "".join(f"<option value='{escape(value)}'>{escape(text)}</option>" for value, text in options)
    return (
        f"<div><label for='claims-{name}'>{label}</label>"
        f"<select id='claims-{name}' name='{name}'><option value=''>all</option>{listed}</select></div>"
    )


def _stem_words(stem: str) -> str:
    return stem.replace("_", " ")


def _tiles(judged: list, page: str) -> str:
    counted = claims.totals(judged)
    tiles = "".join(
        f"<li data-verdict='{word}'><a href='{_filtered(page, verdict=word)}'><strong>{number:,}</strong> {word}</a>"
        f"<span>{_EXPLAINED[word]}</span></li>"
        for word, number in counted.items()
    )
    return f"<div class='ledger-tiles'>{_bar(counted)}<ul>{tiles}</ul></div>"


def _totals(reports, judged: list, page: str) -> str:
    head = "".join(f"<th scope='col'>{word}</th>" for word in (*claims.VERDICTS, "all"))
    rows = []
    for report in reports:
        members = [v for v in judged if v.claim.id.startswith(f"{report.report}-")]
        rows.append(_totals_row(report.title, report.report, members, page))
    body = "".join(rows) + _totals_row("All", "", judged, page)
    return (
        "<table class='ledger-totals'><caption>Claims by report and verdict; a number leads to its claims</caption>"
        f"<thead><tr><th scope='col'>Report</th>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _totals_row(title: str, report: str, members: list, page: str) -> str:
    counted = claims.totals(members)
    cells = "".join(
        _total(word, number, _filtered(page, report=report, verdict=word), title) for word, number in counted.items()
    )
    row = f"<th scope='row'>{escape(title)}{_bar(counted)}</th>{cells}<td data-label='in all'>{len(members):,}</td>"
    return f"<tr>{row}</tr>"


def _total(word: str, number: int, address: str, title: str) -> str:
    label = f"{number} {word}, {escape(title)}"
    content = f"<a href='{address}' aria-label='{label}'>{number:,}</a>" if number else "0"
    return f"<td data-label='{word}'>{content}</td>"


def _filtered(page: str, **chosen: str) -> str:
    query = "&amp;".join(f"{name}={value.replace(' ', '+')}" for name, value in chosen.items() if value)
    return f"{page}?{query}#every-claim"


def _bar(counted: dict[str, int]) -> str:
    """A stacked bar; the numbers stand beside it, so it is hidden from screen readers."""
    pieces = "".join(f"<span data-verdict='{word}' style='flex-grow:{n}'></span>" for word, n in counted.items() if n)
    return f"<span class='ledger-bar' aria-hidden='true'>{pieces}</span>"


def _depend(env) -> None:
    """A watching build renders the page again when the ledger or a result changes."""
    for path in course_facts.sources(course_facts.project_of(Path(env.app.srcdir))):
        env.note_dependency(str(path))


def setup(app):
    app.add_node(Claims)
    app.add_directive("claims", ClaimsDirective)
    app.add_directive("claims-filter", ClaimsFilter)
    app.add_directive("claim", ClaimCard)
    app.add_directive("ledger-totals", LedgerTotals)
    app.add_role("measured", Measured())
    app.add_role("count", Count())
    app.connect("doctree-read", collect_sections)
    app.connect("env-purge-doc", forget_sections)
    app.connect("env-merge-info", merge_sections)
    app.connect("doctree-resolved", resolve)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
