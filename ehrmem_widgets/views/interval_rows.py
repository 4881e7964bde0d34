"""Figures below one another, each with its 95 % interval, on one axis with the level that nothing would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.markup import BLUE, PAPER, RULE, VERMILION, escape, interval, known, shorten, svg, text

WIDTH, ROW, HEAD, TOP, BOTTOM = 836, 26, 26, 58, 14
PLOT_X, PLOT_WIDTH, NUMBERS_X = 300, 260, 576  # the longest: +0.0058 (+0.0027 to +0.0088), n = 1,000
_HEADING = f'font-weight="600" font-size="12" style="paint-order:stroke;stroke:{PAPER};stroke-width:5px"'


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
        return svg(text(12, 30, words, more='opacity=".75"'), width=WIDTH, height=60, label=f"{title}. {words}")
    body, y, heading = "", float(TOP), ""
    for one in rows:
        if one.heading != heading:
            heading = one.heading
            body += text(12, y + 18, shorten(heading, 100), more=_HEADING)
            y += HEAD
        body += _row(one, y, ends, signed)
        y += ROW
    return svg(
        _head(title, ends, level, y) + body,
        width=WIDTH,
        height=round(y + BOTTOM),
        label=_sentence(rows, title, level, signed),
    )


def _head(title: str, ends: tuple[float, float], level: tuple[float, str], bottom: float) -> str:
    low, high = ends
    at = [low + (high - low) * quarter / 4 for quarter in range(5)]
    grid = "".join(f"M{_x(v, ends):.1f} {TOP - 4}V{bottom:g}" for v in at)
    near = (high - low) / 16
    marks = "".join(
        text(_x(v, ends), TOP - 9, f"{v:g}", more='text-anchor="middle"')
        for v in at
        if not 0 < abs(v - level[0]) < near
    )
    x = _x(level[0], ends)
    return (
        text(12, 18, shorten(title, 112), more='font-weight="600" font-size="13"')
        + f'<path d="{grid}" style="stroke:{RULE}" fill="none"/><g font-size="10.5" opacity=".85">{marks}</g>'
        f'<path d="M{x:.1f} {TOP - 4}V{bottom:g}" stroke="currentColor" stroke-dasharray="4 3" fill="none"/>'
        + text(x, TOP - 23, f"{level[1]} ↓", more='text-anchor="middle" font-size="10.5"')
        + text(NUMBERS_X, TOP - 9, "with 95 % interval and n", more='font-size="11" font-weight="600"')
    )


def _row(one: IntervalRow, y: float, ends: tuple[float, float], signed: bool) -> str:
    middle = y + ROW / 2
    words = text(24 if one.heading else 12, middle + 4, shorten(one.words, 50), more='font-size="11.5"')
    numbers = text(NUMBERS_X, middle + 4, interval(one.estimate, signed=signed), more='font-size="11.5"')
    drawn = ""
    if known(one.estimate):
        x, low, high = (_x(v, ends) for v in (one.estimate.value, one.estimate.low, one.estimate.high))
        colour = VERMILION if one.marked else BLUE
        whisker = f"M{low:.1f} {middle:g}H{high:.1f}M{low:.1f} {middle - 4:g}v8M{high:.1f} {middle - 4:g}v8"
        drawn = f'<path d="{whisker}" stroke="{colour}" stroke-width="1.8" fill="none"/>'
        drawn += (
            f'<path d="M{x:.1f} {middle - 6.5:g}l6.5 6.5-6.5 6.5-6.5-6.5z" fill="{colour}"/>'
            if one.marked
            else f'<circle cx="{x:.1f}" cy="{middle:g}" r="4.8" fill="{colour}"/>'
        )
    said = f"{one.words}: {interval(one.estimate, signed=signed)}"
    return f"<g><title>{escape(said)}</title>{words}{drawn}{numbers}</g>"


def _sentence(rows: Sequence[IntervalRow], title: str, level: tuple[float, str], signed: bool) -> str:
    said = [
        f"{one.heading + ', ' if one.heading else ''}{one.words}: {interval(one.estimate, signed=signed)}"
        for one in rows
    ]
    return f"{title} ({level[1]}: {level[0]:.2f}). {'; '.join(said)}."


def _x(value: float, ends: tuple[float, float]) -> float:
    low, high = ends
    return PLOT_X + PLOT_WIDTH * min(max((value - low) / (high - low), 0.0), 1.0)
