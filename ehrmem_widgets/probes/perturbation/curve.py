"""The leak probability while one identifier moves off its true value, before the band of people whom no model saw."""

from __future__ import annotations

import math
import textwrap

import numpy as np

from ehrmem_widgets.probes.perturbation.ask import SweepCurve
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Judgement
from ehrmem_widgets.views.markup import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PAPER,
    RULE,
    VERDICT_COLOURS,
    escape,
    icon,
    interval,
    plural,
    shorten,
    svg,
    text,
    verdict_name,
)

WIDTH, HEIGHT = 796, 372
LEFT, RIGHT, TOP, BOTTOM = 56, 20, 84, 72
_PLOT_WIDTH, _PLOT_HEIGHT = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
AXES = {
    "age": "age that the model is told, in years",
    "sex": "sex that the model is told",
    "date": "time that the model is told between the last two known events",
}
READING = "A collapse off the true value means an individual; a smooth curve means a population."


def perturbation_curve(curve: SweepCurve | None, *, title: str, people: int = 0) -> str:
    """An SVG of the leak probability of the attribute ``title`` at each value of the moved identifier.

    The audited model is a solid line with discs and its 95 % interval as whiskers, the reference model a dashed line with open
    squares, the truth a marked column, and the band (95 % of ``people`` whom no model saw, moved to this patient's own
    level) is hatched behind them. The vertical axis ends where the figures do, at 0.1, 0.2, 0.5 or 1.
    """
    head = text(LEFT, 16, shorten(f"{title}: probability of a leak", 80), more='font-weight="600"')
    if curve is None or not len(curve.audited) or not np.isfinite(curve.audited).all():
        words = "No curve yet: nothing has been asked of the model."
        body = head + text(WIDTH / 2, HEIGHT / 2, words, more='text-anchor="middle" opacity=".75"')
        return svg(body, width=WIDTH, height=HEIGHT, label=f"{title}: no curve yet.")
    top = _top(curve)
    body = (
        head
        + _legend(curve, people)
        + _axes(curve, top)
        + _truth(curve)
        + (_band(curve, top) if curve.band is not None else "")
        + (_reference(curve, top) if curve.reference is not None else "")
        + _audited(curve, top)
    )
    return svg(body, width=WIDTH, height=HEIGHT, label=_sentence(curve, title, people))


def spike_box(
    curve: SweepCurve,
    judgement: Judgement | None,
    *,
    people: int,
    wanted: int,
    title: str,
    facts: str,
    held: bool = True,
    settled: bool = False,
) -> str:
    """The verdict in its fixed words, and the figures that it rests on. ``facts``: what the attacker knows, in words; ``held``:
    whether the record holds the attribute (else there is no verdict)."""
    colour = VERDICT_COLOURS[judgement.verdict] if judgement else RULE
    if judgement:
        sentence = judgement.sentence
    elif settled and not held:
        sentence = (
            "what the model says of it comes from other people, and there is nothing of this patient to give away."
        )
    else:
        sentence = f"people whom no model saw are asked the same ({people} of at most {wanted})."
    name = verdict_name(judgement, held=held or not settled)
    truth = escape(curve.words[curve.true])
    figures = [
        (f"Leak at the true value ({truth})", _at(curve, curve.true)),
        ("Leak at the other values (median)", escape(_off(curve))),
        ("Spike: the first minus the second", escape(interval(curve.spike, signed=True))),
    ]
    if curve.reference_spike is not None:
        shown = escape(interval(curve.reference_spike, signed=True))
        figures.append(("Spike of the reference, which never saw the patient", shown))
    if judgement is not None and judgement.rank_p is not None:
        figures.append(
            (
                "Chance of such a spike in somebody never seen",
                f"p = {judgement.rank_p:.3f}, n = {plural(people, 'person', 'people')}",
            )
        )
    rows = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in figures)
    return (
        f'<div class="ehrmem-verdict" role="group" style="--ehrmem-verdict:{colour};min-height:176px" '
        f'aria-label="{escape(f"Verdict on {title}: {name}")}">'
        f'<p class="ehrmem-small">{escape(title)} · the attacker knows: {escape(facts)}</p>'
        f'<p class="ehrmem-said">{icon(judgement.verdict if judgement else None)} <b>{name}</b>: {escape(sentence)}</p><dl>{rows}</dl></div>'
    )


def tick_words(words: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """What all values have in common at their beginning, and the rest of each.

    >>> tick_words(("Iron below 2", "Iron 2 to 5"))
    ('Iron', ('below 2', '2 to 5'))
    """
    split = [each.split() for each in words]
    same = 0
    while all(len(each) > same + 1 for each in split) and len({each[same] for each in split}) == 1:
        same += 1
    return " ".join(split[0][:same]) if split else "", tuple(" ".join(each[same:]) for each in split)


def _axes(curve: SweepCurve, top: float) -> str:
    bottom = TOP + _PLOT_HEIGHT
    marks = "".join(
        text(LEFT - 7, _y(v, top) + 4, f"{v:g}", more='text-anchor="end"')
        for v in (0, top / 4, top / 2, 3 * top / 4, top)
    )
    grid = "".join(f"M{LEFT} {_y(v, top):g}h{_PLOT_WIDTH}" for v in (top / 4, top / 2, 3 * top / 4, top))
    common, ticks = tick_words(curve.words)
    room = max(8, int(_PLOT_WIDTH / len(ticks) / 5.6))
    shown = ""
    for place, words in enumerate(ticks):
        lines = textwrap.wrap(words, room, max_lines=3, placeholder="…") or [words]
        weight = ' font-weight="700"' if place == curve.true else ""
        shown += "".join(
            text(_x(place, curve), bottom + 15 + 12 * row, line, more=f'text-anchor="middle"{weight}')
            for row, line in enumerate(lines)
        )
    name = AXES.get(curve.identifier, f"value that the model is told: {common}")
    middle = TOP + _PLOT_HEIGHT / 2
    return (
        f'<path d="{grid}" style="stroke:{RULE}" fill="none"/>'
        f'<path d="M{LEFT} {TOP}V{bottom}H{LEFT + _PLOT_WIDTH}" stroke="currentColor" fill="none"/>'
        f'<g font-size="10.5">{marks}{shown}</g><g font-size="11">'
        + text(LEFT + _PLOT_WIDTH / 2, HEIGHT - 8, shorten(name, 110), more='text-anchor="middle"')
        + text(14, middle, "leak probability", more=f'text-anchor="middle" transform="rotate(-90 14 {middle:g})"')
        + "</g>"
    )


def _truth(curve: SweepCurve) -> str:
    x = _x(curve.true, curve)
    half = min(24.0, _PLOT_WIDTH / len(curve.words) / 2.4)
    label = min(max(x, LEFT + 30), WIDTH - RIGHT - 30)
    return (
        f'<rect x="{x - half:.1f}" y="{TOP}" width="{2 * half:.1f}" height="{_PLOT_HEIGHT}" fill="none" stroke="currentColor" '
        f'stroke-dasharray="3 3"/>'
        + text(label, TOP - 6, "▼ true value", more='text-anchor="middle" font-size="11" font-weight="700"')
    )


def _band(curve: SweepCurve, top: float) -> str:
    assert curve.band is not None
    low, high = curve.band
    body = ""
    for place in range(len(curve.words)):
        if not (math.isfinite(low[place]) and math.isfinite(high[place])):
            continue
        x, half = _x(place, curve), _PLOT_WIDTH / len(curve.words) / 2
        y0, y1 = _y(high[place], top), _y(low[place], top)
        height = max(y1 - y0, 1.5)
        body += (
            f'<rect x="{x - half:.1f}" y="{y0:.1f}" width="{2 * half:.1f}" height="{height:.1f}" fill="{GREY}" fill-opacity=".3"/>'
            f'<path d="M{x - half:.1f} {y0:.1f}h{2 * half:.1f}M{x - half:.1f} {y0 + height:.1f}h{2 * half:.1f}" stroke="{GREY}"/>'
        )
    return body


def _reference(curve: SweepCurve, top: float) -> str:
    assert curve.reference is not None
    at = [(_x(p, curve), _y(v, top)) for p, v in enumerate(curve.reference.tolist()) if math.isfinite(v)]
    squares = "".join(
        f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" style="fill:{PAPER}" stroke="{ORANGE}" stroke-width="2"/>'
        for x, y in at
    )
    return f'<path d="{_path(at)}" fill="none" stroke="{ORANGE}" stroke-width="2" stroke-dasharray="6 3.5"/>{squares}'


def _audited(curve: SweepCurve, top: float) -> str:
    at = [(_x(p, curve), _y(v, top)) for p, v in enumerate(curve.audited.tolist())]
    body = f'<path d="{_path(at)}" fill="none" stroke="{BLUE}" stroke-width="2.4"/>'
    if curve.interval is not None:
        d = ""
        for (x, _), low, high in zip(at, *(side.tolist() for side in curve.interval), strict=True):
            d += f"M{x:.1f} {_y(low, top):.1f}V{_y(high, top):.1f}M{x - 4:.1f} {_y(low, top):.1f}h8M{x - 4:.1f} {_y(high, top):.1f}h8"
        body += f'<path d="{d}" stroke="{BLUE}" stroke-width="1.2" fill="none"/>'
    for place, (x, y) in enumerate(at):
        if place == curve.true:
            shape = f"M{x:.1f} {y - 8:.1f}l8 8-8 8-8-8z"
            body += f'<path d="{shape}" fill="{BLUE}" style="stroke:{INK}" stroke-width="1.4"/>'
        else:
            body += f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{BLUE}" style="stroke:{PAPER}"/>'
    return body


def _legend(curve: SweepCurve, people: int) -> str:
    body = (
        f'<path d="M{LEFT} 34h26" stroke="{BLUE}" stroke-width="2.4"/><circle cx="{LEFT + 13}" cy="34" r="4" fill="{BLUE}"/>'
        + text(
            LEFT + 33,
            38,
            f"audited model{', 95 % interval' if curve.interval is not None else ''} (n = {curve.samples:,} samples a value)",
        )
    )
    if curve.reference is not None:
        x = LEFT + 370
        body += f'<path d="M{x} 34h26" stroke="{ORANGE}" stroke-width="2" stroke-dasharray="6 3.5"/>'
        body += (
            f'<rect x="{x + 9}" y="30" width="8" height="8" style="fill:{PAPER}" stroke="{ORANGE}" stroke-width="2"/>'
        )
        body += text(x + 33, 38, f"reference that never saw the patient (n = {curve.samples:,})")
    if curve.band is not None:
        words = f"where 95 % of {people:,} people never seen lie, moved to this patient's level (n = {people:,})"
        body += f'<rect x="{LEFT}" y="48" width="26" height="10" fill="{GREY}" fill-opacity=".3" stroke="{GREY}"/>'
        body += text(LEFT + 33, 57, words)
    return f'<g font-size="11">{body}</g>'


def _sentence(curve: SweepCurve, title: str, people: int) -> str:
    words = (
        f"{title}: leak probability over {plural(len(curve.words), 'value')} of the moved identifier. At the true value "
        f"({curve.words[curve.true]}) {_at(curve, curve.true, plain=True)}; at the others {_off(curve)}"
    )
    if curve.reference is not None and math.isfinite(curve.reference[curve.true]):
        words += f"; the reference model says {curve.reference[curve.true]:.2f} at the true value"
    if curve.band is not None:
        low, high = (side[curve.true] for side in curve.band)
        if math.isfinite(low) and math.isfinite(high):
            words += f"; 95 % of {people:,} people never seen would lie between {low:.2f} and {high:.2f} there"
    return words + "."


def _at(curve: SweepCurve, place: int, *, plain: bool = False) -> str:
    if curve.interval is None:
        shown = f"{curve.audited[place]:.2f}, n = {curve.samples:,}"
    else:
        low, high = curve.interval
        shown = interval(Estimate(float(curve.audited[place]), float(low[place]), float(high[place]), curve.samples))
    return shown if plain else escape(shown)


def _off(curve: SweepCurve) -> str:
    """The median off the truth, and the range."""
    others = np.delete(curve.audited, curve.true)
    ends = f", from {others.min():.2f} to {others.max():.2f}" if len(others) > 1 else ""
    return f"{np.median(others):.2f}{ends}, n = {curve.samples:,}"


def _top(curve: SweepCurve) -> float:
    values = [curve.audited, *(curve.interval or ())[1:], *(curve.band or ())[1:]]
    values += [curve.reference] if curve.reference is not None else []
    most = max(float(np.nanmax(each)) for each in values if np.isfinite(each).any())
    return next((end for end in (0.1, 0.2, 0.5) if most <= end), 1.0)


def _path(points: list[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) if points else ""


def _x(place: int, curve: SweepCurve) -> float:
    return LEFT + _PLOT_WIDTH * (place + 0.5) / len(curve.words)


def _y(value: float, top: float) -> float:
    return TOP + _PLOT_HEIGHT * (1 - min(max(float(value) / top, 0.0), 1.0))
