"""Checks for the exercises of notebook 03."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cnncourse.teaching.checking import CheckError, call, exercise, expect_close, expect_returned


def counts(y: np.ndarray, predictions: np.ndarray, K: int) -> np.ndarray:
    """Confusion matrix (K, K), true classes in rows."""
    return np.bincount(K * y + predictions, minlength=K * K).reshape(K, K)


def recalls(matrix: np.ndarray) -> np.ndarray:
    """Diagonal over row sums, shape (K,); nan for a class without images."""
    with np.errstate(invalid="ignore"):
        return matrix.diagonal() / matrix.sum(1)


_Y = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 3])
_PREDICTIONS = np.array([0, 1, 1, 1, 1, 2, 0, 0, 2, 2])  # class 3 is never predicted; pairs occur twice


@exercise("confusion")
def confusion(solution: Callable) -> None:
    """Check ``confusion(y, predictions, K)``."""
    right = counts(_Y, _PREDICTIONS, 4)
    expect_close(
        call(solution, _Y, _PREDICTIONS, 4),
        right,
        [
            ("rows and columns are swapped: true classes belong in rows.", right.T),
            (
                "a pair that occurs several times is counted once: matrix[y, predictions] += 1 does that.",
                (right > 0).astype(int),
            ),
            ("only the hits are counted. The mistakes are what the matrix is for.", np.diag(right.diagonal())),
            ("only the mistakes are counted. The hits stand on the diagonal.", right - np.diag(right.diagonal())),
            ("these are shares of the rows. Counts are asked for.", right / right.sum(1, keepdims=True)),
            ("these are shares of all images. Counts are asked for.", right / right.sum()),
            (
                "the class that is never predicted has no column. The matrix has K rows and K columns all the same.",
                right[:, :3],
            ),
            ("you return the number of hits. There is a count for each pair of classes.", right.trace()),
        ],
    )


@exercise("recall")
def recall(solution: Callable) -> None:
    """Check ``recall(matrix)``."""
    matrix = np.array([[8, 1, 1], [4, 10, 6], [0, 3, 27]])
    hits = matrix.diagonal()
    expect_close(
        call(solution, matrix),
        recalls(matrix),
        [
            ("this is precision: hits over all images that were *taken* for the class.", hits / matrix.sum(0)),
            ("these are the hits. Divide them by the number of images of each class.", hits),
            ("the hits are divided by all images. Each class has a row of its own.", hits / matrix.sum()),
            ("this is the accuracy over all classes. Each class has its own recall.", hits.sum() / matrix.sum()),
            ("this is the share that was missed: 1 minus the recall.", 1 - recalls(matrix)),
            ("these are percentages. A share from 0 to 1 is asked for.", 100 * recalls(matrix)),
            ("the largest entry of a row need not be its hits.", matrix.max(1) / matrix.sum(1) + 0),
            ("the whole matrix is divided. Only the diagonal is asked for.", matrix / matrix.sum(1, keepdims=True)),
        ],
    )
    mistaken = np.array([[1, 9], [2, 8]])
    expect_close(
        call(solution, mistaken),
        recalls(mistaken),
        [("right as long as hits are the largest entry of each row. Take the diagonal.", mistaken.max(1) / 10)],
        what="the recall where most images of a class are misread",
    )


@exercise("worst_pair")
def worst_pair(solution: Callable) -> None:
    """Check ``worst_pair(matrix)``."""
    matrix = np.array([[50, 2, 1, 0], [9, 60, 3, 7], [1, 4, 70, 0], [5, 0, 12, 2]])
    pair = call(solution, matrix)
    expect_returned(pair)
    try:
        found = tuple(int(k) for k in pair)
    except TypeError:
        if int(pair) == int(np.where(np.eye(4, dtype=bool), 0, matrix).argmax()):
            raise CheckError(
                "this is the place in the flattened matrix. Turn it into row and column: np.unravel_index."
            ) from None
        raise CheckError("two numbers are asked for: (true class, predicted class).") from None
    messages = {
        (2, 2): "this pair is no mistake: the hits on the diagonal have won.",
        (2, 3): "the pair is turned around: the true class comes first.",
        (
            3,
            1,
        ): "this is the class with the lowest recall beside another; the most frequent single mistake is asked for.",
        (0, 3): "this is the rarest mistake. The most frequent one is asked for.",
        (1, 0): "this is the second most frequent mistake.",
    }
    if found == (3, 2):
        return
    raise CheckError(messages.get(found, f"{found} is not the most frequent mistake of the example."))
