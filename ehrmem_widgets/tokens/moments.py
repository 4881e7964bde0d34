"""A code's id and the age at which it comes in one number, a moment: for models that are told the age beside each code.

Moments take the place of ids in sequences and prompts, so that whatever cuts, compares, keeps or counts ids does so with the ages
too. Only a model that is told ages, and what reads ids or times out of a sequence, takes them apart. At age 0 a moment is the id itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

ID_BITS = 24
IDS = 2**ID_BITS - 1
MINUTES_A_DAY = 1440
"""The age is kept in whole minutes since birth."""


def moment(number: int, days: float) -> int:
    """The moment of an id at an age in days; an age before birth counts as 0.

    >>> moment(7, 0.0), moment(7, 1.0) == 7 + 1440 * 2**24
    (7, True)
    """
    return number | max(0, round(days * MINUTES_A_DAY)) << ID_BITS


def moments(ids: Iterable[int], days: Sequence[float]) -> list[int]:
    """The moments of several ids, one age each."""
    return [moment(number, day) for number, day in zip(ids, days, strict=True)]


def ids_of(given: Sequence[int] | np.ndarray) -> np.ndarray:
    """The ids of moments; ids stay as they are, and so does -1 (no code).

    >>> ids_of([moment(7, 40.0), 3, -1]).tolist()
    [7, 3, -1]
    """
    array = np.asarray(given, dtype=np.int64)
    return np.where(array < 0, array, array & IDS)


def days_of(given: Sequence[int] | np.ndarray) -> np.ndarray:
    """The ages of moments in days; 0 for ids.

    >>> days_of([moment(7, 40.5), 3]).tolist()
    [40.5, 0.0]
    """
    return (np.asarray(given, dtype=np.int64) >> ID_BITS).clip(0) / MINUTES_A_DAY


def with_ids(given: Sequence[int], ids: Iterable[int]) -> list[int]:
    """The same ages with other ids."""
    return [int(number) | int(old) & ~IDS for old, number in zip(given, ids, strict=True)]


def later(given: Sequence[int], days: float) -> list[int]:
    """The same ids, so many days later (before: a negative number)."""
    return moments(ids_of(given).tolist(), [float(day) + days for day in days_of(given)])
