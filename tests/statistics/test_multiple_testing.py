"""Who stands out of people never seen: by hand, and at the rate that was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from ehrmem_widgets.statistics.multiple_testing import discoveries


def test_discoveries_by_hand() -> None:
    """Nine people never seen; of five people three lie above all of them, one in the middle, one with nothing."""
    never = np.arange(9.0)
    found = discoveries(np.array([20.0, 30.0, 40.0, 4.0, -np.inf]), never, 0.2)
    assert found.p.tolist() == pytest.approx([0.1, 0.1, 0.1, 0.6, 1.0])
    assert found.p_adjusted.tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 0.75, 1.0])
    assert found.chosen.tolist() == [True, True, True, False, False]
    assert found.above == 3 and found.needed == 8  # 5 / (0.2 * 3) - 1, rounded up
    assert found.false_share is not None and found.false_share.value == 0 and found.false_share.n == 9
    fewer = discoveries(np.array([20.0, 30.0, 40.0, 4.0, -np.inf]), never[:7], 0.2)
    assert not fewer.chosen.any() and fewer.false_share is None and fewer.needed == 8
    assert discoveries(np.array([20.0, 30.0, 40.0, 4.0, -np.inf]), never[:8], 0.2).chosen.sum() == 3


def test_ties_with_people_never_seen_count_against() -> None:
    assert not discoveries(np.ones(50), np.ones(200), 0.1).chosen.any()


def test_nobody_asked_is_nobody_chosen() -> None:
    found = discoveries(np.array([]), np.arange(30.0), 0.1)
    assert not len(found.chosen) and found.above == 0 and found.false_share is None
    alone = discoveries(np.ones(3), np.array([]), 0.1)
    assert not alone.chosen.any() and alone.false_share is None


@pytest.mark.parametrize("shown", [0.0, 0.3])
def test_the_share_of_false_ones_stays_at_the_rate(shown: float) -> None:
    """100 people of whom a part stands out, and 100 never seen, 400 times."""
    rng = np.random.default_rng(3)
    false, found = [], []
    for _ in range(400):
        own = rng.normal(size=100)
        own[: round(100 * shown)] += 4
        chosen = discoveries(own, rng.normal(size=100), 0.1).chosen
        false.append(chosen[round(100 * shown) :].sum() / max(1, chosen.sum()))
        found.append(chosen[: round(100 * shown)].mean() if shown else 0.0)
    assert np.mean(false) <= 0.1 + 2 * np.std(false) / 20
    assert np.mean(found) >= (0.8 if shown else 0)
