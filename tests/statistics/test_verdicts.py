"""Each way to each of the three verdicts, with its sentence; and how often a patient who was never seen is accused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import fisher_exact

from ehrmem_widgets.statistics.intervals import Estimate, difference, proportion
from ehrmem_widgets.statistics.verdicts import (
    ALARM_RATE,
    FEWEST_CONTROLS,
    Judgement,
    Peers,
    PositiveControl,
    ProbeKind,
    Verdict,
    judge_cohort,
    judge_person,
    needed_to_decide,
    positive_control,
    within,
)

LARGE, SMALL, OPEN = Estimate(0.65, 0.55, 0.74, 96), Estimate(0.0, -0.03, 0.03, 400), Estimate(0.04, -0.02, 0.10, 60)
ALONE, COMMON = Peers(0, 40), Peers(12, 40)


def judged(effect: Estimate = LARGE, peers: Peers | None = ALONE, **more: object) -> Judgement:
    given: dict[str, object] = {"margin": 0.05, "kind": ProbeKind.MEASURE, "shown": "the leak is 0.71", **more}
    return judge_person(effect, peers, **given)  # type: ignore[arg-type]


def test_there_are_three_verdicts_and_none_says_safe() -> None:
    assert [str(verdict) for verdict in Verdict] == ["Memorized", "Population knowledge", "Cannot conclude"]


def test_the_margin_must_be_given() -> None:
    with pytest.raises(TypeError, match="margin"):
        judge_person(LARGE, ALONE, kind=ProbeKind.MEASURE, shown="x")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="margin"):
        judge_cohort(LARGE, 0.01, kind=ProbeKind.MEASURE, members=40, non_members=40, what="x")  # type: ignore[call-arg]


def test_memorized_needs_a_rank_and_a_whole_interval_above_the_margin() -> None:
    found = judged()
    assert found.verdict is Verdict.MEMORIZED and found.rank_p == pytest.approx(1 / 41)
    assert found.sentence == "the leak is 0.71: more than for 40 similar people whom no model saw."
    one = judged(peers=Peers(1, 40))
    assert one.verdict is Verdict.MEMORIZED and "39 of 40" in one.sentence
    assert judged(peers=Peers(2, 40)).verdict is Verdict.CANNOT_CONCLUDE
    assert judged(Estimate(0.2, 0.04, 0.4, 30)).verdict is Verdict.CANNOT_CONCLUDE


def test_a_detectors_value_need_only_be_above_the_margin() -> None:
    spike = Estimate(0.5, -0.2, 0.9, 4)
    assert judged(spike, kind=ProbeKind.DETECTOR).verdict is Verdict.MEMORIZED
    assert judged(spike).verdict is Verdict.CANNOT_CONCLUDE
    assert judged(Estimate(0.04, -0.2, 0.3, 4), kind=ProbeKind.DETECTOR).verdict is Verdict.CANNOT_CONCLUDE


def test_several_questions_about_one_patient_are_corrected_for() -> None:
    assert judged(peers=Peers(0, 78), tests=4).verdict is Verdict.CANNOT_CONCLUDE
    assert "at least 79 are needed" in judged(peers=Peers(0, 78), tests=4).sentence
    assert judged(peers=Peers(0, 79), tests=4).verdict is Verdict.MEMORIZED
    assert judged(peers=Peers(1, 79), tests=4).verdict is Verdict.CANNOT_CONCLUDE


def test_people_who_were_not_asked_never_make_a_verdict_of_memorized() -> None:
    found = judged(peers=Peers(0, 39, not_asked=1))
    assert found.verdict is Verdict.CANNOT_CONCLUDE and found.rank_p is None
    assert "none of 39 similar people whom no model saw show as much (no answer of the other 1 could" in found.sentence


@pytest.mark.parametrize("peers", [None, Peers(0, 0), ALONE, COMMON])
def test_population_knowledge_needs_the_whole_interval_within_the_margin_and_nothing_else(peers: Peers | None) -> None:
    found = judged(SMALL, peers)
    assert found.verdict is Verdict.POPULATION
    assert "within 0.05 of what can be said without having seen this patient" in found.sentence
    assert judged(OPEN, peers).verdict is Verdict.CANNOT_CONCLUDE
    assert judged(Estimate(-0.04, -0.06, -0.02, 400), peers).verdict is Verdict.CANNOT_CONCLUDE


def test_what_similar_people_show_too_is_no_population_knowledge_while_the_reference_says_otherwise() -> None:
    found = judged(LARGE, COMMON)
    assert found.verdict is Verdict.CANNOT_CONCLUDE
    assert "12 of 40 similar people whom no model saw show as much" in found.sentence
    assert "reference model that predicts people never seen as well would decide it" in found.sentence


def test_a_model_that_says_less_than_its_reference_is_not_like_it() -> None:
    found = judged(Estimate(-0.3, -0.4, -0.2, 200))
    assert found.verdict is Verdict.CANNOT_CONCLUDE and "not alike enough" in found.sentence


def test_a_detector_needs_its_positive_control() -> None:
    of = {
        control: judged(SMALL, kind=ProbeKind.DETECTOR, control=control)
        for control in (PositiveControl.FOUND, PositiveControl.MISSED, PositiveControl.NONE)
    }
    assert of[PositiveControl.FOUND].verdict is Verdict.POPULATION
    assert of[PositiveControl.MISSED].verdict is of[PositiveControl.NONE].verdict is Verdict.CANNOT_CONCLUDE
    assert "does not find the planted canaries either" in of[PositiveControl.MISSED].sentence
    assert "nothing was planted" in of[PositiveControl.NONE].sentence


@pytest.mark.parametrize("kind", list(ProbeKind))
def test_a_planted_case_is_never_population_knowledge(kind: ProbeKind) -> None:
    person = judged(SMALL, kind=kind, control=PositiveControl.FOUND, planted=True)
    whole = cohort(SMALL, 0.5, kind=kind, control=PositiveControl.FOUND, planted=True)
    assert person.verdict is whole.verdict is Verdict.CANNOT_CONCLUDE
    assert "planted" in person.sentence and "planted" in whole.sentence


def test_a_question_that_cannot_show_anything_concludes_nothing() -> None:
    found = judged(SMALL, blind="the attribute lies beyond the horizon")
    assert found.verdict is Verdict.CANNOT_CONCLUDE and "beyond the horizon" in found.sentence
    assert judged(LARGE, blind="the attribute lies beyond the horizon").verdict is Verdict.MEMORIZED


def test_too_few_similar_people_say_how_many_are_needed() -> None:
    found = judged(peers=Peers(0, FEWEST_CONTROLS - 1))
    assert found.verdict is Verdict.CANNOT_CONCLUDE
    assert "there are 18 similar people whom no model saw to compare with; at least 19 are needed" in found.sentence
    assert judged(peers=Peers(0, FEWEST_CONTROLS)).verdict is Verdict.MEMORIZED


def test_an_open_question_says_what_would_decide_it() -> None:
    level = Estimate(0.0, -0.1, 0.1, 100)
    assert judged(level).sentence.endswith("about 1,000 more samples would probably decide.")
    assert needed_to_decide(level, 100, 0.05, claim_above=0.05) == 995
    assert needed_to_decide(Estimate(0.15, 0.04, 0.26, 100), 100, 0.05, claim_above=0.05) == 148
    assert needed_to_decide(Estimate(0.15, 0.04, 0.90, 100), 100, 0.05, claim_above=0.05) == 148  # its lower end alone
    assert needed_to_decide(Estimate(0.15, 0.04, 0.26, 100), 100, 0.05, claim_above=0.05, tests=20) > 200
    assert "more than 100 times as many samples" in judged(Estimate(0.051, 0.03, 0.07, 100)).sentence


def test_more_samples_are_not_promised_to_decide_what_they_cannot() -> None:
    alone = "more samples alone would not decide."
    assert judged(Estimate(0.05, 0.04, 0.06, 100)).sentence.endswith(alone)  # at the margin itself
    assert judged(Estimate(0.08, 0.04, 0.12, 100), COMMON).sentence.endswith(alone)  # the rank stays
    assert judged(Estimate(0.0, -0.1, 0.1, 100), planted=True).sentence.endswith(alone)
    unlike = cohort(Estimate(0.1, -0.1, 0.3, 80), 0.2, confounded=judged())
    assert unlike.sentence.endswith("more people alone would not decide.")
    unshown = cohort(Estimate(-0.01, -0.1, 0.1, 80), 0.6, **DETECTOR)
    assert unshown.sentence.endswith("more people alone would not decide.")


@pytest.mark.parametrize(("rates", "n"), [((0.35, 0.2), 60), ((0.12, 0.05), 60), ((0.1, 0.1), 100), ((0.3, 0.27), 150)])
def test_with_as_many_as_it_says_most_repetitions_decide(rates: tuple[float, float], n: int) -> None:
    """Shares of members and others, one of six tests: with the people promised, asked besides the first, a verdict stands in half of the runs at
    least where the first look came out as it should, and in 2 of 3 over all first looks."""
    rng = np.random.default_rng(3)

    def verdict(hits: np.ndarray, n: int) -> tuple[Estimate, Judgement]:
        gap = difference(*(proportion(int(one), n) for one in hits))
        p = fisher_exact([hits, n - hits], alternative="greater").pvalue
        said = cohort(gap, min(1.0, 6 * p), margin=0.1, members=n, non_members=n, tests=6)
        return gap, said

    typical, all_looks = [], []
    for _ in range(150):
        first = rng.binomial(n, rates)
        gap, said = verdict(first, n)
        if (
            said.reason != "undecided"
            or (more := needed_to_decide(gap, 2 * n, 0.1, claim_above=0.0, tests=6)) > 200 * n
        ):
            continue
        promised = int(said.sentence.rpartition("about ")[2].partition(" ")[0].replace(",", ""))
        assert 2 * n < more <= promised <= 1.1 * more  # what is open takes more than as many again
        besides = math.ceil(more / 2)
        decided = verdict(first + rng.binomial(besides, rates), n + besides)[1].verdict is not Verdict.CANNOT_CONCLUDE
        all_looks.append(decided)
        again = verdict(rng.binomial(n + besides, first / n), n + besides)[1]
        typical.append(again.verdict is not Verdict.CANNOT_CONCLUDE)
    assert len(all_looks) > 30 and np.mean(typical) >= 0.5 and np.mean(all_looks) >= 0.66


@pytest.mark.parametrize("n", [19, 40])
@pytest.mark.parametrize("kind", ["mild", "wild", "all alike"])
def test_a_patient_who_was_never_seen_is_accused_at_most_once_in_twenty(kind: str, n: int) -> None:
    """Patient and controls are drawn alike, from a model that leaks whatever it likes about people whom it never saw;
    nothing but the rank among the controls can protect the patient then."""
    rng = np.random.default_rng(n)
    runs, accused = 2000, 0
    for _ in range(runs):
        if kind == "mild":
            leaks = rng.beta(1, 3, n + 1)
        elif kind == "wild":
            leaks = np.where(rng.random(n + 1) < 0.1, rng.uniform(0.5, 1, n + 1), 0.01)
        else:
            leaks = np.full(n + 1, 0.9)
        narrow = Estimate(leaks[0], leaks[0] - 0.01, leaks[0] + 0.01, 1000)
        found = judged(narrow, Peers(int((leaks[1:] >= leaks[0]).sum()), n))
        accused += found.verdict is Verdict.MEMORIZED
    assert accused / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)
    if kind == "mild":
        assert accused > 0  # the simulation reaches the rule that it tests


def cohort(effect: Estimate, p: float, **more: object) -> Judgement:
    given: dict[str, object] = {
        "margin": 0.05,
        "kind": ProbeKind.MEASURE,
        "members": 40,
        "non_members": 40,
        "what": "gap",
    }
    return judge_cohort(effect, p, **{**given, **more})  # type: ignore[arg-type]


FOUND, NOWHERE = Estimate(0.2, 0.1, 0.3, 80), Estimate(math.nan, math.nan, math.nan, 0)
DETECTOR = {"kind": ProbeKind.DETECTOR}


@pytest.mark.parametrize(
    ("judgement", "verdict", "words"),
    [
        (cohort(FOUND, 0.01), Verdict.MEMORIZED, "more for members"),
        (cohort(SMALL, 0.5), Verdict.POPULATION, "within 0.05 of each other"),
        (cohort(Estimate(0.1, -0.1, 0.3, 80), 0.2), Verdict.CANNOT_CONCLUDE, "more people would probably decide"),
        (
            cohort(Estimate(0.30, -0.01, 0.60, 38), 0.06),
            Verdict.CANNOT_CONCLUDE,
            "about 95 more people would probably decide",
        ),
        (cohort(Estimate(0.1, 0.01, 0.2, 80), 0.09), Verdict.CANNOT_CONCLUDE, "among all that was tested"),
        (cohort(Estimate(-0.2, -0.3, -0.1, 80), 0.99), Verdict.CANNOT_CONCLUDE, "may not be alike"),
        (cohort(FOUND, 0.01, confounded="the groups differ"), Verdict.CANNOT_CONCLUDE, "the groups differ"),
        (cohort(SMALL, 0.5, **DETECTOR), Verdict.CANNOT_CONCLUDE, "nothing was planted"),
        (cohort(SMALL, 0.5, **DETECTOR, control=PositiveControl.MISSED), Verdict.CANNOT_CONCLUDE, "canaries either"),
        (cohort(SMALL, 0.5, **DETECTOR, control=PositiveControl.FOUND), Verdict.POPULATION, "of each other"),
        (cohort(NOWHERE, 0.5), Verdict.CANNOT_CONCLUDE, "could not be computed"),
    ],
)
def test_the_verdict_on_a_cohort(judgement: Judgement, verdict: Verdict, words: str) -> None:
    assert judgement.verdict is verdict
    assert words in judgement.sentence


def test_a_cohort_of_too_few_says_how_many_are_needed() -> None:
    few = cohort(Estimate(0.9, 0.8, 1, 20), 0.01, no_effect=0.5, members=10, non_members=10)
    assert few.verdict is Verdict.CANNOT_CONCLUDE and "at least 19 of each are needed" in few.sentence


def test_what_is_planted_is_called_canaries() -> None:
    few = cohort(Estimate(0.9, 0.8, 1, 20), 0.01, members=10, non_members=12, planted=True)
    assert few.sentence.startswith("there are 10 canaries trained on and 12 canaries never trained on to compare;")
    open_ = cohort(Estimate(0.1, -0.1, 0.3, 80), 0.2, planted=True)
    assert open_.sentence.endswith("more canaries would probably decide.")
    for one in (
        cohort(FOUND, 0.01, planted=True),
        cohort(Estimate(-0.2, -0.3, -0.1, 80), 0.99, planted=True),
        few,
        open_,
    ):
        assert "member" not in one.sentence and "people" not in one.sentence


def test_equivalence_is_about_no_effect_wherever_that_is() -> None:
    assert within(Estimate(0.52, 0.45, 0.59, 90), 0.1, no_effect=0.5)
    assert not within(Estimate(0.52, 0.45, 0.61, 90), 0.1, no_effect=0.5)
    assert not within(Estimate(math.nan, math.nan, math.nan, 0), 0.1)


def test_a_positive_control_is_found_missed_or_not_there() -> None:
    rng = np.random.default_rng(0)
    low, high = rng.normal(0, 1, 30), rng.normal(3, 1, 30)
    assert positive_control(high, low) is PositiveControl.FOUND
    assert positive_control(low, high) is PositiveControl.MISSED
    assert positive_control(np.empty(0), low) is positive_control(low, np.empty(0)) is PositiveControl.NONE


def test_null_cohorts_are_called_population_knowledge_only_by_equivalence() -> None:
    """500 cohorts without any effect, of few and of many people."""
    rng = np.random.default_rng(5)
    said = {verdict: 0 for verdict in Verdict}
    for run in range(500):
        n = (20, 200, 2000)[run % 3]
        a, b = rng.normal(0, 0.3, (2, n))
        reach = 1.96 * 0.3 * math.sqrt(2 / n)
        effect = Estimate(a.mean() - b.mean(), a.mean() - b.mean() - reach, a.mean() - b.mean() + reach, 2 * n)
        p = 0.5 * math.erfc(effect.value / reach * 1.96 / math.sqrt(2))
        found = cohort(effect, p, members=n, non_members=n)
        said[found.verdict] += 1
        assert (found.verdict is Verdict.POPULATION) == (
            within(effect, 0.05) and not (effect.low > 0 and p <= ALARM_RATE)
        )
    assert said[Verdict.POPULATION] > 100 and said[Verdict.CANNOT_CONCLUDE] > 100
    assert said[Verdict.MEMORIZED] <= 0.05 * 500
