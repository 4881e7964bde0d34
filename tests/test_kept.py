"""All that is kept about patients is listed and removed, and nothing else."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.charts.markup import escape
from ehrmem_widgets.cli import main
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.pseudonym import user_key
from ehrmem_widgets.kept import IN_REPORTS, kept
from ehrmem_widgets.probes.embedding_store import EmbeddingStore
from ehrmem_widgets.reports.audit_page import audit_page
from ehrmem_widgets.reports.page_template import whole_page
from ehrmem_widgets.samples.folders import sample_data, sample_model
from tests.reports.synthetic_audit import SyntheticAudit


def test_what_is_kept_is_listed_and_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("EHRMEM_INDEX", str(tmp_path / "indexes"))
    monkeypatch.delenv("EHRMEM_PSEUDONYM_KEY", raising=False)
    assert kept() == () and main(["forget"]) == 0 and "Nothing is kept" in capsys.readouterr().out
    store = EmbeddingStore(FolderModel(sample_model()), MedsDataset(sample_data()), most_patients=5)
    assert [*store.build()]
    assert user_key()
    index = tmp_path / "indexes" / "abc-1"
    index.mkdir(parents=True)
    (index / "about.json").write_text("{}")
    (index / "index.duckdb").write_bytes(b"x" * 2_000_000)
    mine = tmp_path / "indexes" / "notes"
    mine.mkdir()
    (mine / "report.html").write_text("mine")
    last = platformdirs.user_state_path("ehrmem") / "last_screen.json"
    last.write_text("{}")
    assert main(["forget"]) == 0
    said = capsys.readouterr().out
    assert (
        "2.0 MB  an index of a large data set" in said and "embeddings of the records" in said and "last screen" in said
    )
    assert index.exists() and "--yes" in said
    assert main(["forget", "--yes"]) == 0 and "Removed." in capsys.readouterr().out
    assert kept() == () and not index.exists() and not last.exists()
    assert (mine / "report.html").exists() and (platformdirs.user_state_path("ehrmem") / "pseudonym.key").exists()
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert left == []


def test_reports_say_how_it_is_removed(tmp_path: Path) -> None:
    folder = SyntheticAudit(60).write(tmp_path / "audit")
    page = audit_page(folder)
    assert page.count(escape(IN_REPORTS)) == 1 and "ehrmem forget" in IN_REPORTS
    run = {name: "x" for name in ("made_by", "made_at", "data", "model", "reference", "seed", "command", "handling")}
    report = whole_page("patient.html.j2", patient="P-AAAA-AAAA", notebook="", run={**run, "versions": {}})
    assert report.count(escape(IN_REPORTS)) == 1
