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
from scipy.special import ndtri

from ehrmem_widgets.statistics.discrimination import NOTHING
from ehrmem_widgets.statistics.intervals import CONFIDENCE, Estimate, proportion
from ehrmem_widgets.statistics.verdicts import Fact, Judgement

FEWEST = 11
"""The smallest count of people that is shown, other than 0."""

WITHHELD = f"fewer than {FEWEST}"

_STEPS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)

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
    """A share of n people as it may be shown: n rounded down, the share rounded so that several counts give it, and the interval made
    of these two.

    Where it, or the rest, is 1 to 10 people, there is no value (nan), and the interval reaches over those of all counts that
    are withheld in the same way, so that it says nothing of which it was. ``NOTHING`` where n is too small.

    >>> coarse_share(proportion(3, 200)) == coarse_share(proportion(10, 200)), coarse_share(proportion(50, 205)).n
    (True, 200)
    >>> str(coarse_share(proportion(12, 41))), str(coarse_share(proportion(14, 48)))
    ('0.30 (0.18 to 0.45, n = 40)', '0.30 (0.18 to 0.45, n = 40)')
    """
    n = estimate.n
    if n < FEWEST or not math.isfinite(estimate.value):
        return NOTHING
    hits, shown = round(estimate.value * n), rounded_n(n)
    if not is_small(hits) and not is_small(n - hits):
        value = _to_step(hits / n, share_step(shown))
        low, high = _wilson(value, shown)
        return Estimate(value, math.floor(1e4 * low) / 1e4, math.ceil(1e4 * high) / 1e4, shown)
    low = 1 if is_small(hits) else max(0, shown - FEWEST + 1)
    high = shown - 1 if is_small(n - hits) else min(FEWEST - 1, shown)
    return Estimate(math.nan, proportion(low, shown).low, proportion(high, shown).high, shown)


def as_shown(estimate: Estimate) -> Estimate:
    """A figure that is no share of people as it may be shown: n rounded down, and four decimals, also in a chart.

    >>> as_shown(Estimate(0.123456, 0.1049, 0.2, 57))
    Estimate(value=0.1235, low=0.1049, high=0.2, n=50)
    """
    value, low, high = (
        round(one, 4) if math.isfinite(one) else one for one in (estimate.value, estimate.low, estimate.high)
    )
    return Estimate(value, low, high, rounded_n(estimate.n))


def shown_judgement(judgement: Judgement, own: Estimate, shown: Estimate) -> Judgement:
    """A verdict with its reason as it may be shown: its own figure as ``shown``, every count of people coarse. Where the figure is
    withheld, it is not named, and neither is any number that would tell of it.

    >>> from ehrmem_widgets.statistics.verdicts import Verdict
    >>> few = Judgement(Verdict.CANNOT_CONCLUDE, "too_few", "there are {n} members", {"n": 7})
    >>> shown_judgement(few, own=NOTHING, shown=NOTHING).sentence
    'there are fewer than 11 members'
    """
    hide = not math.isfinite(shown.value)

    def fact(name: str, given: Fact) -> Fact:
        if isinstance(given, Judgement):
            return shown_judgement(given, own, shown)
        if isinstance(given, Estimate):
            return shown if given == own and not hide else NOT_SHOWN
        if isinstance(given, int):
            return in_tens(given)
        if name == "more" and hide:
            return "more people would be needed to decide"
        return "not shown" if isinstance(given, float) and hide else given

    return replace(judgement, facts={name: fact(name, given) for name, given in judgement.facts.items()})


NOT_SHOWN = "(withheld: few people)"


def in_tens(count: int) -> str:
    """A count of people in words.

    >>> in_tens(0), in_tens(7), in_tens(123)
    ('0', 'fewer than 11', '120 to 129')
    """
    if count < FEWEST:
        return WITHHELD if count else "0"
    return f"{rounded_n(count):,} to {count // 10 * 10 + 9:,}"


@cache
def share_step(shown: int) -> float:
    """To what a share is rounded where n is shown as ``shown``: so coarse that at least two counts of people give each share."""
    people = [n for n in range(shown, shown + 10) if rounded_n(n) == shown]
    for step in _STEPS:
        counts: dict[float, set[int]] = {}
        for n in people:
            for hits in range(FEWEST, n - FEWEST + 1):
                counts.setdefault(_to_step(hits / n, step), set()).add(hits)
        if all(len(hits) > 1 for hits in counts.values()):
            break
    return step


def _to_step(share: float, step: float) -> float:
    return round(round(share / step) * step, 4)


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's interval of a share that need not be a count over n."""
    z = float(ndtri((1 + CONFIDENCE) / 2))
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    return max(0.0, middle - reach), min(1.0, middle + reach)


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
