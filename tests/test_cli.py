"""The command: its exit codes, its sentences, and what it never shows."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ehrmem_widgets import cli
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.probes.people import choose_people
from ehrmem_widgets.probes.subgroups.ask import subgroups_of
from ehrmem_widgets.samples.synthetic_cohort import generate_cohort
from ehrmem_widgets.widgets.patient_table import PatientTable
from tests.probes.alone import compare_groups


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cohort")
    generate_cohort(out, seed=5, members=60, non_members=30, reference=30, canaries=2, null_canaries=4, rare=6)
    return out


def run(*words: object) -> int:
    try:
        return cli.main([str(word) for word in words])
    except SystemExit as exit_:
        return int(exit_.code or 0)


def one_sentence(text: str) -> str:
    assert text.count("\n") == 1 and "Traceback" not in text, text
    return text


@pytest.mark.parametrize(
    "command", ["", "explore", "report", "probe", "patients", "train", "build-samples", "vulnerable", "coarsen"]
)
def test_help_is_there_for_a_newcomer(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command.split(), "--help") == 0
    out = capsys.readouterr().out
    assert "ehrmem" in out and ("example:" in out or not command)


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from ehrmem_widgets import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'torch', 'pandas', 'numpy', 'duckdb', 'transformers', 'papermill'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_no_command_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    assert "explore" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["patients", "--data", "no/such/folder"], "There is no folder 'no/such/folder'"),
        (["report", "--out", "x.pdf"], "name it like report.html"),
        (["report", "--out", "no/such/folder/x.html"], "folder that does not exist"),
        (["report"], "--out"),
        (
            ["report", "--horizon", "many", "--out", "x.html"],
            "must be a whole number from 1 to 36525, such as 64; got 'many'",
        ),
        (["report", "--samples", "0", "--out", "x.html"], "a whole number from 16 to 65536"),
        (["report", "--population", "0", "--out", "x.html"], "a whole number from 1 to"),
        (["report", "--patient", "1", "--patients", "x", "--out", "x"], "not allowed with"),
        (["report", "--patients", "no-such-file", "--out", "x"], "cannot be read"),
        (["report", "--workers", "2", "--out", "x.html"], "--workers needs --patients"),
        (["report", "--knowledge", "nothing", "--facts", "age", "--out", "x.html"], "not allowed with"),
        (["train", "--data", "no/such/folder", "--out", "m"], "There is no folder"),
        (["train", "--data", "d", "--out", "m", "--minutes", "0"], "a number above 0 and below 100000"),
        (["explore", "--data", "somewhere"], "together"),
        (["explore", "--port", "99999"], "a whole number from 1 to 65535"),
        (["reprot"], "invalid choice"),
        (["patients", "--dat", "x"], "unrecognized arguments"),
    ],
)
def test_wrong_input_is_exit_2_and_one_sentence(
    words: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("EHRMEM_DATA", "EHRMEM_MODEL", "EHRMEM_REFERENCE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv(name, "")
    assert run(*words) == 2
    error = capsys.readouterr().err.replace("Asking the model; this takes about half a minute ...\n", "")
    assert expected in one_sentence(error)
    assert list(tmp_path.iterdir()) == []


def test_our_fault_is_exit_1_and_debug_shows_more(
    cohort: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: MedsDataset) -> None:
        raise ZeroDivisionError("by\nzero")

    monkeypatch.setattr(cli, "patient_table", broken)
    assert run("patients", "--data", cohort) == 1
    assert "ZeroDivisionError: by zero. Add --debug" in one_sentence(capsys.readouterr().err)
    with pytest.raises(ZeroDivisionError):
        run("patients", "--data", cohort, "--debug")


def test_interrupt_is_exit_130(
    cohort: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: MedsDataset) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "patient_table", interrupted)
    assert run("patients", "--data", cohort) == 130
    one_sentence(capsys.readouterr().err)


@pytest.mark.parametrize("missing", [["MEDS_BIRTH"], ["GENDER//"], ["MEDS_BIRTH", "GENDER//"]])
def test_patients_are_listed_where_nobody_has_a_birth_date_or_a_sex(
    missing: list[str], cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(cohort, tmp_path / "cohort")
    for path in (folder / "data").rglob("*.parquet"):
        rows = pq.read_table(path)
        gone = [any(code.startswith(one) for one in missing) for code in rows["code"].to_pylist()]
        pq.write_table(rows.filter([not one for one in gone]), path)
    assert run("patients", "--data", folder, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert (
        {row["age_band"] for row in rows} == {""}
        if "MEDS_BIRTH" in missing
        else "" not in {r["age_band"] for r in rows}
    )
    assert {row["sex"] for row in rows} == ({""} if "GENDER//" in missing else {"F", "M"})
    assert run("patients", "--data", folder) == 0
    dataset = MedsDataset(folder)
    line = PatientTable(dataset, "train").describe(dataset.ids()[0])
    assert re.match(r"P-\S+ · [FM–] (\d\d?-\d\d?|90\+|–) · ", line) and "nan" not in line and "NA" not in line
    belongs = subgroups_of(dataset)
    for kind, code in (("age", "MEDS_BIRTH"), ("sex", "GENDER//")):
        unknown = f"{kind}: not recorded"
        assert belongs[unknown].all() if code in missing else unknown not in belongs or not belongs[unknown].any()
    people = choose_people(dataset, MarkovChain(np.eye(2)), most=60)
    found = compare_groups(dataset, people=people)
    told = set(found.about("figures")["figure"])
    assert ("difference_age" in told) == ("MEDS_BIRTH" not in missing)
    assert ("difference_female" in told) == ("GENDER//" not in missing)


def test_patients_shows_pseudonyms_and_never_ids(cohort: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = MedsDataset(cohort)
    assert run("patients", "--data", cohort) == 0
    table = capsys.readouterr().out
    assert run("patients", "--data", cohort, "--json") == 0
    raw = capsys.readouterr().out
    rows = json.loads(raw)
    assert table.splitlines()[0].split() == ["pseudonym", "split", "age", "band", "sex", "events", "attributes"]
    assert len(rows) == len(dataset) == len(table.splitlines()) - 1
    assert set(rows[0]) == {"pseudonym", "split", "age_band", "sex", "events", "attributes"}
    assert all(re.fullmatch(r"P-\w{4}-\w{4}|", row["pseudonym"]) for row in rows)
    assert all(re.fullmatch(r"\d+-\d+|90\+|", row["age_band"]) for row in rows)
    for patient_id in dataset.ids():
        assert str(patient_id) not in table and str(patient_id) not in raw


def test_patients_into_a_closed_pipe_is_quiet(cohort: Path) -> None:
    line = f"{sys.executable} -m ehrmem_widgets.cli patients --data {cohort} | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stderr == "" and done.stdout.startswith("pseudonym")


def test_train_leaves_other_folders_alone(cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert run("train", "--data", cohort, "--out", tmp_path) == 2
    assert "left as it is" in one_sentence(capsys.readouterr().err)
    assert run("train", "--data", cohort, "--out", tmp_path / "m", "--split", "nobody") == 2
    assert "There is no split 'nobody'" in one_sentence(capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_train_writes_a_model_with_a_shared_vocabulary_and_replaces_only_its_own(cohort: Path, tmp_path: Path) -> None:
    words = ["train", "--data", cohort, "--epochs", 1]
    assert run(*words, "--out", tmp_path / "a") == 0
    assert run(*words, "--out", tmp_path / "b", "--split", "reference", "--vocabulary", tmp_path / "a") == 0
    first, second = (json.loads((tmp_path / name / "training.json").read_text()) for name in "ab")
    assert (first["split"], second["split"]) == ("train", "reference")
    assert (tmp_path / "a/vocabulary.json").read_bytes() == (tmp_path / "b/vocabulary.json").read_bytes()
    assert run(*words, "--out", tmp_path / "a", "--seed", 3) == 0
    assert json.loads((tmp_path / "a/training.json").read_text())["seed"] == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_an_older_model_survives_an_interrupt(cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "training.json").write_text("{}")
    with pytest.raises(KeyboardInterrupt), cli._model_folder(tmp_path / "m") as new:
        (new / "half").write_text("written")
        raise KeyboardInterrupt
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["m", "m/training.json"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["membership", "--out", "x.parquet"], "A finding is now a folder with one Parquet file per table: name 'x'"),
        (["membership", "--out", "no/such/x"], "Name a folder for the finding, inside a folder that exists"),
        (["memory", "--out", "x"], "There is no probe 'memory'"),
        (["attribute", "--knowledge", "labs", "--out", "x"], "no knowledge level 'labs'"),
        (["membership", "--knowledge-levels", "one_lab", "--out", "x"], "takes no knowledge level"),
        (
            ["embedding", "--knowledge-levels", "first_10,first_20", "--out", "x"],
            "asks at one knowledge level; got first_10, first_20",
        ),
        (["confounding", "--patients", "nobody.txt", "--out", "x"], "cannot be read"),
        (["preflight", "--out", "x"], "The probe 'preflight' is called 'confounding' now"),
    ],
)
def test_a_probe_that_cannot_be_run_is_refused(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("probe", *words) == 2
    assert expected in one_sentence(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_a_probe_asks_at_the_knowledge_levels_that_are_named(tmp_path: Path) -> None:
    from ehrmem_widgets.findings.finding import Finding
    from ehrmem_widgets.samples.folders import sample_data, sample_moderate

    dataset, out = MedsDataset(sample_data()), tmp_path / "reconstruction"
    names = tmp_path / "people.txt"
    names.write_text("\n".join(map(dataset.pseudonym, dataset.ids("train")[:3])))
    words = ("--data", sample_data(), "--model", sample_moderate(), "--patients", names, "--out", out)
    assert run("probe", "reconstruction", *words, "--knowledge-levels", "first_10, first_20") == 0
    assert set(Finding.load(out).patients["knowledge"]) == {"first_10", "first_20"}


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_what_is_stopped_while_a_query_runs_ends_as_interrupted(sent: signal.Signals) -> None:
    """DuckDB raises a RuntimeError of its own in place of the KeyboardInterrupt."""
    code = f"""
import duckdb, os, signal, sys, threading
from ehrmem_widgets import cli
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background job ignores
def endless(arguments):
    threading.Timer(0.5, os.kill, (os.getpid(), {int(sent)})).start()
    duckdb.sql("SET threads = 1")  # with more, DuckDB may wait for another thread to end the query
    duckdb.sql("SELECT sum(hash(a.range * b.range)) FROM range(1000000) a, range(1000000) b").fetchall()
cli.compare = endless
sys.exit(cli.main(["compare", "a", "b", "--out", "page.html"]))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert "Interrupted. Nothing half-finished" in one_sentence(ended.stderr) and ended.returncode == 130


def test_a_probe_writes_its_finding_and_says_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from ehrmem_widgets.findings.finding import Finding
    from ehrmem_widgets.samples.folders import sample_data

    dataset = MedsDataset(sample_data())
    people = dataset.patients.groupby("split").head(25)
    names = tmp_path / "people.txt"
    names.write_text("\n".join(people["pseudonym"]))
    out = tmp_path / "membership"
    assert run("probe", "membership", "--patients", names, "--seed", 3, "--out", out) == 0
    said = capsys.readouterr().out
    assert "AUROC" in said and "Left out: 25 (the reference model was trained on this patient)." in said
    found = Finding.load(out)
    assert found.settings["seed"] == 3
    assert not set(found.patients["patient"]) & set(map(str, people.index))  # pseudonyms only
    assert sorted(p.name for p in tmp_path.iterdir()) == ["membership", "people.txt"]
