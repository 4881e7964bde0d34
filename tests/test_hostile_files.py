"""What people name is read within bounds: a pipe, a device, a book made of a line, a number without end are refused in words and at once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ehrmem_widgets.attacker.facts import load_facts
from ehrmem_widgets.audit.plan import read_plan
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.attributes import load_attributes
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.files import read_json, read_text
from ehrmem_widgets.reports.letter import make_letter
from ehrmem_widgets.reports.patient_reports import patients_in
from ehrmem_widgets.samples.folders import sample_data
from ehrmem_widgets.tokens.token_scheme import read_token_scheme
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from ehrmem_widgets.workshop.class_results import read_codes
from ehrmem_widgets.yaml_text import read_yaml

DEEP = "[" * 100_000
DIGITS = "9" * 5_000
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 10)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
)


def the_facts(path: Path) -> Any:
    dataset = MedsDataset(sample_data())
    return load_facts(path, dataset.record(dataset.ids()[0]), Vocabulary(("[BOS]",)))


def a_model(path: Path) -> Any:
    """The file as the config.json of a folder."""
    folder = path.with_name(f"{path.name} model")
    folder.mkdir()
    (folder / "config.json").symlink_to(path)
    return FolderModel(folder)


DOORS: dict[str, Callable[[Path], Any]] = {
    "plan": read_plan, "attributes": load_attributes, "facts": the_facts, "vocabulary": Vocabulary.load, "token scheme": read_token_scheme,
    "letter": lambda path: make_letter(path, path.with_name("letter.html"), audience="patient"), "patients": patients_in, "model": a_model,
}  # fmt: skip


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("what", ["pipe", "device", "folder", "deep", "digits", "binary", "laughs"])
def test_every_door_refuses_in_words_and_at_once(door: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / (
        "x.txt" if door == "patients" else "x.json" if door in ("vocabulary", "letter", "model") else "x.yaml"
    )
    if what == "pipe":
        os.mkfifo(path)
    elif what == "device":
        path.symlink_to("/dev/zero")
    elif what == "folder":
        path.mkdir()
    elif what == "binary":
        path.write_bytes(b"\xff\xfe\x00" * 100)
    else:
        path.write_text({"deep": DEEP, "digits": DIGITS, "laughs": LAUGHS}[what])
    if door == "patients" and what in ("deep", "digits", "laughs"):
        assert patients_in(path)  # words that name nobody: said where they are looked up
        return
    with pytest.raises(BadInput) as refused:
        DOORS[door](path)
    assert len(str(refused.value)) < 600 and "Traceback" not in str(refused.value)


def test_aliases_are_refused_and_anchors_alone_are_not() -> None:
    with pytest.raises(BadInput, match=r"the alias \*a is not allowed: write it out \(line 2\)"):
        read_yaml("a: &a [1]\nb: *a\n", "The plan")
    assert read_yaml("a: &a [1]\n", "The plan") == {"a": [1]}


def test_a_file_that_is_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    with path.open("wb") as file:
        file.truncate(10**12)  # a hole: nothing on the disk
    with pytest.raises(BadInput, match="It cannot be read: it is larger than 40 MB"):
        read_json(path, "It")
    with pytest.raises(BadInput, match="larger than 1 MB"):
        read_text(path, "It", most=1_000_000)
    with pytest.raises(BadInput, match="larger than 1 MB"):
        read_codes([str(path)])


def test_the_database_fetches_nothing_and_its_settings_are_locked() -> None:
    query = MedsDataset(sample_data())._connection.execute
    for setting in ("autoinstall_known_extensions", "autoload_known_extensions"):
        assert query(f"SELECT current_setting('{setting}')").fetchall() == [(False,)]
    with pytest.raises(duckdb.Error, match="locked"):
        query("SET autoinstall_known_extensions = true")
    with pytest.raises(duckdb.Error):
        query("SELECT * FROM read_parquet('https://127.0.0.1:1/x.parquet')")
