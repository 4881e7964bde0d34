"""Lower bounds of epsilon from one training run: Steinke, Nasr and Jagielski, Privacy Auditing with One (1) Training Run,
arXiv 2305.08846. Canaries were put into the training data by independent fair coins; whoever sees the model guesses the coins.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import special, stats

ERROR = 0.05
"""How often a bound may be above the truth."""
MOST_EPSILON = 60.0
MOST_CANARIES = 1_000_000
_BISECTIONS = 60


def guesses_p(canaries: int, guesses: int, right: int, epsilon: float, delta: float = 0.0) -> float:
    """The largest chance of ``right`` or more of ``guesses`` about ``canaries`` coins, if training was (epsilon, delta)-private
    (theorem 5.2 there; with delta 0, that of a binomial with e^epsilon / (1 + e^epsilon)).

    >>> round(guesses_p(60, 60, 60, 0.0) * 2**60, 9)
    1.0
    """
    if not right:
        return 1.0
    chance = 1 / (1 + math.exp(-epsilon))
    most = float(special.betainc(right, guesses - right + 1, chance))  # of a binomial
    if delta:
        steps = np.arange(1, right + 1)
        below = np.cumsum(stats.binom.pmf(right - steps, guesses, chance))  # the chance of right - i to right - 1
        most += 2 * canaries * delta * float((below / steps).max())
    return min(most, 1.0)


def epsilon_bound(canaries: int, guesses: int, right: int, *, delta: float = 0.0, error: float = ERROR) -> float:
    """The largest epsilon that so many right guesses refute, wrong in at most ``error`` of runs; 0: they refute none.

    >>> [round(epsilon_bound(r, r, r), 2) for r in (60, 200, 1000)]
    [2.97, 4.19, 5.81]
    """
    low, high = 0.0, MOST_EPSILON
    if guesses_p(canaries, guesses, right, low, delta) >= error:
        return 0.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        refuted = guesses_p(canaries, guesses, right, middle, delta) < error
        low, high = (middle, high) if refuted else (low, middle)
    return low


def canaries_to_refute(epsilon: float, *, delta: float = 0.0, error: float = ERROR, share: float = 1.0) -> int | None:
    """About how many canaries it takes until somebody who guesses the coins of a ``share`` of them, all right, refutes (epsilon, delta). None:
    more than a million, or no number, as delta allows a model to give away one of so many.

    >>> canaries_to_refute(1.0), canaries_to_refute(8.0), canaries_to_refute(8.0, delta=0.001)
    (10, 8932, None)
    """
    guesses = max(1, math.ceil(math.log(error) / -math.log1p(math.exp(-epsilon))))  # exact with delta 0
    while guesses <= MOST_CANARIES:
        canaries = math.ceil(guesses / share)
        if guesses_p(canaries, guesses, guesses, epsilon, delta) < error:
            return canaries
        guesses = math.ceil(1.05 * guesses)
    return None
