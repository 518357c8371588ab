"""Confusion matrices, and how well confidences fit accuracies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cnncourse.errors import CourseError

if TYPE_CHECKING:
    import torch
    from matplotlib.axes import Axes

    from cnncourse.analysis.predictions import Calibration


def confusion_matrix(
    confusion: torch.Tensor,
    classes: Sequence[str],
    *,
    normalise: bool = False,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Which class is taken for which: true classes in rows, predicted ones in columns, a number in each cell.

    The colour of a cell off the diagonal shows its share of the row, on a scale of its own: the few mistakes of a good
    network stay visible beside the many hits, which are left white.

    Parameters
    ----------
    confusion : integer tensor of shape (K, K)
        ``Evaluation.confusion``; a mean over seeds (float) will do.
    classes : sequence of K texts
        Names.
    normalise : bool
        Write percentages of the row instead of numbers of images.
    title : str
        Above the matrix.
    ax : Axes, optional
        The current one by default; about 0.55 inches per class.

    Raises
    ------
    CourseError
        When the matrix is not square or has not one row per class.
    """
    import matplotlib.pyplot as plt
    import seaborn as sns

    counts = np.asarray(confusion.detach().cpu() if hasattr(confusion, "detach") else confusion, dtype=float)
    K = len(classes)
    if counts.shape != (K, K):
        raise CourseError(
            f"{K} classes need a confusion matrix of shape ({K}, {K}), not {counts.shape}.", "Pass all class names."
        )
    totals = counts.sum(1, keepdims=True)
    shares = 100 * np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    if normalise:
        texts = np.vectorize(lambda share: f"{share:.1f}" if share else "")(shares)
    else:
        texts = np.vectorize(lambda n: "" if n == 0 else f"{n:.0f}" if n == round(n) else f"{n:.1f}")(counts)
    off = np.where(np.eye(K, dtype=bool), 0, shares)
    ax = ax or plt.gca()
    sns.heatmap(
        off,
        annot=texts,
        fmt="",
        cmap="Blues",
        vmin=0,
        vmax=max(off.max(), 1e-9),
        linewidths=0.5,
        linecolor="lightgrey",
        square=True,
        xticklabels=list(classes),
        yticklabels=list(classes),
        annot_kws={"fontsize": "small" if K <= 10 else "xx-small"},
        cbar_kws={"label": "mistakes (% of the true class)", "shrink": 0.8},
        ax=ax,
    )
    for k in range(K):
        ax.add_patch(plt.Rectangle((k, k), 1, 1, fill=False, edgecolor="black", linewidth=1))
    ax.set(xlabel="predicted class", ylabel="true class", title=title)
    ax.tick_params(axis="x", rotation=0 if max(map(len, map(str, classes))) <= 3 else 45)
    ax.tick_params(axis="y", rotation=0)
    return ax


def reliability(calibrations: dict[str, Calibration], *, ax: Axes | None = None) -> Axes:
    """Accuracy against confidence, bin by bin: on the diagonal a network is as right as it is sure.

    Parameters
    ----------
    calibrations : dict of label to Calibration
        From :func:`cnncourse.analysis.predictions.calibration`. The area of a marker grows with the images in its bin.
    ax : Axes, optional
        The current one by default.
    """
    import matplotlib.pyplot as plt
    import seaborn as sns

    from cnncourse.plotting.curves import DASHES, MARKERS

    if not calibrations:
        raise CourseError("There is no calibration to draw.", "Pass at least one.")
    ax = ax or plt.gca()
    ax.plot([0, 1], [0, 1], color="grey", linewidth=1, label="as right as sure")
    colours: Any = sns.color_palette("colorblind", len(calibrations))
    for k, ((label, found), colour) in enumerate(zip(calibrations.items(), colours, strict=True)):
        bins = found.bins
        marker, dashes = MARKERS[k % len(MARKERS)], DASHES[k % len(DASHES)]
        name = f"{label} (ECE {100 * found.ece:.1f} %)"
        (line,) = ax.plot(bins["confidence"], bins["accuracy"], color=colour, linewidth=1.2, label=name, marker=marker)
        line.set_markersize(3)
        if dashes:
            line.set_dashes(dashes)
        area = 8 + 160 * bins["images"] / bins["images"].sum()
        ax.scatter(bins["confidence"], bins["accuracy"], s=area, color=colour, alpha=0.35, marker=marker)
    ax.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal")
    ax.legend(fontsize="small")
    return ax
