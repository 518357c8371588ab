"""Where the data come from: data sets as uint8 tensors, each with its source."""

from cnncourse.data.mnist_data import mnist
from cnncourse.data.source import Dataset, Source, Split

__all__ = ["Dataset", "Source", "Split", "mnist"]
