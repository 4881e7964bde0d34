"""A bound from below on how likely a model comes within so many edits of the truth: against every continuation of a small Markov chain."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from ehrmem_widgets.blackbox.callable import CallableModel, SamplingModel
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.blackbox.protocol import Query, Step
from ehrmem_widgets.errors import BadInput, CannotAnswer
from ehrmem_widgets.probes.near_verbatim import near_verbatim
from ehrmem_widgets.tokens.vocabulary import Vocabulary

CODES = ("[BOS]", "[EOS]", "A", "B", "C", "D")
VOCABULARY = Vocabulary(CODES, start="[BOS]", stops=frozenset({"[EOS]"}), pad=None)
EDITS = (0, 1, 2)
ALL = 10**6
START, END = 0, 1


def chain(seed: int = 0) -> MarkovChain:
    rng = np.random.default_rng(seed)
    transitions = rng.dirichlet(np.full(len(CODES), 0.6), len(CODES))
    transitions[:, START] = 0
    return MarkovChain(transitions / transitions.sum(axis=1, keepdims=True), VOCABULARY)


def levenshtein(a: Sequence[int], b: Sequence[int]) -> int:
    """As in the textbook."""
    rows = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, rows = rows, [i]
        for j, y in enumerate(b, 1):
            rows.append(min(before[j] + 1, rows[-1] + 1, before[j - 1] + (x != y)))
    return rows[-1]


def continuations(n: int) -> Iterator[tuple[int, ...]]:
    """Everything that can be the first n codes: it ends at the end code."""
    for codes in itertools.product(range(1, len(CODES)), repeat=n):
        end = codes.index(END) + 1 if END in codes else n
        if all(code == END for code in codes[end:]):
            yield codes[:end]


def exact(model: MarkovChain, prompt: Sequence[int], truth: Sequence[int]) -> dict[int, float]:
    found = dict.fromkeys(EDITS, 0.0)
    for codes in continuations(len(truth)):
        path = [prompt[-1], *codes]
        probability = math.prod(model.transitions[a, b] for a, b in itertools.pairwise(path))
        for most in EDITS:
            found[most] += probability * (levenshtein(codes, truth) <= most)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_the_bound_is_below_the_exact_probability_and_equal_where_nothing_is_dropped(seed: int) -> None:
    model = chain(seed)
    rng = np.random.default_rng(seed)
    prompts = [[START], [START, 2, 3]]
    truths = [rng.integers(2, len(CODES), 5).tolist(), [2, 2, 3, END]]  # the second one ends
    known = [exact(model, *both) for both in zip(prompts, truths, strict=True)]
    for width in (1, 3, 10, 40, ALL):
        found = near_verbatim(model, prompts, truths, edits=EDITS, width=width, floor=0)
        for one, of in zip(found, known, strict=True):
            assert one.bounds[0] == pytest.approx(of[0], rel=1e-12)
            assert all(one.bounds[most] <= of[most] + 1e-12 for most in EDITS)
            assert one.bounds[0] <= one.bounds[1] <= one.bounds[2]
            if width == ALL:
                assert dict(one.bounds) == pytest.approx(of, abs=1e-12)
            assert one.asked <= 5 + 1 + 4 * width  # the score, the first code, and each kept beginning of the others
    assert (
        near_verbatim(model, prompts[1:], truths[1:], edits=EDITS, width=3, floor=0)[0]
        == near_verbatim(model, prompts, truths, edits=EDITS, width=3, floor=0)[1]
    )  # whoever else is asked about


def test_a_code_too_many_is_two_edits_for_what_is_compared_has_the_same_length() -> None:
    transitions = np.zeros((6, 6))
    for a, b in itertools.pairwise([START, 5, 2, 3, 4, END, END]):
        transitions[a, b] = 1
    [found] = near_verbatim(MarkovChain(transitions, VOCABULARY), [[START]], [[2, 3, 4]], edits=EDITS, floor=0)
    assert dict(found.bounds) == {0: 0, 1: 0, 2: 1}


class _TopOnly(MarkovChain):
    """Shows the likeliest code at each step, and of the others nothing."""

    def generate(self, *given: object, **more: object) -> Iterator[Step]:  # type: ignore[override]
        for step in super().generate(*given, **more):  # type: ignore[arg-type]
            assert step.mass is not None
            yield Step(step.codes, step.mass * (step.mass == step.mass.max(axis=-1, keepdims=True)), step.log_weight)


class _ScoresOnly(MarkovChain):
    answers = frozenset({Query.SAMPLE, Query.SCORES})


@pytest.mark.parametrize("kind", [_TopOnly, _ScoresOnly])
def test_what_a_model_does_not_show_counts_nothing(kind: type[MarkovChain]) -> None:
    model, truth = chain(1), [2, 3, 2, 4]
    known = exact(model, [START], truth)
    [found] = near_verbatim(kind(model.transitions, VOCABULARY), [[START]], [truth], edits=EDITS, floor=0)
    assert all(0 <= found.bounds[most] <= known[most] + 1e-12 for most in EDITS)
    if kind is _ScoresOnly:
        assert set(found.bounds.values()) == {found.bounds[0]} and found.bounds[0] == pytest.approx(known[0])
    some = np.zeros(len(CODES), dtype=bool)  # no code but the true ones is followed
    [followed] = near_verbatim(model, [[START]], [truth], edits=EDITS, width=ALL, floor=0, tracked=some)
    assert known[0] < followed.bounds[2] < known[2] and followed.bounds[0] == pytest.approx(known[0])


def test_a_hopeless_search_is_not_made_and_the_exact_truth_bounds_it() -> None:
    model, truth = chain(2), [2, 3, 4, 5, 2, 3]
    scores = model.score([[START, *truth]])[0]
    [found] = near_verbatim(model, [[START]], [truth], edits=EDITS, floor=1.0)
    assert found.asked == len(truth) and list(found.bounds.values()) == pytest.approx([np.exp(scores.sum())] * 3)


def test_the_bound_holds_against_samples_of_a_function() -> None:
    """A black box that is none of ours, whose answers depend on all that stands before."""

    def ask(sequences: list[list[int]]) -> np.ndarray:
        rows = [np.random.default_rng([7, *sequence]).dirichlet(np.full(6, 0.2)) + 1e-9 for sequence in sequences]
        return np.array(rows) / np.sum(rows, axis=1, keepdims=True)

    model = CallableModel(ask, VOCABULARY, context_length=20)
    steps = list(model.generate([[[START]]], 6, 4000, seed=3))
    codes = np.stack([step.codes[0] for step in steps], axis=-1)
    written = [tuple(int(code) for code in row if code >= 0) for row in codes]
    truth = max((one for one in written if len(one) == 6 and END not in one), key=written.count)
    [found] = near_verbatim(model, [[START]], [truth], edits=EDITS, floor=0)
    shares = {most: np.mean([levenshtein(one, truth) <= most for one in written]) for most in EDITS}
    for most in EDITS:
        assert found.bounds[most] <= shares[most] + 4 * math.sqrt(shares[most] * (1 - shares[most]) / 4000)
    assert found.bounds[2] > found.bounds[0] > 0.001


def test_what_cannot_be_asked_is_refused_in_words() -> None:
    with pytest.raises(BadInput, match="2 edits turn any 2 codes into any others"):
        near_verbatim(chain(), [[START]], [[2, 3]], edits=EDITS)
    silent = SamplingModel(lambda *_: [], VOCABULARY, context_length=20)
    with pytest.raises(CannotAnswer, match="no log-probabilities"):
        near_verbatim(silent, [[START]], [[2, 3, 4]], edits=EDITS)
    assert near_verbatim(chain(), [], []) == []
