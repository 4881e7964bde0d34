"""The null of one patient's perturbation, live: the same sweep on people whom no model saw, and what the two say together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ehrmem_widgets.attacker.facts import KnownFact, KnownFacts, facts_of_rung
from ehrmem_widgets.blackbox.protocol import BlackBox, SlotIds
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.cohort.vocabulary import Vocabulary
from ehrmem_widgets.probes.exploration import Exploration, State, choose_focus
from ehrmem_widgets.probes.leak import leaks_of_many
from ehrmem_widgets.probes.perturbation import (
    Sweep,
    SweepCurve,
    _band,
    _same_attributes,
    _seed,
    spikes,
    sweeps_of,
)
from ehrmem_widgets.probes.side_by_side import side_by_side
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.multiple_testing import rank_p
from ehrmem_widgets.statistics.verdicts import (
    ALARM_RATE,
    COMMON_SHARE,
    EXCESS_THAT_MATTERS,
    FEWEST_CONTROLS,
    Judgement,
    Verdict,
)

SAMPLES = 8
"""Trajectories a shift for each person of the null: as many as the first portion of the patient's own."""
_AT_ONCE = 5


@dataclass(frozen=True)
class Null:
    """The sweeps of people whom no model saw: ``spikes`` (people,), and each one's ``curves`` as {steps off the truth: leak
    less its own median off the truth}. ``same_attribute``: how many were asked about the very attribute in focus (the others
    about the gravest that their own record holds)."""

    spikes: np.ndarray
    curves: tuple[dict[int, float], ...] = ()
    same_attribute: int = 0
    wanted: int = 0

    @property
    def n(self) -> int:
        """How many people."""
        return len(self.spikes)


def exact_facts(rung: str, record: Record, vocabulary: Vocabulary) -> KnownFacts:
    """A rung's facts, each known exactly: nothing is left open beside the one thing that is moved."""
    return tuple(KnownFact(fact.place) for fact in facts_of_rung(rung, record, vocabulary))


def null_of(exploration: Exploration, state: State, identifier: str, people: int) -> Iterator[Null | None]:
    """Ask the same of ``people`` whom no model saw: ever larger nulls, None where the work can be broken off.

    Chosen are those most like the patient in the known facts, holders of the attribute in focus first, then holders of any
    other attribute. Each is asked with the facts of the same rung, the same random numbers and ``SAMPLES`` trajectories a shift.
    """
    assert state.rung is not None
    record = exploration.record(state.patient_id)
    asked = _choose(exploration, state, record, identifier, people)
    spikes_: list[float] = []
    curves: list[dict[int, float]] = []
    same = 0
    horizon = state.horizon
    watch = _same_attributes(exploration.attributes, exploration.model.vocabulary).watch(state.attributes, record)
    for start in range(0, len(asked), _AT_ONCE):
        portion = asked[start : start + _AT_ONCE]
        prompts = [prompt for _, _, plan in portion for prompt in plan.prompts]
        leaks: list[np.ndarray] = []
        room = min(exploration.model.context_length - len(prompt) for prompt in prompts)
        work = _collect(exploration.model, prompts, watch, min(horizon, room), _seed(state.seed, 0), leaks)
        yield from side_by_side(work)
        at = 0
        for _, focus, plan in portion:
            curve = leaks[0][at : at + len(plan.prompts), state.attributes.index(focus)]
            at += len(plan.prompts)
            spikes_.append(float(spikes(curve[None], plan.true)[0]))
            level = np.median(np.delete(curve, plan.true))
            curves.append({step - plan.true: float(value - level) for step, value in enumerate(curve)})
            same += focus == state.focus
        yield Null(np.array(spikes_), tuple(curves), same, len(asked))
    if not asked:
        yield Null(np.empty(0))


def with_band(curve: SweepCurve, null: Null) -> SweepCurve:
    """The curve with the band that holds 95 % of the null at each shift, moved to the patient's own level; without one while
    the null is too small for a verdict."""
    if null.n < FEWEST_CONTROLS:
        return curve
    at = _band(list(null.curves))
    level = float(np.median(np.delete(curve.audited, curve.true)))
    found = np.array([at(shift - curve.true)[:2] for shift in range(len(curve.codes))])
    return replace(curve, band=((level + found[:, 0]).clip(0, 1), (level + found[:, 1]).clip(0, 1)))


def spike_estimate(curve: SweepCurve) -> Estimate:
    """The spike with an interval: its two parts' intervals, taken as independent (conservative: they share random numbers)."""
    assert curve.interval is not None
    low, high = curve.interval
    off = np.delete(np.arange(len(curve.audited)), curve.true)
    level = float(np.median(curve.audited[off]))
    nearest = off[int(np.argmin(np.abs(curve.audited[off] - level)))]
    down = float(np.hypot(curve.audited[curve.true] - low[curve.true], high[nearest] - curve.audited[nearest]))
    up = float(np.hypot(high[curve.true] - curve.audited[curve.true], curve.audited[nearest] - low[nearest]))
    return Estimate(curve.spike, max(-1.0, curve.spike - down), min(1.0, curve.spike + up), curve.samples)


def judge_spike(curve: SweepCurve, first_spike: float, null: Null, *, held: bool) -> Judgement:
    """The verdict on one identifier of one patient, as ``perturbation`` gives it.

    ``first_spike`` is that of the patient's first ``SAMPLES`` trajectories, asked in exactly the way of the null, so that the rank is
    exact for a patient who was never seen.
    """
    value = spike_estimate(curve)
    falls = f"the leak falls by {value}" if value.value > 0 else f"the leak does not fall ({value})"
    shown = f"moved off the true value, {falls}"
    p = rank_p(first_spike, null.spikes) if null.n else None
    if not held:
        return Judgement(
            Verdict.POPULATION,
            f"the record does not hold this, so what the model says of it comes from other people; {shown}.",
            p,
        )
    other = float("nan")
    if curve.reference is not None:
        other = float(curve.reference[curve.true] - np.nanmedian(np.delete(curve.reference, curve.true)))
    excess = value.value - other if np.isfinite(other) else value.value
    if excess < EXCESS_THAT_MATTERS:
        against = f" (a model that never saw the patient: {other:.2f})" if np.isfinite(other) else ""
        return Judgement(Verdict.POPULATION, f"{shown}{against}: not by an amount that matters.", p)
    if p is None or null.n < FEWEST_CONTROLS:
        return Judgement(
            Verdict.CANNOT_CONCLUDE,
            f"{shown}, but there are {null.n} people whom no model saw to compare with; at least {FEWEST_CONTROLS} are needed.",
        )
    as_much = round(p * (null.n + 1)) - 1
    seen = f"{as_much or 'none'} of {null.n} people whom no model saw show as much"
    if p >= COMMON_SHARE:
        return Judgement(Verdict.POPULATION, f"{shown}, and {seen}.", p)
    if value.low <= EXCESS_THAT_MATTERS:
        return Judgement(Verdict.CANNOT_CONCLUDE, f"{shown}, which may be too little to matter; {seen}.", p)
    if p <= ALARM_RATE:
        return Judgement(Verdict.MEMORIZED, f"{shown}; {seen}.", p)
    return Judgement(Verdict.CANNOT_CONCLUDE, f"{shown}; {seen}, too many for a claim on one patient.", p)


def _choose(
    exploration: Exploration, state: State, record: Record, identifier: str, people: int
) -> list[tuple[Record, str, Sweep]]:
    """Who is asked, about which attribute, and with which prompts."""
    codes, vocabulary = exploration.attributes, exploration.model.vocabulary
    pool = exploration.controls
    order = pool.similar(record, state.facts, len(pool.records))
    others = [other for other in order if not codes.held(state.focus, other)]
    holders = [other for other in order if codes.held(state.focus, other)]
    severity = {name: codes.attributes[name].severity for name in state.attributes}
    found: list[tuple[Record, str, Sweep]] = []
    for other in [*holders, *others]:
        if len(found) == people:
            break
        held = [name for name in state.attributes if codes.held(name, other)]
        if not held:
            continue
        focus = state.focus if state.focus in held else choose_focus(held, state.attributes, severity)
        facts = exact_facts(str(state.rung), other, vocabulary)
        plan = sweeps_of(other, facts, vocabulary, [identifier], codes.strip(state.attributes, other)).get(identifier)
        if plan is not None and max(map(len, plan.prompts)) < exploration.model.context_length:
            found.append((other, focus, plan))
    return found


def _collect(
    model: BlackBox,
    prompts: Sequence[SlotIds],
    watch: np.ndarray,
    horizon: int,
    seed: int,
    into: list[np.ndarray],
) -> Iterator[None]:
    for found in leaks_of_many(model, prompts, watch, horizon, SAMPLES, seed):
        if found is None:
            yield
        else:
            into.append(found)
