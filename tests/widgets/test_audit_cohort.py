"""The audit's screen: run, paused, resumed; severities that people declare, both versions kept; the matrix follows."""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.registry import probes
from ehrmem_widgets.widgets.audit_cohort import AuditCohort
from tests.audit.small import write_plan
from tests.views.examples import words


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


def test_the_answer_stands_on_top_and_the_matrix_beside_the_severities(screen: AuditCohort) -> None:
    told = words(screen._bar.value)
    tests = sum(bool(line.verdict) for name, line in screen.audit.headlines.items() if probes()[name].compares)
    assert (
        f"of {tests} tests" in told
        and screen._bar.value in AuditCohort(screen.plan_file, screen.out, live=False).page()
    )
    editor, matrix = screen._beside.children
    assert screen._editor in editor.children and screen._matrix in matrix.children
    assert screen._beside.layout.display is None and screen._beside.layout.flex_flow == "row wrap"


def test_a_plan_is_chosen_in_the_field_and_a_wrong_one_is_refused_in_words(screen: AuditCohort, tmp_path: Path) -> None:
    small = AuditCohort()
    try:
        wrong = tmp_path / "wrong.yaml"
        wrong.write_text("pateints: 3\n")
        for given, said in ((str(wrong), "Is 'patients' meant"), (str(tmp_path / "none.yaml"), "none.yaml")):
            small._plan.value = given
            assert said in html.unescape(small._error.value) and small._start.disabled
            assert small.plan.name == "a small audit of the sample patients"
        small._plan.value = str(screen.plan_file)
        assert not small._start.disabled and small._error.value == ""
        assert small.plan.name == "small" and small.out == screen.plan_file.with_name("plan_results")
        small._folder.value = str(screen.out)  # of an audit that was finished: it is shown
        assert small.audit is not None and small.audit.finished and "Not run yet" not in small._bar.value
        assert small._bar.value == screen._bar.value
    finally:
        small.close()


def test_before_anything_is_sealed_it_says_what_cannot_be_decided_and_how_long_it_takes(tmp_path: Path) -> None:
    screen = AuditCohort(write_plan(tmp_path), tmp_path / "results")
    try:
        assert screen.wait(240)
        said = words(screen._ahead.value)
        assert said.startswith("With 14 people this plan will not be able to decide everything:")
        assert (
            "HIV" in said
            and "19 holders among the members and 19 among people never seen are needed. Set holders to 19" in said
        )
        assert "measured just now on 8 people in each of 2 tests" in said
        assert not (tmp_path / "results").exists()
    finally:
        screen.close()


def test_a_plan_with_a_mistake_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("pateints: 3\n")
    with pytest.raises(BadInput, match=r"Is 'patients' meant"):
        AuditCohort(tmp_path / "plan.yaml", tmp_path / "out")
