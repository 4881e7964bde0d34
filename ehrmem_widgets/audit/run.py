"""Run an audit: every probe of a plan over its people, by one or many workers, resumable."""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from platform import python_version
from typing import Any, Literal, TypedDict, cast

from ehrmem_widgets import __version__
from ehrmem_widgets.audit.cluster import connected
from ehrmem_widgets.audit.plan import Plan
from ehrmem_widgets.blackbox.checks import unknown_codes
from ehrmem_widgets.blackbox.pace import paces_of
from ehrmem_widgets.blackbox.protocol import BlackBox, Query
from ehrmem_widgets.blackbox.training_splits import training_splits
from ehrmem_widgets.charts.markup import plural
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.fingerprints import read_anew
from ehrmem_widgets.cores import keep_few_kernels
from ehrmem_widgets.errors import GOES_ON, BadInput, CannotAnswer, Damaged, Unavailable, not_made, resumable
from ehrmem_widgets.files import as_signed_json, read_json, write_whole
from ehrmem_widgets.findings.finding import Finding, as_json
from ehrmem_widgets.probes.base import AlternativesOf, ProbeRun, Task, loaded
from ehrmem_widgets.probes.batching import BatchesMissingError, Checkpoint, OnProgress, Progress
from ehrmem_widgets.probes.people import Named, People, about_model, name_of_model, number_formats
from ehrmem_widgets.registry import alternatives_for, probes
from ehrmem_widgets.settings import WORKERS
from ehrmem_widgets.statistics.attack_cost import Pace

SHARDS, FINDINGS, SEAL, RESULTS, SEVERITY = "shards", "findings", "audit.json", "results.json", "severity.yaml"
_STRIPES_A_WORKER = 4  # small enough that the last worker is not waited for long


What = Literal["data", "model", "reference"]
WHAT: tuple[What, ...] = ("data", "model", "reference")
"""What an audit is of."""


class ProbeState(TypedDict, total=False):
    """What became of one probe of the plan."""

    probe: str
    state: str
    reason: str
    knowledge_levels: list[str]
    of_the_model: bool
    sentences: list[str]
    exclusions: object
    seconds: float


class Results(TypedDict, total=False):
    """What ``results.json`` holds; an earlier version may have left out any of it."""

    finished: bool
    name: str
    plan: Mapping[str, Any]  # Plan.as_json
    plan_hash: str
    command: str
    started_at: str
    finished_at: str | None
    versions: dict[str, str]
    data: Named
    model: Named
    reference: Named | None
    attributes: dict[str, str]
    people: dict[str, int]
    seed: int
    identifying: bool
    workers_lost: int
    pace: dict[str, dict[str, Any]]
    runs: list[ProbeState]


class Seal(TypedDict, total=False):
    """What ``audit.json`` holds."""

    plan_hash: str
    data: str
    declared: str
    model: str
    reference: str | None
    training_splits: str
    number_formats: list[str] | None
    started_at: str
    versions: dict[str, str]


Audited = tuple[MedsDataset, BlackBox, BlackBox | None]
"""The data set, the model and the reference."""


@dataclass(frozen=True)
class Opened:
    """What a worker needs, opened once."""

    dataset: MedsDataset
    model: BlackBox
    reference: BlackBox | None
    people: People
    alternatives_of: AlternativesOf | None

    @property
    def sources(self) -> Audited:
        """What the audit is of."""
        return self.dataset, self.model, self.reference

    def task(self, plan: Plan, name: str, progress: OnProgress | None = None) -> Task:
        """What a probe of a plan is given."""
        whole = Task(
            self.dataset, self.model, self.reference, self.people, seed=plan.seed, alternatives_of=self.alternatives_of, progress=progress
        )  # fmt: skip
        return replace(whole, **plan.task(probes()[name]))


def run_audit(
    plan: Plan,
    out: str | Path,
    *,
    workers: int = 1,
    cluster: str | None = None,
    command: str = "",
    progress: OnProgress | None = None,
    before: Callable[[Opened], None] | None = None,
) -> Results:
    """Run a plan into a folder and return what its ``results.json`` holds.

    The folder is sealed with the plan's hash and the fingerprints of data and models before the first question. The same call goes
    on where an earlier one was interrupted (killed, Ctrl-C, a full disk): at most the batch in flight is lost, and the
    findings come out byte for byte the same. ``workers``: processes on this computer. ``cluster``: address of a Dask scheduler,
    whose workers see the same folders. One, many and a cluster's workers give the same numbers. ``before``: called with what the plan opens, before a new
    folder is sealed.

    A probe that this model cannot answer is noted as not run. Anything else that goes wrong ends the audit, which is then not finished.

    Raises
    ------
    BadInput
        When the folder belongs to another plan, data, model or version of the kit, and when another audit is writing into it.
    Unavailable
        When a server stops answering, the disk is full or gone, and when workers die: the same call goes on.
    Damaged
        When a kept answer or finding is broken: it says which file to remove; the same call then goes on.

    """
    import filelock

    keep_few_kernels()
    out, workers = Path(out), WORKERS.check(workers, "workers")
    if out.exists() and not out.is_dir():
        raise BadInput(f"{str(out)!r} is a file. Name a folder for the results.")
    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
        (out / FINDINGS).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise not_made(out, error) from None
    try:
        with filelock.FileLock(out / ".lock", timeout=0, mode=0o600), resumable():
            _refuse_other_plan(plan, out)  # at once: opening what the plan names may take minutes
            one_thread_each()
            audit = _Audit(plan, out, command, progress)
            if before is not None and not (out / SEAL).exists():
                before(audit.opened)
            return audit.run(workers, cluster)
    except WorkerError as error:
        raise BadInput(f"{error} {GOES_ON}") from None
    except filelock.Timeout:
        raise BadInput(f"Another audit is writing into {str(out)!r}. Wait for it, or name another folder.") from None
    except OSError as error:  # of the lock: all else is in words already
        raise Unavailable(f"Nothing can be written into {str(out)!r}: {error.strerror or error}. {GOES_ON}") from None


def one_thread_each() -> None:
    """One thread a process, so that one worker, many and a cluster's add up the same floating-point sums in the same order. NumPy's, too, which was
    loaded before the variable is set: on busy cores its threads waited for each other (T3's evaluation: 73 s, and 6 with one)."""
    os.environ["OMP_NUM_THREADS"] = "1"
    from threadpoolctl import threadpool_limits

    from ehrmem_widgets.blackbox.folder import use_threads

    use_threads(1)
    threadpool_limits(1, user_api="blas")


def keep_freed_memory() -> None:
    """Let glibc keep what was freed for what comes next, as it does by itself. Dask starts its workers with MALLOC_TRIM_THRESHOLD_,
    which gives all of it back at once: every array of a sampling step is then paged in anew, and sampling took 1.7 times as long (a small audit, two runs each)."""
    mmap_threshold, trim_threshold = -3, -1  # from malloc.h; 32 MiB and twice that is how far they grow by themselves
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_threshold, 32 << 20)
        libc.mallopt(trim_threshold, 64 << 20)


class _Audit:
    def __init__(self, plan: Plan, out: Path, command: str, progress: OnProgress | None) -> None:
        self.plan, self.out, self.command, self.progress = plan, out, command, progress
        with read_anew():
            self.opened = open_plan(plan, before=lambda about: _refuse_changed(plan, out, about))
        self.begun = datetime.now(UTC).isoformat(timespec="seconds")
        self.workers_lost = 0
        self.paces: Mapping[Query, Pace] = {}
        self.runs: dict[str, ProbeState] = {name: {"probe": name, "state": "pending"} for name in plan.probes}

    def run(self, workers: int, cluster: str | None) -> Results:
        self._seal()
        self._write(finished=False)
        for level in in_order(self.plan.probes):
            waiting = [name for name in level if _run_of(name).asks and not self._found(name)]
            if waiting and (workers > 1 or cluster):
                self._prepare(waiting)
                self._ask_by_many(waiting, workers, cluster)
            for name in level:
                self._finish(name)
        with suppress(BadInput, CannotAnswer):
            self.paces = paces_of(self.opened.model, self.opened.people.records)
        return self._write(finished=True)

    def _finish(self, name: str) -> None:
        """One probe's finding: kept, or made from its shards, asking for what is missing."""
        began = time.monotonic()
        path = self.out / FINDINGS / name
        state: ProbeState = {
            "probe": name,
            "state": "done",
            "reason": "",
            "knowledge_levels": [],
        }
        found = self._found(name)
        if found is None:
            checkpoint = Checkpoint(self.out / SHARDS)
            try:
                state["knowledge_levels"] = list(self.plan.task(probes()[name])["knowledge_levels"])
                found = ask(self.plan, self.opened, name, checkpoint, self.out, progress=self.progress)
                found.save(path)
            except (BadInput, CannotAnswer) as error:
                state |= {"state": "not run", "reason": str(error), "of_the_model": isinstance(error, CannotAnswer)}
        if found is not None:
            state["knowledge_levels"] = list(self.plan.task(probes()[name])["knowledge_levels"])
            state |= {"sentences": list(found.sentences), "exclusions": found.exclusions}
        self.runs[name] = state | {"seconds": round(time.monotonic() - began, 1)}
        self._write(finished=False)

    def _found(self, name: str) -> Finding | None:
        path = self.out / FINDINGS / name
        return _kept_finding(path) if path.exists() else None

    def _prepare(self, names: Sequence[str]) -> None:
        """What is done once for all workers."""
        for name in names:
            with suppress(BadInput, CannotAnswer):  # said again when the finding is made
                _run_of(name).prepare(self.opened.task(self.plan, name, self.progress))

    def _ask_by_many(self, probes: Sequence[str], workers: int, cluster: str | None) -> None:
        """Let workers ask. Where one dies, its batch in flight is lost; half as many go on with what is left."""
        began = time.monotonic()
        left: deque[tuple[str, int, int]] | None = None
        while left is None or left:
            with _pool(workers, cluster) as pool:
                if left is None:
                    stripes = _STRIPES_A_WORKER * pool.size()
                    left = deque((name, stripe, stripes) for name in probes for stripe in range(stripes))
                    n = len(left)
                asked: dict[Future[None], tuple[str, int, int]] = {}
                try:
                    while left or asked:
                        size = pool.size()
                        while left and len(asked) < size:  # no more than that: Dask would deal them out beforehand
                            task = left.popleft()
                            asked[pool.submit(ask_stripe, self.plan, str(self.out.resolve()), *task)] = task
                        for future in pool.next_done(set(asked)):
                            with suppress(
                                BadInput, CannotAnswer
                            ):  # said again, with its probe's name, when the finding is made
                                future.result()
                            asked.pop(future)
                        if self.progress:
                            missing = len(left) + len(asked)
                            pace = (time.monotonic() - began) / (n - missing) if n > missing else None
                            words = f"Asking, {plural(size, 'worker')}"
                            self.progress(Progress(words, n - missing, n, None if pace is None else pace * missing))
                except pool.lost as error:
                    self.workers_lost += 1
                    if workers == 1 or cluster:
                        who = "A worker of the cluster died again and again" if cluster else "The last worker died"
                        raise Unavailable(
                            f"{who}, perhaps because the memory was full ({type(error).__name__}). {GOES_ON}"
                        ) from None
                    workers //= 2
                    left.extendleft(asked.values())

    def _seal(self) -> None:
        """Seal a new folder."""
        path = self.out / SEAL
        if path.exists():
            self.begun = _read_seal(path).get("started_at", self.begun)
            return
        _write_whole(self.out / "plan.json", self.plan.as_json())
        first = {"by": "plan", "at": self.begun, "severities": self.plan.as_json()["severities"]}
        write_severities(self.out, [first])
        _write_whole(
            path, {**_sealed(self.plan, self.opened.sources), "started_at": self.begun, "versions": versions()}
        )

    def _write(self, *, finished: bool) -> Results:
        about = self.opened
        unknown = unknown_codes(about.model.vocabulary, about.dataset)
        results: Results = {
            "finished": finished,
            "name": self.plan.name,
            "plan": self.plan.as_json(),
            "plan_hash": self.plan.hash,
            "command": self.command,
            "started_at": self.begun,
            "finished_at": datetime.now(UTC).isoformat(timespec="seconds") if finished else None,
            "versions": versions(),
            "data": {
                "name": about.dataset.name,
                "fingerprint": about.dataset.fingerprint,
                "patients": len(about.dataset),
                "synthetic": about.dataset.declared_synthetic,
                "unknown_codes": {"codes": len(unknown.codes), "of": unknown.of, "share": round(unknown.share, 4)},
            },
            "model": about_model(about.model),
            "reference": name_of_model(about.reference) if about.reference else None,
            "attributes": {name: one.title for name, one in about.dataset.attributes.items()},
            "people": about.people.counts(),
            "seed": self.plan.seed,
            "identifying": self.plan.identifying,
            "workers_lost": self.workers_lost,
            "pace": {str(kind): asdict(one) for kind, one in self.paces.items()},
            "runs": list(self.runs.values()),
        }
        _write_text(self.out / RESULTS, as_signed_json(cast("dict[str, object]", as_json(results)), indent=1))
        return results


class WorkerError(Exception):
    """A worker cannot do its part; the words are for the user."""


def ask_stripe(plan: Plan, out: str, name: str, stripe: int, stripes: int) -> None:
    """What a worker does: ask for every so-many-th batch of one probe.

    Raises WorkerError where the worker does not see the same results folder, data and models.
    """
    one_thread_each()
    keep_freed_memory()
    try:
        sealed = _read_seal(Path(out) / SEAL)
        if other := _other_version(sealed):
            raise WorkerError(f"A worker runs ehrmem {__version__}, and the audit was sealed by ehrmem {other}.")
        about = opened(plan)
        if _changed(sealed, plan, about.sources):  # since this worker opened it for an earlier audit, perhaps
            _kept.clear()
            about = opened(plan)
    except (BadInput, CannotAnswer, Damaged, OSError) as error:
        raise WorkerError(f"A worker cannot open what the plan names: {error}") from None
    if changed := _changed(sealed, plan, about.sources):
        raise WorkerError(f"A worker sees another {' and another '.join(changed)} under the same name.")
    checkpoint = Checkpoint(Path(out) / SHARDS, stripe, stripes, asks_only=True)
    with suppress(BatchesMissingError):
        ask(plan, about, name, checkpoint, Path(out))


def _refuse_other_plan(plan: Plan, out: Path) -> None:
    """Raise BadInput for a folder of another plan or version of the kit, or of results of unknown origin."""
    path = out / SEAL
    if not path.exists():
        if (out / SHARDS).exists() or any((out / FINDINGS).iterdir()):
            raise BadInput(f"{str(out)!r} holds results without a seal (audit.json). Name another folder.")
        return
    before = _read_seal(path)
    if other := _other_version(before):
        raise BadInput(
            f"{str(out)!r} was sealed by ehrmem {other}, and this is ehrmem {__version__}: two versions may count differently, so "
            f"their figures must not stand in one audit. Go on with ehrmem {other}, or name another folder."
        )
    if before.get("plan_hash") != plan.hash:
        raise _another_audit(out, ["plan"])


def _refuse_changed(plan: Plan, out: Path, about: Audited) -> None:
    """Raise BadInput where data or models are not those that the folder was sealed with."""
    path = out / SEAL
    if path.exists() and (changed := _changed(_read_seal(path), plan, about)):
        raise _another_audit(out, changed)


def _another_audit(out: Path, changed: Sequence[str]) -> BadInput:
    return BadInput(
        f"{str(out)!r} holds the results of another audit: the {' and the '.join(changed)} changed since. Name another "
        "folder, or go back to what was sealed."
    )


def _read_seal(path: Path) -> Seal:
    """Raises Damaged for a seal that is none: nothing then says whose the answers are."""
    try:
        seal = read_json(path, path.name)
        if not isinstance(seal, dict) or not isinstance(seal.get("versions", {}), dict):
            raise BadInput("It is no seal.")
        return cast("Seal", seal)
    except BadInput:
        raise Damaged(
            f"The seal {path} is damaged, so nothing says of which plan, data and models the results are. Name another folder."
        ) from None


def _other_version(sealed: Seal) -> str | None:
    """The version of the kit that sealed an audit where this one must not go on with it: another one in more than the last number."""
    before = str((sealed.get("versions") or {}).get("ehrmem") or "of an unknown version")
    return None if before.split(".")[:2] == __version__.split(".")[:2] else before


def _kept_finding(path: Path) -> Finding:
    """A finding of this audit. Raises Damaged for a file that something else has spoiled: it is named, so that it can be removed."""
    try:
        return Finding.load(path)
    except BadInput as error:
        raise Damaged(
            f"{path} is damaged ({error}). Remove it and give the same command again: it is rebuilt from the kept answers."
        ) from None


def _sealed(plan: Plan, about: Audited) -> Seal:
    """What an audit is sealed with."""
    dataset, model, reference = about
    return {
        "plan_hash": plan.hash,
        "data": dataset.fingerprint,
        "declared": dataset.declared,
        "model": model.fingerprint,
        "reference": reference.fingerprint if reference else None,
        "training_splits": training_splits(model, reference),
        "number_formats": number_formats(model, reference),
    }


def _changed(sealed: Seal, plan: Plan, about: Audited) -> list[str]:
    """What is not what was sealed, in words."""
    words = {
        "plan_hash": "plan",
        "data": "data set",
        "declared": "attribute file or the canaries",
        "model": "model",
        "reference": "reference model",
        "training_splits": "training split",
        "number_formats": "number format of the continuations (EHRMEM_PRECISION, or another kind of processor)",
    }
    return [words[name] for name, now in _sealed(plan, about).items() if sealed.get(name) != now]


def ask(
    plan: Plan, about: Opened, name: str, checkpoint: Checkpoint, out: Path, *, progress: OnProgress | None = None
) -> Finding:
    """One probe of a plan; what it builds on is taken from the findings that are there."""
    from ehrmem_widgets.probes.run import needed, run_task

    probe, task = probes()[name], about.task(plan, name, progress)
    earlier = {other: _kept_finding(path) for other in needed(probe, task) if (path := out / FINDINGS / other).exists()}
    missing = [other for other in needed(probe, task) if probes()[other].confounding and other not in earlier]
    if missing:
        raise BadInput(f"{probes()[missing[0]].title}, on which this rests, could not be run.")
    return run_task(probe, task, checkpoint=checkpoint, earlier=earlier)


def _run_of(name: str) -> type[ProbeRun]:
    found: type[ProbeRun] = loaded(probes()[name].run)
    return found


def in_order(names: Sequence[str]) -> list[list[str]]:
    """The probes of a plan in levels: each builds on those of earlier levels alone."""
    every, levels, left = probes(), list[list[str]](), list(names)
    guards = [name for name in names if every[name].confounding]
    while left:
        ready = [
            name for name in left
            if not set(left) & ({*every[name].builds_on, *(guards if every[name].guarded else ())} - {name})
        ] or left  # fmt: skip
        ready = [
            name for name in ready if not _run_of(name).asks
        ] or ready  # what is soon done, before workers are started
        levels.append(ready)
        left = [name for name in left if name not in ready]
    return levels


_kept: dict[str, Opened] = {}


def open_plan(plan: Plan, before: Callable[[Audited], None] | None = None) -> Opened:
    """Data, models and people of a plan. ``before``: called with what was opened, before the models are asked anything."""
    from ehrmem_widgets.attacker.identifiability import checked_population
    from ehrmem_widgets.blackbox.opening import check_opened, open_unchecked
    from ehrmem_widgets.probes.near_duplicates import without_near_duplicates
    from ehrmem_widgets.probes.people import choose_people

    opened = open_unchecked(plan.sources)
    if before is not None:
        before(opened)
    dataset, model, reference = check_opened(*opened)
    checked_population(plan.population, len(dataset))
    if isinstance(plan.patients, int):
        people = choose_people(dataset, model, reference, seed=plan.seed, most=plan.patients)
    else:
        people = choose_people(dataset, model, reference, seed=plan.seed, patients=plan.patients)
    people = without_near_duplicates(people, dataset, model, reference, seed=plan.seed)
    return Opened(dataset, model, reference, people, alternatives_for(dataset))


def opened(plan: Plan) -> Opened:
    """The same, opened once per worker."""
    key = json.dumps(plan.as_json(), sort_keys=True)
    if key not in _kept:
        _kept.clear()
        _kept[key] = open_plan(plan)
    return _kept[key]


def versions() -> dict[str, str]:
    """What the numbers were made with."""
    return {
        "ehrmem": __version__,
        "python": python_version(),
        **{name: version(name) for name in ("torch", "transformers", "numpy", "scipy", "duckdb", "pyarrow")},
    }


def write_severities(out: Path, saved: Sequence[Mapping[str, object]]) -> None:
    """All versions of the declared severities, the oldest first."""
    import yaml

    _write_text(out / SEVERITY, yaml.safe_dump(as_json(list(saved)), sort_keys=False, allow_unicode=True))


@dataclass(frozen=True)
class _Pool:
    """Processes on this computer, or the workers of a Dask cluster. ``size``: how many there are now; ``next_done``: waits until some of the futures
    are done, and returns these; ``lost``: what a future raises whose worker died."""

    size: Callable[[], int]
    submit: Callable[..., Future[None]]
    next_done: Callable[[set[Future[None]]], set[Future[None]]]
    lost: tuple[type[BaseException], ...]


def _one_of(workers: int) -> None:
    """What a worker of this computer begins with."""
    from ehrmem_widgets.blackbox.sampling import share_memory

    share_memory(workers)


@contextmanager
def _pool(workers: int, cluster: str | None) -> Iterator[_Pool]:
    if cluster:
        yield from _dask(cluster)
        return
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_of, initargs=(workers,))

    def next_done(waiting: set[Future[None]]) -> set[Future[None]]:
        return wait(waiting, return_when=FIRST_COMPLETED).done

    try:
        yield _Pool(lambda: workers, pool.submit, next_done, (BrokenProcessPool,))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _dask(address: str) -> Iterator[_Pool]:
    client = connected(address)
    from dask.distributed import CancelledError, KilledWorker
    from dask.distributed import wait as wait_for

    def submit(function: Callable[..., None], *arguments: object) -> Any:  # Dask's future is no Future, but alike
        return client.submit(function, *arguments, pure=False, retries=2)

    def next_done(waiting: set[Future[None]]) -> set[Future[None]]:
        return set(wait_for(waiting, return_when="FIRST_COMPLETED").done)

    try:
        yield _Pool(lambda: max(1, sum(client.nthreads().values())), submit, next_done, (KilledWorker, CancelledError))
    finally:
        client.close()


def _write_whole(path: Path, content: object) -> None:
    _write_text(path, json.dumps(as_json(content), indent=1) + "\n")


def _write_text(path: Path, text: str) -> None:
    write_whole({path: text})


def command_of(plan: Path, out: Path, workers: int, cluster: str | None, output_filter: str | None = None) -> str:
    """The command that makes the same audit again."""
    words = ["ehrmem", "audit", str(plan), "--out", str(out)]
    words += ["--output-filter", output_filter] if output_filter else []
    words += ["--cluster", cluster] if cluster else ["--workers", str(workers)] if workers > 1 else []
    return shlex.join(words)
