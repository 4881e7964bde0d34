"""The risk matrix and the attack ranking: every attribute in its cell, nothing blended, nothing withheld is shown."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pandas as pd
import pytest

from ehrmem_widgets.probes.perturbation.moved import AUDITED, NEVER_SEEN, moved_identifiers
from ehrmem_widgets.probes.subgroups.rows import SubgroupRow
from ehrmem_widgets.probes.subgroups.vulnerable import vulnerable_groups
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Judgement, Verdict
from ehrmem_widgets.views.attack_ranking import AttackRow, AttackTable, attack_ranking, attack_shares
from ehrmem_widgets.views.risk_matrix import BANDS, NO_MEMORY, NOT_MEASURED, Likelihood, risk_matrix
from tests.views.examples import EVIL, assert_harmless, label, parsed, words


def cells(markup: str) -> dict[tuple[str, str], str]:
    """What stands in each cell, by severity and band."""
    table = parsed(markup).find("table")
    assert table is not None
    heads = ["".join(th.itertext()) for th in table.findall("thead/tr/th")]
    found = {}
    for line in table.findall("tbody/tr"):
        severity = "".join(line.find("th").itertext())  # type: ignore[union-attr]
        for head, cell in zip(heads[1:], line.findall("td"), strict=True):
            found[severity, head] = " ".join(cell.itertext())
    return found


def likely(value: float, name: str = "hiv", high: float | None = None) -> Likelihood:
    return Likelihood(name, name.upper(), "one_lab", Estimate(value, value - 0.01, high or value + 0.01, 40))


@pytest.mark.parametrize(
    ("value", "band"), [(-0.2, 0), (0.049, 0), (0.05, 1), (0.24, 1), (0.25, 2), (0.5, 3), (1.0, 3)]
)
def test_an_attribute_stands_in_the_band_of_its_value(value: float, band: int) -> None:
    found = cells(risk_matrix([likely(value)], {"hiv": 5}, knows="one lab"))
    there = {key for key, content in found.items() if content}
    assert there == {("5, most severe", BANDS[band][1])} and "n = 40" in found[there.pop()]


@pytest.mark.parametrize(("others", "said"), [(0.3, True), (0.29, True), (0.1, False), (None, True)])
def test_what_is_as_high_for_people_never_seen_is_not_shown_to_be_memory(others: float | None, said: bool) -> None:
    one = likely(0.3)
    control = None if others is None else Estimate(others, others - 0.01, others + 0.01, 40)
    page = risk_matrix([replace(one, never_seen=control)], {"hiv": 5}, knows="x")
    assert (NO_MEMORY in page) == said


def test_what_was_not_measured_has_a_place_with_its_reason() -> None:
    unknown = [
        Likelihood(name, name.upper(), "one_lab", None, why="fewer than 11 members hold it") for name in ("hiv", "std")
    ]
    found = cells(risk_matrix(unknown, {"hiv": 5, "std": 5}, knows="x"))
    assert " ".join(found["5, most severe", NOT_MEASURED].split()) == "HIV; STD fewer than 11 members hold it"


def test_severity_moves_a_row_and_nothing_else() -> None:
    one, other = (cells(risk_matrix([likely(0.3)], {"hiv": severity}, knows="x")) for severity in (5, 2))
    assert one["5, most severe", BANDS[2][1]] == other["2", BANDS[2][1]] and not other["5, most severe", BANDS[2][1]]
    assert cells(risk_matrix([likely(0.3)], {}, knows="x"))["not declared", BANDS[2][1]]


def test_an_interval_that_reaches_further_is_marked_in_words() -> None:
    assert "reaches into the next band" in risk_matrix([likely(0.2, high=0.3)], {"hiv": 5}, knows="x")
    assert "reaches" not in risk_matrix([likely(0.2)], {"hiv": 5}, knows="x")


def test_there_is_no_colour_and_no_score() -> None:
    markup = risk_matrix([likely(0.9), likely(0.01, "std")], {"hiv": 5, "std": 1}, knows="x")
    assert "style" not in markup and "background" not in markup and "4.5" not in words(markup)


def test_matrix_escapes_what_data_say() -> None:
    evil = Likelihood("hiv", EVIL, "one_lab", None, why=EVIL)
    assert_harmless(risk_matrix([evil], {"hiv": 5}, knows=EVIL))


def attacks(
    rows: tuple[AttackRow, ...] = (), total: int | None = 30, cells_: tuple[int | None, ...] = (15, 0, 0, 15)
) -> AttackTable:
    share = None if total is None else Estimate(0.3, 0.2, 0.4, 100)
    return AttackTable(
        ("A few facts", "The first 10 codes"), rows, AttackRow("Any attack", cells_, total, share, 8.0), 100, 0.25
    )


def test_withheld_numbers_of_attacks_are_words() -> None:
    row = AttackRow("A few facts", (None, 0, 0, 12), None, None, None)
    read = words(attack_ranking(attacks((row,))))
    assert "withheld" in read and "100 or more members" in read and "fits this patient only" in read
    share = attack_shares(attacks((row,)))
    ElementTree.fromstring(share)
    assert "0.30 (0.20 to 0.40)" in label(share)


def test_where_all_numbers_are_withheld_the_kinds_are_still_ranked() -> None:
    read = words(attack_ranking(attacks(total=None, cells_=(None, 0, 0, None))))
    assert "Too few to be counted here" in read and "100 patients or more, this patient only" in read
    assert read.index("a few facts") < read.index("the first 10 codes")
    assert attack_shares(attacks(total=None, cells_=(None, 0, 0, None))) == ""


def test_what_people_never_seen_give_away_stands_beside() -> None:
    found = replace(attacks(), never_seen=Estimate(0.02, 0.01, 0.05, 170))
    said = "whom the same search finds a leak: 0.02 (0.01 to 0.05), n = 170."
    assert said in words(attack_ranking(found)) and "Any attack, on people never seen" in label(attack_shares(found))
    assert "no people never seen" in words(attack_ranking(attacks())) and "already" not in words(attack_ranking(found))
    declared = replace(found, population=300_000, identified=Estimate(0.5, 0.3, 0.7, 30))
    assert "nobody else of 300,000 people (already identified): 0.50 (0.30 to 0.70)" in words(attack_ranking(declared))


def test_no_attack_is_said() -> None:
    nothing = AttackTable((), (), AttackRow("Any attack", (0, 0, 0, 0), 0, None, None), 5, 0.25)
    assert "No set of facts tried" in attack_ranking(nothing) and "fewer than 11 members" in attack_ranking(nothing)


def subgroup(name: str, p: float, hidden: bool = False) -> SubgroupRow:
    effect = Estimate(math.nan if hidden else 0.2, 0.1, 0.3, 0 if hidden else 120)
    verdict = Verdict.MEMORIZED if p <= 0.05 else Verdict.POPULATION
    return SubgroupRow(
        name, effect.n, effect, effect, math.nan if hidden else p, p, Judgement(verdict, "x", "x"), hidden
    )


def test_groups_that_stand_out_are_named_and_small_ones_counted() -> None:
    rows = [subgroup("sex: F", 0.01), subgroup("age: 85 and over", 0.5), subgroup("holds: HIV", 0.5, hidden=True)]
    read = words(vulnerable_groups({"membership": rows}))
    assert "memorized" in read and "sex: Female by +0.20 (+0.10 to +0.30, n = 120)" in read
    assert "of 2 subgroups tested 1 stands out" in read and "1 not shown (fewer than 11 people in or outside)" in read


def curves() -> pd.DataFrame:
    rows = [
        {"identifier": name, "who": who, "step": step, "value": 0.1 * (step == 0), "low": 0.0, "high": 0.2, "n": 50}
        for name in ("age", "sex")
        for who in (AUDITED, NEVER_SEEN)
        for step in (-1, 0, 1)
    ]
    return pd.DataFrame(rows)


def test_moved_identifiers_are_one_named_element_in_the_pages_ink() -> None:
    drawn = moved_identifiers(curves())
    root = ElementTree.fromstring(drawn)
    assert root.tag.endswith("svg") and "the age, members: 0.10 (0.00 to 0.20, n = 50)" in root.attrib["aria-label"]
    assert "<style" not in drawn and "<metadata" not in drawn and "://" not in drawn and "xlink" not in drawn
    assert "currentColor" in drawn and "#000000" not in drawn and drawn == moved_identifiers(curves())
    assert "No curve" in moved_identifiers(curves().iloc[:0])
