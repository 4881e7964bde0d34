"""Shadow models: small models that were each trained on a random half of the people, and who was in which (``training/shadow_models.py``)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput, Damaged
from ehrmem_widgets.files import is_changed, read_json
from ehrmem_widgets.settings import SHADOWS
from ehrmem_widgets.sources import IN_TRAINING_FILE, refuse_all_but_samples, shadow_folders


@dataclass(frozen=True)
class ShadowModels:
    """``people``: for each of the models the pseudonyms of those whom it was trained on."""

    models: tuple[FolderModel, ...]
    people: tuple[frozenset[str], ...]

    def about(self) -> dict[str, object]:
        """What settings say of them."""
        every = " ".join(one.fingerprint for one in self.models)
        return {"models": len(self.models), "fingerprint": hashlib.sha256(every.encode()).hexdigest()[:16]}

    def inside(self, pseudonym: str) -> np.ndarray:
        """(models,) bool: which of them were trained on somebody."""
        return np.array([pseudonym in those for those in self.people])


def read_in_training(folder: Path) -> tuple[dict[str, object], list[str]]:
    """How a shadow model was made, and the pseudonyms of those whom it was trained on. Raises Damaged for a file that was changed."""
    path = folder / IN_TRAINING_FILE
    found = read_json(path, str(path))
    if not isinstance(found, dict) or "digest" not in found or is_changed(found):
        raise Damaged(f"{str(path)!r} was changed since it was written. Remove its folder and train that model again.")
    return found["made_of"], found["people"]


def open_shadow_models(folder: str | Path, dataset: MedsDataset, model: BlackBox) -> ShadowModels:
    """The shadow models in a folder, for an audit of ``model``.

    Raises BadInput for too few of them, and for those of other data, of another user (whose pseudonyms are others), with another list of codes
    than the audited model's, or that are the audited model.
    """
    refuse_all_but_samples(folder)
    folders = shadow_folders(folder)
    if len(folders) < SHADOWS.least:
        found = f"holds {len(folders)} shadow models" if folders else "holds no shadow models"
        raise BadInput(
            f"{str(folder)!r} {found}, and at least {SHADOWS.least} are needed: half of them saw a person and half did not. 'ehrmem train "
            f"--shadow {SHADOWS.example} --out {folder}' trains those that are missing."
        )
    written = [read_in_training(one) for one in folders]
    if any(made_of["data"] != dataset.fingerprint for made_of, _ in written):
        raise BadInput(
            f"The shadow models in {str(folder)!r} were trained on other data than {dataset.name}, so nothing says who was in which. Train "
            f"them with --data {dataset.root}."
        )
    if not dataset.ids_of(written[0][1][0]):
        raise BadInput(
            f"The shadow models in {str(folder)!r} name people by pseudonyms of another user's key, so nothing says who was in which. "
            "Train them as the user who audits."
        )
    models = tuple(FolderModel(one) for one in folders)
    for one in models:
        if one.vocabulary.codes != model.vocabulary.codes:
            raise BadInput(
                f"The shadow models in {str(folder)!r} have another list of codes than {model.name!r}. Train them with --vocabulary and the "
                "folder of the audited model."
            )
        if one.fingerprint == model.fingerprint:
            raise BadInput(f"The shadow model {str(one.folder)!r} is the audited model itself. Train others.")
    return ShadowModels(models, tuple(frozenset(people) for _, people in written))


def check_reference_saw_nobody(reference: BlackBox) -> None:
    """Raise BadInput for a shadow model of people of several splits as a reference: it was trained on half of the members."""
    if not isinstance(reference, FolderModel) or not (reference.folder / IN_TRAINING_FILE).is_file():
        return
    if reference.training.get("split") is None:
        raise BadInput(
            f"The shadow model {str(reference.folder)!r} was trained on half of everybody who is asked about, so it is no reference. Train some on "
            "other patients ('ehrmem train --shadow 4 --split reference'); for membership, give these with --shadow."
        )
