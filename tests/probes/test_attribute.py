"""T2: on a chain whose leaks are known, and on the sample models, where canaries must be found and strangers not."""

import numpy as np
import pytest

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.attribute.ask import _KnowledgeLevel
from ehrmem_widgets.probes.attribute.holders import Holders
from ehrmem_widgets.probes.people import CANARY, IN_REFERENCE, MEMBER, NON_MEMBER, NULL_CANARY, People, choose_people
from ehrmem_widgets.probes.run import run
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from ehrmem_widgets.statistics.verdicts import Verdict, too_few_people
from ehrmem_widgets.tokens.attribute_codes import AttributeCodes
from tests.probes.alone import ask_alone


@pytest.fixture(scope="module")
def samples():
    return MedsDataset(sample_data()), FolderModel(sample_model()), FolderModel(sample_reference())


def codes_held(dataset, model, record):
    codes = AttributeCodes(model.vocabulary, dataset.attributes, dataset.codes["code"].tolist(), dataset.descriptions)
    return [codes.held(name, record) for name in codes.default_names()]


@pytest.fixture(scope="module")
def canaries(samples):
    """Twelve canaries that were trained on and twenty-four that were not."""
    people = choose_people(*samples, most=0)
    records = (*people.of(CANARY)[:12], *people.of(NULL_CANARY)[:24])
    return People(records, {r.patient_id: people.group(r) for r in records})


@pytest.fixture(scope="module")
def found(samples, canaries):
    dataset, model, reference = samples
    return ask_alone(
        "attribute",
        model,
        dataset,
        reference=reference,
        people=canaries,
        knowledge_levels=("nothing", "one_lab"),
        samples=8,
        horizon=48,
    )


def test_the_audited_model_knows_its_canaries_and_the_reference_does_not(found):
    gap = found.estimate("excess_gap", group="canaries", knowledge="one_lab")
    assert gap.low > 0.3
    nothing = found.estimate("excess_gap", group="canaries", knowledge="nothing")
    assert abs(nothing.value) < 0.2
    patients = found.about("patients", figure="excess", knowledge="one_lab")
    named = patients[patients["verdict"] == Verdict.MEMORIZED].groupby("group")["patient"].nunique()
    assert named[CANARY] >= 10
    assert named.get(NULL_CANARY, 0) <= 2


def test_every_figure_has_its_interval_and_n(found):
    patients = found.about("patients")
    assert (patients["low"] <= patients["value"]).all() and (patients["value"] <= patients["high"]).all()
    assert (patients["n"] > 0).all()


def test_with_nothing_known_everybody_gets_the_same_answer(found):
    leaks = found.about("patients", figure="leak", knowledge="nothing", model="audited")
    assert (leaks.groupby("attribute")["value"].nunique() == 1).all()


def test_the_ranks_are_those_of_a_test_over_all_that_a_patient_holds(found):
    """p of an excess counts the never-trained whose largest excess is as high, the patient never among them."""
    rows = found.about("patients", figure="excess", knowledge="one_lab")
    never = rows[rows["group"] == NULL_CANARY]
    largest = never.groupby("patient")["value"].max()
    for one in rows.sample(10, random_state=0).itertuples():
        controls = largest.drop(one.patient, errors="ignore")
        assert one.p == pytest.approx((1 + (controls >= one.value).sum()) / (1 + len(controls)))


def test_who_holds_an_attribute_only_before_the_last_known_event_is_not_counted(samples):
    dataset, model, reference = samples
    people = choose_people(dataset, model, reference, most=0)
    one = people.of(CANARY)[0]
    alone = People((one,), {one.patient_id: CANARY})
    found = ask_alone(
        "attribute",
        model,
        dataset,
        reference=reference,
        people=alone,
        knowledge_levels=("first_180",),
        samples=8,
        horizon=8,
    )
    assert len(one.events) < 180
    assert not len(found.about("patients"))
    prevalence = found.about("figures", figure="prevalence")
    held = sum(codes_held(dataset, model, one))
    assert held > 0
    assert (prevalence["value"].fillna(0) == 0).all()
    assert (prevalence["n"] == 0).sum() == held


def test_a_model_without_probabilities_is_counted_with_wilson_intervals(samples, canaries):
    dataset, _, reference = samples

    class OnlySamples(FolderModel):
        answers = frozenset({Query.SAMPLE})

        def generate(self, *arguments, **options):
            for step in super().generate(*arguments, **options):
                yield type(step)(step.codes, None, step.log_weight)

    few = People(canaries.records[:4], {r.patient_id: canaries.group(r) for r in canaries.records[:4]})
    found = ask_alone(
        "attribute",
        OnlySamples(sample_model()),
        dataset,
        reference=reference,
        people=few,
        knowledge_levels=("one_lab",),
        samples=8,
        horizon=48,
    )
    audited = found.about("patients", figure="leak", model="audited")
    assert set(np.round(audited["value"] * 8, 9) % 1) == {0.0}
    assert (audited["high"] > audited["value"]).sum() >= (audited["value"] < 1).sum()
    assert any("counted" in sentence for sentence in found.sentences)


def test_without_a_reference_people_never_seen_who_hold_the_same_are_the_control(samples, canaries):
    dataset, model, _ = samples
    alone = ask_alone(
        "attribute", model, dataset, people=canaries, knowledge_levels=("nothing", "one_lab"), samples=8, horizon=48
    )
    assert alone.sentences[0].startswith("There is no reference model")
    assert not {"excess", "largest_excess"} & set(alone.patients["figure"])
    assert alone.estimate("leak_difference", group="canaries", knowledge="one_lab").low > 0.3
    assert abs(alone.estimate("leak_difference", group="canaries", knowledge="nothing").value) < 0.3
    rows = alone.about("patients", figure="leak", knowledge="one_lab")
    assert (rows["reason"] != "").all() and not rows["verdict"].eq(
        Verdict.MEMORIZED
    ).any()  # nine of an attribute never seen
    assert rows["note"].str.contains("whom the model never saw to compare with; at least").any()


def test_without_a_reference_members_are_compared_with_people_never_seen(samples):
    """Planted people stand for the two sides: alike in all but that the memorizing model saw the first."""
    dataset, model, reference = samples
    planted = choose_people(*samples, most=0)
    seen, never = planted.of(CANARY)[:20], planted.of(NULL_CANARY)[:20]
    groups = {r.patient_id: MEMBER for r in seen} | {r.patient_id: NON_MEMBER for r in never}
    people = People((*seen, *never), groups)
    verdicts = []
    for one in (model, reference):
        found = ask_alone(
            "attribute", one, dataset, people=people, knowledge_levels=("one_lab",), samples=4, horizon=48
        )
        (gap,) = found.about("figures", figure="leak_difference", group="all").to_dict("records")
        assert "leak probability, members minus non-members" in gap["note"]
        verdicts.append(gap["verdict"])
    assert verdicts[0] == Verdict.MEMORIZED != verdicts[1]


def test_without_a_reference_a_rare_leak_is_held_against_people_with_the_same_attribute_alone(samples, canaries):
    """By hand: twenty people never seen hold A and leak it at .1, forty hold B and leak it at .9; a member leaks A at .8."""
    names, codes = ("hiv", "mental_health"), AttributeCodes(samples[1].vocabulary, samples[0].attributes)
    leaks = [[0.8, 0.0], *[[0.1, 0.0]] * 20, *[[0.0, 0.9]] * 40]
    rows = [
        {
            "patient": f"p{place}",
            "held": [float(a > 0), float(b > 0)],
            "reached": [a > 0, b > 0],
            "audited": [[a, max(a - 0.05, 0.0), a + 0.05], [b, max(b - 0.05, 0.0), b + 0.05]],
        }
        for place, (a, b) in enumerate(leaks)
    ]
    groups = {row["patient"]: NON_MEMBER for row in rows} | {"p0": MEMBER}
    level = _KnowledgeLevel("one_lab", rows, groups, 16)
    made = level.leak_rows(names, codes, Holders((), {}, {}), None)
    own = next(one for one in made if one["patient"] == "p0" and one["figure"] == "leak")
    assert own["verdict"] == Verdict.MEMORIZED and own["p"] == pytest.approx(1 / 21)
    assert sum(one.get("verdict") == Verdict.MEMORIZED for one in made) == 1
    unlike = too_few_people(3, 3)
    told = level.leak_rows(names, codes, Holders((), {}, {}), unlike)
    assert not any(one.get("verdict") == Verdict.MEMORIZED for one in told)
    assert f"stands out, but {unlike.sentence.rstrip('.')}" in next(
        one["note"] for one in told if one["patient"] == "p0"
    )


@pytest.mark.parametrize("with_reference", [True, False])
def test_nobody_is_said_to_hold_what_only_those_drawn_hold(samples, with_reference):
    dataset, model, reference = samples
    nobody = [p for p in dataset.ids("train") if p not in set(dataset.holders(["hiv"]))][:2]
    people = choose_people(dataset, model, reference, patients=nobody)
    said = {}
    for holders in (0, 2):
        found = ask_alone(
            "attribute", model, dataset, reference=reference if with_reference else None, people=people, attributes=("hiv",),
            knowledge_levels=("demographics",), samples=2, horizon=8, holders=holders,
        )  # fmt: skip
        said[holders] = any("nobody asked about holds HIV" in one for one in found.sentences)
        assert len(found.about("patients", figure="leak")) == (0 if not holders else 4 * (1 + with_reference))
    assert said == {0: True, 2: False}


def test_too_few_people_end_in_cannot_conclude_with_the_number_needed(found):
    one = found.about("figures", figure="excess_gap", group="all")
    assert (one["verdict"] == Verdict.CANNOT_CONCLUDE).all()
    assert one["note"].str.contains("at least 19").all()


def test_patients_of_the_reference_model_are_left_out_and_counted(samples):
    dataset, model, reference = samples
    theirs, ours = dataset.ids("reference")[:2], dataset.ids("train")[:1]
    people = choose_people(dataset, model, reference, patients=[*theirs, *ours])
    assert people.counts() == {MEMBER: 1} or people.counts() == {CANARY: 1}
    assert [reason for _, reason in people.left_out] == [IN_REFERENCE] * 2


def test_people_are_the_same_for_the_same_seed_and_half_of_them_members(samples):
    one, again, other = (choose_people(*samples, most=40, seed=s) for s in (1, 1, 2))
    assert one.records == again.records != other.records
    assert one.counts()[MEMBER] == one.counts()[NON_MEMBER] == 20
    assert set(one.repetitions.values()) == {0, 16}


def test_an_unknown_probe_or_knowledge_is_refused_in_words(samples):
    with pytest.raises(BadInput, match=r"no probe 'memory'.*reconstruction"):
        run("memory", *samples)
    with pytest.raises(BadInput, match="no knowledge level 'labs'"):
        run("attribute", *samples, knowledge_levels="labs")
    with pytest.raises(BadInput, match="takes no knowledge level"):
        run("membership", *samples, knowledge_levels="one_lab")
