"""Whom a model was trained on: named, read from its folder, or supposed and said so; and several references named at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from ehrmem_widgets import ExplorePatient
from ehrmem_widgets.audit.plan import read_plan
from ehrmem_widgets.audit.run import run_audit
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.mean_reference import MeanReference
from ehrmem_widgets.blackbox.model_checks import every_check
from ehrmem_widgets.blackbox.opening import open_sources, open_with
from ehrmem_widgets.blackbox.training_splits import members_in_words, trained_on
from ehrmem_widgets.cli import main
from ehrmem_widgets.cohort.check import Check
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.membership.screen import ExploreMembership
from ehrmem_widgets.probes.people import MEMBER, NON_MEMBER, choose_people
from ehrmem_widgets.samples.folders import sample_model, sample_reference
from ehrmem_widgets.sources import SOURCES, Sources, comma_separated, given_sources
from tests.blackbox.served import running_server
from tests.probes.alone import ask_alone
from tests.widgets.opened import few_patients

NAMES = {"train": "development", "held_out": "held_out", "reference": "elsewhere"}


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in SOURCES:
        monkeypatch.delenv(f"EHRMEM_{name.upper()}", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 sample patients whose splits have other names."""
    folder = few_patients(tmp_path_factory.mktemp("data") / "meds")
    path = folder / "metadata" / "subject_splits.parquet"
    rows = pq.read_table(path)
    names = pa.array([NAMES[split] for split in rows["split"].to_pylist()])
    pq.write_table(rows.set_column(rows.column_names.index("split"), "split", names), path)
    return folder


def copied(source: Path, to: Path, split: str | None, *, noise: float = 0.0) -> str:
    """A model's folder whose training.json names a split, or that has none; its weights moved a little."""
    shutil.copytree(source, to)
    (to / "training.json").unlink()
    (to / "neighbours.npz").unlink(missing_ok=True)
    if split is not None:
        (to / "training.json").write_text(json.dumps({"split": split}))
    if noise:
        [path] = to.glob("*.safetensors")
        rng = np.random.default_rng(0)
        weights = {
            k: (v + noise * v.std() * rng.normal(size=v.shape)).astype(v.dtype) for k, v in load_file(path).items()
        }
        save_file(weights, path, {"format": "pt"})
    return str(to)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    made = tmp_path_factory.mktemp("models")
    return {
        "model": copied(sample_model(), made / "model", "development"),
        "mute": copied(sample_model(), made / "mute", None),
        "reference": copied(sample_reference(), made / "reference", "elsewhere"),
        "other": copied(sample_reference(), made / "other", None, noise=0.05),
    }


def members(dataset: MedsDataset, *models: Any) -> set[str]:
    people = choose_people(dataset, *models, most=24, canaries=False)
    splits = dataset.splits_of([record.patient_id for record in people.of(MEMBER)])
    assert len(people.of(NON_MEMBER)) == 12
    assert set(dataset.splits_of([record.patient_id for record in people.of(NON_MEMBER)])) <= {"held_out"}
    return set(splits)


def test_members_of_a_folder_are_those_that_its_training_json_names(data: Path, models: dict[str, str]) -> None:
    opened = open_sources(Sources(str(data), models["model"], (models["reference"],)))
    assert members(*opened) == {"development"}


def test_members_of_a_served_model_are_those_of_the_named_split(
    data: Path, models: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_server(Path(models["mute"])) as (address, token):
        monkeypatch.setenv("EHRMEM_ENDPOINT_TOKEN", token)
        given = {"data": data, "model": models["mute"], "endpoint": address, "reference": models["reference"]}
        dataset, model, reference = open_sources(given_sources(**given, training_split="development"))
        assert members(dataset, model, reference) == {"development"}
        model.close()  # type: ignore[attr-defined]
        dataset, model, reference = open_sources(given_sources(**given))
        assert model.training_split is None and trained_on(model) == "train" and "supposed" in members_in_words(None)
        assert not choose_people(dataset, model, reference, most=24, canaries=False).of(MEMBER)
        model.close()  # type: ignore[attr-defined]


def test_members_of_a_python_object_are_those_that_it_names(data: Path, models: dict[str, str]) -> None:
    model = FolderModel(models["mute"])
    model.training_split = "development"
    assert members(*open_with(data, model, models["reference"])) == {"development"}
    model.training_split = "training"
    with pytest.raises(
        BadInput, match=r"split 'training', which .* does not have: it has development, elsewhere, held_out"
    ):
        open_with(data, model)
    with pytest.raises(
        BadInput, match=r"leave out training_split: a model that is an object has its own vocabulary and training_split"
    ):
        ExplorePatient(data, model=model, training_split="development", live=False)


def test_a_split_that_is_not_there_or_that_the_folder_denies_is_refused(data: Path, models: dict[str, str]) -> None:
    for name in ("training_split", "reference_training_split"):
        given = {"data": data, "model": models["mute"], "reference": models["other"], name: "trian"}
        with pytest.raises(
            BadInput, match=rf"--{name.replace('_', '-')} names 'trian', which is not a split of .*: it has development"
        ):
            open_sources(given_sources(**given))
    with pytest.raises(
        BadInput, match=r"says that it was trained on the split 'development', and --training-split names 'held_out'"
    ):
        open_sources(given_sources(data=data, model=models["model"], training_split="held_out"))


@pytest.mark.parametrize("content", ["{", "[]", '{"split": 3}'])
def test_a_training_json_that_says_nothing_readable_is_refused(content: str, tmp_path: Path) -> None:
    folder = copied(sample_reference(), tmp_path / "model", None)
    (tmp_path / "model" / "training.json").write_text(content)
    with pytest.raises(BadInput, match=r"training.json of .* must be a JSON object that names the split"):
        FolderModel(folder)


def test_the_audit_is_sealed_with_whom_the_models_saw(data: Path, models: dict[str, str], tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    content = (
        f"data: {data}\nmodel: {models['mute']}\nreference: [{models['reference']}, {models['other']}]\n"
        "patients: 12\nholders: 0\nprobes: [membership]\n"
    )
    plan.write_text(content + "training_split: development\nreference_training_split: elsewhere\n")
    found = run_audit(read_plan(plan), tmp_path / "out")
    assert found["finished"] and found["people"] == {"member": 6, "non-member": 6}
    one, two = FolderModel(models["reference"]), FolderModel(models["other"])
    assert found["reference"] == {
        "name": "mean of reference and other",
        "fingerprint": f"{one.fingerprint}+{two.fingerprint}",
    }
    assert found["model"]["training_split"] == "development"
    seal = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert seal["reference"] == f"{one.fingerprint}+{two.fingerprint}"
    assert seal["training_splits"] == "development; seen: development, elsewhere"
    plan.write_text(content + "training_split: held_out\nreference_training_split: elsewhere\n")
    with pytest.raises(BadInput, match=r"holds the results of another audit: the training split changed since"):
        run_audit(read_plan(plan), tmp_path / "out")


def test_the_ratio_is_to_the_mean_of_the_references(data: Path, models: dict[str, str]) -> None:
    from ehrmem_widgets.probes.membership.scores import RATIO

    dataset, model, mean = open_sources(
        Sources(
            str(data), models["model"], (models["reference"], models["other"]), reference_training_split="elsewhere"
        )
    )
    assert isinstance(mean, MeanReference)
    people = choose_people(dataset, model, mean, most=6, canaries=False)

    def ratios(reference: Any) -> np.ndarray:
        found = ask_alone("membership", model, dataset, reference=reference, people=people).about(
            "patients", attribute=RATIO
        )
        return found.set_index("patient")["value"].sort_index().to_numpy(float)

    each = [ratios(one) for one in mean.references]
    np.testing.assert_allclose(ratios(mean), np.mean(each, axis=0), atol=1e-6)
    assert np.abs(each[0] - each[1]).max() > 1e-3  # or this test could not tell


def test_the_main_screen_takes_several_references_as_they_come(data: Path, models: dict[str, str]) -> None:
    named = {"knowledge": "demographics", "attributes": "hiv", "horizon": 2, "samples": 16, "live": False}
    by_name = ExplorePatient(
        data,
        model=models["model"],
        reference=[models["reference"], models["other"]],
        reference_training_split="elsewhere",
        **named,
    )  # type: ignore[arg-type]
    loaded = FolderModel(models["other"])
    loaded.training_split = "elsewhere"
    mixed = ExplorePatient(data, model=models["model"], reference=[models["reference"], loaded], **named)  # type: ignore[arg-type]
    assert (
        by_name.results()["reference"]["name"] == mixed.results()["reference"]["name"] == "mean of reference and other"
    )
    assert "mean of reference and other" in by_name.page() and "patients of the split development" in by_name.page()
    figures = by_name.results()["attributes"][0]
    assert figures == mixed.results()["attributes"][0] and figures["reference"]["n"] > 0
    words = by_name.command().split()
    assert [words[i + 1] for i, word in enumerate(words) if word == "--reference"] == [
        models["reference"],
        models["other"],
    ]
    assert words[words.index("--reference-training-split") + 1] == "elsewhere"


def test_every_other_screen_takes_models_that_are_python_objects(data: Path, models: dict[str, str]) -> None:
    loaded = FolderModel(models["other"])
    loaded.training_split = "elsewhere"
    screen = ExploreMembership(
        data, model=models["model"], reference=[models["reference"], loaded], patients=40, live=False
    )
    about = screen.results()
    assert (
        about["reference"]["name"] == "mean of reference and other"
        and about["model"]["training_split"] == "development"
    )
    assert "members: patients of the split development" in screen.page()


# How they are named ---------------------------------------------------------------------------------------------------


def test_several_references_are_named_again_or_with_commas_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = tmp_path / "a, b"
    odd.mkdir()
    assert comma_separated(str(odd)) == (str(odd),)  # a folder of that name
    assert comma_separated([str(odd), "c,d"]) == (str(odd), "c", "d") and comma_separated("") == ()
    monkeypatch.setenv("EHRMEM_DATA", "d")
    monkeypatch.setenv("EHRMEM_MODEL", "m")
    monkeypatch.setenv("EHRMEM_REFERENCE", "r, http://127.0.0.1:9")
    monkeypatch.setenv("EHRMEM_TRAINING_SPLIT", "development")
    found = given_sources()
    assert found.reference == ("r", "http://127.0.0.1:9") and found.training_split == "development"
    assert given_sources(reference=["x"]).reference == ("x",)
    assert found.options() == [
        "--data", "d", "--model", "m", "--reference", "r", "--reference", "http://127.0.0.1:9", "--training-split", "development",
    ]  # fmt: skip


def test_a_plan_names_a_list_of_references_or_one(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    plan = tmp_path / "plan.yaml"
    plan.write_text("data: d\nmodel: m\nreference: [mine, 'http://127.0.0.1:9']\ntraining_split: development\n")
    found = read_plan(plan).sources
    assert found.reference == (str(tmp_path / "mine"), "http://127.0.0.1:9") and found.training_split == "development"
    plan.write_text("data: d\nmodel: m\nreference: mine\n")
    assert read_plan(plan).sources.reference == (str(tmp_path / "mine"),)
    for wrong in ("[]", "[1]", "{a: b}", "3"):
        plan.write_text(f"data: d\nmodel: m\nreference: {wrong}\n")
        with pytest.raises(BadInput, match=r"reference must be (a model, or a list of at least one|a text)"):
            read_plan(plan)


# What ehrmem check says ------------------------------------------------------------------------------------------------


def lines(**given: Any) -> dict[str, Check]:
    return {one.name: one for one in every_check(given_sources(**given))}


def test_the_check_says_who_counts_as_a_member_and_from_where_that_is_known(data: Path, models: dict[str, str]) -> None:
    said = lines(data=data, model=models["model"])["Members"]
    assert (
        said.level == "pass"
        and said.words == "60 patients count as members: those of the split 'development', as its training.json says."
    )
    said = lines(data=data, model=models["mute"], training_split="development")["Members"]
    assert said.level == "pass" and said.words.endswith("as --training-split says.")
    said = lines(data=data, model=models["mute"])["Members"]
    assert said.level == "fail" and "has no split 'train' (it has development, elsewhere, held_out)" in said.words
    assert said.todo == "Name the split that it was trained on with --training-split."
    assert lines(data=data, model=models["mute"], training_split="trian")["Members"].level == "fail"


def test_the_check_says_that_the_usual_split_is_supposed(models: dict[str, str], tmp_path: Path) -> None:
    said = lines(data=few_patients(tmp_path / "d"), model=models["mute"], reference=models["other"])
    assert said["Members"].level == "warn" and "'train', which is supposed: nothing says" in said["Members"].words
    assert (
        said["Reference training"].level == "warn"
        and "Supposed: on the split 'reference'" in said["Reference training"].words
    )


@pytest.fixture
def two_references(data: Path, models: dict[str, str]) -> dict[str, Any]:
    return {"data": data, "model": models["model"], "reference": [models["reference"], models["other"]]}


def test_the_check_looks_at_each_reference(two_references: dict[str, Any]) -> None:
    said = lines(**two_references)
    assert said["Reference reference training"].level == "pass"
    assert (
        said["Reference other training"].level == "fail"
        and "--reference-training-split" in said["Reference other training"].todo
    )
    assert {"Reference reference has learned", "Reference other has learned"} <= set(said)
    said = lines(**two_references, reference_training_split="none")
    assert "saw nobody of this data set" in said["Reference other training"].words
    said = lines(**two_references, reference_training_split="development")
    assert (
        said["Reference other training"].level == "fail"
        and "as the audited model was" in said["Reference other training"].words
    )
    said = lines(**two_references, reference_training_split="held_out")
    assert said["Strangers"].level == "fail" and "Nobody is left whom no model saw" in said["Strangers"].words


def test_the_command_line_takes_the_options_as_they_are_said(
    two_references: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    references = [word for one in two_references["reference"] for word in ("--reference", one)]
    words = ["check", "--data", str(two_references["data"]), "--model", two_references["model"], *references, "--json"]
    assert main([*words, "--reference-training-split", "elsewhere"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["sources"]["reference"] == two_references["reference"]
    opened = next(one for one in said["checks"] if one["name"] == "Reference opens")
    assert opened["words"].startswith("FolderModel('reference'") and "FolderModel('other'" in opened["words"]
