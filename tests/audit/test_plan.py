"""A plan says what is asked before anything is asked: every mistake in it is refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ehrmem_widgets.audit.plan import check_severities, example, read_plan
from ehrmem_widgets.audit.run import run_audit
from ehrmem_widgets.cli import main
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.registry import probes
from ehrmem_widgets.samples.folders import sample_model


def plan(tmp_path: Path, text: str) -> Path:
    (tmp_path / "plan.yaml").write_text(text)
    return tmp_path / "plan.yaml"


def test_the_example_is_a_plan_and_names_every_probe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", "--example"]) == 0
    found = read_plan(plan(tmp_path, capsys.readouterr().out))
    assert found.probes == tuple(probes()) and found.patients == 400 and not found.identifying
    assert found.sources.model == str(sample_model())
    assert set(yaml.safe_load(example())) <= {
        "name", "patients", "holders", "probes", "knowledge_levels", "knowledge_of", "attributes", "priors", "seed", "identifying",
    }  # fmt: skip


def test_a_population_is_declared_or_not(tmp_path: Path) -> None:
    assert read_plan(plan(tmp_path, "population: 300000\n")).population == 300_000
    assert read_plan(plan(tmp_path, "seed: 0\n")).population is None


def test_a_population_smaller_than_the_data_set_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="at least the 3,000 patients themselves; got 2999"):
        run_audit(read_plan(plan(tmp_path, "population: 2999\n")), tmp_path / "out")
    assert not (tmp_path / "out" / "audit.json").exists()


def test_a_price_is_declared_or_not(tmp_path: Path) -> None:
    found = read_plan(plan(tmp_path, "price: 0.50 EUR per 1000 codes\n"))
    assert found.as_json()["price"] == str(found.price) == "0.5 EUR per 1000 codes"
    assert read_plan(plan(tmp_path, "seed: 0\n")).as_json()["price"] is None


def test_folders_are_relative_to_the_plan(tmp_path: Path) -> None:
    for name in ("meds", "model"):
        (tmp_path / name).mkdir()
    found = read_plan(plan(tmp_path, "data: meds\nmodel: model\nreference: http://127.0.0.1:9\ntoken_scheme: meicar\n"))
    assert found.sources.data == str(tmp_path / "meds") and found.sources.model == str(tmp_path / "model")
    assert found.sources.reference == ("http://127.0.0.1:9",) and found.sources.token_scheme == "meicar"


def test_the_confounding_check_is_always_run_and_patients_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "who.txt").write_text("P-AAAA-AAAA\nP-BBBB-BBBB\nP-AAAA-AAAA\n")
    found = read_plan(plan(tmp_path, "probes: [membership]\npatients: who.txt\n"))
    assert found.probes == ("membership", "confounding") and found.patients == ("P-AAAA-AAAA", "P-BBBB-BBBB")
    assert found.holders == 0 and read_plan(plan(tmp_path, "patients: 40\n")).holders == 25


def test_the_hash_changes_with_what_the_results_depend_on_and_with_nothing_else(tmp_path: Path) -> None:
    def hash_of(text: str) -> str:
        return read_plan(plan(tmp_path, text)).hash

    same = hash_of("seed: 0\n")
    assert hash_of("name: other\n") == same and hash_of("# words\nprobes: " + str(list(probes())) + "\n") == same
    assert hash_of("price: 0.5 EUR per 1000 questions\n") == same  # no answer depends on it
    others = ["seed: 1", "patients: 40", "holders: 3", "knowledge_levels: [nothing]", "priors: [0.5]", "identifying: true", "attributes: [hiv]", "probes: [membership]", "population: 300000",
              "knowledge_of: {embedding: first_10}", "severity: {hiv: {severity: 1, reason: curable}}"]  # fmt: skip
    assert len({hash_of(text + "\n") for text in others} | {same}) == len(others) + 1


BAD = {
    "pateints: 3": "'pateints' is an unknown plan key. Is 'patients' meant?",
    "- a": "must hold names and values",
    "a: [": "cannot be read as YAML",
    "probes: [membreship]": "there is nothing called 'membreship' among probes. Is 'membership' meant?",
    "attributes: [hivv]": "there is nothing called 'hivv' among attributes. Is 'hiv' meant?",
    "knowledge_levels: [everything]": "There is no knowledge level 'everything'",
    "knowledge_levels: []": "Knowledge levels are given as a list of at least one",
    "knowledge_of: {membership: one_lab}": "knowledge_of gives a knowledge level to embedding, perturbation, subgroups",
    "holders: some": "holders must be a whole number from 0 to 100000",
    "patients: 1": "patients must be a whole number from 2 to 10000000",
    "patients: nowhere.txt": "the file of patients 'nowhere.txt' cannot be read",
    "priors: [1.0]": "each of priors must be a number above 0 and below 1",
    "seed: -1": "seed must be a whole number from 0 to",
    "population: 0": "population must be a whole number from 1 to",
    "population: many": "population must be a whole number from 1 to",
    "price: 0.5 EUR": "price must be an amount with its currency, such as 0.50 EUR per 1000 questions",
    "price: 3": "price must be a text",
    "identifying: perhaps": "identifying must be true or false",
    "severity: {hiv: {severity: 9, reason: x}}": "the severity of hiv must be a whole number from 1 to 5",
    "severity: {hivv: {severity: 3, reason: x}}": "there is no attribute 'hivv'. Is 'hiv' meant?",
    "severity: nowhere.yaml": "The severities",
    "data: meds": "Give the data set and the model together",
    "model: 3": "model must be a text",
}


@pytest.mark.parametrize(("text", "told"), BAD.items())
def test_a_mistake_is_refused_in_words_before_anything_is_asked(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        read_plan(plan(tmp_path, text + "\n"))
    assert told in str(caught.value)


def test_a_plan_that_is_not_there_and_a_severity_without_a_reason(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"'ehrmem audit --example' prints one"):
        read_plan(tmp_path / "none.yaml")
    with pytest.raises(BadInput, match="hiv needs a severity"):
        check_severities({"hiv": {"severity": 3, "reason": "  "}}, "here")
