"""What a person waits for, in a real browser: the first screen, and the first paint after a change of the dial."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.lines import Lines
from tests.browser.lab import explore, visit
from tests.chromium import CHROMIUM, headless_chromium

PRESSES = 10
STARTS = 3
_CLOCK = """() => {
  const screen = document.querySelector('.ehrmem-screen');
  document.addEventListener('keydown', () => {
    const began = performance.now();
    window.firstPaint = new Promise(resolve => {
      const seen = new MutationObserver(changes => {
        if (!changes.some(c => c.target.closest && c.target.closest('.widget-html-content, .jupyter-widgets')
                               && c.target.querySelector && c.target.querySelector('.ehrmem-status'))) return;
        seen.disconnect();
        requestAnimationFrame(() => resolve(performance.now() - began));
      });
      seen.observe(screen, {subtree: true, childList: true});
    });
  }, true);
}"""


def main(lines: Lines) -> None:
    """Two lines; none, and a word on standard error, where there is no Chromium."""
    if CHROMIUM is None:
        print("no chromium on this machine: the browser was not measured", file=sys.stderr)
        return
    starts: list[float] = []
    paints: list[float] = []
    for number in range(STARTS):
        with tempfile.TemporaryDirectory() as home:
            began = time.perf_counter()
            with headless_chromium() as chromium, explore(Path(home)) as address, visit(chromium, address) as visitor:
                visitor.page.locator(".ehrmem-verdict").first.wait_for(timeout=120_000)
                starts.append(time.perf_counter() - began)
                if number == STARTS - 1:
                    visitor.settled()
                    paints = first_paints(visitor.page, visitor)
    lines.add(
        "explore_to_first_screen_seconds",
        statistics.median(starts),
        f"{min(starts):.3g} to {max(starts):.3g}",
        len(starts),
        "<= 20",
    )
    lines.add(
        "first_paint_ms_p50",
        statistics.median(paints),
        f"{min(paints):.3g} to {max(paints):.3g}",
        len(paints),
        "<= 150",
    )


def first_paints(page, visitor) -> list[float]:  # type: ignore[no-untyped-def]
    """Milliseconds from a key press on the dial to the first painted answer, from a settled screen each time."""
    page.evaluate(_CLOCK)
    page.locator(".ehrmem-screen .noUi-handle").first.focus()
    found = []
    for _ in range(PRESSES):
        page.keyboard.press("ArrowRight")
        found.append(float(page.evaluate("window.firstPaint")))  # a promise: looking again and again would cost frames
        visitor.settled()
        page.wait_for_timeout(300)
    return found


if __name__ == "__main__":
    lines_ = Lines()
    main(lines_)
    lines_.finish()
