"""Checks of notebook 03's exercises: mutants that readers really write are rejected with a message that fits,
the notebook's own solutions and differently written right ones are accepted."""

import numpy as np
from mutants import exercise_tests

from cnncourse.teaching import mnist_classifier as checks


def count(y, p, K, step=1):
    matrix = np.zeros((K, K), dtype=int)
    np.add.at(matrix, (y, p), step)
    return matrix


def once(y, p, K):
    matrix = np.zeros((K, K), dtype=int)
    matrix[y, p] += 1
    return matrix


def without_diagonal(matrix):
    return np.where(np.eye(len(matrix), dtype=bool), 0, matrix)


def place(matrix):
    return np.unravel_index(matrix.argmax(), matrix.shape)


def in_place(matrix):
    np.fill_diagonal(matrix, 0)
    return place(matrix)


def pair_by_loops(matrix):
    best = max((matrix[i][j], (i, j)) for i in range(len(matrix)) for j in range(len(matrix)) if i != j)
    return best[1]


CONFUSION = [
    (lambda y, p, K: count(p, y, K), "swapped"),
    (once, "counted once"),
    (lambda y, p, K: np.diag(count(y, p, K).diagonal()), "only the hits"),
    (lambda y, p, K: without_diagonal(count(y, p, K)), "only the mistakes"),
    (lambda y, p, K: count(y, p, K) / count(y, p, K).sum(1, keepdims=True), "shares of the rows"),
    (lambda y, p, K: count(y, p, K) / len(y), "shares of all"),
    (lambda y, p, K: count(y, p, K)[:, : p.max() + 1], "never predicted"),
    (lambda y, p, K: (y == p).sum(), "number of hits"),
    (lambda y, p, K: None, "returns None"),
]
RECALL = [
    (lambda m: m.diagonal() / m.sum(0), "precision"),
    (lambda m: m.diagonal(), "these are the hits"),
    (lambda m: m.diagonal() / m.sum(), "by all images"),
    (lambda m: m.trace() / m.sum(), "accuracy over all"),
    (lambda m: 1 - m.diagonal() / m.sum(1), "missed"),
    (lambda m: 100 * m.diagonal() / m.sum(1), "percentages"),
    (lambda m: m.max(1) / m.sum(1), "largest entry"),
    (lambda m: m / m.sum(1, keepdims=True), "whole matrix"),
    (lambda m: None, "returns None"),
]
WORST_PAIR = [
    (place, "hits on the diagonal"),
    (lambda m: place(without_diagonal(m).T), "turned around"),
    (in_place, "changes an array"),
    (lambda m: without_diagonal(m).argmax(), "flattened matrix"),
    (lambda m: without_diagonal(m).max(), "two numbers"),
    (lambda m: place(-(without_diagonal(m) + 1000 * np.eye(len(m)))), "rarest"),
    (lambda m: (1, 0), "second most"),
    (lambda m: (0, 0), "is not the most frequent"),
    (lambda m: None, "returns None"),
]
MUTANTS = {"confusion": CONFUSION, "recall": RECALL, "worst_pair": WORST_PAIR}
OTHERWISE_WRITTEN = [
    ("confusion", count),
    ("confusion", lambda y, p, K: np.array([[np.sum((y == i) & (p == j)) for j in range(K)] for i in range(K)])),
    ("recall", lambda m: np.array([row[k] / row.sum() for k, row in enumerate(m)])),
    ("worst_pair", pair_by_loops),
    ("worst_pair", lambda m: divmod(int(without_diagonal(m).argmax()), len(m))),
]

globals().update(exercise_tests("03_mnist_classifier", checks, MUTANTS, OTHERWISE_WRITTEN, {"np": np}))
