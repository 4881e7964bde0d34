"""Is this model worth auditing on this data? Refuse what would end in a wrong "it remembers nobody"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.cohort.dataset import MEMBER_SPLIT, MedsDataset
from ehrmem_widgets.cohort.sequence import encode
from ehrmem_widgets.cohort.vocabulary import Vocabulary
from ehrmem_widgets.errors import InputError

LEAST_KNOWN = 0.5


def open_checked(folders: Mapping[str, Path | None]) -> tuple[MedsDataset, BlackBox, BlackBox | None]:
    """Open the folders ``data``, ``model`` and ``reference`` (None: there is none), and refuse models that do not fit the data
    or have learned nothing of it."""
    from ehrmem_widgets.blackbox.folder import FolderModel

    assert folders["data"] is not None and folders["model"] is not None
    dataset = MedsDataset(folders["data"])
    model = FolderModel(folders["model"])
    reference = FolderModel(folders["reference"]) if folders["reference"] else None
    split = MEMBER_SPLIT if MEMBER_SPLIT in dataset.splits else None
    records = dataset.records(dataset.ids(split)[:24])
    for one in (model, reference):
        if one is not None:
            check_vocabulary_fits(one.vocabulary, dataset)
            check_has_learned(one, [one.vocabulary.ids(encode(r, one.vocabulary).codes) for r in records])
    return dataset, model, reference


def check_vocabulary_fits(vocabulary: Vocabulary, dataset: MedsDataset) -> float:
    """The share of the data set's events whose code the model knows; InputError below one half."""
    codes = dataset.codes[~dataset.codes["code"].str.startswith("MEDS_BIRTH")]
    known = [bool(vocabulary.bins_of(code)) or code in vocabulary for code in codes["code"]]
    share = float(codes["events"][known].sum() / max(codes["events"].sum(), 1))
    if share < LEAST_KNOWN:
        missing = codes[~np.array(known)].nlargest(3, "events")["code"]
        raise InputError(
            f"The model does not speak this data set's codes: it knows {share:.0%} of the events of {dataset.name} "
            f"(unknown are {', '.join(missing)}). Open it with the data set that it was trained on."
        )
    return share


def check_has_learned(model: BlackBox, sequences: Sequence[Sequence[int]], *, seed: int = 0) -> float:
    """How much likelier real sequences are than shuffled ones, in nats a code; InputError when not clearly so.

    A published checkpoint once held another architecture's weights and loaded with a warning: auditing it would have
    found "no memorization" (models that know nothing leak nothing).
    """
    rng = np.random.default_rng(seed)
    real = [list(s) for s in sequences if len(s) > 3]
    shuffled = [[s[0], *rng.permutation(s[1:]).tolist()] for s in real]
    scores = model.score(real + shuffled)
    gain = np.array([a.mean() - b.mean() for a, b in zip(scores[: len(real)], scores[len(real) :], strict=True)])
    if len(gain) == 0:
        raise InputError(f"No record is long enough to see whether the model {model.name!r} has learned anything.")
    if not np.isfinite(gain).all() or gain.mean() - 3 * gain.std() / np.sqrt(len(gain)) <= 0:
        raise InputError(
            f"The model {model.name!r} finds real records no likelier than shuffled ones ({gain.mean():+.3f} nats a code, "
            f"n = {len(gain)}). Its weights or its vocabulary are wrong, and an audit of it would mean nothing."
        )
    return float(gain.mean())
