"""The page's estimators and verdicts give Python's numbers and sentences, for random and for extreme inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from ehrmem_widgets.probes.leak import TOP, Leaks
from ehrmem_widgets.statistics.attack_cost import queries_needed
from ehrmem_widgets.statistics.intervals import (
    CONFIDENCE,
    STOPPED,
    Estimate,
    difference,
    effective_sample_size,
    paired_difference,
    rounded,
    weighted_mean,
)
from ehrmem_widgets.statistics.verdicts import LEAK_MARGIN, Peers, ProbeKind, Verdict, judge_person
from tests.explorable.modules import Run, modules_in

pytestmark = pytest.mark.browser
CLOSE: dict[str, float] = {"rtol": 1e-9, "atol": 1e-12}


@pytest.fixture(scope="module")
def run(browser: Any) -> Iterator[Run]:
    with modules_in(browser) as run:
        yield run


def columns(rng: np.random.Generator, cases: int, top: float) -> Iterator[np.ndarray]:
    """Leaks as they come: zeros, ones, one sample, equal ones, spikes, and everything between."""
    for case in range(cases):
        n = [1, 2, 16, 64, 1024][case % 5] if case % 3 else int(rng.integers(1, 300))
        kind = case % 8
        made = [
            np.zeros(n),
            np.full(n, top),
            (rng.random(n) < 0.05).astype(float),
            np.full(n, rng.random() * top),
            top * rng.random(n) ** 8,
            np.where(rng.random(n) < 0.02, 0.99, 2e-4),
            1e-12 * rng.random(n),
            top * rng.random(n),
        ]
        yield made[kind]


def weights(rng: np.random.Generator, n: int, case: int) -> np.ndarray | None:
    """None, equal ones, mild ones, and some that leave less than 1.5 effective samples."""
    choices = [None, np.full(n, -3.0), rng.normal(0, 0.5, n), rng.normal(0, 30, n), rng.normal(0, 2, n)]
    return choices[case // 8 % len(choices)]


def test_means_and_their_intervals(run: Run) -> None:
    rng = np.random.default_rng(0)
    cases = []
    for case, values in enumerate(columns(rng, 2400, TOP)):
        log_weights = weights(rng, len(values), case)
        level = (CONFIDENCE, STOPPED)[case % 2]
        top = (1.0, TOP)[case // 2 % 2]
        cases.append((values, log_weights, top, level))
    few = [effective_sample_size(w) < 1.5 for _, w, *_ in cases if w is not None and np.ptp(w)]
    assert any(few) and not all(few)
    found = run(
        """
        const { weightedMean } = await import("./estimators.js");
        return data.map(([values, logWeights, top, level]) => {
          const { value, low, high } = weightedMean(values, logWeights, { top, level });
          return [value, low, high];
        });
        """,
        [(v.tolist(), None if w is None else w.tolist(), top, level) for v, w, top, level in cases],
    )
    expected = [weighted_mean(v, w, top=top, level=level) for v, w, top, level in cases]
    np.testing.assert_allclose(found, [(e.value, e.low, e.high) for e in expected], **CLOSE)


def test_paired_differences_effective_sizes_and_queries(run: Run) -> None:
    rng = np.random.default_rng(1)
    pairs = [(a, rng.permutation(a) * rng.random()) for a in columns(rng, 600, TOP)]
    log_weights = [rng.normal(0, 10 * rng.random(), int(rng.integers(1, 200))) for _ in range(300)]
    leaks = [(float(p), q) for p in (*rng.random(200) ** 6, 0.0, 1.0, 0.1, 1e-9) for q in (0.5, 0.9, 0.271, 0.99)]
    estimates = [
        Estimate(value, low, high, n) for n, (low, value, high) in enumerate(np.sort(rng.random((300, 3))).tolist())
    ]
    found = run(
        """
        const { pairedDifference, effectiveSampleSize, queriesNeeded, difference } = await import("./estimators.js");
        const row = ({ value, low, high, n }) => [value, low, high, n];
        const [pairs, logWeights, leaks, estimates] = data;
        return [
          pairs.map(([a, b]) => row(pairedDifference(a, b, { top: 1.1, level: 0.96 }))),
          logWeights.map(effectiveSampleSize),
          leaks.map(([leak, probability]) => queriesNeeded(leak, probability)),
          estimates.slice(1).map((one, i) => row(difference(one, estimates[i]))),
        ];
        """,
        [
            [(a.tolist(), b.tolist()) for a, b in pairs],
            [w.tolist() for w in log_weights],
            leaks,
            [asdict(one) for one in estimates],
        ],
    )
    for (a, b), (value, low, high, n) in zip(pairs, found[0], strict=True):
        expected = [x[0] for x in paired_difference(a[:, None], b[:, None], top=TOP, level=STOPPED)]
        np.testing.assert_allclose((value, low, high), expected, **CLOSE)
        assert n == len(a)
    np.testing.assert_allclose(found[1], list(map(effective_sample_size, log_weights)), **CLOSE)
    for n, expected_n in zip(found[2], (queries_needed(*one) for one in leaks), strict=True):
        assert n == (None if expected_n is None else pytest.approx(expected_n, rel=1e-12))
    expected = [difference(b, a) for a, b in pairwise(estimates)]
    np.testing.assert_allclose(found[3], [(e.value, e.low, e.high, e.n) for e in expected], **CLOSE)


def test_leaks_of_many_prompts(run: Run) -> None:
    rng = np.random.default_rng(2)
    cases = []
    for case in range(40):
        shape = (int(rng.integers(1, 4)), [1, 2, 8, 40][case % 4], 3)
        both = []
        for _ in range(2):
            bounded = TOP * rng.random(shape) ** rng.integers(1, 9)
            log_weights = np.where(rng.random((shape[0], 1)) < 0.5, 0.0, rng.normal(0, 1, shape[:2]))
            both.append(Leaks(bounded * rng.choice([1.0, 2.5]), bounded, log_weights))
        cases.append(both)
    found = run(
        """
        const { Leaks } = await import("./estimators.js");
        const row = ({ value, low, high }) => [value, low, high];
        const rows = (leaks) => leaks.map((one) => one.map(row));
        const read = ([raw, bounded, logWeights]) => {
          const typed = (rows) => rows.map((columns) => columns.map((column) => Float64Array.from(column)));
          return new Leaks(typed(raw), typed(bounded), logWeights.map((one) => Float64Array.from(one)));
        };
        return data.map((pair) => {
          const [a, b] = pair.map(read);
          return [a.means, rows(a.intervals({ level: 0.96 })), rows(a.minus(b)), rows(a.withMore(b).intervals())];
        });
        """,
        [
            [
                [leaks.raw.swapaxes(1, 2).tolist(), leaks.bounded.swapaxes(1, 2).tolist(), leaks.log_weights.tolist()]
                for leaks in both
            ]
            for both in cases
        ],
    )
    for (a, b), (means, intervals, minus, more) in zip(cases, found, strict=True):
        np.testing.assert_allclose(means, a.means, **CLOSE)
        np.testing.assert_allclose(intervals, a.intervals(level=STOPPED), **CLOSE)
        np.testing.assert_allclose(minus, a.minus(b), **CLOSE)
        np.testing.assert_allclose(more, a.with_more(b).intervals(), **CLOSE)


def test_figures_are_rounded_as_python_rounds_them(run: Run) -> None:
    rng = np.random.default_rng(3)
    figures = [[k / 16, -k / 16, k / 1000] for k in range(40)] + [[k / 2**15] for k in range(330)]
    figures += [[0.005, 0.015], [-0.001, 0.004], [-0.001, 0.4], [0.0], [-1e-9, 1e-9], [0.00995, 0.01], [0.0, 0.0099999]]
    figures += [row.tolist() for row in rng.normal(0, 0.3, (1000, 3))]
    found = run(
        "const { rounded } = await import('./estimators.js'); return data.map((row) => rounded(...row));", figures
    )
    assert found == [rounded(*row) for row in figures]
    numbers = [*(k / 2 for k in range(40)), 9.5, 9.4999999]
    found = run("const { fixed } = await import('./estimators.js'); return data.map((one) => fixed(one, 0));", numbers)
    assert found == [f"{number:.0f}" for number in numbers]


def test_verdicts_and_their_sentences(run: Run) -> None:
    rng = np.random.default_rng(4)
    cases = []
    for case in range(4000):
        scale = rng.choice([0.01, 0.05, 0.2, 1.0])
        low, value, high = np.sort(rng.normal(rng.choice([-0.1, 0, 0.05, 0.3]), scale, 3)).clip(-1, 1).tolist()
        effect = Estimate(value, low, high, int(rng.choice([1, 16, 64, 900, 5000])))
        n = int(rng.choice([0, 5, 10, 18, 19, 20, 40]))
        not_asked = int(rng.choice([0, 0, 9, 30]))
        own, others = rng.normal(0.1, 0.05), rng.normal(0.05, 0.03, n)
        if n and case % 7 == 0:
            others[0] = own - 5e-7  # a tie
        peers = None if case % 11 == 0 else Peers(Peers.of(own, others).as_high, n, not_asked)
        about = {"shown": "shown", "planted": case % 5 == 0, "blind": "why" if case % 6 == 0 else ""}
        cases.append((effect, peers, own, others, about))
    found = run(
        """
        const { Peers, judgePerson, LEAK_MARGIN } = await import("./verdicts.js");
        return data.map(([effect, own, others, notAsked, about]) => {
          const peers = others === null ? null : Peers.of(own, others, notAsked);
          return judgePerson(effect, peers, { margin: LEAK_MARGIN, ...about });
        });
        """,
        [
            (asdict(effect), own, None if peers is None else others.tolist(), peers and peers.not_asked, about)
            for effect, peers, own, others, about in cases
        ],
    )
    expected = [
        judge_person(effect, peers, margin=LEAK_MARGIN, kind=ProbeKind.MEASURE, **about)
        for effect, peers, _, _, about in cases
    ]
    assert {one.verdict for one in expected} == set(Verdict)
    assert {one.reason for one in expected} == {
        *("stands_out", "blind", "planted", "within_margin", "too_few", "others_too", "less", "undecided")
    }
    for theirs, ours in zip(found, expected, strict=True):
        assert (theirs["verdict"], theirs["reason"], theirs["sentence"]) == (ours.verdict, ours.reason, ours.sentence)
        assert theirs["rankP"] == (None if ours.rank_p is None else pytest.approx(ours.rank_p, rel=1e-12))
