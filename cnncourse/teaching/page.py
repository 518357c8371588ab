"""What quizzes, predictions and sliders share: inline Markdown, keys, and an output whose markup is not committed."""

from __future__ import annotations

import html
import re
from functools import cache
from importlib.resources import files

from cnncourse.errors import CourseError

_INLINE = re.compile(
    r"`(?P<code>[^`]+)`|\$(?P<math>[^$\n]+)\$|\*\*(?P<strong>.+?)\*\*|(?<![\w*])\*(?P<em>[^*\s](?:[^*]*[^*\s])?)\*(?!\w)"
)


def inline(text: str) -> str:
    r"""The HTML of one line of Markdown: `` `code` ``, ``*em*``, ``**strong**`` and ``$maths$``; all else is text.

    Maths becomes ``\(...\)``, which JupyterLab and the site's MathJax typeset.
    """

    def element(match: re.Match[str]) -> str:
        kind = match.lastgroup
        content = html.escape(match[kind], quote=False)
        if kind == "math":
            return rf"\({content}\)"
        return f"<code>{content}</code>" if kind == "code" else f"<{kind}>{inline(match[kind])}</{kind}>"

    parts, end = [], 0
    for match in _INLINE.finditer(text):
        parts += [html.escape(text[end : match.start()], quote=False), element(match)]
        end = match.end()
    return "".join(parts) + html.escape(text[end:], quote=False)


def check_key(key: str, what: str) -> str:
    """`key`, when it is words in lower case joined by hyphens: part of ids, and of what a browser remembers.

    Raises
    ------
    CourseError
        For anything else.
    """
    if not isinstance(key, str) or not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", key):
        raise CourseError(
            f"The key of {what} is {key!r}, which is no name.",
            "Use lower-case words joined by hyphens, for instance 'softmax-shift', and never change it.",
        )
    return key


def place() -> str:
    """Name of the notebook that runs, so that equal keys in two notebooks are told apart in a reader's browser."""
    from cnncourse import session

    run = session.current()
    return run.notebook if run else "notebook"


def attribute(text: object) -> str:
    """`text` for a double-quoted attribute."""
    return html.escape(str(text), quote=True)


@cache
def asset(name: str) -> str:
    """A style sheet or script of ``teaching/web``."""
    return (files("cnncourse.teaching") / "web" / name).read_text(encoding="utf-8")


def show(plain: str, markup: str, *assets: str) -> None:
    """Show `markup` where HTML is shown, with style sheets and scripts inside; only `plain` is committed.

    Each output carries its own copy of them: in Colab every output is a page of its own, and none may load a file.

    Parameters
    ----------
    plain : str
        The same in every run: nbval compares it.
    markup : str
        HTML; `refresh` drops it.
    *assets : str
        File names in ``teaching/web``, beside those of every box.
    """
    from IPython import get_ipython
    from IPython.display import display

    if get_ipython() is None:  # a plain interpreter, which would print the markup
        print(plain)
        return
    assets = ("box.css", "box.js", *assets)
    styles = "".join(asset(name) for name in assets if name.endswith(".css"))
    scripts = "".join(f"<script>\n{asset(name)}</script>" for name in assets if name.endswith(".js"))
    display(
        {"text/plain": plain, "text/html": f"<style>\n{styles}</style>\n{markup}\n{scripts}"},
        raw=True,
        metadata={"cnncourse": {"volatile": ["text/html"]}},
    )
