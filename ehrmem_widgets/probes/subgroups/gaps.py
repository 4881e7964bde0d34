"""A forest plot: how far each subgroup's members stand from the other members, and how much of it non-members show too."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ehrmem_widgets.probes.subgroups.ask import FEWEST
from ehrmem_widgets.probes.subgroups.rows import SubgroupRow
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import ALARM_RATE, Judgement, Verdict
from ehrmem_widgets.views.markup import (
    BLUE,
    GREY,
    RULE,
    VERMILION,
    escape,
    interval,
    known,
    plural,
    shorten,
    svg,
    text,
    verdict_icon,
)

WIDTH, ROW, HEAD, TOP, BOTTOM = 884, 30, 24, 66, 34
NAME_X, N_X, PLOT_X, PLOT_WIDTH, NUMBERS_X, VERDICT_X = 12, 318, 330, 180, 524, 738
KIND_TITLES = {
    "age": "Age at the last event",
    "sex": "Sex",
    "race": "Race and ethnicity",
    "code": "Rare codes",
    "labs": "Laboratory patterns",
    "holds": "Holders of a sensitive attribute",
}
HIDDEN = f"fewer than {FEWEST}: not shown"
CLAIMS, SCREENING = "claims", "screening"


def subgroup_gaps(rows: Sequence[SubgroupRow], figure: str, *, correction: str) -> str:
    """An SVG with one row a subgroup under the heading of its kind. ``figure`` is what is compared, in words; ``correction`` is
    ``CLAIMS`` (Holm: the verdict is shown) or ``SCREENING`` (Benjamini-Hochberg: what is worth a closer look)."""
    if not rows:
        words = "No subgroup to show: choose at least one kind on the left."
        return svg(text(12, 30, words, more='opacity=".75"'), width=WIDTH, height=TOP, label=words)
    reach = _reach(rows)
    body, y, kind = "", float(TOP), ""
    for one in rows:
        if one.kind != kind:
            kind = one.kind
            body += text(NAME_X, y + 17, KIND_TITLES.get(kind, kind), more='font-weight="600" font-size="12"')
            y += HEAD
        body += _row(one, y, reach, correction)
        y += ROW
    with_difference = any(one.difference is not None for one in rows)
    body = _head(figure, reach, correction) + body + _legend(y + 20, with_difference)
    return svg(body, width=WIDTH, height=math.ceil(y + BOTTOM), label=_sentence(rows, figure, correction))


def subgroup_name(name: str) -> str:
    """A subgroup in plain words, without its kind.

    >>> subgroup_name("age: 85 and over"), subgroup_name("code: one that no other record has")
    ('85 and over', 'Hold a code that no other record has')
    """
    kind, _, value = name.partition(": ")
    if kind == "code":
        return f"Hold a code {value.removeprefix('one ')}"
    if kind == "labs":
        return "Tests of the first lab day like nobody else's"
    if kind in ("sex", "race"):
        return {"F": "Female", "M": "Male"}.get(value, value.capitalize() if value.isupper() else value)
    return value


def mark_of(row: SubgroupRow, correction: str) -> tuple[Judgement | None, str]:
    """The verdict (for its shape) and the words that stand at a row."""
    if row.hidden:
        return None, HIDDEN
    if correction == SCREENING:
        if not math.isfinite(row.q):
            return None, "not tested"
        return None, "worth a closer look" if row.q <= ALARM_RATE else "nothing to see"
    if row.p_adjusted <= ALARM_RATE and row.effect.high < 0:
        return row.judgement, "Memorized less"
    words = {Verdict.MEMORIZED: "Memorized more", Verdict.POPULATION: "Like the others"}
    return row.judgement, words.get(row.judgement.verdict, str(row.judgement.verdict))


def _head(figure: str, reach: float, correction: str) -> str:
    heads = (
        text(NAME_X, 16, "Subgroup")
        + text(N_X, 16, "Members", more='text-anchor="end"')
        + text(PLOT_X, 16, shorten(f"Gap in {figure}", 38))
        + text(NUMBERS_X, 16, "with 95 % interval and n")
        + text(VERDICT_X, 16, "Verdict" if correction == CLAIMS else "Screening")
    )
    values = _grid(reach)
    ticks = "".join(
        text(_x(v, reach), TOP - 12, "0" if v == 0 else f"{v:+g}", more='text-anchor="middle"') for v in values
    )
    sides = text(PLOT_X, TOP - 28, "← less than others") + text(
        PLOT_X + PLOT_WIDTH, TOP - 28, "more →", more='text-anchor="end"'
    )
    return f'<g font-weight="600" font-size="11.5">{heads}</g><g font-size="10.5" opacity=".8">{ticks}{sides}</g>'


def _row(one: SubgroupRow, y: float, reach: float, correction: str) -> str:
    middle = y + ROW / 2
    judgement, words = mark_of(one, correction)
    body = text(NAME_X + 12, middle + 4, shorten(subgroup_name(one.name), 46), more='font-size="12"')
    rule = f'<path d="M{NAME_X} {y + ROW:g}H{WIDTH - 8}" style="stroke:{RULE}" stroke-width=".6"/>'
    if one.hidden:
        body += text(PLOT_X, middle + 4, HIDDEN, more='font-size="11"')
        return f"<g><title>{escape(_row_sentence(one, words))}</title>{body}{rule}</g>"
    body += text(N_X, middle + 4, f"{one.members:,}", more='font-size="11.5" text-anchor="end"')
    if not known(one.gap):
        words_here = "no members in it" if not one.members else "too few others"
        body += text(PLOT_X, middle + 4, words_here, more='font-size="11"')
    else:
        body += _lines(y, reach)
        high, low = (middle - 6, middle + 7) if one.difference is not None else (middle, middle)
        body += _interval(one.gap, high, reach, GREY, diamond=False)
        body += f'<g font-size="11">{text(NUMBERS_X, high + 4, interval(one.gap, signed=True))}</g>'
        if one.difference is not None:
            if known(one.difference):
                colour = VERMILION if _stands_out(one, correction) else BLUE
                body += _interval(one.difference, low, reach, colour, diamond=True)
            shown = interval(one.difference, signed=True) if known(one.difference) else "too few never seen to compare"
            body += text(NUMBERS_X, low + 4, shown, more='font-size="11" font-weight="600"')
    if correction == CLAIMS and judgement is not None:
        body += verdict_icon(judgement.verdict, VERDICT_X, middle - 6)
    elif words == "worth a closer look":
        body += (
            f'<circle cx="{VERDICT_X + 6}" cy="{middle:g}" r="5" fill="none" stroke="{VERMILION}" stroke-width="2.5"/>'
        )
    body += text(VERDICT_X + 18, middle + 4, words, more='font-size="11"')
    return f"<g><title>{escape(_row_sentence(one, words))}</title>{body}{rule}</g>"


def _lines(y: float, reach: float) -> str:
    """The axis' lines through one row; a row without a figure has none."""
    grid = "".join(f"M{_x(v, reach):.1f} {y:g}v{ROW}" for v in _grid(reach) if v)
    zero = f"M{_x(0, reach):.1f} {y:g}v{ROW}"
    return f'<path d="{grid}" style="stroke:{RULE}" fill="none"/><path d="{zero}" stroke="currentColor" fill="none"/>'


def _interval(estimate: Estimate, y: float, reach: float, colour: str, *, diamond: bool) -> str:
    x, low, high = (_x(v, reach) for v in (estimate.value, estimate.low, estimate.high))
    line = f'<path d="M{low:.1f} {y:g}H{high:.1f}M{low:.1f} {y - 3:g}v6M{high:.1f} {y - 3:g}v6" stroke="{colour}" '
    line += 'stroke-width="1.8" fill="none"/>'
    shape = f"M{x:.1f} {y - 5:g}l5 5-5 5-5-5z"
    return line + (
        f'<path d="{shape}" fill="{colour}"/>'
        if diamond
        else f'<circle cx="{x:.1f}" cy="{y:g}" r="3.6" fill="{colour}"/>'
    )


def _legend(y: float, with_difference: bool) -> str:
    if not with_difference:
        return f'<g font-size="10.5"><circle cx="18" cy="{y - 4:g}" r="3.6" fill="{GREY}"/>' + (
            text(30, y, "gap between the members in the subgroup and all other members") + "</g>"
        )
    return (
        f'<g font-size="10.5"><circle cx="18" cy="{y - 4:g}" r="3.6" fill="{GREY}"/>'
        + text(28, y, "gap to the other members")
        + f'<path d="M190 {y - 9:g}l5 5-5 5-5-5z" fill="{BLUE}"/>'
        + text(201, y, "what is left of it after the same gap among people never seen: this is tested")
        + f'<path d="M646 {y - 9:g}l5 5-5 5-5-5z" fill="{VERMILION}"/>'
        + text(657, y, "the same, standing out")
        + "</g>"
    )


def _stands_out(one: SubgroupRow, correction: str) -> bool:
    adjusted = one.p_adjusted if correction == CLAIMS else one.q
    return adjusted <= ALARM_RATE


def _row_sentence(one: SubgroupRow, words: str) -> str:
    name = f"{KIND_TITLES.get(one.kind, one.kind)}, {subgroup_name(one.name)}"
    if one.hidden:
        return f"{name}: {HIDDEN}"
    tested = (
        f"; minus the same gap among people never seen {interval(one.difference, signed=True)}"
        if one.difference
        else ""
    )
    because = f" ({one.judgement.sentence.rstrip('.')})" if one.judgement.verdict is Verdict.CANNOT_CONCLUDE else ""
    return f"{name}, {plural(one.members, 'member')}: gap {interval(one.gap, signed=True)}{tested}; {words}{because}"


def _sentence(rows: Sequence[SubgroupRow], figure: str, correction: str) -> str:
    out = [
        _row_sentence(one, mark_of(one, correction)[1])
        for one in rows
        if not one.hidden and _stands_out(one, correction)
    ]
    first = f"Gap in {figure} between each of {plural(len(rows), 'subgroup')} and the other members."
    return f"{first} {'Standing out: ' + '. '.join(out) if out else 'None stands out after correction'}."


def _reach(rows: Sequence[SubgroupRow]) -> float:
    """How far the axis goes to both sides: the widest interval, but no more than four times the middle one."""
    shown = [e for one in rows if not one.hidden for e in (one.gap, one.difference) if e is not None and known(e)]
    spans = sorted(max(abs(e.low), abs(e.high)) for e in shown if math.isfinite(e.low) and math.isfinite(e.high))
    if not spans or spans[-1] <= 0:
        return 1.0
    return 1.05 * min(spans[-1], 4 * max(spans[len(spans) // 2], 1e-9))


def _grid(reach: float) -> list[float]:
    """The axis' round values: 0 in the middle, one to three on each side."""
    size = 10.0 ** math.floor(math.log10(reach))
    step = next(size * k for k in (0.5, 1.0, 2.0, 5.0) if reach / (size * k) < 3)
    most = math.floor(reach / step)
    return [step * k for k in range(-most, most + 1)]


def _x(value: float, reach: float) -> float:
    return PLOT_X + PLOT_WIDTH * (min(max(value / reach, -1.0), 1.0) + 1) / 2
