"""A model's list of codes, in every form in which it is found, and refused in words otherwise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from ehrmem_widgets.tokens.vocabulary_files import find_vocabulary, read_codes

CODES = ["[PAD]", "LAB//1//mg/dL || [a, b)", "Größe | 2", "DIAGNOSIS//x"]
BY_ID = dict(enumerate(CODES))


def parquet(path: Path, **columns: list[object]) -> None:
    pq.write_table(pa.table(columns), path)


FORMS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "code to id": ("v.json", lambda p: p.write_text(json.dumps({c: i for i, c in BY_ID.items()}))),
    "id to code": ("v.json", lambda p: p.write_text(json.dumps({str(i): c for i, c in BY_ID.items()}))),
    "a list": ("v.json", lambda p: p.write_text(json.dumps(CODES))),
    "under a name": (
        "v.json",
        lambda p: p.write_text(json.dumps({"token_to_id": {c: i for i, c in BY_ID.items()}, "backoff": None})),
    ),
    "a tokenizer": (
        "tokenizer.json",
        lambda p: p.write_text(
            json.dumps(
                {
                    "model": {"type": "WordLevel", "vocab": {c: i for i, c in BY_ID.items() if i}},
                    "added_tokens": [{"id": 0, "content": "[PAD]"}],
                }
            )
        ),
    ),
    "rows": ("v.csv", lambda p: p.write_text("\n".join(f'"{c}"' for c in CODES) + "\n")),
    "columns": ("v.csv", lambda p: p.write_text("id,code\n" + "\n".join(f'{i},"{c}"' for i, c in BY_ID.items()))),
    "tabs": ("v.tsv", lambda p: p.write_text("token\tid\n" + "\n".join(f"{c}\t{i}" for i, c in BY_ID.items()))),
    "lines": ("v.txt", lambda p: p.write_text("\n".join(CODES) + "\n")),
    "MEDS": ("codes.parquet", lambda p: parquet(p, code=CODES, **{"code/vocab_index": list(range(4))})),
}


@pytest.mark.parametrize(("name", "write"), FORMS.values(), ids=FORMS)
def test_every_form_gives_the_same_codes(name: str, write: Callable[[Path], object], tmp_path: Path) -> None:
    write(tmp_path / name)
    assert read_codes(tmp_path / name) == BY_ID
    assert Vocabulary.load(tmp_path / name).codes == tuple(CODES)


def test_hf_ehr_lists_tokens_with_ranges_after_its_special_codes(tmp_path: Path) -> None:
    tokens = [
        {"code": "LOINC/1", "type": "numerical_range", "tokenization": {"unit": None, "range_start": 1.0, "range_end": 2.5}, "stats": []},
        {"code": "SNOMED/2", "type": "categorical", "tokenization": {"categories": ["a", "b"]}, "stats": []},
        {"code": "ICD10CM/B20", "type": "code", "tokenization": {}, "stats": []},
    ]  # fmt: skip
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"timestamp": "", "metadata": {}, "tokens": tokens}))
    found = read_codes(find_vocabulary(tmp_path))
    assert [found[i] for i in range(7, 10)] == ["LOINC/1 || None || 1.0 - 2.5", "SNOMED/2 || a,b", "ICD10CM/B20"]
    assert found[0] == "[BOS]" and found[4] == "[PAD]"


def test_ids_without_a_code_get_a_placeholder_and_the_head_may_be_wider(tmp_path: Path) -> None:
    parquet(tmp_path / "codes.parquet", code=["A", "B"], **{"code/vocab_index": [1, 3]})
    found = Vocabulary.load(tmp_path / "codes.parquet").widened(6)
    assert len(found) == 6 and found.without_a_code == 4 and found.id("B") == 3
    assert found.label(found.codes[5]) == "(a number without a code)"


def test_what_transformers_writes_beside_a_tokenizer_is_not_taken_for_a_list(tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizer"}))
    with pytest.raises(
        BadInput, match=r"has no list of the codes that its numbers stand for. Looked for vocabulary.json"
    ):
        find_vocabulary(tmp_path)
    (tmp_path / "vocab_t123.csv").write_text("A\nB\n")
    assert read_codes(find_vocabulary(tmp_path)) == {0: "A", 1: "B"}


BAD: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "pieces": (
        "tokenizer.json",
        lambda p: p.write_text(json.dumps({"model": {"type": "BPE", "vocab": {"a": 0}}})),
        "cuts codes into pieces",
    ),
    "an id twice": ("v.json", lambda p: p.write_text(json.dumps({"A": 1, "B": 1})), "the id 1 stands for two codes"),
    "a code twice": (
        "v.json",
        lambda p: p.write_text(json.dumps(["A", "A"])),
        "the code 'A' stands for two ids, 0 and 1",
    ),
    "no ids": ("v.json", lambda p: p.write_text(json.dumps({"A": "x"})), "invalid literal"),
    "half an id": ("v.json", lambda p: p.write_text(json.dumps({"A": 0.5})), "0.5 is not an id"),
    "a negative id": ("v.json", lambda p: p.write_text(json.dumps({"A": -1})), "is not a code with an id of 0 or more"),
    "nothing": ("v.json", lambda p: p.write_text("{}"), "it lists no codes"),
    "several columns": ("v.csv", lambda p: p.write_text("a,b\nc,d\n"), "several columns and no heading names 'code'"),
    "the data's own codes": (
        "codes.parquet",
        lambda p: parquet(p, code=["A"], description=["x"]),
        "'code/vocab_index' are needed",
    ),
    "no parquet": ("codes.parquet", lambda p: p.write_bytes(b"no"), "is not a list of codes that this kit can read"),
    "a pickle": ("vocab.pkl", lambda p: p.write_bytes(b"\x80\x04"), "expected .json, .csv, .txt or .parquet"),
}


@pytest.mark.parametrize(("name", "write", "told"), BAD.values(), ids=BAD)
def test_another_form_is_refused_in_words(
    name: str, write: Callable[[Path], object], told: str, tmp_path: Path
) -> None:
    write(tmp_path / name)
    with pytest.raises(BadInput) as caught:
        read_codes(tmp_path / name)
    assert told in str(caught.value) and name in str(caught.value)


def in_parquet(**columns: object) -> Callable[[Path], object]:
    return lambda path: pq.write_table(pa.table(columns), path)


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


OWN = {
    "format": "ehrmem-vocabulary/1",
    "codes": ["a"],
    "bins": {},
    "labels": {},
    "start": None,
    "stops": [],
    "pad": None,
}
HOSTILE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "ids far apart": ("v.json", text('{"a": 0, "b": 1000000000000}')),
    "ids far apart in Parquet": ("v.parquet", in_parquet(code=["a"], id=[2**62])),
    "ids far apart in a tokenizer": ("v.json", text('{"model": {"type": "WordLevel", "vocab": {"a": 1000000000000}}}')),
    "an id of 4,000 digits": ("v.json", text('{"a": ' + "9" * 4_000 + "}")),
    "an id of 5,000 digits as text": ("v.json", text('{"' + "9" * 5_000 + '": "a"}')),
    "an id without end": ("v.json", text('{"a": Infinity}')),
    "an id without end in Parquet": ("v.parquet", in_parquet(code=["a"], id=[float("inf")])),
    "ids in ids": ("v.parquet", in_parquet(code=["a"], id=[[1]])),
    "codes in codes": ("v.parquet", in_parquet(code=[["a"]], id=[1])),
    "numbers for codes": ("v.parquet", in_parquet(code=[1], id=[1])),
    "deep": ("v.json", text("[" * 100_000)),
    "half a character": ("v.json", text('["\\ud800"]')),
    "a code like a book": ("v.json", text(json.dumps(["x" * 1_000_000]))),
    "a type like a book": ("v.json", text(json.dumps({"model": {"type": "x" * 1_000_000, "vocab": {}}}))),
    "a short row": ("v.csv", text("code,id\na\n")),
    "a quote without end": ("v.csv", text('"' + "x" * 1_000_000)),
    "no rows": ("v.csv", text("")),
    "no Parquet": ("v.parquet", text("PAR1" * 1_000)),
    "labels in a list": ("v.json", text(json.dumps({**OWN, "labels": ["a"]}))),
    "labels of numbers": ("v.json", text(json.dumps({**OWN, "labels": {"a": 1}}))),
    "edges that are none": ("v.json", text(json.dumps({**OWN, "bins": {"a": [float("nan")]}}))),
    "edges in quotes": ("v.json", text(json.dumps({**OWN, "bins": {"a": ["1", "2"]}}))),
    "an edge of 400 digits": ("v.json", text(json.dumps({**OWN, "bins": {"a": [10**400]}}))),
    "a start like a book": ("v.json", text(json.dumps({**OWN, "start": "x" * 1_000_000}))),
    "stops in stops": ("v.json", text(json.dumps({**OWN, "stops": [["a"]]}))),
}


@pytest.mark.parametrize(("name", "write"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_vocabulary_is_refused_in_a_short_sentence(
    name: str, write: Callable[[Path], object], tmp_path: Path
) -> None:
    write(tmp_path / name)
    with pytest.raises(BadInput, match=r"^v\.\w+ (is not|cannot be read)") as refused:
        Vocabulary.load(tmp_path / name)
    assert len(str(refused.value)) < 600


def test_a_code_repeated_in_a_million_rows_is_held_once(tmp_path: Path) -> None:
    """As Parquet can hold it in a few bytes; as text it would be 100 GB."""
    code = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000_000, pa.int32()), pa.array(["x" * 100_000]))
    pq.write_table(pa.table({"code": code, "id": pa.array([0] * 1_000_000)}), tmp_path / "v.parquet")
    with pytest.raises(BadInput, match="is not a code with an id"):
        Vocabulary.load(tmp_path / "v.parquet")


def test_ids_with_some_gaps_get_placeholders_and_a_head_beyond_all_codes_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text('{"a": 0, "b": 5000}')
    vocabulary = Vocabulary.load(tmp_path / "v.json")
    assert (len(vocabulary), vocabulary.without_a_code, vocabulary.id("b")) == (5001, 4999, 5000)
    assert len(vocabulary.widened(6000)) == 6000
    with pytest.raises(BadInput, match="it lists 5,001 codes and the model knows 1,000,000,000"):
        vocabulary.widened(10**9)
