"""The steps taken on the main screen: the leak at each, a line a model, and what changed from one to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ehrmem_widgets.charts.axis import Axis
from ehrmem_widgets.charts.marks import Key, legend, nothing
from ehrmem_widgets.charts.markup import (
    BLUE,
    GREEN,
    INK,
    PURPLE,
    SHADE,
    VERMILION,
    escape,
    interval,
    known,
    plural,
    shorten,
    svg,
)
from ehrmem_widgets.charts.plot import Plot
from ehrmem_widgets.probes.findings import AttributeFinding
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.answer_bar import change_in_100, in_100

MOST_DRAWN = 16
WIDTH, HEIGHT = 760, 230
_LOOKS = (("disc", BLUE, ""), ("square", VERMILION, "6 3"), ("diamond", GREEN, "2 3"), ("triangle", PURPLE, "8 3 2 3"))
NOTHING = "Nothing has been answered in full yet. Each answer becomes a step here; pressing a step goes back to it."


@dataclass(frozen=True)
class ShownStep:
    """One step: its number from 0, what changed, and what each model says of the attribute in focus then. ``apart``: the step before is about
    another patient or attribute, so that there is no change to tell."""

    number: int
    words: str
    attribute: str
    findings: Mapping[str, AttributeFinding]
    apart: bool = False


def steps_chart(steps: Sequence[ShownStep], models: Sequence[str], *, chosen: int) -> str:
    """An SVG of the last steps with a line for each model, broken where another patient or attribute begins, and below it a list of buttons (``data-step``), the one in force marked."""
    if not steps:
        return nothing(NOTHING, width=WIDTH)
    drawn = steps[-MOST_DRAWN:]
    x = Axis(-0.5, len(drawn) - 0.5, 52, WIDTH - 12, [(place, str(one.number + 1)) for place, one in enumerate(drawn)])
    y = Axis(0, 1, HEIGHT - 58, 30, [(v / 4, f"{25 * v}") for v in range(5)])
    plot = Plot(x, y)
    here = [place for place, one in enumerate(drawn) if one.number == chosen]
    step = x(1) - x(0) if len(drawn) > 1 else x.end - x.start
    ground = (
        ""
        if len(drawn) < 2
        else "".join(
            f'<rect x="{x(p) - step / 2:g}" y="{y.end:g}" width="{step:g}" height="{y.start - y.end:g}" style="fill:{SHADE}"/>'
            for p in here
        )
    )
    begins = [at for at, one in enumerate(drawn) if one.apart or at == 0]
    runs = [list(range(begin, end)) for begin, end in zip(begins, [*begins[1:], len(drawn)], strict=True)]
    body, keys = "", []
    for place, model in enumerate(models):
        shape, colour, dashes = _LOOKS[place % len(_LOOKS)]
        key = Key(shorten(model, 24), colour, shape, dashes=dashes)  # type: ignore[arg-type]  # a literal of marks.Shape
        figures = [_figure(one, model) for one in drawn]
        xs = [at for at, _ in enumerate(drawn)]
        ends = [(f.low, f.high) if f else (float("nan"),) * 2 for f in figures]
        aside = 5.0 * (place - (len(models) - 1) / 2)
        body += plot.whiskers(key, xs, [a for a, _ in ends], [b for _, b in ends], aside=aside)
        for run in runs:
            values = [f.value if f else float("nan") for f in (figures[at] for at in run)]
            body += plot.line(key, run, values, aside=aside)
        keys.append(key)
    label = f"The leak at {plural(len(drawn), 'step')}. " + "; ".join(
        f"step {one.number + 1}, {one.words}: {_said(one, models)}" for one in drawn
    )
    chart = svg(
        ground + plot.axes("step", upwards="in 100") + body + legend(keys, 52, 12, WIDTH - 60)[0],
        width=WIDTH,
        height=HEIGHT,
        label=label,
    )
    items = "".join(
        _item(one, steps[place - 1] if place else None, models, one.number == chosen) for place, one in enumerate(steps)
    )
    return f'<div class="ehrmem-steps">{chart}<ol style="color:{INK}">{items}</ol></div>'


def _figure(step: ShownStep, model: str) -> Estimate | None:
    finding = step.findings.get(model)
    return finding.audited if finding is not None and known(finding.audited) else None


def _said(step: ShownStep, models: Sequence[str]) -> str:
    return ", ".join(f"{model} {in_100(_figure(step, model))}" for model in models if model in step.findings)


def _item(step: ShownStep, before: ShownStep | None, models: Sequence[str], chosen: bool) -> str:
    figures = []
    for model in models:
        figure, earlier = _figure(step, model), _figure(before, model) if before and not step.apart else None
        if figure is not None:
            change = f", {change_in_100(figure, earlier)}" if earlier is not None else ""
            figures.append(
                f'<span title="{escape(f"{model}: {interval(figure)}")}">{escape(shorten(model, 24))} <b>{in_100(figure)}</b>{change}</span>'
            )
    current = ' aria-current="step"' if chosen else ""
    return (
        f'<li><button type="button" data-step="{step.number}"{current}>{escape(shorten(step.words, 60))}'
        f'<small>{escape(step.attribute)}</small></button><span class="ehrmem-steps-figures">{"".join(figures)}</span></li>'
    )
