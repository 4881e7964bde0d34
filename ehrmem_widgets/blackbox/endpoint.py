"""A model behind an address as a black box: an OpenAI-compatible ``/v1/completions`` that works by code ids.

Measured on vLLM 0.32 (``--skip-tokenizer-init --max-logprobs -1``, see tests/blackbox/test_vllm.py) and on ``ehrmem serve``,
whose own fields (``completions``) are used where ``/v1/models`` says that they are understood. vLLM lists the probabilities of
at most 128 codes a step; to watch more it must send the whole distribution, which took it thirty times as long (5,000 codes).
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import math
import queue
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ehrmem_widgets.blackbox.answers import (
    COMPLETIONS,
    PLAIN,
    all_of,
    choices,
    complete,
    find_out,
    first_of,
    in_batches,
    log_probability,
    mask,
    numbers,
    places,
    served_model,
    shown_log_probabilities,
)
from ehrmem_widgets.blackbox.protocol import (
    LEAST_LOG_PROBABILITY,
    Query,
    SlotIds,
    Step,
    slot_uniforms,
    split_prompts,
    within_context,
)
from ehrmem_widgets.blackbox.transport import JsonObject, PassingError, Server
from ehrmem_widgets.errors import BadInput, CannotAnswer, EhrmemError
from ehrmem_widgets.tokens.vocabulary import Vocabulary

if TYPE_CHECKING:
    from ehrmem_widgets.blackbox.completions import Choice

_MOST_LISTED = 128  # vLLM's bound on logprob_token_ids
_SAMPLES_A_REQUEST = 1024
_SAID = 300  # characters of what a server says that it hides
_STEPS_A_CHUNK = 8  # of a stream: fewer, larger chunks cost both sides less
_Prompt = Sequence[int | list[int]]  # as it is sent: a list is an open place


class EndpointModel:
    """A model that answers at an address.

    ``vocabulary``: what the model's ids stand for, in full. ``served_name`` and ``context_length``: asked of the server if not
    given. ``embeddings``: the address of the server that gives embeddings (vLLM needs a second one); the model gives none if
    not given. ``token``: for both. ``timeout``: seconds without any answer. ``retries``: how often a request is asked again
    after 429, a failure of the server (5xx), a timeout or a broken connection, each time after a longer wait, or as long as
    the server says. ``sleep``: what waits. ``training_split``: the split of the data set whose patients it was trained on.

    ``answers`` is what the server was found to answer at opening; ``notes`` says, a sentence each, what it does not and what
    would help; ``output_filter`` is what the server says that it hides, in its own words. Without PROBABILITIES a Step's ``mass`` is None. A server other than ``ehrmem serve`` generates at least one
    code even when it only scores, so the last place of its context is kept free.

    Raises
    ------
    BadInput
        When no model answers there by code ids, or the vocabulary does not fit it; and from every method when the server answers
        what would mean nothing.
    CannotAnswer
        From every method, for what is not among ``answers`` and what the server refuses.
    Unavailable
        When the server does not answer after all retries, or no longer as the one that was opened.

    """

    def __init__(
        self,
        address: str,
        vocabulary: Vocabulary,
        *,
        served_name: str | None = None,
        context_length: int | None = None,
        embeddings: str | None = None,
        token: str | None = None,
        concurrency: int = 16,
        timeout: float = 60.0,
        retries: int = 5,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        training_split: str | None = None,
    ) -> None:
        self.training_split = training_split
        if concurrency < 1 or retries < 0 or not timeout > 0:
            raise BadInput("Give a concurrency of 1 or more, 0 or more retries and a timeout above 0 seconds.")

        def server(at: str) -> Server:
            return Server(at, token=token, concurrency=concurrency, timeout=timeout, retries=retries, sleep=sleep)

        self._server = server(address)
        self._embedder: Server | None = None
        try:
            about = self._server.wait_for(served_model(self._server, served_name))
            self._served = str(about["id"])
            self.name = self._served.rstrip("/").rpartition("/")[2]  # vLLM's is a path on its computer
            self._ours = about.get("ehrmem") == 1
            self.context_length = _context(about, context_length) - (not self._ours)
            found = self._server.wait_for(find_out(self._server, self._served, len(vocabulary), ours=self._ours))
            self.answers, self.notes = found.answers, found.notes
            hidden = about.get("output_filter")
            self.output_filter = hidden[:_SAID] if isinstance(hidden, str) else ""
            self._mask_field, self._listed = found.mask_field, found.listed
            self.vocabulary = vocabulary.widened(found.width or 0)
            self._stops = frozenset(vocabulary.id(code) for code in vocabulary.stops)
            if embeddings is not None:
                self._embedder = server(embeddings)
                self._embedding_name = self._embedder.wait_for(served_model(self._embedder, None))["id"]
                self.embed([[0]])
                self.answers |= {Query.EMBEDDINGS}
        except BaseException:
            self.close()
            raise
        for one in (self._server, self._embedder):
            if one is not None:
                one.found_right = True
        identity = [self._server.address, embeddings, self._served, about.get("fingerprint"), vocabulary.identity]
        self.fingerprint = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"EndpointModel({self.name!r} at {self._server.address}: {len(self.vocabulary):,} codes)"

    def close(self) -> None:
        """Close the connections."""
        for server in (self._server, self._embedder):
            if server is not None:
                server.close()

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
        """As ``BlackBox.generate``; stops early when the context is full or every continuation has ended.

        The same seed gives the same continuations as far as the server keeps to seeds; those of ``ehrmem serve`` are the very
        ones that its model gives in its own process.
        """
        for prompt in prompts:
            split_prompts([prompt])  # refuses empty slots and an open first place
            self._check_ids(code for slot in prompt for code in slot)
        horizon, seed = int(within_context(prompts, horizon, self.context_length)), int(seed)
        fields: dict[str, object] = {"stop_token_ids": sorted(self._stops)}
        groups = None
        if track is not None and Query.PROBABILITIES in self.answers:
            groups = [np.flatnonzero(column).tolist() for column in np.asarray(track).T]
            fields |= {"watch_token_ids": groups} if self._ours else self._shown(sorted(set().union(*groups)))
        if banned is not None and np.any(banned):
            if self._mask_field is None:
                raise CannotAnswer(f"The server at {self._server.address} does not let codes be left out of sampling.")
            fields |= mask(self._mask_field, banned, len(self.vocabulary))
        arriving = _Arriving((len(prompts), samples), horizon, groups, self._stops, len(self.vocabulary))
        asking = self._server.start(self._sample(arriving, prompts, fields, seed))
        asking.add_done_callback(lambda _: arriving.ready.put(None))
        try:
            yield from arriving.steps()
            self._server.result_of(asking)
        finally:
            asking.cancel()

    def score(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """As ``BlackBox.score``; of a sequence longer than the context, its first part."""
        if Query.SCORES not in self.answers:
            raise CannotAnswer(f"The server at {self._server.address} gives no log-probabilities of given codes.")
        return self._server.wait_for(self._scores(self._read(sequences)))

    def score_moments(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """As ``BlackBox.score_moments``; of a sequence longer than the context, its first part. A server other than ``ehrmem
        serve`` sends the whole distribution at each place, which takes it some seconds a sequence."""
        if Query.PROBABILITIES not in self.answers:
            raise CannotAnswer(f"The server at {self._server.address} gives no whole next-code distributions.")
        return self._server.wait_for(self._moments(self._read(sequences)))

    def embed(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        """As ``BlackBox.embed``, from the second address; the first part of a sequence longer than the context."""
        if self._embedder is None:
            raise CannotAnswer("No address was given that embeddings can be asked of.")
        found = self._embedder.wait_for(in_batches(self._read(sequences), self._embeddings))
        return np.stack(found) if found else np.empty((0, 0))

    # Sampling ---------------------------------------------------------------------------------------------------------

    async def _sample(self, arriving: _Arriving, prompts: Sequence[SlotIds], fields: JsonObject, seed: int) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for row, prompt in enumerate(prompts):
                    group.create_task(self._sample_row(arriving, row, prompt, fields, seed))
        except* EhrmemError as errors:
            raise first_of(errors) from None

    async def _sample_row(self, arriving: _Arriving, row: int, prompt: SlotIds, fields: JsonObject, seed: int) -> None:
        samples = arriving.codes.shape[1]
        together: list[tuple[_Prompt, list[int]]]
        if self._ours:
            asked: _Prompt = [int(slot[0]) if len(slot) == 1 else list(map(int, slot)) for slot in prompt]
            together = [(asked, list(range(samples)))]
        else:
            filled, arriving.log_weight[row] = await self._fill(prompt, samples, seed)
            together = [
                (codes, [i for i, mine in enumerate(filled) if mine == codes]) for codes in dict.fromkeys(filled)
            ]
        start = 0
        async with asyncio.TaskGroup() as group:
            for codes, who in together:
                for first in range(0, len(who), _SAMPLES_A_REQUEST):
                    some = who[first : first + _SAMPLES_A_REQUEST]
                    group.create_task(self._ask_for(arriving, row, some, codes, fields, seed, start))
                    start += len(some)

    async def _ask_for(
        self,
        arriving: _Arriving,
        row: int,
        who: list[int],
        prompt: _Prompt,
        fields: JsonObject,
        seed: int,
        start: int,
    ) -> None:
        """Ask for some samples of one prompt until all are there. What broke off is asked on from where it did, with a seed of
        its own; ``ehrmem serve`` repeats itself, so it is asked for the whole."""
        attempts = itertools.count()

        async def ask() -> None:
            attempt, place = next(attempts), start
            for so_far, missing in arriving.missing(row, who, from_the_start=self._ours):
                body = {
                    **fields,
                    "prompt": [*prompt, *so_far],
                    "n": len(missing),
                    "max_tokens": arriving.horizon - len(so_far),
                    "seed": seed if self._ours and start == 0 else _seed(seed, 0 if self._ours else attempt, place),
                    "stream": True,
                    "stream_interval": _STEPS_A_CHUNK,
                }
                taking = _Taking(arriving, row, missing, len(so_far))
                async for chunk in self._server.stream(COMPLETIONS, {"model": self._served, **PLAIN, **body}):
                    taking.take(chunk)
                place += len(missing)
            if arriving.missing(row, who):
                raise PassingError(
                    f"The server at {self._server.address} gave fewer or shorter continuations than it was asked for."
                )

        await self._server.again(ask)

    def _shown(self, ids: list[int]) -> JsonObject:
        """Fields that have the log-probabilities of these codes shown: theirs alone, or else the whole distribution."""
        if not ids:
            return {"logprobs": 0}
        if self._listed and len(ids) <= _MOST_LISTED:
            return {"logprobs": 0, "logprob_token_ids": ids}
        return {"logprobs": -1}

    # Filling open slots -----------------------------------------------------------------------------------------------

    async def _fill(self, prompt: SlotIds, samples: int, seed: int) -> tuple[list[tuple[int, ...]], np.ndarray]:
        """For each sample the prompt with its slots filled from the model restricted to them, and (samples,) log weights."""
        [shared], [slots] = split_prompts([prompt])
        filled, log_weight = [tuple(shared)] * samples, np.zeros(samples)
        if slots and not {Query.SCORES, Query.PROBABILITIES} & self.answers:
            raise CannotAnswer(
                f"The server at {self._server.address} gives no probabilities, so a fact that leaves several codes open cannot "
                "be filled in as the model would. Give exact facts."
            )
        uniforms, place = slot_uniforms(len(slots), samples, seed), 0
        while place < len(slots):
            distinct = list(dict.fromkeys(filled))
            known = tuple(int(slot[0]) for slot in itertools.takewhile(lambda slot: len(slot) == 1, slots[place:]))
            if known and Query.SCORES in self.answers:  # all of them by one question per prefix
                scores = await self._scores([[*prefix, *known] for prefix in distinct])
                weights = {prefix: score[-len(known) :].sum() for prefix, score in zip(distinct, scores, strict=True)}
                log_weight += [weights[codes] for codes in filled]
                filled = [codes + known for codes in filled]
                place += len(known)
                continue
            allowed = sorted(set(map(int, slots[place])))
            logs = dict(zip(distinct, await self._next_code(distinct, allowed), strict=True))
            for sample, codes in enumerate(filled):
                cumulated = np.exp(logs[codes]).cumsum()
                drawn = int((cumulated <= uniforms[place, sample] * cumulated[-1]).sum())
                filled[sample] = (*codes, allowed[min(drawn, len(allowed) - 1)])
                log_weight[sample] += math.log(cumulated[-1]) if cumulated[-1] > 0 else -math.inf
            place += 1
        return filled, log_weight

    async def _next_code(self, prefixes: Sequence[Sequence[int]], ids: list[int]) -> list[np.ndarray]:
        """For each prefix, (ids,) log-probabilities of the next code."""
        if Query.PROBABILITIES not in self.answers:
            scores = await self._scores([[*prefix, code] for prefix in prefixes for code in ids])
            return list(np.reshape([score[-1] for score in scores], (len(prefixes), len(ids))))

        async def ask(prefix: Sequence[int]) -> np.ndarray:
            body = {"prompt": list(prefix), "n": 1, "max_tokens": 1, **self._shown(ids)}
            [choice] = await complete(self._server, self._served, body, 1)
            return shown_log_probabilities(choice, ids)[0]

        return await all_of(ask(prefix) for prefix in prefixes)

    # Scoring ----------------------------------------------------------------------------------------------------------

    async def _scores(self, sequences: list[list[int]]) -> list[np.ndarray]:
        answers = await in_batches(sequences, lambda batch: self._about(batch, {"prompt_logprobs": 0}))
        return [
            _or_impossible(
                numbers([log_probability(there, code) for code, there in zip(s[1:], places(answer, s), strict=True)])
            )
            for s, answer in zip(sequences, answers, strict=True)
        ]

    async def _moments(self, sequences: list[list[int]]) -> list[np.ndarray]:
        if self._ours:
            answers = await in_batches(sequences, lambda batch: self._about(batch, {"prompt_moments": True}))
            return [_or_impossible(numbers(answer["prompt_moments"][1:])).reshape(-1, 3) for answer in answers]

        async def of_one(sequence: list[int]) -> np.ndarray:
            [answer] = await self._about([sequence], {"prompt_logprobs": -1})
            found = []
            for code, there in zip(sequence[1:], places(answer, sequence), strict=True):
                logs = numbers([log_probability(there, i) for i in range(len(self.vocabulary))])
                weights = np.exp(logs)
                mean = weights @ logs
                found.append((logs[code], mean, math.sqrt(weights @ (logs - mean) ** 2)))
            return np.array(found).reshape(-1, 3)

        return [await of_one(sequence) for sequence in sequences]  # one at a time: an answer may fill 100 MB

    async def _about(self, batch: list[list[int]], fields: JsonObject) -> list[Choice]:
        body = {"prompt": batch, "n": 1, "max_tokens": 0 if self._ours else 1, **fields}
        return await complete(self._server, self._served, body, len(batch))

    async def _embeddings(self, batch: list[list[int]]) -> list[np.ndarray]:
        server = self._embedder
        assert server is not None
        body = {"model": self._embedding_name, "input": batch, "encoding_format": "float"}

        async def once() -> list[np.ndarray]:
            answer = await server.post_once("/v1/embeddings", body)
            data = answer.get("data")
            try:
                in_order = sorted(data, key=lambda one: one["index"]) if isinstance(data, list) else []
                found = [one["embedding"] for one in in_order]
            except (LookupError, TypeError):
                found = []
            if len(found) != len(batch):
                raise PassingError(f"The server at {server.address} gave fewer embeddings than it was asked for.")
            vectors = numbers(found)
            return list(vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12))

        return await server.again(once)

    # Checks -----------------------------------------------------------------------------------------------------------

    def _check_ids(self, ids: Iterable[int]) -> None:
        """Some servers die of an id that the model does not have."""
        size = len(self.vocabulary)
        wrong = next((code for code in ids if not 0 <= code < size), None)
        if wrong is not None:
            raise BadInput(f"There is no code number {wrong}: the vocabulary numbers its codes from 0 to {size - 1:,}.")

    def _read(self, sequences: Sequence[Sequence[int]]) -> list[list[int]]:
        for sequence in sequences:
            if len(sequence) == 0:
                raise BadInput("A record without any code cannot be read by a model.")
            self._check_ids(sequence)
        return [[int(code) for code in sequence[: self.context_length]] for sequence in sequences]


class _Arriving:
    """What has arrived of all continuations. The server's thread writes; a step is read once every continuation has it."""

    def __init__(
        self,
        shape: tuple[int, int],
        horizon: int,
        groups: list[list[int]] | None,
        stops: frozenset[int],
        size: int,
    ) -> None:
        self.horizon, self.groups, self.stops, self.size = horizon, groups, stops, size
        self.watched = sorted(set().union(*groups)) if groups else []
        self.codes = np.full((*shape, horizon), -1)
        self.mass = None if groups is None else np.zeros((*shape, horizon, len(groups)), dtype=np.float32)
        self.log_weight = np.zeros(shape)
        self.ready: queue.SimpleQueue[int | None] = queue.SimpleQueue()  # how many steps are whole; None: no more come
        self.length = np.zeros(shape, dtype=int)
        self.ended = np.zeros(shape, dtype=bool)
        self._waiting = np.full(horizon, shape[0] * shape[1])  # continuations that have not reached a step
        self._whole = 0

    def steps(self) -> Iterator[Step]:
        """The steps as they become whole, until every continuation has ended."""
        given = 0
        while given < self.horizon and (whole := self.ready.get()) is not None:
            for step in range(given, whole):
                codes = self.codes[:, :, step].copy()
                if (codes < 0).all():
                    return
                yield Step(codes, None if self.mass is None else self.mass[:, :, step].copy(), self.log_weight)
            given = whole

    def missing(
        self, row: int, who: Sequence[int], *, from_the_start: bool = False
    ) -> list[tuple[tuple[int, ...], list[int]]]:
        """Samples that are not all there, by the codes that they already have."""
        short = [s for s in who if self.length[row, s] < self.horizon and not self.ended[row, s]]
        if from_the_start and short:
            return [((), list(who))]
        found: dict[tuple[int, ...], list[int]] = {}
        for sample in short:
            found.setdefault(tuple(self.codes[row, sample, : self.length[row, sample]].tolist()), []).append(sample)
        return list(found.items())

    def add(self, row: int, sample: int, codes: list[int], mass: np.ndarray | None, ended: bool) -> None:
        """The next codes of one continuation."""
        start = int(self.length[row, sample])
        end = start + len(codes)
        self.codes[row, sample, start:end] = codes
        if self.mass is not None and mass is not None:
            self.mass[row, sample, start:end] = mass
        self.length[row, sample], self.ended[row, sample] = end, ended
        self._waiting[start : None if ended else end] -= 1

    def tell(self) -> None:
        """Say which steps are whole."""
        before = self._whole
        while self._whole < self.horizon and self._waiting[self._whole] == 0:
            self._whole += 1
        if self._whole > before:
            self.ready.put(self._whole)


class _Taking:
    """Reads the chunks that answer one request for some samples of one prompt."""

    def __init__(self, arriving: _Arriving, row: int, who: list[int], length: int) -> None:
        self._all, self._row, self._who = arriving, row, who
        self._told = [length] * len(who)  # codes of each that this answer has been heard to

    def take(self, chunk: JsonObject) -> None:
        """Add what is new."""
        for choice in choices(chunk):
            if 0 <= choice["index"] < len(self._who):
                self._take_choice(choice)
        self._all.tell()

    def _take_choice(self, choice: Choice) -> None:
        arriving, row, place = self._all, self._row, choice["index"]
        sample = self._who[place]
        codes: list[int] = choice.get("token_ids") or []
        for code in codes:
            if type(code) is not int or not 0 <= code < arriving.size:
                raise BadInput(
                    f"The server gave the code number {code!r}, and the vocabulary has numbers 0 to {arriving.size - 1:,}. Give "
                    "the vocabulary that the model was trained with, in full."
                )
        if "log_weight" in choice:
            arriving.log_weight[row, sample] = choice["log_weight"]
        length = int(arriving.length[row, sample])
        known = length - self._told[place]
        self._told[place] += len(codes)
        stop = next((i for i, code in enumerate(codes) if code in arriving.stops), None)
        if not arriving.ended[row, sample] and known < len(codes):
            end = len(codes) if stop is None else stop + 1
            new = slice(known, min(end, known + arriving.horizon - length))
            mass = None if arriving.mass is None else self._mass(choice, len(codes))[new]
            arriving.add(row, sample, codes[new], mass, stop is not None)
        if choice.get("finish_reason") == "stop" and not arriving.ended[row, sample]:
            raise BadInput(
                "The server ended a continuation at a code that is no stop code of the vocabulary"
                f"{f' (number {codes[-1]})' if codes else ''}. Name the model's stop codes in its token scheme file, or have the server "
                "started without stop codes of its own (vLLM: --generation-config vllm)."
            )

    def _mass(self, choice: Choice, length: int) -> np.ndarray:
        """(length, groups)"""
        arriving = self._all
        assert arriving.groups is not None
        if "watch_mass" in choice:
            found = numbers(choice["watch_mass"]).reshape(-1, len(arriving.groups))
        else:
            shown = np.exp(shown_log_probabilities(choice, arriving.watched))
            place = {code: i for i, code in enumerate(arriving.watched)}
            columns = [shown[:, [place[code] for code in group]].sum(axis=1) for group in arriving.groups]
            found = np.stack(columns, axis=1) if columns else np.empty((length, 0))
        if len(found) != length:
            raise BadInput("The server gave probabilities for another number of codes than it gave codes.")
        return found


def _context(about: JsonObject, given: int | None) -> int:
    if given is not None:
        return given
    said = about.get("max_model_len")
    if type(said) is not int:
        raise BadInput(
            f"The server does not say how many codes {about['id']!r} can read at once (max_model_len). Name it as the "
            "context length."
        )
    return said


def _or_impossible(scores: np.ndarray) -> np.ndarray:
    """Minus infinity for what servers write in its place."""
    return np.where(scores <= LEAST_LOG_PROBABILITY, -np.inf, scores)


def _seed(seed: int, attempt: int, start: int) -> int:
    """Servers give the i-th of n continuations the seed + i: seeds that differ by 1 must not give the same ones again."""
    return int(np.random.SeedSequence([seed, attempt]).generate_state(1)[0]) // 4 + start
