"""A hundred patients' reports on two cores: ours with warm workers, against separate runs of the command, two at a time."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.probes.batching import Progress
from ehrmem_widgets.reports.patient_reports import make_reports
from ehrmem_widgets.samples.folders import sample_data
from tests.benchmarks.lines import Lines

ROUNDS, BATCH, SEPARATE, CORES, ASKED = 3, 12, 4, 2, 100
STEADY = 4  # reports after which both workers are warm


def main(lines: Lines) -> None:
    """Print the lines: seconds a report, extrapolated from batches of 12 to 100, and separate runs over that (4 a round)."""
    dataset = MedsDataset(sample_data())
    chosen = np.random.default_rng(5).choice(dataset.ids(), (ROUNDS, BATCH), replace=False)
    ours, ratios = [], []
    for round_, ids in enumerate(chosen):
        patients = [dataset.pseudonym(int(patient)) for patient in ids]
        if round_ % 2:
            separate = by_separate_runs(patients[:SEPARATE])
            ours.append(by_warm_workers(patients))
        else:
            ours.append(by_warm_workers(patients))
            separate = by_separate_runs(patients[:SEPARATE])
        ratios.append(separate / ours[-1])
    for name, values, n, goal in (
        (f"patient_reports_seconds_each_of_{ASKED}", ours, ROUNDS * BATCH, "<= 4"),
        ("patient_reports_separate_runs_over_ours", ratios, ROUNDS * SEPARATE, ">= 3"),
    ):
        lines.add(name, statistics.median(values), f"{min(values):.3g} to {max(values):.3g}", n, goal)


def by_warm_workers(patients: list[str]) -> float:
    """Seconds a report if a hundred were asked for: the time to the fourth, and the pace from then on for the other 96."""
    times: list[float] = []
    began = time.perf_counter()

    def progress(progress: Progress) -> None:
        if progress.what == "Patient reports" and progress.done:
            times.append(time.perf_counter() - began)

    with tempfile.TemporaryDirectory() as folder:
        summary = make_reports(patients, folder, workers=CORES, progress=progress)
    assert len(summary["reports"]) == len(patients), summary["failed"]
    pace = (times[-1] - times[STEADY - 1]) / (len(times) - STEADY)
    return (times[STEADY - 1] + (ASKED - STEADY) * pace) / ASKED


def by_separate_runs(patients: list[str]) -> float:
    """Seconds a report by a process each, papermill starting a kernel for every one, as many at a time as there are cores."""
    with tempfile.TemporaryDirectory() as folder:

        def run(patient: str) -> None:
            out = Path(folder) / f"{patient}.html"
            words = [sys.executable, "-m", "ehrmem_widgets.cli", "report", f"--patient={patient}", f"--out={out}"]
            subprocess.run(words, check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"})

        began = time.perf_counter()
        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(run, patients))
        return (time.perf_counter() - began) / len(patients)


if __name__ == "__main__":
    told = Lines()
    main(told)
    told.finish()
