"""A data set in memory, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # torch costs a second to import: only the functions that make tensors import it
    import torch


@dataclass(frozen=True)
class Source:
    """What the images really are, so that a stand-in is never taken for the real thing.

    Attributes
    ----------
    name : str
        Name to print beside a figure, for instance 'MNIST' or 'scikit-learn digits'.
    kind : {'original', 'copy', 'embedded'}
        The published data, a copy that differs from them, or a stand-in that comes with the installation.
    sha256 : str
        Identifies the content, wherever it lies: 64 hexadecimal digits.
    sizes : dict of str to int
        Number of images in each part.
    note : str
        Licence, and how the data differ from what the name promises.
    publishable : bool
        Whether images may be shown on a published page. Where not, draw them only on the reader's own machine.
    location : str
        Folder on this machine. Not part of the identity, and never published.
    """

    name: str
    kind: Literal["original", "copy", "embedded"]
    sha256: str
    sizes: dict[str, int]
    note: str
    publishable: bool = True
    location: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set.

    Attributes
    ----------
    images : torch.Tensor
        uint8, shape (N, C, H, W), 0 to 255.
    labels : torch.Tensor
        int64, shape (N,), index of the class.
    names : tuple of str
        File of each image, such as 'Cat/1.Cat.jpg'; empty where the images are not single files.
    """

    images: torch.Tensor
    labels: torch.Tensor
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Split(images: {_form(self.images)}, labels: {_form(self.labels)})"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training, validation and test part of a data set.

    Attributes
    ----------
    train, validation, test : Split
    classes : tuple of str
        Name of each label.
    mean, std : tuple of float
        Per channel, over the pixels of the training part alone, on the 0..1 scale.
    source : Source
    """

    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: Source

    def without_validation(self) -> Dataset:
        """The same data with the validation part appended to the training part, as for a last training run.

        The validation part of the result is empty; mean and standard deviation are those of the longer training part.
        """
        import torch

        both = (self.train, self.validation)
        train = Split(
            torch.cat([part.images for part in both]),
            torch.cat([part.labels for part in both]),
            self.train.names + self.validation.names,
        )
        nothing = Split(train.images[:0], train.labels[:0])
        sizes = self.source.sizes | {"train": len(train), "validation": 0}
        mean, std = mean_std(train.images)
        return replace(
            self, train=train, validation=nothing, mean=mean, std=std, source=replace(self.source, sizes=sizes)
        )

    def __repr__(self) -> str:
        parts = ", ".join(f"{part} {size:,}" for part, size in self.source.sizes.items())
        images = "x".join(map(str, self.train.images.shape[1:]))
        return f"Dataset({self.source.name}, {self.source.kind}: {parts}; images {images}, {len(self.classes)} classes)"


def mean_std(images: torch.Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and (population) standard deviation of each channel, on the 0..1 scale.

    The sums are integers, so the result is the same on every machine.

    Parameters
    ----------
    images : torch.Tensor
        uint8, shape (N, C, H, W).

    Returns
    -------
    mean, std : tuple of float
        One value per channel.
    """
    import torch

    mean, std = [], []
    value = torch.arange(256)
    for channel in images.unbind(1):
        count = torch.bincount(channel.flatten(), minlength=256)
        n, total, squares = (int((count * value**power).sum()) for power in (0, 1, 2))
        mean.append(total / n / 255)
        std.append((n * squares - total * total) ** 0.5 / n / 255)
    return tuple(mean), tuple(std)


def _form(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
