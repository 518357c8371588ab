"""Images per second: Batches against torchvision's transforms in a DataLoader, with crop, flip and normalisation."""

from __future__ import annotations

import os

from torch.utils.data import DataLoader

from benchmarks.side_by_side import Comparison, measure
from benchmarks.work import MEAN, STD, PILImages, random_images, tutorial_transform
from cnncourse.data import Batches
from cnncourse.data.augment import RandomCrop, RandomHorizontalFlip


def run(device: str, quick: bool) -> list[Comparison]:
    """Two workers, or four, have to be started for each epoch; ours has none."""
    N = 512 if quick else 50_000 if device != "cpu" else 10_000
    split = random_images(N, 3, 32)
    augment = [RandomCrop(32, 4), RandomHorizontalFlip()]
    ours = Batches(split, 128, mean=MEAN, std=STD, augment=augment, shuffle=True, device=device)
    images = PILImages(split, tutorial_transform(3, 32, augment=True))

    def epoch(batches):
        def go():
            for X, y in batches:
                X.to(device, non_blocking=True), y.to(device, non_blocking=True)

        return go

    workers = (0,) if quick else (0, 2, 4)
    contenders = {"Batches": (epoch(ours), N)} | {
        f"DataLoader, {number} workers": (epoch(DataLoader(images, 128, shuffle=True, num_workers=number)), N)
        for number in workers
    }
    result = measure("loader", f"crop, flip, normalise; batch 128, {N:,} images", "images", contenders,
                     rounds=2 if quick else 5, device=device)  # fmt: skip
    base = "DataLoader, 0 workers"
    if device == "cpu":
        result.judge("at least 5 times the loader without workers, per CPU-second", "Batches", base, 5)
        if not quick:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
            text = f"ahead of the loader with 4 workers, by the clock on {cores} cores"
            result.judge(text, "Batches", "DataLoader, 4 workers", 1, clock="wall")
    else:
        result.judge("at least 5 times the loader without workers, by the clock", "Batches", base, 5, clock="wall")
    return [result]
