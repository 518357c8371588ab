"""Checks for the exercises of notebook 21, and the same computations for its experiments."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cnncourse.teaching.checking import CheckError, call, exercise, expect_close, expect_returned

GREY = np.array([0.299, 0.587, 0.114])
TRAITS = ("dark", "low contrast", "one colour", "blurred", "skin colours", "hardly stands out")


def laplacian_variance(grey: np.ndarray) -> np.ndarray:
    """Sharpness of grey pictures (..., H, W): variance of the Laplacian over inner pixels, Pertuz et al. (2013).

    Returns
    -------
    numpy.ndarray
        Shape (...).
    """
    inner = grey[..., 1:-1, 1:-1]
    around = grey[..., :-2, 1:-1] + grey[..., 2:, 1:-1] + grey[..., 1:-1, :-2] + grey[..., 1:-1, 2:]
    return (around - 4 * inner).var(axis=(-2, -1))


def skin_share(images: np.ndarray) -> np.ndarray:
    """Share of pixels of uint8 pictures (N, 3, H, W) that Kovač, Peer and Solina (2003) call skin in daylight."""
    R, G, B = images.astype(np.int16).transpose(1, 0, 2, 3)
    spread = np.maximum(np.maximum(R, G), B) - np.minimum(np.minimum(R, G), B)
    skin = (R > 95) & (G > 40) & (B > 20) & (spread > 15) & (np.abs(R - G) > 15) & (R > G) & (R > B)
    return skin.mean(axis=(1, 2))


def traits(images: np.ndarray) -> dict[str, np.ndarray]:
    """What can be measured of what makes a picture difficult, according to the report.

    Parameters
    ----------
    images : uint8 array of shape (N, 3, 64, 64)
        The animal is taken to be in the central 32x32 pixels.

    Returns
    -------
    dict of str to numpy.ndarray
        For each of `TRAITS` N numbers; the larger, the more of the trait: dark (mean grey of the centre), low contrast
        (standard deviation of its grey), one colour (spread of its colours, Hasler and Süsstrunk 2003), blurred
        (logarithm of the variance of the Laplacian), skin colours (share of the pixels), hardly stands out (distance
        between the mean colours of centre and border). All but one are negated.
    """
    X = images / 255
    centre = X[:, :, 16:48, 16:48]
    grey = np.tensordot(GREY, X, (0, 1))
    grey_centre = grey[:, 16:48, 16:48]
    R, G, B = centre.transpose(1, 0, 2, 3)
    rg, yb = R - G, (R + G) / 2 - B
    border = (X.sum((2, 3)) - centre.sum((2, 3))) / (64**2 - 32**2)
    values = (
        -grey_centre.mean((1, 2)),
        -grey_centre.std((1, 2)),
        -np.sqrt(rg.var((1, 2)) + yb.var((1, 2))),
        -np.log10(laplacian_variance(grey) + 1e-6),
        skin_share(images),
        -np.linalg.norm(centre.mean((2, 3)) - border, axis=1),
    )
    return dict(zip(TRAITS, values, strict=True))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each row of `a` with the same row of `b`; 0 where one of them is constant."""
    a, b = (np.reshape(x, (len(x), -1)) for x in (a, b))
    u, v = (x.argsort(1, kind="stable").argsort(1, kind="stable").astype(float) for x in (a, b))
    u, v = (x - x.mean(1, keepdims=True) for x in (u, v))
    correlation = (u * v).sum(1) / np.sqrt((u**2).sum(1) * (v**2).sum(1))
    return np.where((np.ptp(a, axis=1) == 0) | (np.ptp(b, axis=1) == 0), 0.0, correlation)


def random_group_p(values: np.ndarray, chosen: np.ndarray, groups: np.ndarray) -> float:
    """One-sided permutation p-value of the mean of a group: Phipson and Smyth (2010), equation 2."""
    larger = values[groups].mean(axis=1) >= values[chosen].mean() - 1e-12
    return float((larger.sum() + 1) / (len(groups) + 1))


@exercise("nearest_to_half")
def nearest_to_half(solution: Callable) -> None:
    """Check ``nearest_to_half(p, y, label, k)``."""
    p = np.array([0.05, 0.48, 0.91, 0.55, 0.30, 0.51, 0.62, 0.44, 0.99, 0.97])
    y = np.array([0, 1, 1, 0, 0, 1, 1, 0, 1, 0])
    for label, k in ((0, 3), (1, 2)):
        got = call(solution, p, y, label, k)
        expect_returned(got)
        array = np.asarray(got)
        of_class = np.flatnonzero(y == label)
        distance = np.abs(p - 0.5)
        right = of_class[distance[of_class].argsort(kind="stable")][:k]
        if array.shape == right.shape and np.array_equal(array, right):
            continue
        wrong = np.flatnonzero((y == label) & ((p > 0.5) != y))
        everywhere = distance.argsort(kind="stable")
        predicted = np.flatnonzero((p > 0.5) == label)
        slips = [
            ("these are positions among the pictures of the class. Return positions in the whole array.",
             distance[of_class].argsort(kind="stable")[:k]),
            ("the class is not looked at: choose among the pictures of the true class only.", everywhere[:k]),
            ("these are the pictures that are furthest from 0.5.", of_class[(-distance[of_class]).argsort()][:k]),
            ("the order is upside down: the nearest comes first.", right[::-1]),
            ("only wrong predictions are looked at. A picture that was just about recognised is confusing, too.",
             wrong[distance[wrong].argsort()][:k]),
            ("these are the pictures *predicted* as that class. The true class counts.",
             predicted[distance[predicted].argsort()][:k]),
            ("the distance has a sign: a probability far below 0.5 counts as near. Take its absolute value.",
             of_class[(p - 0.5)[of_class].argsort()][:k]),
            ("all pictures of the class come back; k of them are asked for.", of_class[distance[of_class].argsort()]),
        ]  # fmt: skip
        for message, slip in slips:
            if array.shape == slip.shape and np.array_equal(array, slip):
                raise CheckError(message)
        if array.dtype.kind == "f":
            raise CheckError("these are probabilities or distances. Return the positions of the pictures, as integers.")
        if array.shape != right.shape:
            raise CheckError(f"you return an array of shape {array.shape}; {k} positions are asked for.")
        raise CheckError(f"for class {label} and k = {k} you return {array.tolist()}, which are not the {k} nearest.")


@exercise("sharpness")
def sharpness(solution: Callable) -> None:
    """Check ``sharpness(grey)``."""
    grey = np.random.RandomState(1).uniform(0, 1, (6, 7))
    inner = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    diagonal = grey[:-2, :-2] + grey[:-2, 2:] + grey[2:, :-2] + grey[2:, 2:]
    laplacian = around - 4 * inner
    padded = np.pad(grey, 1)
    with_border = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * grey
    expect_close(
        call(solution, grey),
        laplacian_variance(grey),
        [
            ("this is the standard deviation; the variance is its square.", laplacian.std()),
            ("the mean of the squares is the variance only where the mean is 0. Use the variance.",
             (laplacian**2).mean()),
            ("this is a mean, not a variance: bright and dark edges cancel.", laplacian.mean()),
            ("this is the mean of the absolute values. Take the variance.", np.abs(laplacian).mean()),
            ("the border is included, where neighbours are missing. Use inner pixels only.", with_border.var()),
            ("the pixel itself is missing: subtract four times its value.", around.var()),
            ("the pixel itself is subtracted once. It has four neighbours, so it counts four times.",
             (around - inner).var()),
            ("these are all eight neighbours. The Laplacian here uses four: above, below, left, right.",
             (around + diagonal - 8 * inner).var()),
            ("the Laplacian itself comes back. Its variance over all inner pixels is asked for.", laplacian),
            ("this is the variance of the picture. Take that of its Laplacian.", grey.var()),
            ("the variance divides by n - 1. Here it is the mean of the squared deviations, by n.",
             laplacian.var(ddof=1)),
        ],
        what="the sharpness",
    )  # fmt: skip


@exercise("p_value")
def p_value(solution: Callable) -> None:
    """Check ``p_value(values, chosen, groups)``."""
    rng = np.random.RandomState(5)
    values = rng.normal(size=40)
    chosen = values.argsort()[[20, 26, 30, 35, 38]]
    groups = np.stack([rng.choice(40, 5, replace=False) for _ in range(59)])
    groups[7] = chosen[::-1]  # a group that is just as large counts
    m, mean, means = len(groups), values[chosen].mean(), values[groups].mean(1)
    larger = int((means >= mean - 1e-12).sum())
    expect_close(
        call(solution, values, chosen, groups),
        random_group_p(values, chosen, groups),
        [
            ("the chosen group itself is missing: it counts once above and once below the line. Otherwise p can be 0.",
             larger / m),
            ("the chosen group counts above the line, but not below: there are m + 1 groups.", (larger + 1) / m),
            ("the chosen group counts below the line, but not above.", larger / (m + 1)),
            ("groups that are just as large count, too: >= in place of >.", larger / (m + 1)),
            ("these are the groups with a *smaller* mean.", (int((means <= mean + 1e-12).sum()) + 1) / (m + 1)),
            ("both directions are counted. The question has one: as large or larger.",
             (int((np.abs(means - values.mean()) >= abs(mean - values.mean()) - 1e-12).sum()) + 1) / (m + 1)),
            ("this is a number of groups. Divide by how many there are.", larger + 1),
            ("this is the mean of the chosen group. How many random groups reach it?", mean),
            ("single pictures are compared. Compare means of groups with the mean of the chosen group.",
             (int((values >= mean).sum()) + 1) / (len(values) + 1)),
        ],
        what="the p-value",
        atol=1e-6,
    )  # fmt: skip


@exercise("to_colours")
def to_colours(solution: Callable) -> None:
    """Check ``to_colours(kernels)``."""
    kernels = np.random.RandomState(2).normal(size=(4, 3, 3, 3)) * np.array([0.1, 1.0, 0.5, 2.0])[:, None, None, None]

    def scaled(axis, x=kernels):
        low, high = x.min(axis, keepdims=True), x.max(axis, keepdims=True)
        return (x - low) / (high - low)

    def last(x):
        return x.transpose(0, 2, 3, 1)

    right = last(scaled((1, 2, 3)))
    limit = np.abs(kernels).max((1, 2, 3), keepdims=True)
    expect_close(
        call(solution, kernels),
        right,
        [
            ("the channels are still in front. A picture has them last: transpose.", scaled((1, 2, 3))),
            ("the axes are only relabelled: reshape mixes up the weights. Transpose.",
             scaled((1, 2, 3)).reshape(right.shape)),
            ("each colour of a kernel has a scale of its own, which changes its hue. Scale its three channels "
             "together.", last(scaled((2, 3)))),
            ("all kernels share one scale: the weak ones come out grey. Scale each by itself.", last(scaled(None))),
            ("nothing is scaled.", last(kernels)),
            ("negative weights are all cut off: that is what the drawing program does, too. Shift and scale instead.",
             last(np.clip(kernels, 0, 1))),
            ("signs are lost: a weight of -1 and one of +1 look the same.", last(np.abs(kernels) / limit)),
            ("the smallest weight of each kernel should become 0 and the largest 1; here 0 becomes 0.5.",
             last((kernels / limit + 1) / 2)),
            ("the smallest weight becomes 0, but the largest does not become 1.",
             last(kernels - kernels.min((1, 2, 3), keepdims=True))),
            ("height and width are exchanged.", right.transpose(0, 2, 1, 3)),
        ],
        what="the pictures",
    )  # fmt: skip


def cam(A: np.ndarray, G: np.ndarray) -> np.ndarray:
    """Grad-CAM of maps A (C, H, W) with gradients G: Selvaraju et al. (2017), equations 1 and 2."""
    return np.maximum(np.einsum("c,chw->hw", G.mean((1, 2)), A), 0)


@exercise("grad_cam")
def grad_cam(solution: Callable) -> None:
    """Check ``grad_cam(A, G)``."""
    rng = np.random.RandomState(4)
    A, G = rng.normal(size=(5, 4, 3)), rng.normal(size=(5, 4, 3)) + rng.normal(size=(5, 1, 1))
    weights = G.mean((1, 2))
    plain = np.tensordot(weights, A, 1)
    expect_close(
        call(solution, A, G),
        cam(A, G),
        [
            ("what speaks against the class is still in it: negative values become 0.", plain),
            ("gradients are multiplied place by place. Average each channel's gradient over all places first.",
             np.maximum((A * G).sum(0), 0)),
            ("the gradients are summed over the places. Their mean is the channel's weight.",
             np.maximum(np.tensordot(G.sum((1, 2)), A, 1), 0)),
            ("the channels are averaged. Add them up.", np.maximum(plain / len(A), 0)),
            ("negative weights are dropped. Cut off the sum, not its parts.",
             np.tensordot(np.maximum(weights, 0), A, 1)),
            ("each channel's share is cut off by itself. Add up first, then cut.",
             np.maximum(weights[:, None, None] * A, 0).sum(0)),
            ("maps and gradients are exchanged: weights come from the gradients.",
             np.maximum(np.tensordot(A.mean((1, 2)), G, 1), 0)),
            ("this is the sum of the maps. The gradients are not used.", A.sum(0)),
            ("signs are lost. What speaks against the class becomes 0, not positive.", np.abs(plain)),
            ("the channels are still apart: add them up.", np.maximum(weights[:, None, None] * A, 0)),
        ],
        what="the map",
    )  # fmt: skip
