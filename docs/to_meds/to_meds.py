"""Turn a hospital's tables into a MEDS data set: ``python to_meds.py SOURCE RAW OUT [--members FILE]``.

SOURCE is an SQL file beside this one (mimic_iv, omop, fhir, eicu, cehrbert) or a path to your own. Every CSV and Parquet
file under RAW is a table of its name for it (``hosp/patients.csv.gz`` is ``patients``), JSON files are ``json_files``. The SQL fills
``events(subject, time, code, numeric_value)``, and may fill ``labels(code, description)`` and ``people(subject, person)``. Nothing but
DuckDB is needed, and nothing is fetched.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from collections import defaultdict
from pathlib import Path

import duckdb

HERE = Path(__file__).parent
IDS = "subject_ids.csv"
TABLES = """
CREATE TABLE events (subject VARCHAR, time TIMESTAMP, code VARCHAR, numeric_value FLOAT);
CREATE TABLE labels (code VARCHAR, description VARCHAR);
CREATE TABLE people (subject VARCHAR, person VARCHAR);
CREATE TABLE members (subject VARCHAR);
"""
OWN = {"events", "labels", "people", "members"}
SUBJECTS = """
CREATE TABLE subjects AS
SELECT subject, coalesce(any_value(person), subject) AS person, subject IN (FROM members) AS member,
    coalesce(try_cast(subject AS BIGINT), 0) AS own_number
FROM (SELECT DISTINCT subject FROM events WHERE subject IS NOT NULL) LEFT JOIN people USING (subject) GROUP BY subject;
"""
NUMBERS = """
SELECT *, CASE WHEN (SELECT bool_and(CAST(own_number AS VARCHAR) = subject) FROM subjects) THEN own_number
    ELSE row_number() OVER (ORDER BY md5(subject)) END AS subject_id FROM subjects
"""
BY_LIST = """CASE WHEN member THEN 'train' WHEN NOT bool_or(member) OVER (PARTITION BY person) THEN 'held_out' END"""
AT_RANDOM = """CASE WHEN draw < 0.8 THEN 'train' WHEN draw < 0.9 THEN 'tuning' ELSE 'held_out' END"""


class BadInput(Exception):
    """The user's files or arguments are not what is needed; the sentence says what is."""


def main() -> int:
    """Read the command line, convert, and print one line per table of what came out."""
    parser = argparse.ArgumentParser(prog="to_meds.py", description="Turn a hospital's tables into a MEDS data set.")
    parser.add_argument("source", help="mimic_iv, omop, fhir, eicu or cehrbert, or your own .sql file")
    parser.add_argument("raw", type=Path, help="folder with the CSV, Parquet or JSON files")
    parser.add_argument("out", type=Path, help="new folder for the MEDS data set")
    parser.add_argument("--members", type=Path, help="text file: who the model was trained on, one id a line")
    parser.add_argument("--seed", type=int, default=0, help="without --members: draws the splits, 80/10/10 (0)")
    given = parser.parse_args()
    try:
        convert(given.source, given.raw, given.out, given.members, given.seed)
    except (BadInput, duckdb.Error, OSError) as error:
        print(f"to_meds.py: {str(error).splitlines()[0]}", file=sys.stderr)
        return 2
    return 0


def convert(source: str, raw: Path, out: Path, members: Path | None = None, seed: int = 0) -> None:
    """Write ``out`` as a MEDS data set; ``out`` must not exist. Raises BadInput."""
    path = Path(source) if source.endswith(".sql") else HERE / f"{source}.sql"
    if not path.is_file():
        raise BadInput(f"there is no {path}. Known: {', '.join(sorted(one.stem for one in HERE.glob('*.sql')))}.")
    if not raw.is_dir():
        raise BadInput(f"there is no folder {raw}.")
    if out.exists():
        raise BadInput(f"{out} exists already. Name a new folder.")
    work = out.with_name(f"{out.name}.part")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, mode=0o700)
    try:
        with duckdb.connect(str(work / "work.duckdb")) as tables:
            tables.execute("SET autoinstall_known_extensions = false; SET preserve_insertion_order = true;")
            _read(tables, path.read_text(encoding="utf-8"), path.stem, raw)
            _split(tables, members, seed)
            _write(tables, work, path.stem)
        (work / "work.duckdb").unlink()
        if (work / IDS).exists():
            os.replace(work / IDS, out.with_name(f"{out.name}_{IDS}"))
            print(f"{out.name}_{IDS}: your ids and their numbers. It names people: keep it apart from the data.")
        work.rename(out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _read(tables: duckdb.DuckDBPyConnection, sql: str, name: str, raw: Path) -> None:
    """Fill ``events``. A statement whose file is missing is left out, and said; what the SQL needs must be there."""
    tables.execute(TABLES)
    found = _files(raw)
    needs = [one for line in re.findall(r"^-- needs: (.*)$", sql, re.MULTILINE) for one in line.split(", ")]
    if missing := [one for one in needs if one not in found]:
        raise BadInput(f"no file {missing[0]}.csv, .csv.gz or .parquet under {raw}. {name} needs: {', '.join(needs)}.")
    for table in found.keys() & set(re.findall(r"\w+", sql.lower())) - OWN:
        tables.execute(f"CREATE VIEW {table} AS FROM {_reader(table, found[table])}")
    absent: set[str] = set()
    for statement in tables.extract_statements(sql):
        try:
            tables.execute(statement)
        except duckdb.CatalogException as error:
            missing_table = re.search(r"Table with name (\w+) does not exist", str(error))
            if missing_table is None:
                raise
            absent.add(missing_table[1])
    for name in sorted(absent):
        print(f"left out: no file {name}")
    if not _number(tables, "SELECT count(*) FROM events WHERE subject IS NOT NULL AND code IS NOT NULL"):
        raise BadInput(f"no event was found under {raw}.")


def _files(raw: Path) -> dict[str, list[Path]]:
    """The files of each table. Spark writes a table as a folder of files part-...: then the folder has the name."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(raw.rglob("*")):
        kind = re.search(r"\.(csv|csv\.gz|parquet|json|ndjson|json\.gz|ndjson\.gz)$", path.name)
        if kind and path.is_file():
            stem = path.parent.name if path.name.startswith("part-") else path.name
            found["json_files" if "json" in kind[1] else stem.split(".")[0].lower()].append(path)
    for table, paths in found.items():
        names = {re.sub(r"(\.csv|\.parquet)?(\.gz)?$", "", path.name) for path in paths}
        if table != "json_files" and len(names) < len(paths):
            raise BadInput(
                f"{table} is there twice ({paths[0]}, {paths[1]}): every row would count double. Remove one."
            )
    return found


def _reader(table: str, paths: list[Path]) -> str:
    """DuckDB's function for the files; CSV is read as text, so that nothing is guessed."""
    files = "[" + ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths) + "]"
    if table == "json_files":
        return f"read_json_objects({files}, format = 'auto', maximum_object_size = {2**30})"
    if paths[0].suffix == ".parquet":
        return f"read_parquet({files}, union_by_name = true)"
    return f"read_csv({files}, all_varchar = true, header = true, union_by_name = true)"


def _split(tables: duckdb.DuckDBPyConnection, members: Path | None, seed: int) -> None:
    """Number the subjects (whole numbers stay as they are) and say in which split each is."""
    if members is not None:
        ids = sorted({line.strip() for line in members.read_text(encoding="utf-8").splitlines() if line.strip()})
        tables.execute("INSERT INTO members SELECT unnest(CAST(? AS VARCHAR[]))", [ids])
        unknown = _number(tables, "SELECT count(*) FROM members WHERE subject NOT IN (SELECT subject FROM events)")
        if unknown or not ids:
            raise BadInput(
                f"{unknown} of {len(ids)} ids in {members} have no event. It must list ids as the tables have them."
            )
    tables.execute(SUBJECTS)
    # People are drawn, not subjects: two subjects who are one person are never on both sides.
    draw = (
        f"(dense_rank() OVER (ORDER BY md5('{seed}/' || person)) - 1) / (SELECT count(DISTINCT person) FROM subjects)"
    )
    split = AT_RANDOM if members is None else BY_LIST
    tables.execute(
        f"CREATE TABLE numbered AS SELECT *, {split} AS split FROM (SELECT *, {draw} AS draw FROM ({NUMBERS}))"
    )
    # Of a person in training, what the model did not see: neither a member nor a control.
    between = _number(tables, "SELECT count(*) FROM numbered WHERE split IS NULL")
    tables.execute("DELETE FROM events WHERE subject IN (SELECT subject FROM numbered WHERE split IS NULL)")
    tables.execute("DELETE FROM numbered WHERE split IS NULL")
    if between:
        print(f"left out, as other stays of people in training: {between}")


def _write(tables: duckdb.DuckDBPyConnection, out: Path, name: str) -> None:
    """The files of MEDS 0.4, and the list of ids where the subjects were numbered."""
    for split, people in tables.execute(
        "SELECT split, count(*) FROM numbered GROUP BY split ORDER BY split"
    ).fetchall():
        (out / "data" / split).mkdir(parents=True)
        _copy(
            tables,
            "SELECT subject_id, time, code, numeric_value FROM events JOIN numbered USING (subject) "
            f"WHERE code IS NOT NULL AND split = '{split}' ORDER BY subject_id, time NULLS FIRST, events.rowid",
            out / "data" / split / "0.parquet",
        )
        print(f"{split}: {people} people")
    metadata = out / "metadata"
    metadata.mkdir()
    _copy(tables, "SELECT subject_id, split FROM numbered ORDER BY subject_id", metadata / "subject_splits.parquet")
    _copy(
        tables,
        "SELECT code, min(description) AS description, CAST(NULL AS VARCHAR[]) AS parent_codes "
        "FROM events LEFT JOIN labels USING (code) WHERE code IS NOT NULL GROUP BY code ORDER BY code",
        metadata / "codes.parquet",
    )
    about = {"dataset_name": name, "etl_name": "ehrmem docs/to_meds", "meds_version": "0.4.0"}
    (metadata / "dataset.json").write_text(json.dumps(about), encoding="utf-8")
    if _number(tables, "SELECT count(*) FROM numbered WHERE CAST(subject_id AS VARCHAR) != subject"):
        _copy(tables, "SELECT subject, subject_id FROM numbered ORDER BY subject_id", out / IDS, "csv")
        os.chmod(out / IDS, 0o600)
    events = _number(tables, "SELECT count(*) FROM events WHERE subject IS NOT NULL AND code IS NOT NULL")
    print(f"{events} events, {_number(tables, 'SELECT count(DISTINCT code) FROM events')} codes")


def _copy(tables: duckdb.DuckDBPyConnection, query: str, path: Path, kind: str = "parquet") -> None:
    tables.execute(f"COPY ({query}) TO '{str(path).replace(chr(39), chr(39) * 2)}' (FORMAT {kind})")


def _number(tables: duckdb.DuckDBPyConnection, query: str) -> int:
    row = tables.execute(query).fetchone()
    return int(row[0]) if row else 0


if __name__ == "__main__":
    sys.exit(main())
