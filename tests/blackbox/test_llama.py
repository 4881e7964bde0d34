"""The Llama that is read without transformers: its very answers, and nothing else is opened by it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers

from ehrmem_widgets.blackbox.llama import open_llama
from ehrmem_widgets.samples.folders import sample_model

SHAPE = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 48, "num_attention_heads": 4,
         "max_position_embeddings": 64}  # fmt: skip


def saved(folder: Path, **config: object) -> transformers.LlamaForCausalLM:
    torch.manual_seed(3)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**SHAPE, **config})).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.mul_(5)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    "config",
    [{}, {"num_key_value_heads": 1, "head_dim": 24}, {"tie_word_embeddings": True}, {"rope_theta": 500.0}],
)
def test_it_answers_as_the_library_does(tmp_path: Path, config: dict[str, object]) -> None:
    library = saved(tmp_path, **config)
    ours = open_llama(tmp_path, torch.float32)
    assert ours is not None
    ids = torch.randint(0, 40, (3, 20))
    with torch.inference_mode():
        torch.testing.assert_close(ours(ids).logits, library(ids).logits, atol=1e-5, rtol=1e-5)
        states = library.base_model(ids).last_hidden_state
        torch.testing.assert_close(ours.base_model(ids).last_hidden_state, states, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"attention_bias": True},
        {"hidden_act": "gelu"},
        {"model_type": "mistral"},
        {"model_type": None},
        {"sliding_window": 8},
        {"quantization_config": {"bits": 4}},
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 10_000.0}},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5}},
        {"intermediate_size": 40},
        {"num_hidden_layers": 3},
        {"num_hidden_layers": 1},
        {"hidden_size": "32"},
    ],
)
def test_whatever_else_a_config_says_is_left_to_the_library(tmp_path: Path, change: dict[str, object]) -> None:
    saved(tmp_path)
    assert open_llama(tmp_path, torch.float32) is not None
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, **change}))
    assert open_llama(tmp_path, torch.float32) is None


def test_broken_weights_are_left_to_the_library(tmp_path: Path) -> None:
    saved(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-40])
    assert open_llama(tmp_path, torch.float32) is None


def test_the_sample_models_are_opened_and_asked_without_importing_transformers() -> None:
    code = (
        "import sys; from ehrmem_widgets.blackbox.folder import FolderModel; "
        f"model = FolderModel({str(sample_model())!r}); next(model.generate([[[1]]], 2, 2)); model.score([[1, 2]]); "
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'transformers', 'huggingface_hub'}))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
