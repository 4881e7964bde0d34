"""The server of our own: what it refuses, in words and without harm, and how it treats several requests."""

from __future__ import annotations

import json
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ehrmem_widgets.blackbox import serve as serve_module
from ehrmem_widgets.blackbox.completions import read_request
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.blackbox.serve import _Question, _Sampling, _Worker, serve_model
from ehrmem_widgets.errors import BadInput
from tests.blackbox.contract import CONTEXT, SIZE, make, next_code
from tests.blackbox.served import running_server


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> FolderModel:
    return FolderModel(make(tmp_path_factory.mktemp("served")))


@pytest.fixture(scope="module")
def client(model: FolderModel) -> Iterator[httpx.Client]:
    with running_server(model.folder) as (address, token), asking(address, token) as client:
        yield client


def asking(address: str, token: str) -> httpx.Client:
    return httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=60)


def ask(client: httpx.Client, **body: Any) -> list[dict[str, Any]]:
    answer = client.post("/v1/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"]


# Who may ask ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, "another", "ä"])
def test_without_its_token_the_server_says_nothing(client: httpx.Client, token: str | None) -> None:
    headers = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
    with httpx.Client(base_url=client.base_url, headers=headers, trust_env=False) as stranger:
        assert stranger.get("/v1/models").status_code == 401
        for path in ("/v1/completions", "/v1/embeddings"):
            answer = stranger.post(path, json={"prompt": [1], "input": [[1]]})
            assert (answer.status_code, "asks for its token" in answer.text) == (401, True)
        assert stranger.get("/health").status_code == 200


def test_it_says_what_it_serves(client: httpx.Client, model: FolderModel) -> None:
    [about] = client.get("/v1/models").json()["data"]
    assert (about["id"], about["max_model_len"], about["ehrmem"]) == (model.name, CONTEXT, 1)
    assert about["fingerprint"] == model.fingerprint
    assert client.get("/v1/chat/completions").status_code == 404


# What is refused ------------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Any, str]] = {
    "no JSON": (b"{", "must be a JSON object"),
    "a list": ([1], "must be a JSON object"),
    "nested without end": (b"[" * 100_000, "must be a JSON object"),
    "nested without end in a field": (b'{"prompt": ' + b"[" * 100_000, "must be a JSON object"),
    "no number": (b'{"prompt": [1], "temperature": NaN}', "must be a JSON object"),
    "a truth value for a number": ({"prompt": [1], "n": True}, "n must be a whole number"),
    "a truth value for 1": ({"prompt": [1], "temperature": True}, "temperature must be a number; got True"),
    "a text for a number": ({"prompt": [1], "max_tokens": "5"}, "max_tokens must be a whole number"),
    "a number of 400 digits": (b'{"prompt": [1], "seed": 1' + b"0" * 400 + b"}", "got a number of more than 40 digits"),
    "a number for a truth value": ({"prompt": [1], "stream": 1}, "stream must be true or false; got 1"),
    "a field that there is not": ({"prompt": [1], "max_token": 5}, "unknown request key. Is 'max_tokens' meant?"),
    "a sampler that there is not": ({"prompt": [1], "typical_p": 0.5}, "'typical_p' is an unknown request key"),
    "no prompt": ({}, "A prompt must be a list of code ids, each from 0 to 19"),
    "text": ({"prompt": "hello"}, "works by code ids, not by text"),
    "an empty prompt": ({"prompt": []}, "A prompt must be"),
    "an unknown id": ({"prompt": [1, SIZE]}, "each from 0 to 19"),
    "a negative id": ({"prompt": [[1], [-1]]}, "each from 0 to 19"),
    "a truth value": ({"prompt": [True]}, "each from 0 to 19"),
    "an open first place": ({"prompt": [[[1, 2], 3]]}, "A prompt must be"),
    "an empty place": ({"prompt": [1, []]}, "A prompt must be"),
    "another temperature": ({"prompt": [1], "temperature": 0.7}, "temperature = 0.7 is not offered"),
    "top-p": ({"prompt": [1], "top_p": 0.9}, "the model's own distribution only"),
    "a text to stop at": ({"prompt": [1], "stop": ["."]}, "is not offered"),
    "no samples": ({"prompt": [1], "n": 0}, "n must be a whole number from 1"),
    "half a sample": ({"prompt": [1], "n": 1.5}, "n must be a whole number"),
    "far too many": ({"prompt": [[1], [2]], "n": 16_000}, "2 prompts x 16,000 continuations; at most 16,384"),
    "beyond the context": ({"prompt": [1] * 20, "max_tokens": 5}, "more than the model's context of 24"),
    "nothing": ({"prompt": [1], "max_tokens": 0}, "asks for nothing"),
    "a seed below 0": ({"prompt": [1], "seed": -1}, "seed must be a whole number"),
    "unknown stop ids": ({"prompt": [1], "stop_token_ids": [99]}, "stop_token_ids must be a list of code ids"),
    "unknown allowed ids": ({"prompt": [1], "allowed_token_ids": [99]}, "allowed_token_ids must be"),
    "none allowed": ({"prompt": [1], "allowed_token_ids": []}, "Every code is forbidden"),
    "a little bias": ({"prompt": [1], "logit_bias": {"3": 5}}, "the value -100, which forbids them"),
    "bias of words": (
        {"prompt": [1], "logit_bias": {"x": -100}},
        "logit_bias must be code ids from 0 to 19 with the value -100",
    ),
    "bias of an unknown id": (
        {"prompt": [1], "logit_bias": {"99": -100}},
        "logit_bias must be code ids from 0 to 19 with the value -100",
    ),
    "bias without end": (b'{"prompt": [1], "logit_bias": {"3": -Infinity}}', "must be a JSON object"),
    "a list of bias": (
        {"prompt": [1], "logit_bias": [3]},
        "logit_bias must be code ids from 0 to 19 with the value -100",
    ),
    "listed without logprobs": ({"prompt": [1], "logprob_token_ids": [3]}, "needs logprobs to be set"),
    "watched unknown ids": ({"prompt": [1], "watch_token_ids": [[99]]}, "watch_token_ids must be lists"),
    "watched no lists": ({"prompt": [1], "watch_token_ids": [3]}, "watch_token_ids must be lists"),
    "watched twice": ({"prompt": [1], "watch_token_ids": [[3]], "logprobs": 0}, "not for both"),
    "streamed scores": ({"prompt": [1], "prompt_logprobs": 0, "stream": True}, "is not streamed"),
    "scores of open places": ({"prompt": [1, [2, 3]], "prompt_moments": True}, "a prompt without open places"),
    "some log-probabilities": ({"prompt": [1], "prompt_logprobs": 3}, "prompt_logprobs must be a whole number from -1"),
}


@pytest.mark.parametrize(("body", "told"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_request_is_refused_in_words_and_does_no_harm(client: httpx.Client, body: Any, told: str) -> None:
    answer = client.post("/v1/completions", content=body if isinstance(body, bytes) else json.dumps(body))
    assert answer.status_code == 400
    assert told in answer.json()["error"]["message"]
    [choice] = ask(client, prompt=[1], max_tokens=1)
    assert len(choice["token_ids"]) == 1


def test_lists_without_end_are_not_watched() -> None:
    body = b'{"prompt": [1], "watch_token_ids": [' + b"[]," * 140_000 + b"[]]}"
    with pytest.raises(BadInput, match="watch_token_ids must be at most 134,217 lists of code ids"):
        read_request(body, MarkovChain(np.full((2_000, 2_000), 1 / 2_000)))


def test_another_model_is_not_here(client: httpx.Client) -> None:
    answer = client.post("/v1/completions", json={"model": "gpt", "prompt": [1]})
    assert (answer.status_code, "There is no model 'gpt' here" in answer.text) == (404, True)


def test_what_the_model_cannot_answer_is_refused() -> None:
    chain = MarkovChain(np.full((3, 3), 1 / 3))
    chain.answers = frozenset({Query.SAMPLE})
    with serve_model(chain) as served, asking(*served) as client:
        for body in ({"prompt_logprobs": 0}, {"logprobs": 0}, {"watch_token_ids": [[1]]}, {"prompt_moments": True}):
            answer = client.post("/v1/completions", json={"prompt": [0, 1], **body})
            assert (answer.status_code, "gives no" in answer.text) == (400, True)
        assert client.post("/v1/embeddings", json={"input": [[1]]}).status_code == 404


def test_a_model_that_fails_is_said_and_the_next_request_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(MarkovChain):
        def generate(self, prompts: Any, *args: Any, **options: Any) -> Any:
            for number, step in enumerate(super().generate(prompts, *args, **options)):
                if number == prompts[0][0][0]:
                    raise RuntimeError("secret of the model's")
                yield step

    with serve_model(Failing(np.full((5, 5), 0.2))) as served, asking(*served) as client:
        answer = client.post("/v1/completions", json={"prompt": [0], "max_tokens": 4})
        assert answer.status_code == 500
        assert answer.json()["error"]["message"].startswith("The model failed")
        streamed = client.post("/v1/completions", json={"prompt": [2], "max_tokens": 4, "stream": True}).text
        assert [line[:14] for line in streamed.split("\n\n")] == [
            'data: {"object',
            'data: {"object',
            'data: {"error"',
            "data: [DONE]",
            "",
        ]
        assert "secret" not in answer.text + streamed
        assert len(ask(client, prompt=[4], max_tokens=4)[0]["token_ids"]) == 4


# What is answered -----------------------------------------------------------------------------------------------------


def test_log_probabilities_are_those_of_the_next_code(client: httpx.Client, model: FolderModel) -> None:
    exact = np.log(next_code(model, 1, 5))
    whole, listed, top, none = (
        ask(client, prompt=[1, 5], max_tokens=1, seed=1, **more)[0]["logprobs"]
        for more in ({"logprobs": -1}, {"logprobs": 0, "logprob_token_ids": [3, 9]}, {"logprobs": 4}, {"logprobs": 0})
    )
    code = int(whole["tokens"][0].removeprefix("token_id:"))
    for found, ids in (
        (whole, range(SIZE)),
        (listed, [code, 3, 9]),
        (top, [code, *np.argsort(-exact)[:4]]),
        (none, [code]),
    ):
        assert set(found["top_logprobs"][0]) == {f"token_id:{i}" for i in ids}
        for name, value in found["top_logprobs"][0].items():
            assert value == pytest.approx(exact[int(name.removeprefix("token_id:"))], abs=1e-4)
        assert found["token_logprobs"] == pytest.approx([exact[code]], abs=1e-4)


def test_stop_ids_of_the_request_end_a_continuation_and_the_model(client: httpx.Client) -> None:
    stops = list(range(2, SIZE))
    for choice in ask(
        client, prompt=[1, 5], n=30, max_tokens=20, stop_token_ids=stops, logit_bias={"0": -100, "1": -100}
    ):
        assert (len(choice["token_ids"]), choice["finish_reason"]) == (1, "stop")
        assert choice["stop_reason"] == choice["token_ids"][0]


def test_a_stream_has_the_same_codes_in_chunks_of_the_steps_asked_for(client: httpx.Client) -> None:
    body = {"prompt": [[1, 5], [1, 6, 7]], "n": 3, "max_tokens": 10, "seed": 4}
    whole = ask(client, **body)
    streamed = client.post("/v1/completions", json={**body, "stream": True, "stream_interval": 4}).text
    chunks = [json.loads(line[6:])["choices"] for line in streamed.split("\n\n") if line.startswith("data: {")]
    assert [max(len(choice["token_ids"]) for choice in chunk) for chunk in chunks] == [4, 4, 2]
    for i, choice in enumerate(whole):
        mine = [part for chunk in chunks for part in chunk if part["index"] == i]
        assert [code for part in mine for code in part["token_ids"]] == choice["token_ids"]
        assert mine[-1]["finish_reason"] == choice["finish_reason"]


def test_without_a_seed_answers_differ(client: httpx.Client) -> None:
    first, second = (ask(client, prompt=[1], n=20, max_tokens=10) for _ in range(2))
    assert first != second


def test_waiting_requests_of_one_kind_are_sampled_together_and_answered_as_if_alone(model: FolderModel) -> None:
    asked: list[int] = []

    class Counting(FolderModel):
        def generate(self, prompts: Any, *args: Any, **options: Any) -> Any:
            asked.append(len(prompts))
            return super().generate(prompts, *args, **options)

    counting = Counting(model.folder)
    bodies = [
        {"prompt": [1, 5], "seed": 1},
        {"prompt": [[1, 9, 7, 3], [1]], "seed": 1},
        {"prompt": [1, 5], "seed": 2},
        {"prompt": [1, 5], "seed": 1, "allowed_token_ids": [3, 4]},
        {"prompt": [1, [5, 6]], "seed": 1},
        {"prompt": [1, 4], "seed": 1},
    ]
    requests = [read_request(json.dumps({**body, "n": 4}).encode(), counting) for body in bodies]
    answers: list[list[Any]] = [[] for _ in bodies]
    all_wait, finished = threading.Event(), threading.Event()
    worker = _Worker(counting)
    worker.submit(_Question(lambda: all_wait.wait(10), [].append))
    for request, hear in zip(requests, answers, strict=True):
        worker.submit(_Sampling(request, hear.append))
    worker.submit(_Question(lambda: asked.append(0), [].append, given_up=True))  # nobody hears the answer
    worker.submit(_Question(finished.set, [].append))
    all_wait.set()
    assert finished.wait(30)
    worker.close()
    assert asked == [4, 1, 1, 1]  # the first, second and last together
    for request, steps in zip(requests, answers, strict=True):
        alone = model.generate(request.prompts, request.horizon, 4, banned=request.banned, seed=request.seed)
        assert steps[-1] is None
        for step, (codes, _, log_weight) in zip(alone, steps[:-1], strict=False):
            np.testing.assert_array_equal(step.codes, codes)
            np.testing.assert_allclose(step.log_weight, log_weight, atol=1e-5)


def test_a_stream_that_nobody_hears_any_more_ends_the_model() -> None:
    ended = threading.Event()

    class Watched(MarkovChain):
        def generate(self, *args: Any, **options: Any) -> Any:
            try:
                yield from super().generate(*args, **options)
            finally:
                ended.set()

    with serve_model(Watched(np.full((3, 3), 1 / 3))) as served, asking(*served) as client:
        body = {"prompt": [0], "max_tokens": 500_000, "stream": True}
        with client.stream("POST", "/v1/completions", json=body) as stream:
            lines = stream.iter_lines()  # kept: once it is collected, the connection is closed
            next(lines)
            assert not ended.is_set()
        assert ended.wait(30)
        assert len(ask(client, prompt=[0], max_tokens=2)[0]["token_ids"]) == 2


def test_closing_the_server_ends_what_is_under_way() -> None:
    with serve_model(MarkovChain(np.full((3, 3), 1 / 3))) as served, asking(*served) as client:
        stream = client.stream("POST", "/v1/completions", json={"prompt": [0], "max_tokens": 900_000, "stream": True})
        next(stream.__enter__().iter_lines())
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{served.address}/health", trust_env=False)


# The command ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("port", [None, 70_000])
def test_a_port_that_cannot_be_had_is_said(port: int | None) -> None:
    chain = MarkovChain(np.eye(2))
    with serve_model(chain) as (address, _):
        taken = port or int(address.rpartition(":")[2])
        with (
            pytest.raises(BadInput, match=f"cannot be served on port {taken} .* a free one is found"),
            serve_model(chain, port=taken),
        ):
            pass


def test_serve_says_where_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    code = (
        "import numpy as np; from ehrmem_widgets.blackbox.markov import MarkovChain\n"
        "from ehrmem_widgets.blackbox.serve import serve; serve(MarkovChain(np.eye(2)))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None and server.stderr is not None
        said = "".join(
            iter(
                server.stdout.readline,
                "On this computer only. Keep this window open while you work; Ctrl-C here ends it.\n",
            )
        )
        [(address, token)] = re.findall(r"address  (http://127\.0\.0\.1:\d+)\n    token    (\w{48})\n", said)
        with asking(address, token) as client:
            assert ask(client, prompt=[1], max_tokens=3)[0]["token_ids"] == [1, 1, 1]
        server.send_signal(signal.SIGINT)
        assert (server.wait(30), server.stdout.read(), server.stderr.read()) == (0, "Ended.\n", "")


# Who would hurt it ----------------------------------------------------------------------------------------------------


def raw(address: str, *parts: bytes) -> bytes:
    """All that the server sends for these bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=60) as connection:
        for part in parts:
            connection.sendall(part)
        return b"".join(iter(lambda: connection.recv(2**16), b""))


def head(path: str, *lines: str, host: str = "localhost") -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]).encode()


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings", "/v1/models", "/elsewhere"])
@pytest.mark.parametrize("length", ["Content-Length: 60000000", "Transfer-Encoding: chunked", "Content-Length: 1"])
def test_a_stranger_is_sent_away_before_anything_of_the_body_is_read(
    client: httpx.Client, path: str, length: str
) -> None:
    answer = raw(str(client.base_url), head(path, length))  # of the body, no byte is ever sent
    assert answer.startswith(b"HTTP/1.1 401") and b"asks for its token" in answer


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "127.0.0.2"])
@pytest.mark.parametrize("path", ["/health", "/v1/models", "/elsewhere"])
def test_a_page_that_leads_its_own_name_here_learns_nothing(client: httpx.Client, host: str, path: str) -> None:
    answer = client.get(path, headers={"Host": host})
    assert (answer.status_code, "under the names 127.0.0.1 and localhost only" in answer.text) == (403, True)
    assert client.get("/health", headers={"Host": "LOCALHOST:1"}).status_code == 200


def test_a_body_that_is_too_large_is_refused_unread(client: httpx.Client) -> None:
    known = f"Authorization: {client.headers['Authorization']}"
    for length in ("8388609", "9" * 18, "9" * 5_000):
        answer = raw(str(client.base_url), head("/v1/completions", known, f"Content-Length: {length}"))
        assert answer.startswith(b"HTTP/1.1 400") and b"at most 8 MB" in answer
    chunked = head("/v1/completions", known, "Transfer-Encoding: chunked")
    assert b" 400 " in raw(str(client.base_url), chunked, b"40000001\r\n")  # 1 GB in one piece


SLOW: dict[str, Callable[[str], bytes]] = {
    "says nothing": lambda known: b"",
    "headers": lambda known: b"POST /v1/completions HTTP/1.1\r\nHost: ",
    "body": lambda known: head("/v1/completions", known, "Content-Length: 1000"),
    "pieces": lambda known: head("/v1/completions", known, "Transfer-Encoding: chunked") + b"3e8\r\n[",
}


@pytest.mark.parametrize("slow", SLOW)
def test_who_sends_a_byte_at_a_time_is_left(model: FolderModel, monkeypatch: pytest.MonkeyPatch, slow: str) -> None:
    monkeypatch.setattr(serve_module, "_HEADERS_WITHIN", 0.5)
    monkeypatch.setattr(serve_module, "_BODY_WITHIN", 0.5)
    with serve_model(model) as (address, token):
        port = int(address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(SLOW[slow](f"Authorization: Bearer {token}"))
            with suppress(ConnectionError):
                while not select.select([connection], [], [], 0.05)[0]:  # until it is closed
                    connection.sendall(b" ")
                assert connection.recv(100) == b""


def test_only_so_many_connections_are_kept(model: FolderModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_module, "_MAX_CONNECTIONS", 8)
    with serve_model(model) as served, ExitStack() as stack, asking(*served) as client:
        port = int(served.address.rpartition(":")[2])
        held = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60)) for _ in range(40)]
        closed = [one for one in held if select.select([one], [], [], 0 if one is not held[-1] else 30)[0]]
        assert held[-1] in closed
        with pytest.raises(httpx.TransportError):
            client.get("/health")
        for one in held:
            one.close()
        for _ in range(600):  # their places are free as soon as the server has seen that they left
            with suppress(httpx.TransportError):
                assert client.get("/health").status_code == 200
                break
            time.sleep(0.05)
        else:
            raise AssertionError("their places were never given back")
        assert len(ask(client, prompt=[1], max_tokens=1)) == 1


def test_who_takes_no_answer_is_left_and_the_model_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_module, "_TAKEN_WITHIN", 0.3)
    ended = threading.Event()

    class Watched(MarkovChain):
        def generate(self, *args: Any, **options: Any) -> Any:
            try:
                yield from super().generate(*args, **options)
            finally:
                ended.set()

    with serve_model(Watched(np.full((3, 3), 1 / 3))) as (address, token):
        body = json.dumps({"prompt": [0], "n": 200, "max_tokens": 200_000, "stream": True, "stream_interval": 50})
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=60) as connection:
            known, length = f"Authorization: Bearer {token}", f"Content-Length: {len(body)}"
            connection.sendall(head("/v1/completions", known, length) + body.encode())
            assert ended.wait(60)


def test_what_is_said_of_a_request_is_short(client: httpx.Client) -> None:
    long = "x" * 1_000_000
    for body in (
        {"model": long},
        {long: 1},
        {"prompt": [1], "suffix": long},
        {"prompt": [1], "stop_token_ids": [long]},
    ):
        said = client.post("/v1/completions", json=body).json()["error"]["message"]
        assert len(said) < 500
    said = client.get("/" + "x" * 10_000).json()["error"]["message"]
    assert len(said) < 300
