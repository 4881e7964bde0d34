"""Holders of sensitive attributes, drawn on top of the people asked about: else a rare attribute could never be measured.

In a random sample of 400 people an attribute that one in a hundred holds has two holders among the members. The figures about one
attribute rest on its holders alone, so that drawing more of them, at random, takes nothing from these figures; all that is about
people at large (AUROC, prevalence, excess risk) rests on the random sample as before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.probes.people import DRAWN, MEMBER, NON_MEMBER, People, draw, sides

DRAWN_MEMBER, DRAWN_NON_MEMBER = MEMBER + DRAWN, NON_MEMBER + DRAWN


@dataclass(frozen=True)
class Holders:
    """``records``: those drawn beyond the people asked about anyway; ``groups`` (DRAWN_MEMBER or DRAWN_NON_MEMBER) and
    ``drawn_for`` (the attributes that each was drawn for) by pseudonym."""

    records: tuple[Record, ...]
    groups: Mapping[str, str]
    drawn_for: Mapping[str, frozenset[str]]

    def counts(self) -> dict[str, int]:
        """How many are in each group."""
        found = list(self.groups.values())
        return {group: found.count(group) for group in (DRAWN_MEMBER, DRAWN_NON_MEMBER) if group in found}


def draw_holders(
    dataset: MedsDataset,
    model: BlackBox,
    reference: BlackBox | None,
    people: People,
    attributes: Sequence[str],
    *,
    least: int,
    seed: int = 0,
) -> Holders:
    """So many more holders of each attribute that, with those among ``people``, ``least`` members and ``least`` non-members hold
    it, where there are so many. For one attribute, those among ``people`` and those drawn for it are a random sample of all its
    holders; who was drawn for another attribute is not counted for this one. Planted canaries are never drawn."""
    members, non_members = sides(dataset, model, reference)
    candidates = {DRAWN_MEMBER: (MEMBER, members), DRAWN_NON_MEMBER: (NON_MEMBER, non_members)}
    groups: dict[int, str] = {}
    drawn_for: dict[int, set[str]] = {}
    for number, name in enumerate(attributes):
        holders = np.array(dataset.holders([name]), dtype=np.int64)
        for place, (group, (asked_group, side)) in enumerate(candidates.items()):
            asked = np.array([record.patient_id for record in people.of(asked_group)], dtype=np.int64)
            more = least - len(np.intersect1d(holders, asked))
            if more > 0:
                rng = np.random.default_rng([seed, number, place])
                for patient in draw(rng, np.setdiff1d(np.intersect1d(holders, side), asked), more):
                    groups[patient] = group
                    drawn_for.setdefault(patient, set()).add(name)
    dated = [r for r in dataset.records(sorted(groups)) if any(event.time is not None for event in r.events)]
    return Holders(
        tuple(dated),
        {r.pseudonym: groups[r.patient_id] for r in dated},
        {r.pseudonym: frozenset(drawn_for[r.patient_id]) for r in dated},
    )
