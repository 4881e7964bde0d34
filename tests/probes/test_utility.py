"""Utility: exact on a Markov chain, "not measured" in words where a model gives no probabilities, and no verdict anywhere."""

from __future__ import annotations

import numpy as np
import pytest

from ehrmem_widgets.audit.results import AuditResults
from ehrmem_widgets.blackbox.callable import CallableModel, SamplingModel
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import CannotAnswer
from ehrmem_widgets.probes.needs import AtHand, Can
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER, People, choose_people
from ehrmem_widgets.probes.utility.ask import Utility, next_diagnoses
from ehrmem_widgets.probes.utility.figures import LOSS, RECALL
from ehrmem_widgets.probes.utility.show import UtilityView
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_moderate, sample_reference
from ehrmem_widgets.tokens.sequence import CodeSequence, encode
from ehrmem_widgets.tokens.vocabulary import Vocabulary, learn_vocabulary
from tests.probes.alone import ask_alone
from tests.reports.synthetic_audit import FilteredAudit, SyntheticAudit

DIAGNOSES = [f"DIAGNOSIS//ICD//10//I{10 + i}" for i in range(12)]
VOCABULARY = Vocabulary(("[PAD]", "[BOS]", "[EOS]", "GENDER//F", *DIAGNOSES))


def chain() -> MarkovChain:
    """After any code, the diagnoses in falling order of chance, the last two as likely as one another."""
    following = np.array([0, 0, 0.1, 0.1, *np.arange(13, 2, -1), 3.0])
    following[4:] *= 0.8 / following[4:].sum()
    return MarkovChain(np.tile(following, (16, 1)), VOCABULARY)


def sequence(*codes: str) -> CodeSequence:
    return CodeSequence(("[BOS]", *codes), (-1, *range(len(codes))))


def test_the_ten_likeliest_and_ties_count_against_it() -> None:
    read = [sequence("GENDER//F", DIAGNOSES[0], DIAGNOSES[9], DIAGNOSES[10], DIAGNOSES[11]), sequence("GENDER//F")]
    ids = [VOCABULARY.id(code) for code in DIAGNOSES]
    assert next_diagnoses(chain(), read, ids) == [[True, True, False, False], []]
    assert next_diagnoses(chain(), read[:1], ids[2:]) == [[True, True, True]]  # of ten, each is among the ten
    many = sequence(*DIAGNOSES)
    assert next_diagnoses(chain(), [many], ids) == [[True, True, True, False]]  # 4 of 12, spread over the record


def test_a_vocabulary_of_many_diagnoses_is_asked_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    read, ids = [sequence(*DIAGNOSES)], [VOCABULARY.id(code) for code in DIAGNOSES]
    whole = next_diagnoses(chain(), read, ids)
    monkeypatch.setattr("ehrmem_widgets.probes.utility.ask._AT_ONCE", 5)
    assert next_diagnoses(chain(), read, ids) == whole


@pytest.fixture(scope="module")
def dataset() -> MedsDataset:
    return MedsDataset(sample_data())


@pytest.fixture(scope="module")
def people(dataset: MedsDataset) -> People:
    return choose_people(dataset, FolderModel(sample_model()), FolderModel(sample_reference()), most=80, canaries=False)


def uniform(vocabulary: Vocabulary, impossible: int | None = None) -> CallableModel:
    p = np.ones(len(vocabulary))
    if impossible is not None:
        p[impossible] = 0
    return CallableModel(lambda ids: np.tile(p / p.sum(), (len(ids), 1)), vocabulary, context_length=256)


def test_a_model_that_knows_nothing(dataset: MedsDataset, people: People) -> None:
    """Its loss is the logarithm of the number of codes; with all diagnoses as likely, none is among the ten most likely."""
    vocabulary = learn_vocabulary(dataset)
    found = ask_alone("utility", uniform(vocabulary), dataset, people=people)
    loss = found.estimate(LOSS, group=NON_MEMBER, model="audited")
    assert loss.value == pytest.approx(np.log(len(vocabulary))) and loss.n == 40
    assert found.estimate(RECALL, group=NON_MEMBER, model="audited").value == 0
    assert not len(found.verdicts) and set(found.patients["group"]) == {NON_MEMBER}
    assert "could be computed" not in found.summary()


def test_who_is_held_for_impossible_is_left_out_and_said(dataset: MedsDataset, people: People) -> None:
    vocabulary = learn_vocabulary(dataset)
    female = vocabulary.id("GENDER//F")
    women = [r for r in people.of(NON_MEMBER) if "GENDER//F" in encode(r, vocabulary).codes]
    found = ask_alone("utility", uniform(vocabulary, female), dataset, people=people)
    assert found.estimate(LOSS).n == 40 - len(women) < 40
    assert set(found.excluded["patient"]) == {one.pseudonym for one in women}
    assert f"could be computed for {40 - len(women)} of 40 people only" in found.sentences[0]


def test_on_the_samples(dataset: MedsDataset, people: People) -> None:
    """The loss is membership's own on the same people, and the model that was stopped early predicts better."""
    moderate, memorizing = FolderModel(sample_moderate()), FolderModel(sample_model())
    found = ask_alone("utility", moderate, dataset, people=people)
    other = ask_alone("membership", moderate, dataset, people=people).about(
        "patients", figure="score", attribute="Loss", group=NON_MEMBER
    )
    own = found.about("patients", figure=LOSS).set_index("patient")["value"]
    assert np.allclose(own.loc[other["patient"]], -other["value"].to_numpy(), atol=1e-5)
    overfitted = ask_alone("utility", memorizing, dataset, people=people)
    assert found.estimate(LOSS).value < overfitted.estimate(LOSS).value
    chance = 10 / found.settings["diagnoses"]
    assert found.estimate(RECALL).low > chance
    assert len(found.sentences) == 2 and "most likely" in found.sentences[1]


def test_without_lists_or_without_scores_it_says_what_is_not_measured(dataset: MedsDataset, people: People) -> None:
    vocabulary = learn_vocabulary(dataset)
    scores = uniform(vocabulary)
    scores.answers = frozenset({Query.SAMPLE, Query.SCORES})
    found = ask_alone("utility", scores, dataset, people=people)
    assert "Recall@10 was not measured" in found.summary() and not len(found.about("patients", figure=RECALL))
    assert found.estimate(RECALL).n == 0
    samples = SamplingModel(lambda ids, n, horizon, seed: [[2]] * n, vocabulary, context_length=256)
    with pytest.raises(CannotAnswer, match="Not measured: the model gives no probabilities"):
        ask_alone("utility", samples, dataset, people=people)
    members = People(tuple(people.of(MEMBER)), {r.patient_id: MEMBER for r in people.of(MEMBER)})
    with pytest.raises(CannotAnswer, match="nobody was asked about"):
        ask_alone("utility", uniform(vocabulary), dataset, people=members)
    leaves = [lack.leaves for need in Utility.needs if (lack := need.lack(AtHand(dataset, scores)))]
    assert leaves == [Can.IN_PART]


def test_its_section_has_both_figures_and_no_verdict(tmp_path) -> None:  # type: ignore[no-untyped-def]
    audit = AuditResults(SyntheticAudit(100, effect=0.3).write(tmp_path / "a", names=("utility",)))
    view = audit.views["utility"]
    assert isinstance(view, UtilityView) and view.headline().verdict is None and not view.headline().control
    assert (
        "nats a code" in view.headline().words
        and "Recall@10" in view.pictures()[0]
        and "0.08 by chance" in view.pictures()[0]
    )
    assert view.verdicts() == "" and "could be computed" not in view.headline().words


def test_its_section_says_of_how_many_the_loss_is(tmp_path) -> None:  # type: ignore[no-untyped-def]
    for people, read in ((100, "20 to 29"), (40, "fewer than 11")):
        audit = AuditResults(FilteredAudit(people).write(tmp_path / str(people), names=("utility",)))
        view = audit.views["utility"]
        said = f"The loss could be computed for {read} of {people // 2} to {people // 2 + 9} people only"
        assert said in view.headline().words and said in view.pictures()[1]
