"""What a screen reads of a session (a file, an address, what was kept last) is a state or is refused in words, whatever was done to it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from random import Random

import pytest

from ehrmem_widgets.attacker.facts import AGE, KnownFact
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import EhrmemError
from ehrmem_widgets.probes.exploration import Exploration, State
from ehrmem_widgets.widgets.carried import carried
from ehrmem_widgets.widgets.trail import from_link, state_as_json, state_from_json, to_link
from tests.fuzz.mutate import mutate, tree
from tests.fuzz.valid import home, make_valid
from tests.once import made_once

INPUTS = 150


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "fuzz_valid", make_valid)


@pytest.fixture
def exploration(valid: Path, monkeypatch: pytest.MonkeyPatch) -> Exploration:
    for name, value in home(valid).items():
        monkeypatch.setenv(name, value)
    return Exploration(MedsDataset(valid / "meds"), FolderModel(valid / "model"), folder=valid / "model")


def test_a_damaged_session_is_a_state_or_refused(exploration: Exploration) -> None:
    attributes = tuple(exploration.attributes.default_names())
    state = State(
        exploration.dataset.ids("train")[0], (KnownFact(AGE),), None, attributes, attributes[0], horizon=8, samples=16
    )
    content = state_as_json(state, exploration)
    assert state_from_json(content, exploration, state) == state
    refused = 0
    for seed in range(INPUTS):
        rng = Random(seed)
        damaged = tree(copy.deepcopy(content), rng)
        try:
            if rng.random() < 0.3 and isinstance(damaged, dict):
                link = list(to_link(damaged))
                link[rng.randrange(len(link))] = rng.choice("Aa0-_~é")
                damaged = from_link("".join(link))
            assert isinstance(state_from_json(damaged, exploration, state), State)
        except EhrmemError as error:
            refused += 1
            assert len(str(error)) < 1_000
    assert refused > INPUTS / 2


def test_what_was_kept_last_is_used_or_left(valid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in home(tmp_path).items():
        monkeypatch.setenv(name, value)
    dataset, kept = MedsDataset(valid / "meds"), tmp_path / "state" / "ehrmem" / "last_screen.json"
    kept.parent.mkdir(parents=True)
    (kept.parent / "pseudonym.key").write_bytes((valid / "state" / "ehrmem" / "pseudonym.key").read_bytes())
    good = (valid / "state" / "ehrmem" / "last_screen.json").read_text()
    kept.write_text(good)
    assert carried(dataset) is not None and json.loads(good)["patient"] == carried(dataset).patient  # type: ignore[union-attr]
    used = 0
    for seed in range(INPUTS):
        if kept.is_dir() and not kept.is_symlink():
            kept.rmdir()
        kept.unlink(missing_ok=True)
        kept.write_text(good)
        mutate(kept, Random(seed))
        found = carried(dataset)
        used += found is not None
        assert found is None or found.patient == json.loads(good)["patient"]
    assert 0 < used < INPUTS
