"""A patient of a million events is read, written in the model's codes, turned into a prompt and searched for in well under a gigabyte."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ehrmem_widgets.attacker.facts import facts_of_level
from ehrmem_widgets.attacker.prompt import build_prompt
from ehrmem_widgets.cohort import dataset as dataset_module
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.probes.bag_of_codes import CodeSearch
from ehrmem_widgets.samples.folders import sample_data
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.tokens.vocabulary import learn_vocabulary
from tests.cohort.meds import at

EVENTS = 40_000
MOST = 400
"""Bytes an event: a million are 400 MB."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> MedsDataset:
    """One patient: two labs every hour, one of them without a value."""
    folder = tmp_path_factory.mktemp("large")
    start = at("2000-01-01").timestamp()
    times = [int(1e6 * (start + 3600 * (place // 2))) for place in range(EVENTS)]
    table = pa.table(
        {
            "subject_id": pa.array([1] * EVENTS, pa.int64()),
            "time": pa.array(times, pa.timestamp("us")),
            "code": [f"LAB//{place % 50}" for place in range(EVENTS)],
            "numeric_value": pa.array([place % 7 if place % 2 else None for place in range(EVENTS)], pa.float32()),
        }
    )
    (folder / "data").mkdir()
    pq.write_table(table, folder / "data" / "0.parquet")
    (folder / "metadata").mkdir()
    pq.write_table(
        pa.table({"subject_id": pa.array([1], pa.int64()), "split": ["train"]}),
        folder / "metadata" / "subject_splits.parquet",
    )
    return MedsDataset(folder)


@pytest.fixture
def measured() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_a_record_is_read_in_few_bytes_an_event(large: MedsDataset, measured: None) -> None:
    [record] = large.records([1])
    assert len(record.events) == EVENTS
    assert tracemalloc.get_traced_memory()[1] < MOST * EVENTS
    assert len({id(event.time) for event in record.events}) == EVENTS // 2
    assert len({id(event.code) for event in record.events}) == 50


def test_its_codes_facts_and_prompt_take_no_more(large: MedsDataset, measured: None) -> None:
    vocabulary = learn_vocabulary(large)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    record: Record = large.records([1])[0]
    assert len(encode(record, vocabulary).codes) > EVENTS
    for level in ("one_lab", "lab_values", "first_10"):
        build_prompt(record, facts_of_level(level, record, vocabulary), vocabulary)
    assert tracemalloc.get_traced_memory()[1] - before < MOST * EVENTS


def test_a_search_for_its_codes_takes_no_more(measured: None) -> None:
    codes = np.arange(EVENTS, dtype=np.int32) % 50
    CodeSearch([codes[:20]], 50)  # what is imported for the first one is not the record's
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    search = CodeSearch([codes, codes[:20]], 50)
    assert tracemalloc.get_traced_memory()[1] - before < MOST * EVENTS / 4
    [found] = search.similarities([[[place] for place in range(50)]])
    assert found == pytest.approx([1, found[1]]) and found[1] < 0.8


def test_many_records_are_read_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = MedsDataset(sample_data())
    ids = dataset.ids()[40::-1]
    expected, read, records = dataset.records(ids), [], MedsDataset.records
    sizes = {record.patient_id: len(record.events) for record in expected}
    longest = max(sizes.values())

    def noted(self: MedsDataset, some: list[int]) -> list[Record]:
        read.append(list(some))
        return records(self, some)

    monkeypatch.setattr(MedsDataset, "records", noted)
    monkeypatch.setattr(dataset_module, "_MOST_RECORDS", 10)
    monkeypatch.setattr(dataset_module, "_MOST_EVENTS", longest - 1)  # one is longer than what fits
    assert list(dataset.each_record(ids)) == expected
    assert [one for some in read for one in some] == ids and max(map(len, read)) <= 10
    assert all(len(some) == 1 or sum(sizes[one] for one in some) < longest for some in read)
    assert list(dataset.each_record([])) == []
