"""Lower bounds of epsilon from one training run. Canaries were put into the training data by independent fair coins; whoever sees the model
guesses the coins.

Whatever was done to the training: Steinke, Nasr and Jagielski, Privacy Auditing with One (1) Training Run, arXiv 2305.08846. If Gaussian noise
was added, as DP-SGD does, the same guesses prove more: Mahloujifar, Melis and Chaudhuri, Auditing f-Differential Privacy in One Run, arXiv
2410.22235.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import optimize, special, stats

ERROR = 0.05
"""How often a bound may be above the truth."""
SHARES = (0.2, 0.5, 0.9)
"""Of the canaries, the surest that are guessed about: fixed before any answer, and corrected for (Bonferroni). Not all of them, as seldom exactly
half of the coins put a canary in."""
MOST_EPSILON = 60.0
MOST_CANARIES = 100_000
_MOST_MU = 40.0
_BISECTIONS = 40


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
    return _largest(lambda epsilon: guesses_p(canaries, guesses, right, epsilon, delta) < error, MOST_EPSILON)


def gaussian_epsilon_bound(canaries: int, guesses: int, right: int, *, delta: float, error: float = ERROR) -> float:
    """The largest epsilon at ``delta`` (above 0) that so many right guesses refute if training added Gaussian noise, wrong in at most ``error``
    of runs; 0: they refute none.

    >>> [round(gaussian_epsilon_bound(r, r, r, delta=1e-5), 2) for r in (60, 200, 1000)]
    [7.2, 9.51, 12.33]
    """
    return _largest(
        lambda epsilon: _gaussian_refuted(canaries, guesses, right, gaussian_mu(epsilon, delta), error), MOST_EPSILON
    )


def gaussian_mu(epsilon: float, delta: float) -> float:
    """By how many standard deviations Gaussian noise may move with one record, to be (epsilon, delta)-private and no more.

    >>> round(gaussian_mu(4.3775, 1e-5), 3)
    1.0
    """
    return float(optimize.brentq(lambda mu: gaussian_delta(epsilon, mu) - delta, 1e-9, _MOST_MU))


def gaussian_delta(epsilon: float, mu: float) -> float:
    """The least delta at ``epsilon`` of Gaussian noise that moves by ``mu`` standard deviations with one record (Balle and Wang 2018, arXiv
    1805.06530, theorem 8).

    >>> round(gaussian_delta(1.0, 1.0), 4)
    0.1269
    """
    above = float(special.ndtr(mu / 2 - epsilon / mu))
    return above - math.exp(epsilon + float(special.log_ndtr(-mu / 2 - epsilon / mu)))


def _gaussian_refuted(canaries: int, guesses: int, right: int, mu: float, error: float) -> bool:
    """Whether noise that hides one record to ``mu`` standard deviations allows ``right`` or more of ``guesses`` in less than ``error`` of runs
    (algorithm 3 there): what is right and what is wrong, weighted by the chances of so many right guesses, would add up to more than all."""
    seen, unseen = error * right / canaries, error * (guesses - right) / canaries
    for place in range(right - 1, -1, -1):
        before, unseen = unseen, max(unseen, float(special.ndtr(special.ndtri(seen) - mu)))
        seen += place / (guesses - place) * (unseen - before)
        if seen + unseen > guesses / canaries:
            return True
    return False


def _largest(refuted: Callable[[float], bool], most: float) -> float:
    """The largest number that is refuted, as all below it are; 0: none."""
    low, high = 0.0, most
    if not refuted(low):
        return low
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def provable(canaries: int, delta: float = 0.0) -> float:
    """The epsilon that an audit proves where all guesses are right; with a delta above 0, of training with Gaussian noise.

    >>> round(provable(60), 1), round(provable(1000), 1), round(provable(1000, 1e-5), 1)
    (2.5, 5.4, 10.1)
    """
    guesses, error = _most_guesses(canaries), ERROR / len(SHARES)
    if delta:
        return gaussian_epsilon_bound(canaries, guesses, guesses, delta=delta, error=error)
    return epsilon_bound(canaries, guesses, guesses, error=error)


def canaries_to_refute(epsilon: float, delta: float = 0.0) -> int | None:
    """About how many canaries it takes until an audit where all guesses are right refutes (epsilon, delta); with a delta above 0, of training with
    Gaussian noise. None: more than 100,000.

    >>> canaries_to_refute(1.0), canaries_to_refute(8.0), canaries_to_refute(8.0, 1e-5)
    (16, 14243, 273)
    """
    error = ERROR / len(SHARES)
    mu = gaussian_mu(epsilon, delta) if delta else 0.0
    canaries = 3 if delta else math.ceil(math.log(error) / -math.log1p(math.exp(-epsilon)) / SHARES[-1])
    while canaries <= MOST_CANARIES:
        guesses = _most_guesses(canaries)
        if (
            _gaussian_refuted(canaries, guesses, guesses, mu, error)
            if delta
            else guesses_p(canaries, guesses, guesses, epsilon) < error
        ):
            return canaries
        canaries = math.ceil(1.05 * canaries)
    return None


def _most_guesses(canaries: int) -> int:
    """Of the largest share, half of them in and half of them out."""
    return int(SHARES[-1] * canaries) // 2 * 2
