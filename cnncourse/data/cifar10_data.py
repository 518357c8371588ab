"""CIFAR-10: from the data root, downloaded, or replaced by the drawn shapes when that was asked for."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from pathlib import Path

from cnncourse.data import cifar10_files, faults, image_folder, splits
from cnncourse.data.embedded_shapes import shapes
from cnncourse.data.root import data_root
from cnncourse.data.source import Dataset, Source, mean_std
from cnncourse.errors import CourseError
from cnncourse.project import PROFILES

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PER_CLASS = {"train": 5_000, "test": 1_000}  # images of each class in the two published parts
VALIDATION = 10  # one training image of this many is kept for validation
COPY_NAME = "CIFAR-10 (JPEG copy)"
_AUTHORS = "Labelled photographs by A. Krizhevsky, V. Nair and G. Hinton (no licence stated)"


def cifar10(
    profile: str = "smoke",
    root: str | os.PathLike | None = None,
    embedded: bool = False,
    download: bool = True,
    validation: bool = True,
) -> Dataset:
    """Small colour photographs of ten kinds of objects as uint8 tensors of shape (N, 3, 32, 32).

    Parameters
    ----------
    profile : {'smoke', 'laptop', 'full'}
        `smoke` takes shapes that the program draws, even where CIFAR-10 is at hand, and never the network. The others
        look for CIFAR-10 in the data root and then download it.
    root : path, optional
        The data root; by default ``CNNCOURSE_DATA``, else a folder of the user's cache. Either in torchvision's layout
        (``ROOT/cifar-10-batches-py``, or its archive), or as image files, ``ROOT/CIFAR-10-images/train/CLASS/*.jpg``
        and ``test/CLASS/*.jpg``. Image files are decoded once and then kept in the user's cache.
    embedded : bool
        Whether the drawn shapes may stand in where CIFAR-10 cannot be had. ``source`` of the result says which.
    download : bool
        Whether torchvision may download what is missing.
    validation : bool
        Whether to keep 5,000 training images for validation; otherwise all 50,000 are for training.

    Returns
    -------
    Dataset
        45,000 images for training, 5,000 for validation and 10,000 for testing, each with as many of every class. The
        validation images are drawn at random from the training files, the same on every machine. Each part is in a
        fixed random order that takes the classes in turn: its first n images are a fair sample. Or
        :func:`cnncourse.data.embedded_shapes.shapes`.

    Raises
    ------
    CourseError
        When a file is damaged, or when CIFAR-10 is not there and cannot be downloaded.
    """
    if profile not in PROFILES:
        raise CourseError(f"Unknown profile {profile!r}.", f"Choose one of {', '.join(PROFILES)}.")
    data = shapes() if profile == "smoke" else _real(data_root(root), embedded, download)
    return data if validation else data.without_validation()


def _real(root: Path, embedded: bool, download: bool) -> Dataset:
    found = cifar10_files.look(root)
    if found.problems:
        raise cifar10_files.damaged(found.problems)
    if found.nothing and has_copy(root):
        return _copy(root)
    if found.missing:
        try:
            _get(root, found.missing, download)
        except CourseError as error:
            if not embedded:
                raise
            warnings.warn(f"Drawn shapes stand in for CIFAR-10. {error.what}", stacklevel=3)
            return shapes()
        found = cifar10_files.look(root)
    train = cifar10_files.arrays(found, cifar10_files.TRAIN)
    test = cifar10_files.arrays(found, cifar10_files.TEST)
    return _dataset(train, test, source(root))


def _get(root: Path, missing: tuple[str, ...], download: bool) -> None:
    """Download what is missing, unless that is not allowed or the files are only in the wrong folder."""
    if cifar10_files.too_deep(root):
        raise cifar10_files.not_found(root, missing)
    if not download:
        raise cifar10_files.not_found(root, missing, "Downloading was not allowed (download=False).")
    cifar10_files.fetch(root)


def source(root: Path) -> Source:
    """What the verified batch files in `root` are."""
    return Source(
        name="CIFAR-10",
        kind="original",
        sha256=cifar10_files.fingerprint(),
        sizes=_sizes(),
        note=f"{_AUTHORS}; the original files.",
        location=str(root / cifar10_files.FOLDER),
    )


def has_copy(root: Path) -> bool:
    """Whether `root` has CIFAR-10 as image files."""
    return cifar10_files.COPY in faults.names_in(root)


def copy_source(root: Path) -> Source:
    """What the image files in `root` are. The first time, they are decoded and kept in the user's cache."""
    prints = {
        part: image_folder.fingerprint(root / cifar10_files.COPY / part, files, 32)
        for part, files in _copy_files(root).items()
    }
    return _copy_source(root, prints)


def _copy(root: Path) -> Dataset:
    images = {
        part: image_folder.load(root / cifar10_files.COPY / part, files, 32)
        for part, files in _copy_files(root).items()
    }
    train, test = ((part.pixels, part.labels, part.names) for part in images.values())
    return _dataset(train, test, _copy_source(root, {part: found.sha256 for part, found in images.items()}))


def _copy_files(root: Path) -> dict[str, list[image_folder.File]]:
    """The files of the two parts; an error when a class has not its full number."""
    found = {}
    for part, expected in PER_CLASS.items():
        folder = root / cifar10_files.COPY / part
        found[part] = image_folder.class_folders(folder, CLASSES)
        numbers = Counter(file.label for file in found[part])
        for label, name in enumerate(CLASSES):
            if numbers[label] != expected:
                raise CourseError(
                    f"{folder / name} holds {numbers[label]:,} images.\nExpected: {expected:,}, as in CIFAR-10.",
                    f"Unpack the images into {root / cifar10_files.COPY} again.",
                )
    return found


def _copy_source(root: Path, prints: dict[str, str]) -> Source:
    return Source(
        name=COPY_NAME,
        kind="copy",
        sha256=hashlib.sha256("".join(f"{digest}  {part}\n" for part, digest in prints.items()).encode()).hexdigest(),
        sizes=_sizes(),
        note=f"{_AUTHORS}; image files instead of the original data. JPEG is lossy: an accuracy on them is not one on "
        "CIFAR-10.",
        location=str(root / cifar10_files.COPY),
    )


def _sizes() -> dict[str, int]:
    train, test = (number * len(CLASSES) for number in PER_CLASS.values())
    return {"train": train - train // VALIDATION, "validation": train // VALIDATION, "test": test}


def _dataset(train: tuple, test: tuple, source: Source) -> Dataset:
    """`train` and `test` as (pixels, labels) or (pixels, labels, names)."""
    chosen, held = splits.hold_out(train[1], VALIDATION)
    parts = (
        splits.take(chosen, *train),
        splits.take(held, *train),
        splits.take(splits.spread(test[1]), *test),
    )
    mean, std = mean_std(parts[0].images)
    return Dataset(*parts, CLASSES, mean, std, source)
