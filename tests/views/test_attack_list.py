"""The list of attacks: cheapest first, twelve at most, each with k, n and interval, and nothing out of data as markup."""

from __future__ import annotations

import math

from ehrmem_widgets.attacker.identifiability import ALREADY_IDENTIFIED
from ehrmem_widgets.findings.finding import Finding, finding, patient_row, row
from ehrmem_widgets.probes.ranking.ask import GIVEN_AWAY
from ehrmem_widgets.probes.ranking.attack_list import MOST, attack_list
from ehrmem_widgets.statistics.intervals import Estimate, proportion
from tests.views.examples import EVIL, assert_harmless, label, parsed, words


def leaks(
    *ks: int, patient: str = "P-", attribute: str = "hiv", group: str = "member", population: int | None = None
) -> Finding:
    """One leak for each k, among 1,024 patients, the dearest first; 2 of 175 people never seen have one."""
    rows = [row(GIVEN_AWAY, proportion(2, 175), group="non-member")]
    for place, k in enumerate(sorted(ks)):
        of = {"attribute": attribute, "group": group}
        who = f"{patient}{place}"
        verdict = ALREADY_IDENTIFIED if k == 1 and population else ""
        bits = {"value": math.log2(1024 / k), "n": 1024, "p": 0.017, "p_adjusted": 0.034}
        rows += [
            patient_row(who, "bits", note="age", verdict=verdict, **bits, **of),
            patient_row(who, "k", value=k, n=1024, **of),
            patient_row(who, "leak", Estimate(0.71, 0.62, 0.79, 64), **of),
        ]
        if population:
            rows.append(patient_row(who, "population_others", Estimate(k - 1, k - 1, 2 * (k - 1), 1024), **of))
    return finding("ranking", rows, {"population": population}, [])


def test_a_row_says_patient_attribute_bits_k_and_the_leak_with_interval_and_n() -> None:
    drawn = attack_list(leaks(32), titles={"hiv": "HIV infection"})
    said = words(drawn)
    for expected in (
        "P-0 · member · 1 question",
        "HIV infection",
        "k = 32 of 1,024",
        "5.0 bits",
        "0.71 (0.62 to 0.79), n = 64",
    ):
        assert expected in said
    assert (
        "P-0 (member), HIV infection: 5.0 bits, k = 32, leak 0.71 (0.62 to 0.79), n = 64, 1 question for an even chance, p 0.017"
        in label(drawn)
    )
    assert "p 0.017, corrected 0.034" in said


def test_what_the_same_search_finds_about_people_never_seen_stands_beside() -> None:
    beside = "The same search finds a leak about 2 of 175 people never seen: 0.01 (0.00 to 0.04), n = 175."
    assert beside in words(attack_list(leaks(32))) and beside in label(attack_list(leaks(32)))


def test_the_least_knowledge_stands_first_and_furthest_left() -> None:
    drawn = attack_list(leaks(1, 512))
    said = words(drawn)
    assert said.index("k = 512") < said.index("k = 1 of")
    ends = [
        float(e.attrib["d"].split("H")[1]) for e in parsed(drawn).iter("path") if e.attrib.get("stroke-width") == "3"
    ]
    assert ends == sorted(ends) and len(ends) == 2


def test_unique_in_the_data_set_is_no_identification() -> None:
    drawn = attack_list(leaks(1, 512))
    assert ALREADY_IDENTIFIED not in words(drawn) + label(drawn)
    assert words(drawn).count("unique in this data set") - label(drawn).count("unique in this data set") == 2
    assert "(1 of the 2 leaks)" in words(drawn) and hollow(1) - hollow(512) == 1


def test_who_was_already_identified_among_people_is_marked_by_words_and_shape() -> None:
    drawn = attack_list(leaks(1, 512, population=9000))
    assert words(drawn).count(ALREADY_IDENTIFIED) - label(drawn).count(ALREADY_IDENTIFIED) == 2
    assert "about 512 (512 to 1,020)" in words(drawn)
    assert "Who fits here; of 9,000" in words(drawn)
    assert "already identified: of 9,000 people nobody else fits (1 of the 2 leaks)" in words(drawn)
    assert hollow(1, 9000) - hollow(512, 9000) == 1


def hollow(k: int, population: int | None = None) -> int:
    """How many marks have the ground's colour, one of the legend among them."""
    return attack_list(leaks(k, population=population)).count("var(--jp-layout-color1")


def test_twelve_rows_at_most_and_how_many_there_are() -> None:
    assert words(attack_list(leaks(*range(2, 42)), most=99)).count(" of 1,024") == MOST
    assert "The 12 cheapest of 40 leaks" in label(attack_list(leaks(*range(2, 42))))
    assert label(attack_list(leaks(2))).startswith("1 leak,")


def test_strings_from_data_stay_text() -> None:
    drawn = attack_list(leaks(1, 2, patient=EVIL, attribute=EVIL, group=EVIL), titles={EVIL: EVIL})
    assert_harmless(drawn)
    assert "&lt;script&gt;" in drawn


def test_no_leak_is_said_to_be_none() -> None:
    drawn = attack_list(finding("ranking", [], {}, []))
    assert "there is no leak to rank" in label(drawn) and "nan" not in drawn
    only_chance = attack_list(
        leaks(1, group="non-member")
    )  # what is found about people never seen is no leak of the list
    assert "there is no leak to rank" in label(only_chance) and "2 of 175 people never seen" in label(only_chance)
