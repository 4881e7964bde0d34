"""Exploring or confirming? Who turns dials until something lights up is exploring; a question that was sealed (facts, attribute and
horizon written down before its answer) confirms (methods, section 8.9)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime

from ehrmem_widgets.attacker.facts import facts_to_text
from ehrmem_widgets.probes.exploration import Exploration, State


@dataclass(frozen=True)
class Asked:
    """How an answer came to be asked for.

    ``count``: the questions asked in the session up to this answer, this one included. ``question`` and ``sealed_at``: the hash of
    the question and the time (ISO, UTC) at which it was sealed, before its answer; empty when it was not. ``again``: the session had
    already looked at this patient, so that sealing came too late.
    """

    count: int = 1
    question: str = ""
    sealed_at: str = ""
    again: bool = False

    @property
    def confirms(self) -> bool:
        """Whether the question was sealed before anything of its answer was seen."""
        return bool(self.sealed_at) and not self.again

    @property
    def kind(self) -> str:
        """ "sealed" or "exploratory"."""
        return "sealed" if self.confirms else "exploratory"

    def in_words(self) -> str:
        """One or two sentences for people."""
        if self.confirms:
            when = self.sealed_at.replace("T", " ").replace("+00:00", " UTC")
            return f"Sealed question: facts, attribute and horizon were written down at {when}, before the answer ({self.question})."
        if self.again:
            return f"Exploratory, one of {self.count:,} questions asked: this patient had been looked at before the question was sealed."
        if self.count == 1:
            return "Exploratory: one question asked, not sealed beforehand."
        return f"Exploratory, one of {self.count:,} questions asked: who asks often enough finds something. Seal a question to confirm it."


def seal(exploration: Exploration, state: State, *, count: int = 1, again: bool = False) -> Asked:
    """Write a question down: now, before it is answered."""
    return Asked(count, question_hash(exploration, state), datetime.now(UTC).isoformat(timespec="seconds"), again)


def question_hash(exploration: Exploration, state: State) -> str:
    """12 hexadecimal digits that stand for the question: data, models, patient (by pseudonym), facts, attribute, horizon, samples and
    seed."""
    reference = exploration.reference.fingerprint if exploration.reference else None
    content = [
        exploration.dataset.fingerprint,
        exploration.model.fingerprint,
        reference,
        exploration.dataset.pseudonym(state.patient_id),
        facts_to_text(state.facts),
        list(state.attributes),
        state.focus,
        state.horizon,
        state.samples,
        state.seed,
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
