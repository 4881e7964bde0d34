"""The bound of epsilon as it is shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from ehrmem_widgets.charts.table import figure, table
from ehrmem_widgets.findings.disclosure_control import mean, share
from ehrmem_widgets.findings.finding import AnyRow, Finding, estimate_of
from ehrmem_widgets.probes.one_run.ask import BOUND, CLAIMED, GAUSSIAN, RIGHT
from ehrmem_widgets.probes.view import ProbeView, picture
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.interval_rows import IntervalRow, interval_rows

if TYPE_CHECKING:
    from ehrmem_widgets.audit.comparison import Comparison, Shared


class OneRunView(ProbeView):
    """Which epsilon the guesses prove, and what that says of a claimed one."""

    rules = ((f"{BOUND}|{GAUSSIAN}|{CLAIMED}", mean), (RIGHT, share))
    settings = ("score", "shares", "claimed_epsilon", "claimed_delta")
    asked = (
        "Each canary was put into the training data by a fair coin. How many of these coins can be guessed from the model's answers? "
        "Differential privacy limits that: the smaller epsilon, the closer to half."
    )
    held_against = "Guessing without the model: half of the coins are right. And the epsilon that somebody claims, where the plan names it."
    how_to_read = (
        "The true epsilon is at least the bound (95 % confidence). A low bound is no proof of privacy: a stronger attack, or more canaries, may "
        "prove more. If training added Gaussian noise, as DP-SGD does, the same guesses prove more: the last line. Epsilon 1 is strong privacy, 8 is weak."
    )
    judged_figure = f"{BOUND}|{CLAIMED}"
    memorized = "{what}"
    chance = None
    signed = False
    measures = "epsilon, at least"
    compared_with = "Epsilon"
    no_attack = (
        "It asks the model nothing: it takes the membership scores of the canaries, one scoring of each record by each model. A bound of epsilon is no leak that "
        "comes with a chance of 1 in 2."
    )

    def judged(self) -> pd.DataFrame:
        """The claim, where there is one, and the bound."""
        rows = self.found.figures
        return rows[rows["verdict"] != ""].iloc[::-1]

    def control(self) -> str:
        """Not asked: it is about the planted alone."""
        return ""

    def planted(self, knowledge: str) -> Estimate | None:
        """The bound over all shares of the coins."""
        together = self.found.about("figures", figure=BOUND, attribute="")
        return estimate_of(together.iloc[0]) if len(together) else None

    def compared(self, one: AnyRow) -> str:
        """The claim, or the bound."""
        return "Claimed epsilon" if one["figure"] == CLAIMED else "Lower bound of epsilon"

    def what(self, one: AnyRow) -> str:
        """What was found, as a sentence."""
        note = str(one["note"])
        return f"{note[:1].upper()}{note[1:]}"

    def pictures(self) -> list[str]:
        """The bound from the surest guesses and from all, beside the claim; and how many guesses were right."""
        drawn = _drawn(self.found)
        right = self.found.about("figures", figure=RIGHT).to_dict("records")
        if not drawn or not right:
            return []
        cells = [[_words(one), figure(estimate_of(one))] for one in right]
        return [
            picture(drawn, "Epsilon is at least this; the line goes on without end."),
            table(
                ("Coins guessed", "Right (0.5: guessing)"),
                cells,
                caption="Guesses, with 95 % interval and n (canaries)",
            ),
        ]

    @classmethod
    def method_picture(cls, findings: Mapping[str, Finding]) -> str:
        """The bounds."""
        return _drawn(findings["one_run"])

    def shared(self, comparison: Comparison) -> Iterable[Shared]:
        """The bound, where the data are the same: else the canaries may be other ones. A true epsilon may be far above its bound, so that
        bounds do not tell two models apart."""
        if comparison.same("data"):
            sides = (audit.views[self.probe.name].planted("") for audit in (comparison.a, comparison.b))
            yield from comparison.independent(
                self.probe, "lower bound of epsilon", "All guesses together", *sides, unit="epsilon"
            )


def _drawn(found: Finding) -> str:
    """The bounds as rows, beside the claim; empty where none may be shown."""
    bounds = [
        one
        for name in (BOUND, GAUSSIAN)
        for one in found.about("figures", figure=name).to_dict("records")
        if pd.notna(one["value"])
    ]
    claims = [float(one["value"]) for one in found.about("figures", figure=CLAIMED).to_dict("records")]
    if not bounds:
        return ""
    top = float(math.ceil(1.25 * max(1.0, *(float(one["value"]) for one in bounds), *claims)))
    rows = [
        IntervalRow(_words(one), replace(estimate_of(one), high=math.inf), marked=one["verdict"] != "")
        for one in bounds
    ]
    level = (claims[0], "claimed") if claims else (0.0, "nothing proved")
    return interval_rows(rows, title="Lower bound of epsilon, by the coins guessed", ends=(0.0, top), level=level)


def _words(one: AnyRow) -> str:
    if one["figure"] == GAUSSIAN:
        return "if noise is Gaussian"
    return f"the surest {one['attribute']}" if one["attribute"] else "all together"
