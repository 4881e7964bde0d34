"""A Python function as a black box: what it may return, and what is said when it returns something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from ehrmem_widgets.blackbox.callable import CallableModel, SamplingModel
from ehrmem_widgets.blackbox.exponential_race import AGES
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.errors import BadInput, CannotAnswer
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.blackbox.contract import single, too_far

VOCABULARY = Vocabulary(("[PAD]", "[BOS]", "[EOS]", "A", "B", "C"))
SIZE = len(VOCABULARY)
TRANSITIONS = np.random.default_rng(0).dirichlet(np.ones(SIZE), SIZE)


def chain(sequences: list[list[int]]) -> np.ndarray:
    return TRANSITIONS[[sequence[-1] for sequence in sequences]]


def model(ask: Callable[[list[list[int]]], Any] = chain, **settings: Any) -> CallableModel:
    return CallableModel(ask, VOCABULARY, context_length=20, **settings)


def test_a_chain_as_a_function_answers_as_the_chain() -> None:
    """The Markov chain is the oracle: the same random numbers, so the very same codes."""
    wrapped, oracle = model(at_once=7), MarkovChain(TRANSITIONS, VOCABULARY)
    prompts = [[*single(1, 3), [3, 4, 5]], [*single(1, 4, 5), [3]]]
    track = np.eye(SIZE)[:, 3:]
    for one, other in zip(
        *(list(m.generate(prompts, 8, 60, track=track, seed=3)) for m in (wrapped, oracle)), strict=True
    ):
        assert one.mass is not None and other.mass is not None
        np.testing.assert_array_equal(one.codes, other.codes)
        np.testing.assert_allclose(one.mass, other.mass, atol=1e-6)
        np.testing.assert_allclose(one.log_weight, other.log_weight, atol=1e-5)
    sequences = [[1, 3, 4, 5, 2], [3], [1, 5]]
    for one, other in zip(wrapped.score_moments(sequences), oracle.score_moments(sequences), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_an_impossible_code_has_no_log_probability() -> None:
    certain = model(lambda sequences: np.eye(SIZE)[[3] * len(sequences)])
    np.testing.assert_array_equal(certain.score([[1, 3, 4]])[0], [0, -np.inf])
    np.testing.assert_array_equal(certain.score_moments([[1, 3]])[0], [[0, 0, 0]])
    [step] = certain.generate([single(1)], 1, 50)
    assert (step.codes == 3).all()


def test_each_question_is_asked_once_and_none_about_what_has_ended() -> None:
    asked: list[list[int]] = []

    def counted(sequences: list[list[int]]) -> np.ndarray:
        assert len(sequences) <= 4
        asked.extend(sequences)
        return chain(sequences)

    list(model(counted, at_once=4).generate([single(1, 3), single(1, 4)], 6, 40, seed=1))
    assert len(set(map(tuple, asked))) == len(asked)
    assert not any(2 in sequence for sequence in asked)


def test_what_a_function_may_return() -> None:
    for returned in (
        TRANSITIONS[:1].tolist(),
        torch.from_numpy(TRANSITIONS[:1]).half(),
        TRANSITIONS[:1] * (1 + 5e-4),
    ):
        found = model(lambda _, returned=returned: returned).score([[1, 4]])
        assert found[0][0] == pytest.approx(np.log(TRANSITIONS[0, 4]), abs=2e-3)
    logarithms = model(lambda sequences: np.log(chain(sequences)), logarithms=True)
    np.testing.assert_allclose(logarithms.score([[1, 4]])[0], np.log(TRANSITIONS[1, 4]))


def altered(row: int, value: float) -> Callable[[list[list[int]]], np.ndarray]:
    def ask(sequences: list[list[int]]) -> np.ndarray:
        found = chain(sequences)
        found[row, 4] = value
        return found

    return ask


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda s: None, r"returned an array of shape \(\); \(2, 6\) is expected|no array of numbers"),
        (lambda s: "none", "The function that gives next-code probabilities returned no array of numbers"),
        (lambda s: [[0.5, 0.5], [1.0]], "returned no array of numbers"),
        (lambda s: chain(s)[:1], r"returned an array of shape \(1, 6\); \(2, 6\) is expected: a row for each of the 2"),
        (lambda s: chain(s)[0], r"returned an array of shape \(6,\)"),
        (lambda s: chain(s)[:, 1:], r"shape \(2, 5\); \(2, 6\) .* the probability of each of the 6 codes of the vocab"),
        (altered(1, np.nan), r"a probability that is not a number \(NaN or infinite\) after the codes \[4\]"),
        (altered(0, np.inf), r"a probability that is not a number \(NaN or infinite\) after the codes \[1\]"),
        (lambda s: np.log(chain(s)), r"a negative probability .* logarithms, give logarithms=True"),
        (altered(1, 7.0), r"add up to [\d.]+ instead of 1 after the codes \[4\]. Every code .* needs its probability"),
        (lambda s: chain(s) * 0.99, "add up to 0.99 instead of 1"),
    ],
)  # fmt: skip
def test_what_is_no_distribution_is_refused(ask: Callable[[list[list[int]]], Any], told: str) -> None:
    asked = model(ask, name="theirs")
    for question in (
        lambda: asked.score([[1, 3], [4, 3]]),
        lambda: list(asked.generate([single(1), single(4)], 3, 2)),
    ):
        with pytest.raises(BadInput, match=told) as caught:
            question()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [CallableModel, SamplingModel])
def test_a_function_is_given_codes_alone_and_no_ages(kind: type[CallableModel] | type[SamplingModel]) -> None:
    told = Vocabulary(("[PAD]", "[BOS]", "D//A"), token_scheme=AGES)
    with pytest.raises(BadInput, match="told the age beside each code"):
        kind(lambda *_: [], told, context_length=8)


def test_an_error_of_the_function_itself_is_shown_as_it_is() -> None:
    def broken(sequences: list[list[int]]) -> np.ndarray:
        raise ConnectionError("the model is away")

    with pytest.raises(ConnectionError, match="the model is away"):
        model(broken).score([[1, 3]])


def test_embeddings() -> None:
    assert Query.EMBEDDINGS not in model().answers
    with pytest.raises(CannotAnswer, match="No function was given that makes embeddings"):
        model().embed([[1]])

    def lengths(sequences: list[list[int]]) -> np.ndarray:
        return np.array([[len(sequence), 3.0] for sequence in sequences])

    made = model(embed=lengths, at_once=2)
    assert made.answers == frozenset(Query)
    np.testing.assert_allclose(
        made.embed([[1] * 4, [1] * 50, [1] * 3]), [[0.8, 0.6], np.array([20, 3]) / 409**0.5, [0.5**0.5] * 2]
    )
    for wrong, told in (
        (lambda s: lengths(s)[:1], r"shape \(1, 2\) for 2 sequences. A row for each"),
        (lambda s: np.ones(2), r"shape \(2,\) for 2"),
        (lambda s: np.ones((len(s), len(s))), r"shape \(1, 1\) for 1 sequences"),
        (lambda s: np.full((len(s), 2), np.nan), "returned NaN"),
    ):
        with pytest.raises(BadInput, match=told):
            model(embed=wrong, at_once=2).embed([[1], [1, 3], [1, 4]])


def test_the_fingerprint_is_that_of_name_context_and_vocabulary() -> None:
    assert model().fingerprint == model(lambda s: s).fingerprint
    others = [
        model(name="another"),
        CallableModel(chain, VOCABULARY, context_length=21),
        CallableModel(chain, Vocabulary(("[PAD]", "[BOS]", "[EOS]", "A", "B", "D")), context_length=20),
    ]
    assert len({model().fingerprint, *(other.fingerprint for other in others)}) == 4
    with pytest.raises(BadInput, match="A context of 1 codes leaves no room"):
        CallableModel(chain, VOCABULARY, context_length=1)


# A function that only generates ---------------------------------------------------------------------------------------


def generate(prompt: list[int], samples: int, longest: int, seed: int) -> list[list[int]]:
    """The chain, by a loop of its own."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(samples):
        codes = [prompt[-1]]
        while len(codes) <= longest and codes[-1] != 2:
            codes.append(int(rng.choice(SIZE, p=TRANSITIONS[codes[-1]])))
        found.append(codes[1:])
    return found


def sampling(function: Callable[..., Any] = generate) -> SamplingModel:
    return SamplingModel(function, VOCABULARY, context_length=20, name="theirs")


def test_what_is_generated_arrives_step_by_step() -> None:
    steps = list(sampling().generate([single(1, 3), single(1, 4)], 8, 3000, track=np.eye(SIZE), seed=1))
    assert not too_far(np.bincount(steps[0].codes[0], minlength=SIZE), TRANSITIONS[3])
    assert not too_far(np.bincount(steps[0].codes[1], minlength=SIZE), TRANSITIONS[4])
    lists = generate([1, 4], 3000, 8, 1)
    for sample, expected in enumerate(lists):
        assert [int(step.codes[1, sample]) for step in steps] == expected + [-1] * (8 - len(expected))
    assert all(step.mass is None and (step.log_weight == 0).all() for step in steps)


def test_a_continuation_ends_at_the_stop_code_and_at_the_context() -> None:
    asked: list[tuple[int, ...]] = []

    def fixed(prompt: list[int], samples: int, longest: int, seed: int) -> list[list[int]]:
        asked.append((len(prompt), samples, longest, seed))
        return [[3, 2, 4, 4], [5], []][:samples]

    steps = list(sampling(fixed).generate([single(1, 3, 3)], 100, 3, seed=7))
    assert asked == [(3, 3, 17, 7)]
    assert [step.codes.tolist() for step in steps] == [[[3, 5, -1]], [[2, -1, -1]]]
    with pytest.raises(CannotAnswer, match="The prompt fills the model's context of 20 codes"):
        next(sampling().generate([single(*[1] * 20)], 5, 2))


def test_what_needs_probabilities_is_refused() -> None:
    asked = sampling()
    assert asked.answers == {Query.SAMPLE}
    for question, told in (
        (
            lambda: next(asked.generate([[[1], [3, 4]]], 5, 2)),
            "a fact that leaves several codes open cannot be filled in",
        ),
        (lambda: next(asked.generate([single(1)], 5, 2, banned=np.arange(SIZE) == 3)), "codes cannot be left out"),
        (lambda: asked.score([[1, 3]]), "it cannot score a record"),
        (lambda: asked.score_moments([[1, 3]]), "it cannot score a record"),
        (lambda: asked.embed([[1, 3]]), "it gives no embeddings either"),
    ):
        with pytest.raises(CannotAnswer, match=f"'theirs' only generates and gives no probabilities, so {told}"):
            question()
    next(asked.generate([single(1)], 5, 2, banned=np.zeros(SIZE, dtype=bool)))  # nothing to leave out


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (None, "something else than lists of code ids"),
        ([["A"], ["B"]], "something else than lists of code ids"),
        ([[3.5], [4]], "something else than lists of code ids"),
        ([3, 4], "something else than lists of code ids"),
        ([[3]], "1 continuations where 2 were asked for"),
        ([[3] * 6, [4]], "a continuation of 6 codes where at most 5"),
        ([[3], [6]], "the code number 6; the vocabulary has numbers 0 to 5"),
        ([[-1], [3]], "the code number -1;"),
    ],
)
def test_what_is_no_list_of_codes_is_refused(returned: Any, told: str) -> None:
    with pytest.raises(BadInput, match=f"The function behind 'theirs' returned {told}"):
        next(sampling(lambda *_: returned).generate([single(1)], 5, 2))
