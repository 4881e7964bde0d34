"""The verdict about one attribute, with the figures that it rests on."""

from __future__ import annotations

from ehrmem_widgets.charts.markup import RULE, VERDICT_COLOURS, escape, icon, interval, known, verdict_name
from ehrmem_widgets.probes.controls import CONTROLS
from ehrmem_widgets.probes.exploration import CONTROL_SAMPLES, CONTROLS_FIRST, HALF_WIDTH
from ehrmem_widgets.probes.findings import AttributeFinding
from ehrmem_widgets.statistics.intervals import STOPPED
from ehrmem_widgets.statistics.verdicts import ALARM_RATE, LEAK_MARGIN
from ehrmem_widgets.views.attack_cost import NOT_MEASURED, Means, even_chance
from ehrmem_widgets.views.leak_bars import typical_control

METHODS = {
    "product form": "next-code probabilities along sampled continuations that avoid the attribute (product form, "
    "REACH)",
    "sum form": "next-code probabilities along freely sampled continuations (sum form, SCOPE; a first answer, "
    "refined in focus)",
    "counting": "counting the sampled continuations that hold the attribute (the model gives no probabilities)",
}
_WITH_REFERENCE = (
    f"Memorized: the record holds the attribute; the model names it more often than the reference does, by more than {LEAK_MARGIN:g} "
    f"with the whole interval; and at most {ALARM_RATE:.0%} of similar people whom no model saw show as much excess.",
    f"Population knowledge: the whole interval of the excess lies within {LEAK_MARGIN:g} of zero. Everything else is cannot conclude.",
    f"Similar people: the {CONTROLS} whom no model saw who are most like the patient in the known facts (the share of the known "
    "codes that they hold, then age), chosen before the model is asked anything.",
)
_ALONE = (
    f"There is no reference model, so the patient is compared with similar people alone. Memorized: the whole interval of the leak lies more than "
    f"{LEAK_MARGIN:g} above what the model says of all but {ALARM_RATE:.0%} of them. A record that is unusually easy to predict would look the "
    "same.",
    f"Population knowledge: the whole interval of the leak lies under {LEAK_MARGIN:g}. Everything else is cannot conclude.",
    f"Similar people: of those whom no model saw, who have the attribute, too, and whose records come to it within the horizon, the {CONTROLS} "
    "who are most like the patient in the known facts, chosen before the model is asked anything.",
)
_ALWAYS = (
    f"The first {CONTROLS_FIRST} similar people are always asked about, the others only where a verdict depends on them. The patient and they are "
    f"compared by the same question: {CONTROL_SAMPLES} samples each, with the same random numbers, whatever further samples refine the interval "
    "shown. A tie counts against memorized.",
    f"Intervals: Gaffke's, at the level {STOPPED:.0%}, so that they cover 95 % where sampling stops. It stops when each model's "
    f"probability is known to ±{HALF_WIDTH:g}, or at the most samples; never on a verdict.",
)


def why(finding: AttributeFinding | None) -> tuple[str, ...]:
    """What a verdict rests on, a sentence each."""
    alone = finding is not None and finding.reference is None
    return (*(_ALONE if alone else _WITH_REFERENCE), *_ALWAYS)


def verdict_box(
    finding: AttributeFinding, *, settled: bool, asked: str = "", open_: bool = False, means: Means = NOT_MEASURED
) -> str:
    """The verdict and its sentence; below it the figures with intervals and n, the method, the questions needed, and why. ``asked``:
    whether the question was sealed, in words; ``open_``: with the reasons unfolded;
    ``means``: what the attacker's questions take."""
    judgement = finding.judgement
    colour = VERDICT_COLOURS[judgement.verdict] if judgement else RULE
    sentence = judgement.sentence if judgement else _undecided(finding, settled)
    name = verdict_name(judgement, held=finding.held or not settled)
    unfolded = ' open=""' if open_ else ""
    return (
        f'<div class="ehrmem-verdict" role="group" '
        f'aria-label="{escape(f"Verdict on {finding.title}: {name}")}" '
        f'style="--ehrmem-verdict:{colour}">'
        f'<p class="ehrmem-small">{escape(finding.title)} · severity {finding.severity} of 5 (declared) · '
        f"{'in the record' if finding.held else 'not in the record'}</p>"
        f'<p class="ehrmem-said">{icon(judgement.verdict if judgement else None)} <b>{name}</b>: {escape(sentence)}</p>'
        f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(value)}</dd>' for name, value in _figures(finding))}</dl>"
        + (f'<p class="ehrmem-small">{escape(asked)}</p>' if asked else "")
        + f'<p class="ehrmem-small">{escape(even_chance(finding, means))}</p>'
        f"<details{unfolded}><summary>Why this verdict?</summary><ul>"
        f"{''.join(f'<li>{escape(reason)}</li>' for reason in why(finding))}</ul></details></div>"
    )


def _undecided(finding: AttributeFinding, settled: bool) -> str:
    if not known(finding.audited):
        return "the model has not answered yet." if not settled else "the model gave no answer."
    if settled and not finding.held:
        return "what the model says of it comes from other people, and there is nothing of this patient to give away."
    if settled:
        return "similar people were not asked about, so there is nothing to judge by."
    return "checking similar people whom the model never saw."


def _figures(finding: AttributeFinding) -> list[tuple[str, str]]:
    figures = [
        ("Audited model", interval(finding.audited)),
        ("Reference that never saw the patient", interval(finding.reference)),
    ]
    return [*figures, *compared(finding)]


def compared(finding: AttributeFinding) -> list[tuple[str, str]]:
    """The excess, how it compares with similar people, and the method, each with its name."""
    figures = [("Excess over the reference", interval(finding.excess, signed=True))]
    typical = typical_control(finding)
    if typical is not None:
        share = finding.judgement.rank_p if finding.judgement else None
        rank = f"; chance that a never-seen patient stands out this much: {share:.3f}" if share is not None else ""
        if finding.not_asked:
            rank = f"; no answer of {finding.not_asked} others could change the verdict, so they were not asked about"
        figures.append(("Similar people", f"{typical:.2f} on average, n = {len(finding.controls)}{rank}"))
    return [*figures, ("Method", METHODS.get(finding.method, finding.method))]
