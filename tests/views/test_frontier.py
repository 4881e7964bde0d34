"""The frontier: numbers that can be read where points coincide, and every figure in words."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest

from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.views.frontier import WIDTH, frontier
from tests.views.examples import EVIL, assert_harmless, label

USES = ("loss", "recall")
NAMES = ("none", "deduplicated", "dropout", "early stopping", "1", "3", "8", EVIL)


def drawn(risk: list[float], use: list[float]) -> str:
    risks, useful = (
        {n: Estimate(v, v - 0.05, v + 0.05, 200) for n, v in zip(NAMES, some, strict=True)} for some in (risk, use)
    )
    return frontier("T4", risks, dict.fromkeys(USES, useful))


def numbers(picture: str) -> list[tuple[int, float, float]]:
    found = re.findall(r'<text x="([-\d.]+)" y="([-\d.]+)"[^>]*font-weight="700"[^>]*>(\d)</text>', picture)
    return [(int(number), float(x), float(y) - 4) for x, y, number in found]


@pytest.mark.parametrize(
    ("risk", "use"),
    [
        ([0.7] * 8, [0.36] * 8),
        ([7.83, 2.46, 7.83, 7.82, 1.5, 1.6, 1.68, 1.7], [3.56, 3.58, 3.57, 3.56, 4.9, 4.8, 4.69, 4.6]),
        (np.random.default_rng(0).random(8).round(2).tolist(), [1.0] * 8),
    ],
)
def test_every_number_stands_free_of_the_others_and_of_all_points(risk: list[float], use: list[float]) -> None:
    picture = drawn(risk, use)
    found = numbers(picture)
    assert [number for number, _, _ in found] == [1, 2, 3, 4, 5, 6, 7, 8] * len(USES)
    for panel in (found[:8], found[8:]):
        assert all(math.dist(a[1:], b[1:]) > 11.8 for a, b in itertools.combinations(panel, 2))
    assert all(8 < x < WIDTH and 16 < y < 210 for _, x, y in found)


def test_a_number_that_stands_far_from_its_point_is_led_to_it_and_one_alone_stands_beside_it() -> None:
    line = 'stroke="currentColor" stroke-width=".7"'
    assert line in drawn([0.7] * 8, [0.36] * 8)
    assert line not in drawn([0.1 * k for k in range(8)], [float(k) for k in range(8)])


def test_the_label_says_every_figure_and_nothing_out_of_data_is_markup() -> None:
    picture = drawn([0.7] * 8, [0.36] * 8)
    assert_harmless(picture)
    assert label(picture).count("0.70 (0.65 to 0.75), n = 200") == 8
