"""T5 as it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.charts.markup import known
from ehrmem_widgets.charts.table import figure, table
from ehrmem_widgets.findings.disclosure_control import (
    between_means,
    mean,
    share,
)
from ehrmem_widgets.findings.finding import CURVES, AnyRow, Finding, estimate_of
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, NULL_CANARY
from ehrmem_widgets.probes.perturbation.ask import REACH, curve_of
from ehrmem_widgets.probes.perturbation.curve import perturbation_curve
from ehrmem_widgets.probes.perturbation.identifiers import IDENTIFIERS
from ehrmem_widgets.probes.perturbation.moved import AUDITED, NEVER_SEEN, moved_identifiers
from ehrmem_widgets.probes.view import ProbeView, group_words, picture
from ehrmem_widgets.probes.view import titles as _titles
from ehrmem_widgets.statistics.disclosure import (
    FEWEST,
    rounded_n,
)
from ehrmem_widgets.views.interval_rows import IntervalRow, interval_rows

if TYPE_CHECKING:
    from ehrmem_widgets.audit.comparison import Comparison, Shared


MAX_STEPS = 3


class PerturbationView(ProbeView):
    """Leaks while one identifier moves off the truth."""

    rules = (
        ("spike:.*", mean),
        ("gap:.*", between_means("gap:", "spike:")),
        ("stands_out|stands_out_screening", share),
    )
    settings = ("identifiers",)
    asked = (
        "One identifier (the age, the sex, a lab value, a date) is moved off the truth while all else stays. If the leak collapses, the "
        "model answers about this individual; if it changes smoothly, about people of this kind."
    )
    held_against = "The same sweep on people whom no model saw. Their spikes are the null."
    how_to_read = (
        "Each curve is the mean over people of the leak at so many steps from the truth, minus each person's own level off it. A peak at "
        "the truth for members, flat for people never seen, is memory of individuals."
    )
    measures = "more of a fall off the true value for members than for people never seen"
    memorized = "It answers about individuals: the leak falls when {what} is moved off the truth, by {figure} more for people it was trained on."
    population = "Moving an identifier off the truth changes no more for people it was trained on: largest difference {figure} ({what})."

    def asked_of_one(self) -> Sequence[tuple[int, Query, str]]:
        """Every identifier at every step."""
        settings = self.found.settings
        number = len(settings.get("identifiers", ())) * (2 * REACH + 1) * int(settings.get("samples", 0))
        of = "at most, about the known facts with one of them moved at a time"
        return ((number, Query.SAMPLE, of),) if number else ()

    def compared(self, one: AnyRow) -> str:
        """The identifier that was moved."""
        return self.what(one).removeprefix("the ")

    def what(self, one: AnyRow) -> str:
        """The same, with its article."""
        return IDENTIFIERS.get(str(one["figure"]).partition(":")[2], "an identifier")

    def pictures(self) -> list[str]:
        """Curves and spikes by identifier."""
        found = self.found
        parts = []
        if len(self.moved):
            parts.append(
                picture(
                    moved_identifiers(self.moved),
                    "The leak of the most severe attribute that the record holds, while one identifier moves off its true "
                    "value.",
                )
            )
        rows = []
        groups = dict.fromkeys(found.figures["group"])
        for identifier, words in IDENTIFIERS.items():
            for group in groups:
                for one in found.about("figures", figure=f"spike:{identifier}", group=group, model="audited").to_dict(
                    "records"
                ):
                    if known(estimate_of(one)):
                        rows.append(
                            IntervalRow(
                                group_words(group), estimate_of(one), heading=f"Moving {words}", marked=group == MEMBER
                            )
                        )
        if rows:
            drawn = interval_rows(
                rows,
                title="Mean spike: leak at the truth minus the median off it",
                ends=(-1.0, 1.0),
                level=(0.0, "no spike"),
                signed=True,
            )
            parts.append(picture(drawn, "Means over people, with 95 % intervals. Diamonds: members."))
        cells = [
            [group_words(one["group"]), figure(estimate_of(one))]
            for one in found.about("figures", figure="stands_out").to_dict("records")
        ]
        if cells:
            parts.append(
                table(
                    ("Group", "Share of people who stand out from the null"),
                    cells,
                    caption="Corrected for a person's several identifiers; among people never seen at most 0.05 is expected",
                )
            )
        return parts

    @cached_property
    def moved(self) -> pd.DataFrame:
        """The mean curve of each identifier that was moved, as ``views.moved_identifiers`` draws it."""
        columns = ["identifier", "who", "step", "value", "low", "high", "n"]
        rows = self.audit.query(
            self.probe.name,
            CURVES,
            """WITH steps AS (
                SELECT figure, "group" AS who, value, step,
                    median(value) FILTER (step <> 0) OVER (PARTITION BY patient, figure) AS level
                FROM rows WHERE model = 'audited' AND "group" IN (?, ?))
            SELECT figure, who, step, count(*) AS n, avg(value - level) AS value, stddev_samp(value - level) AS spread
            FROM steps WHERE abs(step) <= ? GROUP BY figure, who, step ORDER BY figure, who, step""",
            [MEMBER, NON_MEMBER, MAX_STEPS],
        )
        rows = rows[rows["n"] >= FEWEST]
        reach = _t(rows["n"].to_numpy()) * rows["spread"].to_numpy() / np.sqrt(rows["n"].to_numpy())
        return pd.DataFrame(
            {
                "identifier": rows["figure"],
                "who": np.where(rows["who"] == MEMBER, AUDITED, NEVER_SEEN),
                "step": rows["step"].astype(int),
                "value": rows["value"].round(4),
                "low": (rows["value"] - reach).round(4),
                "high": (rows["value"] + reach).round(4),
                "n": [rounded_n(int(n)) for n in rows["n"]],
            },
            columns=columns,
        )

    def shared(self, comparison: Comparison) -> Iterable[Shared]:
        """The spike of each identifier, of members beyond people never seen."""
        for identifier, words in IDENTIFIERS.items():
            where = {"figure": f"gap:{identifier}", "group": f"{MEMBER} - {NON_MEMBER}"}
            paired = comparison.gap_of_gaps(self.values(model="audited"), {"figure": f"spike:{identifier}"})
            heading = "spike, members minus non-members"
            yield from comparison.shared(self.probe.name, heading, f"Moving {words}", where, paired)

    @classmethod
    def method_picture(cls, findings: Mapping[str, Finding]) -> str:
        """The canary whose spike is the middle one, so that the picture is no hand-picked extreme."""
        found = findings["perturbation"]
        spikes = found.about("patients", figure="spike:age", model="audited")
        trained = spikes[spikes["group"].str.startswith(CANARY) & (spikes["group"] != NULL_CANARY)]
        spikes = (trained if len(trained) else spikes).sort_values(["value", "patient"])
        if spikes.empty:
            return perturbation_curve(None, title="T5")
        one = spikes.iloc[len(spikes) // 2]
        null = found.about("curves", figure="age", model="audited", patient=one["patient"])
        title = f"{_titles().get(one['attribute'], one['attribute'])}, {one['patient']}"
        return perturbation_curve(curve_of(found, one["patient"], "age"), title=title, people=int(null["n"].max()))


def _t(n: np.ndarray) -> np.ndarray:
    from scipy import stats

    return np.asarray(stats.t.ppf(0.975, n - 1))
