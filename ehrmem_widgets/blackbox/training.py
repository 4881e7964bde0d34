"""Train a small GPT-2 on a MEDS data set: the sample models, and a first model for whoever has data but no model yet."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ehrmem_widgets.blackbox.folder import VOCABULARY_FILE
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.sequence import encode
from ehrmem_widgets.cohort.vocabulary import Vocabulary, learn_vocabulary
from ehrmem_widgets.errors import InputError

_CODES_A_BATCH = 3072


def train_model(
    dataset: MedsDataset,
    out: Path,
    *,
    split: str = "train",
    seed: int = 0,
    epochs: int = 30,
    minutes: float | None = None,
    vocabulary: Vocabulary | None = None,
    repetitions: Mapping[int, int] | None = None,
    context: int = 256,
    width: int = 128,
    layers: int = 4,
    dropout: float = 0.0,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train on one split and write a model folder: config, safetensors (16 bit), vocabulary and how it was trained.

    ``repetitions`` says how often a patient's record is seen in an epoch (1 unless named). ``minutes`` ends the training
    after that time whatever the epoch, the learning rate falling to its end by then. With ``epochs`` alone, the same seed
    gives the same weights on the same machine. Records longer than the context are cut into windows.
    """
    import transformers

    ids = dataset.ids(split)
    if not ids:
        raise InputError(f"The split {split!r} of {dataset.name} has no patients.")
    vocabulary = vocabulary or learn_vocabulary(dataset, split=split)
    windows = _windows(dataset, ids, vocabulary, context, repetitions or {})
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=len(vocabulary),
            n_positions=context,
            n_embd=width,
            n_layer=layers,
            n_head=4,
            resid_pdrop=dropout,
            embd_pdrop=dropout,
            attn_pdrop=dropout,
            bos_token_id=vocabulary.id(vocabulary.start) if vocabulary.start else None,
            eos_token_id=[vocabulary.id(code) for code in sorted(vocabulary.stops)],
            pad_token_id=vocabulary.id(vocabulary.pad) if vocabulary.pad else None,
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, betas=(0.9, 0.98))
    begun = time.monotonic()
    losses: list[float] = []
    model.train()
    for epoch in range(epochs):
        batches = _batches(windows, rng)
        total = 0.0
        for place, batch in enumerate(batches):
            part = (epoch + place / len(batches)) / epochs
            if minutes is not None:
                part = max(part, (time.monotonic() - begun) / (60 * minutes))
            if part >= 1:
                break
            for group in optimizer.param_groups:
                group["lr"] = 1e-3 * min(1.0, (epoch * len(batches) + place + 1) / 50) * _falling(part)
            total += _learn(model, optimizer, batch)
        else:
            losses.append(total / len(batches))
            report(f"epoch {epoch + 1} of {epochs}: loss {losses[-1]:.3f} ({time.monotonic() - begun:.0f} s)")
            continue
        break
    facts = {
        "data": dataset.name,
        "split": split,
        "patients": len(ids),
        "windows": len(windows),
        "codes": int(sum(len(w) for w in windows)),
        "parameters": sum(p.numel() for p in model.parameters()),
        "seed": seed,
        "epochs": len(losses),
        "final_loss": round(losses[-1], 4) if losses else None,
    }
    _save(model, vocabulary, facts, out)
    return facts


def _windows(
    dataset: MedsDataset, ids: Sequence[int], vocabulary: Vocabulary, context: int, repetitions: Mapping[int, int]
) -> list[list[int]]:
    windows = []
    for record in dataset.records(ids):
        sequence = vocabulary.ids(encode(record, vocabulary).codes)
        cut = [sequence[start : start + context] for start in range(0, len(sequence), context)]
        windows += [w for w in cut if len(w) > 1] * repetitions.get(record.patient_id, 1)
    return windows


def _batches(windows: list[list[int]], rng: np.random.Generator) -> list[torch.Tensor]:
    """Windows of like length together, padded on the right with -1; the batches in random order."""
    order = sorted(rng.permutation(len(windows)), key=lambda i: len(windows[i]) + rng.uniform(-4, 4))
    batches: list[list[int]] = [[]]
    for i in order:
        if batches[-1] and len(windows[i]) * (len(batches[-1]) + 1) > _CODES_A_BATCH:
            batches.append([])
        batches[-1].append(i)
    padded = []
    for places in batches:
        longest = max(len(windows[i]) for i in places)
        padded.append(torch.tensor([windows[i] + [-1] * (longest - len(windows[i])) for i in places]))
    return [padded[i] for i in rng.permutation(len(padded))]


def _learn(model: Any, optimizer: torch.optim.Optimizer, batch: torch.Tensor) -> float:
    logits = model(input_ids=batch.clamp(min=0)).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), ignore_index=-1)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


def _falling(part: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * part)) * 0.95 + 0.05


def _save(model: Any, vocabulary: Vocabulary, facts: Mapping[str, Any], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(out, safe_serialization=True)
    (out / "generation_config.json").unlink(missing_ok=True)
    vocabulary.save(out / VOCABULARY_FILE)
    (out / "training.json").write_text(json.dumps(facts, indent=1) + "\n")
