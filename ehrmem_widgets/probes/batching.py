"""Work over many patients: in fixed batches, with the time left, kept as it goes so that an interrupted run is resumed."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.errors import GOES_ON, BadInput, Damaged, Unavailable, said_by
from ehrmem_widgets.files import whole_file
from ehrmem_widgets.findings.finding import Settings, as_json

_SCHEMA = pa.schema([("patient", pa.string()), ("answer", pa.string())])

Answer = dict[str, Any]
"""What was found about a patient: plain data that JSON can hold."""
Rows = list[Answer]
"""What was found about some patients."""


@dataclass(frozen=True)
class Progress:
    """How far the work is: ``done`` of ``total`` patients, and the ``seconds_left`` at the pace so far (None at first)."""

    what: str
    done: int
    total: int
    seconds_left: float | None = None


class Checkpoint:
    """Where answers are kept, in a folder for this user only: one Parquet file a batch of patients, each whole or not there at all.
    A run that was interrupted goes on from it, and several workers can share it.

    ``stripe`` of ``stripes``: which batches this worker asks for (every ``stripes``-th). ``asks_only``: it stops when it has
    asked, and leaves the findings to whoever has all answers.
    """

    def __init__(self, folder: Path, stripe: int = 0, stripes: int = 1, *, asks_only: bool = False) -> None:
        self.folder, self._stripe, self._stripes = folder, stripe, stripes
        self.asks_only = asks_only
        self._used: set[str] = set()

    def has(self, key: str, place: int) -> bool:
        """Whether a batch of the work called ``key`` is there."""
        self._used.add(key)
        return self._path(key, place).exists()

    def get(self, key: str, place: int) -> Rows:
        """A batch. Raises Damaged for a file that something else has spoiled: it is named, so that it can be removed."""
        path = self._path(key, place)
        try:
            table = pq.read_table(path, page_checksum_verification=True)
            return [json.loads(answer) for answer in table["answer"].to_pylist()]
        except (OSError, ValueError, pa.ArrowException, KeyError) as error:
            raise Damaged(
                f"{path} is damaged ({said_by(error)}). Remove it and give the same command again: only this part is asked again."
            ) from None

    def put(self, key: str, place: int, rows: Rows) -> None:
        """Keep a batch: written beside its place, then moved there. Raises Unavailable when it cannot be written."""
        path = self._path(key, place)
        patients, answers = (
            [str(row.get("patient", "")) for row in rows],
            [json.dumps(row, sort_keys=True) for row in rows],
        )
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            with whole_file(path) as file:
                pq.write_table(
                    pa.table({"patient": patients, "answer": answers}, schema=_SCHEMA),
                    file,
                    compression="zstd",
                    write_page_checksum=True,
                )
        except OSError as error:
            raise Unavailable(f"{path} could not be written: {error.strerror or error}. {GOES_ON}") from None

    def mine(self, place: int) -> bool:
        """Whether this worker is to ask for a batch that nobody has."""
        return place % self._stripes == self._stripe

    def open(self) -> None:
        """Make the folder, before anything is asked. Raises Unavailable when it cannot be made, Damaged when there is a file instead."""
        if self.folder.is_file():
            raise Damaged(
                f"{str(self.folder)!r} is a file, not a folder of answers. Remove it and give the same command again."
            )
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"{str(self.folder)!r} could not be made: {error.strerror or error}.") from None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else may use the folder meanwhile; it goes where nothing was kept. Raises BadInput when another run uses it."""
        import filelock

        self.open()
        lock = self.folder / ".lock"
        try:
            with filelock.FileLock(lock, timeout=0, mode=0o600):
                try:
                    yield
                finally:
                    with suppress(OSError):  # Windows removes no open file
                        lock.unlink(missing_ok=True)
        except filelock.Timeout:
            raise BadInput(
                f"Another run keeps its answers in {str(self.folder)!r}. Wait for it, or name another folder."
            ) from None
        finally:
            with suppress(OSError):  # answers are kept
                self.folder.rmdir()

    def remove(self) -> bool:
        """Remove what this run kept; whether another run's answers are left in the folder."""
        for key in self._used:
            shutil.rmtree(self.folder / key, ignore_errors=True)
        left = self.folder.exists() and any(path.is_dir() for path in self.folder.iterdir())
        if not left:
            shutil.rmtree(self.folder, ignore_errors=True)
        return left

    def _path(self, key: str, place: int) -> Path:
        return self.folder / key / f"{place:05d}.parquet"


class BatchesMissingError(Exception):
    """This worker has asked for all that it was to ask for; ``missing`` of the batches are left to others."""

    def __init__(self, what: str, missing: int) -> None:
        super().__init__(f"{missing} batches of {what} are left to others")
        self.missing = missing


OnProgress = Callable[[Progress], None]
"""Is told of progress between batches; what it raises ends the work (what is done is kept)."""


def in_batches(
    ask: Callable[[list[Record]], Rows],
    records: Sequence[Record],
    *,
    what: str,
    settings: Settings,
    checkpoint: Checkpoint | None = None,
    progress: OnProgress | None = None,
    at_once: int = 20,
) -> Rows:
    """The rows of all records, in their order.

    ``ask`` answers a batch of at most ``at_once`` records. The batches depend on the records and ``at_once`` alone, so a run that is
    resumed gives the same numbers as one that was never interrupted. What ``checkpoint`` has of the same ``settings`` and records is not asked
    again. BatchesMissingError is raised where only this worker's share was to be asked for.
    """
    batches = [list(records[start : start + at_once]) for start in range(0, len(records), at_once)]
    key = _key(what, settings, records, at_once)
    if checkpoint:
        checkpoint.open()
    missing = [place for place in range(len(batches)) if not (checkpoint and checkpoint.has(key, place))]
    mine = [place for place in missing if not checkpoint or checkpoint.mine(place)]
    total, began = len(records), time.monotonic()
    others = total - sum(len(batches[place]) for place in mine)
    made: dict[int, Rows] = {}
    for number, place in enumerate(mine):
        if progress:
            asked = sum(len(batches[p]) for p in mine[:number])
            pace = (time.monotonic() - began) / asked if asked else None
            progress(Progress(what, others + asked, total, None if pace is None else pace * (total - others - asked)))
        rows = as_json(ask(batches[place]))
        if checkpoint:
            checkpoint.put(key, place, rows)
        else:
            made[place] = rows
    if checkpoint and (checkpoint.asks_only or len(mine) < len(missing)):
        raise BatchesMissingError(what, len(missing) - len(mine))
    if progress:
        progress(Progress(what, total, total, 0.0))
    return [row for place in range(len(batches)) for row in (checkpoint.get(key, place) if checkpoint else made[place])]


def _key(what: str, settings: Settings, records: Sequence[Record], at_once: int) -> str:
    """The name of a folder: what is done, and a hash of all that the answers depend on."""
    about = json.dumps([what, as_json(settings), [r.pseudonym for r in records], at_once], sort_keys=True)
    return re.sub(r"[^\w-]", "-", f"{what} {hashlib.sha256(about.encode()).hexdigest()[:24]}")
