"""P(leak within t) over the horizon, with its band, beside the reference's."""

from __future__ import annotations

import numpy as np

from ehrmem_widgets.probes.findings import Curve
from ehrmem_widgets.statistics.intervals import Estimate, rounded
from ehrmem_widgets.views.markup import BLUE, ORANGE, PAPER, RULE, plural, shorten, svg, text

WIDTH, HEIGHT = 560, 260
LEFT, RIGHT, TOP, BOTTOM = 46, 120, 52, 40
_PLOT_WIDTH, _PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM


def horizon_curve(curve: Curve | None, reference: Curve | None, *, title: str, horizon: int) -> str:
    """An SVG of the probability that at least one code of ``title`` is generated within t codes, t = 1..``horizon``."""
    horizon = max(horizon, 1)
    body = text(
        LEFT, 16, shorten(f"{title}: probability of a leak within t codes", 72), more='font-weight="600"'
    ) + _axes(horizon)
    curve, reference = _drawable(curve), _drawable(reference)
    if curve is None:
        words = "No curve yet: nothing has been asked of the model."
        body += text(LEFT + _PLOT_WIDTH / 2, TOP + _PLOT_HEIGHT / 2, words, more='text-anchor="middle" opacity=".75"')
        return svg(body, width=WIDTH, height=HEIGHT, label=f"{title}: no curve yet.")
    if reference is not None:
        body += _line(reference, horizon, ORANGE, dashed=True)
    body += (
        _line(curve, horizon, BLUE, dashed=False) + _legend(curve, reference) + _end_labels(curve, reference, horizon)
    )
    return svg(body, width=WIDTH, height=HEIGHT, label=_sentence(curve, reference, title))


def _axes(horizon: int) -> str:
    bottom = TOP + _PLOT_HEIGHT
    grid = "".join(f"M{LEFT} {_y(v):g}h{_PLOT_WIDTH}" for v in (0.25, 0.5, 0.75, 1))
    marks = "".join(text(LEFT - 7, _y(v) + 4, f"{v:g}", more='text-anchor="end"') for v in (0, 0.25, 0.5, 0.75, 1))
    steps = _ticks(horizon)
    marks += "".join(text(_x(t, horizon), bottom + 15, t, more='text-anchor="middle"') for t in steps)
    ticks = "".join(f"M{_x(t, horizon):.1f} {bottom}v4" for t in steps)
    names = text(LEFT + _PLOT_WIDTH / 2, HEIGHT - 6, "codes generated", more='text-anchor="middle"') + text(
        12,
        TOP + _PLOT_HEIGHT / 2,
        "probability",
        more=f'text-anchor="middle" transform="rotate(-90 12 {TOP + _PLOT_HEIGHT / 2:g})"',
    )
    return (
        f'<path d="{grid}" style="stroke:{RULE}" fill="none"/>'
        f'<path d="M{LEFT} {TOP}V{bottom}H{LEFT + _PLOT_WIDTH}{ticks}" stroke="currentColor" fill="none"/>'
        f'<g font-size="11">{marks}{names}</g>'
    )


def _line(curve: Curve, horizon: int, colour: str, *, dashed: bool) -> str:
    t = np.arange(1, len(curve.value) + 1)
    low, high, value = (np.clip(a, 0, 1) for a in (curve.low, curve.high, curve.value))
    xs = LEFT + _PLOT_WIDTH * t / horizon
    band = _path(xs, high) + "L" + _path(xs[::-1], low[::-1])[1:] + "z"
    edge = f' stroke="{colour}" stroke-width=".8" stroke-dasharray="1.5 2.5"' if dashed else ""
    dash = ' stroke-dasharray="6 3.5"' if dashed else ""
    opacity = ".16" if dashed else ".24"
    return (
        f'<path d="{band}" fill="{colour}" fill-opacity="{opacity}"{edge}/>'
        f'<path d="{_path(xs, value)}" fill="none" stroke="{colour}" stroke-width="2.4"{dash}/>'
    )


def _path(xs: np.ndarray, values: np.ndarray) -> str:
    ys = TOP + _PLOT_HEIGHT * (1 - values)
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(xs.tolist(), ys.tolist(), strict=True))


def _legend(curve: Curve, reference: Curve | None) -> str:
    y = 34
    body = f'<path d="M{LEFT} {y}h24" stroke="{BLUE}" stroke-width="2.4"/>' + text(
        LEFT + 30, y + 4, f"audited model (n = {curve.n:,})"
    )
    if reference is not None:
        x = LEFT + 200
        body += f'<path d="M{x} {y}h24" stroke="{ORANGE}" stroke-width="2.4" stroke-dasharray="6 3.5"/>'
        body += text(x + 30, y + 4, f"reference that never saw the patient (n = {reference.n:,})")
    return f'<g font-size="11">{body}</g>'


def _end_labels(curve: Curve, reference: Curve | None, horizon: int) -> str:
    """The last value of each curve with its interval, kept 28 apart so that they never overlap."""
    ends = [(curve, "audited", BLUE)] + ([(reference, "reference", ORANGE)] if reference is not None else [])
    ys = [_y(float(c.value[-1])) for c, _, _ in ends]
    if len(ys) == 2 and abs(ys[0] - ys[1]) < 28:
        middle = min(max(sum(ys) / 2, TOP + 14), TOP + _PLOT_HEIGHT - 14)
        sign = 1 if ys[0] <= ys[1] else -1
        ys = [middle - 14 * sign, middle + 14 * sign]
    body = ""
    for (c, name, colour), y in zip(ends, ys, strict=True):
        x, at = _x(len(c.value), horizon), _y(float(c.value[-1]))
        body += f'<circle cx="{x:.1f}" cy="{at:.1f}" r="3.6" fill="{colour}" style="stroke:{PAPER}"/>'
        value, low, high = rounded(c.value[-1], c.low[-1], c.high[-1])
        body += text(LEFT + _PLOT_WIDTH + 10, y - 2, f"{name} {value}", more='font-weight="600"')
        body += text(LEFT + _PLOT_WIDTH + 10, y + 11, f"({low} to {high})")
    return f'<g font-size="11">{body}</g>'


def _sentence(curve: Curve, reference: Curve | None, title: str) -> str:
    steps = plural(len(curve.value), "code")
    words = f"{title}: probability of a leak within {steps} {_end(curve)}"
    return words + (f", against {_end(reference)} for the reference model." if reference is not None else ".")


def _end(curve: Curve) -> str:
    return str(Estimate(float(curve.value[-1]), float(curve.low[-1]), float(curve.high[-1]), curve.n))


def _drawable(curve: Curve | None) -> Curve | None:
    return curve if curve is not None and len(curve.value) and np.isfinite(curve.value).all() else None


def _ticks(horizon: int) -> list[int]:
    step = next(s for s in (1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1000, horizon) if horizon / s <= 6)
    return list(range(0, horizon + 1, step))


def _x(t: float, horizon: int) -> float:
    return LEFT + _PLOT_WIDTH * min(t / horizon, 1)


def _y(value: float) -> float:
    return TOP + _PLOT_HEIGHT * (1 - min(max(value, 0.0), 1.0))
