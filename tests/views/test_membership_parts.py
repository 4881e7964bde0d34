"""Bars of the record's parts: harmless, with interval and n, parts with too few people without a figure."""

from __future__ import annotations

import math

from ehrmem_widgets.probes.membership.parts import membership_parts
from ehrmem_widgets.probes.membership.slices import Part
from ehrmem_widgets.statistics.discrimination import NOTHING
from ehrmem_widgets.statistics.intervals import Estimate
from tests.views.examples import EVIL, assert_harmless, label, parsed, words

PARTS = (
    Part("laboratory", False, Estimate(0.9, 0.85, 0.94, 400), 0.001),
    Part(EVIL, False, Estimate(0.51, 0.44, 0.58, 300), 1.0),
    Part("procedure", False, NOTHING, math.nan, f"fewer than 11 {EVIL}"),
    Part("quarter 1", True, Estimate(0.4, 0.3, 0.5, 400), 1.0),
)


def test_bars_say_interval_and_n_and_what_stands_out() -> None:
    drawn = membership_parts(PARTS, EVIL)
    assert_harmless(drawn)
    said = words(drawn)
    assert "Laboratory values" in said and "First quarter of the record" in said
    assert "0.90 (0.85 to 0.94), n = 400 *" in said
    assert "0.51 (0.44 to 0.58), n = 300 *" not in said and "0.51 (0.44 to 0.58), n = 300" in said
    assert "not shown: fewer than 11" in said
    assert "Highest: Laboratory values: AUROC 0.90 (0.85 to 0.94), n = 400, above chance." in label(drawn)


def test_a_bar_goes_from_chance_to_its_value() -> None:
    bars = [
        e.attrib
        for e in parsed(membership_parts(PARTS, "Ratio")).iter()
        if e.tag == "rect" and e.attrib["height"] == "12"
    ]
    right, _, left = ((float(b["x"]), float(b["x"]) + float(b["width"])) for b in bars)
    assert right[0] == left[1]  # chance
    assert round(right[1] - right[0], 1) == round(4 * (left[1] - left[0]), 1)  # 0.4 above it, 0.1 below


def test_no_parts() -> None:
    drawn = membership_parts((), "Ratio")
    parsed(drawn)
    assert label(drawn) == "No part of the record could be looked at by itself."
