"""Pages about the course itself, computed from its notebooks: the course map, times, objectives, syllabi, data users.

Directives: ``{course-map}`` (optionally of one part, ``{course-map} II``), ``{machine-times}``, ``{report-map}``,
``{objectives}``, ``{syllabus}``. Role: ``{used-by}`` (a data set). A notebook that is added to the table of contents
appears everywhere by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import course_facts
from course_facts import Notebook
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective, SphinxRole

_NONE = "<span aria-hidden='true'>–</span>"


class _Directive(SphinxDirective):
    @property
    def srcdir(self) -> Path:
        return Path(self.env.app.srcdir)

    def notebooks(self) -> dict[str, Notebook]:
        """All notebooks of the site; the page is built again when one of them changes."""
        found = course_facts.notebooks(self.srcdir)
        for stem in found:
            self.env.note_dependency(str(self.srcdir / "notebooks" / f"{stem}.ipynb"))
        return found

    def parts(self) -> list[tuple[str, list[Notebook]]]:
        known = self.notebooks()
        self.env.note_dependency(str(self.srcdir / "_toc.yml"))
        listed = course_facts.parts(self.srcdir)
        return [(caption, [known[s] for s in stems if s in known]) for caption, stems in listed]

    def uri(self, docname: str) -> str:
        return self.env.app.builder.get_relative_uri(self.env.docname, docname)

    def link(self, notebook: Notebook, *, number: bool = True) -> str:
        text = f"{notebook.number} {notebook.title}" if number else notebook.title
        return f"<a href='{self.uri(f'notebooks/{notebook.stem}')}'>{_inline(text)}</a>"

    def html(self, text: str) -> list[nodes.Node]:
        return [nodes.raw("", text, format="html")]


class CourseMap(_Directive):
    """Notebook, what it covers, difficulty, exercises, minutes and prerequisites; by part, with sums."""

    optional_arguments = 1  # Roman numeral of a part

    def run(self) -> list[nodes.Node]:
        parts = [(caption, members) for caption, members in self.parts() if members]
        wanted = self.arguments[0] if self.arguments else None
        if wanted:
            parts = [part for part in parts if part[0].split()[0] == wanted]
        if not parts:
            return [nodes.paragraph("", "No notebook of this part is published yet.")]
        reports = {report.report: course_facts.report_name(report) for report in course_facts.reports(self.srcdir)}
        covers = course_facts.covers(course_facts.verdicts(self.srcdir))
        head = ("Notebook", "Covers", "Difficulty", "Exercises", "Your time", "You need")
        body = ""
        for caption, members in parts:
            if not wanted:
                body += _group(caption, len(head))
            body += "".join(self._row(n, covers.get(n.stem, {}), reports, head) for n in members)
        everything = [notebook for _, members in parts for notebook in members]
        sums = ["", "", str(sum(n.exercises for n in everything)), _hours(sum(n.minutes for n in everything)), ""]
        body += _row("All", sums, head, last=True)
        caption = "The notebooks, what they cover, and what they take" if not wanted else "The notebooks of this part"
        return self.html(_table("course-map", caption, head, body))

    def _row(self, notebook: Notebook, covers: dict[str, str], reports: dict[str, str], head: Sequence[str]) -> str:
        cells = [
            "<br>".join(escape(f"{reports.get(r, r)} {what}") for r, what in covers.items()),
            _stars(notebook.difficulty),
            str(notebook.exercises),
            f"{notebook.minutes} min" if notebook.minutes else "",
            self._needs(notebook),
        ]
        return _row(self.link(notebook), cells, head)

    def _needs(self, notebook: Notebook) -> str:
        known = {n.number: n for n in self.notebooks().values()}

        def linked(match: re.Match) -> str:
            other = known.get(match[0])
            return f"<a href='{self.uri(f'notebooks/{other.stem}')}'>{match[0]}</a>" if other else match[0]

        return re.sub(r"(?<![\d.,])\d\d(?![\d.,]\d)", linked, _inline(notebook.needs))


class MachineTimes(_Directive):
    """How long each notebook runs, by profile, in the words of its first cell."""

    def run(self) -> list[nodes.Node]:
        head = ("Notebook", *course_facts.PROFILES)
        rows = ""
        for caption, members in self.parts():
            if members:
                rows += _group(caption, len(head))
            for n in members:
                rows += _row(self.link(n), [_inline(n.time(profile)) for profile in course_facts.PROFILES], head)
        return self.html(_table("machine-times", "How long a machine works", head, rows))


class ReportMap(_Directive):
    """For each report: which notebook takes up which of its problems, with the number of claims."""

    def run(self) -> list[nodes.Node]:
        known = self.notebooks()
        judged = course_facts.verdicts(self.srcdir)
        covers = course_facts.covers(judged)
        head = ("Problem", "Notebook", "Claims", "Decided")
        rows = ""
        for report in course_facts.reports(self.srcdir):
            rows += _group(report.title, len(head))
            for stem, what in sorted((s, w[report.report]) for s, w in covers.items() if report.report in w):
                members = [v for v in judged if v.claim.notebook == stem and v.claim.id.startswith(f"{report.report}-")]
                decided = sum(v.verdict != "open" for v in members)
                name = self.link(known[stem]) if stem in known else f"{_words(stem)} <small>(to come)</small>"
                address = f"{self.uri('book/what_held_up')}?report={report.report}&amp;notebook={stem}#every-claim"
                count = f"<a href='{address}' aria-label='{len(members)} claims on {escape(what)}'>{len(members)}</a>"
                rows += _row(escape(what[:1].upper() + what[1:]), [name, count, str(decided)], head)
        return self.html(_table("report-map", "The reports, problem by problem", head, rows))


class Objectives(_Directive):
    """For each notebook its minutes, exercises, points and objectives."""

    def run(self) -> list[nodes.Node]:
        lines = []
        for caption, members in self.parts():
            if members:
                lines += [f"**{caption}**", ""]
            for n in members:
                facts = [
                    f"{n.exercises} exercise{'' if n.exercises == 1 else 's'}"
                    + (f", {n.writing} minutes" if n.writing else ""),
                    f"reading and experiments, {n.reading} minutes" if n.reading else "",
                    f"{n.points} points" if n.points else "",
                ]
                lines += [
                    f"[{n.number} {n.title}](/notebooks/{n.stem}.ipynb)",
                    f": {'; '.join(filter(None, facts))}",
                    "",
                ]
                lines += [f"  - {objective}" for objective in n.objectives] + [""]
        holder = nodes.container(classes=["objectives"])
        self.state.nested_parse(StringList(lines, self.env.docname), self.content_offset, holder)
        return [holder]


class Syllabus(_Directive):
    """Weeks with their notebooks, the hours that these take, and what to do together.

    The content is a list in YAML with ``notebooks`` (numbers) and ``together`` (text) for each week.
    """

    required_arguments = 1  # the caption
    final_argument_whitespace = True
    has_content = True

    def run(self) -> list[nodes.Node]:
        import yaml

        known = {n.number: n for n in self.notebooks().values()}
        planned = {stem[:2]: stem for stem in course_facts.covers(course_facts.verdicts(self.srcdir))}
        head = ("Week", "Notebooks", "Hours at home", "Together")
        rows = ""
        for week, entry in enumerate(yaml.safe_load("\n".join(self.content)), 1):
            numbers = re.findall(r"\d\d", str(entry.get("notebooks", "")))
            names, minutes, complete = [], 0, True
            for number in numbers:
                if number in known:
                    names.append(self.link(known[number]))
                    minutes += known[number].minutes
                elif number in planned:
                    names.append(f"{_words(planned[number])} <small>(to come)</small>")
                    complete = False
                else:
                    raise self.error(f"There is no notebook {number}, and the ledger knows of none.")
            hours = _hours(minutes) if minutes else ""
            hours += "" if complete or not minutes else " or more"
            rows += _row(str(week), ["<br>".join(names), hours, _inline(entry["together"])], head)
        return self.html(_table("syllabus", self.arguments[0], head, rows))


class UsedBy(SphinxRole):
    """``{used-by}`MNIST```: the notebooks whose committed results were measured on data of this name."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        srcdir = Path(self.env.app.srcdir)
        for path in course_facts.sources(course_facts.project_of(srcdir)):
            self.env.note_dependency(str(path))
        users = []
        for notebook in course_facts.notebooks(srcdir).values():
            if self.text in course_facts.data_names(srcdir, notebook.stem):
                uri = self.env.app.builder.get_relative_uri(self.env.docname, f"notebooks/{notebook.stem}")
                users.append(f"<a href='{uri}'>{notebook.number}</a>")
        text = (
            f"notebooks {', '.join(users)}"
            if len(users) > 1
            else f"notebook {users[0]}"
            if users
            else "no notebook yet"
        )
        return [nodes.raw("", text, format="html")], []


# -- HTML -----------------------------------------------------------------------------------------------------------


def _table(name: str, caption: str, head: Iterable[str], body: str) -> str:
    columns = "".join(f"<th scope='col'>{escape(title)}</th>" for title in head)
    return (
        f"<table class='course-table {name}'><caption>{escape(caption)}</caption>"
        f"<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table>"
    )


def _group(caption: str, columns: int) -> str:
    return f"<tr class='group'><th colspan='{columns}' scope='colgroup'>{escape(caption)}</th></tr>"


def _row(first: str, cells: Sequence[str], head: Sequence[str], *, last: bool = False) -> str:
    """A row; each cell carries its column's name, which a phone shows instead of the header."""
    rest = "".join(
        f"<td data-label='{escape(name)}'>{cell or _NONE}</td>" if cell or not last else "<td></td>"
        for name, cell in zip(head[1:], cells, strict=True)
    )
    return f"<tr{' class=sum' if last else ''}><th scope='row'>{first}</th>{rest}</tr>"


def _stars(stars: str) -> str:
    if not stars:
        return ""
    return f"<span role='img' aria-label='{stars.count('★')} of {len(stars)}'>{stars}</span>"


def _inline(text: str) -> str:
    """Plain text with code in backquotes."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def _hours(minutes: int) -> str:
    """Hours to the next half."""
    return f"{round(minutes / 30) / 2:g} h"


def _words(stem: str) -> str:
    return escape(stem.replace("_", " "))


def setup(app):
    app.add_directive("course-map", CourseMap)
    app.add_directive("machine-times", MachineTimes)
    app.add_directive("report-map", ReportMap)
    app.add_directive("objectives", Objectives)
    app.add_directive("syllabus", Syllabus)
    app.add_role("used-by", UsedBy())
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
