"""The frame of a static page about a cohort: one offline file, light and dark, with a running header on every printed page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ehrmem_widgets.reports.page import POLICY, check_offline
from ehrmem_widgets.views.markup import escape

_STYLE = """
:root { color-scheme: light dark; --jp-ui-font-color1: #111; --jp-layout-color1: #fff; --jp-layout-color2: #f2f2f2;
  --jp-border-color2: #bbb; --mark: #8a3b00; }
@media screen and (prefers-color-scheme: dark) { :root { --jp-ui-font-color1: #eee; --jp-layout-color1: #181818;
  --jp-layout-color2: #2a2a2a; --jp-border-color2: #666; --mark: #ffb27a; } }
* { box-sizing: border-box; }
body { margin: 0; color: var(--jp-ui-font-color1); background: var(--jp-layout-color1);
  font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; }
.sheet, .sheet > thead, .sheet > tbody, .sheet > thead > tr, .sheet > tbody > tr, .sheet > thead > tr > td, .sheet > tbody > tr > td {
  display: block; padding: 0; border: 0; }
.sheet { max-width: 1040px; margin: 0 auto; padding: 0 24px 48px; }
.running { padding: 10px 0 6px; border-bottom: 1px solid var(--jp-border-color2); font-size: 13px; }
.running p { margin: 0; } .running .mark { font-weight: 700; color: var(--mark); }
a { color: inherit; }
.skip { position: absolute; left: -999px; } .skip:focus { position: static; }
h1 { font-size: 26px; line-height: 1.25; margin: 20px 0 4px; }
h2 { font-size: 20px; line-height: 1.3; margin: 40px 0 8px; padding-top: 12px; border-top: 2px solid var(--jp-ui-font-color1); }
h3 { font-size: 15.5px; margin: 20px 0 4px; }
p, ul, ol { margin: 6px 0; } ul, ol { padding-left: 22px; }
nav ol { columns: 2; font-size: 14px; }
table { border-collapse: collapse; }
main table { width: 100%; margin: 12px 0; font-size: 13px; line-height: 1.4; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 4px 0; }
main th, main td { text-align: left; vertical-align: top; padding: 4px 10px 4px 0; border-bottom: 1px solid var(--jp-border-color2);
  overflow-wrap: break-word; }
main th { font-weight: 600; }
.ehrmem-matrix th, .ehrmem-matrix td { border: 1px solid var(--jp-border-color2); padding: 4px 8px; }
.ehrmem-matrix th[scope=row] { width: 9%; } .ehrmem-matrix th { min-width: 70px; }
.ehrmem-matrix p { margin: 0 0 5px; }
.ehrmem-matrix td:last-child { background: var(--jp-layout-color2); }
.ehrmem-attacks td, .ehrmem-attacks th:not(:first-child) { text-align: right; }
.verdicts td:first-of-type { white-space: nowrap; } .verdicts th:first-child { width: 17%; } .verdicts th:last-child { width: 9%; }
.box { border: 1px solid var(--jp-border-color2); border-left: 5px solid var(--jp-ui-font-color1); padding: 6px 14px; margin: 10px 0; }
.small, figcaption { font-size: 13px; }
figure { margin: 14px 0; } figure svg { max-width: 100%; height: auto; }
.made td { overflow-wrap: anywhere; } .made th { width: 190px; }
code { font-size: 12px; overflow-wrap: anywhere; }
@page { margin: 10mm 12mm 12mm; @bottom-right { content: counter(page) " / " counter(pages); font: 8pt sans-serif; } }
@media print {
  :root { color-scheme: light; }
  body { font-size: 9.5pt; line-height: 1.38; }
  .sheet { display: table; width: 100%; max-width: none; padding: 0; }
  .sheet > thead { display: table-header-group; } .sheet > tbody { display: table-row-group; }
  .sheet > thead > tr, .sheet > tbody > tr { display: table-row; }
  .sheet > thead > tr > td, .sheet > tbody > tr > td { display: table-cell; }
  .running { padding: 0 0 2px; margin-bottom: 6px; font-size: 8pt; }
  nav, .skip { display: none; }
  h1 { font-size: 13pt; margin: 2px 0; } h2 { font-size: 12.5pt; margin: 16px 0 4px; padding-top: 6px; } h3 { font-size: 10pt; margin: 8px 0 2px; }
  p, ul, ol { margin: 3px 0; }
  main table { font-size: 8pt; line-height: 1.3; margin: 6px 0; } main th, main td { padding: 2px 6px 2px 0; }
  .small, figcaption { font-size: 8pt; }
  .page { break-after: page; }
  .page h2 { display: none; } .page h3 { font-size: 9pt; margin: 5px 0 1px; } .page p, .page li { font-size: 7.6pt; line-height: 1.24; margin: 2px 0; }
  .page table { font-size: 7.2pt; line-height: 1.22; margin: 3px 0; } .page .box { padding: 2px 8px; margin: 3px 0; } .page caption { padding: 0; }
  .page .ehrmem-matrix p { margin: 0 0 2px; font-size: 7.2pt; } .page .ehrmem-matrix th, .page .ehrmem-matrix td { padding: 1px 4px; }
  figure, main table, tr, .box, li { break-inside: avoid; } h1, h2, h3, caption { break-after: avoid; }
  figure svg { max-height: 200mm; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


def sheet(
    body: str, *, title: str, running: str, marks: Sequence[str] = (), contents: Mapping[str, str] | None = None
) -> str:
    """The whole HTML file. ``body`` is markup of our own for the main part; ``running`` stands at the head of every page, and so do
    ``marks``; ``contents``: section's id to its title.

    Raises RuntimeError if anything in it would reach outside the file.
    """
    marked = "".join(f'<p class="mark">{escape(mark)}</p>' for mark in marks)
    listed = "".join(
        f'<li><a href="#{escape(name)}">{escape(words)}</a></li>' for name, words in (contents or {}).items()
    )
    nav = f'<nav aria-label="Contents"><ol>{listed}</ol></nav>' if listed else ""
    # A table, because its head is what every browser repeats on each printed page; on the screen it is not a table at all.
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" '
        'content="no-referrer">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        '<table class="sheet" role="presentation"><thead><tr><td><header class="running">'
        f'<a class="skip" href="#main">To the report</a><p>{escape(running)}</p>{marked}</header></td></tr></thead>'
        "<tbody><tr><td><main "
        f'id="main"><h1>{escape(title)}</h1>{nav}{body}</main></td></tr></tbody></table></body></html>\n'
    )
    check_offline(page)
    return page
