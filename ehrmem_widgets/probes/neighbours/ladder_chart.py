"""The rank of a patient's own record as facts are added, one row a rung, by three searches."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ehrmem_widgets.attacker.facts import rung_words
from ehrmem_widgets.probes.neighbours.ladder import Step
from ehrmem_widgets.views.markup import BLUE, GREY, ORANGE, PAPER, RULE, SHADE, plural, shorten, svg, text

WIDTH, ROW, TOP, BOTTOM = 796, 30, 62, 34
PLOT_X, PLOT_WIDTH = 240, 340
COLUMNS = (("audited", 648, "audited"), ("codes", 708, "codes"), ("reference", 784, "reference"))
NEAREST = 10


def rank_ladder(steps: Sequence[Step], chosen: str, *, n: int, reference: bool = True) -> str:
    """An SVG with one row a rung: the rank of the own record among ``n`` on a logarithmic axis, 1 on the left.

    The audited model is a filled disc, the search for codes a cross, the reference model an open square; the ranks stand in
    figures beside them. The rung ``chosen`` is marked. A rank that is not known yet is a dash.
    """
    if not steps or n < 1:
        words = "No ranks yet: nothing has been asked of the model."
        return svg(text(12, 30, words, more='opacity=".75"'), width=WIDTH, height=TOP + BOTTOM, label=words)
    height = TOP + ROW * len(steps) + BOTTOM
    body = _head(n, height, reference)
    body += "".join(
        _row(step, TOP + ROW * i, step.rung == chosen, n, height, reference) for i, step in enumerate(steps)
    )
    return svg(body + _legend(height - 10, reference), width=WIDTH, height=height, label=_sentence(steps, n, reference))


def _head(n: int, height: int, reference: bool) -> str:
    ticks = [10**power for power in range(int(math.log10(n)) + 1)]
    ticks = [tick for tick in ticks if tick == 1 or tick <= n / 4] + ([n] if n > 1 else [])
    grid = "".join(f"M{_x(tick, n):.1f} {TOP - 4}V{height - BOTTOM}" for tick in ticks)
    marks = "".join(text(_x(t, n), TOP - 10, f"{t:,}", more='text-anchor="middle"') for t in ticks)
    names = "".join(text(x, TOP - 10, name, more='text-anchor="end"') for which, x, name in _columns(reference))
    near = ""
    if n > NEAREST:
        x = _x(NEAREST, n)
        near = f'<rect x="{PLOT_X}" y="{TOP - 4}" width="{x - PLOT_X:.1f}" height="{height - BOTTOM - TOP + 4}" style="fill:{SHADE}"/>'
        near += (
            f'<path d="M{x:.1f} {TOP - 4}V{height - BOTTOM}" stroke="currentColor" stroke-dasharray="3 3" fill="none"/>'
        )
    return (
        f'{near}<path d="{grid}" style="stroke:{RULE}" fill="none"/>'
        f'<g font-weight="600" font-size="11.5">{text(12, 16, "What the attacker knows")}'
        f"{text(PLOT_X, 16, f'Place of the own record among {n:,}, the nearest first')}</g>"
        f'<g font-size="10.5" opacity=".8">{text(PLOT_X, 33, f"1: found at once; left of the dashed line: among the ten nearest of {n:,}")}{marks}</g>'
        f'<g font-size="10.5" font-weight="600">{names}</g>'
    )


def _row(step: Step, y: int, chosen: bool, n: int, height: int, reference: bool) -> str:
    middle = y + ROW / 2
    mark = (
        f'<rect x="0" y="{y + 2}" width="4" height="{ROW - 4}" fill="currentColor"/>'
        f'<rect x=".5" y="{y + 1.5}" width="{WIDTH - 1}" height="{ROW - 3}" fill="none" stroke="currentColor" stroke-width=".8"/>'
        if chosen
        else ""
    )
    weight = ' font-weight="700"' if chosen else ""
    words = text(
        12,
        middle + 4,
        shorten(rung_words(step.rung).replace("Demographics + ", "+ "), 36),
        more=f'font-size="11.5"{weight}',
    )
    rule = f'<path d="M0 {y + ROW}H{WIDTH}" style="stroke:{RULE}" stroke-width=".6"/>'
    if step.why_not:
        return f"<g>{mark}{words}{text(PLOT_X + 6, middle + 4, f'not asked: {shorten(step.why_not, 60)}', more=_QUIET)}{rule}</g>"
    shapes = {"codes": _cross, "reference": _square, "audited": _disc}
    drawn = figures = ""
    for which, x, _ in _columns(reference)[::-1]:
        rank = getattr(step, which)
        figures += text(x, middle + 4, "—" if rank is None else f"{rank:,}", more=f'text-anchor="end"{weight}')
        drawn += "" if rank is None else shapes[which](_x(rank, n), middle)
    return f'<g>{mark}{words}{drawn}<g font-size="11.5">{figures}</g>{rule}</g>'


_QUIET = 'font-size="11" opacity=".8"'


def _columns(reference: bool) -> list[tuple[str, int, str]]:
    return [column for column in COLUMNS if reference or column[0] != "reference"]


def _disc(x: float, y: float) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:g}" r="5.5" fill="{BLUE}" style="stroke:{PAPER}" stroke-width="1"/>'


def _cross(x: float, y: float) -> str:
    d = f"M{x - 5:.1f} {y - 5:g}l10 10m0-10l-10 10"
    return (
        f'<path d="{d}" style="stroke:{PAPER}" stroke-width="4.5"/><path d="{d}" stroke="{GREY}" stroke-width="2.4"/>'
    )


def _square(x: float, y: float) -> str:
    return f'<rect x="{x - 6.5:.1f}" y="{y - 6.5:g}" width="13" height="13" fill="none" stroke="{ORANGE}" stroke-width="2.2"/>'


def _legend(y: int, reference: bool) -> str:
    body = (
        _disc(18, y - 4)
        + text(30, y, "audited model's embedding")
        + _cross(210, y - 4)
        + text(222, y, "plain search for the known codes (no model)")
    )
    if reference:
        body += _square(506, y - 4) + text(520, y, "reference model, which never saw the patient")
    return f'<g font-size="11">{body}</g>'


def _sentence(steps: Sequence[Step], n: int, reference: bool) -> str:
    parts = []
    for step in steps:
        if step.why_not:
            parts.append(f"{rung_words(step.rung)}: not asked, {step.why_not}")
            continue
        ranks = [
            f"{name} {'not known yet' if getattr(step, which) is None else format(getattr(step, which), ',')}"
            for which, _, name in _columns(reference)
        ]
        parts.append(f"{rung_words(step.rung)}: {', '.join(ranks)}")
    return f"Place of the patient's own record among {plural(n, 'record')} as facts are added. {'; '.join(parts)}."


def _x(rank: float, n: int) -> float:
    return PLOT_X + 8 + (PLOT_WIDTH - 26) * (math.log(max(rank, 1)) / math.log(n) if n > 1 else 0)
