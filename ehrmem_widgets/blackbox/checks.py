"""Is this model worth auditing on this data? Refuse what would end in a wrong "it remembers nobody"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import chi2

from ehrmem_widgets.blackbox.protocol import BlackBox, Query
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.tokens.moments import ids_of, with_ids
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.tokens.vocabulary import Vocabulary

LEAST_KNOWN = 0.5
_COMPARED, _SAME = 4, 1e-3  # sequences, and the difference in nats per code up to which two models are one
_LOOKED_AT = 24  # records whose likelihood is looked at
_RENAMINGS, _FEW, _BEGINNING = 12, 8, 64
"""Times that codes swap ids at random, records looked at first (all of them where these do not settle it), and their first codes."""
_FEWEST_NAMES = 20  # different codes below which ids that are dealt out anew are often the same
_SURELY, _BEYOND = 4, 2
"""Standard deviations of those by which the right ids must be likelier than the best of them, for a few records and for all: right ones were
3.5 or more beyond (8 draws each of 5 models, one of them trained with epsilon 3), wrong ones 1.2 at most (over 100)."""
_MOVED = 0.05  # nats by which the score of a code may change with what should not matter: rounding in 16 bit
_COMPANY = (200, 800, 2_000)
"""Codes of records beside which a shorter one is scored: how many go together depends on the model."""
_PROMPTS, _DRAWN = 4, 128  # prompts, and single codes drawn after each with each of two seeds
_COPIED = 16  # continuations from the start of a record, and their codes, where there are no probabilities
_EXPECTED = 5  # draws of a code before it is a cell of the test
_ALARM = 1e-6


def sample_sequences(model: BlackBox, dataset: MedsDataset, split: str, records: int = _LOOKED_AT) -> list[list[int]]:
    """The ids of a few records of a split (of anybody, where there is no such split), cut to the model's context."""
    vocabulary = model.vocabulary
    found = dataset.records(dataset.ids(split if split in dataset.splits else None)[:records])
    return [encode(r, vocabulary).ids(vocabulary)[: model.context_length] for r in found]


@dataclass(frozen=True)
class UnknownCodes:
    """The ``codes`` of a data set that a model does not know, the commonest first, of how many that it has (``of``), and the ``share`` of its
    events that they make up."""

    codes: tuple[str, ...]
    of: int
    share: float

    def in_words(self) -> str:
        """How many, and how often they occur."""
        return unknown_in_words(len(self.codes), self.of, self.share)


def unknown_in_words(codes: int, of: int, share: float) -> str:
    """How many codes of a data set are unknown, and which share of its events they make up.

    >>> unknown_in_words(2, 40, 0.0003)
    '2 of 40 codes of the data (less than 0.1% of the events)'
    """
    shown = f"{share:.1%}" if share >= 0.001 else "less than 0.1%"
    return f"{codes:,} of {of:,} codes of the data ({shown} of the events)"


def unknown_codes(vocabulary: Vocabulary, dataset: MedsDataset) -> UnknownCodes:
    """What a model does not know of a data set (birth left out, and facts without a date where the model is told none)."""
    codes = dataset.codes[~dataset.codes["code"].str.startswith("MEDS_BIRTH")]
    names = [vocabulary.token_scheme.renamed(code) for code in codes["code"]]
    known = np.array([bool(vocabulary.bins_of(name)) or name in vocabulary for name in names], dtype=bool)
    unknown = codes[~known].sort_values("events", ascending=False, kind="stable")
    share = float(unknown["events"].sum() / max(codes["events"].sum(), 1))
    return UnknownCodes(tuple(unknown["code"]), len(codes), share)


def check_vocabulary_fits(vocabulary: Vocabulary, dataset: MedsDataset) -> float:
    """The share of the data set's events whose code the model knows; BadInput below one half."""
    unknown = unknown_codes(vocabulary, dataset)
    if 1 - unknown.share < LEAST_KNOWN:
        raise BadInput(
            f"The model does not speak this data set's codes: it knows {1 - unknown.share:.0%} of the events of {dataset.name} "
            f"(unknown are {', '.join(unknown.codes[:3])}). Open it with the data set that it was trained on, or say with a token scheme's "
            "'rename' how the model writes these codes."
        )
    return 1 - unknown.share


def check_has_learned(model: BlackBox, sequences: Sequence[Sequence[int]], *, seed: int = 0) -> float:
    """How much likelier real sequences are than shuffled ones, in nats per code; BadInput when not clearly so.

    A published checkpoint once held another architecture's weights and loaded with a warning: auditing it would have
    found "no memorization" (models that know nothing leak nothing).
    """
    rng = np.random.default_rng(seed)
    real = [list(s) for s in sequences if len(s) > 3]
    shuffled = [[s[0], *with_ids(s[1:], rng.permutation(ids_of(s[1:])).tolist())] for s in real]  # ages stay in order
    gain = _gain(model, real, shuffled)
    if len(gain) == 0:
        raise BadInput(f"No record is long enough to see whether the model {model.name!r} has learned anything.")
    if not np.isfinite(gain).all() or gain.mean() - 3 * gain.std() / np.sqrt(len(gain)) <= 0:
        raise BadInput(
            f"The model {model.name!r} finds real records no likelier than shuffled ones ({gain.mean():+.3f} nats per code, "
            f"n = {len(gain)}). Its weights or its vocabulary are wrong, and an audit of it would mean nothing. "
            f"{_out_of_place(model, real, seed)}".rstrip()
        )
    return float(gain.mean())


def check_codes_in_place(model: BlackBox, sequences: Sequence[Sequence[int]], *, seed: int = 0) -> None:
    """Raise BadInput when the list of codes is not that of the model: with every id moved by one real sequences are clearly likelier (it is off
    by one), or they are no likelier than when the codes of each kind swap ids at random (it belongs to another model)."""
    if why := _out_of_place(model, [list(s) for s in sequences if len(s) > 3], seed):
        raise BadInput(f"The vocabulary does not fit the model {model.name!r}. {why}")


def check_looks_back_only(model: BlackBox, sequences: Sequence[Sequence[int]]) -> float:
    """The most nats by which the last code changes the score of an earlier one; BadInput for more than rounding: such a model (BERT,
    RoBERTa) fills gaps and continues nothing, and what it is asked here would mean nothing."""
    real = [list(s) for s in sequences if len(s) > 3][:_COMPARED]
    changed = [[*s[:-1], *with_ids(s[-1:], (ids_of(s[-1:]) + 1) % len(model.vocabulary))] for s in real]
    most = _most_moved(model.score(real), model.score(changed), but_last=1)
    if most > _MOVED:
        raise BadInput(
            f"The model {model.name!r} reads what comes after: changing the last code of a record changes the scores of earlier codes by up "
            f"to {most:.2f} nats (n = {len(real)}). It fills gaps and cannot continue a record, so none of these tests can be asked of it. Give a "
            "model that predicts the next code."
        )
    return most


def check_scores_alone(model: BlackBox, sequences: Sequence[Sequence[int]]) -> float:
    """The most nats by which a score changes when a longer record is scored in the same call; BadInput for more than rounding."""
    short = max((list(s) for s in sequences if len(s) > 3), key=len, default=[])
    alone = model.score([short]) if short else []
    most, longest = 0.0, 0
    for length in _COMPANY:
        if short and len(short) < length <= model.context_length:
            long = (short * (1 + length // len(short)))[:length]
            moved = _most_moved(alone, model.score([short, long])[:1])
            most, longest = max((most, longest), (moved, length))
    if most > _MOVED:
        raise BadInput(
            f"The scores of the model {model.name!r} depend on what else is asked: beside a record of {longest:,} codes those of one of {len(short)} "
            f"change by up to {most:.2f} nats. So members and others would not be compared alike. Models whose positions change with the longest "
            "record of a call (longrope) do this: set a shorter context in its config.json."
        )
    return most


def check_samples_honest(model: BlackBox, sequences: Sequence[Sequence[int]], *, seed: int = 0) -> float:
    """The p-value of single codes drawn after a few prompts against the probabilities that the model reports; BadInput where they do not
    follow them (a temperature, top-p or top-k is set, or all are copies), or where another seed changes nothing (a cache). Of a model that
    reports none, only copies are found, and the p-value is 1: from the start of a record alone, since one that knows the records by heart may well
    go on from half of one in a single way."""
    scored = Query.SCORES in model.answers
    some = [s for s in sequences if len(s) > 3][:_PROMPTS] if scored else [s for s in sequences if s][:1]
    prompts = [[[code] for code in s[: len(s) // 2 if scored else 1]] for s in some]
    if not prompts:
        return 1.0
    horizon, draws = (1, _DRAWN) if scored else (_COPIED, _COPIED)
    drawn = [
        np.stack([step.codes for step in model.generate(prompts, horizon, draws, seed=one)]) for one in (seed, seed + 1)
    ]
    for row, prompt in enumerate(prompts):
        first, second = (one[:, row] for one in drawn)
        if np.array_equal(first, second) and len(np.unique(first, axis=1).T) >= _EXPECTED:
            raise BadInput(
                f"The model {model.name!r} gives the same samples whatever the seed ({draws} draws after {len(prompt)} codes): what it answers is "
                "kept somewhere, and intervals would be too narrow. Switch the cache or the fixed seed of its server off."
            )
    if not scored:
        if all(len(np.unique(one[:, 0], axis=1).T) == 1 for one in drawn):
            raise BadInput(
                f"The model {model.name!r} begins every record in one and the same way ({2 * draws} continuations from the start): it does not sample. "
                "Switch its temperature on (1), and top-p and top-k off."
            )
        return 1.0
    statistic, cells, worst = 0.0, 0, (0.0, 0, 0, 0.0)
    for row, prompt in enumerate(prompts):
        codes = np.concatenate([one[0, row] for one in drawn])
        seen, counts = np.unique(codes[codes >= 0], return_counts=True)
        ids = [code for [code] in prompt]
        expected = len(codes) * np.exp([score[-1] for score in model.score([[*ids, int(code)] for code in seen])])
        own = expected >= _EXPECTED
        pairs = sorted(zip(expected[own].tolist(), counts[own].tolist(), seen[own].tolist(), strict=True), reverse=True)
        rest = (len(codes) - expected[own].sum(), len(codes) - counts[own].sum(), -1)
        if rest[0] < _EXPECTED and pairs:  # too few for a cell of their own
            of, count, _ = pairs.pop()
            rest = (rest[0] + of, rest[1] + count, -1)
        for of, count, code in [*pairs, rest]:
            part = (count - of) ** 2 / max(of, 0.5)
            statistic, cells = statistic + part, cells + 1
            worst = max(worst, (part, code, count, of))
        cells -= 1
    p = float(chi2.sf(statistic, max(cells, 1)))
    if p < _ALARM:
        _, code, count, of = worst
        what = f"the code {model.vocabulary.codes[code]}" if code >= 0 else "every other code"
        raise BadInput(
            f"The samples of the model {model.name!r} do not follow the probabilities that it reports: {what} came {count} times in {2 * _DRAWN} "
            f"draws, where {of:.0f} were expected (p < {_ALARM:g}). A temperature, top-p or top-k is set, or samples are copies. Switch that off: "
            "leaks would be wrong either way."
        )
    return p


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


def _out_of_place(model: BlackBox, real: list[list[int]], seed: int) -> str:
    """What is wrong with the places of the codes, in a sentence; empty where nothing is found."""
    moved = _likelier_moved(model, real)
    if moved is None and _likelihood(model, real[:_FEW]) > _bar(_renamed(model, real[:_FEW], seed), _SURELY):
        return ""
    chance = _renamed(model, real, seed)
    bar = _bar(chance, _BEYOND)
    if moved is not None and _likelihood(model, moved.sequences) > bar:
        way = "one higher" if moved.by > 0 else "one lower"
        return (
            f"With every id {way} real records are {moved.gain:.2f} nats per code likelier: the list of codes is off by one (does the first "
            "id belong to padding, or has the file a heading?)."
        )
    own = _likelihood(model, real)
    if own > bar:
        return ""
    return (
        f"With its list of codes real records are no likelier ({own:.2f} nats per code) than where codes of a kind swap ids at random "
        f"({max(chance):.2f} at best, n = {len(chance)}): the list belongs to another model, or its order was changed."
    )


def _bar(chance: list[float], deviations: float) -> float:
    """What is not reached by chance; minus infinity where chance was not asked."""
    return max(chance) + deviations * float(np.std(chance)) if chance else -np.inf


def _likelihood(model: BlackBox, sequences: list[list[int]]) -> float:
    """How likely the beginnings of sequences are, in nats per code: the mean over sequences. Where waiting times are part of the scores, of each
    sequence the median: one wait that was not expected outweighs all codes."""
    of_one = _median if model.vocabulary.timed else _mean
    return float(np.mean([of_one(one) for one in model.score([s[:_BEGINNING] for s in sequences])]))


def _renamed(model: BlackBox, real: list[list[int]], seed: int) -> list[float]:
    """``_likelihood`` when the codes of each kind that occur in the records swap ids at random, once each time; nothing where too few
    different codes occur."""
    some, codes = [s[:_BEGINNING] for s in real], model.vocabulary.codes
    kinds: dict[str, list[int]] = {}
    for number in sorted({number for s in some for number in ids_of(s).tolist()}):
        kinds.setdefault(model.vocabulary.kind(codes[number]), []).append(number)
    if sum(len(ids) for ids in kinds.values() if len(ids) > 1) < _FEWEST_NAMES:
        return []
    rng, found = np.random.default_rng([seed, 7]), []
    for _ in range(_RENAMINGS):
        to = {old: int(new) for ids in kinds.values() for old, new in zip(ids, rng.permutation(ids), strict=True)}
        found.append(_likelihood(model, [with_ids(s, [to[number] for number in ids_of(s).tolist()]) for s in some]))
    return found


class _Moved(NamedTuple):
    """``by``: -1 or 1; ``gain``: how much likelier records are with every id moved so, in nats per code; ``sequences``: those records."""

    by: int
    gain: float
    sequences: list[list[int]]


def _likelier_moved(model: BlackBox, real: list[list[int]]) -> _Moved | None:
    """The way to move ids by one that makes the sequences clearly likelier."""
    highest = len(model.vocabulary) - 1
    ways = {by: [with_ids(s, (ids_of(s) + by).clip(0, highest).tolist()) for s in real] for by in (0, 1, -1)}
    scores = model.score([s for moved in ways.values() for s in moved])
    means = dict(zip(ways, np.array([_mean(one) for one in scores]).reshape(len(ways), len(real)), strict=True))
    for by in (1, -1):
        gain = means[by] - means[0]
        if len(gain) > 3 and np.isfinite(gain).all() and gain.mean() - 3 * gain.std() / np.sqrt(len(gain)) > 0:
            return _Moved(by, float(gain.mean()), ways[by])
    return None


def _most_moved(before: Sequence[np.ndarray], after: Sequence[np.ndarray], but_last: int = 0) -> float:
    """The largest difference of scores, the last ones of each sequence left out."""
    pairs = ((_finite(a), _finite(b)) for a, b in zip(before, after, strict=True))
    return max((float(np.abs(a - b)[: len(a) - but_last].max()) for a, b in pairs), default=0.0)


def _gain(model: BlackBox, some: list[list[int]], others: list[list[int]]) -> np.ndarray:
    scores = model.score(some + others)
    pairs = zip(scores[: len(some)], scores[len(some) :], strict=True)
    return np.array([_mean(a) - _mean(b) for a, b in pairs])


def _mean(scores: np.ndarray) -> float:
    """The mean log-probability of a code. What the model calls impossible counts as 1e-30: a shuffled record may well be."""
    return float(_finite(scores).mean())


def _median(scores: np.ndarray) -> float:
    return float(np.median(_finite(scores)))


def _finite(scores: np.ndarray) -> np.ndarray:
    return np.maximum(scores, np.log(1e-30))
