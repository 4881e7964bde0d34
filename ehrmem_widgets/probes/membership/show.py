"""T4 as it is shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.charts.markup import known
from ehrmem_widgets.charts.table import figure, table
from ehrmem_widgets.findings.disclosure_control import Figures, mean, of_whole_groups
from ehrmem_widgets.findings.finding import AnyRow, Finding, FindingRow, estimate_of
from ehrmem_widgets.probes.membership.parts import membership_parts
from ehrmem_widgets.probes.membership.roc import roc_curve
from ehrmem_widgets.probes.membership.scores import SCORES, headline
from ehrmem_widgets.probes.membership.slices import MembershipSlices, Part
from ehrmem_widgets.probes.people import ALL, MEMBER, NON_MEMBER
from ehrmem_widgets.probes.view import Frequency, ProbeView, picture
from ehrmem_widgets.statistics.disclosure import FEWEST, as_shown, coarse_share, rounded_n
from ehrmem_widgets.statistics.discrimination import NOTHING, auroc_difference, controls_needed
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.views.interval_rows import IntervalRow, interval_rows

if TYPE_CHECKING:
    from ehrmem_widgets.audit.comparison import Comparison, Shared

NEARLY_ALL = 0.99  # of pairs, with the whole interval
PLACES = ("auroc_by_kind", "auroc_by_quarter")


def found_members(one: FindingRow, figures: Figures) -> Estimate:
    """The share of members that an attack finds; its interval holds the uncertainty of the threshold, and stays as wide, in tenths. Without bounds
    where more people never seen were needed; ``NOTHING`` where it is withheld."""
    members, others = (figures.people.get(group, 0) for group in (MEMBER, NON_MEMBER))
    if min(members, others) < FEWEST:
        return NOTHING
    if not math.isfinite(one["value"]):
        return replace(NOTHING, n=rounded_n(members + others))
    share = coarse_share(Estimate(round(float(one["value"]) * members) / members, 0.0, 1.0, members))
    low, high = math.floor(10 * one["low"]) / 10, math.ceil(10 * one["high"]) / 10
    return Estimate(share.value, min(low, share.low), max(high, share.high), rounded_n(int(one["n"])))


def called_members(one: FindingRow, figures: Figures) -> Estimate:
    """P(member | called one) follows from the share found: where that is withheld, so is this, but for its tenths."""
    found = found_members({**one, "value": figures.at(one, "tpr_at_fpr_0.01")[1], "low": 0.0, "high": 1.0}, figures)
    if not math.isfinite(found.low):
        return found
    n = rounded_n(int(one["n"]))
    low, high = math.floor(10 * one["low"]) / 10, math.ceil(10 * one["high"]) / 10
    return Estimate(round(float(one["value"]), 1) if math.isfinite(found.value) else math.nan, low, high, n)


class MembershipView(ProbeView):
    """Scores, what is found at few false alarms, and which parts of a record give membership away."""

    rules = (
        ("auroc", of_whole_groups),
        (r"tpr_at_fpr_.*", found_members),
        (r"ppv_at_prior_.*", called_members),
        ("|".join(PLACES), mean),
    )
    settings = ("priors", "k")
    judged_figure = "auroc"
    chance = 0.5
    signed = False
    attack = ((1, Query.SCORES, "of the whole record"),)
    asked = (
        "An attacker holds somebody's whole record and asks the model how likely it is. Records that the model was trained on tend to be "
        'likelier than others; a score above a threshold means "was in the training data".'
    )
    held_against = (
        "People whom neither model saw: by chance the right one of two is named in half of all pairs. The same score from the reference "
        "model must not tell them apart either."
    )
    how_to_read = (
        "AUROC: how often the right one of a member and a person never seen gets the higher score; 0.5 is guessing, 1 is always. An average "
        "says little about the few who stand out most, so that the share of members found at 1 % and 0.1 % false alarms stands beside it. "
        "How far somebody who is called a member can be taken for one depends on how many of those asked about are members at all."
    )
    memorized = "Someone with the full record could tell whether the person was trained on: right in {figure} of pairs (0.5: guessing)."
    population = "Who was trained on cannot be told by this: right in {figure} of pairs (0.5: guessing)."

    measures = "of pairs of a member and a person never seen told apart (0.5: guessing)"

    def everybody(self) -> str:
        """Where hardly a pair is missed."""
        rows = self.judged()
        all_ = (rows["low"] >= NEARLY_ALL) & (rows["verdict"] == Verdict.MEMORIZED)
        return (
            "With the full record, nearly everybody it was trained on can be told from people it never saw."
            if all_.any()
            else ""
        )

    def frequencies(self) -> Iterable[Frequency]:
        """Pairs that are told apart."""
        line = self.headline()
        if line.verdict and line.figure is not None:
            yield Frequency("pairs", line.figure, line.verdict)

    def compared(self, one: AnyRow) -> str:
        """The score."""
        return f"AUROC of {one['attribute']}"

    def pictures(self) -> list[str]:
        """All scores, the shares found, the parts of the record."""
        found, rows = self.found, []
        for group, heading in (
            ("all", "Members against people never seen"),
            ("canaries", "Planted canaries, trained on against never trained on"),
        ):
            for one in found.about("figures", figure="auroc", group=group).to_dict("records"):
                by = ", by the reference model (negative control)" if one["model"] == "reference" else ""
                words = f"{one['attribute']}{by}"
                rows.append(IntervalRow(words, estimate_of(one), heading=heading, marked=bool(one["verdict"])))
        parts = [
            picture(
                interval_rows(rows, title="AUROC of each score", ends=(0.0, 1.0), level=(0.5, "guessing")),
                "How well each score tells members from people never seen. The diamond is the score declared beforehand.",
            )
        ]
        parts += self._at_few_alarms()
        places = found.figures[found.figures["figure"].isin(PLACES)].sort_values("figure", kind="stable")
        shown = [
            Part(one["attribute"], one["figure"] == PLACES[1], estimate_of(one), float(one["p_adjusted"]))
            for one in places.to_dict("records")
            if known(estimate_of(one))
        ]
        if shown:
            drawn = membership_parts(shown, "the score")
            parts.append(picture(drawn, "Which part of the record gives membership away, each part by itself."))
        return parts

    def _at_few_alarms(self) -> list[str]:
        found = self.found
        rates = {
            name: found.about("figures", figure=name, group="all").set_index("attribute")
            for name in found.figures["figure"].unique()
            if name.startswith(("tpr_", "ppv_"))
        }
        cells = [
            [
                score,
                *(
                    _at_rate(name, estimate_of(of.loc[score])) if score in of.index else ""
                    for name, of in rates.items()
                ),
            ]
            for score in SCORES
            if any(score in of.index for of in rates.values())
        ]
        if not cells:
            return []
        caption = (
            "At few false alarms, with 95 % intervals. What is found at 1 % is shown from "
            f"{controls_needed(0.01):,} people never seen on, at 0.1 % from {controls_needed(0.001):,}"
        )
        return [table(["Score", *(_rate_words(name) for name in rates)], cells, caption=caption)]

    def shared(self, comparison: Comparison) -> Iterable[Shared]:
        """The AUROC of each score that both audits have."""
        name = self.probe.name
        for score in comparison.both(name, "attribute", figure="auroc", group=ALL):
            where = {"figure": "auroc", "group": ALL, "attribute": score}
            yield from comparison.shared(name, "AUROC of a score", score, where, self._gap(comparison, score))

    def _gap(self, comparison: Comparison, score: str) -> Estimate | None:
        """The difference of two AUROCs over the same members and the same others."""
        parts = []
        for group in (MEMBER, NON_MEMBER):
            where = {"figure": "score", "attribute": score, "group": group}
            both = comparison.same_people(self.values(), where)
            if both is None:
                return None
            parts.append(both)
        (a_in, b_in), (a_out, b_out) = parts
        return as_shown(auroc_difference(b_in, b_out, a_in, a_out))

    @classmethod
    def method_picture(cls, findings: Mapping[str, Finding]) -> str:
        """The ROC curve of the declared score."""
        found = findings["membership"]
        slices = MembershipSlices(found, findings.get("confounding"))
        score = headline(found.patients["attribute"])
        at = slices.at(score=score, group="ordinary", fpr=0.02, prior=0.01)
        scores = next((one for one in at.scores if one.name == at.score), None)
        return roc_curve(at.roc, scores, at.fpr, log_scale=True)


def _at_rate(name: str, shown: Estimate) -> str:
    if not shown.n or math.isfinite(shown.low):
        return figure(shown, n=False)
    rate = float(name.rpartition("_")[2]) if name.startswith("tpr") else 0.01
    return f"not known: needs {controls_needed(rate):,} people never seen"


def _rate_words(name: str) -> str:
    kind, _, value = name.rpartition("_")
    share = f"{100 * float(value):g} %"
    found = f"Members found at {share} false alarms"
    return found if kind.startswith("tpr") else f"Called a member and is one, if {share} are"
