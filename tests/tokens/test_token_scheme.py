"""How published models write records: guessed from their codes, declared in a file, refused in words."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from ehrmem_widgets.cohort.codes import Kind
from ehrmem_widgets.cohort.record import Event, Record
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.tokens.token_scheme import TokenScheme, guess_token_scheme, preset_names, read_token_scheme
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.cohort.meds import at
from tests.tokens import foreign

EVENTS = (
    Event(None, "GENDER//F"),
    Event(at("2020-01-01 08:00"), "ENCOUNTER//OUTPATIENT"),
    Event(at("2020-01-01 08:03"), foreign.SODIUM, 140.69999694824219),  # 140.7 as MEDS holds it
    Event(at("2020-01-01 08:03"), foreign.SODIUM, 134.9),
    Event(at("2020-01-05 08:03"), foreign.SODIUM),
    Event(at("2020-01-05 08:03"), "DIAGNOSIS//ICD//10//B20"),
)
RECORD = Record(1, "P-AAAA-AAAA", EVENTS, at("1966-06-30"))


@pytest.mark.parametrize(
    ("codes", "name"),
    [
        (foreign.MEICAR, "MEICAR"),
        (foreign.CONTEXT_CLUES, "Context Clues"),
        (foreign.ETHOS, "ETHOS"),
        (foreign.EHRMAMBA2, "EHRMamba2"),
    ],
)
def test_the_token_scheme_of_a_published_model_is_guessed_from_its_codes(codes: tuple[str, ...], name: str) -> None:
    found = foreign.vocabulary(codes)
    assert found.token_scheme.name == name and found.token_scheme_guessed
    assert found.opening and found.end in codes and set(found.opening) <= set(codes)


def test_meicar_writes_birth_gaps_in_years_and_values_as_ranges() -> None:
    vocabulary = foreign.vocabulary(foreign.MEICAR)
    found = encode(RECORD, vocabulary)
    assert found.codes == (
        "TIMELINE//START",
        "MEDS_BIRTH",
        f"{foreign.DELTA}[40.0,inf)",
        "ENCOUNTER//OUTPATIENT",
        f"{foreign.DELTA}[0.00000190258,0.00000951293)",
        f"{foreign.SODIUM}//value_[140.7,inf)",
        f"{foreign.SODIUM}//value_[-inf,135.0)",
        f"{foreign.DELTA}[0.002739726,1.0)",
        foreign.SODIUM,
        "DIAGNOSIS//ICD//10//B20",
        "TIMELINE//END",
    )
    assert found.event_of == (-1, -1, -1, 1, -1, 2, 3, -1, 4, 5, -1)
    assert found.left_out == 1 and found.age_ends == 3  # the sex has no date and is never told
    assert vocabulary.label(found.codes[5]).endswith("140.7 or more")
    assert vocabulary.label(found.codes[7]) == "1 day to 1 year later"
    assert vocabulary.kind(found.codes[7]) is Kind.time and vocabulary.kind("[no code 0]") is Kind.special
    assert vocabulary.base(found.codes[5]) == foreign.SODIUM


def test_a_birth_stands_in_time_order_and_the_age_is_the_gap_to_the_first_event_that_is_known() -> None:
    vocabulary = foreign.vocabulary(foreign.MEICAR)
    unknown_first = (Event(at("1970-01-01"), "VACCINE//nobody knows"), *EVENTS[1:2])
    found = encode(Record(1, "P", unknown_first, at("1966-06-30")), vocabulary)
    assert found.codes[1:4] == ("MEDS_BIRTH", f"{foreign.DELTA}[40.0,inf)", "ENCOUNTER//OUTPATIENT")
    before_birth = (Event(at("2020-01-01"), "ENCOUNTER//OUTPATIENT"), Event(at("2020-01-05"), foreign.SODIUM, 1.0))
    found = encode(Record(1, "P", before_birth, at("2020-01-03")), vocabulary)
    gap = f"{foreign.DELTA}[0.002739726,1.0)"
    assert found.codes[1:-1] == (
        "ENCOUNTER//OUTPATIENT",
        gap,
        "MEDS_BIRTH",
        gap,
        f"{foreign.SODIUM}//value_[-inf,135.0)",
    )
    assert found.age_ends == 0 and found.event_of == (-1, 0, -1, -1, -1, 1, -1)


def test_a_gap_that_no_code_covers_is_not_written() -> None:
    codes = tuple(code for code in foreign.MEICAR if "[0.002739726,1.0)" not in code)
    assert "[1.0,40.0)" not in "".join(encode(RECORD, foreign.vocabulary(codes)).codes)
    gaps = foreign.vocabulary(codes).gap_between(at("2020-01-01"), at("2020-01-05"))
    assert gaps == ()


def test_context_clues_opens_with_two_codes_and_writes_ranges_with_units() -> None:
    vocabulary = foreign.vocabulary(foreign.CONTEXT_CLUES)
    events = (
        Event(None, "Gender/F"),
        Event(at("2020-01-01"), foreign.GLUCOSE, 99.5),
        Event(at("2020-02-01"), "ICD10CM/B20"),
    )
    found = encode(Record(1, "P", events), vocabulary)
    assert found.codes == (
        "[CLS]",
        "[BOS]",
        "Gender/F",
        f"{foreign.GLUCOSE} || None || 99.5 - 140.0",
        "ICD10CM/B20",
        "[EOS]",
    )
    assert vocabulary.gap_codes == () and vocabulary.gap_rule is None
    assert [one.code for one in vocabulary.value_bins[foreign.GLUCOSE]] == list(foreign.CONTEXT_CLUES[9:11])  # one unit
    beyond = Event(at("2020-01-01"), foreign.GLUCOSE, 1000.0)
    assert vocabulary.codes_of(beyond) == ()  # no code without a value, and no range that holds it


def test_ethos_writes_a_value_as_the_next_code_and_repeats_half_years() -> None:
    codes = foreign.ETHOS
    vocabulary = foreign.vocabulary(codes)
    assert vocabulary.next_codes == tuple(f"Q{b}" for b in range(1, 11)) and vocabulary.lacks_edges
    vocabulary = Vocabulary(
        codes,
        {"LAB//GLUCOSE": tuple(range(10, 100, 10))},
        {},
        vocabulary.start,
        vocabulary.stops,
        None,
        vocabulary.token_scheme,
    )
    events = (
        Event(None, "GENDER//F"),
        Event(at("2020-01-01 08:00"), "LAB//GLUCOSE", 25.0),
        Event(at("2020-01-01 08:10"), "LAB//GLUCOSE", 95.0),
        Event(at("2021-07-01 08:10"), "ICD//CM//B20"),
    )
    found = encode(Record(1, "P", events), vocabulary)
    assert found.codes == (
        "TIMELINE_START", "GENDER//F", "LAB//GLUCOSE", "Q3", "5m-15m", "LAB//GLUCOSE", "Q10", "=6mt", "=6mt", "=6mt",
        "ICD//CM//B20", "TIMELINE_END",
    )  # fmt: skip
    assert found.event_of == (-1, 0, 1, 1, -1, 2, 2, -1, -1, -1, 3, -1)
    assert vocabulary.gap_days("15m-1h15m") * 1440 == pytest.approx(15) and vocabulary.label("Q3").startswith(
        "value in part 3"
    )


def test_a_number_at_a_codes_end_is_a_bin_only_where_the_numbers_run() -> None:
    vocabulary = foreign.vocabulary(foreign.EHRMAMBA2)
    assert set(vocabulary.value_bins) == {"LAB//50912"} and vocabulary.lacks_edges
    assert vocabulary.base("DIAGNOSIS//ICD//9//25000") == "DIAGNOSIS//ICD//9//25000"
    assert vocabulary.label("LAB//50912//1").endswith("value in part 2 of 3")
    assert vocabulary.ages == {"AGE//53": 53, "AGE//54": 54}
    numbered = vocabulary.with_bin_numbers()
    assert not numbered.lacks_edges and numbered.code_of(Event(None, "LAB//50912", 2.0)) == "LAB//50912//2"
    assert numbered.label("LAB//50912//1").endswith("value in part 2 of 3")


def test_a_token_scheme_file_says_what_differs_from_a_published_one(tmp_path: Path) -> None:
    for name, text in {
        "g.yaml": 'preset: meicar\nstart: "GO"\nrename: [["^LAB//RESULT//", "LAB//"]]\n',
        "g.json": json.dumps({"preset": "meicar", "start": "GO", "rename": [["^LAB//RESULT//", "LAB//"]]}),
        "g.toml": 'preset = "meicar"\nstart = "GO"\nrename = [["^LAB//RESULT//", "LAB//"]]\n',
    }.items():
        (tmp_path / name).write_text(text)
        found = read_token_scheme(tmp_path / name)
        assert found.start == "GO" and found.birth == "MEDS_BIRTH" and found.renamed("LAB//RESULT//1") == "LAB//1"


def test_lengths_of_gaps_can_be_listed_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text(
        "time: {lengths: {SOON: [0.01, 1], LATER: [1, 30], LONG: 30}, repeat: LONG}\nvalues: null\n"
    )
    rule = read_token_scheme(tmp_path / "g.yaml").gaps(["LONG", "SOON", "LATER", "OTHER"])
    assert rule is not None and rule.codes == ("SOON", "LATER", "LONG")
    assert rule.between(at("2020-01-01"), at("2020-01-20")) == ("LATER",)
    assert rule.between(at("2020-01-01"), at("2020-04-01")) == ("LONG",) * 3


@pytest.mark.parametrize("name", preset_names())
def test_a_token_scheme_is_written_down_and_read_again(name: str, tmp_path: Path) -> None:
    known = read_token_scheme(name)
    (tmp_path / "g.yaml").write_text(known.to_yaml())
    assert read_token_scheme(tmp_path / "g.yaml") == known


BAD = {
    "- a list": "must hold names and values",
    "strat: x": "'strat' is an unknown token scheme key. Is 'start' meant?",
    "preset: gpt": "no published token scheme 'gpt'. Published are",
    "stops: 3": "stops must be a list of codes; got 3",
    "statics: perhaps": "statics must be true or false",
    "age: '(['": "the pattern of age is not a regular expression",
    "age: 'AGE//.*'": "the pattern of age needs the group years",
    "time: soon": "time must be 'calendar', 'ages', null, or a rule with a pattern or lengths; got 'soon'",
    "time: {unit: years}": "time needs a pattern, or lengths",
    "time: {pattern: '(?P<low>.*)', unit: fortnights}": "'fortnights' is not a unit of time",
    "time: {lengths: {A: soon}}": "A of lengths of time must be the shortest and the longest gap in days, in this order, such as [7, 14]; got 'soon'",
    "time: {lengths: {A: [14, 7]}}": "the shortest and the longest gap in days, in this order",
    "time: {lengths: {A: [7]}}": "item 2 of A of lengths of time is missing",
    "rename: [[a, b, c]]": "must be a pair [pattern, replacement]; got ['a', 'b', 'c']",
    "values: {kind: bin}": "the kind of values must be 'number', 'range' or 'next'; got 'bin'",
    "values: {kind: range}": "need a pattern with the groups code, low, high",
    "values: {kind: next, pattern: 'Q.*'}": "the pattern of values needs the group bin",
    "rename: {a: b}": "rename must be a list of pairs",
    "start: [a]": "start must be a text or null",
    "start: 042": "would be taken for another number",
    "start: 42": "start must be a text or null; got 42",
    "stops: [A, 1]": "item 2 of stops must be a text (put quotes around it); got 1",
    "statics: 1": "statics must be true or false; got 1",
    "1: A": "1 is an unknown token scheme key. Known are name",
    "time: {patern: x}": "'patern' is an unknown time key. Is 'pattern' meant?",
    "time: {lengths: {A: [2, 1]}}": "must be the shortest and the longest gap in days",
    "time: {lengths: {A: true}}": "must be the shortest and the longest gap in days, in this order, such as [7, 14]; got True",
    "time: {lengths: {A: .nan}}": "must be the shortest and the longest gap in days",
    "time: {lengths: [A]}": "lengths of time must be codes with their gaps in days",
    "time: {pattern: 7}": "the pattern of time must be a text (put quotes around it); got 7",
    "values: {pattern: x}": "the kind of values is missing",
    "rename: [['(', b]]": "the pattern of rename is not a regular expression",
    "rename: [[a, '\\9']]": "the replacement '\\\\9' of rename does not fit its pattern",
    "a: [": "cannot be read",
    "start: A\nstart: B": "'start' is given twice (line 2)",
}


@pytest.mark.parametrize(("text", "told"), BAD.items())
def test_a_token_scheme_file_with_a_mistake_is_refused_in_words(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "g.yaml").write_text(text)
    with pytest.raises(BadInput) as caught:
        read_token_scheme(tmp_path / "g.yaml")
    assert told in str(caught.value)


@pytest.mark.parametrize("name", ["g.json", "g.toml", "g.yaml"])
def test_a_token_scheme_nested_without_end_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(("a = " if name == "g.toml" else "") + "[" * 100_000)
    with pytest.raises(BadInput, match=r"The token scheme file .* cannot be read.*nested too deeply"):
        read_token_scheme(tmp_path / name)


def test_a_name_that_is_neither_a_file_nor_published_is_refused() -> None:
    with pytest.raises(
        BadInput, match=r"There is no token scheme file 'ethoz', and no published token scheme of that name"
    ):
        read_token_scheme("ethoz")


def test_codes_that_say_nothing_get_a_token_scheme_without_gaps() -> None:
    token_scheme = guess_token_scheme(["<s>", "</s>", "A", "B"])
    assert (token_scheme.start, token_scheme.stops) == ("<s>", ("</s>",))
    assert TokenScheme(time=None).gaps(["A"]) is None


def test_edges_that_the_model_does_not_tell_are_the_datas_equal_shares(made) -> None:  # type: ignore[no-untyped-def]
    vocabulary = foreign.vocabulary(foreign.EHRMAMBA2)
    found = vocabulary.with_edges_of(made([float(v) for v in range(1, 31)]), None)
    assert found.edges == "learned" and not found.lacks_edges
    low, high = found.bins["LAB//50912"]
    assert (low, high) == (pytest.approx(10.7, abs=0.2), pytest.approx(20.3, abs=0.2))
    assert found.code_of(Event(None, "LAB//50912", 15.0)) == "LAB//50912//1"
    assert math.isinf(found.value_bins["LAB//50912"][0].low)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    from ehrmem_widgets.cohort.dataset import MedsDataset
    from tests.cohort.meds import write

    monkeypatch.setenv("EHRMEM_PSEUDONYM_KEY", str(tmp_path / "key"))

    def data(values: list[float]) -> MedsDataset:
        rows = [(1, at("2020-01-01"), "LAB//50912", value) for value in values]
        return MedsDataset(write(tmp_path / "d", {"0.parquet": rows}))

    return data


def test_special_codes_alone_fit_no_published_token_scheme() -> None:
    found = guess_token_scheme(["[PAD]", "[CLS]", "[BOS]", "[EOS]", "A10", "B20", "C30"])
    assert (found.name, found.start, found.stops, found.pad) == ("none", "[BOS]", ("[EOS]",), "[PAD]")
    assert found.time is found.values is found.age is None
