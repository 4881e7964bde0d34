"""The dial: its state in Python, and its front end in a browser with a stand-in for the model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import traitlets

from ehrmem_widgets.widgets.known_facts_dial import KnownFactsDial
from tests.widgets.harness import page


def row(place: int, when: str = "", label: str = "Creatinine", **more: Any) -> dict[str, Any]:
    given = {
        "place": place,
        "when": when,
        "label": label,
        "value": "1.4",
        "sensitive": "",
        "has_value": True,
        "has_date": bool(when),
    }
    return {**given, **more}


ROWS = [
    row(-1, label="Age", value="53"),
    row(0, label="Sex: male", value="", has_value=False),
    row(1, "2130-05-02 09:10"),
    row(2, "2130-05-02 09:10", "<img src=x onerror=boom()>"),
    row(3, "2130-05-03 10:00", "HIV disease", value="", has_value=False, sensitive="HIV"),
]


def test_front_end_is_text() -> None:
    assert isinstance(KnownFactsDial._esm, str) and "render" in KnownFactsDial._esm
    assert isinstance(KnownFactsDial._css, str)
    assert "innerHTML" not in KnownFactsDial._esm


def test_facts_are_sorted_plain_lists() -> None:
    dial = KnownFactsDial(ROWS, [(3, "exact", "week"), (-1, "coarse", "exact")], focus_note="note")
    assert dial.facts == [[-1, "coarse", "exact"], [3, "exact", "week"]]
    assert dial.focus_note == "note"


@pytest.mark.parametrize("fact", [[1], [1, "exactly", "day"], [1, "exact", "year"], ["x", "exact", "day"], None])
def test_a_wrong_fact_is_named(fact: Any) -> None:
    with pytest.raises(traitlets.TraitError, match="coarse"):
        KnownFactsDial().facts = [fact]


def test_a_fact_twice_is_refused() -> None:
    with pytest.raises(traitlets.TraitError, match="twice"):
        KnownFactsDial().facts = [[1, "exact", "day"], [1, "exact", "week"]]


def test_a_wrong_row_is_named() -> None:
    with pytest.raises(traitlets.TraitError, match="has_value"):
        KnownFactsDial([{key: value for key, value in row(1).items() if key != "has_value"}])


def test_unknown_keyword_is_named() -> None:
    with pytest.raises(TypeError, match="colour"):
        KnownFactsDial(colour="red")  # type: ignore[call-arg]


@pytest.fixture
def shown(chromium: Any) -> Iterator[Any]:
    tab = chromium.new_page()
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    state = {"rows": ROWS, "facts": [[1, "coarse", "day"]], "focus_note": "About <b>HIV</b>"}
    tab.set_content(page(KnownFactsDial._esm, state, css=KnownFactsDial._css))
    tab.wait_for_selector("li")
    yield tab
    tab.close()
    assert errors == []


def facts(tab: Any) -> Any:
    return tab.evaluate("window.model.state.facts")


@pytest.mark.browser
def test_data_is_text(shown: Any) -> None:
    assert shown.locator("img").count() == 0
    assert shown.get_by_text("<img src=x onerror=boom()>").count() == 1
    assert shown.get_by_text("About <b>HIV</b>").count() == 1
    assert shown.get_by_text("◆ HIV, withheld while asked about").count() == 1


@pytest.mark.browser
def test_ticking_saves_the_facts_in_order(shown: Any) -> None:
    shown.get_by_label("HIV disease").first.check()
    shown.get_by_label("Sex: male").check()
    assert facts(shown) == [[0, "exact", "exact"], [1, "coarse", "day"], [3, "exact", "exact"]]
    assert json.loads(shown.evaluate("window.saves.at(-1)")) == facts(shown)


@pytest.mark.browser
def test_precision_is_disabled_until_known(shown: Any) -> None:
    age = shown.get_by_label("How well the value is known: Age 53")
    assert age.is_disabled()
    shown.get_by_role("checkbox", name="Age").check()
    age.select_option("coarse")
    assert facts(shown)[0] == [-1, "coarse", "exact"]


@pytest.mark.browser
def test_a_day_is_known_as_a_whole(shown: Any) -> None:
    day = shown.get_by_label("Know all of 2130-05-02")
    assert day.evaluate("box => box.indeterminate")
    day.click()
    assert [fact[0] for fact in facts(shown)] == [1, 2]
    assert facts(shown)[0] == [1, "coarse", "day"]  # its precision is kept
    assert not day.evaluate("box => box.indeterminate")
    day.click()
    assert facts(shown) == []


@pytest.mark.browser
def test_following_python_keeps_elements_and_focus(shown: Any) -> None:
    box = shown.get_by_role("checkbox", name="Sex: male")
    box.focus()
    shown.evaluate(
        "window.first = document.querySelector('li'); window.model.set('facts', [[0, 'exact', 'exact'], [2, "
        "'unknown', 'week']])"
    )
    assert box.is_checked() and box.evaluate("box => box === document.activeElement")
    assert shown.evaluate("window.first === document.querySelector('li')")
    assert shown.evaluate("window.saves.length") == 0
    assert shown.locator("select[aria-label^='How well the date'] >> nth=1").input_value() == "week"


@pytest.mark.browser
def test_new_rows_rebuild_the_list_and_the_keyboard_reaches_it(shown: Any) -> None:
    shown.evaluate(f"window.model.set('rows', {json.dumps([row(0, '2131-01-01 08:00', 'Sodium')])})")
    assert shown.locator("li").count() == 1
    shown.keyboard.press("Tab")  # the day
    shown.keyboard.press("Tab")
    shown.keyboard.press("Space")
    assert facts(shown) == [[0, "exact", "exact"]]


@pytest.mark.browser
def test_cleaning_up_lets_go_of_the_model(shown: Any) -> None:
    shown.evaluate("window.cleanup(); window.model.set('facts', [])")
    assert shown.get_by_role("checkbox", name="Creatinine 1.4").first.is_checked()
