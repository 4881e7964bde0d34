"""On the main screen: one of the facts that are dialled is set to other values."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ehrmem_widgets.attacker.facts import AGE, KnownFacts, knowledge_words
from ehrmem_widgets.charts.markup import escape
from ehrmem_widgets.errors import BadInput, CannotAnswer
from ehrmem_widgets.probes.exploration import NO_ATTRIBUTES, Exploration, State
from ehrmem_widgets.probes.live_part import LivePart, PartAnswer
from ehrmem_widgets.probes.perturbation.ask import judge_spike, movable, sweep
from ehrmem_widgets.probes.perturbation.curve import READING, perturbation_curve, spike_bar
from ehrmem_widgets.probes.perturbation.identifiers import IDENTIFIERS
from ehrmem_widgets.probes.perturbation.null import SAMPLES, exact_facts, null_of, planted_control, tests_of, with_band
from ehrmem_widgets.statistics.verdicts import PositiveControl

PEOPLE = 79
"""As many people never seen as a claim on one of four identifiers needs."""
YEARS = 20
_SAMPLES = 48


class MoveAFact(LivePart):
    """T5 for the facts of the dial: of a ready-made set with people never seen asked the same, and a verdict; of facts set by hand the curve alone,
    since nobody else has the same facts."""

    title = "Move a fact"
    term = "move"
    choose = "Move"

    def choices(self, exploration: Exploration, state: State) -> list[tuple[str, str]]:
        """Every fact of the dial that can be moved: the age, the sex, each lab value, each time between two events."""
        record, dataset = exploration.record(state.patient_id), exploration.dataset
        strip = exploration.attributes.strip(state.attributes, record)
        words = []
        for name, place in movable(record, _facts(exploration, state), exploration.model.vocabulary, strip).items():
            label = "" if place == AGE else dataset.label(record.events[place].code)
            kind = name.partition(":")[0]
            words.append(
                (name, {"age": "Age", "sex": "Sex", "lab": f"Value of {label}", "date": f"Time before {label}"}[kind])
            )
        return words

    def answers(self, exploration: Exploration, state: State, choice: str) -> Iterator[PartAnswer | None]:
        """The patient's own curve, ever better; then people never seen, and the verdict."""
        if not state.focus:
            raise CannotAnswer(NO_ATTRIBUTES)
        if choice not in dict(self.choices(exploration, state)):
            raise BadInput(
                "There is no fact to move: let the attacker know the age, the sex, a lab value or two dated events."
            )
        state = replace(state, facts=_facts(exploration, state), samples=_SAMPLES)
        held = exploration.attributes.held(state.focus, exploration.record(state.patient_id))
        title = exploration.attributes.attributes[state.focus].title
        curve, first = None, 0.0
        for found in sweep(exploration, state, choice, batch=SAMPLES, reach=YEARS if choice == "age" else 5):
            if found is None:
                yield None
                continue
            first = found.statistic if curve is None else first
            curve = found
            yield PartAnswer(
                f"<p>{READING}</p>{perturbation_curve(curve, title=title)}",
                done=0.3 * curve.samples / _SAMPLES,
                asked=len(curve.codes),
            )
        assert curve is not None
        if state.knowledge is None or choice not in IDENTIFIERS:
            why = (
                "These facts were set by hand"
                if state.knowledge is None
                else "Only the age, the sex, the first lab and the last time between events have a comparison"
            )
            said = f"<p>{READING} {why}: people never seen are not asked the same, so there is no verdict here.</p>"
            yield PartAnswer(
                said + perturbation_curve(curve, title=title), done=1.0, settled=True, asked=len(curve.codes)
            )
            return
        facts = knowledge_words(state.knowledge)
        null = None
        for asked in null_of(exploration, state, choice, PEOPLE, first):
            if asked is None:
                yield None
                continue
            null, curve = asked, with_band(curve, asked)
            box = spike_bar(curve, None, held=held, people=null.n, wanted=PEOPLE, title=title, facts=facts)
            yield PartAnswer(
                box + perturbation_curve(curve, title=title, people=null.n),
                done=0.3 + 0.6 * null.n / max(null.wanted, 1),
                asked=len(curve.codes),
            )
        assert null is not None
        control = PositiveControl.NONE
        for one in planted_control(exploration, state, choice, null):
            control = control if one is None else one
            yield None
        judged = judge_spike(
            curve.spike, curve.reference_spike, null.peers(first), tests=tests_of(exploration, state), control=control,
            planted=state.patient_id in exploration.canaries,
        )  # fmt: skip
        box = spike_bar(
            curve,
            judged if held else None,
            held=held,
            settled=True,
            people=null.n,
            wanted=PEOPLE,
            title=title,
            facts=facts,
        )
        yield PartAnswer(
            f"{box}<p>{escape(READING)}</p>{perturbation_curve(curve, title=title, people=null.n)}",
            done=1.0,
            settled=True,
            asked=len(curve.codes),
        )


def _facts(exploration: Exploration, state: State) -> KnownFacts:
    """Of a ready-made set each fact exactly, as people never seen are asked; of facts set by hand as they are."""
    if state.knowledge is None:
        return state.facts
    return exact_facts(state.knowledge, exploration.record(state.patient_id), exploration.model.vocabulary)
