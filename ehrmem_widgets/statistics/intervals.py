"""Intervals: an estimate never travels without its bounds and its n. Thin over scipy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
STOPPED = 0.96
"""The level of Gaffke's interval where sampling stops on its width, so that it covers 95 % at the stop (methods, section 8.3)."""
_BISECTIONS = 32


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
    low, high = stats.binomtest(hits, n).proportion_ci(CONFIDENCE, "exact" if exact else "wilson")
    low, high = (0.0 if hits == 0 else float(low)), (1.0 if hits == n else float(high))  # free of rounding
    return Estimate(hits / n, max(0.0, low), min(1.0, high), n)


def weighted_mean(
    values: np.ndarray, log_weights: np.ndarray | None = None, *, top: float = 1.0, level: float = CONFIDENCE
) -> Estimate:
    """The mean of (n,) independent values in [0, ``top``] with Gaffke's interval, cut to [0, 1]; see ``weighted_means``."""
    value, low, high = weighted_means(values[:, None], log_weights, top=top, level=level)
    return Estimate(float(value[0]), float(low[0]), float(high[0]), len(values))


def weighted_means(
    values: np.ndarray, log_weights: np.ndarray | None = None, *, top: float = 1.0, level: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean of each column of (n, m) values in [0, ``top``] with Gaffke's interval: (m,) value, low and high, cut to [0, 1].

    ``log_weights`` (n,) are log importance weights; then it is the self-normalised mean, and a value counts as p n_e
    observations, with p its share of the weight and n_e the effective number (by the weights, or by the spread of the values
    where that gives fewer). Below an effective number of 1.5 the interval is [0, 1].
    """
    m = values.shape[1]
    scaled = np.clip(values / top, 0.0, 1.0)
    if log_weights is None or np.ptp(log_weights) == 0:
        value = scaled.mean(axis=0)
        low, high = gaffke(scaled, level=level)
    else:
        weights = np.exp(log_weights - log_weights.max())
        share = weights / weights.sum()
        value = share @ scaled
        effective = effective_sample_size(log_weights)
        if effective < 1.5:
            return (value * top).clip(0, 1), np.zeros(m), np.ones(m)
        squares = (scaled - value) ** 2
        spread = share**2 @ squares
        by_spread = np.divide(share @ squares, spread, out=np.full(m, np.inf), where=spread > 0)
        effective_n = np.minimum(effective, by_spread)
        low, high = gaffke(scaled, np.append(share, share.max())[:, None] * effective_n, level=level)
    return tuple((top * one).clip(0, 1) for one in (value, low, high))  # type: ignore[return-value]


def gaffke(
    values: np.ndarray, counts: np.ndarray | None = None, *, level: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray]:
    """Gaffke's interval for the means of columns (n, m) of independent values in [0, 1]: low and high, (m,) each.

    The upper end is a quantile of the mean of the values and one extra 1 under weights from Dirichlet(1, ..., 1) (Gaffke 2005;
    Learned-Miller & Thomas, arXiv 1905.06208), by a saddlepoint; on 0 and 1 it is Clopper and Pearson's. It needs no shape of the
    values, so that it holds where a few trajectories carry all of a leak, and where sampling stops once it is narrow enough
    (simulated: at least .942 at level .95, .956 at .96). That it always covers is conjectured, not proved. ``counts``
    (n + 1, m): how many observations a value, and at last the extra one, stands for.

    >>> low, high = gaffke(np.zeros((64, 1)))
    >>> low.round(6).tolist(), high.round(6).tolist()
    ([0.0], [0.056289])
    """
    counts = np.ones((len(values) + 1, 1)) if counts is None else counts
    return 1 - _gaffke_upper(1 - values, counts, level), _gaffke_upper(values, counts, level)


def _gaffke_upper(values: np.ndarray, counts: np.ndarray, level: float) -> np.ndarray:
    gaps = np.vstack([1 - values, np.zeros((1, values.shape[1]))])
    total = counts.sum(axis=0)
    target = float(stats.norm.ppf((1 + level) / 2))
    low, high = np.full(values.shape[1], -25.0), np.full(values.shape[1], math.log(len(gaps) + 1))
    for _ in range(_BISECTIONS):  # of the logarithm of how far the bound's pole lies above 1
        middle = (low + high) / 2
        apart = gaps + np.exp(middle)
        g = 1 / apart
        mean = (counts * g).sum(axis=0) / total
        deviance = 2 * (total * np.log(mean) + (counts * np.log(apart)).sum(axis=0))
        w = np.sqrt(np.maximum(deviance, 1e-300))
        v = np.sqrt(np.maximum((counts * g * g).sum(axis=0) / mean**2 - total, 1e-300))
        beyond = w + np.log(v / w) / w > target
        low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
    pole = np.exp((low + high) / 2)
    mean = (counts / (gaps + pole)).sum(axis=0) / total
    return np.where((gaps == 0).all(axis=0), 1.0, (1 + pole - 1 / mean).clip(0, 1))


def paired_difference(
    a: np.ndarray, b: np.ndarray, *, top: float = 1.0, level: float = CONFIDENCE
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The mean of a - b over (n, m) pairs of values in [0, ``top``] drawn with the same random numbers: (m,) value, low and high,
    by Gaffke's interval on the differences. About two thirds as wide as ``difference`` where the two go together."""
    scaled = ((a - b) / top + 1) / 2
    low, high = gaffke(scaled.clip(0, 1), level=level)
    return (a - b).mean(axis=0), (top * (2 * low - 1)).clip(-1, 1), (top * (2 * high - 1)).clip(-1, 1)


def effective_sample_size(log_weights: np.ndarray) -> float:
    """(sum w)^2 / sum w^2: how many equally weighted samples the weighted ones are worth.

    >>> round(effective_sample_size(np.log([1, 1, 1, 1])), 6)
    4.0
    """
    weights = np.exp(log_weights - np.max(log_weights))
    return float(weights.sum() ** 2 / (weights**2).sum())


def difference(a: Estimate, b: Estimate, *, most: float = 1.0) -> Estimate:
    """a - b with an interval made of both (MOVER; Newcombe, Statistics in Medicine 1998, method 10), cut at -``most`` and ``most``.

    >>> difference(Estimate(0.5, 0.4, 0.6, 10), Estimate(0.5, 0.4, 0.6, 20))
    Estimate(value=0.0, low=-0.1414..., high=0.1414..., n=10)
    """
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    high = value + math.hypot(a.high - a.value, b.value - b.low)
    return Estimate(value, max(low, -most), min(high, most), min(a.n, b.n))  # in this order nan stays nan
