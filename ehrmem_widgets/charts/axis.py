"""From values to places in a picture: the one spot where coordinates are rounded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Values = Sequence[float] | np.ndarray


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
        if value != value:
            return value
        share = math.log(value / low) / math.log(high / low) if self.log else (value - low) / (high - low)
        return int(10 * (self.start + (self.end - self.start) * share) + 0.5) / 10  # five times as fast as round()

    def places(self, values: Values) -> list[float]:
        """The places of many values: at once where there are so many that the live screen would feel it."""
        if len(values) < 20 or self.log:
            return [self(value) for value in values]
        share = (np.clip(values, self.low, self.high) - self.low) / (self.high - self.low)
        places: list[float] = (np.floor(10 * (self.start + (self.end - self.start) * share) + 0.5) / 10).tolist()
        return places


def quarters(low: float, high: float) -> list[tuple[float, str]]:
    """Five ticks at the same distance.

    >>> quarters(0, 1)[1:3]
    [(0.25, '0.25'), (0.5, '0.5')]
    """
    return [(value, f"{value:g}") for value in (low + (high - low) * quarter / 4 for quarter in range(5))]


def round_values(low: float, high: float, most: int = 6, *, least_step: float = 0.0) -> list[float]:
    """The multiples of 1, 2 or 5 times a power of ten between two values, as close as at most ``most`` steps between them allow.

    >>> round_values(-0.12, 0.31), round_values(0, 3, least_step=1)
    ([-0.1, 0.0, 0.1, 0.2, 0.3], [0.0, 1.0, 2.0, 3.0])
    """
    finest = max((high - low) / most, least_step)
    size = 10.0 ** math.floor(math.log10(finest))
    step = next(size * k for k in (1, 2, 5, 10) if size * k >= finest * (1 - 1e-9))
    return [round(step * k, 12) + 0.0 for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
