"""Requests and answers of OpenAI's completions protocol, by code ids: checked, and put into words when refused.

What a request may hold, beside OpenAI's ``model``, ``prompt``, ``n``, ``max_tokens``, ``seed``, ``stream`` and ``logprobs``, is
named as by vLLM: ``stop_token_ids``, ``allowed_token_ids``, ``logit_bias`` of -100, ``prompt_logprobs`` (0 or -1), ``logprobs``
of -1, ``logprob_token_ids`` and ``stream_interval``. Codes are drawn from the model's own distribution: another temperature,
top-p, penalty or the like is refused. ``/v1/models`` says with ``"ehrmem": 1`` that four things of our own are understood:

``prompt`` with open places
    A place of a prompt may be a list of ids: it is filled from the model restricted to them, and each choice of the answer
    (the first chunk of each, when streamed) has its ``log_weight``.
``watch_token_ids``
    Lists of ids. Each choice has ``watch_mass``: for each of its codes the total probability of each list, before anything is
    forbidden.
``prompt_moments``
    True: each choice has ``prompt_moments``, for each code of the prompt null or the log-probability of the code, and the mean
    and the standard deviation of the log-probability over the whole distribution there.
``seed``
    The same seed gives the very continuations that the model gives in the server's own process.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ehrmem_widgets.blackbox.protocol import BlackBox, Query, SlotIds

LEAST_LOG_PROBABILITY = -9999.0  # JSON has no minus infinity; vLLM writes the same
_MOST_ROWS = 16_384  # continuations of one request
# Fields that would change the distribution or the answer, and the values that leave them as they are.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "temperature": (1,),
    "top_p": (1,),
    "top_k": (0, -1),
    "min_p": (0,),
    "repetition_penalty": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "min_tokens": (0,),
    "echo": (False,),
    "best_of": (1,),
    "stop": ([], ""),
    "suffix": ("",),
    "use_beam_search": (False,),
}


class RefusedError(Exception):
    """A request that cannot be answered: why, and the HTTP status."""

    def __init__(self, words: str, status: int = 400) -> None:
        super().__init__(words)
        self.status = status


@dataclass(frozen=True)
class CompletionRequest:
    """A request for completions, checked."""

    prompts: list[SlotIds]
    samples: int
    horizon: int
    seed: int
    stream: bool
    interval: int  # steps in one chunk of a stream
    watch: np.ndarray | None
    avoid: np.ndarray | None
    stops: frozenset[int]
    shown: int | None  # how many of the likeliest codes are shown at each step, -1 for all
    shown_ids: list[int] | None
    about_prompt: str | None  # "scores", "whole" or "moments"
    open_places: bool
    kind: tuple[Any, ...]  # requests of one kind can be sampled together

    @property
    def rows(self) -> int:
        """How many continuations."""
        return len(self.prompts) * self.samples


def read_request(body: bytes, model: BlackBox) -> CompletionRequest:
    """A request's fields. Raises ``RefusedError``."""
    given = read_object(body, model)
    for name, neutral in _NEUTRAL.items():
        if given.get(name) is not None and given[name] not in neutral:
            raise RefusedError(
                f"{name} = {given[name]!r} is not offered: this server samples from the model's own distribution only."
            )
    size = len(model.vocabulary)

    def number(name: str, default: int | None, low: int, high: int) -> Any:
        value = given.get(name)
        if value is None:
            return default
        if type(value) is not int or not low <= value <= high:
            raise RefusedError(f"{name} must be a whole number from {low:,} to {high:,}; got {value!r}.")
        return value

    def ids(name: str) -> list[int] | None:
        value = given.get(name)
        if value is not None and not (isinstance(value, list) and all(is_id(code, size) for code in value)):
            raise RefusedError(f"{name} must be a list of code ids, each from 0 to {size - 1:,}.")
        return value

    prompts = read_prompts(given.get("prompt"), size)
    samples, horizon = number("n", 1, 1, _MOST_ROWS), number("max_tokens", 16, 0, model.context_length)
    longest = max(map(len, prompts))
    if len(prompts) * samples > _MOST_ROWS:
        raise RefusedError(
            f"{len(prompts):,} prompts x {samples:,} continuations; at most {_MOST_ROWS:,} in one request."
        )
    if longest + horizon > model.context_length:
        raise RefusedError(
            f"A prompt of {longest:,} codes and max_tokens = {horizon:,} are more than the model's context of "
            f"{model.context_length:,} codes."
        )
    stream, shown, shown_ids = bool(given.get("stream")), number("logprobs", None, -1, size), ids("logprob_token_ids")
    if shown_ids is not None and shown is None:
        raise RefusedError("logprob_token_ids needs logprobs to be set, as in vLLM.")
    about_prompt = {None: None, 0: "scores", -1: "whole"}[number("prompt_logprobs", None, -1, 0)]
    if given.get("prompt_moments"):
        about_prompt = "moments"
    open_places = sorted({len(p) - next((i for i, slot in enumerate(p) if len(slot) > 1), len(p)) for p in prompts})
    if about_prompt and (stream or any(open_places)):
        raise RefusedError("What is asked about a prompt is not streamed, and needs a prompt without open places.")
    if not horizon and not about_prompt:
        raise RefusedError("max_tokens = 0 asks for nothing: give 1 or more, or prompt_logprobs.")
    watch = _watch(given.get("watch_token_ids"), size)
    if shown is not None:
        if watch is not None:
            raise RefusedError("Ask for watch_token_ids or for logprobs, not for both.")
        watch = np.eye(size, dtype=np.float32)
    if about_prompt == "scores" and Query.SCORES not in model.answers:
        raise RefusedError(f"The model {model.name!r} gives no log-probabilities.")
    if (watch is not None or about_prompt in ("whole", "moments")) and Query.PROBABILITIES not in model.answers:
        raise RefusedError(f"The model {model.name!r} gives no probabilities.")
    seed = number("seed", None, 0, 2**63 - 1)
    seed = secrets.randbits(62) if seed is None else seed
    masks = json.dumps([given.get(name) for name in ("watch_token_ids", "allowed_token_ids", "logit_bias")])
    return CompletionRequest(
        prompts=prompts,
        samples=samples,
        horizon=horizon,
        seed=seed,
        stream=stream,
        interval=number("stream_interval", 1, 1, 2**31),
        watch=watch,
        avoid=_avoid(ids("allowed_token_ids"), given.get("logit_bias"), size),
        stops=frozenset(ids("stop_token_ids") or ()),
        shown=shown,
        shown_ids=shown_ids,
        about_prompt=about_prompt,
        open_places=any(open_places),
        kind=(horizon, samples, seed, tuple(open_places), shown is not None, masks),
    )


def read_object(body: bytes, model: BlackBox) -> dict[str, Any]:
    """The JSON object in a request's body, which names this model or none. Raises ``RefusedError``."""
    try:
        given = json.loads(body)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise RefusedError("The request must be a JSON object.")
    if given.get("model") not in (None, model.name):
        raise RefusedError(f"There is no model {given['model']!r} here, only {model.name!r}.", 404)
    return given


def read_prompts(given: Any, size: int) -> list[SlotIds]:
    """One prompt (ids) or several (lists of ids); a place may be a list of ids, too, but for the first. Raises
    ``RefusedError``."""

    def is_place(value: Any) -> bool:
        return is_id(value, size) or (isinstance(value, list) and bool(value) and all(is_id(v, size) for v in value))

    def is_prompt(value: Any) -> bool:
        return isinstance(value, list) and bool(value) and is_id(value[0], size) and all(map(is_place, value))

    prompts = [given] if is_prompt(given) else given
    if not isinstance(prompts, list) or not prompts or not all(map(is_prompt, prompts)):
        raise RefusedError(
            f"A prompt must be a list of code ids, each from 0 to {size - 1:,}, or a list of such prompts. This server works "
            "by code ids, not by text."
        )
    return [[place if isinstance(place, list) else [place] for place in prompt] for prompt in prompts]


def is_id(value: Any, size: int) -> bool:
    """Whether this is the id of one of ``size`` codes (True is not 1 here)."""
    return type(value) is int and 0 <= value < size


def _watch(given: Any, size: int) -> np.ndarray | None:
    if given is None:
        return None
    if not isinstance(given, list) or not all(
        isinstance(ids, list) and all(is_id(code, size) for code in ids) for ids in given
    ):
        raise RefusedError(f"watch_token_ids must be lists of code ids, each from 0 to {size - 1:,}.")
    watch = np.zeros((size, len(given)), dtype=bool)
    for group, ids in enumerate(given):
        watch[ids, group] = True
    return watch


def _avoid(allowed: list[int] | None, bias: Any, size: int) -> np.ndarray | None:
    avoid = np.zeros(size, dtype=bool)
    if allowed is not None:
        avoid[:] = True
        avoid[allowed] = False
    try:
        for code, value in (bias or {}).items():
            if not is_id(int(code), size) or value > -100:
                raise ValueError(code)
            avoid[int(code)] = True
    except (AttributeError, ValueError, TypeError):
        raise RefusedError(
            f"logit_bias must give code ids from 0 to {size - 1:,} the value -100, which forbids them."
        ) from None
    if avoid.all():
        raise RefusedError("Every code is forbidden, so nothing can be sampled.")
    return avoid if avoid.any() else None


class Continuations:
    """Writes the steps of all continuations of a request as choices."""

    def __init__(self, request: CompletionRequest, stops: set[int]) -> None:
        self._request = request
        self._stops = request.stops | stops
        self._ended = np.zeros(request.rows, dtype=bool)
        self._done = 0

    @property
    def all_ended(self) -> bool:
        """Whether every continuation has met a stop code."""
        return bool(self._ended.all())

    def choices(self, steps: Sequence[tuple[np.ndarray, np.ndarray | None, np.ndarray]]) -> list[dict[str, Any]]:
        """What the next steps (codes, mass and log weight as in ``Step``) add to each continuation that goes on."""
        found: dict[int, dict[str, Any]] = {}
        for codes, mass, log_weight in steps:
            emitted = codes.reshape(-1).tolist()
            masses = None if mass is None else mass.reshape(len(emitted), -1)
            listed = masses.tolist() if masses is not None and self._request.shown is None else None
            weights = log_weight.reshape(-1).tolist() if self._done == 0 and self._request.open_places else None
            self._done += 1
            for i in np.flatnonzero(~self._ended).tolist():
                code = emitted[i]
                choice = found.get(i)
                if choice is None:
                    choice = found[i] = {"index": i, "text": "", "token_ids": [], "finish_reason": None}
                choice["token_ids"].append(code)
                if weights is not None:
                    choice["log_weight"] = max(weights[i], LEAST_LOG_PROBABILITY)
                if listed is not None:
                    choice.setdefault("watch_mass", []).append(listed[i])
                elif masses is not None:
                    append(choice, {"logprobs": self._log_probabilities(code, masses[i])})
                if code in self._stops:
                    choice["finish_reason"], choice["stop_reason"] = "stop", code
                    self._ended[i] = True
                elif self._done == self._request.horizon:
                    choice["finish_reason"] = "length"
        return list(found.values())

    def _log_probabilities(self, code: int, probabilities: np.ndarray) -> dict[str, Any]:
        shown = self._request.shown_ids
        if shown is None:
            count = len(probabilities) if self._request.shown == -1 else self._request.shown
            shown = np.argsort(-probabilities, kind="stable")[:count].tolist()
        with np.errstate(divide="ignore"):
            log = np.log(probabilities[[code, *shown]]).clip(LEAST_LOG_PROBABILITY).tolist()
        named = dict(zip((f"token_id:{i}" for i in (code, *shown)), log, strict=True))
        return {"tokens": [f"token_id:{code}"], "token_logprobs": log[:1], "top_logprobs": [named]}


def append(choice: dict[str, Any], new: dict[str, Any]) -> None:
    """Add to a choice what comes next: lists go on, the rest is replaced."""
    for name, value in new.items():
        if isinstance(value, list):
            choice.setdefault(name, []).extend(value)
        elif isinstance(value, dict):
            append(choice.setdefault(name, {}), value)
        else:
            choice[name] = value


def about_prompts(model: BlackBox, request: CompletionRequest) -> list[dict[str, Any]]:
    """For each prompt ``prompt_logprobs`` or ``prompt_moments``; of its first code there is nothing to say."""
    sequences = [[code for [code] in prompt] for prompt in request.prompts]
    if request.about_prompt == "moments":
        return [{"prompt_moments": [None, *moments.tolist()]} for moments in model.score_moments(sequences)]
    if request.about_prompt == "scores":
        places = [
            [{code: score} for code, score in zip(sequence[1:], scores.tolist(), strict=True)]
            for sequence, scores in zip(sequences, model.score(sequences), strict=True)
        ]
    else:
        places = [_whole_distributions(model, sequence) for sequence in sequences]
    return [
        {
            "prompt_logprobs": [
                None,
                *({i: {"logprob": max(log, LEAST_LOG_PROBABILITY)} for i, log in logs.items()} for logs in there),
            ]
        }
        for there in places
    ]


def _whole_distributions(model: BlackBox, sequence: list[int]) -> list[dict[int, float]]:
    if len(sequence) < 2:
        return []
    prefixes = [[[code] for code in sequence[:end]] for end in range(1, len(sequence))]
    [step] = model.continue_(prefixes, 1, 1, watch=np.eye(len(model.vocabulary), dtype=np.float32))
    assert step.mass is not None
    with np.errstate(divide="ignore"):
        return [dict(enumerate(row.tolist())) for row in np.log(step.mass[:, 0])]
