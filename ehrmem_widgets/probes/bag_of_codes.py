"""Bags of codes: what a prompt or a record holds without its order, as the baseline that needs no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ehrmem_widgets.blackbox.protocol import SlotIds
from ehrmem_widgets.tokens.moments import ids_of

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

TIE = 1e-6
"""Similarities closer than this are a tie: the same record computed in another batch may differ by as much."""


def bags(prompts: Sequence[SlotIds], size: int, *, whole: bool = False) -> csr_matrix:
    """(prompts, size): how often each code is there.

    A slot that allows several codes (a lab without its value, a date to the month) counts once in all, shared equally
    among its codes; with ``whole`` each of its codes counts once, which is what a search needs: any of them is a match.
    """
    from scipy import sparse

    slots = [(row, set(ids_of(slot).tolist())) for row, prompt in enumerate(prompts) for slot in prompt]
    rows = np.repeat([row for row, _ in slots], [len(slot) for _, slot in slots]).astype(int)
    columns = np.array([code for _, slot in slots for code in slot], dtype=int)
    weights = np.array([1.0 if whole else 1 / len(slot) for _, slot in slots for _ in slot])
    return sparse.csr_matrix((weights, (rows, columns)), shape=(len(prompts), size))


class CodeSearch:
    """Search among full records by the codes that they share with a query, rare codes counting more: cosine of TF-IDF
    (scikit-learn's, smoothed), the inverse document frequencies learned on the records searched."""

    def __init__(self, records: Sequence[np.ndarray], size: int) -> None:
        """``records``: of each the ids of its codes, (n,)."""
        from scipy import sparse
        from sklearn.feature_extraction.text import TfidfTransformer

        self._size = size
        columns, lengths = np.concatenate(records), [len(record) for record in records]
        rows = np.repeat(np.arange(len(records)), lengths)
        counts = sparse.csr_matrix((np.ones(len(columns)), (rows, columns)), shape=(len(records), size))
        self._weigh = TfidfTransformer().fit(counts)
        self._store = self._weigh.transform(counts)

    def similarities(self, prompts: Sequence[SlotIds]) -> np.ndarray:
        """(prompts, records) cosine, 0 to 1."""
        queries = self._weigh.transform(bags(prompts, self._size, whole=True))
        return np.asarray((queries @ self._store.T).toarray())


def own_ranks(similarities: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The rank of column ``own[i]`` in each row i of (queries, records), 1 the most similar. A tie is no help to an attacker:
    the own record stands after all that are as similar (as in ``EmbeddingStore.find``)."""
    mine = np.take_along_axis(similarities, np.asarray(own)[:, None], axis=1)
    return np.asarray((similarities >= mine - TIE).sum(axis=1))
