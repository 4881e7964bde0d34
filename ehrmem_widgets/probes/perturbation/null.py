"""The null of one patient's perturbation, live: the same sweep on people whom no model saw, and on planted canaries to show that
this sweep finds what is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ehrmem_widgets.attacker.facts import KnownFact, KnownFacts, facts_of_level
from ehrmem_widgets.blackbox.protocol import horizon_within
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.probes.exploration import Exploration, State, choose_focus
from ehrmem_widgets.probes.leak import Leaks
from ehrmem_widgets.probes.perturbation.ask import (
    IDENTIFIERS,
    Sweep,
    SweepCurve,
    _band,
    _collect,
    _same_attributes,
    _seed,
    spikes,
    sweeps_of,
)
from ehrmem_widgets.statistics.verdicts import ALARM_RATE, FEWEST_CONTROLS, Peers, PositiveControl, positive_control
from ehrmem_widgets.tokens.vocabulary import Vocabulary

SAMPLES = 8
"""Trajectories a shift for each person of the null: as many as the first batch of the patient's own."""
FEWEST_SHOWN = 30
"""People asked in any case, for the band; more only while a claim on the patient is still possible."""
PLANTED = 10
"""Canaries asked as the positive control."""
_AT_ONCE = 5


@dataclass(frozen=True)
class Null:
    """The sweeps of people whom no model saw: ``spikes`` (people,), and each one's ``curves`` as {steps off the truth: leak
    less its own median off the truth}. ``same_attribute``: how many were asked about the very attribute in focus (the others
    about the most severe that their own record holds); ``wanted``: how many are there to be asked."""

    spikes: np.ndarray
    curves: tuple[dict[int, float], ...] = ()
    same_attribute: int = 0
    wanted: int = 0

    @property
    def n(self) -> int:
        """How many people."""
        return len(self.spikes)

    def peers(self, spike: float) -> Peers:
        """How many of them show at least this spike."""
        return Peers.of(spike, self.spikes)


def exact_facts(knowledge: str, record: Record, vocabulary: Vocabulary) -> KnownFacts:
    """A knowledge level's facts, each known exactly: nothing is left open beside the one thing that is moved."""
    return tuple(KnownFact(fact.place) for fact in facts_of_level(knowledge, record, vocabulary))


def tests_of(exploration: Exploration, state: State) -> int:
    """How many identifiers of the patient can be moved: what a claim on one of them is corrected for."""
    record = exploration.record(state.patient_id)
    strip = exploration.attributes.strip(state.attributes, record)
    return len(sweeps_of(record, state.facts, exploration.model.vocabulary, tuple(IDENTIFIERS), strip))


def null_of(
    exploration: Exploration, state: State, identifier: str, people: int, own_spike: float
) -> Iterator[Null | None]:
    """Ask the same of ``people`` whom no model saw: ever larger nulls, None where the work can be interrupted.

    Chosen are those most like the patient in the known facts, holders of the attribute in focus first, then holders of any
    other attribute. Each is asked with the facts of the same knowledge level, the same random numbers and ``SAMPLES`` trajectories a shift.
    Beyond ``FEWEST_SHOWN`` it stops as soon as so many show as much as the patient (``own_spike``) that the others cannot make a
    claim possible any more.
    """
    record = exploration.record(state.patient_id)
    pool = exploration.controls
    chosen = _choose(exploration, state, pool.similar(record, state.facts, len(pool.records)), identifier, people)
    tests = tests_of(exploration, state)
    null = Null(np.empty(0), wanted=len(chosen))
    for start in range(0, len(chosen), _AT_ONCE):
        found: list[tuple[float, dict[int, float], bool]] = []
        yield from _ask(exploration, state, chosen[start : start + _AT_ONCE], found)
        null = replace(
            null,
            spikes=np.append(null.spikes, [spike for spike, _, _ in found]),
            curves=(*null.curves, *(curve for _, curve, _ in found)),
            same_attribute=null.same_attribute + sum(same for _, _, same in found),
        )
        yield null
        lost = tests * (1 + null.peers(own_spike).as_high) > ALARM_RATE * (1 + len(chosen))
        if lost and null.n >= FEWEST_SHOWN:
            return
    if not chosen:
        yield null


def planted_control(
    exploration: Exploration, state: State, identifier: str, null: Null
) -> Iterator[PositiveControl | None]:
    """Whether the same sweep finds up to ``PLANTED`` canaries that the model was trained on, against the null. None while they are
    asked."""
    canaries = [exploration.record(patient) for patient in exploration.canaries if patient != state.patient_id]
    chosen = _choose(exploration, state, canaries, identifier, PLANTED)
    found: list[tuple[float, dict[int, float], bool]] = []
    for start in range(0, len(chosen), _AT_ONCE):
        yield from _ask(exploration, state, chosen[start : start + _AT_ONCE], found)
    yield positive_control(np.array([spike for spike, _, _ in found]), null.spikes)


def with_band(curve: SweepCurve, null: Null) -> SweepCurve:
    """The curve with the band that holds 95 % of the null at each shift, moved to the patient's own level; without one while
    the null is too small for a verdict."""
    if null.n < FEWEST_CONTROLS:
        return curve
    at = _band(list(null.curves))
    level = float(np.median(np.delete(curve.audited, curve.true)))
    found = np.array([at(shift - curve.true)[:2] for shift in range(len(curve.codes))])
    return replace(curve, band=((level + found[:, 0]).clip(0, 1), (level + found[:, 1]).clip(0, 1)))


def _ask(
    exploration: Exploration,
    state: State,
    batch: Sequence[tuple[Record, str, Sweep]],
    into: list[tuple[float, dict[int, float], bool]],
) -> Iterator[None]:
    """For each person the spike, the curve by steps off the truth, and whether it is about the attribute in focus."""
    prompts = [prompt for _, _, plan in batch for prompt in plan.prompts]
    record = exploration.record(state.patient_id)
    track = _same_attributes(exploration.attributes, exploration.model.vocabulary).track(state.attributes, record)
    room = min(exploration.model.context_length - len(prompt) for prompt in prompts)
    leaks: list[Leaks] = []
    model, seed = exploration.model, _seed(state.seed, 0)
    horizon = horizon_within(model, model.context_length - room, state.horizon)
    yield from _collect(model, prompts, track, horizon, SAMPLES, seed, leaks)
    at = 0
    for _, focus, plan in batch:
        curve = leaks[0].means[at : at + len(plan.prompts), state.attributes.index(focus)]
        at += len(plan.prompts)
        level = np.median(np.delete(curve, plan.true))
        steps = {step - plan.true: float(value - level) for step, value in enumerate(curve)}
        into.append((float(spikes(curve[None], plan.true)[0]), steps, focus == state.focus))


def _choose(
    exploration: Exploration, state: State, candidates: Sequence[Record], identifier: str, most: int
) -> list[tuple[Record, str, Sweep]]:
    """Who of the candidates, in their order, is asked, about which attribute, and with which prompts."""
    assert state.knowledge is not None
    codes, vocabulary = exploration.attributes, exploration.model.vocabulary
    others = [other for other in candidates if not codes.held(state.focus, other)]
    holders = [other for other in candidates if codes.held(state.focus, other)]
    severity = {name: codes.attributes[name].severity for name in state.attributes}
    found: list[tuple[Record, str, Sweep]] = []
    for other in [*holders, *others]:
        if len(found) == most:
            break
        held = [name for name in state.attributes if codes.held(name, other)]
        if not held:
            continue
        focus = state.focus if state.focus in held else choose_focus(held, state.attributes, severity)
        facts = exact_facts(state.knowledge, other, vocabulary)
        plan = sweeps_of(other, facts, vocabulary, [identifier], codes.strip(state.attributes, other)).get(identifier)
        if plan is not None and max(map(len, plan.prompts)) < exploration.model.context_length:
            found.append((other, focus, plan))
    return found
