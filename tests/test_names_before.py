"""What had another name before version 0.2 is refused at every door, and the sentence says what it is called now."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ehrmem_widgets.audit.plan import read_plan
from ehrmem_widgets.cli import main
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.findings.finding import SCHEMA, Finding, OtherVersion, finding
from ehrmem_widgets.probes.options import given
from ehrmem_widgets.registry import probe_named
from ehrmem_widgets.reports.patient_report import checked_parameters
from ehrmem_widgets.sources import given_sources
from ehrmem_widgets.tokens.token_scheme import token_scheme_in


@pytest.mark.parametrize(
    ("words", "now"),
    [
        (["report", "--rung", "one_lab", "--out", "x.html"], "--rung is called --knowledge now"),
        (["report", "--rung=one_lab", "--out", "x.html"], "--rung is called --knowledge now"),
        (["probe", "attribute", "--rung", "one_lab", "--out", "x"], "--rung is called --knowledge now"),
        (["probe", "attribute", "--rungs", "one_lab", "--out", "x"], "--rungs is called --knowledge-levels now"),
        (["check", "--grammar", "meicar"], "--grammar is called --token-scheme now"),
        (["check", "--write-grammar", "x.yaml"], "--write-grammar is called --write-token-scheme now"),
    ],
)
def test_options(words: list[str], now: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2 and now in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "now"),
    [
        ("rungs: [one_lab]", "knowledge_levels"),
        ("rung_of: {embedding: one_lab}", "knowledge_of"),
        ("grammar: ethos", "token_scheme"),
    ],
)
def test_plans(line: str, now: str, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(f"data: meds\nmodel: model\n{line}\n")
    with pytest.raises(BadInput, match=f"It is called '{now}' now"):
        read_plan(tmp_path / "plan.yaml")


@pytest.mark.parametrize(("name", "now"), [("rung", "knowledge"), ("grammar", "token_scheme")])
def test_parameters_of_notebooks(name: str, now: str) -> None:
    with pytest.raises(BadInput, match=f"There is no parameter '{name}'. It is called '{now}' now."):
        checked_parameters({name: "one_lab"})


@pytest.mark.parametrize("name", ["rung", "rungs"])
def test_the_keyword_of_run(name: str) -> None:
    with pytest.raises(BadInput, match=f"'{name}' is called 'knowledge_levels' now"):
        given(probe_named("attribute"), None, {name: "one_lab"})


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EHRMEM_GRAMMAR", "meicar")
    with pytest.raises(BadInput, match="EHRMEM_GRAMMAR, which is called EHRMEM_TOKEN_SCHEME now"):
        given_sources()


def test_the_file_beside_a_model(tmp_path: Path) -> None:
    (tmp_path / "grammar.toml").write_text("preset = 'ethos'")
    with pytest.raises(BadInput, match=r"grammar.toml is called token_scheme.toml now: rename the file"):
        token_scheme_in(tmp_path)


def test_findings_with_the_old_columns(tmp_path: Path) -> None:
    finding("attribute", [], {}, ()).save(tmp_path / "found")
    about = tmp_path / "found" / "finding.json"
    about.write_text(json.dumps({**json.loads(about.read_text()), "schema": SCHEMA - 1}))
    with pytest.raises(OtherVersion, match="another version"):  # not "damaged": removing it would not help
        Finding.load(tmp_path / "found")
