"""A page with one anywidget front end and a stand-in for the model, so that it runs without a kernel."""

from __future__ import annotations

import json
from typing import Any

DARK = (
    ":root{--jp-ui-font-color1:rgba(255,255,255,.87);--jp-layout-color1:#111;--jp-layout-color2:#272727;"
    "--jp-border-color1:#757575;--jp-border-color2:#545454;--jp-border-color3:#3a3a3a;color-scheme:dark}"
)
MODEL = """{
window.saves = []; const handlers = {};
window.model = {
  state: STATE,
  get(name) { return this.state[name]; },
  set(name, value) { this.state[name] = value; (handlers[`change:${name}`] || []).forEach((f) => f()); },
  save_changes() { window.saves.push(JSON.stringify(this.state.facts)); },
  on(name, f) { (handlers[name] ||= []).push(f); },
  off(name, f) { handlers[name] = (handlers[name] || []).filter((g) => g !== f); },
};
const raw = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
for (const name of BYTES) window.model.state[name] = raw(window.model.state[name]);
}"""


def page(esm: str, state: dict[str, Any], *, css: str = "", dark: bool = False, binary: tuple[str, ...] = ()) -> str:
    """The page's HTML; ``window.model`` is the stand-in and ``window.saves`` what it was asked to save. Values named in
    ``binary`` are given as base64 text."""
    as_data = json.dumps(state).replace("<", "\\u003c")
    model = MODEL.replace("STATE", as_data).replace("BYTES", json.dumps(binary))
    run = esm.replace(
        "export default { render };",
        "window.cleanup = render({ model: window.model, el: document.querySelector('#el') });",
    )
    theme = DARK if dark else ""
    return (
        f"<!doctype html><meta "
        f"charset=utf-8><style>{theme}body{{background:var(--jp-layout-color1,#fff);margin:12px}}{css}</style>"
        f"<div id=el></div><script>{model}</script><script type=module>{run}</script>"
    )
