"""One line of the checks of a model or data set: what was looked at, whether it is fit for an audit, what was found and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["pass", "warn", "fail"]
Stops = Literal["everything", "prompts", "members", "reference"]
"""What of an audit a check stops when it fails: all of it, tests whose questions begin with known facts, comparisons of members with others, or
those with a reference model."""


@dataclass(frozen=True)
class Check:
    """``warn``: an audit runs, but something is missing from it. ``fail``: what it ``stops`` would be wrong or impossible.

    ``words`` say what was found; ``todo`` what to do about it, empty when there is nothing to do.
    """

    name: str
    level: Level
    words: str
    todo: str = ""
    stops: Stops = "everything"
