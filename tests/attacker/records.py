"""Records made by hand, and a vocabulary that knows their codes."""

from __future__ import annotations

from datetime import datetime

from ehrmem_widgets.cohort.record import Event, Record
from ehrmem_widgets.cohort.time_codes import AGE_CODES, TIME_CODES
from ehrmem_widgets.tokens.vocabulary import Vocabulary

SODIUM, IRON = "LAB//50983//mEq/L", "LAB//50952//ug/dL"
VISIT, FLU, DRUG = "ENCOUNTER//OUTPATIENT", "DIAGNOSIS//ICD//10//J111", "MEDICATION//ATC//J05AR03"
EDGES = tuple(float(edge) for edge in range(1, 10))  # ten bins: 0 below 1, ..., 9 from 9 on


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


CODES = ("GENDER//F", "RACE//UNKNOWN", VISIT, FLU, DRUG, IRON, *(f"{SODIUM}//{b}" for b in range(10)))

VOCABULARY = Vocabulary(
    ("[PAD]", "[BOS]", "[EOS]", *AGE_CODES, *TIME_CODES, *CODES),
    bins={SODIUM: EDGES},
)

RECORD = Record(
    1,
    "P-AAAA-AAAA",
    (
        Event(None, "GENDER//F"),  # 0
        Event(None, "RACE//UNKNOWN"),  # 1
        Event(at("2020-01-01 09:00"), FLU),  # 2
        Event(at("2020-01-06 08:00"), VISIT),  # 3
        Event(at("2020-01-06 10:00"), SODIUM, 3.5),  # 4
        Event(at("2020-01-06 10:00"), IRON),  # 5
        Event(at("2020-01-06 12:00"), VISIT),  # 6: that day, but after the first lab
        Event(at("2020-01-06 13:00"), SODIUM, 9.5),  # 7
        Event(at("2020-02-20 10:00"), SODIUM, 3.7),  # 8: a later day
        Event(at("2020-03-01 10:00"), DRUG),  # 9
    ),
    at("1960-01-01"),
)
