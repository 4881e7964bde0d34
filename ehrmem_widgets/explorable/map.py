"""The map of embeddings as the page shows it: every record of the store as a point, and the embeddings of the people who travel with the page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ehrmem_widgets.blackbox.training_splits import trained_on
from ehrmem_widgets.explorable.pack import packed_array
from ehrmem_widgets.probes.exploration import Exploration

Packed = dict[str, object]


def pack_map(exploration: Exploration, patients: Sequence[int]) -> Packed | None:
    """The map of one audited model, ready for JSON; None for a model that gives no embeddings.

    ``points`` (n, 2) and ``kinds`` (n,) of all records of the store, as ``EmbeddingMap`` takes them, without a name. ``people``: the
    pseudonyms of the chosen ``patients`` and of the pool that they are compared with, ``rows`` their points (-1: none), ``embeddings``
    (people, ``width``) less ``centre`` (``width``), the mean of the store's records. Makes the store and fits the map where there are none yet, which takes up to minutes.
    """
    store, chart = exploration.store, exploration.map
    if store is None or chart is None:
        return None
    for _ in store.build():
        pass
    if chart.coordinates is None:
        chart.fit()
    assert chart.coordinates is not None
    dataset = exploration.dataset
    ids = list(dict.fromkeys([*patients, *(record.patient_id for record in exploration.controls.records)]))
    of_store, embeddings = store.including(ids)
    place_of = {int(patient): place for place, patient in enumerate(of_store)}
    places = [place_of[patient] for patient in ids]
    splits = dataset.splits_of(store.ids)
    kinds = np.where(splits.isna(), 2, np.where(splits == trained_on(exploration.model), 0, 1))
    return {
        "model": exploration.model.name,
        "points": packed_array(chart.coordinates.astype(np.float16).astype(np.float32)),
        "kinds": kinds.tolist(),
        "people": [dataset.pseudonym(patient) for patient in ids],
        "rows": [place if place < len(store.ids) else -1 for place in places],
        "width": embeddings.shape[1],
        "centre": packed_array(store.centre.astype(np.float32)),
        "embeddings": packed_array(embeddings[places].astype(np.float16).astype(np.float32)),
    }
