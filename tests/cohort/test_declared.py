"""What people say of their own patients: further sensitive attributes, and the canaries that they planted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from ehrmem_widgets.audit.plan import read_plan
from ehrmem_widgets.audit.run import run_audit
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.ground_truth import COLUMNS, CanaryFile, canary_repetitions
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.people import CANARY, NULL_CANARY, choose_people
from ehrmem_widgets.probes.run import run
from ehrmem_widgets.registry import alternatives_for
from ehrmem_widgets.reports.audit_page import audit_page
from ehrmem_widgets.samples.canary_alternatives import canary_alternatives
from ehrmem_widgets.samples.folders import sample_data, sample_model
from tests.audit.small import write_plan

OWN = """attributes:
  - name: high_blood_pressure
    title: High blood pressure
    severity: 2
    reason: A matter of the patient and the doctor.
    sources: [this hospital]
    codes: {icd10cm: ["I10"]}
"""
ALTERNATIVES = 15


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.yaml"
    path.write_text(OWN)
    return path


def test_a_hospitals_own_attribute_is_asked_about_like_any_other(own: Path) -> None:
    dataset = MedsDataset(sample_data())
    before = dataset.fingerprint
    dataset.declare(attribute_file=own)
    assert dataset.attributes["high_blood_pressure"].title == "High blood pressure" and "hiv" in dataset.attributes
    assert "high_blood_pressure" in set(dataset.attribute_codes["attribute"])
    assert dataset.declared and dataset.fingerprint == before
    found = run(
        "attribute",
        dataset,
        FolderModel(sample_model()),
        attributes=["high_blood_pressure"],
        patients=dataset.holders(["high_blood_pressure"])[:8],
        knowledge_levels="one_lab",
        samples=4,
    )
    assert set(found.about("figures", figure="auroc")["attribute"]) >= {"high_blood_pressure"}


def test_a_name_that_is_taken_is_refused(own: Path) -> None:
    own.write_text(OWN.replace("name: high_blood_pressure", "name: hiv"))
    with pytest.raises(BadInput, match=r"own\.yaml: there is an attribute 'hiv' already"):
        MedsDataset(sample_data()).declare(attribute_file=own)


def test_an_audit_with_an_own_attribute_names_it_and_is_sealed_with_it(tmp_path: Path, own: Path) -> None:
    plan = write_plan(
        tmp_path,
        probes="[attribute]",
        more="attribute_file: own.yaml\nattributes: [high_blood_pressure, hiv]\nseverity: {high_blood_pressure: {severity: 4, reason: jobs}}\n",
    )
    out = tmp_path / "out"
    run_audit(read_plan(plan), out)
    results = json.loads((out / "results.json").read_text())
    assert results["attributes"]["high_blood_pressure"] == "High blood pressure"
    assert "High blood pressure" in audit_page(out)
    own.write_text(OWN.replace("I10", "I11"))
    with pytest.raises(BadInput, match="the attribute file or the canaries changed since"):
        run_audit(read_plan(plan), out)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """Eight of the sample cohort's canaries as a hospital would name them: as many never trained on."""
    dataset = MedsDataset(sample_data())
    planted = canary_repetitions(dataset)
    chosen = [p for p, n in planted.items() if n == 16][:8] + [p for p, n in planted.items() if n == 0][:8]
    rows = [
        (record.patient_id, planted[record.patient_id], number, event.time, event.code, event.value)
        for record in dataset.records(chosen)
        for number, other in enumerate(canary_alternatives(record, ALTERNATIVES, 1), start=1)
        for event in other.events
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


@pytest.fixture
def declared(table: pd.DataFrame, tmp_path: Path) -> Callable[..., MedsDataset]:
    def make(**changes: object) -> MedsDataset:
        table.assign(**changes).to_parquet(tmp_path / "planted.parquet")
        dataset = MedsDataset(sample_data())
        dataset.declare(canaries=tmp_path / "planted.parquet")
        return dataset

    return make


def test_a_hospitals_own_canaries_are_found_as_the_samples_are(declared: Callable[..., MedsDataset]) -> None:
    dataset, model = declared(), FolderModel(sample_model())
    people = choose_people(dataset, model, most=4)
    assert people.counts()[CANARY] == people.counts()[NULL_CANARY] == 8
    found = run("exposure", dataset, model, people=people, alternatives_of=alternatives_for(dataset))
    planted, never = (
        found.estimate("mean_exposure", group=group, model="audited") for group in (f"{CANARY} x16", NULL_CANARY)
    )
    assert planted.value > 3.5 and never.value < 3  # of log2(16) = 4 bits
    assert set(found.about("patients", figure="exposure")["n"]) == {ALTERNATIVES + 1}


def own_values(table: pd.DataFrame) -> pd.Series:
    """The record's own value in every row of an alternative."""
    records = {record.patient_id: record for record in MedsDataset(sample_data()).records(set(table["subject_id"]))}
    place = table.groupby(["subject_id", "alternative"]).cumcount()
    values = [records[patient].events[i].value for patient, i in zip(table["subject_id"], place, strict=True)]
    return pd.Series(values, index=table.index, dtype=float)


def test_what_is_wrong_with_the_canaries_is_said(
    declared: Callable[..., MedsDataset], table: pd.DataFrame, tmp_path: Path
) -> None:
    for changes, words in (
        ({"code": "X"}, "other codes than its record"),
        ({"subject_id": 10**9}, "name 1 patients that .* does not have"),
        ({"repetitions": range(len(table))}, "one number of repetitions"),
        ({"repetitions": "often"}, "repetitions must be a whole number in every row, 0 or more"),
        ({"repetitions": 1.5}, "repetitions must be a whole number"),
        ({"subject_id": "x"}, "subject_id must be a whole number"),
        ({"alternative": float("nan")}, "alternative must be a whole number"),
        ({"numeric_value": float("inf")}, "numeric_value must be a number, or missing"),
        ({"numeric_value": "high"}, "numeric_value must be a number, or missing"),
        ({"numeric_value": own_values(table)}, "every alternative of P-.* is its own record"),
    ):
        with pytest.raises(BadInput, match=words):
            canary_repetitions(declared(**changes))
    table.iloc[:0].to_parquet(tmp_path / "nobody.parquet")
    with pytest.raises(BadInput, match=r"nobody\.parquet name nobody"):
        CanaryFile.read(tmp_path / "nobody.parquet", MedsDataset(sample_data()))
    table.drop(columns="alternative").to_parquet(tmp_path / "short.parquet")
    with pytest.raises(
        BadInput, match=r"short\.parquet cannot be read .*Expected a Parquet file with the columns subject_id"
    ):
        CanaryFile.read(tmp_path / "short.parquet", MedsDataset(sample_data()))
    with pytest.raises(BadInput, match="There is no file of canaries"):
        MedsDataset(sample_data()).declare(canaries=tmp_path / "nowhere.parquet")
