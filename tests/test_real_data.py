"""Data that we did not make: real hospital patients (MIMIC-IV demo) and Synthea's, read where they lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehrmem_widgets.attacker.facts import facts_of_level
from ehrmem_widgets.attacker.identifiability import FactIndex
from ehrmem_widgets.attacker.prompt import build_prompt
from ehrmem_widgets.blackbox.checks import check_vocabulary_fits
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.tokens.vocabulary import learn_vocabulary

pytestmark = pytest.mark.shared_data
SETS = {"mimic-iv-demo-meds": (100, {"train": 80, "tuning": 10, "held_out": 10}), "synthea-meds": (1461, None)}


@pytest.mark.parametrize("name", SETS)
def test_from_the_data_set_to_a_prompt(name: str, shared_data: Path) -> None:
    patients, splits = SETS[name]
    dataset = MedsDataset(shared_data / name)
    assert len(dataset) == len(dataset.patients) == patients
    assert splits is None or dataset.splits == splits
    vocabulary = learn_vocabulary(dataset)
    assert check_vocabulary_fits(vocabulary, dataset) > 0.9
    index = FactIndex(dataset, vocabulary)
    for patient in dataset.ids("held_out")[:5]:
        record = dataset.record(dataset.pseudonym(patient))
        sequence = encode(record, vocabulary)
        assert record.patient_id == patient and sequence.left_out < 0.2 * len(record.events)
        facts = facts_of_level("lab_values", record, vocabulary)
        prompt = build_prompt(record, facts, vocabulary)
        known = index.count(record, prompt.facts)
        assert 1 <= known.k <= known.n == patients
        assert len(prompt.facts) + prompt.left_out == len(facts)
