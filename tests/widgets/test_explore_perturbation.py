"""Notebook 04's screen on the real sample models: a canary's age collapses; live and headless say the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.people import seen_by
from ehrmem_widgets.probes.perturbation.ask import judge_spike
from ehrmem_widgets.probes.perturbation.null import FEWEST_SHOWN, Null, null_of, with_band
from ehrmem_widgets.probes.perturbation.screen import ExplorePerturbation
from ehrmem_widgets.statistics.verdicts import PositiveControl, Verdict
from tests.views.examples import assert_harmless, words
from tests.widgets.opened import opened_once

ENOUGH = {"people": 79, "samples": 16, "horizon": 24}  # to claim memory by four identifiers
FEW = {"people": 19, "samples": 16, "horizon": 16}


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with opened_once(tmp_path_factory.mktemp("cache")):
        yield


@pytest.fixture(scope="module")
def live() -> Iterator[ExplorePerturbation]:
    screen = ExplorePerturbation(**FEW)
    assert screen.wait(120)
    yield screen
    screen.close()


@pytest.fixture(scope="module")
def headless() -> ExplorePerturbation:
    return ExplorePerturbation(**ENOUGH, live=False)


@pytest.mark.slow
def test_the_age_of_a_canary_is_its_own(headless: ExplorePerturbation) -> None:
    found = headless.results()
    assert found["verdict"] == "Memorized" and found["in_record"] and found["settled"]
    assert found["never_seen"]["n"] == 79 and found["p"] == pytest.approx(1 / 80)
    assert found["spike"]["low"] > 0.05 and found["spike"]["n"] == 16
    truth = [point for point in found["curve"] if point["true"]]
    assert len(truth) == 1 and truth[0]["leak"] > truth[0]["never_seen_high"] > truth[0]["reference"]
    assert all(point["low"] <= point["leak"] <= point["high"] and point["n"] == 16 for point in found["curve"])


def test_the_same_state_gives_the_same_numbers_live_and_headless(
    live: ExplorePerturbation,
) -> None:
    headless = ExplorePerturbation(**FEW, live=False)
    assert live.state == headless.state
    assert json.dumps(live.results()) == json.dumps(headless.results(), allow_nan=False)
    assert live.view(live.state, live.answer) == headless.view(headless.state, headless.answer)
    assert live._bar.value and live._bar.value in headless.page()
    page = headless.page()
    assert_harmless(page.split("</style>")[1])
    assert "A collapse off the true value means an individual" in page


def test_the_curve_is_painted_before_anybody_else_is_asked(headless: ExplorePerturbation) -> None:
    few = replace(headless.state, people=FEW["people"])
    shown = [answer for answer in headless.answers(few) if answer is not None]
    assert shown[0].null is None and shown[0].curve.samples == 8 and not shown[0].settled
    without_band = [answer.curve.band is None for answer in shown]
    assert without_band == sorted(without_band, reverse=True) and not without_band[-1]
    assert shown[-1].settled and shown[-1].first_spike == pytest.approx(shown[0].curve.spike.value)
    assert shown[-1].tests == 4 and shown[-1].control is PositiveControl.FOUND


def test_those_asked_besides_were_seen_by_no_model(headless: ExplorePerturbation) -> None:
    exploration, question = headless._exploration, headless._question(headless.state)
    splits = {headless.dataset.patients["split"][r.patient_id] for r in exploration.controls.records}
    assert splits and not splits & seen_by(headless.model, headless.reference)
    null = [found for found in null_of(exploration, question, "sex", 5, 1.0) if found is not None][-1]
    assert null.n == null.wanted == 5 and null.same_attribute == 5  # holders of the attribute in focus come first
    assert all(set(curve) <= {-1, 0, 1} for curve in null.curves)


def test_no_more_people_are_asked_than_a_verdict_needs(headless: ExplorePerturbation) -> None:
    exploration, question = headless._exploration, headless._question(headless.state)
    lost = [found for found in null_of(exploration, question, "sex", 79, -1.0) if found is not None][-1]
    assert lost.n == FEWEST_SHOWN < lost.wanted  # everybody shows as much: a claim has become impossible


def test_another_identifier_and_an_attribute_that_is_not_held(live: ExplorePerturbation) -> None:
    live._identifier.value = "sex"
    live._focus.value = "hiv"
    assert live.wait(120)
    found = live.results()
    assert [point["value"] for point in found["curve"]] == ["Female", "Male"]
    assert found["verdict"] is None and not found["in_record"]
    assert 'data-identifier="sex"' in live._view.value and 'data-focus="hiv"' in live._view.value
    assert "Not in the record" in words(live._bar.value)


def test_a_seed_that_is_none_leaves_state_and_curve_as_they_are(live: ExplorePerturbation) -> None:
    state, shown = live.state, live._view.value
    for text in ("-5", "1e9", "4294967296"):
        live._seed.text.value = text
        assert live.state == state and live._view.value == shown and live._seed.text.value == text
        assert "Seed must be a whole number" in live._seed.message.value
        assert "Shown for seed 0, the last valid setting." in live._last_valid.note.value
    live._seed.text.value = "0"
    assert live.state == state and not live._last_valid.note.value


def test_what_is_not_known_cannot_be_moved_and_that_is_said(live: ExplorePerturbation) -> None:
    live._identifier.value = "lab"
    live._knowledge.value = "demographics"
    assert live.wait(120)
    assert live.error == (
        "There is no lab value among the known facts, so it was not moved. Add it to the facts, or move another identifier."
    )
    assert live._view.value == live._bar.value == "" and "no lab value" in live._error.value
    live._identifier.value = "age"
    assert live.wait(120)
    assert live.error is None and 'data-knowledge="demographics"' in live._view.value


def test_picking_another_patient_looks_at_the_gravest_that_this_one_holds(live: ExplorePerturbation) -> None:
    patients = live.dataset.patients
    other = int(patients[(patients["split"] == "held_out") & patients["attributes"].map(bool)].index[0])
    live._pick(other)
    assert live.wait(120)
    assert live.state.patient_id == other and live._focus.value == live.state.focus
    assert live.state.focus in live._exploration.held(other)
    assert live.results()["verdict"] != "Memorized"


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"identifer": "age"}, TypeError, "identifer"),
        ({"identifier": "name"}, BadInput, "age, sex, lab, date"),
        ({"focus": "baldness"}, BadInput, "is one of hiv, viral_hepatitis"),
        ({"knowledge": "labs"}, BadInput, "The levels are nothing, age_sex, demographics"),
        ({"people": 5}, BadInput, "people must be a whole number from 19 to 400"),
        ({"samples": 1}, BadInput, "samples must be a whole number from 16"),
        ({"knowledge": "demographics", "identifier": "date"}, BadInput, "no time between two events"),
    ],
)
def test_what_does_not_fit_is_refused(wrong: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        ExplorePerturbation(live=False, **{**FEW, **wrong})


def test_too_few_people_or_a_common_spike_are_no_claim(headless: ExplorePerturbation) -> None:
    assert headless.answer is not None
    curve, spike = headless.answer.curve, headless.answer.first_spike

    def said(null: Null) -> Verdict:
        peers, control = null.peers(spike), PositiveControl.NONE
        return judge_spike(curve.spike, curve.reference_spike, peers, tests=1, control=control).verdict

    few = Null(np.zeros(18))
    assert said(few) is Verdict.CANNOT_CONCLUDE
    assert with_band(headless.answer.curve, few) is headless.answer.curve
    assert said(Null(np.r_[np.zeros(10), np.ones(10)])) is Verdict.CANNOT_CONCLUDE
    assert said(Null(np.r_[np.zeros(28), np.ones(2)])) is Verdict.CANNOT_CONCLUDE
    assert said(Null(np.zeros(30))) is Verdict.MEMORIZED
