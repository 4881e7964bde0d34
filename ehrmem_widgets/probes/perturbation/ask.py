"""T5 Perturbation: move one identifier of a patient off its true value and follow the leak probability (methods, section 4).

A collapse off the true value means an individual; a smooth curve means a population (Tonekaboni et al., arXiv 2510.12950,
its perturbation test, which shows curves without a threshold). The threshold here is a null: the same sweep on people whom
no model saw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Unpack

import numpy as np

from ehrmem_widgets.attacker.facts import AGE, KnownFact, facts_of_level
from ehrmem_widgets.attacker.prompt import BETWEEN, YEAR, Prompt, build_prompt
from ehrmem_widgets.blackbox.protocol import BlackBox, SlotIds, horizon_within
from ehrmem_widgets.cohort.codes import Kind, parse_code
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.findings.finding import (
    Exclusion,
    Finding,
    FindingRow,
    RowOptions,
    Where,
    curve_row,
    estimate_of,
    excluded_row,
    finding,
    patient_row,
    row,
)
from ehrmem_widgets.probes.base import Probe, ProbeRun, Task
from ehrmem_widgets.probes.batching import Answer, Rows
from ehrmem_widgets.probes.exploration import Exploration, State, choose_focus
from ehrmem_widgets.probes.interleave import interleave
from ehrmem_widgets.probes.leak import Leaks, leaks_of_many, slot_ids
from ehrmem_widgets.probes.needs import (
    ATTRIBUTES,
    CONTINUATIONS,
    HOLDERS,
    LEAKS,
    PLANTED_CONTROL,
    PROMPTS,
    Can,
    reference,
)
from ehrmem_widgets.probes.people import (
    CANARY,
    HOLDS_NONE,
    MEMBER,
    NON_MEMBER,
    NULL_CANARY,
    People,
)
from ehrmem_widgets.probes.perturbation.identifiers import IDENTIFIERS, check_identifiers
from ehrmem_widgets.statistics.discrimination import auroc_p, difference_of_means, mean_with_interval
from ehrmem_widgets.statistics.intervals import Estimate, difference, proportion
from ehrmem_widgets.statistics.multiple_testing import benjamini_hochberg, holm
from ehrmem_widgets.statistics.verdicts import (
    ALARM_RATE,
    LEAK_MARGIN,
    Judgement,
    Peers,
    PositiveControl,
    ProbeKind,
    Verdict,
    judge_cohort,
    judge_person,
    positive_control,
)
from ehrmem_widgets.tokens.attribute_codes import AttributeCodes
from ehrmem_widgets.tokens.moments import later, with_ids
from ehrmem_widgets.tokens.vocabulary import Vocabulary

_NOT_KNOWN = {
    "age": Exclusion("no_age", "no age among the known facts, so it was not moved"),
    "sex": Exclusion("no_sex", "no sex among the known facts, so it was not moved"),
    "lab": Exclusion("no_lab", "no lab value among the known facts, so it was not moved"),
    "date": Exclusion("no_date", "no time between two events among the known facts, so it was not moved"),
}
REACH = 3  # over a cohort; live it is 5
_FEWEST_AT_A_SHIFT = 20  # of the null, for a band of that shift's own


@dataclass(frozen=True)
class SweepCurve:
    """The leak probability while one identifier moves; arrays are (shifts,).

    ``codes`` and ``words`` say what stands in the prompt at each shift, ``true`` is the place of the truth among them.
    ``interval`` is the 95 % interval of ``audited``, ``spike`` the leak at the truth minus the median off it, with its interval, and
    ``statistic`` the same uncut, which is ranked, and ``reference_spike`` that of the reference model. ``band`` holds 95 % of the people whom no model saw, moved to this patient's
    own level (the median off the truth).
    """

    identifier: str
    codes: tuple[str, ...]
    words: tuple[str, ...]
    true: int
    audited: np.ndarray
    reference: np.ndarray | None
    samples: int
    spike: Estimate
    statistic: float
    reference_spike: Estimate | None = None
    interval: tuple[np.ndarray, np.ndarray] | None = None
    band: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True)
class Sweep:
    """The questions behind a curve: at each shift the ``codes`` moved in, and the whole prompt."""

    codes: tuple[str, ...]
    true: int
    prompts: tuple[SlotIds, ...]


def spikes(curves: np.ndarray, true: int) -> np.ndarray:
    """(curves, shifts) -> (curves,): the value at the truth minus the median of the others. The median, because one of the
    neighbouring values may be another member's own.

    >>> spikes(np.array([[0.1, 0.9, 0.2, 0.8]]), 1).round(2).tolist()
    [0.7]
    """
    return np.asarray(curves[:, true] - np.median(np.delete(curves, true, axis=1), axis=1))


def spike_of(leaks: Leaks, true: int) -> Estimate:
    """The spike of one sweep (leaks at its shifts, of one attribute), with the interval of the difference between the truth and
    the shift that lies at the median of the others."""
    curve = leaks.means[:, 0]
    off = np.delete(np.arange(len(curve)), true)
    level = float(np.median(curve[off]))
    nearest = int(off[np.argmin(np.abs(curve[off] - level))])
    _, low, high = leaks.of([true]).minus(leaks.of([nearest]))[0, 0]
    return Estimate(float(np.clip(curve[true] - level, low, high)), float(low), float(high), leaks.raw.shape[1])


def judge_spike(
    spike: Estimate,
    reference: Estimate | None,
    peers: Peers | None,
    *,
    tests: int,
    control: PositiveControl,
    planted: bool = False,
) -> Judgement:
    """The verdict on one identifier of one patient, live and over a cohort: ``peers`` are the spikes of people whom no model saw,
    asked in the very same way, ``tests`` the identifiers that could be moved."""
    falls = f"the leak falls by {spike}" if spike.value > 0 else f"the leak does not fall ({spike})"
    against = f" (with a model that never saw the patient: {reference})" if reference else ""
    return judge_person(
        difference(spike, reference) if reference else spike,
        peers,
        margin=LEAK_MARGIN,
        kind=ProbeKind.DETECTOR,
        shown=f"moved off the true value, {falls}{against}",
        tests=tests,
        control=control,
        planted=planted,
    )


class Perturbation(ProbeRun):
    """Move each identifier of each person around its true value and ask for the most severe attribute that the record holds.

    ``knowledge`` is what else is known. The default is the smallest that has all four identifiers: the less is known beside the
    moved one, the more it identifies (with a whole lab panel the rest gives the patient away whatever is moved). All facts
    count as known exactly. Ages and gaps move up to three steps either way, a lab over all its bins. The leak is the sum form
    over ``samples`` trajectories with the same random numbers at every shift and for everybody, so that
    curves are smooth where the model is.

    Statistic: the *spike*, leak at the truth minus the median off it. Null: the spikes of the same identifier of all whom no
    model saw (canaries never trained on among them), each of these ranked against the others. ``p`` is that rank,
    ``p_adjusted`` is Bonferroni's over the identifiers that a patient has (as on the live screen); the claim on a patient needs at
    least 79 people in the null for four identifiers. *Population knowledge* needs a narrow interval (72 samples and more) and
    that the spikes of the planted canaries are found.

    Figures of a patient: ``spike:IDENTIFIER`` (interval: of the trajectories; n: trajectories). Curves: by IDENTIFIER, a point a
    shift; its low and high are not an interval of the value but the null band at that shift (2.5 and 97.5 %), moved to this patient's
    own median off the truth; n is the size of the null there. Figures of the cohort: ``spike:IDENTIFIER`` by group and model, ``gap:IDENTIFIER``, ``stands_out``
    (share with an adjusted p of at most 0.05) and ``stands_out_screening`` (Benjamini-Hochberg over all patients whom
    the model saw and all identifiers).
    """

    doing = "Moving identifiers"
    batch = 16
    needs = (
        CONTINUATIONS,
        PROMPTS,
        ATTRIBUTES,
        LEAKS,
        HOLDERS,
        reference(Can.YES, "what is general knowledge is not taken out"),
        PLANTED_CONTROL,
    )

    def __init__(self, probe: Probe, task: Task) -> None:
        super().__init__(probe, task)
        options = task.options
        self._asking = _Asking(
            task.model, task.reference, task.dataset, options["attributes"], task.knowledge_levels[0], options["identifiers"],
            options["samples"], options["horizon"], task.seed,
        )  # fmt: skip
        self.settings |= {"identifiers": list(options["identifiers"]), "attributes": list(self._asking.names)}
        self._why_not = {record.patient_id: self._asking.why_not(record) for record in task.people.records}
        self.records = [record for record in task.people.records if self._why_not[record.patient_id] is None]

    def ask(self, records: list[Record]) -> Rows:
        """Everybody's curves."""
        return self._asking.ask(records)

    def judge(self, answers: Rows) -> Finding:
        """Spikes, ranks, bands and verdicts."""
        people, options = self.task.people, self.task.options
        rows = [excluded_row(pseudonym, why) for pseudonym, why in people.left_out]
        for record in people.records:
            if (why := self._why_not[record.patient_id]) is not None:
                rows.append(excluded_row(record.pseudonym, why, group=_group(people, record)))
        groups = {record.pseudonym: _group(people, record) for record in self.records}
        compiled = _Compiled(
            answers,
            groups,
            options["identifiers"],
            self.task.knowledge_levels[0],
            options["samples"],
            self.task.reference is not None,
            self.task.confounded,
        )
        more, said = compiled.rows_and_sentences()
        return finding(self.probe.name, [*rows, *more], self.settings, said)


def sweep(
    exploration: Exploration, state: State, identifier: str, *, batch: int = 8, reach: int = 5
) -> Iterator[SweepCurve | None]:
    """One patient's curve, live: ever better curves until ``state.samples`` trajectories a shift are spent. None between them
    marks a point at which the work can be interrupted.

    Each batch has its own random numbers, shared by all shifts and by both models. ``identifier``: one of ``IDENTIFIERS``, or a fact of
    ``movable``. Raises BadInput when the facts of the state do not hold it.
    """
    kind = identifier.partition(":")[0]
    check_identifiers([kind])
    record = exploration.record(state.patient_id)
    models = [exploration.model] + ([exploration.reference] if exploration.reference else [])
    strip = exploration.attributes.strip(state.attributes, record)
    plans: list[Sweep] = []
    for model in models:
        found = sweeps_of(record, state.facts, model.vocabulary, [identifier], strip, reach)
        if identifier not in found:
            raise BadInput(f"There is {_NOT_KNOWN[kind].words}. Add it to the facts, or move another identifier.")
        plans.append(found[identifier])
    first = plans[0]
    codes = [_same_attributes(exploration.attributes, model.vocabulary) for model in models]
    watches = [each.track([state.focus], record) for each in codes]
    room = min(m.context_length - len(p) for m, plan in zip(models, plans, strict=True) for p in plan.prompts)
    leaks: list[Leaks | None] = [None for _ in models]
    spent = 0
    while spent < state.samples:
        size = min(batch, state.samples - spent)
        more: list[list[Leaks]] = [[] for _ in models]
        yield from interleave(
            *(
                _collect(
                    m,
                    plan.prompts,
                    track,
                    horizon_within(m, m.context_length - room, state.horizon),
                    size,
                    _seed(state.seed, spent),
                    into,
                )
                for m, plan, track, into in zip(models, plans, watches, more, strict=True)
            )
        )
        leaks = [new[0] if old is None else old.with_more(new[0]) for old, new in zip(leaks, more, strict=True)]
        spent += size
        asked = [one for one in leaks if one is not None]
        shown = asked[0].intervals()[:, 0]
        other = asked[1].means[:, 0] if len(asked) > 1 else None
        yield SweepCurve(
            kind,
            first.codes,
            tuple(map(models[0].vocabulary.label, first.codes)),
            first.true,
            shown[:, 0],
            None if other is None else _aligned(first, plans[1], other),
            spent,
            spike_of(asked[0], first.true),
            float(spikes(asked[0].means[:, 0][None], first.true)[0]),
            spike_of(asked[1], plans[1].true) if other is not None else None,
            interval=(shown[:, 1], shown[:, 2]),
        )


def curve_of(found: Finding, patient: str, identifier: str) -> SweepCurve:
    """A patient's curve with its null band, out of a finding of ``perturbation``. Raises KeyError where there is none."""
    rows = found.about("curves", patient=patient, figure=identifier)
    audited, other = rows[rows["model"] == "audited"], rows[rows["model"] == "reference"]
    if audited.empty:
        raise KeyError(f"the finding has no curve of {identifier!r} for {patient}")
    spikes_ = found.about("patients", patient=patient, figure=f"spike:{identifier}").set_index("model")

    def spike(name: str) -> Estimate:
        return estimate_of(spikes_.loc[name])

    return SweepCurve(
        identifier,
        tuple(audited["code"]),
        tuple(audited["label"]),
        int(np.flatnonzero(audited["step"] == 0)[0]),
        audited["value"].to_numpy(),
        other["value"].to_numpy() if len(other) else None,
        int(found.settings["samples"]),
        spike("audited"),
        spike("audited").value,
        spike("reference") if "reference" in spikes_.index else None,
        band=(audited["low"].to_numpy(), audited["high"].to_numpy()),
    )


def sweeps_of(
    record: Record,
    facts: Sequence[KnownFact],
    vocabulary: Vocabulary,
    identifiers: Sequence[str],
    strip: frozenset[str] = frozenset(),
    reach: int = 5,
) -> dict[str, Sweep]:
    """For each identifier that the facts hold, its prompts: one slot replaced by each neighbour of its true value, ``reach``
    steps (years, gap codes) either way; for a lab, every bin; for the sex, the others of the vocabulary. Where ages stand beside codes, the
    age is moved by years with all that comes after it, and a step of a time between two events halves or doubles it."""
    prompt = build_prompt(record, facts, vocabulary, strip=strip)
    base = slot_ids(prompt, vocabulary)
    found = {}
    for identifier, moves in _movable(record, prompt, vocabulary, reach).items():
        if identifier in identifiers and len(moves.codes) > 1:
            prompts = tuple(moves.prompt(base, at, vocabulary) for at in range(len(moves.codes)))
            found[identifier] = Sweep(tuple(moves.codes), moves.codes.index(moves.true), prompts)
    return found


def movable(
    record: Record, facts: Sequence[KnownFact], vocabulary: Vocabulary, strip: frozenset[str] = frozenset()
) -> dict[str, int]:
    """By name, the places of all facts that can be moved: those of ``IDENTIFIERS``, and every other lab value ("lab:7") and time ("date:7")."""
    prompt = build_prompt(record, facts, vocabulary, strip=strip)
    found = _movable(record, prompt, vocabulary, 5)
    named = {(moves.slot, bool(moves.days)) for name, moves in found.items() if name in IDENTIFIERS}
    shown = [n for n, moves in found.items() if n in IDENTIFIERS or (moves.slot, bool(moves.days)) not in named]
    behind = 0 if vocabulary.timed else 1  # a time between two events is a code before the second of them
    return {name: prompt.places[found[name].slot + (behind if name.startswith("date") else 0)] for name in shown}


_MODELS = ("audited", "reference")


class _Asking:
    """Puts the questions about a batch of patients to the models."""

    def __init__(
        self,
        model: BlackBox,
        reference: BlackBox | None,
        dataset: MedsDataset,
        attributes: Sequence[str] | None,
        knowledge: str,
        identifiers: tuple[str, ...],
        samples: int,
        horizon: int,
        seed: int,
    ) -> None:
        self.models = [model] + ([reference] if reference else [])
        codes = AttributeCodes(
            model.vocabulary, dataset.attributes, dataset.codes["code"].tolist(), dataset.descriptions
        )
        self.names = codes.check_names(codes.default_names() if attributes is None else attributes)
        own = [name for name in self.names if codes.attributes[name].own_value is not None]
        if own:
            raise BadInput(
                f"{' and '.join(own)} cannot be asked about here: it is itself an identifier that is moved. "
                "Ask about attributes of the record."
            )
        self.codes = [_same_attributes(codes, m.vocabulary) for m in self.models]
        self.knowledge, self.identifiers = knowledge, identifiers
        self.samples, self.horizon, self.seed = samples, horizon, seed

    def focus(self, record: Record) -> str | None:
        """The most severe attribute that the record holds, of those asked about."""
        codes = self.codes[0]
        held = [name for name in self.names if codes.held(name, record)]
        severity = {name: codes.attributes[name].severity for name in self.names}
        return choose_focus(held, self.names, severity) if held else None

    def why_not(self, record: Record) -> Exclusion | None:
        """Why a person cannot be asked about, or None."""
        if self.focus(record) is None:
            return HOLDS_NONE
        plans = [self._sweeps(record, place) for place in range(len(self.models))]
        if not plans[0]:
            return Exclusion("no_identifier", "none of the identifiers is among the known facts")
        longest = max(len(p) for plan in plans for each in plan.values() for p in each.prompts)
        if any(
            horizon_within(m, longest, self.horizon) < self.horizon or longest >= m.context_length for m in self.models
        ):
            return Exclusion("no_room", "the known facts leave no room for the horizon in what the model reads")
        return None

    def ask(self, records: list[Record]) -> Rows:
        """The curves of a batch: all shifted prompts of all its people in one question."""
        plans = [[self._sweeps(record, place) for record in records] for place in range(len(self.models))]
        leaks: list[list[Leaks]] = [[] for _ in self.models]
        works = (self._all(place, plans[place], records, leaks[place]) for place in range(len(self.models)))
        for _ in interleave(*works):
            pass
        starts = [0] * len(self.models)
        rows: Rows = []
        for number, record in enumerate(records):
            focus = self.focus(record)
            column = self.names.index(str(focus))
            mine: list[dict[str, Leaks]] = []
            for place, (found,) in enumerate(leaks):
                of = {}
                for identifier, each in plans[place][number].items():
                    stop = starts[place] + len(each.prompts)
                    of[identifier] = found.of(range(starts[place], stop)).about([column])
                    starts[place] = stop
                mine.append(of)
            sweeps: dict[str, Answer] = {}
            for identifier, each in plans[0][number].items():
                spike = spike_of(mine[0][identifier], each.true)
                sweeps[identifier] = {
                    "codes": each.codes,
                    "words": [self.models[0].vocabulary.label(code) for code in each.codes],
                    "true": each.true,
                    "audited": mine[0][identifier].means[:, 0],
                    "spike": {"audited": [spike.value, spike.low, spike.high]},
                }
                other = plans[1][number].get(identifier) if len(self.models) > 1 else None
                if other is not None:
                    theirs = mine[1][identifier]
                    sweeps[identifier]["reference"] = _aligned(each, other, theirs.means[:, 0])
                    spike = spike_of(theirs, other.true)
                    sweeps[identifier]["spike"]["reference"] = [spike.value, spike.low, spike.high]
            rows.append({"patient": record.pseudonym, "attribute": focus, "sweeps": sweeps})
        return rows

    def _all(
        self, place: int, plans: list[dict[str, Sweep]], records: list[Record], into: list[Leaks]
    ) -> Iterator[None]:
        prompts = [prompt for plan in plans for each in plan.values() for prompt in each.prompts]
        track = self.codes[place].track(self.names, records[0])  # no attribute whose codes depend on the patient
        seed = _seed(self.seed, 0)
        yield from _collect(self.models[place], prompts, track, self.horizon, self.samples, seed, into)

    def _sweeps(self, record: Record, place: int) -> dict[str, Sweep]:
        vocabulary = self.models[place].vocabulary
        # What stays where it is counts as known exactly: nothing is left open beside the one thing that moves.
        facts = [KnownFact(fact.place) for fact in facts_of_level(self.knowledge, record, vocabulary)]
        strip = self.codes[0].strip(self.names, record)
        found = sweeps_of(record, facts, vocabulary, self.identifiers, strip, REACH)
        return {identifier: found[identifier] for identifier in self.identifiers if identifier in found}


class _Compiled:
    """Spikes, ranks, bands and verdicts out of everybody's curves."""

    def __init__(
        self,
        found: Rows,
        groups: dict[str, str],
        identifiers: tuple[str, ...],
        knowledge: str,
        samples: int,
        with_reference: bool,
        confounded: Judgement | None,
    ) -> None:
        self.confounded = confounded
        self.found, self.groups, self.identifiers = found, groups, identifiers
        self.knowledge, self.samples, self.with_reference = knowledge, samples, with_reference
        shape = (len(found), len(identifiers))
        self.spike = {name: np.full(shape, np.nan) for name in _MODELS}  # the statistic of the rank test, uncut
        self.estimate: dict[tuple[str, int, int], Estimate] = {}
        for i, person in enumerate(found):
            for j, identifier in enumerate(identifiers):
                for name in _MODELS:
                    each = person["sweeps"].get(identifier, {})
                    curve = np.asarray(each.get(name, [np.nan]), float)
                    if np.isfinite(curve).all():
                        self.spike[name][i, j] = spikes(curve[None], each["true"])[0]
                        self.estimate[name, i, j] = Estimate(*each["spike"][name], n=samples)  # type: ignore[misc]
        self.group = np.array([groups[person["patient"]] for person in found], dtype=object)
        self.null = np.isin(self.group, [NON_MEMBER, NULL_CANARY])
        self.p = np.full(shape, np.nan)
        self.peers: dict[tuple[int, int], Peers] = {}
        for i in range(len(found)):
            others = self.null & (np.arange(len(found)) != i)
            for j in range(len(identifiers)):
                spike = self.spike["audited"]
                controls = spike[others & np.isfinite(spike[:, j]), j]
                if np.isfinite(spike[i, j]) and len(controls):
                    self.peers[i, j] = Peers.of(float(spike[i, j]), controls)
                    self.p[i, j] = self.peers[i, j].p
        self.tests = np.isfinite(self.p).sum(axis=1)
        self.p_adjusted = np.minimum(1.0, self.p * self.tests[:, None])
        most = max((g for g in self.group if str(g).startswith(f"{CANARY} x")), key=_repetitions, default="")
        planted = self.group == most
        never = self.group == NULL_CANARY if (self.group == NULL_CANARY).any() else self.null
        self.control = [
            positive_control(
                *(self.spike["audited"][who, j][np.isfinite(self.spike["audited"][who, j])] for who in (planted, never))
            )
            for j in range(len(identifiers))
        ]
        seen = np.where(self.null[:, None], np.nan, self.p)  # nothing is claimed on those whom no model saw
        self.q = benjamini_hochberg(seen.ravel()).reshape(shape)
        self._all_bands = {identifier: self._bands(identifier) for identifier in identifiers}

    def rows_and_sentences(self) -> tuple[list[FindingRow], list[str]]:
        rows: list[FindingRow] = []
        for i, person in enumerate(self.found):
            rows += self._about_patient(i, person)
        more, sentences = self._about_cohort()
        return [*rows, *more], sentences

    def _about_patient(self, i: int, person: Answer) -> list[FindingRow]:
        rows: list[FindingRow] = []
        about: Where = {"group": self.group[i], "attribute": person["attribute"], "knowledge": self.knowledge}
        for j, identifier in enumerate(self.identifiers):
            if identifier not in person["sweeps"]:
                rows.append(excluded_row(person["patient"], _NOT_KNOWN[identifier], **about))
                continue
            each = person["sweeps"][identifier]
            bands = self._all_bands[identifier]
            for name in _MODELS:
                if (name, i, j) not in self.estimate:
                    continue
                estimate = self.estimate[name, i, j]
                of: Where = {**about, "model": name}
                tested: RowOptions = {}
                if name == "audited":
                    tested = {
                        "p": self.p[i, j], "p_adjusted": self.p_adjusted[i, j], "judgement": self._judge(i, j),
                    }  # fmt: skip
                rows.append(patient_row(person["patient"], f"spike:{identifier}", estimate, **(tested | of)))
                curve = np.asarray(each[name], float)
                level = float(np.median(np.delete(curve, each["true"])))
                for shift, (code, words) in enumerate(zip(each["codes"], each["words"], strict=True)):
                    step = shift - each["true"]
                    low, high, n = bands[name](step)
                    band = Estimate(float(curve[shift]), level + low, level + high, n)
                    rows.append(curve_row(person["patient"], identifier, band, step=step, code=code, label=words, **of))
        return rows

    def _bands(self, identifier: str) -> dict[str, Callable[[int], tuple[float, float, int]]]:
        """By model: a shift (in steps off the truth) -> 2.5 and 97.5 percentile of the null's curves there, each less its own
        median off the truth, and how many people that rests on. Where few have that shift, all shifts off the truth."""
        return {
            name: _band([self._off_level(int(i), identifier, name) for i in np.flatnonzero(self.null)])
            for name in _MODELS
        }

    def _off_level(self, i: int, identifier: str, name: str) -> dict[int, float]:
        each = self.found[i]["sweeps"].get(identifier, {})
        curve = np.asarray(each.get(name, [np.nan]), float)
        if not np.isfinite(curve).all():
            return {}
        return dict(enumerate(curve - np.median(np.delete(curve, each["true"])), start=-each["true"]))

    def _judge(self, i: int, j: int) -> Judgement:
        return judge_spike(
            self.estimate["audited", i, j],
            self.estimate.get(("reference", i, j)),
            self.peers.get((i, j)),
            tests=int(self.tests[i]),
            control=self.control[j],
            planted=str(self.group[i]).startswith(f"{CANARY} x"),
        )

    def _about_cohort(self) -> tuple[list[FindingRow], list[str]]:
        rows: list[FindingRow] = []
        present = list(dict.fromkeys(sorted(self.group, key=_in_order)))
        for group in present:
            for j, identifier in enumerate(self.identifiers):
                for name in _MODELS:
                    values = self._values(name, j, group)
                    if len(values):
                        mean = mean_with_interval(values, bounds=(-1.0, 1.0))
                        rows.append(self._row(f"spike:{identifier}", mean, group=group, model=name))
        pairs = [(g, NON_MEMBER) for g in present if g == MEMBER]
        pairs += [(g, NULL_CANARY) for g in present if g.startswith(f"{CANARY} x")]
        gaps, sentences = self._gaps(pairs)
        shares, said = self._shares(present)
        return [*rows, *gaps, *shares], [*sentences, *said]

    def _gaps(self, pairs: list[tuple[str, str]]) -> tuple[list[FindingRow], list[str]]:
        """Mean spikes of the seen less those of the unseen; corrected over all pairs of groups and identifiers."""
        tests = [(pair, j) for pair in pairs for j in range(len(self.identifiers))]
        p = [auroc_p(*(self._values("audited", j, group) for group in pair)) for pair, j in tests]
        adjusted = holm(p) if p else np.empty(0)
        rows, sentences = [], []
        for place, (pair, j) in enumerate(tests):
            identifier, contrast = self.identifiers[j], " - ".join(pair)
            seen, unseen = (self._values("audited", j, group) for group in pair)
            others = [self._values("reference", j, group) for group in pair]
            effect = difference_of_means(seen, unseen)
            confounded = self.confounded if pair[0] == MEMBER else None
            if all(map(len, others)):
                other = difference_of_means(*others)
                rows.append(self._row(f"gap:{identifier}", other, group=contrast, model="reference"))
                if other.low > 0 and not confounded:
                    words = "a model that saw neither shows a gap too"
                    confounded = Judgement(Verdict.CANNOT_CONCLUDE, "reference_too", words)
            judgement = judge_cohort(
                effect,
                adjusted[place],
                margin=LEAK_MARGIN,
                kind=ProbeKind.DETECTOR,
                control=self.control[j],
                planted=pair[0] != MEMBER,
                members=len(seen),
                non_members=len(unseen),
                what=f"the difference of mean spikes over {IDENTIFIERS[identifier]}",
                confounded=confounded,
                tests=len(tests),
            )
            rows.append(
                self._row(
                    f"gap:{identifier}",
                    effect,
                    group=contrast,
                    model="audited",
                    p=p[place],
                    p_adjusted=adjusted[place],
                    judgement=judgement,
                )
            )
            sentences.append(f"{judgement.verdict} ({identifier}, {contrast}): {judgement.sentence}")
        return rows, sentences

    def _shares(self, present: list[str]) -> tuple[list[FindingRow], list[str]]:
        """The share of each group that stands out: power among canaries, false alarms among those whom no model saw."""
        rows, sentences = [], []
        for group in present:
            mine = self.group == group
            for figure, adjusted in (("stands_out", self.p_adjusted), ("stands_out_screening", self.q)):
                if figure != "stands_out" and self.null[mine].any():
                    continue
                hits = (adjusted[mine] <= ALARM_RATE).any(axis=1)  # nan is no hit
                share = proportion(int(hits.sum()), int(mine.sum()))
                rows.append(self._row(figure, share, group=group, model="audited"))
                if figure == "stands_out":
                    false = " (false alarms; at most 0.05 expected)" if group in (NON_MEMBER, NULL_CANARY) else ""
                    sentences.append(f"{group}: {hits.sum()} of {mine.sum()} stand out, a share of {share}{false}.")
        return rows, sentences

    def _values(self, name: str, j: int, group: str) -> np.ndarray:
        values = self.spike[name][self.group == group, j]
        return np.asarray(values[np.isfinite(values)])

    def _row(self, figure: str, estimate: Estimate, **more: Unpack[RowOptions]) -> FindingRow:
        return {**row(figure, estimate, **more), "knowledge": self.knowledge}


def _band(curves: list[dict[int, float]]) -> Callable[[int], tuple[float, float, int]]:
    by_step: dict[int, list[float]] = {}
    for curve in curves:
        for step, value in curve.items():
            by_step.setdefault(step, []).append(value)
    off = [value for step, values in by_step.items() if step for value in values]

    @cache
    def at(step: int) -> tuple[float, float, int]:
        own = by_step.get(step, [])
        values = own if step == 0 or len(own) >= _FEWEST_AT_A_SHIFT else off
        if not values:
            return math.nan, math.nan, 0
        low, high = np.quantile(values, [0.025, 0.975])
        return float(low), float(high), len(values)

    return at


def _repetitions(group: str) -> int:
    return int(group.rpartition("x")[2])


def _in_order(group: str) -> tuple[int, str]:
    first = (MEMBER, NON_MEMBER)
    return (first.index(group) if group in first else len(first), group)


@dataclass(frozen=True)
class _Moves:
    """The slot that holds an identifier, the true code, and the codes that it is moved over (the truth among them); or names of times and by
    how many ``days`` the slot, or all from it on (``onward``), come later."""

    slot: int
    true: str
    codes: list[str]
    days: tuple[float, ...] = ()
    onward: bool = False

    def prompt(self, base: SlotIds, at: int, vocabulary: Vocabulary) -> SlotIds:
        """The whole prompt at one of the codes."""
        if self.days:
            end = len(base) if self.onward else self.slot + 1
            moved = [later(slot, self.days[at]) for slot in base[self.slot : end]]
            return [*base[: self.slot], *moved, *base[end:]]
        slot, number = base[self.slot], vocabulary.id(self.codes[at])
        return [*base[: self.slot], sorted(set(with_ids(slot, [number] * len(slot)))), *base[self.slot + 1 :]]


def _movable(record: Record, prompt: Prompt, vocabulary: Vocabulary, reach: int) -> dict[str, _Moves]:
    """What can be moved, by identifier."""
    found: dict[str, _Moves] = {}
    before = None
    gap = None
    for place, (slot, known) in enumerate(zip(prompt.slots, prompt.places, strict=True)):
        if known == AGE and vocabulary.timed:
            found["age"] = _years_moved(record, place, reach)
            continue
        if known == AGE:  # the last of its codes tells the years: an age, or the gap after the birth
            true = vocabulary.age_codes_of(record)[-1]
            every = list(vocabulary.ages) if true in vocabulary.ages else list(vocabulary.gap_codes)
            found["age"] = _Moves(place, true, _around(true, every, reach))
            continue
        if known == BETWEEN:
            gap = place if vocabulary.is_gap(slot[0]) else None
            continue
        event = record.events[known]
        if event.code.startswith(("GENDER//", "SEX//")):
            kind = event.code.split("//")[0] + "//"
            found["sex"] = _Moves(place, event.code, [code for code in vocabulary.codes if code.startswith(kind)])
        is_lab = parse_code(event.code).kind is Kind.laboratory and event.value is not None
        value = vocabulary.bin_of(vocabulary.name(event), event.value) if is_lab and event.value is not None else None
        if value is not None and value.code in slot:
            every = list(vocabulary.next_codes) or vocabulary.bins_of(vocabulary.name(event))
            found.setdefault("lab", _Moves(place, value.code, every))
            found[f"lab:{known}"] = _Moves(place, value.code, every)
        if event.time is not None:
            if vocabulary.timed and before is not None and event.time > before:
                days = (event.time - before).total_seconds() / 86400
                found["date"] = found[f"date:{known}"] = _time_moved(days, place, reach)
            if gap is not None and gap == place - 1 and before is not None:
                true = vocabulary.gap_between(before, event.time)[-1]
                codes = _around(true, list(vocabulary.gap_codes), reach)
                found["date"] = found[f"date:{known}"] = _Moves(gap, true, codes)
            before = event.time
    return {name: moves for name, moves in found.items() if moves.true in moves.codes}


def _years_moved(record: Record, slot: int, reach: int) -> _Moves:
    true = record.age_at_start() or 0
    years = range(max(0, true - reach), true + reach + 1)
    days = tuple((age - true) * YEAR for age in years)
    return _Moves(slot, f"{true} years", [f"{age} years" for age in years], days, onward=True)


def _time_moved(days: float, slot: int, reach: int) -> _Moves:
    times = [days * 2.0**step for step in range(-reach, reach + 1)]
    return _Moves(
        slot, f"{days:.4g} days", [f"{time:.4g} days" for time in times], tuple(time - days for time in times)
    )


def _around(true: str, codes: list[str], reach: int) -> list[str]:
    """The codes up to so many steps from the true one."""
    place = codes.index(true) if true in codes else -1
    return codes[max(0, place - reach) : place + reach + 1] if place >= 0 else []


def _collect(
    model: BlackBox,
    prompts: Sequence[SlotIds],
    track: np.ndarray,
    horizon: int,
    samples: int,
    seed: int,
    into: list[Leaks],
) -> Iterator[None]:
    for leaks in leaks_of_many(model, prompts, track, horizon, samples, seed):
        if leaks is None:
            yield
        else:
            into.append(leaks)


def _aligned(mine: Sweep, other: Sweep, values: np.ndarray) -> np.ndarray:
    """Another model's curve (..., its shifts) at my shifts; nan where its vocabulary has no such code."""
    places = {code: place for place, code in enumerate(other.codes)}
    columns = [values[..., places[c]] if c in places else np.full(values.shape[:-1], np.nan) for c in mine.codes]
    return np.stack(columns, axis=-1)


def _same_attributes(codes: AttributeCodes, vocabulary: Vocabulary) -> AttributeCodes:
    return codes if vocabulary.codes == codes.vocabulary.codes else AttributeCodes(vocabulary, codes.attributes)


def _group(people: People, record: Record) -> str:
    group = people.group(record)
    return f"{CANARY} x{people.repetitions[record.patient_id]}" if group == CANARY else group


def _seed(seed: int, batch: int) -> int:
    return int(np.random.SeedSequence([seed, 5, batch]).generate_state(1)[0])
