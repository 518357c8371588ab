"""Figures of the notebooks: seaborn on its colour-blind palette, told apart by dashes, markers or hatches as well.

A function that draws one picture takes matplotlib axes and returns them; one that draws a grid returns its figure. The
notebook adds what belongs to its own story.
"""

from cnncourse.plotting.curves import bands, intervals, learning_curves, sweep_curves, t_band
from cnncourse.plotting.images import attributions, digits, feature_maps, image_grid, kernel_grid
from cnncourse.plotting.matrices import confusion_matrix, reliability
from cnncourse.plotting.networks import network

__all__ = [
    "attributions",
    "bands",
    "confusion_matrix",
    "digits",
    "feature_maps",
    "image_grid",
    "intervals",
    "kernel_grid",
    "learning_curves",
    "network",
    "reliability",
    "sweep_curves",
    "t_band",
    "use_style",
]


def use_style() -> None:
    """Set seaborn's white grid and colour-blind palette for all figures of a notebook."""
    import seaborn as sns

    sns.set_theme(
        style="whitegrid",
        palette="colorblind",
        rc={"figure.dpi": 100, "axes.titlesize": "medium", "figure.titlesize": "medium"},
    )
