"""What data there are on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from cnncourse.data import embedded, mnist_data, mnist_files
from cnncourse.data.root import data_root
from cnncourse.data.source import Source
from cnncourse.errors import CourseError

FETCHERS: dict[str, Callable[[Path], None]] = {"mnist": mnist_files.fetch}


@dataclass(frozen=True)
class Entry:
    """One data set on this machine.

    Attributes
    ----------
    name : str
        For instance 'MNIST'.
    state : {'found', 'not found', 'damaged'}
        `damaged` also stands for a set of which only a part is there.
    location : str
        Where it is, or where it was looked for.
    source : Source or None
        Of a set that was found: its checksums were verified just now.
    problem, remedy : str
        Otherwise: what is the matter, and what to do.
    """

    name: str
    state: Literal["found", "not found", "damaged"]
    location: str
    source: Source | None = None
    problem: str = ""
    remedy: str = ""


def survey(root: str | os.PathLike | None = None) -> list[Entry]:
    """Look for every data set and verify what is there. Changes nothing; imports neither torch nor scikit-learn."""
    return [_mnist(data_root(root)), _digits()]


def fetch(name: str, root: str | os.PathLike | None = None) -> None:
    """Download a data set into the data root, in place of what is missing or damaged there.

    Raises
    ------
    CourseError
        For a name that cannot be fetched, or when the download fails.
    """
    if name.lower() not in FETCHERS:
        raise CourseError(f"There is no data set {name!r} to fetch.", f"Choose one of: {', '.join(FETCHERS)}.")
    FETCHERS[name.lower()](data_root(root))


def as_json(entries: list[Entry]) -> list[dict]:
    """The entries as plain values, for scripts."""
    return [asdict(entry) for entry in entries]


def as_text(entries: list[Entry]) -> str:
    """The entries for people: one block each, with paths and hashes whole, so that they can be copied."""
    return "\n\n".join(_block(entry) for entry in entries)


def _block(entry: Entry) -> str:
    lines = [f"{entry.name}: {entry.state}", f"  where   {entry.location}"]
    if entry.source:
        sizes = ", ".join(f"{part} {size:,}" for part, size in entry.source.sizes.items())
        lines += [
            f"  kind    {entry.source.kind}",
            f"  images  {sizes}",
            f"  sha256  {entry.source.sha256}",
            f"  note    {entry.source.note}",
        ]
    lines += [f"  {line}" for line in f"{entry.problem}\n{entry.remedy}".strip().splitlines()]
    return "\n".join(lines)


def _mnist(root: Path) -> Entry:
    raw = mnist_files.raw_folder(root)
    found = mnist_files.look(root)
    if found.problems:
        error, state = mnist_files.damaged(found.problems), "damaged"
    elif found.missing:
        nothing = len(found.missing) == len(mnist_files.FILES)
        error = mnist_files.not_found(root, found.missing)
        state = "not found" if nothing else "damaged"
    else:
        return Entry("MNIST", "found", str(raw), mnist_data.source(root))
    return Entry("MNIST", state, str(raw), problem=error.what, remedy=error.remedy)


def _digits() -> Entry:
    try:
        source = embedded.source(*embedded.arrays())
    except CourseError as error:
        return Entry("scikit-learn digits", "not found", "", problem=error.what, remedy=error.remedy)
    return Entry(source.name, "found", source.location, source)
