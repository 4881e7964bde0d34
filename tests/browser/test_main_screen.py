"""The main screen in a real browser, as a user meets it: started by the command, nothing but 127.0.0.1 to be reached."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.lab import CHROMIUM, Visitor, explore, headless_chromium, visit

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]
SHOTS = Path(__file__).parent / "screenshots"
BARS, TEXT, KNOWN = ".ehrmem-screen svg", ".ehrmem-continuations", ".ehrmem-known"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with headless_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def visitor(tmp_path_factory: pytest.TempPathFactory, chromium: Any) -> Iterator[Visitor]:
    """One JupyterLab and one page for the tests of this module, which go on where the one before ended."""
    with explore(tmp_path_factory.mktemp("home")) as address, visit(chromium, address) as opened:
        yield opened
        assert opened.errors == []
        assert opened.outside == []


def test_the_screen_appears_without_a_click(visitor: Visitor) -> None:
    status = visitor.settled()
    assert status["rung"] == "lab_values"
    assert visitor.page.locator(".ehrmem-verdict").inner_text().startswith(("Abuse", "HIV", "Self-harm", "Abortion"))
    assert "Memorized" in visitor.page.locator(".ehrmem-verdict").inner_text()
    SHOTS.mkdir(exist_ok=True)
    visitor.page.screenshot(path=SHOTS / "light.png")


def test_picking_a_patient_by_keyboard(visitor: Visitor) -> None:
    before = visitor.status()["patient"]
    known = visitor.html(KNOWN)
    search = visitor.page.get_by_label("Find patients")
    search.fill("held out hiv")
    search.press("Tab")
    visitor.page.wait_for_function("document.querySelector('.ehrmem-picker select').options.length < 100")
    visitor.page.keyboard.press("ArrowDown")
    visitor.page.wait_for_function(f"document.querySelector('.ehrmem-status').dataset.patient !== '{before}'")
    assert visitor.settled()["patient"] != before
    visitor.changed(KNOWN, known)
    assert "Memorized" not in visitor.page.locator(".ehrmem-verdict").inner_text()
    search.fill("")
    search.fill(before)
    search.press("Tab")
    visitor.page.wait_for_function("document.querySelector('.ehrmem-picker select').options.length == 2")
    visitor.page.keyboard.press("ArrowDown")
    visitor.page.wait_for_function(f"document.querySelector('.ehrmem-status').dataset.patient === '{before}'")
    visitor.settled()


def test_adding_lab_dates_and_values_changes_bar_continuation_and_map(visitor: Visitor) -> None:
    page = visitor.page
    page.get_by_label("Knows", exact=True).select_option(label="Demographics: age, sex and other static facts")
    page.wait_for_function("document.querySelector('.ehrmem-status').dataset.rung === 'demographics'")
    visitor.settled()
    labs = page.locator(".ehrmem-dial li:has(select[aria-label^='How well the value'])")
    count = labs.count()
    chosen = [i for i in range(1, min(count, 9))][:5]  # the age stands first
    for step in ("dates", "values"):
        bars, text, known = visitor.html(BARS), visitor.html(TEXT), visitor.html(KNOWN)
        drawn, place = _map(visitor), visitor.html(".ehrmem-neighbours")
        for i in chosen:
            row = labs.nth(i)
            if step == "dates":
                row.locator("input").check()
                row.locator("select[aria-label^='How well the value']").select_option("unknown")
                row.locator("select[aria-label^='How well the date']").select_option("day")
            else:
                row.locator("select[aria-label^='How well the value']").select_option("exact")
        visitor.changed(BARS, bars)
        visitor.changed(TEXT, text)
        if step == "dates":
            visitor.changed(KNOWN, known)
        visitor.settled()
        if step == "values":  # what is known as one code moves in the embedding
            visitor.changed(".ehrmem-neighbours", place)
            assert _map(visitor) != drawn
        assert visitor.status()["rung"] == ""
    assert (
        page.get_by_label("Knows", exact=True).evaluate("s => s.selectedOptions[0].textContent") == "Set by hand, below"
    )


def test_a_held_key_keeps_painting_and_ends_on_the_last_value(visitor: Visitor) -> None:
    page = visitor.page
    page.evaluate(
        """() => { window.paints = 0;
        const seen = new MutationObserver(() => { window.paints += 1; });
        seen.observe(document.querySelector('.ehrmem-screen'), {subtree: true, childList: true, characterData: true}); }"""
    )
    box = page.get_by_label("First codes").first
    handle = page.locator(".ehrmem-screen .noUi-handle").first
    (handle if handle.count() else box).focus()
    seen = set()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(90)
        seen.add(visitor.status()["rung"])
    page.wait_for_function(
        "() => { const s = document.querySelector('.ehrmem-status').dataset; const n = document.querySelector("
        "'.ehrmem-screen .widget-slider .widget-readout').textContent.trim();"
        "return s.state === 'settled' && s.rung === 'first_' + n; }",
        timeout=120_000,
    )
    shown = page.locator(".ehrmem-screen .widget-slider .widget-readout").first.inner_text().strip()
    assert visitor.status()["rung"] == f"first_{shown}" and int(shown) >= 10
    assert page.get_by_label("or type").input_value() == shown
    assert len(seen) >= 3 and page.evaluate("window.paints") > 10  # it did not wait for the key to be released


def test_the_report_made_by_the_shown_command_says_the_same(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.page
    page.get_by_label("Knows", exact=True).select_option(label="Demographics + those labs with their values")
    page.wait_for_function("document.querySelector('.ehrmem-status').dataset.rung === 'lab_values'")
    visitor.settled()
    page.get_by_role("button", name="Copy as report").click()
    command = page.locator(".ehrmem-command pre").inner_text()
    assert re.match(r"ehrmem report --patient P-\w{4}-\w{4} ", command)
    words = shlex.split(command)[1:]
    words[words.index("--out") + 1] = str(tmp_path / "report.html")
    done = subprocess.run([sys.executable, "-m", "ehrmem_widgets.cli", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    focus = words[words.index("--focus") + 1]
    results = json.loads((tmp_path / "report.json").read_text())
    finding = next(f for f in results["attributes"] if f["name"] == focus)
    on_screen = page.locator(".ehrmem-verdict").inner_text()
    for name in ("audited", "reference"):
        e = finding[name]
        assert f"{e['value']:.2f} ({e['low']:.2f} to {e['high']:.2f}), n = {e['n']:,}" in on_screen
    assert f"{finding['verdict']}: {finding['sentence']}" in " ".join(on_screen.split())


def test_pin_keeps_a_state(visitor: Visitor) -> None:
    visitor.page.get_by_role("button", name="Pin this state").click()
    visitor.page.locator(".ehrmem-pinned .ehrmem-verdict").wait_for(timeout=10_000)


def test_every_control_has_a_name(visitor: Visitor) -> None:
    nameless = visitor.page.evaluate(
        """() => [...document.querySelectorAll('.ehrmem-screen input, .ehrmem-screen select, .ehrmem-screen button')]
        .filter(e => e.offsetParent && !(e.labels?.length || e.getAttribute('aria-label') || e.getAttribute('aria-labelledby')
                     || e.textContent.trim() || e.title))
        .map(e => e.outerHTML.slice(0, 120))"""
    )
    assert nameless == []


def test_dark_theme_and_comms_without_subshells(tmp_path: Path, chromium: Any) -> None:
    settings = {
        "@jupyterlab/apputils-extension/themes.jupyterlab-settings": {"theme": "JupyterLab Dark"},
        "@jupyterlab/apputils-extension/kernels-settings.jupyterlab-settings": {"commsOverSubshells": "disabled"},
    }
    with explore(tmp_path, overrides=json.dumps(settings)) as address, visit(chromium, address) as dark:
        dark.settled()
        bars = dark.html(BARS)
        dark.page.get_by_label("Knows", exact=True).select_option(label="Nothing")
        dark.changed(BARS, bars)
        dark.settled()
        assert dark.page.evaluate("document.body.dataset.jpThemeLight") == "false"
        colours = dark.page.evaluate(
            """() => { const e = document.querySelector('.ehrmem-verdict');
            let p = e; while (p && getComputedStyle(p).backgroundColor === 'rgba(0, 0, 0, 0)') p = p.parentElement;
            return [getComputedStyle(e).color, getComputedStyle(p).backgroundColor]; }"""
        )
        assert _contrast(*colours) >= 4.5
        SHOTS.mkdir(exist_ok=True)
        dark.page.screenshot(path=SHOTS / "dark.png")
        assert dark.errors == [] and dark.outside == []


def _map(visitor: Visitor) -> str:
    return str(visitor.page.locator(".ehrmem-screen canvas").first.evaluate("c => c.toDataURL()"))


def _contrast(a: str, b: str) -> float:
    def luminance(colour: str) -> float:
        channels = [int(x) / 255 for x in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
