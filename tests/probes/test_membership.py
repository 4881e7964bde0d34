"""Membership scores against worked numbers; the probe on the sample models, on chains that know nobody, and on spoilt input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.findings.finding import Finding, finding, row
from ehrmem_widgets.probes.confounding.ask import TOLD_APART
from ehrmem_widgets.probes.membership import scores
from ehrmem_widgets.probes.membership.ask import in_windows
from ehrmem_widgets.probes.membership.judge import compare
from ehrmem_widgets.probes.membership.samples import SampledScorer
from ehrmem_widgets.probes.people import CANARY, MEMBER, NON_MEMBER, NULL_CANARY, People, choose_people
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from ehrmem_widgets.statistics.discrimination import auroc
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Judgement, Verdict
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.cohort.meds import at, write
from tests.probes.alone import ask_alone
from tests.probes.same import same

P = np.log([0.5, 0.1, 0.9, 0.02, 0.3, 0.6, 0.05, 0.8, 0.4, 0.7])
SINGLE = ("Loss", "Min-K%", "Min-K%++", "ReCaLL")


# Scores ---------------------------------------------------------------------------------------------------------------


def test_worked_numbers() -> None:
    assert scores.min_k(P) == pytest.approx(-3.453878, abs=5e-7)
    assert scores.loss(P) == pytest.approx(P.mean())
    assert scores.min_k(P[:3]) == pytest.approx(np.log(0.1))  # at least one code
    moments = np.concatenate(MarkovChain(np.tile([0.7, 0.2, 0.1], (3, 1))).score_moments([[0, 0], [0, 1], [0, 2]]))
    np.testing.assert_allclose(moments[:, 1:], [[-0.801819, 0.703126]] * 3, atol=5e-7)
    z = scores.standardised(moments)
    np.testing.assert_allclose(z, [0.63309, -1.14861, -2.13441], atol=1e-5)
    assert scores.min_k_plus_plus(np.column_stack([P, np.full(10, -1.0), np.full(10, 2.0)])) == pytest.approx(
        (-3.453878 + 1) / 2, abs=1e-6
    )
    assert scores.recall(P - 1, P) == pytest.approx((P.mean() - 1) / P.mean())
    assert scores.ratio(P, P - 0.25) == pytest.approx(0.25)


@pytest.mark.filterwarnings("error")
def test_certainty_impossible_codes_and_no_numbers() -> None:
    np.testing.assert_array_equal(scores.standardised([(0, 0, 0), (-np.inf, 0, 0)]), [0, -np.inf])
    impossible, nothing = np.append(P, -np.inf), np.append(P, np.nan)
    assert scores.loss(impossible) == scores.min_k(impossible) == -np.inf
    assert np.isnan([scores.loss(nothing), scores.min_k(nothing), scores.ratio(nothing, np.append(P, -1))]).all()
    assert np.isnan(scores.min_k_plus_plus(np.column_stack([nothing, nothing * 0 - 1, nothing * 0 + 1])))
    assert np.isnan([scores.recall(P, np.zeros(10)), scores.recall(impossible, impossible)]).all()
    assert np.isnan(scores.ratio(impossible, impossible))


# The sample models ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cohort() -> MedsDataset:
    return MedsDataset(sample_data())


@pytest.fixture(scope="module")
def models() -> tuple[FolderModel, FolderModel]:
    return FolderModel(sample_model()), FolderModel(sample_reference())


@pytest.fixture(scope="module")
def people(cohort: MedsDataset, models: tuple[FolderModel, FolderModel]) -> People:
    chosen = choose_people(cohort, *models, most=44)
    few = [*chosen.of(MEMBER, NON_MEMBER), *chosen.of(CANARY)[:20], *chosen.of(NULL_CANARY)[:20]]
    return replace(chosen, records=tuple(few), groups={r.patient_id: chosen.group(r) for r in few})


@pytest.fixture(scope="module")
def memorizing(cohort: MedsDataset, models: tuple[FolderModel, FolderModel], people: People) -> Finding:
    return ask_alone("membership", models[0], cohort, reference=models[1], people=people)


def test_a_memorizing_model_is_found_by_every_score(memorizing: Finding) -> None:
    for group, n in (("all", 44), ("canaries", 40)):
        for name in (*SINGLE, "Ratio"):
            of = memorizing.estimate("auroc", group=group, attribute=name, model="audited" if name in SINGLE else "")
            assert of.low > 0.8 and of.n == n, (group, name)
    [headline] = memorizing.about("figures", figure="auroc", group="all", attribute="Ratio").to_dict("records")
    assert headline["verdict"] == "Memorized" and headline["p_adjusted"] < 1e-6
    assert headline["p_adjusted"] >= headline["p"]
    assert memorizing.sentences[0].startswith("Memorized: AUROC of Ratio 1.00")
    [control] = [said for said in memorizing.sentences if said.startswith("Positive control")]
    assert control.startswith("Positive control: the planted canaries are found (AUROC of Ratio 1.00")
    assert control.endswith("whether weaker memory would be found; the sample model `moderate` shows that.")


def test_the_reference_model_cannot_tell_those_it_never_saw(
    memorizing: Finding, cohort: MedsDataset, models: tuple[FolderModel, FolderModel], people: People
) -> None:
    control = memorizing.estimate("auroc", group="all", attribute="Loss", model="reference")
    assert control.low < 0.5 < control.high
    ordinary = people.of(MEMBER, NON_MEMBER)
    asked = replace(people, records=tuple(ordinary), groups={r.patient_id: people.group(r) for r in ordinary})
    alone = ask_alone("membership", models[1], cohort, people=asked)
    assert alone.estimate("auroc", attribute="Loss", group="all").value == pytest.approx(control.value)
    # Forty-four people cannot rule out an AUROC that would matter, and the verdict must not claim that they do.
    assert alone.sentences[0].startswith("Cannot conclude: AUROC of Loss")
    assert alone.sentences[0].endswith("more people would probably decide.")
    assert "There is no reference model" in alone.summary()


def test_what_gives_membership_away_is_the_labs_and_not_the_demographics(memorizing: Finding) -> None:
    kinds = memorizing.about("figures", figure="auroc_by_kind").set_index("attribute")
    assert kinds.loc["laboratory", "low"] > 0.8
    assert kinds.loc["demographic", "low"] < 0.6
    quarters = memorizing.about("figures", figure="auroc_by_quarter")
    assert sorted(quarters["attribute"]) == [f"quarter {i}" for i in (1, 2, 3, 4)]
    assert (quarters["low"] > 0.6).all() and quarters["p_adjusted"].notna().all()


def test_with_few_controls_no_share_found_is_given(memorizing: Finding) -> None:
    words = "22 non-members are too few to say how many members are found at {} % false alarms: {} are needed"
    for figure, rate, needed in (
        ("tpr_at_fpr_0.01", 1, "299"),
        ("tpr_at_fpr_0.001", 0.1, "2,995"),
        ("ppv_at_prior_0.01", 1, "299"),
    ):
        [one] = memorizing.about("figures", figure=figure, attribute="Ratio").to_dict("records")
        assert np.isnan([one["value"], one["low"], one["high"]]).all() and one["note"] == words.format(rate, needed)
    assert f"{words.format(1, 299)}." in memorizing.sentences
    assert not any(said.startswith(("At 1 % false alarms", "Where 1 %")) for said in memorizing.sentences)


def scored(rng: np.random.Generator, shifts: dict[str, float], n: int) -> list[dict[str, Any]]:
    """An answer a patient, n a group, its Loss normal around the group's shift."""
    return [
        {"patient": f"{group} {i}", "group": group, "scores": {"Loss": score}, "reference": {}, "parts": {}}
        for group, shift in shifts.items()
        for i, score in enumerate(rng.normal(shift, 1, n))
    ]


def test_with_enough_controls_the_share_found_and_the_ppv_of_each_prior_are_said() -> None:
    answers = scored(np.random.default_rng(0), {MEMBER: 2.0, NON_MEMBER: 0.0}, 700)
    rows, said = compare(answers, (0.01, 0.1), None)
    of = {r["figure"]: r for r in rows if r["figure"].startswith(("tpr", "ppv"))}
    tpr, rare, common = (of[name] for name in ("tpr_at_fpr_0.01", "ppv_at_prior_0.01", "ppv_at_prior_0.1"))
    assert tpr["low"] < stats.norm.sf(stats.norm.isf(0.01) - 2) < tpr["high"] and not tpr["note"]
    for end in ("value", "low", "high"):
        assert rare[end] == pytest.approx(0.01 * tpr[end] / (0.01 * tpr[end] + 0.99 * 0.01))
        assert rare[end] < common[end]
    assert any(one.startswith("At 1 % false alarms Loss finds a share of 0.") for one in said)
    assert any(one.startswith("700 non-members are too few to say how many members are found at 0.1 %") for one in said)


@pytest.mark.parametrize(
    ("shift", "ends"), [(9.0, "`moderate` shows that."), (1.5, ", n = 80))."), (0.0, "means little.")]
)
def test_a_positive_control_says_when_it_is_too_easy(shift: float, ends: str) -> None:
    groups = {MEMBER: 1.0, NON_MEMBER: 0.0, CANARY: shift, NULL_CANARY: 0.0}
    said = compare(scored(np.random.default_rng(1), groups, 40), (0.1,), None)[1]
    [control] = [one for one in said if one.startswith("Positive control")]
    assert control.endswith(ends)


def test_scores_depend_neither_on_order_nor_on_who_else_is_asked(
    memorizing: Finding, cohort: MedsDataset, models: tuple[FolderModel, FolderModel], people: People
) -> None:
    few = [*people.of(MEMBER)[:8], *people.of(NON_MEMBER)[:8]]
    found = []
    for order in (few, few[::-1]):
        asked = replace(people, records=tuple(order), groups={r.patient_id: people.group(r) for r in few})
        rows = ask_alone("membership", models[0], cohort, reference=models[1], people=asked).about(
            "patients", figure="score"
        )
        found.append(rows.set_index(["patient", "attribute"])["value"].sort_index())
    pd.testing.assert_series_equal(found[0], found[1], atol=1e-4)
    before = memorizing.about("patients", figure="score").set_index(["patient", "attribute"])["value"]
    for name in ("Loss", "Min-K%", "Min-K%++", "Ratio"):
        one = found[0].xs(name, level="attribute")
        np.testing.assert_allclose(before.xs(name, level="attribute")[one.index], one, atol=1e-4)


def test_a_confounding_that_tells_members_apart_as_well_forbids_a_conclusion() -> None:
    answers = scored(np.random.default_rng(0), {MEMBER: 3.0, NON_MEMBER: 0.0}, 40)

    def with_confounding(free: Estimate, p: float = 0.01) -> str:
        apart = Judgement(Verdict.CANNOT_CONCLUDE, TOLD_APART, "they can be told apart (AUROC {free})", {"free": free})
        free_row = row("model_free_auroc", free, group="all", p=p, judgement=apart if p <= 0.05 else None)
        confounding = finding("confounding", [free_row], {}, ())
        return compare(answers, (0.1,), confounding)[1][0]

    said = with_confounding(Estimate(0.99, 0.97, 1.0, 80))
    assert said.startswith("Cannot conclude: AUROC of Loss 0.98")
    assert "stands out, but they can be told apart (AUROC 0.99" in said
    assert with_confounding(Estimate(0.6, 0.52, 0.7, 80)).startswith("Memorized")
    assert with_confounding(Estimate(0.6, 0.4, 1.0, 80), p=0.2).startswith("Memorized")  # it may tell nobody apart
    other = compare(answers, (0.1,), finding("confounding", [], {}, ()))[1]
    assert other[0].startswith("Memorized") and "No confounding check" not in " ".join(other)


# Chains ---------------------------------------------------------------------------------------------------------------

CODES = tuple(f"CODE//{i}" for i in range(6))
VOCABULARY = Vocabulary(("[BOS]", "[EOS]", "TIME//1", *CODES), start="[BOS]", stops=frozenset({"[EOS]"}), pad=None)


def chain(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(len(VOCABULARY)), len(VOCABULARY))


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., MedsDataset]:
    """A data set of people who are all alike: members, non-members and some codes each."""
    monkeypatch.setenv("EHRMEM_PSEUDONYM_KEY", str(tmp_path / "pseudonym.key"))

    def make(members: int, non_members: int, lengths: Sequence[int] = range(5, 15), name: str = "data") -> MedsDataset:
        rng = np.random.default_rng(3)
        rows, splits = [], {}
        for patient in range(members + non_members):
            splits[patient] = "train" if patient < members else "held_out"
            for day in range(int(rng.choice(lengths))):
                rows.append((patient, at("2020-01-01") + timedelta(days=day), str(rng.choice(CODES)), None))
        return MedsDataset(write(tmp_path / name, {"0.parquet": rows}, splits=splits))

    return make


class _Nothing(MarkovChain):
    """A chain whose answer about a record with CODE//5 is not a number."""

    def score(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        spoilt = VOCABULARY.id("CODE//5")
        found = super().score(sequences)
        return [s * np.nan if spoilt in ids else s for s, ids in zip(found, sequences, strict=True)]


class _Silent(MarkovChain):
    """A chain that only gives samples."""

    answers = frozenset({Query.SAMPLE})


class _Embeds(MarkovChain):
    """A chain that gives neither."""

    answers = frozenset({Query.EMBEDDINGS})


class _ScoresOnly(MarkovChain):
    """A chain that scores given codes but does not show whole distributions, as most servers."""

    answers = frozenset({Query.SAMPLE, Query.SCORES})

    def score_moments(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        raise AssertionError("never asked")


no_warnings = pytest.mark.filterwarnings("error::RuntimeWarning")


@no_warnings
def test_a_model_that_knows_nobody_is_not_accused(made: Callable[..., MedsDataset]) -> None:
    data = made(100, 120)
    found = ask_alone(
        "membership",
        MarkovChain(chain(), VOCABULARY),
        data,
        reference=MarkovChain(chain(1), VOCABULARY),
        patients=data.ids()[:200],
    )
    aurocs = found.about("figures", figure="auroc", group="all")
    assert len(aurocs) == 7 and ((aurocs["low"] <= 0.5) & (aurocs["high"] >= 0.5)).all()
    assert found.sentences[0].startswith("Cannot conclude")  # nothing was planted to show that this test finds anything
    assert "nothing was planted" in found.sentences[0]
    assert found.exclusions == {}


@no_warnings
def test_a_score_is_worked_out_from_the_chain_itself(made: Callable[..., MedsDataset]) -> None:
    data, transitions = made(20, 20), chain()
    found = ask_alone(
        "membership",
        MarkovChain(transitions, VOCABULARY),
        data,
        reference=MarkovChain(chain(1), VOCABULARY),
        patients=range(38),
    )
    record = data.record(4)
    ids = VOCABULARY.ids(["[BOS]", *[c for e in record.events for c in (e.code, "TIME//1")][:-1], "[EOS]"])
    log_p, other = np.log(transitions[ids[:-1], ids[1:]]), np.log(chain(1)[ids[:-1], ids[1:]])
    mine = found.about("patients", patient=record.pseudonym).set_index("attribute")["value"]
    assert mine["Loss"] == pytest.approx(log_p.mean(), abs=1e-8)
    assert mine["Ratio"] == pytest.approx(log_p.mean() - other.mean(), abs=1e-8)
    assert mine["ReCaLL"] == pytest.approx(1)  # a chain does not look back


@no_warnings
def test_who_gives_no_number_is_left_out_and_counted(made: Callable[..., MedsDataset]) -> None:
    data = made(60, 60)
    found = ask_alone("membership", _Nothing(chain(), VOCABULARY), data, patients=range(110))
    reason = "no Loss, Min-K%, Min-K%++, ReCaLL: what was answered makes no number"
    n = found.exclusions[reason]
    held = {r.pseudonym for r in data.records(range(110)) if any(e.code == "CODE//5" for e in r.events)}
    assert 20 < n < 110 and set(found.about("excluded", words=reason)["patient"]) == held
    # The strangers' prefix holds the code too, so nobody has a ReCaLL.
    assert found.exclusions["no ReCaLL: what was answered makes no number"] == 110 - n
    assert found.estimate("auroc", attribute="Loss").n == 110 - n

    both = ask_alone(
        "membership",
        MarkovChain(chain(), VOCABULARY),
        data,
        reference=_Nothing(chain(), VOCABULARY),
        patients=range(110),
    )
    assert both.exclusions == {"no Ratio: what was answered makes no number": n}
    assert both.estimate("auroc", attribute="Loss", model="audited").n == 110


@no_warnings
def test_a_model_without_any_number_or_probability_concludes_nothing(made: Callable[..., MedsDataset]) -> None:
    data = made(25, 30, lengths=[40])  # all of them hold CODE//5
    nothing = ask_alone("membership", _Nothing(chain(), VOCABULARY), data)
    assert nothing.sentences[0] == "Cannot conclude: no record could be scored."
    assert len(nothing.about("excluded")) == 55
    embeds = ask_alone("membership", _Embeds(chain(), VOCABULARY), data)
    assert embeds.sentences == (
        "Cannot conclude: the black box gives neither probabilities nor continuations, and every membership score needs one of them.",
    )
    without = ask_alone("membership", MarkovChain(chain(), VOCABULARY), data, reference=_Silent(chain(), VOCABULARY))
    assert "The reference model gives no probabilities" in without.summary()
    assert without.about("figures", attribute="Ratio").empty


@no_warnings
@pytest.mark.parametrize(("members", "non_members"), [(40, 0), (0, 40), (5, 30), (30, 5)])
def test_one_sided_or_small_sets_conclude_nothing(
    made: Callable[..., MedsDataset], members: int, non_members: int
) -> None:
    found = ask_alone("membership", MarkovChain(chain(), VOCABULARY), made(members, non_members))
    assert found.sentences[0] == (
        f"Cannot conclude: there are {members} members and {non_members} non-members to compare; "
        "at least 19 of each are needed."
    )


@no_warnings
def test_a_model_that_says_the_same_of_everyone_concludes_nothing(made: Callable[..., MedsDataset]) -> None:
    uniform = np.full((len(VOCABULARY), len(VOCABULARY)), 1 / len(VOCABULARY))
    found = ask_alone("membership", MarkovChain(uniform, VOCABULARY), made(30, 30))
    assert found.sentences[0] == (
        "Cannot conclude: every record has the same Loss, so nobody can be told from anybody."
    )
    assert found.estimate("auroc", attribute="Loss").value == 0.5


@no_warnings
def test_an_impossible_code_counts_as_one_of_all_codes(made: Callable[..., MedsDataset]) -> None:
    transitions = chain()
    transitions[:, VOCABULARY.id("CODE//5")] = 0
    transitions /= transitions.sum(axis=1, keepdims=True)
    model, data = MarkovChain(transitions, VOCABULARY), made(30, 40)
    found = ask_alone("membership", model, data, patients=range(65))
    losses = found.about("patients", attribute="Loss").set_index("patient")["value"]
    raw = {
        one.pseudonym: model.score([encode(one, VOCABULARY).ids(VOCABULARY)])[0]
        for one in data.records(list(range(65)))
    }
    assert np.isneginf(np.concatenate(list(raw.values()))).any()
    for patient, said in raw.items():
        by_hand = np.where(np.isneginf(said), -np.log(len(VOCABULARY)), said).mean()
        assert losses[patient] == pytest.approx(by_hand, abs=1e-6)
    assert len(losses) == 65 and not found.exclusions


@no_warnings
def test_a_record_of_one_code_is_left_out(made: Callable[..., MedsDataset]) -> None:
    plain = Vocabulary(("TIME//1", *CODES), start=None, stops=frozenset(), pad=None)
    uneven = np.random.default_rng(0).dirichlet(np.ones(7), 7)
    found = ask_alone("membership", MarkovChain(uneven, plain), made(40, 40, lengths=[1, 3, 4]))
    [(reason, n)] = found.exclusions.items()
    assert reason == "no score: the record has fewer than two codes that the model knows"
    assert 10 < n < 50 and found.estimate("auroc", attribute="Loss").n == 80 - n


@pytest.mark.parametrize("context", [2, 3, 12, 13])
def test_longer_records_than_the_context_are_scored_in_windows_and_counted(
    context: int, made: Callable[..., MedsDataset]
) -> None:
    data = made(20, 24)
    whole = ask_alone("membership", MarkovChain(chain(), VOCABULARY), data, patients=range(40))
    model = MarkovChain(chain(), VOCABULARY)
    model.context_length = context
    found = ask_alone("membership", model, data, patients=range(40))
    assert "records are longer than what a model can read at once" in found.sentences[-2] + found.sentences[-1]
    of = [f.about("patients", attribute="Loss").set_index("patient") for f in (whole, found)]
    assert of[0]["value"].to_numpy() == pytest.approx(of[1]["value"].to_numpy(), abs=1e-8)  # a chain needs no history
    assert (of[0]["n"] == of[1]["n"]).all()


def test_each_code_of_a_long_record_stands_after_half_a_context() -> None:
    def ask(sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        assert all(len(s) <= 10 for s in sequences)
        return [np.array([[s[i + 1], i + 1] for i in range(len(s) - 1)], dtype=float).reshape(-1, 2) for s in sequences]

    sequences = [list(range(n)) for n in (1, 2, 9, 10, 11, 14, 15, 16, 37)]
    for sequence, found in zip(sequences, in_windows(ask, sequences, 10), strict=True):
        assert found[:, 0].tolist() == sequence[1:]  # every code after the first, once, in order
        assert (found[10:, 1] >= 5).all() and (found[:9, 1] == np.arange(1, len(found[:9]) + 1)).all()


def test_a_broken_run_is_taken_up_again(made: Callable[..., MedsDataset], tmp_path: Path) -> None:
    data, model, kept = made(70, 70), MarkovChain(chain(), VOCABULARY), tmp_path / "kept"

    def stop(progress: object) -> None:
        if getattr(progress, "done", 0):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ask_alone("membership", model, data, patients=range(130), checkpoint=kept, progress=stop)
    again = ask_alone("membership", model, data, patients=range(130), checkpoint=kept)
    same(again, ask_alone("membership", model, data, patients=range(130)))


def test_a_prior_that_is_no_share_is_refused(made: Callable[..., MedsDataset]) -> None:
    with pytest.raises(BadInput, match=r"each of priors must be a number above 0 and below 1, such as 0.1; got 1.5"):
        ask_alone("membership", MarkovChain(chain(), VOCABULARY), made(2, 2), priors=[1.5])


def test_a_server_that_only_scores_given_codes_is_audited_without_min_k_plus_plus(
    made: Callable[..., MedsDataset],
) -> None:
    data = made(30, 30)
    found, whole = (
        ask_alone(
            "membership",
            kind(chain(), VOCABULARY),
            data,
            reference=MarkovChain(chain(1), VOCABULARY),
            patients=data.ids(),
        )
        for kind in (_ScoresOnly, MarkovChain)
    )
    assert set(whole.about("patients")["attribute"]) - set(found.about("patients")["attribute"]) == {"Min-K%++"}
    assert any("Min-K%++ was not run" in sentence for sentence in found.sentences)
    same = found.about("patients", attribute="Ratio")["value"].to_numpy()
    assert same == pytest.approx(whole.about("patients", attribute="Ratio")["value"].to_numpy())


# Samples alone (SaMIA) ----------------------------------------------------------------------------------------------------


def test_samples_of_a_chain_that_knows_nobody_tell_nothing(made: Callable[..., MedsDataset]) -> None:
    data = made(60, 60, lengths=range(2, 15))
    scorer = SampledScorer((_Silent(chain(), VOCABULARY),))
    rows = pd.DataFrame(scorer.ask(data.records(data.ids())))
    scores = np.array([one.get("SaMIA", np.nan) for one in rows["scores"]])
    assert scores.min() >= 0 and 0.01 < scores.max() <= 1
    found = auroc(scores[:60], scores[60:])
    assert found.low < 0.5 < found.high


def test_a_record_that_cannot_be_cut_in_two_has_no_score_by_samples(made: Callable[..., MedsDataset]) -> None:
    plain = Vocabulary(("TIME//1", *CODES), start=None, stops=frozenset(), pad=None)
    uneven = np.random.default_rng(0).dirichlet(np.ones(7), 7)
    found = ask_alone("membership", _Silent(uneven, plain), made(40, 40, lengths=[1, 3, 4]))
    [(reason, n)] = found.exclusions.items()
    assert reason == "no SaMIA: the record is too short to be cut in two"
    assert 10 < n < 50 and found.estimate("auroc", attribute="SaMIA").n == 80 - n


def test_the_same_seed_draws_the_same_whatever_is_asked_beside(made: Callable[..., MedsDataset]) -> None:
    data = made(10, 10, lengths=[9])
    scorer = SampledScorer((_Silent(chain(), VOCABULARY),), seed=3)
    records: list[Record] = data.records(data.ids())
    assert scorer.ask(records)[:4] == scorer.ask(records[:4])
    assert replace(scorer, seed=4).ask(records) != scorer.ask(records)
