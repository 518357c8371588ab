"""Figures of the notebooks: seaborn on its colour-blind palette, told apart by dashes and markers as well.

Each function draws into one matplotlib axes and returns it; the notebook adds what belongs to its own story.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnncourse.statistics import mean_interval

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series = Mapping[int, Sequence[float]]
"""Values of one curve for each seed."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("", (4, 1.5), (1, 1), (6, 1, 1, 1), (3, 1), (6, 2, 2, 2), (2, 2), (5, 1, 2, 1))


def use_style() -> None:
    """Set seaborn's white grid and colour-blind palette for all figures of a notebook."""
    import seaborn as sns

    sns.set_theme(style="whitegrid", palette="colorblind", rc={"figure.dpi": 100, "axes.titlesize": "medium"})


def t_band(values: Sequence[float]) -> tuple[float, float]:
    """Ends of the 95 % t-interval of the mean; the value itself where there is only one and nothing is known."""
    interval = mean_interval(values)
    return (interval.low, interval.high) if interval.n > 1 else (interval.mean, interval.mean)


def learning_curves(
    curves: Mapping[str, Series],
    x: Sequence[float] | Mapping[str, Sequence[float]] | None = None,
    *,
    x_label: str = "Epoch",
    y_label: str,
    reported: Mapping[str, Sequence[float]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Curves over epochs, or over any other x: the mean over seeds with its 95 % t-interval as a band.

    Parameters
    ----------
    curves : mapping of label to {seed: values}
        Drawn in this order.
    x : sequence, or mapping of label to sequence, optional
        Positions of the values; 1, 2, ... by default.
    x_label, y_label : str
        With the unit in brackets.
    reported : mapping of label to values, optional
        A report's own numbers, drawn as crosses in the colour of the curve with that label.
    ax : Axes, optional
        The current one by default.
    """
    import matplotlib.pyplot as plt
    import pandas as pd
    import seaborn as sns

    ax = ax or plt.gca()
    longest = max(len(values) for series in curves.values() for values in series.values())
    positions = x if isinstance(x, Mapping) else dict.fromkeys(curves, x or range(1, longest + 1))
    frame = pd.DataFrame(
        [
            {"label": label, x_label: position, y_label: value}
            for label, series in curves.items()
            for values in series.values()
            for position, value in zip(positions[label], values, strict=False)
        ]
    )
    sns.lineplot(
        frame,
        x=x_label,
        y=y_label,
        hue="label",
        style="label",
        markers=list(MARKERS[: len(curves)]),
        dashes=list(DASHES[: len(curves)]),
        errorbar=t_band,
        ax=ax,
    )
    colours = dict(zip(curves, sns.color_palette("colorblind"), strict=False))
    for label, values in (reported or {}).items():
        points = list(positions[label])[: len(values)]
        ax.plot(points, values, "x", color=colours[label], markersize=9, markeredgewidth=1.8, label=f"{label}, report")
    if x_label == "Epoch":
        ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(title=None)
    return ax


def intervals(
    groups: Mapping[str, Sequence[float]],
    *,
    x_label: str,
    reported: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """One row for each group: a small ring for each seed, the mean with its 95 % t-interval, the report as a cross.

    Parameters
    ----------
    groups : mapping of label to values
        Drawn from top to bottom.
    x_label : str
        With the unit in brackets.
    reported : mapping of label to value, optional
        What the report states for a group.
    ax : Axes, optional
        The current one by default.
    """
    import matplotlib.pyplot as plt
    import seaborn as sns

    ax = ax or plt.gca()
    blue, orange = sns.color_palette("colorblind")[0], sns.color_palette("colorblind")[3]
    rows = range(len(groups))
    for row, (label, values) in zip(rows, groups.items(), strict=True):
        low, high = t_band(values)
        mean = float(np.mean(values))
        ax.errorbar(mean, row, xerr=[[mean - low], [high - mean]], fmt="o", color=blue, capsize=4, zorder=3)
        ax.scatter(values, [row + 0.22] * len(values), s=14, facecolors="none", edgecolors=blue, linewidths=0.8)
        if reported and label in reported:
            ax.plot(reported[label], row, "x", color=orange, markersize=9, markeredgewidth=2, zorder=4)
    ax.plot([], [], "o-", color=blue, label="mean and 95 % t-interval")
    ax.scatter([], [], s=14, facecolors="none", edgecolors=blue, label="one seed")
    if reported:
        ax.plot([], [], "x", color=orange, markersize=9, markeredgewidth=2, label="report")
    ax.set_yticks(list(rows), list(groups))
    ax.invert_yaxis()
    ax.set_xlabel(x_label)
    ax.legend()
    return ax


def digits(images: torch.Tensor, titles: Sequence[object], columns: int = 10) -> Figure:
    """Images in a grid, each with its title.

    Parameters
    ----------
    images : uint8 tensor of shape (N, 1, H, W)
        Drawn in grey, ink dark.
    titles : sequence of N objects
        Written above the images, for instance their labels.
    columns : int
        Images in a row.
    """
    import matplotlib.pyplot as plt

    rows = -(-len(images) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(0.85 * columns, 1.1 * rows), squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, image, title in zip(axes.flat, images, titles, strict=False):
        ax.imshow(image[0].numpy(), cmap="gray_r", vmin=0, vmax=255)
        ax.set_title(title, fontsize="small", pad=2)
    figure.tight_layout(pad=0.3)
    return figure
