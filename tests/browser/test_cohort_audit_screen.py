"""Notebook 06 in a real browser, by keyboard: run, pause, go on, declare severities, both versions kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.audit.small import write_plan
from tests.browser.lab import Visitor, explore, in_view, visit, with_parameters

pytestmark = pytest.mark.browser
SHOTS = Path(__file__).parent / "screenshots"
SCREEN = ".ehrmem-screen"
DARK = {"@jupyterlab/apputils-extension/themes.jupyterlab-settings": {"theme": "JupyterLab Dark"}}
MINUTES = 60_000


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def audit(home: Path, chromium: Any) -> Iterator[Visitor]:
    """Notebook 06 with a small plan, in the dark theme."""
    copy = with_parameters("06_cohort_audit.ipynb", home, plan=str(write_plan(home)), out=str(home / "results"))
    SHOTS.mkdir(exist_ok=True)
    with (
        explore(home, overrides=json.dumps(DARK), notebook=str(copy)) as address,
        visit(chromium, address) as opened,
    ):
        opened.page.get_by_role("button", name="Run", exact=True).wait_for(timeout=2 * MINUTES)
        yield opened
        assert opened.errors == [] and opened.outside == []


def test_what_the_plan_cannot_decide_is_said_before_it_is_sealed(audit: Visitor, home: Path) -> None:
    audit.page.locator(SCREEN).get_by_text("With 14 people this plan will not").wait_for(timeout=3 * MINUTES)
    said = audit.page.locator(SCREEN).inner_text()
    assert "19 holders among the members and 19 among people never seen are needed" in said
    assert not (home / "results").exists()


def test_run_pause_and_go_on(audit: Visitor) -> None:
    page = audit.page
    run, pause = (page.locator(SCREEN).get_by_role("button", name=name, exact=True) for name in ("Run", "Pause"))
    run.press("Enter")
    page.wait_for_function(f"/: \\d+ of \\d+/.test(document.querySelector('{SCREEN}').innerText)", timeout=2 * MINUTES)
    pause.press("Enter")
    page.locator(f"{SCREEN} .ehrmem-error").wait_for(timeout=2 * MINUTES)
    assert "Paused. What is done is kept" in page.locator(f"{SCREEN} .ehrmem-error").inner_text()
    run.press("Enter")
    page.wait_for_function(
        f"document.querySelector('{SCREEN}').innerText.includes('Vulnerable groups')", timeout=3 * MINUTES
    )
    said = page.locator(SCREEN).inner_text()
    assert "Not finished" not in said and "Not run yet" not in said and "Threat model" in said and "P-" not in said
    assert page.locator(f"{SCREEN} .ehrmem-error").count() == 0


def test_severities_are_declared_by_keyboard_and_the_matrix_follows(audit: Visitor, home: Path) -> None:
    page = audit.page
    matrix = f"{SCREEN} .ehrmem-matrix"
    before = audit.html(matrix)
    page.locator(f"{SCREEN} .noUi-handle").first.focus()
    page.keyboard.press("Home")
    audit.changed(matrix, before)
    page.get_by_label("Declared by").fill("ethics board")
    page.get_by_role("button", name="Save severities").press("Enter")
    page.wait_for_function(f"document.querySelector('{SCREEN}').innerText.includes('the last by ethics board')")
    saved = yaml.safe_load((home / "results" / "severity.yaml").read_text())
    assert [one["by"] for one in saved] == ["plan", "ethics board"]
    changed = [
        n for n, was in saved[0]["severities"].items() if saved[1]["severities"][n]["severity"] != was["severity"]
    ]
    assert len(changed) == 1 and saved[1]["severities"][changed[0]]["severity"] == 1
    page.screenshot(path=SHOTS / "06_dark.png", full_page=True)


def test_the_matrix_stands_beside_the_severities_at_a_glance(audit: Visitor) -> None:
    page = audit.page
    page.set_viewport_size({"width": 1280, "height": 800})
    page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollTop = 0")
    page.screenshot(path=SHOTS / "06_1280.png")
    in_view(audit, ".ehrmem-bar", 1.0)
    in_view(audit, f"{SCREEN} .ehrmem-matrix", 0.6)
    matrix, slider = (
        page.locator(f"{SCREEN} {one}").first.bounding_box() for one in (".ehrmem-matrix", ".noUi-target")
    )
    assert slider["x"] + slider["width"] < matrix["x"] and slider["y"] < 800
    page.set_viewport_size({"width": 1440, "height": 1500})


def test_every_control_has_a_name_and_dark_is_dark(audit: Visitor) -> None:
    nameless = audit.page.evaluate(
        """() => [...document.querySelectorAll('.ehrmem-screen input, .ehrmem-screen select, .ehrmem-screen button')]
        .filter(e => e.offsetParent && !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim() || e.title))
        .map(e => e.outerHTML.slice(0, 120))"""
    )
    assert nameless == []
    assert audit.page.evaluate("document.body.dataset.jpThemeLight") == "false"
    assert "Traceback" not in audit.page.locator("body").inner_text()
