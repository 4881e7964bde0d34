"""The attack ranking: one row per leak, those first that take the attacker the least knowledge, and what the same search finds by chance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ehrmem_widgets.attacker.identifiability import ALREADY_IDENTIFIED
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.ranking.ask import found_among_never_seen, ranked
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.known_facts import how_many
from ehrmem_widgets.views.markup import GREY, PAPER, RULE, VERMILION, escape, interval, plural, shorten, svg, text

WIDTH, ROW, TOP, BOTTOM = 884, 34, 64, 48
PLOT_X, PLOT_WIDTH, KNOWN_X, LEAK_X = 310, 160, 490, 712
MOST = 12


def attack_list(found: Finding, *, titles: Mapping[str, str] | None = None, most: int = MOST) -> str:
    """An SVG of the ``most`` cheapest leaks (12 at most) of a finding of ``ranking``: the patient by pseudonym, the
    attribute (``titles``: its name in words), the bits that the attacker needs, who fits, the leak probability, and the rank p
    against people never seen, about whom the same search's leaks are counted below.

    Hollow marks: with a declared population the leaks by facts that fit the patient alone of all these people ("already
    identified"); without one those by facts that are unique in the data set.
    """
    leaks = ranked(found)
    if not len(leaks):
        lines = ("No attack succeeded, or none was tried: there is no leak to rank.", _null_words(found))
        drawn = "".join(text(12, 30 + 20 * place, line, more='opacity=".75"') for place, line in enumerate(lines))
        return svg(drawn, width=WIDTH, height=72, label=" ".join(lines))
    rows = leaks.head(min(most, MOST)).to_dict("records")
    reach = max(4.0, math.ceil(max(one["bits"] for one in rows) / 4) * 4.0)
    height = TOP + ROW * len(rows) + BOTTOM
    shown = (
        f"The {len(rows)} cheapest of {plural(len(leaks), 'leak')}"
        if len(rows) < len(leaks)
        else plural(len(rows), "leak")
    )
    population = found.settings.get("population")
    body = _head(shown, reach, height, population)
    body += "".join(_row(one, TOP + ROW * place, reach, titles or {}, population) for place, one in enumerate(rows))
    hollow = sum(_hollow(one, population) for one in leaks.to_dict("records"))
    null = _null_words(found)
    body += text(12, height - 30, null, more='font-size="11.5"')
    return svg(
        body + _legend(height - 10, hollow, len(leaks), population),
        width=WIDTH,
        height=height,
        label=f"{_sentence(rows, shown, titles or {}, population)} {null}",
    )


def _null_words(found: Finding) -> str:
    null = found_among_never_seen(found)
    if null is None:
        return "There are no people never seen to run the same search on."
    return f"The same search finds a leak about {round(null.value * null.n):,} of {null.n:,} people never seen: {interval(null)}."


def _hollow(one: Mapping[Any, Any], population: int | None) -> bool:
    return bool(one["already_identified"] if population else one["k"] <= 1)


def _head(shown: str, reach: float, height: int, population: int | None) -> str:
    at = [reach * quarter / 4 for quarter in range(5)]
    grid = "".join(f"M{_x(v, reach):.1f} {TOP - 4}V{height - BOTTOM}" for v in at)
    ticks = "".join(text(_x(v, reach), TOP - 9, f"{v:g}", more='text-anchor="middle"') for v in at)
    heads = (
        text(12, 38, "Patient, and what leaks")
        + text(PLOT_X, 38, "Bits to be known")
        + text(KNOWN_X, 38, f"Who fits here; of {population:,}" if population else "Who fits in this data set")
        + text(LEAK_X, 38, "Leak (95 % interval), n; p")
    )
    return (
        text(12, 18, f"{shown}, the least knowledge first", more='font-weight="600" font-size="13"')
        + f'<g font-size="11.5" font-weight="600">{heads}</g><g font-size="10.5" opacity=".85">{ticks}</g>'
        f'<path d="{grid}" style="stroke:{RULE}" fill="none"/>'
    )


def _row(one: Mapping[Any, Any], y: int, reach: float, titles: Mapping[str, str], population: int | None) -> str:
    middle = y + ROW / 2
    hollow = _hollow(one, population)
    x = _x(one["bits"], reach)
    fill = f'style="fill:{PAPER}"' if hollow else f'fill="{VERMILION}"'
    colour = GREY if hollow else VERMILION
    bar = f'<path d="M{PLOT_X} {middle:g}H{x:.1f}" stroke="{colour}" stroke-width="3"/>'
    bar += f'<path d="M{x:.1f} {middle - 7:g}l7 7-7 7-7-7z" {fill} stroke="{colour}" stroke-width="1.8"/>'
    everybody = round(one["k"] * 2 ** one["bits"])
    known = f"k = {one['k']:,} of {everybody:,}"
    leak = Estimate(float(one["leak"]), float(one["low"]), float(one["high"]), int(one["n"]))
    rule = f'<path d="M0 {y + ROW}H{WIDTH}" style="stroke:{RULE}" stroke-width=".6"/>'
    return (
        f"<g><title>{escape(_row_sentence(one, titles, population))}</title>"
        + text(12, middle - 2, shorten(f"{one['patient']} · {one['group']}", 46), more='font-size="11" opacity=".85"')
        + text(12, middle + 12, shorten(titles.get(one["attribute"], one["attribute"]), 46), more='font-size="12"')
        + bar
        + text(KNOWN_X, middle - 2, known, more='font-size="11.5"')
        + text(
            KNOWN_X,
            middle + 12,
            _who_fits(one, population),
            more=f'font-size="11"{" font-style=" + chr(34) + "italic" + chr(34) if hollow else ""}',
        )
        + text(LEAK_X, middle - 2, interval(leak), more='font-size="11"')
        + text(LEAK_X, middle + 12, _rank(one), more='font-size="11"')
        + f"{rule}</g>"
    )


def _who_fits(one: Mapping[Any, Any], population: int | None) -> str:
    if population is None:
        return "unique in this data set" if one["k"] <= 1 else f"{one['bits']:.1f} bits"
    if one["already_identified"]:
        return ALREADY_IDENTIFIED
    fitting = Estimate(one["others"] + 1, one["others_low"] + 1, one["others_high"] + 1, 1)
    return how_many(fitting)


def _rank(one: Mapping[Any, Any]) -> str:
    if not math.isfinite(one["p"]):
        return "no people never seen"
    return f"p {one['p']:.3f}, corrected {one['p_adjusted']:.3f}"


def _legend(y: int, hollow: int, leaks: int, population: int | None) -> str:
    filled, marked = (
        ("facts that fit several patients of the data set", "unique in this data set")
        if population is None
        else ("facts that may fit somebody else", f"{ALREADY_IDENTIFIED}: of {population:,} people nobody else fits")
    )
    return (
        f'<g font-size="10.5"><path d="M19 {y - 11}l7 7-7 7-7-7z" fill="{VERMILION}"/>'
        + text(32, y, filled)
        + f'<path d="M407 {y - 11}l7 7-7 7-7-7z" style="fill:{PAPER}" stroke="{GREY}" stroke-width="1.8"/>'
        + text(420, y, f"{marked} ({hollow:,} of the {plural(leaks, 'leak')})")
        + "</g>"
    )


def _row_sentence(one: Mapping[Any, Any], titles: Mapping[str, str], population: int | None) -> str:
    leak = Estimate(float(one["leak"]), float(one["low"]), float(one["high"]), int(one["n"]))
    who = f", {_who_fits(one, population)}" if population or one["k"] <= 1 else ""
    return (
        f"{one['patient']} ({one['group']}), {titles.get(one['attribute'], one['attribute'])}: {one['bits']:.1f} bits, "
        f"k = {one['k']:,}{who}, leak {interval(leak)}, {_rank(one)}"
    )


def _sentence(rows: list[dict[Any, Any]], shown: str, titles: Mapping[str, str], population: int | None) -> str:
    listed = "; ".join(_row_sentence(one, titles, population) for one in rows)
    return f"{shown}, the least knowledge first. {listed}."


def _x(bits: float, reach: float) -> float:
    return PLOT_X + PLOT_WIDTH * min(max(bits / reach, 0.0), 1.0)
