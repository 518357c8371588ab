"""Images, kernels, feature maps and attributions in grids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncourse.errors import CourseError

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def image_grid(
    images: torch.Tensor,
    titles: Sequence[object] | None = None,
    *,
    columns: int = 10,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    cmap: str = "gray",
    size: float = 0.85,
) -> Figure:
    """Images in a grid, each with its title.

    Parameters
    ----------
    images : tensor of shape (N, C, H, W)
        C is 1 or 3; uint8 from 0 to 255, or float from 0 to 1.
    titles : sequence of N objects, optional
        Written above the images: a label, or "true cat\\ntaken for dog, 87 %".
    columns : int
        Images in a row.
    mean, std : sequence of float, optional
        One value per channel: undo the normalisation of a batch.
    cmap : str
        Of grey images; 'gray_r' draws ink dark.
    size : float
        Width of one image in inches.

    Raises
    ------
    CourseError
        When there is no image, shapes do not fit, or there are not as many titles as images.
    """
    images = _checked(images)
    if titles is not None and len(titles) != len(images):
        raise CourseError(f"{len(images)} images have {len(titles)} titles.", "Pass one title for each image.")
    if mean is not None or std is not None:
        channels = images.shape[1]
        scale = np.ones(channels) if std is None else np.asarray(std)
        shift = np.zeros(channels) if mean is None else np.asarray(mean)
        images = images * scale[:, None, None] + shift[:, None, None]
    lines = max((str(title).count("\n") + 1 for title in titles), default=1) if titles is not None else 0
    figure, axes = _grid(len(images), columns, size, size + 0.22 * lines)
    for k, (ax, image) in enumerate(zip(axes, images, strict=False)):
        _show(ax, image, cmap)
        if titles is not None:
            ax.set_title(titles[k], fontsize="small", pad=2)
    return figure


def digits(images: torch.Tensor, titles: Sequence[object], columns: int = 10) -> Figure:
    """Images of handwriting in a grid, ink dark; arguments as in :func:`image_grid`."""
    return image_grid(images, titles, columns=columns, cmap="gray_r")


def kernel_grid(kernels: torch.Tensor, *, columns: int = 8, size: float = 0.9) -> Figure:
    """Kernels of a convolution: in colour for three input channels, else their first slice, black (-) to white (+).

    Parameters
    ----------
    kernels : float tensor of shape (c_out, c_in, k, k)
        As :func:`cnncourse.analysis.features.kernels` gives them. All share one scale, which is symmetric about 0: in
        colour a weight of 0 is mid-grey.
    columns : int
        Kernels in a row.
    size : float
        Width of one kernel in inches.
    """
    weights = _array(kernels)
    if weights.ndim != 4 or not len(weights):
        raise CourseError(
            f"Kernels have the shape (c_out, c_in, k, k), not {weights.shape}.", "Pass the weight of a convolution."
        )
    limit = float(np.abs(weights).max()) or 1.0
    figure, axes = _grid(len(weights), columns, size, size + 0.2)
    colour = weights.shape[1] == 3
    picture = None
    for k, (ax, kernel) in enumerate(zip(axes, weights, strict=False)):
        if colour:
            ax.imshow((kernel.transpose(1, 2, 0) / limit + 1) / 2)
        else:
            picture = ax.imshow(kernel[0], cmap="gray", vmin=-limit, vmax=limit)
        ax.set_title(k, fontsize="x-small", pad=1)
    if picture is not None:
        figure.colorbar(picture, ax=axes, label="weight", shrink=0.8)
    return figure


def feature_maps(
    maps: torch.Tensor, channels: Sequence[int] | None = None, *, columns: int = 8, size: float = 1.0
) -> Figure:
    """Feature maps of one image, each on a scale of its own, which its title states.

    Parameters
    ----------
    maps : float tensor of shape (channels, H, W)
        One image's entry of :func:`cnncourse.analysis.features.feature_maps`.
    channels : sequence of int, optional
        Which to draw; the first 16 by default.
    columns : int
        Maps in a row.
    size : float
        Width of one map in inches.
    """
    values = _array(maps)
    if values.ndim != 3 or not len(values):
        raise CourseError(
            f"The maps of one image have the shape (channels, H, W), not {values.shape}.",
            "Choose an image: feature_maps(model, X, layer)[layer][0].",
        )
    channels = range(min(16, len(values))) if channels is None else channels
    figure, axes = _grid(len(channels), columns, size, size + 0.25)
    for ax, channel in zip(axes, channels, strict=False):
        low, high = values[channel].min(), values[channel].max()
        ax.imshow(values[channel], cmap="viridis", vmin=low, vmax=high if high > low else low + 1)
        ax.set_title(f"{channel}: {low:.2g} to {high:.2g}", fontsize="x-small", pad=2)
    return figure


def attributions(
    images: torch.Tensor,
    maps: torch.Tensor,
    titles: Sequence[object] | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    size: float = 1.5,
) -> Figure:
    """Images above what an attribution method says about them; blue speaks for the class, red against it.

    Parameters
    ----------
    images : tensor of shape (N, C, H, W)
        As in :func:`image_grid`.
    maps : float tensor of shape (N, H, W) or (N, C, H, W)
        As :func:`cnncourse.analysis.features.attribution` gives them; channels are added up. Each image has its own
        scale, which is symmetric about 0.
    titles, mean, std, size
        As in :func:`image_grid`.
    """
    figure = image_grid(
        images.repeat(2, 1, 1, 1),
        None if titles is None else [*titles, *[""] * len(titles)],
        columns=len(images),
        mean=mean,
        std=std,
        size=size,
    )
    values = _array(maps)
    values = values.sum(1) if values.ndim == 4 else values
    if values.shape != (len(images), *images.shape[2:]):
        raise CourseError(
            f"Attributions of shape {values.shape} do not belong to images of shape {tuple(images.shape)}.",
            "Pass one map for each image, of the image's height and width.",
        )
    for ax, value in zip(figure.axes[len(images) :], values, strict=True):
        ax.clear()
        ax.set_axis_off()
        limit = float(np.abs(value).max()) or 1.0
        ax.imshow(value, cmap="RdBu", vmin=-limit, vmax=limit)
    return figure


def _array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def _checked(images: Any) -> np.ndarray:
    """Images as floats from 0 to 1, shape (N, C, H, W)."""
    array = _array(images)
    if array.ndim != 4 or array.shape[1] not in (1, 3) or not len(array):
        raise CourseError(
            f"Images have the shape (N, C, H, W) with 1 or 3 channels and N of at least 1, not {array.shape}.",
            "A single image becomes a batch of one by image[None].",
        )
    return array / 255 if array.dtype == np.uint8 else array.astype(float)


def _show(ax: Axes, image: np.ndarray, cmap: str) -> None:
    if len(image) == 1:
        ax.imshow(image[0], cmap=cmap, vmin=0, vmax=1)
    else:
        ax.imshow(image.transpose(1, 2, 0).clip(0, 1))


def _grid(number: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    import matplotlib.pyplot as plt

    columns = min(columns, number)
    rows = -(-number // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(width * columns, height * rows), squeeze=False, layout="constrained"
    )
    for ax in axes.flat:
        ax.set_axis_off()
    return figure, list(axes.flat)
