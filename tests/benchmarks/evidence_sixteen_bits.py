"""Leak probabilities and embeddings of continuations in 16-bit numbers against those in float32: one wide model, the same questions, the same seeds."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.probes.exploration import Exploration, Question
from ehrmem_widgets.probes.prompt_embeddings import embed_continued
from ehrmem_widgets.samples.build import repetitions
from ehrmem_widgets.samples.folders import sample_data
from ehrmem_widgets.statistics.discrimination import mean_with_interval
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.training.models import train_model
from tests.benchmarks.lines import Lines
from tests.benchmarks.people import SAMPLES, at_random, state_of

WIDTH, EPOCHS, QUESTIONS, KNOWLEDGE = 288, 8, 200, "one_lab"
FIRST = 20  # codes of a record that are continued and embedded


def main(lines: Lines) -> None:
    """A line a figure; none on a processor where continuations stay in float32."""
    dataset = MedsDataset(sample_data())
    with TemporaryDirectory() as name:
        folder = Path(name)
        train_model(
            dataset, folder, seed=5, epochs=EPOCHS, width=WIDTH, repetitions=repetitions(sample_data()), report=_quiet
        )
        short, full = opened(folder, "auto"), opened(folder, "float32")
        if (short.number_format, full.number_format) != ("bfloat16", "float32"):
            print("NOT RUN: 16-bit products do not pay on this processor.", flush=True)
            return
        compare(lines, dataset, short, full)


def opened(folder: Path, precision: str) -> FolderModel:
    """The model as EHRMEM_PRECISION has it."""
    os.environ["EHRMEM_PRECISION"] = precision
    try:
        return FolderModel(folder)
    finally:
        del os.environ["EHRMEM_PRECISION"]


def compare(lines: Lines, dataset: MedsDataset, short: FolderModel, full: FolderModel) -> None:
    """Members and canaries from one lab, each about the most severe attribute that they hold, by the estimator of the main screen."""
    exploration = Exploration(dataset, short, full)  # both are asked the same
    held = [patient for patient in dataset.ids("train") if exploration.held(patient)]
    pairs = [_both(exploration, patient) for patient in at_random(held, QUESTIONS)]
    gaps = np.array([a.value - b.value for a, b in pairs])
    widths = np.array([b.half_width for _, b in pairs])
    width = float(widths.mean())
    mean = mean_with_interval(gaps)
    span = f"{mean.low / width:.3f} to {mean.high / width:.3f}, signed"
    lines.add("sixteen_bits_leak_bias_over_half_width", abs(mean.value) / width, span, mean.n, "<= 0.1")
    size = mean_with_interval(np.abs(gaps))
    span = f"{size.low / width:.3f} to {size.high / width:.3f}; the half width is {width:.4f}"
    lines.add("sixteen_bits_leak_difference_over_half_width", size.value / width, span, size.n, "<= 1")
    lines.add("sixteen_bits_leak_within_interval", float((np.abs(gaps) <= widths).mean()), "", len(gaps), ">= 0.95")
    compare_embeddings(lines, exploration, at_random(held, QUESTIONS), short, full)


def compare_embeddings(
    lines: Lines, exploration: Exploration, patients: list[int], short: FolderModel, full: FolderModel
) -> None:
    """How far the mean embedding of a prompt's continuations moves in 16 bits, over how far it moves with another seed."""
    records = (encode(exploration.record(patient), full.vocabulary).ids(full.vocabulary) for patient in patients)
    prompts = [[[code] for code in ids[:FIRST]] for ids in records]
    one, same, other = (
        embed_continued(model, prompts, seed=seed).mean(axis=1) for model, seed in ((short, 0), (full, 0), (full, 1))
    )
    moved, drawn = (np.linalg.norm(same - found, axis=1) for found in (one, other))
    mean, scale = mean_with_interval(moved), float(drawn.mean())
    span = f"{mean.low / scale:.3f} to {mean.high / scale:.3f}; another seed moves it by {scale:.3f}"
    lines.add("sixteen_bits_embedding_moved_over_another_seed", mean.value / scale, span, mean.n, "<= 1")


def _both(exploration: Exploration, patient: int) -> tuple[Estimate, Estimate]:
    question = Question(exploration, state_of(exploration, patient, KNOWLEDGE))
    for form in question.products:
        for _ in form.add(SAMPLES, patient):
            pass
    short, full = (form.estimate() for form in question.products)
    return short, full


def _quiet(_: str) -> None:
    """Nobody reads how the training goes."""
