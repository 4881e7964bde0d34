"""T1, reconstruction over a cohort: how near what the model generates comes to what the record really holds.

The published distance (dEMD; methods, section 4; arXiv 2510.12950, section 4.1) at several prompt set-ups, and beside it what
closes its hole, all held against a reference model and against people whom neither model saw. What comes back is also counted net of templates
(``templates``), and of how many people the record comes back nearly word for word is bounded from below (``recited``).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from ehrmem_widgets.attacker.facts import facts_of_level
from ehrmem_widgets.attacker.prompt import build_prompt
from ehrmem_widgets.blackbox.protocol import BlackBox, Query, SlotIds, horizon_within
from ehrmem_widgets.blackbox.training_splits import trained_on
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.errors import CannotAnswer
from ehrmem_widgets.findings.finding import (
    PATIENTS,
    Exclusion,
    Finding,
    FindingRow,
    estimate_of,
    excluded_row,
    finding,
    patient_row,
    row,
    told,
)
from ehrmem_widgets.probes.base import Probe, ProbeRun, Task
from ehrmem_widgets.probes.batching import Rows
from ehrmem_widgets.probes.code_embeddings import TextEmbedder, sentence_transformer
from ehrmem_widgets.probes.continuations_compared import RARE_SHARE, ROUTINE_SHARE, comparer_of, mean_over_trajectories
from ehrmem_widgets.probes.leak import slot_ids
from ehrmem_widgets.probes.needs import CONTINUATIONS, PROMPTS, START, AtHand, Can, Lack, Need, reference
from ehrmem_widgets.probes.people import (
    CANARY,
    MEMBER,
    NON_MEMBER,
    NULL_CANARY,
    People,
    sides,
)
from ehrmem_widgets.probes.prompt_embeddings import continuations
from ehrmem_widgets.probes.reconstruction import recited
from ehrmem_widgets.probes.reconstruction.templates import Templates
from ehrmem_widgets.probes.sequence_distance import Comparer
from ehrmem_widgets.probes.truth import true_continuation
from ehrmem_widgets.statistics.discrimination import difference_of_means, mean_with_interval
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.multiple_testing import holm
from ehrmem_widgets.statistics.verdicts import (
    DISTANCE_MARGIN,
    FEWEST_CONTROLS,
    HIT_MARGIN,
    Judgement,
    PositiveControl,
    ProbeKind,
    Verdict,
    judge_cohort,
)

# Whether less of a figure is more of a reconstruction (a distance) or more of it is.
FIGURES = {
    "demd": -1,
    "timed_distance": -1,
    "rare_overlap_1": 1,
    "rare_overlap_2": 1,
    "rare_overlap_3": 1,
    "rare_net_1": 1,
    "recited": 1,
    "recited_net": 1,
    "template_share": 0,
    "routine_share": 0,
}
TESTED = ("timed_distance", "demd", "rare_net_1")
AUDITED, REFERENCE = "audited", "reference"
BEYOND = ""  # the audited model beyond the reference
ONE_CODE = Exclusion("one_code", "the record holds one code only")
NOTHING_LEFT = Exclusion("nothing_left", "nothing is left of the record after the facts known")
NO_ROOM = Exclusion("no_room", "the facts known fill the model's context")
_BUCKETS = 16
_STEPS = 16  # continuations are sampled in multiples of this, so that truths of like length are asked together


def _recitable(at_hand: AtHand) -> Lack | None:
    if (model := at_hand.model) is None or (recited.can_say(model) and Query.PROBABILITIES in model.answers):
        return None
    exact = "only word for word and not within edits: it gives no whole lists of next-code probabilities"
    never = "not at all: it gives no log-probabilities of given codes, or tells time"
    words = exact if recited.can_say(model) else never
    return Lack(f"How likely the model recites a record is told {words}.", leaves=Can.YES)


class Reconstruction(ProbeRun):
    """``samples`` continuations for each patient, knowledge level and model, compared with what truly followed, at
    most ``horizon`` codes (fewer where the context is full) and no further than the record goes.

    Patient rows, by knowledge level and model, with an interval over trajectories: ``demd`` (as published), ``timed_distance`` (0 to 1;
    order and time added), ``rare_overlap_1`` to ``_3`` (share of the truth's runs of 1 to 3 codes with a rare one that come
    back code for code; no row where the truth has none), ``routine_share`` (of all that is found alike, the share at codes
    that at least a quarter of the training patients holds, and gaps); ``recited`` (share of the truth's codes that come back in runs of three),
    ``recited_net`` (those of them that are part of no template), ``template_share`` (of those that come back, how many are), ``rare_net_1`` (as
    ``rare_overlap_1``, without codes that are part of a template); and of the audited model ``within_0`` to ``within_5``, at least how likely its
    first 16 codes come within so many edits of those that followed (``near_verbatim``; exact facts only). Cohort rows: their means by group, with an
    interval over patients; with a reference also ``NAME_excess``, how much nearer the audited model comes than the reference,
    and ``NAME_gap``, the members' mean excess minus the non-members' (Welch), one-sided p, adjusted by Holm over all knowledge levels and
    the figures in ``TESTED`` and the shares of people below, and the verdict; without one ``NAME_difference``, how much nearer members' continuations come than non-members', in the
    same way; the same for canaries against those never trained on, not adjusted.
    ``people_within_0`` to ``_5``: the share of people with ``within_0`` to ``_5`` of at least 1 in 1,000, and ``_difference``, members minus people
    never seen (MOVER) with the exact p of exchanging people. It is a detector: what it does not find is not ruled out.
    ``NAME_fall``: by how much a distance falls from the first knowledge level to this one in the same patients, of each model and, with
    ``model`` empty, the audited model's beyond the reference's. What follows the facts differs from knowledge level to knowledge level (its ease,
    its length), and that difference is the reference's too: the fall beyond the reference's is the one to read.

    ``embedding``: what makes vectors of labels: a function, a folder of a sentence-transformers model, or None for
    character n-grams. Sampling noise is shared by about one in sixteen patients (drawn by patient id), so that their prompts
    can be continued together.
    """

    doing = "reconstruction"
    batch = 32
    needs = (
        CONTINUATIONS,
        PROMPTS,
        START,
        Need(_recitable),
        reference(Can.YES, "what is easier in one of the two groups is not taken out"),
    )

    def __init__(self, probe: Probe, task: Task) -> None:
        super().__init__(probe, task)
        embedding = task.options["embedding"]
        embedder = sentence_transformer(embedding) if isinstance(embedding, str | Path) else embedding
        _, never = sides(task.dataset, task.model, task.reference)
        self._recited = recited.Asked.within(task.options["horizon"])
        more = {"embedding": _name(embedding), "rare_share": RARE_SHARE, "routine_share": ROUTINE_SHARE}
        self.settings |= {**more, "templates_from": len(never), "edits": list(self._recited.edits)}
        self._asked: list[_Asked] = []
        for name, model in task.models.items():
            if self._asked and model.vocabulary.codes == task.model.vocabulary.codes:
                self._asked.append(replace(self._asked[0], name=name, model=model))
                continue
            comparer = comparer_of(model, task.dataset, trained_on(task.model), embedder)
            enough = len(never) >= FEWEST_CONTROLS
            templates = Templates(task.dataset, never, model.vocabulary, comparer) if enough else None
            self._asked.append(_Asked(name, model, comparer, templates))
        self.records = sorted(task.people.records, key=lambda record: (_bucket(record), record.patient_id))

    def ask(self, records: list[Record]) -> Rows:
        """The patients' rows, and who is left out at which knowledge."""
        samples, horizon = self.task.options["samples"], self.task.options["horizon"]
        tasks, left = _tasks(records, self._asked, self.task.knowledge_levels, horizon)
        found = [*left, *_continued(tasks, self._asked, samples, self.task.seed), *self._bounds(tasks)]
        return [dict(one) for one in found]

    def _bounds(self, tasks: Sequence[_Task]) -> Iterator[FindingRow]:
        """At least how likely the audited model recites what followed; those who know as much are asked about together."""
        audited = self._asked[0]
        for level in self.task.knowledge_levels if recited.can_say(audited.model) else ():
            of = [(t.record.pseudonym, level, t.prompts[0], t.truths[0]) for t in tasks if t.knowledge == level]
            yield from recited.bounds(audited.model, self._recited, of, audited.comparer.rare)

    def judge(self, answers: Rows) -> Finding:
        """Means by group, and members against people never seen."""
        people, knowledge_levels = self.task.people, self.task.knowledge_levels
        rows = [excluded_row(*left) for left in people.left_out]
        rows += cast("list[FindingRow]", answers)  # as ``ask`` made them
        for one in rows:
            one["group"] = people.group_of_pseudonym.get(one["patient"], "")
        measured = _measured(rows)
        cohort = (
            _means(measured, people)
            + _excesses(measured, people, knowledge_levels, self.task.confounded, self._recited)
            + _falls(measured, people, knowledge_levels)
        )
        said = _sentences(cohort, knowledge_levels, self.task.reference is not None)
        said += recited.said(cohort, self._recited, self.settings["templates_from"])
        return finding(self.probe.name, cohort + rows, self.settings, said)


@dataclass(frozen=True)
class _Asked:
    """A model, what compares its continuations, and what of them is template (None: there are too few people never seen)."""

    name: str
    model: BlackBox
    comparer: Comparer
    templates: Templates | None


@dataclass(frozen=True)
class _Task:
    """One patient at one knowledge level: for each model the prompt and the truth in its ids."""

    record: Record
    knowledge: str
    prompts: tuple[SlotIds, ...]
    truths: tuple[list[int], ...]
    horizon: int


def _name(embedding: TextEmbedder | str | Path | None) -> str:
    if embedding is None:
        return "character n-grams of labels"
    if isinstance(embedding, str | Path):
        return f"sentence-transformers folder {Path(embedding).name}"
    return getattr(embedding, "__name__", type(embedding).__name__)


def _bucket(record: Record) -> int:
    """Patients of one bucket share random numbers. By id alone, so that an answer does not depend on who else is asked."""
    return int(np.random.SeedSequence([abs(record.patient_id), 1]).generate_state(1)[0]) % _BUCKETS


def _tasks(
    records: list[Record], asked: Sequence[_Asked], knowledge_levels: Sequence[str], horizon: int
) -> tuple[list[_Task], list[FindingRow]]:
    """What is asked, and who is left out of it."""
    tasks, left = [], []
    for record in records:
        for knowledge in knowledge_levels:
            task = _task(record, knowledge, asked, horizon)
            if isinstance(task, Exclusion):
                why = task if task == ONE_CODE else Exclusion(task.code, f"{task.words}, at {knowledge}")
                left.append(excluded_row(record.pseudonym, why, knowledge=knowledge))
            else:
                tasks.append(task)
    return tasks, left


def _continued(tasks: Sequence[_Task], asked: Sequence[_Asked], samples: int, seed: int) -> Iterator[FindingRow]:
    alike: dict[tuple[int, int], list[_Task]] = defaultdict(list)  # by what must be equal to be continued together
    for task in tasks:
        alike[_bucket(task.record), task.horizon].append(task)
    for (bucket, steps), together in sorted(alike.items()):
        state = np.random.SeedSequence([seed, bucket, 2]).generate_state(1)[0]
        for place, one in enumerate(asked):
            prompts = [task.prompts[place] for task in together]
            for task, (codes, log_weights) in zip(
                together, continuations(one.model, prompts, steps, samples, int(state)), strict=True
            ):
                truth = task.truths[place]
                template = None if one.templates is None else one.templates.mask(task.record, truth)
                found = one.comparer.compare(truth, codes, template)
                for name, values in found.items():
                    estimate = mean_over_trajectories(name, values, log_weights)
                    if estimate is not None:
                        yield patient_row(
                            task.record.pseudonym, name, estimate, knowledge=task.knowledge, model=one.name
                        )


def _task(record: Record, knowledge: str, asked: Sequence[_Asked], horizon: int) -> _Task | Exclusion:
    """The patient at the knowledge level, or why not."""
    if len(record.events) < 2:
        return ONE_CODE
    facts = facts_of_level(knowledge, record, asked[0].model.vocabulary)
    prompts = [build_prompt(record, facts, one.model.vocabulary) for one in asked]
    slots = [slot_ids(prompt, one.model.vocabulary) for prompt, one in zip(prompts, asked, strict=True)]
    if not all(slots):
        raise CannotAnswer(
            f"The knowledge level {knowledge!r} gives an empty prompt, and the model has no start code. Leave it out, or name the "
            "vocabulary's start code."
        )
    room = min(one.model.context_length - len(prompt) for one, prompt in zip(asked, slots, strict=True))
    if room < 1:
        return NO_ROOM
    truths = [
        true_continuation(
            record, prompt, one.model.vocabulary, horizon_within(one.model, one.model.context_length - room, horizon)
        ).ids(one.model.vocabulary)
        for one, prompt in zip(asked, prompts, strict=True)
    ]
    if not all(one.comparer.length(truth) for one, truth in zip(asked, truths, strict=True)):
        return NOTHING_LEFT
    needed = min(_STEPS * math.ceil(max(map(len, truths)) / _STEPS), room)
    timed = asked[0].model.vocabulary.timed
    return _Task(record, knowledge, tuple(slots), tuple(truths), horizon if timed else needed)


Measured = dict[tuple[str, str, str], dict[str, float]]
"""By figure, knowledge level and model: each patient's mean, by pseudonym."""


def _measured(rows: list[FindingRow]) -> Measured:
    found: Measured = defaultdict(dict)
    for one in rows:
        if one["table"] == PATIENTS:
            found[one["figure"], one["knowledge"], one["model"]][one["patient"]] = one["value"]
    return dict(found)


def _of_group(values: dict[str, float], people: People, *groups: str) -> np.ndarray:
    return np.array([value for patient, value in values.items() if people.group_of_pseudonym[patient] in groups])


def _means(measured: Measured, people: People) -> list[FindingRow]:
    rows: list[FindingRow] = []
    for (figure, knowledge, model), values in measured.items():
        if figure not in FIGURES:
            continue
        high = math.inf if figure == "demd" else 1.0
        for group in people.counts():
            of_group = _of_group(values, people, group)
            if len(of_group):
                estimate = mean_with_interval(of_group, bounds=(0.0, high))
                rows.append(row(figure, estimate, knowledge=knowledge, model=model, group=group))
    return rows


def _excesses(
    measured: Measured,
    people: People,
    knowledge_levels: Sequence[str],
    confounded: Judgement | None,
    asked: recited.Asked,
) -> list[FindingRow]:
    """How much nearer the audited model comes than the reference, by group, and the gaps with p and verdict. Without a reference, how much nearer
    it comes for members than for people never seen: what is easier in one group counts then, too. And of how many people the record comes back nearly
    word for word; all in one family of tests."""
    rows: list[FindingRow] = []
    family: list[recited.Tested] = []
    with_reference = any(model == REFERENCE for _, _, model in measured)
    gap = "gap" if with_reference else "difference"
    for figure, sign in FIGURES.items():
        for knowledge in knowledge_levels if sign else ():
            audited = measured.get((figure, knowledge, AUDITED), {})
            reference = (
                measured.get((figure, knowledge, REFERENCE), {}) if with_reference else dict.fromkeys(audited, 0.0)
            )
            excess = {p: sign * (audited[p] - reference[p]) for p in audited if p in reference}
            for group in people.counts() if with_reference else ():
                of_group = _of_group(excess, people, group)
                if len(of_group):
                    rows.append(row(f"{figure}_excess", mean_with_interval(of_group), knowledge=knowledge, group=group))
            for seen, never in ((MEMBER, NON_MEMBER), (CANARY, NULL_CANARY)):
                a, b = _of_group(excess, people, seen), _of_group(excess, people, never)
                if not len(a) and not len(b):
                    continue
                made = row(
                    f"{figure}_{gap}",
                    difference_of_means(a, b),
                    knowledge=knowledge,
                    group=f"{seen} - {never}",
                    p=_p(a, b),
                )
                rows.append(made)
                if seen == MEMBER and figure in TESTED:
                    family.append((made, len(a), len(b), None))
    for knowledge in knowledge_levels:
        more, tested = recited.compared(measured, people, asked, knowledge)
        rows, family = rows + more, family + tested
    adjusted = holm([one["p"] for one, *_ in family]) if family else ()
    for (one, members, non_members, control), p in zip(family, adjusted, strict=True):
        figure = one["figure"].rpartition("_")[0]
        judgement = judge_cohort(
            estimate_of(one),
            float(p),
            margin=DISTANCE_MARGIN if control is None else HIT_MARGIN,
            kind=ProbeKind.MEASURE if control is None else ProbeKind.DETECTOR,
            control=control or PositiveControl.NONE,
            members=members,
            non_members=non_members,
            what=f"the {gap} in {_WORDS[figure]}" if control is None else recited.words(figure, asked),
            confounded=confounded,
            tests=len(family),
        )
        one |= {"p_adjusted": float(p), **told(judgement)}
    return rows


def _falls(measured: Measured, people: People, knowledge_levels: Sequence[str]) -> list[FindingRow]:
    """By how much the distances fall from the first knowledge level to each other, in the same patients."""
    rows: list[FindingRow] = []
    for figure in ("demd", "timed_distance"):
        for knowledge in knowledge_levels[1:]:
            falls = {}
            for model in (AUDITED, REFERENCE):
                first, now = (measured.get((figure, one, model), {}) for one in (knowledge_levels[0], knowledge))
                falls[model] = {patient: first[patient] - now[patient] for patient in first if patient in now}
            audited, reference = falls[AUDITED], falls[REFERENCE]
            falls[BEYOND] = {p: audited[p] - reference[p] for p in audited if p in reference}
            for model, fall in falls.items():
                for group in people.counts():
                    of_group = _of_group(fall, people, group)
                    if len(of_group):
                        estimate = mean_with_interval(of_group)
                        note = f"from {knowledge_levels[0]}, the patients who have both"
                        rows.append(
                            row(f"{figure}_fall", estimate, knowledge=knowledge, model=model, group=group, note=note)
                        )
    return rows


def _p(a: np.ndarray, b: np.ndarray) -> float:
    """Welch's one-sided p of a's mean above b's; 1 where nothing varies, nan where a side has fewer than two."""
    from scipy import stats

    if min(len(a), len(b)) < 2:
        return math.nan
    if np.ptp(a) == np.ptp(b) == 0:
        return 1.0 if a[0] <= b[0] else 0.0
    return float(stats.ttest_ind(a, b, equal_var=False, alternative="greater").pvalue)


def _moved(fall: FindingRow) -> str:
    if fall["low"] > 0:
        return "comes nearer to the record"
    return (
        "gets further from the record" if fall["high"] < 0 else "comes no more and no less clearly nearer to the record"
    )


_MANY = {MEMBER: "members", CANARY: "canaries", NON_MEMBER: "non-members"}
_WORDS = {
    "demd": "the published distance (dEMD)",
    "timed_distance": "the distance that sees order and time",
    "rare_net_1": "the share of rare codes that come back and are part of no template",
}


def _sentences(cohort: list[FindingRow], knowledge_levels: Sequence[str], with_reference: bool) -> list[str]:
    """What a reader should take from it, verdicts first."""

    def of(figure: str, **where: str) -> list[FindingRow]:
        return [r for r in cohort if r["figure"] == figure and all(r.get(k) == v for k, v in where.items())]

    def shown(one: FindingRow) -> Estimate:
        return Estimate(one["value"], one["low"], one["high"], one["n"])

    said = []
    if not with_reference:
        said.append(
            "There is no reference model that never saw the patients: members are compared with people never seen by the audited model alone. What is "
            "easier to continue in one of the two groups counts then as well; a reference model would take it out."
        )
    tested = [r for r in cohort if not r["figure"].startswith(recited.PEOPLE_WITHIN)]
    for verdict_ in Verdict:
        judged = [r for r in tested if r.get("verdict") == str(verdict_)]
        if judged:
            largest = max(judged, key=lambda r: r["value"] if math.isfinite(r["value"]) else -math.inf)
            why = (
                "" if verdict_ is Verdict.POPULATION else f"; at {largest['knowledge']}, {largest['note'].rstrip('.')}"
            )
            said.append(
                f"{verdict_} in {len(judged)} of {sum(bool(r.get('verdict')) for r in tested)} comparisons of members with "
                f"non-members (knowledge levels by figures){why}."
            )
    for group in (MEMBER, CANARY, NON_MEMBER):
        falls = of("timed_distance_fall", group=group, model=BEYOND if with_reference else AUDITED)
        asked = [
            f for f in falls if 2 * f["n"] >= falls[0]["n"]
        ]  # a knowledge level that half of them have too few codes for says less
        if not asked:
            continue
        knowledge = asked[-1]["knowledge"]
        at = [
            shown(of("timed_distance", group=group, model=AUDITED, knowledge=r)[0])
            for r in (knowledge_levels[0], knowledge)
        ]
        said.append(
            f"Distance of {_MANY[group]} (0: the record itself, 1: nothing alike): {at[0]} at {knowledge_levels[0]}, {at[1]} at {knowledge}. With the "
            f"facts known, the audited model {_moved(asked[-1])} "
            + (f"than the reference does, by {shown(asked[-1])}." if with_reference else f"by {shown(asked[-1])}.")
        )
    control = "timed_distance_gap" if with_reference else "timed_distance_difference"
    for gap in of(control, group=f"{CANARY} - {NULL_CANARY}", knowledge=knowledge_levels[-1]):
        said.append(
            f"Positive control: canaries beyond those never trained on, at {knowledge_levels[-1]}: {shown(gap)}."
        )
    routine = of("routine_share", group=MEMBER, model=AUDITED, knowledge=knowledge_levels[-1])
    share = (
        f" Of what is found alike at {knowledge_levels[-1]}, a share of {shown(routine[0])} is routine."
        if routine
        else ""
    )
    said.append(
        "The published distance (dEMD) cannot see a shift: the same codes in another order or a year later count as equal, "
        f"and routine codes match in everyone. Read it beside the timed distance and the rare codes.{share}"
    )
    return said
