"""Checks of notebook 09's exercises: mutants that readers really write are rejected with a message that fits,
the notebook's own solutions and differently written right ones are accepted."""

import math

import numpy as np
import pytest
from mutants import exercise_tests

from cnncourse.teaching import first_cifar10_cnn as checks


def log_softmax(logits, shift=True):
    logits = logits - logits.max(axis=1, keepdims=True) * shift
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def losses(logits, y):
    return -log_softmax(logits)[np.arange(len(y)), y]


def accuracy(batches):
    return np.mean(np.concatenate([logits.argmax(1) == y for logits, y in batches]))


def loss(batches):
    return np.mean(np.concatenate([losses(*batch) for batch in batches]))


def with_loss(reduce):
    """A score whose accuracy is right; the loss is reduced from the batches' losses of images."""
    return lambda batches: (reduce([losses(*batch) for batch in batches]), accuracy(batches))


def with_accuracy(reduce):
    return lambda batches: (loss(batches), reduce([logits.argmax(1) == y for logits, y in batches]))


def score_unshifted(batches):
    total = sum(-log_softmax(x, shift=False)[np.arange(len(y)), y].sum() for x, y in batches)
    return total / sum(len(y) for _, y in batches), accuracy(batches)


def score_in_place(batches):
    for logits, _ in batches:
        logits -= logits.max(axis=1, keepdims=True)
    return loss(batches), accuracy(batches)


def score_all_at_once(batches):
    logits, y = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return losses(logits, y).mean(), (logits.argmax(1) == y).mean()


class Right:
    """The solution; mutants change one method of it."""

    def __init__(self, patience):
        self.patience, self.best_loss, self.best_check = patience, math.inf, None
        self.num_checks = self.waited = 0

    def better(self, loss):
        return loss < self.best_loss

    def new_best(self, loss):
        self.best_loss, self.best_check, self.waited = loss, self.num_checks, 0

    def stops(self):
        return self.waited >= self.patience

    def update(self, loss):
        if self.better(loss):
            self.new_best(loss)
        else:
            self.waited += 1
        self.num_checks += 1
        return self.stops()


class EqualCounts(Right):
    def better(self, loss):
        return loss <= self.best_loss


class OneTooMany(Right):
    def stops(self):
        return self.waited > self.patience


class OneTooFew(Right):
    def stops(self):
        return self.waited >= self.patience - 1


class NeverReset(Right):
    def new_best(self, loss):
        self.best_loss, self.best_check = loss, self.num_checks


class AgainstThePrevious(Right):
    previous = math.inf

    def update(self, loss):
        if self.better(loss):
            self.best_loss, self.best_check = loss, self.num_checks
        self.waited = 0 if loss < self.previous else self.waited + 1
        self.previous = loss
        self.num_checks += 1
        return self.stops()


class Highest(Right):
    best_loss = -math.inf

    def __init__(self, patience):
        super().__init__(patience)
        self.best_loss = -math.inf

    def better(self, loss):
        return loss > self.best_loss


class CountsFromOne(Right):
    def new_best(self, loss):
        self.best_loss, self.best_check, self.waited = loss, self.num_checks + 1, 0


class NumberIsTheLoss(Right):
    def new_best(self, loss):
        self.best_loss, self.best_check, self.waited = loss, loss, 0


class NoNumber(Right):
    def new_best(self, loss):
        self.best_loss, self.waited = loss, 0


class LatestNumber(Right):
    def update(self, loss):
        answer = super().update(loss)
        self.best_check = self.num_checks - 1
        return answer


class NothingReturned(Right):
    def update(self, loss):
        super().update(loss)


class SharedMemory:
    losses = []  # noqa: RUF012 - the mistake in question

    def __init__(self, patience):
        self.patience = patience

    def update(self, loss):
        self.losses.append(loss)
        self.best_check = int(np.argmin(self.losses))
        return len(self.losses) - 1 - self.best_check >= self.patience


class WholeHistory:
    def __init__(self, patience):
        self.patience, self.losses = patience, []

    @property
    def best_check(self):
        return self.losses.index(min(self.losses))

    def update(self, loss):
        self.losses.append(loss)
        recent = self.losses[-self.patience :]
        return len(self.losses) > self.patience and min(recent) >= min(self.losses[: -self.patience])


def gap(choose):
    """An optimism whose choice of check is another one."""

    def optimism(validation, test):
        rows, chosen = np.arange(len(test)), choose(validation, test)
        return (test[rows, chosen] - validation[rows, chosen]).mean()

    return optimism


def by_validation(validation, test):
    return validation.argmin(axis=1)


def averaged_first(validation, test):
    chosen = validation.mean(axis=0).argmin()
    return (test[:, chosen] - validation[:, chosen]).mean()


def one_of_all(validation, test):
    cell = np.unravel_index(validation.argmin(), validation.shape)
    return test[cell] - validation[cell]


STEPS = [
    (lambda N, B, drop: N // B, "without it, the images that are left over"),
    (lambda N, B, drop: math.ceil(N / B), "with it, a batch that is not full"),
    (lambda N, B, drop: math.ceil(N / B) if drop else N // B, "wrong way round"),
    (lambda N, B, drop: N // B if drop else N // B + 1, "one batch too many"),
    (lambda N, B, drop: round(N / B), "rounded to the nearest"),
    (lambda N, B, drop: N / B, "whole number"),
    (lambda N, B, drop: N // B * B if drop else math.ceil(N / B) * B, "number of images that are used"),
    (lambda N, B, drop: N % B, "left over"),
    (lambda N, B, drop: 703, "but there are 3"),
    (lambda N, B, drop: None, "returns None"),
]
SCORE = [
    (with_loss(lambda b: np.mean([x.mean() for x in b])), "mean of the batches' means"),
    (with_loss(lambda b: sum(x.sum() for x in b)), "sum over all images"),
    (with_loss(lambda b: sum(x.mean() for x in b)), "sum of the batches' means"),
    (with_loss(lambda b: sum(x.mean() for x in b) / 16), "divided by the number of images"),
    (with_loss(lambda b: sum(x.sum() for x in b) / 3), "divided by the number of batches"),
    (with_loss(lambda b: b[-1].mean()), "last batch alone"),
    (with_loss(lambda b: b[0].mean()), "first batch alone"),
    (with_loss(lambda b: -np.concatenate(b).mean()), "sign is off"),
    (with_loss(lambda b: np.concatenate(b).mean() / math.log(2)), "base 2"),
    (with_loss(lambda b: np.exp(-np.concatenate(b)).mean()), "probability of the right class; the loss is minus"),
    (lambda b: (np.mean(np.concatenate([-x[np.arange(len(y)), y] for x, y in b])), accuracy(b)), "needs the softmax"),
    (with_accuracy(lambda b: np.mean([x.mean() for x in b])), "mean of the batches' accuracies"),
    (with_accuracy(lambda b: np.concatenate(b).sum()), "is a count"),
    (with_accuracy(lambda b: 100 * np.concatenate(b).mean()), "in percent"),
    (with_accuracy(lambda b: 1 - np.concatenate(b).mean()), "error rate"),
    (lambda b: (loss(b), np.mean(np.concatenate([x.argmin(1) == y for x, y in b]))), "smallest logit"),
    (lambda b: (accuracy(b), loss(b)), "swapped"),
    (lambda b: loss(b), "two numbers"),
    (score_unshifted, "overflows"),
    (score_in_place, "changes the logits"),
    (lambda b: None, "returns None"),
]
EARLY_STOPPING = [
    (EqualCounts, "equal loss is no improvement"),
    (OneTooMany, "in a row brought no new best: stop"),
    (OneTooFew, "too early"),
    (NeverReset, "Set the count back to 0"),
    (AgainstThePrevious, "not with the one before"),
    (Highest, "lowest|no new best|the worst"),
    (CountsFromOne, "counted from 0"),
    (NumberIsTheLoss, "not its loss"),
    (NoNumber, "best_check is None"),
    (LatestNumber, "the latest"),
    (NothingReturned, "returns None"),
    (SharedMemory, "share their memory"),
    (lambda patience: None, "without a method update"),
]
OPTIMISM = [
    (lambda v, t: -gap(by_validation)(v, t), "sign is off"),
    (gap(lambda v, t: t.argmin(axis=1)), "choose by the test loss"),
    (lambda v, t: (t.min(axis=1) - v.min(axis=1)).mean(), "lowest test loss of each run"),
    (gap(lambda v, t: v.argmax(axis=1)), "highest validation loss"),
    (gap(lambda v, t: np.full(len(v), -1)), "last check"),
    (lambda v, t: (t - v).mean(), "nothing is chosen"),
    (averaged_first, "average the runs first"),
    (one_of_all, "one run and one check"),
    (lambda v, t: len(v) * gap(by_validation)(v, t), "sum over the runs"),
    (lambda v, t: t[np.arange(len(t)), v.argmin(1)].mean(), "Subtract the validation loss"),
    (lambda v, t: (t - v)[np.arange(len(t)), v.argmin(1)], "mean over the runs; you return one for each"),
    (lambda v, t: t[:, v.argmin(1)].mean() - v.min(1).mean(), "off"),
    (lambda v, t: None, "returns None"),
]

MUTANTS = {"steps_per_epoch": STEPS, "score": SCORE, "EarlyStopping": EARLY_STOPPING, "optimism": OPTIMISM}
OTHERWISE_WRITTEN = [
    ("steps_per_epoch", lambda N, B, drop: (math.floor if drop else math.ceil)(N / B)),
    ("steps_per_epoch", lambda N, B, drop: len(range(0, N - (N % B if drop else 0), B))),
    ("score", score_all_at_once),
    ("score", lambda batches: [float(value) for value in score_all_at_once(batches)]),
    ("EarlyStopping", Right),
    ("EarlyStopping", WholeHistory),
    ("optimism", lambda v, t: np.mean([b[a.argmin()] - a.min() for a, b in zip(v, t, strict=True)])),
    ("optimism", lambda v, t: float(np.take_along_axis(t - v, v.argmin(1)[:, None], 1).mean())),
]

globals().update(
    exercise_tests(
        "09_first_cifar10_cnn", checks, MUTANTS, OTHERWISE_WRITTEN, {"np": np, "math": math, "check": checks}
    )
)


@pytest.mark.parametrize(
    ("losses", "patience", "expected"),
    [
        ([3, 2, 1], 2, (2, 2)),
        ([3, 2, 1], None, (2, 2)),
        ([1, 2, 3, 0], 2, (2, 0)),
        ([1, 2, 3, 0], None, (3, 3)),
        ([2, 1, 1, 1, 0], 3, (4, 4)),
        ([2, 1, 1, 1, 0], 2, (3, 1)),
        ([5], 1, (0, 0)),
    ],
)
def test_replay_stops_where_training_would_have(losses, patience, expected):
    assert checks.stop_and_best(losses, patience) == expected


def test_replay_agrees_with_the_training_loop_that_really_stops():
    from cnncourse.data.embedded_shapes import shapes
    from cnncourse.training import Experiment, train

    data = shapes()
    experiment = Experiment(
        model="cnn_5x5", model_options={"width": 0.125}, num_images=128, batch_size=32, lr=0.3, num_epochs=8
    )
    losses = train(experiment, data).history.validation["loss"]
    for patience in (1, 2):
        stopped, best = checks.stop_and_best(losses, patience)
        history = train(experiment.changed(patience=patience), data).history
        assert len(history.validation["loss"]) == stopped + 1
        assert history.best["loss"] == losses[best]
