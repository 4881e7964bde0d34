"""Lines over two axes, with whiskers or a band: a plot is its two axes, and what it draws lies on top of one another."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from ehrmem_widgets.charts.axis import Axis, Values
from ehrmem_widgets.charts.marks import HALO, Key, dashed, mark, upright_whisker
from ehrmem_widgets.charts.markup import RULE, text


@dataclass(frozen=True)
class Plot:
    """``x`` runs from left to right; ``y`` from the bottom, where its axis starts, up."""

    x: Axis
    y: Axis

    def axes(self, name: str, *, upwards: str = "", upright: bool = False, bold: float | None = None) -> str:
        """The grid (``upright``: also at the ticks of x), the axes, and the words of the ticks, with ``name`` below them and the name of
        the other axis, ``upwards``, at the left edge of the picture; the words of the tick ``bold`` stand out."""
        left, right, bottom, top = self.x.start, self.x.end, self.y.start, self.y.end
        levels = [(self.y(value), words) for value, words in self.y.ticks]
        grid = "".join(f"M{left:g} {y:g}H{right:g}" for y, _ in levels if y != bottom)
        marks = "".join(text(left - 7, y + 4, words, more='text-anchor="end"') for y, words in levels if words)
        room = max(8, int((right - left) / max(len(self.x.ticks), 1) / 5.6))
        small, below = "", 1
        for value, words in self.x.ticks:
            x = self.x(value)
            small += f"M{x:g} {bottom:g}v4"
            grid += f"M{x:g} {top:g}V{bottom:g}" if upright and x != left else ""
            weight = ' font-weight="700"' if value == bold else ""
            lines = [words] if len(words) <= room else textwrap.wrap(words, room, max_lines=3, placeholder="…")
            below = max(below, len(lines))
            for row, line in enumerate(lines):
                marks += text(x, bottom + 16 + 12 * row, line, more=f'text-anchor="middle"{weight}')
        marks += text((left + right) / 2, bottom + 22 + 12 * below, name, more='text-anchor="middle"')
        if upwards:
            middle = (top + bottom) / 2
            marks += text(12, middle, upwards, more=f'text-anchor="middle" transform="rotate(-90 12 {middle:g})"')
        return (
            f'<path d="{grid}" style="stroke:{RULE}"/><g font-size="11">{marks}</g>'
            f'<path d="M{left:g} {top:g}V{bottom:g}H{right:g}{small}" stroke="currentColor" fill="none"/>'
        )

    def line(self, key: Key, xs: Values, ys: Values, *, aside: float = 0.0) -> str:
        """A series as ``key`` says, broken where ``ys`` is nan; ``aside`` moves it by so many pixels, for lines that share their xs."""
        at = list(zip([x + aside for x in self.x.places(xs)], self.y.places(ys), strict=True))
        marks = _marks(key, at) if key.shape else ""
        return f'<path d="{path(at)}" fill="none" stroke="{key.colour}" stroke-width="1.8"{dashed(key.dashes)}/>{marks}'

    def marks(self, key: Key, xs: Values, ys: Values) -> str:
        """The key's shape at each point; none where ``ys`` is nan."""
        return _marks(key, [(self.x(x), self.y(y)) for x, y in zip(xs, ys, strict=True)])

    def whiskers(self, key: Key, xs: Values, low: Values, high: Values, *, aside: float = 0.0) -> str:
        """The interval at each of ``xs``; none where it is nan."""
        sides = ((self.x(x) + aside, self.y(a), self.y(b)) for x, a, b in zip(xs, low, high, strict=True))
        drawn = "".join(upright_whisker(x, a, b) for x, a, b in sides if a == a and b == b)
        return f'<path d="{drawn}" fill="none" stroke="{key.colour}" stroke-width="1.4"/>'

    def band(self, key: Key, xs: Values, low: Values, high: Values) -> str:
        """The intervals as one area; that of a dashed line has a dotted edge."""
        at = self.x.places(xs)
        up, down = (list(zip(at, self.y.places(side), strict=True)) for side in (high, low))
        edge = f' stroke="{key.colour}" stroke-width=".8" stroke-dasharray="1.5 2.5"' if key.dashes else ""
        return f'<path d="{path(up)}L{path(down[::-1])[1:]}z" fill="{key.colour}" fill-opacity=".2"{edge}/>'

    def level(self, value: float, words: str) -> str:
        """A dashed line across at a value, with its words at the right end."""
        y = self.y(value)
        said = text(self.x.end - 4, y - 5, words, more=f'text-anchor="end" font-size="11" {HALO}')
        return f'<path d="M{self.x.start:g} {y:g}H{self.x.end:g}" stroke="currentColor" stroke-dasharray="3 3"/>{said}'


def path(points: Iterable[tuple[float, float]]) -> str:
    """A path through the points, broken where one is not a number."""
    parts = [f"{x:g} {y:g}" if y == y else "" for x, y in points]
    return "".join(["M" + "L".join(drawn) for there, drawn in groupby(parts, bool) if there])


def _marks(key: Key, at: Iterable[tuple[float, float]]) -> str:
    return "".join([mark(key.shape, x, y, key.colour, edged=True) for x, y in at if y == y])
