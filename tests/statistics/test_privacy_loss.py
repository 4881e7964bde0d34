"""The bound of epsilon against the worked numbers of methods, section 9, and its own promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ehrmem_widgets.statistics.privacy_loss import canaries_to_refute, epsilon_bound, guesses_p

ORACLE = {60: (0.0, 0.83, 1.95, 2.97), 200: (0.16, 1.09, 2.40, 4.19), 1000: (0.30, 1.25, 2.70, 5.81)}


@pytest.mark.parametrize("guesses", ORACLE)
def test_worked_numbers(guesses: int) -> None:
    found = [round(epsilon_bound(guesses, guesses, round(share * guesses)), 2) for share in (0.6, 0.8, 0.95, 1.0)]
    assert tuple(found) == ORACLE[guesses]


def test_the_bound_is_the_smallest_epsilon_that_is_not_refuted() -> None:
    bound = epsilon_bound(200, 200, 160)
    chance = 1 / (1 + math.exp(-bound))
    assert stats.binom.sf(159, 200, chance) == pytest.approx(0.05, abs=1e-6)


def test_randomized_response_keeps_its_epsilon_and_is_found_out_above_it() -> None:
    """The attack that differential privacy allows exactly: each coin is right with probability e / (1 + e)."""
    rng = np.random.default_rng(0)
    right = rng.binomial(400, math.e / (1 + math.e), 300)
    bounds = np.array([epsilon_bound(400, 400, int(v)) for v in right])
    assert (bounds > 1.0).mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300) and bounds.mean() > 0.7


def test_delta_costs_and_is_as_the_theorem_says() -> None:
    """Theorem 5.2 by its plain sum, for a few guesses."""
    m, r, v, epsilon, delta = 40, 20, 18, 0.7, 1e-3
    q = 1 / (1 + math.exp(-epsilon))
    pmf = [math.comb(r, k) * q**k * (1 - q) ** (r - k) for k in range(r + 1)]
    tail = sum(pmf[v:])
    alpha = max((sum(pmf[v - i : v])) / i for i in range(1, v + 1))
    assert guesses_p(m, r, v, epsilon, delta) == pytest.approx(tail + 2 * m * delta * alpha)
    assert epsilon_bound(m, r, v, delta=delta) < epsilon_bound(m, r, v)


@pytest.mark.parametrize(("epsilon", "delta"), [(1.0, 0.0), (3.0, 1e-5), (8.0, 1e-5)])
def test_so_many_canaries_refute_and_few_less_do_not(epsilon: float, delta: float) -> None:
    n = canaries_to_refute(epsilon, delta=delta)
    assert n is not None
    assert (
        epsilon_bound(n, n, n, delta=delta) > epsilon
        and epsilon_bound(n * 9 // 10, n * 9 // 10, n * 9 // 10, delta=delta) <= epsilon
    )
