"""T6 as it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from ehrmem_widgets.charts.markup import escape
from ehrmem_widgets.charts.table import items
from ehrmem_widgets.findings.disclosure_control import (
    mean,
)
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.attribute.ask import LARGEST_EXCESS, LARGEST_LEAK
from ehrmem_widgets.probes.membership.scores import SCORES, headline
from ehrmem_widgets.probes.subgroups.gaps import CLAIMS, subgroup_gaps, subgroup_name
from ehrmem_widgets.probes.subgroups.page import FIGURES as SUBGROUP_FIGURES
from ehrmem_widgets.probes.subgroups.page import HOW_TO_READ as READ_SUBGROUPS
from ehrmem_widgets.probes.subgroups.page import overall, summary_sentences
from ehrmem_widgets.probes.subgroups.rows import SubgroupRow, subgroup_rows
from ehrmem_widgets.probes.subgroups.vulnerable import vulnerable_groups
from ehrmem_widgets.probes.view import Headline, ProbeView, picture
from ehrmem_widgets.statistics.verdicts import Verdict

if TYPE_CHECKING:
    from ehrmem_widgets.audit.comparison import Comparison, Shared


_SPLIT = {
    "membership": "score",
    "excess": LARGEST_EXCESS,
    "leak": LARGEST_LEAK,
}  # what is split, by its name in ``page``


class SubgroupsView(ProbeView):
    """Which groups are memorized more."""

    rules = (("(mean|gap|difference|screening):.*", mean),)  # small cells are withheld by the probe already
    asked = (
        "Are some groups memorized more than others? Every subgroup's members are compared with all other members, and the"
        " same gap among people never seen is taken away."
    )
    held_against = "The same gap among people never seen. Corrected for all subgroups and figures together (Holm)."
    how_to_read = READ_SUBGROUPS
    no_attack = "It is no attack of its own and asks the model nothing: it splits by group what other tests found. Their sections say what those attacks cost."

    @cached_property
    def split(self) -> dict[str, tuple[SubgroupRow, ...]]:
        """What was split: "membership" (the score) and "excess" (the largest excess risk) or "leak" (without a reference), the rows of each."""
        found = {}
        for name, figure_name in _SPLIT.items():
            table_ = self.found.figures[self.found.figures["figure"].str.endswith(f":{figure_name}")]
            if name == "membership":
                table_ = table_[table_["attribute"].isin(SCORES)]
            if len(table_):
                found[name] = subgroup_rows(replace(self.found, figures=table_))
        return found

    def judged(self) -> pd.DataFrame:
        """None: its verdicts are about subgroups."""
        return self.found.figures.iloc[:0]

    def headline(self) -> Headline:
        """Which groups."""
        verdicts = {name: overall(rows) for name, rows in self.split.items()}
        if not verdicts:
            return Headline(Verdict.CANNOT_CONCLUDE, "No figure could be split by subgroup.")
        order = (Verdict.MEMORIZED, Verdict.CANNOT_CONCLUDE, Verdict.POPULATION)
        worst = min((one.verdict for one in verdicts.values()), key=order.index)
        groups = dict.fromkeys(
            subgroup_name(row.name)
            for rows in self.split.values()
            for row in rows
            if row.judgement.verdict is Verdict.MEMORIZED
        )
        if groups:
            return Headline(worst, f"Memorized more: {', '.join(groups)}.")
        sentence = next(one.sentence for one in verdicts.values() if one.verdict is worst)
        return Headline(worst, f"{sentence[:1].upper()}{sentence[1:]}")

    def vulnerable(self) -> str:
        """The groups of whom more is remembered, for the first page."""
        return vulnerable_groups(self.split) if self.split else ""

    def shared(self, comparison: Comparison) -> Iterable[Shared]:
        """Nothing: the groups are not compared between audits."""
        return ()

    def pictures(self) -> list[str]:
        """The gap of every subgroup."""
        parts = []
        for name, rows in self.split.items():
            words, meaning = SUBGROUP_FIGURES[name]
            parts.append(f"<h3>By {escape(words)}</h3><p>{escape(meaning)}</p>{items(summary_sentences(rows, CLAIMS))}")
            parts.append(
                picture(
                    subgroup_gaps(rows, words, correction=CLAIMS),
                    f"Gaps in {words} between members in each subgroup and all other members.",
                )
            )
        return parts

    @classmethod
    def method_picture(cls, findings: Mapping[str, Finding]) -> str:
        """The gaps in the score."""
        found = findings["subgroups"]
        score = headline(found.figures["attribute"])
        rows = subgroup_rows(replace(found, figures=found.about("figures", attribute=score)))
        rows = tuple(row for row in rows if row.members or row.kind in ("code", "labs"))
        return subgroup_gaps(rows, f"T4's score ({score})", correction=CLAIMS)
