"""Discrimination figures against scikit-learn, scipy and hand-worked numbers; intervals cover as often as they say."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from ehrmem_widgets.statistics.discrimination import (
    auroc,
    auroc_difference,
    auroc_p,
    average_precision,
    controls_needed,
    difference_of_means,
    macro_auroc,
    mean_with_interval,
    positive_predictive_value,
    tpr_at_fpr,
)
from ehrmem_widgets.statistics.intervals import proportion
from ehrmem_widgets.statistics.multiple_testing import benjamini_hochberg, holm, rank_p

RNG = np.random.default_rng(0)
TRUTH = RNG.random(300) < 0.3
SCORE = np.round(RNG.normal(size=300) + TRUTH, 1)  # with ties


def test_auroc_and_average_precision_are_scikit_learns():
    assert auroc(SCORE[TRUTH], SCORE[~TRUTH]).value == pytest.approx(roc_auc_score(TRUTH, SCORE), abs=1e-12)
    assert average_precision(TRUTH, SCORE).value == pytest.approx(average_precision_score(TRUTH, SCORE), abs=1e-12)


def test_intervals_hold_the_value_and_same_seed_means_same_interval():
    for made in (lambda: auroc(SCORE[TRUTH], SCORE[~TRUTH], seed=4), lambda: average_precision(TRUTH, SCORE, seed=4)):
        one = made()
        assert one.low < one.value < one.high
        assert one.n == 300
        assert made() == one


def test_the_auroc_interval_covers_the_truth_about_as_often_as_it_says():
    exact = 0.760250  # Phi(1 / sqrt 2): positives N(1, 1), negatives N(0, 1)
    covered = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        found = auroc(rng.normal(1, 1, 60), rng.normal(0, 1, 60), seed=seed)
        covered += found.low <= exact <= found.high
    rate = proportion(covered, 300)
    assert rate.low <= 0.95 <= rate.high + 0.02


def test_nobody_to_compare_is_no_figure_and_constant_scores_are_chance():
    assert auroc(np.array([]), SCORE).n == 0
    assert math.isnan(auroc(np.array([]), SCORE).value)
    assert math.isnan(auroc_p(SCORE, np.array([])))
    constant = auroc(np.ones(20), np.ones(30))
    assert (constant.value, constant.low, constant.high) == pytest.approx((0.5, 0.5, 0.5))
    assert auroc_p(np.ones(20), np.ones(30)) == 1.0


def test_groups_that_do_not_overlap_still_have_an_interval():
    apart = auroc(np.arange(30.0) + 100, np.arange(200.0) / 10)
    assert apart.value == apart.high == 1
    assert apart.low == pytest.approx(proportion(30, 30).low)
    assert auroc(np.arange(30.0), np.arange(200.0) + 100).high == pytest.approx(proportion(0, 30).high)


def test_a_paired_difference_of_a_score_with_itself_is_nothing():
    same = auroc_difference(SCORE[TRUTH], SCORE[~TRUTH], SCORE[TRUTH], SCORE[~TRUTH])
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_the_mean_over_attributes_leaves_out_rare_ones_and_those_not_counted():
    truth = np.stack([TRUTH, np.arange(300) < 3, np.where(np.arange(300) < 150, TRUTH, np.nan)], axis=1).astype(float)
    score = np.stack([SCORE, SCORE, SCORE], axis=1)
    half = TRUTH[:150]
    expected = (roc_auc_score(TRUTH, SCORE) + roc_auc_score(half, SCORE[:150])) / 2
    found = macro_auroc(truth, score)
    assert found.value == pytest.approx(expected, abs=1e-12)
    assert found.low < found.value < found.high
    assert macro_auroc(truth[:, 1:2], score[:, 1:2]).n == 0


def test_tpr_at_fpr_and_the_uncertainty_of_its_threshold():
    members, others = np.arange(100.0), np.arange(100.0)
    assert tpr_at_fpr(members, others, 0.01).value == pytest.approx(0.01)
    far = tpr_at_fpr(members + 1000, others, 0.001)
    assert far.value == far.high == 1
    assert far.low == pytest.approx(proportion(100, 100).low)  # not one: a hundred members were looked at
    rng = np.random.default_rng(3)
    wide, narrow = (
        tpr_at_fpr(rng.normal(2, 1, 2000), rng.normal(0, 1, n), 0.01) for n in (100, 5000)
    )  # few non-members: it is the threshold that is uncertain
    assert wide.half_width > 2 * narrow.half_width


def test_controls_and_predictive_value_are_the_published_ones():
    assert (controls_needed(0.01), controls_needed(0.001)) == (299, 2995)
    assert positive_predictive_value(0.568, 0.5, 0.5) == pytest.approx(0.5318, abs=1e-4)
    assert math.isnan(positive_predictive_value(0, 0, 0.1))


def test_means_and_their_differences():
    from scipy import stats

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
    assert rank_p(1, [0] * 19) == pytest.approx(0.05)
    assert math.isnan(rank_p(1, []))
