"""LiRA and SaMIA as membership uses them: where the verdict stands, what is said, what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
import pytest

from ehrmem_widgets.audit.plan import read_plan
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.blackbox.shadow_models import ShadowModels, open_shadow_models
from ehrmem_widgets.cli import main
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.ground_truth import COLUMNS, INCLUDED
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.batching import Rows
from ehrmem_widgets.probes.membership.samples import run_recall
from ehrmem_widgets.probes.membership.scores import loss
from ehrmem_widgets.probes.membership.shadows import add_lira, check_left_out
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER, choose_people
from ehrmem_widgets.probes.run import run
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from ehrmem_widgets.statistics.likelihood_ratio import likelihood_ratio
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.training.models import train_model
from ehrmem_widgets.training.shadow_models import train_shadow_models
from tests.probes.alone import ask_alone
from tests.widgets.opened import few_patients

# LiRA -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set, a model of its members and shadow models."""
    found = tmp_path_factory.mktemp("lira")
    data = MedsDataset(few_patients(found / "data"))
    train_model(data, found / "model", epochs=2)
    train_shadow_models(data, found / "shadows", shadows=4, splits=["train", "held_out"], epochs=1)
    return found


@pytest.fixture(scope="module")
def found(folder: Path) -> Finding:
    return ask_alone(
        "membership", FolderModel(folder / "model"), MedsDataset(folder / "data"), shadow=str(folder / "shadows")
    )


def test_the_verdict_stands_at_lira_where_there_are_shadow_models(found: Finding) -> None:
    rows = found.about("figures", figure="auroc", group="all").set_index("attribute")
    assert list(rows.index) == ["Loss", "Min-K%", "Min-K%++", "LiRA"]
    assert [name for name in rows.index if rows.loc[name, "verdict"]] == ["LiRA"]
    assert (rows["p_adjusted"] >= rows["p"]).all() and rows.loc["LiRA", "n"] == 120
    assert "AUROC of LiRA" in found.sentences[0]
    assert "LiRA rests on 4 shadow models: everybody was in 2 or more and out of 2 or more." in found.summary()


def test_the_folder_stands_in_no_finding_but_the_models_do(found: Finding, folder: Path) -> None:
    assert str(folder) not in str(found.settings)
    assert found.settings["shadow"]["models"] == 4 and len(found.settings["shadow"]["fingerprint"]) == 16


def test_lira_is_worked_out_from_what_the_models_say(found: Finding, folder: Path) -> None:
    data, model = MedsDataset(folder / "data"), FolderModel(folder / "model")
    shadows = open_shadow_models(folder / "shadows", data, model)
    of = found.about("patients", attribute="LiRA").set_index("patient")["value"]
    records = [data.record(patient) for patient in of.index]
    ids = [encode(one, model.vocabulary).ids(model.vocabulary) for one in records]
    assert max(map(len, ids)) <= model.context_length
    said = [[loss(log_p) for log_p in one.score(ids)] for one in (model, *shadows.models)]
    inside = np.array([shadows.inside(patient) for patient in of.index])
    worked_out = likelihood_ratio(np.array(said[0]), np.array(said[1:]).T, inside)
    np.testing.assert_allclose(
        of, worked_out, rtol=1e-3, atol=1e-3
    )  # kept to nine digits, then divided by small variances


def test_the_command_and_the_plan_take_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sources = f"--data {folder / 'data'} --model {folder / 'model'}"
    assert main(f"probe attribute {sources} --shadow {folder / 'shadows'} --out {folder / 'no'}".split()) == 2
    assert "'attribute' has no use for shadow models" in capsys.readouterr().err
    plan = folder / "plan.yaml"
    plan.write_text("data: data\nmodel: model\nprobes: [membership]\nshadow: shadows\n")
    read = read_plan(plan)
    assert read.shadow == str(folder / "shadows")
    plan.write_text("data: data\nmodel: model\nprobes: [membership]\n")
    assert read_plan(plan).hash != read.hash and "shadow" not in read_plan(plan).as_json()


def test_the_coins_of_canaries_are_guessed_by_lira(folder: Path) -> None:
    """Some who are in training, and some who are not, as if by coins."""
    data = MedsDataset(folder / "data")
    ids = [*data.ids("train")[:24], *data.ids("held_out")[:24]]
    put_in = np.arange(48) < 24
    key = pd.DataFrame(
        {
            "subject_id": ids,
            "repetitions": put_in.astype(int),
            "alternative": 0,
            "time": pd.NaT,
            "code": "",
            "numeric_value": np.nan,
        }
    )
    key[[*COLUMNS]].assign(**{INCLUDED: put_in}).to_parquet(folder / "key.parquet")
    data.declare(canaries=folder / "key.parquet")
    found = run("one_run", data, FolderModel(folder / "model"), most=8, shadow=str(folder / "shadows"))
    assert found.settings["score"] == "LiRA" and found.settings["shadow"]["models"] == 4
    assert str(folder) not in str(found.settings)
    plain = run("one_run", data, FolderModel(folder / "model"), most=8)
    assert plain.settings["score"] == "Loss" and plain.settings["shadow"] is None


def _shadows(people: Sequence[frozenset[str]]) -> ShadowModels:
    return ShadowModels(cast("tuple[FolderModel, ...]", (None,) * len(people)), tuple(people))


def _answers(n: int, seed: int) -> Rows:
    rng = np.random.default_rng(seed)
    return [
        {
            "patient": f"P-{i}", "group": MEMBER if i % 2 else NON_MEMBER, "scores": {"Loss": float(rng.normal())},
            "shadows": rng.normal(size=4).tolist(), "without": [],
        }
        for i in range(n)
    ]  # fmt: skip


def test_who_was_in_every_model_is_left_out_with_the_reason() -> None:
    some = frozenset(f"P-{i}" for i in range(0, 30, 3))
    answers = _answers(30, 0)
    said = add_lira(answers, _shadows([some | {"P-1"}, some | {"P-1"}, some | {"P-1"}, frozenset()]))
    without = [a["patient"] for a in answers if "LiRA" not in a["scores"]]
    assert without == [f"P-{i}" for i in range(30) if i % 3 == 0 or i == 1]
    assert answers[0]["without"][0].code == "always_in" and not answers[2]["without"]
    assert said == "LiRA rests on 4 shadow models: everybody is held against 4 that left them out."


def test_models_trained_on_all_members_are_refused(folder: Path) -> None:
    data = MedsDataset(folder / "data")
    people = choose_people(data, FolderModel(folder / "model"))
    members = frozenset(one.pseudonym for one in people.of(MEMBER))
    with pytest.raises(BadInput, match="Fewer than 2 of the shadow models were trained without any member"):
        check_left_out(_shadows([members] * 4), people)
    check_left_out(_shadows([members] * 2 + [frozenset()] * 2), people)


# SaMIA ----------------------------------------------------------------------------------------------------------------


def test_recall_of_runs_by_hand() -> None:
    rest = np.array([1, 2, 1, 2])  # runs: 12 twice, 21 once
    assert run_recall(rest, np.array([[1, 2, 1, 2]])) == 1
    assert run_recall(rest, np.array([[1, 2, -1, -1]])) == pytest.approx(1 / 3)
    assert run_recall(rest, np.array([[9, 9, 9, 9, 1, 2, 1, 2]])) == 0  # beyond its length
    assert run_recall(rest, np.array([[1, 2, 1, 2], [-1, -1, -1, -1]])) == 0.5


class _SamplesOnly:
    """A model of which only samples are to be had."""

    answers = frozenset({Query.SAMPLE})

    def __init__(self, model: FolderModel) -> None:
        self._model = model
        self.name, self.fingerprint, self.vocabulary = model.name, model.fingerprint, model.vocabulary
        self.context_length, self.training_split = model.context_length, model.training_split
        self.generate, self.embed = model.generate, model.embed

    def score(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        raise AssertionError("never asked")

    score_moments = score


@pytest.mark.parametrize("with_reference", [False, True])
def test_a_model_that_only_samples_is_found_by_samples_alone(with_reference: bool) -> None:
    data, model, reference = MedsDataset(sample_data()), FolderModel(sample_model()), FolderModel(sample_reference())
    chosen = choose_people(data, model, reference, most=44, canaries=False)
    found = ask_alone(
        "membership",
        _SamplesOnly(model),
        data,
        reference=_SamplesOnly(reference) if with_reference else None,
        people=chosen,
    )
    rows = found.about("figures", figure="auroc", group="all")
    assert rows["attribute"].tolist() == ["SaMIA"] and rows["verdict"].iloc[0] == "Memorized"
    assert found.estimate("auroc", attribute="SaMIA").low > 0.7
    assert "membership was told from its samples alone (SaMIA), which finds less" in found.summary()
    assert found.about("figures", figure="auroc_by_kind").empty
