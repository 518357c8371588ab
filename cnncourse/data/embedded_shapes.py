"""The stand-in for CIFAR-10 that the program draws: ten shapes, in colour, 32x32 pixels."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

from cnncourse.data.drawing import Dice, Nuisance, background, cells, paint, photograph, random_colour, random_pose
from cnncourse.data.source import Dataset, Source, Split, mean_std
from cnncourse.data.stencils import ellipse, grid, polygon, stencil

if TYPE_CHECKING:
    import numpy as np

NAME = "drawn shapes"
SIZE = 32
SIZES = {"train": 1_200, "validation": 400, "test": 800}
CLASSES = ("arrow", "bars", "circle", "crescent", "cross", "heart", "ring", "square", "star", "triangle")
NUISANCE = Nuisance(
    radius=(19, 27),
    shift=10,
    angle=20,
    colours=(60, 150),
    tint=(15, 0, -15),
    patches=20,
    clutter=2,
    clutter_radius=(4, 8),
    noise=(10, 40),
    light=(44, 76),
)
CONTRAST = (30, 150)  # of a shape with its background, in each channel
DARK = 35  # percent of the shapes that are darker than their background
SEED = 0


def shapes() -> Dataset:
    """Ten shapes on coloured backgrounds, drawn by the program.

    Position, size, angle, colours, clutter, noise and brightness differ from image to image, and carry no information
    on the class.

    Returns
    -------
    Dataset
        Images of shape (3, 32, 32): 1,200 for training, 400 for validation, 800 for testing. The classes take turns, so
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
    """All images, uint8 (2400, 3, 32, 32), and labels, int64 (2400,)."""
    return draw(sum(SIZES.values()), SEED)


def draw(number: int, seed: int, nuisance: Nuisance = NUISANCE) -> tuple[np.ndarray, np.ndarray]:
    """`number` images, uint8 (number, 3, 32, 32), and their labels, int64 (number,): 0 to 9 in turn."""
    import numpy as np

    dice = Dice(seed)
    labels = np.arange(number) % len(CLASSES)
    colour = random_colour(dice, number, nuisance)
    canvas = background(dice, colour, SIZE, clutter(), nuisance)
    sign = np.where(dice.integers(1, 100, number, 1) <= DARK, np.int16(-1), np.int16(1))
    colour = np.clip(colour + sign * dice.integers(*CONTRAST, number, 3), 0, 255)
    where = cells(labels, random_pose(dice, number, SIZE, nuisance.radius, nuisance.shift, nuisance.angle), SIZE)
    paint(canvas, stencils().reshape(-1).take(where), colour)
    return photograph(dice, canvas, nuisance), labels


def stencils() -> np.ndarray:
    """The ten shapes in the order of `CLASSES`, as :func:`cnncourse.data.stencils.stencil` makes them."""
    import numpy as np

    x, y = grid()
    disc = ellipse(0, 0, 105, 105)
    drawn = {
        "arrow": polygon((-105, -28), (5, -28), (5, -85), (110, 0), (5, 85), (5, 28), (-105, 28)),
        "bars": (abs(x) <= 95) & (abs(y) <= 95) & ((y + 95) % 76 <= 38),
        "circle": disc,
        "crescent": disc & ~ellipse(50, 0, 90, 90),
        "cross": (np.minimum(abs(x), abs(y)) <= 34) & (np.maximum(abs(x), abs(y)) <= 105),
        "heart": ellipse(-48, -35, 55, 55) | ellipse(48, -35, 55, 55) | polygon((-98, -10), (98, -10), (0, 105)),
        "ring": disc & ~ellipse(0, 0, 60, 60),
        "square": (abs(x) <= 90) & (abs(y) <= 90),
        "star": polygon(
            *((0, -115), (27, -37), (109, -36), (44, 14), (68, 93)),
            *((0, 46), (-68, 93), (-44, 14), (-109, -36), (-27, -37)),
        ),
        "triangle": polygon((0, -105), (108, 90), (-108, 90)),
    }
    return np.stack([stencil(drawn[name]) for name in CLASSES])


def clutter() -> np.ndarray:
    """Stencils of what lies about: a disc and a bar."""
    import numpy as np

    x, y = grid()
    return np.stack([stencil(ellipse(0, 0, 105, 105)), stencil((abs(x) <= 115) & (abs(y) <= 30))])


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
        note="A stand-in, not CIFAR-10: ten shapes in colour that the program draws (CC BY 4.0).",
        location="drawn by the program",
    )
