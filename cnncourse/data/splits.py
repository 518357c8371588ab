"""Fixed splits: the same images in the same order on every machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnncourse.data.source import Split

if TYPE_CHECKING:
    import numpy as np

SEED = 0


def spread(labels: np.ndarray) -> np.ndarray:
    """A fixed random order in which every class turns up evenly: its first n images are a fair sample, for any n.

    NumPy promises the stream of its bit generators, but not what its ``shuffle`` makes of it: sorting raw numbers
    gives the same order with every version.

    Parameters
    ----------
    labels : numpy.ndarray
        int64, shape (N,).

    Returns
    -------
    numpy.ndarray
        Indices, shape (N,).
    """
    import numpy as np

    shuffled = np.argsort(np.random.PCG64(SEED).random_raw(len(labels)), kind="stable")
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return shuffled[np.argsort(place[shuffled], kind="stable")]


def hold_out(labels: np.ndarray, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """Split into a training and a validation part, class by class.

    Parameters
    ----------
    labels : numpy.ndarray
        int64, shape (N,).
    parts : int
        One image of this many is for validation, in each class, rounded down.

    Returns
    -------
    train, validation : numpy.ndarray
        Indices, both in the order of :func:`spread`.
    """
    import numpy as np

    order = spread(labels)
    held = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        held[members[: len(members) // parts]] = True
    return order[~held[order]], order[held[order]]


def take(indices: np.ndarray, pixels: np.ndarray, labels: np.ndarray, names: tuple[str, ...] = ()) -> Split:
    """The part of `pixels` (N, C, H, W), `labels` (N,) and `names` that `indices` choose, in their order."""
    import torch

    chosen = tuple(names[index] for index in indices) if names else ()
    return Split(torch.from_numpy(pixels[indices]), torch.from_numpy(labels[indices]), chosen)
