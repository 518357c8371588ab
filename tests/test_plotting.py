"""What the figures show: means, t-intervals, reported crosses, and lines that differ without colour."""

import matplotlib
import numpy as np
import pytest
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from cnncourse import plotting
from cnncourse.statistics import mean_interval


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


CURVES = {"small rate": {0: [3.0, 2.0, 1.0], 1: [3.2, 2.4, 1.6]}, "large rate": {0: [1.0, 0.5], 1: [1.4, 0.7]}}


def test_learning_curves_draw_means_and_t_intervals(ax):
    plotting.learning_curves(CURVES, y_label="Loss (nats)", ax=ax)
    lines = [line for line in ax.lines if len(line.get_xdata())]
    np.testing.assert_allclose(lines[0].get_xydata(), [[1, 3.1], [2, 2.2], [3, 1.3]])
    np.testing.assert_allclose(lines[1].get_xydata(), [[1, 1.2], [2, 0.6]])
    band = ax.collections[0].get_paths()[0].vertices
    interval = mean_interval([1.0, 1.6])
    assert band[:, 1].min() == pytest.approx(interval.low)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Epoch", "Loss (nats)")


def test_learning_curves_differ_without_colour(ax):
    plotting.learning_curves({str(k): {0: [1.0, k]} for k in range(6)}, y_label="Loss", ax=ax)
    lines = [line for line in ax.lines if len(line.get_xdata())]
    looks = {(line.get_marker(), str(line._dash_pattern)) for line in lines}
    assert len(looks) == 6


def test_learning_curves_over_another_x_with_the_report(ax):
    plotting.learning_curves(
        CURVES,
        x={"small rate": [10, 20, 30], "large rate": [5, 10]},
        x_label="Updates",
        y_label="Loss",
        reported={"large rate": [1.5, 0.4]},
        ax=ax,
    )
    crosses = [line for line in ax.lines if line.get_marker() == "x"]
    np.testing.assert_allclose(crosses[0].get_xydata(), [[5, 1.5], [10, 0.4]])
    assert "large rate, report" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_one_seed_has_no_band(ax):
    plotting.learning_curves({"a": {0: [1.0, 2.0]}}, y_label="Loss", ax=ax)
    assert np.all(np.isfinite(ax.get_ylim()))
    assert plotting.t_band([2.0]) == (2.0, 2.0)


def test_intervals_show_each_seed_mean_and_report(ax):
    plotting.intervals({"a": [1.0, 2.0, 6.0], "b": [4.0]}, x_label="Accuracy (%)", reported={"a": 2.5}, ax=ax)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]
    interval = mean_interval([1.0, 2.0, 6.0])
    bar = ax.containers[0].lines[2][0].get_segments()[0]
    np.testing.assert_allclose(bar[:, 0], [interval.low, interval.high])
    np.testing.assert_allclose(ax.collections[1].get_offsets()[:, 0], [1, 2, 6])
    crosses = [line for line in ax.lines if line.get_marker() == "x" and len(line.get_xdata())]
    assert [float(line.get_xdata()[0]) for line in crosses] == [2.5]


def test_digits_grid():
    figure = plotting.digits(torch.zeros(7, 1, 28, 28, dtype=torch.uint8), range(7), columns=5)
    assert [ax.get_title() for ax in figure.axes] == ["0", "1", "2", "3", "4", "5", "6", "", "", ""]
    plt.close(figure)


def test_style_uses_the_colour_blind_palette():
    import seaborn as sns

    with matplotlib.rc_context():
        plotting.use_style()
        assert sns.color_palette() == sns.color_palette("colorblind")
