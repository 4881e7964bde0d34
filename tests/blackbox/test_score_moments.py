"""The moments of the model's own next-code distribution, against transformers' logits and a chain's closed form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from ehrmem_widgets.blackbox.folder import FolderModel, _moments
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.errors import InputError
from tests.blackbox.test_folder import CONTEXT, make, some_sequences


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FolderModel:
    return FolderModel(make(tmp_path_factory.mktemp(request.param), request.param))


def test_moments_are_those_of_transformers_whatever_stands_in_the_batch(model: FolderModel) -> None:
    library = transformers.AutoModelForCausalLM.from_pretrained(model.folder).eval()
    sequences = [*some_sequences(300, CONTEXT), [4]]  # more than one batch, and one without any code to score
    found = model.score_moments(sequences)
    assert [moments.shape for moments in found] == [(len(s) - 1, 3) for s in sequences]
    for sequence, moments in list(zip(sequences, found, strict=True))[::7]:
        with torch.inference_mode():
            p = library(input_ids=torch.tensor([sequence])).logits[0, :-1].double().softmax(-1).numpy()
        mean = (p * np.log(p)).sum(-1)
        np.testing.assert_allclose(moments[:, 0], np.log(p[np.arange(len(p)), sequence[1:]]), atol=1e-4)
        np.testing.assert_allclose(moments[:, 1], mean, atol=1e-4)
        np.testing.assert_allclose(moments[:, 2], np.sqrt((p * (np.log(p) - mean[:, None]) ** 2).sum(-1)), atol=1e-4)
    for scores, moments in zip(model.score(sequences), found, strict=True):
        np.testing.assert_allclose(scores, moments[:, 0], atol=1e-5)


def test_of_a_sequence_beyond_the_context_the_first_part_is_read(model: FolderModel) -> None:
    long = some_sequences(1, CONTEXT)[0] * CONTEXT
    [found] = model.score_moments([long])
    np.testing.assert_allclose(found, model.score_moments([long[:CONTEXT]])[0], atol=1e-5)
    with pytest.raises(InputError, match="A record without any code"):
        model.score_moments([[1, 2], []])


def test_head_wider_than_the_vocabulary(tmp_path: Path) -> None:
    [found] = FolderModel(make(tmp_path / "m", head=32)).score_moments([[1, 5, 9]])
    assert found.shape == (2, 3) and np.isfinite(found).all()


def test_the_oracle_of_min_k_plus_plus_and_extreme_logits() -> None:
    step = torch.tensor([0.7, 0.2, 0.1]).log().repeat(200, 1)
    found = _moments(step, torch.arange(200) % 3).numpy()
    np.testing.assert_allclose(found[:, 1:], np.tile([-0.801819, 0.703126], (200, 1)), atol=2e-6)
    inf = float("inf")
    logits = torch.tensor([[0.0, -inf, -inf], [0.0, -500.0, -500.0], [3.0, 3.0, -inf], [float("nan"), 1.0, 2.0]])
    certain, nearly, two, none = _moments(logits, torch.tensor([1, 1, 0, 0])).numpy()
    np.testing.assert_allclose(certain, [-inf, 0, 0], atol=1e-12)
    np.testing.assert_allclose(nearly, [-500, 0, 0], atol=1e-12)
    np.testing.assert_allclose(two, [-np.log(2), -np.log(2), 0], atol=1e-6)
    assert np.isnan(none).all()


@pytest.mark.filterwarnings("error")
def test_a_chain_with_impossible_codes() -> None:
    chain = MarkovChain(np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0]]))
    first, second = chain.score_moments([[0, 1, 1, 0], [2]])
    np.testing.assert_allclose(first[0], [np.log(0.2), -0.801819, 0.703126], atol=1e-6)
    np.testing.assert_array_equal(first[1:], [[0, 0, 0], [-np.inf, 0, 0]])
    assert second.shape == (0, 3)
