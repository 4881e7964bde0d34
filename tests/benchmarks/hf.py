"""Our stream against the plain way, Hugging Face ``generate``, for each architecture."""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from safetensors.torch import save_model

from ehrmem_widgets.blackbox.delphi import Delphi, delphi_config
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.tokens.moments import moments as moments_of
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.benchmarks.lines import Lines

CODES, CONTEXT, ROUNDS = 5000, 512, 3
ATTENTION, STATES = ("gpt2", "llama", "gpt_neox"), ("mamba", "mamba2")
GOALS = {32: (">= 3.7", ">= 1"), 256: (">= 9", ">= 1")}  # prompt: attention, states
THE_LIBRARYS = {
    **dict.fromkeys(("mistral", "qwen2", "gemma", "phi", "opt"), ">= 1.5"),
    **dict.fromkeys(("rwkv", "recurrent_gemma"), ">= 1"),
}
"""Families whose layers are left to transformers, and their goals."""


def main(lines: Lines) -> None:
    """Samples a second of one prompt: 100 samples of 100 codes from the attention models; of those with states, which
    ``generate`` takes minutes for, 20 of 20; of the others 100 of 50."""
    for kind in (*ATTENTION, *STATES):
        size = 100 if kind in ATTENTION else 20
        compare(lines, kind, size, size, {length: goals[kind in STATES] for length, goals in GOALS.items()})
    for kind, goal in THE_LIBRARYS.items():
        # RWKV's own ``generate`` takes two minutes for 100 samples: with several rows the library mixes their states
        compare(lines, kind, 20 if kind == "rwkv" else 100, 50, dict.fromkeys(GOALS, goal))
    time_to_event(lines)


def time_to_event(lines: Lines) -> None:
    """Codes a second of a time-to-event model over those of a GPT-2 of its size, both in float32: 100 samples of 100 codes of a prompt of 32 moments."""
    torch.manual_seed(0)
    sizes = {"n_layer": 6, "n_head": 8, "n_embd": 256, "vocab_size": CODES, "block_size": CONTEXT}
    with tempfile.TemporaryDirectory() as name, mock.patch.dict(os.environ, EHRMEM_PRECISION="float32"):
        folder = Path(name)
        save_model(Delphi(delphi_config(sizes)), str(folder / "model.safetensors"))
        (folder / "config.json").write_text(json.dumps({"model_type": "delphi", **sizes}))
        (folder / "labels.csv").write_text(
            "".join(
                f"{one}\n" for one in ("Padding", "No event", "Female", "Male", *(f"D{i}" for i in range(4, CODES)))
            )
        )
        timed, plain = FolderModel(folder, vocabulary=folder / "labels.csv"), untrained("gpt2")
    ids = [1 + i % 1900 for i in range(32)]
    moments = [[int(one)] for one in moments_of(ids, np.linspace(0, 20_000, len(ids)))]
    ratios = []
    for round_ in range(ROUNDS + 1):
        steps = 100 if round_ else 2
        theirs = seconds(first_steps, plain, [[one] for one in ids], steps, 100)
        ratios.append(theirs / seconds(first_steps, timed, moments, steps, 100))
    found = ratios[1:]
    span = f"{min(found):.3g} to {max(found):.3g}"
    lines.add(
        "time_to_event_codes_per_second_over_gpt2_prompt_32", statistics.median(found), span, len(found), ">= 0.9"
    )


def first_steps(model: FolderModel, prompt: list[list[int]], steps: int, samples: int) -> None:
    """So many codes of each continuation; the horizon is farther, in codes or in days."""
    taken = sum(1 for _ in islice(model.generate([prompt], 10**6, samples, seed=1), steps))
    assert taken == steps


def compare(lines: Lines, kind: str, samples: int, horizon: int, goals: dict[int, str]) -> None:
    """One line a prompt's length."""
    compare_on(lines, f"samples_per_second_vs_hf_generate_{kind}", untrained(kind), samples, horizon, goals)


def compare_on(lines: Lines, name: str, model: FolderModel, samples: int, horizon: int, goals: dict[int, str]) -> None:
    """One line a prompt's length: both ways in turn, the first time as a warm-up."""
    for length, goal in goals.items():
        prompt = [[1 + i % 1900] for i in range(length)]
        ratios = []
        for round_ in range(ROUNDS + 1):
            steps = horizon if round_ else 2
            theirs = seconds(hf_generate, model, prompt, steps, samples)
            ours = seconds(our_stream, model, prompt, steps, samples)
            ratios.append(theirs / ours)
        found = ratios[1:]
        span = f"{min(found):.3g} to {max(found):.3g}"
        lines.add(f"{name}_prompt_{length}", statistics.median(found), span, len(found), goal)


def untrained(kind: str) -> FolderModel:
    """6 to 8 million random weights, nothing that ends; 5,000 codes, or 2,000 where the layers are the library's."""
    import transformers

    torch.manual_seed(0)
    size = 2000 if kind in THE_LIBRARYS else CODES
    common = {"vocab_size": size, "hidden_size": 256, "bos_token_id": 0, "eos_token_id": None, "pad_token_id": 0}
    attention = {**common, "num_hidden_layers": 6, "num_attention_heads": 8, "max_position_embeddings": CONTEXT}
    grouped = {**attention, "num_key_value_heads": 4, "intermediate_size": 704}
    states = {**common, "num_hidden_layers": 12}
    configs: dict[str, Any] = {
        "gpt2": lambda: transformers.GPT2Config(**attention),
        "llama": lambda: transformers.LlamaConfig(**attention, intermediate_size=704),
        "gpt_neox": lambda: transformers.GPTNeoXConfig(**attention, intermediate_size=1024),
        "mamba": lambda: transformers.MambaConfig(**states),
        "mamba2": lambda: transformers.Mamba2Config(**states, num_heads=8, head_dim=64, n_groups=1),
        "mistral": lambda: transformers.MistralConfig(**grouped),
        "qwen2": lambda: transformers.Qwen2Config(**grouped),
        "gemma": lambda: transformers.GemmaConfig(**grouped, head_dim=32),
        "phi": lambda: transformers.PhiConfig(**attention, intermediate_size=1024),
        "opt": lambda: transformers.OPTConfig(**attention, ffn_dim=1024, word_embed_proj_dim=256),
        "rwkv": lambda: transformers.RwkvConfig(**common, num_hidden_layers=6, context_length=CONTEXT),
        "recurrent_gemma": lambda: transformers.RecurrentGemmaConfig(
            **attention,
            num_key_value_heads=1,
            head_dim=32,
            lru_width=256,
            attention_window_size=128,
            intermediate_size=1024,
        ),
    }
    return opened(configs[kind](), device="cpu")


def opened(config: Any, *, device: str, dtype: str = "float32") -> FolderModel:
    """A model of random weights."""
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        codes = tuple(f"CODE//{i}" for i in range(config.vocab_size))
        Vocabulary(codes, start=None, stops=frozenset(), pad=None).save(Path(folder) / "vocabulary.json")
        return FolderModel(folder, device=device, dtype=dtype)


def our_stream(model: Any, prompt: list[list[int]], horizon: int, samples: int) -> None:
    """All steps."""
    for _ in model.generate([prompt], horizon, samples, seed=1):
        pass


@lru_cache
def library_model(model: FolderModel) -> Any:
    """The library's own model with the same weights, as the library multiplies."""
    import transformers

    ours: Any = model._model
    if isinstance(ours, transformers.PreTrainedModel):
        library = type(ours)(ours.config)
    else:
        library = transformers.LlamaForCausalLM(transformers.LlamaConfig(**vars(ours.config)))
    library.load_state_dict(ours.state_dict())
    return library.eval().to(ours.device, ours.dtype)


def hf_generate(model: Any, prompt: list[list[int]], horizon: int, samples: int) -> np.ndarray:
    """(samples, horizon) ids by the library's own loop."""
    ids = torch.tensor([[slot[0] for slot in prompt]], device=model.device)
    stops = [int(i) for i in model._stops] or None
    with torch.inference_mode():
        out = library_model(model).generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, num_return_sequences=samples,
            max_new_tokens=horizon, eos_token_id=stops, pad_token_id=0, min_new_tokens=None if stops else horizon,
            use_cache=True,
        )  # fmt: skip
    return np.asarray(out[:, ids.shape[1] :].cpu())


def seconds(act: Any, *arguments: Any) -> float:
    """How long it takes."""
    began = time.perf_counter()
    act(*arguments)
    return time.perf_counter() - began


if __name__ == "__main__":
    only, found = sys.argv[1:], Lines()
    ATTENTION, STATES = (tuple(k for k in kinds if not only or k in only) for kinds in (ATTENTION, STATES))
    THE_LIBRARYS = {kind: goal for kind, goal in THE_LIBRARYS.items() if not only or kind in only}
    main(found)
    found.finish()
