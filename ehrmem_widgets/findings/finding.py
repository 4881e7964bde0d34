"""What a probe found over many patients: four tables, its settings, and what it says in plain sentences."""

from __future__ import annotations

import hashlib
import html
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypedDict, Unpack, cast

import numpy as np
import pandas as pd

from ehrmem_widgets.errors import BadInput, Unavailable, said_by
from ehrmem_widgets.files import as_signed_json, is_changed, opened, parsed_json, read_json, whole_folder
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Fact, Judgement, Verdict

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA = 3
"""The version of the tables; a finding of another one is refused."""
ABOUT_FILE = "finding.json"

_WHERE = {
    "figure": "str",  # the name of what was measured
    "group": "str",  # such as member, non-member, canary x16, or a subgroup
    "model": "str",  # "audited", "reference", or empty where both or neither are meant
    "attribute": "str",
    "knowledge": "str",  # what the attacker knows
}
_NUMBERS = {
    "value": "float64",
    "low": "float64",  # 95 % interval
    "high": "float64",
    "n": "int64",  # what the interval rests on
}
_TESTED = {
    "p": "float64",  # p-value, where there is one
    "p_adjusted": "float64",
    "verdict": "str",
    "reason": "str",  # why, as a code
    "note": "str",  # the same, in words
}
FIGURES, PATIENTS, CURVES, EXCLUDED = "figures", "patients", "curves", "excluded"
TABLES: Mapping[str, Mapping[str, str]] = {
    # about the cohort; "judgement" (JSON) is what the note is made of, for disclosure control
    FIGURES: {**_WHERE, **_NUMBERS, **_TESTED, "judgement": "str"},
    # about one patient, named by pseudonym
    PATIENTS: {"patient": "str", **_WHERE, **_NUMBERS, **_TESTED},
    # about one patient, one row per point: "step" counts from the truth (0), "code" stands there, "label" says it in words
    CURVES: {"patient": "str", **_WHERE, "step": "int64", "code": "str", "label": "str", **_NUMBERS},
    # who was left out: "reason" as a code, "words" without anything from the data, "note" for internal use
    EXCLUDED: {"patient": "str", **_WHERE, "reason": "str", "words": "str", "note": "str"},
}
"""By table: its columns and their types."""


class Where(TypedDict, total=False):
    """Of whom and of what a row is."""

    group: str
    model: str
    attribute: str
    knowledge: str


class Columns(Where, total=False):
    """The columns that ``row`` takes as they are."""

    p: float
    p_adjusted: float
    verdict: str
    reason: str
    note: str


class RowOptions(Columns, total=False):
    """All that ``row`` takes beside a figure and its estimate."""

    value: float
    n: int
    judgement: Judgement | None


class FindingRow(Columns, total=False):
    """A row of a finding: the name of its ``table``, and columns of that table."""

    table: str
    patient: str
    figure: str
    value: float
    low: float
    high: float
    n: int
    judgement: str  # JSON
    step: int
    code: str
    label: str
    words: str


AnyRow: TypeAlias = FindingRow | pd.Series
"""A row as it was made, or as it stands in a table."""
Settings = Mapping[str, Any]
"""How a finding was made: whatever JSON can hold, by name."""


class Sentence(str):
    """A sentence of a finding, with its ``topic``: a page picks by it, never by the words."""

    topic: str

    def __new__(cls, words: str, topic: str = "") -> Sentence:
        """``topic`` is empty where it says what was found."""
        made = super().__new__(cls, words)
        made.topic = topic
        return made


class Exclusion(NamedTuple):
    """Why somebody is left out: a code, and words that hold nothing from the data."""

    code: str
    words: str


class OtherVersion(BadInput):
    """A finding whose tables are those of another version of this kit: whole, but not to be read."""


@dataclass(frozen=True)
class Finding:
    """One probe's result: ``figures`` about the cohort, one row per metric; ``patients``; ``curves``; ``excluded``, who was left
    out and why. Their columns are those of ``TABLES``.

    ``settings`` says how it was made (JSON); ``sentences`` is what a reader should take from it, verdicts first.
    """

    probe: str
    figures: pd.DataFrame
    patients: pd.DataFrame
    curves: pd.DataFrame
    excluded: pd.DataFrame
    settings: Settings = field(default_factory=dict)
    sentences: tuple[Sentence, ...] = ()

    def about(self, table: str, **where: object) -> pd.DataFrame:
        """The rows of a table with the given values, such as ``about("figures", figure="auroc", group="all")``."""
        rows: pd.DataFrame = getattr(self, table)
        for name, value in where.items():
            rows = rows[rows[name] == value]
        return rows

    def estimate(self, figure: str, **where: object) -> Estimate:
        """The one cohort figure with these values. Raises KeyError when there is none or several."""
        rows = self.about(FIGURES, figure=figure, **where)
        if len(rows) != 1:
            raise KeyError(f"{len(rows)} cohort rows of {self.probe} have figure={figure!r}, {where}")
        return estimate_of(rows.iloc[0])

    @property
    def verdicts(self) -> pd.DataFrame:
        """The figures that carry a verdict, with the reason in words."""
        found = self.figures[self.figures["verdict"] != ""]
        return found[[*_WHERE, *_NUMBERS, "verdict", "note"]].reset_index(drop=True)

    def said(self, *topics: str) -> list[str]:
        """The sentences on some topics."""
        return [one for one in self.sentences if one.topic in topics]

    def show(self) -> FindingPage:
        """What it says and its verdicts, for a notebook's cell; it names patients nowhere."""
        return FindingPage(self)

    @property
    def rows(self) -> int:
        """How many rows all tables have together."""
        return sum(len(getattr(self, name)) for name in TABLES)

    @property
    def exclusions(self) -> dict[str, int]:
        """Patients left out, counted by reason, in words."""
        return self.excluded.groupby("words")["patient"].nunique().to_dict()

    def summary(self) -> str:
        """The sentences, and who was left out."""
        left_out = [f"Left out: {n} ({reason})." for reason, n in self.exclusions.items()]
        return "\n".join([*self.sentences, *left_out])

    def save(self, folder: str | Path) -> None:
        """Write a folder: a Parquet file a table, and finding.json with settings and sentences. Whole or not at all, in place of
        an earlier finding, and for this user's eyes only (it names patients by pseudonym). Raises Unavailable when it cannot be
        written, and BadInput for a folder that holds anything else."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder = Path(folder)
        check_free(folder)
        about = {
            "schema": SCHEMA,
            "probe": self.probe,
            "settings": dict(self.settings),
            "sentences": [{"words": one, "topic": one.topic} for one in self.sentences],
        }
        try:
            with whole_folder(folder) as new:
                for name in TABLES:
                    table = pa.Table.from_pandas(getattr(self, name), schema=_schema(name), preserve_index=False)
                    pq.write_table(table, new / f"{name}.parquet", compression="zstd", write_page_checksum=True)
                about["tables"] = {name: _size_and_digest(new / f"{name}.parquet") for name in TABLES}
                (new / ABOUT_FILE).write_text(
                    as_signed_json(cast("dict[str, object]", as_json(about))), encoding="utf-8"
                )
        except OSError as error:
            raise Unavailable(
                f"{folder} could not be written: {error.strerror or error}. Nothing was changed."
            ) from None

    @classmethod
    def load(cls, folder: str | Path, *, tables: Iterable[str] = tuple(TABLES)) -> Finding:
        """Read what ``save`` wrote; tables that are not asked for are left empty. Raises BadInput for anything else, also for a
        finding of another version of the tables."""
        import pyarrow as pa

        folder = Path(folder)
        if folder.is_file():
            raise BadInput(
                f"{str(folder)!r} is not a finding of this kit. Findings are folders since version 0.2; one of an earlier version must be "
                "made again."
            )
        try:
            about = _read_about(folder)
            for name in tables:
                check_table(folder, name)
            found = {name: _table(folder / f"{name}.parquet") for name in tables}
        except BadInput:
            raise
        except (OSError, ValueError, pa.ArrowException) as error:
            raise BadInput(f"{str(folder)!r} is not a finding of this kit: {said_by(error)}") from None
        if wrong := [name for name, table in found.items() if list(table.columns) != list(TABLES[name])]:
            raise BadInput(f"{str(folder)!r} is not a finding of this kit: {wrong[0]}.parquet has other columns.")
        for name, table in found.items():
            text = [column for column, kind in TABLES[name].items() if kind == "str"]
            found[name] = table.astype(dict.fromkeys(text, object))
        whole = {name: found.get(name, _typed((), columns)) for name, columns in TABLES.items()}
        try:
            sentences = tuple(Sentence(**one) for one in about["sentences"])
            return cls(about["probe"], **whole, settings=about["settings"], sentences=sentences)
        except (KeyError, TypeError):
            raise BadInput(
                f"{str(folder)!r} is not a finding of this kit: its {ABOUT_FILE} is of another form."
            ) from None


def _table(path: Path) -> pd.DataFrame:
    import pyarrow.parquet as pq

    with opened(path, path.name) as file:
        return pq.read_table(file, page_checksum_verification=True).to_pandas()


def check_table(folder: Path, name: str) -> None:
    """Raise BadInput where a table of a finding is not as it was written."""
    path = folder / f"{name}.parquet"
    if not path.is_file():
        raise BadInput(f"{str(folder)!r} is not a finding of this kit: {path.name} is missing.")
    said = _read_about(folder).get("tables", {}).get(name)  # an earlier version says nothing
    if said is not None and (said[0] != path.stat().st_size or said != _size_and_digest(path)):
        raise BadInput(f"{str(path)!r} was changed since it was written.")


def _read_about(folder: Path) -> dict[str, Any]:
    """What ``finding.json`` says. Raises BadInput where it is none, or was changed, and OtherVersion."""
    about = read_json(folder / ABOUT_FILE, f"{ABOUT_FILE} of {str(folder)!r}")
    if not isinstance(about, dict) or about.get("schema") != SCHEMA:
        raise OtherVersion(f"{str(folder)!r} is a finding of another version of this kit. It must be made again.")
    if is_changed(about):
        raise BadInput(f"{ABOUT_FILE} of {str(folder)!r} was changed since it was written.")
    return about


def _size_and_digest(path: Path) -> list[int | str]:
    with path.open("rb") as file:
        return [path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()]


def check_free(folder: Path) -> None:
    """Raise BadInput where a finding must not be written: a file, or a folder that holds anything else."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir()) and not (folder / ABOUT_FILE).is_file()):
        raise BadInput(f"{str(folder)!r} holds something else than a finding. Name another folder.")


class FindingPage:
    """A finding as a cell's last expression."""

    def __init__(self, finding: Finding) -> None:
        self._finding = finding

    def _repr_html_(self) -> str:
        said = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in self._finding.summary().splitlines())
        return f"<ul>{said}</ul>{self._finding.verdicts.to_html(index=False, na_rep='', float_format='{:.3f}'.format)}"

    def __repr__(self) -> str:
        return self._finding.summary()


def finding(probe: str, rows: Iterable[FindingRow], settings: Settings, sentences: Sequence[str]) -> Finding:
    """A finding from rows made by ``row``, ``patient_row``, ``curve_row`` and ``excluded_row``; the columns complete and typed."""
    by_table: dict[str, list[FindingRow]] = {name: [] for name in TABLES}
    for one in rows:
        by_table[one["table"]].append(one)
    tables = {name: _typed(by_table[name], columns) for name, columns in TABLES.items()}
    said = tuple(one if isinstance(one, Sentence) else Sentence(one) for one in sentences)
    return Finding(probe, **tables, settings=settings, sentences=said)


def row(
    figure: str,
    estimate: Estimate | None = None,
    *,
    value: float = math.nan,
    n: int = 0,
    judgement: Judgement | None = None,
    **more: Unpack[Columns],
) -> FindingRow:
    """One figure about a cohort: an estimate (or a bare value with its n), and any other column."""
    numbers: FindingRow = (
        {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}
        if estimate is not None
        else {"value": value, "n": n}
    )
    return {"table": FIGURES, "figure": figure, **numbers, **told(judgement), **more}


def told(judgement: Judgement | None) -> FindingRow:
    """The columns that a judgement fills."""
    if judgement is None:
        return {}
    return {
        "verdict": str(judgement.verdict),
        "reason": judgement.reason,
        "note": judgement.sentence,
        "judgement": json.dumps(_plain(judgement), sort_keys=True),
    }


def judgement_of(one: AnyRow) -> Judgement | None:
    """What was judged of a cohort figure; None where nothing was."""
    return _judgement(cast("Any", parsed_json(one["judgement"], "A judgement"))) if one["judgement"] else None


def estimate_of(one: AnyRow) -> Estimate:
    """A row's figure."""
    return Estimate(float(one["value"]), float(one["low"]), float(one["high"]), int(one["n"]))


def patient_row(patient: str, figure: str, estimate: Estimate | None = None, **more: Unpack[RowOptions]) -> FindingRow:
    """One figure about one patient, named by pseudonym."""
    return row(figure, estimate, **more) | {"table": PATIENTS, "patient": patient}


def curve_row(
    patient: str, figure: str, estimate: Estimate, *, step: int, code: str, label: str, **more: Unpack[RowOptions]
) -> FindingRow:
    """One point of a curve of one patient; ``step`` 0 is the truth."""
    point: FindingRow = {"table": CURVES, "patient": patient, "step": step, "code": code, "label": label}
    return row(figure, estimate, **more) | point


def excluded_row(patient: str, why: Exclusion, *, note: str = "", **where: Unpack[Where]) -> FindingRow:
    """A patient who was left out, and why; ``note`` is for internal use and may hold anything."""
    return {"table": EXCLUDED, "patient": patient, "reason": why.code, "words": why.words, "note": note, **where}


def as_json(value: object) -> Any:
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


def _schema(table: str) -> pa.Schema:
    import pyarrow as pa

    kinds = {"str": pa.string(), "int64": pa.int64(), "float64": pa.float64()}
    return pa.schema([(name, kinds[kind]) for name, kind in TABLES[table].items()])


def _plain(judgement: Judgement) -> dict[str, object]:
    def plain(fact: Fact) -> object:
        if isinstance(fact, Judgement):
            return _plain(fact)
        return [fact.value, fact.low, fact.high, fact.n] if isinstance(fact, Estimate) else as_json(fact)

    return {
        "verdict": str(judgement.verdict),
        "reason": judgement.reason,
        "template": judgement.template,
        "facts": {name: plain(fact) for name, fact in judgement.facts.items()},
    }


def _judgement(kept: Mapping[str, Any]) -> Judgement:
    def fact(plain: Any) -> Fact:
        if isinstance(plain, Mapping):
            return _judgement(plain)
        return Estimate(*plain) if isinstance(plain, list) else plain

    facts = {name: fact(plain) for name, plain in kept["facts"].items()}
    return Judgement(Verdict(kept["verdict"]), kept["reason"], kept["template"], facts)


def _typed(rows: Sequence[FindingRow], columns: Mapping[str, str]) -> pd.DataFrame:
    """The columns in their order and with their types, text empty and whole numbers 0 where there is none."""
    table = {}
    for name, kind in columns.items():
        values: list[Any] = [one.get(name) for one in rows]
        if kind == "str":
            table[name] = pd.Series(["" if v is None or v != v else str(v) for v in values], dtype=object)
        elif kind == "int64":
            table[name] = pd.Series([0 if v is None or v != v else int(v) for v in values], dtype="int64")
        else:
            table[name] = pd.Series([math.nan if v is None else float(v) for v in values], dtype="float64")
    return pd.DataFrame(table)
