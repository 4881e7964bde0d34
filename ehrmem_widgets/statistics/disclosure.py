"""Disclosure control: small counts are withheld, and nothing that is shown lets them be computed.

Counts of 1 to 10 people are withheld, as in the cell size policy of the US Centers for Medicare and Medicaid Services; 0 is
shown, for it points at nobody. Where a withheld count would follow from totals, others are withheld with it (complementary
suppression; Hundepool et al., Statistical Disclosure Control, Wiley 2012, chapter 4).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from ehrmem_widgets.statistics.intervals import Estimate, proportion

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
    """A share of n people as it may be shown, its n rounded down.

    Where it, or the rest, is 1 to 10 people, there is no value (nan), and the interval reaches over those of all counts that
    are withheld in the same way, so that it says nothing of which it was. ``Estimate(nan, nan, nan, 0)`` where n is too small.

    >>> coarse_share(proportion(3, 200)) == coarse_share(proportion(10, 200)), coarse_share(proportion(50, 205)).n
    (True, 200)
    """
    n = estimate.n
    if n < FEWEST or not math.isfinite(estimate.value):
        return Estimate(math.nan, math.nan, math.nan, 0)
    hits, shown = round(estimate.value * n), rounded_n(n)
    if not is_small(hits) and not is_small(n - hits):
        return Estimate(estimate.value, estimate.low, estimate.high, shown)
    low = 1 if is_small(hits) else max(0, shown - FEWEST + 1)
    high = shown - 1 if is_small(n - hits) else min(FEWEST - 1, shown)
    return Estimate(math.nan, proportion(low, shown).low, proportion(high, shown).high, shown)


def guarded(sentence: str) -> str:
    """A sentence about a cohort with its small counts of people withheld and every n rounded down.

    >>> guarded("there are 7 members and 120 non-members to compare")
    'there are fewer than 11 members and 120 to 129 non-members to compare'
    >>> guarded("AUROC 0.61 (0.55 to 0.66, n = 397), 3 of 40 controls")
    'AUROC 0.61 (0.55 to 0.66, n = 390), fewer than 11 of 40 controls'
    """
    sentence = _N.sub(lambda m: f"n = {rounded_n(_int(m[1])):,}" if _int(m[1]) >= FEWEST else f"n {_UNDER}", sentence)
    sentence = _OF.sub(_share_in_words, sentence)
    return _PEOPLE.sub(lambda m: f"{_in_tens(_int(m[1]))} {m[2]}", sentence)


_UNDER = f"under {FEWEST}"
_N = re.compile(r"\bn = (\d[\d,]*)")
_OF = re.compile(r"(?<![\d.,])(\d[\d,]*) of (?:the )?(\d[\d,]*)\b(?![.,]?\d)")
_PEOPLE = re.compile(
    r"(?<![\d.,])(?<!of )(\d[\d,]*) ((?:ordinary "
    r")?(?:members?|non-members?|people|persons?|patients?|holders?|others|canar(?:y|ies)|"
    r"controls?|records?|similar people)\b)"
)


def _share_in_words(found: re.Match[str]) -> str:
    hits, n = _int(found[1]), _int(found[2])
    if is_small(n):
        return f"some of {WITHHELD}"
    if is_small(hits):
        return f"{WITHHELD} of {rounded_n(n):,}"
    return f"nearly all of {rounded_n(n):,}" if is_small(n - hits) else f"{hits:,} of {rounded_n(n):,}"


def _in_tens(count: int) -> str:
    if count < FEWEST:
        return WITHHELD if count else "0"
    return f"{rounded_n(count):,} to {count // 10 * 10 + 9:,}"


def _int(text: str) -> int:
    return int(text.replace(",", "").rstrip("."))


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
