"""Preflight on the sample cohort (alike by design), and on people made different or doubled on purpose."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Event, Record
from ehrmem_widgets.errors import CannotAnswer
from ehrmem_widgets.findings.finding import Finding, finding, row
from ehrmem_widgets.probes.confounding.ask import confounding, explains, standardised_difference
from ehrmem_widgets.probes.near_duplicates import LEFT_OUT, across_the_split, without_near_duplicates
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, NULL_CANARY, People, choose_people
from ehrmem_widgets.probes.run import check_heeds, run
from ehrmem_widgets.samples.folders import sample_data, sample_model
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Judgement, Verdict
from tests.probes.alone import compare_groups
from tests.probes.same import same


@pytest.fixture(scope="module")
def dataset() -> MedsDataset:
    return MedsDataset(sample_data())


@pytest.fixture(scope="module")
def people(dataset: MedsDataset) -> People:
    return choose_people(dataset, None, most=160, canaries=False)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def alike(dataset: MedsDataset, people: People) -> Finding:
    return compare_groups(dataset, people=people)


def later(record: Record, years: int) -> Record:
    move = timedelta(days=round(365.25 * years))
    events = tuple(replace(e, time=e.time + move if e.time else None) for e in record.events)
    return replace(record, events=events, birth=record.birth and record.birth + move)


def test_people_drawn_alike_are_not_told_apart(alike: Finding) -> None:
    free = alike.estimate("model_free_auroc", group="all")
    assert free.n == 160 and free.low < 0.5 < free.high
    assert float(alike.about("figures", figure="model_free_auroc", group="all")["p"].iloc[0]) > 0.05
    traits = alike.about("figures", group="all")
    traits = traits[traits["figure"].str.startswith("difference_")]
    assert set(traits["figure"]) == {f"difference_{t}" for t in ("length", "era", "age", "female")}
    assert (traits["p_adjusted"] > 0.05).all() and ((traits["low"] < 0) & (traits["high"] > 0)).all()
    assert "cannot be told apart" in alike.sentences[0] and "too few" in alike.sentences[-1]
    assert explains(alike, Estimate(0.7, 0.6, 0.8, 160)) is None


def test_non_members_of_another_era_leave_nothing_to_conclude(dataset: MedsDataset, people: People) -> None:
    moved = tuple(later(r, 8) if people.group(r) == NON_MEMBER else r for r in people.records)
    found = compare_groups(dataset, people=replace(people, records=moved))
    free = found.estimate("model_free_auroc", group="all")
    assert free.low > 0.6 and "Cannot conclude" in found.sentences[0]
    assert "year of the first event" in found.sentences[1]
    (row,) = found.about("figures", figure="difference_era", group="all").to_dict("records")
    assert row["high"] < 0 and row["p_adjusted"] < 0.01
    assert "without asking the model" in f"{explains(found, Estimate(0.7, 0.6, 0.8, 160))}"
    assert explains(found, Estimate(1.0, free.high + 1e-6, 1.0, 160)) is None  # more than the data explain
    assert explains(None, Estimate(0.7, 0.6, 0.8, 160)) is None
    assert confounding(found) and not confounding(found, group="canaries")


def test_a_code_of_members_alone_and_a_site_are_named(dataset: MedsDataset, people: People) -> None:
    def marked(record: Record) -> Record:
        member = people.group(record) == MEMBER
        site = Event(None, f"SITE//{'north' if member else 'south'}")
        return replace(record, events=(site, *record.events))

    found = compare_groups(dataset, people=replace(people, records=tuple(map(marked, people.records))))
    assert found.estimate("association_site", group="all").value == pytest.approx(1)
    top = found.about("figures", figure="code_use_difference", group="all").head(2)
    assert set(top["attribute"]) == {"SITE//north", "SITE//south"} and (top["p_adjusted"] < 1e-6).all()


def test_too_few_people_are_said(dataset: MedsDataset, people: People) -> None:
    few = People(tuple(people.of(MEMBER)[:30]), people.groups)
    found = compare_groups(dataset, people=few)
    assert "30 members and 0 non-members" in found.sentences[0]
    assert explains(found, Estimate(0.7, 0.6, 0.8, 30)) is None


@pytest.fixture
def doubled(tmp_path: Path) -> MedsDataset:
    """Members 0-24; non-member 100 is member 0 again, 101 has 19 of member 1's 20 codes, 103 is too short to compare; the reference's 200 is
    member 2 and 201 is non-member 105."""
    rows = []

    def add(patient: int, codes: list[str]) -> None:
        day = pd.Timestamp("2020-01-01")
        rows.extend((patient, day + pd.Timedelta(days=i), code, np.nan) for i, code in enumerate(codes))

    for member in range(25):
        add(member, [f"DIAGNOSIS//{member}-{i}" for i in range(20)])
    add(100, [f"DIAGNOSIS//0-{i}" for i in range(20)])
    add(101, [f"DIAGNOSIS//1-{i}" for i in range(19)] + ["DIAGNOSIS//other"])
    add(102, [f"DIAGNOSIS//3-{i}" for i in range(17)] + [f"DIAGNOSIS//new-{i}" for i in range(3)])
    add(103, ["DIAGNOSIS//0-0"])
    add(105, [f"DIAGNOSIS//own-{i}" for i in range(20)])
    add(200, [f"DIAGNOSIS//2-{i}" for i in range(20)])
    add(201, [f"DIAGNOSIS//own-{i}" for i in reversed(range(20))])
    (tmp_path / "data").mkdir()
    (tmp_path / "metadata").mkdir()
    table = pd.DataFrame(rows, columns=["subject_id", "time", "code", "numeric_value"])
    table.to_parquet(tmp_path / "data" / "0.parquet", index=False)
    split = pd.DataFrame({"subject_id": sorted(table["subject_id"].unique())})
    split["split"] = np.select(
        [split["subject_id"] < 100, split["subject_id"] < 200], ["train", "held_out"], "reference"
    )
    split.to_parquet(tmp_path / "metadata" / "subject_splits.parquet", index=False)
    return MedsDataset(tmp_path)


def test_duplicates_across_the_split_are_counted(doubled: MedsDataset) -> None:
    found = compare_groups(doubled, people=choose_people(doubled, None))  # type: ignore[arg-type]
    group = "member / non-member"
    same, near = (found.estimate(name, group=group) for name in ("duplicates", "near_duplicates"))
    assert (same.value, same.n) == (pytest.approx(1 / 4), 4) and near.value == pytest.approx(2 / 4)
    same, near = (found.estimate(name, group="member / reference") for name in ("duplicates", "near_duplicates"))
    assert same.value == near.value == pytest.approx(1 / 2)
    assert found.estimate("near_duplicates_across", group="member").value == pytest.approx(3 / 25)
    assert found.estimate("near_duplicates_across", group="non-member").value == pytest.approx(3 / 4)
    assert any("1 have the very sequence" in s for s in found.sentences)
    assert any(s.startswith("1 records with fewer") for s in found.sentences)


def test_people_with_a_near_duplicate_on_the_other_side_are_left_out_of_every_probe(doubled: MedsDataset) -> None:
    everybody = choose_people(doubled, None)  # type: ignore[arg-type]
    people = without_near_duplicates(everybody, doubled, None)
    assert {r.patient_id for r in people.records} == {*range(3, 25), 102, 103} == set(people.groups)
    gone = {doubled.pseudonym(patient) for patient in (0, 1, 2, 100, 101, 105)}
    assert set(people.left_out) == {(one, LEFT_OUT) for one in gone}
    assert without_near_duplicates(people, doubled, None) is people
    found = run("confounding", doubled, FolderModel(sample_model()))  # type: ignore[arg-type]
    assert found.exclusions == {LEFT_OUT.words: 6}


def test_many_near_duplicates_leave_nothing_to_conclude(doubled: MedsDataset) -> None:
    found = compare_groups(doubled, people=choose_people(doubled, None))  # type: ignore[arg-type]
    assert "more than 5% of the members have a near-duplicate on the other side" in f"{confounding(found)}"
    assert (
        "more than 5% of the non-members have a near-duplicate" in f"{explains(found, Estimate(0.99, 0.98, 1.0, 29))}"
        and not explains(found, Estimate(0.99, 0.98, 1.0, 29), group="canaries")
    )
    much = Judgement(Verdict.MEMORIZED, "more_for_members", "much.")

    def made(group: str) -> Finding:
        return finding(
            "attribute", [row("excess_gap", Estimate(0.3, 0.2, 0.4, 29), group=group, judgement=much)], {}, ()
        )

    with pytest.raises(
        CannotAnswer, match=r"'attribute' calls members memorized without regard to Task.confounded \(more than 5%"
    ):
        check_heeds(made("all"), confounding(found))
    check_heeds(made("canaries"), confounding(found))
    check_heeds(made("all"), None)


def test_planted_canaries_stay_even_where_they_are_alike(dataset: MedsDataset) -> None:
    everybody = choose_people(dataset, None, most=40)  # type: ignore[arg-type]
    a, b = everybody.of(CANARY)[0], everybody.of(NULL_CANARY)[0]
    sets = across_the_split(dataset, None, None, asked=[a.patient_id, b.patient_id])
    assert a.patient_id in sets.ids[MEMBER] and b.patient_id in sets.ids[NON_MEMBER]
    assert without_near_duplicates(everybody, dataset, None) is everybody  # the sample cohort has no near-duplicates


def test_a_sample_of_a_large_side_holds_those_asked_about(
    dataset: MedsDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ehrmem_widgets.probes.near_duplicates.MOST_COMPARED", 50)
    asked = dataset.ids("train")[:3] + dataset.ids("held_out")[-2:]
    found = across_the_split(dataset, None, None, asked=asked, seed=1)
    assert {len(ids) for ids in found.ids.values()} <= {50, 51, 52, 53}
    assert set(asked) <= {int(i) for ids in found.ids.values() for i in ids}


def test_model_free_figures_are_the_same_again(dataset: MedsDataset, people: People, alike: Finding) -> None:
    same(compare_groups(dataset, people=people), alike)


def test_the_standardised_difference_is_cohens() -> None:
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(300):
        found = standardised_difference(rng.normal(0.5, 1, 40), rng.normal(0, 1, 60))
        inside += found.low <= 0.5 <= found.high
    assert 0.92 < inside / 300 < 0.985
