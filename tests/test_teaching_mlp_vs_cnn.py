"""Checks of notebook 05's exercises: mutants that readers really write are rejected with a message that fits,
the notebook's own solutions and differently written right ones are accepted. And its transformations of images."""

import numpy as np
from mutants import exercise_tests

from cnncourse.teaching import mlp_vs_cnn as checks

NOTEBOOK = "05_mlp_vs_cnn"

MULTIPLY_ADDS = [
    (lambda i, o, F, H: F * F * i * o, "these are the weights"),
    (lambda i, o, F, H: (F * F * i + 1) * o, "these are the parameters"),
    (lambda i, o, F, H: F * F * i * o * H, "both directions"),
    (lambda i, o, F, H: F * F * o * H**2, "input channels are missing"),
    (lambda i, o, F, H: F * F * i * H**2, "output channels are missing"),
    (lambda i, o, F, H: F * i * o * H**2, "F rows and F columns"),
    (lambda i, o, F, H: (F * F * i + 1) * o * H**2, "biases are counted"),
    (lambda i, o, F, H: 2 * F * F * i * o * H**2, "counted apart"),
    (lambda i, o, F, H: F * F * i * o * (H - F + 1) ** 2, "size of the output already"),
    (lambda i, o, F, H: F * F * (i + o) * H**2, "but there are"),
    (lambda i, o, F, H: None, "returns None"),
]


def permute_in_place(images, order):
    for image in images:
        image[:] = image.ravel()[order].reshape(image.shape)
    return images


def permute_by_target(images, order):
    flat = images.reshape(len(images), -1)
    out = np.empty_like(flat)
    out[:, order] = flat
    return out.reshape(images.shape)


def permute_each_at_random(images, order):
    return np.stack([np.random.permutation(image.ravel()).reshape(image.shape) for image in images])


PERMUTE = [
    (permute_by_target, "this is the inverse"),
    (permute_in_place, "changes an array"),
    (permute_each_at_random, "drawn at random"),
    (lambda X, order: X.reshape(len(X), -1)[:, order], "still in one row"),
    (lambda X, order: X[order], "stops with IndexError"),
    (lambda X, order: X[:, order], "stops with IndexError"),
    (lambda X, order: X, "nothing has moved"),
    (lambda X, order: X.reshape(len(X), -1)[0, order].reshape(X.shape[1:]), "first image alone"),
    (lambda X, order: X.reshape(len(X), -1)[:, ::-1].reshape(X.shape), "are reversed"),
    (lambda X, order: X.ravel()[order], "has shape"),
    (lambda X, order: None, "returns None"),
]

REARRANGE = [
    (lambda W, order: W[np.argsort(order)], "this is the inverse"),
    (lambda W, order: W[:, order] if W.shape[1] > 3 else W[order], "columns are rearranged"),
    (lambda W, order: W[:, np.argsort(order)] if W.shape[1] > 3 else W[order], "columns are rearranged"),
    (lambda W, order: W[order][:, order] if W.shape[1] > 3 else W[order], "both rearranged"),
    (lambda W, order: W, "as they were"),
    (lambda W, order: W.T, "rows and columns are swapped"),
    (lambda W, order: W[order].T, "rows and columns are swapped"),
    (lambda W, order: W[::-1], "are reversed"),
    (lambda W, order: np.sort(W, axis=0), "sorted by value"),
    (lambda W, order: W[order, order], "has shape"),
    (lambda W, order: None, "returns None"),
]


def shift_by_rolling(images, dy, dx):
    return np.roll(images, (dy, dx), (1, 2))


def shift_with_edges(images, dy, dx):
    return checks.edge_shifted(images, dy, dx)


def shift_positive_only(images, dy, dx):
    H, W = images.shape[1:]
    out = np.zeros_like(images)
    out[:, dy:, dx:] = images[:, : H - dy, : W - dx]
    return out


def shift_without_zero(images, dy, dx):
    out = np.zeros_like(images)
    for k, image in enumerate(images):
        rows = (slice(dy, None), slice(None, -dy)) if dy >= 0 else (slice(None, dy), slice(-dy, None))
        columns = (slice(dx, None), slice(None, -dx)) if dx >= 0 else (slice(None, dx), slice(-dx, None))
        part = image[rows[1], columns[1]]
        out[k][rows[0], columns[0]] = part if part.size else 0
    return out


SHIFT = [
    (shift_by_rolling, "comes back on the other"),
    (shift_with_edges, "pixels at the edge"),
    (lambda X, dy, dx: checks.shifted(X, -dy, -dx), "move the other way"),
    (lambda X, dy, dx: checks.shifted(X, -dy, dx), "dy > 0 is down"),
    (lambda X, dy, dx: checks.shifted(X, dy, -dx), "dx > 0 is to the right"),
    (lambda X, dy, dx: checks.shifted(X, dx, dy), "are swapped"),
    (lambda X, dy, dx: checks.shifted(X, 0, dx), "dy is not used"),
    (lambda X, dy, dx: checks.shifted(X, dy, 0), "dx is not used"),
    (lambda X, dy, dx: checks.shifted(X, abs(dy), abs(dx)), "as a positive one"),
    (lambda X, dy, dx: checks.shifted(X, max(dy, 0), max(dx, 0)), "taken as none"),
    (shift_positive_only, "for dy = -1"),
    (shift_without_zero, r"\[:-0\] is empty"),
    (lambda X, dy, dx: None, "returns None"),
]


def shift_pixel_by_pixel(images, dy, dx):
    H, W = images.shape[1:]
    out = np.zeros_like(images)
    for i in range(H):
        for j in range(W):
            if 0 <= i - dy < H and 0 <= j - dx < W:
                out[:, i, j] = images[:, i - dy, j - dx]
    return out


def shift_by_rolling_and_clearing(images, dy, dx):
    out = np.roll(images, (dy, dx), (1, 2))
    H, W = images.shape[1:]
    rows, columns = np.arange(H) - dy, np.arange(W) - dx
    out[:, (rows < 0) | (rows >= H)] = 0
    out[:, :, (columns < 0) | (columns >= W)] = 0
    return out


MUTANTS = {"multiply_adds": MULTIPLY_ADDS, "permute": PERMUTE, "rearrange": REARRANGE, "shift": SHIFT}

OTHERWISE_WRITTEN = [
    ("multiply_adds", lambda i, o, F, H: sum(F * F * i for _ in range(o * H * H))),
    ("permute", lambda X, order: np.stack([x.ravel()[order].reshape(x.shape) for x in X])),
    ("permute", lambda X, order: np.take(X.reshape(len(X), -1), order, axis=1).reshape(X.shape)),
    ("rearrange", lambda W, order: np.stack([W[k] for k in order])),
    ("rearrange", lambda W, order: np.eye(len(W))[order] @ W),
    ("shift", shift_pixel_by_pixel),
    ("shift", shift_by_rolling_and_clearing),
]

globals().update(exercise_tests(NOTEBOOK, checks, MUTANTS, OTHERWISE_WRITTEN, {"np": np, "check": checks}))


def test_a_permutation_keeps_the_pixels_and_can_be_undone():
    images = np.random.RandomState(0).normal(size=(3, 4, 6))
    order = np.random.RandomState(1).permutation(24)
    moved = checks.permuted(images, order)
    assert not np.array_equal(moved, images)
    assert np.array_equal(checks.permuted(moved, np.argsort(order)), images)


def test_what_a_shift_moves_out_is_lost():
    image = np.arange(1, 10).reshape(1, 3, 3)
    assert checks.shifted(image, 1, -1)[0].tolist() == [[0, 0, 0], [2, 3, 0], [5, 6, 0]]
    assert np.array_equal(checks.shifted(image, 0, 0), image)
    assert not checks.shifted(image, 3, 0).any()
