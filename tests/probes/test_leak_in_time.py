"""The leak within a time, of a model that gives elapsed times: exact answers of races at constant rates hold, and intervals cover them."""

import numpy as np
import pytest
from scipy.linalg import expm

from ehrmem_widgets.blackbox.exponential_race import ExponentialRace
from ehrmem_widgets.probes.leak import ProductForm, SumForm, leaks_of_many
from ehrmem_widgets.tokens.moments import moment

RATES = np.array([[0.0, 0.08, 0.02], [0.30, 0.0, 0.05], [0.1, 0.0, 0.0]])
SENSITIVE = np.array([False, False, True])
DAYS = (1, 5, 30)


def run(form, samples, seed):
    for _ in form.add(samples, seed):
        pass
    return form


def test_constant_rates_leak_exponentially():
    """One state, rates .02 for the sensitive code and .5 for the other: 1 - exp(-.02 T), whatever else comes."""
    race = ExponentialRace(np.array([[0.5, 0.02], [0.5, 0.02]]))
    for days in DAYS:
        exact = 1 - np.exp(-0.02 * days)
        assert race.leak_probability(0, [1], days) == pytest.approx(exact, abs=1e-12)
        for form in (ProductForm(race, [[0]], SENSITIVE[1:], days), SumForm(race, [[0]], SENSITIVE[1:, None], days)):
            estimate = run(form, 4000, days).estimate(*([] if isinstance(form, ProductForm) else [0]))
            assert estimate.low <= exact <= estimate.high


def test_the_closed_form_is_the_matrix_exponential_of_the_chain_stopped_at_the_sensitive_code():
    generator = RATES - np.diag(RATES.sum(axis=1))
    generator[2] = 0
    for days in DAYS:
        assert ExponentialRace(RATES).leak_probability(0, [2], days) == pytest.approx(expm(generator * days)[0, 2])


@pytest.mark.parametrize("days", DAYS)
def test_both_forms_are_unbiased(days):
    exact = ExponentialRace(RATES).leak_probability(0, [2], days)
    product = run(ProductForm(ExponentialRace(RATES), [[0]], SENSITIVE, days), 40_000, 1)
    total = run(SumForm(ExponentialRace(RATES), [[0]], SENSITIVE[:, None], days), 40_000, 2)
    for values in (product.leaks, total.leaks.raw[0, :, 0], total.leaks.bounded[0, :, 0]):
        assert abs(values.mean() - exact) < 4 * values.std() / np.sqrt(len(values))
    hits = [np.any(t >= 0) and 2 in (t[t >= 0] & 0xFFFFFF) for t in total.trajectories[:4000]]
    assert np.mean(hits) == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 4000))
    assert product.leaks.var() < exact * (1 - exact) / 4  # far sharper than counting


def test_one_pass_gives_the_whole_curve_in_days():
    form = run(ProductForm(ExponentialRace(RATES), [[0]], SENSITIVE, 30), 20_000, 3)
    curve = form.curve()
    assert curve.horizons[-1] == 30 and (np.diff(curve.value) >= 0).all()
    for place in (0, 20, 63):
        exact = ExponentialRace(RATES).leak_probability(0, [2], curve.horizons[place])
        assert curve.value[place] == pytest.approx(exact, abs=0.003)


@pytest.mark.parametrize("form", ["product", "sum"])
def test_intervals_cover_the_truth_as_often_as_they_say(form):
    exact, runs, n = ExponentialRace(RATES).leak_probability(0, [2], 10), 250, 64
    race, covered = ExponentialRace(RATES), 0
    for seed in range(runs):
        if form == "product":
            estimate = run(ProductForm(race, [[0]], SENSITIVE, 10), n, seed).estimate()
        else:
            estimate = run(SumForm(race, [[0]], SENSITIVE[:, None], 10), n, seed).estimate(0)
        covered += estimate.low <= exact <= estimate.high
    assert covered / runs >= 0.92  # 95 % less what 250 runs vary by


def test_a_date_known_roughly_averages_over_the_days_that_it_may_be():
    """State 1 some time between day 2 and 9 after state 0 at day 0: the answer is the exact mixture over when it came."""
    race = ExponentialRace(RATES)
    prompt = [[moment(0, 0)], [moment(1, 2), moment(1, 9)]]
    found = run(ProductForm(race, prompt, SENSITIVE, 10), 3000, 5).estimate()
    exact = race.leak_probability(1, [2], 10)  # constant rates: when it came does not matter
    assert found.low <= exact <= found.high
    open_code = [[moment(0, 0)], [moment(1, 4), moment(2, 4)]]  # which of two came on day 4
    share = RATES[0, 1] / (RATES[0, 1] + RATES[0, 2])
    exact = share * race.leak_probability(1, [2], 10) + (1 - share) * race.leak_probability(2, [2], 10)
    found = run(ProductForm(race, open_code, SENSITIVE, 10), 3000, 6).estimate()
    assert found.low <= exact <= found.high


def test_prompts_that_fit_less_well_weigh_less():
    """A slot's weight is the density that the restriction kept: exp(-total x 4 days) x rates of the allowed codes."""
    race = ExponentialRace(RATES)
    exact_time = [[moment(0, 0)], [moment(1, 4), moment(2, 4)]]
    window = [[moment(0, 0)], [moment(1, 2), moment(1, 9)]]
    step = next(race.generate([exact_time], 5, 8, seed=1))
    assert np.allclose(step.log_weight, np.log(0.1) - 0.1 * 4)
    step = next(race.generate([window], 5, 8, seed=1))
    assert np.allclose(step.log_weight, np.log(0.8 * (np.exp(-0.2) - np.exp(-0.9))))


def test_many_prompts_at_once_and_in_parts_agree_with_one_at_a_time(monkeypatch):
    race = ExponentialRace(RATES)
    prompts = [[[0]], [[1]], [[moment(0, 3)], [moment(1, 5)]]]
    *_, together = leaks_of_many(race, prompts, SENSITIVE[:, None], 10, 50, 7)
    for row, prompt in enumerate(prompts):
        *_, alone = leaks_of_many(race, [prompt], SENSITIVE[:, None], 10, 50, 7)
        assert np.allclose(together.raw[row], alone.raw[0]) and np.array_equal(together.bounded[row], alone.bounded[0])
    whole = run(ProductForm(race, [[0]], SENSITIVE, 10), 200, 7).leaks
    monkeypatch.setattr("ehrmem_widgets.blackbox.sampling.free_memory", lambda device: 2 * 100 * 72)
    assert np.allclose(run(ProductForm(race, [[0]], SENSITIVE, 10), 200, 7).leaks, whole)


def test_a_record_is_scored_by_the_density_of_codes_and_waiting_times():
    record = [moment(0, 100), moment(1, 103), moment(2, 103.5)]
    scores = ExponentialRace(RATES).score([record])[0]
    assert np.allclose(scores, [np.log(0.08) - 0.1 * 3, np.log(0.05) - 0.35 * 0.5])
    moments = ExponentialRace(RATES).score_moments([record])[0]
    draws = np.random.default_rng(0)
    waits = draws.exponential(1 / 0.1, 200_000)
    logs = np.log(np.where(draws.random(200_000) < 0.8, 0.08, 0.02)) - 0.1 * waits
    assert moments[0, 1] == pytest.approx(logs.mean(), abs=0.02) and moments[0, 2] == pytest.approx(
        logs.std(), abs=0.02
    )


def test_samples_follow_the_race():
    steps = list(ExponentialRace(RATES).generate([[[0]]], 10_000, 20_000, seed=3))
    first, wait = steps[0].codes[0] & 0xFFFFFF, steps[0].days[0]
    assert np.mean(first == 1) == pytest.approx(0.8, abs=0.012)
    assert wait.mean() == pytest.approx(10, abs=0.3) and wait.std() == pytest.approx(10, abs=0.4)
    assert wait[first == 1].mean() == pytest.approx(wait[first == 2].mean(), abs=0.7)  # independent of the code
