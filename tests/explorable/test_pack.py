"""A packed model holds the very numbers of its folder, is small, and what a page cannot run is refused in words."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.explorable.build_kernels import HERE, build
from ehrmem_widgets.explorable.pack import pack_model
from ehrmem_widgets.samples.folders import sample_model, sample_moderate, sample_private, sample_reference
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.blackbox.test_decoding import small_model

SAMPLES = (sample_model, sample_moderate, sample_private, sample_reference)


def saved(model: Any, folder: Path) -> Path:
    """A model of tests.blackbox.test_decoding as a folder."""
    model.save_pretrained(folder)
    codes = ("[PAD]", "[BOS]", "[EOS]", *(f"CODE//{i}" for i in range(3, model.config.vocab_size)))
    Vocabulary(codes).save(folder / "vocabulary.json")
    return folder


def numbers(array: Any) -> np.ndarray:
    found = np.frombuffer(base64.b64decode(array["base64"]), "<f2" if array["format"] == "float16" else "<f4")
    return found.reshape(array["shape"])


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_weights_of_the_sample_models_come_out_as_they_were_saved(sample: Any) -> None:
    packed: Any = pack_model(sample())
    stored = {name: weight.numpy() for name, weight in load_file(sample() / "model.safetensors").items()}
    assert {array.dtype for array in stored.values()} == {np.dtype(np.float16)}
    assert np.array_equal(numbers(packed["embedding"]), stored["model.embed_tokens.weight"])
    assert packed["head"]["weight"] is None and packed["head"]["scaled"]
    for number, block in enumerate(packed["blocks"]):
        of_layer = f"model.layers.{number}."
        up = [stored[f"{of_layer}mlp.{part}_proj.weight"] for part in ("gate", "up")]
        value = numbers(block["queryKeyValue"]["weight"])[:, -48:]
        assert np.array_equal(numbers(block["up"]["weight"]), np.concatenate(up).T)
        assert np.array_equal(numbers(block["down"]["weight"]), stored[f"{of_layer}mlp.down_proj.weight"].T)
        assert np.array_equal(value, stored[f"{of_layer}self_attn.v_proj.weight"].T)
        assert block["queryKeyValue"]["scaled"] and block["up"]["scaled"]


def test_four_sample_models_leave_room_in_a_page_of_12_megabytes() -> None:
    assert sum(len(json.dumps(pack_model(sample()))) for sample in SAMPLES) < 10e6


def test_weights_that_float16_cannot_hold_stay_in_float32(tmp_path: Path) -> None:
    packed: Any = pack_model(saved(small_model("llama"), tmp_path))
    block = packed["blocks"][0]["up"]
    assert block["weight"]["format"] == packed["embedding"]["format"] == "float32" and not block["scaled"]


@pytest.mark.parametrize(
    ("max_bytes", "size"),
    [pytest.param(1_000_000, r"1\.2", id="before it is read"), pytest.param(2_400_000, r"2\.5", id="when packed")],
)
def test_a_model_too_large_is_refused_with_its_size_and_what_would_fit(max_bytes: int, size: str) -> None:
    fits = {1_000_000: "357,000", 2_400_000: "857,000"}[max_bytes]
    with pytest.raises(BadInput, match=rf"takes {size} MB .* {max_bytes / 1e6} MB are left .* about {fits} parameters"):
        pack_model(sample_model(), max_bytes)


def test_what_the_engine_does_not_know_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"\(mamba\) cannot run in a page: pages run Llama, GPT-2 and GPT-NeoX"):
        pack_model(saved(small_model("mamba"), tmp_path / "mamba"))
    folder = saved(small_model("gpt2"), tmp_path / "gpt2")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "activation_function": "tanh"}))
    with pytest.raises(BadInput, match=r"\(gpt2\) cannot run in a page: .* silu, gelu_new, gelu, relu"):
        pack_model(folder)


def test_broken_weights_are_refused(tmp_path: Path) -> None:
    model = small_model("gpt2")
    model.transformer.h[1].mlp.c_fc.bias.data[3] = torch.nan
    with pytest.raises(BadInput, match="NaN"):
        pack_model(saved(model, tmp_path))


def test_the_committed_kernels_are_what_their_source_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = Path(__file__).with_name("ziglang.lock")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--require-hashes", "--no-deps", "--no-compile"]
    installed = subprocess.run(
        [*pip, "--target", str(tmp_path / "zig"), "-r", str(lock)], capture_output=True, timeout=600
    )
    if installed.returncode:
        pytest.skip("pip could not fetch ziglang, the compiler of kernels.wasm")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "zig"))
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("ZIG_LOCAL_CACHE_DIR", str(tmp_path / "cache"))
    build(tmp_path / "kernels.wasm")
    assert (tmp_path / "kernels.wasm").read_bytes() == (HERE / "kernels.wasm").read_bytes()
