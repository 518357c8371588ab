"""Where the data come from: data sets as uint8 tensors, each with its source."""

from cnncourse.data.cats_dogs_data import cats_dogs
from cnncourse.data.cifar10_data import cifar10
from cnncourse.data.mnist_data import mnist
from cnncourse.data.source import Dataset, Source, Split

__all__ = ["Dataset", "Source", "Split", "cats_dogs", "cifar10", "mnist"]
