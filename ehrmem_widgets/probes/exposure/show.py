"""Exposure as it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.charts.markup import known
from ehrmem_widgets.charts.table import figure, table
from ehrmem_widgets.findings.disclosure_control import (
    Figures,
    mean,
    only_if,
    share,
)
from ehrmem_widgets.findings.finding import AnyRow, Finding, FindingRow, estimate_of
from ehrmem_widgets.probes.exposure.ask import expected_by_chance
from ehrmem_widgets.probes.people import CANARY, NULL_CANARY
from ehrmem_widgets.probes.view import METHOD_GROUPS, ProbeView, group_words
from ehrmem_widgets.statistics.disclosure import (
    FEWEST,
)
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.attack_cost import questions
from ehrmem_widgets.views.interval_rows import IntervalRow, interval_rows

if TYPE_CHECKING:
    from ehrmem_widgets.audit.comparison import Comparison, Shared


def of_canaries(one: FindingRow, figures: Figures) -> Estimate:
    """A comparison of two groups of canaries."""
    sides = (one["group"], NULL_CANARY)
    return only_if(all(figures.at(one, "mean_exposure", group=side, attribute="")[0] >= FEWEST for side in sides), one)


def _method_words(group: str) -> str:
    """A group of canaries in words that fit on the methods page's picture."""
    times = group.removeprefix(f"{CANARY} x")
    return METHOD_GROUPS[NULL_CANARY] if group == NULL_CANARY else f"canaries, trained on {times} times"


class ExposureView(ProbeView):
    """How far planted canaries are preferred to what could have been planted."""

    rules = (("mean_exposure|median_queries_.*", mean), ("greedy_extracted", share), ("auroc_exposure", of_canaries))
    settings = ("alternatives",)
    asked = (
        "Canaries are made-up patients that were planted in the training data. Does the model prefer what was planted to other values that "
        "could have been planted in its place?"
    )
    held_against = "The same canaries by the reference model, and canaries that were never trained on: about 1.4 bits is what chance gives."
    how_to_read = (
        "Exposure in bits: each bit more halves the number of values that the model prefers to the true ones. It says how well planted values "
        "are remembered, by how often they were trained on; ordinary patients differ from canaries. How many "
        "canaries come back nearly word for word is in the section on reconstruction (T1)."
    )
    measures = "of pairs of a planted and a never planted canary told apart (0.5: guessing)"
    memorized = (
        "It prefers what was planted to what could have been planted: right in {figure} of pairs (0.5: guessing)."
    )
    chance = 0.5
    signed = False
    compared_with = "Canaries trained on against those never trained on"

    def asked_of_one(self) -> Sequence[tuple[int, Query, str]]:
        """The planted values and the others are scored."""
        number = 1 + int(self.found.settings.get("alternatives", 0))
        return (
            ((number, Query.SCORES, "of what was planted and of what could have been planted instead"),)
            if number > 1
            else ()
        )

    def judged(self) -> pd.DataFrame:
        """The canaries trained on most often against those never trained on."""
        rows = self.found.figures
        return rows[(rows["verdict"] != "") & (rows["figure"] == "auroc_exposure")]

    def control(self) -> str:
        """Not asked: it is about the planted alone."""
        return ""

    def compared(self, one: AnyRow) -> str:
        """The group."""
        return group_words(str(one["group"]))

    def pictures(self) -> list[str]:
        """Mean exposure by group and model."""
        rows = self.found.about("figures", figure="mean_exposure").to_dict("records")
        cells = [[group_words(one["group"]), f"{one['model']} model", figure(estimate_of(one))] for one in rows]
        caption = "Exposure of planted canaries; about 1.4 bits is what chance gives"
        tables = [table(("Canaries", "Asked", "Mean exposure, bits"), cells, caption=caption)] if cells else []
        return tables + self._extraction()

    def _extraction(self) -> list[str]:
        """What it takes to have the model say a canary's values, word for word."""
        greedy = {
            (one["group"], one["model"]): one
            for one in self.found.about("figures", figure="greedy_extracted").to_dict("records")
        }
        cells = [
            [
                group_words(one["group"]),
                f"{one['model']} model",
                questions(needed, n=f"{needed.n:,}") if known(needed := estimate_of(one)) else figure(needed),
                figure(estimate_of(of)) if (of := greedy.get((one["group"], one["model"]))) else "not asked",
            ]
            for one in self.found.about("figures", figure="median_queries_0.5").to_dict("records")
        ]
        heads = (
            "Canaries",
            "Asked",
            "Answers until it comes out with a chance of 1 in 2 (median)",
            "Given away by the likeliest answer",
        )
        return [table(heads, cells, caption="Extraction of the planted values, word for word")] if cells else []

    def shared(self, comparison: Comparison) -> Iterable[Shared]:
        """The mean exposure of each group trained on, where the data are the same: else the canaries may be other ones."""
        if not comparison.same("data"):
            return
        for group in comparison.both(self.probe.name, "group", figure="mean_exposure", model="audited"):
            if group != NULL_CANARY:
                where = {"group": group, "model": "audited"}
                paired = comparison.mean_gap(self.values(), {"figure": "exposure", **where}, unit="bits")
                where = {"figure": "mean_exposure", **where}
                yield from comparison.shared(
                    self.probe.name, "mean exposure, bits", group_words(group), where, paired, unit="bits"
                )

    @classmethod
    def method_picture(cls, findings: Mapping[str, Finding]) -> str:
        """Exposure in both models."""
        found = findings["exposure"]
        rows = [
            IntervalRow(
                _method_words(str(one["group"])),
                estimate_of(one),
                heading,
                one["group"] != NULL_CANARY and model == "audited",
            )
            for model, heading in (
                ("audited", "In the audited model"),
                ("reference", "In the reference model, which saw none of them"),
            )
            for one in found.about("figures", figure="mean_exposure", model=model).to_dict("records")
        ]
        chance = expected_by_chance(255)
        return interval_rows(
            rows,
            title="Mean exposure of planted canaries, in bits (8: always the first of 256)",
            ends=(0, 8),
            level=(chance, "chance"),
        )
