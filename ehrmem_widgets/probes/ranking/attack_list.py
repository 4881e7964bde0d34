"""The attack ranking: one row per leak, those first that take the attacker the least knowledge, and what the same search finds by chance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypedDict

from ehrmem_widgets.attacker.identifiability import ALREADY_IDENTIFIED
from ehrmem_widgets.charts.axis import Axis, quarters
from ehrmem_widgets.charts.marks import Key, nothing
from ehrmem_widgets.charts.markup import GREY, VERMILION, interval, plural
from ehrmem_widgets.charts.rows import Column, Mark, Row, row_chart
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.ranking.ask import found_among_never_seen, ranked
from ehrmem_widgets.statistics.attack_cost import for_even_chance
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.attack_cost import questions
from ehrmem_widgets.views.known_facts import how_many

WIDTH = 884
MOST = 12


class Leak(TypedDict):
    """A row of ``ranked``; the last three are nan without a declared population."""

    patient: str
    group: str
    attribute: str
    bits: float
    k: int
    leak: float
    low: float
    high: float
    n: int
    p: float
    p_adjusted: float
    already_identified: bool
    others: float
    others_low: float
    others_high: float


def attack_list(found: Finding, *, titles: Mapping[str, str] | None = None, most: int = MOST) -> str:
    """An SVG of the ``most`` cheapest leaks (12 at most) of a finding of ``ranking``: the patient by pseudonym, the
    attribute (``titles``: its name in words), the bits that the attacker needs, who fits, the leak probability, the questions for an even
    chance, and the rank p
    against people never seen, about whom the same search's leaks are counted below.

    Hollow marks: with a declared population the leaks by facts that fit the patient alone of all these people ("already
    identified"); without one those by facts that are unique in the data set.
    """
    leaks = ranked(found)
    if not len(leaks):
        none = "No attack succeeded, or none was tried: there is no leak to rank."
        return nothing(none, _null_words(found), width=WIDTH, height=72)
    titles, population = titles or {}, found.settings.get("population")
    rows = leaks.head(min(most, MOST)).to_dict("records")
    reach = max(4.0, math.ceil(max(one["bits"] for one in rows) / 4) * 4.0)
    every = plural(len(leaks), "leak")
    shown = f"The {len(rows)} cheapest of {every}" if len(rows) < len(leaks) else every
    hollow = f"({sum(_hollow(one, population) for one in leaks.to_dict('records')):,} of the {every})"
    filled, marked = ("facts that fit several patients of the data set", "unique in this data set")
    if population:
        filled = "facts that may fit somebody else"
        marked = f"{ALREADY_IDENTIFIED}: of {population:,} people nobody else fits"
    listed = "; ".join(_row_sentence(one, titles, population) for one in rows)
    return row_chart(
        [_row(one, titles, population) for one in rows],
        (
            Column("What leaks, and of whom", 12, 44),
            Column(f"Who fits here; of {population:,}" if population else "Who fits in this data set", 490, 41),
            Column("Leak (95 % interval), n; p", 712, 30),
        ),
        Axis(0, reach, 310, 470, quarters(0, reach)),
        title=f"{shown}, the least knowledge first",
        head="Bits to be known",
        keys=(Key(filled, VERMILION, "diamond"), Key(f"{marked} {hollow}", GREY, "gem")),
        foot=_null_words(found),
        label=f"{shown}, the least knowledge first. {listed}. {_null_words(found)}",
        width=WIDTH,
        height=34,
    )


def _null_words(found: Finding) -> str:
    null = found_among_never_seen(found)
    if null is None:
        return "There are no people never seen to run the same search on."
    return f"The same search finds a leak about {round(null.value * null.n):,} of {null.n:,} people never seen: {interval(null)}."


def _leak(one: Leak) -> Estimate:
    return Estimate(float(one["leak"]), float(one["low"]), float(one["high"]), int(one["n"]))


def _questions(one: Leak) -> str:
    return questions(for_even_chance(_leak(one)))


def _hollow(one: Leak, population: int | None) -> bool:
    return bool(one["already_identified"] if population else one["k"] <= 1)


def _row(one: Leak, titles: Mapping[str, str], population: int | None) -> Row:
    hollow = _hollow(one, population)
    everybody = round(one["k"] * 2 ** one["bits"])
    return Row(
        cells=(
            (titles.get(one["attribute"], one["attribute"]), f"{one['patient']} · {one['group']} · {_questions(one)}"),
            (f"k = {one['k']:,} of {everybody:,}", _who_fits(one, population)),
            (interval(_leak(one)), _rank(one)),
        ),
        marks=[Mark(one["bits"], "gem" if hollow else "diamond", GREY if hollow else VERMILION, origin=0.0)],
        said=_row_sentence(one, titles, population),
    )


def _who_fits(one: Leak, population: int | None) -> str:
    if population is None:
        return "unique in this data set" if one["k"] <= 1 else f"{one['bits']:.1f} bits"
    if one["already_identified"]:
        return ALREADY_IDENTIFIED
    fitting = Estimate(one["others"] + 1, one["others_low"] + 1, one["others_high"] + 1, 1)
    return how_many(fitting)


def _rank(one: Leak) -> str:
    if not math.isfinite(one["p"]):
        return "no people never seen"
    return f"p {one['p']:.3f}, corrected {one['p_adjusted']:.3f}"


def _row_sentence(one: Leak, titles: Mapping[str, str], population: int | None) -> str:
    who = f", {_who_fits(one, population)}" if population or one["k"] <= 1 else ""
    return (
        f"{one['patient']} ({one['group']}), {titles.get(one['attribute'], one['attribute'])}: {one['bits']:.1f} bits, "
        f"k = {one['k']:,}{who}, leak {interval(_leak(one))}, {_questions(one)} for an even chance, {_rank(one)}"
    )
