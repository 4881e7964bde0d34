"""How a probe's finding is shown: what of it may be shown at all, one sentence for somebody who decides, and its section of a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from ehrmem_widgets.attacker.facts import knowledge_words, knows
from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.charts.markup import escape, icon, known, plural
from ehrmem_widgets.charts.table import Markup, figure, inline, table
from ehrmem_widgets.cohort.attributes import load_attributes
from ehrmem_widgets.findings.disclosure_control import Rule
from ehrmem_widgets.findings.finding import AnyRow, Finding, estimate_of, judgement_of
from ehrmem_widgets.probes.people import ALL, CANARIES, CANARY, MEMBER, NON_MEMBER, NULL_CANARY
from ehrmem_widgets.statistics.discrimination import NOTHING
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.views.attack_cost import HOW_TO_READ as READ_COSTS
from ehrmem_widgets.views.attack_cost import questions
from ehrmem_widgets.views.interval_rows import IntervalRow, interval_rows

if TYPE_CHECKING:
    from ehrmem_widgets.audit.comparison import Comparison, Shared
    from ehrmem_widgets.audit.results import AuditResults
    from ehrmem_widgets.probes.base import Probe
    from ehrmem_widgets.views.attack_ranking import AttackTable
    from ehrmem_widgets.views.risk_matrix import Likelihood

FOUND, MISSED, NONE, NO_FIGURE = "found", "not found", "none planted", "no figure"
NOT_SEEN = "The planted canaries do not stand out either: they too were not remembered, or this test cannot see it."
GROUP_NAMES: Mapping[str, str] = {
    MEMBER: "Members",
    NON_MEMBER: "People never seen",
    CANARY: "Planted canaries, trained on",
    NULL_CANARY: "Canaries never trained on",
}


@dataclass(frozen=True)
class Headline:
    """``verdict``: of the whole test (None: it gives none), ``words``: one sentence, ``control``: whether the same test finds the
    planted canaries (``FOUND``, ``MISSED``, ``NONE``, ``NO_FIGURE`` of those
    planted, or empty where that is not asked), ``planted``: by how much, as it may be shown;
    ``figure``: what the sentence is about; ``decides``: what would decide an open verdict, where that can be said."""

    verdict: Verdict | None
    words: str
    control: str = ""
    figure: Estimate | None = None
    planted: Estimate | None = None
    decides: str = ""

    @property
    def stands_out(self) -> bool:
        """Whether the planted canaries do."""
        return self.control == FOUND


@dataclass(frozen=True)
class Frequency:
    """A share that can be told as "n of 100": ``key`` names its sentence in the texts of letters (one without is left out); ``never_seen``: the same
    of people never seen; ``title``, ``knowledge``: of what, and what is known. All as it may be shown, under the verdict of the test."""

    key: str
    figure: Estimate
    verdict: Verdict
    never_seen: Estimate | None = None
    title: str = ""
    knowledge: str = ""


@dataclass(frozen=True)
class Exposures:
    """How exposed each person asked about is, for the list of vulnerable patients: never to be shown outside it.

    ``found``: one row a person of whom something was found: ``patient``, ``group``, ``exposed`` (more is worse), and how: ``attribute``,
    ``value``, ``low``, ``high``, ``n`` (the ``figure``), ``facts`` in words, and ``k`` (nan: not counted). ``asked``: people by group; who is not
    in ``found`` is less exposed than anybody who is.
    """

    figure: str
    found: pd.DataFrame
    asked: Mapping[str, int]

    def of(self, group: str) -> pd.DataFrame:
        """Those of one group of whom something was found."""
        return self.found[self.found["group"] == group].reset_index(drop=True)

    def statistic(self, group: str) -> np.ndarray:
        """(people asked about,) of one group, those found first, in the order of ``of``."""
        own = self.of(group)["exposed"].to_numpy(float)
        return np.concatenate([own, np.full(max(0, self.asked.get(group, 0) - len(own)), -np.inf)])


class ProbeView:
    """How a probe is shown in one audit. A probe of your own overrides what it needs: without anything no figure of it is shown
    (disclosure control fails closed), and with ``rules`` alone it has a headline, its verdicts and a chart of its figures.

    ``rules``: the figures that a report may show, as patterns of their names, and the rule of each. ``asked``, ``held_against``,
    ``how_to_read``: the fixed words of its section. ``judged_figure``: the figure that its verdict is about (a pattern; empty: all that carry one).
    ``memorized``, ``population``: the headline's sentence where that is the verdict, with {figure}, {where} and {what}.
    """

    rules: ClassVar[Sequence[tuple[str, Rule]]] = ()
    settings: ClassVar[Sequence[str]] = ()  # those of its own that a report may show
    asked: ClassVar[str] = ""
    held_against: ClassVar[str] = ""
    how_to_read: ClassVar[str] = ""
    judged_figure: ClassVar[str] = ""
    control_figure: ClassVar[str] = ""  # of the planted, where another one carries no verdict (a pattern)
    memorized: ClassVar[str] = "More is given away of people it was trained on than of others: by {figure}{where}."
    population: ClassVar[str] = "No more is given away of people it was trained on: largest difference {figure}{where}."
    compared_with: ClassVar[str] = "Members against people never seen"
    no_verdict: ClassVar[str] = "no verdict"
    on_first_page: ClassVar[bool] = True  # whether the first page of an audit's report has a row for it
    chance: ClassVar[float | None] = (
        0.0  # its figure where nothing is remembered, 1 being the most there can be; None: on no such scale
    )
    signed: ClassVar[bool] = True  # whether its figure is a difference, shown with its sign
    measures: ClassVar[str] = "more for members than for people never seen"  # what its figure counts, under the number

    attack: ClassVar[
        Sequence[tuple[int, Query, str]]
    ] = ()  # what it asks of one person, if a fixed number: how many, of which kind, of what
    no_attack: ClassVar[str] = ""  # why it costs nothing of its own

    def __init__(self, probe: Probe, audit: AuditResults) -> None:
        self.probe, self.audit = probe, audit

    @property
    def found(self) -> Finding:
        """The finding as it may be shown."""
        return self.audit.findings[self.probe.name]

    @property
    def knowledge_levels(self) -> list[str]:
        """What the attacker was supposed to know."""
        settings = self.found.settings
        return list(settings.get("knowledge_levels") or ([settings["knowledge"]] if settings.get("knowledge") else []))

    # For somebody who decides ------------------------------------------------------------------------------------------

    def headline(self) -> Headline:
        """The verdict of the whole test in one plain sentence."""
        rows, control = self.judged(), self.control()
        if not len(rows):
            return Headline(Verdict.CANNOT_CONCLUDE, self.why_nothing(), control)
        order = (Verdict.MEMORIZED, Verdict.CANNOT_CONCLUDE)
        verdict = next((v for v in order if (rows["verdict"] == v).any()), Verdict.POPULATION)
        of = rows[rows["verdict"] == verdict]
        first = verdict is not Verdict.POPULATION or not of["value"].notna().any()
        one = of.iloc[0] if first else of.loc[of["value"].idxmax()]
        judgement = judgement_of(one)
        return Headline(
            verdict,
            self._words(verdict, rows, one, control),
            control,
            estimate_of(one),
            self.planted(str(one["knowledge"])),
            str(judgement.facts.get("more", "")) if judgement else "",
        )

    def everybody(self) -> str:
        """Where the test tells nearly all members from others: that, in one sentence; empty where it does not."""
        return ""

    def judged(self) -> pd.DataFrame:
        """The figures that carry the verdicts on members against people never seen, in the finding's order."""
        rows = self.found.figures
        rows = rows[(rows["verdict"] != "") & rows["group"].isin([ALL, f"{MEMBER} - {NON_MEMBER}"])]
        if self.judged_figure:
            rows = rows[rows["figure"].str.fullmatch(self.judged_figure)]
        return rows[rows["model"] != "reference"]

    def control(self) -> str:
        """Whether the same test finds the planted canaries."""
        planted = self._of_canaries()
        if not len(planted):
            return NO_FIGURE if self.audit.people.get(CANARY) else NONE
        if (planted["verdict"] != "").any():
            return FOUND if (planted["verdict"] == Verdict.MEMORIZED).any() else MISSED
        return FOUND if (planted["low"] > 0).any() else MISSED

    def planted(self, knowledge: str) -> Estimate | None:
        """The planted canaries' own figure, at the same knowledge level where there is one; None: none were planted."""
        planted = self._of_canaries()
        same = planted[planted["knowledge"] == knowledge]
        rows = same if len(same) else planted
        return estimate_of(rows.iloc[0]) if len(rows) else None

    def _of_canaries(self) -> pd.DataFrame:
        rows = self.found.figures
        planted = rows[(rows["group"] == CANARIES) | rows["group"].str.fullmatch(rf"{CANARY}( x\d+)? - {NULL_CANARY}")]
        if self.control_figure or self.judged_figure:
            planted = planted[planted["figure"].str.fullmatch(self.control_figure or self.judged_figure)]
        planted = planted[planted["model"] != "reference"]
        return planted[(planted["n"] == 0) | planted["low"].notna()]  # not those that could not be computed

    def compared(self, one: AnyRow) -> str:
        """What a judged figure compares, in words."""
        return knowledge_words(str(one["knowledge"])) or str(one["figure"]).replace("_", " ").capitalize()

    def what(self, one: AnyRow) -> str:
        """What {what} stands for in the headline."""
        return self.compared(one)

    def why_nothing(self) -> str:
        """Why there is no figure to judge."""
        return "There are too few people, or the model does not answer this kind of question."

    def _words(self, verdict: Verdict, rows: pd.DataFrame, one: pd.Series, control: str) -> str:
        of = rows[rows["verdict"] == verdict]
        others = (
            f" ({verdict.lower()} in {len(of)} of {len(rows)} comparisons{_rest(rows, verdict)})"
            if len(of) < len(rows)
            else ""
        )
        if verdict is Verdict.CANNOT_CONCLUDE:
            note = str(one["note"]).strip() or "there are too few people."
            about = f"{self.compared(one)}: " if len(rows) > 1 else ""
            said = f"{about}{note.rstrip('.')}{others}."
            return f"{said[:1].upper()}{said[1:]}"
        knowledge = str(one["knowledge"])
        words = (self.memorized if verdict is Verdict.MEMORIZED else self.population).format(
            figure=inline(estimate_of(one)),
            where=f", knowing {knows(knowledge)}" if knowledge else "",
            what=self.what(one),
        )
        missed = f" {NOT_SEEN}" if verdict is Verdict.POPULATION and control == MISSED else ""
        return f"{words.rstrip('.')}{others}.{missed}"

    # The section -------------------------------------------------------------------------------------------------------

    def verdicts(self) -> str:
        """The verdicts on members against people never seen, as a table; empty where there are none."""
        rows = self.judged()
        if not len(rows):
            return ""
        cells: list[tuple[object, ...]] = []
        for one in rows.to_dict("records"):
            verdict = Verdict(one["verdict"])
            shown = Markup(f"{icon(verdict, 16)} {escape(verdict)}")
            note = one["note"] if verdict is Verdict.CANNOT_CONCLUDE else ""
            of = figure(estimate_of(one), signed=self.signed)
            cells.append((self.compared(one), of, p_words(one["p_adjusted"]), shown, note))
        heads: tuple[str, ...] = ("Compared", self.compared_with, "p, corrected", "Verdict")
        if any(cell[-1] for cell in cells):
            heads = (*heads, "Why it cannot be decided")
        else:
            cells = [cell[:-1] for cell in cells]
        return table(heads, cells, caption="Verdicts, with 95 % interval and n (people)")

    def pictures(self) -> list[str]:
        """Charts and tables of the section; here the figures that carry a verdict, and those of the planted."""
        rows = [
            IntervalRow(
                self.compared(one), estimate_of(one), heading=GROUP_NAMES.get(str(one["group"]), str(one["group"]))
            )
            for one in self.found.figures.to_dict("records")
            if known(estimate_of(one))
        ]
        if not rows:
            return []
        low = min(0.0, *(row.estimate.low for row in rows))
        ends = (low, max(1.0, *(row.estimate.high for row in rows)))
        return [picture(interval_rows(rows, title=self.probe.title, ends=ends, level=(0.0, "nothing")), "All figures.")]

    def asked_of_one(self) -> Sequence[tuple[int, Query, str]]:
        """What the attack asks about one person."""
        return self.attack

    def costs(self) -> str:
        """What the attack costs, as markup; empty where nothing is known of it."""
        asked = []
        for number, kind, of in self.asked_of_one():
            queries = Estimate(number, number, number, 1)
            took = self.audit.means.words(queries, kind)
            asked.append(f"{questions(queries, kind)} {of}{f', {took}' if took else ''}")
        if not asked:
            return f"<p>{escape(self.no_attack)}</p>" if self.no_attack else ""
        return f"<p>About one person: {escape('; '.join(asked))}. To ask again brings nothing new: how often it succeeds is the test's own figure.</p>"

    def even_chances(self, by_level: Mapping[str, Sequence[Estimate]], caption: str, of: tuple[str, str]) -> str:
        """Questions for an even chance, of members and of people never seen, by what the attacker knows. ``of``: what each n counts, one and several."""
        cells = []
        for knowledge, (members, others) in by_level.items():
            took = self.audit.means.words(members) if members.n else ""
            said = (questions(one, n=plural(one.n, *of)) for one in (members, others))
            cells.append([knowledge_words(knowledge), *said, took or "not known"])
        heads = ("What the attacker knows", "Members", "People never seen", "Time and money, members")
        return f"{table(heads, cells, caption=caption)}<p>{escape(READ_COSTS)}</p>"

    # What the first page and other pages take from it; most probes have none of these --------------------------------------

    def likelihoods(self) -> tuple[Likelihood, ...]:
        """For the risk matrix: how likely each sensitive attribute is given away."""
        return ()

    @property
    def worst_level(self) -> str:
        """The knowledge level at which that is likeliest."""
        return ""

    def over_all_attributes(self, knowledge: str) -> Estimate | None:
        """The likelihood over all attributes together, at a knowledge level: it can be measured where few hold each of them."""
        return None

    def attacks(self) -> AttackTable | None:
        """What an attacker must know to have somebody given away."""
        return None

    def vulnerable(self) -> str:
        """Markup on the groups of whom more is remembered."""
        return ""

    def exposures(self) -> Exposures | None:
        """Whom something sensitive can be told of, and by which facts; None where the test does not say that of single people."""
        return None

    def frequencies(self) -> Iterable[Frequency]:
        """Shares for a letter in plain language."""
        return ()

    def patients(self) -> str:
        """Markup that names patients by pseudonym, for an audit that its plan declares as identifying."""
        return ""

    def asked_besides(self) -> str:
        """Whom it asked about beyond those who were chosen for all probes, in words."""
        return ""

    def not_asked(self) -> str:
        """What could not be asked, in words."""
        return ""

    def values(self, **more: str) -> Callable[[AuditResults, Mapping[str, str]], pd.Series]:
        """Each person's value in this probe's finding, by pseudonym, for a comparison person by person."""

        def of(audit: AuditResults, where: Mapping[str, str]) -> pd.Series:
            found: pd.Series = audit.patient_values(self.probe.name, {**where, **more}).set_index("patient")["value"]
            return found

        return of

    def shared(self, comparison: Comparison) -> Iterable[Shared]:
        """The figures on which two audits are compared, of which more means that more is given away; here that with the verdict."""
        if self.judged_figure:
            yield from comparison.by_level(
                self.probe.name, self.probe.title, {"figure": self.judged_figure, "group": ALL}
            )

    def useful(self, comparison: Comparison) -> Iterable[Shared]:
        """The figures on which two audits are compared that say what their models are good for."""
        return ()

    def attribute_gap(self, comparison: Comparison, attribute: str, knowledge: str) -> Estimate | None:
        """The difference of two audits in one attribute's likelihood, person by person."""
        return None

    @classmethod
    def method_picture(cls, findings: Mapping[str, Finding]) -> str:
        """A chart for the documentation, from the findings of all probes on the sample cohort; empty: none."""
        return ""


def picture(markup: str, caption: str) -> str:
    """A figure with its caption."""
    return f"<figure>{markup}<figcaption>{escape(caption)}</figcaption></figure>"


def p_words(value: float) -> str:
    """A p-value; empty where there is none."""
    if value != value:
        return ""
    return f"{value:.2f}" if value > 0.01 else "0.01 or less"


def group_words(group: str) -> str:
    """A group's name as a chart has it."""
    if group.startswith(f"{CANARY} x"):
        times = group.removeprefix(f"{CANARY} x")
        return f"Planted canaries, seen {'once' if times == '1' else f'{times} times'} an epoch"
    return GROUP_NAMES.get(group, group)


def _rest(rows: pd.DataFrame, verdict: Verdict) -> str:
    """The other verdicts and how many comparisons have each."""
    counts = [(other, int((rows["verdict"] == other).sum())) for other in Verdict if other is not verdict]
    return "".join(f", {other.lower()} in {n}" for other, n in counts if n)


METHOD_GROUPS = {
    MEMBER: "trained on (members)",
    NON_MEMBER: "never seen (non-members)",
    CANARY: "canaries, trained on 16 times",
    NULL_CANARY: "canaries, never trained on",
}
"""Whom the pictures of the methods page show, in words that fit on them."""


def titles() -> dict[str, str]:
    """Sensitive attributes' names in words."""
    return {name: attribute.title for name, attribute in load_attributes().items()}


def first_estimate(found: Finding, figure_name: str, **where: str) -> Estimate:
    """The first figure with these values; nothing where there is none."""
    rows = found.about("figures", figure=figure_name, **where)
    return estimate_of(rows.iloc[0]) if len(rows) else NOTHING
