"""Planted canaries: made-up patients in the training data. A data set made here says whom it planted (``ground_truth.parquet`` beside its
data); a hospital that planted its own names a file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import pandas as pd

from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Event, Record, is_birth
from ehrmem_widgets.errors import BadInput, said_by
from ehrmem_widgets.files import opened

GROUND_TRUTH = "ground_truth.parquet"
COLUMNS = ("subject_id", "repetitions", "alternative", "time", "code", "numeric_value")
INCLUDED, COPY_OF = "included", "copy_of"
"""Columns that a file of canaries may have besides: whether a fair coin put the canary into the data, and of which canary it is a copy."""
MADE_FOR = b"ehrmem.made_for"
"""In the Parquet file's metadata: the fingerprint of the data set that the canaries were planted in."""


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


def planted_ids(dataset: MedsDataset) -> frozenset[int]:
    """Everybody who was planted: the canaries, their copies, and those that the data set names beside a file of canaries."""
    path = dataset.root / GROUND_TRUTH
    own = _read_truth(path) if path.exists() else None
    named = [] if own is None else own.loc[own["canary"], "subject_id"].tolist()
    copies = CanaryFile.read(dataset.canaries, dataset).copies if dataset.canaries is not None else frozenset()
    return frozenset(map(int, named)) | copies | frozenset(canary_repetitions(dataset))


def coin_flips(dataset: MedsDataset) -> Mapping[int, bool]:
    """By canary, whether its coin put it into the training data; empty where no coins were flipped."""
    return {} if dataset.canaries is None else CanaryFile.read(dataset.canaries, dataset).coins


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
    ``alternatives``, the records that could have been planted in its place, drawn as the planted one was. ``apart``: records of canaries that
    were left out of the data; ``coins``: whether a fair coin put it in, where coins were flipped; ``copies``: further patients with the
    record of a canary."""

    repetitions: Mapping[int, int]
    alternatives: Mapping[int, tuple[tuple[Event, ...], ...]]
    apart: Mapping[int, Record] = field(default_factory=dict)
    coins: Mapping[int, bool] = field(default_factory=dict)
    copies: frozenset[int] = frozenset()

    @classmethod
    def read(cls, path: str | Path, dataset: MedsDataset) -> CanaryFile:
        """Read a Parquet file with the columns of ``COLUMNS``, one row per event of an alternative (numbered from 1), in the order of the
        record (which goes on as it is where they end). ``alternative`` 0 is the canary's own record: all of it (birth included) for one that was left out of the data, otherwise one
        row is enough. It may have ``INCLUDED`` and ``COPY_OF``. Raises BadInput, naming the canary by pseudonym, for one that neither the data
        set nor the file has the record of, for alternatives that differ from its record in more than values, and for a file that was
        made for another data set."""
        path = Path(path)
        key = (path.resolve(), path.stat().st_mtime_ns if path.is_file() else 0, dataset.fingerprint)
        if key not in _READ:
            _READ.clear()
            _READ[key] = cls._read(path, dataset)
        return _READ[key]

    @classmethod
    def _read(cls, path: Path, dataset: MedsDataset) -> CanaryFile:
        table = _table(path, COLUMNS, f"The canaries {path.name}", ", one row per event of an alternative", _OPTIONAL)
        if table.empty:
            raise BadInput(f"The canaries {path.name} name nobody. Leave the file out where nothing was planted.")
        _check_made_for(path, dataset)
        _check_columns(table, path)
        copies = table[COPY_OF].notna()
        copied, table = table[copies], table[~copies]
        repetitions = {int(one): int(n) for one, n in table.groupby("subject_id")["repetitions"].first().items()}
        there = set(dataset.ids())
        apart = _left_out(table, dataset, there)
        strangers = sorted((set(repetitions) | set(copied["subject_id"])) - there - set(apart))
        if strangers:
            raise BadInput(
                f"The canaries {path.name} name {len(strangers)} patients that {dataset.name} does not have, such as "
                f"{dataset.pseudonym(int(strangers[0]))}."
            )
        _check_each(table, path)
        of = {record.patient_id: record for record in dataset.records(set(repetitions) & there)} | apart
        found = _alternatives(table, of, path)
        coins = {} if table[INCLUDED].isna().all() else table.groupby("subject_id")[INCLUDED].first().to_dict()
        return cls(
            repetitions,
            found,
            apart,
            {int(one): bool(flip) for one, flip in coins.items()},
            frozenset(map(int, copied["subject_id"])),
        )

    def alternatives_of(self, record: Record, n: int, seed: int) -> list[Record]:
        """``n`` of a canary's alternatives; all of them where there are no more."""
        every = self.alternatives.get(record.patient_id, ())
        rng = np.random.default_rng([seed, record.patient_id % 2**32])
        return [record.with_events(every[i]) for i in rng.permutation(len(every))[:n]]


def _table(
    path: Path, columns: Sequence[str], what: str, rows: str = "", optional: Mapping[str, str] = {}
) -> pd.DataFrame:
    """Some columns of a Parquet file; of the ``optional`` ones, by type, those that it does not have are missing everywhere."""
    import pyarrow.parquet as pq

    try:
        with opened(path, what) as file:
            there = [name for name in optional if name in pq.read_schema(file).names] if optional else []
            file.seek(0)
            found = pd.read_parquet(file, columns=[*columns, *there])
            return found.assign(**{name: pd.NA for name in optional if name not in there}).astype(optional)
    except BadInput:
        raise
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(
            f"{what} cannot be read ({said_by(error)}). Expected a Parquet file with the columns {', '.join(columns)}{rows}."
        ) from None


_OPTIONAL = {INCLUDED: "boolean", COPY_OF: "Int64"}


def _check_made_for(path: Path, dataset: MedsDataset) -> None:
    import pyarrow.parquet as pq

    with opened(path, f"The canaries {path.name}") as file:
        made_for = (pq.read_schema(file).metadata or {}).get(MADE_FOR)
    if made_for is not None and made_for.decode("utf-8", "replace") != dataset.fingerprint:
        raise BadInput(
            f"The canaries {path.name} were made for another data set than {dataset.name}, or its files were changed since. Name the folder "
            "that 'ehrmem canaries make' wrote together with this key."
        )


def _check_columns(table: pd.DataFrame, path: Path) -> None:
    """Raise BadInput for a column that holds anything else than it should."""
    for column, least in (("subject_id", -math.inf), ("repetitions", 0), ("alternative", 0)):
        if not _whole(table[column], least):
            raise BadInput(
                f"The canaries {path.name}: {column} must be a whole number in every row{', 0 or more' if least == 0 else ''}."
            )
    values = table["numeric_value"]
    if not values.isna().all() and not (pd.api.types.is_numeric_dtype(values) and np.isfinite(values.dropna()).all()):
        raise BadInput(
            f"The canaries {path.name}: numeric_value must be a number, or missing where the event has none."
        )


def _check_each(table: pd.DataFrame, path: Path) -> None:
    """Raise BadInput for canaries whose rows contradict each other."""
    of_each = table.groupby("subject_id")
    if (of_each["repetitions"].nunique() > 1).any():
        raise BadInput(
            f"The canaries {path.name} must give each canary one number of repetitions, the same in all of its rows."
        )
    flips = table[INCLUDED]
    if flips.notna().any() and (flips.isna().any() or (flips != (table["repetitions"] == 1)).any()):
        raise BadInput(
            f"The canaries {path.name}: {INCLUDED} must be true or false in every row, and repetitions 1 where it is true, 0 where it is "
            "false: a coin puts a canary in once or not at all."
        )


def _left_out(table: pd.DataFrame, dataset: MedsDataset, there: set[int]) -> dict[int, Record]:
    """The records of canaries that are not in the data, and that training never saw."""
    own = table[(table["alternative"] == 0) & (table["repetitions"] == 0) & table["code"].notna()]
    found = {}
    for patient, rows in own[~own["subject_id"].isin(there)].groupby("subject_id"):
        times = [None if pd.isna(time) else pd.Timestamp(time).to_pydatetime() for time in rows["time"]]
        events, birth = [], None
        for time, code, value in zip(times, rows["code"], rows["numeric_value"], strict=True):
            if is_birth(code):
                birth = time
            else:
                events.append(Event(time, str(code), None if pd.isna(value) else float(value)))
        found[int(patient)] = Record(int(patient), dataset.pseudonym(int(patient)), tuple(events), birth)
    return found


_READ: dict[object, CanaryFile] = {}


def _whole(column: pd.Series, least: float) -> bool:
    """Whether a column holds whole numbers, at least ``least``, and nothing else."""
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column) or column.isna().any():
        return False
    return bool(((column >= least) & (column % 1 == 0)).all())


_Row = tuple[int, int, str, float]


def _alternatives(
    table: pd.DataFrame, of: Mapping[int, Record], path: Path
) -> dict[int, tuple[tuple[Event, ...], ...]]:
    """By canary, its alternatives in the order of their numbers. Plain loops: a key has a million rows in tens of thousands of groups."""
    ordered = table[table["alternative"] > 0].sort_values(["subject_id", "alternative"], kind="stable")
    values = ordered["numeric_value"].to_numpy(dtype=float, na_value=math.nan).tolist()
    columns = (ordered[name].tolist() for name in ("subject_id", "alternative", "code"))
    rows = zip(*columns, values, strict=True)
    found: dict[int, tuple[tuple[Event, ...], ...]] = {}
    for patient, its in groupby(rows, key=itemgetter(0)):
        record = of[int(patient)]
        every = tuple(_events(list(one), record, path) for _, one in groupby(its, key=itemgetter(1)))
        if all(one == record.events for one in every):
            raise BadInput(
                f"The canaries {path.name}: every alternative of {record.pseudonym} is its own record. Give values that it could "
                "have had instead."
            )
        found[record.patient_id] = every
    return found


def _events(rows: Sequence[_Row], record: Record, path: Path) -> tuple[Event, ...]:
    """The record with the values of one alternative, which may end before the record does."""
    here = record.events[: len(rows)]
    if [code for _, _, code, _ in rows] != [event.code for event in here]:
        raise BadInput(
            f"The canaries {path.name}: alternative {rows[0][1]} of {record.pseudonym} has other codes than its record. "
            "Alternatives may differ in their values only, an event a row, in the order of the record."
        )
    values = [None if math.isnan(value) else value for _, _, _, value in rows]
    changed = (Event(event.time, event.code, value) for event, value in zip(here, values, strict=True))
    return (*changed, *record.events[len(rows) :])
