"""MNIST: from the data root, downloaded, or replaced by the embedded digits when that was asked for."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from cnncourse.data import mnist_files
from cnncourse.data.embedded import digits
from cnncourse.data.root import data_root
from cnncourse.data.source import Dataset, Source, Split, mean_std
from cnncourse.errors import CourseError
from cnncourse.project import PROFILES

VALIDATION = 10_000  # images at the end of the training file that are kept for validation


def mnist(
    profile: str = "smoke",
    root: str | os.PathLike | None = None,
    embedded: bool = False,
    download: bool = True,
) -> Dataset:
    """Handwritten digits as uint8 tensors of shape (N, 1, 28, 28).

    Parameters
    ----------
    profile : {'smoke', 'laptop', 'full'}
        `smoke` takes scikit-learn's digits, even where MNIST is at hand, and never the network. The others look for
        MNIST in the data root and then download it.
    root : path, optional
        The data root, in torchvision's layout (``ROOT/MNIST/raw``); by default ``CNNCOURSE_DATA``, else a folder of
        the user's cache.
    embedded : bool
        Whether scikit-learn's digits may stand in where MNIST cannot be had. ``source`` of the result says which.
    download : bool
        Whether torchvision may download what is missing.

    Returns
    -------
    Dataset
        The first 50,000 images of MNIST's training file for training, the last 10,000 for validation, and its test
        file of 10,000; or :func:`cnncourse.data.embedded.digits`.

    Raises
    ------
    CourseError
        When a file is damaged, or when MNIST is not there and cannot be downloaded.
    """
    if profile not in PROFILES:
        raise CourseError(f"Unknown profile {profile!r}.", f"Choose one of {', '.join(PROFILES)}.")
    if profile == "smoke":
        return digits()
    root = data_root(root)
    found = mnist_files.look(root)
    if found.problems:
        raise mnist_files.damaged(found.problems)
    if found.missing:
        try:
            _get(root, found.missing, download)
        except CourseError as error:
            if not embedded:
                raise
            warnings.warn(f"scikit-learn's digits stand in for MNIST. {error.what}", stacklevel=2)
            return digits()
        found = mnist_files.look(root)
    return _dataset(root, found)


def _get(root: Path, missing: tuple[str, ...], download: bool) -> None:
    """Download what is missing, unless that is not allowed or the files are only in the wrong folder."""
    if mnist_files.misplaced(root):
        raise mnist_files.not_found(root, missing)
    if not download:
        raise mnist_files.not_found(root, missing, "Downloading was not allowed (download=False).")
    mnist_files.fetch(root)


def _dataset(root: Path, found: mnist_files.Found) -> Dataset:
    import torch

    def split(images: mnist_files.IdxFile, labels: mnist_files.IdxFile) -> Split:
        x, y = found.arrays[images.name], found.arrays[labels.name]
        return Split(torch.from_numpy(x).unsqueeze(1), torch.from_numpy(y).long())

    both = split(mnist_files.TRAIN_IMAGES, mnist_files.TRAIN_LABELS)
    train = Split(both.images[:-VALIDATION], both.labels[:-VALIDATION])
    validation = Split(both.images[-VALIDATION:], both.labels[-VALIDATION:])
    test = split(mnist_files.TEST_IMAGES, mnist_files.TEST_LABELS)
    mean, std = mean_std(train.images)
    return Dataset(train, validation, test, tuple("0123456789"), mean, std, source(root))


def source(root: Path) -> Source:
    """What the verified files in `root` are."""
    total, test = mnist_files.TRAIN_LABELS.shape[0], mnist_files.TEST_LABELS.shape[0]
    return Source(
        name="MNIST",
        kind="original",
        sha256=mnist_files.fingerprint(),
        sizes={"train": total - VALIDATION, "validation": VALIDATION, "test": test},
        note="Handwritten digits by Y. LeCun, C. Cortes and C. Burges (CC BY-SA 3.0); the four original files.",
        location=str(mnist_files.raw_folder(root)),
    )
