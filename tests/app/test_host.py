"""``ehrmem app --host``: what is refused, what is said, and that nothing but the samples can be opened then."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from ehrmem_widgets.app.serve import PASSWORD, allow_network, is_private, options, screens
from ehrmem_widgets.audit.plan import OWN_FOLDER, read_plan
from ehrmem_widgets.cli import main
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_private, sample_reference
from ehrmem_widgets.sources import SAMPLES_ONLY, given_sources
from ehrmem_widgets.widgets.audit_cohort import AuditCohort


@pytest.fixture(autouse=True)
def kept_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the code under test puts into the environment is taken out again."""
    for name in (SAMPLES_ONLY, PASSWORD, "EHRMEM_DATA", "EHRMEM_MODEL", "EHRMEM_REFERENCE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.fixture
def password(tmp_path: Path) -> Path:
    (tmp_path / "password").write_text("correct horse\nmore\n")
    return tmp_path / "password"


def test_an_address_of_this_computer() -> None:
    assert is_private("127.0.0.1") and not is_private("0.0.0.0")
    for given, said in (("example.org", "must be an address"), ("203.0.113.7", "no address of this computer")):
        with pytest.raises(BadInput, match=said):
            is_private(given)


def test_it_warns_keeps_a_hash_and_shows_the_samples_only(password: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from jupyter_server.auth.security import passwd_check

    kept = allow_network("0.0.0.0", real_patients=False, password_file=password)
    assert kept.startswith("argon2:") and passwd_check(kept, "correct horse")
    assert os.environ[SAMPLES_ONLY] == "1"
    said = capsys.readouterr().out
    for words in ("made up", "unencrypted", "no other file of this computer", "password"):
        assert words in said
    assert "correct horse" not in said


def test_a_password_in_the_environment_is_not_handed_to_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSWORD, "correct horse")
    allow_network("0.0.0.0", real_patients=False, password_file=None)
    assert PASSWORD not in os.environ


def test_a_short_password_is_refused(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("horse\n")
    with pytest.raises(BadInput, match="has 5 characters; 8 or more"):
        allow_network("0.0.0.0", real_patients=False, password_file=tmp_path / "short")


@pytest.mark.parametrize(
    ("words", "typed", "said"),
    [
        (
            ["--host", "0.0.0.0", "--data", "D", "--model", "M"],
            "",
            "only the sample patients and models are shown, but data is named",
        ),
        (["--host", "0.0.0.0", "--real-patients"], "", "goes with data and a model of your own"),
        (["--host", "0.0.0.0", "--real-patients", "--data", "D", "--model", "M"], "yes\n", "Not confirmed"),
        (["--host", "0.0.0.0", "--real-patients", "--data", "D", "--model", "M"], "", "Not confirmed"),
        (["--real-patients"], "", "go with --host"),
        (["--host", "127.0.0.1", "--real-patients"], "", "go with --host"),
    ],
)
def test_real_patients_are_shown_only_when_told_twice(
    words: list[str],
    typed: str,
    said: str,
    password: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = {"D": str(sample_data()), "M": str(sample_model())}
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    given = ["app", "--no-browser", *(named.get(word, word) for word in words), "--password-file", str(password)]
    assert main(given) == 2
    assert said in capsys.readouterr().err


def test_told_twice_they_are_shown(
    password: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EHRMEM_DATA", str(sample_data()))
    monkeypatch.setenv("EHRMEM_MODEL", str(sample_model()))
    monkeypatch.setattr("sys.stdin", io.StringIO("0.0.0.0\n"))
    assert allow_network("0.0.0.0", real_patients=True, password_file=password).startswith("argon2:")
    assert SAMPLES_ONLY not in os.environ and "diagnoses, drugs, laboratory values" in capsys.readouterr().out


def test_with_samples_only_nothing_else_can_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SAMPLES_ONLY, "1")
    samples = given_sources()
    again = given_sources(
        data=samples.data, model=str(sample_private()), reference=[str(sample_reference())], training_split="train"
    )
    assert again.data == samples.data  # a report names them
    for elsewhere in (str(tmp_path), "/", "http://127.0.0.1:8000", f"{sample_data()}/../../docs"):
        for named in (
            {"data": elsewhere, "model": str(sample_model())},
            {"data": str(sample_data()), "model": elsewhere},
            {"reference": elsewhere},
            {"endpoint": elsewhere, "data": str(sample_data())},
            {"attribute_file": elsewhere},
            {"canaries": elsewhere},
            {"sequences": elsewhere, "model": str(sample_model())},
        ):
            with pytest.raises(BadInput, match="Only the sample patients and models"):
                given_sources(**named)


@pytest.mark.parametrize("line", ["patients: /etc/hostname", "severity: /etc/hostname", "data: /etc\nmodel: /etc"])
def test_nor_by_a_plan(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / f"{OWN_FOLDER}x"
    own.mkdir()
    for folder in (own, tmp_path):
        (folder / "plan.yaml").write_text(f"name: x\n{line}\n")
    monkeypatch.setenv(SAMPLES_ONLY, "1")
    for plan in (own / "plan.yaml", tmp_path / "plan.yaml"):
        with pytest.raises(BadInput, match="Only the sample patients and models"):
            read_plan(plan)
    (own / "plan.yaml").write_text("name: x\n")
    assert read_plan(own / "plan.yaml").sources.data == str(sample_data())


def test_nor_are_results_written_where_a_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SAMPLES_ONLY, "1")
    with pytest.raises(BadInput, match="Only the sample patients and models"):
        AuditCohort(out=tmp_path / "results", live=False)
    assert not list(tmp_path.iterdir())


def test_nothing_can_be_overridden_by_an_address_and_idle_pages_end(tmp_path: Path) -> None:
    given = options(tmp_path, 8866, host="0.0.0.0", token="", password="argon2:x")
    for one in (
        "allow_template_override=NO",
        "show_tracebacks=False",
        "cull_idle_timeout=1200",
        "cull_connected=True",
        "file_denylist=.*",
    ):
        assert any(word.endswith(one) for word in given), one


def test_the_first_page_says_what_each_screen_is_for() -> None:
    assert len(screens()) >= 7
    for name, title, what in screens():
        assert name.endswith(".ipynb") and title and len(what) > 30 and "*" not in what
