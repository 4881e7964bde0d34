"""How many members a score finds at each share of false alarms (the ROC curve), the tolerated share marked."""

from __future__ import annotations

import math

import numpy as np

from ehrmem_widgets.probes.membership.slices import SMALLEST_FPR, Roc, ScoreFigures
from ehrmem_widgets.views.markup import (
    BLUE,
    FONT,
    GREY,
    INK,
    PAPER,
    RULE,
    VERMILION,
    interval,
    known,
    percent,
    svg,
    text,
)

WIDTH, HEIGHT = 720, 330
LEFT, RIGHT, TOP, BOTTOM = 56, 24, 64, 46
_PLOT_WIDTH, _PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
_LOG_TICKS = (0.001, 0.01, 0.1, 1.0)
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def roc_curve(roc: Roc | None, figures: ScoreFigures | None, fpr: float, *, log_scale: bool) -> str:
    """An SVG of the ROC curve with its 95 % band, chance as a dashed line, and a mark at the tolerated ``fpr``.

    ``log_scale`` gives each tenfold of false alarms the same room, so that the small ones can be read.
    """
    body = _axes(log_scale)
    if roc is None or figures is None:
        words = "No curve: nobody could be scored on both sides."
        body += text(LEFT + _PLOT_WIDTH / 2, TOP + _PLOT_HEIGHT / 2, words, more='text-anchor="middle" opacity=".75"')
        return svg(body, width=WIDTH, height=HEIGHT, label=words)
    body = _unseen(roc, log_scale) + body + _chance(log_scale) + _band(roc, log_scale) + _line(roc, log_scale)
    body += _mark(figures, fpr, log_scale) + _legend(figures, roc)
    return svg(body, width=WIDTH, height=HEIGHT, label=_sentence(figures, roc, fpr))


def _axes(log_scale: bool) -> str:
    bottom = TOP + _PLOT_HEIGHT
    across = _LOG_TICKS if log_scale else _TICKS
    grid = "".join(f"M{LEFT} {_y(v):g}h{_PLOT_WIDTH}" for v in _TICKS[1:])
    grid += "".join(f"M{_x(v, log_scale):.1f} {TOP}V{bottom}" for v in across)
    marks = "".join(text(LEFT - 7, _y(v) + 4, percent(v), more='text-anchor="end"') for v in _TICKS)
    marks += "".join(
        text(_x(v, log_scale), bottom + 15, percent(v), more=f'text-anchor="{"end" if v == 1 else "middle"}"')
        for v in across
    )
    name = "false alarms: share of people never seen who are called members" + (
        " (each step tenfold)" if log_scale else ""
    )
    names = text(LEFT + _PLOT_WIDTH / 2, HEIGHT - 8, name, more='text-anchor="middle"') + text(
        12,
        TOP + _PLOT_HEIGHT / 2,
        "members found",
        more=f'text-anchor="middle" transform="rotate(-90 12 {TOP + _PLOT_HEIGHT / 2:g})"',
    )
    return (
        f'<path d="{grid}" style="stroke:{RULE}" fill="none"/>'
        f'<path d="M{LEFT} {TOP}V{bottom}H{LEFT + _PLOT_WIDTH}" stroke="currentColor" fill="none"/>'
        f'<g font-size="11">{marks}{names}</g>'
    )


def _unseen(roc: Roc, log_scale: bool) -> str:
    """The shares below one false alarm, of which these people say nothing."""
    edge = _x(1 / roc.others, log_scale)
    if not log_scale or edge <= LEFT + 1:
        return ""
    lines = ("cannot be seen:", f"less than 1 of {roc.others:,}") if edge - LEFT > 110 else ()
    words = "".join(
        text(LEFT + 6, TOP + _PLOT_HEIGHT - 36 + 13 * i, line, more='font-size="10.5" opacity=".8"')
        for i, line in enumerate(lines)
    )
    return (
        f'<rect x="{LEFT}" y="{TOP}" width="{edge - LEFT:.1f}" height="{_PLOT_HEIGHT}" fill="currentColor" opacity=".09"/>'
        + words
    )


def _chance(log_scale: bool) -> str:
    shares = np.geomspace(SMALLEST_FPR, 1, 40) if log_scale else np.array([0.0, 1.0])
    return (
        f'<path d="{_path(shares, shares, log_scale)}" fill="none" stroke="{GREY}" stroke-width="1.5" '
        'stroke-dasharray="5 4"/>'
    )


def _band(roc: Roc, log_scale: bool) -> str:
    up, down = _path(roc.band_at, roc.high, log_scale), _path(roc.band_at[::-1], roc.low[::-1], log_scale)
    return f'<path d="{up}L{down[1:]}z" fill="{BLUE}" fill-opacity=".2"/>'


def _line(roc: Roc, log_scale: bool) -> str:
    """The empirical curve as steps: between two false alarms nothing more is found."""
    false, true = np.repeat(roc.false, 2)[1:], np.repeat(roc.true, 2)[:-1]
    if log_scale:
        start = float(roc.true[roc.false <= SMALLEST_FPR].max())
        keep = false > SMALLEST_FPR
        false, true = np.append(SMALLEST_FPR, false[keep]), np.append(start, true[keep])
    return f'<path d="{_path(false, true, log_scale)}" fill="none" stroke="{BLUE}" stroke-width="2.4"/>'


def _mark(figures: ScoreFigures, fpr: float, log_scale: bool) -> str:
    x = _x(fpr, log_scale)
    body = f'<path d="M{x:.1f} {TOP}v{_PLOT_HEIGHT}" stroke="{VERMILION}" stroke-width="1.6" stroke-dasharray="2 3"/>'
    if known(figures.tpr):
        low, high, y = _y(figures.tpr.low), _y(figures.tpr.high), _y(figures.tpr.value)
        whisker = f"M{x:.1f} {low:.1f}V{high:.1f}M{x - 4:.1f} {low:.1f}h8M{x - 4:.1f} {high:.1f}h8"
        body += f'<path d="{whisker}" stroke="{VERMILION}" stroke-width="1.8" fill="none"/>'
        body += f'<path d="M{x:.1f} {y - 6:.1f}l6 6-6 6-6-6z" fill="{VERMILION}" style="stroke:{PAPER}"/>'
    return body


def _legend(figures: ScoreFigures, roc: Roc) -> str:
    first = f"{figures.name}: AUROC {interval(figures.auroc)} ({roc.members:,} members, {roc.others:,} never seen)"
    body = text(LEFT, 16, first, more='font-weight="600" font-size="12"')
    y = 40
    body += f'<path d="M{LEFT} {y}h24" stroke="{BLUE}" stroke-width="2.4"/>'
    body += f'<rect x="{LEFT}" y="{y - 6}" width="24" height="12" fill="{BLUE}" fill-opacity=".2"/>'
    body += text(LEFT + 30, y + 4, "members found, with 95 % interval")
    x = LEFT + 252
    body += f'<path d="M{x} {y}h24" stroke="{GREY}" stroke-width="1.5" stroke-dasharray="5 4"/>'
    body += text(x + 30, y + 4, "chance")
    x += 90
    body += f'<path d="M{x + 6} {y - 6}l6 6-6 6-6-6z" fill="{VERMILION}" style="stroke:{PAPER}"/>'
    body += text(x + 18, y + 4, "at the false alarms you tolerate")
    return f'<g font-size="11" style="font-family:{FONT};fill:{INK}">{body}</g>'


def _sentence(figures: ScoreFigures, roc: Roc, fpr: float) -> str:
    return (
        f"ROC curve of {figures.name} over {roc.members:,} members and {roc.others:,} people never seen: AUROC "
        f"{interval(figures.auroc)}; at {percent(fpr)} false alarms a share of {interval(figures.tpr)} of the members is "
        "found; by chance it would be as small as the share of false alarms."
    )


def _path(false: np.ndarray, true: np.ndarray, log_scale: bool) -> str:
    points = zip(false.tolist(), true.tolist(), strict=True)
    return "M" + "L".join(f"{_x(f, log_scale):.1f} {_y(t):.1f}" for f, t in points)


def _x(share: float, log_scale: bool) -> float:
    if log_scale:
        decades = -math.log10(SMALLEST_FPR)
        return LEFT + _PLOT_WIDTH * (1 + math.log10(min(max(share, SMALLEST_FPR), 1)) / decades)
    return LEFT + _PLOT_WIDTH * min(max(share, 0.0), 1.0)


def _y(value: float) -> float:
    return TOP + _PLOT_HEIGHT * (1 - min(max(value, 0.0), 1.0))
