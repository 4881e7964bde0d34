"""T1 as it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from ehrmem_widgets.attacker.facts import knowledge_words, knows
from ehrmem_widgets.charts.markup import escape
from ehrmem_widgets.charts.table import figure, table
from ehrmem_widgets.findings.disclosure_control import between_means, between_shares, mean, share
from ehrmem_widgets.findings.finding import AnyRow, Finding
from ehrmem_widgets.probes.near_verbatim import EDITS
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER
from ehrmem_widgets.probes.reconstruction.recited import EXTRACTABLE, PEOPLE_WITHIN, within
from ehrmem_widgets.probes.view import GROUP_NAMES, METHOD_GROUPS, ProbeView, picture
from ehrmem_widgets.statistics.attack_cost import EVEN_CHANCE, queries_needed
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.views.attack_cost import questions
from ehrmem_widgets.views.knowledge_curve import by_level, knowledge_curve

if TYPE_CHECKING:
    from ehrmem_widgets.audit.comparison import Comparison, Shared
    from ehrmem_widgets.audit.results import AuditResults


_EDITS = {f"{PEOPLE_WITHIN}{n}": within(n) for n in EDITS}
_COMPARED = {
    "demd": "published distance",
    "timed_distance": "distance with order and time",
    "rare_net_1": "rare codes, net of templates",
    **{name: f"people whose codes come back {words}" for name, words in _EDITS.items()},
}


class ReconstructionView(ProbeView):
    """How near what is generated comes to what really followed."""

    rules = (
        (rf"{PEOPLE_WITHIN}\d", share),
        (rf"{PEOPLE_WITHIN}\d_difference", between_shares((PEOPLE_WITHIN + "{}", None))),
        (".*_gap", between_means("_gap", "_excess")),
        (".*_difference", between_means("_difference", "", model="audited")),
        (
            "demd|timed_distance|rare_(overlap|net)_.|recited(_net)?|template_share|routine_share|.*_excess|.*_fall",
            mean,
        ),
    )
    control_figure = "timed_distance_(gap|difference)"
    asked = (
        "The model is given the beginning of a record and goes on by itself. How near does it come to what really happened to this "
        "person?"
    )
    held_against = "What the model continues for people never seen, and what a reference model, where there is one, continues for both."
    how_to_read = (
        "Distance 0 is the record itself, 1 nothing alike, in codes, order and time. A curve that falls no more than the reference's is "
        "general medicine. The published distance cannot see a shift in time, and routine codes match in everyone; so rare codes are "
        "counted too, and what comes back is given net of templates: runs and order sets that other people never seen hold. How many come back nearly "
        "word for word is a bound from below: it can show memory; that it shows none clears nobody."
    )
    measures = "more of the true record for members than for people never seen"
    memorized = "It gives back more of the records of people it was trained on than of other people's: {figure} ({what}){where}."
    population = (
        "It gives back no more of the records of people it was trained on: largest difference {figure} ({what}){where}."
    )

    def judged(self) -> pd.DataFrame:
        """The comparisons; of those that are bounded from below, where one finds something."""
        rows = super().judged()
        bounded = rows["figure"].str.startswith(PEOPLE_WITHIN)
        return rows[~bounded | (rows["verdict"] == Verdict.MEMORIZED)]

    def compared(self, one: AnyRow) -> str:
        """What is known, and the figure."""
        return ", ".join(filter(None, (knowledge_words(str(one["knowledge"])), self.what(one))))

    def what(self, one: AnyRow) -> str:
        """The figure."""
        return _COMPARED.get(str(one["figure"]).rpartition("_")[0], "")

    def pictures(self) -> list[str]:
        """Distances by what the attacker knows."""
        found = self.found
        lines = {
            "Members, audited model": by_level(found, "timed_distance", group=MEMBER, model="audited"),
            "People never seen, audited model": by_level(found, "timed_distance", group=NON_MEMBER, model="audited"),
            "Members, reference model": by_level(found, "timed_distance", group=MEMBER, model="reference"),
            "Planted canaries, audited model": by_level(found, "timed_distance", group=CANARY, model="audited"),
        }
        curve = knowledge_curve(
            lines,
            list(found.settings.get("knowledge_levels", ())),
            title="Distance of what is generated from what really followed",
            axis="distance (0: the record itself, 1: nothing alike)",
        )
        parts = [picture(curve, "Mean distance with order and time, by what the attacker knows.")]
        cells = []
        columns = {"Members": (MEMBER, "audited"), "People never seen": (NON_MEMBER, "audited")}
        if self.audit.results.get("reference"):
            columns["Members, reference model"] = (MEMBER, "reference")
        for name, words in (
            ("timed_distance", "Distance with order and time"),
            ("demd", "Published distance (dEMD)"),
            ("rare_overlap_1", "Rare codes that come back"),
            ("rare_net_1", "Rare codes that come back, net of templates"),
            ("recited", "Codes that come back in runs of three"),
            ("recited_net", "Codes that come back in runs of three, net of templates"),
            ("template_share", "Of these, the share that is template"),
            ("routine_share", "Share of the match that is routine"),
        ):
            for knowledge in found.settings.get("knowledge_levels", ()):
                of = [by_level(found, name, group=g, model=m).get(knowledge) for g, m in columns.values()]
                if any(of):
                    cells.append([f"{words}, {knows(knowledge)}", *(figure(one, n=False) for one in of)])
        if cells:
            parts.append(
                table(
                    ("Figure", *columns),
                    cells,
                    caption="Means over people, with 95 % intervals",
                )
            )
        cells = [
            [f"{words.capitalize()}, {knows(knowledge)}", *(figure(one) for one in of)]
            for name, words in _EDITS.items()
            for knowledge in found.settings.get("knowledge_levels", ())
            if any(of := [by_level(found, name, group=g, model="audited").get(knowledge) for g in GROUP_NAMES])
        ]
        if cells:
            caption = f"People whose next codes come back at least once in {1 / EXTRACTABLE:,.0f} answers: a bound from below, with 95 % interval and n"
            parts.append(table(("Come back", *GROUP_NAMES.values()), cells, caption=caption))
        return parts

    def costs(self) -> str:
        """What it takes of the people whose next codes come back: a bound, as their share is one."""
        most = queries_needed(EXTRACTABLE, EVEN_CHANCE)
        if most is None or not self.found.figures["figure"].isin(_EDITS).any():
            return ""
        queries = Estimate(most, most, most, 1)
        took = self.audit.means.words(queries)
        return (
            f"<p>For an even chance that the next codes of somebody come back, where they do at least once in {1 / EXTRACTABLE:,.0f} answers: at most "
            f"{questions(queries)}{f', {escape(took)}' if took else ''}.</p>"
        )

    def shared(self, comparison: Comparison) -> Iterable[Shared]:
        """How much nearer than the reference, of members beyond people never seen."""

        def nearer(audit: AuditResults, where: Mapping[str, str]) -> pd.Series:
            reference, audited = (self.values(model=name)(audit, where) for name in ("reference", "audited"))
            found: pd.Series = (reference - audited).dropna()
            return found

        yield from comparison.by_level(
            self.probe.name,
            "nearer to the truth than the reference, members minus non-members",
            {"figure": "timed_distance_gap", "group": f"{MEMBER} - {NON_MEMBER}"},
            lambda knowledge: comparison.gap_of_gaps(nearer, {"figure": "timed_distance", "knowledge": knowledge}),
        )

    @classmethod
    def method_picture(cls, findings: Mapping[str, Finding]) -> str:
        """The distance by what is known."""
        found = findings["reconstruction"]
        lines = {
            words: by_level(found, "timed_distance", group=group, model="audited")
            for group, words in METHOD_GROUPS.items()
        }
        return knowledge_curve(
            lines,
            found.settings["knowledge_levels"],
            title="T1: how far the model's continuations are from what really followed",
            axis="distance: 0 the record itself, 1 nothing alike",
        )
