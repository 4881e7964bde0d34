"""What a probe found over many patients: one tidy table, its settings, and what it says in plain sentences."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Judgement

COLUMNS: Mapping[str, str] = {
    "probe": "str",
    "level": "str",  # "cohort", "patient" or "excluded"
    "patient": "str",  # pseudonym; empty on rows about a cohort
    "group": "str",  # such as member, non-member, canary x16, or a subgroup
    "model": "str",  # "audited", "reference", or empty where both or neither are meant
    "attribute": "str",
    "rung": "str",
    "figure": "str",  # the name of what was measured
    "value": "float64",
    "low": "float64",  # 95 % interval
    "high": "float64",
    "n": "int64",  # what the interval rests on
    "p": "float64",  # p-value, where there is one
    "p_adjusted": "float64",
    "verdict": "str",
    "note": "str",  # why, in words; the reason of an exclusion
}


@dataclass(frozen=True)
class CohortFinding:
    """One probe's result. ``table`` has the columns of ``COLUMNS`` and one row a figure: about the cohort, about one
    patient, or about a patient who was left out (the reason in ``note``).

    ``settings`` says how it was made (JSON); ``sentences`` is what a reader should take from it, verdicts first.
    """

    probe: str
    table: pd.DataFrame
    settings: Mapping[str, Any] = field(default_factory=dict)
    sentences: tuple[str, ...] = ()

    def about(self, level: str, **where: Any) -> pd.DataFrame:
        """The rows of a level with the given values, such as ``about("cohort", figure="auroc", group="all")``."""
        rows = self.table[self.table["level"] == level]
        for name, value in where.items():
            rows = rows[rows[name] == value]
        return rows

    def estimate(self, figure: str, **where: Any) -> Estimate:
        """The one cohort figure with these values. Raises KeyError when there is none or several."""
        rows = self.about("cohort", figure=figure, **where)
        if len(rows) != 1:
            raise KeyError(f"{len(rows)} cohort rows of {self.probe} have figure={figure!r}, {where}")
        one = rows.iloc[0]
        return Estimate(float(one["value"]), float(one["low"]), float(one["high"]), int(one["n"]))

    @property
    def exclusions(self) -> dict[str, int]:
        """Patients left out, counted by reason."""
        return self.about("excluded").groupby("note")["patient"].nunique().to_dict()

    def summary(self) -> str:
        """The sentences, and who was left out."""
        left_out = [f"Left out: {n} ({reason})." for reason, n in self.exclusions.items()]
        return "\n".join([*self.sentences, *left_out])

    def save(self, path: str | Path) -> None:
        """Write the table as Parquet with settings and sentences in its metadata: whole or not at all, for this user's eyes
        only (it names patients by pseudonym)."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = Path(path)
        table = pa.Table.from_pandas(self.table, preserve_index=False)
        about = {"probe": self.probe, "settings": dict(self.settings), "sentences": list(self.sentences)}
        table = table.replace_schema_metadata({b"ehrmem": json.dumps(about, sort_keys=True).encode()})
        try:
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
        except OSError as error:
            raise BadInput(f"{path} could not be written: {error.strerror or error}. Nothing was changed.") from None
        try:
            with os.fdopen(descriptor, "wb") as file:
                pq.write_table(table, file, compression="zstd")
            os.replace(name, path)
        except OSError as error:
            raise BadInput(f"{path} could not be written: {error.strerror or error}. Nothing was changed.") from None
        finally:
            Path(name).unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> CohortFinding:
        """Read what ``save`` wrote. Raises BadInput for another file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise BadInput(f"{str(path)!r} is no finding of this kit: {str(error).splitlines()[0]}") from None
        about = json.loads((table.schema.metadata or {}).get(b"ehrmem", b"{}"))
        if "probe" not in about or set(table.column_names) != set(COLUMNS):
            raise BadInput(f"{str(path)!r} is no finding of this kit. Findings are written by 'ehrmem probe NAME'.")
        return cls(about["probe"], _typed(table.to_pandas()), about["settings"], tuple(about["sentences"]))


def finding(
    probe: str, rows: Iterable[Mapping[str, Any]], settings: Mapping[str, Any], sentences: Sequence[str]
) -> CohortFinding:
    """A finding from rows made by ``row``, ``patient_row`` and ``excluded_row``; the columns complete and typed."""
    table = pd.DataFrame([{**row, "probe": probe} for row in rows], columns=list(COLUMNS), dtype=object)
    return CohortFinding(probe, _typed(table), settings, tuple(sentences))


def row(
    figure: str,
    estimate: Estimate | None = None,
    *,
    value: float = math.nan,
    n: int = 0,
    judgement: Judgement | None = None,
    **more: Any,
) -> dict[str, Any]:
    """One figure about a cohort: an estimate (or a bare value with its n), and any other of ``COLUMNS``."""
    numbers = (
        {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}
        if estimate is not None
        else {"value": value, "n": n}
    )
    said = {"verdict": str(judgement.verdict), "note": judgement.sentence} if judgement else {}
    return {"level": "cohort", "figure": figure, **numbers, **said, **more}


def patient_row(patient: str, figure: str, estimate: Estimate | None = None, **more: Any) -> dict[str, Any]:
    """One figure about one patient, named by pseudonym."""
    return row(figure, estimate, level="patient", patient=patient, **more)


def excluded_row(patient: str, reason: str, **more: Any) -> dict[str, Any]:
    """A patient who was left out, and why (a short phrase; equal phrases are counted together)."""
    return {"level": "excluded", "patient": patient, "figure": "excluded", "note": reason, **more}


def as_json(value: Any) -> Any:
    """Numpy numbers and arrays as plain ones, for settings and kept results."""
    if isinstance(value, Mapping):
        return {str(k): as_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(v) for v in value]
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return value


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """The columns of ``COLUMNS`` in their order and with their types, text empty and n 0 where there is none."""
    columns = {}
    for name, kind in COLUMNS.items():
        column = table[name].astype(object)
        if kind == "str":
            columns[name] = pd.Series(
                ["" if value is None or value != value else str(value) for value in column], dtype=object
            )
        elif kind == "int64":
            columns[name] = pd.Series(
                [0 if value is None or value != value else int(value) for value in column], dtype="int64"
            )
        else:
            columns[name] = pd.Series([np.nan if value is None else float(value) for value in column], dtype="float64")
    return pd.DataFrame(columns)
