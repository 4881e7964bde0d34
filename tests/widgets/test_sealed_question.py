"""Exploring or confirming: the screen counts its questions, and only what was written down before its answer confirms."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import pytest

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.sealing import Asked
from ehrmem_widgets.widgets.explore_patient import ExplorePatient
from tests.views.examples import words
from tests.widgets.opened import opened_once

FEW = {"knowledge": "demographics", "horizon": 8, "samples": 16}


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with opened_once(tmp_path_factory.mktemp("cache")):
        yield


def test_asked_in_words() -> None:
    assert Asked().in_words() == "Exploratory: one question asked, not sealed beforehand."
    assert Asked(14).in_words().startswith("Exploratory, one of 14 questions asked")
    sealed = Asked(1, "0123456789ab", "2026-11-25T10:00:00+00:00")
    assert (
        sealed.confirms
        and "written down at 2026-11-25 10:00:00 UTC, before the answer (0123456789ab)" in sealed.in_words()
    )
    late = Asked(3, "0123456789ab", "2026-11-25T10:00:00+00:00", again=True)
    assert late.kind == "exploratory" and "had been looked at before" in late.in_words()


@pytest.mark.slow
def test_a_headless_question_is_sealed_or_one_of_many() -> None:
    sealed = ExplorePatient(live=False, sealed=True, **FEW)  # type: ignore[arg-type]
    found = sealed.results()["question"]
    assert found["kind"] == "sealed" and found["hash"] in sealed.page() and "--sealed" in shlex.split(sealed.command())
    same = ExplorePatient(live=False, sealed=True, **FEW).results()["question"]["hash"]  # type: ignore[arg-type]
    other = ExplorePatient(live=False, sealed=True, **{**FEW, "horizon": 9}).results()["question"]["hash"]  # type: ignore[arg-type]
    assert same == found["hash"] != other
    many = ExplorePatient(live=False, asked=14, **FEW)  # type: ignore[arg-type]
    assert many.results()["question"]["kind"] == "exploratory"
    assert "one of 14 questions asked" in many.page() and "--asked 14" in many.command()
    with pytest.raises(BadInput, match="sealed question is the first"):
        ExplorePatient(live=False, sealed=True, asked=2, **FEW)  # type: ignore[arg-type]


def test_the_screen_counts_its_questions_and_asks_a_sealed_one_only_when_told() -> None:
    view = ExplorePatient(**FEW)  # type: ignore[arg-type]
    page = view.screen.page

    def hear(act: str, **more: object) -> None:
        page.hear({"do": act, **more})

    try:
        assert view.wait(240) and view.asked.count == 1
        hear("field", name="horizon", text="9")
        assert view.wait(240) and view.asked.count == 2
        assert "one of 2 questions asked" in words(page.why)

        shown = page.answer
        hear("sealing", on=True)
        assert page.question["sealing"] and page.question["pending"] and page.status["state"] == "waiting"
        hear("field", name="horizon", text="10")
        assert view.state.horizon == 10 and view.wait(240)
        assert page.answer == shown  # nothing was asked
        hear("ask_sealed")
        assert view.wait(240) and not page.question["pending"]
        assert view.asked.again and not view.asked.confirms  # this patient had been looked at before

        dataset = view.exploration.dataset
        never = next(int(i) for i in dataset.ids("held_out") if view.exploration.held(int(i)))
        hear("patient", pseudonym=dataset.pseudonym(never))
        assert view.state.patient_id == never and view.wait(240)
        hear("ask_sealed")
        assert view.wait(240) and view.asked.confirms
        assert "Sealed question" in words(page.why) and "--sealed" in view.command()
        assert view.results()["question"]["kind"] == "sealed"

        hear("sealing", on=False)
        hear("field", name="horizon", text="12")
        assert view.wait(240) and view.asked.kind == "exploratory"
    finally:
        view.close()
