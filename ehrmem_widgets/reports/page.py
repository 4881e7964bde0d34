"""An executed notebook as one HTML file that opens anywhere, offline: no code, no script, no outside link."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from ehrmem_widgets.charts.markup import escape

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none'; form-action 'none'"
)
IDENTIFYING = (
    "Identifying: internal use. This report is about one patient. Keep it where patient records are kept, and pass it "
    "on only to people who may see them."
)
_OUTSIDE = re.compile(
    r"<script|<iframe|<object|<embed|<base\b|<link\b|\bon[a-z]+\s*=\s*[\"']|@import|url\(\s*[\"']?(?!data:|#)"
    r"|\b(?:src|href|action|srcset)\s*=\s*[\"']?\s*(?!data:|#)[^\s>\"']",
    re.IGNORECASE,
)
_STYLE = """
body { margin: 0 auto; max-width: 1100px; padding: 16px 24px; color: #111; background: #fff;
  font-family: system-ui, sans-serif; font-size: 15px; line-height: 1.45; }
.mark { border: 2px solid #D55E00; padding: 8px 12px; font-weight: 600; }
.made { border-collapse: collapse; font-size: 13px; }
.made th { text-align: left; vertical-align: top; padding: 2px 12px 2px 0; font-weight: 600; white-space: nowrap; }
.made td { padding: 2px 0; overflow-wrap: anywhere; }
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  svg, table, .mark { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
@page { margin: 15mm; }
"""


def report_page(notebook: Any, *, title: str, made: Mapping[str, str]) -> str:
    """The whole HTML file. ``made`` says who made it, when and how.

    Raises RuntimeError if anything in it would reach outside the file: then it is not written at all.
    """
    return identifying_page(notebook_body(notebook), title=title, mark=IDENTIFYING, made=made)


def identifying_page(
    body: str, *, title: str, mark: str, made: Mapping[str, str], style: str = "", beside: Collection[str] = ()
) -> str:
    """A whole HTML file around a body (markup made by us), marked as identifying. ``beside``: names of files in the same folder
    to which the body links; RuntimeError if anything else in it would reach outside the file."""
    rows = "".join(f'<tr><th scope="row">{escape(k)}</th><td>{escape(v)}</td></tr>' for k, v in made.items())
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{escape(title)}</title><style>{_STYLE}{style}</style></head><body>"
        f'<p class="mark">{escape(mark)}</p><h1>{escape(title)}</h1><main>{body}</main>'
        f'<h2>How this was made</h2><table class="made"><tbody>{rows}</tbody></table></body></html>\n'
    )
    check_offline(page, beside)
    return page


def notebook_body(notebook: Any) -> str:
    """What the notebook shows, without code, prompts, warnings, and words that are for the live screen only."""
    from nbconvert import HTMLExporter
    from traitlets.config import Config

    settings = Config()
    settings.TagRemovePreprocessor.enabled = True
    settings.TagRemovePreprocessor.remove_cell_tags = {"live-only"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [
                output for output in cell.outputs if output.output_type in ("display_data", "execute_result")
            ]
    exporter = HTMLExporter(
        template_name="basic",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
        config=settings,
    )
    body, _ = exporter.from_notebook_node(notebook)
    return str(body)


def check_offline(page: str, beside: Collection[str] = ()) -> None:
    """Raise RuntimeError when a page holds a script or would load or link anything from outside itself, but for links to the files
    named in ``beside``.

    >>> check_offline('<img src="data:image/png;base64,AA"><a href="#top">')
    >>> check_offline('<img src="//cdn.example/x.png">')
    Traceback (most recent call last):
    RuntimeError: the report would not be self-contained: '<img src="//cdn.example/x.png">'
    """
    links = {f'href="{escape(name)}"' for name in beside}
    page = re.sub(r'href="[^"]*"', lambda link: "" if link[0] in links else link[0], page)
    tags = re.sub(r">[^<]*", ">", re.sub(r"(<style[^>]*>)", r"\1", page))  # text between tags is escaped: it cannot act
    for style in re.findall(r"<style[^>]*>(.*?)</style>", page, re.DOTALL | re.IGNORECASE):
        tags += f"<style {style}>"
    if found := _OUTSIDE.search(tags):
        start = max(0, found.start() - 40)
        raise RuntimeError(f"the report would not be self-contained: {tags[start : found.end() + 40]!r}")
