"""What the main screen shows, on the sample cohort and models: the verdicts, and that they depend on the state alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ehrmem_widgets.attacker.facts import facts_of_level
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.exploration import Exploration, Question, State, recognised
from ehrmem_widgets.samples.folders import example_patient, sample_data, sample_model, sample_reference
from ehrmem_widgets.statistics.verdicts import Peers, Verdict
from ehrmem_widgets.tokens.attribute_codes import AttributeCodes


@pytest.fixture(scope="module")
def exploration() -> Exploration:
    model = FolderModel(sample_model())
    return Exploration(MedsDataset(sample_data()), model, FolderModel(sample_reference()), folder=sample_model())


def state(exploration: Exploration, knowledge: str, **changes: object) -> State:
    patient = example_patient(exploration.dataset, "train")
    facts = facts_of_level(knowledge, exploration.record(patient), exploration.model.vocabulary)
    names = exploration.attributes.default_names()
    made = State(patient, facts, knowledge, names, exploration.held(patient)[0], horizon=48, samples=64)
    return replace(made, **changes)  # type: ignore[arg-type]


def without_reference(exploration: Exploration) -> Exploration:
    """The same without a reference model, and without the map."""
    alone = Exploration(exploration.dataset, exploration.model, None)
    alone.store = alone.map = None
    return alone


def last(exploration: Exploration, asked: State):  # type: ignore[no-untyped-def]
    return [answer for answer in exploration.answers(asked) if answer is not None][-1]


def test_a_canary_is_memorized_from_one_lab(exploration: Exploration) -> None:
    answer = last(exploration, state(exploration, "one_lab"))
    finding = answer.attribute(answer.focus)
    assert finding.judgement.verdict is Verdict.MEMORIZED
    assert finding.excess.low > 0.2 and len(finding.controls) == 40
    rebuilt = answer.reconstruction
    assert rebuilt.distance.high < 0.5 < rebuilt.reference_distance.low
    assert rebuilt.rare.low > rebuilt.reference_rare.high


def test_with_no_facts_nobody_is_memorized(exploration: Exploration) -> None:
    answer = last(exploration, state(exploration, "nothing"))
    assert answer.known.k == answer.known.n == 3000
    for finding in answer.attributes:
        assert (finding.judgement is None) == (not finding.held)  # what the record does not hold has no verdict
        assert not finding.held or finding.judgement.verdict is not Verdict.MEMORIZED


def test_a_patient_is_ranked_by_the_very_question_put_to_the_others(exploration: Exploration) -> None:
    asked = state(exploration, "one_lab")
    question = Question(exploration, asked)
    for _ in question.first_answers():
        pass
    for _ in question.ask_controls():
        pass
    again = Question(exploration, asked)
    again.peers = [[question.record]] * len(again.held)  # a control of its own: the very same answer, and so a tie
    for _ in again.ask_controls():
        pass
    column = question.focus_column
    assert again.control_leaks[0][0, column] == pytest.approx(question.own_leaks[0][column], abs=1e-6)
    assert Peers.of(*again._compared(column)) == Peers(1, 1)
    before = Peers.of(*question._compared(column))
    for form in question.products:
        for _ in form.add(64, 99):  # further samples refine the interval and leave the rank alone
            pass
    question._update()
    assert Peers.of(*question._compared(column)) == before


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("knowledge", ["nothing", "one_lab", "lab_values"])
def test_the_similar_people_who_are_not_asked_could_not_change_a_verdict(
    exploration: Exploration, knowledge: str, alone: bool
) -> None:
    exploration = without_reference(exploration) if alone else exploration
    members = exploration.dataset.ids(split="train")[40:400:60]
    for patient in members:
        if not (held := exploration.held(patient)):
            continue
        facts = facts_of_level(knowledge, exploration.record(patient), exploration.model.vocabulary)
        names = exploration.attributes.default_names()
        asked = State(patient, facts, knowledge, names, held[0], horizon=48, samples=64)
        found = last(exploration, asked)
        everybody = Question(exploration, asked)
        for _ in (*everybody.first_answers(), *everybody.refine(), *everybody.ask_controls()):
            pass
        for few, all_ in zip(found.attributes, everybody.settled().attributes, strict=True):
            assert len(few.controls) + few.not_asked == len(all_.controls)
            if not alone:  # alone, those compared about another attribute are asked between them
                same = np.isclose(few.controls, all_.controls[: len(few.controls)], atol=1e-6)
                assert (
                    same.mean() >= 0.9
                )  # rounding differs with who is asked beside, and may turn a draw (one in 10,000)
            assert (few.judgement is None) == (all_.judgement is None)
            if few.judgement is not None and all_.judgement is not None:
                assert few.judgement.verdict is all_.judgement.verdict
                assert (few.judgement.rank_p is None) == (few.not_asked > 0 or not few.controls)


def test_a_verdict_that_hangs_on_the_others_asks_them(exploration: Exploration) -> None:
    question = Question(exploration, state(exploration, "one_lab"))
    for _ in (*question.first_answers(), *question.refine(), *question.compare()):
        pass
    shown = question.settled().attribute(question.state.focus)
    assert shown is not None and shown.judgement is not None
    assert shown.not_asked == 0 and shown.judgement.rank_p == pytest.approx(1 / 41)
    more = exploration.controls.records[-30:]
    question.peers = [[*those, *(one for one in more if one not in those)] for those in question.peers]
    question._not_asked = {one.patient_id for one in more} - set(question.asked)
    assert question._hangs_on()  # 30 more who all showed as much would take the verdict back


def test_a_horizon_that_the_attribute_lies_beyond_concludes_nothing(exploration: Exploration) -> None:
    never = next(
        int(patient)
        for patient in exploration.dataset.ids("held_out")
        if exploration.held(int(patient)) and int(patient) not in exploration.canaries
    )
    facts = facts_of_level("demographics", exploration.record(never), exploration.model.vocabulary)
    focus = exploration.held(never)[0]
    asked = state(exploration, "demographics", patient_id=never, facts=facts, focus=focus, horizon=1)
    short = last(exploration, asked)
    finding = short.attribute(short.focus)
    assert finding.held and finding.judgement.verdict is Verdict.CANNOT_CONCLUDE
    assert (
        "beyond the horizon of 1" in finding.judgement.sentence
        or "nothing left to give away" in finding.judgement.sentence
    )


def test_the_answer_depends_on_the_state_alone(exploration: Exploration) -> None:
    asked = state(exploration, "lab_values")
    first = last(exploration, asked)
    last(exploration, state(exploration, "demographics", seed=7))
    again = last(exploration, asked)
    assert [f.audited for f in first.attributes] == [f.audited for f in again.attributes]
    assert [f.controls for f in first.attributes] == [f.controls for f in again.attributes]
    assert first.generated == again.generated and first.neighbours.rank == again.neighbours.rank
    assert first.neighbours.rank <= 10 and first.neighbours.n == 3000  # the labs lead to the patient's own record


def test_without_a_reference_people_never_seen_who_hold_it_are_the_control(exploration: Exploration) -> None:
    alone = without_reference(exploration)
    canary = next(p for p in alone.canaries if {"genetic_disease", "hiv"} & set(alone.held(p)))
    focus_on = next(name for name in ("genetic_disease", "hiv") if name in alone.held(canary))
    facts = facts_of_level("lab_values", alone.record(canary), alone.model.vocabulary)
    asked = state(alone, "lab_values", patient_id=canary, facts=facts, focus=focus_on)
    question = Question(alone, asked)
    for held, reached, those in zip(question.held, question.reached, question.peers, strict=True):
        assert bool(those) <= (held and not reached)
    focus = question.peers[question.focus_column]
    assert len(focus) >= 19 and all(alone.attributes.held(asked.focus, one) for one in focus)
    assert not {one.patient_id for one in focus} & (alone.planted | set(alone.dataset.ids("train")))
    answer = last(alone, asked)
    finding = answer.attribute(asked.focus)
    assert finding is not None and finding.judgement is not None
    assert finding.reference is None and all(len(one) == 1 for one in finding.controls)
    assert finding.audited.low > 0.3 and finding.judgement.verdict is Verdict.MEMORIZED
    assert "whom the model never saw. There is no reference model" in finding.judgement.sentence
    assert any("There is no reference model" in one for one in answer.warnings)


def test_without_a_reference_nobody_never_seen_is_called_memorized_and_too_few_conclude_nothing(
    exploration: Exploration,
) -> None:
    alone = without_reference(exploration)
    never = [p for p in alone.dataset.ids("held_out") if alone.held(int(p)) and int(p) not in alone.planted][:8]
    said = []
    for patient in map(int, never):
        facts = facts_of_level("one_lab", alone.record(patient), alone.model.vocabulary)
        asked = state(alone, "one_lab", patient_id=patient, facts=facts, focus=alone.held(patient)[0], samples=64)
        for finding in last(alone, asked).attributes:
            if finding.judgement is not None:
                said.append(finding.judgement.verdict)
                enough = len(finding.controls) + finding.not_asked >= 19
                assert enough or finding.judgement.verdict is Verdict.CANNOT_CONCLUDE
    assert len(said) > 8 and Verdict.MEMORIZED not in said


def test_states_that_make_no_sense_are_refused(exploration: Exploration) -> None:
    with pytest.raises(BadInput, match="horizon must be a whole number from 1 to 36525"):
        state(exploration, "nothing", horizon=0)
    with pytest.raises(BadInput, match="not among those asked about"):
        state(exploration, "nothing", focus="sex")


def test_what_the_patient_holds_and_the_model_has_no_code_of_is_said(exploration: Exploration) -> None:
    held = exploration.held(example_patient(exploration.dataset, "train"))
    codes = exploration.attributes
    assert codes.unknown_to_model() == () and not Question(exploration, state(exploration, "nothing")).answer.warnings
    without = [code for code in codes.vocabulary.codes if codes.vocabulary.base(code) not in codes._codes[held[0]]]
    narrow = AttributeCodes(
        replace(codes.vocabulary, codes=tuple(without)), codes.attributes, sorted(codes._all[held[0]])
    )
    assert narrow.unknown_to_model() == (held[0],) and held[0] not in narrow.default_names()


@pytest.mark.parametrize("reference", [True, False])
def test_membership_of_one_patient_is_a_rank_among_people_never_seen(reference: bool) -> None:
    never = np.linspace(-4, -3, 40)
    found = recognised(-1.5, never, reference)
    assert found.judgement.verdict is Verdict.MEMORIZED and found.judgement.rank_p == pytest.approx(1 / 41)
    assert found.times == pytest.approx(np.exp(2.0)) and "7.4 times as likely" in found.judgement.sentence
    assert ("There is no reference model" in found.judgement.sentence) is not reference
    for own, others in ((-3.1, never), (-1.5, never[:18])):
        assert recognised(own, others, reference).judgement.verdict is Verdict.CANNOT_CONCLUDE
