"""Checks for the exercises of notebook 12, and the same computations for its experiments."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cnncourse.teaching.checking import CheckError, call, exercise, expect_close, expect_returned

LOSSES = ("MSE", "SmoothL1", "BCE", "cross-entropy")


def chance_losses(K: int) -> list[float]:
    """Losses of a predictor that gives 1/K to each of K classes, in the order of ``LOSSES``."""
    p = 1 / K
    square = (1 - p) ** 2 + (K - 1) * p**2
    return [square / K, square / K / 2, -(np.log(p) + (K - 1) * np.log(1 - p)) / K, float(np.log(K))]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) without overflow."""
    return 0.5 * (1 + np.tanh(np.asarray(x) / 2))


def softmax(z: np.ndarray) -> np.ndarray:
    """Row-wise softmax of logits (N, K)."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def derivatives(z: np.ndarray, Y: np.ndarray) -> list[np.ndarray]:
    """Gradients of the four losses of logits z and one-hot Y, both (N, K), in the order of ``LOSSES``."""
    N, K = z.shape
    return [2 * (z - Y) / (N * K), np.clip(z - Y, -1, 1) / (N * K), (sigmoid(z) - Y) / (N * K), (softmax(z) - Y) / N]


SLOPES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: (x > 0).astype(float),
    "leaky_relu": lambda x: np.where(x > 0, 1.0, 0.01),
    "tanh": lambda x: 1 - np.tanh(x) ** 2,
    "sigmoid": lambda x: sigmoid(x) * (1 - sigmoid(x)),
    "softplus": sigmoid,
}


def joint_norm(gradients: Sequence[np.ndarray]) -> float:
    """L2 norm of all entries of several arrays together."""
    return float(np.sqrt(sum(float((g**2).sum()) for g in gradients)))


def unsteadiness(values: Sequence[float]) -> float:
    """Standard deviation of the changes from each value to the next."""
    return float(np.std(np.diff(values)))


def adagrad(w, g, s, lr, eps) -> tuple[np.ndarray, np.ndarray]:
    """Weights and sum of squares after a step: Duchi, Hazan and Singer (2011), with the diagonal matrix."""
    s = s + g**2
    return w - lr * g / (np.sqrt(s) + eps), s


@exercise("constant_losses")
def constant_losses(solution: Callable) -> None:
    """Check ``constant_losses(K)``."""
    for K in (10, 4):
        p = 1 / K
        square, right = (1 - p) ** 2 + (K - 1) * p**2, chance_losses(K)
        got = call(solution, K)
        expect_returned(got)
        numbers = np.asarray(got, dtype=float)
        if numbers.shape != (4,):
            raise CheckError(f"four numbers are asked for, in the order {', '.join(LOSSES)}; yours has {numbers.size}.")
        slips = {
            "MSE": [
                ("the sum over the outputs. It is the mean over all K of them.", square),
                ("the output of the right class alone. The other K - 1 outputs are off by 1/K each.", (1 - p) ** 2 / K),
                ("one squared difference. Take the mean over the K outputs.", (1 - p) ** 2),
                ("what an output of 0 for each class costs. The predictor says 1/K.", 1 / K),
                ("a root too many: the squares are averaged, and that is all.", np.sqrt(right[0])),
            ],
            "SmoothL1": [
                ("the half is missing: below a difference of 1 it is d² / 2.", square / K),
                ("the sum over the outputs. It is the mean over all K of them.", square / 2),
                ("absolute differences: all are below 1, where the loss is d² / 2.", 2 * (K - 1) * p / K),
                ("the branch for large differences, |d| - 1/2. All differences are below 1.",
                 ((1 - p - 0.5) + (K - 1) * (p - 0.5)) / K),
            ],
            "BCE": [
                ("the sum over the outputs. It is the mean over all K of them.", right[2] * K),
                ("the right class alone. The other outputs have the target 0: each costs -ln(1 - 1/K).",
                 -np.log(p) / K),
                ("the sigmoid of 1/K. Here 1/K is the probability, as it comes out of the sigmoid.",
                 float(-(np.log(sigmoid(p)) + (K - 1) * np.log(1 - sigmoid(p))) / K)),
                ("a coin toss for each output, ln 2. The predictor gives 1/K.", np.log(2)),
                ("the sign: ln of a probability is negative, and a loss is not.", -right[2]),
            ],
            "cross-entropy": [
                ("divided by K. It counts the right class alone, and there is one of these for each image.",
                 np.log(K) / K),
                ("the binary one. This one counts the right class alone.", right[2]),
                ("the sign: ln of a probability is negative, and a loss is not.", -np.log(K)),
                ("another base than e.", np.log2(K)),
                ("another base than e.", np.log10(K)),
            ],
        }  # fmt: skip
        for loss, value, expected in zip(LOSSES, numbers, right, strict=True):
            if np.isclose(value, expected, rtol=1e-6):
                continue
            for message, slip in slips[loss]:
                if np.isclose(value, slip, rtol=1e-6):
                    raise CheckError(f"K = {K}, {loss}: this is {message}")
            if any(np.isclose(value, other) for other in right):
                raise CheckError(f"K = {K}: the order is {', '.join(LOSSES)}.")
            raise CheckError(f"K = {K}: your {loss} is {value:.6g}, but {expected:.6g} is right.")


@exercise("loss_gradients")
def loss_gradients(solution: Callable) -> None:
    """Check ``loss_gradients(z, Y)``."""
    z = np.array([[2.5, -0.4, 0.3, -2.0], [0.1, 0.2, -1.6, 0.9], [-0.7, 3.0, 0.4, 0.0]])
    Y = np.eye(4)[[0, 3, 2]]
    N, K = z.shape
    got = call(solution, z, Y)
    expect_returned(got)
    if len(got) != 4:
        raise CheckError(f"four gradients are asked for, in the order {', '.join(LOSSES)}; you return {len(got)}.")
    right = derivatives(z, Y)
    d = z - Y
    own = [
        [("the factor 2 of the derivative of a square is missing.", d / (N * K)),
         ("the probabilities of a softmax. MSE compares the logits themselves.", 2 * (softmax(z) - Y) / (N * K))],
        [("not cut off: beyond a difference of 1 its slope stays 1 or -1.", d / (N * K)),
         ("the sign alone. Below a difference of 1 the slope is the difference itself.", np.sign(d) / (N * K)),
         ("cut off at 0 and 1. Negative differences have negative slopes.", np.clip(d, 0, 1) / (N * K))],
        [("the logits instead of their sigmoid.", d / (N * K)),
         ("the softmax. Here each output has a sigmoid of its own.", (softmax(z) - Y) / (N * K)),
         ("multiplied by the slope of the sigmoid. It cancels against the logarithm's 1/p and 1/(1 - p).",
          (sigmoid(z) - Y) * sigmoid(z) * (1 - sigmoid(z)) / (N * K))],
        [("divided by K, too. Cross-entropy is a mean over the N images only.", right[3] / K),
         ("the logits instead of their softmax.", d / N),
         ("the sigmoid. Cross-entropy goes with a softmax over the classes.", (sigmoid(z) - Y) / N)],
    ]  # fmt: skip
    for loss, value, expected, slips in zip(LOSSES, got, right, own, strict=True):
        common = [
            ("turned around: the loss falls where this points.", -expected),
            ("divided by N alone. The mean is over all N K outputs.", expected * K),
            ("not divided: the loss is a mean.", expected * N * K if loss != LOSSES[3] else expected * N),
            ("divided by K alone.", expected * N if loss != LOSSES[3] else expected * N / K),
        ]
        expect_close(value, expected, [(f"{loss}: this is {m}", s) for m, s in (*slips, *common)], what=loss)


@exercise("slope")
def slope(solution: Callable) -> None:
    """Check ``slope(name, x)``."""
    x = np.array([-30.0, -2.5, -0.5, 0.25, 1.0, 4.0, 30.0])
    values = {
        "relu": np.maximum(x, 0),
        "leaky_relu": np.where(x > 0, x, 0.01 * x),
        "tanh": np.tanh(x),
        "sigmoid": sigmoid(x),
        "softplus": np.logaddexp(0, x),
    }
    s, t = sigmoid(x), np.tanh(x)
    slips = {
        "relu": [("1 everywhere. Below 0 the function is flat.", np.ones_like(x)),
                 ("turned around: it is flat below 0.", (x < 0).astype(float))],
        "leaky_relu": [("that of relu. Below 0 it is 0.01.", (x > 0).astype(float)),
                       ("-0.01 below 0. The line rises there, too.", np.where(x > 0, 1, -0.01)),
                       ("1 everywhere. Below 0 it is 0.01.", np.ones_like(x))],
        "tanh": [("1 - tanh. It is the square that is subtracted.", 1 - t),
                 ("tanh (1 - tanh), which is the pattern of sigmoid.", t * (1 - t)),
                 ("that of sigmoid.", s * (1 - s)),
                 ("the wrong way around: 1 - tanh².", t**2 - 1)],
        "sigmoid": [("1 - sigmoid. It is multiplied by sigmoid.", 1 - s),
                    ("1 - sigmoid², which is the pattern of tanh.", 1 - s**2),
                    ("x (1 - x). It is the sigmoid of x that goes in there.", x * (1 - x)),
                    ("negative: the sigmoid rises everywhere.", -s * (1 - s))],
        "softplus": [("that of sigmoid. Differentiate ln(1 + exp(x)) once.", s * (1 - s)),
                     ("1 / (1 + exp(x)). The inner derivative exp(x) is missing.", 1 - s),
                     ("that of relu, from which softplus differs near 0.", (x > 0).astype(float))],
    }  # fmt: skip
    for name, right in SLOPES.items():
        got = call(solution, name, x)
        named = [(f"{name}: this is the function. Its slope is asked for.", values[name])]
        named += [(f"{name}: this slope is {message}", slip) for message, slip in slips[name]]
        expect_close(got, right(x), named, what=f"the slope of {name}", atol=1e-12)
    far = np.array([-1000.0, 1000.0])
    for name, right in SLOPES.items():
        got = np.asarray(call(solution, name, far), dtype=float)
        if not np.isfinite(got).all():
            raise CheckError(
                f"{name}: nan or inf at x = 1000. exp(1000) is inf, and inf / inf is nan. Write it with exp(-x)."
            )
        expect_close(got, right(far), what=f"the slope of {name} at -1000 and 1000", atol=1e-12)


@exercise("clip")
def clip(solution: Callable) -> None:
    """Check ``clip(gradients, max_norm)``."""
    gradients = [np.array([[3.0, 0.0], [0.0, -4.0]]), np.array([7.2, 9.6])]  # joint norm 13
    parts = [joint_norm([g]) for g in gradients]

    def flat(arrays: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.ravel(np.asarray(a, dtype=float)) for a in arrays])

    g, limit = flat(gradients), 6.5
    got = call(solution, gradients, limit)
    expect_returned(got)
    if not isinstance(got, (list, tuple)) or len(got) != 2:
        raise CheckError("a list is asked for, with an array for each array that came in.")
    if [np.shape(a) for a in got] != [a.shape for a in gradients]:
        raise CheckError("the arrays come back in other shapes.")
    each = flat([a * min(1.0, limit / n) for a, n in zip(gradients, parts, strict=True)])
    expect_close(
        flat(got),
        g / 2,
        [
            ("each array is scaled by itself. One factor for all keeps the direction of the step.", each),
            ("single entries are cut off. That bends the direction; scale all of them by one factor.",
             np.clip(g, -limit, limit)),
            ("nothing has been scaled: the joint norm is 13, the limit 6.5.", g),
            ("the norms of the arrays are added up. Add up squares, then take the root.", g * limit / sum(parts)),
            ("the root is missing: a norm is the root of the sum of squares.", g * limit / 169),
            ("the gradients have norm 1 now. The limit is max_norm.", g / 13),
            ("the entries are added up as they are, signs and all. A norm adds up squares.", g * limit / g.sum()),
            ("the sizes of the entries are added up. The L2 norm adds up squares.", g * limit / np.abs(g).sum()),
            ("the largest entry is taken for the norm.", g * limit / 9.6),
            ("the factor is upside down: too long a gradient has to become shorter.", g * 2),
        ],
        rtol=1e-4,
    )  # fmt: skip
    small = call(solution, gradients, 20.0)
    expect_close(
        flat(small),
        g,
        [("gradients below the limit come back longer. They are to stay as they are.", g * 20 / 13)],
        what="a gradient below the limit",
    )
    zero = call(solution, [np.zeros(3)], 1.0)
    expect_close(
        flat(zero),
        np.zeros(3),
        [("a gradient of zeros comes back as nan: something is divided by its norm, 0.", np.full(3, np.nan))],
        what="a gradient of zeros",
    )


@exercise("swing")
def swing(solution: Callable) -> None:
    """Check ``swing(values)``."""
    values = np.array([20.0, 35.0, 30.0, 42.0, 41.0, 50.0])
    changes = np.diff(values)
    expect_close(
        call(solution, values),
        changes.std(),
        [
            ("the standard deviation of the values. A curve that simply rises has a large one; take the changes.",
             values.std()),
            ("the standard deviation of the values. A curve that simply rises has a large one; take the changes.",
             values.std(ddof=1)),
            ("divided by n - 1. Divide by n, as np.std does by itself.", changes.std(ddof=1)),
            ("the mean change, which says how fast the curve rises.", changes.mean()),
            ("the mean size of a change. A steady rise has a large one, too.", np.abs(changes).mean()),
            ("the variance. Its root has the unit of the values.", changes.var()),
            ("the root of the mean square. Subtract the mean change first: a steady rise is no swing.",
             np.sqrt((changes**2).mean())),
            ("the deviation of the sizes of the changes. A fall is another change than a rise.", np.abs(changes).std()),
            ("the distance of the highest from the lowest value.", np.ptp(values)),
            ("taken of all values but one: there are as many changes as neighbours.", changes[1:].std()),
        ],
    )  # fmt: skip
    expect_close(call(solution, np.arange(5.0)), 0.0, what="the swing of a curve that rises steadily")


@exercise("adagrad_step")
def adagrad_step(solution: Callable) -> None:
    """Check ``adagrad_step(w, g, s, lr, eps)``."""
    w, g, s = np.array([1.0, -2.0, 0.5]), np.array([0.3, -4.0, 0.02]), np.array([0.16, 9.0, 0.0])
    lr, eps = 0.1, 1e-3
    got = call(solution, w, g, s, lr, eps)
    expect_returned(got)
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise CheckError("two arrays are asked for: the new weights and the new sum of squares.")
    new_w, new_s = adagrad(w, g, s, lr, eps)
    expect_close(
        got[1],
        new_s,
        [
            ("the sum has come back as it was: g² is added to it.", s),
            ("g² takes the place of the sum. It is added: Adagrad forgets nothing.", g**2),
            ("g is added without the square.", s + g),
            ("this is a running mean, as in RMSprop. Adagrad adds up.", 0.9 * s + 0.1 * g**2),
            ("these are the weights: the weights come first, then the sum.", new_w),
        ],
        what="the sum of squares",
    )
    expect_close(
        got[0],
        new_w,
        [
            ("the step uses the old sum: add g² first.", w - lr * g / (np.sqrt(s) + eps)),
            ("the root is missing: divide by the root of the sum.", w - lr * g / (new_s + eps)),
            ("eps is added under the root. Here it stands outside.", w - lr * g / np.sqrt(new_s + eps)),
            ("nothing is divided: this is a step of SGD.", w - lr * g),
            ("the step goes uphill: it is subtracted.", w + lr * g / (np.sqrt(new_s) + eps)),
            ("the learning rate is missing.", w - g / (np.sqrt(new_s) + eps)),
            ("the sign alone is left of the gradient.", w - lr * np.sign(g)),
            ("one sum is used for all weights. Each has its own.", w - lr * g / (np.sqrt(new_s.sum()) + eps)),
        ],
        what="the weights",
    )
