"""The index of a large MEDS data set: made in one pass, kept in the user's cache folder, so that any patient is found at once.

It holds one row per patient, one per code, and the splits; and where the shards are such that finding one patient means looking
through a good part of them (unsorted, or very many), a copy of the events sorted by patient. All of it is a DuckDB file that
its owner alone can read.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import platformdirs

from ehrmem_widgets.cohort.meds_files import quoted, rows_looked_through
from ehrmem_widgets.errors import Unavailable, said_by
from ehrmem_widgets.terminal import progress_bar, say

INDEX_FROM = 10_000_000
"""Data sets of fewer events are opened without an index, and nothing is written: two cores read them in a second or two."""

MOST_LOOKED_THROUGH = 40_000_000
"""Rows looked through to find one patient (a tenth of a second) beyond which a sorted copy is made."""

AT_ONCE = 8_000_000
"""Events of whole patients that are counted at once: what fits the memory, whatever the codes."""

MEMORY = "400MB"
"""What DuckDB may hold before it spills; Python and pandas take another 100 to 300 MB."""

_VERSION = 1
_MOST_PARTS = 16  # in which a copy is sorted: each part reads all shards once
_SORTING = 4  # an event takes so many times as long to sort as to count
_SECONDS_COUNTED, _SECONDS_COPIED = 0.5e-6, 1.2e-6  # an event, on two cores
_BYTES_COUNTED, _BYTES_COPIED = 3, 25  # of disk an event while the index is made
_ABOUT, _DATABASE = "about.json", "index.duckdb"
IN_WORK = "*@*@*@*"
"""Names of folders in which somebody is at work."""

PATIENTS = """
    SELECT patient_id,
           any_value(split_part(code, '//', 2)) FILTER (code LIKE 'GENDER//%' OR code LIKE 'SEX//%') AS sex,
           min(time) FILTER (code LIKE 'MEDS_BIRTH%') AS birth,
           count(*) FILTER (code NOT LIKE 'MEDS_BIRTH%') AS events,
           min(time) FILTER (code NOT LIKE 'MEDS_BIRTH%') AS first,
           max(time) FILTER (code NOT LIKE 'MEDS_BIRTH%') AS last
    FROM {events} GROUP BY patient_id ORDER BY patient_id"""
"""SQL for one row per patient. ``events`` and the dates leave out the birth."""

CODES = """
    SELECT code, count(*) AS events, count(DISTINCT patient_id) AS patients, count(value) AS values
    FROM {events} GROUP BY code ORDER BY code"""
"""SQL for one row per code."""

_COPY = """
    INSERT INTO making.events SELECT patient_id, time, code, value FROM events WHERE patient_id BETWEEN {low} AND {high}
    ORDER BY patient_id, time NULLS FIRST, filename, file_row_number"""


@dataclass(frozen=True)
class Index:
    """An index that is kept: where, of how many events, whether it holds a sorted copy, and how long it took to make.

    The connection that opened it finds in ``kept`` the tables ``patients``, ``codes``, ``splits`` and, with a copy, ``events``.
    """

    folder: Path
    events: int
    sorted_copy: bool
    seconds: float


def cache_folder() -> Path:
    """Where indexes are kept: the folder that EHRMEM_INDEX names, else one in the user's cache folder."""
    given = os.environ.get("EHRMEM_INDEX")
    return Path(given) if given else platformdirs.user_cache_path("ehrmem") / "meds"


def open_index(connection: duckdb.DuckDBPyConnection, fingerprint: str) -> Index | None:
    """Attach the index of a data set as ``kept``; None when there is none. One that cannot be read is removed, with a word."""
    folder = _folder_of(fingerprint)
    if not folder.is_dir():
        return None
    try:
        about = json.loads((folder / _ABOUT).read_text())
        if (folder / _DATABASE).stat().st_size != about["bytes"]:
            raise ValueError("its size has changed")
        index = Index(folder, about["events"], about["sorted_copy"], about["seconds"])
        connection.execute(f"ATTACH {quoted(str(folder / _DATABASE))} AS kept (READ_ONLY)")
    except (OSError, ValueError, KeyError, TypeError, duckdb.Error) as error:
        reason = said_by(error)
        say(f"The index in {str(folder)!r} is damaged ({reason}) and is made again.", errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return index


def build_index(
    connection: duckdb.DuckDBPyConnection, root: Path, shards: Sequence[Path], fingerprint: str, rows: int
) -> Index:
    """Make the index of a data set whose views ``events`` and ``splits`` the connection has, and attach it as ``kept``.

    Progress goes to standard error. The index appears whole or not at all. Raises Unavailable, saying what is needed, when it
    cannot be written.
    """
    began, place = time.monotonic(), cache_folder()
    copied = rows_looked_through(shards, connection.execute) > MOST_LOOKED_THROUGH
    needed = rows * (_BYTES_COPIED if copied else _BYTES_COUNTED)
    minutes = rows * (_SECONDS_COPIED if copied else _SECONDS_COUNTED) / 60
    try:
        with _private_folder("building") as folder:
            free = shutil.disk_usage(folder).free
            if free < needed:
                raise OSError(f"only {free / 1e9:.1f} GB are free there")
            time_needed = f"about {minutes:.0f} minutes" if minutes >= 1.5 else "about a minute"
            say(
                f"{root.name} has {rows:,} events. It is indexed once, in {str(place)!r} ({time_needed} on two cores). "
                f"{_what_is_kept(copied)}",
                errors=True,
            )
            connection.execute(f"ATTACH {quoted(str(folder / _DATABASE))} AS making")
            try:
                events = _fill(connection, copied)
            finally:
                with suppress(duckdb.Error):  # what went wrong before says more
                    connection.execute("DETACH making")
            about = {
                "root": str(root.resolve()),
                "events": events,
                "sorted_copy": copied,
                "seconds": round(time.monotonic() - began, 1),
                "bytes": (folder / _DATABASE).stat().st_size,
            }
            (folder / _ABOUT).write_text(json.dumps(about))
            try:
                os.rename(folder, _folder_of(fingerprint))
            except OSError:
                if not _folder_of(fingerprint).exists():  # else another process was first, and its index is as good
                    raise
    except (OSError, duckdb.Error) as error:
        raise Unavailable(
            f"{root.name} has {rows:,} events, too many to be read without an index, and none could be made in {str(place)!r}: "
            f"{said_by(error)}. It needs about {needed / 1e9:.1f} GB there. Make room, or name another folder in "
            "EHRMEM_INDEX, one that you alone can read: it will hold data of patients."
        ) from error
    _remove_older(root, fingerprint)
    index = open_index(connection, fingerprint)
    if index is None:
        raise Unavailable(f"The index of {root.name} in {str(place)!r} cannot be read back. Is the disk sound?")
    return index


def remove_index(index: Index) -> None:
    """Remove an index; it is made again when the data set is opened next."""
    shutil.rmtree(index.folder, ignore_errors=True)


def keep_within_memory(connection: duckdb.DuckDBPyConnection) -> Path:
    """Let the connection hold no more than ``MEMORY`` and write the rest to a private folder, which the caller removes."""
    connection.execute(f"SET memory_limit = '{MEMORY}'")
    _remove_leftovers()
    try:
        folder = _new_private_folder("spill")
    except OSError as error:
        raise Unavailable(
            f"Nothing can be written in {str(cache_folder())!r} ({error.strerror}), which a data set of this size needs. Name "
            "another folder in EHRMEM_INDEX, one that you alone can read: it will hold data of patients."
        ) from error
    connection.execute(f"SET temp_directory = {quoted(str(folder))}")
    return folder


def ranges_of(ids: np.ndarray, events: np.ndarray, most: float) -> Iterator[tuple[int, int, int]]:
    """Ranges of patient ids (both ends in it) with at most so many events each, and their events; a patient with more is alone.

    >>> list(ranges_of(np.array([3, 5, 9, 12]), np.array([4, 4, 9, 1]), 8))
    [(3, 5, 8), (9, 9, 9), (12, 12, 1)]
    """
    ends = np.cumsum(events)
    start = 0
    while start < len(ids):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        yield int(ids[start]), int(ids[stop - 1]), int(ends[stop - 1] - before)
        start = stop


def _fill(connection: duckdb.DuckDBPyConnection, copied: bool) -> int:
    """Write the tables, a range of patients at a time; how many events there are."""
    counted = connection.execute(
        "SELECT patient_id, count(*) AS events FROM events GROUP BY patient_id ORDER BY patient_id"
    ).fetchnumpy()
    ids, events = counted["patient_id"], counted["events"]
    total = int(events.sum())
    source = "making.events" if copied else "events"
    connection.execute("CREATE TABLE making.splits AS SELECT * FROM splits ORDER BY patient_id")
    if copied:
        connection.execute("CREATE TABLE making.events (patient_id BIGINT, time TIMESTAMP, code VARCHAR, value FLOAT)")
    tables = {"making.patients": PATIENTS, "making.parts": CODES}
    for table, query in tables.items():
        connection.execute(f"CREATE TABLE {table} AS {query.format(events=f'(FROM {source} LIMIT 0)')}")
    with progress_bar(
        "Indexing",
        total * (1 + _SORTING * copied),
        bar_format="{desc} {percentage:3.0f}%|{bar}| {elapsed} gone, {remaining} left",
    ) as bar:
        if copied:
            for low, high, rows in ranges_of(ids, events, max(AT_ONCE, total / _MOST_PARTS)):
                connection.execute(_COPY.format(low=low, high=high))
                bar.update(_SORTING * rows)
        for low, high, rows in ranges_of(ids, events, AT_ONCE):
            some = f"(FROM {source} WHERE patient_id BETWEEN {low} AND {high})"
            for table, query in tables.items():
                connection.execute(f"INSERT INTO {table} {query.format(events=some)}")
            bar.update(rows)
    connection.execute(
        "CREATE TABLE making.codes AS SELECT code, sum(events)::BIGINT AS events, sum(patients)::BIGINT AS patients, "
        "sum(values)::BIGINT AS values FROM making.parts GROUP BY code ORDER BY code; DROP TABLE making.parts"
    )
    connection.execute("CHECKPOINT making")
    return total


def _what_is_kept(copied: bool) -> str:
    if copied:
        return "A copy of the events, sorted by patient, is kept there, which you alone can read."
    return "One row a patient and one a code are kept there, which you alone can read."


def _folder_of(fingerprint: str) -> Path:
    return cache_folder() / f"{fingerprint}-{_VERSION}"


def _new_private_folder(purpose: str) -> Path:
    """A new folder in the cache that its owner alone can read, named by who is using it."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{purpose}@{socket.gethostname()}@{os.getpid()}@", dir=cache_folder()))


@contextmanager
def _private_folder(purpose: str) -> Iterator[Path]:
    """A private folder that is gone afterwards, unless it was renamed."""
    folder = _new_private_folder(purpose)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers() -> None:
    """Remove what processes of this machine left behind that were killed."""
    if os.name != "posix":  # elsewhere one cannot ask without disturbing
        return
    for folder in cache_folder().glob(IN_WORK):
        if not in_use(folder):
            shutil.rmtree(folder, ignore_errors=True)


def in_use(folder: Path) -> bool:
    """Whether a private folder belongs to a process that runs, here or (which nobody can tell) on another machine."""
    _, host, process, _ = folder.name.split("@")
    return host != socket.gethostname() or _runs(int(process))


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it runs, and is not ours
        return True
    return True


def _remove_older(root: Path, fingerprint: str) -> None:
    """Remove indexes of what the data set was before: they hold data of patients."""
    for path in cache_folder().glob(f"*/{_ABOUT}"):
        try:
            same = json.loads(path.read_text()).get("root") == str(root.resolve())
        except (OSError, ValueError, AttributeError):
            continue
        if same and path.parent != _folder_of(fingerprint):
            shutil.rmtree(path.parent, ignore_errors=True)
