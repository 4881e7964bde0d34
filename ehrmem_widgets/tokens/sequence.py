"""A record as the model reads it: ``[BOS] AGE//53 GENDER//F LAB//51491//0 TIME//2 DIAGNOSIS//... [EOS]``.

The form is the paper's (arXiv 2510.12950, section 4.1): static facts first, a value's quantile bin as the code's last
part, and a gap code between events at different times. Models with another token scheme (``tokens/token_scheme.py``) get theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.tokens.moments import moments
from ehrmem_widgets.tokens.vocabulary import Vocabulary


@dataclass(frozen=True)
class CodeSequence:
    """A record's codes, and for each the place of its event in ``record.events`` (-1: start, age, gap, end).

    ``left_out`` counts events whose code the model does not know. ``age_ends``: after how many codes the age is told (0: it is
    not). ``days``: the age at each code, for a model that is told it; empty for others.
    """

    codes: tuple[str, ...]
    event_of: tuple[int, ...]
    left_out: int = 0
    age_ends: int = 0
    days: tuple[float, ...] = ()

    def ids(self, vocabulary: Vocabulary) -> list[int]:
        """The sequence as the model reads it: ids, or moments where it is told ages."""
        ids = vocabulary.ids(self.codes)
        return moments(ids, self.days) if self.days else ids

    def cut(self, part: slice) -> CodeSequence:
        """A part of the sequence."""
        return CodeSequence(self.codes[part], self.event_of[part], days=self.days[part])


def own_sequence(record: Record, vocabulary: Vocabulary) -> tuple[str, ...] | None:
    """The model's own sequence that the record came as, None where it came as events, or where this vocabulary lacks one of its codes."""
    if record.sequence is None or not all(code in vocabulary for code in record.sequence):
        return None
    return record.sequence


def age_places(codes: Sequence[str], vocabulary: Vocabulary) -> range:
    """Where a sequence first tells the age: in codes of it, or in the birth and the gap behind it; empty where it does not."""
    birth, no_event = vocabulary.token_scheme.birth, vocabulary.token_scheme.no_event
    if no_event is not None:
        return range(at := codes.index(no_event), at + 1) if no_event in codes else range(0)
    start = next((at for at, code in enumerate(codes) if code == birth or code in vocabulary.ages), len(codes))
    told = vocabulary.is_gap if start < len(codes) and codes[start] == birth else vocabulary.ages.__contains__
    return range(start, next((at for at in range(start + 1, len(codes)) if not told(codes[at])), len(codes)))


def encode(record: Record, vocabulary: Vocabulary) -> CodeSequence:
    """The code sequence of a record, with start and end codes where the vocabulary has them. A record that came as the model's own
    sequence stays as it is."""
    own = own_sequence(record, vocabulary)
    if own is not None and record.event_of is not None:
        age = age_places(own, vocabulary)
        return CodeSequence(own, record.event_of, 0, age[-1] + 1 if age else 0, record.days or ())
    if vocabulary.timed:
        return _with_ages(record, vocabulary)
    born = record.birth if vocabulary.token_scheme.birth else None
    codes: list[str] = [*vocabulary.opening, *(() if born else vocabulary.age_codes_of(record))]
    age_ends = len(codes) if len(codes) > len(vocabulary.opening) else 0
    if born and (told := vocabulary.age_codes_of(record)):
        age_ends = len(codes) + len(told)
    places = [-1] * len(codes)
    before: datetime | None = None
    left_out = 0

    def write(more: Sequence[str], time: datetime | None, place: int = -1) -> None:
        nonlocal before
        if time is not None:
            gap = vocabulary.gap_between(before, time)
            codes.extend(gap)
            places.extend([-1] * len(gap))
            before = time
        codes.extend(more)
        places.extend([place] * len(more))

    for place, event in enumerate(record.events):
        if event.time is None and not vocabulary.token_scheme.statics:
            left_out += 1
            continue
        written = vocabulary.codes_of(event)
        if not written:
            left_out += 1
            continue
        if (
            born and event.time is not None and born <= event.time
        ):  # a birth is an event like others, in the order of time
            write([str(vocabulary.token_scheme.birth)], born)
            born = None
        write(written, event.time, place)
    if vocabulary.end:
        codes.append(vocabulary.end)
        places.append(-1)
    return CodeSequence(tuple(codes), tuple(places), left_out, age_ends)


def _with_ages(record: Record, vocabulary: Vocabulary) -> CodeSequence:
    """A record for a model that is told the age beside each code: static facts at birth, then how old somebody is when the record begins, then
    the events."""
    codes, places, days = list(vocabulary.opening), [-1] * len(vocabulary.opening), [0.0] * len(vocabulary.opening)
    no_event = vocabulary.token_scheme.no_event if record.birth is not None else None
    left_out = age_ends = 0
    for place, event in enumerate(record.events):
        written = vocabulary.codes_of(event)
        if not written or (event.time is None and not vocabulary.token_scheme.statics):
            left_out += 1
            continue
        if not vocabulary.token_scheme.repeats and written[0] in codes:
            continue
        if event.time is not None and no_event is not None:
            codes.append(no_event)
            places.append(-1)
            days.append(record.days_at(event.time))
            no_event, age_ends = None, len(codes)
        codes += written
        places += [place] * len(written)
        days += [record.days_at(event.time)] * len(written)
    return CodeSequence(tuple(codes), tuple(places), left_out, age_ends, tuple(days))
