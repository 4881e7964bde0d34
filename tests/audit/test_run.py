"""An audit survives what happens overnight: it is killed, its disk fills, its data change, another one starts."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import filelock
import psutil
import pyarrow.parquet as pq
import pytest

from ehrmem_widgets.audit import run
from ehrmem_widgets.audit.plan import read_plan
from ehrmem_widgets.audit.run import run_audit
from ehrmem_widgets.blackbox import opening
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cli import main
from ehrmem_widgets.errors import BadInput, CannotAnswer, Unavailable
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.batching import Checkpoint, Progress
from tests.audit.small import findings, write_plan


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A plan, and the results of an audit that nothing disturbed."""
    folder = tmp_path_factory.mktemp("audit")
    plan = write_plan(folder)
    assert main(["audit", str(plan), "--out", str(folder / "whole")]) == 0
    return plan, folder / "whole"


def test_the_results_say_what_was_asked_and_how(undisturbed: tuple[Path, Path]) -> None:
    plan, out = undisturbed
    results = json.loads((out / "results.json").read_text())
    assert results["finished"] and results["plan_hash"] == read_plan(plan).hash
    assert [one["state"] for one in results["runs"]] == ["done"] * 3
    assert results["people"] == {"member": 7, "non-member": 7}
    assert results["command"] == f"ehrmem audit {plan} --out {out}"
    assert set(results["pace"]) == {"sample", "scores", "embeddings"}
    assert all(
        0 < one["seconds"]["low"] <= one["seconds"]["high"] and one["seconds"]["n"] == 6
        for one in results["pace"].values()
    )
    assert Finding.load(out / "findings" / "membership").probe == "membership"
    assert all(path.stat().st_mode & 0o077 == 0 for path in out.rglob("*.parquet"))
    shard = next((out / "shards").glob("membership-*/*.parquet"))
    assert pq.read_table(shard).column_names == ["patient", "answer"]
    everything = (out / "results.json").read_text() + (out / "plan.json").read_text() + (out / "audit.json").read_text()
    assert "P-" not in everything


@pytest.mark.slow
def test_where_a_worker_dies_the_others_go_on(undisturbed: tuple[Path, Path], tmp_path: Path) -> None:
    plan, out = undisturbed
    killed: list[psutil.Process] = []
    told: list[str] = []

    def kill_one(progress: Progress) -> None:
        told.append(progress.what)
        if progress.what == "Asking, 2 workers" and not killed:
            killed.append(next(c for c in psutil.Process().children() if "spawn_main" in " ".join(c.cmdline())))
            killed[0].kill()

    found = run_audit(read_plan(plan), tmp_path / "out", workers=2, progress=kill_one)
    assert killed and "Asking, 1 worker" in told and found["workers_lost"] == 1
    assert findings(tmp_path / "out") == findings(out)


@pytest.mark.slow
def test_where_all_workers_die_the_audit_stops_in_words_and_is_taken_up_again(
    undisturbed: tuple[Path, Path], tmp_path: Path
) -> None:
    plan, out = undisturbed

    def kill_all(progress: Progress) -> None:
        if progress.what.startswith("Asking"):
            for child in psutil.Process().children():
                if "spawn_main" in " ".join(child.cmdline()):
                    child.kill()

    with pytest.raises(
        Unavailable, match=r"The last worker died, perhaps because the memory was full.*What was done is kept"
    ):
        run_audit(read_plan(plan), tmp_path / "out", workers=2, progress=kill_all)
    assert not json.loads((tmp_path / "out" / "results.json").read_text())["finished"]
    run_audit(read_plan(plan), tmp_path / "out")
    assert findings(tmp_path / "out") == findings(out)


@pytest.mark.slow
def test_a_dask_worker_that_dies_is_started_again_by_dask(undisturbed: tuple[Path, Path], tmp_path: Path) -> None:
    from dask.distributed import LocalCluster

    plan, out = undisturbed
    killed: list[psutil.Process] = []

    def kill_one(progress: Progress) -> None:
        if progress.what.startswith("Asking") and not killed:
            killed.append(next(c for c in psutil.Process().children() if "spawn_main" in " ".join(c.cmdline())))
            killed[0].kill()

    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None, host="127.0.0.1", local_directory=str(tmp_path)
    ) as cluster:
        found = run_audit(read_plan(plan), tmp_path / "out", cluster=cluster.scheduler_address, progress=kill_one)
    assert killed and not killed[0].is_running() and found["finished"]
    assert findings(tmp_path / "out") == findings(out)


def test_an_audit_does_not_go_on_in_another_number_format(
    undisturbed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, out = undisturbed
    assert json.loads((out / "audit.json").read_text())["number_formats"] is None
    monkeypatch.setattr(FolderModel, "number_format", "bfloat16")
    with pytest.raises(BadInput, match=r"the number format of the continuations \(EHRMEM_PRECISION"):
        run_audit(read_plan(plan), out)


def test_a_worker_that_sees_other_data_or_no_data_under_the_same_name_is_refused(
    undisturbed: tuple[Path, Path], tmp_path: Path
) -> None:
    plan, out = undisturbed
    sealed = tmp_path / "sealed"
    sealed.mkdir()
    seal = json.loads((out / "audit.json").read_text())
    (sealed / "audit.json").write_text(json.dumps(seal | {"data": "other"}))
    with pytest.raises(run.WorkerError, match=r"A worker sees another data set under the same name"):
        run.ask_stripe(read_plan(plan), str(sealed), "membership", 0, 1)
    with pytest.raises(run.WorkerError, match=r"A worker cannot open what the plan names"):
        run.ask_stripe(read_plan(plan), str(tmp_path / "nowhere"), "membership", 0, 1)


KILLED = """
import json, os, random, signal, sys, time
from pathlib import Path
from ehrmem_widgets.audit.plan import read_plan
from ehrmem_widgets.audit.run import run_audit
import ehrmem_widgets.blackbox.folder, ehrmem_widgets.probes.attribute.ask, ehrmem_widgets.probes.membership.ask, transformers
import ehrmem_widgets.probes.confounding.ask
plan, out, longest = read_plan(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
random.seed(5)
killed = 0
while killed < 10:
    child = os.fork()
    if child == 0:
        run_audit(plan, out)
        os._exit(0)
    end = time.monotonic() + random.uniform(0.2, longest)
    while time.monotonic() < end and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.01)
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        killed += 1
    except (ProcessLookupError, ChildProcessError):  # it was through: begin anew, so that ten are killed in all
        import shutil
        shutil.rmtree(out)
run_audit(plan, out)
print(killed)
"""


@pytest.mark.slow
def test_an_audit_killed_at_ten_random_moments_ends_byte_for_byte_the_same(
    undisturbed: tuple[Path, Path], tmp_path: Path
) -> None:
    plan, out = undisturbed
    (tmp_path / "killed.py").write_text(KILLED)
    root = Path(run.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, str(tmp_path / "killed.py"), str(plan), str(tmp_path / "out"), "3"],
        capture_output=True, text=True, timeout=400, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.stdout.strip().endswith("10"), done.stderr[-2000:]
    assert findings(tmp_path / "out") == findings(out)


def test_a_kept_answer_is_not_asked_again(
    undisturbed: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, out = undisturbed
    again = tmp_path / "again"
    shutil.copytree(out, again)
    for path in (again / "findings").glob("m*"):
        shutil.rmtree(path)
    put: list[int] = []
    real = Checkpoint.put
    monkeypatch.setattr(
        Checkpoint, "put", lambda self, key, place, rows: (put.append(place), real(self, key, place, rows))
    )
    run_audit(read_plan(plan), again)
    assert put == [] and findings(again) == findings(out)
    next((again / "shards").glob("membership-*/*.parquet")).unlink()
    shutil.rmtree(again / "findings" / "membership")
    run_audit(read_plan(plan), again)
    assert len(put) == 1 and findings(again) == findings(out)


def test_a_folder_of_another_plan_or_other_data_is_refused(
    undisturbed: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out = undisturbed
    folder = tmp_path / "other"
    folder.mkdir()
    plan = write_plan(folder, more="seed: 7\n")
    (tmp_path / "unsealed" / "findings" / "membership").mkdir(parents=True)
    with monkeypatch.context() as nothing:  # is opened for this, which may take minutes
        nothing.setattr(opening, "open_unchecked", lambda sources: pytest.fail("opened"))
        with pytest.raises(BadInput, match=r"holds the results of another audit: the plan changed since"):
            run_audit(read_plan(plan), out)
        with pytest.raises(BadInput, match=r"holds results without a seal"):
            run_audit(read_plan(plan), tmp_path / "unsealed")
    plan = write_plan(folder)
    table = pq.read_table(next((folder / "data" / "data").glob("*.parquet")))
    pq.write_table(table.slice(0, table.num_rows - 1), next((folder / "data" / "data").glob("*.parquet")))
    monkeypatch.setattr(opening, "check_opened", lambda *_: pytest.fail("asked the models"))
    with pytest.raises(BadInput, match=r"another audit: the data set changed since"):
        run_audit(read_plan(plan), out)
    with pytest.raises(BadInput, match=r"is a file. Name a folder"):
        run_audit(read_plan(plan), plan)


def test_two_audits_do_not_write_into_one_folder(undisturbed: tuple[Path, Path], tmp_path: Path) -> None:
    plan, _ = undisturbed
    (tmp_path / "out").mkdir()
    with (
        filelock.FileLock(tmp_path / "out" / ".lock"),
        pytest.raises(BadInput, match=r"Another audit is writing into"),
    ):
        run_audit(read_plan(plan), tmp_path / "out")


def test_a_probe_that_the_model_cannot_answer_is_reported_as_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise CannotAnswer("this endpoint gives no probabilities")

    monkeypatch.setattr("ehrmem_widgets.probes.membership.ask.Membership.ask", refuse)
    found = run_audit(read_plan(write_plan(tmp_path, probes="[membership]")), tmp_path / "out")
    state = {one["probe"]: (one["state"], one["reason"]) for one in found["runs"]}
    assert state["membership"] == ("not run", "this endpoint gives no probabilities") and found["finished"]
    assert not (tmp_path / "out" / "findings" / "membership").exists()


def test_without_the_confounding_check_no_comparison_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise CannotAnswer("there is nothing to compare")

    monkeypatch.setattr("ehrmem_widgets.probes.confounding.ask.Confounding.judge", refuse)
    found = run_audit(read_plan(write_plan(tmp_path, probes="[membership]")), tmp_path / "out")
    reasons = {one["probe"]: one["reason"] for one in found["runs"] if one["state"] == "not run"}
    assert reasons["confounding"] == "there is nothing to compare"
    assert reasons["membership"] == "Confounding, on which this rests, could not be run."


def test_no_scheduler_answers(undisturbed: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, _ = undisturbed
    monkeypatch.setattr("ehrmem_widgets.audit.cluster._TIMEOUT", "1s")
    with pytest.raises(Unavailable, match=r"No Dask scheduler answers at 'tcp://127.0.0.1:1'"):
        run_audit(read_plan(plan), tmp_path / "out", cluster="tcp://127.0.0.1:1")


def test_a_scheduler_without_workers_is_refused(undisturbed: tuple[Path, Path], tmp_path: Path) -> None:
    from dask.distributed import LocalCluster

    plan, _ = undisturbed
    with (
        LocalCluster(n_workers=0, dashboard_address=None, host="127.0.0.1", local_directory=str(tmp_path)) as cluster,
        pytest.raises(BadInput, match=r"has no workers yet. Start some: dask worker tcp://127.0.0.1"),
    ):
        run_audit(read_plan(plan), tmp_path / "out", cluster=cluster.scheduler_address)


def test_the_commands_write_the_report_and_a_comparison(
    undisturbed: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = undisturbed
    assert main(["audit-report", str(out), "--out", str(tmp_path / "report.html")]) == 0
    assert (
        main(["compare", str(out), str(out), "--names", "before", "after", "--out", str(tmp_path / "both.html")]) == 0
    )
    pages = [(tmp_path / name).read_text() for name in ("report.html", "both.html")]
    assert "Threat model" in pages[0] and "before" in pages[1] and not any("P-" in page for page in pages)
    assert main(["audit-report", str(tmp_path), "--out", str(tmp_path / "no.html")]) == 2
    assert main(["audit-report", str(out), "--out", str(tmp_path / "no.txt")]) == 2
    assert not (tmp_path / "no.html").exists() and "name it like report.html" in capsys.readouterr().err
    assert main(["audit", "--out", str(tmp_path / "x")]) == 2


FREED = """
import resource, sys
import numpy as np
from ehrmem_widgets.audit.run import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(300):
    np.ones(2**18)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="memory is handed back as elsewhere than with glibc")
def test_a_worker_started_by_dask_keeps_freed_memory() -> None:
    def faults(what: str) -> int:
        as_dask = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536"}
        done = subprocess.run(
            [sys.executable, "-c", FREED, what], capture_output=True, text=True, check=True, env=as_dask
        )
        return int(done.stdout)

    assert faults("given back") > 100_000 > 10_000 > faults("kept")


def test_numpy_takes_one_thread_though_it_was_loaded_before() -> None:
    code = """
import numpy
from threadpoolctl import threadpool_info
from ehrmem_widgets.audit.run import one_thread_each
threads = lambda: {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}
before = threads()
one_thread_each()
print(before, threads())
"""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "OPENBLAS_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "{2} {1}\n"
