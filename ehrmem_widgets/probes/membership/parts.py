"""Which part of the record gives membership away: the AUROC of a score over each kind of code and each quarter alone."""

from __future__ import annotations

from collections.abc import Sequence

from ehrmem_widgets.charts.axis import Axis
from ehrmem_widgets.charts.marks import Key, nothing
from ehrmem_widgets.charts.markup import BLUE, GREY, interval, known, plural
from ehrmem_widgets.charts.rows import Column, Mark, Row, row_chart
from ehrmem_widgets.probes.membership.slices import Part
from ehrmem_widgets.statistics.verdicts import ALARM_RATE

WIDTH = 796
_AXIS = Axis(0, 1, 236, 496, ((0, "0"), (0.25, ""), (0.5, "0.5 = chance"), (0.75, ""), (1, "1 = always")))
_COLUMNS = (Column("Part of the record", 12, 36), Column("AUROC with 95 % interval and n", 512))
_KEYS = (
    Key("* above chance, corrected for looking at several parts (Holm)", BLUE, "bar"),
    Key("no more than chance explains", GREY, "bar"),
)
TITLES = {
    "demographic": "Sex, race and other static facts",
    "encounter": "Visits and admissions",
    "laboratory": "Laboratory values",
    "diagnosis": "Diagnoses",
    "medication": "Medications",
    "procedure": "Procedures",
    "time": "Time between events",
    "special": "Start and end of the record",
    "other": "Other codes",
    "quarter 1": "First quarter of the record",
    "quarter 2": "Second quarter",
    "quarter 3": "Third quarter",
    "quarter 4": "Last quarter",
}


def membership_parts(parts: Sequence[Part], score: str) -> str:
    """An SVG with one bar a part: kinds of code first, then the quarters of the record; from chance (0.5) to the right."""
    if not parts:
        return nothing("No part of the record could be looked at by itself.", width=WIDTH)
    return row_chart(
        [_row(part) for part in parts],
        _COLUMNS,
        _AXIS,
        head="Members told from people never seen",
        level=0.5,
        keys=_KEYS,
        label=_sentence(parts, score),
        width=WIDTH,
        height=26,
    )


def title(part: Part) -> str:
    """A part of the record in plain words."""
    return TITLES.get(part.name, part.name)


def _row(part: Part) -> Row:
    shown, star = known(part.auroc), " *" if _stands_out(part) else ""
    return Row(
        cells=(title(part), f"{interval(part.auroc)}{star}") if shown else (title(part),),
        marks=[Mark(part.auroc, "bar", BLUE if star else GREY, origin=0.5)],
        heading="By quarter of the record" if part.is_quarter else "By kind of code",
        instead="" if shown else f"not shown: {part.note or 'no figure'}",
        said=_row_sentence(part),
    )


def _stands_out(part: Part) -> bool:
    return part.p_adjusted <= ALARM_RATE and part.auroc.low > 0.5


def _row_sentence(part: Part) -> str:
    if not known(part.auroc):
        return f"{title(part)}: not shown, {part.note or 'no figure'}"
    told = "above chance" if _stands_out(part) else "no more than chance explains"
    return f"{title(part)}: AUROC {interval(part.auroc)}, {told}"


def _sentence(parts: Sequence[Part], score: str) -> str:
    most = max((p for p in parts if known(p.auroc)), key=lambda p: p.auroc.value, default=None)
    first = f"AUROC of {score} over {plural(len(parts), 'part')} of the record, each by itself."
    return f"{first} Highest: {_row_sentence(most)}." if most else first
