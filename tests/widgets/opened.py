"""The sample models and a data set, opened once for all screens of a test module: opening them takes longer than asking."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from ehrmem_widgets.blackbox import opening
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.samples.folders import sample_data


@contextmanager
def opened_once(cache: Path) -> Iterator[None]:
    """What ``open_sources`` opens is kept while this lasts, and nothing of this user's is read or written."""
    of: Any = lru_cache(opening.open_sources)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        patch.setenv("XDG_STATE_HOME", str(cache / "state"))
        for name in ("DATA", "MODEL", "REFERENCE"):
            patch.delenv(f"EHRMEM_{name}", raising=False)
        patch.setattr(opening, "open_sources", of)
        yield


def few_patients(folder: Path, first: int = 60) -> Path:
    """150 patients of the sample cohort, 60 of them members (``first``: so many), as a data set of their own."""
    whole = MedsDataset(sample_data())
    ids = [*whole.ids("train")[:first], *whole.ids("held_out")[:60], *whole.ids("reference")[:30]]
    (folder / "data").mkdir(parents=True)
    (folder / "metadata").mkdir()
    events = whole.query(
        "SELECT patient_id AS subject_id, time, code, value AS numeric_value FROM events "
        "WHERE patient_id IN (SELECT unnest(?)) ORDER BY patient_id, time NULLS FIRST, filename, file_row_number",
        [ids],
    )
    events.df().to_parquet(folder / "data" / "0.parquet", index=False)
    splits = whole.patients.loc[ids, "split"].rename_axis("subject_id").reset_index()
    splits.to_parquet(folder / "metadata" / "subject_splits.parquet", index=False)
    return folder
