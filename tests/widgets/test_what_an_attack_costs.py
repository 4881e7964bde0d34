"""What an attack costs, on the main screen and in the report: the same numbers, and a price where one is declared."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

import pytest

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.statistics.attack_cost import for_even_chance
from ehrmem_widgets.views.attack_cost import questions
from ehrmem_widgets.widgets.explore_patient import ExplorePatient
from tests.views.examples import words
from tests.widgets.opened import opened_once

FEW = {"knowledge": "one_lab", "horizon": 16, "samples": 64}


@pytest.fixture(scope="module", autouse=True)
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with opened_once(tmp_path_factory.mktemp("cache")):
        yield


def test_the_report_says_it_and_its_numbers_hold_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EHRMEM_PRICE", "500 EUR per 1000 questions")
    shown = ExplorePatient(live=False, **FEW)  # type: ignore[arg-type]
    assert shown.answer is not None
    finding = shown.answer.attribute(shown.answer.focus)
    assert finding is not None and finding.held
    queries, page = for_even_chance(finding.audited), words(shown.page())
    assert "for an even chance of learning it" in page and questions(queries).split(" (")[0] in page
    assert "pace measured in 2 rounds" in page and "EUR" in page
    attack = json.loads(json.dumps(shown.results(), allow_nan=False))["attack"]
    assert attack["price"] == "500 EUR per 1000 questions" and attack["pace"]["sample"]["seconds"]["n"] == 2
    assert attack["questions"][finding.name]["value"] == queries.value
    assert shlex.split(shown.command())[-4:-2] == ["--price", "500 EUR per 1000 questions"]


def test_the_screen_says_it_beside_the_leak_and_without_a_price_no_money() -> None:
    view = ExplorePatient(**FEW)  # type: ignore[arg-type]
    try:
        assert view.wait(240) and "for an even chance of learning it" in words(view.screen.page.answer)
        assert "pace measured" in words(view.screen.page.why) and "declared price" not in words(view.screen.page.why)
    finally:
        view.close()


def test_what_is_no_price_is_refused() -> None:
    with pytest.raises(BadInput, match="price must be an amount with its currency"):
        ExplorePatient(live=False, price="cheap", **FEW)  # type: ignore[arg-type]
