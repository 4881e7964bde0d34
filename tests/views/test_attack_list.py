"""The list of attacks: cheapest first, twelve at most, each with k, n and interval, and nothing out of data as markup."""

from __future__ import annotations

import math

from ehrmem_widgets.probes.cohort_finding import CohortFinding, finding, patient_row
from ehrmem_widgets.probes.ranking import ALREADY_IDENTIFIED
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.attack_list import MOST, attack_list
from tests.views.examples import EVIL, assert_harmless, label, parsed, words


def leaks(*ks: int, patient: str = "P-", attribute: str = "hiv", group: str = "member") -> CohortFinding:
    """One leak for each k, among 1,024 patients, the dearest first."""
    rows = []
    for place, k in enumerate(sorted(ks)):
        of = {"attribute": attribute, "group": group}
        who = f"{patient}{place}"
        verdict = ALREADY_IDENTIFIED if k == 1 else ""
        rows += [
            patient_row(who, "bits", value=math.log2(1024 / k), n=1024, note="age", verdict=verdict, **of),
            patient_row(who, "k", value=k, n=1024, **of),
            patient_row(who, "leak", Estimate(0.71, 0.62, 0.79, 64), **of),
        ]
    return finding("ranking", rows, {}, [])


def test_a_row_says_patient_attribute_bits_k_and_the_leak_with_interval_and_n() -> None:
    drawn = attack_list(leaks(32), titles={"hiv": "HIV infection"})
    said = words(drawn)
    for expected in ("P-0 · member", "HIV infection", "k = 32 of 1,024", "5.0 bits", "0.71 (0.62 to 0.79), n = 64"):
        assert expected in said
    assert "P-0 (member), HIV infection: 5.0 bits, k = 32, leak 0.71 (0.62 to 0.79), n = 64" in label(drawn)


def test_the_least_knowledge_stands_first_and_furthest_left() -> None:
    drawn = attack_list(leaks(1, 512))
    said = words(drawn)
    assert said.index("k = 512") < said.index("k = 1 of")
    ends = [
        float(e.attrib["d"].split("H")[1]) for e in parsed(drawn).iter("path") if e.attrib.get("stroke-width") == "3"
    ]
    assert ends == sorted(ends) and len(ends) == 2


def test_who_was_already_identified_is_marked_by_words_and_shape() -> None:
    drawn = attack_list(leaks(1, 512))
    assert words(drawn).count("already identified") == 2 - 1 + label(drawn).count("already identified")
    assert "(1 of the 2 leaks)" in words(drawn)
    hollow = attack_list(leaks(1)).count("var(--jp-layout-color1") - attack_list(leaks(512)).count(
        "var(--jp-layout-color1"
    )
    assert hollow == 1


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
