"""Every fault of a file, folder, flag or place is the user's: exit 2 (3 where the same command may work later) and one sentence, never an internal error."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ehrmem_widgets import cli
from tests.fuzz.mutate import copy
from tests.fuzz.valid import home, make_valid
from tests.once import made_once

SHARD, SPLITS, WEIGHTS = "meds/data/0.parquet", "meds/metadata/subject_splits.parquet", "model/model.safetensors"
CHECK, PATIENTS, AUDIT = "check --data meds --model model", "patients --data meds", "audit plan.yaml --out new"
PROBE = "probe membership --data meds --model model --reference reference --patients people.txt --out found"
SERVE, TRAIN, LETTER = (
    "serve --model model",
    "train --data meds --out new --epochs 1",
    "letter report.json --out x.html",
)

Fault = Callable[[Path], object]


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "fuzz_valid", make_valid)


@pytest.fixture
def here(valid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of valid files, in which the command is given."""
    copy(valid, tmp_path / "at")
    for name, value in home(tmp_path / "at").items():
        monkeypatch.setenv(name, value)
    for name in ("EHRMEM_PSEUDONYM_KEY", "EHRMEM_DATA", "EHRMEM_MODEL", "EHRMEM_REFERENCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path / "at")
    return tmp_path / "at"


def cut(name: str, share: float = 0.5) -> Fault:
    def fault(at: Path) -> None:
        content = (at / name).read_bytes()
        (at / name).unlink()  # it is linked, and the valid one must stay
        (at / name).write_bytes(content[: int(len(content) * share)])

    return fault


def holds(name: str, content: bytes | str) -> Fault:
    def fault(at: Path) -> None:
        (at / name).unlink(missing_ok=True)
        (at / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return fault


def is_folder(name: str) -> Fault:
    def fault(at: Path) -> None:
        (at / name).unlink(missing_ok=True)
        (at / name).mkdir()

    return fault


def is_file(name: str) -> Fault:
    def fault(at: Path) -> None:
        if (at / name).is_dir():
            shutil.rmtree(at / name)
        (at / name).write_text("a file")

    return fault


def gone(name: str) -> Fault:
    return lambda at: shutil.rmtree(at / name) if (at / name).is_dir() else (at / name).unlink()


def loops(name: str) -> Fault:
    def fault(at: Path) -> None:
        (at / name).unlink()
        (at / name).symlink_to(at / name)

    return fault


def column(name: str, column: str, values: Callable[[int], pa.Array]) -> Fault:
    def fault(at: Path) -> None:
        table = pq.read_table(at / name)
        (at / name).unlink()
        place = table.column_names.index(column)
        pq.write_table(table.set_column(place, column, values(table.num_rows)), at / name)

    return fault


def spoiled(name: str) -> Fault:
    """A shard whose footer is fine and whose pages are not, as on a bad disk."""

    def fault(at: Path) -> None:
        table = pq.read_table(at / name)
        (at / name).unlink()
        pq.write_table(table, at / name, compression="snappy", use_dictionary=False)
        content = bytearray((at / name).read_bytes())
        content[40 : len(content) // 2] = b"\xff" * (len(content) // 2 - 40)
        (at / name).write_bytes(content)

    return fault


def header(**changed: object) -> Fault:
    """The weights' header says another thing."""

    def fault(at: Path) -> None:
        content = (at / WEIGHTS).read_bytes()
        length = int.from_bytes(content[:8], "little")
        about = json.loads(content[8 : 8 + length])
        name = next(one for one in about if one != "__metadata__")
        about[name] |= changed
        text = json.dumps(about).encode()
        holds(WEIGHTS, len(text).to_bytes(8, "little") + text + content[8 + length :])(at)

    return fault


FAULTS: dict[str, tuple[Fault, str, str]] = {
    # what is wrong: how it comes about, the command, what is said
    "a shard cut short": (cut(SHARD), PATIENTS, "A Parquet file of .* cannot be read"),
    "a shard that is text": (holds(SHARD, "subject_id,time"), CHECK + " --json", "1 failed, 0 with a warning"),
    "a shard without content": (holds(SHARD, ""), TRAIN, "A Parquet file of .* cannot be read"),
    "a shard with spoiled pages": (spoiled(SHARD), PATIENTS, "A file of .* cannot be read"),
    "a shard whose times are lists": (column(SHARD, "time", lambda n: pa.array([[1]] * n)), PATIENTS, "something else than dates"),
    "a shard whose ids are names": (column(SHARD, "subject_id", lambda n: pa.array(["Jane"] * n)), PATIENTS, "text that is no whole number"),
    "no shards": (gone("meds/data"), TRAIN, "is not a MEDS data set"),
    "splits cut short": (cut(SPLITS), AUDIT, "cannot be read: .*subject_splits.parquet|subject_splits.parquet of .* cannot be read"),
    "no splits": (gone(SPLITS), TRAIN, "has no metadata/subject_splits.parquet"),
    "splits of a wrong type": (column(SPLITS, "subject_id", lambda n: pa.array([{"a": 1}] * n)), PATIENTS, "subject_id holds"),
    "labels cut short": (cut("meds/metadata/codes.parquet"), PATIENTS, "cannot be read: .*codes.parquet"),
    "planted canaries cut short": (cut("meds/ground_truth.parquet"), PROBE, "ground_truth.parquet, which names the planted canaries, cannot be read"),
    "the data are a file": (is_file("meds"), PATIENTS, "There is no folder 'meds'"),
    "weights cut short": (cut(WEIGHTS), SERVE, "safetensors|weights"),
    "weights without content": (holds(WEIGHTS, ""), SERVE, "safetensors|weights"),
    "weights of another shape": (header(shape=[1]), SERVE, "safetensors|weights"),
    "weights are a folder": (is_folder(WEIGHTS), SERVE, "safetensors|weights"),
    "config.json is a folder": (is_folder("model/config.json"), SERVE, "config.json"),
    "config.json is no JSON": (holds("model/config.json", "{"), SERVE, "config.json"),
    "training.json is no JSON": (holds("model/training.json", "[1"), AUDIT, "training.json"),
    "a vocabulary that is not UTF-8": (holds("vocabulary/map.json", b"\xff\xfe{"), SERVE + " --vocabulary vocabulary/map.json", "not text in UTF-8"),
    "a vocabulary that is a folder": (is_folder("vocabulary/map.json"), SERVE + " --vocabulary vocabulary/map.json", "Is a directory"),
    "a token scheme that loops": (loops("scheme.yaml"), SERVE + " --token-scheme scheme.yaml", "scheme"),
    "a plan that is not UTF-8": (holds("plan.yaml", b"name: \xff"), AUDIT, "not text in UTF-8"),
    "a plan that is a folder": (is_folder("plan.yaml"), AUDIT, "The plan plan.yaml cannot be read"),
    "a plan that names data that are gone": (gone("meds"), AUDIT, "There is no folder"),
    "a plan that names severities that are gone": (gone("severity.yaml"), AUDIT, "severities severity.yaml cannot be read"),
    "a plan with a name that no file can have": (holds("plan.yaml", 'data: "a\\0b"\nmodel: model\n'), AUDIT, "no file can have|There is no folder"),
    "a plan with a name of a kilometre": (holds("plan.yaml", f"data: {'x' * 5000}\nmodel: model\n"), AUDIT, "There is no folder|too long"),
    "attributes that are binary": (holds("attributes.yaml", bytes(range(256))), PROBE + " --attribute-file attributes.yaml", "not text in UTF-8"),
    "canaries that are a folder": (is_folder("canaries.parquet"), PROBE + " --canaries canaries.parquet", "There is no file of canaries"),
    "sequences cut short": (cut("sequences.parquet"), "patients --sequences sequences.parquet --model model", "sequences.parquet cannot be read"),
    "sequences that are not UTF-8": (holds("sequences.jsonl", b"\xff"), "patients --sequences sequences.jsonl --model model", "sequences.jsonl, line 1 cannot be read"),
    "patients that are not UTF-8": (holds("people.txt", b"\xff\xfe"), PROBE, "not text in UTF-8"),
    "a results folder that is cut short": (cut("results/results.json"), "audit-report results --out x.html", "holds no audit"),
    "a finding that is cut short": (cut("results/findings/membership/figures.parquet"), "audit-report results --out x.html", "was changed since"),
    "a finding without its tables": (gone("results/findings/membership/figures.parquet"), "export results --out new", "figures.parquet is missing"),
    "a comparison with what is no audit": (gone("results/results.json"), "compare results meds --out x.html", "holds no audit"),
    "the results are a file": (is_file("results"), AUDIT.replace("new", "results"), "'results' is a file. Name a folder"),
    "a report cut short": (cut("report.json"), LETTER, "report.json"),
    "the page is a folder": (is_folder("x.html"), "audit-report results --out x.html", "x.html"),
    "the page lies below a file": (is_file("y"), "audit-report results --out y/x.html", "folder"),
    "the draft lies below a file": (is_file("y"), "attributes --data meds --write y/x.yaml", "There is no folder 'y'"),
    "the model lies below a file": (is_file("y"), TRAIN.replace("new", "y/m"), "cannot be written"),
    "codes of a class in a folder": (is_folder("codes.txt"), "workshop-results codes.txt", "codes.txt"),
    "a password that is a folder": (is_folder("password.txt"), "app --host 0.0.0.0 --password-file password.txt", "not a regular file|Is a directory"),
    "a key that is a folder": (is_folder("state/ehrmem/pseudonym.key"), PATIENTS, "key of the pseudonyms"),
    "a key cut short": (cut("state/ehrmem/pseudonym.key", 0.1), PATIENTS, "could be guessed"),
    "a state folder that is a file": (is_file("state"), PATIENTS, "key of the pseudonyms .* can be neither read nor made"),
    "a port that there is not": (lambda at: None, SERVE + " --port 999999", "a whole number from 1 to 65535"),
    "a cluster that is no address": (lambda at: None, AUDIT + " --cluster 10.0.0.1", "--cluster must be the address of a Dask scheduler"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_users_fault_is_said_in_one_sentence(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fault, command, words = FAULTS[name]
    fault(here)
    code = run(command)
    said = capsys.readouterr().err.strip().rpartition("\n")[2].rpartition("\r")[2]
    assert code in (2, 3) and (code == 2 or "cut short" in name or "tables" in name), (code, said)
    assert said.startswith("ehrmem") and "Traceback" not in said and len(said) < 900
    assert re.search(words, said), said


def run(command: str) -> int:
    with patch.dict(os.environ):  # a command may say in it what its kernels are to open
        try:
            return cli.main(command.split())
        except SystemExit as end:
            return int(end.code or 0)


@contextmanager
def taken() -> Iterator[int]:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        yield one.getsockname()[1]


@pytest.mark.parametrize(
    "command", [SERVE, "explore --data meds --model model --no-browser", "app --data meds --model model --no-browser"]
)
def test_a_port_that_is_taken(command: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with taken() as port:
        assert run(f"{command} --port {port}") == 2
    assert str(port) in capsys.readouterr().err


def test_a_home_that_cannot_be_written(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    is_file("home")(here)
    for name in home(here):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(here / "home"))
    assert run(PATIENTS) == 2
    assert (
        "can be neither read nor made: Not a directory. Name a file of your own in EHRMEM_PSEUDONYM_KEY"
        in capsys.readouterr().err
    )


@contextmanager
def full_disk(most: int) -> Iterator[None]:
    """No file can grow larger, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("command", "most"),
    [("audit-report results --out x.html", 10_000), ("export results --out new", 10_000), (PROBE, 1_000)],
)
def test_a_full_disk_can_be_gone_on_from(
    command: str, most: int, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with full_disk(most):
        assert run(command) == 3
    assert "could not be written: File too large" in capsys.readouterr().err and not [*here.rglob("*.part")]
    assert run(command) == 0


@pytest.mark.parametrize("command", [PATIENTS, AUDIT, TRAIN])
@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0,
    reason="root may read and write everywhere: what is forbidden cannot be tried",
)
def test_a_forbidden_place(command: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = here / SHARD if command == PATIENTS else here
    before = place.stat().st_mode
    place.chmod(0o000 if place.is_file() else 0o500)
    try:
        assert run(command) == 2
    finally:
        place.chmod(before)
    assert "Permission denied" in capsys.readouterr().err
