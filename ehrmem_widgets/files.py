"""The one way to write: whole or not at all, and for this user's eyes only."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ehrmem_widgets.errors import Unavailable


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write to (mode 600) that takes the place of ``path`` when all is written and on the disk. What goes wrong is raised as it
    is (an OSError), and nothing is left behind."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def write_whole(contents: Mapping[Path, str | bytes]) -> None:
    """Write files, each whole or not at all: all beside their final names first, then renamed, so that older files stand until the new
    ones are complete. Raises Unavailable when the folder cannot be written or the disk is full."""
    waiting: dict[Path, Path] = {}
    try:
        for path, content in contents.items():
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
            waiting[path] = Path(name)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
        for path, part in waiting.items():
            os.replace(part, path)
    except OSError as error:
        names = " and ".join(str(path) for path in contents)
        raise Unavailable(f"{names} could not be written: {error.strerror or error}. Nothing was changed.") from None
    finally:
        for part in waiting.values():
            with suppress(OSError):
                part.unlink(missing_ok=True)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder (mode 700, its files 600) to write into that takes the place of ``folder`` when all is done; until then an older one stays. What goes
    wrong is raised as it is, and nothing is left behind."""
    folder = folder.absolute()
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    new, old = work / "new", work / "old"
    try:
        new.mkdir(mode=0o700)
        yield new
        for path in new.rglob("*"):
            if path.is_file():
                path.chmod(0o600)
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(work, ignore_errors=True)
