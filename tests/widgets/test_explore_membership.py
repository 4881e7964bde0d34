"""The membership screen on the sample models and few people: live and static alike, one measurement, errors in words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import ipywidgets
import pytest

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.batching import Progress
from ehrmem_widgets.probes.membership import screen as explore_membership
from ehrmem_widgets.probes.membership.screen import ExploreMembership
from tests.views.examples import assert_harmless

FEW = 40


class Noting(ExploreMembership):
    """The screen, noting what it says of its progress."""

    def progress(self, progress: Progress) -> None:
        self.__dict__.setdefault("told", []).append(progress)
        super().progress(progress)


@pytest.fixture(scope="module")
def live() -> Iterator[Noting]:
    screen = Noting(patients=FEW)
    assert screen.wait(120)
    yield screen
    screen.close()


@pytest.fixture(scope="module")
def static() -> ExploreMembership:
    return ExploreMembership(patients=FEW, live=False, score="Min-K%", fpr=0.05, prior=0.5)


def numbers(screen: ExploreMembership) -> dict[str, Any]:
    assert screen.wait(120)
    return json.loads(json.dumps(screen.results(), allow_nan=False))


def test_the_verdict_is_shown_and_progress_was_told(live: Noting) -> None:
    assert live.error is None
    found = numbers(live)
    assert found["verdict"] == "Memorized" and found["people"]["member"] == found["people"]["non-member"] == FEW // 2
    assert "Memorized" in live._bar.value and 'data-state="settled"' in live._status.value
    assert_harmless(live._view.value)
    assert_harmless(live._bar.value)
    told = [p for p in live.__dict__["told"] if p.what == "membership"]
    assert told[0].done == 0 and told[-1].done == told[-1].total > 0


def test_the_same_state_gives_the_same_numbers_and_page_live_and_static(
    live: Noting, static: ExploreMembership
) -> None:
    live.set(score="Min-K%", fpr=0.05, prior=0.5)
    assert numbers(live) == numbers(static)
    inside = live._view.value.removeprefix('<div class="ehrmem-probe">').removesuffix("</div>")
    assert inside in static.page() and live._bar.value in static.page() and live._bar.value
    live.set(score="Ratio", fpr=0.01, prior=0.1)
    live.wait(60)


def test_controls_cut_what_is_there_and_ask_no_model(live: Noting) -> None:
    before, asked = numbers(live), len(live.__dict__["told"])
    live.fpr.slider.value = 0.2
    live.prior.number.value = 30.0
    live.score.value = "Loss"
    live.log_scale.value = False
    after = numbers(live)
    assert len(live.__dict__["told"]) == asked
    assert after["settings"] == {**before["settings"], "fpr": 0.2, "prior": 0.3, "score": "Loss", "log_scale": False}
    assert live.fpr.number.value == 20 and live.prior.slider.value == 0.2  # each follows the other
    assert "of 1,000 people never in the training data, 200 are" in live.fpr.said.value
    assert after["non_members_needed"] == 14 and before["non_members_needed"] == 299
    assert after["scores"] != before["scores"] and "20 % false alarms" in live._view.value
    live.score.value, live.fpr.slider.value, live.prior.slider.value, live.log_scale.value = "Ratio", 0.01, 0.1, True
    assert numbers(live) == before


def test_canaries_come_with_their_exposure_measured_once(live: Noting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explore_membership, "_ALTERNATIVES", 7)  # seconds instead of half a minute
    assert numbers(live)["exposure"] is None
    live.group.value = "canaries"
    found = numbers(live)
    assert any("mean exposure" in sentence for sentence in found["exposure"])
    assert "bits of 3" in live._view.value and "Planted canaries" in live._bar.value
    asked = len(live.__dict__["told"])
    live.fpr.slider.value = 0.1
    assert numbers(live)["exposure"] == found["exposure"] and len(live.__dict__["told"]) == asked
    live.group.value, live.fpr.slider.value = "ordinary", 0.01
    assert live.wait(60) and "mean exposure" not in live._view.value


def test_a_typo_changes_neither_the_state_nor_the_page_and_is_said(live: Noting) -> None:
    before, shown, state = numbers(live), live._view.value, live.state
    live.prior.number.text.value = "-5"
    assert live.state == state and numbers(live) == before and live._view.value == shown
    assert "Members before (in %) must be a number from 0.1 to 99, such as 10; got" in live.prior.number.message.value
    assert "Shown for members before 10 %, the last valid setting." in live._last_valid.note.value
    assert "ehrmem-kept" in live._view._dom_classes
    with pytest.raises(BadInput, match="prior must be a number"):
        live.set(prior=-0.05)
    live.prior.number.text.value = "10"
    assert live._last_valid.note.value == "" and "ehrmem-kept" not in live._view._dom_classes
    assert live.state == state


def test_every_box_and_list_has_a_name_of_its_own(live: Noting) -> None:
    named = (ipywidgets.Dropdown, ipywidgets.Text, ipywidgets.Checkbox)
    names = [w.description for w in _inside(live.box) if isinstance(w, named)]
    assert len(names) == len(set(names)) == 5 and all(names)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"score": "Loos"}, r"The score must be one of Ratio, Loss, Min-K%, Min-K%\+\+, ReCaLL; got 'Loos'\."),
        ({"group": "all"}, r"The group must be one of ordinary, canaries; got 'all'\."),
        ({"fpr": 0.7}, r"must be a number from 0.001 to 0.5, such as 0.01; got 0.7"),
        ({"prior": 0.0}, r"must be a number from 0.001 to 0.99, such as 0.1; got 0.0"),
        ({"patients": 2}, r"patients must be a whole number from 40 .*; got 2"),
        ({"seed": -1}, r"seed must be a whole number from 0 .*; got -1"),
    ],
)
def test_what_does_not_fit_is_said_with_what_does(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(BadInput, match=expected):
        ExploreMembership(**given, live=False)


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(TypeError, match="'sede'"):
        ExploreMembership(sede=1, live=False)


def test_what_goes_wrong_is_said_in_words_and_the_view_stands(live: Noting, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = live._view.value
    with monkeypatch.context() as broken:
        broken.setattr(live, "_slices", object())
        live.set(fpr=0.02)
        live.wait(60)
    assert live.error == "Internal error (AttributeError). The last answer still stands."
    assert live._view.value == shown and "Traceback" not in live._error.value
    live.set(fpr=0.01)
    live.wait(60)
    assert live.error is None


def _inside(box: Any) -> Iterator[Any]:
    for child in getattr(box, "children", ()):
        yield child
        yield from _inside(child)
