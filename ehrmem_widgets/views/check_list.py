"""Checks as a list: a line a check, what was found and what to do, the level in a word and a shape, never colour alone."""

from __future__ import annotations

from collections.abc import Sequence

from ehrmem_widgets.charts.markup import GREEN, ORANGE, VERMILION, escape, plural
from ehrmem_widgets.cohort.check import Check
from ehrmem_widgets.views.answer_bar import BarRow, share_of, verdict_bar

MARKS = {
    "pass": ("&#10003;", GREEN, "Passed"),
    "warn": ("!", ORANGE, "Warning"),
    "fail": ("&#10007;", VERMILION, "Failed"),
}


def check_list(checks: Sequence[Check], *, running: bool = False) -> str:
    """The answer in one glance, and the table of the checks so far."""
    return f'<div class="ehrmem">{check_bar(checks, running=running)}{check_table(checks)}</div>'


def check_table(checks: Sequence[Check]) -> str:
    """An HTML table: what failed first, then what to read, then what passed."""
    levels = list(MARKS)[::-1]
    rows = "".join(_row(check) for check in sorted(checks, key=lambda check: levels.index(check.level)))
    return f"<table><thead><tr><th>Level</th><th>What</th><th>Found</th></tr></thead><tbody>{rows}</tbody></table>"


def check_bar(checks: Sequence[Check], *, running: bool = False) -> str:
    """What the checks come to, in one glance."""
    counts = {level: sum(check.level == level for check in checks) for level in MARKS}
    worst = next((level for level in ("fail", "warn") if counts[level]), "pass")
    name = {"fail": "It cannot be audited yet", "warn": "It can be audited, with care", "pass": "It can be audited"}[
        worst
    ]
    if running and worst != "fail":
        name = "Looking"
    rows = [
        BarRow(word, share_of(counts[level], len(checks)), colour, shown=plural(counts[level], "check"))
        for level, (_, colour, word) in reversed(MARKS.items())
        if counts[level]
    ]
    still = "Further checks are running ..." if running else ""
    colour = MARKS[worst][1] if checks else ""
    return f'<div role="status">{verdict_bar(name, _said(checks, running), rows, still, about="the checks", colour=colour)}</div>'


def _row(check: Check) -> str:
    mark, colour, word = MARKS[check.level]
    todo = f'<p class="ehrmem-small"><b>To do:</b> {escape(check.todo)}</p>' if check.todo else ""
    return (
        f'<tr><td style="white-space:nowrap;border-left:4px solid {colour};padding-left:8px">{mark} {word}</td>'
        f"<th scope='row' style='white-space:nowrap'>{escape(check.name)}</th>"
        f'<td style="overflow-wrap:anywhere">{escape(check.words)}{todo}</td></tr>'
    )


def _said(checks: Sequence[Check], running: bool) -> str:
    if running and not any(check.level == "fail" for check in checks):
        return f"{plural(len(checks), 'check')} so far."
    failed, warned = (sum(check.level == level for check in checks) for level in ("fail", "warn"))
    if failed:
        return f"{plural(failed, 'check')} failed: an audit would be wrong or impossible. Read what to do below."
    if warned:
        return f"Nothing failed. {plural(warned, 'warning')}: read them before you trust an audit."
    return "Everything passed: this model can be audited on these data."
