"""A report as a PDF: printed by a real browser, marked on every page, and refused in words where there is no browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ehrmem_widgets.cli import main
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.reports import pdf
from tests.reports.synthetic_audit import SyntheticAudit


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("audit")
    return SyntheticAudit(60).write(out, names=("confounding", "membership"), finished=False)


@pytest.mark.browser
def test_the_commands_print_a_tagged_pdf(audit: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if next(pdf._browsers(), None) is None:
        pytest.skip("no Chromium, Chrome or Edge: no PDF was printed")
    assert main(["audit-report", str(audit), "--out", str(tmp_path / "report.pdf")]) == 0
    assert main(["compare", str(audit), str(audit), "--out", str(tmp_path / "both.PDF")]) == 0
    for name in ("report.pdf", "both.PDF"):
        printed = (tmp_path / name).read_bytes()
        assert printed.startswith(b"%PDF-") and b"/StructTreeRoot" in printed and b"/Outlines" in printed
        assert len(re.findall(rb"/Type /Page\b", printed)) >= 2
        assert set(re.findall(rb"/MediaBox \[0 0 (\d+)", printed)) <= {b"594", b"595"}  # A4
    assert (tmp_path / "report.pdf").stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["both.PDF", "report.pdf"]


def test_without_a_browser_it_says_what_to_do(
    audit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pdf, "_browsers", lambda: iter(()))
    assert main(["audit-report", str(audit), "--out", str(tmp_path / "report.pdf")]) == 2
    assert "Name the report like report.html" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_a_browser_that_does_not_print_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\necho 'no display' >&2\nexit 1\n")
    broken.chmod(0o700)
    monkeypatch.setattr(pdf, "_browsers", lambda: iter([str(broken)]))
    with pytest.raises(BadInput, match=r"chromium did not print the report: no display. Name it like report.html"):
        pdf.as_pdf("<html><head></head></html>")


@pytest.mark.browser
def test_a_patients_report_prints_on_four_pages(report: Path) -> None:
    if next(pdf._browsers(), None) is None:
        pytest.skip("no Chromium, Chrome or Edge: no PDF was printed")
    printed = pdf.as_pdf(report.read_text())
    assert 1 < len(re.findall(rb"/Type /Page\b", printed)) <= 4
