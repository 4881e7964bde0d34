"""What an attack costs, in a clinician's words."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.charts.table import NOT_SHOWN
from ehrmem_widgets.settings import Price
from ehrmem_widgets.statistics.attack_cost import Pace
from ehrmem_widgets.statistics.discrimination import NOTHING
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.answer_bar import Said, answer_bar
from ehrmem_widgets.views.attack_cost import Means, even_chance, questions
from ehrmem_widgets.views.attack_ranking import AttackRow, AttackTable, attack_ranking
from tests.views.examples import answer, finding, not_held, words

LEAK = Estimate(0.1, 0.06, 0.13, 128)
PACE = {Query.SAMPLE: Pace(Estimate(2.0, 1.9, 2.2, 6), Estimate(80.0, 72.0, 84.0, 6))}


@pytest.mark.parametrize(
    ("queries", "said"),
    [
        (Estimate(7, 5, 11, 64), "about 7 questions (5 to 11)"),
        (Estimate(1, 1, 1, 64), "1 question"),
        (Estimate(256, 256, 256, 1), "256 questions"),
        (Estimate(1, 1, 2, 64), "about 1 question (1 to 2)"),
        (Estimate(69_315, 46_210, math.inf, 64), "about 69,000 questions (46,000 or more)"),
        (Estimate(2e6, 9e5, 3e8, 64), "about over a million questions (900,000 to over a million)"),
        (Estimate(math.inf, 19, math.inf, 100), "at least 19 questions"),
        (Estimate(math.inf, math.inf, math.inf, 20), "not seen once"),
        (NOTHING, NOT_SHOWN),
    ],
)
def test_questions(queries: Estimate, said: str) -> None:
    assert questions(queries) == said.replace("about over", "over")


def test_what_a_finding_takes() -> None:
    of = finding(audited=LEAK)
    said = "An attacker who knows these facts would need about 7 questions (5 to 12; n = 128 samples) for an even chance of learning it"
    assert even_chance(of) == f"{said}."
    took = "14 seconds (10 seconds to 26 seconds; pace measured in 6 rounds)"
    assert even_chance(of, Means(PACE)) == f"{said}: {took}."
    by_question, by_code = Price(50, "EUR", "questions"), Price(0.5, "EUR", "codes")
    assert (
        even_chance(of, Means(PACE, by_question))
        == f"{said}: {took}, and 0.35 EUR (0.25 to 0.60) at the declared price."
    )
    assert "0.28 EUR (0.18 to 0.50) at the declared price" in even_chance(of, Means(PACE, by_code))


def test_without_a_leak_there_is_a_least_number_and_no_time() -> None:
    said = even_chance(finding(audited=Estimate(0.0, 0.0, 0.037, 100)), Means(PACE, Price(50, "EUR", "questions")))
    assert said.startswith("Not one leak in 100 samples: an attacker") and "at least 19 questions" in said
    assert "second" not in said and "EUR" not in said


def test_what_the_record_does_not_hold_cannot_be_learnt() -> None:
    of = replace(not_held(), audited=LEAK)
    assert "wrongly: the record does not hold it" in even_chance(of) and "learning" not in even_chance(of)
    shown = replace(answer(), attributes=(of,), focus=of.name)
    assert "even chance" not in words(answer_bar([Said("model", shown)], knows="one lab"))


def test_the_answer_bar_says_it_beside_the_leak() -> None:
    shown = replace(answer(), attributes=(finding(audited=LEAK),), focus=finding().name)
    said = words(answer_bar([Said("model", shown)], knows="one lab"))
    assert "About 7 questions (5 to 12) for an even chance of learning it." in said


def test_the_ranking_has_the_cheapest_questions_beside_the_cheapest_facts() -> None:
    row = AttackRow("A few facts", (None, 0, 0, 12), 12, None, 8.0, Estimate(7, 5, 11, 11), Estimate(640, 500, 900, 11))
    said = words(attack_ranking(AttackTable(("A few facts",), (row,), replace(row, words="Any"), 100, 0.25)))
    assert "8.0 about 7 questions (5 to 11) about 640 questions (500 to 900)" in said
