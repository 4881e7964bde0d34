"""The bound of epsilon from 1,000 coin-flipped canaries, membership scores by two models included."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.canary_maker import key_beside, make_canaries
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.probes.run import run
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from tests.benchmarks.lines import Lines

CANARIES = 1000


def main(lines: Lines) -> None:
    """Making them, and asking about them."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "planted"
        began = time.perf_counter()
        make_canaries(sample_data(), out, key_beside(out), n=CANARIES, coin_flip=True, seed=1)
        lines.add(f"make_{CANARIES}_canaries_seconds", time.perf_counter() - began, "one run", CANARIES, "<= 60")
        dataset = MedsDataset(out)
        dataset.declare(canaries=key_beside(out))
        model, reference = FolderModel(sample_model()), FolderModel(sample_reference())
        began = time.perf_counter()
        found = run("one_run", dataset, model, reference, most=4, claimed_epsilon=3.0, claimed_delta=1e-5)
        minutes = (time.perf_counter() - began) / 60
    asked = int(found.about("figures", figure="epsilon_bound", attribute="").iloc[0]["n"])
    lines.add(f"one_run_of_{CANARIES}_canaries_minutes", minutes, "one run", asked, "<= 3")
