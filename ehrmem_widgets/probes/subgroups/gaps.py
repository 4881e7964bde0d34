"""A forest plot: how far each subgroup's members stand from the other members, and how much of it non-members show too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from ehrmem_widgets.charts.axis import Axis, round_values
from ehrmem_widgets.charts.marks import Key, mark, nothing
from ehrmem_widgets.charts.markup import BLUE, GREY, VERMILION, interval, known, plural, shorten, verdict_icon
from ehrmem_widgets.charts.rows import Column, Mark, Row, row_chart
from ehrmem_widgets.probes.subgroups.ask import FEWEST
from ehrmem_widgets.probes.subgroups.rows import SubgroupRow
from ehrmem_widgets.statistics.verdicts import ALARM_RATE, Judgement, Verdict

WIDTH = 884
KIND_TITLES = {
    "age": "Age at the last event",
    "sex": "Sex",
    "race": "Race and ethnicity",
    "code": "Rare codes",
    "labs": "Laboratory patterns",
    "holds": "Holders of a sensitive attribute",
}
HIDDEN = f"fewer than {FEWEST}: not shown"
CLAIMS, SCREENING, WORTH_A_LOOK = "claims", "screening", "worth a closer look"
_GAP_ALONE = (Key("gap between the members in the subgroup and all other members", GREY, "disc"),)
_KEYS = (
    Key("what is left of the gap after the same gap among people never seen: this is tested", BLUE, "diamond"),
    Key("the same, standing out", VERMILION, "diamond"),
    Key("gap to the other members", GREY, "disc"),
)


def subgroup_gaps(rows: Sequence[SubgroupRow], figure: str, *, correction: str) -> str:
    """An SVG with one row a subgroup under the heading of its kind, those that stand out first. ``figure`` is what is compared, in words; ``correction`` is
    ``CLAIMS`` (Holm: the verdict is shown) or ``SCREENING`` (Benjamini-Hochberg: what is worth a closer look)."""
    if not rows:
        return nothing("No subgroup to show: choose at least one kind on the left.", width=WIDTH)
    reach = _reach(rows)
    ticks = [(v, "0" if v == 0 else f"{v:+g}") for v in round_values(-reach, reach)]
    tested = any(one.difference is not None for one in rows)
    first = [one for one in rows if stands_out(one, correction)]
    return row_chart(
        [
            replace(_row(one, correction), heading=f"Standing out: {KIND_TITLES.get(one.kind, one.kind).lower()}")
            for one in first
        ]
        + [_row(one, correction) for one in rows if one not in first],
        (
            Column("Subgroup", 24, 46),
            Column("Members", 318, anchor="end"),
            Column("with 95 % interval and n", 524),
            Column("Verdict" if correction == CLAIMS else "Screening", 756, 18),
        ),
        Axis(-reach, reach, 330, 510, ticks),
        head=shorten(f"Gap in {figure}", 28),
        notes=((-reach, "← less than others", "start"), (reach, "more →", "end")),
        level=0.0,
        keys=_KEYS if tested else _GAP_ALONE,
        label=_sentence(rows, figure, correction),
        width=WIDTH,
    )


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
        return None, WORTH_A_LOOK if row.q <= ALARM_RATE else "nothing to see"
    if row.p_adjusted <= ALARM_RATE and row.effect.high < 0:
        return row.judgement, "Memorized less"
    words = {Verdict.MEMORIZED: "Memorized more", Verdict.POPULATION: "Like the others"}
    return row.judgement, words.get(row.judgement.verdict, str(row.judgement.verdict))


def _row(one: SubgroupRow, correction: str) -> Row:
    judgement, words = mark_of(one, correction)
    name, n, instead, icon = subgroup_name(one.name), f"{one.members:,}", "", ""
    cells: tuple[str | tuple[str, str], ...] = (name, n, "", words)
    marks: list[Mark] = []
    if one.hidden:
        cells, instead = (name,), HIDDEN
    elif not known(one.gap):
        instead = "no members in it" if not one.members else "too few others"
    elif one.difference is None:
        cells = (name, n, interval(one.gap, signed=True), words)
        marks = [Mark(one.gap, "disc", GREY, size=3.6)]
    else:
        left = interval(one.difference, signed=True) if known(one.difference) else "too few never seen to compare"
        cells = (name, n, (left, interval(one.gap, signed=True)), words)
        colour = VERMILION if stands_out(one, correction) else BLUE
        marks = [
            Mark(one.difference, "diamond", colour, lane=-6, size=3.6),
            Mark(one.gap, "disc", GREY, lane=7, size=3.6),
        ]
    if correction == CLAIMS and judgement is not None:
        icon = verdict_icon(judgement.verdict, 0, 0)
    elif words == WORTH_A_LOOK:
        icon = mark("ring", 6, 6, VERMILION)
    return Row(cells, _row_sentence(one, words), marks, KIND_TITLES.get(one.kind, one.kind), instead, icon)


def stands_out(one: SubgroupRow, correction: str) -> bool:
    """Whether a subgroup stands out after the correction; none that is hidden does."""
    adjusted = one.p_adjusted if correction == CLAIMS else one.q
    return not one.hidden and adjusted <= ALARM_RATE


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
    out = [_row_sentence(one, mark_of(one, correction)[1]) for one in rows if stands_out(one, correction)]
    first = f"Gap in {figure} between each of {plural(len(rows), 'subgroup')} and the other members."
    return f"{first} {'Standing out: ' + '. '.join(out) if out else 'None stands out after correction'}."


def _reach(rows: Sequence[SubgroupRow]) -> float:
    """How far the axis goes to both sides: the widest interval, but no more than four times the middle one."""
    shown = [e for one in rows if not one.hidden for e in (one.gap, one.difference) if e is not None and known(e)]
    spans = sorted(max(abs(e.low), abs(e.high)) for e in shown if math.isfinite(e.low) and math.isfinite(e.high))
    if not spans or spans[-1] <= 0:
        return 1.0
    return 1.05 * min(spans[-1], 4 * max(spans[len(spans) // 2], 1e-9))
