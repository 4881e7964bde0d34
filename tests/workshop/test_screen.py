"""The lesson's screen: what a participant does, what the teacher sees, and the static page."""

from __future__ import annotations

import json
from pathlib import Path

import papermill
import pytest

from ehrmem_widgets.widgets.workshop import Workshop
from ehrmem_widgets.workshop.chosen import chosen
from ehrmem_widgets.workshop.lesson import is_memory, lesson, points
from ehrmem_widgets.workshop.results import ITEMS, decode

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "07_workshop.ipynb"


def at(workshop: Workshop, key: str) -> str:
    """Go to a step; what its own HTML says."""
    workshop.go([step.key for step in lesson().steps].index(key))
    return " ".join(
        one.value for one in workshop._body.children if hasattr(one, "value") and isinstance(one.value, str)
    )


def test_the_code_holds_what_was_answered_before_and_after() -> None:
    workshop = Workshop()
    for place, question in enumerate(workshop.before):
        question.choice.value = place % 4
    at(workshop, "exit")
    for item, question in zip(lesson().quiz[:-1], workshop.after, strict=False):
        question.choice.value = item.right
    quiz = decode(workshop.finish())
    assert quiz.before == (0, 1, 2, 3, 0, 1)
    assert quiz.after == (*(item.right for item in lesson().quiz[:-1]), None)
    assert "Right." in workshop.after[0].said.value and "Choose an answer first" in workshop.after[-1].said.value
    assert workshop._code.value.count(f"{ITEMS - 1} of {ITEMS} right") == 1
    workshop.reset()
    assert workshop.place == 0 and workshop.quiz.before == (None,) * ITEMS
    workshop.close()


def test_a_wrong_answer_is_explained_with_its_misconception() -> None:
    workshop = Workshop()
    question = workshop.before[0]
    assert question.said.value == ""  # no solution at the entry
    question.choice.value = 0
    question.check()
    assert "De-identified means safe" in question.said.value and lesson().quiz[0].options[0].why in question.said.value
    workshop.close()


def test_a_card_is_turned_over_only_once_it_is_sorted() -> None:
    workshop = Workshop()
    at(workshop, "cards")
    cards = workshop.cards
    for place, card in enumerate(chosen().cards):
        cards.turn_to(place)
        assert "A model that never saw this person" not in cards._shown.value
        cards.sort(is_memory(card) if place else not is_memory(card))
        assert "A model that never saw this person" in cards._shown.value
        cards.sort(True), cards.sort(False)  # the first choice stands
    assert cards.sorted_right == len(chosen().cards) - 1
    workshop.close()


def test_only_the_teacher_sees_answers() -> None:
    for teacher in (False, True):
        page = Workshop(teacher=teacher, live=False).page()
        assert ("never saw them" in page.lower()) and (lesson().quiz[0].options[0].why in page) is teacher
        assert ("Population</b>" in page) is teacher
        workshop = Workshop(teacher=teacher)
        assert ("For the teacher" in at(workshop, "cards")) is teacher
        workshop.close()


@pytest.mark.slow
def test_the_attack_scores_few_facts() -> None:
    workshop = Workshop()
    at(workshop, "attack")
    assert workshop.wait(300)
    attack = workshop.attack
    assert len(attack.dial.rows) > 10 and len(attack.dial.facts) == chosen().attack[0].facts
    dialled = chosen().attack[0]
    assert attack.tries[-1].leak.value == pytest.approx(dialled.audited.value, abs=0.03)
    assert attack.best == max(points(one.leak, one.facts) for one in attack.tries)
    assert f"{10 - dialled.facts} facts left of 10" in attack._board.value
    attack.dial.facts = []
    assert workshop.wait(300) and attack.tries[-1].facts == 0
    workshop.close()


@pytest.mark.slow
def test_the_notebook_runs_headless_for_the_teacher(tmp_path: Path) -> None:
    given = {"teacher": True, "live": False, "results_file": str(tmp_path / "results.json")}
    papermill.execute_notebook(str(NOTEBOOK), str(tmp_path / "out.ipynb"), given, progress_bar=False)
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results["key"]) == {item.key for item in lesson().quiz}
    assert results["figures"]["odds_noise"] == str(chosen().odds.by_noise)
    executed = json.loads((tmp_path / "out.ipynb").read_text())
    shown = [o for c in executed["cells"] for o in c.get("outputs", []) if o["output_type"] == "display_data"]
    page = "".join(shown[-1]["data"]["text/html"])
    assert lesson().title in page and "://" not in page
