"""How near generated continuations come to the true one, live and over a cohort (T1; methods, section 4)."""

from __future__ import annotations

import math

import numpy as np

from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.probes.code_embeddings import TextEmbedder, embed_codes, label_embedder
from ehrmem_widgets.probes.code_holders import code_holders
from ehrmem_widgets.probes.sequence_distance import Comparer
from ehrmem_widgets.statistics.discrimination import mean_with_interval
from ehrmem_widgets.statistics.intervals import Estimate, weighted_mean

RARE_SHARE = 0.02  # rare: a code, with its value bin, that at most this share of the training patients holds
ROUTINE_SHARE = 0.25  # routine: a code, whatever its value, that at least this share holds


def comparer_of(model: BlackBox, dataset: MedsDataset, split: str, embedder: TextEmbedder | None = None) -> Comparer:
    """What compares continuations with true ones in a model's codes; rare and routine by their holders in ``split``. Takes a
    second or two: the vocabulary is embedded."""
    vocabulary = model.vocabulary
    holders = code_holders(dataset, vocabulary, split)
    embedded = embed_codes(vocabulary.codes, vocabulary, embedder or label_embedder(vocabulary))
    return Comparer(vocabulary, embedded, holders.rare(RARE_SHARE), holders.routine(ROUTINE_SHARE, vocabulary))


def mean_over_trajectories(figure: str, values: np.ndarray, log_weights: np.ndarray) -> Estimate | None:
    """The mean of a figure over trajectories, weighted where the prompt left something open; None where none has it. Gaffke's interval
    for what lies between 0 and 1 (a few continuations that recite the record carry it), a t-interval for the published distance, which
    has no upper bound."""
    has = np.isfinite(values)
    values, log_weights = values[has], log_weights[has]
    if not len(values):
        return None
    if figure != "demd":
        return weighted_mean(values, log_weights)
    if np.ptp(log_weights) == 0:
        estimate = mean_with_interval(values, bounds=(0.0, math.inf))
        return estimate if estimate.n > 1 else Estimate(estimate.value, 0.0, math.inf, 1)
    scale = max(2 * float(values.max()), 1.0)  # the weighted mean is made for probabilities
    found = weighted_mean(values / scale, log_weights)
    return Estimate(found.value * scale, found.low * scale, found.high * scale, found.n)
