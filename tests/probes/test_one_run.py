"""The bound of epsilon: nothing from a model that saw no canary, something from one that did, and the claim beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ehrmem_widgets.audit.plan import read_plan
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cli import main
from ehrmem_widgets.cohort.canary_maker import key_beside, make_canaries
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.ground_truth import COLUMNS, INCLUDED, canary_repetitions
from ehrmem_widgets.errors import BadInput, CannotAnswer
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.needs import AtHand, Can
from ehrmem_widgets.probes.one_run.ask import BOUND, CLAIMED, GAUSSIAN, OneRun, guess, judge_bound, judge_claim
from ehrmem_widgets.probes.run import run
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from tests.audit.small import write_plan


def scores(rng: np.random.Generator, n: int, effect: float) -> tuple[np.ndarray, np.ndarray]:
    coins = rng.random(n) < 0.5
    return rng.normal(size=n) + effect * coins, coins


@pytest.mark.parametrize("n", [60, 400])
def test_a_model_that_saw_none_proves_nothing(n: int) -> None:
    """At most 5 % of 300 runs (all of them correct for three shares of guesses)."""
    rng = np.random.default_rng(n)
    found = [judge_bound(*scores(rng, n, 0.0), seed=seed).epsilon for seed in range(300)]
    assert np.mean(np.array(found) > 0) <= 0.05


def test_power() -> None:
    """Scores that order 86 % of pairs rightly prove an epsilon above 1 from 400 canaries; a perfect attack nearly all that so many can."""
    rng = np.random.default_rng(1)
    assert np.mean([judge_bound(*scores(rng, 400, 1.5)).epsilon > 1 for _ in range(60)]) >= 0.9
    assert judge_bound(*scores(rng, 1000, 30.0)).epsilon > 5.2


def test_the_surest_are_guessed_and_equals_are_drawn() -> None:
    coins = np.arange(100) % 3 == 0
    assert guess(np.where(coins, 2.0, -2.0) + np.arange(100) / 1e3, coins, 0.2).right == 20
    right = [guess(np.zeros(100), coins, 1.0, seed=seed).right for seed in range(200)]
    assert np.mean(right) == pytest.approx(50, abs=1.5)


def test_a_claim_is_consistent_contradicted_or_beyond_so_few() -> None:
    rng = np.random.default_rng(2)
    known, coins = scores(rng, 1000, 30.0)
    strong = judge_bound(known, coins, delta=1e-6)
    assert judge_claim(strong, 3.0, 1e-6).verdict.reason == "contradicted"
    weak = judge_bound(*scores(rng, 1000, 0.0), delta=1e-6)
    assert judge_claim(weak, 3.0, 1e-6).verdict.reason == "consistent"
    if_gaussian = judge_claim(strong, 8.0, 1e-6).verdict
    assert if_gaussian.reason == "contradicted_if_gaussian" and "if it rests on Gaussian noise" in if_gaussian.sentence
    beyond = judge_claim(strong, 12.0, 1e-6).verdict
    assert beyond.reason == "too_few_canaries" and "at least 1,7" in beyond.sentence
    pure = judge_claim(judge_bound(known, coins), 20.0, 0.0).verdict
    assert pure.reason == "too_few_canaries" and "more than 100,000" in pure.sentence


def test_at_a_delta_two_bounds_are_told_and_without_one() -> None:
    known, coins = scores(np.random.default_rng(5), 400, 1.0)
    for delta in (0.0, 1e-5):
        told = judge_bound(known, coins, delta=delta)
        found = [one["value"] for one in told.rows if one["figure"] == GAUSSIAN]
        assert found == ([told.gaussian] if delta else []) and (told.gaussian > told.epsilon) == bool(delta)


# With real models ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def flipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample cohort's canaries that were seen 16 times an epoch, and those never trained on, as if by coins."""
    path = tmp_path_factory.mktemp("flipped") / "key.parquet"
    times = {one: n for one, n in canary_repetitions(MedsDataset(sample_data())).items() if n in (0, 16)}
    rows = pd.DataFrame({"subject_id": list(times), "repetitions": [int(n > 0) for n in times.values()]})
    rows = rows.assign(alternative=0, time=pd.NaT, code="", numeric_value=np.nan)[list(COLUMNS)]
    rows.assign(**{INCLUDED: rows["repetitions"] > 0}).to_parquet(path)
    return path


def asked(flipped: Path, model: Path, **options: float) -> Finding:
    dataset = MedsDataset(sample_data())
    dataset.declare(canaries=flipped)
    return run("one_run", dataset, FolderModel(model), FolderModel(sample_reference()), most=4, **options)


def test_a_model_that_remembers_its_canaries_contradicts_a_claim(flipped: Path) -> None:
    found = asked(flipped, sample_model(), claimed_epsilon=1.0, claimed_delta=1e-5)
    of = found.about("figures", figure=BOUND, attribute="").iloc[0]
    assert (
        of["value"] > 1.5
        and of["verdict"] == "Memorized"
        and of["high"] == np.inf
        and found.settings["score"] == "Ratio"
    )
    [claim] = found.about("figures", figure=CLAIMED).to_dict("records")
    assert claim["reason"] == "contradicted" and "epsilon 1 at delta 1e-05 is contradicted" in found.sentences[0]


def test_a_model_that_saw_none_is_asked_whether_they_were_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All the way: made, never trained on, and audited by the command line."""
    out = tmp_path / "planted"
    make_canaries(sample_data(), out, key_beside(out), n=60, coin_flip=True, seed=3)
    words = ["probe", "one_run", "--data", str(out), "--canaries", str(key_beside(out)), "--model", str(sample_model())]
    assert (
        main([*words, "--claimed-epsilon", "8", "--claimed-delta", "0.000001", "--out", str(tmp_path / "found")]) == 0
    )
    said = capsys.readouterr().out
    assert "Were they trained on?" in said and "too few canaries to tell" in said and "would be needed" in said
    found = Finding.load(tmp_path / "found")
    assert (
        found.about("figures", figure=BOUND, attribute="").iloc[0]["value"] == 0 and found.settings["score"] == "Loss"
    )
    assert main([*words, "--claimed-epsilon", "8", "--out", str(tmp_path / "again")]) == 2
    assert "says nothing without claimed_delta" in capsys.readouterr().err


def test_coins_that_are_not_fair_or_not_there_are_refused(tmp_path: Path, flipped: Path) -> None:
    dataset = MedsDataset(sample_data())
    need = OneRun.needs[1]
    lack = need.lack(AtHand(dataset))
    assert lack is not None and lack.leaves is Can.NO and "ehrmem canaries make --coin-flip" in lack.todo
    with pytest.raises(CannotAnswer, match="No canaries that coins put"):
        run("one_run", dataset, FolderModel(sample_model()), most=4)
    table = pd.read_parquet(flipped)
    heads = table[table[INCLUDED]]
    pd.concat([heads, table[~table[INCLUDED]].head(3)]).to_parquet(tmp_path / "unfair.parquet")
    dataset.declare(canaries=tmp_path / "unfair.parquet")
    lack = need.lack(AtHand(dataset))
    assert lack is not None and "fair coins hardly ever do that" in lack.words
    with pytest.raises(CannotAnswer, match="fair coins hardly ever"):
        run("one_run", dataset, FolderModel(sample_model()), most=4)
    never = table.assign(
        repetitions=1 - table["repetitions"], included=~table[INCLUDED]
    )  # in, they say, and in no training split
    never.to_parquet(tmp_path / "never.parquet")
    dataset.declare(canaries=tmp_path / "never.parquet")
    with pytest.raises(CannotAnswer, match="Were they trained"):
        run("one_run", dataset, FolderModel(sample_model()), most=4)


def test_half_a_claim_is_refused_in_a_plan(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="says nothing without claimed_delta"):
        read_plan(write_plan(tmp_path, more="claimed_epsilon: 3\n"))
    with pytest.raises(BadInput, match="says nothing without claimed_epsilon"):
        read_plan(write_plan(tmp_path, more="claimed_delta: 1e-5\n"))
    plan = read_plan(write_plan(tmp_path, more="claimed_epsilon: 3.0\nclaimed_delta: 1e-5\n"))
    assert (plan.claimed_epsilon, plan.claimed_delta) == (3.0, 1e-5)
    assert plan.hash != read_plan(write_plan(tmp_path)).hash


def test_too_few_on_one_side_says_how_many_to_make(tmp_path: Path) -> None:
    out = tmp_path / "planted"
    make_canaries(sample_data(), out, key_beside(out), n=22, coin_flip=True, seed=3)
    dataset = MedsDataset(out)
    dataset.declare(canaries=key_beside(out))
    found = run("one_run", dataset, FolderModel(sample_model()), most=4)
    assert (
        "8 canaries that coins put in and 14 that they left out; at least 11 of each are needed. Make 44"
        in found.sentences[0]
    )
