"""The rank of a patient's own record as facts are added, one row per knowledge level, by each search."""

from __future__ import annotations

from collections.abc import Sequence

from ehrmem_widgets.attacker.facts import knowledge_words
from ehrmem_widgets.charts.axis import Axis
from ehrmem_widgets.charts.marks import Key, nothing
from ehrmem_widgets.charts.markup import BLUE, GREY, ORANGE, plural
from ehrmem_widgets.charts.rows import Column, Mark, Row, row_chart
from ehrmem_widgets.probes.neighbours.ladder import Step

WIDTH, NEAREST = 796, 10
_SEARCHES = {
    "audited": Key("audited model's embedding of the facts", BLUE, "box"),
    "continued": Key("audited model's own continuations of the facts", BLUE, "disc"),
    "codes": Key("plain search for the known codes (no model)", GREY, "cross"),
    "reference": Key("continuations by the reference model, which never saw the patient", ORANGE, "box"),
}
_COLUMNS = [
    Column(head, x, anchor="end")
    for head, x in zip(("facts", "continued", "codes", "reference"), (592, 662, 716, 786), strict=True)
]


def rank_ladder(steps: Sequence[Step], chosen: str, *, n: int, searches: Sequence[str] = tuple(_SEARCHES)) -> str:
    """An SVG with one row per knowledge level: the rank of the own record among ``n`` on a logarithmic axis, 1 on the left, by those
    ``searches`` that there are.

    The audited model's continuations are a filled disc, its embedding of the facts an open square, the search for codes a cross, the reference
    model an open square of another colour; the ranks stand in figures beside them. The knowledge level ``chosen`` is marked. A rank that is not known yet is a dash.
    """
    if not steps or n < 1:
        return nothing("No ranks yet: nothing has been asked of the model.", width=WIDTH)
    searches = [which for which in _SEARCHES if which in searches]
    tens = [10**power for power in range(len(str(n)))]
    ticks = [(tick, f"{tick:,}") for tick in tens if tick == 1 or tick <= n / 4] + ([(n, f"{n:,}")] if n > 1 else [])
    many = n > NEAREST
    beside = f"; left of the dashed line: among the ten nearest of {n:,}" if many else ""
    return row_chart(
        [_row(step, step.knowledge == chosen, searches) for step in steps],
        [
            Column("What the attacker knows", 12, 36),
            *(column for which, column in zip(_SEARCHES, _COLUMNS, strict=True) if which in searches),
        ],
        Axis(1, max(n, 2), 248, 530, ticks, log=True),
        head=f"Place among {n:,}, the nearest first",
        notes=[(1, f"1: found at once{beside}", "start")],
        level=NEAREST if many else None,
        shade=(1, NEAREST) if many else None,
        keys=[_SEARCHES[which] for which in searches],
        label=_sentence(steps, n, searches),
        width=WIDTH,
    )


def _row(step: Step, chosen: bool, searches: Sequence[str]) -> Row:
    name, said = knowledge_words(step.knowledge).replace("Demographics + ", "+ "), _row_sentence(step, searches)
    if step.why_not:
        return Row((name,), said, instead=f"not asked: {step.why_not}", chosen=chosen)
    ranks: dict[str, int | None] = {which: getattr(step, which) for which in searches}
    return Row(
        cells=(name, *("—" if rank is None else f"{rank:,}" for rank in ranks.values())),
        marks=[Mark(rank, _SEARCHES[which].shape, _SEARCHES[which].colour) for which, rank in reversed(ranks.items())],
        said=said,
        chosen=chosen,
    )


def _row_sentence(step: Step, searches: Sequence[str]) -> str:
    if step.why_not:
        return f"{knowledge_words(step.knowledge)}: not asked, {step.why_not}"
    ranks: dict[str, int | None] = {which: getattr(step, which) for which in searches}
    said = [f"{which} {'not known yet' if rank is None else format(rank, ',')}" for which, rank in ranks.items()]
    return f"{knowledge_words(step.knowledge)}: {', '.join(said)}"


def _sentence(steps: Sequence[Step], n: int, searches: Sequence[str]) -> str:
    rows = "; ".join(_row_sentence(step, searches) for step in steps)
    return f"Place of the patient's own record among {plural(n, 'record')} as facts are added. {rows}."
