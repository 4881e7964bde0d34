"""The main screen in a real browser, as a user meets it: started by the command, nothing but 127.0.0.1 to be reached."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ehrmem_widgets.charts.markup import interval
from ehrmem_widgets.statistics.intervals import Estimate
from tests.browser.lab import Visitor, explore, in_kernel, private, visit, with_parameters

pytestmark = pytest.mark.browser
SHOTS = Path(__file__).parent / "screenshots"
BARS, TEXT, KNOWN = '.ehrmem-screen svg[aria-label^="Leak probability of"]', ".ehrmem-continuations", ".ehrmem-known"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def visitor(home: Path, chromium: Any) -> Iterator[Visitor]:
    """One JupyterLab and one page for the tests of this module, which go on where the one before ended."""
    with explore(home) as address, visit(chromium, address) as opened:
        yield opened
        assert opened.errors == []
        assert opened.outside == []


def test_the_screen_appears_without_a_click(visitor: Visitor) -> None:
    status = visitor.settled()
    assert status["knowledge"] == "lab_values"
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
    search.fill("")
    search.fill(before)
    search.press("Tab")
    visitor.page.wait_for_function("document.querySelector('.ehrmem-picker select').options.length == 2")
    visitor.page.keyboard.press("ArrowDown")
    visitor.page.wait_for_function(f"document.querySelector('.ehrmem-status').dataset.patient === '{before}'")
    visitor.settled()


def test_adding_lab_dates_and_values_changes_bar_continuation_and_map(visitor: Visitor) -> None:
    page = visitor.page
    page.get_by_label("Attacker knows", exact=True).select_option(label="Demographics: age, sex and other static facts")
    page.wait_for_function("document.querySelector('.ehrmem-status').dataset.knowledge === 'demographics'")
    visitor.settled()
    labs = page.locator(".ehrmem-dial li:has(select[aria-label^='How well the value'])")
    count = labs.count()
    chosen = [i for i in range(1, min(count, 9))][:3]  # the age stands first
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
        if step == "dates":  # later, a model that remembers says the same, whatever the values
            visitor.changed(TEXT, text)
            visitor.changed(KNOWN, known)
        visitor.settled()
        visitor.changed(".ehrmem-neighbours", place)
        assert _map(visitor) != drawn
        assert visitor.status()["knowledge"] == ""
    chosen_knowledge = page.get_by_label("Attacker knows", exact=True).evaluate("s => s.selectedOptions[0].textContent")
    assert chosen_knowledge.replace("\xa0", " ") == "Set by hand, below"


def test_a_held_key_keeps_painting_and_ends_on_the_last_value(visitor: Visitor) -> None:
    page = visitor.page
    page.evaluate(
        """() => { window.paints = [];
        new MutationObserver(() => {
          const status = document.querySelector('.ehrmem-status');
          if (status && window.paints.at(-1) !== status.outerHTML) window.paints.push(status.outerHTML);
        }).observe(document.querySelector('.ehrmem-screen'), {subtree: true, childList: true}); }"""
    )
    page.locator(".ehrmem-screen .noUi-handle").first.focus()
    until = time.monotonic() + 4
    while time.monotonic() < until:
        page.keyboard.down("ArrowRight")  # again and again without an "up": as a held key repeats
        page.wait_for_timeout(50)
    painted = page.evaluate("window.paints")
    page.keyboard.up("ArrowRight")
    assert len(painted) > 3  # it did not wait for the key to be released
    page.wait_for_function(
        "() => { const s = document.querySelector('.ehrmem-status').dataset; const n = document.querySelector("
        "'.ehrmem-screen .widget-slider .widget-readout').textContent.trim();"
        "return s.state === 'settled' && s.knowledge === 'first_' + n; }",
        timeout=120_000,
    )
    page.wait_for_timeout(1000)  # nothing comes after
    shown = page.locator(".ehrmem-screen .widget-slider .widget-readout").first.inner_text().strip()
    assert visitor.status()["knowledge"] == f"first_{shown}" and int(shown) >= 10
    assert visitor.status()["state"] == "settled"
    assert page.get_by_label("or type").input_value() == shown


def test_a_typo_in_the_horizon_leaves_the_verdict_and_is_said(visitor: Visitor) -> None:
    """ "-5" once became 1 without a word, and turned Memorized 0.96 into Population knowledge 0.0000."""
    page, size = visitor.page, visitor.page.viewport_size
    page.set_viewport_size({"width": 1280, "height": 800})
    try:
        page.get_by_label("Attacker knows", exact=True).select_option(
            label="Demographics + those labs with their values"
        )
        page.wait_for_function("document.querySelector('.ehrmem-status').dataset.knowledge === 'lab_values'")
        visitor.settled()
        field, verdict = page.get_by_label("Horizon (codes)"), visitor.html(".ehrmem-verdict")
        width = page.evaluate("document.querySelector('.ehrmem-screen').scrollWidth")
        for typed in ("-5", "1e9", "64.7", "abc"):
            field.fill(typed)
            field.press("Tab")
            said = page.get_by_role("alert").filter(has_text=f"got '{typed}'")
            said.wait_for(timeout=10_000)
            assert "Horizon must be a whole number from 1 to 4096, such as 64;" in said.inner_text()
            assert "What is shown is for horizon 64." in said.inner_text()
        page.wait_for_timeout(1500)  # nothing is asked
        assert visitor.status()["state"] == "settled" and visitor.html(".ehrmem-verdict") == verdict
        assert "Memorized" in page.locator(".ehrmem-verdict").inner_text() and field.input_value() == "abc"
        assert page.locator(".ehrmem-last-valid").inner_text() == "Shown for horizon 64, the last valid setting."
        assert page.locator(".ehrmem-kept .ehrmem-verdict").count() == 1
        assert page.evaluate("document.querySelector('.ehrmem-screen').scrollWidth") == width
        said.scroll_into_view_if_needed()
        page.screenshot(path=SHOTS / "typo.png")
        page.locator(".ehrmem-last-valid").scroll_into_view_if_needed()
        page.screenshot(path=SHOTS / "typo_verdict.png")
        field.fill("32")
        field.press("Enter")
        page.wait_for_function("!document.querySelector('.ehrmem-refused')", timeout=10_000)
        visitor.changed(".ehrmem-verdict", verdict)
        visitor.settled()
        assert page.locator(".ehrmem-last-valid, .ehrmem-kept, .ehrmem-wrong").count() == 0
        page.get_by_role("button", name="Copy as report").click()
        assert " --horizon 32 " in page.locator(".ehrmem-command pre").inner_text()
    finally:
        page.set_viewport_size(size)


def test_keys_pressed_on_the_screen_do_not_reach_the_notebook(visitor: Visitor) -> None:
    """JupyterLab deletes the cell on "d d", and moves on with an arrow, wherever no text is being typed."""
    page = visitor.page
    cells = page.locator(".jp-Cell").count()
    for control in (
        page.get_by_label("Attacker knows", exact=True),
        page.locator(".ehrmem-dial input").first,
        page.locator(".ehrmem-screen .noUi-handle").first,
        page.get_by_role("button", name="Pin this state"),
    ):
        control.focus()
        for key in ("x", "d", "d", "a", "b"):
            page.keyboard.press(key)
    page.wait_for_timeout(1000)
    assert page.locator(".jp-Cell").count() == cells
    assert page.locator(".ehrmem-screen").count() == 1
    visitor.settled()


def test_an_error_stands_in_place_in_plain_words(visitor: Visitor, home: Path) -> None:
    page, strip = visitor.page, visitor.page.locator(".ehrmem-error")
    knows = page.get_by_label("Attacker knows", exact=True)
    with in_kernel(home) as run:
        run("whole = exploration.exploration.model.context_length; exploration.exploration.model.context_length = 4")
        knows.select_option(label="The first 20 codes")
        strip.wait_for(timeout=30_000)
        assert re.match(r"The facts make a prompt of \d+ codes, and the model reads at most 4\.", strip.inner_text())
        run("exploration.exploration.model.context_length = whole")
        knows.select_option(label="Nothing")
        strip.wait_for(state="detached", timeout=30_000)
        run(
            "def broken(patient): raise OSError('/secret/place')\n"
            "record, exploration.exploration.record = exploration.exploration.record, broken"
        )
        knows.select_option(label="The first 10 codes")  # fails while "Nothing" is still being answered
        strip.wait_for(timeout=30_000)
        assert strip.inner_text() == "Internal error (OSError). The last answer still stands."
        visitor.settled()
        page.wait_for_timeout(500)
        assert strip.count() == 1  # that answer did not wipe it out
        run("exploration.exploration.record = record")
        knows.select_option(label="The first 20 codes")
        strip.wait_for(state="detached", timeout=30_000)
    whole = page.locator("body").inner_text()
    assert "Traceback" not in whole and "/secret/place" not in whole
    visitor.settled()


def test_the_report_made_by_the_shown_command_says_the_same(visitor: Visitor, home: Path, tmp_path: Path) -> None:
    page = visitor.page
    page.get_by_label("Attacker knows", exact=True).select_option(label="Demographics + those labs with their values")
    page.wait_for_function("document.querySelector('.ehrmem-status').dataset.knowledge === 'lab_values'")
    visitor.settled()
    page.get_by_role("button", name="Copy as report").click()
    command = page.locator(".ehrmem-command pre").inner_text()
    assert re.match(r"ehrmem report --patient P-\w{4}-\w{4} ", command)
    words = shlex.split(command)[1:]
    done = subprocess.run(
        [sys.executable, "-m", "ehrmem_widgets.cli", *words],
        capture_output=True, text=True, cwd=tmp_path, env=private(home),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    focus = words[words.index("--focus") + 1]
    results = json.loads((tmp_path / "report.json").read_text())
    finding = next(f for f in results["attributes"] if f["name"] == focus)
    on_screen = " ".join(page.locator(".ehrmem-verdict").first.inner_text().split())
    for name, signed in (("audited", False), ("reference", False), ("excess", True)):
        assert interval(Estimate(**finding[name]), signed=signed) in on_screen
    assert f"{finding['verdict']}: {finding['sentence']}" in on_screen
    rows = page.locator(f"{BARS} title").all_text_contents()
    assert len(rows) == len(results["attributes"])
    for row, one in zip(rows, results["attributes"], strict=True):
        numbers = (
            f"audited {interval(Estimate(**one['audited']))}; reference {interval(Estimate(**one['reference']))}; "
        )
        assert row.startswith(one["title"]) and numbers in row and row.endswith(one["verdict"] or "Not in the record")
    known = page.locator(KNOWN).first.inner_text()
    assert f"k = {results['known']['k']:,}" in known and f"{results['known']['bits']:.1f} bits" in known


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


def test_tab_reaches_every_control(visitor: Visitor) -> None:
    visitor.page.get_by_label("Find patients").focus()
    for _ in range(400):
        inside = visitor.page.evaluate(
            "() => { const e = document.activeElement; e.dataset.reached = 1; return !!e.closest('.ehrmem-screen'); }"
        )
        if not inside:
            break
        visitor.page.keyboard.press("Tab")
    assert not inside  # no trap
    missed = visitor.page.evaluate(
        """() => [...document.querySelectorAll('.ehrmem-screen :is(input, select, button, [tabindex="0"])')]
        .filter(e => !e.disabled && !e.dataset.reached && e.checkVisibility()).map(e => e.outerHTML.slice(0, 120))"""
    )
    assert missed == []


def test_dark_theme_and_comms_without_subshells(tmp_path: Path, chromium: Any) -> None:
    settings = {
        "@jupyterlab/apputils-extension/themes.jupyterlab-settings": {"theme": "JupyterLab Dark"},
        "@jupyterlab/apputils-extension/kernels-settings.jupyterlab-settings": {"commsOverSubshells": "disabled"},
    }
    notebook = with_parameters("01_explore_patient.ipynb", tmp_path, horizon=16, samples=64)
    with (
        explore(tmp_path, overrides=json.dumps(settings), notebook=str(notebook)) as address,
        visit(chromium, address) as dark,
    ):
        dark.settled()
        bars = dark.html(BARS)
        dark.page.get_by_label("Attacker knows", exact=True).select_option(label="Nothing")
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
