"""How well a score tells two groups of patients apart: AUROC, AUPRC, TPR and PPV at a small FPR. Intervals are over patients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import NormalDist

import numpy as np

from ehrmem_widgets.statistics.intervals import CONFIDENCE, Estimate

RESAMPLES = 1000
NOTHING = Estimate(math.nan, math.nan, math.nan, 0)
"""The figure that could not be computed: nobody to compute it from, or too few."""

_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
_NEGLIGIBLE = 1e-9  # of a binomial's terms


def auroc(positive: np.ndarray, negative: np.ndarray) -> Estimate:
    """P(a positive's score is above a negative's), ties half, with a 95 % interval. ``NOTHING`` when a group is empty.

    Newcombe's score interval (Statistics in Medicine 2006, part 2, method 5), which takes the variance at each end itself and so
    has a width at an AUROC of 1 too; where the scores scatter more than its model of them (one group much wider than the other),
    by what DeLong's variance (Biometrics 1988) has beyond it. No resampling. The lower end never falls when a member's score
    passes a non-member's.

    >>> auroc(np.array([2.0, 3.0, 4.0]), np.array([1.0, 2.0])).value
    0.9166666666666666
    """
    if not len(positive) or not len(negative):
        return NOTHING
    return _placed(np.asarray(positive, float), np.asarray(negative, float)).estimate


def auroc_difference(
    positive: np.ndarray, negative: np.ndarray, other_positive: np.ndarray, other_negative: np.ndarray
) -> Estimate:
    """AUROC of one score minus that of another on the same patients (paired: the arrays are in the same order)."""
    if not len(positive) or not len(negative):
        return NOTHING
    one, other = _placed(positive, negative), _placed(other_positive, other_negative)
    influences = np.stack([np.concatenate(side.influence) for side in (one, other)])
    return _combined([one.estimate, other.estimate], influences, np.array([1.0, -1.0]), (-1.0, 1.0))


def macro_auroc(truth: np.ndarray, score: np.ndarray, *, fewest: int = 5) -> Estimate:
    """The mean AUROC over several attributes of the same patients. ``truth`` (n, attributes) is 1, 0 or nan (not counted), ``score``
    likewise.

    Attributes with fewer than ``fewest`` holders or non-holders do not enter; ``NOTHING`` when none is left.
    """
    estimates, influences = [], []
    for held, scores in zip(truth.T, score.T, strict=True):
        positive, negative = np.flatnonzero(held == 1), np.flatnonzero(held == 0)
        if min(len(positive), len(negative)) < fewest:
            continue
        placed = _placed(scores[positive], scores[negative])
        estimates.append(placed.estimate)
        influences.append(np.zeros(len(truth)))
        influences[-1][positive], influences[-1][negative] = placed.influence
    if not estimates:
        return NOTHING
    weights = np.full(len(estimates), 1 / len(estimates))
    return replace(_combined(estimates, np.stack(influences), weights, (0.0, 1.0)), n=len(truth))


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


def tpr_at_fpr(members: np.ndarray, non_members: np.ndarray, fpr: float) -> Estimate:
    """The share of members above the threshold that a share ``fpr`` of all non-members exceeds (Carlini et al., arXiv 2112.03570).

    The value is that at the (k + 1)-th highest of n non-members, k = floor(fpr (n + 1)) - 1, which (k + 1) / (n + 1) <= ``fpr`` of
    all non-members exceed on average (split conformal; Vovk et al. 2005). The interval is about ``fpr`` itself: how many of the n
    lie above the true threshold is binomial (n, ``fpr``), whatever the scores are like, and given that many the threshold lies between two
    neighbouring order statistics; the members above either are counted with Clopper and Pearson's ends, and the ends are averaged
    over the binomial. ``NOTHING`` below ``controls_needed``: the true threshold may then lie above every non-member.
    """
    n, m = len(non_members), len(members)
    if not m or not n or n < controls_needed(fpr):
        return NOTHING
    thresholds = np.concatenate([[math.inf], np.sort(non_members)[::-1], [-math.inf]])
    found = m - np.searchsorted(np.sort(members), thresholds, side="right")  # members above each
    above, chance = _above_true_threshold(n, fpr)
    value = float(found[math.floor(fpr * (n + 1) + 1e-9)]) / m
    low = _mixed_low(found[above], m, chance)
    high = 1 - _mixed_low(m - found[above + 1], m, chance)
    return Estimate(value, min(value, low), max(value, high), m + n)


def controls_needed(fpr: float) -> int:
    """How many non-members, none of them above the threshold, bound the FPR at ``fpr`` (95 % confidence, one-sided).

    >>> controls_needed(0.01), controls_needed(0.001)
    (299, 2995)
    """
    return math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-fpr))


def ppv_at_fpr(tpr: Estimate, fpr: float, prior: float) -> Estimate:
    """P(member | called a member) at a declared prior share of members, from ``tpr_at_fpr`` at the same ``fpr``.

    >>> print(ppv_at_fpr(Estimate(0.5, 0.4, 0.6, 2000), 0.01, 0.01))
    0.34 (0.29 to 0.38, n = 2,000)
    """
    value, low, high = (share * prior / (share * prior + fpr * (1 - prior)) for share in (tpr.value, tpr.low, tpr.high))
    return Estimate(value, low, high, tpr.n)


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


@dataclass(frozen=True)
class _Placed:
    """An AUROC with its interval, and how far each positive and each negative moves it (DeLong's structural components, less their
    mean, over the group's size): their squares sum to its variance."""

    estimate: Estimate
    influence: tuple[np.ndarray, np.ndarray]


def _placed(positive: np.ndarray, negative: np.ndarray) -> _Placed:
    m, n = len(positive), len(negative)
    above, below = _share_below(positive, negative), 1 - _share_below(negative, positive)
    value = min(1.0, max(0.0, float(above.mean())))
    influence = tuple((p - p.mean()) / math.sqrt(max(len(p) - 1, 1) * len(p)) for p in (above, below))
    scatter = sum(float(part @ part) for part in influence)
    beyond = max(0.0, scatter - _score_variance(value, m, n))
    low, high = _score_low(value, beyond, m, n), 1 - _score_low(1 - value, beyond, m, n)
    return _Placed(Estimate(value, low, high, m + n), influence)


def _share_below(scores: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(m,) for each of m scores the share of the others below it, ties half."""
    rising = np.sort(others)
    below = np.searchsorted(rising, scores, "left") + np.searchsorted(rising, scores, "right")
    return np.asarray(below / (2 * len(others)))


def _score_variance(value: float, m: int, n: int) -> float:
    """Hanley and McNeil's variance of an AUROC (Radiology 1982), made symmetric as in Newcombe's method 5."""
    mean = (m + n) / 2 - 1
    return value * (1 - value) * (1 + mean * ((1 - value) / (2 - value) + value / (1 + value))) / (m * n)


def _score_low(value: float, beyond: float, m: int, n: int) -> float:
    """The lowest AUROC that lies within z standard errors, of its own, from the one found. The highest: 1 less that of 1 - value."""
    from scipy import optimize

    def inside(low: float) -> float:
        return (value - low) ** 2 - _Z**2 * (_score_variance(low, m, n) + beyond)

    return float(optimize.brentq(inside, 0.0, value * (1 - 1e-12))) if value > 0 and inside(0.0) > 0 else 0.0


def _combined(
    estimates: Sequence[Estimate], influences: np.ndarray, weights: np.ndarray, bounds: tuple[float, float]
) -> Estimate:
    """The weighted sum of dependent figures with an interval made of theirs (MOVER; Zou, Huang & Zhang, Computational Statistics
    & Data Analysis 2009). ``influences`` (figures, patients) are those of ``_Placed``, on the same patients.

    What a figure's own interval holds beyond the variance that these patients show (everything, at an AUROC of 1) is taken as shared
    by figures that are added, and as not shared by figures that are subtracted: the wider way.
    """
    value, low, high = (np.array([getattr(one, end) for one in estimates]) for end in ("value", "low", "high"))
    shown = influences @ influences.T
    whole = np.maximum(np.diag(shown), ((high - low) / (2 * _Z)) ** 2)
    hidden = np.sqrt(whole - np.diag(shown))
    sign = np.sign(weights)
    same = np.outer(sign, sign)
    together = same * (shown + np.outer(hidden, hidden) * (same > 0)) / np.sqrt(np.outer(whole, whole))
    down = np.abs(weights) * np.where(sign > 0, value - low, high - value)
    up = np.abs(weights) * np.where(sign > 0, high - value, value - low)
    total = float(weights @ value)
    reach = [math.sqrt(max(0.0, float(side @ together @ side))) for side in (down, up)]
    return Estimate(total, max(bounds[0], total - reach[0]), min(bounds[1], total + reach[1]), estimates[0].n)


@lru_cache(maxsize=64)
def _above_true_threshold(n: int, fpr: float) -> tuple[np.ndarray, np.ndarray]:
    """How many of n non-members may lie above the true threshold of ``fpr``, and how likely each number is."""
    from scipy import stats

    above = np.arange(n + 1)
    chance = stats.binom.pmf(above, n, fpr)
    likely = chance > _NEGLIGIBLE
    return above[likely], chance[likely] / chance[likely].sum()


def _mixed_low(hits: np.ndarray, n: int, chance: np.ndarray) -> float:
    """The lower Clopper-Pearson end of hits in n, where the hits themselves are known up to their ``chance`` only."""
    from scipy import optimize, special

    tail, none = (1 - CONFIDENCE) / 2, float(chance[hits == 0].sum())
    if none >= tail:
        return 0.0
    some, weight = hits[hits > 0], chance[hits > 0]

    def below(share: float) -> float:
        return none - tail + float(weight @ special.betainc(some, n - some + 1, share))

    return float(optimize.brentq(below, 0.0, 1.0))


@lru_cache(maxsize=64)
def _resamples(n: int, seed: int) -> np.ndarray:
    """(RESAMPLES, n) how often each of n patients is drawn; kept, as many figures are about groups of the same size."""
    drawn = np.random.default_rng([seed, 1]).integers(0, n, (RESAMPLES, n)) + n * np.arange(RESAMPLES)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=RESAMPLES * n).reshape(RESAMPLES, n).astype(np.float32)
    counts.flags.writeable = False
    return counts


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
