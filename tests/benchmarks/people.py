"""Whom the evidence asks about, and with what question."""

from __future__ import annotations

import numpy as np

from ehrmem_widgets.attacker.facts import facts_of_level
from ehrmem_widgets.probes.exploration import Exploration, Question, State, choose_focus

SAMPLES = 128  # of each model; enough to know a rare leak to +-0.02


def state_of(exploration: Exploration, patient: int, knowledge: str) -> State:
    """The state of the main screen for a patient at a knowledge level, the focus on the most severe attribute held."""
    record = exploration.record(patient)
    names = exploration.attributes.default_names()
    severity = {name: attribute.severity for name, attribute in exploration.attributes.attributes.items()}
    focus = choose_focus(exploration.held(patient), names, severity)
    facts = facts_of_level(knowledge, record, exploration.model.vocabulary)
    return State(patient, facts, knowledge, names, focus, samples=SAMPLES)


class Pool:
    """The leaks of all possible controls at one knowledge level, asked once: the answers do not depend on who else is asked."""

    def __init__(self, exploration: Exploration, knowledge: str) -> None:
        self.records = exploration.controls.records
        question = Question(exploration, state_of(exploration, self.records[0].patient_id, knowledge))
        for _ in question.ask_controls(self.records):
            pass
        self.leaks = question.control_leaks
        self._row = {record.patient_id: row for row, record in enumerate(self.records)}

    def answer(self, question: Question) -> None:
        """Give a question its controls, as the main screen would have asked them."""
        for _ in question.ask_controls([]):  # the patient, asked in the way of the pool
            pass
        asked = [other.patient_id for other in question.controls() if other.patient_id in self._row]
        question.asked = asked
        question.control_leaks = [leaks[[self._row[patient] for patient in asked]] for leaks in self.leaks]


def at_random(ids: list[int], most: int, seed: int = 0) -> list[int]:
    """At most so many of them, drawn with a seed."""
    return [int(i) for i in np.random.default_rng(seed).choice(ids, min(most, len(ids)), replace=False)]
