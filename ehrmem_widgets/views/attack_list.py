"""The attack ranking: one row a leak, those first that take the attacker the least knowledge."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ehrmem_widgets.probes.cohort_finding import CohortFinding
from ehrmem_widgets.probes.ranking import ranked
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.markup import GREY, PAPER, RULE, VERMILION, escape, interval, plural, shorten, svg, text

WIDTH, ROW, TOP, BOTTOM = 884, 34, 64, 30
PLOT_X, PLOT_WIDTH, KNOWN_X, LEAK_X = 330, 200, 552, 712
MOST = 12


def attack_list(found: CohortFinding, *, titles: Mapping[str, str] | None = None, most: int = MOST) -> str:
    """An SVG of the ``most`` cheapest leaks (12 at most) of a finding of ``ranking``: the patient by pseudonym, the
    attribute (``titles``: its name in words), the bits that the attacker needs, k, and the leak probability.

    Where k = 1 the facts fit one person only: the attacker had identified the patient already, and the mark is hollow.
    """
    leaks = ranked(found) if len(found.about("patient", figure="bits")) else None
    if leaks is None:
        words = "No attack succeeded, or none was tried: there is no leak to rank."
        return svg(text(12, 30, words, more='opacity=".75"'), width=WIDTH, height=60, label=words)
    rows = leaks.head(min(most, MOST)).to_dict("records")
    reach = max(4.0, math.ceil(max(one["bits"] for one in rows) / 4) * 4.0)
    height = TOP + ROW * len(rows) + BOTTOM
    shown = (
        f"The {len(rows)} cheapest of {plural(len(leaks), 'leak')}"
        if len(rows) < len(leaks)
        else plural(len(rows), "leak")
    )
    body = _head(shown, reach, height)
    body += "".join(_row(one, TOP + ROW * place, reach, titles or {}) for place, one in enumerate(rows))
    return svg(
        body + _legend(height - 10, int(leaks["already_identified"].sum()), len(leaks)),
        width=WIDTH,
        height=height,
        label=_sentence(rows, shown, titles or {}),
    )


def _head(shown: str, reach: float, height: int) -> str:
    at = [reach * quarter / 4 for quarter in range(5)]
    grid = "".join(f"M{_x(v, reach):.1f} {TOP - 4}V{height - BOTTOM}" for v in at)
    ticks = "".join(text(_x(v, reach), TOP - 9, f"{v:g}", more='text-anchor="middle"') for v in at)
    heads = (
        text(12, 38, "Patient, and what leaks")
        + text(PLOT_X, 38, "Bits the attacker must know")
        + text(KNOWN_X, 38, "Who fits these facts")
        + text(LEAK_X, 38, "Leak (95 % interval), n")
    )
    return (
        text(12, 18, f"{shown}, the least knowledge first", more='font-weight="600" font-size="13"')
        + f'<g font-size="11.5" font-weight="600">{heads}</g><g font-size="10.5" opacity=".85">{ticks}</g>'
        f'<path d="{grid}" style="stroke:{RULE}" fill="none"/>'
    )


def _row(one: Mapping[Any, Any], y: int, reach: float, titles: Mapping[str, str]) -> str:
    middle = y + ROW / 2
    already = bool(one["already_identified"])
    x = _x(one["bits"], reach)
    fill = f'style="fill:{PAPER}"' if already else f'fill="{VERMILION}"'
    colour = GREY if already else VERMILION
    bar = f'<path d="M{PLOT_X} {middle:g}H{x:.1f}" stroke="{colour}" stroke-width="3"/>'
    bar += f'<path d="M{x:.1f} {middle - 7:g}l7 7-7 7-7-7z" {fill} stroke="{colour}" stroke-width="1.8"/>'
    everybody = round(one["k"] * 2 ** one["bits"])
    known = f"k = {one['k']:,} of {everybody:,}"
    second = "already identified" if already else f"{one['bits']:.1f} bits"
    leak = Estimate(float(one["leak"]), float(one["low"]), float(one["high"]), int(one["n"]))
    rule = f'<path d="M0 {y + ROW}H{WIDTH}" style="stroke:{RULE}" stroke-width=".6"/>'
    return (
        f"<g><title>{escape(_row_sentence(one, titles))}</title>"
        + text(12, middle - 2, shorten(f"{one['patient']} · {one['group']}", 46), more='font-size="11" opacity=".85"')
        + text(12, middle + 12, shorten(titles.get(one["attribute"], one["attribute"]), 46), more='font-size="12"')
        + bar
        + text(KNOWN_X, middle - 2, known, more='font-size="11.5"')
        + text(
            KNOWN_X,
            middle + 12,
            second,
            more=f'font-size="11"{" font-style=" + chr(34) + "italic" + chr(34) if already else ""}',
        )
        + text(LEAK_X, middle + 4, interval(leak), more='font-size="11"')
        + f"{rule}</g>"
    )


def _legend(y: int, already: int, leaks: int) -> str:
    return (
        f'<g font-size="10.5"><path d="M19 {y - 11}l7 7-7 7-7-7z" fill="{VERMILION}"/>'
        + text(32, y, "a leak to somebody who could not yet tell who the patient is")
        + f'<path d="M407 {y - 11}l7 7-7 7-7-7z" style="fill:{PAPER}" stroke="{GREY}" stroke-width="1.8"/>'
        + text(420, y, f"k = 1: the facts already fit this patient only ({already:,} of the {plural(leaks, 'leak')})")
        + "</g>"
    )


def _row_sentence(one: Mapping[Any, Any], titles: Mapping[str, str]) -> str:
    leak = Estimate(float(one["leak"]), float(one["low"]), float(one["high"]), int(one["n"]))
    already = ", already identified" if one["already_identified"] else ""
    return (
        f"{one['patient']} ({one['group']}), {titles.get(one['attribute'], one['attribute'])}: {one['bits']:.1f} bits, "
        f"k = {one['k']:,}{already}, leak {interval(leak)}"
    )


def _sentence(rows: list[dict[Any, Any]], shown: str, titles: Mapping[str, str]) -> str:
    return f"{shown}, the least knowledge first. {'; '.join(_row_sentence(one, titles) for one in rows)}."


def _x(bits: float, reach: float) -> float:
    return PLOT_X + PLOT_WIDTH * min(max(bits / reach, 0.0), 1.0)
