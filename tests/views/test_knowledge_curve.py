"""Lines by knowledge level and rows of intervals: n and interval of every point, signs besides colour, nothing out of data as markup."""

from __future__ import annotations

import math

import pytest

from ehrmem_widgets.findings.finding import finding, row
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.interval_rows import IntervalRow, interval_rows
from ehrmem_widgets.views.knowledge_curve import MOST, by_level, knowledge_curve
from tests.views.examples import EVIL, assert_harmless, label, parsed, words

KNOWLEDGE_LEVELS = ("nothing", "first_10")
HIGH, LOW = Estimate(0.8, 0.7, 0.9, 31), Estimate(0.2, 0.1, 0.3, 17)
NONE = Estimate(math.nan, math.nan, math.nan, 0)
LINES = {"members": {"nothing": LOW, "first_10": HIGH}, "never seen": {"nothing": LOW, "first_10": NONE}}


def curve(
    lines: dict[str, dict[str, Estimate]] = LINES, knowledge_levels: tuple[str, ...] = KNOWLEDGE_LEVELS, **more: object
) -> str:
    return knowledge_curve(lines, knowledge_levels, title="T1", axis="distance", **more)  # type: ignore[arg-type]


def test_every_point_has_its_n_and_its_interval() -> None:
    said = words(curve())
    assert "members 17 31" in said and "never seen 17 —" in said
    name = label(curve())
    assert "The first 10 codes: 0.80 (0.70 to 0.90), n = 31" in name and "Nothing: 0.20 (0.10 to 0.30), n = 17" in name


def test_lines_differ_in_dashes_and_shape() -> None:
    lines = {f"group {i}": {"nothing": LOW, "first_10": HIGH} for i in range(MOST)}
    drawn = parsed(curve(lines))
    paths = [e.attrib for e in drawn.iter("path") if e.attrib.get("stroke-width") == "1.8"]
    assert len({(p["stroke"], p.get("stroke-dasharray", "")) for p in paths}) == MOST
    assert {e.tag for e in drawn.iter()} >= {"circle", "rect", "path"}


def test_a_higher_figure_stands_higher_and_a_missing_one_breaks_the_line() -> None:
    def discs(line: dict[str, Estimate]) -> list[float]:
        drawn = parsed(curve({"a": line}))
        return [float(e.attrib["cy"]) for e in drawn.iter("circle") if float(e.attrib["cx"]) > 230]

    low, high = discs({"nothing": LOW, "first_10": HIGH})
    assert low > high and len(discs({"nothing": LOW, "first_10": NONE})) == 1
    gap = parsed(
        curve({"a": {"nothing": LOW, "first_10": NONE, "first_20": HIGH}}, ("nothing", "first_10", "first_20"))
    )
    line = next(e.attrib["d"] for e in gap.iter("path") if e.attrib.get("fill") == "none" and e.attrib.get("stroke-width") == "1.8" and float(e.attrib["d"][1:].split()[0]) > 230)  # fmt: skip
    assert line.count("M") == 2 and "L" not in line


def test_the_level_and_the_top_scale_the_picture() -> None:
    assert "coin toss" in words(curve(level=(0.5, "coin toss")))
    assert "2.5" in words(curve(top=10.0)) and "0.75" in words(curve())


def test_strings_from_data_stay_text_in_lines_and_rows() -> None:
    rows = [IntervalRow(EVIL, HIGH, EVIL, True)]
    for drawn in (
        knowledge_curve({EVIL: {EVIL: HIGH}}, (EVIL,), title=EVIL, axis=EVIL, level=(0.5, EVIL)),
        interval_rows(rows, title=EVIL, ends=(0, 1), level=(0.5, EVIL)),
    ):
        assert_harmless(drawn)
        assert "&lt;script&gt;" in drawn


@pytest.mark.parametrize("lines", [{}, {"a": {}}, {"a": {"nothing": NONE}}])
def test_no_figures_are_said_to_be_none(lines: dict[str, dict[str, Estimate]]) -> None:
    assert "Nothing to show" in label(curve(lines)) and "nan" not in curve(lines)
    assert "Nothing to show" in label(interval_rows((), title="T", ends=(0, 1), level=(0.5, "chance")))


def test_by_level_takes_the_rows_asked_for() -> None:
    rows = [
        row("auroc", HIGH, knowledge="first_10", group="member"),
        row("auroc", LOW, knowledge="first_10", group="other"),
    ]
    assert by_level(finding("attribute", rows, {}, []), "auroc", group="member") == {"first_10": HIGH}


def test_rows_say_figure_interval_and_n_under_their_heading() -> None:
    rows = [IntervalRow("canaries", HIGH, "Audited"), IntervalRow("others", LOW, "Audited"), IntervalRow("none", NONE)]
    drawn = interval_rows(rows, title="T3", ends=(0, 1), level=(0.5, "chance"), signed=True)
    said = words(drawn)
    assert said.count("Audited") == 1 and "+0.80 (+0.70 to +0.90), n = 31" in said and "nan" not in drawn
    assert "Audited, others: +0.20 (+0.10 to +0.30), n = 17; none: —" in label(drawn)


def test_rows_to_look_at_first_have_another_shape() -> None:
    plain, marked = (
        parsed(interval_rows([IntervalRow("a", HIGH, "", m)], title="T", ends=(0, 1), level=(0, "none")))
        for m in (False, True)
    )
    assert len(list(plain.iter("circle"))) == 1 and not list(marked.iter("circle"))
