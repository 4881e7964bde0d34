"""A record as the model reads it, and the vocabulary that is learned from one split only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Event, Record
from ehrmem_widgets.cohort.time_codes import AGE_CODES, TIME_CODES, gap_code, gap_codes_between
from ehrmem_widgets.errors import BadInput, CannotAnswer
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.tokens.vocabulary import Vocabulary, learn_vocabulary
from tests.cohort.meds import Row, at, write

LAB, FLU = "LAB//50912//mg/dL", "DIAGNOSIS//ICD//10//J111"
FIXED = ("[PAD]", "[BOS]", "[EOS]", *AGE_CODES, *TIME_CODES)


@pytest.fixture(autouse=True)
def own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EHRMEM_PSEUDONYM_KEY", str(tmp_path / "pseudonym.key"))


def small_vocabulary(**changes: object) -> Vocabulary:
    codes = (*FIXED, "GENDER//F", f"{LAB}//0", f"{LAB}//1", f"{LAB}//2", LAB, FLU)
    fields: dict[str, object] = {"codes": codes, "bins": {LAB: (1.0, 2.0)}, "labels": {LAB: "Creatinine", FLU: "Flu"}}
    return Vocabulary(**{**fields, **changes})  # type: ignore[arg-type]


EVENTS = (
    Event(None, "GENDER//F"),
    Event(None, "RACE//nobody knows"),
    Event(at("2020-01-01 08:00"), LAB, 0.5),
    Event(at("2020-01-01 08:09"), LAB, 1.0),  # nine minutes: one panel
    Event(at("2020-01-01 08:25"), LAB, 2.5),  # 16 minutes
    Event(at("2020-01-01 23:50"), LAB),  # drawn, no value
    Event(at("2020-01-02 00:01"), FLU),  # eleven minutes, but another day
    Event(at("2020-01-05"), "MEDICATION//unknown to the model"),
    Event(at("2020-01-09"), FLU, 7.0),  # a value on a code without bins
)
RECORD = Record(1, "P-AAAA-AAAA", EVENTS, at("1966-06-30"))


def test_the_sequence_of_a_record_made_by_hand() -> None:
    found = encode(RECORD, small_vocabulary())
    expected = [
        ("[BOS]", -1),
        ("AGE//53", -1),
        ("GENDER//F", 0),
        (f"{LAB}//0", 2),
        (f"{LAB}//1", 3),  # an edge belongs to the bin above it
        ("TIME//10-20", -1),
        (f"{LAB}//2", 4),
        ("TIME//0", -1),
        (LAB, 5),
        ("TIME//1", -1),
        (FLU, 6),
        ("TIME//1W", -1),  # from the last event that the model knows
        (FLU, 8),
        ("[EOS]", -1),
    ]
    assert list(zip(found.codes, found.event_of, strict=True)) == expected
    assert found.left_out == 2


def test_what_is_not_in_the_vocabulary_is_left_away() -> None:
    codes = tuple(code for code in small_vocabulary().codes if not code.startswith(("AGE//", "TIME//", "[")))
    bare = small_vocabulary(codes=codes, start=None, stops=frozenset(), pad=None)
    found = encode(RECORD, bare)
    assert found.codes == ("GENDER//F", f"{LAB}//0", f"{LAB}//1", f"{LAB}//2", LAB, FLU, FLU)
    assert found.left_out == 2


def test_a_record_without_birth_has_no_age_and_an_empty_one_only_start_and_end() -> None:
    assert encode(Record(1, "P", EVENTS[:3]), small_vocabulary()).codes == (
        "[BOS]",
        "GENDER//F",
        f"{LAB}//0",
        "[EOS]",
    )
    assert encode(Record(1, "P", (), at("1990-01-01")), small_vocabulary()).codes == ("[BOS]", "[EOS]")


@pytest.mark.parametrize(
    ("first", "age"), [("2019-06-29", 52), ("2019-06-30", 53), ("1960-01-01", 0), ("2100-01-01", 110)]
)
def test_the_age_is_in_whole_years_and_within_the_models_range(first: str, age: int) -> None:
    record = Record(1, "P", (Event(at(first), FLU),), at("1966-06-30"))
    assert encode(record, small_vocabulary()).codes[1] == f"AGE//{age}"


@pytest.mark.parametrize(
    ("minutes", "code"),
    [(0, None), (9.9, None), (10, "10-20"), (20, "20-40"), (40, "40-60"), (59, "40-60"), (60, "0"), (1000, "0")],
)
def test_gaps_within_a_day(minutes: float, code: str | None) -> None:
    from datetime import timedelta

    start = at("2020-02-02")
    assert gap_code(start, start + timedelta(minutes=minutes)) == (code and f"TIME//{code}")


def test_gaps_between_days_take_the_longest_step_that_fits() -> None:
    from datetime import timedelta

    start = at("2020-02-02 12:00")
    steps = {1: "1", 6: "6", 7: "1W", 13: "1W", 14: "2W", 21: "3W", 29: "3W", 30: "1M", 60: "2M", 90: "3M", 179: "3M"}
    steps |= {180: "6M", 364: "6M", 365: "1Y", 729: "1Y", 730: "2Y", 9000: "2Y"}
    assert {days: gap_code(start, start + timedelta(days=days)) for days in steps} == {
        days: f"TIME//{step}" for days, step in steps.items()
    }
    assert gap_code(None, start) is None


def test_gap_codes_between_are_those_of_every_number_of_days_between() -> None:
    start = at("2020-02-02")
    from datetime import timedelta

    for fewest in range(1, 100, 7):
        for most in range(fewest, 800, 37):
            every = {gap_code(start, start + timedelta(days=days)) for days in range(fewest, most + 1)}
            assert set(gap_codes_between(fewest, most)) == every
    assert gap_codes_between(0, 0) == ["TIME//10-20", "TIME//20-40", "TIME//40-60", "TIME//0"]


# Learning -------------------------------------------------------------------------------------------------------------


def cohort(folder: Path, held_out_values: float = 0.0) -> MedsDataset:
    """20 training patients with the values 1 to 20, and as many held out whose values are given."""
    rows: list[Row] = []
    for patient in range(20):
        rows.append((patient, None, "GENDER//F", None))
        rows.append((patient, at("1980-01-01"), "MEDS_BIRTH", None))
        rows.append((patient, at("2020-01-01"), LAB, float(patient + 1)))
        if patient < 3:
            rows.append((patient, at("2020-01-02"), FLU, None))
        if patient < 2:
            rows.append((patient, at("2020-01-02"), "DRUG//taken by two", 1.0 if patient else None))
    for patient in range(20, 40):
        rows.append((patient, at("2020-01-01"), LAB, held_out_values))
        rows.append((patient, at("2020-01-01"), "DRUG//only held out", None))
    splits = {patient: "train" if patient < 20 else "held_out" for patient in range(40)}
    described = {LAB: "Creatinine"}
    return MedsDataset(write(folder, {"0.parquet": rows}, splits=splits, descriptions=described))


def test_bins_are_the_quantiles_of_the_training_split(tmp_path: Path) -> None:
    learned = learn_vocabulary(cohort(tmp_path), bins=4)
    assert learned.bins[LAB] == (5.75, 10.5, 15.25)
    assert learned.bins_of(LAB) == [f"{LAB}//{b}" for b in range(4)]
    counts = [0] * 4
    for value in range(1, 21):
        counts[int(learned.code_of(Event(at("2020-01-01"), LAB, float(value))).rpartition("//")[2])] += 1
    assert counts == [5, 5, 5, 5]
    assert LAB not in learned  # it always has a value


def test_nobody_held_out_shapes_the_vocabulary(tmp_path: Path) -> None:
    one, other = (learn_vocabulary(cohort(tmp_path / name, value)) for name, value in (("a", -1e6), ("b", 1e6)))
    assert one == other
    assert "DRUG//only held out" not in one
    swapped = learn_vocabulary(cohort(tmp_path / "c", 7.0), split="held_out")
    assert "DRUG//only held out" in swapped and swapped.bins[LAB] == (7.0,)


def test_the_fixed_codes_come_first_and_birth_is_none(tmp_path: Path) -> None:
    learned = learn_vocabulary(cohort(tmp_path))
    assert learned.codes[: len(FIXED)] == FIXED
    assert not [code for code in learned.codes if code.startswith("MEDS_BIRTH")]
    assert learned.id("[PAD]") == 0
    assert len(set(learned.codes)) == len(learned)


def test_a_code_that_sometimes_has_a_value_is_known_with_and_without(tmp_path: Path) -> None:
    learned = learn_vocabulary(cohort(tmp_path))
    assert "DRUG//taken by two" in learned
    assert learned.code_of(Event(None, "DRUG//taken by two", 1.0)) == "DRUG//taken by two//1"
    assert learned.code_of(Event(None, "DRUG//taken by two")) == "DRUG//taken by two"


def test_codes_of_few_patients_are_left_out(tmp_path: Path) -> None:
    dataset = cohort(tmp_path)
    assert FLU in learn_vocabulary(dataset, fewest_patients=3)
    learned = learn_vocabulary(dataset, fewest_patients=4)
    assert FLU not in learned and FLU not in learned.labels
    assert encode(dataset.record(0), learned).left_out == 2  # the flu and the drug taken by two


def test_of_too_many_codes_the_least_held_are_left_out(tmp_path: Path) -> None:
    dataset = cohort(tmp_path)
    learned = learn_vocabulary(dataset, bins=4, most_codes=6)  # GENDER//F, four bins of the lab, FLU
    assert set(learned.codes[len(FIXED) :]) == {"GENDER//F", FLU, *(f"{LAB}//{b}" for b in range(4))}
    fewer = learn_vocabulary(dataset, bins=4, most_codes=4)  # the bins of a code come together or not at all
    assert set(fewer.codes[len(FIXED) :]) == {"GENDER//F"}
    assert fewer.bins == {}


def test_a_split_of_nobody_teaches_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"The split 'tuning' of .* holds no events to learn a vocabulary from"):
        learn_vocabulary(cohort(tmp_path), split="tuning")


# The vocabulary -------------------------------------------------------------------------------------------------------


def test_labels_say_the_range_of_a_bin() -> None:
    vocabulary = small_vocabulary()
    assert vocabulary.label(f"{LAB}//0") == "Creatinine below 1"
    assert vocabulary.label(f"{LAB}//1") == "Creatinine 1 to 2"
    assert vocabulary.label(f"{LAB}//2") == "Creatinine 2 or more"
    assert vocabulary.label(LAB) == "Creatinine"
    assert vocabulary.label("GENDER//F") == "Female"
    assert vocabulary.base(f"{LAB}//2") == LAB
    assert vocabulary.base(FLU) == FLU


def test_a_code_that_the_model_does_not_know_is_refused_by_name() -> None:
    with pytest.raises(CannotAnswer, match=r"has no code 'LAB//nothing'. Leave that fact out"):
        small_vocabulary().ids(["GENDER//F", "LAB//nothing"])
    assert small_vocabulary().bins_of("LAB//nothing") == []


def test_a_vocabulary_survives_saving(tmp_path: Path) -> None:
    odd = ('CODE//with "quotes", spaces | and [brackets)', "é//ø", "")
    for number, vocabulary in enumerate(
        [
            small_vocabulary(),
            Vocabulary(odd, start=None, stops=frozenset(), pad=None),
            learn_vocabulary(cohort(tmp_path / "d")),
        ]
    ):
        path = tmp_path / f"{number}.json"
        vocabulary.save(path)
        assert Vocabulary.load(path) == vocabulary


def test_a_vocabulary_that_is_missing_or_of_another_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.json"
    with pytest.raises(BadInput, match=r"The model folder has no vocabulary.json"):
        Vocabulary.load(path)
    small_vocabulary().save(path)
    good = json.loads(path.read_text())
    bad = {
        "{": "vocabulary.json is not a vocabulary: it is not JSON",
        "[1]": "the entry 1: 0 is not a code with an id",
        json.dumps({"model": {"vocab": {}}}): "it lists no codes",
        json.dumps({**good, "format": "ehrmem-vocabulary/9"}): "format is 'ehrmem-vocabulary/9', expected",
        json.dumps({**good, "codes": ["A", "A"]}): "a code is listed twice",
        json.dumps({**good, "codes": "GENDER//F"}): "codes is not a list of texts",
        json.dumps({**good, "codes": [1, 2]}): "codes is not a list of texts",
        json.dumps({**good, "start": "[CLS]"}): "'\\[CLS\\]' is not among its codes",
        json.dumps({**good, "stops": ["[END]"]}): "'\\[END\\]' is not among its codes",
        json.dumps({**good, "bins": {LAB: [2.0, 1.0]}}): "the edges of .* do not rise",
        json.dumps({**good, "bins": {LAB: ["low", "high"]}}): "vocabulary.json is not a vocabulary of this kit",
        json.dumps({key: value for key, value in good.items() if key != "bins"}): "'bins'",
    }
    for text, told in bad.items():
        path.write_text(text)
        with pytest.raises(BadInput, match=told):
            Vocabulary.load(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="is not JSON"):
        Vocabulary.load(path)
