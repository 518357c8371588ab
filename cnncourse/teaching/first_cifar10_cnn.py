"""Checks for the exercises of notebook 09, and the same computations for its experiments."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from cnncourse.teaching.checking import CheckError, call, exercise, expect_close, expect_returned, run


def num_steps(N: int, batch_size: int, drop_last: bool) -> int:
    """Updates in one epoch of N images."""
    return N // batch_size if drop_last else -(-N // batch_size)


def stop_and_best(losses: Sequence[float], patience: int | None) -> tuple[int, int]:
    """Where early stopping ends a training, and whose weights it hands back.

    Parameters
    ----------
    losses : sequence of float
        Of all validations, in order.
    patience : int or None
        Validations in a row without a new best one after which the training stops; None never stops it.

    Returns
    -------
    stopped, best : int
        Indices of the last validation that takes place and of the lowest loss up to there (the first of equals).
    """
    best = 0
    for check, loss in enumerate(losses):
        if loss < losses[best]:
            best = check
        if patience is not None and check - best >= patience:
            return check, best
    return len(losses) - 1, best


def selected_gap(validation: np.ndarray, test: np.ndarray) -> float:
    """Mean over runs (rows) of test minus validation loss, at each run's check of lowest validation loss."""
    rows, chosen = np.arange(len(validation)), validation.argmin(axis=1)
    return float((test[rows, chosen] - validation[rows, chosen]).mean())


@exercise("steps_per_epoch")
def steps_per_epoch(solution: Callable) -> None:
    """Check ``steps_per_epoch(N, batch_size, drop_last)``."""
    cases = [(100, 32, True), (100, 32, False), (96, 32, True), (96, 32, False), (1_234, 100, False), (20, 32, True)]
    got = [call(solution, *case) for case in cases]
    for value in got:
        expect_returned(value)
        if isinstance(value, np.ndarray) or float(value) != value // 1:
            raise CheckError(f"you return {value!r}. A number of steps is a whole number.")
    right = [num_steps(*case) for case in cases]
    if list(got) == right:
        return
    slips: list[tuple[str, Callable[[int, int, bool], int]]] = [
        (
            "drop_last makes no difference: without it, the images that are left over form a batch of their own.",
            lambda N, B, drop: N // B,
        ),
        (
            "drop_last makes no difference: with it, a batch that is not full is left out.",
            lambda N, B, drop: -(-N // B),
        ),
        ("drop_last is taken the wrong way round: True leaves the batch out.",
         lambda N, B, drop: num_steps(N, B, not drop)),
        (
            "one batch too many where the images fit evenly: with nothing left over there is no smaller batch.",
            lambda N, B, drop: N // B + (not drop),
        ),
        ("the number is rounded to the nearest one. What is left over counts as a batch, or not at all.",
         lambda N, B, drop: round(N / B)),
        ("this is the number of images that are used, not of batches.", lambda N, B, drop: num_steps(N, B, drop) * B),
        ("this is the number of images that are left over.", lambda N, B, drop: N % B),
    ]  # fmt: skip
    for message, slip in slips:
        if list(got) == [slip(*case) for case in cases]:
            raise CheckError(message)
    (N, batch_size, drop_last), value, steps = next(
        item for item in zip(cases, got, right, strict=True) if item[1] != item[2]
    )
    raise CheckError(
        f"for N = {N}, batch_size = {batch_size}, drop_last = {drop_last} you return {value}, but there are {steps}."
    )


@exercise("score")
def score(solution: Callable) -> None:
    """Check ``score(batches)``."""
    rng = np.random.RandomState(9)
    sizes = (7, 7, 2)
    batches = []
    for number, size in enumerate(sizes):
        y = rng.randint(4, size=size)
        logits = rng.normal(size=(size, 4))
        logits[np.arange(size), y] += 2 - 3 * (number == 2)  # the small batch is a hard one
        batches.append((logits, y))
    before = [(logits.copy(), y.copy()) for logits, y in batches]
    got = call(solution, batches)
    if any(
        not np.array_equal(a, b)
        for old, new in zip(before, batches, strict=True)
        for a, b in zip(old, new, strict=True)
    ):
        raise CheckError("your function changes the logits or labels that it was given. Work on new arrays.")
    expect_returned(got)
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise CheckError("return two numbers: the loss and the accuracy.")
    losses = [_cross_entropies(*batch) for batch in batches]
    hits = [logits.argmax(1) == y for logits, y in batches]
    N = sum(sizes)
    loss, accuracy = np.concatenate(losses).mean(), np.concatenate(hits).mean()
    if np.shape(got[0]) == np.shape(got[1]) == () and np.allclose([got[1], got[0]], [loss, accuracy]):
        raise CheckError("loss and accuracy are swapped: the loss comes first.")
    totals = [float(batch.sum()) for batch in losses]
    expect_close(
        got[0],
        loss,
        [
            (
                "this is the mean of the batches' means. The last batch is smaller: its images would count for more.",
                np.mean([batch.mean() for batch in losses]),
            ),
            ("this is the sum over all images. Divide it by their number.", sum(totals)),
            ("this is the sum of the batches' means.", sum(batch.mean() for batch in losses)),
            ("the sum of the batches' means is divided by the number of images.", sum(b.mean() for b in losses) / N),
            ("the sum over the images is divided by the number of batches.", sum(totals) / len(sizes)),
            ("this is the loss of the last batch alone.", losses[-1].mean()),
            ("this is the loss of the first batch alone.", losses[0].mean()),
            (
                "all batches are taken to be as large as the first one.",
                sum(batch.mean() * sizes[0] for batch in losses) / (sizes[0] * len(sizes)),
            ),
            ("the sign is off: the loss is minus the logarithm of a probability.", -loss),
            (
                "this is minus the logit of the right class. A probability needs the softmax: subtract "
                "the logarithm of the sum of exp over the row.",
                np.concatenate([-x[np.arange(len(y)), y] for x, y in batches]).mean(),
            ),
            ("the logarithm has base 2. Here it is the natural one.", loss / math.log(2)),
            ("this is one minus the probability of the right class; the loss is minus its logarithm.",
             np.concatenate([1 - np.exp(-batch) for batch in losses]).mean()),
            ("this is the probability of the right class; the loss is minus its logarithm.",
             np.concatenate([np.exp(-batch) for batch in losses]).mean()),
        ],
        what="the loss",
    )  # fmt: skip
    expect_close(
        got[1],
        accuracy,
        [
            (
                "the accuracy is the mean of the batches' accuracies. Count over all images, as for the loss.",
                np.mean([batch.mean() for batch in hits]),
            ),
            ("the accuracy is a count. Divide it by the number of images.", sum(batch.sum() for batch in hits)),
            ("the accuracy is in percent. Here it is a share from 0 to 1.", 100 * accuracy),
            ("this is the share of wrong predictions, the error rate.", 1 - accuracy),
            ("the accuracy is that of the last batch alone.", hits[-1].mean()),
            ("the hits are divided by the number of batches.", sum(batch.sum() for batch in hits) / len(sizes)),
            (
                "the class with the smallest logit is taken for the prediction.",
                np.concatenate([logits.argmin(1) == y for logits, y in batches]).mean(),
            ),
        ],
        what="the accuracy",
    )
    huge = [(np.array([[1000.0, 0.0], [0.0, 1000.0]]), np.array([0, 0]))]
    big = call(solution, huge)
    if not np.all(np.isfinite(np.asarray(big, dtype=float))):
        raise CheckError(
            "with logits of 1000 your loss is not finite: exp(1000) overflows. Subtract the largest logit of each row "
            "first; it cancels."
        )
    expect_close(big[0], 500.0, what="with logits of 1000 the loss")


@exercise("EarlyStopping")
def EarlyStopping(solution: Callable[[int], Any]) -> None:
    """Check the class ``EarlyStopping(patience)``."""
    alone, one, other = (run(solution, 1) for _ in range(3))
    if not callable(getattr(alone, "update", None)):
        raise CheckError(f"EarlyStopping(1) is a {type(alone).__name__} without a method update. Is it still a class?")
    if not run(alone.update, 3.0):
        run(one.update, 1.0)
        run(one.update, 2.0)
        if run(other.update, 3.0):
            raise CheckError(
                "two stoppers share their memory. Keep what an object remembers in self, not in the class."
            )
    for losses, patience in _COURSES:
        stopper = run(solution, patience)
        for check, loss in enumerate(losses):
            answer = run(stopper.update, loss)
            expect_returned(answer)
            best = int(np.argmin(losses[: check + 1]))
            expected = check - best >= patience
            if bool(answer) != expected:
                raise CheckError(_explained(losses[: check + 1], patience, bool(answer)))
            found = getattr(stopper, "best_check", None)
            if found is None:
                raise CheckError("after an update the attribute best_check is None. Set it when a new best loss comes.")
            if found != best:
                raise CheckError(_best_explained(losses[: check + 1], found, best))
            if expected:
                break


# Losses and a patience: falling throughout; a plateau; a bump that is survived; equal values; a late second dip.
_COURSES: tuple[tuple[tuple[float, ...], int], ...] = (
    ((2.0, 1.5, 1.2, 1.1), 2),
    ((1.0, 1.2, 1.3), 2),
    ((2.0, 1.4, 1.6, 1.3, 1.5, 1.2, 1.25, 1.3, 1.35), 3),
    ((2.0, 1.4, 1.6, 1.5, 1.45, 1.1), 3),
    ((1.0, 1.0, 1.0), 2),
    ((2.0, 1.8, 1.9, 1.7, 1.8, 1.75, 1.9), 3),
    ((5.0, 40.0, 30.0, 20.0, 10.0), 4),
    ((5.0, 6.0), 1),
)


def _explained(losses: Sequence[float], patience: int, stops: bool) -> str:
    """What is off when update answers wrongly after the last of these losses."""
    series, best = ", ".join(f"{loss:g}" for loss in losses), int(np.argmin(losses))
    waited = len(losses) - 1 - best
    where = f"With patience {patience}, after the losses {series}"
    if stops and waited == 0:
        return f"{where}: your class stops, but the last one is the best so far. The count starts again at a new best."
    if stops:
        falls = sum(b >= a for a, b in pairwise(losses))
        if falls >= patience > waited:
            return (
                f"{where}: your class stops, but only {waited} check{'s' * (waited > 1)} in a row brought no new best. "
                "Set the count back to 0 when one comes."
            )
        return (
            f"{where}: your class stops one check or more too early. {waited} without a new best "
            f"{'is' if waited == 1 else 'are'} fewer than {patience}."
        )
    if len(set(losses)) < len(losses):
        return f"{where}: your class goes on, but an equal loss is no improvement: only a lower one counts."
    if any(b < a for a, b in pairwise(losses[best + 1 :])):
        return (
            f"{where}: your class goes on, but {waited} checks in a row brought nothing below {losses[best]:g}. "
            "Compare with the best loss so far, not with the one before."
        )
    return f"{where}: your class goes on, but {waited} check{'s' * (waited > 1)} in a row brought no new best: stop."


def _best_explained(losses: Sequence[float], found: Any, best: int) -> str:
    series = ", ".join(f"{loss:g}" for loss in losses)
    if found in range(len(losses)) and losses[found] == losses[best]:
        return (
            f"After the losses {series} best_check is {found}, but an equal loss is no improvement: {best} came first."
        )
    if found == len(losses):
        return f"After the losses {series} best_check is {found}: checks are counted from 0, so it should be {best}."
    if found == len(losses) - 1:
        return (
            f"After the losses {series} best_check is {found}, the latest. Check {best} (from 0) has the lowest loss."
        )
    if found == losses[best]:
        return f"After the losses {series} best_check is {found}. It should be the number of that check, not its loss."
    if found == int(np.argmax(losses)):
        return f"After the losses {series} best_check is {found}, the worst. The best loss is the lowest one."
    return f"After the losses {series} best_check is {found}, but check {best} (from 0) has the lowest loss, first."


@exercise("optimism")
def optimism(solution: Callable) -> None:
    """Check ``optimism(validation, test)``."""
    rng = np.random.RandomState(4)
    validation = rng.uniform(0.9, 1.6, size=(5, 7))
    test = validation + rng.normal(0.05, 0.2, size=(5, 7))
    rows = np.arange(len(test))

    def gap(chosen: np.ndarray) -> float:
        return float((test[rows, chosen] - validation[rows, chosen]).mean())

    mean_validation, mean_test = validation.mean(axis=0), test.mean(axis=0)
    column, cell = mean_validation.argmin(), np.unravel_index(validation.argmin(), validation.shape)
    right = selected_gap(validation, test)
    got = call(solution, validation, test)
    expect_close(
        got,
        right,
        [
            ("the sign is off: how much higher is the test loss than the validation loss?", -right),
            (
                "you choose by the test loss. The test images must not choose: take the check where the "
                "validation loss is lowest.",
                gap(test.argmin(axis=1)),
            ),
            (
                "you take the lowest test loss of each run. Take it at the check that validation has chosen.",
                float((test.min(axis=1) - validation.min(axis=1)).mean()),
            ),
            ("you take the check with the highest validation loss.", gap(validation.argmax(axis=1))),
            ("you take the last check of each run, and nothing is chosen.", gap(np.full(5, 6))),
            ("you average over all checks, and nothing is chosen.", float((test - validation).mean())),
            (
                "you average the runs first and choose one check for all of them. Each run chooses its own.",
                float(mean_test[column] - mean_validation[column]),
            ),
            ("you choose one run and one check out of all. Each run chooses its own check.",
             float(test[cell] - validation[cell])),
            ("this is the sum over the runs. Divide it by their number.", 5 * right),
            ("this is the mean test loss. Subtract the validation loss at the same checks.",
             float(test[rows, validation.argmin(axis=1)].mean())),
            (
                "one number is asked for, the mean over the runs; you return one for each run.",
                test[rows, validation.argmin(axis=1)] - validation[rows, validation.argmin(axis=1)],
            ),
        ],
    )  # fmt: skip


def _cross_entropies(logits: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Loss of each image, shape (N,), of logits (N, K)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(y)), y]
