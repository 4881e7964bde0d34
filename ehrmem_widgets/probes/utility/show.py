"""Utility as it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from ehrmem_widgets.charts.markup import escape, known
from ehrmem_widgets.charts.table import figure, inline, table
from ehrmem_widgets.findings.disclosure_control import mean
from ehrmem_widgets.findings.finding import EXCLUDED, Finding
from ehrmem_widgets.probes.people import NON_MEMBER
from ehrmem_widgets.probes.utility.figures import IMPOSSIBLE, LOSS, RECALL, TOP, part_of
from ehrmem_widgets.probes.view import METHOD_GROUPS, Headline, ProbeView, first_estimate
from ehrmem_widgets.statistics.disclosure import WITHHELD, in_tens
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.interval_rows import IntervalRow, interval_rows

if TYPE_CHECKING:
    from ehrmem_widgets.audit.comparison import Comparison, Shared

_NOT_MEASURED = "not measured"
_WORDS = {LOSS: "loss, nats a code (lower is better)", RECALL: "recall@10 of the next diagnosis (higher is better)"}


class UtilityView(ProbeView):
    """How well it predicts people never seen: what a defence costs, where several audits are compared."""

    rules = ((f"{LOSS}|{RECALL}", mean),)
    settings = ("vocabulary", "diagnoses")
    no_verdict = "no verdict: it is not about memory"
    on_first_page = False
    asked = "How well does the model predict people whom it never saw? A defence against memory is worth having only if the model stays good for something."
    held_against = (
        "Other models of the same codes, on the same people: ehrmem compare draws them against what each gives away."
    )
    how_to_read = (
        "Loss: how surprised the model is by each code that really follows, in nats; lower is better, and only models that read the same codes "
        "compare. Recall@10: how often the diagnosis that comes next is among the ten that the model holds most likely; higher is better."
    )

    def headline(self) -> Headline:
        """Both figures; no verdict."""
        loss, recall = (self._estimate(name) for name in (LOSS, RECALL))
        if not known(loss):
            return Headline(None, self.part or self.why_nothing())
        said = f"On people never seen its loss is {inline(loss)} nats a code"
        if known(recall):
            said += (
                f", and the next diagnosis is among the ten that it holds most likely in a share of {inline(recall)}"
            )
        return Headline(None, f"{said}. This says nothing of memory. {self.part}".rstrip())

    def judged(self) -> pd.DataFrame:
        """None: it is not about memory."""
        return self.found.figures.iloc[:0]

    def pictures(self) -> list[str]:
        """Both figures."""
        chance = f"; {self._chance():.2f} by chance" if self._chance() else ""
        cells = []
        for name, words in _WORDS.items():
            one = self._estimate(name)
            shown = figure(one) if len(self.found.about("figures", figure=name)) and one.n else _NOT_MEASURED
            cells.append([f"{words[:1].upper()}{words[1:]}{chance if name == RECALL else ''}", shown])
        shown = table(("Of the audited model", "Figure"), cells, caption="Means over people, with 95 % interval and n")
        return [shown, f"<p>{escape(self.part)}</p>"] if self.part else [shown]

    def useful(self, comparison: Comparison) -> Iterable[Shared]:
        """Loss and recall, where both models read the same codes."""
        sides = [audit.findings[self.probe.name].settings for audit in (comparison.a, comparison.b)]
        if sides[0]["vocabulary"] != sides[1]["vocabulary"]:
            return
        for name, words in _WORDS.items():
            where = {"figure": name, "group": NON_MEMBER, "model": "audited"}
            unit = "nats" if name == LOSS else ""
            audits = (comparison.a, comparison.b) if name == LOSS else ()
            lost = [UtilityView(self.probe, audit).part for audit in audits]
            paired = None if any(lost) else comparison.mean_gap(self.values(), where, unit=unit)
            yield from comparison.shared(
                self.probe.name, words, "People never seen", where, paired, unit=unit, good=name == RECALL, lost=lost
            )

    def shared(self, comparison: Comparison) -> Iterable[Shared]:
        """Nothing: it gives nobody away."""
        return ()

    @property
    def part(self) -> str:
        """Why its loss, being that of some people only, compares with no other model's; empty where it is that of all."""
        query = "SELECT 1 FROM rows WHERE reason = ? LIMIT 1"
        if not len(self.audit.query(self.probe.name, EXCLUDED, query, [IMPOSSIBLE.code])):
            return ""
        read = self._estimate(LOSS).n
        return part_of(in_tens(read) if read else WITHHELD, in_tens(self.audit.people.get(NON_MEMBER, 0)))

    def _estimate(self, name: str) -> Estimate:
        return first_estimate(self.found, name)

    def _chance(self) -> float:
        """Recall@10 of a model that knows nothing."""
        diagnoses = int(self.found.settings.get("diagnoses") or 0)
        return min(1.0, TOP / diagnoses) if diagnoses else 0.0

    @classmethod
    def method_picture(cls, findings: Mapping[str, Finding]) -> str:
        """Recall@10."""
        found = findings["utility"]
        chance = min(1.0, TOP / max(1, int(found.settings.get("diagnoses") or 1)))
        rows = [
            IntervalRow(
                METHOD_GROUPS[NON_MEMBER], first_estimate(found, RECALL), "Next diagnosis among the ten most likely"
            )
        ]
        return interval_rows(rows, title="Recall@10 of the next diagnosis", ends=(0, 1), level=(chance, "chance"))
