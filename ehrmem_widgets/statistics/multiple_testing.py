"""Many tests at once: Holm for claims, Benjamini-Hochberg for screening."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats


def holm(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values: any below alpha is a claim that holds for the whole family. nan stays nan and is not
    counted as a test.

    >>> holm([0.01, 0.02, 0.03, 0.04]).round(2).tolist()
    [0.04, 0.06, 0.06, 0.06]
    """
    p = np.asarray(p, float)
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # nan comes last
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)), 1)
    return adjusted


def benjamini_hochberg(p: Sequence[float] | np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg's adjusted p-values, for screening: of those below q, at most a share q is expected to be false.

    >>> benjamini_hochberg([0.01, 0.02, 0.03, 0.04]).round(2).tolist()
    [0.04, 0.04, 0.04, 0.04]
    """
    p = np.asarray(p, float)
    adjusted, tested = np.full(p.shape, np.nan), np.isfinite(p)
    adjusted[tested] = stats.false_discovery_control(p[tested])
    return adjusted
