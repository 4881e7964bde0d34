"""The distances between code lists: the worked figures of the methods page, and that the fast form gives the plain one's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import linprog

from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.code_embeddings import embed_codes, label_embedder, sentence_transformer
from ehrmem_widgets.probes.sequence_distance import Comparer, demd, published_clock, rare_overlap, timed_distance
from ehrmem_widgets.tokens.vocabulary import Vocabulary

SEQUENCE = ("A", "TIME//0", "B", "TIME//2", "C", "D")
LAB = "LAB//2160-0//mg/dL"
VOCABULARY = Vocabulary(
    (
        "[PAD]",
        "[BOS]",
        "[EOS]",
        "AGE//50",
        "TIME//10-20",
        "TIME//1",
        "TIME//1Y",
        *(f"{LAB}//{b}" for b in range(3)),
        "X",
        "Y",
    ),
    bins={LAB: (0.7, 1.2)},
    labels={LAB: "Creatinine in serum", "X": "Fracture of femur", "Y": "Penicillin"},
)


def one_hot(a, b):  # type: ignore[no-untyped-def]
    return np.array([[float(x != y) for y in b] for x in a]).reshape(len(a), len(b))


@pytest.mark.parametrize(
    ("other", "timed", "published"),
    [
        (SEQUENCE, True, 0.0),
        (SEQUENCE[::-1], True, 0.0),
        (SEQUENCE[:3], False, 0.5),
        (SEQUENCE[:3], True, 1.0),
        ((*SEQUENCE[:5], "E"), True, 1 / 6),
        ((*SEQUENCE[:5], "E"), False, 1 / 6),
        ((*SEQUENCE, "E", "F"), True, 0.5),
        ((*SEQUENCE, "E", "F"), False, 0.25),
        ((), False, 1.0),
    ],
)
def test_the_worked_figures_of_the_published_distance(other, timed, published):  # type: ignore[no-untyped-def]
    assert demd(SEQUENCE, other, one_hot(SEQUENCE, other), timed=timed) == pytest.approx(published, abs=1e-12)
    assert demd(other, SEQUENCE, one_hot(other, SEQUENCE), timed=timed) == pytest.approx(published, abs=1e-12)


def test_the_published_clock():
    gaps = ["TIME//10-20", "TIME//20-40", "TIME//40-60", "TIME//0", "TIME//1", "TIME//2", "TIME//3", "TIME//1Y", "A"]
    assert np.diff(published_clock(["A", *gaps])) == pytest.approx([0.1, 0.1, 0.1, 0.2, 0.4, 0.9, 1.5, 1.5, 0.0])


def test_a_wrong_code_at_the_wrong_time_costs_more_in_the_published_form():
    a, b = ("TIME//1", "A"), ("TIME//2", "B")  # clocks .4 and .9: both pairs cost 1.5 (or 1.5 crosswise)
    assert demd(a, b, one_hot(a, b)) == pytest.approx(1.5)


def test_the_timed_distance_closes_the_hole():
    reverse, late = SEQUENCE[::-1], ("TIME//1Y", *SEQUENCE)
    assert timed_distance(SEQUENCE, SEQUENCE, one_hot(SEQUENCE, SEQUENCE)) == 0
    assert timed_distance(SEQUENCE, reverse, one_hot(SEQUENCE, reverse)) > 0.2
    assert timed_distance(SEQUENCE, late, one_hot(SEQUENCE, late)) == pytest.approx(0.5)  # the right codes, a year off
    a, b = ("A", "B"), ("B", "A")  # a place apart in a list of two: half of .5
    assert timed_distance(a, b, one_hot(a, b)) == pytest.approx(0.25)
    shifted = ("A", "TIME//1W", "B"), ("A", "B")
    assert timed_distance(*shifted, one_hot(*shifted)) == pytest.approx(math.log(8) / math.log(366) / 4)


def test_the_timed_distance_is_one_where_nothing_is_alike():
    other = ("P", "TIME//1", "Q", "R")
    assert timed_distance(SEQUENCE, other, one_hot(SEQUENCE, other)) == 1
    assert timed_distance(SEQUENCE, (), one_hot(SEQUENCE, ())) == 1
    assert timed_distance((), (), one_hot((), ())) == 0


def test_rare_runs_come_back_code_for_code():
    truth, other = ("A", "R", "TIME//1", "B", "S"), ("A", "R", "C", "S", "R", "B")
    assert rare_overlap(truth, other, {"R", "S"}, 1) == 1
    assert rare_overlap(truth, other, {"R", "S"}, 2) == pytest.approx(2 / 3)  # AR and RB of AR, RB, BS
    assert rare_overlap(truth, other, {"R", "S"}, 3) == 0
    assert math.isnan(rare_overlap(truth, other, {"Z"}, 1))


def test_the_fast_form_gives_the_plain_one_s_figures():
    rng = np.random.default_rng(0)
    embedded = embed_codes(VOCABULARY.codes, VOCABULARY, label_embedder(VOCABULARY))
    rare, routine = {f"{LAB}//0", "X"}, {f"{LAB}//{b}" for b in range(3)}
    comparer = Comparer(VOCABULARY, embedded, rare, routine)
    truth = [*rng.integers(4, len(VOCABULARY), 12).tolist(), VOCABULARY.id("[EOS]")]
    trajectories = rng.integers(4, len(VOCABULARY), (5, 13))
    trajectories[0, 7:] = -1  # one has ended
    found = comparer.compare(truth, trajectories)
    assert found["demd"] == pytest.approx(comparer.demd(truth, trajectories), abs=1e-12)
    for row, ids in enumerate(trajectories):
        kept = [i for i in ids[:12] if i >= 0]
        a, b = [VOCABULARY.codes[i] for i in truth[:-1]], [VOCABULARY.codes[i] for i in kept]
        distances = 1 - embedded[truth[:-1]] @ embedded[kept].T
        assert found["demd"][row] == pytest.approx(demd(a, b, distances), abs=1e-9)
        assert found["timed_distance"][row] == pytest.approx(timed_distance(a, b, distances), abs=1e-9)
        for n in (1, 2, 3):
            assert found[f"rare_overlap_{n}"][row] == pytest.approx(rare_overlap(a, b, rare, n), nan_ok=True)
    assert ((found["routine_share"] > 0) & (found["routine_share"] <= 1)).all()


def test_an_assignment_is_the_optimal_transport():
    rng = np.random.default_rng(1)
    a = b = ["TIME//1", *"ABCDEFG"]
    distances = rng.random((8, 8))
    cost = distances * (1 + np.abs(np.subtract.outer(published_clock(a), published_clock(b))))
    row, column = np.repeat(np.eye(8), 8, axis=1), np.tile(np.eye(8), (1, 8))
    transport = linprog(cost.ravel(), A_eq=np.vstack([row, column]), b_eq=np.full(16, 1 / 8))
    assert demd(a, b, distances) == pytest.approx(transport.fun, abs=1e-9)


def test_what_is_not_compared_and_what_is_routine():
    comparer = Comparer(VOCABULARY, np.eye(len(VOCABULARY)), {"X"}, {"Y"})
    x, y, age, end, day = map(VOCABULARY.id, ("X", "Y", "AGE//50", "[EOS]", "TIME//1"))
    found = comparer.compare(
        [age, x, y, end], np.array([[x, y, x, x], [age, x, y, end], [end, -1, -1, -1], [99, y, -1, -1]])
    )
    assert found["demd"] == pytest.approx(
        [0, 0, 2, 0.5]
    )  # cut to the truth's length; ended at once; an id without a code
    assert found["routine_share"][:2] == pytest.approx([0.5, 0.5]) and math.isnan(found["routine_share"][2])
    assert found["rare_overlap_1"] == pytest.approx([1, 1, 0, 0])
    assert comparer.length([age, day, end]) == 0


def test_value_bins_are_near_gaps_in_order_and_rows_of_unit_length():
    embedded = embed_codes(VOCABULARY.codes, VOCABULARY, label_embedder(VOCABULARY))
    assert np.linalg.norm(embedded, axis=1) == pytest.approx(np.ones(len(VOCABULARY)))
    near = embedded @ embedded.T
    bins, (x, y, minutes, day, year, end) = (
        [VOCABULARY.id(f"{LAB}//{b}") for b in range(3)],
        map(VOCABULARY.id, ("X", "Y", "TIME//10-20", "TIME//1", "TIME//1Y", "[EOS]")),
    )
    assert 0.3 < near[bins[0], bins[1]] < 0.999 and near[bins[0], bins[1]] > near[bins[0], x] + 0.2
    assert near[minutes, day] > near[minutes, year] and near[day, bins[0]] == near[end, day] == near[end, y] == 0


def test_an_embedding_that_cannot_be_used_is_refused_in_words(tmp_path):  # type: ignore[no-untyped-def]
    with pytest.raises(BadInput, match="not a folder of a sentence-transformers model"):
        sentence_transformer(tmp_path / "nothing")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(BadInput, match=r"not installed|cannot be opened"):
        sentence_transformer(tmp_path)
    with pytest.raises(BadInput, match="no finite numbers"):
        embed_codes(["X"], VOCABULARY, lambda texts: np.full((len(texts), 2), np.nan))
