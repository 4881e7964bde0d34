"""What shadow models buy and cost: LiRA with 4, 8 and 16 of them against Ratio, on the sample model ``moderate``.

    python -m tests.benchmarks.shadow_models --out DIR

Each is trained as ``moderate`` is (its vocabulary, 7 epochs), on half of the 1,800 people who are members of it or were seen by no model. DIR keeps what is
trained and asked: the same command goes on. The table of docs/evidence.md is what it prints.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.shadow_models import open_shadow_models
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.files import read_json
from ehrmem_widgets.probes.batching import Rows
from ehrmem_widgets.probes.membership.ask import Scorer
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, NULL_CANARY, People, choose_people
from ehrmem_widgets.samples.build import MODERATE_EPOCHS
from ehrmem_widgets.samples.folders import sample_data, sample_moderate, sample_reference
from ehrmem_widgets.statistics.discrimination import auroc, auroc_difference, tpr_at_fpr
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.likelihood_ratio import likelihood_ratio
from ehrmem_widgets.training.shadow_models import train_shadow_models

COUNTS = (4, 8, 16)
MOST = 1200


def main() -> None:
    """Train what is missing, ask, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--counts", type=int, nargs="*", default=COUNTS)
    arguments = parser.parse_args()
    dataset, moderate = MedsDataset(sample_data()), FolderModel(sample_moderate())
    arguments.out.mkdir(exist_ok=True)
    seconds = {count: trained(dataset, moderate, arguments.out, count) for count in arguments.counts}
    reference = FolderModel(sample_reference())
    people = choose_people(dataset, moderate, reference, most=MOST)
    for line in table(dataset, moderate, people, arguments.out, reference, seconds):
        print(line, flush=True)


def trained(dataset: MedsDataset, moderate: FolderModel, out: Path, count: int) -> float:
    """CPU seconds that training so many took, those of earlier runs counted in."""
    kept = out / "seconds.json"
    before = {name.split(" of ")[0]: s for name, s in json.loads(kept.read_text()).items()} if kept.exists() else {}
    began = time.process_time()

    def report(line: str) -> None:
        nonlocal began
        print(line, flush=True)
        name = line.split(" of ")[0]
        if "there already" not in line:
            before[name] = before.get(name, 0.0) + time.process_time() - began
            kept.write_text(json.dumps(before, indent=1))
        began = time.process_time()

    train_shadow_models(
        dataset, out / "shadows", shadows=count, splits=["train", "held_out"], epochs=MODERATE_EPOCHS,
        vocabulary=moderate.vocabulary, report=report,
    )  # fmt: skip
    return float(np.sum([before.get(f"shadow model {place + 1}", 0.0) for place in range(count)]))


def table(
    dataset: MedsDataset,
    moderate: FolderModel,
    people: People,
    out: Path,
    reference: FolderModel,
    seconds: dict[int, float],
) -> list[str]:
    """Lines of Markdown: ordinary people, then canaries."""
    shadows = open_shadow_models(out / "shadows", dataset, moderate)
    answers = asked(out / f"answers_{len(shadows.models)}.json", Scorer(moderate, reference, (), shadows), people)
    lines = [
        "| attack | models trained | CPU seconds of training | AUROC | more than Ratio | members found at 1 % false alarms | canaries' AUROC |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    group = np.array([people.group_of_pseudonym[a["patient"]] for a in answers])
    inside = np.array([shadows.inside(a["patient"]) for a in answers])
    said, loss = (
        np.array([a[name] if name == "shadows" else a["scores"][name] for a in answers]) for name in ("shadows", "Loss")
    )
    ratio = np.array([a["scores"]["Ratio"] for a in answers])
    lines += [_line("Loss", 0, 0.0, loss, ratio, group), _line("Ratio", 1, float("nan"), ratio, ratio, group)]
    for count in sorted(seconds):
        for online in (False, True):
            found = np.full(len(answers), np.nan)
            for pair in ((MEMBER, NON_MEMBER), (CANARY, NULL_CANARY)):
                those = np.isin(group, pair)
                seen = inside[those, :count]
                given = said[those, :count] if online else _out_only(said[those, :count], seen)
                found[those] = likelihood_ratio(
                    loss[those], given, seen if online else np.zeros(given.shape, dtype=bool)
                )
            lines.append(
                _line(f"LiRA, {'online' if online else 'offline'}", count, seconds[count], found, ratio, group)
            )
    return lines


def _out_only(said: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(n, K / 2) what the models without a record say of it."""
    order = np.argsort(inside, axis=1, kind="stable")[:, : said.shape[1] // 2]
    return np.take_along_axis(said, order, axis=1)


def _line(name: str, models: int, seconds: float, scores: np.ndarray, ratio: np.ndarray, group: np.ndarray) -> str:
    sides, theirs = ([x[group == side] for side in (MEMBER, NON_MEMBER)] for x in (scores, ratio))
    gap = "" if scores is ratio else _shown(auroc_difference(*sides, *theirs))
    canaries = auroc(*(scores[group == side] for side in (CANARY, NULL_CANARY)))
    figures = (_shown(auroc(*sides)), gap, _shown(tpr_at_fpr(*sides, 0.01)), _shown(canaries))
    return f"| {name} | {models or 'none'} | {seconds:.0f} | {' | '.join(figures)} |".replace(
        "| nan |", "| as the audited model |"
    )


def _shown(estimate: Estimate) -> str:
    return str(estimate)


def asked(kept: Path, scorer: Scorer, people: People) -> Rows:
    """The answers about all people, kept."""
    if not kept.exists():
        began, records = time.process_time(), list(people.records)
        found = [row for start in range(0, len(records), 64) for row in scorer.ask(records[start : start + 64])]
        kept.write_text(json.dumps(found))
        print(f"{len(found)} people were asked about in {time.process_time() - began:.0f} CPU seconds", flush=True)
    rows: Rows = list(read_json(kept, kept.name))  # type: ignore[call-overload]
    return rows


if __name__ == "__main__":
    main()
