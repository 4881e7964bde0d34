"""Membership scores of one record, from what the model says at each of its codes. Higher: more like a member.

Every function is pure. ``log_p`` is (n,), the log-probability of each code given those before it (natural logarithm), and
``moments`` is (n, 3) as ``BlackBox.score_moments`` gives it. Scores are means a code, so that records of any length compare.
A model that gives no number (nan) gives no score (nan).
"""

from __future__ import annotations

import math

import numpy as np

LOSS, MIN_K, MIN_K_PLUS_PLUS, RECALL, RATIO, RMIA = "Loss", "Min-K%", "Min-K%++", "ReCaLL", "Ratio", "RMIA"
K = 0.2
"""The share of codes that Min-K% looks at: 20 %, as in the paper (arXiv 2510.12950, section 4)."""
GAMMA = 1.0
"""RMIA's margin: by how much a record must beat another one. At 1, one reference model's RMIA ranks patients as Ratio does."""


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


def rmia(ratio_of_x: float, population: np.ndarray, gamma: float = GAMMA) -> float:
    """The share of population records z with ratio(x) / ratio(z) >= gamma, in its offline form with one reference model
    (Zarifzadeh et al., arXiv 2312.03262, equations 2 to 4). Both are given as logarithms, as ``ratio`` gives them; records
    without a number do not count. nan with nobody to compare with.

    >>> rmia(0.5, np.array([0.1, 0.2, 0.9, 0.5]))
    0.75
    """
    population = np.asarray(population, float)
    population = population[~np.isnan(population)]
    if not len(population) or math.isnan(ratio_of_x):
        return math.nan
    return float(np.mean(ratio_of_x >= population + math.log(gamma)))


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else math.nan
