"""MNIST's four files in the data root: look for them, verify them, download them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cnncourse.data import download, idx
from cnncourse.data.faults import WrongContent
from cnncourse.data.idx import IdxFile
from cnncourse.data.root import VARIABLE, origin
from cnncourse.errors import CourseError

if TYPE_CHECKING:
    import numpy as np

# torchvision knows the MD5 sums of the compressed files; these are the SHA-256 sums of what is in them.
TRAIN_IMAGES = IdxFile(
    "train-images-idx3-ubyte",
    (60_000, 28, 28),
    "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
)
TRAIN_LABELS = IdxFile(
    "train-labels-idx1-ubyte",
    (60_000,),
    "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
)
TEST_IMAGES = IdxFile(
    "t10k-images-idx3-ubyte",
    (10_000, 28, 28),
    "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
)
TEST_LABELS = IdxFile(
    "t10k-labels-idx1-ubyte",
    (10_000,),
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
)
FILES = (TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS)


@dataclass(frozen=True)
class Found:
    """What lies in a data root: verified arrays, missing files, and what is the matter with the others."""

    arrays: dict[str, np.ndarray]
    missing: tuple[str, ...]
    problems: tuple[CourseError, ...]


def raw_folder(root: Path) -> Path:
    """Where torchvision keeps the files."""
    return root / "MNIST" / "raw"


def look(root: Path) -> Found:
    """Read and verify the files in `root`; changes nothing there."""
    try:
        paths = idx.locate(raw_folder(root), FILES)
    except CourseError as error:
        return Found({}, (), (error,))
    arrays, problems = {}, []
    for file, path in paths.items():
        try:
            arrays[file.name] = idx.read(path, file, FILES)
        except CourseError as error:
            problems.append(error)
    return Found(arrays, tuple(file.name for file in FILES if file not in paths), tuple(problems))


def fingerprint() -> str:
    """SHA-256 of the four verified files together: of the lines that ``sha256sum`` prints for them."""
    return hashlib.sha256("".join(f"{f.sha256}  {f.name}\n" for f in FILES).encode()).hexdigest()


def fetch(root: Path) -> None:
    """Download MNIST with torchvision; put into `root` what is missing or damaged there.

    The files are unpacked in a scratch folder and moved when they are verified, so that an interrupted download
    leaves nothing that looks complete.

    Raises
    ------
    CourseError
        When the download fails or the folder cannot be written.
    """
    intact = look(root).arrays
    wanted = tuple(file.name for file in FILES if file.name not in intact)
    if not wanted:
        return
    raw = raw_folder(root)
    with download.scratch(raw, "70 MB", lambda *why: not_found(root, wanted, *why)) as scratch:
        from torchvision.datasets import MNIST

        MNIST(scratch, download=True)
        for file in FILES:
            if file.name in wanted:
                arrived = raw_folder(scratch) / file.name
                idx.read(arrived, file, FILES)
                arrived.replace(raw / file.name)


def damaged(problems: tuple[CourseError, ...]) -> CourseError:
    """One error for all that is the matter with the files."""
    remedies = list(dict.fromkeys(problem.remedy for problem in problems))
    if all(isinstance(problem, WrongContent) for problem in problems):
        remedies.append("Or let `cnncourse data --fetch mnist` replace what is damaged by verified downloads.")
    return CourseError(
        "MNIST is there, but cannot be used.\n" + "\n".join(problem.what for problem in problems),
        "\n".join(remedies),
    )


def not_found(root: Path, missing: tuple[str, ...], because: str = "", first: str = "With a network") -> CourseError:
    """The error for files that are not there, with everything that can be done about it."""
    raw = raw_folder(root)
    state = "is incomplete" if len(missing) < len(FILES) else "was not found"
    return CourseError(
        f"MNIST {state}: {raw}{origin(root)} lacks {', '.join(missing)}.\n{because}".rstrip(),
        misplaced(root)
        or "Do one of these:\n"
        f"- {first}: cnncourse data --fetch mnist\n"
        f"- Put the missing files, also with .gz, into {raw}\n"
        f"- Set {VARIABLE} to a folder that has all four in MNIST/raw\n"
        "- Work with scikit-learn's digits instead: profile 'smoke', or mnist(profile, embedded=True)",
    )


def misplaced(root: Path) -> str:
    """A sentence about files that lie near the place where they should be; empty when there are none."""
    for folder in (root, root / "raw", root / "MNIST"):
        if any(os.path.isfile(folder / f"{TRAIN_IMAGES.name}{end}") for end in ("", ".gz")):
            above = folder.parent.parent
            if raw_folder(above) == folder:
                return f"The files are in {folder}: set {VARIABLE} to {above}."
            return f"The files are in {folder}: move them to {raw_folder(root)}."
    return ""
