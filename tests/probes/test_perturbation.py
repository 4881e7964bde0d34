"""T5 on a Markov chain, where every leak and so every spike is known exactly, and on a few canaries of the sample models."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from ehrmem_widgets.attacker.facts import facts_of_level
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.ground_truth import canary_repetitions
from ehrmem_widgets.cohort.time_codes import AGE_CODES, TIME_CODES
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.exploration import Exploration, State
from ehrmem_widgets.probes.people import CANARY, NON_MEMBER, NULL_CANARY
from ehrmem_widgets.probes.perturbation.ask import curve_of, judge_spike, spikes, sweep
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Peers, PositiveControl, Verdict
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.cohort.meds import at, write
from tests.probes.alone import ask_alone
from tests.probes.same import same

pytestmark = pytest.mark.filterwarnings("ignore:Precision loss")  # the chain's spikes are all alike

HIV, FLU, VISIT, IRON = (
    "DIAGNOSIS//ICD//10//B20",
    "DIAGNOSIS//ICD//10//J111",
    "ENCOUNTER//OUTPATIENT",
    "LAB//50952//ug/dL",
)
BINS = [f"{IRON}//{b}" for b in range(10)]
SEXES = ["GENDER//F", "GENDER//M"]
VOCABULARY = Vocabulary(
    ("[PAD]", "[BOS]", "[EOS]", *AGE_CODES, *TIME_CODES, *SEXES, VISIT, *BINS, HIV, FLU),
    bins={IRON: tuple(float(edge) for edge in range(1, 10))},
)
SECRET_AGE = 40


def chain(leaks: dict[str, float], otherwise: float = 0.1) -> MarkovChain:
    """After a code comes HIV with its own probability, or else the flu; after these the end."""
    transitions = np.zeros((len(VOCABULARY), len(VOCABULARY)))
    hiv, flu, end = VOCABULARY.ids([HIV, FLU, "[EOS]"])
    for code in VOCABULARY.codes:
        transitions[VOCABULARY.id(code), [hiv, flu]] = leaks.get(code, otherwise), 1 - leaks.get(code, otherwise)
    transitions[[hiv, flu, end]] = 0
    transitions[[hiv, flu, end], end] = 1
    return MarkovChain(transitions, VOCABULARY)


def cohort(folder: Path, ages: dict[str, list[int]], *, sexes: bool = False, labs: bool = False) -> MedsDataset:
    """People of these ages by split, who all have HIV; without sexes the age is the last code of the demographics."""
    rows, splits = [], {}
    for split, its in ages.items():
        for age in its:
            patient = len(splits) + 1
            splits[patient] = split
            birth = at("2020-01-06").replace(year=2020 - age)
            rows.append((patient, birth - timedelta(days=2), "MEDS_BIRTH", None))
            if sexes:
                rows.append((patient, None, SEXES[patient % 2], None))
            if labs:
                rows.append((patient, at("2020-01-06 08:00"), VISIT, None))
                rows.append((patient, at("2020-01-06 08:30"), IRON, 3.5))
            rows.append((patient, at("2020-02-06 08:00"), HIV, None))
    information = {"dataset_name": "made for tests", "synthetic": True}
    return MedsDataset(write(folder, {"0.parquet": rows}, splits=splits, information=information))


def ask(dataset: MedsDataset, model: MarkovChain, **more):  # type: ignore[no-untyped-def]
    return ask_alone(
        "perturbation",
        model,
        dataset,
        **{"identifiers": ("age",), "knowledge_levels": "demographics", "horizon": 2, **more},
    )


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> MedsDataset:
    """25 members of the secret age, 25 non-members of others, and one person who has nothing."""
    ages = {"train": [SECRET_AGE] * 25, "held_out": list(range(50, 75))}
    return cohort(tmp_path_factory.mktemp("secret"), ages)


NOISE = np.random.default_rng(0).uniform(0.05, 0.15, len(AGE_CODES))
REMEMBERS = chain({**dict(zip(AGE_CODES, NOISE, strict=True)), f"AGE//{SECRET_AGE}": 0.9})


def test_a_model_that_remembers_an_age_shows_the_exact_spike(secret: MedsDataset) -> None:
    found = ask(secret, REMEMBERS, reference=chain({}))
    neighbours = [NOISE[SECRET_AGE + step] for step in (-3, -2, -1, 1, 2, 3)]
    expected = 0.9 - np.median(neighbours)
    mine = found.about("patients", figure="spike:age", group="member")
    assert mine[mine["model"] == "audited"]["value"].to_numpy() == pytest.approx([expected] * 25)
    assert mine[mine["model"] == "reference"]["value"].to_numpy() == pytest.approx(0, abs=1e-12)
    assert set(mine[mine["model"] == "audited"]["verdict"]) == {Verdict.MEMORIZED}
    assert mine[mine["model"] == "audited"]["p"].to_numpy() == pytest.approx(1 / 26)
    gap = found.estimate("gap:age", group="member - non-member", model="audited")
    nulls = found.about("patients", figure="spike:age", group=NON_MEMBER, model="audited")["value"]
    assert gap.value == pytest.approx(expected - nulls.mean()) and gap.low > 0.7
    (row,) = found.about("figures", figure="gap:age", model="audited").to_dict("records")
    assert row["verdict"] == Verdict.MEMORIZED and row["p_adjusted"] < 1e-6
    assert found.estimate("stands_out", group="member").value == 1
    assert found.estimate("stands_out", group=NON_MEMBER).value <= 1 / 25  # the highest of 25 has p = 1/25
    assert "25 of 25 stand out" in found.summary()


def test_the_curve_comes_back_with_its_truth_and_band(secret: MedsDataset) -> None:
    found = ask(secret, REMEMBERS, reference=chain({}))
    member = found.about("patients", group="member").iloc[0]["patient"]
    curve = curve_of(found, member, "age")
    assert curve.codes == tuple(f"AGE//{a}" for a in range(37, 44)) and curve.words[curve.true] == "Aged 40"
    assert curve.audited == pytest.approx([*NOISE[37:40], 0.9, *NOISE[41:44]])
    assert curve.reference == pytest.approx([0.1] * 7)
    low, high = curve.band
    off = np.arange(7) != curve.true
    assert high[curve.true] < 0.3 < curve.audited[curve.true]  # the spike leaves the band, its surroundings do not
    assert ((low <= curve.audited + 0.02) & (curve.audited <= high + 0.02))[off].all()
    nulls = found.about("patients", figure="spike:age", group=NON_MEMBER, model="audited")["value"]
    level = np.median(np.delete(curve.audited, curve.true))
    assert high[curve.true] == pytest.approx(level + np.quantile(nulls, 0.975))
    with pytest.raises(KeyError):
        curve_of(found, member, "sex")


def test_where_nothing_is_remembered_ranks_are_uniform_and_nothing_is_claimed(tmp_path: Path) -> None:
    from scipy import stats

    rng = np.random.default_rng(4)
    dataset = cohort(tmp_path, {"train": list(range(10, 100, 2)), "held_out": list(range(11, 100, 2))})
    smooth = {code: leak for code, leak in zip(AGE_CODES, rng.uniform(0.1, 0.5, len(AGE_CODES)), strict=True)}
    found = ask(dataset, chain(smooth), reference=chain({}))
    spike = found.about("patients", figure="spike:age", model="audited")
    nulls = spike[spike["group"] == NON_MEMBER]["p"].to_numpy()
    assert np.sort(nulls) == pytest.approx(np.arange(1, 46) / 45)  # each against the 44 others: every rank once
    members = spike[spike["group"] == "member"]["p"].to_numpy()
    assert len(members) == 45 and stats.kstest(members, "uniform").pvalue > 0.05
    gap = found.about("figures", figure="gap:age", model="audited").iloc[0]
    assert gap["verdict"] == Verdict.CANNOT_CONCLUDE  # nothing was planted to show that this test finds anything
    assert found.estimate("stands_out_screening", group="member").value <= 0.05
    with pytest.raises(KeyError):  # nothing is claimed on those whom the model never saw
        found.estimate("stands_out_screening", group=NON_MEMBER)


def test_sex_lab_and_date_move_over_their_own_codes(tmp_path: Path) -> None:
    ages = {"train": [40] * 2, "held_out": [50] * 2}
    by_sex = chain({"GENDER//F": 0.6, "GENDER//M": 0.2})
    found = ask(cohort(tmp_path / "a", ages, sexes=True), by_sex, identifiers=("sex", "age"))
    curves = {p: curve_of(found, p, "sex") for p in found.about("patients")["patient"].unique()}
    assert sorted(curve.spike.value for curve in curves.values()) == pytest.approx([-0.4, -0.4, 0.4, 0.4])
    assert all(curve.codes == tuple(SEXES) for curve in curves.values())
    flat = found.about("patients", figure="spike:age")["value"]
    assert flat.to_numpy() == pytest.approx(0)  # the chain forgets the age once it has read the sex

    by_value = chain({code: 0.1 * b for b, code in enumerate(BINS)})
    labs = cohort(tmp_path / "b", ages, labs=True)
    found = ask(labs, by_value, identifiers=("sex", "lab", "date"), knowledge_levels="one_lab")
    patient = found.about("patients").iloc[0]["patient"]
    lab, date = curve_of(found, patient, "lab"), curve_of(found, patient, "date")
    assert lab.codes == tuple(BINS) and lab.true == 3 and lab.audited == pytest.approx(np.arange(10) / 10)
    assert date.codes[date.true] == "TIME//20-40" and date.codes == TIME_CODES[:5]
    assert date.audited == pytest.approx([0.3] * 5)
    assert found.exclusions == {"no sex among the known facts, so it was not moved": 4}


def test_who_cannot_be_asked_is_counted_and_nonsense_is_refused(secret: MedsDataset) -> None:
    found = ask(secret, REMEMBERS, attributes=["genetic_disease", "hiv"], patients=[1, 2, 30])
    assert found.about("patients", figure="spike:age")["attribute"].unique().tolist() == ["hiv"]
    (gap,) = found.about("figures", figure="gap:age").to_dict("records")
    assert gap["verdict"] == Verdict.CANNOT_CONCLUDE and "2 members and 1 non-members" in gap["note"]
    assert Verdict.MEMORIZED not in {
        *found.figures["verdict"],
        *found.patients["verdict"],
    }  # a single person is no null
    found = ask(secret, REMEMBERS, attributes=["genetic_disease"], patients=[1, 2, 30])
    assert found.exclusions == {"the record holds none of the attributes asked about": 3}
    found = ask(secret, REMEMBERS, knowledge_levels="nothing", patients=[1])
    assert found.exclusions == {"none of the identifiers is among the known facts": 1}
    for more, words in (
        ({"identifiers": ("name",)}, "age, sex, lab, date; got name"),
        ({"samples": 0}, "samples must be"),
        ({"attributes": ["sex"]}, "itself an identifier"),
        ({"knowledge_levels": "all of it"}, "no knowledge level"),
    ):
        with pytest.raises(BadInput, match=words):
            ask(secret, REMEMBERS, **more)


def test_a_kept_run_and_the_same_seed_give_the_same_finding(secret: MedsDataset, tmp_path: Path) -> None:
    people = list(range(15, 40))
    a = ask(secret, REMEMBERS, patients=people, reference=chain({}))
    ask(secret, REMEMBERS, patients=people, reference=chain({}), checkpoint=tmp_path / "kept")
    b = ask(secret, REMEMBERS, patients=people, reference=chain({}), checkpoint=tmp_path / "kept")  # all from the file
    same(a, b)


def test_one_person_live_gives_ever_better_curves(secret: MedsDataset) -> None:
    exploration = Exploration(secret, REMEMBERS, chain({}))
    facts = facts_of_level("demographics", exploration.record(1), VOCABULARY)
    state = State(1, facts, "demographics", ("hiv",), "hiv", horizon=2, samples=32)
    answers = list(sweep(exploration, state, "age"))
    curves = [answer for answer in answers if answer is not None]
    assert [curve.samples for curve in curves] == [8, 16, 24, 32] and len(answers) > len(curves)
    last = curves[-1]
    assert last.codes[last.true] == "AGE//40" and len(last.codes) == 11
    assert last.audited[last.true] == pytest.approx(0.9) and last.reference == pytest.approx([0.1] * 11)
    assert (last.interval[0] <= last.audited).all() and (last.audited <= last.interval[1]).all()
    with pytest.raises(BadInput, match="no lab value among the known facts"):
        next(sweep(exploration, state, "lab"))


def test_the_spike_is_against_the_median_of_the_others() -> None:
    curves = np.array([[0.0, 0.1, 1.0, 0.2, 0.9], [0.3, 0.3, 0.3, 0.3, 0.3]])
    assert spikes(curves, 2) == pytest.approx([0.85, 0.0])


def test_a_patients_verdict_is_corrected_for_the_identifiers_that_could_be_moved() -> None:
    spike, control = Estimate(0.8, -0.1, 0.9, 4), PositiveControl.NONE
    for tests, n, verdict in ((1, 19, Verdict.MEMORIZED), (4, 78, Verdict.CANNOT_CONCLUDE), (4, 79, Verdict.MEMORIZED)):
        found = judge_spike(spike, Estimate(0.0, -0.2, 0.2, 4), Peers(0, n), tests=tests, control=control)
        assert found.verdict is verdict
    flat = Estimate(0.0, -0.01, 0.01, 200)
    for control, verdict in (
        (PositiveControl.FOUND, Verdict.POPULATION),
        (PositiveControl.MISSED, Verdict.CANNOT_CONCLUDE),
        (PositiveControl.NONE, Verdict.CANNOT_CONCLUDE),
    ):
        assert judge_spike(flat, flat, Peers(30, 79), tests=4, control=control).verdict is verdict


def test_canaries_trained_on_spike_and_those_never_trained_on_do_not() -> None:
    dataset, model = MedsDataset(sample_data()), FolderModel(sample_model())
    planted = canary_repetitions(dataset)
    often = [p for p, n in planted.items() if n == 16][:3]
    never = [p for p, n in planted.items() if n == 0][:4]
    found = ask_alone(
        "perturbation",
        model,
        dataset,
        reference=FolderModel(sample_reference()),
        patients=[*often, *never],
        identifiers=("age",),
        horizon=32,
    )
    spike = found.about("patients", figure="spike:age")
    audited = spike[spike["model"] == "audited"]
    assert (audited[audited["group"] == f"{CANARY} x16"]["value"] > 0.3).sum() >= 2
    assert (audited[audited["group"] == NULL_CANARY]["value"] < 0.3).all()
    assert (spike[spike["model"] == "reference"]["value"] < 0.3).all()
