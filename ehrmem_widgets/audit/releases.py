"""What has left about whom, so that no report tells of 1 to 10 people by its difference to an earlier one (differencing; Hundepool et al.,
Statistical Disclosure Control, Wiley 2012, section 5.2).

Of everything that leaves about an audit a record is kept in the user's state folder, one file for its people: of each figure the set of
people that it is about, as keyed hashes of their pseudonyms, and nothing else about them. A later report of other people, of whom all but 1 to
10 are the same, is not written, or not the part of it that this holds of.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import platformdirs

from ehrmem_widgets.audit.results import AuditResults, Cell, Withheld
from ehrmem_widgets.cohort.pseudonym import user_key
from ehrmem_widgets.errors import BadInput, Damaged, Unavailable
from ehrmem_widgets.files import read_json, write_whole
from ehrmem_widgets.statistics.disclosure import FEWEST, is_small

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Hashes = NDArray[np.uint64]
    """(people,) keyed hashes, ascending."""

_VERSION = 1
_ZERO = 1e-9
_INSTEAD = (
    f"Ask about the very same people again ('patients: FILE' in the plan), or about at least {FEWEST} others. If the earlier report has not left "
    "and never will, delete it and its record."
)
_WAIT = 120.0  # seconds that a report waits for another one that is being written


def to_leave(folder: str | Path) -> AuditResults:
    """An audit's results as they may leave beside all that has left before on this computer; from now on these count as having left.

    What would tell of 1 to 10 people by its difference to an earlier report is withheld (``withheld``). People declared as made up, and an
    audit declared as identifying, whose report must not leave, are neither checked nor recorded. Raises BadInput where nothing would be left,
    naming the earlier report and what to do, Damaged for a record that cannot be read and Unavailable for one that cannot be written.
    """
    audit = AuditResults(folder)
    if audit.identifying or audit.made_up:
        return audit
    with _alone():
        return _to_leave(audit)


def _to_leave(audit: AuditResults) -> AuditResults:
    own, data = _hashed(audit.cells()), _token(str((audit.results.get("data") or {}).get("fingerprint")))
    held = _withheld(audit, own, data, list(_records()))
    if held:
        audit = AuditResults(audit.folder, held)
        if not audit.findings:
            raise BadInput(_refused(audit, held))
    _record(audit, {cell: people for cell, people in own.items() if not held.holds(cell)}, data)
    return audit


def beside_earlier(asked: Mapping[Cell, frozenset[str]]) -> str:
    """Before an audit of these people: why its report will be refused, or written in part, and what to do; empty: nothing says so yet."""
    own = {cell: people for cell, people in _hashed(asked).items() if len(people) >= FEWEST}
    near: dict[str, int] = {}
    for record in _records():
        apart = [n for cell, people in own.items() for n in record.apart(cell, people) if is_small(n)]
        if apart:
            near[str(record)] = min(apart)
    if not near:
        return ""
    return (
        "A report of this audit will not be written, or only in part: it would be about nearly the same people as what has left before, "
        f"{'; '.join(sorted(near, key=lambda said: near[said])[:3])}. {_INSTEAD}"
    )


@dataclass(frozen=True)
class _Record:
    """A report that has left: ``cells`` by the hash of what they are about, in every group that there was; ``parts``: whether it shows parts of
    these people of whom no rows are kept."""

    path: Path
    name: str
    at: str
    data: str
    parts: bool
    cells: Mapping[str, Sequence[Hashes]]

    def apart(self, cell: Cell, people: Hashes) -> list[int]:
        """How many people are in one alone, of each set of this report that shares people with these."""
        compared = [_compared(people, one) for one in self.cells.get(_about(cell), ())]
        return [apart for shared, apart in compared if shared]

    def changed(self, cell: Cell, people: Hashes, data: str) -> bool:
        """Whether it shows parts of some of these people and of others, or of these in other data."""
        return self.parts and any(apart or data != self.data for apart in self.apart(cell, people))

    def __str__(self) -> str:
        return f"{self.name!r} of {self.at} (record: {self.path})"


def _withheld(audit: AuditResults, own: Mapping[Cell, Hashes], data: str, records: Sequence[_Record]) -> Withheld:
    """What may not be shown beside these reports."""
    cells: set[Cell] = set()
    because: dict[str, int] = {}  # how many people are in one alone, at the least
    known: dict[str, list[Hashes]] = {}
    for record in records:
        for about, groups in record.cells.items():
            known.setdefault(about, []).extend(groups)
    for cell, people in own.items():
        if len(people) < FEWEST:
            continue
        beside = known.setdefault(_about(cell), [])
        if any(np.array_equal(people, one) for one in beside):
            continue
        if tell_of_few([*beside, people]):
            cells.add(cell)
            because |= {str(record): min(near) for record in records if (near := record.apart(cell, people))}
        else:
            beside.append(people)
    changed = [record for record in records if any(record.changed(cell, people, data) for cell, people in own.items())]
    parts = bool(changed) and audit.has_parts
    nearest = sorted(because, key=lambda said: because[said])
    return Withheld.of(cells, parts, (*nearest, *(str(one) for one in changed if parts and str(one) not in because)))


def tell_of_few(sets: Sequence[Hashes]) -> bool:
    """Whether sums over these sets of people, added and subtracted as often as one likes, give one over 1 to 10 people.

    Everybody in the same sets counts as one unknown, the equations are solved (Gauss and Jordan, the most people first), and each is looked
    at for how many people are left in it: the audit of sum queries (Chin and Ozsoyoglu, IEEE Transactions on Software Engineering 1982).

    >>> everybody = np.arange(100, dtype=np.uint64)
    >>> tell_of_few([everybody, everybody[3:]]), tell_of_few([everybody, everybody[11:]])
    (True, False)
    >>> tell_of_few([everybody, everybody[:50], everybody[53:]])
    True
    """
    shown = [one for one in sets if len(one) >= FEWEST]
    people = np.unique(np.concatenate(shown))
    equations, sizes = np.unique([np.isin(people, one) for one in shown], axis=1, return_counts=True)
    order = np.argsort(-sizes, kind="stable")
    solved = _solved(equations[:, order].astype(float))
    return any(is_small(int(sizes[order][row != 0].sum())) for row in solved)


def _solved(equations: np.ndarray) -> np.ndarray:
    """(equations, unknowns) in reduced row echelon form."""
    solved, top = equations.copy(), 0
    for column in range(solved.shape[1]):
        if top == len(solved):
            break
        pivot = top + int(np.abs(solved[top:, column]).argmax())
        if solved[pivot, column] == 0:
            continue
        solved[[top, pivot]] = solved[[pivot, top]]
        solved[top] /= solved[top, column]
        others = np.arange(len(solved)) != top
        solved[others] -= np.outer(solved[others, column], solved[top])
        solved[np.abs(solved) < _ZERO] = 0
        top += 1
    return solved


def _compared(a: Hashes, b: Hashes) -> tuple[int, int]:
    """How many people are in both, and how many in one alone."""
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared, len(a) + len(b) - 2 * shared


def _refused(audit: AuditResults, held: Withheld) -> str:
    return (
        f"The results in {str(audit.folder)!r} are about nearly the same people as what has left before: {'; '.join(held.because[:3])}. "
        f"Together they would tell of the 1 to 10 people who are in one of them alone. {_INSTEAD}"
    )


# The records ------------------------------------------------------------------------------------------------------------


def folder_of_records() -> Path:
    """Where it is kept what has left."""
    return platformdirs.user_state_path("ehrmem") / "released"


@contextmanager
def _alone() -> Iterator[None]:
    """Within, no other command looks at the records or adds to them: two at once would not know of each other."""
    import filelock

    folder = folder_of_records()
    lock = filelock.FileLock(folder / ".lock", timeout=_WAIT, mode=0o600)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise Unavailable("Another report is being written on this computer. Try again when it is done.") from None
    except OSError as error:
        raise Unavailable(
            f"{str(folder)!r}, where it is kept what has left, cannot be written: {error.strerror}. Nothing was written."
        ) from None
    try:
        yield
    finally:
        lock.release()


def _records() -> Iterator[_Record]:
    for path in sorted(folder_of_records().glob("*.json")):
        try:
            content = read_json(path, "The record of what has left")
            assert isinstance(content, dict) and content["version"] == _VERSION
            people = np.frombuffer(base64.b64decode(content["people"]), dtype=np.uint64)
            cells = {
                about: [_unpacked(one, people) for one in groups] for about, groups in dict(content["cells"]).items()
            }
            name, at, data = (str(content[one]) for one in ("name", "at", "data"))
            yield _Record(path, name, at, data, bool(content["parts"]), cells)
        except (BadInput, AssertionError, KeyError, TypeError, ValueError, AttributeError):
            raise Damaged(
                f"{str(path)!r}, the record of a report that has left, cannot be read, so that no other report can be held against it. Delete it "
                "only if that report has not left this computer."
            ) from None


def _record(audit: AuditResults, cells: Mapping[Cell, Hashes], data: str) -> None:
    people = np.unique(np.concatenate([*cells.values(), np.array([], dtype=np.uint64)]))
    packed: dict[str, list[str]] = {}
    for cell, inside in sorted(cells.items()):
        packed.setdefault(_about(cell), []).append(_base64(np.packbits(np.isin(people, inside))))
    content = {"people": _base64(people), "cells": packed, "data": data, "parts": audit.has_parts}
    path = folder_of_records() / f"{hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]}.json"
    if path.exists():
        return
    about = {
        "version": _VERSION,
        "name": str(audit.results.get("name", "")),
        "at": datetime.now(UTC).date().isoformat(),
    }
    write_whole({path: json.dumps(about | content)})


def _unpacked(packed: str, people: Hashes) -> Hashes:
    inside = np.unpackbits(np.frombuffer(base64.b64decode(packed), dtype=np.uint8), count=len(people))
    return people[inside.astype(bool)]


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()


def _hashed(cells: Mapping[Cell, frozenset[str]]) -> dict[Cell, Hashes]:
    """The same with every pseudonym hashed, once."""
    key = user_key()
    hashes = {one: int(_keyed(key, one), 16) for one in frozenset[str]().union(*cells.values())}
    return {
        cell: np.array(sorted(hashes[one] for one in people), dtype=np.uint64)
        for cell, people in cells.items()
        if people
    }


def _about(cell: Cell) -> str:
    """What a cell is about, whatever the group: a group may change its name from one model to the next."""
    return _token("\n".join((cell.probe, cell.figure, cell.attribute)))


def _token(text: str) -> str:
    return _keyed(user_key(), text)


def _keyed(key: bytes, text: str) -> str:
    """64 bits."""
    return hmac.digest(key, b"released\n" + text.encode(), "sha256").hex()[:16]
