"""The names of what is measured: apart from the asking, so that a page about results needs no torch."""

from __future__ import annotations

from ehrmem_widgets.findings.finding import Exclusion

LOSS, RECALL = "loss", "recall@10"
TOP = 10
IMPOSSIBLE = Exclusion("impossible", "no loss: the model holds a code of the record for impossible")


def part_of(read: str, people: str) -> str:
    """Why a loss compares with no other model's, from how many people it is of and how many there are, both in words."""
    return (
        f"The loss could be computed for {read} of {people} people only, so that it does not compare with other models': in the other records there is a "
        "code to which the model gives no chance at all, as behind an output filter that hides codes."
    )
