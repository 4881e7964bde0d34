"""What is named is opened, by whatever name, and refused in words where it cannot be audited."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ehrmem_widgets import ExplorePatient
from ehrmem_widgets.blackbox.callable import CallableModel
from ehrmem_widgets.blackbox.checks import check_codes_in_place, check_has_learned, sample_sequences
from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.blackbox.opening import open_model, open_sequences, open_sources, open_with
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_moderate, sample_private, sample_reference
from ehrmem_widgets.sources import SOURCES, Sources, given_sources, sample_sources
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.tokens.vocabulary import Vocabulary


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in SOURCES:
        monkeypatch.delenv(f"EHRMEM_{name.upper()}", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_nothing_named_is_the_samples_and_the_environment_comes_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert given_sources() == sample_sources() and given_sources().options() == []
    monkeypatch.setenv("EHRMEM_DATA", "d")
    monkeypatch.setenv("EHRMEM_MODEL", "http://127.0.0.1:1")
    monkeypatch.setenv("EHRMEM_VOCABULARY", "v.json")
    found = given_sources(model="m")
    assert found == Sources(data="d", model="m", vocabulary="v.json") and found.reference == ()
    assert found.options() == ["--data", "d", "--model", "m", "--vocabulary", "v.json"]
    assert found.model_folder == Path("m") and given_sources().model_folder is None


def test_a_sample_model_alone_is_asked_about_the_sample_cohort() -> None:
    samples = sample_sources()
    private, reference = Path(sample_private()), Path(sample_reference())
    assert given_sources(model=private) == replace(samples, model=str(private))
    assert given_sources(model=private, reference=["other"]).reference == ("other",)
    assert given_sources(model=reference) == replace(samples, model=str(reference), reference=())


def test_data_without_a_model_is_refused_and_sequences_count_as_data() -> None:
    for given in ({"data": "d"}, {"model": "m"}, {"sequences": "s"}, {"endpoint": "http://127.0.0.1:1"}):
        with pytest.raises(BadInput, match=r"Give the data set and the model together"):
            given_sources(**given)
    assert given_sources(sequences="s", model="m").sequences == "s"


def test_a_served_model_needs_its_list_of_codes() -> None:
    with pytest.raises(
        BadInput, match=r"does not say what its numbers stand for: name the file of its codes with --vocabulary"
    ):
        open_model("http://127.0.0.1:1")
    with pytest.raises(BadInput, match=r"Sequences are read with the model's codes"):
        open_sequences(Sources(sequences="s.jsonl", model="http://127.0.0.1:1"))


def test_a_model_that_has_learned_nothing_is_refused_whatever_it_is() -> None:
    vocabulary = open_model(sample_model()).vocabulary
    flat = MarkovChain(np.full((len(vocabulary),) * 2, 1 / len(vocabulary)), vocabulary)
    with pytest.raises(BadInput, match=r"finds real records no likelier than shuffled ones"):
        open_with(sample_data(), flat)


def test_a_model_to_which_a_shuffled_record_is_impossible_has_learned() -> None:
    vocabulary = open_model(sample_model()).vocabulary
    steps = np.eye(len(vocabulary), k=1) + np.eye(len(vocabulary), k=2)
    steps[-2:, 0] = 1
    chain = MarkovChain(steps / steps.sum(axis=1, keepdims=True), vocabulary)
    records = [list(range(start, start + 9)) for start in range(20, 40)]
    assert check_has_learned(chain, records) > 1
    with pytest.raises(BadInput, match="no likelier than shuffled ones"):
        check_has_learned(chain, [record[::-1] for record in records])


def test_a_python_function_is_explored_in_three_lines() -> None:
    dataset, vocabulary = MedsDataset(sample_data()), open_model(sample_model()).vocabulary
    follows = np.full((len(vocabulary),) * 2, 0.01)
    for record in dataset.records(dataset.ids("train")[:300]):
        codes = vocabulary.ids(encode(record, vocabulary).codes)
        np.add.at(follows, (codes[:-1], codes[1:]), 1)
    follows /= follows.sum(axis=1, keepdims=True)

    def ask(sequences: list[list[int]]) -> np.ndarray:
        return follows[[sequence[-1] for sequence in sequences]]

    model = CallableModel(ask, vocabulary, context_length=256)
    screen = ExplorePatient(
        sample_data(),
        model=model,
        reference=sample_reference(),
        knowledge="demographics",
        attributes="hiv",
        horizon=2,
        samples=16,
        live=False,
    )
    results = screen.results()
    assert results["model"]["name"] == model.name and results["attributes"][0]["audited"]["n"] > 0


def test_the_reference_takes_the_models_codes_where_it_brings_none(tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    folder.mkdir()
    for path in sample_reference().iterdir():
        if path.name != "vocabulary.json":
            (folder / path.name).write_bytes(path.read_bytes())
    dataset, model, reference = open_sources(Sources(str(sample_data()), str(sample_model()), (str(folder),)))
    assert reference is not None and reference.vocabulary.codes == model.vocabulary.codes
    record = dataset.records(dataset.ids("held_out")[:1])[0]
    assert np.isfinite(reference.score([reference.vocabulary.ids(encode(record, reference.vocabulary).codes)])[0]).all()
    (folder / "config.json").write_text(
        json.dumps({**json.loads((folder / "config.json").read_text()), "auto_map": {"AutoModel": "x.py"}})
    )
    with pytest.raises(BadInput, match=r"wants to run code of its own"):
        open_sources(Sources(str(sample_data()), str(sample_model()), (str(folder),)))


def renamed(vocabulary: Vocabulary, order: np.ndarray) -> Vocabulary:
    return replace(vocabulary, codes=tuple(vocabulary.codes[place] for place in order))


def test_a_list_of_codes_in_another_order_is_refused_and_is_not_off_by_one() -> None:
    dataset, model = MedsDataset(sample_data()), open_model(sample_moderate())
    own, size, rng = model.vocabulary, len(model.vocabulary), np.random.default_rng(0)
    kinds = np.array([own.kind(code) for code in own.codes])
    within = np.arange(size)
    for kind in set(kinds):
        within[kinds == kind] = rng.permutation(within[kinds == kind])
    moved = {"off by one": np.roll(np.arange(size), 1), "its order was changed": within}
    check_codes_in_place(model, sample_sequences(model, dataset, "train"))
    for words, order in moved.items():
        model.vocabulary = renamed(own, order)
        real = sample_sequences(model, dataset, "train")
        assert check_has_learned(model, real) > 0  # the order of codes alone does not show it
        with pytest.raises(BadInput, match=words) as caught:
            check_codes_in_place(model, real)
        assert ("off by one" in str(caught.value)) == (words == "off by one")
    for seed in range(3):
        model.vocabulary = renamed(own, np.random.default_rng(seed).permutation(size))
        with pytest.raises(BadInput, match=r"swap ids at random .* n = 12\)"):
            check_has_learned(model, sample_sequences(model, dataset, "train"))
