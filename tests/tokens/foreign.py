"""Codes as published models write them, made small."""

from __future__ import annotations

from ehrmem_widgets.tokens.token_scheme import guess_token_scheme
from ehrmem_widgets.tokens.vocabulary import Vocabulary

SODIUM, GLUCOSE = "LAB//2951-2//mmol/L", "LOINC/2345-7"
DELTA = "TIMELINE//DELTA//years//value_"

MEICAR = (
    "[no code 0]", "MEDS_BIRTH", "DIAGNOSIS//ICD//10//B20", "ENCOUNTER//OUTPATIENT", f"{SODIUM}//value_[-inf,135.0)",
    f"{SODIUM}//value_[135.0,140.7)", f"{SODIUM}//value_[140.7,inf)", SODIUM, f"{DELTA}[0.00000190258,0.00000951293)",
    f"{DELTA}[0.00000951293,0.002739726)", f"{DELTA}[0.002739726,1.0)", f"{DELTA}[1.0,40.0)", f"{DELTA}[40.0,inf)",
    "TIMELINE//END", "TIMELINE//START",
)  # fmt: skip
CONTEXT_CLUES = (
    "[BOS]", "[EOS]", "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]", "Gender/F", "ICD10CM/B20", f"{GLUCOSE} || None || 0.0 - 99.5",
    f"{GLUCOSE} || None || 99.5 - 140.0", f"{GLUCOSE} || mg/dL || 0.0 - 50.0", "SNOMED/1 || positive,negative",
)  # fmt: skip
ETHOS = (
    "TIMELINE_START", "TIMELINE_END", "MEDS_DEATH", "GENDER//F", "LAB//GLUCOSE", "ICD//CM//B20", "5m-15m", "15m-1h15m", "1d-2d",
    "30d-2mt", "=6mt", *(f"Q{b}" for b in range(1, 11)),
)  # fmt: skip
EHRMAMBA2 = (
    "[PAD]", "[UNK]", "[MASK]", "[BOS]", "[EOS]", "[CLS]", "AGE//53", "AGE//54", "GENDER//F", "DIAGNOSIS//ICD//9//0",
    "DIAGNOSIS//ICD//9//25000", "LAB//50912//0", "LAB//50912//1", "LAB//50912//2", "TIME//1", "TIME//1W",
)  # fmt: skip


def vocabulary(codes: tuple[str, ...]) -> Vocabulary:
    """A vocabulary whose token scheme is guessed from the codes, as ``Vocabulary.load`` does."""
    token_scheme = guess_token_scheme(codes)
    return Vocabulary(
        codes,
        {},
        {},
        token_scheme.start,
        frozenset(token_scheme.stops),
        token_scheme.pad,
        token_scheme,
        token_scheme_guessed=True,
    )
