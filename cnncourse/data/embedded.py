"""The stand-in for MNIST that comes with scikit-learn: 1,797 real digits of 8x8 pixels."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from cnncourse.data.source import Dataset, Source, Split, mean_std
from cnncourse.errors import CourseError

if TYPE_CHECKING:
    import numpy as np

# In the order of the file, because neighbours in it share their writers: dealt out at random, writers of the training
# part would turn up in the test part, and a network would look better than it is.
SIZES = {"train": 1197, "validation": 300, "test": 300}


def digits() -> Dataset:
    """scikit-learn's 1,797 digits, upsampled to 28x28.

    Returns
    -------
    Dataset
        Images of shape (1, 28, 28). In the order of scikit-learn's file, the first 1,197 are the training part, the
        next 300 the validation part, the last 300 the test part.

    Raises
    ------
    CourseError
        When scikit-learn is not installed.
    """
    import torch

    images, labels = arrays()
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    sizes = [*SIZES.values()]
    train, validation, test = (Split(*part) for part in zip(x.split(sizes), y.split(sizes), strict=True))
    mean, std = mean_std(train.images)
    return Dataset(train, validation, test, tuple("0123456789"), mean, std, source(images, labels))


def arrays() -> tuple[np.ndarray, np.ndarray]:
    """All images, uint8 (1797, 1, 28, 28), and labels, int64 (1797,)."""
    pixels, labels = _bundled()
    return upsample(pixels)[:, None], labels


def source(images: np.ndarray, labels: np.ndarray) -> Source:
    """What :func:`arrays` returned."""
    return Source(
        name="scikit-learn digits",
        kind="embedded",
        sha256=hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest(),
        sizes=dict(SIZES),
        note="A stand-in, not MNIST: 1,797 digits of the UCI set 'Optical Recognition of Handwritten Digits' "
        "(CC BY 4.0) as bundled with scikit-learn, upsampled from 8x8 to 28x28.",
        location="inside scikit-learn",
    )


def upsample(pixels: np.ndarray) -> np.ndarray:
    """Enlarge 8x8 images to 28x28 by bilinear interpolation.

    Pixel centres are aligned as in ``torch.nn.functional.interpolate(mode="bilinear", align_corners=False)``. With
    these sizes every weight is a multiple of 1/14, so integers do, and the result has the same bytes everywhere.

    Parameters
    ----------
    pixels : numpy.ndarray
        Integers from 0 to 16, shape (N, 8, 8).

    Returns
    -------
    numpy.ndarray
        uint8 from 0 to 255, shape (N, 28, 28).
    """
    import numpy as np

    # Output pixel i lies at (i + 1/2) 8/28 - 1/2 = (4 i - 5) / 14 of the input, and no further out than its edges.
    position = np.clip(4 * np.arange(28) - 5, 0, 7 * 14)
    left = np.minimum(position // 14, 6)
    weight = np.zeros((28, 8), dtype=np.int64)  # in units of 1/14
    weight[np.arange(28), left] = 14 - (position - 14 * left)
    weight[np.arange(28), left + 1] = position - 14 * left
    sums = weight @ pixels.astype(np.int64) @ weight.T
    full = 16 * 14 * 14
    return ((255 * sums + full // 2) // full).astype(np.uint8)


def _bundled() -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 8, 8) from 0 to 16 and labels (N,) of ``sklearn.datasets.load_digits``."""
    import numpy as np

    package = find_spec("sklearn")
    if package is None:
        raise CourseError(
            "The embedded digits come with scikit-learn, which is not installed here.",
            "Install it (pip install scikit-learn), or use real MNIST: profile 'laptop' or 'full'.",
        )
    # Importing scikit-learn takes longer than a smoke run may wait (and pulls in scipy); its file is read in 10 ms.
    path = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    if path.is_file():
        table = np.loadtxt(path, delimiter=",", dtype=np.int64)
        return table[:, :-1].reshape(-1, 8, 8), table[:, -1].copy()
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images.astype(np.int64), bunch.target.astype(np.int64)
