"""T4, membership inference: can those whom the model was trained on be told from those whom it never saw?

One scoring pass over each full record gives Loss, Min-K% and Min-K%++; a second one behind a prefix of strangers gives ReCaLL;
a reference model's pass gives Ratio, one of each shadow model LiRA. A model that gives no probabilities is asked to continue the
first half of each record: SaMIA. Members are compared with non-members (``group`` "all"), and the canaries that
were trained on with those that never were (``group`` "canaries": the positive control, on people made all alike).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ehrmem_widgets.blackbox.protocol import BlackBox, Query, hidden_as_guessed
from ehrmem_widgets.blackbox.shadow_models import ShadowModels, open_shadow_models
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.ground_truth import planted_ids
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.findings.finding import Exclusion, Finding, Sentence, excluded_row, finding, patient_row
from ehrmem_widgets.probes.base import Compared, Probe, ProbeRun, Task
from ehrmem_widgets.probes.batching import Answer, Rows
from ehrmem_widgets.probes.membership import scores
from ehrmem_widgets.probes.membership.judge import CONTROL, compare, no_difference
from ehrmem_widgets.probes.membership.samples import SampledScorer
from ehrmem_widgets.probes.membership.scores import LOSS, MIN_K, MIN_K_PLUS_PLUS, RATIO, RECALL, SAMIA
from ehrmem_widgets.probes.membership.shadows import add_lira, check_left_out
from ehrmem_widgets.probes.needs import PLANTED_CONTROL, SCORES_OR_SAMPLES, Can, reference
from ehrmem_widgets.probes.people import CANARY, NULL_CANARY, People, seen_by, strangers
from ehrmem_widgets.statistics.verdicts import PositiveControl, Verdict
from ehrmem_widgets.tokens.sequence import encode

_PREFIX_RECORDS, _PREFIX_CODES = 2, 32
SHORT = Exclusion("short", "no score: the record has fewer than two codes that the model knows")
SHORT_FOR_REFERENCE = Exclusion(
    "short_for_reference", f"no {RATIO}: the record has fewer than two codes that the reference model knows"
)


class Membership(ProbeRun):
    """Scores every record and sees how well each score tells members from non-members.

    ``priors``: the shares of members among those whom an attacker would ask about. ``shadow``: a folder of shadow models. Where the data themselves tell the groups apart as
    well as a score does, nothing is concluded.

    Figures (``group`` "all" or "canaries"):

    - ``auroc``: ``attribute`` is the score; ``model`` "audited", "" where others are meant too (Ratio, LiRA), or "reference"
      (the same score from a model that saw nobody here: the negative control). ``p`` is one-sided Mann-Whitney and
      ``p_adjusted`` Holm's over the scores; the verdict stands at the first of ``scores.SCORES`` that there is.
    - ``tpr_at_fpr_0.01``, ``tpr_at_fpr_0.001``: members found at that share of false alarms; without a value where there are too
      few non-members to know the threshold (``note`` says how many are needed).
    - ``ppv_at_prior_0.01`` ...: P(member | called a member) at that prior and 1 % false alarms; likewise.
    - ``auroc_by_kind``, ``auroc_by_quarter``: of the same score over some codes of the record only; ``attribute`` is the kind of
      code or "quarter 1" to "quarter 4" of the codes (in time), ``p_adjusted`` Holm's over all parts.

    Of patients: ``score``, ``attribute`` its name.
    """

    doing = "membership"
    batch = 64
    needs = (SCORES_OR_SAMPLES, reference(Can.YES, "its strongest score (Ratio) is missing"), PLANTED_CONTROL)

    def __init__(self, probe: Probe, task: Task) -> None:
        super().__init__(probe, task)
        self.settings |= {"k": scores.K, "threat": "next-code probabilities of whole, exactly known records"}
        self.notes: list[str] = []
        model, reference = task.model, task.reference
        folder, self.shadows = task.options["shadow"], None
        if Query.SCORES not in model.answers:
            self.settings["shadow"] = None
            self._from_samples(folder is not None)
            return
        if folder is not None:
            self.shadows = open_shadow_models(folder, task.dataset, model)
            check_left_out(self.shadows, task.people)
        self.settings["shadow"] = self.shadows and self.shadows.about()
        if Query.PROBABILITIES not in model.answers:
            self.notes.append("The black box gives the probability of given codes only, so Min-K%++ was not run.")
        if reference is not None and Query.SCORES not in reference.answers:
            self.notes.append(
                "The reference model gives no probabilities, so the score that needs one (Ratio) was not run."
            )
            reference = None
        elif reference is None:
            self.notes.append("There is no reference model, so the score that needs one (Ratio) was not run.")
        prefix_of, prefix = _prefix(model, reference, task.dataset, task.people, task.seed)
        if not prefix:
            self.notes.append("Nobody is left outside those asked about to take a prefix from, so ReCaLL was not run.")
        self.settings["prefix"] = {"patients": prefix_of, "codes": len(prefix)}
        self.scorer: Scorer | SampledScorer = Scorer(model, reference, prefix, self.shadows)

    def _from_samples(self, shadows: bool) -> None:
        """What is left where the model gives no probabilities."""
        task = self.task
        if Query.SAMPLE not in task.model.answers:
            self.records = ()
            return
        models = tuple(one for one in task.models.values() if Query.SAMPLE in one.answers)
        self.settings["threat"] = "continuations of the first half of exactly known records"
        self.scorer = SampledScorer(models, task.seed)
        self.notes.append(
            f"The black box gives no probabilities, so membership was told from its samples alone ({SAMIA}), which finds less. "
            + ("The shadow models were not used. " if shadows else "")
            + "Ask for log-probabilities of given codes for the other scores."
        )

    def compared(self) -> Sequence[Compared]:
        """Members with people never seen; without canaries a silence says nothing, however many they are."""
        planted = bool(self.task.people.of(CANARY) and self.task.people.of(NULL_CANARY))
        control = PositiveControl.FOUND if planted else PositiveControl.NONE
        return [replace(one, no_difference=partial(no_difference, control=control)) for one in super().compared()]

    def ask(self, records: list[Record]) -> Rows:
        """One row a record, by ``Scorer``."""
        return self.scorer.ask(records)

    def judge(self, answers: Rows) -> Finding:
        """Cohort figures with their verdict, and everybody's scores."""
        people = self.task.people
        rows = [excluded_row(patient, why) for patient, why in people.left_out]
        if not self.task.model.answers & {Query.SCORES, Query.SAMPLE}:
            words = "the black box gives neither probabilities nor continuations, and every membership score needs one of them."
            return finding(self.probe.name, rows, self.settings, (f"{Verdict.CANNOT_CONCLUDE}: {words}",))
        for answer in answers:
            answer["group"] = people.group_of_pseudonym[answer["patient"]]
        if self.shadows is not None:
            self.notes.append(add_lira(answers, self.shadows))
        for answer in answers:
            group = answer["group"]
            rows += [excluded_row(answer["patient"], Exclusion(*why), group=group) for why in answer.get("without", ())]
        for answer in answers:
            n, group = answer["codes"], answer["group"]
            rows += [
                patient_row(answer["patient"], "score", value=score, n=n, attribute=name, group=group)
                for name, score in answer["scores"].items()
            ]
        if cut := sum(answer["cut"] for answer in answers):
            self.notes.append(
                f"{cut} records are longer than what a model can read at once: they were scored in overlapping windows, each code after "
                "at least half a context."
            )
        judged, sentences = compare(answers, tuple(self.task.options["priors"]), self.task.earlier.get("confounding"))
        return finding(
            self.probe.name,
            [*rows, *judged],
            self.settings,
            (*sentences, *(Sentence(one, CONTROL) for one in self.notes)),
        )


@dataclass(frozen=True)
class Scorer:
    """What is asked about each record. ``prefix``: ids of strangers' records that ReCaLL puts before it; may be empty."""

    model: BlackBox
    reference: BlackBox | None = None
    prefix: Sequence[int] = ()
    shadows: ShadowModels | None = None

    def ask(self, records: list[Record]) -> Rows:
        """For each record ``patient``, ``codes`` (number scored), ``cut``, ``scores`` by name, ``parts`` by kind of code and by
        quarter, ``shadows`` (the loss of each) and ``without``: which scores it has none of, and why."""
        ids, kinds, cut = _read(records, self.model)
        known = [i for i, kind in enumerate(kinds) if kind]
        found = dict(zip(known, self.of([ids[i] for i in known]), strict=True))
        every = (
            [in_windows(one.score, [ids[i] for i in known], one.context_length) for one in self.shadows.models]
            if self.shadows
            else []
        )
        by_shadow = {i: [round(scores.loss(of[place]), 9) for of in every] for place, i in enumerate(known)}
        theirs: dict[int, np.ndarray] = {}
        their_kinds: list[list[str]] = []
        if self.reference is not None:
            their_ids, their_kinds, _ = _read(records, self.reference)
            known = [i for i in known if their_kinds[i]]
            context = self.reference.context_length
            said = in_windows(self.reference.score, [their_ids[i] for i in known], context)
            size = len(self.reference.vocabulary)
            theirs = {i: hidden_as_guessed(one, size) for i, one in zip(known, said, strict=True)}
        return [
            self._about(record, found.get(i), kinds[i], theirs.get(i), their_kinds[i] if i in theirs else [])
            | {"cut": cut[i], "shadows": by_shadow.get(i, [])}
            for i, record in enumerate(records)
        ]

    def of(self, sequences: Sequence[Sequence[int]]) -> list[tuple[np.ndarray, dict[str, float]]]:
        """For each sequence of n ids, (n - 1,) log-probabilities and the scores that the audited model alone gives."""
        whole = Query.PROBABILITIES in self.model.answers
        ask = self.model.score_moments if whole else self.model.score
        answers = in_windows(ask, sequences, self.model.context_length)
        room, first = self.model.context_length - len(self.prefix), len(self.prefix)
        behind = self.model.score([[*self.prefix, *s[:room]] for s in sequences]) if self.prefix else []
        found, size = [], len(self.model.vocabulary)
        for place, said in enumerate(answers):
            log_p = hidden_as_guessed(said[:, 0] if whole else said, size)
            here = {LOSS: scores.loss(log_p), MIN_K: scores.min_k(log_p)}
            if whole:
                here[MIN_K_PLUS_PLUS] = scores.min_k_plus_plus(said)
            if self.prefix:  # the record's first code is not scored alone, so neither behind the prefix
                after = hidden_as_guessed(behind[place][first:], size)
                here[RECALL] = scores.recall(after, log_p[: len(after)])
            found.append((log_p, here))
        return found

    def _about(
        self,
        record: Record,
        found: tuple[np.ndarray, dict[str, float]] | None,
        kinds: Sequence[str],
        theirs: np.ndarray | None,
        their_kinds: Sequence[str],
    ) -> Answer:
        answer: Answer = {"patient": record.pseudonym, "codes": 0, "scores": {}, "reference": {}, "parts": {}}
        if found is None:
            return answer | {"without": [SHORT]}
        log_p, given = found
        parts, without = _by_part(log_p, kinds), []
        if theirs is not None:
            given[RATIO] = scores.ratio(log_p, theirs)
            answer["reference"] = {LOSS: scores.loss(theirs), MIN_K: scores.min_k(theirs)}
            others = _by_part(theirs, their_kinds)
            with np.errstate(invalid="ignore"):
                parts = {part: float(np.subtract(v, others[part])) for part, v in parts.items() if part in others}
        elif self.reference is not None:
            without.append(SHORT_FOR_REFERENCE)
            parts = {}
        missing = [name for name, score in given.items() if math.isnan(score)]
        if missing:
            without.append(Exclusion("no_number", f"no {', '.join(missing)}: what was answered makes no number"))
        # Rounded, or records that score alike would differ by the rounding of means over other lengths.
        kept = {name: round(score, 9) for name, score in given.items() if name not in missing}
        parts = {part: round(score, 9) for part, score in parts.items()}
        return answer | {"codes": len(log_p), "scores": kept, "parts": parts, "without": without}


def in_windows(
    ask: Callable[[Sequence[Sequence[int]]], list[np.ndarray]], sequences: Sequence[Sequence[int]], context: int
) -> list[np.ndarray]:
    """What ``ask`` says of each sequence of n ids, (n - 1, ...), whatever its length: one longer than the context is asked about in
    windows that overlap by half, so that each code stands after at least half a context."""
    step = max(1, context // 2)
    starts = [[0, *range(step, len(s) - context + step, step)] if len(s) > context else [0] for s in sequences]
    answers = iter(ask([s[at : at + context] for s, those in zip(sequences, starts, strict=True) for at in those]))
    found = []
    for those in starts:
        parts = [next(answers)]
        parts += [next(answers)[context - step - 1 :] for _ in those[1:]]
        found.append(np.concatenate(parts) if len(parts) > 1 else parts[0])
    return found


def _read(records: Sequence[Record], model: BlackBox) -> tuple[list[list[int]], list[list[str]], list[bool]]:
    """Each record in the model's ids; the kind of each code after the first (none where there is nothing to score); and whether
    the record goes on beyond the context."""
    ids, kinds, cut = [], [], []
    for record in records:
        sequence = encode(record, model.vocabulary)
        ids.append(sequence.ids(model.vocabulary))
        some = len(ids[-1]) > 1 and any(place >= 0 for place in sequence.event_of)
        kinds.append([str(model.vocabulary.kind(code)) for code in sequence.codes[1:]] if some else [])
        cut.append(len(sequence.codes) > model.context_length)
    return ids, kinds, cut


def _by_part(log_p: np.ndarray, kinds: Sequence[str]) -> dict[str, float]:
    """The mean over the codes of each kind, and of each quarter of the record."""
    places: dict[str, list[int]] = {}
    for place, kind in enumerate(kinds):
        places.setdefault(kind, []).append(place)
        places.setdefault(f"quarter {1 + 4 * place // len(kinds)}", []).append(place)
    return {part: scores.loss(log_p[there]) for part, there in places.items()}


def _prefix(
    model: BlackBox, reference: BlackBox | None, dataset: MedsDataset, people: People, seed: int
) -> tuple[list[str], list[int]]:
    """Pseudonyms and the first codes of a few people whom neither model saw and who are not asked about, in at most a quarter
    of the context. None for a model that is told ages: in one sequence, nobody is young again."""
    if model.vocabulary.timed:
        return [], []
    barred = np.array([*people.groups, *planted_ids(dataset)], dtype=np.int64)
    others = np.setdiff1d(strangers(dataset, seen_by(model, reference)), barred)
    if not len(others):
        return [], []
    rng = np.random.default_rng([seed, 4])
    chosen = rng.choice(others, min(_PREFIX_RECORDS, len(others)), replace=False)
    found = dataset.records(chosen.tolist())
    length = min(_PREFIX_CODES, model.context_length // (4 * len(found)))
    ids = [code for r in found for code in encode(r, model.vocabulary).ids(model.vocabulary)[:length]]
    return [r.pseudonym for r in found], ids
