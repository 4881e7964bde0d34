"""Whatever is dialled, the page makes the very prompt that Python makes; and only what it needs travels."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ehrmem_widgets.attacker.facts import (
    AGE,
    KNOWLEDGE_LEVELS,
    DatePrecision,
    KnownFact,
    KnownFacts,
    ValuePrecision,
    facts_of_level,
)
from ehrmem_widgets.attacker.prompt import build_prompt, days_allowed
from ehrmem_widgets.blackbox.folder import FolderModel, folder_vocabulary
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.explorable.records import pack_patients, refuse_real_people
from ehrmem_widgets.probes.controls import same_facts_of
from ehrmem_widgets.probes.exploration import Exploration
from ehrmem_widgets.probes.leak import slot_ids
from ehrmem_widgets.probes.truth import true_continuation
from ehrmem_widgets.samples.folders import sample_data, sample_model, sample_moderate, sample_private, sample_reference
from ehrmem_widgets.tokens.attribute_codes import AttributeCodes
from ehrmem_widgets.tokens.token_scheme import read_token_scheme
from ehrmem_widgets.tokens.vocabulary import Vocabulary
from tests.explorable.modules import Run, modules_in

pytestmark = [pytest.mark.browser, pytest.mark.slow]
STATES = 200
PATIENTS = 40


@pytest.fixture(scope="module")
def run(browser: Any) -> Iterator[Run]:
    with modules_in(browser) as run:
        yield run


@pytest.fixture(scope="module")
def explorations() -> list[Exploration]:
    dataset, reference = MedsDataset(sample_data()), FolderModel(sample_reference())
    folders = (sample_model(), sample_moderate(), sample_private())
    return [Exploration(dataset, FolderModel(folder), reference) for folder in folders]


@pytest.fixture(scope="module")
def records(explorations: list[Exploration]) -> list[Record]:
    dataset = explorations[0].dataset
    canaries = explorations[0].canaries[:10]
    members = [patient for patient in dataset.ids("train") if patient not in canaries]
    return dataset.records([*canaries, *members[: PATIENTS - 20], *dataset.ids("held_out")[:10]])


@pytest.fixture(scope="module")
def packed(explorations: list[Exploration], records: list[Record]) -> dict[str, Any]:
    return pack_patients(explorations, [record.patient_id for record in records])


def dialled(rng: random.Random, record: Record) -> KnownFacts:
    """Any of the record's events, each known in any way."""
    places = [AGE] * (record.age_at_start() is not None) + list(range(len(record.events)))
    chosen = rng.sample(places, rng.randint(0, min(len(places), 25)))
    exact = rng.random() < 0.2
    return tuple(
        KnownFact(place)
        if exact
        else KnownFact(place, rng.choice(list(ValuePrecision)), rng.choice(list(DatePrecision)))
        for place in chosen
    )


def as_js(facts: KnownFacts) -> list[dict[str, object]]:
    return [{"place": fact.place, "value": str(fact.value), "date": str(fact.date)} for fact in facts]


def test_the_prompts_of_dialled_states_and_of_knowledge_levels(
    run: Run, explorations: list[Exploration], records: list[Record], packed: dict[str, Any]
) -> None:
    """And as much of a similar person's record, and what truly follows."""
    rng = random.Random(0)
    first = explorations[0]
    levels, names = list(KNOWLEDGE_LEVELS), list(first.attributes.attributes)
    pool = first.controls.records
    states = []
    for number in range(STATES):
        record = records[number % len(records)]
        level = levels[number // 2 % len(levels)] if number % 2 else None
        facts = facts_of_level(level, record, first.model.vocabulary) if level else dialled(rng, record)
        asked = rng.sample(names, rng.randint(1, len(names)))
        states.append((number % len(records), level, facts, asked, rng.randrange(len(pool))))
    found = run(
        """
        const prompts = await import("./prompts.js");
        const [packed, states] = data;
        const open = (people) => people.map((person) => prompts.opened(packed, person));
        const [patients, controls] = [open(packed.patients), open(packed.controls)];
        return states.map(([patient, level, facts, asked, other]) => {
          const record = patients[patient];
          return [...packed.audited, packed.reference].map(({ vocabulary: v }) => {
            const strip = prompts.stripOf(packed, v, asked);
            const prompt = prompts.buildPrompt(packed, record, facts, v, strip);
            const theirs = prompts.sameFactsOf(packed, controls[other], record, facts, level, v);
            return {
              prompt,
              ofLevel: level === null ? null : prompts.factsOfLevel(packed, level, record, v),
              control: prompts.buildPrompt(packed, controls[other], theirs, v, strip).slots,
              truth: prompts.trueContinuation(record, prompt, v, 64),
            };
          });
        });
        """,
        [
            packed,
            [(who, level, as_js(facts), [names.index(a) for a in asked], other) for who, level, facts, asked, other in states],
        ],
    )  # fmt: skip
    models = [*(one.model for one in explorations), explorations[0].reference]
    for (who, level, facts, asked, other), of_models in zip(states, found, strict=True):
        record = records[who]
        strip = first.attributes.strip(asked, record)
        for model, theirs in zip(models, of_models, strict=True):
            assert model is not None
            vocabulary = model.vocabulary
            prompt = build_prompt(record, facts, vocabulary, strip=strip)
            assert theirs["prompt"]["slots"] == slot_ids(prompt, vocabulary)
            assert theirs["prompt"]["places"] == list(prompt.places)
            assert theirs["prompt"]["facts"] == as_js(prompt.facts)
            counted = (prompt.stripped, prompt.left_out, prompt.last, prompt.exact)
            assert tuple(theirs["prompt"][key] for key in ("stripped", "leftOut", "last", "exact")) == counted
            if level:
                assert theirs["ofLevel"] == as_js(facts_of_level(level, record, vocabulary))
            same = same_facts_of(pool[other], record, facts, level, vocabulary)
            control = build_prompt(pool[other], same, vocabulary, strip=strip)
            assert theirs["control"] == slot_ids(control, vocabulary)
            assert theirs["truth"] == true_continuation(record, prompt, vocabulary, 64).ids(vocabulary)


def test_the_similar_people_are_pythons(
    run: Run, explorations: list[Exploration], records: list[Record], packed: dict[str, Any]
) -> None:
    rng = random.Random(1)
    first = explorations[0]
    states = []
    for number, level in enumerate([*KNOWLEDGE_LEVELS, *([None] * 4)]):
        place = 7 * number % len(records)
        record = records[place]
        facts = facts_of_level(level, record, first.model.vocabulary) if level else dialled(rng, record)
        states.append((place, build_prompt(record, facts, first.model.vocabulary).facts))
    found = run(
        """
        const { opened, similar } = await import("./prompts.js");
        const [packed, states] = data;
        const pool = packed.audited[0].controls.map((place) => opened(packed, packed.controls[place]));
        return states.map(([patient, facts]) =>
          similar(pool, opened(packed, packed.patients[patient]), facts).map((other) => other.pseudonym),
        );
        """,
        [packed, [(place, as_js(facts)) for place, facts in states]],
    )
    for (place, facts), names in zip(states, found, strict=True):
        assert names == [other.pseudonym for other in first.controls.similar(records[place], facts)]


SCHEMES = {
    "gaps by length": """
        name: other
        start: "[BOS]"
        stops: ["[EOS]"]
        statics: false
        birth: BIRTH
        age: null
        values: {kind: next, pattern: 'Q(?P<bin>\\d+)'}
        time: {lengths: {m: [0.003, 0.1], h: [0.1, 1], d: [1, 20], w: [20, 60], L: [60, .inf]}, repeat: L}
        """,
    "no time at all": """
        name: timeless
        start: "[BOS]"
        stops: ["[EOS]"]
        time: null
        """,
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_prompts_of_models_that_write_records_otherwise(
    run: Run, tmp_path: Path, records: list[Record], scheme: str
) -> None:
    """Values as codes of their own, gaps by their length and repeated, a birth, no facts without a date."""
    from ehrmem_widgets.explorable import records as packing

    (tmp_path / "scheme.yaml").write_text(re.sub(r"(?m)^ {8}", "", SCHEMES[scheme]))
    own = folder_vocabulary(sample_model())
    bases = sorted({own.base(code) for code in own.codes} - own.special)
    codes = (
        "[BOS]",
        "[EOS]",
        "BIRTH",
        *(f"Q{q}" for q in range(5)),
        *"mhdwL",
        *(b for b in bases if b[-1] not in "37"),
    )
    edges = {base: tuple(edges[:: len(edges) // 4 or 1][:4]) for base, edges in own.bins.items() if len(edges) >= 4}
    vocabulary = Vocabulary(
        codes,
        bins=edges,
        stops=frozenset({"[EOS]"}),
        pad=None,
        token_scheme=read_token_scheme(tmp_path / "scheme.yaml"),
    )
    tables = packing._Tables([vocabulary])
    some = records[::4]
    people = [tables.person(record) for record in some]
    of = AttributeCodes(vocabulary, {})
    packed = {
        "forms": [{**form, "slots": form["slots"]} for form in tables.forms],
        "ages": tables.ages,
        "vocabularies": [packing._vocabulary(vocabulary, of, tables.codes, some[0])],
        "attributes": [],
    }
    rng = random.Random(2)
    states = [(place, dialled(rng, some[place])) for place in range(len(some)) for _ in range(12)]
    levels = [
        (place, facts_of_level(name, some[place], vocabulary))
        for place in range(len(some))
        for name in KNOWLEDGE_LEVELS
    ]
    found = run(
        """
        const { opened, buildPrompt, factsOfLevel, stripOf } = await import("./prompts.js");
        const [packed, people, names, states] = data;
        const records = people.map((person) => opened(packed, person));
        return [
          records.map((record) => names.map((name) => factsOfLevel(packed, name, record, 0))).flat(),
          states.map(([place, facts]) => buildPrompt(packed, records[place], facts, 0, stripOf(packed, 0, []))),
        ];
        """,
        [packed, people, list(KNOWLEDGE_LEVELS), [(place, as_js(facts)) for place, facts in (*states, *levels)]],
    )
    assert found[0] == [as_js(facts) for _, facts in levels]
    open_gaps = 0
    for (place, facts), theirs in zip((*states, *levels), found[1], strict=True):
        prompt = build_prompt(some[place], facts, vocabulary)
        assert theirs["slots"] == slot_ids(prompt, vocabulary)
        assert (theirs["places"], theirs["leftOut"]) == (list(prompt.places), prompt.left_out)
        open_gaps += sum(len(slot) > 1 and where == -2 for slot, where in zip(prompt.slots, prompt.places, strict=True))
    assert open_gaps or vocabulary.gap_rule is None


def test_days_are_allowed_as_in_python(run: Run) -> None:
    epoch = datetime(1970, 1, 1).date().toordinal()
    days = [*range(-800, 800, 13), *range(18_000, 18_800), 51_000, -20_000]
    found = run(
        "const { daysAllowed } = await import('./prompts.js');"
        "return data[0].map((day) => data[1].map((precision) => daysAllowed(day, precision)));",
        [days, list(DatePrecision)],
    )
    for day, row in zip(days, found, strict=True):
        for precision, theirs in zip(DatePrecision, row, strict=True):
            allowed = days_allowed(datetime.fromordinal(day + epoch).date(), precision)
            assert theirs == (None if allowed is None else [one.toordinal() - epoch for one in allowed])


def test_nothing_travels_but_what_the_page_needs(
    explorations: list[Exploration], records: list[Record], packed: dict[str, Any]
) -> None:
    text = json.dumps(packed, separators=(",", ":"), allow_nan=False)
    assert len(text) < 700_000
    never_seen = {record.pseudonym for record in explorations[0].controls.records}
    named = set(re.findall(r"P-[A-Z2-7]{4}-[A-Z2-7]{4}", text))
    assert named == never_seen | {record.pseudonym for record in records}
    of_anybody = {"pseudonym", "age", "ageForm", "start", "forms", "times", "sex", "labs", "visit", "first"}
    of_patients = {"values", "split", "member", "planted", "held", "own", "sequence", "k"}
    assert all(set(person) == of_anybody for person in packed["controls"])
    assert all(set(person) == of_anybody | of_patients for person in packed["patients"])


@pytest.mark.parametrize(
    ("information", "says"),
    [
        ({"dataset_name": "Ward 7"}, "not declared synthetic.*write \"synthetic\": true into its metadata/dataset.json"),
        ({"dataset_name": "Ward 7", "synthetic": "yes"}, "not declared synthetic"),
        ({"dataset_name": "MIMIC-IV demo", "synthetic": True}, "holds real people \\(MIMIC\\), whatever it declares"),
        ({"dataset_name": "eICU-CRD", "synthetic": True}, "holds real people"),
    ],
)  # fmt: skip
def test_real_people_are_refused(tmp_path: Path, information: dict[str, object], says: str) -> None:
    from tests.cohort.meds import write

    rows = [(1, datetime(2020, 1, 1), "LAB//1", 2.0)]
    dataset = MedsDataset(write(tmp_path / "d", {"0.parquet": rows}, information=information))
    with pytest.raises(BadInput, match=says):
        refuse_real_people(dataset)
    with pytest.raises(BadInput, match=says):
        pack_patients([cast(Exploration, SimpleNamespace(dataset=dataset, reference=None))], [1])


def test_two_models_of_one_name_are_refused(explorations: list[Exploration]) -> None:
    with pytest.raises(BadInput, match="Two models are called 'memorizing'"):
        pack_patients([explorations[0], explorations[0]], [])
