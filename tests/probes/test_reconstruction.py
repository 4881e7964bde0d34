"""Reconstruction over a cohort: a black box that knows one record by heart, one that knows nothing, and the sample models."""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pandas as pd
import pytest

from ehrmem_widgets.attacker.facts import facts_of_level
from ehrmem_widgets.attacker.prompt import build_prompt
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.code_holders import code_holders
from ehrmem_widgets.probes.needs import AtHand
from ehrmem_widgets.probes.people import People, choose_people
from ehrmem_widgets.probes.reconstruction import recited
from ehrmem_widgets.probes.reconstruction.ask import NO_ROOM, NOTHING_LEFT, ONE_CODE, _excesses, _recitable
from ehrmem_widgets.probes.reconstruction.recited import Asked
from ehrmem_widgets.probes.truth import true_continuation
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from ehrmem_widgets.statistics.verdicts import Verdict
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.probes.alone import ask_alone

EACH = 20
CODES = ("[BOS]", "[EOS]", "fever", "measles", "rash", "recovery")
VOCABULARY = Vocabulary(CODES, start="[BOS]", stops=frozenset({"[EOS]"}), pad=None)
KNOWN_BY_HEART = ["fever", "rash", "measles", "recovery"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> MedsDataset:
    """Members who all hold one sequence, non-members who hold it backwards, and one member with a single code."""
    root: Path = tmp_path_factory.mktemp("meds")
    records = {i: KNOWN_BY_HEART for i in range(EACH)} | {i: KNOWN_BY_HEART[::-1] for i in range(EACH, 2 * EACH)}
    records[99] = ["fever"]
    rows = [(i, datetime(2020, 1, 1), code, None) for i, codes in records.items() for code in codes]
    (root / "data").mkdir()
    (root / "metadata").mkdir()
    table = pd.DataFrame(rows, columns=["subject_id", "time", "code", "numeric_value"])
    table.astype({"numeric_value": "float32"}).to_parquet(root / "data" / "0.parquet")
    splits = [(i, "held_out" if EACH <= i < 2 * EACH else "train") for i in records]
    pd.DataFrame(splits, columns=["subject_id", "split"]).to_parquet(root / "metadata" / "subject_splits.parquet")
    return MedsDataset(root)


def by_heart() -> MarkovChain:
    path = [VOCABULARY.id(code) for code in ("[BOS]", *KNOWN_BY_HEART, "[EOS]", "[EOS]")]
    transitions = np.zeros((len(CODES), len(CODES)))
    transitions[path[:-1], path[1:]] = 1
    return MarkovChain(transitions, VOCABULARY)


def ignorant() -> MarkovChain:
    transitions = np.zeros((len(CODES), len(CODES)))
    transitions[:, 2:] = 1 / 4
    return MarkovChain(transitions, VOCABULARY)


def test_what_is_known_by_heart_comes_back_and_is_called_memorized(dataset: MedsDataset) -> None:
    found = ask_alone(
        "reconstruction", by_heart(), dataset, reference=ignorant(), knowledge_levels=("nothing", "first_2"), samples=4
    )
    for knowledge in ("nothing", "first_2"):
        for figure in ("demd", "timed_distance"):
            assert found.estimate(figure, knowledge=knowledge, group="member", model="audited").value == 0
        # backwards: what the published distance cannot see, the timed one does
        assert found.estimate("timed_distance", knowledge=knowledge, group="non-member", model="audited").low > 0.1
        gap = found.about("figures", figure="timed_distance_gap", knowledge=knowledge).iloc[0]
        assert gap["verdict"] == Verdict.MEMORIZED and gap["low"] > 0 and gap["p"] <= gap["p_adjusted"] < 0.001
        assert gap["n"] == 2 * EACH
    assert found.estimate("demd", knowledge="nothing", group="non-member", model="audited").value == 0
    patient = found.about("patients", figure="timed_distance", knowledge="nothing", model="reference").iloc[0]
    assert patient["n"] == 4 and patient["low"] <= patient["value"] <= patient["high"] and patient["value"] > 0
    assert found.exclusions == {ONE_CODE.words: 1}
    assert found.sentences[0].startswith("Memorized") and "cannot see a shift" in " ".join(found.sentences)


def test_a_model_that_knows_nothing_is_never_called_memorized(dataset: MedsDataset) -> None:
    found = ask_alone(
        "reconstruction", ignorant(), dataset, reference=ignorant(), knowledge_levels=("nothing", "first_1"), samples=3
    )
    verdicts = set(found.about("figures")["verdict"])
    assert (
        verdicts <= {"", str(Verdict.POPULATION), str(Verdict.CANNOT_CONCLUDE)} and str(Verdict.POPULATION) in verdicts
    )
    excess = found.about("figures", figure="timed_distance_excess")
    assert (excess["value"] == 0).all()  # the same model twice, with common random numbers


def test_without_a_reference_people_never_seen_are_the_control(dataset: MedsDataset) -> None:
    """Members .08 and people never seen .77 is an answer (once: "cannot conclude")."""
    found = ask_alone("reconstruction", by_heart(), dataset, knowledge_levels=("nothing", "first_2"), samples=4)
    for knowledge in ("nothing", "first_2"):
        nearer = found.about("figures", figure="timed_distance_difference", knowledge=knowledge).iloc[0]
        assert nearer["verdict"] == Verdict.MEMORIZED and nearer["low"] > 0 and nearer["p_adjusted"] < 0.001
        member, other = (
            found.estimate("timed_distance", knowledge=knowledge, group=group, model="audited").value
            for group in ("member", "non-member")
        )
        assert nearer["value"] == pytest.approx(other - member)
    assert "no reference model" in found.sentences[0] and "Memorized" in found.sentences[1]
    assert not found.about("figures")["figure"].str.contains("_gap|_excess").any()
    alone = ask_alone("reconstruction", ignorant(), dataset, knowledge_levels=("nothing", "first_1"), samples=3)
    assert str(Verdict.MEMORIZED) not in set(alone.about("figures")["verdict"])


def test_whoever_cannot_be_asked_is_counted_with_the_reason(dataset: MedsDataset) -> None:
    model = by_heart()
    model.context_length = 4
    patients = [0, 1, 99]
    found = ask_alone(
        "reconstruction",
        model,
        dataset,
        patients=patients,
        knowledge_levels=("first_2", "first_3", "first_4"),
        samples=2,
    )
    excluded = found.about("excluded")
    # a prompt is [BOS] and the facts; where it fills the context, nothing can be asked, whatever is left
    assert dict(excluded.groupby(["knowledge", "reason"])["patient"].nunique()) == {
        ("first_2", ONE_CODE.code): 1,
        ("first_3", ONE_CODE.code): 1,
        ("first_4", ONE_CODE.code): 1,
        ("first_3", NO_ROOM.code): 2,
        ("first_4", NO_ROOM.code): 2,
    }
    model.context_length = 100
    assert ask_alone(
        "reconstruction", model, dataset, patients=[0], knowledge_levels=("first_4",), samples=2
    ).exclusions == {f"{NOTHING_LEFT.words}, at first_4": 1}


def test_settings_that_make_no_sense_are_refused(dataset: MedsDataset) -> None:
    for wrong, said in (
        ({"samples": 1}, "a whole number from 2"),
        ({"horizon": 0}, "a whole number from 1"),
        ({"knowledge_levels": ()}, "a list of at least one"),
    ):
        with pytest.raises(BadInput, match=said):
            ask_alone("reconstruction", by_heart(), dataset, patients=[0], **wrong)  # type: ignore[arg-type]


def test_the_samples_give_the_same_figures_whoever_else_is_asked(tmp_path: Path) -> None:
    data, model, reference = MedsDataset(sample_data()), FolderModel(sample_model()), FolderModel(sample_reference())
    few = choose_people(data, model, reference, most=2, canaries=False)
    ids = [record.patient_id for record in few.records]

    def asked(patients: list[int], **more: object) -> pd.DataFrame:
        found = ask_alone(
            "reconstruction",
            model,
            data,
            reference=reference,
            patients=patients,
            knowledge_levels=("lab_dates", "first_20"),
            samples=2,
            horizon=16,
            **more,
        )  # type: ignore[arg-type]
        return found.about("patients").reset_index(drop=True)

    everyone, first = asked(ids, checkpoint=tmp_path / "kept"), asked(ids[:1])
    assert asked(ids, checkpoint=tmp_path / "kept").equals(everyone)  # resumed
    mine = everyone[everyone["patient"] == first["patient"][0]].reset_index(drop=True)
    keys = ["knowledge", "model", "figure"]
    together = mine.set_index(keys)["value"].sort_index(), first.set_index(keys)["value"].sort_index()
    assert together[0].to_numpy() == pytest.approx(together[1].to_numpy(), abs=1e-6)
    assert set(everyone["model"]) == {"audited", "reference"} and (everyone["value"] >= 0).all()


def test_rare_and_routine_codes_are_counted_with_their_value_bins() -> None:
    data, model = MedsDataset(sample_data()), FolderModel(sample_model())
    holders = code_holders(data, model.vocabulary, "train")
    counted: dict[str, int] = {}
    for record in data.records(data.ids("train")):
        for code in {model.vocabulary.code_of(event) for event in record.events}:
            counted[code] = counted.get(code, 0) + 1
    assert holders.by_code == {code: n for code, n in counted.items() if code in model.vocabulary}
    assert holders.patients == 1100 and holders.rare(0.02) == {c for c, n in holders.by_code.items() if n <= 22}
    routine = holders.routine(0.5, model.vocabulary)
    assert "LAB//8480-6//mm[Hg]//3" in routine and "DIAGNOSIS//ICD//10//I10" not in routine


def test_the_truth_is_what_follows_the_last_known_event() -> None:
    data, model = MedsDataset(sample_data()), FolderModel(sample_model())
    record, vocabulary = data.record(data.ids("train")[0]), model.vocabulary
    for knowledge, first in (
        ("nothing", "AGE//86"),
        ("demographics", "ENCOUNTER//OUTPATIENT"),
        ("first_5", "TIME//20-40"),
    ):
        prompt = build_prompt(record, facts_of_level(knowledge, record, vocabulary), vocabulary)
        truth = true_continuation(record, prompt, vocabulary, 100).codes
        assert truth[0] == first and truth[-1] == "[EOS]"
        assert len(true_continuation(record, prompt, vocabulary, 7).codes) == 7


def test_who_is_recited_word_for_word_is_counted(dataset: MedsDataset) -> None:
    found = ask_alone(
        "reconstruction", by_heart(), dataset, reference=ignorant(), knowledge_levels=("nothing",), samples=2, horizon=4
    )
    bounds = found.about("patients", figure="within_0")
    assert sorted(bounds["value"]) == [0] * EACH + [1] * EACH and (bounds["high"] == 1).all()
    for figure in ("people_within_0", "people_within_1"):
        assert found.estimate(figure, group="member").value == 1
        assert found.estimate(figure, group="non-member").value == 0
        gap = found.about("figures", figure=f"{figure}_difference").iloc[0]
        assert gap["verdict"] == Verdict.MEMORIZED and gap["p_adjusted"] < 1e-6 and gap["n"] == 2 * EACH
    assert not found.about("figures")["figure"].str.contains("within_[25]").any()  # of four codes
    words = (
        "within 1 edit at least once in 1,000 answers, if not of more: 1.00 (0.84 to 1.00, n = 20) of members and 0.00"
    )
    assert words in " ".join(found.sentences) and "Memorized in 2 of 2 comparisons of people" in found.sentences[-1]
    # people never seen hold the same codes of one moment, in another order: an order set
    assert found.estimate("recited", group="member", model="audited").value == 1
    assert found.estimate("recited_net", group="member", model="audited").value == 0


def test_what_people_never_seen_hold_as_well_is_not_counted_net(dataset: MedsDataset) -> None:
    """A model that recites people whom it never saw, who all hold the very same."""
    model = by_heart()
    model.training_split = "held_out"
    found = ask_alone("reconstruction", model, dataset, patients=range(EACH), knowledge_levels=("nothing",), samples=2)
    where = {"group": "non-member", "model": "audited"}
    of = {name: found.estimate(name, **where).value for name in ("recited", "recited_net", "template_share")}
    assert of == {"recited": 1, "recited_net": 0, "template_share": 1}


def test_a_bound_from_below_clears_members_only_where_it_finds_the_canaries() -> None:
    counts = {"member": 100, "non-member": 100, "canary": 20, "canary never trained": 20}
    groups = {f"{group} {i}": group for group, n in counts.items() for i in range(n)}
    people = cast(People, SimpleNamespace(group_of_pseudonym=groups, counts=lambda: counts))
    asked = Asked.within(64)

    def verdicts(trained: Container[str]) -> set[str]:
        bounds = {patient: float(group in trained) for patient, group in groups.items()}
        measured = {(f"within_{edits}", "nothing", "audited"): bounds for edits in asked.edits}
        rows = _excesses(measured, people, ["nothing"], None, asked)
        return {one["reason"] for one in rows if one.get("verdict")}

    assert verdicts(("canary",)) == {"within_margin"}
    assert verdicts(()) == {"control_missed"}
    del counts["canary"]
    groups = {patient: group for patient, group in groups.items() if group != "canary"}
    people = cast(People, SimpleNamespace(group_of_pseudonym=groups, counts=lambda: counts))
    assert verdicts(()) == {"nothing_planted"} and verdicts(("member",)) == {"more_for_members"}


def test_too_few_people_are_said_with_how_many_are_needed(dataset: MedsDataset) -> None:
    patients = [*range(5), *range(EACH, EACH + 5)]
    found = ask_alone(
        "reconstruction", by_heart(), dataset, patients=patients, knowledge_levels=("nothing",), samples=2, horizon=4
    )
    notes = found.about("figures").query("figure.str.startswith('people_within_') and verdict != ''")["note"]
    few = "there are 5 members and 5 non-members to compare; at least 19 of each are needed."
    assert len(notes) == 2 and set(notes) == {few}
    assert "19 people never seen are needed to learn them from, and there are 18" in next(
        recited.said([], Asked.within(4), 18)
    )


def test_what_a_model_does_not_tell_is_said_before_it_is_asked(dataset: MedsDataset) -> None:
    def lacks(*answers: Query) -> str:
        model = by_heart()
        model.answers = frozenset(answers)
        lack = _recitable(AtHand(dataset, model))
        return lack.words if lack else ""

    assert lacks(*Query) == ""
    assert "only word for word and not within edits" in lacks(Query.SAMPLE, Query.SCORES)
    assert "not at all: it gives no log-probabilities" in lacks(Query.SAMPLE)
