"""Curves and intervals over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from cnncourse.errors import CourseError
from cnncourse.statistics import mean_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Series = Mapping[int, Sequence[float]]
"""Values of one curve for each seed."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("", (4, 1.5), (1, 1), (6, 1, 1, 1), (3, 1), (6, 2, 2, 2), (2, 2), (5, 1, 2, 1))


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
    legend: bool = True,
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
    legend : bool
        Explain the marks, in a row of its own below the groups; once is enough for panels side by side.
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
    room = 0.8 + 0.1 * len(groups) if legend else 0  # below the rows, so that the legend covers no ring
    ax.set_ylim(len(groups) - 0.5 + room, -0.5)  # first row on top
    ax.set_xlabel(x_label)
    if legend:
        ax.legend(loc="lower center", ncols=3)
    return ax


def sweep_curves(
    table: pd.DataFrame,
    x: str,
    y: str = "test_accuracy",
    *,
    hue: str | None = None,
    x_label: str,
    y_label: str,
    scale: float = 1.0,
    ax: Axes | None = None,
) -> Axes:
    """What a sweep found: y against a setting on a log axis, the mean over seeds with its 95 % t-interval.

    Parameters
    ----------
    table : pandas.DataFrame
        ``sweep(...).table``. A setting with runs that diverged has a cross at the foot of the axes, labelled with their
        number; its mean is over the others.
    x : str
        Column of the setting, such as 'lr'. A value of 0 is drawn at the left end of the log axis.
    y : str
        Column of the measurement.
    hue : str, optional
        Column that tells several curves apart.
    x_label, y_label : str
        With the unit in brackets.
    scale : float
        Factor for y: 100 makes percentages of accuracies.
    ax : Axes, optional
        The current one by default.

    Raises
    ------
    CourseError
        When the table lacks a column or has no rows.
    """
    import matplotlib.pyplot as plt
    import seaborn as sns

    if missing := [column for column in (x, y, hue, "seed", "outcome") if column and column not in table]:
        raise CourseError(f"The table has no column {missing[0]!r}.", f"It has {', '.join(table.columns)}.")
    if table.empty:
        raise CourseError("The table has no rows: there is nothing to draw.", "Sweep over at least one setting.")
    ax = ax or plt.gca()
    frame = table.assign(**{y: scale * table[y]})
    positive = frame.loc[frame[x] > 0, x]
    if (frame[x] == 0).any() and len(positive):
        frame = frame.assign(**{x: frame[x].where(frame[x] > 0, positive.min() / 10)})
    groups = [("", frame)] if hue is None else list(frame.groupby(hue, sort=False))
    colours = sns.color_palette("colorblind", len(groups))
    for k, ((label, rows), colour) in enumerate(zip(groups, colours, strict=True)):
        marker, dashes = MARKERS[k % len(MARKERS)], DASHES[k % len(DASHES)]
        finished = rows[rows["outcome"] != "diverged"].dropna(subset=[y])
        means = finished.groupby(x)[y].mean()
        ends = [t_band(values) for _, values in finished.groupby(x)[y]]
        (line,) = ax.plot(means.index, means, marker=marker, color=colour, label=str(label), markeredgecolor="white")
        if dashes:
            line.set_dashes(dashes)
        if ends:
            ax.fill_between(means.index, *zip(*ends, strict=True), color=colour, alpha=0.2, linewidth=0)
        for value, number in (rows["outcome"] == "diverged").groupby(rows[x]).sum().items():
            if number:
                foot = ax.get_xaxis_transform()
                ax.plot(value, 0.03 + 0.05 * k, "x", color=colour, transform=foot, markeredgewidth=2, clip_on=False)
                ax.annotate(
                    f"{number} diverged",
                    (value, 0.03 + 0.05 * k),
                    xycoords=foot,
                    xytext=(5, -3),
                    textcoords="offset points",
                    fontsize="x-small",
                )
    if len(positive):
        ax.set_xscale("log")
    ax.set(xlabel=x_label, ylabel=y_label)
    if hue is not None:
        ax.legend(title=None)
    return ax


def bands(
    low_high: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x: Sequence[float] | None = None,
    *,
    x_label: str = "Step",
    y_label: str,
    ax: Axes | None = None,
) -> Axes:
    """Ranges along a training, such as the loss-landscape bands of several networks, hatched to differ in grey.

    Parameters
    ----------
    low_high : mapping of label to (low, high)
        Ends of the range at each step.
    x : sequence, optional
        Steps; 1, 2, ... by default.
    x_label, y_label : str
        With the unit in brackets.
    ax : Axes, optional
        The current one by default.
    """
    import matplotlib.pyplot as plt
    import seaborn as sns

    if not low_high:
        raise CourseError("There is no band to draw.", "Pass at least one.")
    ax = ax or plt.gca()
    colours = sns.color_palette("colorblind", len(low_high))
    hatches = ("", "///", "...", "\\\\\\", "xxx")
    for k, ((label, (low, high)), colour) in enumerate(zip(low_high.items(), colours, strict=True)):
        steps = x if x is not None else range(1, len(low) + 1)
        ax.fill_between(
            steps, low, high, facecolor=(*colour, 0.35), edgecolor=colour, hatch=hatches[k % len(hatches)], label=label
        )
    ax.set(xlabel=x_label, ylabel=y_label)
    ax.legend()
    return ax
