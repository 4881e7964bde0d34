"""The exact answers of a Markov chain (methods, section 3) hold, and intervals cover them as often as they say."""

import numpy as np
import pytest

from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.probes.leak import TOP, ProductForm, SumForm, leaks_of_many
from ehrmem_widgets.statistics.intervals import difference

CHAIN = np.array([[0.90, 0.08, 0.02], [0.30, 0.65, 0.05], [0, 0, 1]])
SENSITIVE = np.array([False, False, True])
EXACT = {1: 0.02, 5: 0.1110054, 10: 0.2197090, 20: 0.4000043}


def run(form, samples, seed):
    for _ in form.add(samples, seed):
        pass
    return form


@pytest.mark.parametrize(("horizon", "expected"), EXACT.items())
def test_the_closed_form_gives_the_published_numbers(horizon, expected):
    assert MarkovChain(CHAIN).leak_probability(0, [2], horizon) == pytest.approx(expected, abs=5e-8)


def test_both_forms_are_unbiased_and_as_sharp_as_they_should_be():
    product = run(ProductForm(MarkovChain(CHAIN), [[0]], SENSITIVE, 10), 60_000, 1)
    total = run(SumForm(MarkovChain(CHAIN), [[0]], SENSITIVE[:, None], 10), 60_000, 2)
    for estimate in (product.estimate(), total.estimate(0)):
        assert estimate.low <= EXACT[10] <= estimate.high
    assert np.var(product._leaks[:, -1]) == pytest.approx(0.0021, abs=1e-4)
    assert np.var(total.leaks.raw[0, :, 0]) == pytest.approx(0.0060, abs=3e-4)
    counted = MarkovChain(CHAIN)
    counted.answers = frozenset({Query.SAMPLE})
    hits = run(SumForm(counted, [[0]], SENSITIVE[:, None], 10), 20_000, 4).leaks.raw
    assert np.var(hits) == pytest.approx(0.1714, abs=3e-3)


@pytest.mark.parametrize("horizon", [10, 64])
def test_the_sum_forms_bounded_values_have_its_mean_and_stay_in_their_range(horizon):
    form = run(SumForm(MarkovChain(CHAIN), [[0]], SENSITIVE[:, None], horizon), 40_000, 2)
    exact = MarkovChain(CHAIN).leak_probability(0, [2], horizon)
    bounded = form.leaks.bounded
    assert bounded.min() >= 0 and bounded.max() <= TOP
    assert bounded.mean() == pytest.approx(exact, abs=4 * bounded.std() / 200)
    if horizon == 64:
        assert form.leaks.raw.max() > 1.5  # what no interval for probabilities allows


def test_two_models_are_compared_by_pairs_of_trajectories():
    chain, other = MarkovChain(CHAIN), MarkovChain(np.array([[0.88, 0.08, 0.04], [0.30, 0.60, 0.10], [0, 0, 1]]))
    a, b = (run(SumForm(one, [[0]], SENSITIVE[:, None], 10), 400, 3) for one in (other, chain))
    (gap,) = a.minus(b)
    exact = other.leak_probability(0, [2], 10) - chain.leak_probability(0, [2], 10)
    assert gap.low <= exact <= gap.high and gap.n == 400
    assert gap.half_width < difference(a.estimate(0), b.estimate(0)).half_width


def test_one_pass_gives_the_whole_curve():
    form = run(ProductForm(MarkovChain(CHAIN), [[0]], SENSITIVE, 20), 20_000, 3)
    curve = form.curve()
    for horizon, expected in EXACT.items():
        reach = (curve.high[horizon - 1] - curve.low[horizon - 1]) / 2
        assert abs(curve.value[horizon - 1] - expected) <= 2 * reach + 1e-6  # four standard errors
    assert curve.value[0] == pytest.approx(0.02, abs=1e-6)  # the first step has no randomness: exact
    assert (np.diff(curve.value) >= 0).all()


@pytest.mark.parametrize("form", ["product", "sum"])
def test_intervals_cover_the_truth_as_often_as_they_say(form):
    covered = 0
    runs = 1000
    for seed in range(runs):
        if form == "product":
            estimate = run(ProductForm(MarkovChain(CHAIN), [[0]], SENSITIVE, 10), 100, seed).estimate()
        else:
            estimate = run(SumForm(MarkovChain(CHAIN), [[0]], SENSITIVE[:, None], 10), 100, seed).estimate(0)
        covered += estimate.low <= EXACT[10] <= estimate.high
    assert covered / runs >= 0.935


def test_a_slot_with_several_codes_averages_over_what_the_attacker_does_not_know():
    chain = MarkovChain(CHAIN)
    # After 0 the attacker knows only that state 0 or 1 followed, and then state 1: P(second | slots) by Bayes.
    weight = {middle: CHAIN[0, middle] * CHAIN[middle, 1] for middle in (0, 1)}
    expected = chain.leak_probability(1, [2], 10)
    form = run(ProductForm(chain, [[0], [0, 1], [1]], SENSITIVE, 10), 4000, 5)
    assert form.estimate().low <= expected <= form.estimate().high
    open_end = run(ProductForm(chain, [[0], [0, 1]], SENSITIVE, 10), 20_000, 6)
    share = np.array([CHAIN[0, 0], CHAIN[0, 1]]) / (CHAIN[0, 0] + CHAIN[0, 1])
    expected = share @ [chain.leak_probability(state, [2], 10) for state in (0, 1)]
    assert open_end.estimate().low <= expected <= open_end.estimate().high
    assert np.unique(form._log_weights.round(4)).size == 2  # the fixed code after the open slot weighs the fills
    assert np.exp(form._log_weights).mean() == pytest.approx(sum(weight.values()), rel=0.05)


def test_without_probabilities_it_counts():
    chain = MarkovChain(CHAIN)
    chain.answers = frozenset({Query.SAMPLE})
    form = run(SumForm(chain, [[0]], SENSITIVE[:, None], 10), 400, 7)
    estimate = form.estimate(0)
    assert form.counting and estimate.value == pytest.approx(form.leaks.bounded.mean()) and estimate.n == 400
    assert 0.015 < estimate.half_width < 0.06


def test_many_prompts_at_once_agree_with_one_at_a_time():
    chain = MarkovChain(CHAIN)
    *_, leaks = leaks_of_many(chain, [[[0]], [[1]], [[0], [0, 1], [1]]], SENSITIVE[:, None], 10, 4000, 8)
    expected = [chain.leak_probability(state, [2], 10) for state in (0, 1, 1)]
    assert leaks.means[:, 0] == pytest.approx(expected, abs=0.01)
    rows = leaks.intervals()[:, 0]
    assert (rows[:, 1] <= expected).all() and (expected <= rows[:, 2]).all()


def test_the_same_seed_gives_the_same_answer():
    a, b = (run(ProductForm(MarkovChain(CHAIN), [[0]], SENSITIVE, 10), 50, 9).estimate() for _ in range(2))
    assert a == b
