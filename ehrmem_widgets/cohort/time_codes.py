"""Codes for time: the age at the start of a record and the gaps between its events (the paper's ``AGE//53``, ``TIME//2``),
and those of other models, by how long each lasts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Protocol

from ehrmem_widgets.errors import BadInput

# Within one day by minutes; between days by calendar days, so that a gap is known to whoever knows both dates.
WITHIN_A_DAY = (("TIME//10-20", 10), ("TIME//20-40", 20), ("TIME//40-60", 40), ("TIME//0", 60))
BETWEEN_DAYS = (
    *((f"TIME//{days}", days) for days in range(1, 7)),
    ("TIME//1W", 7),
    ("TIME//2W", 14),
    ("TIME//3W", 21),
    ("TIME//1M", 30),
    ("TIME//2M", 60),
    ("TIME//3M", 90),
    ("TIME//6M", 180),
    ("TIME//1Y", 365),
    ("TIME//2Y", 730),
)
TIME_CODES = tuple(code for code, _ in (*WITHIN_A_DAY, *BETWEEN_DAYS))
_FEWEST_DAYS = {code: minutes / 1440 for code, minutes in WITHIN_A_DAY} | dict(BETWEEN_DAYS)
AGE_PREFIX = "AGE//"
OLDEST = 110
AGE_CODES = tuple(f"{AGE_PREFIX}{age}" for age in range(OLDEST + 1))


def age_code(age: int) -> str:
    """The code of an age in years.

    >>> age_code(53)
    'AGE//53'
    """
    return f"{AGE_PREFIX}{min(max(age, 0), OLDEST)}"


def gap_code(before: datetime | None, now: datetime) -> str | None:
    """The gap code between two events; None where there is no earlier event or less than ten minutes lie between.

    >>> gap_code(datetime(2020, 1, 1, 23), datetime(2020, 1, 2, 1)), gap_code(datetime(2020, 1, 1), datetime(2020, 1, 1, 5))
    ('TIME//1', 'TIME//0')
    """
    if before is None:
        return None
    days = (now.date() - before.date()).days
    if days > 0:
        return _last_from(BETWEEN_DAYS, days)
    return _last_from(WITHIN_A_DAY, (now - before).total_seconds() / 60)


def gap_days(code: str) -> float:
    """The fewest days that a gap code stands for; a day for a gap that this kit does not write, 0 for any other code.

    >>> gap_days("TIME//1W"), gap_days("TIME//0") * 24, gap_days("AGE//53")
    (7.0, 1.0, 0.0)
    """
    return float(_FEWEST_DAYS.get(code, 1 if code.startswith("TIME//") else 0))


def gap_codes_between(fewest_days: int, most_days: int) -> list[str]:
    """Every gap code that fits a number of calendar days between the two given, both included.

    >>> gap_codes_between(5, 8)
    ['TIME//5', 'TIME//6', 'TIME//1W']
    """
    fitting = [code for code, _ in WITHIN_A_DAY] if fewest_days <= 0 else []
    for place, (code, first) in enumerate(BETWEEN_DAYS):
        following = BETWEEN_DAYS[place + 1][1] if place + 1 < len(BETWEEN_DAYS) else float("inf")
        if first <= most_days and following > fewest_days:
            fitting.append(code)
    return fitting


def _last_from(steps: tuple[tuple[str, int], ...], amount: float) -> str | None:
    fitting = [code for code, first in steps if amount >= first]
    return fitting[-1] if fitting else None


def gap_label(code: str) -> str:
    """A gap code in words.

    >>> gap_label("TIME//20-40"), gap_label("TIME//1W"), gap_label("TIME//0")
    ('20 to 40 minutes later', '1 week later', 'later that day')
    """
    amount = code.rpartition("//")[2]
    if amount == "0":
        return "later that day"
    if "-" in amount:
        return f"{amount.replace('-', ' to ')} minutes later"
    number, unit = (amount[:-1], {"W": "week", "M": "month", "Y": "year"}.get(amount[-1], "")) if amount else ("", "")
    if not unit:
        number, unit = amount, "day"
    return f"{number} {unit}{'' if number == '1' else 's'} later" if number.isdigit() else f"Time gap {amount}"


class GapRule(Protocol):
    """How a model writes that time passes."""

    @property
    def codes(self) -> tuple[str, ...]:
        """The gap codes, shortest first."""
        ...

    def between(self, before: datetime, now: datetime) -> tuple[str, ...]:
        """The codes of the gap between two events; none where the model writes none."""
        ...

    def fitting(self, before: tuple[date, date], now: tuple[date, date]) -> tuple[str, ...]:
        """Every code that fits a gap from some time within the first two days to some time within the last two."""
        ...

    def days(self, code: str) -> float:
        """The fewest days that a code stands for; 0 for a code that is no gap."""
        ...

    def label(self, code: str) -> str:
        """A gap code in words."""
        ...


class _Calendar:
    """This kit's own codes."""

    codes = TIME_CODES

    def between(self, before: datetime, now: datetime) -> tuple[str, ...]:
        code = gap_code(before, now)
        return () if code is None else (code,)

    def fitting(self, before: tuple[date, date], now: tuple[date, date]) -> tuple[str, ...]:
        return tuple(gap_codes_between(max(0, (now[0] - before[1]).days), (now[1] - before[0]).days))

    def days(self, code: str) -> float:
        return gap_days(code)

    def label(self, code: str) -> str:
        return gap_label(code)


CALENDAR: GapRule = _Calendar()


@dataclass(frozen=True)
class Gaps:
    """Gap codes by their shortest and longest length in days (the longest not included). ``repeat``: the code that is written
    several times for gaps longer than any; the number is rounded."""

    lengths: Mapping[str, tuple[float, float]]
    repeat: str | None = None

    @cached_property
    def codes(self) -> tuple[str, ...]:
        """The gap codes, shortest first."""
        return tuple(sorted(self.lengths, key=lambda code: self.lengths[code]))

    def between(self, before: datetime, now: datetime) -> tuple[str, ...]:
        """As ``GapRule.between``. Where codes name their shortest length only, each lasts up to the next one's."""
        return self.of_days((now - before).total_seconds() / 86400)

    def of_days(self, days: float) -> tuple[str, ...]:
        """The codes of a gap of so many days.

        >>> Gaps({"5m-1h": (5 / 1440, 1 / 24), "=6mt": (180, math.inf)}, "=6mt").of_days(400)
        ('=6mt', '=6mt')
        """
        if days <= 0:
            return ()
        begun = [code for code in self.codes if self.lengths[code][0] <= days]
        if not begun:
            return ()
        code = begun[-1]
        low, high = self.lengths[code]
        if code == self.repeat:
            return (code,) * max(1, round(days / low))
        return (code,) if low == high or days < high else ()  # beyond its end, and no other code begins there

    def fitting(self, before: tuple[date, date], now: tuple[date, date]) -> tuple[str, ...]:
        """As ``GapRule.fitting``; a day known may be any hour of it."""
        least = max(0, (now[0] - before[1]).days - 1)
        most = (now[1] - before[0]).days + 1
        ends = [*(self.lengths[code][0] for code in self.codes[1:]), math.inf]
        return tuple(
            code for code, end in zip(self.codes, ends, strict=True) if self.lengths[code][0] <= most and end > least
        )

    def days(self, code: str) -> float:
        """As ``GapRule.days``."""
        return max(0.0, self.lengths.get(code, (0.0, 0.0))[0])

    def label(self, code: str) -> str:
        """As ``GapRule.label``.

        >>> Gaps({"a": (0.01, 2), "b": (400, math.inf)}).label("b")
        '1.1 years later or more'
        """
        low, high = self.lengths[code]
        if not math.isfinite(high):
            return f"{_in_words(low)} later or more"
        return f"{_in_words(low)} later" if low == high else f"{_in_words(low)} to {_in_words(high)} later"


def days_of_unit(unit: str) -> float:
    """How many days a unit of time lasts. Raises BadInput for a unit that is none.

    >>> days_of_unit("years"), days_of_unit("h") * 24
    (365.2422, 1.0)
    """
    if unit not in _DAYS_OF_UNIT:
        raise BadInput(f"{unit!r} is not a unit of time. Known are {', '.join(_DAYS_OF_UNIT)}.")
    return _DAYS_OF_UNIT[unit]


_DAYS_OF_UNIT = {
    **dict.fromkeys(("s", "seconds"), 1 / 86400),
    **dict.fromkeys(("m", "minutes"), 1 / 1440),
    **dict.fromkeys(("h", "hours"), 1 / 24),
    **dict.fromkeys(("d", "days"), 1.0),
    **dict.fromkeys(("w", "weeks"), 7.0),
    **dict.fromkeys(("mt", "months"), 30.0),
    **dict.fromkeys(("y", "years"), 365.2422),
}


def elapsed_in_words(days: float) -> str:
    """How much later, where it is ten minutes or more.

    >>> elapsed_in_words(400.0), elapsed_in_words(0.001)
    ('1.1 years later', '')
    """
    return f"{_in_words(days)} later" if days * 1440 >= WITHIN_A_DAY[0][1] else ""


def _in_words(days: float) -> str:
    if days <= 0:
        return "a moment"
    for unit, length in (
        ("years", 365.2422),
        ("months", 30.44),
        ("days", 1.0),
        ("hours", 1 / 24),
        ("minutes", 1 / 1440),
    ):
        if days >= length:
            number = f"{days / length:.2g}" if days / length < 99.5 else f"{days / length:.0f}"
            return f"{number} {unit[:-1] if number == '1' else unit}"
    return "less than a minute"
