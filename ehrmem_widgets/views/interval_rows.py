"""Figures below one another, each with its 95 % interval, on one axis with the level that nothing would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ehrmem_widgets.charts.axis import Axis, quarters
from ehrmem_widgets.charts.marks import nothing
from ehrmem_widgets.charts.markup import BLUE, VERMILION, interval
from ehrmem_widgets.charts.rows import Column, Mark, Row, row_chart
from ehrmem_widgets.statistics.intervals import Estimate

WIDTH, ROW = 836, 26
_COLUMNS = (
    Column("", 24, 50),
    Column("with 95 % interval and n", 576),
)  # the longest: +0.0058 (+0.0027 to +0.0088), n = 1,000


@dataclass(frozen=True)
class IntervalRow:
    """A figure in words. ``heading`` stands above the first row that has it; ``marked`` rows have another shape and
    colour: those to look at first."""

    words: str
    estimate: Estimate
    heading: str = ""
    marked: bool = False


def interval_rows(
    rows: Sequence[IntervalRow],
    *,
    title: str,
    ends: tuple[float, float],
    level: tuple[float, str],
    signed: bool = False,
) -> str:
    """An SVG with one row a figure, drawn between ``ends``; ``level`` is where nothing is found, with its words."""
    if not rows:
        words = "Nothing to show yet."
        return nothing(words, width=WIDTH, label=f"{title}. {words}")
    near = (ends[1] - ends[0]) / 16  # a tick's number this near to the level would be taken for the level's
    ticks = [(v, "" if 0 < abs(v - level[0]) < near else words) for v, words in quarters(*ends)]
    said = [f"{one.words}: {interval(one.estimate, signed=signed)}" for one in rows]
    everything = "; ".join(
        f"{one.heading}, {words}" if one.heading else words for one, words in zip(rows, said, strict=True)
    )
    return row_chart(
        [
            Row(
                cells=(one.words, interval(one.estimate, signed=signed)),
                marks=[Mark(one.estimate, "diamond" if one.marked else "disc", VERMILION if one.marked else BLUE)],
                heading=one.heading,
                said=words,
            )
            for one, words in zip(rows, said, strict=True)
        ],
        _COLUMNS,
        Axis(*ends, 300, 560, ticks),
        title=title,
        notes=[(level[0], f"{level[1]} ↓", "middle")],
        level=level[0],
        label=f"{title} ({level[1]}: {level[0]:.2f}). {everything}.",
        width=WIDTH,
        height=ROW,
    )
