"""Tiny MEDS data sets on disk, in the shapes in which they are found in the wild."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Row = tuple[int, datetime | None, str, float | None]


def at(text: str) -> datetime:
    """``at("2020-01-01")`` or ``at("2020-01-01 10:30")``."""
    return datetime.fromisoformat(text)


def shard(
    rows: Sequence[Row],
    *,
    ids: pa.DataType | None = None,
    times: pa.DataType | None = None,
    codes: pa.DataType | None = None,
    values: pa.DataType | None = None,
) -> pa.Table:
    """Rows as a table of the MEDS schema 0.4, unless another type is given for a column."""
    given_ids: Iterable[Any] = (row[0] for row in rows)
    if ids is not None and (pa.types.is_string(ids) or pa.types.is_large_string(ids)):
        given_ids = map(str, given_ids)
    code = pa.array([row[2] for row in rows], pa.string())
    time = pa.array([row[1] for row in rows], pa.timestamp("us"))
    zone = getattr(times, "tz", None)
    if zone:  # the rows' times are UTC
        time = time.cast(pa.timestamp("us", "UTC"))
    return pa.table(
        {
            "subject_id": pa.array(list(given_ids), ids or pa.int64()),
            "time": time.cast(times or pa.timestamp("us")),
            "code": code.cast(codes) if codes is not None else code,
            "numeric_value": pa.array([row[3] for row in rows], values or pa.float32()),
        }
    )


def write(
    folder: Path,
    shards: Mapping[str, pa.Table | Sequence[Row]],
    *,
    splits: Mapping[int, str] | None = None,
    descriptions: Mapping[str, str] | None = None,
    information: Mapping[str, Any] | None = None,
) -> Path:
    """Write a data set; ``shards`` are by path below ``data``. Metadata that is not given is missing."""
    for name, rows in shards.items():
        path = folder / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows if isinstance(rows, pa.Table) else shard(rows), path)
    metadata = folder / "metadata"
    metadata.mkdir(exist_ok=True)
    if splits is not None:
        table = pa.table({"subject_id": pa.array(list(splits), pa.int64()), "split": list(splits.values())})
        pq.write_table(table, metadata / "subject_splits.parquet")
    if descriptions is not None:
        texts = pa.array(list(descriptions.values()), pa.string())
        table = pa.table({"code": pa.array(list(descriptions), pa.string()), "description": texts})
        pq.write_table(table, metadata / "codes.parquet")
    if information is not None:
        (metadata / "dataset.json").write_text(json.dumps(information))
    return folder
