"""Checks of notebook 21's exercises: mutants that readers really write are rejected with a message that fits,
the notebook's own solutions and differently written right ones are accepted. And the measures of its experiments."""

import numpy as np
import pytest
from mutants import exercise_tests

from cnncourse.teaching import what_the_network_sees as checks


def nearest(p, y, label, k, pick=lambda p, y, label: y == label, distance=lambda p: np.abs(p - 0.5)):
    candidates = np.flatnonzero(pick(p, y, label))
    return candidates[distance(p[candidates]).argsort()][:k]


def nearest_by_sorting(p, y, label, k):
    ranked = sorted((abs(value - 0.5), i) for i, value in enumerate(p) if y[i] == label)
    return [i for _, i in ranked[:k]]


NEAREST_TO_HALF = [
    (lambda p, y, c, k: np.abs(p[y == c] - 0.5).argsort()[:k], "positions in the whole array"),
    (lambda p, y, c, k: np.abs(p - 0.5).argsort()[:k], "class is not looked at"),
    (lambda p, y, c, k: nearest(p, y, c, k, distance=lambda q: -np.abs(q - 0.5)), "furthest"),
    (lambda p, y, c, k: nearest(p, y, c, k)[::-1], "upside down"),
    (lambda p, y, c, k: nearest(p, y, c, k, pick=lambda p, y, c: (y == c) & ((p > 0.5) != y)), "only wrong"),
    (lambda p, y, c, k: nearest(p, y, c, k, pick=lambda p, y, c: (p > 0.5) == c), "predicted"),
    (lambda p, y, c, k: nearest(p, y, c, k, distance=lambda q: q - 0.5), "sign"),
    (lambda p, y, c, k: nearest(p, y, c, len(p)), "k of them"),
    (lambda p, y, c, k: p[nearest(p, y, c, k)], "positions of the pictures"),
    (lambda p, y, c, k: np.flatnonzero(y == c)[:k], "not the 3 nearest"),
    (lambda p, y, c, k: None, "returns None"),
]


def laplacian(grey):
    return grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]


def laplacian_by_loops(grey):
    H, W = grey.shape
    values = [
        grey[i - 1, j] + grey[i + 1, j] + grey[i, j - 1] + grey[i, j + 1] - 4 * grey[i, j]
        for i in range(1, H - 1)
        for j in range(1, W - 1)
    ]
    return sum((v - sum(values) / len(values)) ** 2 for v in values) / len(values)


def with_border(grey):
    return laplacian(np.pad(grey, 1)).var()


SHARPNESS = [
    (lambda grey: laplacian(grey).std(), "standard deviation"),
    (lambda grey: (laplacian(grey) ** 2).mean(), "mean of the squares"),
    (lambda grey: laplacian(grey).mean(), "cancel"),
    (lambda grey: np.abs(laplacian(grey)).mean(), "absolute values"),
    (with_border, "border"),
    (lambda grey: (laplacian(grey) + 4 * grey[1:-1, 1:-1]).var(), "pixel itself is missing"),
    (lambda grey: (laplacian(grey) + 3 * grey[1:-1, 1:-1]).var(), "subtracted once"),
    (laplacian, "variance over all inner pixels"),
    (lambda grey: grey.var(), "variance of the picture"),
    (lambda grey: laplacian(grey).var(ddof=1), "n - 1"),
    (lambda grey: np.hypot(*np.gradient(grey)).var(), "off"),
    (lambda grey: None, "returns None"),
]


def p(values, chosen, groups, above=1, below=1, larger=np.greater_equal):
    return (larger(values[groups].mean(1), values[chosen].mean()).sum() + above) / (len(groups) + below)


def p_by_loops(values, chosen, groups):
    observed, hits = sum(values[i] for i in chosen), 1
    for group in groups:
        if sum(values[i] for i in group) > observed - 1e-9:
            hits += 1
    return hits / (1 + len(groups))


P_VALUE = [
    (lambda v, c, g: p(v, c, g, 0, 0), "chosen group itself is missing"),
    (lambda v, c, g: p(v, c, g, 1, 0), "not below"),
    (lambda v, c, g: p(v, c, g, 0, 1), "not above"),
    (lambda v, c, g: p(v, c, g, larger=lambda a, b: a > b + 1e-9), "just as large|not above"),
    (lambda v, c, g: p(v, c, g, larger=lambda a, b: a <= b + 1e-9), "smaller"),
    (lambda v, c, g: p(v - v.mean(), c, g, larger=lambda a, b: np.abs(a) >= abs(b) - 1e-9), "both directions"),
    (lambda v, c, g: p(v, c, g) * (len(g) + 1), "number of groups"),
    (lambda v, c, g: v[c].mean(), "mean of the chosen group"),
    (lambda v, c, g: ((v >= v[c].mean()).sum() + 1) / (len(v) + 1), "single pictures"),
    (lambda v, c, g: None, "returns None"),
]


def colours(kernels, axis=(1, 2, 3)):
    low, high = kernels.min(axis, keepdims=True), kernels.max(axis, keepdims=True)
    return ((kernels - low) / (high - low)).transpose(0, 2, 3, 1)


def colours_one_by_one(kernels):
    return np.stack([np.moveaxis(np.interp(k, (k.min(), k.max()), (0, 1)), 0, -1) for k in kernels])


TO_COLOURS = [
    (lambda k: np.moveaxis(colours(k), -1, 1), "channels are still in front"),
    (lambda k: colours(k, (2, 3)), "hue"),
    (lambda k: colours(k, None), "share one scale"),
    (lambda k: k.transpose(0, 2, 3, 1), "nothing is scaled"),
    (lambda k: k.transpose(0, 2, 3, 1).clip(0, 1), "cut off"),
    (lambda k: (np.abs(k) / np.abs(k).max((1, 2, 3), keepdims=True)).transpose(0, 2, 3, 1), "signs are lost"),
    (lambda k: (k / np.abs(k).max((1, 2, 3), keepdims=True) / 2 + 0.5).transpose(0, 2, 3, 1), "becomes 0.5"),
    (lambda k: (k - k.min((1, 2, 3), keepdims=True)).transpose(0, 2, 3, 1), "does not become 1"),
    (lambda k: colours(k).transpose(0, 2, 1, 3), "exchanged"),
    (lambda k: None, "returns None"),
]  # fmt: skip


def cam_by_loops(A, G):
    out = np.zeros(A.shape[1:])
    for maps, gradients in zip(A, G, strict=True):
        out += gradients.mean() * maps
    return np.where(out > 0, out, 0)


GRAD_CAM = [
    (lambda A, G: np.tensordot(G.mean((1, 2)), A, 1), "against the class is still in it"),
    (lambda A, G: np.maximum((A * G).sum(0), 0), "place by place"),
    (lambda A, G: cam_by_loops(A, G) * A[0].size, "summed over the places"),
    (lambda A, G: cam_by_loops(A, G) / len(A), "averaged"),
    (lambda A, G: np.tensordot(np.maximum(G.mean((1, 2)), 0), A, 1), "Cut off the sum"),
    (lambda A, G: np.maximum(G.mean((1, 2))[:, None, None] * A, 0).sum(0), "Add up first"),
    (lambda A, G: cam_by_loops(G, A), "exchanged"),
    (lambda A, G: A.sum(0), "not used"),
    (lambda A, G: np.abs(np.tensordot(G.mean((1, 2)), A, 1)), "not positive"),
    (lambda A, G: np.maximum(G.mean((1, 2))[:, None, None] * A, 0), "still apart"),
    (lambda A, G: None, "returns None"),
]

MUTANTS = {
    "nearest_to_half": NEAREST_TO_HALF,
    "sharpness": SHARPNESS,
    "p_value": P_VALUE,
    "to_colours": TO_COLOURS,
    "grad_cam": GRAD_CAM,
}
OTHERWISE_WRITTEN = [
    ("nearest_to_half", nearest),
    ("nearest_to_half", nearest_by_sorting),
    ("sharpness", lambda grey: laplacian(grey).var()),
    ("sharpness", laplacian_by_loops),
    ("p_value", lambda v, c, g: p(v, c, g, larger=lambda a, b: a >= b - 1e-9)),
    ("p_value", p_by_loops),
    ("to_colours", colours),
    ("to_colours", colours_one_by_one),
    ("grad_cam", cam_by_loops),
    ("grad_cam", lambda A, G: (G.mean((1, 2))[:, None, None] * A).sum(0).clip(0)),
]

globals().update(exercise_tests("21_what_the_network_sees", checks, MUTANTS, OTHERWISE_WRITTEN, {"np": np}))


def picture(colour):
    return np.broadcast_to(np.array(colour, np.uint8)[:, None, None], (3, 64, 64))


def noisy(scale, seed=0):
    noise = np.random.RandomState(seed).normal(128, scale, (3, 64, 64))
    return noise.clip(0, 255).astype(np.uint8)


def framed():
    """White in the middle, black around it."""
    return np.pad(picture([250, 250, 250])[:, :32, :32], ((0, 0), (16, 16), (16, 16)))


@pytest.mark.parametrize(
    ("trait", "much", "little"),
    [
        ("dark", picture([20, 20, 20]), picture([200, 200, 200])),
        ("low contrast", noisy(3), noisy(40)),
        ("one colour", picture([90, 60, 30]), noisy(40)),
        ("blurred", np.repeat(np.repeat(noisy(40)[:, ::8, ::8], 8, 1), 8, 2), noisy(40)),
        ("skin colours", picture([210, 140, 110]), picture([110, 140, 210])),
        ("hardly stands out", picture([90, 60, 30]), framed()),
    ],
)  # fmt: skip
def test_a_picture_with_more_of_a_trait_has_the_larger_value(trait, much, little):
    values = checks.traits(np.stack([much, little]))[trait]
    assert values[0] > values[1]


def test_each_trait_is_one_number_for_each_picture():
    values = checks.traits(np.stack([noisy(20, seed) for seed in range(5)]))
    assert tuple(values) == checks.TRAITS
    assert all(v.shape == (5,) and np.isfinite(v).all() for v in values.values())


def test_rank_correlation_of_each_row():
    a = np.array([[1.0, 2, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4], [5, 5, 5, 5]])
    b = np.array([[2.0, 4, 8, 16], [4, 3, 2, 1], [1, 3, 2, 4], [1, 2, 3, 4]])
    assert checks.rank_correlation(a, b) == pytest.approx([1, -1, 0.8, 0])


def test_rank_correlation_of_maps_takes_all_places():
    maps = np.random.RandomState(0).normal(size=(2, 3, 4))
    assert checks.rank_correlation(maps, maps**3) == pytest.approx([1, 1])
