"""What the audited model is good for: its loss on people never seen, and how often it has the next diagnosis among its first ten.

Nothing here is about memory. It stands beside the other findings so that what a defence costs can be seen (``ehrmem compare``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ehrmem_widgets.blackbox.protocol import BlackBox, Query
from ehrmem_widgets.cohort.codes import Kind
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.errors import CannotAnswer
from ehrmem_widgets.findings.finding import (
    Finding,
    FindingRow,
    Where,
    excluded_row,
    finding,
    patient_row,
    row,
)
from ehrmem_widgets.probes.base import Probe, ProbeRun, Task
from ehrmem_widgets.probes.batching import Rows
from ehrmem_widgets.probes.membership.ask import SHORT, in_windows
from ehrmem_widgets.probes.needs import SCORES, AtHand, Can, Lack, Need
from ehrmem_widgets.probes.people import NON_MEMBER
from ehrmem_widgets.probes.utility.figures import IMPOSSIBLE, LOSS, RECALL, TOP, part_of
from ehrmem_widgets.statistics.discrimination import NOTHING, patient_bootstrap
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.tokens.sequence import CodeSequence, encode

_PLACES = 4  # of a record, at which the next diagnosis is asked for
_AT_ONCE = 256  # codes whose probabilities are asked for together: a row of one for each code of the vocabulary
_LIFE = 36_500  # days within which a diagnosis comes, of a model that gives waiting times
_NO_LISTS = "Recall@10 was not measured: the model gives no whole list of next-code probabilities."


def _people(at_hand: AtHand) -> Lack | None:
    if len(at_hand.sides[1]):
        return None
    return Lack(
        "There is nobody whom the model never saw.", "Give people whom it was not trained on, in a split of their own."
    )


def _lists(at_hand: AtHand) -> Lack | None:
    if at_hand.model is None or Query.PROBABILITIES in at_hand.model.answers:
        return None
    return Lack(_NO_LISTS, leaves=Can.IN_PART)


class Utility(ProbeRun):
    """How well the audited model predicts people whom no model saw.

    Figures (``group`` "non-member", ``model`` "audited"), means over people with a patient bootstrap:

    - ``loss``: each person's mean loss of a code given those before it, in nats; with the waiting time, where the model gives one.
    - ``recall@10``: at how many of at most 4 diagnoses of a record, spread over it, this diagnosis is among the ten that the model holds
      likeliest given all before, the next code being a diagnosis (ties count against it).

    Where a code of somebody's record is held for impossible, as behind an output filter, the loss is of the others alone (and said to be).
    Losses and recalls compare between models that read the same codes: ``vocabulary`` is their hash, ``diagnoses`` how many there are.
    """

    doing = "utility"
    needs = (SCORES, Need(_people), Need(_lists))

    def __init__(self, probe: Probe, task: Task) -> None:
        super().__init__(probe, task)
        self.records = task.people.of(NON_MEMBER)
        if Query.SCORES not in task.model.answers:
            raise CannotAnswer("Not measured: the model gives no probabilities, and without them no loss is known.")
        if not self.records:
            raise CannotAnswer("Not measured: nobody was asked about whom the model never saw.")
        vocabulary = task.model.vocabulary
        self.diagnoses = [i for i, code in enumerate(vocabulary.codes) if vocabulary.kind(code) == Kind.diagnosis]
        self.settings |= {"vocabulary": vocabulary.identity[:16], "diagnoses": len(self.diagnoses)}

    def ask(self, records: list[Record]) -> Rows:
        """For each record its mean loss and ``codes``, and at how many of its ``places`` the diagnosis is ``found``."""
        model = self.task.model
        read = [encode(record, model.vocabulary) for record in records]
        known = [place for place, one in enumerate(read) if len(one.codes) > 1]
        ids = [read[place].ids(model.vocabulary) for place in known]
        scores = dict(zip(known, in_windows(model.score, ids, model.context_length), strict=True))
        hits = next_diagnoses(model, read, self.diagnoses)
        return [
            {
                "patient": record.pseudonym,
                "codes": len(scores.get(place, ())),
                "loss": -float(np.mean(scores[place])) if place in scores else None,
                "places": len(hits[place]),
                "found": sum(hits[place]),
            }
            for place, record in enumerate(records)
        ]

    def judge(self, answers: Rows) -> Finding:
        """The two means; no verdict."""
        rows: list[FindingRow] = []
        where: Where = {"group": NON_MEMBER, "model": "audited"}
        for one in answers:
            patient, loss, places = one["patient"], one["loss"], one["places"]
            if loss is None or not np.isfinite(loss):
                rows.append(excluded_row(patient, SHORT if loss is None else IMPOSSIBLE, group=NON_MEMBER))
            else:
                rows.append(patient_row(patient, LOSS, value=loss, n=one["codes"], **where))
            if places:
                rows.append(patient_row(patient, RECALL, value=one["found"] / places, n=places, **where))
        means = {
            LOSS: _mean(rows, LOSS, (0.0, np.inf), self.task.seed),
            RECALL: _mean(rows, RECALL, (0.0, 1.0), self.task.seed),
        }
        rows += [row(figure, one, **where) for figure, one in means.items()]
        hidden = sum(one.get("reason") == IMPOSSIBLE.code for one in rows)
        part = [part_of(f"{means[LOSS].n:,}", f"{len(answers):,}")] if hidden else []
        return finding(self.probe.name, rows, self.settings, [*part, *self._sentences(means)])

    def _sentences(self, means: dict[str, Estimate]) -> list[str]:
        said = [f"Loss on people never seen: {means[LOSS]} nats a code."] if means[LOSS].n else []
        if means[RECALL].n:
            likely = f"the ten that the model holds most likely, of {len(self.diagnoses):,}"
            return [*said, f"The next diagnosis is among {likely}: {means[RECALL]}."]
        lists = Query.PROBABILITIES in self.task.model.answers
        return [*said, "Recall@10 was not measured: no diagnosis could be asked for." if lists else _NO_LISTS]


def next_diagnoses(model: BlackBox, read: Sequence[CodeSequence], diagnoses: Sequence[int]) -> list[list[bool]]:
    """For each sequence, whether each of at most ``_PLACES`` of its diagnoses is among the ``TOP`` likeliest of ``diagnoses`` (ids) there."""
    wanted = {code: place for place, code in enumerate(diagnoses)}
    found: list[list[bool]] = [[] for _ in read]
    if Query.PROBABILITIES not in model.answers:
        return found
    prompts, at = [], []
    for place, sequence in enumerate(read):
        ids, codes = sequence.ids(model.vocabulary), model.vocabulary.ids(sequence.codes)
        there = [i for i, code in enumerate(codes) if i and code in wanted]
        for i in dict.fromkeys(there[round(part)] for part in np.linspace(0, len(there) - 1, _PLACES) if there):
            prompts.append([[one] for one in ids[max(0, i - model.context_length + 1) : i]])
            at.append((place, wanted[codes[i]]))
    if prompts:
        mass = _masses(model, prompts, diagnoses)
        own = mass[np.arange(len(at)), [column for _, column in at]]
        for (place, _), rank in zip(at, (mass >= own[:, None]).sum(axis=1).tolist(), strict=True):
            found[place].append(rank <= TOP)
    return found


def _masses(model: BlackBox, prompts: list[list[list[int]]], codes: Sequence[int]) -> np.ndarray:
    """(prompts, codes) the probability of each of some codes as the next one."""
    parts = []
    for start in range(0, len(codes), _AT_ONCE):
        some = codes[start : start + _AT_ONCE]
        track = np.zeros((len(model.vocabulary), len(some)), dtype=np.float32)
        track[some, range(len(some))] = 1
        step = next(iter(model.generate(prompts, _LIFE if model.vocabulary.timed else 1, 1, track=track)))
        assert step.mass is not None
        parts.append(step.mass[:, 0])
    return np.concatenate(parts, axis=1)


def _mean(rows: list[FindingRow], figure: str, bounds: tuple[float, float], seed: int) -> Estimate:
    values = np.array([one["value"] for one in rows if one.get("figure") == figure])
    if not len(values):
        return NOTHING
    return patient_bootstrap(lambda some: float(values[some].mean()), np.zeros(len(values)), seed=seed, bounds=bounds)
