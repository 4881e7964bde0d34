"""The live views: well formed, harmless, and every figure with its interval and n."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import numpy as np
import pytest

from ehrmem_widgets.attacker.identifiability import Identifiability, PopulationFit
from ehrmem_widgets.charts.markup import interval
from ehrmem_widgets.probes.findings import NeighbourFinding, ReadableEvent, ReconstructionFinding
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Judgement, PositiveControl, Verdict
from ehrmem_widgets.views.advice import CHANGES
from ehrmem_widgets.views.continuations import continuations
from ehrmem_widgets.views.horizon_curve import horizon_curve
from ehrmem_widgets.views.known_facts import known_facts_sentence
from ehrmem_widgets.views.leak_bars import leak_bars
from ehrmem_widgets.views.neighbours import neighbour_list, neighbour_map
from ehrmem_widgets.views.patient_page import patient_page
from ehrmem_widgets.views.reconstruction import reconstruction_sentence
from ehrmem_widgets.views.verdict import verdict_box
from tests.views.examples import (
    CONTROLS,
    EVIL,
    answer,
    assert_harmless,
    curve,
    finding,
    label,
    no_data,
    not_held,
    parsed,
    undecided,
    words,
)

POINTS = np.random.default_rng(0).normal(size=(5000, 2))
KINDS = np.arange(5000) % 3


def every_view() -> dict[str, str]:
    given = answer()
    return {
        "bars": leak_bars(given.attributes, "evil"),
        "curve": horizon_curve(given.curve, given.reference_curve, title=EVIL, horizon=80),
        "continuations": continuations(given.generated, given.truth),
        "facts": known_facts_sentence(given),
        "verdict": verdict_box(given.attributes[1], settled=True),
        "list": neighbour_list(given.neighbours),
        "map": neighbour_map(POINTS, KINDS, given.neighbours, nearest=[1, 2], patient=1),
        "page": patient_page(
            given, patient=EVIL, facts_html="<p>age</p>", settings={EVIL: EVIL}, coordinates=POINTS, kinds=KINDS
        ),
    }


@pytest.mark.parametrize("name", every_view())
def test_strings_from_data_stay_text(name: str) -> None:
    markup = every_view()[name]
    assert_harmless(markup)
    parsed(markup)
    if name not in ("map",):
        assert "alert(" in words(markup) or "alert(" in markup
        assert "&lt;script&gt;" in markup


@pytest.mark.parametrize("name", ["bars", "curve", "map"])
def test_svgs_name_themselves_and_keep_their_height(name: str) -> None:
    svg = next(iter(parsed(every_view()[name])))
    assert svg.tag == "svg"
    assert svg.attrib["role"] == "img"
    assert svg.attrib["width"] == "100%" and svg.attrib["height"].isdigit()
    assert len(svg.attrib["aria-label"]) > 40
    assert "var(--jp-ui-font-color1,#111)" in svg.attrib["style"]


def test_bars_say_figures_interval_n_record_severity_and_verdict() -> None:
    bars = leak_bars([finding(), undecided(), no_data(), not_held()], "hiv")
    said = words(bars)
    for expected in (
        "0.71 (0.62 to 0.79), n = 128",
        "0.06 (0.03 to 0.10), n = 96",
        "in focus · in the record",
        "not in the record",
        "severity 5",
        "Memorized",
        "checking similar people…",
    ):
        assert expected in said
    assert "HIV" in label(bars) and "0.71 (0.62 to 0.79), n = 128" in label(bars) and "Memorized" in label(bars)


def test_bars_keep_the_order_given_and_mark_only_the_focus() -> None:
    said = words(leak_bars([undecided(), finding(), no_data()], "hiv"))
    assert said.index("Mental health") < said.index("HIV") < said.index("Genetic disease")
    assert said.count("in focus") == 1


def test_bars_without_data_show_a_dash_and_no_bar() -> None:
    bars = leak_bars([no_data()], "")
    assert "—" in words(bars) and "nan" not in bars
    assert "checking" not in words(bars)


def test_bars_settled_without_judgement_do_not_claim_to_be_checking() -> None:
    said = words(leak_bars([undecided()], "b", settled=True))
    assert "not checked" in said and "checking" not in said


def test_an_attribute_that_is_not_in_the_record_has_no_verdict() -> None:
    for said in (words(leak_bars([not_held()], "d", settled=True)), words(verdict_box(not_held(), settled=True))):
        assert "Not in the record" in said and not any(
            f"{verdict} :" in said or said.endswith(verdict) for verdict in Verdict
        )
    assert "checking" in words(leak_bars([not_held()], "d"))


def test_bars_height_depends_on_the_number_of_rows_only() -> None:
    heights = {next(iter(parsed(leak_bars([f], "hiv")))).attrib["height"] for f in (finding(), undecided(), no_data())}
    assert len(heights) == 1


def test_bars_of_nothing_say_so() -> None:
    assert "No sensitive attributes" in label(leak_bars([], "hiv"))


def test_curve_names_axes_ends_and_n() -> None:
    chart = horizon_curve(curve(), curve(0.06, 96), title="HIV", horizon=80)
    said = words(chart)
    assert "codes generated" in said and "probability" in said
    assert "audited model (n = 128)" in said and "(n = 96)" in said
    assert "0.71 (0.64 to 0.78, n = 128)" in label(chart) and "0.06" in label(chart)


@pytest.mark.parametrize("given", [None, curve(length=0), curve(float("nan"))])
def test_curve_without_data_says_so_at_the_same_size(given: object) -> None:
    empty = next(iter(parsed(horizon_curve(given, None, title="HIV", horizon=80))))  # type: ignore[arg-type]
    full = next(iter(parsed(horizon_curve(curve(), None, title="HIV", horizon=80))))
    assert "no curve yet" in empty.attrib["aria-label"]
    assert empty.attrib["viewBox"] == full.attrib["viewBox"]


@pytest.mark.parametrize("horizon", [1, 2, 7, 80, 5000])
def test_curve_holds_any_horizon(horizon: int) -> None:
    assert_harmless(horizon_curve(curve(length=horizon), curve(1.0, length=1), title="HIV", horizon=horizon))


def test_continuations_mark_sensitive_and_true_events() -> None:
    events = [ReadableEvent("HIV disease", "diagnosis", "HIV", True), ReadableEvent("Sodium", "laboratory")]
    box = continuations([events], [ReadableEvent("HIV disease", "diagnosis", "HIV", True)])
    items = [e for e in parsed(box).iter("li")]
    assert "".join(items[0].itertext()).startswith("◆✓HIV disease")
    assert items[0].attrib["title"] == "diagnosis; HIV; also in what really followed"
    assert "".join(items[1].itertext()) == "Sodium"
    assert "✓" not in "".join(items[2].itertext())  # that the truth holds it needs no mark
    assert "2 events, 1 of them sensitive" in label(box)


def test_continuations_empty() -> None:
    said = words(continuations([], []))
    assert "Nothing has been asked of the model yet." in said and "Nothing follows the last known event." in said


def fit(others: float, low: float, high: float, nobody: float) -> PopulationFit:
    """Of 300,000 people so many others fit."""
    chance = Estimate(nobody, max(nobody - 0.05, 0), min(nobody + 0.05, 1) if nobody else 0, 3000)
    return PopulationFit(300_000, Estimate(others, low, high, 3000), chance)


@pytest.mark.parametrize(
    ("known", "says"),
    [
        (
            Identifiability(7, 1, 3000),
            "They fit 1 of 3,000 patients (k = 1): unique in this data set . That is 11.6 bits of 11.6 in this data set. 2 sens",
        ),
        (
            Identifiability(1, 30, 3000),
            "The attacker holds 1 fact. It fits 30 of 3,000 patients (k = 30). That is 6.6 bits of 11.6 in this data set.",
        ),
        (
            Identifiability(0, 3000, 3000),
            "The attacker holds no facts. Any of 3,000 patients may be meant (k = 3,000). That is 0.0 bits",
        ),
        (
            Identifiability(7, 1, 3000, fit(49.5, 0, 366, 0.11)),
            "in this data set. Of 300,000 people, about 50 (1 to 367) fit; the chance that nobody else does is 11 % (6 % to 16 %).",
        ),
        (
            Identifiability(7, 1, 3000, fit(0.004, 0, 0, 0.9961)),
            "Of 300,000 people, most likely only this patient fits, with a chance of over 99 % (95 % to 100 %): "
            "the attacker has already identified the patient .",
        ),
        (
            Identifiability(7, 30, 3000, fit(2900, 1900, 4100, 0)),
            "in this data set. Of 300,000 people, about 2,900 (1,900 to 4,100) fit.",
        ),
        (Identifiability(2, 0, 3000), "the facts fit nobody"),
        (Identifiability(2, 0, 0), "no cohort"),
    ],
)
def test_known_facts(known: Identifiability, says: str) -> None:
    assert says in words(known_facts_sentence(answer(known=known)))


def test_known_facts_notes_and_warnings() -> None:
    said = words(known_facts_sentence(answer()))
    assert "2 sensitive facts withheld from the prompt." in said and "1 fact left out" in said
    assert "about 6.3 samples" in said
    quiet = words(known_facts_sentence(answer(stripped=0, left_out=0, effective_samples=float("inf"), warnings=())))
    assert "withheld" not in quiet and "Warning" not in quiet and "inf" not in quiet


def test_verdict_says_all_it_rests_on() -> None:
    said = words(verdict_box(finding(), settled=True))
    for expected in (
        "Memorized : the model names it with probability 0.71 (0.62 to 0.79)",
        "+0.65 (",
        "n = 40",
        "0.71 (0.62 to 0.79), n = 128",
        "An attacker who knows these facts would need 1 question (n = 128 samples) for an even chance of learning it.",
        "REACH",
    ):
        assert expected in said


def test_verdict_undecided_and_without_data() -> None:
    assert "Not decided yet : checking similar people" in words(verdict_box(undecided(), settled=False))
    assert "were not asked about" in words(verdict_box(undecided(), settled=True))
    assert "has not answered yet" in words(verdict_box(no_data(), settled=False))


def test_verdict_never_seen_still_gives_the_bound() -> None:
    said = words(verdict_box(finding(audited=Estimate(0.0, 0.0, 0.037, 100), controls=CONTROLS), settled=True))
    assert "Not one leak in 100 samples" in said and "at least 19 questions for an even chance" in said


def test_neighbours_rank_and_map_sampling() -> None:
    assert "number 3 of 3,000 by distance" in words(neighbour_list(answer().neighbours))
    assert "the nearest of 10" in words(neighbour_list(NeighbourFinding(1, 10, ())))
    assert "nothing has been asked" in words(neighbour_list(None))
    chart = neighbour_map(POINTS, KINDS, answer().neighbours)
    assert "Map of 5,000 records" in label(chart) and "3,000 of them drawn" in label(chart)
    assert "no map" in label(neighbour_map(np.empty((0, 2)), [], None))
    assert_harmless(neighbour_map(np.zeros((1, 2)), [2], None))  # one point has no extent


def test_page_is_one_self_contained_block_that_says_its_limits() -> None:
    page = every_view()["page"]
    root = parsed(page)
    assert [child.tag for child in root] == ["div"] and root[0].attrib["class"] == "ehrmem ehrmem-report"
    assert page.count("<style") == 1
    said = words(page)
    for expected in ("It is not a clearance", "membership inference", "How to read this", "horizon 80 codes"):
        assert expected in said
    assert len(next(e for e in root.iter("ol") if e.attrib.get("class") == "ehrmem-read")) == 9
    assert not list(root.iter("table"))  # no table repeats a chart


def page_of(**changes: object) -> str:
    given = answer(focus="hiv", **changes)
    return words(patient_page(given, patient="P-AAAA-BBBB", facts_html="", settings={}, exploratory=True))


def test_the_page_begins_with_the_answer_and_its_three_figures() -> None:
    said = page_of().rpartition("}")[2].strip()  # after the style sheet
    assert said.startswith(
        "Memorized: the model gives away HIV about patient P-AAAA-BBBB, to anybody who knows 7 facts."
    )
    first = said[: said.index("What is recommended")]
    for figure in (
        "71 in 100",
        "0.71 (0.62 to 0.79), n = 128",
        "6 in 100",
        "0.06 (0.03 to 0.10), n = 96",
        "5 in 100",
        "mean of 40",
    ):
        assert figure in first
    order = [
        "What is recommended",
        "What would change our mind",
        "What this cannot say",
        "Why this verdict",
        "All sensitive",
    ]
    assert [said.index(heading) for heading in order] == sorted(said.index(heading) for heading in order)


@pytest.mark.parametrize(
    ("judged", "expected"),
    [
        (Judgement(Verdict.MEMORIZED, "stands_out", "x"), ("sealed question", "with another seed")),
        (Judgement(Verdict.POPULATION, "within_margin", "x"), ("says no more of HIV", "turn out to have been trained on")),
        (
            Judgement(Verdict.CANNOT_CONCLUDE, "undecided", "x", {"more": "about 300 more samples would probably decide"}),
            ("remains open", "neither an alarm nor an all-clear", "About 300 more samples would probably decide."),
        ),
        (Judgement(Verdict.CANNOT_CONCLUDE, "blind", "x", {"blind": "the horizon ends too early"}), ("The horizon ends too early.",)),
        (Judgement(Verdict.CANNOT_CONCLUDE, "too_few", "x"), ("More similar people whom no model saw.",)),
    ],
)  # fmt: skip
def test_each_verdict_has_its_advice(judged: Judgement, expected: tuple[str, ...]) -> None:
    said = page_of(attributes=(finding(judgement=judged),))
    assert all(words_ in said for words_ in expected)
    assert ("sealed question" in said) == (judged.verdict is Verdict.MEMORIZED)


def test_every_reason_of_an_open_verdict_says_what_would_change_it() -> None:
    from ehrmem_widgets.statistics import verdicts

    source = inspect.getsource(verdicts.judge_person)
    reasons = set(re.findall(r"""Verdict\.[A-Z_]+,\s*"(\w+)\"""", source)) | {one.reason for one in PositiveControl}
    assert len(reasons) > 8 and reasons - set(CHANGES) == {"blind", "undecided"}  # these two say it themselves


def test_what_was_run_is_not_said_to_be_missing() -> None:
    near = Estimate(0.2, 0.1, 0.3, 64)
    assert "Not run here: reconstruction of the record" in page_of(reconstruction=None)
    assert "Not run here: membership inference" in page_of(reconstruction=ReconstructionFinding(near, near, None))


def test_what_is_not_held_or_not_judged_is_not_answered() -> None:
    held = page_of(attributes=(finding(held=False, judgement=None),))
    assert "Not in the record: the record of patient P-AAAA-BBBB does not hold HIV" in held
    open_ = page_of(attributes=(finding(reference=None, excess=None, controls=(), judgement=None),))
    assert "there is nothing to judge by" in open_ and "not asked" in open_


def test_page_of_an_empty_answer() -> None:
    empty = answer(
        attributes=(), curve=None, reference_curve=None, generated=(), truth=(), neighbours=None, settled=False
    )
    said = words(patient_page(empty, patient="p", facts_html="", settings={}))
    assert "partial results" in said and "No sensitive attribute is asked about." in said


def test_interval_never_shows_minus_zero() -> None:
    assert interval(Estimate(-0.001, -0.004, 0.2, 5), signed=False) == "0.00 (0.00 to 0.20), n = 5"
    assert interval(Estimate(-0.00001, -0.00002, 0.001, 5)) == "0.0000 (0.0000 to 0.0010), n = 5"


def test_views_need_neither_ipywidgets_nor_seaborn() -> None:
    code = (
        "import sys; import ehrmem_widgets.views.patient_page; "
        "print([m for m in ('ipywidgets', 'seaborn', 'matplotlib', 'torch', 'anywidget') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_reconstruction_says_both_models_with_interval_and_n() -> None:
    near, far = Estimate(0.2, 0.1, 0.3, 64), Estimate(0.9, 0.85, 0.95, 64)
    said = words(reconstruction_sentence(ReconstructionFinding(near, near, None, far, far, None)))
    assert "audited model 0.20 (0.10 to 0.30), n = 64; reference model 0.90 (0.85 to 0.95), n = 64" in said
    assert "rare codes" not in said
    with_rare = words(reconstruction_sentence(ReconstructionFinding(near, near, near)))
    assert "rare codes that followed" in with_rare and "reference model" not in with_rare
    assert "Not yet compared" in words(reconstruction_sentence(None))
