"""Checks for the exercises of notebook 08, and the same computations for its experiments."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np

from cnncourse.teaching.checking import call, exercise, expect_close, expect_returned


def gain_in_errors(a: float, b: float, n: int) -> float:
    """Difference of two shares of n cases each over its standard error, for independent samples."""
    return (b - a) / sqrt(a * (1 - a) / n + b * (1 - b) / n)


def crop(image: np.ndarray, top: int, left: int, P: int) -> np.ndarray:
    """The window of the image's own size at (top, left) of the image (C, H, W) with P zeros around it."""
    H, W = image.shape[1:]
    return np.pad(image, ((0, 0), (P, P), (P, P)))[:, top : top + H, left : left + W]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    return np.exp(-np.logaddexp(0, -x))


def swish(x: np.ndarray) -> np.ndarray:
    """x sigmoid(x): Ramachandran, Zoph and Le (2017); SiLU in torch."""
    return x * sigmoid(x)


def swish_slope(x: np.ndarray) -> np.ndarray:
    """Derivative of :func:`swish`."""
    s = sigmoid(x)
    return s + x * s * (1 - s)


def softmax(z: np.ndarray) -> np.ndarray:
    """Rows of positive numbers that add up to 1."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def push_through_relu(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Gradient with respect to z of the summed cross-entropy of ReLU(z) and the classes y; z has shape (N, K)."""
    return (softmax(np.maximum(z, 0)) - np.eye(z.shape[1])[y]) * (z > 0)


def decay_step(w: np.ndarray, gradient: np.ndarray, lr: float, weight_decay: float) -> np.ndarray:
    """One step of gradient descent with L2 regularisation, as torch's SGD makes it."""
    return w - lr * (gradient + weight_decay * w)


@exercise("standard_errors")
def standard_errors(solution: Callable) -> None:
    """Check ``standard_errors(a, b, n)``."""
    cases = [(0.62, 0.71, 400), (0.9, 0.85, 1000), (0.5, 0.5, 10)]
    got = [call(solution, *case) for case in cases]
    for value in got:
        expect_returned(value)

    def one(p, n):
        return p * (1 - p) / n

    def over(denominator):
        return [(b - a) / denominator(a, b, n) for a, b, n in cases]

    pooled = over(lambda a, b, n: sqrt(2 * one((a + b) / 2, n)))
    slips = [
        ("the sign is turned: a gain from a to b counts as positive.", [-gain_in_errors(*case) for case in cases]),
        ("the root is missing: p (1 - p) / n is a variance, the standard error is its root.",
         over(lambda a, b, n: one(a, n) + one(b, n))),
        ("this takes the uncertainty of one accuracy alone. Both are measured, so both variances count.",
         over(lambda a, b, n: sqrt(one(a, n)))),
        ("this takes the uncertainty of one accuracy alone. Both are measured, so both variances count.",
         over(lambda a, b, n: sqrt(one(b, n)))),
        ("the two standard errors are added up. Of independent numbers the variances add, and the root comes last.",
         over(lambda a, b, n: sqrt(one(a, n)) + sqrt(one(b, n)))),
        ("the variances are subtracted. A difference is less certain than either number: they add up.",
         over(lambda a, b, n: sqrt(abs(one(a, n) - one(b, n))) or 1)),
        ("n is missing: on more images an accuracy is more exact.",
         over(lambda a, b, n: sqrt(n * (one(a, n) + one(b, n))))),
        ("the difference is not divided by its standard error yet.", over(lambda a, b, n: 1)),
        ("this is the standard error of the difference. How many of them are in the difference?",
         [sqrt(one(a, n) + one(b, n)) for a, b, n in cases]),
        ("the two accuracies are pooled. That is a test in its own right; here each keeps its own variance.", pooled),
    ]  # fmt: skip
    expect_close(np.array([float(value) for value in got]), np.array([gain_in_errors(*c) for c in cases]), slips)


@exercise("shifted")
def shifted(solution: Callable) -> None:
    """Check ``shifted(image, top, left, P)``."""
    image = np.random.RandomState(8).randint(1, 256, size=(3, 6, 5)).astype(float)
    top, left, P = 4, 1, 2
    H, W = image.shape[1:]
    ways = ((0, 0), (P, P), (P, P))
    padded = np.pad(image, ways)

    def window(values, r, c, h=H, w=W):
        return values[:, r : r + h, c : c + w]

    expect_close(
        call(solution, image, top, left, P),
        crop(image, top, left, P),
        [
            ("top and left are swapped: top counts rows, the axis before the last.", window(padded, left, top)),
            ("the border repeats the image's edge. It should be black: zeros.",
             window(np.pad(image, ways, mode="edge"), top, left)),
            ("the border mirrors the image. It should be black: zeros.",
             window(np.pad(image, ways, mode="reflect"), top, left)),
            ("what leaves on one side comes back on the other. It should be lost, and black should come in.",
             np.roll(image, (P - top, P - left), axis=(1, 2))),
            ("the window is always the central one: top and left play no part.", image),
            ("top and left count from the corner of the padded image, not from the corner of the image in it.",
             window(padded, top + P, left + P)),
            ("the image moves to the wrong side: a window further down shows it further up.",
             window(padded, 2 * P - top, 2 * P - left)),
            ("the padded image comes back whole. Cut a window of the image's own size out of it.", padded),
            ("nothing is padded: at the edge the window is cut short.", window(image, top, left)),
            ("the window has lost P on each side: it is as large as the image was before padding.",
             window(padded, top, left, H - P, W - P)),
        ],
        what="the window",
    )  # fmt: skip
    expect_close(call(solution, image, P, P, P), image, what="the window in the middle (top = left = P)")


@exercise("swish_derivative")
def swish_derivative(solution: Callable) -> None:
    """Check ``swish_derivative(x)``."""
    x = np.array([[-6.0, -1.2785, -0.4], [0.0, 0.7, 5.0]])
    s = sigmoid(x)
    expect_close(
        call(solution, x),
        swish_slope(x),
        [
            ("this is Swish itself. Its derivative is asked for.", swish(x)),
            ("the product rule has two terms. The one with the derivative of the sigmoid is missing.", s),
            ("the product rule has two terms. The one with the derivative of x is missing.", x * s * (1 - s)),
            ("this is the derivative of the sigmoid. Swish is x times it: use the product rule.", s * (1 - s)),
            ("the factor x is missing in the second term.", s + s * (1 - s)),
            ("the derivative of the sigmoid is sigmoid times (1 - sigmoid); one factor is missing.", s + x * (1 - s)),
            ("the second term has the wrong sign.", s - x * s * (1 - s)),
            ("this is the derivative of ReLU, which Swish only comes close to far from 0.", (x > 0).astype(float)),
            ("the sigmoid has the wrong sign: exp(-x), not exp(x).", swish_slope(-x)),
        ],
        what="the derivative",
    )


@exercise("logit_gradient")
def logit_gradient(solution: Callable) -> None:
    """Check ``logit_gradient(z, y)``."""
    z = np.array([[2.0, -1.0, 0.5, -0.2], [-1.5, -0.3, -2.0, -0.1], [0.4, 1.1, 3.0, -4.0], [0.2, 0.1, -1.0, 0.3]])
    y = np.array([0, 2, 3, 1])
    onehot, open_, active = np.eye(4)[y], z > 0, np.maximum(z, 0)
    p = softmax(active)
    expect_close(
        call(solution, z, y),
        push_through_relu(z, y),
        [
            ("this is the gradient without the ReLU: the plain p - onehot of z.", softmax(z) - onehot),
            ("this is the gradient with respect to the logits. One step further back: through the ReLU to z.",
             p - onehot),
            ("the softmax sees z. It should see the logits, after the ReLU.", (softmax(z) - onehot) * open_),
            ("the sign is turned: it is p - onehot.", -(p - onehot) * open_),
            ("onehot is missing: the true class is pushed the other way.", p * open_),
            ("the gate is open where z is negative. ReLU lets through what is positive.", (p - onehot) * ~open_),
            ("the gradient is multiplied by the logits. The slope of ReLU is 1 or 0.", (p - onehot) * active),
            ("this is the mean over the images. Here each row is the gradient of its own image's loss.",
             push_through_relu(z, y) / len(z)),
            ("the logits of 0 are lost in the softmax: they count, with exp(0) = 1.",
             np.nan_to_num(np.exp(active) * open_ / (np.exp(active) * open_).sum(1, keepdims=True)) - onehot * open_),
        ],
        what="the gradient",
    )  # fmt: skip


@exercise("sgd_step")
def sgd_step(solution: Callable) -> None:
    """Check ``sgd_step(w, gradient, lr, weight_decay)``."""
    w, gradient, lr, wd = np.array([[2.0, -1.0], [0.0, 0.5]]), np.array([[0.3, 0.4], [-0.2, 0.0]]), 0.2, 0.1
    expect_close(
        call(solution, w, gradient, lr, wd),
        decay_step(w, gradient, lr, wd),
        [
            ("the weight decay is missing.", w - lr * gradient),
            ("the penalty drives the weights away from 0: it is added to the gradient.", w - lr * (gradient - wd * w)),
            ("the decay is not multiplied by the learning rate. It is part of the gradient, and so of the step.",
             w - lr * gradient - wd * w),
            ("the step goes uphill: subtract it.", w + lr * (gradient + wd * w)),
            ("each weight is drawn down by the same amount. The L2 penalty pulls in proportion to the weight.",
             w - lr * (gradient + wd * np.sign(w))),
            ("the gradient of weight_decay / 2 times w squared is weight_decay times w, without a factor 2.",
             w - lr * (gradient + 2 * wd * w)),
            ("that is the penalty itself, w squared. Its gradient is asked for.", w - lr * (gradient + wd / 2 * w**2)),
            ("that is the penalty itself, w squared. Its gradient is asked for.", w - lr * (gradient + wd * w**2)),
            ("the decay is missing a factor w: it depends on the weight.", w - lr * (gradient + wd)),
            ("this is the gradient with the penalty. One step with it is asked for.", gradient + wd * w),
            ("only the decay is left: the gradient is missing.", w - lr * wd * w),
        ],
        what="the new weights",
    )  # fmt: skip
