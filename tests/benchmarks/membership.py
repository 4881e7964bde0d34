"""T4 on records of 512 codes, against the published code's loop and against the bare forward passes."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.probes.membership import scores
from ehrmem_widgets.probes.membership.ask import Scorer
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.benchmarks.hf import library_model
from tests.benchmarks.lines import Lines

CODES, CONTEXT, LENGTH, RECORDS, PREFIX = 1000, 640, 512, 32, 64
ROUNDS = 3


def main(lines: Lines) -> None:
    """Print the lines."""
    model = random_model()
    rng = np.random.default_rng(0)
    records = rng.integers(0, CODES, (RECORDS, LENGTH)).tolist()
    prefix = rng.integers(0, CODES, PREFIX).tolist()

    def one_pass() -> None:
        """What one scoring pass gives: Loss, Min-K% and Min-K%++ (the published code: Min-K% alone)."""
        for said in model.score_moments(records):
            scores.loss(said[:, 0]), scores.min_k(said[:, 0]), scores.min_k_plus_plus(said)

    one_pass()
    ratios = []
    for record in records[: ROUNDS - 1]:  # two, and each between two of ours: the loop is slow
        before, loop, after = (
            seconds(one_pass),
            seconds(lambda record=record: per_position(model, record)),
            seconds(one_pass),
        )
        ratios.append(loop / ((before + after) / 2 / RECORDS))
    lines.add("t4_512_codes_vs_per_position_loop", statistics.median(ratios), span(ratios), len(ratios), ">= 250")

    scorer = Scorer(model, prefix=prefix)  # all scores, ReCaLL's pass behind the prefix included
    behind = [[*prefix, *record] for record in records]
    shares = []
    for round_ in range(ROUNDS + 1):
        bare = seconds(lambda: (forward(model, records), forward(model, behind)))
        ours = seconds(lambda: scorer.of(records))
        if round_:  # the first is a warm-up
            shares.append(ours / bare)
    lines.add("t4_all_scores_over_bare_forward_passes", statistics.median(shares), span(shares), len(shares), "<= 2")
    found = model.score_moments(records[:1])[0][:, 0]
    apart = float(np.abs(found - per_position(model, records[0])).max())
    lines.add("t4_largest_difference_from_the_loop", apart, "", LENGTH - 1, "<= 0.001")


def per_position(model: FolderModel, record: list[int]) -> np.ndarray:
    """Log-probabilities as the published code finds them: for each position one forward pass of all codes before it."""
    library, ids, found = library_model(model), torch.tensor([record]), []
    with torch.inference_mode():
        for place in range(1, len(record)):
            logits = library(input_ids=ids[:, :place]).logits[0, -1]
            found.append(float(logits.log_softmax(-1)[ids[0, place]]))
    return np.array(found)


def forward(model: FolderModel, sequences: list[list[int]]) -> None:
    """The forward passes alone, in our batches."""
    with torch.inference_mode():
        for _, ids in model._batches(sequences):
            model._model(input_ids=ids)


def random_model() -> FolderModel:
    """A Llama of about a million random parameters."""
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=CODES, hidden_size=192, intermediate_size=448, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=1, max_position_embeddings=CONTEXT, tie_word_embeddings=True,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        transformers.LlamaForCausalLM(config).save_pretrained(folder)
        codes = tuple(f"CODE//{i}" for i in range(CODES))
        Vocabulary(codes, start=None, stops=frozenset(), pad=None).save(Path(folder) / "vocabulary.json")
        return FolderModel(folder)


def seconds(act: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def span(values: list[float]) -> str:
    """The lowest and the highest."""
    return f"{min(values):.3g} to {max(values):.3g}"
