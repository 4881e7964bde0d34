"""A small cohort with a small model, made once for the tests of the command and the reports."""

from __future__ import annotations

import pytest

from tests.reports.small import Small, make_small


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """A cohort of 180 synthetic patients, a model trained on its members, and a copy of it as reference."""
    return make_small(tmp_path_factory.mktemp("small"))
