"""Style sheets and scripts that the outputs of a page carry several times, kept as often as the page needs them."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode

_ASSET = re.compile(r"<(style|script)>.*?</\1>", re.DOTALL)


def share_assets(notebook: NotebookNode) -> None:
    """Drop repeated style sheets and scripts from the HTML outputs of a notebook that becomes one page.

    In a live notebook every output may be a page of its own, so each quiz, prediction and slider brings its own copy.
    Of equal style sheets the first is kept. Of equal scripts the first, which acts before the reader sees anything, and
    the last, which finds every element on the page.

    Parameters
    ----------
    notebook : NotebookNode
        Is changed.
    """
    pages = [
        output.data
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if isinstance(output.get("data", {}).get("text/html"), str)
    ]
    places = defaultdict(list)
    for number, page in enumerate(pages):
        for match in _ASSET.finditer(page["text/html"]):
            places[match[0]].append((number, match.start()))
    kept = {
        place
        for asset, found in places.items()
        for place in (found[:1] if asset.startswith("<style>") else (found[0], found[-1]))
    }
    for number, page in enumerate(pages):

        def once(match: re.Match, number: int = number) -> str:
            return match[0] if (number, match.start()) in kept else ""

        page["text/html"] = _ASSET.sub(once, page["text/html"])
