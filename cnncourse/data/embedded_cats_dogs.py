"""The stand-in for cats and dogs that the program draws: their heads, in colour, 64x64 pixels."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

from cnncourse.data.drawing import Dice, Nuisance, background, cells, paint, photograph, random_colour, random_pose
from cnncourse.data.embedded_shapes import clutter
from cnncourse.data.source import Dataset, Source, Split, mean_std
from cnncourse.data.stencils import ellipse, polygon, stencil

if TYPE_CHECKING:
    import numpy as np

NAME = "drawn cats and dogs"
SIZE = 64
SIZES = {"train": 640, "validation": 160, "test": 400}
CLASSES = ("cat", "dog")
NUISANCE = Nuisance(
    radius=(40, 54),
    shift=16,
    angle=20,
    colours=(60, 170),
    tint=(15, 0, -15),
    patches=30,
    clutter=3,
    clutter_radius=(8, 18),
    noise=(10, 40),
    light=(44, 76),
)
FUR = ((90, 215), (-35, 10), (-30, 5))  # brightness; green minus red; blue minus green
SEED = 0
_VARIANTS = 4  # of each animal


def drawn_cats_dogs() -> Dataset:
    """Heads of cats (0) and dogs (1) on coloured backgrounds, drawn by the program.

    They differ in their ears and in what is around their noses. Fur, position, size, angle, background, clutter, noise
    and brightness differ from image to image, and carry no information on the class.

    Returns
    -------
    Dataset
        Images of shape (3, 64, 64): 640 for training, 160 for validation, 400 for testing. The classes take turns, so
        that the first n images of a part are a fair sample.
    """
    import torch

    images, labels = arrays()
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    sizes = [*SIZES.values()]
    train, validation, test = (Split(*part) for part in zip(x.split(sizes), y.split(sizes), strict=True))
    mean, std = mean_std(train.images)
    return Dataset(train, validation, test, CLASSES, mean, std, _source(images, labels))


def arrays() -> tuple[np.ndarray, np.ndarray]:
    """All images, uint8 (1200, 3, 64, 64), and labels, int64 (1200,)."""
    return draw(sum(SIZES.values()), SEED)


def draw(number: int, seed: int, nuisance: Nuisance = NUISANCE) -> tuple[np.ndarray, np.ndarray]:
    """`number` images, uint8 (number, 3, 64, 64), and their labels, int64 (number,): 0 and 1 in turn."""
    import numpy as np

    dice = Dice(seed)
    labels = np.arange(number) % len(CLASSES)
    canvas = background(dice, random_colour(dice, number, nuisance), SIZE, clutter(), nuisance)
    red, green, blue = (dice.integers(*limits, number) for limits in FUR)
    fur = np.clip(np.stack([red, red + green, red + green + blue], 1), 0, 255)
    shade = dice.integers(-70, 30, number, 1)
    which = labels * _VARIANTS + dice.integers(0, _VARIANTS - 1, number)
    pose = random_pose(dice, number, SIZE, nuisance.radius, nuisance.shift, nuisance.angle)
    where = cells(which, pose, SIZE)
    colours = (fur, fur + shade, fur + dice.integers(15, 60, number, 1), fur * 0 + dice.integers(10, 60, number, 3))
    for layer, colour in zip(stencils(), colours, strict=True):
        paint(canvas, layer.reshape(-1).take(where), np.clip(colour, 0, 255))
    return photograph(dice, canvas, nuisance), labels


def stencils() -> np.ndarray:
    """Layers from back to front: outline, ears, muzzle, and eyes with nose.

    Returns
    -------
    numpy.ndarray
        int16, shape (4, 8, CELLS, CELLS): for each layer four cats and four dogs.
    """
    import numpy as np

    heads = [animal(turn, size) for animal in (_cat, _dog) for turn in (0, 16) for size in (0, 1)]
    return np.stack([[stencil(part) for part in layer] for layer in zip(*heads, strict=True)])


def _cat(turn: int, size: int) -> tuple[np.ndarray, ...]:
    """Outline, ears, muzzle, eyes and nose: ears stand up, the muzzle is small."""
    tip = -112 + 22 * size
    head = ellipse(0, 22, 88, 74)
    ears = (polygon((-84, 0), (-76, tip), (-14, -46)) | polygon((84, 0), (76, tip), (14, -46))) & ~head
    muzzle = ellipse(turn, 56, 34 - 4 * size, 22)
    nose = polygon((turn - 11, 42), (turn + 11, 42), (turn, 54))
    return head | ears, ears, muzzle, _eyes(turn, 12) | nose


def _dog(turn: int, size: int) -> tuple[np.ndarray, ...]:
    """Outline, ears, muzzle, eyes and nose: ears hang down, the muzzle is large."""
    head = ellipse(0, 0, 74, 84)
    ears = ellipse(-80, 4, 24, 62 + 10 * size) | ellipse(80, 4, 24, 62 + 10 * size)
    muzzle = ellipse(turn, 58, 44 - 4 * size, 40)
    nose = ellipse(turn, 38, 17, 12)
    return head | ears | muzzle, ears, muzzle, _eyes(turn, -12) | nose


def _eyes(turn: int, height: int) -> np.ndarray:
    return ellipse(turn - 34, height, 11, 11) | ellipse(turn + 34, height, 11, 11)


@lru_cache(maxsize=1)
def source() -> Source:
    """What :func:`arrays` returns; drawn once to know its hash."""
    return _source(*arrays())


def _source(images: np.ndarray, labels: np.ndarray) -> Source:
    return Source(
        name=NAME,
        kind="embedded",
        sha256=hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest(),
        sizes=dict(SIZES),
        note="A stand-in, not photographs: heads of cats and dogs that the program draws (CC BY 4.0).",
        location="drawn by the program",
    )
