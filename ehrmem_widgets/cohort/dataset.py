"""Open a MEDS data set of any size: list its patients, load one by id, learn its splits. DuckDB does the reading."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import threading
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from ehrmem_widgets.cohort.attributes import SensitiveAttribute, load_attributes, match_codes
from ehrmem_widgets.cohort.codes import code_label
from ehrmem_widgets.cohort.pseudonym import SYNTHETIC_KEY, pseudonym, user_key
from ehrmem_widgets.cohort.record import Event, Record
from ehrmem_widgets.errors import InputError

MEMBER_SPLIT = "train"


class MedsDataset:
    """A MEDS data set (schema 0.3 or 0.4, https://github.com/Medical-Event-Data-Standard/meds), read where it lies.

    Parameters
    ----------
    root
        The folder that holds ``data/**/*.parquet`` and, if there is any, ``metadata/``.

    Raises
    ------
    InputError
        When the folder is no MEDS data set, in words that say what is missing. Types that differ from the schema but
        mean the same (64-bit values, other time units, text ids of whole numbers) are aligned, not refused.

    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._lock = threading.Lock()
        self._connection = duckdb.connect()
        self._connection.execute("SET threads = 2")
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute(f"CREATE VIEW events AS {self._events_query()}")
        self._connection.execute(f"CREATE VIEW splits AS {self._splits_query()}")
        self._connection.execute("CREATE TABLE patient_ids AS SELECT DISTINCT patient_id FROM events")

    def __repr__(self) -> str:
        return f"MedsDataset({self.name!r}: {len(self):,} patients)"

    def __len__(self) -> int:
        return len(self.query("SELECT patient_id FROM patient_ids").fetchall())

    def query(self, sql: str, parameters: Sequence[Any] | None = None) -> duckdb.DuckDBPyConnection:
        """Run SQL over the views ``events`` (patient_id, time, code, value, row order) and ``splits``."""
        with self._lock:
            cursor = self._connection.cursor()
        return cursor.execute(sql, parameters or [])

    @cached_property
    def information(self) -> dict[str, Any]:
        """The contents of ``metadata/dataset.json``; empty where there is none."""
        path = self.root / "metadata" / "dataset.json"
        try:
            found = json.loads(path.read_text()) if path.exists() else {}
        except ValueError:  # no JSON, or no text at all
            found = {}
        return found if isinstance(found, dict) else {}

    @property
    def name(self) -> str:
        """The data set's own name, or its folder's."""
        return str(self.information.get("dataset_name") or self.root.name)

    @cached_property
    def fingerprint(self) -> str:
        """Changes when a Parquet file of the data set is added, removed or changed: by name, size and the file's last part,
        which holds each column's place, size and range. The same for a copy, whatever its dates."""
        digest = hashlib.sha256()
        for path in sorted(self.root.glob("**/*.parquet")):
            size = path.stat().st_size
            digest.update(f"{path.relative_to(self.root).as_posix()} {size}\n".encode())
            with path.open("rb") as file:
                file.seek(max(0, size - 65_536))
                digest.update(file.read())
        return digest.hexdigest()[:16]

    @cached_property
    def descriptions(self) -> dict[str, str]:
        """Readable labels from ``metadata/codes.parquet``, by code; empty where the file is missing or has no rows."""
        path = self.root / "metadata" / "codes.parquet"
        if not path.exists():
            return {}
        if not {"code", "description"} <= self._columns(path):
            return {}
        rows = self.query(
            f"SELECT CAST(code AS VARCHAR), CAST(description AS VARCHAR) FROM {_parquet(path)} "
            "WHERE description IS NOT NULL"
        )
        return {code: text for code, text in rows.fetchall() if text.strip() and text.strip().lower() != "nan"}

    def label(self, code: str) -> str:
        """A readable label of a code."""
        return code_label(code, self.descriptions)

    @cached_property
    def codes(self) -> pd.DataFrame:
        """Every code that occurs: ``code``, ``events`` (rows), ``patients`` (who hold it), ``values`` (rows with one)."""
        return self.query(
            "SELECT code, count(*) AS events, count(DISTINCT patient_id) AS patients, count(value) AS values "
            "FROM events GROUP BY code ORDER BY code"
        ).df()

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
            rows = self.query("SELECT patient_id FROM patient_ids ORDER BY patient_id").fetchall()
        else:
            if split not in self.splits:
                raise InputError(_no_such_split(split, self.splits))
            rows = self.query(
                "SELECT patient_id FROM patient_ids JOIN splits USING (patient_id) WHERE split = ? ORDER BY patient_id",
                [split],
            ).fetchall()
        return [row[0] for row in rows]

    @cached_property
    def patients(self) -> pd.DataFrame:
        """One row a patient, for a table to pick from.

        Columns: ``patient_id`` (index; never shown), ``pseudonym``, ``split``, ``sex``, ``age`` (years at the last
        event), ``events``, ``first`` and ``last`` (dates), ``attributes`` (names of the sensitive groups held).
        """
        table = self.query(
            """
            SELECT patient_id, split, sex,
                   date_diff('year', birth, last)
                   - CASE WHEN strftime(last, '%m%d') < strftime(birth, '%m%d') THEN 1 ELSE 0 END AS age,
                   events, first, last
            FROM (
            SELECT patient_id, any_value(split) AS split,
                   any_value(split_part(code, '//', 2)) FILTER (code LIKE 'GENDER//%' OR code LIKE 'SEX//%') AS sex,
                   min(time) FILTER (code LIKE 'MEDS_BIRTH%') AS birth,
                   count(*) FILTER (code NOT LIKE 'MEDS_BIRTH%') AS events,
                   min(time) FILTER (code NOT LIKE 'MEDS_BIRTH%') AS first,
                   max(time) FILTER (code NOT LIKE 'MEDS_BIRTH%') AS last
            FROM events LEFT JOIN splits USING (patient_id) GROUP BY patient_id)
            ORDER BY patient_id
            """
        ).df()
        held = self.attribute_codes.query("role == 'code'")
        held = held[[self.attributes[name].own_value is None for name in held["attribute"]]]
        names: dict[int, list[str]] = {}
        if len(held):
            rows = self._with_table(
                held[["code", "attribute"]],
                "SELECT DISTINCT patient_id, attribute FROM events JOIN given USING (code) ORDER BY ALL",
            )
            for patient, attribute in rows:
                names.setdefault(patient, []).append(attribute)
        table["attributes"] = [tuple(names.get(patient, ())) for patient in table["patient_id"]]
        table.insert(1, "pseudonym", [pseudonym(int(patient), self._key) for patient in table["patient_id"]])
        return table.set_index("patient_id")

    def find(self, patient: int | str) -> int:
        """The id behind a pseudonym or an id, as a number or as text.

        Raises InputError, naming the pseudonyms of the nearest patients, when there is no such patient.
        """
        text = str(patient).strip()
        known = self._ids_by_pseudonym
        if text.upper() in known:
            return known[text.upper()]
        number = _whole_number(text)
        if number is not None:
            if self.query("SELECT 1 FROM patient_ids WHERE patient_id = ?", [number]).fetchone():
                return number
            rows = self.query(
                "SELECT patient_id FROM patient_ids ORDER BY abs(CAST(patient_id AS HUGEINT) - ?) LIMIT 3", [number]
            ).fetchall()
            near = [pseudonym(row[0], self._key) for row in rows]
        else:
            near = difflib.get_close_matches(text.upper(), known, n=3, cutoff=0.0)
        if not near:
            raise InputError(f"There is no patient {text!r} in {self.name}: the data set has no patients at all.")
        raise InputError(
            f"There is no patient {text!r} in {self.name}. The nearest ones are {', '.join(near)}. "
            "'ehrmem patients' lists all of them."
        )

    def pseudonym(self, patient_id: int) -> str:
        """The name under which a patient is shown."""
        return pseudonym(patient_id, self._key)

    def record(self, patient: int | str) -> Record:
        """One patient's record, read without loading the file."""
        return self.records([self.find(patient)])[0]

    def records(self, patient_ids: Iterable[int]) -> list[Record]:
        """The records of several patients, in the order asked for."""
        wanted = [int(patient) for patient in patient_ids]
        if len(wanted) <= 64:
            marks = ", ".join("?" for _ in wanted) or "NULL"
            rows = self.query(
                f"SELECT patient_id, time, code, value FROM events WHERE patient_id IN ({marks}) "
                "ORDER BY patient_id, time NULLS FIRST, filename, file_row_number",
                wanted,
            ).fetchall()
        else:
            rows = self._with_table(
                pd.DataFrame({"patient_id": wanted}).drop_duplicates(),
                "SELECT patient_id, time, code, value FROM events JOIN given USING (patient_id) "
                "ORDER BY patient_id, time NULLS FIRST, filename, file_row_number",
            )
        events: dict[int, list[Event]] = {patient: [] for patient in wanted}
        births: dict[int, datetime | None] = {}
        for patient, time, code, value in rows:
            if code == "MEDS_BIRTH" or code.startswith("MEDS_BIRTH//"):
                births.setdefault(patient, time)
            else:
                events[patient].append(Event(time, code, value))
        return [Record(p, self.pseudonym(p), tuple(events[p]), births.get(p)) for p in wanted]

    @cached_property
    def _key(self) -> bytes:
        return SYNTHETIC_KEY if self.information.get("synthetic") is True else user_key()

    @cached_property
    def _ids_by_pseudonym(self) -> dict[str, int]:
        return {pseudonym(patient, self._key): patient for patient in self.ids()}

    def _columns(self, path: Path) -> set[str]:
        try:
            return {row[0] for row in self.query(f"DESCRIBE SELECT * FROM {_parquet(path)}").fetchall()}
        except duckdb.Error as error:
            raise InputError(
                f"metadata/{path.name} of {str(self.root)!r} cannot be read: {str(error).splitlines()[0]}"
            ) from None

    def _with_table(self, given: pd.DataFrame, sql: str) -> list[tuple[Any, ...]]:
        with self._lock:
            cursor = self._connection.cursor()
        cursor.register("given", given)
        return cursor.execute(sql).fetchall()

    def _events_query(self) -> str:
        if not self.root.is_dir():
            raise InputError(f"There is no folder {str(self.root)!r}. Give the folder of a MEDS data set.")
        files = sorted(str(path) for path in (self.root / "data").glob("**/*.parquet") if path.is_file())
        if not files:
            raise InputError(
                f"{str(self.root)!r} is no MEDS data set: no Parquet file under its folder 'data'. "
                "A MEDS data set holds data/**/*.parquet with the columns subject_id, time, code and numeric_value."
            )
        source = (
            f"read_parquet([{', '.join(map(_quoted_literally, files))}], "
            "union_by_name = true, filename = true, file_row_number = true, hive_partitioning = false)"
        )
        try:
            types = dict(row[:2] for row in self.query(f"DESCRIBE SELECT * FROM {source}").fetchall())
        except duckdb.Error as error:
            raise InputError(
                f"A Parquet file of {str(self.root)!r} cannot be read: {str(error).splitlines()[0]}"
            ) from None
        if "patient_id" in types and "events" in types:
            raise InputError(
                f"{str(self.root)!r} has the layout of MEDS 0.2 (patient_id with nested events). "
                "This kit reads MEDS 0.3 and 0.4: convert it with the 'meds' tools first."
            )
        missing = [name for name in ("subject_id", "time", "code") if name not in types]
        if missing:
            raise InputError(
                f"{str(self.root)!r} is no MEDS data set: column {', '.join(missing)} is missing. "
                f"Expected subject_id, time, code and numeric_value; found {', '.join(sorted(types)[:12])}."
            )
        if types["subject_id"] == "VARCHAR":
            bad = self.query(
                f"SELECT subject_id FROM {source} WHERE try_cast(subject_id AS BIGINT) IS NULL "
                "OR NOT regexp_full_match(subject_id, '\\s*[+-]?[0-9]+\\s*') LIMIT 1"
            ).fetchone()
            if bad:
                raise InputError(
                    "subject_id holds text that is no whole number. MEDS asks for 64-bit integers: "
                    "number the patients and keep the list of numbers."
                )
        zoned = "WITH TIME ZONE" in types["time"] or "TIMESTAMPTZ" in types["time"]
        time = "timezone('UTC', CAST(time AS TIMESTAMPTZ))" if zoned else "CAST(time AS TIMESTAMP)"
        value = "TRY_CAST(numeric_value AS FLOAT)" if "numeric_value" in types else "CAST(NULL AS FLOAT)"
        return (
            f"SELECT CAST(subject_id AS BIGINT) AS patient_id, {time} AS time, CAST(code AS VARCHAR) AS code, "
            f"CASE WHEN isfinite({value}) THEN {value} END AS value, filename, file_row_number FROM {source} "
            "WHERE code IS NOT NULL AND subject_id IS NOT NULL"
        )

    def _splits_query(self) -> str:
        path = self.root / "metadata" / "subject_splits.parquet"
        if not path.exists():
            return "SELECT CAST(NULL AS BIGINT) AS patient_id, CAST(NULL AS VARCHAR) AS split WHERE false"
        columns = self._columns(path)
        if not {"subject_id", "split"} <= columns:
            raise InputError(
                f"metadata/subject_splits.parquet of {str(self.root)!r} must have the columns subject_id and split; "
                f"found {', '.join(sorted(columns))}."
            )
        return (
            "SELECT CAST(subject_id AS BIGINT) AS patient_id, any_value(CAST(split AS VARCHAR)) AS split "
            f"FROM {_parquet(path)} GROUP BY ALL"
        )


def _no_such_split(split: str, splits: dict[str, int]) -> str:
    if not splits:
        return f"There is no split {split!r}: the data set has no metadata/subject_splits.parquet."
    return f"There is no split {split!r}. The data set has {', '.join(splits)}."


def _whole_number(text: str) -> int | None:
    """The number that the text is, if it is one that a 64-bit id can be near to."""
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,30}", text) else None


def _parquet(path: Path) -> str:
    return f"read_parquet({_quoted_literally(str(path))})"


def _quoted_literally(path: str) -> str:
    """A path for DuckDB, in which nothing is a wildcard."""
    return _quoted(re.sub(r"([*?\[])", r"[\1]", path))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
