"""The style sheet of all HTML views, once: theme variables with light fallbacks, for live, dark and report pages."""

from __future__ import annotations

from ehrmem_widgets.charts.markup import BLUE, FONT, INK, PAPER, RULE, SHADE, VERMILION

STYLE = f"""
.ehrmem, .ehrmem-known, .ehrmem-verdict, .ehrmem-continuations, .ehrmem-neighbours {{
  color: {INK}; font-family: {FONT}; font-size: 13px; line-height: 1.5; box-sizing: border-box; }}
.ehrmem {{ background: {PAPER}; max-width: 880px; padding: 4px 20px 20px; }}
.ehrmem * {{ box-sizing: border-box; }}
.ehrmem h2 {{ font-size: 21px; font-weight: 600; line-height: 1.3; margin: 16px 0 6px; }}
.ehrmem h3 {{ font-size: 15px; font-weight: 600; margin: 28px 0 8px; padding-bottom: 4px;
  border-bottom: 1px solid {RULE}; }}
.ehrmem p {{ margin: 6px 0; }}
.ehrmem table, .ehrmem-neighbours table {{ border-collapse: collapse; font-size: 12px;
  font-variant-numeric: tabular-nums; margin: 8px 0; }}
.ehrmem table {{ width: 100%; }}
.ehrmem th, .ehrmem td, .ehrmem-neighbours th, .ehrmem-neighbours td {{
  text-align: left; vertical-align: top; padding: 4px 10px 4px 0; border: 0; border-bottom: 1px solid {RULE};
  background: none; }}
.ehrmem th, .ehrmem-neighbours th {{ font-weight: 600; }}
.ehrmem tr.ehrmem-chosen > *, .ehrmem-neighbours tr.ehrmem-chosen > * {{ font-weight: 700; background: {SHADE}; }}
.ehrmem dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 2px 16px; margin: 8px 0; }}
.ehrmem dt {{ font-weight: 600; }} .ehrmem dd {{ margin: 0; overflow-wrap: anywhere; }}
.ehrmem ol.ehrmem-read, .ehrmem ul.ehrmem-limits {{ margin: 6px 0; padding-left: 22px; }}
.ehrmem-small {{ font-size: 12px; opacity: .82; }}
.ehrmem-known {{ min-height: 84px; }} .ehrmem .ehrmem-known, .ehrmem .ehrmem-verdict {{ min-height: 0; }}
  .ehrmem-known p {{ margin: 0 0 2px; }}
.ehrmem-note {{ font-size: 12px; }}
.ehrmem-warning {{ border-left: 3px solid {VERMILION}; padding-left: 8px; }}
.ehrmem-verdict {{ border: 1px solid {RULE}; border-left: 5px solid var(--ehrmem-verdict, {RULE}); border-radius: 3px;
  padding: 10px 14px; min-height: 216px; }}
.ehrmem-verdict p {{ margin: 0 0 6px; }} .ehrmem-verdict .ehrmem-said {{ font-size: 14.5px; }}
.ehrmem-verdict dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 1px 14px; margin: 6px 0 4px;
  font-size: 12px;
  font-variant-numeric: tabular-nums; }}
.ehrmem-verdict dl > dt {{ font-weight: 400; opacity: .82; float: none; width: auto; }}
.ehrmem-verdict dl > dd {{ margin: 0; padding: 0; width: auto; }}
.ehrmem-bar {{ color: {INK}; font-family: {FONT}; font-size: 13px; line-height: 1.35; border-left: 5px solid var(--ehrmem-verdict, {RULE});
  padding-left: 10px; min-height: 116px; box-sizing: border-box; }}
.ehrmem-bar .ehrmem-bar-said, .ehrmem-bar .ehrmem-bar-foot {{ margin: 0; max-width: none; }}
.ehrmem-bar-said {{ font-size: 14px; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 2; overflow: hidden; }}
.ehrmem-bar-said b {{ font-size: 16px; margin-right: 8px; }}
.ehrmem-bar-rows {{ display: grid; grid-template-columns: repeat(auto-fit, minmax(460px, 1fr)); gap: 0 20px; margin: 4px 0 3px; }}
.ehrmem-bar-rows > div {{ display: grid; grid-template-columns: 196px 180px max-content; align-items: center; gap: 8px; height: 18px;
  white-space: nowrap; }}
.ehrmem-bar-rows span {{ text-align: right; overflow: hidden; text-overflow: ellipsis; }}
.ehrmem-bar-foot {{ font-size: 12.5px; }}
@media print {{ .ehrmem-bar-said {{ display: block; }} .ehrmem-bar-rows {{ grid-template-columns: minmax(0, 1fr); }} }}
.ehrmem-continuations {{ height: 290px; overflow: auto; display: grid; grid-auto-flow: column;
  grid-auto-columns: minmax(150px, 1fr);
  gap: 0 12px; border: 1px solid {RULE}; border-radius: 3px; padding: 0 10px 8px; font-size: 12px; line-height: 1.4; }}
.ehrmem-continuations .ehrmem-heading {{ position: sticky; top: 0; background: {PAPER}; font-weight: 600;
  padding: 6px 0 4px;
  border-bottom: 1px solid {RULE}; margin: 0 0 4px; min-height: 34px; z-index: 1; }}
.ehrmem-continuations section {{ min-width: 0; }}
.ehrmem-continuations section.ehrmem-truth {{ border-left: 2px solid currentColor; padding-left: 10px; }}
.ehrmem-continuations ol {{ list-style: none; margin: 0; padding: 0; }}
.ehrmem-continuations li {{ padding: 1px 4px 1px 30px; text-indent: -30px; overflow-wrap: anywhere; }}
.ehrmem-continuations li.ehrmem-time {{ opacity: .7; font-size: 11px; }}
.ehrmem-continuations li.ehrmem-sensitive {{ font-weight: 600; background: {SHADE};
  box-shadow: inset 3px 0 {VERMILION}; }}
.ehrmem-mark {{ display: inline-block; width: 30px; text-indent: 0; letter-spacing: 1px; text-align: center;
  font-weight: 700; }}
.ehrmem-sensitive .ehrmem-mark {{ color: {VERMILION}; }}
.ehrmem-tag {{ font-size: 11px; font-weight: 400; opacity: .85; }}
.ehrmem h2.ehrmem-answer {{ font-size: 20px; margin: 10px 0 14px; }}
.ehrmem-three {{ display: grid; grid-template-columns: repeat(3, 1fr); gap: 12px; margin: 0 0 6px; }}
.ehrmem-three > div {{ border-top: 3px solid {RULE}; padding-top: 6px; }}
.ehrmem-three > div:first-child {{ border-top-color: {BLUE}; }}
.ehrmem-three > * > * {{ display: block; }} .ehrmem-three b {{ font-size: 23px; line-height: 1.25; }}
.ehrmem-three small {{ font-size: 12px; opacity: .82; }}
.ehrmem-facts {{ margin: 6px 0; padding-left: 22px; }}
@media print {{
  .ehrmem {{ max-width: none; padding: 0; }}
  .ehrmem-report, .ehrmem-report .ehrmem-small {{ font-size: 8.6pt; line-height: 1.38; }}
  .ehrmem-report h3 {{ margin: 14px 0 5px; font-size: 10.5pt; }}
  .ehrmem-report .ehrmem-three span {{ font-size: 10pt; }}
  .ehrmem-report .ehrmem-facts {{ columns: 2; }}
  .ehrmem-report dl {{ grid-template-columns: max-content 1fr max-content 1fr; font-size: 8pt; }}
  .ehrmem-report svg {{ max-height: 88mm; }} .ehrmem-report .ehrmem-map svg {{ max-height: 62mm; }} .ehrmem-report .ehrmem-answer svg {{ max-height: none; }}
  .ehrmem-continuations {{ height: auto; overflow: visible; font-size: 7.6pt; line-height: 1.28; }}
  .ehrmem svg, .ehrmem-verdict, .ehrmem tr, .ehrmem li, .ehrmem section {{ break-inside: avoid; }}
  .ehrmem section:has(.ehrmem-facts) {{ break-inside: auto; }}
  .ehrmem h2, .ehrmem h3, .ehrmem-known {{ break-after: avoid; }}
  .ehrmem, .ehrmem * {{ print-color-adjust: exact; -webkit-print-color-adjust: exact; }}
}}
"""


def style_tag() -> str:
    """The style sheet as one element: a page or dashboard shows it once, the views rely on it."""
    return f"<style>{STYLE}</style>"
