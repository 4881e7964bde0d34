"""What an attack costs, in words: questions, time and money."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ehrmem_widgets.blackbox.protocol import Query
from ehrmem_widgets.charts.markup import duration, known, plural
from ehrmem_widgets.charts.table import NOT_SHOWN
from ehrmem_widgets.probes.findings import AttributeFinding
from ehrmem_widgets.settings import Price
from ehrmem_widgets.statistics.attack_cost import Pace, for_even_chance, in_all, price_of
from ehrmem_widgets.statistics.intervals import Estimate

_MOST = 1_000_000
_CALLED = {Query.SAMPLE: "question", Query.SCORES: "scoring", Query.EMBEDDINGS: "embedding"}
HOW_TO_READ = (
    "An even chance: of so many independent answers at least one gives it away with a chance of 1 in 2. The time is that of this model on this "
    "computer, measured with a few questions whose answers were thrown away; money is shown where a price was declared."
)


@dataclass(frozen=True)
class Means:
    """What an attacker's questions take: the model's measured pace by kind of question, and the declared price (None: none)."""

    paces: Mapping[Query, Pace] = field(default_factory=dict)
    price: Price | None = None

    def words(self, queries: Estimate, kind: Query = Query.SAMPLE) -> str:
        """Time and money within a sentence; empty where they are not known.

        >>> one = Estimate(1.0, 0.8, 1.2, 6)
        >>> Means({Query.SAMPLE: Pace(one, one)}, Price(50, "EUR", "questions")).words(Estimate(7, 5, 11, 64))
        '7 seconds (4 seconds to 13 seconds; pace measured in 6 rounds), and 0.35 EUR (0.25 to 0.55) at the declared price'
        """
        pace = self.paces.get(kind)
        if pace is None or not math.isfinite(queries.value):
            return ""
        time = _spread(_time, in_all(queries, pace.seconds), f"; pace measured in {plural(pace.seconds.n, 'round')}")
        if self.price is None:
            return time
        money = price_of(queries, pace, self.price)
        return f"{time}, and {_spread(_number, money, unit=f' {self.price.currency}')} at the declared price"


NOT_MEASURED = Means()


def questions(queries: Estimate, kind: Query = Query.SAMPLE, *, n: str = "") -> str:
    """How many queries, with their interval; ``n``: what it rests on, where that is said.

    >>> questions(Estimate(7, 5, 11, 64)), questions(Estimate(math.inf, 63, math.inf, 100)), questions(Estimate(1, 1, 1, 1))
    ('about 7 questions (5 to 11)', 'at least 63 questions', '1 question')
    """
    if not queries.n:
        return NOT_SHOWN
    least = math.isinf(queries.value)
    value = queries.low if least else queries.value
    unit = f" {_CALLED[kind]}{'' if value == 1 else 's'}"
    if math.isinf(value):
        return "not seen once"
    if least:
        return f"at least {_number(value)}{unit}"
    rests = f"; n = {n}" if n else ""
    if queries.low == queries.high:  # as it is, not to two digits
        return _spread("{:,.0f}".format, queries, rests, unit=unit)
    return f"{'' if value >= _MOST else 'about '}{_spread(_number, queries, rests, unit=unit)}"


def even_chance(finding: AttributeFinding, means: Means = NOT_MEASURED) -> str:
    """What it takes to learn an attribute with an even chance, in a sentence; empty where nothing was asked yet."""
    leak = finding.audited
    if not known(leak):
        return ""
    queries = for_even_chance(leak)
    of = "of learning it" if finding.held else "that the model names it (wrongly: the record does not hold it)"
    begin = f"Not one leak in {plural(leak.n, 'sample')}: an" if math.isinf(queries.value) else "An"
    took = means.words(queries)
    return (
        f"{begin} attacker who knows these facts would need {questions(queries, n=plural(leak.n, 'sample'))} for an even chance {of}"
        f"{f': {took}' if took else ''}."
    )


def _spread(words: Callable[[float], str], of: Estimate, more: str = "", *, unit: str = "") -> str:
    """A figure with its interval; alone where all three read alike."""
    value, low = words(of.value), words(of.low)
    ends = f"{low} or more" if math.isinf(of.high) else f"{low} to {words(of.high)}"
    spread = "" if low == value == words(of.high) else ends
    inside = f"{spread}{more}".removeprefix("; ")
    return f"{value}{unit}{f' ({inside})' if inside else ''}"


def _time(seconds: float) -> str:
    return "under a second" if seconds < 1 else duration(seconds)


def _number(value: float) -> str:
    """To two digits."""
    if value >= _MOST:
        return "over a million"
    if 0 < value < 0.01:
        return "under 0.01"
    return f"{float(f'{value:.2g}'):,.{0 if value >= 10 or value == int(value) else 2}f}"
