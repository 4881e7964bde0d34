"""True and phantom disclosures as they are shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ehrmem_widgets.attacker.facts import knowledge_words
from ehrmem_widgets.charts.markup import known
from ehrmem_widgets.charts.table import figure, table
from ehrmem_widgets.findings.disclosure_control import Figures, between_shares, share
from ehrmem_widgets.findings.finding import AnyRow, Finding, FindingRow, estimate_of
from ehrmem_widgets.probes.disclosures.judge import ANY, DIFFERENCE
from ehrmem_widgets.probes.disclosures.matching import KINDS
from ehrmem_widgets.probes.people import ALL, CANARY, MEMBER, NON_MEMBER, NULL_CANARY, PAIRS
from ehrmem_widgets.probes.view import METHOD_GROUPS, ProbeView, first_estimate
from ehrmem_widgets.statistics.attack_cost import for_even_chance
from ehrmem_widgets.statistics.disclosure import coarse_share
from ehrmem_widgets.statistics.discrimination import NOTHING
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.interval_rows import IntervalRow, interval_rows

if TYPE_CHECKING:
    from ehrmem_widgets.audit.comparison import Comparison, Shared

_WORDS = {**KINDS, ANY: "any of these"}


def of_outputs(one: FindingRow, figures: Figures) -> Estimate:
    """A share of outputs, in tens as if each were a person: only where the people matched are shown on both sides, or their number would
    follow."""
    for group in PAIRS[ALL]:
        n, exact = figures.at(one, "people_matched", group=group)
        if not n or not math.isfinite(coarse_share(Estimate(exact, 0.0, 1.0, n)).value):
            return NOTHING
    return coarse_share(estimate_of(one))


class DisclosuresView(ProbeView):
    """How many people are recognizable in outputs, of those in training and of those never seen."""

    rules = (
        ("people_matched", share),
        (DIFFERENCE, between_shares(("people_matched", None))),
        ("outputs_matched", of_outputs),
    )
    judged_figure = DIFFERENCE
    asked = (
        "The model writes records, or somebody has a file of them. Do they hold things that point at one person: two rare codes together, rare "
        "codes in a row, a row of lab values, a whole visit?"
    )
    held_against = "Equally many people whom it never saw: an output fits some of them by chance, too. Such a match is a phantom disclosure."
    how_to_read = (
        "Matches with people in training alone say nothing: hold them against the matches with people never seen. Only what is more can come from "
        "memory. A phantom disclosure is a false statement about somebody that looks true, and may do harm all the same."
    )
    measures = "larger share of members than of people never seen recognizable in outputs"
    memorized = "Its outputs hold more of the people it was trained on than of others: recognizable by {what} are {figure} more of them{where}."
    population = (
        "Its outputs fit people it never saw as often as those it was trained on: largest difference {figure}{where}."
    )

    def compared(self, one: AnyRow) -> str:
        """The kind of match, and what is known."""
        kind, facts = _WORDS[str(one["attribute"])], knowledge_words(str(one["knowledge"]))
        return f"{kind.capitalize()}; known: {facts.lower()}" if facts else kind.capitalize()

    def what(self, one: AnyRow) -> str:
        """The kind of match."""
        return _WORDS[str(one["attribute"])]

    def pictures(self) -> list[str]:
        """People matched, of each group, and outputs that match somebody."""
        found = self.found

        def at(name: str, knowledge: str, kind: str, group: str) -> str:
            return figure(first_estimate(found, name, knowledge=knowledge, attribute=kind, group=group), n=False)

        cells = [
            [
                knowledge_words(knowledge) or "The outputs given",
                words.capitalize(),
                *(at("people_matched", knowledge, kind, group) for group in (MEMBER, NON_MEMBER)),
                *(at("outputs_matched", knowledge, kind, group) for group in (MEMBER, NON_MEMBER)),
                *(at("people_matched", knowledge, kind, group) for group in (CANARY, NULL_CANARY)),
            ]
            for knowledge in self.knowledge_levels or [""]
            for kind, words in _WORDS.items()
        ]
        heads = (
            "Known", "Matched by", "Members matched", "People never seen matched", "Outputs that match a member (true)",
            "Outputs that match somebody never seen (phantom)", "Planted canaries matched", "Canaries never trained on matched",
        )  # fmt: skip
        return [table(heads, cells, caption="Shares with 95 % intervals; equally many members and people never seen")]

    def costs(self) -> str:
        """Outputs until one of them points at somebody with an even chance; of a file nobody asks."""
        if not self.knowledge_levels:
            return "<p>Nothing is asked of a model: whoever holds the outputs only compares them with what is known of people.</p>"

        def needed(**where: str) -> Estimate:
            share = first_estimate(self.found, "outputs_matched", attribute=ANY, **where)
            return for_even_chance(share) if known(share) else NOTHING

        by_level = {
            level: [needed(knowledge=level, group=group) for group in (MEMBER, NON_MEMBER)]
            for level in self.knowledge_levels
        }
        caption = "For an even chance that an output points at a member (true), or at somebody never seen (phantom)"
        return self.even_chances(by_level, caption, ("output", "outputs"))

    def shared(self, comparison: Comparison) -> Iterable[Shared]:
        """Members recognizable beyond people never seen, by kind."""
        for kind, words in KINDS.items():
            where = {"figure": DIFFERENCE, "group": ALL, "model": "audited", "attribute": kind}
            yield from comparison.by_level(
                self.probe.name, f"recognizable in outputs by {words}, members minus non-members", where
            )

    @classmethod
    def method_picture(cls, findings: Mapping[str, Finding]) -> str:
        """Who is recognizable where nothing is known."""
        found = findings["disclosures"]
        first = next(iter(found.settings.get("knowledge_levels", ())), "")
        rows = [
            IntervalRow(METHOD_GROUPS[group], estimate_of(one), words.capitalize(), group in (MEMBER, CANARY))
            for kind, words in KINDS.items()
            for group in (MEMBER, NON_MEMBER, CANARY, NULL_CANARY)
            for one in found.about(
                "figures", figure="people_matched", knowledge=first, attribute=kind, group=group
            ).to_dict("records")
        ]
        return interval_rows(
            rows, title="Share of people of whom something stands in an output", ends=(0, 1), level=(0.0, "nobody")
        )
