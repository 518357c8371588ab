"""Drawings of networks: as many boxes as layers, as many arcs as shortcuts."""

import matplotlib
import pytest
import torch

matplotlib.use("Agg")

from cnncourse import plotting
from cnncourse.errors import CourseError
from cnncourse.models import create


def texts(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize(
    ("name", "options", "boxes", "identities", "others"),
    [
        ("resnet18", {}, 19, 5, 3),
        ("resnet20", {"shortcut": "padding"}, 21, 7, 2),
        ("resnet20", {"residual": False}, 21, 0, 0),
        ("resnet50", {}, 51, 12, 4),
        ("tutorial_cnn", {}, 7, 0, 0),
    ],
)
def test_one_box_for_each_layer_and_one_arc_for_each_shortcut(ax, name, options, boxes, identities, others):
    with torch.device("meta"):
        plotting.network(create(name, **options), 32, ax=ax)
    assert len(ax.patches) == boxes
    _way, *arcs = ax.lines
    dashed = [arc for arc in arcs if arc.get_linestyle() == "--"]
    assert (len(arcs) - len(dashed), len(dashed)) == (identities, others)


def test_a_part_alone_with_its_labels(ax):
    with torch.device("meta"):
        plotting.network(create("resnet34", stem="imagenet"), 224, part="features.layer1", ax=ax)
    assert len(ax.patches) == 6
    assert texts(ax).count("3x3, 64") == 6
    assert texts(ax).count("+") == 3
    assert "56x56" in texts(ax)


def test_the_stride_is_written_and_the_map_below(ax):
    with torch.device("meta"):
        plotting.network(create("resnet18"), 32, ax=ax)
    assert texts(ax).count("3x3, 512, /2") == 1
    assert {"32x32", "16x16", "8x8", "4x4"} <= set(texts(ax))


def test_a_part_that_is_not_there(ax):
    with pytest.raises(CourseError, match=r"no layers in 'features\.layer9'"):
        plotting.network(create("resnet20"), 32, part="features.layer9", ax=ax)
