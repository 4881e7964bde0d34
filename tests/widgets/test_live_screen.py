"""The main screen without a browser: what each message from the page does, and what it then shows."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from ehrmem_widgets.widgets.explore_patient import ExplorePatient
from ehrmem_widgets.widgets.trail import to_link
from tests.views.examples import words
from tests.widgets.opened import opened_once

FEW: dict[str, Any] = {"knowledge": "demographics", "horizon": 8, "samples": 16}


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExplorePatient]:
    """One screen for the tests of this module, each of which begins with the question that it needs."""
    with opened_once(tmp_path_factory.mktemp("cache")):
        made = ExplorePatient(**FEW)
        assert made.wait(240)
        yield made
        made.close()


@pytest.fixture
def sent(view: ExplorePatient, monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], list[bytes]]]:
    """What is sent to the page besides traits."""
    found: list[tuple[dict[str, Any], list[bytes]]] = []
    monkeypatch.setattr(view.screen.page, "send", lambda content, buffers=(): found.append((content, list(buffers))))
    return found


def hear(view: ExplorePatient, act: str, **more: object) -> None:
    view.screen.page.hear({"do": act, **more})


def begin(view: ExplorePatient, **state: Any) -> None:
    """A question that was not asked before."""
    view.set(**state)
    view.screen._follow(view.state)
    assert view.wait(240)


def test_the_controls_show_the_state_and_the_answer_stands_in_the_bar(view: ExplorePatient) -> None:
    page = view.screen.page
    assert page.question["level"] == "demographics" and page.question["horizon"] == "8"
    assert page.status["state"] == "settled" and page.status["patient"] == page.head["patient"]
    assert "in 100" in words(page.answer) and "The attacker knows" in words(page.answer)
    assert [one["name"] for one in page.head["models"]] == ["memorizing", "moderate", "private"]
    assert [one["on"] for one in page.head["models"]] == [True, False, False]


@pytest.mark.parametrize("text", ["-5", "1e9", "64.7", "abc", ""])
def test_a_typo_is_said_and_changes_nothing(view: ExplorePatient, text: str) -> None:
    page, state = view.screen.page, view.state
    hear(view, "field", name="horizon", text=text)
    assert view.state == state and page.status["state"] == "settled"
    said = page.question["refused"]["horizon"]
    assert said.startswith("Horizon must be a whole number from 1 to 36525") and said.endswith(
        f"What is shown is for horizon {state.horizon}."
    )
    hear(view, "field", name="horizon", text=str(state.horizon))
    assert page.question["refused"] == {}


def test_undo_goes_back_to_the_same_answer_without_asking_again(
    view: ExplorePatient, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = view.screen.page
    begin(view, horizon=9)
    before = page.answer
    hear(view, "field", name="horizon", text="10")
    assert view.wait(240) and page.answer != before and page.head["undo"]
    monkeypatch.setattr(view.exploration, "answers", None)  # nothing may be asked
    hear(view, "undo")
    assert view.wait(60) and view.state.horizon == 9 and page.question["horizon"] == "9" and page.head["redo"]
    assert words(page.answer).split("Since")[0] == words(before).split("Since")[0]
    hear(view, "redo")
    assert view.wait(60) and view.state.horizon == 10


def test_a_step_in_the_list_is_gone_back_to(view: ExplorePatient) -> None:
    begin(view, horizon=11)
    hear(view, "step", number=0)
    assert view.wait(240) and view.state == view.screen.trail.steps[0].state
    assert 'data-step="0" aria-current="step"' in view.screen.page.steps


def test_a_fact_set_by_hand_makes_the_level_custom(view: ExplorePatient) -> None:
    begin(view, horizon=8)
    hear(view, "level", name="demographics")
    view.screen.page.facts = [*view.screen.page.facts[:1]]
    assert view.wait(240)
    assert view.state.knowledge is None and len(view.state.facts) == 1 and view.screen.page.question["level"] == ""
    assert view.screen.trail.steps[-1].words.startswith(("−", "1 facts", "Facts"))


def test_facts_set_by_hand_go_along_to_the_next_patient_and_what_is_lost_is_said(view: ExplorePatient) -> None:
    hear(view, "level", name="lab_values")
    assert view.wait(240)
    view.screen.page.facts = view.screen.page.facts[:-1]
    assert view.wait(240) and view.state.knowledge is None
    held, dataset = len(view.state.facts), view.exploration.dataset
    other = next(int(i) for i in dataset.ids("held_out") if view.exploration.held(int(i)))
    hear(view, "patient", pseudonym=dataset.pseudonym(other))
    assert view.wait(240) and view.state.patient_id == other and view.state.knowledge is None and view.state.facts
    lost = held - len(view.state.facts)
    assert (f"{lost} of the {held} facts set by hand" in view.screen.page.error) == (lost > 0)


def test_a_second_model_answers_the_same_question_beside_the_first(view: ExplorePatient) -> None:
    page = view.screen.page
    begin(view, horizon=8, knowledge="demographics")
    hear(view, "model", name="private")
    assert view.on == ("memorizing", "private") and view.wait(400)
    assert {"memorizing", "private"} <= set(view.screen.trail.step(view.state).answers)  # type: ignore[union-attr]
    assert "private" in words(page.answer) and "private" in words(page.steps)
    hear(view, "model", name="memorizing")
    assert view.audited == "private" and view.wait(240) and words(page.answer).count("private") == 1
    hear(view, "model", name="private")  # one stays on
    assert view.on == ("private",)
    hear(view, "model", name="memorizing")
    hear(view, "model", name="private")
    assert view.on == ("memorizing",) and view.wait(240)
    hear(view, "model", name="gpt")
    assert "There is no model 'gpt'" in page.error


def test_a_session_is_saved_and_opened_again(view: ExplorePatient, sent: list[Any]) -> None:
    begin(view, horizon=13)
    state = view.state
    hear(view, "save")
    ((message, (content,)),) = sent
    assert message == {"kind": "file", "name": "ehrmem-session.json", "type": "application/json"}
    assert str(state.patient_id) not in json.loads(content)["state"].values()
    begin(view, horizon=8)
    hear(view, "open", text=content.decode())
    assert view.wait(240) and view.state == state
    for text, said in (
        ("{", "it is no JSON"),
        ("[]", "no session of ehrmem"),
        (json.dumps({**json.loads(content), "data": "other"}), "about other data"),
    ):
        hear(view, "open", text=text)
        assert said in view.screen.page.error and view.state == state


def test_the_address_brings_the_same_state_back(view: ExplorePatient) -> None:
    begin(view, horizon=14)
    link, state = view.screen.page.status["link"], view.state
    begin(view, horizon=8)
    hear(view, "open_link", link=link)
    assert view.wait(240) and view.state == state
    hear(view, "open_link", link=link[:-9])
    assert "cannot be read" in view.screen.page.error
    hear(view, "open_link", link=to_link({"patient": "P-AAAA-AAAA"}))
    assert "There is no patient" in view.screen.page.error and view.state == state


def test_the_table_holds_every_figure_with_its_interval(view: ExplorePatient, sent: list[Any]) -> None:
    hear(view, "csv")
    ((message, (content,)),) = sent
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert message["name"] == "ehrmem.csv" and rows
    answer = next(iter(view.screen.trail.steps[0].answers.values()))
    first = answer.attributes[0]
    assert [float(rows[0][name]) for name in ("value", "low", "high")] == [
        first.audited.value,
        first.audited.low,
        first.audited.high,
    ]
    assert int(rows[0]["n"]) == first.audited.n and rows[0]["attribute"] == first.name and rows[0]["figure"] == "leak"
    assert all(row["patient"].startswith("P-") for row in rows)
    assert not any(
        cell.startswith(("=", "+", "-", "@"))
        for row in rows
        for name, cell in row.items()
        if name in ("change", "facts")
    )


def test_patients_are_listed_in_windows(view: ExplorePatient, sent: list[Any]) -> None:
    hear(view, "patients", text="hiv", sort="events", descending=True, start=0, count=5, number=7)
    ((message, _),) = sent
    assert message["number"] == 7 and len(message["rows"]) == 5 and all("HIV" in row[4] for row in message["rows"])


@pytest.mark.parametrize(
    "message",
    [
        {"do": "explode"}, {"do": "set", "focus": 3}, {"do": "set", "focus": "nothing"}, {"do": "step", "number": 10**6}, {"do": "step", "number": True},
        {"do": "patient", "pseudonym": "P-AAAA-AAAA"}, {"do": "level", "name": "all"}, {"do": "patients", "text": None},
        {"do": "field", "name": "population", "text": "3"}, {"do": "part", "name": "nothing", "choice": ""}, {"do": "open_link", "link": 3},
    ],
)  # fmt: skip
def test_a_message_that_makes_no_sense_is_said_and_changes_nothing(
    view: ExplorePatient, message: dict[str, object]
) -> None:
    state = view.state
    view.screen.page.error = ""
    view.screen.page.hear(message)
    assert view.screen.page.error and "Internal" not in view.screen.page.error and view.state == state


def test_the_smallest_facts_are_found_and_go_onto_the_dial(view: ExplorePatient) -> None:
    page = view.screen.page
    hear(view, "step", number=0)
    assert view.wait(240)
    hear(view, "field", name="horizon", text="48")
    assert view.wait(240)
    asked = view.asked_of(view.state).count
    hear(view, "part", name="ranking", choice="")
    assert view.wait(900)
    said = words(str(page.parts_html["ranking"]["html"]))
    assert re.search(r"needs (about )?[\d,]+ questions? .*for an even chance", said)
    assert "suffice" in said and "similar people never seen who have it" in said and "p = " in said
    assert page.job == {}
    hear(view, "take", name="ranking")
    assert view.wait(400) and view.state.knowledge is None and 0 < len(view.state.facts) < 8
    tried = int(re.search(r"The search tried ([\d,]+) sets of facts \([\d,]+ questions", said)[1].replace(",", ""))  # type: ignore[index]
    assert (
        tried >= 5 and view.asked.count >= asked + tried
    )  # what was found among many is not the answer to one question
    assert page.parts_html["ranking"]["old"] is True  # it is about the facts of before


def test_a_fact_is_moved_and_judged_or_not_when_set_by_hand(view: ExplorePatient) -> None:
    page = view.screen.page
    hear(view, "level", name="age_sex")
    hear(view, "field", name="horizon", text="8")
    choices = dict(page.question["choices"]["perturbation"])
    assert choices["age"] == "Age" and choices["sex"] == "Sex"
    view.screen.page.facts = page.facts[:1]
    hear(view, "part", name="perturbation", choice="age")
    assert view.wait(600) and "no verdict here" in words(str(page.parts_html["perturbation"]["html"]))
    assert "41 values" in page.parts_html["perturbation"]["html"]  # 20 years either way
    asked = view.asked.count
    hear(view, "field", name="seed", text="91")
    assert view.wait(240) and view.asked.count > asked + 40


def test_a_search_is_cancelled(view: ExplorePatient) -> None:
    hear(view, "step", number=0)
    hear(view, "part", name="ranking", choice="")
    assert view.screen.page.job["running"]
    hear(view, "cancel")
    assert view.wait(60) and view.screen.page.job == {} and view.screen.page.status["state"] == "settled"


def test_a_look_at_everybody_that_another_question_ends_is_no_longer_told(
    view: ExplorePatient, sent: list[Any]
) -> None:
    begin(view, seed=76)
    hear(view, "scan")
    hear(view, "field", name="seed", text="75")
    told = [message for message, _ in sent if message["kind"] == "scan"]
    assert told[-1] == {"kind": "scan", "stopped": True}
    assert view.wait(240)
    assert [message for message, _ in sent if message["kind"] == "scan"][len(told) :] == []


def test_everybody_is_looked_at_and_no_question_after_it_counts_as_sealed(
    view: ExplorePatient, sent: list[Any]
) -> None:
    begin(view, seed=77)
    hear(view, "scan")
    assert view.wait(600)
    told = [message for message, _ in sent if message["kind"] == "scan"]
    assert (
        len(told) > 10
        and told[1]["words"].startswith("Looking at all patients: ")
        and told[-1] == {"kind": "scan", "done": True}
    )
    hear(view, "patients", text="", sort="exposed", descending=True, start=0, count=20, number=1)
    rows = sent[-1][0]["rows"]
    shown = [float(row[7].removesuffix(" ×").replace(",", "")) for row in rows]
    assert shown == sorted(shown, reverse=True) and shown[0] > 1.5
    assert all(row[5] == "in training" for row in rows)

    hear(view, "patient", pseudonym=rows[0][0])
    assert view.wait(240) and view.asked.count >= 3000
    hear(view, "sealing", on=True)
    view.set(seed=78, ask=False)
    hear(view, "ask_sealed")
    assert view.wait(240) and not view.asked.confirms and "had been looked at before" in view.asked.in_words()
    hear(view, "sealing", on=False)
