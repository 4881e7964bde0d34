"""A small part of the sample cohort and a sample model whose every code is one that no declared sensitive attribute knows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd

from ehrmem_widgets.samples.folders import sample_data, sample_model

PATIENTS = {"train": 60, "held_out": 40, "reference": 10}
_OWN = ("MEDS_BIRTH", "MEDS_DEATH")  # the standard's own


def foreign(code: str) -> str:
    """A code of a place that nobody has heard of."""
    return code if code in _OWN else f"X//{code}"


def foreign_cohort(folder: Path) -> Path:
    """A MEDS data set."""
    source = sample_data()
    splits = pd.read_parquet(source / "metadata" / "subject_splits.parquet")
    chosen = pd.concat([splits[splits["split"] == name].head(n) for name, n in PATIENTS.items()])
    events = pd.concat(pd.read_parquet(one) for one in sorted((source / "data").glob("*.parquet")))
    events = events[events["subject_id"].isin(chosen["subject_id"])]
    (folder / "data").mkdir(parents=True)
    (folder / "metadata").mkdir()
    events.assign(code=events["code"].map(foreign)).to_parquet(folder / "data" / "0.parquet", index=False)
    chosen.to_parquet(folder / "metadata" / "subject_splits.parquet", index=False)
    shutil.copy(source / "metadata" / "dataset.json", folder / "metadata" / "dataset.json")
    return folder


def foreign_model(folder: Path) -> Path:
    """The memorizing sample model, with the codes renamed."""
    shutil.copytree(sample_model(), folder, ignore=shutil.ignore_patterns("neighbours.npz"))
    path = folder / "vocabulary.json"
    vocabulary = json.loads(path.read_text())
    data_codes = set(pd.read_parquet(sample_data() / "metadata" / "codes.parquet")["code"])
    head = {code.partition("//")[0] for code in data_codes} - set(_OWN)
    renamed = [foreign(code) if code.partition("//")[0] in head else code for code in vocabulary["codes"]]
    bins = {foreign(code): edges for code, edges in vocabulary["bins"].items()}
    path.write_text(json.dumps({**vocabulary, "codes": renamed, "bins": bins, "labels": {}}))
    return folder
