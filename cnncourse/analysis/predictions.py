"""Which images a classifier confuses, which it gets wrong with conviction, and how far to trust its probabilities.

All functions take what :func:`cnncourse.training.evaluate` returns: `logits`, `labels` and `confusion`. Of a network
that ends in a softmax (the slip ``softmax_output=True``) pass ``logits.log()``. Nothing here needs scikit-learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from cnncourse.errors import CourseError
from cnncourse.training.checks import check_count

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def confused_pairs(
    confusion: Tensor | np.ndarray, classes: Sequence[str] | None = None, *, ordered: bool = True
) -> pd.DataFrame:
    """Pairs of classes by how many images were taken for the other one, most frequent first.

    Parameters
    ----------
    confusion : integer array of shape (K, K)
        Number of images of class i that were taken for class j at row i and column j. Add up those of several seeds.
    classes : sequence of K strings, optional
        Names; numbers by default.
    ordered : bool
        Whether a 4 taken for a 9 is another case than a 9 taken for a 4. If not, the two are added up.

    Returns
    -------
    pandas.DataFrame
        One row for each pair that occurred: `true`, `predicted`, `images`, and `share` of all images of the true class
        (of both classes when not `ordered`).

    Raises
    ------
    CourseError
        When the matrix is not square, holds no image or negative numbers, or has another number of classes.
    """
    import pandas as pd

    confusion = torch.as_tensor(confusion)
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]:
        raise CourseError(
            f"A confusion matrix has shape (K, K), not {tuple(confusion.shape)}.", "Pass evaluate(...).confusion."
        )
    if confusion.is_floating_point() or (confusion < 0).any():
        raise CourseError("A confusion matrix holds numbers of images.", "Pass it before its rows are normalised.")
    if not confusion.sum():
        raise CourseError("The confusion matrix holds no image.", "Evaluate the model on at least one.")
    names = _names(classes, len(confusion))
    sizes = confusion.sum(1)
    if not ordered:
        confusion = (confusion + confusion.T).triu(1)
    rows = [
        (names[i], names[j], n, n / float(sizes[i] if ordered else sizes[i] + sizes[j]))
        for i, row in enumerate(confusion.tolist())
        for j, n in enumerate(row)
        if i != j and n
    ]
    table = pd.DataFrame(rows, columns=["true", "predicted", "images", "share"])
    return table.sort_values("images", ascending=False, kind="stable", ignore_index=True)


def most_confusing(
    logits: Tensor, labels: Tensor, classes: Sequence[str] | None = None, *, per_class: int = 5
) -> pd.DataFrame:
    """Images between whose two likeliest classes the model can hardly decide, for each true class.

    Ranked by the margin, the difference of the two largest probabilities (Scheffer, Decomain and Wrobel 2001). With
    two classes that is 2 |p - 1/2|: the IFT6135 report's "probabilities near 0.5". Right predictions are included.

    Parameters
    ----------
    logits : float tensor or array of shape (N, K)
        K at least 2.
    labels : integer tensor or array of shape (N,)
        True classes.
    classes : sequence of K strings, optional
        Names; numbers by default.
    per_class : int
        At most this many images of each class.

    Returns
    -------
    pandas.DataFrame
        Sorted by true class, then by margin: `image` (position in `labels`), `true`, `predicted`, `probability` of the
        predicted class, `second` likeliest class, `margin` (0 to 1).

    Raises
    ------
    CourseError
        When there is no image, shapes or labels do not fit, or a logit is not a number.
    """
    table = _table(logits, labels, classes, per_class)
    return _first(table, "margin", per_class, ascending=True)


def most_confidently_wrong(
    logits: Tensor, labels: Tensor, classes: Sequence[str] | None = None, *, per_class: int = 5
) -> pd.DataFrame:
    """Wrong predictions with the largest probability, for each true class.

    Parameters, columns and errors are those of :func:`most_confusing`. A class without an error has no row.
    """
    table = _table(logits, labels, classes, per_class)
    return _first(table[table["true"] != table["predicted"]], "probability", per_class, ascending=False)


class Calibration(NamedTuple):
    """How well confidences fit accuracies.

    Attributes
    ----------
    ece : float
        Expected calibration error, 0 to 1.
    bins : pandas.DataFrame
        The reliability curve, one row for each bin that has images: `low` and `high` ends, number of `images`, their
        mean `confidence` and their `accuracy` (all 0 to 1).
    """

    ece: float
    bins: pd.DataFrame


def calibration(logits: Tensor, labels: Tensor, *, num_bins: int = 15) -> Calibration:
    """Reliability curve and expected calibration error of the predicted classes.

    The confidence of an image is its largest probability. Images fall into equal bins ((m - 1) / M, m / M] of it, and
    ECE is the mean of |accuracy - confidence| over the bins, weighted with their numbers of images: equations 2 and 3
    of Guo et al. (2017), "On calibration of modern neural networks", after Naeini, Cooper and Hauskrecht (2015). It
    depends on M, and few images make it too large: compare models on the same images with the same M.

    Parameters
    ----------
    logits : float tensor or array of shape (N, K)
        K at least 2.
    labels : integer tensor or array of shape (N,)
        True classes.
    num_bins : int
        M; 15 in the paper.

    Returns
    -------
    Calibration

    Raises
    ------
    CourseError
        As :func:`most_confusing`, or for fewer than one bin.
    """
    import pandas as pd

    check_count("num_bins", num_bins)
    probs, labels = _probabilities(logits, labels)
    confidence, predicted = probs.max(1)
    right = (predicted == labels).double()
    edges = torch.linspace(0, 1, num_bins + 1, dtype=torch.float64)
    which = torch.bucketize(confidence, edges[1:-1])  # right ends belong to their bin
    images = torch.bincount(which, minlength=num_bins).double()
    filled = images > 0
    means = {
        "confidence": torch.bincount(which, confidence, num_bins)[filled] / images[filled],
        "accuracy": torch.bincount(which, right, num_bins)[filled] / images[filled],
    }
    gaps = (means["accuracy"] - means["confidence"]).abs()
    ece = float((gaps * images[filled]).sum() / len(labels))
    columns = {"low": edges[:-1][filled], "high": edges[1:][filled], "images": images[filled].long(), **means}
    return Calibration(ece, pd.DataFrame({name: column.numpy() for name, column in columns.items()}))


def _table(logits: Tensor, labels: Tensor, classes: Sequence[str] | None, per_class: int) -> pd.DataFrame:
    """One row for each image."""
    import pandas as pd

    check_count("per_class", per_class)
    probs, labels = _probabilities(logits, labels)
    names = _names(classes, probs.shape[1])
    top, order = probs.topk(2)
    # Categories keep the order of the classes when the table is sorted by name.
    first, second, true = (pd.Categorical.from_codes(k.numpy(), names) for k in (order[:, 0], order[:, 1], labels))
    return pd.DataFrame(
        {
            "image": range(len(labels)),
            "true": true,
            "predicted": first,
            "probability": top[:, 0].numpy(),
            "second": second,
            "margin": (top[:, 0] - top[:, 1]).numpy(),
        }
    )


def _first(table: pd.DataFrame, column: str, per_class: int, *, ascending: bool) -> pd.DataFrame:
    """The first rows of each true class when sorted by a column; equal ones in the order of the images."""
    table = table.sort_values(["true", column], ascending=[True, ascending], kind="stable")
    return table.groupby("true", observed=True, sort=False).head(per_class).reset_index(drop=True)


def _probabilities(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Softmax in double precision, shape (N, K), and the labels; CourseError unless the two fit together."""
    logits, labels = (torch.as_tensor(x).detach().cpu() for x in (logits, labels))
    if logits.ndim != 2 or logits.shape[1] < 2 or not logits.is_floating_point():
        raise CourseError(
            f"Logits must be floating point of shape (N, K) with at least 2 classes, not {logits.dtype} of shape "
            f"{tuple(logits.shape)}.",
            "Pass evaluate(...).logits.",
        )
    N, K = logits.shape
    if labels.shape != (N,) or labels.is_floating_point():
        raise CourseError(
            f"There are {N} rows of logits, but labels are {labels.dtype} of shape {tuple(labels.shape)}.",
            "Pass one class number for each image, in the same order.",
        )
    if N == 0:
        raise CourseError("There is no image.", "Evaluate the model on at least one.")
    if int(labels.min()) < 0 or int(labels.max()) >= K:
        raise CourseError(
            f"The labels reach from {int(labels.min())} to {int(labels.max())}, the classes from 0 to {K - 1}.",
            "Number the classes from 0.",
        )
    probs = logits.double().softmax(1)
    if probs.isnan().any():
        raise CourseError(
            f"The probabilities of image {int(probs.isnan().any(1).nonzero()[0])} are not numbers: its logits are nan "
            "or infinite.",
            "Look at the training first: it diverged.",
        )
    return probs, labels


def _names(classes: Sequence[str] | None, K: int) -> list[str | int]:
    names = list(range(K)) if classes is None else list(classes)
    if len(names) != K:
        raise CourseError(f"There are {len(names)} names for {K} classes.", "Pass data.classes.")
    return names
