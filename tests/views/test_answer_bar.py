"""The answer bar and the steps: natural frequencies with intervals, every model named, nothing out of data as markup."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from ehrmem_widgets.attacker.identifiability import Identifiability
from ehrmem_widgets.probes.findings import Answer, AttributeFinding
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Judgement, Verdict
from ehrmem_widgets.views.answer_bar import Said, answer_bar, change_in_100, in_100
from ehrmem_widgets.views.steps import NOTHING, ShownStep, steps_chart

EVIL = '<img src=x onerror="alert(1)">'
HIGH, LOW = Estimate(0.96, 0.93, 0.98, 256), Estimate(0.08, 0.05, 0.12, 256)
SURE = Judgement(Verdict.MEMORIZED, "stands_out", "the model names it far more often than the reference does.")
FINDING = AttributeFinding(
    "abuse",
    "Abuse and violence",
    5,
    True,
    HIGH,
    LOW,
    Estimate(0.88, 0.83, 0.92, 256),
    "product form",
    ((0.07, 0.05),) * 40,
    SURE,
)
ANSWER = Answer(Identifiability(8, 1, 3000), "abuse", 64, attributes=(FINDING,), settled=True)


def well_formed(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<div>{html}</div>")


def words(html: str) -> str:
    return " ".join("".join(well_formed(html).itertext()).split())


def test_the_answer_in_one_glance() -> None:
    said = words(
        answer_bar(
            [Said("memorizing", ANSWER)], knows="those labs with their values", before=Estimate(0.84, 0.8, 0.88, 256)
        )
    )
    for part in (
        "Memorized", SURE.sentence, "memorizing96 in 100", "a model that never saw them8 in 100", "similar people7 in 100",
        "The attacker knows 8 facts (those labs with their values): unique in this data set (1 of 3,000).", "Since the step before: +12 in 100 (+7 to +16)",
    ):  # fmt: skip
        assert part in said


def test_models_stand_beside_one_another() -> None:
    other = replace(ANSWER, attributes=(replace(FINDING, audited=LOW, judgement=None),))
    assert "private8 in 100" in words(answer_bar([Said("memorizing", ANSWER), Said("private", other)], knows="nothing"))


def test_an_answer_that_is_not_there_yet_says_so() -> None:
    asking = replace(ANSWER, settled=False, attributes=(replace(FINDING, judgement=None, controls=()),))
    assert "Not decided yet" in words(answer_bar([Said("m", asking)], knows="nothing"))
    assert "Asking (256 samples so far)" in words(answer_bar([Said("m", asking)], knows="nothing"))
    nothing = replace(FINDING, audited=Estimate(float("nan"), 0, 1, 0), reference=None, judgement=None, controls=())
    assert "—" in words(answer_bar([Said("m", replace(asking, attributes=(nothing,)))], knows="nothing"))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0 in 100"),
        (0.004, "under 1 in 100"),
        (0.006, "1 in 100"),
        (0.9951, "over 99 in 100"),
        (1.0, "100 in 100"),
    ],
)
def test_natural_frequencies_never_say_all_or_none_where_it_is_neither(value: float, said: str) -> None:
    assert in_100(Estimate(value, value, value, 10)) == said


def test_a_change_has_its_interval() -> None:
    assert change_in_100(LOW, HIGH).startswith("−88 in 100 (−92 to −8")


def test_nothing_from_data_becomes_markup() -> None:
    named = replace(FINDING, title=EVIL)
    html = answer_bar([Said(EVIL, replace(ANSWER, attributes=(named,)))], knows=EVIL)
    step = ShownStep(0, EVIL, EVIL, {EVIL: named})
    for made in (html, steps_chart([step, replace(step, number=1)], [EVIL], chosen=0)):
        assert "<img" not in made and well_formed(made).iter("img") is not None


def test_each_step_is_a_button_with_its_change() -> None:
    steps = [
        ShownStep(0, "Age and sex", "P-1 · Abuse", {"memorizing": replace(FINDING, audited=LOW), "private": replace(FINDING, audited=LOW)}, apart=True),
        ShownStep(1, "+ HbA1c", "P-1 · Abuse", {"memorizing": FINDING}),
        ShownStep(2, "HIV", "P-1 · HIV", {"memorizing": FINDING}, apart=True),
    ]  # fmt: skip
    drawn = well_formed(steps_chart(steps, ["memorizing", "private"], chosen=1))
    buttons = drawn.findall(".//button")
    assert [one.get("data-step") for one in buttons] == ["0", "1", "2"] and [
        one.get("aria-current") for one in buttons
    ] == [None, "step", None]
    items = ["".join(one.itertext()) for one in drawn.findall(".//li")]
    assert (
        "private 8 in 100" in items[0]
        and ", +88 in 100 (" in items[1]
        and "in 100 (" not in items[2].split("HIV", 1)[1]
    )
    assert "+ HbA1c: memorizing 96 in 100" in (drawn.find(".//svg").get("aria-label") or "")  # type: ignore[union-attr]


def test_before_the_first_step_it_says_what_will_stand_there() -> None:
    assert NOTHING in steps_chart([], ["m"], chosen=-1)


def test_no_line_leads_from_one_patient_to_the_next() -> None:
    step = ShownStep(0, "Age and sex", "P-1 · HIV", {"m": FINDING})
    steps = [step, replace(step, number=1), replace(step, number=2, apart=True), replace(step, number=3)]
    drawn = steps_chart(steps, ["m"], chosen=3)
    together = steps_chart([replace(one, apart=False) for one in steps], ["m"], chosen=3)
    assert drawn.count("<polyline") + drawn.count("<path") == together.count("<polyline") + together.count("<path") + 1
