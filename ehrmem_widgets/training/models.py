"""Train a small Llama on a MEDS data set: the sample models, and a first model for whoever has data but no model yet."""

from __future__ import annotations

import copy
import itertools
import json
import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ehrmem_widgets.blackbox.delphi import Delphi
from ehrmem_widgets.blackbox.folder import VOCABULARY_FILE
from ehrmem_widgets.cohort.dataset import MEMBER_SPLIT, MedsDataset
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.cores import threads
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.settings import EPOCHS, MINUTES, SEED
from ehrmem_widgets.terminal import say
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.tokens.vocabulary import Vocabulary, learn_vocabulary
from ehrmem_widgets.training.time_to_event import new_delphi, race_loss, write_delphi

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedModel

_CODES_A_BATCH, _RATE = 3072, 1e-3
_CODES_A_BATCH_IN_TIME, _RATE_IN_TIME = 1024, 2e-3  # of a time-to-event model, whose records are short


def train_model(
    dataset: MedsDataset,
    out: Path,
    *,
    split: str | None = MEMBER_SPLIT,
    people: Collection[int] | None = None,
    seed: int = 0,
    epochs: int | None = 30,
    minutes: float | None = None,
    begun: float | None = None,
    vocabulary: Vocabulary | None = None,
    repetitions: Mapping[int, int] | None = None,
    context: int = 256,
    width: int = 192,
    layers: int = 2,
    dropout: float = 0.0,
    time_to_event: bool = False,
    after_epoch: Callable[[PreTrainedModel | Delphi], None] | None = None,
    report: Callable[[str], None] = say,
) -> dict[str, object]:
    """Train on one split and write a model folder: config, safetensors (16 bit), vocabulary and how it was trained.

    ``people``: whom to train on, rather than everybody of the split (None: they are of several). ``repetitions`` says how often a patient's record is seen in an epoch (1 unless named). ``minutes`` ends
    all of it, reading and saving included, after that time (since ``begun`` by ``time.monotonic``, else since the call), the learning rate falling to
    its end by then; ``epochs`` None: as many as fit. With ``epochs`` alone, the same seed
    gives the same weights on the same machine. Records longer than the context are cut into windows;
    half of them are seen with events left out, so that the model can continue from partial records. Few wide layers and one
    key head: twice as quick a step as a deeper model with as many weights. ``time_to_event``: a model as Delphi-2M, which is told ages and gives
    waiting times, instead of a Llama. ``after_epoch`` is given the model after every whole epoch, to look at.

    Raises BadInput when the time is over before the first step.
    """
    begun = time.monotonic() if begun is None else begun
    SEED.check(seed, "seed")
    if epochs is not None:
        EPOCHS.check(epochs, "epochs")
    if minutes is not None:
        MINUTES.check(minutes, "minutes")
    ids = ids_to_train_on(dataset, split or MEMBER_SPLIT) if people is None else sorted(people)
    vocabulary = vocabulary or learn_vocabulary(dataset, split=split or MEMBER_SPLIT, with_ages=time_to_event)
    if vocabulary.timed != time_to_event:
        raise BadInput(
            "The shared vocabulary is that of a model of another kind: one of the two is told ages, the other is not."
        )
    records = [r for r in dataset.records(ids) for _ in range((repetitions or {}).get(r.patient_id, 1))]
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    new = new_delphi if time_to_event else new_model
    model: Delphi | LlamaForCausalLM = new(vocabulary, context=context, width=width, layers=layers, dropout=dropout)
    rate, codes_a_batch = (_RATE_IN_TIME, _CODES_A_BATCH_IN_TIME) if time_to_event else (_RATE, _CODES_A_BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.98))
    saving = 0.0 if minutes is None else _seconds_to_save(model, vocabulary, out)
    deadline = _Deadline(math.inf if minutes is None else begun + 60 * minutes - saving)
    losses: list[float] = []
    steps = 0
    model.train()
    with every_core():
        for epoch in itertools.count() if epochs is None else range(epochs):
            windows = _windows(records, vocabulary, context, rng, deadline.halfway())
            batches = batches_of(windows, rng, codes_a_batch)
            total = 0.0
            for place, batch in enumerate(batches):
                if not deadline.step_fits():
                    break
                done = 0.0 if epochs is None else (epoch + place / len(batches)) / epochs
                for group in optimizer.param_groups:
                    group["lr"] = (
                        rate * min(1.0, (epoch * len(batches) + place + 1) / 50) * falling(max(done, deadline.part()))
                    )
                with deadline.step():
                    total += _learn(model, optimizer, batch)
                steps += 1
            else:
                losses.append(total / len(batches))
                of = "" if epochs is None else f" of {epochs}"
                report(f"epoch {epoch + 1}{of}: loss {losses[-1]:.3f} ({time.monotonic() - begun:.0f} s)")
                if after_epoch is not None:
                    after_epoch(model)
                continue
            break
    if not steps:
        raise BadInput(
            f"The time of {minutes:g} minutes was over before the training began: reading the data and getting ready took {time.monotonic() - begun:.0f} seconds. Give more."
        )
    if not losses:
        report("The time was over within the first epoch: the model has not read every record. Give more minutes.")
    facts: dict[str, object] = {
        "data": dataset.name,
        "split": split,
        "patients": len(ids),
        "records_an_epoch": len(records),
        "parameters": sum(p.numel() for p in model.parameters()),
        "seed": seed,
        "epochs": len(losses),
        "final_loss": round(losses[-1], 4) if losses else None,
    }
    save_model(model, vocabulary, facts, out)
    return facts


def ids_to_train_on(dataset: MedsDataset, split: str) -> list[int]:
    """The patients of a split. Raises BadInput when there are none."""
    ids = dataset.ids(split)
    if not ids:
        raise BadInput(f"The split {split!r} of {dataset.name} has no patients.")
    return ids


def new_model(
    vocabulary: Vocabulary, *, context: int, width: int, layers: int, dropout: float = 0.0
) -> LlamaForCausalLM:
    """A Llama of random weights (torch's generator) for this vocabulary."""
    import transformers

    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=len(vocabulary),
            max_position_embeddings=context,
            hidden_size=width,
            intermediate_size=width * 7 // 3,
            num_hidden_layers=layers,
            num_attention_heads=width // 48,
            num_key_value_heads=1,
            attention_dropout=dropout,
            tie_word_embeddings=True,
            bos_token_id=vocabulary.id(vocabulary.start) if vocabulary.start else None,
            eos_token_id=[vocabulary.id(code) for code in sorted(vocabulary.stops)],
            pad_token_id=vocabulary.id(vocabulary.pad) if vocabulary.pad else None,
        )
    )


def record_windows(record: Record, vocabulary: Vocabulary, context: int, rng: np.random.Generator) -> list[list[int]]:
    """The sequences of one record, cut to the context: every other record as it is, the others with events left out at
    random, as records with gaps and prompts of known facts are (code dropout)."""
    if rng.random() < 0.5:
        kept = rng.random(len(record.events)) > rng.uniform(0.1, 0.6)
        record = record.with_events(tuple(e for e, keep in zip(record.events, kept, strict=True) if keep))
    sequence = encode(record, vocabulary).ids(vocabulary)
    windows = [sequence[start : start + context] for start in range(0, len(sequence), context)]
    return [w for w in windows if len(w) > 1]


def padded(windows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Windows as rows of one tensor, filled up on the right with -1."""
    longest = max(len(window) for window in windows)
    return torch.tensor([[*window, *[-1] * (longest - len(window))] for window in windows])


def mean_loss(model: PreTrainedModel | Delphi, batch: torch.Tensor) -> torch.Tensor:
    """The mean loss of a code in (windows, codes) ids, filled up with -1: in nats, and with its waiting time where the model gives one."""
    logits = model(input_ids=batch.clamp(min=0)).logits
    if isinstance(model, Delphi):
        return race_loss(logits, batch, model.race)
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch[:, 1:].flatten(), ignore_index=-1)


def loss_over(model: PreTrainedModel | Delphi, batches: Sequence[torch.Tensor]) -> float:
    """The mean loss over all codes of several batches, as the model is when it is used."""
    model.eval()
    with torch.no_grad():
        codes = [int((batch[:, 1:] >= 0).sum()) for batch in batches]
        total = sum(n * float(mean_loss(model, batch)) for n, batch in zip(codes, batches, strict=True))
    model.train()
    return total / sum(codes)


@contextmanager
def every_core() -> Iterator[None]:
    """Nobody waits while a model trains: take every core, or OMP_NUM_THREADS."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    try:
        yield
    finally:
        torch.set_num_threads(threads())


def falling(part: float) -> float:
    """The learning rate's factor when this part of the training is done: half a cosine from 1 to 0.05."""
    return 0.5 * (1 + math.cos(math.pi * part)) * 0.95 + 0.05


def save_model(model: PreTrainedModel | Delphi, vocabulary: Vocabulary, facts: Mapping[str, object], out: Path) -> None:
    """Write a model folder: config, safetensors (16 bit), vocabulary and how it was trained."""
    out.mkdir(parents=True, exist_ok=True)
    if isinstance(model, Delphi):
        write_delphi(model, out)
        (out / "token_scheme.yaml").write_text(vocabulary.token_scheme.to_yaml())
    else:
        model.half().save_pretrained(out, safe_serialization=True)
        (out / "generation_config.json").unlink(missing_ok=True)
    vocabulary.save(out / VOCABULARY_FILE)
    (out / "training.json").write_text(json.dumps(facts, indent=1) + "\n")


def batches_of(windows: list[list[int]], rng: np.random.Generator, codes: int) -> list[torch.Tensor]:
    """Windows of like length together, (windows, codes) ids padded on the right with -1, about so many ``codes`` each; the batches in random order."""
    order = sorted(rng.permutation(len(windows)), key=lambda i: len(windows[i]) + rng.uniform(-4, 4))
    batches: list[list[int]] = [[]]
    for i in order:
        if batches[-1] and len(windows[i]) * (len(batches[-1]) + 1) > codes:
            batches.append([])
        batches[-1].append(i)
    tensors = [padded([windows[i] for i in places]) for places in batches]
    return [tensors[i] for i in rng.permutation(len(tensors))]


class _Deadline:
    """When the last step must be done. A step is begun where it would end nearer to that time than the one before it."""

    def __init__(self, end: float) -> None:
        self._begun, self._end, self._seconds = time.monotonic(), end, 0.0

    def part(self) -> float:
        """How much of the time for training is over: 0 to 1."""
        return min((time.monotonic() - self._begun) / (self._end - self._begun), 1.0)

    def halfway(self) -> float:
        """When half of the time that is left is over."""
        return (time.monotonic() + self._end) / 2

    def step_fits(self) -> bool:
        return time.monotonic() + self._seconds / 2 < self._end

    @contextmanager
    def step(self) -> Iterator[None]:
        """Measure one; a busy machine makes some of them longer."""
        began = time.monotonic()
        yield
        self._seconds = max(time.monotonic() - began, 0.9 * self._seconds)


def _seconds_to_save(model: PreTrainedModel | Delphi, vocabulary: Vocabulary, out: Path) -> float:
    """How long it takes here, by doing it."""
    began = time.monotonic()
    save_model(copy.deepcopy(model), vocabulary, {}, out)
    return time.monotonic() - began


def _windows(
    records: Sequence[Record], vocabulary: Vocabulary, context: int, rng: np.random.Generator, until: float
) -> list[list[int]]:
    """The windows of an epoch; of large data, of as many records as are read until then."""
    found: list[list[int]] = []
    for record in records:
        found += record_windows(record, vocabulary, context, rng)
        if found and time.monotonic() > until:
            break
    return found


def _learn(model: PreTrainedModel | Delphi, optimizer: torch.optim.Optimizer, batch: torch.Tensor) -> float:
    loss = mean_loss(model, batch)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()
