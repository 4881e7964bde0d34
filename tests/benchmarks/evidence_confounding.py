"""The confounding check's own evidence: members and non-members told apart without a model only where something was planted.

``python -m tests.benchmarks.evidence_confounding`` runs it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from unittest.mock import patch

import numpy as np
import pandas as pd
from scipy import stats

from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Event, Record
from ehrmem_widgets.probes.confounding.ask import _events_of, _traits, model_free_test
from ehrmem_widgets.probes.near_duplicates import across_the_split
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, NULL_CANARY, choose_people
from ehrmem_widgets.samples.folders import sample_data
from ehrmem_widgets.statistics import two_sample
from ehrmem_widgets.statistics.intervals import proportion
from ehrmem_widgets.statistics.two_sample import ToldApart
from tests.benchmarks.lines import Lines

NULLS, NULL_SIZE = 200, 60  # random divisions of never-seen people into so many "members" and as many "non-members"
POWERS, POWER_SIZE = 40, 200  # as many of each as an audit asks about unless told otherwise
SEEDS = 10

Change = Callable[[Record, np.random.Generator], Record]


def main(lines: Lines) -> None:
    """The permutation p of canaries over seeds, its uniformity under the null, power on planted differences, near-duplicates."""
    dataset = MedsDataset(sample_data())
    _canaries(lines, dataset)
    strangers = [r for r in dataset.records(dataset.ids("held_out")) if any(e.time for e in r.events)]
    _null(lines, strangers)
    for name, (change, goal) in PLANTED.items():
        _power(lines, strangers, name, change, goal)
    found = across_the_split(dataset, None, None)
    for side in (MEMBER, NON_MEMBER):
        rate = proportion(int(found.anywhere(side).sum()), len(found.ids[side]))
        name = f"confounding_near_duplicates_{side.replace('-', '_')}"
        lines.add(name, rate.value, f"{rate.low:.4f} to {rate.high:.4f}", rate.n, "<= 0.05")


def _canaries(lines: Lines, dataset: MedsDataset) -> None:
    people = choose_people(dataset, None, most=2)  # type: ignore[arg-type]
    records, truth = _sides(people.of(CANARY), people.of(NULL_CANARY))
    events, traits = _events_of(records), _traits(records)
    found = [model_free_test(events, traits, truth, seed=seed) for seed in range(SEEDS)]
    p, aurocs = [one.p for one in found], [one.auroc.value for one in found]
    lines.add("confounding_canaries_smallest_p", min(p), f"{min(p):.3f} to {max(p):.3f}", SEEDS, ">= 0.05")
    spread = max(aurocs) - min(aurocs)
    lines.add("confounding_canaries_auroc_spread", spread, f"{min(aurocs):.3f} to {max(aurocs):.3f}", SEEDS, "<= 0.1")


def _null(lines: Lines, strangers: list[Record]) -> None:
    found = list(_divisions(strangers, strangers, NULLS, NULL_SIZE, permutations=199))
    smoothed = [one.p - np.random.default_rng(seed).random() / 200 for seed, one in enumerate(found)]  # p is discrete
    uniform = stats.kstest(smoothed, "uniform")
    lines.add("confounding_null_ks_p", uniform.pvalue, f"KS distance {uniform.statistic:.3f}", NULLS, ">= 0.01")
    rate = proportion(sum(one.p <= 0.05 and one.auroc.value > 0.5 for one in found), NULLS)
    lines.add("confounding_null_told_apart", rate.value, f"{rate.low:.3f} to {rate.high:.3f}", NULLS, "<= 0.08")
    mean = float(np.mean([one.auroc.value for one in found]))
    lines.add("confounding_null_mean_auroc", mean, "", NULLS, "0.48..0.52")


def _power(lines: Lines, strangers: list[Record], name: str, change: Change, goal: str) -> None:
    rng = np.random.default_rng(3)
    changed = [change(record, rng) for record in strangers]
    found = _divisions(changed, strangers, POWERS, POWER_SIZE, permutations=99)
    rate = proportion(sum(one.p <= 0.05 for one in found), POWERS)
    lines.add(f"confounding_power_{name}", rate.value, f"{rate.low:.2f} to {rate.high:.2f}", POWERS, goal)


def _divisions(
    members: list[Record], others: list[Record], repetitions: int, size: int, *, permutations: int
) -> Iterable[ToldApart]:
    """The test on random people, each of them on one side; ``members[i]`` and ``others[i]`` are of the same person."""
    both = [*members, *others]
    events, traits = _events_of(both), _traits(both)
    with patch.multiple(two_sample, PERMUTATIONS=permutations, REPEATS=3):
        for seed in range(repetitions):
            drawn = np.random.default_rng([seed, 5]).choice(len(others), 2 * size, replace=False)
            at = np.concatenate([drawn[:size], len(members) + drawn[size:]])
            place = pd.Series(np.arange(2 * size), index=at)
            some = events[events["person"].isin(at)]
            some = some.assign(person=some["person"].map(place))
            yield model_free_test(some, traits.iloc[at].reset_index(drop=True), np.arange(2 * size) < size, seed=seed)


def _sides(members: list[Record], others: list[Record]) -> tuple[list[Record], np.ndarray]:
    return [*members, *others], np.arange(len(members) + len(others)) < len(members)


def _moved(record: Record, years: float) -> Record:
    move = timedelta(days=round(365.25 * years))
    events = tuple(replace(e, time=e.time + move if e.time else None) for e in record.events)
    return replace(record, events=events, birth=record.birth and record.birth + move)


def _later(record: Record, rng: np.random.Generator) -> Record:
    return _moved(record, 2.0)


def _cut_short(record: Record, rng: np.random.Generator) -> Record:
    dated = sum(event.time is not None for event in record.events)
    return record.with_events(record.events[: len(record.events) - round(0.15 * dated)])


def _with_a_code(record: Record, rng: np.random.Generator) -> Record:
    if rng.random() >= 0.15:
        return record
    return record.with_events((*record.events, Event(record.events[-1].time, "DIAGNOSIS//PLANTED")))


def _higher(record: Record, rng: np.random.Generator) -> Record:
    events = tuple(replace(e, value=1.03 * e.value) if e.value is not None else e for e in record.events)
    return record.with_events(events)


def _by_sex(record: Record, rng: np.random.Generator) -> Record:
    """Women later and men earlier: neither year nor sex differs by itself."""
    female = any(event.code.startswith("GENDER//F") for event in record.events)
    return _moved(record, 2.5 if female else -2.5)


PLANTED: dict[str, tuple[Change, str]] = {
    "two_years_later": (_later, ">= 0.6"),
    "15_percent_shorter": (_cut_short, ">= 0.8"),
    "one_code_in_15_percent": (_with_a_code, ">= 0.6"),
    "values_3_percent_higher": (_higher, ">= 0.5"),
    "year_by_sex": (_by_sex, ">= 0.8"),
}
"""By name: what happens to the members' records, and the power that it should be found with."""


if __name__ == "__main__":
    lines_ = Lines()
    main(lines_)
    lines_.finish()
