"""Checks for the exercises of notebook 19, and the same computations for its experiments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cnncourse.teaching.checking import CheckError, call, exercise, expect_close, expect_returned


def row_shares(counts: np.ndarray) -> np.ndarray:
    """Each row of a confusion matrix divided by its sum; a row without images stays 0. Shape (K, K), 0 to 1."""
    counts = np.asarray(counts, dtype=float)
    totals = counts.sum(1, keepdims=True)
    return np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)


def largest_mistake(shares: np.ndarray) -> tuple[int, int]:
    """(true class, predicted class) of the largest entry off the diagonal."""
    off = np.where(np.eye(len(shares), dtype=bool), -1.0, shares)
    true, predicted = np.unravel_index(off.argmax(), off.shape)
    return int(true), int(predicted)


def reached_at(accuracy: Sequence[float], level: float) -> int:
    """Number, from 1, of the first value that is at least `level`; 0 when none is."""
    return next((k for k, value in enumerate(accuracy, start=1) if value >= level), 0)


def images_for(num_images: Sequence[float], accuracy: Sequence[float], level: float) -> float:
    """Images at which a rising accuracy crosses `level`, on straight lines over the logarithm of the number."""
    return float(np.exp(np.interp(level, accuracy, np.log(num_images))))


@exercise("normalise_rows")
def normalise_rows(solution: Callable) -> None:
    """Check ``normalise_rows(counts)``."""
    full = np.array([[8, 1, 1], [3, 7, 10], [0, 6, 24]])
    empty = np.array([[5, 3, 2], [0, 0, 0], [4, 0, 1]])
    for counts in (full, empty):
        got = call(solution, counts.copy())
        shares = row_shares(counts)
        slips = [
            ("you divide by the sums of the columns: that asks how many of the images called X are X. Here each row, a "
             "true class, adds up to 1.", row_shares(counts.T).T),
            ("you divide by the number of all images; each row has its own sum.", counts / counts.sum()),
            ("these are percentages: the values should lie between 0 and 1.", 100 * shares),
            ("the sums have to stand in a column, or row i is divided by the sum of row j.",
             np.nan_to_num(counts / counts.sum(1), posinf=0)),
            ("you divide by the diagonal, not by the sum of the row.",
             np.nan_to_num(counts / np.diag(counts)[:, None], posinf=0)),
            ("you divide by the largest number of the row, not by its sum.",
             np.nan_to_num(counts / counts.max(1, keepdims=True))),
            ("the shares are rounded down to whole numbers.", shares.astype(int)),
        ]  # fmt: skip
        expect_returned(got)
        array = np.asarray(got, dtype=float)
        if counts is empty and array.shape == shares.shape and np.isnan(array).any():
            raise CheckError("a class without images gives 0/0, which is nan; its row should be 0.")
        expect_close(got, shares, slips, "the matrix of shares")


@exercise("most_confused")
def most_confused(solution: Callable) -> None:
    """Check ``most_confused(shares)``."""
    cases = [
        np.array([[0.7, 0.2, 0.1], [0.1, 0.85, 0.05], [0.1, 0.15, 0.75]]),
        np.array([[0.5, 0.0, 0.1, 0.4], [0.3, 0.6, 0.1, 0.0], [0.0, 0.45, 0.55, 0.0], [0.35, 0.05, 0.0, 0.6]]),
        np.array([[0.2, 0.1, 0.7], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]]),
    ]
    for shares in cases:
        got = call(solution, shares.copy())
        expect_returned(got)
        true, predicted = largest_mistake(shares)
        try:
            found = tuple(int(index) for index in got)
        except TypeError:
            raise CheckError(
                "your function should return two numbers, the row and the column. argmax alone counts through the "
                "whole matrix: np.unravel_index splits its answer."
            ) from None
        if found == (true, predicted):
            continue
        if len(found) == 2 and found[0] == found[1]:
            raise CheckError("the diagonal holds the right answers: leave it out of the search.")
        if found == (predicted, true):
            raise CheckError("the two numbers are the wrong way round: first the true class (row), then the predicted.")
        both = np.triu(shares + shares.T, 1)
        if found == tuple(int(i) for i in np.unravel_index(both.argmax(), both.shape)):
            raise CheckError("you add up both directions. Cats taken for dogs are one mistake, dogs for cats another.")
        off = np.where(np.eye(len(shares), dtype=bool), np.inf, shares)
        if found == tuple(int(i) for i in np.unravel_index(off.argmin(), off.shape)):
            raise CheckError("that is the rarest mistake; the most frequent one is asked for.")
        raise CheckError(f"for the matrix {shares.tolist()} you return {found}; {shares[true, predicted]} is larger.")


@exercise("first_reach")
def first_reach(solution: Callable) -> None:
    """Check ``first_reach(accuracy, level)``."""
    cases = [
        ([30.0, 45.0, 52.0, 50.0, 61.0], 50.0),
        ([30.0, 45.0, 50.0], 50.0),
        ([55.0, 40.0, 52.0], 50.0),
        ([20.0, 25.0, 31.0, 30.0], 50.0),
        ([12.0, 30.0, 28.0, 35.0, 29.0, 41.0], 29.5),
    ]
    got = []
    for accuracy, level in cases:
        got.append(call(solution, list(accuracy), level))
        if got[-1] is None and reached_at(accuracy, level) == 0:
            raise CheckError("where the level is never reached the answer is 0; your function returns None there.")
        expect_returned(got[-1])

    def last_below(accuracy: Sequence[float], level: float) -> int:
        below = [k for k, value in enumerate(accuracy, start=1) if value < level]
        return (below[-1] if below else 0) + 1

    slips: list[tuple[str, Callable]] = [
        ("you count from 0. The first value has number 1, and 0 is for levels that are never reached.",
         lambda a, h: max(reached_at(a, h) - 1, 0)),
        ("you count from 0.", lambda a, h: int(np.argmax(np.array(a) >= h))),
        ("a level that is never reached should give 0.", lambda a, h: int(np.argmax(np.array(a) >= h)) + 1),
        ("a value equal to the level reaches it.", lambda a, h: next((k for k, v in enumerate(a, 1) if v > h), 0)),
        ("you return the last value that is high enough; the first one is asked for.",
         lambda a, h: max((k for k, v in enumerate(a, 1) if v >= h), default=0)),
        ("you count how many values are high enough.", lambda a, h: sum(v >= h for v in a)),
        ("you return the accuracy, not its number.", lambda a, h: next((v for v in a if v >= h), 0)),
        ("you wait until the accuracy stays above the level; the first time counts.", last_below),
    ]  # fmt: skip
    slips_of_all = [(message, [slip(*case) for case in cases]) for message, slip in slips]
    expect_close(got, np.array([reached_at(*case) for case in cases]), slips_of_all, "the list of results")


@exercise("images_needed")
def images_needed(solution: Callable) -> None:
    """Check ``images_needed(num_images, accuracy, level)``."""
    images, accuracy = [10, 100, 1_000, 4_000], [30.0, 50.0, 60.0, 70.0]
    cases = [(images, accuracy, level) for level in (40.0, 50.0, 57.5, 68.0)]
    got = [call(solution, list(n), list(a), level) for n, a, level in cases]
    for value in got:
        expect_returned(value)

    def next_measured(n: Sequence[float], a: Sequence[float], level: float) -> float:
        return n[reached_at(a, level) - 1]

    def backwards(n: Sequence[float], a: Sequence[float], level: float) -> float:
        k = max(reached_at(a, level) - 1, 1)
        share = (a[k] - level) / (a[k] - a[k - 1])
        return float(n[k - 1] * (n[k] / n[k - 1]) ** share)

    slips: list[tuple[str, Callable]] = [
        ("your line is straight over the number of images; it should be straight over its logarithm: half-way between "
         "10 and 1,000 lies 100.", lambda n, a, h: float(np.interp(h, a, n))),
        ("this is still a logarithm: turn it back into a number of images.",
         lambda n, a, h: float(np.interp(h, a, np.log(n)))),
        ("this is still a logarithm: turn it back into a number of images.",
         lambda n, a, h: float(np.interp(h, a, np.log10(n)))),
        ("you return the next number that was measured; go a part of the way between two of them.", next_measured),
        ("you return the number before; go a part of the way from there to the next.",
         lambda n, a, h: n[max(reached_at(a, h) - 2, 0)]),
        ("the share of the way is counted from the wrong end: at the lower accuracy you are still at the smaller "
         "number.", backwards),
        ("a logarithm to base 10 is undone by 10 to the power, a natural one by exp.",
         lambda n, a, h: float(np.exp(np.interp(h, a, np.log10(n))))),
    ]  # fmt: skip
    slips_of_all = [(message, [slip(*case) for case in cases]) for message, slip in slips]
    right = np.array([images_for(*case) for case in cases])
    expect_close(got, right, slips_of_all, "the list of results", rtol=1e-4)
