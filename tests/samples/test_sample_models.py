"""The moderate sample model: the memorizing one's training, stopped early, remembers ordinary members a little and canaries by how
often it saw them. And the private one with coin-flipped canaries, whose claim is held against them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.ground_truth import canary_repetitions, coin_flips
from ehrmem_widgets.probes.membership.scores import LOSS, RATIO
from ehrmem_widgets.probes.one_run.ask import BOUND, CLAIMED, GAUSSIAN
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER, choose_people
from ehrmem_widgets.probes.run import run
from ehrmem_widgets.samples.build import COINS, MODERATE_EPOCHS, PRIVATE_EPSILON, with_coins
from ehrmem_widgets.samples.canary_alternatives import canary_alternatives
from ehrmem_widgets.samples.folders import (
    sample_data,
    sample_model,
    sample_moderate,
    sample_private_coins,
    sample_reference,
)
from tests.probes.alone import ask_alone


@pytest.fixture(scope="module")
def cohort() -> MedsDataset:
    return MedsDataset(sample_data())


@pytest.fixture(scope="module")
def moderate() -> FolderModel:
    return FolderModel(sample_moderate())


def test_it_is_the_memorizing_model_with_fewer_epochs(moderate: FolderModel) -> None:
    memorizing = FolderModel(sample_model())
    for name in ("config.json", "vocabulary.json"):
        assert (moderate.folder / name).read_bytes() == (memorizing.folder / name).read_bytes()
    own = {"epochs", "final_loss", "seed"}
    assert {k: v for k, v in moderate.training.items() if k not in own} == {
        k: v for k, v in memorizing.training.items() if k not in own
    }
    assert moderate.training["epochs"] == MODERATE_EPOCHS < memorizing.training["epochs"]


@pytest.mark.slow
def test_ordinary_members_can_just_be_told_and_it_knows_the_population(
    moderate: FolderModel, cohort: MedsDataset
) -> None:
    reference = FolderModel(sample_reference())
    people = choose_people(cohort, moderate, reference, most=600, canaries=False)
    assert people.counts() == {MEMBER: 300, NON_MEMBER: 300}
    found = ask_alone("membership", moderate, cohort, reference=reference, people=people)
    for score, model in ((LOSS, "audited"), (RATIO, "")):
        told = found.estimate("auroc", group="all", attribute=score, model=model)
        assert 0.55 < told.value < 0.7 and told.low > 0.5, (score, told)
    never = found.about("patients", figure="score", attribute=LOSS, group=NON_MEMBER)
    assert np.average(never["value"], weights=never["n"]) > -3.75  # memorizing: -3.88


def test_canaries_are_exposed_by_how_often_they_were_seen(moderate: FolderModel, cohort: MedsDataset) -> None:
    planted = canary_repetitions(cohort)
    some = [patient for n in (1, 4, 16) for patient in sorted(p for p, m in planted.items() if m == n)[:12]]
    people = choose_people(cohort, moderate, patients=some)
    found = ask_alone("exposure", moderate, cohort, people=people, alternatives=63, alternatives_of=canary_alternatives)
    once, four, sixteen = (found.estimate("mean_exposure", group=f"canary x{n}", model="audited") for n in (1, 4, 16))
    assert once.value < 3 and sixteen.value > 5  # of 6 bits; by chance 1.4
    assert once.value < four.value - 1 < sixteen.value - 1


@pytest.mark.slow
def test_the_claim_of_the_private_model_with_coins_is_consistent_with_its_canaries(tmp_path: Path) -> None:
    dataset, model = with_coins(sample_data(), tmp_path / "planted"), FolderModel(sample_private_coins())
    coins = coin_flips(dataset)
    drawn = hashlib.sha256(repr(sorted(coins.items())).encode()).hexdigest()
    assert drawn.startswith("f445bf3f4bfe3e7e")  # those that it was trained on
    assert len(coins) == COINS and model.training["patients"] == 1100 + sum(coins.values())
    epsilon, delta = float(model.training["epsilon"]), float(model.training["delta"])
    assert PRIVATE_EPSILON - 0.02 < epsilon <= PRIVATE_EPSILON
    found = run(
        "one_run", dataset, model, FolderModel(sample_reference()), most=4, claimed_epsilon=epsilon, claimed_delta=delta
    )
    for figure in (BOUND, GAUSSIAN):
        assert found.about("figures", figure=figure, attribute="").iloc[0]["value"] <= epsilon
    assert found.about("figures", figure=CLAIMED).iloc[0]["reason"] == "consistent"
