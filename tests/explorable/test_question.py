"""The page answers as Python does: the same answers in the same order, from what the same models said to the same questions.

The page's model here says again what Python's model said (``Recording``). A question that Python did not ask, be it another prompt, seed or
number of trajectories, has no answer there and fails.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest

from ehrmem_widgets.attacker.facts import DatePrecision, KnownFact, ValuePrecision, facts_of_level
from ehrmem_widgets.blackbox.folder import FolderModel
from ehrmem_widgets.blackbox.protocol import BlackBox, SlotIds, Step
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.explorable.pack import pack_model
from ehrmem_widgets.explorable.records import pack_patients
from ehrmem_widgets.probes.exploration import Exploration, Question, State, choose_focus
from ehrmem_widgets.probes.findings import Answer, AttributeFinding, Curve
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_moderate, sample_private, sample_reference
from ehrmem_widgets.statistics.intervals import Estimate
from ehrmem_widgets.statistics.verdicts import Verdict
from tests.explorable.modules import Run, modules_in

pytestmark = [pytest.mark.browser, pytest.mark.slow]
HORIZON, SAMPLES = 32, 80
CLOSE = 1e-9

REPLAY = """
  const { openPage, answers, answersOfSeveral } = await import("./question.js");
  const read = (Type, text) => text === null ? null : new Type(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const replayed = ({ codes, contextLength, said }) => ({
    codes, contextLength,
    asked: [],
    *generate(prompts, horizon, samples, { track, banned, seed }) {
      const key = JSON.stringify([prompts, horizon, samples, track.length, banned !== null, seed]);
      if (!(key in said)) throw new Error("Python never asked " + key.slice(0, 300));
      this.asked.push(key);
      for (const { codes, mass, logWeight } of said[key]) {
        yield { codes: read(Int32Array, codes), mass: read(Float64Array, mass), logWeight: read(Float64Array, logWeight) };
      }
    },
  });
  const models = Object.fromEntries(Object.entries(data.models).map(([name, model]) => [name, replayed(model)]));
  const page = openPage(data.packed, models);
"""


class Recording:
    """A model that answers, and keeps what it was asked and what it said."""

    def __init__(self, model: FolderModel) -> None:
        self._model = model
        self.said: dict[str, list[dict[str, str | None]]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(
        self,
        prompts: Sequence[SlotIds],
        horizon: int,
        samples: int,
        *,
        track: np.ndarray | None = None,
        banned: np.ndarray | None = None,
        seed: int = 0,
    ) -> Iterator[Step]:
        assert track is not None
        key = json.dumps([prompts, horizon, samples, track.shape[1], banned is not None, seed], separators=(",", ":"))
        steps = self.said[key] = []
        for step in self._model.generate(prompts, horizon, samples, track=track, banned=banned, seed=seed):
            assert step.mass is not None
            steps.append(
                {
                    "codes": packed64(step.codes, np.int32),
                    "mass": packed64(step.mass, np.float64),
                    "logWeight": packed64(step.log_weight, np.float64),
                }
            )
            yield step


def packed64(numbers: np.ndarray, kind: type) -> str:
    return base64.b64encode(np.ascontiguousarray(numbers, dtype=kind).tobytes()).decode()


@pytest.fixture(scope="module")
def run(browser: Any) -> Iterator[Run]:
    with modules_in(browser) as run:
        yield run


@pytest.fixture(scope="module")
def explorations() -> list[Exploration]:
    dataset = MedsDataset(sample_data())
    models = [Recording(FolderModel(folder)) for folder in (sample_model(), sample_moderate(), sample_private())]
    reference = cast(BlackBox, Recording(FolderModel(sample_reference())))
    return [Exploration(dataset, cast(BlackBox, model), reference) for model in models]


@pytest.fixture(scope="module")
def patients(explorations: list[Exploration]) -> list[int]:
    """A planted one, members, and people whom no model saw, each with something to hide."""
    first = explorations[0]
    holders = set(first.dataset.holders(first.attributes.default_names()))
    planted = [patient for patient in first.canaries if patient in holders]
    members, others = (
        [patient for patient in first.dataset.ids(split) if patient in holders - {*first.canaries}]
        for split in ("train", "held_out")
    )
    return [planted[0], planted[-1], *members[:2], others[0]]


@pytest.fixture(scope="module")
def packed(explorations: list[Exploration], patients: list[int]) -> dict[str, Any]:
    return pack_patients(explorations, patients)


def state(exploration: Exploration, patient: int, knowledge: str, **changes: Any) -> State:
    record = exploration.record(patient)
    facts = facts_of_level(knowledge, record, exploration.model.vocabulary)
    names = exploration.attributes.default_names()
    severity = {name: one.severity for name, one in exploration.attributes.attributes.items()}
    focus = choose_focus(exploration.held(patient), names, severity)
    return replace(State(patient, facts, knowledge, names, focus, HORIZON, SAMPLES), **changes)


def as_js(exploration: Exploration, asked: State) -> dict[str, Any]:
    """A state as the page takes it."""
    return {
        "patient": exploration.record(asked.patient_id).pseudonym,
        "model": exploration.model.name,
        "facts": [{"place": fact.place, "value": str(fact.value), "date": str(fact.date)} for fact in asked.facts],
        "knowledge": asked.knowledge,
        "attributes": list(asked.attributes),
        **{name: getattr(asked, name) for name in ("focus", "horizon", "samples", "seed")},
    }


def answers(exploration: Exploration, asked: State) -> list[Answer]:
    """As ``Exploration.answers``, without what the page leaves out."""
    question = Question(exploration, asked)
    parts = (question.first_answers(), iter([question]), question.refine(), question.compare())
    found = [question.answer if part is question else part for some in parts for part in some if part is not None]
    return [cast(Answer, one) for one in (*found, question.settled())]


def ask(run: Run, explorations: list[Exploration], packed: dict[str, Any], asked: State, several: bool) -> Any:
    """The page's answers to a state, by the first audited model or by all of them side by side."""
    models = [*(cast(Recording, one.model) for one in explorations), cast(Recording, explorations[0].reference)]
    return run(
        REPLAY
        + """
        const found = data.several ? answersOfSeveral(page, data.state, data.packed.audited.map(({ name }) => name))
                                   : answers(page, data.state);
        const given = [...found].filter((one) => one !== null);
        return { given, twice: Object.values(models).some(({ asked }) => new Set(asked).size < asked.length) };
        """,
        {
            "packed": packed,
            "several": several,
            "models": {
                model.name: {
                    "codes": list(model.vocabulary.codes),
                    "contextLength": model.context_length,
                    "said": model.said,
                }
                for model in models
            },
            "state": as_js(explorations[0], asked),
        },
    )


def same_estimate(theirs: Any, ours: Estimate | None) -> None:
    assert (theirs is None) == (ours is None)
    if ours is not None:
        found = [theirs[key] for key in ("value", "low", "high")]
        np.testing.assert_allclose(found, (ours.value, ours.low, ours.high), rtol=CLOSE, atol=CLOSE / 1000)
        assert theirs["n"] == ours.n


def same_curve(theirs: Any, ours: Curve | None) -> None:
    assert (theirs is None) == (ours is None)
    if ours is not None:
        for key in ("value", "low", "high"):
            np.testing.assert_allclose(theirs[key], getattr(ours, key), rtol=CLOSE, atol=CLOSE / 1000)
        assert theirs["n"] == ours.n


def same_finding(theirs: Any, ours: AttributeFinding) -> None:
    assert [theirs[key] for key in ("name", "title", "severity", "held", "method", "notAsked")] == [
        *(ours.name, ours.title, ours.severity, ours.held, ours.method, ours.not_asked)
    ]
    for key in ("audited", "reference", "excess"):
        same_estimate(theirs[key], getattr(ours, key))
    np.testing.assert_allclose(np.reshape(theirs["controls"], (-1, 2)), np.reshape(ours.controls, (-1, 2)), atol=CLOSE)
    assert (theirs["judgement"] is None) == (ours.judgement is None)
    if ours.judgement is not None:
        said = ours.judgement
        found = theirs["judgement"]
        assert (found["verdict"], found["reason"], found["sentence"]) == (said.verdict, said.reason, said.sentence)
        assert found["rankP"] == (None if said.rank_p is None else pytest.approx(said.rank_p, rel=CLOSE))


def same_answers(theirs: Sequence[Any], ours: Sequence[Answer]) -> None:
    assert len(theirs) == len(ours) > 3
    for found, answer in zip(theirs, ours, strict=True):
        for key in ("focus", "horizon", "stripped", "settled"):
            assert found[key] == getattr(answer, key)
        assert found["leftOut"] == answer.left_out
        assert found["prompt"] == list(answer.prompt)
        assert found["warnings"] == list(answer.warnings)
        assert found["truth"] == [vars(event) for event in answer.truth]
        assert found["generated"] == [[vars(event) for event in one] for one in answer.generated]
        assert (found["known"]["facts"], found["known"]["n"]) == (answer.known.facts, answer.known.n)
        assert found["known"]["k"] in (None, answer.known.k)
        effective = math.inf if found["effectiveSamples"] is None else found["effectiveSamples"]
        assert effective == pytest.approx(answer.effective_samples, rel=CLOSE)
        same_curve(found["curve"], answer.curve)
        same_curve(found["referenceCurve"], answer.reference_curve)
        for one, finding in zip(found["attributes"], answer.attributes, strict=True):
            same_finding(one, finding)


def test_three_models_side_by_side(
    run: Run, explorations: list[Exploration], patients: list[int], packed: dict[str, Any]
) -> None:
    """A planted patient from one lab; values unknown, so that slots are open. The reference model is asked once for all three."""
    asked = state(explorations[0], patients[0], "one_lab")
    ours = [answers(one, asked) for one in explorations]
    theirs = ask(run, explorations, packed, asked, several=True)
    assert not theirs["twice"]
    for exploration, expected in zip(explorations, ours, strict=True):
        same_answers([one for one in theirs["given"] if one["model"] == exploration.model.name], expected)
    verdicts = [one[-1].attribute(asked.focus).judgement.verdict for one in ours]  # type: ignore[union-attr]
    assert verdicts[0] is Verdict.MEMORIZED and verdicts[2] is not Verdict.MEMORIZED
    first = [one["model"] for one in theirs["given"]][:3]
    assert first == [exploration.model.name for exploration in explorations]


@pytest.mark.parametrize(
    ("place", "knowledge", "changes"),
    [
        (1, "lab_dates", {"seed": 7}),
        (2, "nothing", {}),
        (3, "lab_values", {"horizon": 4}),
        (4, "first_20", {"samples": 160, "seed": 3}),
        (2, "demographics", {"attributes": ("sex", "mental_health", "age_band"), "focus": "sex"}),
        (3, None, {"seed": 2**32 - 1}),
    ],
)
def test_an_answer_is_pythons(
    run: Run,
    explorations: list[Exploration],
    patients: list[int],
    packed: dict[str, Any],
    place: int,
    knowledge: str | None,
    changes: dict[str, Any],
) -> None:
    first = explorations[0]
    asked = state(first, patients[place], knowledge or "lab_values", **changes)
    if knowledge is None:  # dialled by hand
        ways = [(value, date) for value in ValuePrecision for date in DatePrecision]
        facts = tuple(KnownFact(fact.place, *ways[4 * i % len(ways)]) for i, fact in enumerate(asked.facts[:7]))
        asked = replace(asked, facts=facts, knowledge=None)
    ours = answers(first, asked)
    same_answers(ask(run, explorations, packed, asked, several=False)["given"], ours)
    assert any(finding.judgement for finding in ours[-1].attributes)


def test_too_many_facts_are_refused_in_pythons_words(
    run: Run, explorations: list[Exploration], patients: list[int], packed: dict[str, Any]
) -> None:
    asked = state(explorations[0], patients[2], "first_20")
    said = run(
        REPLAY
        + """
        for (const model of Object.values(models)) model.contextLength = 10;
        try { [...answers(page, data.state)]; } catch (error) { return [error.constructor.name, error.message]; }
        """,
        {
            "packed": packed,
            "models": {
                model.name: {"codes": list(model.vocabulary.codes), "contextLength": 10, "said": {}}
                for model in (explorations[0].model, cast(BlackBox, explorations[0].reference))
            },
            "state": as_js(explorations[0], asked),
        },
    )
    prompt = len(Question(explorations[0], asked).slots[0])
    assert said == [
        "CannotAnswer",
        f"The facts make a prompt of {prompt} codes, and the model reads at most 10. Give the attacker fewer facts.",
    ]


def test_the_pages_own_engine_comes_to_the_same(
    run: Run, explorations: list[Exploration], patients: list[int], packed: dict[str, Any]
) -> None:
    """In float32 a few draws go the other way (test_engine): figures lie within the intervals, and the verdicts are the same."""
    folders = (sample_model(), sample_moderate(), sample_private(), sample_reference())
    asked = [state(explorations[0], patients[place], level) for place, level in ((0, "one_lab"), (4, "demographics"))]
    found = run(
        """
        const { openModel } = await import("./engine.js");
        const { openPage, answersOfSeveral } = await import("./question.js");
        const models = {};
        for (const model of data.models) models[model.name] = await openModel(model);
        const page = openPage(data.packed, models);
        const names = data.packed.audited.map(({ name }) => name);
        return data.states.map((state) => [...answersOfSeveral(page, state, names)].filter((one) => one?.settled));
        """,
        {
            "packed": packed,
            "models": [pack_model(folder) for folder in folders],
            "states": [as_js(explorations[0], one) for one in asked],
        },
    )
    for one, theirs in zip(asked, found, strict=True):
        for exploration, answer in zip(explorations, theirs, strict=True):
            ours = answers(exploration, one)[-1]
            assert answer["model"] == exploration.model.name
            for finding, expected in zip(answer["attributes"], ours.attributes, strict=True):
                assert finding["audited"]["low"] <= expected.audited.value <= finding["audited"]["high"]
                assert (finding["judgement"] is None) == (expected.judgement is None)
                if expected.judgement:
                    assert finding["judgement"]["verdict"] == expected.judgement.verdict
