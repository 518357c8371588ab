"""Checks of notebook 19's exercises: mutants that readers really write are rejected with a message that fits,
the notebook's own solutions and differently written right ones are accepted."""

from math import exp, log

import numpy as np
from mutants import exercise_tests

from cnncourse.teaching import vgg19_transfer as checks


def shares(counts):
    """Row by row."""
    return np.array([row / row.sum() if row.sum() else np.zeros(len(row)) for row in counts])


def overwrite(matrix):
    """Finds the right pair, and leaves a hole in its argument."""
    np.fill_diagonal(matrix, 0)
    return np.unravel_index(matrix.argmax(), matrix.shape)


def search(matrix):
    """By looking at all pairs."""
    K = len(matrix)
    return max(((i, j) for i in range(K) for j in range(K) if i != j), key=lambda pair: matrix[pair])


def between(images, accuracy, level, *, scale=log, back=exp, end=False):
    """By hand: the pair of neighbours around the level, and a part of the way between them."""
    for k in range(1, len(images)):
        if accuracy[k] >= level:
            part = (level - accuracy[k - 1]) / (accuracy[k] - accuracy[k - 1])
            part = 1 - part if end else part
            return back(scale(images[k - 1]) + part * (scale(images[k]) - scale(images[k - 1])))


def reach(accuracy, level, *, start=1, never=0, strict=False):
    for k, value in enumerate(accuracy, start):
        if value > level or (value == level and not strict):
            return k
    return never


MUTANTS = {
    "normalise_rows": [
        (lambda c: c / c.sum(0), "columns"),
        (lambda c: c / c.sum(), "number of all images"),
        (lambda c: 100 * shares(c), "percentages"),
        (lambda c: c / c.sum(1), "in a column|nan"),
        (lambda c: c / c.sum(1, keepdims=True), "0/0"),
        (lambda c: c / np.diag(c)[:, None], "diagonal"),
        (lambda c: c / c.max(1, keepdims=True), "largest number"),
        (lambda c: c // np.maximum(c.sum(1, keepdims=True), 1), "whole numbers"),
        (lambda c: shares(c).sum(1), "shape"),
        (lambda c: None, "returns None"),
    ],
    "most_confused": [
        (lambda s: np.unravel_index(s.argmax(), s.shape), "diagonal"),
        (lambda s: search(s)[::-1], "wrong way round"),
        (lambda s: search(np.triu(s + s.T, 1)), "both directions"),
        (lambda s: (s - 2 * np.eye(len(s))).argmax(), "two numbers"),
        (overwrite, "changes an array"),
        (lambda s: search(-s), "rarest"),
        (lambda s: (0, len(s) - 1), "is larger"),
        (lambda s: None, "returns None"),
    ],
    "first_reach": [
        (lambda a, h: reach(a, h, start=0), "from 0"),
        (lambda a, h: int(np.argmax(np.array(a) >= h)), "from 0"),
        (lambda a, h: int(np.argmax(np.array(a) >= h)) + 1, "never reached"),
        (lambda a, h: reach(a, h, strict=True), "equal to the level"),
        (lambda a, h: reach(a, h, never=None), "returns None there"),
        (lambda a, h: sum(np.array(a) >= h), "how many"),
        (lambda a, h: next((v for v in a if v >= h), 0), "not its number"),
        (lambda a, h: max((k for k, v in enumerate(a, 1) if v >= h), default=0), "the last value"),
        (lambda a, h: None, "returns None"),
    ],
    "images_needed": [
        (lambda n, a, h: np.interp(h, a, n), "straight over the number"),
        (lambda n, a, h: np.interp(h, a, np.log(n)), "still a logarithm"),
        (lambda n, a, h: np.interp(h, a, np.log10(n)), "still a logarithm"),
        (lambda n, a, h: np.exp(np.interp(h, a, np.log10(n))), "base 10"),
        (lambda n, a, h: n[reach(a, h) - 1], "next number"),
        (lambda n, a, h: n[max(reach(a, h) - 2, 0)], "number before"),
        (lambda n, a, h: between(n, a, h, end=True), "wrong end"),
        (lambda n, a, h: None, "returns None"),
    ],
}
OTHERWISE_WRITTEN = [
    ("normalise_rows", shares),
    ("normalise_rows", lambda c: c / np.maximum(c.sum(axis=1), 1)[:, None]),
    ("most_confused", search),
    ("most_confused", lambda s: list(np.unravel_index((s - 2 * np.eye(len(s))).argmax(), s.shape))),
    ("first_reach", reach),
    ("images_needed", between),
    ("images_needed", lambda n, a, h: 10 ** np.interp(h, a, np.log10(n))),
]

globals().update(exercise_tests("19_vgg19_transfer", checks, MUTANTS, OTHERWISE_WRITTEN, {"np": np}))
