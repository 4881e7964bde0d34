"""Confounding as it is shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from ehrmem_widgets.charts.markup import known
from ehrmem_widgets.charts.table import figure, inline, items
from ehrmem_widgets.findings.disclosure_control import (
    hidden,
    mean,
    not_of_people,
    of_whole_groups,
    share,
)
from ehrmem_widgets.findings.finding import Finding, estimate_of
from ehrmem_widgets.probes.membership.scores import LOSS, OF_BOTH, headline
from ehrmem_widgets.probes.people import NON_MEMBER
from ehrmem_widgets.probes.view import Headline, ProbeView, first_estimate, p_words, picture
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.views.interval_rows import IntervalRow, interval_rows

if TYPE_CHECKING:
    from ehrmem_widgets.audit.comparison import Comparison, Shared


class ConfoundingView(ProbeView):
    """Are members and people never seen alike?"""

    rules = (
        ("model_free_auroc|difference_.*", of_whole_groups),
        ("association_site", mean),
        ("codes_that_differ", not_of_people),
        ("duplicates|near_duplicates", share),
        ("near_duplicates_across", hidden),  # with the verdict it would tell a small count
    )
    no_verdict = "no difference found"
    asked = (
        "Before any verdict: are members and non-members alike? If they can be told apart without asking the model, by their era, their "
        "length or their codes, a difference between them need not come from memory."
    )
    held_against = "An AUROC of 0.5: no classifier can do better than guessing. Differences between the groups: 0."
    how_to_read = (
        "Standardised differences: 0 is none, 0.2 small, 0.8 large. Where this test finds a difference, verdicts that compare the two "
        'groups become "cannot conclude".'
    )

    def headline(self) -> Headline:
        """Whether they can be told apart without the model."""
        rows = self.found.about("figures", figure="model_free_auroc", group="all")
        if not len(rows) or not known(one := estimate_of(rows.iloc[0])):
            return Headline(
                Verdict.CANNOT_CONCLUDE,
                "Whether members and non-members are alike could not be checked: there are too few of them.",
            )
        if rows.iloc[0]["verdict"]:
            return Headline(
                Verdict.CANNOT_CONCLUDE,
                f"Members and non-members differ before any model is asked (AUROC {inline(one)}), so that a difference "
                "between them need not come from the model.",
            )
        if (self.found.about("figures", figure="near_duplicates_across")["verdict"] != "").any():
            return Headline(
                Verdict.CANNOT_CONCLUDE,
                "Too many people have a near-duplicate on the other side of the split, so that a difference between members and "
                "non-members says little.",
            )
        return Headline(
            None,
            f"No difference between members and non-members was shown without the model (AUROC {inline(one)}, 0.5: guessing).",
        )

    def judged(self) -> pd.DataFrame:
        """None: it says whether others may be judged."""
        return self.found.figures.iloc[:0]

    def shared(self, comparison: Comparison) -> Iterable[Shared]:
        """Nothing: it is not a figure of the model."""
        return ()

    def pictures(self) -> list[str]:
        """How the two groups differ."""
        found = self.found
        rows = []
        words = {
            "difference_length": "Length of the record",
            "difference_era": "Year of the first event",
            "difference_age": "Age",
            "difference_female": "Sex",
        }
        for name, trait in words.items():
            for one in found.about("figures", figure=name, group="all").to_dict("records"):
                rows.append(IntervalRow(trait, estimate_of(one), marked=one["p_adjusted"] <= 0.05))
        said = []
        for one in found.about("figures", figure="model_free_auroc", group="all").to_dict("records"):
            said.append(
                f"Members told from people never seen without the model: AUROC {inline(estimate_of(one))}, permutation p "
                f"{p_words(one['p_adjusted'])}; 0.5 is guessing."
            )
        for one in found.about("figures", figure="codes_that_differ", group="all").to_dict("records"):
            said.append(
                f"{one['value']:.0f} of {int(one['n']):,} codes are used differently by the two groups "
                "(Benjamini-Hochberg at 5 %)."
            )
        for name, kind in (
            ("duplicates", "the very same codes"),
            ("near_duplicates", "at least 90 % of the codes in common"),
        ):
            for one in found.about("figures", figure=name).to_dict("records"):
                whom = "people never seen" if one["group"].endswith(NON_MEMBER) else "the reference model's patients"
                said.append(f"Share of {whom} whose record has {kind} as one of a member: {figure(estimate_of(one))}.")
        parts = [items(said)] if said else []
        if rows:
            reach = max(
                1.0, *(abs(end) for one in rows for end in (one.estimate.low, one.estimate.high) if math.isfinite(end))
            )
            ends = (-math.ceil(reach), math.ceil(reach))
            parts.insert(
                0,
                picture(
                    interval_rows(
                        rows,
                        title="Members minus people never seen, in standard deviations",
                        ends=ends,
                        level=(0.0, "alike"),
                        signed=True,
                    ),
                    "Standardised differences. Diamonds: beyond chance, corrected (Holm).",
                ),
            )
        return parts

    @classmethod
    def method_picture(cls, findings: Mapping[str, Finding]) -> str:
        """Whether the groups can be told apart."""
        found = findings["confounding"]
        heading = "Without asking any model"
        rows = [
            IntervalRow(words, first_estimate(found, "model_free_auroc", group=group), heading)
            for group, words in (
                ("all", "members against non-members"),
                ("canaries", "canaries trained on against never trained on"),
            )
        ]
        if scored := findings.get("membership"):
            heading = "For comparison: members against non-members by T4"
            score = headline(scored.figures["attribute"])
            model = "" if score in OF_BOTH else "audited"
            asked = {"group": "all"}
            rows += [
                IntervalRow(
                    f"the reference model ({LOSS})",
                    first_estimate(scored, "auroc", attribute=LOSS, model="reference", **asked),
                    heading,
                ),
                IntervalRow(
                    f"the audited model ({score})",
                    first_estimate(scored, "auroc", attribute=score, model=model, **asked),
                    heading,
                    True,
                ),
            ]
        return interval_rows(
            [row for row in rows if row.estimate.n],
            title="Can the two groups be told apart before the model is asked? (AUROC)",
            ends=(0, 1),
            level=(0.5, "coin toss"),
        )
