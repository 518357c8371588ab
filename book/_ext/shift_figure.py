"""The figure of the landing page: how many digits a network still reads when they are moved, from committed results.

Drawn as an SVG inside the page, with the page's own colours for text and lines, so that it fits both modes.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import course_facts
from docutils import nodes
from ledger_pages import link
from sphinx.util.docutils import SphinxDirective

from cnncourse.results import Results
from cnncourse.statistics import mean_interval

NOTEBOOK = "04_training_questions"
_NAMES = (("shifted_pool", "with max pooling", "--course-first"), ("shifted_conv", "without", "--course-second"))
_STANDINS = {"--course-first": "#010101", "--course-second": "#020202", "currentColor": "#030303"}


class ShiftFigure(SphinxDirective):
    """The figure with its caption, or nothing where the results are not there."""

    def run(self) -> list[nodes.Node]:
        srcdir = Path(self.env.app.srcdir)
        for path in course_facts.sources(course_facts.project_of(srcdir)):
            self.env.note_dependency(str(path))
        results = course_facts.best_results(srcdir, NOTEBOOK)
        if results is None or not all(name in results.curves for name, *_ in _NAMES):
            return []
        return [Shift(described=description(results), html=wide_and_narrow(results), source=source(results))]


class Shift(nodes.General, nodes.Element):
    """Waits for the address of the section that the figure comes from."""


def resolve(app, doctree, docname) -> None:
    for node in list(doctree.findall(Shift)):
        uri, _ = link(app, docname, NOTEBOOK, [name for name, *_ in _NAMES])
        where = f" <a href='{uri}'>The experiment</a>." if uri else ""
        text = (
            f"<figure class='course-figure'><div role='img' aria-label='{node['described']}'>{node['html']}</div>"
            f"<figcaption>{node['described']} {node['source']}{where}</figcaption></figure>"
        )
        node.replace_self(nodes.raw("", text, format="html"))


def description(results: Results) -> str:
    """What the figure shows, in words with its numbers."""
    curve = results.curves["shifted_pool"]
    start, end = (mean_interval([line[i] for line in curve.per_seed.values()]).mean for i in (0, -1))
    return (
        f"A small network with max pooling reads {start:.0f} % of the test digits. "
        f"With every digit moved by {curve.x[-1]:g} pixels it reads {end:.0f} %."
    )


def source(results: Results) -> str:
    run = results.provenance
    seeds = len(results.curves["shifted_pool"].per_seed)
    data = results.curves["shifted_pool"].data
    return f"Means of {seeds} networks with their 95 % intervals; {data}, profile {run.profile}, {run.finished[:10]}."


def wide_and_narrow(results: Results) -> str:
    """The figure twice: the style sheet shows the one that fits, so that text stays readable on a phone."""
    wide = f"<span class='wide'>{svg(results, 7.0, 3.4)}</span>"
    return wide + f"<span class='narrow'>{svg(results, 3.7, 3.5)}</span>"


def svg(results: Results, width: float, height: float) -> str:
    """The figure as an SVG without fonts and colours of its own; width and height in inches of 72 points."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    ink = _STANDINS["currentColor"]
    style = {"svg.fonttype": "none", "svg.hashsalt": "course", "font.size": 10.5, "text.color": ink}
    style |= dict.fromkeys(("axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), ink)
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        ax = figure.add_subplot()
        for name, label, colour in _NAMES:
            curve = results.curves[name]
            points = [mean_interval(list(values)) for values in zip(*curve.per_seed.values(), strict=True)]
            stand_in = _STANDINS[colour]
            means = [p.mean for p in points]
            ax.fill_between(
                curve.x, [p.low for p in points], [p.high for p in points], color=stand_in, alpha=0.25, lw=0
            )
            ax.plot(curve.x, means, color=stand_in, lw=2.5, marker="o", ms=5, label=label)
        ax.axhline(means[0], color=ink, lw=1.2, ls=(0, (4, 3)))
        ax.annotate("what the report expects: no change", (max(curve.x), means[0]), (0, 4),
                    textcoords="offset points", ha="right", va="bottom")  # fmt: skip
        ax.set(
            xlabel="digits moved by (pixels)",
            ylabel="digits read correctly (%)",
            ylim=(0, 112),
            yticks=range(0, 101, 20),
        )
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, loc="lower left")
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _adopt(buffer.getvalue(), f"{width:g}")


def _adopt(text: str, prefix: str) -> str:
    """An SVG that lives inside a page: ids of its own, the page's colours and fonts."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # a rule for '*' would hold for the whole page
    for name, stand_in in _STANDINS.items():
        text = text.replace(stand_in, name if name == "currentColor" else f"var({name})")
    text = re.sub(r"font-family: [^;\"]*;?", "", text)
    ids = "w" + re.sub(r"\W", "", prefix)
    text = re.sub(r'\bid="', f'id="{ids}-', text)
    text = re.sub(r'(href="|url\()#', rf"\1#{ids}-", text)
    opening, rest = text.split(">", 1)
    opening = re.sub(r'\s(?:width|height|version|xmlns)="[^"]*"', "", opening)
    text = f"{opening}>{rest}"
    return text.replace("<svg ", "<svg aria-hidden='true' focusable='false' ", 1)


def setup(app):
    app.add_node(Shift)
    app.add_directive("shift-figure", ShiftFigure)
    app.connect("doctree-resolved", resolve)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
