"""Which part of the record gives membership away: the AUROC of a score over each kind of code and each quarter alone."""

from __future__ import annotations

from collections.abc import Sequence

from ehrmem_widgets.probes.membership.slices import Part
from ehrmem_widgets.statistics.verdicts import ALARM_RATE
from ehrmem_widgets.views.markup import BLUE, GREY, PAPER, RULE, escape, interval, known, plural, shorten, svg, text

WIDTH, ROW, TOP, BOTTOM = 796, 26, 46, 30
BAR_X, BAR_WIDTH, NUMBERS_X = 236, 260, 512
TITLES = {
    "demographic": "Sex, race and other static facts",
    "encounter": "Visits and admissions",
    "laboratory": "Laboratory values",
    "diagnosis": "Diagnoses",
    "medication": "Medications",
    "procedure": "Procedures",
    "time": "Time between events",
    "special": "Start and end of the record",
    "other": "Other codes",
    "quarter 1": "First quarter of the record",
    "quarter 2": "Second quarter",
    "quarter 3": "Third quarter",
    "quarter 4": "Last quarter",
}


def membership_parts(parts: Sequence[Part], score: str) -> str:
    """An SVG with one bar a part: kinds of code first, then the quarters of the record; from chance (0.5) to the right."""
    if not parts:
        words = "No part of the record could be looked at by itself."
        return svg(text(12, 30, words, more='opacity=".75"'), width=WIDTH, height=TOP + BOTTOM, label=words)
    rows, y = "", TOP
    for place, part in enumerate(parts):
        if place and part.is_quarter and not parts[place - 1].is_quarter:
            y += 10
        rows += _row(part, y)
        y += ROW
    return svg(_head(y) + rows + _legend(y + 20), width=WIDTH, height=y + BOTTOM, label=_sentence(parts, score))


def title(part: Part) -> str:
    """A part of the record in plain words."""
    return TITLES.get(part.name, part.name)


def _head(bottom: float) -> str:
    heads = text(12, 16, "Part of the record") + text(BAR_X, 16, "Members told from people never seen")
    heads += text(NUMBERS_X, 16, "AUROC with 95 % interval and n")
    grid = "".join(f"M{_x(v):g} {TOP - 6}V{bottom}" for v in (0, 0.25, 0.75, 1))
    labels = ((0, "0"), (0.5, "0.5 = chance"), (1, "1 = always"))
    ticks = "".join(text(_x(v), TOP - 11, words, more='text-anchor="middle"') for v, words in labels)
    return (
        f'<g font-weight="600" font-size="11.5">{heads}</g><g font-size="10.5" opacity=".8">{ticks}</g>'
        f'<path d="{grid}" style="stroke:{RULE}" fill="none"/>'
        f'<path d="M{_x(0.5):g} {TOP - 6}V{bottom}" stroke="currentColor" stroke-dasharray="5 4" fill="none"/>'
    )


def _row(part: Part, y: float) -> str:
    middle = y + ROW / 2
    body = text(12, middle + 4, shorten(title(part), 36), more='font-size="12"')
    if not known(part.auroc):
        why = text(BAR_X, middle + 4, shorten(f"not shown: {part.note or 'no figure'}", 84), more='font-size="11"')
        return f"<g><title>{escape(_row_sentence(part))}</title>{body}{why}</g>"
    chance, x, low, high = (_x(v) for v in (0.5, part.auroc.value, part.auroc.low, part.auroc.high))
    colour = BLUE if _stands_out(part) else GREY
    left, width = min(chance, x), abs(x - chance)
    whisker = f"M{low:.1f} {middle:g}H{high:.1f}M{low:.1f} {middle - 4:g}v8M{high:.1f} {middle - 4:g}v8"
    body += f'<rect x="{left:.1f}" y="{middle - 6:g}" width="{width:.1f}" height="12" fill="{colour}"/>'
    body += f'<path d="{whisker}" style="stroke:{PAPER}" stroke-width="2.8" opacity=".85" fill="none"/>'
    body += f'<path d="{whisker}" stroke="currentColor" stroke-width="1.4" fill="none"/>'
    star = " *" if _stands_out(part) else ""
    body += text(NUMBERS_X, middle + 4, f"{interval(part.auroc)}{star}", more='font-size="11.5"')
    return f"<g><title>{escape(_row_sentence(part))}</title>{body}</g>"


def _legend(y: float) -> str:
    return (
        f'<g font-size="10.5"><rect x="12" y="{y - 8}" width="16" height="9" fill="{BLUE}"/>'
        + text(34, y, "* above chance, corrected for looking at several parts (Holm)")
        + f'<rect x="372" y="{y - 8}" width="16" height="9" fill="{GREY}"/>'
        + text(394, y, "no more than chance explains")
        + "</g>"
    )


def _stands_out(part: Part) -> bool:
    return part.p_adjusted <= ALARM_RATE and part.auroc.low > 0.5


def _row_sentence(part: Part) -> str:
    if not known(part.auroc):
        return f"{title(part)}: not shown, {part.note or 'no figure'}"
    told = "above chance" if _stands_out(part) else "no more than chance explains"
    return f"{title(part)}: AUROC {interval(part.auroc)}, {told}"


def _sentence(parts: Sequence[Part], score: str) -> str:
    most = max((p for p in parts if known(p.auroc)), key=lambda p: p.auroc.value, default=None)
    first = f"AUROC of {score} over {plural(len(parts), 'part')} of the record, each by itself."
    return f"{first} Highest: {_row_sentence(most)}." if most else first


def _x(value: float) -> float:
    return BAR_X + BAR_WIDTH * min(max(value, 0.0), 1.0)
