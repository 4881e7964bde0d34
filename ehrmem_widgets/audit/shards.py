"""Where an audit keeps its answers: a Parquet file a portion of patients, each whole or not there at all."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ehrmem_widgets.errors import GOES_ON, Damaged, Unavailable
from ehrmem_widgets.files import whole_file
from ehrmem_widgets.probes.over_patients import Rows

_SCHEMA = pa.schema([("patient", pa.string()), ("answer", pa.string())])


class Shards:
    """The ``Portions`` of ``over_patients`` in a folder.

    ``stripe`` of ``stripes``: which portions this worker asks for (every ``stripes``-th). ``asks_only``: it stops when it has
    asked, and leaves the findings to whoever has all answers.
    """

    def __init__(self, folder: Path, stripe: int = 0, stripes: int = 1, *, asks_only: bool = False) -> None:
        self.folder, self._stripe, self._stripes = folder, stripe, stripes
        self.asks_only = asks_only

    def has(self, key: str, place: int) -> bool:
        """Whether a portion is there."""
        return self._path(key, place).exists()

    def get(self, key: str, place: int) -> Rows:
        """A portion. Raises Damaged for a file that something else has spoiled: it is named, so that it can be removed."""
        path = self._path(key, place)
        try:
            return [
                json.loads(answer)
                for answer in pq.read_table(path, page_checksum_verification=True)["answer"].to_pylist()
            ]
        except (OSError, ValueError, pa.ArrowException, KeyError) as error:
            raise Damaged(
                f"{path} is damaged ({str(error).splitlines()[0]}). Remove it and give the same command again: only this part is asked again."
            ) from None

    def put(self, key: str, place: int, rows: Rows) -> None:
        """Keep a portion: written beside its place, then moved there. Raises Unavailable when it cannot be written."""
        path = self._path(key, place)
        table = pa.table(
            {
                "patient": [str(row.get("patient", "")) for row in rows],
                "answer": [json.dumps(row, sort_keys=True) for row in rows],
            },
            schema=_SCHEMA,
        )
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with whole_file(path) as file:
                pq.write_table(table, file, compression="zstd", write_page_checksum=True)
        except OSError as error:
            raise Unavailable(f"{path} could not be written: {error.strerror or error}. {GOES_ON}") from None

    def mine(self, place: int, portions: int) -> bool:
        """Every ``stripes``-th portion."""
        return place % self._stripes == self._stripe

    def done(self) -> int:
        """How many portions are there."""
        return sum(1 for _ in self.folder.glob("*/*.parquet"))

    def _path(self, key: str, place: int) -> Path:
        return self.folder / key / f"{place:05d}.parquet"
