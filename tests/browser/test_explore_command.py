"""What `ehrmem explore` starts: one notebook that runs by itself, on this computer only, and nothing asked of the outside."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from ehrmem_widgets.jupyterlab_autorun.serve import options, without_outputs
from tests.browser.lab import serving, visit

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
    with serving([sys.executable, "-c", SERVE, str(path)], tmp_path) as printed:
        yield printed


@pytest.mark.browser
def test_the_notebook_runs_without_a_click_and_nothing_leaves(chromium: Any, address: str, tmp_path: Path) -> None:
    assert re.match(r"http://127\.0\.0\.1:\d+/doc/workspaces/ehrmem/tree/one\.ipynb\?token=[0-9a-f]{48}$", address)
    asked: list[str] = []
    with visit(chromium, "about:blank") as visitor:
        visitor.page.on("request", lambda request: asked.append(request.url))
        visitor.page.goto(address, wait_until="commit")
        visitor.page.locator("#ehrmem-skeleton").wait_for(timeout=60_000)  # stands there before JupyterLab does
        assert visitor.page.locator(".jp-Notebook").count() == 0
        visitor.page.get_by_text("it ran: 42").wait_for(timeout=60_000)
        assert visitor.page.locator("#ehrmem-skeleton").count() == 0
        kernels = visitor.page.evaluate(
            "fetch('/lab/api/settings/@jupyterlab/apputils-extension:kernels-settings').then((answer) => answer.json())"
        )
        assert kernels["schema"]["properties"]["commsOverSubshells"]["default"] == "disabled"
        visitor.page.keyboard.press("Control+s")
        visitor.page.wait_for_timeout(1500)
        with pytest.raises(HTTPError, match="403"):  # no way in without the token
            urlopen(address.split("/doc/")[0] + "/api/contents", timeout=10)
    assert visitor.errors == [] and visitor.outside == []
    assert asked and [url for url in asked if re.search(r"lab/api/(news|update|extensions)", url)] == []
    assert "it ran: 42" not in (tmp_path / "notebooks" / "one.ipynb").read_text()


def test_options_keep_the_server_private(tmp_path: Path) -> None:
    given = options(tmp_path / "one.ipynb", None, False, token="secret")
    assert "--ServerApp.ip=127.0.0.1" in given and "--IdentityProvider.token=secret" in given
    assert "--ServerApp.terminals_enabled=False" in given
    assert (
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate" in given and "--LabApp.news_url=None" in given
    )


def test_only_our_notebooks_lose_their_outputs_when_saved() -> None:
    for ours in (True, False):
        cell = {"cell_type": "code", "outputs": ["shown"], "execution_count": 1}
        content = {"metadata": {"ehrmem": {}} if ours else {}, "cells": [cell]}
        without_outputs({"type": "notebook", "content": content})
        assert cell["outputs"] == ([] if ours else ["shown"])
