"""Two audits side by side: every figure that both have, with the difference, its interval, and how that interval was made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from ehrmem_widgets.attacker.facts import knows
from ehrmem_widgets.audit.comparison import Comparison, Shared
from ehrmem_widgets.audit.results import AuditResults
from ehrmem_widgets.probes.people import several
from ehrmem_widgets.probes.view import Headline, picture
from ehrmem_widgets.registry import probes
from ehrmem_widgets.reports.audit_annex import reproducibility
from ehrmem_widgets.reports.audit_page import NO_CLEARANCE, marks
from ehrmem_widgets.reports.audit_sections import wrapped
from ehrmem_widgets.reports.sheet import sheet
from ehrmem_widgets.statistics.disclosure import FEWEST, is_small, rounded_n
from ehrmem_widgets.views.interval_rows import IntervalRow, interval_rows
from ehrmem_widgets.views.markup import escape, icon
from ehrmem_widgets.views.tables import Markup, figure, items, table


def compare_page(a: Path, b: Path, *, names: tuple[str, str] = ("A", "B")) -> str:
    """Two audits' folders as one HTML file that opens offline: vendor A and vendor B, or one model before and after retraining.

    Differences are b less a. Where both audits asked the same people, each person is compared with themselves (bootstrap over people);
    elsewhere the interval is that of a difference of independent estimates (MOVER). Small counts are withheld as in ``audit_page``.
    Raises BadInput for a folder that holds no audit.
    """
    comparison = Comparison(AuditResults(a), AuditResults(b))
    one, other = (escape(name) for name in names)
    shared = comparison.figures()
    sections = {
        "summary": ("In short", _summary(comparison, shared, names)),
        "figures": ("Every figure that both have", _figures(shared, names)),
        "attributes": ("Sensitive attributes", _attributes(comparison, names)),
        "reading": ("How to read this", _reading(names)),
        "made": (
            "How to reproduce this",
            f"<h3>{one}</h3>{reproducibility(comparison.a)}<h3>{other}</h3>{reproducibility(comparison.b)}",
        ),
    }
    return sheet(
        "".join(wrapped(name, title, body) for name, (title, body) in sections.items()),
        title=f"Two audits side by side: {names[0]} and {names[1]}",
        running=f"ehrmem comparison of audits · {names[0]} ({_model(comparison.a)}) and {names[1]} "
        f"({_model(comparison.b)})",
        marks=[
            f"{name}: {mark}"
            for name, audit in zip(names, (comparison.a, comparison.b), strict=True)
            for mark in marks(audit)
        ],
        contents={name: title for name, (title, _) in sections.items()},
    )


# The page -------------------------------------------------------------------------------------------------------------


def _summary(comparison: Comparison, shared: Sequence[Shared], names: tuple[str, str]) -> str:
    less, more = (sum(one.given_away == sign for one in shared) for sign in (-1, 1))
    rest = len(shared) - less - more
    said = (
        f"Of {len(shared)} figures that both audits have, {names[1]} gives away less than {names[0]} in {less} and "
        f"more in {more}; in {rest} no "
        "difference is shown."
        if shared
        else "The two audits have no figure in common that may be shown."
    )
    chance = (
        f" Of {len(shared)} intervals of 95 %, about {max(1, round(len(shared) / 20))} can be expected to leave out 0 by chance alone."
        if shared
        else ""
    )
    rows = [IntervalRow(one.words, one.gap, heading=one.heading, marked=one.given_away != 0) for one in shared]
    reach = max((abs(end) for one in shared for end in (one.gap.low, one.gap.high) if math.isfinite(end)), default=1.0)
    ends = next((end for end in (0.1, 0.25, 0.5) if reach <= end), 1.0)
    drawn = picture(
        interval_rows(
            rows, title=f"{names[1]} minus {names[0]}", ends=(-ends, ends), level=(0.0, "no difference"), signed=True
        ),
        "Differences with 95 % intervals; to the left of 0 less is given away. Diamonds: the interval leaves out 0.",
    )
    return f"<p><b>{escape(said)}</b>{escape(chance)}</p>{_verdicts(comparison, names)}{drawn}{_differ(comparison, names)}<p><b>{escape(NO_CLEARANCE)}</b></p>"


def _verdicts(comparison: Comparison, names: tuple[str, str]) -> str:
    lines = [{name: view.headline() for name, view in audit.views.items()} for audit in (comparison.a, comparison.b)]
    rows = [
        (probe.full_title, *(_cell(side.get(name)) for side in lines))
        for name, probe in probes().items()
        if any(name in side for side in lines)
    ]
    return table(("Test", *names), rows, caption="Verdicts, and whether the test finds what was planted", name="sides")


def _cell(line: Headline | None) -> Markup:
    if line is None:
        return Markup("not run")
    shown = f"{icon(line.verdict, 14)} <b>{escape(line.verdict)}</b>" if line.verdict else "<b>no verdict</b>"
    planted = f" (planted canaries: {escape(line.control)})" if line.control else ""
    return Markup(f"{shown}{planted}<br/>{escape(line.words)}")


def _differ(comparison: Comparison, names: tuple[str, str]) -> str:
    """In what the two audits differ besides the model."""
    a, b = comparison.a.results, comparison.b.results
    said = []
    for key, words in (("data", "data"), ("model", "model"), ("reference", "reference model")):
        one, other = ((side.get(key) or {}).get("fingerprint") for side in (a, b))
        said.append(
            f"The {words} {'is' if key != 'data' else 'are'} {'the same' if one == other else 'another'} in both.".replace(
                "are another in both", "differ"
            ).replace("is another in both", "differs")
        )
    plans = [
        {
            k: v
            for k, v in (side.get("plan") or {}).items()
            if k in ("rungs", "rung_of", "attributes", "priors", "seed", "probes")
        }
        for side in (a, b)
    ]
    unlike = sorted(key for key in plans[0].keys() | plans[1].keys() if plans[0].get(key) != plans[1].get(key))
    said.append(
        f"The plans differ in {', '.join(unlike)}." if unlike else "Both asked the same questions with the same seed."
    )
    moved = comparison.changed_sides
    if moved is None:
        said.append(
            "They share nobody whom they asked about: differences may come from the people and not from the models."
        )
    elif moved:
        shown = f"fewer than {FEWEST}" if is_small(moved) else f"{rounded_n(moved):,} or more"
        said.append(
            f"{shown.capitalize()} of the people whom both asked about are members in one and not in the other."
        )
    else:
        said.append("The same people are members in both, as far as both asked about them.")
    asked = [
        ", ".join(f"{n} {several(group)}" for group, n in side.people_shown.items())
        for side in (comparison.a, comparison.b)
    ]
    said += [f"{name} asked about {words or 'nobody'}." for name, words in zip(names, asked, strict=True)]
    return f"<h3>What else differs</h3>{items(said)}"


def _figures(shared: Sequence[Shared], names: tuple[str, str]) -> str:
    if not shared:
        return "<p>None: one of the audits lacks them, or they rest on too few people.</p>"
    told = {1: f"{names[1]} gives away more", -1: f"{names[1]} gives away less", 0: "no difference shown"}
    rows = [
        (
            f"{one.heading}: {one.words}",
            figure(one.a),
            figure(one.b),
            figure(one.gap, signed=True),
            one.how,
            told[one.given_away],
        )
        for one in shared
    ]
    heads = ("Figure", *names, f"{names[1]} minus {names[0]}", "Interval", "In words")
    return table(heads, rows, caption="With 95 % intervals and n (people)")


def _attributes(comparison: Comparison, names: tuple[str, str]) -> str:
    rung = comparison.a.worst_rung
    rows = comparison.attributes(rung)
    if not rows:
        return "<p>One of the audits did not ask about sensitive attributes, or not with the same facts known.</p>"
    severities = [audit.severities[-1].severity for audit in (comparison.a, comparison.b)]
    by_title = {audit_title: name for name, audit_title in comparison.a.titles().items()}
    cells = []
    for title, one, other, gap, how in rows:
        given = [side.get(by_title.get(title, ""), "not declared") for side in severities]
        severity = str(given[0]) if given[0] == given[1] else f"{given[0]} and {given[1]}"
        cells.append((title, severity, figure(one), figure(other), figure(gap, signed=True) if gap else "", how))
    heads = ("Attribute", "Declared severity", *names, f"{names[1]} minus {names[0]}", "Interval")
    return table(
        heads, cells, caption=f"Mean excess of the members who hold it, where the attacker knows {knows(rung)}"
    )


def _reading(names: tuple[str, str]) -> str:
    one, other = names
    return items(
        (
            f"If these are two vendors' models: {one} and {other} may have been trained on other people, and each is "
            "held against people whom it never "
            "saw. Compare them as products only where the same people were asked about, or where the data are alike; "
            "otherwise a difference may come from "
            "the data.",
            f"If this is one model before and after retraining ({one} before, {other} after): a figure that falls "
            "says that the change had an effect on "
            "these people. It does not say that what is left is acceptable, and people who came into the training "
            "data, or left it, are on another side now.",
            f'Differences are {other} minus {one}. "Paired": each person was compared with themselves and people were '
            "resampled (bootstrap), which cancels what "
            'is the same in both. "Independent": the interval is made of the two intervals (MOVER; Newcombe 1998), '
            "which is wider than need be if the people are the same.",
            "An interval that holds 0 shows no difference; it does not show that there is none.",
            "Severity and likelihood are not blended, and no model is ranked by one number.",
        )
    )


def _model(audit: AuditResults) -> str:
    return str((audit.results.get("model") or {}).get("name", "a model"))
