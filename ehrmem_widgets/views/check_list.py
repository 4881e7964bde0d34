"""Checks as a list: a line a check, what was found and what to do, the level in a word and a shape, never colour alone."""

from __future__ import annotations

from collections.abc import Sequence

from ehrmem_widgets.charts.markup import GREEN, ORANGE, VERMILION, escape, plural
from ehrmem_widgets.cohort.check import Check
from ehrmem_widgets.probes.answerable import Answerable, things_to_do
from ehrmem_widgets.probes.needs import Can
from ehrmem_widgets.views.answer_bar import BarRow, share_of, verdict_bar

MARKS = {
    "pass": ("&#10003;", GREEN, "Passed"),
    "warn": ("!", ORANGE, "Warning"),
    "fail": ("&#10007;", VERMILION, "Failed"),
}


CAN = {
    Can.NO: ("&#10007;", VERMILION, "No"),
    Can.IN_PART: ("!", ORANGE, "In part"),
    Can.YES: ("&#10003;", GREEN, "Yes"),
}


_ANSWERS = {
    "stopped": "cannot be audited yet", "fail": "can be audited in part", "warn": "can be audited, with care", "pass": "can be audited",
}  # fmt: skip


def check_list(checks: Sequence[Check], tests: Sequence[Answerable] = (), *, running: bool = False) -> str:
    """The answer in one glance, what can be done test by test, and the table of the checks so far."""
    return f'<div class="ehrmem">{check_bar(checks, tests, running=running)}{check_tables(checks, tests)}</div>'


def check_tables(checks: Sequence[Check], tests: Sequence[Answerable]) -> str:
    """Which tests can be done, and the checks; the other way round where a check stops all of them."""
    tables = [tests_table(tests), check_table(checks)]
    return "".join(tables[::-1] if _stopped(checks) else tables)


def tests_table(tests: Sequence[Answerable]) -> str:
    """An HTML table of which tests can be done: those that cannot first; below it what to do, each thing once."""
    if not tests:
        return ""
    order = list(CAN)
    rows = "".join(_test_row(one) for one in sorted(tests, key=lambda one: order.index(one.can)))
    todo = "".join(
        f'<p class="ehrmem-small"><b>To do for {escape(", ".join(names))}:</b> {escape(words)}</p>'
        for words, names in things_to_do(tests).items()
    )
    head = "<tr><th>Can be done</th><th>Test</th><th>Why</th></tr>"
    return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>{todo}"


def check_table(checks: Sequence[Check]) -> str:
    """An HTML table: what failed first, then what to read, then what passed."""
    levels = list(MARKS)[::-1]
    rows = "".join(_row(check) for check in sorted(checks, key=lambda check: levels.index(check.level)))
    return f"<table><thead><tr><th>Level</th><th>What</th><th>Found</th></tr></thead><tbody>{rows}</tbody></table>"


def check_bar(checks: Sequence[Check], tests: Sequence[Answerable] = (), *, running: bool = False) -> str:
    """What the checks come to, in one glance."""
    counts = {level: sum(check.level == level for check in checks) for level in MARKS}
    worst = next((level for level in ("fail", "warn") if counts[level]), "pass")
    what = "The data" if any(one.of_model for one in tests) else "It"
    name = f"{what} {_ANSWERS['stopped' if _stopped(checks) else worst]}"
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


def _test_row(one: Answerable) -> str:
    mark, colour, word = CAN[one.can]
    asked = (f"It asks a model for {', '.join(one.of_model)}.",) if one.of_model else ()
    return (
        f'<tr><td style="white-space:nowrap;border-left:4px solid {colour};padding-left:8px">{mark} {word}</td>'
        f"<th scope='row' style='white-space:nowrap'>{escape(one.title)}</th>"
        f'<td style="overflow-wrap:anywhere">{escape(" ".join((*one.why, *asked)))}</td></tr>'
    )


def _stopped(checks: Sequence[Check]) -> bool:
    return any(check.level == "fail" and check.stops == "everything" for check in checks)


def _said(checks: Sequence[Check], running: bool) -> str:
    if running and not any(check.level == "fail" for check in checks):
        return f"{plural(len(checks), 'check')} so far."
    failed, warned = (sum(check.level == level for check in checks) for level in ("fail", "warn"))
    if _stopped(checks):
        return f"{plural(failed, 'check')} failed: an audit would be wrong or impossible. Read what to do below."
    if failed:
        return f"{plural(failed, 'check')} failed: some tests would be wrong or impossible. Read below which, and what to do."
    if warned:
        return f"Nothing failed. {plural(warned, 'warning')}: read them before you trust an audit."
    return "Everything passed."
