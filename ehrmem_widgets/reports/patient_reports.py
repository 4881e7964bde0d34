"""Many patients' reports: data and models opened once per worker, one notebook a patient, and an index of them all."""

from __future__ import annotations

import json
import os
import queue
import shlex
import shutil
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

from ehrmem_widgets import __version__
from ehrmem_widgets.bundled import explore_notebook
from ehrmem_widgets.cohort.fingerprints import digest_of, read_anew
from ehrmem_widgets.errors import BadInput, Damaged, EhrmemError, Unavailable, not_made, resumable
from ehrmem_widgets.files import read_json, read_text, write_whole
from ehrmem_widgets.probes.batching import OnProgress, Progress
from ehrmem_widgets.reports.index_page import Patient, Row, Summary, index_page, row_of
from ehrmem_widgets.reports.parameters import Parameter
from ehrmem_widgets.reports.patient_report import (
    DIED,
    PARTIAL,
    ReportFailure,
    checked_parameters,
    command_words,
    private_folder,
    who,
    write_report,
)
from ehrmem_widgets.settings import WORKERS
from ehrmem_widgets.sources import SOURCES, given_population, given_price

if TYPE_CHECKING:
    from ehrmem_widgets.cohort.dataset import MedsDataset
    from ehrmem_widgets.reports.warm_kernel import WarmKernel

INDEX, SUMMARY, SETTINGS, FAILED, LOCK = "index.html", "summary.json", "settings.json", "failed", ".lock"
_OPENING = "Opening data and models"
_IN_WORDS = {
    "ehrmem": "the version of ehrmem",
    "notebook": "the notebook",
    "data": "the data set",
    "model": "the model",
    "reference": "the reference model",
    "training_splits": "the training split",
    "number_formats": "the number format of the continuations (EHRMEM_PRECISION, or another kind of processor)",
    "pseudonyms": "the key of the pseudonyms",
}


class About(TypedDict):
    """What a worker opened, and who the patients are."""

    data: str
    model: str
    reference: str | None
    seal: dict[str, object]
    patients: list[Patient]


def make_reports(
    patients: str | Path | Sequence[str | int],
    out: str | Path,
    *,
    workers: int | None = None,
    progress: OnProgress | None = None,
    **parameters: object,
) -> Summary:
    """Make the report of each patient, as ``make_report`` does, into a folder, with an index page and ``summary.json``.

    ``patients``: pseudonyms or ids, or a text file of them. ``workers``: how many processes ask at a time (two, where there are two
    cores); each opens data and models once. Their number changes no figure. ``parameters``: those of ``make_report``, but for the
    patient. A patient whose report fails fails alone: the reason stands in the index, the partial notebook in the folder
    ``failed``. The same call resumes where an earlier one was interrupted and tries again what failed. Returns what
    ``summary.json`` holds.

    Raises
    ------
    BadInput
        For wrong parameters, data or models, a folder that holds reports made otherwise, or one that another call writes into.
    Unavailable, Damaged
        When a server stops answering, the disk is full or gone, a worker ends at the start, or a kept file is broken.

    """
    import filelock

    given = (
        patients_in(patients) if isinstance(patients, str | Path) else [str(patient).strip() for patient in patients]
    )
    if not given:
        raise BadInput("Name at least one patient.")
    if "patient" in parameters:
        raise BadInput("Give either one patient or many.")
    if workers is not None:
        workers = WORKERS.check(workers, "workers")
    if not parameters.get("population") and (population := given_population()):
        parameters["population"] = population
    if not parameters.get("price") and (price := given_price()):
        parameters["price"] = str(price)
    declared = checked_parameters(parameters)
    out = _folder(Path(out))
    listed = Path(patients) if isinstance(patients, str | Path) else None
    try:
        with filelock.FileLock(out / LOCK, timeout=0, mode=0o600), private_folder() as folder, resumable():
            batch = _Batch(list(dict.fromkeys(given)), listed, out, folder, parameters, declared, progress)
            return batch.run(workers or min(2, os.cpu_count() or 1))
    except filelock.Timeout:
        raise BadInput(f"Other reports are being written into {str(out)!r}. Wait, or name another folder.") from None


def patients_in(path: str | Path) -> list[str]:
    """The patients that a text file names, by pseudonym or id, separated by line breaks or spaces."""
    named = read_text(Path(path), f"The file of patients {str(path)!r}").split()
    if not named:
        raise BadInput(
            f"{str(path)!r} names no patients. Give one pseudonym or id a line ('ehrmem patients' lists them)."
        )
    return named


class _Batch:
    """One call. The main thread hears what the workers' threads tell; each of those drives a kernel of its own."""

    def __init__(
        self,
        given: Sequence[str],
        listed: Path | None,
        out: Path,
        folder: Path,
        parameters: Mapping[str, object],
        declared: Mapping[str, Parameter],
        progress: OnProgress | None,
    ) -> None:
        self.given, self.listed, self.out, self.folder = given, listed, out, folder
        self.parameters, self.declared, self.progress = parameters, declared, progress
        self.settings = {name: parameters.get(name, one.default) for name, one in declared.items()}
        self.seal = self._seal()
        self.about: About | None = None
        self.made: dict[str, Row] = {}
        self.failed: list[Patient] = []
        self.waiting: deque[str] = deque()
        self.told: queue.Queue[object] = queue.Queue()
        self.decided = threading.Event()
        self.kernels: list[WarmKernel] = []
        self.threads: list[threading.Thread] = []
        self.stopping = threading.Event()

    def run(self, workers: int) -> Summary:
        sealed = self._check_seal()
        try:
            self._say(_OPENING, 0, 1)
            self._start_worker(first=True)
            about: About = self._hear()
            self._say(_OPENING, 1, 1)
            self.seal |= about["seal"]
            self._check_seal()
            if not sealed:
                write_whole({self.out / SETTINGS: _json(self.seal)})
            found = [one["patient"] for one in about["patients"] if "patient" in one]
            self.failed = [one for one in about["patients"] if "reason" in one]
            self.about, self.made = about, self._made_before()
            todo = [patient for patient in dict.fromkeys(found) if patient not in self.made]
            self.waiting.extend(todo)
            self.decided.set()
            for _ in range(min(workers, len(todo)) - 1):
                self._start_worker(first=False)
            self._collect(len(todo))
            return self._write(finished=True)
        except BaseException:
            self._stop()
            if self.about:
                self._write(finished=False)
            raise
        finally:
            self._stop()

    def _collect(self, todo: int) -> None:
        before, began = len(self.made), time.monotonic()
        for done in range(todo + 1):
            left = (time.monotonic() - began) / done * (todo - done) if done else None
            self._say("Patient reports", before + done, before + todo, left)
            if done < todo:
                outcome = self._hear()
                if "reason" in outcome:
                    self.failed.append(outcome)
                else:
                    self.made[outcome["patient"]] = outcome

    def _say(self, what: str, done: int, total: int, left: float | None = None) -> None:
        if self.progress:
            self.progress(Progress(what, done, total, 0.0 if done == total else left))

    def _hear(self) -> Any:
        told = self.told.get()
        if isinstance(told, BaseException):
            raise told
        return told

    def _stop(self) -> None:
        """End the kernels and wait for the threads. What was under way is given up."""
        self.stopping.set()
        self.waiting.clear()
        self.decided.set()
        for kernel in list(self.kernels):
            kernel.kill()
        for thread in self.threads:
            thread.join()

    def _start_worker(self, *, first: bool) -> None:
        thread = threading.Thread(target=self._work, args=(first,), name="ehrmem reports")
        self.threads.append(thread)
        thread.start()

    def _work(self, first: bool) -> None:
        """A worker: one kernel, and another one where that has died. The first tells what it opened and who the patients are."""
        from ehrmem_widgets.reports.warm_kernel import warm_kernel

        try:
            while (first or self.waiting) and not self.stopping.is_set():
                with warm_kernel(self.folder) as kernel:
                    self.kernels.append(kernel)
                    if self.stopping.is_set():
                        return
                    about = self._open(kernel, self.given if first else ())
                    if first:
                        first = False
                        self.told.put(about)
                        self.decided.wait()
                    while kernel.alive and (patient := self._next()):
                        self.told.put(self._report(kernel, patient))
        except BaseException as error:
            self.told.put(error)

    def _next(self) -> str | None:
        try:
            return self.waiting.popleft()
        except IndexError:
            return None

    def _open(self, kernel: WarmKernel, patients: Sequence[str]) -> About:
        """Have data and models opened in a kernel, and hear what they are and who the patients are."""
        answer = self.folder / f"opened-{threading.get_ident()}.json"
        try:
            kernel.run(
                f"from {__name__} import open_here; open_here({self.settings!r}, {list(patients)!r}, {str(answer)!r}); del open_here"
            )
        except ReportFailure:
            if kernel.alive:
                raise
            raise Unavailable(
                "A worker ended while it opened data and models, perhaps because the memory was full. What was made is kept: give "
                "the same command with fewer --workers, and it goes on from there."
            ) from None
        found: About = json.loads(answer.read_text(encoding="utf-8"))
        answer.unlink()
        return found

    def _report(self, kernel: WarmKernel, patient: str) -> Row | Patient:
        """One patient's report: its row in the index, or why there is none. A server that went away, a file that cannot be written and a
        damaged one end the batch."""
        folder = self.folder / patient
        folder.mkdir(exist_ok=True)
        parameters = {**self.parameters, "patient": patient}
        try:
            executed, results = kernel.run_notebook(folder, parameters)
        except (OSError, Unavailable, Damaged):  # no fault of this patient's: the others would fail as well
            raise
        except Exception as error:
            if self.stopping.is_set():
                raise
            return self._without_report(patient, folder, error)
        try:
            whole = write_report(self.out / f"{patient}.html", executed, results, parameters, self.declared)
        except RuntimeError as error:  # a page that is not self-contained
            return self._without_report(patient, folder, error)
        self._partial(patient).unlink(missing_ok=True)
        shutil.rmtree(folder)
        return row_of(whole)

    def _without_report(self, patient: str, folder: Path, error: Exception) -> Patient:
        kept = self._partial(patient)
        if not (folder / PARTIAL).exists():  # the kernel had died before
            return {"patient": patient, "reason": _reason(error), "partial_notebook": None}
        kept.parent.mkdir(mode=0o700, exist_ok=True)
        write_whole({kept: (folder / PARTIAL).read_text(encoding="utf-8")})
        return {"patient": patient, "reason": _reason(error), "partial_notebook": f"{FAILED}/{kept.name}"}

    def _partial(self, patient: str) -> Path:
        return self.out / FAILED / f"{patient}.ipynb"

    def _seal(self) -> dict[str, object]:
        """What every report of a folder has in common, as far as it is known before data and models are opened."""
        common = {name: value for name, value in self.settings.items() if name not in SOURCES and name != "patient"}
        if isinstance(common["attributes"], list | tuple):
            common["attributes"] = ",".join(common["attributes"])
        if common["facts"]:
            common["knowledge"] = ""
            with suppress(OSError):  # a line of facts, too long for a file's name
                if (file := Path(str(common["facts"]))).is_file():
                    common["facts"] = f"file {digest_of(file)}"
        notebook = digest_of(explore_notebook())
        return {**common, "ehrmem": __version__, "notebook": notebook}

    def _check_seal(self) -> bool:
        """Whether the folder has settings already. Raises BadInput when they are others."""
        path = self.out / SETTINGS
        if not path.exists():
            strange = sorted(one.name for one in self.out.iterdir() if one.name != LOCK)
            if strange:
                raise BadInput(
                    f"{str(self.out)!r} is not empty (it holds {strange[0]}) and no folder of reports. Name another folder."
                )
            return False
        try:
            before = dict(cast("Mapping[str, object]", read_json(path, path.name)))
        except (ValueError, TypeError) as error:
            raise Damaged(f"{str(path)!r} is damaged ({error}). Name another folder.") from None
        changed = [
            f"{_IN_WORDS[name]} is another one"
            if name in _IN_WORDS
            else f"{name} was {before.get(name)!r} and is {value!r}"
            for name, value in self.seal.items()
            if before.get(name) != value
        ]
        if changed:
            raise BadInput(
                f"{str(self.out)!r} holds reports made otherwise: {'; '.join(changed)}. Name another folder, or go back to what "
                "they were made with."
            )
        return True

    def _made_before(self) -> dict[str, Row]:
        """The rows of the reports that lie in the folder, whole."""
        rows = {}
        for page in sorted(self.out.glob("P-*.html")):  # written last: its numbers are there too
            with suppress(OSError, ValueError, KeyError):
                row = row_of(cast("Any", read_json(page.with_suffix(".json"), page.stem)))
                if row["patient"] == page.stem:
                    rows[page.stem] = row
        return rows

    def _write(self, *, finished: bool) -> Summary:
        """The index page and the summary, of all that lies in the folder."""
        with suppress(OSError):
            (self.out / FAILED).rmdir()  # if nothing failed
        assert self.about is not None
        summary: Summary = {
            "handling": "identifying: internal use",
            "finished": finished,
            "data": self.about["data"],
            "model": self.about["model"],
            "reference": self.about["reference"],
            "settings": self.seal,
            "made_by": who(),
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": self._command(),
            "patients": len(self.given),
            "reports": [self.made[patient] for patient in sorted(self.made)],
            "failed": self.failed,
        }
        write_whole({self.out / SUMMARY: _json(summary), self.out / INDEX: index_page(summary)})
        return summary

    def _command(self) -> str:
        words = command_words(self.parameters, self.declared)
        listed = ["--patients", str(self.listed)] if self.listed else []
        return shlex.join([*words[:2], *listed, *words[2:], "--out", str(self.out)])


def open_here(settings: Mapping[str, Any], patients: Sequence[str], answer: str) -> None:
    """Run in a worker's kernel: open data and models for all its reports, refuse settings that fit no patient, and write down what
    was opened and who the patients are."""
    from ehrmem_widgets.attacker.facts import check_knowledge
    from ehrmem_widgets.attacker.identifiability import checked_population
    from ehrmem_widgets.blackbox.training_splits import training_splits
    from ehrmem_widgets.probes.exploration import State
    from ehrmem_widgets.probes.opened import keep_open, names_asked
    from ehrmem_widgets.probes.people import number_formats

    with read_anew() if patients else nullcontext():  # the first worker seals, or checks the seal
        opened = keep_open(**{name: settings[name] or None for name in SOURCES})
    names = names_asked(opened, settings["attributes"], settings["focus"])
    check_knowledge(settings["knowledge"])
    State(0, (), None, names, names[0], settings["horizon"], settings["samples"], settings["seed"])
    checked_population(settings["population"] or None, len(opened.dataset))
    dataset, model, reference = opened.dataset, opened.model, opened.reference
    about = {
        "data": dataset.name,
        "model": model.name,
        "reference": reference.name if reference else None,
        "seal": {
            "data": dataset.fingerprint,
            "model": model.fingerprint,
            "reference": reference.fingerprint if reference else None,
            "training_splits": training_splits(model, reference),
            "number_formats": number_formats(model, reference),
            "pseudonyms": dataset.pseudonym(0),
        },
        "patients": [_who_is(patient, place, dataset) for place, patient in enumerate(patients, 1)],
    }
    write_whole({Path(answer): _json(about)})


def _who_is(patient: str, place: int, dataset: MedsDataset) -> Patient:
    try:
        return {"patient": dataset.pseudonym(dataset.find(patient))}
    except BadInput as error:  # a number is not repeated: it may be an id of somebody else's
        words = str(error) if patient.upper().startswith("P-") else f"There is no such patient in {dataset.name}."
        return {"entry": place, "reason": words, "partial_notebook": None}


def _reason(error: Exception) -> str:
    """Why a report failed. Only what is meant for people: the words of other errors may hold anything, an id for one."""
    if isinstance(error, EhrmemError):
        return str(error)
    if str(error) == DIED:
        return f"{DIED[0].upper()}{DIED[1:]}."
    name = getattr(error.__cause__, "ename", type(error).__name__)
    return f"Internal error ({name}). The partial notebook shows where."


def _folder(out: Path) -> Path:
    if out.exists() and not out.is_dir():
        raise BadInput(f"{str(out)!r} is a file. Name a folder for the reports.")
    try:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise not_made(out, error) from None
    if not os.access(out, os.W_OK):
        raise BadInput(f"The reports cannot be written: you may not write in the folder {out}.")
    return out


def _json(content: object) -> str:
    return json.dumps(content, indent=1, allow_nan=False) + "\n"
