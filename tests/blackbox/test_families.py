"""Every family that opens is scored, and sampled from, as its plain forward pass says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.blackbox.contract import CODES, SIZE, forward, single, some_sequences

LENGTH = 24
SMALL: dict[str, Any] = {
    "vocab_size": SIZE, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
    "head_dim": 8, "intermediate_size": 24, "max_position_embeddings": 32, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GPT: dict[str, Any] = {"vocab_size": SIZE, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}
FAMILIES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("gpt2", "openai-gpt", "gpt_bigcode"), GPT),
    **dict.fromkeys(("codegen", "gptj"), GPT | {"n_head": 4, "rotary_dim": 4, "n_inner": 24}),
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi", "phi3", "olmo", "olmo2", "cohere", "cohere2"), SMALL
    ),
    **dict.fromkeys(("granite", "stablelm", "starcoder2", "nemotron", "glm", "helium", "smollm3", "ernie4_5", "seed_oss", "biogpt"), SMALL),
    **dict.fromkeys(("gpt_neox", "gpt_neox_japanese", "persimmon", "exaone4", "hunyuan_v1_dense", "ministral", "apertus"), SMALL),
    "gemma3_text": SMALL | {"sliding_window": 8},
    "gpt_neo": {**SMALL, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]], "window_size": 8, "intermediate_size": None},
    "opt": SMALL | {"ffn_dim": 24, "word_embed_proj_dim": 8},
    "bloom": {"vocab_size": SIZE, "hidden_size": 16, "n_layer": 2, "n_head": 2},
    "falcon": {"vocab_size": SIZE, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2},
    "mpt": {"vocab_size": SIZE, "d_model": 16, "n_layers": 2, "n_heads": 2, "max_seq_len": 32},
    "xglm": {"vocab_size": SIZE, "d_model": 16, "num_layers": 2, "attention_heads": 2, "ffn_dim": 24, "max_position_embeddings": 32},
    "mixtral": SMALL | {"num_local_experts": 2},
    "olmoe": SMALL | {"num_experts": 2, "num_experts_per_tok": 1},
    "rwkv": {"vocab_size": SIZE, "hidden_size": 16, "num_hidden_layers": 2, "context_length": 32},
    "recurrent_gemma": SMALL | {"lru_width": 16, "attention_window_size": 8, "block_types": ["recurrent", "attention"]},
    "mamba": {"vocab_size": SIZE, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4},
    "falcon_mamba": {"vocab_size": SIZE, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4},
}  # fmt: skip


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_family_is_scored_as_its_forward_pass_says(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    library = transformers.AutoModelForCausalLM.from_config(
        transformers.AutoConfig.for_model(kind, **FAMILIES[kind])
    ).eval()
    for name, parameter in library.named_parameters():
        if parameter.dim() > 1 and not name.endswith("A_log"):
            parameter.data.mul_(4)  # so that the answers differ from code to code
    library.save_pretrained(tmp_path)
    Vocabulary(CODES, stops=frozenset()).save(tmp_path / "vocabulary.json")
    model = FolderModel(tmp_path, device="cpu")
    sequences = some_sequences(6, LENGTH)
    for sequence, found in zip(sequences, model.score(sequences), strict=True):
        exact = forward(library, sequence)[range(len(sequence) - 1), sequence[1:]]
        np.testing.assert_allclose(found, exact, atol=1e-4)
        assert exact.std() > 0.01 or len(exact) < 3

    prompts = [single(1, 5, 9), single(4, 7, 8, 3, 6)]
    steps = list(model.generate(prompts, 4, 3, track=np.eye(SIZE), seed=1))
    for row, prompt in enumerate(prompts):
        for sample in range(3):
            whole = [*(code for [code] in prompt), *(int(step.codes[row, sample]) for step in steps)]
            exact = np.exp(forward(library, whole))[-len(steps) :]
            for step, of_step in zip(steps, exact, strict=True):
                assert step.mass is not None
                np.testing.assert_allclose(step.mass[row, sample], of_step, atol=1e-4)
