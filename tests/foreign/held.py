"""Models and sequences that nobody here designed for: trained by a plain transformers script, on people made from a seed, in vocabularies of others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import LlamaConfig, LlamaForCausalLM

PEOPLE = 24  # of each split
Write = Callable[[np.random.Generator, list[int]], list[str]]


@dataclass(frozen=True)
class Held:
    """A model folder, its sequences as the owner has them, and the plain model to compute with."""

    model: str
    sequences: str
    ids: dict[str, dict[int, list[int]]]
    """By split and patient: the sequence."""
    plain: LlamaForCausalLM


def unmarked(rng: np.random.Generator, walk: list[int]) -> list[str]:
    """A vocabulary without any mark: no start, no end, no time, no age."""
    return [f"c|{state:03d} {'ab'[int(rng.random() < 0.3)]}" for state in walk]


def ethos(rng: np.random.Generator, walk: list[int]) -> list[str]:
    """As ETHOS-ARES writes: static codes before the start, intervals, a value as the code after its test."""
    codes = [f"GENDER//{'FM'[walk[0] % 2]}", f"RACE//{walk[1] % 4}", "TIMELINE_START"]
    for state in walk:
        codes.append(("5m-15m", "1d-2d", "30d-2mt")[state % 3])
        codes += [f"LAB//{state:03d}", f"Q{1 + int(rng.integers(10))}"] if state % 2 else [f"ICD//CM//{state:03d}"]
    return [*codes, "TIMELINE_END"]


def held(folder: Path, write: Write, *, steps: int, seed: int = 0) -> Held:
    """Train on half of the people for so many full-batch steps and write what an owner would hand over."""
    rng = np.random.default_rng(seed)
    follows = rng.dirichlet(np.full(40, 0.15), 40)
    written: dict[str, dict[int, list[str]]] = {"train": {}, "held_out": {}}
    for patient in range(2 * PEOPLE):
        walk = [int(rng.integers(40))]
        while len(walk) < 24:
            walk.append(int(rng.choice(40, p=follows[walk[-1]])))
        written["train" if patient % 2 else "held_out"][900 + 7 * patient] = write(rng, walk)
    codes = sorted({code for people in written.values() for one in people.values() for code in one})
    number = {code: int(place) for code, place in zip(codes, rng.permutation(len(codes)), strict=True)}
    ids = {split: {p: [number[code] for code in one] for p, one in people.items()} for split, people in written.items()}
    plain = _trained(list(ids["train"].values()), len(codes), steps, seed)
    model = folder / "model"
    plain.save_pretrained(model, safe_serialization=True)
    (model / "vocabulary.json").write_text(json.dumps(number))
    (model / "training.json").write_text(json.dumps({"split": "train"}))
    rows = [{"subject_id": p, "split": split, "input_ids": one} for split in ids for p, one in ids[split].items()]
    pq.write_table(pa.Table.from_pylist(rows), folder / "sequences.parquet")
    return Held(str(model), str(folder / "sequences.parquet"), ids, plain)


def _trained(sequences: list[list[int]], size: int, steps: int, seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=size, hidden_size=96, intermediate_size=192, num_hidden_layers=2, num_attention_heads=4,
            max_position_embeddings=128, bos_token_id=None, eos_token_id=None, pad_token_id=None,
        )
    )  # fmt: skip
    longest = max(map(len, sequences))
    batch = torch.tensor([[*one, *[-100] * (longest - len(one))] for one in sequences])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(steps):
        model(input_ids=batch.clamp(min=0), labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return model.eval()
