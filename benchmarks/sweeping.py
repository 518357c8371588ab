"""Eight learning rates of one network: a sweep that chooses for itself, stacked, and one after the other."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.side_by_side import Comparison, measure
from benchmarks.work import MEAN, STD, random_images
from cnncourse.data import Dataset, Source
from cnncourse.training import Experiment, sweep

RATES = [0.001 * 2**k for k in range(8)]


def run(device: str, quick: bool) -> list[Comparison]:
    """The simple CNN on images of CIFAR-10's size, and a fully connected network on images of MNIST's."""
    return [compare(name, device, quick) for name in (["mlp_30"] if quick else ["simple_cnn", "mlp_30"])]


def compare(name: str, device: str, quick: bool) -> Comparison:
    channels, size = (1, 28) if name.startswith("mlp") else (3, 32)
    N, batch_size = (256, 128) if quick else (3_840, 32) if device == "cpu" else (25_600, 128)
    split, few = random_images(N, channels, size), random_images(500, channels, size)
    source = Source("noise", "embedded", "0" * 64, {"train": N}, "")
    classes = tuple("0123456789")
    data = Dataset(split, few, replace(few, names=()), classes, MEAN[:channels], STD[:channels], source)
    base = Experiment(model=name, num_epochs=1, batch_size=batch_size, lr=RATES[0])

    def how(method: str):
        return lambda: sweep(base, {"lr": RATES}, [0], data, device=device, method=method)

    work = N * len(RATES)
    contenders = {method: (how(method), work) for method in ("auto", "stacked", "one by one")}
    case, rounds = f"{name}, 8 learning rates, batch {batch_size}", 2 if quick else 4
    result = measure("sweep", case, "images", contenders, rounds=rounds, device=device)
    clock = "cpu" if device == "cpu" else "wall"
    result.judge("auto is never slower (5 % for its trial)", "auto", "one by one", 0.95, clock=clock)
    if device != "cpu":
        result.judge("stacked is 4 times as fast", "stacked", "one by one", 4, clock=clock)
    return result
