"""Where a notebook measures something: the heading above the cell that records a metric."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache

_RECORDERS = ("record", "curve")


def headings(cells: Iterable[dict]) -> list[str]:
    """Every heading of the notebook's texts, in order, without the marks."""
    return [text for cell in cells if cell["cell_type"] == "markdown" for text in _headings(_source(cell))]


def place(cells: Sequence[dict], references: Iterable[str]) -> int | None:
    """Number of the heading (in :func:`headings`) under which most of the metrics are recorded.

    Parameters
    ----------
    cells : sequence of dict
        Cells of a notebook.
    references : iterable of str
        Metrics and curves as a claim's rules name them; ``loss.-1`` stands for the last value of ``loss``.

    Returns
    -------
    int or None
        None when no cell names any of them.
    """
    recorded = _recorded(cells)
    found = [_find(reference.partition(".")[0], recorded) for reference in references]
    counted = Counter(number for number in found if number is not None)
    return counted.most_common(1)[0][0] if counted else None  # of equals the first


def _recorded(cells: Sequence[dict]) -> list[tuple[int, int, re.Pattern]]:
    """What the code cells record: (rank, heading, pattern of the name); a smaller rank is surer."""
    found, heading = [], -1
    for cell in cells:
        if cell["cell_type"] == "markdown":
            heading += len(_headings(_source(cell)))
        elif cell["cell_type"] == "code" and heading >= 0:
            found += [(rank, heading, pattern) for rank, pattern in _names(_source(cell))]
    return found


@cache  # every claim of a notebook asks for all of its cells
def _names(code: str) -> tuple[tuple[int, re.Pattern], ...]:
    try:
        tree = ast.parse(code)
    except SyntaxError:  # a line of IPython's own
        return ()
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "attr", "") in _RECORDERS]
    named = {id(call.args[0]) for call in calls if call.args}
    patterns = []
    for node in ast.walk(tree):
        surely = 0 if id(node) in named else 2
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            patterns.append((surely, re.compile(re.escape(node.value))))
        elif isinstance(node, ast.JoinedStr):
            parts = [re.escape(p.value) if isinstance(p, ast.Constant) else r"(\w+)" for p in node.values]
            if sum(len(p.value) for p in node.values if isinstance(p, ast.Constant)) >= 3:
                patterns.append((surely + 1, re.compile("".join(parts))))
    return tuple(patterns)


def _find(metric: str, recorded: list[tuple[int, int, re.Pattern]]) -> int | None:
    # Of equally sure places the longest pattern says most; max() keeps the first of equals.
    fitting = [(-rank, len(p.pattern), heading, p) for rank, heading, p in recorded if p.fullmatch(metric)]
    if not fitting:
        return None
    *_, heading, pattern = max(fitting, key=lambda fit: fit[:2])
    if heading == 0:
        # A helper under the title records it; a section hands the helper the part of the name that varies.
        varying = pattern.fullmatch(metric).groups()
        named = [h for _, h, p in recorded if h and not p.groups and any(map(p.fullmatch, varying))]
        return named[0] if named else 0
    return heading


def _headings(text: str) -> list[str]:
    outside = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"^#{1,6} +(.+?)\s*#*$", outside, re.MULTILINE)


def _source(cell: dict) -> str:
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)
