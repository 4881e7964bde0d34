"""What an attack costs: the questions until a leak is as likely to have come as not, the time that they take, and their price.

A question is what a black box is asked once: to write on (a continuation), to score a record, or to embed a sequence. Where an answer holds
the leak with probability p, n independent ones hold it with 1 - (1 - p)^n: n of (n, p)-extraction (Hayes et al., arXiv 2410.19482).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ehrmem_widgets.settings import Price
from ehrmem_widgets.statistics.disclosure import FEWEST, as_shown
from ehrmem_widgets.statistics.discrimination import NOTHING
from ehrmem_widgets.statistics.intervals import CONFIDENCE, Estimate

EVEN_CHANCE = 0.5


def queries_needed(leak: float, probability: float) -> int | None:
    """Queries until the leak is seen at least once with this probability. None when the leak probability is 0.

    >>> queries_needed(0.01, 0.5), queries_needed(0.0001, 0.9)
    (69, 23025)
    """
    if leak <= 0:
        return None
    if leak >= 1:
        return 1
    queries = math.log1p(-probability) / math.log1p(-leak)
    return max(1, math.ceil(queries * (1 - 1e-12)))  # .1 and .271 need 3, and the quotient is a little above 3


def for_even_chance(leak: Estimate) -> Estimate:
    """The queries for an even chance, by the ends of the leak's interval; infinite where an end is 0. ``n``: what the leak rests on.

    >>> for_even_chance(Estimate(0.1, 0.06, 0.13, 64))
    Estimate(value=7.0, low=5.0, high=12.0, n=64)
    """
    value, low, high = (float(queries_needed(p, EVEN_CHANCE) or math.inf) for p in (leak.value, leak.high, leak.low))
    return Estimate(value, low, high, leak.n)


def median(values: Sequence[float] | np.ndarray) -> Estimate:
    """The median, a value that occurs (infinite ones may), with the exact interval between two order statistics, whatever the law: of six
    values the least and the largest, of fewer from 0 on without an end.

    >>> median([3.0, 1.0, 2.0, 9.0, 4.0, math.inf])
    Estimate(value=3.0, low=1.0, high=inf, n=6)
    """
    found, n = np.sort(np.asarray(values, float)), len(values)
    if not n:
        return Estimate(math.nan, math.nan, math.nan, 0)
    outside = int(
        stats.binom.ppf((1 - CONFIDENCE) / 2, n, 0.5)
    )  # so many at each end, less one, lie beyond the interval
    low, high = (float(found[outside - 1]), float(found[n - outside])) if outside else (0.0, math.inf)
    return Estimate(float(found[(n - 1) // 2]), low, high, n)


def median_for_even_chance(leaks: Iterable[float]) -> Estimate:
    """The median over people of the queries for an even chance, as it may be shown: ``NOTHING`` of fewer than 11 people."""
    found = median([queries_needed(leak, EVEN_CHANCE) or math.inf for leak in leaks])
    return as_shown(found) if found.n >= FEWEST else NOTHING


def in_all(queries: Estimate, each: Estimate) -> Estimate:
    """What so many queries take together, of which one takes ``each``: by the ends of both intervals, so that it covers no less."""
    return Estimate(queries.value * each.value, queries.low * each.low, queries.high * each.high, queries.n)


@dataclass(frozen=True)
class Pace:
    """What one query takes: ``seconds``, and the ``codes`` that are read and written; medians over rounds."""

    seconds: Estimate
    codes: Estimate


def price_of(queries: Estimate, pace: Pace, price: Price) -> Estimate:
    """What so many queries cost at a declared price."""
    one = price.amount / 1000
    return in_all(in_all(queries, pace.codes) if price.per == "codes" else queries, Estimate(one, one, one, 1))
