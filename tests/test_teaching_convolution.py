"""Checks of notebook 01's exercises: mutants that readers really write are rejected with a message that fits,
the notebook's own solutions and differently written right ones are accepted."""

import math

import numpy as np
from mutants import exercise_tests
from numpy.lib.stride_tricks import sliding_window_view

from cnncourse.teaching import convolution as checks

NOTEBOOK = "01_convolution_by_hand"


# --- cross_correlate ------------------------------------------------------------------------------------------------
def correlate(image, kernel, dtype=float, rows=1, columns=1, total=np.sum):
    h, w = kernel.shape
    H, W = image.shape
    out = np.zeros((H - h + rows, W - w + columns), dtype=dtype)
    for i, j in np.ndindex(*out.shape):
        out[i, j] = total(image[i : i + h, j : j + w] * kernel)
    return out


def correlate_square_only(image, kernel):
    n = len(kernel)
    H, W = image.shape
    out = np.zeros((H - n + 1, W - n + 1))
    for i, j in np.ndindex(*out.shape):
        out[i, j] = (image[i : i + n, j : j + n] * kernel).sum()
    return out


def correlate_in_place(image, kernel):
    h, w = kernel.shape
    for i, j in np.ndindex(image.shape[0] - h + 1, image.shape[1] - w + 1):
        image[i, j] = (image[i : i + h, j : j + w] * kernel).sum()
    return image[: image.shape[0] - h + 1, : image.shape[1] - w + 1]


def correlate_by_shifts(image, kernel):
    h, w = kernel.shape
    H, W = image.shape
    return sum(kernel[u, v] * image[u : H - h + 1 + u, v : W - w + 1 + v] for u in range(h) for v in range(w))


CROSS_CORRELATE = [
    (lambda X, K: correlate(X, K[::-1, ::-1]), "turned by 180 degrees"),
    (lambda X, K: correlate(X, K[::-1]), "upside down"),
    (lambda X, K: correlate(X, K[:, ::-1]), "left to right"),
    (lambda X, K: correlate(X, K.T), "has shape"),
    (lambda X, K: correlate(X, K, total=np.mean), "mean of the products"),
    (lambda X, K: correlate(X, K, total=np.max), "largest of the products"),
    (lambda X, K: correlate(X, np.ones_like(K)), "weights of the kernel are missing"),
    (lambda X, K: correlate(X, K, dtype=int), "lose their fractions"),
    (lambda X, K: correlate(X, K, rows=0, columns=0), "last row and column"),
    (lambda X, K: correlate(X, K, rows=0), "last row of windows"),
    (lambda X, K: correlate(X, K, columns=0), "last column of windows"),
    (lambda X, K: correlate(X, K).T, "swapped"),
    (correlate_square_only, "stops with ValueError"),
    (correlate_in_place, "changes an array"),
    (lambda X, K: (X * K).sum(), "stops with ValueError"),
    (lambda X, K: correlate(X, K).sum(), "one sum"),
    (lambda X, K: None, "returns None"),
]


# --- convolve -------------------------------------------------------------------------------------------------------
CONVOLVE = [
    (lambda X, K: correlate(X, K), "did you flip the kernel"),
    (lambda X, K: correlate(X, K[::-1]), "not left to right"),
    (lambda X, K: correlate(X, K[:, ::-1]), "not upside down"),
    (lambda X, K: correlate(X, K.T if K.shape[0] == K.shape[1] else K[::-1, ::-1]), "is transposed"),
    (lambda X, K: correlate(X[::-1, ::-1], K), "image is flipped instead"),
    (lambda X, K: correlate(X[::-1, ::-1], K[::-1, ::-1]), "image is flipped, too"),
    (lambda X, K: -correlate(X, K), "sign is changed"),
    (lambda X, K: correlate(X, K.T[::-1]), "has shape"),
]


# --- pad ------------------------------------------------------------------------------------------------------------
def pad_by_slice(X, P):
    out = np.zeros((X.shape[0] + 2 * P, X.shape[1] + 2 * P))
    out[P:-P, P:-P] = X
    return out


def pad_in_a_corner(X, P):
    out = np.zeros((X.shape[0] + 2 * P, X.shape[1] + 2 * P))
    out[: X.shape[0], : X.shape[1]] = X
    return out


def pad_by_stacking(X, P):
    side = np.zeros((X.shape[0], P))
    X = np.hstack([side, X, side])
    lid = np.zeros((P, X.shape[1]))
    return np.vstack([lid, X, lid])


PAD = [
    (lambda X, P: np.pad(X, ((P, 0), (P, 0))), "above and to the left only"),
    (lambda X, P: np.pad(X, ((0, P), (0, P))), "below and to the right only"),
    (lambda X, P: np.pad(X, ((P, P), (0, 0))), "rows are added"),
    (lambda X, P: np.pad(X, ((0, 0), (P, P))), "columns are added"),
    (lambda X, P: np.pad(X, 1), "whatever P is"),
    (lambda X, P: np.pad(X, 2 * P), "2 P zeros on each side"),
    (pad_in_a_corner, "upper left corner"),
    (lambda X, P: np.pad(X, P, mode="edge"), "repeats the pixels"),
    (lambda X, P: np.pad(X, P, mode="reflect"), "mirrors the image"),
    (lambda X, P: np.pad(X, P, constant_values=1), "border is 1"),
    (pad_by_slice, "with P = 0 the image should come back"),
]

# --- output_size ----------------------------------------------------------------------------------------------------
OUTPUT_SIZE = [
    (lambda H, F, S, P, D: (H + 2 * P - D * (F - 1) - 1) // S, "one is missing"),
    (lambda H, F, S, P, D: (H + P - D * (F - 1) - 1) // S + 1, "counts once"),
    (lambda H, F, S, P, D: (H - D * (F - 1) - 1) // S + 1, "padding is not used"),
    (lambda H, F, S, P, D: (H - 2 * P - D * (F - 1) - 1) // S + 1, "taken away"),
    (lambda H, F, S, P, D: H + 2 * P - D * (F - 1), "stride is not used"),
    (lambda H, F, S, P, D: (H + 2 * P - F) // S + 1, "dilation is not used"),
    (lambda H, F, S, P, D: (H + 2 * P - D * F) // S + 1, "F - 1 steps"),
    (lambda H, F, S, P, D: (H + 2 * P - D * (F - 1) - 1) / S + 1, "not whole numbers"),
    (lambda H, F, S, P, D: round((H + 2 * P - D * (F - 1) - 1) / S) + 1, "to the nearest"),
    (lambda H, F, S, P, D: math.ceil((H + 2 * P - D * (F - 1) - 1) / S) + 1, "rounded up"),
    (lambda H, F, S, P, D: (H + 2 * P - D * (F - 1) - 1 + 1) // S, "before the division"),
    (lambda H, F, S, P, D: np.floor((H + 2 * P - D * (F - 1) - 1) / S) + 1, "a whole number"),
    (lambda H, F, S, P, D: (H + 2 * P - D * (F - 1) - 1) // S + 2, "but the layer gives"),
    (lambda H, F, S, P, D: None, "returns None"),
]

# --- conv_parameters ------------------------------------------------------------------------------------------------
CONV_PARAMETERS = [
    (lambda i, o, F: F * F * i * o, "biases are missing"),
    (lambda i, o, F: F * F * i * o + 1, "not one in all"),
    (lambda i, o, F: F * F * i * o + i, "per input channel"),
    (lambda i, o, F: (F * F + 1) * i * o, "for each pair"),
    (lambda i, o, F: (F * F + 1) * o, "through all input channels"),
    (lambda i, o, F: (F * i + 1) * o, "F times F weights"),
    (lambda i, o, F: F * F * i * o + 2 * o, "but there are"),
    (lambda i, o, F: None, "returns None"),
]


# --- max_pool -------------------------------------------------------------------------------------------------------
def pool(X, F, S, reduce=np.max):
    return reduce(sliding_window_view(X, (F, F))[::S, ::S], axis=(2, 3))


def pool_with_ceiling(X, F, S):
    rows, columns = -(-(X.shape[0] - F) // S) + 1, -(-(X.shape[1] - F) // S) + 1
    return np.array([[X[i * S : i * S + F, j * S : j * S + F].max() for j in range(columns)] for i in range(rows)])


def pool_by_blocks(X, F, S):
    X = X[: X.shape[0] // F * F, : X.shape[1] // F * F]
    return X.reshape(X.shape[0] // F, F, X.shape[1] // F, F).max((1, 3))


def pool_rows_then_columns(X, F, S):
    rows = [X[i : i + F].max(0) for i in range(0, len(X) - F + 1, S)]
    return np.array([[row[j : j + F].max() for j in range(0, len(row) - F + 1, S)] for row in rows])


MAX_POOL = [
    (lambda X, F, S: pool(X, F, S, np.mean), "mean of each window"),
    (lambda X, F, S: pool(X, F, S, np.min), "smallest value"),
    (lambda X, F, S: pool(X, F, S, np.sum), "add the window up"),
    (lambda X, F, S: X[: -F + 1 : S, : -F + 1 : S], "first pixel"),
    (lambda X, F, S: pool(X, F, 1), "1 pixel apart"),
    (pool_with_ceiling, "stick out"),
    (lambda X, F, S: pool(np.pad(X, 1), F, S)[:, :], "has shape|zeros around"),
    (lambda X, F, S: pool(np.pad(X, ((0, 1), (0, 1))), F, S), "zeros around"),
    (lambda X, F, S: X.max(), "one number"),
    (lambda X, F, S: np.maximum(pool(X, F, S), 0), "negative ones have become 0"),
    (pool_by_blocks, "may overlap"),
    (lambda X, F, S: sliding_window_view(X, (F, 1))[::S].max((2, 3)), "only the rows"),
]

MUTANTS = {
    "cross_correlate": CROSS_CORRELATE,
    "convolve": CONVOLVE,
    "pad": PAD,
    "output_size": OUTPUT_SIZE,
    "conv_parameters": CONV_PARAMETERS,
    "max_pool": MAX_POOL,
}

OTHERWISE_WRITTEN = [
    ("cross_correlate", correlate),
    ("cross_correlate", correlate_by_shifts),
    ("cross_correlate", lambda X, K: (sliding_window_view(X, K.shape) * K).sum((2, 3))),
    ("convolve", lambda X, K: correlate(X, np.rot90(K, 2))),
    ("convolve", lambda X, K: correlate(X[::-1, ::-1], K)[::-1, ::-1]),
    ("pad", pad_by_stacking),
    ("pad", lambda X, P: np.pad(X, P)),
    ("output_size", lambda H, F, S, P, D: len(range(0, H + 2 * P - (D * (F - 1) + 1) + 1, S))),
    ("output_size", lambda H, F, S, P, D: int((H + 2 * P - D * (F - 1) - 1) / S) + 1),
    ("conv_parameters", lambda i, o, F: o * (i * F**2) + o),
    ("max_pool", pool),
    ("max_pool", pool_rows_then_columns),
]

globals().update(exercise_tests(NOTEBOOK, checks, MUTANTS, OTHERWISE_WRITTEN, {"np": np, "check": checks}))
