"""The mean of several reference models: of Markov chains whose leaks are known exactly, and of models that cannot be averaged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ehrmem_widgets.blackbox.callable import SamplingModel
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.blackbox.mean_reference import MeanReference, models_of
from ehrmem_widgets.blackbox.protocol import Query, Step
from ehrmem_widgets.blackbox.training_splits import seen_by, seen_by_reference
from ehrmem_widgets.errors import BadInput, CannotAnswer
from ehrmem_widgets.probes.leak import ProductForm, SumForm
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.blackbox.contract import make

LEAKY = [[0.90, 0.08, 0.02], [0.30, 0.65, 0.05], [0, 0, 1]]  # methods, section 3: P(leak within 10) = .2197090
TIGHT = [[0.95, 0.049, 0.001], [0.30, 0.699, 0.001], [0, 0, 1]]
SENSITIVE = np.array([[False], [False], [True]])


def chain(transitions: list[list[float]], name: str, split: str | None = None, **more: object) -> MarkovChain:
    made = MarkovChain(np.array(transitions), **more)  # type: ignore[arg-type]
    made.name = made.fingerprint = name
    made.training_split = split
    return made


@pytest.fixture
def two() -> MeanReference:
    return MeanReference([chain(LEAKY, "leaky"), chain(TIGHT, "tight")])


def test_the_leak_is_the_mean_of_the_models_leaks(two: MeanReference) -> None:
    exact = np.mean([one.leak_probability(0, [2], 10) for one in two.references])  # type: ignore[attr-defined]
    assert two.references[0].leak_probability(0, [2], 10) == pytest.approx(0.2197090)  # type: ignore[attr-defined]
    assert 0.11 < exact < 0.12
    form = SumForm(two, [[0]], SENSITIVE, 10)
    product = ProductForm(two, [[0]], SENSITIVE[:, 0], 10)
    for each in (form, product):
        list(each.add(8000, 3))
    assert form.estimate(0).value == pytest.approx(exact, abs=0.005)
    assert product.estimate().value == pytest.approx(exact, abs=0.002)
    np.testing.assert_allclose(product.leaks[:4000].mean(), 0.2197090, atol=0.004)  # each gave half, stacked


@pytest.mark.parametrize("samples", [1, 2, 5, 7, 9])
def test_as_many_samples_as_asked_for_are_shared_evenly(samples: int) -> None:
    a, b, c = ([[1.0, 0.0, 0.0]] * 3, [[0.0, 1.0, 0.0]] * 3, [[0.0, 0.0, 1.0]] * 3)  # each says its own code only
    mean = MeanReference([chain(a, "a"), chain(b, "b"), chain(c, "c")])
    given = np.zeros(3)
    for seed in range(300):
        [step] = mean.generate([[[0]], [[1]]], 1, samples, seed=seed)
        counts = np.bincount(step.codes[0], minlength=3)
        assert step.codes.shape == step.log_weight.shape == (2, samples) and np.ptp(counts) <= 1
        np.testing.assert_array_equal(step.codes[0], step.codes[1])  # whoever is asked about: the same shares
        given += counts
    np.testing.assert_array_equal(given, 100 * samples)  # the seed decides who gives one more, each in turn


def test_models_that_are_alike_do_not_give_the_same_trajectories_twice() -> None:
    mean = MeanReference([chain(LEAKY, "one"), chain(LEAKY, "its copy")])
    codes = np.stack([step.codes[0] for step in mean.generate([[[0]]], 8, 2000, seed=4)])
    first, second = codes[:, :1000], codes[:, 1000:]
    assert (first != second).any(axis=0).mean() > 0.5
    again = np.stack([step.codes[0] for step in mean.generate([[[0]]], 8, 2000, seed=4)])
    np.testing.assert_array_equal(again, codes)


def test_intervals_hold_what_they_promise(two: MeanReference) -> None:
    exact = np.mean([one.leak_probability(0, [2], 10) for one in two.references])  # type: ignore[attr-defined]
    covered = []
    for seed in range(400):
        form = ProductForm(two, [[0]], SENSITIVE[:, 0], 10)
        list(form.add(64, seed))
        found = form.estimate()
        covered.append(found.low <= exact <= found.high)
    assert np.mean(covered) > 0.93


def test_who_has_ended_says_no_more_while_the_others_go_on() -> None:
    vocabulary = Vocabulary(("A", "B", "END"), start=None, stops=frozenset({"END"}), pad=None)
    ends, goes_on = [[0.0, 0.0, 1.0]] * 3, [[0.0, 1.0, 0.0]] * 3
    mean = MeanReference([chain(ends, "ends", vocabulary=vocabulary), chain(goes_on, "goes on", vocabulary=vocabulary)])
    steps = list(mean.generate([[[0]]], 4, 4, track=np.ones((3, 1)), seed=0))
    assert [step.codes[0].tolist() for step in steps] == [[2, 2, 1, 1], *[[-1, -1, 1, 1]] * 3]
    masses = [step.mass for step in steps]
    assert [mass[0, :, 0].tolist() for mass in masses if mass is not None] == [[1, 1, 1, 1], *[[0, 0, 1, 1]] * 3]


def test_leaving_the_stream_leaves_every_models_stream() -> None:
    left: list[str] = []

    class Told(MarkovChain):
        def generate(self, *given: object, **more: object) -> Iterator[Step]:
            try:
                yield from super().generate(*given, **more)  # type: ignore[arg-type]
            finally:
                left.append(self.name)

    models = [Told(np.array(LEAKY)), Told(np.array(LEAKY))]
    models[0].name, models[0].fingerprint, models[1].name = "one", "1", "two"
    stream = MeanReference(models).generate([[[0]]], 5, 6)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert left == ["one", "two"]


def test_scores_and_their_moments_are_the_means_of_the_models(two: MeanReference) -> None:
    sequences = [[0, 1, 0, 2], [1, 1]]
    by_hand = [np.log([(0.08, 0.049), (0.30, 0.30), (0.02, 0.001)]).mean(axis=1), [np.log([0.65, 0.699]).mean()]]
    moments = two.score_moments(sequences)
    for score, expected, figures in zip(two.score(sequences), by_hand, moments, strict=True):
        np.testing.assert_allclose(score, expected)
        np.testing.assert_allclose(figures[:, 0], expected)
    each = [one.score_moments(sequences)[0] for one in two.references]
    np.testing.assert_allclose(moments[0], (each[0] + each[1]) / 2)


def test_a_cosine_is_the_mean_of_the_models_cosines_and_the_smallest_context_counts(tmp_path: Path) -> None:
    long, short = FolderModel(make(tmp_path / "long", "llama")), FolderModel(make(tmp_path / "short", "gpt2"))
    short.context_length = 10
    mean = MeanReference([long, short])
    assert mean.context_length == 10 and mean.answers == frozenset(Query) and mean.name == "mean of long and short"
    sequences = [[1, 5, 9, 4], [1, 7, 3], [1, 6] * 9]
    vectors, first = mean.embed(sequences), [s[:10] for s in sequences]
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    cosines = np.mean([one.embed(first) @ one.embed(first).T for one in (long, short)], axis=0)
    np.testing.assert_allclose(vectors @ vectors.T, cosines, atol=1e-5)
    np.testing.assert_allclose(mean.score(sequences)[2], (long.score(first)[2] + short.score(first)[2]) / 2, atol=1e-6)
    with pytest.raises(CannotAnswer, match=r"The prompt fills the model's context of 10 codes"):
        next(mean.generate([[[1]] * 12], 5, 1))
    assert str(long.folder.name) in repr(mean) and str(short.folder.name) in repr(mean)


def test_what_one_of_them_does_not_answer_their_mean_does_not() -> None:
    vocabulary = chain(LEAKY, "chain").vocabulary
    says = SamplingModel(
        lambda prompt, n, longest, seed: [[2] * longest] * n, vocabulary, context_length=50, name="says"
    )
    mean = MeanReference([chain(LEAKY, "chain"), says])
    assert mean.answers == frozenset({Query.SAMPLE})
    [step] = mean.generate([[[0]]], 1, 6, track=SENSITIVE)
    assert step.mass is None and step.codes[0, 3:].tolist() == [2, 2, 2]


def test_fingerprints_and_names_are_those_of_all(two: MeanReference) -> None:
    three = MeanReference([*two.references, chain(LEAKY, "third")])
    assert two.fingerprint == "leaky+tight" and three.name == "mean of leaky, tight and third"
    namesakes = [chain(LEAKY, "model"), chain(TIGHT, "model")]
    namesakes[0].fingerprint, namesakes[1].fingerprint = "aaaa1", "bbbb2"
    assert MeanReference(namesakes).name == "mean of model (aaaa) and model (bbbb)"
    assert models_of(two) == two.references and models_of(namesakes[0]) == (namesakes[0],) and models_of(None) == ()


def test_all_splits_that_any_of_them_saw_count_as_seen() -> None:
    mean = MeanReference([chain(LEAKY, "a", "tuning"), chain(TIGHT, "b", "other"), chain(LEAKY, "c")])
    audited = chain(LEAKY, "d", "development")
    assert seen_by_reference(mean) == {"tuning", "other", "reference"} and mean.training_split is None
    assert seen_by(audited, mean) == {"development", "tuning", "other", "reference"}
    assert seen_by(chain(LEAKY, "e"), audited) == {"train", "development"}
    assert MeanReference([chain(LEAKY, "a", "tuning"), chain(TIGHT, "b", "tuning")]).training_split == "tuning"


def test_models_that_cannot_be_averaged_are_refused_in_words() -> None:
    one = chain(LEAKY, "one")
    with pytest.raises(BadInput, match=r"two reference models or more"):
        MeanReference([one])
    with pytest.raises(BadInput, match=r"The reference model 'one' is named twice"):
        MeanReference([chain(TIGHT, "two"), one, chain(LEAKY, "one")])
    bigger = chain(np.full((4, 4), 0.25).tolist(), "bigger")
    with pytest.raises(
        BadInput, match=r"'one' and 'bigger' have different codes \(3 and 4; such as STATE//3, which one"
    ):
        MeanReference([one, bigger])
    turned = Vocabulary(tuple(reversed(one.vocabulary.codes)), start=None, stops=frozenset(), pad=None)
    with pytest.raises(BadInput, match=r"the same ones in another order"):
        MeanReference([one, chain(LEAKY, "turned", vocabulary=turned)])
    binned = Vocabulary(one.vocabulary.codes, {"STATE": (1.0,)}, start=None, stops=frozenset(), pad=None)
    with pytest.raises(BadInput, match=r"the same codes but read records differently \(their bins differ\)"):
        MeanReference([one, chain(LEAKY, "binned", vocabulary=binned)])
