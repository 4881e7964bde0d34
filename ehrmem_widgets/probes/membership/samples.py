"""Membership from samples alone: how much of the true rest of a record the model's own continuations of its beginning hold (SaMIA; Kaneko et al.,
Sampling-based Pseudo-Likelihood for Membership Inference Attacks, arXiv 2404.11262), for a model that gives no probabilities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.findings.finding import Exclusion
from ehrmem_widgets.probes.batching import Answer, Rows
from ehrmem_widgets.probes.membership.scores import SAMIA
from ehrmem_widgets.probes.prompt_embeddings import continuations
from ehrmem_widgets.settings import HORIZON
from ehrmem_widgets.tokens.moments import ids_of
from ehrmem_widgets.tokens.sequence import encode

SAMPLES, REST, RUN = 16, 64, 2
"""Continuations of each record, how many codes of its rest they are held against at most, and how many codes in a row are compared."""
TOO_SHORT = Exclusion("too_short", f"no {SAMIA}: the record is too short to be cut in two")


@dataclass(frozen=True)
class SampledScorer:
    """Cuts each record in half and compares the second half with continuations of the first.

    The score is the share of the runs of ``RUN`` codes of the true rest that a continuation of equal length holds (ROUGE-N recall), the mean over
    ``SAMPLES`` continuations; less the same of the reference model's, where there is one that samples: so a rest that anyone would guess counts
    for nothing, for which the paper weighs by zlib.
    """

    models: tuple[BlackBox, ...]
    seed: int = 0

    def ask(self, records: list[Record]) -> Rows:
        """Rows as of ``Scorer.ask``, with one score and no parts."""
        shares = np.array([self._shares(model, records) for model in self.models])
        found = shares[0] - shares[1] if len(shares) > 1 else shares[0]
        return [_row(record, float(score)) for record, score in zip(records, found, strict=True)]

    def _shares(self, model: BlackBox, records: Sequence[Record]) -> list[float]:
        """By record; nan where it is too short."""
        halves = [_halves(encode(one, model.vocabulary).ids(model.vocabulary), model.context_length) for one in records]
        asked = [(first, rest) for first, rest in halves if len(first) and len(rest) >= RUN]
        if not asked:
            return [float("nan")] * len(records)
        room = max(len(rest) for _, rest in asked)
        span = HORIZON.most if model.vocabulary.timed else room
        prompts = [[[one] for one in first] for first, _ in asked]
        drawn = iter(continuations(model, prompts, span, SAMPLES, self.seed, steps=room))
        return [
            run_recall(ids_of(rest), ids_of(next(drawn)[0])) if len(first) and len(rest) >= RUN else float("nan")
            for first, rest in halves
        ]


def run_recall(rest: np.ndarray, drawn: np.ndarray, run: int = RUN) -> float:
    """The share of the runs of codes of ``rest`` (n,) that each of the continuations ``drawn`` (samples, steps; -1: ended) holds, in the mean; only
    their first n codes count, and a run as often as both hold it.

    >>> run_recall(np.array([1, 2, 3]), np.array([[1, 2, 3], [2, 3, 9], [7, 7, -1]]))
    0.5
    """
    true = Counter(_runs(rest, run))
    held = [(true & Counter(_runs(row[row >= 0], run))).total() for row in drawn[:, : len(rest)]]
    return float(np.mean(held)) / true.total()


def _runs(codes: np.ndarray, run: int) -> list[tuple[int, ...]]:
    listed = codes.tolist()
    return [tuple(listed[place : place + run]) for place in range(len(listed) - run + 1)]


def _halves(ids: Sequence[int], context: int) -> tuple[Sequence[int], Sequence[int]]:
    """What is known and what comes next, within the context."""
    half = min(len(ids) // 2, context - min(REST, context // 2))
    return ids[:half], ids[half : half + min(REST, context - half)]


def _row(record: Record, score: float) -> Answer:
    row: Answer = {"patient": record.pseudonym, "codes": 0, "cut": False, "scores": {}, "reference": {}, "parts": {}}
    if score != score:
        return row | {"without": [TOO_SHORT]}
    return row | {"codes": SAMPLES, "scores": {SAMIA: round(score, 9)}}
