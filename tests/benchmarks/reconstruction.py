"""T1: dEMD of 100 patients x 20 trajectories x 100 codes, against embedding each trajectory anew and general transport."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np

from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.probes.code_embeddings import TextEmbedder, embed_codes, label_embedder
from ehrmem_widgets.probes.sequence_distance import Comparer
from ehrmem_widgets.samples.folders import sample_data, sample_model
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.benchmarks.lines import Lines

PATIENTS, TRAJECTORIES, CODES = 100, 20, 100
PLAIN_PAIRS = 20  # the plain way takes seconds a pair: measured on so many, spread over the rounds, and scaled
ROUNDS = 4
_CLOCK = {"TIME//10-20": 0.1, "TIME//20-40": 0.1, "TIME//40-60": 0.1, "TIME//0": 0.2, "TIME//1": 0.4, "TIME//2": 0.9}

Transport = Callable[[np.ndarray], float]


def main(lines: Lines) -> None:
    """Two lines: the ratio per pair, and the largest difference of the values. Embedding the vocabulary is part of ours;
    learning how to embed (the fit of the n-grams) is part of neither."""
    vocabulary = Vocabulary.load(sample_model() / "vocabulary.json")
    embedder = label_embedder(vocabulary)
    transport = general_transport()
    truths, trajectories = sequences(vocabulary)
    chosen = np.random.default_rng(1).choice(PATIENTS * TRAJECTORIES, (ROUNDS, PLAIN_PAIRS // ROUNDS), replace=False)
    ratios, differences = [], []
    for pairs in chosen:
        began = time.perf_counter()
        comparer = Comparer(vocabulary, embed_codes(vocabulary.codes, vocabulary, embedder), (), ())
        ours = np.array([comparer.demd(a, b) for a, b in zip(truths, trajectories, strict=True)])
        seconds = (time.perf_counter() - began) / ours.size
        began = time.perf_counter()
        theirs = []
        for pair in pairs:
            patient, sample = divmod(int(pair), TRAJECTORIES)
            a, b = ([vocabulary.codes[i] for i in ids] for ids in (truths[patient], trajectories[patient, sample]))
            theirs.append(plain(a, b, vocabulary, embedder, transport))
        ratios.append((time.perf_counter() - began) / len(pairs) / seconds)
        differences.append(float(np.abs(ours.ravel()[pairs] - theirs).max()))
    lines.add(
        "reconstruction_over_plain",
        statistics.median(ratios),
        f"{min(ratios):.3g} to {max(ratios):.3g}",
        len(ratios),
        ">= 50",
    )
    lines.add(
        "reconstruction_largest_difference_from_plain",
        max(differences),
        f"{min(differences):.3g} to {max(differences):.3g}",
        PLAIN_PAIRS,
        "<= 1e-6",
    )


def sequences(vocabulary: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """Truths (patients, codes) and trajectories (patients, samples, codes) in ids: stretches of the sample records, end to
    end, without what is not compared."""
    dataset = MedsDataset(sample_data())
    fixed = {"[BOS]", "[EOS]", "[PAD]"}
    ids = [
        vocabulary.id(code)
        for record in dataset.records(dataset.ids("train"))
        for code in encode(record, vocabulary).codes
        if code not in fixed and not code.startswith(("AGE//", "GENDER//", "RACE//"))
    ]
    starts = np.random.default_rng(0).integers(0, len(ids) - CODES, PATIENTS * (1 + TRAJECTORIES))
    drawn = np.array(ids)[starts[:, None] + np.arange(CODES)].reshape(PATIENTS, 1 + TRAJECTORIES, CODES)
    return drawn[:, 0], drawn[:, 1:]


def plain(
    a: Sequence[str], b: Sequence[str], vocabulary: Vocabulary, embedder: TextEmbedder, transport: Transport
) -> float:
    """dEMD of one pair, written out: embed both lists, build the cost, solve the transport of equal weights."""
    embedded = [embed_codes(codes, vocabulary, embedder) for codes in (a, b)]
    clocks = []
    for codes in (a, b):
        now, clock = 0.0, []
        for code in codes:
            now += _CLOCK.get(code, 1.5) if code.startswith("TIME//") else 0.0
            clock.append(now)
        clocks.append(clock)
    cost = np.zeros((len(a), len(b)))
    for i in range(len(a)):
        for j in range(len(b)):
            cosine = float(embedded[0][i] @ embedded[1][j])
            cost[i, j] = min(max(1 - cosine, 0.0), 2.0) * (1 + abs(clocks[0][i] - clocks[1][j]))
    return transport(cost)


def general_transport() -> Transport:
    """The solver of POT where it is installed (the paper's), else scipy's linear programme."""
    try:
        import ot
    except ImportError:
        return linear_programme
    return lambda cost: float(ot.emd2(np.full(len(cost), 1 / len(cost)), np.full(len(cost), 1 / len(cost)), cost))


def linear_programme(cost: np.ndarray) -> float:
    """Optimal transport of uniform weights as a linear programme (HiGHS)."""
    from scipy.optimize import linprog
    from scipy.sparse import identity, kron, vstack

    n = len(cost)
    one, ones = identity(n, format="csr"), np.ones((1, n))
    constraints = vstack([kron(one, ones), kron(ones, one)]).tocsr()
    found = linprog(cost.ravel(), A_eq=constraints, b_eq=np.full(2 * n, 1 / n), bounds=(0, None), method="highs")
    return float(found.fun)


if __name__ == "__main__":
    lines_ = Lines()
    main(lines_)
    lines_.finish()
