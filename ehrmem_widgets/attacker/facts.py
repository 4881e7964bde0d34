"""Known facts: which events of a record the attacker holds, and how precisely; and the knowledge levels, ready-made sets of them."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from ehrmem_widgets.cohort.codes import Kind, parse_code
from ehrmem_widgets.cohort.record import Event, Record
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.settings import FIRST_CODES, YEARS, read_day, shown
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from ehrmem_widgets.yaml_text import read_yaml_file

Precision = TypeVar("Precision", bound=StrEnum)
AGE = -1  # the place of the age among the facts: it is derived, not an event


class ValuePrecision(StrEnum):
    """How well a value is known: its bin; low, middle or high; or only that the test was done."""

    EXACT = "exact"
    COARSE = "coarse"
    UNKNOWN = "unknown"


class DatePrecision(StrEnum):
    """How well a date is known: to the minute, the day, the week, the month, or not at all."""

    EXACT = "exact"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    UNKNOWN = "unknown"


@dataclass(frozen=True, order=True)
class KnownFact:
    """One event that the attacker holds, by its place in ``record.events`` (AGE: the age at the first event)."""

    place: int
    value: ValuePrecision = ValuePrecision.EXACT
    date: DatePrecision = DatePrecision.EXACT


KnownFacts = tuple[KnownFact, ...]

KNOWLEDGE_LEVELS: Mapping[str, str] = {
    "nothing": "Nothing",
    "age_sex": "Age and sex",
    "demographics": "Demographics: age, sex and other static facts",
    "one_lab": "Demographics + one lab test with its value",
    "lab_dates": "Demographics + which labs were drawn that day",
    "lab_values": "Demographics + those labs with their values",
    "first_10": "The first 10 codes",
    "first_20": "The first 20 codes",
    "first_50": "The first 50 codes",
}
_PLACE = re.compile(r"[0-9]{1,9}")
_FIRST = re.compile(r"first_([1-9][0-9]{0,5})")
_BEFORE = re.compile(r"before_([0-9]{4}-[0-9]{2}-[0-9]{2})")


def knowledge_words(knowledge: str) -> str:
    """A knowledge level in words, without what is the same in all of them."""
    words = KNOWLEDGE_LEVELS.get(knowledge)
    if words is None:
        start, _, rest = knowledge.partition("_")
        words = {"first": f"The first {rest} codes", "before": f"Everything before {rest}"}.get(start, knowledge)
    return words.removesuffix(": age, sex and other static facts")


def knows(knowledge: str) -> str:
    """What the attacker knows at a knowledge level, within a sentence.

    >>> knows("demographics"), knows("first_10")
    ('demographics', 'the first 10 codes')
    """
    words = knowledge_words(knowledge)
    return words if words[:2].isupper() else words[:1].lower() + words[1:]


def facts_of_level(name: str, record: Record, vocabulary: Vocabulary) -> KnownFacts:
    """The known facts of a knowledge level: a name of ``KNOWLEDGE_LEVELS``, ``first_N`` (N from 1 to 100000), or ``before_YYYY-MM-DD``.

    The levels with labs hold the labs of the first day on which any was drawn, and the visit that they belong to, so that what
    comes later is left to be leaked.
    """
    static = tuple(KnownFact(place) for place, event in enumerate(record.events) if event.time is None)
    age = (KnownFact(AGE),) if record.age_at_start() is not None else ()
    labs, visit = _first_labs(record)
    check_knowledge(name)
    if name == "nothing":
        return ()
    if name == "age_sex":
        return (*age, *(fact for fact in static if record.events[fact.place].code.startswith(("GENDER//", "SEX//"))))
    if name == "demographics":
        return (*age, *static)
    if name == "one_lab":
        return (*age, *static, *(KnownFact(place, date=DatePrecision.DAY) for place in (*visit, *labs[:1])))
    if name == "lab_dates":
        drawn = (KnownFact(place, ValuePrecision.UNKNOWN, DatePrecision.DAY) for place in labs)
        return (*age, *static, *(KnownFact(place, date=DatePrecision.DAY) for place in visit), *drawn)
    if name == "lab_values":
        return (*age, *static, *(KnownFact(place, date=DatePrecision.DAY) for place in (*visit, *labs)))
    if match := _FIRST.fullmatch(name):
        return first_codes(int(match[1]), record, vocabulary)
    limit = datetime.fromisoformat(name.removeprefix("before_"))
    before = (place for place, e in enumerate(record.events) if e.time is not None and e.time < limit)
    return (*age, *static, *map(KnownFact, before))


def check_knowledge(name: object) -> str:
    """A knowledge level's name. Raises BadInput, saying what there is, for a value that is none, an N or a date out of bounds included.

    >>> check_knowledge("before_9999-99-99")
    Traceback (most recent call last):
    ehrmem_widgets.errors.BadInput: The knowledge level 'before_9999-99-99' needs a day of the calendar from 1800 to 2300; write before_YYYY-MM-DD.
    """
    if isinstance(name, str):
        match = _FIRST.fullmatch(name)
        if name in KNOWLEDGE_LEVELS or (match and FIRST_CODES.least <= int(match[1]) <= FIRST_CODES.most):
            return name
        if match := _BEFORE.fullmatch(name):
            if read_day(match[1]) is None:
                raise BadInput(
                    f"The knowledge level {shown(name)} needs a day of the calendar from {YEARS[0]} to {YEARS[1]}; write before_YYYY-MM-DD."
                )
            return name
    raise BadInput(
        f"There is no knowledge level {shown(name)}. The levels are {', '.join(KNOWLEDGE_LEVELS)}, first_N (N from {FIRST_CODES.least} to "
        f"{FIRST_CODES.most}), and before_YYYY-MM-DD."
    )


def check_knowledge_levels(names: object) -> tuple[str, ...]:
    """Names of knowledge levels, at least one and each once. Raises BadInput for anything else."""
    if not isinstance(names, list | tuple) or not names:
        raise BadInput(
            f"Knowledge levels are given as a list of at least one, such as [demographics, first_10]; got {shown(names)}."
        )
    for place, name in enumerate(map(check_knowledge, names)):
        if name in names[:place]:
            raise BadInput(f"The knowledge level {shown(name)} is given twice. Is another one meant?")
    return tuple(names)


def first_codes(n: int, record: Record, vocabulary: Vocabulary) -> KnownFacts:
    """The events among the first n codes of the record's sequence, the start code not counted (the paper's set-up)."""
    sequence = encode(record, vocabulary)
    end = len(vocabulary.opening) + n
    age = 0 < sequence.age_ends <= end
    places = dict.fromkeys(place for place in sequence.event_of[:end] if place >= 0)  # an event may take two codes
    return (*((KnownFact(AGE),) if age else ()), *map(KnownFact, places))


def check_facts(facts: Sequence[KnownFact], record: Record) -> KnownFacts:
    """The facts in the record's order, once each. Raises BadInput for an event that the record does not have."""
    last = len(record.events) - 1
    if record.age_at_start() is None and any(fact.place == AGE for fact in facts):
        raise BadInput(f"The record of {record.pseudonym} gives no age: it lacks a birth date or any dated event.")
    for fact in facts:
        if not AGE <= fact.place <= last:
            raise BadInput(f"The record of {record.pseudonym} has events 0 to {last}; there is no event {fact.place}.")
    if len({fact.place for fact in facts}) < len(facts):
        raise BadInput("A fact is given twice.")
    return tuple(sorted(facts, key=lambda fact: fact.place))


def facts_to_text(facts: Sequence[KnownFact]) -> str:
    """Facts in one short line, for a command: places in the record, each with its precisions unless exact.

    >>> facts_to_text((KnownFact(AGE), KnownFact(0), KnownFact(5, ValuePrecision.UNKNOWN, DatePrecision.DAY)))
    'age 0 5:unknown:day'
    """
    words = []
    for fact in facts:
        precisions = [str(fact.value), str(fact.date)]
        name = "age" if fact.place == AGE else str(fact.place)
        words.append(":".join([name, *precisions]) if precisions != ["exact", "exact"] else name)
    return " ".join(words)


def facts_from_text(text: str) -> KnownFacts:
    """What ``facts_to_text`` wrote.

    >>> facts_from_text("age 5:unknown:day")[1]
    KnownFact(place=5, value=<ValuePrecision.UNKNOWN: 'unknown'>, date=<DatePrecision.DAY: 'day'>)
    """
    facts = []
    for word in text.split():
        name, _, precisions = word.partition(":")
        value, _, when = precisions.partition(":")
        if name != "age" and not _PLACE.fullmatch(name):
            raise BadInput(
                f"{shown(text)} is neither a facts file nor a line of facts such as 'age 0 1 5:unknown:day' (age, then places in "
                "the record, each with the precision of its value and of its date)."
            )
        facts.append(
            KnownFact(
                AGE if name == "age" else int(name),
                _precision(ValuePrecision, value or "exact"),
                _precision(DatePrecision, when or "exact"),
            )
        )
    return tuple(facts)


def load_facts(path: str | Path, record: Record, vocabulary: Vocabulary) -> KnownFacts:
    """Known facts from a YAML or JSON file, checked against the record.

    The file is a list. ``age: 53`` is the age; any other fact has a ``code`` and, where known, ``value`` and ``date``;
    ``value_precision`` (exact, coarse, unknown) and ``date_precision`` (exact, day, week, month, unknown) say how
    precisely the attacker knows them. Raises BadInput for a fact that contradicts the record, saying what it holds.
    """
    given = read_yaml_file(Path(path), f"The facts file {str(path)!r}")
    if not isinstance(given, list) or not all(isinstance(item, dict) for item in given):
        raise BadInput(f"The facts file {str(path)!r} must hold a list of facts, each with a code (or age).")
    facts: list[KnownFact] = []
    for item in given:
        facts.append(_fact_from(item, record, vocabulary, {fact.place for fact in facts}))
    return check_facts(facts, record)


def facts_to_json(facts: Sequence[KnownFact], record: Record) -> str:
    """The facts as ``load_facts`` reads them."""
    items: list[dict[str, object]] = []
    for fact in facts:
        if fact.place == AGE:
            items.append({"age": record.age_at_start(), "value_precision": str(fact.value)})
            continue
        event = record.events[fact.place]
        item: dict[str, object] = {"code": event.code}
        if event.value is not None:
            item |= {"value": event.value, "value_precision": str(fact.value)}
        if event.time is not None:
            item |= {"date": event.time.isoformat(" ", "minutes"), "date_precision": str(fact.date)}
        items.append(item)
    return json.dumps(items, indent=1)


def _first_labs(record: Record) -> tuple[list[int], list[int]]:
    """Places of the labs of the first day that has any with a value (else any), and of that day's encounters before them."""
    first = _first_lab(record.events, with_value=True)
    if first is None and (first := _first_lab(record.events, with_value=False)) is None:
        return [], []
    with_value = record.events[first].value is not None
    day = record.events[first].time.date()  # type: ignore[union-attr]
    that_day = [(p, e) for p, e in enumerate(record.events) if e.time is not None and e.time.date() == day]
    labs = [p for p, e in that_day if _is_lab(e) and (e.value is not None or not with_value)]
    return labs, [p for p, e in that_day if p < first and parse_code(e.code).kind is Kind.encounter]


def _first_lab(events: Sequence[Event], *, with_value: bool) -> int | None:
    dated = (place for place, event in enumerate(events) if event.time is not None and _is_lab(event))
    return next((place for place in dated if events[place].value is not None or not with_value), None)


def _is_lab(event: Event) -> bool:
    return parse_code(event.code).kind is Kind.laboratory


def _fact_from(item: Mapping[str, object], record: Record, vocabulary: Vocabulary, taken: set[int]) -> KnownFact:
    unknown = set(item) - {"age", "code", "value", "date", "value_precision", "date_precision"}
    if unknown or ("age" in item) == ("code" in item) or not isinstance(item.get("code", ""), str):
        raise BadInput(
            f"A fact has either an age or a code, and may have value, date, value_precision and date_precision; got {shown(item)}."
        )
    value = _precision(ValuePrecision, item.get("value_precision", "exact"))
    if "age" in item:
        age = record.age_at_start()
        if age is not None and item["age"] != age:  # without an age, check_facts says so
            raise BadInput(f"The facts say age {shown(item['age'])}, the record of {record.pseudonym} says {age}.")
        return KnownFact(AGE, value)
    when = _moment(item.get("date"))
    amount = _amount(item.get("value"))
    default = "unknown" if when is None else "day" if not isinstance(when, datetime) else "exact"
    precision = _precision(DatePrecision, item.get("date_precision", default))
    same_code = [
        place for place, event in enumerate(record.events) if event.code == item["code"] and place not in taken
    ]
    if not same_code:
        near = difflib.get_close_matches(str(item["code"]), {event.code for event in record.events}, n=3)
        raise BadInput(
            f"The record of {record.pseudonym} has no (further) event {shown(item['code'])}."
            + (f" Close to it are {', '.join(near)}." if near else "")
        )
    for place in sorted(same_code, key=lambda place: _far_off(when, amount, record.events[place])):
        event = record.events[place]
        on_date = when is None or _same_moment(when, event.time, precision)
        in_bin = amount is None or (event.value is not None and _same_bin(amount, event, vocabulary))
        if on_date and in_bin:
            return KnownFact(
                place, value if amount is not None or "value_precision" in item else _default_value(event), precision
            )
    seen = "; ".join(
        f"{e.time:%Y-%m-%d}" + (f" with value {e.value:g}" if e.value is not None else "")
        for e in (record.events[place] for place in same_code[:5])
        if e.time is not None
    )
    raise BadInput(
        f"The facts contradict the record of {record.pseudonym}: {item['code']} is there on {seen or 'no date'}, "
        f"not as { ({k: str(v) for k, v in item.items() if k in ('value', 'date')}) }."
    )


def _default_value(event: Event) -> ValuePrecision:
    return ValuePrecision.EXACT if event.value is None else ValuePrecision.UNKNOWN


def _precision(kind: type[Precision], given: object) -> Precision:
    try:
        return kind(str(given))
    except ValueError:
        raise BadInput(f"A precision is one of {', '.join(kind)}; got {shown(given)}.") from None


def _amount(given: object) -> float | None:
    if given is None:
        return None
    try:
        amount = float(str(given))
    except ValueError:
        amount = math.nan
    if not math.isfinite(amount):
        raise BadInput(f"The value of a fact is a number; got {shown(given)}.")
    return amount


def _moment(given: object) -> date | datetime | None:
    moment = given
    if isinstance(given, str):  # YAML makes dates of dates
        with suppress(ValueError):
            moment = date.fromisoformat(given) if len(given) == 10 else datetime.fromisoformat(given)
    if moment is not None and not (isinstance(moment, date) and YEARS[0] <= moment.year <= YEARS[1]):
        raise BadInput(
            f"{shown(given)} is not a date from {YEARS[0]} to {YEARS[1]}. Write YYYY-MM-DD or YYYY-MM-DD HH:MM."
        )
    if isinstance(moment, datetime) and moment.tzinfo is not None:  # a record's times are UTC, without a zone
        return moment.astimezone(UTC).replace(tzinfo=None)
    return moment


def _far_off(when: date | datetime | None, amount: float | None, event: Event) -> tuple[float, float]:
    """How far an event is from a given date and value: of several that fit, the nearest is meant."""
    away = 0.0
    if isinstance(when, datetime) and event.time is not None:
        away = abs((event.time - when).total_seconds())
    elif when is not None and event.time is not None:
        away = abs((event.time.date() - when).days)
    return away, abs(event.value - amount) if amount is not None and event.value is not None else 0.0


def _same_moment(when: date | datetime, time: datetime | None, precision: DatePrecision) -> bool:
    if time is None:
        return False
    day = when.date() if isinstance(when, datetime) else when
    if precision is DatePrecision.UNKNOWN:
        return True
    if precision is DatePrecision.MONTH:
        return (day.year, day.month) == (time.year, time.month)
    if precision is DatePrecision.WEEK:
        return day.isocalendar()[:2] == time.date().isocalendar()[:2]
    if isinstance(when, datetime) and precision is DatePrecision.EXACT:
        return abs((when - time).total_seconds()) < 60
    return day == time.date()


def _same_bin(amount: float, event: Event, vocabulary: Vocabulary) -> bool:
    assert event.value is not None
    own = vocabulary.bin_of(vocabulary.name(event), event.value)
    if own is None or own.low == -own.high:  # no bins, or one that holds everything
        return abs(amount - event.value) <= 1e-6 * max(1.0, abs(event.value))
    return own == vocabulary.bin_of(vocabulary.name(event), amount)
