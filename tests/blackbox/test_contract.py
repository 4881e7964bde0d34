"""Every black box keeps the same contract, whatever the architecture behind it and however it is reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from ehrmem_widgets.blackbox import folder as folder_module
from ehrmem_widgets.blackbox.endpoint import EndpointModel
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.mean_reference import MeanReference
from ehrmem_widgets.blackbox.protocol import Query, Step
from ehrmem_widgets.errors import BadInput, CannotAnswer
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.blackbox.contract import (
    ARCHITECTURES,
    CODES,
    CONTEXT,
    SIZE,
    WIDTH,
    Asked,
    forward,
    make,
    random_model,
    single,
    some_sequences,
    too_far,
    wrapped,
)
from tests.blackbox.served import running_server

ROUTES = ("folder", "served", "callable", "mean")


@pytest.fixture(scope="module", params=[(route, kind) for route in ROUTES for kind in ARCHITECTURES], ids="-".join)
def asked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    route, kind = request.param
    library = random_model(kind)
    if route == "callable":
        yield Asked(wrapped(library), library, 20_000)
        return
    folder = make(tmp_path_factory.mktemp(kind), kind)
    if route == "folder":
        yield Asked(FolderModel(folder), library, 20_000)
        return
    if route == "mean":  # of the same weights in a folder and behind a function: whose mean is what each of them says
        yield Asked(MeanReference([FolderModel(folder), wrapped(library)]), library, 20_000, 2 * WIDTH)
        return
    with running_server(folder) as (address, token):
        model = EndpointModel(address, Vocabulary(CODES), token=token, embeddings=address)
        yield Asked(model, library, 4_000)
        model.close()


def test_every_question_is_answered(asked: Asked) -> None:
    assert asked.model.answers == frozenset(Query)
    assert asked.model.context_length == CONTEXT and asked.model.vocabulary.codes == CODES


# Sampling -------------------------------------------------------------------------------------------------------------


def test_samples_follow_the_exact_distribution_of_the_next_code(asked: Asked) -> None:
    exact = asked.next_code(1, 5, 9)
    [step] = asked.model.generate([single(1, 5, 9)], 1, asked.samples, seed=3)
    counts = np.bincount(step.codes[0], minlength=SIZE)
    assert counts.sum() == asked.samples
    assert not too_far(counts, exact)
    assert too_far(counts, np.roll(exact, 1))  # the test can tell


def test_the_second_step_follows_what_was_drawn_at_the_first(asked: Asked) -> None:
    first, second = asked.model.generate([single(1, 5)], 2, asked.samples, seed=4)
    drawn = int(np.bincount(first.codes[0][first.codes[0] != 2]).argmax())
    counts = np.bincount(second.codes[0][first.codes[0] == drawn], minlength=SIZE)
    assert counts.sum() > asked.samples / 20
    assert not too_far(counts, asked.next_code(1, 5, drawn))


def test_watched_mass_is_the_exact_probability_of_the_group_after_each_code(asked: Asked) -> None:
    track = np.zeros((SIZE, 2), dtype=bool)
    track[[4, 9], 0] = track[3:, 1] = True
    banned = np.isin(np.arange(SIZE), (2, 4))  # nothing ends, and what is avoided still has its mass
    steps = list(asked.model.generate([single(1, 7)], 3, 8, track=track, banned=banned, seed=0))
    codes = np.stack([step.codes[0] for step in steps], axis=-1)
    for place, step in enumerate(steps):
        assert step.mass is not None and step.mass.shape == (1, 8, 2)
        exact = np.array([asked.next_code(1, 7, *before[:place]) for before in codes.tolist()])
        expected = np.stack([exact[:, [4, 9]].sum(axis=1), exact[:, 3:].sum(axis=1)], axis=-1)
        np.testing.assert_allclose(step.mass[0], expected, atol=1e-5)


def test_avoided_codes_never_come_and_the_rest_keeps_its_proportions(asked: Asked) -> None:
    exact = asked.next_code(1, 5, 9)
    banned = np.zeros(SIZE, dtype=bool)
    banned[[int(exact.argmax()), SIZE - 1, 2]] = True
    [step] = asked.model.generate([single(1, 5, 9)], 1, asked.samples, banned=banned, seed=5)
    counts = np.bincount(step.codes[0], minlength=SIZE)
    assert not counts[banned].any()
    assert not too_far(counts, np.where(banned, 0, exact) / exact[~banned].sum())


def test_an_open_slot_is_filled_by_the_models_own_proportions_and_weighs_its_mass(asked: Asked) -> None:
    slot = [3, 8, 12]
    exact = asked.next_code(1, 5)
    [step] = asked.model.generate([[[1], [5], slot]], 1, 50, seed=6)
    np.testing.assert_allclose(step.log_weight, np.full((1, 50), np.log(exact[slot].sum())), atol=1e-4)
    # A single code behind the open slot weighs each filling by how likely it makes that code.
    [step] = asked.model.generate([[[1], [5], slot, [10]]], 1, 4000, seed=6)
    possible = {code: np.log(exact[slot].sum() * asked.next_code(1, 5, code)[10]) for code in slot}
    weights = step.log_weight[0]
    nearest = np.array([min(possible, key=lambda code: abs(possible[code] - w)) for w in weights])
    np.testing.assert_allclose(weights, [possible[code] for code in nearest], atol=1e-4)
    counts = np.array([(nearest == code).sum() for code in slot])
    assert not too_far(counts, exact[slot] / exact[slot].sum())


def test_the_same_seed_repeats_and_another_does_not(asked: Asked) -> None:
    def run(seed: int) -> np.ndarray:
        return stacked(asked.model.generate([single(1, 5), single(1, 6)], 10, 30, seed=seed))

    np.testing.assert_array_equal(run(1), run(1))
    assert (run(1) != run(2)).any()


def test_a_stream_that_is_left_says_no_more_and_the_next_one_is_whole(asked: Asked) -> None:
    def ask() -> Iterator[Step]:
        return asked.model.generate([single(1, 5)], 12, 20, banned=np.arange(SIZE) == 2, seed=1)

    whole = stacked(ask())
    left = ask()
    np.testing.assert_array_equal(next(left).codes, whole[0])
    left.close()  # type: ignore[attr-defined]
    assert next(left, None) is None
    np.testing.assert_array_equal(stacked(ask()), whole)


def test_two_streams_at_once_do_not_disturb_each_other(asked: Asked) -> None:
    def ask(code: int) -> Iterator[Step]:
        return asked.model.generate([single(1, code)], 8, 20, banned=np.arange(SIZE) == 2, seed=1)

    alone = stacked(ask(5)), stacked(ask(6))
    pairs = list(zip(ask(5), ask(6), strict=True))
    for place in (0, 1):
        np.testing.assert_array_equal(np.stack([pair[place].codes for pair in pairs]), alone[place])


def test_a_continuation_ends_at_the_stop_code_and_stays_ended(asked: Asked) -> None:
    track = np.ones((SIZE, 1), dtype=bool)
    steps = list(asked.model.generate([single(1, 5)], 20, 200, track=track, seed=1))
    codes = np.stack([step.codes[0] for step in steps])  # (steps, samples)
    ended = (codes == 2).any(axis=0)
    assert ended.any() and not ended.all()
    for column in codes[:, ended].T:
        stop = int(np.flatnonzero(column == 2)[0])
        assert (column[:stop] >= 0).all() and (column[stop + 1 :] == -1).all()
    assert (codes[:, ~ended] >= 0).all()
    mass = np.stack([step.mass[0, :, 0] for step in steps if step.mass is not None])
    np.testing.assert_allclose(mass, codes != -1, atol=1e-5)  # all codes watched: 1 while alive, 0 once ended


def test_sampling_stops_when_all_have_ended(asked: Asked) -> None:
    only_the_end = np.arange(SIZE) != 2
    steps = list(asked.model.generate([single(1, 5)], 10, 20, banned=only_the_end))
    assert [step.codes.tolist() for step in steps] == [[[2] * 20]]


def test_the_horizon_ends_where_the_context_does(asked: Asked) -> None:
    no_end = np.arange(SIZE) == 2
    steps = list(asked.model.generate([single(*[1] * (CONTEXT - 3))], 100, 4, banned=no_end))
    assert len(steps) == 3


@pytest.mark.parametrize("length", [CONTEXT, CONTEXT + 5])
def test_a_prompt_that_fills_the_context_is_refused(asked: Asked, length: int) -> None:
    with pytest.raises(
        CannotAnswer, match=r"The prompt fills the model's context of 24 codes. Give the attacker fewer"
    ):
        next(asked.model.generate([single(*[1] * length)], 5, 2))


@pytest.mark.parametrize("prompt", [[], [[1], []], [[1, 3], [5]]])
def test_a_prompt_without_a_start_or_with_an_empty_place_is_refused(asked: Asked, prompt: list[list[int]]) -> None:
    with pytest.raises(BadInput, match=r"at least one code|must be one code \(the start code\)"):
        next(asked.model.generate([prompt], 5, 2))


def test_an_answer_about_a_prompt_does_not_depend_on_the_others(asked: Asked) -> None:
    prompts = [
        [*single(1, 5), [3, 4, 8], [7]],
        [*single(1, 6, 9, 11, 4, 4, 3), [3, 9], [8, 12]],
        [*single(1, 10, 3), [4, 5], [6]],
    ]
    banned = np.arange(SIZE) == 13

    def ask(chosen: list[int]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        track = np.eye(SIZE)[:, [4, 9]]
        steps = list(asked.model.generate([prompts[i] for i in chosen], 8, 40, track=track, banned=banned, seed=2))
        answers = []
        for row in range(len(chosen)):
            codes = [np.full(40, -1)] * 8
            mass = [np.zeros((40, 2))] * 8
            for place, step in enumerate(steps):
                assert step.mass is not None
                codes[place], mass[place] = step.codes[row], step.mass[row]
            answers.append((np.stack(codes), np.stack(mass), steps[0].log_weight[row]))
        return answers

    together = ask([0, 1, 2])
    for i in range(3):
        [alone] = ask([i])
        np.testing.assert_array_equal(alone[0], together[i][0])
        np.testing.assert_allclose(alone[1], together[i][1], atol=1e-5)
        np.testing.assert_allclose(alone[2], together[i][2], atol=1e-4)


# Scores and embeddings ------------------------------------------------------------------------------------------------


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "_CODES_AT_ONCE", 128)


@pytest.mark.usefixtures("small_batches")
def test_scores_and_their_moments_are_those_of_transformers_whatever_stands_in_the_batch(asked: Asked) -> None:
    sequences = [*some_sequences(40, CONTEXT), [4]]  # several batches, and one without any code to score
    scores, moments = asked.model.score(sequences), asked.model.score_moments(sequences)
    assert [len(found) for found in scores] == [len(s) - 1 for s in sequences]
    assert [found.shape for found in moments] == [(len(s) - 1, 3) for s in sequences]
    for sequence, score, found in zip(sequences[:-1], scores, moments, strict=False):
        logs = forward(asked.library, sequence)
        p = np.exp(logs)
        mean = (p * logs).sum(-1)
        np.testing.assert_allclose(score, logs[np.arange(len(logs)), sequence[1:]], atol=1e-5)
        np.testing.assert_allclose(found[:, 0], score, atol=1e-5)
        np.testing.assert_allclose(found[:, 1], mean, atol=1e-4)
        np.testing.assert_allclose(found[:, 2], np.sqrt((p * (logs - mean[:, None]) ** 2).sum(-1)), atol=1e-4)


def test_of_a_sequence_beyond_the_context_the_first_part_is_read(asked: Asked) -> None:
    long = some_sequences(1, CONTEXT)[0] * CONTEXT
    first = long[:CONTEXT]
    np.testing.assert_allclose(asked.model.score([long])[0], asked.model.score([first])[0], atol=1e-5)
    np.testing.assert_allclose(asked.model.score_moments([long])[0], asked.model.score_moments([first])[0], atol=1e-5)
    np.testing.assert_allclose(asked.model.embed([long]), asked.model.embed([first]), atol=1e-5)


@pytest.mark.usefixtures("small_batches")
def test_embeddings_have_unit_length_and_do_not_depend_on_the_batch(asked: Asked) -> None:
    sequences = some_sequences(40, CONTEXT)
    together = asked.model.embed(sequences)
    assert together.shape == (40, asked.width)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    for place in range(0, 40, 5):
        np.testing.assert_allclose(asked.model.embed([sequences[place]])[0], together[place], atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 0.01
    assert asked.model.embed([]).shape == (0, 0)


@pytest.mark.parametrize("question", ["score", "score_moments", "embed"])
def test_a_record_without_codes_is_refused(asked: Asked, question: str) -> None:
    ask: Callable[[list[list[int]]], object] = getattr(asked.model, question)
    with pytest.raises(BadInput, match="A record without any code"):
        ask([[1, 2], []])


def stacked(steps: Iterator[Step]) -> np.ndarray:
    """(steps, prompts, samples)"""
    return np.stack([step.codes for step in steps])
