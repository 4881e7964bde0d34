"""The index of many patients' reports: who, the most severe verdict, the most severe leak, and what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ehrmem_widgets.reports.page import identifying_page
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import ALARM_RATE, Verdict
from ehrmem_widgets.views.markup import escape, icon, interval, plural

MARK = (
    "Identifying: internal use. Each line and each report is about one patient. Keep this folder where patient records are kept, "
    "and pass it on only to people who may see them."
)
GRAVEST_FIRST = (Verdict.MEMORIZED, Verdict.CANNOT_CONCLUDE, Verdict.POPULATION)
_STYLE = """
main table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
main caption { text-align: left; padding: 4px 0; }
main th, main td { text-align: left; vertical-align: top; padding: 4px 10px 4px 0; border-bottom: 1px solid #ccc; }
main tbody th { white-space: nowrap; }
"""


def row_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the index says of one report (what its JSON file holds).

    The patient's verdict is the most severe that any attribute got: memorized, then cannot conclude, then population knowledge. The
    most severe leak is the memorized attribute of the highest declared severity, among equals that of the largest excess.
    """
    attributes = report["attributes"]
    verdicts = {attribute["verdict"] for attribute in attributes}
    memorized = [attribute for attribute in attributes if attribute["verdict"] == Verdict.MEMORIZED]
    leak = max(memorized, key=lambda a: (a["severity"], a["excess"]["value"]), default=None)
    return {
        "patient": report["patient"],
        "report": f"{report['patient']}.html",
        "verdict": str(next((v for v in GRAVEST_FIRST if v in verdicts), Verdict.CANNOT_CONCLUDE)),
        "held": sum(attribute["in_record"] for attribute in attributes),
        "memorized": len(memorized),
        "gravest_leak": leak and {k: leak[k] for k in ("name", "title", "severity", "audited", "reference", "excess")},
    }


def index_page(summary: Mapping[str, Any]) -> str:
    """The whole HTML file for a ``summary.json``; it links to the reports beside it and to nothing else."""
    rows: list[dict[str, Any]] = sorted(summary["reports"], key=_gravest_first)
    body = _counts(rows, summary) + _table(rows) + _failed(summary["failed"])
    made = {
        "Made by": summary["made_by"],
        "Made at": summary["made_at"].replace("T", " ").replace("+00:00", " UTC"),
        "Data": summary["data"],
        "Audited model": summary["model"],
        "Reference model": summary["reference"] or "none",
        "Seed": str(summary["settings"]["seed"]),
        "Command": summary["command"],
        "Version": f"ehrmem {summary['settings']['ehrmem']}",
        "Handling": summary["handling"],
    }
    title = f"Memorization reports: {plural(len(rows), 'patient')}"
    return identifying_page(
        body, title=title, mark=MARK, made=made, style=_STYLE, beside=[row["report"] for row in rows]
    )


def _gravest_first(row: Mapping[str, Any]) -> tuple[Any, ...]:
    leak = row["gravest_leak"]
    grave = (-leak["severity"], -leak["excess"]["value"]) if leak else (0, 0.0)
    return (GRAVEST_FIRST.index(Verdict(row["verdict"])), *grave, row["patient"])


def _counts(rows: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> str:
    verdicts = Counter(row["verdict"] for row in rows)
    held, memorized = sum(row["held"] for row in rows), sum(row["memorized"] for row in rows)
    counts = "; ".join(f"{verdict}: {verdicts[verdict]:,}" for verdict in GRAVEST_FIRST)
    left = (
        ""
        if summary["finished"]
        else "<p><b>Unfinished: the work was interrupted. Run the same command again to resume it.</b></p>"
    )
    return (
        f"{left}<p>{escape(counts)}; failed: {len(summary['failed']):,}. A patient's verdict is the most severe that any attribute "
        "got. None of them means that the model is safe.</p>"
        f"<p>Each verdict stands alone. Of the attributes that people hold whom the model never saw, up to {100 * ALARM_RATE:.0f} % are called "
        f"memorized by chance: {ALARM_RATE * held:.1f} of the {held:,} that were asked about here. {memorized:,} "
        f"{'was' if memorized == 1 else 'were'} called so. What holds for the cohort is told by 'ehrmem audit'.</p>"
    )


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "<p>There is no report yet.</p>"
    heads = ("Patient", "Verdict", "Most severe leak", "Severity (declared, of 5)", "Audited model", "Reference model",
             "Memorized, of those held")  # fmt: skip
    head = "".join(f'<th scope="col">{escape(words)}</th>' for words in heads)
    return (
        "<table><caption>Most severe first: by verdict, then declared severity, then excess over the reference. The leak is the "
        "probability that the model names the attribute, with its 95 % interval.</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(map(_row, rows))}</tbody></table>"
    )


def _row(row: Mapping[str, Any]) -> str:
    leak = row["gravest_leak"]
    verdict = f"{icon(Verdict(row['verdict']), 14)} {escape(row['verdict'])}"
    cells = ["none called memorized", "—", "—", "—"]
    if leak:
        audited, reference = (interval(leak[side] and Estimate(**leak[side])) for side in ("audited", "reference"))
        cells = [leak["title"], str(leak["severity"]), audited, reference]
    cells.append(f"{row['memorized']} of {row['held']}")
    link = f'<a href="{escape(row["report"])}">{escape(row["patient"])}</a>'
    return (
        f'<tr><th scope="row">{link}</th><td>{verdict}</td>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
    )


def _failed(failed: Sequence[Mapping[str, Any]]) -> str:
    if not failed:
        return ""
    items = []
    for one in failed:
        name = one.get("patient") or f"Entry {one['entry']} of the list"
        kept = f" Partial notebook: {one['partial_notebook']}." if one["partial_notebook"] else ""
        items.append(f"<li><b>{escape(name)}</b>: {escape(one['reason'])}{escape(kept)}</li>")
    return f"<h2>Without a report</h2><ul>{''.join(items)}</ul><p>Run the same command to try them again.</p>"
