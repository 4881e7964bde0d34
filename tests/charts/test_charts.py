"""The primitives: places on an axis, rows, plots and the map; nothing out of data as markup, nothing finer than a tenth of a pixel."""

from __future__ import annotations

import math
import re
from typing import get_args

import numpy as np
import pytest

from ehrmem_widgets.charts.axis import Axis, round_values
from ehrmem_widgets.charts.map import point_map
from ehrmem_widgets.charts.marks import Key, Shape, legend, mark, nothing
from ehrmem_widgets.charts.plot import Plot, path
from ehrmem_widgets.charts.rows import Column, Mark, Row, row_chart
from ehrmem_widgets.statistics.intervals import Estimate
from tests.views.examples import EVIL, assert_harmless, label, parsed, words

AXIS = Axis(0, 1, 100, 400, ((0, "0"), (1, "1")))
PLOT = Plot(AXIS, Axis(0, 1, 300, 50, ((0, "0"), (1, "1"))))
COLUMNS = (Column("What", 12, 10), Column("How much", 420, 12), Column("Says", 520, 12))
KEY = Key("a line", "#000", "disc", "4 2")
NONE = Estimate(math.nan, math.nan, math.nan, 0)


def rows(*given: Row, **more: object) -> str:
    return row_chart(given, COLUMNS, AXIS, label="a chart", **more)  # type: ignore[arg-type]


def coordinates(markup: str) -> list[str]:
    """Every number of the paths, circles and boxes of a chart."""
    names = ("d", "cx", "cy", "x", "y", "width", "height")
    drawn = [e for e in parsed(markup).iter() if e.tag in ("path", "circle", "rect")]
    return re.findall(
        r"-?\d*\.?\d+(?:e-?\d+)?", " ".join(e.attrib[name] for e in drawn for name in names if name in e.attrib)
    )


@pytest.mark.parametrize("log", [False, True])
def test_an_axis_holds_its_ends_and_rounds_to_a_tenth_of_a_pixel(log: bool) -> None:
    axis = Axis(0.001, 1, 400, 100, log=log)
    assert axis(0.001) == axis(-1) == 400 and axis(1) == axis(9) == 100 and math.isnan(axis(math.nan))
    places = [axis(share) for share in np.linspace(0.001, 1, 500).tolist()]
    assert (
        axis.places(np.linspace(0.001, 1, 500)) == places
        and places == sorted(places, reverse=True)
        and all(place == round(place, 1) for place in places)
    )


def test_counts_that_lie_near_share_a_place() -> None:
    """What leaves is no finer than the picture's pixels: neighbouring shares of a large n cannot be told apart."""
    assert AXIS(5_000 / 10_007) == AXIS(5_001 / 10_007)


def test_no_chart_is_finer_than_a_tenth_of_a_pixel() -> None:
    third = Estimate(1 / 3, 1 / 7, 2 / 3, 1000)
    marks = [Mark(third, "bar", "#000"), Mark(third, "disc", "#000", origin=1 / 9), Mark(1 / 3, "diamond", "#000")]
    xs, ys = np.linspace(0, 1, 7), np.linspace(0.1, 0.9, 7) ** 2
    plotted = PLOT.line(KEY, xs, ys, aside=4.5) + PLOT.whiskers(KEY, xs, ys / 3, ys) + PLOT.band(KEY, xs, ys / 3, ys)
    points = np.random.default_rng(0).normal(size=(50, 2))
    drawn_map = point_map(
        points, np.zeros(50, dtype=int), [KEY], label="a map", query=points[0] / 3, nearest=[1], own=2
    )
    for chart in (rows(Row(("a",), "a", marks)), plotted, drawn_map):
        assert len(coordinates(chart)) > 10
        assert all(len(number.partition(".")[2]) <= 1 for number in coordinates(chart))


@pytest.mark.parametrize(("low", "high"), [(-0.12, 0.31), (0, 1), (-3, 3), (0, 5000), (0.001, 0.0013)])
def test_round_values_are_few_even_and_inside(low: float, high: float) -> None:
    found = round_values(low, high)
    steps = np.diff(found)
    assert 2 <= len(found) <= 7 and low <= found[0] + 1e-9 and found[-1] <= high + 1e-9
    assert np.allclose(steps, steps[0])


def test_a_row_has_its_words_its_marks_and_its_name() -> None:
    drawn = rows(
        Row(("first", ("above", "below"), "a longer sentence"), "all of it", [Mark(Estimate(0.5, 0.4, 0.6, 9), "disc", "#000")]),
        Row(("second",), "why", [Mark(NONE, "disc", "#000"), Mark(None, "disc", "#000")], instead="not asked"),
    )  # fmt: skip
    assert words(drawn) == "What How much Says 0 1 all of it first above below a longer sentence why second not asked"
    assert len(list(parsed(drawn).iter("circle"))) == 1 and label(drawn) == "a chart" and "nan" not in drawn


def test_headings_stand_once_and_the_chosen_row_stands_out() -> None:
    drawn = rows(*(Row((str(i),), "", heading="H", chosen=i == 1) for i in range(3)))
    assert words(drawn).count("H") == words(drawn).count("How") + 1
    assert drawn.count('font-weight="700"') == 1


def test_a_line_breaks_where_a_value_is_missing_and_so_do_its_marks_and_whiskers() -> None:
    xs, ys = [0.0, 0.5, 1.0], [0.1, math.nan, 0.2]
    drawn = PLOT.line(KEY, xs, ys) + PLOT.whiskers(KEY, xs, ys, ys)
    assert "nan" not in drawn and len(list(parsed(drawn).iter("circle"))) == 2
    assert path([(0, 1), (1, math.nan), (2, 3), (3, 4)]) == "M0 1M2 3L3 4"


def test_a_legend_takes_as_many_lines_as_it_needs() -> None:
    keys = [Key("some words of a series", "#000", "disc") for _ in range(6)]
    wide, narrow = legend(keys, 12, 20, 2000), legend(keys, 12, 20, 300)
    assert wide[1] == 37 and narrow[1] > 70
    assert all(float(e.attrib["x"]) < 300 for e in parsed(narrow[0]).iter("text"))


def test_every_shape_differs() -> None:
    shapes = [shape for shape in get_args(Shape) if shape]
    drawn = {mark(shape, 10, 10, "#000") for shape in shapes}
    assert len(drawn) == len(shapes) and all(len(list(parsed(one))) for one in drawn)


def test_strings_from_data_stay_text() -> None:
    evil = Row((EVIL, (EVIL, EVIL), EVIL), EVIL, heading=EVIL, instead=EVIL)
    key = Key(EVIL, "#000", "disc")
    for drawn in (
        rows(evil, title=EVIL, head=EVIL, notes=[(0, EVIL, "start")], keys=[key], foot=EVIL),
        Plot(Axis(0, 1, 0, 100, ((0, EVIL),)), Axis(0, 1, 100, 0, ((0, EVIL),))).axes(EVIL) + PLOT.level(0.5, EVIL),
        point_map(np.zeros((1, 2)), np.zeros(1, dtype=int), [key], label=EVIL),
        nothing(EVIL, width=100),
    ):
        assert_harmless(drawn)
        parsed(drawn)
        assert "&lt;script&gt;" in drawn
