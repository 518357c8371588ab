"""Cats and dogs: from the data root, downloaded, or replaced by drawn ones when that was asked for."""

from __future__ import annotations

import hashlib
import os
import warnings
from pathlib import Path

from cnncourse.data import faults, image_folder, pets_files, splits
from cnncourse.data.embedded_cats_dogs import drawn_cats_dogs
from cnncourse.data.image_folder import File
from cnncourse.data.root import VARIABLE, data_root, misplaced, origin
from cnncourse.data.source import Dataset, Source, mean_std
from cnncourse.errors import CourseError
from cnncourse.project import PROFILES

CLASSES = ("cat", "dog")
SIZE = 64
COMPETITION = "cats_dogs"  # folder in the data root
COMPETITION_NAME = "Cats and dogs (competition)"
PETS_NAME = "Oxford-IIIT Pets, cats and dogs"
FULL = 9_999  # training images of each class in the competition
VALIDATION = 5  # one training image of this many is kept for validation, rounded down


def cats_dogs(
    profile: str = "smoke",
    root: str | os.PathLike | None = None,
    embedded: bool = False,
    download: bool = True,
    validation: bool = True,
) -> Dataset:
    """Colour photographs of cats (0) and dogs (1) as uint8 tensors of shape (N, 3, 64, 64).

    Parameters
    ----------
    profile : {'smoke', 'laptop', 'full'}
        `smoke` takes animals that the program draws, and never the network. The others look for photographs in the
        data root and then download some.
    root : path, optional
        The data root; by default ``CNNCOURSE_DATA``, else a folder of the user's cache. First choice are the images of
        the competition, as ``ROOT/cats_dogs/trainset/Cat/1.Cat.jpg`` and so on (``Dog``, ``testset``), all of 64x64
        pixels; second choice the Oxford-IIIT Pets in torchvision's layout (``ROOT/oxford-iiit-pet``), cut to a square
        around the centre and resized to 64x64. Files are decoded once and then kept in the user's cache.
    embedded : bool
        Whether the drawn animals may stand in where no photographs can be had. ``source`` of the result says which.
    download : bool
        Whether torchvision may download the Oxford-IIIT Pets (800 MB) where there is nothing.
    validation : bool
        Whether to keep some training images for validation.

    Returns
    -------
    Dataset
        In each class one of five training images, rounded down, is for validation: 8,000 + 8,000 for training and
        1,999 + 1,999 for validation of the competition's 9,999 + 9,999. They are drawn at random, the same on every
        machine. Each part is in a fixed random order that takes the classes in turn: its first n images are a fair
        sample. The competition's own test images have no labels: where the folder ``testset`` has no ``Cat`` and
        ``Dog``, the test part is empty. Or :func:`cnncourse.data.embedded_cats_dogs.drawn_cats_dogs`.

        ``source.publishable`` is False for the competition's images: their licence forbids showing them on a published
        page.

    Raises
    ------
    CourseError
        When a file is damaged or a class is missing, or when nothing is there and the download fails.
    """
    if profile not in PROFILES:
        raise CourseError(f"Unknown profile {profile!r}.", f"Choose one of {', '.join(PROFILES)}.")
    data = drawn_cats_dogs() if profile == "smoke" else _real(data_root(root), embedded, download)
    return data if validation else data.without_validation()


def _real(root: Path, embedded: bool, download: bool) -> Dataset:
    if not present(root):
        try:
            _get(root, download)
        except CourseError as error:
            if not embedded:
                raise
            warnings.warn(f"Drawn animals stand in for cats and dogs. {error.what}", stacklevel=3)
            return drawn_cats_dogs()
    return _dataset(root, *_files(root))


def _get(root: Path, download: bool) -> None:
    """Download the pets, unless that is not allowed or the images are only in the wrong folder."""
    if _too_deep(root):
        raise not_found(root)
    if not download:
        raise not_found(root, "Downloading was not allowed (download=False).")
    pets_files.fetch(root, lambda *why: not_found(root, *why))


def fetch(root: Path) -> None:
    """Download the Oxford-IIIT Pets into `root`, unless they are there and intact."""
    if pets_files.present(root):
        try:
            _fingerprints(PETS_NAME, _pets(root))
            return
        except CourseError:
            pass  # mended by what follows
    pets_files.fetch(root, lambda *why: not_found(root, *why))


def present(root: Path) -> bool:
    """Whether `root` has one of the two sets, or something of it."""
    return COMPETITION in faults.names_in(root) or pets_files.present(root)


def source(root: Path) -> Source:
    """What is in `root`. The first time, the images are decoded and kept in the user's cache.

    Raises
    ------
    CourseError
        When a file is damaged or a class is missing.
    """
    name, parts = _files(root)
    return _source(root, name, parts, _fingerprints(name, parts))


def not_found(root: Path, because: str = "", first: str = "With a network") -> CourseError:
    """The error for images that are not there, with everything that can be done about it."""
    return CourseError(
        f"Cats and dogs were not found: {root}{origin(root)} has neither {COMPETITION} nor {pets_files.FOLDER}.\n"
        f"{because}".rstrip(),
        _too_deep(root)
        or "Do one of these:\n"
        f"- {first}: cnncourse data --fetch cats_dogs (the Oxford-IIIT Pets, 800 MB)\n"
        f"- Put the competition's images of 64x64 pixels into {root / COMPETITION}, as trainset/Cat/*.jpg, "
        "trainset/Dog/*.jpg, testset/Cat/*.jpg and testset/Dog/*.jpg\n"
        f"- Set {VARIABLE} to a folder that has one of the two\n"
        "- Work with drawn cats and dogs instead: profile 'smoke', or cats_dogs(profile, embedded=True)",
    )


def _too_deep(root: Path) -> str:
    return misplaced(root, COMPETITION, "trainset") or misplaced(root, pets_files.FOLDER, "annotations")


_Parts = dict[str, tuple[Path, list[File]]]  # of 'train' and 'test': the folder, and the files in it


def _files(root: Path) -> tuple[str, _Parts]:
    """Name of the data set that is in `root`, and its files."""
    if COMPETITION in faults.names_in(root):
        return COMPETITION_NAME, _competition(root)
    return PETS_NAME, _pets(root)


def _competition(root: Path) -> _Parts:
    train, test = (root / COMPETITION / part for part in ("trainset", "testset"))
    names = ("Cat", "Dog")
    if {path.name for path in test.glob("*") if path.is_dir()} <= {"test"} and faults.names_in(test):
        labelled = []  # as the competition hands it out: test images without labels
    else:
        labelled = image_folder.class_folders(test, names)
    return {"train": (train, image_folder.class_folders(train, names)), "test": (test, labelled)}


def _pets(root: Path) -> _Parts:
    folder = pets_files.images(root)
    return {"train": (folder, pets_files.files(root, "trainval")), "test": (folder, pets_files.files(root, "test"))}


def _dataset(root: Path, name: str, parts: _Parts) -> Dataset:
    loaded = {part: image_folder.load(*found, SIZE, fit=name == PETS_NAME) for part, found in parts.items()}
    train, test = loaded.values()
    chosen, held = splits.hold_out(train.labels, VALIDATION)
    order = splits.spread(test.labels)
    taken = (
        splits.take(chosen, train.pixels, train.labels, train.names),
        splits.take(held, train.pixels, train.labels, train.names),
        splits.take(order, test.pixels, test.labels, test.names),
    )
    mean, std = mean_std(taken[0].images)
    prints = {part: images.sha256 for part, images in loaded.items()}
    return Dataset(*taken, CLASSES, mean, std, _source(root, name, parts, prints))


def _fingerprints(name: str, parts: _Parts) -> dict[str, str]:
    return {part: image_folder.fingerprint(*found, SIZE, fit=name == PETS_NAME) for part, found in parts.items()}


def _source(root: Path, name: str, parts: _Parts, prints: dict[str, str]) -> Source:
    pets = name == PETS_NAME
    numbers = {part: [sum(f.label == label for f in files) for label in (0, 1)] for part, (_, files) in parts.items()}
    held = sum(number // VALIDATION for number in numbers["train"])
    complete = numbers["train"] == [FULL, FULL]
    if pets:
        note = (
            "Photographs of 37 breeds by O. M. Parkhi, A. Vedaldi, A. Zisserman and C. V. Jawahar (CC BY-SA 4.0), cut "
            "to squares and resized to 64x64. Not the images of the competition."
        )
    else:
        note = (
            "Photographs of the IFT6135 competition on Kaggle; the licence forbids republishing them. "
            + ("" if complete else f"A part of the {FULL:,} + {FULL:,} training images. ")
            + ("" if sum(numbers["test"]) else "The test images have no labels. ")
        ).rstrip()
    return Source(
        name=name,
        kind="original" if complete and not pets else "copy",
        sha256=hashlib.sha256("".join(f"{digest}  {part}\n" for part, digest in prints.items()).encode()).hexdigest(),
        sizes={"train": sum(numbers["train"]) - held, "validation": held, "test": sum(numbers["test"])},
        note=note,
        publishable=pets,
        location=str(root / (pets_files.FOLDER if pets else COMPETITION)),
    )
