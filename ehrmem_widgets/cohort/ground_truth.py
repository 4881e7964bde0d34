"""Planted canaries: made-up patients in the training data. A data set made here says whom it planted (``ground_truth.parquet`` beside its
data); a hospital that planted its own names a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Event, Record
from ehrmem_widgets.errors import BadInput, said_by
from ehrmem_widgets.files import opened

GROUND_TRUTH = "ground_truth.parquet"
COLUMNS = ("subject_id", "repetitions", "alternative", "time", "code", "numeric_value")


def canary_repetitions(dataset: MedsDataset) -> dict[int, int]:
    """For each canary's patient id, how often training saw its record in an epoch (0: never trained on); empty where the data
    set plants none."""
    if dataset.canaries is not None:
        return dict(CanaryFile.read(dataset.canaries, dataset).repetitions)
    path = dataset.root / GROUND_TRUTH
    if not path.exists():
        return {}
    truth = _read_truth(path)
    return {
        int(i): int(n) for i, n, canary in zip(truth.subject_id, truth.repetitions, truth.canary, strict=True) if canary
    }


def _read_truth(path: Path) -> pd.DataFrame:
    truth = _table(path, ("subject_id", "canary", "repetitions"), f"{path.name}, which names the planted canaries,")
    kinds = truth.dtypes
    if not (
        kinds["subject_id"] == np.int64
        and pd.api.types.is_bool_dtype(kinds["canary"])
        and pd.api.types.is_integer_dtype(kinds["repetitions"])
    ):
        raise BadInput(
            f"{path.name}, which names the planted canaries, must hold subject_id and repetitions (whole numbers) and canary (true or false)."
        )
    return truth


@dataclass(frozen=True)
class CanaryFile:
    """A hospital's own canaries, by patient id: ``repetitions``, how often training saw the record in an epoch (0: never), and
    ``alternatives``, the records that could have been planted in its place, drawn as the planted one was."""

    repetitions: Mapping[int, int]
    alternatives: Mapping[int, tuple[tuple[Event, ...], ...]]

    @classmethod
    def read(cls, path: str | Path, dataset: MedsDataset) -> CanaryFile:
        """Read a Parquet file with the columns of ``COLUMNS``, one row per event of an alternative (numbered from 1), in the order of the
        record; a canary without alternatives has one row with ``alternative`` 0. Raises BadInput, naming the canary by pseudonym, for one
        that the data set does not have, and for alternatives that differ from its record in more than values."""
        path = Path(path)
        key = (path.resolve(), path.stat().st_mtime_ns if path.is_file() else 0, dataset.fingerprint)
        if key not in _READ:
            _READ.clear()
            _READ[key] = cls._read(path, dataset)
        return _READ[key]

    @classmethod
    def _read(cls, path: Path, dataset: MedsDataset) -> CanaryFile:
        table = _table(path, COLUMNS, f"The canaries {path.name}", ", one row per event of an alternative")
        if table.empty:
            raise BadInput(f"The canaries {path.name} name nobody. Leave the file out where nothing was planted.")
        for column, least in (("subject_id", -math.inf), ("repetitions", 0), ("alternative", 0)):
            if not _whole(table[column], least):
                raise BadInput(
                    f"The canaries {path.name}: {column} must be a whole number in every row{', 0 or more' if least == 0 else ''}."
                )
        values = table["numeric_value"]
        if not values.isna().all() and not (
            pd.api.types.is_numeric_dtype(values) and np.isfinite(values.dropna()).all()
        ):
            raise BadInput(
                f"The canaries {path.name}: numeric_value must be a number, or missing where the event has none."
            )
        there = set(dataset.ids())
        if strangers := sorted(set(table["subject_id"]) - there):
            raise BadInput(
                f"The canaries {path.name} name {len(strangers)} patients that {dataset.name} does not have, such as "
                f"{dataset.pseudonym(int(strangers[0]))}."
            )
        planted = table.groupby("subject_id")["repetitions"]
        if (planted.nunique() > 1).any():
            raise BadInput(
                f"The canaries {path.name} must give each canary one number of repetitions, the same in all of its rows."
            )
        repetitions = {int(one): int(n) for one, n in planted.first().items()}
        found: dict[int, tuple[tuple[Event, ...], ...]] = {}
        of = {record.patient_id: record for record in dataset.records(repetitions)}
        for patient, rows in table[table["alternative"] > 0].groupby("subject_id"):
            record = of[int(patient)]
            every = tuple(_events(one, record, path) for _, one in rows.groupby("alternative"))
            if all(one == record.events for one in every):
                raise BadInput(
                    f"The canaries {path.name}: every alternative of {record.pseudonym} is its own record. Give values that it could "
                    "have had instead."
                )
            found[record.patient_id] = every
        return cls(repetitions, found)

    def alternatives_of(self, record: Record, n: int, seed: int) -> list[Record]:
        """``n`` of a canary's alternatives; all of them where there are no more."""
        every = self.alternatives.get(record.patient_id, ())
        rng = np.random.default_rng([seed, record.patient_id % 2**32])
        return [record.with_events(every[i]) for i in rng.permutation(len(every))[:n]]


def _table(path: Path, columns: Sequence[str], what: str, rows: str = "") -> pd.DataFrame:
    try:
        with opened(path, what) as file:
            return pd.read_parquet(file, columns=list(columns))
    except BadInput:
        raise
    except (OSError, ValueError) as error:
        raise BadInput(
            f"{what} cannot be read ({said_by(error)}). Expected a Parquet file with the columns {', '.join(columns)}{rows}."
        ) from None


_READ: dict[object, CanaryFile] = {}


def _whole(column: pd.Series, least: float) -> bool:
    """Whether a column holds whole numbers, at least ``least``, and nothing else."""
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column) or column.isna().any():
        return False
    return bool(((column >= least) & (column % 1 == 0)).all())


def _events(rows: pd.DataFrame, record: Record, path: Path) -> tuple[Event, ...]:
    """The record with the values of one alternative."""
    if rows["code"].tolist() != [event.code for event in record.events]:
        raise BadInput(
            f"The canaries {path.name}: alternative {rows['alternative'].iloc[0]} of {record.pseudonym} has other codes than its record. "
            "Alternatives may differ in their values only, an event a row, in the order of the record."
        )
    values = [None if pd.isna(value) else float(value) for value in rows["numeric_value"]]
    return tuple(Event(event.time, event.code, value) for event, value in zip(record.events, values, strict=True))
