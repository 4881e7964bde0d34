"""Rare codes made coarser or left out: step by step, everything else as it was."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ehrmem_widgets.cli import main
from ehrmem_widgets.cohort.coarsening import coarsen
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from tests.cohort.meds import Row, at, shard, write

ICD = "DIAGNOSIS//ICD//10//"
HELD = {
    f"{ICD}E119": range(6),  # held by enough
    f"{ICD}E220": [0, 1],  # with E221 three hold E22
    f"{ICD}E221": [2],
    f"{ICD}C719": [3],  # nobody shares even its first letter: left out
    f"{ICD}F200": [3],  # with F319 three share F, and no category
    f"{ICD}F319": [4, 5],
    "LAB//50893//mg/dL": [0],  # nothing coarser
    "LAB//50912//mg/dL": range(6),
}


def rows() -> list[Row]:
    born: list[Row] = [(i, at("1960-01-01"), "MEDS_BIRTH", None) for i in range(6)]
    events: list[Row] = [(i, at("2020-01-01"), code, 1.5) for code, held in HELD.items() for i in held]
    return sorted(born + events, key=lambda row: row[0])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    shards: dict[str, pa.Table | list[Row]] = {
        "a/0.parquet": [row for row in rows() if row[0] < 3],
        "1.parquet": shard([row for row in rows() if row[0] >= 3], codes=pa.dictionary(pa.int32(), pa.string())),
    }
    splits = {i: "train" if i < 4 else "held_out" for i in range(6)}
    return write(tmp_path / "data", shards, splits=splits, descriptions={code: f"what {code} is" for code in HELD})


def test_codes_climb_until_enough_hold_them(data: Path, tmp_path: Path) -> None:
    made = coarsen(data, tmp_path / "out", fewer_than=3)
    assert made.becomes == {
        f"{ICD}E220": f"{ICD}E22", f"{ICD}E221": f"{ICD}E22", f"{ICD}F200": f"{ICD}F", f"{ICD}F319": f"{ICD}F",
        f"{ICD}C719": None, "LAB//50893//mg/dL": None,
    }  # fmt: skip
    before, after = MedsDataset(data), MedsDataset(tmp_path / "out")
    held = after.codes.set_index("code")["patients"].to_dict()
    assert held == {f"{ICD}E119": 6, f"{ICD}E22": 3, f"{ICD}F": 3, "LAB//50912//mg/dL": 6, "MEDS_BIRTH": 6}
    assert after.ids() == before.ids() and after.splits == before.splits and made.emptied == 0
    for old, new in zip(before.records(before.ids()), after.records(after.ids()), strict=True):
        kept = [event for event in old.events if made.becomes.get(event.code, event.code)]
        assert [(e.time, made.becomes.get(e.code, e.code), e.value) for e in kept] == [
            (e.time, e.code, e.value) for e in new.events
        ]
    described = pq.read_table(tmp_path / "out" / "metadata" / "codes.parquet")["code"].to_pylist()
    assert described == [f"{ICD}E119", "LAB//50912//mg/dL"]
    assert made.holders["mental_health"] == (3, 0)  # F is no code of it: nobody is asked about it
    with pytest.raises(BadInput, match="nothing would change"):
        coarsen(tmp_path / "out", tmp_path / "again", fewer_than=3)


def test_codes_of_a_file_are_left_out(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed, out = tmp_path / "codes.txt", tmp_path / "out"
    listed.write_text(f"{ICD}E119\n\nLAB//50912//mg/dL\n")
    words = ["coarsen", "--data", str(data), "--out", str(out), "--drop-codes", str(listed)]
    assert main(words) == 0
    assert "0 codes are coarser, 2 are left out" in capsys.readouterr().out
    kept = set(MedsDataset(out).codes["code"])
    assert kept == {*HELD, "MEDS_BIRTH"} - {f"{ICD}E119", "LAB//50912//mg/dL"}
    assert main(words) == 2 and "already exists" in capsys.readouterr().err
    made = coarsen(data, tmp_path / "both", fewer_than=6, drop={f"{ICD}E119"})
    assert made.becomes[f"{ICD}E220"] is None and f"{ICD}E" not in set(MedsDataset(tmp_path / "both").codes["code"])


def test_what_cannot_be_coarsened_is_refused_in_words(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadInput, match=r"1 of the codes to drop do not occur in data, such as 'E11'"):
        coarsen(data, tmp_path / "out", drop={"E11", f"{ICD}E119"})
    with pytest.raises(BadInput, match="inside the old one"):
        coarsen(data, data / "out", fewer_than=3)
    assert main(["coarsen", "--data", str(data), "--out", str(tmp_path / "out")]) == 2
    assert "--fewer-than N, --drop-codes FILE, or both" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
