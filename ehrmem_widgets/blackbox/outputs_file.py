"""Outputs that somebody has, such as a file of synthetic patients, in the place of a model: it can be asked nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

import numpy as np

from ehrmem_widgets.blackbox.checks import LEAST_KNOWN
from ehrmem_widgets.blackbox.protocol import Query, SlotIds, Step
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.fingerprints import digest_of, fingerprint
from ehrmem_widgets.errors import BadInput, CannotAnswer
from ehrmem_widgets.settings import shown
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.tokens.sequences import IDS, raw_rows
from ehrmem_widgets.tokens.vocabulary import Vocabulary

_FORMS = (
    "Give a MEDS folder, a flat Parquet file with subject_id, time, code and numeric_value, or a .parquet or .jsonl file with codes (a list of "
    "texts) or ids (a list of numbers) in each row"
)


class OutputsFile:
    """The outputs in a file or a MEDS folder, read in a vocabulary.

    ``outputs``: each as ids; ``unknown``: the share of their codes (of a MEDS data set, of its events) that the vocabulary lacks, which are
    left out. Raises BadInput for a file of another form, for none at all, and where less than half of the codes are known.
    """

    context_length = 0
    answers: frozenset[Query] = frozenset()

    def __init__(self, where: str | Path, vocabulary: Vocabulary, *, training_split: str | None = None) -> None:
        path = Path(where)
        self.name, self.vocabulary, self.training_split = path.stem, vocabulary, training_split
        known = lost = 0
        outputs: list[tuple[int, ...]] = []
        for ids, unknown in _read(path, vocabulary):
            outputs.append(tuple(ids))
            known, lost = known + len(ids), lost + unknown
        if not outputs:
            raise BadInput(f"{path.name} holds no outputs.")
        self.outputs = tuple(outputs)
        self.unknown = lost / max(1, known + lost)
        if 1 - self.unknown < LEAST_KNOWN:
            raise BadInput(
                f"{path.name} is in other codes: {self.unknown:.0%} of its codes are unknown here. Name the codes that it was made in with "
                "--vocabulary (or the model's folder with --model), or the data set that its maker was trained on with --data."
            )
        self.fingerprint = _fingerprint(path)

    def generate(
        self,
        prompts: Sequence[SlotIds],
        horizon: int,
        samples: int,
        *,
        track: np.ndarray | None = None,
        banned: np.ndarray | None = None,
        seed: int = 0,
    ) -> Iterator[Step]:
        """It says nothing more."""
        return self._refuse()

    def score(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """It gives no probabilities."""
        return self._refuse()

    def score_moments(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """It gives no probabilities."""
        return self._refuse()

    def embed(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        """It gives no embeddings."""
        return self._refuse()

    def _refuse(self) -> NoReturn:
        raise CannotAnswer(f"{self.name} is a file of outputs: no model is there to be asked.")


def _fingerprint(path: Path) -> str:
    return fingerprint(path, list(path.rglob("*.parquet"))) if path.is_dir() else digest_of(path)


def _read(path: Path, vocabulary: Vocabulary) -> Iterator[tuple[list[int], int]]:
    """(ids, how many codes are unknown) of each output."""
    if path.is_dir():
        yield from _of_meds(path, vocabulary)
    elif not path.is_file() or path.suffix not in (".parquet", ".jsonl"):
        raise BadInput(f"{str(path)!r} is not a file of outputs. {_FORMS}.")
    elif path.suffix == ".parquet" and _is_flat_meds(path):
        with TemporaryDirectory(prefix="ehrmem-") as folder:
            (Path(folder) / "data").mkdir()
            shutil.copyfile(path, Path(folder) / "data" / "0.parquet")
            yield from _of_meds(Path(folder), vocabulary)
    else:
        for number, row in enumerate(raw_rows(path), 1):
            codes = row.get("codes") if row.get("codes") is not None else _codes_of_ids(row, vocabulary)
            if not isinstance(codes, list) or not all(isinstance(code, str) for code in codes):
                has = ", ".join(map(str, row))[:200] or "nothing"
                raise BadInput(f"{path.name}, row {number}: no list of codes or ids; it has {has}. {_FORMS}.")
            ids = [vocabulary.id(code) for code in codes if code in vocabulary]
            yield ids, len(codes) - len(ids)


def _is_flat_meds(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = set(pq.read_schema(path).names)
    except (pa.ArrowException, OSError):
        raise BadInput(f"{path.name} cannot be read as Parquet.") from None
    return "code" in names and "codes" not in names


def _of_meds(folder: Path, vocabulary: Vocabulary) -> Iterator[tuple[list[int], int]]:
    dataset = MedsDataset(folder)
    for record in dataset.each_record(dataset.ids()):
        sequence = encode(record, vocabulary)
        yield vocabulary.ids(sequence.codes), sequence.left_out


def _codes_of_ids(row: Mapping[str, object], vocabulary: Vocabulary) -> list[str] | None:
    """The codes of a row of ids; one that the vocabulary does not have is an unknown code."""
    ids = next((row[name] for name in IDS if row.get(name) is not None), None)
    if not isinstance(ids, list) or not all(type(one) is int for one in ids):
        return None
    return [vocabulary.codes[one] if 0 <= one < len(vocabulary) else f"no code {shown(one)}" for one in ids]
