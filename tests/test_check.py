"""``ehrmem check`` says what can be done, test by test, with foreign data and models as they come: nothing named, nothing fitting, one person."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ehrmem_widgets.cohort.attributes import load_attributes, match_codes
from ehrmem_widgets.registry import probes
from ehrmem_widgets.samples.folders import sample_moderate, sample_reference
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.cohort.meds import at, write
from tests.commands import Said, ehrmem
from tests.widgets.opened import few_patients


def with_codes(source: Path, to: Path, codes: list[str]) -> Path:
    """A copy of a model whose ids stand for other codes."""
    shutil.copytree(source, to)
    content = json.loads((to / "vocabulary.json").read_text())
    (to / "vocabulary.json").write_text(json.dumps({**content, "codes": codes}))
    return to


def make_data(folder: Path) -> None:
    """150 sample patients; the same whom no splits tell apart; one person; and a folder that is no MEDS."""
    few_patients(folder / "data")
    shutil.copytree(folder / "data", folder / "no_splits")
    (folder / "no_splits" / "metadata" / "subject_splits.parquet").unlink()
    days = [(7, at(f"2020-01-{day:02}"), "DIAGNOSIS//ICD//10//B20", None) for day in range(1, 9)]
    write(folder / "one", {"0.parquet": [(7, at("1980-01-01"), "MEDS_BIRTH", None), *days]}, splits={7: "train"})
    (folder / "csv").mkdir()


def make_models(folder: Path) -> None:
    """The codes of a model in another order within their kinds, all moved by one, and without those of sensitive attributes; a reference of members."""
    model = sample_moderate()
    own = Vocabulary.load(model / "vocabulary.json")
    kinds, rng = np.array([own.kind(code) for code in own.codes]), np.random.default_rng(0)
    codes = np.array(own.codes, dtype=object)
    for kind in set(kinds):
        codes[kinds == kind] = rng.permutation(codes[kinds == kind])
    with_codes(model, folder / "shuffled", codes.tolist())
    with_codes(model, folder / "shifted", [own.codes[-1], *own.codes[:-1]])
    matched = match_codes(load_attributes(), sorted({own.base(code) for code in own.codes}), own.labels)
    sensitive = set(matched.query("role == 'code'")["code"])
    blind = [f"LOCAL//{place}" if own.base(code) in sensitive else code for place, code in enumerate(own.codes)]
    with_codes(model, folder / "blind", blind)
    shutil.copytree(sample_reference(), folder / "of_members")
    (folder / "of_members" / "training.json").write_text(json.dumps({"split": "train"}))


def make_sequences(folder: Path) -> None:
    """Ids beside codes, one of which is another."""
    own = Vocabulary.load(sample_moderate() / "vocabulary.json")
    ids = [[1, *range(20 + n, 40 + n), 2] for n in range(4)]
    codes = [[own.codes[one] for one in some] for some in ids]
    codes[2][5] = "ELSE"
    rows = {
        "subject_id": [1, 2, 3, 4],
        "split": ["train", "train", "held_out", "held_out"],
        "input_ids": ids,
        "codes": codes,
    }
    pq.write_table(pa.table(rows), folder / "s.parquet")


MODEL = ("--model", sample_moderate())
COMMANDS: dict[str, tuple[object, ...]] = {
    "data alone": ("--data", "data"),
    "no MEDS": ("--data", "csv"),
    "nowhere": ("--data", "nowhere", "--json"),
    "no splits": ("--data", "no_splits", *MODEL, "--json"),
    "one person": ("--data", "one", "--json"),
    "blind": ("--data", "data", "--model", "blind", "--reference", sample_reference(), "--json"),
    "shuffled": ("--data", "data", "--model", "shuffled"),
    "shifted": ("--data", "data", "--model", "shifted"),
    "of members": ("--data", "data", *MODEL, "--reference", "of_members", "--json"),
    "sequences": ("--sequences", "s.parquet", *MODEL),
}


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Said]:
    """What ``ehrmem check`` says of each."""
    folder = tmp_path_factory.mktemp("check")
    make_data(folder), make_models(folder), make_sequences(folder)
    env = {"XDG_CACHE_HOME": str(folder / "cache"), "EHRMEM_PSEUDONYM_KEY": str(folder / "key"), "OMP_NUM_THREADS": "1"}
    found = ehrmem(*(("check", *words) for words in COMMANDS.values()), env=env, cwd=folder)
    return dict(zip(COMMANDS, found, strict=True))


def each_test(said: Said) -> Mapping[str, Any]:
    """What is said of each test, by its probe."""
    found = {one["probe"]: one for one in json.loads(said.out)["tests"]}
    assert list(found) == list(probes())
    return found


def check_in(said: Said, name: str) -> Mapping[str, Any]:
    return next(one for one in json.loads(said.out)["checks"] if one["name"] == name)


def test_data_alone_say_what_they_allow_and_what_each_test_would_ask_of_a_model(said: dict[str, Said]) -> None:
    own = said["data alone"]
    assert own.code == 0 and "Model opens" not in own.out
    table = own.out.partition("What these data allow, test by test (no model was named):")[2]
    assert "  yes      T4 Membership: There are no planted canaries" in table
    assert (
        "It asks a model for log-probabilities of given codes." in table
        and "  no       Exposure of canaries: " in table
    )
    assert "To do for Exposure of canaries: Plant some before training" in table and "2 not." in table
    for name in ("no MEDS", "nowhere"):
        assert said[name].code == 2 and "docs/to_meds.md (From your data to MEDS)" in said[name].out
    assert "no       every test: The check 'Data open' failed" in said["no MEDS"].out
    assert {one["can"] for one in each_test(said["nowhere"]).values()} == {"no"}


def test_without_splits_and_with_one_person_there_are_figures_and_no_verdict(said: dict[str, Said]) -> None:
    found = each_test(said["no splits"])
    assert said["no splits"].code == 0
    assert found["membership"]["can"] == found["reconstruction"]["can"] == found["confounding"]["can"] == "in part"
    assert "Nothing says who was in training" in found["membership"]["why"][0]
    assert "subject_splits.parquet" in found["membership"]["todo"][0]
    assert found["ranking"]["can"] == "no" and "Without a reference model" in found["ranking"]["why"][0]
    found = each_test(said["one person"])
    assert said["one person"].code == 0 and found["membership"]["can"] == "in part"
    assert (
        "There are fewer than 11 members and no people never seen: figures, but no verdict"
        in found["confounding"]["why"][0]
    )
    assert found["confounding"]["todo"][0].endswith("19 of each are needed.")


def test_a_model_without_sensitive_codes_loses_those_tests_alone_and_missing_codes_are_told(
    said: dict[str, Said],
) -> None:
    blind = said["blind"]
    found = each_test(blind)
    assert blind.code == 0
    assert {found[name]["can"] for name in ("attribute", "embedding", "perturbation", "ranking")} == {"no"}
    assert found["membership"]["can"] == found["reconstruction"]["can"] == "yes"
    assert found["attribute"]["why"] == ["The model has no code of any declared sensitive attribute."]
    assert "ehrmem attributes --data DIR --write own.yaml" in found["attribute"]["todo"][0]
    assert found["subgroups"]["can"] == "in part" and "builds on T2" in found["subgroups"]["why"][0]
    fits = check_in(blind, "Vocabulary fits")
    assert fits["level"] == "warn" and re.match(
        r"The model does not know \d+ of \d+ codes of the data \([\d.]+% of the events\)", fits["words"]
    )
    assert "Sensitive ones: " in fits["words"] and "HIV (DIAGNOSIS//ICD//10//B20" in fits["words"]


def test_a_list_of_codes_in_another_order_stops_every_test_and_says_what_it_is(said: dict[str, Said]) -> None:
    for name, words in (("shuffled", "its order was changed"), ("shifted", "off by one")):
        assert said[name].code == 2 and words in said[name].out and "No test can be done" in said[name].errors
        assert "no       every test: The check 'Has learned' failed" in said[name].out
        assert ("off by one" in said[name].out) == (name == "shifted")


def test_a_reference_that_cannot_be_one_costs_the_tests_that_take_it_and_no_others(said: dict[str, Said]) -> None:
    found = each_test(said["of members"])
    assert said["of members"].code == 0 and check_in(said["of members"], "Reference training")["stops"] == "reference"
    assert found["confounding"]["can"] == "yes" and found["membership"]["can"] == found["reconstruction"]["can"] == "no"
    assert "Or leave --reference out." in found["reconstruction"]["why"][0]


def test_sequences_with_ids_and_codes_that_differ_are_refused_with_the_first_and_how_many(
    said: dict[str, Said],
) -> None:
    out = said["sequences"].out
    assert said["sequences"].code == 2 and "s.parquet, row 3, place 6: the id 26 stands for" in out
    assert "and the row says 'ELSE'. So it is at 1 of 88 places, in 1 row of s.parquet." in out
