"""Embedding neighbours on the sample cohort and model, against a search written out by hand; and the map, by UMAP itself."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from ehrmem_widgets import ExplorePatient
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.probes import embedding_store
from ehrmem_widgets.probes.embedding_store import EmbeddingStore, NeighbourMap, save_arrays
from ehrmem_widgets.probes.exploration import Question
from ehrmem_widgets.probes.prompt_embeddings import embed_slots
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from ehrmem_widgets.tokens.sequence import encode
from tests.widgets.opened import few_patients

PATIENTS = 150
FEW = 20


@pytest.fixture(scope="module")
def model() -> FolderModel:
    return FolderModel(sample_model())


@pytest.fixture(scope="module")
def built(model: FolderModel, tmp_path_factory: pytest.TempPathFactory) -> EmbeddingStore:
    """A store that was just built; tests take copies of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        made = EmbeddingStore(model, MedsDataset(sample_data()), most_patients=PATIENTS)
        shares = list(made.build())
    assert shares[-1] == 1 and made.embeddings is not None
    return made


@pytest.fixture
def store(built: EmbeddingStore, model: FolderModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EmbeddingStore:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    copy = EmbeddingStore(model, MedsDataset(sample_data()), most_patients=PATIENTS)
    assert copy.embeddings is None
    save_arrays(copy._path, embeddings=built.embeddings)
    copy = EmbeddingStore(model, MedsDataset(sample_data()), most_patients=PATIENTS)
    assert list(copy.build()) == []
    return copy


def codes_of(store: EmbeddingStore, model: FolderModel, patient: int) -> list[int]:
    record = MedsDataset(sample_data()).record(patient)
    return model.vocabulary.ids(encode(record, model.vocabulary).codes)


def by_themselves(store: EmbeddingStore, embeddings: np.ndarray) -> np.ndarray:
    """Embeddings without what all records share, of unit length."""
    assert store.embeddings is not None
    left = embeddings - store.embeddings.mean(axis=0)
    return np.asarray(left / np.linalg.norm(left, axis=-1, keepdims=True))


def test_a_full_record_is_its_own_nearest_neighbour(store: EmbeddingStore, model: FolderModel) -> None:
    patient = int(store.ids[7])
    query = embed_slots(model, [[code] for code in codes_of(store, model, patient)])
    finding, distances = store.find(query, patient)
    assert finding.rank == 1 and finding.n == PATIENTS and finding.nearest[0].distance == pytest.approx(0, abs=2e-3)
    by_hand = np.linalg.norm(by_themselves(store, store.embeddings) - by_themselves(store, query), axis=1)
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


def broken(store: EmbeddingStore) -> dict[str, bytes]:
    """What may lie in the cache instead of the embeddings, by how it came to be."""

    def npz(**arrays: np.ndarray) -> bytes:
        file = io.BytesIO()
        np.savez(file, **arrays)
        return file.getvalue()

    assert store.embeddings is not None
    whole, good = store._path.read_bytes(), store.embeddings
    turned = bytearray(whole)
    turned[len(whole) // 2] ^= 255
    packed = io.BytesIO()
    np.savez_compressed(packed, embeddings=good)
    torn = bytearray(packed.getvalue())
    torn[200:400] = bytes(200)
    return {
        "empty": b"",
        "no archive": b"half a file",
        "cut off": whole[: len(whole) // 2],
        "cut off at its end": whole[:-30],
        "one byte turned": bytes(turned),
        "torn where packed": bytes(torn),
        "another name": npz(others=good),
        "fewer people": npz(embeddings=good[:-1]),
        "one number a person": npz(embeddings=good[:, 0]),
        "one number": npz(embeddings=np.float32(1)),
        "another width": npz(embeddings=good[:, :3]),
        "words": npz(embeddings=np.array(["a"] * FEW)),
        "a pickle": npz(embeddings=np.array([{"a": 1}] * FEW, dtype=object)),
        "no numbers": npz(embeddings=np.full_like(good, np.nan)),
        "of another model": npz(embeddings=-good),
    }


def test_the_store_is_kept_and_whatever_is_broken_is_made_again(
    model: FolderModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    dataset = MedsDataset(sample_data())

    def opened() -> EmbeddingStore:
        return EmbeddingStore(model, dataset, most_patients=FEW)

    store = opened()
    assert list(store.build()) and store.embeddings is not None
    again = opened()
    assert list(again.build()) == []
    np.testing.assert_array_equal(again.embeddings, store.embeddings)
    for how, content in broken(store).items():
        store._path.write_bytes(content)
        again = opened()
        assert list(again.build()), how
        np.testing.assert_allclose(again.embeddings, store.embeddings, atol=1e-5, err_msg=how)
        assert list(opened().build()) == [], how


def test_a_broken_map_is_drawn_again(store: EmbeddingStore) -> None:
    chart = NeighbourMap(store)
    for content in (b"", b"PK\x03\x04 cut off"):
        chart._path.write_bytes(content)
        assert NeighbourMap(store).coordinates is None
    save_arrays(chart._path, coordinates=np.zeros((PATIENTS, 3)))
    assert NeighbourMap(store).coordinates is None
    save_arrays(chart._path, coordinates=np.zeros((PATIENTS, 2)))
    assert NeighbourMap(store).coordinates is not None


def test_who_is_not_of_the_sample_has_the_rank_among_the_sample_and_oneself(
    store: EmbeddingStore, model: FolderModel
) -> None:
    assert store.embeddings is not None
    dataset = MedsDataset(sample_data())
    others = sorted(set(dataset.ids()) - set(store.ids.tolist()))[:4]
    vectors = model.embed([codes_of(store, model, patient) for patient in others])
    queries = {"the own record": vectors[0], "another's": vectors[1], "far away": 2 * store.centre - vectors[0]}
    for name, query in queries.items():
        finding, distances = store.find(query, others[0])
        records = by_themselves(store, np.concatenate([store.embeddings, vectors[:1]]))
        by_hand = np.linalg.norm(records - by_themselves(store, query), axis=1)
        assert finding.rank == (by_hand <= by_hand[-1] + 1e-4).sum() and finding.n == PATIENTS + 1, name
        assert distances.shape == (PATIENTS,)  # those on the map
        assert [n.is_patient for n in finding.nearest] == [place == PATIENTS for place in np.argsort(by_hand)[:10]], (
            name
        )
    assert store.find(queries["the own record"], others[0])[0].rank == 1
    assert store.find(queries["far away"], others[0])[0].rank == PATIENTS + 1
    ids, embeddings = store.including([*others, int(store.ids[3]), others[0]])
    assert ids.tolist() == [*store.ids.tolist(), *others] and len(store.ids) == PATIENTS
    np.testing.assert_allclose(embeddings[PATIENTS:], by_themselves(store, vectors), atol=1e-5)


def test_the_main_screen_ranks_a_patient_who_is_not_of_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = few_patients(tmp_path / "data")
    monkeypatch.setattr(
        embedding_store.EmbeddingStore.__init__, "__kwdefaults__", {"folder": None, "most_patients": 40}
    )
    whole, sample = MedsDataset(data).ids(), MedsDataset(data).some_ids(40)
    patient = next(one for one in whole if one not in sample)
    screen = ExplorePatient(
        data, model=sample_model(), reference=sample_reference(), patient=patient, knowledge="first_20", attributes="hiv", horizon=2,
        samples=16, live=False,
    )  # fmt: skip
    found = screen.results()["neighbours"]
    store = screen.exploration.store
    assert store is not None and len(store.ids) == found["of"] - 1 == 40
    query = embed_slots(screen.exploration.model, Question(screen.exploration, screen.state).slots[0])
    _, everybody = store.including([patient])
    assert found["rank"] == (everybody @ query >= everybody[-1] @ query - 1e-6).sum()
    assert f"of {found['of']:,}" in screen.page()


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


@pytest.mark.slow
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
