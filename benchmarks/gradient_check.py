"""Central differences of all weights: many perturbations together against one after the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from benchmarks.side_by_side import Comparison, measure
from cnncourse import models
from cnncourse.analysis.gradient_check import check_gradients


def run(device: str, quick: bool) -> list[Comparison]:
    """Two small networks, as in exercises; in float64, on the CPU whatever the device."""
    torch.manual_seed(0)
    mlp = torch.nn.Sequential(torch.nn.Linear(20, 16), torch.nn.Tanh(), torch.nn.Linear(16, 10)).double()
    cnn = models.create("simple_cnn", width=0.25, image_size=16).double().eval()
    return [
        compare("MLP 20-16-10, 8 inputs", mlp, (8, 20), quick),
        compare("simple CNN, width 1/4, 2 images of 16x16", cnn, (2, 3, 16, 16), quick),
    ]


def compare(case: str, model: torch.nn.Module, shape: tuple[int, ...], quick: bool) -> Comparison:
    X, y = torch.randn(shape, dtype=torch.float64), torch.randint(10, shape[:1])
    parameters = dict(model.named_parameters())
    entries = 5 if quick else None
    number = sum(min(p.numel(), entries or p.numel()) for p in parameters.values())

    def loss(weights):
        return F.cross_entropy(torch.func.functional_call(model, weights, X), y)

    def check(vectorize: bool):
        return lambda: check_gradients(loss, parameters, max_entries=entries, vectorize=vectorize)

    contenders = {"together": (check(True), number), "one by one": (check(False), number)}
    result = measure("gradient check", case, "entries", contenders, rounds=2 if quick else 5)
    result.judge("at least 20 times the loop", "together", "one by one", 20)
    return result
