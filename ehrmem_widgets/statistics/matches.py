"""Matches to people who were in training against matches to people who were not (Amin et al., arXiv 2606.16952).

If nothing was learned about single people, whoever is matched is as likely to be the one as the other: people of both kinds are exchangeable. So
the test exchanges people, each of whom counts once, however many outputs match; it is exact.
"""

from __future__ import annotations

from scipy import stats

from ehrmem_widgets.statistics.intervals import Estimate, difference, proportion
from ehrmem_widgets.statistics.verdicts import ALARM_RATE


def more_in_training(matched: int, members: int, matched_never: int, never: int) -> float:
    """One-sided p: the chance that at least ``matched`` of all who are matched are among the ``members`` when the labels of ``members`` and
    ``never`` people are dealt at random. 1 where nobody is matched.

    With equal sides that are large beside the number matched it is the binomial test of a fair coin.

    >>> round(more_in_training(3, 3, 0, 3), 6), more_in_training(0, 9, 0, 9)
    (0.05, 1.0)
    """
    return float(stats.hypergeom.sf(matched - 1, members + never, members, matched + matched_never))


def matched_more(members: tuple[int, int], never: tuple[int, int]) -> tuple[Estimate, float]:
    """By how much the share matched is larger among members than among people never seen, each (matched, people): with MOVER's interval, the n of
    both, and ``more_in_training``."""
    effect = difference(proportion(*members), proportion(*never))
    return Estimate(effect.value, effect.low, effect.high, members[1] + never[1]), more_in_training(*members, *never)


def matches_needed(tests: int) -> int:
    """With fewer people matched, ``tests`` tests on equal sides find nothing, though all of them were in training.

    >>> matches_needed(1), matches_needed(4)
    (5, 7)
    """
    needed = 1
    while 0.5**needed > ALARM_RATE / tests:
        needed += 1
    return needed
