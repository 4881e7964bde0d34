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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Required, Self, TypedDict

import numpy as np
from pydantic import AfterValidator, Field, PlainValidator, ValidationInfo, model_validator
from pydantic_core import from_json

from ehrmem_widgets.blackbox.protocol import LEAST_LOG_PROBABILITY, BlackBox, Query, SlotIds, next_code_probabilities
from ehrmem_widgets.checked import Declared, checked, expected, within
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.settings import Whole, shown

_MOST_WATCHED = 2**28  # numbers of the codes times the lists
_MOST_ROWS = 16_384  # continuations of one request
_MOST_NUMBERS, _MOST_AT_ONCE = 2**27, 2**22  # codes and probabilities in the answer to one request: streamed, or whole
Part = tuple[np.ndarray, np.ndarray | None, np.ndarray]
"""A request's part of a ``Step``: codes, mass and log weight."""


class LogProbabilities(TypedDict, total=False):
    """What a choice shows for each of its codes; a code is named ``token_id:7``."""

    tokens: list[str]
    token_logprobs: list[float]
    top_logprobs: list[dict[str, float] | None]


class AboutPrompt(TypedDict, total=False):
    """What is said of each code of a prompt, null for the first."""

    prompt_logprobs: list[object]  # {code: {"logprob": number}}
    prompt_moments: list[list[float] | None]


class Choice(AboutPrompt, total=False):
    """One continuation in an answer, or what a chunk adds to it. One that a server sent is not known to have these types."""

    index: Required[int]
    text: str
    token_ids: list[int]
    finish_reason: str | None
    stop_reason: int
    log_weight: float
    watch_mass: list[list[float]]
    logprobs: LogProbabilities | None


class RefusedError(Exception):
    """A request that is not answered with an HTTP status of its own; one whose fields are wrong raises ``BadInput`` (400). ``after``: in how many
    seconds it may be asked again (429)."""

    def __init__(self, words: str, status: int, after: float | None = None) -> None:
        super().__init__(words)
        self.status, self.after = status, after


@dataclass(frozen=True)
class CompletionRequest:
    """A request for completions, checked."""

    prompts: list[SlotIds]
    samples: int
    horizon: int
    seed: int
    stream: bool
    interval: int  # steps in one chunk of a stream
    track: np.ndarray | None
    banned: np.ndarray | None
    stops: frozenset[int]
    shown: int | None  # how many of the likeliest codes are shown at each step, -1 for all
    shown_ids: list[int] | None
    about_prompt: str | None  # "scores", "whole" or "moments"
    open_places: bool
    kind: tuple[object, ...]  # requests of one kind can be sampled together

    @property
    def rows(self) -> int:
        """How many continuations."""
        return len(self.prompts) * self.samples


def read_request(body: bytes, model: BlackBox) -> CompletionRequest:
    """A request's fields. Raises BadInput, and ``RefusedError`` for another model."""
    size = len(model.vocabulary)
    given = {name: value for name, value in read_object(body, model).items() if value is not None}
    fields = checked(_Fields, given, context=size)
    longest = max(map(len, fields.prompt))
    if longest + fields.max_tokens > model.context_length:
        raise BadInput(
            f"A prompt of {longest:,} codes and max_tokens = {fields.max_tokens:,} are more than the model's context of "
            f"{model.context_length:,} codes."
        )
    track = fields.watch_token_ids if fields.logprobs is None else np.eye(size, dtype=np.float32)
    if fields.about_prompt == "scores" and Query.SCORES not in model.answers:
        raise BadInput(f"The model {model.name!r} gives no log-probabilities.")
    whole = track is not None or fields.about_prompt in ("whole", "moments")
    if whole and Query.PROBABILITIES not in model.answers:
        raise BadInput(f"The model {model.name!r} gives no probabilities.")
    _check_size(fields, 0 if track is None else track.shape[1], size)
    masks = json.dumps([given.get(name) for name in ("watch_token_ids", "allowed_token_ids", "logit_bias")])
    shown = fields.logprobs is not None
    return CompletionRequest(
        prompts=fields.prompt,
        samples=fields.n,
        horizon=fields.max_tokens,
        seed=fields.seed,
        stream=fields.stream,
        interval=fields.stream_interval,
        track=track,
        banned=_banned(fields.allowed_token_ids, fields.logit_bias, size),
        stops=frozenset(fields.stop_token_ids),
        shown=fields.logprobs,
        shown_ids=fields.logprob_token_ids,
        about_prompt=fields.about_prompt,
        open_places=any(fields.open_places),
        kind=(fields.max_tokens, fields.n, fields.seed, fields.open_places, shown, masks),
    )


def _check_size(fields: _Fields, watched: int, size: int) -> None:
    """Raise BadInput for a request whose answer would not fit. ``watched``: probabilities beside each code."""
    about = sum(map(len, fields.prompt)) * size if fields.about_prompt == "whole" else 0
    numbers = len(fields.prompt) * fields.n * fields.max_tokens * (1 + watched) + about
    most = _MOST_NUMBERS if fields.stream else _MOST_AT_ONCE
    if numbers > most:
        raise BadInput(
            f"The answer would hold {numbers:,} codes and probabilities ({len(fields.prompt):,} prompts, n = {fields.n:,}, max_tokens = "
            f"{fields.max_tokens:,}, {watched:,} lists watched); at most {most:,} in one {'stream' if fields.stream else 'answer'}. Ask for less at "
            f"once{'' if fields.stream else ', or stream'}."
        )


def read_object(body: bytes, model: BlackBox) -> dict[str, object]:
    """The JSON object in a request's body, which names this model or none. Raises BadInput, and ``RefusedError`` for another model."""
    try:
        given = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise BadInput(f"The request must be a JSON object: {error}.") from None
    if not isinstance(given, dict):
        raise BadInput("The request must be a JSON object.")
    if given.get("model") not in (None, model.name):
        raise RefusedError(f"There is no model {shown(given['model'])} here, only {model.name!r}.", 404)
    return given


def read_embedding_request(body: bytes, model: BlackBox) -> list[list[int]]:
    """The ids of each prompt that is to be embedded. Raises BadInput, and ``RefusedError`` for another model."""
    given = {name: value for name, value in read_object(body, model).items() if value is not None}
    prompts = checked(_EmbeddingFields, given, context=len(model.vocabulary)).input
    if any(len(place) > 1 for prompt in prompts for place in prompt):
        raise BadInput("An embedding is of exact codes: no place may be open.")
    return [[code for [code] in prompt] for prompt in prompts]


def read_prompts(given: object, size: int) -> list[SlotIds]:
    """One prompt (ids) or several (lists of ids); a place may be a list of ids, too, but for the first. Raises BadInput."""

    def is_place(value: object) -> bool:
        return _is_id(value, size) or (bool(value) and _are_ids(value, size))

    def is_prompt(value: object) -> bool:
        return isinstance(value, list) and bool(value) and _is_id(value[0], size) and all(map(is_place, value))

    prompts = [given] if is_prompt(given) else given
    if not isinstance(prompts, list) or not prompts or not all(map(is_prompt, prompts)):
        raise BadInput(
            f"A prompt must be a list of code ids, each from 0 to {size - 1:,}, or a list of such prompts. This server works "
            "by code ids, not by text."
        )
    return [[place if isinstance(place, list) else [place] for place in prompt] for prompt in prompts]


def _is_id(value: object, size: int) -> bool:
    """Whether this is the id of one of ``size`` codes (True is not 1 here)."""
    return type(value) is int and 0 <= value < size


def _are_ids(value: object, size: int) -> bool:
    return isinstance(value, list) and all(_is_id(code, size) for code in value)


def _ids(given: object, size: int) -> object:
    if not _are_ids(given, size):
        raise expected(f"a list of code ids, each from 0 to {size - 1:,}")
    return given


def _watch(given: object, size: int) -> np.ndarray:
    if not isinstance(given, list) or not all(_are_ids(ids, size) for ids in given):
        raise expected(f"lists of code ids, each from 0 to {size - 1:,}")
    if len(given) * size > _MOST_WATCHED:
        raise expected(f"at most {_MOST_WATCHED // size:,} lists of code ids")
    track = np.zeros((size, len(given)), dtype=bool)
    for group, ids in enumerate(given):
        track[ids, group] = True
    return track


def _forbidden(given: object, size: int) -> list[int]:
    ids = {str(code): code for code in range(size)}
    if not isinstance(given, dict) or any(
        code not in ids or type(value) not in (int, float) or value > -100 for code, value in given.items()
    ):
        raise expected(f"code ids from 0 to {size - 1:,} with the value -100, which forbids them")
    return [ids[code] for code in given]


def _read_by(read: Callable[[object, int], object]) -> PlainValidator:
    """A field that is read with the number of the model's codes."""
    return PlainValidator(lambda given, info: read(given, info.context))


def _only(*neutral: object) -> AfterValidator:
    """A field that would change the distribution or the answer, but for these values."""

    def check(given: object, info: ValidationInfo) -> object:
        if given not in neutral:
            raise BadInput(
                f"{info.field_name} = {shown(given)} is not offered: this server samples from the model's own distribution only."
            )
        return given

    return AfterValidator(check)


_Ids = Annotated[list[int], _read_by(_ids)]


class _EmbeddingFields(Declared):
    what = "request"
    input: Annotated[list[SlotIds], _read_by(read_prompts), Field(validate_default=True)] = []
    model: object = None
    user: object = None
    encoding_format: Annotated[str, _only("float")] = "float"


class _Fields(Declared):
    """What a request may say; the context of its check is how many codes the model has."""

    what = "request"
    prompt: Annotated[list[SlotIds], _read_by(read_prompts), Field(validate_default=True)] = []
    n: Annotated[int, within(Whole(1, _MOST_ROWS, 1))] = 1
    max_tokens: Annotated[int, within(Whole(0, 2**31, 16))] = 16
    seed: Annotated[int, within(Whole(0, 2**63 - 1, 0))] = Field(default_factory=lambda: secrets.randbits(62))
    stream: bool = False
    stream_interval: Annotated[int, within(Whole(1, 2**31, 1))] = 1
    logprobs: Annotated[int, within(Whole(-1, 2**31, 5))] | None = None
    logprob_token_ids: _Ids | None = None
    prompt_logprobs: Annotated[int, within(Whole(-1, 0, 0))] | None = None
    prompt_moments: bool = False
    stop_token_ids: _Ids = []
    allowed_token_ids: _Ids | None = None
    logit_bias: Annotated[list[int], _read_by(_forbidden)] = []
    watch_token_ids: Annotated[np.ndarray, _read_by(_watch)] | None = None

    temperature: Annotated[float, _only(1)] = 1
    top_p: Annotated[float, _only(1)] = 1
    top_k: Annotated[int, _only(0, -1)] = -1
    min_p: Annotated[float, _only(0)] = 0
    repetition_penalty: Annotated[float, _only(1)] = 1
    presence_penalty: Annotated[float, _only(0)] = 0
    frequency_penalty: Annotated[float, _only(0)] = 0
    min_tokens: Annotated[int, _only(0)] = 0
    echo: Annotated[bool, _only(False)] = False
    best_of: Annotated[int, _only(1)] = 1
    stop: Annotated[object, _only([], "")] = ""
    suffix: Annotated[str, _only("")] = ""
    use_beam_search: Annotated[bool, _only(False)] = False
    include_stop_str_in_output: Annotated[bool, _only(False)] = False
    length_penalty: Annotated[float, _only(1)] = 1
    bad_words: Annotated[list[object], _only([])] = []

    # These change no number.
    model: object = None
    user: object = None
    ignore_eos: object = None
    return_token_ids: object = None
    return_tokens_as_token_ids: object = None
    stream_options: object = None
    skip_special_tokens: object = None
    spaces_between_special_tokens: object = None
    add_special_tokens: object = None
    detokenize: object = None
    priority: object = None
    request_id: object = None
    metadata: object = None

    @property
    def about_prompt(self) -> str | None:
        return "moments" if self.prompt_moments else {None: None, 0: "scores", -1: "whole"}[self.prompt_logprobs]

    @property
    def open_places(self) -> tuple[int, ...]:
        """How many codes stand from the first open place of a prompt to its end, of each kind of prompt."""
        firsts = ((next((i for i, slot in enumerate(p) if len(slot) > 1), len(p)), len(p)) for p in self.prompt)
        return tuple(sorted({end - first for first, end in firsts}))

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if len(self.prompt) * self.n > _MOST_ROWS:
            raise BadInput(
                f"{len(self.prompt):,} prompts x {self.n:,} continuations; at most {_MOST_ROWS:,} in one request."
            )
        if self.logprob_token_ids is not None and self.logprobs is None:
            raise BadInput("logprob_token_ids needs logprobs to be set, as in vLLM.")
        if self.about_prompt and (self.stream or any(self.open_places)):
            raise BadInput("What is asked about a prompt is not streamed, and needs a prompt without open places.")
        if not self.max_tokens and not self.about_prompt:
            raise BadInput("max_tokens = 0 asks for nothing: give 1 or more, or prompt_logprobs.")
        if self.watch_token_ids is not None and self.logprobs is not None:
            raise BadInput("Ask for watch_token_ids or for logprobs, not for both.")
        return self


def _banned(allowed: list[int] | None, forbidden: list[int], size: int) -> np.ndarray | None:
    banned = np.zeros(size, dtype=bool)
    if allowed is not None:
        banned[:] = True
        banned[allowed] = False
    banned[forbidden] = True
    if banned.all():
        raise BadInput("Every code is forbidden, so nothing can be sampled.")
    return banned if banned.any() else None


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

    def choices(self, steps: Sequence[Part]) -> list[Choice]:
        """What the next steps add to each continuation that goes on."""
        found: dict[int, Choice] = {}
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

    def _log_probabilities(self, code: int, probabilities: np.ndarray) -> LogProbabilities:
        shown = self._request.shown_ids
        if shown is None:
            count = len(probabilities) if self._request.shown == -1 else self._request.shown
            shown = np.argsort(-probabilities, kind="stable")[:count].tolist()
        with np.errstate(divide="ignore"):
            log = np.log(probabilities[[code, *shown]]).clip(LEAST_LOG_PROBABILITY).tolist()
        named = dict(zip((f"token_id:{i}" for i in (code, *shown)), log, strict=True))
        return {"tokens": [f"token_id:{code}"], "token_logprobs": log[:1], "top_logprobs": [named]}


def append(choice: Any, new: Mapping[str, object]) -> None:
    """Add to a choice, or to a dictionary inside one, what comes next: lists go on, the rest is replaced."""
    for name, value in new.items():
        if isinstance(value, list):
            choice.setdefault(name, []).extend(value)
        elif isinstance(value, dict):
            append(choice.setdefault(name, {}), value)
        else:
            choice[name] = value


def about_prompts(model: BlackBox, request: CompletionRequest) -> list[AboutPrompt]:
    """For each prompt ``prompt_logprobs`` or ``prompt_moments``; of its first code there is nothing to say."""
    sequences = [[code for [code] in prompt] for prompt in request.prompts]
    if request.about_prompt == "moments":
        return [
            {"prompt_moments": [None, *moments.clip(LEAST_LOG_PROBABILITY).tolist()]}
            for moments in model.score_moments(sequences)
        ]
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
    likely = next_code_probabilities(model, [sequence[:end] for end in range(1, len(sequence))])
    with np.errstate(divide="ignore"):
        return [dict(enumerate(row.tolist())) for row in np.log(likely)]
