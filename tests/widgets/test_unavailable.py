"""A screen whose server or disk goes away says so, keeps the last answer in grey, and goes on when it is back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ehrmem_widgets.errors import BadInput, CannotAnswer, Damaged, Unavailable
from ehrmem_widgets.probes.membership.screen import ExploreMembership
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from ehrmem_widgets.widgets.explore_patient import ExplorePatient
from ehrmem_widgets.widgets.runner import OLD, in_words

GONE = "No server answers at http://127.0.0.1:9."


def gone(*_: object, **__: object) -> Iterator[Any]:
    raise Unavailable(GONE)
    yield


@pytest.mark.parametrize(
    ("error", "answered", "said"),
    [
        (BadInput("Give a number."), True, "Give a number."),
        (CannotAnswer("No embeddings."), True, "No embeddings."),
        (Unavailable("Gone."), True, "Gone. The last answer still stands."),
        (Damaged("Broken."), True, "Broken. The last answer still stands."),
        (Unavailable("Gone."), False, "Gone."),
        (KeyError("952646"), True, "Internal error (KeyError). The last answer still stands."),
    ],
)
def test_each_kind_in_words(error: Exception, answered: bool, said: str) -> None:
    assert in_words(error, answered=answered) == said


def test_a_probes_screen_keeps_its_last_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = ExploreMembership(sample_data(), model=sample_model(), reference=sample_reference(), patients=40)
    try:
        assert screen.wait(240) and screen.error is None
        shown = screen._view.value
        with monkeypatch.context() as patch:
            patch.setattr(screen, "answers", gone)
            screen.set(fpr=0.05)
            assert screen.wait(60)
        assert screen.error == f"{GONE} The last answer still stands."
        assert screen._view.value == shown and OLD in screen._view._dom_classes
        screen.set(fpr=0.06)
        assert screen.wait(60) and screen.error is None
        assert screen._view.value != shown and OLD not in screen._view._dom_classes
    finally:
        screen.close()


def test_the_main_screen_keeps_its_last_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = ExplorePatient(
        sample_data(), model=sample_model(), reference=sample_reference(), knowledge="demographics", attributes="hiv",
        horizon=8, samples=16,
    )  # fmt: skip
    try:
        assert screen.wait(240) and screen.error is None
        page = screen.screen.page
        shown = page.answer
        with monkeypatch.context() as patch:
            patch.setattr(screen.exploration.model, "generate", gone)
            screen.set(horizon=9)
            assert screen.wait(60)
        assert screen.error == f"{GONE} The last answer still stands." and GONE in page.error
        assert page.answer == shown and page.status["state"] == "old"
        screen.set(horizon=10)
        assert screen.wait(240) and page.error == ""
        assert page.status["state"] == "settled" and page.answer != shown
    finally:
        screen.close()
