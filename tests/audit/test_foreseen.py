"""What a plan cannot decide is said before it is sealed, and is what the audit then says; the numbers come from the rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehrmem_widgets import cli
from ehrmem_widgets.audit.foreseen import foresee, undecidable
from ehrmem_widgets.audit.plan import read_plan
from ehrmem_widgets.audit.run import SEAL, open_plan, run_audit
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.base import Compared
from ehrmem_widgets.probes.membership.judge import no_difference
from ehrmem_widgets.registry import probes
from ehrmem_widgets.reports.audit_page import audit_page
from ehrmem_widgets.statistics import verdicts
from ehrmem_widgets.statistics.verdicts import FEWEST_CONTROLS, PositiveControl, Verdict
from tests.audit.small import write_plan

TEST = next(name for name, probe in probes().items() if probe.compares)


def test_too_few_are_named_with_what_is_needed_and_small_counts_are_not() -> None:
    few = {TEST: [Compared(7, 30), Compared(4, 6, what="HIV"), Compared(18, 40, what="Abuse")]}
    first, rare = undecidable(few, holders=4)
    title = probes()[TEST].full_title
    assert (
        first
        == f"{title} cannot be decided: fewer than 11 members and 30 people never seen are compared; 19 of each are needed."
    )
    assert rare.startswith(
        "HIV and Abuse cannot be decided: 19 holders among the members and 19 among people never seen are needed."
    )
    assert rare.endswith("Set holders to 19 or more.")
    assert undecidable(few, holders=25)[1].endswith("The data do not have so many.")
    enough = {TEST: [Compared(19, 19), Compared(19, 19, what="HIV")]}
    assert undecidable(enough, holders=25) == []


def test_the_number_needed_follows_the_verdict_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdicts.judge_cohort, "__kwdefaults__", {**verdicts.judge_cohort.__kwdefaults__, "fewest": 31})
    assert "31 of each are needed" in undecidable({TEST: [Compared(20, 20)]}, holders=0)[0]


def test_memory_that_could_not_be_ruled_out_is_said_with_how_many_would_do() -> None:
    def said(n: int) -> list[str]:
        one = Compared(n, n, no_difference=lambda a, b: no_difference(a, b, PositiveControl.FOUND))
        return undecidable({TEST: [one]}, holders=0)

    (sentence,) = said(30)
    least = int(sentence.partition("takes about ")[2].split()[0])
    assert said(least) == [] and said(least - 1) and least > FEWEST_CONTROLS
    assert no_difference(least, least, PositiveControl.FOUND).verdict is Verdict.POPULATION
    assert no_difference(least, least, PositiveControl.NONE).reason == "nothing_planted"


def test_what_was_foreseen_comes_true(tmp_path: Path) -> None:
    plan = read_plan(write_plan(tmp_path))
    steps = list(foresee(plan, open_plan(plan)))
    assert not steps[0].takes and steps[-1].takes.startswith("It takes about ") and steps[0].cannot == steps[-1].cannot
    assert (
        list(tmp_path.iterdir()) == [tmp_path / "data", tmp_path / "plan.yaml"] or not (tmp_path / "results").exists()
    )
    foreseen = " ".join(steps[0].cannot)
    run_audit(plan, tmp_path / "results")
    for name in plan.probes:
        found = Finding.load(tmp_path / "results" / "findings" / name).about("figures", group="all")
        judged = found[found["verdict"] != ""]
        if probes()[name].compares:
            assert len(judged) and (judged["verdict"] == Verdict.CANNOT_CONCLUDE).all()
            assert f"{probes()[name].full_title}" in foreseen


def test_a_report_that_would_be_refused_is_said_before_anything_is_asked(tmp_path: Path) -> None:
    plan = read_plan(write_plan(tmp_path, probes="[membership]", patients=30))
    asked = open_plan(plan).people.records
    run_audit(plan, tmp_path / "results")
    audit_page(tmp_path / "results")
    refused = "A report of this audit will not be written, or only in part"
    assert refused not in " ".join(next(foresee(plan, open_plan(plan))).cannot)  # the very same people
    fewer = "\n".join(one.pseudonym for one in asked[2:])
    (tmp_path / "fewer.txt").write_text(fewer)
    written = write_plan(tmp_path, probes="[membership]").read_text().replace("patients: 14", "patients: fewer.txt")
    (tmp_path / "plan.yaml").write_text(written)
    plan = read_plan(tmp_path / "plan.yaml")
    assert refused in " ".join(next(foresee(plan, open_plan(plan))).cannot)


def test_the_command_says_it_before_the_folder_is_sealed_and_not_when_it_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ehrmem_widgets.audit import foreseen

    sealed: list[bool] = []

    def noting(*given: object, **more: object) -> object:
        sealed.append((tmp_path / "results" / SEAL).exists())
        return foresee(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(foreseen, "foresee", noting)
    command = ["audit", str(write_plan(tmp_path)), "--out", str(tmp_path / "results")]
    assert cli.main(command) == 0
    said = capsys.readouterr().err
    assert "With 14 people this plan will not be able to decide everything:" in said and "It takes about" in said
    assert sealed == [False]
    assert cli.main(command) == 0
    assert sealed == [False] and "With 14 people" not in capsys.readouterr().err


def test_an_estimate_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = write_plan(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["audit", str(plan), "--estimate"]) == 0
    said = capsys.readouterr().out
    assert "With 14 people this plan will not be able to decide everything:" in said and "It takes about" in said
    assert sorted(tmp_path.rglob("*")) == before
    last = list(foresee(read_plan(plan), open_plan(read_plan(plan)), workers=2))[-1]
    assert last.seconds > 0 and "with 2 workers" in last.takes
