"""Two audits side by side: every figure that both have, with the difference, its interval, and how that interval was made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ehrmem_widgets.audit.comparison import Comparison, Shared
from ehrmem_widgets.audit.releases import to_leave
from ehrmem_widgets.audit.results import AuditResults
from ehrmem_widgets.audit.run import WHAT, What
from ehrmem_widgets.probes.view import picture
from ehrmem_widgets.registry import probes
from ehrmem_widgets.reports.audit_annex import Reproducibility
from ehrmem_widgets.reports.audit_page import marks
from ehrmem_widgets.reports.page_template import whole_page
from ehrmem_widgets.statistics.disclosure import FEWEST, is_small, rounded_n
from ehrmem_widgets.views.interval_rows import IntervalRow, interval_rows

_PLANNED = ("knowledge_levels", "knowledge_of", "attributes", "priors", "seed", "probes")
"""What of two plans is compared."""


def compare_page(a: Path, b: Path, *, names: tuple[str, str] = ("A", "B")) -> str:
    """Two audits' folders as one HTML file that opens offline: vendor A and vendor B, or one model before and after retraining.

    Differences are b minus a. Where both audits asked the same people, each person is compared with themselves (bootstrap over people);
    elsewhere the interval is that of a difference of independent estimates (MOVER). Small counts are withheld as in ``audit_page``.
    Raises BadInput for a folder that holds no audit.
    """
    audits = to_leave(a), to_leave(b)
    comparison = Comparison(*audits)
    shared = comparison.figures()
    knowledge = comparison.a.worst_level
    return whole_page(
        "compare.html.j2",
        names=names,
        audits=audits,
        models=[audit.name_of("model") or "a model" for audit in audits],
        marks=[f"{name}: {mark}" for name, audit in zip(names, audits, strict=True) for mark in marks(audit)],
        shared=shared,
        less=sum(one.given_away < 0 for one in shared),
        more=sum(one.given_away > 0 for one in shared),
        by_chance=max(1, round(len(shared) / 20)),
        verdicts=[
            (probe.full_title, probe.view_type.signed, [audit.headlines.get(name) for audit in audits])
            for name, probe in probes().items()
            if any(name in audit.headlines for audit in audits)
        ],
        drawn=_drawn(shared, names),
        same={what: _same(what, *audits) for what in WHAT},
        plans_differ_in=_plans_differ_in(*audits),
        changed_sides=_changed_sides(comparison),
        knowledge=knowledge,
        attributes=comparison.attributes(knowledge),
        beyond=bool(comparison.a.results.get("reference")),
        made=[Reproducibility(audit) for audit in audits],
    )


def _drawn(shared: Sequence[Shared], names: tuple[str, str]) -> str:
    rows = [IntervalRow(one.words, one.gap, heading=one.heading, marked=one.given_away != 0) for one in shared]
    reach = max((abs(end) for one in shared for end in (one.gap.low, one.gap.high) if math.isfinite(end)), default=1.0)
    ends = next((end for end in (0.1, 0.25, 0.5) if reach <= end), 1.0)
    return picture(
        interval_rows(
            rows, title=f"{names[1]} minus {names[0]}", ends=(-ends, ends), level=(0.0, "no difference"), signed=True
        ),
        "Differences with 95 % intervals; to the left of 0 less is given away. Diamonds: the interval leaves out 0.",
    )


def _same(what: What, a: AuditResults, b: AuditResults) -> bool | None:
    """Whether both have the same; None where neither has one."""
    one, other = ((audit.results.get(what) or {}).get("fingerprint") for audit in (a, b))
    return None if one is None and other is None else bool(one == other)


def _plans_differ_in(a: AuditResults, b: AuditResults) -> list[str]:
    one, other = (audit.results.get("plan") or {} for audit in (a, b))
    return sorted(key for key in _PLANNED if (key in one or key in other) and one.get(key) != other.get(key))


def _changed_sides(comparison: Comparison) -> str | None:
    """How many people are members in one audit alone, as it may be shown: empty for nobody, None where they share nobody."""
    moved = comparison.changed_sides
    if not moved:
        return None if moved is None else ""
    return f"Fewer than {FEWEST}" if is_small(moved) else f"{rounded_n(moved):,} or more"
