"""Checks for the exercises of notebook 17, and the same computations for its experiments."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cnncourse.teaching.checking import CheckError, call, exercise, expect_close, expect_returned

AXES = (0, 2, 3)  # of images (N, C, H, W): all but the channels


def across(v: np.ndarray) -> np.ndarray:
    """One number for each channel, shape (C,), as it fits to images (N, C, H, W)."""
    return np.asarray(v)[:, None, None]


def normalised(x, gamma, beta, mean, var, eps) -> np.ndarray:
    """gamma (x - mean) / sqrt(var + eps) + beta, channel by channel."""
    return across(gamma) * (x - across(mean)) / np.sqrt(across(var) + eps) + across(beta)


def batch_norm(x, gamma, beta, running_mean, running_var, training, eps=1e-5, momentum=0.1):
    """Batch normalisation of x (N, C, H, W) as ``torch.nn.BatchNorm2d`` does it.

    Returns
    -------
    tuple of three arrays
        The output, and the running mean and variance (C,) after it: Ioffe and Szegedy (2015), algorithms 1 and 2, with
        running averages in place of the means over many batches.
    """
    if not training:
        return normalised(x, gamma, beta, running_mean, running_var, eps), running_mean, running_var
    mean, var = x.mean(AXES), x.var(AXES)
    n = x.size // x.shape[1]
    new_mean = (1 - momentum) * running_mean + momentum * mean
    new_var = (1 - momentum) * running_var + momentum * var * n / (n - 1)
    return normalised(x, gamma, beta, mean, var, eps), new_mean, new_var


def batch_norm_gradients(dy, x, gamma, eps=1e-5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients for x, gamma and beta in train mode from dy (N, C, H, W): Ioffe and Szegedy (2015), section 3."""
    spread = np.sqrt(x.var(AXES) + eps)
    x_hat = (x - across(x.mean(AXES))) / across(spread)
    centred = dy - across(dy.mean(AXES))
    dx = across(gamma / spread) * (centred - x_hat * across((dy * x_hat).mean(AXES)))
    return dx, (dy * x_hat).sum(AXES), dy.sum(AXES)


def folded(weight, bias, gamma, beta, mean, var, eps=1e-5) -> tuple[np.ndarray, np.ndarray]:
    """Weights (C_out, C_in, k, k) and bias of a convolution that does the work of the batch normalisation behind it."""
    scale = gamma / np.sqrt(var + eps)
    return weight * scale[:, None, None, None], (bias - mean) * scale + beta


def attenuation(L: int, fan_in: int, variance: float) -> float:
    """Factor of the root mean square after L layers with ReLU: He et al. (2015), section 2.2, without the biases."""
    return float((fan_in * variance / 2) ** (L / 2))


def ratio_and_cosine(before, after, gradient) -> tuple[float, float]:
    """Length of a step over that of the weights, and the cosine of its angle with the downhill direction.

    The cosine is 0 where step or gradient are.
    """
    step = after - before
    length, slope = np.linalg.norm(step), np.linalg.norm(gradient)
    cosine = -float(np.sum(step * gradient)) / (length * slope) if length * slope > 0 else 0.0
    return float(length / np.linalg.norm(before)), cosine


def _three(got: object, what: str) -> None:
    expect_returned(got)
    if not isinstance(got, (tuple, list)) or len(got) != 3:
        raise CheckError(f"three arrays are asked for: {what}.")


def _images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.RandomState(17)
    x = rng.normal(1, 2, size=(4, 3, 2, 3)) * across([1.0, 3.0, 0.3])
    return x, np.array([1.5, -0.5, 2.0]), np.array([0.2, 1.0, -0.7])


@exercise("bn_forward")
def bn_forward(solution: Callable) -> None:
    """Check ``bn_forward(x, gamma, beta, running_mean, running_var, training, eps, momentum)``."""
    x, gamma, beta = _images()
    mean, var, n = x.mean(AXES), x.var(AXES), x.size // 3
    old_mean, old_var = np.array([0.5, -1.0, 2.0]), np.array([1.0, 4.0, 0.25])
    eps, momentum = 1e-2, 0.2
    ones, zeros = np.ones(3), np.zeros(3)
    right, new_mean, new_var = batch_norm(x, gamma, beta, old_mean, old_var, True, eps, momentum)
    got = call(solution, x, gamma, beta, old_mean, old_var, True, eps, momentum)
    _three(got, "the output, the running mean and the running variance")
    per_pixel = across(gamma) * (x - x.mean(0)) / np.sqrt(x.var(0) + eps) + across(beta)
    per_image = (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + eps)
    expect_close(
        got[0],
        right,
        [
            ("training: gamma and beta are missing.", normalised(x, ones, zeros, mean, var, eps)),
            ("training: beta is missing.", normalised(x, gamma, zeros, mean, var, eps)),
            ("training: gamma is missing.", normalised(x, ones, beta, mean, var, eps)),
            ("training: divide by the root of the variance.",
             across(gamma) * (x - across(mean)) / (across(var) + eps) + across(beta)),
            ("training: eps belongs under the root.",
             across(gamma) * (x - across(mean)) / (np.sqrt(across(var)) + eps) + across(beta)),
            ("training: eps is missing.", normalised(x, gamma, beta, mean, var, 0)),
            ("training: here the variance divides by n - 1. That is for the running one; this one divides by n.",
             normalised(x, gamma, beta, mean, var * n / (n - 1), eps)),
            ("training: the running statistics normalise. In training those of the batch do.",
             normalised(x, gamma, beta, old_mean, old_var, eps)),
            ("training: the new running statistics normalise. In training those of the batch do.",
             normalised(x, gamma, beta, new_mean, new_var, eps)),
            ("training: each pixel is normalised by itself. A channel's pixels belong together.", per_pixel),
            ("training: each image is normalised by itself. The mean is over the images, too.",
             across(gamma) * per_image + across(beta)),
            ("training: all channels are normalised together. Each has its own mean and variance.",
             across(gamma) * (x - x.mean()) / np.sqrt(x.var() + eps) + across(beta)),
        ],
        what="training: the output",
    )  # fmt: skip
    expect_close(
        got[1],
        new_mean,
        [
            ("the running mean has come back as it was.", old_mean),
            ("the running mean is that of this batch alone. It moves a part of the way, momentum.", mean),
            ("the running mean: momentum is the weight of the new value, not of the old one.",
             momentum * old_mean + (1 - momentum) * mean),
            ("the running mean: what was there before has to shrink by the factor 1 - momentum.",
             old_mean + momentum * mean),
            ("the second array is the running variance. The running mean comes first.", new_var),
        ],
        what="the running mean",
    )  # fmt: skip
    expect_close(
        got[2],
        new_var,
        [
            ("the running variance has come back as it was.", old_var),
            ("the running variance: the batch's variance goes in divided by n - 1, to be right on average.",
             (1 - momentum) * old_var + momentum * var),
            ("the running variance is that of this batch alone.", var * n / (n - 1)),
            ("the running variance is that of this batch alone.", var),
            ("the running variance: momentum is the weight of the new value, not of the old one.",
             momentum * old_var + (1 - momentum) * var * n / (n - 1)),
            ("the running variance: momentum is the weight of the new value, not of the old one.",
             momentum * old_var + (1 - momentum) * var),
            ("the running variance: n is the number of values of a channel, N H W, not the batch size.",
             (1 - momentum) * old_var + momentum * var * len(x) / (len(x) - 1)),
            ("the running variance: it is a variance that is averaged, not a standard deviation.",
             (1 - momentum) * old_var + momentum * np.sqrt(var)),
        ],
        what="the running variance",
    )  # fmt: skip
    got = call(solution, x, gamma, beta, old_mean, old_var, False, eps, momentum)
    _three(got, "the output, the running mean and the running variance")
    expect_close(
        got[0],
        normalised(x, gamma, beta, old_mean, old_var, eps),
        [
            ("evaluation: the batch's own statistics normalise. There the running ones do.", right),
            ("evaluation: the running statistics are moved first. They normalise as they are.",
             normalised(x, gamma, beta, new_mean, new_var, eps)),
            ("evaluation: gamma and beta are missing.", normalised(x, ones, zeros, old_mean, old_var, eps)),
            ("evaluation: x comes back as it is. It is normalised there, too.", x),
        ],
        what="evaluation: the output",
    )  # fmt: skip
    for k, (old, new) in enumerate([(old_mean, new_mean), (old_var, new_var)], start=1):
        message = "evaluation: the running statistics have moved. Only training moves them."
        expect_close(got[k], old, [(message, new)], what="evaluation: the running statistics")


@exercise("bn_backward")
def bn_backward(solution: Callable) -> None:
    """Check ``bn_backward(dy, x, gamma, eps)``."""
    x, gamma, _ = _images()
    eps = 1e-2
    dy = np.random.RandomState(71).normal(0.5, 1, size=x.shape)
    dx, dgamma, dbeta = batch_norm_gradients(dy, x, gamma, eps)
    n = x.size // 3
    spread = np.sqrt(x.var(AXES) + eps)
    x_hat = (x - across(x.mean(AXES))) / across(spread)
    got = call(solution, dy, x, gamma, eps)
    _three(got, "the gradients for x, gamma and beta")
    scale = across(gamma / spread)
    expect_close(
        got[2],
        dbeta,
        [
            ("the gradient for beta is a mean. beta reaches every value of its channel: add them up.", dbeta / n),
            ("the third gradient is that of gamma. The order is x, gamma, beta.", dgamma),
            ("the gradient for beta: add up over images and pixels.", dy.sum(0)),
            ("the gradient for beta: one for each channel, so the channels are not added up.", dy.sum()),
        ],
        what="the gradient for beta",
    )
    expect_close(
        got[1],
        dgamma,
        [
            ("the gradient for gamma is a mean. Add up over the values of the channel.", dgamma / n),
            ("the gradient for gamma: gamma multiplies the normalised x, not x.", (dy * x).sum(AXES)),
            ("the gradient for gamma has the factor gamma. y is linear in it.", dgamma * gamma),
            ("the gradient for gamma: x is centred, but not divided by its spread.", dgamma * spread),
            ("the gradient for gamma is that of beta: dy meets the normalised x first.", dbeta),
        ],
        what="the gradient for gamma",
    )
    projected = x_hat * across((dy * x_hat).mean(AXES))
    expect_close(
        got[0],
        dx,
        [
            ("dx: mean and variance are taken for constants. They depend on every x of the channel.", scale * dy),
            ("dx: the way through the variance is missing.", scale * (dy - across(dy.mean(AXES)))),
            ("dx: the way through the mean is missing.", scale * (dy - projected)),
            ("dx: sums are subtracted where means belong (divide by n).",
             scale * (dy - across(dbeta) - x_hat * across(dgamma))),
            ("dx: gamma is missing.", dx / across(gamma)),
            ("dx: not divided by the spread, the root of variance plus eps.", dx * across(spread)),
            ("dx: divided by the variance; its root belongs there.", dx / across(spread)),
            ("dx: the two corrections are added. They are subtracted.",
             scale * (dy + across(dy.mean(AXES)) + projected)),
            ("dx: means over the images alone. Mean and variance are over the pixels, too.",
             scale * (dy - dy.mean(0) - x_hat * (dy * x_hat).mean(0))),
            ("dx: turned around.", -dx),
        ],
        what="the gradient for x",
    )  # fmt: skip


@exercise("fold")
def fold(solution: Callable) -> None:
    """Check ``fold(weight, bias, gamma, beta, mean, var, eps)``."""
    rng = np.random.RandomState(5)
    weight, bias = rng.normal(size=(3, 3, 3, 3)), np.array([0.4, -1.0, 2.0])
    _, gamma, beta = _images()
    mean, var, eps = np.array([0.5, -1.0, 2.5]), np.array([1.0, 4.0, 0.25]), 1e-2
    scale = gamma / np.sqrt(var + eps)
    right = folded(weight, bias, gamma, beta, mean, var, eps)
    got = call(solution, weight, bias, gamma, beta, mean, var, eps)
    expect_returned(got)
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise CheckError("two arrays are asked for: the weights and the bias of the new convolution.")
    by_variance = gamma / (var + eps)
    expect_close(
        got[0],
        right[0],
        [
            ("the weights are as they were. Each output channel is multiplied by its factor.", weight),
            ("the weights: the factor goes with the output channel, the first axis, not with the input channel.",
             weight * scale[None, :, None, None]),
            ("the weights: the factor goes with the output channel, the first axis, not with the last.",
             weight * scale),
            ("the weights are divided by the variance. Take its root.",
             weight * by_variance[:, None, None, None]),
            ("the weights: gamma is missing.", weight / np.sqrt(var + eps)[:, None, None, None]),
            ("the weights are multiplied by gamma alone.", weight * gamma[:, None, None, None]),
            ("the weights: eps is missing.", weight * (gamma / np.sqrt(var))[:, None, None, None]),
            ("the weights: beta is a shift, and belongs to the bias alone.",
             right[0] + beta[:, None, None, None]),
        ],
        what="the weights",
    )  # fmt: skip
    expect_close(
        got[1],
        right[1],
        [
            ("the bias is as it was.", bias),
            ("the bias: the old one is normalised, too: the mean is subtracted from it, then it is scaled.",
             bias - mean * scale + beta),
            ("the bias: the old one is forgotten.", beta - mean * scale),
            ("the bias: the mean is not subtracted.", bias * scale + beta),
            ("the bias: beta is missing.", (bias - mean) * scale),
            ("the bias: beta is added before the scaling.", (bias - mean + beta) * scale),
            ("the bias: the mean is added.", (bias + mean) * scale + beta),
            ("the bias: divided by the variance. Take its root.", (bias - mean) * by_variance + beta),
            ("the bias: eps is missing.", (bias - mean) * gamma / np.sqrt(var) + beta),
        ],
        what="the bias",
    )  # fmt: skip


@exercise("signal_after")
def signal_after(solution: Callable) -> None:
    """Check ``signal_after(L, fan_in, variance)``."""
    for L, n, v in ((4, 50, 0.01), (7, 12, 0.3), (1, 27, 1 / 81)):
        got = call(solution, L, n, v)
        right = attenuation(L, n, v)
        slips = [
            ("this is the mean square. The root mean square is its root.", right**2),
            ("ReLU is missing: it sets half of the mean square to 0.", (n * v) ** (L / 2)),
            ("half of the mean square is lost, not half of its root.", ((n * v) ** 0.5 / 2) ** L),
            ("ReLU is missing, and so is the root.", (n * v) ** L),
            ("this is one layer. Each of the L multiplies.", (n * v / 2) ** 0.5),
            ("L factors multiply; they do not add up.", L * (n * v / 2) ** 0.5),
            ("variance is a variance already: do not square it.", (n * v**2 / 2) ** (L / 2)),
            ("a unit adds up fan_in products: their number is missing.", (v / 2) ** (L / 2)),
            ("it is turned around.", 1 / right if right else np.inf),
            ("the signal doubles at each ReLU. It is halved.", (2 * n * v) ** (L / 2)),
        ]
        expect_close(got, right, slips, what=f"the factor for L = {L}, fan_in = {n}, variance = {v:.4g}")


@exercise("step_measures")
def step_measures(solution: Callable) -> None:
    """Check ``step_measures(before, after, gradient)``."""
    rng = np.random.RandomState(9)
    before, gradient = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    after = before - 0.03 * np.sign(gradient) + 0.01 * rng.normal(size=(4, 3))
    step = after - before
    length, slope = np.linalg.norm(step), np.linalg.norm(gradient)
    ratio, cosine = ratio_and_cosine(before, after, gradient)
    got = call(solution, before, after, gradient)
    expect_returned(got)
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise CheckError("two numbers are asked for: the ratio and the cosine.")
    expect_close(
        got[0],
        ratio,
        [
            ("the ratio is the length of the step alone. Divide by the length of the weights.", length),
            ("the ratio is the wrong way around.", 1 / ratio),
            ("the ratio is squared: a length is the root of the sum of squares.", ratio**2),
            ("the ratio: divide by the weights before the step.", length / np.linalg.norm(after)),
            ("the ratio: the step is compared with the gradient. Compare it with the weights.", length / slope),
            ("the ratio: the sizes of the entries are added up. A length adds up squares.",
             np.abs(step).sum() / np.abs(before).sum()),
            ("the ratio is a mean over the entries. Take two lengths first.", np.abs(step / before).mean()),
            ("the ratio is that of the weights after and before. The step is their difference.",
             np.linalg.norm(after) / np.linalg.norm(before)),
            ("the ratio: a difference of lengths is not the length of the difference.",
             np.linalg.norm(after) - np.linalg.norm(before)),
            ("the first number is the cosine. The ratio comes first.", cosine),
        ],
        what="the ratio",
    )  # fmt: skip
    dot = float((step * gradient).sum())
    expect_close(
        got[1],
        cosine,
        [
            ("the cosine has the other sign. Downhill is minus the gradient.", -cosine),
            ("the cosine: the products are not divided by both lengths.", -dot),
            ("the cosine: the products are not divided by both lengths.", dot),
            ("the cosine: divide by the length of the step, too.", -dot / slope),
            ("the cosine: divide by the length of the gradient, too.", -dot / length),
            ("the cosine is that of the weights. Take the step.",
             -float((before * gradient).sum()) / (np.linalg.norm(before) * slope)),
            ("the cosine is that of the weights after the step. Take the step.",
             -float((after * gradient).sum()) / (np.linalg.norm(after) * slope)),
            ("this is the angle; its cosine is asked for.", float(np.arccos(cosine))),
        ],
        what="the cosine",
    )  # fmt: skip
