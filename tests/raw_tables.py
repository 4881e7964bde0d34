"""Tiny raw data of a hospital in the forms that docs/to_meds reads, made from a seed, with the events that must come out.

The same people are written in every form; each writer states its events itself, from the people and not from the recipe.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

Event = tuple[str, datetime | None, str, float | None]


@dataclass(frozen=True)
class Person:
    """One stay in hospital: creatinine ``hours`` after coming, diabetes (E11.9), discharge after a day; perhaps death in it."""

    key: str
    female: bool
    born: date
    came: datetime
    hours: int
    creatinine: float
    died: bool

    @property
    def tested(self) -> datetime:
        return self.came + timedelta(hours=self.hours)

    @property
    def left(self) -> datetime:
        return self.came + timedelta(days=1)


def people(n: int = 40, seed: int = 0) -> list[Person]:
    """``n`` people whose keys are whole numbers as text."""
    draw = random.Random(seed)
    return [
        Person(
            key=str(10_000_001 + 7 * i),
            female=draw.random() < 0.5,
            born=date(draw.randint(1930, 1990), draw.randint(1, 12), draw.randint(1, 28)),
            came=datetime(2015, draw.randint(1, 12), draw.randint(1, 28), draw.randint(0, 23), draw.randint(0, 59)),
            hours=draw.randint(1, 20),
            creatinine=draw.randint(5, 40) / 8,  # exact in 32 bits
            died=draw.random() < 0.2,
        )
        for i in range(n)
    ]


def mimic_iv(raw: Path, who: Sequence[Person]) -> list[Event]:
    _csv(
        raw / "hosp/patients.csv",
        [
            {
                "subject_id": p.key,
                "gender": "FM"[not p.female],
                "anchor_age": 2015 - p.born.year,
                "anchor_year": 2015,
                "dod": p.left.date() if p.died else "",
            }
            for p in who
        ],
    )
    _csv(
        raw / "hosp/admissions.csv",
        [
            {
                "subject_id": p.key,
                "hadm_id": f"2{p.key}",
                "admittime": p.came,
                "dischtime": p.left,
                "deathtime": p.left if p.died else "",
                "admission_type": "URGENT",
                "admission_location": "",
                "discharge_location": "DIED" if p.died else "HOME",
                "insurance": "Other",
                "language": "",
                "marital_status": "SINGLE",
                "race": "WHITE",
                "edregtime": "",
                "edouttime": "",
            }
            for p in who
        ],
    )
    stay = [{"subject_id": p.key, "hadm_id": f"2{p.key}"} for p in who]
    _csv(raw / "hosp/diagnoses_icd.csv", [{**s, "seq_num": 1, "icd_code": "E119", "icd_version": 10} for s in stay])
    _csv(
        raw / "hosp/labevents.csv",
        [
            {
                **s,
                "itemid": 50912,
                "charttime": p.tested,
                "storetime": p.tested + timedelta(hours=1),
                "valuenum": p.creatinine,
                "valueuom": "mg/dL",
                "priority": "STAT",
            }
            for s, p in zip(stay, who, strict=True)
        ],
    )
    _csv(raw / "hosp/d_labitems.csv", [{"itemid": 50912, "label": "Creatinine", "fluid": "Blood"}])
    events: list[Event] = []
    for p in who:
        events += [
            (p.key, None, f"GENDER//{'FM'[not p.female]}", None),
            (p.key, datetime(p.born.year, 1, 1), "MEDS_BIRTH", None),
            (p.key, p.came, "HOSPITAL_ADMISSION//URGENT//UNK", None),
            (p.key, p.came, "INSURANCE//Other", None),
            (p.key, p.came, "MARITAL_STATUS//SINGLE", None),
            (p.key, p.came, "RACE//WHITE", None),
            (p.key, p.tested, "LAB//SPECIMEN_COLLECTED//50912//STAT", None),
            (p.key, p.tested + timedelta(hours=1), "LAB//RESULT//50912//mg/dL", p.creatinine),
            (p.key, p.left, "DIAGNOSIS//ICD//10//E119", None),
            (p.key, p.left, f"HOSPITAL_DISCHARGE//{'DIED' if p.died else 'HOME'}", None),
        ]
        events += [(p.key, p.left, "MEDS_DEATH", None)] if p.died else []
    return events


CONCEPTS = [
    (0, "None", "No matching concept", "No matching concept"),
    (8507, "Gender", "M", "MALE"),
    (8532, "Gender", "F", "FEMALE"),
    (9201, "Visit", "IP", "Inpatient Visit"),
    (201826, "SNOMED", "44054006", "Type 2 diabetes mellitus"),
    (3016723, "LOINC", "2160-0", 'Creatinine "serum" [Mass/volume]'),
]


def omop(raw: Path, who: Sequence[Person]) -> list[Event]:
    _concepts(raw / "CONCEPT.csv")
    _csv(
        raw / "person.csv",
        [
            {
                "person_id": p.key,
                "gender_concept_id": 8532 if p.female else 8507,
                "year_of_birth": p.born.year,
                "month_of_birth": p.born.month,
                "day_of_birth": p.born.day,
                "birth_datetime": "",
                "race_concept_id": 0,
                "race_source_value": "white",
                "ethnicity_concept_id": 0,
                "ethnicity_source_value": "",
                "gender_source_value": "",
            }
            for p in who
        ],
    )
    _csv(
        raw / "visit_occurrence.csv",
        [
            {
                "person_id": p.key,
                "visit_concept_id": 9201,
                "visit_start_date": p.came.date(),
                "visit_start_datetime": p.came,
                "visit_source_value": "",
            }
            for p in who
        ],
    )
    # Two tables as Parquet with types of their own, as databases export them.
    folder = raw / "condition_occurrence"
    folder.mkdir()
    for part, half in enumerate((who[::2], who[1::2])):
        table = {
            "person_id": [int(p.key) for p in half],
            "condition_concept_id": [201826] * len(half),
            "condition_start_date": [p.came.date() for p in half],
            "condition_start_datetime": pa.array([None] * len(half), pa.timestamp("us")),
            "condition_source_value": ["E11.9"] * len(half),
        }
        pq.write_table(pa.table(table), folder / f"part-0000{part}.parquet")
    _csv(
        raw / "measurement.csv",
        [
            {
                "person_id": p.key,
                "measurement_concept_id": 3016723,
                "measurement_date": p.tested.date(),
                "measurement_datetime": p.tested,
                "measurement_source_value": "crea",
                "value_as_number": p.creatinine,
                "unit_source_value": "mg/dL",
            }
            for p in who
        ],
    )
    _csv(
        raw / "drug_exposure.csv",
        [
            {
                "person_id": p.key,
                "drug_concept_id": 0,
                "drug_exposure_start_date": p.came.date(),
                "drug_exposure_start_datetime": "",
                "drug_source_value": "house mix 7",
            }
            for p in who
        ],
    )
    _csv(
        raw / "death.csv",
        [{"person_id": p.key, "death_date": p.left.date(), "death_datetime": p.left} for p in who if p.died],
    )
    events: list[Event] = []
    for p in who:
        day = datetime.combine(p.came.date(), datetime.min.time())
        events += [
            (p.key, datetime.combine(p.born, datetime.min.time()), "MEDS_BIRTH", None),
            (p.key, None, f"GENDER//{'FEMALE' if p.female else 'MALE'}", None),
            (p.key, None, "RACE//white", None),
            (p.key, None, "ETHNICITY//UNK", None),
            (p.key, p.came, "VISIT//Visit//IP", None),
            (p.key, day, "DIAGNOSIS//SNOMED//44054006", None),
            (p.key, day, "MEDICATION//SOURCE//house mix 7", None),
            (p.key, p.tested, "LAB//LOINC//2160-0//mg/dL", p.creatinine),
        ]
        events += [(p.key, p.left, "MEDS_DEATH", None)] if p.died else []
    return events


def fhir(raw: Path, who: Sequence[Person]) -> list[Event]:
    """Every other person as a bundle of their own, as Synthea does; the others as lines of a bulk export."""
    lines: list[str] = []
    for i, p in enumerate(who):
        resources = _fhir_resources(p, f"Patient/{p.key}" if i % 2 else f"urn:uuid:{p.key}")
        if i % 2:
            lines += [json.dumps(resource) for resource in resources]
        else:
            bundle = {"resourceType": "Bundle", "entry": [{"resource": resource} for resource in resources]}
            (raw / f"{p.key}.json").write_text(json.dumps(bundle, indent=1), encoding="utf-8")
    (raw / "export.ndjson").write_text("\n".join(lines) + "\n", encoding="utf-8")
    events: list[Event] = []
    for p in who:
        events += [
            (p.key, None, f"GENDER//{'FEMALE' if p.female else 'MALE'}", None),
            (p.key, None, "RACE//WHITE", None),
            (p.key, datetime.combine(p.born, datetime.min.time()), "MEDS_BIRTH", None),
            (p.key, p.came, "ENCOUNTER//IMP//32485007", None),
            (p.key, p.came, "DIAGNOSIS//SNOMED//44054006", None),
            (p.key, p.tested, "LAB//LOINC//2160-0//mg/dL", p.creatinine),
            (p.key, p.tested, "LAB//LOINC//85354-9", None),
            (p.key, p.tested, "LAB//LOINC//8480-6//mm[Hg]", 120.0),
            (p.key, datetime(2014, 3, 1), "MEDICATION//RXNORM//860975", None),
        ]
        events += [(p.key, p.left, "MEDS_DEATH", None)] if p.died else []
    return events


def _fhir_resources(p: Person, reference: str) -> list[Mapping[str, object]]:
    def coded(kind: str, system: str, code: str, display: str, **more: object) -> Mapping[str, object]:
        return {
            "resourceType": kind,
            "subject": {"reference": reference},
            "code": {"coding": [{"system": system, "code": code, "display": display}]},
            **more,
        }

    race = {"url": "ombCategory", "valueCoding": {"code": "2106-3", "display": "White"}}
    when = f"{p.tested.isoformat()}.250-05:00"  # the clock of the place is kept
    patient: dict[str, object] = {
        "resourceType": "Patient",
        "id": p.key,
        "gender": "female" if p.female else "male",
        "birthDate": p.born.isoformat(),
        "extension": [
            {"url": "http://hl7.org/fhir/us/core/StructureDefinition/us-core-race", "extension": [race]},
            {"url": "http://example.org/mothers-name", "valueString": "never in the output"},
        ],
    }
    if p.died:
        patient["deceasedDateTime"] = f"{p.left.isoformat()}-05:00"
    loinc, snomed = "http://loinc.org", "http://snomed.info/sct"
    systolic = {
        "code": {"coding": [{"system": loinc, "code": "8480-6", "display": "Systolic blood pressure"}]},
        "valueQuantity": {"value": 120, "unit": "mm[Hg]"},
    }
    return [
        coded("Condition", snomed, "44054006", "Diabetes", onsetDateTime=f"{p.came.isoformat()}Z"),
        patient,
        {
            "resourceType": "Encounter",
            "subject": {"reference": reference},
            "class": {"code": "IMP"},
            "type": [{"coding": [{"system": snomed, "code": "32485007", "display": "Hospital admission"}]}],
            "period": {"start": p.came.isoformat()},
        },
        coded(
            "Observation",
            loinc,
            "2160-0",
            "Creatinine",
            effectiveDateTime=when,
            valueQuantity={"value": p.creatinine, "unit": "mg/dL"},
        ),
        coded("Observation", loinc, "85354-9", "Blood pressure", effectiveDateTime=when, component=[systolic]),
        coded("Observation", loinc, "2339-0", "Glucose", effectiveDateTime=when, status="entered-in-error"),
        {
            "resourceType": "MedicationRequest",
            "subject": {"reference": reference},
            "medicationCodeableConcept": {
                "coding": [
                    {
                        "system": "http://www.nlm.nih.gov/research/umls/rxnorm",
                        "code": "860975",
                        "display": "Metformin",
                    }
                ]
            },
            "authoredOn": "2014-03",
        },
        {"resourceType": "Claim", "patient": {"reference": reference}},
    ]


def eicu(raw: Path, who: Sequence[Person]) -> list[Event]:
    """Everybody's stay of 2015; the first two stays are one person's."""
    _csv(
        raw / "patient.csv",
        [
            {
                "patientunitstayid": f"5{p.key}",
                "patienthealthsystemstayid": p.key,
                "uniquepid": f"002-{max(i, 1)}",
                "gender": "Female" if p.female else "Male",
                "age": "> 89" if i == 2 else 2015 - p.born.year,
                "ethnicity": "Caucasian",
                "hospitaladmitsource": "Floor",
                "hospitaladmitoffset": -60,
                "hospitaldischargeyear": 2015,
                "hospitaldischargetime24": "12:00:00",
                "hospitaldischargeoffset": 1440,
                "hospitaldischargelocation": "Home",
                "hospitaldischargestatus": "Expired" if p.died else "Alive",
                "unittype": "MICU",
                "unitadmitsource": "Floor",
                "unitdischargeoffset": 1200,
                "unitdischargelocation": "Floor",
            }
            for i, p in enumerate(who)
        ],
    )
    _csv(
        raw / "lab.csv",
        [
            {
                "patientunitstayid": f"5{p.key}",
                "labresultoffset": 60 * p.hours,
                "labname": "creatinine",
                "labmeasurenamesystem": "mg/dL",
                "labresult": p.creatinine,
            }
            for p in who
        ],
    )
    _csv(
        raw / "diagnosis.csv",
        [
            {
                "patientunitstayid": f"5{p.key}",
                "diagnosisoffset": 30,
                "diagnosisstring": "endocrine|diabetes",
                "icd9code": "250.00, E11.9" if i % 2 else "",
            }
            for i, p in enumerate(who)
        ],
    )
    unit, left = datetime(2015, 12, 30, 12), datetime(2015, 12, 31, 12)
    came = unit - timedelta(hours=1)
    events: list[Event] = []
    for i, p in enumerate(who):
        years = 90 if i == 2 else 2015 - p.born.year
        born = came - timedelta(days=int(years * 365.25 + 182.6))
        codes = ["ICD//9//25000", "ICD//10//E119"] if i % 2 else ["endocrine|diabetes"]
        events += [
            (p.key, None, f"GENDER//{'Female' if p.female else 'Male'}", None),
            (p.key, None, "RACE//Caucasian", None),
            (p.key, datetime.combine(born.date(), datetime.min.time()), "MEDS_BIRTH", None),
            (p.key, came, "HOSPITAL_ADMISSION//Floor", None),
            (p.key, unit, "ICU_ADMISSION//Floor//MICU", None),
            *((p.key, unit + timedelta(minutes=30), f"DIAGNOSIS//{code}", None) for code in codes),
            (p.key, unit + timedelta(hours=p.hours), "LAB//creatinine//mg/dL", p.creatinine),
            (p.key, unit + timedelta(hours=20), "ICU_DISCHARGE//Floor", None),
            (p.key, left, "HOSPITAL_DISCHARGE//Home", None),
        ]
        events += [(p.key, left, "MEDS_DEATH", None)] if p.died else []
    return events


def cehrbert(raw: Path, who: Sequence[Person]) -> list[Event]:
    """As cehrbert_data 0.2 writes it, with the four codes of demography in front."""
    _concepts(raw / "CONCEPT.csv")
    rows = [_cehrbert_row(p) for p in who]
    pq.write_table(pa.Table.from_pylist(rows), raw / "patient_sequence.parquet")
    events: list[Event] = []
    for p in who:
        events += [
            (p.key, None, f"GENDER//{'FM'[not p.female]}", None),
            (p.key, datetime(p.born.year, 1, 1), "MEDS_BIRTH", None),
            (p.key, p.came, "SNOMED//44054006", None),
            (p.key, p.tested, "LOINC//2160-0", p.creatinine),
        ]
        events += [(p.key, p.left, "MEDS_DEATH", None)] if p.died else []
    return events


def _cehrbert_row(p: Person) -> dict[str, object]:
    tokens = [f"year:{p.came.year}", f"age:{p.came.year - p.born.year}", "8532" if p.female else "8507", "Race/0"]
    tokens += ["[VS]", "201826", "i-D0", "3016723", "[VE]"]
    times = [*[p.came] * 6, p.tested, p.tested, p.left]
    if p.died:
        tokens, times = [*tokens, "[DEATH]"], [*times, p.left]
    clinical = [(token.isdigit() and len(token) > 4) or "[" in token for token in tokens]
    lab = [token == "3016723" for token in tokens]
    return {
        "cohort_member_id": int(p.key),
        "person_id": int(p.key),
        "concept_ids": tokens,
        "ages": [p.came.year - p.born.year if one else -1 for one in clinical],
        "dates": [(time - datetime(1970, 1, 1)).days // 7 for time in times],
        "epoch_times": [int((time - datetime(1970, 1, 1)).total_seconds()) for time in times],
        "concept_value_masks": [int(one) for one in lab],
        "number_as_values": [p.creatinine if one else None for one in lab],
    }


def _concepts(path: Path) -> None:
    """The vocabulary as Athena gives it: tab-separated, quotation marks not escaped."""
    lines = ["concept_id\tvocabulary_id\tconcept_code\tconcept_name"]
    lines += ["\t".join((str(number), vocabulary, code, name)) for number, vocabulary, code, name in CONCEPTS]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
