"""Checks of notebook 04's exercises: mutants that readers really write are rejected with a message that fits,
the notebook's own solutions and differently written right ones are accepted."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from mutants import exercise_tests
from torch import nn

from cnncourse.teaching import training_questions as checks

F = nn.functional


def loop(body, result=lambda losses: sum(losses) / len(losses)):
    """A training loop whose body is one of the mutants'."""

    def train_epoch(model, batches, optimizer):
        losses = []
        for X, y in batches:
            losses.append(body(model, X, y, optimizer).item())
        return result(losses)

    return train_epoch


def right(model, X, y, optimizer):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(X), y)
    loss.backward()
    optimizer.step()
    return loss


def cleared_last(model, X, y, optimizer):
    loss = F.cross_entropy(model(X), y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss


def never_cleared(model, X, y, optimizer):
    loss = F.cross_entropy(model(X), y)
    loss.backward()
    optimizer.step()
    return loss


def cleared_in_between(model, X, y, optimizer):
    loss = F.cross_entropy(model(X), y)
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    return loss


def no_step(model, X, y, optimizer):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(X), y)
    loss.backward()
    return loss


def step_first(model, X, y, optimizer):
    loss = F.cross_entropy(model(X), y)
    optimizer.step()
    optimizer.zero_grad()
    loss.backward()
    return loss


def softmax_twice(model, X, y, optimizer):
    optimizer.zero_grad()
    loss = F.cross_entropy(torch.softmax(model(X), 1), y)
    loss.backward()
    optimizer.step()
    return loss


def summed(model, X, y, optimizer):
    optimizer.zero_grad()
    loss = F.cross_entropy(model(X), y, reduction="sum")
    loss.backward()
    optimizer.step()
    return loss


def cleared_once(model, batches, optimizer):
    optimizer.zero_grad()
    return loop(never_cleared)(model, batches, optimizer)


def first_only(model, batches, optimizer):
    return right(model, *batches[0], optimizer).item()


def graph(model, batches, optimizer):
    return torch.stack([right(model, X, y, optimizer) for X, y in batches]).mean()


TRAIN_EPOCH = [
    (loop(never_cleared), "gradients of earlier batches"),
    (cleared_once, "gradients of earlier batches"),
    (loop(cleared_in_between), "have not moved"),
    (loop(no_step), "have not moved"),
    (loop(step_first), "batch before"),
    (first_only, "only the first batch"),
    (lambda m, b, o: first_only(m, b[::-1], o), "only the last batch"),
    (loop(softmax_twice), "softmax is applied twice"),
    (loop(summed), "not the sum"),
    (graph, "whole graph"),
    (loop(right, sum), "sum of the losses"),
    (loop(right, lambda losses: losses[-1]), "loss of the last batch"),
    (loop(right, lambda losses: losses[0]), "loss of the first batch"),
    (loop(right, lambda losses: None), "returns None"),
]


def product(weights):
    return np.linalg.multi_dot(weights[::-1])


def last_bias_missing(weights, biases):
    return product(weights), weights[2] @ (weights[1] @ biases[0] + biases[1])


COLLAPSE = [
    (lambda W, b: (W[0] @ W[1] @ W[2], b[2]), "wrong way round"),
    (lambda W, b: (product(W).T, b[2]), "transposed"),
    (lambda W, b: (W[1] @ W[0], b[2]), "a layer is missing"),
    (lambda W, b: (product(W), b[-1]), "last layer alone"),
    (lambda W, b: (product(W), sum(b)), "added up as they are"),
    (last_bias_missing, "last layer's bias is missing"),
    (lambda W, b: (product(W), W[2] @ b[1] + b[2]), "first layer's bias is missing"),
    (lambda W, b: product(W), "return two arrays"),
    (lambda W, b: None, "returns None"),
]


def layers(widths):
    return list(pairwise(widths))


COUNT_PARAMETERS = [
    (lambda w, bn: sum(a * b for a, b in layers(w)) + 2 * bn * sum(w[1:-1]), "biases are missing"),
    (lambda w, bn: checks.num_parameters(w, 2 * bn) + w[0], "inputs have none"),
    (lambda w, bn: checks.num_parameters(w), "not counted"),
    (lambda w, bn: checks.num_parameters(w, 2), "although there is no"),
    (lambda w, bn: checks.num_parameters(w, bn), "two parameters, not one"),
    (lambda w, bn: checks.num_parameters(w, 4 * bn), "buffers"),
    (lambda w, bn: checks.num_parameters(w, 2 * bn, 2 * bn), "Only the hidden units"),
    (lambda w, bn: checks.num_parameters(w[:-1]) + 2 * bn * sum(w[1:-1]), "last layer is missing"),
    (lambda w, bn: None, "returns None"),
]

MUTANTS = {"train_epoch": TRAIN_EPOCH, "collapse": COLLAPSE, "count_parameters": COUNT_PARAMETERS}


def collapse_by_columns(weights, biases):
    """The map of the zero vector is b, that of unit vectors gives the columns of W."""

    def network(x):
        for W, b in zip(weights, biases, strict=True):
            x = W @ x + b
        return x

    n = weights[0].shape[1]
    b = network(np.zeros(n))
    return np.stack([network(e) - b for e in np.eye(n)], axis=1), b


def count_in_torch(widths, batch_norm):
    parts = [nn.Linear(a, b) for a, b in layers(widths)]
    parts += [nn.BatchNorm1d(n) for n in widths[1:-1] if batch_norm]
    return sum(p.numel() for part in parts for p in part.parameters())


OTHERWISE_WRITTEN = [
    ("train_epoch", loop(cleared_last)),
    ("train_epoch", checks.epoch),
    ("collapse", collapse_by_columns),
    ("count_parameters", count_in_torch),
]

globals().update(
    exercise_tests(
        "04_training_questions",
        checks,
        MUTANTS,
        OTHERWISE_WRITTEN,
        {"np": np, "nn": nn, "torch": torch, "pairwise": pairwise},
    )
)


@pytest.mark.parametrize("lr", [0.01, 0.2])
def test_an_epoch_without_clearing_is_momentum_one(lr):
    torch.manual_seed(0)
    batches = [(torch.randn(5, 4), torch.randint(3, (5,))) for _ in range(4)]
    first = nn.Linear(4, 3)
    second = nn.Linear(4, 3)
    second.load_state_dict(first.state_dict())
    checks.epoch(first, batches, torch.optim.SGD(first.parameters(), lr=lr), clear=False)
    checks.epoch(second, batches, torch.optim.SGD(second.parameters(), lr=lr, momentum=1))
    torch.testing.assert_close(first.weight, second.weight)
