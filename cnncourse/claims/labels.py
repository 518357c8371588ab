"""What metrics and curves are called in sentences: ``book/claims/labels/NN_topic.yml``, one name and its words a line.

A key is the name of a metric or curve, or that of one entry: ``chain_sizes.2``.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import yaml

from cnncourse.errors import CourseError
from cnncourse.project import committed


def file(notebook: str, folder: Path | None = None) -> Path:
    """Where the labels of a notebook stand in a ledger's folder; the file need not exist."""
    return (folder or committed("claims")) / "labels" / f"{notebook}.yml"


def load(notebook: str, folder: Path | None = None) -> dict[str, str]:
    """The labels of a notebook's metrics and curves, by name; empty without a file.

    Parameters
    ----------
    notebook : str
        Stem of the notebook.
    folder : Path, optional
        Folder of the ledger (default: the checkout's ``book/claims``, or the copy in the installed package).

    Raises
    ------
    CourseError
        When the file is not YAML, or not a table of names and words.
    """
    path = file(notebook, folder)
    return _parse(path.read_text(encoding="utf-8"), path.name) if path.is_file() else {}


@lru_cache(maxsize=32)  # by content: every claim of a notebook asks for them
def _parse(text: str, name: str) -> dict[str, str]:
    try:
        content = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise CourseError(f"labels/{name} is not valid YAML: {error}.", "Mend the line.") from None
    if not isinstance(content, dict):
        raise CourseError(f"labels/{name} is no table.", "Each line is 'name: words'.")
    for key, words in content.items():
        if not isinstance(key, str) or not isinstance(words, str) or not words.strip():
            raise CourseError(f"labels/{name}: {key!r} has no words, but {words!r}.", "Each line is 'name: words'.")
    return content
