"""MEDS data sets as found in the wild open and mean the same; what is not a MEDS data set is refused in one sentence."""

from __future__ import annotations

import base64
import hmac
import os
import re
import shutil
import stat
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.pseudonym import SAMPLE_FINGERPRINT, SAMPLE_KEY, Pseudonyms, pseudonym
from ehrmem_widgets.cohort.record import Event
from ehrmem_widgets.errors import BadInput, Unavailable
from ehrmem_widgets.samples.folders import sample_data
from tests.cohort.meds import Row, at, shard, write

LAB, FLU, HIV = "LAB//50912//mg/dL", "DIAGNOSIS//ICD//10//J111", "DIAGNOSIS//ICD//10//B20"
ROWS: list[Row] = [
    (11, None, "GENDER//F", None),
    (11, at("1960-03-05"), "MEDS_BIRTH", None),
    (11, at("2020-01-02 10:30"), LAB, 1.5),
    (11, at("2020-01-02 10:30"), FLU, None),
    (11, at("2021-03-04 08:00"), HIV, None),
    (12, None, "GENDER//M", None),
    (12, at("2000-12-31"), "MEDS_BIRTH//from registry", None),
    (12, at("2019-06-01"), LAB, 0.75),
]
EVENTS_OF_11 = (
    Event(None, "GENDER//F"),
    Event(at("2020-01-02 10:30"), LAB, 1.5),
    Event(at("2020-01-02 10:30"), FLU),
    Event(at("2021-03-04 08:00"), HIV),
)


@pytest.fixture(autouse=True)
def own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or makes the key of whoever runs it."""
    path = tmp_path / "keys" / "pseudonym.key"
    monkeypatch.setenv("EHRMEM_PSEUDONYM_KEY", str(path))
    return path


SHAPES = {
    "schema 0.4": {},
    "float64 values": {"values": pa.float64()},
    "times in ms": {"times": pa.timestamp("ms")},
    "times in ns": {"times": pa.timestamp("ns")},
    "times in s": {"times": pa.timestamp("s")},
    "UTC times": {"times": pa.timestamp("us", "UTC")},
    "UTC times in ns": {"times": pa.timestamp("ns", "UTC")},
    "another zone": {"times": pa.timestamp("us", "America/New_York")},
    "int32 ids": {"ids": pa.int32()},
    "uint64 ids": {"ids": pa.uint64()},
    "text ids": {"ids": pa.string()},
    "large text ids": {"ids": pa.large_string()},
    "dictionary codes": {"codes": pa.dictionary(pa.int32(), pa.string())},
    "large text codes": {"codes": pa.large_string()},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_shape_in_the_wild_gives_the_same_records(tmp_path: Path, shape: dict[str, pa.DataType]) -> None:
    dataset = MedsDataset(write(tmp_path / "d", {"train/0.parquet": shard(ROWS, **shape)}))
    assert dataset.ids() == [11, 12]
    assert dataset.record(11).events == EVENTS_OF_11
    assert dataset.record(11).birth == at("1960-03-05")
    assert all(type(event.code) is str for event in dataset.record(11).events)
    assert dataset.codes.set_index("code").loc[LAB].to_list() == [2, 2, 2]


def test_schema_0_3_with_its_extra_columns_opens(tmp_path: Path) -> None:
    table = shard(ROWS).append_column("text_value", pa.array(["x"] * len(ROWS), pa.large_string()))
    dataset = MedsDataset(write(tmp_path / "d", {"train/0.parquet": table}, information={"meds_version": "0.3.3"}))
    assert dataset.record(11).events == EVENTS_OF_11


def test_values_may_be_missing_altogether(tmp_path: Path) -> None:
    dataset = MedsDataset(write(tmp_path / "d", {"0.parquet": shard(ROWS).drop_columns(["numeric_value"])}))
    assert [event.value for event in dataset.record(11).events] == [None] * 4
    assert dataset.codes["values"].sum() == 0


def test_shards_of_different_types_open_together(tmp_path: Path) -> None:
    mine, other = ROWS[:5], ROWS[5:]
    shards = {
        "a.parquet": shard(mine, ids=pa.int32(), times=pa.timestamp("ms"), values=pa.float64()),
        "b.parquet": shard(other).drop_columns(["numeric_value"]),
    }
    dataset = MedsDataset(write(tmp_path / "d", shards))
    assert dataset.record(11).events == EVENTS_OF_11
    assert dataset.record(12).events == (Event(None, "GENDER//M"), Event(at("2019-06-01"), LAB))


@pytest.mark.parametrize("name", ["0.parquet", "train/0.parquet", "a/b/c/0.parquet", "split=train/0.parquet"])
def test_flat_and_nested_shards_are_found(tmp_path: Path, name: str) -> None:
    dataset = MedsDataset(write(tmp_path / "d", {name: ROWS}))
    assert dataset.record(11).events == EVENTS_OF_11
    assert dataset.splits == {}


def test_a_folder_with_odd_letters_opens_and_no_other_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "o'brien 1", {"0.parquet": [(99, None, "GENDER//M", None)]})
    dataset = MedsDataset(write(tmp_path / "o'brien [1]", {"a[b].parquet": ROWS}, splits={11: "train"}))
    assert dataset.ids() == [11, 12]
    assert dataset.ids("train") == [11]


def test_without_metadata_everything_but_splits_and_labels_is_there(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", {"0.parquet": ROWS})
    (folder / "metadata").rmdir()
    dataset = MedsDataset(folder)
    assert (dataset.name, dataset.information, dataset.descriptions, dataset.splits) == ("d", {}, {}, {})
    assert dataset.patients["split"].isna().all()
    assert len(dataset) == 2


def test_a_code_table_without_rows_gives_no_labels(tmp_path: Path) -> None:
    dataset = MedsDataset(write(tmp_path / "d", {"0.parquet": ROWS}, descriptions={}))
    assert dataset.descriptions == {}
    assert dataset.label("GENDER//F") == "Female"


def test_labels_come_from_the_code_table_where_it_has_words(tmp_path: Path) -> None:
    described = {LAB: "Creatinine", FLU: "  ", HIV: "nan"}
    dataset = MedsDataset(write(tmp_path / "d", {"0.parquet": ROWS}, descriptions=described))
    assert dataset.descriptions == {LAB: "Creatinine"}
    assert dataset.label(LAB) == "Creatinine"
    assert dataset.label(FLU).startswith("Influenza")


@pytest.mark.parametrize("text", ["{not json", "[1, 2]", "\xff"])
def test_a_broken_dataset_json_is_passed_over(tmp_path: Path, text: str) -> None:
    folder = write(tmp_path / "d", {"0.parquet": ROWS})
    (folder / "metadata" / "dataset.json").write_bytes(text.encode("latin-1"))
    assert MedsDataset(folder).name == "d"


def test_birth_under_any_suffix_is_the_birth_and_no_event(tmp_path: Path) -> None:
    record = MedsDataset(write(tmp_path / "d", {"0.parquet": ROWS})).record(12)
    assert record.birth == at("2000-12-31")
    assert record.age_at_start() == 18  # the day before the birthday would be 2018-12-31
    assert [event.code for event in record.events] == ["GENDER//M", LAB]


def test_static_facts_come_first_and_ties_keep_the_order_of_rows_across_shards(tmp_path: Path) -> None:
    now, before = at("2020-05-05 12:00"), at("2020-05-04 12:00")
    shards = {
        "0.parquet": [(1, now, "Z", None), (1, now, "A", None), (1, None, "S//2", None)],
        "1.parquet": [(1, now, "M", None), (1, before, "Y", None), (1, None, "S//1", None), (1, now, "B", None)],
    }
    dataset = MedsDataset(write(tmp_path / "d", shards))
    expected = ["S//2", "S//1", "Y", "Z", "A", "M", "B"]
    assert [event.code for event in dataset.record(1).events] == expected
    many = dataset.records([1, *range(1000, 1070)])  # read another way from 65 patients on
    assert [event.code for event in many[0].events] == expected
    assert many[1].events == ()


def test_rows_of_one_shard_keep_their_order_in_a_long_file(tmp_path: Path) -> None:
    rows: list[Row] = [(1, at("2020-01-01"), f"C//{i * 7919 % 5000}", None) for i in range(5000)]
    path = tmp_path / "d" / "data" / "0.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(shard(rows), path, row_group_size=300)
    assert [event.code for event in MedsDataset(tmp_path / "d").record(1).events] == [row[2] for row in rows]


def test_splits_come_from_metadata_and_not_from_folder_names(tmp_path: Path) -> None:
    shards = {"train/0.parquet": ROWS[:5], "held_out/0.parquet": ROWS[5:]}
    dataset = MedsDataset(write(tmp_path / "d", shards, splits={11: "site B", 12: "train"}))
    assert dataset.splits == {"site B": 1, "train": 1}
    assert (dataset.ids("train"), dataset.ids("site B")) == ([12], [11])
    assert dataset.patients["split"].to_dict() == {11: "site B", 12: "train"}


def test_a_patient_in_two_splits_counts_as_one_that_the_model_saw(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", {"0.parquet": ROWS})
    rows = {"subject_id": [11, 11, 12, 12, 11], "split": ["held_out", "train", "tuning", "held_out", None]}
    pq.write_table(pa.table(rows), folder / "metadata" / "subject_splits.parquet")
    dataset = MedsDataset(folder)
    assert dataset.splits == {"held_out": 1, "train": 1}
    assert dataset.patients["split"].to_dict() == {11: "train", 12: "held_out"}


def test_splits_may_name_patients_who_do_not_exist_and_leave_others_out(tmp_path: Path) -> None:
    dataset = MedsDataset(write(tmp_path / "d", {"0.parquet": ROWS}, splits={99: "train", 12: "train", 98: "tuning"}))
    assert dataset.ids("train") == [12]
    assert dataset.ids("tuning") == []
    assert (dataset.split_of(12), dataset.split_of(11)) == ("train", None)
    assert dataset.splits_of([12, 11]).fillna("none").to_dict() == {12: "train", 11: "none"}
    assert dataset.patients_of([12, 11])["split"].fillna("none").to_list() == ["train", "none"]


@pytest.mark.parametrize("ids", [pa.int32(), pa.uint64(), pa.string(), pa.large_string()])
def test_ids_of_splits_may_have_another_type_than_those_of_events(tmp_path: Path, ids: pa.DataType) -> None:
    folder = write(tmp_path / "d", {"0.parquet": ROWS})
    table = pa.table({"subject_id": pa.array([11, 12], pa.int64()).cast(ids), "split": ["train", "held_out"]})
    pq.write_table(table, folder / "metadata" / "subject_splits.parquet")
    assert MedsDataset(folder).ids("held_out") == [12]


def test_holders_of_an_attribute_are_found(tmp_path: Path) -> None:
    dataset = MedsDataset(write(tmp_path / "d", {"0.parquet": ROWS}))
    assert dataset.holders(["hiv"]) == [11]
    assert dataset.holders(["substance_use"]) == []


def test_an_unknown_split_is_refused_with_the_splits_there_are(tmp_path: Path) -> None:
    dataset = MedsDataset(write(tmp_path / "d", {"0.parquet": ROWS}, splits={11: "train", 12: "held_out"}))
    with pytest.raises(BadInput, match=r"There is no split 'tuning'. The data set has held_out, train."):
        dataset.ids("tuning")
    bare = MedsDataset(write(tmp_path / "e", {"0.parquet": ROWS}))
    with pytest.raises(BadInput, match=r"There is no split 'train': the data set has no metadata/subject_splits"):
        bare.ids("train")


def test_values_that_are_no_numbers_count_as_missing(tmp_path: Path) -> None:
    values = [float("nan"), float("inf"), float("-inf"), None, 1e300, 2.5]
    rows: list[Row] = [(1, at("2020-01-01"), LAB, value) for value in values]
    dataset = MedsDataset(write(tmp_path / "d", {"0.parquet": shard(rows, values=pa.float64())}))
    assert [event.value for event in dataset.record(1).events] == [None, None, None, None, None, 2.5]
    assert dataset.codes.loc[0, "values"] == 1


def test_rows_without_a_code_or_a_patient_are_passed_over(tmp_path: Path) -> None:
    rows = [*ROWS, (11, at("2020-01-01"), None, 1.0), (None, at("2020-01-01"), LAB, 1.0)]
    dataset = MedsDataset(write(tmp_path / "d", {"0.parquet": rows}))  # type: ignore[dict-item]
    assert dataset.ids() == [11, 12]
    assert dataset.record(11).events == EVENTS_OF_11


# Refusals -------------------------------------------------------------------------------------------------------------


def refused(folder: Path) -> str:
    with pytest.raises(BadInput) as caught:
        MedsDataset(folder)
    return str(caught.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "There is no folder" in refused(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    assert "There is no folder" in refused(tmp_path / "file")


def test_a_folder_without_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "0.csv").write_text("subject_id,time,code\n")
    assert "is not a MEDS data set: no Parquet file under its folder 'data'" in refused(tmp_path)


@pytest.mark.parametrize("column", ["subject_id", "time", "code"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    told = refused(write(tmp_path / "d", {"0.parquet": shard(ROWS).drop_columns([column])}))
    assert f"column {column} is missing" in told
    assert "Expected subject_id, time, code and numeric_value; found" in told


def test_the_layout_of_0_2_is_refused_by_name(tmp_path: Path) -> None:
    table = pa.table({"patient_id": [1], "static_measurements": [None], "events": [[{"time": at("2020-01-01")}]]})
    told = refused(write(tmp_path / "d", {"0.parquet": table}))
    assert "has the layout of MEDS 0.2 (patient_id with nested events)" in told


@pytest.mark.parametrize("text", ["MRN-17", "1.5", ""])
def test_text_ids_that_are_no_whole_numbers_are_refused(tmp_path: Path, text: str) -> None:
    table = shard(ROWS).set_column(0, "subject_id", pa.array(["11"] * 7 + [text]))
    told = refused(write(tmp_path / "d", {"0.parquet": table}))
    assert told.startswith("subject_id holds text that is no whole number.")
    assert "MRN" not in told  # never the id itself


@pytest.mark.parametrize("kind", [pa.uint64(), pa.decimal128(38, 0), pa.float64()])
def test_ids_that_no_64_bit_integer_can_hold_are_refused(tmp_path: Path, kind: pa.DataType) -> None:
    odd = {pa.uint64(): 2**63 + 1, pa.decimal128(38, 0): Decimal(2**63 + 1), pa.float64(): 11.5}[kind]
    table = shard(ROWS).set_column(0, "subject_id", pa.array([type(odd)(11)] * 7 + [odd], kind))
    told = refused(write(tmp_path / "d", {"0.parquet": table}))
    assert told.startswith("subject_id holds numbers that are no 64-bit integers")
    whole = shard(ROWS).set_column(0, "subject_id", pa.array([row[0] for row in ROWS]).cast(kind))
    assert MedsDataset(write(tmp_path / "e", {"0.parquet": whole})).record(11).events == EVENTS_OF_11


def test_times_that_are_none_are_refused_and_written_ones_are_read(tmp_path: Path) -> None:
    numbers = shard(ROWS).set_column(1, "time", pa.array(range(len(ROWS)), pa.int64()))
    assert "The column time holds something else than dates (its type is BIGINT)" in refused(
        write(tmp_path / "d", {"0.parquet": numbers})
    )
    texts = [row[1] and row[1].isoformat(" ") for row in ROWS]
    wrong = shard(ROWS).set_column(1, "time", pa.array([*texts[:-1], "last week"]))
    assert "holds something else than dates" in refused(write(tmp_path / "e", {"0.parquet": wrong}))
    right = shard(ROWS).set_column(1, "time", pa.array(texts))
    assert MedsDataset(write(tmp_path / "f", {"0.parquet": right})).record(11).events == EVENTS_OF_11


def test_the_same_shard_twice_is_refused_by_name(tmp_path: Path) -> None:
    told = refused(write(tmp_path / "d", {"train/0.parquet": ROWS, "copy of 0.parquet": ROWS, "1.parquet": ROWS[:2]}))
    assert "data/copy of 0.parquet and data/train/0.parquet of" in told
    assert "are the same file twice, so each of their events would count double. Remove one of them." in told


def test_shards_without_rows_may_be_alike(tmp_path: Path) -> None:
    dataset = MedsDataset(write(tmp_path / "d", {"0.parquet": ROWS, "1.parquet": [], "2.parquet": []}))
    assert dataset.ids() == [11, 12]


def test_shards_that_end_alike_are_not_taken_for_the_same_file(tmp_path: Path) -> None:
    rows: list[Row] = [(i, at("2020-01-01"), f"C//{i % 9}", float(i)) for i in range(30_000)]
    other = [rows[1], rows[0], *rows[2:]]  # of one size, with the same ranges: only the contents differ
    folder = tmp_path / "d"
    (folder / "data").mkdir(parents=True)
    for name, some in (("0", rows), ("1", other)):
        path = folder / "data" / f"{name}.parquet"
        pq.write_table(shard(some), path, compression="none", use_dictionary=False)
    sizes = {path.stat().st_size for path in (folder / "data").iterdir()}
    assert len(sizes) == 1
    assert len(MedsDataset(folder).record(5).events) == 2


def test_a_shard_that_goes_missing_is_said(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", {"0.parquet": ROWS, "1.parquet": ROWS[:2]})
    dataset = MedsDataset(folder)
    (folder / "data" / "1.parquet").unlink()
    with pytest.raises(Unavailable, match="A file of d can no longer be read"):
        dataset.record(11)


def test_a_split_table_with_ids_that_are_no_numbers_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", {"0.parquet": ROWS})
    table = pa.table({"subject_id": ["11", "MRN-12"], "split": ["train", "train"]})
    pq.write_table(table, folder / "metadata" / "subject_splits.parquet")
    assert refused(folder).startswith("subject_id holds text that is no whole number.")


def test_a_corrupt_parquet_file_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", {"0.parquet": ROWS, "1.parquet": ROWS})
    file = folder / "data" / "1.parquet"
    file.write_bytes(file.read_bytes()[:-40])
    assert "A Parquet file of" in refused(folder)
    assert "cannot be read" in refused(folder)


def test_a_corrupt_split_table_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", {"0.parquet": ROWS}, splits={11: "train"})
    (folder / "metadata" / "subject_splits.parquet").write_bytes(b"PAR1 not really")
    assert "metadata/subject_splits.parquet of" in refused(folder)


def test_a_split_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", {"0.parquet": ROWS})
    pq.write_table(pa.table({"patient": [1], "fold": ["a"]}), folder / "metadata" / "subject_splits.parquet")
    assert "must have the columns subject_id and split; found fold, patient." in refused(folder)


# Finding a patient ----------------------------------------------------------------------------------------------------


@pytest.fixture
def hundred(tmp_path: Path) -> MedsDataset:
    rows: list[Row] = [(770_000 + i, at("2020-01-01"), FLU, None) for i in range(100)]
    return MedsDataset(write(tmp_path / "d", {"0.parquet": rows}))


def test_a_patient_is_found_by_id_or_pseudonym_in_any_form(hundred: MedsDataset) -> None:
    name = hundred.pseudonym(770_042)
    for given in (770_042, "770042", " 770042 ", name, name.lower(), f" {name} "):
        assert hundred.find(given) == 770_042
    assert hundred.record(name).patient_id == 770_042
    assert hundred.record(name).pseudonym == name


@pytest.mark.parametrize("given", ["770100", 12, "P-AAAA-AAAA", "Jane", "", "-5", "--5", "²", "9" * 25, "1" + "0" * 45])
def test_an_unknown_patient_is_refused_with_the_nearest_pseudonyms_and_no_id(
    hundred: MedsDataset, given: str | int
) -> None:
    with pytest.raises(BadInput, match="There is no patient") as caught:
        hundred.find(given)
    told = str(caught.value)
    near = re.findall(r"P-[A-Z2-7]{4}-[A-Z2-7]{4}", told.split("The nearest ones are")[1])
    assert len(near) == 3
    assert {hundred.find(name) for name in near} <= set(hundred.ids())
    assert not set(re.findall(r"7700\d\d", told))
    if given == "770100":
        assert near == [hundred.pseudonym(patient) for patient in (770_099, 770_098, 770_097)]


def test_two_patients_of_one_pseudonym_are_told_apart_by_id_only(tmp_path: Path, own_key: Path) -> None:
    """Of a million patients two agree in all 40 bits, in one data set of three."""
    rows: list[Row] = [(patient, at("2020-01-01"), FLU, None) for patient in (1_077_317, 1_126_813, 5)]
    own_key.parent.mkdir()
    own_key.write_bytes(SAMPLE_KEY)
    dataset = MedsDataset(write(tmp_path / "d", {"0.parquet": rows}))
    with pytest.raises(BadInput, match="2 patients of d share the pseudonym P-JCNT-4Q5W: give the id instead"):
        dataset.find("p-jcnt-4q5w")
    assert dataset.find("1126813") == 1_126_813


def test_pseudonyms_are_hmac_sha256_whatever_the_key() -> None:
    for key in (b"k", b"k" * 64, b"k" * 65):
        digest = hmac.digest(key, b"-17", "sha256")
        assert pseudonym(-17, key).replace("-", "")[1:] == base64.b32encode(digest[:5]).decode()


def test_a_misspelt_pseudonym_among_very_many_finds_the_one_that_was_meant() -> None:
    names, meant = Pseudonyms(range(20_000), b"key"), pseudonym(777, b"key")
    assert names.nearest(meant[:3] + ("A" if meant[3] != "A" else "B") + meant[4:])[0] == meant
    assert len(names.nearest("Jane")) == 3


def test_a_misspelt_pseudonym_finds_the_one_that_was_meant(hundred: MedsDataset) -> None:
    name = hundred.pseudonym(770_007)
    wrong = name[:-1] + ("A" if name[-1] != "A" else "B")
    with pytest.raises(BadInput, match=f"The nearest ones are {name}, "):
        hundred.find(wrong)


def test_a_data_set_of_nobody_says_so(tmp_path: Path) -> None:
    dataset = MedsDataset(write(tmp_path / "d", {"0.parquet": shard([])}))
    assert len(dataset) == 0
    with pytest.raises(BadInput, match="has no patients at all"):
        dataset.find(1)


# Pseudonyms -----------------------------------------------------------------------------------------------------------


def test_pseudonyms_depend_on_the_key_and_on_nothing_else(tmp_path: Path, own_key: Path) -> None:
    folder = write(tmp_path / "d", {"0.parquet": ROWS})
    names = [MedsDataset(folder).pseudonym(patient) for patient in (11, 12)]
    assert [MedsDataset(folder).pseudonym(patient) for patient in (11, 12)] == names
    assert len(set(names)) == 2
    assert all(re.fullmatch(r"P-[A-Z2-7]{4}-[A-Z2-7]{4}", name) for name in names)
    assert names[0] == pseudonym(11, own_key.read_bytes()) != pseudonym(11, SAMPLE_KEY)
    own_key.unlink()
    assert MedsDataset(folder).pseudonym(11) != names[0]


def test_the_users_key_is_secret_and_long_and_made_once(tmp_path: Path, own_key: Path) -> None:
    folder = write(tmp_path / "d", {"0.parquet": ROWS})
    assert not own_key.exists()
    MedsDataset(folder).pseudonym(11)
    key = own_key.read_bytes()
    assert len(key) == 32
    if os.name == "posix":
        assert stat.S_IMODE(own_key.stat().st_mode) == 0o600
    MedsDataset(folder).pseudonym(12)
    assert own_key.read_bytes() == key


def test_the_sample_cohort_has_the_same_names_everywhere_and_needs_no_key(tmp_path: Path, own_key: Path) -> None:
    dataset = MedsDataset(sample_data())
    patient = dataset.ids()[0]
    assert dataset.fingerprint == SAMPLE_FINGERPRINT and dataset.pseudonym(patient) == pseudonym(patient, SAMPLE_KEY)
    assert not own_key.exists()
    changed = shutil.copytree(sample_data(), tmp_path / "d")
    splits = changed / "metadata" / "subject_splits.parquet"
    pq.write_table(pq.read_table(splits).slice(1), splits)
    assert MedsDataset(changed).pseudonym(patient) == pseudonym(patient, own_key.read_bytes())


@pytest.mark.parametrize("said", [True, "true", 1, False, None])
def test_a_data_set_that_says_it_is_synthetic_gets_the_private_key_all_the_same(
    tmp_path: Path, own_key: Path, said: object
) -> None:
    folder = write(
        tmp_path / "d", {"0.parquet": ROWS}, information={"synthetic": said, "dataset_name": "ehrmem synthetic cohort"}
    )
    dataset = MedsDataset(folder)
    assert dataset.declared_synthetic == (said is True)
    assert dataset.pseudonym(11) == pseudonym(11, own_key.read_bytes()) != pseudonym(11, SAMPLE_KEY)


@pytest.mark.parametrize("key", [b"", b"short"])
def test_a_key_that_could_be_guessed_is_refused(key: bytes, tmp_path: Path, own_key: Path) -> None:
    own_key.parent.mkdir()
    own_key.write_bytes(key)
    with pytest.raises(BadInput, match=f"has {len(key)} bytes, and could be guessed: 16 or more are needed"):
        MedsDataset(write(tmp_path / "d", {"0.parquet": ROWS})).pseudonym(11)


# Tables ---------------------------------------------------------------------------------------------------------------


def test_the_table_of_patients(tmp_path: Path) -> None:
    rows = [*ROWS, (13, None, "RACE//UNKNOWN", None)]
    dataset = MedsDataset(write(tmp_path / "d", {"0.parquet": rows}, splits={11: "train", 12: "held_out"}))
    table = dataset.patients
    columns = ["pseudonym", "split", "sex", "age", "events", "first", "last", "attributes"]
    assert list(table.columns) == columns
    assert table.index.name == "patient_id"
    assert list(table.index) == [11, 12, 13]
    first = table.loc[11]
    assert first["pseudonym"] == dataset.pseudonym(11)
    assert (first["split"], first["sex"], first["age"], first["events"]) == ("train", "F", 60, 4)
    assert (first["first"], first["last"]) == (pd.Timestamp("2020-01-02 10:30"), pd.Timestamp("2021-03-04 08:00"))
    assert "hiv" in first["attributes"]
    assert table.loc[12, "attributes"] == ()
    assert table.loc[12, "age"] == 18
    bare = table.loc[13]
    assert bare["events"] == 1
    assert pd.isna(bare["sex"]) and pd.isna(bare["age"]) and pd.isna(bare["first"]) and pd.isna(bare["split"])


@pytest.mark.parametrize(("last", "age"), [("2020-03-04", 59), ("2020-03-05", 60), ("2021-03-04 23:59", 60)])
def test_the_age_in_the_table_is_whole_years_by_birthdays(tmp_path: Path, last: str, age: int) -> None:
    rows: list[Row] = [(1, at("1960-03-05 12:00"), "MEDS_BIRTH", None), (1, at(last), FLU, None)]
    dataset = MedsDataset(write(tmp_path / "d", {"0.parquet": rows}))
    assert dataset.patients.loc[1, "age"] == age
    assert dataset.record(1).age_at_start() == age


def test_the_fingerprint_follows_the_data_and_not_the_dates_of_the_files(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", {"0.parquet": ROWS})
    before = MedsDataset(folder).fingerprint
    copy = shutil.copytree(folder, tmp_path / "copy")
    os.utime(copy / "data" / "0.parquet", (1, 1))
    assert MedsDataset(copy).fingerprint == before
    assert MedsDataset(write(tmp_path / "less", {"0.parquet": ROWS[:-1]})).fingerprint != before
    write(folder, {"1.parquet": ROWS[:3]})
    assert MedsDataset(folder).fingerprint != before


def test_a_record_is_read_from_many_threads_at_once(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    rows: list[Row] = [(i, datetime(2020, 1, 1), f"C//{i}", float(i)) for i in range(200)]
    dataset = MedsDataset(write(tmp_path / "d", {"0.parquet": rows}))
    with ThreadPoolExecutor(4) as pool:
        records = list(pool.map(dataset.record, range(200)))
    assert [record.events[0].code for record in records] == [f"C//{i}" for i in range(200)]
