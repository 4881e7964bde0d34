"""What travels from screen to screen: the patient, what is known and the attribute; what was given always wins, and it is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import pytest

from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.probes.perturbation.screen import ExplorePerturbation
from ehrmem_widgets.probes.subgroups.screen import ExploreSubgroups
from ehrmem_widgets.samples.folders import sample_data
from ehrmem_widgets.widgets.carried import BY_HAND, Carried, carried, carry
from ehrmem_widgets.widgets.explore_patient import ExplorePatient
from ehrmem_widgets.widgets.trail import from_link
from tests.widgets.opened import opened_once

FEW = {"people": 19, "samples": 16, "horizon": 16}


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with opened_once(tmp_path_factory.mktemp("cache")):
        yield


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MedsDataset:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return MedsDataset(sample_data())


def somebody(dataset: MedsDataset, name: str) -> str:
    """The pseudonym of a holder of an attribute whom the model never saw."""
    holders = set(dataset.holders([name])) & set(dataset.ids("held_out"))
    return dataset.pseudonym(min(holders))


def kept() -> Path:
    return platformdirs.user_state_path("ehrmem") / "last_screen.json"


def test_what_is_kept_is_for_this_user_and_names_nobody(dataset: MedsDataset) -> None:
    what = Carried(somebody(dataset, "hiv"), "one_lab", "age 0 1", "hiv")
    carry(dataset, what)
    assert carried(dataset) == what and from_link(what.link) == {**what.__dict__}
    assert kept().stat().st_mode & 0o077 == 0
    assert set(json.loads(kept().read_text())) == {"data", "patient", "knowledge", "facts", "focus"}


@pytest.mark.parametrize(
    "change", [{"data": "other"}, {"patient": "P-AAAA-AAAA"}, {"knowledge": "everything"}, {"facts": 3}]
)
def test_what_does_not_fit_these_data_does_not_travel(dataset: MedsDataset, change: dict[str, object]) -> None:
    carry(dataset, Carried(somebody(dataset, "hiv"), "one_lab", "age"))
    kept().write_text(json.dumps(json.loads(kept().read_text()) | change))
    assert carried(dataset) is None
    kept().write_text("[" * 100_000)
    assert carried(dataset) is None


def test_a_screen_takes_it_says_so_and_what_was_given_wins(dataset: MedsDataset) -> None:
    name = somebody(dataset, "hiv")
    carry(dataset, Carried(name, "lab_dates", "age", "hiv"))
    screen = ExplorePerturbation(**FEW)
    given = ExplorePerturbation(
        **FEW, knowledge="demographics", patient=dataset.pseudonym(int(dataset.ids("train")[0]))
    )
    try:
        assert dataset.pseudonym(screen.state.patient_id) == name
        assert (screen.state.knowledge, screen.state.focus) == ("lab_dates", "hiv")
        assert screen._frame.said.startswith(f"Taken along from the screen before: patient {name}; the attacker knows ")
        assert given.state.knowledge == "demographics" and given.state.patient_id == dataset.ids("train")[0]
        assert given._frame.said == ""
        screen._knowledge.value = "one_lab"
        assert screen._frame.said == ""
        assert screen.wait(240)
        assert carried(dataset) == Carried(name, "one_lab", carried(dataset).facts, "hiv")
    finally:
        screen.close()
        given.close()


def test_a_report_depends_on_its_parameters_alone(dataset: MedsDataset) -> None:
    plain = ExploreSubgroups(patients=40, live=False).state
    carry(dataset, Carried(somebody(dataset, "hiv"), "first_10", "age"))
    assert ExploreSubgroups(patients=40, live=False).state == plain


def test_facts_set_by_hand_stay_and_are_not_lost(dataset: MedsDataset) -> None:
    what = Carried(somebody(dataset, "hiv"), BY_HAND, "age 0 1", "hiv")
    carry(dataset, what)
    screen = ExplorePerturbation(**FEW)
    try:
        assert "The facts that were set by hand stay there" in screen._frame.said
        assert screen.wait(240) and carried(dataset) == what
    finally:
        screen.close()


def test_the_main_screen_hands_on_and_opens_what_another_screen_hands_back(dataset: MedsDataset) -> None:
    view = ExplorePatient(samples=16, horizon=8)
    try:
        assert view.wait(240)
        came = carried(dataset)
        assert came is not None and came.knowledge == view.state.knowledge and came.focus == view.state.focus
        other = Carried(somebody(dataset, "hiv"), "one_lab", "age")
        view.screen.page.hear({"do": "open_link", "link": other.link})
        assert view.exploration.dataset.pseudonym(view.state.patient_id) == other.patient
        assert view.state.knowledge == "one_lab" and view.state.focus in view.exploration.held(view.state.patient_id)
    finally:
        view.close()
