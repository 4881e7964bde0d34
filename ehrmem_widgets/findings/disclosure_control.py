"""The one gate between a finding and what leaves: figures about the cohort, with small counts withheld.

Tables about patients, the probe's own sentences and settings that name patients do not pass. Of the figures only those pass that the
probe's view lists, each by its rule; a figure that rests on 1 to 10 people, or that would let such a count be computed, loses its
value, and every sentence is made anew of the numbers that are left.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import reduce

from ehrmem_widgets.findings.finding import (
    FIGURES,
    Columns,
    Finding,
    FindingRow,
    Where,
    estimate_of,
    finding,
    judgement_of,
    told,
)
from ehrmem_widgets.statistics.disclosure import FEWEST, as_shown, coarse_share, is_exact, rounded_n, shown_judgement
from ehrmem_widgets.statistics.discrimination import NOTHING
from ehrmem_widgets.statistics.intervals import Estimate, difference

SETTINGS = (
    "knowledge_levels",
    "knowledge",
    "attributes",
    "without_code",
    "samples",
    "horizon",
    "temperature",
    "top_p",
    "seed",
)
"""The settings of every probe that may be shown."""

Rule = Callable[[FindingRow, "Figures"], Estimate]
"""A figure's row and all figures: the estimate as it may be shown."""


def disclosed(
    found: Finding,
    rules: Sequence[tuple[str, Rule]],
    people: Mapping[str, int],
    *,
    pairs: Mapping[str, tuple[str, str]],
    settings: Sequence[str] = (),
) -> Finding:
    """A finding as a report may show it. ``rules``: patterns of figures' names and the rule of each; ``people``: how many of each group
    were asked about; ``pairs``: what groups a comparison's name stands for; ``settings``: those of this probe that may be shown.

    Where a value is nan and the bounds are numbers, the bounds are those of all counts that are withheld in the same way. ``n`` is
    rounded down to tens.
    """
    figures = Figures(found, people, pairs)
    rows: list[FindingRow] = []
    for one in found.figures.to_dict("records"):
        rule = next((rule for name, rule in rules if re.fullmatch(name, one["figure"])), None)
        if rule is None:
            continue
        shown = rule(one, figures)
        numbers: FindingRow = {"value": shown.value, "low": shown.low, "high": shown.high, "n": shown.n}
        judgement = judgement_of(one)
        said = told(judgement and shown_judgement(judgement, estimate_of(one), shown))
        where: Where = {
            "group": one["group"], "model": one["model"], "attribute": one["attribute"], "knowledge": one["knowledge"],
        }  # fmt: skip
        rows.append({"table": FIGURES, "figure": one["figure"], **where, **numbers, **_tested(one, shown), **said})
    kept = {name: found.settings[name] for name in (*SETTINGS, *settings) if name in found.settings}
    return finding(found.probe, rows, kept, ())


def _tested(one: FindingRow, shown: Estimate) -> Columns:
    """The p-value, to two decimals and at least 0.01: an exact one tells of counts, and that of shares in any case. Corrected, where it was."""
    p = one["p_adjusted"] if math.isfinite(one["p_adjusted"]) else one["p"]
    if not is_exact(estimate_of(one), shown) or not math.isfinite(p):
        return {}
    return {"p_adjusted": max(round(float(p), 2), 0.01)}


class Figures:
    """A finding's figures, to look up what one of them rests on; ``people``: how many of each group were asked about."""

    def __init__(self, found: Finding, people: Mapping[str, int], pairs: Mapping[str, tuple[str, str]]) -> None:
        self.people, self._pairs = people, pairs
        self._n = {
            (r["figure"], r["group"], r["attribute"], r["knowledge"], r["model"]): (int(r["n"]), float(r["value"]))
            for r in found.figures.to_dict("records")
        }

    def at(self, one: FindingRow, figure: str, **other: str) -> tuple[int, float]:
        """n and value of another figure of the same group, attribute, knowledge level and model, or of those given."""
        where = {name: str(one[name]) for name in ("group", "attribute", "knowledge", "model")} | other
        key = (figure, where["group"], where["attribute"], where["knowledge"], where["model"])
        return self._n.get(key, (0, math.nan))

    def holders(self, one: FindingRow, attribute: str) -> tuple[int, int]:
        """Who holds an attribute in the row's group at its knowledge level, and who does not."""
        n, share = self.at(one, "prevalence", attribute=attribute, model="")
        held = round(n * share) if n else 0
        return held, n - held

    @property
    def attributes(self) -> list[str]:
        """All attributes with a prevalence."""
        return sorted({attribute for figure, _, attribute, _, _ in self._n if figure == "prevalence"})

    def sides(self, group: str) -> tuple[str, ...]:
        """The groups that a comparison is of, or the group itself."""
        return self._pairs.get(group) or tuple(group.split(" - "))


# Rules ----------------------------------------------------------------------------------------------------------------


def only_if(condition: bool, one: FindingRow) -> Estimate:
    """The figure where something holds, else nothing."""
    return as_shown(estimate_of(one)) if condition else NOTHING


def mean(one: FindingRow, figures: Figures) -> Estimate:
    """A mean over people: of 11 at least."""
    return only_if(one["n"] >= FEWEST, one)


def share(one: FindingRow, figures: Figures) -> Estimate:
    """A share of people."""
    return coarse_share(estimate_of(one))


def not_of_people(one: FindingRow, figures: Figures) -> Estimate:
    """A number of codes or of records that are public, not of people."""
    return estimate_of(one)


def of_whole_groups(one: FindingRow, figures: Figures) -> Estimate:
    """A comparison of groups that were asked as a whole."""
    return only_if(all(figures.people.get(side, 0) >= FEWEST for side in figures.sides(one["group"])), one)


def hidden(one: FindingRow, figures: Figures) -> Estimate:
    """A figure that would tell what is withheld elsewhere; its verdict stands."""
    return NOTHING


def between_means(suffix: str, of_a_side: str, **where: str) -> Rule:
    """A difference of two groups' means: each is of 11 people at least. The sides' own figure has ``of_a_side`` for ``suffix``, and ``where`` (its
    model) as told."""

    def rule(one: FindingRow, figures: Figures) -> Estimate:
        figure = str(one["figure"]).replace(suffix, of_a_side)
        sides = figures.sides(one["group"])
        return only_if(all(figures.at(one, figure, group=side, **where)[0] >= FEWEST for side in sides), one)

    return rule


def between_shares(*of: tuple[str, str | None]) -> Rule:
    """A difference of shares, made anew (MOVER) of the shares as they are shown: the exact one, its interval and its p-value would tell the
    counts. None of them is withheld, or it would follow from this and the other. ``of``: figure, with {} for the row's number where it has one, and model
    (None: the row's own; "": of no model and no attribute)."""

    def rule(one: FindingRow, figures: Figures) -> Estimate:
        number = "".join(re.findall(r"\d+", one["figure"])[:1])
        sides = []
        for group in figures.sides(one["group"]):
            shown = []
            for figure, model in of:
                where = {"group": group, "model": one["model"] if model is None else model}
                where |= {"attribute": ""} if model == "" else {}
                n, exact = figures.at(one, figure.format(number), **where)
                shown.append(coarse_share(Estimate(exact, 0.0, 1.0, n)) if n else NOTHING)
            if not all(math.isfinite(each.value) for each in shown):
                return NOTHING
            sides.append(reduce(difference, shown))
        gap = reduce(difference, sides)
        value, low, high = (round(x, 2) for x in (gap.value, gap.low, gap.high))
        return Estimate(value, low, high, rounded_n(int(one["n"])))

    return rule
