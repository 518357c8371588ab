"""Central differences of all weights: many perturbations together against one after the other."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from benchmarks.side_by_side import Comparison, measure
from cnncourse.analysis.gradient_check import check_gradients


def run(device: str, quick: bool) -> list[Comparison]:
    """A small network, as in notebook 02's exercises; in float64, on the CPU whatever the device."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(20, 16), torch.nn.Tanh(), torch.nn.Linear(16, 10)).double()
    X, y = torch.randn(8, 20, dtype=torch.float64), torch.randint(10, (8,))
    parameters = dict(model.named_parameters())
    entries = 20 if quick else None
    number = sum(min(p.numel(), entries or p.numel()) for p in parameters.values())

    def loss(weights):
        return F.cross_entropy(torch.func.functional_call(model, weights, X), y)

    def check(vectorize: bool):
        return lambda: check_gradients(loss, parameters, max_entries=entries, vectorize=vectorize)

    contenders = {"together": (check(True), number), "one by one": (check(False), number)}
    result = measure(
        "gradient check", f"MLP 20-16-10, {number} entries", "entries", contenders, rounds=2 if quick else 7
    )
    result.judge("at least 20 times the loop", "together", "one by one", 20)
    return [result]
