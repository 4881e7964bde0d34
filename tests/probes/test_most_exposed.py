"""The quick scan finds the planted canaries, by the very score that the membership probe gives, and is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ehrmem_widgets.blackbox.opening import open_model
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.ground_truth import canary_repetitions
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.exploration import Exploration
from ehrmem_widgets.probes.membership.ask import Scorer
from ehrmem_widgets.probes.membership.live import MostExposed
from ehrmem_widgets.probes.membership.scores import RATIO
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference


@pytest.fixture(scope="module")
def exploration() -> Exploration:
    return Exploration(MedsDataset(sample_data()), open_model(sample_model()), open_model(sample_reference()))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / name)
    return tmp_path


def test_those_seen_often_come_first_and_the_scan_goes_on_and_is_kept(exploration: Exploration, cache: Path) -> None:
    scan = MostExposed(exploration, most_patients=400)
    started = scan.build()
    shares = [next(started), next(started)]
    started.close()  # somebody turned the dial
    shares += list(scan.build())
    assert shares == sorted(set(shares)) and shares[-1] == 1
    assert scan.values is not None
    again = MostExposed(exploration, most_patients=400)
    assert again.values is not None and np.array_equal(again.values, scan.values)

    times = canary_repetitions(exploration.dataset)
    often = [i for i, patient in enumerate(scan.ids.tolist()) if times.get(patient, 0) >= 16]
    members = np.array([not split.startswith("held") for split in exploration.dataset.splits_of(scan.ids.tolist())])
    assert often and all(scan.values[i] > np.quantile(scan.values[~members], 0.95) for i in often)

    some = exploration.dataset.records(scan.ids[:5].tolist())
    theirs = Scorer(exploration.model, exploration.reference).ask(some)
    assert [row["scores"][RATIO] for row in theirs] == pytest.approx(scan.values[:5].tolist(), abs=1e-5)


def test_what_was_kept_and_is_damaged_is_made_anew(exploration: Exploration, cache: Path) -> None:
    list(MostExposed(exploration, most_patients=20).build())
    [file] = cache.rglob("exposed-*.npz")
    file.write_bytes(b"no table")
    assert MostExposed(exploration, most_patients=20).values is None


def test_without_a_reference_nothing_is_scanned(exploration: Exploration) -> None:
    with pytest.raises(BadInput, match="reference model"):
        MostExposed(Exploration(exploration.dataset, exploration.model, None))
