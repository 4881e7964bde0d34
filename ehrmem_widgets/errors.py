"""The errors that people are meant to read: what was given, what was expected, what to do.

Four kinds, because a caller acts differently on each. Everything else that is raised is a mistake of ours and shows a traceback.
"""


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
