"""A record: one patient's static facts and time-ordered coded events (a MEDS subject)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime


def is_birth(code: str) -> bool:
    """Whether a code is that of the birth, which is a date of its own and no event of the record."""
    return code == "MEDS_BIRTH" or code.startswith("MEDS_BIRTH//")


@dataclass(frozen=True, slots=True)  # slots: a record may have a million
class Event:
    """One row of a MEDS data set. ``time`` is None for a static fact; ``value`` is None where none was recorded."""

    time: datetime | None
    code: str
    value: float | None = None


@dataclass(frozen=True)
class Record:
    """All events of one patient, static facts first, then by time; ties keep the order of the rows.

    ``patient_id`` is the data set's own id and is never shown: ``pseudonym`` is. ``sequence``: the record in the model's own
    codes, where it came as such, ``event_of``, for each of them the place of its event (-1: none), and ``days``, the age at each where ages
    came with them. A record with other events must be made with ``sequence`` None.
    """

    patient_id: int
    pseudonym: str
    events: tuple[Event, ...]
    birth: datetime | None = None
    sequence: tuple[str, ...] | None = None
    event_of: tuple[int, ...] | None = None
    days: tuple[float, ...] | None = None

    def with_events(self, events: tuple[Event, ...]) -> Record:
        """The same patient with other events."""
        return replace(self, events=events, sequence=None, event_of=None, days=None)

    def days_at(self, time: datetime | None) -> float:
        """The age in days at a time, 0 for a static fact. Without a birth date, the days since the first dated event."""
        begun = self.birth or next((event.time for event in self.events if event.time is not None), None)
        if time is None or begun is None:
            return 0.0
        return max(0.0, (time - begun).total_seconds() / 86400)

    def age_at_start(self) -> int | None:
        """Age in whole years at the first dated event, or None when birth or dates are missing."""
        first = next((event.time for event in self.events if event.time is not None), None)
        if self.birth is None or first is None:
            return None
        before_birthday = (first.month, first.day) < (self.birth.month, self.birth.day)
        return max(0, first.year - self.birth.year - before_birthday)


def age_band(age: float) -> str:
    """Ten years of age together; those of 90 and more are one band, for there are few of them. Empty for an age that is not known.

    >>> age_band(53.0), age_band(97.0), age_band(float("nan"))
    ('50-59', '90+', '')
    """
    if not age >= 0:
        return ""
    return "90+" if age >= 90 else f"{int(age) // 10 * 10}-{int(age) // 10 * 10 + 9}"
