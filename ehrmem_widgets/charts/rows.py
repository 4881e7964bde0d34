"""Figures below one another on one axis, with words in columns beside them: intervals, bars, ranks."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from ehrmem_widgets.charts.axis import Axis
from ehrmem_widgets.charts.marks import HALO, Key, Shape, bar, legend, level_whisker, mark
from ehrmem_widgets.charts.markup import PAPER, RULE, SHADE, escape, known, shorten, svg, text
from ehrmem_widgets.statistics.intervals import Estimate

LEFT, HEADING = 12, 26


@dataclass(frozen=True)
class Column:
    """Words beside the axis, from ``x`` on (or up to it, with ``anchor`` "end"); ``room``: how many characters a line holds."""

    head: str
    x: float
    room: int = 60
    anchor: str = "start"


@dataclass(frozen=True)
class Mark:
    """A figure on the axis, with its interval where it has one. ``lane``: pixels below the row's middle; ``origin``: where its bar or
    stem begins."""

    at: Estimate | float | None
    shape: Shape
    colour: str
    lane: float = 0.0
    origin: float | None = None
    size: float = 4.8


@dataclass(frozen=True)
class Row:
    """``cells``: words, one for each column from the first on; a pair is a line and a quieter one below it. ``said``: the whole row for
    those who point at it. ``heading`` stands above the first row that has it; ``instead``: words in place of marks; ``icon``: markup of
    12 by 12 before the last cell; ``chosen`` stands out."""

    cells: Sequence[str | tuple[str, str]]
    said: str
    marks: Sequence[Mark] = ()
    heading: str = ""
    instead: str = ""
    icon: str = ""
    chosen: bool = False


def row_chart(
    rows: Sequence[Row],
    columns: Sequence[Column],
    axis: Axis,
    *,
    label: str,
    title: str = "",
    head: str = "",
    notes: Sequence[tuple[float, str, str]] = (),
    level: float | None = None,
    shade: tuple[float, float] | None = None,
    keys: Sequence[Key] = (),
    foot: str = "",
    width: int = 796,
    height: int = 30,
) -> str:
    """An SVG with a line of ``height`` for each row. ``head`` stands above the axis, ``notes`` (value, words, anchor) at values of it;
    ``level`` is a dashed line, ``shade`` a part of the axis to mark; ``keys`` are the legend, ``foot`` a sentence above it."""
    above, top = _head(columns, axis, title, head, notes)
    grounds, body, rules, y, heading = "", "", "", top, ""
    for row in rows:
        if row.heading != heading:
            heading = row.heading
            more = f'font-weight="600" font-size="12" {HALO}'
            body += text(LEFT, y + 18, shorten(heading, 100), more=more) if heading else ""
            y += HEADING
        if row.chosen:
            grounds += f'<rect x="0" y="{y:g}" width="{width}" height="{height}" style="fill:{SHADE}"/>'
            grounds += f'<rect x="0" y="{y:g}" width="4" height="{height}" fill="currentColor"/>'
        body += _row(row, columns, axis, y + height / 2)
        y += height
        rules += f"M0 {y:g}H{width}"
    grid = "".join(f"M{axis(value):g} {top - 4:g}V{y:g}" for value, _ in axis.ticks)
    if shade:
        start, end = map(axis, shade)
        grounds += f'<rect x="{start:g}" y="{top - 4:g}" width="{end - start:g}" height="{y - top + 4:g}" style="fill:{SHADE}"/>'
    ground = (
        f'{grounds}<path d="{rules}" style="stroke:{RULE}" stroke-width=".6"/><path d="{grid}" style="stroke:{RULE}"/>'
    )
    if level is not None:
        ground += f'<path d="M{axis(level):g} {top - 4:g}V{y:g}" stroke="currentColor" stroke-dasharray="4 3"/>'
    y += 10
    below = ""
    if foot:
        y += 16
        below += text(LEFT, y, foot, more='font-size="11.5"')
    if keys:
        drawn, y = legend(keys, LEFT, y + 10, width - LEFT)
        below += drawn
    return svg(above + ground + body + below, width=width, height=round(y + 4), label=label)


def _head(
    columns: Sequence[Column], axis: Axis, title: str, head: str, notes: Sequence[tuple[float, str, str]]
) -> tuple[str, float]:
    """What stands above the rows, and where they begin."""
    y, body = 0, ""
    if title:
        y += 18
        body += text(LEFT, y, shorten(title, 112), more='font-weight="600" font-size="13"')
    y += 18
    heads = "".join(text(c.x, y, c.head, more=f'text-anchor="{c.anchor}"') for c in columns if c.head)
    heads += text(axis.start, y, head) if head else ""
    y += 16 if head and notes else 0
    small = "".join(text(axis(value), y, words, more=f'text-anchor="{anchor}"') for value, words, anchor in notes)
    y += 16
    small += "".join(text(axis(value), y, words, more='text-anchor="middle"') for value, words in axis.ticks if words)
    return (
        f'{body}<g font-size="11.5" font-weight="600">{heads}</g><g font-size="10.5" opacity=".85">{small}</g>',
        y + 9,
    )


def _row(row: Row, columns: Sequence[Column], axis: Axis, middle: float) -> str:
    weight = ' font-weight="700"' if row.chosen else ""
    drawn = "".join(_cell(cell, column, middle, weight) for cell, column in zip(row.cells, columns, strict=False))
    if row.icon:
        drawn += f'<g transform="translate({columns[-1].x - 18:g} {middle - 6:g})">{row.icon}</g>'
    if row.instead:
        drawn += text(axis.start, middle + 4, shorten(row.instead, 84), more=f'font-size="11" {HALO}')
    drawn += "".join(_mark(one, axis, middle + one.lane) for one in row.marks)
    return f'<g font-size="11.5"><title>{escape(row.said)}</title>{drawn}</g>'


def _cell(cell: str | tuple[str, str], column: Column, middle: float, weight: str) -> str:
    plain = f'text-anchor="{column.anchor}"' if column.anchor != "start" else ""
    more = plain + weight
    if isinstance(cell, str):
        if len(cell) <= column.room:
            return text(column.x, middle + 4, cell, more=more) if cell else ""
        lines, quiet = textwrap.wrap(cell, column.room, max_lines=2, placeholder="…"), more
    else:
        lines, quiet = [shorten(line, column.room) for line in cell], f'{plain} font-size="11" opacity=".85"'
    start = middle + (4 if len(lines) == 1 else -3)
    return "".join(
        text(column.x, start + 14 * place, line, more=(quiet if place else more).strip())
        for place, line in enumerate(lines)
    )


def _mark(one: Mark, axis: Axis, y: float) -> str:
    if isinstance(one.at, Estimate):
        if not known(one.at):
            return ""
        x, low, high = axis(one.at.value), axis(one.at.low), axis(one.at.high)
        whisker = level_whisker(low, high, y, 3.5)
    elif one.at is None:
        return ""
    else:
        x, whisker = axis(one.at), ""
    if one.shape in ("bar", "stripes"):
        drawn = bar(axis(one.origin or 0.0), x, y, one.colour, striped=one.shape == "stripes")
        if whisker:
            drawn += f'<path d="{whisker}" style="stroke:{PAPER}" stroke-width="2.8" opacity=".85" fill="none"/>'
            drawn += f'<path d="{whisker}" stroke="currentColor" stroke-width="1.4" fill="none"/>'
        return drawn
    drawn = f'<path d="{whisker}" stroke="{one.colour}" stroke-width="1.8" fill="none"/>' if whisker else ""
    if one.origin is not None:
        drawn += f'<path d="M{axis(one.origin):g} {y:g}H{x:g}" stroke="{one.colour}" stroke-width="3"/>'
    return drawn + mark(one.shape, x, y, one.colour, one.size)
