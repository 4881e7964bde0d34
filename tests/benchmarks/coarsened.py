"""What coarser codes, or no repetitions, change for the most exposed: small models of a small synthetic cohort, trained anew, and the same people
asked again.

``python -m tests.benchmarks.coarsened --out DIR`` (some minutes on an idle core; what is trained stays in DIR). Whoever is most exposed is so by one
model; trained anew with another seed its memory of them falls by selection alone, so each change is held against the same training
without a change (``again``).
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.coarsening import coarsen
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.ground_truth import canary_repetitions
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, People, choose_people
from ehrmem_widgets.samples.build import repetitions
from ehrmem_widgets.samples.synthetic_cohort import generate_cohort
from ehrmem_widgets.statistics.discrimination import auroc, mean_with_interval
from ehrmem_widgets.statistics.multiple_testing import discoveries
from ehrmem_widgets.training.models import train_model
from tests.probes.alone import ask_alone

LEVEL, RATE, EPOCHS, WIDTH = "first_20", 0.1, 80, 96
MOST_EXPOSED = 30
COHORT = {"members": 300, "non_members": 400, "reference": 200, "canaries": 6, "null_canaries": 20, "rare": 30}


@dataclass(frozen=True)
class Change:
    """``fewer_than``: codes that fewer people of the data set hold are coarser (0: none); ``repeated``: canaries are seen as often as the ground truth says."""

    name: str
    seed: int = 11
    fewer_than: int = 0
    repeated: bool = True


FIRST = Change("first", seed=1)
CHANGES = (Change("again"), Change("fewer_than_11", fewer_than=11), Change("each_once", repeated=False))


def main() -> None:
    """Print one line a change and group."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    out.mkdir(exist_ok=True)
    if not (out / "data").exists():
        generate_cohort(out / "data", seed=9, **COHORT)
    exposed = most_exposed(out)
    before: dict[str, dict[int, float]] = {}
    for change in CHANGES:
        leaks, aurocs = measured(*trained(out, change), exposed)
        for group, ids in exposed.items():
            now = {one: leaks[one] for one in ids if one in leaks}
            old = before.setdefault(group, now)
            change_of = mean_with_interval(np.array([now[one] - old[one] for one in now if one in old]))
            mean = mean_with_interval(np.array(list(now.values())))
            print(
                change.name,
                group,
                f"leak {mean}",
                f"change {change_of}",
                f"T4 (loss) {aurocs[group]}",
                sep="\t",
                flush=True,
            )


def most_exposed(out: Path) -> dict[str, list[int]]:
    """The members of whom T2 says most on the first model, listed or not, and the canaries that were repeated, by id."""
    dataset, model = trained(out, FIRST)
    reference = out / "reference"
    if not reference.exists():
        train_model(dataset, reference, split="reference", seed=2, epochs=16, vocabulary=model.vocabulary, width=WIDTH)
    people = choose_people(dataset, model, FolderModel(reference), most=600, canaries=False)
    found = ask_alone(
        "attribute", model, dataset, reference=FolderModel(reference), people=people, knowledge_levels=LEVEL, holders=0
    )
    worst = found.about("patients", figure="largest_excess").set_index(["group", "patient"])["value"]
    chosen = discoveries(worst[MEMBER].to_numpy(), worst[NON_MEMBER].to_numpy(), RATE)
    print(f"listed {chosen.chosen.sum()} of {len(worst[MEMBER])}, chance explains {chosen.false_share}", flush=True)
    most = worst[MEMBER].sort_values(ascending=False).index[:MOST_EXPOSED]
    repeated = [one for one, times in canary_repetitions(dataset).items() if times > 1]
    return {"most exposed": [dataset.find(str(one)) for one in most], "repeated": sorted(repeated)}


def trained(out: Path, change: Change) -> tuple[MedsDataset, FolderModel]:
    """The data with the change, and a model of them."""
    data, folder = out / (f"data_{change.fewer_than}" if change.fewer_than else "data"), out / change.name
    if not data.exists():
        coarsen(out / "data", data, fewer_than=change.fewer_than)
    dataset = MedsDataset(data)
    if not (folder / "training.json").exists():
        times = repetitions(data) if change.repeated else None
        train_model(dataset, folder, seed=change.seed, epochs=EPOCHS, repetitions=times, width=WIDTH)
    return dataset, FolderModel(folder)


def measured(
    dataset: MedsDataset, model: FolderModel, exposed: dict[str, list[int]]
) -> tuple[dict[int, float], dict[str, object]]:
    """By id, the largest leak over the attributes held; by group, T4's AUROC against people never seen."""
    never = choose_people(dataset, model, most=400, canaries=False).of(NON_MEMBER)
    group = {one: name for name, ids in exposed.items() for one in ids}
    records = (*dataset.records(list(group)), *never)
    people = People(
        records,
        {
            r.patient_id: CANARY
            if group.get(r.patient_id) == "repeated"
            else MEMBER
            if r.patient_id in group
            else NON_MEMBER
            for r in records
        },
    )
    seen = People(records[: len(group)], {one: people.groups[one] for one in group})
    made = ask_alone("attribute", model, dataset, people=seen, knowledge_levels=LEVEL, holders=0)
    rows = made.about("patients", figure="leak").groupby("patient")["value"].max()
    leaks = {dataset.find(str(name)): float(value) for name, value in rows.items()}
    scores = ask_alone("membership", model, dataset, people=people).about("patients", figure="score", attribute="Loss")
    of = {name: scores.loc[scores["group"] == name, "value"].to_numpy() for name in (MEMBER, CANARY, NON_MEMBER)}
    return leaks, {"most exposed": auroc(of[MEMBER], of[NON_MEMBER]), "repeated": auroc(of[CANARY], of[NON_MEMBER])}


if __name__ == "__main__":
    main()
