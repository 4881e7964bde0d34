"""The page's engine answers as FolderModel does: logits, and over many states of knowledge codes, masses and weights.

In float32 a draw that falls within rounding of a boundary goes the other way about once in 10,000: from there on a continuation is another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ehrmem_widgets.attacker.facts import DatePrecision, KnownFacts, ValuePrecision, facts_of_level
from ehrmem_widgets.attacker.prompt import build_prompt
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.protocol import SlotIds, Step
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.explorable.pack import pack_model
from ehrmem_widgets.probes.leak import slot_ids
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_moderate, sample_private, sample_reference
from ehrmem_widgets.tokens.attribute_codes import AttributeCodes
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.blackbox.test_decoding import small_model
from tests.explorable.modules import ORIGIN, Run, modules_in
from tests.explorable.test_pack import saved

MODELS = {folder().name: folder() for folder in (sample_model, sample_moderate, sample_private, sample_reference)}
LEVELS = ("nothing", "demographics", "lab_dates", "coarse", "first_20")
PATIENTS = 10
HORIZON, SAMPLES, SEED = 48, 8, 11
OTHERS = ("llama", "scaled positions", "gpt2", "gpt_neox", "parallel layers")

_OPEN = """const { openModel } = await import("./engine.js");
(globalThis.models ??= {})[data.key] = await openModel(data.packed, { kernels: data.kernels });
return models[data.key].kernels;"""
_GENERATE = """const masks = (rows) => rows && rows.map((row) => Uint8Array.from(row));
return data.map(({ key, prompts, horizon, samples, track, banned, seed }) => {
  const options = { track: masks(track), banned: banned && Uint8Array.from(banned), seed };
  return [...models[key].generate(prompts, horizon, samples, options)];
});"""

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def run(browser: Any) -> Iterator[Run]:
    """Runs a script in a page where every sample model is open twice, as "wasm memorizing" and so on."""
    with modules_in(browser) as run:
        for folder in MODELS.values():
            for kernels in ("wasm", "js"):
                key = f"{kernels} {folder.name}"
                assert run(_OPEN, {"key": key, "packed": pack_model(folder), "kernels": kernels}) == kernels
        yield run


@pytest.fixture(scope="module")
def models() -> dict[str, FolderModel]:
    return {name: FolderModel(folder, device="cpu") for name, folder in MODELS.items()}


class Asked:
    """A question to one model, and what Python says."""

    def __init__(
        self, model: FolderModel, prompts: Sequence[SlotIds], *, track: Any = None, banned: Any = None
    ) -> None:
        self.question = {
            "prompts": prompts,
            "horizon": HORIZON,
            "samples": SAMPLES,
            "track": None if track is None else track.T.astype(int).tolist(),
            "banned": None if banned is None else banned.astype(int).tolist(),
            "seed": SEED,
        }
        self.model = model
        self.steps = list(model.generate(prompts, HORIZON, SAMPLES, track=track, banned=banned, seed=SEED))


@pytest.fixture(scope="module")
def asked(models: dict[str, FolderModel]) -> list[list[Asked]]:
    """50 states of knowledge, each put to the four models; in turn tracked, and banned as well as tracked."""
    data = MedsDataset(sample_data())
    vocabulary = models["memorizing"].vocabulary
    codes = AttributeCodes(vocabulary, data.attributes, data.codes["code"].tolist(), data.descriptions)
    names = codes.default_names()
    ids = data.ids()
    states = []
    for record in data.records(ids[:: len(ids) // PATIENTS][:PATIENTS]):
        for level in LEVELS:
            prompt = slot_ids(build_prompt(record, facts_of(level, record, vocabulary), vocabulary), vocabulary)
            track = codes.track(names, record)
            banned = track[:, len(states) % len(names)].astype(bool) if len(states) % 2 else None
            states.append([Asked(model, [prompt], track=track, banned=banned) for model in models.values()])
    return states


def facts_of(level: str, record: Record, vocabulary: Vocabulary) -> KnownFacts:
    if level != "coarse":
        return facts_of_level(level, record, vocabulary)
    exact = facts_of_level("lab_values", record, vocabulary)
    return tuple(replace(fact, value=ValuePrecision.COARSE, date=DatePrecision.WEEK) for fact in exact)


def answers(run: Run, kernels: str, asked: Sequence[Asked]) -> list[Any]:
    found: list[Any] = run(_GENERATE, [{"key": f"{kernels} {one.model.name}", **one.question} for one in asked])
    return found


def diverged(expected: Sequence[Step], found: Sequence[Any]) -> list[bool]:
    """Of each continuation, whether it took another code somewhere; up to there its masses and its weight must be those of Python."""
    most = max(len(expected), len(found))
    codes = np.full((2, most, expected[0].codes.size), -1)
    for side, steps in enumerate(([step.codes.ravel() for step in expected], [step["codes"] for step in found])):
        codes[side, : len(steps)] = steps
    weights = expected[0].log_weight.ravel(), np.array(found[0]["logWeight"])
    other_fill = np.abs(weights[0] - weights[1]) > 1e-4  # a slot was filled with another code
    differs = (codes[0] != codes[1]) | other_fill
    compared = min(len(expected), len(found))
    same_until_here = ~np.concatenate([other_fill[None], differs[:-1]]).cumsum(axis=0, dtype=bool)[:compared]
    if expected[0].mass is not None:
        shape = (compared, expected[0].codes.size, -1)
        mass = [
            np.array(steps[:compared]).reshape(shape)
            for steps in ([s.mass for s in expected], [s["mass"] for s in found])
        ]
        assert np.abs(mass[0] - mass[1])[same_until_here].max() < 1e-5
    return list(differs.any(axis=0))


@pytest.mark.parametrize("name", MODELS)
def test_logits_scores_and_embeddings_are_those_of_python(run: Run, models: dict[str, FolderModel], name: str) -> None:
    model, random = models[name], np.random.default_rng(5)
    sequences = [[1, *random.integers(3, 987, n - 1).tolist()] for n in (1, 2, 3, 5, 8, 12, 13, 30, 64, 65, 130, 256)]
    with torch.inference_mode():
        logits = [model._model(torch.tensor([ids])).logits[0].numpy() for ids in sequences[:10]]
    scores, embeddings = model.score(sequences), model.embed(sequences)
    for kernels in ("wasm", "js"):
        found = run(
            """const { key, sequences } = data;
            const model = models[key];
            return { logits: model.logits(sequences.slice(0, 10)), scores: model.score(sequences), embeddings: model.embed(sequences) };""",
            {"key": f"{kernels} {name}", "sequences": sequences},
        )
        for mine, theirs in zip(found["logits"], logits, strict=True):
            assert np.abs(np.reshape(mine, theirs.shape) - theirs).max() < 1e-4
        for mine, theirs in zip(found["scores"], scores, strict=True):
            assert len(mine) == len(theirs) and np.abs(mine - theirs).max(initial=0) < 1e-4
        assert np.abs(np.array(found["embeddings"]) - embeddings).max() < 1e-5


@pytest.mark.slow
def test_fifty_states_and_four_models_are_answered_as_in_python(run: Run, asked: list[list[Asked]]) -> None:
    every = [one for state in asked for one in state]
    slots = [len(slot) for one in every for slot in one.question["prompts"][0]]  # type: ignore[index]
    assert len(every) == 200 and sum(n > 1 for n in slots) > 200  # open slots are filled from the model
    assert {len(one.steps) == HORIZON for one in every} == {True, False}  # some end before the horizon
    apart = [diverged(one.steps, found) for one, found in zip(every, answers(run, "wasm", every), strict=True)]
    assert np.mean(apart) <= 0.02


@pytest.mark.slow
def test_plain_javascript_answers_the_same(run: Run, asked: list[list[Asked]]) -> None:
    rotated = [state[number % len(state)] for number, state in enumerate(asked)]
    apart = [diverged(one.steps, found) for one, found in zip(rotated, answers(run, "js", rotated), strict=True)]
    assert np.mean(apart) <= 0.02


@pytest.mark.parametrize("kernels", ["wasm", "js"])
def test_prompts_of_several_lengths_are_asked_together(run: Run, models: dict[str, FolderModel], kernels: str) -> None:
    fills: list[list[int]] = [[20, 21, 22, 23, 24], [500], [7, 9, 400]]
    prompts = [[[1], [40], [300], *fills], [[1], [40], [300], [200], [201], *fills], [[1], [3], [5], [8]]]
    track = np.zeros((987, 2), dtype=bool)
    track[100:150, 0] = track[300:600, 1] = True
    one = Asked(models["memorizing"], prompts, track=track, banned=track[:, 0])
    (found,) = answers(run, kernels, [one])
    assert not any(diverged(one.steps, found))


@pytest.mark.parametrize("kind", OTHERS)
def test_other_architectures_answer_as_in_python(run: Run, tmp_path: Path, kind: str) -> None:
    model = FolderModel(saved(small_model(kind), tmp_path), device="cpu")
    model.name = kind
    one = Asked(model, [[[1], [5, 6, 7], [9]], [[1], [4], [8, 10], [11]]], track=np.eye(40)[:, 20:24])
    for kernels in ("wasm", "js"):
        run(_OPEN, {"key": f"{kernels} {kind}", "packed": pack_model(tmp_path), "kernels": kernels})
        found = run("return models[data].logits([[1, 5, 9, 30, 2, 17]])[0];", f"{kernels} {kind}")
        with torch.inference_mode():
            logits = model._model(torch.tensor([[1, 5, 9, 30, 2, 17]])).logits[0].numpy()
        assert np.abs(np.reshape(found, logits.shape) - logits).max() < 1e-4
        embeddings = run("return models[data].embed([[1, 5, 9, 30, 2, 17]]);", f"{kernels} {kind}")
        assert np.abs(np.array(embeddings) - model.embed([[1, 5, 9, 30, 2, 17]])).max() < 1e-5
        (steps,) = answers(run, kernels, [one])
        assert not any(diverged(one.steps, steps))


def test_questions_overlap_and_their_memory_serves_the_next(run: Run) -> None:
    found = run(
        """const model = models["wasm memorizing"];
        const ask = (seed) => model.generate([[[1], [40], [300]]], 24, 32, { seed });
        const alone = [...ask(1)];
        const before = model.bytes;
        const [first, second] = [ask(1), ask(2)];
        const together = [];
        for (const step of first) {
          together.push(step);
          second.next();
        }
        second.return();
        const overlapping = model.bytes;
        for (let seed = 3; seed < 9; seed++) for (const step of ask(seed)) break; // cancelled at once
        for (const step of ask(9));
        return { alone, together, before, overlapping, after: model.bytes };"""
    )
    assert found["alone"] == found["together"]
    assert found["before"] <= found["overlapping"] == found["after"]


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ([[[1], []]], "each of its slots at least one code"),
        ([[[1, 2]]], "The first place of a prompt must be one code"),
        ([[[1], [2, 3], [4]], [[1], [5]]], "such different forms"),
        ([[[1]] * 256], "fills the model's context of 256 codes. Give the attacker fewer facts"),
    ],
)
def test_what_python_refuses_is_refused_in_the_same_words(run: Run, prompts: SlotIds, words: str) -> None:
    script = 'try { models["js private"].generate(data, 8, 2).next(); } catch (error) { return error.message; }'
    assert words in run(script, prompts)


@pytest.mark.parametrize(("allowed", "kernels"), [("", "js"), ("'wasm-unsafe-eval'", "wasm")])
def test_a_page_that_must_not_compile_wasm_runs_plain_javascript(browser: Any, allowed: str, kernels: str) -> None:
    policy = f"default-src 'none'; connect-src {ORIGIN}; script-src {ORIGIN} {allowed}".strip()
    with modules_in(browser, {"Content-Security-Policy": policy}) as run:
        assert run(_OPEN, {"key": "any", "packed": pack_model(sample_model())}) == kernels
