"""The nearest records as they are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from ehrmem_widgets.attacker.facts import knowledge_words
from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.charts.table import figure, table
from ehrmem_widgets.findings.disclosure_control import (
    between_shares,
    mean,
    not_of_people,
    share,
)
from ehrmem_widgets.findings.finding import AnyRow, Finding
from ehrmem_widgets.probes.neighbours.ask import CONTINUED, DECLARED, FACTS, way_words
from ehrmem_widgets.probes.people import ALL, CANARY, MEMBER, NON_MEMBER
from ehrmem_widgets.probes.view import ProbeView, picture
from ehrmem_widgets.settings import CONTINUATIONS
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.knowledge_curve import by_level, knowledge_curve

if TYPE_CHECKING:
    from ehrmem_widgets.audit.comparison import Comparison, Shared
    from ehrmem_widgets.audit.results import AuditResults


class NeighboursView(ProbeView):
    """How often the own record is among the nearest."""

    rules = (
        (r"(code_)?hit@\d+", share),
        ("(code_)?median_rank", mean),
        (r"hit@\d+_difference", between_shares(("hit@{}", None))),
        (r"hit@\d+_beyond_reference", between_shares(("hit@{}", "audited"), ("hit@{}", "reference"))),
        (r"hit@\d+_over_codes", between_shares(("hit@{}", "audited"), ("code_hit@{}", ""))),
        ("embeddings", not_of_people),
    )
    settings = ("searched",)
    judged_figure = "hit@10_difference"
    attack = (
        (1, Query.EMBEDDINGS, "of what is known"),
        (CONTINUATIONS, Query.SAMPLE, "to go on from there"),
        (CONTINUATIONS, Query.EMBEDDINGS, "of the answers"),
    )
    asked = "All full records lie in the model's own map. Do the facts that an attacker knows, or what the model itself makes of them when it goes on, lead to this person's own record?"
    held_against = "The share found for people never seen, by a reference model, and by a plain search for the known codes, which needs no model."
    how_to_read = (
        "The share of people whose own full record is among the ten nearest. If a plain search for the codes does as well, the known "
        "facts and not the model point at the person."
    )
    measures = "larger share of members than of people never seen led to their own record"
    memorized = "It leads to the own record of people it was trained on more often than of others: by {figure}{where}."
    population = (
        "It leads to the own record of people it was trained on no more often: largest difference {figure}{where}."
    )

    def pictures(self) -> list[str]:
        """The share found, by each search."""
        found = self.found
        lines = _lines(
            found,
            {
                "Members, model's continuations": ("hit@10", MEMBER, "audited", CONTINUED),
                "People never seen, model's continuations": ("hit@10", NON_MEMBER, "audited", CONTINUED),
                "Members, facts alone": ("hit@10", MEMBER, "audited", FACTS),
                "Members, plain code search": ("code_hit@10", MEMBER, "", FACTS),
                "Members, reference model's continuations": ("hit@10", MEMBER, "reference", CONTINUED),
                "Planted canaries, model's continuations": ("hit@10", CANARY, "audited", CONTINUED),
            },
        )
        knowledge_levels = list(found.settings.get("knowledge_levels", ()))
        searched = int(found.settings.get("searched", 0))
        drawn = knowledge_curve(
            lines,
            knowledge_levels,
            title=f"Own record among the ten nearest of {searched:,}",
            axis="share of people found",
        )
        cells = [
            [name, *(figure(line.get(knowledge), n=False) for knowledge in knowledge_levels)]
            for name, line in lines.items()
            if line
        ]
        return [
            picture(drawn, "Shares that rest on fewer than 11 people found are not drawn."),
            table(
                ["Share found among the ten nearest", *map(knowledge_words, knowledge_levels)],
                cells,
                caption="With 95 % intervals (Wilson)",
            ),
        ]

    def shared(self, comparison: Comparison) -> Iterable[Shared]:
        """Own record among the ten nearest, of members beyond people never seen."""

        def of(way: str) -> Iterable[Shared]:
            ranks = self.values(model="audited", attribute=way)

            def found(audit: AuditResults, where: Mapping[str, str]) -> pd.Series:
                hits: pd.Series = (ranks(audit, where) <= DECLARED).astype(float)
                return hits

            return comparison.by_level(
                self.probe.name,
                f"own record among the ten nearest{way_words(way)}, members minus non-members",
                {"figure": self.judged_figure, "group": ALL, "model": "audited", "attribute": way},
                lambda knowledge: comparison.gap_of_gaps(
                    found, {"figure": "rank", "knowledge": knowledge}, shares=True
                ),
            )

        for way in (CONTINUED, FACTS):
            yield from of(way)

    def compared(self, one: AnyRow) -> str:
        """What is known, and whether the model went on from it."""
        return super().compared(one) + way_words(str(one["attribute"]))

    @classmethod
    def method_picture(cls, findings: Mapping[str, Finding]) -> str:
        """Whose own record is found."""
        found = findings["neighbours"]
        lines = _lines(
            found,
            {
                "members, continued": ("hit@10", MEMBER, "audited", CONTINUED),
                "non-members, continued": ("hit@10", NON_MEMBER, "audited", CONTINUED),
                "members, facts alone": ("hit@10", MEMBER, "audited", FACTS),
                "non-members, facts alone": ("hit@10", NON_MEMBER, "audited", FACTS),
                "members, by a plain code search": ("code_hit@10", MEMBER, "", FACTS),
            },
        )
        return knowledge_curve(
            lines,
            found.settings["knowledge_levels"],
            title=f"Whose own record is among the ten nearest of {int(found.settings.get('searched', 0)):,}?",
            axis="hit@10: share of people whose record is found",
        )


def _lines(found: Finding, of: Mapping[str, tuple[str, str, str, str]]) -> dict[str, dict[str, Estimate]]:
    """Figures by knowledge level under a name; each by its figure, group, model and way."""
    return {
        name: by_level(found, figure, group=group, model=model, attribute=way)
        for name, (figure, group, model, way) in of.items()
    }
