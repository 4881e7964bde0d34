"""The table of patients is found by words that people use, and sorted by any column."""

from __future__ import annotations

import numpy as np
import pytest

from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.samples.folders import sample_data
from ehrmem_widgets.widgets.patient_table import Exposed, PatientTable


@pytest.fixture(scope="module")
def table() -> PatientTable:
    return PatientTable(MedsDataset(sample_data()), "train")


@pytest.mark.parametrize(
    ("words", "column", "fits"),
    [
        ("male", 1, lambda cell: cell == "M"),
        ("women", 1, lambda cell: cell == "F"),
        ("over 69", 2, lambda cell: cell[:2] in ("70", "80", "90")),
        ("under 40", 2, lambda cell: cell[:2] in ("10", "20", "30") or cell[1] == "-"),
        ("40-49", 2, lambda cell: cell == "40-49"),
        ("40 to 49", 2, lambda cell: cell == "40-49"),
        ("substance", 4, lambda cell: "drug use" in cell),
        ("alcohol", 4, lambda cell: "drug use" in cell),
        ("HIV", 4, lambda cell: "HIV" in cell),
        ("held out", 5, lambda cell: cell == "held out"),
        ("seen 16 times", 6, lambda cell: cell == "16 ×"),
    ],
)
def test_words_that_people_type(table: PatientTable, words: str, column: int, fits) -> None:  # type: ignore[no-untyped-def]
    found = table.find(words, count=200)
    assert 0 < found.total < 3000 and found.rows and all(fits(row[column]) for row in found.rows)


def test_several_words_must_all_fit(table: PatientTable) -> None:
    both = table.find("female over 60 hiv", count=200)
    assert 0 < both.total < min(table.find("female").total, table.find("over 60").total, table.find("hiv").total)


def test_one_letter_is_a_sex_and_no_part_of_a_word(table: PatientTable) -> None:
    assert table.find("F").total + table.find("M").total <= table.find("").total


def test_a_pseudonym_is_found_by_a_part_of_it(table: PatientTable) -> None:
    some = table.find("").rows[5][0]
    assert some in [row[0] for row in table.find(some[:6].lower()).rows]
    assert [row[0] for row in table.find(some).rows] == [some]


def test_sorted_by_events_downwards_in_windows(table: PatientTable) -> None:
    first, second = (table.find("", sort="events", descending=True, start=start, count=40) for start in (0, 40))
    events = [int(row[3].replace(",", "")) for row in (*first.rows, *second.rows)]
    assert events == sorted(events, reverse=True) and len(events) == 80 and second.start == 40


def test_nobody_is_said(table: PatientTable) -> None:
    found = table.find("zebra")
    assert (found.total, found.rows) == (0, []) and found.words.startswith("0 of ")


def test_each_facet_finds_as_many_as_it_says(table: PatientTable) -> None:
    names = [name for name, _ in table.facets]
    assert names == ["Sex", "Age", "Attribute", "Split", "Seen"]
    for _, words in table.facets:
        for one, n in words:
            assert table.find(one).total == n > 0, one


def test_an_attribute_finds_all_who_hold_it(table: PatientTable) -> None:
    dataset = MedsDataset(sample_data())
    found = dict(dict(table.facets)["Attribute"])
    for name, attribute in dataset.attributes.items():
        holders = sum(name in held for held in dataset.patients["attributes"])
        assert found.get(attribute.title.lower(), 0) == holders, name


def test_who_is_most_exposed_comes_first_and_who_was_not_looked_at_last() -> None:
    dataset = MedsDataset(sample_data())
    mine = PatientTable(dataset, "train")
    assert not mine.window({"text": ""})["exposed"] and all(len(row) == 7 for row in mine.find("").rows)
    ids = np.array(dataset.some_ids(50))
    mine.expose(Exposed(ids, np.linspace(0, 1, 50), lambda value: "" if value != value else f"{value:.2f}"))
    rows = mine.find("", sort="exposed", descending=True).rows
    assert (
        [row[7] for row in rows[:2]] == ["1.00", "0.98"]
        and rows[0][0] == dataset.pseudonym(int(ids[-1]))
        and rows[50][7] == ""
    )
    mine.expose(None)
    assert len(mine.find("").rows[0]) == 7
