"""Patients in the model's own codes: nothing is lost, and a file of another model is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ehrmem_widgets.attacker.facts import AGE, DatePrecision, KnownFact, ValuePrecision, facts_of_level
from ehrmem_widgets.attacker.prompt import build_prompt
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.tokens.sequences import SequenceDataset
from ehrmem_widgets.tokens.token_scheme import TimeRule, TokenScheme
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.cohort.meds import at, write
from tests.tokens import foreign

SODIUM, DELTA = foreign.SODIUM, foreign.DELTA
ONE = [
    "TIMELINE//START", "MEDS_BIRTH", f"{DELTA}[40.0,inf)", "ENCOUNTER//OUTPATIENT", f"{DELTA}[0.00000951293,0.002739726)",
    f"{SODIUM}//value_[135.0,140.7)", f"{SODIUM}//value_[140.7,inf)", SODIUM, f"{DELTA}[1.0,40.0)", "DIAGNOSIS//ICD//10//B20",
    "TIMELINE//END",
]  # fmt: skip
TWO = ["TIMELINE//START", "ENCOUNTER//OUTPATIENT", "TIMELINE//END"]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EHRMEM_PSEUDONYM_KEY", str(tmp_path / "pseudonym.key"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def lines(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_sequence_comes_back_as_it_was_and_as_events_with_times(tmp_path: Path) -> None:
    vocabulary = foreign.vocabulary(foreign.MEICAR)
    file = lines(
        tmp_path / "s.jsonl",
        {"subject_id": 7, "split": "train", "codes": ONE},
        {"subject_id": 3, "split": "held_out", "codes": TWO},
    )
    data = SequenceDataset(file, vocabulary)
    assert (len(data), data.splits, data.name) == (2, {"held_out": 1, "train": 1}, "s")
    record = data.record(7)
    assert encode(record, vocabulary).codes == tuple(ONE)
    assert encode(replace(record, sequence=None), vocabulary).codes == tuple(
        ONE
    )  # the token scheme alone writes the same
    assert [event.code for event in record.events] == ["ENCOUNTER//OUTPATIENT", SODIUM, SODIUM, SODIUM, ONE[9]]
    assert record.age_at_start() == 43 and record.events[1].value == pytest.approx(137.85)
    assert record.events[3].value is None
    assert data.attribute_codes["attribute"].tolist() == ["hiv"]


@pytest.mark.parametrize("codes", [foreign.EHRMAMBA2, foreign.ETHOS, foreign.CONTEXT_CLUES])
def test_every_token_scheme_reads_its_own_sequences(codes: tuple[str, ...], tmp_path: Path) -> None:
    vocabulary = foreign.vocabulary(codes)
    sequences = {
        foreign.EHRMAMBA2: ["[CLS]", "AGE//53", "GENDER//F", "LAB//50912//2", "TIME//1", "LAB//50912//0", "TIME//1W", "DIAGNOSIS//ICD//9//25000", "[EOS]"],
        foreign.ETHOS: ["TIMELINE_START", "GENDER//F", "LAB//GLUCOSE", "Q3", "5m-15m", "LAB//GLUCOSE", "Q10", "=6mt", "=6mt", "ICD//CM//B20", "TIMELINE_END"],
        foreign.CONTEXT_CLUES: ["[CLS]", "[BOS]", "Gender/F", f"{foreign.GLUCOSE} || None || 99.5 - 140.0", "ICD10CM/B20", "[EOS]"],
    }  # fmt: skip
    own = sequences[codes]
    data = SequenceDataset(lines(tmp_path / "s.jsonl", {"subject_id": 1, "ids": vocabulary.ids(own)}), vocabulary)
    record = data.record(1)
    assert encode(record, data.vocabulary).codes == tuple(own)
    assert encode(replace(record, sequence=None), data.vocabulary).codes == tuple(own)
    prompt = build_prompt(record, facts_of_level("first_1000", record, data.vocabulary), data.vocabulary)
    assert [slot[0] for slot in prompt.slots] == own[:-1] and prompt.exact


OWN = {
    foreign.MEICAR: ONE,
    foreign.EHRMAMBA2: ["[CLS]", "GENDER//F", "AGE//53", "LAB//50912//2", "TIME//1", "LAB//50912//0", "AGE//54", "TIME//1W", "DIAGNOSIS//ICD//9//25000", "[EOS]"],
    foreign.ETHOS: ["TIMELINE_START", "GENDER//F", "LAB//GLUCOSE", "Q3", "5m-15m", "LAB//GLUCOSE", "Q10", "=6mt", "=6mt", "ICD//CM//B20", "TIMELINE_END"],
    foreign.CONTEXT_CLUES: ["[CLS]", "[BOS]", "Gender/F", "[SEP]", f"{foreign.GLUCOSE} || None || 99.5 - 140.0", "[SEP]", "ICD10CM/B20", "[EOS]"],
}  # fmt: skip


@pytest.mark.parametrize("codes", OWN)
def test_the_first_codes_are_the_literal_prefix_of_the_models_own_sequence(
    codes: tuple[str, ...], tmp_path: Path
) -> None:
    vocabulary, own = foreign.vocabulary(codes), OWN[codes]
    data = SequenceDataset(lines(tmp_path / "s.jsonl", {"subject_id": 1, "codes": own}), vocabulary)
    record = data.record(1)
    ends = {
        place: max(at for at, one in enumerate(record.event_of or ()) if one == place) + 1
        for place in record.event_of or ()
    }
    for n in range(1, len(own)):
        prompt = build_prompt(record, facts_of_level(f"first_{n}", record, data.vocabulary), data.vocabulary)
        assert prompt.exact and [slot[0] for slot in prompt.slots] == own[: len(prompt.slots)]
        assert len(prompt.slots) >= max((end for place, end in ends.items() if 0 <= place <= prompt.last), default=0)
    assert len(prompt.slots) == len(own) - 1  # all but the end


def test_what_is_not_known_is_left_out_of_a_sequence_and_the_rest_keeps_its_order(tmp_path: Path) -> None:
    vocabulary = foreign.vocabulary(foreign.EHRMAMBA2)
    own = OWN[foreign.EHRMAMBA2]
    data = SequenceDataset(lines(tmp_path / "s.jsonl", {"subject_id": 1, "codes": own}), vocabulary)
    record = data.record(1)
    sex, first, second, diagnosis = range(4)
    assert [event.code for event in record.events] == [
        "GENDER//F",
        "LAB//50912",
        "LAB//50912",
        "DIAGNOSIS//ICD//9//25000",
    ]

    def slots(*facts: KnownFact) -> list[str]:
        prompt = build_prompt(record, facts, data.vocabulary)
        return [slot[0] for slot in prompt.slots if len(slot) == 1]

    assert slots(KnownFact(AGE), KnownFact(sex)) == ["[CLS]", "GENDER//F", "AGE//53"]
    assert slots(KnownFact(sex), KnownFact(first)) == ["[CLS]", "GENDER//F", "LAB//50912//2"]
    between = slots(
        KnownFact(first), KnownFact(diagnosis)
    )  # the lab between them is not known: its age and gaps are not told
    assert between[:2] == ["[CLS]", "LAB//50912//2"] and between[-1] == own[8] and "AGE//54" not in between
    stripped = build_prompt(record, (KnownFact(sex), KnownFact(first)), data.vocabulary, strip={"GENDER//F"})
    assert [slot[0] for slot in stripped.slots] == ["[CLS]", "LAB//50912//2"] and stripped.stripped == 1
    rough = build_prompt(
        record, (KnownFact(first, ValuePrecision.UNKNOWN), KnownFact(second, date=DatePrecision.MONTH)), data.vocabulary
    )
    assert set(rough.slots[1]) == {f"LAB//50912//{b}" for b in range(3)} and "TIME//1" in rough.slots[2]
    assert second == rough.last


def test_facts_of_a_sequence_can_be_known_imprecisely(tmp_path: Path) -> None:
    vocabulary = foreign.vocabulary(foreign.MEICAR)
    data = SequenceDataset(lines(tmp_path / "s.jsonl", {"subject_id": 7, "codes": ONE}), vocabulary)
    facts = (
        KnownFact(AGE),
        KnownFact(0, date=DatePrecision.DAY),
        KnownFact(1, ValuePrecision.UNKNOWN, DatePrecision.DAY),
    )
    slots = build_prompt(data.record(7), facts, vocabulary).slots
    assert slots[:3] == (("TIMELINE//START",), ("MEDS_BIRTH",), (f"{DELTA}[40.0,inf)",))
    assert slots[3] == ("ENCOUNTER//OUTPATIENT",)
    assert set(slots[5]) == {f"{SODIUM}//value_[-inf,135.0)", *ONE[5:7]}
    assert ONE[4] in slots[4] and f"{DELTA}[1.0,40.0)" not in slots[4]
    for place, code in enumerate(ONE[:6]):
        assert code in slots[place]  # the truth is always among what a slot allows
    next_value = foreign.vocabulary(foreign.ETHOS)
    own = ["TIMELINE_START", "LAB//GLUCOSE", "Q3", "TIMELINE_END"]
    data = SequenceDataset(lines(tmp_path / "q.jsonl", {"subject_id": 7, "codes": own}), next_value)
    for precision, allowed in (("exact", ("Q3",)), ("coarse", ("Q1", "Q2", "Q3")), ("unknown", next_value.next_codes)):
        prompt = build_prompt(data.record(7), (KnownFact(0, ValuePrecision(precision)),), data.vocabulary)
        assert prompt.slots == (("TIMELINE_START",), ("LAB//GLUCOSE",), allowed) and prompt.places == (-2, 0, 0)


def test_windows_of_one_patient_are_joined_and_padding_is_left_away(tmp_path: Path) -> None:
    vocabulary = foreign.vocabulary(foreign.MEICAR)
    ids = vocabulary.ids(ONE)
    rows = {
        "subject_id": [7, 7, 9],
        "ids": [[*ids[:6]], [ids[0], *ids[6:], 0, 0], vocabulary.ids(TWO)],
        "split": ["train"] * 3,
    }
    pq.write_table(pa.table(rows), tmp_path / "s.parquet")
    data = SequenceDataset(tmp_path / "s.parquet", vocabulary)
    assert data.record(7).sequence == tuple(ONE) and data.about["joined"] == 1


def test_splits_and_labels_come_from_the_data_beside(tmp_path: Path) -> None:
    vocabulary = foreign.vocabulary(foreign.MEICAR)
    beside = write(
        tmp_path / "d",
        {"0.parquet": [(7, at("2020-01-01"), SODIUM, 1.0)]},
        splits={7: "train"},
        descriptions={SODIUM: "Natrium"},
    )
    data = SequenceDataset(lines(tmp_path / "s.jsonl", {"subject_id": 7, "codes": ONE}), vocabulary, beside=beside)
    assert data.splits == {"train": 1} and data.label(SODIUM) == "Natrium"


def test_what_was_read_is_kept_for_this_user_and_read_anew_when_the_file_changes(tmp_path: Path) -> None:
    vocabulary = foreign.vocabulary(foreign.MEICAR)
    file = lines(tmp_path / "s.jsonl", {"subject_id": 7, "codes": ONE})
    folder = SequenceDataset(file, vocabulary).root
    assert folder.stat().st_mode & 0o077 == 0
    assert SequenceDataset(file, vocabulary).root == folder
    lines(file, {"subject_id": 7, "codes": TWO})
    assert SequenceDataset(file, vocabulary).root != folder and isinstance(
        SequenceDataset(file, vocabulary), MedsDataset
    )
    assert not list(folder.parent.glob(".*"))


def test_codes_beside_ids_are_compared_and_padding_needs_none(tmp_path: Path) -> None:
    vocabulary = foreign.vocabulary(foreign.MEICAR)
    one, two = vocabulary.ids(ONE), vocabulary.ids(TWO)
    rows = {
        "subject_id": [7, 9],
        "split": ["train", "held_out"],
        "input_ids": [[*one, 0, 0], [0, *two]],
        "codes": [ONE, ["<pad>", *TWO]],
    }
    pq.write_table(pa.table(rows), tmp_path / "s.parquet")
    data = SequenceDataset(tmp_path / "s.parquet", vocabulary)
    assert data.record(7).sequence == tuple(ONE) and data.record(9).sequence == tuple(TWO)
    assert data.splits == {"held_out": 1, "train": 1}


def test_codes_that_are_not_those_of_the_ids_are_refused_with_the_first_and_how_many(tmp_path: Path) -> None:
    vocabulary = foreign.vocabulary(foreign.MEICAR)
    swapped = [{"MEDS_BIRTH": SODIUM, SODIUM: "MEDS_BIRTH"}.get(code, code) for code in ONE]
    rows = [
        {"subject_id": 3, "input_ids": vocabulary.ids(TWO), "codes": TWO},
        {"subject_id": 7, "input_ids": vocabulary.ids(ONE), "codes": swapped},
    ]
    with pytest.raises(BadInput) as caught:
        SequenceDataset(lines(tmp_path / "s.jsonl", *rows), vocabulary)
    assert str(caught.value) == (
        f"s.jsonl, row 2, place 2: the id 1 stands for 'MEDS_BIRTH' in the model, and the row says {SODIUM!r}. So it is at 2 of 14 places, "
        "in 1 row of s.jsonl. These sequences and this vocabulary do not belong together."
    )
    assert not list((tmp_path / "cache").glob("ehrmem/*"))


BAD = {
    "no patient": ([{"codes": ONE}], "row 1: a row needs subject_id, and codes or ids or both; it has codes"),
    "neither": ([{"subject_id": 1, "split": "train"}], "codes or ids or both; it has subject_id, split"),
    "of two lengths": ([{"subject_id": 1, "codes": ONE, "ids": [1]}], "row 1: there are 11 codes beside 1 ids, padding left out. Give one code for each id"),
    "nested": ([{"subject_id": 1, "ids": [[1]]}], "ids must be a list of whole numbers"), "a text for codes": ([{"subject_id": 1, "codes": "ONE"}], "codes a list of texts"),
    "no number": ([{"subject_id": "Smith", "codes": ONE}], "subject_id must be a whole number"),
    "another code": ([{"subject_id": 1, "codes": ["ELSE"]}], "the model has no code 'ELSE'. These sequences and this vocabulary do not belong"),
    "an id beyond": ([{"subject_id": 1, "ids": [0, 99]}], "ids run from 0 to 14 in this model, and the row has 0 to 99"),
    "a negative id": ([{"subject_id": 1, "ids": [-1]}], "the row has -1 to -1"),
    "two splits": ([{"subject_id": 1, "split": "a", "codes": TWO}, {"subject_id": 1, "split": "b", "codes": TWO}], "two splits, 'a' and 'b'"),
    "scattered": ([{"subject_id": 1, "codes": TWO}, {"subject_id": 2, "codes": TWO}, {"subject_id": 1, "codes": TWO}], "Sort the file by patient"),
    "nothing": ([], "holds no sequences"),
}  # fmt: skip


@pytest.mark.parametrize(("rows", "told"), BAD.values(), ids=BAD)
def test_a_file_of_another_form_or_model_is_refused_and_leaves_nothing(
    rows: list[dict[str, object]], told: str, tmp_path: Path
) -> None:
    file = lines(tmp_path / "s.jsonl", *rows)
    with pytest.raises(BadInput) as caught:
        SequenceDataset(file, foreign.vocabulary(foreign.MEICAR))
    assert told in str(caught.value)
    assert not list((tmp_path / "cache").glob("ehrmem/*"))


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    vocabulary = foreign.vocabulary(foreign.MEICAR)
    with pytest.raises(BadInput, match=r"is not a file of sequences. Give a .parquet or .jsonl file"):
        SequenceDataset(tmp_path / "s.csv", vocabulary)
    (tmp_path / "s.jsonl").write_text('{"subject_id": 1, "codes"')
    with pytest.raises(BadInput, match=r"s\.jsonl, line 1 cannot be read as JSON"):
        SequenceDataset(tmp_path / "s.jsonl", vocabulary)
    (tmp_path / "s.parquet").write_bytes(b"nothing")
    with pytest.raises(BadInput, match=r"s\.parquet cannot be read"):
        SequenceDataset(tmp_path / "s.parquet", vocabulary)


HOSTILE = {
    "deep": ('{"subject_id": 1, "ids": ' + "[" * 100_000, "nested too deeply"),
    "digits": ('{"subject_id": 1, "ids": [' + "9" * 5_000 + "]}", "cannot be read as JSON"),
    "half a character": ('{"subject_id": 1, "ids": [3], "split": "\\ud800"}', "cannot be read as JSON"),
    "a text of ids": ('{"subject_id": 1, "ids": "abc"}', "ids must be a list of whole numbers"),
    "one id": ('{"subject_id": 1, "ids": 5}', "ids must be a list of whole numbers"),
    "ids in ids": ('{"subject_id": 1, "ids": [[1]]}', "ids must be a list of whole numbers"),
    "codes in codes": ('{"subject_id": 1, "codes": [["A"]]}', "ids must be a list of whole numbers"),
    "a number of codes": ('{"subject_id": 1, "codes": 5}', "ids must be a list of whole numbers"),
    "an id without end": ('{"subject_id": Infinity, "ids": [3]}', "subject_id must be a whole number"),
    "an id of 30 digits": ('{"subject_id": 1' + "0" * 30 + ', "ids": [3]}', "subject_id must be a whole number"),
    "a truth value": ('{"subject_id": true, "ids": [3]}', "subject_id must be a whole number"),
    "a split of its own": ('{"subject_id": 1, "ids": [3], "split": {"a": 1}}', "split must be a text"),
    "a long code": ('{"subject_id": 1, "codes": ["' + "x" * 1_000_000 + '"]}', "the model has no code 'xxx"),
    "long names": ('{"' + "x" * 1_000_000 + '": 1}', "a row needs subject_id"),
}


@pytest.mark.parametrize(("line", "told"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_line_is_refused_with_its_number(line: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text(line + "\n")
    with pytest.raises(BadInput, match=rf"s\.jsonl, (row|line) 1\b.*{told}") as refused:
        SequenceDataset(tmp_path / "s.jsonl", foreign.vocabulary(foreign.MEICAR))
    assert len(str(refused.value)) < 400


def test_a_line_without_end_and_gaps_beyond_the_calendar_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = TimeRule(lengths={"AEONS": (1e9, 1e9)})
    eternal = Vocabulary(("A", "AEONS"), start=None, stops=frozenset(), pad=None, token_scheme=TokenScheme(time=rule))
    (tmp_path / "s.jsonl").write_text('{"subject_id": 1, "ids": [0, 1, 0]}\n')
    with pytest.raises(BadInput, match=r"more than the calendar has \(the last is 'AEONS'\)"):
        SequenceDataset(tmp_path / "s.jsonl", eternal)
    monkeypatch.setattr("ehrmem_widgets.tokens.sequences.MOST_BYTES", 30)
    with pytest.raises(BadInput, match="line 1 is longer than"):
        SequenceDataset(tmp_path / "s.jsonl", eternal)
