"""From values to places in a picture: the one spot where coordinates are rounded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """Values from ``low`` to ``high`` lie between the coordinates ``start`` and ``end``; ``ticks`` are values with their words.

    Coordinates are rounded to a tenth of a pixel, so that a picture says no more than the figures that stand beside it.

    >>> Axis(0, 1, 100, 300)(0.33333), Axis(1, 1000, 0, 300, log=True)(10), Axis(0, 1, 100, 300)(7)
    (166.7, 100.0, 300)
    """

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[tuple[float, str]] = ()
    log: bool = False

    def __call__(self, value: float) -> float:
        """The place of a value, at the nearer end for one outside; nan for nan."""
        low, high = self.low, self.high
        if value <= low:
            return self.start
        if value >= high:
            return self.end
        share = math.log(value / low) / math.log(high / low) if self.log else (value - low) / (high - low)
        return round(self.start + (self.end - self.start) * share, 1)


def quarters(low: float, high: float) -> list[tuple[float, str]]:
    """Five ticks at the same distance.

    >>> quarters(0, 1)[1:3]
    [(0.25, '0.25'), (0.5, '0.5')]
    """
    return [(value, f"{value:g}") for value in (low + (high - low) * quarter / 4 for quarter in range(5))]
