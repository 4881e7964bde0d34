"""What people name is read within bounds: a pipe, a device, a book made of a line, a number without end are refused in words and at once."""

from __future__ import annotations

import os
import shutil
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
from ehrmem_widgets.cohort.ground_truth import canary_repetitions
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.files import read_json, read_text
from ehrmem_widgets.findings.finding import ABOUT_FILE, Finding
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


@pytest.mark.parametrize("name", ["metadata/codes.parquet", "metadata/subject_splits.parquet", "ground_truth.parquet"])
@pytest.mark.parametrize("what", ["pipe", "device", "folder", "broken"])
def test_a_pipe_or_a_device_among_the_data_is_refused_unopened(name: str, what: str, tmp_path: Path) -> None:
    root = Path(shutil.copytree(sample_data(), tmp_path / "data"))
    (root / name).unlink()
    if what == "broken":
        (root / name).write_bytes(b"PAR1" * 100)
    elif what == "folder":
        (root / name).mkdir()
    else:
        os.mkfifo(root / name) if what == "pipe" else (root / name).symlink_to("/dev/zero")
    with pytest.raises(BadInput, match=f"{Path(name).name}.* cannot be read|cannot be read.*{Path(name).name}"):
        dataset = MedsDataset(root)
        assert dataset.descriptions is not None and canary_repetitions(dataset) is not None


@pytest.mark.parametrize("what", ["pipe", DEEP, DIGITS, "[]", "{}"])
def test_a_finding_that_is_none_is_refused(what: str, tmp_path: Path) -> None:
    about = tmp_path / ABOUT_FILE
    os.mkfifo(about) if what == "pipe" else about.write_text(what)
    with pytest.raises(BadInput, match="finding"):
        Finding.load(tmp_path)


@pytest.mark.parametrize(
    "text", ["a = " + DIGITS, "a = " + DEEP, "a" + ".a" * 20_000 + " = 1", "a = 1" + "\n#" * 600_000]
)
def test_toml_of_a_token_scheme_is_read_within_bounds(text: str, tmp_path: Path) -> None:
    (tmp_path / "scheme.toml").write_text(text)
    with pytest.raises(BadInput, match="cannot be read: "):
        read_token_scheme(tmp_path / "scheme.toml")


def test_half_a_character_in_json_is_refused_and_a_whole_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text('["\\ud83d\\ude00"]')
    assert read_json(path, "It") == ["\U0001f600"]
    path.write_text('["\\ud83d"]')
    with pytest.raises(BadInput, match="It cannot be read as JSON"):
        read_json(path, "It")
