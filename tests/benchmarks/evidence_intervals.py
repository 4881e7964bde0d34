"""How often intervals cover the truth: where sampling stops on their width, on spiky leaks, with weights, for differences, and on
the sample models (methods, section 8.3)."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pandas as pd

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.ground_truth import GROUND_TRUTH
from ehrmem_widgets.probes.exploration import HALF_WIDTH, LEAST, MOST_AT_ONCE, MOST_SAMPLES, Exploration, Question
from ehrmem_widgets.probes.leak import ProductForm, SumForm
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_moderate, sample_reference
from ehrmem_widgets.statistics.attack_cost import EVEN_CHANCE, for_even_chance, queries_needed
from ehrmem_widgets.statistics.intervals import (
    STOPPED,
    Estimate,
    difference,
    paired_difference,
    proportion,
    weighted_mean,
)
from tests.benchmarks.lines import Lines
from tests.benchmarks.people import state_of

CHAIN = np.array([[0.90, 0.08, 0.02], [0.30, 0.65, 0.05], [0, 0, 1]])
SPIKES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.7, 0.95, 0.99)
HIGH, LOW = 0.99, 2e-4  # a trajectory that leaks, and one that does not
BANK = 10_000  # draws of each of the two models over its people


def simulated(lines: Lines) -> None:
    """A Markov chain, and the laws that broke the t-interval."""
    chain(lines)
    for share in SPIKES:
        spiky(lines, share)
    weights(lines)
    differences(lines)
    attack_cost(lines)


def chain(lines: Lines, runs: int = 2000) -> None:
    """The exact answer of a Markov chain; values lie together, so that the intervals are a little wide."""
    model, sensitive = MarkovChain(CHAIN), np.array([False, False, True])
    exact = model.leak_probability(0, [2], 10)
    curve = np.array([model.leak_probability(0, [2], t) for t in range(1, 11)])
    covered = {"product_form": 0, "sum_form": 0, "curve": 0}
    for seed in range(runs):
        product, total = (
            ProductForm(model, [[0]], sensitive, 10),
            SumForm(model, [[0]], sensitive[:, None], 10),
        )
        for _ in (*product.add(100, seed), *total.add(100, seed)):
            pass
        covered["product_form"] += _covers(product.estimate(), exact)
        covered["sum_form"] += _covers(total.estimate(0), exact)
        shown = product.curve()
        covered["curve"] += bool((shown.low - 1e-9 <= curve).all() and (curve <= shown.high + 1e-9).all())
    for name, hits in covered.items():
        # Of the curve all ten horizons at once, which no interval of one horizon promises.
        _rate(lines, f"coverage_{name}", hits, runs, ">= 0.85" if name == "curve" else ">= 0.94")


def attack_cost(lines: Lines, runs: int = 2000) -> None:
    """Whether the stated number of questions gives an even chance: held against the exact one, and asked."""
    model, sensitive = MarkovChain(CHAIN), np.array([False, False, True])
    for horizon in (2, 5, 10):
        exact = model.leak_probability(0, [2], horizon)
        needed = queries_needed(exact, EVEN_CHANCE)
        assert needed is not None
        covered = learnt = 0
        for seed in range(runs):
            form = ProductForm(model, [[0]], sensitive, horizon)
            for _ in form.add(64, seed):
                pass
            stated = for_even_chance(form.estimate(level=STOPPED))
            covered += stated.low <= needed <= stated.high
            asked = int(for_even_chance(Estimate(exact, exact, exact, 64)).value)
            codes = [step.codes[0] for step in model.generate([[[0]]], horizon, asked, seed=runs + seed)]
            learnt += bool((np.array(codes) == 2).any())
        _rate(lines, f"coverage_attack_cost_horizon_{horizon}", covered, runs, ">= 0.94")
        _rate(lines, f"learnt_with_the_questions_needed_horizon_{horizon}", learnt, runs, ">= 0.48")


def spiky(lines: Lines, share: float, runs: int = 4000) -> None:
    """A share of the trajectories leaks nearly surely, and sampling stops as on the main screen."""
    rng = np.random.default_rng(int(1e4 * share))
    exact = share * HIGH + (1 - share) * LOW
    covered = spent = 0
    for _ in range(runs):
        hits = np.cumsum(rng.random(MOST_SAMPLES) < share)
        estimate = _stopped(lambda n, hits=hits: _two_valued(n, int(hits[n - 1])))  # type: ignore[misc]
        covered += _covers(estimate, exact)
        spent += estimate.n
    _rate(lines, f"coverage_when_stopped_q{share:g}", covered, runs, ">= 0.94")
    lines.add(f"samples_when_stopped_q{share:g}", spent / runs, f"at most {MOST_SAMPLES}", runs, ">= 0")


def weights(lines: Lines, runs: int = 1000) -> None:
    """Importance weights that vary as after a few open slots, on values of three laws; 128 trajectories."""
    for name, draw in (
        ("spiky", lambda rng: np.where(rng.random(128) < 0.03, HIGH, LOW)),
        ("uniform", lambda rng: rng.random(128)),
        ("with_the_weights", None),
    ):
        rng = np.random.default_rng(3)
        covered = 0
        for _ in range(runs):
            log_weights = rng.normal(0, 1, 128)
            if draw is None:  # who weighs much leaks much: weights tilt N(0, 1) to N(1, 1)
                values, exact = (log_weights > 0.5).astype(float), 0.6915
            else:
                values = draw(rng)
                exact = {"spiky": 0.03 * HIGH + 0.97 * LOW, "uniform": 0.5}[name]
            covered += _covers(weighted_mean(values, log_weights), exact)
        _rate(lines, f"coverage_weighted_{name}", covered, runs, ">= 0.94")


def differences(lines: Lines, runs: int = 1000, n: int = 512) -> None:
    """Two models: with common random numbers by pairs, without by MOVER; and their half widths."""
    rng = np.random.default_rng(4)
    covered, widths = {"paired": 0, "independent": 0}, {"paired": 0.0, "independent": 0.0}
    exact = 0.05 * HIGH
    for _ in range(runs):
        u, other = rng.random((2, n))
        a, b, alone = (np.where(x < q, HIGH, 0.0) for x, q in ((u, 0.30), (u, 0.25), (other, 0.25)))
        value, low, high = (float(found[0]) for found in paired_difference(a[:, None], b[:, None]))
        for name, gap in (
            ("paired", Estimate(value, low, high, n)),
            ("independent", difference(weighted_mean(a), weighted_mean(alone))),
        ):
            covered[name] += _covers(gap, exact)
            widths[name] += gap.half_width / runs
    for name, hits in covered.items():
        _rate(lines, f"coverage_difference_{name}", hits, runs, ">= 0.94")
        lines.add(f"half_width_difference_{name}", widths[name], f"n = {n}", runs, ">= 0")


def on_sample_models(lines: Lines, runs: int = 4000) -> None:
    """The interval at which the main screen stops against the mean of a bank of draws, for 20 people of the memorizing and of the
    moderate model: canaries seen 1 to 8 times, and members, from one lab."""
    dataset = MedsDataset(sample_data())
    truth = pd.read_parquet(sample_data() / GROUND_TRUTH).set_index("subject_id")
    reference = FolderModel(sample_reference())
    for name, folder in (("memorizing", sample_model()), ("moderate", sample_moderate())):
        exploration = Exploration(dataset, FolderModel(folder), reference)
        canaries = truth.index[truth["canary"] & truth["repetitions"].isin([1, 2, 4, 8])]
        ordinary = truth.index[~truth["canary"] & (truth["split"] == "train")]
        people = [int(p) for p in canaries if exploration.held(int(p))][:12]
        people += [int(p) for p in ordinary if exploration.held(int(p))][: 20 - len(people)]
        covered = tried = 0
        for patient in people:
            form = Question(exploration, state_of(exploration, patient, "one_lab")).products[0]
            for seed in range(BANK // len(people) // 250):
                for _ in form.add(250, seed):
                    pass
            bank, rng = form.leaks, np.random.default_rng(patient)
            for _ in range(runs // len(people)):
                drawn = rng.choice(bank, MOST_SAMPLES)
                estimate = _stopped(lambda n, drawn=drawn: weighted_mean(drawn[:n], level=STOPPED))  # type: ignore[misc]
                covered += _covers(estimate, float(bank.mean()))
                tried += 1
        _rate(lines, f"coverage_when_stopped_{name}", covered, tried, ">= 0.94")


def _stopped(estimate_of: object) -> Estimate:
    """The estimate at which the main screen stops: known to +-0.02, or all samples spent; its looks are the screen's."""
    n = LEAST
    while True:
        found: Estimate = estimate_of(n)  # type: ignore[operator]
        needed = max(LEAST, n * (found.half_width / HALF_WIDTH) ** 2)
        more = min(16 * math.ceil((needed - n) / 16), MOST_SAMPLES - n, MOST_AT_ONCE)
        if more <= 0:
            return found
        n += more


@cache
def _two_valued(n: int, hits: int) -> Estimate:
    return weighted_mean(np.where(np.arange(n) < hits, HIGH, LOW), level=STOPPED)


def _covers(estimate: Estimate, exact: float) -> bool:
    return bool(estimate.low - 1e-9 <= exact <= estimate.high + 1e-9)


def _rate(lines: Lines, name: str, hits: int, runs: int, goal: str) -> None:
    rate = proportion(hits, runs)
    lines.add(name, rate.value, f"{rate.low:.3f} to {rate.high:.3f}", runs, goal)
