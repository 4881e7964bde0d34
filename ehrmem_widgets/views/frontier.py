"""What models are good for against what they give away: one risk against each measure of use, with intervals both ways."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ehrmem_widgets.charts.axis import Axis, round_values
from ehrmem_widgets.charts.marks import HALO, Key, Shape, legend, level_whisker, mark, upright_whisker
from ehrmem_widgets.charts.markup import BLUE, GREEN, INK, ORANGE, PURPLE, SKY, VERMILION, interval, svg, text
from ehrmem_widgets.charts.plot import Plot
from ehrmem_widgets.statistics.intervals import Estimate

WIDTH = 836
_TOP, _BOTTOM, _ROOM = 16, 210, 64  # of the panels, and the room for what stands left of each
_SHAPES: Sequence[Shape] = ("disc", "square", "triangle", "diamond", "ring", "box", "gem", "cross")
_COLOURS = (VERMILION, BLUE, GREEN, PURPLE, ORANGE, SKY, INK)


def frontier(risk: str, of: Mapping[str, Estimate], useful: Mapping[str, Mapping[str, Estimate]]) -> str:
    """An SVG: the figure ``risk`` of each model (``of``, by the model's name) upwards, and beside one another each measure of ``useful`` (by its
    name and the model's) to the right. Models have numbers, in their order."""
    keys = {
        name: Key(f"{place + 1} {name}", _COLOURS[place % len(_COLOURS)], _SHAPES[place % len(_SHAPES)])
        for place, name in enumerate(of)
    }
    wide = WIDTH / len(useful)
    up = _axis(list(of.values()), _BOTTOM, _TOP)
    body = ""
    for place, (name, measured) in enumerate(useful.items()):
        across = _axis(list(measured.values()), wide * place + _ROOM, wide * (place + 1) - 20)
        plot = Plot(across, up)
        body += plot.axes(name)
        for number, (model, key) in enumerate(keys.items(), 1):
            body += _point(plot, key, number, measured[model], of[model])
    names, end = legend(list(keys.values()), 12, _BOTTOM + 56, WIDTH - 24)
    said = "; ".join(
        f"{name}: {interval(of[name])}, "
        + ", ".join(f"{words} {interval(measured[name])}" for words, measured in useful.items())
        for name in of
    )
    return svg(
        body + names, width=WIDTH, height=round(end), label=f"{risk}, against what each model is good for. {said}."
    )


def _point(plot: Plot, key: Key, number: int, use: Estimate, risk: Estimate) -> str:
    x, y = plot.x(use.value), plot.y(risk.value)
    lines = level_whisker(plot.x(use.low), plot.x(use.high), y, 3.5) + upright_whisker(
        x, plot.y(risk.low), plot.y(risk.high)
    )
    words = text(x + 7, y - 7, number, more=f'font-size="11" font-weight="700" {HALO}')
    drawn = mark(key.shape, x, y, key.colour, edged=True)
    return f'<path d="{lines}" fill="none" stroke="{key.colour}" stroke-width="1.4"/>{drawn}{words}'


def _axis(figures: Sequence[Estimate], start: float, end: float) -> Axis:
    """An axis that holds the ends of all intervals that have one."""
    ends = [end for one in figures for end in (one.low, one.value, one.high) if math.isfinite(end)]
    room = 0.08 * (max(ends) - min(ends)) or 0.5
    low, high = min(ends) - room, max(ends) + room
    return Axis(low, high, start, end, [(value, f"{value:g}") for value in round_values(low, high, 5)])
