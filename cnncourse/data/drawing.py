"""Drawing small colour images with integers alone: the same bytes on every machine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cnncourse.data.stencils import CELLS

if TYPE_CHECKING:
    import numpy as np

_ONE = 4096  # sines and cosines are integers in units of 1/4096
_LIGHT = 64  # the brightness of an image is in units of 1/64
_PATCHES = 4  # of colour along a background


class Dice:
    """Random integers that every version of NumPy draws alike.

    NumPy promises a fixed stream for its bit generators, but not for what a ``Generator`` makes of it.
    """

    def __init__(self, seed: int):
        import numpy as np

        self._bits = np.random.PCG64(seed)

    def integers(self, low: int, high: int, *shape: int) -> np.ndarray:
        """int16, from `low` to `high`, both included."""
        import numpy as np

        raw = self._bits.random_raw(math.prod(shape)) >> np.uint64(32)
        steps = raw * np.uint64(high - low + 1) >> np.uint64(32)
        return (steps.astype(np.int16) + np.int16(low)).reshape(shape)

    def noise(self, *shape: int) -> np.ndarray:
        """int16, from -255 to 255 with a triangular distribution (standard deviation 104)."""
        import numpy as np

        number = math.prod(shape)
        raw = self._bits.random_raw(-(-number // 4)).astype("<u8").view(np.uint8).astype(np.int16)
        return (raw[0::2] + raw[1::2] - 255)[:number].reshape(shape)


@dataclass(frozen=True)
class Nuisance:
    """What differs between images of the same class. Ranges include both ends.

    Attributes
    ----------
    radius : (int, int)
        Half the side of the object's stencil, in half pixels.
    shift : int
        Largest distance of its centre from the image's, along each axis, in half pixels.
    angle : int
        Largest rotation to either side, in degrees.
    colours : (int, int)
        Each channel of the background's mean colour, before the tint.
    tint : (int, int, int)
        Added to the channels of that colour.
    patches : int
        Largest deviation of the background from its mean colour.
    clutter : int
        Number of small discs and bars.
    clutter_radius : (int, int)
        As `radius`.
    noise : (int, int)
        Of each image: amplitude of the noise in its pixels.
    light : (int, int)
        Of each image: brightness, in units of 1/64.
    """

    radius: tuple[int, int]
    shift: int
    angle: int
    colours: tuple[int, int]
    tint: tuple[int, int, int]
    patches: int
    clutter: int
    clutter_radius: tuple[int, int]
    noise: tuple[int, int]
    light: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Pose:
    """Where an object is in each of N images; int16, shape (N,).

    Attributes
    ----------
    x, y : numpy.ndarray
        Centre, in half pixels from the upper left corner.
    radius : numpy.ndarray
        Half the side of the stencil, in half pixels.
    angle : numpy.ndarray
        Clockwise, in degrees.
    mirrored : numpy.ndarray
        0 or 1.
    """

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    angle: np.ndarray
    mirrored: np.ndarray


def random_pose(dice: Dice, number: int, size: int, radius: tuple[int, int], shift: int, angle: int) -> Pose:
    """A pose for each of `number` images of `size` pixels; the ranges are those of :class:`Nuisance`."""
    return Pose(
        x=dice.integers(size - shift, size + shift, number),
        y=dice.integers(size - shift, size + shift, number),
        radius=dice.integers(*radius, number),
        angle=dice.integers(-angle, angle, number),
        mirrored=dice.integers(0, 1, number),
    )


def background(dice: Dice, colour: np.ndarray, size: int, clutter: np.ndarray, nuisance: Nuisance) -> np.ndarray:
    """Patches of colour with clutter on them.

    Parameters
    ----------
    dice : Dice
        Draws what is random.
    colour : numpy.ndarray
        Mean colours, int16, shape (N, 3).
    size : int
        Pixels along an image.
    clutter : numpy.ndarray
        Stencils of the clutter, shape (K, CELLS, CELLS).
    nuisance : Nuisance
        How much of everything.

    Returns
    -------
    numpy.ndarray
        int16 from 0 to 255, shape (N, 3, size, size).
    """
    import numpy as np

    N = len(colour)
    knots = dice.integers(-nuisance.patches, nuisance.patches, N, 3, _PATCHES + 1, _PATCHES + 1)
    # Bilinear interpolation between the knots, with weights in units of 1/32.
    position = (2 * np.arange(size) + 1) * _PATCHES * 16 // size
    weight = np.zeros((size, _PATCHES + 1), dtype=np.int16)
    weight[np.arange(size), position // 32] = 32 - position % 32
    weight[np.arange(size), position // 32 + 1] = position % 32
    rows = np.einsum("nckl,xl->nckx", knots, weight) >> 5
    canvas = np.clip(colour[:, :, None, None] + (np.einsum("nckx,yk->ncyx", rows, weight) >> 5), 0, 255)
    for _ in range(nuisance.clutter):
        pose = random_pose(dice, N, size, nuisance.clutter_radius, size, 180)
        where = cells(dice.integers(0, len(clutter) - 1, N), pose, size)
        paint(canvas, clutter.reshape(-1).take(where), random_colour(dice, N, nuisance))
    return canvas


def random_colour(dice: Dice, number: int, nuisance: Nuisance) -> np.ndarray:
    """Mean colours of backgrounds, int16 from 0 to 255, shape (number, 3)."""
    import numpy as np

    return np.clip(dice.integers(*nuisance.colours, number, 3) + np.array(nuisance.tint, dtype=np.int16), 0, 255)


def cells(which: np.ndarray, pose: Pose, size: int) -> np.ndarray:
    """The cell of a stencil that lies under the centre of each pixel.

    Parameters
    ----------
    which : numpy.ndarray
        Index of the stencil in each image, shape (N,).
    pose : Pose
        Where the stencil lies. Outside of it, pixels get a cell of its (empty) border.
    size : int
        Pixels along an image.

    Returns
    -------
    numpy.ndarray
        int32, shape (N, size, size): index into the flattened stencils (K * CELLS * CELLS).
    """
    import numpy as np

    cosines = np.array([round(_ONE * math.cos(math.radians(degree))) for degree in range(360)])
    cosine, sine = cosines[pose.angle % 360], cosines[(pose.angle - 90) % 360]
    radius = pose.radius[:, None].astype(np.int64) * _ONE
    sign = 1 - 2 * pose.mirrored.astype(np.int64)
    x, y = (2 * np.arange(size) + 1 - centre[:, None].astype(np.int64) for centre in (pose.x, pose.y))

    def along(of_x: np.ndarray, of_y: np.ndarray) -> np.ndarray:
        # In units of 1/16 cell. Each row and each column has its product; a pixel only needs the sum of the two.
        by_x, by_y = (factor[:, None] * c * (8 * CELLS) // radius for factor, c in ((of_x, x), (of_y, y)))
        sums = by_x.astype(np.int32)[:, None, :] + by_y.astype(np.int32)[:, :, None]
        return np.clip((sums >> 4) + CELLS // 2, 0, CELLS - 1)

    u, v = along(sign * cosine, sign * sine), along(-sine, cosine)
    return (which.astype(np.int32) * CELLS**2)[:, None, None] + v * CELLS + u


def paint(canvas: np.ndarray, coverage: np.ndarray, colour: np.ndarray) -> None:
    """Lay `colour` (N, 3) over `canvas` (N, 3, H, W) where and as far as `coverage` (N, H, W) says.

    All int16; colours from 0 to 255, coverage from 0 to 128. Changes `canvas`.
    """
    canvas += ((colour[:, :, None, None] - canvas) * coverage[:, None]) >> 7


def photograph(dice: Dice, canvas: np.ndarray, nuisance: Nuisance) -> np.ndarray:
    """Add noise and change the brightness: uint8, of the shape of `canvas` (N, 3, H, W), which is changed."""
    import numpy as np

    N = len(canvas)
    amount = dice.integers(*nuisance.noise, N)[:, None, None, None]
    canvas += dice.noise(*canvas.shape) * amount >> 8
    light = dice.integers(*nuisance.light, N)[:, None, None, None]
    return np.clip(np.clip(canvas, 0, 255) * light // _LIGHT, 0, 255).astype(np.uint8)
