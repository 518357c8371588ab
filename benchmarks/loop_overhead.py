"""What `fit` adds to the bare forward, backward and step, on batches made beforehand."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F

from benchmarks.side_by_side import Comparison, measure
from benchmarks.work import MEAN, STD, random_images
from cnncourse import models
from cnncourse.data import Batches
from cnncourse.training import fit

SGD = partial(torch.optim.SGD, lr=0.01, momentum=0.9)


def run(device: str, quick: bool) -> list[Comparison]:
    """LeNet is the smallest network of the course that is trained for long: overhead shows there most."""
    N = 256 if quick else 12_800
    batches = list(Batches(random_images(N, 1, 28), 128, mean=MEAN[:1], std=STD[:1], device=device))

    def network():
        torch.manual_seed(0)
        return models.create("lenet_bn").to(device)

    def bare():
        model = network()
        optimizer = SGD(model.parameters())
        for X, y in batches:
            optimizer.zero_grad()
            F.cross_entropy(model(X), y).backward()
            optimizer.step()

    contenders = {
        "fit": (lambda: fit(network(), batches, num_epochs=1, optimizer=SGD), N),
        "bare loop": (bare, N),
    }
    result = measure("loop overhead", "lenet_bn, batch 128", "images", contenders,
                     rounds=2 if quick else 15, device=device)  # fmt: skip
    clock = "cpu" if device == "cpu" else "wall"
    result.judge("within 3 % of the bare loop", "fit", "bare loop", 0.97, clock=clock)
    return [result]
