"""Regular expressions that others wrote: they are matched within bounds of time and memory, and refused in words where they go beyond."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from typing import cast

import regex

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.settings import shown

MOST_CHARACTERS = 1_000
"""Of a pattern, and of what replaces what it finds."""
_LONGEST_CODE = 10_000  # that a replacement may make
_SECONDS_OF_A_CODE = 0.5  # of computing, of all threads: an honest pattern may lose them once to others that compute
_SECONDS, _SECONDS_A_CODE = (
    5.0,
    5e-4,
)  # for all codes, by the clock on the wall; most of an honest one's 2e-6 is to look at the clock
_trusted: set[str] = set()


def trust(texts: Iterable[str]) -> None:
    """Let patterns that this kit brings itself be matched without a limit, which takes longer than they do."""
    _trusted.update(texts)


class Pattern:
    """A compiled pattern; ``key`` says in sentences whose it is. Raises BadInput for one that is none, and, by any of its methods, for one that does not
    come to an end with a code in a second of computing, or takes far longer than patterns do with many."""

    def __init__(self, text: str, key: str) -> None:
        what = f"the pattern of {key}"
        if len(text) > MOST_CHARACTERS:
            raise BadInput(f"{what} is longer than {MOST_CHARACTERS:,} characters: {shown(text)}.")
        try:
            self._compiled = regex.compile(text)
        except (regex.error, OverflowError, RecursionError, MemoryError) as error:
            said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]
            raise BadInput(f"{what} is not a regular expression ({said}): {shown(text)}.") from None
        self.groups = frozenset(self._compiled.groupindex)
        self._text, self._key = text, key
        self._codes, self._spent = 0, 0.0

    def fullmatch(self, code: str) -> re.Match[str] | None:
        """As ``re.fullmatch``."""
        return cast("re.Match[str] | None", self._timed("fullmatch", code))

    def match(self, code: str) -> re.Match[str] | None:
        """As ``re.match``: at the beginning."""
        return cast("re.Match[str] | None", self._timed("match", code))

    def replaced(self, code: str, by: str) -> str:
        """As ``re.sub``. Raises BadInput for a replacement that does not fit the pattern, and for a code of more than 10,000 characters."""
        try:
            found = str(self._timed("sub", by, code)) if len(by) <= MOST_CHARACTERS else None
        except (regex.error, IndexError) as error:
            raise BadInput(
                f"the replacement {shown(by)} of {self._key} does not fit its pattern ({str(error)[:120]})."
            ) from None
        if found is None or len(found) > _LONGEST_CODE:
            raise BadInput(f"the replacement {shown(by)} of {self._key} is too long, or makes too long a code.")
        return found

    def _timed(self, method: str, *given: str) -> object:
        if self._text in _trusted:
            return cast("object", getattr(self._compiled, method)(*given))
        before = time.perf_counter()
        try:
            with suppress(TimeoutError):
                return cast("object", getattr(self._compiled, method)(*given, timeout=_SECONDS_OF_A_CODE))
            return cast("object", getattr(self._compiled, method)(*given, timeout=_SECONDS_OF_A_CODE))
        except (TimeoutError, MemoryError):
            raise self._endless(given[-1]) from None
        finally:
            self._codes += 1
            self._spent += time.perf_counter() - before
            if self._spent > _SECONDS + self._codes * _SECONDS_A_CODE:
                raise self._endless(given[-1])

    def _endless(self, code: str) -> BadInput:
        return BadInput(
            f"the pattern of {self._key} takes too long: {shown(self._text)} did not come to an end with the code {shown(code)}. Write it without "
            "repetitions inside repetitions, such as (a|aa)+."
        )


@lru_cache(maxsize=256)
def pattern(text: str, key: str) -> Pattern:
    """The pattern, compiled once. Raises BadInput for one that is none.

    >>> pattern("(a|aa)+b", "age").fullmatch("a" * 99)
    Traceback (most recent call last):
    ehrmem_widgets.errors.BadInput: the pattern of age takes too long: '(a|aa)+b' did not come to an end with the code 'aaaaaaaaaaaaaa...aaaaaaaaaaaaaaa'. \
Write it without repetitions inside repetitions, such as (a|aa)+.
    """
    return Pattern(text, key)


def whole_in(match: re.Match[str], group: str) -> int:
    """The whole number of 0 or more that a group found. Raises BadInput where that is none, or has more than 18 digits."""
    text = match[group]
    if text is None or not text.isdecimal() or len(text) > 18:
        raise _no_number(match, group)
    return int(text)


def number_in(match: re.Match[str], group: str) -> float:
    """The number that a group found. Raises BadInput where that is none."""
    try:
        found = float(match[group])
        if math.isnan(found):
            raise ValueError
        return found
    except (TypeError, ValueError):
        raise _no_number(match, group) from None


def _no_number(match: re.Match[str], group: str) -> BadInput:
    return BadInput(
        f"the group {group} of the pattern {shown(match.re.pattern)} must find a number; of the code {shown(match.string)} it finds "
        f"{shown(match[group])}."
    )
