"""Notebook 04: move one identifier of a patient off its true value, and see whether the leak goes away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import ipywidgets as widgets
import numpy as np

from ehrmem_widgets.attacker.facts import (
    KNOWLEDGE_LEVELS,
    check_knowledge,
    facts_of_level,
    facts_to_text,
    knowledge_words,
)
from ehrmem_widgets.blackbox.training_splits import split_in_words
from ehrmem_widgets.charts.markup import escape
from ehrmem_widgets.errors import BadInput, CannotAnswer
from ehrmem_widgets.probes.exploration import Exploration, State, choose_focus
from ehrmem_widgets.probes.perturbation.ask import IDENTIFIERS, SweepCurve, judge_spike, sweep
from ehrmem_widgets.probes.perturbation.curve import READING, perturbation_curve, spike_bar
from ehrmem_widgets.probes.perturbation.null import (
    SAMPLES,
    Null,
    exact_facts,
    null_of,
    planted_control,
    tests_of,
    with_band,
)
from ehrmem_widgets.samples.folders import example_patient
from ehrmem_widgets.settings import SAMPLES_MOVED, SEED, check_screen, shown
from ehrmem_widgets.statistics.verdicts import Judgement, Peers, PositiveControl
from ehrmem_widgets.widgets.carried import Carried
from ehrmem_widgets.widgets.number_field import NumberField
from ehrmem_widgets.widgets.patient_table import PatientChooser, PatientTable
from ehrmem_widgets.widgets.probe_screen import ProbeScreen

DEFAULT_KNOWLEDGE = "one_lab"  # the smallest that has all four identifiers
PEOPLE = 79  # a claim on one of four identifiers needs so many
CHOICES = {
    "age": "Age",
    "sex": "Sex",
    "lab": "Value of the first known lab",
    "date": "Time between the last two known events",
}


@dataclass(frozen=True)
class PerturbationState:
    """All that an answer depends on. ``samples``: trajectories at each value; ``people``: how many whom no model saw are asked
    the same."""

    patient_id: int
    knowledge: str
    identifier: str
    focus: str
    people: int = PEOPLE
    samples: int = 48
    horizon: int = 48
    seed: int = 0

    def __post_init__(self) -> None:
        check_knowledge(self.knowledge)
        if self.identifier not in IDENTIFIERS:
            raise BadInput(
                f"The identifiers that can be moved are {', '.join(IDENTIFIERS)}; got {shown(self.identifier)}."
            )
        SAMPLES_MOVED.check(self.samples, "samples")
        check_screen(people=self.people, horizon=self.horizon, seed=self.seed)


@dataclass(frozen=True)
class PerturbationAnswer:
    """The curve, who else was asked, and the verdict; partial until ``settled``. ``tests``: how many identifiers the verdict is
    corrected for. No verdict where the record does not hold the attribute (``held``)."""

    curve: SweepCurve
    first_spike: float
    null: Null | None = None
    tests: int = 1
    control: PositiveControl = PositiveControl.NONE
    judgement: Judgement | None = None
    held: bool = True
    settled: bool = False


class ExplorePerturbation(ProbeScreen[PerturbationState, PerturbationAnswer]):
    """One patient's leak while one identifier moves, beside people whom no model saw. Shows itself.

    Parameters
    ----------
    data, model, reference, live
        As for ``ProbeScreen``.
    patient, knowledge
        The patient (a pseudonym or id; None: an example) and what else the attacker knows, each fact exactly.
    identifier, focus
        What is moved (age, sex, lab or date) and the attribute asked about (None: the most severe that the patient holds).
    people, samples, horizon, seed
        How many whom no model saw are asked the same, trajectories at each value, codes generated, and the seed.

    """

    title = "One known fact, moved off its true value"
    travels = ("patient", "knowledge", "focus")

    def first_state(  # type: ignore[override]  # the options by name
        self,
        *,
        patient: str | int | None = None,
        knowledge: str | None = None,
        identifier: str = "age",
        focus: str | None = None,
        people: int = PEOPLE,
        samples: int = 48,
        horizon: int = 48,
        seed: int = 0,
    ) -> PerturbationState:
        """The state to begin with."""
        self._exploration = Exploration(self.dataset, self.model, self.reference)
        codes = self._exploration.attributes
        self._names = codes.check_names(codes.default_names())
        if focus not in (None, "") and focus not in self._names:
            raise BadInput(f"The attribute in focus is one of {', '.join(self._names)}; got {focus!r}.")
        patient_id = (
            example_patient(self.dataset, self.members) if patient in (None, "") else self.dataset.find(patient)
        )
        knowledge = knowledge or DEFAULT_KNOWLEDGE
        state = PerturbationState(
            patient_id, knowledge, identifier, focus or self._gravest(patient_id), people, samples, horizon, seed
        )
        exact_facts(
            knowledge, self._exploration.record(patient_id), self.model.vocabulary
        )  # a date that is none is said now
        return state

    def answers(self, state: PerturbationState) -> Iterator[PerturbationAnswer | None]:
        """The patient's own curve first, ever better; then the people whom no model saw."""
        exploration, question = self._exploration, self._question(state)
        held = exploration.attributes.held(state.focus, exploration.record(state.patient_id))
        answer: PerturbationAnswer | None = None
        for curve in sweep(exploration, question, state.identifier, batch=SAMPLES):
            if curve is None:
                yield None
                continue
            first = curve.statistic if answer is None else answer.first_spike
            answer = PerturbationAnswer(curve, first, held=held)
            yield answer
        assert answer is not None
        for null in null_of(exploration, question, state.identifier, state.people, answer.first_spike):
            if null is not None:
                answer = replace(answer, curve=with_band(answer.curve, null), null=null)
            yield answer if null is not None else None
        asked = answer.null
        assert asked is not None
        for control in planted_control(exploration, question, state.identifier, asked):
            if control is not None:
                answer = replace(answer, control=control)
            yield None
        tests = tests_of(exploration, question)
        judgement = judge_spike(
            answer.curve.spike,
            answer.curve.reference_spike,
            asked.peers(answer.first_spike),
            tests=tests,
            control=answer.control,
            planted=state.patient_id in exploration.canaries,
        )
        yield replace(answer, tests=tests, judgement=judgement if held else None, settled=True)

    def settled(self, answer: PerturbationAnswer) -> bool:
        """Whether everybody has been asked."""
        return answer.settled

    def bar(self, state: PerturbationState, answer: PerturbationAnswer) -> str:
        """The verdict, and the leak at the true value beside the other values."""
        return spike_bar(
            answer.curve, answer.judgement, held=answer.held, settled=answer.settled, people=answer.null.n if answer.null else 0,
            wanted=state.people, title=self._title(state), facts=knowledge_words(state.knowledge),
        )  # fmt: skip

    def view(self, state: PerturbationState, answer: PerturbationAnswer) -> str:
        """The curve, and how to read it."""
        name = escape(self.dataset.pseudonym(state.patient_id))
        split = escape(split_in_words(self.dataset.split_of(state.patient_id), self.members))
        title = self._title(state)
        people = answer.null.n if answer.null else 0
        own = "in the record" if answer.held else "not in the record"
        return (
            f'<div class="ehrmem-perturbation" data-knowledge="{escape(state.knowledge)}" data-identifier="{state.identifier}" '
            f'data-patient="{name}" data-focus="{escape(state.focus)}">'
            f"<p>Patient <b>{name}</b> ({split}). Moved: <b>{CHOICES[state.identifier].lower()}</b>; everything else that the "
            f"attacker knows stays as it is. Asked about: <b>{escape(title)}</b> ({own}). {READING}</p>"
            + perturbation_curve(answer.curve, title=title, people=people)
            + self._notes(state, answer)
            + "</div>"
        )

    def controls(self) -> Sequence[widgets.Widget]:
        """The patient, what is known, what is moved, and the attribute in focus."""
        wide = widgets.Layout(width="calc(100% - 6px)")
        named = {"description_width": "100px"}
        state, attributes = self.state, self._exploration.attributes.attributes
        self._quiet = False
        self._chooser = PatientChooser(
            PatientTable(self.dataset, self.members),
            state.patient_id,
            lambda name: self.guarded(lambda: self._pick(self.dataset.find(name))),
        )
        knowledge_levels = [(title, name) for name, title in KNOWLEDGE_LEVELS.items() if name != "nothing"]
        if state.knowledge not in [name for _, name in knowledge_levels]:
            knowledge_levels.append((knowledge_words(state.knowledge), state.knowledge))
        self._knowledge = widgets.Dropdown(
            options=knowledge_levels, value=state.knowledge, description="Attacker knows", layout=wide, style=named
        )
        self._identifier = widgets.Dropdown(
            options=[(words, name) for name, words in CHOICES.items()], value=state.identifier, description="Moved",
            layout=wide, style=named,
        )  # fmt: skip
        self._focus = widgets.Dropdown(
            options=[(attributes[name].title, name) for name in self._names], value=state.focus, description="Attribute",
            layout=wide, style=named,
        )  # fmt: skip
        self._seed = NumberField("seed", state.seed, SEED, description="Seed")
        self.mark_last_valid(self._seed)
        for control, what in (
            (self._knowledge, "knowledge"), (self._identifier, "identifier"), (self._focus, "focus"), (self._seed, "seed"),
        ):  # fmt: skip
            control.observe(lambda change, what=what: self._changed(what, change["new"]), "value")

        def heading(words: str) -> widgets.HTML:
            return widgets.HTML(f'<h3 class="ehrmem-head">{words}</h3>')

        return (
            heading("1. Choose a patient"), self._chooser,
            heading("2. Say what the attacker knows"), self._knowledge,
            heading("3. Move one fact off its true value"), self._identifier,
            heading("4. Choose what is asked about"), self._focus, self._seed.text, self._seed.message,
        )  # fmt: skip

    def numbers(self, state: PerturbationState, answer: PerturbationAnswer) -> dict[str, object]:
        """Every point of the curve with interval and n, the spike, the people asked besides, and the verdict."""
        curve, null = answer.curve, answer.null
        low, high = curve.interval if curve.interval is not None else (np.zeros(0), np.zeros(0))
        spike = curve.spike
        return {
            "patient": self.dataset.pseudonym(state.patient_id),
            "settings": {
                "knowledge": state.knowledge, "identifier": state.identifier, "focus": state.focus, "people": state.people,
                "samples": state.samples, "horizon": state.horizon, "seed": state.seed,
            },
            "in_record": answer.held,
            "curve": [
                {
                    "value": words,
                    "true": place == curve.true,
                    "leak": float(curve.audited[place]), "low": float(low[place]), "high": float(high[place]),
                    "n": curve.samples,
                    "reference": _finite(curve.reference, place),
                    "never_seen_low": _finite(curve.band and curve.band[0], place),
                    "never_seen_high": _finite(curve.band and curve.band[1], place),
                }
                for place, words in enumerate(curve.words)
            ],
            "spike": {"value": spike.value, "low": spike.low, "high": spike.high, "n": spike.n},
            "never_seen": {
                "n": null.n if null else 0,
                "asked_about_the_same_attribute": null.same_attribute if null else 0,
                "samples": SAMPLES,
                "spikes": [float(value) for value in null.spikes] if null else [],
            },
            "p": answer.judgement.rank_p if answer.judgement else None,
            "verdict": str(answer.judgement.verdict) if answer.judgement else None,
            "sentence": answer.judgement.sentence if answer.judgement else None,
            "settled": answer.settled,
        }  # fmt: skip

    def carries(self, state: PerturbationState) -> Carried:
        """The patient, the knowledge level and the attribute."""
        record = self._exploration.record(state.patient_id)
        facts = facts_to_text(facts_of_level(state.knowledge, record, self.model.vocabulary))
        return Carried(self.dataset.pseudonym(state.patient_id), state.knowledge, facts, state.focus)

    def _title(self, state: PerturbationState) -> str:
        return self._exploration.attributes.attributes[state.focus].title

    def _question(self, state: PerturbationState) -> State:
        record = self._exploration.record(state.patient_id)
        facts = exact_facts(state.knowledge, record, self.model.vocabulary)
        return State(
            state.patient_id, facts, state.knowledge, self._names, state.focus, state.horizon, state.samples, state.seed
        )

    def _notes(self, state: PerturbationState, answer: PerturbationAnswer) -> str:
        if answer.null is None or not answer.settled:
            return '<p class="ehrmem-note">People whom no model saw are asked next.</p>'
        same = answer.null.same_attribute
        title = escape(self._title(state))
        return (
            f'<p class="ehrmem-note">Each of {answer.null.n} people whom no model saw was asked the same, moved around their own '
            f"true value ({SAMPLES} samples a value): {same} of them about {title}, the others about the most severe attribute of "
            f"their own record. The verdict is corrected for the {answer.tests} facts of this patient that can be moved: a claim needs "
            f"at least {Peers(0, 0).needed(answer.tests)} such people. {_CONTROLS[answer.control]}</p>"
        )

    def _gravest(self, patient_id: int) -> str:
        severity = {name: a.severity for name, a in self._exploration.attributes.attributes.items()}
        return choose_focus(self._exploration.held(patient_id), self._names, severity)

    def _pick(self, patient_id: int) -> None:
        """Another patient, and the most severe attribute of that record."""
        focus = self._gravest(patient_id)
        self._chooser.show(patient_id)
        self._quiet = True
        try:
            self._focus.value = focus
        finally:
            self._quiet = False
        self.set(patient_id=patient_id, focus=focus)

    def _changed(self, what: str, value: object) -> None:
        if not self._quiet:
            self.guarded(lambda: self.set(**{what: value}))

    def _fail(self, error: Exception) -> None:
        super()._fail(error)
        if self._live and isinstance(error, BadInput | CannotAnswer):
            self.answer, self._bar.value, self._view.value = None, "", ""  # what was shown answered another question


_CONTROLS = {
    PositiveControl.FOUND: "The same test finds planted canaries.",
    PositiveControl.MISSED: "The same test does not find planted canaries.",
    PositiveControl.NONE: "There are no planted canaries to show that this test can find something.",
}


def _finite(values: np.ndarray | None, place: int) -> float | None:
    return None if values is None or not np.isfinite(values[place]) else float(values[place])
