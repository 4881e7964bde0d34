"""JSON over HTTP to a model server: retried where that may help, and in words where it does not."""

from __future__ import annotations

import asyncio
import email.utils
import ipaddress
import json
import os
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TypeVar

import httpx
import tenacity

from ehrmem_widgets.errors import BadInput, CannotAnswer, Unavailable

_LONGEST_WAIT = 120.0  # seconds; a server that asks for more is not waited for
_SHOWN = 300  # characters of a server's words
_MOST_ANSWER, _MOST_LINE, _MOST_REFUSAL = (
    512_000_000,
    64_000_000,
    64_000,
)  # bytes: of an answer, a line of a stream, a refusal
_DEADLINE, _SERIES = 30, 60  # times the timeout: for one answer, and for all tries of a question
CLEAR_TEXT = "EHRMEM_CLEAR_TEXT"
"""The environment variable that lets facts go to another computer without encryption."""
Answer = TypeVar("Answer")
JsonObject = Mapping[str, object]
"""What is sent to a server, and what it answers: nothing of it is known to be as it should."""


class RefusedError(BadInput):
    """The server answered, and will answer the same again: an HTTP status of 4xx, or something that is no answer (status 200).
    Known to the server's thread only: ``Server.result_of`` says whose fault it is."""

    def __init__(self, words: str, status: int) -> None:
        super().__init__(words)
        self.status = status


class PassingError(Exception):
    """What may succeed when asked again. ``after``: seconds that the server asks to wait."""

    def __init__(self, words: str, after: float | None = None) -> None:
        super().__init__(words)
        self.after = after


class Server:
    """One address, asked from one thread of its own, at most ``concurrency`` requests at a time.

    ``address`` may end in ``/v1``. Proxies that the environment names are not used: what is asked about patients goes to the
    address given and nowhere else. An answer may come as slowly as ``timeout`` allows from one byte to the next, but is given up after 30 times
    that, all tries of a question after 60 times; it is never unpacked, and is bounded in bytes. ``found_right``: set once the server was seen to answer as it should; then a refused token or another
    program at its address is no longer the user's mistake, but a server that went away.
    """

    found_right = False

    def __init__(
        self,
        address: str,
        *,
        token: str | None,
        concurrency: int,
        timeout: float,
        retries: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.address = _checked_address(address)
        self._timeout, self._retries, self._sleep = timeout, retries, sleep
        if token and not (token.isascii() and token.isprintable()):
            raise BadInput("The token holds characters that no token can have. Copy it again.")
        self._client = httpx.AsyncClient(
            base_url=self.address,
            headers={"Accept-Encoding": "identity", **({"Authorization": f"Bearer {token}"} if token else {})},
            timeout=timeout,
            limits=httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency),
            trust_env=False,
            verify=_certificates() if self.address.startswith("https") else True,
        )
        self._places = asyncio.Semaphore(concurrency)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"ehrmem {self.address}", daemon=True)
        self._thread.start()

    def start(self, asking: Coroutine[object, None, Answer]) -> Future[Answer]:
        """Run on the server's thread; cancelling the future closes its connections."""
        return asyncio.run_coroutine_threadsafe(asking, self._loop)

    def wait_for(self, asking: Coroutine[object, None, Answer]) -> Answer:
        """Run on the server's thread and wait for the answer."""
        return self.result_of(self.start(asking))

    def result_of(self, future: Future[Answer]) -> Answer:
        """Wait for an answer. Raises Unavailable for a server that does not answer (any more), and for what it refuses BadInput while it is
        being opened, CannotAnswer afterwards."""
        try:
            return future.result()
        except RefusedError as error:
            if self.found_right and (error.status < 400 or error.status in (401, 403, 404)):
                raise Unavailable(str(error)) from None
            raise (CannotAnswer if self.found_right else BadInput)(str(error)) from None
        finally:
            future.cancel()

    def close(self) -> None:
        """Close the connections and end the thread."""
        if self._loop.is_running():
            self.wait_for(self._client.aclose())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    async def get(self, path: str) -> JsonObject:
        """The JSON object at a path."""

        async def once() -> JsonObject:
            return await self._once("GET", path, None)

        return await self.again(once)

    async def again(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask, and after a ``PassingError`` again, in one of the places; at last raise Unavailable."""
        async with self._places:
            try:
                return await tenacity.AsyncRetrying(
                    stop=tenacity.stop_after_attempt(self._retries + 1)
                    | tenacity.stop_after_delay(_SERIES * self._timeout),
                    wait=self._pause,
                    sleep=self._sleep,
                    retry=tenacity.retry_if_exception_type(PassingError),
                    reraise=True,
                )(ask)
            except PassingError as error:
                tried = f" It was asked {self._retries + 1} times." if self._retries else ""
                raise Unavailable(f"{error}{tried}") from None

    async def stream(self, path: str, body: JsonObject) -> AsyncIterator[JsonObject]:
        """The JSON objects of a stream of server-sent events, asked for once."""
        async with self._answer("POST", path, body) as response:
            if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                yield self._object(await self._text(response))  # a server that does not stream answers all at once
                return
            done = False
            async for line in self._lines(response):  # to the end, so that the connection serves again
                if line == "data: [DONE]":
                    done = True
                elif line.startswith("data:"):
                    yield self._object(line[5:])
            if not done:
                raise PassingError(f"The server at {self.address} broke off in the middle of an answer.")

    async def post_once(self, path: str, body: JsonObject) -> JsonObject:
        """The JSON object that answers one, asked for once."""
        return await self._once("POST", path, body)

    async def _once(self, method: str, path: str, body: JsonObject | None) -> JsonObject:
        async with self._answer(method, path, body) as response:
            return self._object(await self._text(response))

    async def _text(self, response: httpx.Response, most: int | None = None) -> str:
        """The whole answer, as it was sent."""
        most = most or _MOST_ANSWER
        parts, size = [], 0
        async for part in response.aiter_raw():
            size += len(part)
            if size > most:
                raise self._too_long(most)
            parts.append(part)
        return b"".join(parts).decode(errors="replace")

    async def _lines(self, response: httpx.Response) -> AsyncIterator[str]:
        begun = bytearray()
        async for part in response.aiter_raw():
            begun += part
            *whole, rest = begun.split(b"\n")
            for line in whole:
                yield line.decode(errors="replace").rstrip("\r")
            begun = rest
            if len(begun) > _MOST_LINE:
                raise self._too_long(_MOST_LINE)
        if begun:
            yield begun.decode(errors="replace")

    def _too_long(self, most: int) -> RefusedError:
        return RefusedError(
            f"The server at {self.address} sends an answer without end (more than {most / 1e6:g} MB at once). No model server does that: "
            "is it the right address?",
            200,
        )

    @asynccontextmanager
    async def _answer(self, method: str, path: str, body: JsonObject | None) -> AsyncIterator[httpx.Response]:
        try:
            async with (
                asyncio.timeout(_DEADLINE * self._timeout),
                self._client.stream(method, path, json=body) as response,
            ):
                packed = response.headers.get("Content-Encoding", "identity")
                if packed.lower() != "identity":
                    raise RefusedError(
                        f"The server at {self.address} sends packed answers ({_words(packed)[:20]}), though it was asked for plain ones: what "
                        "they unpack to has no bound. Switch compression off there, or in the proxy before it.",
                        200,
                    )
                if response.status_code != 200:
                    self._refuse(path, response, await self._text(response, _MOST_REFUSAL))
                yield response
        except TimeoutError:
            raise PassingError(
                f"The server at {self.address} had not finished an answer after {_DEADLINE * self._timeout:g} seconds. Ask for less at once, or "
                "allow more time."
            ) from None
        except httpx.TimeoutException:
            raise PassingError(
                f"The server at {self.address} did not answer within {self._timeout:g} seconds. Ask for less at once, or allow "
                "more time."
            ) from None
        except httpx.ConnectError as error:
            raise PassingError(
                f"No server answers at {self.address} ({_words(str(error))}). Is it running, and may this computer reach it?"
            ) from None
        except httpx.TransportError as error:
            said = _words(str(error)) or type(error).__name__
            raise PassingError(f"The connection to {self.address} broke off ({said}).") from None

    def _refuse(self, path: str, response: httpx.Response, text: str) -> None:
        status, said = response.status_code, _said(text)
        if status == 429 or status >= 500:
            after = _retry_after(response.headers.get("Retry-After"))
            if after is not None and after > _LONGEST_WAIT:
                raise Unavailable(
                    f"The server at {self.address} asks to be left alone for {after:,.0f} seconds. Try later."
                )
            kind = "turns requests away as too many" if status == 429 else "fails"
            raise PassingError(f"The server at {self.address} {kind} ({status}){said}.", after)
        if status in (401, 403):
            words = f"The server at {self.address} refuses the token, or asks for one ({status}). Give the token that belongs to it."
        elif status == 404:
            words = f"The server at {self.address} has no {path} ({status}){said}."
        elif status < 400:
            words = f"The server at {self.address} points elsewhere ({status}); give the address itself."
        else:
            words = f"The server at {self.address} refused what it was asked ({status}){said}."
        raise RefusedError(words, status)

    def _object(self, text: str) -> JsonObject:
        """The object; a JSON that breaks off may come whole the next time, other text will not."""
        try:
            found = json.loads(text)
        except ValueError:
            if text.lstrip()[:1] in ("{", ""):
                raise PassingError(
                    f"The server at {self.address} sent an answer that breaks off in the middle."
                ) from None
            found = None
        except RecursionError:
            found = None
        if not isinstance(found, dict):
            raise RefusedError(
                f"What answers at {self.address} is not a model server: it sent {_words(text)[:60]!r} where JSON was expected. Give "
                "the address of an OpenAI-compatible server, such as http://localhost:8000.",
                200,
            )
        if found.get("error"):
            raise PassingError(f"The server at {self.address} failed in the middle of an answer{_said(text)}.")
        return found

    def _pause(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, PassingError) and error.after is not None:
            return error.after
        return tenacity.wait_random_exponential(multiplier=0.5, max=30)(state)


def _checked_address(address: str) -> str:
    try:
        url = httpx.URL(address)
    except (httpx.InvalidURL, TypeError):
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise BadInput(f"{address!r} is not an address of a model server. Give one such as http://localhost:8000.")
    if url.userinfo or url.query:
        raise BadInput("Give the address of the model server alone, and its token apart from it.")
    if (
        url.scheme == "http"
        and not _is_this_computer(url.host)
        and os.environ.get(CLEAR_TEXT, "").lower() not in ("yes", "1", "true")
    ):
        raise BadInput(
            f"{address} is another computer and the connection is not encrypted: facts about patients and the token could be read on the way. Give "
            f"an https address, or a tunnel to 127.0.0.1. To send them in clear all the same, set {CLEAR_TEXT}=yes."
        )
    return address.rstrip("/").removesuffix("/v1")


def _is_this_computer(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _certificates() -> ssl.SSLContext:
    """This computer's own certificates (a hospital's server is often vouched for by the hospital) and the public ones."""
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def _retry_after(given: str | None) -> float | None:
    """Seconds; the header holds seconds or a date."""
    if given is None:
        return None
    with suppress(ValueError):
        return max(float(given), 0.0)
    with suppress(ValueError, TypeError):
        return max((email.utils.parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds(), 0.0)
    return None


def _said(text: str) -> str:
    """A server's own words, from the forms that they come in, to end a sentence with; empty where there are none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return ""
    for key in ("error", "message", "detail"):
        if isinstance(found, dict) and found.get(key):
            found = found[key]
    words = _words(found if isinstance(found, str) else json.dumps(found)).rstrip(".")
    return f": {words}" if words else ""


def _words(text: str) -> str:
    return " ".join(text.split())[:_SHOWN]
