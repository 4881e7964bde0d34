"""What a completions server answers: asked for, checked and read. A server's slip becomes an error in words, never a number."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.blackbox.transport import JsonObject, PassingError, RefusedError, Server
from ehrmem_widgets.errors import BadInput, EhrmemError

if TYPE_CHECKING:
    from ehrmem_widgets.blackbox.completions import Choice

COMPLETIONS = "/v1/completions"
# The model's own distribution: what a request leaves out, a server takes from the model's generation_config.
PLAIN = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "min_tokens": 0,
    "ignore_eos": True,  # the stop codes are the vocabulary's, not those of the model's configuration
    "return_token_ids": True,
    "return_tokens_as_token_ids": True,
}
_CODES_A_REQUEST = 4096  # of the sequences that one request asks about
_SEQUENCES_A_REQUEST = 512
Answer = TypeVar("Answer")


async def complete(server: Server, name: str, body: JsonObject, expected: int) -> list[Choice]:
    """The choices that answer one request, in order; asked again when there are fewer than expected."""

    async def once() -> list[Choice]:
        found = choices(await server.post_once(COMPLETIONS, {"model": name, **PLAIN, **body}))
        if len(found) < expected:
            raise PassingError(
                f"The server at {server.address} gave {len(found)} answers of {expected} that it was asked for."
            )
        return sorted(found, key=lambda choice: choice["index"])[:expected]

    return await server.again(once)


def choices(answer: JsonObject) -> list[Choice]:
    """An answer's choices. Raises BadInput when it has another form."""
    found = answer.get("choices")
    if not isinstance(found, list) or not all(isinstance(c, dict) and type(c.get("index")) is int for c in found):
        raise _another_form("it has no list of choices")
    return found


def places(choice: Choice, sequence: Sequence[int]) -> list[JsonObject]:
    """What ``prompt_logprobs`` says of each code but the first, of which nothing can be said."""
    found = choice.get("prompt_logprobs")
    if not isinstance(found, list) or len(found) != len(sequence):
        raise _another_form(f"it says nothing about the {len(sequence)} codes of a prompt")
    return [there if isinstance(there, dict) else {} for there in found[1:]]


def log_probability(there: JsonObject, code: int) -> object:
    """The log-probability of one code in one of ``places``, None where there is none."""
    about = there.get(str(code))
    return about.get("logprob") if isinstance(about, dict) else None


def shown_log_probabilities(choice: Choice, ids: Iterable[int]) -> np.ndarray:
    """(codes, ids) log-probabilities of the ids at each code of a choice, as ``logprobs`` shows them."""
    shown = (choice.get("logprobs") or {}).get("top_logprobs")
    if not isinstance(shown, list):
        raise _another_form("it has no log-probabilities")
    names = [f"token_id:{code}" for code in ids]
    return numbers([[(there or {}).get(name) for name in names] for there in shown]).reshape(len(shown), len(names))


def numbers(found: object) -> np.ndarray:
    """An array of numbers; BadInput where one is missing, null or NaN, for what is found with holes would mean nothing."""
    try:
        array = np.array(found, dtype=float)
    except (TypeError, ValueError):
        array = np.full(1, np.nan)
    if not np.isfinite(array).all():
        raise BadInput(
            "The server gave no number (null or NaN) where a probability or an embedding was asked for. Often a model overflows "
            "in half precision: ask for it to be served in float32."
        )
    return array


def mask(field: str, banned: np.ndarray, size: int) -> JsonObject:
    """The request's field that leaves codes out."""
    out = np.zeros(size, dtype=bool)
    out[: len(banned)] = banned
    if field == "allowed_token_ids":
        return {field: np.flatnonzero(~out).tolist()}
    return {field: {str(code): -100 for code in np.flatnonzero(out).tolist()}}


async def all_of(asked: Iterable[Awaitable[Answer]]) -> list[Answer]:
    """The answers in order; the first failure cancels the rest."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_awaited(one)) for one in asked]
    except* EhrmemError as errors:
        raise first_of(errors) from None
    return [task.result() for task in tasks]


async def in_batches(
    sequences: list[list[int]], ask: Callable[[list[list[int]]], Awaitable[list[Answer]]]
) -> list[Answer]:
    """The answer about each sequence, those of like length asked about together."""
    order = sorted(range(len(sequences)), key=lambda place: len(sequences[place]))
    batches: list[list[int]] = []
    for place in order:
        together = len(batches[-1]) + 1 if batches else math.inf
        if together > _SEQUENCES_A_REQUEST or len(sequences[place]) * together > _CODES_A_REQUEST:
            batches.append([])
        batches[-1].append(place)
    found: dict[int, Answer] = {}
    for batch, answers in zip(batches, await all_of(ask([sequences[p] for p in b]) for b in batches), strict=True):
        found |= dict(zip(batch, answers, strict=True))
    return [found[place] for place in range(len(sequences))]


def first_of(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """One error of a group of groups."""
    one = errors.exceptions[0]
    return first_of(one) if isinstance(one, BaseExceptionGroup) else one


async def _awaited(one: Awaitable[Answer]) -> Answer:
    return await one


def _another_form(why: str) -> BadInput:
    return BadInput(
        f"The server's answer is not of the form of OpenAI's completions: {why}. Give the address of vLLM, of 'ehrmem serve' or "
        "of another server that works by code ids."
    )


# What a server answers at all -----------------------------------------------------------------------------------------


async def served_model(server: Server, name: str | None) -> JsonObject:
    """What ``/v1/models`` says of the model of this name, or of the only one."""
    listed = (await server.get("/v1/models")).get("data")
    models = (
        {one["id"]: one for one in listed if isinstance(one, dict) and isinstance(one.get("id"), str)}
        if isinstance(listed, list)
        else {}
    )
    if name is None and len(models) == 1:
        return next(iter(models.values()))
    if name not in models:
        there = ", ".join(map(repr, models)) or "none"
        asked = f"no model {name!r}" if name is not None else "more than one model, or none"
        raise BadInput(f"The server at {server.address} serves {asked}; it lists {there}. Name one of them.")
    return models[name]


@dataclass
class Found:
    """What a server was found to answer."""

    answers: frozenset[Query]
    notes: tuple[str, ...]
    mask_field: str | None  # what leaves codes out of sampling
    listed: bool  # whether it shows the log-probabilities of listed codes
    width: int | None  # of the model's head


async def find_out(server: Server, name: str, size: int, *, ours: bool) -> Found:
    """Ask a server a few tiny questions about the first and the last of ``size`` codes, of which none can harm it."""

    async def ask(body: JsonObject, n: int = 1) -> list[Choice] | None:
        try:
            return await complete(server, name, {"prompt": [0], "n": n, "max_tokens": 1, "seed": 0, **body}, n)
        except RefusedError as error:
            if error.status in (401, 403, 404):
                raise
            return None

    await _samples_by_ids(server, name)
    field = await _what_masks(ask, server, size)
    notes = []
    if field is None:
        notes.append("The server does not let codes be left out of sampling: leaks are counted.")

    scored = await ask({"prompt": [0, 0], "prompt_logprobs": 0, "max_tokens": 0 if ours else 1})
    scores = scored is not None and log_probability(_last_place(scored[0]), 0) is not None
    if not scores:
        notes.append(
            "The server gives no log-probabilities of given codes (prompt_logprobs): no membership scores, and no check of "
            "whether the model has learned anything."
        )

    ids = sorted({0, size // 2, size - 1})
    only_first = mask(field, np.arange(size) > 0, size) if field else {}
    seen = [_shown(await ask({"logprobs": 0, "logprob_token_ids": ids, **more})) for more in ({}, only_first)]
    listed = all(set(ids) <= set(one) for one in seen)
    whole = _shown(await ask({"logprobs": -1}))
    of_prompt = await ask({"prompt": [0, 0], "prompt_logprobs": -1, "max_tokens": 0 if ours else 1})
    width = len(whole)
    everything = width >= size and of_prompt is not None and len(_last_place(of_prompt[0])) == width
    if not everything:
        notes.append(
            "The server gives no whole next-code distributions: leaks are counted, which takes far more samples, and Min-K%++ "
            "is left out. A vLLM server gives them when started with --max-logprobs -1."
        )
        width = 0
    after_mask = _shown(await ask({"logprobs": -1, **only_first})) if everything and field else whole
    before = [max(there.get(i, np.nan), -80.0) for there in (whole, after_mask) for i in ids]
    raw = np.allclose(before[: len(ids)], before[len(ids) :], atol=0.01)
    if everything and not raw:
        notes.append(
            "The server gives probabilities as they are after codes were left out: leaks are counted. A vLLM server gives the "
            "model's own when started with --logprobs-mode raw_logprobs."
        )
    answers = {Query.SAMPLE}
    answers |= {Query.SCORES} if scores else set()
    answers |= {Query.PROBABILITIES} if everything and raw and field else set()
    return Found(frozenset(answers), tuple(notes), field, listed, width or None)


async def _samples_by_ids(server: Server, name: str) -> None:
    try:
        found = await complete(server, name, {"prompt": [0], "n": 2, "max_tokens": 1, "seed": 0}, 2)
    except RefusedError as error:
        if error.status in (401, 403, 404):
            raise
        raise BadInput(
            f"{str(error).rstrip('.')}. It must take prompts of code ids: start vLLM with --skip-tokenizer-init, or use 'ehrmem "
            "serve'."
        ) from None
    if not all(isinstance(choice.get("token_ids"), list) and len(choice["token_ids"]) == 1 for choice in found):
        raise BadInput(
            f"The server at {server.address} answers in text, not in code ids (it does not know return_token_ids). vLLM from "
            "0.10.2 on and 'ehrmem serve' do."
        )


async def _what_masks(
    ask: Callable[[JsonObject, int], Awaitable[list[Choice] | None]], server: Server, size: int
) -> str | None:
    """The field that leaves codes out, and indeed does."""

    async def obeyed(field: str, only: int) -> bool | None:
        found = await ask(mask(field, np.arange(size) != only, size), 4)
        return None if found is None else all(choice.get("token_ids") == [only] for choice in found)

    for field in ("allowed_token_ids", "logit_bias"):
        if await obeyed(field, 0):
            last = await obeyed(field, size - 1)
            if last is None:
                raise BadInput(
                    f"The vocabulary does not fit the model at {server.address}: it lists {size:,} codes, and the server has no "
                    f"code number {size - 1:,}. Give the vocabulary that the model was trained with."
                )
            if last:
                return field
    return None


def _last_place(choice: Choice) -> JsonObject:
    found = choice.get("prompt_logprobs")
    return found[-1] if isinstance(found, list) and found and isinstance(found[-1], dict) else {}


def _shown(found: list[Choice] | None) -> dict[int, float]:
    """The log-probabilities shown at the first code, by id."""
    of_first = found[0].get("logprobs") if found else None
    shown = (of_first or {}).get("top_logprobs") or [{}]
    return {
        int(k.removeprefix("token_id:")): v
        for k, v in (shown[0] or {}).items()
        if k.startswith("token_id:") and isinstance(v, int | float)
    }
