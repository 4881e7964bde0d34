"""The knowledge levels hold exactly what they say, and facts survive being written down; what contradicts the record is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ehrmem_widgets.attacker.facts import (
    AGE,
    KNOWLEDGE_LEVELS,
    DatePrecision,
    KnownFact,
    ValuePrecision,
    check_facts,
    facts_from_text,
    facts_of_level,
    facts_to_json,
    facts_to_text,
    load_facts,
)
from ehrmem_widgets.cohort.record import Event, Record
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.tokens.sequence import encode
from tests.attacker.records import DRUG, FLU, IRON, RECORD, SODIUM, VOCABULARY, at

EXACT, COARSE, UNKNOWN = ValuePrecision.EXACT, ValuePrecision.COARSE, ValuePrecision.UNKNOWN
DAY = DatePrecision.DAY
STATIC = (KnownFact(AGE), KnownFact(0), KnownFact(1))


def knowledge(name: str, record: Record = RECORD) -> tuple[KnownFact, ...]:
    return facts_of_level(name, record, VOCABULARY)


def places(name: str) -> list[int]:
    return [fact.place for fact in knowledge(name)]


def test_the_knowledge_levels_hold_what_they_say() -> None:
    assert knowledge("nothing") == ()
    assert knowledge("demographics") == STATIC
    assert knowledge("one_lab") == (*STATIC, KnownFact(3, EXACT, DAY), KnownFact(4, EXACT, DAY))
    drawn = tuple(KnownFact(place, UNKNOWN, DAY) for place in (4, 7))  # the iron has no value
    assert knowledge("lab_dates") == (*STATIC, KnownFact(3, EXACT, DAY), *drawn)
    assert knowledge("lab_values") == (*STATIC, *(KnownFact(place, EXACT, DAY) for place in (3, 4, 7)))


def test_every_knowledge_that_is_offered_can_be_taken() -> None:
    for name in KNOWLEDGE_LEVELS:
        assert check_facts(knowledge(name), RECORD) == knowledge(name)


def test_the_lab_knowledge_levels_start_on_the_first_day_with_a_value() -> None:
    early = replace(RECORD, events=(*RECORD.events[:2], Event(at("2020-01-01"), IRON), *RECORD.events[3:]))
    assert [fact.place for fact in knowledge("lab_values", early)][3:] == [3, 4, 7]
    without = replace(RECORD, events=tuple(e for e in RECORD.events if e.value is None))
    assert [fact.place for fact in knowledge("lab_values", without)][3:] == [3, 4]  # the iron, and the visit before it


def test_without_labs_the_lab_knowledge_levels_are_the_demographics() -> None:
    bare = replace(RECORD, events=RECORD.events[:3])
    for name in ("one_lab", "lab_dates", "lab_values"):
        assert knowledge(name, bare) == STATIC
    unborn = replace(bare, birth=None)
    assert knowledge("demographics", unborn) == STATIC[1:]


def test_first_n_are_the_events_among_the_first_n_codes_of_the_sequence() -> None:
    # [BOS] AGE//60 GENDER//F RACE//UNKNOWN FLU TIME//5 VISIT TIME//0 SODIUM//3 IRON ...
    assert encode(RECORD, VOCABULARY).codes[:7][-2:] == ("TIME//5", "ENCOUNTER//OUTPATIENT")
    assert places("first_1") == [AGE]
    assert places("first_4") == [AGE, 0, 1, 2]
    assert places("first_5") == [AGE, 0, 1, 2]  # the fifth is the gap
    assert places("first_6") == [AGE, 0, 1, 2, 3]
    assert places("first_1000") == [AGE, *range(10)]
    assert set(knowledge("first_6")) == {KnownFact(place) for place in (AGE, 0, 1, 2, 3)}


def test_before_a_date_is_everything_up_to_the_day_before() -> None:
    assert places("before_2020-01-06") == [AGE, 0, 1, 2]
    assert places("before_2020-01-07") == [AGE, *range(8)]
    assert places("before_1900-01-01") == [AGE, 0, 1]


@pytest.mark.parametrize(
    "name",
    ["labs", "", "first_", "first_-1", "first_1.5", "before_2020", "Nothing", "first_0", "first_010", "first_100001", "first_1e3",
     "first_1000000000000", "first_٣", "first_10 ", "before_2020-01-01 "],
)  # fmt: skip
def test_a_knowledge_that_is_not_there_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(
        BadInput,
        match=f"There is no knowledge level '{name}'. The levels are nothing, age_sex, demographics, .*first_N",
    ):
        knowledge(name)


@pytest.mark.parametrize("day", ["2020-02-30", "9999-99-99", "0000-01-01", "1799-12-31", "2301-01-01"])
def test_a_date_that_is_none_is_refused(day: str) -> None:
    with pytest.raises(BadInput, match=f"'before_{day}' needs a day of the calendar from 1800 to 2300; write before_"):
        knowledge(f"before_{day}")


def test_the_ends_of_what_a_knowledge_may_say() -> None:
    assert places("first_100000") == places("first_1000") and places("before_2300-12-31") == [AGE, *range(10)]
    assert places("before_1800-01-01") == [AGE, 0, 1]


# A line of facts ------------------------------------------------------------------------------------------------------


def test_facts_survive_a_line_of_text() -> None:
    every = tuple(KnownFact(p, v, d) for p in (AGE, 0, 17) for v in ValuePrecision for d in DatePrecision)
    assert facts_from_text(facts_to_text(every)) == every
    for fact in every:
        assert facts_from_text(facts_to_text((fact,))) == (fact,)
    for name in KNOWLEDGE_LEVELS:
        assert facts_from_text(facts_to_text(knowledge(name))) == knowledge(name)
    assert facts_from_text("") == facts_from_text("  \n") == ()
    assert facts_from_text("5:coarse") == (KnownFact(5, COARSE),)
    assert facts_from_text("5::week") == (KnownFact(5, EXACT, DatePrecision.WEEK),)


@pytest.mark.parametrize("text", ["facts.yaml", "age x", "-1", "²", "1.5", "5;6"])
def test_what_is_no_line_of_facts_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="is neither a facts file nor a line of facts such as"):
        facts_from_text(text)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("5:rough", "exact, coarse, unknown; got 'rough'"),
        ("5:exact:year", "exact, day, week, month, unknown; got 'year'"),
        ("5:exact:day:more", "exact, day, week, month, unknown; got 'day:more'"),
    ],
)
def test_a_precision_that_is_none_is_refused_with_those_that_are(text: str, names: str) -> None:
    with pytest.raises(BadInput, match=f"A precision is one of {names}"):
        facts_from_text(text)


def test_facts_are_put_in_the_records_order() -> None:
    assert check_facts([KnownFact(4), KnownFact(AGE), KnownFact(2)], RECORD) == (
        KnownFact(AGE),
        KnownFact(2),
        KnownFact(4),
    )


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ([KnownFact(10)], "has events 0 to 9; there is no event 10"),
        ([KnownFact(-2)], "there is no event -2"),
        ([KnownFact(4), KnownFact(4, COARSE)], "A fact is given twice."),
    ],
)
def test_facts_that_cannot_be_are_refused(facts: list[KnownFact], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        check_facts(facts, RECORD)


def test_an_age_that_the_record_does_not_give_is_refused(tmp_path: Path) -> None:
    unborn = replace(RECORD, birth=None)
    with pytest.raises(BadInput, match="The record of P-AAAA-AAAA gives no age"):
        check_facts([KnownFact(AGE)], unborn)
    with pytest.raises(BadInput, match="gives no age"):
        load(tmp_path, [{"age": 60}], unborn)


# A file of facts ------------------------------------------------------------------------------------------------------


def load(folder: Path, content: object, record: Record = RECORD) -> tuple[KnownFact, ...]:
    path = folder / "facts.yaml"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return load_facts(path, record, VOCABULARY)


def test_a_yaml_file_as_a_person_writes_it(tmp_path: Path) -> None:
    text = f"""
- age: 60
- code: GENDER//F
- code: {SODIUM}      # the value in the same bin, the date to the day
  value: 3.9
  date: 2020-01-06
- code: {SODIUM}
  date: 2020-02-01
  date_precision: month
- code: {SODIUM}
  value: 9.5
  value_precision: coarse
- code: {FLU}
  date: 2020-01-01 09:00
- code: {DRUG}
"""
    assert load(tmp_path, text) == (
        KnownFact(AGE),
        KnownFact(0, EXACT, DatePrecision.UNKNOWN),
        KnownFact(2, EXACT, DatePrecision.EXACT),
        KnownFact(4, EXACT, DAY),
        KnownFact(7, COARSE, DatePrecision.UNKNOWN),
        KnownFact(8, UNKNOWN, DatePrecision.MONTH),
        KnownFact(9, EXACT, DatePrecision.UNKNOWN),
    )


def test_facts_survive_a_json_file_whatever_their_precision(tmp_path: Path) -> None:
    for value in ValuePrecision:
        for date in DatePrecision:
            facts = (KnownFact(AGE, value), *(KnownFact(p, value, date) for p in (4, 7, 8)))
            assert load(tmp_path, facts_to_json(facts, RECORD)) == facts
            last = (KnownFact(8, value, date),)  # not the first event with this code
            assert load(tmp_path, facts_to_json(last, RECORD)) == last
    assert load(tmp_path, facts_to_json((KnownFact(0), KnownFact(2)), RECORD))[1] == KnownFact(2)


def test_of_several_events_that_fit_the_nearest_is_meant(tmp_path: Path) -> None:
    days = (Event(at(f"2020-01-{day:02d} 10:00"), SODIUM, 3.0 + day / 100) for day in range(6, 12))
    record = replace(RECORD, events=tuple(days))
    item = {"code": SODIUM, "date": "2020-01-08", "date_precision": "week"}
    assert load(tmp_path, [item], record) == (KnownFact(2, UNKNOWN, DatePrecision.WEEK),)
    assert load(tmp_path, [{"code": SODIUM, "value": 3.1}], record)[0].place == 4
    assert [fact.place for fact in load(tmp_path, [item, item], record)] == [1, 2]


def test_times_with_a_zone_are_read_as_utc(tmp_path: Path) -> None:
    for text in ("'2020-01-06T12:00:00+02:00'", "2020-01-06T12:00:00+02:00", "'2020-01-06T10:00:00Z'"):
        found = load(tmp_path, f"[{{code: {SODIUM}, value: 3.5, date: {text}}}]")
        assert found == (KnownFact(4, EXACT, DatePrecision.EXACT),)


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ({"age": 61}, "The facts say age 61, the record of P-AAAA-AAAA says 60"),
        ({"code": "LAB//50983//mEq"}, f"has no \\(further\\) event 'LAB//50983//mEq'. Close to it are .*{SODIUM}"),
        ({"code": "no such thing at all"}, r"has no \(further\) event 'no such thing at all'\.$"),
        ({"code": SODIUM, "date": "2021-05-05"}, "LAB//50983//mEq/L is there on 2020-01-06 with value 3.5; 2020-01-06"),
        ({"code": SODIUM, "value": 5.0}, "not as {'value': '5.0'}"),
        ({"code": SODIUM, "value": 3.5, "date": "2020-01-06 11:00"}, "The facts contradict the record"),
        ({"code": FLU, "date": "2020-02-01", "date_precision": "month"}, "The facts contradict the record"),
        ({"code": FLU, "date": "2019-12-29", "date_precision": "week"}, "The facts contradict the record"),
        ({"code": "GENDER//F", "date": "2020-01-01"}, "GENDER//F is there on no date"),
        ({"code": FLU, "value": 1}, "The facts contradict the record"),
        ({"code": SODIUM, "value": "high"}, "The value of a fact is a number; got 'high'"),
        ({"code": SODIUM, "date": "last week"}, "'last week' is not a date from 1800 to 2300. Write YYYY-MM-DD"),
        ({"code": SODIUM, "value_precision": "rough"}, "one of exact, coarse, unknown; got 'rough'"),
        ({"code": SODIUM, "date_precision": ["day"]}, "one of exact, day, week, month, unknown; got"),
        ({"code": SODIUM, "when": "2020-01-06"}, "A fact has either an age or a code, and may have value, date"),
        ({"code": SODIUM, "age": 60}, "A fact has either an age or a code"),
        ({"value": 3}, "A fact has either an age or a code"),
    ],
)
def test_what_contradicts_the_record_or_is_no_fact_is_refused(
    tmp_path: Path, item: dict[str, object], told: str
) -> None:
    with pytest.raises(BadInput, match=told):
        load(tmp_path, [item])


def test_a_week_reaches_over_the_turn_of_the_year(tmp_path: Path) -> None:
    item = {"code": FLU, "date": "2019-12-30", "date_precision": "week"}  # the Monday of 2020-01-01
    assert load(tmp_path, [item]) == (KnownFact(2, EXACT, DatePrecision.WEEK),)


def test_an_event_serves_one_fact_only(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"has no \(further\) event 'GENDER//F'"):
        load(tmp_path, [{"code": "GENDER//F"}, {"code": "GENDER//F"}])
    with pytest.raises(BadInput, match="A fact is given twice"):
        load(tmp_path, [{"age": 60}, {"age": 60}])


@pytest.mark.parametrize("content", ['{"code": "GENDER//F"}', "just words", "[1, 2]", "", "[[]]"])
def test_a_file_that_is_no_list_of_facts_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(BadInput, match="must hold a list of facts, each with a code"):
        load(tmp_path, content)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        load_facts(tmp_path / "nowhere.yaml", RECORD, VOCABULARY)
    with pytest.raises(BadInput, match="cannot be read as YAML"):
        load(tmp_path, "[{code: 1")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x01")
    with pytest.raises(BadInput, match="cannot be read: it is not text in UTF-8"):
        load_facts(tmp_path / "binary", RECORD, VOCABULARY)
