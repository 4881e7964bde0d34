"""Patients who come in the model's own codes: a data set made of code sequences, so that an exotic tokenizer need not be rebuilt."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import platformdirs
import pyarrow as pa
import pyarrow.parquet as pq

from ehrmem_widgets.cohort.codes import Kind
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.fingerprints import fingerprint
from ehrmem_widgets.cohort.meds_files import quoted_literally
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.cohort.time_codes import CALENDAR, GapRule, Gaps
from ehrmem_widgets.errors import BadInput, Unavailable, said_by
from ehrmem_widgets.files import MOST_BYTES, opened, parsed_json, whole_folder
from ehrmem_widgets.settings import shown
from ehrmem_widgets.tokens.moments import days_of, ids_of, moments
from ehrmem_widgets.tokens.vocabulary import Vocabulary

EPOCH = datetime(2000, 1, 1, 0, 5)
"""Where a record's clock begins: sequences tell how much time passes, never a date."""
IDS = ("ids", "input_ids", "token_ids")
"""The names under which a row may hold ids."""
_PATIENTS, _FORM = ("subject_id", "patient_id", "id"), 2
_NOT_TOGETHER = "These sequences and this vocabulary do not belong together."
_AT_ONCE = 2000  # patients written at once
_OLDEST = 60_000.0  # days
_BIRTHDAY = timedelta(days=182)  # before the first event, besides the years of the age


class SequenceDataset(MedsDataset):
    """Code sequences as a data set: each code an event, its time counted from the gap codes, its value from its bin.

    ``file``: Parquet or JSON lines, one row per sequence, with ``subject_id``, ``codes`` (a list of texts), ``ids`` (a list of
    numbers, also called ``input_ids``) or both, and ``split`` where it is known; for a model that is told ages also ``ages`` (a list of ages in
    days, one a code). Several rows of one patient are windows of one record, joined in their order.
    ``beside``: a MEDS data set whose splits and labels are used. ``vocabulary`` is the model's, with values by the number of
    their bin where its edges are not known. What is read is kept in the user's cache folder.

    Raises BadInput for a file of another form, an empty one, and codes or ids that the model does not have, or that stand beside each other in
    a row and are not the same by its vocabulary: then the sequences belong to another model. Raises Unavailable where nothing can be kept in the cache folder.
    """

    def __init__(self, file: str | Path, vocabulary: Vocabulary, *, beside: str | Path | None = None) -> None:
        self.file = Path(file)
        self.vocabulary = vocabulary.with_bin_numbers() if vocabulary.lacks_edges else vocabulary
        if not self.file.is_file() or self.file.suffix not in (".parquet", ".jsonl"):
            raise BadInput(
                f"{str(self.file)!r} is not a file of sequences. Give a .parquet or .jsonl file, one row per sequence, with subject_id, "
                "codes or ids (or both) and split."
            )
        self._beside = MedsDataset(beside) if beside else None
        folder = platformdirs.user_cache_path("ehrmem") / f"sequences-{self._key_of_cache()}"
        about = _about(folder)
        if about is None:
            _write_whole(self.file, self.vocabulary, self._beside, folder)
            about = _about(folder) or {}
        self.about: dict[str, int] = about
        super().__init__(folder)

    def records(self, patient_ids: Iterable[int]) -> list[Record]:
        """As of ``MedsDataset``, each with its own sequence."""
        wanted = [int(patient) for patient in patient_ids]
        found = self.query(
            f"SELECT patient_id, ids, event_of, ages FROM read_parquet({quoted_literally(self.root / 'sequences.parquet')}) "
            "WHERE patient_id IN (SELECT unnest(?))",
            [wanted],
        ).fetchall()
        own = {patient: (ids, event_of, ages) for patient, ids, event_of, ages in found}
        codes = self.vocabulary.codes
        return [
            Record(
                r.patient_id, r.pseudonym, r.events, r.birth,
                tuple(codes[number] for number in own[r.patient_id][0]), tuple(own[r.patient_id][1]),
                tuple(own[r.patient_id][2]) if self.vocabulary.timed else None,
            )
            if r.patient_id in own
            else r  # a canary that was left out of the data
            for r in super().records(wanted)
        ]  # fmt: skip

    @cached_property
    def descriptions(self) -> dict[str, str]:
        """The labels of the data set beside, and the vocabulary's own."""
        return {**(self._beside.descriptions if self._beside else {}), **self.vocabulary.labels}

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.file.stem

    def _key_of_cache(self) -> str:
        file = fingerprint(self.file.parent, [self.file])
        about = [_FORM, file, self.vocabulary.identity, self._beside and self._beside.fingerprint]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:24]


@dataclass
class _Reading:
    """One sequence while it becomes a record."""

    vocabulary: Vocabulary
    now: datetime = EPOCH
    birth: datetime | None = None
    events: list[tuple[datetime | None, str, float | None]] = field(default_factory=list)
    event_of: list[int] = field(default_factory=list)
    dated: bool = False

    def read(self, code: str, age: float | None = None) -> None:
        if age is not None:
            self.birth, self.now = EPOCH, EPOCH + timedelta(days=age)
        vocabulary, rule = self.vocabulary, self.vocabulary.gap_rule
        place = -1
        if vocabulary.is_gap(code) and rule is not None:
            try:
                self.now = _later(self.now, code, rule)
            except OverflowError:
                raise BadInput(
                    f"The gaps of a sequence add up to more than the calendar has (the last is {shown(code)}). Correct the token scheme or the sequences."
                ) from None
        elif code in vocabulary.ages:
            self.birth = EPOCH.replace(year=EPOCH.year - vocabulary.ages[code]) - _BIRTHDAY
        elif code == vocabulary.token_scheme.birth and code is not None:
            self.birth = self.now
        elif code in vocabulary.next_codes and self.events:
            time, before, _ = self.events[-1]
            self.events[-1] = (time, before, _middle(vocabulary, before, code))
            place = len(self.events) - 1
        elif vocabulary.kind(code) is not Kind.special:
            base = vocabulary.base(code)
            static = not self.dated and vocabulary.token_scheme.statics and vocabulary.kind(code) is Kind.demographic
            static = static and (not vocabulary.timed or self.now == EPOCH)
            self.dated = self.dated or not static
            value = _middle(vocabulary, base, code) if base != code else None
            self.events.append((None if static else self.now, base, value))
            place = len(self.events) - 1
        self.event_of.append(place)


def _later(now: datetime, code: str, rule: GapRule) -> datetime:
    """The time after a gap code: the middle of what it stands for."""
    if rule is CALENDAR:
        days = rule.days(code)
        if days >= 1:
            return datetime.combine(now.date() + timedelta(days=days), EPOCH.time())
        return now + timedelta(days=days * 1.02)
    assert isinstance(rule, Gaps)
    low, high = rule.lengths[code]
    low = max(low, 0.0)
    if code == rule.repeat:
        return now + timedelta(days=low)
    return now + timedelta(days=(low + high) / 2 if math.isfinite(high) else low * 1.1)


def _middle(vocabulary: Vocabulary, base: str, code: str) -> float | None:
    """A value in the middle of a bin; of an open one, at its end."""
    found = next((one for one in vocabulary.value_bins.get(base, ()) if one.code == code), None)
    if found is None:
        return None
    if math.isinf(found.low):
        below = found.high - abs(found.high) * 1e-3 - 1e-6
        return below if math.isfinite(below) else 0.0
    return found.low if math.isinf(found.high) else (found.low + found.high) / 2


def _about(folder: Path) -> dict[str, int] | None:
    """What is kept of the sequences in a folder of the cache; None where nothing is, or something broken."""
    try:
        return dict(json.loads((folder / "about.json").read_text())) if (folder / "data").is_dir() else None
    except (OSError, ValueError, TypeError):
        return None


def _write_whole(file: Path, vocabulary: Vocabulary, beside: MedsDataset | None, folder: Path) -> None:
    """Write the data set beside its place and move it there when it is whole: a broken-off reading leaves nothing."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole_folder(folder) as work:
            _write(file, vocabulary, beside, work)
    except OSError as error:
        raise Unavailable(f"The sequences could not be kept in {folder.parent}: {error.strerror or error}.") from None


def _write(file: Path, vocabulary: Vocabulary, beside: MedsDataset | None, work: Path) -> None:
    (work / "data").mkdir()
    (work / "metadata").mkdir()
    schema = pa.schema([("subject_id", pa.int64()), ("time", pa.timestamp("us")), ("code", pa.string()), ("numeric_value", pa.float32())])  # fmt: skip
    own = pa.schema([("patient_id", pa.int64()), ("ids", pa.list_(pa.int32())), ("event_of", pa.list_(pa.int32())), ("ages", pa.list_(pa.float64()))])  # fmt: skip
    splits: dict[int, str] = {}
    about = {"patients": 0, "rows": 0, "codes": 0, "joined": 0}
    gathered = _gathered(file, vocabulary, splits, about)
    with pq.ParquetWriter(work / "data" / "0.parquet", schema) as events, pq.ParquetWriter(work / "sequences.parquet", own) as sequences:  # fmt: skip
        while some := list(itertools.islice(gathered, _AT_ONCE)):
            rows: list[tuple[object, ...]] = []
            kept: list[tuple[int, list[int], list[int], list[float]]] = []
            for patient, given in some:
                reading, ids = _Reading(vocabulary), ids_of(given).tolist()
                ages = days_of(given).tolist() if vocabulary.timed else []
                for number, age in itertools.zip_longest(ids, ages):
                    reading.read(vocabulary.codes[number], age)
                if reading.birth is not None:
                    rows.append((patient, reading.birth, "MEDS_BIRTH", None))
                rows += [(patient, *event) for event in reading.events]
                kept.append((patient, ids, reading.event_of, ages))
                about["patients"] += 1
                about["codes"] += len(ids)
            events.write_table(pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), schema, strict=True)], schema=schema))  # fmt: skip
            sequences.write_table(pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(zip(*kept, strict=True), own, strict=True)], schema=own))  # fmt: skip
    if not about["patients"]:
        raise BadInput(f"{file.name} holds no sequences.")
    if not splits and beside is not None:
        splits = {patient: split for split in beside.splits for patient in beside.ids(split)}
    if splits:
        table = pa.table({"subject_id": list(splits), "split": list(splits.values())})
        pq.write_table(table, work / "metadata" / "subject_splits.parquet")
    (work / "metadata" / "dataset.json").write_text(json.dumps({"dataset_name": file.stem}))
    (work / "about.json").write_text(json.dumps(about))


def _gathered(
    file: Path, vocabulary: Vocabulary, splits: dict[int, str], about: dict[str, int]
) -> Iterator[tuple[int, list[int]]]:
    """(patient, ids or moments) of each patient, windows of one joined, padding left away. Fills splits and about."""
    opening = vocabulary.ids(vocabulary.opening)
    padding = _padding(vocabulary)
    done: set[int] = set()
    now: int | None = None
    ids: list[int] = []
    for patient, split, padded in _rows(file, vocabulary, padding):
        about["rows"] += 1
        begin, end = _without_padding(padded, padding)
        more = padded[begin:end]
        if split is not None and splits.setdefault(patient, split) != split:
            raise BadInput(f"{file.name}: a patient stands in two splits, {shown(splits[patient])} and {shown(split)}.")
        if patient == now:
            about["joined"] += 1
            ids += more[len(opening) :] if opening and more[: len(opening)] == opening else more
            continue
        if now is not None and ids:
            yield now, ids
        if patient in done:
            raise BadInput(
                f"{file.name}: the windows of a patient do not stand one after the other. Sort the file by patient."
            )
        done.add(patient)
        now, ids = patient, more
    if now is not None and ids:
        yield now, ids


def _padding(vocabulary: Vocabulary) -> frozenset[int]:
    """The ids that may stand for padding: the declared one, or a first id that stands for nothing known."""
    if vocabulary.pad:
        return frozenset({vocabulary.id(vocabulary.pad)})
    first = vocabulary.codes[:1]
    return frozenset(
        n for n, c in enumerate(first) if vocabulary.kind(c) is Kind.special and c not in vocabulary.special
    )


def _without_padding(ids: list[int], padding: frozenset[int]) -> tuple[int, int]:
    """Where a sequence begins and ends between its padding."""
    begin, end = 0, len(ids)
    while end and ids[end - 1] in padding:
        end -= 1
    while begin < end and ids[begin] in padding:
        begin += 1
    return begin, end


def _rows(file: Path, vocabulary: Vocabulary, padding: frozenset[int]) -> Iterator[tuple[int, str | None, list[int]]]:
    """(patient, split, ids) of each row, checked against the vocabulary."""
    apart = _Apart(file.name, vocabulary, padding)
    for number, row in enumerate(raw_rows(file), 1):
        where = f"{file.name}, row {number}"
        patient, codes, ids = _checked_row(row, where)
        if ids:
            _check_ids(ids, vocabulary, where)
        if codes is not None and ids is not None:
            apart.compare(codes, ids, where)
        elif codes is not None:
            ids = _ids_of(codes, vocabulary, where)
        split = row.get("split")
        if not isinstance(split, str | None):
            raise BadInput(f"{where}: split must be a text; got {shown(split)}.")
        found = list(ids or ())
        if vocabulary.timed:
            found = moments(found, _ages(row.get("ages"), found, padding, where))
        yield patient, split, found
    apart.refuse()


def _checked_row(row: Mapping[str, Any], where: str) -> tuple[int, list[str] | None, list[int] | None]:
    """Whose sequence, its codes and its ids, one of which may be missing."""
    patient = next((row[name] for name in _PATIENTS if row.get(name) is not None), None)
    codes, ids = row.get("codes"), next((row[name] for name in IDS if row.get(name) is not None), None)
    if patient is None or (codes is None and ids is None):
        raise BadInput(
            f"{where}: a row needs subject_id, and codes or ids or both; it has {', '.join(map(str, row))[:200] or 'nothing'}."
        )
    try:
        whole = int(patient)
        if isinstance(patient, bool) or not -(2**63) <= whole < 2**63:
            raise ValueError
    except (TypeError, ValueError, OverflowError):  # what was given may be somebody's number: it is not shown
        raise BadInput(
            f"{where}: subject_id must be a whole number of 64 bits. Number the patients and keep the list of numbers."
        ) from None
    if not _are_all(int, ids) or not _are_all(str, codes):
        raise BadInput(f"{where}: ids must be a list of whole numbers, and codes a list of texts.")
    return whole, codes, ids


def _check_ids(ids: list[int], vocabulary: Vocabulary, where: str) -> None:
    last = len(vocabulary) - 1
    if not 0 <= min(ids) <= max(ids) <= last:
        raise BadInput(
            f"{where}: ids run from 0 to {last:,} in this model, and the row has {shown(min(ids))} to {shown(max(ids))}. {_NOT_TOGETHER}"
        )


def _ids_of(codes: list[str], vocabulary: Vocabulary, where: str) -> list[int]:
    unknown = next((code for code in codes if code not in vocabulary), None)
    if unknown is not None:
        raise BadInput(f"{where}: the model has no code {shown(unknown)}. {_NOT_TOGETHER}")
    return vocabulary.ids(codes)


@dataclass
class _Apart:
    """Counts where the ids and the codes of a row are not the same by the vocabulary, over the whole file: the first place alone would not tell a
    slip from a wrong list of codes."""

    file: str
    vocabulary: Vocabulary
    padding: frozenset[int]
    compared: int = 0
    rows: int = 0
    places: int = 0
    first: str = ""

    def compare(self, codes: list[str], ids: list[int], where: str) -> None:
        """One row; padding need not have a code."""
        begin, end = _without_padding(ids, self.padding)
        if len(codes) == len(ids):
            codes = codes[begin:end]
        ids = ids[begin:end]
        if len(codes) != len(ids):
            raise BadInput(
                f"{where}: there are {len(codes):,} codes beside {len(ids):,} ids, padding left out. Give one code for each id."
            )
        wrong = [place for place, one in enumerate(ids) if self.vocabulary.codes[one] != codes[place]]
        self.compared, self.places, self.rows = (
            self.compared + len(ids),
            self.places + len(wrong),
            self.rows + bool(wrong),
        )
        if wrong and not self.first:
            place = wrong[0]
            of = self.vocabulary.codes[ids[place]]
            self.first = f"{where}, place {begin + place + 1}: the id {ids[place]} stands for {shown(of)} in the model, and the row says {shown(codes[place])}"

    def refuse(self) -> None:
        """Raise BadInput where any differed."""
        if self.places:
            raise BadInput(
                f"{self.first}. So it is at {self.places:,} of {self.compared:,} places, in {self.rows:,} {'row' if self.rows == 1 else 'rows'} of "
                f"{self.file}. {_NOT_TOGETHER}"
            )


def _ages(given: object, ids: list[int], padding: frozenset[int], where: str) -> list[float]:
    """The ages of a row, 0 at padding. Raises BadInput where there are not as many as codes, or they fall or are no ages."""
    try:
        ages = [float(one) for one in given] if isinstance(given, list) else []
    except (TypeError, ValueError, OverflowError):
        ages = []
    told = [0.0, *(age for number, age in zip(ids, ages, strict=False) if number not in padding)]
    if len(ages) != len(ids) or not all(0 <= a <= b <= _OLDEST for a, b in itertools.pairwise(told)):
        raise BadInput(
            f"{where}: the model is told ages, so a row needs 'ages' beside its {len(ids)} codes: as many ages in days, none smaller than the one "
            f"before, at most {_OLDEST:,.0f}."
        )
    return [0.0 if number in padding else age for number, age in zip(ids, ages, strict=True)]


def raw_rows(file: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of a .parquet or .jsonl file. Raises BadInput for one that cannot be read."""
    try:
        if file.suffix == ".parquet":
            with opened(file, file.name) as content, pq.ParquetFile(content) as table:
                for batch in table.iter_batches(batch_size=500):
                    yield from batch.to_pylist()
            return
        with opened(file, file.name) as lines:
            for number, line in enumerate(iter(lambda: lines.readline(MOST_BYTES), b""), 1):
                if len(line) == MOST_BYTES:
                    raise BadInput(f"{file.name}, line {number} is longer than {MOST_BYTES / 1e6:g} MB.")
                if line.strip():
                    row = parsed_json(line, f"{file.name}, line {number}")
                    if not isinstance(row, dict):
                        raise BadInput(f"{file.name}, line {number}: expected an object with codes or ids or both.")
                    yield row
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"{file.name} cannot be read: {said_by(error)}.") from None


def _are_all(kind: type, given: object) -> bool:
    """Whether this is a list of nothing else; None, which is not there, is."""
    return given is None or (isinstance(given, list) and all(type(one) is kind for one in given))
