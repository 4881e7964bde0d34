"""The ranking as it is shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ehrmem_widgets.attacker.facts import knowledge_words
from ehrmem_widgets.attacker.identifiability import ALREADY_IDENTIFIED
from ehrmem_widgets.charts.markup import escape
from ehrmem_widgets.charts.table import figure
from ehrmem_widgets.findings.disclosure_control import (
    Figures,
    hidden,
    share,
)
from ehrmem_widgets.findings.finding import EXCLUDED, FIGURES, PATIENTS, Finding, FindingRow, estimate_of
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER
from ehrmem_widgets.probes.ranking.ask import GIVEN_AWAY, GIVEN_AWAY_GAP, NO_REFERENCE, SEARCH
from ehrmem_widgets.probes.ranking.attack_list import attack_list
from ehrmem_widgets.probes.view import Exposures, Frequency, Headline, ProbeView, picture
from ehrmem_widgets.probes.view import titles as _titles
from ehrmem_widgets.statistics.attack_cost import median, median_for_even_chance
from ehrmem_widgets.statistics.disclosure import (
    FEWEST,
    as_shown,
    coarse_share,
    hidden_cells,
    is_small,
    with_totals,
)
from ehrmem_widgets.statistics.discrimination import NOTHING
from ehrmem_widgets.statistics.intervals import Estimate, proportion
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.views.attack_ranking import FITS, AttackRow, AttackTable, attack_ranking, attack_shares
from ehrmem_widgets.views.attack_ranking import HOW_TO_READ as READ_ATTACKS

if TYPE_CHECKING:
    from ehrmem_widgets.audit.comparison import Comparison, Shared


_MAX_WITHHELD = 0.5  # of the kinds of attack's numbers


def given_away(one: FindingRow, figures: Figures) -> Estimate:
    """Of members only the table of attacks tells how many are given away: it withholds that number where its cells would follow."""
    return NOTHING if one["group"] == MEMBER else share(one, figures)


class RankingView(ProbeView):
    """What an attacker must know."""

    rules = ((GIVEN_AWAY, given_away), (GIVEN_AWAY_GAP, hidden))
    settings = ("threshold", "population")
    judged_figure = GIVEN_AWAY_GAP
    asked = (
        "For every member who holds a sensitive attribute: which facts, as few and as common as possible, suffice for the model to give "
        "it away?"
    )
    held_against = (
        "The very same search over people whom neither model saw: whatever it finds there, it finds by chance. And only leaks that go "
        "beyond the reference model's answer count, where there is one, each asked again with other random numbers."
    )
    how_to_read = READ_ATTACKS

    def headline(self) -> Headline:
        """How many members some attack gives away."""
        attacks = self.attacks()
        rows = self.judged()
        verdict, control = Verdict(rows.iloc[0]["verdict"]) if len(rows) else None, self.control()
        same = (
            f" Share of people never seen whom the same search gives away: {figure(attacks.never_seen, n=False)}."
            if len(rows)
            else ""
        )
        if not attacks.kinds:
            words = (
                f"No set of facts tried gave a member away, of {attacks.asked_in_words} who hold a sensitive attribute."
            )
        elif attacks.totals.total is None:
            words = (
                f"Some members are given away: fewer than {FEWEST}, or too many to be told from all of "
                f"{attacks.asked_in_words}."
            )
        else:
            share = figure(attacks.totals.share, n=False)
            words = (
                f"Some attack gives away a share of {share} of {attacks.asked_in_words} who hold a sensitive attribute."
            )
        own = estimate_of(rows.iloc[0]) if len(rows) else None
        same += "" if self.audit.results.get("reference") else f" {NO_REFERENCE}"
        return Headline(verdict, f"{words}{same}", control, own, self.planted(""))

    def frequencies(self) -> Iterable[Frequency]:
        """The share of members who are given away."""
        verdict, attacks = self.headline().verdict, self.attacks()
        if verdict and attacks.totals.share is not None:
            yield Frequency("given_away", attacks.totals.share, verdict, attacks.never_seen)

    def verdicts(self) -> str:
        """Said beside the chart."""
        return ""

    def pictures(self) -> list[str]:
        """Which kinds of facts give members away."""
        attacks = self.attacks()
        alone = [] if self.audit.results.get("reference") else [f"<p>{NO_REFERENCE}</p>"]
        drawn = attack_shares(attacks)
        said = [f"{escape(one['verdict'])}: {escape(one['note'])}" for one in self.judged().to_dict("records")]
        return [
            *alone,
            *(f"<p><b>Members against people never seen.</b> {one}</p>" for one in said),
            *(
                [picture(drawn, "By kind of attack, the cheapest first; the diamond is all of them together.")]
                if drawn
                else []
            ),
            attack_ranking(attacks),
        ]

    def attacks(self) -> AttackTable:
        """What an attacker must know to have a member given away."""
        return self._attacks

    @cached_property
    def _attacks(self) -> AttackTable:
        leaks = self.audit.query(
            self.probe.name,
            PATIENTS,
            """SELECT patient, max(value) FILTER (figure = 'bits') AS bits, max(value) FILTER (figure = 'k') AS k,
            max(knowledge) FILTER (figure = 'bits') AS way, bool_or(verdict = ?) AS identified,
            max(value) FILTER (figure = 'leak') AS leak, max(value) FILTER (figure = 'searched') AS searched
            FROM rows WHERE figure IN ('bits', 'k', 'leak', 'searched') AND "group" = ? GROUP BY patient, attribute""",
            [ALREADY_IDENTIFIED, MEMBER],
        )
        cheapest = leaks.sort_values(["bits", "k"], kind="stable").drop_duplicates("patient")
        settings = self.found.settings
        whole = _attack_table(cheapest, self._holders_asked, float(settings.get("threshold", 0.25)))
        null = self.found.about("figures", figure=GIVEN_AWAY, group=NON_MEMBER).to_dict("records")
        population = settings.get("population")
        return replace(
            whole,
            never_seen=estimate_of(null[0]) if null else None,
            population=population,
            identified=_identified(cheapest) if population else None,
            beyond=bool(self.audit.results.get("reference")),
        )

    @cached_property
    def _holders_asked(self) -> int:
        """Members asked about who hold an attribute: all members but those who were left out."""
        left_out = self.audit.query(self.probe.name, EXCLUDED, "SELECT DISTINCT patient FROM rows")["patient"]
        group = self.audit.group_of_people
        return max(0, self.audit.people.get(MEMBER, 0) - sum(group.get(patient) == MEMBER for patient in left_out))

    def exposures(self) -> Exposures:
        """The cheapest leak of each person: the fewer bits it takes, the more exposed."""
        leaks = self.audit.query(
            self.probe.name,
            PATIENTS,
            """SELECT patient, "group", attribute, -max(value) FILTER (figure = 'bits') AS exposed,
            max(note) FILTER (figure = 'bits') AS facts, max(value) FILTER (figure = 'k') AS k,
            max(value) FILTER (figure = 'leak') AS value, max(low) FILTER (figure = 'leak') AS low,
            max(high) FILTER (figure = 'leak') AS high, max(n) FILTER (figure = 'leak') AS n
            FROM rows WHERE figure IN ('bits', 'k', 'leak') GROUP BY patient, "group", attribute ORDER BY exposed DESC, value DESC, patient, attribute""",
        )
        asked = Finding.load(self.audit.files[self.probe.name], tables=(FIGURES,)).about(FIGURES, figure=GIVEN_AWAY)
        return Exposures(
            "leak probability",
            leaks.drop_duplicates("patient"),
            dict(zip(asked["group"], asked["n"].astype(int), strict=True)),
        )

    def patients(self) -> str:
        """The leaks that take the attacker the least knowledge, by patient."""
        found = Finding.load(self.audit.files[self.probe.name])
        drawn = attack_list(found, titles=self.audit.titles())
        return picture(drawn, "The leaks that take the attacker the least knowledge, by patient.")

    def shared(self, comparison: Comparison) -> Iterable[Shared]:
        """The share of members given away."""
        tables = [audit.attacks for audit in (comparison.a, comparison.b)]
        one, other = (found.totals.share if found is not None else None for found in tables)
        yield from comparison.independent(self.probe, "share of members given away", "By any attack tried", one, other)

    @classmethod
    def method_picture(cls, findings: Mapping[str, Finding]) -> str:
        """The cheapest leaks."""
        return attack_list(findings["ranking"], titles=_titles())


def way_words(way: str) -> str:
    """A kind of attack, as the ranking names it, in words."""
    return "A few facts chosen to take the least knowledge" if way == SEARCH else knowledge_words(way)


def _attack_table(cheapest: pd.DataFrame, asked: int, threshold: float) -> AttackTable:
    """``cheapest``: one row a patient, columns bits, k, way, leak, searched."""
    bits = cheapest.groupby("way")["bits"].median().sort_values(kind="stable")
    places = [bits.index.get_loc(way) for way in cheapest["way"]]
    classes = [next(i for i, (least, _) in enumerate(FITS) if k >= least) for k in cheapest["k"]]
    counts = np.zeros((len(bits), len(FITS)), dtype=int)
    np.add.at(counts, (places, classes), 1)
    if hidden_cells(counts)[:-1, :-1][counts > 0].mean() > _MAX_WITHHELD if len(counts) else True:
        counts = counts.sum(axis=0, keepdims=True)  # the totals alone, or hardly a number would be left
    whole = with_totals(counts)[:-1] if len(counts) == 1 else with_totals(counts)
    hidden = hidden_cells(counts)[: len(whole)]

    def row(place: int, words: str, of: pd.DataFrame) -> AttackRow:
        cells = [None if hide else int(n) for n, hide in zip(whole[place], hidden[place], strict=True)]
        total = cells.pop()
        share = None if total is None or asked < FEWEST else coarse_share(proportion(total, asked))
        if total is None or total < FEWEST:
            return AttackRow(words, tuple(cells), total, share, None)
        searched = of["searched"].dropna()  # earlier audits did not count them
        spent = as_shown(median(searched)) if len(searched) else None
        leak = median_for_even_chance(of["leak"])
        return AttackRow(words, tuple(cells), total, share, float(of["bits"].median()), leak, spent)

    kinds = tuple(way_words(str(way)) for way in bits.index)
    of_way = dict(list(cheapest.groupby("way")))
    rows = tuple(row(place, kinds[place], of_way[bits.index[place]]) for place in range(len(whole) - 1))
    if is_small(asked - len(cheapest)):  # how many are not given away would follow
        nothing = AttackRow("Any attack", (None,) * len(FITS), None, None, None)
        return AttackTable(kinds, (), nothing, asked, threshold)
    return AttackTable(
        kinds, rows, row(len(whole) - 1, "Any of these" if rows else "Any attack", cheapest), asked, threshold
    )


def _identified(cheapest: pd.DataFrame) -> Estimate | None:
    """The share of those given away who were identified already; None where the rest of those unique in the data set, or anybody else,
    would be a count of 1 to 10 people."""
    identified, unique = int(cheapest["identified"].sum()), int((cheapest["k"] <= 1).sum())
    if is_small(unique - identified) or len(cheapest) < FEWEST:
        return None
    return coarse_share(proportion(identified, len(cheapest)))
