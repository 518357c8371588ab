"""Checks for the exercises of notebook 11, and the reference functions that its experiments use."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import numpy as np

from cnncourse.teaching.checking import CheckError, call, exercise, expect_close, expect_returned


def updates(N: int, B: int, num_epochs: int = 1) -> int:
    """Updates of `num_epochs` passes over N images in batches of B, the last of which may be smaller."""
    return ceil(N / B) * num_epochs


def epoch_costs(N: int, B1: int, t1: float, B2: int, t2: float) -> tuple[float, float]:
    """Seconds per image and per step, from the seconds of one epoch at two batch sizes: ``t = N a + steps c``."""
    first, second = updates(N, B1), updates(N, B2)
    per_step = (t1 - t2) / (first - second)
    return (t1 - first * per_step) / N, per_step


def batch_variance(G: np.ndarray, B: int) -> float:
    """Expected squared distance of the mean of B rows, drawn independently, from the mean of all rows of G (N, D)."""
    return float(((G - G.mean(0)) ** 2).sum(1).mean() / B)


def rate_at(step: int, lr: float, B: int, B_new: int, warmup: int) -> float:
    """Learning rate of Goyal et al. 2017: from `lr` in equal steps to `lr * B_new / B`, reached at step `warmup`."""
    return lr * (1 + (B_new / B - 1) * min(step / warmup, 1))


def inverted_dropout(x: np.ndarray, p: float, u: np.ndarray, training: bool) -> np.ndarray:
    """Dropout: 0 where the uniform number in `u` is below p, the others divided by 1 - p; in evaluation x itself."""
    return x * (u >= p) / (1 - p) if training else x.copy()


def _number(value: object, what: str) -> float:
    """One number, or a message."""
    expect_returned(value)
    if np.size(value) != 1:
        raise CheckError(f"{what} is one number, but you return {np.size(value)}.")
    return float(np.ravel(value)[0])


@exercise("count_updates")
def count_updates(solution: Callable) -> None:
    """Check ``count_updates(N, B, num_epochs)``."""
    for N, B, num_epochs in ((50_000, 128, 20), (50_000, 256, 50), (50_000, 4, 6), (10, 4, 3)):
        got = _number(call(solution, N, B, num_epochs), "the count")
        steps = updates(N, B)
        expect_close(
            got,
            steps * num_epochs,
            [
                ("these are the updates of one epoch.", steps),
                ("the last, smaller batch of each epoch is left out. It makes an update, too.", N // B * num_epochs),
                ("an update is a whole thing: round N / B up before you multiply.", N / B * num_epochs),
                (
                    "you round once, at the end. Each epoch ends with its own smaller batch: round N / B up first.",
                    ceil(N * num_epochs / B),
                ),
                ("an epoch that divides without a rest has no further batch.", (N // B + 1) * num_epochs),
                ("this is the number of images seen. A batch of them makes one update.", N * num_epochs),
                ("this is B divided by N; the other way around counts batches.", B / N * num_epochs),
            ],
            what=f"the count for N = {N}, B = {B}, num_epochs = {num_epochs}",
        )


@exercise("fit_costs")
def fit_costs(solution: Callable) -> None:
    """Check ``fit_costs(N, B1, t1, B2, t2)``."""
    N, a, c = 51_200, 0.0005, 0.004
    for B1, B2 in ((4, 128), (256, 16)):
        t1, t2 = (N * a + updates(N, B) * c for B in (B1, B2))
        got = call(solution, N, B1, t1, B2, t2)
        expect_returned(got)
        if np.size(got) != 2:
            raise CheckError("two numbers are asked for: seconds per image, seconds per step.")
        expect_close(
            got,
            (a, c),
            [
                ("the two are in the wrong order: seconds per image first.", (c, a)),
                ("the first is what all N images cost together. Divide it by N.", (N * a, c)),
                (
                    "the seconds per step have the wrong sign: subtract times and steps in the same order.",
                    ((t1 + updates(N, B1) * c) / N, -c),
                ),
                (
                    "the difference of the times is divided by the difference of the batch sizes. Steps cost time: "
                    "there are N / B of them.",
                    ((t1 - updates(N, B1) * (t1 - t2) / (B1 - B2)) / N, (t1 - t2) / (B1 - B2)),
                ),
                (
                    "a whole epoch is charged for each step: t1 divided by its steps still holds the cost of images.",
                    (a, t1 / updates(N, B1)),
                ),
                (
                    "the time per image still holds the steps: take their cost off t1 before you divide.",
                    (t1 / N, c),
                ),
            ],
            what="your pair (seconds per image, seconds per step)",
            rtol=1e-4,
        )


@exercise("minibatch_variance")
def minibatch_variance(solution: Callable) -> None:
    """Check ``minibatch_variance(G, B)``."""
    G = np.random.default_rng(3).normal(2.0, 1.0, (12, 5)) * np.arange(1, 6)
    centred = G - G.mean(0)
    squared = (centred**2).sum(1)
    for B in (1, 4, 64):
        got = call(solution, G, B)
        expect_returned(got)
        if np.size(got) == 5:
            raise CheckError("this is one variance for each parameter. Add them up: one number is asked for.")
        if np.size(got) == 12:
            raise CheckError("this is one distance for each image. Take the mean over the images.")
        one = squared.mean()
        slips = [
            ("the batch size plays no part: the mean of B gradients varies less than one gradient.", one),
            ("divided by the square of B. The variance of a mean falls with B, not faster.", one / B**2),
            ("divided by the root of B. That is how the standard deviation falls.", one / B**0.5),
            ("this grows with B. Larger batches are less noisy.", one * B),
            (
                "the full gradient is not subtracted: this is the mean squared length, not the distance from it.",
                (G**2).sum(1).mean() / B,
            ),
            ("the mean over the parameters is taken; add them up.", one / B / 5),
            ("this is the sum over the images; take the mean.", one / B * 12),
            ("this is a standard deviation: leave out the root.", (one / B) ** 0.5),
            ("N - 1 is for a sample. These N images are all there are: divide by N.", squared.sum() / 11 / B),
            ("distances are squared before the mean is taken, not after.", np.sqrt(squared).mean() ** 2 / B),
        ]
        expect_close(
            _number(got, "the variance"), one / B, slips if B > 1 else slips[4:], what=f"the variance, B = {B}"
        )


@exercise("warmup_rate")
def warmup_rate(solution: Callable) -> None:
    """Check ``warmup_rate(step, lr, B, B_new, warmup)``."""
    lr, B, B_new, warmup = 0.001, 4, 256, 100
    steps = np.array([0, 25, 50, 100, 400])
    got = [_number(call(solution, int(step), lr, B, B_new, warmup), "the rate at a step") for step in steps]
    k, share = B_new / B, np.minimum(steps / warmup, 1)
    expect_close(
        got,
        [rate_at(int(step), lr, B, B_new, warmup) for step in steps],
        [
            ("there is no warm-up: the scaled rate is used from the first step.", np.full(5, lr * k)),
            ("the rate stays at lr: B_new has no effect.", np.full(5, lr)),
            ("the rate starts at 0; it should start at lr.", lr * k * share),
            ("the rate goes on rising after the warm-up. Then it should stay.", lr * (1 + (k - 1) * steps / warmup)),
            ("the rate rises from lr by the whole scaled rate: it ends at lr too much.", lr * (1 + k * share)),
            ("the batch sizes are swapped: a larger batch gets a larger rate.", lr * (1 + (1 / k - 1) * share)),
            ("this scales with the root of the ratio; linear scaling is asked for.", lr * (1 + (k**0.5 - 1) * share)),
            ("the rate jumps: from lr to the scaled one without values between.", np.where(share < 1, lr, lr * k)),
            ("this is the factor; multiply it by lr.", 1 + (k - 1) * share),
            ("the rate grows by a constant factor per step; equal steps are asked for.", lr * k**share),
        ],
        what="the rate at steps 0, 25, 50, 100 and 400",
    )


@exercise("dropout")
def dropout(solution: Callable) -> None:
    """Check ``dropout(x, p, u, training)``."""
    generator = np.random.default_rng(5)
    x, p = generator.normal(1.0, 2.0, (3, 8)), 0.2
    u = generator.permutation(np.arange(24) / 24 + 0.02).reshape(3, 8)
    u[0, 0], u[0, 1] = 0.5, 0.1  # both kinds in any case
    keep, drop = u >= p, u < p
    expect_close(
        call(solution, x, p, u, True),
        inverted_dropout(x, p, u, True),
        [
            ("in training mode nothing is dropped.", x),
            ("right units dropped, but the others are not scaled up: their expected sum has shrunk.", x * keep),
            ("the others are divided by p. They survive with probability 1 - p.", x * keep / p),
            ("the others are multiplied by 1 - p; in training they have to grow.", x * keep * (1 - p)),
            ("the wrong ones survive: a unit is dropped where u is below p.", x * drop / (1 - p)),
            ("the wrong ones survive: p is the probability of being dropped.", x * drop / p),
            ("the wrong ones survive, and nothing is scaled.", x * drop),
            ("this is the mask. Multiply x by it.", keep / (1 - p)),
            ("all units are scaled, the dropped ones are still there.", x / (1 - p)),
        ],
        what="the result in training mode",
    )
    expect_close(
        call(solution, x, p, u, False),
        x,
        [
            ("units are dropped in evaluation mode, too.", x * keep / (1 - p)),
            ("units are dropped in evaluation mode, too.", x * keep),
            (
                "in evaluation mode you scale by 1 - p. The inverted form has scaled in training already.",
                x * (1 - p),
            ),
            ("in evaluation mode x is scaled. It should come back as it is.", x / (1 - p)),
        ],
        what="the result in evaluation mode",
    )
