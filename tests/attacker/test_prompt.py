"""What the attacker knows becomes slots: the truth is always among the codes that a slot allows."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date, timedelta

import pytest

from ehrmem_widgets.attacker.facts import AGE, DatePrecision, KnownFact, ValuePrecision, facts_of_level
from ehrmem_widgets.attacker.prompt import build_prompt, days_allowed, value_slot
from ehrmem_widgets.cohort.record import Event, Record
from ehrmem_widgets.cohort.time_codes import AGE_CODES, TIME_CODES, gap_code
from ehrmem_widgets.tokens.sequence import encode
from tests.attacker.records import DRUG, FLU, IRON, RECORD, SODIUM, VOCABULARY, at

EXACT, COARSE, UNKNOWN = ValuePrecision.EXACT, ValuePrecision.COARSE, ValuePrecision.UNKNOWN


def prompt_of(*facts: KnownFact, record: Record = RECORD, strip: frozenset[str] = frozenset()):
    return build_prompt(record, facts, VOCABULARY, strip=strip)


def sodium(*bins: int) -> tuple[str, ...]:
    return tuple(f"{SODIUM}//{b}" for b in bins)


@pytest.mark.parametrize("b", range(10))
def test_a_value_is_known_as_its_bin_its_third_or_not_at_all(b: int) -> None:
    event = Event(at("2020-01-01"), SODIUM, b + 0.5)
    third = (0, 1, 2) if b < 3 else (3, 4, 5, 6) if b < 7 else (7, 8, 9)
    assert value_slot(event, EXACT, VOCABULARY) == sodium(b)
    assert value_slot(event, COARSE, VOCABULARY) == sodium(*third)
    assert value_slot(event, UNKNOWN, VOCABULARY) == sodium(*range(10))


@pytest.mark.parametrize("precision", ValuePrecision)
def test_a_code_without_bins_is_itself_whatever_the_precision(precision: ValuePrecision) -> None:
    assert value_slot(Event(None, "GENDER//F"), precision, VOCABULARY) == ("GENDER//F",)
    assert value_slot(Event(None, FLU, 5.0), precision, VOCABULARY) == (FLU,)
    assert value_slot(Event(None, "unknown"), precision, VOCABULARY) == ()
    assert value_slot(Event(None, SODIUM), precision, VOCABULARY) == ()  # the model knows it with a value only


def test_a_prompt_of_everything_exact_is_the_records_own_sequence() -> None:
    prompt = prompt_of(*facts_of_level("first_1000", RECORD, VOCABULARY))
    assert prompt.slots == tuple((code,) for code in encode(RECORD, VOCABULARY).codes[:-1])
    assert prompt.exact
    assert (prompt.stripped, prompt.left_out, prompt.last) == (0, 0, 9)


def test_nothing_known_is_the_start_code() -> None:
    prompt = prompt_of()
    assert (prompt.slots, prompt.facts, prompt.last) == ((("[BOS]",),), (), -1)
    assert build_prompt(RECORD, (), replace(VOCABULARY, start=None), strip=frozenset()).slots == ()


def test_what_is_not_known_is_absent_and_the_gap_spans_it() -> None:
    prompt = prompt_of(KnownFact(8), KnownFact(2), KnownFact(0))  # in any order
    assert prompt.slots == (("[BOS]",), ("GENDER//F",), (FLU,), ("TIME//1M",), sodium(3))
    assert [fact.place for fact in prompt.facts] == [0, 2, 8]
    assert prompt.last == 8


def test_the_age_is_known_to_the_year_the_decade_or_not_at_all() -> None:
    assert prompt_of(KnownFact(AGE)).slots == (("[BOS]",), ("AGE//60",))
    young = replace(RECORD, birth=at("1981-05-05"))
    decade = tuple(f"AGE//{age}" for age in range(30, 40))
    assert prompt_of(KnownFact(AGE, COARSE), record=young).slots == (("[BOS]",), decade)
    old = replace(RECORD, birth=at("1901-05-05"))
    assert prompt_of(KnownFact(AGE, COARSE), record=old).slots[1] == ("AGE//110",)
    unknown = prompt_of(KnownFact(AGE, UNKNOWN))
    assert (unknown.slots, unknown.facts, unknown.left_out) == ((("[BOS]",),), (), 0)


def test_an_age_that_the_model_does_not_know_is_counted_as_left_out() -> None:
    ageless = replace(VOCABULARY, codes=tuple(c for c in VOCABULARY.codes if c not in AGE_CODES))
    prompt = build_prompt(RECORD, (KnownFact(AGE), KnownFact(0)), ageless, strip=frozenset())
    assert prompt.slots == (("[BOS]",), ("GENDER//F",))
    assert prompt.left_out == 1


def test_events_that_the_model_does_not_know_are_left_out_and_counted() -> None:
    strange = replace(RECORD, events=(*RECORD.events, Event(at("2020-04-01"), "LAB//strange", 1.0)))
    prompt = prompt_of(KnownFact(0), KnownFact(10), record=strange)
    assert prompt.slots == (("[BOS]",), ("GENDER//F",))
    assert (prompt.left_out, prompt.stripped) == (1, 0)
    assert [fact.place for fact in prompt.facts] == [0]


def test_the_attribute_and_its_proxies_never_enter_and_are_counted() -> None:
    every = facts_of_level("first_1000", RECORD, VOCABULARY)
    prompt = prompt_of(*every, strip=frozenset({DRUG, SODIUM, AGE_CODES[0]}))
    assert prompt.stripped == 5  # the age, three sodium values in two bins, the drug
    said = {code for slot in prompt.slots for code in slot}
    assert not [code for code in said if code.startswith((SODIUM, DRUG, "AGE//"))]
    assert {FLU, IRON, "GENDER//F"} <= said
    assert {fact.place for fact in prompt.facts} == {0, 1, 2, 3, 5, 6}
    assert prompt.last == 6
    # The gap to what follows is that of the events which are left.
    codes = [slot[0] for slot in prompt.slots]
    assert codes[-4:] == ["TIME//0", IRON, "TIME//0", "ENCOUNTER//OUTPATIENT"]


def test_stripping_takes_precedence_over_leaving_out() -> None:
    strange = replace(RECORD, events=(Event(at("2020-04-01"), "LAB//strange", 1.0),))
    prompt = prompt_of(KnownFact(0), record=strange, strip=frozenset({"LAB//strange"}))
    assert (prompt.stripped, prompt.left_out) == (1, 0)


# Dates ----------------------------------------------------------------------------------------------------------------


def test_the_days_that_a_date_may_be() -> None:
    draw = random.Random(3)
    for _ in range(500):
        day = date(2019, 1, 1) + timedelta(days=draw.randrange(2000))
        for precision in (DatePrecision.EXACT, DatePrecision.DAY):
            assert days_allowed(day, precision) == (day, day)
        monday, sunday = days_allowed(day, DatePrecision.WEEK) or (day, day)
        assert (monday.weekday(), sunday.weekday(), (sunday - monday).days) == (0, 6, 6)
        assert monday <= day <= sunday
        first, last = days_allowed(day, DatePrecision.MONTH) or (day, day)
        assert first.day == 1 and (last + timedelta(days=1)).day == 1
        assert (first.month, last.month) == (day.month, day.month) and first <= day <= last
        assert days_allowed(day, DatePrecision.UNKNOWN) is None


def gap_between(a: Event, b: Event, known_a: DatePrecision, known_b: DatePrecision) -> tuple[str, ...]:
    record = Record(1, "P", (a, b))
    slots = prompt_of(KnownFact(0, date=known_a), KnownFact(1, date=known_b), record=record).slots
    assert len(slots) in (3, 4)
    return slots[2] if len(slots) == 4 else ()


def test_a_gap_slot_always_holds_the_true_gap() -> None:
    draw = random.Random(4)
    lengths = [60, 600, 86_400, 10 * 86_400, 100 * 86_400, 1000 * 86_400]
    for _ in range(3000):
        first = at("2018-01-01") + timedelta(seconds=draw.randrange(5 * 365 * 86_400))
        second = first + timedelta(seconds=draw.randrange(draw.choice(lengths)))
        known = draw.choice(list(DatePrecision)), draw.choice(list(DatePrecision))
        slot = gap_between(Event(first, FLU), Event(second, DRUG), *known)
        true = gap_code(first, second)
        assert (true in slot) if true is not None else slot == (), (first, second, known, slot)
        assert slot == tuple(code for code in TIME_CODES if code in slot)  # in order, none twice


def test_a_gap_slot_allows_no_more_than_the_dates_do() -> None:
    a, b = Event(at("2020-01-06 10:00"), FLU), Event(at("2020-01-20 10:00"), DRUG)  # Mondays
    day, week, month = DatePrecision.DAY, DatePrecision.WEEK, DatePrecision.MONTH
    assert gap_between(a, b, day, day) == ("TIME//2W",)
    assert gap_between(a, b, DatePrecision.EXACT, day) == ("TIME//2W",)
    assert gap_between(a, b, day, week) == ("TIME//2W",)  # 14 to 20 days
    assert gap_between(a, b, week, week) == ("TIME//1W", "TIME//2W")  # 8 to 20 days
    assert gap_between(a, b, day, month) == tuple(c for c in TIME_CODES if c in TIME_CODES[:13])  # up to 25 days
    assert gap_between(a, b, day, DatePrecision.UNKNOWN) == TIME_CODES
    assert gap_between(a, b, DatePrecision.UNKNOWN, day) == TIME_CODES


def test_one_day_known_leaves_the_hours_open() -> None:
    a, b = Event(at("2020-01-06 10:00"), FLU), Event(at("2020-01-06 10:30"), DRUG)
    within = ("TIME//10-20", "TIME//20-40", "TIME//40-60", "TIME//0")
    assert gap_between(a, b, DatePrecision.DAY, DatePrecision.DAY) == within
    assert gap_between(a, b, DatePrecision.EXACT, DatePrecision.EXACT) == ("TIME//20-40",)


def test_one_panel_has_no_gap_however_little_is_known() -> None:
    now = at("2020-01-06 10:00")
    for precision in DatePrecision:
        later = Event(now + timedelta(minutes=9), DRUG)
        assert gap_between(Event(now, FLU), later, precision, precision) == ()


def test_static_facts_have_no_gaps() -> None:
    assert prompt_of(KnownFact(0), KnownFact(1), KnownFact(2)).slots[1:] == (("GENDER//F",), ("RACE//UNKNOWN",), (FLU,))
