"""An audit of a model behind an address finds what an audit of its folder finds, by two workers as well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ehrmem_widgets.audit.plan import read_plan
from ehrmem_widgets.audit.run import run_audit
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.samples.folders import sample_model
from tests.audit.small import write_plan
from tests.blackbox.served import running_server


@pytest.mark.slow
def test_a_served_model_is_audited_like_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_audit(read_plan(write_plan(tmp_path, probes="[membership]")), tmp_path / "folder")
    with running_server(sample_model()) as (address, token):
        monkeypatch.setenv("EHRMEM_ENDPOINT_TOKEN", token)
        plan = read_plan(write_plan(tmp_path, probes="[membership]", more=f"endpoint: {address}\n"))
        found = run_audit(plan, tmp_path / "served", workers=2)
    assert {one["probe"]: one["state"] for one in found["runs"]} == {"confounding": "done", "membership": "done"}
    assert found["model"]["name"] != "memorizing" or address in str(found["plan"]["sources"])
    whole = tmp_path / "served"
    assert token not in "".join(p.read_text() for p in whole.glob("*.json"))
    ours, theirs = (Finding.load(tmp_path / name / "findings" / "membership") for name in ("folder", "served"))
    one, other = (
        f.about("patients", figure="score").sort_values(["patient", "attribute", "model"]) for f in (ours, theirs)
    )
    both = one.merge(other, on=["patient", "attribute", "model"])
    assert len(both) == len(other) > 24
    np.testing.assert_allclose(both["value_x"], both["value_y"], atol=1e-4)
    sure = [f.about("figures", figure="auroc", group="all", attribute="Ratio").iloc[0]["value"] for f in (ours, theirs)]
    assert sure[0] == pytest.approx(sure[1])
