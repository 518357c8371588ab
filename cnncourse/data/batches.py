"""Batches of images: raw pixels stay on the device, each batch is augmented and normalised there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil, isfinite
from typing import NamedTuple

import torch

from cnncourse.data.source import Dataset, Split
from cnncourse.errors import CourseError
from cnncourse.memory import out_of_memory_explained

# A GPU prepares several small batches at once, about this many bytes of pixels: starting an operation costs it more
# than the operation. A CPU prepares one at a time, which stays in its cache.
GPU_CHUNK_BYTES = 2**24
EVALUATION_BATCH = 500  # a forward pass keeps no activations: larger batches than in training fit


class Batches:
    """An iterable over ``(X, y)``; each iteration is one epoch.

    Parameters
    ----------
    split : Split
        Images, uint8 of shape (N, C, H, W), and labels, int64 of shape (N,).
    batch_size : int
        Images per batch, from 1 to N.
    mean, std : sequence of float, optional
        One value per channel, on the 0..1 scale: pixels become ``(pixel / 255 - mean) / std``. Without them,
        ``pixel / 255``.
    augment : sequence of callables
        Applied to the whole batch in this order, each as ``transform(X, generator) -> X``, where uint8 counts from 0
        to 255 and floats from 0 to 1. See :mod:`cnncourse.data.augment`.
    shuffle : bool
        Whether each epoch has its own random order.
    drop_last : bool
        Whether to leave out the last batch when it has fewer than `batch_size` images.
    num_classes : int, optional
        Labels are checked to lie between 0 and ``num_classes - 1``.
    seed : int
        Of the order, which is the same on every device, and of the augmentation.
    device : str or torch.device
        Where the pixels are kept and the batches made. 'auto' takes the best one there is.

    Yields
    ------
    X : torch.Tensor
        float32, shape (batch_size, C, H, W), on `device`.
    y : torch.Tensor
        int64, shape (batch_size,), on `device`.

    Raises
    ------
    CourseError
        When there are no images or fewer than `batch_size`, when shapes or types do not fit, when a label is out of
        range, for a device that this machine does not have or whose memory is too small.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        augment: Sequence[Callable] = (),
        shuffle: bool = False,
        drop_last: bool = False,
        num_classes: int | None = None,
        seed: int = 0,
        device: str | torch.device = "cpu",
    ):
        from cnncourse.session import resolve_device

        _check_split(split, num_classes)
        _check_batch_size(batch_size, len(split))
        device = torch.device(resolve_device(str(device)))
        self.batch_size = batch_size
        self.augment = tuple(augment)
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.num_classes = num_classes
        self.max_label = int(split.labels.max())
        with out_of_memory_explained(f"to keep {len(split):,} images on {device}", "Use fewer or smaller images."):
            self.images = split.images.to(device)
            self.labels = split.labels.to(device)
        channels = split.images.shape[1]
        self.mean = _per_channel("mean", mean, channels, device)
        self.std = _per_channel("std", std, channels, device)
        self._chunk = 1  # batches that are prepared at once
        if device.type == "cuda":
            self._chunk = max(1, GPU_CHUNK_BYTES // (batch_size * split.images[0].numel()))
        self._order = torch.Generator()
        self._noise = torch.Generator(device)
        self.manual_seed(seed)

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        num_batches = len(self.labels) / self.batch_size
        return int(num_batches) if self.drop_last else ceil(num_batches)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        N = len(self.labels)
        order = torch.randperm(N, generator=self._order) if self.shuffle else torch.arange(N)
        order = order[: len(self) * self.batch_size].to(self.images.device)
        for indices in order.split(self._chunk * self.batch_size):
            X = self.images.index_select(0, indices)
            for transform in self.augment:
                X = transform(X, self._noise)
            X = self.normalise(X)
            y = self.labels.index_select(0, indices)
            yield from zip(X.split(self.batch_size), y.split(self.batch_size), strict=True)

    def normalise(self, X: torch.Tensor) -> torch.Tensor:
        """Pixels (uint8 from 0 to 255, or floats from 0 to 1) as the network gets them: float32, same shape."""
        X = X.float().div_(255) if X.dtype == torch.uint8 else X.to(torch.float32, copy=True)
        if self.mean is not None:
            X.sub_(self.mean)
        if self.std is not None:
            X.div_(self.std)
        return X

    def manual_seed(self, seed: int) -> Batches:
        """Start the random numbers anew: the next epochs are those of a new loader with this seed."""
        self.seed = seed
        self._order.manual_seed(seed)
        # Drawn, because two generators with one seed would draw the order and the augmentation from the same numbers.
        self._noise.manual_seed(int(torch.randint(2**31, (), generator=self._order)))
        return self

    def state_dict(self) -> dict[str, torch.Tensor]:
        """State of the random numbers between two epochs; with `load_state_dict` the same epochs follow again."""
        return {"order": self._order.get_state(), "noise": self._noise.get_state()}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Go back to a state that `state_dict` returned."""
        self._order.set_state(state["order"])
        self._noise.set_state(state["noise"])

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.images.shape[1:]))
        extras = ["shuffled"] * self.shuffle + ["last one dropped"] * self.drop_last
        extras += [repr(transform) for transform in self.augment]
        if self.shuffle or self.augment:
            extras.append(f"seed {self.seed}")
        return (
            f"Batches({len(self):,} of {self.batch_size} images {shape} on {self.images.device}"
            f"{''.join(f', {extra}' for extra in extras)})"
        )


class Loaders(NamedTuple):
    """What :func:`loaders` returns; a part without images is None."""

    train: Batches
    validation: Batches | None
    test: Batches | None


def loaders(
    data: Dataset,
    batch_size: int,
    *,
    augment: Sequence[Callable] = (),
    drop_last: bool = False,
    seed: int = 0,
    device: str | torch.device = "cpu",
) -> Loaders:
    """Batches of the three parts of a data set, normalised with its mean and std.

    The training part is shuffled and augmented; the others come in order and in batches of at least 500, because
    their size changes nothing there but the time.

    Parameters
    ----------
    data : Dataset
        For other statistics, ``dataclasses.replace(data, mean=..., std=...)``.
    batch_size, augment, drop_last, seed, device
        As in :class:`Batches`, for the training part.

    Returns
    -------
    Loaders
        Unpack it: ``train, validation, test = loaders(data, 64)``.
    """
    same = {"mean": data.mean, "std": data.std, "num_classes": len(data.classes), "device": device}
    train = Batches(data.train, batch_size, augment=augment, shuffle=True, drop_last=drop_last, seed=seed, **same)
    others = [
        Batches(part, min(max(batch_size, EVALUATION_BATCH), len(part)), **same) if len(part) else None
        for part in (data.validation, data.test)
    ]
    return Loaders(train, *others)


def _check_split(split: Split, num_classes: int | None) -> None:
    images, labels = split.images, split.labels
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise CourseError(
            f"Images must be uint8 of shape (N, C, H, W), not {_form(images)}.",
            "Scale values from 0..1 with (255 * images).round().to(torch.uint8); add a missing axis with unsqueeze.",
        )
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise CourseError(
            f"Labels must be int64 of shape ({len(images)},), one per image, not {_form(labels)}.",
            "Class indices, not one-hot vectors: labels.argmax(1) turns these into indices.",
        )
    if not len(labels):
        raise CourseError("The data set is empty: there is no image to make batches of.", "Choose at least one image.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or (num_classes is not None and high >= num_classes):
        bad = low if low < 0 else high
        index = int((labels == bad).nonzero()[0])
        allowed = "of at least 0" if num_classes is None else f"from 0 to {num_classes - 1}"
        raise CourseError(
            f"The label of image {index} is {bad}, out of range: labels are class indices {allowed}.",
            "Number the classes from 0, and count them all.",
        )


def _check_batch_size(batch_size: int, N: int) -> None:
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise CourseError(
            f"The batch size must be an integer of at least 1, not {batch_size!r}.", "Choose for instance 128."
        )
    if batch_size > N:
        raise CourseError(
            f"A batch of {batch_size:,} is larger than the data: there are {N:,} images.",
            f"Choose a batch_size of at most {N:,}.",
        )


def _per_channel(name: str, values: Sequence[float] | None, channels: int, device: torch.device) -> torch.Tensor | None:
    if values is None:
        return None
    values = [float(value) for value in values]
    if len(values) != channels:
        raise CourseError(
            f"The {name} has {len(values)} values, but the images have {channels} channels.", "Give one per channel."
        )
    if not all(isfinite(value) and (name == "mean" or value > 0) for value in values):
        raise CourseError(
            f"The {name} {values} cannot normalise pixels.",
            "Use finite numbers, a std above 0; a channel that never varies has no std: give 1 there.",
        )
    return torch.tensor(values, device=device).view(-1, 1, 1)


def _form(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
