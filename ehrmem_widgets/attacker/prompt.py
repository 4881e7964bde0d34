"""Known facts become a prompt: a list of slots, each the set of codes that the attacker allows at that place."""

from __future__ import annotations

import calendar
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from ehrmem_widgets.attacker.facts import AGE, DatePrecision, KnownFact, ValuePrecision
from ehrmem_widgets.cohort.record import Event, Record
from ehrmem_widgets.cohort.time_codes import AGE_CODES, TIME_CODES, age_code, gap_code, gap_codes_between
from ehrmem_widgets.cohort.vocabulary import Vocabulary

Slot = tuple[str, ...]


@dataclass(frozen=True)
class Prompt:
    """What the model is shown. ``facts`` are those that made it; of the rest, ``stripped`` were sensitive and
    ``left_out`` have a code that the model does not know. ``last`` is the place of the last event known (-1: none)."""

    slots: tuple[Slot, ...]
    facts: tuple[KnownFact, ...]
    stripped: int = 0
    left_out: int = 0

    @property
    def last(self) -> int:
        """The place in ``record.events`` of the last known event, -1 where none is known."""
        return max((fact.place for fact in self.facts), default=-1)

    @property
    def exact(self) -> bool:
        """Whether every slot allows one code only."""
        return all(len(slot) == 1 for slot in self.slots)


def build_prompt(
    record: Record, facts: Sequence[KnownFact], vocabulary: Vocabulary, *, strip: Collection[str] = ()
) -> Prompt:
    """The prompt that known facts make (methods, section 2).

    ``strip`` holds the base codes of the attributes asked about and of their proxies: such facts never enter.
    """
    slots: list[Slot] = [(vocabulary.start,)] if vocabulary.start else []
    used: list[KnownFact] = []
    stripped = left_out = 0
    before: tuple[Event, KnownFact] | None = None
    for fact in sorted(facts, key=lambda fact: fact.place):
        if fact.place == AGE:
            slot = _age_slot(record, fact, vocabulary)
            if AGE_CODES[0] in strip:
                stripped += 1
            elif slot:
                slots.append(slot)
                used.append(fact)
            elif fact.value is not ValuePrecision.UNKNOWN:
                left_out += 1
            continue
        event = record.events[fact.place]
        if event.code in strip:
            stripped += 1
            continue
        slot = value_slot(event, fact.value, vocabulary)
        if not slot:
            left_out += 1
            continue
        if event.time is not None:
            if before is not None and (gap := _gap_slot(before, (event, fact), vocabulary)):
                slots.append(gap)
            before = (event, fact)
        slots.append(slot)
        used.append(fact)
    return Prompt(tuple(slots), tuple(used), stripped, left_out)


def value_slot(event: Event, precision: ValuePrecision, vocabulary: Vocabulary) -> Slot:
    """The codes that fit an event whose value is known with the given precision; empty when the model knows none.

    Coarse means low, middle or high: the lowest 3, the middle 4 or the highest 3 of ten bins.
    """
    code = vocabulary.code_of(event)
    if event.value is None or event.code not in vocabulary.bins or precision is ValuePrecision.EXACT:
        return (code,) if code in vocabulary else ()
    every = vocabulary.bins_of(event.code)
    if precision is ValuePrecision.UNKNOWN:
        return tuple(every)
    if code not in every:
        return ()
    third = [min(int(3 * (b + 0.5) / len(every)), 2) for b in range(len(every))]
    return tuple(c for b, c in enumerate(every) if third[b] == third[every.index(code)])


def days_allowed(time: date, precision: DatePrecision) -> tuple[date, date] | None:
    """The first and last day that a date may be, as far as the attacker knows; None: any.

    >>> days_allowed(date(2020, 2, 12), DatePrecision.MONTH)
    (datetime.date(2020, 2, 1), datetime.date(2020, 2, 29))
    """
    if precision is DatePrecision.UNKNOWN:
        return None
    if precision is DatePrecision.WEEK:
        monday = time - timedelta(days=time.weekday())
        return monday, monday + timedelta(days=6)
    if precision is DatePrecision.MONTH:
        return time.replace(day=1), time.replace(day=calendar.monthrange(time.year, time.month)[1])
    return time, time


def _age_slot(record: Record, fact: KnownFact, vocabulary: Vocabulary) -> Slot:
    age = record.age_at_start()
    if age is None or fact.value is ValuePrecision.UNKNOWN:
        return ()
    ages = [age] if fact.value is ValuePrecision.EXACT else range(age // 10 * 10, age // 10 * 10 + 10)
    return tuple(code for code in dict.fromkeys(map(age_code, ages)) if code in vocabulary)


def _gap_slot(before: tuple[Event, KnownFact], now: tuple[Event, KnownFact], vocabulary: Vocabulary) -> Slot:
    (event_a, fact_a), (event_b, fact_b) = before, now
    assert event_a.time is not None and event_b.time is not None
    true = gap_code(event_a.time, event_b.time)
    if true is None:  # one panel: that its tests belong together is known with them
        return ()
    if fact_a.date is fact_b.date is DatePrecision.EXACT:
        return (true,) if true in vocabulary else ()
    a = days_allowed(event_a.time.date(), fact_a.date)
    b = days_allowed(event_b.time.date(), fact_b.date)
    fitting = list(TIME_CODES)
    if a is not None and b is not None:
        fitting = gap_codes_between(max(0, (b[0] - a[1]).days), (b[1] - a[0]).days)
    return tuple(code for code in fitting if code in vocabulary)
