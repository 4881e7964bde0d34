"""What a filter leaves, against distributions worked out by hand; and that nothing else gets through: by samples, scores, masks or a server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ehrmem_widgets.blackbox import serve as serve_module
from ehrmem_widgets.blackbox.callable import CallableModel, SamplingModel
from ehrmem_widgets.blackbox.checks import check_samples_honest
from ehrmem_widgets.blackbox.completions import RefusedError, read_request
from ehrmem_widgets.blackbox.endpoint import EndpointModel
from ehrmem_widgets.blackbox.filtered import FilteredModel
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.blackbox.output_filter import read_filter
from ehrmem_widgets.blackbox.protocol import Query, Step, hidden_as_guessed, next_code_probabilities
from ehrmem_widgets.blackbox.serve import Budget, serve_model
from ehrmem_widgets.errors import BadInput, CannotAnswer, Unavailable
from ehrmem_widgets.probes.leak import ProductForm, SumForm
from ehrmem_widgets.samples.folders import sample_model
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.blackbox.contract import make

HIV = 3
VOCABULARY = Vocabulary(
    ("CODE//A", "CODE//B", "CODE//C", "DIAGNOSIS//ICD//10//B20"), start=None, stops=frozenset(), pad=None
)
P = np.array([[0.50, 0.30, 0.17, 0.03], [0.10, 0.60, 0.20, 0.10], [0.25, 0.25, 0.25, 0.25], [0.04, 0.06, 0.40, 0.50]])
TOP_2 = [[5 / 8, 3 / 8, 0, 0], [0, 3 / 4, 1 / 4, 0], [1 / 4] * 4, [0, 0, 4 / 9, 5 / 9]]
BY_HAND: dict[str, list[list[float]]] = {
    "suppress_below=0.05": [[50 / 97, 30 / 97, 17 / 97, 0], *P[1:].tolist()],
    "suppress_below=1": [
        [50 / 97, 30 / 97, 17 / 97, 0],
        [1 / 9, 6 / 9, 2 / 9, 0],
        [1 / 3] * 3 + [0],
        [0.08, 0.12, 0.8, 0],
    ],
    "top_k=2": TOP_2,  # where all are as likely as the second, all of them stay
    "round_to=0.25": [[0.5, 0.25, 0.25, 0], [0, 2 / 3, 1 / 3, 0], [1 / 4] * 4, [0, 0, 0.5, 0.5]],
    "round_to=0.49": [[0.5, 0.5, 0, 0], [0, 1, 0, 0], [0.25] * 4, [0, 0, 0.5, 0.5]],
    "suppress_below=0.2, top_k=2": TOP_2,
}


def filtered(text: str, model: Any = None) -> FilteredModel:
    return FilteredModel(model or MarkovChain(P, VOCABULARY), read_filter(text))


# What is left ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", BY_HAND)
def test_every_answer_is_that_of_the_chain_worked_out_by_hand(text: str) -> None:
    model, exact = filtered(text), MarkovChain(np.array(BY_HAND[text]), VOCABULARY)
    np.testing.assert_allclose(next_code_probabilities(model, [[0], [1], [2], [3]]), exact.transitions, atol=1e-6)
    sequences = [[a, b, c] for a in range(4) for b in range(4) for c in range(4)]
    for own, theirs in zip(model.score(sequences), exact.score(sequences), strict=True):
        np.testing.assert_allclose(own, theirs, atol=1e-5)
    for own, theirs in zip(model.score_moments(sequences), exact.score_moments(sequences), strict=True):
        np.testing.assert_allclose(own, theirs, atol=1e-5)
    hiv = np.arange(4) == HIV
    form = ProductForm(model, [[0]], hiv, 10)
    list(form.add(2000, seed=0))
    truth, found = exact.leak_probability(0, [HIV], 10), form.estimate()
    assert found.low - 1e-9 <= truth <= found.high + 1e-9 and found.half_width < 0.05


@pytest.mark.parametrize("text", BY_HAND)
def test_codes_come_as_often_as_is_shown_and_hidden_ones_never(text: str) -> None:
    shown = np.array(BY_HAND[text])
    (*steps,) = filtered(text).generate([[[0]]], 8, 600, track=np.eye(4)[:, [HIV]], seed=1)
    codes = np.stack([np.zeros(600, dtype=int), *(step.codes[0] for step in steps)])
    for before, after, step in zip(codes, codes[1:], steps, strict=False):
        assert (shown[before, after] > 0).all()
        assert step.mass is not None
        np.testing.assert_allclose(step.mass[0, :, 0], shown[before, HIV], atol=1e-6)
    counts = np.bincount(codes[1], minlength=4) / 600
    np.testing.assert_allclose(counts, shown[0], atol=4 * np.sqrt(0.25 / 600))


def test_what_is_all_sensitive_gives_way_to_a_code_that_may_be_shown() -> None:
    model = filtered("suppress_below=1", MarkovChain(np.eye(4)[[3, 3, 3, 3]], VOCABULARY))
    np.testing.assert_allclose(next_code_probabilities(model, [[0]]), [[1, 0, 0, 0]], atol=1e-6)


def test_where_rounding_leaves_nothing_the_likeliest_stays() -> None:
    flat = np.tile([0.2, 0.22, 0.2, 0.18, 0.2], (5, 1))
    vocabulary = Vocabulary(tuple("abcde"), start=None, stops=frozenset(), pad=None)
    model = filtered("round_to=0.49", MarkovChain(flat, vocabulary))
    np.testing.assert_allclose(next_code_probabilities(model, [[0]]), [[0, 1, 0, 0, 0]], atol=1e-6)


def test_leaving_codes_out_brings_back_nothing_that_is_hidden() -> None:
    """Where only hidden codes are allowed, they come evenly: their own order, .30, .17, .03, is not to be had."""
    model = filtered("top_k=1")
    [step] = model.generate([[[0]]], 1, 6000, banned=np.array([True, False, False, False]), track=np.eye(4), seed=0)
    np.testing.assert_allclose(np.bincount(step.codes[0], minlength=4) / 6000, [0, 1 / 3, 1 / 3, 1 / 3], atol=0.025)
    assert step.mass is not None
    np.testing.assert_allclose(step.mass[0, 0], [1, 0, 0, 0], atol=1e-6)
    weights = {i: next(iter(model.generate([[[0], [1, 2]] if i else [[0], [2, 3]]], 1, 4))).log_weight for i in (0, 1)}
    np.testing.assert_allclose(weights[0], weights[1])  # open places: no sign of .47 against .20


def test_a_folder_is_filtered_in_its_own_decoder_as_any_other_model(tmp_path: Path) -> None:
    folder = FolderModel(make(tmp_path))
    other = CallableModel(lambda some: next_code_probabilities(folder, some), folder.vocabulary, context_length=24)
    ours, theirs = (filtered("top_k=5, round_to=0.03", one) for one in (folder, other))
    prompts = [[[1], [5], [7]], [[1], [4]]]
    pairs = zip(
        *(one.generate(prompts, 12, 50, track=np.eye(20)[:, :3], seed=4) for one in (ours, theirs)), strict=True
    )
    for mine, its in pairs:
        np.testing.assert_array_equal(mine.codes, its.codes)
        np.testing.assert_allclose(mine.mass, its.mass, atol=1e-5)
    sequences = [[1, 5, 7, 3, 3, 9], [1, 2], [1, *range(3, 20)]]
    for mine, its in zip(ours.score_moments(sequences), theirs.score_moments(sequences), strict=True):
        np.testing.assert_allclose(mine, its, atol=2e-4)
    assert any(np.isneginf(one).any() for one in ours.score(sequences))
    np.testing.assert_array_equal(ours.embed(sequences), folder.embed(sequences))
    assert not hasattr(ours, "embed_continuations")  # the folder's own generates past the filter


def test_weights_that_are_broken_stay_broken() -> None:
    import torch

    shown = read_filter("top_k=2, round_to=0.1").apply(torch.tensor([[float("nan"), 0.5, 0.5]]), torch.zeros(3).bool())
    assert bool(shown.isnan().any())


# What is withheld -----------------------------------------------------------------------------------------------------


def test_a_model_that_withholds_probabilities_only_samples() -> None:
    model = filtered("withhold=probabilities+embeddings, top_k=2")
    assert model.answers == {Query.SAMPLE}
    [step] = model.generate([[[0]]], 1, 500, track=np.eye(4))
    assert step.mass is None and set(step.codes[0].tolist()) == {0, 1}
    form = SumForm(model, [[0]], np.eye(4, dtype=bool)[:, [1]], 1)
    list(form.add(500, 0))
    assert form.counting and form.estimate(0).low < 3 / 8 < form.estimate(0).high
    for ask in (lambda: model.score([[0, 1]]), lambda: model.score_moments([[0, 1]]), lambda: model.embed([[0]])):
        with pytest.raises(CannotAnswer):
            ask()
    with pytest.raises(CannotAnswer, match="leaves several codes open"):  # its weight would tell
        next(model.generate([[[0], [1, 2]]], 1, 5))


def test_withholding_alone_leaves_a_model_without_probabilities_as_it_is() -> None:
    plain = SamplingModel(lambda prompt, n, longest, seed: [[1]] * n, VOCABULARY, context_length=9)
    [step] = filtered("withhold=embeddings", plain).generate([[[0]]], 1, 5)
    assert step.codes.tolist() == [[1] * 5] and step.mass is None
    with pytest.raises(BadInput, match="no probabilities that a filter could change"):
        filtered("top_k=2", plain)


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("top_k", "has no value. Write it as top_k=10"),
        ("top_k=0", "top_k must be a whole number from 1"),
        ("top_k=many", "top_k must be a whole number from 1 .* got 'many'"),
        ("round_to=0.5", "round_to must be a number above 0 and below 0.5"),
        ("round_to=nan", "round_to must be"),
        ("top=3", "'top' is an unknown output filter key. Is 'top_k' meant"),
        ("attributes=hiv, top_k=2", "give that too, such as suppress_below"),
        ("withhold=weights", "must be 'probabilities' or 'embeddings'; got 'weights'"),
        ("", "hides nothing"),
        ({}, "hides nothing"),
        ({"top_k": True}, "top_k must be a whole number"),
        ([1], "must be names and values"),
    ],
)
def test_a_filter_that_cannot_be_is_refused_in_words(given: object, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        read_filter(given)


def test_attributes_that_cannot_be_suppressed_are_named() -> None:
    with pytest.raises(BadInput, match="no sensitive attribute 'hvi'"):
        filtered("suppress_below=0.1, attributes=hvi")
    with pytest.raises(BadInput, match="has no code of substance_use"):
        filtered("suppress_below=0.1, attributes=substance_use")
    with pytest.raises(BadInput, match="own value and has no list of codes"):
        filtered("suppress_below=0.1, attributes=sex+hiv")


def test_a_filter_is_read_back_from_its_text_and_changes_the_fingerprint() -> None:
    given = {"top_k": 10, "round_to": 0.01, "suppress_below": 0.05, "attributes": ["hiv"], "withhold": ["embeddings"]}
    one = read_filter(given)
    assert read_filter(one.text) == one
    assert str(one) == (
        "codes of hiv are hidden below 0.05; only the 10 most likely codes are shown; probabilities are rounded to 0.01; no embeddings"
    )
    prints = [filtered(text).fingerprint for text in BY_HAND]
    assert len({MarkovChain.fingerprint, *prints}) == len(prints) + 1


def test_what_is_hidden_counts_as_one_of_all_codes() -> None:
    np.testing.assert_allclose(hidden_as_guessed(np.array([-1.0, -np.inf]), 50), [-1.0, -np.log(50)])


# Honest to whoever asks -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chain() -> MarkovChain:
    return MarkovChain(np.random.default_rng(0).dirichlet(np.full(30, 0.5), 30))


@pytest.fixture(scope="module")
def records(chain: MarkovChain) -> list[list[int]]:
    (*steps,) = chain.generate([[[0]]], 20, 6, seed=3)
    return np.stack([step.codes[0] for step in steps]).T.tolist()


@pytest.mark.parametrize("text", ["top_k=3", "round_to=0.1", "top_k=8, round_to=0.02"])
def test_the_self_test_passes_a_filter_that_samples_as_it_says(
    text: str, chain: MarkovChain, records: list[list[int]]
) -> None:
    found = [check_samples_honest(filtered(text, chain), records, seed=7 * seed) for seed in range(20)]
    assert min(found) > 1e-4 and np.mean(np.array(found) < 0.1) < 0.4


class SaysLess:
    """Reports filtered probabilities, and samples as if there were no filter."""

    def __init__(self, behind: FilteredModel) -> None:
        self._behind = behind

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)

    def generate(self, *given: Any, **more: Any) -> Iterator[Step]:
        return self._behind.model.generate(*given, **more)


@pytest.mark.parametrize("text", ["top_k=3", "round_to=0.2"])
def test_a_filter_on_the_report_alone_is_caught(text: str, chain: MarkovChain, records: list[list[int]]) -> None:
    with pytest.raises(BadInput, match="do not follow the probabilities that it reports"):
        check_samples_honest(SaysLess(filtered(text, chain)), records)  # type: ignore[arg-type]


def test_a_served_filter_says_what_it_hides_and_answers_as_in_its_own_process() -> None:
    here = filtered("suppress_below=0.05, top_k=3")
    with serve_model(here) as (address, token):
        there = EndpointModel(address, VOCABULARY, token=token)
        assert there.answers == here.answers
        assert there.output_filter == str(here.output_filter) and "top_k=3" in there.name
        sequences = [[0, 3, 1], [1, 0], [2, 2, 3]]
        for own, its in zip(here.score_moments(sequences), there.score_moments(sequences), strict=True):
            np.testing.assert_allclose(own, its, atol=1e-5)
        for own, its in zip(here.score(sequences), there.score(sequences), strict=True):
            np.testing.assert_allclose(own, its, atol=1e-5)
        pairs = zip(*(one.generate([[[0]]], 8, 40, track=np.eye(4), seed=2) for one in (here, there)), strict=True)
        for mine, its in pairs:
            np.testing.assert_array_equal(mine.codes, its.codes)
            np.testing.assert_allclose(mine.mass, its.mass, atol=1e-6)
        there.close()


def test_the_check_says_what_a_filter_hides() -> None:
    from ehrmem_widgets.blackbox.model_checks import check_model
    from ehrmem_widgets.cohort.dataset import MedsDataset
    from ehrmem_widgets.samples.folders import sample_data

    model = filtered("top_k=20", FolderModel(sample_model()))
    found = {one.name: one for one in check_model(model, MedsDataset(sample_data()))}
    assert "in records never seen, a share of 0.35 (" in found["Output filter"].words
    assert (found["Output filter"].level, "only the 20 most likely codes are shown" in found["Output filter"].words) == (
        "warn", True,
    )  # fmt: skip
    assert found["Answers alike"].level == found["Self-test"].level == found["Has learned"].level == "pass"


# Limits ---------------------------------------------------------------------------------------------------------------


def test_a_budget_is_regained_evenly_and_what_is_taken_beyond_is_owed() -> None:
    now = [0.0]
    budget = Budget(10, 60, lambda: now[0])
    for _ in range(3):
        budget.take(4)  # 10 - 12 = -2
    with pytest.raises(
        RefusedError, match=r"gives 10 .* in 60 seconds, and has given them. Ask again in 18 seconds"
    ) as said:
        budget.take(1)
    assert (said.value.status, said.value.after) == (429, 18)
    now[0] = 17.9
    with pytest.raises(RefusedError):
        budget.take(1)
    now[0] = 18
    budget.take(1)
    now[0] = 10_000
    budget.take(10)  # never more than 10 at once
    with pytest.raises(RefusedError):
        budget.take(1)


def test_beyond_its_limit_a_server_says_when_to_come_again() -> None:
    with (
        serve_model(MarkovChain(P, VOCABULARY), limits=[Budget(1_000, 60), Budget(6, 600)]) as (address, token),
        httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, trust_env=False) as client,
    ):
        asked = {"prompt": [[0], [1]], "n": 3, "max_tokens": 1}
        assert client.post("/v1/completions", json=asked).status_code == 200
        answer = client.post("/v1/completions", json=asked)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "100")
        assert (
            "gives 6 continuations, scored records and embeddings in 600 seconds" in answer.json()["error"]["message"]
        )
        assert client.get("/v1/models").status_code == client.get("/health").status_code == 200


@pytest.mark.parametrize(("seconds", "waits"), [(60, True), (86_400, False)])
def test_a_client_waits_a_little_and_gives_up_on_what_takes_a_day(seconds: float, waits: bool) -> None:
    slept: list[float] = []

    async def sleep(duration: float) -> None:
        slept.append(duration)
        now[0] += duration
        await asyncio.sleep(0)

    now = [0.0]
    with serve_model(MarkovChain(P, VOCABULARY), limits=[Budget(120, seconds, lambda: now[0])]) as (address, token):
        model = EndpointModel(address, VOCABULARY, token=token, sleep=sleep)
        list(model.generate([[[0]]], 1, 200))
        if waits:
            assert len(model.score([[0, 1]])) == 1 and slept and max(slept) <= 60
        else:
            with pytest.raises(Unavailable, match="asks to be left alone for"):
                model.score([[0, 1]])
        model.close()


# Requests that would take all of it -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ({"n": 1000, "max_tokens": 4000}, True),
        ({"n": 1000, "max_tokens": 4300}, False),
        ({"n": 1000, "max_tokens": 4300, "stream": True}, True),
        ({"n": 16_000, "max_tokens": 9_000, "stream": True}, False),
        ({"n": 1000, "max_tokens": 1000, "watch_token_ids": [[0]] * 4}, False),
        ({"n": 1000, "max_tokens": 1000, "logprobs": -1}, False),
        ({"max_tokens": 0, "prompt": [0, 1] * 4_000, "prompt_logprobs": -1}, False),
        ({"max_tokens": 0, "prompt": [0, 1] * 4_000, "prompt_logprobs": 0}, True),  # a number a code
    ],
)
def test_an_answer_has_a_largest_size(body: dict[str, Any], fits: bool) -> None:
    model, asked = MarkovChain(np.eye(600)), json.dumps({"prompt": [0], **body}).encode()
    if fits:
        assert read_request(asked, model).rows
        return
    with pytest.raises(BadInput, match=r"The answer would hold .* codes and probabilities .* Ask for less at once"):
        read_request(asked, model)


def test_a_request_is_read_beside_the_loop_that_answers_others(monkeypatch: pytest.MonkeyPatch) -> None:
    readers: list[str] = []
    real: Callable[..., Any] = serve_module.read_request

    def read(*given: Any) -> Any:
        readers.append(threading.current_thread().name)
        return real(*given)

    monkeypatch.setattr(serve_module, "read_request", read)
    with (
        serve_model(MarkovChain(P, VOCABULARY)) as (address, token),
        httpx.Client(base_url=address, headers={"Authorization": f"Bearer {token}"}, trust_env=False) as client,
    ):
        assert client.post("/v1/completions", json={"prompt": [0]}).status_code == 200
        assert client.post("/v1/completions", json={"prompt": "x"}).status_code == 400
    assert len(readers) == 2 and "ehrmem serve" not in readers
