"""A report as a PDF, printed by the Chromium, Chrome or Edge that is installed: the browser that would show it prints it best."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ehrmem_widgets.errors import BadInput

_NAMES = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge", "microsoft-edge",
    "microsoft-edge-stable",
)  # fmt: skip
_MAC = (
    "Google Chrome.app/Contents/MacOS/Google Chrome", "Chromium.app/Contents/MacOS/Chromium",
    "Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
)  # fmt: skip
_WINDOWS = ("Google/Chrome/Application/chrome.exe", "Microsoft/Edge/Application/msedge.exe")
_PAPER = "@page { size: A4; }"  # on which the summary is one page
_SECONDS = 120


def as_pdf(page: str) -> bytes:
    """A whole HTML page, printed: tagged for screen readers, with an outline. Nothing is fetched while it is printed.

    Raises BadInput, in words, where no such browser is installed or it does not print.
    """
    browser = next(_browsers(), None)
    if browser is None:
        raise BadInput(
            "A PDF is printed by Chromium, Chrome or Edge, and none was found here. Name the report like report.html, open it in "
            "any browser, and print it to a PDF there."
        )
    with tempfile.TemporaryDirectory(prefix="ehrmem-pdf-") as name:
        folder = Path(name)
        (folder / "report.html").write_text(
            page.replace("</head>", f"<style>{_PAPER}</style></head>", 1), encoding="utf-8"
        )
        words = [
            browser, "--headless", "--disable-gpu", "--no-first-run", "--disable-extensions", "--disable-background-networking",
            "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}", "--no-pdf-header-footer",
            "--generate-pdf-document-outline", f"--print-to-pdf={folder / 'report.pdf'}", (folder / "report.html").as_uri(),
        ]  # fmt: skip
        if getattr(os, "geteuid", lambda: 1)() == 0:
            words.insert(1, "--no-sandbox")  # Chromium refuses to run as root with it; the page is our own
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False)
            why = next(iter(done.stderr.strip().splitlines()[-1:]), "it said nothing")[:200]
        except subprocess.TimeoutExpired:
            why = f"it was not through in {_SECONDS} s"
        except OSError as error:
            why = str(error)
        if (folder / "report.pdf").is_file():
            return (folder / "report.pdf").read_bytes()
    raise BadInput(
        f"{Path(browser).name} did not print the report: {why}. Name it like report.html and print it from there."
    )


def _browsers() -> Iterator[str]:
    """Installed browsers that print from a command line."""
    yield from (found for name in _NAMES if (found := shutil.which(name)))
    if sys.platform == "darwin":
        places = [Path(root) / one for root in ("/Applications", Path.home() / "Applications") for one in _MAC]
    else:
        roots = [os.environ.get(name) for name in ("PROGRAMFILES", "PROGRAMFILES(X86)", "LOCALAPPDATA")]
        places = [Path(root) / one for root in roots if root for one in _WINDOWS]
    yield from (str(place) for place in places if place.is_file())
