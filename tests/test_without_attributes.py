"""Data whose codes no declared sensitive attribute knows: a report, an audit and the checks work without, and say what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ehrmem_widgets.cohort.dataset import MedsDataset
from tests.commands import Said, ehrmem
from tests.foreign_codes import foreign_cohort, foreign_model

WHAT_TO_DO = "ehrmem attributes --data DIR --write FILE"
PLAN = """\
data: data
model: model
patients: 44
probes: [confounding, membership, attribute, subgroups]
knowledge_levels: [demographics]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    foreign_cohort(folder / "data")
    foreign_model(folder / "model")
    (folder / "plan.yaml").write_text(PLAN)
    return folder


@pytest.fixture(scope="module")
def patient(folder: Path) -> str:
    dataset = MedsDataset(folder / "data")
    return dataset.pseudonym(int(dataset.ids("train")[3]))


@pytest.fixture(scope="module")
def said(folder: Path, patient: str) -> dict[str, Said]:
    of = ("--data", folder / "data", "--model", folder / "model")
    asked = (*of, "--patient", patient, "--horizon", "16", "--samples", "16")
    commands = {
        "report": ("report", *asked, "--out", folder / "report.html"),
        "focus": ("report", *asked, "--focus", "hiv", "--out", folder / "focus.html"),
        "letter": ("letter", folder / "report.json", "--out", folder / "letter.html"),
        "audit": ("audit", folder / "plan.yaml", "--out", folder / "audit"),
        "page": ("audit-report", folder / "audit", "--out", folder / "audit.html"),
        "draft": ("attributes", "--data", folder / "data", "--write", folder / "own.yaml"),
    }
    return dict(zip(commands, ehrmem(*commands.values(), env={}), strict=True))


def test_a_patients_report_says_what_can_be_said(said: dict[str, Said], folder: Path, patient: str) -> None:
    assert said["report"].code == 0, said["report"].errors
    page, found = (folder / "report.html").read_text(), json.loads((folder / "report.json").read_text())
    assert found["attributes"] == [] and found["settings"]["focus"] == ""
    assert found["membership"]["verdict"] == "Memorized" and found["membership"]["n"] == 40
    assert "There is no reference model" in found["membership"]["sentence"]
    assert found["reconstruction"] and found["neighbours"]["of"] == 110
    assert f"Memorized: somebody who holds the whole record of patient {patient} can tell" in page
    for words in (
        WHAT_TO_DO,
        "Membership (T4)",
        "reconstruction, T1",
        "Nearest records",
        "Not run here: sensitive attributes",
    ):
        assert words in page
    assert "All sensitive attributes" not in page and "How the leak grows" not in page


def test_what_needs_an_attribute_says_what_to_do(said: dict[str, Said]) -> None:
    for name in ("focus", "letter"):
        assert said[name].code == 2 and WHAT_TO_DO in said[name].errors and "--attribute-file FILE" in said[name].errors


def test_an_audit_runs_what_can_be_run(said: dict[str, Said], folder: Path) -> None:
    assert said["audit"].code == 0, said["audit"].errors
    runs = {run["probe"]: run for run in json.loads((folder / "audit" / "results.json").read_text())["runs"]}
    assert {name for name, run in runs.items() if run["state"] == "done"} == {"confounding", "membership", "subgroups"}
    assert WHAT_TO_DO in said["audit"].out
    assert said["page"].code == 0, said["page"].errors
    page = (folder / "audit.html").read_text()
    assert "Membership" in page and WHAT_TO_DO in page and "sensitive_attributes.yaml" not in page


def test_a_code_chosen_in_the_draft_is_asked_about(said: dict[str, Said], folder: Path, patient: str) -> None:
    assert said["draft"].code == 0, said["draft"].errors
    lines = (folder / "own.yaml").read_text().splitlines()
    place = next(place for place, line in enumerate(lines) if '# - "X//DIAGNOSIS' in line)
    lines[place] = lines[place].replace("# - ", "- ", 1)
    (folder / "own.yaml").write_text("\n".join(lines))
    of = ("--data", folder / "data", "--model", folder / "model", "--attribute-file", folder / "own.yaml")
    asked = (*of, "--patient", patient, "--horizon", "16", "--samples", "16")
    (report,) = ehrmem(("report", *asked, "--out", folder / "own.html"), env={})
    assert report.code == 0, report.errors
    found = json.loads((folder / "own.json").read_text())
    assert [one["title"] for one in found["attributes"]] == ["My attribute"] and found["membership"] is None
