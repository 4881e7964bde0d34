"""One tab-separated line a figure: name, value, interval, n, goal, and ok or short."""

from __future__ import annotations

import sys


class Lines:
    """Prints figures as they come, and remembers whether any fell short of its goal."""

    def __init__(self) -> None:
        self.short = 0

    def add(self, name: str, value: float, interval: str, n: int, goal: str) -> None:
        """``goal`` is such as ``>= 20``, ``<= 0.05`` or ``0.93..0.97``; a short line is reported as short."""
        met = _met(value, goal)
        self.short += not met
        print(name, f"{value:.4g}", interval, n, goal, "ok" if met else "short", sep="\t", flush=True)

    def finish(self) -> None:
        """Exit with 1 when a line is short."""
        sys.exit(1 if self.short else 0)


def _met(value: float, goal: str) -> bool:
    if ".." in goal:
        low, high = map(float, goal.split(".."))
        return low <= value <= high
    sign, limit = goal.split()
    return value >= float(limit) if sign == ">=" else value <= float(limit)
