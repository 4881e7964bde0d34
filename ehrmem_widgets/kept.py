"""What is kept about patients on this computer, so that it can be seen and removed: ``ehrmem forget``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from ehrmem_widgets.errors import Unavailable

IN_REPORTS = (
    "Embeddings, indexes and sequences of these records stay on the computer that made this; 'ehrmem forget' lists what is kept there about "
    "patients, and 'ehrmem forget --yes' removes it."
)
_IN_THE_CACHE = {
    "embeddings-*.npz": "embeddings of the records of a data set",
    "map-*.npz": "the map of these embeddings",
    "exposed-*.npz": "how exposed each patient is",
    "sequences-*": "records that came as a model's own sequences",
    "fingerprints/*.json": "sizes and times of the files of a data set",
}


@dataclass(frozen=True)
class Kept:
    """A file or folder, what it holds, and its size in bytes."""

    path: Path
    words: str
    size: int


def kept() -> tuple[Kept, ...]:
    """All that is kept in this user's cache and state folders, and in the folder of indexes. The pseudonyms' key is not among it: without it
    nobody could say any more of whom an older report speaks. Nor is the record of what has left (``audit.releases``), which names nobody: without
    it the next report could not be held against it."""
    return tuple(sorted(_found(), key=lambda one: (one.words, str(one.path))))


def forget() -> tuple[Kept, ...]:
    """Remove it, and say what was removed. Raises Unavailable for what cannot be removed, naming it."""
    found = kept()
    for one in found:
        try:
            shutil.rmtree(one.path) if one.path.is_dir() else one.path.unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(
                f"{str(one.path)!r} could not be removed: {error.strerror}. What stands before it in the list is gone."
            ) from None
    return found


def _found() -> Iterator[Kept]:
    from ehrmem_widgets.cohort.meds_index import IN_WORK, cache_folder, in_use

    cache, indexes = platformdirs.user_cache_path("ehrmem"), cache_folder()
    for pattern, words in _IN_THE_CACHE.items():
        yield from (Kept(path, words, _size(path)) for path in cache.glob(pattern))
    for about in indexes.glob("*/about.json"):
        yield Kept(about.parent, "an index of a large data set, which holds its events", _size(about.parent))
    for folder in indexes.glob(IN_WORK):
        if not in_use(folder):
            yield Kept(folder, "what was left of work on a large data set", _size(folder))
    last = platformdirs.user_state_path("ehrmem") / "last_screen.json"
    if last.exists():
        yield Kept(last, "the patient and the facts of the last screen", _size(last))


def _size(path: Path) -> int:
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return sum(one.stat().st_size for one in files)
