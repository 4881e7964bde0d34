"""The whole way on data that we did not make: real hospital patients (MIMIC-IV demo) and Synthea's. Read where they lie."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ehrmem_widgets.blackbox.training import train_model
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.vocabulary import learn_vocabulary
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.widgets.explore_patient import ExplorePatient

pytestmark = pytest.mark.shared_data
SETS = {"mimic-iv-demo-meds": (100, {"train": 80, "tuning": 10, "held_out": 10}), "synthea-meds": (1461, None)}


@pytest.mark.parametrize("name", SETS)
def test_open_train_explore(name: str, shared_data: Path, tmp_path: Path) -> None:
    patients, splits = SETS[name]
    dataset = MedsDataset(shared_data / name)
    assert len(dataset) == patients and (splits is None or dataset.splits == splits)
    vocabulary = learn_vocabulary(dataset)
    for folder, split, epochs in (("model", "train", 8), ("reference", "tuning", 40)):
        train_model(
            dataset, tmp_path / folder, split=split, epochs=epochs, vocabulary=vocabulary, width=32, layers=1, context=256,
            report=lambda line: None,
        )  # fmt: skip
    view = ExplorePatient(
        shared_data / name,
        model=tmp_path / "model",
        reference=tmp_path / "reference",
        rung="lab_values",
        samples=64,
        live=False,
    )
    results = view.results()
    page = view.page()
    assert re.fullmatch(r"P-[A-Z2-7]{4}-[A-Z2-7]{4}", results["patient"])
    if view.state.patient_id > 10**6:  # a small number occurs by chance
        assert str(view.state.patient_id) not in json.dumps(results) + page
    assert {finding["verdict"] for finding in results["attributes"]} <= {str(verdict) for verdict in Verdict}
    assert results["known"]["k"] >= 1 and results["settled"]
    if name.startswith("mimic"):  # ten people whom no model saw are too few to call anybody's record memorized
        assert all(finding["verdict"] != Verdict.MEMORIZED for finding in results["attributes"])
    view.close()
