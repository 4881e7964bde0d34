"""T3 against a black box whose embedding gives the secret away for members alone, and the parts against scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.bag_of_codes import bags, own_ranks
from ehrmem_widgets.probes.embedding.ask import attribute_codes, out_of_fold, stripped_prompt
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER, People, choose_people
from ehrmem_widgets.probes.prompt_embeddings import embed_prompts, embed_slots
from ehrmem_widgets.samples.folders import sample_data, sample_model
from ehrmem_widgets.statistics.discrimination import auroc
from tests.probes.alone import ask_alone


class Remembering(MarkovChain):
    """A black box that knows by heart who of some people holds an attribute: it shows in the embedding of their prompt. Of
    everybody else the embedding is noise that the prompt alone decides."""

    answers = frozenset({Query.SAMPLE, Query.PROBABILITIES, Query.EMBEDDINGS})

    def __init__(self, model: FolderModel, secrets: dict[tuple[int, ...], bool]) -> None:
        size = len(model.vocabulary)
        super().__init__(np.full((size, size), 1 / size), model.vocabulary)
        self.secrets = secrets
        self.training_split = model.training_split

    def embed(self, sequences: Sequence[Sequence[int]]) -> np.ndarray:
        found = np.stack([np.random.default_rng(list(s)).normal(size=12) for s in sequences])
        for row, sequence in zip(found, sequences, strict=True):
            if (secret := self.secrets.get(tuple(sequence))) is not None:
                row[0] = 3.0 if secret else -3.0
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


@pytest.fixture(scope="module")
def dataset() -> MedsDataset:
    return MedsDataset(sample_data())


@pytest.fixture(scope="module")
def model() -> FolderModel:
    return FolderModel(sample_model())


@pytest.fixture(scope="module")
def people(dataset: MedsDataset, model: FolderModel) -> People:
    """60 members and 60 non-members, a third of whom hold mental health codes."""
    everybody = choose_people(dataset, model, most=3000, canaries=False)
    chosen = []
    for group in (MEMBER, NON_MEMBER):
        its = everybody.of(group)
        held = set(dataset.patients.index[dataset.patients["attributes"].map(lambda a: "mental_health" in a)])
        chosen += [r for r in its if r.patient_id in held][:20] + [r for r in its if r.patient_id not in held][:40]
    return People(tuple(chosen), {r.patient_id: everybody.groups[r.patient_id] for r in chosen})


def remembering(model: FolderModel, dataset: MedsDataset, people: People, *groups: str) -> Remembering:
    codes = attribute_codes(model, dataset)
    secrets = {}
    for record in people.of(*groups):
        prompt = stripped_prompt(record, "first_20", model, codes, ["mental_health"])
        secrets[tuple(slot[0] for slot in prompt)] = codes.held("mental_health", record)
    return Remembering(model, secrets)


def test_a_model_that_knows_the_secret_of_members_alone_has_memorized_it(
    dataset: MedsDataset, model: FolderModel, people: People
) -> None:
    audited, reference = remembering(model, dataset, people, MEMBER), remembering(model, dataset, people)
    asked = {"people": people, "knowledge_levels": "first_20", "attributes": ["mental_health", "self_harm"]}
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        found = ask_alone("embedding", audited, dataset, reference=reference, **asked)
    of = {"attribute": "mental_health", "model": "audited"}
    assert found.estimate("auroc_logistic", group=MEMBER, **of).value > 0.9
    assert 0.3 < found.estimate("auroc_logistic", group=NON_MEMBER, **of).value < 0.7
    shuffled = found.estimate("shuffled_auroc_logistic", group="all", **of)
    assert shuffled.low < 0.5 < shuffled.high + 0.1 and shuffled.n == 120
    gains = [found.estimate("gain_logistic", group=g, **of).value for g in (MEMBER, NON_MEMBER)]
    assert found.estimate("excess_gain_logistic", group="all", **of).value == pytest.approx(gains[0] - gains[1])
    (row,) = found.about("figures", figure="excess_gain_logistic", group="all", **of).to_dict("records")
    assert row["verdict"] == "Memorized" and row["p"] == pytest.approx(1 / 2001) and row["n"] == 120
    (few,) = found.about("figures", figure="holders", attribute="self_harm").to_dict("records")
    assert few["verdict"] == "Cannot conclude" and few["value"] < 10 and few["n"] == 120
    assert any("at least 10 needed" in s or "nobody among the 120" in s for s in found.sentences)

    alone = ask_alone(
        "embedding", audited, dataset, people=people, knowledge_levels="first_20", attributes=["mental_health"]
    )
    assert any("there is no reference model" in s for s in alone.sentences)
    assert "Memorized" not in set(alone.figures["verdict"])


def test_a_model_that_reads_everybody_alike_has_not_memorized(
    dataset: MedsDataset, model: FolderModel, people: People
) -> None:
    audited = remembering(model, dataset, people, MEMBER, NON_MEMBER)
    found = ask_alone(
        "embedding",
        audited,
        dataset,
        reference=audited,
        people=people,
        knowledge_levels="first_20",
        attributes=["mental_health"],
    )
    of = {"attribute": "mental_health", "model": "audited"}
    assert found.estimate("gain_logistic", group=NON_MEMBER, **of).low > 0.1
    (row,) = found.about("figures", figure="excess_gain_logistic", group="all", **of).to_dict("records")
    assert (
        row["verdict"] == "Cannot conclude" and row["p"] > 0.05
    )  # nobody was planted to show that this test finds anything


def test_what_cannot_be_asked_is_said(dataset: MedsDataset, model: FolderModel, people: People) -> None:
    chain = MarkovChain(np.full((len(model.vocabulary),) * 2, 1 / len(model.vocabulary)), model.vocabulary)
    found = ask_alone("embedding", chain, dataset, people=people)
    assert "gives no embeddings" in found.sentences[0] and list(found.figures["verdict"]) == ["Cannot conclude"]
    members = People(tuple(people.of(MEMBER)), {r.patient_id: MEMBER for r in people.of(MEMBER)})
    alone = ask_alone(
        "embedding",
        remembering(model, dataset, people),
        dataset,
        people=members,
        knowledge_levels="first_20",
        attributes=["mental_health"],
    )
    assert any("60 members and 0 non-members" in s for s in alone.sentences)
    few = People(people.records[:12], people.groups)
    nothing = ask_alone("embedding", model, dataset, people=few, attributes=["hiv"])
    assert nothing.sentences[0].startswith("Cannot conclude: no attribute has 11 holders")
    with pytest.raises(BadInput, match="folds"):
        ask_alone("embedding", chain, dataset, people=people, folds=1)


def test_prompts_embedded_together_are_as_one_by_one(model: FolderModel) -> None:
    prompts = [[[1], [5, 6, 7], [9]], [[1], [40], [41], [42]], [[1], [8, 9]]]
    together = embed_prompts(model, prompts)
    np.testing.assert_allclose(together, [embed_slots(model, p) for p in prompts], atol=1e-5)


def test_out_of_fold_scores_read_a_signal() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(80) < 0.3
    features = rng.normal(size=(80, 5))
    features[:, 2] += 3 * truth
    for classifier in ("logistic", "mlp"):
        found = out_of_fold(features, truth, classifier)
        assert auroc(found[truth], found[~truth]).value > 0.9
        np.testing.assert_array_equal(found, out_of_fold(features, truth, classifier))


def test_a_bag_counts_an_open_slot_once_and_ties_do_not_help() -> None:
    prompt = [[0], [2, 3], [2]]
    np.testing.assert_allclose(bags([prompt], 4).toarray(), [[1, 0, 1.5, 0.5]])
    np.testing.assert_allclose(bags([prompt], 4, whole=True).toarray(), [[1, 0, 2, 1]])
    similar = np.array([[0.2, 0.9, 0.9, 0.1], [1.0, 0.9, 0.9, 0.1]])
    assert own_ranks(similar, np.array([1, 0])).tolist() == [2, 1]
