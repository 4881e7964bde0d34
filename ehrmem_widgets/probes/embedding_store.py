"""Embedding neighbours: is the patient's own full record among the nearest to what the attacker holds?

Ranks come from the real embedding space; the two-dimensional map (UMAP) is for the eye only (methods, section 4).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import platformdirs

from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.files import whole_file
from ehrmem_widgets.probes.bag_of_codes import own_ranks
from ehrmem_widgets.probes.batching import OnProgress, Progress
from ehrmem_widgets.probes.findings import Neighbour, NeighbourFinding
from ehrmem_widgets.tokens.sequence import encode

if TYPE_CHECKING:
    import umap

NEIGHBOURS_FILE = "neighbours.npz"
_AT_ONCE = 256
_MAP_NEIGHBOURS = 15
_UMAP_SEED = 0
_ROUNDING = 0.05  # of vectors of unit length


class EmbeddingStore:
    """The full-record embeddings of a cohort, made once a cohort and model and kept in the user's cache folder.

    ``ids``: (n,) patient ids, a fixed sample of a larger data set; ``embeddings``: (n, d) of unit length, None until ``build`` is
    through. ``folder`` may hold embeddings shipped beside the model. Whoever is asked about and is not of the sample stands in it
    all the same for that question. Searched by the cosine of what is left when the records' mean is taken away: what all records
    share points at nobody (methods, 8.8).
    """

    def __init__(
        self, model: BlackBox, dataset: MedsDataset, *, folder: Path | None = None, most_patients: int = 20_000
    ) -> None:
        self._model, self._dataset = model, dataset
        ids = np.array(dataset.some_ids(most_patients), dtype=np.int64)
        self.ids = ids
        key = hashlib.sha256(f"{model.fingerprint} {dataset.fingerprint} {len(ids)}".encode()).hexdigest()[:24]
        self.key = key
        self._path = platformdirs.user_cache_path("ehrmem") / f"embeddings-{key}.npz"
        self._parts: list[np.ndarray] = []
        self._others: dict[int, np.ndarray] = {}  # centred, of those asked about who are not of the sample
        self._centre: np.ndarray | None = None
        self._centred: np.ndarray | None = None
        self._seen_to_fit = False
        self.embeddings: np.ndarray | None = kept_rows(self._path, "embeddings", len(ids))
        if self.embeddings is None and folder is not None:
            self.embeddings = kept_rows(folder / NEIGHBOURS_FILE, "embeddings", len(ids), key=key)

    @property
    def key_array(self) -> np.ndarray:
        """The key of cohort and model, as it is stored with a map."""
        return np.array(self.key)

    def build(self) -> Iterator[float]:
        """Embed every record; yields the share done. Does nothing when the store is there already, and goes on where an
        earlier call was interrupted. What was kept and is not what the model says now is made anew."""
        if self.embeddings is not None:
            if self._seen_to_fit or self._fits(self.embeddings):
                return
            self.embeddings = self._centre = self._centred = None
        for start in range(len(self._parts) * _AT_ONCE, len(self.ids), _AT_ONCE):
            self._parts.append(self._embed(self.ids[start : start + _AT_ONCE].tolist()))
            yield min(1.0, (start + _AT_ONCE) / len(self.ids))
        if not self._parts:
            raise BadInput(f"{self._dataset.name} has no patient whose record could be compared with others.")
        self.embeddings, self._seen_to_fit = np.concatenate(self._parts).astype(np.float32), True
        save_arrays(self._path, embeddings=self.embeddings)

    def row(self, patient_id: int) -> int:
        """The patient's row, -1 for one who is not of the sample."""
        rows = np.flatnonzero(self.ids == patient_id)
        return int(rows[0]) if len(rows) else -1

    @property
    def centre(self) -> np.ndarray:
        """(d,) the mean of the records' embeddings."""
        assert self.embeddings is not None, "build the store first"
        if self._centre is None:
            self._centre = self.embeddings.mean(axis=0)
        return self._centre

    def including(self, patients: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Ids (m,) and centred embeddings (m, d): the store's, and behind them those of the patients who are not of its sample."""
        assert self.embeddings is not None, "build the store first"
        if self._centred is None:
            self._centred = self.centred(self.embeddings)
        more = [patient for patient in dict.fromkeys(patients) if self.row(patient) < 0]
        if not more:
            return self.ids, self._centred
        if missing := [patient for patient in more if patient not in self._others]:
            self._others |= dict(zip(missing, self.centred(self._embed(missing)), strict=True))
        others = np.stack([self._others[patient] for patient in more])
        return np.append(self.ids, more), np.concatenate([self._centred, others])

    def nearness(self, queries: np.ndarray, records: np.ndarray) -> np.ndarray:
        """(n, m) cosine between queries (n, d) and centred records (m, d); of several queries a person (n, k, d) the nearest counts."""
        centred = self.centred(queries)
        if centred.ndim == 2:
            return np.asarray(centred @ records.T)
        return np.stack([(some @ records.T).max(axis=0) for some in centred])

    def distances(self, queries: np.ndarray) -> np.ndarray:
        """(n, m) from each query (n, d) to the store's records."""
        return _distances(self.nearness(queries, self.including([])[1]))

    def find(self, query: np.ndarray, patient_id: int, *, shown: int = 10) -> tuple[NeighbourFinding, np.ndarray]:
        """The rank of a patient's own record by distance from a query (d,), or from the nearest of several (k, d), among the store's
        records and it; and the distances (n,) to the store's. A tie is no help to the attacker."""
        ids, records = self.including([patient_id])
        [similarities] = self.nearness(query[None], records)
        distances = _distances(similarities)
        [rank] = own_ranks(similarities[None], np.flatnonzero(ids == patient_id))
        nearest = tuple(
            Neighbour(self._dataset.pseudonym(int(ids[place])), float(distances[place]), bool(ids[place] == patient_id))
            for place in np.argsort(distances, kind="stable")[:shown]
        )
        return NeighbourFinding(int(rank), len(ids), nearest), distances[: len(self.ids)]

    def _embed(self, patients: Sequence[int]) -> np.ndarray:
        vocabulary, most = self._model.vocabulary, self._model.context_length
        records = self._dataset.each_record(patients)
        return self._model.embed([encode(record, vocabulary).ids(vocabulary)[:most] for record in records])

    def centred(self, embeddings: np.ndarray) -> np.ndarray:
        """Embeddings (..., d) less the records' mean, of unit length again; nothing where nothing is left."""
        left = embeddings.astype(np.float32) - self.centre
        length = np.linalg.norm(left, axis=-1, keepdims=True)
        return np.asarray(left / np.maximum(length, np.finfo(np.float32).tiny))

    def _fits(self, kept: np.ndarray) -> bool:
        """Whether the first record's embedding is the one that the model gives (up to rounding on another machine)."""
        [now] = self._embed(self.ids[:1].tolist())
        self._seen_to_fit = bool(kept.shape[1] == len(now) and np.linalg.norm(kept[0] - now) < _ROUNDING)
        return self._seen_to_fit


def built_store(model: BlackBox, dataset: MedsDataset, name: str, progress: OnProgress | None) -> EmbeddingStore:
    """The store of a model, made now where there is none; ``name``: of the model, for progress."""
    store = EmbeddingStore(model, dataset, folder=getattr(model, "folder", None))
    for share in store.build():
        if progress:
            progress(Progress(f"Embedding all records ({name} model)", round(share * len(store.ids)), len(store.ids)))
    return store


class NeighbourMap:
    """The two-dimensional map of a store: UMAP, fitted once a cohort and model, its coordinates kept.

    ``coordinates``: (n, 2), None until there are any. ``folder`` may hold a map shipped beside the model.
    """

    def __init__(self, store: EmbeddingStore, folder: Path | None = None) -> None:
        self._store = store
        self._path = platformdirs.user_cache_path("ehrmem") / f"map-{store.key}.npz"
        self._reducer: umap.UMAP | None = None
        self.coordinates = kept_rows(self._path, "coordinates", len(store.ids))
        if self.coordinates is None and folder is not None:
            self.coordinates = kept_rows(folder / NEIGHBOURS_FILE, "coordinates", len(store.ids), key=store.key)
        if self.coordinates is not None and self.coordinates.shape[1] != 2:
            self.coordinates = None

    def fit(self) -> None:
        """Fit UMAP (ten seconds to a minute: it imports and compiles). Afterwards positions are UMAP's own."""
        import umap

        assert self._store.embeddings is not None, "build the store first"
        reducer = umap.UMAP(n_neighbors=_MAP_NEIGHBOURS, min_dist=0.1, random_state=_UMAP_SEED, n_jobs=1)
        coordinates = np.asarray(reducer.fit_transform(self._store.embeddings), dtype=np.float32)
        reducer.transform(self._store.embeddings[:1])  # compile it now, not when somebody waits
        self.coordinates, self._reducer = coordinates, reducer
        save_arrays(self._path, coordinates=coordinates, key=self._store.key_array)

    @property
    def fitted(self) -> bool:
        """Whether UMAP itself can place a query."""
        return self._reducer is not None

    def place(self, query: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray | None, bool]:
        """The query's place on the map and whether it is approximate: until UMAP is fitted in this session, the mean of
        its neighbours' places weighted by nearness."""
        if self._reducer is not None:
            return np.asarray(self._reducer.transform(query[None].astype(np.float32))[0]), False
        if self.coordinates is None:
            return None, True
        nearest = np.argsort(distances, kind="stable")[:_MAP_NEIGHBOURS]
        weights = 1 / (distances[nearest] + 1e-3)
        return weights @ self.coordinates[nearest] / weights.sum(), True


def _distances(similarities: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(np.maximum(0, 2 - 2 * similarities)))


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Write an .npz whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def kept_rows(path: Path, name: str, n: int, key: str | None = None, *, may_miss: bool = False) -> np.ndarray | None:
    """A table of n rows of numbers (``may_miss``: some missing) from an .npz; None where the file is missing, broken or of another cohort."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            if key is not None and str(stored["key"]) != key:
                return None
            found = np.asarray(stored[name]).astype(np.float32)
    except Exception:  # a damaged file ends in whatever zipfile, zlib and numpy stumble over; it is made anew
        return None
    return found if found.ndim == 2 and len(found) == n and (may_miss or np.isfinite(found).all()) else None
