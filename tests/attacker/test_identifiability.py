"""k and bits: how far the facts alone narrow the cohort down, against counting over the records one by one."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ehrmem_widgets.attacker import identifiability
from ehrmem_widgets.attacker.facts import AGE, DatePrecision, KnownFact, ValuePrecision
from ehrmem_widgets.attacker.identifiability import FactIndex, Identifiability, checked_population
from ehrmem_widgets.attacker.prompt import days_allowed, value_slot
from ehrmem_widgets.cohort.dataset import MedsDataset
from ehrmem_widgets.cohort.record import Event, Record
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.tokens.vocabulary import Vocabulary, learn_vocabulary
from tests.cohort.meds import Row, at, write

LAB, FLU, WEIGHT = "LAB//50912//mg/dL", "DIAGNOSIS//ICD//10//J111", "WEIGHT//never binned"
EXACT, COARSE, UNKNOWN = ValuePrecision.EXACT, ValuePrecision.COARSE, ValuePrecision.UNKNOWN


@pytest.fixture(autouse=True)
def own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EHRMEM_PSEUDONYM_KEY", str(tmp_path / "pseudonym.key"))


@pytest.fixture
def four(tmp_path: Path) -> MedsDataset:
    rows: list[Row] = []
    births = ("1960-03-01", "1960-12-31", "1965-01-01", "1960-02-29")
    values = (1.0, 1.4, 2.0, 1.0)
    moments = ("2020-01-06 10:00", "2020-01-06 23:59", "2020-01-12 00:00", "2020-02-06 10:00")
    for i in range(4):
        rows.append((i, None, "GENDER//F" if i < 3 else "GENDER//M", None))
        rows.append((i, at(births[i]), "MEDS_BIRTH", None))
        rows.append((i, at(moments[i]), LAB, values[i]))
        rows.append((i, at(moments[i]), WEIGHT, 70.0 + i % 2))
    return MedsDataset(write(tmp_path / "d", {"0.parquet": rows}))


TWO_BINS = Vocabulary((f"{LAB}//0", f"{LAB}//1"), bins={LAB: (1.5,)})


@pytest.mark.parametrize(
    ("facts", "k"),
    [
        ([], 4),
        ([KnownFact(0)], 3),  # female
        ([KnownFact(AGE)], 3),  # 59 on their first day, as all but patient 2
        ([KnownFact(AGE, COARSE)], 4),  # in their fifties
        ([KnownFact(AGE, UNKNOWN)], 4),
        ([KnownFact(1, EXACT, DatePrecision.UNKNOWN)], 3),  # below 1.5
        ([KnownFact(1, UNKNOWN, DatePrecision.EXACT)], 1),  # to the minute
        ([KnownFact(1, UNKNOWN, DatePrecision.DAY)], 2),
        ([KnownFact(1, UNKNOWN, DatePrecision.WEEK)], 3),  # Monday to Sunday
        ([KnownFact(1, UNKNOWN, DatePrecision.MONTH)], 3),
        ([KnownFact(1, UNKNOWN, DatePrecision.UNKNOWN)], 4),
        ([KnownFact(1, EXACT, DatePrecision.WEEK)], 2),
        ([KnownFact(2, EXACT, DatePrecision.UNKNOWN)], 2),  # 70.0 to the dot: no bins
        ([KnownFact(0), KnownFact(1, EXACT, DatePrecision.UNKNOWN), KnownFact(2, EXACT, DatePrecision.UNKNOWN)], 1),
    ],
)
@pytest.mark.parametrize("room", [1000, 5, 0], ids=["all kept", "some kept", "looked up each time"])
def test_k_by_hand(
    four: MedsDataset, facts: list[KnownFact], k: int, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identifiability, "_MOST_KEPT", room)
    found = FactIndex(four, TWO_BINS).count(four.record(0), facts)
    assert found == Identifiability(len(facts), k, 4)
    assert found.bits == pytest.approx(math.log2(4 / k))


def test_bits_are_the_logarithm_of_n_over_k() -> None:
    assert Identifiability(3, 1, 1024).bits == 10
    assert Identifiability(3, 1024, 1024).bits == 0
    assert Identifiability(3, 0, 1024).bits == 10
    assert Identifiability(0, 0, 0).bits == 0


def test_a_population_says_how_many_people_fit_and_identifies_only_where_nobody_else_does(four: MedsDataset) -> None:
    index, record = FactIndex(four, TWO_BINS), four.record(0)
    minute, female = [KnownFact(1, UNKNOWN, DatePrecision.EXACT)], [KnownFact(0)]
    assert not index.count(record, minute).already_identified  # unique in the data set is about the data set
    whole = index.count(record, minute, population=4)
    assert whole.k == 1 and whole.already_identified and whole.population is not None
    assert whole.population.others.value == 0 and whole.population.fitting.value == 1 and whole.population.bits == 2
    more = index.count(record, minute, population=4_000)
    assert not more.already_identified and more.population is not None
    assert more.population.others.low < more.population.others.value < more.population.others.high
    several = index.count(record, female, population=4_000)
    assert several.population is not None and several.population.uniqueness.value == 0 and several.bits < 1
    nothing = index.count(record, [], population=4_000)
    assert nothing.population is not None and nothing.population.fitting.value == 4_000 and nothing.population.bits == 0


@pytest.mark.parametrize("given", [3, 0, -5, 4.0, "4", True])
def test_a_population_that_cannot_be_is_refused(given: object) -> None:
    with pytest.raises(BadInput, match="a whole number, at least the 4 patients"):
        checked_population(given, 4)  # type: ignore[arg-type]


def test_an_age_that_the_record_does_not_give_narrows_nothing_down(four: MedsDataset) -> None:
    record = Record(9, "P", (Event(None, "GENDER//F"),))
    assert FactIndex(four, TWO_BINS).count(record, [KnownFact(AGE), KnownFact(0)]).k == 3


def test_events_before_birth_count_as_age_nought_here_and_in_the_record(tmp_path: Path) -> None:
    rows: list[Row] = [(1, at("2020-06-01"), "MEDS_BIRTH", None), (1, at("2019-06-01"), FLU, None)]
    dataset = MedsDataset(write(tmp_path / "d", {"0.parquet": rows}))
    assert dataset.record(1).age_at_start() == 0
    assert FactIndex(dataset, TWO_BINS).count(dataset.record(1), [KnownFact(AGE)]).k == 1


def test_a_code_that_nobody_holds_fits_nobody(four: MedsDataset) -> None:
    record = Record(9, "P", (Event(None, "GENDER//unheard of"),))
    assert FactIndex(four, TWO_BINS).count(record, [KnownFact(0)]).k == 0


# Against brute force --------------------------------------------------------------------------------------------------


def fits(other: Record, record: Record, fact: KnownFact, vocabulary: Vocabulary) -> bool:
    """Whether another record fits one fact, event by event and with the prompt's own slots."""
    if fact.place == AGE:
        age, wanted = other.age_at_start(), record.age_at_start()
        if fact.value is UNKNOWN:
            return True
        return age is not None and (age == wanted if fact.value is EXACT else age // 10 == wanted // 10)
    event = record.events[fact.place]
    for candidate in other.events:
        if candidate.code != event.code:
            continue
        if event.value is not None and fact.value is not UNKNOWN:
            if candidate.value is None:
                continue
            if vocabulary.code_of(candidate) not in value_slot(event, fact.value, vocabulary):
                continue
        if event.time is not None and fact.date is not DatePrecision.UNKNOWN:
            if candidate.time is None:
                continue
            allowed = days_allowed(event.time.date(), fact.date)
            if allowed and not allowed[0] <= candidate.time.date() <= allowed[1]:
                continue
            if fact.date is DatePrecision.EXACT and candidate.time.replace(second=0) != event.time.replace(second=0):
                continue
        return True
    return False


def test_k_is_what_counting_over_all_records_gives(tmp_path: Path) -> None:
    draw = random.Random(11)
    codes = [LAB, "LAB//50983//mEq/L", FLU, "DIAGNOSIS//ICD//10//E119", "MEDICATION//ATC//J05AR03"]
    rows: list[Row] = []
    for patient in range(150):
        rows.append((patient, None, draw.choice(["GENDER//F", "GENDER//M"]), None))
        if draw.random() < 0.9:
            rows.append((patient, datetime(draw.randrange(1940, 2015), 1 + draw.randrange(12), 15), "MEDS_BIRTH", None))
        for _ in range(draw.randrange(1, 7)):
            code = draw.choice(codes)
            value = round(draw.gauss(5, 2), 1) if code.startswith("LAB") and draw.random() < 0.9 else None
            moment = datetime(2020, 1, 1) + timedelta(days=draw.randrange(40), hours=draw.randrange(3))
            rows.append((patient, moment if draw.random() < 0.97 else None, code, value))
    splits = {patient: "train" for patient in range(0, 150, 2)}
    dataset = MedsDataset(write(tmp_path / "d", {"0.parquet": rows}, splits=splits))
    vocabulary = learn_vocabulary(dataset)
    index = FactIndex(dataset, vocabulary)
    records = dataset.records(dataset.ids())
    found_ks = set()
    for _ in range(400):
        record = draw.choice(records)
        places = list(range(len(record.events))) + ([AGE] if record.age_at_start() is not None else [])
        chosen = draw.sample(places, draw.randint(1, min(3, len(places))))
        facts = [KnownFact(p, draw.choice(list(ValuePrecision)), draw.choice(list(DatePrecision))) for p in chosen]
        expected = sum(all(fits(other, record, fact, vocabulary) for fact in facts) for other in records)
        assert index.count(record, facts).k == expected, (record, facts)
        assert expected >= 1  # the patient always fits
        found_ks.add(expected)
    assert len(found_ks) > 20  # from one to many
