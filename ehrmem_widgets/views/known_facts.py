"""How much the attacker already knows, in a sentence."""

from __future__ import annotations

import math

from ehrmem_widgets.attacker.identifiability import ALREADY_IDENTIFIED, PopulationFit
from ehrmem_widgets.charts.markup import escape, plural
from ehrmem_widgets.probes.findings import Answer
from ehrmem_widgets.statistics.intervals import Estimate

FEWEST_EFFECTIVE = 10


def known_facts_sentence(answer: Answer) -> str:
    """The number of facts, k and bits, how many people fit where a population is declared, then what was withheld, what was left out,
    and the warnings."""
    notes = "".join(f'<p class="ehrmem-note">{escape(note)}</p>' for note in _notes(answer))
    warnings = "".join(
        f'<p class="ehrmem-note ehrmem-warning">Warning: {escape(warning)}</p>' for warning in _warnings(answer)
    )
    return f'<div class="ehrmem-known"><p>{_sentence(answer)}</p>{notes}{warnings}</div>'


def _sentence(answer: Answer) -> str:
    known = answer.known
    facts = plural(known.facts, "fact") if known.facts else "no facts"
    if not known.n:
        return f"The attacker holds {facts}. There is no cohort to count who fits them."
    if known.k == 1:
        says = ": <b>unique in this data set</b>"
    elif known.k == 0:
        says = ": <b>the facts fit nobody</b>, so they contradict the records"
    else:
        says = ""
    they = "It fits" if known.facts == 1 else "They fit"
    fit = f"{they} {known.k:,} of {plural(known.n, 'patient')} (k = {known.k:,}){says}."
    if not known.facts:
        fit = f"Any of {plural(known.n, 'patient')} may be meant (k = {known.k:,})."
    bits = f"That is {known.bits:.1f} bits of {math.log2(known.n):.1f} in this data set."
    return f"The attacker holds {facts}. {fit} {bits}{_in_population(known.population)}"


def _in_population(fit: PopulationFit | None) -> str:
    if fit is None:
        return ""
    if fit.already_identified:
        only = "only this patient fits"
        if fit.uniqueness.low < 1:  # estimated, not counted
            only = f"most likely {only}, with a chance of {share(fit.uniqueness)}"
        return f" Of {fit.people:,} people, {only}: <b>the attacker has {ALREADY_IDENTIFIED} the patient</b>."
    chance = f"; the chance that nobody else does is {share(fit.uniqueness)}" if fit.uniqueness.high >= 0.01 else ""
    return f" Of {fit.people:,} people, {how_many(fit.fitting)} fit{chance}."


def how_many(fitting: Estimate) -> str:
    """How many people of a population fit, in words, with the interval; to three digits.

    >>> how_many(Estimate(1.26, 1.0, 3.0, 500)), how_many(Estimate(25_701.0, 23_341.0, 29_312.0, 3000))
    ('about 1.3 (1 to 3)', 'about 25,700 (23,300 to 29,300)')
    """
    about = f"{fitting.value:.1f}" if fitting.value < 10 else _to_three_digits(fitting.value)
    return f"about {about} ({_to_three_digits(fitting.low)} to {_to_three_digits(fitting.high)})"


def _to_three_digits(number: float) -> str:
    return f"{round(number, 3 - len(f'{number:.0f}')) if number >= 1000 else number:,.0f}"


def share(probability: Estimate) -> str:
    """A probability with its interval, in whole per cents; never 0 or 100 where it is neither.

    >>> share(Estimate(0.803, 0.41, 0.9999, 500))
    '80 % (41 % to over 99 %)'
    """
    value, low, high = (_per_cent(p) for p in (probability.value, probability.low, probability.high))
    return f"{value} ({low} to {high})"


def _per_cent(p: float) -> str:
    if p in (0, 1) or 0.005 <= p < 0.995:
        return f"{100 * p:.0f} %"
    return "under 1 %" if p < 0.5 else "over 99 %"


def _notes(answer: Answer) -> list[str]:
    notes = []
    if answer.stripped:
        notes.append(f"{plural(answer.stripped, 'sensitive fact')} withheld from the prompt.")
    if answer.left_out:
        notes.append(f"{plural(answer.left_out, 'fact')} left out: the model does not know the code.")
    return notes


def _warnings(answer: Answer) -> list[str]:
    if answer.effective_samples < FEWEST_EFFECTIVE:
        rests = (
            f"the facts leave much open, and the answer rests on about {answer.effective_samples:.1f} samples "
            f"(at least {FEWEST_EFFECTIVE} needed)."
        )
        return [rests, *answer.warnings]
    return list(answer.warnings)
