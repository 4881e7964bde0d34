"""Notebook 02's screen on the real sample models: live and headless say the same, and the last state wins."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.embedding_store import EmbeddingStore
from ehrmem_widgets.probes.neighbours.ladder import LADDER
from ehrmem_widgets.probes.neighbours.screen import ExploreNeighbours
from ehrmem_widgets.samples.folders import sample_model, sample_reference
from tests.views.examples import assert_harmless, words
from tests.widgets.opened import few_patients, opened_once


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("neighbours")
    with opened_once(folder / "cache"):
        yield {"data": few_patients(folder / "data"), "model": sample_model(), "reference": sample_reference()}


@pytest.fixture(scope="module")
def live(given: dict[str, Any]) -> Iterator[ExploreNeighbours]:
    screen = ExploreNeighbours(**given)
    assert screen.wait(120)
    yield screen
    screen.close()


def test_a_patient_is_placed_by_every_search_on_every_knowledge(live: ExploreNeighbours) -> None:
    answer = live.answer
    assert answer is not None and answer.settled and answer.cohort is None
    assert [step.knowledge for step in answer.steps] == list(LADDER)
    for step in answer.steps:
        ranks = (step.audited, step.continued, step.reference, step.codes)
        assert step.why_not or all(rank is not None and 1 <= rank <= 150 for rank in ranks)
    chosen = next(step for step in answer.steps if step.knowledge == live.state.knowledge)
    assert chosen.audited == answer.nearest.rank and answer.nearest.n == 150
    said = words(live._ladder.value + live._view.value + live._bar.value)
    assert (
        "among 150" in said
        and f"the facts alone {answer.nearest.rank:,} of 150" in said
        and "Nobody else has been asked about yet." in said
        and "Cannot conclude" in said
    )
    assert "number" in live._nearest.value or "nearest of 150" in live._nearest.value


def test_the_same_state_gives_the_same_numbers_live_and_headless(
    live: ExploreNeighbours, given: dict[str, Any]
) -> None:
    headless = ExploreNeighbours(**given, live=False, knowledge="first_7", cohort=20, seed=1)
    live.set(knowledge="first_7", cohort=20, seed=1)
    assert live.wait(120)
    assert live.state == headless.state
    assert json.dumps(live.results()) == json.dumps(headless.results(), allow_nan=False)
    assert live.results()["ladder"][-1]["knowledge"] == "first_7"
    figures = live.results()["cohort"]["figures"]
    hits = [f for f in figures if f["figure"] == "hit@10" and f["group"] == "member" and f["model"] == "audited"]
    assert len(hits) == 2 * len(LADDER) and all(f["low"] <= f["value"] <= f["high"] and f["n"] <= 10 for f in hits)
    page = headless.page()
    assert_harmless(page.split("</style>")[1])
    assert "The first 7 codes" in page and "Trained on, by the audited model, facts alone" in page


def test_the_last_state_wins_while_others_are_asked_about(live: ExploreNeighbours) -> None:
    other = int(live.dataset.ids("held_out")[3])
    live.set(cohort=20, seed=2)
    live.set(patient_id=other, knowledge="demographics")
    assert live.wait(120)
    assert live.answer is not None and live.answer.cohort is not None
    assert live.results()["patient"] == live.dataset.pseudonym(other)
    assert f'data-knowledge="demographics" data-patient="{live.dataset.pseudonym(other)}"' in live._view.value
    live.set(cohort=0)
    assert live.wait(60) and live.answer.cohort is None


def test_controls_change_the_state_and_a_wrong_one_is_said_in_words(live: ExploreNeighbours) -> None:
    live._knowledge.value = "first_10"
    assert live.wait(60) and live.state.knowledge == "first_10" and live.error is None
    live.guarded(lambda: live.set(knowledge="labs"))
    assert live.error is not None and live.error.startswith(
        "There is no knowledge level 'labs'. The levels are nothing, age_sex, demographics"
    )
    assert "There is no knowledge level" in live._error.value and live._error.layout.display is None
    state, shown = live.state, live._view.value
    live._seed.text.value = "-5"
    assert (
        live.state == state and live._view.value == shown and "Seed must be a whole number" in live._seed.message.value
    )
    live._seed.text.value = "5"
    assert live.wait(60) and live.error is None and live.state.seed == 5


def test_a_model_without_a_map_says_how_to_get_one(live: ExploreNeighbours) -> None:
    assert live._map.points == b"" and "There is no map of these records yet" in live._map.description
    assert live._fit.description == "Draw the map (UMAP)"


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"pateint": 3}, TypeError, "pateint"),
        ({"knowledge": "labs"}, BadInput, "first_N .N from 1 to 100000."),
        ({"knowledge": "before_2020-13-01"}, BadInput, "a day of the calendar"),
        ({"cohort": 5}, BadInput, "0 .nobody. or a whole number from 20 to 2000"),
        ({"seed": -1}, BadInput, "a whole number from 0 to"),
        ({"patient": "P-NOBODY"}, BadInput, "P-NOBODY"),
    ],
)
def test_what_does_not_fit_is_refused(
    given: dict[str, Any], wrong: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        ExploreNeighbours(**given, live=False, **wrong)


def test_a_patient_outside_the_sample_that_is_searched_is_put_into_it(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(EmbeddingStore.__init__, "__kwdefaults__", {"folder": None, "most_patients": 100})
    first = ExploreNeighbours(**given, live=False, cohort=0)
    outside = next(i for i in first.dataset.ids("train") if i not in first._search.stores["audited"].ids)
    shown = ExploreNeighbours(**given, live=False, cohort=0, patient=int(outside), knowledge="first_20")
    assert shown.results()["records"] == 101
    assert all(step["why_not"] or 1 <= step["codes"] <= 101 for step in shown.results()["ladder"])
    assert shown.results()["ladder"][-1]["codes"] == 1
