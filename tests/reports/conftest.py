"""A small cohort with a small model, made once for the tests of the command and the reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehrmem_widgets import cli
from tests.reports.small import QUICK, Small, make_small


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A cohort of 180 synthetic patients, a model trained on its members, and a copy of it as reference."""
    return make_small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def report(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the example patient, made by the command."""
    out = tmp_path_factory.mktemp("report") / "one.html"
    words = [f"--{name}={value}" for name, value in QUICK.items()]
    assert cli.main(["report", *small.options(), *words, f"--out={out}"]) == 0
    return out
