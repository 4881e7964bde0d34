"""The main screen in a real browser, as a user meets it: started by the command, nothing but 127.0.0.1 to be reached."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.browser.lab import Visitor, explore, in_kernel, visit, with_parameters

pytestmark = pytest.mark.browser
SHOTS = Path(__file__).parent / "screenshots"
SIZES = {"laptop": (1280, 800), "wide": (1440, 900), "desk": (1920, 1080), "tablet": (1024, 768), "zoom": (640, 400)}
"""Windows; the last is 1280x800 at 200 %."""
LONG = 120_000


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def visitor(home: Path, chromium: Any) -> Iterator[Visitor]:
    """One JupyterLab and one page for the tests of this module, which go on where the one before ended."""
    with explore(home) as address, visit(chromium, address) as opened:
        opened.page.set_viewport_size({"width": 1280, "height": 800})
        SHOTS.mkdir(exist_ok=True)
        yield opened
        assert opened.errors == []
        assert opened.outside == []


def until(visitor: Visitor, **shown: str) -> None:
    """Wait for the settled answer to these (data attributes of the status line)."""
    visitor.page.wait_for_function(
        "want => { const d = document.querySelector('.ehrmem-status')?.dataset; return d && d.state === 'settled' && Object.entries(want).every(([k, v]) => d[k] === v); }",
        arg=shown,
        timeout=LONG,
    )


def level(visitor: Visitor, name: str) -> None:
    """Choose a ready-made set of facts, and wait for its answer."""
    visitor.page.locator(f".em-levels input[value={name}]").check(force=True)
    until(visitor, knowledge=name)


def bar(visitor: Visitor) -> str:
    """What the answer bar says."""
    return " ".join(visitor.page.locator(".ehrmem-bar").inner_text().split())


def inside(visitor: Visitor, selector: str) -> bool:
    """Whether an element lies in the window, whole."""
    return bool(
        visitor.page.locator(selector).first.evaluate(
            "e => { const r = e.getBoundingClientRect(); return r.width > 0 && r.top >= 0 && r.left >= 0 && r.bottom <= innerHeight + 1 && r.right <= innerWidth + 1; }"
        )
    )


def test_the_screen_appears_without_a_click(visitor: Visitor) -> None:
    status = visitor.settled()
    assert status["knowledge"] == "lab_values"
    assert "Memorized" in bar(visitor) and "in 100" in bar(visitor) and "similar people" in bar(visitor)
    visitor.page.screenshot(path=SHOTS / "light.png")


def in_view_together(visitor: Visitor, name: str, shot: str) -> None:
    """At this size the answer and the first five facts lie in the window, and nothing but the columns scrolls."""
    page = visitor.page
    width, height = SIZES[name]
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_timeout(1500)
    try:
        assert inside(visitor, ".ehrmem-bar-said")
        if page.locator("#em-tab-facts").is_visible():  # narrow: the dial is a tab
            page.locator("#em-tab-facts").click()
        if height >= 700:
            for place in range(5):
                assert inside(visitor, f".ehrmem-dial li >> nth={place}"), place
            assert page.evaluate(
                "document.querySelector('.em-main').scrollHeight <= document.querySelector('.em-main').clientHeight + 1"
            )
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.screenshot(path=SHOTS / f"{shot}.png")
    finally:
        page.set_viewport_size({"width": 1280, "height": 800})
        page.wait_for_timeout(800)


@pytest.mark.parametrize("name", SIZES)
def test_the_answer_and_the_dial_are_in_view_together(visitor: Visitor, name: str) -> None:
    in_view_together(visitor, name, name)


def test_a_patient_is_found_by_words_and_chosen_by_keyboard(visitor: Visitor) -> None:
    page, before = visitor.page, visitor.status()["patient"]
    page.get_by_role("button", name="Patient P-").click()
    search = page.get_by_label("Find patients")
    search.fill("held out hiv")
    page.wait_for_function(
        "/^\\d+ of 3,000/.test(document.querySelector('.em-count').textContent) && document.querySelectorAll('.em-rows .em-row').length < 60"
    )
    assert all("HIV" in row for row in page.locator(".em-rows .em-row").all_inner_texts())
    page.screenshot(path=SHOTS / "picker.png")
    search.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    chosen = page.locator(".em-rows [aria-selected=true] span").first.inner_text()
    page.keyboard.press("Enter")
    until(visitor, patient=chosen)
    page.get_by_role("button", name="Patient P-").click()
    search.fill(before)
    page.locator(".em-rows .em-row", has_text=before).click()
    until(visitor, patient=before)


def test_the_table_is_sorted_by_a_column(visitor: Visitor) -> None:
    page = visitor.page
    page.get_by_role("button", name="Patient P-").click()
    page.get_by_label("Find patients").fill("")
    page.get_by_role("button", name="Events", exact=True).click()
    page.wait_for_function(
        "document.querySelector('[data-column=events]').parentElement.getAttribute('aria-sort') === 'descending'"
    )
    events = [
        int(text.replace(",", "")) for text in page.locator(".em-rows .em-row span:nth-child(4)").all_inner_texts()
    ]
    assert len(events) > 20 and events == sorted(events, reverse=True)
    page.keyboard.press("Escape")
    page.locator(".em-picker").wait_for(state="hidden")


def test_the_table_is_narrowed_and_begins_with_the_most_exposed(visitor: Visitor) -> None:
    page = visitor.page
    page.get_by_role("button", name="Patient P-").click()
    page.get_by_label("Find patients").fill("")
    page.get_by_label("Seen", exact=True).select_option("seen 16 times")
    page.wait_for_function("/^\\d+ of 3,000/.test(document.querySelector('.em-count').textContent)")
    assert page.get_by_label("Find patients").input_value() == "seen 16 times"
    page.get_by_label("Find patients").fill("")
    page.get_by_role("button", name="Most exposed first").click()
    page.wait_for_function("document.querySelector('.em-count').textContent.startsWith('Looking at all patients')")
    page.wait_for_function(
        "document.querySelector('[data-column=exposed]').parentElement.getAttribute('aria-sort') === 'descending'",
        timeout=600_000,
    )
    page.wait_for_function("document.querySelectorAll('.em-rows .em-row span:nth-child(8)').length > 20")
    shown = [
        float(text.removesuffix(" ×").replace(",", ""))
        for text in page.locator(".em-rows .em-row span:nth-child(8)").all_inner_texts()
    ]
    assert shown == sorted(shown, reverse=True)
    page.screenshot(path=SHOTS / "most_exposed.png")
    page.keyboard.press("Escape")
    page.locator(".em-picker").wait_for(state="hidden")


def test_one_press_on_the_dial_changes_the_answer_and_becomes_a_step(visitor: Visitor) -> None:
    page = visitor.page
    level(visitor, "age_sex")
    steps = page.locator(".ehrmem-steps li").count()
    labs = page.locator(".ehrmem-dial li:has(.ehrmem-dial-steps label:nth-child(4))")
    before = bar(visitor)
    labs.first.get_by_role("radio", checked=True).focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("n => document.querySelectorAll('.ehrmem-steps li').length > n", arg=steps, timeout=LONG)
    until(visitor, knowledge="")
    assert bar(visitor) != before and "Since the step before" in bar(visitor)
    assert labs.first.get_by_role("radio", name="known to have been taken").is_checked()


def test_undo_by_key_and_by_a_step(visitor: Visitor) -> None:
    page = visitor.page
    page.locator(".em-tabs [role=tab]").first.focus()
    page.keyboard.press("Control+z")
    until(visitor, knowledge="age_sex")
    page.get_by_role("button", name="Redo").click()
    until(visitor, knowledge="")
    page.locator("#em-tab-steps").click()
    page.locator(".ehrmem-steps [data-step]").first.click()
    until(visitor, knowledge="lab_values")


def test_a_held_key_keeps_painting_and_ends_on_the_last_value(visitor: Visitor) -> None:
    page = visitor.page
    page.locator(".em-levels input[value=nothing]").focus()
    page.evaluate(
        """() => { window.paints = new Set();
        new MutationObserver(() => window.paints.add(document.querySelector('.ehrmem-bar').outerHTML)).observe(document.querySelector('.em-answer'), {subtree: true, childList: true}); }"""
    )
    until_ = time.monotonic() + 4
    while time.monotonic() < until_:
        page.keyboard.down("ArrowRight")  # again and again without an "up": as a held key repeats
        page.wait_for_timeout(60)
    page.keyboard.up("ArrowRight")
    assert page.evaluate("window.paints.size") > 1  # it did not wait for the key to be released
    last = page.locator(".em-levels input:checked").get_attribute("value")
    until(visitor, knowledge=str(last))
    page.wait_for_timeout(1000)  # nothing comes after
    assert visitor.status()["knowledge"] == last


def test_a_typo_in_the_horizon_leaves_the_verdict_and_is_said(visitor: Visitor) -> None:
    """ "-5" once became 1 without a word, and turned Memorized 0.96 into Population knowledge 0.0000."""
    page = visitor.page
    level(visitor, "lab_values")
    field, verdict = page.get_by_label("Horizon", exact=True), bar(visitor)
    for typed in ("-5", "1e9", "64.7", "abc"):
        field.fill(typed)
        field.press("Tab")
        said = page.get_by_role("alert").filter(has_text=f"got '{typed}'")
        said.wait_for(timeout=20_000)
        assert "What is shown is for horizon 64." in said.inner_text()
    page.wait_for_timeout(1000)  # nothing is asked
    assert visitor.status()["state"] == "settled" and bar(visitor) == verdict and field.input_value() == "abc"
    page.screenshot(path=SHOTS / "typo.png")
    field.fill("32")
    field.press("Enter")
    page.wait_for_function("!document.querySelector('.em-wrong')", timeout=20_000)
    until(visitor)
    page.get_by_role("button", name="Undo").click()
    page.wait_for_function("document.querySelector('[aria-label=Horizon]').value === '64'", timeout=LONG)
    until(visitor)


def test_models_side_by_side(visitor: Visitor) -> None:
    page = visitor.page
    page.get_by_role("button", name="private").click()
    page.wait_for_function(
        "/private\\s*\\d+ in 100/.test(document.querySelector('.ehrmem-bar').innerText)", timeout=LONG
    )
    until(visitor)
    page.screenshot(path=SHOTS / "models.png")
    assert page.get_by_role("button", name="private").get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="private").click()
    page.wait_for_function("!document.querySelector('.ehrmem-bar').innerText.includes('private')", timeout=LONG)
    until(visitor)


def test_every_tab_shows_its_picture_and_the_arrows_go_round(visitor: Visitor) -> None:
    page = visitor.page
    page.locator("#em-tab-steps").focus()
    seen = []
    for _ in range(page.locator(".em-tabs [role=tab]:visible").count()):
        name = page.evaluate("document.activeElement.id")
        seen.append(name)
        assert page.locator(f"#{name.replace('tab', 'panel')}").is_visible()
        page.screenshot(path=SHOTS / f"{name}.png")
        page.keyboard.press("ArrowRight")
    assert len(set(seen)) == len(seen) >= 6 and page.evaluate("document.activeElement.id") == seen[0]


def test_the_smallest_facts_are_found_live_and_go_onto_the_dial(visitor: Visitor) -> None:
    page = visitor.page
    page.locator(".em-facts").get_by_role("button", name="Find the smallest facts that leak").click()
    page.get_by_text("suffice").wait_for(timeout=LONG)
    page.wait_for_function("!document.querySelector('.em-job').textContent", timeout=300_000)
    page.screenshot(path=SHOTS / "smallest.png")
    page.get_by_role("button", name="Put these facts on the dial").click()
    until(visitor, knowledge="")
    assert 0 < page.locator(".ehrmem-dial-known").count() < 8


def test_a_fact_is_moved(visitor: Visitor) -> None:
    page = visitor.page
    level(visitor, "age_sex")
    page.get_by_role("tab", name="Move a fact").click()
    page.locator(".em-panel svg[aria-label*='moved identifier']").wait_for(timeout=LONG)
    page.get_by_role("button", name="Cancel").click()
    until(visitor, knowledge="age_sex")


def test_reload_and_link_bring_the_same_question_back(visitor: Visitor) -> None:
    page = visitor.page
    level(visitor, "one_lab")
    patient = visitor.status()["patient"]
    page.reload()
    until(visitor, knowledge="one_lab", patient=patient)


def test_files_by_a_click(visitor: Visitor, tmp_path: Path) -> None:
    page = visitor.page
    saved = {}
    page.locator("#em-tab-steps").click()
    for name in ("Save", "CSV", "PNG"):
        with page.expect_download(timeout=60_000) as download:
            page.locator(".em-foot").get_by_role("button", name=name, exact=True).click()
        saved[name] = tmp_path / name
        download.value.save_as(saved[name])
    assert saved["PNG"].read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" and saved["PNG"].stat().st_size > 5_000
    assert saved["CSV"].read_text().startswith("step,change,patient")
    session = json.loads(saved["Save"].read_text())
    level(visitor, "nothing")
    page.locator("input[type=file]").set_input_files(str(saved["Save"]))
    until(visitor, knowledge=session["state"]["knowledge"])


def test_the_report_is_made_by_a_click_and_says_the_same(visitor: Visitor) -> None:
    page = visitor.page
    level(visitor, "lab_values")
    shown = re.findall(r"(\d+) in 100", bar(visitor))[0]
    page.locator(".em-foot").get_by_role("button", name="Report").click()
    link = page.get_by_role("link", name="open it")
    link.wait_for(timeout=240_000)
    text = page.evaluate("async a => (await fetch(a.href)).text()", link.element_handle())
    assert visitor.status()["patient"] in text
    assert re.findall(r"<b>(?:<[^>]*>)?(\d+) in 100", text)[0] == shown


def test_words_are_explained_where_they_stand(visitor: Visitor) -> None:
    page = visitor.page
    for word, said in (
        ("Horizon", "How many codes the model writes"),
        ("similar people", "The people most like"),
        ("Step", "A question that was answered in full"),
    ):
        page.get_by_role("button", name=word, exact=True).first.press("Enter")
        assert said in page.locator(".em-note").inner_text()
        page.keyboard.press("Escape")
        assert not page.locator(".em-note").is_visible()
    page.get_by_role("button", name="Help: words and keys").click()
    assert "Population knowledge" in page.locator(".em-pop:popover-open").inner_text()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Tour").click()
    for place in range(6):
        assert f"{place + 1} of 6" in page.locator(".em-tour").inner_text()
        page.locator(".em-tour").get_by_role("button", name="Next").click()
    assert not page.locator(".em-tour").is_visible()


def test_keys_pressed_on_the_screen_do_not_reach_the_notebook(visitor: Visitor) -> None:
    """JupyterLab deletes the cell on "d d", and moves on with an arrow, wherever no text is being typed."""
    page = visitor.page
    cells = page.evaluate("document.querySelectorAll('.jp-Cell').length")
    for control in (
        page.locator(".ehrmem-dial input").first,
        page.locator("#em-tab-steps"),
        page.locator(".em-foot button").first,
    ):
        control.focus()
        for key in ("x", "d", "d", "a", "b"):
            page.keyboard.press(key)
    page.wait_for_timeout(1000)
    assert page.evaluate("document.querySelectorAll('.jp-Cell').length") == cells
    assert page.locator(".em-main").count() == 1


def test_an_error_stands_in_place_in_plain_words(visitor: Visitor, home: Path) -> None:
    page, strip = visitor.page, visitor.page.locator(".ehrmem-error")
    with in_kernel(home) as run:
        run("whole = exploration.exploration.model.context_length; exploration.exploration.model.context_length = 4")
        page.get_by_label("First codes").fill("21")
        page.keyboard.press("Tab")
        page.wait_for_function(
            "/^The facts make a prompt of \\d+ codes, and the model reads at most 4/.test(document.querySelector('.ehrmem-error').textContent)",
            timeout=30_000,
        )
        run("exploration.exploration.model.context_length = whole")
        page.get_by_label("First codes").fill("22")
        page.keyboard.press("Tab")
        strip.wait_for(state="hidden", timeout=60_000)
        run(
            "def broken(patient): raise OSError('/secret/place')\n"
            "record, exploration.exploration.record = exploration.exploration.record, broken"
        )
        page.get_by_label("First codes").fill("23")
        page.keyboard.press("Tab")
        page.wait_for_function(
            "document.querySelector('.ehrmem-error').textContent === 'Internal error (OSError). The last answer still stands.'",
            timeout=30_000,
        )
        run("exploration.exploration.record = record")
    whole = page.locator("body").inner_text()
    assert "Traceback" not in whole and "/secret/place" not in whole
    level(visitor, "lab_values")
    assert not strip.is_visible()


def test_every_control_has_a_name(visitor: Visitor) -> None:
    nameless = visitor.page.evaluate(
        """() => [...document.querySelectorAll('.ehrmem-screen input, .ehrmem-screen select, .ehrmem-screen button')]
        .filter(e => e.offsetParent && !(e.labels?.length || e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.textContent.trim() || e.title))
        .map(e => e.outerHTML.slice(0, 120))"""
    )
    assert nameless == []


def test_a_dead_kernel_is_seen_and_one_button_restores_the_same_question(visitor: Visitor, home: Path) -> None:
    page = visitor.page
    level(visitor, "one_lab")
    patient = visitor.status()["patient"]
    with in_kernel(home) as run, suppress(Exception):  # it cannot answer any more
        run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    page.locator(".em-dead").wait_for(timeout=60_000)
    assert page.locator(".em-main.em-not-live").count() == 1
    page.screenshot(path=SHOTS / "dead.png")
    page.locator(".jp-Dialog button").click()  # JupyterLab's own words about it
    page.get_by_role("button", name="Restore").click()
    page.wait_for_function(
        "!document.querySelector('.em-dead') || document.querySelector('.em-dead').hidden", timeout=LONG
    )
    until(visitor, knowledge="one_lab", patient=patient)


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
        dark.page.set_viewport_size({"width": 1280, "height": 800})
        dark.settled()
        level(dark, "nothing")
        assert dark.page.evaluate("document.body.dataset.jpThemeLight") == "false"
        colours = dark.page.evaluate(
            """() => { const e = document.querySelector('.ehrmem-bar');
            let p = e; while (p && getComputedStyle(p).backgroundColor === 'rgba(0, 0, 0, 0)') p = p.parentElement;
            return [getComputedStyle(e).color, getComputedStyle(p).backgroundColor]; }"""
        )
        assert _contrast(*colours) >= 4.5
        dark.page.screenshot(path=SHOTS / "dark.png")
        for name in SIZES:
            in_view_together(dark, name, f"{name}_dark")
        assert dark.errors == [] and dark.outside == []


def _contrast(a: str, b: str) -> float:
    def luminance(colour: str) -> float:
        channels = [int(x) / 255 for x in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
