"""Work over many patients: in fixed portions, with the time left, kept as it goes so that an interrupted run is resumed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.errors import BadInput, Damaged, Unavailable
from ehrmem_widgets.findings.finding import as_json

Rows = list[dict[str, Any]]
"""What was found about some patients: plain data that JSON can hold."""


@dataclass(frozen=True)
class Progress:
    """How far the work is: ``done`` of ``total`` patients, and the ``seconds_left`` at the pace so far (None at first)."""

    what: str
    done: int
    total: int
    seconds_left: float | None = None


class Portions(Protocol):
    """Where the answers of an audit are kept, portion by portion, so that several workers can ask for different ones."""

    def has(self, key: str, place: int) -> bool:
        """Whether a portion of the work called ``key`` is there."""
        ...

    def get(self, key: str, place: int) -> Rows:
        """A portion that is there."""
        ...

    def put(self, key: str, place: int, rows: Rows) -> None:
        """Keep a portion, whole or not at all."""
        ...

    def mine(self, place: int, portions: int) -> bool:
        """Whether this worker is to ask for a portion that nobody has."""
        ...

    @property
    def asks_only(self) -> bool:
        """Whether the work ends when all that is this worker's has been asked for, whatever others still lack."""
        ...


class PortionsMissingError(Exception):
    """This worker has asked for all that it was to ask for; ``missing`` of the portions are left to others."""

    def __init__(self, what: str, missing: int) -> None:
        super().__init__(f"{missing} portions of {what} are left to others")
        self.missing = missing


Heard = Callable[[Progress], None]
"""Is told of progress between portions; what it raises ends the work (what is done is kept)."""


def over_patients(
    ask: Callable[[list[Record]], Rows],
    records: Sequence[Record],
    *,
    what: str,
    settings: Mapping[str, Any],
    keep: Path | Portions | None = None,
    heard: Heard | None = None,
    at_once: int = 20,
) -> Rows:
    """The rows of all records, in their order.

    ``ask`` answers a portion of at most ``at_once`` records. The portions depend on the records and ``at_once`` alone, so a
    resumed run gives the same numbers as one that was never interrupted. ``keep`` names a file (JSON lines, readable by
    this user only) to which each finished portion is added; one that holds portions of the same ``settings`` and records is
    continued, any other is refused with BadInput, and one whose first line is broken with Damaged. It is left to the caller to remove it at the end. With ``Portions`` instead of a file, only
    what is this worker's to ask for is asked for; PortionsMissingError is raised where others still lack.
    """
    portions = [list(records[start : start + at_once]) for start in range(0, len(records), at_once)]
    key = _key(what, settings, records, at_once)
    if keep is not None and not isinstance(keep, Path):
        return _by_portions(ask, portions, keep, f"{what} {key}".replace(" ", "-"), what, heard)
    done = _kept(keep, key) if keep else []
    done = done[: len(portions)]
    total, began, first = len(records), time.monotonic(), len(done)
    file = _open(keep, key, done) if keep else None
    try:
        for place in range(first, len(portions)):
            if heard:
                asked = sum(map(len, portions[:place]))
                fresh = asked - sum(map(len, portions[:first]))
                pace = (time.monotonic() - began) / fresh if fresh else None
                heard(Progress(what, asked, total, None if pace is None else pace * (total - asked)))
            rows = as_json(ask(portions[place]))
            if file and keep:
                with _said_of(keep):
                    file.write(json.dumps({"portion": place, "rows": rows}) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
            done.append(rows)
    finally:
        if file:
            with suppress(OSError):  # what could not be written was said before
                file.close()
    if heard:
        heard(Progress(what, total, total, 0.0))
    return [row for rows in done for row in rows]


def _by_portions(
    ask: Callable[[list[Record]], Rows],
    portions: Sequence[list[Record]],
    keep: Portions,
    key: str,
    what: str,
    heard: Heard | None,
) -> Rows:
    missing = [place for place in range(len(portions)) if not keep.has(key, place)]
    mine = [place for place in missing if keep.mine(place, len(portions))]
    total, began = sum(map(len, portions)), time.monotonic()
    others = total - sum(len(portions[place]) for place in mine)
    for number, place in enumerate(mine):
        if heard:
            asked = sum(len(portions[p]) for p in mine[:number])
            pace = (time.monotonic() - began) / asked if asked else None
            heard(Progress(what, others + asked, total, None if pace is None else pace * (total - others - asked)))
        keep.put(key, place, as_json(ask(portions[place])))
    if keep.asks_only or len(mine) < len(missing):
        raise PortionsMissingError(what, len(missing) - len(mine))
    if heard:
        heard(Progress(what, total, total, 0.0))
    return [row for place in range(len(portions)) for row in keep.get(key, place)]


def _key(what: str, settings: Mapping[str, Any], records: Sequence[Record], at_once: int) -> str:
    about = json.dumps([what, as_json(settings), [r.pseudonym for r in records], at_once], sort_keys=True)
    return hashlib.sha256(about.encode()).hexdigest()[:24]


def _kept(path: Path, key: str) -> list[Rows]:
    """The whole portions that a file holds; a last line that was cut off is dropped."""
    if not path.exists():
        return []
    found: list[Rows] = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # what follows the last line break was not finished
        same = bool(lines) and json.loads(lines[0]) == {"key": key}
    except ValueError:
        raise Damaged(f"{str(path)!r} is damaged. Remove it and give the same command again: it starts over.") from None
    if lines and not same:
        raise BadInput(
            f"{str(path)!r} holds results of another run (other data, models, patients or settings). Remove it to start over, "
            "or name another file."
        )
    for place, line in enumerate(lines[1:]):
        try:
            portion = json.loads(line)
        except ValueError:
            break
        if not isinstance(portion, dict) or portion.get("portion") != place or "rows" not in portion:
            break
        found.append(portion["rows"])
    return found


def _open(path: Path, key: str, done: Sequence[Rows]) -> Any:
    """The file with what was kept so far, written anew (whatever was cut off is gone) and open for more."""
    part = path.with_name(path.name + ".new")
    with _said_of(path):
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(json.dumps({"key": key}) + "\n")
            file.writelines(json.dumps({"portion": i, "rows": rows}) + "\n" for i, rows in enumerate(done))
        os.replace(part, path)
        return path.open("a", encoding="utf-8")


@contextmanager
def _said_of(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"{str(path)!r} could not be written: {error.strerror or error}.") from None
