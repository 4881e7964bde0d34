"""What is odd in a data set and would pass without a word: counted, a line each, and only where there is any."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from ehrmem_widgets.cohort.check import Check
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.meds_files import odd_cells_query, shards_of

_SAMPLE = 2_000  # patients whose rows are compared one by one
_BIRTH = "(code = 'MEDS_BIRTH' OR starts_with(code, 'MEDS_BIRTH//'))"


def oddities(dataset: MedsDataset) -> Iterator[Check]:
    """The checks of what is there and should not be."""
    yield from _cells(dataset)
    yield from _births(dataset)
    yield from _duplicates(dataset)


def _cells(dataset: MedsDataset) -> Iterator[Check]:
    query = odd_cells_query(shards_of(dataset.root), dataset.query)
    no_patient, no_code, empty, no_number = dataset.query(query).fetchall()[0]
    if no_patient:
        yield _odd(
            "Rows without a patient", no_patient, "rows have no subject_id and are left out", "Ask whose they are."
        )
    if no_code:
        yield _odd("Null codes", no_code, "rows have no code and are left out", "Ask what they stand for.")
    if empty:
        yield _odd(
            "Empty codes",
            empty,
            "rows have a code without a letter or digit",
            "Write the codes, or leave these rows out.",
        )
    if no_number:
        yield _odd(
            "Values that are no numbers", no_number, "rows have a numeric_value that is NaN, infinite or text, and count as without a value",
            "Write null where nothing was measured.",
        )  # fmt: skip


def _births(dataset: MedsDataset) -> Iterator[Check]:
    old, future, there = dataset.query(
        "SELECT count(*) FILTER (year(birth) < 1900), count(*) FILTER (birth > ?), count(birth) FROM patients",
        [datetime.now()],
    ).fetchall()[0]
    if old:
        yield _odd(
            "Births before 1900", old, "patients were born before 1900",
            "Ask whether such a date stands for an unknown one, which should be missing, or for an age above 89.",
        )  # fmt: skip
    if future and future < there / 2:  # else dates were shifted to protect patients
        yield _odd("Births in the future", future, "patients are yet to be born", "Ask how dates of birth were made.")
    twice = dataset.query(
        f"SELECT count(*) FROM (SELECT patient_id FROM events WHERE {_BIRTH} GROUP BY patient_id HAVING count(DISTINCT time) > 1)"
    ).fetchall()[0][0]
    if twice:
        yield _odd(
            "Several births", twice, "patients have several dates of birth, of which the first in the files counts", "Keep one date of birth each."
        )  # fmt: skip


def _duplicates(dataset: MedsDataset) -> Iterator[Check]:
    ids = dataset.some_ids(_SAMPLE)
    more, rows = dataset.query(
        "SELECT coalesce(sum(times - 1), 0), coalesce(sum(times), 0) FROM (SELECT count(*) AS times FROM events "
        "WHERE patient_id IN (SELECT unnest(?::BIGINT[])) GROUP BY patient_id, time, code, value)",
        [ids],
    ).fetchall()[0]
    if more:
        yield _odd(
            "Duplicate rows", int(more), f"of {int(rows):,} rows of {len(ids):,} patients looked at are a repetition of another row",
            "Ask whether the same event was exported twice: the model may have been trained on one of them only.",
        )  # fmt: skip


def _odd(name: str, n: int, words: str, todo: str) -> Check:
    return Check(name, "warn", f"{n:,} {words}.", todo)
