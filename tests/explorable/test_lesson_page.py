"""The lesson in the one HTML file: every exercise by mouse, and by keyboard, with the network off; its results codes are those that Python reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ehrmem_widgets.cli import main
from ehrmem_widgets.workshop.chosen import chosen
from ehrmem_widgets.workshop.lesson import is_memory, lesson
from ehrmem_widgets.workshop.pages import committee_patient
from ehrmem_widgets.workshop.results import ITEMS, Quiz, decode, encode
from tests.browser.npm import from_npm
from tests.explorable.modules import modules_in
from tests.explorable.test_page import WAIT, settled, shoot

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lesson") / "lesson.html"
    assert main(["explorable", "--patients", "12", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def page(file: Path, browser: Any) -> Iterator[Any]:
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 800})
    opened = context.new_page()
    errors: list[str] = []
    opened.on("pageerror", lambda error: errors.append(str(error)))
    opened.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    opened.goto(file.as_uri())
    settled(opened)
    yield opened
    assert errors == []
    context.close()


def step(page: Any, key: str) -> None:
    title = lesson().step(key).title
    page.get_by_role("navigation").get_by_role("button", name=title).click()
    page.get_by_role("heading", name=title).wait_for(timeout=WAIT)


def stage(page: Any) -> Any:
    return page.locator("main")


def answer(page: Any, places: list[int]) -> None:
    for question, place in zip(stage(page).locator(".stage .question").all(), places, strict=True):
        question.get_by_role("radio").nth(place).check()


def test_the_quiz_before_says_nothing_of_right_and_wrong(page: Any) -> None:
    step(page, "predict")
    answer(page, [0] * ITEMS)
    assert "Right" not in stage(page).inner_text() and "Not quite" not in stage(page).inner_text()
    shoot(page, "lesson_predict")


def test_the_attack_is_scored(page: Any) -> None:
    step(page, "attack")
    assert page.locator("#page").is_visible()
    page.locator("#who").select_option(chosen().attack[0].patient)
    page.locator("input[value=lab_values]").check()
    page.locator(".bar[aria-busy=true]").wait_for(timeout=WAIT)
    settled(page)
    assert "points" in page.locator(".score li").first.inner_text()
    page.locator("input[value=first_50]").check()  # beyond the budget
    page.locator(".bar[aria-busy=true]").wait_for(timeout=WAIT)
    settled(page)
    assert page.locator(".score li").last.inner_text().startswith("0 points")
    answer(page, [1])
    assert "Not quite" in stage(page).inner_text() and "A common mistake" in stage(page).inner_text()
    answer(page, [0])
    assert "✓ Right." in stage(page).inner_text()
    shoot(page, "lesson_attack")


def test_the_cards_are_turned_when_all_are_sorted(page: Any) -> None:
    step(page, "cards")
    cards = chosen().cards
    stage(page).get_by_role("button", name="Turn the cards over").click()
    assert f"{len(cards)} of {len(cards)} cards are not sorted" in stage(page).inner_text()
    assert "Memorized" not in stage(page).inner_text() and "was in the training data" not in stage(page).inner_text()
    answer(page, [0] * len(cards))
    stage(page).get_by_role("button", name="Turn the cards over").click()
    rightly = sum(is_memory(one) for one in cards)
    assert f"You sorted {rightly} of {len(cards)} rightly." in stage(page).inner_text()
    shoot(page, "lesson_cards", full_page=True)


def test_the_price_of_privacy_comes_after_the_choice(page: Any) -> None:
    step(page, "training")
    assert "nats" not in stage(page).inner_text()
    stage(page).get_by_role("radio", name="private").check()
    assert "nats a code" in stage(page).inner_text() and "people like you" in stage(page).inner_text()
    shoot(page, "lesson_training", full_page=True)


def test_the_committee_votes_before_and_after_the_report(page: Any) -> None:
    step(page, "committee")
    votes = lesson().step("committee").votes
    assert stage(page).locator(".stage table").count() == 0
    stage(page).get_by_role("radio", name=votes[0], exact=True).check()
    stage(page).get_by_role("button", name="Read the report").click()
    assert stage(page).locator(".stage table").count() == 1
    report = page.frame_locator("iframe.report")
    report.get_by_role("heading", level=1).wait_for(timeout=WAIT)
    asked = committee_patient()
    assert asked.patient in report.locator("body").inner_text() and "moderate" in report.locator("body").inner_text()
    page.locator("iframe.report").scroll_into_view_if_needed()
    shoot(page, "lesson_committee")
    stage(page).get_by_label("One reason").fill("It names HIV from three facts.")
    stage(page).locator(".question").nth(1).get_by_role("radio", name=votes[2], exact=True).check()
    assert f"from “{votes[0]}” to “{votes[2]}”" in stage(page).inner_text()
    assert stage(page).get_by_label("One reason").input_value() == "It names HIV from three facts."


def test_the_exit_quiz_by_keyboard_gives_a_code_that_python_reads(page: Any) -> None:
    step(page, "exit")
    right = [item.right for item in lesson().quiz]
    for question, place in zip(stage(page).locator(".question").all(), right, strict=True):
        question.get_by_role("radio").first.focus()
        page.keyboard.press("Space")
        for _ in range(place):
            page.keyboard.press("ArrowDown")
        question.locator(f"input[value='{place}']:checked").wait_for(timeout=WAIT)
    stage(page).get_by_role("button", name="Check my answers").focus()
    page.keyboard.press("Enter")
    stage(page).locator(".code").wait_for(timeout=WAIT)
    told = stage(page).inner_text()
    before = sum(one == 0 for one in right)
    assert f"Before: {before} of {ITEMS} right. Now: {ITEMS}." in told
    assert decode(stage(page).locator(".code").inner_text()) == Quiz((0,) * ITEMS, tuple(right))


def test_axe_finds_nothing_on_any_step_and_a_phone_shows_it_whole(page: Any) -> None:
    page.evaluate(from_npm("axe-core@4", "axe.min.js"))
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        for one in lesson().steps:
            step(page, one.key)
            found = page.evaluate("axe.run()")
            assert [(v["id"], v["nodes"][0]["html"]) for v in found["violations"]] == []
    page.set_viewport_size({"width": 390, "height": 844})
    for one in lesson().steps:
        step(page, one.key)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, one.key
    shoot(page, "lesson_phone", full_page=True)
    page.set_viewport_size({"width": 1280, "height": 800})


def test_reset_forgets_everything(page: Any) -> None:
    page.get_by_role("button", name="Reset the lesson").click()
    for one in ("predict", "cards", "exit"):
        step(page, one)
        assert stage(page).locator(".stage input:checked").count() == 0


def test_codes_are_python_s(browser: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def some() -> tuple[int | None, ...]:
        return tuple(None if one == 4 else int(one) for one in rng.integers(0, 5, ITEMS))

    asked = [Quiz(some(), some()) for _ in range(200)]
    with modules_in(browser) as run:
        made = run(
            'const { resultsCode } = await import("./lesson.js"); return data.map(([before, after]) => resultsCode(before, after, 1));',
            [[list(one.before), list(one.after)] for one in asked],
        )
    assert made == [encode(one, version=1) for one in asked]
