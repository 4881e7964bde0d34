"""Who is asked about: members (the audited model was trained on them) and non-members (neither model was), canaries apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypedDict

import numpy as np

from ehrmem_widgets.blackbox.mean_reference import models_of
from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.blackbox.training_splits import seen_by, trained_on
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.ground_truth import canary_repetitions, planted_ids
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.findings.finding import Exclusion
from ehrmem_widgets.settings import check_probe

MEMBER, NON_MEMBER = "member", "non-member"
CANARY, NULL_CANARY = "canary", "canary never trained"
DRAWN = " drawn as a holder"  # after the name of the group, of people whom one probe alone asks about
ALL, CANARIES = "all", "canaries"
PAIRS = {ALL: (MEMBER, NON_MEMBER), CANARIES: (CANARY, NULL_CANARY)}
"""The two comparisons by the name that findings give them: who was trained on, and who was not."""
IN_REFERENCE = Exclusion("in_reference", "the reference model was trained on this patient")
HOLDS_NONE = Exclusion("holds_none", "the record holds none of the attributes asked about")
NO_DATE = Exclusion("no_date", "the record has no dated event")
MOST = 400  # patients asked about unless told otherwise: half members, half non-members


@dataclass(frozen=True)
class People:
    """The records of those asked about, and what is known of each.

    ``groups``: by patient id, MEMBER, NON_MEMBER, CANARY (planted and trained on) or NULL_CANARY (planted, never trained on);
    ``repetitions``: by patient id, how often training saw a canary in an epoch (0: never). ``left_out``: (pseudonym, reason).
    """

    records: tuple[Record, ...]
    groups: dict[int, str]
    repetitions: dict[int, int] = field(default_factory=dict)
    left_out: tuple[tuple[str, Exclusion], ...] = ()

    def of(self, *groups: str) -> list[Record]:
        """The records of some groups."""
        return [record for record in self.records if self.groups[record.patient_id] in groups]

    def group(self, record: Record) -> str:
        """The group of a record."""
        return self.groups[record.patient_id]

    @cached_property
    def group_of_pseudonym(self) -> dict[str, str]:
        """The group of each pseudonym."""
        return {record.pseudonym: self.groups[record.patient_id] for record in self.records}

    def counts(self) -> dict[str, int]:
        """How many are in each group."""
        found = list(self.groups.values())
        return {group: found.count(group) for group in (MEMBER, NON_MEMBER, CANARY, NULL_CANARY) if group in found}


def several(group: str) -> str:
    """A group's name for several people.

    >>> several("member"), several("canary x16"), several(NULL_CANARY), several("member drawn as a holder")
    ('members', 'canaries x16', 'canaries never trained on', 'members drawn as holders')
    """
    if group == NULL_CANARY:
        return "canaries never trained on"
    if group.endswith(" drawn as a holder"):
        return f"{group.removesuffix(' drawn as a holder')}s drawn as holders"
    return group.replace(CANARY, "canaries", 1) if group.startswith(CANARY) else f"{group}s"


def choose_people(
    dataset: MedsDataset,
    model: BlackBox,
    reference: BlackBox | None = None,
    *,
    patients: Sequence[int | str] | None = None,
    most: int = MOST,
    canaries: bool = True,
    seed: int = 0,
) -> People:
    """Choose whom to ask about.

    Without ``patients``: ``most`` ordinary patients, half members and half non-members where there are so many, drawn with
    ``seed``; with ``canaries`` also, beyond these, the canaries seen most often and those never trained on (the positive and
    the negative control; those of a data set's ground_truth.parquet, or of a file of canaries). With ``patients`` (ids or pseudonyms): those.
    Patients without a dated event, and those whom only the reference model saw, are left out with the reason. Raises BadInput for
    a number or a seed that is none.
    """
    check_probe(most=most, seed=seed)
    members, known = trained_on(model), seen_by(model, reference)
    planted = canary_repetitions(dataset)
    if patients is None:
        rng = np.random.default_rng(seed)
        chosen = []
        for side, room in zip(sides(dataset, model, reference), (most // 2, most - most // 2), strict=True):
            chosen += draw(rng, side, room)
        if canaries and planted:
            often = max(planted.values())
            there = {*dataset.ids(), *dataset.apart}
            chosen += sorted(p for p, n in planted.items() if n in (0, often) and p in there)
    else:
        chosen = list(dict.fromkeys(dataset.find(patient) for patient in patients))
    groups: dict[int, str] = {}
    left_out: list[tuple[str, Exclusion]] = []
    for patient, split in dataset.splits_of(chosen).items():
        member = split == members
        if not member and split in known:
            if patients is not None:
                left_out.append((dataset.pseudonym(patient), IN_REFERENCE))
        elif patient in planted:
            groups[patient] = CANARY if member else NULL_CANARY
        else:
            groups[patient] = MEMBER if member else NON_MEMBER
    chosen = [patient for patient in chosen if patient in groups]
    records = []
    for record in dataset.records(chosen):
        if any(event.time is not None for event in record.events):
            records.append(record)
        else:
            left_out.append((record.pseudonym, NO_DATE))
    return People(
        tuple(records),
        {r.patient_id: groups[r.patient_id] for r in records},
        {r.patient_id: planted[r.patient_id] for r in records if r.patient_id in planted},
        tuple(left_out),
    )


class CodesUnknown(TypedDict):
    """How many ``codes`` of a data set's (``of``) the audited model does not know, and which ``share`` of the events they make up."""

    codes: int
    of: int
    share: float


class Named(TypedDict, total=False):
    """What results say of the data (with ``patients``, ``unknown_codes``, and ``synthetic``: declared as made up) or of a model (the audited one's with ``training_split``;
    ``number_format``: of the numbers that its continuations were computed in, where not float32)."""

    name: str
    fingerprint: str
    patients: int
    synthetic: bool
    unknown_codes: CodesUnknown
    training_split: str | None
    number_format: str


def name_of_model(model: BlackBox) -> Named:
    """What results say of any model."""
    name: Named = {"name": model.name, "fingerprint": model.fingerprint}
    formats = {getattr(one, "number_format", "float32") for one in models_of(model)} - {"float32"}
    return {**name, "number_format": ", ".join(sorted(formats))} if formats else name


def number_formats(model: BlackBox, reference: BlackBox | None) -> list[str] | None:
    """Of the continuations of both, for a seal; None where all are float32."""
    found = [name_of_model(one).get("number_format", "") if one else "" for one in (model, reference)]
    return found if any(found) else None


def model_in_words(model: BlackBox) -> str:
    """Its name, and what its continuations were computed in where that is not float32."""
    about = name_of_model(model)
    numbers = about.get("number_format")
    return f"{about['name']}; continuations computed in 16-bit numbers ({numbers})" if numbers else about["name"]


def about_model(model: BlackBox) -> Named:
    """What results say of the audited model; a ``training_split`` of None: nothing says it, and MEDS's own name is supposed."""
    return {**name_of_model(model), "training_split": model.training_split}


def about_people(
    people: People, model: BlackBox, reference: BlackBox | None, dataset: MedsDataset
) -> dict[str, object]:
    """What every finding's settings say of data, models and people."""
    return {
        "data": {"name": dataset.name, "fingerprint": dataset.fingerprint},
        "model": about_model(model),
        "reference": reference and name_of_model(reference),
        "people": people.counts(),
    }


def sides(dataset: MedsDataset, model: BlackBox | None, reference: BlackBox | None) -> tuple[np.ndarray, np.ndarray]:
    """Ids, ascending, of the ordinary members and of the ordinary non-members: planted canaries are neither."""
    members, known = trained_on(model), seen_by(model, reference)
    planted = np.array(list(planted_ids(dataset)), dtype=np.int64)
    trained = np.array(dataset.ids(members) if members in dataset.splits else [], dtype=np.int64)
    return np.setdiff1d(trained, planted), np.setdiff1d(strangers(dataset, known), planted)


def strangers(dataset: MedsDataset, seen: Iterable[str]) -> np.ndarray:
    """Ids, ascending, of everybody who is in none of the splits that a model has seen."""
    known = [patient for split in seen if split in dataset.splits for patient in dataset.ids(split)]
    return np.setdiff1d(np.array(dataset.ids(), dtype=np.int64), np.array(known, dtype=np.int64))


def draw(rng: np.random.Generator, candidates: np.ndarray, most: int) -> list[int]:
    """At most so many of the candidates, which ascend, in ascending order."""
    drawn = rng.choice(candidates, most, replace=False) if len(candidates) > most else candidates
    return [int(patient) for patient in np.sort(drawn)]
