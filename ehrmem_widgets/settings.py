"""The numbers that people set, each with its bounds: the one place that every door (screen, command, plan, notebook, keyword)
asks, so that a typo is refused everywhere in the same words and never turned into another number."""

from __future__ import annotations

import math
import operator
import re
import reprlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from numbers import Real

from ehrmem_widgets.errors import BadInput

_WHOLE = re.compile(r"-?[0-9]{1,18}")
_DECIMAL = re.compile(r"-?(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})")
_PRICE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?([A-Z]{3}|[€$£]) per 1,?000 (questions|codes)")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
NAMES_BEFORE = {
    "rung": "knowledge",
    "rungs": "knowledge_levels",
    "rung_of": "knowledge_of",
    "grammar": "token_scheme",
    "write_grammar": "write_token_scheme",
}
"""What settings were called before version 0.2: refused everywhere with the name that they have now."""
YEARS = (1800, 2300)  # MIMIC moves its dates to 2110 to 2214, and births of the very old to about 1800


@dataclass(frozen=True)
class Whole:
    """A whole number from ``least`` to ``most``, such as ``example``; ``or_zero``: 0 is allowed besides, and what it means.

    >>> HORIZON.check(32, "horizon"), HORIZON.read(" 32 ", "horizon")
    (32, 32)
    >>> HORIZON.read("64.7", "horizon")
    Traceback (most recent call last):
    ehrmem_widgets.errors.BadInput: horizon must be a whole number from 1 to 36525, such as 64; got '64.7'.
    """

    least: int
    most: int
    example: int
    or_zero: str = ""

    def check(self, given: object, name: str) -> int:
        """A number as an int. Raises BadInput, with the setting's name, for any other value; True and 64.0 are no whole numbers."""
        try:
            number = None if isinstance(given, bool) else operator.index(given)  # type: ignore[arg-type]
        except TypeError:
            number = None
        if number is None or not self._fits(number):
            raise self.refusal(given, name)
        return number

    def read(self, text: str, name: str) -> int:
        """A typed number. Raises BadInput for any text that is not just its digits."""
        if not _WHOLE.fullmatch(text.strip()) or not self._fits(int(text)):
            raise self.refusal(text, name)
        return int(text)

    def refusal(self, given: object, name: str) -> BadInput:
        """The error for a value that does not fit, in one sentence."""
        return BadInput(f"{name} must be {self}; got {shown(given)}.")

    def _fits(self, number: int) -> bool:
        return self.least <= number <= self.most or (bool(self.or_zero) and number == 0)

    def __str__(self) -> str:  # without thousands separators: it says what can be typed
        zero = f"0 ({self.or_zero}) or " if self.or_zero else ""
        return f"{zero}a whole number from {self.least} to {self.most}, such as {self.example}"


@dataclass(frozen=True)
class Number:
    """A number from ``least`` to ``most``, such as ``example``; ``exclusive``: the bounds themselves are left out.

    >>> PRIOR.read("0.5", "prior")
    0.5
    >>> SHARE.check(float("nan"), "threshold")
    Traceback (most recent call last):
    ehrmem_widgets.errors.BadInput: threshold must be a number above 0 and below 1, such as 0.1; got nan.
    """

    least: float
    most: float
    example: float
    exclusive: bool = False

    def check(self, given: object, name: str) -> float:
        """A number as a float. Raises BadInput, with the setting's name, for any other value; True and nan are no numbers."""
        number = math.nan
        if not isinstance(given, bool) and isinstance(given, Real):
            with suppress(OverflowError):  # a whole number of 400 digits
                number = float(given)
        if not self._fits(number):
            raise self.refusal(given, name)
        return number

    def read(self, text: str, name: str) -> float:
        """A typed number. Raises BadInput for any text that is no plain decimal number."""
        if not _DECIMAL.fullmatch(text.strip()) or not self._fits(float(text)):
            raise self.refusal(text, name)
        return float(text)

    def refusal(self, given: object, name: str) -> BadInput:
        """The error for a value that does not fit, in one sentence."""
        return BadInput(f"{name} must be {self}; got {shown(given)}.")

    def in_percent(self) -> Number:
        """The same for a share that is given in per cent."""
        return replace(self, **{k: round(100 * getattr(self, k), 6) for k in ("least", "most", "example")})

    def _fits(self, number: float) -> bool:
        return self.least < number < self.most or (not self.exclusive and number in (self.least, self.most))

    def __str__(self) -> str:
        bounds = ("above", "and below") if self.exclusive else ("from", "to")
        return f"a number {bounds[0]} {self.least:g} {bounds[1]} {self.most:g}, such as {self.example:g}"


@dataclass(frozen=True)
class Price:
    """What somebody declares that 1,000 questions cost, or 1,000 codes (read or written)."""

    amount: float
    currency: str
    per: str

    @classmethod
    def read(cls, text: str, name: str) -> Price:
        """A price as it is typed. Raises BadInput, with the setting's name, for any other text.

        >>> Price.read("0.50 EUR per 1000 questions", "price")
        Price(amount=0.5, currency='EUR', per='questions')
        """
        found = _PRICE.fullmatch(text.strip())
        if found is None:
            example = "such as 0.50 EUR per 1000 questions (or per 1000 codes)"
            raise BadInput(f"{name} must be an amount with its currency, {example}; got {shown(text)}.")
        return cls(float(found[1]), found[2], found[3])

    def __str__(self) -> str:
        return f"{self.amount:.6f}".rstrip("0").rstrip(".") + f" {self.currency} per 1000 {self.per}"


HORIZON = Whole(1, 36_525, 64)
"""Codes that a model generates, at most as many as it has room for; days (a hundred years) where it gives elapsed times."""
SAMPLES = Whole(16, 65_536, 1024)
"""Trajectories about one patient: 65,536 know a share to about .004, and take minutes."""
SAMPLES_MOVED = Whole(16, 4096, 48)
"""Trajectories about one patient at each value of an identifier."""
SAMPLES_EACH = Whole(2, 4096, 16)
"""Trajectories about each of many patients; one would have no interval."""
SEED = Whole(0, 2**32 - 1, 0)
"""scikit-learn takes no larger one."""
FIRST_CODES = Whole(1, 100_000, 10)
PATIENTS = Whole(2, 10_000_000, 400)
"""Ordinary people, half of them members."""
MOST = Whole(0, PATIENTS.most, PATIENTS.example)
"""Ordinary people drawn, in Python: 0 leaves the planted canaries alone."""
PATIENTS_ON_SCREEN = Whole(40, 10_000_000, 400)
"""Fewer give no verdict about a cohort."""
COHORT = Whole(20, 2000, 60, or_zero="nobody")
PEOPLE = Whole(19, 400, 79)
"""Never-seen people asked the same about one patient: with 79, one of four identifiers can be claimed."""
POPULATION = Whole(1, 9_999_999_999, 300_000)
"""People from whom the patients of a data set come; at least as many as these, which is checked where the data are open."""
POPULATION_OR_NONE = replace(POPULATION, or_zero="not declared")
ASKED = Whole(1, 1_000_000, 1)
"""Questions asked in a session."""
HOLDERS = Whole(0, 100_000, 25)
SEVERITY = Whole(1, 5, 3)
FOLDS = Whole(2, 10, 5)
ALTERNATIVES = Whole(1, 65_535, 255)
CANARIES = Whole(22, 100_000, 200)
"""Canaries made: half of them are planted, so that 11 of each may be shown."""
REPETITIONS = Whole(1, 1000, 16)
WORKERS = Whole(1, 256, 2)
PORT = Whole(1, 65_535, 8888)
EPOCHS = Whole(1, 100_000, 30)
SHADOWS = Whole(4, 64, 16)
"""Shadow models: of four, two saw a person and two did not."""
MINUTES = Number(0, 100_000, 10, exclusive=True)
EPSILON = Number(0.01, 50, 8)
"""1 is strong privacy, 8 is weak; far above that a model is as good as trained without."""
DELTA = Number(0, 0.5, 0.00001)
"""Beside epsilon: the chance that its promise fails altogether; at most one in the number of patients."""
FPR = Number(0.001, 0.5, 0.01)
"""Tolerated share of false alarms."""
PRIOR = Number(0.001, 0.99, 0.1)
"""Share of members among those asked about, on a screen."""
SHARE = Number(0, 1, 0.1, exclusive=True)
FALSE_DISCOVERIES = Number(0.01, 0.5, 0.1)
"""Of those listed, the share expected to be so by chance."""
FEWER_THAN = Whole(2, 1_000_000, 11)
"""People who hold a code that is to be made coarser."""
TOP_K = Whole(1, 1_000_000, 10)
ROUND_TO = Number(0, 0.5, 0.01, exclusive=True)
SUPPRESS_BELOW = Number(0.000001, 1, 0.05)
"""Of an output filter: how many codes are shown, a step of probabilities, and the probability below which a sensitive code is hidden (1: always)."""
CONTINUATIONS, CONTINUED_BY = 3, 32
"""How many continuations of one prompt are embedded, and how many codes each has at most: in T3, the neighbours and the live map alike, so that
their ranks can be compared."""
QUERIES = Whole(1, 1_000_000_000, 1000)
"""Continuations, scored records and embeddings that a server gives in a minute or a day."""

OF_NOTEBOOKS: Mapping[str, Whole | Number] = {
    "horizon": HORIZON, "samples": SAMPLES, "seed": SEED, "fpr": FPR, "prior": PRIOR, "patients": PATIENTS_ON_SCREEN,
    "cohort": COHORT, "people": PEOPLE, "workers": WORKERS,
    "asked": ASKED, "population": POPULATION_OR_NONE,
}  # fmt: skip
"""The numbers among the notebooks' parameters, and of the screens' keywords, by name."""

OF_PROBES: Mapping[str, Whole | Number] = {
    "horizon": HORIZON, "samples": SAMPLES_EACH, "seed": SEED, "holders": HOLDERS, "threshold": SHARE, "folds": FOLDS,
    "alternatives": ALTERNATIVES, "most": MOST,
}  # fmt: skip
"""The numbers among the probes' keywords, by name."""


def check_screen(**given: object) -> None:
    """Raise BadInput for the first setting of a screen whose value does not fit."""
    for name, value in given.items():
        OF_NOTEBOOKS[name].check(value, name)


def check_probe(**given: object) -> None:
    """Raise BadInput for the first keyword of a probe whose value does not fit.

    >>> check_probe(horizon=64, seed=True)
    Traceback (most recent call last):
    ehrmem_widgets.errors.BadInput: seed must be a whole number from 0 to 4294967295, such as 0; got True.
    """
    for name, value in given.items():
        OF_PROBES[name].check(value, name)


def check_claim(epsilon: float | None, delta: float | None, where: str = "") -> None:
    """Raise BadInput for half a claim of differential privacy.

    >>> check_claim(3.0, None)
    Traceback (most recent call last):
    ehrmem_widgets.errors.BadInput: claimed_epsilon 3 says nothing without claimed_delta: ask who claims it for its delta (0 only for pure differential privacy).
    """
    if epsilon is not None and delta is None:
        raise BadInput(
            f"{where}claimed_epsilon {epsilon:g} says nothing without claimed_delta: ask who claims it for its delta (0 only for pure differential privacy)."
        )
    if delta is not None and epsilon is None:
        raise BadInput(f"{where}claimed_delta {delta:g} says nothing without claimed_epsilon.")


def check_shares(given: object, name: str) -> tuple[float, ...]:
    """Shares above 0 and below 1, at least one. Raises BadInput, with the setting's name, for anything else.

    >>> check_shares([True], "priors")
    Traceback (most recent call last):
    ehrmem_widgets.errors.BadInput: each of priors must be a number above 0 and below 1, such as 0.1; got True.
    """
    if not isinstance(given, list | tuple) or not given:
        raise BadInput(f"{name} must be a list of shares, such as [0.01, 0.1]; got {shown(given)}.")
    return tuple(SHARE.check(one, f"each of {name}") for one in given)


def read_day(text: str) -> date | None:
    """A day written YYYY-MM-DD that the calendar has, in the years of ``YEARS``; None for any other text.

    >>> read_day("2150-02-28"), read_day("2150-02-29"), read_day("9999-01-01")
    (datetime.date(2150, 2, 28), None, None)
    """
    if not _DAY.fullmatch(text) or not YEARS[0] <= int(text[:4]) <= YEARS[1]:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def shown(given: object) -> str:
    """Any value as it is shown in a sentence: short, whatever its size, depth or number of digits.

    >>> shown("x" * 500), shown(date(2020, 1, 1)), shown([[["a"]]])
    ("'xxxxxxxxxxxxxx...xxxxxxxxxxxxxxx'", 'the date 2020-01-01', '[[[...]]]')
    """
    return _SHOWN.repr(given)


class _Shown(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if abs(x) < 10**40 else "a number of more than 40 digits"

    def repr_date(self, x: date, level: int) -> str:
        return f"the date {x}"  # what YAML makes of 2020-01-01 without quotes

    repr_datetime = repr_date


_SHOWN = _Shown()
_SHOWN.maxlevel, _SHOWN.maxlist, _SHOWN.maxtuple, _SHOWN.maxdict = 2, 3, 3, 3
_SHOWN.maxstring, _SHOWN.maxother, _SHOWN.maxlong = 34, 60, 24
