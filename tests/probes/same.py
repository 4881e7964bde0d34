"""Whether two findings are the same."""

from __future__ import annotations

import pandas as pd

from ehrmem_widgets.findings.finding import TABLES, Finding


def same(one: Finding, other: Finding) -> None:
    """Every table, the settings and the sentences."""
    for table in TABLES:
        pd.testing.assert_frame_equal(getattr(one, table), getattr(other, table))
    assert (one.probe, one.settings, one.sentences) == (other.probe, other.settings, other.sentences)
