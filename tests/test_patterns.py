"""Regular expressions that others wrote end, or are refused in words that name them and the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehrmem_widgets.cohort.attributes import load_attributes, match_codes
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.patterns import Pattern, number_in, pattern, whole_in
from ehrmem_widgets.tokens.token_scheme import read_token_scheme
from ehrmem_widgets.tokens.vocabulary import Vocabulary

ENDLESS = r"(a|aa)+b"
CODE = "a" * 60
SCHEMES = {
    "age": f"age: '(?P<years>{ENDLESS})'",
    "time": f"time: {{pattern: '(?P<low>{ENDLESS})', unit: h}}",
    "values": f"values: {{kind: number, pattern: '(?P<code>{ENDLESS})(?P<bin>x)'}}",
    "rename": f"rename: [['{ENDLESS}', 'x']]",
}


def used(text: str, codes: tuple[str, ...], folder: Path) -> Vocabulary:
    """A vocabulary of these codes with this token scheme, after everything of it was asked for."""
    (folder / "g.yaml").write_text(text)
    scheme = read_token_scheme(folder / "g.yaml")
    vocabulary = Vocabulary(codes, start=None, stops=frozenset(), pad=None, token_scheme=scheme)
    assert vocabulary.ages is not None and vocabulary.value_bins is not None and vocabulary.next_codes is not None
    for code in codes:
        scheme.renamed(code)
    if vocabulary.gap_rule:
        vocabulary.gap_rule.days(codes[0])
    return vocabulary


@pytest.mark.parametrize("key", SCHEMES)
def test_a_token_schemes_pattern_without_end_is_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=rf"the pattern of {key} takes too long: .*\(a\|aa\).* with the code 'aaaaa"):
        used(SCHEMES[key], (CODE,), tmp_path)


@pytest.mark.parametrize("text", [ENDLESS, "(?R)", r"a(?R)?b|(?R)"])
def test_recursion_and_its_memory_end_too(text: str) -> None:
    with pytest.raises(BadInput, match="the pattern of x takes too long"):
        Pattern(text, "x").fullmatch(CODE)


def test_an_attributes_pattern_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "attributes:\n- {name: x, title: X, severity: 3, reason: r, sources: [s], codes: {icd10cm_pattern: ['(A|AA)+b']}}\n"
    )
    with pytest.raises(BadInput, match=r"takes too long: '\(A\|AA\)\+b' did not come to an end with the code 'AAAA"):
        match_codes(load_attributes(path), [f"DIAGNOSIS//ICD//10//{'A' * 60}"])


@pytest.mark.parametrize("text", ["(", "(" * 450 + ")" * 450, "a{99999999999}", r"\L<x>", "x" * 1001])
def test_what_is_no_pattern_or_a_book_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"the pattern of x is (not a regular expression|longer than)") as refused:
        Pattern(text, "x")
    assert len(str(refused.value)) < 300


NO_NUMBER = {
    "age: '(?P<years>.*)'": "A//1",
    r"age: '(?P<years>\d+)'": "9" * 5_000,
    "time: {pattern: 'T//(?P<low>.*)', unit: years}": "T//nan",
    "time: {pattern: '(?P<low>.*)', unit: h}": "x",
    "values: {kind: next, pattern: '(?P<bin>.*)'}": "Q",
    "values: {kind: number, pattern: '(?P<code>.*)//(?P<bin>.*)'}": "A//x",
    "values: {kind: range, pattern: '(?P<code>.*)//(?P<low>.*)-(?P<high>.*)'}": "A//x-y",
}


@pytest.mark.parametrize(("text", "code"), NO_NUMBER.items())
def test_a_group_that_finds_no_number_is_said_with_the_code(text: str, code: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"the group \w+ of the pattern .* must find a number; of the code '") as refused:
        used(text, (code,), tmp_path)
    assert len(str(refused.value)) < 300


def test_an_age_of_a_thousand_years_is_none() -> None:
    assert Vocabulary(("AGE//999", "AGE//1000", f"AGE//{'9' * 18}")).ages == {"AGE//999": 999}


def test_renaming_does_not_write_books(tmp_path: Path) -> None:
    doubling = ", ".join([r"['(.+)', '\1\1']"] * 60)
    with pytest.raises(BadInput, match="of rename is too long, or makes too long a code"):
        used(f"rename: [{doubling}]", ("A",), tmp_path)
    with pytest.raises(BadInput, match="of rename is too long, or makes too long a code"):
        used(f"rename: [[A, {'x' * 2_000}]]", ("A",), tmp_path)


def test_a_repeated_gap_of_no_time_is_refused(tmp_path: Path) -> None:
    for low in ("0", "1.0e-300"):
        with pytest.raises(BadInput, match="'T' that is repeated for long gaps must stand for an hour or more"):
            used(f"time: {{lengths: {{T: [{low}, 1]}}, repeat: T}}", ("T",), tmp_path)


def test_many_codes_of_an_honest_pattern_are_matched() -> None:
    years = pattern(r"A//(?P<years>\d+)(?P<rest>x?)", "age")
    found = [years.fullmatch(f"A//{n}") for n in range(20_000)]
    assert [whole_in(match, "years") for match in found if match] == list(range(20_000))
    assert found[7] and number_in(found[7], "years") == 7.0
    assert pattern("a+", "x").replaced("baab", "-") == "b-b" and pattern("a", "x").match("ab")
