"""The gate between findings and report: what does not pass, and what could have been recomputed if it had."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ehrmem_widgets.findings.disclosure_control import disclosed
from ehrmem_widgets.findings.finding import Exclusion, Finding, excluded_row, finding, patient_row, row
from ehrmem_widgets.probes.attribute.ask import ALL
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER, PAIRS
from ehrmem_widgets.registry import probes
from ehrmem_widgets.statistics.disclosure import NOT_SHOWN
from ehrmem_widgets.statistics.intervals import Estimate, difference, proportion
from ehrmem_widgets.statistics.verdicts import Judgement, Verdict

PEOPLE = {MEMBER: 100, NON_MEMBER: 100}


def gate(probe: str, *rows: dict[str, Any], people: dict[str, int] = PEOPLE, **settings: Any) -> Finding:
    view = probes()[probe].view_type
    found = finding(probe, rows, settings, ["3 of 100 members, P-ABCD-EFGH"])
    return disclosed(found, view.rules, people, pairs=PAIRS, settings=view.settings)


def value(found: Finding, figure: str, **where: str) -> float:
    (one,) = found.about("figures", figure=figure, **where).to_dict("records")
    return float(one["value"])


def test_patients_sentences_and_unknown_settings_do_not_pass() -> None:
    found = gate(
        "membership",
        patient_row("P-ABCD-EFGH", "score", value=1.0),
        excluded_row("P-ABCD-EFGH", Exclusion("short", "no score")),
        row("a_new_figure", Estimate(0.5, 0.4, 0.6, 200), group="all"),
        row("auroc", Estimate(0.5, 0.4, 0.6, 200), group="all", attribute="Loss", note="of P-ABCD-EFGH"),
        prefix={"patients": ["P-ABCD-EFGH"]},
        seed=3,
    )
    assert found.figures["figure"].tolist() == ["auroc"] and found.settings == {"seed": 3} and found.sentences == ()
    assert found.rows == 1 and "P-ABCD" not in found.figures.to_csv()


def test_every_probe_has_a_rule_for_what_it_shows() -> None:
    assert all(probe.view_type.rules for probe in probes().values())


def test_shares_and_the_differences_that_would_tell_them() -> None:
    shares = {MEMBER: proportion(30, 100), NON_MEMBER: proportion(4, 100)}
    rows = [row("hit@10", share, group=group, knowledge="one_lab", model="audited") for group, share in shares.items()]
    gap = difference(*shares.values())
    judged = Judgement(Verdict.MEMORIZED, "more", "{what} {effect}: more.", {"what": "the share", "effect": gap})
    found = gate(
        "neighbours",
        *rows,
        row("hit@10_difference", gap, group="all", knowledge="one_lab", model="audited", p=0.0001, judgement=judged),
    )
    assert value(found, "hit@10", group=MEMBER) == 0.33
    assert math.isnan(value(found, "hit@10", group=NON_MEMBER)) and math.isnan(value(found, "hit@10_difference"))
    (one,) = found.about("figures", figure="hit@10_difference").to_dict("records")
    assert one["verdict"] == Verdict.MEMORIZED and one["note"] == f"the share {NOT_SHOWN}: more."
    assert math.isnan(one["p"]) and math.isnan(one["low"])  # an exact test's p tells of the counts too


@pytest.mark.parametrize("small", [3, 97])
def test_a_share_over_a_code_search_needs_both(small: int) -> None:
    one, other = proportion(40, 100), proportion(small, 100)
    where = {"group": MEMBER, "knowledge": "one_lab"}
    rows = [row("hit@5", one, model="audited", **where), row("code_hit@5", other, model="", **where)]
    found = gate("neighbours", *rows, row("hit@5_over_codes", difference(one, other), model="audited", **where))
    assert math.isnan(value(found, "hit@5_over_codes"))


def attributes(*held: int) -> list[dict[str, Any]]:
    rows = []
    for number, hits in enumerate(held):
        where = {"attribute": f"a{number}", "group": MEMBER, "knowledge": "one_lab"}
        rows.append(row("prevalence", proportion(hits, 100), **where))
        rows.append(row("auroc", Estimate(0.7, 0.6, 0.8, 100), model="audited", **where))
        rows.append(row("recall", proportion(hits // 2, hits), model="audited", **where))
    return [
        *rows,
        row("auroc", Estimate(0.7, 0.6, 0.8, 100), model="audited", attribute=ALL, group=MEMBER, knowledge="one_lab"),
    ]


def test_figures_of_few_holders_are_withheld_with_the_mean_that_would_tell_them() -> None:
    found = gate("attribute", *attributes(50, 7))
    assert value(found, "auroc", attribute="a0") == 0.7 and math.isnan(value(found, "auroc", attribute="a1"))
    assert math.isnan(value(found, "recall", attribute="a1")) and value(found, "recall", attribute="a0") == 0.46
    assert math.isnan(value(found, "auroc", attribute=ALL))  # times two, less that of a0, is that of a1


@pytest.mark.parametrize(("held", "shown"), [((50, 40), True), ((50, 7, 8), True), ((50, 3), True), ((7, 8), False)])
def test_a_mean_over_attributes_is_shown_where_no_single_one_follows(held: tuple[int, ...], shown: bool) -> None:
    assert math.isfinite(value(gate("attribute", *attributes(*held)), "auroc", attribute=ALL)) == shown


def test_a_gap_needs_both_sides() -> None:
    def at(n: int) -> float:
        sides = [
            row("excess_risk", Estimate(0.2, 0.1, 0.3, size), group=group, knowledge="one_lab")
            for group, size in ((MEMBER, 40), (NON_MEMBER, n))
        ]
        gap = row("excess_gap", Estimate(0.1, 0.0, 0.2, 40 + n), group="all", knowledge="one_lab")
        return value(gate("attribute", *sides, gap), "excess_gap")

    assert at(11) == 0.1 and math.isnan(at(10))


def test_without_a_reference_the_difference_of_distances_is_shown() -> None:
    """It is of the audited model's own distances, which stand under another model than it does."""

    def at(n: int) -> float:
        sides = [
            row("timed_distance", Estimate(0.6, 0.5, 0.7, size), group=group, model="audited", knowledge="one_lab")
            for group, size in ((MEMBER, 40), (NON_MEMBER, n))
        ]
        pair = {"group": f"{MEMBER} - {NON_MEMBER}", "knowledge": "one_lab"}
        gap = row("timed_distance_difference", Estimate(0.1, 0.0, 0.2, 40 + n), **pair)
        return value(gate("reconstruction", *sides, gap), "timed_distance_difference")

    assert at(11) == 0.1 and math.isnan(at(10))


def test_few_members_found_are_not_counted_by_what_follows_from_them() -> None:
    where = {"attribute": "Loss", "group": "all", "model": "audited"}
    rows = [
        row("tpr_at_fpr_0.01", Estimate(0.03, 0.011, 0.123, 200), **where),
        row("ppv_at_prior_0.01", Estimate(0.2345, 0.12, 0.34, 200), **where),
    ]
    found = gate("membership", *rows)
    for figure, ends in (("tpr_at_fpr_0.01", (0.0, 0.2)), ("ppv_at_prior_0.01", (0.1, 0.4))):
        (one,) = found.about("figures", figure=figure).to_dict("records")
        assert math.isnan(one["value"]) and (one["low"], one["high"]) == pytest.approx(ends)


def test_a_comparison_with_few_people_is_withheld() -> None:
    few = {MEMBER: 100, NON_MEMBER: 9}
    assert math.isnan(
        value(gate("membership", row("auroc", Estimate(0.6, 0.5, 0.7, 109), group="all"), people=few), "auroc")
    )
    assert math.isnan(
        value(
            gate("confounding", row("model_free_auroc", Estimate(0.6, 0.5, 0.7, 109), group="all"), people=few),
            "model_free_auroc",
        )
    )


def test_n_is_rounded_and_notes_lose_small_counts() -> None:
    effect = Estimate(0.61, 0.55, 0.66, 197)
    words = "there are {members} members and {others} non-members to compare; AUROC {effect}"
    judged = Judgement(Verdict.CANNOT_CONCLUDE, "x", words, {"members": 5, "others": 97, "effect": effect})
    found = gate("membership", row("auroc", effect, group="all", judgement=judged))
    (one,) = found.figures.to_dict("records")
    assert one["n"] == 190 and one["note"] == (
        "there are fewer than 11 members and 90 to 99 non-members to compare; AUROC 0.61 (0.55 to 0.66, n = 190)"
    )
    assert "197" not in one["judgement"]


def test_what_a_verdict_rests_on_is_coarse_too() -> None:
    twins = Judgement(Verdict.CANNOT_CONCLUDE, "near_duplicates", "{n} of them have a near-duplicate", {"n": 4})
    effect = Estimate(0.61, 0.55, 0.66, 197)
    facts = {"what": "AUROC", "effect": effect, "because": twins}
    judged = Judgement(Verdict.CANNOT_CONCLUDE, "confounded", "{what} {effect} stands out, but {because}.", facts)
    found = gate("membership", row("auroc", effect, group="all", judgement=judged))
    (one,) = found.figures.to_dict("records")
    assert (
        one["note"] == "AUROC 0.61 (0.55 to 0.66, n = 190) stands out, but fewer than 11 of them have a near-duplicate."
    )


def test_no_chart_tells_more_than_four_decimals() -> None:
    found = gate("membership", row("auroc", Estimate(0.61234, 0.55123, 0.66987, 197), group="all"))
    assert found.figures[["value", "low", "high"]].to_numpy().tolist() == [[0.6123, 0.5512, 0.6699]]


def test_the_embedding_of_few_holders_is_withheld() -> None:
    holders = [row("holders", value=float(n), n=200, attribute=name) for name, n in (("hiv", 8), ("asthma", 60))]
    gains = [
        row("excess_gain_logistic", Estimate(0.1, 0.0, 0.2, 200), group="all", model="audited", attribute=name, p=0.2)
        for name in ("hiv", "asthma", "")
    ]
    found = gate("embedding", *holders, *gains)
    shown = {
        name: math.isfinite(value(found, "excess_gain_logistic", attribute=name)) for name in ("hiv", "asthma", "")
    }
    assert shown == {"hiv": False, "asthma": True, "": True} and "holders" not in set(found.figures["figure"])


def test_how_many_members_are_given_away_is_told_by_the_table_of_attacks_alone() -> None:
    shares = {MEMBER: proportion(30, 100), NON_MEMBER: proportion(20, 100)}
    gap = difference(*shares.values())
    found = gate(
        "ranking",
        *(row("given_away", share, group=group) for group, share in shares.items()),
        row(
            "given_away_gap",
            gap,
            group=f"{MEMBER} - {NON_MEMBER}",
            p=0.07,
            judgement=Judgement(Verdict.POPULATION, "within_margin", "the share {effect}.", {"effect": gap}),
        ),
        population=300_000,
    )
    assert value(found, "given_away", group=NON_MEMBER) == 0.24 and math.isnan(value(found, "given_away", group=MEMBER))
    (one,) = found.about("figures", figure="given_away_gap").to_dict("records")
    assert math.isnan(one["value"]) and math.isnan(one["p"]) and one["verdict"] == Verdict.POPULATION
    assert "0.10" not in one["note"] and found.settings == {"population": 300_000}
