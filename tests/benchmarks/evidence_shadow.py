"""LiRA where the best attack is known and where there is nothing to find; and membership from samples alone (SaMIA) on the sample models.

What LiRA buys and costs on a sample model takes 16 trainings: ``tests/benchmarks/shadow_models.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.probes.membership.samples import SampledScorer
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, NULL_CANARY, choose_people
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_private, sample_reference
from ehrmem_widgets.statistics.discrimination import auroc, auroc_p
from ehrmem_widgets.statistics.intervals import proportion
from ehrmem_widgets.statistics.likelihood_ratio import likelihood_ratio
from tests.benchmarks.lines import Lines
from tests.statistics.test_likelihood_ratio import reached, world

RUNS, GAIN = 1000, 1.5
FRESH, ASKED = 21, 200
"""Seed and number of the ordinary people: what SaMIA counts was chosen on those of seed 0."""


def simulated(lines: Lines) -> None:
    """The AUROC short of the best attack's, and how often p is at most .05 where nothing is remembered."""
    for online in (False, True):
        how = "online" if online else "offline"
        for models in (4, 8, 16):
            best = float(stats.norm.cdf(GAIN / np.sqrt(2 * (1 + 1 / models))))
            short = best - reached(world(20_000, models, GAIN, online=online))
            lines.add(f"lira_{how}_{models}_short_of_the_best_auroc", short, f"best {best:.3f}", 20_000, "<= 0.01")
        for what in ("", "_members_alone_in_shadows") if online else ("",):
            p = [_null(seed, online=online, uneven=bool(what)) for seed in range(RUNS)]
            alarms = proportion(int((np.array(p) <= 0.05).sum()), RUNS)
            lines.add(f"lira_{how}{what}_null_false_alarms_upper", alarms.high, str(alarms), RUNS, "<= 0.07")


def _null(seed: int, *, online: bool, uneven: bool) -> float:
    made = world(120, 4, 0.0, seed=seed, online=online, differ=0.5)
    if uneven:
        made.inside[~made.member] = False
    scores = likelihood_ratio(made.audited, made.shadows, made.inside)
    return auroc_p(scores[made.member], scores[~made.member])


def from_samples(lines: Lines) -> None:
    """Members and canaries told by samples alone, less what a reference's samples hold, and by the model's alone."""
    dataset, reference = MedsDataset(sample_data()), FolderModel(sample_reference())
    people = choose_people(dataset, FolderModel(sample_model()), reference, most=ASKED, seed=FRESH)
    group = np.array([people.group(one) for one in people.records])
    held = {
        folder().name: _recall(FolderModel(folder()), people.records)
        for folder in (sample_model, sample_private, sample_reference)
    }
    for name, beside in (("memorizing", True), ("memorizing", False), ("private", True), ("reference", False)):
        scores = held[name] - held["reference"] if beside else held[name]
        how = f"samia_{name}{'_less_reference' if beside else ''}"
        for who, pair, goal in (
            ("members", (MEMBER, NON_MEMBER), ">= 0.6"),
            ("canaries", (CANARY, NULL_CANARY), ">= 0.8"),
        ):
            sides = [scores[(group == side) & np.isfinite(scores)] for side in pair]
            found = auroc(*sides)
            wanted = goal if name == "memorizing" else "<= 0.5"
            lines.add(f"{how}_{who}_auroc_low", found.low, str(found), found.n, wanted)


def _recall(model: FolderModel, records: Sequence[Record]) -> np.ndarray:
    listed, scorer = list(records), SampledScorer((model,), FRESH)
    rows = [row for start in range(0, len(listed), 64) for row in scorer.ask(listed[start : start + 64])]
    return np.array([row["scores"].get("SaMIA", np.nan) for row in rows])
