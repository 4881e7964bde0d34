"""Where the sample cohort and the sample models lie, and which patient to show first."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ehrmem_widgets.bundled import bundled
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.ground_truth import GROUND_TRUTH
from ehrmem_widgets.errors import BadInput

SAMPLES = bundled("data_samples")


def sample_data() -> Path:
    """The folder of the synthetic cohort."""
    return _existing(SAMPLES / "cohort")


def sample_model() -> Path:
    """The folder of the model that memorizes."""
    return _existing(SAMPLES / "models" / "memorizing")


def sample_reference() -> Path:
    """The folder of the model that never saw the members."""
    return _existing(SAMPLES / "models" / "reference")


def sample_moderate() -> Path:
    """The folder of the model trained like the one that memorizes, but stopped early: it remembers a little."""
    return _existing(SAMPLES / "models" / "moderate")


def sample_private() -> Path:
    """The folder of the model trained on the members with differential privacy."""
    return _existing(SAMPLES / "models" / "private")


def sample_private_coins() -> Path:
    """The folder of the model trained privately on the members and on the coin-flipped canaries of ``samples.build.with_coins``."""
    return _existing(SAMPLES / "models" / "private_coins")


def example_patient(dataset: MedsDataset, members: str) -> int:
    """A patient worth looking at first: in the sample cohort a canary planted 16 times, elsewhere the member (of the training split,
    if there is such a split) with the most severe attribute."""
    truth = dataset.root / GROUND_TRUTH
    if truth.exists():
        rows = pd.read_parquet(truth)
        candidates = set(rows.loc[rows["canary"] & (rows["repetitions"] == 16), "subject_id"].tolist())
    else:
        candidates = set(dataset.ids(members if members in dataset.splits else None))
    by_severity: dict[int, list[str]] = {}
    for name, attribute in dataset.attributes.items():
        if attribute.own_value is None:
            by_severity.setdefault(attribute.severity, []).append(name)
    for severity in sorted(by_severity, reverse=True):
        if holders := candidates.intersection(dataset.holders(by_severity[severity])):
            return min(holders)
    return min(candidates)


def _existing(folder: Path) -> Path:
    if not folder.is_dir():
        raise BadInput(
            f"The samples are not here ({folder.parent.name}/{folder.name} is missing): run 'ehrmem build-samples', or name "
            "your own data and model."
        )
    return folder
