"""Checks for the exercises of notebook 04, and the training loop of its experiments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from cnncourse.teaching.checking import CheckError, call, exercise, expect_close, expect_returned, run


def epoch(model: nn.Module, batches: Iterable, optimizer: torch.optim.Optimizer, *, clear: bool = True) -> float:
    """One pass over `batches` of (X, y): the mean of their losses. Without `clear` the gradients pile up."""
    losses = []
    for X, y in batches:
        if clear:
            optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(X), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return float(torch.stack(losses).mean())


def one_map(weights: Sequence[np.ndarray], biases: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Weights (out, in) and biases (out,) of linear layers without activation, as one affine map."""
    W, b = np.eye(weights[0].shape[1]), np.zeros(weights[0].shape[1])
    for V, c in zip(weights, biases, strict=True):
        W, b = V @ W, V @ b + c
    return W, b


def num_parameters(widths: Sequence[int], per_hidden_unit: int = 0, per_output: int = 0) -> int:
    """Weights and biases of fully connected layers, and further parameters of hidden units and outputs."""
    layers = sum((a + 1) * b for a, b in pairwise(widths))
    return layers + per_hidden_unit * sum(widths[1:-1]) + per_output * widths[-1]


def _descent(W: np.ndarray, batches: list, lr: float, slip: str = "") -> tuple[np.ndarray, list[float]]:
    """Weights and losses of softmax regression after an epoch of SGD, in NumPy; with a slip, if one is named."""
    total = np.zeros_like(W)
    losses = []
    for X, y in batches:
        logits = X @ W.T
        e = np.exp(logits - logits.max(1, keepdims=True))
        P, Y = e / e.sum(1, keepdims=True), np.eye(len(W))[y]
        losses.append(float(-np.log(P[Y == 1]).mean()))
        D = (P - Y) / len(y)
        if slip == "softmax":  # cross_entropy applies softmax once more
            e = np.exp(P)
            D = (e / e.sum(1, keepdims=True) - Y) / len(y)
            D = P * (D - (D * P).sum(1, keepdims=True))
        gradient = D.T @ X
        if slip == "late":
            W, total = W - lr * total, gradient
            continue
        total = total + gradient if slip == "piled" else gradient
        W = W - lr * (len(y) if slip == "sum" else 1) * total
        if slip == "first":
            break
    return W, losses


@exercise("train_epoch")
def train_epoch(solution: Callable) -> None:
    """Check ``train_epoch(model, batches, optimizer)``."""
    rng, lr = np.random.RandomState(5), 0.3
    start = rng.normal(size=(3, 4))
    arrays = [(rng.normal(size=(6, 4)), rng.randint(3, size=6)) for _ in range(4)]
    batches = [(torch.tensor(X), torch.tensor(y)) for X, y in arrays]
    model = nn.Linear(4, 3, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor(start))
    result = run(solution, model, batches, torch.optim.SGD(model.parameters(), lr=lr))
    got, (expected, losses) = model.weight.detach().numpy(), _descent(start, arrays, lr)
    slips = [
        (
            "the weights have not moved at all. Is there a step, after the backward pass, and do the gradients live "
            "until then?",
            start,
        ),
        (
            "the gradients of earlier batches are still there when the next one is added: clear them for each batch.",
            _descent(start, arrays, lr, "piled")[0],
        ),
        (
            "each step uses the gradients of the batch before. The backward pass belongs before the step.",
            _descent(start, arrays, lr, "late")[0],
        ),
        ("only the first batch is trained on. Does the function return too early?", _descent(start, arrays[:1], lr)[0]),
        ("only the last batch is trained on.", _descent(start, arrays[-1:], lr)[0]),
        (
            "softmax is applied twice: cross_entropy takes the logits as they are.",
            _descent(start, arrays, lr, "softmax")[0],
        ),
        ("the loss of a batch is the mean over its images, not the sum.", _descent(start, arrays, lr, "sum")[0]),
    ]
    expect_close(got, expected, slips, what="the weights after the epoch")
    expect_returned(result)
    if isinstance(result, torch.Tensor) and result.requires_grad:
        raise CheckError("you return a tensor with its whole graph, which stays in memory. `.item()` makes a number.")
    expect_close(
        result,
        float(np.mean(losses)),
        [
            ("you return the sum of the losses, asked is their mean.", float(np.sum(losses))),
            ("you return the loss of the last batch, asked is the mean over all.", losses[-1]),
            ("you return the loss of the first batch, asked is the mean over all.", losses[0]),
        ],
        what="the mean loss",
    )


@exercise("collapse")
def collapse(solution: Callable) -> None:
    """Check ``collapse(weights, biases)``."""
    rng = np.random.RandomState(8)
    for widths in ((3, 3, 3, 3), (5, 4, 2, 3)):
        pairs = list(pairwise(widths))
        weights, biases = [rng.normal(size=(b, a)) for a, b in pairs], [rng.normal(size=b) for _, b in pairs]
        result = call(solution, weights, biases)
        expect_returned(result)
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise CheckError("return two arrays, the weights W and the biases b of the one map.")
        W, b = one_map(weights, biases)
        weight_slips = [
            ("W is transposed: it has shape (outputs, inputs), as the layers have.", W.T),
            ("a layer is missing in W: go through all of them.", weights[1] @ weights[0]),
        ]
        bias_slips = [
            ("b is that of the last layer alone. The earlier biases pass through the later layers.", biases[-1]),
            ("the last layer's bias is missing in b.", weights[2] @ (weights[1] @ biases[0] + biases[1])),
            ("the first layer's bias is missing in b.", weights[2] @ biases[1] + biases[2]),
        ]
        if len(set(widths)) == 1:  # else these slips end in an error of their own
            weight_slips.append(
                (
                    "the matrices are multiplied the wrong way round: the first layer's stands on the right, by x.",
                    weights[0] @ weights[1] @ weights[2],
                )
            )
            bias_slips.append(
                (
                    "the biases are added up as they are. Those of earlier layers are multiplied by the later weights.",
                    biases[0] + biases[1] + biases[2],
                )
            )
        expect_close(result[0], W, weight_slips, what="W")
        expect_close(result[1], b, bias_slips, what="b")


@exercise("count_parameters")
def count_parameters(solution: Callable) -> None:
    """Check ``count_parameters(widths, batch_norm)``."""
    for widths in ([784, 50, 30, 10], [5, 7, 3], [4, 2]):
        for batch_norm in (False, True):
            got = call(solution, list(widths), batch_norm)
            weights = sum(a * b for a, b in pairwise(widths))
            norm = 2 if batch_norm else 0
            right = num_parameters(widths, norm)
            slips = [
                ("the biases are missing: each unit has one.", weights + norm * sum(widths[1:-1])),
                ("there is one bias for each unit that computes; the inputs have none.", right + widths[0]),
                ("batch normalisation is not counted.", num_parameters(widths)),
                ("gamma and beta are counted although there is no batch normalisation.", num_parameters(widths, 2)),
                ("a unit has gamma and beta, two parameters, not one.", num_parameters(widths, 1)),
                (
                    "running mean and variance are counted. They are buffers: no gradient ever changes them.",
                    num_parameters(widths, 4),
                ),
                ("the outputs are normalised, too. Only the hidden units are.", num_parameters(widths, norm, norm)),
                ("the last layer is missing.", num_parameters(widths[:-1]) + norm * sum(widths[1:-1])),
            ]
            name = f"for widths {widths} and batch_norm = {batch_norm} the number"
            expect_close(got, right, [slip for slip in slips if slip[1] != right], what=name)
