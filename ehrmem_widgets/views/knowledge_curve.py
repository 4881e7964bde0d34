"""A figure by what the attacker knows, one line a group, with 95 % intervals and the n behind every point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ehrmem_widgets.attacker.facts import knowledge_words
from ehrmem_widgets.charts.axis import Axis, quarters
from ehrmem_widgets.charts.marks import Key, legend, mark, nothing
from ehrmem_widgets.charts.markup import BLUE, GREEN, GREY, PURPLE, SKY, VERMILION, interval, known, shorten, svg, text
from ehrmem_widgets.charts.plot import Plot
from ehrmem_widgets.findings.finding import Finding, estimate_of
from ehrmem_widgets.statistics.discrimination import NOTHING
from ehrmem_widgets.statistics.intervals import Estimate

WIDTH = 796
LEFT, RIGHT, PLOT_HEIGHT, N_ROW = 232, 784, 236, 15
# Line by line: colour, shape of the marks, dashes.
_STYLES = (
    Key("", BLUE, "disc", ""),
    Key("", GREEN, "square", "7 4"),
    Key("", VERMILION, "diamond", ""),
    Key("", GREY, "triangle", "2 3"),
    Key("", PURPLE, "cross", "9 3 2 3"),
    Key("", SKY, "ring", "4 2"),
)
MOST = len(_STYLES)

Line = Mapping[str, Estimate]
"""Knowledge level: the estimate there."""


def by_level(found: Finding, figure: str, **where: object) -> dict[str, Estimate]:
    """The cohort figure at each knowledge level, in the finding's order; ``where`` as in ``Finding.about``."""
    rows = found.about("figures", figure=figure, **where)
    return {str(one["knowledge"]): estimate_of(one) for one in rows.to_dict("records")}


def knowledge_curve(
    lines: Mapping[str, Line],
    knowledge_levels: Sequence[str],
    *,
    title: str,
    axis: str,
    top: float = 1.0,
    level: tuple[float, str] | None = None,
) -> str:
    """An SVG with one line a group (at most ``MOST``), over ``knowledge_levels`` from left to right, from 0 to ``top``.

    Lines differ in colour, dashes and shape; below the axis stands the n of each point. ``level`` is a dashed line
    with its words, such as what chance gives. A knowledge level without a figure is a gap, and its n a dash.
    """
    shown = {
        name: [one if (one := line.get(knowledge)) and known(one) else NOTHING for knowledge in knowledge_levels]
        for name, line in list(lines.items())[:MOST]
    }
    shown = {name: line for name, line in shown.items() if any(map(known, line))}
    if not shown:
        words = "Nothing to show: no figure at any of these knowledge levels."
        return nothing(words, width=WIDTH, label=f"{title}. {words}")
    keys = [replace(style, words=shorten(name, 56)) for name, style in zip(shown, _STYLES, strict=False)]
    head, y = legend(keys, 12, 38, WIDTH - 12)
    ticks = [knowledge_words(knowledge).replace("Demographics + ", "+ ") for knowledge in knowledge_levels]
    xs = range(len(knowledge_levels))
    bottom = y + 14 + PLOT_HEIGHT
    plot = Plot(
        Axis(-0.5, len(knowledge_levels) - 0.5, LEFT, RIGHT, list(enumerate(ticks))),
        Axis(0, top, bottom, y + 14, quarters(0, top)),
    )
    body = text(12, 18, shorten(title, 112), more='font-weight="600" font-size="13"') + head
    body += text(LEFT, y + 4, axis, more='font-size="11"') + plot.axes("What the attacker knows")
    body += plot.level(*level) if level else ""
    y = bottom + 82
    body += text(12, y, "People (n) behind each point", more='font-size="11" font-weight="600"')
    for place, (line, key) in enumerate(zip(shown.values(), keys, strict=True)):
        aside = 9 * (place - (len(shown) - 1) / 2)
        value, low, high = ([getattr(one, side) for one in line] for side in ("value", "low", "high"))
        body += plot.line(key, xs, value, aside=aside) + plot.whiskers(key, xs, low, high, aside=aside)
        y += N_ROW
        counts = "".join(
            text(plot.x(x), y, f"{one.n:,}" if known(one) else "—", more='text-anchor="middle"')
            for x, one in zip(xs, line, strict=True)
        )
        body += f'<g font-size="11">{mark(key.shape, 18, y - 4, key.colour)}{text(30, y, shorten(key.words, 33))}{counts}</g>'
    return svg(body, width=WIDTH, height=round(y + 12), label=_sentence(shown, knowledge_levels, title, axis))


def _sentence(lines: Mapping[str, Sequence[Estimate]], knowledge_levels: Sequence[str], title: str, axis: str) -> str:
    said = []
    for name, line in lines.items():
        at = [
            f"{knowledge_words(knowledge)}: {interval(one)}"
            for knowledge, one in zip(knowledge_levels, line, strict=True)
            if known(one)
        ]
        said.append(f"{name}: {'; '.join(at)}")
    return f"{title} ({axis}), by what the attacker knows. {'. '.join(said)}."
