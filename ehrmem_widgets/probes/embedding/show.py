"""T3 as it is shown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import product
from typing import TYPE_CHECKING

import pandas as pd

from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.charts.markup import known
from ehrmem_widgets.charts.table import inline
from ehrmem_widgets.findings.disclosure_control import (
    Figures,
    mean,
    not_of_people,
    of_whole_groups,
)
from ehrmem_widgets.findings.finding import AnyRow, Finding, FindingRow, estimate_of
from ehrmem_widgets.probes.embedding.ask import DECLARED, FEWEST_HOLDERS, reader_words
from ehrmem_widgets.probes.people import ALL, MEMBER, NON_MEMBER, PAIRS
from ehrmem_widgets.probes.view import (
    METHOD_GROUPS,
    ProbeView,
    first_estimate,
    group_words,
    picture,
)
from ehrmem_widgets.settings import CONTINUATIONS
from ehrmem_widgets.statistics.disclosure import (
    FEWEST,
)
from ehrmem_widgets.statistics.discrimination import NOTHING
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.interval_rows import IntervalRow, interval_rows

if TYPE_CHECKING:
    from ehrmem_widgets.audit.comparison import Comparison, Shared


def of_readers(one: FindingRow, figures: Figures) -> Estimate:
    """A figure about one attribute, or about all together."""
    if one["attribute"]:
        n, held = figures.at(one, "holders", group="", knowledge="", model="")
        tested = not str(one["figure"]).startswith("excess") or math.isfinite(one["p"]) or one["model"] != "audited"
        if min(held, n - held) < FEWEST or not tested or one["group"] in (MEMBER, NON_MEMBER):
            return NOTHING
        if str(one["figure"]).startswith("excess") and one["model"] != "audited":
            return NOTHING
    return of_whole_groups(one, figures) if one["group"] in PAIRS else mean(one, figures)


class EmbeddingView(ProbeView):
    """What an embedding adds to the known codes, for members more than for others."""

    rules = (
        ("(bag_|shuffled_|ceiling_)?auroc_.*|gain_.*|excess_gain_.*|excess_beyond_reference_.*", of_readers),
        ("embeddings", not_of_people),
    )
    settings = ("folds",)
    judged_figure = "excess_gain_(logistic|continued)"
    attack = (
        (1, Query.EMBEDDINGS, "of what is known"),
        (CONTINUATIONS, Query.SAMPLE, "to go on from there"),
        (CONTINUATIONS, Query.EMBEDDINGS, "of the answers"),
    )
    asked = (
        "The model turns what is known into numbers (an embedding). Can somebody read a sensitive attribute from these numbers that the "
        "known codes themselves do not give away?"
    )
    held_against = (
        "A reader that sees the known codes only (the bag of codes), a reader of shuffled labels, the same gain for people never seen, "
        "and the reference model's. The null exchanges members and non-members at random."
    )
    how_to_read = (
        "Above 0: the embedding of members holds what their codes do not, more than that of people never seen. That embeddings tell more "
        "than codes is no memory by itself; the difference is."
    )
    measures = "more readable from the embedding for members than for people never seen"
    memorized = (
        "Its embedding gives away sensitive attributes of people it was trained on more than of others: by {figure}."
    )
    population = "Its embedding gives away no more about people it was trained on: difference {figure}."

    def judged(self) -> pd.DataFrame:
        """All attributes together."""
        rows = super().judged()
        return rows[rows["attribute"] == ""]

    def why_nothing(self) -> str:
        """Whether embeddings are missing, or who."""
        found, people = self.found.figures["figure"], self.audit.people
        if (found == "embeddings").any():
            return "No figure: the model gives no embeddings."
        if min(people.get(MEMBER, 0), people.get(NON_MEMBER, 0)) < FEWEST:
            return f"No figure: fewer than {FEWEST} members or people never seen were asked about."
        if found.str.startswith("auroc_").any():
            return "No figure: of the members, or of the people never seen, too few hold an attribute that was asked about."
        return f"No figure: no attribute that was asked about has {FEWEST_HOLDERS} holders and {FEWEST_HOLDERS} others among the people asked."

    def compared(self, one: AnyRow) -> str:
        """All attributes together, and who reads."""
        return f"All attributes together{reader_words(str(one['figure']))}"

    def pictures(self) -> list[str]:
        """What the embedding adds for those trained on, by attribute."""
        audit, found = self.audit, self.found
        rows = []
        for (group, heading), reader in product(
            (
                ("all", "Members minus people never seen"),
                ("canaries", "Planted canaries, trained on minus never trained on"),
            ),
            DECLARED,
        ):
            head = heading + reader_words(reader)
            for one in found.about("figures", figure=f"excess_gain_{reader}", group=group, model="audited").to_dict(
                "records"
            ):
                words = audit.title(one["attribute"]) if one["attribute"] else "All attributes together"
                if known(estimate_of(one)):
                    rows.append(IntervalRow(words, estimate_of(one), heading=head, marked=not one["attribute"]))
            for one in found.about(
                "figures", figure=f"excess_beyond_reference_{reader}", group=group, attribute=""
            ).to_dict("records"):
                rows.append(IntervalRow("All together, beyond the reference's", estimate_of(one), heading=head))
        if not rows:
            return [f"<p>{self.why_nothing()}</p>"]
        drawn = interval_rows(
            rows,
            title="AUROC that the embedding adds to the known codes: how much more for those trained on",
            ends=(-1.0, 1.0),
            level=(0.0, "no more"),
            signed=True,
        )
        return [
            picture(
                drawn,
                "Logistic classifiers on the embedding, minus the same on the known codes. Of the facts: cross-validated over the people asked about. "
                f"Continued by the model: learned from whole records of other people.{self._ceilings()}",
            )
        ]

    def _ceilings(self) -> str:
        """How well the reader does that is given whole records, in a sentence; empty where there was none."""
        shown = [
            f"{group_words(str(one['group'])).lower()} {inline(estimate_of(one))}"
            for one in self.found.about("figures", figure="ceiling_auroc_continued", attribute="").to_dict("records")
            if known(estimate_of(one))
        ]
        if not shown:
            return ""
        return f" Given whole records, the attribute's code in them, this reader reaches an AUROC of {', '.join(shown)}: continuations cannot tell it more."

    def shared(self, comparison: Comparison) -> Iterable[Shared]:
        """What it adds over all attributes."""
        for reader in DECLARED:
            where = {"figure": f"excess_gain_{reader}", "group": ALL, "attribute": ""}
            heading = f"what it adds to the codes{reader_words(reader)}, members minus non-members"
            yield from comparison.shared(self.probe.name, heading, "All attributes together", where, None)

    @classmethod
    def method_picture(cls, findings: Mapping[str, Finding]) -> str:
        """The gain over the codes."""
        found = findings["embedding"]
        rows = [
            IntervalRow(
                words,
                first_estimate(found, f"gain_{reader}", group=group, model=model, attribute=""),
                heading + reader_words(reader),
            )
            for reader in DECLARED
            for model, heading in (
                ("audited", "In the audited model"),
                ("reference", "In the reference model, which saw none of them"),
            )
            for group, words in METHOD_GROUPS.items()
        ]
        rows += [
            IntervalRow(
                words,
                first_estimate(found, f"excess_gain_{reader}", group=group, model="audited", attribute=""),
                f"What is tested (audited model){reader_words(reader)}",
                True,
            )
            for reader in DECLARED
            for group, words in (
                ("all", "members minus non-members"),
                ("canaries", "canaries trained on minus those never trained on"),
            )
        ]
        return interval_rows(
            rows,
            title="T3: AUROC gained by reading the embedding instead of the plain list of codes",
            ends=(-0.4, 0.4),
            level=(0.0, "no gain"),
            signed=True,
        )
