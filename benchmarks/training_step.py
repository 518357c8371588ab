"""Images per second in training: `fit` on Batches against the loop that tutorials show."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from benchmarks.side_by_side import Comparison, measure
from benchmarks.work import MEAN, STD, PILImages, random_images, tutorial_transform
from cnncourse import models
from cnncourse.data import Batches
from cnncourse.data.augment import RandomCrop, RandomHorizontalFlip
from cnncourse.training import fit

# name: (channels, size, images on the CPU, images on a GPU)
NETWORKS = {
    "lenet_bn": (1, 28, 6_400, 50_000),
    "simple_cnn": (3, 32, 3_200, 50_000),
    "resnet20": (3, 32, 512, 25_000),
    "resnet18": (3, 32, 128, 25_000),
}
SGD = partial(torch.optim.SGD, lr=0.01, momentum=0.9)


def run(device: str, quick: bool) -> list[Comparison]:
    """On a GPU `fit` uses what it has for it: bfloat16 and channels_last. Neither changes anything on the CPU."""
    return [compare(name, device, quick) for name in (["lenet_bn"] if quick else NETWORKS)]


def compare(name: str, device: str, quick: bool) -> Comparison:
    channels, size, on_cpu, on_gpu = NETWORKS[name]
    N = 256 if quick else on_cpu if device == "cpu" else on_gpu
    split = random_images(N, channels, size)
    augment = channels == 3
    ours = Batches(
        split,
        min(128, N),
        mean=MEAN[:channels],
        std=STD[:channels],
        augment=[RandomCrop(size, 4), RandomHorizontalFlip()] if augment else [],
        shuffle=True,
        device=device,
    )
    images = PILImages(split, tutorial_transform(channels, size, augment))
    loader = DataLoader(images, min(128, N), shuffle=True, num_workers=0 if device == "cpu" else 4)

    def network():
        torch.manual_seed(0)
        return models.create(name).to(device)

    def with_fit():
        fit(network(), ours, num_epochs=1, optimizer=SGD, mixed_precision=True, channels_last=True)

    def as_in_tutorials():
        model = network()
        optimizer = SGD(model.parameters())
        running_loss = hits = 0
        for X, y in loader:
            X, y = X.to(device), y.to(device)
            optimizer.zero_grad()
            logits = model(X)
            loss = F.cross_entropy(logits, y)
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
            hits += (logits.argmax(1) == y).sum().item()

    contenders = {"fit": (with_fit, N), "tutorial loop": (as_in_tutorials, N)}
    result = measure("training step", name, "images", contenders, rounds=2 if quick else 5, device=device)
    if device == "cpu":
        result.judge("never slower, per CPU-second", "fit", "tutorial loop", 1)
    elif name == "resnet18":
        result.judge("at least 3 times", "fit", "tutorial loop", 3, clock="wall")
    else:
        result.judge("never slower", "fit", "tutorial loop", 1, clock="wall")
    return result
