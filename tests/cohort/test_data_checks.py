"""The checks of a data set: each trap has its line, its level and something to do."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ehrmem_widgets.cohort import dataset as dataset_module
from ehrmem_widgets.cohort import meds_index
from ehrmem_widgets.cohort.check import Check
from ehrmem_widgets.cohort.data_checks import check_data
from ehrmem_widgets.cohort.dataset import MedsDataset
from tests.cohort.meds import Row, at, shard, write

FLU, HIV, LAB = "DIAGNOSIS//ICD//10//J111", "DIAGNOSIS//ICD//10//B20", "LAB//50912//mg/dL"


@pytest.fixture(autouse=True)
def own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EHRMEM_PSEUDONYM_KEY", str(tmp_path / "pseudonym.key"))


def person(patient: int, *more: Row, of: int | None = None) -> list[Row]:
    """A sound record; with ``of`` the same as that of another patient."""
    number = patient if of is None else of
    day = at("2020-01-01") + timedelta(days=number)
    rows: list[Row] = [(patient, None, "GENDER//F", None), (patient, at("1960-03-05"), "MEDS_BIRTH", None)]
    rows += [(patient, day + timedelta(hours=hour), LAB, float(hour)) for hour in range(3)]
    return [*rows, (patient, day, FLU, None), *more]


PEOPLE = [row for patient in range(30) for row in person(patient)]
HOLDERS: list[Row] = [(patient, at("2021-01-01"), HIV, None) for patient in range(11)]
SPLITS = {patient: "train" if patient < 20 else "held_out" for patient in range(30)}


def checks(
    folder: Path, rows: list[Row], splits: dict[int, str] | None = SPLITS, member_split: str = "train"
) -> dict[str, Check]:
    dataset = MedsDataset(write(folder, {"0.parquet": rows}, splits=splits, descriptions={LAB: "Creatinine"}))
    return {check.name: check for check in check_data(dataset, member_split=member_split)}


def test_a_sound_data_set_passes_everything(tmp_path: Path) -> None:
    found = checks(tmp_path / "d", [*PEOPLE, *HOLDERS])
    assert {check.level for check in found.values()} == {"pass"}
    assert all(check.todo == "" for check in found.values())
    assert found["Events"].words == "d: 191 events of 30 patients, 5 codes."
    assert found["Splits"].words == "Patients with events by split: held_out: 10; train: 20."
    assert found["Labels"].words.startswith("69% of the events have a code with a label")  # labs and diagnoses
    assert found["Values in the data"].words == "47% of the events have a numeric value, those of 1 codes."
    assert found["Dates"].words == "Events are dated 2020-01 to 2021-01."
    assert found["Sensitive attributes in the data"].words.startswith(
        "Patients who hold a code of each: HIV: 11. Held by nobody: "
    )
    assert "needs no index" in found["Reading"].words


def test_nothing_else_is_asked_of_an_empty_data_set(tmp_path: Path) -> None:
    assert [(check.name, check.level) for check in checks(tmp_path / "d", []).values()] == [("Events", "fail")]


@pytest.mark.parametrize(
    ("splits", "level", "words", "todo"),
    [
        (None, "warn", "Nothing says who was trained on", "there is no verdict on membership"),
        (dict.fromkeys(range(30), "training"), "fail", "Nobody is in 'train'", "with the ids that the events have"),
        ({patient + 1000: "train" for patient in range(30)}, "fail", "train: 0; in none: 30", "with the ids"),
        (dict.fromkeys(range(30), "train"), "warn", "train: 30.", "nobody whom the model has not seen"),
        ({**SPLITS, 77: "train", 78: "tuning"}, "warn", "2 named in the splits have no events", "Ask why"),
        (dict.fromkeys(range(25), "train"), "warn", "train: 25; in none: 5.", "make sure that they were not"),
    ],
    ids=["no table", "no members by name", "other ids", "no strangers", "absent", "in none"],
)
def test_splits(tmp_path: Path, splits: dict[int, str] | None, level: str, words: str, todo: str) -> None:
    check = checks(tmp_path / "d", PEOPLE, splits)["Splits"]
    assert check.level == level and words in check.words and todo in check.todo


def test_a_model_may_have_been_trained_on_a_split_of_another_name(tmp_path: Path) -> None:
    splits = {patient: "site A" if patient < 20 else "site B" for patient in range(30)}
    assert checks(tmp_path / "d", PEOPLE, splits)["Splits"].level == "fail"
    assert checks(tmp_path / "e", PEOPLE, splits, "site A")["Splits"].level == "pass"


def test_patients_in_two_splits_are_counted(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", {"0.parquet": PEOPLE})
    rows = {"subject_id": [*range(30), 3, 4, 4], "split": [*SPLITS.values(), "held_out", "held_out", "train"]}
    pq.write_table(pa.table(rows), folder / "metadata" / "subject_splits.parquet")
    check = next(check for check in check_data(MedsDataset(folder)) if check.name == "Splits")
    assert check.level == "warn" and "2 are in more than one split and count as 'train'" in check.words


def test_labels_values_and_births_that_are_missing(tmp_path: Path) -> None:
    rows: list[Row] = [(patient, at("2020-01-01"), f"LOCAL//{patient}", None) for patient in range(30)]
    found = checks(tmp_path / "d", rows)
    assert found["Labels"].level == found["Values in the data"].level == found["Births"].level == "warn"
    assert found["Labels"].words.startswith("0% of the events") and "codes.parquet" in found["Labels"].todo
    assert "fill the column numeric_value" in found["Values in the data"].todo
    assert found["Births"].words.startswith("0% of the patients") and "MEDS_BIRTH" in found["Births"].todo
    assert (
        found["Sensitive attributes in the data"].level == "warn"
        and "ehrmem attributes --data DIR --write own.yaml" in found["Sensitive attributes in the data"].todo
    )


SOON = datetime.now() + timedelta(days=400)


@pytest.mark.parametrize(
    ("more", "level", "words", "todo"),
    [
        ([(1, at("1950-01-01"), FLU, None)], "warn", "before their birth: 1.", "dates of birth"),
        ([(1, at("1753-01-01"), FLU, None)], "warn", "before 1900: 1.", "should be null"),
        ([(1, SOON, FLU, None)], "warn", "in the future: 1.", "dates in the future"),
        ([(p, SOON, FLU, None) for p in range(30)], "pass", "shifted to protect patients", ""),
        ([(40, None, "GENDER//M", None)], "pass", "without a dated event, who are left out: 1 of 31.", ""),
        (
            [(40 + p, None, "GENDER//M", None) for p in range(9)],
            "warn",
            "who are left out: 9 of 39.",
            "Ask why so many",
        ),
    ],
    ids=["before birth", "before 1900", "some in the future", "shifted", "one undated", "many undated"],
)
def test_dates(tmp_path: Path, more: list[Row], level: str, words: str, todo: str) -> None:
    check = checks(tmp_path / "d", [*PEOPLE, *more])["Dates"]
    assert check.level == level and words in check.words and todo in check.todo
    assert (check.todo == "") == (todo == "")


def test_without_any_date_nothing_can_be_asked(tmp_path: Path) -> None:
    check = checks(tmp_path / "d", [(patient, None, FLU, None) for patient in range(30)])["Dates"]
    assert check.level == "fail" and "Fill the column time" in check.todo


def test_few_holders_of_a_sensitive_attribute_are_not_counted_out(tmp_path: Path) -> None:
    assert (
        "HIV: fewer than 11."
        in checks(tmp_path / "d", [*PEOPLE, *HOLDERS[1:]])["Sensitive attributes in the data"].words
    )


def test_the_same_record_under_two_ids_is_found_and_whether_it_was_trained_on(tmp_path: Path) -> None:
    rows = [*PEOPLE, *person(50, of=3), *person(51, of=3), *person(52, of=25), *person(53, of=25)[:4]]
    splits = {**SPLITS, 50: "train", 51: "held_out", 52: "held_out", 53: "held_out"}
    check = checks(tmp_path / "d", rows, splits)["Duplicated records"]
    assert check.level == "warn"
    assert check.words.startswith("5 patients have the very same events as another under a different id")
    assert "1 of them are not in 'train' while their double is" in check.words


def test_the_order_of_rows_makes_no_difference_to_the_same_record_but_a_value_does(tmp_path: Path) -> None:
    other = person(50, of=3)
    assert checks(tmp_path / "d", [*PEOPLE, *other[::-1]])["Duplicated records"].level == "warn"
    changed = [row if row[3] != 2.0 else (*row[:3], 2.5) for row in other]
    assert checks(tmp_path / "e", [*PEOPLE, *changed])["Duplicated records"].level == "pass"


def test_the_same_patients_exported_twice_are_found_though_the_files_differ(tmp_path: Path) -> None:
    twice = [row for row in PEOPLE if row[0] < 7]
    folder = write(tmp_path / "d", {"0.parquet": PEOPLE, "again.parquet": twice[::-1]}, splits=SPLITS)
    check = next(check for check in check_data(MedsDataset(folder)) if check.name == "Doubled events")
    assert check.level == "warn" and check.words == "7 of 30 patients looked at have every event twice or more."


@pytest.mark.parametrize("most", [0, 10**9])
def test_an_index_is_said_with_where_it_is(tmp_path: Path, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EHRMEM_INDEX", str(tmp_path / "kept"))
    monkeypatch.setattr(dataset_module, "INDEX_FROM", 0)
    monkeypatch.setattr(meds_index, "MOST_LOOKED_THROUGH", most)
    check = checks(tmp_path / "d", PEOPLE)["Reading"]
    assert str(tmp_path / "kept") in check.words and "readable by you alone" in check.words
    assert ("with a copy of the events" in check.words) == (most == 0)
    assert "Remove that folder when the audit is over" in check.todo


NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("more", "name", "words", "todo"),
    [
        ([(3, at("2020-01-01"), None, 1.0)] * 2, "Null codes", "2 rows have no code and are left out.", "what they stand for"),
        ([(None, at("2020-01-01"), FLU, None)], "Rows without a patient", "1 rows have no subject_id", "whose"),
        ([(3, at("2020-02-01"), " ", None), (3, at("2020-02-02"), "//", None)], "Empty codes", "2 rows have a code without", "Write the codes"),
        (
            [(3, at("2020-02-01"), LAB, NAN), (3, at("2020-02-02"), LAB, INFINITE)], "Values that are no numbers", "2 rows have a numeric_value that is NaN",
            "Write null",
        ),
        ([(40, at("1753-01-01"), "MEDS_BIRTH", None)], "Births before 1900", "1 patients were born before 1900.", "unknown"),
        ([(40, SOON, "MEDS_BIRTH", None)], "Births in the future", "1 patients are yet to be born.", "Ask how"),
        ([(3, at("1961-01-01"), "MEDS_BIRTH", None)], "Several births", "1 patients have several dates of birth", "Keep one"),
        ([PEOPLE[5], PEOPLE[5]], "Duplicate rows", "2 of 182 rows of 30 patients looked at are a repetition", "exported twice"),
    ],
)  # fmt: skip
def test_what_is_odd_is_counted(tmp_path: Path, more: list[Any], name: str, words: str, todo: str) -> None:
    found = checks(tmp_path / "d", [*PEOPLE, *more])
    assert found[name].level == "warn" and words in found[name].words and todo in found[name].todo
    odd = {"Null codes", "Rows without a patient", "Empty codes", "Values that are no numbers", "Births before 1900", "Births in the future",
           "Several births", "Duplicate rows"}  # fmt: skip
    assert odd & set(found) == {name}


def test_values_that_are_text_and_a_missing_column_of_values(tmp_path: Path) -> None:
    table = shard(PEOPLE)
    texts = table.set_column(3, "numeric_value", pa.array(["high"] * 3 + ["1.5"] * (len(PEOPLE) - 3)))
    for name, given in (("text", texts), ("none", table.drop_columns(["numeric_value"]))):
        folder = write(tmp_path / name, {"0.parquet": given}, splits=SPLITS)
        found = {check.name: check.words for check in check_data(MedsDataset(folder))}
        assert found.get("Values that are no numbers", "").startswith("3 rows") == (name == "text")
