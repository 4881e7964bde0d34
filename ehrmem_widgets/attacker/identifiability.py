"""How much the attacker knows already: k, the patients who fit the facts, and bits = log2(N / k) (methods, sections 2 and 8.5).

k and bits are about the data set. Whether a person is identified is about people: it takes the declared number of those from whom the
data set's patients come.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property

import numpy as np

from ehrmem_widgets.attacker.facts import AGE, DatePrecision, KnownFact, ValuePrecision
from ehrmem_widgets.attacker.prompt import days_allowed, value_slot
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.population import others_in_population
from ehrmem_widgets.tokens.vocabulary import Vocabulary

ALREADY_IDENTIFIED = "already identified"
_LESS_THAN_ONE = 0.5  # other people

_Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # places of patients, minutes since 1970 and values of a code's rows
_MOST_KEPT = 4_000_000  # rows


@dataclass(frozen=True)
class PopulationFit:
    """Who fits the facts among the ``people`` from whom the data set's patients come.

    ``others``: how many besides the patient, with the interval of that number; ``uniqueness``: the probability that nobody else
    does (Rocher, Hendrickx and de Montjoye, Nature Communications 2019).
    """

    people: int
    others: Estimate
    uniqueness: Estimate

    @property
    def fitting(self) -> Estimate:
        """How many fit, the patient included."""
        return Estimate(self.others.value + 1, self.others.low + 1, self.others.high + 1, self.others.n)

    @property
    def bits(self) -> float:
        """log2(people / how many are expected to fit): what the facts tell of who is meant among all these people."""
        return math.log2(self.people / self.fitting.value)

    @property
    def already_identified(self) -> bool:
        """Whether the facts fit the patient alone."""
        return self.only(self.others)

    @staticmethod
    def only(others: Estimate) -> bool:
        """The rule of "already identified": the whole interval of the number of others is below one half."""
        return others.high < _LESS_THAN_ONE


@dataclass(frozen=True)
class Identifiability:
    """``k`` of the data set's ``n`` patients fit the ``facts`` facts; ``bits`` = log2(n / k) is what the facts tell of who is meant
    among these. ``population``: the same for the people from whom they come; None where their number was not declared."""

    facts: int
    k: int
    n: int
    population: PopulationFit | None = None

    @property
    def bits(self) -> float:
        """log2(n / k); log2(n) when nobody fits (which a true record cannot bring about)."""
        return math.log2(self.n / max(self.k, 1)) if self.n else 0.0

    @property
    def already_identified(self) -> bool:
        """Whether the facts single the patient out among people, not just in the data set; never without a declared population."""
        return self.population is not None and self.population.already_identified


def checked_population(given: int | None, patients: int) -> int | None:
    """A declared number of people from whom so many patients come, None for none. Raises BadInput for one that cannot be.

    >>> checked_population(300_000, 3_000), checked_population(None, 3_000)
    (300000, None)
    """
    if given is None:
        return None
    if type(given) is not int or given < patients:
        raise BadInput(
            f"The population is the number of people from whom the data set's patients come: a whole number, at least the "
            f"{patients:,} patients themselves; got {given!r}."
        )
    return given


class FactIndex:
    """Answers which patients of a data set fit a set of facts, fast enough for a dial.

    The rows of a code are read when a fact first names it, those of several new codes in one go, and kept: 12 bytes a row and
    4 million rows at most, of which the codes used longest ago go first. A code with more rows is looked up each time.
    """

    def __init__(self, dataset: MedsDataset, vocabulary: Vocabulary) -> None:
        self._dataset = dataset
        self._vocabulary = vocabulary
        self._ids = np.array(dataset.ids(), dtype=np.int64)
        self._events = dict(zip(dataset.codes["code"], dataset.codes["events"], strict=True))
        self._kept: dict[str, _Rows] = {}  # the code whose last use is oldest first
        self._lock = threading.Lock()

    def count(self, record: Record, facts: Sequence[KnownFact], *, population: int | None = None) -> Identifiability:
        """k for the facts of one record, each matched on its own: code, value and date as precisely as known. With a declared
        ``population`` also how many of those people fit."""
        if population is None:
            fitting = np.ones(len(self._ids), dtype=bool)
            for one in self._each(record, facts):
                fitting &= one
            return Identifiability(len(facts), int(fitting.sum()), len(self._ids))
        fits = self.fits(record, facts)
        known = Identifiability(len(facts), int(fits.all(axis=0).sum()), len(self._ids))
        if not known.k:
            return known
        others = others_in_population(fits[:, self._ids != record.patient_id], population)
        return replace(known, population=PopulationFit(population, *others))

    def fits(self, record: Record, facts: Sequence[KnownFact]) -> np.ndarray:
        """(facts, patients) bool: who fits each fact of one record, the patients by ascending id."""
        found = np.empty((len(facts), len(self._ids)), dtype=bool)
        for place, one in enumerate(self._each(record, facts)):
            found[place] = one
        return found

    def _each(self, record: Record, facts: Sequence[KnownFact]) -> Iterator[np.ndarray]:
        with self._lock:
            self._keep(dict.fromkeys(record.events[fact.place].code for fact in facts if fact.place != AGE))
        for fact in facts:
            yield self._who_fits(record, fact)

    def _who_fits(self, record: Record, fact: KnownFact) -> np.ndarray:
        if fact.place == AGE:
            ages, age = self._ages, record.age_at_start()
            if age is None:  # then the fact says nothing
                return np.ones(len(ages), dtype=bool)
            if fact.value is ValuePrecision.COARSE:
                return np.asarray(ages // 10 == age // 10)
            return np.asarray(ages == age) if fact.value is ValuePrecision.EXACT else np.ones(len(ages), dtype=bool)
        event = record.events[fact.place]
        values: tuple[float, float] | None = None
        dates: tuple[date, date] | None = None
        if event.value is not None and fact.value is not ValuePrecision.UNKNOWN:
            slot = value_slot(event, fact.value, self._vocabulary)
            values = self._vocabulary.range_of(self._vocabulary.name(event), slot)
            if not values or values == (-np.inf, np.inf):
                values = event.value, np.nextafter(event.value, np.inf)
        if event.time is not None and fact.date is DatePrecision.EXACT:
            minute = event.time.replace(second=0, microsecond=0)
            dates = minute, minute + timedelta(minutes=1)
        elif event.time is not None and (allowed := days_allowed(event.time.date(), fact.date)) is not None:
            dates = allowed[0], allowed[1] + timedelta(days=1)
        fitting = np.zeros(len(self._ids), dtype=bool)
        fitting[self._holders(event.code, values, dates)] = True
        return fitting

    def _holders(self, code: str, values: tuple[float, float] | None, dates: tuple[date, date] | None) -> np.ndarray:
        """Places of the patients with an event of this code in these ranges, whose upper ends are not in them."""
        if (rows := self._kept.get(code)) is not None:
            patients, minutes, measured = rows
            keep = np.ones(len(patients), dtype=bool)
            if values is not None:
                keep &= (measured >= np.float64(values[0])) & (measured < np.float64(values[1]))
            if dates is not None:
                first, last = (np.datetime64(end, "m").astype(np.int64) for end in dates)
                keep &= (minutes >= first) & (minutes < last)
            return patients[keep]
        sql = "SELECT DISTINCT patient_id FROM events WHERE code = ?"
        if values is not None:
            sql += " AND value >= ?::DOUBLE AND value < ?::DOUBLE"
        if dates is not None:
            sql += " AND time >= ?::TIMESTAMP AND time < ?::TIMESTAMP"
        found = self._dataset.query(sql, [code, *(values or ()), *(dates or ())]).fetchnumpy()
        return np.searchsorted(self._ids, found["patient_id"])

    def _keep(self, codes: Iterable[str]) -> None:
        """Read what is not kept yet of these codes, as far as there is room for all of them together."""
        room = _MOST_KEPT
        new: list[str] = []
        for code in codes:
            if (events := int(self._events.get(code, 0))) <= room:
                room -= events
                if code in self._kept:
                    self._kept[code] = self._kept.pop(code)
                else:
                    new.append(code)
        if not new:
            return
        total = sum(int(self._events.get(code, 0)) for code in (*self._kept, *new))
        while total > _MOST_KEPT:
            oldest = next(iter(self._kept))
            total -= len(self._kept.pop(oldest)[0])
        rows = self._dataset.query(
            "WITH wanted AS (SELECT unnest(?::VARCHAR[]) AS code, unnest(?::USMALLINT[]) AS place) "
            "SELECT place, patient_id, time, value FROM events JOIN wanted USING (code)",
            [new, list(range(len(new)))],
        ).fetchnumpy()
        patients: np.ndarray = np.searchsorted(self._ids, rows["patient_id"]).astype(np.int32)
        times = np.ma.filled(rows["time"], np.datetime64("NaT")).astype("datetime64[m]")
        minutes = np.where(np.isnat(times), np.iinfo(np.int32).min, times.astype(np.int64)).astype(np.int32)
        values = np.ma.filled(np.ma.asarray(rows["value"], dtype=np.float32), np.nan)
        for place, code in enumerate(new):
            at = np.flatnonzero(rows["place"] == place)
            self._kept[code] = (patients[at], minutes[at], values[at])

    @cached_property
    def _ages(self) -> np.ndarray:
        rows = self._dataset.query(
            """
            SELECT date_diff('year', birth, first)
                   - CASE WHEN strftime(first, '%m%d') < strftime(birth, '%m%d') THEN 1 ELSE 0 END AS age
            FROM patients ORDER BY patient_id
            """
        ).fetchnumpy()
        return np.maximum(np.ma.filled(np.ma.asarray(rows["age"], dtype=float), np.nan), 0)  # as Record.age_at_start
