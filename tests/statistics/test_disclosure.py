"""Withheld counts stay withheld: each is tried to be recomputed from what is shown."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import linprog

from ehrmem_widgets.statistics.disclosure import (
    FEWEST,
    NOT_SHOWN,
    as_shown,
    coarse_share,
    counts_alike,
    hidden_cells,
    hidden_counts,
    in_tens,
    is_small,
    rounded_n,
    shown_judgement,
    with_totals,
)
from ehrmem_widgets.statistics.discrimination import NOTHING
from ehrmem_widgets.statistics.intervals import Estimate, proportion
from ehrmem_widgets.statistics.verdicts import Judgement, Verdict
from ehrmem_widgets.views.interval_rows import IntervalRow, interval_rows


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
        assert np.isfinite(found.value) <= (not any(kind(hits))) and found.n == rounded_n(n)
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


def drawn(share: Estimate) -> str:
    """Everything that a reader sees of a share: words, label for screen readers, and coordinates."""
    return interval_rows([IntervalRow("x", share)], title="t", ends=(0.0, 1.0), level=(0.0, "nothing")) + repr(share)


def read_back(shown: Callable[[Estimate], Estimate], n: int) -> list[tuple[int, int]]:
    """(count, how many counts look like it) of all from 1 to n - 1, to a reader who knows n, has the drawing and knows how it is made."""
    looks = defaultdict(list)
    for hits in range(1, n):
        looks[drawn(shown(proportion(hits, n)))].append(hits)
    return [(hits, len(alike)) for alike in looks.values() for hits in alike]


def test_no_count_can_be_read_from_an_interval_or_a_drawing_even_if_n_is_known() -> None:
    """Of shares at n = 22 to 59, 53 % had one solution before shares were coarse, and "0.29 (0.18 to 0.44), n = 40" was 12 of 41."""

    def readable(shown: Callable[[Estimate], Estimate]) -> float:
        found = [alike == 1 for n in range(22, 60, 3) for _, alike in read_back(shown, n)]
        return sum(found) / len(found)

    def as_before(share: Estimate) -> Estimate:  # the exact interval, four decimals
        return as_shown(share)

    assert readable(coarse_share) == 0
    assert readable(as_before) > 0.9  # the attack finds what there is to find


@pytest.mark.parametrize("n", [11, 19, 22, 39, 40, 43, 57, 99, 130, 200])
def test_nine_counts_at_least_look_the_same_and_the_interval_holds_theirs(n: int) -> None:
    for hits, alike in read_back(coarse_share, n):
        least, most = counts_alike(hits, n)
        assert alike >= 9 and (not is_small(hits) or alike >= FEWEST - 1)
        assert least <= hits <= most and most - least + 1 == alike
        shown, exact = coarse_share(proportion(hits, n)), proportion(hits, n)
        assert shown.low <= exact.low and exact.high <= shown.high  # it covers no less often


def assert_open(inner: tuple[int, int], outer: tuple[int, int]) -> None:
    """The difference may as well be 11 or more; or it may be any from 0 to 8, or from 1 to 10."""
    least, most = max(0, outer[0] - inner[1]), outer[1] - inner[0]
    assert most >= FEWEST or (least <= 1 and most - least >= 8)


@pytest.mark.parametrize("n", [19, 40, 57, 130, 207])
def test_of_two_counts_one_within_the_other_no_small_difference_can_be_told(n: int) -> None:
    """Within the ten nearest and within the five nearest; given away at a threshold of 0.25 and of 0.26; one plan and another."""
    for inner, outer in itertools.combinations(range(n + 1), 2):
        if is_small(outer - inner) and (inner, outer) != (0, n):
            assert_open(counts_alike(inner, n), counts_alike(outer, n))


def test_of_two_numbers_in_words_no_small_difference_can_be_told() -> None:
    for inner, outer in itertools.combinations(range(150), 2):
        if is_small(outer - inner):
            assert_open(_ends(in_tens(inner)), _ends(in_tens(outer)))


def _ends(words: str) -> tuple[int, int]:
    numbers = [int(one) for one in words.split() if one.isdigit()]
    return (1, 10) if words.startswith("fewer") else (numbers[0], numbers[-1])


def test_a_judgement_keeps_its_verdict_and_loses_its_counts() -> None:
    effect = Estimate(0.05, 0.01, 0.09, 1207)
    facts = {"what": "the share", "effect": effect, "n": 7, "of": 127, "p": 0.0123}
    judged = Judgement(Verdict.CANNOT_CONCLUDE, "x", "{what} {effect}: {n} of {of}, p = {p:.3f}.", facts)
    shown = shown_judgement(judged, effect, as_shown(effect))
    assert shown.sentence == "the share 0.05 (0.01 to 0.09, n = 1,200): fewer than 11 of 120 to 129, p = 0.012."
    hidden = shown_judgement(judged, effect, NOTHING)
    assert (hidden.verdict, hidden.reason) == (judged.verdict, judged.reason)
    assert hidden.sentence == f"the share {NOT_SHOWN}: fewer than 11 of 120 to 129, p = not shown."
