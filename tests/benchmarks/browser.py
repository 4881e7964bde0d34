"""What a person waits for, in a real browser: the first screen, and the first paint after a change of the dial."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.lines import Lines
from tests.browser.lab import Visitor, explore, visit
from tests.chromium import CHROMIUM, headless_chromium

PRESSES = 10
STARTS = 3
HELD = 5  # seconds
_CLOCK = """() => {
  window.paints = [];
  document.addEventListener('keydown', () => {
    const began = performance.now();
    window.firstPaint = new Promise(resolve => {
      const seen = new MutationObserver(() => {
        seen.disconnect();
        requestAnimationFrame(() => resolve(performance.now() - began));
      });
      seen.observe(document.querySelector('.em-answer'), {subtree: true, childList: true, characterData: true, attributes: true});
    });
  }, true);
  new MutationObserver(() => requestAnimationFrame(at => { if (window.paints.at(-1) !== at) window.paints.push(at); }))
    .observe(document.querySelector('.em-answer'), {subtree: true, childList: true, characterData: true});
}"""


def main(lines: Lines) -> None:
    """From the command to the skeleton, the first figures and the settled answer; from a key to the screen; none, and a word on standard
    error, where there is no Chromium."""
    if CHROMIUM is None:
        print("no chromium on this machine: the browser was not measured", file=sys.stderr)
        return
    waits: dict[str, list[float]] = {"skeleton": [], "first_figures": [], "settled": []}
    for number in range(STARTS):
        with tempfile.TemporaryDirectory() as home, headless_chromium() as chromium:
            began = time.perf_counter()
            with explore(Path(home)) as address, visit(chromium, address, wait=False) as visitor:
                for name, shown in _SHOWN.items():
                    visitor.page.locator(shown).first.wait_for(timeout=300_000)
                    waits[name].append(time.perf_counter() - began)
                if number == STARTS - 1:
                    visitor.page.evaluate(_CLOCK)
                    keys(lines, visitor)
    for name, goal in (("skeleton", "<= 4"), ("first_figures", "<= 7"), ("settled", "<= 10")):
        lines.add(f"explore_to_{name}_seconds", statistics.median(waits[name]), _span(waits[name]), STARTS, goal)


_SHOWN = {
    "skeleton": "#ehrmem-skeleton",
    "first_figures": ".ehrmem-bar-rows",
    "settled": '.ehrmem-status[data-state="settled"]',
}


def keys(lines: Lines, visitor: Visitor) -> None:
    """From a press to the first painted answer, from a settled screen each time; and a key that is held."""
    page, paints = visitor.page, []
    page.locator(".em-levels input:checked").focus()
    for number in range(PRESSES):
        page.keyboard.press("ArrowRight" if number % 2 else "ArrowLeft")
        paints.append(float(page.evaluate("window.firstPaint")))  # a promise: looking again and again would cost frames
        visitor.settled()
        page.wait_for_timeout(300)
    lines.add("first_paint_ms_p50", statistics.median(paints), _span(paints), len(paints), "<= 120")
    page.evaluate("window.paints.length = 0")
    end = time.monotonic() + HELD
    while time.monotonic() < end:
        page.keyboard.down("ArrowRight")  # again and again without an "up": as a held key repeats
        page.wait_for_timeout(60)
    page.keyboard.up("ArrowRight")
    seen, released = int(page.evaluate("window.paints.length")), time.perf_counter()
    wanted = page.locator(".em-levels input:checked").get_attribute("value")
    page.wait_for_function(
        "level => document.querySelector('.ehrmem-status').dataset.knowledge === level", arg=wanted, timeout=60_000
    )
    lines.add("held_key_paints_a_second", seen / HELD, "", seen, ">= 4")
    lines.add("held_key_right_value_seconds_after_release", time.perf_counter() - released, "", 1, "<= 2")


def _span(values: list[float]) -> str:
    return f"{min(values):.3g} to {max(values):.3g}"


if __name__ == "__main__":
    lines_ = Lines()
    main(lines_)
    lines_.finish()
