"""Notebooks 02 and 04 in a real browser, by keyboard, nothing but 127.0.0.1 to be reached."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.lab import Visitor, explore, in_view, visit, with_parameters

pytestmark = pytest.mark.browser
SHOTS = Path(__file__).parent / "screenshots"
NEIGHBOURS, PERTURBATION = "02_embedding_neighbours.ipynb", "04_perturbation.ipynb"
DARK = {
    "@jupyterlab/apputils-extension/themes.jupyterlab-settings": {"theme": "JupyterLab Dark"},
    "@jupyterlab/apputils-extension/kernels-settings.jupyterlab-settings": {"commsOverSubshells": "disabled"},
}


@pytest.fixture(scope="module")
def neighbours(tmp_path_factory: pytest.TempPathFactory, chromium: Any) -> Iterator[Visitor]:
    """Notebook 02 in the light theme."""
    yield from _opened(chromium, tmp_path_factory, NEIGHBOURS, {}, cohort=20)


@pytest.fixture(scope="module")
def perturbation(tmp_path_factory: pytest.TempPathFactory, chromium: Any) -> Iterator[Visitor]:
    """Notebook 04 in the dark theme, and without subshells."""
    yield from _opened(chromium, tmp_path_factory, PERTURBATION, DARK, samples=16, horizon=40)


def test_neighbours_appear_by_themselves(neighbours: Visitor) -> None:
    assert "among 3,000 records" in _label(neighbours, "Place of the patient's own record")
    assert neighbours.page.locator(".ehrmem-neighbours tbody tr").count() == 10
    assert neighbours.page.locator(".ehrmem-screen canvas[role=img]").count() == 1


def test_the_knowledge_by_keyboard_moves_map_list_and_ladder(neighbours: Visitor) -> None:
    page = neighbours.page
    drawn = page.locator(".ehrmem-screen canvas[role=img]").evaluate("c => c.toDataURL()")
    listed = neighbours.html(".ehrmem-neighbours")
    knows = page.get_by_label("Attacker knows", exact=True)
    knows.focus()
    for _ in range(3):
        page.keyboard.press("ArrowUp")
    _until(neighbours, ".ehrmem-neighbours-screen", knowledge="demographics")
    assert _chosen(neighbours, "Attacker knows") == "Demographics: age, sex and other static facts"
    assert neighbours.html(".ehrmem-neighbours") != listed
    page.wait_for_function(
        "b => document.querySelector('.ehrmem-screen canvas[role=img]').toDataURL() !== b", arg=drawn, timeout=10_000
    )
    for _ in range(4):  # quicker than answers come: the last one wins
        page.keyboard.press("ArrowDown")
    _until(neighbours, ".ehrmem-neighbours-screen", knowledge="first_10")
    assert _chosen(neighbours, "Attacker knows") == "The first 10 codes"


def test_the_point_is_seen_before_any_scrolling(neighbours: Visitor) -> None:
    page = neighbours.page
    page.set_viewport_size({"width": 1280, "height": 800})
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / "02_1280.png")
    for selector, share in (
        (".ehrmem-bar", 1.0), ('.ehrmem-screen svg[aria-label^="Place of the patient"]', 1.0), (".ehrmem-screen canvas[role=img]", 0.6),
    ):  # fmt: skip
        in_view(neighbours, selector, share)
    assert (
        page.locator(".jp-NotebookPanel-toolbar:visible, .jp-InputArea:visible, .jp-MarkdownCell:visible").count() == 0
    )
    page.set_viewport_size({"width": 1440, "height": 1500})


def test_a_patient_is_chosen_in_the_table_by_keyboard_and_the_links_carry_it(neighbours: Visitor) -> None:
    page = neighbours.page
    page.get_by_role("button", name=re.compile("^Patient P-")).press("Enter")
    page.get_by_label("Find patients").fill("hiv held out")
    grid = page.get_by_role("grid", name="Patients")
    page.wait_for_function(
        "/^\\d+ of /.test(document.querySelector('.em-count').textContent) && !/^3,000/.test(document.querySelector('.em-count').textContent)"
    )
    name = grid.get_by_role("row").first.get_by_role("gridcell").first.inner_text()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    _until(neighbours, ".ehrmem-neighbours-screen", patient=name)
    assert page.get_by_role("button", name=re.compile(f"^Patient {name} .* HIV")).count() == 1
    links = page.get_by_role("navigation", name="Screens").get_by_role("link")
    main, there = links.first.get_attribute("href"), links.filter(has_text="Perturbation").get_attribute("href")
    assert "#ehrmem=" in main and there.endswith(f"/{PERTURBATION}")


def test_others_are_asked_about_when_the_button_is_pressed(neighbours: Visitor) -> None:
    page = neighbours.page
    page.get_by_role("button", name="Ask about 20 patients").focus()
    page.keyboard.press("Enter")
    page.locator(".ehrmem-neighbours-screen table").wait_for(timeout=120_000)
    _until(neighbours, ".ehrmem-neighbours-screen", knowledge="first_10")
    said = page.locator(".ehrmem-neighbours-screen").inner_text()
    assert "Trained on, by the audited model, facts alone" in said and "Cannot conclude" in said
    _nothing_wrong(neighbours)


def test_the_curve_and_its_verdict_appear_by_themselves(perturbation: Visitor) -> None:
    assert perturbation.page.evaluate("document.body.dataset.jpThemeLight") == "false"
    assert "Memorized" in perturbation.page.locator(".ehrmem-bar").inner_text()
    assert "79 people never seen" in _label(perturbation, "Abuse and violence: leak probability")


def test_the_identifier_by_keyboard_changes_the_curve(perturbation: Visitor) -> None:
    page = perturbation.page
    page.get_by_label("Moved", exact=True).focus()
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    _until(perturbation, ".ehrmem-perturbation", identifier="lab")
    assert _chosen(perturbation, "Moved") == "Value of the first known lab"
    assert "(Alkaline phosphatase" in _label(perturbation, "Abuse and violence: leak probability")


def test_what_is_not_known_is_said_in_place_and_the_view_comes_back(perturbation: Visitor) -> None:
    page = perturbation.page
    page.get_by_label("Attacker knows", exact=True).focus()
    page.keyboard.press("ArrowUp")
    strip = page.locator(".ehrmem-error")
    strip.wait_for(timeout=60_000)
    assert strip.inner_text().startswith("There is no lab value among the known facts")
    page.keyboard.press("ArrowDown")
    _until(perturbation, ".ehrmem-perturbation", knowledge="one_lab", identifier="lab")
    assert strip.count() == 0
    assert "Traceback" not in page.locator("body").inner_text()
    _nothing_wrong(perturbation)


def _opened(
    chromium: Any, paths: pytest.TempPathFactory, name: str, settings: dict[str, Any], **parameters: Any
) -> Iterator[Visitor]:
    home = paths.mktemp("home")
    notebook = str(with_parameters(name, home, **parameters))
    if name == NEIGHBOURS:
        with_parameters(PERTURBATION, home, samples=16, horizon=40)  # the next screen, beside it
    with explore(home, overrides=json.dumps(settings), notebook=notebook) as address, visit(chromium, address) as page:
        page.settled(180)
        yield page


def _until(visitor: Visitor, selector: str, **shown: str) -> None:
    """Wait until the view says that it answers these settings, and is settled."""
    visitor.page.wait_for_function(
        "([s, want]) => { const e = document.querySelector(s), d = document.querySelector('.ehrmem-status').dataset;"
        "return e && d.state === 'settled' && Object.entries(want).every(([k, v]) => e.dataset[k] === v); }",
        arg=[selector, shown],
        timeout=120_000,
    )
    visitor.page.wait_for_timeout(500)  # nothing comes after
    data = visitor.page.evaluate("s => ({...document.querySelector(s).dataset})", selector)
    assert {name: data[name] for name in shown} == shown


def _chosen(visitor: Visitor, control: str) -> str:
    found = visitor.page.get_by_label(control, exact=True).evaluate("s => s.selectedOptions[0].textContent")
    return str(found).replace("\xa0", " ")


def _label(visitor: Visitor, start: str) -> str:
    return str(visitor.page.locator(f'.ehrmem-screen svg[aria-label^="{start}"]').get_attribute("aria-label"))


def _nothing_wrong(visitor: Visitor) -> None:
    """No error, no request to the outside, and every control has a name."""
    assert visitor.errors == [] and visitor.outside == []
    nameless = visitor.page.evaluate(
        """() => [...document.querySelectorAll('.ehrmem-screen input, .ehrmem-screen select, .ehrmem-screen button')]
        .filter(e => e.offsetParent && !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim() || e.title))
        .map(e => e.outerHTML.slice(0, 120))"""
    )
    assert nameless == []
