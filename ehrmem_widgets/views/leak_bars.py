"""Leak probability of every sensitive attribute, each beside its reference, its typical control and its verdict."""

from __future__ import annotations

from collections.abc import Sequence

from ehrmem_widgets.charts.axis import Axis
from ehrmem_widgets.charts.marks import Key, nothing
from ehrmem_widgets.charts.markup import BLUE, ORANGE, interval, known, plural, verdict_icon, verdict_name
from ehrmem_widgets.charts.rows import Column, Mark, Row, row_chart
from ehrmem_widgets.probes.findings import AttributeFinding

WIDTH, ROW = 796, 42
_AXIS = Axis(0, 1, 304, 454, ((0, "0"), (0.25, ""), (0.5, "0.5"), (0.75, ""), (1, "1")))
_COLUMNS = (
    Column("Sensitive attribute", 12, 48),
    Column("with 95 % interval and n", 466, 40),
    Column("Verdict", 688, 15),
)
_KEYS = (
    Key("audited model", BLUE, "bar"),
    Key("reference model that never saw the patient", ORANGE, "stripes"),
    Key("typical similar person", "currentColor", "pin"),
)


def leak_bars(attributes: Sequence[AttributeFinding], focus: str, *, settled: bool = False) -> str:
    """An SVG with one row an attribute, in the order given; the row named ``focus`` is marked.

    Severity stands as declared, apart from the measured likelihood, and is never blended with it. ``settled`` says
    that no more controls are being asked, so that a row without a judgement reads "not checked".
    """
    if not attributes:
        return nothing("No sensitive attributes to show yet.", width=WIDTH)
    rows = [_row(finding, finding.name == focus, settled) for finding in attributes]
    in_focus = "".join(f" In focus: {row.said}." for row in rows if row.chosen)
    return row_chart(
        rows,
        _COLUMNS,
        _AXIS,
        head="Leak probability",
        keys=_KEYS,
        label=f"Leak probability of {plural(len(attributes), 'sensitive attribute')}.{in_focus}",
        width=WIDTH,
        height=ROW,
    )


def typical_control(finding: AttributeFinding) -> float | None:
    """The mean audited leak of the finding's controls."""
    return sum(audited for audited, *_ in finding.controls) / len(finding.controls) if finding.controls else None


def verdict_words(finding: AttributeFinding, *, settled: bool) -> str:
    """The verdict, or what is still being done about it."""
    if finding.judgement is not None or (settled and not finding.held):
        return verdict_name(finding.judgement, held=finding.held)
    if not known(finding.audited):
        return "—"
    return "not checked" if settled else "checking similar people…"


def _row(finding: AttributeFinding, focused: bool, settled: bool) -> Row:
    held = "in the record" if finding.held else "not in the record"
    shown = min(max(finding.severity, 0), 5)
    severity = f"severity {finding.severity} {'●' * shown}{'○' * (5 - shown)}"
    audited, reference = interval(finding.audited), interval(finding.reference)
    typical, verdict = typical_control(finding), verdict_words(finding, settled=settled)
    similar = (
        ""
        if typical is None
        else f"typical of {plural(len(finding.controls), 'similar person', 'similar people')} {typical:.2f}; "
    )
    judgement = finding.judgement
    undrawn = verdict == "—" or (judgement is None and settled)
    return Row(
        cells=(
            (finding.title, f"{'in focus · ' if focused else ''}{held} · {severity}"),
            (audited, reference),
            verdict,
        ),
        marks=(
            Mark(finding.audited, "bar", BLUE, lane=-7.5),
            Mark(finding.reference, "stripes", ORANGE, lane=7.5),
            Mark(typical if known(finding.audited) else None, "pin", "currentColor", lane=-7, size=8),
        ),
        icon="" if undrawn else verdict_icon(judgement.verdict if judgement else None, 0, 0),
        said=f"{finding.title}, severity {finding.severity}, {held}: audited {audited}; reference {reference}; {similar}{verdict}",
        chosen=focused,
    )
