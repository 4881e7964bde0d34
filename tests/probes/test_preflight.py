"""Preflight on the sample cohort (alike by design), and on people made different or doubled on purpose."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Event, Record
from ehrmem_widgets.probes.cohort_finding import CohortFinding
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER, People, choose_people
from ehrmem_widgets.probes.preflight import explains, preflight, standardised_difference
from ehrmem_widgets.samples.folders import sample_data
from ehrmem_widgets.statistics.intervals import Estimate


@pytest.fixture(scope="module")
def dataset() -> MedsDataset:
    return MedsDataset(sample_data())


@pytest.fixture(scope="module")
def people(dataset: MedsDataset) -> People:
    return choose_people(dataset, None, most=160, canaries=False)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def alike(dataset: MedsDataset, people: People) -> CohortFinding:
    return preflight(dataset, people=people)


def later(record: Record, years: int) -> Record:
    move = timedelta(days=round(365.25 * years))
    events = tuple(replace(e, time=e.time + move if e.time else None) for e in record.events)
    return replace(record, events=events, birth=record.birth and record.birth + move)


def test_people_drawn_alike_are_not_told_apart(alike: CohortFinding) -> None:
    free = alike.estimate("model_free_auroc", group="all")
    assert free.n == 160 and free.low < 0.5 < free.high + 0.1 and free.value < 0.6
    traits = alike.about("cohort", group="all")
    traits = traits[traits["figure"].str.startswith("difference_")]
    assert set(traits["figure"]) == {f"difference_{t}" for t in ("length", "era", "age", "female")}
    assert (traits["p_adjusted"] > 0.05).all() and ((traits["low"] < 0) & (traits["high"] > 0)).all()
    assert "cannot be told apart" in alike.sentences[0] and "too few" in alike.sentences[-1]
    assert explains(alike, Estimate(0.7, 0.6, 0.8, 160)) == ""


def test_non_members_of_another_era_leave_nothing_to_conclude(dataset: MedsDataset, people: People) -> None:
    moved = tuple(later(r, 8) if people.group(r) == NON_MEMBER else r for r in people.records)
    found = preflight(dataset, people=replace(people, records=moved))
    free = found.estimate("model_free_auroc", group="all")
    assert (
        free.low > 0.7 and "Cannot conclude" in found.sentences[0] and "year of the first event" in found.sentences[1]
    )
    (row,) = found.about("cohort", figure="difference_era", group="all").to_dict("records")
    assert row["high"] < 0 and row["p_adjusted"] < 0.01
    assert "without asking the model" in explains(found, Estimate(0.7, 0.6, 0.8, 160))
    assert explains(found, Estimate(1.0, free.high + 1e-6, 1.0, 160)) == ""  # more than the data explain
    assert explains(None, Estimate(0.7, 0.6, 0.8, 160)) == ""


def test_a_code_of_members_alone_and_a_site_are_named(dataset: MedsDataset, people: People) -> None:
    def marked(record: Record) -> Record:
        member = people.group(record) == MEMBER
        site = Event(None, f"SITE//{'north' if member else 'south'}")
        return replace(record, events=(site, *record.events))

    found = preflight(dataset, people=replace(people, records=tuple(map(marked, people.records))))
    assert found.estimate("association_site", group="all").value == pytest.approx(1)
    top = found.about("cohort", figure="code_use_difference", group="all").head(2)
    assert set(top["attribute"]) == {"SITE//north", "SITE//south"} and (top["p_adjusted"] < 1e-6).all()


def test_too_few_people_are_said(dataset: MedsDataset, people: People) -> None:
    few = People(tuple(people.of(MEMBER)[:30]), people.groups)
    found = preflight(dataset, people=few)
    assert "30 members and 0 non-members" in found.sentences[0]
    assert explains(found, Estimate(0.7, 0.6, 0.8, 30)) == ""


def test_duplicates_across_the_split_are_counted(tmp_path: Path) -> None:
    """Members 0-24; non-member 100 is member 0 again, 101 has 19 of member 1's 20 codes, 102 and 103 share nothing."""
    rows = []

    def add(patient: int, codes: list[str]) -> None:
        day = pd.Timestamp("2020-01-01")
        rows.extend((patient, day + pd.Timedelta(days=i), code, np.nan) for i, code in enumerate(codes))

    for member in range(25):
        add(member, [f"DIAGNOSIS//{member}-{i}" for i in range(20)])
    add(100, [f"DIAGNOSIS//0-{i}" for i in range(20)])
    add(101, [f"DIAGNOSIS//1-{i}" for i in range(19)] + ["DIAGNOSIS//other"])
    add(102, [f"DIAGNOSIS//new-{i}" for i in range(20)])
    add(103, ["DIAGNOSIS//0-0"])  # too short to compare
    (tmp_path / "data").mkdir()
    (tmp_path / "metadata").mkdir()
    table = pd.DataFrame(rows, columns=["subject_id", "time", "code", "numeric_value"])
    table.to_parquet(tmp_path / "data" / "0.parquet", index=False)
    split = pd.DataFrame({"subject_id": sorted(table["subject_id"].unique())})
    split["split"] = np.where(split["subject_id"] < 100, "train", "held_out")
    split.to_parquet(tmp_path / "metadata" / "subject_splits.parquet", index=False)
    found = preflight(MedsDataset(tmp_path))
    group = "member / non-member"
    same, near = (found.estimate(name, group=group) for name in ("duplicates", "near_duplicates"))
    assert (same.value, same.n) == (pytest.approx(1 / 3), 3) and near.value == pytest.approx(2 / 3)
    assert any("1 have the very sequence" in s for s in found.sentences)
    assert any(s.startswith("1 records with fewer") for s in found.sentences)


def test_the_standardised_difference_is_cohens() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(300):
        found = standardised_difference(rng.normal(0.5, 1, 40), rng.normal(0, 1, 60))
        inside += found.low <= 0.5 <= found.high
    assert 0.92 < inside / 300 < 0.985
