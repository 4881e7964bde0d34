"""Made-up results of an audit of 50,000 people, summarised into its report in a process of its own: seconds and memory; and of eight audits, compared."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.lines import Lines, peak_gb
from tests.reports.synthetic_audit import SyntheticAudit

PEOPLE = 50_000
AUDITS, COMPARED = 8, 400


def main(lines: Lines) -> None:
    """Two lines."""
    with tempfile.TemporaryDirectory() as folder:
        SyntheticAudit(PEOPLE).write(Path(folder))
        out = subprocess.run([sys.executable, "-m", __name__, folder], check=True, stdout=subprocess.PIPE, text=True)
    seconds, memory = map(float, out.stdout.split())
    lines.add("audit_report_seconds", seconds, "one run", PEOPLE, "<= 60")
    lines.add("audit_report_memory_gb", memory, "one run", PEOPLE, "<= 1.5")


def compared(lines: Lines) -> None:
    """``ehrmem compare`` of eight audits by all tests, from the command to the written page."""
    with tempfile.TemporaryDirectory() as folder:
        audits = [
            SyntheticAudit(COMPARED, effect=place / 20).write(Path(folder) / f"audit_{place}")
            for place in range(AUDITS)
        ]
        page = Path(folder) / "page.html"
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "ehrmem_widgets.cli", "compare", *map(str, audits), "--out", str(page)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        seconds = time.perf_counter() - began
        assert f"{AUDITS} audits side by side" in page.read_text()
    lines.add(f"compare_of_{AUDITS}_audits_seconds", seconds, "one run", COMPARED, "<= 20")


def run(folder: Path) -> None:
    """Make the page, as the command does."""
    began = time.perf_counter()
    from ehrmem_widgets.reports.audit_page import audit_page

    page = audit_page(folder)
    assert len(page) > 100_000
    print(time.perf_counter() - began, peak_gb())


if __name__ == "__main__":
    run(Path(sys.argv[1]))
