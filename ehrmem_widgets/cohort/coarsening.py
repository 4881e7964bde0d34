"""Write a MEDS data set in which rare codes are coarser or left out: to train on, and to audit the model by, so that the facts of an attacker are
coarser in the same way."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ehrmem_widgets.cohort.codes import parent_code
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.meds_copies import copy_files, refuse_taken
from ehrmem_widgets.cohort.meds_files import shards_of
from ehrmem_widgets.cohort.record import is_birth
from ehrmem_widgets.errors import BadInput, Unavailable
from ehrmem_widgets.files import whole_folder

Becomes = Mapping[str, str | None]
"""What each code that changes becomes; None: it is left out."""


@dataclass(frozen=True)
class Coarsened:
    """``becomes``; ``holders``: of each sensitive attribute that other people hold now, how many held it and hold it now; ``emptied``: patients left
    without any event."""

    becomes: Becomes
    holders: Mapping[str, tuple[int, int]]
    emptied: int


def coarsen(data: Path, out: Path, *, fewer_than: int = 0, drop: Collection[str] = ()) -> Coarsened:
    """Write ``out``, the data set without the codes ``drop``, and with codes that fewer than ``fewer_than`` patients of the data set hold made
    coarser, step by step, until so many hold them; what cannot be made coarser is left out. The birth stays.

    Raises BadInput for places that are taken, codes that the data lack, and where nothing would change; Unavailable where nothing can be
    written.
    """
    refuse_taken(data, out)
    dataset = MedsDataset(data)
    occurring = [str(code) for code in dataset.codes["code"] if not is_birth(str(code))]
    if unknown := sorted(set(drop) - set(occurring)):
        raise BadInput(
            f"{len(unknown):,} of the codes to drop do not occur in {dataset.name}, such as {unknown[0]!r}. Name codes as the data write them, one a line."
        )
    becomes = _becomes(dataset, occurring, fewer_than, set(drop))
    if not becomes:
        raise BadInput(
            f"No code of {dataset.name} is held by fewer than {fewer_than:,} people, and none is to be dropped: nothing would change."
        )
    try:
        with whole_folder(out) as new:
            copy_files(dataset.root, new)
            for path in shards_of(new):
                _rewrite(path, becomes)
            _forget_descriptions(
                new / "metadata" / "codes.parquet", {becomes.get(code, code) for code in occurring} - {None}
            )
    except OSError as error:
        raise Unavailable(f"{out} could not be written: {error.strerror or error}.") from None
    made = MedsDataset(out)
    held = {name: (len(dataset.holders([name])), len(made.holders([name]))) for name in dataset.attributes}
    changed = {name: counts for name, counts in held.items() if counts[0] != counts[1]}
    return Coarsened(becomes, changed, len(dataset) - len(made))


def _becomes(dataset: MedsDataset, occurring: Collection[str], fewer_than: int, drop: set[str]) -> Becomes:
    now: dict[str, str | None] = {code: None if code in drop else code for code in occurring}
    while True:
        rare = {code for code, held in _holders(dataset, now).items() if held < fewer_than}
        if not rare:
            return {code: new for code, new in now.items() if new != code}
        coarser = {new: parent for new in rare if (parent := parent_code(new)) not in drop}
        now = {code: coarser.get(str(new)) if new in rare else new for code, new in now.items()}


def _holders(dataset: MedsDataset, now: Becomes) -> dict[str, int]:
    """How many patients hold each code that there is now."""
    rows = dataset.query(
        "WITH now AS (SELECT unnest(?::VARCHAR[]) AS code, unnest(?::VARCHAR[]) AS new) "
        "SELECT new, count(DISTINCT patient_id) FROM events JOIN now USING (code) WHERE new IS NOT NULL GROUP BY new",
        [list(now), list(now.values())],
    ).fetchall()
    return dict(rows)


def _rewrite(path: Path, becomes: Becomes) -> None:
    """One file of events, a part at a time."""
    part = path.with_name(f"{path.name}.part")
    with pq.ParquetFile(path) as old:
        at = old.schema_arrow.get_field_index("code")
        schema = old.schema_arrow.set(at, pa.field("code", pa.string()))
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            for batch in old.iter_batches():
                code = batch.column("code").cast(pa.string())
                place = pc.index_in(code, pa.array(list(becomes), pa.string()))
                new = pc.if_else(place.is_valid(), pa.array(list(becomes.values()), pa.string()).take(place), code)
                table = pa.Table.from_batches([batch]).set_column(at, schema.field(at), new)
                writer.write_table(table.filter(new.is_valid()))
    part.replace(path)


def _forget_descriptions(path: Path, known: Collection[str | None]) -> None:
    """Of codes that are no more."""
    if path.is_file():
        table = pq.read_table(path)
        kept = (
            table.column("code").cast(pa.string())
            if "code" in table.column_names
            else pa.nulls(len(table), pa.string())
        )
        pq.write_table(table.filter(pc.is_in(kept, pa.array(list(known), pa.string()))), path)
