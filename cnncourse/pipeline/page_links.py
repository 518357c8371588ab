"""Links that a page gets and its notebook does not have, because JupyterLab and Colab would show them as raw text."""

from __future__ import annotations

import re
from collections.abc import Iterable

_CODE = r"```.*?```|~~~.*?~~~|`[^`\n]+`"
_NUMBERS = r"\d\d(?:(?:, | and | or | to )\d\d)*\b"
# What a link must not be put into: code, formulas, tags, links, headings.
_TAKEN = rf"{_CODE}|\$[^$]+\$|<[^>\n]+>|!?\[[^\]]*\](?:\([^)]*\)|\[[^\]]*\])|^#[^\n]*$"


def with_citations(text: str, keys: Iterable[str]) -> str:
    """The text with each bibliography key in backquotes turned into a citation: `` `glorot2010` `` links to its entry.

    A notebook names its sources by key, because MyST's citations are raw text in JupyterLab and Colab.
    """
    known = set(keys)
    spans = r"```.*?```|`([^`\n]+)`"  # a block of code is one match, so that nothing inside it is another
    return re.sub(spans, lambda m: f"{{cite:t}}{m[0]}" if m[1] in known else m[0], text, flags=re.DOTALL)


def with_notebook_links(text: str, names: Iterable[str], own: str = "") -> str:
    """The text with each number in "notebook 02" or "notebooks 01, 02 and 07" turned into a link to that page.

    Parameters
    ----------
    text : str
        Markdown of a page beside the notebooks.
    names : iterable of str
        Stems of the notebooks that are pages, such as ``02_numpy_mlp``.
    own : str
        Stem of the page itself, which does not link to itself.
    """
    pages = {name[:2]: name for name in names if name != own}

    def linked(match: re.Match) -> str:
        if not match["numbers"]:
            return match[0]
        return match["word"] + re.sub(
            r"\d\d", lambda m: f"[{m[0]}]({pages[m[0]]}.ipynb)" if m[0] in pages else m[0], match["numbers"]
        )

    pattern = rf"{_TAKEN}|(?P<word>\b[Nn]otebooks? )(?P<numbers>{_NUMBERS})"
    return re.sub(pattern, linked, text, flags=re.DOTALL | re.MULTILINE)
