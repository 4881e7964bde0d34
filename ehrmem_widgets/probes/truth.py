"""What really followed: the part of a record that comes after the facts an attacker holds."""

from __future__ import annotations

import bisect

from ehrmem_widgets.attacker.prompt import Prompt
from ehrmem_widgets.cohort.record import Record
from ehrmem_widgets.tokens.sequence import CodeSequence, encode
from ehrmem_widgets.tokens.vocabulary import Vocabulary


def true_continuation(record: Record, prompt: Prompt, vocabulary: Vocabulary, horizon: int) -> CodeSequence:
    """What follows in the record after the last event of its prompt: at most ``horizon`` codes, gap and end codes included, or what comes
    within so many days where the model is told ages."""
    sequence = encode(record, vocabulary)
    known = (i + 1 for i, place in enumerate(sequence.event_of) if 0 <= place <= prompt.last)
    start = max(known, default=len(prompt.slots))  # no event known: after the start code and perhaps the age
    if not vocabulary.timed:
        return sequence.cut(slice(start, start + horizon))
    end = bisect.bisect_right(sequence.days, max(sequence.days[:start], default=0.0) + horizon)
    return sequence.cut(slice(start, max(start, end)))
