"""A fingerprint is of every byte; what is remembered saves reading and is believed only as far as it can be."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort import fingerprints
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.fingerprints import digests, fingerprint, read_anew
from ehrmem_widgets.samples.folders import sample_model
from ehrmem_widgets.tokens.sequences import SequenceDataset


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ehrmem" / "fingerprints"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read from their first byte to their last."""
    names: list[str] = []
    real = fingerprints.digest_of

    def noted(path: Path) -> str:
        names.append(path.name)
        return real(path)

    monkeypatch.setattr(fingerprints, "digest_of", noted)
    return names


def old(path: Path) -> Path:
    """As if the file had been written a minute ago."""
    os.utime(path, (time.time() - 60,) * 2)
    return path


def files(folder: Path, **contents: bytes) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [old(folder / name) for name in contents]


def test_the_digests_are_those_of_sha256_and_names_count(tmp_path: Path) -> None:
    some = files(tmp_path / "d", a=b"one" * 99_999, b=b"")
    assert digests(tmp_path / "d", some) == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in some}
    first = fingerprint(tmp_path / "d", some)
    assert first == fingerprint(tmp_path / "d", some[::-1])
    copied = [shutil.copy(path, tmp_path / name) for path, name in zip(some, ("a", "b"), strict=True)]
    assert fingerprint(tmp_path, [Path(path) for path in copied]) == first
    renamed = some[0].rename(tmp_path / "d" / "c")
    assert fingerprint(tmp_path / "d", [renamed, some[1]]) != first


def test_what_is_remembered_is_not_read_again(tmp_path: Path, read: list[str], cache: Path) -> None:
    some = files(tmp_path / "d", a=b"one", b=b"two")
    first = digests(tmp_path / "d", some)
    assert read == ["a", "b"]
    assert digests(tmp_path / "d", some) == first and read == ["a", "b"]
    (kept,) = cache.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600 and str(tmp_path) not in kept.read_text()
    with read_anew():
        assert digests(tmp_path / "d", some) == first
    assert read == ["a", "b", "a", "b"]
    old(files(tmp_path / "d", b=b"TWO")[0])
    again = digests(tmp_path / "d", some)
    assert read[4:] == ["b"] and again["a"] == first["a"] and again["b"] != first["b"]
    new = files(tmp_path / "d", c=b"one")  # the same size and time of change under another inode
    os.utime(new[0], ns=(some[0].stat().st_mtime_ns,) * 2)
    new[0].rename(some[0])
    digests(tmp_path / "d", some)
    assert read[5:] == ["a"]


def test_a_file_changed_just_now_is_not_remembered(tmp_path: Path, read: list[str]) -> None:
    (path,) = files(tmp_path / "d", a=b"one")
    os.utime(path)
    for _ in range(2):
        digests(tmp_path / "d", [path])
    assert read == ["a", "a"]


@pytest.mark.parametrize(
    "spoiled", [b"", b"{", b"[]", b'"x"', b'{"a": 3}', b'{"a": []}', b'{"a": ["x", 1, 2, "d"]}', b"\xff", b"[" * 10**5]
)
def test_a_broken_cache_is_ignored_and_mended(spoiled: bytes, tmp_path: Path, cache: Path) -> None:
    some = files(tmp_path / "d", a=b"one")
    first = digests(tmp_path / "d", some)
    (kept,) = cache.iterdir()
    kept.write_bytes(spoiled)
    assert digests(tmp_path / "d", some) == first
    assert list(json.loads(kept.read_text())) == ["a"]


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(digests(tmp_path / "d", files(tmp_path / "d", a=b"one"))) == 1


def test_codes_changed_in_the_middle_of_a_large_file_change_the_fingerprint(tmp_path: Path) -> None:
    """Its size and its last 64 KB are the same: they were all that was looked at once."""
    rng, n = np.random.default_rng(0), 200_000
    table = pa.table(
        {
            "subject_id": pa.array(np.sort(rng.integers(1, 999, n))),
            "time": pa.array(rng.integers(0, 2**40, n), pa.timestamp("us")),
            "code": pa.array([f"LAB//{i:06d}" for i in range(n)]),
            "numeric_value": pa.array(rng.random(n), pa.float32()),
        }
    )
    shard = tmp_path / "d" / "data" / "0.parquet"
    shard.parent.mkdir(parents=True)
    pq.write_table(table, shard, compression="none", use_dictionary=False, write_statistics=False)
    before, content = MedsDataset(tmp_path / "d"), shard.read_bytes()
    assert before.fingerprint == MedsDataset(tmp_path / "d").fingerprint
    changed = bytearray(content)
    start = changed.index(b"LAB//050000")
    for place in range(1001):
        at = changed.index(b"LAB//%06d" % (50_000 + place), start)
        changed[at : at + 3] = b"LEB"
    shard.write_bytes(changed)
    assert len(changed) == len(content) and changed[-65_536:] == content[-65_536:]
    after = MedsDataset(tmp_path / "d")
    assert after.query("SELECT count(*) FROM events WHERE code LIKE 'LEB%'").fetchone() == (1001,)
    assert after.fingerprint != before.fingerprint


def test_opening_data_and_models_again_reads_no_file_whole(tmp_path: Path, read: list[str]) -> None:
    model = Path(shutil.copytree(sample_model(), tmp_path / "model"))
    vocabulary = FolderModel(model).vocabulary
    sequences = tmp_path / "s.jsonl"
    sequences.write_text(json.dumps({"subject_id": 1, "codes": list(vocabulary.codes[5:25])}) + "\n")
    for path in (*model.iterdir(), sequences):
        old(path)
    first = [FolderModel(model).fingerprint, SequenceDataset(sequences, vocabulary).fingerprint]
    for path in (tmp_path / "cache").rglob("*.parquet"):  # the data set made of the sequences
        old(path)
    assert [FolderModel(model).fingerprint, SequenceDataset(sequences, vocabulary).fingerprint] == first
    assert {"model.safetensors", "config.json", "s.jsonl"} <= set(read)
    read.clear()
    assert [FolderModel(model).fingerprint, SequenceDataset(sequences, vocabulary).fingerprint] == first
    assert read == []
    with read_anew():
        assert [FolderModel(model).fingerprint, SequenceDataset(sequences, vocabulary).fingerprint] == first
    assert {"model.safetensors", "config.json", "s.jsonl", "sequences.parquet"} <= set(read)


def test_another_vocabulary_than_the_folders_own_is_another_model(tmp_path: Path) -> None:
    content = json.loads((sample_model() / "vocabulary.json").read_text())
    base = next(code for code, edges in content["bins"].items() if edges)
    content["bins"][base][0] -= 1e-3
    (tmp_path / "other.json").write_text(json.dumps(content))
    own, other = FolderModel(sample_model()), FolderModel(sample_model(), vocabulary=tmp_path / "other.json")
    assert own.vocabulary.codes == other.vocabulary.codes and own.fingerprint != other.fingerprint


def test_an_unreadable_index_of_sequences_is_made_again(tmp_path: Path) -> None:
    vocabulary = FolderModel(sample_model()).vocabulary
    sequences = tmp_path / "s.jsonl"
    sequences.write_text(json.dumps({"subject_id": 1, "codes": list(vocabulary.codes[5:25])}) + "\n")
    about = SequenceDataset(sequences, vocabulary).about
    (kept,) = (tmp_path / "cache" / "ehrmem").glob("sequences-*/about.json")
    kept.write_text('{"patients"')
    assert SequenceDataset(sequences, vocabulary).about == about and json.loads(kept.read_text()) == about
