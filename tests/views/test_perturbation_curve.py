"""The curve of a moved identifier: truth, reference, band and figures with n and interval; nothing out of data as markup."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ehrmem_widgets.probes.perturbation.ask import SweepCurve
from ehrmem_widgets.probes.perturbation.curve import perturbation_curve, spike_bar, tick_words
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Judgement, Verdict
from tests.views.examples import EVIL, assert_harmless, label, parsed, words

VALUE = np.array([0.1, 0.8, 0.2, 0.1])
CURVE = SweepCurve(
    "age", ("a", "b", "c", "d"), ("Aged 39", "Aged 40", "Aged 41", "Aged 42"), 1, VALUE, np.full(4, 0.05), 48,
    Estimate(0.7, 0.63, 0.77, 48), 0.7, Estimate(0.0, -0.04, 0.04, 48), interval=(VALUE - 0.05, VALUE + 0.05), band=(np.full(4, 0.04), np.full(4, 0.18)),
)  # fmt: skip


def box(curve: SweepCurve = CURVE, judgement: Judgement | None = None, **more: object) -> str:
    given = {"people": 30, "wanted": 30, "title": "HIV", "facts": "Demographics", **more}
    return spike_bar(curve, judgement, **given)  # type: ignore[arg-type]


def test_the_curve_marks_the_truth_and_names_models_band_and_n() -> None:
    chart = perturbation_curve(CURVE, title="HIV", people=30)
    said = words(chart)
    for expected in (
        "HIV: probability of a leak",
        "▼ true value",
        "n = 48 samples a value",
        "reference that never saw the patient (n = 48)",
        "95 % of 30 people never seen",
        "39", "40", "age that the model is told, in years",
    ):  # fmt: skip
        assert expected in said
    name = label(chart)
    assert "(Aged 40) 0.80 (0.75 to 0.85), n = 48" in name and "30 people never seen" in name


def test_the_models_differ_in_shape_and_dashes() -> None:
    drawn = list(parsed(perturbation_curve(CURVE, title="HIV", people=30)).iter())
    assert (
        sum(e.tag == "circle" for e in drawn) == 3 + 1
    )  # the values off the truth and the legend; the truth is a diamond
    assert any(e.attrib.get("stroke-dasharray") == "6 3.5" for e in drawn)
    assert sum(e.tag == "rect" for e in drawn) > 4 + 4


def test_without_reference_band_or_interval_nothing_is_claimed_of_them() -> None:
    bare = replace(CURVE, reference=None, band=None, interval=None)
    said = words(perturbation_curve(bare, title="HIV"))
    assert "reference" not in said and "never seen" not in said
    assert "0.80, n = 48" in label(perturbation_curve(bare, title="HIV"))


@pytest.mark.parametrize("given", [None, replace(CURVE, audited=np.full(4, np.nan))])
def test_no_curve_says_so_at_the_same_size(given: SweepCurve | None) -> None:
    empty = next(iter(parsed(perturbation_curve(given, title="HIV"))))
    full = next(iter(parsed(perturbation_curve(CURVE, title="HIV"))))
    assert "no curve yet" in empty.attrib["aria-label"]
    assert empty.attrib["viewBox"] == full.attrib["viewBox"]


def test_a_shift_unknown_to_the_reference_leaves_a_hole_and_no_nan() -> None:
    holey = replace(CURVE, reference=np.array([0.1, 0.1, np.nan, 0.1]), band=(np.full(4, np.nan), np.full(4, np.nan)))
    assert "nan" not in perturbation_curve(holey, title="HIV", people=30)
    assert "nan" not in box(holey)


@pytest.mark.parametrize(("most", "end"), [(0.03, "0.1"), (0.15, "0.2"), (0.4, "0.5"), (0.9, "1")])
def test_the_axis_ends_where_the_figures_do(most: float, end: str) -> None:
    small = SweepCurve(
        "sex", ("f", "m"), ("Female", "Male"), 0, np.array([most, 0.0]), None, 16, Estimate(most, 0, most, 16), most
    )
    marks = [e.text for e in parsed(perturbation_curve(small, title="HIV")).iter("text")]
    assert end in marks and "Female" in marks


def test_strings_from_data_stay_text() -> None:
    evil = replace(CURVE, identifier="lab", words=(EVIL, f"{EVIL} 2", f"{EVIL} 3", f"{EVIL} 4"))
    judged = Judgement(Verdict.CANNOT_CONCLUDE, "evil", EVIL)
    for markup in (perturbation_curve(evil, title=EVIL, people=30), box(evil, judged, title=EVIL, facts=EVIL)):
        assert_harmless(markup)
        parsed(markup)
        assert "&lt;script&gt;" in markup


def test_the_box_says_verdict_spike_interval_n_and_p() -> None:
    made = box(judgement=Judgement(Verdict.MEMORIZED, "stands_out", "the leak falls.", rank_p=1 / 31))
    said = words(made)
    for expected in (
        "Memorized the leak falls.",
        "told the true value 80 in 100",
        "told other values 10 in 100",
        "a model that never saw them 5 in 100",
        "+0.70 (+0.63 to +0.77), n = 48",
        "p = 0.032, n = 30 people",
        "+0.00 (-0.04 to +0.04), n = 48",
    ):
        assert expected in said
    for pointed_at in (
        "Leak at the true value (Aged 40): 0.80 (0.75 to 0.85), n = 48",
        "0.10, from 0.10 to 0.20, n = 48",
    ):
        assert pointed_at in made
    assert "Answer about HIV: Memorized" in label(box(judgement=Judgement(Verdict.MEMORIZED, "stands_out", "x")))


def test_before_the_others_were_asked_there_is_no_verdict() -> None:
    said = words(box(people=10))
    assert "Not decided yet" in said and "10 of at most 30" in said and "p =" not in said
    assert "Not in the record" in words(box(held=False, settled=True))


def test_ticks_leave_out_what_all_values_share() -> None:
    assert tick_words(("Aged 39", "Aged 40")) == ("Aged", ("39", "40"))
    assert tick_words(("Female", "Male")) == ("", ("Female", "Male"))
    assert tick_words(("1 day later", "1 day later")) == ("1 day", ("later", "later"))
