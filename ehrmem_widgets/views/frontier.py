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
_AROUND = [(math.cos(k * math.pi / 4), -math.sin(k * math.pi / 4)) for k in (1, 7, 3, 5, 2, 6, 0, 4)]
_DISTANCES = (13, 26, 40, 54)  # pixels between a point and its number
_COLOURS = (VERMILION, BLUE, GREEN, PURPLE, ORANGE, SKY, INK)


def frontier(risk: str, of: Mapping[str, Estimate], useful: Mapping[str, Mapping[str, Estimate]]) -> str:
    """An SVG: the figure ``risk`` of each model (``of``, by the model's name) upwards, and beside one another each measure of ``useful`` (by its
    name and the model's) to the right, of the models that have it. Models have numbers, in their order."""
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
        body += "".join(
            _point(plot, key, measured[model], of[model]) for model, key in keys.items() if model in measured
        )
        at = {n: (plot.x(measured[m].value), plot.y(of[m].value)) for n, m in enumerate(keys, 1) if m in measured}
        body += _numbers(plot, at)
    names, end = legend(list(keys.values()), 12, _BOTTOM + 56, WIDTH - 24)
    said = "; ".join(
        f"{name}: {interval(of[name])}, "
        + ", ".join(f"{words} {interval(measured.get(name))}" for words, measured in useful.items())
        for name in of
    )
    return svg(
        body + names, width=WIDTH, height=round(end), label=f"{risk}, against what each model is good for. {said}."
    )


def _point(plot: Plot, key: Key, use: Estimate, risk: Estimate) -> str:
    x, y = plot.x(use.value), plot.y(risk.value)
    lines = level_whisker(plot.x(use.low), plot.x(use.high), y, 3.5) + upright_whisker(
        x, plot.y(risk.low), plot.y(risk.high)
    )
    drawn = mark(key.shape, x, y, key.colour, edged=True)
    return f'<path d="{lines}" fill="none" stroke="{key.colour}" stroke-width="1.4"/>{drawn}'


def _numbers(plot: Plot, points: Mapping[int, tuple[float, float]]) -> str:
    """The number of each point, as near to it as leaves all points and the numbers before it free; a thin line leads to one further away."""
    taken, body = list(points.values()), ""
    for number, (x, y) in points.items():
        around = [(x + far * right, y + far * down) for far in _DISTANCES for right, down in _AROUND]
        inside = [at for at in around if plot.x.start + 8 < at[0] < plot.x.end + 12 and _TOP < at[1] < _BOTTOM - 8]
        at = next((one for one in inside if all(math.dist(one, other) > 12 for other in taken)), around[0])
        taken.append(at)
        if math.dist(at, (x, y)) > 20:
            body += f'<path d="M{x:g} {y:g}L{at[0]:g} {at[1]:g}" stroke="currentColor" stroke-width=".7"/>'
        more = f'text-anchor="middle" font-size="11" font-weight="700" {HALO}'
        body += text(round(at[0], 1), round(at[1] + 4, 1), number, more=more)
    return body


def _axis(figures: Sequence[Estimate], start: float, end: float) -> Axis:
    """An axis that holds the ends of all intervals that have one."""
    ends = [end for one in figures for end in (one.low, one.value, one.high) if math.isfinite(end)]
    room = 0.08 * (max(ends) - min(ends)) or 0.5
    low, high = min(ends) - room, max(ends) + room
    return Axis(low, high, start, end, [(value, f"{value:g}") for value in round_values(low, high, 5)])
