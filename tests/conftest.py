"""Shared by all tests: the thread cap, the real data's folder, and a loud account of what was not run."""

from __future__ import annotations

import os

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before anything imports torch: a thread that waits for a core costs most

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chromium import CHROMIUM, headless_chromium
from tests.firefox import FIREFOX, headless_firefox

ROOT = Path(__file__).resolve().parents[1]
NEEDS = {"browser": "needs a browser", "shared_data": "needs the real demonstration data"}
BROWSERS = {"chromium": (CHROMIUM, headless_chromium), "firefox-esr": (FIREFOX, headless_firefox)}


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real demonstration data: ``$EHRMEM_SHARED_DATA``, else ``../shared/data`` beside the checkout."""
    named = os.environ.get("EHRMEM_SHARED_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        where = f"EHRMEM_SHARED_DATA={named} is not a folder" if named else "no ../shared/data beside the checkout"
        pytest.skip(f"real demonstration data absent: {where}; set EHRMEM_SHARED_DATA to its folder")
    return folder


@pytest.fixture(scope="session", autouse=True)
def nothing_of_this_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What screens keep for the next one is kept apart from this user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(autouse=True)
def nothing_has_left(nothing_of_this_user: None) -> None:
    """No report of another test has left before."""
    shutil.rmtree(Path(os.environ["XDG_STATE_HOME"]) / "ehrmem" / "released", ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Longest files first (those with most tests marked slow or browser), so that no worker is left alone with one at the end.
    xdist keeps this order under ``--no-loadscope-reorder``."""
    long = Counter(item.path for item in items if any(map(item.get_closest_marker, ("slow", "browser"))))
    items.sort(key=lambda item: -long[item.path])  # stable: within a file, the order stays


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The system's Chromium, one for each module (Playwright allows one at a time); skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with headless_chromium() as browser:
        yield browser


@pytest.fixture(scope="module", params=BROWSERS)
def browser(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The system's Chromium, and after it Firefox ESR, for tests that both must pass; skipped where there is none."""
    program, headless = BROWSERS[request.param]
    if program is None:
        pytest.skip(f"no {request.param} on this machine")
    with headless() as started:
        yield started


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly, by reason, which tests this machine could not run: a skip must never look like a pass."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    terminalreporter.section(f"NOT RUN HERE: {len(skipped)} tests", sep="!", yellow=True, bold=True)
    for (need, reason), count in sorted(Counter(_need_and_reason(report) for report in skipped).items()):
        terminalreporter.write_line(f"{count:5d} x {need}{reason}", yellow=True)


def _need_and_reason(report: pytest.TestReport | pytest.CollectReport) -> tuple[str, str]:
    """The mark that explains the skip (or nothing), and the reason given."""
    longrepr = report.longrepr
    reason = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    need = next((f"[{text}] " for mark, text in NEEDS.items() if mark in report.keywords), "")
    return need, str(reason).removeprefix("Skipped: ")
