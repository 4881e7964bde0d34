"""How many members a score finds at each share of false alarms (the ROC curve), the tolerated share marked."""

from __future__ import annotations

import numpy as np

from ehrmem_widgets.charts.axis import Axis
from ehrmem_widgets.charts.marks import Key, legend, mark, upright_whisker
from ehrmem_widgets.charts.markup import BLUE, GREY, VERMILION, interval, known, percent, svg, text
from ehrmem_widgets.charts.plot import Plot
from ehrmem_widgets.probes.membership.slices import SMALLEST_FPR, Roc, ScoreFigures

WIDTH, HEIGHT = 720, 330
LEFT, RIGHT, TOP, BOTTOM = 56, 690, 64, 284
_SHARES = [(share, percent(share)) for share in (0, 0.25, 0.5, 0.75, 1)]
_TENFOLD = [(share, percent(share)) for share in (0.001, 0.01, 0.1, 1)]
_FOUND = Key("members found, with 95 % interval", BLUE, dashes="", band=True)
_CHANCE = Key("chance", GREY, dashes="5 4")
_TOLERATED = Key("at the false alarms you tolerate", VERMILION, "diamond")


def roc_curve(roc: Roc | None, figures: ScoreFigures | None, fpr: float, *, log_scale: bool) -> str:
    """An SVG of the ROC curve with its 95 % band, chance as a dashed line, and a mark at the tolerated ``fpr``.

    ``log_scale`` gives each tenfold of false alarms the same room, so that the small ones can be read.
    """
    x = Axis(SMALLEST_FPR, 1, LEFT, RIGHT, _TENFOLD, log=True) if log_scale else Axis(0, 1, LEFT, RIGHT, _SHARES)
    plot = Plot(x, Axis(0, 1, BOTTOM, TOP, _SHARES))
    steps = " (each step tenfold)" if log_scale else ""
    body = plot.axes(
        f"false alarms: share of people never seen who are called members{steps}", upwards="members found", upright=True
    )
    if roc is None or figures is None:
        words = "No curve: nobody could be scored on both sides."
        body += text((LEFT + RIGHT) / 2, 174, words, more='text-anchor="middle" opacity=".75"')
        return svg(body, width=WIDTH, height=HEIGHT, label=words)
    chance = np.geomspace(SMALLEST_FPR, 1, 40) if log_scale else np.array([0.0, 1.0])
    first = f"{figures.name}: AUROC {interval(figures.auroc)} ({roc.members:,} members, {roc.others:,} never seen)"
    body = (
        (_unseen(plot, roc) if log_scale else "")
        + body
        + plot.line(_CHANCE, chance, chance)
        + plot.band(_FOUND, roc.band_at, roc.low, roc.high)
        + plot.line(_FOUND, *_steps(roc, x.low))
        + _mark(plot, figures, fpr)
        + text(LEFT, 16, first, more='font-weight="600" font-size="12"')
        + legend((_FOUND, _CHANCE, _TOLERATED), LEFT, 40, RIGHT - LEFT)[0]
    )
    return svg(body, width=WIDTH, height=HEIGHT, label=_sentence(figures, roc, fpr))


def _unseen(plot: Plot, roc: Roc) -> str:
    """The shares below one false alarm, of which these people say nothing."""
    width = plot.x(1 / roc.others) - LEFT
    if width <= 1:
        return ""
    lines = ("cannot be seen:", f"less than 1 of {roc.others:,}") if width > 110 else ()
    words = "".join(
        text(LEFT + 6, BOTTOM - 36 + 13 * place, line, more='font-size="10.5" opacity=".8"')
        for place, line in enumerate(lines)
    )
    return f'<rect x="{LEFT}" y="{TOP}" width="{width:g}" height="{BOTTOM - TOP}" fill="currentColor" opacity=".09"/>{words}'


def _steps(roc: Roc, smallest: float) -> tuple[np.ndarray, np.ndarray]:
    """The empirical curve as steps, from the smallest share that is drawn: between two false alarms nothing more is found."""
    false, true = np.repeat(roc.false, 2)[1:], np.repeat(roc.true, 2)[:-1]
    start, drawn = float(roc.true[roc.false <= smallest].max()), false > smallest
    return np.append(smallest, false[drawn]), np.append(start, true[drawn])


def _mark(plot: Plot, figures: ScoreFigures, fpr: float) -> str:
    x, y, colour = plot.x(fpr), plot.y, _TOLERATED.colour
    body = f'<path d="M{x:g} {TOP}V{BOTTOM}" stroke="{colour}" stroke-width="1.6" stroke-dasharray="2 3"/>'
    if known(figures.tpr):
        whisker = upright_whisker(x, y(figures.tpr.low), y(figures.tpr.high))
        body += f'<path d="{whisker}" stroke="{colour}" stroke-width="1.8" fill="none"/>'
        body += mark("diamond", x, y(figures.tpr.value), colour, edged=True)
    return body


def _sentence(figures: ScoreFigures, roc: Roc, fpr: float) -> str:
    return (
        f"ROC curve of {figures.name} over {roc.members:,} members and {roc.others:,} people never seen: AUROC "
        f"{interval(figures.auroc)}; at {percent(fpr)} false alarms a share of {interval(figures.tpr)} of the members is "
        "found; by chance it would be as small as the share of false alarms."
    )
