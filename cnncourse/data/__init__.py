"""Where the data come from, and how they reach a network: data sets as uint8 tensors, each with its source; batches.

:mod:`cnncourse.data.augment` has the transforms. Torch is imported when the first tensors are made, not before.
"""

from importlib import import_module

from cnncourse.data.cats_dogs_data import cats_dogs
from cnncourse.data.cifar10_data import cifar10
from cnncourse.data.mnist_data import mnist
from cnncourse.data.source import Dataset, Source, Split

__all__ = ["Batches", "Dataset", "Source", "Split", "cats_dogs", "cifar10", "loaders", "mnist"]


def __getattr__(name: str):
    if name in ("Batches", "loaders"):
        return getattr(import_module("cnncourse.data.batches"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
