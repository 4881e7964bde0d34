"""The page's JavaScript modules in a headless browser, as they are, to be compared with Python's numbers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ehrmem_widgets.explorable

FOLDER = Path(ehrmem_widgets.explorable.__file__).parent
ORIGIN = "http://explorable.test/"  # no such host: the test itself answers for it
Run = Callable[[str, object], Any]

_SCRIPT = """async () => {{
  const data = await (await fetch("{name}")).json();
  const plain = (_, value) => (ArrayBuffer.isView(value) ? Array.from(value) : value);
  return JSON.stringify(await (async () => {{ {script} }})(), plain);
}}"""


@contextmanager
def modules_in(browser: Any, headers: dict[str, str] | None = None) -> Iterator[Run]:
    """Runs a script, which may import the page's modules, with ``data``; gives what it returns, through JSON both ways. ``headers``: of
    the page itself."""
    page = browser.new_page()
    given: dict[str, str] = {}

    def answer(route: Any) -> None:
        name = route.request.url.removeprefix(ORIGIN)
        if name in given:
            route.fulfill(body=given[name], content_type="application/json")
        elif name.endswith(".js"):
            route.fulfill(path=FOLDER / name, content_type="text/javascript")
        else:
            route.fulfill(body="<!doctype html>", content_type="text/html", headers=headers)

    page.route(f"{ORIGIN}**", answer)
    page.goto(ORIGIN)

    def run(script: str, data: object = None) -> Any:
        name = f"data{len(given)}.json"
        given[name] = json.dumps(data, allow_nan=False)
        return json.loads(page.evaluate(_SCRIPT.format(name=name, script=script)))

    yield run
    page.close()
