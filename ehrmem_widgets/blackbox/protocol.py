"""The black box: a model that we can only query. Sequences of code ids in, numbers out; streamed, cancellable, seeded.

A model that is told the age beside each code and gives the elapsed time with each (``Vocabulary.timed``, such as Delphi-2M) takes and gives
moments (``tokens/moments.py``) where others have ids, counts horizons in days, and scores a code and its waiting time together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np

from ehrmem_widgets.errors import BadInput, CannotAnswer
from ehrmem_widgets.tokens.vocabulary import Vocabulary

LEAST_LOG_PROBABILITY = -9999.0
"""What a server writes for minus infinity, which JSON does not have; vLLM writes the same."""
SlotIds = Sequence[Sequence[int]]
"""A prompt in ids: for each place, the ids that are allowed there."""


EmbedContinuations = Callable[[Sequence[SlotIds], int, int, int], np.ndarray]
"""What a black box may give beside ``generate`` and ``embed``, as ``embed_continuations``: (n, samples, d) embeddings of prompts with their
continuations, for prompts, a horizon in codes, samples and a seed. The codes are those of ``generate``, slots as filled there."""


class Query(StrEnum):
    """What a black box may be asked.

    SAMPLE: continuations. SCORES: the log-probability of given codes. PROBABILITIES: the whole next-code distribution (the
    mass of watched groups while sampling, and its moments). EMBEDDINGS: a vector a sequence.
    """

    SAMPLE = "sample"
    SCORES = "scores"
    PROBABILITIES = "probabilities"
    EMBEDDINGS = "embeddings"


@dataclass(frozen=True)
class Step:
    """One step of all continuations.

    ``codes``: (prompts, samples) ids emitted at this step, -1 once a continuation has ended.
    ``mass``: (prompts, samples, groups) total probability of each watched group at this step, before anything is
    avoided; 0 once ended. None when the black box gives no probabilities.
    ``log_weight``: (prompts, samples) log importance weight of how the prompt's slots were filled; the same at each step.

    Of a model that gives elapsed times, too: ``codes`` are moments, -1 also where nothing more comes within the horizon; ``mass`` is the probability
    that the next code is of the group and comes within the horizon. ``days``: (prompts, samples) days from the prompt's end to this code, or to
    the horizon where nothing comes before. ``rates``: (prompts, samples, groups) how many codes of each watched group come a day until then,
    before anything is avoided; 0 once ended. Both None for other models.
    """

    codes: np.ndarray
    mass: np.ndarray | None
    log_weight: np.ndarray
    days: np.ndarray | None = None
    rates: np.ndarray | None = None


class BlackBox(Protocol):
    """A model as an attacker meets it.

    ``training_split``: the split of the data set whose patients it was trained on; None where nobody says
    (``training_splits.trained_on`` then supposes one).
    """

    name: str
    fingerprint: str
    vocabulary: Vocabulary
    context_length: int
    answers: frozenset[Query]
    training_split: str | None

    def generate(
        self,
        prompts: Sequence[SlotIds],
        horizon: int,
        samples: int,
        *,
        track: np.ndarray | None = None,
        banned: np.ndarray | None = None,
        seed: int = 0,
    ) -> Iterator[Step]:
        """Sample ``samples`` continuations of each prompt, one step at a time, for at most ``horizon`` steps (days, where the model gives
        elapsed times).

        Slots with several ids are filled from the model restricted to the slot. ``track`` is (codes, groups), 0 or 1;
        ``banned`` is (codes,) bool: codes that are masked, the rest renormalised. The same seed uses the same uniform
        numbers in every black box and for every prompt (common random numbers), so that an answer about one prompt does
        not depend on which others were asked with it. Stopping the iteration cancels.
        """
        ...

    def score(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """For each sequence of n ids, the n - 1 log-probabilities of each id given those before it (minus infinity: impossible, or hidden by a
        filter); of moments, log-densities of the code and its waiting time in days."""
        ...

    def score_moments(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """For each sequence of n ids, (n - 1, 3): the log-probability of each id given those before it, and the mean and the
        standard deviation of the log-probability over the model's own next-code distribution there (for Min-K%++)."""
        ...

    def embed(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        """(n, d) embeddings of unit length."""
        ...


def next_code_probabilities(model: BlackBox, beginnings: Sequence[Sequence[int]]) -> np.ndarray:
    """(beginnings, codes) the probability of each next code, of a model that gives them."""
    prompts = [[[int(code)] for code in one] for one in beginnings]
    step = next(iter(model.generate(prompts, 1, 1, track=np.eye(len(model.vocabulary), dtype=np.float32))))
    assert step.mass is not None
    return np.array(step.mass[:, 0])


def hidden_as_guessed(scores: np.ndarray, codes: int) -> np.ndarray:
    """Log-probabilities, with that of one of so many ``codes`` in place of minus infinity: what somebody puts where the model, or a filter before it, shows
    none. One hidden code in a record would else drown all that is said of the others."""
    return np.where(np.isneginf(scores), -np.log(codes), scores)


def within_context(prompts: Sequence[SlotIds], horizon: int, context_length: int) -> int:
    """The steps that fit behind the longest prompt, at most the horizon. Raises CannotAnswer when there is no room for one."""
    horizon = min(horizon, context_length - max(map(len, prompts)))
    if horizon < 1:
        raise CannotAnswer(
            f"The prompt fills the model's context of {context_length:,} codes. Give the attacker fewer facts."
        )
    return horizon


def horizon_within(model: BlackBox, longest: int, horizon: int) -> int:
    """The horizon that a model has room for behind a prompt of so many codes: days always fit, codes as many as its context holds."""
    return horizon if model.vocabulary.timed else min(horizon, model.context_length - longest)


def split_prompts(prompts: Sequence[SlotIds]) -> tuple[list[list[int]], list[list[list[int]]]]:
    """Each prompt as (ids that all samples share, slots still to be filled).

    The second parts are equally long, so that all continuations start at the same step; a prompt that needs fewer
    slots hands over some of its last single ids. Raises BadInput for an empty prompt or an empty slot.
    """
    for prompt in prompts:
        if not prompt or any(len(slot) == 0 for slot in prompt):
            raise BadInput("A prompt needs at least one code, and each of its slots at least one code.")
    several = [next((i for i, slot in enumerate(p) if len(slot) > 1), len(p)) for p in prompts]
    if any(first == 0 for first in several):
        raise BadInput("The first place of a prompt must be one code (the start code).")
    longest = max(len(p) - first for p, first in zip(prompts, several, strict=True))
    if any(len(p) <= longest for p in prompts):
        raise ValueError("prompts of such different forms cannot be continued together")
    cut = [len(p) - longest for p in prompts]
    shared = [[int(slot[0]) for slot in p[:c]] for p, c in zip(prompts, cut, strict=True)]
    return shared, [[list(slot) for slot in p[c:]] for p, c in zip(prompts, cut, strict=True)]


def slot_uniforms(slots: int, samples: int, seed: int) -> np.ndarray:
    """(slots, samples) uniform numbers for filling slots, counted from the prompt's end: a slot's numbers do not depend on
    how many slots stand before it."""
    return np.random.default_rng([seed, 1]).random((slots, samples), dtype=np.float32)[::-1]
