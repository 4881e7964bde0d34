"""An audit that cannot go on never looks finished: exit code 3, in words, and the same command ends with the same findings."""

from __future__ import annotations

import errno
import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from ehrmem_widgets.audit import run
from ehrmem_widgets.audit.plan import read_plan
from ehrmem_widgets.audit.run import run_audit
from ehrmem_widgets.cli import main
from ehrmem_widgets.errors import BadInput, Damaged, Unavailable
from ehrmem_widgets.probes.batching import Checkpoint, Progress
from ehrmem_widgets.samples.folders import sample_model
from tests.audit.small import findings, write_plan

ROOT = Path(run.__file__).parents[2]


def audit(plan: Path, out: Path, *more: str) -> int:
    return main(["audit", str(plan), "--out", str(out), *more])


def finished(out: Path) -> bool:
    return bool(json.loads((out / "results.json").read_text())["finished"])


def states(out: Path) -> dict[str, str]:
    return {one["probe"]: one["state"] for one in json.loads((out / "results.json").read_text())["runs"]}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A plan, and the results of an audit that nothing disturbed."""
    folder = tmp_path_factory.mktemp("audit")
    plan = write_plan(folder, probes="[membership]")
    assert audit(plan, folder / "whole") == 0
    return plan, folder / "whole"


@pytest.fixture
def asked_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As often as always, without the waits: they are tests/blackbox/test_endpoint.py's."""
    monkeypatch.setattr("ehrmem_widgets.blackbox.transport.Server._pause", lambda *_: 0.0)


# The server goes away ---------------------------------------------------------------------------------------------------


class Served:
    """A real ``ehrmem serve``, killed and started again at the same address."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        command = ["-m", "ehrmem_widgets.cli", "serve", "--model", str(sample_model()), "--port", str(self.port)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := re.match(r"\s+token\s+(\S+)", line):
                monkeypatch.setenv("EHRMEM_ENDPOINT_TOKEN", found[1])
                return
        raise AssertionError("the server did not start")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    one = Served(port)
    yield one
    one.kill()


@pytest.mark.slow
@pytest.mark.usefixtures("asked_again_at_once")
def test_a_server_killed_in_the_middle_ends_the_audit_and_the_same_command_goes_on(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served.start(monkeypatch)
    plan = write_plan(tmp_path, probes="[membership]", patients=80, more=f"endpoint: {served.address}\n")
    assert audit(plan, tmp_path / "whole") == 0

    real = Checkpoint.put
    kept: list[str] = []

    def put(self: Checkpoint, key: str, place: int, rows: Any) -> None:
        real(self, key, place, rows)
        kept.append(key)
        served.kill()

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "put", put)
        assert audit(plan, tmp_path / "out") == 3
    said = capsys.readouterr().err
    assert f"No server answers at {served.address}" in said and "the same command goes on from there" in said
    assert kept and not finished(tmp_path / "out") and states(tmp_path / "out")["membership"] == "pending"
    served.start(monkeypatch)
    assert audit(plan, tmp_path / "out") == 0
    assert finished(tmp_path / "out") and findings(tmp_path / "out") == findings(tmp_path / "whole")


@pytest.mark.slow
def test_workers_whose_server_is_gone_say_so_and_are_not_taken_for_dead(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.start(monkeypatch)
    plan = write_plan(tmp_path, probes="[membership]", more=f"endpoint: {served.address}\n")

    def kill(progress: Progress) -> None:
        assert not progress.what.startswith("Asking")
        served.kill()  # while confounding is checked here, before the workers are started

    with pytest.raises(Unavailable, match="the same command goes on from there"):
        run_audit(read_plan(plan), tmp_path / "out", workers=2, progress=kill)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert not results["finished"] and results["workers_lost"] == 0
    assert not [c for c in psutil.Process().children() if "spawn_main" in " ".join(c.cmdline())]


def go_away(words: str) -> None:
    """What a worker does whose server is gone."""
    raise Unavailable(words)


@pytest.mark.parametrize("where", ["a process", "Dask"])
def test_what_goes_away_in_a_worker_comes_home_as_such(where: str, tmp_path: Path) -> None:
    from dask.distributed import LocalCluster

    def outcome(cluster: str | None) -> None:
        with run._pool(1, cluster) as pool:
            future = pool.submit(go_away, "Gone.")
            assert pool.next_done({future}) == {future}
            with pytest.raises(Unavailable, match=r"^Gone\.$"):
                future.result()

    if where == "a process":
        return outcome(None)
    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, host="127.0.0.1", local_directory=str(tmp_path)
    ) as cluster:
        outcome(cluster.scheduler_address)


# The disk is full -------------------------------------------------------------------------------------------------------


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("where", ["shards", "findings", "results.json"])
def test_a_full_disk_ends_the_audit_and_the_same_command_goes_on(
    where: str,
    undisturbed: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan, out = undisturbed
    here = tmp_path / "out"

    def full_there(descriptor: int) -> None:
        if where in os.readlink(f"/proc/self/fd/{descriptor}"):
            full()

    with monkeypatch.context() as patch:
        like_os = {name: value for name, value in vars(os).items() if name != "fsync"}
        patch.setattr("ehrmem_widgets.files.os", SimpleNamespace(**like_os, fsync=full_there))
        assert audit(plan, here) == 3
    said = capsys.readouterr().err
    assert "could not be written: No space left on device" in said and "the same command goes on from there" in said
    assert not (here / "results.json").exists() or not finished(here)
    assert not [path for path in here.rglob(".*") if path.name != ".lock"]  # nothing half-written is left
    assert audit(plan, here) == 0
    assert finished(here) and findings(here) == findings(out)


def test_a_probe_alone_stops_at_a_full_disk_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_plan(tmp_path)
    sources = ["--data", str(tmp_path / "data"), "--model", str(sample_model())]
    patients = tmp_path / "who.txt"
    from ehrmem_widgets.cohort.dataset import MedsDataset

    dataset = MedsDataset(tmp_path / "data")
    ids = dataset.ids("train") + dataset.ids("held_out")  # two batches
    patients.write_text("\n".join(map(dataset.pseudonym, ids)))

    def probe(name: str) -> int:
        return main(["probe", "membership", *sources, "--patients", str(patients), "--out", str(tmp_path / name)])

    assert probe("whole") == 0
    written: list[Any] = []
    real = pq.write_table

    def full_at_the_second(table: Any, file: Any, **more: Any) -> None:
        written.append(table)
        if len(written) == 2:
            full()
        real(table, file, **more)

    with monkeypatch.context() as patch:
        patch.setattr("ehrmem_widgets.probes.batching.pq.write_table", full_at_the_second)
        assert probe("found") == 3
    said = capsys.readouterr().err
    assert "No space left on device" in said and "the same command goes on from there" in said
    assert not (tmp_path / "found").exists()
    kept = tmp_path / "found.unfinished"
    done = list(kept.glob("*/*.parquet"))
    assert len(done) == 1
    damaged = done[0].read_bytes()
    done[0].write_bytes(b"spoiled")
    assert probe("found") == 3 and "is damaged" in capsys.readouterr().err
    done[0].write_bytes(damaged)
    assert probe("found") == 0 and not kept.exists()
    assert filecmp.cmpfiles(tmp_path / "found", tmp_path / "whole", FILES, shallow=False) == (FILES, [], [])


# Kept files are damaged -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", ["cut", "one bit"])
@pytest.mark.parametrize("what", ["shards", "findings"])
def test_a_damaged_file_is_named_and_once_removed_the_audit_ends_as_it_would_have(
    what: str, damage: str, undisturbed: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, out = undisturbed
    here = tmp_path / "out"
    shutil.copytree(out, here)
    shutil.rmtree(here / "findings" / "membership")
    if what == "findings":
        named = here / "findings" / "confounding"
        broken = named / "figures.parquet"
    else:
        named = broken = next((here / "shards").glob("membership-*/*.parquet"))
    content = bytearray(broken.read_bytes())
    if damage == "cut":
        content = content[:100]
    else:
        column = pq.read_metadata(broken).row_group(0).column(0)
        content[column.data_page_offset + column.total_compressed_size - 3] ^= (
            4  # in its data: only the checksum can tell
        )
    broken.write_bytes(content)
    assert audit(plan, here) == 3
    said = capsys.readouterr().err
    assert f"{named} is damaged" in said and "Remove it and give the same command again" in said
    assert not finished(here) and states(here)["membership"] == "pending"
    shutil.rmtree(named) if named.is_dir() else named.unlink()
    assert audit(plan, here) == 0
    assert finished(here) and findings(here) == findings(out)


def test_the_report_of_a_damaged_audit_says_what_to_remove(
    undisturbed: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = undisturbed
    shutil.copytree(out, tmp_path / "out")
    named = tmp_path / "out" / "findings" / "membership"
    broken = named / "figures.parquet"
    broken.write_bytes(broken.read_bytes()[:100])
    assert main(["audit-report", str(tmp_path / "out"), "--out", str(tmp_path / "report.html")]) == 3
    assert f"{named} is damaged" in capsys.readouterr().err and not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("name", ["curves.parquet", "excluded.parquet", "a_file_more"])
def test_a_pipe_in_place_of_a_table_is_never_waited_for(
    name: str, undisturbed: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copytree(undisturbed[1], tmp_path / "out")
    pipe = tmp_path / "out" / "findings" / "confounding" / name  # of which the page shows but the hash
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    script = "import sys; from ehrmem_widgets.audit.results import AuditResults; AuditResults(sys.argv[1]).hashes()"
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "out")], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 1 and ("is damaged" in ended.stderr or "not a regular file" in ended.stderr)


FILES = ["figures.parquet", "patients.parquet", "curves.parquet", "excluded.parquet", "finding.json"]


def test_a_damaged_seal_is_not_gone_on_with(undisturbed: tuple[Path, Path], tmp_path: Path) -> None:
    plan, out = undisturbed
    shutil.copytree(out, tmp_path / "out")
    (tmp_path / "out" / "audit.json").write_text('{"plan_hash": "')
    with pytest.raises(Damaged, match=r"The seal .*audit\.json is damaged.*Name another folder"):
        run_audit(read_plan(plan), tmp_path / "out")


# Another version, and what the seal holds ---------------------------------------------------------------------------------


def test_another_version_of_the_kit_is_refused_and_a_patch_is_not(
    undisturbed: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, out = undisturbed
    here = tmp_path / "out"
    shutil.copytree(out, here)
    seal = json.loads((here / "audit.json").read_text())

    def sealed_by(version: str | None) -> None:
        versions = {**seal["versions"], "ehrmem": version} if version else {}
        (here / "audit.json").write_text(json.dumps({**seal, "versions": versions}))

    monkeypatch.setattr(run, "__version__", "2.3.4")
    for other in ("2.4.0", "1.3.4", "23.4"):
        sealed_by(other)
        with pytest.raises(BadInput, match=rf"was sealed by ehrmem {other}, and this is ehrmem 2.3.4: .*Go on with"):
            run_audit(read_plan(plan), here)
        with pytest.raises(run.WorkerError, match=rf"A worker runs ehrmem 2.3.4, and .* by ehrmem {other}"):
            run.ask_stripe(read_plan(plan), str(here), "membership", 0, 1)
    sealed_by(None)
    with pytest.raises(BadInput, match="was sealed by ehrmem of an unknown version"):
        run_audit(read_plan(plan), here)
    sealed_by("2.3.9")
    assert run_audit(read_plan(plan), here)["finished"]


def test_sealing_and_going_on_read_all_data_anew_whatever_is_remembered(
    undisturbed: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = write_plan(tmp_path, probes="[confounding]")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shard = next((tmp_path / "data" / "data").glob("*.parquet"))
    os.utime(shard, (1, time.time() - 60))
    assert run_audit(read_plan(plan), tmp_path / "out")["finished"]
    before = shard.stat()
    with shard.open("r+b") as file:  # the same inode; the footer's length of schema text is left alone
        at = shard.read_bytes().rindex(b"pandas")
        file.seek(at)
        file.write(b"Pandas")
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (shard.stat().st_size, shard.stat().st_mtime_ns, shard.stat().st_ino) == (
        before.st_size,
        before.st_mtime_ns,
        before.st_ino,
    )
    with pytest.raises(BadInput, match="another audit: the data set changed since"):
        run_audit(read_plan(plan), tmp_path / "out")


# Exit codes -------------------------------------------------------------------------------------------------------------


def test_the_help_of_the_audit_says_what_its_exit_codes_mean(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["audit", "--help"])
    said = capsys.readouterr().out
    for code in ("0  ", "2  ", "3  ", "1  ", "130"):
        assert f"\n  {code}" in said


@pytest.mark.usefixtures("asked_again_at_once")
def test_no_server_at_all_is_exit_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = write_plan(tmp_path, probes="[membership]", more="endpoint: http://127.0.0.1:9\n")
    assert audit(plan, tmp_path / "out") == 3
    assert "No server answers at http://127.0.0.1:9" in capsys.readouterr().err
    assert not (tmp_path / "out" / "audit.json").exists()
