"""Which groups of people are more exposed than others, in a sentence a figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ehrmem_widgets.charts.markup import escape, icon, plural
from ehrmem_widgets.charts.table import inline
from ehrmem_widgets.probes.subgroups.gaps import KIND_TITLES, subgroup_name
from ehrmem_widgets.probes.subgroups.page import FIGURES, overall
from ehrmem_widgets.probes.subgroups.rows import SubgroupRow
from ehrmem_widgets.statistics.disclosure import FEWEST
from ehrmem_widgets.statistics.verdicts import ALARM_RATE


def vulnerable_groups(split: Mapping[str, Sequence[SubgroupRow]]) -> str:
    """HTML, a paragraph a figure that was split by subgroup (a key of ``FIGURES``): the verdict, who stands out, and how many
    groups were too small to be shown."""
    return "".join(_paragraph(name, rows) for name, rows in split.items())


def _paragraph(name: str, rows: Sequence[SubgroupRow]) -> str:
    judgement = overall(rows)
    tested = [row for row in rows if math.isfinite(row.p_adjusted)]
    out = [row for row in tested if row.p_adjusted <= ALARM_RATE]
    listed = "; ".join(
        f"{KIND_TITLES.get(row.kind, row.kind).lower()}: {subgroup_name(row.name)} by {inline(row.effect, signed=True)}"
        for row in out
    )
    hidden = sum(row.hidden for row in rows)
    stands = "stands" if len(out) < 2 else "stand"
    told = (
        f"of {plural(len(tested), 'subgroup')} tested {len(out) or 'none'} {stands} out{f' ({listed})' if out else ''}"
    )
    words = [
        told if tested else "no subgroup has enough people to be tested",
        f"{hidden} not shown (fewer than {FEWEST} people in or outside)" if hidden else "",
    ]
    said = "; ".join(word for word in words if word)
    return (
        f"<p>{icon(judgement.verdict, 14)} <b>By {escape(FIGURES[name][0])}: {escape(str(judgement.verdict).lower())}</b>; "
        f"{escape(said)}.</p>"
    )
