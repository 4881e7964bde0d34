"""Audits side by side: every figure that two have, with the difference and its interval, and the frontier of all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ehrmem_widgets.audit.comparison import Comparison, Shared
from ehrmem_widgets.audit.frontier import Frontier
from ehrmem_widgets.audit.releases import to_leave
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.view import picture
from ehrmem_widgets.registry import probes
from ehrmem_widgets.reports.audit_annex import Reproducibility
from ehrmem_widgets.reports.audit_page import marks
from ehrmem_widgets.reports.page_template import whole_page
from ehrmem_widgets.statistics.disclosure import FEWEST, is_small, rounded_n
from ehrmem_widgets.views.frontier import frontier
from ehrmem_widgets.views.interval_rows import IntervalRow, interval_rows

_PLANNED = ("knowledge_levels", "knowledge_of", "attributes", "priors", "seed", "probes")
"""What of two plans is compared."""


def compare_page(*folders: Path, names: Sequence[str] = ()) -> str:
    """Audits' folders as one HTML file that opens offline: vendor A and vendor B, one model before and after retraining, or one training with
    several defences. ``names``: what to call them (A, B, ...).

    Each is compared with the first: differences are its figures minus those of the first. Where both audits asked the same people, each person
    is compared with themselves (bootstrap over people); elsewhere the interval is that of a difference of independent estimates (MOVER). Where
    they measured what the models are good for, that is drawn against each risk. Small counts are withheld as in ``audit_page``.
    Raises BadInput for a folder that holds no audit, and for fewer than two.
    """
    names = list(names) or [chr(ord("A") + place) for place in range(len(folders))]
    if len(folders) < 2:
        raise BadInput("There is one audit, and nothing to compare it with. Name two results folders or more.")
    if len(set(names)) < len(folders) or len(names) != len(folders):
        raise BadInput(
            f"{len(folders)} audits need {len(folders)} different names, one each; got {', '.join(map(repr, names))}. Give them with --names."
        )
    audits = [to_leave(folder) for folder in folders]
    compared = {name: Comparison(audits[0], audit) for name, audit in zip(names[1:], audits[1:], strict=True)}
    return whole_page(
        "compare.html.j2",
        names=names,
        audits=audits,
        models=[audit.name_of("model") or "a model" for audit in audits],
        marks=[f"{name}: {mark}" for name, audit in zip(names, audits, strict=True) for mark in marks(audit)],
        pairs=[Pair(names[0], name, comparison) for name, comparison in compared.items()],
        verdicts=[
            (probe.full_title, probe.view_type.signed, [audit.headlines.get(name) for audit in audits])
            for name, probe in probes().items()
            if any(name in audit.headlines for audit in audits)
        ],
        frontier=(found := Frontier(dict(zip(names, audits, strict=True)), compared)),
        panels=[] if found.missing else _panels(found),
        made=[Reproducibility(audit) for audit in audits],
    )


@dataclass(frozen=True)
class Pair:
    """Two audits as the page shows them: ``one``, and what ``other`` has more or less."""

    one: str
    other: str
    comparison: Comparison

    @property
    def shared(self) -> list[Shared]:
        """What both give away."""
        return self.comparison.figures

    @property
    def drawn(self) -> str:
        """The differences that are counted in shares."""
        shown = [one for one in self.shared if not one.unit]
        rows = [IntervalRow(one.words, one.gap, heading=one.heading, marked=one.worse != 0) for one in shown]
        ends = (end for one in shown for end in (one.gap.low, one.gap.high))
        reach = max((abs(end) for end in ends if math.isfinite(end)), default=1.0)
        most, title = next((end for end in (0.1, 0.25, 0.5) if reach <= end), 1.0), f"{self.other} minus {self.one}"
        return picture(
            interval_rows(rows, title=title, ends=(-most, most), level=(0.0, "no difference"), signed=True),
            "Differences with 95 % intervals; to the left of 0 less is given away. Diamonds: the interval leaves out 0.",
        )

    @property
    def plans_differ_in(self) -> list[str]:
        """Names of what the two plans say otherwise."""
        one, other = (audit.results.get("plan") or {} for audit in (self.comparison.a, self.comparison.b))
        return sorted(key for key in _PLANNED if (key in one or key in other) and one.get(key) != other.get(key))

    @property
    def changed_sides(self) -> str | None:
        """How many people are members in one audit alone, as it may be shown: empty for nobody, None where they share nobody."""
        moved = self.comparison.changed_sides
        if not moved:
            return None if moved is None else ""
        return f"Fewer than {FEWEST}" if is_small(moved) else f"{rounded_n(moved):,} or more"


def _panels(found: Frontier) -> list[str]:
    return [
        picture(frontier(one.heading, one.of, found.drawn), f"{one.heading}. {one.words}. Upwards: more is given away. 95 % intervals both ways.")
        for one in found.risks
    ]  # fmt: skip
