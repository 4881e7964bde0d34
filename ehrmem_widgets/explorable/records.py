"""What the page needs of the chosen patients of a synthetic cohort and of the people they are compared with, and nothing else.

The page builds the prompt of any dialled state, so it gets for each event the slots that it makes by precision of its value, its time,
and the rule by which each vocabulary writes gaps. Everybody in the pool of never-seen people (``ControlPool``, at most 2,000) travels:
at forty patients the nearest forty at the offered knowledge levels are nearly all of them (685 of 700 in the sample cohort), and so the
page's similar people are Python's for every state, dialled by hand or not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from ehrmem_widgets.attacker.facts import (
    AGE,
    KNOWLEDGE_LEVELS,
    DatePrecision,
    KnownFact,
    ValuePrecision,
    facts_of_level,
)
from ehrmem_widgets.attacker.prompt import build_prompt, value_slots
from ehrmem_widgets.blackbox.protocol import BlackBox
from ehrmem_widgets.blackbox.training_splits import trained_on
from ehrmem_widgets.cohort.codes import parse_code
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Event, Record
from ehrmem_widgets.cohort.time_codes import AGE_CODES, BETWEEN_DAYS, CALENDAR, WITHIN_A_DAY, Gaps
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.probes.calibration import calibration_in_words
from ehrmem_widgets.probes.exploration import Exploration
from ehrmem_widgets.settings import shown
from ehrmem_widgets.tokens.attribute_codes import AttributeCodes
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.tokens.vocabulary import Vocabulary

_OF_REAL_PEOPLE = re.compile(
    r"mimic|eicu|hirid|amsterdam.?umc|ehrshot|sicdb|nwicu|uk.?biobank|all.?of.?us|cprd|optum|truveta", re.IGNORECASE
)
_EPOCH = date(1970, 1, 1).toordinal()
_FIRST_LEVELS = tuple(name for name in KNOWLEDGE_LEVELS if name.startswith("first_"))

Packed = dict[str, object]


def refuse_real_people(dataset: MedsDataset) -> None:
    """Raise BadInput for a data set that does not declare itself synthetic, or is known to hold real people whatever it declares.

    The declaration is ``"synthetic": true`` in ``metadata/dataset.json``, as the sample cohort has it.
    """
    if found := _OF_REAL_PEOPLE.search(dataset.name):
        raise BadInput(
            f"The data set {shown(dataset.name)} bears the name of one that holds real people ({found[0]}), whatever it declares: their records "
            "never go into a file that is handed round. Use a synthetic cohort, such as the sample cohort."
        )
    if not dataset.declared_synthetic:
        raise BadInput(
            f"The data set {shown(dataset.name)} is not declared synthetic, so its patients may be real people, whose records never go into a "
            'file that is handed round. If they were all made up, write "synthetic": true into its metadata/dataset.json; else use '
            "a synthetic cohort, such as the sample cohort."
        )


def pack_patients(explorations: Sequence[Exploration], patients: Sequence[int]) -> Packed:
    """The chosen patients and the people they are compared with, ready for JSON.

    ``explorations``: one for each audited model, of one data set and with one reference model or none. Patients go by pseudonym. Raises
    BadInput for a data set that is not synthetic, and for models that the page could not tell apart.
    """
    dataset, reference = explorations[0].dataset, explorations[0].reference
    refuse_real_people(dataset)
    models: list[BlackBox] = [one.model for one in explorations] + ([reference] if reference else [])
    names = [model.name for model in models]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadInput(f"Two models are called {shown(twice[0])}: rename one of the folders.")
    vocabularies = list({model.vocabulary.identity: model.vocabulary for model in reversed(models)}.values())[::-1]
    place_of = {vocabulary.identity: place for place, vocabulary in enumerate(vocabularies)}
    attribute_codes = [_attribute_codes(explorations, vocabulary) for vocabulary in vocabularies]
    pool = {record.patient_id: record for one in explorations for record in one.controls.records}
    ids = sorted(pool)
    records = dataset.records(patients)
    tables = _Tables(vocabularies)
    people = [tables.person(record) for record in (*(pool[patient] for patient in ids), *records)]
    codes = tables.codes
    return {
        "dataset": dataset.name,
        "levels": [{"name": name, "words": words} for name, words in KNOWLEDGE_LEVELS.items()],
        "patientsInDataset": len(dataset),
        "audited": [_audited(one, place_of, ids) for one in explorations],
        "reference": reference and {"name": reference.name, "vocabulary": place_of[reference.vocabulary.identity]},
        "attributes": [
            {"name": name, "title": one.title, "severity": one.severity, "asked": name in explorations[0].attributes.default_names()}
            for name, one in dataset.attributes.items()
        ],
        "codes": [
            [dataset.label(code), str(parse_code(code).kind), attribute_codes[0].title_of(code)] for code in codes
        ],
        "vocabularies": [
            _vocabulary(vocabulary, of, codes, records[0])
            for vocabulary, of in zip(vocabularies, attribute_codes, strict=True)
        ],
        "forms": tables.forms,
        "ages": tables.ages,
        "controls": people[: len(ids)],
        "patients": [
            {**person, **_patient(record, explorations, vocabularies, attribute_codes)}
            for person, record in zip(people[len(ids) :], records, strict=True)
        ],
    }  # fmt: skip


class _Tables:
    """What many events have in common, written once: codes, the forms of events, the slots of ages."""

    def __init__(self, vocabularies: Sequence[Vocabulary]) -> None:
        self._vocabularies = vocabularies
        self._codes: dict[str, int] = {}
        self._forms: dict[str, int] = {}
        self._form_of: dict[tuple[str, float | None], int] = {}
        self._age_forms: dict[str, int] = {}
        self.forms: list[Packed] = []
        self.ages: list[object] = []

    @property
    def codes(self) -> list[str]:
        """The data set's codes, each without its value."""
        return list(self._codes)

    def person(self, record: Record) -> Packed:
        """One record as the page builds prompts from it. Events' times are seconds since the event before, the first one's since midnight
        of the day ``start`` (days since 1970); None for a fact without a date."""
        dated = [event.time for event in record.events if event.time is not None]
        start = dated[0].replace(hour=0, minute=0, second=0, microsecond=0) if dated else None
        before = start
        times: list[float | None] = []
        for event in record.events:
            if event.time is None or before is None:
                times.append(None)
            else:
                times.append(_plain((event.time - before).total_seconds()))
                before = event.time
        drawn = facts_of_level("lab_dates", record, self._vocabularies[0])
        return {
            "pseudonym": record.pseudonym,
            "age": record.age_at_start(),
            "ageForm": self._age_form(record),
            "start": start and start.date().toordinal() - _EPOCH,
            "forms": [self._form(event) for event in record.events],
            "times": times,
            "sex": _places(facts_of_level("age_sex", record, self._vocabularies[0])),
            "labs": [fact.place for fact in drawn if fact.value is ValuePrecision.UNKNOWN],
            "visit": [fact.place for fact in drawn if fact.value is ValuePrecision.EXACT and fact.date is DatePrecision.DAY],
            "first": [
                {name: _first(facts_of_level(name, record, vocabulary)) for name in _FIRST_LEVELS}
                for vocabulary in self._vocabularies
            ],
        }  # fmt: skip

    def _form(self, event: Event) -> int:
        key = (event.code, event.value)
        if key not in self._form_of:
            code = self._codes.setdefault(event.code, len(self._codes))
            slots = [
                [[v.ids(slot) for slot in value_slots(event, precision, v)] for precision in ValuePrecision]
                for v in self._vocabularies
            ]
            self._form_of[key] = self._forms.setdefault(repr((code, slots)), len(self.forms))
            if self._form_of[key] == len(self.forms):
                self.forms.append({"code": code, "slots": slots})
        return self._form_of[key]

    def _age_form(self, record: Record) -> int:
        """Which of ``ages``: by vocabulary and precision, the slots that tell this record's age."""
        slots = [[_age_slots(record, precision, v) for precision in ValuePrecision] for v in self._vocabularies]
        place = self._age_forms.setdefault(repr(slots), len(self.ages))
        if place == len(self.ages):
            self.ages.append(slots)
        return place


def _age_slots(record: Record, precision: ValuePrecision, vocabulary: Vocabulary) -> list[list[int]]:
    prompt = build_prompt(record, (KnownFact(AGE, precision),), vocabulary)
    return [vocabulary.ids(slot) for slot in prompt.slots[len(vocabulary.opening) :]]


def _places(facts: Iterable[KnownFact]) -> list[int]:
    return [fact.place for fact in facts if fact.place != AGE]


def _first(facts: Sequence[KnownFact]) -> list[object]:
    """Whether the age is among the first codes, and the last event that is."""
    return [any(fact.place == AGE for fact in facts), max(_places(facts), default=-1)]


def _plain(seconds: float) -> float:
    return int(seconds) if seconds.is_integer() else seconds


def _audited(exploration: Exploration, place_of: Mapping[str, int], pool: Sequence[int]) -> Packed:
    candidates = {record.patient_id for record in exploration.controls.records}
    return {
        "name": exploration.model.name,
        "vocabulary": place_of[exploration.model.vocabulary.identity],
        "calibration": calibration_in_words(exploration.calibration),
        "controls": [place for place, patient in enumerate(pool) if patient in candidates],
    }


def _attribute_codes(explorations: Sequence[Exploration], vocabulary: Vocabulary) -> AttributeCodes:
    """As ``Question`` matches the declared attributes to the vocabulary of an audited or of a reference model."""
    for one in explorations:
        if one.model.vocabulary.codes == vocabulary.codes:
            return one.attributes
    return AttributeCodes(vocabulary, explorations[0].attributes.attributes)


def _vocabulary(vocabulary: Vocabulary, of: AttributeCodes, codes: Sequence[str], anybody: Record) -> Packed:
    """``words``: label, kind and title of the sensitive attribute of each id. ``attributes``: what is withheld (places in ``codes``), and
    the ids that give each away; None for an attribute that everybody has a value of."""
    stripped = {name: of.strip([name], anybody) for name in of.attributes}
    return {
        "opening": vocabulary.ids(vocabulary.opening),
        "statics": vocabulary.token_scheme.statics,
        "gaps": _gaps(vocabulary),
        "words": [[vocabulary.label(c), str(vocabulary.kind(c)), of.title_of(c)] for c in vocabulary.codes],
        "attributes": [
            {
                "strip": [place for place, code in enumerate(codes) if code in stripped[name]],
                "stripsAge": AGE_CODES[0] in stripped[name],
                "unknown": name in of.unknown_to_model(),
                "track": _track(of, name, anybody) if one.own_value is None else None,
            }
            for name, one in of.attributes.items()
        ],
    }


def _gaps(vocabulary: Vocabulary) -> Packed | None:
    """The gap rule as the page reads it: ids (-1: not in the vocabulary) with the fewest days or minutes, or with lengths in days."""

    def number(code: str) -> int:
        return vocabulary.id(code) if code in vocabulary else -1

    rule = vocabulary.gap_rule
    if rule is None:
        return None
    found: Packed = {"codes": [number(code) for code in rule.codes]}
    if rule is CALENDAR:
        steps = {"withinADay": WITHIN_A_DAY, "betweenDays": BETWEEN_DAYS}
        return {**found, "calendar": {name: [[number(c), first] for c, first in some] for name, some in steps.items()}}
    assert isinstance(rule, Gaps)
    lengths = [[low, high if math.isfinite(high) else None] for low, high in map(rule.lengths.__getitem__, rule.codes)]
    return {**found, "lengths": lengths, "repeat": rule.codes.index(rule.repeat) if rule.repeat else None}


def _track(of: AttributeCodes, name: str, record: Record) -> list[int]:
    return [int(place) for place in of.track([name], record)[:, 0].nonzero()[0]]


def _patient(
    record: Record,
    explorations: Sequence[Exploration],
    vocabularies: Sequence[Vocabulary],
    attribute_codes: Sequence[AttributeCodes],
) -> Packed:
    """What the page shows and asks of a chosen patient beyond what it needs of everybody. ``held``, ``own`` and ``sequence`` are by
    vocabulary, ``planted`` and ``member`` by audited model, ``k`` by knowledge level: how many patients fit what remains of the facts when
    the attributes asked by default are withheld."""
    first = explorations[0]
    split = first.dataset.split_of(record.patient_id)
    strip = first.attributes.strip(first.attributes.default_names(), record)
    prompts = {
        level: build_prompt(
            record, facts_of_level(level, record, first.model.vocabulary), first.model.vocabulary, strip=strip
        )
        for level in KNOWLEDGE_LEVELS
    }
    encoded = [encode(record, vocabulary) for vocabulary in vocabularies]
    return {
        "values": [event.value for event in record.events],
        "split": split,
        "member": [split == trained_on(one.model) for one in explorations],
        "planted": [record.patient_id in one.canaries for one in explorations],
        "held": [[of.held(name, record) for name in of.attributes] for of in attribute_codes],
        "own": [
            [_track(of, name, record) if one.own_value is not None else None for name, one in of.attributes.items()]
            for of in attribute_codes
        ],
        "sequence": [
            {"ids": vocabulary.ids(found.codes), "eventOf": list(found.event_of)}
            for vocabulary, found in zip(vocabularies, encoded, strict=True)
        ],
        "k": {level: first.known(record, prompt).k for level, prompt in prompts.items()},
    }
