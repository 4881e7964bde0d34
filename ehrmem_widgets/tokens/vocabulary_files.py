"""The list of a model's codes, in the forms in which it is found: JSON, CSV, Parquet, a tokenizer's own files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.files import read_json, read_text

IN_A_MODEL_FOLDER = (
    "vocabulary.json", "vocab.json", "codes.parquet", "metadata/codes.parquet", "tokenizer.json", "tokenizer_config.json",
    "vocab.csv", "vocab.txt", "vocabulary.csv", "vocabulary.txt",
)  # fmt: skip
CONTEXT_CLUES_SPECIAL = (
    "[BOS]",
    "[EOS]",
    "[UNK]",
    "[SEP]",
    "[PAD]",
    "[CLS]",
    "[MASK]",
)  # hf_ehr puts them before all others
_Pair = tuple[object, str | float]  # what should be a code and its id: ``read_codes`` checks both


def find_vocabulary(folder: Path) -> Path:
    """The file of a model folder that lists its codes. Raises BadInput, naming what was looked for, where there is none."""
    found = [folder / name for name in IN_A_MODEL_FOLDER if (folder / name).is_file()]
    found = [path for path in found if path.name != "tokenizer_config.json" or _lists_codes(path)] + sorted(
        folder.glob("vocab_t*.csv")
    )
    if not found:
        raise BadInput(
            f"The model folder {str(folder)!r} has no list of the codes that its numbers stand for. Looked for "
            f"{', '.join(IN_A_MODEL_FOLDER)} and vocab_t*.csv. Ask whoever trained the model for it, and name it as the vocabulary."
        )
    return found[0]


def read_codes(path: str | Path) -> dict[int, str]:
    """The codes of a vocabulary file, by id.

    Read are JSON ({code: id}, {id: code}, a list in which the place is the id; also under ``token_to_id``, ``vocab`` and such),
    a ``tokenizer.json`` of word level, hf_ehr's ``tokenizer_config.json``, CSV and text (the row is the id, or columns code and
    id), and the Parquet file of MEDS with ``code`` and ``code/vocab_index``. Raises BadInput for anything else, for an id
    given twice and for a code given twice.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput(f"There is no vocabulary file {str(path)!r}.")
    try:
        if path.suffix == ".parquet":
            pairs = list(_from_parquet(path))
        elif path.suffix in (".csv", ".txt", ".tsv"):
            pairs = list(_from_rows(path))
        elif path.suffix == ".json":
            pairs = list(_from_json(read_json(path, path.name)))
        else:
            raise ValueError("expected .json, .csv, .txt or .parquet")
        codes: dict[int, str] = {}
        ids: dict[str, int] = {}
        for code, number in pairs:
            if not isinstance(code, str) or isinstance(number, bool) or int(number) < 0:
                raise ValueError(f"the entry {code!r}: {number!r} is not a code with an id of 0 or more")
            number = int(number)
            if codes.setdefault(number, code) != code:
                raise ValueError(f"the id {number} stands for two codes, {codes[number]!r} and {code!r}")
            if ids.setdefault(code, number) != number:
                raise ValueError(f"the code {code!r} stands for two ids, {ids[code]} and {number}")
        if not codes:
            raise ValueError("it lists no codes")
    except (ValueError, TypeError, KeyError, AttributeError, UnicodeDecodeError, csv.Error) as error:
        said = " ".join(str(error).split())[:300]
        raise BadInput(
            f"{path.name} is not a list of codes that this kit can read: {said}. Readable are JSON ({{code: id}}, {{id: code}} or a "
            "list), a tokenizer.json of word level, CSV with one code per row, and Parquet with code and code/vocab_index."
        ) from None
    return codes


def _from_json(content: object) -> Iterable[_Pair]:
    if isinstance(content, Mapping):
        if isinstance(content.get("model"), Mapping):  # a tokenizer.json
            return _from_tokenizer(content)
        if isinstance(content.get("tokens"), list):  # hf_ehr
            return _from_hf_ehr(content["tokens"])
        for key in ("token_to_id", "code_to_id", "stoi", "vocab", "vocabulary", "codes", "tokens"):
            if isinstance(content.get(key), Mapping | list):
                return _from_json(content[key])
        if content and all(isinstance(v, str) for v in content.values()):
            return [(code, _whole(number)) for number, code in content.items()]
        return [(code, _whole(number)) for code, number in content.items()]
    if isinstance(content, list):
        return [(code, place) for place, code in enumerate(content)]
    raise ValueError("it holds neither a list nor names with ids")


def _from_tokenizer(content: Mapping[str, Any]) -> list[_Pair]:
    model = content["model"]
    if model.get("type") not in ("WordLevel", None):
        raise ValueError(
            f"its tokenizer is of type {model.get('type')!r}, which cuts codes into pieces; only word level (a code, a number) "
            "can be audited code by code"
        )
    added = [(one["content"], one["id"]) for one in content.get("added_tokens", [])]
    return [*dict([*model["vocab"].items(), *added]).items()]


def _from_hf_ehr(tokens: list[Mapping[str, Any]]) -> Iterable[_Pair]:
    for place, code in enumerate(CONTEXT_CLUES_SPECIAL):
        yield code, place
    for place, one in enumerate(tokens, len(CONTEXT_CLUES_SPECIAL)):
        how = one.get("tokenization") or {}
        code = str(one["code"])
        if one.get("type") == "numerical_range":
            code += f" || {how.get('unit')} || {how.get('range_start')} - {how.get('range_end')}"
        elif one.get("type") == "categorical":
            code += f" || {','.join(how.get('categories', []))}"
        yield code, place


def _from_rows(path: Path) -> Iterable[_Pair]:
    text = read_text(path, path.name)
    if path.suffix == ".txt":
        return [(line.rstrip("\r"), place) for place, line in enumerate(text.split("\n")) if line.strip()]
    rows = [
        row
        for row in csv.reader(io.StringIO(text, newline=""), delimiter="\t" if path.suffix == ".tsv" else ",")
        if row
    ]
    if not rows:
        raise ValueError("it is empty")
    head = [name.strip().lower() for name in rows[0]]
    code = next((head.index(name) for name in ("code", "token") if name in head), None)
    number = next(
        (head.index(name) for name in ("id", "index", "code/vocab_index", "vocab_index") if name in head), None
    )
    if code is not None:
        if short := next((place for place, row in enumerate(rows, 1) if len(row) <= max(code, number or 0)), None):
            raise ValueError(f"row {short} has fewer columns than the heading")
        return [(row[code], _whole(row[number]) if number is not None else place) for place, row in enumerate(rows[1:])]
    if any(len(row) != 1 for row in rows):
        raise ValueError("its rows have several columns and no heading names 'code' (and 'id')")
    return [(row[0], place) for place, row in enumerate(rows)]


def _from_parquet(path: Path) -> Iterable[_Pair]:
    import pyarrow.parquet as pq
    from pyarrow import ArrowInvalid

    try:
        table = pq.read_table(path)
    except (ArrowInvalid, OSError) as error:
        raise ValueError(str(error)) from None
    number = next((name for name in ("code/vocab_index", "vocab_index", "id") if name in table.column_names), None)
    if "code" not in table.column_names or number is None:
        raise ValueError(
            f"it has the columns {', '.join(table.column_names[:8])}; 'code' and 'code/vocab_index' are needed (the file that the "
            "model's own preprocessing wrote, not the data set's)"
        )
    pairs = zip(table["code"].to_pylist(), table[number].to_pylist(), strict=True)
    return [(code, place) for code, place in pairs if code is not None and place is not None]


def _whole(number: str | float) -> int:
    if isinstance(number, float) and not number.is_integer():
        raise ValueError(f"{number!r} is not an id")
    return int(number)


def _lists_codes(path: Path) -> bool:
    """Whether a tokenizer_config.json is hf_ehr's: transformers writes one of that name beside its tokenizers, without codes."""
    try:
        content = read_json(path, path.name)
    except BadInput:
        return False
    return isinstance(content, dict) and isinstance(content.get("tokens"), list)
