"""How far a generated code list is from the true one: dEMD as published, a form that sees order and time, rare codes.

The list that the published distance was shown on (arXiv 2510.12950, section 4.1) is taken up whole, gap codes included:
every code is an element, and a gap code (``TIME//..``) is compared like any other besides moving the clock, from its own
place on.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import numpy as np

from ehrmem_widgets.cohort.codes import Kind
from ehrmem_widgets.cohort.time_codes import WITHIN_A_DAY, gap_days
from ehrmem_widgets.tokens.moments import days_of, ids_of
from ehrmem_widgets.tokens.vocabulary import Vocabulary

TIME_PREFIX = "TIME//"
A_YEAR = 365.0  # days: further apart than this is as far as it gets
ORDER_WEIGHT = TIME_WEIGHT = 0.5
NGRAMS = (1, 2, 3)
NET = ("recited", "recited_net", "template_share", "rare_net_1")
"""The share of the truth's codes that come back in runs of three; the same without those that are part of a template; of what comes back, the share
that is; and the share of its distinct rare codes that come back and are not."""
_PUBLISHED_CLOCK = {
    **dict.fromkeys(("TIME//10-20", "TIME//20-40", "TIME//40-60"), 0.1),
    "TIME//0": 0.2,
    "TIME//1": 0.4,
    "TIME//2": 0.9,
}
_ANY_OTHER_GAP = 1.5
_PUBLISHED_BY_DAYS = ((1 / 24, 0.1), (1.0, 0.2), (2.0, 0.4), (3.0, 0.9))


def demd(a: Sequence[str], b: Sequence[str], distances: np.ndarray, *, timed: bool = True) -> float:
    """dEMD as published: optimal transport between two code lists with uniform weights, exact as an assignment problem.

    ``distances``: (len(a), len(b)), 1 - cosine of the code embeddings. A pair costs its distance times 1 + |dt|, where dt is
    the difference of the two cumulative clocks (``TIME//10-20`` to ``TIME//40-60`` add .1, ``TIME//0`` .2, ``TIME//1`` .4,
    ``TIME//2`` .9, any other 1.5; a gap code's own clock includes it). Each code that the longer list has more costs 1, and
    2 when ``timed``, as the published code has it. The mean over the longer list's length; 0 for two empty lists.

    It has a hole: a distance of 0 hides any time, so the same codes in another order or a year later score 0.
    """
    cost = np.asarray(distances, float)
    if timed:
        cost = cost * (1 + np.abs(np.subtract.outer(published_clock(a), published_clock(b))))
    return _transport(cost, 2.0 if timed else 1.0)


def timed_distance(a: Sequence[str], b: Sequence[str], distances: np.ndarray) -> float:
    """As ``demd``, but order and time are added, not multiplied: 0 for the same list, 1 for nothing alike.

    A pair costs min(1, code distance + (time + order) / 2). Time is log(1 + days apart) / log(366), at most 1: a day is .12,
    a week .35, a month .58, a year or more 1. Order is how many places apart the codes stand, over the longer list's
    length. So the right code at the wrong end of the list and a year off counts as nothing. Gap codes move the clock (by the
    fewest days that they stand for) and are not elements; each code that the longer list has more costs 1. 1 when one of
    the lists has no element, 0 when neither has.
    """
    in_a, in_b = (np.array([not _is_gap(code) for code in codes], dtype=bool) for codes in (a, b))
    cost = _with_order_and_time(
        np.asarray(distances, float).reshape(len(a), len(b))[np.ix_(in_a, in_b)],
        np.cumsum([gap_days(code) for code in a])[in_a],
        np.cumsum([gap_days(code) for code in b])[in_b],
    )
    return _transport(cost, 1.0)


def rare_overlap(truth: Sequence[str], other: Sequence[str], rare: Collection[str], n: int = 1) -> float:
    """The share of the truth's distinct runs of n codes with a rare one among them that the other list holds, code for code.

    Gap codes are left out of both. nan where the truth has no such run.
    """
    wanted = {run for run in _runs(truth, n) if any(code in rare for code in run)}
    return len(wanted & _runs(other, n)) / len(wanted) if wanted else float("nan")


def published_clock(codes: Sequence[str]) -> np.ndarray:
    """The published form's cumulative clock at each code, in its own units.

    >>> published_clock(["A", "TIME//0", "B", "TIME//2", "C"]).tolist()
    [0.0, 0.2, 0.2, 1.1, 1.1]
    """
    return np.cumsum([_published_gap(code) for code in codes])


@dataclass(frozen=True)
class _List:
    """What of a list of codes is compared: ids, the days and the published clock at each."""

    ids: np.ndarray
    days: np.ndarray
    clock: np.ndarray


class Comparer:
    """Compares true continuations with many generated ones in the ids of one vocabulary, whose codes are embedded once.

    ``embedding``: (codes, d), rows of unit length. ``rare`` and ``routine`` name codes (with their value bin). Not compared are
    start, end and padding codes and demographics (they are facts about the patient, not what followed); an id without a code
    is like no code. A generated list is cut to as many codes as the true one has: a record ends where the data end, so a
    model that goes on is not wrong, and one that ends sooner is padded.
    """

    def __init__(
        self, vocabulary: Vocabulary, embedding: np.ndarray, rare: Collection[str], routine: Collection[str]
    ) -> None:
        codes = vocabulary.codes
        self._embedding = np.vstack(
            [embedding, np.zeros((1, embedding.shape[1]))]
        )  # the last row: an id without a code

        def by_code(of: Sequence[float], last: float = 0) -> np.ndarray:
            return np.array([*of, last])

        ignored = [_says_nothing(code, vocabulary) for code in codes]
        self._ignored = by_code(ignored).astype(bool)
        self._gap = by_code([vocabulary.is_gap(code) for code in codes]).astype(bool)
        self._clock = by_code([_clock(code, vocabulary) for code in codes])
        self._days = by_code([vocabulary.gap_days(code) for code in codes])
        self.rare = by_code([code in rare for code in codes]).astype(bool)
        self._routine = by_code([code in routine for code in codes]).astype(bool)
        self._timed = vocabulary.timed

    def demd(self, truth: Sequence[int], trajectories: np.ndarray) -> np.ndarray:
        """``demd`` (timed) of a truth, (n,) ids, from each of (S, T) ids, -1 where one has ended. Returns (S,)."""
        return np.array(
            [_transport(_published_cost(*pair), 2.0) for pair in self._pairs(truth, trajectories)], dtype=float
        )

    def compare(
        self, truth: Sequence[int], trajectories: np.ndarray, template: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Each figure of a truth against each trajectory, (S,): ``demd``, ``timed_distance``, ``routine_share`` (of all that
        the published match finds alike, the share at routine codes and gap codes; nan where it finds nothing), and
        ``rare_overlap_1`` to ``_3`` (nan where the truth has none). With ``template``, whether each code of ``by_moment`` is part of one, also
        the figures of ``NET``."""
        names = ["demd", "timed_distance", "routine_share", *(f"rare_overlap_{n}" for n in NGRAMS)]
        names += NET if template is not None else ()
        found = {name: np.full(len(trajectories), np.nan) for name in names}
        wanted = [self._rare_runs(self._ids(truth), n) for n in NGRAMS]
        for row, (a, b, distance) in enumerate(self._pairs(truth, trajectories)):
            cost = _published_cost(a, b, distance)
            places = _match(cost)
            found["demd"][row] = _mean_cost(cost, places, 2.0)
            found["routine_share"][row] = self._routine_share(a.ids, distance, places)
            in_a, in_b = ~self._gap[a.ids], ~self._gap[b.ids]
            found["timed_distance"][row] = _transport(
                _with_order_and_time(distance[np.ix_(in_a, in_b)], a.days[in_a], b.days[in_b]), 1.0
            )
            for n, runs in zip(NGRAMS, wanted, strict=True):
                if runs:
                    found[f"rare_overlap_{n}"][row] = len(runs & _runs_of(b.ids[in_b].tolist(), n)) / len(runs)
            if template is not None:
                for name, value in _net(a.ids[in_a], b.ids[in_b], self.rare, template).items():
                    found[name][row] = value
        return found

    def by_moment(self, given: Sequence[int]) -> list[list[int]]:
        """What of a list is compared, gap codes left out, the codes of one moment together."""
        ids = self._known(given)
        now = days_of(given) if self._timed else np.cumsum(self._gap[ids])
        kept = np.flatnonzero(self._compared(ids) & ~self._gap[ids])
        return [ids[list(places)].tolist() for _, places in groupby(kept, key=lambda place: now[place])]

    def length(self, truth: Sequence[int]) -> int:
        """How many codes of a truth can be compared, gap codes not counted."""
        return sum(map(len, self.by_moment(truth)))

    def _ids(self, given: Sequence[int] | np.ndarray) -> np.ndarray:
        ids = self._known(given)
        return ids[self._compared(ids)]

    def _known(self, given: Sequence[int] | np.ndarray) -> np.ndarray:
        ids = ids_of(given)
        return np.where(ids < len(self._ignored) - 1, ids, len(self._ignored) - 1)

    def _compared(self, ids: np.ndarray) -> np.ndarray:
        return (ids >= 0) & ~self._ignored[ids]

    def _listed(self, given: Sequence[int] | np.ndarray, most: int | None, begun: float) -> _List:
        """What of a list is compared; ``begun``: the age at its begin, where ages are told."""
        ids, ages = self._known(given), days_of(given)
        kept = np.flatnonzero(self._compared(ids))[:most]
        ids, ages = ids[kept], ages[kept]
        if not self._timed:
            return _List(ids, np.cumsum(self._days[ids]), np.cumsum(self._clock[ids]))
        return _List(ids, ages, np.cumsum([_units(gap) for gap in np.diff(ages, prepend=begun)]))

    def _pairs(self, truth: Sequence[int], trajectories: np.ndarray) -> list[tuple[_List, _List, np.ndarray]]:
        """(list, list, code distances) of the truth with each trajectory, from one product with all codes that occur."""
        firsts = [days_of(row[:1])[0] for row in (np.asarray(truth), *trajectories) if len(row) and row[0] >= 0]
        begun = min(firsts, default=0.0)
        a = self._listed(truth, None, begun)
        others = [self._listed(row, len(a.ids), begun) for row in trajectories]
        occurring, inverse = np.unique(np.concatenate([a.ids, *(b.ids for b in others)]), return_inverse=True)
        rows, row_of = np.unique(a.ids, return_inverse=True)
        between = (1 - self._embedding[rows] @ self._embedding[occurring].T).clip(0, 2)
        between[np.abs(between) < 1e-12] = 0.0  # a code with itself, whatever the rounding
        columns = np.split(inverse, np.cumsum([len(a.ids), *(len(b.ids) for b in others)]))[1:-1]
        return [(a, b, between[np.ix_(row_of, column)]) for b, column in zip(others, columns, strict=True)]

    def _routine_share(self, a: np.ndarray, distance: np.ndarray, places: tuple[np.ndarray, np.ndarray]) -> float:
        alike = (1 - distance[places]).clip(0)
        routine = (self._routine | self._gap)[a[places[0]]]
        return float(alike[routine].sum() / alike.sum()) if alike.sum() > 0 else float("nan")

    def _rare_runs(self, ids: np.ndarray, n: int) -> set[tuple[int, ...]]:
        return {run for run in _runs_of(ids[~self._gap[ids]].tolist(), n) if self.rare[list(run)].any()}


def _published_cost(a: _List, b: _List, distance: np.ndarray) -> np.ndarray:
    return np.asarray(distance * (1 + np.abs(np.subtract.outer(a.clock, b.clock))))


@lru_cache(maxsize=4096)
def _published_gap(code: str) -> float:
    return _PUBLISHED_CLOCK.get(code, _ANY_OTHER_GAP) if _is_gap(code) else 0.0


def _clock(code: str, vocabulary: Vocabulary) -> float:
    """The published clock, and for the gap codes of other models that of the published code of the same length."""
    if not vocabulary.is_gap(code) or code.startswith(TIME_PREFIX):
        return _published_gap(code)
    return _units(vocabulary.gap_days(code))


def _units(days: float) -> float:
    """The published clock of a gap of so many days; 0 for less than the ten minutes from which on gaps are written."""
    if days * 1440 < WITHIN_A_DAY[0][1]:
        return 0.0
    return next((units for longest, units in _PUBLISHED_BY_DAYS if days < longest), _ANY_OTHER_GAP)


def _says_nothing(code: str, vocabulary: Vocabulary) -> bool:
    """Whether a code tells nothing of what followed: special codes, demographics and birth, but not death."""
    kind = vocabulary.kind(code)
    demographic = kind is Kind.demographic and not code.startswith("MEDS_DEATH")
    return demographic or code in vocabulary.special or code == vocabulary.token_scheme.birth


def _is_gap(code: str) -> bool:
    return code.startswith(TIME_PREFIX)


def _with_order_and_time(distance: np.ndarray, days_a: np.ndarray, days_b: np.ndarray) -> np.ndarray:
    time = np.log1p(np.abs(np.subtract.outer(days_a, days_b))) / np.log1p(A_YEAR)
    order = np.abs(np.subtract.outer(np.arange(len(days_a)), np.arange(len(days_b)))) / max(*distance.shape, 1)
    return np.minimum(1.0, distance + TIME_WEIGHT * np.minimum(1.0, time) + ORDER_WEIGHT * order)


def _transport(cost: np.ndarray, pad: float) -> float:
    return _mean_cost(cost, _match(cost), pad)


def _match(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The optimal pairs. Padding is a constant, so a rectangular problem gives what the padded square one would."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(cost)
    return rows, columns


def _mean_cost(cost: np.ndarray, places: tuple[np.ndarray, np.ndarray], pad: float) -> float:
    longer, shorter = max(cost.shape), min(cost.shape)
    return float((cost[places].sum() + pad * (longer - shorter)) / longer) if longer else 0.0


def _net(truth: np.ndarray, other: np.ndarray, rare: np.ndarray, template: np.ndarray) -> dict[str, float]:
    """The figures of ``NET`` of two lists without gap codes; nan where there is nothing that could come back."""
    found, runs = dict.fromkeys(NET, float("nan")), _runs_of(other.tolist(), 3)
    back = np.zeros(len(truth), dtype=bool)
    for start in range(len(truth) - 2):
        back[start : start + 3] |= tuple(truth[start : start + 3].tolist()) in runs
    if len(truth) >= 3:
        found["recited"], found["recited_net"] = float(back.mean()), float((back & ~template).mean())
    if back.any():
        found["template_share"] = float(template[back].mean())
    if rare_codes := set(truth[rare[truth]].tolist()):
        net = rare_codes & set(truth[~template].tolist()) & set(other.tolist())
        found["rare_net_1"] = len(net) / len(rare_codes)
    return found


def _runs(codes: Sequence[str], n: int) -> set[tuple[str, ...]]:
    kept = [code for code in codes if not _is_gap(code)]
    return set(zip(*(kept[i:] for i in range(n)), strict=False))


def _runs_of(ids: list[int], n: int) -> set[tuple[int, ...]]:
    return set(zip(*(ids[i:] for i in range(n)), strict=False))
