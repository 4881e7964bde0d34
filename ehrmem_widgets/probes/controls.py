"""Matched controls: similar people whom neither model saw, asked about as much of their own records as is known of the
patient (methods, section 5)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property

import numpy as np

from ehrmem_widgets.attacker.facts import AGE, KnownFact, KnownFacts, facts_of_level
from ehrmem_widgets.cohort.dataset import MEMBER_SPLIT, MedsDataset
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.tokens.vocabulary import Vocabulary

CONTROLS = 40
_MOST_CANDIDATES = 2000


class ControlPool:
    """The patients of a data set that no model was trained on, ready to be matched.

    ``seen`` names the splits that a model was trained on; everybody else is a candidate (of more than 2,000, a fixed
    random sample).
    """

    def __init__(self, dataset: MedsDataset, seen: Collection[str] = (MEMBER_SPLIT,)) -> None:
        self._dataset = dataset
        self._seen = frozenset(seen)

    @cached_property
    def records(self) -> list[Record]:
        """The candidates' records."""
        splits = [name for name in self._dataset.splits if name not in self._seen]
        ids = sorted(patient for name in splits for patient in self._dataset.ids(name))
        if len(ids) > _MOST_CANDIDATES:
            ids = sorted(np.random.default_rng(0).choice(ids, _MOST_CANDIDATES, replace=False).tolist())
        return [r for r in self._dataset.records(ids) if r.events]

    def similar(self, record: Record, facts: Sequence[KnownFact], n: int = CONTROLS) -> list[Record]:
        """The n candidates most like a patient in what is known of the patient; the patient never among them.

        Likeness: the share of the known codes that the candidate's record holds too, less a year's part of 1/40 for each
        year of difference in age. Ties go by id.
        """
        known = {record.events[fact.place].code for fact in facts if fact.place != AGE}
        age = record.age_at_start() if any(fact.place == AGE for fact in facts) else None
        others = [place for place, other in enumerate(self.records) if other.patient_id != record.patient_id]
        likeness = np.zeros(len(others))
        for row, place in enumerate(others):
            likeness[row] = len(known & self._codes[place]) / max(len(known), 1)
            if age is not None:
                other = self._ages[place]
                likeness[row] -= 1.0 if other is None else abs(other - age) / 40
        order = np.argsort(-likeness, kind="stable")[:n]
        return [self.records[others[row]] for row in order]

    @cached_property
    def _codes(self) -> list[frozenset[str]]:
        return [frozenset(event.code for event in record.events) for record in self.records]

    @cached_property
    def _ages(self) -> list[int | None]:
        return [record.age_at_start() for record in self.records]


def same_facts_of(
    other: Record, record: Record, facts: Sequence[KnownFact], knowledge: str | None, vocabulary: Vocabulary
) -> KnownFacts:
    """As much of another record as is known of a patient: the same knowledge level, or else the events at the same places (the
    i-th static fact, the i-th dated event), each as precisely known."""
    if knowledge is not None:
        return facts_of_level(knowledge, other, vocabulary)
    places, others = _places_by_kind(record), _places_by_kind(other)
    found = []
    for fact in facts:
        if fact.place == AGE:
            if other.age_at_start() is not None:
                found.append(fact)
            continue
        kind = record.events[fact.place].time is None
        number = places[kind].index(fact.place)
        if number < len(others[kind]):
            found.append(KnownFact(others[kind][number], fact.value, fact.date))
    return tuple(found)


def _places_by_kind(record: Record) -> dict[bool, list[int]]:
    places: dict[bool, list[int]] = {True: [], False: []}
    for place, event in enumerate(record.events):
        places[event.time is None].append(place)
    return places
