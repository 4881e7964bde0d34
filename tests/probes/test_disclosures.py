"""True and phantom disclosures: what counts as a match, p where nothing was learned, copies that are found, the sample models, and files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from ehrmem_widgets.blackbox.callable import CallableModel
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.blackbox.outputs_file import OutputsFile
from ehrmem_widgets.cli import main
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Event, Record
from ehrmem_widgets.errors import BadInput, CannotAnswer
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.disclosures.matching import KINDS, PAIR, PANEL, RUN, VISIT, Matcher
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_reference
from ehrmem_widgets.statistics.matches import more_in_training
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.tokens.vocabulary import END, PAD, START, Vocabulary, learn_vocabulary
from tests.probes.alone import ask_alone

DAY = datetime(2020, 1, 1)
CODES = [f"DIAGNOSIS//{number}" for number in range(200)]
VOCABULARY = Vocabulary((PAD, START, END, *CODES))
FIRST = VOCABULARY.id(CODES[0])
PEOPLE, TRAINED, LENGTH = 60, 160, 12  # asked about on each side; in training; codes


def record(number: int, codes: Sequence[int]) -> Record:
    """One visit with these codes."""
    return Record(number, f"P-{number}", tuple(Event(DAY, CODES[code]) for code in codes))


# What matches ----------------------------------------------------------------------------------------------------------


def test_what_counts_as_a_match() -> None:
    codes = (PAD, START, END, "TIME//2", *(f"DIAGNOSIS//{n}" for n in range(6)), *(f"LAB//7//{n}" for n in range(4)))
    vocabulary = Vocabulary(codes, bins={"LAB//7": (1.0, 2.0, 3.0)})
    ids = {code: vocabulary.id(code) for code in codes}

    def visit(day: int, *events: str | float) -> tuple[Event, ...]:
        at = DAY + timedelta(days=day)
        return tuple(Event(at, "LAB//7", one) if isinstance(one, float) else Event(at, one) for one in events)

    own = Record(1, "P-1", (*visit(0, "DIAGNOSIS//0", "DIAGNOSIS//1", "DIAGNOSIS//2", "DIAGNOSIS//3"), *visit(2, 0.5, 1.5, 2.5, 3.5)))  # fmt: skip
    others = [Record(n, f"P-{n}", visit(0, "DIAGNOSIS//2", "DIAGNOSIS//5")) for n in range(2, 5)]
    matcher = Matcher([own, *others], vocabulary, Counter(dict.fromkeys(ids.values(), 9)), frozenset())

    def of(*written: str) -> dict[str, int]:
        found = matcher.matched([[ids[code] for code in written]])
        return {kind: int(found[kind].toarray()[0, 0]) for kind in KINDS}

    d = [f"DIAGNOSIS//{n}" for n in range(6)]
    panel = [f"LAB//7//{n}" for n in range(4)]
    nothing = dict.fromkeys(KINDS, 0)
    assert of(d[0], d[4], d[1]) == {**nothing, PAIR: 1}
    assert of(d[0], d[1], d[2]) == {**nothing, PAIR: 1, RUN: 1}
    assert of(d[0], "TIME//2", d[2], d[2]) == nothing  # 2 is held by all: neither rare, nor one person's
    assert of(d[0], d[1], d[2], d[3]) == {**nothing, PAIR: 1, RUN: 1, VISIT: 1}
    assert of(*panel)[PANEL] == 1 and of(panel[0], d[4], *panel[1:])[PANEL] == 1  # what stands between is no lab
    assert of(*panel[:2], "TIME//2", *panel[2:])[PANEL] == 0 == of(*panel[::-1])[PANEL]


def test_a_code_that_nobody_else_in_training_holds_tells_of_the_list_of_codes_only() -> None:
    records = [record(1, (0, 1, 2)), record(2, (3, 4, 5))]
    held = Counter({FIRST + code: 1 for code in range(6)})
    output = [[FIRST + code for code in (0, 1, 2)], [FIRST + code for code in (3, 4, 5)]]
    found = Matcher(records, VOCABULARY, held, frozenset({1})).matched(output)
    assert found[PAIR].toarray().tolist() == [[0, 0], [0, 1]]  # of the first person the codes are the person's own


# Where nothing was learned ----------------------------------------------------------------------------------------------


def chain(seed: int) -> MarkovChain:
    """A chain over the codes, many of them rare."""
    often = np.random.default_rng(seed).permutation(np.geomspace(1, 0.02, len(CODES)))
    transitions = np.zeros((len(VOCABULARY), len(VOCABULARY)))
    transitions[:, FIRST:] = often / often.sum()
    return MarkovChain(transitions, VOCABULARY)


def drawn(model: MarkovChain, n: int, seed: int, length: int = LENGTH) -> np.ndarray:
    """(n, codes) sequences from the start code."""
    steps = model.generate([[[VOCABULARY.id(START)]]], length, n, seed=seed)
    return np.stack([step.codes[0] for step in steps], axis=1)


def randomized_p(
    everybody: np.ndarray, outputs: np.ndarray, rng: np.random.Generator, known: Counter[int] | None = None
) -> float:
    """Uniform where the test is exact: a discrete p with its atom spread. ``everybody``: those in training, of whom the first are asked about, and
    then as many whom the model never saw."""
    asked = np.concatenate([everybody[:PEOPLE], everybody[TRAINED:]])
    records = [record(n, (codes - FIRST).tolist()) for n, codes in enumerate(asked)]
    held = known or Counter(int(code) for codes in everybody[:TRAINED] for code in set(codes))
    by_person = (
        Matcher(records, VOCABULARY, held, frozenset(range(PEOPLE))).matched(outputs.tolist())[PAIR].sum(axis=0) > 0
    )
    members, never = int(by_person[:PEOPLE].sum()), int(by_person[PEOPLE:].sum())
    law = stats.hypergeom(2 * PEOPLE, PEOPLE, members + never)
    assert more_in_training(members, PEOPLE, never, PEOPLE) == pytest.approx(law.sf(members - 1))
    return float(law.sf(members) + rng.random() * law.pmf(members))


@pytest.mark.slow
def test_p_is_uniform_where_the_model_never_saw_anybody() -> None:
    rng, found = np.random.default_rng(1), []
    for seed in range(300):
        model = chain(seed)
        everybody, outputs = drawn(model, TRAINED + PEOPLE, 2 * seed), drawn(model, 100, 2 * seed + 1, 5 * LENGTH)
        found.append(randomized_p(everybody, outputs, rng))
    assert stats.kstest(found, "uniform").pvalue > 0.01
    assert np.mean(np.array(found) < 0.05) < 0.09


@pytest.mark.parametrize("leave_out", [True, False])
def test_a_list_of_codes_made_from_training_alone_is_no_memory(leave_out: bool) -> None:
    """The model knows which codes occur in training, and nothing more. Where the codes that a person alone brings count, too, that is called memory."""
    rng, small = np.random.default_rng(2), []
    for _ in range(150):
        everybody = FIRST + rng.permuted(np.tile(np.arange(len(CODES)), (TRAINED + PEOPLE, 1)), axis=1)[:, :2]
        outputs = rng.permuted(np.tile(np.unique(everybody[:TRAINED]), (40, 1)), axis=1)[:, : 4 * LENGTH]
        known = None if leave_out else Counter(dict.fromkeys(range(len(VOCABULARY)), 9))
        small.append(randomized_p(everybody, outputs, rng, known) < 0.05)
    assert np.mean(small) < 0.1 if leave_out else np.mean(small) > 0.2


def test_outputs_that_copy_people_in_training_are_found() -> None:
    model = chain(0)
    everybody = drawn(model, TRAINED + PEOPLE, 1)
    assert randomized_p(everybody, everybody[:PEOPLE], np.random.default_rng(3)) < 0.01


# The sample cohort ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cohort() -> MedsDataset:
    return MedsDataset(sample_data())


def gap(found: Finding, kind: str, group: str = "all", knowledge: str = "first_10") -> pd.Series:
    rows = found.about("figures", figure="people_matched_difference", group=group, attribute=kind, knowledge=knowledge)
    assert len(rows) == 1
    return rows.iloc[0]


@pytest.mark.slow
def test_the_memorizing_model_discloses_and_the_reference_does_not(cohort: MedsDataset) -> None:
    memorizing, reference = FolderModel(sample_model()), FolderModel(sample_reference())
    found = ask_alone("disclosures", memorizing, cohort, reference=reference)
    runs = gap(found, RUN)
    assert runs["verdict"] == "Memorized" and runs["low"] > 0 and runs["p_adjusted"] < 0.05
    for kind in (RUN, PANEL, VISIT):
        assert gap(found, kind, "canaries")["verdict"] == "Memorized"
    counts = found.about("figures", figure="people_matched", attribute=RUN, knowledge="first_10")
    share = counts.set_index("group")["value"]
    both = found.about("figures", figure="to_training", attribute=RUN, knowledge="first_10").iloc[0]
    assert both["value"] == pytest.approx(share["member"] / (share["member"] + share["non-member"]))
    assert both["low"] > 0.5 and both["n"] == round(200 * (share["member"] + share["non-member"]))
    rows = found.about("patients", figure="matching_outputs", attribute=RUN, knowledge="first_10", group="member")
    assert (rows["value"] > 0).mean() == pytest.approx(share["member"])
    assert "true disclosures" in found.sentences[0] and "phantom disclosures" in found.sentences[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["private", "reference"])
def test_models_that_memorized_nobody_disclose_nobody(cohort: MedsDataset, name: str) -> None:
    found = ask_alone("disclosures", FolderModel(sample_model().parent / name), cohort)
    judged = found.figures[found.figures["verdict"] != ""]
    assert len(judged) and set(judged["verdict"]) <= {"Cannot conclude", "Population knowledge"}
    planted = gap(found, VISIT, "canaries") if name == "private" else None
    assert planted is None or planted["value"] == 0


def test_a_model_that_only_samples_can_be_asked_and_asking_again_gives_the_same(cohort: MedsDataset) -> None:
    whole = FolderModel(sample_model())
    size = len(whole.vocabulary)
    uniform = CallableModel(
        lambda some: np.full((len(some), size), 1 / size), whole.vocabulary, context_length=64, training_split="train"
    )
    one, other = (
        ask_alone("disclosures", uniform, cohort, most=40, samples=2, horizon=8, knowledge_levels=["nothing"]) for _ in range(2)
    )  # fmt: skip
    assert one.figures.equals(other.figures)
    assert set(gap(one, kind, knowledge="nothing")["verdict"] for kind in KINDS) == {"Cannot conclude"}
    assert gap(one, VISIT, knowledge="nothing")["reason"] in ("too_few_matches", "control_missed", "undecided")


# Files of outputs -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def copies(cohort: MedsDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of "synthetic" patients: of the people in training and of the others, in several forms."""
    folder = tmp_path_factory.mktemp("outputs")
    vocabulary = learn_vocabulary(cohort, split="train")
    for split in ("train", "held_out"):
        ids = cohort.ids(split)[:500]
        codes = [list(encode(one, vocabulary).codes) for one in cohort.records(ids)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps({"codes": some}) + "\n" for some in codes))
    numbers = [vocabulary.ids(some) for some in codes]
    pq.write_table(pa.table({"ids": numbers}), folder / "numbers.parquet")
    ids = cohort.ids("train")[:30]
    flat = cohort.query(
        "SELECT patient_id AS subject_id, time, code, value AS numeric_value FROM events WHERE patient_id IN (SELECT unnest(?))", [ids]
    ).to_arrow_table()  # fmt: skip
    pq.write_table(flat, folder / "flat.parquet")
    (folder / "meds" / "data").mkdir(parents=True)
    pq.write_table(flat, folder / "meds" / "data" / "0.parquet")
    (folder / "few.jsonl").write_text('{"codes": ["[BOS]"]}\n' * 6)
    (folder / "other.jsonl").write_text('{"codes": ["[BOS]", "one", "two"]}\n' * 20)
    (folder / "none.jsonl").write_text('{"words": "one"}\n')
    return folder


def test_forms_of_a_file(cohort: MedsDataset, copies: Path) -> None:
    vocabulary = learn_vocabulary(cohort, split="train")
    flat, meds = (OutputsFile(copies / name, vocabulary).outputs for name in ("flat.parquet", "meds"))
    assert flat == meds and len(flat) == 30
    assert set(flat) == {tuple(vocabulary.ids(encode(r, vocabulary).codes)) for r in cohort.records(cohort.ids("train")[:30])}  # fmt: skip
    assert OutputsFile(copies / "numbers.parquet", vocabulary).outputs == OutputsFile(copies / "held_out.jsonl", vocabulary).outputs  # fmt: skip
    with pytest.raises(CannotAnswer, match="no model is there"):
        OutputsFile(copies / "few.jsonl", vocabulary).score([[1]])
    with pytest.raises(BadInput, match=r"other.jsonl is in other codes: 67% of its codes"):
        OutputsFile(copies / "other.jsonl", vocabulary)
    with pytest.raises(BadInput, match="row 1: no list of codes or ids; it has words"):
        OutputsFile(copies / "none.jsonl", vocabulary)


def test_a_file_of_copies_is_found_without_any_model(
    copies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    probe = ["probe", "disclosures", "--data", str(sample_data())]
    assert main([*probe, "--outputs", str(copies / "train.jsonl"), "--out", str(tmp_path / "found")]) == 0
    assert "Memorized: people recognizable in outputs by a whole visit" in capsys.readouterr().out
    found = Finding.load(tmp_path / "found")
    assert found.settings["outputs"] == 500 and found.settings["knowledge_levels"] == []
    assert set(gap(found, kind, knowledge="")["verdict"] for kind in (RUN, PANEL, VISIT)) == {"Memorized"}
    assert main([*probe, "--outputs", str(copies / "held_out.jsonl"), "--out", str(tmp_path / "not")]) == 0
    assert set(gap(Finding.load(tmp_path / "not"), kind, knowledge="")["reason"] for kind in KINDS) == {"less"}


@pytest.mark.parametrize(
    ("probe", "file", "said"),
    [
        ("disclosures", "few.jsonl", "few holds 6 outputs, which can show nothing: at least 7 are needed"),
        ("disclosures", "other.jsonl", "67% of its codes are unknown here"),
        ("disclosures", "missing.jsonl", "is not a file of outputs"),
        ("membership", "train.jsonl", "The probe 'membership' asks a model. Leave out --outputs, or run 'disclosures'"),
    ],
)
def test_what_cannot_be_asked_is_said(
    copies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], probe: str, file: str, said: str
) -> None:
    words = [
        "probe",
        probe,
        "--data",
        str(sample_data()),
        "--outputs",
        str(copies / file),
        "--out",
        str(tmp_path / "f"),
    ]
    assert main(words) == 2
    assert said in capsys.readouterr().err
