"""What is known, as points among the records: embedded alone, or continued by the model first and then embedded (methods, 8.8)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from ehrmem_widgets.blackbox.protocol import BlackBox, EmbedContinuations, SlotIds
from ehrmem_widgets.probes.leak import in_like_forms
from ehrmem_widgets.settings import CONTINUATIONS, CONTINUED_BY, HORIZON

_FILLS = 8
Answer = TypeVar("Answer")


def embed_prompts(model: BlackBox, prompts: Sequence[SlotIds]) -> np.ndarray:
    """(n, d) embeddings of partial records, in one call of the model. What is known as one of several codes (a lab without its value, a
    date to the week) is filled at random eight times, always in the same way, and the embeddings are averaged."""
    written = [filled(prompt, _FILLS if any(len(slot) > 1 for slot in prompt) else 1) for prompt in prompts]
    ends = np.cumsum([len(rows) for rows in written])
    found = model.embed([row for rows in written for row in rows])
    means = np.stack([part.mean(axis=0) for part in np.split(found, ends[:-1])])
    return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True))


def embed_slots(model: BlackBox, slots: SlotIds) -> np.ndarray:
    """``embed_prompts`` of one prompt: (d,)."""
    return np.asarray(embed_prompts(model, [slots])[0])


def embed_continued(
    model: BlackBox,
    prompts: Sequence[SlotIds],
    *,
    samples: int = CONTINUATIONS,
    horizon: int = CONTINUED_BY,
    seed: int = 0,
) -> np.ndarray:
    """(n, samples, d) embeddings of the model's own continuations, the prompt before them. A prompt that fills the context stays as it is.
    An answer about one prompt does not depend on which others are asked with it."""
    found: dict[int, np.ndarray] = {}
    rooms = [max(0, min(horizon, model.context_length - len(prompt))) for prompt in prompts]
    for room in sorted(set(rooms)):
        places = [place for place, its in enumerate(rooms) if its == room]
        found |= zip(places, _led_to(model, [prompts[place] for place in places], samples, room, seed), strict=True)
    return np.stack([found[place] for place in range(len(prompts))])


def _led_to(model: BlackBox, prompts: Sequence[SlotIds], samples: int, room: int, seed: int) -> list[np.ndarray]:
    """As ``embed_continued``, where there is room for so many codes behind each prompt."""
    in_one_reading: EmbedContinuations | None = getattr(model, "embed_continuations", None)
    if room and in_one_reading:
        return _of_each(prompts, samples, lambda asked: list(in_one_reading(asked, room, samples, seed)))
    codes: Sequence[np.ndarray] = [np.empty((samples, 0), dtype=int)] * len(prompts)
    if room:
        span = HORIZON.most if model.vocabulary.timed else room  # of days: as far as it takes
        codes = [rows for rows, _ in continuations(model, prompts, span, samples, seed, steps=room)]
    written = [row for prompt, rows in zip(prompts, codes, strict=True) for row in continued(prompt, rows)]
    return list(model.embed(written).reshape(len(prompts), samples, -1))


def continued(prompt: SlotIds, codes: Sequence[np.ndarray] | np.ndarray) -> list[list[int]]:
    """The prompt, its open slots filled as ``embed_prompts`` fills them, before each of several continuations (-1: ended)."""
    heads = filled(prompt, len(codes))
    return [head + [int(code) for code in row if code >= 0] for head, row in zip(heads, codes, strict=True)]


def continuations(
    model: BlackBox, prompts: Sequence[SlotIds], horizon: int, samples: int, seed: int, *, steps: int | None = None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each prompt the codes (samples, steps) and log weights (samples,), at most ``steps`` codes. Equal prompts are asked once: they get equal
    answers."""

    def ask(asked: list[SlotIds]) -> list[tuple[np.ndarray, np.ndarray]]:
        given = list(itertools.islice(model.generate(asked, horizon, samples, seed=seed), steps))
        return list(zip(np.stack([step.codes for step in given], axis=-1), given[-1].log_weight, strict=True))

    return _of_each(prompts, samples, ask)


def _of_each(
    prompts: Sequence[SlotIds], samples: int, ask: Callable[[list[SlotIds]], Sequence[Answer]]
) -> list[Answer]:
    """The answer about each prompt, those asked together that can be continued together, and equal ones once."""
    keys = [tuple(map(tuple, prompt)) for prompt in prompts]
    unique = list(dict.fromkeys(keys))
    found: dict[tuple[tuple[int, ...], ...], Answer] = {}
    for places in in_like_forms(unique, samples):
        asked = [unique[place] for place in places]
        found |= zip(asked, ask(list(asked)), strict=True)
    return [found[key] for key in keys]


def filled(prompt: SlotIds, rows: int) -> list[list[int]]:
    """``rows`` times the prompt's ids, a slot of several filled at random, always in the same way."""
    rng = np.random.default_rng(0)
    columns = np.stack([rng.choice(np.asarray(slot), rows) for slot in prompt], axis=1)
    return [list(map(int, row)) for row in columns]
