"""Two real audits of one cohort, before and after a person left."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehrmem_widgets import cli
from ehrmem_widgets.cohort.dataset import MedsDataset
from tests.audit.small import write_plan


def run(*words: str | Path) -> int:
    """The command, and its exit code."""
    return cli.main([*map(str, words)])


def test_one_person_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = write_plan(tmp_path, probes="[membership]", patients=22)
    dataset = MedsDataset(tmp_path / "data")
    asked = [dataset.pseudonym(one) for one in [*dataset.ids("train")[:14], *dataset.ids("held_out")[:14]]]
    plan.write_text(plan.read_text().replace("patients: 22", "patients: people.txt"))
    for name, people in (("before", asked), ("after", asked[1:]), ("again", asked)):
        (tmp_path / "people.txt").write_text("\n".join(people))
        assert run("audit", plan, "--out", tmp_path / name) == 0
    assert run("audit-report", tmp_path / "before", "--out", tmp_path / "before.html") == 0
    capsys.readouterr()
    assert run("audit-report", tmp_path / "after", "--out", tmp_path / "after.html") == 2
    said = capsys.readouterr().err
    assert "nearly the same people" in said and asked[0] not in said and not (tmp_path / "after.html").exists()
    assert run("export", tmp_path / "after", "--out", tmp_path / "travels") == 2
    assert run("letter", tmp_path / "after", "--out", tmp_path / "letter.html") == 2
    assert run("audit-report", tmp_path / "again", "--out", tmp_path / "again.html") == 0
