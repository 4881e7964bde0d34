"""A synthetic MEDS 0.4 cohort with planted canaries, made wholly from a seed and `clinical_archetypes.yaml`.

No real record is behind it. Each patient has an archetype (type 2 diabetes, HIV care, ...) with its own labs, drugs and
diagnoses, so a model can learn population knowledge. Sensitive codes are partly predictable (raised in some archetypes)
and partly not (a background chance for anyone). Canaries break the tie altogether: their first visit and their
sensitive groups are drawn independently of each other, so whatever a model knows about them, it has memorized.

ICD-10-CM is used for all years, also those before October 2015, so that there is one vocabulary.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

SPLITS = ("train", "held_out", "reference")
CANARY_REPETITIONS = (1, 2, 4, 8, 16)
SUBJECTS_PER_SHARD = 1_000
MAX_EVENTS = 110
FIRST_DAY, LAST_DAY = date(2008, 1, 1), date(2024, 12, 31)

_SCHEMA = pa.schema(
    [
        ("subject_id", pa.int64()),
        ("time", pa.timestamp("us")),
        ("code", pa.string()),
        ("numeric_value", pa.float32()),
    ]
)


@dataclass(frozen=True)
class Role:
    """Where a patient belongs: its split, how often training repeats it, and what was planted in it."""

    split: str
    repetitions: int
    canary: bool = False
    rare_code: str | None = None
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Event:
    """One MEDS row of a subject; `time` None is static, `value` None is no numeric value."""

    time: datetime | None
    code: str
    value: float | None = None


@dataclass
class Patient:
    """The facts of one synthetic patient that stay fixed over its visits.

    `severity` and `personal` are standard normal: `severity` is shared by all labs, `personal` is per lab.
    """

    archetype: str
    sex: str
    race: str
    born: date
    visits: list[datetime]
    kinds: list[str]
    severity: float = 0.0
    personal: dict[str, float] = field(default_factory=dict)


# What `clinical_archetypes.yaml` holds; its head explains every field. Its rows are lists, written here as tuples for
# the type of each place.

LabRow = tuple[str, str, str, str, float, float, float, float, int, float, float]
"""LOINC, UCUM unit, title, shape, typical, spread, low, high, decimals, women, often."""


class OwnLab(TypedDict, total=False):
    """What an archetype says of a lab; where it says nothing, the lab's row holds."""

    often: float
    typical: float
    spread: float
    severity: float
    drift: float


class RaisedGroup(TypedDict, total=False):
    """What an archetype says of a sensitive group: its chance, and codes and treatment in place of the group's own."""

    chance: float
    codes: dict[str, float]
    drugs: dict[str, float]
    labs: list[str]


class SensitiveGroup(TypedDict):
    prefixes: list[str]
    background: float
    ages: list[int]
    codes: dict[str, float]
    codes_men: NotRequired[dict[str, float]]
    codes_past_menopause: NotRequired[dict[str, float]]
    comes_back: float
    drugs: dict[str, float]
    drugs_men: NotRequired[dict[str, float]]
    drugs_by_code: NotRequired[dict[str, dict[str, float]]]
    labs: list[str]
    chance: NotRequired[float]  # where an archetype raises the group


class Archetype(TypedDict):
    weight: float
    age: list[int]
    women: float
    races: NotRequired[dict[str, float]]
    visits: list[int]
    every_days: float
    encounters: dict[str, float]
    death: float
    labs: dict[str, OwnLab]
    diagnoses: dict[str, float]
    drugs: dict[str, float]
    sensitive: dict[str, RaisedGroup]


class Book(TypedDict):
    first_visit_share: float
    races: dict[str, float]
    vitals: dict[str, float]
    labs: dict[str, LabRow]
    only: dict[str, list[str]]
    derived: list[str]
    drugs: dict[str, tuple[str, int]]
    diagnoses: dict[str, str]
    common_drugs: dict[str, float]
    common: dict[str, tuple[float, int, int, str]]
    archetypes: dict[str, Archetype]
    sensitive: dict[str, SensitiveGroup]
    rare: list[str]


def generate_cohort(
    out: Path,
    *,
    seed: int = 2025,
    members: int = 1100,
    non_members: int = 700,
    reference: int = 1200,
    canaries: int = 30,
    null_canaries: int = 40,
    rare: int = 60,
) -> None:
    """Write the cohort as a MEDS data set to `out`, byte for byte the same for the same arguments and pyarrow.

    Args:
        out: folder; gets `data/*.parquet`, `metadata/` and `ground_truth.parquet`. Made if it does not exist.
        seed: of every random choice.
        members, non_members, reference: patients in the splits `train`, `held_out`, `reference`, planted ones included.
        canaries: canaries in `train` at **each** of 1, 2, 4, 8 and 16 repetitions. The repetitions stand in the ground
            truth only: the data holds each patient once, and who trains a model repeats them.
        null_canaries: canaries in `held_out`, made the same way and never trained on.
        rare: patients with a diagnosis that one to three patients of the cohort hold.

    Raises:
        ValueError: if the planted patients do not fit in their splits, or there are too few orphan diagnoses.
    """
    book = load_archetypes()
    roster_rng = np.random.default_rng([seed, 0])
    roles = _roster(roster_rng, book, members, non_members, reference, canaries, null_canaries, rare)
    ids = np.random.default_rng([seed, 1]).choice(np.arange(100_000, 1_000_000), len(roles), replace=False)
    records, archetypes = {}, {}
    for place, (subject_id, role) in enumerate(zip(ids.tolist(), roles, strict=True)):
        # A generator per patient: editing one archetype leaves the patients of the others as they were.
        rng = np.random.default_rng([seed, 2, place])
        draw = _canary if role.canary else _plain
        archetypes[subject_id], records[subject_id] = draw(book, rng, role)
    _write(Path(out), book, records, dict(zip(ids.tolist(), roles, strict=True)), archetypes)


@cache
def load_archetypes() -> Book:
    """The clinical content of `clinical_archetypes.yaml`; its head explains every field. Shared: do not change it."""
    return yaml.safe_load((files(__package__) / "clinical_archetypes.yaml").read_text(encoding="utf-8"))


def sensitive_group(code: str) -> str | None:
    """The sensitive group that a MEDS diagnosis code belongs to, or None.

    >>> sensitive_group("DIAGNOSIS//ICD//10//B20"), sensitive_group("DIAGNOSIS//ICD//10//E119")
    ('hiv', None)
    """
    if not code.startswith("DIAGNOSIS//ICD//10//"):
        return None
    plain = code.removeprefix("DIAGNOSIS//ICD//10//")
    for group, about in load_archetypes()["sensitive"].items():
        if any(plain.startswith(prefix.replace(".", "")) for prefix in about["prefixes"]):
            return group
    return None


# Who is in the cohort


def _roster(
    rng: np.random.Generator,
    book: Book,
    members: int,
    non_members: int,
    reference: int,
    canaries: int,
    null_canaries: int,
    rare: int,
) -> list[Role]:
    """All roles in random order."""
    levels = [level for level in CANARY_REPETITIONS for _ in range(canaries)] + [0] * null_canaries
    planted = canaries * len(CANARY_REPETITIONS)
    if planted > members or null_canaries > non_members:
        raise ValueError(
            f"{planted} canaries for {members} members and {null_canaries} for {non_members} non-members: "
            "the canaries must fit in their splits; lower canaries= and null_canaries= or raise the splits."
        )
    groups = _even_groups(rng, list(book["sensitive"]), len(levels))
    roles = [Role("train" if n else "held_out", n, canary=True, groups=g) for n, g in zip(levels, groups, strict=True)]
    plain = ["train"] * (members - planted) + ["held_out"] * (non_members - null_canaries) + ["reference"] * reference
    plain = [plain[i] for i in rng.permutation(len(plain))]
    if rare > len(plain):
        raise ValueError(f"rare={rare}, but only {len(plain)} patients are no canaries; lower rare=.")
    orphans = _orphan_codes(rng, book["rare"], rare)
    roles += [
        Role(split, int(split == "train"), rare_code=orphan)
        for split, orphan in zip(plain, orphans + [None] * (len(plain) - rare), strict=True)
    ]
    return [roles[i] for i in rng.permutation(len(roles))]


def _even_groups(rng: np.random.Generator, groups: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """One or two distinct groups for each of n canaries, all groups as often as can be.

    The first group walks through shuffled decks of all groups, so that every level of repetitions gets each of them.
    """
    chosen: list[tuple[str, ...]] = []
    deck: list[str] = []
    for _ in range(n):
        if not deck:
            deck = [groups[i] for i in rng.permutation(len(groups))]
        first = deck.pop()
        others = [group for group in groups if group != first]
        chosen.append((first, others[rng.integers(len(others))]) if rng.random() < 0.5 else (first,))
    return chosen


def _orphan_codes(rng: np.random.Generator, codes: Sequence[str], n: int) -> list[str]:
    """n orphan diagnoses, each code one to three times."""
    if n > 3 * len(codes):
        raise ValueError(f"rare={n} needs at least {math.ceil(n / 3)} orphan diagnoses, the YAML has {len(codes)}.")
    order = [codes[i] for i in rng.permutation(len(codes))]
    holders = rng.integers(1, 4, len(order))
    while holders.sum() < n:
        holders[rng.choice(np.flatnonzero(holders < 3))] += 1
    return [code for code, times in zip(order, holders, strict=True) for _ in range(times)][:n]


# A patient of an archetype


def _plain(book: Book, rng: np.random.Generator, role: Role) -> tuple[str, list[Event]]:
    """The archetype's name and the events of one patient drawn from it."""
    name = _pick(rng, {name: about["weight"] for name, about in book["archetypes"].items()})
    about = book["archetypes"][name]
    sex = "F" if rng.random() < about["women"] else "M"
    race = _pick(rng, about.get("races", book["races"]))
    count = int(rng.integers(about["visits"][0], about["visits"][1] + 1))
    visits, kinds = _calendar(rng, count, about["every_days"], about["encounters"])
    born = _birth(rng, visits[0].date(), about["age"])
    patient = Patient(name, sex, race, born, visits, kinds, float(rng.normal()))
    secrets = _sensitive_plan(book, rng, patient)
    if role.rare_code:
        secrets.insert(0, (role.rare_code, _onset_and_returns(rng, count, 0.5, int(rng.integers(1, count))), {}, []))
    diagnoses = _diagnosis_plan(book, rng, patient)
    drugs = _drug_plan(book, rng, patient)
    events = _static(patient)
    for visit in range(count):
        planted = [code for code, at, _, _ in secrets if visit in at]
        begun = [secret for secret in secrets if visit >= secret[1][0]]
        extra_drugs = [drug for _, at, held, _ in begun for drug, p in held.items() if visit in at or rng.random() < p]
        extra_labs = [lab for _, _, _, labs in begun for lab in labs]
        routine = [code for code, at in diagnoses.items() if visit in at and code not in planted]
        events += _visit(
            rng,
            patient,
            visit,
            labs=_panel(book, rng, about, visit, extra_labs),
            diagnoses=_shuffle(rng, (planted + _shuffle(rng, routine))[:4]),
            drugs=_available(book, visits[visit], extra_drugs + [drug for drug, at in drugs.items() if visit in at]),
            book=book,
        )
    return name, events + _death(rng, patient, about["death"])


def _sensitive_plan(
    book: Book, rng: np.random.Generator, patient: Patient
) -> list[tuple[str, list[int], dict[str, float], list[str]]]:
    """The sensitive codes a patient holds: (code, visits, {drug: chance at a later visit}, labs from the onset on)."""
    plan = []
    for group, base in book["sensitive"].items():
        raised: RaisedGroup = book["archetypes"][patient.archetype]["sensitive"].get(group, {})
        background = base["background"] if _fits(base["ages"], _age(patient, 0)) else 0.0
        by_archetype = rng.random() < raised.get("chance", 0.0)
        if not by_archetype and rng.random() >= background:
            continue
        here: SensitiveGroup = {**base, **raised} if by_archetype else base
        onset = 0 if rng.random() < book["first_visit_share"] else int(rng.integers(1, len(patient.visits)))
        code = _sensitive_code(rng, here, patient)
        drug = _sensitive_drug(rng, here, code, patient.sex)
        at = _onset_and_returns(rng, len(patient.visits), base["comes_back"], onset)
        plan.append((code, at, {drug: 0.3} if drug else {}, here["labs"]))
    return plan


def _sensitive_code(rng: np.random.Generator, about: SensitiveGroup, patient: Patient) -> str:
    """One code of the group that fits the patient's sex and, for women past child-bearing, age."""
    if patient.sex == "M":
        return _pick(rng, about.get("codes_men", about["codes"]))
    if not _fits(about.get("ages", [18, 95]), _age(patient, 0)):
        return _pick(rng, about.get("codes_past_menopause", about["codes"]))
    return _pick(rng, about["codes"])


def _sensitive_drug(rng: np.random.Generator, about: SensitiveGroup, code: str, sex: str) -> str | None:
    """The group's treatment, or None: the weights are per cent, what is left to 100 is untreated."""
    drugs = about.get("drugs_by_code", {}).get(code, about["drugs"])
    if sex == "M":
        drugs = about.get("drugs_men", drugs)
    chosen = _pick(rng, {**drugs, "": max(0, 100 - sum(drugs.values()))})
    return chosen or None


def _onset_and_returns(rng: np.random.Generator, visits: int, comes_back: float, onset: int) -> list[int]:
    """The visits, in order, at which a code stands: its onset and each later one with chance `comes_back`."""
    return [onset] + [visit for visit in range(onset + 1, visits) if rng.random() < comes_back]


def _diagnosis_plan(book: Book, rng: np.random.Generator, patient: Patient) -> dict[str, list[int]]:
    """The ordinary diagnoses and the visits they are coded at: the archetype's and those common at that age."""
    own = dict(book["archetypes"][patient.archetype]["diagnoses"])
    age = _age(patient, 0)
    for code, (chance, youngest, oldest, sex) in book["common"].items():
        if youngest <= age <= oldest and sex in ("any", patient.sex) and not _pregnant_and(code, patient):
            own.setdefault(code, chance * 0.6)
    count = len(patient.visits)
    held = [code for code, chance in own.items() if _suits(book, code, patient) and rng.random() < chance]
    return {code: _onset_and_returns(rng, count, 0.35, _onset(rng, count)) for code in held}


def _drug_plan(book: Book, rng: np.random.Generator, patient: Patient) -> dict[str, list[int]]:
    """The ordinary drugs and the visits they are prescribed at."""
    chances = {**book["common_drugs"], **book["archetypes"][patient.archetype]["drugs"]}
    if patient.archetype == "antenatal":
        chances = {drug: p for drug, p in chances.items() if drug not in ("M01AE01", "C10AA05")}
    count = len(patient.visits)
    held = [drug for drug, chance in chances.items() if _suits(book, drug, patient) and rng.random() < chance]
    return {drug: _onset_and_returns(rng, count, 0.4, _onset(rng, count)) for drug in held}


def _onset(rng: np.random.Generator, visits: int) -> int:
    """The visit an ordinary diagnosis or drug starts at: often the first, else any."""
    return int(rng.integers(visits)) if rng.random() < 0.6 else 0


def _suits(book: Book, code: str, patient: Patient) -> bool:
    """Whether a diagnosis or drug fits the patient's sex and, for child-bearing, age."""
    only, other = book["only"], "M" if patient.sex == "F" else "F"
    if code.startswith(tuple(only[other])):
        return False
    return not code.startswith(tuple(only["child_bearing"])) or _age(patient, 0) <= 50


def _pregnant_and(code: str, patient: Patient) -> bool:
    """Whether a common diagnosis contradicts an antenatal record."""
    return patient.archetype == "antenatal" and code in ("Z30.09", "N92.0", "Z12.31", "Z12.11")


def _panel(book: Book, rng: np.random.Generator, about: Archetype, visit: int, extra: Sequence[str]) -> list[str]:
    """The vitals and labs of a visit: 4 to 6 labs at the first visit, 1 to 4 later, `extra` in any case."""
    vitals = [vital for vital, chance in book["vitals"].items() if rng.random() < chance][:2]
    # The archetype's labs outweigh the routine ones, or every panel would look like a check-up's.
    weights = {lab: 0.35 * row[10] for lab, row in book["labs"].items() if row[10]}
    weights |= {lab: own["often"] for lab, own in about["labs"].items() if own.get("often")}
    count = int(rng.integers(4, 7) if visit == 0 else rng.integers(1, 5))
    chosen = _pick_some(rng, weights, count)
    if "egfr" in chosen and "creatinine" not in chosen:
        chosen[chosen.index("egfr")] = "creatinine"  # no laboratory reports an eGFR without its creatinine
    return vitals + [*extra, *chosen][: max(count, 4)]


# A canary


def _canary(book: Book, rng: np.random.Generator, role: Role) -> tuple[str, list[Event]]:
    """A patient whose first visit tells nothing about its sensitive groups, for anyone who has not seen it."""
    sex, race = ("F", "M")[rng.integers(2)], list(book["races"])[rng.integers(len(book["races"]))]
    visits, kinds = _calendar(rng, int(rng.integers(3, 5)), 120, {"OUTPATIENT": 1, "EMERGENCY": 1, "INPATIENT": 1})
    patient = Patient("canary", sex, race, _birth(rng, visits[0].date(), [18, 95]), visits, kinds)
    codes = {group: _sensitive_code(rng, book["sensitive"][group], patient) for group in role.groups}
    # The first group always begins at the second visit, the other there or a visit later.
    onsets = [1 + i * int(rng.integers(2)) for i in range(len(codes))]
    labs = [lab for lab in book["labs"] if lab not in _proxies() and lab not in book["derived"]]
    diagnoses = _shuffle(rng, _ordinary_diagnoses(book, patient))
    drugs = _shuffle(rng, [d for d in book["drugs"] if d not in _proxies() and _suits(book, d, patient)])
    events = _static(patient)
    for visit in range(len(visits)):
        planted = {
            group: code
            for (group, code), onset in zip(codes.items(), onsets, strict=True)
            if visit == onset or (visit > onset and rng.random() < 0.5)
        }
        treatment = [_sensitive_drug(rng, book["sensitive"][group], code, sex) for group, code in planted.items()]
        others = [drugs.pop() for _ in range(2 if visit else 3)]
        events += _visit(
            rng,
            patient,
            visit,
            labs=_shuffle(rng, labs)[: int(rng.integers(*((4, 7), (3, 7), (2, 4), (2, 4))[visit]))],
            diagnoses=[diagnoses.pop() for _ in range(int(rng.integers(2, 4 if visit else 6)))]
            + list(planted.values()),
            drugs=_available(book, visits[visit], [drug for drug in treatment if drug] + others),
            book=book,
        )
    return "canary", events


def _ordinary_diagnoses(book: Book, patient: Patient) -> list[str]:
    """Every diagnosis but the sensitive, the orphans, those the patient's sex or age rules out, and pregnancy."""
    barred = {*book["rare"], *(code for code in book["diagnoses"] if code.startswith(("O", "Z34")))}
    return [
        code
        for code in book["diagnoses"]
        if code not in barred and _suits(book, code, patient) and sensitive_group(_diagnosis(code)) is None
    ]


@cache
def _proxies() -> frozenset[str]:
    """Drugs and labs that treat or follow a sensitive group and so would give it away."""
    book = load_archetypes()
    found: set[str] = set()
    for about in book["sensitive"].values():
        found |= {*about["drugs"], *about.get("drugs_men", {}), *about["labs"]}
        found |= {drug for drugs in about.get("drugs_by_code", {}).values() for drug in drugs}
    for archetype in book["archetypes"].values():
        for raised in archetype["sensitive"].values():
            found |= {*raised.get("drugs", {}), *raised.get("labs", [])}
    return frozenset(found)


# A visit and its values


def _visit(
    rng: np.random.Generator,
    patient: Patient,
    visit: int,
    *,
    labs: Sequence[str],
    diagnoses: Sequence[str],
    drugs: Sequence[str],
    book: Book,
) -> list[Event]:
    """The events of one visit in the order they happen: encounter, vitals, labs, diagnoses, drugs."""
    start, kind = patient.visits[visit], patient.kinds[visit]
    pace = {"OUTPATIENT": 1, "EMERGENCY": 3, "INPATIENT": 16}[kind]
    drawn = start + timedelta(minutes=int(rng.integers(4, 9)) * 5)
    coded = drawn + timedelta(minutes=int(rng.integers(2, 5)) * 5 * pace)
    given = coded + timedelta(minutes=int(rng.integers(1, 4)) * 5 * pace)
    values = _values(rng, patient, visit, labs, book)
    events = [Event(start, f"ENCOUNTER//{kind}")]
    for lab in sorted(labs, key=lambda name: name not in book["vitals"]):
        at = start + timedelta(minutes=5) if lab in book["vitals"] else drawn
        events.append(Event(at, lab_code(book, lab), values[lab]))
    events += [Event(coded, _diagnosis(code)) for code in diagnoses]
    # Later visits hold fewer prescriptions: with seven visits the record stays below MAX_EVENTS.
    events += [Event(given, f"MEDICATION//ATC//{drug}") for drug in drugs[: 3 if visit < 2 else 2]]
    return events


def _values(
    rng: np.random.Generator, patient: Patient, visit: int, labs: Sequence[str], book: Book
) -> dict[str, float]:
    """The value of each lab in its unit. A canary's is uniform over the lab's whole range, whatever else it holds."""
    if patient.archetype == "canary":
        return {lab: value_anywhere(rng, book["labs"][lab]) for lab in labs}
    values: dict[str, float] = {}

    def value(lab: str) -> float:
        if lab not in values:
            values[lab] = _one_value(rng, patient, visit, lab, book)
        return values[lab]

    for lab in labs:
        row = book["labs"][lab]
        if lab == "egfr":
            values[lab] = _report(row, ckd_epi_2021(value("creatinine"), _age(patient, visit), patient.sex))
        elif lab == "hematocrit":
            values[lab] = _report(row, 3 * value("hemoglobin") + rng.normal(0, 0.5))
        elif lab == "cholesterol":
            values[lab] = _report(row, value("ldl") + value("hdl") + value("triglycerides") / 5)
        else:
            value(lab)
    return values


def _one_value(rng: np.random.Generator, patient: Patient, visit: int, lab: str, book: Book) -> float:
    """typical + spread x (severity, the patient's own level, the day's noise) + drift x years since the first visit."""
    row = book["labs"][lab]
    shape, women = row[3], row[9]
    own: OwnLab = book["archetypes"][patient.archetype]["labs"].get(lab, {})
    typical, spread = own.get("typical", row[4]), own.get("spread", row[5])
    follows = own.get("severity", 0.0)
    if lab not in patient.personal:
        patient.personal[lab] = float(rng.normal())
    stable = follows * patient.severity + math.sqrt(1 - follows**2) * patient.personal[lab]
    years = (patient.visits[visit] - patient.visits[0]).days / 365.25
    noise = 0.15 if lab == "bmi" else 0.5
    shift = spread * (math.sqrt(1 - noise**2) * stable + noise * rng.normal()) + own.get("drift", 0.0) * years
    shift += women if patient.sex == "F" else 0.0
    return _report(row, typical * math.exp(shift) if shape == "lognormal" else typical + shift)


def value_anywhere(rng: np.random.Generator, row: LabRow) -> float:
    """A value uniform over the lab's range, on the log scale for a lognormal lab."""
    low, high = row[6], row[7]
    if row[3] == "lognormal":
        return _report(row, math.exp(rng.uniform(math.log(low), math.log(high))))
    return _report(row, rng.uniform(low, high))


def _report(row: LabRow, value: float) -> float:
    """The value as a laboratory prints it: within the lab's range, rounded to its decimals."""
    return round(float(min(max(value, row[6]), row[7])), row[8])


def ckd_epi_2021(creatinine: float, age: int, sex: str) -> float:
    """eGFR in mL/min/1.73 m2 from creatinine in mg/dL, age in years and sex F or M (Inker et al., NEJM 2021).

    >>> round(ckd_epi_2021(1.0, 60, "M")), round(ckd_epi_2021(1.0, 60, "F"))
    (86, 64)
    """
    kappa, alpha, factor = (0.7, -0.241, 1.012) if sex == "F" else (0.9, -0.302, 1.0)
    ratio = creatinine / kappa
    return 142 * min(ratio, 1) ** alpha * max(ratio, 1) ** -1.200 * 0.9938**age * factor


# Dates, static facts, death


def _calendar(
    rng: np.random.Generator, count: int, every_days: float, encounters: Mapping[str, float]
) -> tuple[list[datetime], list[str]]:
    """The starts and kinds of `count` visits within FIRST_DAY..LAST_DAY; clinics open on weekdays, mostly."""
    gaps = [0] + [max(5, round(every_days * math.exp(rng.normal(0, 0.45)))) for _ in range(count - 1)]
    last_start = LAST_DAY - timedelta(days=sum(gaps) + 14)
    day = FIRST_DAY + timedelta(days=int(rng.integers((last_start - FIRST_DAY).days)))
    visits, kinds = [], []
    for gap in gaps:
        day += timedelta(days=gap)
        kind = _pick(rng, encounters)
        clinic = kind == "OUTPATIENT"
        if day.weekday() > 4 and clinic and rng.random() < 0.95:
            day += timedelta(days=7 - day.weekday())
        minute = int(rng.integers(8 * 12, 17 * 12) if clinic else rng.integers(24 * 12)) * 5
        visits.append(datetime(day.year, day.month, day.day) + timedelta(minutes=minute))
        kinds.append(kind)
    return visits, kinds


def _birth(rng: np.random.Generator, first_visit: date, ages: Sequence[int]) -> date:
    """A date of birth that makes the patient an age in `ages` (years, both included) at the first visit."""
    fewest, most = math.ceil(ages[0] * 365.25) + 1, int((ages[1] + 1) * 365.25) - 1
    return first_visit - timedelta(days=int(rng.integers(fewest, most)))


def _age(patient: Patient, visit: int) -> int:
    return int((patient.visits[visit].date() - patient.born).days / 365.25)


def _static(patient: Patient) -> list[Event]:
    born = datetime(patient.born.year, patient.born.month, patient.born.day)
    return [Event(None, f"GENDER//{patient.sex}"), Event(None, f"RACE//{patient.race}"), Event(born, "MEDS_BIRTH")]


def _death(rng: np.random.Generator, patient: Patient, chance: float) -> list[Event]:
    """Rarely, a death two days to a year after the last visit; none after the cohort's last day."""
    if rng.random() >= chance:
        return []
    at = patient.visits[-1] + timedelta(days=int(rng.integers(2, 365)), minutes=int(rng.integers(24 * 12)) * 5)
    return [Event(at, "MEDS_DEATH")] if at.date() <= LAST_DAY else []


# Codes and chances


def lab_code(book: Book, lab: str) -> str:
    return f"LAB//{book['labs'][lab][0]}//{book['labs'][lab][1]}"


def _diagnosis(code: str) -> str:
    return f"DIAGNOSIS//ICD//10//{code.replace('.', '')}"


def _available(book: Book, when: datetime, drugs: Sequence[str]) -> list[str]:
    """The drugs that were on the market then, each once."""
    return [drug for drug in dict.fromkeys(drugs) if book["drugs"][drug][1] <= when.year]


def _fits(ages: Sequence[int], age: int) -> bool:
    return ages[0] <= age <= ages[1]


def _pick(rng: np.random.Generator, weights: Mapping[str, float]) -> str:
    """One key, by weight."""
    left = rng.random() * sum(weights.values())
    for key, weight in weights.items():
        left -= weight
        if left < 0:
            return key
    return key


def _pick_some(rng: np.random.Generator, weights: Mapping[str, float], count: int) -> list[str]:
    """`count` different keys, by weight, in the order of `weights`: a laboratory prints its panel in a fixed order."""
    # Efraimidis and Spirakis: the keys with the smallest exponential / weight are a weighted draw without replacement.
    clocks = dict(zip(weights, rng.exponential(size=len(weights)) / np.array(list(weights.values())), strict=True))
    chosen = set(sorted(clocks, key=clocks.__getitem__)[:count])
    return [key for key in weights if key in chosen]


def _shuffle(rng: np.random.Generator, items: Sequence[str]) -> list[str]:
    return [items[i] for i in rng.permutation(len(items))]


# Writing


def _write(
    out: Path,
    book: Book,
    records: Mapping[int, list[Event]],
    roles: Mapping[int, Role],
    archetypes: Mapping[int, str],
) -> None:
    """All files of the data set, subjects in order of their id."""
    (out / "data").mkdir(parents=True, exist_ok=True)
    (out / "metadata").mkdir(exist_ok=True)
    order = sorted(records)
    for shard, start in enumerate(range(0, len(order), SUBJECTS_PER_SHARD)):
        _save(_data_table(records, order[start : start + SUBJECTS_PER_SHARD]), out / "data" / f"{shard}.parquet")
    used = {event.code for events in records.values() for event in events}
    _save(_codes_table(book, used), out / "metadata" / "codes.parquet")
    splits = pa.table({"subject_id": pa.array(order, pa.int64()), "split": [roles[i].split for i in order]})
    _save(splits, out / "metadata" / "subject_splits.parquet")
    _save(_truth_table(order, roles, archetypes), out / "ground_truth.parquet")
    about = {
        "dataset_name": "ehrmem synthetic cohort",
        "dataset_version": "1.0",
        "etl_name": "ehrmem_widgets.samples.synthetic_cohort",
        "etl_version": "1.0",
        "meds_version": "0.4.1",
        "synthetic": True,
    }
    (out / "metadata" / "dataset.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _data_table(records: Mapping[int, list[Event]], subjects: Sequence[int]) -> pa.Table:
    """The MEDS rows of `subjects`: static first, then by time; ties keep the order in which they happened."""
    rows = []
    for subject in subjects:
        ordered = sorted(records[subject], key=lambda event: event.time or datetime.min)
        rows += [(subject, event.time, event.code, event.value) for event in ordered]
    return pa.table([pa.array(column) for column in zip(*rows, strict=True)], names=_SCHEMA.names).cast(_SCHEMA)


def _codes_table(book: Book, used: set[str]) -> pa.Table:
    """Every code of the data with its description, its concept in the source vocabulary and, for a lab, its unit."""
    known: dict[str, tuple[str, list[str], str | None]] = {
        "GENDER//F": ("Female", [], None),
        "GENDER//M": ("Male", [], None),
        "MEDS_BIRTH": ("Date of birth", [], None),
        "MEDS_DEATH": ("Death", ["SNOMED/419620001"], None),
        "ENCOUNTER//OUTPATIENT": ("Outpatient visit", ["Visit/OP"], None),
        "ENCOUNTER//EMERGENCY": ("Emergency department visit", ["Visit/ER"], None),
        "ENCOUNTER//INPATIENT": ("Hospital admission", ["Visit/IP"], None),
    }
    known |= {f"RACE//{race}": (f"Race or ethnicity: {race.title()}", [], None) for race in book["races"]}
    known |= {lab_code(book, lab): (row[2], [f"LOINC/{row[0]}"], row[1]) for lab, row in book["labs"].items()}
    known |= {_diagnosis(code): (title, [f"ICD10CM/{code}"], None) for code, title in book["diagnoses"].items()}
    known |= {f"MEDICATION//ATC//{drug}": (row[0], [f"ATC/{drug}"], None) for drug, row in book["drugs"].items()}
    codes = sorted(used)
    return pa.table(
        {
            "code": pa.array(codes, pa.string()),
            "description": pa.array([known[code][0] for code in codes], pa.string()),
            "parent_codes": pa.array([known[code][1] for code in codes], pa.list_(pa.string())),
            "unit": pa.array([known[code][2] for code in codes], pa.string()),
        }
    )


def _truth_table(order: Sequence[int], roles: Mapping[int, Role], archetypes: Mapping[int, str]) -> pa.Table:
    """What was planted in whom, a row per subject."""
    return pa.table(
        {
            "subject_id": pa.array(order, pa.int64()),
            "split": [roles[i].split for i in order],
            "member": [roles[i].split == "train" for i in order],
            "archetype": [archetypes[i] for i in order],
            "canary": [roles[i].canary for i in order],
            "repetitions": pa.array([roles[i].repetitions for i in order], pa.int64()),
            "rare": [roles[i].rare_code is not None for i in order],
        }
    )


def _save(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd")


def describe(out: Path) -> pd.DataFrame:
    """A row per subject of a written cohort: ground truth, `events`, `visits` and a bool column per sensitive group."""
    data = pd.concat([pd.read_parquet(path) for path in sorted((Path(out) / "data").glob("*.parquet"))])
    truth = pd.read_parquet(Path(out) / "ground_truth.parquet").set_index("subject_id")
    truth["events"] = data.groupby("subject_id").size()
    truth["visits"] = data[data.code.str.startswith("ENCOUNTER//")].groupby("subject_id").size()
    groups = data.code.map({code: sensitive_group(code) for code in data.code.unique()})
    for group in load_archetypes()["sensitive"]:
        truth[group] = truth.index.isin(data.subject_id[groups == group])
    return truth.reset_index()
