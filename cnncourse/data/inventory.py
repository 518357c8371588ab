"""What data there are on this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from cnncourse.data import (
    cats_dogs_data,
    cifar10_data,
    cifar10_files,
    embedded,
    embedded_cats_dogs,
    embedded_shapes,
    mnist_data,
    mnist_files,
)
from cnncourse.data.root import data_root
from cnncourse.data.source import Source
from cnncourse.errors import CourseError

FETCHERS: dict[str, Callable[[Path], None]] = {
    "mnist": mnist_files.fetch,
    "cifar10": cifar10_files.fetch,
    "cats_dogs": cats_dogs_data.fetch,
}


@dataclass(frozen=True)
class Entry:
    """One data set on this machine.

    Attributes
    ----------
    key : str
        For instance 'cifar10': the same whatever is found.
    name : str
        Name of the source that was found, for instance 'CIFAR-10 (JPEG copy)', or else of the data set.
    state : {'found', 'not found', 'damaged'}
        `damaged` also stands for a set of which only a part is there.
    location : str
        Where it is, or where it was looked for.
    source : Source or None
        Of a set that was found: its checksums were verified just now.
    problem, remedy : str
        Otherwise: what is the matter, and what to do.
    """

    key: str
    name: str
    state: Literal["found", "not found", "damaged"]
    location: str
    source: Source | None = None
    problem: str = ""
    remedy: str = ""


def survey(root: str | os.PathLike | None = None, names: Collection[str] | None = None) -> list[Entry]:
    """Look for data sets and verify what is there. Changes nothing in the data root.

    Image files are decoded the first time, and kept in the user's cache. Imports neither torch nor scikit-learn.

    Parameters
    ----------
    root : path, optional
        The data root; by default ``CNNCOURSE_DATA``, else a folder of the user's cache.
    names : collection of str, optional
        Look only for data sets with one of these keys or names.
    """
    root = data_root(root)
    return [look(root) for known, look in _LOOKS if names is None or not known.isdisjoint(names)]


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
        return Entry("mnist", "MNIST", "found", str(raw), mnist_data.source(root))
    return Entry("mnist", "MNIST", state, str(raw), problem=error.what, remedy=error.remedy)


def _cifar10(root: Path) -> Entry:
    found = cifar10_files.look(root)
    place = root / cifar10_files.FOLDER
    if found.problems:
        error, state = cifar10_files.damaged(found.problems), "damaged"
    elif found.nothing and cifar10_data.has_copy(root):
        return _checked("cifar10", "CIFAR-10", root / cifar10_files.COPY, lambda: cifar10_data.copy_source(root))
    elif found.missing:
        error, state = cifar10_files.not_found(root, found.missing), "not found" if found.nothing else "damaged"
    else:
        return Entry("cifar10", "CIFAR-10", "found", str(place), cifar10_data.source(root))
    return Entry("cifar10", "CIFAR-10", state, str(place), problem=error.what, remedy=error.remedy)


def _cats_dogs(root: Path) -> Entry:
    if cats_dogs_data.present(root):
        return _checked("cats_dogs", "Cats and dogs", root, lambda: cats_dogs_data.source(root))
    error = cats_dogs_data.not_found(root)
    return Entry("cats_dogs", "Cats and dogs", "not found", str(root), problem=error.what, remedy=error.remedy)


def _checked(key: str, name: str, place: Path, source: Callable[[], Source]) -> Entry:
    """The entry for image files, under the name that their source has, or else under `name`."""
    try:
        found = source()
    except CourseError as error:
        return Entry(key, name, "damaged", str(place), problem=error.what, remedy=error.remedy)
    return Entry(key, found.name, "found", found.location, found)


def _digits(_: Path) -> Entry:
    try:
        source = embedded.source(*embedded.arrays())
    except CourseError as error:
        return Entry("digits", "scikit-learn digits", "not found", "", problem=error.what, remedy=error.remedy)
    return Entry("digits", source.name, "found", source.location, source)


def _drawn(key: str, source: Callable[[], Source]) -> Callable[[Path], Entry]:
    return lambda _: Entry(key, source().name, "found", source().location, source())


# Key and possible names of each data set, and how to look for it.
_LOOKS: list[tuple[set[str], Callable[[Path], Entry]]] = [
    ({"mnist", "MNIST"}, _mnist),
    ({"cifar10", "CIFAR-10", cifar10_data.COPY_NAME}, _cifar10),
    ({"cats_dogs", "Cats and dogs", cats_dogs_data.COMPETITION_NAME, cats_dogs_data.PETS_NAME}, _cats_dogs),
    ({"digits", "scikit-learn digits"}, _digits),
    ({"shapes", embedded_shapes.NAME}, _drawn("shapes", embedded_shapes.source)),
    ({"drawn_cats_dogs", embedded_cats_dogs.NAME}, _drawn("drawn_cats_dogs", embedded_cats_dogs.source)),
]
