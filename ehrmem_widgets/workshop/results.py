"""A participant's answers as a short code, and what a class's codes say together.

A code has three groups of four characters of Crockford's base32 (no I, L, O and U). The last character of each group checks the group, so that it can be
said which one was mistyped. The other nine are 45 bits: 5 of the lesson's version, 28 of the answers (a number in base 5: the items before, then the
items after, the first item in the highest place; 0 to 3 an option, 4 no answer), and 12 of a checksum (CRC-32 of the first 33 bits as 5 bytes).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.settings import shown
from ehrmem_widgets.workshop.lesson import Lesson, lesson

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
ITEMS, STATES, NO_ANSWER = 6, 5, 4
_GROUPS, _DATA, _ANSWER_BITS, _CHECK_BITS = 3, 3, 28, 12
_ORDINAL = ("first", "second", "third")
_ALIKE = str.maketrans({"O": "0", "I": "1", "L": "1"})

Answers = tuple[int | None, ...]
"""By item: the place of the option that was chosen, None where none was."""


@dataclass(frozen=True)
class Quiz:
    """What a participant answered before and after the lesson."""

    before: Answers
    after: Answers


def encode(quiz: Quiz, version: int | None = None) -> str:
    """The code.

    >>> encode(Quiz((0, 1, 2, 3, 0, None), (1, 2, 1, 3, 0, 1)), version=1)
    '11R3-W5DT-AHKH'
    """
    number = 0
    for one in (*quiz.before, *quiz.after):
        number = number * STATES + (NO_ANSWER if one is None else one)
    content = (lesson().version if version is None else version) << _ANSWER_BITS | number
    bits = content << _CHECK_BITS | _checksum(content)
    values = [bits >> 5 * (_GROUPS * _DATA - 1 - place) & 31 for place in range(_GROUPS * _DATA)]
    groups = (values[start : start + _DATA] for start in range(0, len(values), _DATA))
    return "-".join(
        "".join(ALPHABET[one] for one in (*group, _check(group, place))) for place, group in enumerate(groups)
    )


def decode(code: str) -> Quiz:
    """What stands in a code, as it was read out: small letters, spaces and missing hyphens do no harm, O is read as 0, I and L as 1. Raises BadInput that
    says which group is wrong, where that can be told.

    >>> decode("11r3 w5dt ahkh").after
    (1, 2, 1, 3, 0, 1)
    >>> decode("11R3-W5DX-AHKH")
    Traceback (most recent call last):
    ehrmem_widgets.errors.BadInput: The results code '11R3-W5DX-AHKH' is mistyped in its second group, 'W5DX'. Ask for that group again.
    """
    plain = "".join(one for one in code.upper() if one not in " -\t").translate(_ALIKE)
    if len(plain) != _GROUPS * (_DATA + 1):
        raise BadInput(
            f"A results code has {_GROUPS} groups of {_DATA + 1} characters, such as {_example()}; {shown(code)} has {len(plain)} characters."
        )
    groups = [plain[start : start + _DATA + 1] for start in range(0, len(plain), _DATA + 1)]
    wrong = [place for place, group in enumerate(groups) if not _fits(group, place)]
    if wrong:
        which = " and ".join(f"its {_ORDINAL[place]} group, {groups[place]!r}" for place in wrong)
        again = "that group" if len(wrong) == 1 else "them" if len(wrong) < _GROUPS else "all of it"
        raise BadInput(f"The results code {shown(code)} is mistyped in {which}. Ask for {again} again.")
    bits = 0
    for group in groups:
        for one in group[:_DATA]:
            bits = bits << 5 | ALPHABET.index(one)
    content, check = bits >> _CHECK_BITS, bits & (1 << _CHECK_BITS) - 1
    version, number = content >> _ANSWER_BITS, content & (1 << _ANSWER_BITS) - 1
    if check != _checksum(content) or number >= STATES ** (2 * ITEMS):
        raise BadInput(
            f"The results code {shown(code)} is mistyped, and it cannot be told in which group. Ask for all of it again."
        )
    if version != lesson().version:
        raise BadInput(
            f"The results code {shown(code)} comes from version {version} of the lesson, and this is version {lesson().version}: their questions "
            "differ. Read it with the version of ehrmem that the class used."
        )
    digits = []
    for _ in range(2 * ITEMS):
        number, digit = divmod(number, STATES)
        digits.append(None if digit == NO_ANSWER else digit)
    digits.reverse()
    return Quiz(tuple(digits[:ITEMS]), tuple(digits[ITEMS:]))


def right(answers: Answers, of: Lesson | None = None) -> tuple[bool | None, ...]:
    """By item: whether the answer is right, None where there is none."""
    items = (of or lesson()).quiz
    return tuple(None if given is None else given == item.right for given, item in zip(answers, items, strict=True))


def _check(group: Sequence[int], place: int) -> int:
    """Odd weights: any single wrong character shows. Twice the place: so do two groups that were swapped."""
    return sum(weight * one for weight, one in zip((1, 3, 5), group, strict=True)) + 7 * (place + 1) & 31


def _fits(group: str, place: int) -> bool:
    values = [ALPHABET.find(one) for one in group]
    return min(values) >= 0 and values[-1] == _check(values[:-1], place)


def _checksum(content: int) -> int:
    return zlib.crc32(content.to_bytes(5, "big")) & (1 << _CHECK_BITS) - 1


def _example() -> str:
    return encode(Quiz((0,) * ITEMS, (0,) * ITEMS))
