"""Membership scores of one record, from what the model says at each of its codes. Higher: more like a member.

Every function is pure. ``log_p`` is (n,), the log-probability of each code given those before it (natural logarithm), and
``moments`` is (n, 3) as ``BlackBox.score_moments`` gives it. Scores are means a code, so that records of any length compare.
A model that gives no number (nan) gives no score (nan).

RMIA (Zarifzadeh et al., arXiv 2312.03262) is not among them. Its offline form is the share of other people z with ratio(x) / ratio(z) >= gamma:
for any z and gamma, and however many reference models are averaged into the ratio, it only counts how many fixed numbers Ratio(x)
exceeds. It ranks patients as Ratio does, with ties at 1 among the most exposed, and costs the family of scores one more test.
Its online form needs models trained with and without each patient, as LiRA (``statistics/likelihood_ratio.py``) does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

LOSS, MIN_K, MIN_K_PLUS_PLUS, RECALL, RATIO = "Loss", "Min-K%", "Min-K%++", "ReCaLL", "Ratio"
LIRA, SAMIA = "LiRA", "SaMIA"
SCORES = (LIRA, RATIO, LOSS, MIN_K, MIN_K_PLUS_PLUS, RECALL, SAMIA)
"""All of them. A finding's verdict stands at the first that could be computed: which one is known before anything is asked."""
OF_BOTH = frozenset({LIRA, RATIO})
"""Those that hold the audited model against others."""
K = 0.2
"""The share of codes that Min-K% looks at: 20 %, as in the paper (arXiv 2510.12950, section 4)."""


def loss(log_p: np.ndarray) -> float:
    """The mean log-probability a code, the negative loss (Yeom et al., arXiv 1709.01604)."""
    return _mean(log_p)


def min_k(log_p: np.ndarray, share: float = K) -> float:
    """The mean of the lowest ``share`` of log-probabilities, at least one (Min-K%; Shi et al., arXiv 2310.16789).

    >>> round(min_k(np.log([.5, .1, .9, .02, .3, .6, .05, .8, .4, .7])), 6)
    -3.453878
    """
    log_p = np.asarray(log_p, float)
    count = max(1, math.floor(share * len(log_p) + 1e-9))  # .29 times 100 is a little below 29
    return _mean(np.sort(log_p)[:count]) if not np.isnan(log_p).any() else math.nan


def min_k_plus_plus(moments: np.ndarray, share: float = K) -> float:
    """Min-K% of the standardised log-probabilities (Min-K%++; Zhang et al., arXiv 2404.02936)."""
    return min_k(standardised(moments), share)


def standardised(moments: np.ndarray) -> np.ndarray:
    """(n,) z = (log p - mean) / sd under the model's own next-code distribution.

    Where the sd is 0 the model holds all codes that it allows for equally likely (one alone, if it is certain): one of these
    is exactly what it expected, z = 0; any other is impossible, z = -inf.
    """
    log_p, mean, sd = np.asarray(moments, float).T
    with np.errstate(divide="ignore", invalid="ignore"):
        z = (log_p - mean) / sd
    return np.where(sd == 0, np.where(np.isneginf(log_p), -np.inf, 0.0 * mean), z)


def recall(with_prefix: np.ndarray, alone: np.ndarray) -> float:
    """log p(x | prefix of non-members) / log p(x) over the same codes: a prefix of strangers disturbs a member more (ReCaLL;
    Xie et al., arXiv 2406.15968). nan where the model is certain of all codes already (log p(x) = 0)."""
    below = loss(alone)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.divide(loss(with_prefix), below)) if below else math.nan


def ratio(audited: np.ndarray, reference: np.ndarray) -> float:
    """Mean log-probability of the audited model minus the reference model's: what is left once a record that anyone finds
    likely is discounted (Carlini et al., arXiv 2012.07805, section 4.2)."""
    with np.errstate(invalid="ignore"):  # impossible to both: no number
        return float(np.subtract(loss(audited), loss(reference)))


def headline(names: Iterable[str]) -> str:
    """The score at which the verdict stands, of those that there are (Loss, where there are none)."""
    there = set(names)
    return next((name for name in SCORES if name in there), LOSS)


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else math.nan
