"""A real JupyterLab on the main screen, started as a user starts it, and a headless Chromium that reaches nothing else."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SERVE = (
    "from ehrmem_widgets.jupyterlab_autorun.serve import serve; "
    "from ehrmem_widgets.reports.patient_report import NOTEBOOKS; "
)
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
HERE = re.compile(r"(https?|wss?)://127\.0\.0\.1[:/]|data:|blob:|about:")


def with_parameters(notebook: str, home: Path, **values: Any) -> Path:
    """A copy of a notebook, in a folder of that home, whose parameters have other defaults."""
    content = json.loads((NOTEBOOKS / notebook).read_text(encoding="utf-8"))
    cell = next(cell for cell in content["cells"] if cell["id"] == "parameters")
    source = "".join(cell["source"])
    for name, value in values.items():
        source, changed = re.subn(rf"(?m)^({name}: \w+ = )\S+", lambda found, v=value: f"{found[1]}{v!r}", source)
        assert changed == 1, name
    cell["source"] = source
    copy = home / "notebooks" / notebook
    copy.parent.mkdir(exist_ok=True)
    copy.write_text(json.dumps(content), encoding="utf-8")
    return copy


@contextmanager
def explore(home: Path, *, overrides: str | None = None, notebook: str = "") -> Iterator[str]:
    """``ehrmem explore`` in a home of its own; yields the address that it prints. ``overrides``: JupyterLab settings, as
    JSON by schema. ``notebook``: the path of another notebook than the main screen's."""
    if overrides is not None:
        for schema, settings in _settings(overrides):
            path = home / "settings" / schema
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(settings)
    command = ["-m", "ehrmem_widgets.cli", "explore", "--no-browser"]
    if notebook:
        command = ["-c", f"{_SERVE}serve(NOTEBOOKS / {notebook!r}, browser=False)"]
    with serving([sys.executable, *command], home) as address:
        yield address


@contextmanager
def serving(command: list[str], home: Path) -> Iterator[str]:
    """The address that a server prints; Ctrl-C must end it cleanly."""

    def hear_ctrl_c() -> None:  # what a script starts in the background ignores it, and so would the server
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=private(home), preexec_fn=hear_ctrl_c)
    assert server.stdout is not None
    try:
        address = next(found[0] for line in server.stdout if (found := re.search(r"http://\S+", line)))
        _wait_until_it_answers(int(address.split(":")[2].split("/")[0]))
        yield address
    finally:
        server.send_signal(signal.SIGINT)
        try:
            code = server.wait(30)
        except subprocess.TimeoutExpired:
            server.kill()
            raise
    assert code == 0, f"the server ended with {code}"


def private(home: Path) -> dict[str, str]:
    """An environment in which nothing of this user's is read or written."""
    return {
        **os.environ,
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_CONFIG_HOME": str(home / "xdg"),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_STATE_HOME": str(home / "state"),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "jupyter"),
        "JUPYTER_RUNTIME_DIR": str(home / "run"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
    }


@contextmanager
def in_kernel(home: Path) -> Iterator[Callable[[str], None]]:
    """Runs code in the one kernel of that home: for faults that the screen itself offers no way to."""
    from jupyter_client.blocking import BlockingKernelClient

    client = BlockingKernelClient()
    client.load_connection_file(str(next((home / "run").glob("kernel-*.json"))))
    client.start_channels()

    def run(code: str) -> None:
        reply = client.execute_interactive(code, silent=True, timeout=60)
        assert reply["content"]["status"] == "ok", reply["content"]

    try:
        client.wait_for_ready(timeout=60)
        yield run
    finally:
        client.stop_channels()


_LABS_OWN = "Canceled future for kernel_info_request"
"""What JupyterLab itself throws, on a busy machine, where a kernel is ended before it has said what it is."""


class Visitor:
    """A page on the main screen, which notes every error and every request to the outside (and lets none through)."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.errors: list[str] = []
        self.outside: list[str] = []
        page.on("pageerror", lambda error: _LABS_OWN in str(error) or self.errors.append(str(error)))
        page.route(lambda url: not HERE.match(url), self._refuse)
        page.on("websocket", lambda socket: HERE.match(socket.url) or self.outside.append(socket.url))

    def _refuse(self, route: Any) -> None:
        self.outside.append(route.request.url)
        route.abort()

    def settled(self, timeout: float = 120) -> dict[str, str]:
        """Wait for a settled answer; the status line's patient and knowledge."""
        self.page.locator('.ehrmem-status[data-state="settled"]').wait_for(timeout=timeout * 1000)
        return self.status()

    def status(self) -> dict[str, str]:
        """The patient, the knowledge level and the state that the status line shows."""
        return dict(self.page.evaluate("({...document.querySelector('.ehrmem-status').dataset})"))

    def html(self, selector: str) -> str:
        """What an element shows."""
        return str(self.page.locator(selector).first.inner_html())

    def changed(self, selector: str, before: str, timeout: float = 60) -> None:
        """Wait until an element shows something else."""
        self.page.wait_for_function(
            "([s, b]) => document.querySelector(s) && document.querySelector(s).innerHTML !== b",
            arg=[selector, before],
            timeout=timeout * 1000,
        )


@contextmanager
def visit(browser: Any, address: str, *, first: bool = False, wait: bool = True) -> Iterator[Visitor]:
    """Open the address on a page of its own; ``first``: as on the first visit, which begins with the tour; ``wait``: until all of it is loaded."""
    page = browser.new_page(viewport={"width": 1440, "height": 1500})
    if not first:
        page.add_init_script("try { localStorage.setItem('ehrmem: the tour was seen', 'yes') } catch {}")
    visitor = Visitor(page)
    page.goto(address, wait_until="load" if wait else "commit")
    yield visitor
    page.close()


def in_view(visitor: Visitor, selector: str, share: float) -> None:
    """At least this share of an element's height is inside the window, and all of its width, as the page stands."""
    box = visitor.page.locator(selector).first.bounding_box()
    window = visitor.page.viewport_size
    assert box["y"] >= 0 and box["x"] >= 0 and box["x"] + box["width"] <= window["width"] + 1, (selector, box)
    assert (min(window["height"], box["y"] + box["height"]) - box["y"]) / box["height"] >= share, (selector, box)


def _settings(overrides: str) -> list[tuple[str, str]]:
    return [(schema, json.dumps(settings)) for schema, settings in json.loads(overrides).items()]


def _wait_until_it_answers(port: int, seconds: float = 30) -> None:
    """The address is printed a moment before the server listens."""
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
