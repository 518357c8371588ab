"""The Oxford-IIIT Pets in the data root, in torchvision's layout: look for them, check them, download them."""

from __future__ import annotations

import os
from pathlib import Path

from cnncourse.data import download, faults, image_folder
from cnncourse.data.faults import WrongContent
from cnncourse.errors import CourseError

FOLDER = "oxford-iiit-pet"
NUMBERS = {"trainval": 3_680, "test": 3_669}  # images in the two published parts
SIZE = 64
_SPECIES = {"1": 0, "2": 1}  # cat, dog: the third column of the lists


def present(root: Path) -> bool:
    """Whether `root` has the data set, or something of it."""
    return bool({"images", "annotations"} & faults.names_in(root / FOLDER))


def images(root: Path) -> Path:
    """The folder of the image files."""
    return root / FOLDER / "images"


def files(root: Path, part: str) -> list[image_folder.File]:
    """The image files of a part ('trainval' or 'test'), labelled 0 for cats and 1 for dogs.

    Raises
    ------
    CourseError
        When the list of the part cannot be read or is not what it should be, or an image is not there.
    """
    path = root / FOLDER / "annotations" / f"{part}.txt"
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        raise CourseError(
            f"{path} is missing.", "Put it there, or let cnncourse data --fetch cats_dogs do so."
        ) from None
    except OSError as error:
        raise faults.unreadable(path, error) from None
    rows = [line.decode(errors="replace").split() for line in lines]
    if faults.is_web_page(b"\n".join(lines[:3])):
        problem = faults.WEB_PAGE
    elif bad := next((number for number, row in enumerate(rows, 1) if not _is_row(row)), 0):
        problem = f"has a line {bad} that is not of the form 'NAME CLASS SPECIES BREED'"
    elif len(rows) != NUMBERS[part]:
        problem = f"lists {len(rows):,} images"
    else:
        return image_folder.listed(images(root), ((f"{row[0]}.jpg", _SPECIES[row[2]]) for row in rows))
    raise WrongContent(
        f"{path} {problem}.\nExpected: a list of {NUMBERS[part]:,} images.",
        "Put an intact copy in its place, or let `cnncourse data --fetch cats_dogs` do so.",
    )


def fetch(root: Path, refusal) -> None:
    """Download the data set with torchvision into `root`, over what is there of it.

    Raises
    ------
    CourseError
        When the download fails or the folder cannot be written: what `refusal` makes of it.
    """
    with download.scratch(root, "2 GB", refusal) as scratch:
        from torchvision.datasets import OxfordIIITPet

        OxfordIIITPet(scratch, download=True)
        for folder in ("images", "annotations"):  # lists last: without them the images do not count as present
            (root / FOLDER / folder).mkdir(parents=True, exist_ok=True)
            for name in sorted(os.listdir(scratch / FOLDER / folder)):
                arrived = scratch / FOLDER / folder / name
                if arrived.is_file():  # torchvision's masks of the animals are not needed here
                    arrived.replace(root / FOLDER / folder / name)


def _is_row(row: list[str]) -> bool:
    return len(row) == 4 and row[2] in _SPECIES
