"""Steps, undo and redo, and a session as JSON and as an address: what comes back is what was kept, and nothing else is taken."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from ehrmem_widgets.attacker.facts import DatePrecision, KnownFact, ValuePrecision, facts_of_level
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.exploration import State
from ehrmem_widgets.samples.folders import sample_data, sample_model
from ehrmem_widgets.tokens.attribute_codes import AttributeCodes
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from ehrmem_widgets.widgets.trail import Trail, from_link, state_as_json, state_from_json, to_link, what_changed

A = State(1, (), "nothing", ("hiv", "abuse"), "hiv")
B = replace(A, horizon=32)
C = replace(A, focus="abuse")


def answered(trail: Trail, *states: State) -> Trail:
    for state in states:
        trail.add(state, "model", SimpleNamespace())  # type: ignore[arg-type]  # an answer is only kept here
    return trail


@pytest.fixture(scope="module")
def exploration() -> Any:
    """What a saved state needs of an exploration: the data, the attributes and the vocabulary."""
    dataset = MedsDataset(sample_data())
    vocabulary = Vocabulary.load(sample_model() / "vocabulary.json")
    attributes = AttributeCodes(vocabulary, dataset.attributes, dataset.codes["code"].tolist(), dataset.descriptions)
    return SimpleNamespace(dataset=dataset, attributes=attributes, record=dataset.record, vocabulary=vocabulary)


def test_undo_goes_back_step_by_step_and_redo_forward_again() -> None:
    trail = answered(Trail(), A, B, C)
    assert (trail.undo(C), trail.undo(B), trail.undo(A)) == (B, A, None)
    assert (trail.redo(), trail.redo(), trail.redo()) == (B, C, None)


def test_a_new_step_forgets_what_was_undone_but_keeps_every_step_to_look_at() -> None:
    trail = answered(Trail(), A, B)
    assert trail.undo(B) == A
    answered(trail, A, C)
    assert trail.redo() is None and trail.undo(C) == A
    assert [step.state for step in trail.steps] == [A, B, C]


def test_undo_while_an_answer_is_not_there_yet_goes_back_to_the_last_one() -> None:
    trail = answered(Trail(), A)
    assert trail.undo(B) == A and not trail.can_undo


def test_two_models_answer_one_step() -> None:
    trail = answered(Trail(), A)
    trail.add(A, "other", SimpleNamespace())  # type: ignore[arg-type]
    assert len(trail.steps) == 1 and set(trail.steps[0].answers) == {"model", "other"}


def test_a_step_says_what_changed() -> None:
    titles, names = {"hiv": "HIV", "abuse": "Abuse and violence"}, {0: "HbA1c"}
    by_hand = replace(A, facts=(KnownFact(0),), knowledge=None)
    roughly = replace(by_hand, facts=(KnownFact(0, ValuePrecision.COARSE),))
    said = [
        what_changed(a, b, titles, names)
        for a, b in ((None, A), (A, B), (A, C), (A, by_hand), (by_hand, roughly), (by_hand, replace(A, knowledge=None)))
    ]
    assert said == ["Nothing", "Horizon 32", "Abuse and violence", "+ HbA1c", "HbA1c roughly", "− HbA1c"]


def test_a_state_survives_an_address(exploration: Any) -> None:
    dataset = exploration.dataset
    patient = dataset.ids("train")[3]
    record = dataset.record(patient)
    facts = facts_of_level("lab_values", record, exploration.vocabulary)
    dated = next(fact for fact in facts if fact.place >= 0 and record.events[fact.place].time is not None)
    facts = tuple(replace(fact, date=DatePrecision.WEEK) if fact == dated else fact for fact in facts)
    names = exploration.attributes.default_names()
    state = State(patient, facts, None, names, names[2], horizon=40, samples=96, seed=7, population=500_000)
    link = to_link(state_as_json(state, exploration))
    assert state_from_json(from_link(link), exploration, replace(A, attributes=names, focus=names[0])) == state
    assert str(patient) not in from_link(link).values()  # type: ignore[attr-defined]  # by pseudonym


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"patient": 3}, "names no patient"),
        ({"patient": "P-AAAA-AAAA"}, "There is no patient"),
        ({"horizon": -5}, "horizon must be a whole number"),
        ({"horizon": "64"}, "horizon must be a whole number"),
        ({"focus": "nothing"}, "is not among those asked about"),
        ({"facts": "999999"}, "999999"),
        ({"facts": ["0"]}, "The facts of a saved state are a text"),
        ({"attributes": "hiv"}, "attributes must be a list of texts"),
        ({"knowledge": "everything"}, "There is no knowledge level"),
        ({"more": 1}, "'more' is unknown"),
    ],
)
def test_what_is_no_saved_state_is_refused_in_words(exploration: Any, change: dict[str, object], words: str) -> None:
    names = exploration.attributes.default_names()
    now = State(exploration.dataset.ids("train")[0], (), "nothing", names, names[0])
    content = {**state_as_json(now, exploration), **change}
    with pytest.raises(BadInput, match=words):
        state_from_json(content, exploration, now)


@pytest.mark.parametrize("link", ["", "a", "!!!!", "bnVsbA==x", "W1tb" * 4000])
def test_an_address_that_was_cut_short_is_refused_in_words(link: str) -> None:
    with pytest.raises(BadInput, match=r"cannot be read|names no patient"):
        found = from_link(link)
        state_from_json(found, None, A)  # type: ignore[arg-type]  # refused before it is looked at
