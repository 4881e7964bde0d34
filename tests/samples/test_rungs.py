"""The small models with and without each defence: one training that differs in the defence alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.samples import build
from ehrmem_widgets.samples.folders import SAMPLES, sample_data
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.training import models

FOLDER = SAMPLES / "models" / build.RUNGS
DEFENCES = sorted(path.name for path in FOLDER.iterdir())
README = (SAMPLES / "README.md").read_text(encoding="utf-8")


def facts(name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((FOLDER / name / "training.json").read_text())
    return found


def test_they_are_told_in_one_shape_and_small() -> None:
    assert set(re.findall(r"`models/rungs/(\w+)/`", README)) == set(DEFENCES) > {"none"}
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 6_000_000
    assert len({(FOLDER / name / "vocabulary.json").read_bytes() for name in DEFENCES}) == 1
    shapes = [json.loads((FOLDER / name / "config.json").read_text()) for name in DEFENCES]
    for shape in shapes:
        shape.pop("attention_dropout")
    assert all(shape == shapes[0] for shape in shapes) and shapes[0]["hidden_size"] == 96


@pytest.mark.parametrize("name", DEFENCES)
def test_they_differ_in_the_defence_alone(name: str) -> None:
    plain, own = facts("none"), facts(name)
    assert own["patients"] == plain["patients"] == 1100 and own["seed"] == plain["seed"]
    changed = {key for key in plain if own.get(key) != plain[key]} - {"final_loss"}
    match name.partition("_")[0]:
        case "none" | "dropout":
            assert not changed
            dropped = json.loads((FOLDER / name / "config.json").read_text())["attention_dropout"]
            assert (dropped > 0) == (name == "dropout")
        case "deduplicated":
            assert changed == {"records_an_epoch"} and own["records_an_epoch"] == 1100
        case "early":
            losses = own["their_loss"]
            assert changed == {"epochs"} and isinstance(losses, list) and len(losses) == plain["epochs"]
            assert own["epochs"] == 1 + int(np.argmin(losses))
        case _:
            asked, spent = float(name.removeprefix("epsilon_")), float(str(own["epsilon"]))
            assert asked - 0.02 < spent <= asked and own["unit_of_privacy"] == "patient"


@pytest.mark.parametrize("name", DEFENCES)
def test_each_opens_and_predicts(name: str) -> None:
    """Weights of 16 bit: better than guessing among all codes, and numbers throughout."""
    dataset, model = MedsDataset(sample_data()), FolderModel(FOLDER / name)
    never = dataset.records(dataset.ids("held_out")[:10])
    scores = np.concatenate(model.score([encode(one, model.vocabulary).ids(model.vocabulary) for one in never]))
    assert np.isfinite(scores).all() and -scores.mean() < 0.9 * np.log(len(model.vocabulary))


def test_the_recipe_stops_where_members_left_out_are_predicted_best_and_goes_on_where_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.widgets.opened import few_patients

    few_patients(tmp_path / "cohort")
    monkeypatch.setattr(build, "RUNG_EPOCHS", 3)
    monkeypatch.setattr(build, "_EPSILONS", ())
    monkeypatch.setattr(build, "repetitions", lambda cohort: {})
    looked: list[float] = []
    loss_over = models.loss_over

    def chosen(model: Any, batches: Any) -> float:
        looked.append(loss_over(model, batches))
        return (5.0, 2.0, 3.0)[len(looked) - 1]

    monkeypatch.setattr(models, "loss_over", chosen)
    said: list[str] = []
    build.build_rungs(tmp_path, report=said.append)
    trained = [line for line in said if line.startswith("Training the model")]
    assert len(trained) == 4 and len(looked) == 3 and len(set(looked)) == 3 and np.isfinite(looked).all()
    folder = tmp_path / "models" / build.RUNGS
    assert json.loads((folder / "early_stopping" / "training.json").read_text())["epochs"] == 2
    (folder / "dropout" / "training.json").unlink()
    said.clear()
    build.build_rungs(tmp_path, report=said.append)
    assert [line for line in said if line.startswith("Training the model")] == ["Training the model dropout ..."]
