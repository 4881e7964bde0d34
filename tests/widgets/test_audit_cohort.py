"""The audit's screen: run, paused, resumed; severities that people declare, both versions kept; the matrix follows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.widgets.audit_cohort import AuditCohort
from tests.audit.small import write_plan


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuditCohort]:
    folder = tmp_path_factory.mktemp("audit")
    screen = AuditCohort(write_plan(folder), folder / "results")
    screen.run()
    screen.stop()  # paused at the first word of progress
    assert screen.wait(120)
    assert "Paused. What is done is kept" in screen._error.value and screen.audit is None
    screen.run()
    assert screen.wait(240)
    yield screen
    screen.close()


def test_a_paused_audit_is_taken_up_and_shown(screen: AuditCohort) -> None:
    assert screen.audit is not None and screen.audit.finished and screen.results()["finished"]
    assert "Threat model" in screen._view.value and "P-" not in screen._view.value
    static = AuditCohort(screen.plan_file, screen.out, live=False)
    assert "Risk matrix" in static.page() and "Threat model" in static.page()


def test_the_matrix_follows_a_slider_and_both_versions_are_kept(screen: AuditCohort) -> None:
    name = next(iter(screen._rows))
    before, (slider, reason) = screen._matrix.value, screen._rows[name]
    slider.value = 1 if slider.value != 1 else 2
    assert screen._matrix.value != before
    with pytest.raises(BadInput, match=r"Say who declares these severities"):
        screen.save_severities(" ")
    said, reason.value = reason.value, " "
    with pytest.raises(BadInput, match=r"needs a severity and a reason in words"):
        screen.save_severities("ethics board")
    reason.value = said or "because"
    declared = slider.value
    screen.save_severities("ethics board")
    saved = yaml.safe_load((screen.out / "severity.yaml").read_text())
    assert [one["by"] for one in saved] == ["plan", "ethics board"]
    assert saved[1]["severities"][name]["severity"] == declared != saved[0]["severities"][name]["severity"]
    assert "2 saved versions; the last by ethics board" in screen._matrix.value


def test_a_plan_with_a_mistake_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("pateints: 3\n")
    with pytest.raises(BadInput, match=r"Is 'patients' meant"):
        AuditCohort(tmp_path / "plan.yaml", tmp_path / "out")
