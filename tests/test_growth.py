"""How cost grows is fitted exactly, and every curve of ``make growth`` can be measured, at sizes that take seconds."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.benchmarks import growth
from tests.benchmarks.growth import CURVES, Curve, beyond, exponent

AUDITS = (growth.people_audited, growth.workers_of_audit, growth.patients_beside)


def test_a_known_power_law_is_found_exactly() -> None:
    found = exponent({n: 3 * n**1.5 for n in (2, 8, 32, 128)})
    assert (found.value, found.n) == (pytest.approx(1.5, abs=1e-12), 4)
    assert found.high - found.low < 1e-6
    assert beyond({1: 3.0, 4: 24.0}, 16) == pytest.approx(192)
    assert beyond({1: 3.0, 4: 6.0}, 16) == pytest.approx(24)  # never less than in proportion


def test_the_interval_is_students() -> None:
    """By hand: residuals .1, -.2, .1 around a line of slope 1 over -1, 0, 1 leave .06 for one degree of freedom, whose t is 12.706."""
    found = exponent({math.exp(x): math.exp(x + off) for x, off in ((-1, 0.1), (0, -0.2), (1, 0.1))})
    assert found.value == pytest.approx(1)
    assert found.half_width == pytest.approx(12.706 * math.sqrt(0.06 / 2), rel=1e-3)
    assert math.isnan(exponent({1: 2.0, 2: 1.0}).low)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data sets are made once for all curves."""
    return tmp_path_factory.mktemp("growth")


@pytest.mark.parametrize(
    "curve", [one for one in CURVES if one.measure not in AUDITS], ids=lambda curve: curve.title.replace(" ", "_")
)
def test_a_curve_can_be_measured(curve: Curve, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ROUNDS": 1, "READ": 200, "WIDTH": 32, "LAYERS": 1}.items():
        monkeypatch.setattr(growth, name, value)
    points = curve.points(folder, 64)
    assert len(points) == len(curve.times) and sorted(points) == list(points)
    assert all(spent > 0 for spent in points.values())


def test_an_audit_can_be_measured(tmp_path: Path) -> None:
    took = growth.audit_of(tmp_path, 4, 60, 1)
    assert took.clock > 0 and took.processor > 0
    assert list((tmp_path / "4_of_60_by_1" / "findings").iterdir())


def test_all_of_it_can_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    for name, value in {"ROUNDS": 1, "WIDTH": 32, "LAYERS": 1}.items():
        monkeypatch.setattr(growth, name, value)
    with pytest.raises(SystemExit):
        growth.main(["--only", "samples", "--divide", "8"])
    assert capsys.readouterr().out.startswith("exponent_of_samples\t")
    monkeypatch.setattr(growth, "DOCS", tmp_path)
    (tmp_path / "cost.md").write_text(f"before {growth.BEGIN} old {growth.END} after")
    growth.write({curve: {n: 2.0 * n for n in (10, 20, 40)} for curve in CURVES}, "Today.")
    page = (tmp_path / "cost.md").read_text()
    assert page.startswith("before ") and page.endswith(" after") and " old " not in page
    assert "| people audited | 10: 20, 20: 40, 40: 80 | 1.00 (1.00 to 1.00) | 0.85 to 1.1" in page
    assert "| 400 people | 13 minutes of one core; " in page
    assert (tmp_path / "cost.png").stat().st_size > 10_000
