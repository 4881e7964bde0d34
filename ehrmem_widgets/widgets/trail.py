"""What was asked on the main screen, step by step: undo, redo, and the whole as JSON, to keep or to put into an address."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ehrmem_widgets.attacker.facts import KnownFacts, check_facts, facts_from_text, facts_to_text, knowledge_words
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.exploration import Exploration, State
from ehrmem_widgets.probes.findings import Answer
from ehrmem_widgets.settings import shown

KIND, VERSION = "ehrmem session", 1
_STATE = ("patient", "knowledge", "facts", "attributes", "focus", "horizon", "samples", "seed", "population")


@dataclass
class Step:
    """A state that was answered in full: ``words`` say what changed, ``answers`` are by the names of the models."""

    state: State
    words: str
    answers: dict[str, Answer] = field(default_factory=dict)


class Trail:
    """The steps in the order in which they were first answered, and where the user stands. A step that comes again is the same step."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._order: list[State] = []
        self._at = -1

    def add(self, state: State, model: str, answer: Answer, words: str = "") -> None:
        """A settled answer. A state other than the present one is a new step, and what was undone is forgotten."""
        if not (0 <= self._at < len(self._order) and self._order[self._at] == state):
            self._order = [*self._order[: self._at + 1], state]
            self._at += 1
        step = self.step(state)
        if step is None:
            step = Step(state, words)
            self.steps.append(step)
        step.answers[model] = answer

    def step(self, state: State) -> Step | None:
        """The step of a state, None for one that was not answered in full."""
        return next((one for one in self.steps if one.state == state), None)

    @property
    def state(self) -> State | None:
        """The state last answered in full."""
        return self._order[self._at] if self._at >= 0 else None

    @property
    def before(self) -> State | None:
        """The state before it."""
        return self._order[self._at - 1] if self._at > 0 else None

    def undo(self, present: State) -> State | None:
        """The state to go back to from ``present``; None where there is none. One that is still being answered goes back to the last answer."""
        if self.state is not None and present != self.state:
            return self.state
        if self._at <= 0:
            return None
        self._at -= 1
        return self.state

    def redo(self) -> State | None:
        """The state that was undone last; None where there is none."""
        if self._at + 1 >= len(self._order):
            return None
        self._at += 1
        return self.state

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier state."""
        return self._at > 0

    @property
    def can_redo(self) -> bool:
        """Whether something was undone."""
        return self._at + 1 < len(self._order)


def what_changed(before: State | None, after: State, titles: Mapping[str, str], names: Mapping[int, str]) -> str:
    """A step in a few words: the first thing that differs. ``titles`` of attributes; ``names`` of the patient's facts by place."""
    if before is None or before.patient_id != after.patient_id:
        return knowledge_words(after.knowledge) if after.knowledge else "Facts set by hand"
    if after.facts != before.facts:
        return _facts_changed(before.facts, after, names)
    for name, words in (
        ("focus", titles.get(after.focus, after.focus)),
        ("horizon", f"Horizon {after.horizon}"),
        ("seed", f"Seed {after.seed}"),
    ):
        if getattr(before, name) != getattr(after, name):
            return words
    return "Asked again"


def _facts_changed(before: KnownFacts, after: State, names: Mapping[int, str]) -> str:
    if after.knowledge:
        return knowledge_words(after.knowledge)
    old, new = ({fact.place: fact for fact in facts} for facts in (before, after.facts))
    gone, come = [p for p in old if p not in new], [p for p in new if p not in old]
    other = [p for p in new if p in old and old[p] != new[p]]
    if len(gone) + len(come) + len(other) > 1:
        return f"{len(new)} facts, set by hand"
    (place,) = (*gone, *come, *other)
    sign = "−" if gone else "+" if come else ""
    how = "" if gone else {"exact": "", "coarse": " roughly", "unknown": " without its value"}[str(new[place].value)]
    return f"{sign} {names.get(place, 'fact')}{how}".strip()


def state_as_json(state: State, exploration: Exploration) -> dict[str, object]:
    """A state as plain data; the patient by pseudonym."""
    return {
        "patient": exploration.dataset.pseudonym(state.patient_id),
        "knowledge": state.knowledge,
        "facts": facts_to_text(state.facts),
        "attributes": list(state.attributes),
        "focus": state.focus,
        "horizon": state.horizon,
        "samples": state.samples,
        "seed": state.seed,
        "population": state.population,
    }


def state_from_json(content: object, exploration: Exploration, now: State) -> State:
    """A state from plain data, checked like anything that people hand in; what is left out is as in ``now``. Raises BadInput."""
    if not isinstance(content, Mapping) or not isinstance(content.get("patient"), str):
        raise BadInput("This is not a saved state of the main screen: it names no patient.")
    if unknown := [name for name in content if name not in _STATE]:
        raise BadInput(
            f"This is not a saved state of the main screen: {shown(unknown[0])} is unknown. Known are {', '.join(_STATE)}."
        )
    patient_id = exploration.dataset.find(content["patient"])
    record = exploration.record(patient_id)
    facts = _facts(content.get("facts"), record)
    names = content.get("attributes")
    given = () if names is None else _texts(names, "attributes")
    attributes = exploration.attributes.check_names(given) if given else now.attributes
    more = {name: content[name] for name in ("knowledge", "focus", "horizon", "samples", "seed") if name in content}
    more["population"] = content.get("population", now.population)
    return replace(now, patient_id=patient_id, facts=facts, attributes=tuple(attributes), **more)


def _facts(given: object, record: Record) -> KnownFacts:
    if not isinstance(given, str):
        raise BadInput(f"The facts of a saved state are a text such as 'age 0 1 5:unknown:day'; got {shown(given)}.")
    return check_facts(facts_from_text(given), record) if given.strip() else ()


def _texts(given: object, name: str) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise BadInput(f"{name} must be a list of texts; got {shown(given)}.")
    return given


def to_link(content: Mapping[str, object]) -> str:
    """Plain data as text for an address: canonical JSON in URL-safe base 64.

    >>> from_link(to_link({"patient": "P-ABCD-EFGH"}))
    {'patient': 'P-ABCD-EFGH'}
    """
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def from_link(text: str) -> object:
    """What ``to_link`` made. Raises BadInput for any other text."""
    try:
        return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        raise BadInput(
            "The address holds a state that cannot be read: it may have been cut short. Copy the link again."
        ) from None
