"""Intervals: the t quantile against printed tables and SciPy, means and pairs by hand."""

import math
import subprocess
import sys

import pytest
import scipy.stats

from cnncourse.statistics import leader, mean_interval, paired_interval, t_quantile


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (19, 2.093), (30, 2.042), (120, 1.980)],
)
def test_quantile_agrees_with_printed_tables(degrees, quantile):
    assert t_quantile(0.975, degrees) == pytest.approx(quantile, abs=5e-4)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 10, 19, 99, 1000])
@pytest.mark.parametrize("probability", [0.01, 0.4, 0.5, 0.6, 0.95, 0.975, 0.999])
def test_quantile_agrees_with_scipy(degrees, probability):
    assert t_quantile(probability, degrees) == pytest.approx(
        scipy.stats.t.ppf(probability, degrees), rel=1e-9, abs=1e-12
    )


@pytest.mark.parametrize(("probability", "degrees"), [(0, 3), (1, 3), (0.9, 0)])
def test_quantile_refuses_what_has_none(probability, degrees):
    with pytest.raises(ValueError, match=r"between 0 and 1|at least one"):
        t_quantile(probability, degrees)


def test_interval_of_three_seeds_is_430_standard_errors():
    interval = mean_interval([1.0, 2.0, 3.0])
    assert (interval.mean, interval.n) == (2.0, 3)
    assert interval.half_width == pytest.approx(4.303 / math.sqrt(3), abs=1e-3)
    assert (interval.low + interval.high) / 2 == pytest.approx(2.0)


def test_interval_agrees_with_scipy():
    values = [97.7, 97.9, 97.4, 98.1, 97.6]
    low, high = scipy.stats.t.interval(0.9, 4, scipy.stats.tmean(values), scipy.stats.sem(values))
    interval = mean_interval(values, confidence=0.9)
    assert (interval.low, interval.high) == pytest.approx((low, high))


def test_equal_values_have_an_interval_of_no_width():
    assert mean_interval([5.0, 5.0]).half_width == 0


def test_one_value_says_nothing_about_the_spread():
    interval = mean_interval([5.0])
    assert (interval.mean, interval.low, interval.high) == (5.0, -math.inf, math.inf)
    assert interval.half_width == math.inf


def test_no_value_has_no_mean():
    with pytest.raises(ValueError, match="at least one"):
        mean_interval([])


def test_pairs_remove_what_both_runs_share():
    a, b = [10.0, 20.0, 30.0], [9.0, 19.1, 28.9]
    assert paired_interval(a, b).low > 0
    assert mean_interval(a).low < mean_interval(b).high  # unpaired, the two overlap widely


def test_mappings_are_paired_by_their_common_seeds():
    interval = paired_interval({0: 3.0, 1: 5.0, 7: 100.0}, {1: 4.0, 0: 1.0, 2: -100.0})
    assert (interval.mean, interval.n) == (1.5, 2)


def test_sequences_of_different_length_are_no_pairs():
    with pytest.raises(ValueError, match="zip"):
        paired_interval([1.0, 2.0], [1.0])


def test_nothing_heavy_is_imported():
    code = "import cnncourse.statistics, sys; print({'scipy', 'numpy', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_the_leader_is_the_group_with_the_highest_mean_and_its_lead_is_over_the_second():
    groups = {"a": {0: 1.0, 1: 3.0}, "b": {0: 5.0, 1: 7.0}, "c": {0: 4.0, 1: 5.0, 2: 4.0}}
    name, lead = leader(groups)
    assert name == "b"
    assert (lead.mean, lead.n) == (1.5, 2)  # over c, on the seeds that both have
