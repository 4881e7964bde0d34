"""Planted canaries: what a data set made for testing says of whom it planted (``ground_truth.parquet`` beside its data)."""

from __future__ import annotations

import pandas as pd

from ehrmem_widgets.cohort.dataset import MedsDataset

GROUND_TRUTH = "ground_truth.parquet"


def canary_repetitions(dataset: MedsDataset) -> dict[int, int]:
    """For each canary's patient id, how often training saw its record in an epoch (0: never trained on); empty where the data
    set plants none."""
    path = dataset.root / GROUND_TRUTH
    if not path.exists():
        return {}
    truth = pd.read_parquet(path, columns=["subject_id", "canary", "repetitions"])
    return {
        int(i): int(n) for i, n, canary in zip(truth.subject_id, truth.repetitions, truth.canary, strict=True) if canary
    }
