"""The forest plot: harmless, every row with interval and n, small cells without a figure, screening told from claims."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from ehrmem_widgets.probes.subgroups.ask import KINDS
from ehrmem_widgets.probes.subgroups.gaps import CLAIMS, HIDDEN, SCREENING, subgroup_gaps
from ehrmem_widgets.probes.subgroups.page import overall, subgroup_bar, subgroup_page, summary_sentences
from ehrmem_widgets.probes.subgroups.rows import SubgroupRow
from ehrmem_widgets.statistics.discrimination import NOTHING
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Judgement, Verdict
from tests.views.examples import EVIL, assert_harmless, label, parsed, words

OUT = SubgroupRow(
    f"holds: {EVIL}", 12, Estimate(0.47, 0.25, 0.69, 200), Estimate(0.55, 0.22, 0.88, 400), 0.02, 0.02,
    Judgement(Verdict.MEMORIZED, "evil", EVIL), False,
)  # fmt: skip
MAYBE = replace(
    OUT, name="sex: F", members=120, difference=Estimate(-0.2, -0.35, -0.05, 400), p_adjusted=0.07, q=0.03,
    judgement=Judgement(Verdict.CANNOT_CONCLUDE, "evil", EVIL),
)  # fmt: skip
SMALL = SubgroupRow(
    "race: ASIAN",
    0,
    NOTHING,
    NOTHING,
    math.nan,
    math.nan,
    Judgement(Verdict.CANNOT_CONCLUDE, "small_cell", "<11: few"),
    True,
)
EMPTY = replace(SMALL, name="age: under 18", hidden=False)
ALONE = replace(
    OUT,
    name="age: 85 and over",
    difference=None,
    p_adjusted=0.9,
    q=0.9,
    judgement=Judgement(Verdict.POPULATION, "within_margin", "no more"),
)
ROWS = (EMPTY, MAYBE, SMALL, OUT)


@pytest.mark.parametrize("correction", [CLAIMS, SCREENING])
def test_rows_say_interval_and_n_and_hidden_ones_say_why(correction: str) -> None:
    drawn = subgroup_gaps(ROWS, EVIL, correction=correction)
    assert_harmless(drawn)
    said = words(drawn)
    for expected in ("+0.47 (+0.25 to +0.69), n = 200", "+0.55 (+0.22 to +0.88), n = 400", "Female", "120", HIDDEN):
        assert expected in said
    small = next(
        g for g in parsed(drawn).iter("g") if (g.findtext("title") or "").startswith("Race and ethnicity, Asian")
    )
    assert [e.text for e in small.iter("text")] == ["Asian", "fewer than 11: not shown"]
    assert "no members in it" in said


def test_claims_are_stricter_than_screening() -> None:
    claims, screening = (subgroup_gaps(ROWS, "score", correction=c) for c in (CLAIMS, SCREENING))
    assert "Memorized more" in words(claims) and "Memorized more" not in words(screening)
    assert words(screening).count("worth a closer look") >= 2
    assert "Sex, Female" not in label(claims) and "Sex, Female" in label(screening)
    assert summary_sentences(ROWS, CLAIMS)[1].startswith("1 subgroup stands out")
    assert summary_sentences(ROWS, SCREENING)[1].startswith("2 subgroups stand out")


def test_without_people_never_seen_there_is_only_the_gap() -> None:
    drawn = subgroup_gaps([ALONE], "score", correction=CLAIMS)
    assert "never seen" not in words(drawn)
    assert overall([ALONE]).verdict is Verdict.CANNOT_CONCLUDE


def test_the_bar_counts_over_all_rows_and_the_page_lists_what_is_chosen() -> None:
    bar = subgroup_bar(ROWS, "membership", CLAIMS)
    made = subgroup_page(ROWS, ("sex",), finding="membership", correction=CLAIMS, notes=[EVIL], exclusions={EVIL: 3})
    for markup in (bar, made):
        assert_harmless(markup)
    assert label(bar) == "Answer about subgroups by membership score: Memorized"
    said = words(bar)
    assert "Of 4 subgroups 2 could be tested" in said and "Not shown: 1 subgroup" in said
    assert "stand out 1 of 4" in said and "not decided 1 of 4" in said
    assert "not tested: too few people 2 of 4" in said.replace("…", "")
    assert "Female" in words(made) and "Asian" not in words(made)
    screening = subgroup_bar(ROWS, "excess", SCREENING)
    assert "Screening" in words(screening) and "Memorized" not in screening
    assert "worth a closer look" in words(subgroup_page(ROWS, KINDS, finding="excess", correction=SCREENING))


def test_what_stands_out_comes_first() -> None:
    said = words(subgroup_gaps(ROWS, "score", correction=CLAIMS))
    assert said.index("Standing out: holders of a sensitive attribute") < said.index("Age at the last event")


def test_nothing_to_show() -> None:
    drawn = subgroup_gaps((), "score", correction=CLAIMS)
    parsed(drawn)
    assert label(drawn).startswith("No subgroup to show")
    assert overall(()).verdict is Verdict.CANNOT_CONCLUDE
    assert overall([SMALL]).verdict is Verdict.CANNOT_CONCLUDE
