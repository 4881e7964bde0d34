"""What happens to the leak, on average over people, when one identifier is moved off its true value."""

from __future__ import annotations

import textwrap

import pandas as pd

from ehrmem_widgets.charts.axis import Axis, round_values
from ehrmem_widgets.charts.marks import Key, legend
from ehrmem_widgets.charts.markup import BLUE, GREY, svg, text
from ehrmem_widgets.charts.plot import Plot
from ehrmem_widgets.probes.perturbation.identifiers import IDENTIFIERS

AUDITED, NEVER_SEEN = "members", "people never seen"
_KEYS = {
    AUDITED: Key(AUDITED, BLUE, "disc", "", band=True),
    NEVER_SEEN: Key(NEVER_SEEN, GREY, "square", "6 3.5", band=True),
}
WIDTH, HEIGHT = 884, 300
LEFT, TOP, BOTTOM, GAP = 46, 86, 250, 22


def moved_identifiers(curves: pd.DataFrame) -> str:
    """An SVG, one panel an identifier: the mean leak at each step off the truth, minus each person's own median off it, with 95 %
    intervals. ``curves`` has one row per point: ``identifier``, ``who`` (``AUDITED`` or ``NEVER_SEEN``), ``step`` (0: the truth),
    ``value``, ``low``, ``high``, ``n`` (people).
    """
    if curves.empty:
        return "<p>No curve rests on enough people to be shown.</p>"
    identifiers = [name for name in IDENTIFIERS if name in set(curves["identifier"])]
    low, high = min(float(curves["low"].min()), 0.0), max(float(curves["high"].max()), 0.01)
    levels = round_values(low, high)
    body = text(LEFT, 16, "Mean leak, minus each person's own level off the truth", more='font-weight="600"')
    body += legend(list(_KEYS.values()), LEFT, 34, WIDTH)[0]
    width = (WIDTH - LEFT) / len(identifiers)
    for place, identifier in enumerate(identifiers):
        points = curves[curves["identifier"] == identifier].sort_values("step")
        first, last = int(points["step"].min()), int(points["step"].max())
        steps = [(step, f"{step:g}") for step in round_values(first, last, least_step=1)]
        start = LEFT + width * place
        x = Axis(first - 0.5, last + 0.5, start, start + width - GAP, steps)
        plot = Plot(x, Axis(low, high, BOTTOM, TOP, [(v, "" if place else f"{v:g}") for v in levels]))
        name = IDENTIFIERS[identifier].removeprefix("the ")
        for line, words in enumerate(textwrap.wrap(name, 28)[::-1]):
            body += text((x.start + x.end) / 2, TOP - 10 - 14 * line, words, more='text-anchor="middle"')
        body += plot.axes("steps off the truth")
        body += f'<path d="M{x(0):g} {TOP}V{BOTTOM}" stroke="currentColor" stroke-dasharray="1 2"/>'
        for who, of in points.groupby("who", sort=False):
            key, at = _KEYS[str(who)], of["step"].tolist()
            body += plot.band(key, at, of["low"].tolist(), of["high"].tolist())
            body += plot.line(key, at, of["value"].tolist())
    return svg(body, width=WIDTH, height=HEIGHT, label=_sentence(curves, identifiers))


def _sentence(curves: pd.DataFrame, identifiers: list[str]) -> str:
    said = []
    for identifier in identifiers:
        for one in curves[(curves["identifier"] == identifier) & (curves["step"] == 0)].to_dict("records"):
            said.append(
                f"{IDENTIFIERS[identifier]}, {one['who']}: {one['value']:.2f} ({one['low']:.2f} to {one['high']:.2f}, "
                f"n = {one['n']:,})"
            )
    return f"Mean leak at the true value, minus that at other values. {'; '.join(said)}."
