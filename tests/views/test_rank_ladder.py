"""The ladder of ranks and the cohort's table: figures with n and interval, signs besides colour, nothing out of data as markup."""

from __future__ import annotations

import math

import pytest

from ehrmem_widgets.attacker.facts import knowledge_words
from ehrmem_widgets.findings.finding import Exclusion, Finding, excluded_row, finding, row
from ehrmem_widgets.probes.neighbours.cohort import neighbours_cohort
from ehrmem_widgets.probes.neighbours.ladder import Step
from ehrmem_widgets.probes.neighbours.ladder_chart import rank_ladder
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER
from ehrmem_widgets.statistics.intervals import Estimate, proportion
from ehrmem_widgets.statistics.verdicts import Judgement, Verdict
from tests.views.examples import EVIL, assert_harmless, label, parsed, words

STEPS = (
    Step("demographics", 812, 2790, 13, 5),
    Step("one_lab", why_not="the record has no laboratory test"),
    Step("lab_values", 3, None, 1),
)


def cohort(
    knowledge: str = "lab_values", verdict: Verdict = Verdict.POPULATION, note: str = "no more for members."
) -> Finding:
    """Two groups of thirty, and one who was left out."""
    rows = []
    for group, hits in ((MEMBER, 7), (NON_MEMBER, 8)):
        of = {"knowledge": knowledge, "group": group}
        rows += [row(f"hit@{k}", proportion(hits, 30), model="audited", **of) for k in (1, 5, 10)]
        rows += [row(f"code_hit@{k}", proportion(30, 30), model="", **of) for k in (1, 5, 10)]
        rows += [row("median_rank", Estimate(1234.0, 900.0, 2000.0, 30), model="audited", **of)]
    judgement = Judgement(verdict, "x", note)
    difference = Estimate(-0.03, -0.2, 0.2, 60)
    rows.append(
        row("hit@10_difference", difference, knowledge=knowledge, group="all", model="audited", judgement=judgement)
    )
    rows.append(excluded_row("P-1", Exclusion("evil", EVIL), knowledge=knowledge))
    return finding("embedding_neighbours", rows, {"searched": 3000}, ["said"])


def test_the_ladder_says_every_rank_with_n_and_why_a_knowledge_is_not_asked() -> None:
    ladder = rank_ladder(STEPS, "lab_values", n=3000)
    said = words(ladder)
    for expected in ("among 3,000", "812", "2,790", "13", "not asked: the record has no laboratory test", "—"):
        assert expected in said
    name = label(ladder)
    assert "among 3,000 records" in name and "Demographics: audited 812, continued 5, codes 13, reference 2,790" in name
    assert "audited 3, continued not known yet, codes 1, reference not known yet" in name


def test_the_searches_differ_in_shape_and_have_a_legend() -> None:
    drawn = parsed(rank_ladder(STEPS[:1], "", n=3000))
    marks = [e.tag for e in drawn.iter() if e.tag in ("circle", "rect")]
    assert "circle" in marks and "rect" in marks
    said = words(rank_ladder(STEPS, "", n=3000))
    for name in (
        "audited model's embedding of the facts",
        "audited model's own continuations",
        "plain search for the known codes",
        "continuations by the reference model, which never saw",
    ):
        assert name in said
    assert "reference" not in words(rank_ladder(STEPS, "", n=3000, searches=("audited", "continued", "codes")))


def test_a_better_rank_stands_further_to_the_left_on_a_logarithmic_axis() -> None:
    def x(rank: int) -> float:
        drawn = parsed(rank_ladder([Step("nothing", continued=rank)], "", n=1000))
        return float(next(e for e in drawn.iter("circle")).attrib["cx"])

    assert x(1) < x(10) < x(100) < x(1000) < 600
    assert x(10) - x(1) == pytest.approx(x(1000) - x(100), abs=0.2)


def test_only_the_chosen_knowledge_is_marked() -> None:
    plain, chosen = rank_ladder(STEPS, "", n=3000), rank_ladder(STEPS, "demographics", n=3000)
    assert chosen.count('font-weight="700"') == plain.count('font-weight="700"') + 5


@pytest.mark.parametrize("n", [1, 2, 10, 20_000])
def test_the_ladder_holds_any_n(n: int) -> None:
    ladder = rank_ladder([Step("nothing", n, n, n)], "nothing", n=n)
    assert_harmless(ladder)
    assert "nan" not in ladder


def test_strings_from_data_stay_text() -> None:
    for markup in (
        rank_ladder([Step(EVIL, 1), Step("one_lab", why_not=EVIL)], EVIL, n=9),
        neighbours_cohort(cohort(knowledge=EVIL, note=EVIL)),
    ):
        assert_harmless(markup)
        assert "&lt;script&gt;" in markup
        parsed(markup)


def test_nothing_yet_says_so() -> None:
    assert "No ranks yet" in label(rank_ladder((), "", n=0))
    assert "Nobody else has been asked" in words(neighbours_cohort(None))


def test_the_cohort_table_has_interval_and_n_for_every_figure_and_the_fixed_verdict() -> None:
    said = words(neighbours_cohort(cohort()))
    for expected in (
        "+ those labs with their values: Population knowledge",
        "0.23 (0.12 to 0.41)",
        "1.00 (0.89 to 1.00)",
        "1,234 (900 to 2,000)",
        "Trained on, by the audited model, facts alone 30",
        "Never seen, by a plain code search 30",
        "1 time",
    ):
        assert expected in said
    assert "nan" not in said


def test_a_finding_without_rates_says_its_sentences() -> None:
    made = finding("embedding_neighbours", [row("embeddings", value=math.nan)], {}, ["Cannot conclude: no embeddings."])
    assert "Cannot conclude: no embeddings." in words(neighbours_cohort(made))


def test_knowledge_levels_in_words() -> None:
    assert knowledge_words("first_37") == "The first 37 codes" and knowledge_words("before_2020-01-01").endswith(
        "2020-01-01"
    )
