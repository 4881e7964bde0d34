"""The first screen for a model of one's own: the same lines as the command, errors in words, what to do next."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ehrmem_widgets.cohort.check import Check
from ehrmem_widgets.probes.answerable import Answerable
from ehrmem_widgets.probes.needs import Can
from ehrmem_widgets.registry import probes
from ehrmem_widgets.samples.folders import sample_data, sample_model
from ehrmem_widgets.views.check_list import check_list
from ehrmem_widgets.widgets.check_your_model import CheckYourModel
from tests.views.examples import assert_harmless, label, words
from tests.widgets.opened import few_patients


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "MODEL", "REFERENCE"):
        monkeypatch.delenv(f"EHRMEM_{name}", raising=False)


def test_the_samples_pass_live_and_static_and_what_to_do_next_is_shown() -> None:
    static, live = CheckYourModel(live=False), CheckYourModel()
    assert live.wait(60)
    try:
        assert [(c.name, c.level) for c in live.checks] == [(c.name, c.level) for c in static.checks]
        assert not [check for check in static.checks if check.level == "fail"]
        assert "ehrmem explore" in live._next.value and "Failed" not in live._view.value
        assert static.results()["checks"][0]["level"] == "pass"
        page = static._repr_mimebundle_()["text/html"]
        assert "Model opens" in page and "P-" not in page
    finally:
        live.close()


def test_a_field_that_is_wrong_fails_in_words_and_shows_no_next_step(tmp_path: Path) -> None:
    shutil.copytree(sample_model(), tmp_path / "model")
    next((tmp_path / "model").glob("*.safetensors")).unlink()
    screen = CheckYourModel(data=str(sample_data()), model=str(tmp_path / "model"))
    assert screen.wait(60)
    try:
        failed = [check for check in screen.checks if check.level == "fail"]
        assert failed and "holds no weights" in failed[0].words and screen._next.value == ""
        screen._fields["data"].value = ""
        screen._fields["model"].value = str(tmp_path / "model")
        screen.check()
        assert "Give the data set and the model together" in screen._view.value
    finally:
        screen.close()


def test_the_list_says_what_the_checks_come_to_and_escapes_what_it_shows() -> None:
    bad = Check("<b>name", "fail", "<script>x</script>", "<i>do")
    warned, passed = Check("W", "warn", "careful"), Check("P", "pass", "fine")
    assert "1 check failed: an audit would be wrong" in check_list([passed, warned, bad])
    assert "Nothing failed. 1 warning" in check_list([passed, warned])
    assert "Everything passed" in check_list([passed]) and "Looking" in check_list([], running=True)
    assert_harmless(check_list([bad]))


def test_what_can_be_done_stands_before_the_checks_what_cannot_first_and_each_thing_to_do_once() -> None:
    why, todo = ("no <b>codes</b>",), ("declare some",)
    tests = [
        Answerable("membership", "T4 Membership", Can.YES),
        Answerable("exposure", "Exposure", Can.NO, why, todo),
        Answerable("attribute", "T2 Attributes", Can.IN_PART, (), todo),
    ]
    partly = Check("R", "fail", "broken", stops="reference")
    made = check_list([partly], tests)
    assert made.index("&lt;b&gt;") < made.index("T2 Attributes") < made.index("T4 Membership") < made.index("broken")
    assert made.count("declare some") == 1 and "To do for Exposure, T2:" in words(made)
    assert label(made) == "Answer about the checks: It can be audited in part" and "some tests would be wrong" in made
    stopped = check_list([Check("M", "fail", "no weights")], tests)
    assert stopped.index("no weights") < stopped.index("T4 Membership")
    assert_harmless(made)


def test_data_alone_are_checked_on_the_screen(tmp_path: Path) -> None:
    screen = CheckYourModel(data=str(few_patients(tmp_path / "d")))
    assert screen.wait(60)
    try:
        assert len(screen.tests) == len(probes()) == len(screen.results()["tests"])
        assert "It asks a model for continuations" in screen._view.value and screen._next.value == ""
        assert "The data can be audited" in words(screen._bar.value)
    finally:
        screen.close()


def test_what_failed_stands_first_already_while_further_checks_run() -> None:
    bad, warned, passed = Check("B", "fail", "broken"), Check("W", "warn", "careful"), Check("P", "pass", "fine")
    for running in (True, False):
        made = check_list([passed, warned, bad], running=running)
        assert made.index("broken") < made.index("careful") < made.index("fine")
        assert label(made) == "Answer about the checks: It cannot be audited yet"
    assert "Failed 1 check Warning 1 check Passed 1 check" in words(made)
