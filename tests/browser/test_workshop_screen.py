"""The workshop in a real JupyterLab: a participant goes through all six steps, by mouse and by keyboard, and gets a code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ehrmem_widgets.workshop.chosen import chosen
from ehrmem_widgets.workshop.lesson import lesson
from ehrmem_widgets.workshop.results import decode
from tests.browser.lab import Visitor, explore, visit

pytestmark = pytest.mark.browser
SHOTS = Path(__file__).parent / "screenshots"


def next_step(visitor: Visitor, number: int) -> None:
    """Go on, and wait for the step."""
    visitor.page.get_by_role("button", name="Next", exact=True).click()
    visitor.page.get_by_text(f"{number} of 6: {lesson().steps[number - 1].title}").wait_for()
    visitor.page.wait_for_timeout(400)


def shoot(visitor: Visitor, name: str) -> None:
    """A picture to look at."""
    SHOTS.mkdir(exist_ok=True)
    visitor.page.screenshot(path=SHOTS / f"workshop_{name}.png", full_page=True)


def test_a_participant_goes_through_the_lesson(tmp_path: Path, chromium: Any) -> None:
    with explore(tmp_path, notebook="07_workshop.ipynb") as address, visit(chromium, address) as visitor:
        page = visitor.page
        page.set_viewport_size({"width": 1280, "height": 800})
        page.get_by_text("1 of 6: Predict before the reveal").wait_for(timeout=120_000)
        page.wait_for_function("document.querySelectorAll('.ehrmem-screen input[type=radio]').length === 24")
        page.locator(".ehrmem-screen input[type=radio]").nth(0).click()
        page.locator(".ehrmem-screen input[type=radio]").nth(4).focus()
        page.keyboard.press("Space")
        shoot(visitor, "1_predict")
        next_step(visitor, 2)
        page.locator(".ehrmem-bar-said").wait_for(timeout=120_000)
        page.get_by_text("Your best attacks").wait_for(timeout=240_000)
        assert page.locator(".ehrmem-screen :is(.ehrmem-dial, .ehrmem-dial li)").count() > 5
        shoot(visitor, "2_attack")
        next_step(visitor, 3)
        shoot(visitor, "3_card")
        for place in range(len(chosen().cards)):
            page.get_by_role("button", name="Person", exact=True).click()
            page.get_by_text(re.compile(rf"\d+ of {place + 1} sorted rightly")).wait_for()
            if place == 0:
                shoot(visitor, "3_card_turned")
            if place < len(chosen().cards) - 1:
                page.get_by_role("button", name="Next card").press("Enter")
                page.get_by_text(f"Card {place + 2}.").wait_for()
        page.get_by_text("5 of 10 sorted rightly").wait_for()
        next_step(visitor, 4)
        shoot(visitor, "4_training")
        page.locator(".ehrmem-screen input[type=radio]").nth(1).click()
        page.get_by_role("button", name="Check").click()
        page.get_by_text("Not quite.").wait_for()
        next_step(visitor, 5)
        shoot(visitor, "5_committee")
        next_step(visitor, 6)
        for item in range(6):
            page.locator(".ehrmem-screen input[type=radio]").nth(4 * item + lesson().quiz[item].right).click()
        page.get_by_role("button", name="Show what is right, and my code").click()
        code = page.locator(".ehrmem-code")
        code.wait_for()
        quiz = decode(code.inner_text())
        assert quiz.before == (0, 0, None, None, None, None)
        assert quiz.after == tuple(item.right for item in lesson().quiz)
        shoot(visitor, "6_exit")
        page.get_by_role("button", name="Reset").click()
        page.get_by_text("1 of 6: Predict before the reveal").wait_for()
        # The step's words come before its questions: an answer still there after this wait was not forgotten.
        page.wait_for_function("document.querySelectorAll('.ehrmem-screen input[type=radio]').length === 24")
        page.wait_for_function("!document.querySelector('.ehrmem-screen input[type=radio]:checked')")
        assert visitor.errors == [] and visitor.outside == []
