"""The map in the page: the ranks and the places that Python gives among the same people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ehrmem_widgets import settings
from ehrmem_widgets.attacker.facts import DatePrecision, KnownFact, ValuePrecision, facts_of_level
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.explorable.map import pack_map
from ehrmem_widgets.explorable.pack import pack_model
from ehrmem_widgets.probes.bag_of_codes import own_ranks
from ehrmem_widgets.probes.exploration import Exploration, Question, State
from ehrmem_widgets.probes.prompt_embeddings import continued, embed_slots
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from tests.explorable.modules import Run, modules_in

pytestmark = pytest.mark.browser
FOLLOWED = np.where(np.arange(12) < [[12], [9], [3]], np.random.default_rng(0).integers(20, 300, (3, 12)), -1)


@pytest.fixture(scope="module")
def run(browser: Any) -> Iterator[Run]:
    with modules_in(browser) as run:
        yield run


@pytest.fixture(scope="module")
def exploration() -> Exploration:
    model, reference = FolderModel(sample_model()), FolderModel(sample_reference())
    return Exploration(MedsDataset(sample_data()), model, reference, folder=sample_model())


def asked(exploration: Exploration, patient: int, knowledge: str) -> list[list[int]]:
    """The slots of a question; "by hand": of the first lab values in a band, on a day to the week."""
    record = exploration.record(patient)
    facts = facts_of_level("lab_values" if knowledge == "by hand" else knowledge, record, exploration.model.vocabulary)
    if knowledge == "by hand":
        facts = tuple(KnownFact(fact.place, ValuePrecision.COARSE, DatePrecision.WEEK) for fact in facts[-4:])
    names = exploration.attributes.default_names()
    level = None if knowledge == "by hand" else knowledge
    return [list(slot) for slot in Question(exploration, State(patient, facts, level, names, names[0])).slots[0]]


def test_ranks_nearest_and_place_are_pythons(run: Run, exploration: Exploration) -> None:
    patients = [*exploration.canaries[:2], *exploration.dataset.ids("held_out")[:2]]
    packed = pack_map(exploration, patients)
    assert packed is not None
    questions = [(p, asked(exploration, p, level)) for p in patients for level in ("one_lab", "lab_values", "by hand")]
    assert any(len(slot) > 1 for _, slots in questions for slot in slots)
    found = run(
        """const { openModel } = await import("./engine.js");
        const { CONTINUATIONS, CONTINUED_BY, embedContinued, embedSlots, findNeighbours, openMap } = await import("./neighbours.js");
        const map = openMap(data);
        const model = openModel(data.packed);
        return { continued: [CONTINUATIONS, CONTINUED_BY], points: map.points.length, found: data.questions.map(([who, slots]) => {
          const query = embedSlots(model, slots);
          return [query, findNeighbours(map, query, who, embedContinued(model, slots, data.followed))];
        }) };""",
        {
            "map": packed,
            "packed": pack_model(sample_model()),
            "followed": FOLLOWED.tolist(),
            "questions": [(exploration.dataset.pseudonym(patient), slots) for patient, slots in questions],
        },
    )
    store, chart = exploration.store, exploration.map
    assert store is not None and store.embeddings is not None and chart is not None and chart.coordinates is not None
    assert found["continued"] == [settings.CONTINUATIONS, settings.CONTINUED_BY]
    assert found["points"] == 2 * len(store.ids)
    pool = [record.patient_id for record in exploration.controls.records]
    ids = list(dict.fromkeys([*patients, *pool]))
    assert packed["people"] == [exploration.dataset.pseudonym(patient) for patient in ids]
    rows = [store.row(patient) for patient in ids]
    for (patient, slots), (query, theirs) in zip(questions, found["found"], strict=True):
        ours = embed_slots(exploration.model, slots)
        assert np.allclose(query, ours, atol=1e-5)
        records = store.including(ids)[1][rows]
        [likeness] = store.nearness(ours[None], records)
        order = np.argsort(-likeness, kind="stable")
        away = np.full(len(store.ids), np.inf)
        away[rows] = np.sqrt(np.maximum(0, 2 - 2 * likeness))
        position, _ = chart.place(ours, away)
        assert theirs["n"] == len(ids) and theirs["own"] == store.row(patient)
        [rank] = own_ranks(likeness[None], np.array([ids.index(patient)]))
        assert theirs["rank"] == pytest.approx(rank, abs=1)  # rounding may turn two that are as near
        assert len({*theirs["nearest"]} & {rows[place] for place in order[:10]}) >= 9
        assert np.allclose(theirs["position"], position, atol=0.05)
        led = exploration.model.embed(continued(slots, FOLLOWED))
        [rank] = own_ranks(store.nearness(led[None], records), np.array([ids.index(patient)]))
        assert theirs["continuedRank"] == pytest.approx(rank, abs=1) and len(theirs["ledTo"]) == len(led)


def test_a_page_of_a_model_without_embeddings_has_no_map(
    exploration: Exploration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exploration, "store", None)
    assert pack_map(exploration, []) is None
