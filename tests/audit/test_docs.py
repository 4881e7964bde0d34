"""The page on an audit's results names every column and every figure that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ehrmem_widgets.findings.finding import TABLES
from ehrmem_widgets.registry import probes
from tests.reports.synthetic_audit import SyntheticAudit

PAGE = (Path(__file__).parents[2] / "docs" / "audit_results.md").read_text(encoding="utf-8")
QUOTED = set(re.findall(r"`([^`\n]+)`", PAGE))


def test_every_column_is_named() -> None:
    table = PAGE[PAGE.index("| column |") : PAGE.index("Figures about the cohort")]
    first = re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE)
    named = [name for cell in first for name in re.findall(r"`(\w+)`", cell)]
    assert len(named) == len(set(named)) and set(named) == {name for columns in TABLES.values() for name in columns}
    assert set(TABLES) <= QUOTED


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SyntheticAudit(60).write(tmp_path_factory.mktemp("audit"))


@pytest.mark.parametrize("name", list(probes()))
def test_every_figure_of_a_file_is_named(name: str, audit: Path) -> None:
    patterns = [re.escape(one).replace(r"\.\.\.", ".*").replace("N", r"[\d.]+") for one in QUOTED]
    tables = [
        pq.read_table(audit / "findings" / name / f"{table}.parquet") for table in ("figures", "patients", "curves")
    ]
    figures = {figure for table in tables for figure in table["figure"].to_pylist()}
    assert figures
    assert [one for one in sorted(figures) if not any(re.fullmatch(p, one) for p in patterns)] == []


def test_every_file_of_the_folder_is_named(audit: Path) -> None:
    for path in audit.iterdir():
        assert any(path.name in one or one.startswith(f"{path.name}/") for one in QUOTED)
    assert set(json.loads((audit / "results.json").read_text())) >= {
        "plan_hash",
        "command",
        "versions",
        "people",
        "seed",
        "runs",
    }
