"""Confusions and calibration: the definitions, written out image by image, give the same."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cnncourse.analysis.predictions import calibration, confused_pairs, most_confidently_wrong, most_confusing
from cnncourse.errors import CourseError

K = 3
CLASSES = ["cat", "bird", "dog"]


@st.composite
def evaluated(draw):
    """Logits (N, 3) and labels (N,); coarse logits, so that ties occur."""
    N = draw(st.integers(1, 25))
    logits = draw(arrays(np.float32, (N, K), elements=st.integers(-4, 4).map(lambda n: n / 2)))
    return torch.from_numpy(logits), torch.tensor(draw(st.lists(st.integers(0, K - 1), min_size=N, max_size=N)))


relaxed = settings(max_examples=50, deadline=None)


def test_pairs_are_counted_in_one_direction_or_in_both():
    confusion = torch.tensor([[5, 1, 4], [0, 9, 1], [2, 0, 8]])
    pairs = confused_pairs(confusion, CLASSES)
    assert pairs.values.tolist() == [
        ["cat", "dog", 4, 0.4],
        ["dog", "cat", 2, 0.2],
        ["cat", "bird", 1, 0.1],
        ["bird", "dog", 1, 0.1],
    ]
    both = confused_pairs(confusion.numpy(), ordered=False)
    assert both.values.tolist() == [[0, 2, 6, 0.3], [0, 1, 1, 0.05], [1, 2, 1, 0.05]]
    assert len(confused_pairs(torch.eye(3, dtype=torch.int64))) == 0


@relaxed
@given(arrays(np.int64, (K, K), elements=st.integers(0, 9)).filter(lambda confusion: confusion.sum()))
def test_every_error_is_in_one_pair(confusion):
    errors = confusion.sum() - confusion.trace()
    for ordered in (True, False):
        pairs = confused_pairs(confusion, ordered=ordered)
        assert pairs["images"].sum() == errors
        assert pairs["images"].is_monotonic_decreasing
        assert pairs["share"].between(0, 1, inclusive="right").all()


def by_hand(logits, labels):
    """For each image: position, true, predicted, probability, margin."""
    probs = np.exp(logits.double().numpy())
    probs /= probs.sum(1, keepdims=True)
    first = np.sort(probs, 1)
    return [(i, int(labels[i]), first[i, -1], first[i, -1] - first[i, -2]) for i in range(len(labels))]


@relaxed
@given(evaluated(), st.integers(1, 4))
def test_the_most_confusing_have_the_smallest_margins_of_their_class(data, per_class):
    logits, labels = data
    table = most_confusing(logits, labels, CLASSES, per_class=per_class)
    rows = by_hand(logits, labels)
    for k, name in enumerate(CLASSES):
        mine = table[table["true"] == name]
        expected = sorted(margin for _, true, _, margin in rows if true == k)[:per_class]
        np.testing.assert_allclose(mine["margin"], expected, atol=1e-12)
        assert (labels[mine["image"].to_list()] == k).all()
    for row in table.itertuples():
        assert row.predicted != row.second
        assert logits[row.image, CLASSES.index(row.predicted)] == logits[row.image].max()
        assert row.probability == pytest.approx(rows[row.image][2])


@relaxed
@given(evaluated(), st.integers(1, 4))
def test_the_most_confidently_wrong_are_errors_with_the_largest_probabilities(data, per_class):
    logits, labels = data
    table = most_confidently_wrong(logits, labels, CLASSES, per_class=per_class)
    wrong = logits.double().softmax(1).topk(2).indices[:, 0] != labels  # of ties the one that the tables take
    rows = by_hand(logits, labels)
    for k, name in enumerate(CLASSES):
        expected = sorted((p for i, true, p, _ in rows if true == k and wrong[i]), reverse=True)[:per_class]
        np.testing.assert_allclose(table[table["true"] == name]["probability"], expected, atol=1e-12)
    assert (table["true"] != table["predicted"]).all()


def test_tables_keep_the_order_of_the_classes_not_of_the_alphabet():
    labels = torch.tensor([2, 1, 0, 2])
    table = most_confusing(torch.eye(3)[[2, 1, 1, 0]], labels, CLASSES)
    assert table["true"].tolist() == ["cat", "bird", "dog", "dog"]
    assert table["image"].tolist() == [2, 1, 0, 3]


@relaxed
@given(evaluated(), st.integers(1, 12))
def test_calibration_is_its_definition(data, num_bins):
    logits, labels = data
    found = calibration(logits, labels, num_bins=num_bins)
    top = logits.double().softmax(1).max(1)
    confidence, right = top.values.numpy(), (top.indices == labels).numpy()
    edges, ece, kept = torch.linspace(0, 1, num_bins + 1, dtype=torch.float64).tolist(), 0.0, []
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            ece += inside.mean() * gap
            kept.append((low, high, inside.sum(), confidence[inside].mean(), right[inside].mean()))
    assert found.ece == pytest.approx(ece, abs=1e-12)
    np.testing.assert_allclose(found.bins.to_numpy(float), np.array(kept, dtype=float), atol=1e-12)
    assert list(found.bins) == ["low", "high", "images", "confidence", "accuracy"]


def test_probabilities_that_are_frequencies_are_calibrated():
    logits = torch.tensor([[0.75, 0.25]]).log().repeat(8, 1)
    labels = torch.tensor([0, 0, 0, 1] * 2)
    assert calibration(logits, labels).ece == pytest.approx(0, abs=1e-7)
    assert calibration(logits * 20, labels).ece == pytest.approx(0.25, abs=1e-4)  # too sure
    sharp = torch.tensor([[1.0, 0.0]]).log()  # of a network that ends in a softmax, saturated
    assert calibration(sharp, torch.tensor([0])).ece == 0


good = torch.zeros(4, 3)
y = torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize("function", [most_confusing, most_confidently_wrong, calibration])
@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (good[:0], y[:0], "There is no image"),
        (good[0], y, r"shape \(N, K\) with at least 2 classes"),
        (good[:, :1], y, "at least 2 classes"),
        (good.long(), y, "floating point"),
        (good, y[:3], r"4 rows of logits, but labels are torch.int64 of shape \(3,\)"),
        (good, y.float(), "labels are torch.float32"),
        (good, y + 1, "labels reach from 1 to 3, the classes from 0 to 2"),
        (good, y - 1, "labels reach from -1"),
        (good + torch.tensor([0, torch.nan, 0]), y, "image 0 are not numbers"),
    ],
)
def test_what_does_not_fit_is_named(function, logits, labels, message):
    with pytest.raises(CourseError, match=message):
        function(logits, labels)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: most_confusing(good, y, per_class=0), "per_class must be an integer of at least 1, not 0"),
        (lambda: calibration(good, y, num_bins=2.5), r"num_bins must be an integer of at least 1, not 2\.5"),
        (lambda: most_confusing(good, y, ["a", "b"]), "2 names for 3 classes"),
        (lambda: confused_pairs(torch.ones(2, 3, dtype=int)), r"shape \(K, K\), not \(2, 3\)"),
        (lambda: confused_pairs(torch.eye(3)), "before its rows are normalised"),
        (lambda: confused_pairs(-torch.eye(3, dtype=int)), "numbers of images"),
        (lambda: confused_pairs(torch.zeros(3, 3, dtype=int)), "holds no image"),
        (lambda: confused_pairs(torch.eye(3, dtype=int), ["a"]), "1 names for 3 classes"),
    ],
)
def test_arguments_that_make_no_sense_are_named(call, message):
    with pytest.raises(CourseError, match=message):
        call()
