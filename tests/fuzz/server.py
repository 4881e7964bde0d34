"""A model server whose answers are those of a real one, changed on the way."""

from __future__ import annotations

import http.server
import json
import socketserver
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from random import Random
from typing import Any

from tests.fuzz.mutate import tree


class _Quiet(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The other side hangs up: that is what is tested."""


@contextmanager
def changing(backend: tuple[str, str], rng: Random) -> Iterator[str]:
    """The address of a server that asks the one at ``backend`` (address and token), and changes every answer, or one in three."""
    always = rng.random() < 0.4

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(None)

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def _answer(self, asked: bytes | None) -> None:
            status, kind, answer = _ask(backend, self.path, asked)
            if always or rng.random() < 0.33:
                status, kind, answer = _changed(status, kind, answer, rng)
            with suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = _Quiet(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _ask(backend: tuple[str, str], path: str, asked: bytes | None) -> tuple[int, str, bytes]:
    address, token = backend
    request = urllib.request.Request(
        address + path, asked, {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers.get("Content-Type", ""), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers.get("Content-Type", ""), error.read()


def _changed(status: int, kind: str, answer: bytes, rng: Random) -> tuple[int, str, bytes]:
    way = rng.choice(("tree", "tree", "tree", "tree", "bytes", "cut", "status", "kind", "deep", "empty"))
    if way == "tree" and kind.startswith("application/json"):
        return status, kind, json.dumps(tree(json.loads(answer), rng)).encode()
    if way == "tree" and answer.startswith(b"data:"):
        parts = answer.split(b"\n\n")
        at = rng.randrange(len(parts))
        with suppress(ValueError):
            parts[at] = b"data: " + json.dumps(tree(json.loads(parts[at].removeprefix(b"data: ")), rng)).encode()
        return status, kind, b"\n\n".join(parts)
    if way == "status":
        return rng.choice((204, 301, 400, 401, 404, 418, 429, 500, 503)), kind, answer
    if way == "kind":
        return status, rng.choice(("text/html", "application/json; charset=utf-16", "x" * 5000)), answer
    if way == "deep":
        return status, kind, b"[" * 100_000
    if way == "empty":
        return status, kind, b""
    if way == "cut":
        return status, kind, answer[: len(answer) // 2]
    content = bytearray(answer)
    for _ in range(8 if content else 0):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return status, kind, bytes(content)
