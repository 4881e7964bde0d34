"""Is this model worth auditing on this data? Refuse what would end in a wrong "it remembers nobody"."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ehrmem_widgets.blackbox.protocol import BlackBox, Query
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.tokens.vocabulary import Vocabulary

LEAST_KNOWN = 0.5
_COMPARED, _SAME = 4, 1e-3  # sequences, and the difference in nats per code up to which two models are one
_LOOKED_AT = 24  # records whose likelihood is looked at


def sample_sequences(model: BlackBox, dataset: MedsDataset, split: str, records: int = _LOOKED_AT) -> list[list[int]]:
    """The ids of a few records of a split (of anybody, where there is no such split), cut to the model's context."""
    vocabulary = model.vocabulary
    found = dataset.records(dataset.ids(split if split in dataset.splits else None)[:records])
    return [vocabulary.ids(encode(r, vocabulary).codes[: model.context_length]) for r in found]


def known_share(vocabulary: Vocabulary, dataset: MedsDataset) -> tuple[float, list[str]]:
    """The share of the data set's events (birth left out, and facts without a date where the model is told none) whose code the
    model knows, and the three commonest codes that it does not know."""
    codes = dataset.codes[~dataset.codes["code"].str.startswith("MEDS_BIRTH")]
    names = [vocabulary.token_scheme.renamed(code) for code in codes["code"]]
    known = np.array([bool(vocabulary.bins_of(name)) or name in vocabulary for name in names], dtype=bool)
    share = float(codes["events"][known].sum() / max(codes["events"].sum(), 1))
    return share, codes[~known].nlargest(3, "events")["code"].tolist()


def check_vocabulary_fits(vocabulary: Vocabulary, dataset: MedsDataset) -> float:
    """The share of the data set's events whose code the model knows; BadInput below one half."""
    share, missing = known_share(vocabulary, dataset)
    if share < LEAST_KNOWN:
        raise BadInput(
            f"The model does not speak this data set's codes: it knows {share:.0%} of the events of {dataset.name} "
            f"(unknown are {', '.join(missing)}). Open it with the data set that it was trained on, or say with a token scheme's "
            "'rename' how the model writes these codes."
        )
    return share


def check_has_learned(model: BlackBox, sequences: Sequence[Sequence[int]], *, seed: int = 0) -> float:
    """How much likelier real sequences are than shuffled ones, in nats per code; BadInput when not clearly so.

    A published checkpoint once held another architecture's weights and loaded with a warning: auditing it would have
    found "no memorization" (models that know nothing leak nothing).
    """
    rng = np.random.default_rng(seed)
    real = [list(s) for s in sequences if len(s) > 3]
    shuffled = [[s[0], *rng.permutation(s[1:]).tolist()] for s in real]
    gain = _gain(model, real, shuffled)
    if len(gain) == 0:
        raise BadInput(f"No record is long enough to see whether the model {model.name!r} has learned anything.")
    if not np.isfinite(gain).all() or gain.mean() - 3 * gain.std() / np.sqrt(len(gain)) <= 0:
        moved = _likelier_moved(model, real)
        raise BadInput(
            f"The model {model.name!r} finds real records no likelier than shuffled ones ({gain.mean():+.3f} nats per code, "
            f"n = {len(gain)}). Its weights or its vocabulary are wrong, and an audit of it would mean nothing."
            + (f" {_off_by_one(*moved)}" if moved else "")
        )
    return float(gain.mean())


def check_codes_in_place(model: BlackBox, sequences: Sequence[Sequence[int]]) -> None:
    """Raise BadInput when every id moved by one makes real sequences clearly likelier: the vocabulary is off by one."""
    real = [list(s) for s in sequences if len(s) > 3]
    moved = _likelier_moved(model, real)
    if moved:
        raise BadInput(f"The vocabulary does not fit the model {model.name!r}. {_off_by_one(*moved)}")


def is_same_model(one: BlackBox, other: BlackBox, sequences: Sequence[Sequence[int]]) -> bool:
    """Whether two black boxes are one model: they give a few sequences the same probabilities, whatever their folders or addresses are
    called; where they give none, by their fingerprints."""
    if not (Query.SCORES in one.answers and Query.SCORES in other.answers):
        return one.fingerprint == other.fingerprint
    if one.vocabulary.codes != other.vocabulary.codes:
        return False
    room = min(one.context_length, other.context_length)
    some = [list(s)[:room] for s in sequences if len(s) > 3][:_COMPARED]
    pairs = zip(one.score(some), other.score(some), strict=True)
    return bool(some) and max(float(np.abs(_finite(a) - _finite(b)).mean()) for a, b in pairs) < _SAME


def check_reference_differs(reference: BlackBox, model: BlackBox, sequences: Sequence[Sequence[int]]) -> None:
    """Raise BadInput for a reference that is the audited model: what they say would never differ, and everything would be population
    knowledge."""
    if is_same_model(reference, model, sequences):
        raise BadInput(
            f"The reference model {reference.name!r} is the audited model itself: the two give the same probabilities, so nothing could ever "
            "be called memorized. Name a model that was trained on others, or leave the reference out."
        )


def _likelier_moved(model: BlackBox, real: list[list[int]]) -> tuple[int, float] | None:
    """By how much ids must be moved (-1 or 1) to make the sequences clearly likelier, and by how many nats per code."""
    highest = len(model.vocabulary) - 1
    ways = (0, 1, -1)
    scores = model.score([[min(max(number + by, 0), highest) for number in s] for by in ways for s in real])
    means = np.array([_mean(one) for one in scores]).reshape(len(ways), len(real))
    for by, gain in zip(ways[1:], means[1:] - means[0], strict=True):
        if len(gain) > 3 and np.isfinite(gain).all() and gain.mean() - 3 * gain.std() / np.sqrt(len(gain)) > 0:
            return by, float(gain.mean())
    return None


def _off_by_one(by: int, gain: float) -> str:
    way = "one higher" if by > 0 else "one lower"
    return (
        f"With every id {way} real records are {gain:.2f} nats per code likelier: the list of codes is off by one (does the first "
        "id belong to padding, or has the file a heading?)."
    )


def _gain(model: BlackBox, some: list[list[int]], others: list[list[int]]) -> np.ndarray:
    scores = model.score(some + others)
    pairs = zip(scores[: len(some)], scores[len(some) :], strict=True)
    return np.array([_mean(a) - _mean(b) for a, b in pairs])


def _mean(scores: np.ndarray) -> float:
    """The mean log-probability of a code. What the model calls impossible counts as 1e-30: a shuffled record may well be."""
    return float(_finite(scores).mean())


def _finite(scores: np.ndarray) -> np.ndarray:
    return np.maximum(scores, np.log(1e-30))
