"""A headless Chromium for each module of browser tests (Playwright allows one at a time)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.lab import CHROMIUM, headless_chromium


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The system's Chromium; the test is skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    with headless_chromium() as browser:
        yield browser
