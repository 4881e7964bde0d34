"""A record as the model reads it: ``[BOS] AGE//53 GENDER//F LAB//51491//0 TIME//2 DIAGNOSIS//... [EOS]``.

The form is the paper's (arXiv 2510.12950, section 4.1): static facts first, a value's quantile bin as the code's last
part, and a gap code between events at different times.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.cohort.time_codes import age_code, gap_code
from ehrmem_widgets.cohort.vocabulary import Vocabulary


@dataclass(frozen=True)
class CodeSequence:
    """A record's codes, and for each the place of its event in ``record.events`` (-1: start, age, gap, end).

    ``left_out`` counts events whose code the model does not know.
    """

    codes: tuple[str, ...]
    event_of: tuple[int, ...]
    left_out: int = 0


def encode(record: Record, vocabulary: Vocabulary) -> CodeSequence:
    """The code sequence of a record, with start and end codes where the vocabulary has them."""
    codes: list[str] = []
    places: list[int] = []

    def add(code: str, place: int = -1) -> None:
        codes.append(code)
        places.append(place)

    if vocabulary.start:
        add(vocabulary.start)
    age = record.age_at_start()
    if age is not None and age_code(age) in vocabulary:
        add(age_code(age))
    before: datetime | None = None
    left_out = 0
    for place, event in enumerate(record.events):
        code = vocabulary.code_of(event)
        if code not in vocabulary:
            left_out += 1
            continue
        if event.time is not None:
            gap = gap_code(before, event.time)
            if gap is not None and gap in vocabulary:
                add(gap)
            before = event.time
        add(code, place)
    for stop in sorted(vocabulary.stops)[:1]:
        add(stop)
    return CodeSequence(tuple(codes), tuple(places), left_out)
