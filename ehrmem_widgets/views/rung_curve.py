"""A figure by what the attacker knows, one line a group, with 95 % intervals and the n behind every point."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ehrmem_widgets.attacker.facts import rung_words
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.markup import (
    BLUE,
    GREEN,
    GREY,
    PAPER,
    PURPLE,
    RULE,
    SKY,
    VERMILION,
    interval,
    known,
    shorten,
    svg,
    text,
)

WIDTH = 796
LEFT, RIGHT, PLOT_HEIGHT, TICKS, N_ROW = 232, 12, 236, 44, 15
_PLOT_WIDTH = WIDTH - LEFT - RIGHT
# Line by line: colour, dashes and shape of the marks.
_STYLES = (
    (BLUE, "", "disc"),
    (GREEN, "7 4", "square"),
    (VERMILION, "", "diamond"),
    (GREY, "2 3", "triangle"),
    (PURPLE, "9 3 2 3", "cross"),
    (SKY, "4 2", "ring"),
)
MOST = len(_STYLES)

Line = Mapping[str, Estimate]
"""Rung: the estimate there."""


def by_rung(found: Finding, figure: str, **where: Any) -> dict[str, Estimate]:
    """The cohort figure at each rung, in the finding's order; ``where`` as in ``Finding.about``."""
    rows = found.about("figures", figure=figure, **where)
    return {
        str(one["rung"]): Estimate(float(one["value"]), float(one["low"]), float(one["high"]), int(one["n"]))
        for one in rows.to_dict("records")
    }


def rung_curve(
    lines: Mapping[str, Line],
    rungs: Sequence[str],
    *,
    title: str,
    axis: str,
    top: float = 1.0,
    level: tuple[float, str] | None = None,
) -> str:
    """An SVG with one line a group (at most ``MOST``), over ``rungs`` from left to right, from 0 to ``top``.

    Lines differ in colour, dashes and shape; below the axis stands the n of each point. ``level`` is a dashed line
    with its words, such as what chance gives. A rung without a figure is a gap, and its n a dash.
    """
    shown = {name: line for name, line in list(lines.items())[:MOST] if any(known(line.get(r)) for r in rungs)}
    if not shown:
        words = "Nothing to show: no figure at any of these rungs."
        return svg(text(12, 30, words, more='opacity=".75"'), width=WIDTH, height=60, label=f"{title}. {words}")
    above = 44 + 18 * ((len(shown) + 1) // 2)
    bottom = above + PLOT_HEIGHT
    height = bottom + TICKS + 18 + N_ROW * len(shown) + 8
    body = _axes(rungs, title, axis, above, top) + _level(level, above, top)
    for place, (name, line) in enumerate(shown.items()):
        aside = 9 * (place - (len(shown) - 1) / 2)
        body += _line(line, rungs, _STYLES[place], aside, above, top)
        body += _legend(name, place, _STYLES[place])
        body += _counts(name, line, rungs, _STYLES[place], bottom + TICKS + 18 + N_ROW * (place + 1) - 4)
    return svg(body, width=WIDTH, height=height, label=_sentence(shown, rungs, title, axis))


def _axes(rungs: Sequence[str], title: str, axis: str, above: int, top: float) -> str:
    bottom = above + PLOT_HEIGHT
    at = [top * quarter / 4 for quarter in range(5)]
    grid = "".join(f"M{LEFT} {_y(v, above, top):g}h{_PLOT_WIDTH}" for v in at[1:])
    marks = "".join(text(LEFT - 8, _y(v, above, top) + 4, f"{v:g}", more='text-anchor="end"') for v in at)
    ticks = ""
    for place, rung in enumerate(rungs):
        words = rung_words(rung).replace("Demographics + ", "+ ")
        for row, line in enumerate(textwrap.wrap(words, max(10, int(90 / len(rungs))), max_lines=3, placeholder="…")):
            ticks += text(_x(place, rungs), bottom + 16 + 12 * row, line, more='text-anchor="middle"')
    middle = above + PLOT_HEIGHT / 2
    side = "".join(
        text(12, middle - 8 + 15 * row, line, more='font-size="11.5"')
        for row, line in enumerate(textwrap.wrap(axis, 28, max_lines=5, placeholder="…"))
    )
    return (
        text(12, 18, shorten(title, 112), more='font-weight="600" font-size="13"')
        + f'<path d="{grid}" style="stroke:{RULE}" fill="none"/>'
        f'<path d="M{LEFT} {above}V{bottom}H{LEFT + _PLOT_WIDTH}" stroke="currentColor" fill="none"/>'
        f'<g font-size="11">{marks}{ticks}</g>{side}'
        + text(12, bottom + 16, "What the attacker knows", more='font-size="11.5"')
        + text(12, bottom + TICKS + 14, "People (n) behind each point", more='font-size="11" font-weight="600"')
    )


def _level(level: tuple[float, str] | None, above: int, top: float) -> str:
    if level is None:
        return ""
    y = _y(level[0], above, top)
    words = text(LEFT + _PLOT_WIDTH - 4, y - 5, level[1], more='text-anchor="end" font-size="11"')
    return f'<path d="M{LEFT} {y:g}h{_PLOT_WIDTH}" stroke="currentColor" stroke-dasharray="3 3" fill="none"/>{words}'


def _line(line: Line, rungs: Sequence[str], style: tuple[str, str, str], aside: float, above: int, top: float) -> str:
    colour, dashes, shape = style
    path = whiskers = marks = ""
    pen = "M"
    for place, rung in enumerate(rungs):
        one = line.get(rung)
        if one is None or not known(one):
            pen = "M"
            continue
        x, y = _x(place, rungs) + aside, _y(one.value, above, top)
        path, pen = path + f"{pen}{x:.1f} {y:.1f}", "L"
        low, high = _y(one.low, above, top), _y(one.high, above, top)
        whiskers += f"M{x:.1f} {low:.1f}V{high:.1f}M{x - 3.5:.1f} {low:.1f}h7M{x - 3.5:.1f} {high:.1f}h7"
        marks += _mark(shape, x, y, colour)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.8"{dashed}/>'
        f'<path d="{whiskers}" fill="none" stroke="{colour}" stroke-width="1.4"/>{marks}'
    )


def _mark(shape: str, x: float, y: float, colour: str) -> str:
    edge = f'style="stroke:{PAPER}"'
    if shape == "disc":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}" {edge}/>'
    if shape == "square":
        return f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9" fill="{colour}" {edge}/>'
    if shape == "diamond":
        return f'<path d="M{x:.1f} {y - 6.5:.1f}l6.5 6.5-6.5 6.5-6.5-6.5z" fill="{colour}" {edge}/>'
    if shape == "triangle":
        return f'<path d="M{x:.1f} {y - 6:.1f}l6 10.5h-12z" fill="{colour}" {edge}/>'
    if shape == "cross":
        return f'<path d="M{x - 4.5:.1f} {y - 4.5:.1f}l9 9m0-9l-9 9" fill="none" stroke="{colour}" stroke-width="2.4"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" style="fill:{PAPER}" stroke="{colour}" stroke-width="2.2"/>'


def _legend(name: str, place: int, style: tuple[str, str, str]) -> str:
    colour, dashes, shape = style
    x, y = 12 + 392 * (place % 2), 38 + 18 * (place // 2)
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<path d="M{x} {y}h34" stroke="{colour}" stroke-width="1.8"{dashed}/>'
        + _mark(shape, x + 17, y, colour)
        + text(x + 42, y + 4, shorten(name, 56), more='font-size="11.5"')
    )


def _counts(name: str, line: Line, rungs: Sequence[str], style: tuple[str, str, str], y: float) -> str:
    counts = "".join(
        text(
            _x(place, rungs),
            y,
            f"{one.n:,}" if (one := line.get(rung)) and known(one) else "—",
            more='text-anchor="middle"',
        )
        for place, rung in enumerate(rungs)
    )
    return f'<g font-size="11">{_mark(style[2], 18, y - 4, style[0])}{text(30, y, shorten(name, 33))}{counts}</g>'


def _sentence(lines: Mapping[str, Line], rungs: Sequence[str], title: str, axis: str) -> str:
    said = []
    for name, line in lines.items():
        at = [f"{rung_words(rung)}: {interval(line.get(rung))}" for rung in rungs if known(line.get(rung))]
        said.append(f"{name}: {'; '.join(at)}")
    return f"{title} ({axis}), by what the attacker knows. {'. '.join(said)}."


def _x(place: int, rungs: Sequence[str]) -> float:
    return LEFT + _PLOT_WIDTH * (place + 0.5) / len(rungs)


def _y(value: float, above: int, top: float) -> float:
    return above + PLOT_HEIGHT * (1 - min(max(value / top, 0.0), 1.0))
