"""The report, made for real: offline, without code, with the same numbers as its JSON, and whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import pytest

from ehrmem_widgets.errors import BadInput, Unavailable
from ehrmem_widgets.files import write_whole
from ehrmem_widgets.reports import patient_report
from ehrmem_widgets.reports.page_template import check_offline
from tests.reports.small import Small


def results(report: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(report.with_suffix(".json").read_text())
    return found


@pytest.mark.slow
def test_two_private_files_and_nothing_else(report: Path) -> None:
    assert sorted(path.name for path in report.parent.iterdir()) == ["one.html", "one.json"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in report.parent.iterdir()} == {0o600}


def test_opens_offline_without_code_or_script(report: Path) -> None:
    page = report.read_text()
    check_offline(page)
    assert not re.search(r"(src|href)\s*=|<script|ExplorePatient|In&nbsp;|declare_parameters|double arrow", page)
    assert page.startswith("<!doctype html>") and "default-src 'none'" in page and "@media print" in page
    assert "Identifying: internal use" in page


def test_html_and_json_show_the_same_numbers(report: Path) -> None:
    page, found = report.read_text(), results(report)
    for attribute in found["attributes"]:
        for side in ("audited", "reference"):
            n = attribute[side]
            assert f"{n['value']:.2f} ({n['low']:.2f} to {n['high']:.2f}), n = {n['n']:,}" in page
    assert found["patient"] in page and found["settings"]["focus"] == "hiv"


def test_json_says_how_it_was_made(report: Path) -> None:
    run = results(report)["run"]
    assert set(run["versions"]) == {"ehrmem", "python", "torch", "transformers"}
    assert run["seed"] == 7 and run["model"] == "model" and run["made_by"] and run["made_at"].endswith("+00:00")
    assert "--seed 7" in run["command"] and f"--patient {results(report)['patient']}" in run["command"]
    assert run["command"] in report.read_text()


def test_wrong_input_in_the_notebook_is_one_sentence_and_older_files_stay(small: Small, tmp_path: Path) -> None:
    out = tmp_path / "old.html"
    out.write_text("older")
    with pytest.raises(BadInput, match=r"There is no patient 'P-NOBO-DYYY'.*nearest"):
        patient_report.make_report(
            out, patient="P-NOBO-DYYY", data=str(small.data), model=str(small.model), reference=str(small.reference)
        )
    assert out.read_text() == "older" and [path.name for path in tmp_path.iterdir()] == ["old.html"]


def test_wrong_parameters_are_refused_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_report, "run_notebook", lambda *_, **__: pytest.fail("ran"))
    for given, words in (
        ({"pateint": 3}, "Is 'patient' meant"),
        ({"seed": "1"}, "must be a whole number"),
        ({"live": True}, "no"),
    ):
        with pytest.raises(BadInput, match=words):
            patient_report.make_report(tmp_path / "x.html", **given)


def test_a_fault_of_ours_keeps_the_partial_notebook_privately(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(folder: Path, parameters: dict[str, Any], **engine: Any) -> None:
        (folder / "partial.ipynb").write_text("{}")
        raise patient_report.ReportFailure("ZeroDivisionError: by zero")

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(patient_report, "run_notebook", broken)
    (tmp_path / "out").mkdir()
    with pytest.raises(patient_report.ReportFailure, match=r"kept in .*ehrmem-report-"):
        patient_report.make_report(tmp_path / "out" / "x.html")
    kept = next(tmp_path.glob("ehrmem-report-*"))
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700 and (kept / "partial.ipynb").exists()
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_cut_short_leaves_the_older_files_and_nothing_else(
    fault: BaseException, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(*_: object) -> None:
        raise fault

    old = tmp_path / "x.html"
    old.write_text("older")
    monkeypatch.setattr(os, step, cut_short)
    with pytest.raises((KeyboardInterrupt, Unavailable)):
        write_whole({tmp_path / "x.json": "{}", old: "newer"})
    assert old.read_text() == "older" and [path.name for path in tmp_path.iterdir()] == ["x.html"]


@pytest.mark.parametrize(
    "bad",
    [
        "<script>1</script>",
        '<a href="https://a.example">x</a>',
        "<img src=//a.example/x.png>",
        "<style>@import 'x.css'</style>",
        "<style>p{background:url(http://a.example/x)}</style>",
        '<p onclick="x()">',
        '<link rel="icon">',
        '<p style="background:url(//a.example/x)">',
        "<svg><image xlink:href='https://a.example/x.png'/></svg>",
        '<meta http-equiv="refresh" content="0;url=https://a.example">',
        '<a href="data:text/html,x">x</a>',
        "<img/src=//a.example/x.png>",
        '<img alt="a>b" src="https&#58;//a.example/x.png">',
        '<iframe srcdoc="x">',
    ],
)
def test_a_page_that_reaches_outside_is_refused(bad: str) -> None:
    with pytest.raises(RuntimeError, match="self-contained"):
        check_offline(f"<p>{bad}</p>")


def test_text_about_links_is_no_link() -> None:
    check_offline(
        """<svg role="img" aria-label="src=x minus href=&quot;https://a.example&quot; onload='x' url(x) &lt;script&gt;"></svg>"""
    )
    check_offline('<p title="@import url(//a.example)">url(//a.example)</p>')
    check_offline('<p>see src=https://a.example &lt;script&gt;</p><svg xmlns="http://www.w3.org/2000/svg"></svg>')
