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
    dial = KnownFactsDial(ROWS, [(3, "exact", "week"), (-1, "coarse", "exact")])
    assert dial.facts == [[-1, "coarse", "exact"], [3, "exact", "week"]]


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
    state = {"rows": ROWS, "facts": [[1, "coarse", "day"]]}
    tab.set_content(page(KnownFactsDial._esm, state, css=KnownFactsDial._css))
    tab.wait_for_selector("li")
    yield tab
    tab.close()
    assert errors == []


def facts(tab: Any) -> Any:
    return tab.evaluate("window.model.state.facts")


def control(tab: Any, words: str) -> Any:
    """The control of one fact: its steps from "not known" on."""
    return tab.get_by_role("radiogroup", name=f"Attacker knows: {words}")


@pytest.mark.browser
def test_data_is_text(shown: Any) -> None:
    assert shown.locator("img").count() == 0
    assert shown.get_by_text("<img src=x onerror=boom()>").count() == 1
    assert shown.get_by_text("◆ HIV, withheld").count() == 1


@pytest.mark.browser
def test_one_press_moves_one_step_and_the_ends_are_ends(shown: Any) -> None:
    steps = control(shown, "Creatinine 1.4 at 09:10")
    assert [radio.get_attribute("aria-label") for radio in steps.get_by_role("radio").all()] == [
        "not known", "known to have been taken", "known as low, middle or high", "value known exactly",
    ]  # fmt: skip
    steps.get_by_role("radio", checked=True).focus()
    shown.keyboard.press("ArrowRight")
    assert facts(shown) == [[1, "exact", "day"]]
    shown.keyboard.press("ArrowRight")  # it does not go round to "not known"
    assert facts(shown) == [[1, "exact", "day"]]
    for step in ("coarse", "unknown"):
        shown.keyboard.press("ArrowLeft")
        assert facts(shown) == [[1, step, "day"]]
    shown.keyboard.press("ArrowLeft")
    shown.keyboard.press("ArrowLeft")
    assert facts(shown) == []
    assert json.loads(shown.evaluate("window.saves.at(-1)")) == []


@pytest.mark.browser
def test_what_has_no_value_is_known_or_not_and_the_age_within_ten_years(shown: Any) -> None:
    control(shown, "HIV disease at 10:00").get_by_role("radio", name="known", exact=True).check(force=True)
    control(shown, "Sex: male").get_by_role("radio", name="known", exact=True).check(force=True)
    control(shown, "Age 53").get_by_role("radio", name="known within ten years").check(force=True)
    assert facts(shown) == [[-1, "coarse", "exact"], [0, "exact", "exact"], [1, "coarse", "day"], [3, "exact", "day"]]


@pytest.mark.browser
def test_a_day_is_known_as_a_whole_and_its_date_in_one_place(shown: Any) -> None:
    shown.get_by_role("button", name="Attacker knows all of 2130-05-02").click()
    assert facts(shown) == [[1, "exact", "day"], [2, "exact", "day"]]
    shown.get_by_label("How well the date 2130-05-02 is known").select_option("week")
    assert facts(shown) == [[1, "exact", "week"], [2, "exact", "week"]]
    shown.get_by_role("button", name="Attacker knows nothing of 2130-05-02").click()
    assert facts(shown) == []


@pytest.mark.browser
def test_dates_known_differently_are_said_and_kept(shown: Any) -> None:
    date = shown.get_by_label("How well the date 2130-05-02 is known")
    shown.evaluate("window.model.set('facts', [[1, 'exact', 'week'], [2, 'exact', 'exact']])")
    assert date.evaluate("s => s.selectedOptions[0].textContent") == "date: mixed"
    control(shown, "Creatinine 1.4 at 09:10").get_by_role("radio", name="known to have been taken").check(force=True)
    assert facts(shown) == [[1, "unknown", "week"], [2, "exact", "exact"]]


@pytest.mark.browser
def test_following_python_keeps_elements_and_focus(shown: Any) -> None:
    radio = control(shown, "Sex: male").get_by_role("radio", name="not known")
    radio.focus()
    shown.evaluate(
        "window.first = document.querySelector('li'); window.model.set('facts', [[0, 'exact', 'exact'], [2, 'unknown', 'week']])"
    )
    assert not radio.is_checked() and radio.evaluate("box => box === document.activeElement")
    assert shown.evaluate("window.first === document.querySelector('li')")
    assert shown.evaluate("window.saves.length") == 0
    assert shown.get_by_text("1 of 2").count() == 2  # without a date, and of the first day


@pytest.mark.browser
def test_new_rows_rebuild_the_list_and_the_keyboard_reaches_it(shown: Any) -> None:
    shown.evaluate(
        f"window.model.set('facts', []); window.model.set('rows', {json.dumps([row(0, '2131-01-01 08:00', 'Sodium')])})"
    )
    assert shown.locator("li").count() == 1
    for _ in range(4):  # the date, all, none, the fact
        shown.keyboard.press("Tab")
    shown.keyboard.press("ArrowRight")
    assert facts(shown) == [[0, "unknown", "day"]]


@pytest.mark.browser
def test_cleaning_up_lets_go_of_the_model(shown: Any) -> None:
    shown.evaluate("window.cleanup(); window.model.set('facts', [])")
    assert control(shown, "Creatinine 1.4 at 09:10").get_by_role("radio", name="known as low").is_checked()
