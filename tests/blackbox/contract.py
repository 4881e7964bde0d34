"""Models of every architecture, built small, and what each black box must answer about them by transformers' own forward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from scipy import stats

from ehrmem_widgets.blackbox.callable import CallableModel
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.library_decoding import LibraryDecoder
from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.tokens.vocabulary import Vocabulary

CODES = ("[PAD]", "[BOS]", "[EOS]", *(f"CODE//{i}" for i in range(17)))
SIZE, CONTEXT, WIDTH = len(CODES), 24, 16
ARCHITECTURES = ("llama", "gpt2", "gpt_neox", "mamba", "mamba2")


def config(kind: str, head: int = SIZE, width: int = WIDTH, context: int = CONTEXT) -> transformers.PretrainedConfig:
    """Two layers of an architecture."""
    common = {"vocab_size": head, "hidden_size": width, "num_hidden_layers": 2, "max_position_embeddings": context}
    attention = {"num_attention_heads": 2, "intermediate_size": 24}
    if kind == "llama":
        return transformers.LlamaConfig(**common, **attention)
    if kind == "gpt2":
        return transformers.GPT2Config(vocab_size=head, n_embd=width, n_layer=2, n_head=2, n_positions=context)
    if kind == "gpt_neox":
        return transformers.GPTNeoXConfig(**common, **attention, rotary_pct=0.5)
    if kind == "mamba":
        return transformers.MambaConfig(**common, state_size=4)
    return transformers.Mamba2Config(**common, num_heads=4, head_dim=8, state_size=8, n_groups=2, chunk_size=8)


def random_model(kind: str, **sizes: int) -> Any:
    """Random weights, drawn wide so that the answers differ from code to code."""
    torch.manual_seed(5)
    model = transformers.AutoModelForCausalLM.from_config(config(kind, **sizes)).eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and not name.endswith("A_log"):
            parameter.data.mul_(2 if kind.startswith("mamba") else 10)
    return model


def make(folder: Path, kind: str = "llama", *, head: int = SIZE, codes: tuple[str, ...] = CODES) -> Path:
    """A model folder."""
    random_model(kind, head=head).save_pretrained(folder)
    Vocabulary(codes).save(folder / "vocabulary.json")
    return folder


@dataclass
class Asked:
    """A black box, and the model that answers behind it as transformers runs it."""

    model: BlackBox
    library: Any
    samples: int  # that are quickly had
    width: int = WIDTH  # of an embedding

    def next_code(self, *ids: int) -> np.ndarray:
        """The exact distribution of the next code."""
        return next_code(self.library, *ids)


def next_code(model: Any, *ids: int) -> np.ndarray:
    """The exact distribution of the next code, by transformers' own forward. ``model``: of transformers, or its folder."""
    library = model
    if isinstance(model, FolderModel):
        library = transformers.AutoModelForCausalLM.from_pretrained(model.folder).eval()
    with torch.inference_mode():
        return library(input_ids=torch.tensor([ids])).logits[0, -1].softmax(-1).double().numpy()


def wrapped(library: Any) -> CallableModel:
    """The model as somebody's Python function."""

    def by_length(sequences: list[list[int]], ask: Callable[[torch.Tensor], torch.Tensor]) -> list[np.ndarray]:
        found = [np.empty(0)] * len(sequences)
        for length in {len(sequence) for sequence in sequences}:
            places = [place for place, sequence in enumerate(sequences) if len(sequence) == length]
            with torch.inference_mode():
                for place, row in zip(places, ask(torch.tensor([sequences[p] for p in places])), strict=True):
                    found[place] = row.numpy()
        return found

    def embed(sequences: list[list[int]]) -> list[np.ndarray]:
        return by_length(sequences, lambda ids: library.base_model(input_ids=ids).last_hidden_state.mean(dim=1))

    def logarithms(sequences: list[list[int]]) -> list[np.ndarray]:
        return by_length(sequences, lambda ids: library(input_ids=ids).logits[:, -1].double().log_softmax(-1))

    return CallableModel(logarithms, Vocabulary(CODES), context_length=CONTEXT, embed=embed, logarithms=True)


def single(*ids: int) -> list[list[int]]:
    """A prompt of exactly these codes."""
    return [[code] for code in ids]


def some_sequences(n: int, longest: int) -> list[list[int]]:
    """Random codes."""
    rng = np.random.default_rng(8)
    return [rng.integers(0, SIZE, rng.integers(2, longest + 1)).tolist() for _ in range(n)]


def forward(library: Any, sequence: Sequence[int]) -> np.ndarray:
    """(n - 1, codes) log-probabilities of the codes after the first."""
    with torch.inference_mode():
        return library(input_ids=torch.tensor([sequence])).logits[0, :-1].double().log_softmax(-1).numpy()


def too_far(counts: np.ndarray, exact: np.ndarray) -> bool:
    """Chi-square at 1 in 10,000, rare codes together."""
    n = counts.sum()
    common = exact * n >= 5
    found, expected = counts[common].astype(float), exact[common] * n
    if not common.all():
        found, expected = np.append(found, counts[~common].sum()), np.append(expected, exact[~common].sum() * n)
    keep = expected > 0
    return stats.chisquare(found[keep], expected[keep] * found[keep].sum() / expected[keep].sum()).pvalue < 1e-4


def assert_alike(one: FolderModel, other: FolderModel, within: float) -> None:
    """Mass, weight of an open slot, scores, moments and embeddings; and the fast decoder serves both."""
    assert type(one.new_decoder()) is type(other.new_decoder()) is not LibraryDecoder
    track, banned = np.eye(SIZE), np.arange(SIZE) == 2
    prompts = [[*single(1, 5), [3, 4]], [*single(1, 6, 7), [8]]]
    found = [list(m.generate(prompts, 1, 5, track=track, banned=banned)) for m in (one, other)]
    for step, expected in zip(*found, strict=True):
        assert step.mass is not None and expected.mass is not None
        np.testing.assert_allclose(step.mass[:, 0], expected.mass[:, 0], atol=within)
        np.testing.assert_allclose(step.log_weight, expected.log_weight, atol=4 * within)
    sequences = some_sequences(5, CONTEXT)
    for a, b in zip(one.score_moments(sequences), other.score_moments(sequences), strict=True):
        np.testing.assert_allclose(a, b, atol=8 * within)
    for a, b in zip(one.score(sequences), other.score(sequences), strict=True):
        np.testing.assert_allclose(a, b, atol=8 * within)
    np.testing.assert_allclose(one.embed(sequences), other.embed(sequences), atol=2 * within)
