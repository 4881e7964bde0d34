"""How much the attacker already knows, in a sentence."""

from __future__ import annotations

import math

from ehrmem_widgets.probes.findings import Answer
from ehrmem_widgets.views.markup import escape, plural

FEWEST_EFFECTIVE = 10


def known_facts_sentence(answer: Answer) -> str:
    """The number of facts, k and bits, then what was withheld, what was left out, and the warnings."""
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
        says = ": <b>the attacker has already identified this patient</b>"
    elif known.k == 0:
        says = ": <b>the facts fit nobody</b>, so they contradict the records"
    else:
        says = ""
    they = "It fits" if known.facts == 1 else "They fit"
    fit = f"{they} {known.k:,} of {plural(known.n, 'patient')} (k = {known.k:,}){says}."
    if not known.facts:
        fit = f"Any of {plural(known.n, 'patient')} may be meant (k = {known.k:,})."
    return f"The attacker holds {facts}. {fit} That is {known.bits:.1f} bits of {math.log2(known.n):.1f}."


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
