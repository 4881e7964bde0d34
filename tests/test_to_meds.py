"""The recipes of docs/to_meds.md, run as the page says on tiny raw files: every event that must come out, and no other."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ehrmem_widgets.cohort.codes import Kind, parse_code
from ehrmem_widgets.cohort.data_checks import check_data
from ehrmem_widgets.cohort.dataset import MedsDataset
from tests import raw_tables
from tests.raw_tables import Event, Person, people

DOCS = Path(__file__).parents[1] / "docs"
SOURCES: dict[str, Callable[[Path, Sequence[Person]], list[Event]]] = {
    "mimic_iv": raw_tables.mimic_iv,
    "omop": raw_tables.omop,
    "fhir": raw_tables.fhir,
    "eicu": raw_tables.eicu,
    "cehrbert": raw_tables.cehrbert,
}
SCHEMA = [
    ("subject_id", pa.int64()),
    ("time", pa.timestamp("us")),
    ("code", pa.string()),
    ("numeric_value", pa.float32()),
]


NAMED = {
    "mimic_iv": ("LAB//RESULT//50912//mg/dL", "Creatinine"),
    "omop": ("LAB//LOINC//2160-0//mg/dL", 'Creatinine "serum" [Mass/volume]'),
    "fhir": ("LAB//LOINC//8480-6//mm[Hg]", "Systolic blood pressure"),
    "eicu": ("LAB//creatinine//mg/dL", None),
    "cehrbert": ("SNOMED//44054006", "Type 2 diabetes mellitus"),
}
"""A code of each source and the name that it must get."""


def to_meds(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DOCS / "to_meds" / "to_meds.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def raw_folder(where: Path, source: str, who: Sequence[Person]) -> tuple[Path, list[Event]]:
    raw = where / "raw"
    raw.mkdir()
    return raw, SOURCES[source](raw, who)


def read(out: Path) -> tuple[list[Event], dict[str, str]]:
    """The events and everybody's split; a number is turned back into the id that it stands for."""
    tables = [pq.read_table(path) for path in sorted(out.glob("data/*/*.parquet"))]
    assert all([(field.name, field.type) for field in table.schema] == SCHEMA for table in tables)
    rows = [row for table in tables for row in table.to_pylist()]
    splits = pq.read_table(out / "metadata/subject_splits.parquet").to_pylist()
    split = {row["subject_id"]: row["split"] for row in splits}
    assert len(split) == len(splits)
    for path in out.glob("data/*/*.parquet"):
        assert {split[one] for one in pq.read_table(path)["subject_id"].to_pylist()} == {path.parent.name}
    events = [(str(row["subject_id"]), row["time"], row["code"], row["numeric_value"]) for row in rows]
    return events, {str(subject): name for subject, name in split.items()}


@pytest.fixture(autouse=True)
def own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EHRMEM_PSEUDONYM_KEY", str(tmp_path / "pseudonym.key"))


@pytest.mark.parametrize("source", SOURCES)
def test_every_event_comes_out_and_no_other(source: str, tmp_path: Path) -> None:
    who = people()
    raw, expected = raw_folder(tmp_path, source, who)
    ran = to_meds(source, raw, tmp_path / "meds")
    assert (ran.returncode, ran.stderr) == (0, "")
    events, splits = read(tmp_path / "meds")
    assert Counter(events) == Counter(expected)
    assert f"{len(expected)} events, " in ran.stdout
    assert set(splits.values()) == {"train", "tuning", "held_out"}
    for subject in splits:  # static facts first, then in the order of time
        times = [time for one, time, _, _ in events if one == subject]
        assert times == sorted(times, key=lambda time: (time is not None, time))
    table = pq.read_table(tmp_path / "meds/metadata/codes.parquet")
    names = dict(zip(table["code"].to_pylist(), table["description"].to_pylist(), strict=True))
    assert set(names) == {code for _, _, code, _ in expected} and names[NAMED[source][0]] == NAMED[source][1]
    assert not list(tmp_path.glob("meds_*")) and not list(tmp_path.glob("*.part"))

    dataset = MedsDataset(tmp_path / "meds")
    assert len(dataset) == len(who)
    found = {check.name: check for check in check_data(dataset)}
    assert [check for check in found.values() if check.level == "fail"] == []
    assert found["Births"].words.startswith("100% ")
    kinds = {parse_code(code).kind for _, _, code, _ in events if "2160" in code or "50912" in code or "creat" in code}
    assert kinds == {Kind.laboratory}


def test_the_list_of_members_makes_the_splits(tmp_path: Path) -> None:
    who = people()
    raw, _ = raw_folder(tmp_path, "omop", who)
    members = tmp_path / "members.txt"
    members.write_text("\n".join(p.key for p in who[:25]) + "\n\n", encoding="utf-8")
    assert to_meds("omop", raw, tmp_path / "meds", "--members", members).returncode == 0
    _, splits = read(tmp_path / "meds")
    assert splits == {p.key: "train" if i < 25 else "held_out" for i, p in enumerate(who)}


def test_two_stays_of_one_person_are_never_on_both_sides(tmp_path: Path) -> None:
    """In eICU a subject is a stay: one that the model did not see, of a person whom it did, is neither a member nor a control."""
    who = people()
    raw, expected = raw_folder(tmp_path, "eicu", who)
    members = tmp_path / "members.txt"
    members.write_text(who[0].key, encoding="utf-8")
    ran = to_meds("eicu", raw, tmp_path / "meds", "--members", members)
    assert "left out, as other stays of people in training: 1\n" in ran.stdout
    events, splits = read(tmp_path / "meds")
    assert splits == {p.key: "train" if p is who[0] else "held_out" for p in who if p is not who[1]}
    assert Counter(events) == Counter(event for event in expected if event[0] != who[1].key)
    for seed in range(2):
        assert to_meds("eicu", raw, tmp_path / f"meds{seed}", "--seed", str(seed)).returncode == 0
        _, splits = read(tmp_path / f"meds{seed}")
        assert splits[who[0].key] == splits[who[1].key]


def test_ids_that_are_no_numbers_are_numbered_and_listed_beside_the_data(tmp_path: Path) -> None:
    who = [Person(**{**vars(p), "key": f"ab-{p.key}"}) for p in people(6)]
    raw, expected = raw_folder(tmp_path, "fhir", who)
    assert to_meds("fhir", raw, tmp_path / "meds").returncode == 0
    listed = tmp_path / "meds_subject_ids.csv"
    assert listed.stat().st_mode & 0o777 == 0o600
    key = dict(reversed(line.split(",")) for line in listed.read_text(encoding="utf-8").splitlines()[1:])
    events, splits = read(tmp_path / "meds")
    assert sorted(splits) == ["1", "2", "3", "4", "5", "6"]
    assert Counter((key[subject], *rest) for subject, *rest in events) == Counter(expected)


def test_a_file_that_is_missing_is_said(tmp_path: Path) -> None:
    raw, expected = raw_folder(tmp_path, "mimic_iv", people(5))
    (raw / "hosp/labevents.csv").unlink()
    ran = to_meds("mimic_iv", raw, tmp_path / "meds")
    assert ran.returncode == 0 and "left out: no file labevents\n" in ran.stdout
    assert Counter(read(tmp_path / "meds")[0]) == Counter(event for event in expected if "LAB" not in event[2])


def test_wrong_input_is_refused_in_one_sentence(tmp_path: Path) -> None:
    who = people(5)
    raw, _ = raw_folder(tmp_path, "eicu", who)
    strangers = tmp_path / "strangers.txt"
    strangers.write_text(f"{who[0].key}\n77\n78\n", encoding="utf-8")
    (tmp_path / "there").mkdir()
    twice = tmp_path / "twice"
    twice.mkdir()
    for name in ("patient.csv", "patient.csv.gz"):
        (twice / name).write_bytes(b"")
    german = tmp_path / "german"
    shutil.copytree(raw, german)
    stays = (german / "patient.csv").read_text(encoding="utf-8")
    (german / "patient.csv").write_text(stays.replace(",2015,", ",15.,", 1), encoding="utf-8")
    for arguments, words in (
        (("nix", raw, tmp_path / "meds"), "Known: cehrbert, eicu, fhir, mimic_iv, omop."),
        (("omop", raw, tmp_path / "meds"), "no file person.csv, .csv.gz or .parquet"),
        (("eicu", tmp_path / "nowhere", tmp_path / "meds"), "there is no folder"),
        (("eicu", raw, tmp_path / "there"), "exists already"),
        (("eicu", twice, tmp_path / "meds"), "patient is there twice"),
        (("eicu", raw, tmp_path / "meds", "--members", strangers), "2 of 3 ids"),
        (("eicu", german, tmp_path / "meds"), "15.-12-31"),
    ):
        ran = to_meds(*arguments)
        assert ran.returncode == 2 and words in ran.stderr and ran.stderr.count("\n") == 1
    assert not (tmp_path / "meds").exists() and not list(tmp_path.glob("*.part"))


def test_the_page_names_every_recipe_and_only_what_there_is() -> None:
    page = (DOCS / "to_meds.md").read_text(encoding="utf-8")
    assert set(re.findall(r"to_meds/(\w+)\.sql", page)) == set(SOURCES) == {p.stem for p in DOCS.glob("to_meds/*.sql")}
    assert set(re.findall(r"to_meds\.py (\w+) ", page)) == set(SOURCES)
    assert all("==" in line for line in page.splitlines() if "pip install" in line)
