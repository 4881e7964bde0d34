"""Embedding neighbours on the sample cohort and model, against a search written out by hand; and the map, by UMAP itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.sequence import encode
from ehrmem_widgets.probes.neighbours import EmbeddingStore, NeighbourMap, embed_slots
from ehrmem_widgets.samples.folders import sample_data, sample_model

PATIENTS = 150


@pytest.fixture(scope="module")
def model() -> FolderModel:
    return FolderModel(sample_model())


@pytest.fixture
def store(model: FolderModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddingStore:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made = EmbeddingStore(model, MedsDataset(sample_data()), most_patients=PATIENTS)
    shares = list(made.build())
    assert shares[-1] == 1 and made.embeddings is not None
    return made


def codes_of(store: EmbeddingStore, model: FolderModel, patient: int) -> list[int]:
    record = MedsDataset(sample_data()).record(patient)
    return model.vocabulary.ids(encode(record, model.vocabulary).codes)


def test_a_full_record_is_its_own_nearest_neighbour(store: EmbeddingStore, model: FolderModel) -> None:
    patient = int(store.ids[7])
    query = embed_slots(model, [[code] for code in codes_of(store, model, patient)])
    finding, distances = store.find(query, patient)
    assert finding.rank == 1 and finding.n == PATIENTS and finding.nearest[0].distance == pytest.approx(0, abs=2e-3)
    by_hand = np.linalg.norm(store.embeddings - query, axis=1)
    np.testing.assert_allclose(distances, by_hand, atol=2e-3)
    order = np.argsort(by_hand)[:10]
    assert {n.pseudonym for n in finding.nearest} == {store._dataset.pseudonym(int(store.ids[i])) for i in order}


def test_the_sample_models_embeddings_and_map_belong_to_the_samples(
    model: FolderModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the main screen on the samples need not embed everybody first. After a change of fingerprints, write the new key."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    shipped = EmbeddingStore(model, MedsDataset(sample_data()), folder=sample_model())
    assert shipped.embeddings is not None and NeighbourMap(shipped, sample_model()).coordinates is not None
    some = [3, 700, 2900]
    records = MedsDataset(sample_data()).records(shipped.ids[some].tolist())
    exact = model.embed([model.vocabulary.ids(encode(r, model.vocabulary).codes) for r in records])
    np.testing.assert_allclose(shipped.embeddings[some], exact, atol=2e-3)  # kept in 16 bit


def test_ties_stand_before_the_patient(store: EmbeddingStore) -> None:
    assert store.embeddings is not None
    store.embeddings[3] = store.embeddings[9]
    finding, _ = store.find(store.embeddings[9], int(store.ids[9]))
    assert finding.rank == 2


def test_the_store_is_kept_and_a_broken_file_is_made_again(store: EmbeddingStore, model: FolderModel) -> None:
    again = EmbeddingStore(model, MedsDataset(sample_data()), most_patients=PATIENTS)
    np.testing.assert_array_equal(again.embeddings, store.embeddings)
    store._path.write_bytes(b"half a file")
    assert EmbeddingStore(model, MedsDataset(sample_data()), most_patients=PATIENTS).embeddings is None


def test_a_lab_known_by_its_date_moves_the_query_between_its_values(model: FolderModel) -> None:
    bins = [i for i, code in enumerate(model.vocabulary.codes) if code.startswith("LAB//2160-0//")]
    assert len(bins) > 2
    start = [model.vocabulary.id(model.vocabulary.start)]
    without, known = embed_slots(model, [start]), embed_slots(model, [start, bins])
    each = [embed_slots(model, [start, [code]]) for code in bins]
    assert np.linalg.norm(known) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(known - without) > 0.05
    assert np.mean([known @ one for one in each]) > np.mean([without @ one for one in each])
    np.testing.assert_array_equal(known, embed_slots(model, [start, bins]))


def test_umap_places_a_record_where_it_is_and_the_quick_way_places_it_near(store: EmbeddingStore) -> None:
    chart = NeighbourMap(store)
    assert chart.coordinates is None and chart.place(store.embeddings[0], np.ones(PATIENTS)) == (None, True)
    chart.fit()
    assert chart.fitted and chart.coordinates.shape == (PATIENTS, 2)
    span = np.ptp(chart.coordinates, axis=0).max()
    exact, roughly = [], []
    for row in range(0, PATIENTS, 10):
        _, distances = store.find(store.embeddings[row], int(store.ids[row]))
        place, approximate = chart.place(store.embeddings[row], distances)
        assert not approximate
        exact.append(np.linalg.norm(place - chart.coordinates[row]))
        quick = NeighbourMap(store)  # finds the map just made, but has no UMAP
        place, approximate = quick.place(store.embeddings[row], distances)
        assert approximate
        roughly.append(np.linalg.norm(place - chart.coordinates[row]))
    assert np.median(exact) < 0.15 * span and np.median(roughly) < 0.15 * span  # at random: about 0.4
