"""An audit through a filter: named in the plan or the command, sealed with the model, its strongest attack told; and an audit that meets a limit ends as an outage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ehrmem_widgets.audit.plan import read_plan
from ehrmem_widgets.audit.results import AuditResults
from ehrmem_widgets.audit.run import command_of, run_audit
from ehrmem_widgets.audit.working_attacks import in_lines, strongest_attack, working_attacks
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.serve import Budget, serve_model
from ehrmem_widgets.cli import main
from ehrmem_widgets.errors import BadInput, Unavailable
from ehrmem_widgets.probes.batching import Progress
from ehrmem_widgets.reports.audit_page import audit_page
from ehrmem_widgets.samples.folders import sample_model
from tests.audit.small import findings, write_plan
from tests.reports.synthetic_audit import KNOWLEDGE_LEVELS, SyntheticAudit


def test_a_plan_names_a_filter_as_a_mapping_or_a_text_and_the_command_comes_first(tmp_path: Path) -> None:
    for given in ("{top_k: 10, withhold: [embeddings]}", "'top_k=10, withhold=embeddings'"):
        plan = read_plan(write_plan(tmp_path, more=f"output_filter: {given}\n"))
        assert plan.sources.output_filter == "top_k=10, withhold=embeddings"
    assert read_plan(tmp_path / "plan.yaml", "round_to=0.1").sources.output_filter == "round_to=0.1"
    with pytest.raises(BadInput, match="output_filter: 'top' is an unknown output filter key"):
        read_plan(write_plan(tmp_path, more="output_filter: {top: 10}\n"))
    assert "--output-filter top_k=10" in command_of(Path("p.yaml"), Path("out"), 1, None, "top_k=10")


def test_an_audit_through_a_filter_is_another_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = write_plan(tmp_path, probes="[membership]", patients=60)

    def audit(*more: str) -> int:
        return main(["audit", str(plan), "--out", str(tmp_path / "out"), *more])

    assert audit("--output-filter", "top_k=5") == 0
    said = capsys.readouterr().out
    assert (
        "The strongest (lower end, from chance to certainty): T4 Membership (AUROC of Ratio), knowing the whole record: "
        in said
    )
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["model"]["name"].endswith("(top_k=5)") and results["plan"]["sources"]["output_filter"] == "top_k=5"
    assert audit() == 2 and "the model changed since" in capsys.readouterr().err
    page = audit_page(tmp_path / "out")
    assert "The strongest attack that works: T4 Membership" in page and "(top_k=5)" in page


def test_the_attacks_that_work_stand_by_knowledge_and_the_strongest_by_its_lower_end(tmp_path: Path) -> None:
    audit = AuditResults(SyntheticAudit(400, effect=0.3).write(tmp_path))
    found = working_attacks(audit)
    assert [one.place for one in found] == sorted(one.place for one in found)
    assert len({(one.title, one.place) for one in found}) == len(found) > 8
    membership = next(one for one in found if one.title == "T4 Membership")
    assert (membership.knows, membership.place) == ("the whole record", len(KNOWLEDGE_LEVELS) + 1)
    assert membership.strength == pytest.approx(2 * membership.figure.low - 1)
    first = next(one for one in found if one.title == "T1 Reconstruction")
    assert (first.knows, first.strength) == ("demographics", first.figure.low)
    strongest = strongest_attack(audit)
    assert strongest is not None and strongest.strength == max(one.strength for one in found)
    assert str(strongest) in in_lines(audit)[-1]


def test_where_nothing_is_remembered_no_attack_works(tmp_path: Path) -> None:
    audit = AuditResults(SyntheticAudit(400, effect=0.0).write(tmp_path))
    assert [one for one in working_attacks(audit) if one.strength <= 0] == []
    quiet = AuditResults(SyntheticAudit(400, effect=0.0).write(tmp_path / "one", names=["reconstruction"]))
    assert (strongest_attack(quiet), in_lines(quiet)) == (None, ["No attack of this audit is shown to work."])


def test_an_audit_that_meets_a_limit_is_an_outage_and_goes_on_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, token = FolderModel(sample_model()), "a-token"
    monkeypatch.setenv("EHRMEM_ENDPOINT_TOKEN", token)
    counted = Budget(10**9, 1e12)
    with serve_model(model, token=token, limits=[counted]) as (address, _):
        port = int(address.rpartition(":")[2])
        plan = read_plan(write_plan(tmp_path, probes="[membership]", patients=80, more=f"endpoint: {address}\n"))
        seen: list[int] = []

        def progress(now: Progress) -> None:
            if now.what == "membership" and 0 < now.done < now.total:
                seen.append(round(10**9 - counted.left))

        run_audit(plan, tmp_path / "whole", progress=progress)
    with (  # enough for the first batch, and for one request more
        serve_model(model, token=token, port=port, limits=[Budget(seen[0] + 1, 1e12)]),
        pytest.raises(Unavailable, match=r"asks to be left alone for .* goes on from there"),
    ):
        run_audit(plan, tmp_path / "out")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    states = {one["probe"]: one["state"] for one in results["runs"]}
    assert not results["finished"] and states["membership"] == "pending"
    assert list((tmp_path / "out" / "shards").glob("membership-*/*.parquet"))  # what was done is kept
    with serve_model(model, token=token, port=port):
        run_audit(plan, tmp_path / "out")
    assert findings(tmp_path / "out") == findings(tmp_path / "whole")
