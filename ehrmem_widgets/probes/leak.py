"""The leak probability: P(the model emits a code of the attribute within the horizon, given the prompt).

Never by counting alone (methods, section 3; arXiv 2602.03730). ``SumForm`` is SCOPE: unmasked trajectories, one set for
every attribute, E[sum of h_t up to and including the first hit]. ``ProductForm`` is REACH: trajectories conditioned on not
emitting the attribute, 1 - E[prod (1 - h_t)]. h_t is the attribute's share of the next-code probabilities.

A value of the sum form may exceed 1 (3.2 was seen), which no interval for probabilities allows. So its interval rests on a
second value of the same trajectory and the same mean: the h_t while their sum is at most ``CREDIT``, and from there on 1 if the
attribute is emitted (methods, section 8.3). It lies between 0 and 1 + ``CREDIT``.

Of a model that gives elapsed times, horizons are in days. The sum form is the same, h_t the probability that the next code is of the attribute and
comes within the horizon; the product form is 1 - E[exp(-sum of the attribute's rates x the time that they last)], the race without the attribute.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ehrmem_widgets.attacker.prompt import Prompt
from ehrmem_widgets.blackbox.pace import Round, Stopwatch
from ehrmem_widgets.blackbox.protocol import BlackBox, Query, SlotIds
from ehrmem_widgets.probes.findings import Curve
from ehrmem_widgets.statistics.intervals import (
    CONFIDENCE,
    Estimate,
    effective_sample_size,
    paired_difference,
    weighted_mean,
    weighted_means,
)
from ehrmem_widgets.tokens.moments import ids_of, moment
from ehrmem_widgets.tokens.vocabulary import Vocabulary

CREDIT = 0.1
TOP = 1 + CREDIT
POINTS = 64
"""Days on which a curve by time is drawn."""
_SURVIVORS = 1e-6  # the rest of the horizon cannot add more than this


def slot_ids(prompt: Prompt, vocabulary: Vocabulary) -> SlotIds:
    """A prompt in the ids of a model; in moments, the first and the last allowed, where it is told ages."""
    ids = [vocabulary.ids(slot) for slot in prompt.slots]
    if not prompt.days:
        return ids
    return [
        [moment(number, day) for number in slot for day in dict.fromkeys(allowed)]
        for slot, allowed in zip(ids, prompt.days, strict=True)
    ]


@dataclass(frozen=True)
class Leaks:
    """The leaks of P prompts and A attributes along S trajectories each.

    ``raw`` (P, S, A): the sum form's values, or 0 and 1 where the model gives no probabilities; the sharper mean. ``bounded``
    (P, S, A): values of the same mean in [0, ``TOP``], for intervals. ``log_weights`` (P, S): log importance weights.
    """

    raw: np.ndarray
    bounded: np.ndarray
    log_weights: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """(P, A) the leak probabilities, by the raw values."""
        weights = np.exp(self.log_weights - self.log_weights.max(axis=1, keepdims=True))
        return np.asarray(np.einsum("ps,psa->pa", weights / weights.sum(axis=1, keepdims=True), self.raw))

    def intervals(self, *, level: float = CONFIDENCE) -> np.ndarray:
        """(P, A, 3) value, low and high: the mean of the raw values (cut to the interval) with the bounded values' interval."""
        found = np.empty((*self.means.shape, 3))
        for places, weights in self._alike():
            columns = self.bounded[places].transpose(1, 0, 2).reshape(self.bounded.shape[1], -1)
            _, low, high = weighted_means(columns, weights, top=TOP, level=level)
            found[places, :, 1], found[places, :, 2] = low.reshape(len(places), -1), high.reshape(len(places), -1)
        found[..., 0] = self.means.clip(found[..., 1], found[..., 2])
        return found

    def minus(self, other: Leaks, *, level: float = CONFIDENCE) -> np.ndarray:
        """(P, A, 3) the difference to another model's leaks on the same prompts and random numbers, with its interval: of pairs
        of trajectories, or of two independent means (MOVER) where the prompt leaves something open."""
        mine, theirs = self.intervals(level=level), other.intervals(level=level)
        found = _mover(mine, theirs)
        paired = (np.ptp(self.log_weights, axis=1) == 0) & (np.ptp(other.log_weights, axis=1) == 0)
        places = np.flatnonzero(paired & (self.bounded.shape[1] == other.bounded.shape[1]))
        if len(places):
            a, b = (x.bounded[places].transpose(1, 0, 2).reshape(x.bounded.shape[1], -1) for x in (self, other))
            _, low, high = paired_difference(a, b, top=TOP, level=level)
            found[places, :, 1], found[places, :, 2] = low.reshape(len(places), -1), high.reshape(len(places), -1)
            found[places, :, 0] = (mine - theirs)[places, :, 0].clip(found[places, :, 1], found[places, :, 2])
        return found

    def with_more(self, more: Leaks) -> Leaks:
        """With the trajectories of another round of the same prompts."""
        both = zip(_arrays(self), _arrays(more), strict=True)
        return Leaks(*(np.concatenate(pair, axis=1) for pair in both))

    def put(self, places: Sequence[int], part: Leaks) -> None:
        """Write the leaks of some prompts into these places."""
        for mine, other in zip(_arrays(self), _arrays(part), strict=True):
            mine[list(places)] = other

    def of(self, places: Sequence[int]) -> Leaks:
        """Those of some prompts."""
        chosen = list(places)
        return Leaks(self.raw[chosen], self.bounded[chosen], self.log_weights[chosen])

    def about(self, attributes: Sequence[int]) -> Leaks:
        """Those of some attributes."""
        chosen = list(attributes)
        return Leaks(self.raw[..., chosen], self.bounded[..., chosen], self.log_weights)

    def _alike(self) -> Iterator[tuple[list[int], np.ndarray | None]]:
        """Prompts of equal weights together, each other one by itself."""
        equal = np.ptp(self.log_weights, axis=1) == 0
        if equal.any():
            yield np.flatnonzero(equal).tolist(), None
        for place in np.flatnonzero(~equal).tolist():
            yield [place], self.log_weights[place]


class SumForm:
    """The sum form (SCOPE) for several attributes over one set of unmasked trajectories, which can be shown as they are.

    ``track``: (codes, attributes) bool. Without probabilities it counts hits. ``rounds``: what each call of ``add`` took.
    """

    def __init__(self, model: BlackBox, prompt: SlotIds, track: np.ndarray, horizon: int) -> None:
        self._model, self._prompt, self._watch, self._horizon = model, prompt, track, horizon
        self.counting = Query.PROBABILITIES not in model.answers
        nothing = np.empty((1, 0, track.shape[1]))
        self.leaks = Leaks(nothing, nothing, np.empty((1, 0)))
        self.trajectories: list[np.ndarray] = []
        self.rounds: list[Round] = []

    @property
    def n(self) -> int:
        """Trajectories so far."""
        return self.leaks.raw.shape[1]

    @property
    def log_weights(self) -> np.ndarray:
        """(n,) log importance weights of the trajectories."""
        return np.asarray(self.leaks.log_weights[0])

    @property
    def effective_samples(self) -> float:
        """Effective sample size of the importance weights; n when the prompt leaves nothing open."""
        return effective_sample_size(self.log_weights) if self.n else 0.0

    def add(self, samples: int, seed: int) -> Iterator[None]:
        """Sample more trajectories; yields after each step, so that the work can be shared or interrupted (then nothing
        of it counts)."""
        watch = Stopwatch()
        for found in watch.over(_sum_forms(self._model, [self._prompt], self._watch, self._horizon, samples, seed)):
            if found is None:
                yield
                continue
            leaks, codes = found
            self.rounds.append((watch.seconds / samples, len(self._prompt) + float((codes >= 0).sum()) / samples))
            self.leaks = self.leaks.with_more(leaks)
            self.trajectories.extend(codes[0])

    def estimates(self, *, level: float = CONFIDENCE) -> list[Estimate]:
        """The leak probability of each attribute (the columns of ``track``)."""
        return _estimates(self.leaks.intervals(level=level)[0], self.n)

    def estimate(self, attribute: int, *, level: float = CONFIDENCE) -> Estimate:
        """The leak probability of one attribute."""
        return self.estimates(level=level)[attribute]

    def minus(self, other: SumForm, *, level: float = CONFIDENCE) -> list[Estimate]:
        """The difference to another model's leaks, by attribute."""
        return _estimates(self.leaks.minus(other.leaks, level=level)[0], min(self.n, other.n))


class ProductForm:
    """The product form (REACH) for one attribute, and the whole curve P(leak within t) from one pass: after each code, or on
    ``POINTS`` days up to the horizon.

    ``codes``: (codes,) bool, the attribute's.
    """

    def __init__(self, model: BlackBox, prompt: SlotIds, codes: np.ndarray, horizon: int) -> None:
        self._model, self._prompt, self._codes, self._horizon = model, prompt, codes, horizon
        timed = model.vocabulary.timed
        self._at = np.linspace(horizon / POINTS, horizon, POINTS) if timed else np.arange(1, horizon + 1, dtype=float)
        self._leaks = np.empty((0, len(self._at)))  # 1 - survival, by trajectory and step
        self._log_weights = np.empty(0)

    @property
    def n(self) -> int:
        """Trajectories so far."""
        return len(self._leaks)

    def add(self, samples: int, seed: int) -> Iterator[None]:
        """As ``SumForm.add``."""
        if self._model.vocabulary.timed:
            yield from self._add_by_time(samples, seed)
            return
        leaks = np.zeros((samples, self._horizon))
        surviving = np.ones(samples)
        log_weights = np.zeros(samples)
        done = 0
        track = self._codes[:, None]
        for step in self._model.generate(
            [self._prompt], self._horizon, samples, track=track, banned=self._codes, seed=seed
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

    def _add_by_time(self, samples: int, seed: int) -> Iterator[None]:
        hazard, before, log_weights = np.zeros((samples, len(self._at))), np.zeros((samples, 1)), np.zeros(samples)
        for step in self._model.generate(
            [self._prompt], self._horizon, samples, track=self._codes[:, None], banned=self._codes, seed=seed
        ):
            assert step.days is not None and step.rates is not None
            until = step.days[0][:, None]
            hazard += step.rates[0] * (self._at.clip(before, until) - before)
            before, log_weights = until, step.log_weight[0]
            yield
        self._leaks = np.concatenate([self._leaks, -np.expm1(-hazard)])
        self._log_weights = np.concatenate([self._log_weights, log_weights])

    @property
    def leaks(self) -> np.ndarray:
        """(n,) each trajectory's leak within the horizon."""
        return self._leaks[:, -1]

    def estimate(self, *, level: float = CONFIDENCE) -> Estimate:
        """The leak probability within the horizon."""
        return weighted_mean(self.leaks, self._log_weights, level=level)

    def curve(self, *, level: float = CONFIDENCE) -> Curve:
        """P(leak within t) for each t."""
        return Curve(*weighted_means(self._leaks, self._log_weights, level=level), self.n, self._at)


def leaks_of_many(
    model: BlackBox,
    prompts: Sequence[SlotIds],
    track: np.ndarray,
    horizon: int,
    samples: int,
    seed: int,
) -> Iterator[Leaks | None]:
    """The sum form for many prompts at once: yields None after each step and at last the leaks of all.

    Every prompt is asked with the same random numbers. Prompts of one form are read together, equal ones once: they get equal
    answers.
    """
    keys = [tuple(map(tuple, prompt)) for prompt in prompts]
    unique = {key: place for place, key in reversed(list(enumerate(keys)))}
    asked = sorted(unique.values())
    shape = (len(prompts), samples, track.shape[1])
    whole = Leaks(np.zeros(shape), np.zeros(shape), np.zeros(shape[:2]))
    for rows in in_like_forms([prompts[place] for place in asked], samples):
        places = [asked[row] for row in rows]
        for found in _sum_forms(model, [prompts[p] for p in places], track, horizon, samples, seed):
            if found is None:
                yield None
                continue
            whole.put(places, found[0])
    yield whole.of([unique[key] for key in keys])


def _sum_forms(
    model: BlackBox, prompts: Sequence[SlotIds], track: np.ndarray, horizon: int, samples: int, seed: int
) -> Iterator[tuple[Leaks, np.ndarray] | None]:
    """None after each step, and then the leaks and the codes (P, S, T)."""
    shape = (len(prompts), samples, track.shape[1])
    raw, credit = np.zeros(shape), np.zeros(shape)
    hits, spent, late = (
        np.zeros(shape, dtype=bool) for _ in range(3)
    )  # spent: no credit any more; late: hit since then
    codes: list[np.ndarray] = []
    log_weights = np.zeros(shape[:2])
    member = np.concatenate([track, np.zeros((1, track.shape[1]), dtype=bool)])  # the last row: no code (-1)
    counting = Query.PROBABILITIES not in model.answers
    spent[:] = counting
    for step in model.generate(prompts, horizon, samples, track=track, seed=seed):
        if step.mass is not None and not counting:
            mass = np.where(hits, 0.0, step.mass)
            raw += mass
            spent |= credit + mass > CREDIT
            credit += np.where(spent, 0.0, mass)
        ids = ids_of(step.codes)
        emitted = np.where((ids >= 0) & (ids < len(track)), ids, -1)
        first = member[emitted] & ~hits
        late |= first & spent
        hits |= first
        codes.append(step.codes)
        log_weights = step.log_weight
        yield None
    bounded = credit + late
    yield Leaks(bounded if counting else raw, bounded, log_weights), np.stack(codes, axis=-1)


def _arrays(leaks: Leaks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return leaks.raw, leaks.bounded, leaks.log_weights


def _estimates(rows: np.ndarray, n: int) -> list[Estimate]:
    return [Estimate(float(value), float(low), float(high), n) for value, low, high in rows]


def _mover(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``intervals.difference`` of (..., 3) values, lows and highs."""
    value = a[..., 0] - b[..., 0]
    low = value - np.hypot(a[..., 0] - a[..., 1], b[..., 2] - b[..., 0])
    high = value + np.hypot(a[..., 2] - a[..., 0], b[..., 0] - b[..., 1])
    return np.stack([value, low.clip(-1, 1), high.clip(-1, 1)], axis=-1)


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
