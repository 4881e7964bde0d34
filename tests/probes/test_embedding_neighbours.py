"""Neighbours over a cohort: ranks as on the main screen, intervals against published ones, and what is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.embedding.ask import attribute_codes, stripped_prompt
from ehrmem_widgets.probes.embedding_store import EmbeddingStore
from ehrmem_widgets.probes.neighbours.ask import CONTINUED, FACTS, Neighbours, paired_difference
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER, People, choose_people
from ehrmem_widgets.probes.prompt_embeddings import continued, embed_continued, embed_slots
from ehrmem_widgets.samples.folders import sample_data, sample_model
from ehrmem_widgets.statistics.intervals import difference, proportion
from tests.probes.alone import ask_alone
from tests.probes.same import same

KNOWLEDGE_LEVELS = ("demographics", "lab_dates", "first_9999")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MedsDataset]:
    """150 patients of the sample cohort, a data set of its own, and a cache of its own."""
    folder = tmp_path_factory.mktemp("few")
    whole = MedsDataset(sample_data())
    ids = [*whole.ids("train")[:60], *whole.ids("held_out")[:60], *whole.ids("reference")[:30]]
    (folder / "data").mkdir()
    (folder / "metadata").mkdir()
    events = whole.query(
        "SELECT patient_id AS subject_id, time, code, value AS numeric_value FROM events "
        "WHERE patient_id IN (SELECT unnest(?)) ORDER BY patient_id, time NULLS FIRST, filename, file_row_number",
        [ids],
    )
    events.df().to_parquet(folder / "data" / "0.parquet", index=False)
    splits = whole.patients.loc[ids, "split"].rename_axis("subject_id").reset_index()
    splits.to_parquet(folder / "metadata" / "subject_splits.parquet", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield MedsDataset(folder)


@pytest.fixture(scope="module")
def model() -> FolderModel:
    return FolderModel(sample_model())


@pytest.fixture(scope="module")
def people(dataset: MedsDataset, model: FolderModel) -> People:
    return choose_people(dataset, model, most=50, canaries=False)


@pytest.fixture(scope="module")
def found(dataset: MedsDataset, model: FolderModel, people: People) -> Finding:
    return ask_alone("neighbours", model, dataset, reference=model, people=people, knowledge_levels=KNOWLEDGE_LEVELS)


def test_ranks_are_those_of_the_main_screen(
    found: Finding, dataset: MedsDataset, model: FolderModel, people: People
) -> None:
    store = EmbeddingStore(model, dataset, folder=model.folder)
    codes = attribute_codes(model, dataset)
    for record in people.records[:6]:
        for knowledge in KNOWLEDGE_LEVELS[:2]:
            prompt = stripped_prompt(record, knowledge, model, codes, codes.default_names())
            for way, query in ((FACTS, embed_slots(model, prompt)), (CONTINUED, embed_continued(model, [prompt])[0])):
                rank = store.find(query, record.patient_id)[0].rank
                (row,) = found.about(
                    "patients",
                    patient=record.pseudonym,
                    figure="rank",
                    knowledge=knowledge,
                    model="audited",
                    attribute=way,
                ).to_dict("records")
                assert row["value"] == pytest.approx(rank, abs=1) and row["n"] == len(dataset)  # float32 near-ties


def test_continuations_are_the_models_own_and_depend_on_nothing_else(
    dataset: MedsDataset, model: FolderModel, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = attribute_codes(model, dataset)
    prompts = [
        [slot[:1] for slot in stripped_prompt(r, "lab_dates", model, codes, codes.default_names())]
        for r in people.records[:5]
    ]
    together = embed_continued(model, prompts, samples=3, horizon=5, seed=7)
    assert together.shape == (5, 3, model.embed([[0]]).shape[1])
    for prompt, found in zip(prompts, together, strict=True):
        np.testing.assert_allclose(embed_continued(model, [prompt], samples=3, horizon=5, seed=7)[0], found, atol=1e-5)
    steps = list(model.generate(prompts[:1], 5, 3, seed=7))
    by_hand = continued(prompts[0], np.stack([step.codes[0] for step in steps], axis=-1))
    np.testing.assert_allclose(model.embed(by_hand), together[0], atol=1e-5)
    monkeypatch.setattr(FolderModel, "embed_continuations", None)  # as a model that has none
    np.testing.assert_allclose(embed_continued(model, prompts, samples=3, horizon=5, seed=7), together, atol=1e-5)
    longest = [[0]] * model.context_length  # no room to go on
    np.testing.assert_allclose(
        embed_continued(model, [longest], samples=2)[0, 0], embed_slots(model, longest), atol=1e-5
    )


def test_what_all_records_share_is_taken_away(dataset: MedsDataset, model: FolderModel) -> None:
    store = EmbeddingStore(model, dataset, folder=model.folder)
    assert not list(store.build()) or store.embeddings is not None
    assert store.embeddings is not None
    left = store.embeddings - store.embeddings.mean(axis=0)
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    query = store.embeddings[3] + store.embeddings[4]
    wanted = query - store.embeddings.mean(axis=0)
    order = np.argsort(-(left @ wanted), kind="stable")
    found, distances = store.find(query, int(store.ids[3]))
    assert found.rank == list(order).index(3) + 1
    np.testing.assert_allclose(
        distances, np.sqrt(np.maximum(0, 2 - 2 * left @ wanted / np.linalg.norm(wanted))), atol=1e-3
    )
    several, _ = store.find(np.stack([query, store.embeddings[9]]), int(store.ids[9]))
    assert several.rank == 1  # the nearest of several counts


def test_rates_follow_from_the_ranks_and_a_plain_code_search_does_better(found: Finding) -> None:
    for knowledge in KNOWLEDGE_LEVELS[:2]:
        for figure, model, way in (
            ("rank", "audited", FACTS),
            ("rank", "audited", CONTINUED),
            ("code_rank", "", FACTS),
        ):
            where = {"knowledge": knowledge, "model": model, "attribute": way, "group": MEMBER}
            ranks = found.about("patients", figure=figure, **where)["value"]
            share = found.estimate(figure.replace("rank", "hit@10"), **where)
            assert share.n == len(ranks) == 25 and share.value == pytest.approx((ranks <= 10).mean())
            assert share.low <= share.value <= share.high and share.high - share.low > 0.1
    over = found.estimate("hit@10_over_codes", knowledge="lab_dates", group=MEMBER, attribute=FACTS)
    assert over.value < 0.1  # the sample model's embedding is a worse index of records than their codes
    member, other = (
        found.estimate("hit@10", knowledge="lab_dates", model="audited", attribute=CONTINUED, group=g).value
        for g in (MEMBER, NON_MEMBER)
    )
    both = found.estimate("hit@10_difference", knowledge="lab_dates", model="audited", attribute=CONTINUED, group="all")
    assert both.value == pytest.approx(member - other) and both.n == 50
    assert (
        found.estimate("hit@10_beyond_reference", knowledge="lab_dates", group="all", attribute=CONTINUED).value == 0
    )  # the model against itself
    assert "Memorized" not in set(found.figures["verdict"])


def test_a_knowledge_that_leaves_nothing_to_find_is_left_out_and_counted(found: Finding) -> None:
    assert found.exclusions["what is known is the whole record"] == 50
    rows = found.about("figures", figure="hit@10_difference", knowledge="first_9999", model="audited")
    assert set(rows["attribute"]) == {FACTS, CONTINUED} and set(rows["verdict"]) == {"Cannot conclude"}
    assert rows["note"].str.contains("0 members and 0 non-members").all()


def test_a_model_without_embeddings_is_told_so(dataset: MedsDataset, model: FolderModel, people: People) -> None:
    chain = MarkovChain(np.full((len(model.vocabulary),) * 2, 1 / len(model.vocabulary)), model.vocabulary)
    said = ask_alone("neighbours", chain, dataset, people=people).sentences
    assert len(said) == 1 and "gives no embeddings" in said[0]


def test_a_broken_run_is_taken_up_again(
    tmp_path: Path, dataset: MedsDataset, model: FolderModel, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Neighbours, "batch", 40)
    few = People(people.records[:45], people.groups)
    asked = {"people": few, "knowledge_levels": ("demographics",), "checkpoint": tmp_path / "kept"}
    first = ask_alone("neighbours", model, dataset, **asked)
    kept = sorted(asked["checkpoint"].glob("*/*.parquet"))
    last = kept[-1].read_bytes()
    kept[-1].unlink()  # broken off before the last batch was written
    second = ask_alone("neighbours", model, dataset, **asked)
    same(first, second)
    assert len(kept) > 1 and kept[-1].read_bytes() == last
    assert first.sentences and not any(s.startswith("Population knowledge") for s in first.sentences)


def test_the_paired_interval_holds_what_it_promises() -> None:
    both = np.array([True] * 20 + [False] * 20), np.array([True, False] * 20)  # phi = 0: as if they were two groups
    assert paired_difference(*both) == difference(proportion(20, 40), proportion(20, 40))
    none = paired_difference(np.zeros(30, dtype=bool), np.zeros(30, dtype=bool))
    assert none.value == 0 and none.high == -none.low == pytest.approx(proportion(0, 30).high)
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(1000):  # shares 0.5 and 0.3 about the same people, correlated
        common = rng.random(60)
        estimate = paired_difference(common < 0.5, np.where(rng.random(60) < 0.5, common, rng.random(60)) < 0.3)
        covered += estimate.low <= 0.2 <= estimate.high
    assert 0.93 <= covered / 1000 <= 0.975
