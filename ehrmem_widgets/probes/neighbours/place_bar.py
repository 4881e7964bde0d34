"""The place of a patient's own record in one glance, by each search; and the verdict, which needs many people."""

from __future__ import annotations

from ehrmem_widgets.attacker.facts import knowledge_words
from ehrmem_widgets.charts.markup import BLUE, GREY, ORANGE, escape
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.neighbours.ladder import Step
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.views.answer_bar import BarRow, share_of, verdict_bar

_FROM_ONE = "a record that a code search finds is given away by the facts themselves. Whether the model adds to it shows only over many people: ask about others."


def place_bar(step: Step, n: int, cohort: Finding | None, *, ranking: bool) -> str:
    """``step``: the ranks among ``n`` records at what the attacker knows; ``cohort``: what was found about many people (None: nobody else was asked);
    ``ranking``: whether ranks are still to come."""
    ranks = (
        ("continued by the model", step.continued, BLUE, False),
        ("the facts alone", step.audited, BLUE, True),
        ("a plain code search", step.codes, GREY, False),
        ("continued, never saw them", step.reference, ORANGE, True),
    )
    rows = [
        BarRow(
            words, share_of(n - rank, n - 1), colour, striped, shown=f"{rank:,} of {n:,}",
            said=f"{words.capitalize()}: the own record is {_place(rank)} of {n:,}; {n - rank:,} others lie farther away",
        )
        for words, rank, colour, striped in ranks
        if rank is not None
    ]  # fmt: skip
    foot = f"The place of the own record, 1 is the nearest. A full bar: no other record is nearer. The attacker knows: {escape(knowledge_words(step.knowledge))}."
    verdict, name, why = Verdict.CANNOT_CONCLUDE, str(Verdict.CANNOT_CONCLUDE), f"from one patient: {_FROM_ONE}"
    if step.why_not:
        why = f"with these facts there is nothing to search by: {step.why_not}. Choose other facts."
    elif ranking or not rows:
        return verdict_bar("Not decided yet", "the records are being ranked.", rows, foot, about="the nearest records")
    elif cohort is not None and (said := _of_many(cohort, step.knowledge)) is not None:
        verdict, why = said
        name = str(verdict)
    return verdict_bar(name, why, rows, foot, about="the nearest records", verdict=verdict)


def _place(rank: int) -> str:
    return "the nearest" if rank == 1 else f"number {rank:,}"


def _of_many(cohort: Finding, knowledge: str) -> tuple[Verdict, str] | None:
    """The verdict over many people at a knowledge level, and its sentence; of the two ways to search the one that finds more, else by continuations.
    None where they were not asked at it."""
    rows = cohort.about("figures", figure="hit@10_difference", knowledge=knowledge, model="audited", group="all")
    rows = rows[rows["verdict"] != ""].sort_values("attribute", ascending=False)  # the continued first
    if not len(rows):
        return None
    memorized = rows[rows["verdict"] == Verdict.MEMORIZED]
    one = (memorized if len(memorized) else rows).iloc[0]
    note = str(one["note"])
    return Verdict(one["verdict"]), f"over many people: {note[:1].lower()}{note[1:]}"
