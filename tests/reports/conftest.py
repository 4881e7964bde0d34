"""A small cohort with a small model, made once for all tests of the reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from ehrmem_widgets import cli
from tests.once import made_once
from tests.reports.small import QUICK, Small, make_small


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A cohort of 180 synthetic patients, a model trained on its members, and a copy of it as reference."""
    return Small.below(made_once(tmp_path_factory, "small", make_small))


@pytest.fixture(scope="session")
def report(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the example patient, made by the command."""
    words = [f"--{name}={value}" for name, value in QUICK.items()]

    def make(folder: Path) -> None:
        assert cli.main(["report", *small.options(), *words, f"--out={folder / 'one.html'}"]) == 0

    return made_once(tmp_path_factory, "report", make) / "one.html"
