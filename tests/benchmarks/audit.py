"""An audit (all tests, 120 people and the planted canaries, 5 knowledge levels): two workers against one, a core each, and a Dask cluster against plain workers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from ehrmem_widgets.audit.plan import example
from tests.benchmarks.lines import Lines

PEOPLE = 120


def main(lines: Lines) -> None:
    """Print the lines; every way must have found the same, byte for byte."""
    from dask.distributed import LocalCluster

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = {**yaml.safe_load(example()), "patients": PEOPLE, "holders": 0}
        (folder / "plan.yaml").write_text(yaml.safe_dump(plan))
        core = {min(os.sched_getaffinity(0))}
        seen = estimated(folder)
        one = audit(folder, "one", cores=core)
        free = audit(folder, "free")
        two = audit(folder, "two", "--workers", "2")
        with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1") as cluster:
            dask = audit(folder, "dask", "--cluster", cluster.scheduler_address)
        found = [
            {f"{path.parent.name}/{path.name}": path.read_bytes() for path in (folder / out / "findings").glob("*/*")}
            for out in ("one", "free", "two", "dask")
        ]
        assert all(one_ == found[0] and len(one_) >= 50 for one_ in found)
    for figure, value, goal in (
        (f"audit_of_{PEOPLE}_two_workers_minutes", two / 60, "<= 8"),  # as 20 for 400, the 70 canaries besides
        (f"audit_of_{PEOPLE}_estimate_off_by_a_factor_of", max(seen / free, free / seen), "<= 1.5"),
        ("audit_one_worker_on_one_core_over_two_workers", one / two, ">= 1.6"),
        ("audit_one_worker_on_both_cores_over_two_workers", free / two, ">= 1"),
        ("audit_dask_cluster_of_two_over_two_workers", dask / two, "<= 1.25"),
    ):
        lines.add(figure, value, "one run", PEOPLE, goal)


def estimated(folder: Path) -> float:
    """How many seconds ``ehrmem audit --estimate`` foresees for one worker."""
    seconds = "from ehrmem_widgets.audit import foreseen, plan, run; run.one_thread_each(); asked = plan.read_plan(sys.argv[1])\n"
    seconds += "print([one.seconds for one in foreseen.foresee(asked, run.open_plan(asked))][-1])"
    command = [sys.executable, "-c", f"import sys; {seconds}", str(folder / "plan.yaml")]
    cache = {"XDG_CACHE_HOME": str(folder / "cache_estimate")}
    return float(subprocess.run(command, check=True, capture_output=True, env={**os.environ, **cache}).stdout)


def audit(folder: Path, out: str, *more: str, cores: set[int] | None = None) -> float:
    """Seconds of one audit, in a process of its own. ``cores``: those it may use (all)."""
    words: Sequence[str] = ("audit", str(folder / "plan.yaml"), "--out", str(folder / out), *more)
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "ehrmem_widgets.cli", *words], check=True, stdout=subprocess.DEVNULL,
        preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
        env={**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder / f"cache_{out}")},
    )  # fmt: skip
    seconds = time.perf_counter() - began
    print(f"{out}: {seconds:.0f} s", file=sys.stderr, flush=True)
    return seconds


if __name__ == "__main__":
    told = Lines()
    main(told)
    told.finish()
