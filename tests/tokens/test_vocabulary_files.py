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
