"""A small audit: 150 patients of the sample cohort, two tests, a few people."""

from __future__ import annotations

from pathlib import Path

from ehrmem_widgets.samples.folders import sample_model, sample_reference
from tests.widgets.opened import few_patients

PROBES = "[confounding, membership, attribute]"


def write_plan(folder: Path, *, probes: str = PROBES, patients: int = 14, more: str = "") -> Path:
    """A plan in a folder, beside its data."""
    if not (folder / "data").exists():
        few_patients(folder / "data")
    path = folder / "plan.yaml"
    path.write_text(
        f"name: small\ndata: data\nmodel: {sample_model()}\nreference: {sample_reference()}\npatients: {patients}\n"
        f"holders: 0\nprobes: {probes}\nknowledge_levels: [one_lab]\n{more}"
    )
    return path


def findings(out: Path) -> dict[str, bytes]:
    """The findings of a results folder, byte for byte."""
    files = sorted((out / "findings").glob("*/*"))
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in files}
