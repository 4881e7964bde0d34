"""A class: entry quiz against exit quiz, in all and by item, each person compared with himself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ehrmem_widgets.charts.markup import interval, known, plural
from ehrmem_widgets.charts.table import Markup, figure
from ehrmem_widgets.errors import BadInput
from ehrmem_widgets.files import read_text
from ehrmem_widgets.reports.page_template import whole_page
from ehrmem_widgets.settings import shown
from ehrmem_widgets.statistics.disclosure import FEWEST, as_shown, is_small
from ehrmem_widgets.statistics.discrimination import NOTHING
from ehrmem_widgets.statistics.intervals import Estimate, paired_difference, proportion, weighted_mean
from ehrmem_widgets.views.interval_rows import IntervalRow, interval_rows
from ehrmem_widgets.workshop.lesson import lesson
from ehrmem_widgets.workshop.results import Quiz, decode, right


@dataclass(frozen=True)
class Compared:
    """The share of right answers before and after, and the difference; ``gain`` is None where a share is withheld."""

    words: str
    before: Estimate
    after: Estimate
    gain: Estimate | None


@dataclass(frozen=True)
class ClassResults:
    """``n`` participants; ``whole``: all items together; ``items``: each, in a class of 11 or more; ``alike``: how many codes came more than once."""

    n: int
    whole: Compared
    items: tuple[Compared, ...]
    alike: int


def read_codes(given: Sequence[str]) -> list[Quiz]:
    """The codes that were typed, or stand in files, one a line (after a # anything may be noted). Raises BadInput that names every mistyped one."""
    codes: list[str] = []
    for one in given:
        if Path(one).is_file():
            lines = (
                read_text(Path(one), f"The file of results codes {one!r}", most=1_000_000)
                .removeprefix("\ufeff")
                .splitlines()
            )
            codes += [code for line in lines for code in re.split("[,;]", line.partition("#")[0]) if code.strip()]
        elif re.search(r"[./\\]", one):
            raise BadInput(
                f"There is no file {shown(one)}. Name a file of results codes, one a line, or the codes themselves."
            )
        else:
            codes.append(one)
    found, wrong = [], []
    for code in codes:
        try:
            found.append(decode(code))
        except BadInput as error:
            wrong.append(str(error))
    if wrong:
        raise BadInput("\n".join(wrong))
    if not found:
        raise BadInput("There are no results codes. Each participant's last screen shows one.")
    return found


def class_results(quizzes: Sequence[Quiz]) -> ClassResults:
    """The class. Of a single item only what 11 people or more have in common is said."""
    before = np.array([right(one.before) for one in quizzes], dtype=float)  # nan: not answered
    after = np.array([right(one.after) for one in quizzes], dtype=float)
    both = np.isfinite(before) & np.isfinite(after)
    answered = both.any(axis=1)
    if not answered.any():
        raise BadInput("No participant answered any question both times, so there is nothing to compare.")
    counted = both[answered]
    shares = [np.where(counted, one[answered], 0).sum(axis=1) / counted.sum(axis=1) for one in (before, after)]
    whole = Compared(
        "All six questions", weighted_mean(shares[0]), weighted_mean(shares[1]), _gain(shares[0], shares[1])
    )
    n = int(answered.sum())
    items = lesson().quiz if n >= FEWEST else ()
    return ClassResults(
        n,
        whole,
        tuple(_compared(item.words, before[both[:, at], at], after[both[:, at], at]) for at, item in enumerate(items)),
        sum(times for times in Counter(quizzes).values() if times > 1),
    )


def in_words(found: ClassResults) -> str:
    """For the terminal."""
    lines = [f"{plural(found.n, 'participant')}. Share of right answers, before -> after (gain):"]
    for one in (found.whole, *found.items):
        gain = "gain withheld" if one.gain is None else f"gain {interval(one.gain, n=False, signed=True)}"
        lines.append(f"  {one.words}\n    {figure(one.before)} -> {figure(one.after)}; {gain}")
    return "\n".join([*lines, *notes(found)])


def page(found: ClassResults) -> str:
    """One HTML file that opens offline."""
    rows = [
        IntervalRow(words, estimate, heading=one.words, marked=words == "after")
        for one in (found.whole, *found.items)
        for words, estimate in (("before", one.before), ("after", one.after))
        if known(estimate)
    ]
    chart = interval_rows(
        rows, title="Right answers before and after the lesson", ends=(0, 1), level=(0.25, "by guessing")
    )
    return whole_page(
        "workshop_class.html.j2",
        found=found,
        rows=(found.whole, *found.items),
        chart=Markup(chart),
        notes=notes(found),
    )


def notes(found: ClassResults) -> list[str]:
    """What must be known to read it."""
    said = [
        "Each participant is compared with himself, over the questions that were answered both times; 95 % intervals."
    ]
    if not found.items:
        said.append(f"With fewer than {FEWEST} participants, single questions are not shown.")
    elif any(one.gain is None for one in found.items):
        said.append(f"Where fewer than {FEWEST} people stand behind a share or its rest, it is withheld.")
    if found.alike:
        said.append(
            f"{plural(found.alike, 'code')} came more than once: people who answered alike have the same code. Make sure that nobody read theirs twice."
        )
    return said


def _compared(words: str, before: np.ndarray, after: np.ndarray) -> Compared:
    if not len(before):
        return Compared(words, NOTHING, NOTHING, None)
    shown_ = [_share(int(one.sum()), len(one)) for one in (before, after)]
    gain = as_shown(_gain(before, after)) if all(map(known, shown_)) else None
    return Compared(words, shown_[0], shown_[1], gain)


def _share(right: int, n: int) -> Estimate:
    few = n < FEWEST or is_small(right) or is_small(n - right)
    return NOTHING if few else as_shown(proportion(right, n))


def _gain(before: np.ndarray, after: np.ndarray) -> Estimate:
    value, low, high = paired_difference(after[:, None], before[:, None])
    return Estimate(float(value[0]), float(low[0]), float(high[0]), len(before))
