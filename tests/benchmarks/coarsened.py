"""What coarser codes, or no repetitions, change for the most exposed: the memorizing recipe trained anew, and the listed people asked again.

``python -m tests.benchmarks.coarsened --out DIR`` (about half an hour on one core; what is trained stays in DIR). Whoever is listed is so by the sample
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
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, People, choose_people
from ehrmem_widgets.samples.build import repetitions
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from ehrmem_widgets.statistics.discrimination import auroc, mean_with_interval
from ehrmem_widgets.statistics.multiple_testing import discoveries
from ehrmem_widgets.training.models import train_model
from tests.probes.alone import ask_alone

LEVELS, RATE, SEED, EPOCHS = ("one_lab", "first_20"), 0.1, 11, 25
NEVER = 200


@dataclass(frozen=True)
class Change:
    """``fewer_than``: codes held by fewer people of the data set are coarser (0: none); ``repeated``: canaries are seen as often as in the samples."""

    name: str
    fewer_than: int = 0
    repeated: bool = True


CHANGES = (
    Change("again"),
    Change("fewer than 11", 11),
    Change("fewer than 100", 100),
    Change("each once", repeated=False),
)


def main() -> None:
    """Print one line a change and figure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    out.mkdir(exist_ok=True)
    exposed = listed(out)
    base: dict[str, dict[int, float]] = {}
    for change in CHANGES:
        dataset, model = trained(out, change)
        for group, ids in exposed.items():
            leaks, scores, never = measured(dataset, model, ids)
            base.setdefault(group, leaks)
            both = [one for one in ids if one in leaks and one in base[group]]
            fall = mean_with_interval(np.array([leaks[one] - base[group][one] for one in both]))
            mean = mean_with_interval(np.array(list(leaks.values())))
            print(
                change.name,
                group,
                f"leak {mean}",
                f"change {fall}",
                f"T4 loss AUROC {auroc(scores, never)}",
                sep="\t",
                flush=True,
            )


def listed(out: Path) -> dict[str, list[int]]:
    """Members whom T2 lists on the sample model, and the canaries seen most often, by id."""
    dataset, model, reference = MedsDataset(sample_data()), FolderModel(sample_model()), FolderModel(sample_reference())
    people = choose_people(dataset, model, reference, most=1000)
    found = ask_alone(
        "attribute", model, dataset, reference=reference, people=people, knowledge_levels=LEVELS, holders=0
    )
    worst = found.about("patients", figure="largest_excess").groupby(["group", "patient"])["value"].max()
    chosen = discoveries(worst[MEMBER].to_numpy(), worst[NON_MEMBER].to_numpy(), RATE)
    names = worst[MEMBER].index[chosen.chosen]
    print(f"listed {len(names)} of {len(worst[MEMBER])}, chance explains {chosen.false_share}", flush=True)
    return {"listed": [dataset.find(name) for name in names], "canaries": [r.patient_id for r in people.of(CANARY)]}


def trained(out: Path, change: Change) -> tuple[MedsDataset, FolderModel]:
    """The data with the change, and the model of them."""
    data, folder = sample_data(), out / change.name.replace(" ", "_")
    if change.fewer_than:
        data = out / f"data_{change.fewer_than}"
        if not data.exists():
            coarsen(sample_data(), data, fewer_than=change.fewer_than)
    dataset = MedsDataset(data)
    if not (folder / "training.json").exists():
        times = repetitions(sample_data()) if change.repeated else None
        train_model(dataset, folder, seed=SEED, epochs=EPOCHS, repetitions=times)
    return dataset, FolderModel(folder)


def measured(
    dataset: MedsDataset, model: FolderModel, ids: list[int]
) -> tuple[dict[int, float], np.ndarray, np.ndarray]:
    """Of those who still hold an attribute, the largest leak over attributes and knowledge levels; and the scores of T4 (loss) of all of them and of people
    never seen."""
    never = choose_people(dataset, model, FolderModel(sample_reference()), most=2 * NEVER, canaries=False).of(
        NON_MEMBER
    )
    records = (*dataset.records(ids), *never)
    people = People(records, {r.patient_id: NON_MEMBER if r in never else MEMBER for r in records})
    made = ask_alone("attribute", model, dataset, people=people, knowledge_levels=LEVELS, holders=0)
    rows = made.about("patients", figure="leak", group=MEMBER)
    leaks = {dataset.find(name): float(value) for name, value in rows.groupby("patient")["value"].max().items()}
    score = ask_alone("membership", model, dataset, people=people).about("patients", figure="score", attribute="Loss")
    return leaks, *(score.loc[score["group"] == group, "value"].to_numpy() for group in (MEMBER, NON_MEMBER))


if __name__ == "__main__":
    main()
