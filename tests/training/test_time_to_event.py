"""A small time-to-event model learns and remembers its members, one trained for a moment does not, and every probe can be asked of both."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import mannwhitneyu

import ehrmem_widgets as em
from ehrmem_widgets.attacker.facts import facts_of_level
from ehrmem_widgets.blackbox.checks import check_codes_in_place, check_looks_back_only, check_scores_alone
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.exploration import Exploration, State
from ehrmem_widgets.probes.people import People, choose_people
from ehrmem_widgets.samples.folders import sample_data
from ehrmem_widgets.tokens.moments import ids_of, with_ids
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.training.models import train_model

ORDINARY, TRAINED, NEVER = 24, 12, 12


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> MedsDataset:
    """Part of the sample cohort: few members (among them canaries), as many never seen, and those for a reference."""
    folder = tmp_path_factory.mktemp("small") / "cohort"
    shutil.copytree(sample_data(), folder)
    truth = pq.read_table(folder / "ground_truth.parquet").to_pandas().set_index("subject_id")
    splits = pq.read_table(folder / "metadata" / "subject_splits.parquet").to_pandas().set_index("subject_id")["split"]
    canary = truth["canary"].reindex(splits.index).fillna(False).astype(bool)
    often = truth["repetitions"].reindex(splits.index).fillna(0)
    chosen = {
        "train": [*splits.index[(splits == "train") & ~canary][:ORDINARY], *splits.index[canary & (often == 16)][:TRAINED]],
        "held_out": [
            *splits.index[(splits == "held_out") & ~canary][:ORDINARY],
            *splits.index[canary & (often == 0) & (splits == "held_out")][:NEVER],
        ],
        "reference": [*splits.index[splits == "reference"][:40]],
    }  # fmt: skip
    rows = [(int(patient), split) for split, patients in chosen.items() for patient in patients]
    table = pa.table({"subject_id": [one for one, _ in rows], "split": [split for _, split in rows]})
    pq.write_table(table, folder / "metadata" / "subject_splits.parquet")
    kept = truth.loc[truth.index.isin([one for one, _ in rows])].reset_index()
    pq.write_table(pa.Table.from_pandas(kept, preserve_index=False), folder / "ground_truth.parquet")
    return MedsDataset(folder)


@pytest.fixture(scope="module")
def models(cohort: MedsDataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, FolderModel]:
    """By how long they were trained; the reference saw other people."""
    folder, small = (
        tmp_path_factory.mktemp("models"),
        {"width": 48, "layers": 2, "context": 128, "report": lambda _: None},
    )
    train_model(cohort, folder / "long", epochs=150, time_to_event=True, **small)
    vocabulary = FolderModel(folder / "long").vocabulary
    train_model(cohort, folder / "short", epochs=2, time_to_event=True, vocabulary=vocabulary, **small)
    train_model(
        cohort, folder / "reference", split="reference", epochs=12, time_to_event=True, vocabulary=vocabulary, **small
    )
    return {name: FolderModel(folder / name) for name in ("long", "short", "reference")}


@pytest.fixture(scope="module")
def people(cohort: MedsDataset, models: dict[str, FolderModel]) -> People:
    return choose_people(cohort, models["long"], models["reference"], most=2 * ORDINARY)


def losses(model: FolderModel, cohort: MedsDataset, split: str) -> np.ndarray:
    records = cohort.records(cohort.ids(split))
    return np.array(
        [scores.mean() for scores in model.score([encode(r, model.vocabulary).ids(model.vocabulary) for r in records])]
    )


def test_it_is_a_model_that_tells_time(models: dict[str, FolderModel], cohort: MedsDataset) -> None:
    vocabulary = models["long"].vocabulary
    assert (
        vocabulary.timed
        and vocabulary.end is None
        and not any(code.startswith(("AGE//", "TIME//")) for code in vocabulary.codes)
    )
    assert models["long"].training["split"] == "train"
    sequences = [encode(r, vocabulary).ids(vocabulary) for r in cohort.records(cohort.ids("train")[:8])]
    assert (
        check_looks_back_only(models["long"], sequences) < 1e-2 and check_scores_alone(models["long"], sequences) < 1e-2
    )


def test_trained_long_it_remembers_and_trained_for_a_moment_it_does_not(
    models: dict[str, FolderModel], cohort: MedsDataset
) -> None:
    def auroc(name: str) -> float:
        seen, never = (losses(models[name], cohort, split) for split in ("train", "held_out"))
        return float(mannwhitneyu(seen, never).statistic) / (len(seen) * len(never))

    assert auroc("long") > 0.9 and 0.3 < auroc("short") < 0.72


def test_the_same_seed_makes_the_same_weights_and_another_kind_of_vocabulary_is_refused(
    cohort: MedsDataset, models: dict[str, FolderModel], tmp_path: Path
) -> None:
    small = {"width": 48, "layers": 2, "context": 128, "report": lambda _: None}
    vocabulary = models["long"].vocabulary
    train_model(cohort, tmp_path / "again", epochs=2, time_to_event=True, vocabulary=vocabulary, **small)
    again = FolderModel(tmp_path / "again")
    assert again.fingerprint == models["short"].fingerprint
    with pytest.raises(BadInput, match="told ages"):
        train_model(cohort, tmp_path / "llama", epochs=1, vocabulary=vocabulary, **small)


def test_a_list_of_codes_in_another_order_is_refused(models: dict[str, FolderModel], cohort: MedsDataset) -> None:
    """The ages stay where they are; only the codes swap ids."""
    model = models["long"]
    sequences = [encode(r, model.vocabulary).ids(model.vocabulary) for r in cohort.records(cohort.ids("train"))]
    check_codes_in_place(model, sequences)
    ids = np.random.default_rng(2).permutation(len(model.vocabulary))
    with pytest.raises(BadInput, match="does not fit the model"):
        check_codes_in_place(model, [with_ids(s, ids[ids_of(s)].tolist()) for s in sequences])


def test_the_minutes_are_kept(cohort: MedsDataset, tmp_path: Path) -> None:
    train_model(
        cohort, tmp_path / "m", epochs=None, minutes=0.05, time_to_event=True, width=16, layers=1, report=lambda _: None
    )
    assert FolderModel(tmp_path / "m").vocabulary.timed


def state_of(cohort: MedsDataset, model: FolderModel, exploration: Exploration, **given: object) -> State:
    """Somebody who holds an attribute, known by the first codes."""
    names = exploration.attributes.default_names()
    record = next(r for r in cohort.records(cohort.ids("train")) if exploration.attributes.held(names[0], r))
    facts = facts_of_level("first_4", record, model.vocabulary)
    return State(record.patient_id, facts, "first_4", **({"attributes": names[:2], "focus": names[0]} | given))


@pytest.mark.parametrize("reference", [True, False])
def test_the_main_screen_is_answered_in_days(
    cohort: MedsDataset, models: dict[str, FolderModel], reference: bool
) -> None:
    exploration = Exploration(cohort, models["long"], models["reference"] if reference else None)
    state = state_of(cohort, models["long"], exploration, horizon=3650, samples=64)
    *_, answer = exploration.answers(state)
    assert answer is not None and answer.settled and answer.unit == "day" and answer.horizon == 3650
    assert answer.curve is not None and answer.curve.horizons[-1] == 3650
    assert [finding.judgement is not None for finding in answer.attributes] == [one.held for one in answer.attributes]


def test_without_attributes_a_member_is_recognised(cohort: MedsDataset, models: dict[str, FolderModel]) -> None:
    exploration = Exploration(cohort, models["long"])
    state = state_of(cohort, models["long"], exploration, attributes=(), focus="", horizon=365, samples=64)
    *_, answer = exploration.answers(state)
    assert answer is not None and answer.membership is not None and answer.membership.times > 2


OPTIONS: dict[str, dict[str, object]] = {
    "membership": {},
    "attribute": {"horizon": 365, "samples": 8, "knowledge_levels": ("first_10",)},
    "reconstruction": {"horizon": 365, "samples": 2, "knowledge_levels": ("first_10",)},
    "embedding": {"knowledge_levels": ("first_10",)},
    "neighbours": {"knowledge_levels": ("first_10",)},
    "perturbation": {"horizon": 60, "samples": 2},
    "subgroups": {},
}


@pytest.mark.parametrize("probe", OPTIONS)
def test_every_probe_can_be_asked(
    probe: str, cohort: MedsDataset, models: dict[str, FolderModel], people: People
) -> None:
    found = em.run(probe, cohort, models["long"], models["reference"], people=people, **OPTIONS[probe])
    assert len(found.figures) and np.isfinite(found.figures["value"]).any()
    if probe == "membership":
        assert "Memorized" in set(found.verdicts["verdict"])
    if probe == "perturbation":  # all four are there: the age and a date move the ages beside codes
        assert {f"spike:{one}" for one in ("age", "sex", "lab", "date")} <= set(found.figures["figure"])
