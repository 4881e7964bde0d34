"""The README's picture: a line an audit, its figures where the findings say they are, and who could not be asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib import pyplot as plt

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.findings.finding import finding, row
from ehrmem_widgets.samples.sample_models_picture import PANELS, picture
from ehrmem_widgets.statistics.intervals import Estimate

MODELS = {"memorizing": 0.9, "moderate": 0.6, "private": 0.52, "reference": None}
"""The value of every figure, by model; None: there was nobody to ask about."""


@pytest.fixture
def audits(tmp_path: Path) -> list[Path]:
    """A results folder for each model with the figures that the picture shows, and others beside them."""
    for name, value in MODELS.items():
        folder = tmp_path / f"results of {name}" / "findings"
        folder.mkdir(parents=True)
        for probe in ("membership", "exposure", "attribute"):
            rows = [row("auroc", Estimate(0.1, 0.0, 0.2, 7), attribute="Min-K%", group="all", model="audited")]
            for _, its, where, _ in PANELS:
                if value is not None and its == probe:
                    rows.append(row(estimate=Estimate(value, value - 0.05, value + 0.02, 30), **where))  # type: ignore[arg-type]
            finding(probe, rows, {"model": {"name": name}}, ()).save(folder / probe)
    return [tmp_path / f"results of {name}" for name in MODELS]


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def test_every_audit_is_a_line_in_the_order_given(audits: list[Path]) -> None:
    drawn = picture(audits)
    assert len(drawn.axes) == len(PANELS)
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == list(MODELS)
    for axis, (title, _, _, chance) in zip(drawn.axes, PANELS, strict=True):
        assert axis.get_title() == title
        assert axis.get_ylim()[0] > axis.get_ylim()[1], "the first audit stands on top"
        assert set(axis.lines[0].get_xdata()) == {chance}
        at = {line.get_ydata()[0]: line.get_xdata()[0] for line in axis.lines if line.get_marker() == "o"}
        assert at == {place: value for place, value in enumerate(MODELS.values()) if value is not None}
        words = [text.get_text() for text in axis.texts]
        assert words[1] == "0.60 (0.55 to 0.62), n = 30"
        assert words[3].strip() == "nobody to ask about"


def test_three_audits_fit_as_well_and_a_folder_without_findings_is_refused(audits: list[Path], tmp_path: Path) -> None:
    three, four = picture(audits[:3]), picture(audits)
    assert three.get_figheight() < four.get_figheight()
    with pytest.raises(BadInput, match=r"finding\.json of .* cannot be read"):
        picture([*audits, tmp_path])
