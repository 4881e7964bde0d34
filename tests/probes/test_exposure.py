"""Exposure against its worked numbers and its law by chance; canaries of the sample cohort in both sample models."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.errors import CannotAnswer
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.exposure.ask import _is_greedy, expected_by_chance, exposure
from ehrmem_widgets.probes.people import CANARY, NULL_CANARY, People, choose_people
from ehrmem_widgets.samples.canary_alternatives import canary_alternatives
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from tests.probes.alone import ask_alone

ALTERNATIVES = 63


def test_worked_numbers() -> None:
    assert exposure(1.0, np.zeros(65_535)) == 16
    assert exposure(-1.0, np.zeros(65_535)) == 0
    assert exposure(0.5, [1.0, 0.0, -1.0]) == 1  # rank 2 of 4
    assert exposure(0.0, []) == 0
    assert np.isnan([exposure(np.nan, [1.0]), exposure(0.0, [1.0, np.nan])]).all()
    assert exposure(-np.inf, [-1.0]) == 0


def test_the_mean_by_chance() -> None:
    assert expected_by_chance(10**6) == pytest.approx(1.4427, abs=1e-4)
    assert expected_by_chance(3) == pytest.approx(np.mean([2 - np.log2(rank) for rank in (1, 2, 3, 4)]))
    drawn = np.random.default_rng(0).random((4000, 1024))
    found = np.array([exposure(row[0], row[1:]) for row in drawn])
    assert found.mean() == pytest.approx(expected_by_chance(1023), abs=4 * found.std() / np.sqrt(len(found)))


def test_ties_are_drawn_so_that_nobody_stands_out_or_hides_among_equals() -> None:
    found = np.array([exposure(0.0, np.zeros(255), seed=seed) for seed in range(4000)])
    assert found.mean() == pytest.approx(expected_by_chance(255), abs=4 * found.std() / np.sqrt(len(found)))
    assert exposure(0.0, np.zeros(255), seed=5) == exposure(0.0, np.zeros(255), seed=5)


# The sample cohort ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cohort() -> MedsDataset:
    return MedsDataset(sample_data())


@pytest.fixture(scope="module")
def models() -> tuple[FolderModel, FolderModel]:
    return FolderModel(sample_model()), FolderModel(sample_reference())


@pytest.fixture(scope="module")
def people(cohort: MedsDataset, models: tuple[FolderModel, FolderModel]) -> People:
    chosen = choose_people(cohort, *models, most=0)
    few = [*chosen.of(CANARY)[:20], *chosen.of(NULL_CANARY)[:20]]
    return replace(chosen, records=tuple(few), groups={r.patient_id: chosen.group(r) for r in few})


@pytest.fixture(scope="module")
def found(cohort: MedsDataset, models: tuple[FolderModel, FolderModel], people: People) -> Finding:
    return ask_alone("exposure", 
        models[0], cohort, reference=models[1], people=people, alternatives=ALTERNATIVES,
        alternatives_of=canary_alternatives,
    )  # fmt: skip


def test_what_was_trained_on_is_exposed_and_nothing_else(found: Finding) -> None:
    chance = expected_by_chance(ALTERNATIVES)
    trained = found.estimate("mean_exposure", group="canary x16", model="audited")
    assert trained.low > 5 and trained.high <= 6 and trained.n == 20
    for group, model in (("canary x16", "reference"), (NULL_CANARY, "audited"), (NULL_CANARY, "reference")):
        of = found.estimate("mean_exposure", group=group, model=model)
        assert of.low < chance < of.high, (group, model)
    audited, reference = (
        found.about("figures", figure="auroc_exposure", model=m).iloc[0] for m in ("audited", "reference")
    )
    assert audited["p"] < 1e-4 and audited["p_adjusted"] >= audited["p"] and audited["verdict"] == "Memorized"
    assert reference["p"] > 0.01
    assert found.sentences[0].startswith("Memorized: Exposure of canaries planted 16 times, against")
    assert not any("were they trained on?" in sentence for sentence in found.sentences)


def test_canaries_on_whom_nobody_trained_are_asked_after(
    cohort: MedsDataset, models: tuple[FolderModel, FolderModel], people: People
) -> None:
    """The reference model saw none of them."""
    found = ask_alone(
        "exposure", models[1], cohort, people=people, alternatives=15, alternatives_of=canary_alternatives
    )
    verdict = found.verdicts.iloc[0]  # what a report shows
    assert verdict["verdict"] != "Memorized" and "were they trained on?" in verdict["note"]


def test_queries_to_extract_the_secret(found: Finding) -> None:
    trained = found.estimate("median_queries_0.5", group="canary x16", model="audited")
    never = found.estimate("median_queries_0.5", group=NULL_CANARY, model="audited")
    assert trained.high < 100 and never.low > 1e6
    of = found.about("patients", model="audited", group="canary x16").pivot(
        index="patient", columns="figure", values="value"
    )
    assert (of["queries_0.9"] >= of["queries_0.5"]).all() and (of["exposure"] <= 6).all()


def test_the_likeliest_answer_is_the_secret_where_the_chain_has_it_so(cohort: MedsDataset, people: People) -> None:
    """A chain that goes through the secret's codes in order says it greedily; with the other likelihoods it does not."""
    vocabulary = FolderModel(sample_model()).vocabulary
    a, b, c, d = 5, 6, 7, 8
    likely = np.full((len(vocabulary), len(vocabulary)), 0.3 / (len(vocabulary) - 1))
    for place, following in ((a, b), (b, c), (c, d)):
        likely[place, following] = 0.7
    for place in set(range(len(vocabulary))) - {a, b, c}:
        likely[place, place] = 0.7
    chain = MarkovChain(likely, vocabulary)
    assert _is_greedy(chain, (a, b, c, d), 1) is True and _is_greedy(chain, (a, b, d), 1) is False
    assert _is_greedy(chain, (a, b, c, a), 2) is False


def test_greedy_extraction_finds_trained_canaries_alone(found: Finding) -> None:
    of = {
        group: found.estimate("greedy_extracted", group=group, model="audited") for group in ("canary x16", NULL_CANARY)
    }
    assert of["canary x16"].low > of[NULL_CANARY].high and of[NULL_CANARY].value == 0 and of["canary x16"].n == 20


def test_the_probability_of_the_secret_is_that_of_the_chain(cohort: MedsDataset, people: People) -> None:
    """A uniform chain: each code of the secret, from the first value to the last, is as likely as any."""
    vocabulary = FolderModel(sample_model()).vocabulary
    size = len(vocabulary)
    chain = MarkovChain(np.full((size, size), 1 / size), vocabulary)
    [record] = people.of(CANARY)[:1]
    alone = replace(people, records=(record,), groups={record.patient_id: CANARY})
    of = ask_alone("exposure", chain, cohort, people=alone, alternatives=3, alternatives_of=canary_alternatives)
    first = next(e.time for e in record.events if e.time is not None)
    valued = [e for e in record.events if e.time is not None and e.time.date() == first.date() and e.value is not None]
    gaps = len({e.time for e in valued}) - 1
    [queries] = of.about("patients", figure="queries_0.5")["value"]
    assert queries == pytest.approx(np.log(2) * size ** (len(valued) + gaps), rel=1e-6)
    assert of.sentences[0].startswith(
        "Cannot conclude: there are 1 canaries trained on and 0 canaries never trained on"
    )


def test_the_same_seed_gives_the_same_exposures(
    found: Finding, cohort: MedsDataset, models: tuple[FolderModel, FolderModel], people: People
) -> None:
    few = people.of(CANARY)[:2] + people.of(NULL_CANARY)[:2]
    asked = replace(people, records=tuple(few[::-1]), groups={r.patient_id: people.group(r) for r in few})
    again = ask_alone(
        "exposure", models[0], cohort, people=asked, alternatives=ALTERNATIVES, alternatives_of=canary_alternatives
    ).about("patients", figure="exposure")
    before = found.about("patients", figure="exposure", model="audited").set_index("patient")["value"]
    np.testing.assert_allclose(before[again["patient"]], again["value"])


def test_who_cannot_be_scored_is_left_out_or_said(
    cohort: MedsDataset, models: tuple[FolderModel, FolderModel], people: People
) -> None:
    bare = [replace(r, events=tuple(replace(e, value=None) for e in r.events)) for r in people.records[:2]]
    without = replace(people, records=tuple(bare), groups={r.patient_id: people.group(r) for r in bare})
    found = ask_alone("exposure", models[0], cohort, people=without, alternatives_of=canary_alternatives)
    assert found.exclusions == {"no value that the model knows on the first day": 2}
    assert found.sentences == ("Cannot conclude: no canary that was trained on could be scored.",)
    with pytest.raises(CannotAnswer, match="No planted canaries were asked about"):
        ask_alone("exposure", models[0], cohort, people=People((), {}), alternatives_of=canary_alternatives)

    class Silent(MarkovChain):
        answers = frozenset({Query.SAMPLE})

    mute = Silent(np.eye(2))
    with pytest.raises(CannotAnswer, match="The audited model gives no probabilities, and exposure needs them"):
        ask_alone("exposure", mute, cohort, people=people, alternatives_of=canary_alternatives)


# Alternatives ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def canary(people: People) -> Record:
    return people.of(CANARY)[0]


def test_alternatives_differ_in_the_values_of_the_first_visit_only(canary: Record) -> None:
    copies = canary_alternatives(canary, 50, 1)
    assert len(copies) == 50 and len({copy.events for copy in copies}) == 50
    second = [i for i, e in enumerate(canary.events) if e.code.startswith("ENCOUNTER//")][1]
    for copy in copies:
        assert [(e.time, e.code) for e in copy.events] == [(e.time, e.code) for e in canary.events]
        assert copy.events[second:] == canary.events[second:]
        assert [e.value is None for e in copy.events] == [e.value is None for e in canary.events]
        assert all(e.value is None or e.value == float(np.float32(e.value)) for e in copy.events)
    assert canary_alternatives(canary, 50, 1) == copies != canary_alternatives(canary, 50, 2)


def test_planted_values_look_like_one_more_alternative(cohort: MedsDataset, people: People) -> None:
    """The rank of each planted value among its alternatives is uniform: over all first-visit labs of all canaries."""
    ranks = []
    for record in people.records:
        copies = canary_alternatives(record, 99, 0)
        for place, event in enumerate(record.events):
            others = np.array([copy.events[place].value for copy in copies], dtype=float)
            if event.value is not None and np.ptp(others):
                ranks.append(((others < event.value).sum() + (others <= event.value).sum()) / 2 / 99)
    assert len(ranks) > 150
    assert np.mean(ranks) == pytest.approx(0.5, abs=4 * np.sqrt(1 / 12 / len(ranks)))
    assert np.var(ranks) == pytest.approx(1 / 12, rel=0.25)
