"""A hostile server can neither fill the memory nor hold the audit for ever: what it sends is bounded in bytes and in time, and refused in words."""

from __future__ import annotations

import gzip
import http.server
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from ehrmem_widgets.blackbox import transport
from ehrmem_widgets.blackbox.transport import CLEAR_TEXT, Server
from ehrmem_widgets.errors import BadInput, Unavailable

Send = Callable[[Callable[[bytes], object]], None]


class _Quiet(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The other side hangs up: that is what is tested."""


@contextmanager
def sending(send: Send, **headers: str) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            send(self.wfile.write)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = _Quiet(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def asked(address: str, *, timeout: float = 5.0, retries: int = 0) -> Any:
    server = Server(address, token=None, concurrency=1, timeout=timeout, retries=retries)
    try:
        return server.wait_for(server.get("/v1/models"))
    finally:
        server.close()


async def _every(server: Server) -> list[Any]:
    return [one async for one in server.stream("/v1/completions", {})]


def streamed(address: str, *, timeout: float = 5.0) -> Any:
    server = Server(address, token=None, concurrency=1, timeout=timeout, retries=0)
    try:
        return server.wait_for(server.again(partial(_every, server)))
    finally:
        server.close()


def test_packed_answers_are_refused_unread() -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    with (
        sending(lambda write: write(bomb), Content_Encoding="gzip", Content_Length=str(len(bomb))) as address,
        pytest.raises(BadInput, match=r"sends packed answers \(gzip\), though it was asked for plain ones"),
    ):
        asked(address)


@pytest.mark.parametrize("how", ["an answer", "a line"])
def test_what_never_ends_is_given_up(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_MOST_LINE", 3_000_000)
    monkeypatch.setattr(transport, "_MOST_ANSWER", 3_000_000)
    sent = 0

    def endless(write: Callable[[bytes], object]) -> None:
        nonlocal sent
        write(b'data: {"a": [')
        while sent < 200_000_000:
            write(b"1," * 50_000)
            sent += 100_000

    more = {"Content_Type": "text/event-stream"} if how == "a line" else {}
    with sending(endless, **more) as address, pytest.raises(BadInput, match="an answer without end"):
        (streamed if how == "a line" else asked)(address)
    assert sent < 100_000_000


def test_a_byte_now_and_then_is_given_up_after_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_DEADLINE", 2)

    def drop_by_drop(write: Callable[[bytes], object]) -> None:
        for _ in range(600):
            write(b" ")
            time.sleep(0.1)

    begun = time.monotonic()
    with (
        sending(drop_by_drop) as address,
        pytest.raises(Unavailable, match="had not finished an answer after 2 seconds"),
    ):
        asked(address, timeout=1.0)
    assert time.monotonic() - begun < 30


def test_json_without_end_of_brackets_is_no_answer() -> None:
    deep = b"[" * 200_000
    with (
        sending(lambda write: write(deep), Content_Length=str(len(deep))) as address,
        pytest.raises(BadInput, match="is not a model server"),
    ):
        asked(address)


@pytest.mark.parametrize("address", ["http://models.hospital.example:8000", "http://10.1.2.3:8000/v1"])
def test_facts_go_to_another_computer_only_encrypted_unless_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CLEAR_TEXT, raising=False)
    with pytest.raises(BadInput, match=r"could be read on the way\. Give an https address, or a tunnel"):
        Server(address, token="t", concurrency=1, timeout=1, retries=0)
    monkeypatch.setenv(CLEAR_TEXT, "yes")
    Server(address, token="t", concurrency=1, timeout=1, retries=0).close()
    monkeypatch.delenv(CLEAR_TEXT)
    for fine in ("https://models.hospital.example", "http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"):
        Server(fine, token="t", concurrency=1, timeout=1, retries=0).close()
