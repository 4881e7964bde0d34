"""Canaries of one's own: planted in a data set, sealed in a key, copied from nobody."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cli import main
from ehrmem_widgets.cohort.canary_maker import Canary, key_beside, make_canaries
from ehrmem_widgets.cohort.code_statistics import RUN, CodeStatistics
from ehrmem_widgets.cohort.dataset import MEMBER_SPLIT, MedsDataset
from ehrmem_widgets.cohort.ground_truth import (
    COLUMNS,
    INCLUDED,
    CanaryFile,
    canary_repetitions,
    coin_flips,
    planted_ids,
)
from ehrmem_widgets.cohort.record import Event
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.people import CANARY, NULL_CANARY, choose_people, sides
from ehrmem_widgets.samples.folders import sample_data, sample_model
from tests.widgets.opened import few_patients

SOURCE = sample_data()


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Canary]]:
    out = tmp_path_factory.mktemp("planted") / "to_train_on"
    return out, make_canaries(SOURCE, out, key_beside(out), n=80, coin_flip=True, seed=1)


@pytest.fixture(scope="module")
def declared(planted: tuple[Path, list[Canary]]) -> MedsDataset:
    dataset = MedsDataset(planted[0])
    dataset.declare(canaries=key_beside(planted[0]))
    return dataset


def test_what_is_written_is_the_data_and_those_whose_coin_put_them_in(planted: tuple[Path, list[Canary]]) -> None:
    out, made = planted
    before, after = MedsDataset(SOURCE), MedsDataset(out)
    included = [one.patient_id for one in made if one.included]
    assert 20 < len(included) < 60 and len(made) == 80
    assert sorted([*before.ids(), *included]) == after.ids()
    expected = dict(before.splits) | {MEMBER_SPLIT: before.splits[MEMBER_SPLIT] + len(included)}
    assert after.splits == expected and set(after.splits_of(included)) == {MEMBER_SPLIT}
    some = before.some_ids(20)
    assert [r.events for r in after.records(some)] == [r.events for r in before.records(some)]
    for one in made:
        if one.included:
            record = after.record(one.patient_id)
            assert (record.events, record.birth) == (one.events, one.birth)
    assert after.query("SELECT count(*) FROM events WHERE code NOT IN (SELECT code FROM codes)").fetchone() == (0,)


def test_the_key_reads_as_any_file_of_canaries_and_is_for_its_owner_alone(
    planted: tuple[Path, list[Canary]], declared: MedsDataset
) -> None:
    out, made = planted
    key = key_beside(out)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600 and set(COLUMNS) <= set(pq.read_schema(key).names)
    file = CanaryFile.read(key, declared)
    assert coin_flips(declared) == {one.patient_id: one.included for one in made}
    assert canary_repetitions(declared) == {one.patient_id: int(one.included) for one in made}
    apart = [one for one in made if not one.included]
    assert set(file.apart) == {one.patient_id for one in apart}
    for one in apart[:5]:  # who was left out is found all the same, and only with the key
        pseudonym = declared.pseudonym(one.patient_id)
        assert declared.record(pseudonym).events == one.events and declared.record(one.patient_id).birth == one.birth
        with pytest.raises(BadInput, match="There is no patient"):
            MedsDataset(out).record(one.patient_id)


def test_the_alternatives_are_the_canary_with_other_values_of_the_first_day(
    planted: tuple[Path, list[Canary]], declared: MedsDataset
) -> None:
    file = CanaryFile.read(key_beside(planted[0]), declared)
    for one in planted[1][:10]:
        record = declared.record(one.patient_id)
        others = file.alternatives_of(record, 8, seed=0)
        assert len(others) == 8 and len({other.events for other in others}) > 1
        first = next(event.time for event in one.events if event.time is not None).date()
        for other in others:
            changed = [e for e, own in zip(other.events, one.events, strict=True) if e != own]
            assert [e.code for e in other.events] == [e.code for e in one.events]
            assert all(e.time is not None and e.time.date() == first and e.value is not None for e in changed)


def test_values_and_alternatives_are_exchangeable() -> None:
    """The planted value has any rank among its alternatives with the same chance."""
    statistics = CodeStatistics(MedsDataset(SOURCE), MEMBER_SPLIT, ())
    rng = np.random.default_rng(0)
    ranks = []
    for _ in range(300):
        events, _ = statistics.draw(rng, 0.3)
        others = [_sum(statistics.other_values(rng, events)) for _ in range(19)]
        own = _sum(events[: len(statistics.other_values(rng, events))])
        ranks.append(sum(other < own for other in others) + rng.random() * (sum(other == own for other in others) + 1))
    assert np.mean(ranks) / 20 == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / 300))


def _sum(events: tuple[Event, ...]) -> float:
    return sum(event.value or 0 for event in events)


def test_no_record_and_no_rare_run_of_one_is_copied(planted: tuple[Path, list[Canary]]) -> None:
    """Against every record of the data, in plain Python and not as the code does it."""
    dataset = MedsDataset(SOURCE)
    ordinary = [i for i in dataset.ids(MEMBER_SPLIT) if i not in planted_ids(dataset)]
    records = [tuple(e.code for e in r.events if e.time) for r in dataset.records(ordinary)]
    holders: dict[str, int] = {}
    for codes in records:
        for code in set(codes):
            holders[code] = holders.get(code, 0) + 1
    theirs = {run for codes in records for run in _runs(codes)}
    seen = set()
    for one in planted[1]:
        codes = tuple(e.code for e in one.events if e.time)
        assert codes not in records and min(holders[code] for code in codes) >= 11
        copied = [run for run in _runs(codes) if run in theirs and min(holders[c] for c in run) < 0.05 * len(records)]
        assert copied == []
        seen.add(codes)
    assert len(seen) == len(planted[1])


def _runs(codes: tuple[str, ...]) -> set[tuple[str, ...]]:
    return {codes[start : start + RUN] for start in range(len(codes) - RUN + 1)}


def test_a_record_that_is_copied_is_noticed() -> None:
    dataset = MedsDataset(SOURCE)
    statistics = CodeStatistics(dataset, MEMBER_SPLIT, planted_ids(dataset))
    own = next(
        r
        for r in map(dataset.record, dataset.ids(MEMBER_SPLIT))
        if len(r.events) > 20 and r.patient_id not in planted_ids(dataset)
    )
    codes = [e.code for e in own.events if e.time and not e.code.startswith("MEDS_")]
    assert statistics.copied([tuple(codes), ("nobody", "has", "these")]) == {0}
    rare = next(place for place, code in enumerate(codes) if code in statistics.rare)
    start = min(rare, len(codes) - RUN)
    assert statistics.copied([("x", *codes[start : start + RUN], "y")]) == {0}


def test_an_audit_asks_about_those_planted_and_those_left_out(
    planted: tuple[Path, list[Canary]], declared: MedsDataset
) -> None:
    people = choose_people(declared, FolderModel(sample_model()), most=4, seed=1)
    made = planted[1]
    assert {r.patient_id for r in people.of(CANARY)} == {one.patient_id for one in made if one.included}
    assert {r.patient_id for r in people.of(NULL_CANARY)} == {one.patient_id for one in made if not one.included}


def test_repetitions_are_further_patients_and_no_ordinary_ones(tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = make_canaries(SOURCE, out, key_beside(out), n=30, repetitions=3, seed=2)
    dataset = MedsDataset(out)
    dataset.declare(canaries=key_beside(out))
    assert sum(one.included for one in made) == 15 and coin_flips(dataset) == {}
    assert len(dataset) == len(MedsDataset(SOURCE)) + 45
    one = next(one for one in made if one.included)
    assert [r.events for r in dataset.records(one.copies)] == [one.events] * 2
    assert canary_repetitions(dataset)[one.patient_id] == 3 and set(one.copies) <= planted_ids(dataset)
    assert not set(sides(dataset, None, None)[0]) & planted_ids(dataset)


def test_the_same_seed_makes_the_same_and_none_makes_others(tmp_path: Path) -> None:
    few = few_patients(tmp_path / "few")
    made = [
        make_canaries(few, tmp_path / name, key_beside(tmp_path / name), n=22, seed=seed)
        for name, seed in (("a", 7), ("b", 7), ("c", None))
    ]
    assert made[0] == made[1] and made[0] != made[2]


def test_what_is_wrong_is_said(
    tmp_path: Path, planted: tuple[Path, list[Canary]], capsys: pytest.CaptureFixture[str]
) -> None:
    def says(*options: str) -> str:
        assert main(["canaries", "make", "--data", str(SOURCE), *options]) == 2
        return capsys.readouterr().err

    assert "a bound of epsilon is about one record" in says(
        "--out", str(tmp_path / "x"), "--coin-flip", "--repetitions", "2"
    )
    assert "already exists" in says("--out", str(planted[0]))
    assert "There is no folder" in says("--out", str(tmp_path / "x"), "--key", str(tmp_path / "x" / "key.parquet"))
    assert "cannot lie inside" in says("--out", str(SOURCE / "x"))
    other = MedsDataset(SOURCE)
    other.canaries = key_beside(planted[0])
    with pytest.raises(BadInput, match="were made for another data set"):
        canary_repetitions(other)
    flipped = pd.read_parquet(key_beside(planted[0]))
    flipped[INCLUDED] = True
    flipped.to_parquet(tmp_path / "flipped.parquet")
    with pytest.raises(BadInput, match="a coin puts a canary in once or not at all"):
        MedsDataset(planted[0]).declare(canaries=tmp_path / "flipped.parquet")
    empty = tmp_path / "few"
    (empty / "data").mkdir(parents=True)
    few = pd.DataFrame(
        {
            "subject_id": [1, 2],
            "time": pd.to_datetime(["2020-01-01"] * 2),
            "code": ["A", "B"],
            "numeric_value": [1.0, 2.0],
        }
    )
    few.to_parquet(empty / "data" / "0.parquet")
    with pytest.raises(BadInput, match="does not say in metadata/subject_splits"):
        make_canaries(empty, tmp_path / "y", tmp_path / "y.parquet", n=22)
    (empty / "metadata").mkdir()
    pd.DataFrame({"subject_id": [1, 2], "split": ["train"] * 2}).to_parquet(
        empty / "metadata" / "subject_splits.parquet"
    )
    with pytest.raises(BadInput, match="No code is held by 11 patients"):
        make_canaries(empty, tmp_path / "y", tmp_path / "y.parquet", n=22)
    assert not (tmp_path / "y").exists() and not (tmp_path / "y.parquet").exists()
