"""From a data set to the population: against closed forms, and against populations that are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ehrmem_widgets.statistics.intervals import proportion
from ehrmem_widgets.statistics.population import LINK_ERROR, fitting_probability, others_in_population


def independent(rng: np.random.Generator, people: int, shares: list[float]) -> np.ndarray:
    return rng.random((len(shares), people)) < np.array(shares)[:, None]


def test_the_tree_gives_the_product_for_independent_facts_and_no_less_for_nested_ones() -> None:
    rng = np.random.default_rng(0)
    shares = [0.5, 0.3, 0.2]
    assert math.exp(fitting_probability(independent(rng, 200_000, shares))[0]) == pytest.approx(0.03, rel=0.05)
    day = rng.random(200_000) < 0.01  # a visit on a day
    nested = np.array([day, day & (rng.random(200_000) < 0.5), rng.random(200_000) < 0.5])  # a test at it, and a sex
    assert math.exp(fitting_probability(nested)[0]) == pytest.approx(0.01 * 0.5 * 0.5, rel=0.1)


def test_the_error_grows_with_the_links_and_with_what_was_never_counted() -> None:
    fits = independent(np.random.default_rng(3), 10_000, [0.5, 0.5, 0.5])
    errors = [fitting_probability(fits[:facts])[1] for facts in (1, 2, 3)]
    assert errors == pytest.approx([0.0, LINK_ERROR, LINK_ERROR * math.sqrt(2)], abs=0.02)
    assert fitting_probability(np.zeros((2, 10_000), dtype=bool))[1] == pytest.approx(math.sqrt(2 + 2 + LINK_ERROR**2))


def test_people_are_counted_in_pieces_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = independent(np.random.default_rng(1), 1_000, [0.5, 0.1, 0.02])
    whole = fitting_probability(fits)
    monkeypatch.setattr("ehrmem_widgets.statistics.population._PEOPLE_AT_ONCE", 64)
    assert fitting_probability(fits) == whole


def test_where_many_fit_the_count_decides_whatever_the_tree_says() -> None:
    fits = np.zeros((2, 999), dtype=bool)
    fits[:, :300] = True  # always together: the product would be .09
    others, nobody = others_in_population(fits, 100_000)
    assert others.value == pytest.approx(30_000, rel=0.01) and 26_500 < others.low < 30_000 < others.high < 33_500
    assert (nobody.value, nobody.low, nobody.high) == (0, 0, 0)


def test_what_nobody_else_has_says_less_the_larger_the_population_is() -> None:
    fits = np.zeros((1, 2_999), dtype=bool)
    found = [others_in_population(fits, people) for people in (3_000, 6_000, 300_000)]
    values, chances = [others.value for others, _ in found], [nobody.value for _, nobody in found]
    assert values == sorted(values) and values[0] == 0 and chances == sorted(chances, reverse=True)
    assert found[2][0].high > 50 and found[2][1].value < 0.1  # k = 1 of 3,000 is no identification among 300,000
    assert all(nobody.low <= nobody.value <= nobody.high for _, nobody in found)


def test_the_interval_holds_the_number_and_the_chance_is_right() -> None:
    """Facts of every kind (rare, common, nested) over 400 populations of 2,000 people; the data set holds 400 of them."""
    rng = np.random.default_rng(2)
    covered, unique, said = 0, [], []
    for _ in range(400):
        shares = rng.choice([0.5, 0.2, 0.05, 0.01, 0.002], rng.integers(1, 5)).tolist()
        everybody = independent(rng, 1_999, shares)
        if rng.random() < 0.5:
            everybody = np.vstack([everybody, everybody[0] & (rng.random(1_999) < 0.5)])
        truth = int(everybody.all(axis=0).sum())
        others, nobody = others_in_population(everybody[:, :399], 2_000)
        covered += others.low <= truth <= others.high
        if not everybody[:, :399].all(axis=0).any():
            unique.append(truth == 0)
            said.append(nobody.value)
    assert proportion(covered, 400).high >= 0.95
    assert np.mean(said) == pytest.approx(np.mean(unique), abs=0.1)
