"""Matches to people in training against matches to people never seen: worked numbers, and p against a coin and against dealing labels anew."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ehrmem_widgets.statistics.matches import matches_needed, more_in_training


def test_worked_numbers() -> None:
    assert more_in_training(0, 30, 0, 30) == 1
    assert more_in_training(2, 2, 0, 2) == pytest.approx(1 / 6)  # both of two, of the six pairs of four
    assert more_in_training(5, 5, 5, 5) == pytest.approx(1)
    paper = more_in_training(492, 10**6, 271, 10**6)  # arXiv 2606.16952: of 763 matches 271 are phantoms
    assert paper == pytest.approx(stats.binomtest(492, 763, 0.5, alternative="greater").pvalue, rel=0.05)
    assert 1e-17 < paper < 1e-14


def test_it_is_the_permutation_test_by_person() -> None:
    matched = np.array([1] * 9 + [0] * 11 + [1] * 4 + [0] * 26)  # 20 members, 30 others
    rng = np.random.default_rng(3)
    dealt = np.array([rng.permutation(matched)[:20].sum() for _ in range(20_000)])
    assert (dealt >= 9).mean() == pytest.approx(more_in_training(9, 20, 4, 30), abs=0.005)


@pytest.mark.parametrize("tests", [1, 4, 8])
def test_with_fewer_matches_nothing_stands_out(tests: int) -> None:
    needed = matches_needed(tests)
    assert more_in_training(needed, 10**6, 0, 10**6) <= 0.05 / tests < more_in_training(needed - 1, 10**6, 0, 10**6)
