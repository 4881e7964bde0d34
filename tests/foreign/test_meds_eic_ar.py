"""A model trained with PyPI meds-eic-ar, in its own vocabulary, audited end to end: check, T2, T4, the report; by folder and served."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ehrmem_widgets.blackbox.model_checks import every_check
from ehrmem_widgets.blackbox.opening import open_sources, open_unchecked
from ehrmem_widgets.cli import main
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.run import run
from ehrmem_widgets.reports.patient_report import make_report
from ehrmem_widgets.samples.folders import sample_data
from ehrmem_widgets.sources import Sources
from ehrmem_widgets.tokens.sequence import encode
from tests.blackbox.served import running_server

MODEL = Path(__file__).parent / "model"
SEQUENCES = MODEL / "sequences.parquet"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def given() -> Sources:
    return Sources(data=str(sample_data()), model=str(MODEL))


def test_every_patient_is_written_exactly_as_meds_eic_ar_wrote_them(given: Sources) -> None:
    dataset, model, _ = open_unchecked(given)
    assert model.vocabulary.token_scheme.name == "MEICAR" and model.vocabulary.token_scheme_guessed
    own = {row["subject_id"]: row["ids"] for row in pq.read_table(SEQUENCES).to_pylist()}
    records = dataset.records(list(own))
    assert len(records) == 3000
    wrong = [
        r.pseudonym for r in records if model.vocabulary.ids(encode(r, model.vocabulary).codes) != own[r.patient_id]
    ]
    assert wrong == []


def test_the_checks_pass_and_says_what_was_guessed(given: Sources) -> None:
    checks = {check.name: check for check in every_check(given)}
    assert [check for check in checks.values() if check.level == "fail"] == []
    assert checks["Token scheme"].words == "MEICAR, guessed from the codes."
    assert "which is the code" in checks["Configured start"].words  # its bos_token_id is a default
    assert "The age is the gap after MEDS_BIRTH" in checks["Time and age"].words
    assert checks["Reference model"].level == "warn"


def test_a_vocabulary_off_by_one_is_refused(given: Sources, tmp_path: Path) -> None:
    table = pq.read_table(MODEL / "codes.parquet")
    moved = {
        code: number - 1
        for code, number in zip(table["code"].to_pylist(), table["code/vocab_index"].to_pylist(), strict=True)
    }
    (tmp_path / "codes.json").write_text(json.dumps(moved))
    with pytest.raises(BadInput, match=r"the list of codes is off by one"):
        open_sources(Sources(data=given.data, model=given.model, vocabulary=str(tmp_path / "codes.json")))


def test_membership_and_leaks_of_the_foreign_model(given: Sources) -> None:
    dataset, model, _ = open_sources(given)
    patients = [*dataset.ids("train")[:40], *dataset.ids("held_out")[:40]]
    found = run("membership", dataset, model, patients=patients)
    assert found.estimate("auroc", attribute="Loss", group="all", model="audited").low > 0.8
    leaks = run("attribute", dataset, model, patients=patients[30:50], knowledge_levels=("one_lab",))
    assert len(leaks.about("figures", knowledge="one_lab")) and leaks.sentences


def test_its_own_sequences_do_as_well_as_the_records(given: Sources) -> None:
    dataset, model, _ = open_sources(Sources(model=given.model, sequences=str(SEQUENCES)))
    records, own, _ = open_sources(given)
    ids = dataset.ids("train")[:5]
    for mine, theirs in zip(dataset.records(ids), records.records(ids), strict=True):
        assert encode(mine, model.vocabulary).codes == encode(theirs, own.vocabulary).codes


@pytest.mark.slow
def test_the_report_of_the_folder_and_of_the_served_model_are_the_same(
    given: Sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"knowledge": "first_20", "samples": 16, "horizon": 8, "data": given.data}
    by_folder = make_report(tmp_path / "a.html", model=given.model, **settings)
    with running_server(MODEL) as (address, token):
        monkeypatch.setenv("EHRMEM_ENDPOINT_TOKEN", token)
        served = make_report(tmp_path / "b.html", model=address, vocabulary=str(MODEL / "codes.parquet"), **settings)
        assert main(["check", "--data", str(given.data), "--model", str(MODEL), "--endpoint", address]) == 0
    assert served["attributes"] == by_folder["attributes"] and by_folder["attributes"]
    assert token not in (tmp_path / "b.html").read_text() + (tmp_path / "b.json").read_text()


def test_the_commands_find_their_way(given: Sources, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--data", str(given.data), "--model", str(MODEL)]
    assert main(["check", *options, "--write-token-scheme", str(tmp_path / "token_scheme.yaml")]) == 0
    said = capsys.readouterr().out
    assert "pass  Has learned" in said and "warn  Token scheme: MEICAR, guessed" in said
    (tmp_path / "patients.txt").write_text("\n".join(map(str, _ids(given))))
    out = tmp_path / "m"
    more = [
        "--token-scheme",
        str(tmp_path / "token_scheme.yaml"),
        "--patients",
        str(tmp_path / "patients.txt"),
        "--out",
        str(out),
    ]
    assert main(["probe", "membership", *options, *more]) == 0
    assert Finding.load(out).probe == "membership"


def _ids(given: Sources) -> list[int]:
    table = pa.Table.from_pylist(pq.read_table(SEQUENCES).to_pylist())
    by_split: dict[str, list[int]] = {}
    for patient, split in zip(table["subject_id"].to_pylist(), table["split"].to_pylist(), strict=True):
        by_split.setdefault(split, []).append(patient)
    return [*by_split["train"][:20], *by_split["held_out"][:20]]
