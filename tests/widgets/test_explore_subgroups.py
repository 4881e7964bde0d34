"""The subgroups screen on the sample models and few people: live and static alike, each finding once, errors in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER
from ehrmem_widgets.probes.subgroups.ask import KINDS
from ehrmem_widgets.probes.subgroups.rows import holders
from ehrmem_widgets.probes.subgroups.screen import ExploreSubgroups
from tests.views.examples import assert_harmless

FEW = 80


@pytest.fixture(scope="module")
def live() -> Iterator[ExploreSubgroups]:
    screen = ExploreSubgroups(patients=FEW, knowledge="nothing")
    assert screen.wait(120)
    yield screen
    screen.close()


def numbers(screen: ExploreSubgroups) -> dict[str, Any]:
    assert screen.wait(120)
    return json.loads(json.dumps(screen.results(), allow_nan=False))


def test_every_kind_is_listed_with_n_or_hidden(live: ExploreSubgroups) -> None:
    found = numbers(live)
    assert live.error is None and found["people"] == {"member": 40, "non-member": 40}
    rows = {row["subgroup"]: row for row in found["subgroups"]}
    assert {"age: 85 and over", "code: one that no other record has", "labs: a first lab day like no other"} <= set(
        rows
    )
    for row in rows.values():
        assert not row["hidden"] or (row["members"] == 0 and row["gap"] is row["difference"] is None)
        assert row["gap"] is None or row["gap"]["n"] == 40
        assert 0 <= row["members"] <= 0 or row["members"] >= 11
    assert any(row["p_adjusted"] is not None for row in rows.values())
    assert_harmless(live._view.value)
    assert "fewer than 11: not shown" in live._view.value


def test_live_and_static_say_the_same(live: ExploreSubgroups) -> None:
    static = ExploreSubgroups(patients=FEW, knowledge="nothing", live=False)
    assert numbers(static) == numbers(live)
    assert live._view.value.removeprefix('<div class="ehrmem-probe">').removesuffix("</div>") in static.page()
    assert live._bar.value in static.page() and "ehrmem-bar" in live._bar.value


def test_what_is_listed_changes_no_figure(live: ExploreSubgroups) -> None:
    before = numbers(live)
    for kind in KINDS[1:]:
        live.families[kind].value = False
    after = numbers(live)
    assert after["subgroups"] == before["subgroups"] and after["settings"]["families"] == ["age"]
    assert "85 and over" in live._view.value and "Female" not in live._view.value
    live.correction.value = "screening"
    assert numbers(live)["summary"][0].count("Benjamini") == 1 and "Screening" in live._bar.value
    live.correction.value = "claims"
    for kind in KINDS[1:]:
        live.families[kind].value = True
    assert numbers(live) == before


def test_the_excess_risk_is_measured_when_chosen_and_kept(live: ExploreSubgroups) -> None:
    assert list(live._measured) == ["membership"]
    live.finding.value = "excess"
    found = numbers(live)
    assert live.error is None and found["people"] == {"member": 40, "non-member": 40}
    assert "excess risk" in live._view.value
    of_all = live._measured["excess"].split.about("figures")
    assert set(of_all["attribute"]) == {""}  # one figure a person
    kept = live._measured["excess"]
    live.finding.value = "membership"
    live.wait(60)
    live.finding.value = "excess"
    assert numbers(live) == found and live._measured["excess"] is kept
    live.finding.value = "membership"
    live.wait(60)


def test_holders_are_ordinary_and_hold_something(live: ExploreSubgroups) -> None:
    people = holders(live.model, live.dataset, live.reference, most=30, seed=1)
    assert people.counts() == {MEMBER: 15, NON_MEMBER: 15}
    assert all(live.dataset.patients.loc[list(people.groups), "attributes"].map(len) > 0)
    again = holders(live.model, live.dataset, live.reference, most=30, seed=1)
    assert again.groups == people.groups


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"finding": "leak"}, r"The finding must be one of membership, excess; got 'leak'\."),
        ({"families": "age, hair"}, r"The families of subgroups are age, sex, race, code, labs, holds; got 'hair'\."),
        ({"correction": "none"}, r"The correction must be one of claims, screening; got 'none'\."),
        ({"knowledge": "everything"}, "everything"),
        ({"patients": 3}, r"patients must be a whole number from 40 .*; got 3"),
        ({"seed": -2}, r"seed must be a whole number from 0 .*; got -2"),
    ],
)
def test_what_does_not_fit_is_said_with_what_does(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(BadInput, match=expected):
        ExploreSubgroups(**given, live=False)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(TypeError, match="'familys'"):
        ExploreSubgroups(familys="age", live=False)


def test_what_goes_wrong_is_said_in_words(live: ExploreSubgroups) -> None:
    shown = live._view.value
    live.set(correction="none")
    live.wait(60)
    assert live.error == "Internal error (KeyError). The last answer still stands."
    assert live._view.value == shown
    live.set(correction="claims")
    live.wait(60)
    assert live.error is None
