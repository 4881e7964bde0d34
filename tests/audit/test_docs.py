"""The page on an audit's results names every column and every figure that there are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ehrmem_widgets.probes.cohort_finding import COLUMNS
from ehrmem_widgets.probes.questions import QUESTIONS
from tests.reports.synthetic_audit import SyntheticAudit

PAGE = (Path(__file__).parents[2] / "docs" / "audit_results.md").read_text(encoding="utf-8")
QUOTED = set(re.findall(r"`([^`\n]+)`", PAGE))


def test_every_column_is_named() -> None:
    table = PAGE[PAGE.index("| column |") : PAGE.index("Figures about the cohort")]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(COLUMNS)


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SyntheticAudit(60).write(tmp_path_factory.mktemp("audit"))


@pytest.mark.parametrize("name", list(QUESTIONS))
def test_every_figure_of_a_file_is_named(name: str, audit: Path) -> None:
    patterns = [re.escape(one).replace(r"\.\.\.", ".*").replace("N", r"[\d.]+") for one in QUOTED]
    figures = set(pq.read_table(audit / "findings" / f"{name}.parquet")["figure"].to_pylist()) - {"excluded"}
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
