"""What the figures show: means, t-intervals, reported crosses, and lines that differ without colour."""

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from cnncourse import plotting
from cnncourse.errors import CourseError
from cnncourse.statistics import mean_interval

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


@pytest.mark.parametrize("rows", [1, 2, 12])
def test_the_legend_of_intervals_covers_no_ring(rows, ax):
    plotting.intervals({str(row): list(range(50)) for row in range(rows)}, x_label="Accuracy (%)", ax=ax)
    ax.figure.canvas.draw()
    legend = ax.get_legend().get_window_extent()
    rings = [p for c in ax.collections for p in ax.transData.transform(c.get_offsets())]
    assert rings
    assert not any(legend.contains(*p) for p in rings)
    plotting.intervals({"a": [1.0, 2.0]}, x_label="Accuracy (%)", legend=False, ax=ax.figure.add_subplot())
    assert ax.figure.axes[-1].get_legend() is None


def test_digits_grid():
    figure = plotting.digits(torch.zeros(7, 1, 28, 28, dtype=torch.uint8), range(7), columns=5)
    assert [ax.get_title() for ax in figure.axes] == ["0", "1", "2", "3", "4", "5", "6", "", "", ""]
    plt.close(figure)


def test_style_uses_the_colour_blind_palette():
    import seaborn as sns

    with matplotlib.rc_context():
        plotting.use_style()
        assert sns.color_palette() == sns.color_palette("colorblind")


# --- images ---------------------------------------------------------------------------------------------------------
def drawn(figure):
    return [ax.images[0].get_array() for ax in figure.axes if ax.images]


def test_image_grid_shows_pixels_and_titles():
    images = torch.randint(0, 256, (5, 3, 4, 4), dtype=torch.uint8)
    figure = plotting.image_grid(images, list("abcde"), columns=3)
    np.testing.assert_allclose(drawn(figure)[2], images[2].permute(1, 2, 0) / 255)
    assert [ax.get_title() for ax in figure.axes] == ["a", "b", "c", "d", "e", ""]
    plt.close(figure)


def test_image_grid_undoes_a_normalisation():
    pixels = torch.rand(2, 3, 4, 4)
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    X = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    figure = plotting.image_grid(X, mean=mean, std=std)
    np.testing.assert_allclose(drawn(figure)[1], pixels[1].permute(1, 2, 0), atol=1e-6)
    plt.close(figure)


def test_kernels_share_one_symmetric_scale():
    grey = plotting.kernel_grid(torch.tensor([[[[1.0]]], [[[-4.0]]]]))
    assert {ax.images[0].get_clim() for ax in grey.axes if ax.images} == {(-4.0, 4.0)}
    colour = plotting.kernel_grid(torch.tensor([0.0, 4.0, -4.0]).view(1, 3, 1, 1))
    np.testing.assert_allclose(drawn(colour)[0].ravel(), [0.5, 1.0, 0.0])
    plt.close("all")


def test_feature_maps_state_their_range():
    maps = torch.stack([torch.zeros(3, 3), torch.eye(3) * 2])
    figure = plotting.feature_maps(maps)
    assert [ax.get_title() for ax in figure.axes] == ["0: 0 to 0", "1: 0 to 2"]
    plt.close(figure)


def test_attributions_lie_below_their_images():
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    maps = torch.ones(2, 3, 4, 4)
    figure = plotting.attributions(images, maps, ["a", "b"])
    assert [ax.get_title() for ax in figure.axes] == ["a", "b", "", ""]
    np.testing.assert_allclose(drawn(figure)[3], 3)
    plt.close(figure)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plotting.image_grid(torch.zeros(4, 4)), "Images have the shape"),
        (lambda: plotting.image_grid(torch.zeros(0, 3, 4, 4)), "N of at least 1"),
        (lambda: plotting.image_grid(torch.zeros(2, 3, 4, 4), ["a"]), "2 images have 1 titles"),
        (lambda: plotting.kernel_grid(torch.zeros(3, 3)), "Kernels have the shape"),
        (lambda: plotting.feature_maps(torch.zeros(1, 2, 3, 3)), "maps of one image"),
        (lambda: plotting.attributions(torch.zeros(1, 3, 4, 4), torch.zeros(1, 5, 5)), "do not belong"),
        (lambda: plotting.confusion_matrix(torch.zeros(2, 2), "abc"), r"shape \(3, 3\)"),
        (lambda: plotting.reliability({}), "no calibration"),
        (lambda: plotting.bands({}, y_label="Loss"), "no band"),
    ],
)
def test_what_cannot_be_drawn_is_named(draw, message):
    with pytest.raises(CourseError, match=message):
        draw()
    plt.close("all")


# --- matrices -------------------------------------------------------------------------------------------------------
def cell_texts(ax):
    return [text.get_text() for text in ax.texts]


def test_confusion_matrix_writes_counts_or_shares_and_colours_mistakes(ax):
    confusion = torch.tensor([[90, 10], [0, 50]])
    plotting.confusion_matrix(confusion, ["cat", "dog"], ax=ax)
    assert cell_texts(ax) == ["90", "10", "", "50"]
    np.testing.assert_allclose(ax.collections[0].get_array().ravel(), [0, 10, 0, 0])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("predicted class", "true class")


def test_confusion_matrix_in_percent_of_the_row(ax):
    plotting.confusion_matrix(torch.tensor([[90, 30], [0, 50]]), ["cat", "dog"], normalise=True, ax=ax)
    assert cell_texts(ax) == ["75.0", "25.0", "", "100.0"]


def test_a_class_without_images_and_a_network_without_mistakes_are_drawn(ax):
    plotting.confusion_matrix(torch.tensor([[3, 0], [0, 0]]), ["a", "b"], normalise=True, ax=ax)
    assert cell_texts(ax) == ["100.0", "", "", ""]


def test_reliability_names_the_calibration_error(ax):
    from cnncourse.analysis.predictions import calibration

    logits = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    found = calibration(logits, torch.arange(50) % 3)
    plotting.reliability({"net": found}, ax=ax)
    np.testing.assert_allclose(ax.lines[1].get_ydata(), found.bins["accuracy"])
    assert f"net (ECE {100 * found.ece:.1f} %)" in [t.get_text() for t in ax.get_legend().get_texts()]


# --- sweeps and bands -----------------------------------------------------------------------------------------------
def sweep_table():
    rows = [
        {"lr": lr, "seed": s, "test_accuracy": 0.5 + lr + 0.01 * s, "outcome": "finished"}
        for lr in (0.01, 0.1)
        for s in (0, 1)
    ]
    return pd.DataFrame([*rows, {"lr": 1.0, "seed": 0, "test_accuracy": float("nan"), "outcome": "diverged"}])


def test_sweep_curves_draw_means_on_a_log_axis_and_mark_what_diverged(ax):
    plotting.sweep_curves(sweep_table(), "lr", x_label="Learning rate", y_label="Accuracy (%)", scale=100, ax=ax)
    assert ax.get_xscale() == "log"
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [[0.01, 51.5], [0.1, 60.5]])
    assert "1 diverged" in cell_texts(ax)


def test_a_setting_of_zero_is_drawn_left_of_the_others(ax):
    table = sweep_table().assign(lr=[0, 0, 0.1, 0.1, 1.0])
    plotting.sweep_curves(table, "lr", x_label="Weight decay", y_label="Accuracy", ax=ax)
    assert ax.lines[0].get_xdata()[0] == pytest.approx(0.01)


def test_sweep_curves_name_a_column_that_is_not_there(ax):
    with pytest.raises(CourseError, match="no column 'rate'"):
        plotting.sweep_curves(sweep_table(), "rate", x_label="", y_label="", ax=ax)
    with pytest.raises(CourseError, match="no rows"):
        plotting.sweep_curves(sweep_table().iloc[:0], "lr", x_label="", y_label="", ax=ax)


def test_bands_differ_without_colour(ax):
    plotting.bands({str(k): ([0, 0], [1, 1]) for k in range(4)}, y_label="Loss (nats)", ax=ax)
    assert len({collection.get_hatch() for collection in ax.collections}) == 4
