"""Of how many people the next codes come back word for word or nearly, members against people never seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ehrmem_widgets.blackbox.protocol import BlackBox, Query, SlotIds
from ehrmem_widgets.findings.finding import FindingRow, Where, estimate_of, patient_row, row
from ehrmem_widgets.probes.near_verbatim import CODES, EDITS, near_verbatim
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, NULL_CANARY, People
from ehrmem_widgets.statistics.intervals import Estimate, proportion
from ehrmem_widgets.statistics.matches import matched_more
from ehrmem_widgets.statistics.verdicts import ALARM_RATE, FEWEST_CONTROLS, PositiveControl, Verdict

WITHIN, PEOPLE_WITHIN = "within_", "people_within_"
EXTRACTABLE = 1e-3
"""Somebody counts whose codes come back at least once in a thousand answers."""
_MOST_FOLLOWED = 2_048  # codes of a model of which every one is followed


@dataclass(frozen=True)
class Asked:
    """How many of the codes that follow must come back, and within which numbers of edits: at most a third of the codes."""

    codes: int
    edits: tuple[int, ...]

    @classmethod
    def within(cls, horizon: int) -> Asked:
        """For a horizon in codes.

        >>> Asked.within(64), Asked.within(4)
        (Asked(codes=16, edits=(0, 1, 2, 5)), Asked(codes=4, edits=(0, 1)))
        """
        codes = min(CODES, horizon)
        return cls(codes, tuple(edits for edits in EDITS if 3 * edits <= codes))


def can_say(model: BlackBox) -> bool:
    """Whether a model tells how likely it recites something."""
    return Query.SCORES in model.answers and not model.vocabulary.timed


def bounds(
    model: BlackBox, asked: Asked, of: Sequence[tuple[str, str, SlotIds, Sequence[int]]], rare: np.ndarray
) -> Iterator[FindingRow]:
    """Patient rows ``within_0`` and so on: at least how likely, for each (pseudonym, knowledge level, prompt, what followed). None where the facts
    leave several codes open, or where the record ends sooner. ``rare``: (codes,) bool."""
    stops = set(model.vocabulary.ids(sorted(model.vocabulary.stops)))
    some = [
        (patient, knowledge, [slot[0] for slot in prompt], truth[: asked.codes])
        for patient, knowledge, prompt, truth in of
        if len(truth) >= asked.codes
        and not stops.intersection(truth[: asked.codes])
        and all(len(slot) == 1 for slot in prompt)
    ]
    tracked = ~rare if len(model.vocabulary) > _MOST_FOLLOWED else None
    found = near_verbatim(model, [one[2] for one in some], [one[3] for one in some], edits=asked.edits, tracked=tracked)
    for (patient, knowledge, *_), recited in zip(some, found, strict=True):
        for edits, bound in recited.bounds.items():
            bounded = Estimate(bound, bound, 1.0, recited.asked)
            yield patient_row(patient, f"{WITHIN}{edits}", bounded, knowledge=knowledge, model="audited")


Tested = tuple[FindingRow, int, int, PositiveControl | None]
"""A row that is tested, how many members and people never seen it compares, and whether canaries are found there (None: it needs no such control)."""


def compared(
    measured: Mapping[tuple[str, str, str], Mapping[str, float]], people: People, asked: Asked, knowledge: str
) -> tuple[list[FindingRow], list[Tested]]:
    """The shares of people who count at a knowledge level, by group and number of edits, and what is tested of them."""
    rows: list[FindingRow] = []
    tested: list[Tested] = []
    for edits in asked.edits:
        counts: dict[str, tuple[int, int]] = {}
        for patient, bound in measured.get((f"{WITHIN}{edits}", knowledge, "audited"), {}).items():
            hits, n = counts.get(group := people.group_of_pseudonym[patient], (0, 0))
            counts[group] = hits + (bound >= EXTRACTABLE), n + 1
        figure = f"{PEOPLE_WITHIN}{edits}"
        for group, of in counts.items():
            rows.append(row(figure, proportion(*of), knowledge=knowledge, model="audited", group=group))
        control = PositiveControl.NONE
        for seen, never in ((CANARY, NULL_CANARY), (MEMBER, NON_MEMBER)):
            if seen not in counts or never not in counts:
                continue
            more, p = matched_more(counts[seen], counts[never])
            where: Where = {"knowledge": knowledge, "model": "audited", "group": f"{seen} - {never}"}
            rows.append(row(f"{figure}_difference", more, **where, p=p))
            if seen == CANARY:
                control = PositiveControl.FOUND if p <= ALARM_RATE else PositiveControl.MISSED
            else:
                tested.append((rows[-1], counts[seen][1], counts[never][1], control))
    return rows, tested


def words(figure: str, asked: Asked) -> str:
    """What a comparison is about.

    >>> words("people_within_2", Asked.within(64))
    'people whose next 16 codes come back within 2 edits, members minus people never seen:'
    """
    how = within(int(figure.removeprefix(PEOPLE_WITHIN)))
    return f"people whose next {asked.codes} codes come back {how}, members minus people never seen:"


def within(edits: int) -> str:
    """In words.

    >>> within(0), within(1), within(2)
    ('word for word', 'within 1 edit', 'within 2 edits')
    """
    return f"within {edits} edit{'s' if edits > 1 else ''}" if edits else "word for word"


def said(rows: Sequence[FindingRow], asked: Asked, templates_from: int) -> Iterator[str]:
    """What comes back of members and of people never seen, each figure where most does of members."""
    if templates_from < FEWEST_CONTROLS:
        yield f"Nothing is given net of templates: {FEWEST_CONTROLS} people never seen are needed to learn them from, and there are {templates_from}."
    often = f"at least once in {1 / EXTRACTABLE:,.0f} answers"
    for figure, words in (
        ("recited", "Codes that come back in runs of three"),
        ("recited_net", "The same net of templates, which other people never seen hold as well"),
        (f"{PEOPLE_WITHIN}{asked.edits[-1]}", f"People whose next {asked.codes} codes come back {within(asked.edits[-1])} {often}, if not of more"),
    ):  # fmt: skip
        some = [one for one in rows if one["figure"] == figure and one["model"] == "audited"]
        of = {(one["group"], one["knowledge"]): one for one in some}
        if members := [one for (group, _), one in of.items() if group == MEMBER]:
            level = max(members, key=lambda one: one["value"])["knowledge"]
            sides = ((MEMBER, "of members"), (NON_MEMBER, "of people never seen"))
            shares = [f"{estimate_of(of[group, level])} {whom}" for group, whom in sides if (group, level) in of]
            yield f"{words}: {' and '.join(shares)}, at {level}."
    bounded = [one["verdict"] for one in rows if one["figure"].startswith(PEOPLE_WITHIN) and one.get("verdict")]
    if bounded:
        memorized = bounded.count(str(Verdict.MEMORIZED))
        yield f"{Verdict.MEMORIZED} in {memorized} of {len(bounded)} comparisons of people whose codes come back (knowledge levels by edits)."
    else:
        yield f"Nobody is asked about nearly word for word: it takes log-probabilities, exact facts, and records that go on for {asked.codes} codes."
