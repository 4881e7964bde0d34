"""Discrimination figures against scikit-learn, scipy and hand-worked numbers; intervals cover as often as they say."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from ehrmem_widgets.statistics.discrimination import (
    NOTHING,
    auroc,
    auroc_difference,
    auroc_p,
    average_precision,
    controls_needed,
    difference_of_means,
    macro_auroc,
    mean_with_interval,
    ppv_at_fpr,
    tpr_at_fpr,
)
from ehrmem_widgets.statistics.intervals import Estimate, proportion
from ehrmem_widgets.statistics.multiple_testing import benjamini_hochberg, holm
from ehrmem_widgets.statistics.verdicts import Peers
from tests.benchmarks import evidence_t4

RNG = np.random.default_rng(0)
TRUTH = RNG.random(300) < 0.3
SCORE = np.round(RNG.normal(size=300) + TRUTH, 1)  # with ties


def test_auroc_and_average_precision_are_scikit_learns():
    assert auroc(SCORE[TRUTH], SCORE[~TRUTH]).value == pytest.approx(roc_auc_score(TRUTH, SCORE), abs=1e-12)
    assert average_precision(TRUTH, SCORE).value == pytest.approx(average_precision_score(TRUTH, SCORE), abs=1e-12)


def test_intervals_hold_the_value_and_same_seed_means_same_interval():
    for made in (lambda: auroc(SCORE[TRUTH], SCORE[~TRUTH]), lambda: average_precision(TRUTH, SCORE, seed=4)):
        one = made()
        assert one.low < one.value < one.high
        assert one.n == 300
        assert made() == one


def test_the_auroc_interval_covers_the_truth_about_as_often_as_it_says():
    exact = 0.760250  # Phi(1 / sqrt 2): positives N(1, 1), negatives N(0, 1)
    covered = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        found = auroc(rng.normal(1, 1, 60), rng.normal(0, 1, 60))
        covered += found.low <= exact <= found.high
    rate = proportion(covered, 300)
    assert rate.low <= 0.95 <= rate.high + 0.02


def test_nobody_to_compare_is_no_figure_and_constant_scores_are_chance():
    assert auroc(np.array([]), SCORE).n == 0
    assert math.isnan(auroc(np.array([]), SCORE).value)
    assert math.isnan(auroc_p(SCORE, np.array([])))
    constant = auroc(np.ones(20), np.ones(30))
    assert constant.value == 0.5 and constant.low < 0.4 and constant.high == pytest.approx(1 - constant.low)
    assert auroc_p(np.ones(20), np.ones(30)) == 1.0


def newcombe(value: float, m: int, n: int) -> tuple[float, float]:
    """Newcombe's method 5 on a fine grid: all AUROCs from which the one found is at most 1.96 of their own standard errors away."""
    a = np.linspace(0, 1, 2_000_001)
    half = (m + n) / 2 - 1
    variance = a * (1 - a) * (1 + half * (1 - a) / (2 - a) + half * a / (1 + a)) / (m * n)
    inside = a[np.abs(value - a) <= stats.norm.ppf(0.975) * np.sqrt(variance)]
    return float(inside.min()), float(inside.max())


def test_the_auroc_interval_is_newcombes_where_the_scores_scatter_as_he_assumes():
    apart = auroc(np.arange(30.0) + 100, np.arange(200.0) / 10)
    assert apart.value == apart.high == 1
    assert apart.low == pytest.approx(newcombe(1, 30, 200)[0], abs=1e-6)
    reversed_ = auroc(np.arange(30.0), np.arange(200.0) + 100)
    assert (reversed_.low, reversed_.high) == pytest.approx((0, 1 - apart.low))
    ranks = np.arange(40.0)
    tied = auroc(np.ones(40), ranks[:10] < 8)  # 2 of 10 others below, the rest equal: an AUROC of 0.6
    assert tied.value == pytest.approx(0.6) and (tied.low, tied.high) == pytest.approx(newcombe(0.6, 40, 10), abs=1e-6)
    # Half of the members far above and half far below: DeLong's variance is larger, and the interval wider.
    wide = auroc(np.concatenate([ranks[:10] + 100, ranks[:10] - 100]), ranks[:20])
    assert wide.value == 0.5 and wide.half_width > 1.2 * (newcombe(0.5, 20, 20)[1] - 0.5)


@pytest.mark.parametrize("size", [5, 25])
def test_the_auroc_interval_rises_step_by_step_to_1_without_a_jump(size: int):
    for seed in range(3):
        ends = np.array([(one.low, one.high) for one in evidence_t4.moving_apart(size, seed)])
        assert (np.diff(ends[:, 0]) >= -1e-9).all()
        assert (np.diff(ends[:, 1]) >= -0.01).all() and ends[-1, 1] == 1
        assert 0 < ends[-1, 0] - ends[-2, 0] < 3 / size**2  # one of the size x size pairs changed


def test_a_difference_is_narrower_where_the_scores_go_together_and_has_a_width_at_1():
    one, other = SCORE[TRUTH], SCORE[~TRUTH]
    same = auroc_difference(one, other, one, other)
    shuffled = auroc_difference(one, other, RNG.permutation(one), RNG.permutation(other))
    assert same.value == shuffled.value == 0 and same.low <= 0 <= same.high
    assert same.half_width < 0.3 * shuffled.half_width
    apart = auroc_difference(one + 100, other, one + 50, other)
    assert apart.value == 0 and -apart.low == apart.high == pytest.approx(1 - auroc(one + 100, other).low)


def test_the_mean_over_the_same_attribute_twice_is_no_surer_than_once():
    truth, score = (np.stack([x, x], axis=1).astype(float) for x in (TRUTH, SCORE))
    twice, once = macro_auroc(truth, score), auroc(SCORE[TRUTH], SCORE[~TRUTH])
    assert (twice.value, twice.low, twice.high) == pytest.approx((once.value, once.low, once.high))
    apart = macro_auroc(truth, score + 100 * truth)
    assert apart.value == apart.high == 1 and apart.low == pytest.approx(auroc(SCORE[TRUTH] + 100, SCORE[~TRUTH]).low)


def test_the_mean_over_attributes_leaves_out_rare_ones_and_those_not_counted():
    truth = np.stack([TRUTH, np.arange(300) < 3, np.where(np.arange(300) < 150, TRUTH, np.nan)], axis=1).astype(float)
    score = np.stack([SCORE, SCORE, SCORE], axis=1)
    half = TRUTH[:150]
    expected = (roc_auc_score(TRUTH, SCORE) + roc_auc_score(half, SCORE[:150])) / 2
    found = macro_auroc(truth, score)
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.low < found.value < found.high
    assert macro_auroc(truth[:, 1:2], score[:, 1:2]).n == 0


def test_tpr_at_fpr_against_its_definition_by_drawing():
    rng = np.random.default_rng(3)
    members, others = np.round(rng.normal(1, 1, 120), 1), np.round(rng.normal(0, 1, 400), 1)  # with ties
    found = tpr_at_fpr(members, others, 0.02)
    highest = np.sort(others)[::-1]
    assert found.value == np.mean(members > highest[7]) and found.n == 520  # 8 of 401 are at most 2 %, 9 are not
    above = rng.binomial(400, 0.02, 200_000)
    ends = []
    for hits, misses in ((members[:, None] > highest[above - 1], members[:, None] <= highest[above]),):
        for count in (hits.sum(axis=0), misses.sum(axis=0)):
            ends.append(np.quantile(rng.beta(count, 120 - count + 1), 0.025))
    assert (found.low, 1 - found.high) == pytest.approx(ends, abs=2e-3)


def test_tpr_at_fpr_is_withheld_where_the_threshold_is_unknown():
    members = np.arange(100.0)
    assert tpr_at_fpr(members, members, 0.01) == NOTHING and tpr_at_fpr(members[:0], np.arange(500.0), 0.01) == NOTHING
    assert tpr_at_fpr(members, np.arange(298.0), 0.01) == NOTHING
    assert tpr_at_fpr(members, np.arange(299.0), 0.01).n == 399
    # Far apart, and yet: among 367 it is likelier than 2.5 % that none lies above the true threshold, among 368 it is not.
    few, enough = (tpr_at_fpr(members + 1000, np.arange(n), 0.01) for n in (367.0, 368.0))
    assert (few.value, few.low, few.high) == (1, 0, 1)
    assert enough.value == enough.high == 1 and 0.9 < enough.low < 1
    none = tpr_at_fpr(members - 1000, np.arange(400.0), 0.01)
    assert none.value == none.low == 0 < none.high < 0.05


def test_controls_and_predictive_value_are_the_published_ones():
    assert (controls_needed(0.01), controls_needed(0.001)) == (299, 2995)
    at_half = ppv_at_fpr(Estimate(0.568, 0.5, 0.6, 10), 0.5, 0.5)
    assert at_half.value == pytest.approx(0.5318, abs=1e-4) and at_half.low == 0.5 and at_half.n == 10
    assert ppv_at_fpr(Estimate(0.0, 0.0, 0.1, 10), 0.1, 0.1).value == 0
    assert math.isnan(ppv_at_fpr(NOTHING, 0.01, 0.1).value)


def test_means_and_their_differences():
    a, b = RNG.normal(1, 1, 30), RNG.normal(0, 2, 40)
    mean = mean_with_interval(a)
    expected = stats.ttest_1samp(a, 0).confidence_interval(0.95)
    assert (mean.low, mean.high) == pytest.approx((expected.low, expected.high))
    assert difference_of_means(a, a).value == 0
    gap = difference_of_means(a, b)
    assert gap.low < a.mean() - b.mean() < gap.high
    assert mean_with_interval(a[:1]).high == math.inf


def test_corrections_are_the_published_ones_and_nan_is_no_test():
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert benjamini_hochberg([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04] * 4)
    assert holm([0.01, math.nan, 0.02])[[0, 2]] == pytest.approx([0.02, 0.02])
    assert math.isnan(holm([0.01, math.nan])[1])
    assert Peers.of(1, np.zeros(19)).p == pytest.approx(0.05)
    assert Peers.of(0, np.zeros(19)).p == 1
