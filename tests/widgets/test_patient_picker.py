"""The patient picker: of very many patients a sample is listed, and anybody is found by pseudonym."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.widgets import patient_picker
from ehrmem_widgets.widgets.patient_picker import PatientPicker
from tests.cohort.meds import Row, at, write


@pytest.fixture
def dataset(tmp_path: Path) -> MedsDataset:
    rows: list[Row] = [(i, at("2020-01-01"), "DIAGNOSIS//ICD//10//J111", None) for i in range(500, 560)]
    rows.append((503, at("2020-01-01"), "DIAGNOSIS//ICD//10//B20", None))
    return MedsDataset(write(tmp_path / "d", {"0.parquet": rows}, information={"synthetic": True}))


def values(picker: PatientPicker) -> list[object]:
    return [value for _, value in picker.list.options]


def test_a_search_narrows_the_list_and_a_pick_is_told(dataset: MedsDataset) -> None:
    told: list[int] = []
    picker = PatientPicker(dataset, 510, told.append, members="train")
    assert values(picker)[0] == 510 and len(values(picker)) == 60
    assert "60 of 60 patients." in picker.note.value
    picker.search.value = "hiv"
    assert values(picker) == ["", 503]
    picker.list.value = 503
    picker.search.value = dataset.pseudonym(507).lower()
    picker.list.value = 507
    assert told == [503, 507]


def test_of_very_many_a_sample_is_listed_and_anybody_is_found(
    dataset: MedsDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient_picker, "_LISTED", 10)
    told: list[int] = []
    listed = set(values(PatientPicker(dataset, 510, told.append, members="train")))
    assert len(listed) in (10, 11) and 510 in listed
    assert listed == set(values(PatientPicker(dataset, 510, told.append, members="train")))  # always the same ones
    other = next(i for i in dataset.ids() if i not in listed)
    picker = PatientPicker(dataset, other, told.append, members="train")
    assert values(picker)[0] == other
    assert "any other is found by the whole pseudonym" in picker.note.value and "a sample of 60;" in picker.note.value
    hidden = next(i for i in dataset.ids() if i not in listed and i != other)
    picker.search.value = dataset.pseudonym(hidden)[:-1]
    assert values(picker) == [""]
    picker.search.value = dataset.pseudonym(hidden).lower()
    assert values(picker) == ["", hidden]
    picker.list.value = hidden
    picker.search.value = ""
    assert values(picker)[0] == hidden and told == [hidden]
