"""The errors that people are meant to read: what was given, what was expected, what to do.

Four kinds, because a caller acts differently on each. Everything else that is raised is a mistake of ours and shows a traceback.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GOES_ON = "What was done is kept: the same command goes on from there."


class EhrmemError(Exception):
    """Any of the four kinds: what the command line, the screens and the notebooks catch. Raise one of the kinds, not this.

    `exit_code` is what the command line ends with: 2 where asking again in the same way cannot help, 3 where the same command goes on
    once the trouble is over.
    """

    exit_code: int = 2


class BadInput(EhrmemError, ValueError):
    """The user's file, flag or dial is wrong. Exit code 2."""


class CannotAnswer(EhrmemError):
    """The question is a good one, but not for this model: it gives no probabilities, no embeddings, too short a context. Exit code 2."""


class Unavailable(EhrmemError):
    """A server or a disk went away, or is full. Nothing that was finished is lost: the same command goes on from there. Exit code 3."""

    exit_code = 3


class Damaged(EhrmemError):
    """A file that ehrmem itself wrote is broken; the sentence says which one to remove. Exit code 3: the same command then goes on."""

    exit_code = 3


@contextmanager
def resumable() -> Iterator[None]:
    """Around work that keeps what is done: whatever went away in it is said together with how to go on.

    A file or a share that can no longer be read or written (an OSError that nobody put in words) is said ``in_words``.
    """
    try:
        yield
    except Unavailable as error:
        words = str(error)
        raise Unavailable(words if GOES_ON in words else f"{words} {GOES_ON}") from error
    except OSError as error:
        said = in_words(error)
        raise type(said)(f"{said} {GOES_ON}") from error


@contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Around an import that an extra of this package brings: says which one where it is missing."""
    try:
        yield
    except ImportError as error:
        raise BadInput(
            f"{what} needs {error.name}, which is not installed. It comes with: pip install 'ehrmem-widgets[{name}]'."
        ) from None


def said_by(error: BaseException) -> str:
    """What an error that is not ours says, to be quoted in a sentence: its first paragraph on a line, of at most 300 characters."""
    return " ".join(str(error).strip().partition("\n\n")[0].split())[:300] or type(error).__name__


def not_made(folder: Path, error: OSError) -> EhrmemError:
    """Why a folder that a person named cannot be made: a mistake in its name, or a disk that is full or gone."""
    return _kind(error)(f"The folder {str(folder)!r} cannot be made: {error.strerror or error}.")


def in_words(error: OSError) -> EhrmemError:
    """What the operating system refused: ``Unavailable`` where it may work later (a full disk, a share that went away), else the name or the
    permissions of what a person named (``BadInput``)."""
    named = error.filename if isinstance(error.filename, str) else ""
    return _kind(error)(
        f"{repr(named) if named else 'A file or folder'} cannot be used: {error.strerror or str(error) or type(error).__name__}."
    )


_OF_THE_NAME = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP,
    errno.ENAMETOOLONG, errno.EINVAL, errno.ENXIO, errno.ENODEV, errno.EADDRINUSE, errno.EADDRNOTAVAIL,
}  # fmt: skip


def _kind(error: OSError) -> type[BadInput] | type[Unavailable]:
    return BadInput if error.errno in _OF_THE_NAME else Unavailable


def kind_named(name: str, words: str) -> EhrmemError | None:
    """The error that another process (a kernel) raised under a class's name; None for one that is none of the kinds."""
    kinds: dict[str, type[EhrmemError]] = {one.__name__: one for one in (BadInput, CannotAnswer, Unavailable, Damaged)}
    return kinds[name](words) if name in kinds else None
