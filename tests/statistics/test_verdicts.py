"""Each way to each of the three verdicts, with its sentence; and how often a patient who was never seen is accused."""

from __future__ import annotations

import numpy as np
import pytest

from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import FEWEST_CONTROLS, Judgement, Verdict, judge, judge_cohort

HIGH, LOW = Estimate(0.71, 0.62, 0.79, 128), Estimate(0.06, 0.03, 0.10, 96)
QUIET, LOUD = (0.05, 0.06), (0.80, 0.05)


def judged(
    audited: Estimate = HIGH,
    reference: Estimate | None = LOW,
    controls: list[tuple[float, float]] | None = None,
    held: bool = True,
    effective_samples: float = 100,
) -> Judgement:
    given = [QUIET] * 40 if controls is None else controls
    return judge(audited, reference, given, held=held, effective_samples=effective_samples)


def test_there_are_three_verdicts_and_none_says_safe() -> None:
    assert [str(verdict) for verdict in Verdict] == ["Memorized", "Population knowledge", "Cannot conclude"]


def test_memorized_needs_all_of_it() -> None:
    found = judged()
    assert found.verdict is Verdict.MEMORIZED
    assert found.rank_p == pytest.approx(1 / 41)
    assert found.sentence == (
        "the model gives this away about this patient and not about 40 similar people it never saw "
        "(0.71, 0.62 to 0.79, against 0.05; 0.06 from a model that never saw the patient)."
    )


def test_one_control_in_forty_may_look_the_same() -> None:
    found = judged(controls=[LOUD] + [QUIET] * 39)
    assert found.verdict is Verdict.MEMORIZED
    assert found.rank_p == pytest.approx(2 / 41)
    assert "and not about 39 of 40 similar people" in found.sentence


def test_too_many_controls_alike_to_accuse_and_too_few_to_acquit() -> None:
    for loud in (2, 7):
        found = judged(controls=[LOUD] * loud + [QUIET] * (40 - loud))
        assert found.verdict is Verdict.CANNOT_CONCLUDE
        assert found.sentence.startswith(f"{loud} of 40 similar people whom the model never saw show as much")
        assert found.rank_p == pytest.approx((1 + loud) / 41)


@pytest.mark.parametrize("loud", [8, 40])
def test_what_one_control_in_five_shows_too_is_population_knowledge(loud: int) -> None:
    found = judged(controls=[LOUD] * loud + [QUIET] * (40 - loud))
    assert found.verdict is Verdict.POPULATION
    people = "all 40" if loud == 40 else "8 of 40"
    assert f"as much about {people} similar people whom it never saw" in found.sentence


def test_a_tie_with_the_patient_counts_against_the_accusation() -> None:
    same = (HIGH.value, LOW.value)
    assert judged(controls=[same] * 2 + [QUIET] * 38).rank_p == pytest.approx(3 / 41)


def test_no_excess_is_population_knowledge_even_without_controls() -> None:
    for controls in ([], [QUIET] * 40):
        found = judged(
            reference=Estimate(0.70, 0.66, 0.74, 96), audited=Estimate(0.69, 0.67, 0.71, 500), controls=controls
        )
        assert found.verdict is Verdict.POPULATION
        assert found.sentence == (
            "the model says no more about this patient (0.69, 0.67 to 0.71) than one can without "
            "(against 0.70 from a model that never saw the patient)."
        )


def test_a_model_that_says_less_than_the_reference_is_population_knowledge() -> None:
    assert judged(audited=LOW, reference=HIGH).verdict is Verdict.POPULATION


def test_an_excess_that_may_be_small_or_large_concludes_nothing() -> None:
    found = judged(audited=Estimate(0.30, 0.05, 0.60, 12))
    assert found.verdict is Verdict.CANNOT_CONCLUDE
    assert found.sentence.startswith("the excess over the reference (+0.24, ")
    assert found.sentence.endswith("may be smaller or larger than 0.05.")


def test_what_the_record_does_not_hold_was_not_memorized() -> None:
    found = judged(held=False)
    assert found.verdict is Verdict.POPULATION
    assert found.sentence.startswith("the record does not hold this, so what the model says of it (0.71, 0.62 to 0.79)")
    assert judged(held=False, reference=None, controls=[], effective_samples=1).verdict is Verdict.POPULATION


def test_without_a_reference_nothing_is_concluded() -> None:
    found = judged(reference=None)
    assert found.verdict is Verdict.CANNOT_CONCLUDE
    assert found.sentence.startswith("there is no reference model that never saw the patient, so 0.71, 0.62 to 0.79")


def test_too_few_effective_samples_conclude_nothing() -> None:
    found = judged(effective_samples=9.4)
    assert found.verdict is Verdict.CANNOT_CONCLUDE
    assert "rests on 9 samples (at least 10 needed)" in found.sentence
    assert judged(effective_samples=10).verdict is Verdict.MEMORIZED


def test_too_few_controls_conclude_nothing() -> None:
    found = judged(controls=[QUIET] * (FEWEST_CONTROLS - 1))
    assert found.verdict is Verdict.CANNOT_CONCLUDE
    assert found.sentence == "there are 18 similar people whom the model never saw; at least 19 are needed."
    assert judged(controls=[QUIET] * FEWEST_CONTROLS).verdict is Verdict.MEMORIZED
    assert judged(controls=[LOUD] + [QUIET] * (FEWEST_CONTROLS - 1)).verdict is Verdict.CANNOT_CONCLUDE


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
        narrow = Estimate(leaks[0], max(0, leaks[0] - 0.01), min(1, leaks[0] + 0.01), 1000)
        reference = Estimate(0.01, 0.005, 0.02, 1000)
        found = judged(narrow, reference, [(leak, 0.01) for leak in leaks[1:]])
        accused += found.verdict is Verdict.MEMORIZED
    assert accused / runs <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / runs)
    if kind == "mild":
        assert accused > 0  # the simulation reaches the rule that it tests


def cohort(low: float, value: float, high: float, p: float, **more: object) -> Judgement:
    return judge_cohort(
        Estimate(value, low, high, 80), p, no_effect=0.0, members=40, non_members=40, what="gap", **more
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("judgement", "verdict", "words"),
    [
        (cohort(0.1, 0.2, 0.3, 0.01), Verdict.MEMORIZED, "more for members"),
        (cohort(-0.02, 0.0, 0.02, 0.5, matters=0.05), Verdict.POPULATION, "cannot be told"),
        (cohort(-0.1, 0.1, 0.3, 0.2, matters=0.05), Verdict.CANNOT_CONCLUDE, "more people are needed"),
        (cohort(0.01, 0.1, 0.2, 0.09), Verdict.CANNOT_CONCLUDE, "whole family"),
        (cohort(0.1, 0.2, 0.3, 0.01, confounded="the groups differ"), Verdict.CANNOT_CONCLUDE, "the groups differ"),
        (cohort(-0.1, 0.0, 0.1, 0.5, control_missed="nothing planted is found"), Verdict.CANNOT_CONCLUDE, "planted"),
        (cohort(float("nan"), float("nan"), float("nan"), 0.5), Verdict.CANNOT_CONCLUDE, "could not be computed"),
    ],
)
def test_the_verdict_on_a_cohort(judgement: Judgement, verdict: Verdict, words: str) -> None:
    assert judgement.verdict is verdict
    assert words in judgement.sentence


def test_a_cohort_of_too_few_says_how_many_are_needed() -> None:
    few = judge_cohort(Estimate(0.9, 0.8, 1, 20), 0.01, no_effect=0.5, members=10, non_members=10, what="AUROC")
    assert few.verdict is Verdict.CANNOT_CONCLUDE and "at least 19 of each are needed" in few.sentence
