"""The worked numbers of the methods page, and intervals that hold what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ehrmem_widgets.statistics.intervals import (
    STOPPED,
    Estimate,
    difference,
    effective_sample_size,
    paired_difference,
    proportion,
    weighted_mean,
    weighted_means,
)


@pytest.mark.parametrize(
    ("hits", "n", "middle", "reach", "tolerance"),
    [(850, 1000, 0.849, 0.022, 5e-4), (0, 1000, 0.002, 0.002, 5e-4), (23, 100, 0.23999, 0.08156, 5e-6)],
)
def test_wilson(hits: int, n: int, middle: float, reach: float, tolerance: float) -> None:
    found = proportion(hits, n)
    assert found.value == hits / n and found.n == n
    assert (found.low + found.high) / 2 == pytest.approx(middle, abs=tolerance)
    assert found.half_width == pytest.approx(reach, abs=tolerance)


def test_wilson_of_the_papers_eight_of_nine_and_of_no_hit_in_a_hundred() -> None:
    eight = proportion(8, 9)
    assert (eight.low, eight.high) == (pytest.approx(0.565, abs=5e-4), pytest.approx(0.980, abs=5e-4))
    none = proportion(0, 100)
    assert none.low == 0 and none.high == pytest.approx(0.037, abs=5e-4)
    every = proportion(100, 100)
    assert every.high == 1 and every.low == pytest.approx(1 - none.high)


# Differences ----------------------------------------------------------------------------------------------------------


def test_a_difference_of_proportions_is_newcombes() -> None:
    """Newcombe (1998), table II: 56/70 - 48/80 = .20, method 10 gives .0524 to .3339; 9/10 - 3/10: .1705 to .8090."""
    for a, b, low, high in (((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090)):
        found = difference(proportion(*a), proportion(*b))
        assert found.value == pytest.approx(a[0] / a[1] - b[0] / b[1])
        assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))
        assert found.n == min(a[1], b[1])


def test_of_nothing_there_is_no_difference() -> None:
    nothing = Estimate(math.nan, math.nan, math.nan, 0)
    found = difference(nothing, proportion(3, 10))
    assert all(map(math.isnan, (found.value, found.low, found.high))) and found.n == 0  # and not -1 to 1


def test_a_difference_is_turned_round_with_its_sides_and_stays_within_bounds() -> None:
    a, b = Estimate(0.7, 0.6, 0.9, 50), Estimate(0.1, 0.05, 0.3, 20)
    one, other = difference(a, b), difference(b, a)
    assert (one.value, one.low, one.high) == pytest.approx((-other.value, -other.high, -other.low))
    assert one.low < one.value < one.high
    certain = difference(Estimate(1, 1, 1, 5), Estimate(0, 0, 0, 5))
    assert (certain.value, certain.low, certain.high) == (1, 1, 1)
    widest = difference(Estimate(1, 0, 1, 5), Estimate(0, 0, 1, 5))
    assert -1 <= widest.low <= widest.high == 1


# Means over trajectories ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "level", "low", "high"),
    [
        (np.zeros(64), 0.95, 0.0, 0.056289),
        (np.zeros(128), 0.95, 0.0, 0.028550),
        (np.append(np.zeros(63), 1.0), 0.95, 0.000387, 0.084141),
        (np.full(64, 0.3), 0.95, 0.283113, 0.339403),
        (np.append(np.full(3, 0.99), np.full(125, 2e-4)), 0.95, 0.005009, 0.066680),
        (np.append(np.full(3, 0.99), np.full(125, 2e-4)), 0.96, 0.004609, 0.068998),
        (np.linspace(0, 1, 101), 0.95, 0.438300, 0.561700),
        (np.arange(10) / 10, 0.95, 0.241093, 0.677923),
        (np.random.default_rng(0).random(200) ** 8, 0.95, 0.117711, 0.192802),
    ],
)
def test_gaffkes_interval_is_the_published_one(values: np.ndarray, level: float, low: float, high: float) -> None:
    found = weighted_mean(values, level=level)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)
    mirrored = weighted_mean(1 - values, level=level)
    assert (mirrored.low, mirrored.high) == pytest.approx((1 - high, 1 - low), abs=1e-6)


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (1, 30), (8, 9), (50, 100), (100, 100)])
def test_on_yes_and_no_gaffkes_interval_is_clopper_and_pearsons(hits: int, n: int) -> None:
    found, exact = weighted_mean(np.arange(n) < hits), proportion(hits, n, exact=True)
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high), abs=2e-3)  # by a saddlepoint


def test_equal_weights_are_no_weights_however_small() -> None:
    values = np.random.default_rng(1).uniform(0.2, 0.6, 30)
    assert weighted_mean(values, np.full(30, -700.0)) == weighted_mean(values)


@pytest.mark.parametrize("share", [0.005, 0.01, 0.02, 0.3, 0.7, 0.95, 0.99])
def test_spiky_leaks_are_covered_where_sampling_stops_on_the_width(share: float) -> None:
    """A share of the trajectories leaks at 0.99, as on the main screen; the t-interval covered from 0.27 on."""
    rng, runs = np.random.default_rng(7), 400
    exact = share * 0.99 + (1 - share) * 2e-4
    values = np.where(rng.random((1024, runs)) < share, 0.99, 2e-4)
    n, low, high = np.full(runs, 64), np.zeros(runs), np.zeros(runs)
    going = np.full(runs, True)
    while going.any():
        for size in np.unique(n[going]):  # a run is a column; those of one size are asked at once
            of = np.flatnonzero(going & (n == size))
            _, low[of], high[of] = weighted_means(values[:size, of], level=STOPPED)
        half_width = (high - low) / 2
        going &= (half_width > 0.02) & (n < 1024)
        more = np.ceil((n * (half_width / 0.02) ** 2 - n) / 16).astype(int)
        n = np.where(going, np.minimum(1024, n + np.minimum(16 * more, 256)), n)
    covered = ((low <= exact) & (exact <= high)).mean()
    assert covered >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / runs)
    ended = weighted_mean(values[: n[0], 0], level=STOPPED)  # and one alone, as it is asked for
    assert (low[0], high[0]) == pytest.approx((ended.low, ended.high))


def test_the_difference_of_pairs_covers_and_is_narrower_than_that_of_two_means() -> None:
    rng, covered, widths = np.random.default_rng(8), 0, []
    for _ in range(300):
        same = rng.random(128)
        a, b = np.where(same < 0.30, 0.9, 0.0), np.where(same < 0.25, 0.9, 0.0)
        value, low, high = (float(one[0]) for one in paired_difference(a[:, None], b[:, None]))
        covered += low <= 0.045 <= high
        widths.append((high - low) / 2 / difference(weighted_mean(a), weighted_mean(b)).half_width)
        assert low <= value <= high
    assert covered / 300 >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 300)
    assert np.median(widths) < 0.7


def test_weights_count_as_repetitions_do() -> None:
    values, log_weights = np.array([0.1, 0.5, 0.9]), np.log([2.0, 1.0, 1.0])
    assert weighted_mean(values, log_weights).value == pytest.approx((0.1 * 2 + 0.5 + 0.9) / 4)
    assert effective_sample_size(log_weights) == pytest.approx(16 / 6)
    assert effective_sample_size(np.full(40, -1e4)) == pytest.approx(40)
    assert effective_sample_size(np.array([0.0, -1e4, -1e4])) == pytest.approx(1)


def test_columns_are_estimated_each_on_its_own() -> None:
    rng = np.random.default_rng(2)
    values, log_weights = rng.uniform(size=(40, 5)), rng.normal(size=40)
    columns = np.stack(weighted_means(values, log_weights))
    for column in range(5):
        one = weighted_mean(values[:, column], log_weights)
        assert tuple(columns[:, column]) == pytest.approx((one.value, one.low, one.high))


def test_one_sample_says_nothing() -> None:
    one = weighted_mean(np.array([0.3]))
    assert one.value == 0.3 and one.low < 0.01 and one.high > 0.97
    rules = weighted_mean(np.array([0.3, 0.8, 0.9]), np.array([0.0, -50.0, -50.0]))
    assert (rules.value, rules.low, rules.high) == (pytest.approx(0.3), 0.0, 1.0)


def test_an_interval_never_leaves_what_a_probability_can_be() -> None:
    found = weighted_mean(np.array([0.0, 0.0, 0.9, 1.4]))
    assert 0 <= found.low <= found.value <= found.high <= 1


@pytest.mark.parametrize("weighted", [False, True])
def test_intervals_cover_the_mean_as_often_as_they_say(weighted: bool) -> None:
    """1,000 runs of 60 values; importance weights correct values that were drawn from the wrong distribution."""
    rng = np.random.default_rng(3)
    covered = 0
    for _ in range(1000):
        values = rng.beta(2, 4, 60) if not weighted else rng.uniform(size=60)
        log_weights = np.log(values) + 3 * np.log1p(-values) if weighted else None  # uniform to Beta(2, 4)
        found = weighted_mean(values, log_weights)
        covered += found.low <= 1 / 3 <= found.high
    assert covered / 1000 >= 0.94


def test_an_estimate_in_words_has_its_interval_and_its_n() -> None:
    assert str(Estimate(0.123, 0.05, 0.2, 1200)) == "0.12 (0.05 to 0.20, n = 1,200)"


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),
    [(10, 100, 0.049, 0.176), (18, 100, 0.110, 0.269), (8, 9, 0.518, 0.997), (0, 100, 0, 0.0362)],
)
def test_clopper_and_pearsons_interval_is_the_published_one(hits: int, n: int, low: float, high: float) -> None:
    found = proportion(hits, n, exact=True)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-4 if hits else 5e-5)


def test_the_papers_precision_of_eight_in_nine_is_a_wide_interval() -> None:
    assert (proportion(8, 9).low, proportion(8, 9).high) == pytest.approx((0.565, 0.980), abs=5e-4)
