"""A large data set is indexed once, privately and whole, and afterwards means what it meant without an index."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ehrmem_widgets.cohort import dataset as dataset_module
from ehrmem_widgets.cohort import meds_index
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.meds_files import EVERY_FILE, rows_looked_through, shards_of
from ehrmem_widgets.errors import BadInput, Damaged, Unavailable
from tests.cohort.meds import Row, at, shard, write

HIV, LAB = "DIAGNOSIS//ICD//10//B20", "LAB//50912//mg/dL"


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test writes where its user keeps things; any data set is large here, and twenty events fill the memory."""
    monkeypatch.setenv("EHRMEM_PSEUDONYM_KEY", str(tmp_path / "pseudonym.key"))
    monkeypatch.setenv("EHRMEM_INDEX", str(tmp_path / "kept"))
    monkeypatch.setattr(dataset_module, "INDEX_FROM", 0)
    monkeypatch.setattr(meds_index, "AT_ONCE", 20)
    return tmp_path / "kept"


@pytest.fixture(params=["sorted copy", "in place"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The two kinds of index."""
    if request.param == "sorted copy":
        monkeypatch.setattr(meds_index, "MOST_LOOKED_THROUGH", 0)
    return str(request.param)


def rows_of(patients: int = 12, seed: int = 0) -> list[Row]:
    """Unsorted rows, with ties, static facts, births and values."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for patient in range(100, 100 + patients):
        rows += [(patient, None, "GENDER//F", None), (patient, at("1960-03-05"), "MEDS_BIRTH//registry", None)]
        for number in range(int(rng.integers(1, 9))):
            day = at(f"2020-01-0{rng.integers(1, 4)}")
            rows.append((patient, day, LAB, float(number)) if number % 3 else (patient, day, f"X//{number}", None))
    rows.append((103, at("2021-01-01"), HIV, None))
    return [rows[place] for place in rng.permutation(len(rows))]


def folder_of(place: Path, rows: list[Row] | None = None) -> Path:
    """The rows in three shards, so that patients are spread over several."""
    rows = rows_of() if rows is None else rows
    shards = {f"{i}.parquet": rows[i::3] for i in range(3)}
    return write(place, shards, splits={**dict.fromkeys(range(100, 106), "train"), 107: "held_out", 999: "train"})


def everything(dataset: MedsDataset) -> list[object]:
    """All that can be asked of a data set."""
    tables = [dataset.patients, dataset.patients_of([107, 103]), dataset.codes, dataset.attribute_codes]
    some = dataset.ids()
    return [
        *(table.to_dict("tight") for table in (t.fillna("missing") for t in map(pd.DataFrame.copy, tables))),
        dataset.records([*some[3:], *some[:3], 12345]), len(dataset), some, dataset.ids("train"), dataset.splits,
        dataset.holders(["hiv"]), dataset.split_of(107), dataset.split_of(111), dataset.find("104"),
        dataset.splits_of([111, 107]).fillna("none").to_dict(), dataset.find(dataset.pseudonym(105)),
        dataset.query("SELECT * FROM patients ORDER BY patient_id").fetchall(),
        dataset.query("SELECT patient_id, code FROM events WHERE patient_id BETWEEN 102 AND 104 "
                      "ORDER BY patient_id, time NULLS FIRST, filename, file_row_number").fetchall(),
    ]  # fmt: skip


def test_with_an_index_all_is_as_without(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of(tmp_path / "d")
    indexed = MedsDataset(folder)
    assert indexed.index is not None
    assert indexed.index.sorted_copy == (way == "sorted copy")
    with monkeypatch.context() as large:
        large.setattr(dataset_module, "INDEX_FROM", 10_000)
        large.setenv("EHRMEM_INDEX", str(tmp_path / "elsewhere"))
        plain = MedsDataset(folder)
    assert plain.index is None
    assert everything(indexed) == everything(plain)


def test_a_small_data_set_writes_nothing(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_module, "INDEX_FROM", meds_index.INDEX_FROM)
    dataset = MedsDataset(folder_of(tmp_path / "d"))
    everything(dataset)
    assert dataset.index is None
    assert not kept.exists()


def test_opening_again_makes_nothing_and_a_copy_of_the_data_needs_no_other(
    tmp_path: Path, way: str, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = MedsDataset(folder_of(tmp_path / "d"))
    told = capsys.readouterr().err
    assert "d has 77 events. It is indexed once, in" in told
    assert ("A copy of the events, sorted by patient, is kept" in told) == (way == "sorted copy")
    assert "100%" in told and "left" in told
    again = MedsDataset(folder_of(tmp_path / "copy"))
    assert again.index == first.index
    assert capsys.readouterr().err == ""
    assert everything(again) == everything(first)  # two at once in one process
    assert len(list(kept.glob("*-1"))) == 1


def test_the_index_is_for_its_owner_only_and_does_not_know_the_pseudonyms(tmp_path: Path, way: str, kept: Path) -> None:
    dataset = MedsDataset(folder_of(tmp_path / "d"))
    name = dataset.pseudonym(104)
    assert dataset.find(name) == 104
    if os.name == "posix":
        assert {stat.S_IMODE(folder.stat().st_mode) for folder in kept.iterdir()} == {0o700}
    for path in (path for path in kept.glob("**/*") if path.is_file()):
        content = path.read_bytes()
        assert (tmp_path / "pseudonym.key").read_bytes() not in content
        assert name.encode() not in content
    columns = dataset.query(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE database_name = 'kept'"
    ).fetchall()
    assert {"pseudonym", "attributes"}.isdisjoint(column for _, column in columns)
    assert ("events" in {table for table, _ in columns}) == (way == "sorted copy")


def test_when_the_data_change_the_index_is_made_again_and_the_old_one_goes(
    tmp_path: Path, way: str, kept: Path
) -> None:
    before = MedsDataset(folder_of(tmp_path / "d"))
    other = MedsDataset(folder_of(tmp_path / "other", rows_of(seed=1)))
    after = MedsDataset(folder_of(tmp_path / "d", [*rows_of(), (777, at("2020-01-01"), LAB, 1.0)]))
    assert after.ids() == [*before.ids(), 777]
    assert after.index is not None and other.index is not None
    assert {path for path in kept.glob("*-1")} == {after.index.folder, other.index.folder}


@pytest.mark.parametrize("harm", ["cut short", "header", "no record of it", "not its record"])
def test_a_damaged_index_is_made_again_with_a_sentence(
    tmp_path: Path, way: str, kept: Path, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = MedsDataset(folder_of(tmp_path / "d"))
    expected = everything(dataset)
    assert dataset.index is not None
    database, about = dataset.index.folder / "index.duckdb", dataset.index.folder / "about.json"
    if harm == "cut short":
        os.truncate(database, database.stat().st_size - 4096)
    elif harm == "header":
        database.write_bytes(bytes(database.stat().st_size))
    elif harm == "no record of it":
        about.unlink()
    else:
        about.write_text("[]")
    capsys.readouterr()
    again = MedsDataset(tmp_path / "d")
    assert f"The index in {str(dataset.index.folder)!r} is damaged" in capsys.readouterr().err
    assert everything(again) == expected


def test_damage_found_later_is_said_and_mended_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(meds_index, "MOST_LOOKED_THROUGH", 0)
    rng = np.random.default_rng(0)
    rows: list[Row] = [(1, at("2020-01-01"), f"C//{code}", float(code)) for code in rng.integers(0, 10**9, 100_000)]
    index = MedsDataset(write(tmp_path / "d", {"0.parquet": rows})).index
    assert index is not None
    database = index.folder / "index.duckdb"
    content = bytearray(database.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 64] = bytes(64)
    database.write_bytes(content)
    dataset = MedsDataset(tmp_path / "d")
    with pytest.raises(Damaged, match="The index of d was damaged and has been removed: start again"):
        dataset.record(1)
    assert len(MedsDataset(tmp_path / "d").record(1).events) == 100_000


def test_what_a_killed_process_left_behind_is_removed(tmp_path: Path, kept: Path) -> None:
    code = (
        "import os, signal; from ehrmem_widgets.cohort import meds_index as m; folder = m._new_private_folder('building'); "
        "(folder / 'index.duckdb').write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode < 0
    (left,) = kept.iterdir()
    mine = meds_index._new_private_folder("building")  # as if another thread were at work
    dataset = MedsDataset(folder_of(tmp_path / "d"))
    assert dataset.index is not None
    assert not left.exists() and mine.exists()


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files as POSIX systems can")
def test_a_full_disk_is_said_in_words_and_leaves_nothing(tmp_path: Path, kept: Path) -> None:
    rows: list[Row] = [(i, at("2020-01-01"), f"C//{i * 7919 % 9973}", float(i)) for i in range(60_000)]
    write(tmp_path / "d", {"0.parquet": rows})
    code = f"""
import resource
from ehrmem_widgets.cohort import dataset, meds_index
from ehrmem_widgets.errors import Unavailable
dataset.INDEX_FROM = meds_index.MOST_LOOKED_THROUGH = 0
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    dataset.MedsDataset({str(tmp_path / "d")!r})
except Unavailable as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "d has 60,000 events, too many to be read without an index, and none could be made in" in done.stdout
    assert "Make room, or name another folder in EHRMEM_INDEX" in done.stdout
    assert list(kept.glob("*")) == []


def test_a_cache_that_cannot_be_written_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("EHRMEM_INDEX", str(tmp_path / "file" / "kept"))
    with pytest.raises(Unavailable, match=r"Nothing can be written in .*Name another folder in EHRMEM_INDEX"):
        MedsDataset(folder_of(tmp_path / "d"))


def test_too_little_room_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: Path) -> None:
    monkeypatch.setattr(meds_index, "_BYTES_COUNTED", 10**15)
    with pytest.raises(Unavailable, match=r"GB are free there\. It needs about 77000000.0 GB there"):
        MedsDataset(folder_of(tmp_path / "d"))
    assert list(kept.glob("building*")) == []


def test_two_processes_may_index_at_once(tmp_path: Path, kept: Path) -> None:
    rows: list[Row] = [(i % 997, at("2020-01-01"), f"C//{i * 7919 % 9973}", float(i)) for i in range(100_000)]
    write(tmp_path / "d", {"0.parquet": rows})
    code = f"""
from ehrmem_widgets.cohort import dataset, meds_index
dataset.INDEX_FROM = meds_index.MOST_LOOKED_THROUGH = 0
meds_index.AT_ONCE = 5_000
print(len(dataset.MedsDataset({str(tmp_path / "d")!r}).record(5).events))
"""
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in "ab"
    ]
    assert [process.communicate()[0].strip() for process in both] == [b"101", b"101"]
    assert len(list(kept.iterdir())) == 1


@pytest.mark.parametrize("rows", [[], [(1, at("2020-01-01"), None, 1.0)]])
def test_a_data_set_of_nobody_has_an_empty_index(tmp_path: Path, way: str, rows: list[Row]) -> None:
    dataset = MedsDataset(write(tmp_path / "d", {"0.parquet": shard(rows)}))
    assert (len(dataset), dataset.ids(), len(dataset.codes)) == (0, [], 0)
    with pytest.raises(BadInput, match="has no patients at all"):
        dataset.find(1)


# How much must be looked through --------------------------------------------------------------------------------------


def looked_through(folder: Path) -> int:
    shards = shards_of(folder)
    return rows_looked_through(shards, duckdb.connect().execute) - EVERY_FILE * len(shards)


def test_sorted_row_groups_are_skipped_and_unsorted_ones_are_not(tmp_path: Path) -> None:
    rows: list[Row] = [(i, at("2020-01-01"), LAB, None) for i in range(1000)]
    mixed = [rows[i * 389 % 1000] for i in range(1000)]
    kinds = {"text": pa.string(), "unsigned": pa.uint64(), "short": pa.int32()}
    for name, some in {"sorted": rows, "mixed": mixed, **dict.fromkeys(kinds, rows)}.items():
        folder = tmp_path / name / "data"
        folder.mkdir(parents=True)
        pq.write_table(shard(some, ids=kinds.get(name)), folder / "0.parquet", row_group_size=100)
    assert looked_through(tmp_path / "sorted") == 100
    assert looked_through(tmp_path / "mixed") == 1000
    for name in kinds:  # what is cast is not skipped, and text sorts otherwise than numbers do
        assert looked_through(tmp_path / name) == 1000


def test_sorted_shards_that_overlap_add_up(tmp_path: Path) -> None:
    shards = {
        f"{i}.parquet": [(patient, at("2020-01-01"), f"C//{i}", None) for patient in range(first, last)]
        for i, (first, last) in enumerate([(0, 10), (5, 20), (9, 12), (12, 13), (30, 90)])
    }
    assert looked_through(write(tmp_path / "d", shards)) == max(10 + 15 + 3, 60)
