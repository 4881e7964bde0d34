"""Many reports by warm kernels: the numbers of single ones, one failure alone, resumable."""

from __future__ import annotations

import json
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import filelock
import pytest
from papermill.exceptions import PapermillExecutionError

from ehrmem_widgets.cli import main
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput, CannotAnswer, Damaged, EhrmemError, Unavailable, kind_named
from ehrmem_widgets.probes.batching import Progress
from ehrmem_widgets.reports import patient_report, patient_reports, warm_kernel
from ehrmem_widgets.reports.index_page import index_page, row_of
from ehrmem_widgets.reports.page_template import check_offline
from ehrmem_widgets.reports.patient_reports import make_reports, open_here
from ehrmem_widgets.reports.warm_kernel import WarmKernel
from tests.reports.small import QUICK, Small

NOBODY = 987654321


@dataclass
class Made:
    """The folder of three reports, made in two calls: the first lost its kernel under the first patient and was interrupted after
    the second; the second, by two workers, made what was missing."""

    out: Path
    people: list[str]
    settings: dict[str, Any]
    ids: set[str]
    first: dict[str, Any] = field(default_factory=dict)
    first_page: str = ""
    partial: str = ""
    modes: set[int] = field(default_factory=set)
    sockets: set[Path] = field(default_factory=set)
    written: int = 0
    second: dict[str, Any] = field(default_factory=dict)
    progress: list[tuple[int, int]] = field(default_factory=list)


@pytest.fixture(scope="module")
def made(small: Small, report: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    dataset = MedsDataset(small.data)
    example = json.loads(report.with_suffix(".json").read_text())["patient"]
    people = [dataset.pseudonym(patient) for patient in dataset.ids("train")[:2]] + [example]
    settings = {**QUICK, **{name: str(getattr(small, name)) for name in ("data", "model", "reference")}}
    folder = tmp_path_factory.mktemp("reports")
    made = Made(folder / "out", people, settings, {str(dataset.find(name)) for name in people} | {str(NOBODY)})
    listed = folder / "patients.txt"
    listed.write_text(f"{people[0]}\n{dataset.find(people[1])}\n{NOBODY}\n{people[2]} {people[0]}\n")

    run_notebook = warm_kernel.run_notebook

    def killed(folder: Path, parameters: dict[str, Any], **engine: Any) -> Any:
        made.sockets.add(Path(engine["warm"].km.ip).parent)
        if parameters["patient"] == people[0]:
            engine["warm"].km.provisioner.process.kill()
        return run_notebook(folder, parameters, **engine)

    def interrupt(progress: Progress) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warm_kernel, "run_notebook", killed)
        with pytest.raises(KeyboardInterrupt):
            make_reports(listed, made.out, workers=1, progress=interrupt, **settings)
    made.first = json.loads((made.out / "summary.json").read_text())
    made.first_page = (made.out / "index.html").read_text()
    partial = made.out / "failed" / f"{people[0]}.ipynb"
    made.partial = partial.read_text()
    made.modes = {stat.S_IMODE(path.stat().st_mode) for path in (partial, partial.parent)}
    made.written = (made.out / f"{people[1]}.html").stat().st_mtime_ns
    made.second = make_reports(
        listed, made.out, workers=2, progress=lambda p: made.progress.append((p.done, p.total)), **settings
    )
    return made


@pytest.mark.slow
def test_one_patient_fails_alone_and_the_partial_notebook_is_kept_privately(made: Made) -> None:
    nobody, failed = made.first["failed"]
    assert nobody["entry"] == 3 and failed["patient"] == made.people[0] and "memory was full" in failed["reason"]
    assert failed["partial_notebook"] == f"failed/{made.people[0]}.ipynb"
    assert json.loads(made.partial)["cells"] and made.modes == {0o600, 0o700}
    assert [row["patient"] for row in made.first["reports"]] == [made.people[1]]
    assert f"<b>{made.people[0]}</b>: The process" in made.first_page


def test_nobody_else_can_listen_to_a_kernel(made: Made) -> None:
    [folder] = made.sockets
    assert folder.name.startswith("ehrmem-report-") and not folder.exists()


def test_the_same_call_goes_on(made: Made) -> None:
    assert not made.first["finished"] and "Unfinished" in made.first_page
    assert made.second["finished"] and "Unfinished" not in (made.out / "index.html").read_text()
    assert made.progress == [(0, 1), (1, 1), (1, 3), (2, 3), (3, 3)]
    assert (made.out / f"{made.people[1]}.html").stat().st_mtime_ns == made.written
    assert [row["patient"] for row in made.second["reports"]] == sorted(made.people)
    assert made.second == json.loads((made.out / "summary.json").read_text())


def test_two_private_files_a_patient_and_an_index(made: Made) -> None:
    reports = {f"{name}.{kind}" for name in made.people for kind in ("html", "json")}
    found = {path.name for path in made.out.iterdir()} - {".lock"}
    assert found == reports | {"index.html", "summary.json", "settings.json"}
    assert stat.S_IMODE(made.out.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in made.out.iterdir()} == {0o600}


def test_the_numbers_of_a_single_report(made: Made, report: Path) -> None:
    one, many = (json.loads(p.with_suffix(".json").read_text()) for p in (report, made.out / f"{made.people[2]}.html"))
    for found in (one, many):
        del found["run"]["made_at"], found["run"]["command"]
        del found["attack"]["pace"]  # a measurement, another one each time; none where all samples came at once
    assert json.dumps(one) == json.dumps(many)


def test_the_index_opens_offline_and_links_to_each_report(made: Made) -> None:
    page = (made.out / "index.html").read_text()
    assert set(re.findall(r'href="([^"]*)"', page)) == {f"{name}.html" for name in made.people}
    with pytest.raises(RuntimeError, match="self-contained"):
        check_offline(page)
    check_offline(page, [f"{name}.html" for name in made.people])
    assert "Identifying: internal use" in page and "default-src 'none'" in page and "<script" not in page
    assert "Entry 3 of the list</b>: There is no such patient" in page
    assert all(row["verdict"] in page for row in made.second["reports"])


def test_ids_are_nowhere(made: Made) -> None:
    for text in (made.first_page, made.partial, *(path.read_text() for path in made.out.iterdir())):
        assert not made.ids & set(re.findall(r"(?<![.\d])\d{5,}(?!\d)", text))


def test_other_data_or_models_are_refused(made: Made, tmp_path: Path) -> None:
    declared = patient_report.checked_parameters(made.settings)
    batch = patient_reports._Batch(made.people, None, made.out, tmp_path, made.settings, declared, None)
    batch.seal |= made.second["settings"]
    assert batch._check_seal()
    for name, value, words in (
        ("model", "retrained", "the model is"),
        ("number_formats", ["bfloat16", ""], "the number format of the continuations"),
    ):
        before = batch.seal[name]
        batch.seal |= {name: value}
        with pytest.raises(BadInput, match=f"made otherwise: {words}"):
            batch._check_seal()
        batch.seal |= {name: before}


def test_words_of_unforeseen_errors_are_not_shown() -> None:
    error = patient_report.ReportFailure("KeyError: 952646")
    error.__cause__ = PapermillExecutionError(0, 1, "", "KeyError", "952646", [])
    words = patient_reports._reason(error)
    assert "KeyError" in words and "952646" not in words


def refuse(*_: object, **__: object) -> NoReturn:
    pytest.fail("a kernel was started")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 8}, "seed was 7 and is 8"),
        ({"attributes": ["hiv"], "horizon": 9}, "made otherwise: horizon was 8 and is 9. "),
        ({"knowledge": "nothing", "seed": "7"}, "must be a whole number"),
        ({"patient": "P-AAAA-AAAA"}, "one patient or many"),
        ({"workers": 0}, "workers must be a whole number from 1"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    changes: dict[str, Any], words: str, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_kernel, "warm_kernel", refuse)
    with pytest.raises(BadInput, match=words):
        make_reports(made.people, made.out, **{**made.settings, **changes})


def test_folders_and_lists_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people = ["P-AAAA-AAAA"]
    monkeypatch.setattr(warm_kernel, "warm_kernel", refuse)
    (tmp_path / "file.txt").write_text(" \n")
    for patients, out, words in (
        (tmp_path / "file.txt", tmp_path / "out", "names no patients"),
        (tmp_path / "none.txt", tmp_path / "out", "cannot be read"),
        ([], tmp_path / "out", "at least one"),
        (people, tmp_path, r"not empty \(it holds file.txt\)"),
        (people, tmp_path / "file.txt", "is a file"),
    ):
        with pytest.raises(BadInput, match=words):
            make_reports(patients, out)
    with (
        filelock.FileLock(tmp_path / ".lock"),
        pytest.raises(BadInput, match="Other reports are being written"),
    ):
        make_reports(people, tmp_path)


def test_settings_that_fit_nobody_are_refused_once(small: Small, tmp_path: Path) -> None:
    given = {name: parameter.default for name, parameter in patient_report.checked_parameters({}).items()}
    given |= {name: str(getattr(small, name)) for name in ("data", "model", "reference")}
    for changes, words in (
        ({"attributes": "hvi"}, "no sensitive attribute 'hvi'"),
        ({"focus": "hvi"}, "focus 'hvi' is not among"),
        ({"knowledge": "everything"}, "everything"),
        ({"samples": 3}, "samples must be a whole number from 16"),
    ):
        with pytest.raises(BadInput, match=words):
            open_here({**given, **changes}, [], str(tmp_path / "answer.json"))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_server_that_goes_away_ends_the_batch_and_the_same_command_goes_on(
    small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = MedsDataset(small.data)
    people = [dataset.pseudonym(patient) for patient in dataset.ids("train")[:2]]
    (tmp_path / "who.txt").write_text("\n".join(people))
    settings = [f"--{name}={value}" for name, value in QUICK.items()]
    out = tmp_path / "out"
    run_notebook = warm_kernel.run_notebook

    def gone_at_the_second(folder: Path, parameters: dict[str, Any], **engine: Any) -> Any:
        if parameters["patient"] == people[1]:  # as in the kernel, whose errors come home by their names
            WarmKernel(engine["warm"]).run("from ehrmem_widgets.errors import Unavailable; raise Unavailable('Gone.')")
        return run_notebook(folder, parameters, **engine)

    def report() -> int:
        where = ["--patients", str(tmp_path / "who.txt"), "--out", str(out), "--workers", "1"]
        return main(["report", *where, *small.options(), *settings])

    with monkeypatch.context() as patch:
        patch.setattr(warm_kernel, "run_notebook", gone_at_the_second)
        assert report() == 3
    assert "Gone. What was done is kept: the same command goes on from there." in capsys.readouterr().err
    summary = json.loads((out / "summary.json").read_text())
    assert not summary["finished"] and summary["failed"] == []
    assert [one["patient"] for one in summary["reports"]] == [people[0]]
    assert report() == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["finished"] and sorted(one["patient"] for one in summary["reports"]) == sorted(people)


@pytest.mark.parametrize("kind", [BadInput, CannotAnswer, Unavailable, Damaged])
def test_an_error_of_a_kernel_comes_home_as_what_it_was(kind: type[EhrmemError]) -> None:
    found = kind_named(kind.__name__, "words")
    assert type(found) is kind and str(found) == "words" and kind_named("KeyError", "words") is None


def attribute(title: str, severity: int, verdict: str, excess: float, held: bool = True) -> dict[str, Any]:
    sides = {s: {"value": v, "low": 0, "high": 1, "n": 64} for s, v in (("audited", 0.1 + excess), ("reference", 0.1))}
    more = {"name": title, "title": title, "severity": severity, "verdict": verdict, "in_record": held}
    return {**more, **sides, "excess": {"value": excess, "low": 0, "high": 1, "n": 64}}


def test_the_gravest_stands_first() -> None:
    common, cannot, memorized = "Population knowledge", "Cannot conclude", "Memorized"
    reports = {
        "P-AAAA-AAAA": [attribute("a", 5, common, 0.0, held=False)],
        "P-BBBB-BBBB": [attribute("a", 5, common, 0.0), attribute("b", 1, cannot, 0.1)],
        "P-CCCC-CCCC": [attribute("mild", 2, memorized, 0.9), attribute("<grave>", 4, memorized, 0.3)],
        "P-DDDD-DDDD": [attribute("mild", 2, memorized, 0.5), attribute("a", 5, cannot, 0.2)],
    }
    rows = [row_of({"patient": name, "attributes": attributes}) for name, attributes in reports.items()]
    assert [row["verdict"] for row in rows] == [common, cannot, memorized, memorized]
    assert rows[2]["gravest_leak"]["title"] == "<grave>" and (rows[2]["memorized"], rows[2]["held"]) == (2, 2)
    page = index_page(
        {
            "reports": rows, "failed": [], "finished": True, "data": "d", "model": "m", "reference": None, "made_by": "me",
            "made_at": "2026-01-01T00:00:00+00:00", "command": "c", "settings": {"seed": 0, "ehrmem": "1"}, "handling": "h",
        }
    )  # fmt: skip
    assert re.findall(r">(P-\w{4}-\w{4})</a>", page) == ["P-CCCC-CCCC", "P-DDDD-DDDD", "P-BBBB-BBBB", "P-AAAA-AAAA"]
    assert "&lt;grave&gt;" in page and "<grave>" not in page
    assert "Memorized: 2; Cannot conclude: 1; Population knowledge: 1; failed: 0" in page
    assert "0.3 of the 6 that were asked about here. 3 were called so" in page


def test_without_a_reference_or_an_attribute_the_index_goes_by_what_there_is() -> None:
    alone = [
        {**attribute(title, 4, "Memorized", excess), "reference": None, "excess": None}
        for title, excess in (("less", 0.2), ("more", 0.6))
    ]
    assert row_of({"patient": "P-AAAA-AAAA", "attributes": alone})["gravest_leak"]["title"] == "more"
    membership = {"verdict": "Memorized", "sentence": ""}
    row = row_of({"patient": "P-BBBB-BBBB", "attributes": [], "membership": membership})
    assert row["verdict"] == "Memorized" and row["gravest_leak"] is None
