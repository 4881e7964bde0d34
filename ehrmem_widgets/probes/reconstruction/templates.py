"""What records of people never seen hold as well: runs of codes and order sets that come back without anybody's being remembered.

Much of what a model reproduces is template (36 % of what it had memorized in Ronaghi et al., arXiv 2606.09590). A code of a record is part of one
here if it stands in a run of three codes, or among the codes of one moment (an order set, a lab panel; three codes at least, in whatever order), that
at least two people never seen hold, code for code and value bin for value bin; whoever is asked about is not counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.probes.sequence_distance import Comparer
from ehrmem_widgets.statistics.verdicts import FEWEST_CONTROLS
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.tokens.vocabulary import Vocabulary

HELD_BY = 2
RUN = 3
MOST = 2_000
_AT_ONCE = 500  # records read at once
_Part = tuple[int, ...] | frozenset[int]


class Templates:
    """The runs and order sets of people never seen (``ids``; of more than 2,000 a fixed random sample), in one model's codes. Raises ValueError for
    fewer people than 19, who would leave nearly all of a record without a template."""

    def __init__(self, dataset: MedsDataset, ids: np.ndarray, vocabulary: Vocabulary, comparer: Comparer) -> None:
        if len(ids) < FEWEST_CONTROLS:
            raise ValueError(f"{len(ids)} people never seen; at least {FEWEST_CONTROLS} are needed")
        some = np.random.default_rng(0).choice(ids, MOST, replace=False) if len(ids) > MOST else ids
        self._vocabulary, self._comparer = vocabulary, comparer
        self._counted, self._held = frozenset(some.tolist()), Counter[_Part]()
        for start in range(0, len(some), _AT_ONCE):
            for record in dataset.records(some[start : start + _AT_ONCE].tolist()):
                self._held.update(self._parts_of(record))

    def mask(self, record: Record, truth: Sequence[int]) -> np.ndarray:
        """(n,) bool: which codes of what follows in a record, as ``Comparer.by_moment`` gives them, are part of a template."""
        own = self._parts_of(record) if record.patient_id in self._counted else ()
        moments = self._comparer.by_moment(truth)
        found = np.zeros(sum(map(len, moments)), dtype=bool)
        for part, places in _parts(moments):
            found[places] |= self._held[part] - (part in own) >= HELD_BY
        return found

    def _parts_of(self, record: Record) -> set[_Part]:
        moments = self._comparer.by_moment(encode(record, self._vocabulary).ids(self._vocabulary))
        return {part for part, _ in _parts(moments)}


def _parts(moments: Sequence[Sequence[int]]) -> Iterator[tuple[_Part, slice]]:
    """All runs and order sets, and which places each takes up."""
    codes, at = [code for moment in moments for code in moment], 0
    for start in range(len(codes) - RUN + 1):
        yield tuple(codes[start : start + RUN]), slice(start, start + RUN)
    for moment in moments:
        if len(moment) >= RUN:
            yield frozenset(moment), slice(at, at + len(moment))
        at += len(moment)
