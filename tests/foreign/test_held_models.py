"""Models that nobody here designed for give T1, T4 and their checks as a plain transformers script computes them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from ehrmem_widgets.attacker.facts import facts_of_level
from ehrmem_widgets.attacker.prompt import build_prompt
from ehrmem_widgets.blackbox.model_checks import every_check
from ehrmem_widgets.blackbox.opening import open_sources
from ehrmem_widgets.findings.finding import Finding
from ehrmem_widgets.probes.continuations_compared import comparer_of
from ehrmem_widgets.probes.run import run
from ehrmem_widgets.sources import Sources
from tests.foreign.held import Held, ethos, held, unmarked

CASES = {
    "overfitted, no marks": partial(held, write=unmarked, steps=150),
    "half trained, no marks": partial(held, write=unmarked, steps=12),
    "overfitted, ETHOS-like": partial(held, write=ethos, steps=300),
    "half trained, ETHOS-like": partial(held, write=ethos, steps=12),
}
SAMPLES, LEVEL = 10, "first_10"


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Held]:
    return request.param, CASES[request.param](tmp_path_factory.mktemp("held"))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def nats(model: Held, ids: list[int], first: int = 1) -> float:
    """The mean loss of the codes from the place ``first`` on."""
    with torch.no_grad():
        log_p = model.plain(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
    return -float(log_p[range(len(ids) - 1), ids[1:]][first - 1 :].mean())


def by_patient(found: Finding, figure: str, **where: str) -> dict[str, float]:
    table = found.about("patients", figure=figure, **where)
    return dict(zip(table["patient"], table["value"], strict=True))


def test_checks_are_those_of_a_plain_script(case: tuple[str, Held]) -> None:
    _, model = case
    checks = {one.name: one for one in every_check(Sources(model=model.model, sequences=model.sequences))}
    assert {one.name for one in checks.values() if one.level == "fail"} <= {"Codes of sensitive attributes"}
    assert checks["Prompts"].words == "Prompts of the first 20 codes are prefixes of 20 of 20 sequences."
    if "Self-test" in checks:  # the unmarked records are too short for it
        said = checks["Self-test"].words
        for split, name in (("train", "members: "), ("held_out", "never seen: ")):
            low, high = (float(one) for one in said.lower().split(name)[1].split("(")[1].split(", n")[0].split(" to "))
            plain = np.mean([nats(model, one[:41], 21) for one in model.ids[split].values()])
            assert low - 0.005 <= plain <= high + 0.005  # two digits are shown


def test_membership_scores_are_those_of_a_plain_script(case: tuple[str, Held]) -> None:
    _, model = case
    dataset, opened, _ = open_sources(Sources(model=model.model, sequences=model.sequences))
    own = {**model.ids["train"], **model.ids["held_out"]}
    scores = by_patient(run("membership", dataset, opened, patients=list(own)), "score", attribute="Loss")
    for record in dataset.records(list(own)):
        assert scores[record.pseudonym] == pytest.approx(-nats(model, own[record.patient_id]), abs=2e-4)


def test_reconstruction_is_that_of_a_plain_script(case: tuple[str, Held]) -> None:
    name, model = case
    dataset, opened, _ = open_sources(Sources(model=model.model, sequences=model.sequences))
    own = {**model.ids["train"], **model.ids["held_out"]}
    found = run(
        "reconstruction", dataset, opened, patients=list(own), knowledge_levels=(LEVEL,), samples=SAMPLES, horizon=64
    )
    ours = by_patient(found, "timed_distance")
    comparer = comparer_of(opened, dataset, "train")
    stops = [opened.vocabulary.id(code) for code in opened.vocabulary.stops]
    torch.manual_seed(1)
    differences = []
    for record in dataset.records(list(own)):
        prompt = build_prompt(record, facts_of_level(LEVEL, record, opened.vocabulary), opened.vocabulary)
        ids, known = own[record.patient_id], len(prompt.slots)
        assert prompt.slots == tuple((opened.vocabulary.codes[one],) for one in ids[:known]) and 8 <= known <= 12
        said = model.plain.generate(
            torch.tensor([ids[:known]]), do_sample=True, top_k=0, num_return_sequences=SAMPLES,
            max_new_tokens=len(ids) - known, pad_token_id=0,
            eos_token_id=stops or None,
        )[:, known:].numpy()  # fmt: skip
        stopped = np.isin(said, stops)
        said[stopped.cumsum(axis=1) > stopped] = -1  # what stands behind an end code
        theirs = comparer.compare(ids[known:], said)["timed_distance"]
        differences.append(ours[record.pseudonym] - float(np.mean(theirs)))
    spread = np.std(differences) / np.sqrt(len(differences))
    assert abs(np.mean(differences)) < 4 * spread + 1e-6
    if name.startswith("overfitted"):
        assert np.mean([ours[r.pseudonym] for r in dataset.records(list(model.ids["train"]))]) < 0.1
