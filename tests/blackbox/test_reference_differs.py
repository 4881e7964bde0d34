"""The audited model named as its own reference, whatever it is called, is refused: it would find population knowledge everywhere."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from ehrmem_widgets.blackbox.callable import SamplingModel
from ehrmem_widgets.blackbox.checks import is_same_model, sample_sequences
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.opening import open_sources, open_with
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from ehrmem_widgets.sources import Sources


@pytest.fixture(scope="module")
def dataset() -> MedsDataset:
    return MedsDataset(sample_data())


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The same weights in another folder, in a file of other bytes, with nothing that says who was trained on."""
    folder = tmp_path / "vendor"
    shutil.copytree(sample_model(), folder)
    (folder / "training.json").unlink()
    save_file(
        load_file(folder / "model.safetensors"), folder / "model.safetensors", metadata={"format": "pt", "by": "x"}
    )
    return folder


def test_a_copy_under_another_name_is_refused(copied: Path) -> None:
    assert FolderModel(copied).fingerprint != FolderModel(sample_model()).fingerprint
    with pytest.raises(
        BadInput, match=r"'vendor' is the audited model itself.*Name a model that was trained on others"
    ):
        open_sources(Sources(str(sample_data()), str(sample_model()), (str(copied),)))


def test_the_same_object_is_refused_and_one_of_several_too(copied: Path) -> None:
    model = FolderModel(sample_model())
    for reference in (model, [sample_reference(), copied]):
        with pytest.raises(BadInput, match="is the audited model itself"):
            open_with(sample_data(), model, reference)


def test_other_models_are_not(dataset: MedsDataset) -> None:
    model = FolderModel(sample_model())
    some = sample_sequences(model, dataset, "train", 4)
    names = ("moderate", "private", "reference")
    assert not any(is_same_model(FolderModel(sample_model().parent / name), model, some) for name in names)


def test_models_without_probabilities_are_told_apart_by_their_fingerprints(dataset: MedsDataset) -> None:
    model = FolderModel(sample_model())

    def sampler(prompt: list[int], n: int, length: int) -> list[list[int]]:
        return [[1] * length] * n

    one = SamplingModel(sampler, model.vocabulary, context_length=64)
    assert is_same_model(one, one, []) and not is_same_model(one, model, [])
