"""A model behind an address on this computer, by the protocol of ``completions``. One thread owns the model."""

from __future__ import annotations

import asyncio
import hmac
import json
import math
import queue
import secrets
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Generic, NamedTuple, TypeVar, cast

import numpy as np
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler, stream_request_body

from ehrmem_widgets.blackbox.completions import (
    Choice,
    CompletionRequest,
    Continuations,
    Part,
    RefusedError,
    about_prompts,
    append,
    read_embedding_request,
    read_request,
)
from ehrmem_widgets.blackbox.protocol import BlackBox, Query
from ehrmem_widgets.errors import BadInput, CannotAnswer, EhrmemError
from ehrmem_widgets.settings import shown
from ehrmem_widgets.terminal import say

HOST = "127.0.0.1"
_HOSTS = (
    HOST,
    "localhost",
)  # under another name a page of the web asks, whose name was made to lead here (DNS rebinding)
_ROWS_AT_ONCE = 1024  # continuations that are sampled together
_LARGEST_BODY = 8 * 2**20  # read within a tenth of a second, in which nobody else is heard
_LARGEST_HEADERS = 2**14
_MAX_CONNECTIONS = 256
_HEADERS_WITHIN = 10.0  # seconds, for all of them; a connection may be idle as long
_BODY_WITHIN = 60.0  # for all of it
_TAKEN_WITHIN = 600.0  # for an answer, or a part of a stream, to leave
Answer = TypeVar("Answer")


class Served(NamedTuple):
    """Where a model answers, and the token that it asks for."""

    address: str
    token: str


class Budget:
    """At most ``most`` continuations, scored records and embeddings in so many ``seconds``: as many at once, and regained evenly. A request is
    answered while any is left, and what it takes beyond that is owed."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.most, self.seconds, self._clock = most, seconds, clock
        self.left, self._at = float(most), clock()

    def take(self, number: int) -> None:
        """Raises RefusedError (429), which says when to ask again, where none is left."""
        now = self._clock()
        self.left, self._at = min(self.most, self.left + (now - self._at) * self.most / self.seconds), now
        if self.left < 1:
            after = math.ceil((1 - self.left) * self.seconds / self.most)
            raise RefusedError(
                f"This server gives {self.most:,} continuations, scored records and embeddings in {self.seconds:,.0f} seconds, and has given them. Ask "
                f"again in {after:,} seconds.", 429, after,
            )  # fmt: skip
        self.left -= number


def budgets(per_minute: int | None, per_day: int | None) -> list[Budget]:
    """Those that were asked for."""
    return [Budget(most, seconds) for most, seconds in ((per_minute, 60.0), (per_day, 86_400.0)) if most]


def serve(model: BlackBox, port: int | None = None, limits: Sequence[Budget] = ()) -> None:
    """Serve the model until Ctrl-C, and say where. Raises BadInput when the port is taken."""
    with serve_model(model, port=port, limits=limits) as (address, token):
        say(
            f"The model {model.name!r} answers at\n\n    address  {address}\n    token    {token}\n\n"
            "To ask it: set EHRMEM_ENDPOINT_TOKEN to the token (and EHRMEM_EMBEDDINGS to the address, for nearest records), and name\n"
            "the address with --model and the model's list of codes with --vocabulary.\n\n"
            "On this computer only. Keep this window open while you work; Ctrl-C here ends it.",
        )
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            say("Ended.")


@contextmanager
def serve_model(
    model: BlackBox, *, port: int | None = None, token: str | None = None, limits: Sequence[Budget] = ()
) -> Iterator[Served]:
    """Serve a model from this process, on this computer only, for as long as the context lasts.

    ``port`` and ``token``: a free port and a random token if not given. ``limits``: how much may be asked. Requests are answered one after the other; those that
    wait and ask for the same kind of continuations are sampled together. Nothing about a request is logged.
    """
    if model.vocabulary.timed:
        raise BadInput(
            f"The model {model.name!r} is told the age beside each code, and this protocol carries codes alone: it cannot be served. Name its "
            "folder with --model where it is to be asked."
        )
    try:
        if not 0 <= (port or 0) < 2**16:
            raise OSError("ports are numbered to 65,535")
        [listening] = bind_sockets(port or 0, HOST)
    except OSError as error:
        raise BadInput(
            f"The model cannot be served on port {port} ({error}). Give another one, or none and a free one is found."
        ) from None
    token = token or secrets.token_hex(24)
    worker = _Worker(model)
    loop, stop, started = asyncio.new_event_loop(), asyncio.Event(), threading.Event()

    async def run() -> None:
        server = _Server(
            _application(model, worker, token, limits),
            max_header_size=_LARGEST_HEADERS,
            max_body_size=_LARGEST_BODY,
            idle_connection_timeout=_HEADERS_WITHIN,
            body_timeout=_BODY_WITHIN,
        )
        server.add_socket(listening)
        started.set()
        await stop.wait()
        server.stop()
        await server.close_all_connections()

    def work() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(run())

    thread = threading.Thread(target=work, name="ehrmem serve", daemon=True)
    thread.start()
    started.wait()
    try:
        yield Served(f"http://{HOST}:{listening.getsockname()[1]}", token)
    finally:
        worker.close()
        loop.call_soon_threadsafe(stop.set)
        thread.join()


class _Server(HTTPServer):
    """Closes a connection at once where too many are open."""

    _open = 0

    def handle_stream(self, stream: IOStream, address: tuple[object, ...]) -> None:
        if self._open >= _MAX_CONNECTIONS:
            stream.close()
            return
        self._open += 1
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        self._open -= 1
        super().on_close(server_conn)


@dataclass(eq=False)
class _Sampling:
    """A request for continuations. ``hear`` is called with its part of each Step, then with None, or with an exception."""

    request: CompletionRequest
    hear: Callable[[Part | Exception | None], object]
    given_up: bool = False


@dataclass(eq=False)
class _Question(Generic[Answer]):
    """Anything else. ``hear`` is called with the answer, or with an exception."""

    answer: Callable[[], Answer]
    hear: Callable[[Answer | Exception], object]
    given_up: bool = False


_Job = _Sampling | _Question[Any]  # questions of all kinds wait in one queue


class _Worker:
    """The thread that owns the model."""

    def __init__(self, model: BlackBox) -> None:
        self._model = model
        self._asked: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="ehrmem model", daemon=True)
        self._thread.start()

    def submit(self, job: _Job) -> None:
        self._asked.put(job)

    def close(self) -> None:
        """Give up what is under way."""
        self._closed = True
        self._asked.put(None)
        self._thread.join()

    def _work(self) -> None:
        waiting: list[_Job | None] = []
        while not self._closed:
            if not waiting:
                waiting.append(self._asked.get())
            while not self._asked.empty():
                waiting.append(self._asked.get())
            job = waiting.pop(0)
            if isinstance(job, _Sampling):
                together = [job]
                for other in [one for one in waiting if isinstance(one, _Sampling)]:
                    rows = sum(one.request.rows for one in together) + other.request.rows
                    if other.request.kind == job.request.kind and rows <= _ROWS_AT_ONCE:
                        together.append(other)
                        waiting.remove(other)
                self._sample(together)
            elif job is not None and not job.given_up:  # who asks again must not find his own question before him
                try:
                    job.hear(job.answer())
                except Exception as error:
                    job.hear(error)

    def _sample(self, jobs: list[_Sampling]) -> None:
        """An answer about a prompt does not depend on the others, nor on whether its request came with theirs."""
        prompts, request = [prompt for job in jobs for prompt in job.request.prompts], jobs[0].request
        try:
            for step in self._model.generate(
                prompts, request.horizon, request.samples, track=request.track, banned=request.banned, seed=request.seed
            ):
                if self._closed or all(job.given_up for job in jobs):
                    break
                start, mass = 0, step.mass
                if mass is not None:
                    mass = np.broadcast_to(mass, (*step.codes.shape, mass.shape[-1]))
                for job in jobs:
                    rows = slice(start, start := start + len(job.request.prompts))
                    job.hear((step.codes[rows], None if mass is None else mass[rows], step.log_weight[rows]))
        except Exception as error:
            for job in jobs:
                job.hear(error)
        else:
            for job in jobs:
                job.hear(None)


@stream_request_body
class _Handler(RequestHandler):
    """The bearer token (before anything of a body is read), errors in OpenAI's form, and the way to the model's thread."""

    _job: _Job | None = None

    def initialize(self, model: BlackBox, worker: _Worker, token: str, limits: Sequence[Budget]) -> None:
        self.model, self.worker, self.token, self.limits = model, worker, token, limits
        self.body = bytearray()

    def prepare(self) -> None:
        if self.request.host_name not in _HOSTS:
            raise RefusedError(f"This server answers under the names {' and '.join(_HOSTS)} only.", 403)
        self.check_token()
        length = self.request.headers.get("Content-Length", "")
        if length.isdecimal() and (len(length) > 18 or int(length) > _LARGEST_BODY):
            raise BadInput(f"A request may have at most {_LARGEST_BODY // 2**20} MB.")

    def take(self, number: int) -> None:
        """Of all limits, before the model is asked."""
        for limit in self.limits:
            limit.take(number)

    def check_token(self) -> None:
        given = self.request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {self.token}".encode()):
            raise RefusedError("This server asks for its token: Authorization: Bearer TOKEN.", 401)

    def data_received(self, chunk: bytes) -> None:
        self.body += chunk

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self.on_finish()

    def on_finish(self) -> None:
        """Nobody listens any more: heard of here, or when the connection closes."""
        if self._job is not None:
            self._job.given_up = True

    async def hand_over(self, leaving: Awaitable[None]) -> None:
        """Wait until what was written has left; close the connection of somebody who does not take it."""
        try:
            await asyncio.wait_for(leaving, _TAKEN_WITHIN)
        except TimeoutError:
            cast("HTTP1Connection", self.request.connection).close()
            raise StreamClosedError() from None

    def write_error(
        self, status_code: int, **details: tuple[type[BaseException], BaseException, TracebackType]
    ) -> None:
        self.set_status(self._status(details["exc_info"][1], status_code))
        if (after := getattr(details["exc_info"][1], "after", None)) is not None:
            self.set_header("Retry-After", f"{after:.0f}")
        self.set_header("Connection", "close")  # as happens where the rest of a request is left unread
        self.finish(self._in_words(details["exc_info"][1]))

    def log_exception(
        self, typ: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None
    ) -> None:
        if not isinstance(value, RefusedError | EhrmemError | HTTPError | StreamClosedError):
            super().log_exception(typ, value, tb)

    def _status(self, error: BaseException | None, otherwise: int) -> int:
        return 400 if isinstance(error, BadInput | CannotAnswer) else getattr(error, "status", otherwise)

    def _in_words(self, error: BaseException | None) -> dict[str, object]:
        words = "The model failed; the server's own window says why."
        if isinstance(error, RefusedError | EhrmemError):
            words = str(error)
        elif isinstance(error, HTTPError):
            words = f"{shown(self.request.method)} {shown(self.request.path)} is not offered here."
        return {"error": {"message": words, "code": self._status(error, self.get_status())}}

    async def ask(self, question: Callable[[], Answer]) -> Answer:
        """Have the model's thread answer."""
        loop, told = asyncio.get_running_loop(), asyncio.Queue[Answer | Exception]()
        self._job = _Question(question, lambda answer: loop.call_soon_threadsafe(told.put_nowait, answer))
        self.worker.submit(self._job)
        answer = await told.get()
        if isinstance(answer, Exception):
            raise answer
        return answer


class _Health(_Handler):
    def check_token(self) -> None:
        """Whether it runs may be known to all on this computer."""

    def get(self) -> None:
        self.finish({})


class _Unknown(_Handler):
    def prepare(self) -> None:
        super().prepare()
        raise HTTPError(404)


class _Models(_Handler):
    def get(self) -> None:
        model = self.model
        about = {"id": model.name, "object": "model", "owned_by": "ehrmem", "max_model_len": model.context_length}
        if hidden := str(getattr(model, "output_filter", "")):
            about["output_filter"] = hidden
        self.finish({"object": "list", "data": [{**about, "fingerprint": model.fingerprint, "ehrmem": 1}]})


class _Embeddings(_Handler):
    async def post(self) -> None:
        model = self.model
        if Query.EMBEDDINGS not in model.answers:
            raise RefusedError(f"The model {model.name!r} gives no embeddings.", 404)
        prompts = await asyncio.to_thread(read_embedding_request, bytes(self.body), model)
        self.take(len(prompts))
        found = await self.ask(lambda: model.embed(prompts))
        data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(found.tolist())]
        await self.hand_over(self.finish({"object": "list", "model": model.name, "data": data}))


class _Completions(_Handler):
    async def post(self) -> None:
        model = self.model
        request = await asyncio.to_thread(read_request, bytes(self.body), model)
        self.take(request.rows)
        writer = Continuations(request, {model.vocabulary.id(code) for code in model.vocabulary.stops})
        if request.stream:
            await self._stream(request, writer)
            return
        choices: list[Choice] = [{"index": i, "text": "", "token_ids": []} for i in range(request.rows)]
        if request.about_prompt:
            about = await self.ask(partial(about_prompts, model, request))
            for i, choice in enumerate(choices):
                choice |= about[i // request.samples]
        if request.horizon:
            async for steps in self._steps(request, writer):
                for new in writer.choices(steps):
                    append(choices[new["index"]], new)
        self.set_header("Content-Type", "application/json")
        await self.hand_over(self.finish(_json({"object": "text_completion", "model": model.name, "choices": choices})))

    async def _stream(self, request: CompletionRequest, writer: Continuations) -> None:
        self.set_header("Content-Type", "text/event-stream")
        started = False
        try:
            async for steps in self._steps(request, writer):
                part = {"object": "text_completion", "model": self.model.name, "choices": writer.choices(steps)}
                self.write(b"data: " + _json(part) + b"\n\n")
                started = True
                await self.hand_over(self.flush())
        except StreamClosedError:
            return
        except Exception as error:
            if not started:
                raise
            self.log_exception(type(error), error, error.__traceback__)
            self.write(b"data: " + _json(self._in_words(error)) + b"\n\n")
        self.finish(b"data: [DONE]\n\n")

    async def _steps(self, request: CompletionRequest, writer: Continuations) -> AsyncIterator[list[Part]]:
        """The steps of the continuations as they come, as many at a time as were asked for."""
        loop, told = asyncio.get_running_loop(), asyncio.Queue[Part | Exception | None]()
        self._job = _Sampling(request, lambda step: loop.call_soon_threadsafe(told.put_nowait, step))
        self.worker.submit(self._job)
        steps: list[Part] = []
        while (step := await told.get()) is not None:
            if isinstance(step, Exception):
                raise step
            steps.append(step)
            if len(steps) == request.interval:
                yield steps
                steps = []
                await asyncio.sleep(0)  # a model faster than its listener would never let the loop see that he left
                if writer.all_ended:  # at stop codes of the request's own, where the model would go on
                    self._job.given_up = True
                    return
        if steps:
            yield steps


def _application(model: BlackBox, worker: _Worker, token: str, limits: Sequence[Budget]) -> Application:
    given = {"model": model, "worker": worker, "token": token, "limits": limits}
    return Application(
        [
            ("/health", _Health, given),
            ("/v1/models", _Models, given),
            ("/v1/completions", _Completions, given),
            ("/v1/embeddings", _Embeddings, given),
        ],
        default_handler_class=_Unknown,
        default_handler_args=given,
        log_function=lambda handler: None,
    )


def _json(content: object) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
