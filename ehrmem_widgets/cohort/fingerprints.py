"""Fingerprints of files: the SHA-256 of all their bytes, remembered so that a file is read once and not at every opening.

What is remembered stands in the user's cache folder, a small file a folder of data: by name, size, time of change and inode. A change that
keeps all of these would go unseen, so an audit reads everything anew (``read_anew``) when it is sealed and when it goes on.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

import platformdirs

from ehrmem_widgets.files import read_json, whole_file
from ehrmem_widgets.terminal import progress_bar

_SETTLED = 2_000_000_000  # nanoseconds: a file changed just now may change again within the same tick of its file system's clock
_SAID_AFTER = 3.0  # seconds of reading until progress is shown
_anew: ContextVar[bool] = ContextVar("read every file anew", default=False)
_Remembered = dict[str, list[int | str]]


@contextmanager
def read_anew() -> Iterator[None]:
    """Within, nothing that is remembered is believed: every file is read from its first byte to its last."""
    before = _anew.set(True)
    try:
        yield
    finally:
        _anew.reset(before)


def fingerprint(root: Path, files: Sequence[Path]) -> str:
    """16 hexadecimal digits that change with any byte of any of the files, and with their names below ``root``; the same for a copy."""
    return combined(digests(root, files))


def combined(found: Mapping[str, str]) -> str:
    """One fingerprint of the ``digests`` of several files."""
    whole = "".join(f"{name} {digest}\n" for name, digest in sorted(found.items()))
    return hashlib.sha256(whole.encode()).hexdigest()[:16]


def digests(root: Path, files: Sequence[Path]) -> dict[str, str]:
    """The SHA-256 of each file, by its path below ``root``. Raises OSError for a file that cannot be read."""
    kept_in = _kept_in(root)
    remembered = {} if _anew.get() else _read(kept_in)
    found: dict[str, str] = {}
    fresh: _Remembered = {}
    with progress_bar(
        f"Fingerprint of {root.name}",
        sum(path.stat().st_size for path in files),
        unit="B",
        unit_scale=True,
        delay=_SAID_AFTER,
        leave=False,
    ) as bar:
        for path in files:
            name, marks = path.relative_to(root).as_posix(), _marks(path)
            known = remembered.get(name)
            if known is not None and known[:-1] == marks:
                found[name] = str(known[-1])
            else:
                found[name] = digest_of(path)
                unchanged = _marks(path) == marks and time.time_ns() - int(marks[1]) > _SETTLED
                if unchanged:
                    fresh[name] = [*marks, found[name]]
            bar.update(int(marks[0]))
    if fresh:
        _keep(kept_in, {**_read(kept_in), **fresh})
    return found


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, read now."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _marks(path: Path) -> list[int | str]:
    """What changes with a file: size, time of change, inode."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ino]


def _kept_in(root: Path) -> Path:
    named = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:24]
    return platformdirs.user_cache_path("ehrmem") / "fingerprints" / f"{named}.json"


def _read(path: Path) -> _Remembered:
    """What is remembered of a folder's files; nothing where the file is missing, broken or of another form."""
    try:
        content = read_json(path, path.name)
        items = content.items() if isinstance(content, dict) else ()
        return {str(name): [*map(int, marks), str(digest)] for name, (*marks, digest) in items}
    except (ValueError, TypeError):  # BadInput among them
        return {}


def _keep(path: Path, content: _Remembered) -> None:
    """For this user's eyes only, whole or not at all; a cache that cannot be written is done without."""
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with whole_file(path) as file:
            file.write(json.dumps(content).encode())
