"""Shadow models: random halves of the people, the same ones again, kept for who audits; what does not fit is refused."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.mean_reference import models_of
from ehrmem_widgets.blackbox.opening import open_sources, open_unchecked
from ehrmem_widgets.blackbox.shadow_models import open_shadow_models
from ehrmem_widgets.cli import main
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput, Damaged
from ehrmem_widgets.sources import given_sources
from ehrmem_widgets.training.models import train_model
from ehrmem_widgets.training.shadow_models import random_halves, train_shadow_models
from tests.widgets.opened import few_patients


class Stopped(Exception):
    """The training was interrupted."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> MedsDataset:
    return MedsDataset(few_patients(tmp_path_factory.mktemp("shadows") / "data"))


@pytest.fixture(scope="module")
def shadows(data: MedsDataset) -> Path:
    """Four of the members and the held-out, the training interrupted in the second."""
    out = data.root.parent / "shadows"

    def stop(line: str) -> None:
        if line.startswith("shadow model 2"):
            raise Stopped

    with pytest.raises(Stopped):
        train_shadow_models(data, out, shadows=4, splits=["train", "held_out"], epochs=1, report=stop)
    assert [one.name for one in out.iterdir()] == ["shadow_00"]  # nothing half-finished
    first = (out / "shadow_00" / "model.safetensors").stat().st_mtime_ns
    command = f"train --data {data.root} --out {out} --shadow 4 --split train,held_out --epochs 1"
    assert main(command.split()) == 0
    assert (out / "shadow_00" / "model.safetensors").stat().st_mtime_ns == first
    return out


@pytest.fixture(scope="module")
def audited(data: MedsDataset) -> Path:
    out = data.root.parent / "audited"
    train_model(data, out, epochs=1)
    return out


def in_training(folder: Path) -> list[str]:
    return list(json.loads((folder / "in_training.json").read_text())["people"])


def test_everybody_is_in_half_of_the_models_by_pseudonym_alone(data: MedsDataset, shadows: Path) -> None:
    asked = [data.pseudonym(one) for split in ("train", "held_out") for one in data.ids(split)]
    times = [name for one in shadows.iterdir() for name in in_training(one)]
    assert sorted(times) == sorted(2 * asked)
    for one in shadows.iterdir():
        assert (one / "in_training.json").stat().st_mode & 0o077 == 0
        written = (one / "in_training.json").read_text() + (one / "training.json").read_text()
        assert not any(re.search(rf"\b{patient}\b", written) for patient in data.ids() if patient > 10_000)
        assert FolderModel(one).training_split is None


def test_an_interrupted_training_gives_the_same_models(data: MedsDataset, shadows: Path, tmp_path: Path) -> None:
    def stop(line: str) -> None:
        if line.startswith("shadow model 3"):
            raise Stopped

    with pytest.raises(Stopped):  # the second one alone was begun anew above
        train_shadow_models(data, tmp_path / "other", shadows=4, splits=["train", "held_out"], epochs=1, report=stop)
    for name in ("shadow_00", "shadow_01"):
        assert in_training(tmp_path / "other" / name) == in_training(shadows / name)
        one, other = (FolderModel(folder / name).score([[1, 5, 9, 7]])[0] for folder in (tmp_path / "other", shadows))
        np.testing.assert_array_equal(one, other)


def test_halves_do_not_depend_on_how_many_are_asked_for() -> None:
    assert list(random_halves(range(9), 6, 5))[:4] == list(random_halves(range(9), 4, 5))
    assert list(random_halves(range(9), 2, 5)) != list(random_halves(range(9), 2, 6))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("--shadow 3", "must be a whole number from 4 to 64"),
        ("--shadow 4 --minutes 1", "leave out --minutes and --epsilon"),
        ("--shadow 4 --epsilon 3", "leave out --minutes and --epsilon"),
        ("--shadow 4 --epochs 2", "made otherwise .epochs: 1, now 2."),
        ("--shadow 4 --split train", "made otherwise .splits: "),
        ("--shadow 4 --split nowhere", "no split 'nowhere'"),
    ],
)
def test_a_command_that_cannot_be_meant_is_refused(
    data: MedsDataset, shadows: Path, capsys: pytest.CaptureFixture[str], more: str, words: str
) -> None:
    command = f"train --data {data.root} --out {shadows} {more}".split()
    if "--epochs" not in more:
        command += ["--epochs", "1"]
    if "--split" not in more:
        command += ["--split", "train,held_out"]
    try:
        assert main(command) == 2
    except SystemExit as left:  # of argparse
        assert left.code == 2
    assert re.search(words, capsys.readouterr().err)


def test_shadow_models_that_do_not_fit_the_audit_are_refused(
    data: MedsDataset, shadows: Path, audited: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = FolderModel(audited)
    assert len(open_shadow_models(shadows, data, model).models) == 4
    few = tmp_path / "few"
    shutil.copytree(shadows, few)
    shutil.rmtree(few / "shadow_03")
    with pytest.raises(BadInput, match="holds 3 shadow models, and at least 4 are needed"):
        open_shadow_models(few, data, model)
    with pytest.raises(BadInput, match="holds no shadow models"):
        open_shadow_models(tmp_path, data, model)
    with pytest.raises(BadInput, match="is the audited model itself"):
        open_shadow_models(shadows, data, FolderModel(shadows / "shadow_01"))
    train_model(data, tmp_path / "other_codes", split="reference", epochs=1)
    with pytest.raises(BadInput, match="have another list of codes than 'other_codes'"):
        open_shadow_models(shadows, data, FolderModel(tmp_path / "other_codes"))
    (few / "shadow_02" / "in_training.json").write_text(
        (few / "shadow_02" / "in_training.json").read_text().replace('"seed": 0', '"seed": 1')
    )
    shutil.copytree(shadows / "shadow_03", few / "shadow_03")
    with pytest.raises(Damaged, match=r"shadow_02/in_training.json' was changed since it was written"):
        open_shadow_models(few, data, model)
    with pytest.raises(BadInput, match="were trained on other data than"):
        open_shadow_models(shadows, MedsDataset(few_patients(tmp_path / "again_but_changed", first=70)), model)
    monkeypatch.setenv("EHRMEM_PSEUDONYM_KEY", str(tmp_path / "another.key"))
    with pytest.raises(BadInput, match="pseudonyms of another user's key"):
        open_shadow_models(shadows, MedsDataset(data.root), model)


def test_a_folder_of_shadow_models_of_other_patients_is_a_reference(
    data: MedsDataset, shadows: Path, audited: Path, tmp_path: Path
) -> None:
    others = tmp_path / "others"
    vocabulary = FolderModel(audited).vocabulary
    train_shadow_models(data, others, shadows=4, splits=["reference"], epochs=1, vocabulary=vocabulary)
    sources = given_sources(data=data.root, model=audited, reference=others)
    assert len(sources.reference) == 4
    reference = open_unchecked(sources)[2]  # models of one epoch know too little to be looked at
    assert [one.training_split for one in models_of(reference)] == 4 * ["reference"]
    with pytest.raises(BadInput, match="was trained on half of everybody who is asked about, so it is no reference"):
        open_sources(given_sources(data=data.root, model=audited, reference=shadows))
