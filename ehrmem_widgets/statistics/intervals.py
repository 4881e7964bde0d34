"""Intervals: an estimate never travels without its bounds and its n. Thin over scipy and statsmodels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval and the number of observations behind it."""

    value: float
    low: float
    high: float
    n: int

    @property
    def half_width(self) -> float:
        """Half the interval's width."""
        return (self.high - self.low) / 2

    def __str__(self) -> str:
        value, low, high = rounded(self.value, self.low, self.high)
        return f"{value} ({low} to {high}, n = {self.n:,})"


def rounded(*figures: float, signed: bool = False) -> list[str]:
    """Figures that belong together, with as many decimals: two, or four where all are below 0.01 (rare things leak too).

    >>> rounded(0.712, 0.62, 0.79), rounded(0.0036, 0.0024, 0.0049)
    (['0.71', '0.62', '0.79'], ['0.0036', '0.0024', '0.0049'])
    """
    decimals = 4 if 0 < max(map(abs, figures)) < 0.01 else 2
    shown = [f"{figure:{'+' if signed else ''}.{decimals}f}" for figure in figures]
    return [number[1:] if number.startswith("-") and not number.strip("-0.") else number for number in shown]


def proportion(hits: int, n: int, *, exact: bool = False) -> Estimate:
    """A counted proportion with its Wilson interval; ``exact`` gives Clopper and Pearson's, which never covers too seldom.

    >>> proportion(0, 100)
    Estimate(value=0.0, low=0.0, high=0.0369..., n=100)
    """
    low, high = proportion_confint(hits, n, alpha=1 - CONFIDENCE, method="beta" if exact else "wilson")
    low, high = (0.0 if hits == 0 else float(low)), (1.0 if hits == n else float(high))  # free of rounding
    return Estimate(hits / n, max(0.0, low), min(1.0, high), n)


def weighted_mean(values: np.ndarray, log_weights: np.ndarray | None = None) -> Estimate:
    """The mean of probabilities over trajectories with a t-interval, clipped to [0, 1].

    ``log_weights`` are log importance weights; then it is the self-normalised mean, its standard error by the delta
    method, and the degrees of freedom are those of the effective sample size (Owen, Monte Carlo, section 9.2).
    """
    value, low, high = weighted_means(values[:, None], log_weights)
    return Estimate(float(value[0]), float(low[0]), float(high[0]), len(values))


def weighted_means(
    values: np.ndarray, log_weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``weighted_mean`` of each column of (n, m) values: three arrays (m,), value, low and high."""
    n = len(values)
    log_weights = np.zeros(n) if log_weights is None else log_weights
    weights = np.exp(log_weights - log_weights.max())
    weights = weights / weights.sum()
    mean = weights @ values
    effective = effective_sample_size(log_weights)
    if effective < 1.5:
        return mean.clip(0, 1), np.zeros_like(mean), np.ones_like(mean)
    variance = weights**2 @ (values - mean) ** 2 * effective / (effective - 1)
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, effective - 1) * np.sqrt(variance)
    return mean.clip(0, 1), (mean - reach).clip(0, 1), (mean + reach).clip(0, 1)


def effective_sample_size(log_weights: np.ndarray) -> float:
    """(sum w)^2 / sum w^2: how many equally weighted samples the weighted ones are worth.

    >>> round(effective_sample_size(np.log([1, 1, 1, 1])), 6)
    4.0
    """
    weights = np.exp(log_weights - np.max(log_weights))
    return float(weights.sum() ** 2 / (weights**2).sum())


def difference(a: Estimate, b: Estimate) -> Estimate:
    """a - b with an interval made of both (MOVER; Newcombe, Statistics in Medicine 1998, method 10).

    >>> difference(Estimate(0.5, 0.4, 0.6, 10), Estimate(0.5, 0.4, 0.6, 20))
    Estimate(value=0.0, low=-0.1414..., high=0.1414..., n=10)
    """
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    high = value + math.hypot(a.high - a.value, b.value - b.low)
    return Estimate(value, max(-1.0, low), min(1.0, high), min(a.n, b.n))


def queries_needed(leak: float, probability: float) -> int | None:
    """n of (n, p)-extraction: queries until the attribute is seen at least once with this probability (Hayes et al.,
    arXiv 2410.19482). None when the leak probability is 0.

    >>> queries_needed(0.01, 0.5), queries_needed(0.0001, 0.9)
    (69, 23025)
    """
    if leak <= 0:
        return None
    if leak >= 1:
        return 1
    queries = math.log1p(-probability) / math.log1p(-leak)
    return max(1, math.ceil(queries * (1 - 1e-12)))  # .1 and .271 need 3, and the quotient is a little above 3
