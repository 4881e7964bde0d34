"""How long a black box takes for a question: measured here, by asking it a few whose answers nobody sees."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

from ehrmem_widgets.blackbox.protocol import BlackBox, Query, horizon_within
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.statistics.attack_cost import Pace, median
from ehrmem_widgets.tokens.sequence import encode

ROUNDS = 6
"""So many have an interval for their median."""
TOGETHER = 16
"""Continuations of a round: an attacker, too, asks for several at once."""
_FIRST, _HORIZON = 20, 64
KINDS = (Query.SAMPLE, Query.SCORES, Query.EMBEDDINGS)


def measured(
    model: BlackBox, ids: Sequence[int], horizon: int, kinds: Sequence[Query]
) -> Iterator[Mapping[Query, Pace] | None]:
    """The pace of each kind of question that the model answers, about one sequence of ids: continued over ``horizon``, scored, embedded.
    Yields None after each step, so that it can be shared or interrupted, and the paces at last."""
    found: dict[Query, Pace] = {}
    for kind in (one for one in kinds if one in model.answers):
        many = TOGETHER if kind is Query.SAMPLE else 1
        seconds, codes = [], []
        for seed in range(ROUNDS):
            spent, written, began = 0.0, 0, time.perf_counter()
            for more in _asked(model, kind, ids, horizon, seed):
                spent, written = spent + time.perf_counter() - began, written + more
                yield None
                began = time.perf_counter()
            seconds.append((spent + time.perf_counter() - began) / many)
            codes.append(len(ids) + written / many)
        found[kind] = Pace(median(seconds), median(codes))
    yield found


def paces_of(model: BlackBox, records: Sequence[Record]) -> Mapping[Query, Pace]:
    """The pace of all kinds of questions about the record of median length: its first codes continued, all of it scored and embedded."""
    record = sorted(records, key=lambda one: len(one.events))[len(records) // 2]
    ids = encode(record, model.vocabulary).ids(model.vocabulary)[: model.context_length]
    found: dict[Query, Pace] = {}
    for kind in KINDS:
        some = ids[:_FIRST] if kind is Query.SAMPLE else ids
        for paces in measured(model, some, horizon_within(model, len(some), _HORIZON), (kind,)):
            found |= paces or {}
    return found


def _asked(model: BlackBox, kind: Query, ids: Sequence[int], horizon: int, seed: int) -> Iterator[int]:
    """How many codes each step of one round writes."""
    if kind is Query.SAMPLE:
        for step in model.generate([[[one] for one in ids]], horizon, TOGETHER, seed=seed):
            yield int((step.codes >= 0).sum())
    elif kind is Query.SCORES:
        model.score([ids])
    else:
        model.embed([ids])
