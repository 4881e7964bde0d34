"""T2 as it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from ehrmem_widgets.attacker.facts import knowledge_words, knows
from ehrmem_widgets.charts.markup import known
from ehrmem_widgets.charts.table import figure, table
from ehrmem_widgets.findings.disclosure_control import (
    Figures,
    between_means,
    mean,
    only_if,
    share,
)
from ehrmem_widgets.findings.finding import PATIENTS, Finding, FindingRow, estimate_of
from ehrmem_widgets.probes.attribute.ask import ALL as ALL_ATTRIBUTES
from ehrmem_widgets.probes.attribute.ask import (
    EXCESS_GAP,
    EXCESS_RISK,
    FEWEST_HOLDERS,
    LARGEST_EXCESS,
    LARGEST_LEAK,
    LEAK_DIFFERENCE,
    LEAK_RISK,
)
from ehrmem_widgets.probes.people import ALL, CANARY, MEMBER, NON_MEMBER, NULL_CANARY
from ehrmem_widgets.probes.view import GROUP_NAMES, METHOD_GROUPS, Exposures, Frequency, ProbeView, picture
from ehrmem_widgets.statistics.attack_cost import median_for_even_chance
from ehrmem_widgets.statistics.disclosure import (
    FEWEST,
    as_shown,
    coarse_share,
)
from ehrmem_widgets.statistics.discrimination import NOTHING, mean_with_interval
from ehrmem_widgets.statistics.intervals import Estimate, proportion
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.views.interval_rows import IntervalRow, interval_rows
from ehrmem_widgets.views.knowledge_curve import by_level, knowledge_curve
from ehrmem_widgets.views.risk_matrix import NO_CODE, Likelihood

if TYPE_CHECKING:
    from ehrmem_widgets.audit.comparison import Comparison, Shared


def of_holders(one: FindingRow, figures: Figures) -> Estimate:
    """A figure that tells holders of an attribute from others; the mean over all attributes only where no single one that is
    withheld would follow from it."""
    if one["attribute"] != ALL_ATTRIBUTES:
        return only_if(min(figures.holders(one, one["attribute"])) >= FEWEST, one)
    smallest = [min(figures.holders(one, name)) for name in figures.attributes]
    used = [n for n in smallest if n >= FEWEST_HOLDERS]
    return only_if(bool(used) and max(used) >= FEWEST and sum(n < FEWEST for n in used) != 1, one)


def share_of_holders(one: FindingRow, figures: Figures) -> Estimate:
    """A share of those who hold an attribute."""
    return share(one, figures) if min(figures.holders(one, one["attribute"])) >= FEWEST else NOTHING


_LIKELIEST = """SELECT knowledge, "group", max(value) AS leak FROM rows
    WHERE figure = 'leak' AND model = 'audited' AND "group" IN (?, ?) AND NOT drawn GROUP BY knowledge, "group", patient"""


class AttributeView(ProbeView):
    """Excess risk by attribute and by what the attacker knows."""

    rules = (
        ("prevalence", share),
        ("auroc|average_precision|auroc_gain", of_holders),
        ("recall|precision", share_of_holders),
        (f"{EXCESS_RISK}|{LEAK_RISK}", mean),
        (EXCESS_GAP, between_means(EXCESS_GAP, EXCESS_RISK)),
        (LEAK_DIFFERENCE, between_means(LEAK_DIFFERENCE, LEAK_RISK)),
    )
    judged_figure = f"{EXCESS_GAP}|{LEAK_DIFFERENCE}"
    asked = (
        "An attacker knows some facts about a person, and asks what comes next. How likely is it that the model names a sensitive "
        "attribute of that person? Codes of the attribute and strong hints at it were taken out of what is known."
    )
    held_against = (
        "The same question to a reference model that never saw these people (the excess is what is left), and the same excess among "
        "people whom neither model saw. Its null is no difference between the two groups. Without a reference model the leak itself is held "
        "against that of people never seen; a patient's, against that of those who hold the attribute, too."
    )
    how_to_read = (
        "Excess risk: how much likelier the model names an attribute that the person has than the reference does, the largest over what a"
        " person holds; 0 is no more than anybody could know. Without a reference model the leak itself stands for it, of which a part is "
        "what anybody could know: then only the difference to people never seen says something of memory. A mean near 0 can hide a few people with a large excess: read the share "
        "called memorized beside it."
    )
    measures = "higher leak probability for members than for people never seen"
    memorized = "It names sensitive attributes of people it was trained on more than of people it never saw: by {figure}{where}."
    population = "It names sensitive attributes of people it was trained on no more than of others: largest difference {figure}{where}."

    def pictures(self) -> list[str]:
        """Excess risk, the attributes one by one, and whether the model says them of those who have them."""
        audit, found = self.audit, self.found
        knowledge_levels = list(found.settings.get("knowledge_levels", ()))
        groups = [
            group
            for group in (MEMBER, NON_MEMBER, CANARY, NULL_CANARY)
            if len(found.about("figures", figure=self._risk, group=group))
        ]
        rows = [
            IntervalRow(GROUP_NAMES[group], one, heading=knowledge_words(knowledge), marked=group == MEMBER)
            for knowledge in knowledge_levels
            for group in groups
            if (one := by_level(found, self._risk, group=group).get(knowledge)) is not None
        ]
        parts = []
        if rows:
            parts.append(
                picture(
                    interval_rows(
                        rows,
                        title=f"Mean {self._measured} of those who hold a sensitive attribute, by what the attacker knows",
                        ends=(-1.0, 1.0) if self._beyond else (0.0, 1.0),
                        level=(0.0, "no more than the reference" if self._beyond else "never named"),
                        signed=self._beyond,
                    ),
                    f"{self._measured.capitalize()}: the largest over the attributes that a person holds. Diamonds: members.",
                )
            )
        if self.likelihoods():
            cells = []
            for likely in self.likelihoods():
                if likely.knowledge == self.worst_level:
                    cells.append(
                        [
                            likely.title,
                            figure(likely.excess) if likely.excess else likely.why,
                            figure(likely.never_seen) if likely.why != NO_CODE else "—",
                            _share_in_words(likely),
                        ]
                    )
            heads = (
                "Attribute",
                f"Mean {self._measured}, members who hold it",
                "The same, people never seen",
                "Share of these members called memorized",
            )
            parts.append(
                table(heads, cells, caption=f"By attribute, where the attacker knows {knows(self.worst_level)}")
            )
            if audit.holders:
                parts.append(
                    f"<p>Where fewer than {audit.holders} of the members asked about hold an attribute, more of those who do were drawn at "
                    "random, likewise of people never seen. They count in the figures by attribute and in no other.</p>"
                )
            several = [one for one in self.likelihoods() if one.excess is not None]
            names = list(dict.fromkeys(one.title for one in several))
            if len(knowledge_levels) > 1 and names:
                at = {(one.title, one.knowledge): one.excess for one in several}
                cells = [
                    [name, *(figure(at.get((name, knowledge)), n=False) for knowledge in knowledge_levels)]
                    for name in names
                ]
                parts.append(
                    table(
                        [f"Mean {self._measured}, members", *map(knowledge_words, knowledge_levels)],
                        cells,
                        caption="By attribute and what the attacker knows",
                    )
                )
        lines = {
            "Members, audited model": by_level(found, "auroc", group=MEMBER, attribute=ALL_ATTRIBUTES, model="audited"),
            "People never seen, audited model": by_level(
                found, "auroc", group=NON_MEMBER, attribute=ALL_ATTRIBUTES, model="audited"
            ),
            "Members, reference model": by_level(
                found, "auroc", group=MEMBER, attribute=ALL_ATTRIBUTES, model="reference"
            ),
        }
        if any(known(e) for line in lines.values() for e in line.values()):
            curve = knowledge_curve(
                lines,
                knowledge_levels,
                title="Does it say an attribute of those who have it, rather than of others?",
                axis="mean AUROC over the attributes",
                level=(0.5, "guessing"),
            )
            parts.append(
                picture(
                    curve,
                    "AUROC of the leak probability against what the records hold. Where the first line stands above the "
                    "second by more than the intervals explain, that is memory; the height of both is medicine.",
                )
            )
        return parts

    def costs(self) -> str:
        """Questions for an even chance, by what the attacker knows, of members and of people never seen."""
        rows = self.audit.query(self.probe.name, PATIENTS, _LIKELIEST, [MEMBER, NON_MEMBER])
        leaks = {key: of["leak"] for key, of in rows.groupby(["knowledge", "group"])}
        needed = {
            knowledge: [median_for_even_chance(leaks.get((knowledge, g), ())) for g in (MEMBER, NON_MEMBER)]
            for knowledge in self.knowledge_levels
        }
        caption = "For an even chance of learning an attribute that a person has, the one named most often: median over people"
        return self.even_chances(needed, caption, ("person", "people"))

    @cached_property
    def _likelihoods(self) -> tuple[Likelihood, ...]:
        settings = self.found.settings
        rows = self.audit.query(
            self.probe.name,
            PATIENTS,
            """SELECT knowledge, attribute, "group", value, verdict = ? AS memorized, reason = 'too_few' AS too_few
            FROM rows WHERE figure = ? AND "group" IN (?, ?)""",
            [str(Verdict.MEMORIZED), "excess" if self._beyond else "leak", MEMBER, NON_MEMBER],
        )
        by = dict(list(rows.groupby(["knowledge", "attribute", "group"])))
        return tuple(
            one
            for knowledge in self.knowledge_levels
            for one in (
                *(self._likelihood(by, name, knowledge) for name in settings.get("attributes") or ()),
                *(
                    Likelihood(name, self.audit.title(name), knowledge, None, why=NO_CODE)
                    for name in self._without_code
                ),
            )
        )

    def likelihoods(self) -> tuple[Likelihood, ...]:
        """Every attribute at every knowledge level: its mean excess over the members who hold it, and over people never seen."""
        return self._likelihoods

    @property
    def _beyond(self) -> bool:
        """Whether there is a reference model, and so an excess beyond it."""
        return bool(self.audit.results.get("reference"))

    @property
    def _risk(self) -> str:
        return EXCESS_RISK if self._beyond else LEAK_RISK

    @property
    def _measured(self) -> str:
        return "excess risk" if self._beyond else "leak probability"

    @property
    def _without_code(self) -> tuple[str, ...]:
        """Attributes that could not be asked about: the model has no code of them."""
        return tuple(self.found.settings.get("without_code") or ())

    def _likelihood(self, by: Mapping[tuple[str, str, str], pd.DataFrame], name: str, knowledge: str) -> Likelihood:
        member, other = by.get((knowledge, name, MEMBER)), by.get((knowledge, name, NON_MEMBER))
        excess = _mean(member)
        why = ""
        if excess is None:
            why = "no member asked about holds it" if member is None else f"fewer than {FEWEST} members hold it"
        shares, judged = None, None if member is None else member[~member["too_few"]]
        if judged is not None and len(judged):
            shares = coarse_share(proportion(int(judged["memorized"].sum()), len(judged)))
        return Likelihood(name, self.audit.title(name), knowledge, excess, _mean(other), shares, why)

    @cached_property
    def worst_level(self) -> str:
        """The knowledge level at which members' mean excess (leak) is largest; the first where it was not measured."""
        rows = self.found.about("figures", figure=self._risk, group=MEMBER)
        rows = rows[rows["value"].notna()]
        return (
            str(rows.loc[rows["value"].idxmax(), "knowledge"]) if len(rows) else next(iter(self.knowledge_levels), "")
        )

    def frequencies(self) -> Iterable[Frequency]:
        """The share of members called memorized, of the most severe attribute of which it may be shown."""
        verdict, severity = self.headline().verdict, self.audit.severities[-1].severity
        shares = [one for one in self.likelihoods() if one.knowledge == self.worst_level and known(one.memorized)]
        if verdict and shares:
            worst = max(shares, key=lambda one: severity.get(one.attribute, 0))
            assert worst.memorized is not None
            yield Frequency("remembered", worst.memorized, verdict, title=worst.title, knowledge=worst.knowledge)

    def exposures(self) -> Exposures:
        """The attribute and the knowledge level at which most is given away of each person; who was drawn as a holder is left out, having been
        asked about some attributes alone."""
        worst = self.audit.query(
            self.probe.name,
            PATIENTS,
            """SELECT patient, "group", attribute, knowledge AS facts, 'nan'::DOUBLE AS k, value AS exposed, value, low, high, n
            FROM rows WHERE figure = ? AND model = ? AND NOT drawn AND isfinite(value)
            QUALIFY row_number() OVER (PARTITION BY patient ORDER BY value DESC, knowledge, attribute) = 1 ORDER BY value DESC, patient""",
            ["excess", ""] if self._beyond else ["leak", "audited"],
        )
        worst["facts"] = worst["facts"].map(knowledge_words)
        return Exposures(self._measured, worst, worst["group"].value_counts().to_dict())

    def over_all_attributes(self, knowledge: str) -> Estimate | None:
        """Of each member the largest excess (leak)."""
        rows = self.found.about("figures", figure=self._risk, group=MEMBER, knowledge=knowledge)
        return estimate_of(rows.iloc[0]) if len(rows) else None

    def asked_besides(self) -> str:
        """Holders of rare attributes."""
        return f"by {self.probe.test} also more of those who hold a rare attribute" if self.audit.holders else ""

    def not_asked(self) -> str:
        """Attributes without a code."""
        if not self._without_code:
            return ""
        titles = "; ".join(map(self.audit.title, self._without_code))
        return f"{self.probe.test} and the ranking did not ask about these, as {NO_CODE.removesuffix(' of it')} of them: {titles}."

    def shared(self, comparison: Comparison) -> Iterable[Shared]:
        """Excess risk of members, of canaries, and of members beyond people never seen."""
        risk, largest, gap = (
            (EXCESS_RISK, LARGEST_EXCESS, EXCESS_GAP) if self._beyond else (LEAK_RISK, LARGEST_LEAK, LEAK_DIFFERENCE)
        )
        for group, words in ((MEMBER, "members"), (CANARY, "planted canaries")):
            heading = f"{self._measured} of {words}{', beyond the reference' if self._beyond else ''}"

            def paired(knowledge: str, group: str = group) -> Estimate | None:
                return comparison.mean_gap(self.values(), {"figure": largest, "knowledge": knowledge, "group": group})

            yield from comparison.by_level(self.probe.name, heading, {"figure": risk, "group": group}, paired)
        yield from comparison.by_level(
            self.probe.name,
            f"{self._measured}, members minus non-members",
            {"figure": gap, "group": ALL},
            lambda knowledge: comparison.gap_of_gaps(self.values(), {"figure": largest, "knowledge": knowledge}),
        )

    def attribute_gap(self, comparison: Comparison, attribute: str, knowledge: str) -> Estimate | None:
        """The members who hold it, each compared with themselves."""
        figure = "excess" if self._beyond else "leak"
        where = {"figure": figure, "knowledge": knowledge, "group": MEMBER, "attribute": attribute}
        return comparison.mean_gap(self.values(), where)

    @classmethod
    def method_picture(cls, findings: Mapping[str, Finding]) -> str:
        """Whether it says an attribute of those who have it."""
        found = findings["attribute"]
        of = {"attribute": ALL_ATTRIBUTES, "figure": "auroc"}
        lines = {words: by_level(found, group=group, model="audited", **of) for group, words in METHOD_GROUPS.items()}
        lines["members, by the reference model"] = by_level(found, group=MEMBER, model="reference", **of)
        return knowledge_curve(
            lines,
            found.settings["knowledge_levels"],
            title="T2: do the model's answers tell those who hold a sensitive attribute from those who do not?",
            axis="AUROC: 1 always right, 0.5 no better than a coin",
            level=(0.5, "coin toss"),
        )


def _share_in_words(likely: Likelihood) -> str:
    """The share of members called memorized, or why there is none."""
    if likely.memorized is None and likely.why != NO_CODE and likely.excess is not None:
        return "too few people never seen to judge by"
    return "—" if likely.why == NO_CODE else figure(likely.memorized)


def _mean(rows: pd.DataFrame | None) -> Estimate | None:
    if rows is None or len(rows) < FEWEST:
        return None
    return as_shown(mean_with_interval(rows["value"].to_numpy(float), bounds=(-1.0, 1.0)))
