"""The one HTML file with four models and forty patients: its size, what a person waits for, and how long the page is blocked, in headless Chromium."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from ehrmem_widgets.explorable.page import make_page
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_moderate, sample_private, sample_reference
from tests.benchmarks.lines import Lines
from tests.chromium import CHROMIUM, headless_chromium

STARTS = 3
_BLOCKS = """
  window.blocks = [];
  new PerformanceObserver((seen) => window.blocks.push(...seen.getEntries().map((one) => one.duration))).observe({ type: "longtask", buffered: true });
"""


def main(lines: Lines) -> None:
    """Megabytes, seconds to the first and to the settled answer after opening, and the page's longest block in milliseconds."""
    if CHROMIUM is None:
        print("no chromium on this machine: the page was not measured", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "lesson.html"
        models = [sample_model(), sample_moderate(), sample_private()]
        size = make_page(out, data=sample_data(), models=models, reference=sample_reference(), lesson=True)
        lines.add("explorable_megabytes", size / 1e6, "four models, 40 patients", 1, "<= 12")
        first, settled, blocks = [], [], []
        for _ in range(STARTS):
            with headless_chromium() as chromium:
                page = chromium.new_context(offline=True).new_page()
                page.add_init_script(_BLOCKS)
                began = time.perf_counter()
                page.goto(out.as_uri())
                page.locator(".bar .rows b").first.wait_for(timeout=120_000)
                first.append(time.perf_counter() - began)
                page.locator(".bar[aria-busy=false]").wait_for(timeout=300_000)
                settled.append(time.perf_counter() - began)
                blocks.append(max(page.evaluate("window.blocks"), default=0.0))
    for name, found, goal in (
        ("explorable_first_answer_seconds", first, "<= 1.5"),
        ("explorable_settled_answer_seconds", settled, "<= 3"),
        ("explorable_longest_block_ms", blocks, "<= 50"),
    ):
        lines.add(name, statistics.median(found), f"{min(found):.3g} to {max(found):.3g}", STARTS, goal)
