"""Our stream against the plain way, Hugging Face ``generate``, for each architecture."""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.benchmarks.lines import Lines

CODES, CONTEXT, ROUNDS = 5000, 512, 3
ATTENTION, STATES = ("gpt2", "llama", "gpt_neox"), ("mamba", "mamba2")
GOALS = {32: (">= 3", ">= 1"), 256: (">= 6", ">= 1")}  # prompt: attention, states


def main(lines: Lines) -> None:
    """Samples a second of one prompt: 100 samples of 100 codes from the attention models; of those with states, which
    ``generate`` takes minutes for, 20 of 20."""
    for kind in (*ATTENTION, *STATES):
        model, size = untrained(kind), 100 if kind in ATTENTION else 20
        for length, goals in GOALS.items():
            prompt = [[1 + i % 4000] for i in range(length)]
            ratios = []
            for round_ in range(ROUNDS + 1):
                horizon = size if round_ else 2  # first a warm-up
                theirs = seconds(hf_generate, model, prompt, horizon, size)
                ours = seconds(our_stream, model, prompt, horizon, size)
                ratios.append(theirs / ours)
            name, goal = f"samples_per_second_vs_hf_generate_{kind}_prompt_{length}", goals[kind in STATES]
            found = ratios[1:]
            lines.add(name, statistics.median(found), f"{min(found):.3g} to {max(found):.3g}", len(found), goal)


def untrained(kind: str) -> FolderModel:
    """6 to 8 million random weights, 5,000 codes, nothing that ends."""
    import transformers

    torch.manual_seed(0)
    common = {"vocab_size": CODES, "hidden_size": 256, "bos_token_id": 0, "eos_token_id": None, "pad_token_id": 0}
    attention = {"num_hidden_layers": 6, "num_attention_heads": 8, "max_position_embeddings": CONTEXT}
    configs: dict[str, Any] = {
        "gpt2": lambda: transformers.GPT2Config(**common, **attention),
        "llama": lambda: transformers.LlamaConfig(**common, **attention, intermediate_size=704),
        "gpt_neox": lambda: transformers.GPTNeoXConfig(**common, **attention, intermediate_size=1024),
        "mamba": lambda: transformers.MambaConfig(**common, num_hidden_layers=12),
        "mamba2": lambda: transformers.Mamba2Config(
            **common, num_hidden_layers=12, num_heads=8, head_dim=64, n_groups=1
        ),
    }
    with tempfile.TemporaryDirectory() as folder:
        transformers.AutoModelForCausalLM.from_config(configs[kind]()).save_pretrained(folder)
        codes = tuple(f"CODE//{i}" for i in range(CODES))
        Vocabulary(codes, start=None, stops=frozenset(), pad=None).save(Path(folder) / "vocabulary.json")
        return FolderModel(folder, device="cpu")


def our_stream(model: Any, prompt: list[list[int]], horizon: int, samples: int) -> None:
    """All steps."""
    for _ in model.generate([prompt], horizon, samples, seed=1):
        pass


@lru_cache
def library_model(model: FolderModel) -> Any:
    """The library's own model with the same weights, where ours was read without it."""
    import transformers

    ours: Any = model._model
    if isinstance(ours, transformers.PreTrainedModel):
        return ours
    library = transformers.LlamaForCausalLM(transformers.LlamaConfig(**vars(ours.config)))
    library.load_state_dict(ours.state_dict())
    return library.eval()


def hf_generate(model: Any, prompt: list[list[int]], horizon: int, samples: int) -> np.ndarray:
    """(samples, horizon) ids by the library's own loop."""
    ids = torch.tensor([[slot[0] for slot in prompt]])
    stops = [int(i) for i in model._stops] or None
    with torch.inference_mode():
        out = library_model(model).generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, num_return_sequences=samples,
            max_new_tokens=horizon, eos_token_id=stops, pad_token_id=0, min_new_tokens=None if stops else horizon,
            use_cache=True,
        )  # fmt: skip
    return np.asarray(out[:, ids.shape[1] :])


def seconds(act: Any, *arguments: Any) -> float:
    """How long it takes."""
    began = time.perf_counter()
    act(*arguments)
    return time.perf_counter() - began


if __name__ == "__main__":
    only, found = sys.argv[1:], Lines()
    ATTENTION, STATES = (tuple(k for k in kinds if not only or k in only) for kinds in (ATTENTION, STATES))
    main(found)
    found.finish()
