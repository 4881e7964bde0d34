"""The one way to write: whole or not at all, and for this user's eyes only; and to read what people name: files of bounded size."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from textwrap import shorten
from typing import BinaryIO

from ehrmem_widgets.errors import BadInput, Unavailable

MOST_BYTES = 100_000_000
"""Of a text file that is read whole."""
_HALF_A_CHARACTER = re.compile(rb"\\u[dD][89a-fA-F]")  # two of them may be a whole one
_MOST_BYTES_OF_JSON = 40_000_000  # each byte of it may become thirty in memory


def read_text(path: Path, what: str, *, most: int = MOST_BYTES) -> str:
    """A text file in UTF-8; errors as of ``read_bytes``, and for what is no text."""
    try:
        return read_bytes(path, what, most=most).decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput(f"{what} cannot be read: it is not text in UTF-8.") from None


def read_bytes(path: Path, what: str, *, most: int = MOST_BYTES) -> bytes:
    """A whole file; ``what`` names it in the error's sentence. Raises BadInput for one that cannot be read or is larger than ``most`` bytes, and
    for a pipe or a device, which might never end."""
    with opened(path, what) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            content = file.read(min(most, max(size, 2**16)) + 1)  # what is asked for is set aside at once
        except OSError as error:
            raise BadInput(f"{what} cannot be read: {error.strerror}.") from None
    if len(content) > most:
        raise BadInput(f"{what} cannot be read: it is larger than {most / 1e6:g} MB.")
    return content


def opened(path: Path, what: str) -> BufferedReader:
    """A regular file, open for who reads it within bounds of his own; errors as of ``read_bytes``."""
    try:
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115
    except OSError as error:
        raise BadInput(f"{what} cannot be read: {error.strerror}.") from None
    except ValueError:  # a name with a zero in it
        raise BadInput(f"{what} cannot be read: no file can have that name.") from None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise BadInput(f"{what} cannot be read: it is not a regular file.")
    return file


def read_json(path: Path, what: str, *, most: int = _MOST_BYTES_OF_JSON) -> object:
    """The content of a JSON file; errors as of ``read_text`` and ``parsed_json``."""
    return parsed_json(read_text(path, what, most=most), what)


def parsed_json(text: str | bytes, what: str) -> object:
    """The content of a JSON text. Raises BadInput for what is no JSON, is nested too deeply, or holds a number without end or half a character."""
    try:
        found: object = json.loads(text)
        if _HALF_A_CHARACTER.search(text if isinstance(text, bytes) else text.encode()):
            json.dumps(found, ensure_ascii=False).encode()
        return found
    except RecursionError:
        raise BadInput(f"{what} cannot be read as JSON: it is nested too deeply.") from None
    except MemoryError:
        raise BadInput(f"{what} cannot be read as JSON: this computer has too little memory for it.") from None
    except ValueError as error:
        raise BadInput(f"{what} cannot be read as JSON: {shorten(str(error), 120)}.") from None


def as_signed_json(content: Mapping[str, object], *, indent: int | None = None) -> str:
    """JSON that says itself, under ``digest``, whether it is as it was written: against a disk or a hand that changed it, not against an attacker."""
    plain = json.loads(json.dumps(content))
    return json.dumps({**plain, _DIGEST: _digest(plain)}, indent=indent, sort_keys=indent is None) + "\n"


def is_changed(content: Mapping[str, object]) -> bool:
    """Whether what ``as_signed_json`` wrote was changed since; an earlier version wrote no digest."""
    return _DIGEST in content and content[_DIGEST] != _digest(
        {name: one for name, one in content.items() if name != _DIGEST}
    )


_DIGEST = "digest"


def _digest(content: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()[:16]


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
