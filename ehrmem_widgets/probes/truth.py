"""What really followed: the part of a record that comes after the facts an attacker holds."""

from __future__ import annotations

from ehrmem_widgets.attacker.prompt import Prompt
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.tokens.sequence import encode
from ehrmem_widgets.tokens.vocabulary import Vocabulary


def true_continuation(record: Record, prompt: Prompt, vocabulary: Vocabulary, horizon: int) -> tuple[str, ...]:
    """The record's codes after the last event of its prompt, at most ``horizon`` of them, gap and end codes included."""
    sequence = encode(record, vocabulary)
    known = (i + 1 for i, place in enumerate(sequence.event_of) if 0 <= place <= prompt.last)
    start = max(known, default=len(prompt.slots))  # no event known: after the start code and perhaps the age
    return sequence.codes[start : start + horizon]
