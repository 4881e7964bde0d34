"""A model that is not what it seems is refused: one that reads ahead, one whose scores depend on what is asked beside, one that samples otherwise than it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertLMHeadModel, Phi3Config, Phi3ForCausalLM

from ehrmem_widgets.blackbox.callable import SamplingModel
from ehrmem_widgets.blackbox.checks import check_looks_back_only, check_samples_honest, check_scores_alone
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.blackbox.opening import open_with
from ehrmem_widgets.blackbox.protocol import Step
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.samples.folders import sample_data, sample_model
from ehrmem_widgets.tokens.vocabulary import Vocabulary

SIZE = 30


@pytest.fixture(scope="module")
def chain() -> MarkovChain:
    return MarkovChain(np.random.default_rng(0).dirichlet(np.full(SIZE, 0.5), SIZE))


@pytest.fixture(scope="module")
def records(chain: MarkovChain) -> list[list[int]]:
    (*steps,) = chain.generate([[[0]]], 20, 6, seed=3)
    return np.stack([step.codes[0] for step in steps]).T.tolist()


class Served:
    """A chain behind a server that samples in its own way."""

    def __init__(
        self,
        chain: MarkovChain,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        copies: bool = False,
        cached: bool = False,
    ) -> None:
        p = chain.transitions ** (1 / temperature)
        order = np.argsort(-p, axis=1)
        before = np.take_along_axis(p / p.sum(axis=1, keepdims=True), order, axis=1).cumsum(axis=1)
        kept = np.zeros_like(p)
        np.put_along_axis(kept, order, np.roll(before, 1, axis=1) * (np.arange(len(p)) > 0) < top_p, axis=1)
        p = p * kept
        self._drawn_from = MarkovChain(p / p.sum(axis=1, keepdims=True), chain.vocabulary)
        self._chain, self._copies, self._cached = chain, copies, cached

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chain, name)

    def generate(self, prompts: Any, horizon: int, samples: int, *, seed: int = 0, **more: Any) -> Iterator[Step]:
        for step in self._drawn_from.generate(prompts, horizon, samples, seed=0 if self._cached else seed, **more):
            codes = np.repeat(step.codes[:, :1], samples, axis=1) if self._copies else step.codes
            yield Step(codes, step.mass, step.log_weight)


def test_samples_that_follow_what_is_reported_pass_at_the_rate_that_is_said(
    chain: MarkovChain, records: list[list[int]]
) -> None:
    found = [check_samples_honest(chain, records, seed=7 * seed) for seed in range(60)]
    assert min(found) > 1e-4 and np.mean(np.array(found) < 0.1) < 0.3


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"temperature": 2.0}, "do not follow the probabilities that it reports"),
        ({"temperature": 0.5}, "do not follow"),
        ({"top_p": 0.5}, "A temperature, top-p or top-k is set"),
        ({"copies": True}, "or samples are copies"),
        ({"cached": True}, "the same samples whatever the seed"),
    ],
)
def test_a_server_that_samples_in_another_way_is_refused(
    chain: MarkovChain, records: list[list[int]], how: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        check_samples_honest(Served(chain, **how), records)


def test_a_model_that_only_generates_and_repeats_itself_is_refused(
    chain: MarkovChain, records: list[list[int]]
) -> None:
    def model(ask: Any) -> SamplingModel:
        return SamplingModel(ask, chain.vocabulary, context_length=100)

    def varied(prompt: list[int], samples: int, longest: int, seed: int) -> list[list[int]]:
        return np.random.default_rng(seed).integers(0, SIZE, (samples, longest)).tolist()

    assert check_samples_honest(model(varied), records) == 1.0
    with pytest.raises(BadInput, match="begins every record in one and the same way"):
        check_samples_honest(model(lambda prompt, samples, longest, seed: [[1] * longest] * samples), records)
    with pytest.raises(BadInput, match="whatever the seed"):
        check_samples_honest(model(lambda prompt, samples, longest, seed: varied(prompt, samples, longest, 0)), records)


def saved_bert(folder: Any) -> FolderModel:
    config = BertConfig(
        vocab_size=SIZE,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    torch.manual_seed(2)
    model = BertLMHeadModel(config)
    for weight in model.parameters():
        weight.data *= 8  # as one that has learned something
    model.save_pretrained(folder)
    Vocabulary(("[PAD]", "[BOS]", "[EOS]", *(f"LAB//{i}" for i in range(SIZE - 3)))).save(folder / "vocabulary.json")
    return FolderModel(folder)


def test_a_masked_model_is_refused_and_ours_are_not(tmp_path: Any, records: list[list[int]]) -> None:
    with pytest.raises(BadInput, match=r"reads what comes after: .* It fills gaps and cannot continue a record"):
        check_looks_back_only(saved_bert(tmp_path), records)
    model = FolderModel(sample_model())
    some = [list(range(3, 40 + i)) for i in range(4)]
    assert check_looks_back_only(model, some) < 1e-4 and check_scores_alone(model, some) < 1e-4


def test_scores_that_change_beside_a_long_record_are_refused(tmp_path: Any) -> None:
    """With transformers' own longrope: beyond 64 codes all records of a call get other positions."""
    rope = {
        "rope_type": "longrope", "rope_theta": 10_000.0, "short_factor": [1.0] * 8, "long_factor": [8.0] * 8, "original_max_position_embeddings": 64,
    }  # fmt: skip
    config = Phi3Config(
        vocab_size=SIZE, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
        max_position_embeddings=512, original_max_position_embeddings=64, rope_parameters=rope, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = Phi3ForCausalLM(config)
    for weight in model.parameters():
        weight.data *= 8
    model.save_pretrained(tmp_path)
    Vocabulary(("[PAD]", "[BOS]", "[EOS]", *(f"LAB//{i}" for i in range(SIZE - 3)))).save(tmp_path / "vocabulary.json")
    some = np.random.default_rng(0).integers(3, SIZE, (4, 40)).tolist()
    with pytest.raises(
        BadInput, match=r"beside a record of 200 codes those of one of 40 change by up to \d+\.\d\d nats"
    ):
        check_scores_alone(FolderModel(tmp_path), some)


def test_all_of_it_is_looked_at_when_a_model_is_opened(chain: MarkovChain) -> None:
    model = FolderModel(sample_model())

    class Warm:
        def __getattr__(self, name: str) -> Any:
            return getattr(model, name)

        def generate(self, prompts: Any, horizon: int, samples: int, *, seed: int = 0, **more: Any) -> Iterator[Step]:
            yield from model.generate(prompts, horizon, samples, seed=5, **more)

    with pytest.raises(BadInput, match="whatever the seed"):
        open_with(MedsDataset(sample_data()), Warm())
