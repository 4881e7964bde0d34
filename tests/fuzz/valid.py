"""One valid file of every kind that a user or a stranger can give, small enough that a command over it takes a second or two."""

from __future__ import annotations

import csv
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from ehrmem_widgets.cohort.dataset import MedsDataset

ID = "771{:05d}"
"""Ids that no other number in a sentence looks like: none may ever be printed."""

_FACTS = "- age: 53\n- code: X\n  value: 1\n  date: 2020-01-01\n"
_SEVERITY = 'hiv: {severity: 5, reason: "stigma"}\n'
_ATTRIBUTES = """\
attributes:
  - name: ward
    title: Ward of the tests
    severity: 3
    reason: Made for tests.
    sources: [tests]
    codes:
      icd10cm: ["F", "I10"]
      icd10cm_pattern: ["E1[01]"]
    proxies:
      drugs: {atc: ["N05"], words: [morphine]}
"""


def home(folder: Path) -> dict[str, str]:
    """The environment in which all that is kept for this user lies in the folder."""
    return {f"XDG_{name.upper()}_HOME": str(folder / name) for name in ("state", "cache")}


def make_valid(folder: Path) -> None:
    """Fill a folder. Takes some ten seconds, once."""
    with patch.dict(os.environ, home(folder)):
        _make(folder)


def _make(folder: Path) -> None:
    from ehrmem_widgets.cohort.attributes import load_attributes
    from ehrmem_widgets.cohort.dataset import MedsDataset
    from ehrmem_widgets.samples.synthetic_cohort import generate_cohort
    from ehrmem_widgets.tokens.sequence import encode
    from ehrmem_widgets.tokens.vocabulary import learn_vocabulary
    from ehrmem_widgets.training.models import train_model

    kept = folder / "state" / "ehrmem"
    kept.mkdir(parents=True)
    (kept / "pseudonym.key").write_bytes(b"k" * 32)
    meds = folder / "meds"
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        generate_cohort(meds, seed=5, members=24, non_members=24, reference=40, canaries=2, null_canaries=2, rare=2)
        _number_anew(meds)
        dataset = MedsDataset(meds)
        vocabulary = learn_vocabulary(dataset)
        for name, split in (("model", "train"), ("reference", "reference")):
            train_model(
                dataset, folder / name, split=split, epochs=60, vocabulary=vocabulary, width=64, layers=1, context=64, report=lambda _: None
            )  # fmt: skip
        train_model(
            dataset, folder / "timed", epochs=40, time_to_event=True, width=32, layers=1, context=64, report=lambda _: None
        )  # fmt: skip
    codes = list(vocabulary.codes)
    _vocabularies(folder / "vocabulary", codes)
    (folder / "scheme.yaml").write_text(vocabulary.token_scheme.to_yaml())
    ids = dataset.ids()
    tokens = {
        patient: vocabulary.ids(encode(record, vocabulary).codes)
        for patient, record in zip(ids, dataset.records(ids), strict=True)
    }
    _sequences(folder, dataset, tokens, codes)
    _sequences_with_ages(folder, dataset)
    (folder / "people.txt").write_text("\n".join(dataset.pseudonym(one) for one in ids))
    (folder / "facts.yaml").write_text(_FACTS)
    (folder / "severity.yaml").write_text(_SEVERITY)
    (folder / "attributes.yaml").write_text(_ATTRIBUTES)
    load_attributes(folder / "attributes.yaml")
    _canaries(folder / "canaries.parquet", dataset, ids[:2])
    (folder / "password.txt").write_text("correct horse\n")
    (folder / "codes.txt").write_text(_results_codes())
    (folder / "plan.yaml").write_text(
        "name: fuzz\ndata: meds\nmodel: model\nreference: reference\npatients: 24\nholders: 0\nprobes: [confounding, membership]\n"
        "knowledge_levels: [one_lab]\nattributes: []\nseverity: severity.yaml\npriors: [0.1]\nseed: 0\n"
    )
    _state(kept, dataset)
    _results(folder)


def _number_anew(meds: Path) -> None:
    for path in meds.rglob("*.parquet"):
        table = pq.read_table(path)
        if "subject_id" in table.column_names:
            ids = [int(ID.format(one % 100_000)) for one in table["subject_id"].to_pylist()]
            pq.write_table(table.set_column(table.column_names.index("subject_id"), "subject_id", pa.array(ids)), path)


def _vocabularies(folder: Path, codes: list[str]) -> None:
    folder.mkdir()
    ids = {code: place for place, code in enumerate(codes)}
    (folder / "list.json").write_text(json.dumps(codes))
    (folder / "map.json").write_text(json.dumps(ids))
    (folder / "tokenizer.json").write_text(
        json.dumps({"model": {"type": "WordLevel", "vocab": ids}, "added_tokens": []})
    )
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokens": [{"code": one, "type": "code"} for one in codes]})
    )
    (folder / "codes.txt").write_text("\n".join(codes))
    for name, delimiter in (("codes.csv", ","), ("codes.tsv", "\t")):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows([("code", "id"), *ids.items()])
    pq.write_table(pa.table({"code": codes, "code/vocab_index": list(ids.values())}), folder / "codes.parquet")


def _sequences(folder: Path, dataset: MedsDataset, tokens: dict[int, list[int]], codes: list[str]) -> None:
    split = dataset.splits_of(tokens).tolist()
    words = [[codes[t] for t in one] for one in tokens.values()]
    table = pa.table({"subject_id": list(tokens), "codes": words, "ids": list(tokens.values()), "split": split})
    pq.write_table(table.drop_columns(["ids"]), folder / "sequences.parquet")
    rows = table.drop_columns(["codes"]).to_pylist()
    (folder / "sequences.jsonl").write_text("\n".join(json.dumps(row) for row in rows))


def _sequences_with_ages(folder: Path, dataset: MedsDataset) -> None:
    from ehrmem_widgets.blackbox.folder import FolderModel
    from ehrmem_widgets.tokens.sequence import encode

    vocabulary = FolderModel(folder / "timed").vocabulary
    read = {record.patient_id: encode(record, vocabulary) for record in dataset.records(dataset.ids())}
    rows = [
        {"subject_id": patient, "codes": list(one.codes), "ages": list(one.days), "split": split}
        for (patient, one), split in zip(read.items(), dataset.splits_of(read).tolist(), strict=True)
    ]
    pq.write_table(pa.Table.from_pylist(rows), folder / "sequences_with_ages.parquet")


def _canaries(path: Path, dataset: MedsDataset, ids: list[int]) -> None:
    rows = [
        {"subject_id": record.patient_id, "repetitions": 1, "alternative": alternative, "time": event.time, "code": event.code,
         "numeric_value": (event.value or 0.0) + alternative}
        for record in dataset.records(ids) for alternative in (1, 2) for event in record.events
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), path)


def _results_codes() -> str:
    from ehrmem_widgets.workshop.results import ITEMS, Quiz, encode

    return "\n".join(encode(Quiz((one % 2,) * ITEMS, (1,) * ITEMS)) for one in range(12)) + "\n"


def _state(folder: Path, dataset: MedsDataset) -> None:
    content = {
        "data": dataset.fingerprint, "patient": dataset.pseudonym(dataset.ids()[0]), "knowledge": "demographics", "facts": "", "focus": ""
    }  # fmt: skip
    (folder / "last_screen.json").write_text(json.dumps(content))


def _results(folder: Path) -> None:
    """An audit by these files, and a report's numbers."""
    from ehrmem_widgets.cli import main

    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        assert main(["audit", str(folder / "plan.yaml"), "--out", str(folder / "results")]) == 0, said.getvalue()
    finding = {
        "name": "hiv", "title": "HIV", "severity": 5, "in_record": True, "verdict": "Memorized",
        "audited": {"value": 0.963, "low": 0.93, "high": 0.98, "n": 256}, "reference": {"value": 0.08, "low": 0.05, "high": 0.12, "n": 256},
        "excess": {"value": 0.88, "low": 0.83, "high": 0.92, "n": 256},
    }  # fmt: skip
    content = {
        "patient": "P-ABCD-EFGH", "data": "cohort", "model": {"name": "memorizing", "fingerprint": "x"}, "reference": None,
        "settings": {"focus": "hiv"}, "known": {"facts": 8, "k": 1, "patients": 3000}, "attributes": [finding],
    }  # fmt: skip
    (folder / "report.json").write_text(json.dumps(content))
