"""A wheel is enough: it carries the notebooks and the samples, and works from an empty folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.commands import ehrmem

ROOT = Path(__file__).parents[1]
SOURCES = (
    "ehrmem_widgets",
    "notebooks",
    "data_samples",
    "pyproject.toml",
    "setup.py",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a build leaves folders behind."""
    work, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, work / name)
    subprocess.run(
        [sys.executable, "-m", "pip", "-q", "wheel", "--no-deps", "--no-build-isolation", "-w", str(out), str(work)],
        check=True, capture_output=True,
    )  # fmt: skip
    return next(out.glob("*.whl"))


def test_it_carries_notebooks_samples_and_templates(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert "ehrmem_widgets/bundled/notebooks/01_explore_patient.ipynb" in names
    assert any(name.startswith("ehrmem_widgets/bundled/data_samples/models/memorizing/") for name in names)
    for file in (ROOT / "ehrmem_widgets" / "reports" / "templates").iterdir():
        assert f"ehrmem_widgets/reports/templates/{file.name}" in names
    assert wheel.stat().st_size < 15e6


@pytest.mark.slow
def test_report_audit_and_patients_work_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    site, here = tmp_path / "site", tmp_path / "here"
    here.mkdir()
    zipfile.ZipFile(wheel).extractall(site)
    env = {"PYTHONPATH": str(site), "XDG_DATA_HOME": str(tmp_path / "share")}
    (here / "plan.yaml").write_text("patients: 40\nholders: 0\nprobes: [membership]\n")
    patients, report, audit, audit_report = ehrmem(
        ("patients",), ("report", "--samples", 32, "--horizon", 8, "--out", "report.html"),
        ("audit", "plan.yaml", "--out", "results"), ("audit-report", "results", "--out", "audit.html"), env=env, cwd=here,
    )  # fmt: skip
    for found in (patients, report, audit, audit_report):
        assert found.code == 0, found.errors
    assert patients.out.count("\n") > 2_900
    assert (here / "report.html").stat().st_size > 10_000 and (here / "audit.html").stat().st_size > 10_000
    assert "membership" in audit.out
    said = subprocess.run(
        [sys.executable, "-c", "from ehrmem_widgets.bundled import *; print(notebooks_to_work_in(), IN_A_CLONE)"],
        cwd=here, env={**os.environ, **env}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert said.split() == [str(tmp_path / "share/ehrmem/notebooks-0.2.0"), "False"]
    assert (tmp_path / "share/ehrmem/notebooks-0.2.0/03_membership.ipynb").is_file()
