"""The leak probability while one identifier moves off its true value, before the band of people whom no model saw."""

from __future__ import annotations

import math

import numpy as np

from ehrmem_widgets.charts.axis import Axis, quarters
from ehrmem_widgets.charts.marks import Key, legend, mark
from ehrmem_widgets.charts.markup import (
    BLUE,
    GREY,
    ORANGE,
    escape,
    interval,
    plural,
    shorten,
    svg,
    text,
    verdict_name,
)
from ehrmem_widgets.charts.plot import Plot
from ehrmem_widgets.probes.perturbation.ask import SweepCurve
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Judgement
from ehrmem_widgets.views.answer_bar import BarRow, verdict_bar

WIDTH, HEIGHT = 796, 372
LEFT, RIGHT, TOP, BOTTOM = 56, 776, 92, 304
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
    level) is grey behind them. The vertical axis ends where the figures do, at 0.1, 0.2, 0.5 or 1.
    """
    body = text(LEFT, 16, shorten(f"{title}: probability of a leak", 80), more='font-weight="600"')
    if curve is None or not len(curve.audited) or not np.isfinite(curve.audited).all():
        words = "No curve yet: nothing has been asked of the model."
        body += text(WIDTH / 2, HEIGHT / 2, words, more='text-anchor="middle" opacity=".75"')
        return svg(body, width=WIDTH, height=HEIGHT, label=f"{title}: no curve yet.")
    common, ticks = tick_words(curve.words)
    top, xs = _top(curve), range(len(ticks))
    plot = Plot(
        Axis(-0.5, len(ticks) - 0.5, LEFT, RIGHT, list(enumerate(ticks))), Axis(0, top, BOTTOM, TOP, quarters(0, top))
    )
    name = AXES.get(curve.identifier, f"value that the model is told: {common}")
    body += plot.axes(shorten(name, 110), bold=curve.true) + _truth(plot, curve)
    sure = ", 95 % interval" if curve.interval is not None else ""
    audited = Key(f"audited model{sure} (n = {curve.samples:,} samples a value)", BLUE, "disc", "")
    keys = [audited]
    if curve.reference is not None:
        words = f"reference that never saw the patient (n = {curve.samples:,})"
        keys.append(Key(words, ORANGE, "box", "6 3.5"))
    if curve.band is not None:
        words = f"where 95 % of {people:,} people never seen lie, moved to this patient's level (n = {people:,})"
        keys.append(Key(words, GREY, band=True))
        body += _band(plot, *curve.band)
    if curve.reference is not None:
        body += plot.line(keys[1], xs, curve.reference)
    body += plot.whiskers(audited, xs, *curve.interval) if curve.interval is not None else ""
    off = np.where(np.arange(len(ticks)) == curve.true, np.nan, curve.audited)
    body += plot.line(Key("", BLUE, dashes=""), xs, curve.audited) + plot.marks(audited, xs, off)
    body += mark("diamond", plot.x(curve.true), plot.y(float(curve.audited[curve.true])), BLUE, 6.3, edged=True)
    body += legend(keys, LEFT, 34, RIGHT - LEFT)[0]
    return svg(body, width=WIDTH, height=HEIGHT, label=_sentence(curve, title, people))


def spike_bar(
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
    """The answer in one glance. ``facts``: what the attacker knows, in words; ``held``: whether the record holds the attribute (else there is no
    verdict)."""
    if judgement:
        sentence = judgement.sentence
    elif settled and not held:
        sentence = (
            "what the model says of it comes from other people, and there is nothing of this patient to give away."
        )
    else:
        sentence = f"people whom no model saw are asked the same ({people} of at most {wanted})."
    truth, n = curve.words[curve.true], curve.samples
    off = float(np.median(np.delete(curve.audited, curve.true)))
    rows = [
        BarRow(
            "told the true value",
            _estimate(curve, curve.true),
            BLUE,
            said=f"Leak at the true value ({truth}): {_at(curve, curve.true)}",
        ),
        BarRow(
            "told other values",
            Estimate(off, off, off, n),
            GREY,
            said=f"Leak at the other values (median): {_off(curve)}",
        ),
    ]
    if curve.reference is not None and math.isfinite(value := float(curve.reference[curve.true])):
        about = f"Reference model, at the true value: {value:.2f}, n = {n:,}"
        rows.append(BarRow("a model that never saw them", Estimate(value, value, value, n), ORANGE, True, said=about))
    foot = [f"Spike, the first minus the second: <b>{escape(interval(curve.spike, signed=True))}</b>"]
    if curve.reference_spike is not None:
        foot.append(
            f"of the reference, which never saw the patient: {escape(interval(curve.reference_spike, signed=True))}"
        )
    if judgement is not None and judgement.rank_p is not None:
        foot.append(
            f"chance of such a spike in somebody never seen: p = {judgement.rank_p:.3f}, n = {plural(people, 'person', 'people')}"
        )
    return verdict_bar(
        verdict_name(judgement, held=held or not settled), sentence, rows,
        f"The attacker knows: {escape(facts)}. {'; '.join(foot)}.", about=title, verdict=judgement.verdict if judgement else None,
    )  # fmt: skip


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


def _truth(plot: Plot, curve: SweepCurve) -> str:
    x, half = plot.x(curve.true), min(24.0, (RIGHT - LEFT) / len(curve.words) / 2.4)
    label = min(max(x, LEFT + 30), RIGHT - 30)
    box = f'<rect x="{x - half:.1f}" y="{TOP}" width="{2 * half:.1f}" height="{BOTTOM - TOP}" fill="none" stroke="currentColor"'
    return f'{box} stroke-dasharray="3 3"/>' + text(
        label, TOP - 6, "▼ true value", more='text-anchor="middle" font-size="11" font-weight="700"'
    )


def _band(plot: Plot, low: np.ndarray, high: np.ndarray) -> str:
    """A box at each value, as the values need not follow upon one another."""
    body = ""
    for place, (least, most) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        if math.isfinite(least) and math.isfinite(most):
            x, width = plot.x(place - 0.5), plot.x(place + 0.5) - plot.x(place - 0.5)
            y = plot.y(most)
            height = max(plot.y(least) - y, 1.5)
            body += (
                f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{GREY}" fill-opacity=".25"/>'
            )
            body += f'<path d="M{x:g} {y:g}h{width:g}M{x:g} {y + height:g}h{width:g}" stroke="{GREY}"/>'
    return body


def _sentence(curve: SweepCurve, title: str, people: int) -> str:
    words = (
        f"{title}: leak probability over {plural(len(curve.words), 'value')} of the moved identifier. At the true value "
        f"({curve.words[curve.true]}) {_at(curve, curve.true)}; at the others {_off(curve)}"
    )
    if curve.reference is not None and math.isfinite(curve.reference[curve.true]):
        words += f"; the reference model says {curve.reference[curve.true]:.2f} at the true value"
    if curve.band is not None:
        low, high = (side[curve.true] for side in curve.band)
        if math.isfinite(low) and math.isfinite(high):
            words += f"; 95 % of {people:,} people never seen would lie between {low:.2f} and {high:.2f} there"
    return words + "."


def _estimate(curve: SweepCurve, place: int) -> Estimate:
    value = float(curve.audited[place])
    low, high = (float(side[place]) for side in curve.interval) if curve.interval is not None else (value, value)
    return Estimate(value, low, high, curve.samples)


def _at(curve: SweepCurve, place: int) -> str:
    if curve.interval is None:
        return f"{curve.audited[place]:.2f}, n = {curve.samples:,}"
    return interval(_estimate(curve, place))


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
