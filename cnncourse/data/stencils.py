"""Shapes as stencils: how much of each cell of a fine grid a shape covers, in integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

CELLS = 64  # along a stencil
OPAQUE = 128  # full coverage: 255 * OPAQUE still fits into 16 bits
_RADIUS = 128  # shapes are described on coordinates from -128 to 127
_POINTS = 4  # along a cell


def stencil(shape: np.ndarray) -> np.ndarray:
    """Coverage of a shape, with soft edges.

    Parameters
    ----------
    shape : numpy.ndarray
        Which points of :func:`grid` belong to it: bool, shape (256, 256).

    Returns
    -------
    numpy.ndarray
        int16 from 0 to `OPAQUE`, shape (CELLS, CELLS); 0 along the border.
    """
    import numpy as np

    points = np.pad(shape.reshape(CELLS, _POINTS, CELLS, _POINTS).sum((1, 3)), 1)
    # A pixel of an image is two or three cells wide: averaging over three leaves no jagged edges.
    sums = sum(points[i : i + CELLS, j : j + CELLS] for i in range(3) for j in range(3))
    coverage = (sums * OPAQUE // (9 * _POINTS**2)).astype(np.int16)
    coverage[[0, -1]] = coverage[:, [0, -1]] = 0
    return coverage


def grid() -> tuple[np.ndarray, np.ndarray]:
    """The points on which shapes are described: x to the right and y down, from -128 to 127, each (256, 256)."""
    import numpy as np

    y, x = np.mgrid[-_RADIUS:_RADIUS, -_RADIUS:_RADIUS]
    return x, y


def ellipse(centre_x: int, centre_y: int, a: int, b: int) -> np.ndarray:
    """The points inside an ellipse with semi-axes `a` (along x) and `b` (along y)."""
    x, y = grid()
    return ((x - centre_x) * b) ** 2 + ((y - centre_y) * a) ** 2 <= (a * b) ** 2


def polygon(*corners: tuple[int, int]) -> np.ndarray:
    """The points inside a polygon with these corners, by the even-odd rule."""
    import numpy as np

    x, y = grid()
    inside = np.zeros(x.shape, dtype=bool)
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        between = (y >= y0) != (y >= y1)
        left = (x - x0) * (y1 - y0) < (y - y0) * (x1 - x0)
        inside ^= between & (left == (y0 < y1))
    return inside
