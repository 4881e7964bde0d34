"""Many tests at once: Holm for claims, Benjamini-Hochberg for screening."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ehrmem_widgets.statistics.intervals import Estimate, proportion
from ehrmem_widgets.statistics.verdicts import Peers


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values: any below alpha is a claim that holds for the whole family. nan stays nan and is not
    counted as a test.

    >>> holm([0.01, 0.02, 0.03, 0.04]).round(2).tolist()
    [0.04, 0.06, 0.06, 0.06]
    """
    p = np.asarray(p, float)
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # nan comes last
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted


def benjamini_hochberg(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg's adjusted p-values, for screening: of those below q, at most a share q is expected to be false.

    >>> benjamini_hochberg([0.01, 0.02, 0.03, 0.04]).round(2).tolist()
    [0.04, 0.04, 0.04, 0.04]
    """
    p = np.asarray(p, float)
    adjusted, tested = np.full(p.shape, np.nan), np.isfinite(p)
    adjusted[tested] = stats.false_discovery_control(p[tested])
    return adjusted


@dataclass(frozen=True)
class Discoveries:
    """Who stands out of people never seen: ``p`` (n,) conformal, ``p_adjusted`` (n,) Benjamini and Hochberg's, ``chosen`` (n,) bool.

    ``false_share``: how much of the chosen chance explains, by how many never seen lie as high as the last of them (Wilson's interval); None:
    nobody is chosen. ``above``: how many of the n lie above everybody never seen, and ``needed``, with how many never seen these would be chosen
    (0: nobody lies there).
    """

    p: np.ndarray
    p_adjusted: np.ndarray
    chosen: np.ndarray
    false_share: Estimate | None
    above: int
    needed: int


def discoveries(own: np.ndarray, never: np.ndarray, rate: float) -> Discoveries:
    """Choose among people, by a statistic ``own`` (n,) that is higher for the more exposed, at a false-discovery rate: each is ranked among
    ``never`` (m,), the same statistic of people never seen. Conformal p-values of one set of controls depend on each other in a way that the
    correction allows (Bates et al., Annals of Statistics 2023).

    >>> found = discoveries(np.array([9.0] * 30 + [0.0] * 70), np.linspace(0, 1, 60), 0.1)
    >>> int(found.chosen.sum()), str(found.false_share), found.needed
    (30, '0.00 (0.00 to 0.20, n = 60)', 33)
    """
    p = np.array([Peers.of(float(one), never).p for one in own])
    adjusted = benjamini_hochberg(p) if len(p) else p
    chosen = adjusted <= rate + 1e-12
    above = int((own > never.max(initial=-math.inf)).sum())
    needed = math.ceil(len(own) / (rate * above) - 1e-9) - 1 if above else 0
    return Discoveries(p, adjusted, chosen, _false_share(own, never, chosen), above, needed)


def _false_share(own: np.ndarray, never: np.ndarray, chosen: np.ndarray) -> Estimate | None:
    if not chosen.any() or not len(never):
        return None
    as_high = proportion(Peers.of(float(own[chosen].min()), never).as_high, len(never))
    times = len(own) / int(chosen.sum())
    value, low, high = (min(1.0, times * one) for one in (as_high.value, as_high.low, as_high.high))
    return Estimate(value, low, high, len(never))
