"""Two audits side by side: every figure that both have, with the difference, its interval, and how that interval was made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from ehrmem_widgets.findings.finding import estimate_of
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, several
from ehrmem_widgets.probes.perturbation import IDENTIFIERS
from ehrmem_widgets.reports.audit_annex import reproducibility
from ehrmem_widgets.reports.audit_page import NO_CLEARANCE, marks
from ehrmem_widgets.reports.audit_sections import picture, wrapped
from ehrmem_widgets.reports.headlines import TESTS, Headline, headline
from ehrmem_widgets.reports.results_summary import AuditResults, knows
from ehrmem_widgets.reports.sheet import sheet
from ehrmem_widgets.statistics.disclosure import FEWEST, is_small, rounded_n
from ehrmem_widgets.statistics.discrimination import auroc_difference, patient_bootstrap
from ehrmem_widgets.statistics.intervals import Estimate, difference
from ehrmem_widgets.views.interval_rows import IntervalRow, interval_rows
from ehrmem_widgets.views.markup import escape, icon, known
from ehrmem_widgets.views.rank_ladder import rung_words
from ehrmem_widgets.views.tables import Markup, figure, items, table

PAIRED, INDEPENDENT = "paired, the same people", "independent"
_BOUNDS = (-2.0, 2.0)
_NEAREST = 10
_BEYOND_OTHERS = (
    ("attribute", "excess_gap", "excess risk, members less others", {"figure": "largest_excess"}),
    (
        "reconstruction",
        "timed_distance_gap",
        "nearer to the truth than the reference, members less others",
        {"figure": "timed_distance"},
    ),
    ("neighbours", "hit@10_difference", "own record among the ten nearest, members less others", {"figure": "rank"}),
)  # probe, figure of the cohort, in words, and the people's figure behind it
_SAME = 0.9  # the share of people that both must have, to be compared person by person


@dataclass(frozen=True)
class Shared:
    """A figure that both audits have, of which more means that more is given away: ``a``, ``b`` and ``gap`` (b less a), and how the
    interval was made (``PAIRED`` or ``INDEPENDENT``). ``heading`` says what it is, ``words`` in which setting."""

    heading: str
    words: str
    a: Estimate
    b: Estimate
    gap: Estimate
    how: str

    @property
    def given_away(self) -> int:
        """1: b gives away more, -1: less, 0: no difference is shown."""
        if not known(self.gap) or self.gap.low <= 0 <= self.gap.high:
            return 0
        return 1 if self.gap.value > 0 else -1


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


class Comparison:
    """Two audits, and what both have."""

    def __init__(self, a: AuditResults, b: AuditResults) -> None:
        self.a, self.b = a, b

    def figures(self) -> list[Shared]:
        """The figures compared, in the order of the tests; those that one of them withholds are left out."""
        found: list[Shared | None] = []
        for score in self._both("membership", "attribute", figure="auroc", group="all"):
            where = {"figure": "auroc", "group": "all", "attribute": score}
            found.append(self._shared("membership", "AUROC of a score", score, where, self._score_gap(score)))
        for group, heading in (
            (MEMBER, "excess risk of members, beyond the reference"),
            (CANARY, "excess risk of planted canaries, beyond the reference"),
        ):
            for rung in self._both("attribute", "rung", figure="excess_risk", group=group):
                paired = self._mean_gap("attribute", {"figure": "largest_excess", "rung": rung, "group": group})
                where = {"figure": "excess_risk", "group": group, "rung": rung}
                found.append(self._shared("attribute", heading, rung_words(rung), where, paired))
        for name, figure_name, heading, patients in _BEYOND_OTHERS:
            group = f"{MEMBER} - {NON_MEMBER}" if name == "reconstruction" else "all"
            for rung in self._both(name, "rung", figure=figure_name, group=group):
                paired = self._gap_of_gaps(name, {**patients, "rung": rung})
                where = {"figure": figure_name, "rung": rung, "group": group}
                found.append(self._shared(name, heading, rung_words(rung), where, paired))
        where = {"figure": "excess_gain_logistic", "group": "all", "attribute": ""}
        found.append(
            self._shared(
                "embedding", "what it adds to the codes, members less others", "All attributes together", where, None
            )
        )
        for identifier, words in IDENTIFIERS.items():
            where = {"figure": f"gap:{identifier}", "group": f"{MEMBER} - {NON_MEMBER}"}
            paired = self._gap_of_gaps("perturbation", {"figure": f"spike:{identifier}"})
            found.append(self._shared("perturbation", "spike, members less others", f"Moving {words}", where, paired))
        found.append(self._given_away())
        return [one for one in found if one is not None]

    def attributes(self, rung: str) -> list[tuple[str, Estimate | None, Estimate | None, Estimate | None, str]]:
        """By attribute at a rung: title, both mean excesses of the members who hold it, the difference, and how its interval was made."""
        sides = [{one.attribute: one for one in audit.likelihoods if one.rung == rung} for audit in (self.a, self.b)]
        rows = []
        for name in [name for name in sides[0] if name in sides[1]]:
            one, other = (side[name].excess for side in sides)
            gap, how = None, ""
            if one is not None and other is not None:
                paired = self._mean_gap(
                    "attribute", {"figure": "excess", "rung": rung, "group": MEMBER, "attribute": name}
                )
                gap, how = (paired, PAIRED) if paired is not None else (difference(other, one), INDEPENDENT)
            rows.append((sides[0][name].title, one, other, gap, how))
        return rows

    @cached_property
    def changed_sides(self) -> int | None:
        """How many of the people whom both asked about are members in one and not in the other; None where they share nobody."""
        groups = [
            dict(self._rows(audit, "membership", {"figure": "score"})[["patient", "group"]].itertuples(index=False))
            for audit in (self.a, self.b)
        ]
        both = groups[0].keys() & groups[1].keys()
        return sum(groups[0][p] != groups[1][p] for p in both) if both else None

    # One figure ------------------------------------------------------------------------------------------------------

    def _shared(
        self, name: str, heading: str, words: str, where: Mapping[str, str], paired: Estimate | None
    ) -> Shared | None:
        one, other = (self._estimate(audit, name, where) for audit in (self.a, self.b))
        if one is None or other is None:
            return None
        gap, how = (paired, PAIRED) if paired is not None else (difference(other, one), INDEPENDENT)
        return Shared(f"{TESTS[name]}: {heading}", words, one, other, gap, how)

    def _given_away(self) -> Shared | None:
        tables = [audit.attacks for audit in (self.a, self.b)]
        one, other = (found.totals.share if found is not None else None for found in tables)
        if one is None or other is None or not known(one) or not known(other):
            return None
        gap = difference(other, one)
        return Shared(
            f"{TESTS['ranking']}: share of members given away", "By any attack tried", one, other, gap, INDEPENDENT
        )

    def _estimate(self, audit: AuditResults, name: str, where: Mapping[str, str]) -> Estimate | None:
        found = audit.findings.get(name)
        if found is None:
            return None
        rows = found.about("figures", **where)
        rows = rows[rows["model"] != "reference"]
        if len(rows) != 1 or not known(one := estimate_of(rows.iloc[0])):
            return None
        return one

    def _both(self, name: str, column: str, **where: str) -> list[str]:
        """What both findings have in a column, rungs in the order of the first plan."""
        if name not in self.a.findings or name not in self.b.findings:
            return []
        one, other = (audit.findings[name].about("figures", **where)[column] for audit in (self.a, self.b))
        rungs = list(self.a.findings[name].settings.get("rungs", ()))
        values = [str(value) for value in dict.fromkeys(one) if value in set(other)]
        return sorted(values, key=lambda value: rungs.index(value) if value in rungs else -1)

    def _mean_gap(self, name: str, where: Mapping[str, str]) -> Estimate | None:
        """The mean difference over the people whom both asked about; None where these are not the same people."""
        change = self._changes(name, where)
        if change is None:
            return None
        found = patient_bootstrap(lambda rows: float(change[rows].mean()), np.zeros(len(change)), bounds=_BOUNDS)
        return Estimate(found.value, found.low, found.high, rounded_n(found.n))

    def _gap_of_gaps(self, name: str, where: Mapping[str, str]) -> Estimate | None:
        """The same for members less people never seen, each group resampled by itself."""
        members, others = (self._changes(name, {**where, "group": group}) for group in (MEMBER, NON_MEMBER))
        if members is None or others is None:
            return None
        change = np.concatenate([members, others])
        inside = np.arange(len(change)) < len(members)

        def gap(rows: np.ndarray) -> float:
            return float(change[rows[inside[rows]]].mean() - change[rows[~inside[rows]]].mean())

        found = patient_bootstrap(gap, inside, bounds=_BOUNDS)
        return Estimate(found.value, found.low, found.high, rounded_n(found.n))

    def _changes(self, name: str, where: Mapping[str, str]) -> np.ndarray | None:
        """(people,) each one's value in b less that in a; None where they did not ask about the same people."""
        sides = [self._of_people(audit, name, where) for audit in (self.a, self.b)]
        both = _the_same(sides)
        return None if both is None else (sides[1].loc[both] - sides[0].loc[both]).to_numpy(float)

    def _of_people(self, audit: AuditResults, name: str, where: Mapping[str, str]) -> pd.Series:
        """Each person's value, by pseudonym: what the cohort's figure is a mean of."""

        def of(model: str | None) -> pd.Series:
            more = {} if model is None else {"model": model}
            return self._rows(audit, name, {**where, **more}).set_index("patient")["value"]

        if name == "reconstruction":  # how much nearer than the reference
            return (of("reference") - of("audited")).dropna()
        values = of(None if name in ("attribute", "membership") else "audited")
        return (values <= _NEAREST).astype(float) if name == "neighbours" else values

    def _score_gap(self, score: str) -> Estimate | None:
        """The difference of two AUROCs over the same members and the same others."""
        parts = []
        for group in (MEMBER, NON_MEMBER):
            where = {"figure": "score", "attribute": score, "group": group}
            sides = [self._of_people(audit, "membership", where) for audit in (self.a, self.b)]
            both = _the_same(sides)
            if both is None:
                return None
            parts.append([side.loc[both].to_numpy(float) for side in sides])
        (a_in, b_in), (a_out, b_out) = parts
        found = auroc_difference(b_in, b_out, a_in, a_out)
        return Estimate(found.value, found.low, found.high, rounded_n(found.n))

    def _rows(self, audit: AuditResults, name: str, where: Mapping[str, str]) -> pd.DataFrame:
        """patient, group and value of the patients' rows with the given values; empty where the test was not run."""
        if name not in audit.files:
            return pd.DataFrame(columns=["patient", "group", "value"])
        return audit.patient_values(name, where)


def _the_same(sides: Sequence[pd.Series]) -> pd.Index | None:
    """The people whom both sides have, if they are nearly all of both, and enough."""
    both = sides[0].index.intersection(sides[1].index)
    if len(both) < FEWEST or len(both) < _SAME * max(map(len, sides)):
        return None
    return both


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
            rows, title=f"{names[1]} less {names[0]}", ends=(-ends, ends), level=(0.0, "no difference"), signed=True
        ),
        "Differences with 95 % intervals; to the left of 0 less is given away. Diamonds: the interval leaves out 0.",
    )
    return f"<p><b>{escape(said)}</b>{escape(chance)}</p>{_verdicts(comparison, names)}{drawn}{_differ(comparison, names)}<p><b>{escape(NO_CLEARANCE)}</b></p>"


def _verdicts(comparison: Comparison, names: tuple[str, str]) -> str:
    lines = [
        {name: headline(name, audit) for name in TESTS if name in audit.findings}
        for audit in (comparison.a, comparison.b)
    ]
    rows = [
        (TESTS[name], *(_cell(side.get(name)) for side in lines))
        for name in TESTS
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
    heads = ("Figure", *names, f"{names[1]} less {names[0]}", "Interval", "In words")
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
    heads = ("Attribute", "Declared severity", *names, f"{names[1]} less {names[0]}", "Interval")
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
            f'Differences are {other} less {one}. "Paired": each person was compared with themselves and people were '
            "resampled (bootstrap), which cancels what "
            'is the same in both. "Independent": the interval is made of the two intervals (MOVER; Newcombe 1998), '
            "which is wider than need be if the people are the same.",
            "An interval that holds 0 shows no difference; it does not show that there is none.",
            "Severity and likelihood are not blended, and no model is ranked by one number.",
        )
    )


def _model(audit: AuditResults) -> str:
    return str((audit.results.get("model") or {}).get("name", "a model"))
