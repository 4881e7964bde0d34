"""Attack ranking: the cheapest facts found really trigger the leak, cost what they say, and stand in order of bits."""

import pytest

from ehrmem_widgets.attacker.facts import facts_of_level
from ehrmem_widgets.attacker.identifiability import FactIndex
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.interleave import to_the_end
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, NULL_CANARY, People, choose_people
from ehrmem_widgets.probes.ranking.ask import (
    GIVEN_AWAY,
    GIVEN_AWAY_GAP,
    NO_REFERENCE,
    THRESHOLD,
    AttackSearch,
    _rank_p,
    _rank_p_by_attribute,
    _sentences,
    found_among_never_seen,
    ranked,
)
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from ehrmem_widgets.tokens.attribute_codes import AttributeCodes
from tests.probes.alone import ask_alone


@pytest.fixture(scope="module")
def samples():
    return MedsDataset(sample_data()), FolderModel(sample_model()), FolderModel(sample_reference())


@pytest.fixture(scope="module")
def found(samples):
    dataset, model, reference = samples
    chosen = choose_people(*samples, most=0)
    records = (*chosen.of(CANARY)[:2], *chosen.of(NULL_CANARY)[:3])
    people = People(records, {r.patient_id: chosen.group(r) for r in records})
    return ask_alone("ranking", 
        model, dataset, reference=reference, people=people, knowledge_levels=("demographics", "one_lab"), horizon=48,
        population=len(dataset),
    )  # fmt: skip


@pytest.mark.slow
def test_leaks_are_found_and_listed_cheapest_first(found):
    table = ranked(found)
    assert len(table) >= 2
    assert table["bits"].is_monotonic_increasing
    assert (table["leak"] >= THRESHOLD).all()
    assert (table["low"] <= table["leak"]).all() and (table["n"] == 64).all()
    assert (table["already_identified"] == (table["k"] <= 1)).all()  # the data set is the whole population
    assert (table["others"] == table["k"] - 1).all() and (table["others_high"] == table["others"]).all()
    assert any("bits" in sentence for sentence in found.sentences)
    assert (table["searched"] >= 2 * 16 + 64).all()  # two knowledge levels, and the check of what was found


def test_the_attack_is_never_dearer_than_the_cheapest_knowledge_that_works(samples):
    dataset, model, reference = samples
    record = choose_people(*samples, most=0).of(CANARY)[0]
    codes = AttributeCodes(model.vocabulary, dataset.attributes, dataset.codes["code"].tolist(), dataset.descriptions)
    names = codes.default_names()
    held = next(n for n in names if codes.held(n, record))
    search = AttackSearch(model, reference, dataset, codes, names, horizon=24)
    attack = to_the_end(search.cheapest(record, held, ("one_lab",), THRESHOLD))
    assert attack is not None and attack.succeeds(THRESHOLD)
    knowledge = FactIndex(dataset, model.vocabulary).count(record, facts_of_level("one_lab", record, model.vocabulary))
    assert attack.known.bits <= knowledge.bits
    again = to_the_end(search.cheapest(record, held, ("one_lab",), THRESHOLD))
    other = AttackSearch(model, reference, dataset, codes, (held,), horizon=24)
    (row,) = other.batch([record], ("one_lab",), THRESHOLD)
    assert row["searched"] == other.asked > 16 + 64  # the knowledge level, the search, and the check of what it found
    assert again == attack  # same seed, same attack


def test_no_attack_works_on_a_canary_that_was_never_trained_on(samples):
    dataset, model, reference = samples
    records = tuple(choose_people(*samples, most=0).of(NULL_CANARY)[:4])
    people = People(records, {r.patient_id: CANARY for r in records})  # asked about as if they had been
    found = ask_alone(
        "ranking", model, dataset, reference=reference, people=people, knowledge_levels=("one_lab",), horizon=48
    )
    assert len(ranked(found)) <= 1
    assert found_among_never_seen(found) is None and "nothing can be said of chance" in found.sentences[0]
    assert not ranked(found)["already_identified"].any()  # no population was declared
    if not len(ranked(found)):
        assert "no set of facts" in found.sentences[0]


def test_the_same_search_runs_over_people_never_seen_and_they_are_the_null(found):
    shares = found.about("figures", figure=GIVEN_AWAY).set_index("group")
    assert shares.loc[CANARY, "value"] == 1 and shares.loc[NULL_CANARY, "n"] == 3
    null = found_among_never_seen(found)
    assert null.n == 3 and null.value == shares.loc[NULL_CANARY, "value"]
    assert "of 3 people never seen" in found.sentences[0]
    table = ranked(found)
    assert set(table["group"]) == {CANARY}  # what is found among people never seen is no leak of the list
    assert (table["p"] >= 1 / 4).all() and (table["p_adjusted"] >= table["p"]).all()
    (gap,) = found.about("figures", figure=GIVEN_AWAY_GAP).to_dict("records")
    assert gap["group"] == f"{CANARY} - {NULL_CANARY}" and gap["verdict"] == "Cannot conclude"  # two and three people


def test_rank_p_by_hand():
    """Of 9 people never seen, one has leaks of 3 and of 8 bits, another one of 6 bits."""
    null = [{"patient": who, "bits": bits} for who, bits in (("a", 8.0), ("a", 3.0), ("b", 6.0))]
    about = [{"patient": "x", "bits": bits} for bits in (2.0, 3.0, 5.9, 6.0, 11.0)]
    assert _rank_p(about, null, 9).tolist() == [0.1, 0.2, 0.2, 0.3, 0.3]  # the tie at 3 bits counts against the patient
    assert _rank_p(about[:1], [], 0).tolist() != _rank_p(about[:1], [], 0).tolist()  # nan: nobody to rank among


def test_without_a_reference_the_same_search_about_people_never_seen_is_the_control(samples):
    dataset, model, _ = samples
    chosen = choose_people(dataset, model, most=0)
    records = (chosen.of(CANARY)[0], *chosen.of(NULL_CANARY)[:2])
    people = People(records, {r.patient_id: chosen.group(r) for r in records})
    found = ask_alone("ranking", model, dataset, people=people, knowledge_levels=("one_lab",), horizon=48)
    assert NO_REFERENCE in found.sentences and "beyond the reference" not in " ".join(found.sentences)
    assert set(found.about("patients")["figure"]) == {"bits", "k", "facts", "severity", "searched", "leak"}
    shares = found.about("figures", figure=GIVEN_AWAY).set_index("group")
    assert shares.loc[CANARY, "value"] == 1 and shares.loc[NULL_CANARY, "n"] == 2
    (gap,) = found.about("figures", figure=GIVEN_AWAY_GAP).to_dict("records")
    assert gap["verdict"] == "Cannot conclude" and "at least 19" in gap["note"]


def test_without_a_reference_a_leak_is_ranked_among_people_with_the_same_attribute():
    null = [{"patient": who, "attribute": "easy", "bits": 0.0} for who in "abcdefgh"]
    about = [{"patient": "x", "attribute": name, "bits": 2.0} for name in ("easy", "rare")]
    assert _rank_p_by_attribute(about, null, {"easy": 9, "rare": 19}).tolist() == [0.9, 0.05]
    assert _rank_p(about, null, 28).tolist() == [9 / 29] * 2  # among everybody, the easy one hides the rare one


def test_attributes_that_every_patient_has_his_own_of_are_refused(samples):
    dataset, model, reference = samples
    with pytest.raises(BadInput, match="sex differ from patient to patient"):
        ask_alone(
            "ranking", model, dataset, reference=reference, people=choose_people(*samples, most=4), attributes=["sex"]
        )


def test_that_the_search_finds_nothing_about_people_never_seen_is_said_in_words() -> None:
    asked = {MEMBER: 25, NON_MEMBER: 8, CANARY: 0, NULL_CANARY: 0}
    said = " ".join(_sentences([], [], [], asked, THRESHOLD, None, True))
    assert "the same search finds none about any of 8 people never seen" in said
