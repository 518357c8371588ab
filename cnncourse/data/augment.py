"""Random transforms of a batch of images: parameters drawn for each image, applied to all at once.

torchvision's random transforms draw one set of parameters for a whole batch; these draw one for each image, with the
same distributions. They take uint8 from 0 to 255 or floats from 0 to 1, shape (N, C, H, W), on any device. Crops,
flips and cutout keep the type; the others return floats.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import log

import torch
import torch.nn.functional as F

from cnncourse.errors import CourseError

Drawn = tuple[torch.Tensor, ...]


class Augmentation(ABC):
    """A random transform: `draw` decides what happens to each image, `apply` does it."""

    @abstractmethod
    def draw(self, images: torch.Tensor, generator: torch.Generator | None = None) -> Drawn:
        """Random parameters: tensors of length N, on the device of the images (and of the generator)."""

    @abstractmethod
    def apply(self, images: torch.Tensor, *drawn: torch.Tensor) -> torch.Tensor:
        """The transformed images, for parameters as `draw` returns them."""

    def __call__(self, images: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Transform a batch of shape (N, C, H, W); without a generator, torch's global one decides."""
        return self.apply(images, *self.draw(images, generator))


@dataclass(frozen=True)
class RandomCrop(Augmentation):
    """Cut a window out of each image, after padding it with black.

    Parameters
    ----------
    size : int
        Height and width of the window.
    padding : int
        Black pixels added on each side first. 4 for 32x32 images: He et al. 2016, section 4.2.
    """

    size: int
    padding: int = 0

    def __post_init__(self):
        _positive("size", self.size)
        _require(
            _is_int(self.padding) and self.padding >= 0, f"padding must be an integer from 0, not {self.padding!r}"
        )

    def draw(self, images, generator=None) -> Drawn:
        """Top and left of each window in the padded image: int64, uniform over all places where it fits."""
        N, _, H, W = images.shape
        room = [side + 2 * self.padding - self.size for side in (H, W)]
        if min(room) < 0:
            raise CourseError(
                f"A crop of {self.size}x{self.size} does not fit into images of {H}x{W} with padding {self.padding}.",
                "Choose a smaller crop or more padding.",
            )
        return tuple(torch.randint(r + 1, (N,), generator=generator, device=images.device) for r in room)

    def apply(self, images, top, left):
        """Windows of shape (N, C, size, size) at `top` and `left`."""
        padded = F.pad(images, (self.padding,) * 4).contiguous()
        N, C, H, W = padded.shape
        # A row of a window is a run of `size` consecutive pixels in memory. `unfold` is a view of all runs, so that
        # picking the right ones copies whole rows: about three times as fast as gathering single pixels.
        runs = padded.flatten().unfold(0, self.size, 1)
        image = torch.arange(N * C, device=images.device).view(N, C, 1) * (H * W)
        row = (top[:, None] + torch.arange(self.size, device=images.device)) * W
        start = image + (row + left[:, None])[:, None]
        return runs.index_select(0, start.flatten()).view(N, C, self.size, self.size)


@dataclass(frozen=True)
class RandomHorizontalFlip(Augmentation):
    """Mirror each image left to right with probability `p`."""

    p: float = 0.5

    def __post_init__(self):
        _probability(self.p)

    def draw(self, images, generator=None) -> Drawn:
        """Whether to mirror: bool."""
        return (torch.rand(len(images), generator=generator, device=images.device) < self.p,)

    def apply(self, images, flip):
        """Images mirrored where `flip` is true."""
        return _choose(images, images.flip(3), flip)


@dataclass(frozen=True)
class RandomVerticalFlip(Augmentation):
    """Turn each image upside down with probability `p`."""

    p: float = 0.5

    def __post_init__(self):
        _probability(self.p)

    def draw(self, images, generator=None) -> Drawn:
        """Whether to turn: bool."""
        return (torch.rand(len(images), generator=generator, device=images.device) < self.p,)

    def apply(self, images, flip):
        """Images turned upside down where `flip` is true."""
        return _choose(images, images.flip(2), flip)


@dataclass(frozen=True)
class Resize(Augmentation):
    """Resize all images to `size` x `size`: bilinear, antialiased. Nothing is random about it."""

    size: int

    def __post_init__(self):
        _positive("size", self.size)

    def draw(self, images, generator=None) -> Drawn:
        """Nothing."""
        return ()

    def apply(self, images):
        """Floats of shape (N, C, size, size)."""
        size = (self.size, self.size)
        return F.interpolate(to_float(images), size, mode="bilinear", align_corners=False, antialias=True)


@dataclass(frozen=True)
class RandomResizedCrop(Augmentation):
    """Cut out a rectangle of random area, shape and place, and resize it to `size` x `size`.

    The "Inception" crop of Szegedy et al. 2015, section 6, drawn as torchvision does: area and aspect ratio at random,
    up to ten times until the rectangle fits, else the largest central one with an allowed aspect ratio.

    Parameters
    ----------
    size : int
        Height and width of the result.
    scale : tuple of float
        Smallest and largest area, as a share of the image's; uniform between them.
    ratio : tuple of float
        Smallest and largest width / height; its logarithm is uniform between theirs.
    """

    size: int
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self):
        _positive("size", self.size)
        for name in ("scale", "ratio"):
            low, high = getattr(self, name)
            _require(0 < low <= high < float("inf"), f"{name} must go from above 0 upwards, not {getattr(self, name)}")

    def draw(self, images, generator=None) -> Drawn:
        """Top, left, height and width of each rectangle: int64."""
        N, _, H, W = images.shape

        def uniform(low, high, *shape):
            return low + (high - low) * torch.rand(shape, generator=generator, device=images.device)

        area = H * W * uniform(*self.scale, N, 10)
        ratio = uniform(log(self.ratio[0]), log(self.ratio[1]), N, 10).exp()
        width, height = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
        fits = (width > 0) & (width <= W) & (height > 0) & (height <= H)
        first = fits.int().argmax(1, keepdim=True)
        found = fits.any(1)
        central = _central(H, W, self.ratio)
        height, width = (
            torch.where(found, side.gather(1, first).squeeze(1), other)
            for side, other in zip((height, width), central, strict=True)
        )
        place = uniform(0, 1, 2, N)
        top, left = (
            torch.where(found, (u * (full - side + 1)).floor(), (full - side) // 2)
            for u, full, side in zip(place, (H, W), (height, width), strict=True)
        )
        return tuple(value.long() for value in (top, left, height, width))

    def apply(self, images, top, left, height, width):
        """Floats of shape (N, C, size, size): the rectangles, resized bilinearly with antialiasing."""
        H, W = images.shape[2:]
        rows = _resampling(H, top, height, self.size)[:, None]
        columns = _resampling(W, left, width, self.size)[:, None]
        return rows @ to_float(images) @ columns.mT


@dataclass(frozen=True)
class ColorJitter(Augmentation):
    """Change brightness, contrast and saturation of each image, in random order.

    A factor blends the image with black (brightness), with its mean grey (contrast) or with its grey version
    (saturation): ``factor * image + (1 - factor) * other``, limited to 0..1. Hue is not offered: no report uses it.

    Parameters
    ----------
    brightness, contrast, saturation : float
        The factor is uniform from ``max(0, 1 - value)`` to ``1 + value``.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0

    def __post_init__(self):
        for name in ("brightness", "contrast", "saturation"):
            value = getattr(self, name)
            _require(0 <= value < float("inf"), f"{name} must be at least 0, not {value}")

    def draw(self, images, generator=None) -> Drawn:
        """Factors, float of shape (N, 3), and the order in which to apply them, int64 of shape (N, 3)."""
        N = len(images)
        values = torch.tensor([self.brightness, self.contrast, self.saturation], device=images.device)
        low, high = (1 - values).clamp(min=0), 1 + values
        factors = low + (high - low) * torch.rand(N, 3, generator=generator, device=images.device)
        order = torch.rand(N, 3, generator=generator, device=images.device).argsort(1)
        return factors, order

    def apply(self, images, factors, order):
        """Floats of the same shape."""
        X = to_float(images)
        for step in order.unbind(1):  # which of the three each image gets in this step
            factor = factors.gather(1, step[:, None])[:, :, None, None]
            grey = _grey(X)
            step = step[:, None, None, None]
            other = torch.where(step == 1, grey.mean((2, 3), keepdim=True), grey) * (step != 0)
            X = (factor * X + (1 - factor) * other).clamp(0, 1)
        return X


@dataclass(frozen=True)
class Lighting(Augmentation):
    """Shift the colour of each image along the principal components of ImageNet's colours.

    Krizhevsky et al. 2012, section 4.1: add ``sum_k alpha_k * eigenvalue_k * eigenvector_k`` to every pixel, with
    alpha normal with mean 0. The constants, on the 0..1 scale, are those of the public implementations.

    Parameters
    ----------
    std : float
        Standard deviation of alpha.
    """

    std: float = 0.1

    def __post_init__(self):
        _require(0 <= self.std < float("inf"), f"std must be at least 0, not {self.std}")

    def draw(self, images, generator=None) -> Drawn:
        """alpha: float of shape (N, 3)."""
        return (self.std * torch.randn(len(images), 3, generator=generator, device=images.device),)

    def apply(self, images, alpha):
        """Floats of the same shape; values may leave 0..1."""
        if images.shape[1] != 3:
            raise CourseError(
                f"Lighting shifts red, green and blue, but the images have {images.shape[1]} channels.",
                "Leave it out for grey images.",
            )
        eigenvalues = torch.tensor([0.2175, 0.0188, 0.0045], device=images.device)
        eigenvectors = torch.tensor(  # one per column
            [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]], device=images.device
        )
        shift = (alpha * eigenvalues) @ eigenvectors.T
        return to_float(images) + shift[:, :, None, None]


@dataclass(frozen=True)
class Cutout(Augmentation):
    """Cover a square of each image, centred anywhere in it, so that part of the square may lie outside.

    DeVries and Taylor 2017 (arXiv:1708.04552), section 3.

    Parameters
    ----------
    size : int
        Side of the square.
    fill : float or tuple of float
        Its colour from 0 to 1, one value or one per channel. The paper's, which is 0 after normalisation, is the mean
        of the training images: ``Cutout(16, fill=data.mean)``.
    """

    size: int
    fill: float | tuple[float, ...] = 0.0

    def __post_init__(self):
        _positive("size", self.size)

    def draw(self, images, generator=None) -> Drawn:
        """Row and column of each centre: int64, uniform over the image."""
        N, _, H, W = images.shape
        return tuple(torch.randint(side, (N,), generator=generator, device=images.device) for side in (H, W))

    def apply(self, images, row, column):
        """Images with the squares covered; rows from ``row - size // 2`` to ``row - size // 2 + size - 1``."""
        H, W = images.shape[2:]
        fill = torch.tensor(self.fill, device=images.device).view(-1, 1, 1)
        if len(fill) not in (1, images.shape[1]):
            raise CourseError(
                f"Cutout has {len(fill)} fill values, but the images have {images.shape[1]} channels.",
                "Give one value, or one per channel.",
            )
        if images.dtype == torch.uint8:
            fill = (255 * fill).round()
        covered = self._covered(H, row)[:, None, :, None] & self._covered(W, column)[:, None, None, :]
        return torch.where(covered, fill.to(images.dtype), images)

    def _covered(self, length: int, centre: torch.Tensor) -> torch.Tensor:
        offset = torch.arange(length, device=centre.device) - (centre - self.size // 2)[:, None]
        return (offset >= 0) & (offset < self.size)


def to_float(images: torch.Tensor) -> torch.Tensor:
    """Images from 0 to 1: uint8 is divided by 255, floats are returned as they are."""
    return images.float() / 255 if images.dtype == torch.uint8 else images


def _choose(images: torch.Tensor, others: torch.Tensor, take_other: torch.Tensor) -> torch.Tensor:
    """For each image itself or its other version. Picking whole images is faster than torch.where, pixel by pixel."""
    N = len(images)
    index = torch.arange(N, device=images.device) + N * take_other
    return torch.cat([images, others]).index_select(0, index)


def _grey(X: torch.Tensor) -> torch.Tensor:
    """Luma of shape (N, 1, H, W), with the weights of ITU-R BT.601 that PIL and torchvision use."""
    channels = X.shape[1]
    if channels == 1:
        return X
    if channels != 3:
        raise CourseError(
            f"ColorJitter needs grey or RGB images, but these have {channels} channels.", "Leave it out for others."
        )
    red, green, blue = X.split(1, dim=1)
    return 0.2989 * red + 0.587 * green + 0.114 * blue


def _central(H: int, W: int, ratio: tuple[float, float]) -> tuple[int, int]:
    """Height and width of the largest rectangle whose width / height is allowed."""
    low, high = ratio
    if low > W / H:
        return round(W / low), W
    if high < W / H:
        return H, round(H * high)
    return H, W


def _resampling(length: int, start: torch.Tensor, extent: torch.Tensor, size: int) -> torch.Tensor:
    """Matrices that resize pixels start .. start + extent - 1 of a line of `length` pixels to `size` pixels.

    Bilinear interpolation with antialiasing weighs the input pixels with a triangle around the centre of the output
    pixel, as wide as the larger of the two kinds of pixels (PIL's and torchvision's resize do the same).

    Parameters
    ----------
    length, size : int
        Pixels before and after.
    start, extent : torch.Tensor
        int64, shape (N,).

    Returns
    -------
    torch.Tensor
        float32, shape (N, size, length); rows sum to 1.
    """
    device = start.device
    scale = (extent / size)[:, None, None]
    centre = start[:, None, None] + (torch.arange(size, device=device) + 0.5)[:, None] * scale
    pixel = torch.arange(length, device=device)
    weight = (1 - (pixel + 0.5 - centre).abs() / scale.clamp(min=1)).clamp(min=0)
    inside = (pixel >= start[:, None]) & (pixel < (start + extent)[:, None])
    weight = weight * inside[:, None]
    return weight / weight.sum(2, keepdim=True)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _positive(name: str, value: int) -> None:
    _require(_is_int(value) and value > 0, f"{name} must be a positive integer, not {value!r}")


def _probability(p: float) -> None:
    _require(0 <= p <= 1, f"p is a probability from 0 to 1, not {p}")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise CourseError(f"Bad augmentation: {what}.", "Correct that value.")
