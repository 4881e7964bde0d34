"""Whom a model was trained on, by the splits of the data set: what is known, and what is supposed where nobody says."""

from __future__ import annotations

from ehrmem_widgets.blackbox.mean_reference import models_of
from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.cohort.dataset import MEMBER_SPLIT

REFERENCE_SPLIT = "reference"
"""What a reference model is supposed to have been trained on that does not say it."""

NOBODY = "none"
"""What a reference's training split is called where it saw nobody of the data set."""


def trained_on(model: BlackBox | None) -> str:
    """The split whose patients count as members: the one that the model was trained on, or else MEDS's own name for it."""
    return (model and model.training_split) or MEMBER_SPLIT


def seen_by_reference(reference: BlackBox | None) -> frozenset[str]:
    """The splits that the reference models were trained on, one or several. One that does not say it is supposed to have been
    trained on "reference" (where the data set has no such split: on nobody of it), which is kept apart without a reference too."""
    said = frozenset(one.training_split or REFERENCE_SPLIT for one in models_of(reference))
    return said or frozenset({REFERENCE_SPLIT})


def seen_by(model: BlackBox | None, reference: BlackBox | None) -> frozenset[str]:
    """The splits that any of the models was trained on."""
    return seen_by_reference(reference) | {trained_on(model)}


def training_splits(model: BlackBox, reference: BlackBox | None) -> str:
    """What results depend on besides data and models, for their seal: the split of the members, and all that any model saw."""
    return f"{trained_on(model)}; seen: {', '.join(sorted(seen_by(model, reference)))}"


def members_in_words(training_split: str | None) -> str:
    """Who counts as a member, and whether that is known or supposed.

    >>> members_in_words("tuning")
    'patients of the split tuning'
    """
    if training_split:
        return f"patients of the split {training_split}"
    return f"patients of the split {MEMBER_SPLIT} (supposed: nothing says on whom the model was trained)"


def split_in_words(split: object, members: str) -> str:
    """What a split means for a model that was trained on the split ``members``.

    >>> split_in_words("train", "train"), split_in_words("held_out", "train"), split_in_words(None, "train")
    ('in training', 'held out', 'no split')
    """
    if not isinstance(split, str):
        return "no split"
    return "in training" if split == members else split.replace("_", " ")
