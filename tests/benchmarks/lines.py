"""One tab-separated line a figure: name, value, interval, n, goal, and ok or short."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


def peak_gb() -> float:
    """The most memory that this process held, in GB; ``getrusage`` would count in what its parent held when it was started."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024 / 1e9


def on_this_machine() -> str:
    """Date, commit and machine of a run, for the docs."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    return f"{datetime.now(UTC):%Y-%m-%d}, commit {commit.strip()}, {os.cpu_count()} cores ({platform.machine()})."


def put_between(page: Path, begin: str, end: str, text: str) -> None:
    """Write a text into a page of the docs, between its two marks."""
    head, rest = page.read_text(encoding="utf-8").split(begin)
    page.write_text(f"{head}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}", encoding="utf-8")


@dataclass(frozen=True)
class Line:
    """A figure with its interval in words, its n and its goal, such as ``>= 20``, ``<= 0.05`` or ``0.93..0.97``."""

    name: str
    value: float
    interval: str
    n: int
    goal: str

    @property
    def met(self) -> bool:
        """Whether the goal is met."""
        if ".." in self.goal:
            low, high = map(float, self.goal.split(".."))
            return low <= self.value <= high
        sign, limit = self.goal.split()
        return self.value >= float(limit) if sign == ">=" else self.value <= float(limit)

    def __str__(self) -> str:
        state = "ok" if self.met else "short"
        return "\t".join([self.name, f"{self.value:.4g}", self.interval, str(self.n), self.goal, state])


class Lines:
    """Prints figures as they come, or only keeps them (``quiet``); a short line is reported as short."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.lines: list[Line] = []
        self._quiet = quiet

    def add(self, name: str, value: float, interval: str, n: int, goal: str) -> None:
        """One figure more."""
        self.lines.append(Line(name, float(value), interval, n, goal))
        if not self._quiet:
            print(self.lines[-1], flush=True)

    def finish(self) -> None:
        """Exit with 1 when a line is short."""
        sys.exit(0 if all(line.met for line in self.lines) else 1)
