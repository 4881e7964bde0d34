"""A served model answers as its folder does, whatever the server offers; and a server that misbehaves is put into words."""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import numpy as np
import pytest

from ehrmem_widgets.blackbox.endpoint import EndpointModel
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.blackbox.protocol import Query, SlotIds
from ehrmem_widgets.blackbox.serve import serve_model
from ehrmem_widgets.errors import BadInput, CannotAnswer, Unavailable
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.blackbox.contract import CODES, CONTEXT, SIZE, make, next_code, single, some_sequences, too_far
from tests.blackbox.served import running_server

# The fields that an endpoint may find: those of 'ehrmem serve', and what vLLM has or an older or stricter server lacks.
OFFERS: dict[str, dict[str, Any]] = {
    "ehrmem serve": {},
    "vLLM": {"_ours": False},
    "whole distributions": {"_ours": False, "_listed": False, "_mask_field": "logit_bias"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> FolderModel:
    return FolderModel(make(tmp_path_factory.mktemp("served")))


@pytest.fixture(scope="module")
def address(folder: FolderModel) -> Iterator[tuple[str, str]]:
    with running_server(folder.folder) as served:
        yield served


@pytest.fixture(scope="module", params=OFFERS)
def model(folder: FolderModel, address: tuple[str, str], request: pytest.FixtureRequest) -> Iterator[EndpointModel]:
    endpoint = EndpointModel(address[0], folder.vocabulary, token=address[1], embeddings=f"{address[0]}/v1/")
    for name, value in OFFERS[request.param].items():
        assert hasattr(endpoint, name)
        setattr(endpoint, name, value)
    yield endpoint
    endpoint.close()


@pytest.fixture
def scores_only(folder: FolderModel, address: tuple[str, str]) -> Iterator[EndpointModel]:
    """As of a vLLM server started without --max-logprobs."""
    endpoint = EndpointModel(address[0], folder.vocabulary, token=address[1])
    endpoint._ours, endpoint.answers = False, frozenset({Query.SAMPLE, Query.SCORES})
    yield endpoint
    endpoint.close()


def codes_of(model: Any, *asked: Any, **options: Any) -> np.ndarray:
    """(prompts, samples, steps)"""
    return np.stack([step.codes for step in model.generate(*asked, **options)], axis=-1)


# What a good server answers -------------------------------------------------------------------------------------------


def test_it_finds_out_at_opening_what_the_server_answers(folder: FolderModel, address: tuple[str, str]) -> None:
    where, token = address
    model = EndpointModel(f"{where}/v1", folder.vocabulary, token=token)
    assert (model.name, model.context_length, model.notes) == (folder.name, CONTEXT, ())
    assert model.answers == {Query.SAMPLE, Query.SCORES, Query.PROBABILITIES}
    assert "m' at http" in repr(model) or model.name in repr(model)
    assert token not in repr(model)
    with_embeddings = EndpointModel(where, folder.vocabulary, token=token, embeddings=where)
    assert with_embeddings.answers == frozenset(Query)
    again = EndpointModel(where, folder.vocabulary, token=token)
    other = EndpointModel(where, Vocabulary((*CODES[:-1], "another")), token=token)
    assert model.fingerprint == again.fingerprint
    assert len({model.fingerprint, with_embeddings.fingerprint, other.fingerprint}) == 3
    for one in (model, with_embeddings, again, other):
        one.close()


def test_codes_that_the_vocabulary_does_not_name_get_placeholders(
    folder: FolderModel, address: tuple[str, str]
) -> None:
    model = EndpointModel(address[0], Vocabulary(CODES[:15]), token=address[1])
    assert len(model.vocabulary) == SIZE
    assert model.vocabulary.without_a_code == 5
    model.close()


def test_samples_follow_the_exact_distribution_of_the_next_code(model: EndpointModel, folder: FolderModel) -> None:
    exact = next_code(folder, 1, 5, 9)
    counts = np.bincount(codes_of(model, [single(1, 5, 9)], 1, 4000, seed=3)[0, :, 0], minlength=SIZE)
    assert counts.sum() == 4000
    assert not too_far(counts, exact)
    assert too_far(counts, np.roll(exact, 1))


def test_the_second_step_follows_what_was_drawn_at_the_first(model: EndpointModel, folder: FolderModel) -> None:
    [codes] = codes_of(model, [single(1, 5)], 2, 4000, seed=4)
    drawn = int(np.bincount(codes[codes[:, 0] != 2, 0]).argmax())
    counts = np.bincount(codes[codes[:, 0] == drawn, 1], minlength=SIZE)
    assert counts.sum() > 300
    assert not too_far(counts, next_code(folder, 1, 5, drawn))


def test_watched_mass_is_that_of_the_group_before_anything_is_avoided(
    model: EndpointModel, folder: FolderModel
) -> None:
    track = np.zeros((SIZE, 3), dtype=bool)
    track[[4, 9], 0] = track[3:, 1] = True  # the third group is empty
    banned = np.isin(np.arange(SIZE), [4, 7])
    steps = list(model.generate([single(1, 7), single(1, 5, 6)], 3, 4, track=track, banned=banned, seed=0))
    codes = np.stack([step.codes for step in steps], axis=-1)
    assert not banned[codes[codes >= 0]].any()
    for row, prompt in enumerate([[1, 7], [1, 5, 6]]):
        for sample, place in itertools.product(range(4), range(len(steps))):
            mass = steps[place].mass
            assert mass is not None
            before = codes[row, sample, :place]
            exact = np.zeros(SIZE) if codes[row, sample, place] < 0 else next_code(folder, *prompt, *before)
            np.testing.assert_allclose(mass[row, sample], [exact[[4, 9]].sum(), exact[3:].sum(), 0], atol=1e-5)


def test_avoided_codes_never_come_and_the_rest_keeps_its_proportions(model: EndpointModel, folder: FolderModel) -> None:
    exact = next_code(folder, 1, 5, 9)
    banned = np.zeros(SIZE, dtype=bool)
    banned[[int(exact.argmax()), SIZE - 1, 2]] = True
    counts = np.bincount(codes_of(model, [single(1, 5, 9)], 1, 4000, banned=banned, seed=5)[0, :, 0], minlength=SIZE)
    assert not counts[banned].any()
    assert not too_far(counts, np.where(banned, 0, exact) / exact[~banned].sum())


def check_filling(model: EndpointModel, folder: FolderModel) -> None:
    """An open slot is filled by the model's own proportions; single codes behind it weigh each filling."""
    slot = [12, 3, 8]
    exact = next_code(folder, 1, 5)
    prompt = [np.array(ids) for ids in ([1], [5], slot, [10], [4])]
    [step] = model.generate([prompt], np.int64(1), 800, seed=np.int64(6))
    possible = {
        code: np.log(exact[slot].sum() * next_code(folder, 1, 5, code)[10] * next_code(folder, 1, 5, code, 10)[4])
        for code in slot
    }
    nearest = np.array([min(possible, key=lambda code: abs(possible[code] - w)) for w in step.log_weight[0]])
    np.testing.assert_allclose(step.log_weight[0], [possible[code] for code in nearest], atol=1e-4)
    counts = np.array([(nearest == code).sum() for code in slot])
    assert not too_far(counts, exact[slot] / exact[slot].sum())
    # What follows, follows the filling.
    filled = slot[int(counts.argmax())]
    drawn = np.bincount(step.codes[0, nearest == filled], minlength=SIZE)
    assert not too_far(drawn, next_code(folder, 1, 5, filled, 10, 4))


def test_an_open_slot_is_filled_by_the_models_own_proportions(model: EndpointModel, folder: FolderModel) -> None:
    check_filling(model, folder)


def test_an_open_slot_is_filled_from_scores_alone(scores_only: EndpointModel, folder: FolderModel) -> None:
    check_filling(scores_only, folder)
    [step] = scores_only.generate([single(1)], 1, 2, track=np.ones((SIZE, 1)))
    assert step.mass is None
    with pytest.raises(CannotAnswer, match="gives no whole next-code distributions"):
        scores_only.score_moments([[1, 2]])


def test_without_probabilities_exact_facts_are_asked_for(scores_only: EndpointModel) -> None:
    scores_only.answers = frozenset({Query.SAMPLE})
    with pytest.raises(CannotAnswer, match=r"leaves several codes open cannot be filled in.*Give exact facts\."):
        next(scores_only.generate([[[1], [3, 4]]], 1, 2))
    assert codes_of(scores_only, [single(1, 3)], 1, 2).shape == (1, 2, 1)
    with pytest.raises(CannotAnswer, match="gives no log-probabilities of given codes"):
        scores_only.score([[1, 2]])
    with pytest.raises(CannotAnswer, match="No address was given that embeddings can be asked of"):
        scores_only.embed([[1]])


PROMPTS: list[SlotIds] = [
    [*single(1, 5), [3, 4, 8], [7]],
    [*single(1, 6, 9, 11, 4, 4, 3), [3, 9], [8, 12]],
    [*single(1, 10, 3), [4, 5], [6]],
]


def test_ehrmem_serve_gives_the_very_continuations_of_the_folder(folder: FolderModel, address: tuple[str, str]) -> None:
    model = EndpointModel(address[0], folder.vocabulary, token=address[1])
    options = {"track": np.eye(SIZE)[:, [4, 9]], "banned": np.arange(SIZE) == 13, "seed": 2}
    for ours, theirs in itertools.zip_longest(
        model.generate(PROMPTS, 8, 40, **options), folder.generate(PROMPTS, 8, 40, **options)
    ):
        np.testing.assert_array_equal(ours.codes, theirs.codes)
        np.testing.assert_allclose(ours.mass, np.broadcast_to(theirs.mass, ours.mass.shape), atol=1e-5)
        np.testing.assert_allclose(ours.log_weight, theirs.log_weight, atol=1e-4)
    model.close()


def test_seeds_repeat_and_an_answer_does_not_depend_on_the_other_prompts(model: EndpointModel) -> None:
    together = codes_of(model, PROMPTS, 6, 20, seed=1)
    np.testing.assert_array_equal(codes_of(model, PROMPTS, 6, 20, seed=1), together)
    assert (codes_of(model, PROMPTS, 6, 20, seed=2) != together).any()
    for row, prompt in enumerate(PROMPTS):
        [alone] = codes_of(model, [prompt], 6, 20, seed=1)
        np.testing.assert_array_equal(alone, together[row, :, : alone.shape[-1]])


def test_a_continuation_ends_at_the_stop_code_and_stays_ended(model: EndpointModel) -> None:
    [codes] = codes_of(model, [single(1, 5)], 20, 100, seed=1)
    ended = (codes == 2).any(axis=1)
    assert ended.any()
    for sample in codes[ended]:
        stop = int(np.flatnonzero(sample == 2)[0])
        assert (sample[:stop] >= 0).all() and (sample[stop + 1 :] == -1).all()
    assert (codes[~ended] >= 0).all()
    only_the_end = np.arange(SIZE) != 2
    assert codes_of(model, [single(1, 5)], 10, 20, banned=only_the_end).tolist() == [[[2]] * 20]


def test_the_horizon_ends_where_the_context_does(model: EndpointModel) -> None:
    no_end = np.arange(SIZE) == 2
    assert codes_of(model, [single(*[1] * (CONTEXT - 3))], 100, 4, banned=no_end).shape == (1, 4, 3)
    for length in (CONTEXT, CONTEXT + 5):
        with pytest.raises(
            CannotAnswer, match=r"The prompt fills the model's context of 24 codes. Give the attacker fewer"
        ):
            next(model.generate([single(*[1] * length)], 5, 2))


def test_scores_and_moments_are_the_folders(model: EndpointModel, folder: FolderModel) -> None:
    sequences = [*some_sequences(60, CONTEXT - 1), [4]]  # vLLM keeps the last place for the code that it must generate
    for found, exact in zip(model.score(sequences), folder.score(sequences), strict=True):
        np.testing.assert_allclose(found, exact, atol=1e-5)
    for found, exact in zip(model.score_moments(sequences[-9:]), folder.score_moments(sequences[-9:]), strict=True):
        np.testing.assert_allclose(found, exact, atol=1e-4)
    assert model.score([]) == []


def test_embeddings_are_the_folders(model: EndpointModel, folder: FolderModel) -> None:
    sequences = some_sequences(600, CONTEXT)  # several requests
    np.testing.assert_allclose(model.embed(sequences), folder.embed(sequences), atol=1e-5)
    assert model.embed([]).shape == (0, 0)


def test_of_a_sequence_beyond_the_context_the_first_part_is_read(folder: FolderModel, address: tuple[str, str]) -> None:
    model = EndpointModel(address[0], folder.vocabulary, token=address[1], embeddings=address[0])
    long = some_sequences(1, CONTEXT)[0] * CONTEXT
    np.testing.assert_allclose(model.score([long])[0], folder.score([long])[0], atol=1e-5)
    np.testing.assert_allclose(model.embed([long]), folder.embed([long]), atol=1e-5)
    model.close()


def test_a_stream_is_cancelled_on_both_sides() -> None:
    ended = threading.Event()

    class Watched(MarkovChain):
        def generate(self, prompts: Any, horizon: int, *args: Any, **options: Any) -> Any:
            try:
                yield from super().generate(prompts, horizon, *args, **options)
            finally:
                if horizon > 1:
                    ended.set()

    with serve_model(Watched(np.full((3, 3), 1 / 3))) as (where, token):
        model = EndpointModel(where, Vocabulary(("A", "B", "C"), start=None, stops=frozenset(), pad=None), token=token)
        steps = model.generate([single(0)], 500_000, 2)
        assert next(steps).codes.shape == (1, 2)
        assert not ended.is_set()
        steps.close()
        assert ended.wait(30)
        assert codes_of(model, [single(0)], 3, 2).shape == (1, 2, 3)
        model.close()


@pytest.mark.parametrize(
    ("answers", "notes"),
    [
        ({Query.SAMPLE}, ["no log-probabilities of given codes", "no whole next-code distributions"]),
        ({Query.SAMPLE, Query.SCORES}, ["no whole next-code distributions: leaks are counted"]),
    ],
)
def test_what_a_server_does_not_answer_is_noted(answers: set[Query], notes: list[str]) -> None:
    chain = MarkovChain(np.full((5, 5), 0.2))
    chain.answers = frozenset(answers)
    with serve_model(chain) as (where, token):
        model = EndpointModel(where, chain.vocabulary, token=token)
        assert model.answers == answers
        assert [said for said, note in zip(model.notes, notes, strict=True) if note not in said] == []
        model.close()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"address": "localhost:8000"}, r"'localhost:8000' is not an address of a model server. Give one such as http"),
        ({"address": "http://user:secret@host"}, "its token apart from it"),
        ({"address": ""}, "is not an address"),
        ({"token": "nötig"}, "The token holds characters that no token can have"),
        ({"token": "wrong"}, r"refuses the token, or asks for one \(401\)"),
        ({"token": None}, r"refuses the token, or asks for one \(401\)"),
        ({"served_name": "gpt"}, "serves no model 'gpt'; it lists '.*'. Name one of them"),
        (
            {"vocabulary": Vocabulary((*CODES, "ONE//more"))},
            r"it lists 21 codes, and the server has no code number 20\.",
        ),
        ({"concurrency": 0}, "a concurrency of 1 or more"),
        ({"timeout": float("nan")}, "a timeout above 0"),
        ({"embeddings": "nowhere"}, "'nowhere' is not an address"),
    ],
)
def test_what_does_not_fit_is_refused_at_opening(
    folder: FolderModel, address: tuple[str, str], given: dict[str, Any], told: str
) -> None:
    usual: dict[str, Any] = {"address": address[0], "vocabulary": folder.vocabulary, "token": address[1]}
    with pytest.raises(BadInput, match=told) as caught:
        EndpointModel(**{**usual, **given})
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_where_no_server_is_it_is_said(folder: FolderModel) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    waits: list[float] = []
    with pytest.raises(
        Unavailable, match=rf"No server answers at {nobody} \(.+\). Is it running.* It was asked 4 times\."
    ):
        EndpointModel(nobody, folder.vocabulary, retries=3, sleep=noted(waits))
    assert len(waits) == 3


# What a bad server does -----------------------------------------------------------------------------------------------


def noted(waits: list[float]) -> Callable[[float], Any]:
    """Does not wait, but remembers how long."""

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    return sleep


class Misbehaving:
    """Stands before a good server and passes on; ``faults`` are what happens to the next requests for completions instead:
    each is a function of the handler, its request and the good server's answer that writes an answer, or a function of the
    answer's choices that changes them. ``always`` happens once they are used up. ``change_request`` changes every one."""

    def __init__(self, address: str) -> None:
        self.behave()
        self.released = threading.Event()
        outside = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # headers and body in one packet: the second of two waits for the first to be acknowledged

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                self.pass_on(client.get(self.path, headers=self.token()))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outside.change_request(body)
                outside.asked.append(body)
                answer = client.post(self.path, json=body, headers=self.token())
                fault = outside.faults.pop(0) if outside.faults else outside.always
                if fault is None:
                    self.pass_on(answer)
                elif getattr(fault, "answers", False):
                    fault(self, answer)
                else:
                    self.pass_on(answer, fault)

            def token(self) -> dict[str, str]:
                return {"Authorization": self.headers.get("Authorization", "")}

            def pass_on(self, answer: httpx.Response, change: Callable[..., Any] | None = None) -> None:
                kind, content = answer.headers["Content-Type"], answer.content
                if change and kind.startswith("application/json"):
                    content = changed(content, change)
                elif change:
                    events = content.split(b"\n\n")
                    content = b"\n\n".join(b"data: " + changed(e[6:], change) if e[6:7] == b"{" else e for e in events)
                self.send(answer.status_code, content, {"Content-Type": kind})

            def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        def changed(content: bytes, change: Callable[..., Any]) -> bytes:
            answer = json.loads(content)
            answer["choices"] = change(answer["choices"])
            return json.dumps(answer).encode()

        client = httpx.Client(base_url=address, trust_env=False, timeout=60)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def behave(self) -> None:
        self.faults: list[Callable[..., Any]] = []
        self.always: Callable[..., Any] | None = None
        self.change_request: Callable[[dict[str, Any]], Any] = lambda body: None
        self.asked: list[dict[str, Any]] = []

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()


def answering(write: Callable[[Any, httpx.Response], None]) -> Callable[..., None]:
    """A fault that writes the answer itself."""
    write.answers = True  # type: ignore[attr-defined]
    return write


def status(code: int, text: str = "", **headers: str) -> Callable[..., None]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return answering(lambda handler, _: handler.send(code, text.encode(), named))


def cut(share: float, *, content_type: str | None = None) -> Callable[..., None]:
    """The first part of the answer only, sent as if it were the whole."""

    def write(handler: Any, answer: httpx.Response) -> None:
        kind = content_type or answer.headers["Content-Type"]
        handler.send(200, answer.content[: int(len(answer.content) * share)], {"Content-Type": kind})

    return answering(write)


def broken_off(handler: Any, answer: httpx.Response) -> None:
    """Half of the answer, and the connection is closed."""
    handler.send_response(200)
    handler.send_header("Content-Type", answer.headers["Content-Type"])
    handler.send_header("Content-Length", str(len(answer.content)))
    handler.end_headers()
    handler.wfile.write(answer.content[: len(answer.content) // 2])
    handler.close_connection = True


HTML = status(200, "<html><body>Please log in to the hospital's network</body></html>", Content_Type="text/html")


@pytest.fixture(scope="module")
def before_the_server(address: tuple[str, str]) -> Iterator[Misbehaving]:
    server = Misbehaving(address[0])
    yield server
    server.close()


@pytest.fixture
def bad(before_the_server: Misbehaving) -> Misbehaving:
    before_the_server.behave()
    return before_the_server


Opened = tuple[EndpointModel, list[float]]


@pytest.fixture(scope="module", params=["ehrmem serve", "vLLM"])
def opened(
    before_the_server: Misbehaving, folder: FolderModel, address: tuple[str, str], request: pytest.FixtureRequest
) -> Iterator[Opened]:
    waits: list[float] = []
    where = before_the_server.address
    before_the_server.behave()
    model = EndpointModel(
        where, folder.vocabulary, token=address[1], embeddings=where, retries=2, timeout=30, sleep=noted(waits)
    )
    model._ours = request.param == "ehrmem serve"
    assert not waits
    yield model, waits
    model.close()


@pytest.fixture
def through(bad: Misbehaving, opened: Opened) -> Opened:
    """A model whose server misbehaves, and the waits before it was asked again."""
    opened[1].clear()
    return opened


def test_ids_are_checked_before_anything_is_sent(bad: Misbehaving, through: Opened) -> None:
    model, _ = through
    for wrong in (-1, SIZE):
        for ask in (
            lambda wrong=wrong: next(model.generate([[[1], [wrong]]], 1, 1)),
            lambda wrong=wrong: model.score([[1, wrong]]),
            lambda wrong=wrong: model.score_moments([[wrong]]),
            lambda wrong=wrong: model.embed([[wrong]]),
        ):
            with pytest.raises(BadInput, match=f"no code number {wrong}: the vocabulary numbers .* from 0 to 19"):
                ask()
    for ask_about in (model.score, model.score_moments, model.embed):
        with pytest.raises(BadInput, match="A record without any code"):
            ask_about([[1], []])
    assert bad.asked == []


def check_it_answers(model: EndpointModel, folder: FolderModel) -> None:
    no_end = np.arange(SIZE) == 2
    codes = codes_of(model, [single(1, 5)], 15, 6, banned=no_end, seed=3)
    assert codes.shape == (1, 6, 15) and (codes >= 0).all()
    if model._ours:
        np.testing.assert_array_equal(codes, codes_of(folder, [single(1, 5)], 15, 6, banned=no_end, seed=3))
    np.testing.assert_allclose(model.score([[1, 5, 9]])[0], folder.score([[1, 5, 9]])[0], atol=1e-5)
    np.testing.assert_allclose(model.embed([[1, 5, 9]]), folder.embed([[1, 5, 9]]), atol=1e-5)


PASSING: dict[str, tuple[Callable[..., Any], list[float] | None]] = {
    "429 that says how long": (status(429, Retry_After="7"), [7.0]),
    "429": (status(429, "slow down"), None),
    "503 that says how long": (status(503, Retry_After="0.5"), [0.5]),
    "500": (status(500, '{"error": {"message": "out of memory"}}'), None),
    "broken off": (answering(broken_off), None),
    "cut short": (cut(0.6), None),
    "cut to nothing": (cut(0), None),
}


@pytest.mark.parametrize(("fault", "waited"), PASSING.values(), ids=PASSING)
def test_what_passes_is_asked_again(
    bad: Misbehaving, through: Opened, folder: FolderModel, fault: Callable[..., Any], waited: list[float] | None
) -> None:
    model, waits = through
    check_it_answers(model, folder)
    assert not waits
    bad.faults = [fault]
    check_it_answers(model, folder)
    assert waits == waited if waited else len(waits) == 1 and 0 <= waits[0] <= 0.5
    bad.faults = [fault, fault]
    model.score([[1, 5]])
    bad.faults = [fault, fault]
    model.embed([[1, 5]])
    assert len(waits) == 5


LASTING: dict[str, tuple[Callable[..., Any], str, int]] = {
    "500": (
        status(500, '{"error": {"message": "out of memory"}}'),
        r"fails \(500\): out of memory. It was asked 3 times\.",
        3,
    ),
    "502": (status(502, "<html>Bad gateway</html>"), r"fails \(502\). It was asked 3 times\.", 3),
    "429": (
        status(429, '{"detail": "slow down"}'),
        r"turns requests away as too many \(429\): slow down. It was asked 3",
        3,
    ),
    "429 for an hour": (status(429, Retry_After="3600"), "asks to be left alone for 3,600 seconds. Try later", 1),
    "cut short": (cut(0.6), r"breaks? off in the middle.*It was asked 3 times\.", 3),
    "broken off": (answering(broken_off), r"broke off.*It was asked 3 times\.", 3),
    "HTML": (HTML, "is not a model server: it sent .<html><body>Please log in.* where JSON was expected", 1),
    "401": (status(401), r"refuses the token, or asks for one \(401\)", 1),
    "400": (status(400, '{"error": {"message": "too long"}}'), r"refused what it was asked \(400\): too long\.", 1),
    "404": (status(404), r"has no /v1/(completions|embeddings) \(404\)", 1),
    "elsewhere": (status(307, Location="http://example.org"), r"points elsewhere \(307\)", 1),
    "no JSON object": (status(200, "[]", Content_Type="application/json"), r"is not a model server: it sent '\[\]'", 1),
    "an error in the answer": (
        status(200, '{"error": {"message": "engine died"}}', Content_Type="application/json"),
        "failed in the middle of an answer: engine died",
        3,
    ),
}


@pytest.mark.parametrize(("fault", "told", "times"), LASTING.values(), ids=LASTING)
def test_what_lasts_is_said_in_one_sentence(
    bad: Misbehaving, through: Opened, fault: Callable[..., Any], told: str, times: int
) -> None:
    model, waits = through
    bad.always = fault
    for ask in (
        lambda: codes_of(model, [single(1, 5)], 3, 2),
        lambda: model.score([[1, 5]]),
        lambda: model.embed([[1, 5]]),
    ):
        bad.asked.clear()
        refused = (
            r"\(400\)" in told
        )  # the same question will be refused again; all else may pass, and the work goes on then
        with pytest.raises(CannotAnswer if refused else Unavailable, match=told) as caught:
            ask()
        assert len(bad.asked) == times
        assert "\n" not in str(caught.value)
    assert len(waits) == 3 * (times - 1)


def test_a_server_that_does_not_answer_in_time_is_said(
    bad: Misbehaving, folder: FolderModel, address: tuple[str, str]
) -> None:
    waits: list[float] = []
    model = EndpointModel(bad.address, folder.vocabulary, token=address[1], retries=1, timeout=30, sleep=noted(waits))
    model._server._client.timeout, model._server._timeout = httpx.Timeout(0.1), 0.1
    bad.always = answering(lambda handler, _: bad.released.wait(30) and None)
    with pytest.raises(Unavailable, match=r"did not answer within 0.1 seconds.* It was asked 2 times\."):
        model.score([[1, 5]])
    assert len(waits) == 1
    model.close()


def test_what_a_broken_stream_has_brought_is_kept(bad: Misbehaving, through: Opened) -> None:
    model, _ = through
    no_end = np.arange(SIZE) == 2
    bad.faults = [cut(0.8)]
    codes = codes_of(model, [single(1, 5)], 20, 3, banned=no_end, seed=3)
    first, *rest = bad.asked
    if model._ours:  # it repeats itself
        assert rest == [first]
    else:  # asked on from what had come, with other seeds
        assert len(rest) == 3
        for sample, body in zip(codes[0], rest, strict=True):
            so_far = body["prompt"][2:]
            assert so_far == sample[: len(so_far)].tolist() and len(so_far) >= 8
            assert body["max_tokens"] == 20 - len(so_far)
        assert len({body["seed"] for body in bad.asked}) == 4


def test_missing_samples_are_asked_for_again(bad: Misbehaving, through: Opened) -> None:
    model, waits = through
    bad.faults = [lambda choices: [c for c in choices if c["index"] < 3]]
    assert (codes_of(model, [single(1, 5)], 1, 8) >= 0).all()
    if not model._ours:
        assert [body["n"] for body in bad.asked] == [8, 5]
    bad.faults = [lambda choices: choices[:1]]
    assert [len(scores) for scores in model.score([[1, 5], [1, 5, 6]])] == [1, 2]
    assert len(waits) == 2
    bad.always = lambda choices: [c for c in choices if c["index"] > 0]
    with pytest.raises(
        Unavailable, match=r"gave fewer or shorter continuations than it was asked for. It was asked 3 times\."
    ):
        codes_of(model, [single(1, 5)], 1, 8)
    with pytest.raises(Unavailable, match=r"gave 1 answers of 2 that it was asked for. It was asked 3 times\."):
        model.score([[1, 5], [1, 5, 6]])


def test_more_than_was_asked_for_is_left_out(bad: Misbehaving, through: Opened, folder: FolderModel) -> None:
    model, _ = through
    bad.always = lambda choices: [{**c, "index": i, "token_ids": c["token_ids"] * 3} for i, c in enumerate(choices * 2)]
    codes = codes_of(model, [single(1, 5)], 15, 2, seed=1)
    assert codes.shape[:2] == (1, 2) and codes.shape[2] <= 15


@pytest.mark.parametrize("nothing", [None, float("nan"), float("inf"), "much"])
@pytest.mark.parametrize("place", [1, 2])
def test_a_score_with_holes_is_refused(bad: Misbehaving, through: Opened, nothing: Any, place: int) -> None:
    def without(choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for choice in choices:
            choice["prompt_logprobs"][place] = {key: {"logprob": nothing} for key in choice["prompt_logprobs"][place]}
        return choices

    model, _ = through
    bad.always = without
    with pytest.raises(BadInput, match=r"gave no number \(null or NaN\).*ask for it to be served in float32"):
        model.score([[1, 5, 6]])


WRONG_FORM: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "no choices": (lambda answer: {**answer, "choices": None}, "it has no list of choices"),
    "no index": (lambda answer: {**answer, "choices": [{}]}, "it has no list of choices"),
    "nothing about the prompt": (
        lambda answer: {"choices": [{"index": 0}]},
        "says nothing about the 3 codes of a prompt",
    ),
    "a place missing": (
        lambda answer: {"choices": [{"index": 0, "prompt_logprobs": [None, {}]}]},
        "says nothing about the 3 codes of a prompt",
    ),
    "a place of null": (
        lambda answer: {"choices": [{"index": 0, "prompt_logprobs": [None, None, None]}]},
        "gave no number",
    ),
}


@pytest.mark.parametrize(("form", "told"), WRONG_FORM.values(), ids=WRONG_FORM)
def test_an_answer_of_another_form_is_refused(
    bad: Misbehaving, through: Opened, form: Callable[[dict[str, Any]], dict[str, Any]], told: str
) -> None:
    model, _ = through
    bad.always = answering(
        lambda handler, answer: handler.send(
            200, json.dumps(form(answer.json())).encode(), {"Content-Type": "application/json"}
        )
    )
    with pytest.raises(BadInput, match=told):
        model.score([[1, 5, 6]])


WRONG_CODES: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "beyond the vocabulary": (lambda c: {**c, "token_ids": [SIZE]}, r"gave the code number 20, and .* numbers 0 to 19"),
    "no number": (lambda c: {**c, "token_ids": ["a"]}, "gave the code number 'a'"),
    "ended elsewhere": (
        lambda c: {**c, "token_ids": [7], "finish_reason": "stop"},
        r"at a code that is no stop code of the vocabulary \(number 7\)",
    ),
    "no ids": (lambda c: {**c, "token_ids": None}, "gave fewer or shorter continuations"),
}


@pytest.mark.parametrize(("change", "told"), WRONG_CODES.values(), ids=WRONG_CODES)
def test_wrong_codes_are_refused(
    bad: Misbehaving, through: Opened, change: Callable[[dict[str, Any]], dict[str, Any]], told: str
) -> None:
    model, _ = through
    bad.always = lambda choices: [change(choice) for choice in choices]
    with pytest.raises(Unavailable if "fewer" in told else BadInput, match=told):
        codes_of(model, [single(1, 5)], 2, 3)


def open_through(bad: Misbehaving, folder: FolderModel, token: str) -> EndpointModel:
    return EndpointModel(bad.address, folder.vocabulary, token=token, retries=1, sleep=noted([]))


def test_a_server_that_takes_no_ids_is_refused(bad: Misbehaving, folder: FolderModel, address: tuple[str, str]) -> None:
    bad.always = status(400, '{"error": {"message": "prompt must be a string."}}')
    with pytest.raises(
        BadInput, match=r"\(400\): prompt must be a string. It must take prompts of code ids: start vLLM"
    ):
        open_through(bad, folder, address[1])


def test_a_server_that_answers_in_text_is_refused(
    bad: Misbehaving, folder: FolderModel, address: tuple[str, str]
) -> None:
    bad.always = lambda choices: [{"index": c["index"], "text": "hello"} for c in choices]
    with pytest.raises(BadInput, match="answers in text, not in code ids"):
        open_through(bad, folder, address[1])


@pytest.mark.parametrize(
    ("ignored", "found"), [(["allowed_token_ids"], "logit_bias"), (["allowed_token_ids", "logit_bias"], None)]
)
def test_whether_codes_are_indeed_left_out_is_tried(
    bad: Misbehaving, folder: FolderModel, address: tuple[str, str], ignored: list[str], found: str | None
) -> None:
    bad.change_request = lambda body: [body.pop(name, None) for name in ignored]
    model = open_through(bad, folder, address[1])
    assert model._mask_field == found
    assert (Query.PROBABILITIES in model.answers) == (found is not None)
    if found is None:
        assert model.notes == ("The server does not let codes be left out of sampling: leaks are counted.",)
        with pytest.raises(CannotAnswer, match="does not let codes be left out of sampling"):
            next(model.generate([single(1)], 1, 1, banned=np.arange(SIZE) == 3))
    model.close()


def test_probabilities_after_a_mask_are_no_probabilities(
    bad: Misbehaving, folder: FolderModel, address: tuple[str, str]
) -> None:
    def after(choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """As of a vLLM server with --logprobs-mode processed_logprobs."""
        if bad.asked[-1].get("allowed_token_ids") == [0]:
            for choice in choices:
                for shown in (choice.get("logprobs") or {}).get("top_logprobs", []):
                    shown.update({name: 0.0 if name == "token_id:0" else -9999.0 for name in shown})
        return choices

    bad.always = after
    model = open_through(bad, folder, address[1])
    assert model.answers == {Query.SAMPLE, Query.SCORES}
    assert "--logprobs-mode raw_logprobs" in model.notes[0]
    model.close()


def test_a_server_that_lists_no_one_model_is_refused(
    bad: Misbehaving, folder: FolderModel, address: tuple[str, str]
) -> None:
    two = serve_two_names(bad.address)
    with pytest.raises(BadInput, match=r"serves more than one model, or none; it lists 'a', 'b'. Name one of them"):
        EndpointModel(two.address, folder.vocabulary, token=address[1], sleep=noted([]))
    two.close()


def serve_two_names(address: str) -> Misbehaving:
    server = Misbehaving(address)
    handler: Any = server._server.RequestHandlerClass
    listed = json.dumps({"data": [{"id": "a"}, {"id": "b"}]}).encode()
    handler.do_GET = lambda self: self.send(200, listed, {"Content-Type": "application/json"})
    return server


def test_without_a_context_length_one_must_be_given(address: tuple[str, str], folder: FolderModel) -> None:
    server = Misbehaving(address[0])
    handler: Any = server._server.RequestHandlerClass
    listed = json.dumps({"data": [{"id": folder.name}]}).encode()
    handler.do_GET = lambda self: self.send(200, listed, {"Content-Type": "application/json"})
    with pytest.raises(BadInput, match=r"does not say how many codes .* \(max_model_len\). Name it as the context"):
        EndpointModel(server.address, folder.vocabulary, token=address[1])
    model = EndpointModel(server.address, folder.vocabulary, token=address[1], context_length=CONTEXT)
    assert model.context_length == CONTEXT - 1  # not known to be ours: a place for the code that it must generate
    assert model.answers == {Query.SAMPLE, Query.SCORES, Query.PROBABILITIES}
    [found], [exact] = model.score([[1] * 30]), folder.score([[1] * (CONTEXT - 1)])
    np.testing.assert_allclose(found, exact, atol=1e-5)
    model.close()
    server.close()
