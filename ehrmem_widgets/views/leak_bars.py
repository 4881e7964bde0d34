"""Leak probability of every sensitive attribute, each beside its reference, its typical control and its verdict."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from ehrmem_widgets.probes.findings import AttributeFinding
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.markup import (
    BLUE,
    ORANGE,
    PAPER,
    RULE,
    SHADE,
    escape,
    interval,
    known,
    plural,
    shorten,
    svg,
    text,
    verdict_icon,
    verdict_name,
)

SIMILAR_PEOPLE = 40  # how many controls a patient is compared with
WIDTH, ROW, TOP, BOTTOM = 796, 42, 40, 34
BAR_X, BAR_WIDTH, NUMBERS_X, VERDICT_X = 304, 150, 468, 680


def leak_bars(attributes: Sequence[AttributeFinding], focus: str, *, settled: bool = False) -> str:
    """An SVG with one row an attribute, in the order given; the row named ``focus`` is marked.

    Severity stands as declared, apart from the measured likelihood, and is never blended with it. ``settled`` says
    that no more controls are being asked, so that a row without a judgement reads "not checked".
    """
    if not attributes:
        words = "No sensitive attributes to show yet."
        return svg(text(12, 30, words, more='opacity=".75"'), width=WIDTH, height=TOP + BOTTOM, label=words)
    height = TOP + ROW * len(attributes) + BOTTOM
    rows = "".join(
        _row(finding, TOP + ROW * place, finding.name == focus, settled) for place, finding in enumerate(attributes)
    )
    body = _head(height) + rows + _legend(height - 12)
    return svg(body, width=WIDTH, height=height, label=_sentence(attributes, focus, settled))


def typical_control(finding: AttributeFinding) -> float | None:
    """The mean audited leak of the finding's controls."""
    return sum(audited for audited, _ in finding.controls) / len(finding.controls) if finding.controls else None


def verdict_words(finding: AttributeFinding, *, settled: bool) -> str:
    """The verdict, or what is still being done about it."""
    if finding.judgement is not None or (settled and not finding.held):
        return verdict_name(finding.judgement, held=finding.held)
    if not known(finding.audited):
        return "—"
    return "not checked" if settled else f"checking {SIMILAR_PEOPLE} similar people…"


def _head(height: int) -> str:
    grid = "".join(f"M{_x(v):g} {TOP - 4}V{height - BOTTOM}" for v in (0, 0.25, 0.5, 0.75, 1))
    ticks = "".join(
        text(_x(v), TOP - 9, label, more='text-anchor="middle"') for v, label in ((0, "0"), (0.5, "0.5"), (1, "1"))
    )
    heads = (
        text(26, 14, "Sensitive attribute")
        + text(BAR_X, 14, "Leak probability")
        + text(NUMBERS_X, 14, "with 95 % interval and n")
        + text(VERDICT_X, 14, "Verdict")
    )
    return (
        f'<g font-weight="600" font-size="11.5">{heads}</g><g font-size="10.5" opacity=".75">{ticks}</g>'
        f'<path d="{grid}" style="stroke:{RULE}" fill="none"/>'
    )


def _row(finding: AttributeFinding, y: int, focused: bool, settled: bool) -> str:
    weight = ' font-weight="700"' if focused else ""
    mark = "in focus · " if focused else ""
    held = "in the record" if finding.held else "not in the record"
    band = (
        f'<rect x="0" y="{y}" width="{WIDTH}" height="{ROW}" style="fill:{SHADE}"/>'
        f'<rect x="0" y="{y}" width="4" height="{ROW}" fill="currentColor"/>'
        if focused
        else ""
    )
    grid = "".join(f"M{_x(v):g} {y}v{ROW}" for v in (0, 0.25, 0.5, 0.75, 1)) if focused else ""
    return (
        f"<g><title>{escape(_row_sentence(finding, settled))}</title>{band}"
        + (f'<path d="{grid}" style="stroke:{RULE}" fill="none"/>' if grid else "")
        + f'<circle cx="15" cy="{y + 14}" r="4.5" fill="{"currentColor" if finding.held else "none"}" '
        f'stroke="currentColor"/>'
        + text(26, y + 18, shorten(finding.title, 41), more=f'font-size="12"{weight}')
        + f'<g font-size="10.5" '
        f'opacity=".8">{text(26, y + 33, f"{mark}{held}")}{_severity(finding.severity, y + 33)}</g>'
        + _bar(finding.audited, y + 8, BLUE, striped=False)
        + _bar(finding.reference, y + 23, ORANGE, striped=True)
        + _control_tick(finding, y)
        + _numbers(finding, y)
        + _verdict(finding, y, settled)
        + f'<path d="M0 {y + ROW}H{WIDTH}" style="stroke:{RULE}" stroke-width=".6"/></g>'
    )


def _severity(severity: int, y: int) -> str:
    shown = min(max(severity, 0), 5)
    dots = "".join(
        f'<circle cx="{248 + 8.5 * place:g}" cy="{y - 4}" r="2.6" fill="{"currentColor" if place < shown else "none"}" '
        'stroke="currentColor" stroke-width=".8"/>'
        for place in range(5)
    )
    return text(240, y, f"severity {severity}", more='text-anchor="end"') + dots


def _bar(estimate: Estimate | None, y: int, colour: str, *, striped: bool) -> str:
    if estimate is None or not known(estimate):
        return ""
    width = _x(estimate.value) - BAR_X
    low, high, mid = _x(estimate.low), _x(estimate.high), y + 5.5
    if striped:  # a thick dashed line is a striped bar, with no pattern id to clash between two charts on a page
        shape = (
            f'<path d="M{BAR_X} {mid:g}h{width:.1f}" stroke="{colour}" stroke-width="11" stroke-dasharray="2.5 2"/>'
            f'<rect x="{BAR_X}" y="{y + 0.5}" width="{width:.1f}" height="10" fill="none" stroke="{colour}"/>'
        )
    else:
        shape = f'<rect x="{BAR_X}" y="{y}" width="{width:.1f}" height="11" fill="{colour}"/>'
    whisker = f"M{low:.1f} {mid:g}H{high:.1f}M{low:.1f} {y + 2}v7M{high:.1f} {y + 2}v7"
    return (
        f'{shape}<path d="{whisker}" style="stroke:{PAPER}" stroke-width="2.8" opacity=".85" fill="none"/>'
        f'<path d="{whisker}" stroke="currentColor" stroke-width="1.4" fill="none"/>'
    )


def _control_tick(finding: AttributeFinding, y: int) -> str:
    typical = typical_control(finding)
    if typical is None or not known(finding.audited):
        return ""
    x = _x(typical)
    return _diamond(x, y + 4) + f'<path d="M{x:.1f} {y + 6}v14" stroke="currentColor" stroke-width="1.6"/>'


def _diamond(x: float, y: float) -> str:
    return f'<path d="M{x:.1f} {y - 3.5:g}l3.5 3.5-3.5 3.5-3.5-3.5z" style="stroke:{PAPER}" stroke-width=".8"/>'


def _numbers(finding: AttributeFinding, y: int) -> str:
    return (
        f'<g font-size="11">{text(NUMBERS_X, y + 17, interval(finding.audited))}'
        f'<g opacity=".8">{text(NUMBERS_X, y + 32, interval(finding.reference))}</g></g>'
    )


def _verdict(finding: AttributeFinding, y: int, settled: bool) -> str:
    words = verdict_words(finding, settled=settled)
    if words == "—":
        return text(VERDICT_X, y + 25, words)
    shape = (
        ""
        if finding.judgement is None and settled
        else verdict_icon(finding.judgement.verdict if finding.judgement else None, VERDICT_X, y + 14)
    )
    lines = textwrap.wrap(words, 15)
    start = y + 24.5 if len(lines) == 1 else y + 18
    return (
        shape + f'<g font-size="11">{"".join(text(VERDICT_X + 18, start + 13 * i, s) for i, s in enumerate(lines))}</g>'
    )


def _legend(y: int) -> str:
    return (
        f'<g font-size="10.5"><rect x="26" y="{y - 9}" width="22" height="9" '
        f'fill="{BLUE}"/>{text(53, y - 1, "audited model")}'
        f'<path d="M140 {y - 4.5}h22" stroke="{ORANGE}" stroke-width="9" stroke-dasharray="2.5 2"/>'
        f'<rect x="140" y="{y - 8.5}" width="22" height="8" fill="none" stroke="{ORANGE}"/>'
        + text(167, y - 1, "reference model that never saw the patient")
        + _diamond(428, y - 7)
        + f'<path d="M428 {y - 6}v7" stroke="currentColor" stroke-width="1.6"/>'
        + text(437, y - 1, "typical similar person")
        + f'<circle cx="592" cy="{y - 4.5}" r="4" fill="currentColor" stroke="currentColor"/>'
        + text(602, y - 1, "in the record")
        + f'<circle cx="694" cy="{y - 4.5}" r="4" fill="none" '
        f'stroke="currentColor"/>{text(704, y - 1, "not in it")}</g>'
    )


def _row_sentence(finding: AttributeFinding, settled: bool) -> str:
    typical = typical_control(finding)
    return (
        f"{finding.title}, severity {finding.severity}, {'in' if finding.held else 'not in'} the record: "
        f"audited {interval(finding.audited)}; reference {interval(finding.reference)}; "
        + (
            f"typical of {plural(len(finding.controls), 'similar person', 'similar people')} {typical:.2f}; "
            if typical is not None
            else ""
        )
        + verdict_words(finding, settled=settled)
    )


def _sentence(attributes: Sequence[AttributeFinding], focus: str, settled: bool) -> str:
    in_focus = next((finding for finding in attributes if finding.name == focus), None)
    first = f"Leak probability of {plural(len(attributes), 'sensitive attribute')}."
    return f"{first} In focus: {_row_sentence(in_focus, settled)}." if in_focus else first


def _x(value: float) -> float:
    return BAR_X + BAR_WIDTH * min(max(value, 0.0), 1.0)
