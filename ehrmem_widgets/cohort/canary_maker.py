"""Plant canaries in a MEDS data set: made-up patients to train on, and a key that says who they are and who could have been planted instead.

Half of those made are planted, or each by a fair coin of its own; the others stay in the key, as people made in the same way on whom nobody
trained. What is written to train on does not say who is made up.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ehrmem_widgets.cohort.code_statistics import CodeStatistics
from ehrmem_widgets.cohort.dataset import MEMBER_SPLIT, MedsDataset
from ehrmem_widgets.cohort.fingerprints import combined
from ehrmem_widgets.cohort.ground_truth import COLUMNS, COPY_OF, INCLUDED, MADE_FOR, planted_ids
from ehrmem_widgets.cohort.meds_copies import copy_files, refuse_taken
from ehrmem_widgets.cohort.meds_files import digests_of, shards_of
from ehrmem_widgets.cohort.record import Event
from ehrmem_widgets.errors import BadInput, Unavailable
from ehrmem_widgets.files import whole_file, whole_folder

if TYPE_CHECKING:
    import pyarrow as pa

MOST_ALTERNATIVES, _ALTERNATIVES_OF_ALL = 255, 32_000
_ROUNDS = 30
_Row = tuple[int, datetime | None, str, float | None]


@dataclass(frozen=True)
class Canary:
    """A made-up patient; ``copies``: ids of further patients with the same record."""

    patient_id: int
    events: tuple[Event, ...]
    birth: datetime | None
    alternatives: tuple[tuple[Event, ...], ...]
    included: bool
    copies: tuple[int, ...] = ()

    @property
    def rows(self) -> list[_Row]:
        """The record as a MEDS data set has it: what has no time, the birth, and the rest."""
        events: list[_Row] = [(self.patient_id, event.time, event.code, event.value) for event in self.events]
        born: list[_Row] = [(self.patient_id, self.birth, "MEDS_BIRTH", None)] if self.birth else []
        static = sum(event.time is None for event in self.events)
        return [*events[:static], *born, *events[static:]]


def key_beside(out: Path) -> Path:
    """Where the key is written unless told otherwise: beside the data set, never in it.

    >>> key_beside(Path("planted")).name
    'planted-key.parquet'
    """
    return out.with_name(f"{out.name}-key.parquet")


def make_canaries(
    data: Path, out: Path, key: Path, *, n: int, repetitions: int = 1, coin_flip: bool = False, seed: int | None = None
) -> list[Canary]:
    """Write ``out``, the data set with canaries in its split "train", and ``key`` (mode 600; ``ground_truth.CanaryFile`` reads it).

    ``n`` canaries are made, and half of them planted, or with ``coin_flip`` each by a fair coin; one that is planted is so ``repetitions``
    times, as so many patients. ``seed`` None: drawn from the randomness of the operating system, as it must be where somebody could guess.
    Raises BadInput for data without that split, for places that are taken, and for coins with repetitions; Unavailable where
    nothing can be written.
    """
    if coin_flip and repetitions > 1:
        raise BadInput(
            "With coin flips each canary is planted once: a bound of epsilon is about one record. Leave out --repetitions or --coin-flip."
        )
    refuse_taken(data, out, key)
    if key.resolve().is_relative_to(out.resolve()):
        raise BadInput("The key cannot lie inside the new data set: whoever trains must not see it.")
    dataset = MedsDataset(data)
    if MEMBER_SPLIT not in dataset.splits:
        raise BadInput(
            f"{dataset.name} does not say in metadata/subject_splits.parquet who is in the split {MEMBER_SPLIT!r}, and canaries are planted there."
        )
    rng = np.random.default_rng(secrets.randbits(128) if seed is None else seed)
    made = _draw(dataset, n, repetitions, coin_flip, rng)
    try:
        with whole_folder(out) as new:
            copy_files(dataset.root, new)
            _plant(dataset, [one for one in made if one.included], new)
            _write_key(made, repetitions, coin_flip, key, combined(digests_of(new)))
    except OSError as error:
        raise Unavailable(f"{out} could not be written: {error.strerror or error}.") from None
    return made


def _draw(dataset: MedsDataset, n: int, repetitions: int, coin_flip: bool, rng: np.random.Generator) -> list[Canary]:
    statistics = CodeStatistics(dataset, MEMBER_SPLIT, planted_ids(dataset))
    records = _records(statistics, n, rng)
    included = rng.random(n) < 0.5 if coin_flip else rng.permutation(n) < n - n // 2
    ids = _unused_ids(dataset, n + int(included.sum()) * (repetitions - 1), rng)
    number = min(MOST_ALTERNATIVES, max(1, _ALTERNATIVES_OF_ALL // n)) if statistics.values else 0
    return [
        Canary(
            next(ids),
            events,
            birth,
            tuple(statistics.other_values(rng, events) for _ in range(number)),
            bool(there),
            tuple(next(ids) for _ in range(repetitions - 1)) if there else (),
        )
        for (events, birth), there in zip(records, included, strict=True)
    ]


def _records(
    statistics: CodeStatistics, n: int, rng: np.random.Generator
) -> list[tuple[tuple[Event, ...], datetime | None]]:
    """Records of which no two are alike and none copies anybody's; those that do are drawn anew, less and less like the data."""
    kept: dict[tuple[str, ...], tuple[tuple[Event, ...], datetime | None]] = {}
    for attempt in range(_ROUNDS):
        drawn = [statistics.draw(rng, min(0.9, 0.3 + 0.05 * attempt)) for _ in range(n - len(kept))]
        sequences = [tuple(event.code for event in events if event.time is not None) for events, _ in drawn]
        copied = statistics.copied(sequences)
        kept |= {
            codes: one for place, (codes, one) in enumerate(zip(sequences, drawn, strict=True)) if place not in copied
        }
        if len(kept) == n:
            return list(kept.values())
    raise BadInput(
        f"Only {len(kept)} of {n} canaries could be drawn that copy no run of codes from a record: the records are too short or too much alike. "
        "Ask for fewer with --n."
    )


def _unused_ids(dataset: MedsDataset, n: int, rng: np.random.Generator) -> Iterator[int]:
    """Ids that nobody has, among those that there are, so that they do not tell who is made up."""
    taken = np.array(dataset.ids(), dtype=np.int64)
    free = np.setdiff1d(rng.integers(taken.min(), taken.max() + 1, 20 * n), taken)
    beyond = taken.max() + 1 + np.arange(max(0, n - len(free)))
    return iter(rng.permutation(np.concatenate([rng.permutation(free)[:n], beyond])).tolist())


def _plant(dataset: MedsDataset, planted: Sequence[Canary], new: Path) -> None:
    """A further shard beside those of the split, and the canaries' lines in the file of splits."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    shards = [new / path.relative_to(dataset.root) for path in shards_of(dataset.root)]
    first = next((path for path in shards if path.parent.name == MEMBER_SPLIT), shards[0])
    place = next(
        path for number in range(len(shards) + 1) if not (path := first.with_name(f"{number}.parquet")).exists()
    )
    rows = sorted(
        (
            row
            for one in planted
            for patient in (one.patient_id, *one.copies)
            for row in [(patient, *r[1:]) for r in one.rows]
        ),
        key=lambda row: row[0],
    )
    pq.write_table(_as_events(rows, pq.read_schema(first)), place)
    splits = new / "metadata" / "subject_splits.parquet"
    before = pq.read_table(splits)
    ids = sorted({row[0] for row in rows})
    more: dict[str, Sequence[object]] = {"subject_id": ids, "split": [MEMBER_SPLIT] * len(ids)}
    table = pa.table(
        [_column(more.get(name), len(ids), kind) for name, kind in _fields(before.schema)], schema=before.schema
    )
    pq.write_table(pa.concat_tables([before, table]), splits)


def _as_events(rows: Sequence[_Row], schema: pa.Schema) -> pa.Table:
    """Rows in the columns of a shard; those that a canary has nothing for are missing."""
    import pyarrow as pa

    own = (
        dict(zip(("subject_id", "time", "code", "numeric_value"), zip(*rows, strict=True), strict=True)) if rows else {}
    )
    return pa.table([_column(own.get(name), len(rows), kind) for name, kind in _fields(schema)], schema=schema)


def _fields(schema: pa.Schema) -> list[tuple[str, pa.DataType]]:
    return [(field.name, field.type) for field in schema]


def _column(values: Sequence[object] | None, n: int, kind: pa.DataType) -> pa.Array:
    import pyarrow as pa

    return pa.nulls(n, kind) if values is None else pa.array(values).cast(kind)


def _write_key(made: Sequence[Canary], repetitions: int, coin_flip: bool, key: Path, fingerprint: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows: list[tuple[object, ...]] = []
    for one in made:
        times = repetitions if one.included else 0
        rows += [(one.patient_id, times, 0, *row[1:], one.included, None) for row in one.rows]
        rows += [
            (one.patient_id, times, number, event.time, event.code, event.value, one.included, None)
            for number, events in enumerate(one.alternatives, start=1)
            for event in events
        ]
        rows += [(copy, times, 0, None, None, None, one.included, one.patient_id) for copy in one.copies]
    kinds = [pa.int64(), pa.int64(), pa.int64(), pa.timestamp("us"), pa.string(), pa.float64(), pa.bool_(), pa.int64()]
    names = [*COLUMNS, INCLUDED, COPY_OF]
    columns = [pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), kinds, strict=True)]
    table = pa.table(columns, names=names)
    table = table if coin_flip else table.drop_columns([INCLUDED])
    with whole_file(key) as file:
        pq.write_table(table.replace_schema_metadata({MADE_FOR: fingerprint}), file, compression="zstd")
