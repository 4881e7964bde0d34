"""The one place that writes to the terminal. Names and codes come from others' files: what would move a cursor, hide text or turn it round is not passed on."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm

_SEQUENCE = r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]P^_X][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?"  # ECMA-48: CSI, then strings such as a title, then the rest
_CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f]"
_DIRECTION = r"[\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"  # UAX 9, and what has no width
_SURROGATE = r"[\ud800-\udfff]"  # of a name that is not UTF-8
_NOT_SHOWN = re.compile("|".join((_SEQUENCE, _CONTROL, _DIRECTION, _SURROGATE)))


def plain(text: str) -> str:
    """The text as it may be printed: each control sequence, control character, character that changes the direction of writing or has no width
    becomes U+FFFD; line ends and tabs stay.

    >>> plain("HIV\\x1b[8m hidden\\x1b[0m"), plain("one\\ttwo\\n"), plain("abc\\u202edef")
    ('HIV� hidden�', 'one\\ttwo\\n', 'abc�def')
    """
    return _NOT_SHOWN.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    """The text without line ends: what comes from data must not look like a line of ours.

    >>> one_line("fine\\npass  Model: sound")
    'fine pass Model: sound'
    """
    return " ".join(text.split())


def say(text: str, *, errors: bool = False, end: str = "\n") -> None:
    """Print a text at once, as ``plain``, to standard output or (``errors``) to standard error; what the terminal's encoding lacks becomes a question mark."""
    stream = sys.stderr if errors else sys.stdout
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(plain(text + end).encode(encoding, "replace").decode(encoding))
    stream.flush()


def progress_bar(what: str, total: int, **shown: str | bool | float | int) -> tqdm:
    """A bar on standard error with the time left; ``shown`` as of ``tqdm``."""
    from tqdm import tqdm

    return tqdm(desc=plain(what).replace("\n", " "), total=total, file=sys.stderr, **shown)
