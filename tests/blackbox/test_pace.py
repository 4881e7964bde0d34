"""How long a black box takes for a question is measured by asking it, and nothing else is counted."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ehrmem_widgets.blackbox.markov import MarkovChain
from ehrmem_widgets.blackbox.pace import KINDS, ROUNDS, TOGETHER, measured
from ehrmem_widgets.blackbox.protocol import Query, Step
from ehrmem_widgets.statistics.attack_cost import Pace

SLEPT = 0.02


class Slow(MarkovChain):
    """Waits before each step, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(np.full((3, 3), 1 / 3))
        self.asked = 0

    def generate(self, *given: Any, **more: Any) -> Iterator[Step]:
        """As ``MarkovChain.generate``."""
        self.asked += 1
        for step in super().generate(*given, **more):
            time.sleep(SLEPT)
            yield step


def pace_of(
    model: MarkovChain, *, pause: float = 0.0, kinds: tuple[Query, ...] = (Query.SAMPLE,)
) -> Mapping[Query, Pace]:
    found: Mapping[Query, Pace] = {}
    for one in measured(model, [0, 1], 4, kinds):
        time.sleep(pause)
        found = one or found
    return found


def test_the_seconds_are_those_of_the_model_and_the_codes_those_read_and_written() -> None:
    model = Slow()
    pace = pace_of(model)[Query.SAMPLE]
    assert model.asked == ROUNDS == pace.seconds.n and pace.seconds.low >= 4 * SLEPT / TOGETHER
    assert (pace.codes.value, pace.codes.low, pace.codes.high) == (6, 6, 6)


def test_what_is_done_between_the_steps_is_not_counted() -> None:
    chain = MarkovChain(np.full((3, 3), 1 / 3))
    assert pace_of(chain, pause=SLEPT)[Query.SAMPLE].seconds.low < 4 * SLEPT / TOGETHER


def test_only_what_the_model_answers_is_measured() -> None:
    assert set(pace_of(MarkovChain(np.full((3, 3), 1 / 3)), kinds=KINDS)) == {Query.SAMPLE, Query.SCORES}
