"""Which part of a notebook's outputs is committed: the text that is the same in every run.

`refresh` writes it and the nbval wiring (``conftest.py``) compares it, so what one drops the other ignores.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

from nbformat import NotebookNode

_BINARY = ("image/", "video/", "audio/", "font/", "application/pdf")
_LIVE = ("application/javascript", "application/vnd.jupyter.widget-")
# Quizzes and other scripts (random ids, no comparable text) and pictures that are hidden in HTML.
_LIVE_HTML = re.compile(r"<script|<iframe|data-shufflequestions|data:(?:image|video|audio|font|application)/", re.I)
_VOLATILE_NOTEBOOK = {"papermill", "widgets", "signature", "celltoolbar", "toc", "vscode", "colab", "varInspector"}
_VOLATILE_CELL = {"papermill", "execution", "ExecuteTime", "collapsed", "scrolled", "trusted", "vscode", "colab"}


def portable(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    """The part of a cell's outputs that every run on every machine repeats.

    Keeps the outputs and drops MIME keys: pictures, widgets, scripts, quiz markup, and the keys that the output itself
    names in ``metadata.cnncourse.volatile``. Durations and memory addresses become placeholders. What a cell writes to
    stderr is dropped: warnings and progress bars depend on the machine.

    Parameters
    ----------
    outputs : iterable of NotebookNode
        ``cell.outputs``, not changed.

    Returns
    -------
    list of NotebookNode
        New outputs; applying the function again changes nothing.
    """
    kept: list[NotebookNode] = []
    for output in outputs:
        output = NotebookNode(output)
        if output.output_type == "stream":
            if output.name == "stderr":
                continue
            # The kernel splits a stream where its flush timer happens to fire.
            if kept and kept[-1].output_type == "stream" and kept[-1].name == output.name:
                kept[-1].text += output.text
            else:
                kept.append(output)
        elif "data" in output:
            volatile = output.metadata.get("cnncourse", {}).get("volatile", ())
            output.data = NotebookNode(
                {
                    mime: sanitize(content)
                    for mime, content in output.data.items()
                    if mime not in volatile and not _is_live(mime, content)
                }
            )
            output.metadata = NotebookNode()
            kept.append(output)
        else:
            output.traceback = []  # an error that is shown on purpose: its name and message say enough
            kept.append(output)
    for output in kept:
        if "text" in output:
            output.text = sanitize(output.text)
    return kept


def _is_live(mime: str, content: Any) -> bool:
    if mime.startswith(_BINARY) or mime.startswith(_LIVE):
        return True
    return mime == "text/html" and _LIVE_HTML.search(content) is not None


def sanitize(content: Any) -> Any:
    """Text with durations and memory addresses replaced; anything but text unchanged."""
    if isinstance(content, str):
        for pattern, replacement in _patterns():
            content = pattern.sub(replacement, content)
    return content


@cache
def _patterns() -> list[tuple[re.Pattern[str], str]]:
    text = (files("cnncourse.pipeline") / "sanitize.cfg").read_text(encoding="utf-8")
    return [(re.compile(a), b) for a, b in re.findall(r"^regex: (.*)$\n^replace: (.*)$", text, re.MULTILINE)]


def committed_form(source: NotebookNode, executed: NotebookNode) -> NotebookNode:
    """The notebook as it is committed: the source's cells with the portable outputs of an execution.

    Parameters
    ----------
    source : NotebookNode
        The notebook in the repository, not changed.
    executed : NotebookNode
        A complete execution of it; cells that papermill injected are left out.

    Returns
    -------
    NotebookNode
        Execution counts run from 1; metadata say nothing about when, where and by what the cells were executed.

    Raises
    ------
    ValueError
        When `executed` is not an execution of `source`.
    """
    ran = [cell for cell in executed.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    if [cell.source for cell in ran] != [cell.source for cell in source.cells]:
        raise ValueError("the executed copy has other cells than the source")
    notebook = NotebookNode(source)
    notebook.metadata = NotebookNode({k: v for k, v in source.metadata.items() if k not in _VOLATILE_NOTEBOOK})
    notebook.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata.language_info = {"name": "python"}
    notebook.cells = []
    count = 0
    for before, after in zip(source.cells, ran, strict=True):
        cell = NotebookNode(before)
        cell.metadata = NotebookNode({k: v for k, v in before.metadata.items() if k not in _VOLATILE_CELL})
        if cell.cell_type == "code":
            cell.outputs = portable(after.outputs)
            count += bool(cell.source.strip())
            cell.execution_count = count if cell.source.strip() else None
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = count
        notebook.cells.append(cell)
    return notebook
