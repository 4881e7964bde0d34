"""Training ends when it said it would, on any machine: a clock of its own stands for a slow or busy one."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ehrmem_widgets.cli import main
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.training import models
from tests.widgets.opened import few_patients

MINUTES = 0.3


class Clock:
    """Stands still, but for what is said to take long."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def slow(self, act: Any, *seconds: float) -> Any:
        """``act``, which takes these seconds in turn."""
        calls = 0

        def slowed(*arguments: Any) -> Any:
            nonlocal calls
            found = act(*arguments)
            self.now += seconds[calls % len(seconds)]
            calls += 1
            return found

        return slowed


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("training") / "data"
    few_patients(folder)
    return folder


@pytest.mark.parametrize(
    ("step", "saving", "reading"),
    [((0.4,), 0.1, 0.001), ((0.2, 0.2, 0.2, 1.5), 2.0, 0.01), ((1.6,), 6.0, 0.02)],
    ids=["quick", "busy: every fourth step takes long", "slow"],
)
def test_training_takes_the_minutes_that_were_given(
    cohort: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: tuple[float, ...],
    saving: float,
    reading: float,
) -> None:
    clock = Clock()
    monkeypatch.setattr(models, "time", clock)
    monkeypatch.setattr(models, "_learn", clock.slow(lambda *_: 1.0, *step))
    monkeypatch.setattr(models, "save_model", clock.slow(models.save_model, saving))
    monkeypatch.setattr(models, "record_windows", clock.slow(models.record_windows, reading))
    models.train_model(
        MedsDataset(cohort), tmp_path / "m", epochs=None, minutes=MINUTES, width=48, layers=1, report=lambda _: None
    )
    assert clock.now == pytest.approx(60 * MINUTES, rel=0.1)
    assert (tmp_path / "m" / "model.safetensors").exists()


def test_the_command_says_how_long_it_took(cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", str(cohort), "--out", str(tmp_path / "m"), "--epochs", "1", "--minutes", "50"]) == 0
    assert "epoch 1 of 1: loss" in (said := capsys.readouterr().out) and f"{tmp_path / 'm'} after " in said
    assert json.loads((tmp_path / "m" / "training.json").read_text())["epochs"] == 1


def test_the_time_counts_from_the_start_of_the_process() -> None:
    said = "import time; time.sleep(0.3); from ehrmem_widgets.cores import process_began; print(time.monotonic() - process_began())"
    before = time.monotonic()
    seconds = float(subprocess.run([sys.executable, "-c", said], check=True, capture_output=True, text=True).stdout)
    assert 0.3 <= seconds <= time.monotonic() - before + 0.02  # the system counts in hundredths


def test_a_first_epoch_that_was_cut_short_is_said(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, said = Clock(), list[str]()
    monkeypatch.setattr(models, "time", clock)
    monkeypatch.setattr(models, "_learn", clock.slow(lambda *_: 1.0, 40 * MINUTES))
    monkeypatch.setattr(models, "_CODES_A_BATCH", 256)
    facts = models.train_model(
        MedsDataset(cohort), tmp_path / "m", minutes=MINUTES, width=48, layers=1, report=said.append
    )
    assert facts["epochs"] == 0 and facts["final_loss"] is None and "over within the first epoch" in said[-1]


def test_no_time_for_a_single_step_is_said(cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--data", str(cohort), "--out", str(tmp_path / "m"), "--minutes", "0.00001"]) == 2
    assert "was over before the training began: reading the data and getting ready took" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
