"""The one presentation of a verdict: in one glance its words, a few figures in natural frequencies, and what it rests on. Every screen has it on top."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ehrmem_widgets.attacker.identifiability import ALREADY_IDENTIFIED
from ehrmem_widgets.charts.axis import Axis
from ehrmem_widgets.charts.marks import bar, level_whisker
from ehrmem_widgets.charts.markup import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    RULE,
    VERDICT_COLOURS,
    escape,
    icon,
    interval,
    known,
    plural,
    shorten,
    term,
    verdict_name,
)
from ehrmem_widgets.probes.exploration import NO_ATTRIBUTES
from ehrmem_widgets.probes.findings import Answer, AttributeFinding
from ehrmem_widgets.statistics.attack_cost import for_even_chance
from ehrmem_widgets.statistics.intervals import Estimate, difference
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.views.attack_cost import questions
from ehrmem_widgets.views.leak_bars import typical_control

_AXIS = Axis(0, 1, 2, 178)
_TERMS = {
    **{str(verdict): verdict.name.lower() for verdict in Verdict},
    "a model that never saw them": "reference",
    "similar people": "similar",
    "unique in this data set": "unique",
}
"""Words of the bar that the glossary explains, with their keys there."""


@dataclass(frozen=True)
class BarRow:
    """A figure beside the verdict: its name, the share that the bar shows (None: no bar), and what is said on pointing at it. ``shown``: the figure in
    words (empty: in natural frequencies)."""

    words: str
    share: Estimate | None
    colour: str = BLUE
    striped: bool = False
    shown: str = ""
    said: str = ""


def verdict_bar(
    name: str,
    why: str,
    rows: Sequence[BarRow],
    foot: str,
    *,
    about: str,
    verdict: Verdict | None = None,
    colour: str = "",
) -> str:
    """HTML. ``name``: the verdict in its fixed words, or what stands in its place; ``why``: its sentence; ``foot``: what it rests on, as markup;
    ``about``: what it is about; ``colour``: of the edge where it is no verdict, but
    something else that is settled."""
    edge = VERDICT_COLOURS[verdict] if verdict else colour or RULE
    return explained(
        f'<div class="ehrmem-bar" role="group" aria-label="{escape(f"Answer about {about}: {name}")}" style="--ehrmem-verdict:{edge}">'
        f'<p class="ehrmem-bar-said">{"" if colour else icon(verdict)} <b>{escape(name)}</b>'
        f'<span class="ehrmem-bar-why">{escape(why)}</span></p>'
        f'<div class="ehrmem-bar-rows">{"".join(map(_row, rows))}</div>'
        f'<p class="ehrmem-bar-foot">{foot}</p></div>'
    )


def share_of(part: int, whole: int) -> Estimate:
    """A counted share, for a bar: without an interval, as nothing is estimated."""
    share = part / whole if whole else 0.0
    return Estimate(share, share, share, whole)


@dataclass(frozen=True)
class Said:
    """What one model says of the attribute: its name, and its answer."""

    name: str
    answer: Answer


def answer_bar(said: Sequence[Said], *, knows: str, before: Estimate | None = None) -> str:
    """HTML. The first model is the audited one, the others are beside it. ``knows``: what the attacker knows, within a sentence; ``before``:
    the audited model's leak at the step before."""
    first = said[0].answer
    finding = first.attribute(first.focus)
    if finding is None:
        return _without_attribute(first, knows)
    judgement = finding.judgement
    return verdict_bar(
        verdict_name(judgement, held=finding.held or not first.settled),
        _why(finding, first),
        _rows(said, finding),
        _cost(finding) + _foot(first, finding, knows, before),
        about=finding.title,
        verdict=judgement.verdict if judgement else None,
    )


def _without_attribute(answer: Answer, knows: str) -> str:
    """Where there is no attribute to ask about: what membership (T4) says of the record."""
    if not answer.settled:
        return '<div class="ehrmem-bar"><p>The model is being asked.</p></div>'
    found = answer.membership
    why = f"Membership: {found.judgement.sentence}" if found else NO_ATTRIBUTES
    verdict = found.judgement.verdict if found else Verdict.CANNOT_CONCLUDE
    return verdict_bar(str(verdict), why, (), _foot(answer, None, knows, None), about="membership", verdict=verdict)


def explained(bar: str) -> str:
    """The markup of a bar, its terms marked so that they can be pressed.

    >>> explained("<b>Memorized</b>")
    '<b><button type="button" class="em-term" data-term="memorized">Memorized</button></b>'
    """
    for words, key in _TERMS.items():
        bar = bar.replace(f">{words}<", f">{term(key, words)}<", 1)
    return bar


def in_100(estimate: Estimate | None) -> str:
    """A probability as a natural frequency.

    >>> in_100(Estimate(0.963, 0.93, 0.98, 200)), in_100(Estimate(0.002, 0.0, 0.01, 200)), in_100(None)
    ('96 in 100', 'under 1 in 100', '—')
    """
    if estimate is None or not known(estimate):
        return "—"
    return _in_100(estimate.value)


def _in_100(value: float) -> str:
    if value == 0:
        return "0 in 100"
    if value < 0.005:
        return "under 1 in 100"
    return "over 99 in 100" if 0.995 < value < 1 else f"{100 * value:.0f} in 100"


def change_in_100(after: Estimate, before: Estimate) -> str:
    """By how much a leak rose or fell, with its interval.

    >>> change_in_100(Estimate(0.96, 0.93, 0.98, 200), Estimate(0.84, 0.80, 0.88, 200))
    '+12 in 100 (+7 to +16)'
    """
    gap = difference(after, before)
    return f"{_signed(gap.value)} in 100 ({_signed(gap.low)} to {_signed(gap.high)})"


def _signed(share: float) -> str:
    number = round(100 * share)
    return f"+{number}" if number > 0 else f"−{-number}" if number < 0 else "0"


def _rows(said: Sequence[Said], finding: AttributeFinding) -> list[BarRow]:
    rows = []
    for place, one in enumerate(said):
        own = one.answer.attribute(one.answer.focus)
        figure = own.audited if own else None
        rows.append(BarRow(one.name, figure, BLUE, place > 0, said=f"{one.name}: {interval(figure)}"))
    if finding.reference is not None:
        words = "a model that never saw them"
        about = f"Reference model, {words}: {interval(finding.reference)}"
        rows.append(BarRow(words, finding.reference, ORANGE, True, said=about))
    typical = typical_control(finding)
    if typical is not None:
        n = len(finding.controls)
        about = f"{n} similar people whom no model saw: {typical:.2f} on average"
        rows.append(BarRow("similar people", Estimate(typical, typical, typical, n), GREY, said=about))
    return rows


def _row(row: BarRow) -> str:
    drawn, figure = "", row.share
    if figure is not None and known(figure):
        low, at, high = (_AXIS(value) for value in (figure.low, figure.value, figure.high))
        drawn = bar(_AXIS.start, max(at, _AXIS.start + 1), 8, row.colour, striped=row.striped, thick=10)
        if high > low:
            drawn += (
                f'<path d="{level_whisker(low, high, 8, 4)}" stroke="currentColor" fill="none" stroke-width="1.3"/>'
            )
    picture = (
        f'<svg aria-hidden="true" width="180" height="16" viewBox="0 0 180 16" fill="currentColor" style="color:{INK}">'
        f'<path d="M2 15H178" style="stroke:{RULE}"/>{drawn}</svg>'
    )
    return (
        f'<div title="{escape(row.said)}"><span>{escape(shorten(row.words, 28))}</span>{picture}'
        f"<b>{escape(row.shown or in_100(figure))}</b></div>"
    )


def _why(finding: AttributeFinding, answer: Answer) -> str:
    if finding.judgement is not None:
        return finding.judgement.sentence
    if not finding.held and answer.settled:
        return "The record does not hold it, so there is nothing of this patient to give away."
    if answer.settled:
        return "Similar people were not asked about, so there is nothing to judge by."
    n = finding.audited.n if known(finding.audited) else 0
    return f"Asking ({n:,} samples so far), then similar people."


def _cost(finding: AttributeFinding) -> str:
    """How many questions an even chance takes, as markup; of what the record does not hold there is nothing to learn."""
    if not finding.held or not known(finding.audited):
        return ""
    said = escape(questions(for_even_chance(finding.audited)))
    return f"<b>{said[:1].upper()}{said[1:]}</b> for {term('cost', 'an even chance')} of learning it. "


def _foot(answer: Answer, finding: AttributeFinding | None, knows: str, before: Estimate | None) -> str:
    facts, fit = answer.known, ""
    if facts.n and facts.facts:
        unique = (
            f"<b>unique in this data set</b> (1 of {facts.n:,})"
            if facts.k == 1
            else f"they fit {facts.k:,} of {plural(facts.n, 'patient')}"
        )
        fit = f": {unique}" if facts.k else ": <b>they fit nobody</b>"
    if facts.population is not None and facts.population.already_identified:
        fit += f"; the attacker has <b>{ALREADY_IDENTIFIED} the patient</b>"
    number = plural(facts.facts, "fact") if facts.facts else "no facts"
    change = (
        f" · Since the step before: <b>{change_in_100(finding.audited, before)}</b>"
        if finding is not None and before is not None and known(finding.audited)
        else ""
    )
    return f"The attacker knows {number} ({escape(knows)}){fit}.{change}"
