"""Records and known facts of a model that is told the age beside each code."""

import json
from datetime import datetime, timedelta

import pytest

from ehrmem_widgets.attacker.facts import AGE, DatePrecision, KnownFact, ValuePrecision, facts_of_level
from ehrmem_widgets.attacker.prompt import build_prompt
from ehrmem_widgets.cohort.record import Event, Record
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.leak import slot_ids
from ehrmem_widgets.probes.truth import true_continuation
from ehrmem_widgets.tokens.moments import days_of, ids_of, moment
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.tokens.sequences import SequenceDataset
from ehrmem_widgets.tokens.token_scheme import WITH_AGES, guess_token_scheme, read_token_scheme
from ehrmem_widgets.tokens.vocabulary import Vocabulary

CODES = ("[PAD]", "[BOS]", "[NO EVENT]", "GENDER//F", "D//A", "D//B", "LAB//1//g//0", "LAB//1//g//1", "MEDS_DEATH")
VOCABULARY = Vocabulary(CODES, bins={"LAB//1//g": (5.0,)}, stops=frozenset({"MEDS_DEATH"}), token_scheme=WITH_AGES)
BIRTH = datetime(1950, 3, 1)


def at(days):
    return BIRTH + timedelta(days=days)


RECORD = Record(
    7, "P7",
    (
        Event(None, "GENDER//F"), Event(at(20_000.5), "D//A"), Event(at(20_000.5), "LAB//1//g", 7.0), Event(at(20_040), "D//A"),
        Event(at(20_040), "UNKNOWN"), Event(at(20_050), "D//B"),
    ),
    BIRTH,
)  # fmt: skip


def test_a_record_is_codes_with_ages_each_code_once():
    sequence = encode(RECORD, VOCABULARY)
    assert sequence.codes == ("[BOS]", "GENDER//F", "[NO EVENT]", "D//A", "LAB//1//g//1", "D//B")
    assert sequence.days == (0, 0, 20_000.5, 20_000.5, 20_000.5, 20_050)
    assert sequence.event_of == (-1, 0, -1, 1, 2, 5) and sequence.left_out == 1 and sequence.age_ends == 3
    ids = sequence.ids(VOCABULARY)
    assert ids[:2] == [1, 3] and ids_of(ids).tolist() == [1, 3, 2, 4, 7, 5]
    assert days_of(ids).tolist() == list(sequence.days)


def test_without_a_birth_the_clock_begins_at_the_first_event():
    unborn = Record(7, "P7", RECORD.events)
    sequence = encode(unborn, VOCABULARY)
    assert "[NO EVENT]" not in sequence.codes and sequence.days[-1] == pytest.approx(49.5)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_the_first_codes_make_a_literal_prefix(n):
    prompt = build_prompt(RECORD, facts_of_level(f"first_{n}", RECORD, VOCABULARY), VOCABULARY)
    assert (
        prompt.exact
        and [slot[0] for slot in slot_ids(prompt, VOCABULARY)] == encode(RECORD, VOCABULARY).ids(VOCABULARY)[: n + 1]
    )


def test_what_follows_is_what_comes_within_the_days():
    prompt = build_prompt(RECORD, facts_of_level("first_4", RECORD, VOCABULARY), VOCABULARY)
    assert true_continuation(RECORD, prompt, VOCABULARY, 49).codes == ()
    assert true_continuation(RECORD, prompt, VOCABULARY, 50).codes == ("D//B",)


def test_a_date_known_roughly_is_a_span_of_ages_that_the_other_dates_narrow():
    facts = [
        KnownFact(0),
        KnownFact(1, date=DatePrecision.MONTH),
        KnownFact(2, ValuePrecision.UNKNOWN, DatePrecision.DAY),
        KnownFact(5),
    ]
    prompt = build_prompt(RECORD, facts, VOCABULARY)
    assert prompt.slots[2:] == (("D//A",), ("LAB//1//g//0", "LAB//1//g//1"), ("D//B",)) and not prompt.exact
    month, day, exact = prompt.days[2:]
    first_of_month = at(20_000.5).replace(day=1, hour=0, minute=0)
    assert month[0] == (first_of_month - BIRTH).days and month[1] == day[1] == 20_001  # not after the lab of that day
    assert day == (20_000, 20_001) and exact == (20_050, 20_050)
    slots = slot_ids(prompt, VOCABULARY)
    assert (
        slots[2] == [moment(4, month[0]), moment(4, 20_001)] and len(slots[3]) == 4 and slots[4] == [moment(5, 20_050)]
    )


def test_the_age_alone_moves_the_clock():
    exact = build_prompt(RECORD, [KnownFact(AGE), KnownFact(0)], VOCABULARY)
    assert exact.slots == (("[BOS]",), ("GENDER//F",), ("[NO EVENT]",)) and exact.days[2] == (20_000.5, 20_000.5)
    decade = build_prompt(RECORD, [KnownFact(AGE, ValuePrecision.COARSE)], VOCABULARY)
    assert decade.days[1] == pytest.approx((50 * 365.2422, 60 * 365.2422))


def test_a_code_told_twice_is_written_once():
    prompt = build_prompt(RECORD, [KnownFact(1), KnownFact(3)], VOCABULARY)
    assert prompt.slots[-1] == ("D//A",) and len(prompt.slots) == 2 and prompt.left_out == 1


def sequences(tmp_path, rows):
    file = tmp_path / "own.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_the_models_own_sequences_come_with_ages(tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda _: tmp_path / "cache")
    codes = ["[BOS]", "GENDER//F", "[NO EVENT]", "D//A", "D//B", "[PAD]"]
    rows = [{"subject_id": 1, "split": "train", "codes": codes, "ages": [0, 0, 9000, 9000, 9500.25, -10_000]}]
    dataset = SequenceDataset(sequences(tmp_path, rows), VOCABULARY)
    [record] = dataset.records([1])
    sequence = encode(record, VOCABULARY)
    assert sequence.codes == tuple(codes[:-1]) and sequence.days == (0, 0, 9000, 9000, 9500.25)
    assert record.events[0].time is None and record.age_at_start() == 24
    assert (record.events[2].time - record.events[1].time).total_seconds() == 500.25 * 86400
    prompt = build_prompt(record, facts_of_level("first_3", record, VOCABULARY), VOCABULARY)
    assert [slot[0] for slot in slot_ids(prompt, VOCABULARY)] == sequence.ids(VOCABULARY)[:4]
    facts = [KnownFact(0), KnownFact(2, date=DatePrecision.UNKNOWN)]
    assert build_prompt(record, facts, VOCABULARY).days[-1][1] > 30_000


def test_ids_and_codes_side_by_side_are_compared_and_keep_their_ages(tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda _: tmp_path / "cache")
    codes, ids, ages = ["[BOS]", "GENDER//F", "D//A", "D//B"], [1, 3, 4, 5, 0], [0, 0, 9000, 9500.25, 0]
    row = {"subject_id": 1, "codes": codes, "input_ids": ids, "ages": ages}
    [record] = SequenceDataset(sequences(tmp_path, [row]), VOCABULARY).records([1])
    assert encode(record, VOCABULARY).days == (0, 0, 9000, 9500.25)
    with pytest.raises(BadInput, match="place 3: the id 5 stands for 'D//B'"):
        SequenceDataset(sequences(tmp_path, [row | {"input_ids": [1, 3, 5, 5, 0]}]), VOCABULARY)


@pytest.mark.parametrize("ages", [None, [0, 1], [0, 9, 8], [0, "a", 9], [0, 1, 10**400], [0, 1, float("inf")]])
def test_ages_that_are_none_are_refused(ages, tmp_path, monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda _: tmp_path / "cache")
    row = {"subject_id": 1, "codes": ["[BOS]", "D//A", "D//B"]} | ({"ages": ages} if ages else {})
    with pytest.raises(BadInput, match="as many ages in days"):
        SequenceDataset(sequences(tmp_path, [row]), VOCABULARY)


def test_the_published_token_scheme_says_ages(tmp_path):
    scheme = read_token_scheme("delphi")
    assert scheme.time == "ages" and not scheme.repeats and scheme.gaps(["Death"]) is None
    assert guess_token_scheme(["Padding", "No event", "Male", "A00 (cholera)", "Death"]) == scheme
    (tmp_path / "token_scheme.yaml").write_text(WITH_AGES.to_yaml())
    assert read_token_scheme(tmp_path / "token_scheme.yaml") == WITH_AGES
