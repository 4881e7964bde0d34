"""A MEDS data set of hospital size, 10^8 events of a million patients: one indexing pass, then any patient at once.

``python -m tests.benchmarks.hospital`` measures it alone; with a number it makes so many events instead.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.lines import Lines, peak_gb

EVENTS = 100_000_000
LOADED = 300
_NEEDED = 60  # bytes of disk an event: the data, their index, and what sorting spills


def main(lines: Lines, events: int = EVENTS) -> None:
    """Lines for shards half of which are unsorted (a sorted copy is made), and for sorted ones (read where they lie)."""
    with tempfile.TemporaryDirectory() as place:
        if shutil.disk_usage(place).free < events * _NEEDED:
            print(f"less than {events * _NEEDED / 1e9:.0f} GB are free: no hospital was made", file=sys.stderr)
            return
        for name in ("mixed", "sorted"):
            folder = Path(place) / name
            make_hospital(folder, events, shuffled=name == "mixed")
            _measure(lines, f"meds_{events:.0e}_{name}".replace("e+0", "e"), folder, Path(place) / "index")
            shutil.rmtree(folder)
            shutil.rmtree(Path(place) / "index")


def make_hospital(folder: Path, events: int, *, shuffled: bool, per_patient: int = 100) -> None:
    """About so many events of ``events / per_patient`` patients in shards of 5 million, always the same ones.

    A patient has 67 events in the median (of 100 in the mean), a few have 150,000; 5,000 codes, of which some are everywhere and most are rare. Each
    shard holds patients from the whole range of ids. With ``shuffled`` the rows of every other shard go by time, not by patient.
    """
    import duckdb

    (folder / "data").mkdir(parents=True)
    (folder / "metadata").mkdir()
    run = duckdb.connect().execute
    run("SET threads = 2; SET memory_limit = '1GB'")
    run(f"SET temp_directory = '{folder / 'spill'}'")
    run("""
        CREATE MACRO uniform(key, salt) AS (hash(key, salt) >> 11) / 9007199254740992.0;
        CREATE TABLE codes AS SELECT i AS number, i % 5 < 2 AS lab, CASE
            WHEN i % 5 < 2 THEN 'LAB//' || (50000 + i) || '//mg/dL' WHEN i % 5 = 2 THEN 'MEDICATION//START//Drug ' || i
            WHEN i % 5 = 3 THEN 'DIAGNOSIS//ICD//10//' || chr(65 + (i % 26)::INTEGER) || (10 + i % 89) || (i % 10)
            ELSE 'PROCEDURE//ICD//10//0' || i END AS code FROM range(5000) numbers(i)
    """)
    shards = max(4, events // 5_000_000)
    run(f"""
        CREATE TABLE people AS SELECT 10000000 + 7 * i AS id, hash(i, 3) % {shards} AS shard, uniform(i, 2) AS start,
            CASE WHEN i % 200000 = 7 THEN 150000 ELSE greatest(1, {0.53 * per_patient} * pow(uniform(i, 1), -0.5) - 8)::INTEGER END AS n
        FROM range({events // per_patient}) numbers(i)
    """)
    for shard in range(shards):
        order = "time" if shuffled and shard % 2 else "subject_id, time NULLS FIRST"
        run(f"""
            COPY (
                WITH these AS (FROM people WHERE shard = {shard}),
                event AS (SELECT id, start, n, unnest(range(n)) AS k FROM these),
                drawn AS (SELECT *, floor(5000 * pow(uniform(id, k + 0.1), 3))::INTEGER AS number FROM event)
                SELECT id AS subject_id, TIMESTAMP '2010-01-01' + to_seconds((start * 2.5e8)::BIGINT)
                           + to_seconds((uniform(id, k + 0.2) * 2592000 * sqrt(n))::BIGINT) AS time, code,
                       CASE WHEN lab THEN round(50 + number % 50 + 20 * uniform(id, k + 0.3), 1)::FLOAT END AS numeric_value
                FROM drawn JOIN codes USING (number)
                UNION ALL SELECT id, NULL, CASE WHEN id % 2 = 0 THEN 'GENDER//F' ELSE 'GENDER//M' END, NULL FROM these
                UNION ALL SELECT id, TIMESTAMP '1930-01-01' + to_days((start * 29000)::INTEGER), 'MEDS_BIRTH', NULL FROM these
                ORDER BY {order}
            ) TO '{folder / "data" / f"{shard}.parquet"}'
            (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 1048576, WRITE_BLOOM_FILTER false)
        """)  # row groups and no filters, as pyarrow writes them
    splits = "CASE WHEN start < 0.7 THEN 'train' WHEN start < 0.8 THEN 'tuning' ELSE 'held_out' END AS split"
    run(f"COPY (SELECT id AS subject_id, {splits} FROM people) TO '{folder / 'metadata' / 'subject_splits.parquet'}'")


def _measure(lines: Lines, name: str, folder: Path, index: Path) -> None:
    """Index in one process, open again in another, from a cold disk."""
    environment = {**os.environ, "EHRMEM_INDEX": str(index), "EHRMEM_PSEUDONYM_KEY": str(folder / "key")}
    found = []
    for _ in range(2):
        for path in (*folder.glob("**/*.parquet"), *index.glob("*/*")):
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        command = [sys.executable, "-m", "tests.benchmarks.hospital", "open", str(folder)]
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        found.append(json.loads(done.stdout))
    first, again = found
    loads, searches = sorted(again["loads"]), sorted(again["searches"])
    n, span = len(loads), f"{loads[0]:.3g} to {loads[-1]:.3g}"
    lines.add(f"{name}_indexing_seconds", first["open"], "", 1, "<= 600")
    lines.add(f"{name}_indexing_peak_gb", first["peak_open"], "", 1, "<= 1")
    lines.add(f"{name}_open_seconds", again["open"], "", 1, "<= 3")
    lines.add(f"{name}_patient_ms_p50", statistics.median(loads), span, n, "<= 150")
    lines.add(f"{name}_patient_ms_p95", loads[int(0.95 * n)], span, n, "<= 150")
    lines.add(f"{name}_longest_record_ms", again["longest"], "", 1, "<= 1000")
    lines.add(f"{name}_first_search_seconds", again["first_search"], "", 1, "<= 3")
    lines.add(f"{name}_search_ms_p95", searches[int(0.95 * len(searches))], "", len(searches), "<= 150")
    lines.add(f"{name}_page_of_200_ms", again["page"], "", 1, "<= 1000")
    lines.add(f"{name}_checks_seconds", again["checks"], "", 1, "<= 60")
    lines.add(f"{name}_peak_gb", again["peak"], "", 1, "<= 1")


def _open(folder: Path) -> dict[str, object]:
    """What a person waits for, in milliseconds unless said otherwise, and the memory it took."""

    def since(began: float) -> float:
        return 1000 * (time.perf_counter() - began)

    began = time.perf_counter()
    import numpy as np

    from ehrmem_widgets.cohort.data_checks import check_data
    from ehrmem_widgets.cohort.dataset import MedsDataset

    dataset = MedsDataset(folder)
    ids, _ = dataset.ids(), dataset.splits
    found: dict[str, object] = {"open": since(began) / 1000, "peak_open": peak_gb()}
    rng = np.random.default_rng(0)
    loads, searches = [], []
    for patient in rng.choice(ids, LOADED, replace=False):
        began = time.perf_counter()
        assert dataset.record(int(patient)).events
        loads.append(since(began))
    for number, patient in enumerate(rng.choice(ids, LOADED, replace=False)):
        name = dataset.pseudonym(int(patient))
        began = time.perf_counter()
        dataset.ids_of(name)
        if number:
            searches.append(since(began))
        else:
            found["first_search"] = since(began) / 1000
    began = time.perf_counter()
    dataset.patients_of(ids[:200])
    found["page"] = since(began)
    began = time.perf_counter()
    longest = dataset.record(10_000_000 + 7 * 7)
    found["longest"] = since(began) if len(longest.events) > 100_000 else float("nan")
    began = time.perf_counter()
    check_data(dataset)
    found["checks"] = since(began) / 1000
    return {**found, "loads": loads, "searches": searches, "peak": peak_gb()}


if __name__ == "__main__":
    if sys.argv[1:2] == ["open"]:
        print(json.dumps(_open(Path(sys.argv[2]))))
    else:
        lines_ = Lines()
        main(lines_, *(int(float(number)) for number in sys.argv[1:]))
        lines_.finish()
