"""The classifier two-sample test: against ridge regression fitted fold by fold, uniform under the null, and powerful where it should be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics import roc_auc_score

from ehrmem_widgets.statistics import two_sample
from ehrmem_widgets.statistics.two_sample import FOLDS, ToldApart, centred, told_apart


def told(x: np.ndarray, truth: np.ndarray, seed: int = 0) -> ToldApart:
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    return told_apart(centred(x @ x.T), x, truth, seed=seed)


def test_out_of_fold_scores_are_those_of_ridge_regression_fitted_fold_by_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(60) < 25
    x = rng.normal(size=(60, 8)) + 0.7 * truth[:, None]
    kernel = centred(x @ x.T)
    monkeypatch.setattr(two_sample, "REPEATS", 1)
    monkeypatch.setattr(two_sample, "PERMUTATIONS", 1)
    found = told_apart(kernel, np.empty((60, 0)), truth)
    again = np.random.default_rng([0, 7])
    cell = two_sample._cells(truth, 25, again)
    two_sample._relabelled(truth, cell, again)
    fold = (again.permutation(25) % FOLDS)[cell]
    aurocs = []
    for number in range(FOLDS):
        test, train = fold == number, fold != number
        fitted = KernelRidge(alpha=two_sample._PENALTY, kernel="precomputed")
        fitted.fit(kernel[np.ix_(train, train)], truth[train] - truth.mean())
        aurocs.append(roc_auc_score(truth[test], fitted.predict(kernel[np.ix_(test, train)])))
    assert found.auroc.value == pytest.approx(np.mean(aurocs))


def test_cells_hold_as_many_of_either_group_and_labels_are_exchanged_within_them() -> None:
    rng = np.random.default_rng(1)
    truth = np.arange(70) < 30
    cell = two_sample._cells(truth, 30, rng)
    for one in range(30):
        assert truth[cell == one].sum() == 1 and np.sum(cell == one) in (2, 3)
    labels = two_sample._relabelled(truth, cell, rng)
    np.testing.assert_array_equal(labels[:, 0], truth)
    for one in range(30):
        assert len(set(labels[cell == one].sum(axis=0))) == 1
    cell_of_two = np.bincount(cell)[cell] == 2
    assert labels[:, 1:].mean(axis=1) == pytest.approx(np.where(cell_of_two, 1 / 2, 1 / 3), abs=0.1)


def test_p_is_uniform_where_there_is_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_sample, "PERMUTATIONS", 199)
    monkeypatch.setattr(two_sample, "REPEATS", 2)
    rng = np.random.default_rng(2)
    truth = np.arange(50) < 22
    p = [told(rng.normal(size=(50, 6)), truth, seed).p for seed in range(200)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_many_small_and_one_large_difference_are_both_found() -> None:
    rng = np.random.default_rng(3)
    truth = np.arange(200) < 100
    small = rng.normal(size=(200, 200)) + 0.15 * truth[:, None]
    one = rng.normal(size=(200, 200))
    one[:, 0] += 0.8 * truth
    for x in (small, one):
        found = told(x, truth)
        assert found.p <= 0.01 and found.auroc.low > 0.5 and found.auroc.n == 200


def test_no_overlap_and_no_features_have_their_intervals() -> None:
    truth = np.arange(60) < 30
    apart = told(np.where(truth, 5.0, -5.0)[:, None] + np.random.default_rng(0).normal(size=(60, 1)), truth)
    assert apart.auroc.value == apart.auroc.high == 1.0 and 0.85 < apart.auroc.low < 0.95 and apart.p == 1 / 500
    nothing = told_apart(centred(np.zeros((60, 60))), np.empty((60, 0)), truth)
    assert (nothing.auroc.value, nothing.p) == (0.5, 1.0) and nothing.auroc.low < 0.5 < nothing.auroc.high


def test_too_few_are_refused() -> None:
    with pytest.raises(ValueError, match="At least 5 of each"):
        told(np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) < 4)


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_the_interval_covers_the_mean_over_data_sets(shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_sample, "PERMUTATIONS", 1)
    truth = np.arange(70) < 35
    found = []
    for seed in range(100):
        x = np.random.default_rng([seed, 9]).normal(size=(70, 10))
        x[:, 0] += shift * truth
        found.append(told(x, truth, seed).auroc)
    expected = np.mean([one.value for one in found])
    assert np.mean([one.low <= expected <= one.high for one in found]) >= 0.92
