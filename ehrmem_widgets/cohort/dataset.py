"""Open a MEDS data set of any size: list its patients, load one by id, learn its splits. DuckDB does the reading.

``meds_files`` knows the files and how to read them alike, ``meds_index`` what is kept of a large data set.
"""

from __future__ import annotations

import re
import shutil
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from ehrmem_widgets.cohort.attributes import SensitiveAttribute, attributes_with, load_attributes, match_codes
from ehrmem_widgets.cohort.codes import code_label
from ehrmem_widgets.cohort.fingerprints import combined, digest_of
from ehrmem_widgets.cohort.meds_files import (
    columns_of,
    digests_of,
    events_query,
    parquet,
    refuse_copies,
    rows_in,
    said_of,
    shards_of,
    splits_query,
)
from ehrmem_widgets.cohort.meds_index import (
    CODES,
    INDEX_FROM,
    PATIENTS,
    Index,
    build_index,
    keep_within_memory,
    open_index,
    remove_index,
)
from ehrmem_widgets.cohort.pseudonym import (
    SAMPLE_FINGERPRINT,
    SAMPLE_KEY,
    Pseudonyms,
    is_pseudonym,
    pseudonym,
    user_key,
)
from ehrmem_widgets.cohort.record import Event, Record, is_birth
from ehrmem_widgets.errors import BadInput, Damaged
from ehrmem_widgets.files import read_json

MEMBER_SPLIT = "train"
_ROWS_AT_ONCE = 10_000
_MOST_RECORDS, _MOST_EVENTS = 256, 250_000


NO_EXTENSIONS: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
"""For every connection: DuckDB fetches nothing, and loads no code but its own."""


class MedsDataset:
    """A MEDS data set (schema 0.3 or 0.4, https://github.com/Medical-Event-Data-Standard/meds), read where it lies.

    One of 10 million events or more is indexed when it is first opened, with progress on standard error, in the user's cache
    folder or where EHRMEM_INDEX says; then any patient is found in milliseconds and the memory stays below a gigabyte.

    Parameters
    ----------
    root
        The folder that holds ``data/**/*.parquet`` and, if there is any, ``metadata/``.

    Raises
    ------
    BadInput
        When the folder is not a MEDS data set, in words that say what is missing. Types that differ from the schema but
        mean the same (64-bit values, other time units, text ids of whole numbers) are aligned, not refused. Also when an
        index is needed and cannot be written.

    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.canaries: Path | None = None
        """A file of planted canaries; None: those that the data set itself names."""
        self.apart: Mapping[int, Record] = {}
        """Records of canaries that were left out of the data, by id: who asks for one of them finds it."""
        self.declared = ""
        """Changes with any byte of what ``declare`` was given; empty where that was nothing."""
        self._lock = threading.Lock()
        self._holders: dict[frozenset[str], np.ndarray] = {}
        self._connection = duckdb.connect(config=NO_EXTENSIONS)
        self._connection.execute("SET threads = 2")
        self._connection.execute("SET TimeZone = 'UTC'")
        try:
            self._open()
        except duckdb.Error as error:
            raise said_of(self.name, error) from error
        self._connection.execute("SET lock_configuration = true")

    def _open(self) -> None:
        shards, run = shards_of(self.root), self._connection.execute
        self.index: Index | None = open_index(self._connection, self.fingerprint)
        """What is kept of a large data set so that any patient is found at once; None for a small one."""
        if self.index is None:
            refuse_copies(self.root, shards, self._digests, run)
            self._view("events", events_query(self.root, shards, run))
            self._view("splits", splits_query(self.root, run, MEMBER_SPLIT))
            if (rows := rows_in(shards, run)) >= INDEX_FROM:
                self._keep_within_memory()
                self.index = build_index(self._connection, self.root, shards, self.fingerprint, rows)
        else:
            self._keep_within_memory()
            if not self.index.sorted_copy:
                self._view("events", events_query(self.root, shards, run))
        if self.index is None:
            self._connection.execute("CREATE TABLE patient_ids AS SELECT DISTINCT patient_id FROM events")
            self._view("patients", PATIENTS.format(events="events"))
            self._view("codes", CODES.format(events="events"))
        else:
            self._view("patient_ids", "SELECT patient_id FROM kept.patients")
            for name in ("splits", "patients", "codes"):
                self._view(name, f"FROM kept.{name}")
            if self.index.sorted_copy:
                self._view("events", "SELECT *, '' AS filename, rowid AS file_row_number FROM kept.events")

    def __repr__(self) -> str:
        return f"MedsDataset({self.name!r}: {len(self):,} patients)"

    def __len__(self) -> int:
        return int(self.query("SELECT count(*) FROM patient_ids").fetchall()[0][0])

    def query(self, sql: str, parameters: Sequence[object] | None = None) -> duckdb.DuckDBPyConnection:
        """Run SQL over the views ``events`` (patient_id, time, code, value; filename and file_row_number keep the order of
        rows), ``splits`` (patient_id, split), ``patients`` (patient_id, sex, birth, events, first, last) and ``codes``."""
        with self._lock:
            cursor = self._connection.cursor()
        try:
            return cursor.execute(sql, parameters or [])
        except duckdb.Error as error:
            if self.index is not None and "Corrupt database file" in str(error):
                remove_index(self.index)
                raise Damaged(
                    f"The index of {self.name} was damaged and has been removed: start again, and it is rebuilt."
                ) from error
            raise said_of(self.name, error) from error

    @cached_property
    def information(self) -> dict[str, object]:
        """The contents of ``metadata/dataset.json``; empty where there is none."""
        path = self.root / "metadata" / "dataset.json"
        try:
            found = read_json(path, path.name) if path.exists() else {}
        except BadInput:
            found = {}
        return found if isinstance(found, dict) else {}

    @property
    def name(self) -> str:
        """The data set's own name, or its folder's."""
        return str(self.information.get("dataset_name") or self.root.name)

    @property
    def declared_synthetic(self) -> bool:
        """Whether ``metadata/dataset.json`` declares that no person stands behind any record (``"synthetic": true``)."""
        return self.information.get("synthetic") is True

    @cached_property
    def fingerprint(self) -> str:
        """Changes when a Parquet file of the data set is added, removed or renamed, and with any byte of one; the same for a copy, whatever
        its dates."""
        return combined(self._digests)

    @cached_property
    def _digests(self) -> dict[str, str]:
        return digests_of(self.root)

    @cached_property
    def descriptions(self) -> dict[str, str]:
        """Readable labels from ``metadata/codes.parquet``, by code; empty where the file is missing or has no rows."""
        path = self.root / "metadata" / "codes.parquet"
        if not path.exists():
            return {}
        if not {"code", "description"} <= columns_of(path, self.query).keys():
            return {}
        rows = self.query(
            f"SELECT CAST(code AS VARCHAR), CAST(description AS VARCHAR) FROM {parquet(path)} "
            "WHERE description IS NOT NULL"
        )
        return {code: text for code, text in rows.fetchall() if text.strip() and text.strip().lower() != "nan"}

    def label(self, code: str) -> str:
        """A readable label of a code."""
        return code_label(code, self.descriptions)

    @cached_property
    def codes(self) -> pd.DataFrame:
        """Every code that occurs: ``code``, ``events`` (rows), ``patients`` (who hold it), ``values`` (rows with one)."""
        return self.query("SELECT code, events, patients, values FROM codes ORDER BY code").df()

    def declare(self, *, attribute_file: str | Path | None = None, canaries: str | Path | None = None) -> None:
        """What people say of these patients: a YAML file of further sensitive attributes, and a file of the canaries that they planted
        (``ground_truth.CanaryFile``). To be called before anything is asked. Raises BadInput for a file that is none."""
        self.attributes = attributes_with(attribute_file)
        self.canaries = Path(canaries) if canaries else None
        if self.canaries is not None and not self.canaries.is_file():
            raise BadInput(f"There is no file of canaries {str(canaries)!r}.")
        files = [Path(one) for one in (attribute_file, canaries) if one]
        self.declared = combined({str(place): digest_of(file) for place, file in enumerate(files)}) if files else ""
        self.apart = {}
        if self.canaries is not None:
            from ehrmem_widgets.cohort.ground_truth import CanaryFile

            self.apart = CanaryFile.read(self.canaries, self).apart

    @cached_property
    def attributes(self) -> dict[str, SensitiveAttribute]:
        """The declared sensitive attributes, by name."""
        return load_attributes()

    @cached_property
    def attribute_codes(self) -> pd.DataFrame:
        """Which codes of this data set belong to which attribute: ``code``, ``attribute``, ``role`` (code or proxy)."""
        return match_codes(self.attributes, self.codes["code"], self.descriptions)

    @cached_property
    def splits(self) -> dict[str, int]:
        """Number of patients in each split named by ``metadata/subject_splits.parquet`` (folder names mean nothing)."""
        return dict(self.query("SELECT split, count(*) FROM splits GROUP BY split ORDER BY split").fetchall())

    def ids(self, split: str | None = None) -> list[int]:
        """Ids of all patients, or of one split, in ascending order."""
        if split is None:
            found = self.query("SELECT patient_id FROM patient_ids ORDER BY patient_id")
        else:
            if split not in self.splits:
                raise BadInput(_no_such_split(split, self.splits))
            found = self.query(
                "SELECT patient_id FROM patient_ids JOIN splits USING (patient_id) WHERE split = ? ORDER BY patient_id",
                [split],
            )
        return list(found.fetchnumpy()["patient_id"].tolist())

    def some_ids(self, most: int, split: str | None = None) -> list[int]:
        """As ``ids``, but of more than ``most`` patients a random sample of so many, always the same one."""
        found = self.ids(split)
        if len(found) > most:
            found = np.sort(np.random.default_rng(0).choice(found, most, replace=False)).tolist()
        return found

    def splits_of(self, patient_ids: Iterable[int]) -> pd.Series:
        """The split of some patients, by id and in the order given; missing for a patient in none."""
        wanted = [int(patient) for patient in patient_ids]
        found = self.query(
            "SELECT patient_id, split FROM splits WHERE patient_id IN (SELECT unnest(?::BIGINT[]))", [wanted]
        ).df()
        return found.set_index("patient_id")["split"].reindex(wanted)

    def split_of(self, patient_id: int) -> str | None:
        """The split of one patient; None for a patient in none."""
        found = self.query("SELECT split FROM splits WHERE patient_id = ?", [int(patient_id)]).fetchone()
        return str(found[0]) if found else None

    def holders(self, attributes: Iterable[str]) -> list[int]:
        """Ids, ascending, of the patients whose record holds a code (not merely a proxy) of one of these attributes."""
        asked = frozenset(attributes)
        if (
            asked not in self._holders
        ):  # every batch of an audit asks again, and each answer is a look through all events
            codes = self.attribute_codes.query("role == 'code'")
            found = self.query(
                "SELECT DISTINCT patient_id FROM events WHERE code IN (SELECT unnest(?::VARCHAR[])) ORDER BY patient_id",
                [codes.loc[codes["attribute"].isin(asked), "code"].tolist()],
            )
            self._holders[asked] = found.fetchnumpy()["patient_id"]
        return list(self._holders[asked].tolist())

    @cached_property
    def patients(self) -> pd.DataFrame:
        """One row a patient, for a table to pick from (of a large data set, ask :meth:`patients_of` for some).

        Columns: ``patient_id`` (index; never shown), ``pseudonym``, ``split``, ``sex``, ``age`` (years at the last
        event), ``events``, ``first`` and ``last`` (dates), ``attributes`` (names of the sensitive groups held).
        """
        return self._patients("true", [])

    def patients_of(self, patient_ids: Iterable[int]) -> pd.DataFrame:
        """The rows of ``patients`` of some patients, in the order given."""
        wanted = [int(patient) for patient in patient_ids]
        if self.index is None:
            return self.patients.loc[wanted]
        return self._patients("patient_id IN (SELECT unnest(?::BIGINT[]))", [wanted]).loc[wanted]

    def find(self, patient: int | str) -> int:
        """The id behind a pseudonym or an id, as a number or as text.

        Raises BadInput, naming the pseudonyms of the nearest patients, when there is no such patient.
        """
        text = str(patient).strip()
        found = self.ids_of(text)
        if len(found) > 1:  # one in three data sets of a million patients has such a pair
            raise BadInput(
                f"{len(found)} patients of {self.name} share the pseudonym {text.upper()}: give the id instead."
            )
        if found:
            return found[0]
        number = _whole_number(text)
        if number is not None:
            if (
                number in self.apart
                or self.query("SELECT 1 FROM patient_ids WHERE patient_id = ?", [number]).fetchone()
            ):
                return number
            rows = self.query(
                "SELECT patient_id FROM patient_ids ORDER BY abs(CAST(patient_id AS HUGEINT) - ?) LIMIT 3", [number]
            ).fetchall()
            near = [pseudonym(row[0], self._key) for row in rows]
        else:
            near = self._pseudonyms.nearest(text)
        if not near:
            raise BadInput(f"There is no patient {text!r} in {self.name}: the data set has no patients at all.")
        raise BadInput(
            f"There is no patient {text!r} in {self.name}. The nearest ones are {', '.join(near)}. "
            "'ehrmem patients' lists all of them."
        )

    def ids_of(self, pseudonym: str) -> list[int]:
        """Ids of the patients with this pseudonym: of nobody, of one, or by a rare chance of several."""
        text = pseudonym.strip()
        apart = [patient for patient, record in self.apart.items() if record.pseudonym == text.upper()]
        return apart + (self._pseudonyms.ids_of(text) if is_pseudonym(text) else [])  # making all takes a second or two

    def pseudonym(self, patient_id: int) -> str:
        """The name under which a patient is shown."""
        return pseudonym(patient_id, self._key)

    def record(self, patient: int | str) -> Record:
        """One patient's record, read without loading the file."""
        return self.records([self.find(patient)])[0]

    def records(self, patient_ids: Iterable[int]) -> list[Record]:
        """The records of several patients, in the order asked for."""
        wanted = [int(patient) for patient in patient_ids]
        rows = self.query(
            "SELECT patient_id, time, code, value FROM events WHERE patient_id IN (SELECT unnest(?::BIGINT[])) "
            "ORDER BY patient_id, time NULLS FIRST, filename, file_row_number",
            [wanted],
        )
        events: dict[int, list[Event]] = {patient: [] for patient in wanted}
        births: dict[int, datetime | None] = {}
        before: datetime | None = None
        while some := rows.fetchmany(_ROWS_AT_ONCE):
            for patient, time, code, value in some:
                if is_birth(code):
                    births.setdefault(patient, time)
                else:
                    before = (
                        before if time == before else time
                    )  # one object for what happens at one time, and for a code
                    events[patient].append(Event(before, sys.intern(code), value))
        return [
            self.apart[p] if p in self.apart else Record(p, self.pseudonym(p), tuple(events[p]), births.get(p))
            for p in wanted
        ]

    def each_record(self, patient_ids: Sequence[int]) -> Iterator[Record]:
        """The records of many patients, in the order asked for; few are in memory at once: 256, and 250,000 events."""
        sql = "SELECT patient_id, events FROM patients WHERE patient_id IN (SELECT unnest(?::BIGINT[]))"
        sizes: dict[int, int] = dict(self.query(sql, [list(patient_ids)]).fetchall())
        batch: list[int] = []
        events = 0
        for patient in patient_ids:
            size = sizes.get(patient, 0)
            if batch and (len(batch) == _MOST_RECORDS or events + size > _MOST_EVENTS):
                yield from self.records(batch)
                batch, events = [], 0
            batch.append(patient)
            events += size
        yield from self.records(batch)

    @cached_property
    def _key(self) -> bytes:
        return SAMPLE_KEY if self.fingerprint == SAMPLE_FINGERPRINT else user_key()

    @cached_property
    def _pseudonyms(self) -> Pseudonyms:
        return Pseudonyms(self.ids(), self._key)

    def _patients(self, which: str, parameters: Sequence[object]) -> pd.DataFrame:
        """The table of the patients that meet an SQL condition, ascending by id."""
        held = self.attribute_codes.query("role == 'code'")
        table = self.query(
            f"""
            WITH codes AS (SELECT unnest(?::VARCHAR[]) AS code, unnest(?::VARCHAR[]) AS attribute),
            held AS (
                SELECT patient_id, string_agg(DISTINCT attribute, chr(10) ORDER BY attribute) AS attributes
                FROM events JOIN codes USING (code) WHERE {which} GROUP BY patient_id)
            SELECT patient_id, split, sex,
                   date_diff('year', birth, last)
                   - CASE WHEN strftime(last, '%m%d') < strftime(birth, '%m%d') THEN 1 ELSE 0 END AS age,
                   events, first, last, attributes
            FROM patients LEFT JOIN splits USING (patient_id) LEFT JOIN held USING (patient_id) WHERE {which}
            ORDER BY patient_id
            """,
            [held["code"].tolist(), held["attribute"].tolist(), *parameters, *parameters],
        ).df()
        table["age"] = table["age"].astype(float)  # where nobody's is known, DuckDB gives another type
        names = {text: tuple(text.split("\n")) for text in table["attributes"].dropna().unique()}
        table["attributes"] = [names.get(text, ()) for text in table["attributes"]]
        table.insert(1, "pseudonym", [self.pseudonym(patient) for patient in table["patient_id"].tolist()])
        return table.set_index("patient_id")

    def _view(self, name: str, sql: str) -> None:
        self._connection.execute(f"CREATE OR REPLACE VIEW {name} AS {sql}")

    def _keep_within_memory(self) -> None:
        spill = keep_within_memory(self._connection)
        weakref.finalize(self, shutil.rmtree, spill, ignore_errors=True)


def _no_such_split(split: str, splits: dict[str, int]) -> str:
    if not splits:
        return f"There is no split {split!r}: the data set has no metadata/subject_splits.parquet."
    return f"There is no split {split!r}. The data set has {', '.join(splits)}."


def _whole_number(text: str) -> int | None:
    """The number that the text is, if it is one that a 64-bit id can be near to."""
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,30}", text) else None
