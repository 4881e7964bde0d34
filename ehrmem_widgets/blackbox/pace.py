"""How long a black box takes for a question: by what it was asked, or, where nothing was, by asking it a few whose answers nobody sees."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

from ehrmem_widgets.blackbox.protocol import BlackBox, Query, horizon_within
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.statistics.attack_cost import Pace, median
from ehrmem_widgets.statistics.discrimination import mean_with_interval
from ehrmem_widgets.tokens.sequence import encode

ROUNDS = 6
"""So many have an interval for their median."""
TOGETHER = 16
"""Continuations of a round: an attacker, too, asks for several at once."""
_FIRST, _HORIZON = 20, 64
KINDS = (Query.SAMPLE, Query.SCORES, Query.EMBEDDINGS)
Round = tuple[float, float]
"""The seconds that one question of a round took, and the codes read and written."""
_T = TypeVar("_T")


class Stopwatch:
    """The ``seconds`` that answers took to come, without what was done with them in between."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def over(self, steps: Iterator[_T]) -> Iterator[_T]:
        """The same steps."""
        began = time.perf_counter()
        for step in steps:
            self.seconds += time.perf_counter() - began
            yield step
            began = time.perf_counter()
        self.seconds += time.perf_counter() - began


def pace_of_rounds(rounds: Sequence[Round]) -> Mapping[Query, Pace]:
    """The pace of continuations by rounds that an answer needed anyway: means with t-intervals. Nothing of fewer than two rounds."""
    if len(rounds) < 2:
        return {}
    seconds, codes = np.array(rounds).T
    return {Query.SAMPLE: Pace(*(mean_with_interval(one, bounds=(0.0, np.inf)) for one in (seconds, codes)))}


def paces_of(model: BlackBox, records: Sequence[Record]) -> Mapping[Query, Pace]:
    """The pace of all kinds of questions about the record of median length: its first codes continued, all of it scored and embedded."""
    record = sorted(records, key=lambda one: len(one.events))[len(records) // 2]
    ids = encode(record, model.vocabulary).ids(model.vocabulary)[: model.context_length]
    return {
        kind: measured(model, kind, ids[:_FIRST] if kind is Query.SAMPLE else ids)
        for kind in KINDS
        if kind in model.answers
    }


def measured(model: BlackBox, kind: Query, ids: Sequence[int]) -> Pace:
    """The pace of a kind of question, about one sequence of ids that is continued, scored or embedded."""
    many, horizon = TOGETHER if kind is Query.SAMPLE else 1, horizon_within(model, len(ids), _HORIZON)
    seconds, codes = [], []
    for seed in range(ROUNDS):
        watch = Stopwatch()
        written = sum(watch.over(_asked(model, kind, ids, horizon, seed)))
        seconds.append(watch.seconds / many)
        codes.append(len(ids) + written / many)
    return Pace(median(seconds), median(codes))


def _asked(model: BlackBox, kind: Query, ids: Sequence[int], horizon: int, seed: int) -> Iterator[int]:
    """How many codes each step of one round writes."""
    if kind is Query.SAMPLE:
        for step in model.generate([[[one] for one in ids]], horizon, TOGETHER, seed=seed):
            yield int((step.codes >= 0).sum())
    elif kind is Query.SCORES:
        model.score([ids])
    else:
        model.embed([ids])
