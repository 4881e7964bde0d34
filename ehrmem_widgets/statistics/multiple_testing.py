"""Many tests at once: Holm for claims, Benjamini-Hochberg for screening."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values: any below alpha is a claim that holds for the whole family. nan stays nan and is not
    counted as a test.

    >>> holm([0.01, 0.02, 0.03, 0.04]).round(2).tolist()
    [0.04, 0.06, 0.06, 0.06]
    """
    return _adjusted(p, "holm")


def benjamini_hochberg(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg's adjusted p-values, for screening: of those below q, at most a share q is expected to be false.

    >>> benjamini_hochberg([0.01, 0.02, 0.03, 0.04]).round(2).tolist()
    [0.04, 0.04, 0.04, 0.04]
    """
    return _adjusted(p, "fdr_bh")


def _adjusted(p: Sequence[float] | np.ndarray, method: str) -> np.ndarray:
    from statsmodels.stats.multitest import multipletests

    p = np.asarray(p, float)
    tested = np.isfinite(p)
    adjusted = np.full(p.shape, np.nan)
    if tested.any():
        adjusted[tested] = multipletests(p[tested], method=method)[1]
    return adjusted
