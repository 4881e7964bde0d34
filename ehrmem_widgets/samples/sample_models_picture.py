"""The README's picture of the sample models, from their audits.

``python -m ehrmem_widgets.samples.sample_models_picture RESULTS [RESULTS ...] PICTURE.png``: the results folders of ``ehrmem audit``, a line
each from top to bottom, named after the audited model. The reference model is audited on its own training split, with the memorizing model
as its reference: ``plan`` says how.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ehrmem_widgets.findings.finding import Finding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS: Sequence[tuple[str, str, Mapping[str, str], float]] = (
    (
        "T4: trained on, or not?\nAUROC of the loss, members",
        "membership",
        {"figure": "auroc", "attribute": "Loss", "group": "all", "model": "audited"},
        0.5,
    ),
    (
        "T4: canaries planted 16 times,\nexposure in bits (of 8)",
        "exposure",
        {"figure": "mean_exposure", "group": "canary x16", "model": "audited"},
        1.42,
    ),
    (
        "T2: canaries, from one lab,\nexcess beyond canaries never seen",
        "attribute",
        {"figure": "excess_gap", "group": "canaries", "knowledge": "one_lab"},
        0.0,
    ),
    ("T2: members, from the first 20 codes,\nexcess beyond the reference", "attribute", {"figure": "excess_risk", "group": "member", "knowledge": "first_20"}, 0.0),
)  # fmt: skip
"""Each panel: its title, the finding and the row that it shows, and what nothing remembered would give."""


def plan(model: Path, reference: Path, cohort: Path, patients: int = 300) -> str:
    """The plan of one model's audit."""
    return f"name: {model.name}\ndata: {cohort}\nmodel: {model}\nreference: {reference}\npatients: {patients}\n"


def picture(audits: Sequence[Path]) -> Figure:
    """Values with 95 % intervals and n, one panel per figure, one line per results folder; the dashed line is what chance gives.

    Raises BadInput for a folder without the findings of T2 and T4.
    """
    import matplotlib

    matplotlib.use("Agg")
    import seaborn as sns
    from matplotlib import pyplot as plt

    probes = {probe for _, probe, _, _ in PANELS}
    findings = [{probe: Finding.load(of / "findings" / probe) for probe in probes} for of in audits]
    names = [found["membership"].settings["model"]["name"] for found in findings]
    sns.set_theme(style="whitegrid", font_scale=0.85)
    figure, axes = plt.subplots(1, len(PANELS), figsize=(13, 1.1 + 0.6 * len(names)), sharey=True)
    for axis, (title, probe, where, chance) in zip(axes, PANELS, strict=True):
        axis.axvline(chance, color="0.4", linestyle="--", linewidth=1)
        for place, found in enumerate(findings):
            row = _row(found[probe], where)
            if row is None:
                axis.text(chance, place, "  nobody to ask about", va="center", fontsize=8)
                continue
            axis.errorbar(row["value"], place, xerr=[[row["value"] - row["low"]], [row["high"] - row["value"]]], fmt="o", capsize=3, color="#0072B2")  # fmt: skip
            said = f"{row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f}), n = {int(row['n'])}"
            axis.annotate(said, (row["value"], place), (0, 7), textcoords="offset points", ha="center", fontsize=7)
        axis.set_title(title, fontsize=9)
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(len(names) - 0.5, -0.7)
        axis.margins(x=0.35)
    figure.tight_layout()
    return figure


def _row(found: Finding, where: Mapping[str, str]) -> pd.Series | None:
    rows = found.about("figures", **where).dropna(subset=["value"])
    return rows.iloc[0] if len(rows) == 1 and rows.iloc[0]["n"] else None


if __name__ == "__main__":
    *folders, out = map(Path, sys.argv[1:])
    picture(folders).savefig(out, dpi=110, metadata={"Software": None})
