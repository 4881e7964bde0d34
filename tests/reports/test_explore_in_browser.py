"""What `ehrmem explore` starts: one notebook that runs by itself, on this computer only, and nothing asked of the outside."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from ehrmem_widgets.jupyterlab_autorun.serve import options, without_outputs

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
SERVE = "import sys; from pathlib import Path; from ehrmem_widgets.jupyterlab_autorun.serve import serve\n"
SERVE += "serve(Path(sys.argv[1]), browser=False)"


def notebook(path: Path, *, autorun: bool) -> Path:
    cell = {
        "cell_type": "code",
        "id": "one",
        "metadata": {},
        "source": "print('it ran:', 6 * 7)",
        "outputs": [],
        "execution_count": None,
    }
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about = {"kernelspec": kernel, "ehrmem": {"autorun": autorun}}
    path.write_text(json.dumps({"cells": [cell], "metadata": about, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The address that the server prints, for a notebook of one cell."""
    (tmp_path / "notebooks").mkdir()
    path = notebook(tmp_path / "notebooks" / "one.ipynb", autorun=True)
    outside = {
        "HOME": str(tmp_path),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "IPYTHONDIR": str(tmp_path / "i"),
    }
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(path)], stdout=subprocess.PIPE, text=True, env={**os.environ, **outside}
    )
    assert server.stdout is not None
    try:
        yield next(found[0] for line in server.stdout if (found := re.search(r"http://\S+", line)))
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0


@pytest.mark.browser
def test_the_notebook_runs_without_a_click_and_nothing_leaves(address: str, tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    from playwright.sync_api import sync_playwright

    assert re.match(r"http://127\.0\.0\.1:\d+/lab/workspaces/ehrmem/tree/one\.ipynb\?token=[0-9a-f]{48}$", address)
    with pytest.raises(HTTPError, match="403"):  # no way in without the token
        urlopen(address.split("/lab/")[0] + "/api/contents", timeout=10)
    asked: list[str] = []
    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.get_by_text("it ran: 42").wait_for(timeout=60_000)
        page.keyboard.press("Control+s")
        page.wait_for_timeout(1500)
        browser.close()
    assert errors == []
    assert [url for url in asked if not url.startswith(("http://127.0.0.1:", "data:", "blob:"))] == []
    assert [url for url in asked if re.search(r"lab/api/(news|update|extensions)", url)] == []
    assert "it ran: 42" not in (tmp_path / "notebooks" / "one.ipynb").read_text()


def test_options_keep_the_server_private(tmp_path: Path) -> None:
    given = options(tmp_path / "one.ipynb", None, False, token="secret")
    assert "--ServerApp.ip=127.0.0.1" in given and "--IdentityProvider.token=secret" in given
    assert (
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate" in given and "--LabApp.news_url=None" in given
    )


def test_only_our_notebooks_lose_their_outputs_when_saved() -> None:
    for ours in (True, False):
        cell = {"cell_type": "code", "outputs": ["shown"], "execution_count": 1}
        content = {"metadata": {"ehrmem": {}} if ours else {}, "cells": [cell]}
        without_outputs({"type": "notebook", "content": content})
        assert cell["outputs"] == ([] if ours else ["shown"])
