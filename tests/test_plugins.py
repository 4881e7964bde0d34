"""An installed package adds a probe, a black box, a token scheme and sensitive attributes, and a broken one hurts nobody."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ehrmem_widgets.samples.folders import sample_model, sample_reference
from tests.commands import ehrmem
from tests.widgets.opened import few_patients

EXAMPLE = Path(__file__).parent / "plugin_example"
BROKEN = {
    "no_such": ("ehrmem.probes", "no_such_module:PROBE", "cannot be imported (ModuleNotFoundError"),
    "membership": ("ehrmem.probes", "broken:PROBE", "the package ehrmem-widgets has one of that name"),
    "other": ("ehrmem.probes", "broken:PROBE", "must name a Probe called 'other'"),
    "nothing": ("ehrmem.attributes", "broken:NO_FILE", "must name the Path of a YAML file"),
    "typo": ("ehrmem.attributes", "broken:TYPO", "severty"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages: the example and a broken one."""
    site, work = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("work")
    shutil.copytree(EXAMPLE, work / "example")
    pip = [sys.executable, "-m", "pip", "-q", "install", "--no-deps", "--no-build-isolation", "--target", str(site)]
    subprocess.run([*pip, str(work / "example")], check=True, capture_output=True)
    (site / "broken.py").write_text(
        "from pathlib import Path\nPROBE = 3\nNO_FILE = 'x'\nTYPO = Path(__file__).with_name('typo.yaml')\n"
    )
    (site / "typo.yaml").write_text(
        "attributes:\n  - {name: a, title: A, severty: 2, severity: 2, reason: b, sources: [c], codes: {icd10cm: ['Z99']}}\n"
    )
    info = site / "broken_package-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-package\nVersion: 1\n")
    groups: dict[str, list[str]] = {}
    for name, (group, value, _) in BROKEN.items():
        groups.setdefault(group, []).append(f"{name} = {value}")
    lines = [line for group, found in groups.items() for line in (f"[{group}]", *found)]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return site


@pytest.fixture(scope="module")
def env(site: Path) -> dict[str, str]:
    """The environment with these packages installed."""
    return {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), str(site)])}


def test_what_is_installed_is_listed_and_what_is_broken_is_said(env: dict[str, str]) -> None:
    found, about = ehrmem(("plugins",), ("probe", "--help"), env=env)
    assert found.code == 0, found.errors
    assert "record_length" in found.out and "uniform" in found.out and "example" in found.out
    for name, (_, _, why) in BROKEN.items():
        said = next(line for line in found.out.splitlines() if f"{name!r}" in line and "left out" in line)
        assert why in said and ("broken-package" in said or "typo.yaml" in said)
    assert "record_length   are the records of members longer?" in about.out


@pytest.mark.slow
def test_its_probe_runs_in_an_audit_with_its_report_and_a_comparison(env: dict[str, str], tmp_path: Path) -> None:
    few_patients(tmp_path / "data")
    plan, one, two = tmp_path / "plan.yaml", tmp_path / "a", tmp_path / "b"
    plan.write_text(
        f"data: data\nmodel: {sample_model()}\nreference: {sample_reference()}\npatients: 60\nholders: 0\n"
        "probes: [record_length]\n"
    )
    report, both = tmp_path / "report.html", tmp_path / "both.html"
    *audits, reported, compared, exported = ehrmem(
        ("audit", plan, "--out", one), ("audit", plan, "--out", two, "--workers", 2), ("audit-report", one, "--out", report),
        ("compare", one, two, "--out", both), ("export", one, "--out", tmp_path / "travels"), env=env,
    )  # fmt: skip
    for found in audits:
        assert found.code == 0, found.errors
        assert "record_length: are the records of members longer?" in found.out
    assert (one / "findings/record_length/figures.parquet").read_bytes() == (
        two / "findings/record_length/figures.parquet"
    ).read_bytes()
    for found, page in ((reported, report), (compared, both)):
        assert found.code == 0, found.errors
        assert "Record length" in page.read_text()
    assert exported.code == 0, exported.errors
    figures = (tmp_path / "travels" / "figures.csv").read_text()
    assert "record_length" in figures and "P-" not in figures


def test_its_black_box_its_token_scheme_and_its_attributes_are_used(env: dict[str, str]) -> None:
    code = (
        "from ehrmem_widgets.blackbox.opening import open_model\n"
        "from ehrmem_widgets.cohort.attributes import load_attributes\n"
        "from ehrmem_widgets.tokens.token_scheme import read_token_scheme\n"
        "print(open_model('uniform:48').context_length, load_attributes()['travel'].title, read_token_scheme('example').start)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **env}, timeout=300
    )
    assert found.stdout == "48 Travel medicine EXAMPLE//START\n", found.stderr
