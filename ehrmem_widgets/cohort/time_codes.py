"""Codes for time: the age at the start of a record and the gaps between its events (the paper's ``AGE//53``, ``TIME//2``)."""

from __future__ import annotations

from datetime import datetime

# Within one day by minutes; between days by calendar days, so that a gap is known to whoever knows both dates.
_WITHIN_A_DAY = (("TIME//10-20", 10), ("TIME//20-40", 20), ("TIME//40-60", 40), ("TIME//0", 60))
_BETWEEN_DAYS = (
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
TIME_CODES = tuple(code for code, _ in (*_WITHIN_A_DAY, *_BETWEEN_DAYS))
_FEWEST_DAYS = {code: minutes / 1440 for code, minutes in _WITHIN_A_DAY} | dict(_BETWEEN_DAYS)
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
        return _last_from(_BETWEEN_DAYS, days)
    return _last_from(_WITHIN_A_DAY, (now - before).total_seconds() / 60)


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
    fitting = [code for code, _ in _WITHIN_A_DAY] if fewest_days <= 0 else []
    for place, (code, first) in enumerate(_BETWEEN_DAYS):
        following = _BETWEEN_DAYS[place + 1][1] if place + 1 < len(_BETWEEN_DAYS) else float("inf")
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
