"""The system's Firefox ESR, and how every test starts it: headless, and unable to reach anything but this machine.

Playwright drives it by WebDriver BiDi, which a stock Firefox speaks. One command that Playwright sends when it opens a page is unknown to
Firefox 153: the one that sets light or dark. So Playwright starts this module as if it were Firefox; it starts Firefox, hands on what both
say, and does that one command itself, by the setting behind it.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve

FIREFOX = shutil.which("firefox-esr")
ROOT = Path(__file__).resolve().parents[1]
PREFERENCES: dict[str, str | float | bool] = {
    # Every address but this machine's goes to a proxy that is not there, and no name is looked up.
    "network.proxy.type": 1,
    "network.proxy.http": "127.0.0.1",
    "network.proxy.http_port": 9,
    "network.proxy.ssl": "127.0.0.1",
    "network.proxy.ssl_port": 9,
    "network.proxy.no_proxies_on": "127.0.0.1",
    "network.proxy.failover_direct": False,
    "network.dns.disabled": True,
    # What Playwright's own settings leave on.
    "network.captive-portal-service.enabled": False,
    "toolkit.telemetry.enabled": False,
    "toolkit.telemetry.unified": False,
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.aboutwelcome.enabled": False,
}
SCHEME = "layout.css.prefers-color-scheme.content-override"  # a page's, whatever the system's is
SCHEMES = {"dark": 0, "light": 1}
UNKNOWN = "emulation.setMediaFeaturesOverride"
OWN = 2**50  # our own commands are counted from here, Playwright's from 1


@contextmanager
def headless_firefox() -> Iterator[Any]:
    """The system's Firefox, without a window."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        start = Path(folder) / "firefox"
        start.write_text(
            f'#!/bin/sh\ncd {shlex.quote(str(ROOT))}\nexec {shlex.quote(sys.executable)} -m tests.firefox "$@"\n'
        )
        start.chmod(0o755)
        browser = playwright.firefox.launch(
            channel="moz-firefox",
            executable_path=start,
            args=["--remote-allow-system-access"],
            firefox_user_prefs=PREFERENCES,
        )
        yield browser
        browser.close()


async def _start(arguments: list[str]) -> int:
    """Firefox, behind a socket of our own."""
    assert FIREFOX is not None
    firefox = await asyncio.create_subprocess_exec(FIREFOX, *arguments, stderr=asyncio.subprocess.PIPE)
    assert firefox.stderr is not None
    addresses: list[str] = []
    async with serve(lambda one: _between(one, f"{addresses[0]}/session"), "127.0.0.1", 0, max_size=None) as server:
        port = server.sockets[0].getsockname()[1]
        async for line in firefox.stderr:
            text = line.decode(errors="replace")
            if found := re.search(r"(?<=WebDriver BiDi listening on )ws://\S+", text):
                addresses.append(found[0])
                text = text.replace(found[0], f"ws://127.0.0.1:{port}")
            print(text, end="", file=sys.stderr, flush=True)
        return await firefox.wait()


async def _between(playwright: ServerConnection, address: str) -> None:
    """Hands on what Playwright and Firefox say to each other, but for the one command."""
    numbers = itertools.count(OWN)
    waiting: dict[int, asyncio.Future[Any]] = {}

    async def answers(firefox: ClientConnection) -> None:
        async for text in firefox:
            said = json.loads(text)
            asked = waiting.pop(said.get("id"), None)
            if asked is None:
                await playwright.send(text)
            else:
                asked.set_result(said)
        await playwright.close()

    async def ask(firefox: ClientConnection, method: str, parameters: dict[str, Any]) -> Any:
        number = next(numbers)
        waiting[number] = answer = asyncio.get_running_loop().create_future()
        await firefox.send(json.dumps({"id": number, "method": method, "params": parameters}))
        said = await answer
        if said["type"] != "success":
            raise RuntimeError(said)
        return said["result"]

    async def set_scheme(firefox: ClientConnection, scheme: str | None) -> None:
        change = f"setIntPref('{SCHEME}', {SCHEMES[scheme]})" if scheme in SCHEMES else f"clearUserPref('{SCHEME}')"
        windows = await ask(firefox, "browsingContext.getTree", {"moz:scope": "chrome"})
        target = {"context": windows["contexts"][0]["context"]}
        script = {"expression": f"Services.prefs.{change}", "target": target, "awaitPromise": False}
        await ask(firefox, "script.evaluate", script)

    async with connect(address, max_size=None, proxy=None) as firefox:
        answering = asyncio.create_task(answers(firefox))
        async for text in playwright:
            said = json.loads(text)
            if said["method"] == UNKNOWN:
                await set_scheme(firefox, said["params"]["features"].get("prefers-color-scheme"))
                await playwright.send(json.dumps({"type": "success", "id": said["id"], "result": {}}))
            else:
                await firefox.send(text)
        answering.cancel()


if __name__ == "__main__":
    sys.exit(asyncio.run(_start(sys.argv[1:])))
