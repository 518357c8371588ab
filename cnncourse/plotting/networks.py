"""A network drawn from the model itself: one box for each layer, one arc for each shortcut."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cnncourse.errors import CourseError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from torch import nn

FILLS = {  # kind of a layer -> colour in seaborn's palette, hatch
    "1x1 convolution": (9, ""),
    "3x3 convolution": (0, ""),
    "larger convolution": (4, "//"),
    "pooling": (2, ".."),
    "fully connected": (1, "xx"),
}
MOST_LABELS = 24  # boxes; more leave no room for text in them
MOST_LEVEL = 7  # boxes with level text; in more it stands upright


def network(
    model: nn.Module,
    image_size: int | None = None,
    *,
    part: str = "",
    table: pd.DataFrame | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the layers of a network from left to right, with the shortcuts of residual blocks as arcs.

    The height of a box grows with the logarithm of the map that its layer gives; a number below says where that map
    gets another size. Up to 24 layers are labelled with window and channels. Batch normalisation and activations are
    left out. The letters suit axes of 6 to 8 inches.

    Parameters
    ----------
    model : torch.nn.Module
        A network of the course. Only its shapes are used: it may live on torch's meta device.
    image_size : int, optional
        As in :func:`cnncourse.analysis.layer_table`.
    part : str
        Draw the layers of this module alone, such as 'features.layer1'. By default all.
    table : pandas.DataFrame, optional
        The network's :func:`cnncourse.analysis.layer_table`, where it is at hand.
    ax : Axes, optional
        The current one by default.

    Raises
    ------
    CourseError
        When there is no such part, or as :func:`cnncourse.analysis.layer_table`.
    """
    import matplotlib.pyplot as plt
    import seaborn as sns
    from matplotlib.patches import Patch, Rectangle

    from cnncourse.analysis import layer_table
    from cnncourse.models.resnet import BasicBlock, Bottleneck

    table = layer_table(model, image_size) if table is None else table
    start = f"{part}." if part else ""
    layers = [
        (name, fill, row)
        for name, row in zip(table.index, table.itertuples(), strict=True)
        if name.startswith(start) and ".shortcut" not in name and (fill := _fill(row))
    ]
    if not layers:
        raise CourseError(f"The network has no layers in {part!r}.", "Choose a part such as 'features.layer1'.")
    ax = ax or plt.gca()
    colours = sns.color_palette("colorblind")
    heights = [np.log2(row.output[-1] if len(row.output) == 3 else 1) + 2.5 for _, _, row in layers]
    top = max(heights) / 2
    labelled = len(layers) <= MOST_LABELS
    upright = 0 if len(layers) <= MOST_LEVEL else 90
    ax.plot([-0.8, len(layers) - 0.2], [0, 0], color="0.5", linewidth=1, zorder=0)
    size = None
    for i, ((_, fill, row), height) in enumerate(zip(layers, heights, strict=True)):
        colour, hatch = colours[FILLS[fill][0]], FILLS[fill][1]
        width = 0.72 if labelled else 0.9
        edge = "0.35" if labelled else "none"
        ax.add_patch(
            Rectangle((i - width / 2, -height / 2), width, height, facecolor=colour, edgecolor=edge, hatch=hatch)
        )
        if labelled:
            box = dict(facecolor="white", edgecolor="none", pad=0.8, alpha=0.85)
            ax.text(i, 0, _label(row), rotation=upright, ha="center", va="center", fontsize=10, bbox=box)
        here = row.output[-1] if len(row.output) == 3 else None
        if here != size and here is not None:
            ax.text(i - width / 2, -top - 0.25, f"{here}x{here}", ha="left", va="top", fontsize=10 if labelled else 9)
        size = here
    places = [name for name, _, _ in layers]
    seen = set()
    for name, block in model.named_modules():
        if not isinstance(block, (BasicBlock, Bottleneck)) or block.shortcut is None or not name.startswith(start[:-1]):
            continue
        inside = [i for i, place in enumerate(places) if place.startswith(f"{name}.")]
        first, last = inside[0] - 0.5, inside[-1] + 0.5
        base = max(heights[i] for i in inside) / 2 + 0.1
        same = type(block.shortcut).__name__ == "Identity"
        angle = np.linspace(0, np.pi, 40)
        x = (first + last) / 2 - (last - first) / 2 * np.cos(angle)
        x, y = [first, *x, last], [0, *(base + 0.9 * np.sin(angle)), 0]  # from the main line and back to it
        line = ax.plot(x, y, color="0.15", linewidth=1.2 if labelled else 0.7)[0]
        if not same:
            line.set_dashes((3, 1.5))
        seen.add("identity shortcut" if same else "shortcut to another shape")
        if labelled:
            ring = dict(boxstyle="circle,pad=0.1", facecolor="white", edgecolor="0.15", linewidth=0.8)
            ax.text(last, 0, "+", ha="center", va="center", fontsize=8, weight="bold", bbox=ring)
    used = [fill for fill in FILLS if fill in {fill for _, fill, _ in layers}]
    handles = [Patch(facecolor=colours[FILLS[f][0]], hatch=FILLS[f][1], edgecolor="0.35", label=f) for f in used]
    for text, style in (("identity shortcut", "-"), ("shortcut to another shape", "--")):
        if text in seen:
            handles += (plt.Line2D([], [], color="0.15", linestyle=style, label=text),)
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0), ncols=3, frameon=False, fontsize=10)
    ax.set(xlim=(-1, len(layers)), ylim=(-top - 0.8, top + 1.2))
    ax.set_axis_off()
    return ax


def _fill(row) -> str:
    """What kind of box a row of the layer table is; empty for none."""
    if row.kind == "Conv2d":
        return {1: "1x1 convolution", 3: "3x3 convolution"}.get(int(row.kernel), "larger convolution")
    if row.kind == "Linear":
        return "fully connected"
    return "pooling" if row.kind.endswith("Pool2d") else ""


def _label(row) -> str:
    """Window and channels of a layer."""
    if row.kind == "Linear":
        return f"FC, {row.output[0]}"
    window = f"{row.kernel}x{row.kernel}"
    if row.kind == "Conv2d":
        return f"{window}, {row.output[0]}" + (f", /{row.stride}" if row.stride > 1 else "")
    return "average" if row.kind != "MaxPool2d" else f"max {window}"
