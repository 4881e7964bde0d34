"""Notebooks 03 and 05 in a real browser, about few people: by keyboard, nothing but 127.0.0.1 to be reached."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.lab import Visitor, explore, in_view, visit, with_parameters

pytestmark = pytest.mark.browser
SHOTS = Path(__file__).parent / "screenshots"
SCREEN = ".ehrmem-screen"
PAGE = f"{SCREEN} .ehrmem-probe"
DARK = {"@jupyterlab/apputils-extension/themes.jupyterlab-settings": {"theme": "JupyterLab Dark"}}
NO_SUBSHELLS = {
    "@jupyterlab/apputils-extension/kernels-settings.jupyterlab-settings": {"commsOverSubshells": "disabled"}
}


@pytest.fixture(scope="module")
def membership(tmp_path_factory: pytest.TempPathFactory, chromium: Any) -> Iterator[Visitor]:
    """Notebook 03 about 60 people, in the light theme."""
    yield from _opened(chromium, tmp_path_factory.mktemp("home"), "03_membership.ipynb", {}, patients=60)


@pytest.fixture(scope="module")
def subgroups(tmp_path_factory: pytest.TempPathFactory, chromium: Any) -> Iterator[Visitor]:
    """Notebook 05 about 80 people, in the dark theme and without subshells."""
    yield from _opened(
        chromium, tmp_path_factory.mktemp("home"), "05_subgroups.ipynb", {**DARK, **NO_SUBSHELLS}, patients=80
    )


def test_membership_appears_by_itself_verdict_first(membership: Visitor) -> None:
    said = membership.page.locator(SCREEN).inner_text()
    assert said.index("Memorized") < said.index("All scores")
    assert "30 members, 30 never seen" in said
    membership.page.screenshot(path=SHOTS / "03.png")


def test_the_slider_of_false_alarms_by_keyboard(membership: Visitor) -> None:
    page = membership.page
    page.locator(".ehrmem-screen .noUi-handle").first.focus()
    until = time.monotonic() + 4
    while time.monotonic() < until:  # a held key, back and forth
        for key in ("ArrowRight", "ArrowRight", "ArrowLeft"):
            page.keyboard.press(key)
            page.wait_for_timeout(60)
    page.keyboard.press("End")
    page.keyboard.press("ArrowLeft")
    _shows(membership, "20 %")
    box = page.get_by_label("False alarms, in %")
    assert box.input_value() == "20"
    assert "of 1,000 people never in the training data, 200 are wrongly" in page.locator(".ehrmem-screen").inner_text()
    box.fill("3")
    box.press("Tab")
    _shows(membership, "3 %")


def test_prior_score_and_people_by_keyboard(membership: Visitor) -> None:
    page = membership.page
    page.locator(".ehrmem-screen .noUi-handle").nth(1).focus()
    page.keyboard.press("Home")
    _says(membership, "if 0.1 % are")
    page.get_by_label("Score", exact=True).select_option(label="Min-K%++")
    _says(membership, "Min-K%++ (chosen)")
    page.get_by_label("People", exact=True).select_option(label="Planted canaries (a check of the method)")
    _says(membership, "mean exposure")
    membership.settled()


def test_subgroups_appear_and_follow_the_controls(subgroups: Visitor) -> None:
    page = subgroups.page
    for name in (
        "85 and over",
        "Hold a code that no other record has",
        "Tests of the first lab day like nobody else's",
    ):
        assert name in page.locator(PAGE).inner_text()
    page.screenshot(path=SHOTS / "05_dark.png")
    page.get_by_label("Sex", exact=True).focus()
    page.keyboard.press("Space")
    page.wait_for_function(f"!document.querySelector('{PAGE}').textContent.includes('Female')")
    page.get_by_label("Correction", exact=True).select_option(label="Screening (hints, Benjamini-Hochberg)")
    _says(subgroups, "a hint where to look")
    page.get_by_label("Compare", exact=True).select_option(label="Excess risk (sensitive attributes)")
    _says(subgroups, "Gap in excess risk")
    assert not page.get_by_label("Sex", exact=True).is_checked() and "Female" not in page.locator(PAGE).inner_text()


@pytest.mark.parametrize("name", ["membership", "subgroups"])
def test_the_point_is_seen_before_any_scrolling(name: str, request: pytest.FixtureRequest) -> None:
    visitor: Visitor = request.getfixturevalue(name)
    visitor.page.set_viewport_size({"width": 1280, "height": 800})
    visitor.page.screenshot(path=SHOTS / f"{name}_1280.png")
    in_view(visitor, ".ehrmem-bar", 1.0)
    in_view(visitor, f"{PAGE} svg[role=img]", 0.45)
    visitor.page.set_viewport_size({"width": 1440, "height": 1500})


def test_dark_is_dark(subgroups: Visitor) -> None:
    assert subgroups.page.evaluate("document.body.dataset.jpThemeLight") == "false"
    ink = subgroups.page.locator(f"{PAGE} svg").last.evaluate("e => getComputedStyle(e).color")
    assert min(int(x) for x in re.findall(r"\d+", ink)[:3]) > 180


@pytest.mark.parametrize("name", ["membership", "subgroups"])
def test_every_control_has_a_name_and_no_error_is_shown(name: str, request: pytest.FixtureRequest) -> None:
    visitor: Visitor = request.getfixturevalue(name)
    nameless = visitor.page.evaluate(
        """() => [...document.querySelectorAll('.ehrmem-screen input, .ehrmem-screen select, .ehrmem-screen button')]
        .filter(e => e.offsetParent && !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim() || e.title))
        .map(e => e.outerHTML.slice(0, 120))"""
    )
    assert nameless == []
    assert visitor.page.locator(".ehrmem-error").count() == 0
    assert "Traceback" not in visitor.page.locator("body").inner_text()


def _opened(chromium: Any, home: Path, name: str, overrides: dict[str, Any], *, patients: int) -> Iterator[Visitor]:
    """A copy of the notebook that asks about few people."""
    copy = with_parameters(name, home, patients=patients)
    SHOTS.mkdir(exist_ok=True)
    with (
        explore(home, overrides=json.dumps(overrides), notebook=str(copy)) as address,
        visit(chromium, address) as opened,
    ):
        opened.settled(150)
        yield opened
        assert opened.errors == []
        assert opened.outside == []


def _shows(visitor: Visitor, share: str) -> None:
    """The view ends at the share that the control stands at."""
    _says(visitor, f"Members found at {share} false alarms")
    visitor.settled()
    visitor.page.wait_for_timeout(500)
    said = visitor.page.locator(SCREEN).inner_text()
    assert (
        f"If {share} false alarms are tolerated" in said or f"it finds at {share} false alarms cannot be told" in said
    )


def _says(visitor: Visitor, words: str) -> None:
    visitor.page.wait_for_function(
        "([s, w]) => document.querySelector(s).textContent.includes(w)", arg=[SCREEN, words], timeout=120_000
    )
