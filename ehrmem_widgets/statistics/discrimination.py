"""How well a score tells two groups of patients apart: AUROC, AUPRC, TPR at a small FPR, PPV. Patients are resampled."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from ehrmem_widgets.statistics.intervals import CONFIDENCE, Estimate, proportion

RESAMPLES = 1000
NOTHING = Estimate(math.nan, math.nan, math.nan, 0)
"""The figure that could not be computed: nobody to compute it from."""


def auroc(positive: np.ndarray, negative: np.ndarray, *, seed: int = 0) -> Estimate:
    """P(a positive's score is above a negative's), ties half, with a patient bootstrap interval (1,000 resamples, stratified
    by group). Where the groups do not overlap at all, Wilson's interval with the size of the smaller group (by the bound of
    Birnbaum & Klose, Annals of Mathematical Statistics 1957, on the variance). ``NOTHING`` when a group is empty.

    >>> auroc(np.array([2.0, 3.0, 4.0]), np.array([1.0, 2.0])).value
    0.9166666666666666
    """
    if not len(positive) or not len(negative):
        return NOTHING
    wins = _wins(np.asarray(positive, float), np.asarray(negative, float))
    n = len(positive) + len(negative)
    if wins.mean() in (0.0, 1.0):  # every resample says the same: the variance is at most A (1 - A) / the smaller group
        return _extreme(float(wins.mean()), min(len(positive), len(negative)), n)
    return _interval(float(wins.mean()), _resampled_wins(wins, seed), n)


def auroc_difference(
    positive: np.ndarray, negative: np.ndarray, other_positive: np.ndarray, other_negative: np.ndarray, *, seed: int = 0
) -> Estimate:
    """AUROC of one score minus that of another on the same patients (paired: the arrays are in the same order)."""
    if not len(positive) or not len(negative):
        return NOTHING
    one, other = _wins(positive, negative), _wins(other_positive, other_negative)
    spread = _resampled_wins(one, seed) - _resampled_wins(other, seed)
    value = float(one.mean() - other.mean())
    return _interval(value, spread, len(positive) + len(negative), (-1.0, 1.0))


def macro_auroc(truth: np.ndarray, score: np.ndarray, *, fewest: int = 5, seed: int = 0) -> Estimate:
    """The mean AUROC over several attributes, patients resampled. ``truth`` (n, attributes) is 1, 0 or nan (not counted),
    ``score`` likewise.

    Attributes with fewer than ``fewest`` holders or non-holders do not enter; ``NOTHING`` when none is left.
    """
    if not len(truth):
        return NOTHING
    counts = _resamples(len(truth), seed)
    values, spread, smallest = [], [], len(truth)
    for held, scores in zip(truth.T, score.T, strict=True):
        positive, negative = np.flatnonzero(held == 1), np.flatnonzero(held == 0)
        if min(len(positive), len(negative)) < fewest:
            continue
        smallest = min(smallest, len(positive), len(negative))
        wins = _wins(scores[positive], scores[negative])
        values.append(wins.mean())
        pairs = counts[:, positive].sum(axis=1) * counts[:, negative].sum(axis=1)
        won = ((counts[:, positive] @ wins) * counts[:, negative]).sum(axis=1)
        spread.append(np.divide(won, pairs, out=np.full(len(won), np.nan), where=pairs > 0))
    if not values:
        return NOTHING
    if np.mean(values) in (0.0, 1.0):  # as in ``auroc``
        return _extreme(float(np.mean(values)), smallest, len(truth))
    return _interval(float(np.mean(values)), np.mean(spread, axis=0), len(truth))


def auroc_p(positive: np.ndarray, negative: np.ndarray, *, alternative: str = "greater") -> float:
    """The Mann-Whitney p-value of an AUROC above 0.5 (exact for small groups without ties); nan when a group is empty."""
    from scipy import stats

    if not len(positive) or not len(negative) or np.ptp(np.concatenate([positive, negative])) == 0:
        return math.nan if not len(positive) or not len(negative) else 1.0
    return float(stats.mannwhitneyu(positive, negative, alternative=alternative).pvalue)


def average_precision(truth: np.ndarray, score: np.ndarray, *, seed: int = 0) -> Estimate:
    """Area under the precision-recall curve (average precision, as scikit-learn's: ties are one threshold), patients
    resampled within the two groups. ``NOTHING`` without a holder."""
    truth, score = np.asarray(truth, bool), np.asarray(score, float)
    if not truth.any():
        return NOTHING
    counts = np.ones((RESAMPLES + 1, len(truth)))  # the first row is the sample itself
    for group in (truth, ~truth):
        if group.any():
            counts[1:, group] = _resamples(int(group.sum()), seed + (1_000_003 if group is truth else 0))
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)
    found = (counts * truth)[:, order].cumsum(axis=1)[:, ends]
    called = counts[:, order].cumsum(axis=1)[:, ends]
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    values = (np.diff(found, axis=1, prepend=0) * precision).sum(axis=1) / truth.sum()
    return _interval(float(values[0]), values[1:], len(truth))


def tpr_at_fpr(members: np.ndarray, non_members: np.ndarray, fpr: float, *, seed: int = 0) -> Estimate:
    """The share of members above the threshold that at most a share ``fpr`` of non-members reaches. Members and non-members
    are resampled, so that the interval holds the uncertainty of the threshold too (Carlini et al., arXiv 2112.03570)."""
    if not len(members) or not len(non_members):
        return NOTHING
    members, non_members = np.asarray(members, float), np.asarray(non_members, float)
    rng = np.random.default_rng([seed, 2])
    size, place = len(non_members), _allowed(fpr, len(non_members))
    value = float(np.mean(members > np.sort(non_members)[size - 1 - place]))
    n = len(members) + size
    if np.ptp(np.concatenate([members, non_members])) and value in (0.0, 1.0):
        return _extreme(value, len(members), n)
    values = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, 100):
        others = np.partition(rng.choice(non_members, (100, size)), size - 1 - place, axis=1)[:, size - 1 - place]
        values[start : start + 100] = np.mean(rng.choice(members, (100, len(members))) > others[:, None], axis=1)
    return _interval(value, values, n)


def controls_needed(fpr: float) -> int:
    """How many non-members, none of them above the threshold, bound the FPR at ``fpr`` (95 % confidence, one-sided).

    >>> controls_needed(0.01), controls_needed(0.001)
    (299, 2995)
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-fpr))


def positive_predictive_value(tpr: float, fpr: float, prior: float) -> float:
    """P(member | called member) at a declared prior. nan when nobody would be called a member.

    >>> round(positive_predictive_value(0.5, 0.01, 0.01), 4)
    0.3356
    """
    called = tpr * prior + fpr * (1 - prior)
    return tpr * prior / called if called > 0 else math.nan


def patient_bootstrap(
    statistic: Callable[[np.ndarray], float],
    groups: np.ndarray,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Estimate:
    """A statistic of rows (patients) with a percentile interval; rows are resampled within each group.

    ``statistic`` takes an array of row numbers, ``groups`` is (n,) labels. Percentiles widened for small n as in
    Hesterberg (The American Statistician 2015): the plain ones are too narrow by sqrt((n - 1) / n) and t against z.
    """
    rng = np.random.default_rng([seed, 3])
    places = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    values = np.array(
        [statistic(np.concatenate([rng.choice(rows, len(rows)) for rows in places])) for _ in range(resamples)]
    )
    smallest = min(len(rows) for rows in places)
    return _interval(statistic(np.arange(len(groups))), values, len(groups), bounds, smallest)


def mean_with_interval(values: np.ndarray, *, bounds: tuple[float, float] = (-math.inf, math.inf)) -> Estimate:
    """A mean over patients with its t-interval. One patient alone gives no interval (it is unbounded)."""
    from scipy import stats

    n = len(values)
    if n == 0:
        return NOTHING
    mean = float(np.mean(values))
    if n == 1:
        return Estimate(mean, bounds[0], bounds[1], 1)
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Estimate(mean, float(max(bounds[0], mean - reach)), float(min(bounds[1], mean + reach)), n)


def difference_of_means(a: np.ndarray, b: np.ndarray) -> Estimate:
    """mean(a) - mean(b) with Welch's interval; n is that of both groups. Without two on each side there is no interval."""
    from scipy import stats

    if not len(a) or not len(b):
        return NOTHING
    value = float(np.mean(a) - np.mean(b))
    if min(len(a), len(b)) < 2 or np.ptp(a) == np.ptp(b) == 0:
        reach = math.inf if min(len(a), len(b)) < 2 else 0.0
        return Estimate(value, value - reach, value + reach, len(a) + len(b))
    found = stats.ttest_ind(a, b, equal_var=False).confidence_interval(CONFIDENCE)
    return Estimate(value, float(found.low), float(found.high), len(a) + len(b))


def _wins(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """(positives, negatives) 1 where the positive is above, 0.5 at a tie."""
    above = positive[:, None] > negative
    return above + 0.5 * (positive[:, None] == negative)


def _resampled_wins(wins: np.ndarray, seed: int) -> np.ndarray:
    m, n = wins.shape
    rows, columns = _resamples(m, seed), _resamples(n, seed + 1_000_003)  # the two groups independently
    return np.asarray(((rows @ wins) * columns).sum(axis=1) / (m * n))


@lru_cache(maxsize=64)
def _resamples(n: int, seed: int) -> np.ndarray:
    """(RESAMPLES, n) how often each of n patients is drawn; kept, as many figures are about groups of the same size."""
    drawn = np.random.default_rng([seed, 1]).integers(0, n, (RESAMPLES, n)) + n * np.arange(RESAMPLES)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=RESAMPLES * n).reshape(RESAMPLES, n).astype(np.float32)
    counts.flags.writeable = False
    return counts


def _allowed(fpr: float, non_members: int) -> int:
    """How many non-members may lie strictly above the threshold."""
    return min(math.floor(fpr * non_members), non_members - 1)


def _extreme(value: float, successes: int, n: int) -> Estimate:
    found = proportion(round(value * successes), successes)
    return Estimate(value, found.low, found.high, n)


def _interval(
    value: float,
    values: np.ndarray,
    n: int,
    bounds: tuple[float, float] = (0.0, 1.0),
    smallest: int | None = None,
) -> Estimate:
    from scipy import stats

    values = values[np.isfinite(values)]
    if not len(values) or not math.isfinite(value):
        return NOTHING
    tail = (1 - CONFIDENCE) / 2
    if smallest is not None and smallest > 1:
        reach = math.sqrt(smallest / (smallest - 1)) * stats.t.ppf(1 - tail, smallest - 1)
        tail = float(stats.norm.sf(reach))
    low, high = np.quantile(values, [tail, 1 - tail])
    return Estimate(value, max(bounds[0], min(value, float(low))), min(bounds[1], max(value, float(high))), n)
