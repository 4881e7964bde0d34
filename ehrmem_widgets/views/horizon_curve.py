"""P(leak within t) over the horizon, with its band, beside the reference's."""

from __future__ import annotations

import numpy as np

from ehrmem_widgets.charts.axis import Axis, quarters, round_values
from ehrmem_widgets.charts.marks import Key, legend, mark
from ehrmem_widgets.charts.markup import BLUE, ORANGE, plural, shorten, svg, text
from ehrmem_widgets.charts.plot import Plot
from ehrmem_widgets.probes.findings import Curve
from ehrmem_widgets.statistics.intervals import Estimate, rounded

WIDTH, HEIGHT = 560, 260
_Y = Axis(0, 1, 220, 52, quarters(0, 1))


def horizon_curve(curve: Curve | None, reference: Curve | None, *, title: str, horizon: int, unit: str = "code") -> str:
    """An SVG of the probability that at least one code of ``title`` is generated within t codes (or days: ``unit``), up to ``horizon``."""
    horizon = max(horizon, 1)
    ticks = [(t, f"{t:g}") for t in round_values(0, horizon, least_step=1)]
    plot = Plot(Axis(0, horizon, 46, 440, ticks), _Y)
    heading = shorten(f"{title}: probability of a leak within t {unit}s", 72)
    axis = "codes generated" if unit == "code" else f"{unit}s after the known facts"
    body = text(46, 16, heading, more='font-weight="600"') + plot.axes(axis)
    curve, reference = _drawable(curve), _drawable(reference)
    if curve is None:
        words = "No curve yet: nothing has been asked of the model."
        body += text(243, 136, words, more='text-anchor="middle" opacity=".75"')
        return svg(body, width=WIDTH, height=HEIGHT, label=f"{title}: no curve yet.")
    shown = [(curve, "audited", Key(f"audited model (n = {curve.n:,})", BLUE, dashes="", band=True))]
    if reference is not None:
        words = f"reference: never saw the patient (n = {reference.n:,})"
        shown.append((reference, "reference", Key(words, ORANGE, dashes="6 3.5", band=True)))
    for one, _, key in reversed(shown):
        xs = one.horizons
        body += plot.band(key, xs, one.low, one.high) + plot.line(key, xs, one.value)
    body += legend([key for _, _, key in shown], 46, 34, WIDTH - 46)[0]
    body += _ends(plot, [(one, name, key.colour) for one, name, key in shown])
    return svg(body, width=WIDTH, height=HEIGHT, label=_sentence(curve, reference, title, unit))


def _ends(plot: Plot, shown: list[tuple[Curve, str, str]]) -> str:
    """The last value of each curve with its interval, kept 28 apart so that they never overlap."""
    ends = [plot.y(float(curve.value[-1])) for curve, _, _ in shown]
    ys = ends
    if len(ends) == 2 and abs(ends[0] - ends[1]) < 28:
        middle = min(max(sum(ends) / 2, plot.y.end + 14), plot.y.start - 14)
        sign = 1 if ends[0] <= ends[1] else -1
        ys = [middle - 14 * sign, middle + 14 * sign]
    body = ""
    for (curve, name, colour), at, y in zip(shown, ends, ys, strict=True):
        body += mark("disc", plot.x(float(curve.horizons[-1])), at, colour, 3.6, edged=True)
        value, low, high = rounded(curve.value[-1], curve.low[-1], curve.high[-1])
        body += text(plot.x.end + 10, y - 2, f"{name} {value}", more='font-weight="600"')
        body += text(plot.x.end + 10, y + 11, f"({low} to {high})")
    return f'<g font-size="11">{body}</g>'


def _sentence(curve: Curve, reference: Curve | None, title: str, unit: str) -> str:
    steps = plural(round(float(curve.horizons[-1])), unit)
    words = f"{title}: probability of a leak within {steps} {_end(curve)}"
    return words + (f", against {_end(reference)} for the reference model." if reference is not None else ".")


def _end(curve: Curve) -> str:
    return str(Estimate(float(curve.value[-1]), float(curve.low[-1]), float(curve.high[-1]), curve.n))


def _drawable(curve: Curve | None) -> Curve | None:
    return curve if curve is not None and len(curve.value) and np.isfinite(curve.value).all() else None
