"""What is split by subgroup, one figure a person: the membership score, or the largest excess risk; and the rows to show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.findings.finding import AnyRow, Finding, estimate_of, judgement_of
from ehrmem_widgets.probes.people import People, choose_people, draw, sides
from ehrmem_widgets.probes.subgroups.ask import HIDDEN
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Judgement


def holders(
    model: BlackBox, dataset: MedsDataset, reference: BlackBox | None = None, *, most: int = 400, seed: int = 0
) -> People:
    """Ordinary patients who hold a sensitive attribute, the only ones with an excess risk: ``most``, half members and half
    non-members where there are so many."""
    found = np.array(dataset.holders(dataset.attributes), dtype=np.int64)
    rng = np.random.default_rng([seed, 7])
    chosen: list[int] = []
    for side, room in zip(sides(dataset, model, reference), (most // 2, most - most // 2), strict=True):
        chosen += draw(rng, np.intersect1d(found, side), room)
    return choose_people(dataset, model, reference, patients=chosen, seed=seed)


@dataclass(frozen=True)
class SubgroupRow:
    """One subgroup: members asked about in it (0 where the cell is hidden), their ``gap`` to the other members, and
    ``difference``, by how much that gap exceeds the same gap among non-members (None without any).

    ``p_adjusted`` is Holm's over all subgroups tested, ``q`` Benjamini-Hochberg's; nan where nothing was tested. ``hidden``: not
    shown because a cell is too small.
    """

    name: str
    members: int
    gap: Estimate
    difference: Estimate | None
    p_adjusted: float
    q: float
    judgement: Judgement
    hidden: bool

    @property
    def kind(self) -> str:
        """What divides people here: one of ``subgroups.KINDS``."""
        return self.name.split(": ")[0]

    @property
    def effect(self) -> Estimate:
        """What was tested."""
        return self.difference if self.difference is not None else self.gap


def subgroup_rows(split: Finding) -> tuple[SubgroupRow, ...]:
    """The rows of a finding of ``subgroups`` that split one figure, in its order."""
    table = split.about("figures")
    figures = table["figure"].str.split(":", n=1).str[0]
    rows = []
    for name in table["group"].unique():
        of = {
            kind: table[(table["group"] == name) & (figures == kind)]
            for kind in ("mean", "gap", "difference", "screening")
        }
        tested = (of["difference"] if len(of["difference"]) else of["gap"]).iloc[0]
        rows.append(
            SubgroupRow(
                str(name),
                int(of["mean"].iloc[0]["n"]),
                estimate_of(of["gap"].iloc[0]),
                estimate_of(of["difference"].iloc[0]) if len(of["difference"]) else None,
                float(tested["p_adjusted"]),
                float(of["screening"].iloc[0]["p_adjusted"]),
                _judgement_of(tested),
                tested["reason"] == HIDDEN,
            )
        )
    return tuple(rows)


def _judgement_of(one: AnyRow) -> Judgement:
    found = judgement_of(one)
    assert found is not None, "every subgroup is judged"
    return found
