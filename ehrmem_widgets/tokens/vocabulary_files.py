"""The list of a model's codes, in the forms in which it is found: JSON, CSV, Parquet, a tokenizer's own files."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ehrmem_widgets.errors import BadInput, said_by
from ehrmem_widgets.files import opened, read_json, read_text
from ehrmem_widgets.settings import shown

if TYPE_CHECKING:
    from pyarrow import Array

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
MOST_IDS = 2**18
"""Ids run to this, or to twice the number of codes, at most: the ids between them are kept as well."""
_MOST_ROWS = 10_000_000
_LONGEST_CODE = 10_000
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
            pairs = _from_parquet(path)
        elif path.suffix in (".csv", ".txt", ".tsv"):
            pairs = _from_rows(path)
        elif path.suffix == ".json":
            pairs = _from_json(read_json(path, path.name))
        else:
            raise ValueError("expected .json, .csv, .txt or .parquet")
        codes: dict[int, str] = {}
        ids: dict[str, int] = {}
        for code, number in pairs:
            if not isinstance(code, str) or isinstance(number, bool) or int(number) < 0 or len(code) > _LONGEST_CODE:
                raise ValueError(f"the entry {shown(code)}: {shown(number)} is not a code with an id of 0 or more")
            number = int(number)
            if codes.setdefault(number, code) != code:
                raise ValueError(f"the id {shown(number)} stands for two codes, {codes[number]!r} and {code!r}")
            if ids.setdefault(code, number) != number:
                raise ValueError(f"the code {code!r} stands for two ids, {shown(ids[code])} and {shown(number)}")
        if not codes:
            raise ValueError("it lists no codes")
        if max(codes) >= max(MOST_IDS, 2 * len(codes)):
            raise ValueError(f"its {len(codes):,} codes have ids of up to {shown(max(codes))}")
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OverflowError,
        MemoryError,
        RecursionError,
        csv.Error,
    ) as error:
        if isinstance(error, BadInput):
            raise
        said = said_by(error)
        raise BadInput(
            f"{path.name} is not a list of codes that this kit can read: {said}. Readable are JSON ({{code: id}}, {{id: code}} or a "
            "list), a tokenizer.json of word level, CSV with one code per row, and Parquet with code and code/vocab_index."
        ) from None
    return codes


def _from_json(content: object) -> Iterator[_Pair]:
    if isinstance(content, Mapping):
        if isinstance(content.get("model"), Mapping):  # a tokenizer.json
            return iter(_from_tokenizer(content))
        if isinstance(content.get("tokens"), list):  # hf_ehr
            return _from_hf_ehr(content["tokens"])
        for key in ("token_to_id", "code_to_id", "stoi", "vocab", "vocabulary", "codes", "tokens"):
            if isinstance(content.get(key), Mapping | list):
                return _from_json(content[key])
        if content and all(isinstance(v, str) for v in content.values()):
            return ((code, _whole(number)) for number, code in content.items())
        return ((code, _whole(number)) for code, number in content.items())
    if isinstance(content, list):
        return ((code, place) for place, code in enumerate(content))
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


def _from_hf_ehr(tokens: list[Mapping[str, Any]]) -> Iterator[_Pair]:
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


def _from_rows(path: Path) -> Iterator[_Pair]:
    file = io.StringIO(read_text(path, path.name), newline="")
    if path.suffix == ".txt":
        yield from ((line.rstrip("\r\n"), place) for place, line in enumerate(file) if line.strip())
        return
    rows = (row for row in csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ",") if row)
    first = next(rows, [])
    head = [name.strip().lower() for name in first]
    code = next((head.index(name) for name in ("code", "token") if name in head), None)
    number = next(
        (head.index(name) for name in ("id", "index", "code/vocab_index", "vocab_index") if name in head), None
    )
    if code is not None:
        for place, row in enumerate(rows):
            if len(row) <= max(code, number or 0):
                raise ValueError(f"row {place + 2} has fewer columns than the heading")
            yield row[code], _whole(row[number]) if number is not None else place
        return
    for place, row in enumerate(itertools.chain([first] if first else [], rows)):
        if len(row) != 1:
            raise ValueError("its rows have several columns and no heading names 'code' (and 'id')")
        yield row[0], place


def _from_parquet(path: Path) -> Iterator[_Pair]:
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        with opened(path, path.name) as file, pq.ParquetFile(file, read_dictionary=["code"]) as table:
            names = table.schema_arrow.names
            number = next((name for name in ("code/vocab_index", "vocab_index", "id") if name in names), None)
            if "code" not in names or number is None:
                raise ValueError(
                    f"it has the columns {', '.join(names[:8])}; 'code' and 'code/vocab_index' are needed (the file that the "
                    "model's own preprocessing wrote, not the data set's)"
                )
            if table.metadata.num_rows > _MOST_ROWS:
                raise ValueError(f"it has {table.metadata.num_rows:,} rows")
            for batch in table.iter_batches(columns=["code", number]):
                yield from _pairs(batch["code"], batch[number])
    except (ArrowException, OSError) as error:
        raise ValueError(said_by(error)) from None


def _pairs(codes: Array, places: Array) -> Iterator[_Pair]:
    """Each code once in memory, however often its row is repeated."""
    listed = codes if hasattr(codes, "dictionary") else codes.dictionary_encode()
    words = listed.dictionary.to_pylist()
    for word, place in zip(listed.indices.to_pylist(), places.to_pylist(), strict=True):
        if word is not None and place is not None:
            yield words[word], place


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
