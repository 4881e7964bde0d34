"""Withheld counts stay withheld: each is tried to be recomputed from what is shown."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
from scipy.optimize import linprog

from ehrmem_widgets.statistics.disclosure import (
    FEWEST,
    NOT_SHOWN,
    as_shown,
    coarse_share,
    hidden_cells,
    hidden_counts,
    is_small,
    rounded_n,
    share_step,
    shown_judgement,
    with_totals,
)
from ehrmem_widgets.statistics.discrimination import NOTHING
from ehrmem_widgets.statistics.intervals import Estimate, proportion
from ehrmem_widgets.statistics.verdicts import Judgement, Verdict


def equations(shape: tuple[int, int]) -> np.ndarray:
    """(sums, cells): what a reader knows of a table with its totals, each row a sum that is 0."""
    rows, columns = shape
    place = np.arange((rows + 1) * (columns + 1)).reshape(rows + 1, columns + 1)
    found = []
    for line in (*place, *place.T):
        one = np.zeros(place.size)
        one[line[:-1]], one[line[-1]] = 1, -1
        found.append(one)
    return np.array(found)


def tables(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(5)
    return [rng.poisson(rng.choice([1, 6, 15, 60], rng.integers(1, 6, 2))) for _ in range(n)]


@pytest.mark.parametrize("table", tables(25), ids=lambda table: "x".join(map(str, table.shape)))
def test_no_small_cell_follows_from_the_shown_ones_by_linear_algebra(table: np.ndarray) -> None:
    whole, hidden = with_totals(table).ravel(), hidden_cells(table).ravel()
    known = equations(table.shape)[:, hidden]
    right = -equations(table.shape)[:, ~hidden] @ whole[~hidden]
    places = np.flatnonzero(hidden)
    assert hidden[(whole > 0) & (whole < FEWEST)].all() and not hidden[whole == 0].any()
    for column, place in enumerate(places):
        if not is_small(whole[place]):
            continue
        unit = np.eye(len(places))[column]
        # Exactly determined is what lies in the span of the known sums.
        assert np.linalg.matrix_rank(np.vstack([known, unit])) > np.linalg.matrix_rank(known)
        parts = (table > 0).sum(axis=1).tolist() + (table > 0).sum(axis=0).tolist()
        least, most = (linprog(sign * unit, A_eq=known, b_eq=right, bounds=(1, None)) for sign in (1, -1))
        assert (
            least.fun <= max(1, *parts) + 1e-6
        )  # nor narrowed within 1 to 10; that a total has so many parts is seen anyway
        assert most.status == 3 or -most.fun >= FEWEST - 1 - 1e-6


def test_every_completion_of_a_small_table_leaves_all_ten_values_open() -> None:
    table = np.array([[4, 30], [25, 40]])
    whole, hidden = with_totals(table), hidden_cells(table)
    assert hidden[:2, :2].all() and not hidden[2].any() and not hidden[:, 2].any()
    values = {
        a
        for a, b in itertools.product(range(1, 35), repeat=2)
        if a + b == whole[0, 2] and (c := whole[2, 0] - a) >= 1 and (d := whole[2, 1] - b) >= 1 and c + d == whole[1, 2]
    }
    assert set(range(1, FEWEST)) <= values


def test_partners_are_withheld_in_a_rectangle_and_the_smallest_are_chosen() -> None:
    table = np.array([[3, 20, 90], [25, 40, 95], [99, 98, 97]])
    assert hidden_cells(table).astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_two_small_partners_whose_sum_is_small_need_a_third() -> None:
    assert hidden_counts([2, 3, 40, 90, 135], [(4, [0, 1, 2, 3])]).tolist() == [True, True, True, False, False]


def test_what_is_large_or_zero_is_shown() -> None:
    assert not hidden_cells(np.array([[11, 0], [0, 50]])).any()


def test_a_total_is_withheld_where_nothing_else_is_left() -> None:
    assert hidden_counts([0, 0, 4, 4], [(3, [0, 1, 2])]).tolist() == [False, False, True, True]


@pytest.mark.parametrize("n", [11, 25, 200, 207])
def test_shares_of_withheld_counts_look_the_same(n: int) -> None:
    def kind(hits: int) -> tuple[bool, bool]:
        return is_small(hits), is_small(n - hits)

    for alike in (k for k in {kind(h) for h in range(n + 1)} if any(k)):
        shown = {str(coarse_share(proportion(hits, n))) for hits in range(n + 1) if kind(hits) == alike}
        assert len(shown) == 1
    for hits in range(n + 1):
        found = coarse_share(proportion(hits, n))
        assert np.isfinite(found.value) != any(kind(hits)) and found.n == rounded_n(n)
        assert found.low <= proportion(hits, n).value <= found.high


def test_a_share_of_few_people_is_nothing() -> None:
    assert coarse_share(proportion(5, 10)).n == 0 and np.isnan(coarse_share(proportion(5, 10)).high)
    assert coarse_share(Estimate(np.nan, np.nan, np.nan, 0)).n == 0


def test_rounded_counts_do_not_tell_who_is_missing() -> None:
    for n in range(
        200, 400
    ):  # of two figures, one of n people and one of up to 9 fewer, nobody can count the difference
        assert len({rounded_n(n) - rounded_n(n - few) for few in range(10)}) <= 2
    assert all(rounded_n(n) <= n and not is_small(rounded_n(n)) for n in range(400))


@pytest.mark.parametrize("n", [22, 25, 41, 57, 99, 130, 200])
def test_no_count_can_be_read_back_from_a_share_its_interval_and_n(n: int) -> None:
    """ "0.29 (0.18 to 0.44), n = 40" had the one solution 12 of 41."""
    people = [m for m in range(11, 400) if rounded_n(m) == rounded_n(n)]
    fits = defaultdict(set)
    for m in people:
        for k in range(11, m - 10):
            fits[coarse_share(proportion(k, m))].add((k, m))
    for hits in range(11, n - 10):
        shown = coarse_share(proportion(hits, n))
        assert (hits, n) in fits[shown] and len({k for k, _ in fits[shown]}) > 1
        assert (
            shown.value == pytest.approx(round(shown.value / share_step(shown.n)) * share_step(shown.n))
            and shown.low <= shown.value <= shown.high
        )


def test_a_judgement_keeps_its_verdict_and_loses_its_counts() -> None:
    effect = Estimate(0.05, 0.01, 0.09, 1207)
    facts = {"what": "the share", "effect": effect, "n": 7, "of": 127, "p": 0.0123}
    judged = Judgement(Verdict.CANNOT_CONCLUDE, "x", "{what} {effect}: {n} of {of}, p = {p:.3f}.", facts)
    shown = shown_judgement(judged, effect, as_shown(effect))
    assert shown.sentence == "the share 0.05 (0.01 to 0.09, n = 1,200): fewer than 11 of 120 to 129, p = 0.012."
    hidden = shown_judgement(judged, effect, NOTHING)
    assert (hidden.verdict, hidden.reason) == (judged.verdict, judged.reason)
    assert hidden.sentence == f"the share {NOT_SHOWN}: fewer than 11 of 120 to 129, p = not shown."
