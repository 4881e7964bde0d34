"""How much the attacker knows already: k, the patients who fit the facts, and bits = log2(N / k) (methods, section 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from ehrmem_widgets.attacker.facts import AGE, DatePrecision, KnownFact, ValuePrecision
from ehrmem_widgets.attacker.prompt import days_allowed, value_slot
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.cohort.vocabulary import Vocabulary


@dataclass(frozen=True)
class Identifiability:
    """``k`` of ``n`` patients fit the ``facts`` facts; ``bits`` = log2(n / k) is what the attacker already has."""

    facts: int
    k: int
    n: int

    @property
    def bits(self) -> float:
        """log2(n / k); log2(n) when nobody fits (which a true record cannot bring about)."""
        return math.log2(self.n / max(self.k, 1)) if self.n else 0.0


class FactIndex:
    """Answers which patients of a data set fit a set of facts, fast enough for a dial.

    The rows of a code are read when a fact first names it and kept (the 512 codes last used).
    """

    def __init__(self, dataset: MedsDataset, vocabulary: Vocabulary) -> None:
        self._dataset = dataset
        self._vocabulary = vocabulary
        self._ids = np.array(dataset.ids(), dtype=np.int64)
        self._rows = lru_cache(maxsize=512)(self._read_rows)

    def count(self, record: Record, facts: Sequence[KnownFact]) -> Identifiability:
        """k for the facts of one record, each matched on its own: code, value and date as precisely as known."""
        fitting = np.ones(len(self._ids), dtype=bool)
        for fact in facts:
            fitting &= self._who_fits(record, fact)
        return Identifiability(len(facts), int(fitting.sum()), len(self._ids))

    def _who_fits(self, record: Record, fact: KnownFact) -> np.ndarray:
        if fact.place == AGE:
            ages, age = self._ages, record.age_at_start()
            if age is None:  # then the fact says nothing
                return np.ones(len(ages), dtype=bool)
            if fact.value is ValuePrecision.COARSE:
                return np.asarray(ages // 10 == age // 10)
            return np.asarray(ages == age) if fact.value is ValuePrecision.EXACT else np.ones(len(ages), dtype=bool)
        event = record.events[fact.place]
        patients, times, values = self._rows(event.code)
        keep = np.ones(len(patients), dtype=bool)
        if event.value is not None and fact.value is not ValuePrecision.UNKNOWN:
            slot = value_slot(event, fact.value, self._vocabulary)
            ends = self._vocabulary.range_of(self._vocabulary.name(event), slot)
            low, high = ends if ends and ends != (-np.inf, np.inf) else (event.value, np.nextafter(event.value, np.inf))
            keep &= (values >= low) & (values < high)
        if event.time is not None and fact.date is DatePrecision.EXACT:
            keep &= times == np.datetime64(event.time, "m")
        elif event.time is not None and (allowed := days_allowed(event.time.date(), fact.date)) is not None:
            first, last = (np.datetime64(day, "D") for day in allowed)
            days = times.astype("datetime64[D]")
            keep &= (days >= first) & (days <= last)
        fitting = np.zeros(len(self._ids), dtype=bool)
        fitting[patients[keep]] = True
        return fitting

    def _read_rows(self, code: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = self._dataset.query("SELECT patient_id, time, value FROM events WHERE code = ?", [code]).fetchnumpy()
        patients = np.searchsorted(self._ids, np.asarray(rows["patient_id"]))
        times = np.ma.filled(rows["time"], np.datetime64("NaT")).astype("datetime64[m]")
        return patients, times, np.ma.filled(np.ma.asarray(rows["value"], dtype=float), np.nan)

    @cached_property
    def _ages(self) -> np.ndarray:
        rows = self._dataset.query(
            """
            SELECT patient_id, date_diff('year', birth, first)
                   - CASE WHEN strftime(first, '%m%d') < strftime(birth, '%m%d') THEN 1 ELSE 0 END AS age
            FROM (SELECT patient_id, min(time) FILTER (code LIKE 'MEDS_BIRTH%') AS birth,
                         min(time) FILTER (code NOT LIKE 'MEDS_BIRTH%') AS first FROM events GROUP BY patient_id)
            ORDER BY patient_id
            """
        ).fetchnumpy()
        return np.maximum(np.ma.filled(np.ma.asarray(rows["age"], dtype=float), np.nan), 0)  # as Record.age_at_start
