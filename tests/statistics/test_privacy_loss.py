"""The bound of epsilon against the worked numbers of methods, section 9, and its own promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ehrmem_widgets.statistics.privacy_loss import (
    canaries_to_refute,
    epsilon_bound,
    gaussian_delta,
    gaussian_epsilon_bound,
    gaussian_mu,
    guesses_p,
    provable,
)

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
    n = canaries_to_refute(epsilon, delta)
    assert n is not None
    assert provable(n, delta) > epsilon >= provable(n * 9 // 10, delta)


# If noise is Gaussian ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("canaries", "guesses", "right", "delta", "published"),
    [
        (100, 80, 70, 1e-6, 3.2906),
        (1000, 10, 10, 1e-5, 1.2260),
        (1000, 40, 40, 1e-5, 3.6179),
        (1000, 268, 255, 1e-5, 4.1374),
        (1000, 429, 404, 1e-5, 4.1832),
        (1000, 686, 621, 1e-5, 3.6537),
    ],
)
def test_the_authors_own_figures(canaries: int, guesses: int, right: int, delta: float, published: float) -> None:
    """Those in the tutorial of their code (facebookresearch/PrivacyGuard, fdp_analysis_tutorial), which tries noise in steps of .01 and takes the
    first that is not refuted: at most one step lower than the bound."""
    found = gaussian_epsilon_bound(canaries, guesses, right, delta=delta)
    assert published - 0.001 <= found <= 1.011 * published


def test_delta_of_gaussian_noise_is_the_integral() -> None:
    """Of what the density with the record exceeds e^epsilon times that without it by."""
    x = np.linspace(-12, 14, 400_001)
    for epsilon, mu in ((0.0, 0.5), (1.0, 1.0), (4.0, 1.3)):
        beyond = np.maximum(stats.norm.pdf(x - mu) - math.exp(epsilon) * stats.norm.pdf(x), 0)
        assert gaussian_delta(epsilon, mu) == pytest.approx(float(np.trapezoid(beyond, x)), abs=1e-6)


def test_gaussian_noise_keeps_its_epsilon_and_more_is_proved_of_it_than_of_anything() -> None:
    """Each coin seen through noise of one standard deviation: epsilon 4.38 at delta 1e-5."""
    rng, mu = np.random.default_rng(0), 1.0
    truth = 4.38
    assert gaussian_mu(truth, 1e-5) == pytest.approx(mu, abs=0.001)
    found, any_training = [], []
    for _ in range(100):
        coins = rng.random(500) < 0.5
        seen = np.where(coins, mu, 0.0) + rng.normal(size=500)
        surest = np.argsort(-np.abs(seen - mu / 2))[:250]
        right = int(((seen > mu / 2) == coins)[surest].sum())
        found.append(gaussian_epsilon_bound(500, 250, right, delta=1e-5))
        any_training.append(epsilon_bound(500, 250, right, delta=1e-5))
    assert np.mean(np.array(found) > truth) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 100)
    assert np.median(found) > 1.3 * np.median(any_training)


def test_chance_proves_nothing_and_more_right_guesses_prove_more() -> None:
    assert gaussian_epsilon_bound(400, 200, 100, delta=1e-5) == 0.0
    found = [gaussian_epsilon_bound(400, 200, right, delta=1e-5) for right in range(120, 201, 10)]
    assert found == sorted(found) and found[0] > 0
