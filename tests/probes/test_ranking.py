"""Attack ranking: the cheapest facts found really trigger the leak, cost what they say, and stand in order of bits."""

import pytest

from ehrmem_widgets.attacker.facts import facts_of_rung
from ehrmem_widgets.attacker.identifiability import FactIndex
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.attribute_codes import AttributeCodes
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.people import CANARY, NULL_CANARY, People, choose_people
from ehrmem_widgets.probes.ranking import THRESHOLD, AttackSearch, ranked, ranking
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference


@pytest.fixture(scope="module")
def samples():
    return MedsDataset(sample_data()), FolderModel(sample_model()), FolderModel(sample_reference())


@pytest.fixture(scope="module")
def found(samples):
    dataset, model, reference = samples
    chosen = choose_people(*samples, most=0)
    records = tuple(chosen.of(CANARY)[:2])
    people = People(records, {r.patient_id: CANARY for r in records})
    return ranking(model, dataset, reference=reference, people=people, ladder=("demographics", "one_lab"), horizon=48)


def test_leaks_are_found_and_listed_cheapest_first(found):
    table = ranked(found)
    assert len(table) >= 2
    assert table["bits"].is_monotonic_increasing
    assert (table["leak"] >= THRESHOLD).all()
    assert (table["low"] <= table["leak"]).all() and (table["n"] == 64).all()
    assert (table["already_identified"] == (table["k"] <= 1)).all()
    assert any("bits" in sentence for sentence in found.sentences)


def test_the_attack_is_never_dearer_than_the_cheapest_rung_that_works(samples):
    dataset, model, reference = samples
    record = choose_people(*samples, most=0).of(CANARY)[0]
    codes = AttributeCodes(model.vocabulary, dataset.attributes, dataset.codes["code"].tolist(), dataset.descriptions)
    names = codes.default_names()
    held = next(n for n in names if codes.held(n, record))
    search = AttackSearch(model, reference, dataset, codes, names, horizon=48)
    attack = search.cheapest(record, held, ("one_lab",), THRESHOLD)
    assert attack is not None and attack.succeeds(THRESHOLD)
    rung = FactIndex(dataset, model.vocabulary).count(record, facts_of_rung("one_lab", record, model.vocabulary))
    assert attack.known.bits <= rung.bits
    again = search.cheapest(record, held, ("one_lab",), THRESHOLD)
    assert again == attack  # same seed, same attack


def test_no_attack_works_on_a_canary_that_was_never_trained_on(samples):
    dataset, model, reference = samples
    records = tuple(choose_people(*samples, most=0).of(NULL_CANARY)[:4])
    people = People(records, {r.patient_id: CANARY for r in records})  # asked about as if they had been
    found = ranking(model, dataset, reference=reference, people=people, ladder=("one_lab",), horizon=48)
    assert len(ranked(found)) <= 1
    if not len(ranked(found)):
        assert "no set of facts" in found.sentences[0]


def test_without_a_reference_nothing_is_called_a_leak(samples):
    dataset, model, _ = samples
    found = ranking(model, dataset, people=choose_people(dataset, model, most=4, canaries=False))
    assert found.sentences[0].startswith("Cannot conclude")
    assert not len(found.about("patient"))


def test_attributes_that_every_patient_has_his_own_of_are_refused(samples):
    dataset, model, reference = samples
    with pytest.raises(BadInput, match="sex differ from patient to patient"):
        ranking(model, dataset, reference=reference, people=choose_people(*samples, most=4), attributes=["sex"])
