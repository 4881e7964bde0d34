"""Checks as a list: a line a check, what was found and what to do, the level in a word and a shape, never colour alone."""

from __future__ import annotations

from collections.abc import Sequence

from ehrmem_widgets.charts.markup import GREEN, ORANGE, VERMILION, escape, plural
from ehrmem_widgets.cohort.check import Check

MARKS = {
    "pass": ("&#10003;", GREEN, "Passed"),
    "warn": ("!", ORANGE, "Warning"),
    "fail": ("&#10007;", VERMILION, "Failed"),
}


def check_list(checks: Sequence[Check], *, running: bool = False) -> str:
    """An HTML table of the checks so far, with a sentence above that says what they come to."""
    rows = "".join(_row(check) for check in checks)
    return (
        f'<div class="ehrmem"><p role="status"><b>{escape(_said(checks, running))}</b></p>'
        f"<table><thead><tr><th>Level</th><th>What</th><th>Found</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(check: Check) -> str:
    mark, colour, word = MARKS[check.level]
    todo = f'<p class="ehrmem-small"><b>To do:</b> {escape(check.todo)}</p>' if check.todo else ""
    return (
        f'<tr><td style="white-space:nowrap;border-left:4px solid {colour};padding-left:8px">{mark} {word}</td>'
        f"<th scope='row' style='white-space:nowrap'>{escape(check.name)}</th>"
        f'<td style="overflow-wrap:anywhere">{escape(check.words)}{todo}</td></tr>'
    )


def _said(checks: Sequence[Check], running: bool) -> str:
    if running:
        return f"Looking … {plural(len(checks), 'check')} so far."
    failed, warned = (sum(check.level == level for check in checks) for level in ("fail", "warn"))
    if failed:
        return f"{plural(failed, 'check')} failed: an audit would be wrong or impossible. Read what to do below."
    if warned:
        return f"Nothing failed. {plural(warned, 'warning')}: read them before you trust an audit."
    return "Everything passed: this model can be audited on these data."
