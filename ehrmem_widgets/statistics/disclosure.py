"""Disclosure control: small counts are withheld, and nothing that is shown lets them be computed.

Counts of 1 to 10 people are withheld, as in the cell size policy of the US Centers for Medicare and Medicaid Services; 0 is
shown, for it points at nobody. Where a withheld count would follow from totals, others are withheld with it (complementary
suppression; Hundepool et al., Statistical Disclosure Control, Wiley 2012, chapter 4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from ehrmem_widgets.statistics.discrimination import NOTHING
from ehrmem_widgets.statistics.intervals import Estimate, proportion
from ehrmem_widgets.statistics.verdicts import Fact, Judgement

FEWEST = 11
"""The smallest count of people that is shown, other than 0."""

WITHHELD = f"fewer than {FEWEST}"

Sum = tuple[int, Sequence[int]]
"""The place of a total, and the places of its parts."""


def is_small(count: float) -> bool:
    """Whether a count of people must not be shown."""
    return 0 < count < FEWEST


def hidden_counts(counts: Sequence[int] | np.ndarray, sums: Sequence[Sum]) -> np.ndarray:
    """(n,) bool: which of n counts to withhold, given that a reader knows how they add up (``sums``).

    Every count of 1 to 10 is withheld, and as many others, the smallest first, as it takes until the shown ones and the sums
    allow each of these at least the whole range from 1 to 10. The reader is taken to know that no withheld count is 0.

    >>> hidden_counts([4, 30, 50, 84], [(3, [0, 1, 2])]).tolist()
    [True, True, False, False]
    """
    counts = np.asarray(counts, dtype=np.int64)
    small = (counts > 0) & (counts < FEWEST)
    hidden = small.copy()
    members = [[total, *parts] for total, parts in sums]
    totals = {total for total, _ in sums}
    while True:
        alone = [one for one in members if hidden[one].sum() == 1]  # the one that is withheld follows from the others
        wanting = next((one for one in alone if _more(one, counts, hidden)), None)
        if wanting is None:
            exposed = _exposed(counts, hidden, small, sums)
            if exposed is None:
                return hidden
            own = [place for one in members if exposed in one for place in one]
            wanting = own if _more(own, counts, hidden) else list(range(len(counts)))
            if not _more(wanting, counts, hidden):
                return hidden

        def cost(place: int) -> tuple[int, bool, int, int]:
            fresh = sum(place in one and not hidden[one].any() for one in members)
            return fresh, place in totals, int(counts[place]), place

        hidden[min(_more(wanting, counts, hidden), key=cost)] = True


def hidden_cells(table: np.ndarray) -> np.ndarray:
    """(rows + 1, columns + 1) bool: which cells to withhold of a table (rows, columns) of counts that is shown with the totals
    of its rows (last column), of its columns (last row), and of all."""
    rows, columns = table.shape
    whole = with_totals(table)
    place = np.arange(whole.size).reshape(whole.shape)
    sums: list[Sum] = [(int(place[r, columns]), place[r, :columns].tolist()) for r in range(rows + 1)]
    sums += [(int(place[rows, c]), place[:rows, c].tolist()) for c in range(columns + 1)]
    return hidden_counts(whole.ravel(), sums).reshape(whole.shape)


def with_totals(table: np.ndarray) -> np.ndarray:
    """A table (rows, columns) with its totals as a last column and a last row."""
    wide = np.column_stack([table, table.sum(axis=1)])
    return np.vstack([wide, wide.sum(axis=0)])


def rounded_n(n: int) -> int:
    """The n of a figure rounded down to tens (but 11 to 19 to 11), so that the few people who are in one figure and not in
    another cannot be counted; 0 for fewer than 11.

    >>> [rounded_n(n) for n in (0, 10, 11, 19, 20, 397)]
    [0, 0, 11, 11, 20, 390]
    """
    return 0 if n < FEWEST else max(FEWEST, n // 10 * 10)


def coarse_share(estimate: Estimate) -> Estimate:
    """A share of n people as it may be shown: the count is told in tens, as every n is, even to a reader who knows n. So neither a count nor the
    difference of two counts, one within the other, can be told where it is 1 to 10. ``n`` is rounded down.

    The value is the middle of what these counts allow, and the interval reaches over the intervals (Wilson) of all of them, for every n
    that is rounded alike: it says nothing of which it was, and covers no less often than the exact one. There is no value (nan) where the
    count, or the rest, is 1 to 10 people, or n below 30; ``NOTHING`` where n is below 11.

    >>> coarse_share(proportion(3, 200)) == coarse_share(proportion(10, 200)), coarse_share(proportion(50, 205)).n
    (True, 200)
    >>> str(coarse_share(proportion(50, 200))), str(coarse_share(proportion(59, 203)))
    ('0.27 (0.19 to 0.36, n = 200)', '0.27 (0.19 to 0.36, n = 200)')
    """
    n = estimate.n
    if n < FEWEST or not math.isfinite(estimate.value):
        return NOTHING
    return _shown_share(rounded_n(n), _place(round(estimate.value * n), n))


def counts_alike(hits: int, n: int) -> tuple[int, int]:
    """The least and the largest count that look the same as ``hits`` of n people do.

    >>> [counts_alike(hits, 200) for hits in (0, 3, 11, 21, 22, 189, 195)]
    [(0, 0), (1, 10), (11, 19), (20, 29), (20, 29), (180, 189), (190, 199)]
    """
    return _range(_place(hits, n), n)


def as_shown(estimate: Estimate) -> Estimate:
    """A figure that is no share of people as it may be shown: n rounded down, and four decimals, also in a chart.

    >>> as_shown(Estimate(0.123456, 0.1049, 0.2, 57))
    Estimate(value=0.1235, low=0.1049, high=0.2, n=50)
    """
    value, low, high = (
        round(one, 4) if math.isfinite(one) else one for one in (estimate.value, estimate.low, estimate.high)
    )
    return Estimate(value, low, high, rounded_n(estimate.n))


def is_exact(own: Estimate, shown: Estimate) -> bool:
    """Whether a figure is shown as it is, but for its decimals and n."""
    return as_shown(own) == shown


def shown_judgement(judgement: Judgement, own: Estimate, shown: Estimate) -> Judgement:
    """A verdict with its reason as it may be shown: its own figure as ``shown``, every count of people coarse. Where the figure is
    withheld, it is not named, and neither is any number that would tell of it.

    >>> from ehrmem_widgets.statistics.verdicts import Verdict
    >>> few = Judgement(Verdict.CANNOT_CONCLUDE, "too_few", "there are {n} members", {"n": 7})
    >>> shown_judgement(few, own=NOTHING, shown=NOTHING).sentence
    'there are fewer than 11 members'
    """
    hide = not math.isfinite(shown.value)
    coarse = hide or not is_exact(own, shown)

    def fact(name: str, given: Fact) -> Fact:
        if isinstance(given, Judgement):
            return shown_judgement(given, own, shown)
        if isinstance(given, Estimate):
            return shown if given == own and not hide else NOT_SHOWN
        if isinstance(given, int):
            return in_tens(given)
        if name == "more" and coarse:  # it is computed from the exact figure
            return "more people would be needed to decide"
        return "not shown" if isinstance(given, float) and coarse else given

    facts = {name: fact(name, given) for name, given in judgement.facts.items()}
    return replace(judgement, facts=facts, rank_p=None if coarse else judgement.rank_p)


NOT_SHOWN = "(withheld: few people)"


def in_tens(count: int) -> str:
    """A count of people in words.

    >>> in_tens(0), in_tens(7), in_tens(123)
    ('0', 'fewer than 11', '120 to 129')
    """
    if count < FEWEST:
        return WITHHELD if count else "0"
    return f"{rounded_n(count):,} to {count // 10 * 10 + 9:,}"


def share_step(shown: int) -> float:
    """How much ten people are, as a share, where n is shown as ``shown``."""
    return 10 / shown


_NOBODY, _FEW, _SOME, _ALL_BUT_FEW, _EVERYBODY = -5, -4, -3, -2, -1


def _place(hits: int, n: int) -> int:
    """What a count of n people is told as: one of the above, or how many tens it is, the last taking in the rest."""
    if hits in (0, n):
        return _EVERYBODY if hits else _NOBODY
    last = _last(n)
    if not last:
        return _SOME
    if is_small(hits):
        return _FEW
    return _ALL_BUT_FEW if is_small(n - hits) else min(hits // 10, last)


def _last(n: int) -> int:
    """The last ten of which every count leaves a rest of 11 at least; 0: there is none. The same for every n that is rounded alike."""
    return max(0, (rounded_n(n) - 20) // 10)


def _range(place: int, n: int) -> tuple[int, int]:
    named = {
        _NOBODY: (0, 0),
        _FEW: (1, FEWEST - 1),
        _SOME: (1, n - 1),
        _ALL_BUT_FEW: (n - FEWEST + 1, n - 1),
        _EVERYBODY: (n, n),
    }
    if place in named:
        return named[place]
    return max(FEWEST, place * 10), n - FEWEST if place == _last(n) else place * 10 + 9


@cache
def _shown_share(shown: int, place: int) -> Estimate:
    """All counts and all n that are told alike, as one share."""
    ends = [(*_range(place, n), n) for n in range(shown, shown + 10) if rounded_n(n) == shown]
    low = min(proportion(least, n).low for least, _, n in ends)
    high = max(proportion(most, n).high for _, most, n in ends)
    middle = (min(least / n for least, _, n in ends) + max(most / n for _, most, n in ends)) / 2
    value = math.nan if place in (_FEW, _SOME, _ALL_BUT_FEW) else round(middle, 2)
    return Estimate(value, math.floor(1e4 * low) / 1e4, math.ceil(1e4 * high) / 1e4, shown)


def _exposed(counts: np.ndarray, hidden: np.ndarray, small: np.ndarray, sums: Sequence[Sum]) -> int | None:
    """A small count of which the shown ones tell more than that it is 1 to 10 (a total: at least the number of its parts that are
    not 0); None when there is none."""
    from scipy.optimize import linprog

    places = np.flatnonzero(hidden)
    column = {int(place): i for i, place in enumerate(places)}
    left, right = [], []
    for total, parts in sums:
        signs = [(total, -1.0), *((part, 1.0) for part in parts)]
        row = np.zeros(len(places))
        for place, sign in signs:
            if hidden[place]:
                row[column[place]] += sign
        if row.any():
            left.append(row)
            right.append(-sum(sign * float(counts[place]) for place, sign in signs if not hidden[place]))
    if not left:
        return None
    least_of = {total: int((counts[list(parts)] > 0).sum()) for total, parts in sums}  # as no withheld part is 0
    for at in np.flatnonzero(small).tolist():
        cost = np.zeros(len(places))
        cost[column[at]] = 1.0
        least, most = (linprog(c, A_eq=np.array(left), b_eq=right, bounds=(1, None)) for c in (cost, -cost))
        if (least.status == 0 and least.fun > max(1, least_of.get(at, 1)) + 0.001) or (
            most.status == 0 and -most.fun < FEWEST - 1.001
        ):
            return int(at)
    return None


def _more(places: Sequence[int], counts: np.ndarray, hidden: np.ndarray) -> list[int]:
    """Of some places those that can still be withheld."""
    return [place for place in places if counts[place] > 0 and not hidden[place]]
