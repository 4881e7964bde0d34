"""LiRA against worlds whose best attack is known, and against worlds in which there is nothing to find."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

from ehrmem_widgets.statistics.discrimination import auroc, auroc_p
from ehrmem_widgets.statistics.likelihood_ratio import likelihood_ratio


class World(NamedTuple):
    """``audited`` (n,), ``shadows`` and ``inside`` (n, K), and who is a member."""

    audited: np.ndarray
    shadows: np.ndarray
    inside: np.ndarray
    member: np.ndarray


def world(
    people: int,
    models: int,
    gain: float,
    *,
    seed: int = 0,
    online: bool = True,
    differ: float = 0.0,
    apart: float = 0.0,
) -> World:
    """Half are members. Everybody's record has a level of its own; each model's loss scatters by 1 (``differ``: by so much more of some), and
    having been in training gains ``gain`` (``differ``: more of some). ``apart``: what the audited model says higher of everybody."""
    rng = np.random.default_rng(seed)
    member = np.arange(people) % 2 == 0
    level, scatter = rng.normal(0, 5, people), np.exp(differ * rng.normal(size=people))
    gains = gain * np.exp(differ * rng.normal(size=people))
    inside = np.zeros((people, models), dtype=bool)
    if online:
        inside[:] = np.argsort(rng.random((people, models)), axis=1) < models // 2
    shadows = level[:, None] + gains[:, None] * inside + scatter[:, None] * rng.normal(size=inside.shape)
    audited = level + gains * member + scatter * rng.normal(size=people) + apart
    return World(audited, shadows, inside, member)


def reached(made: World) -> float:
    found = likelihood_ratio(made.audited, made.shadows, made.inside)
    return auroc(found[made.member], found[~made.member]).value


@pytest.mark.parametrize("models", [4, 8, 16])
@pytest.mark.parametrize("online", [False, True])
def test_the_best_attack_on_normal_losses_is_reached(models: int, online: bool) -> None:
    gain = 1.5
    best = stats.norm.cdf(gain / np.sqrt(2 * (1 + 1 / models)))  # the person's level is the mean over all models
    assert reached(world(20_000, models, gain, online=online)) == pytest.approx(best, abs=0.01)


def test_a_model_that_knows_everybody_better_is_no_evidence() -> None:
    alone, apart = (reached(world(4000, 8, 1.5, differ=0.5, apart=shift)) for shift in (0.0, 30.0))
    assert apart == pytest.approx(alone, abs=0.005)


def test_people_who_scatter_differently_are_weighed() -> None:
    made = world(20_000, 16, 1.0, differ=0.8)
    plain = made.audited - np.where(made.inside, np.nan, made.shadows).mean(1, where=~made.inside)
    assert reached(made) > auroc(plain[made.member], plain[~made.member]).value + 0.02


@pytest.mark.parametrize("uneven", [False, True])
@pytest.mark.parametrize("online", [False, True])
def test_p_is_uniform_where_nothing_is_remembered(online: bool, uneven: bool) -> None:
    """Also where the models left non-members out more often than members (``uneven``), as those trained on members alone do."""
    found = []
    for seed in range(400):
        made = world(120, 4, 0.0, seed=seed, online=online, differ=0.5)
        if uneven:
            made.inside[~made.member] = False
        scores = likelihood_ratio(made.audited, made.shadows, made.inside)
        found.append(auroc_p(scores[made.member], scores[~made.member]))
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_the_gain_of_training_is_used_where_it_differs() -> None:
    """Whose record nothing is learned of cannot be told; who gains much can."""
    made = world(20_000, 16, 1.0, differ=1.0)
    offline = made._replace(inside=np.zeros_like(made.inside), shadows=np.where(made.inside, np.nan, made.shadows))
    out = np.sort(offline.shadows, axis=1)[:, :8]  # nan last: those that left the record out
    alone = likelihood_ratio(made.audited, out, np.zeros(out.shape, dtype=bool))
    assert reached(made) > auroc(alone[made.member], alone[~made.member]).value + 0.02
