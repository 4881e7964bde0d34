"""How the small cohort and its model are made: kept apart, so that other tests' fixtures can use it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

SIZES = {"members": 60, "non_members": 60, "reference": 200, "canaries": 2, "null_canaries": 4, "rare": 6}
QUICK = {"samples": 16, "horizon": 8, "attributes": "hiv", "seed": 7}  # of a report


@dataclass(frozen=True)
class Small:
    """Folders of a small cohort, a model of its members, and a reference model of others."""

    data: Path
    model: Path
    reference: Path

    @classmethod
    def below(cls, folder: Path) -> Small:
        """Those in a folder."""
        return cls(folder / "cohort", folder / "model", folder / "reference")

    def options(self) -> list[str]:
        """As options of the command line."""
        return [f"--{name}={getattr(self, name)}" for name in ("data", "model", "reference")]

    def environment(self) -> dict[str, str]:
        """As the environment of a kernel, beside what is there now."""
        return {**os.environ, **{f"EHRMEM_{n.upper()}": str(getattr(self, n)) for n in ("data", "model", "reference")}}


def make_small(out: Path) -> Small:
    """Make the cohort and train two models just long enough that real sequences are likelier than shuffled ones."""
    import torch

    from ehrmem_widgets.cohort.dataset import MedsDataset
    from ehrmem_widgets.samples.synthetic_cohort import generate_cohort
    from ehrmem_widgets.tokens.vocabulary import learn_vocabulary
    from ehrmem_widgets.training.models import train_model

    small = Small.below(out)
    generate_cohort(small.data, seed=3, **SIZES)
    dataset = MedsDataset(small.data)
    vocabulary = learn_vocabulary(dataset)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # too small to share
    try:
        for folder, split in ((small.model, "train"), (small.reference, "reference")):
            train_model(
                dataset,
                folder,
                split=split,
                epochs=14,
                vocabulary=vocabulary,
                width=64,
                layers=2,
                context=128,
                report=lambda _: None,
            )
    finally:
        torch.set_num_threads(threads)
    return small
