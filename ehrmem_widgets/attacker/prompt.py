"""Known facts become a prompt: a list of slots, each the set of codes that the attacker allows at that place."""

from __future__ import annotations

import calendar
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from ehrmem_widgets.attacker.facts import AGE, DatePrecision, KnownFact, ValuePrecision
from ehrmem_widgets.cohort.record import Event, Record
from ehrmem_widgets.cohort.time_codes import AGE_CODES, OLDEST, days_of_unit
from ehrmem_widgets.tokens.sequence import age_places, encode, own_sequence
from ehrmem_widgets.tokens.vocabulary import Vocabulary

Slot = tuple[str, ...]
Window = tuple[float, float]
BETWEEN = -2
YEAR = days_of_unit("years")


@dataclass(frozen=True)
class Prompt:
    """What the model is shown. ``places`` says of each slot the fact that it belongs to: the place of an event, AGE, or BETWEEN
    for start and gap codes. ``facts`` are those that made it; of the rest, ``stripped`` were sensitive and ``left_out`` have a
    code that the model does not know. ``last`` is the place of the last event known (-1: none). ``days``: for a model that is told ages, the
    lowest and the highest age at each slot that the known dates allow; empty for others."""

    slots: tuple[Slot, ...]
    places: tuple[int, ...]
    facts: tuple[KnownFact, ...]
    stripped: int = 0
    left_out: int = 0
    days: tuple[Window, ...] = ()

    @property
    def last(self) -> int:
        """The place in ``record.events`` of the last known event, -1 where none is known."""
        return max((fact.place for fact in self.facts), default=-1)

    @property
    def exact(self) -> bool:
        """Whether every slot allows one code at one time only."""
        return all(len(slot) == 1 for slot in self.slots) and all(first == last for first, last in self.days)


def build_prompt(
    record: Record, facts: Sequence[KnownFact], vocabulary: Vocabulary, *, strip: Collection[str] = ()
) -> Prompt:
    """The prompt that known facts make (methods, section 2).

    ``strip`` holds the base codes of the attributes asked about and of their proxies: such facts never enter. Of a record that came as the
    model's own sequence the codes stand as they do there, with all that lies between them, so that the first codes are its literal prefix.
    """
    if own_sequence(record, vocabulary) is not None:
        return _from_sequence(record, facts, vocabulary, strip)
    slots: list[Slot] = [(code,) for code in vocabulary.opening]
    places: list[int] = [BETWEEN] * len(slots)
    days: list[Window] = [(0.0, 0.0)] * len(slots)
    used: list[KnownFact] = []
    stripped = left_out = 0
    before: tuple[Event, KnownFact] | None = None

    def add(more: Sequence[Slot], place: int, allowed: Window = (0.0, 0.0)) -> None:
        slots.extend(more)
        places.extend([place] * len(more))
        days.extend([allowed] * len(more))

    for fact in _in_order(facts, record, vocabulary):
        if fact.place == AGE:
            age = _age_slots(record, fact, vocabulary)
            if AGE_CODES[0] in strip:
                stripped += 1
            elif age:
                add(age, AGE, _ages_allowed(record, fact, vocabulary))
                used.append(fact)
            elif fact.value is not ValuePrecision.UNKNOWN:
                left_out += 1
            continue
        event = record.events[fact.place]
        if event.code in strip:
            stripped += 1
            continue
        written = value_slots(event, fact.value, vocabulary)
        again = not vocabulary.token_scheme.repeats and written[:1] in [(slot,) for slot in slots]
        if not written or again or (event.time is None and not vocabulary.token_scheme.statics):
            left_out += 1
            continue
        if event.time is not None:
            if before is not None:
                add(_gap_slots(before, (event, fact), vocabulary), BETWEEN)
            before = (event, fact)
        add(written, fact.place, _days_known(record, event, fact.date))
        used.append(fact)
    return Prompt(
        tuple(slots), tuple(places), tuple(used), stripped, left_out, _narrowed(days) if vocabulary.timed else ()
    )


def _from_sequence(
    record: Record, facts: Sequence[KnownFact], vocabulary: Vocabulary, strip: Collection[str]
) -> Prompt:
    """As ``build_prompt``, along the record's own sequence. What lies between two known events (gaps, marks of visits) is taken with them;
    where an event between them is not known, or a date only roughly, the gap is what the attacker can tell."""
    sequence = encode(record, vocabulary)
    of_age = age_places(sequence.codes, vocabulary)
    known = {fact.place: fact for fact in facts}
    stripped = {p for p in known if (AGE_CODES[0] if p == AGE else record.events[p].code) in strip}
    age: list[Slot] = []
    if AGE in known and AGE not in stripped and of_age:
        exact = known[AGE].value is ValuePrecision.EXACT
        age = [(sequence.codes[at],) for at in of_age] if exact else _age_slots(record, known[AGE], vocabulary)
    written = {place for place in sequence.event_of if place >= 0}
    taken = {
        place
        for place in written & known.keys() - stripped
        if value_slots(record.events[place], known[place].value, vocabulary)
    }
    left_out = len(known.keys() - {AGE} - stripped - taken)
    if AGE in known and AGE not in stripped and not age and known[AGE].value is not ValuePrecision.UNKNOWN:
        left_out += 1
    slots: list[Slot] = []
    places: list[int] = []
    days: list[Window] = []
    own = sequence.days or (0.0,) * len(sequence.codes)
    between: list[tuple[str, float]] = []
    before: tuple[Event, KnownFact] | None = None
    whole = True  # nothing dated was passed over since the last code taken

    def add(more: Sequence[Slot], place: int, allowed: Window) -> None:
        slots.extend(more)
        places.extend([place] * len(more))
        days.extend([allowed] * len(more))

    for at, (code, place) in enumerate(zip(sequence.codes, sequence.event_of, strict=True)):
        if at < len(vocabulary.opening) and code == vocabulary.opening[at]:
            add([(code,)], BETWEEN, (own[at], own[at]))
        elif at in of_age:
            if at == of_age[0]:
                exactly = AGE not in known or known[AGE].value is ValuePrecision.EXACT
                add(age, AGE, (own[at], own[at]) if exactly else _ages_allowed(record, known[AGE], vocabulary))
        elif place < 0:
            between.append((code, own[at]))
        elif place not in taken:
            whole = whole and record.events[place].time is None
        else:
            event, fact = record.events[place], known[place]
            when = (own[at], own[at]) if fact.date is DatePrecision.EXACT else _days_known(record, event, fact.date)
            if place not in places:
                last = days[-1][0] if days else 0.0  # what lies between came after it
                dated = fact.date is DatePrecision.EXACT and (before is None or before[1].date is DatePrecision.EXACT)
                taken_with = _between([one for one, _ in between], before, (event, fact), vocabulary, whole=whole)
                for slot, (_, day) in zip(taken_with, between, strict=False):
                    add([slot], BETWEEN, (day, day) if dated else (last, when[1]))
                between, whole = [], True
                before = (event, fact) if event.time is not None else before
                if fact.value is not ValuePrecision.EXACT:
                    add(value_slots(event, fact.value, vocabulary), place, when)
            if fact.value is ValuePrecision.EXACT:
                add([(code,)], place, when)
    used = tuple(
        fact
        for fact in sorted(facts, key=lambda fact: fact.place)
        if fact.place in taken or (fact.place == AGE and age)
    )
    return Prompt(
        tuple(slots), tuple(places), used, len(stripped), left_out, _narrowed(days) if vocabulary.timed else ()
    )


def _between(
    codes: Sequence[str],
    before: tuple[Event, KnownFact] | None,
    now: tuple[Event, KnownFact],
    vocabulary: Vocabulary,
    *,
    whole: bool,
) -> list[Slot]:
    """What stands before a known event: the very ``codes`` where nothing was passed over and both dates are known exactly."""
    event, fact = now
    if before is None or event.time is None:
        return [(code,) for code in codes] if whole else []
    if whole and before[1].date is fact.date is DatePrecision.EXACT:
        return [(code,) for code in codes]
    slots = _gap_slots(before, now, vocabulary)
    if not whole:
        return slots
    for code in codes:
        if not vocabulary.is_gap(code):
            slots.append((code,))
    return slots


def value_slots(event: Event, precision: ValuePrecision, vocabulary: Vocabulary) -> tuple[Slot, ...]:
    """The slots of an event: one, and where the model writes values as codes of their own a second one for the value. None when
    the model does not know the event."""
    first = value_slot(event, precision, vocabulary)
    if not first or not vocabulary.next_codes or event.value is None:
        return (first,) if first else ()
    found = vocabulary.bin_of(vocabulary.name(event), event.value)
    return (first, _as_precise(precision, found.code, vocabulary.next_codes)) if found else (first,)


def value_slot(event: Event, precision: ValuePrecision, vocabulary: Vocabulary) -> Slot:
    """The codes that fit an event whose value is known with the given precision; empty when the model knows none.

    Coarse means low, middle or high: the lowest 3, the middle 4 or the highest 3 of ten bins.
    """
    code, name = vocabulary.code_of(event), vocabulary.name(event)
    binned = name in vocabulary.value_bins and not vocabulary.next_codes
    if event.value is None or not binned or precision is ValuePrecision.EXACT:
        return (code,) if code in vocabulary else ()
    return _as_precise(precision, code, vocabulary.bins_of(name))


def _as_precise(precision: ValuePrecision, code: str, every: Sequence[str]) -> Slot:
    """Of all bins of a value, lowest first, those that an attacker allows who knows it so precisely."""
    if precision is ValuePrecision.UNKNOWN:
        return tuple(every)
    if code not in every:
        return ()
    if precision is ValuePrecision.EXACT:
        return (code,)
    third = [min(int(3 * (b + 0.5) / len(every)), 2) for b in range(len(every))]
    return tuple(c for b, c in enumerate(every) if third[b] == third[list(every).index(code)])


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


def _in_order(facts: Sequence[KnownFact], record: Record, vocabulary: Vocabulary) -> list[KnownFact]:
    """As they are written: the age first, or behind the static facts where these stand at birth."""
    statics = sum(event.time is None for event in record.events) if vocabulary.timed else 0
    return sorted(facts, key=lambda fact: statics - 0.5 if fact.place == AGE else fact.place)


def _days_known(record: Record, event: Event, precision: DatePrecision) -> Window:
    """The lowest and the highest age in days at an event, as far as the attacker knows its date."""
    if event.time is None:
        return 0.0, 0.0
    if precision is DatePrecision.EXACT:
        return (at := record.days_at(event.time)), at
    allowed = days_allowed(event.time.date(), precision)
    if allowed is None:
        return 0.0, (OLDEST + 1) * YEAR
    first, last = (datetime.combine(day, time.min) for day in allowed)
    return record.days_at(first), record.days_at(last + timedelta(days=1))


def _ages_allowed(record: Record, fact: KnownFact, vocabulary: Vocabulary) -> Window:
    """The lowest and the highest age in days when the record begins."""
    age = record.age_at_start()
    if not vocabulary.timed or age is None:
        return 0.0, 0.0
    if fact.value is ValuePrecision.EXACT:
        dated = (event for event in record.events if event.time is not None)
        first = next((event for event in dated if vocabulary.codes_of(event)), None)
        at = record.days_at(first.time) if first else age * YEAR
        return at, at
    return age // 10 * 10 * YEAR, (age // 10 * 10 + 10) * YEAR


def _narrowed(days: Sequence[Window]) -> tuple[Window, ...]:
    """What each slot allows once the others' times are heeded: no code comes before those that stand before it."""
    lows = list(itertools.accumulate((low for low, _ in days), max))
    highs = list(itertools.accumulate((high for _, high in reversed(days)), min))[::-1]
    return tuple((low, max(low, high)) for low, high in zip(lows, highs, strict=True))


def _age_slots(record: Record, fact: KnownFact, vocabulary: Vocabulary) -> list[Slot]:
    if vocabulary.timed:
        told = vocabulary.token_scheme.no_event
        known = fact.value is not ValuePrecision.UNKNOWN and record.age_at_start() is not None
        return [(told,)] if told and known else []
    age, true = record.age_at_start(), vocabulary.age_codes_of(record)
    if age is None or fact.value is ValuePrecision.UNKNOWN or not true:
        return []
    first, last = (age, age) if fact.value is ValuePrecision.EXACT else (age // 10 * 10, age // 10 * 10 + 9)
    if true[0] != vocabulary.token_scheme.birth:
        return [tuple(code for code, years in vocabulary.ages.items() if first <= min(years, OLDEST) <= last)]
    if (
        vocabulary.gap_rule is None or len(true) == 1 or fact.value is ValuePrecision.EXACT
    ):  # as with values: exactly is its bin
        return [(code,) for code in true]
    day = date(2000, 1, 1)  # any: only the years between count
    then = (day + timedelta(days=first * YEAR), day + timedelta(days=(last + 1) * YEAR))
    fitting = [code for code in vocabulary.gap_rule.fitting((day, day), then) if code in vocabulary]
    return [(true[0],), *([tuple(fitting)] if len(true) == 2 else [(code,) for code in true[1:]])]


def _gap_slots(before: tuple[Event, KnownFact], now: tuple[Event, KnownFact], vocabulary: Vocabulary) -> list[Slot]:
    (event_a, fact_a), (event_b, fact_b) = before, now
    assert event_a.time is not None and event_b.time is not None
    rule = vocabulary.gap_rule
    if rule is None:
        return []
    true = rule.between(event_a.time, event_b.time)
    if not true:  # one panel: that its tests belong together is known with them
        return []
    exact = fact_a.date is fact_b.date is DatePrecision.EXACT
    if exact or len(true) > 1:  # a gap of several codes is taken as known: how many there are is not dialled
        return [(code,) for code in true if code in vocabulary]
    a = days_allowed(event_a.time.date(), fact_a.date)
    b = days_allowed(event_b.time.date(), fact_b.date)
    fitting = rule.codes if a is None or b is None else rule.fitting(a, b)
    allowed = tuple(code for code in fitting if code in vocabulary)
    return [allowed] if allowed else []
