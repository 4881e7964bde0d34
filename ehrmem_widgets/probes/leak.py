"""The leak probability: P(the model emits a code of the attribute within the horizon, given the prompt).

Never by counting alone (methods, section 3; arXiv 2602.03730). ``SumForm`` is SCOPE: unmasked trajectories, one set for
every attribute, E[sum of h_t up to and including the first hit]. ``ProductForm`` is REACH: trajectories conditioned on not
emitting the attribute, 1 - E[prod (1 - h_t)]. h_t is the attribute's share of the next-code probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ehrmem_widgets.attacker.prompt import Prompt
from ehrmem_widgets.blackbox.protocol import BlackBox, Query, SlotIds
from ehrmem_widgets.cohort.vocabulary import Vocabulary
from ehrmem_widgets.probes.findings import Curve
from ehrmem_widgets.statistics.intervals import (
    Estimate,
    effective_sample_size,
    proportion,
    weighted_mean,
    weighted_means,
)

_SURVIVORS = 1e-6  # the rest of the horizon cannot add more than this


def slot_ids(prompt: Prompt, vocabulary: Vocabulary) -> SlotIds:
    """A prompt in the ids of a model."""
    return [vocabulary.ids(slot) for slot in prompt.slots]


class SumForm:
    """The sum form (SCOPE) for several attributes over one set of unmasked trajectories, which can be shown as they are.

    ``watch``: (codes, attributes) bool. Without probabilities it counts hits, with a Wilson interval.
    """

    def __init__(self, model: BlackBox, prompt: SlotIds, watch: np.ndarray, horizon: int) -> None:
        self._model, self._prompt, self._watch, self._horizon = model, prompt, watch, horizon
        self.counting = Query.PROBABILITIES not in model.answers
        self._values = np.empty((0, watch.shape[1]))
        self._hits = np.empty((0, watch.shape[1]), dtype=bool)
        self._log_weights = np.empty(0)
        self.trajectories: list[np.ndarray] = []

    @property
    def n(self) -> int:
        """Trajectories so far."""
        return len(self._values)

    @property
    def log_weights(self) -> np.ndarray:
        """(n,) log importance weights of the trajectories."""
        return self._log_weights

    @property
    def effective_samples(self) -> float:
        """Effective sample size of the importance weights; n when the prompt leaves nothing open."""
        return effective_sample_size(self._log_weights) if self.n else 0.0

    def add(self, samples: int, seed: int) -> Iterator[None]:
        """Sample more trajectories; yields after each step, so that the work can be shared or broken off (then nothing
        of it counts)."""
        for values, hits, log_weights, codes in _sum_forms(
            self._model, [self._prompt], self._watch, self._horizon, samples, seed
        ):
            if values is None:
                yield
                continue
            self._values = np.concatenate([self._values, values[0]])
            self._hits = np.concatenate([self._hits, hits[0]])
            self._log_weights = np.concatenate([self._log_weights, log_weights[0]])
            self.trajectories.extend(codes[0])

    def estimate(self, attribute: int) -> Estimate:
        """The leak probability of one attribute (a column of ``watch``)."""
        if not self.counting:
            return weighted_mean(self._values[:, attribute], self._log_weights)
        if np.ptp(self._log_weights):
            return weighted_mean(self._hits[:, attribute].astype(float), self._log_weights)
        return proportion(int(self._hits[:, attribute].sum()), self.n)


class ProductForm:
    """The product form (REACH) for one attribute, and the whole curve P(leak within t) from one pass.

    ``codes``: (codes,) bool, the attribute's.
    """

    def __init__(self, model: BlackBox, prompt: SlotIds, codes: np.ndarray, horizon: int) -> None:
        self._model, self._prompt, self._codes, self._horizon = model, prompt, codes, horizon
        self._leaks = np.empty((0, horizon))  # 1 - survival, by trajectory and step
        self._log_weights = np.empty(0)

    @property
    def n(self) -> int:
        """Trajectories so far."""
        return len(self._leaks)

    def add(self, samples: int, seed: int) -> Iterator[None]:
        """As ``SumForm.add``."""
        leaks = np.zeros((samples, self._horizon))
        surviving = np.ones(samples)
        log_weights = np.zeros(samples)
        done = 0
        watch = self._codes[:, None]
        for step in self._model.continue_(
            [self._prompt], self._horizon, samples, watch=watch, avoid=self._codes, seed=seed
        ):
            assert step.mass is not None
            surviving = surviving * (1 - np.broadcast_to(step.mass, (1, samples, 1))[0, :, 0].clip(0, 1))
            leaks[:, done] = 1 - surviving
            log_weights = step.log_weight[0]
            done += 1
            yield
            if surviving.max() < _SURVIVORS:
                break
        leaks[:, done:] = (1 - surviving)[:, None]
        self._leaks = np.concatenate([self._leaks, leaks])
        self._log_weights = np.concatenate([self._log_weights, log_weights])

    @property
    def leaks(self) -> np.ndarray:
        """(n,) each trajectory's leak within the horizon."""
        return self._leaks[:, -1]

    def estimate(self) -> Estimate:
        """The leak probability within the horizon."""
        return weighted_mean(self._leaks[:, -1], self._log_weights)

    def curve(self) -> Curve:
        """P(leak within t) for each t."""
        return Curve(*weighted_means(self._leaks, self._log_weights), self.n)


def leaks_of_many(
    model: BlackBox,
    prompts: Sequence[SlotIds],
    watch: np.ndarray,
    horizon: int,
    samples: int,
    seed: int,
) -> Iterator[np.ndarray | None]:
    """The sum form for many prompts at once: yields None after each step and at last an array (prompts, attributes).

    For controls: ``samples`` can be small, since it is their spread that matters. Prompts of one form are read together.
    """
    for found in leak_intervals_of_many(model, prompts, watch, horizon, samples, seed):
        yield None if found is None else found[..., 0]


def leak_intervals_of_many(
    model: BlackBox,
    prompts: Sequence[SlotIds],
    watch: np.ndarray,
    horizon: int,
    samples: int,
    seed: int,
) -> Iterator[np.ndarray | None]:
    """As ``leaks_of_many``, with 95 % intervals: at last an array (prompts, attributes, 3) of value, low and high.

    A model without probabilities is counted, with Wilson intervals. Equal prompts are asked once: they get equal answers.
    """
    counting = Query.PROBABILITIES not in model.answers
    keys = [tuple(map(tuple, prompt)) for prompt in prompts]
    unique = {key: place for place, key in reversed(list(enumerate(keys)))}
    asked = sorted(unique.values())
    leaks = np.zeros((len(prompts), watch.shape[1], 3))
    for rows_ in in_like_forms([prompts[place] for place in asked], samples):
        places = [asked[row] for row in rows_]
        for values, hits, log_weights, _ in _sum_forms(
            model, [prompts[p] for p in places], watch, horizon, samples, seed
        ):
            if values is None:
                yield None
                continue
            for row, place in enumerate(places):
                leaks[place] = _with_interval(hits[row] if counting else values[row], log_weights[row], counting)
    yield leaks[[unique[key] for key in keys]]


def _with_interval(values: np.ndarray, log_weights: np.ndarray, counting: bool) -> np.ndarray:
    if counting and not np.ptp(log_weights):
        found = [proportion(int(column.sum()), len(column)) for column in values.T]
        return np.array([(one.value, one.low, one.high) for one in found]).reshape(-1, 3)
    return np.stack(weighted_means(values.astype(float), log_weights), axis=-1)


def _sum_forms(model, prompts, watch, horizon, samples, seed):  # type: ignore[no-untyped-def]
    """Yields (None, ...) after each step and then (values (P, S, A), hits (P, S, A), log weights (P, S), codes (P, S, T))."""
    shape = (len(prompts), samples, watch.shape[1])
    values, hits = np.zeros(shape), np.zeros(shape, dtype=bool)
    codes: list[np.ndarray] = []
    log_weights = np.zeros(shape[:2])
    member = np.concatenate([watch, np.zeros((1, watch.shape[1]), dtype=bool)])  # the last row: no code (-1)
    for step in model.continue_(prompts, horizon, samples, watch=watch, seed=seed):
        if step.mass is not None:
            values += np.where(hits, 0.0, step.mass)
        emitted = np.where((step.codes >= 0) & (step.codes < len(watch)), step.codes, -1)
        hits |= member[emitted]
        codes.append(step.codes)
        log_weights = step.log_weight
        yield None, None, None, None
    yield values, hits, log_weights, np.stack(codes, axis=-1)


def in_like_forms(prompts: Sequence[SlotIds], samples: int, rows_at_once: int = 512) -> Iterator[list[int]]:
    """Places of prompts that can be continued together: as many slots after the first open one, of like length."""
    forms: dict[int, list[int]] = {}
    for place, prompt in enumerate(prompts):
        first = next((i for i, slot in enumerate(prompt) if len(slot) > 1), len(prompt))
        forms.setdefault(len(prompt) - first, []).append(place)
    for places in forms.values():
        places.sort(key=lambda place: len(prompts[place]))
        size = max(1, rows_at_once // samples)
        yield from (places[start : start + size] for start in range(0, len(places), size))
