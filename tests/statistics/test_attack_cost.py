"""What an attack costs: the questions for an even chance, their median over people, the time and the price."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.settings import Price
from ehrmem_widgets.statistics.attack_cost import (
    EVEN_CHANCE,
    Pace,
    for_even_chance,
    in_all,
    median,
    median_for_even_chance,
    price_of,
    queries_needed,
)
from ehrmem_widgets.statistics.intervals import Estimate, proportion


@pytest.mark.parametrize(
    ("leak", "probability", "queries"),
    [
        (0.01, 0.5, 69),
        (0.001, 0.5, 693),
        (0.01, 0.99, 459),
        (0.0001, 0.9, 23_025),
        (0.5, 0.5, 1),
        (0.5, 0.75, 2),
        (0.1, 0.271, 3),  # 1 - .9^3, and no query more
        (0.1, 0.2711, 4),
        (1.0, 0.99, 1),
        (0.0, 0.5, None),
        (0.9, 0.1, 1),
    ],
)
def test_queries_needed(leak: float, probability: float, queries: int | None) -> None:
    assert queries_needed(leak, probability) == queries


def test_queries_needed_is_the_least_number_that_suffices() -> None:
    rng = np.random.default_rng(0)
    for leak, probability in rng.uniform(0.001, 0.999, (300, 2)):
        n = queries_needed(leak, probability)
        assert n is not None
        assert 1 - (1 - leak) ** n >= probability - 1e-12
        assert n == 1 or 1 - (1 - leak) ** (n - 1) < probability


@pytest.mark.parametrize(("leak", "questions"), [(0.5, 1), (0.1, 7), (1.0, 1), (0.05, 14), (0.001, 693)])
def test_questions_for_an_even_chance_exactly(leak: float, questions: int) -> None:
    assert for_even_chance(Estimate(leak, leak, leak, 64)) == Estimate(questions, questions, questions, 64)


def test_the_ends_of_the_interval_change_places() -> None:
    assert for_even_chance(Estimate(0.1, 0.06, 0.13, 64)) == Estimate(7, 5, 12, 64)


def test_not_one_leak_has_no_end_and_a_least_number() -> None:
    found = for_even_chance(proportion(0, 100))
    assert (found.value, found.high, found.n) == (math.inf, math.inf, 100)
    assert found.low == queries_needed(proportion(0, 100).high, EVEN_CHANCE)


def test_the_number_stated_gives_an_even_chance() -> None:
    """Asked that often, a coin of any bias shows its rare side in half of the tries, and asked once less in fewer."""
    rng = np.random.default_rng(1)
    for leak in (0.02, 0.1, 0.3):
        n = int(for_even_chance(Estimate(leak, leak, leak, 64)).value)
        tries = rng.random((20_000, n)) < leak
        assert tries.any(axis=1).mean() > 0.49
        assert tries[:, :-1].any(axis=1).mean() < 0.51


def test_the_interval_of_the_median_covers_it_whatever_the_law() -> None:
    rng = np.random.default_rng(2)
    for n in (6, 7, 20, 41):
        for draw, true in ((rng.exponential, math.log(2)), (rng.standard_normal, 0.0), (rng.standard_cauchy, 0.0)):
            covered = [(found := median(draw(size=n))).low <= true <= found.high for _ in range(1500)]
            assert np.mean(covered) > 0.94
    assert median([1.0, 2.0, 3.0]).high == math.inf  # of so few nothing bounds it


def test_the_median_of_infinite_and_of_no_values() -> None:
    assert median([math.inf] * 5 + [1.0]) == Estimate(math.inf, 1.0, math.inf, 6)
    assert median([]).n == 0


def test_the_median_of_few_people_is_withheld() -> None:
    assert median_for_even_chance([0.5] * 10).n == 0
    assert median_for_even_chance([0.5] * 17) == Estimate(1, 1, 1, 11)  # n rounded down, as every n


def test_time_and_price_by_the_ends_of_both() -> None:
    queries, pace = Estimate(7, 5, 11, 64), Pace(Estimate(2.0, 1.0, 3.0, 6), Estimate(50.0, 40.0, 60.0, 6))
    assert in_all(queries, pace.seconds) == Estimate(14, 5, 33, 64)
    of_questions = price_of(queries, pace, Price(500, "EUR", "questions"))
    of_codes = price_of(queries, pace, Price(1, "EUR", "codes"))
    assert (of_questions.value, of_questions.low, of_questions.high) == pytest.approx((3.5, 2.5, 5.5))
    assert (of_codes.value, of_codes.low, of_codes.high) == pytest.approx((0.35, 0.2, 0.66))


@pytest.mark.parametrize(
    "text", ["0.5 EUR per 1000 questions", "0.50EUR per 1,000 questions", "12 $ per 1000 codes", "3 € per 1000 codes"]
)
def test_a_price_as_it_is_typed_and_shown(text: str) -> None:
    assert Price.read(str(Price.read(text, "price")), "price") == Price.read(text, "price")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0.5",
        "0.5 EUR",
        "free",
        "-1 EUR per 1000 questions",
        "1e3 EUR per 1000 codes",
        "nan EUR per 1000 codes",
        "5 euro per 1000 questions",
    ],
)
def test_what_is_no_price_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadInput, match=r"price must be an amount .* such as 0\.50 EUR per 1000 questions"):
        Price.read(text, "price")
