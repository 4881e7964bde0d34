"""Put one question to the sample models as the main screen does, and keep its answer, so that a long run can be stopped and taken up again."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from ehrmem_widgets.attacker.facts import facts_of_level
from ehrmem_widgets.blackbox.training_splits import trained_on
from ehrmem_widgets.cohort.ground_truth import canary_repetitions
from ehrmem_widgets.cohort.record import age_band
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.files import write_whole
from ehrmem_widgets.probes.exploration import Exploration, Question, State
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Peers

SEED = 0
_DIGITS = 5


class Figure(BaseModel):
    """A figure with its 95 % interval and n, as it is kept in a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, estimate: Estimate) -> Figure:
        """An estimate, rounded."""
        value, low, high = (round(float(one), _DIGITS) for one in (estimate.value, estimate.low, estimate.high))
        return cls(value=value, low=low, high=high, n=estimate.n)

    @property
    def estimate(self) -> Estimate:
        """The same for charts and words."""
        return Estimate(self.value, self.low, self.high, self.n)


class Asked(BaseModel):
    """One question and its settled answer. ``times``: how often this person's record stood in the training
    data (0: the model never saw it; above 1: planted); ``about``: age band and sex; ``facts``: how
    many the attacker knows; ``as_high`` of the ``controls`` similar people, whom no model saw, show as much."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    model: str
    patient: str
    about: str
    times: int
    attribute: str
    title: str
    knowledge: str
    facts: int
    audited: Figure
    reference: Figure
    excess: Figure
    as_high: int
    controls: int
    verdict: str
    sentence: str

    @property
    def seen(self) -> bool:
        """Whether the model was trained on this person."""
        return self.times > 0

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What the answer depends on."""
        return self.model, self.patient, self.attribute, self.knowledge


def sensitive(exploration: Exploration) -> tuple[str, ...]:
    """The attributes that are asked about: those that patients may hold, without the comparators age and sex."""
    declared = exploration.attributes.attributes
    return tuple(name for name in exploration.attributes.default_names() if declared[name].own_value is None)


def state_of(exploration: Exploration, patient_id: int, attribute: str, knowledge: str) -> State:
    """The question as the main screen puts it."""
    facts = facts_of_level(knowledge, exploration.record(patient_id), exploration.model.vocabulary)
    return State(patient_id, facts, knowledge, sensitive(exploration), attribute, seed=SEED)


def can_be_asked(exploration: Exploration, patient_id: int, attribute: str, knowledge: str) -> bool:
    """Whether a model that recites the record would name the attribute within the horizon."""
    question = Question(exploration, state_of(exploration, patient_id, attribute, knowledge))
    return not question.reached[question.focus_column]


def ask(exploration: Exploration, patient_id: int, attribute: str, knowledge: str) -> Asked:
    """The settled answer of ``Exploration.answers`` about one attribute; the map and the distance of texts, of which the lesson says nothing,
    are left out."""
    question = Question(exploration, state_of(exploration, patient_id, attribute, knowledge))
    for _ in chain(question.first_answers(), question.refine(), question.compare()):
        pass
    answer = question.settled()
    finding = answer.attribute(attribute)
    if finding is None or finding.judgement is None or finding.reference is None or finding.excess is None:
        raise BadInput(f"The record of {exploration.record(patient_id).pseudonym} does not hold {attribute!r}.")
    column = question.focus_column
    own = float(question.own_leaks[0][column] - question.own_leaks[1][column])
    peers = Peers.of(own, question.control_leaks[0][:, column] - question.control_leaks[1][:, column])
    row = exploration.dataset.patients.loc[patient_id]
    times = (canary_repetitions(exploration.dataset) or {}).get(patient_id, 1)
    return Asked(
        model=exploration.model.name,
        patient=exploration.record(patient_id).pseudonym,
        about=", ".join(str(part) for part in (row["sex"], age_band(row["age"])) if part),
        times=times if row["split"] == trained_on(exploration.model) else 0,
        attribute=attribute,
        title=finding.title,
        knowledge=knowledge,
        facts=answer.known.facts,
        audited=Figure.of(finding.audited),
        reference=Figure.of(finding.reference),
        excess=Figure.of(finding.excess),
        as_high=peers.as_high,
        controls=peers.n,
        verdict=str(finding.judgement.verdict),
        sentence=finding.judgement.sentence,
    )


class Kept:
    """Answers in a file, one by one as they come."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._answers: dict[tuple[str, ...], Asked] = {}
        if path is not None and path.exists():
            self._answers = {one.key: one for one in _MANY.validate_json(path.read_bytes())}

    @property
    def n(self) -> int:
        """How many there are."""
        return len(self._answers)

    def get(self, key: tuple[str, str, str, str], ask_now: Callable[[], Asked]) -> Asked:
        """The kept answer, else a new one."""
        if key not in self._answers:
            self._answers[key] = ask_now()
            if self._path is not None:
                write_whole({self._path: _MANY.dump_json(list(self._answers.values()), indent=1) + b"\n"})
        return self._answers[key]


_MANY = TypeAdapter(list[Asked])
