"""The Parquet files of a MEDS data set: which they are, whether they can be read as one, and the SQL that reads them alike."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import duckdb
import numpy as np

from ehrmem_widgets.cohort.fingerprints import digests
from ehrmem_widgets.errors import BadInput, Unavailable, said_by
from ehrmem_widgets.files import opened
from ehrmem_widgets.terminal import one_line

Query = Callable[[str], duckdb.DuckDBPyConnection]
"""Runs SQL and gives its cursor."""

EVERY_FILE = 500_000
"""To open one more file takes as long as to look through so many rows."""

_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")


def shards_of(root: Path) -> list[Path]:
    """The files of events, sorted by path. Raises BadInput when there are none."""
    if not root.is_dir():
        raise BadInput(f"There is no folder {str(root)!r}. Give the folder of a MEDS data set.")
    files = sorted(str(path) for path in (root / "data").glob("**/*.parquet") if path.is_file())
    if not files:
        raise BadInput(
            f"{str(root)!r} is not a MEDS data set: no Parquet file under its folder 'data'. "
            "A MEDS data set holds data/**/*.parquet with the columns subject_id, time, code and numeric_value."
        )
    return [Path(file) for file in files]


def digests_of(root: Path) -> dict[str, str]:
    """The SHA-256 of every Parquet file of the data set, by its path in it. Raises BadInput for one that may not be read, Unavailable for
    one that cannot be."""
    try:
        return digests(root, [path for path in sorted(root.glob("**/*.parquet")) if path.is_file()])
    except OSError as error:
        kind = BadInput if isinstance(error, PermissionError) else Unavailable
        raise kind(f"A file of {str(root)!r} cannot be read: {error.strerror or error}.") from None


def refuse_copies(root: Path, shards: Sequence[Path], known: Mapping[str, str], query: Query) -> None:
    """Raise BadInput when two shards are the same file twice: every event in them would count double, and no figure of an
    audit would be right. Shards without rows may be alike. ``known``: their ``digests_of``."""
    for group in _grouped(shards, lambda path: known[path.relative_to(root).as_posix()]):
        first, second, *_ = (path.relative_to(root).as_posix() for path in group)
        if rows_in(list(group)[:1], query):
            raise BadInput(
                f"{first} and {second} of {str(root)!r} are the same file twice, so each of their events would count double. "
                "Remove one of them."
            )


def events_query(root: Path, shards: Sequence[Path], query: Query) -> str:
    """SQL for all events: patient_id, time, code, value, and filename and file_row_number, which keep the order of the rows.

    Types that differ from the schema but mean the same are aligned. Raises BadInput for what is not MEDS.
    """
    source = (
        f"read_parquet({_listed(shards)}, "
        "union_by_name = true, filename = true, file_row_number = true, hive_partitioning = false)"
    )
    try:
        types = dict(row[:2] for row in query(f"DESCRIBE SELECT * FROM {source}").fetchall())
    except duckdb.Error as error:
        raise BadInput(f"A Parquet file of {str(root)!r} cannot be read: {said_by(error)}") from None
    if "patient_id" in types and "events" in types:
        raise BadInput(
            f"{str(root)!r} has the layout of MEDS 0.2 (patient_id with nested events). "
            "This kit reads MEDS 0.3 and 0.4: convert it with the 'meds' tools first."
        )
    missing = [name for name in ("subject_id", "time", "code") if name not in types]
    if missing:
        raise BadInput(
            f"{str(root)!r} is not a MEDS data set: column {', '.join(missing)} is missing. "
            f"Expected subject_id, time, code and numeric_value; found {', '.join(sorted(types)[:12])}."
        )
    _refuse_other_ids(types["subject_id"], source, query)
    _refuse_other_times(types["time"], source, query)
    zoned = "WITH TIME ZONE" in types["time"] or "TIMESTAMPTZ" in types["time"]
    time = "timezone('UTC', CAST(time AS TIMESTAMPTZ))" if zoned else "CAST(time AS TIMESTAMP)"
    value = "TRY_CAST(numeric_value AS FLOAT)" if "numeric_value" in types else "CAST(NULL AS FLOAT)"
    return (
        f"SELECT CAST(subject_id AS BIGINT) AS patient_id, {time} AS time, CAST(code AS VARCHAR) AS code, "
        f"CASE WHEN isfinite({value}) THEN {value} END AS value, filename, file_row_number FROM {source} "
        "WHERE code IS NOT NULL AND subject_id IS NOT NULL"
    )


def odd_cells_query(shards: Sequence[Path], query: Query) -> str:
    """SQL for how many rows have no patient, no code, a code without a letter or digit, and a value that is no number."""
    source = f"read_parquet({_listed(shards)}, union_by_name = true, hive_partitioning = false)"
    value = (
        "numeric_value"
        if "numeric_value" in {row[0] for row in query(f"DESCRIBE SELECT * FROM {source}").fetchall()}
        else "NULL"
    )
    return (
        "SELECT count(*) FILTER (subject_id IS NULL), count(*) FILTER (code IS NULL), "
        "count(*) FILTER (NOT regexp_matches(CAST(code AS VARCHAR), '[\\pL\\pN]')), "
        f"count(*) FILTER ({value} IS NOT NULL AND NOT coalesce(isfinite(TRY_CAST({value} AS DOUBLE)), false)) FROM {source}"
    )


def splits_query(root: Path, query: Query, member_split: str) -> str:
    """SQL for the splits, one row per patient: patient_id, split. Without metadata/subject_splits.parquet it gives no rows.

    A patient in several splits counts as a member where one of them is ``member_split``: the model saw the record.
    """
    path = root / "metadata" / "subject_splits.parquet"
    if not path.exists():
        return "SELECT CAST(NULL AS BIGINT) AS patient_id, CAST(NULL AS VARCHAR) AS split WHERE false"
    types = columns_of(path, query)
    if not {"subject_id", "split"} <= set(types):
        raise BadInput(
            f"metadata/subject_splits.parquet of {str(root)!r} must have the columns subject_id and split; "
            f"found {', '.join(sorted(types))}."
        )
    _refuse_other_ids(types["subject_id"], parquet(path), query)
    member = quoted(member_split)
    return (
        f"SELECT patient_id, CASE WHEN bool_or(split = {member}) THEN {member} ELSE min(split) END AS split "
        f"FROM (SELECT CAST(subject_id AS BIGINT) AS patient_id, CAST(split AS VARCHAR) AS split FROM {parquet(path)}) "
        "WHERE patient_id IS NOT NULL AND split IS NOT NULL GROUP BY patient_id"
    )


def columns_of(path: Path, query: Query) -> dict[str, str]:
    """The columns of one file of metadata, with their types. Raises BadInput when it cannot be read."""
    opened(path, f"metadata/{path.name} of {str(path.parents[1])!r}").close()
    try:
        return dict(row[:2] for row in query(f"DESCRIBE SELECT * FROM {parquet(path)}").fetchall())
    except duckdb.Error as error:
        raise BadInput(f"metadata/{path.name} of {str(path.parents[1])!r} cannot be read: {said_by(error)}") from None


def rows_in(shards: Sequence[Path], query: Query) -> int:
    """How many rows the shards say they have, nulls counted."""
    row = query(f"SELECT sum(num_rows) FROM parquet_file_metadata({_listed(shards)})").fetchone()
    return int(row[0] or 0) if row else 0


def rows_looked_through(shards: Sequence[Path], query: Query) -> int:
    """How many rows must be looked through, at worst, to find one patient: those of all row groups whose range of ids holds
    the patient, and ``EVERY_FILE`` for each file that must be opened."""
    rows = query(
        f"""
        SELECT row_group_num_rows, stats_min_value, stats_max_value, file_name IN (
            SELECT file_name FROM parquet_schema({_listed(shards)})
            WHERE name = 'subject_id' AND type = 'INT64' AND coalesce(converted_type, 'INT_64') = 'INT_64')
        FROM parquet_metadata({_listed(shards)}) WHERE path_in_schema = 'subject_id'
        """
    ).fetchall()
    ends = np.iinfo(np.int64)  # where nothing is known of a row group, anybody may be in it
    known = [(int(low), int(high)) if plain and low and high else (ends.min, ends.max) for _, low, high, plain in rows]
    here = np.array([n for n, *_ in rows], dtype=np.int64)
    lows, highs = np.array(known, dtype=np.int64).reshape(-1, 2).T
    # Sweep over the ids: a row group comes in at its lowest id and goes out after its highest.
    order = np.lexsort((np.repeat([0, 1], len(rows)), np.concatenate([lows, highs])))
    most = int(np.cumsum(np.concatenate([here, -here])[order]).max(initial=0))
    return most + EVERY_FILE * len(shards)


_OF_A_FILE = (
    duckdb.DataError,
    duckdb.OperationalError,
    duckdb.NotSupportedError,
    duckdb.InternalError,
    duckdb.InvalidInputException,
)


def said_of(name: str, error: duckdb.Error) -> Exception:
    """What DuckDB found wrong with the files of a data set, in words; its own error where the question was wrong, which is ours."""
    words = one_line(str(error).partition("\n")[0])[:300]
    if isinstance(error, duckdb.OutOfMemoryException):
        return Unavailable(f"{name} needs more memory than there is: {words}.")
    if isinstance(error, duckdb.IOException):
        return Unavailable(
            f"A file of {name} can no longer be read: {words}. Were the data changed or moved in the meantime? Then start again."
        )
    if type(error) is duckdb.Error or isinstance(error, _OF_A_FILE):  # the plain one: what Parquet's own reader found
        return BadInput(f"A file of {name} cannot be read: {words}. Write it anew, as the MEDS schema says.")
    return error


def parquet(path: Path) -> str:
    """SQL for the rows of one file."""
    return f"read_parquet({quoted_literally(path)})"


def quoted_literally(path: Path) -> str:
    """A path for DuckDB, in which nothing is a wildcard."""
    return quoted(re.sub(r"([*?\[])", r"[\1]", str(path)))


def quoted(text: str) -> str:
    """A text for SQL."""
    return "'" + text.replace("'", "''") + "'"


def _listed(shards: Sequence[Path]) -> str:
    return f"[{', '.join(map(quoted_literally, shards))}]"


def _refuse_other_ids(kind: str, source: str, query: Query) -> None:
    """Raise BadInput for ids that are no 64-bit integers; never with the id."""
    if kind in _WHOLE:
        return
    if kind == "VARCHAR":
        wrong, what = "NOT regexp_full_match(subject_id, '\\s*[+-]?[0-9]+\\s*')", "text that is no whole number"
    else:
        wrong, what = "try_cast(subject_id AS BIGINT) != subject_id", f"numbers that are no 64-bit integers ({kind})"
    found = query(
        f"SELECT 1 FROM {source} WHERE subject_id IS NOT NULL AND (try_cast(subject_id AS BIGINT) IS NULL OR {wrong}) LIMIT 1"
    )
    if found.fetchone():
        raise BadInput(
            f"subject_id holds {what}. MEDS asks for 64-bit integers: number the patients and keep the list of numbers."
        )


def _refuse_other_times(kind: str, source: str, query: Query) -> None:
    """Raise BadInput for a column of times that are none."""
    if kind.startswith(("TIMESTAMP", "DATE")):
        return
    wrong = "SELECT 1"
    if kind == "VARCHAR":
        wrong = f"SELECT 1 FROM {source} WHERE time IS NOT NULL AND try_cast(time AS TIMESTAMP) IS NULL LIMIT 1"
    if query(wrong).fetchone():
        raise BadInput(
            f"The column time holds something else than dates (its type is {kind}). MEDS asks for timestamps, null for static facts."
        )


def _grouped(paths: Iterable[Path], key: Callable[[Path], object]) -> list[list[Path]]:
    """The paths that are alike in something, in groups of two and more."""
    groups: dict[object, list[Path]] = defaultdict(list)
    for path in paths:
        groups[key(path)].append(path)
    return [group for group in groups.values() if len(group) > 1]
